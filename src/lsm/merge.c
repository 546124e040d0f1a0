/* SPDX-License-Identifier: PostgreSQL */
/* See merge.h. */
#include "lsm/merge.h"

#include "base/units.h"
#include "lsm/loser_tree.h"

/* Blocks that are merged between looks for free frames. */
#define MERGE_STEP_BLOCKS 8

/* ---- Starting ------------------------------------------------------------------------------ */

void
merge_init(struct merge *merge, struct tree *tree, uint32_t level)
{
    assert(tree != NULL);
    assert(level < LSM_LEVELS);
    *merge = (struct merge){.tree = tree, .level = level};
    table_builder_init(&merge->builder, tree->cache, &tree->format);
}

static void
merge_add_input(struct merge *merge, uint32_t run_number)
{
    assert(run_number < TREE_RUNS_MAX);
    assert(merge->input_count < LEVEL_RUNS_MAX);
    struct tree_run *run = &merge->tree->runs[run_number];
    struct merge_input *input = &merge->inputs[merge->input_count];
    assert(run->used);
    assert(run->merging);
    assert(!run->building);
    *input = (struct merge_input){
        .run = (uint8_t) run_number,
        .place = tree_run_first(merge->tree, run_number),
        .exhausted = run->table_count == 0,
        .frame = FRAME_NONE,
    };
    merge->input_count += 1;
    merge->entries_left += run->entry_count;
}

/* All inputs at the first of their entries that is not hidden. */
static void
merge_take_inputs(struct merge *merge)
{
    const struct tree *tree = merge->tree;
    assert(merge->level < LSM_LEVELS);
    assert(!table_builder_active(&merge->builder));
    merge->input_count = 0;
    merge->entries_left = 0;
    merge->has_last = false;
    merge->quota = 0;
    for (uint32_t i = tree->run_count[merge->level]; i > 0; i--) {
        const uint32_t run = tree->order[merge->level][i - 1];
        if (tree->runs[run].merging) merge_add_input(merge, run);
    }
    assert(merge->input_count >= 2);
}

void
merge_start(struct merge *merge, bool same_level)
{
    struct tree *tree = merge->tree;
    assert(!merge->active);
    assert(merge->quota == 0);
    for (uint32_t i = 0; i < tree->run_count[merge->level]; i++) {
        struct tree_run *run = &tree->runs[tree->order[merge->level][i]];
        assert(!run->merging); /* (M1) */
        run->merging = !run->building;
    }
    assert(same_level || merge->level < LSM_LEVELS - 1);
    /* What comes to the same level meanwhile is newer than the output. */
    const uint32_t level = same_level ? merge->level : merge->level + 1;
    merge->output = (uint8_t) tree_run_new(tree, level, same_level);
    tree->runs[merge->output].building = true;
    merge->active = true;
    merge->dropping = false;
    merge_take_inputs(merge);
}

void
merge_resume(struct merge *merge, uint32_t output)
{
    assert(output < TREE_RUNS_MAX);
    assert(!merge->active);
    assert(merge->tree->runs[output].building);
    assert(merge->tree->runs[output].used);
    merge->output = (uint8_t) output;
    merge->active = true;
    merge->dropping = false;
    merge_take_inputs(merge);
}

/* ---- Inputs -------------------------------------------------------------------------------- */

static void
input_unpin(struct merge *merge, struct merge_input *input)
{
    assert(input->positioned == (input->frame != FRAME_NONE));
    if (input->frame != FRAME_NONE) cache_unpin(merge->tree->cache, input->frame);
    input->frame = FRAME_NONE;
    input->positioned = false;
}

/* The next table, at its start; past the last one the input is exhausted. */
static void
input_next_table(struct merge *merge, struct merge_input *input)
{
    assert(!input->exhausted);
    assert(!input->positioned);
    input->place = tree_run_next(merge->tree, input->run, input->place);
    input->block = 0;
    input->entry = 0;
    input->exhausted = input->place.node == NODE_NONE;
}

/* Asks for the blocks that come next, so that they are there when they are needed. */
static void
input_hint(
    const struct merge *merge, const struct merge_input *input, const struct table_block *blocks)
{
    const struct tree *tree = merge->tree;
    assert(input->block < input->block_count);
    for (uint32_t i = 1; i <= MERGE_BLOCKS_AHEAD && input->block + i < input->block_count; i++) {
        const struct block_reference next = table_block_reference(&blocks[input->block + i]);
        cache_hint(tree->cache, &next, BLOCK_VALUES, tree->format.tree);
    }
    if (input->block + MERGE_BLOCKS_AHEAD < input->block_count) return;
    const struct table_place place = tree_run_next(tree, input->run, input->place);
    if (place.node == NODE_NONE) return;
    cache_hint(tree->cache, &tree_table(tree, place)->index, BLOCK_INDEX, tree->format.tree);
}

