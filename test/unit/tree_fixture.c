/* SPDX-License-Identifier: PostgreSQL */
/* See tree_fixture.h. */
#include "unit/tree_fixture.h"

#include <stddef.h>
#include <string.h>

const struct entry_format formats[3] = {
    {.shape = ENTRY_INDEX, .tree = 3, .size = sizeof(struct entry16)},
    {.shape = ENTRY_ID, .tree = 4, .filtered = true, .size = sizeof(struct entry24)},
    {.shape = ENTRY_RECORD,
     .tree = 5,
     .timestamp_offset = offsetof(struct record, timestamp),
     .size = sizeof(struct record)},
};

void
begin_tree(
    struct lsm_fixture *fixture,
    struct tree *tree,
    uint64_t seed,
    uint64_t seed_sim,
    uint32_t frames,
    const struct entry_format *format)
{
    lsm_begin(fixture, seed, seed_sim, frames);
    tree_init(tree, "test", format, &fixture->pool, &fixture->cache);
    tree_open(tree);
}

void
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

enum tree_found
lookup_in_table(
    struct lsm_fixture *fixture,
    struct tree *tree,
    const struct table_info *table,
    u128 key,
    void *entry)
{
    enum tree_found found;
    while ((found = table_lookup(tree, table, key, entry)) == TREE_WAIT) lsm_progress(fixture);
    return found;
}
