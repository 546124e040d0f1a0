/* SPDX-License-Identifier: PostgreSQL */
/*
 * Taking the forest's memory: what is fixed, then pages with all that is left.
 *
 * How many pages fit is found by measuring: the same code that takes the memory runs over an arena
 * that only counts.
 */
#include <string.h>

#include "base/units.h"
#include "lsm/forest_internal.h"

static void
init_check_schema(const struct forest_schema *schema)
{
    assert(schema->tree_count > 0);
    assert(schema->tree_count <= FOREST_TREES_MAX);
    assert(schema->index_count <= FOREST_INDEXES_MAX);
    for (uint32_t tree = 0; tree < schema->tree_count; tree++) {
        const uint32_t burnt_tree = schema->trees[tree].burnt_tree;
        if (burnt_tree == FOREST_NONE) continue;
        assert(burnt_tree < schema->tree_count);
        assert(burnt_tree != tree);
        assert(schema->trees[tree].id_offset != FOREST_NONE);
        assert(schema->trees[burnt_tree].id_offset != FOREST_NONE);
        assert(schema->trees[burnt_tree].burnt_tree == FOREST_NONE);
        for (uint32_t other = 0; other < tree; other++) {
            assert(schema->trees[other].burnt_tree != burnt_tree);
        }
    }
    for (uint32_t index = 0; index < schema->index_count; index++) {
        assert(schema->indexes[index].tree < schema->tree_count);
    }
}

/* The tree whose burnt ids this tree holds, or FOREST_NONE. */
static uint32_t
init_burns_for(const struct forest_schema *schema, uint32_t burnt_tree)
{
    assert(burnt_tree < schema->tree_count);
    for (uint32_t tree = 0; tree < schema->tree_count; tree++) {
        if (schema->trees[tree].burnt_tree == burnt_tree) return tree;
    }
    return FOREST_NONE;
}

/* No update changes these bytes of the tree's records. */
static void
init_fix_bytes(struct forest_tree *forest_tree, uint32_t offset, uint32_t size)
{
    assert(size > 0);
    assert(offset + size <= forest_tree->tree.schema->record_size);
    memset((char *) forest_tree->fixed_words + offset, 0xff, size);
}

static void
init_tree(struct forest *forest, struct arena *arena, uint32_t number)
{
    assert(number < forest->schema->tree_count);
    const struct tree_schema *schema = &forest->schema->trees[number];
    struct forest_tree *forest_tree = &forest->trees[number];
    assert(schema->record_size <= FOREST_RECORD_SIZE_MAX);
    forest_tree->burns_for = init_burns_for(forest->schema, number);
    forest_tree->has_ids =
        schema->id_offset != FOREST_NONE && forest_tree->burns_for == FOREST_NONE;
    tree_init(&forest_tree->tree, arena, &forest->pages, schema, (uint8_t) number);
    init_fix_bytes(forest_tree, schema->timestamp_offset, sizeof(uint64_t));
    if (!forest_tree->has_ids) return;
    init_fix_bytes(forest_tree, schema->id_offset, sizeof(u128));
    forest_tree->ids.tree = &forest_tree->tree;
    forest_tree->ids.burnt =
        schema->burnt_tree == FOREST_NONE ? NULL : &forest->trees[schema->burnt_tree].tree;
    row_map_init(&forest_tree->ids.map, arena, &forest->pages, &forest->chunks);
}

static void
init_index(struct forest *forest, struct arena *arena, uint32_t number)
{
    assert(number < forest->schema->index_count);
    const struct index_schema *schema = &forest->schema->indexes[number];
    struct forest_tree *forest_tree = &forest->trees[schema->tree];
    assert(schema->field_offset + schema->field_size <= forest_tree->tree.schema->record_size);
    switch (schema->kind) {
    case INDEX_EQUAL:
        postings_init(
            &forest->indexes[number].postings, arena, &forest->chunks, schema, &forest_tree->tree);
        forest_tree->equal[forest_tree->equal_count] = number;
        forest_tree->equal_count += 1;
        init_fix_bytes(forest_tree, schema->field_offset, schema->field_size);
        break;
    case INDEX_ORDERED:
        ordered_index_init(&forest->indexes[number].ordered, &forest->chunks, schema);
        forest_tree->ordered[forest_tree->ordered_count] = number;
        forest_tree->ordered_count += 1;
        break;
    }
}

