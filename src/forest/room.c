/* SPDX-License-Identifier: PostgreSQL */
/*
 * Room: what more events can take, in blocks on disk and in nodes of lists of tables, until they
 * are executed and a checkpoint after them is durable (F3). What is released meanwhile is not
 * counted: it becomes free with a checkpoint.
 *
 * This is an upper bound, whatever the events turn out to do. Each step of the work lowers it by at
 * least what the step takes, so that what was once admitted finds room again when it is replayed. A
 * margin is added, because entries that are hidden in tables of a merge's inputs count twice for a
 * while. Let `entries` be what a part has in memory, including what the admitted events will add.
 * Then it needs at most:
 *
 *  - Flushes: one for each FLUSH entries, and one a checkpoint. Each is a run.
 *  - Merges of a level: the next starts when `least` runs are complete, and all of them become one,
 *    of the same level or of the next. So of n runs, those that come included, at most
 *    (n - 1) / (least - 1) merges start, and n / least of them give the next level a run. None
 *    starts but in a beat.
 *  - Entries that the merges of a level work off: their quota, which is what came since the last
 *    beat and will come, a part more, and one a beat. No more than there are in this level and
 *    above it.
 *  - Tables of a level that are finished early, so that their last block is not full: one a merge,
 *    one a checkpoint, and those before tables that are moved, which costs a half table's quota.
 *  - Blocks: one for each block's worth of entries; and for each table its last one, its index
 *    block and its filter.
 *  - Nodes: one for each run that is flushed, and for each TABLES_PER_NODE tables. A merge takes as
 *    many as its output needs, and no more than its inputs hold in part: what is beyond that they
 *    have given back. In the end all is given back, but for tables that were finished early.
 *
 * An example, of an index (entries of 16 bytes, 1,008 a block; no filter) in production. 10,000
 * entries are in its tail, the events to be admitted bring 30,000, and two checkpoints may come.
 *
 *     entries    10,000 + 30,000 = 40,000
 *     flushes    one for 32,768 entries, one for each checkpoint: 1 + 2 = 3 runs of level 0
 *     blocks     40,000 / 1,008 = 39 that are full; 3 tables, each with a last block and an index
 *                block: 39 + 3 * 2 = 45
 *     nodes      3, one for each run
 *     level 0    14 runs are complete. With 3 more, (17 - 1) / (16 - 1) = 1 merge starts. Its quota
 *                is what comes, a quarter more, and one a beat: some 37,500 entries, so at most 37
 *                full blocks, and 2 blocks for each table that it ends or that a checkpoint cuts
 *     level 1    gets 17 / 16 = 1 run, and so on for each level below
 */
#include "base/units.h"
#include "forest/internal.h"

/* Room is asked for ahead, so that it needn't be computed for each prepare. */
#define ROOM_AHEAD_EVENTS (UINT64_C(8) * EVENTS_PER_BATCH_MAX)

/*
 * How many checkpoints can fall into the life of what is asked for. Of admitted events, at most
 * two: one that is running already, or that starts before or among them, and one after them. There
 * can't be a third, since the log between two checkpoints is longer than all that may be admitted
 * at once. On replay an op is executed at once, so that only the checkpoint after it counts.
 */
#define CHECKPOINTS_ADMITTED 2
#define CHECKPOINTS_REPLAYED 1

/* An admission asks for an eighth more than the replay of the same events will. */
#define MARGIN(needed) ((needed) + (needed) / 8 + 1)

/* What room is asked for. */
struct room_request {
    uint64_t event_count;
    uint64_t checkpoints;
    uint64_t beats;
};

struct room_needs {
    uint64_t blocks;
    uint64_t nodes;
};

/* ---- Entries ------------------------------------------------------------------------------- */

/* The most entries that an event brings to the part. */
static uint32_t
entries_per_event(const struct forest *forest, uint32_t number)
{
    uint32_t per_event = 0;
    assert(number < forest->part_count);
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        const struct groove *groove = &forest->grooves[i];
        const struct groove_schema *schema = groove->schema;
        const uint32_t inserts = schema->inserts_per_event_max;
        if (groove->records == number) per_event += inserts + schema->updates_per_event_max;
        if (groove->list == number || groove->ids == number) per_event += inserts;
        /* This also covers an id that is burnt instead of a record being inserted. */
        for (uint32_t j = 0; j < groove->index_count; j++) {
            if (forest->indexes[groove->indexes[j]].part == number) per_event += inserts;
        }
    }
    return per_event;
}

