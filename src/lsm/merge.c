/* SPDX-License-Identifier: PostgreSQL */
/*
 * See merge.h for what a merge is. What happens when all goes well:
 *
 *  1. merge_start takes the oldest runs of the level as inputs, and begins an output run.
 *  2. merge_work works off a quota of entries. A loser tree says which input has the smallest key.
 *     Entries of that input go out as long as they are below the next input's key, block by block
 *     into the table builder. When a table is full, it is listed in the output, and in the same
 *     step the keys it covers are hidden in the inputs, so that a lookup never finds a key twice or
 *     not at all.
 *  3. Input tables whose keys are all hidden are released.
 *  4. When the inputs are exhausted, the output is complete and the inputs go.
 *
 * What can go wrong:
 *  - An input's block isn't in memory, or no frame is free: MERGE_WAIT. The rest of the quota
 *    stays, and the merge does nothing else meanwhile; otherwise its bytes would depend on the
 *    disk's pace.
 *  - A checkpoint comes. The table is ended where it is, and `hidden` says up to which key (M2).
 *  - A restart. merge_resume goes on behind `hidden`; the entries of the inputs' first tables up to
 *    there are skipped.
 *  - Two inputs have a key of which there can be only one, or a block is damaged. MERGE_LOST: the
 *    engine stops rather than choose one of them.
 */
#include "lsm/merge.h"

#include <string.h>

#include "base/units.h"
#include "lsm/loser_tree.h"

/* How many bytes of each input are brought into the processor's cache ahead of their use. */
#define MERGE_BYTES_AHEAD 256

static_assert(LEVEL_RUNS_MAX <= LOSER_TREE_INPUTS_MAX, "all runs of a level compete");

/* ---- Starting ------------------------------------------------------------------------------ */

void
merge_init(struct merge *merge, struct tree *tree, uint32_t level)
{
    assert(level < LSM_LEVELS);
    *merge = (struct merge){.tree = tree, .level = level};
    table_builder_init(&merge->builder, tree->cache, &tree->format);
}

/* Forgets what was asked for: the next block to ask for is the first of the current table. */
static void
input_ask_anew(const struct tree *tree, struct merge_input *input)
{
    input->ahead = 0;
    input->ask_place = input->place;
    input->ask_block = 0;
    if (!input->exhausted) input->ask_key = tree_table(tree, input->place)->key_min;
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
    input_ask_anew(merge->tree, input);
    merge->input_count += 1;
    merge->entries_left += run->entry_count;
}

