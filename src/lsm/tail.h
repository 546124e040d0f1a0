/* SPDX-License-Identifier: PostgreSQL */
/*
 * The tail: the newest entries of a tree, in memory, in the order in which they came. Ids are found
 * through a hash table. Entries of an index, where the order matters, are sorted when somebody
 * asks.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (E1) in a tail of an index, entries of the same value ascend by timestamp, always: so a stable
 *       sort by value alone sorts it, however often.
 */
#ifndef LEDGER_LSM_TAIL_H
#define LEDGER_LSM_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "lsm/sort.h"
#include "lsm/table.h"

struct tail {
    struct entry_format format;
    union {
        struct entry16 *index;
        struct entry24 *ids;
        char *bytes;
    } entries;
    uint32_t *buckets; /* Hash table of ids: 16 bits of hash, 16 bits of number plus one. */
    uint32_t bucket_mask;
    uint32_t count;
    uint32_t count_max;
    /* Of an index: how many entries, counted from the start, are in order. */
    uint32_t sorted_count;
};

void tail_init(
    struct tail *tail,
    struct arena *arena,
    const struct entry_format *format,
    uint32_t count_max);

void tail_clear(struct tail *tail);

void tail_add(struct tail *tail, uint64_t value, uint64_t timestamp);

/* Precondition: the id isn't in the tail. */
void tail_add_id(struct tail *tail, u128 id, uint64_t timestamp);

/* Fetches the id's place in the hash table into the processor's cache. */
void tail_hint_id(const struct tail *tail, u128 id);

/* True if it is in the tail. */
bool tail_find_id(const struct tail *tail, u128 id, uint64_t *timestamp);

/* Takes back the newest entries until `count` are left. Nothing was sorted since they came. */
void tail_truncate(struct tail *tail, uint32_t count);

/*
 * Sorts everything (E1). The scratch has room for as many entries as the tail. Sorting ids destroys
 * their hash table, so it is the last thing that is done with a tail of ids.
 */
void tail_sort(struct tail *tail, void *scratch);

#endif
