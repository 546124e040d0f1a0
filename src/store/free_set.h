/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which blocks of the grid are free. There are two bits for each block: "acquired", and "released",
 * which is set while the block is still acquired but the next checkpoint won't need it any more.
 *
 * The happy path: acquire gives the lowest free block. Release marks a block, and it becomes free
 * when the next checkpoint is durable (free_set_checkpoint_durable): until then a crash would go
 * back to the older checkpoint, which refers to it. A checkpoint stores, in words of 64 bits, what
 * will be acquired once it is durable (free_set_fill); opening loads these words (free_set_load),
 * and refuses words that name a block twice or beyond the end.
 *
 * Bits beyond block_count are never set.
 */
#ifndef LEDGER_STORE_FREE_SET_H
#define LEDGER_STORE_FREE_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bitset.h"

struct free_set {
    struct bitset acquired;
    struct bitset released;
    struct bitset fresh;     /* Acquired since the last durable checkpoint: in no checkpoint yet. */
    uint64_t block_count;    /* Blocks that exist now, ≤ acquired.bit_count. */
    uint64_t acquired_count; /* Includes released_count. */
    uint64_t released_count;
    uint64_t search_start;   /* No free block lies below this index. */
};

void free_set_init(struct free_set *free_set, struct arena *arena, uint64_t block_count_max);

/* Everything is free. */
void free_set_reset(struct free_set *free_set, uint64_t block_count);

void free_set_grow(struct free_set *free_set, uint64_t block_count);

uint64_t free_set_free_count(const struct free_set *free_set);

/*
 * The index of the lowest free block, now acquired. Indexes begin at 0 here: address = index + 1.
 * Precondition: a block is free. Between two checkpoints the search passes each full word only
 * once, so acquiring stays cheap in a grid that is nearly full.
 */
uint64_t free_set_acquire(struct free_set *free_set);

void free_set_release(struct free_set *free_set, uint64_t index);

/* Released blocks become free. */
void free_set_checkpoint_durable(struct free_set *free_set);

/* Both are false for an index beyond block_count. */
bool free_set_is_acquired(const struct free_set *free_set, uint64_t index);
bool free_set_is_released(const struct free_set *free_set, uint64_t index);

/*
 * One more than the highest index that is acquired and not released, or 0 if there is none. It
 * depends only on what was acquired and released, not on block_count.
 */
uint64_t free_set_live_end(const struct free_set *free_set);

/* How many words hold a bit for each block that exists. The last word may be used in part. */
uint64_t free_set_word_count(const struct free_set *free_set);

/*
 * Fills `words` with a bit for each block that is acquired and not released: these are the blocks
 * that will be acquired once the checkpoint being written is durable.
 */
void free_set_fill(
    const struct free_set *free_set, uint64_t first_word, uint64_t *words, uint64_t word_count);

/*
 * Acquires the blocks whose bits are set. Returns false and changes nothing if they name blocks
 * that don't exist or are acquired already. first_word and word_count may be anything: words beyond
 * the last block are accepted as long as they are zero.
 */
bool free_set_load(
    struct free_set *free_set, uint64_t first_word, const uint64_t *words, uint64_t word_count);

#endif
