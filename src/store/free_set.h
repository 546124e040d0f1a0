/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which grid blocks are free: a bit each for acquired and for released (acquired still, but not by
 * the next checkpoint). It is not stored: opening a checkpoint visits every live block anyway, and
 * marks it.
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

/* Indexes are 0-based here; address = index + 1. Lowest free first. Precondition: one is free. */
uint64_t free_set_acquire(struct free_set *free_set);

/* False if it is acquired already. */
bool free_set_mark_acquired(struct free_set *free_set, uint64_t index);

void free_set_release(struct free_set *free_set, uint64_t index);

/* Released blocks become free. */
void free_set_checkpoint_durable(struct free_set *free_set);

#endif
