/* SPDX-License-Identifier: PostgreSQL */
/* The same code runs twice: first over an arena that only measures, then over the real one. */
#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/* Shares of the memory beyond the minimum. */
#define OBJECTS_SHARE 3
#define TABLES_SHARE  32

/*
 * About how many bytes it costs to find a record: its state, and its entries in two sparse indexes.
 */
#define OBJECT_OVERHEAD 90

/* The most records of the groove that one event pins or inserts. */
#define OP_RECORDS_PER_EVENT(schema)                                                               \
    ((schema)->inserts_per_event_max + (schema)->updates_per_event_max)

/* Nodes for lists of tables in the smallest forest. */
#define NODES_MIN (FOREST_PARTS_MAX * PART_NODES_MIN)

/* The sizes that depend on how much memory there is. */
struct sizes {
    /* Objects of each groove with updates, for records of 128 bytes; larger records get fewer. */
    uint32_t objects;
    uint32_t nodes;
    uint32_t frames;
};

/* ---- Sizes --------------------------------------------------------------------------------- */

static uint32_t
tail_count_max(void)
{
    /* A beat comes only after the op that makes it due, so a whole op may come on top. */
    return TAIL_ENTRIES + BEAT_ENTRIES + LOG_OP_RECORDS_MAX;
}

/* The most entries that are sorted together. */
static uint32_t
scratch_count(void)
{
    return (uint32_t) max_u64(tail_count_max(), FOREST_ASKS_MAX);
}

/*
 * The most records that are changed at a time: those that were too few to be flushed, and those of
 * the op that makes them enough.
 */
static uint32_t
dirty_max(const struct groove_schema *schema)
{
    return OBJECTS_DIRTY_MAX + OP_RECORDS_PER_EVENT(schema) * EVENTS_PER_BATCH_MAX;
}

/*
 * The fewest objects that the groove can work with. With updates: those that were dirty already,
 * and those of one op. For a log: what one op asks for, which is for each event the transfer of its
 * id and the transfer that it resolves.
 */
static uint32_t
objects_min(const struct groove_schema *schema)
{
    if (schema->updates_per_event_max == 0) return 2 * EVENTS_PER_BATCH_MAX;
    return dirty_max(schema);
}

static uint32_t
burns_for(const struct forest_schema *schema, uint32_t burnt_groove)
{
    assert(burnt_groove < schema->groove_count);
    for (uint32_t groove = 0; groove < schema->groove_count; groove++) {
        if (schema->grooves[groove].burnt_groove == burnt_groove) return groove;
    }
    return FOREST_NONE;
}

/* The most frames that are taken at the same time. */
static uint32_t
frames_min(const struct forest_schema *schema)
{
    assert(schema->groove_count > 0 && schema->groove_count <= FOREST_GROOVES_MAX);
    assert(schema->index_count <= FOREST_INDEXES_MAX);
    /*
     * Each merge builds a table, and some tables have filters. Tails are flushed one after another.
     */
    uint32_t tables = schema->index_count;
    uint32_t filtered = 0;
    uint32_t logs = 0;
    for (uint32_t i = 0; i < schema->groove_count; i++) {
        const struct groove_schema *groove = &schema->grooves[i];
        const bool is_log = groove->updates_per_event_max == 0;
        const bool ids = groove->id_offset != FOREST_NONE && burns_for(schema, i) == FOREST_NONE;
        logs += is_log ? 1 : 0;
        filtered += (is_log ? 0 : 1) + (ids ? 1u : 0u);
        /* A groove with updates has records and a list; ids come in addition. */
        tables += (is_log ? 0 : 2) + (ids ? 1u : 0u);
    }
    assert(filtered <= tables);
    assert(logs <= schema->groove_count);
    const uint32_t builders = LSM_LEVELS * (2 * tables + FILTER_BLOCKS_MAX * filtered);
    const uint32_t inputs = LEVEL_RUNS_MAX * 2 + GRID_READS_MAX;
    return builders + logs * (LOG_FRAMES_MAX + 3) + inputs + 256;
}

/* ---- Parts --------------------------------------------------------------------------------- */

static uint32_t
part_new(struct forest *forest, const char *name, const struct entry_format *format)
{
    assert(name != NULL);
    assert(format->size > 0);
    const uint32_t number = forest->part_count;
    assert(number < FOREST_PARTS_MAX);
    forest->part_count += 1;
    if (forest->parts == NULL) return number; /* Only measuring. */
    struct part *part = &forest->parts[number];
    *part = (struct part){0};
    struct entry_format numbered = *format;
    numbered.tree = (uint8_t) number;
    tree_init(&part->tree, name, &numbered, &forest->tables, &forest->cache);
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        merge_init(&part->merges[level], &part->tree, level);
    }
    return number;
}

