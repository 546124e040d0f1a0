/* SPDX-License-Identifier: PostgreSQL */
/*
 * An INDEX_ORDERED: pairs (value, row) in order, in a B+ tree of nodes that are large chunks.
 *
 * A node splits when it is full (a node at the right edge without moving anything, as values mostly
 * ascend), and is freed when it is empty; there is no merging in between. A removed pair can
 * therefore leave a thin tree, but never more leaves than pairs, and the pairs of this index are
 * short-lived.
 *
 * Numbered invariants:
 *  (D1) all leaves have level 0 and are chained in order; no node but the root is empty.
 *  (D2) child i of an inner node has the pairs from key i on, below key i + 1. Key 0 is not looked
 *       at.
 */
#ifndef LEDGER_LSM_ORDERED_INDEX_H
#define LEDGER_LSM_ORDERED_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/chunk_pool.h"
#include "lsm/forest.h"

#define ORDERED_LEAF_PAIRS     20
#define ORDERED_INNER_CHILDREN 15
/*
 * Of a root: a root gains a level when it is full, and loses it when it has one child. 32 is ample
 * for 2^32 pairs.
 */
#define ORDERED_HEIGHT_MAX 32

struct ordered_pair {
    uint64_t value;
    uint32_t row;
};

struct ordered_node {
    uint32_t previous; /* Leaves only. */
    uint32_t next;
    uint16_t count;
    uint16_t level;
    uint32_t reserved;
    union {
        struct {
            uint64_t values[ORDERED_LEAF_PAIRS];
            uint32_t rows[ORDERED_LEAF_PAIRS];
        } leaf;
        struct {
            uint64_t values[ORDERED_INNER_CHILDREN];
            uint32_t rows[ORDERED_INNER_CHILDREN];
            uint32_t children[ORDERED_INNER_CHILDREN];
        } inner;
    };
};
static_assert(sizeof(struct ordered_node) == CHUNK_LARGE_SIZE, "nodes are large chunks");

struct ordered_index {
    const struct index_schema *schema;
    struct chunk_pool *chunks;
    uint32_t root;  /* CHUNK_NONE: no pairs. */
    uint32_t first; /* Leftmost leaf. */
    uint64_t pair_count;
    uint64_t leaf_count;
    uint64_t inner_count;
};

void ordered_index_init(
    struct ordered_index *index, struct chunk_pool *chunks, const struct index_schema *schema);

/* The pair is not there. May take chunks. */
void ordered_index_insert(struct ordered_index *index, uint64_t value, uint32_t row);

/* The pair is there. */
void ordered_index_remove(struct ordered_index *index, uint64_t value, uint32_t row);

/* A place in the order. */
struct ordered_cursor {
    uint32_t leaf; /* CHUNK_NONE: the end. */
    uint32_t index;
};

/* Before the first pair whose value is not below. */
struct ordered_cursor ordered_index_seek(const struct ordered_index *index, uint64_t value);

/* Sets the pair and moves on, or returns false at the end. */
bool ordered_index_next(
    const struct ordered_index *index, struct ordered_cursor *cursor, struct ordered_pair *pair);

/* The most bytes of chunks that `inserts` more pairs need. */
uint64_t ordered_index_bytes_needed(const struct ordered_index *index, uint64_t inserts);

#endif