/* Puts all inputs to the first of their entries that isn't hidden. */
static void
merge_take_inputs(struct merge *merge)
{
    const struct tree *tree = merge->tree;
    assert(merge->level < LSM_LEVELS);
    assert(!table_builder_active(&merge->builder));
    merge->input_count = 0;
    merge->entries_left = 0;
    merge->key_last = 0;
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
    /* Runs that arrive at this level meanwhile are newer than the output. */
    const uint32_t level = same_level ? merge->level : merge->level + 1;
    merge->output = (uint8_t) tree_run_new(tree, level, same_level);
    tree->runs[merge->output].building = true;
    merge->active = true;
    merge->dropping = false;
    merge->lost = false;
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
    merge->lost = false;
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

/* Goes to the start of the next table. Behind the last table, the input is exhausted. */
static void
input_next_table(struct merge *merge, struct merge_input *input)
{
    const bool through = input->entered && input->block == input->block_count;
    const bool asked = through && !table_place_same(input->ask_place, input->place);
    assert(!input->exhausted);
    assert(!input->positioned);
    input->place = tree_run_next(merge->tree, input->run, input->place);
    input->block = 0;
    input->entry = 0;
    input->entered = false;
    input->exhausted = input->place.node == NODE_NONE;
    /* If blocks of the next table were asked for already, asking goes on behind them. */
    if (!asked) input_ask_anew(merge->tree, input);
}

/* Skips the entries that are hidden. After a restart, the first table may be merged in part. */
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

/* Skips tables that were merged completely, before a restart or just now. */
static void
input_skip_tables(struct merge *merge, struct merge_input *input)
{
    const struct tree *tree = merge->tree;
    const struct tree_run *run = &tree->runs[input->run];
    assert(!input->positioned);
    while (!input->exhausted && run->has_hidden &&
           tree_table(tree, input->place)->key_max <= run->hidden) {
        input_next_table(merge, input);
    }
}

bool
merge_input_outside(const struct merge *merge, const struct merge_input *input)
{
    const struct tree_run *run = &merge->tree->runs[input->run];
    if (input->exhausted || input->positioned || input->entered) return false;
    if (input->block > 0 || input->entry > 0 || tree_mutable(merge->tree)) return false;
    return !run->has_hidden || tree_table(merge->tree, input->place)->key_min > run->hidden;
}

/* Makes sure that the input's current entry is in memory. */
static enum cache_result
input_position(struct merge *merge, struct merge_input *input)
{
    const struct tree *tree = merge->tree;
    const struct tree_run *run = &tree->runs[input->run];
    uint32_t frame;
    assert(!input->positioned);
    input_skip_tables(merge, input);
    if (input->exhausted) return CACHE_READY;
    const struct table_info *table = tree_table(tree, input->place);
    enum cache_result result = table_index_get(tree->cache, &tree->format, table, &frame);
    if (result != CACHE_READY) return result;
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    input->block_count = table->block_count;
    const bool skipped = input_skip_hidden(merge, input, blocks);
    assert(input->block < input->block_count);
    const struct table_values values = table_values_at(table, blocks, input->block);
    result = table_values_get(tree->cache, &tree->format, &values, &frame);
    if (result != CACHE_READY) {
        /* The block will be searched for again once the index block is in memory. */
        if (skipped) input->block = 0;
        return result;
    }
    input->entries = cache_content(tree->cache, frame);
    input->entry_count = values.block.entry_count;
    if (skipped) {
        input->entry = entries_lower_bound(
            &tree->format, input->entries, input->entry_count, run->hidden + 1);
    }
    if (input->entry == input->entry_count) return cache_refuse(tree->cache, frame);
    cache_pin(tree->cache, frame);
    if (table_place_same(input->ask_place, input->place) && input->ask_block <= input->block) {
        assert(input->ahead == 0);
        input->ask_block = input->block + 1;
        input->ask_key = values.block.key_last;
    }
    input->frame = frame;
    input->positioned = true;
    input->entered = true;
    return CACHE_READY;
}

static const char *
input_entry(const struct merge *merge, const struct merge_input *input)
{
    assert(input->positioned);
    return input->entries + (uint64_t) input->entry * merge->tree->format.size;
}

u128
merge_input_key(const struct merge *merge, const struct merge_input *input)
{
    if (merge_input_outside(merge, input)) return tree_table(merge->tree, input->place)->key_min;
    return entry_key(&merge->tree->format, input_entry(merge, input));
}

static void
input_next_block(struct merge *merge, struct merge_input *input)
{
    assert(input->positioned);
    assert(input->entry == input->entry_count);
    input_unpin(merge, input);
    input->block += 1;
    input->entry = 0;
    if (input->ahead > 0) input->ahead -= 1;
    if (input->block == input->block_count) input_next_table(merge, input);
}

/* ---- Output -------------------------------------------------------------------------------- */

/*
 * The input has a key that has already gone out. If records can change, this entry is an older
 * version. Otherwise each key may exist only once, and this is damage.
 */
static void
merge_older(struct merge *merge, const struct merge_input *input)
{
    const struct tree *tree = merge->tree;
    assert(!input->exhausted);
    if (tree_mutable(tree)) return;
    merge->lost = true;
    cache_accuse(
        tree->cache, tree_table(tree, input->place)->index.address, tree->format.tree);
}

/* Everything up to this key is in the output's tables now: hides it in the inputs. */
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
        /*
         * All that is left of this table is an older version of the key. It is dropped with the
         * table.
         */
        merge_older(merge, input);
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
    assert(merge->builder.key_last == merge->key_last);
    const struct table_info table = table_builder_finish(&merge->builder);
    tree_run_append(merge->tree, merge->output, &table);
    merge_hide(merge, table.key_max);
}

/*
 * Releases the block. Returns false if the block isn't this table's to release: it is free, or was
 * released already because several tables name it, which is damage.
 */
static bool
release_block(struct tree *tree, uint64_t address)
{
    struct grid *grid = tree->cache->grid;
    assert(address != 0);
    if (!grid_is_acquired(grid, address) || grid_is_released(grid, address)) return false;
    grid_release(grid, address);
    cache_forget(tree->cache, address);
    return true;
}

