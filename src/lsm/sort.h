/* SPDX-License-Identifier: PostgreSQL */
/*
 * Sorting of what a checkpoint interval has gathered, before it becomes a table on disk.
 *
 * Radix sort from the least significant digit (Knuth, TAOCP vol. 3, 5.2.5, algorithm R) over those
 * bits only in which keys differ at all. Where many bits differ, the first SORT_DIGITS_FIRST digits
 * of them, counted from the most significant, nearly always decide already: only those are sorted
 * by, and what is left to do is done by straight insertion (5.2.1, algorithm S), which is right
 * whatever the keys are. Where it would take long, the rest is sorted by all digits instead. So the
 * time is linear for every input.
 *
 * Numbered invariants:
 *  (N1) sorting is stable: entries of equal key stay in the order of the input.
 *  (N2) insertion moves at most SORT_MOVES_MAX entries for each entry of the input.
 */
#ifndef LEDGER_LSM_SORT_H
#define LEDGER_LSM_SORT_H

#include <stdint.h>

/* An entry of an index: a little-endian u128 whose high half is the value. */
struct entry16 {
    uint64_t timestamp;
    uint64_t value;
};

/* An entry of the index of ids. */
struct entry24 {
    uint64_t id_low;
    uint64_t id_high;
    uint64_t timestamp;
};

/* An object's number, and what objects are sorted by. */
struct sort_item {
    uint64_t key;
    uint64_t item;
};

/* Digits that are sorted by at first. */
#define SORT_DIGITS_FIRST 3
#define SORT_MOVES_MAX    4

/*
 * All of them: `scratch` has room for `count` entries, its content doesn't matter and is lost. What
 * is in order already costs one look at each entry.
 */

/*
 * Sorts by value. If the input ascends by timestamp, then entries of equal value still do
 * afterwards (N1).
 */
void sort_entries16(struct entry16 *entries, uint32_t count, struct entry16 *scratch);

/* Sorts by id. */
void sort_entries24(struct entry24 *entries, uint32_t count, struct entry24 *scratch);

/* Sorts by key. */
void sort_items_by_key(struct sort_item *items, uint32_t count, struct sort_item *scratch);

#endif