void
forest_room_init(struct forest *forest)
{
    for (uint32_t i = 0; i < forest->part_count; i++) {
        forest->parts[i].entries_per_event = entries_per_event(forest, i);
    }
}

static uint64_t
part_entries(const struct part *part, uint64_t event_count)
{
    const uint64_t per_event = part->entries_per_event;
    assert(per_event == 0 || event_count <= UINT64_MAX / per_event);
    return per_event * event_count;
}

static uint64_t
part_waiting(const struct part *part)
{
    if (part->log != NULL) return part->log->record_count;
    if (part->tail != NULL) return part->tail->count;
    assert(part->objects != NULL);
    return objects_dirty_count(part->objects);
}

/*
 * The part's entries that no beat has counted yet. For a tail, `added` is updated only when an op
 * ends.
 */
static uint64_t
part_added(const struct forest *forest, const struct part *part)
{
    if (part->tail == NULL || !forest->active) return part->added;
    assert(part->tail_done <= part->tail->count);
    return part->tail->count - part->tail_done;
}

static uint64_t
flush_entries(const struct part *part)
{
    assert(part->log == NULL);
    return part->tail != NULL ? TAIL_ENTRIES : OBJECTS_DIRTY_MAX;
}

/*
 * The most beats that can happen until then. Every beat follows an op, except those of checkpoints.
 */
static uint64_t
beats_most(const struct forest *forest, const struct room_request *request)
{
    uint64_t added = 0;
    uint64_t flushes = 0;
    assert(request->checkpoints > 0);
    for (uint32_t i = 0; i < forest->part_count; i++) {
        const struct part *part = &forest->parts[i];
        if (part->log != NULL) continue;
        const uint64_t entries = part_entries(part, request->event_count);
        added += entries + part_added(forest, part);
        flushes += (entries + part_waiting(part)) / flush_entries(part);
    }
    assert(added <= UINT64_MAX - flushes);
    /* The 1 is the beat that is under way. */
    return min_u64(request->event_count, added / BEAT_ENTRIES + flushes) + request->checkpoints + 1;
}

/* ---- Parts --------------------------------------------------------------------------------- */

/* How many index and filter blocks a table of at most so many entries has. */
static uint64_t
table_extra(const struct entry_format *format, uint64_t entries)
{
    assert(format->size > 0);
    if (!format->filtered) return 1;
    const uint64_t most = min_u64(entries, table_entries_max(format));
    return 1 + div_ceil(filter_line_count((uint32_t) most), FILTER_LINES_PER_BLOCK);
}

static void
log_needs(
    const struct part *part,
    uint64_t entries,
    const struct room_request *request,
    struct room_needs *needs)
{
    const struct table_builder *builder = &part->log->builder;
    const uint64_t values = entries / part->log->per_block + request->checkpoints;
    const uint64_t listed = table_builder_active(builder) ? builder->table.block_count : 0;
    const uint64_t tables = (listed + values) / TABLE_BLOCKS_MAX + request->checkpoints;
    assert(listed <= TABLE_BLOCKS_MAX);
    needs->blocks += values + tables;
    needs->nodes += tables / TABLES_PER_NODE + 1;
}

/* Adds what the part's flushes need, and returns how many flushes there are. */
static uint64_t
flush_needs(
    const struct part *part,
    uint64_t entries,
    const struct room_request *request,
    struct room_needs *needs)
{
    const struct entry_format *format = &part->tree.format;
    const uint64_t flushes =
        min_u64(entries, entries / flush_entries(part) + request->checkpoints);
    const uint64_t tables = entries / table_entries_max(format) + flushes;
    assert(flushes > 0 || entries == 0);
    needs->blocks += entries / entries_per_block(format);
    needs->blocks += tables * (1 + table_extra(format, entries));
    needs->nodes += flushes + tables / TABLES_PER_NODE;
    return flushes;
}

/* The merges of a level until then: how many, and how many entries they can reach. */
struct level_merges {
    uint64_t count;
    uint64_t reach;
    uint64_t quota;
    /* Places in nodes that inputs may occupy although no table is in them any more. */
    uint64_t held;
};

/* How many free places for tables the last node of the running merge's output has. */
static uint64_t
output_places(const struct merge *merge)
{
    const struct table_pool *pool = merge->tree->pool;
    if (!merge->active) return 0;
    const uint32_t node = merge->tree->runs[merge->output].node_last;
    if (node == NODE_NONE) return 0;
    assert(pool->nodes[node].count <= TABLES_PER_NODE);
    return TABLES_PER_NODE - pool->nodes[node].count;
}

