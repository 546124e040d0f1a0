/* SPDX-License-Identifier: PostgreSQL */
/* See walk.h. */
#include "lsm/walk.h"

void
walk_init(struct walk *walk, const struct tree *tree)
{
    assert(tree != NULL);
    walk->tree = tree;
    walk->key = 0;
    walk->ready = false;
    walk->cursor_count = 0;
}

/*
 * (V2) Makes a cursor for each run that exists now. Keys up to walk->key were met in the runs that
 * existed before.
 */
static void
walk_make_cursors(struct walk *walk)
{
    const struct tree *tree = walk->tree;
    walk->version = tree->version;
    walk->ready = true;
    walk->cursor_count = 0;
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        if (!tree->runs[i].used || tree->runs[i].table_count == 0) continue;
        struct cursor *cursor = &walk->cursors[walk->cursor_count];
        cursor_init(cursor, i);
        cursor->reads_ahead = true;
        walk->cursor_count += 1;
    }
    assert(walk->cursor_count <= TREE_RUNS_MAX);
}

/*
 * Finds the cursor that stands at the first key at or after `key`; NULL if there is none. All
 * cursors are asked, so that their reads run at the same time.
 */
static enum tree_found
walk_seek(struct walk *walk, u128 key, struct cursor **nearest)
{
    enum tree_found result = TREE_FOUND;
    assert(walk->ready);
    *nearest = NULL;
    for (uint32_t i = 0; i < walk->cursor_count; i++) {
        struct cursor *cursor = &walk->cursors[i];
        if (cursor->exhausted) continue;
        const enum tree_found found = cursor_seek(cursor, walk->tree, false, key);
        if (found == TREE_LOST) return TREE_LOST;
        if (found == TREE_WAIT) result = TREE_WAIT;
        if (found != TREE_FOUND) continue;
        assert(cursor->key >= key);
        if (*nearest == NULL || cursor->key < (*nearest)->key) *nearest = cursor;
    }
    if (result == TREE_FOUND && *nearest == NULL) return TREE_ABSENT;
    return result;
}

enum tree_found
walk_next(struct walk *walk, const void **entry)
{
    const struct tree *tree = walk->tree;
    struct cursor *nearest;
    if (!walk->ready || walk->version != tree->version) walk_make_cursors(walk);
    enum tree_found found = walk_seek(walk, walk->key + 1, &nearest);
    if (found != TREE_FOUND) return found;
    if (!cache_holds(tree->cache, nearest->frame, nearest->address)) {
        /* Its block was evicted while other cursors were asked. */
        nearest->standing = false;
        found = cursor_seek(nearest, tree, false, walk->key + 1);
        if (found != TREE_FOUND) return found;
    }
    assert(nearest->standing && nearest->key > walk->key);
    walk->key = nearest->key;
    *entry = cache_content(tree->cache, nearest->frame) +
             (uint64_t) nearest->entry * tree->format.size;
    return TREE_FOUND;
}
