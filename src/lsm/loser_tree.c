/* SPDX-License-Identifier: PostgreSQL */
/* See loser_tree.h. */
#include "lsm/loser_tree.h"

#include <string.h>

static_assert(
    (LOSER_TREE_INPUTS_MAX & (LOSER_TREE_INPUTS_MAX - 1)) == 0, "the largest tree has no gaps");

void
loser_tree_init(struct loser_tree *tree, uint32_t count)
{
    assert(count > 0 && count <= LOSER_TREE_INPUTS_MAX);
    *tree = (struct loser_tree){.leaf_count = 1, .input_count = count};
    while (tree->leaf_count < count) tree->leaf_count *= 2;
    assert(tree->leaf_count <= LOSER_TREE_INPUTS_MAX);
    for (uint32_t leaf = 0; leaf < tree->leaf_count; leaf++) {
        tree->leaves[leaf] = (struct loser_tree_entry){.key = U128_MAX, .input = leaf};
    }
}

void
loser_tree_set(struct loser_tree *tree, uint32_t input, u128 key)
{
    assert(input < tree->input_count);
    assert(key != 0 && key != U128_MAX); /* (W3) */
    tree->leaves[input].key = key;
}

void
loser_tree_exhaust(struct loser_tree *tree, uint32_t input)
{
    assert(input < tree->input_count);
    assert(tree->leaves[input].input == input);
    tree->leaves[input].key = U128_MAX;
}

void
loser_tree_build(struct loser_tree *tree)
{
    struct loser_tree_entry winners[2 * LOSER_TREE_INPUTS_MAX];
    const uint32_t leaf_count = tree->leaf_count;
    assert(leaf_count > 0 && leaf_count <= LOSER_TREE_INPUTS_MAX);
    memcpy(&winners[leaf_count], tree->leaves, leaf_count * sizeof(winners[0]));
    for (uint32_t node = leaf_count - 1; node > 0; node--) {
        const struct loser_tree_entry *left = &winners[2 * node];
        const struct loser_tree_entry *right = left + 1;
        assert(left->input < right->input);
        const bool left_wins = left->key <= right->key;
        winners[node] = left_wins ? *left : *right;
        tree->losers[node] = left_wins ? *right : *left;
    }
    tree->winner = winners[1];
    for (uint32_t leaf = 0; leaf < leaf_count; leaf++) {
        assert(tree->leaves[leaf].key >= tree->winner.key); /* (W1) */
    }
}

u128
loser_tree_runner_up(const struct loser_tree *tree)
{
    /* Whoever is second has lost against the winner, hence on its way. */
    u128 smallest = U128_MAX;
    const uint32_t leaf = (uint32_t) tree->winner.input;
    assert(leaf < tree->leaf_count);
    for (uint32_t node = (tree->leaf_count + leaf) / 2; node > 0; node /= 2) {
        smallest = u128_min(smallest, tree->losers[node].key);
    }
    assert(smallest >= tree->winner.key); /* (W1) */
    return smallest;
}