static void
merge_needs(
    const struct merge *merge,
    const struct level_merges *merges,
    const struct room_request *request,
    struct room_needs *needs)
{
    const struct entry_format *format = &merge->tree->format;
    const struct table_builder *builder = &merge->builder;
    const bool begun = table_builder_active(builder);
    const uint64_t entries_max = table_entries_max(format);
    const uint64_t entries = min_u64(merges->quota, merges->count * merges->reach);
    const uint64_t moved = merges->count * merges->reach / (entries_max / 2);
    const uint64_t cuts = request->checkpoints + min_u64(div_ceil(entries, entries_max / 2), moved);
    const uint64_t full = ((begun ? builder->table.entry_count : 0) + entries) / entries_max;
    const uint64_t tables = full + cuts + merges->count;
    const uint64_t extra_begun = begun ? UINT64_C(1) + builder->table.filter_count : 0;
    assert(merges->count > 0);
    assert(builder->frame_count <= entries_per_block(format));
    needs->blocks += (builder->frame_count + entries) / entries_per_block(format) + extra_begun;
    needs->blocks += tables * (1 + table_extra(format, merges->reach));
    const uint64_t output = tables + moved + merges->count * (TABLES_PER_NODE - 1);
    const uint64_t held = merges->held + cuts + TABLES_PER_NODE - 1 - output_places(merge);
    needs->nodes += min_u64(output, held) / TABLES_PER_NODE + min_u64(merges->count, cuts);
}

/*
 * How many runs of the level are complete and in no merge. Also sets what inputs may occupy, and
 * adds up all entries.
 */
static uint64_t
level_waiting(const struct tree *tree, uint32_t level, struct level_merges *merges)
{
    uint64_t waiting = 0;
    merges->held = 0;
    assert(tree->run_count[level] <= LEVEL_RUNS_MAX);
    for (uint32_t i = 0; i < tree->run_count[level]; i++) {
        const struct tree_run *run = &tree->runs[tree->order[level][i]];
        assert(run->used);
        merges->reach += run->entry_count;
        if (!run->building) merges->held += TABLES_PER_NODE - run->skip;
        waiting += !run->merging && !run->building;
    }
    return waiting;
}

/*
 * The most merges that are done at once because a level has nearly as many runs as it may have: the
 * one under way, the one that takes the runs that came meanwhile, and two more each time that so
 * many come.
 */
static uint64_t
merges_hurried(uint64_t runs, uint64_t incoming)
{
    static_assert(LEVEL_RUNS_MAX > 4, "the output, and one that is being built");
    /* The output of the next merge counts as a run, too. */
    if (runs + incoming + 1 + 2 < LEVEL_RUNS_MAX) return 0;
    return 2 + 2 * (incoming / (LEVEL_RUNS_MAX - 4));
}

static void
merges_needs(
    const struct part *part,
    uint64_t flushes,
    uint64_t entries,
    uint64_t added,
    const struct room_request *request,
    struct room_needs *needs)
{
    const struct tree *tree = &part->tree;
    const uint64_t least = tree_mutable(tree) ? 2 : tree->fanout;
    const uint64_t quota = added + (tree_mutable(tree) ? added : added / 4) + request->beats;
    uint64_t incoming = flushes;
    struct level_merges merges = {.reach = entries};
    assert(least >= 2);
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        const struct merge *merge = &part->merges[level];
        const uint64_t active = merge->active ? 1 : 0;
        const uint64_t runs = level_waiting(tree, level, &merges) + incoming;
        const uint64_t starts = runs + active < least ? 0 : (runs + active - 1) / (least - 1);
        merges.count = active + min_u64(starts, request->beats);
        merges.quota = quota + min_u64(merge->quota, merges.reach);
        merges.quota += merges_hurried(tree->run_count[level], incoming) * merges.reach;
        merges.held += incoming * TABLES_PER_NODE;
        if (merges.count > 0) merge_needs(merge, &merges, request, needs);
        /* If the result can't become larger than a run of this level, it stays in this level. */
        const bool stays = tree_mutable(tree) && min_u64(merges.reach, *tree->distinct + entries) <=
                                                     forest_level_entries(tree, level);
        incoming = active + (stays ? 0 : min_u64(starts, runs / least));
    }
}

