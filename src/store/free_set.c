/* SPDX-License-Identifier: PostgreSQL */
/* See free_set.h. */
#include "store/free_set.h"

#include <string.h>

#include "base/assert.h"
#include "base/units.h"

static void
free_set_check(const struct free_set *free_set)
{
    assert(free_set->block_count <= free_set->acquired.bit_count);
    assert(free_set->acquired_count <= free_set->block_count);
    assert(free_set->released_count <= free_set->acquired_count);
    assert(free_set->search_start <= free_set->block_count);
}

static void
bitset_init(struct bitset *bitset, struct arena *arena, uint64_t bit_count)
{
    assert(bit_count > 0);
    bitset->bit_count = bit_count;
    bitset->words =
        arena_take(arena, bitset_word_count(bit_count), sizeof(uint64_t), sizeof(uint64_t));
}

static void
bitset_clear_all(struct bitset *bitset)
{
    assert(bitset->words != NULL);
    memset(bitset->words, 0, bitset_word_count(bitset->bit_count) * sizeof(uint64_t));
}

void
free_set_init(struct free_set *free_set, struct arena *arena, uint64_t block_count_max)
{
    *free_set = (struct free_set){0};
    bitset_init(&free_set->acquired, arena, block_count_max);
    bitset_init(&free_set->released, arena, block_count_max);
    bitset_init(&free_set->fresh, arena, block_count_max);
    free_set_check(free_set);
}

void
free_set_reset(struct free_set *free_set, uint64_t block_count)
{
    assert(block_count <= free_set->acquired.bit_count);
    bitset_clear_all(&free_set->acquired);
    bitset_clear_all(&free_set->released);
    bitset_clear_all(&free_set->fresh);
    free_set->block_count = block_count;
    free_set->acquired_count = 0;
    free_set->released_count = 0;
    free_set->search_start = 0;
    free_set_check(free_set);
}

void
free_set_grow(struct free_set *free_set, uint64_t block_count)
{
    assert(block_count >= free_set->block_count);
    assert(block_count <= free_set->acquired.bit_count);
    free_set->block_count = block_count;
    free_set_check(free_set);
}

uint64_t
free_set_free_count(const struct free_set *free_set)
{
    free_set_check(free_set);
    return free_set->block_count - free_set->acquired_count;
}

uint64_t
free_set_acquire(struct free_set *free_set)
{
    assert(free_set_free_count(free_set) > 0);

    /*
     * All bits of the words before search_start are set, so the lowest clear bit is not below it.
     */
    uint64_t word = free_set->search_start / 64;
    while (free_set->acquired.words[word] == UINT64_MAX) {
        word += 1;
        assert(word < free_set_word_count(free_set));
    }
    const uint64_t index = word * 64 + (uint64_t) __builtin_ctzll(~free_set->acquired.words[word]);
    assert(index >= free_set->search_start);
    assert(index < free_set->block_count);
    assert(!bitset_get(&free_set->released, index));

    bitset_set(&free_set->acquired, index);
    bitset_set(&free_set->fresh, index);
    free_set->acquired_count += 1;
    free_set->search_start = index + 1;
    free_set_check(free_set);
    return index;
}

void
free_set_release(struct free_set *free_set, uint64_t index)
{
    assert(index < free_set->block_count);
    assert(bitset_get(&free_set->acquired, index));
    assert(!bitset_get(&free_set->released, index));
    bitset_set(&free_set->released, index);
    free_set->released_count += 1;
    free_set_check(free_set);
}

void
free_set_checkpoint_durable(struct free_set *free_set)
{
    free_set_check(free_set);
    const uint64_t word_count = free_set_word_count(free_set);
    memset(free_set->fresh.words, 0, word_count * sizeof(uint64_t));
    uint64_t freed_count = 0;
    for (uint64_t i = 0; freed_count < free_set->released_count; i++) {
        assert(i < word_count);
        const uint64_t word = free_set->released.words[i];
        if (word == 0) continue;
        assert((word & ~free_set->acquired.words[i]) == 0);
        if (freed_count == 0) {
            const uint64_t lowest = i * 64 + (uint64_t) __builtin_ctzll(word);
            free_set->search_start = min_u64(free_set->search_start, lowest);
        }
        freed_count += (uint64_t) __builtin_popcountll(word);
        free_set->acquired.words[i] &= ~word;
        free_set->released.words[i] = 0;
    }
    assert(freed_count == free_set->released_count);
    free_set->acquired_count -= freed_count;
    free_set->released_count = 0;
    free_set_check(free_set);
}

bool
free_set_is_acquired(const struct free_set *free_set, uint64_t index)
{
    return index < free_set->block_count && bitset_get(&free_set->acquired, index);
}

bool
free_set_is_released(const struct free_set *free_set, uint64_t index)
{
    return index < free_set->block_count && bitset_get(&free_set->released, index);
}

uint64_t
free_set_live_end(const struct free_set *free_set)
{
    free_set_check(free_set);
    for (uint64_t i = free_set_word_count(free_set); i > 0; i--) {
        const uint64_t word =
            free_set->acquired.words[i - 1] & ~free_set->released.words[i - 1];
        if (word == 0) continue;
        const uint64_t end = i * 64 - (uint64_t) __builtin_clzll(word);
        assert(end <= free_set->block_count);
        return end;
    }
    return 0;
}

uint64_t
free_set_word_count(const struct free_set *free_set)
{
    assert(free_set->block_count <= free_set->acquired.bit_count);
    return bitset_word_count(free_set->block_count);
}

void
free_set_fill(
    const struct free_set *free_set, uint64_t first_word, uint64_t *words, uint64_t word_count)
{
    free_set_check(free_set);
    assert(word_count <= free_set_word_count(free_set));
    assert(first_word <= free_set_word_count(free_set) - word_count);
    for (uint64_t i = 0; i < word_count; i++) {
        const uint64_t released = free_set->released.words[first_word + i];
        words[i] = free_set->acquired.words[first_word + i] & ~released;
    }
}

/* The bits of a word whose blocks exist and are free. */
static uint64_t
free_set_word_free(const struct free_set *free_set, uint64_t word)
{
    const uint64_t word_count = free_set_word_count(free_set);
    if (word >= word_count) return 0;
    const uint64_t bits_last = free_set->block_count % 64;
    const uint64_t exist =
        word == word_count - 1 && bits_last != 0 ? (UINT64_C(1) << bits_last) - 1 : UINT64_MAX;
    assert((free_set->acquired.words[word] & ~exist) == 0);
    return exist & ~free_set->acquired.words[word];
}

bool
free_set_load(
    struct free_set *free_set, uint64_t first_word, const uint64_t *words, uint64_t word_count)
{
    free_set_check(free_set);
    assert(free_set->released_count == 0);
    assert(first_word <= UINT64_MAX - word_count);
    for (uint64_t i = 0; i < word_count; i++) {
        if ((words[i] & ~free_set_word_free(free_set, first_word + i)) != 0) return false;
    }
    for (uint64_t i = 0; i < word_count; i++) {
        /* A word without a set bit needs no check; it may even lie beyond the bitset. */
        if (words[i] == 0) continue;
        free_set->acquired.words[first_word + i] |= words[i];
        free_set->acquired_count += (uint64_t) __builtin_popcountll(words[i]);
    }
    free_set_check(free_set);
    return true;
}