/* Skips what is hidden: after a restart, the first table is merged in part. */
static bool
input_skip_hidden(
    const struct merge *merge, struct merge_input *input, const struct table_block *blocks)
{
    const struct tree_run *run = &merge->tree->runs[input->run];
    assert(!input->exhausted);
    if (!run->has_hidden || input->block > 0 || input->entry > 0) return false;
    if (tree_table(merge->tree, input->place)->key_min > run->hidden) return false;
    input->block = table_blocks_find(blocks, input->block_count, run->hidden + 1);
    return true;
}

/* Has the input's entry at hand in memory. */
static enum cache_result
input_position(struct merge *merge, struct merge_input *input)
{
    const struct tree *tree = merge->tree;
    const struct tree_run *run = &tree->runs[input->run];
    uint32_t frame;
    assert(!input->positioned);
    /* Merged wholly before the restart, or just now. */
    while (!input->exhausted && run->has_hidden &&
           tree_table(tree, input->place)->key_max <= run->hidden) {
        input_next_table(merge, input);
    }
    if (input->exhausted) return CACHE_READY;
    const struct table_info *table = tree_table(tree, input->place);
    enum cache_result result = table_index_get(tree->cache, &tree->format, table, &frame);
    if (result != CACHE_READY) return result;
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    input->block_count = table->block_count;
    const bool skipped = input_skip_hidden(merge, input, blocks);
    assert(input->block < input->block_count);
    const struct table_block block = blocks[input->block];
    input_hint(merge, input, blocks);
    result = table_values_get(tree->cache, &tree->format, &block, &frame);
    if (result != CACHE_READY) {
        if (skipped) input->block = 0; /* Found again then. */
        return result;
    }
    input->entries = cache_content(tree->cache, frame);
    input->entry_count = block.entry_count;
    if (skipped) {
        input->entry = entries_lower_bound(
            &tree->format, input->entries, input->entry_count, run->hidden + 1);
    }
    if (input->entry == input->entry_count) return cache_refuse(tree->cache, frame);
    cache_pin(tree->cache, frame);
    input->frame = frame;
    input->positioned = true;
    return CACHE_READY;
}

static const char *
input_entry(const struct merge *merge, const struct merge_input *input)
{
    assert(input->positioned);
    return input->entries + (uint64_t) input->entry * merge->tree->format.size;
}

static u128
input_key(const struct merge *merge, const struct merge_input *input)
{
    return entry_key(&merge->tree->format, input_entry(merge, input));
}

/* Past `count` entries of the block at hand. */
static void
input_advance(struct merge *merge, struct merge_input *input, uint32_t count)
{
    input->entry += count;
    assert(input->entry <= input->entry_count);
    if (input->entry < input->entry_count) return;
    input_unpin(merge, input);
    input->block += 1;
    input->entry = 0;
    if (input->block == input->block_count) input_next_table(merge, input);
}

/* ---- Output -------------------------------------------------------------------------------- */

/* Everything up to the key is in the output's tables. */
static void
merge_hide(struct merge *merge, u128 key)
{
    struct tree *tree = merge->tree;
    assert(merge->active);
    assert(merge->input_count >= 2);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct merge_input *input = &merge->inputs[i];
        struct tree_run *run = &tree->runs[input->run];
        assert(!run->has_hidden || key > run->hidden);
        run->hidden = key;
        run->has_hidden = true;
        if (input->exhausted || tree_table(tree, input->place)->key_max > key) continue;
        /* All that is left of its table is an older version of the key: it goes with the table. */
        assert(tree_mutable(tree));
        assert(merge->entries_left > 0);
        merge->entries_left -= 1;
        input_unpin(merge, input);
        input_next_table(merge, input);
    }
    tree->version += 1;
    merge->dropping = true;
}

static void
merge_finish_table(struct merge *merge)
{
    assert(merge->active);
    assert(merge->has_last && merge->builder.key_last == merge->key_last);
    const struct table_info table = table_builder_finish(&merge->builder);
    tree_run_append(merge->tree, merge->output, &table);
    merge_hide(merge, table.key_max);
}

/* Gives a table's blocks back: its index block, which is in memory, lists the others. */
static void
release_table(struct tree *tree, const struct table_info *table, uint32_t frame_index)
{
    assert(!table->moved);
    const struct table_block *blocks = table_blocks(tree->cache, frame_index);
    const uint32_t count = (uint32_t) table->block_count + table->filter_count;
    assert(count <= TABLE_BLOCKS_PER_INDEX);
    for (uint32_t i = 0; i < count; i++) {
        grid_release(tree->cache->grid, blocks[i].address);
        cache_forget(tree->cache, blocks[i].address);
    }
    grid_release(tree->cache->grid, table->index.address);
    cache_forget(tree->cache, table->index.address);
}

