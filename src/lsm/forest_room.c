/* SPDX-License-Identifier: PostgreSQL */
/*
 * Room: how much memory and how many blocks what is admitted may take at most (F3).
 *
 * Memory. Each structure knows the most that n more inserts take from where it is now; the sum is
 * compared with the free pages. An update of an ordered index counts twice: a discarded scope puts
 * the old value back.
 *
 * Blocks. With no checkpoint running, blocks in use are those of the newest checkpoint, and of
 * pages written ahead of the next, which took theirs when they ceased to be dirty. The admitted
 * events may execute before, between and after checkpoints, so the space must do for every one of
 * them: at each, the blocks of the one before and all blocks that changed since exist side by side.
 * Whatever the times,
 *
 *     free >= dirty pages now + new pages + pages that updates touch + a tail page a tree
 *             + two manifests
 *
 * is enough: what a checkpoint takes beyond the new pages, it gives back when it is durable.
 *
 * What was found out once is remembered as a number of events. Any insert or update takes at most
 * one event's share, so as long as enough of the number is left there is nothing to compute.
 */
#include "base/units.h"
#include "lsm/forest_internal.h"

/* Ask for so many events more than needed, to be asked less often. */
#define ROOM_AHEAD_EVENTS EVENTS_PER_BATCH_MAX

struct forest_growth
forest_growth_of_events(const struct forest *forest, uint64_t event_count)
{
    assert(forest->schema != NULL);
    struct forest_growth growth = {0};
    assert(event_count <= UINT32_MAX);
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        const struct tree_schema *schema = &forest->schema->trees[tree];
        growth.inserts[tree] = event_count * schema->inserts_per_event_max;
        growth.updates[tree] = event_count * schema->updates_per_event_max;
    }
    return growth;
}

/* Inserts into the tree's id map: its own records, and those that burn. */
static uint64_t
id_inserts(const struct forest *forest, uint32_t tree, const struct forest_growth *growth)
{
    assert(tree < forest->schema->tree_count);
    const uint32_t burnt_tree = forest->schema->trees[tree].burnt_tree;
    assert(forest->trees[tree].has_ids);
    return growth->inserts[tree] + (burnt_tree == FOREST_NONE ? 0 : growth->inserts[burnt_tree]);
}

uint64_t
forest_pages_needed(const struct forest *forest, const struct forest_growth *growth)
{
    assert(forest->schema->tree_count > 0);
    uint64_t pages = 0;
    uint64_t chunk_bytes = 0;
    uint64_t small_count = 0; /* The most chunks of either size. */
    uint64_t large_count = 0;
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        const struct forest_tree *forest_tree = &forest->trees[tree];
        pages += tree_pages_needed(&forest_tree->tree, growth->inserts[tree]);
        if (!forest_tree->has_ids) continue;
        const uint64_t inserts = id_inserts(forest, tree, growth);
        const uint64_t chunks = row_map_chunks_needed(&forest_tree->ids.map, inserts);
        pages += row_map_pages_needed(&forest_tree->ids.map, inserts);
        chunk_bytes += chunks * CHUNK_SMALL_SIZE;
        small_count += chunks;
    }
    for (uint32_t index = 0; index < forest->schema->index_count; index++) {
        const struct index_schema *schema = &forest->schema->indexes[index];
        const uint64_t inserts = growth->inserts[schema->tree];
        if (schema->kind == INDEX_ORDERED) {
            const uint64_t bytes = ordered_index_bytes_needed(
                &forest->indexes[index].ordered, inserts + 2 * growth->updates[schema->tree]);
            chunk_bytes += bytes;
            large_count += bytes / CHUNK_LARGE_SIZE;
        } else {
            const struct postings *postings = &forest->indexes[index].postings;
            pages += row_map_pages_needed(&postings->map, inserts);
            chunk_bytes += postings_bytes_needed(postings, inserts);
            small_count += inserts;
            large_count += inserts;
        }
    }
    /*
     * Chunks that are there already suffice, or are not counted. Either size may leave a page half
     * cut.
     */
    if (small_count > chunk_pool_available(&forest->chunks, CHUNK_SMALL) ||
        large_count > chunk_pool_available(&forest->chunks, CHUNK_LARGE)) {
        pages += div_ceil(chunk_bytes, BLOCK_SIZE) + 1;
    }
    return pages;
}

uint32_t
forest_pages_spare(const struct forest_schema *schema)
{
    assert(schema->tree_count > 0);
    return schema->tree_count + schema->index_count + 2 * CHUNK_KIND_COUNT;
}

static bool
room_in_memory(const struct forest *forest, const struct forest_growth *growth)
{
    assert(forest->opened);
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        const uint64_t rows = forest->trees[tree].tree.record_count + growth->inserts[tree];
        if (rows >= ROWS_MAX) return false;
    }
    const uint64_t pages = forest_pages_needed(forest, growth) + forest_pages_spare(forest->schema);
    return pages <= page_pool_free_count(&forest->pages);
}

static uint64_t
blocks_needed(const struct forest *forest, const struct forest_growth *growth)
{
    assert(forest->opened);
    uint64_t blocks = 0;
    uint64_t page_count = 0;
    for (uint32_t number = 0; number < forest->schema->tree_count; number++) {
        const struct tree *tree = &forest->trees[number].tree;
        const uint64_t pages_new = tree_pages_needed(tree, growth->inserts[number]);
        const uint64_t pages_all = tree->page_count + pages_new;
        blocks += tree->dirty_count + pages_new;
        blocks += min_u64(growth->updates[number], pages_all) + 1;
        page_count += pages_all;
    }
    return blocks + 2 * (uint64_t) forest_manifest_block_count(page_count);
}

static enum forest_room
room_on_disk(struct forest *forest, const struct forest_growth *growth)
{
    assert(forest->opened);
    const uint64_t needed = blocks_needed(forest, growth);
    const uint64_t released = forest->checkpoint.released_count;
    assert(needed > 0);
    if (needed <= grid_free_count(forest->grid) + released) return FOREST_ROOM;
    assert(needed > released);
    switch (grid_reserve(forest->grid, needed - released)) {
    case STORAGE_OK: return FOREST_ROOM;
    case STORAGE_NO_SPACE: return FOREST_DISK_FULL;
    case STORAGE_IO_ERROR: return FOREST_IO_ERROR;
    }
    unreachable();
}

enum forest_room
forest_reserve(struct forest *forest, uint64_t event_count)
{
    assert(forest->opened);
    assert(!forest->scope.open);
    if (event_count > 0 && event_count <= forest->room_events) return FOREST_ROOM;

    const uint64_t event_count_ahead = event_count + ROOM_AHEAD_EVENTS;
    const struct forest_growth growth_ahead = forest_growth_of_events(forest, event_count_ahead);
    if (room_in_memory(forest, &growth_ahead)) {
        const enum forest_room room_ahead = room_on_disk(forest, &growth_ahead);
        if (room_ahead == FOREST_ROOM) forest->room_events = event_count_ahead;
        /* Only want of space is asked again with less. */
        if (room_ahead != FOREST_DISK_FULL) return room_ahead;
    }
    const struct forest_growth growth = forest_growth_of_events(forest, event_count);
    if (!room_in_memory(forest, &growth)) return FOREST_MEMORY_FULL;
    const enum forest_room room = room_on_disk(forest, &growth);
    if (room == FOREST_ROOM) forest->room_events = event_count;
    return room;
}
