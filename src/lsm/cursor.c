/* SPDX-License-Identifier: PostgreSQL */
/* See cursor.h. */
#include "lsm/cursor.h"

#include "base/units.h"

void
cursor_init(struct cursor *cursor, uint32_t run)
{
    assert(run < TREE_RUNS_MAX);
    *cursor = (struct cursor){.run = (uint8_t) run};
}

static u128
cursor_key_at(const struct cursor *cursor, const struct tree *tree, uint32_t entry)
{
    assert(entry < cursor->entry_count);
    const char *entries = cache_content(tree->cache, cursor->frame);
    return entry_key(&tree->format, entries + (uint64_t) entry * tree->format.size);
}

static enum tree_found
cursor_stand(struct cursor *cursor, const struct tree *tree, uint32_t entry)
{
    assert(!cursor->exhausted);
    assert(cursor->address != 0);
    cursor->entry = entry;
    cursor->key = cursor_key_at(cursor, tree, entry);
    cursor->standing = true;
    return TREE_FOUND;
}

static enum tree_found
cursor_end(struct cursor *cursor)
{
    assert(!cursor->exhausted);
    cursor->standing = false;
    cursor->exhausted = true;
    return TREE_ABSENT;
}

/*
 * Seeks within the block where the cursor stands, if that is still in its frame. Returns false if
 * the key lies elsewhere.
 */
static bool
cursor_seek_near(struct cursor *cursor, const struct tree *tree, bool descending, u128 key)
{
    if (!cursor->standing || !cache_holds(tree->cache, cursor->frame, cursor->address)) {
        return false;
    }
    assert(cursor->entry < cursor->entry_count);
    assert(!cursor->exhausted);
    /* Most often by far, the entry wanted is the next one. */
    if (descending) {
        if (cursor->entry == 0 || cursor_key_at(cursor, tree, 0) > key) return false;
        uint32_t entry = cursor->entry - 1;
        if (cursor_key_at(cursor, tree, entry) > key) {
            const char *entries = cache_content(tree->cache, cursor->frame);
            entry = entries_lower_bound(&tree->format, entries, cursor->entry, key);
            if (entry == cursor->entry || cursor_key_at(cursor, tree, entry) > key) entry -= 1;
        }
        (void) cursor_stand(cursor, tree, entry);
        return true;
    }
    if (cursor->entry + 1 >= cursor->entry_count) return false;
    uint32_t entry = cursor->entry + 1;
    if (cursor_key_at(cursor, tree, entry) < key) {
        if (cursor_key_at(cursor, tree, cursor->entry_count - 1) < key) return false;
        const char *entries = cache_content(tree->cache, cursor->frame);
        entry = entries_lower_bound(&tree->format, entries, cursor->entry_count, key);
    }
    (void) cursor_stand(cursor, tree, entry);
    return true;
}

/* Makes sure that the block is in memory, in the cursor's frame. */
static enum tree_found
cursor_load(struct cursor *cursor, const struct tree *tree, const struct table_values *values)
{
    uint32_t frame;
    assert(values->block.address != 0);
    assert(values->block.entry_count > 0);
    cursor->standing = false;
    const enum cache_result result = table_values_get(tree->cache, &tree->format, values, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    cursor->frame = frame;
    cursor->address = values->block.address;
    cursor->entry_count = values->block.entry_count;
    return TREE_FOUND;
}

/* Moves on to block `place`, and asks for the blocks behind it. `frame` has the index block. */
static void
cursor_walk(
    const struct cursor *cursor,
    const struct tree *tree,
    const struct table_info *table,
    uint32_t frame,
    uint32_t place)
{
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    assert(cursor->reads_ahead);
    assert(place < table->block_count);
    if (cursor->address != 0) cache_leave(tree->cache, cursor->address);
    cache_pin(tree->cache, frame); /* Asking for blocks may evict others, and this one must stay. */
    for (uint32_t i = 1; i <= CURSOR_BLOCKS_AHEAD && place + i < table->block_count; i++) {
        const struct block_reference next = table_block_reference(&blocks[place + i]);
        (void) cache_hint(tree->cache, &next, BLOCK_VALUES, tree->format.tree);
    }
    cache_unpin(tree->cache, frame);
}

static enum tree_found
cursor_seek_table(
    struct cursor *cursor,
    const struct tree *tree,
    const struct table_info *table,
    bool descending,
    u128 key)
{
    uint32_t frame;
    assert(table->block_count > 0);
    assert(table->key_min <= table->key_max); /* (V1) */
    cursor->standing = false;
    const enum cache_result result = table_index_get(tree->cache, &tree->format, table, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    uint32_t place = table_blocks_find(blocks, table->block_count, key);
    if (place == table->block_count) place -= 1; /* A descending cursor begins beyond the end. */
    assert(place < table->block_count);
    const bool has_before = place > 0;
    const struct table_values before = table_values_at(table, blocks, has_before ? place - 1 : 0);
    const struct table_values values = table_values_at(table, blocks, place);
    if (cursor->reads_ahead) cursor_walk(cursor, tree, table, frame, place);
    enum tree_found found = cursor_load(cursor, tree, &values);
    if (found != TREE_FOUND) return found;
    const char *entries = cache_content(tree->cache, cursor->frame);
    uint32_t entry = entries_lower_bound(&tree->format, entries, cursor->entry_count, key);
    if (!descending) return cursor_stand(cursor, tree, entry); /* (T1) */
    if (entry < cursor->entry_count && cursor_key_at(cursor, tree, entry) == key) {
        return cursor_stand(cursor, tree, entry);
    }
    if (entry > 0) return cursor_stand(cursor, tree, entry - 1);
    /* The key lies between two blocks. */
    assert(has_before); /* (T1): the table's first key is not above. */
    found = cursor_load(cursor, tree, &before);
    return found == TREE_FOUND ? cursor_stand(cursor, tree, cursor->entry_count - 1) : found;
}

enum tree_found
cursor_seek(struct cursor *cursor, const struct tree *tree, bool descending, u128 key)
{
    assert(cursor->run < TREE_RUNS_MAX);
    const struct tree_run *run = &tree->runs[cursor->run];
    assert(run->used);
    if (cursor->exhausted) return TREE_ABSENT;
    if (run->has_hidden && key <= run->hidden) {
        /* Keys up to `hidden` are read from the merged run. */
        if (descending) return cursor_end(cursor);
        key = run->hidden + 1;
    }
    if (cursor->standing && (descending ? cursor->key <= key : cursor->key >= key)) {
        return TREE_FOUND;
    }
    if (!cursor_seek_near(cursor, tree, descending, key)) {
        const struct table_place place = descending ? tree_run_find_last(tree, cursor->run, key)
                                                    : tree_run_find(tree, cursor->run, key);
        if (place.node == NODE_NONE) return cursor_end(cursor);
        const enum tree_found found =
            cursor_seek_table(cursor, tree, tree_table(tree, place), descending, key);
        if (found != TREE_FOUND) return found;
    }
    assert(cursor->standing && cursor->run == run - tree->runs);
    if (descending && run->has_hidden && cursor->key <= run->hidden) return cursor_end(cursor);
    return TREE_FOUND;
}