/* Releases the tables of inputs that are hidden wholly. */
static enum cache_result
merge_drop(struct merge *merge)
{
    struct tree *tree = merge->tree;
    assert(merge->dropping);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        const uint32_t number = merge->inputs[i].run;
        const struct tree_run *run = &tree->runs[number];
        assert(run->has_hidden);
        while (run->table_count > 0) {
            const struct table_info *table = tree_table(tree, tree_run_first(tree, number));
            if (table->key_max > run->hidden) break;
            if (!table->moved) {
                uint32_t frame;
                const enum cache_result result =
                    table_index_get(tree->cache, &tree->format, table, &frame);
                if (result != CACHE_READY) return result;
                release_table(tree, table, frame);
            }
            tree_run_pop(tree, number);
        }
    }
    merge->dropping = false;
    return CACHE_READY;
}

/* All inputs are empty. */
static void
merge_complete(struct merge *merge)
{
    struct tree *tree = merge->tree;
    assert(merge->active);
    assert(!merge->dropping);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        assert(merge->inputs[i].exhausted);
        tree_run_remove(tree, merge->level, merge->inputs[i].run);
    }
    assert(tree->runs[merge->output].table_count > 0);
    assert(!table_builder_active(&merge->builder));
    tree->runs[merge->output].building = false;
    merge->active = false;
    merge->quota = 0;
    tree->version += 1;
}

/* ---- Working ------------------------------------------------------------------------------- */

/*
 * Has all inputs positioned. All are asked, so that their reads are under way at the same time.
 */
static enum merge_result
merge_position(struct merge *merge, struct loser_tree *losers)
{
    enum merge_result result = MERGE_DONE;
    assert(merge->input_count >= 2 && merge->input_count <= LEVEL_RUNS_MAX);
    loser_tree_init(losers, merge->input_count);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct merge_input *input = &merge->inputs[i];
        if (!input->exhausted && !input->positioned) {
            const enum cache_result got = input_position(merge, input);
            if (got == CACHE_LOST) return MERGE_LOST;
            if (got == CACHE_WAIT) result = MERGE_WAIT;
        }
        if (input->exhausted) {
            loser_tree_exhaust(losers, i);
        } else if (input->positioned) {
            loser_tree_set(losers, i, input_key(merge, input));
        }
    }
    if (result == MERGE_DONE) loser_tree_build(losers);
    return result;
}

/* May the table that the winner is about to begin be moved as it is? */
static bool
merge_may_move(const struct merge *merge, const struct merge_input *input, u128 bound)
{
    if (input->block > 0 || input->entry > 0) return false;
    const struct table_info *table = tree_table(merge->tree, input->place);
    if (table->entry_count < table_entries_max(&merge->tree->format) / 2) return false;
    /* An older input's entry of the same key would be left over. */
    return table->key_max < bound;
}

static void
merge_move_table(struct merge *merge, struct merge_input *input)
{
    struct tree *tree = merge->tree;
    assert(!input->exhausted);
    struct table_info *table = &tree->pool->nodes[input->place.node].tables[input->place.index];
    const struct table_info moved = *table;
    assert(!moved.moved);
    if (table_builder_active(&merge->builder)) {
        /* The small table that this may leave behind is paid for with what moving saves. */
        merge->quota -= min_u64(merge->quota, moved.entry_count);
        merge_finish_table(merge);
    }
    assert(merge->entries_left >= moved.entry_count);
    table->moved = true;
    merge->entries_left -= moved.entry_count;
    merge->key_last = moved.key_max;
    merge->has_last = true;
    input_unpin(merge, input);
    input_next_table(merge, input);
    tree_run_append(tree, merge->output, &moved);
    merge_hide(merge, moved.key_max);
}

/* Copies a stretch of the winner's block: all entries below the bound, or just the first. */
static uint32_t
merge_copy(struct merge *merge, struct merge_input *input, u128 bound, uint64_t count_max)
{
    const struct entry_format *format = &merge->tree->format;
    const char *entries = input_entry(merge, input);
    const uint32_t left =
        (uint32_t) min_u64(input->entry_count - input->entry, count_max);
    const char *last = entries + (uint64_t) (left - 1) * format->size;
    const uint32_t count = entry_key(format, last) < bound ? left : 1;
    if (!table_builder_active(&merge->builder)) {
        table_builder_begin(&merge->builder, merge->entries_left);
    }
    return table_builder_add_some(&merge->builder, entries, count);
}