static struct room_needs
needs_of(const struct forest *forest, uint64_t event_count, uint64_t checkpoints)
{
    struct room_request request = {.event_count = event_count, .checkpoints = checkpoints};
    struct room_needs needs = {0};
    uint64_t runs = 0;
    assert(forest->part_count > 0);
    request.beats = beats_most(forest, &request);
    for (uint32_t i = 0; i < forest->part_count; i++) {
        const struct part *part = &forest->parts[i];
        const uint64_t brought = part_entries(part, event_count);
        const uint64_t entries = part_waiting(part) + brought;
        runs += tree_run_count(&part->tree) + LSM_LEVELS;
        if (part->log != NULL) {
            log_needs(part, entries, &request, &needs);
            continue;
        }
        const uint64_t flushes = flush_needs(part, entries, &request, &needs);
        const uint64_t added = part_added(forest, part) + brought;
        merges_needs(part, flushes, entries, added, &request, &needs);
    }
    /*
     * The checkpoint's own blocks. Each new table has at least two blocks, so that needs.blocks is
     * enough to bound their number.
     */
    const uint64_t items = forest->tables.table_count + needs.blocks + runs;
    const uint64_t manifest = div_ceil(items, MANIFEST_ITEMS_PER_BLOCK);
    const uint64_t grid_blocks = forest->grid->block_count + needs.blocks + manifest;
    const uint64_t free_set = grid_blocks / (64 * GRID_FREE_SET_WORDS_PER_BLOCK) + 2;
    needs.blocks += checkpoints * (manifest + free_set + 1);
    return needs;
}

/* ---- Asking -------------------------------------------------------------------------------- */

static struct room_needs
needs_admitted(const struct forest *forest, uint64_t event_count)
{
    const struct room_needs needs = needs_of(forest, event_count, CHECKPOINTS_ADMITTED);
    assert(needs.blocks > 0);
    return (struct room_needs){.blocks = MARGIN(needs.blocks), .nodes = MARGIN(needs.nodes)};
}

uint64_t
forest_room_tables(const struct forest *forest)
{
    assert(forest->tables.free_count <= forest->tables.node_count);
    const uint64_t needed = needs_admitted(forest, EVENTS_PER_BATCH_MAX).nodes;
    const uint64_t free = forest->tables.free_count;
    return free < needed ? 0 : (free - needed) * TABLES_PER_NODE;
}

uint64_t
forest_memory_bytes_needed(const struct forest *forest)
{
    const struct table_pool *pool = &forest->tables;
    assert(pool->free_count <= pool->node_count);
    const uint64_t used = pool->node_count - pool->free_count;
    const uint64_t needed = used + needs_admitted(forest, EVENTS_PER_BATCH_MAX).nodes;
    return forest_memory_bytes_for(forest, needed);
}

/*
 * Asks the grid for the blocks that are needed, and for those that are wished for (grid_reserve).
 */
static enum forest_room
reserve(struct forest *forest, const struct room_needs *needs, uint64_t wished)
{
    assert(forest->opened);
    assert(forest->tables.free_count <= forest->tables.node_count);
    if (needs->nodes > forest->tables.free_count) return FOREST_MEMORY_FULL;
    switch (grid_reserve(forest->grid, needs->blocks, wished)) {
    case GRID_ROOM: return FOREST_ROOM;
    case GRID_ROOM_WAITS: return FOREST_ROOM_WAITS;
    case GRID_ROOM_FULL: return FOREST_DISK_FULL;
    case GRID_ROOM_FAILED: return FOREST_IO_ERROR;
    }
    unreachable();
}

enum forest_room
forest_reserve(struct forest *forest, uint64_t event_count)
{
    assert(event_count <= UINT64_MAX - ROOM_AHEAD_EVENTS);
    if (event_count > 0 && event_count <= forest->room_events) return FOREST_ROOM;

    const uint64_t ahead = event_count + ROOM_AHEAD_EVENTS;
    const struct room_needs needs = needs_admitted(forest, event_count);
    const struct room_needs wished = needs_admitted(forest, ahead);
    const bool listed = wished.nodes <= forest->tables.free_count;
    const enum forest_room room =
        reserve(forest, &needs, listed ? max_u64(needs.blocks, wished.blocks) : needs.blocks);
    if (room == FOREST_ROOM) {
        const bool all = listed && wished.blocks <= grid_free_count(forest->grid);
        forest->room_events = all ? ahead : event_count;
    }
    return room;
}

enum forest_room
forest_reserve_replayed(struct forest *forest, uint64_t event_count)
{
    const struct room_needs needs = needs_of(forest, event_count, CHECKPOINTS_REPLAYED);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(!forest->active);
    return reserve(forest, &needs, needs.blocks);
}
