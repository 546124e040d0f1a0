/* SPDX-License-Identifier: PostgreSQL */
/*
 * After opening, the records that changed last are brought among the objects, table by table, so
 * that replay and the first new ops needn't look them up one by one.
 *
 * This only helps; results never depend on it. If a block can't be read, warming ends: what older
 * runs have may be older versions of what that block holds.
 */
#include "base/units.h"
#include "forest/internal.h"

/* How many blocks are asked for ahead. */
#define WARM_BLOCKS_AHEAD 64

static const struct tree *
warm_tree(const struct forest *forest)
{
    assert(forest->warm.groove < forest->schema->groove_count);
    return &forest->parts[forest->grooves[forest->warm.groove].records].tree;
}

/*
 * The current run. Runs are taken from new to old, so that the version of a record that is met
 * first is the newest.
 */
static uint32_t
warm_run(const struct forest *forest)
{
    const struct forest_warm *warm = &forest->warm;
    const struct tree *tree = warm_tree(forest);
    assert(warm->level < LSM_LEVELS);
    assert(warm->run < tree->run_count[warm->level]);
    return tree->order[warm->level][tree->run_count[warm->level] - 1 - warm->run];
}

/*
 * The first key that isn't hidden. What is hidden is in another run, and may be an older version
 * here.
 */
static u128
warm_key_first(const struct forest *forest)
{
    const struct tree_run *run = &warm_tree(forest)->runs[warm_run(forest)];
    assert(run->used);
    return run->has_hidden ? run->hidden + 1 : 1;
}

/* Goes on to the next groove. Logs are left out, since their records never change. */
static void
warm_next_groove(struct forest *forest)
{
    struct forest_warm *warm = &forest->warm;
    assert(warm->groove < forest->schema->groove_count);
    *warm = (struct forest_warm){.groove = warm->groove + 1, .blocks = warm->blocks};
}

/* Goes to the run's first table, or past the level's last run to the next level. */
static void
warm_settle(struct forest *forest)
{
    struct forest_warm *warm = &forest->warm;
    assert(!warm->settled);
    while (warm->groove < forest->schema->groove_count) {
        const struct tree *tree = warm_tree(forest);
        if (groove_is_log(&forest->grooves[warm->groove]) || warm->level == LSM_LEVELS) {
            warm_next_groove(forest);
        } else if (warm->run == tree->run_count[warm->level]) {
            warm->level += 1;
            warm->run = 0;
        } else {
            warm->place = tree_run_find(tree, warm_run(forest), warm_key_first(forest));
            warm->block = 0;
            warm->settled = true;
            if (warm->place.node != NODE_NONE) return;
            warm->run += 1;
            warm->settled = false;
        }
    }
}

static void
warm_next_table(struct forest *forest)
{
    struct forest_warm *warm = &forest->warm;
    assert(warm->settled);
    warm->block = 0;
    warm->place = tree_run_next(warm_tree(forest), warm_run(forest), warm->place);
    if (warm->place.node != NODE_NONE) return;
    warm->run += 1;
    warm->settled = false;
}

/* Brings in the records that aren't in memory yet. Returns false if there is no more room. */
static bool
warm_take(struct forest *forest, uint32_t frame, uint32_t entry_count)
{
    struct objects *objects = &forest->grooves[forest->warm.groove].objects;
    const struct entry_format *format = &warm_tree(forest)->format;
    const char *entries = cache_content(&forest->cache, frame);
    const u128 key_first = warm_key_first(forest);
    assert(format->shape == ENTRY_RECORD);
    assert(entry_count <= entries_per_block(format));
    for (uint32_t i = 0; i < entry_count; i++) {
        const char *entry = entries + (uint64_t) i * format->size;
        const uint64_t timestamp = u128_low(entry_key(format, entry));
        if (timestamp < key_first) continue;
        if (objects_find(objects, timestamp) != OBJECT_NONE) continue;
        if (objects->count == objects->options.object_count) return false;
        (void) objects_insert(objects, entry, forest->epoch);
    }
    return true;
}

/* Takes the current block, and goes on to the next. */
static enum forest_work
warm_block(struct forest *forest)
{
    struct forest_warm *warm = &forest->warm;
    struct block_cache *cache = &forest->cache;
    const struct tree *tree = warm_tree(forest);
    const struct table_info *table = tree_table(tree, warm->place);
    uint32_t frame;
    enum cache_result result = table_index_get(cache, &tree->format, table, &frame);
    if (result == CACHE_WAIT) return FOREST_WORK_WAITS;
    if (result == CACHE_LOST) {
        /* What follows may be older versions of the records in this block. */
        warm_next_groove(forest);
        return FOREST_WORK_LEFT;
    }
    const struct table_block *blocks = table_blocks(cache, frame);
    const struct table_values values = table_values_at(table, blocks, warm->block);
    /* Asking for blocks may evict others, but not the index block that names them. */
    cache_pin(cache, frame);
    for (uint32_t i = 1; i <= WARM_BLOCKS_AHEAD && warm->block + i < table->block_count; i++) {
        const struct block_reference next = table_block_reference(&blocks[warm->block + i]);
        (void) cache_hint(cache, &next, BLOCK_VALUES, tree->format.tree);
    }
    cache_unpin(cache, frame);
    result = table_values_get(cache, &tree->format, &values, &frame);
    if (result == CACHE_WAIT) return FOREST_WORK_WAITS;
    warm->blocks += 1;
    warm->block += 1;
    if (result == CACHE_LOST || !warm_take(forest, frame, values.block.entry_count)) {
        warm_next_groove(forest);
    } else if (warm->block == table->block_count) {
        warm_next_table(forest);
    }
    return FOREST_WORK_LEFT;
}

enum forest_work
forest_warm(struct forest *forest)
{
    struct forest_warm *warm = &forest->warm;
    enum forest_work work = FOREST_WORK_LEFT;
    assert(forest->opened);
    assert(!forest->active);
    while (work == FOREST_WORK_LEFT) {
        if (!warm->settled) warm_settle(forest);
        const bool done =
            warm->groove == forest->schema->groove_count || warm->blocks == WARM_BLOCKS_MAX;
        if (done || forest_failed(forest)) return FOREST_WORK_DONE;
        work = warm_block(forest);
    }
    return work;
}
