/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which blocks a merge needs next: forecasting (Knuth, TAOCP vol. 3, 5.4.6).
 *
 * Of the blocks of an input that were asked for, the last one says when more of them are needed:
 * when its last key has gone out. So the input whose last key asked for is the smallest is the one
 * that runs dry first, and gets the next blocks, some at a time: neighbours on disk are one read.
 * However unevenly the inputs are used, a bounded number of blocks is ahead of the merge, and it is
 * the right ones.
 */
#include "base/units.h"
#include "lsm/merge.h"

/* Of all frames, what is ahead of one merge takes no more than such a part. */
#define AHEAD_SHARE 64

/* So many blocks of an input are asked for at a time. */
#define AHEAD_STEP GRID_READ_BLOCKS_MAX

static bool
input_asks(const struct merge_input *input)
{
    assert(input->exhausted || input->positioned);
    return !input->exhausted && input->asked < input->block_count;
}

/* Blocks that were asked for and that the merge has not come to. */
static uint32_t
blocks_ahead(const struct merge *merge)
{
    uint32_t count = 0;
    assert(merge->input_count >= 2);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        const struct merge_input *input = &merge->inputs[i];
        if (input->exhausted) continue;
        assert(input->asked > input->block && input->asked <= input->block_count);
        count += input->asked - input->block - 1;
    }
    return count;
}

/* The input that runs dry first, of those whose table has more blocks; or NULL. */
static struct merge_input *
input_driest(struct merge *merge)
{
    struct merge_input *driest = NULL;
    assert(merge->input_count <= LEVEL_RUNS_MAX);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct merge_input *input = &merge->inputs[i];
        if (!input_asks(input)) continue;
        if (driest == NULL || input->asked_key < driest->asked_key) driest = input;
    }
    return driest;
}

/* Its list is there when the next table is come to. */
static void
ask_next_table(const struct tree *tree, const struct merge_input *input)
{
    const struct table_place place = tree_run_next(tree, input->run, input->place);
    assert(input->asked == input->block_count);
    if (place.node == NODE_NONE) return;
    (void) cache_hint(
        tree->cache, &tree_table(tree, place)->index, BLOCK_INDEX, tree->format.tree);
}

/* Asks for the input's next blocks; returns how many, 0 if it has to be later. */
static uint32_t
input_ask(const struct tree *tree, struct merge_input *input)
{
    uint32_t frame;
    const struct table_info *table = tree_table(tree, input->place);
    assert(input->asked < input->block_count);
    if (table_index_get(tree->cache, &tree->format, table, &frame) != CACHE_READY) return 0;
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    struct block_reference references[AHEAD_STEP];
    uint32_t count = (uint32_t) min_u64(AHEAD_STEP, input->block_count - input->asked);
    for (uint32_t i = 0; i < count; i++) {
        references[i] = table_block_reference(&blocks[input->asked + i]);
    }
    const u128 key_all = blocks[input->asked + count - 1].key_last;
    const uint32_t done =
        cache_hint_some(tree->cache, references, count, tree->format.tree);
    assert(done <= count);
    if (done < count) return 0;
    input->asked += count;
    input->asked_key = key_all;
    if (input->asked == input->block_count) ask_next_table(tree, input);
    return count;
}

void
merge_ahead(struct merge *merge)
{
    const struct tree *tree = merge->tree;
    const uint64_t share = max_u64(tree->cache->frame_count / AHEAD_SHARE, AHEAD_STEP);
    const uint64_t most = min_u64(MERGE_BLOCKS_AHEAD, share);
    /* Frames that the step at hand relies on stay available. */
    const uint64_t reserve = merge_step_frames(merge) + AHEAD_STEP + 1;
    uint32_t ahead = blocks_ahead(merge);
    while (ahead + AHEAD_STEP <= most && tree->cache->available >= reserve) {
        struct merge_input *input = input_driest(merge);
        if (input == NULL) return;
        const uint32_t count = input_ask(tree, input);
        if (count == 0) return;
        ahead += count;
    }
}