/* The winner has `count` entries less; its next one competes. */
static enum merge_result
merge_consume(
    struct merge *merge, struct loser_tree *losers, struct merge_input *input, uint32_t count)
{
    assert(merge->entries_left >= count);
    merge->entries_left -= count;
    merge->quota -= count;
    input_advance(merge, input, count);
    if (!input->exhausted && !input->positioned) {
        const enum cache_result result = input_position(merge, input);
        if (result != CACHE_READY) return result == CACHE_LOST ? MERGE_LOST : MERGE_WAIT;
    }
    if (input->exhausted) {
        loser_tree_exhaust_winner(losers);
    } else {
        loser_tree_replace(losers, input_key(merge, input));
    }
    return MERGE_DONE;
}

/*
 * Merges until so many entries are gone, or a table is finished, or all inputs are exhausted. The
 * frames that this takes are available.
 */
static enum merge_result
merge_step(struct merge *merge, struct loser_tree *losers, uint64_t entries_max)
{
    assert(entries_max > 0);
    const uint64_t quota_end = merge->quota - min_u64(merge->quota, entries_max);
    enum merge_result result = MERGE_DONE;
    while (result == MERGE_DONE && merge->quota > quota_end && !merge->dropping) {
        const uint32_t winner = loser_tree_winner(losers);
        if (winner == LOSER_TREE_NONE) break;
        struct merge_input *input = &merge->inputs[winner];
        const u128 key = input_key(merge, input);
        if (merge->has_last && key == merge->key_last) {
            assert(tree_mutable(merge->tree)); /* An older version. */
            result = merge_consume(merge, losers, input, 1);
            continue;
        }
        const u128 bound = loser_tree_runner_up(losers);
        if (merge_may_move(merge, input, bound)) {
            merge_move_table(merge, input);
            return MERGE_DONE;
        }
        const uint32_t count = merge_copy(merge, input, bound, merge->quota - quota_end);
        merge->key_last = merge->builder.key_last;
        merge->has_last = true;
        result = merge_consume(merge, losers, input, count);
        if (table_builder_full(&merge->builder)) merge_finish_table(merge);
    }
    assert(merge->quota >= quota_end);
    return result;
}

static bool
merge_exhausted(const struct merge *merge)
{
    assert(merge->input_count > 0);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        if (!merge->inputs[i].exhausted) return false;
    }
    return true;
}

/* One thing that is to be done; MERGE_DONE if it was done. */
static enum merge_result
merge_advance(struct merge *merge)
{
    struct block_cache *cache = merge->tree->cache;
    struct loser_tree losers;
    assert(merge->active);
    if (merge->dropping) {
        const enum cache_result result = merge_drop(merge);
        if (result == CACHE_READY) return MERGE_DONE;
        return result == CACHE_LOST ? MERGE_LOST : MERGE_WAIT;
    }
    if (merge_exhausted(merge)) {
        if (table_builder_active(&merge->builder)) {
            merge_finish_table(merge);
        } else {
            merge_complete(merge);
        }
        return MERGE_DONE;
    }
    const uint32_t step = MERGE_STEP_BLOCKS * entries_per_block(&merge->tree->format);
    if (cache->available < table_frames_needed(&merge->tree->format, step) + merge->input_count) {
        cache_issue_writes(cache);
        return MERGE_WAIT;
    }
    const enum merge_result result = merge_position(merge, &losers);
    return result == MERGE_DONE ? merge_step(merge, &losers, step) : result;
}

static void
merge_unpin(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->input_count; i++) {
        input_unpin(merge, &merge->inputs[i]);
    }
}

enum merge_result
merge_work(struct merge *merge, uint64_t op)
{
    enum merge_result result = MERGE_DONE;
    merge->builder.op = op;
    while (result == MERGE_DONE && merge->active) {
        if (merge->quota == 0 && !merge->dropping && !merge_exhausted(merge)) break;
        result = merge_advance(merge);
    }
    merge_unpin(merge);
    assert(result != MERGE_DONE || !merge->active || merge->quota == 0);
    return result;
}

enum merge_result
merge_checkpoint(struct merge *merge, uint64_t op)
{
    assert(merge->active);
    assert(merge->quota == 0);
    merge->builder.op = op;
    if (table_builder_active(&merge->builder)) merge_finish_table(merge);
    if (merge->dropping) {
        const enum cache_result result = merge_drop(merge);
        if (result != CACHE_READY) return result == CACHE_LOST ? MERGE_LOST : MERGE_WAIT;
    }
    assert(!merge->dropping);
    /* As after a restart: so that what comes is the same with one and without. */
    merge_take_inputs(merge);
    if (merge_exhausted(merge)) merge_complete(merge);
    return MERGE_DONE;
}
