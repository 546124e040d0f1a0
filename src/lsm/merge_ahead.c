/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which blocks a merge needs next: forecasting (Knuth, TAOCP vol. 3, 5.4.6).
 *
 * When the last key of all blocks asked for in an input has gone out, that input needs more. So the
 * input whose last key asked for is the smallest runs dry first, and gets the next blocks. It gets
 * several at a time, since neighbours on disk are one read. However unevenly the inputs are used,
 * only a bounded number of blocks is read ahead, and they are the right ones.
 *
 * An example: of input A, blocks up to key 500 were asked for, of input B up to key 300. Entries go
 * out in the order of their keys, so that B is the first that needs another block.
 */
#include "base/units.h"
#include "lsm/merge.h"

/* The blocks that are read ahead for one merge take at most this share of all frames. */
#define AHEAD_SHARE 64

/* How many blocks of an input are asked for at once. */
#define AHEAD_STEP GRID_READ_BLOCKS_MAX

/* How many blocks were asked for that the merge hasn't reached yet. */
static uint32_t
blocks_ahead(const struct merge *merge)
{
    uint32_t count = 0;
    assert(merge->input_count >= 2);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        if (!merge->inputs[i].exhausted) count += merge->inputs[i].ahead;
    }
    return count;
}

/* Of the inputs that have more blocks, the one that runs dry first; or NULL. */
static struct merge_input *
input_driest(struct merge *merge)
{
    struct merge_input *driest = NULL;
    assert(merge->input_count <= LEVEL_RUNS_MAX);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct merge_input *input = &merge->inputs[i];
        if (input->exhausted || input->ask_place.node == NODE_NONE) continue;
        if (driest == NULL || input->ask_key < driest->ask_key) driest = input;
    }
    return driest;
}

/* Is the input next, with a table that will be moved? Then nothing of that table is read. */
static bool
input_moves(const struct merge *merge, const struct merge_input *input)
{
    u128 bound = U128_MAX;
    if (!merge_input_outside(merge, input)) return false;
    for (uint32_t i = 0; i < merge->input_count; i++) {
        const struct merge_input *other = &merge->inputs[i];
        if (other == input || other->exhausted) continue;
        bound = u128_min(bound, merge_input_key(merge, other));
    }
    return tree_table(merge->tree, input->place)->key_min <= bound &&
           merge_may_move(merge, input, bound);
}

/* Asks for the input's next blocks. Returns false if no more can be asked for now. */
static bool
input_ask(const struct tree *tree, struct merge_input *input)
{
    uint32_t frame;
    const struct table_info *table = tree_table(tree, input->ask_place);
    if (input->ask_block == table->block_count) {
        input->ask_place = tree_run_next(tree, input->run, input->ask_place);
        input->ask_block = 0;
        if (input->ask_place.node == NODE_NONE) return true;
        table = tree_table(tree, input->ask_place);
    }
    assert(input->ask_block < table->block_count);
    if (table_index_get(tree->cache, &tree->format, table, &frame) != CACHE_READY) return false;
    const struct table_block *blocks = table_blocks(tree->cache, frame) + input->ask_block;
    struct block_reference references[AHEAD_STEP];
    const uint32_t count = (uint32_t) min_u64(AHEAD_STEP, table->block_count - input->ask_block);
    for (uint32_t i = 0; i < count; i++) {
        references[i] = table_block_reference(&blocks[i]);
    }
    const u128 key_last = blocks[count - 1].key_last;
    if (cache_hint_some(tree->cache, references, count, tree->format.tree) < count) return false;
    /* If the first of these is the table's current block, it isn't ahead of the merge. */
    const bool first = input->ask_block == 0 && table_place_same(input->ask_place, input->place);
    input->ahead += first ? count - 1 : count;
    input->ask_block += count;
    input->ask_key = key_last;
    return true;
}

void
merge_ahead(struct merge *merge)
{
    const struct tree *tree = merge->tree;
    const uint64_t share = max_u64(tree->cache->frame_count / AHEAD_SHARE, AHEAD_STEP);
    const uint64_t most = min_u64(MERGE_BLOCKS_AHEAD, share);
    /* The frames that the current step relies on must stay available. */
    const uint64_t reserve = merge_step_frames(merge) + AHEAD_STEP + 1;
    while (blocks_ahead(merge) + AHEAD_STEP <= most && tree->cache->available >= reserve) {
        struct merge_input *input = input_driest(merge);
        if (input == NULL || input_moves(merge, input) || !input_ask(tree, input)) return;
    }
}