/* Releases all blocks of a table. Its index block, which is in memory, lists them. */
static enum cache_result
release_table(struct tree *tree, const struct table_info *table, uint32_t frame_index)
{
    assert(!table->moved);
    const struct table_block *blocks = table_blocks(tree->cache, frame_index);
    const uint32_t count = (uint32_t) table->block_count + table->filter_count;
    assert(count <= TABLE_BLOCKS_PER_INDEX);
    for (uint32_t i = 0; i < count; i++) {
        if (blocks[i].address == table->index.address || !release_block(tree, blocks[i].address)) {
            return cache_refuse(tree->cache, frame_index);
        }
    }
    if (release_block(tree, table->index.address)) return CACHE_READY;
    return cache_refuse(tree->cache, frame_index);
}

/* Releases the input tables whose keys are all hidden. */
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
                if (release_table(tree, table, frame) != CACHE_READY) return CACHE_LOST;
            }
            tree_run_pop(tree, number);
        }
    }
    merge->dropping = false;
    return CACHE_READY;
}

/* Ends the merge: all inputs are exhausted. */
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
 * Makes sure that all inputs that are within a table have their entry in memory. It asks for all of
 * them before it waits, so that their reads run at the same time.
 */
static enum merge_result
merge_position(struct merge *merge, struct loser_tree *losers)
{
    enum merge_result result = MERGE_DONE;
    assert(merge->input_count >= 2 && merge->input_count <= LEVEL_RUNS_MAX);
    loser_tree_init(losers, merge->input_count);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct merge_input *input = &merge->inputs[i];
        if (!input->positioned) input_skip_tables(merge, input);
        const bool outside = merge_input_outside(merge, input);
        if (!input->exhausted && !input->positioned && !outside) {
            const enum cache_result got = input_position(merge, input);
            if (got == CACHE_LOST) return MERGE_LOST;
            if (got == CACHE_WAIT) result = MERGE_WAIT;
        }
        if (input->exhausted) {
            loser_tree_exhaust(losers, i);
        } else if (input->positioned || outside) {
            loser_tree_set(losers, i, merge_input_key(merge, input));
        }
    }
    if (result == MERGE_DONE) loser_tree_build(losers);
    return result;
}

bool
merge_may_move(const struct merge *merge, const struct merge_input *input, u128 bound)
{
    if (input->block > 0 || input->entry > 0) return false;
    const struct table_info *table = tree_table(merge->tree, input->place);
    assert(bound >= table->key_min);
    if (table->entry_count < table_entries_max(&merge->tree->format) / 2) return false;
    /*
     * Not if they are equal: then an older input has an entry of the same key, which would be left
     * over.
     */
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
        /*
         * The table being made has to end, perhaps while it is small. So that such tables stay
         * rare, the entries that were moved count as merged.
         */
        merge->quota -= min_u64(merge->quota, moved.entry_count);
        merge_finish_table(merge);
    }
    assert(merge->entries_left >= moved.entry_count);
    table->moved = true;
    merge->entries_left -= moved.entry_count;
    merge->key_last = moved.key_max;
    input_unpin(merge, input);
    input_next_table(merge, input);
    tree_run_append(tree, merge->output, &moved);
    merge_hide(merge, moved.key_max);
}

/* The winner's table can't be moved, so its entries are merged. */
static enum merge_result
merge_enter(struct merge *merge, const struct loser_tree *losers, struct merge_input *input)
{
    assert(merge_input_outside(merge, input));
    input->entered = true;
    const enum cache_result result = input_position(merge, input);
    if (result != CACHE_READY) return result == CACHE_LOST ? MERGE_LOST : MERGE_WAIT;
    assert(merge_input_key(merge, input) == loser_tree_winner_key(losers));
    merge_ahead(merge);
    return MERGE_DONE;
}

/* The winner's block is at its end. Goes on to the next one, whose first key competes. */
static enum merge_result
merge_next_block(struct merge *merge, struct loser_tree *losers, struct merge_input *input)
{
    input_next_block(merge, input);
    if (!input->exhausted && !merge_input_outside(merge, input)) {
        const enum cache_result result = input_position(merge, input);
        if (result != CACHE_READY) return result == CACHE_LOST ? MERGE_LOST : MERGE_WAIT;
    }
    if (input->exhausted) {
        loser_tree_exhaust_winner(losers);
    } else {
        loser_tree_replace(losers, merge_input_key(merge, input));
    }
    merge_ahead(merge);
    return MERGE_DONE;
}

