/* SPDX-License-Identifier: PostgreSQL */
/*
 * A walk visits all entries of a tree on disk in the order of their keys, each key once, while the
 * tree may change. An entry that is added meanwhile is met if it lies ahead.
 *
 * It reads ahead, and it marks the blocks it is done with as the first to be evicted: walking
 * through everything must not drive out of the cache what others need.
 */
#ifndef LEDGER_LSM_WALK_H
#define LEDGER_LSM_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/cursor.h"
#include "lsm/tree.h"

struct walk {
    const struct tree *tree;
    u128 key;         /* The key of the entry where it stands; 0 if it stands before the first. */
    uint64_t version; /* The version of the tree that the cursors were made for. */
    bool ready;       /* The cursors have been made. */
    uint32_t cursor_count;
    struct cursor cursors[TREE_RUNS_MAX];
};

void walk_init(struct walk *walk, const struct tree *tree);

/*
 * Moves to the next key. TREE_FOUND: *entry is valid until the next call of cache_get or
 * cache_take. If records change, it may be any version of the record. TREE_ABSENT: there are no
 * more.
 */
enum tree_found walk_next(struct walk *walk, const void **entry);

#endif