static uint32_t
part_new_tail(
    struct forest *forest,
    struct arena *arena,
    const char *name,
    enum entry_shape shape,
    struct tail *tail)
{
    assert(shape == ENTRY_ID || shape == ENTRY_INDEX);
    assert(tail != NULL);
    const struct entry_format format = {
        .shape = (uint8_t) shape,
        .filtered = shape == ENTRY_ID,
        .size = shape == ENTRY_ID ? sizeof(struct entry24) : sizeof(struct entry16),
    };
    const uint32_t number = part_new(forest, name, &format);
    if (forest->parts != NULL && shape == ENTRY_ID) {
        forest->parts[number].tree.fanout = LSM_FANOUT_IDS;
    }
    tail_init(tail, arena, &format, tail_count_max());
    if (forest->parts != NULL) forest->parts[number].tail = tail;
    return number;
}

/* ---- Grooves --------------------------------------------------------------------------------- */

static void
fix_bytes(struct groove *groove, uint32_t offset, uint32_t size)
{
    assert(size > 0);
    assert(offset + size <= groove->schema->record_size);
    memset((char *) groove->fixed_words + offset, 0xff, size);
}

static void
init_objects(
    struct groove *groove, struct arena *arena, const struct sizes *sizes)
{
    const struct groove_schema *schema = groove->schema;
    const bool is_log = groove_is_log(groove);
    const uint64_t share = (uint64_t) sizes->objects * schema->record_size / 128;
    const uint32_t more = is_log ? 0 : (uint32_t) min_u64(share, OBJECTS_MAX / 4);
    const struct objects_options options = {
        .record_size = schema->record_size,
        .timestamp_offset = schema->timestamp_offset,
        .id_offset = schema->id_offset, /* FOREST_NONE means "no id" to the objects as well. */
        .object_count = objects_min(schema) + more,
        .dirty_max = is_log ? 1 : dirty_max(schema),
    };
    assert(schema->record_size > 0);
    assert(sizes->objects <= UINT32_MAX / 16);
    objects_init(&groove->objects, arena, &options);
}

static void
init_groove(struct forest *forest, struct arena *arena, const struct sizes *sizes, uint32_t number)
{
    assert(number < forest->schema->groove_count);
    const struct groove_schema *schema = &forest->schema->grooves[number];
    struct groove *groove = &forest->grooves[number];
    const struct entry_format format = {
        .shape = ENTRY_RECORD,
        .filtered = schema->updates_per_event_max > 0,
        .timestamp_offset = (uint16_t) schema->timestamp_offset,
        .size = schema->record_size,
    };
    assert(schema->record_size <= FOREST_RECORD_SIZE_MAX);
    assert(schema->record_size % 16 == 0);
    assert(schema->timestamp_offset + sizeof(uint64_t) <= schema->record_size);
    *groove = (struct groove){.schema = schema, .ids = PART_NONE, .list = PART_NONE};
    groove->burns_for = burns_for(forest->schema, number);
    assert(groove->burns_for != number);
    groove->records = part_new(forest, schema->name, &format);
    fix_bytes(groove, schema->timestamp_offset, sizeof(uint64_t));
    if (schema->id_offset != FOREST_NONE && groove->burns_for == FOREST_NONE) {
        groove->ids = part_new_tail(forest, arena, schema->name, ENTRY_ID, &groove->id_tail);
        fix_bytes(groove, schema->id_offset, sizeof(u128));
    }
    if (!groove_is_log(groove)) {
        groove->list = part_new_tail(forest, arena, schema->name, ENTRY_INDEX, &groove->list_tail);
    }
    init_objects(groove, arena, sizes);
    if (forest->parts == NULL) return;
    struct part *part = &forest->parts[groove->records];
    if (groove_is_log(groove)) {
        log_init(&groove->log, &part->tree);
        part->log = &groove->log;
    } else {
        part->tree.distinct = &groove->record_count;
        part->tree.fanout = LSM_FANOUT_RECORDS;
        part->objects = &groove->objects;
    }
}

static void
init_index(struct forest *forest, struct arena *arena, uint32_t number)
{
    assert(number < forest->schema->index_count);
    const struct index_schema *schema = &forest->schema->indexes[number];
    struct groove *groove = &forest->grooves[schema->groove];
    struct forest_index *index = &forest->indexes[number];
    assert(schema->groove < forest->schema->groove_count);
    assert(schema->field_size > 0 && schema->field_size <= sizeof(u128));
    index->schema = schema;
    index->part = part_new_tail(forest, arena, schema->name, ENTRY_INDEX, &index->tail);
    assert(groove->index_count < FOREST_INDEXES_MAX);
    groove->indexes[groove->index_count] = number;
    groove->index_count += 1;
    fix_bytes(groove, schema->field_offset, schema->field_size);
    if (schema->when_mask != 0) fix_bytes(groove, schema->when_offset, sizeof(schema->when_value));
}

