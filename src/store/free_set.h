/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which grid blocks are free: a bit each for acquired and for released (acquired still, but not by
 * the next checkpoint). A checkpoint stores, in words of 64 bits, what will be acquired once it is
 * durable (free_set_fill); opening loads it (free_set_load).
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
 * Indexes are 0-based here; address = index + 1. Lowest free first. Precondition: one is free. The
 * search passes a word that is full once between two checkpoints.
 */
uint64_t free_set_acquire(struct free_set *free_set);

void free_set_release(struct free_set *free_set, uint64_t index);

/* Released blocks become free. */
void free_set_checkpoint_durable(struct free_set *free_set);

/* False also beyond block_count. */
bool free_set_is_acquired(const struct free_set *free_set, uint64_t index);
bool free_set_is_released(const struct free_set *free_set, uint64_t index);

/*
 * One more than the highest index that is acquired and not released; 0: none is. It follows from
 * what was acquired and released, and not from block_count.
 */
uint64_t free_set_live_end(const struct free_set *free_set);

/* Words that hold a bit for each block that exists; of the last one perhaps not all are used. */
uint64_t free_set_word_count(const struct free_set *free_set);

/* Acquired and not released: what the checkpoint that is being made will find acquired. */
void free_set_fill(
    const struct free_set *free_set, uint64_t first_word, uint64_t *words, uint64_t word_count);

/*
 * Acquires what the words say. False, and nothing is changed, if they name blocks that don't exist
 * or are acquired already. Any first_word and word_count: what names no block may be zero.
 */
bool free_set_load(
    struct free_set *free_set, uint64_t first_word, const uint64_t *words, uint64_t word_count);

#endif
