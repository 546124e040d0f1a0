/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which of several sorted inputs is next: a tree of losers (Knuth, TAOCP vol. 3, 5.4.1).
 *
 * The tree knows a key of each input, not more. Each inner node keeps the loser of the match that
 * was played there; the winner of all is kept apart. When the winner's input has gone on to its
 * next key, only the matches on the way from its leaf to the root are played again.
 *
 * A processor can't guess which input wins a match, so that is computed without a branch. Inputs
 * that are exhausted, and those that fill the tree up to a power of two, have a key after all
 * others.
 *
 * Numbered invariants:
 *  (W1) the winner is the input of the smallest key; of equal ones, the input of lowest number.
 *  (W2) the keys of an input ascend or stay.
 *  (W3) keys are neither 0 nor U128_MAX. No id is, nor is a value that a timestamp follows.
 */
#ifndef LEDGER_LSM_LOSER_TREE_H
#define LEDGER_LSM_LOSER_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/u128.h"

#define LOSER_TREE_INPUTS_MAX 64
#define LOSER_TREE_NONE       UINT32_MAX

/*
 * Keys are two words, and each word has an array of its own. What one match stores the next one
 * loads at once: compilers would make one access of 16 bytes of neighbours, and those wait until
 * smaller stores have left the processor's buffer.
 */
struct loser_tree_nodes {
    uint64_t low[LOSER_TREE_INPUTS_MAX];
    uint64_t high[LOSER_TREE_INPUTS_MAX];
    uint64_t input[LOSER_TREE_INPUTS_MAX];
};

struct loser_tree {
    uint32_t leaf_count; /* A power of two. */
    uint32_t input_count;
    /*
     * [0]: the winner. [1] … [leaf_count - 1]: losers, [1] in the final match; [n]'s children are
     * [2n], [2n + 1]. The key U128_MAX: exhausted.
     */
    struct loser_tree_nodes nodes;
    u128 leaves[LOSER_TREE_INPUTS_MAX]; /* Keys, until the tree is built. */
};

static inline u128
loser_tree_key(const struct loser_tree *tree, uint32_t node)
{
    return u128_make(tree->nodes.high[node], tree->nodes.low[node]);
}

/* The smallest key of all, U128_MAX if all inputs are exhausted; and whose it is. */
static inline u128
loser_tree_winner_key(const struct loser_tree *tree)
{
    return loser_tree_key(tree, 0);
}

static inline uint32_t
loser_tree_winner_input(const struct loser_tree *tree)
{
    return (uint32_t) tree->nodes.input[0];
}

/* Inputs 0 … count - 1, all of them exhausted so far. */
void loser_tree_init(struct loser_tree *tree, uint32_t count);

/* Before the tree is built: the first key of an input. */
void loser_tree_set(struct loser_tree *tree, uint32_t input, u128 key);
void loser_tree_exhaust(struct loser_tree *tree, uint32_t input);

/* Plays all matches. */
void loser_tree_build(struct loser_tree *tree);

/* The input whose key is next, or LOSER_TREE_NONE: all are exhausted (W1). */
static inline uint32_t
loser_tree_winner(const struct loser_tree *tree)
{
    if (loser_tree_winner_key(tree) == U128_MAX) return LOSER_TREE_NONE;
    return loser_tree_winner_input(tree);
}

/*
 * Plays the matches of the winner again, which comes with another key.
 *
 * Where the way comes from a right child, the other has the lower number and wins if keys are
 * equal: then one is taken from its key beforehand (W3), outside of the chain of comparisons that
 * wait for each other. Masks, as compilers make branches of conditional expressions here.
 */
static inline void
loser_tree_replay(struct loser_tree *tree, uint64_t high, uint64_t low)
{
    struct loser_tree_nodes *nodes = &tree->nodes;
    uint64_t input = nodes->input[0];
    for (uint32_t child = tree->leaf_count + (uint32_t) input; child > 1; child /= 2) {
        const uint32_t match = child / 2;
        const bool lost = loser_tree_key(tree, match) - child % 2 < u128_make(high, low);
        const uint64_t swap = -(uint64_t) lost;
        const uint64_t swap_low = (nodes->low[match] ^ low) & swap;
        const uint64_t swap_high = (nodes->high[match] ^ high) & swap;
        const uint64_t swap_input = (nodes->input[match] ^ input) & swap;
        nodes->low[match] ^= swap_low;
        nodes->high[match] ^= swap_high;
        nodes->input[match] ^= swap_input;
        low ^= swap_low;
        high ^= swap_high;
        input ^= swap_input;
    }
    nodes->low[0] = low;
    nodes->high[0] = high;
    nodes->input[0] = input;
}

/* The winner's input has gone on to its next key (W2). */
static inline void
loser_tree_replace(struct loser_tree *tree, u128 key)
{
    assert(key >= loser_tree_winner_key(tree)); /* (W2) */
    assert(key != U128_MAX);                    /* (W3) */
    loser_tree_replay(tree, u128_high(key), u128_low(key));
}

/* The winner's input has no more keys. */
static inline void
loser_tree_exhaust_winner(struct loser_tree *tree)
{
    assert(loser_tree_winner_key(tree) != U128_MAX);
    loser_tree_replay(tree, UINT64_MAX, UINT64_MAX);
}

/*
 * The smallest key of all inputs but the winner's, so that what is below it can be taken from the
 * winner's input at once. U128_MAX if all others are exhausted.
 */
u128 loser_tree_runner_up(const struct loser_tree *tree);

#endif
