/* SPDX-License-Identifier: PostgreSQL */
/*
 * Room: what more events can take, in blocks on disk and in tables in memory, until the next
 * checkpoint is durable (F3). What is released meanwhile is not counted: it becomes free with that
 * checkpoint.
 */
#include "base/units.h"
#include "lsm/forest_internal.h"

/* Room is asked for ahead, so that it needn't be computed for each prepare. */
#define ROOM_AHEAD_EVENTS (UINT64_C(8) * EVENTS_PER_BATCH_MAX)

/* The most entries that `event_count` events bring to the part. */
static uint64_t
part_entries(const struct forest *forest, uint32_t number, uint64_t event_count)
{
    uint64_t per_event = 0;
    assert(number < forest->part_count);
    for (uint32_t i = 0; i < forest->schema->tree_count; i++) {
        const struct forest_tree *tree = &forest->trees[i];
        const struct tree_schema *schema = tree->schema;
        const uint32_t inserts = schema->inserts_per_event_max;
        if (tree->records == number) per_event += inserts + schema->updates_per_event_max;
        if (tree->list == number || tree->ids == number) per_event += inserts;
        /* Instead of a record's, an id is burnt. */
        for (uint32_t j = 0; j < tree->index_count; j++) {
            if (forest->indexes[tree->indexes[j]].part == number) per_event += inserts;
        }
    }
    assert(per_event == 0 || event_count <= UINT64_MAX / per_event);
    return per_event * event_count;
}

/* Blocks that tables of so many entries take, when they are flushed in however many pieces. */
static uint64_t
table_blocks_most(const struct part *part, uint64_t entries, uint64_t pieces)
{
    const struct entry_format *format = &part->tree.format;
    assert(pieces > 0);
    return table_frames_needed(format, entries) + pieces * table_frames_needed(format, 1);
}

static uint64_t
part_blocks(const struct forest *forest, uint32_t number, uint64_t event_count)
{
    const struct part *part = forest_part(forest, number);
    assert(part->log != NULL || part->tail != NULL || part->objects != NULL);
    const uint64_t entries = part_entries(forest, number, event_count);
    if (part->log != NULL) {
        const uint64_t open = part->log->record_count;
        return table_blocks_most(part, entries + open, 2);
    }
    const uint64_t waiting =
        part->tail != NULL ? part->tail->count : objects_dirty_count(part->objects);
    const uint64_t flushes = (entries + waiting) / (part->tail != NULL ? TAIL_ENTRIES
                                                                       : OBJECTS_DIRTY_MAX) + 2;
    uint64_t blocks = table_blocks_most(part, entries + waiting, flushes);
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        const struct merge *merge = &part->merges[level];
        const uint32_t runs = tree_mutable(&part->tree) ? 2 : part->tree.fanout;
        const bool may_start = part->tree.run_count[level] + flushes >= runs;
        if (!merge->active && !may_start) continue;
        /* The quota, a table that a checkpoint cuts, and one that the quota had begun. */
        const uint64_t brought = entries + part->added;
        const uint64_t more = tree_mutable(&part->tree) ? brought : brought / 4;
        const uint64_t entries_all = tree_entry_count(&part->tree) + brought;
        uint64_t quota = brought + more + flushes + 64 + min_u64(merge->quota, entries_all);
        if (part->tree.run_count[level] + flushes + 2 >= LEVEL_RUNS_MAX) {
            quota = max_u64(quota, tree_entry_count(&part->tree));
        }
        blocks += table_blocks_most(part, quota, 2);
    }
    return blocks;
}

static uint64_t
blocks_needed(const struct forest *forest, uint64_t event_count)
{
    uint64_t blocks = 0;
    assert(forest->part_count > 0);
    for (uint32_t i = 0; i < forest->part_count; i++) {
        blocks += part_blocks(forest, i, event_count);
    }
    assert(blocks >= forest->part_count);
    /* Manifest, free set and root. Growing makes the free set grow, by a block at most. */
    const uint64_t tables = forest->tables.table_count + blocks / 2;
    const uint64_t manifest =
        div_ceil(tables + FOREST_PARTS_MAX * TREE_RUNS_MAX, MANIFEST_ITEMS_PER_BLOCK);
    /* A checkpoint may come before these events, and one after them. */
    return blocks + 2 * (manifest + grid_free_set_block_count(forest->grid) + 3);
}

/* Nodes of lists of tables. */
static uint64_t
nodes_needed(const struct forest *forest, uint64_t event_count)
{
    /* A table has at least two blocks, and most have many: bounded by runs, and by full tables. */
    uint64_t tables = 0;
    uint64_t runs = 0;
    for (uint32_t i = 0; i < forest->part_count; i++) {
        const struct part *part = &forest->parts[i];
        const uint64_t entries = part_entries(forest, i, event_count);
        const uint64_t levels = part->log != NULL ? 1 : LSM_LEVELS;
        tables += levels * (entries / table_entries_max(&part->tree.format) + 2);
        runs += levels * 2;
    }
    assert(runs >= forest->part_count);
    return div_ceil(tables, TABLES_PER_NODE) + runs;
}

static bool
room_in_memory(const struct forest *forest, uint64_t event_count)
{
    assert(forest->tables.free_count <= forest->tables.node_count);
    return nodes_needed(forest, event_count) <= forest->tables.free_count;
}

uint64_t
forest_room_tables(const struct forest *forest)
{
    assert(forest->tables.free_count <= forest->tables.node_count);
    const uint64_t needed = nodes_needed(forest, EVENTS_PER_BATCH_MAX);
    const uint64_t free = forest->tables.free_count;
    return free < needed ? 0 : (free - needed) * TABLES_PER_NODE;
}

static enum forest_room
room_on_disk(struct forest *forest, uint64_t event_count)
{
    assert(forest->opened);
    switch (grid_reserve(forest->grid, blocks_needed(forest, event_count))) {
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
    assert(event_count <= UINT64_MAX - ROOM_AHEAD_EVENTS);
    if (event_count > 0 && event_count <= forest->room_events) return FOREST_ROOM;

    const uint64_t ahead = event_count + ROOM_AHEAD_EVENTS;
    if (room_in_memory(forest, ahead)) {
        const enum forest_room room = room_on_disk(forest, ahead);
        if (room == FOREST_ROOM) forest->room_events = ahead;
        /* Only want of space is asked again with less. */
        if (room != FOREST_DISK_FULL) return room;
    }
    if (!room_in_memory(forest, event_count)) return FOREST_MEMORY_FULL;
    const enum forest_room room = room_on_disk(forest, event_count);
    if (room == FOREST_ROOM) forest->room_events = event_count;
    return room;
}