/*
 * How many entries are taken from the inputs, and how many of these go out. Older versions of an
 * entry that has gone out are taken, but don't go out.
 */
struct merge_count {
    uint32_t taken;
    uint32_t out;
};

/*
 * Takes entries of the winner while they are below the bound. All other inputs' keys are at or
 * above it, so no match needs to be played in between.
 */
static struct merge_count
merge_stretch(
    struct merge *merge, struct loser_tree *losers, u128 bound, char *to, uint32_t count_max)
{
    const struct entry_format *format = &merge->tree->format;
    struct merge_input *input = &merge->inputs[loser_tree_winner(losers)];
    const char *entries = input_entry(merge, input);
    const uint32_t count = (uint32_t) min_u64(input->entry_count - input->entry, count_max);
    assert(count > 0);
    const char *last = entries + (uint64_t) (count - 1) * format->size;
    if (entry_key(format, last) >= bound) return (struct merge_count){0};
    memcpy(to, entries, (uint64_t) count * format->size);
    input->entry += count;
    if (input->entry < input->entry_count) {
        loser_tree_replace(losers, merge_input_key(merge, input));
    }
    return (struct merge_count){.taken = count, .out = count};
}

/* Where each input is, as memory addresses. */
struct merge_places {
    const char *next[LEVEL_RUNS_MAX];
    const char *end[LEVEL_RUNS_MAX];
};

static inline __attribute__((always_inline)) void
merge_places_take(const struct merge *merge, uint32_t size, struct merge_places *places)
{
    assert(merge->input_count <= LEVEL_RUNS_MAX);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        const struct merge_input *input = &merge->inputs[i];
        assert(input->positioned || input->exhausted || input->entry == 0);
        places->next[i] = input->entries + (uint64_t) input->entry * size;
        places->end[i] = input->entries + (uint64_t) input->entry_count * size;
    }
}

static inline __attribute__((always_inline)) void
merge_places_leave(struct merge *merge, uint32_t size, const struct merge_places *places)
{
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct merge_input *input = &merge->inputs[i];
        const uint64_t entry = (uint64_t) (places->next[i] - input->entries) / size;
        assert(entry >= input->entry && entry <= input->entry_count);
        input->entry = (uint32_t) entry;
    }
}

/*
 * Takes entries one by one until the block of a winner is at its end, or that of the next winner at
 * its start. `format` is the tree's, passed with what the compiler can know of it: nearly all time
 * of merging is spent here, waiting for the one chain of dependent loads that leads from a winner
 * to its next entry and through the matches to the next winner.
 */
static inline __attribute__((always_inline)) struct merge_count
merge_each(
    struct merge *merge,
    struct loser_tree *losers,
    char *to,
    uint32_t count_max,
    const struct entry_format format)
{
    struct merge_places places;
    u128 key_last = merge->key_last;
    struct merge_count count = {0};
    assert(count_max > 0);
    assert(format.size == merge->tree->format.size);
    merge_places_take(merge, format.size, &places);
    while (count.taken < count_max) {
        const uint32_t winner = loser_tree_winner_input(losers);
        const char *entry = places.next[winner];
        const u128 key = loser_tree_winner_key(losers);
        __builtin_prefetch(entry + MERGE_BYTES_AHEAD);
        memcpy(to + (uint64_t) count.out * format.size, entry, format.size);
        count.out += key != key_last;
        count.taken += 1;
        key_last = key;
        entry += format.size;
        places.next[winner] = entry;
        if (entry == places.end[winner]) break;
        loser_tree_replace(losers, entry_key(&format, entry));
        const uint32_t next = loser_tree_winner_input(losers);
        if (places.next[next] == merge->inputs[next].entries) break;
    }
    merge_places_leave(merge, format.size, &places);
    return count;
}

static struct merge_count
merge_entries(struct merge *merge, struct loser_tree *losers, char *to, uint32_t count_max)
{
    const struct entry_format format = merge->tree->format;
    switch ((enum entry_shape) format.shape) {
    case ENTRY_INDEX:
        return merge_each(
            merge, losers, to, count_max,
            (struct entry_format){.shape = ENTRY_INDEX, .size = sizeof(struct entry16)});
    case ENTRY_ID:
        return merge_each(
            merge, losers, to, count_max,
            (struct entry_format){.shape = ENTRY_ID, .size = sizeof(struct entry24)});
    case ENTRY_RECORD: return merge_each(merge, losers, to, count_max, format);
    }
    unreachable();
}