/* ---- Everything ---------------------------------------------------------------------------- */

/* The checkpoint's own blocks are the manifest, the free set and the root. */
static uint32_t
own_blocks_max(const struct sizes *sizes, uint64_t block_count_max)
{
    const uint64_t runs = (uint64_t) FOREST_PARTS_MAX * TREE_RUNS_MAX;
    const uint64_t items = (uint64_t) sizes->nodes * TABLES_PER_NODE + runs;
    assert(sizes->nodes > 0);
    const uint64_t manifest = div_ceil(items, MANIFEST_ITEMS_PER_BLOCK);
    const uint64_t free_set = div_ceil(block_count_max, UINT64_C(8) * BLOCK_CONTENT_SIZE) + 1;
    assert(manifest + free_set + 2 <= UINT32_MAX);
    return (uint32_t) (manifest + free_set + 2);
}

/* The largest number of dirty records that any groove may have. */
static uint32_t
dirty_most(const struct forest_schema *schema)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < schema->groove_count; i++) {
        most = (uint32_t) max_u64(most, dirty_max(&schema->grooves[i]));
    }
    assert(most >= OBJECTS_DIRTY_MAX);
    return most;
}

/* Fills in the forest, which is all zero, and takes everything else from the arena. */
static void
init_take(
    struct forest *forest,
    struct arena *arena,
    struct grid *grid,
    const struct forest_schema *schema,
    const struct sizes *sizes)
{
    assert(forest->part_count == 0);
    assert(schema->groove_count > 0 && schema->groove_count <= FOREST_GROOVES_MAX);
    assert(schema->index_count <= FOREST_INDEXES_MAX);
    forest->schema = schema;
    forest->grid = grid;
    cache_init(&forest->cache, arena, grid, sizes->frames);
    table_pool_init(&forest->tables, arena, sizes->nodes);
    forest->parts = arena_take(arena, FOREST_PARTS_MAX, sizeof(struct part), 64);
    for (uint32_t groove = 0; groove < schema->groove_count; groove++) {
        init_groove(forest, arena, sizes, groove);
    }
    for (uint32_t index = 0; index < schema->index_count; index++) {
        init_index(forest, arena, index);
    }
    forest->scope.log_size_max = forest_scope_log_size_max(schema);
    forest->scope.log = arena_take(arena, forest->scope.log_size_max, 1, 16);
    forest->prefetched = arena_take(arena, 1, sizeof(struct forest_prefetched), 64);
    forest_asks_init(&forest->asked_ids, arena);
    forest_asks_init(&forest->asked_records, arena);
    forest->scratch = arena_take(arena, scratch_count(), sizeof(struct entry24), 64);
    forest->screened = arena_take(arena, EVENTS_PER_BATCH_MAX, sizeof(struct entry24), 64);
    forest->flushing = arena_take(arena, dirty_most(schema), sizeof(uint32_t), 64);
    scrub_init(&forest->scrub, arena, forest);
    tour_init(&forest->tour, arena, forest);
    const uint64_t blocks_max = grid == NULL ? 0 : grid->free_set.acquired.bit_count;
    forest->checkpoint.own_max = own_blocks_max(sizes, blocks_max);
    forest->checkpoint.own =
        arena_take(arena, forest->checkpoint.own_max, sizeof(struct block_reference), 16);
    assert(forest->part_count >= schema->groove_count);
    assert(forest->part_count <= FOREST_PARTS_MAX);
}

static uint64_t
init_memory_bytes(
    struct grid *grid, const struct forest_schema *schema, const struct sizes *sizes)
{
    struct forest measured = {0};
    struct arena arena;
    arena_init_measuring(&arena);
    assert(arena_measuring(&arena));
    (void) arena_take(&arena, 1, sizeof(struct forest), ARENA_ALIGNMENT);
    init_take(&measured, &arena, grid, schema, sizes);
    return arena.used_bytes + ARENA_ALIGNMENT;
}

static struct sizes
sizes_min(const struct forest_schema *schema)
{
    return (struct sizes){.nodes = NODES_MIN, .frames = frames_min(schema)};
}

uint64_t
forest_memory_bytes_min(struct grid *grid, const struct forest_schema *schema)
{
    assert(schema != NULL);
    const struct sizes sizes = sizes_min(schema);
    return init_memory_bytes(grid, schema, &sizes);
}

