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

    uint64_t index = free_set->search_start;
    while (index < free_set->block_count && bitset_get(&free_set->acquired, index)) {
        const bool word_full = free_set->acquired.words[index / 64] == UINT64_MAX;
        index = word_full ? (index / 64 + 1) * 64 : index + 1;
    }
    assert(index < free_set->block_count);
    assert(!bitset_get(&free_set->released, index));

    bitset_set(&free_set->acquired, index);
    bitset_set(&free_set->fresh, index);
    free_set->acquired_count += 1;
    free_set->search_start = index + 1;
    free_set_check(free_set);
    return index;
}

bool
free_set_mark_acquired(struct free_set *free_set, uint64_t index)
{
    assert(index < free_set->block_count);
    if (bitset_get(&free_set->acquired, index)) return false;
    bitset_set(&free_set->acquired, index);
    free_set->acquired_count += 1;
    free_set_check(free_set);
    return true;
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
    bitset_clear_all(&free_set->fresh);
    uint64_t freed_count = 0;
    for (uint64_t i = 0; i < bitset_word_count(free_set->acquired.bit_count); i++) {
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