/* Fills the forest, which is zero, and takes everything else from the arena. */
static void
init_take(
    struct forest *forest,
    struct arena *arena,
    const struct forest_schema *schema,
    uint32_t page_count)
{
    assert(page_count > 0);
    assert(forest->schema == NULL);
    init_check_schema(schema);
    forest->schema = schema;
    page_pool_init(&forest->pages, arena, page_count);
    chunk_pool_init(&forest->chunks, &forest->pages);
    for (uint32_t tree = 0; tree < schema->tree_count; tree++) {
        init_tree(forest, arena, tree);
    }
    for (uint32_t index = 0; index < schema->index_count; index++) {
        init_index(forest, arena, index);
    }
    forest->scope.log_size_max = forest_scope_log_size_max(schema);
    forest->scope.log = arena_take(arena, forest->scope.log_size_max, 1, 16);

    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    checkpoint->manifest_addresses =
        arena_take(arena, forest_manifest_block_count(page_count), sizeof(uint64_t), 8);
    checkpoint->manifest_buffers = arena_take(arena, MANIFEST_BUFFERS, BLOCK_SIZE, SECTOR_SIZE);
}

/* What a forest with so many pages takes from an arena, alignment at its start included. */
static uint64_t
init_memory_bytes(const struct forest_schema *schema, uint32_t page_count)
{
    struct forest measured = {0};
    struct arena arena;
    arena_init_measuring(&arena);
    (void) arena_take(&arena, 1, sizeof(struct forest), ARENA_ALIGNMENT);
    init_take(&measured, &arena, schema, page_count);
    assert(arena.used_bytes > (uint64_t) page_count * BLOCK_SIZE);
    return arena.used_bytes + ARENA_ALIGNMENT;
}

/* The most pages that fit. */
static uint32_t
init_page_count(const struct forest_schema *schema, uint64_t memory_bytes)
{
    assert(memory_bytes >= BLOCK_SIZE);
    uint32_t low = 1;
    uint32_t high = (uint32_t) min_u64(memory_bytes / BLOCK_SIZE, PAGES_MAX - 1);
    assert(init_memory_bytes(schema, low) <= memory_bytes);
    while (low < high) {
        const uint32_t middle = high - (high - low) / 2;
        if (init_memory_bytes(schema, middle) <= memory_bytes) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/* Pages that the forest takes when it is made: one for each row map. */
static uint64_t
init_pages_taken(const struct forest *forest)
{
    assert(forest->schema != NULL);
    uint64_t count = 0;
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        count += forest->trees[tree].has_ids;
        count += forest->trees[tree].equal_count;
    }
    return count;
}

uint64_t
forest_memory_bytes_for(const struct forest_schema *schema, const struct forest_growth *growth)
{
    struct forest empty = {0};
    struct arena arena;
    arena_init_measuring(&arena);
    init_take(&empty, &arena, schema, 1);
    assert(forest_page_count(&empty) == 0);
    const uint64_t pages =
        init_pages_taken(&empty) + forest_pages_needed(&empty, growth) + forest_pages_spare(schema);
    assert(pages < PAGES_MAX);
    return init_memory_bytes(schema, (uint32_t) pages);
}

uint64_t
forest_memory_bytes_min(const struct forest_schema *schema)
{
    assert(schema != NULL);
    const struct forest sized = {.schema = schema};
    const struct forest_growth growth =
        forest_growth_of_events(&sized, EVENTS_PER_BATCH_MAX + PULSE_EXPIRIES_MAX);
    return forest_memory_bytes_for(schema, &growth);
}

struct forest *
forest_init(struct arena *arena, struct grid *grid, const struct forest_options *options)
{
    assert(options->memory_bytes >= forest_memory_bytes_min(options->schema));
    const uint32_t page_count = init_page_count(options->schema, options->memory_bytes);
    const uint64_t used_before = arena->used_bytes;
    struct forest *taken = arena_take(arena, 1, sizeof(struct forest), ARENA_ALIGNMENT);
    struct forest measured;
    struct forest *forest = taken == NULL ? &measured : taken;
    assert((taken == NULL) == arena_measuring(arena));
    *forest = (struct forest){0};
    init_take(forest, arena, options->schema, page_count);
    forest->grid = grid;
    forest->memory_bytes = options->memory_bytes;
    assert(forest->pages.used_count == (taken == NULL ? 0 : init_pages_taken(forest)));
    forest->memory_bytes_fixed =
        arena->used_bytes - used_before - (uint64_t) page_count * BLOCK_SIZE;
    for (uint32_t i = 0; i < GRID_WRITES_MAX; i++) {
        forest->checkpoint.writes[i].forest = forest;
    }
    assert(arena->used_bytes - used_before <= options->memory_bytes);
    return taken;
}