/* The entry is an older version of the one that went out last, and is dropped. */
static enum merge_result
merge_skip(struct merge *merge, struct loser_tree *losers, struct merge_input *input)
{
    assert(input->entry < input->entry_count);
    merge_older(merge, input);
    assert(merge->entries_left > 0 && merge->quota > 0);
    merge->entries_left -= 1;
    merge->quota -= 1;
    input->entry += 1;
    if (input->entry == input->entry_count) return merge_next_block(merge, losers, input);
    loser_tree_replace(losers, merge_input_key(merge, input));
    return MERGE_DONE;
}

/* Takes up to count_max entries. The first of them is no older version. */
static enum merge_result
merge_take(struct merge *merge, struct loser_tree *losers, u128 bound, uint64_t count_max)
{
    uint32_t room;
    if (!table_builder_active(&merge->builder)) {
        table_builder_begin(&merge->builder, merge->entries_left);
    }
    char *to = table_builder_room(&merge->builder, &room);
    room = (uint32_t) min_u64(room, count_max);
    struct merge_count count = merge_stretch(merge, losers, bound, to, room);
    if (count.taken == 0) count = merge_entries(merge, losers, to, room);
    assert(count.out > 0 && count.out <= count.taken && count.taken <= room);
    assert(count.taken <= merge->entries_left);
    table_builder_filled(&merge->builder, count.out);
    merge->key_last = merge->builder.key_last;
    merge->entries_left -= count.taken;
    merge->quota -= count.taken;

    enum merge_result result = MERGE_DONE;
    struct merge_input *input = &merge->inputs[loser_tree_winner_input(losers)];
    if (count.out != count.taken) merge_older(merge, input);
    if (input->positioned && input->entry == input->entry_count) {
        result = merge_next_block(merge, losers, input);
    }
    if (table_builder_full(&merge->builder)) merge_finish_table(merge);
    return result;
}

/*
 * Merges until `entries_max` entries are taken, a table is finished, or all inputs are exhausted.
 * The frames that this takes are available.
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
        const bool older = loser_tree_winner_key(losers) == merge->key_last;
        const u128 bound = loser_tree_runner_up(losers);
        if (!older && merge_may_move(merge, input, bound)) {
            merge_move_table(merge, input);
            return MERGE_DONE;
        }
        if (!input->positioned) {
            result = merge_enter(merge, losers, input);
        } else if (older) {
            result = merge_skip(merge, losers, input);
        } else {
            result = merge_take(merge, losers, bound, merge->quota - quota_end);
        }
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

static uint32_t
step_entries(const struct merge *merge)
{
    return MERGE_STEP_BLOCKS * entries_per_block(&merge->tree->format);
}

uint64_t
merge_step_frames(const struct merge *merge)
{
    assert(merge->input_count >= 2);
    return table_frames_needed(&merge->tree->format, step_entries(merge)) + merge->input_count;
}

/* Does the next thing that is to be done. MERGE_DONE means that it was done. */
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
    if (cache->available < merge_step_frames(merge)) {
        cache_issue_writes(cache);
        return MERGE_WAIT;
    }
    const enum merge_result result = merge_position(merge, &losers);
    if (result != MERGE_DONE) return result;
    merge_ahead(merge);
    return merge_step(merge, &losers, step_entries(merge));
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
    while (result == MERGE_DONE && merge->active && !merge->lost) {
        if (merge->quota == 0 && !merge->dropping && !merge_exhausted(merge)) break;
        result = merge_advance(merge);
    }
    merge_unpin(merge);
    if (merge->lost) return MERGE_LOST;
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
    if (merge->lost) return MERGE_LOST;
    if (merge->dropping) {
        const enum cache_result result = merge_drop(merge);
        if (result != CACHE_READY) return result == CACHE_LOST ? MERGE_LOST : MERGE_WAIT;
    }
    assert(!merge->dropping);
    /*
     * Brings the state into the form that it has after a restart, so that the merge goes on in the
     * same way whether there is one or not.
     */
    merge_take_inputs(merge);
    if (merge_exhausted(merge)) merge_complete(merge);
    return MERGE_DONE;
}
