/* SPDX-License-Identifier: PostgreSQL */
/*
 * A walk along all entries of a tree on disk, in the order of their keys, each key once, while the
 * tree changes. Entries that come meanwhile are met if they lie ahead.
 *
 * It reads ahead, and leaves the blocks that it is done with to be evicted first: whoever walks
 * along everything must not cost others what they have in the cache.
 */
#ifndef LEDGER_LSM_WALK_H
#define LEDGER_LSM_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/cursor.h"
#include "lsm/tree.h"

struct walk {
    const struct tree *tree;
    u128 key;         /* The key of the entry where it stands; 0: it stands before all. */
    uint64_t version; /* The version of the tree that the cursors are for. */
    bool ready;       /* There are. */
    uint32_t cursor_count;
    struct cursor cursors[TREE_RUNS_MAX];
};

void walk_init(struct walk *walk, const struct tree *tree);

/*
 * To the next key. TREE_FOUND: *entry is good until the next call of cache_get or cache_take; of
 * records that change, it is that of any version. TREE_ABSENT: there are no more.
 */
enum tree_found walk_next(struct walk *walk, const void **entry);

#endif
