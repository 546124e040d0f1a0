/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which of several sorted inputs is next: a tree of losers (Knuth, TAOCP vol. 3, 5.4.1).
 *
 * The tree knows one key of each input, and nothing else. Each inner node keeps the loser of the
 * match that was played there; the overall winner is kept apart. When the winner's input moves on
 * to its next key, only the matches on the way from its leaf to the root are played again.
 *
 * An example of four inputs with the keys 7, 3, 5, 9: the first round is 7 against 3 and 5 against
 * 9. These nodes keep 7 and 9. The final is 3 against 5: the root keeps 5, and 3 is the winner.
 *
 * A processor can't guess which input wins a match, so that is computed without a branch. Inputs
 * that are exhausted, and inputs that only fill the tree up to a power of two, have a key above all
 * others.
 *
 * Numbered invariants:
 *  (W1) the winner is the input of the smallest key; of equal ones, the input of lowest number.
 *  (W2) the keys of an input ascend or stay.
 *  (W3) keys are neither 0 nor U128_MAX. No id is either of them, nor is a value followed by a
 *       timestamp.
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
 * Keys are kept as two words, in an array for each word. The reason is speed: what one match
 * stores, the next match loads at once. Compilers would load two neighbouring words by one access
 * of 16 bytes, which has to wait until both smaller stores have left the processor's buffer.
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
     * [0] is the winner. [1] … [leaf_count - 1] are losers, [1] that of the final match; the
     * children of [n] are [2n] and [2n + 1]. The key U128_MAX means that the input is exhausted.
     */
    struct loser_tree_nodes nodes;
    u128 leaves[LOSER_TREE_INPUTS_MAX]; /* The first key of each input, until the tree is built. */
};

static inline u128
loser_tree_key(const struct loser_tree *tree, uint32_t node)
{
    return u128_make(tree->nodes.high[node], tree->nodes.low[node]);
}

/* The smallest key of all, or U128_MAX if all inputs are exhausted. */
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

/* A tree of the inputs 0 … count - 1. All count as exhausted until loser_tree_set. */
void loser_tree_init(struct loser_tree *tree, uint32_t count);

/* Gives the first key of an input, before the tree is built. */
void loser_tree_set(struct loser_tree *tree, uint32_t input, u128 key);
void loser_tree_exhaust(struct loser_tree *tree, uint32_t input);

/* Plays all matches. */
void loser_tree_build(struct loser_tree *tree);

/* The input whose key is next (W1), or LOSER_TREE_NONE if all are exhausted. */
static inline uint32_t
loser_tree_winner(const struct loser_tree *tree)
{
    if (loser_tree_winner_key(tree) == U128_MAX) return LOSER_TREE_NONE;
    return loser_tree_winner_input(tree);
}

/*
 * Plays the winner's matches again, now with another key.
 *
 * If keys are equal, the lower input number must win. Where the way comes from a right child, the
 * opponent has the lower number; then one is subtracted from the opponent's key beforehand (W3),
 * which keeps this test out of the chain of comparisons that wait for each other. Masks are used
 * because compilers turn conditional expressions into branches here.
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
 * The smallest key of all inputs but the winner's. All entries of the winner's input that are below
 * it can be taken at once. U128_MAX if all others are exhausted.
 */
u128 loser_tree_runner_up(const struct loser_tree *tree);

#endif
