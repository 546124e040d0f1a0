/* SPDX-License-Identifier: PostgreSQL */
/*
 * Sorts what was gathered in memory before it becomes a table on disk.
 *
 * It is a radix sort from the least significant digit (Knuth, TAOCP vol. 3, 5.2.5, algorithm R),
 * over only those bits in which keys differ at all. Where many bits differ, the most significant
 * SORT_DIGITS_FIRST digits of them nearly always decide the order already. So only these are sorted
 * by at first, and straight insertion (5.2.1, algorithm S) does the rest, which gives the right
 * order whatever the keys are. If insertion would take long, the entries are sorted by all digits
 * instead. So the time is linear for every input.
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

/* The number of an object, and the key it is sorted by. */
struct sort_item {
    uint64_t key;
    uint64_t item;
};

/* How many digits are sorted by at first. */
#define SORT_DIGITS_FIRST 3
#define SORT_MOVES_MAX    4

/*
 * For all three functions: `scratch` has room for `count` entries; its content is overwritten.
 * Input that is in order already costs one look at each entry.
 */

/*
 * Sorts by value. If the input ascends by timestamp, entries of equal value still do so afterwards
 * (N1).
 */
void sort_entries16(struct entry16 *entries, uint32_t count, struct entry16 *scratch);

/* Sorts by id. */
void sort_entries24(struct entry24 *entries, uint32_t count, struct entry24 *scratch);

/* Sorts by key. */
void sort_items_by_key(struct sort_item *items, uint32_t count, struct sort_item *scratch);

#endif
