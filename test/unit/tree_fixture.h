/* SPDX-License-Identifier: PostgreSQL */
/* One tree, and entries of all shapes for it: for test_lsm_table.c and test_lsm_merge.c. */
#ifndef LEDGER_TEST_UNIT_TREE_FIXTURE_H
#define LEDGER_TEST_UNIT_TREE_FIXTURE_H

#include <string.h>

#include "lsm/table.h"
#include "lsm_fixture.h"

struct record {
    uint64_t number;
    uint64_t timestamp;
    uint64_t content[14];
};

/* By shape. */
static const struct entry_format formats[] = {
    {.shape = ENTRY_INDEX, .tree = 3, .size = sizeof(struct entry16)},
    {.shape = ENTRY_ID, .tree = 4, .filtered = true, .size = sizeof(struct entry24)},
    {.shape = ENTRY_RECORD,
     .tree = 5,
     .timestamp_offset = offsetof(struct record, timestamp),
     .size = sizeof(struct record)},
};

static struct lsm_fixture fixture;
static struct tree tree;

static void
begin_tree(uint64_t seed, uint64_t seed_sim, uint32_t frames, const struct entry_format *format)
{
    lsm_begin(&fixture, seed, seed_sim, frames);
    tree_init(&tree, "test", format, &fixture.pool, &fixture.cache);
    tree_open(&tree);
}

/* Entries of an index have no place for a number. */
static inline void
make_entry(const struct entry_format *format, u128 key, uint64_t number, char *entry)
{
    const uint64_t words[3] = {u128_low(key), u128_high(key), number};
    switch ((enum entry_shape) format->shape) {
    case ENTRY_INDEX: memcpy(entry, words, sizeof(struct entry16)); break;
    case ENTRY_ID: memcpy(entry, words, sizeof(struct entry24)); break;
    case ENTRY_RECORD: {
        struct record record = {.number = number, .timestamp = words[0]};
        assert(u128_high(key) == 0);
        record.content[0] = ~number;
        memcpy(entry, &record, sizeof(record));
        break;
    }
    }
}

#endif
