/* SPDX-License-Identifier: PostgreSQL */
/* See watch.h. */
#include "forest/watch.h"

#include "forest/internal.h"

static bool
block_live(const struct forest *forest, uint64_t address)
{
    assert(forest->opened);
    return grid_is_acquired(forest->grid, address) && !grid_is_released(forest->grid, address);
}

static void
check_run(
    const struct forest *forest,
    const struct tree *tree,
    uint32_t run,
    struct forest_check *check)
{
    assert(run < TREE_RUNS_MAX);
    uint32_t count = 0;
    u128 key_last = 0;
    assert(tree->runs[run].used);
    struct table_place place = tree_run_first(tree, run);
    for (; place.node != NODE_NONE; place = tree_run_next(tree, run, place)) {
        const struct table_info *table = tree_table(tree, place);
        const bool ascends = count == 0 || table->key_min > key_last; /* (V1) */
        count += 1;
        key_last = table->key_max;
        if (table->moved) continue;
        check->blocks_listed += UINT64_C(1) + table->block_count + table->filter_count;
        const bool ordered = ascends && table->key_min <= table->key_max;
        if (ordered && block_live(forest, table->index.address)) continue;
        if (check->table_address != 0) continue;
        check->table_address = table->index.address;
        check->tree_name = tree->name;
    }
    assert(count == tree->runs[run].table_count);
}

/* How many blocks the table has that is being made. */
static uint64_t
builder_blocks(const struct table_builder *builder)
{
    assert(builder->table.block_count <= TABLE_BLOCKS_MAX);
    return table_builder_active(builder) ? builder->table.block_count : 0;
}

void
forest_check(const struct forest *forest, struct forest_check *check)
{
    assert(forest->opened);
    assert(forest->part_count <= FOREST_PARTS_MAX);
    *check = (struct forest_check){
        .blocks_taken = grid_live_count(forest->grid),
        .blocks_listed = forest->checkpoint.own_count,
    };
    for (uint32_t i = 0; i < forest->part_count; i++) {
        const struct part *part = forest_part(forest, i);
        for (uint32_t run = 0; run < TREE_RUNS_MAX; run++) {
            if (part->tree.runs[run].used) check_run(forest, &part->tree, run, check);
        }
        if (part->log != NULL) check->blocks_listed += builder_blocks(&part->log->builder);
        for (uint32_t level = 0; level < LSM_LEVELS; level++) {
            if (!part->merges[level].active) continue;
            check->blocks_listed += builder_blocks(&part->merges[level].builder);
        }
    }
}
