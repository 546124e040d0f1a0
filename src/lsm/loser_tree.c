/* SPDX-License-Identifier: PostgreSQL */
/* See loser_tree.h. */
#include "lsm/loser_tree.h"

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
        tree->leaves[leaf] = U128_MAX;
    }
}

void
loser_tree_set(struct loser_tree *tree, uint32_t input, u128 key)
{
    assert(input < tree->input_count);
    assert(key != 0 && key != U128_MAX); /* (W3) */
    tree->leaves[input] = key;
}

void
loser_tree_exhaust(struct loser_tree *tree, uint32_t input)
{
    assert(input < tree->input_count);
    tree->leaves[input] = U128_MAX;
}

static void
node_set(struct loser_tree *tree, uint32_t node, u128 key, uint32_t input)
{
    assert(node < tree->leaf_count);
    assert(input < tree->leaf_count);
    tree->nodes.low[node] = u128_low(key);
    tree->nodes.high[node] = u128_high(key);
    tree->nodes.input[node] = input;
}

void
loser_tree_build(struct loser_tree *tree)
{
    uint32_t winners[2 * LOSER_TREE_INPUTS_MAX];
    const uint32_t leaf_count = tree->leaf_count;
    const u128 *keys = tree->leaves;
    assert(leaf_count > 0 && leaf_count <= LOSER_TREE_INPUTS_MAX);
    for (uint32_t leaf = 0; leaf < leaf_count; leaf++) {
        winners[leaf_count + leaf] = leaf;
    }
    for (uint32_t node = leaf_count - 1; node > 0; node--) {
        const uint32_t left = winners[2 * node];
        const uint32_t right = winners[2 * node + 1];
        assert(left < right);
        const bool left_wins = keys[left] <= keys[right];
        const uint32_t loser = left_wins ? right : left;
        winners[node] = left_wins ? left : right;
        node_set(tree, node, keys[loser], loser);
    }
    node_set(tree, 0, keys[winners[1]], winners[1]);
    for (uint32_t leaf = 0; leaf < leaf_count; leaf++) {
        assert(keys[leaf] >= loser_tree_winner_key(tree)); /* (W1) */
    }
}

u128
loser_tree_runner_up(const struct loser_tree *tree)
{
    /*
     * The second smallest has lost only against the winner, so it lies on the winner's way to the
     * root.
     */
    u128 smallest = U128_MAX;
    const uint32_t leaf = loser_tree_winner_input(tree);
    assert(leaf < tree->leaf_count);
    for (uint32_t node = (tree->leaf_count + leaf) / 2; node > 0; node /= 2) {
        smallest = u128_min(smallest, loser_tree_key(tree, node));
    }
    assert(smallest >= loser_tree_winner_key(tree)); /* (W1) */
    return smallest;
}
