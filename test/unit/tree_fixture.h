/* SPDX-License-Identifier: PostgreSQL */
/* One tree, and entries of all shapes for it: for test_lsm_{table,parts,merge}.c. */
#ifndef LEDGER_TEST_UNIT_TREE_FIXTURE_H
#define LEDGER_TEST_UNIT_TREE_FIXTURE_H

#include "lsm/table.h"
#include "unit/lsm_fixture.h"

struct record {
    uint64_t number;
    uint64_t timestamp;
    uint64_t content[14];
};

/* Entries in the order of their keys: what a table is made of, and compared with. */
#define TREE_ENTRIES_MAX 4500

struct tree_entries {
    u128 keys[TREE_ENTRIES_MAX];
    char bytes[TREE_ENTRIES_MAX * FOREST_RECORD_SIZE_MAX];
    uint32_t count;
};

static inline char *
tree_entry(struct tree_entries *entries, const struct entry_format *format, uint32_t number)
{
    assert(number < TREE_ENTRIES_MAX);
    return entries->bytes + (uint64_t) number * format->size;
}

/* By shape. */
extern const struct entry_format formats[3];

void begin_tree(
    struct lsm_fixture *fixture,
    struct tree *tree,
    uint64_t seed,
    uint64_t seed_sim,
    uint32_t frames,
    const struct entry_format *format);

/* Entries of an index have no place for a number. */
void make_entry(const struct entry_format *format, u128 key, uint64_t number, char *entry);

/* What a lookup in a table finds, waited for. */
enum tree_found lookup_in_table(
    struct lsm_fixture *fixture,
    struct tree *tree,
    const struct table_info *table,
    u128 key,
    void *entry);

#endif