/* Divides the memory that there is. */
static struct sizes
sizes_for(struct grid *grid, const struct forest_schema *schema, uint64_t memory_bytes)
{
    struct sizes sizes = sizes_min(schema);
    const uint64_t least = init_memory_bytes(grid, schema, &sizes);
    assert(memory_bytes >= least);
    const uint64_t more = memory_bytes - least;
    uint64_t object_bytes = 0;
    for (uint32_t i = 0; i < schema->groove_count; i++) {
        const uint32_t record_size = schema->grooves[i].record_size;
        if (schema->grooves[i].updates_per_event_max == 0) continue;
        object_bytes += (record_size + OBJECT_OVERHEAD) * record_size / 128;
    }
    if (object_bytes > 0) {
        sizes.objects = (uint32_t) min_u64(more / OBJECTS_SHARE / object_bytes, UINT32_MAX / 16);
    }
    sizes.nodes += (uint32_t) min_u64(
        more / TABLES_SHARE / (sizeof(struct table_node) + sizeof(u128)), UINT32_MAX / 16);
    uint32_t low = sizes.frames;
    uint32_t high = low + (uint32_t) min_u64(more / BLOCK_SIZE, UINT32_MAX / 4);
    while (low < high) {
        sizes.frames = high - (high - low) / 2;
        if (init_memory_bytes(grid, schema, &sizes) <= memory_bytes) {
            low = sizes.frames;
        } else {
            high = sizes.frames - 1;
        }
    }
    sizes.frames = low;
    assert(sizes.nodes >= NODES_MIN);
    assert(sizes.frames > GRID_READS_MAX);
    return sizes;
}

uint64_t
forest_memory_bytes_for(const struct forest *forest, uint64_t node_count)
{
    assert(node_count <= UINT32_MAX);
    const uint64_t least = forest_memory_bytes_min(forest->grid, forest->schema);
    const uint64_t node_bytes = sizeof(struct table_node) + sizeof(u128);
    /*
     * A few more: with more memory the grid may be larger, and its bookkeeping takes part of what
     * was added.
     */
    const uint64_t more = node_count - min_u64(node_count, NODES_MIN) + 4;
    assert(forest->memory_bytes >= least);
    return least + more * TABLES_SHARE * node_bytes;
}

struct forest *
forest_init(struct arena *arena, struct grid *grid, const struct forest_options *options)
{
    const struct sizes sizes = sizes_for(grid, options->schema, options->memory_bytes);
    const uint64_t used_before = arena->used_bytes;
    struct forest *taken = arena_take(arena, 1, sizeof(struct forest), ARENA_ALIGNMENT);
    struct forest measured = {0};
    struct forest *forest = taken == NULL ? &measured : taken;
    assert((taken == NULL) == arena_measuring(arena));
    *forest = (struct forest){0};
    init_take(forest, arena, grid, options->schema, &sizes);
    if (taken != NULL) forest_room_init(taken);
    forest->memory_bytes = options->memory_bytes;
    assert(arena->used_bytes - used_before <= options->memory_bytes);
    return taken;
}

void
forest_stats_get(const struct forest *forest, struct forest_stats *stats)
{
    const struct block_cache *cache = &forest->cache;
    const uint64_t frames_free = cache->available;
    assert(frames_free <= cache->frame_count);
    assert(frames_free * BLOCK_SIZE <= forest->memory_bytes);
    *stats = (struct forest_stats){
        .memory_bytes_max = forest->memory_bytes,
        .memory_bytes_used = forest->memory_bytes - frames_free * BLOCK_SIZE,
        .tables = forest->tables.table_count,
        .tables_max = forest->tables.table_count + forest_room_tables(forest),
        .cache_blocks = cache->frame_count,
        .cache_hits = cache->stats.hits,
        .cache_misses = cache->stats.misses,
        .cache_evictions = cache->stats.evictions,
    };
    for (uint32_t groove = 0; groove < forest->schema->groove_count; groove++) {
        stats->records[groove] = forest->grooves[groove].record_count;
    }
}

void
forest_invariants(const struct forest *forest)
{
    assert(forest->opened);
    /* No op sees a state that a checkpoint is still writing. */
    assert(!forest->active || forest->checkpoint.stage == CHECKPOINT_IDLE);
    cache_invariants(&forest->cache);
    for (uint32_t groove = 0; groove < forest->schema->groove_count; groove++) {
        objects_invariants(&forest->grooves[groove].objects);
    }
}

void
forest_recount(const struct forest *forest)
{
    cache_recount(&forest->cache);
    for (uint32_t groove = 0; groove < forest->schema->groove_count; groove++) {
        objects_recount(&forest->grooves[groove].objects);
    }
}
