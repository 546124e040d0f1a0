/* SPDX-License-Identifier: PostgreSQL */
/*
 * A tree: the tables of one log-structured merge tree (O'Neil et al. 1996), in runs, in levels.
 *
 * A *run* is a sequence of tables whose keys ascend from one to the next. A flush adds a run to
 * level 0. When a level has `fanout` runs, they are merged into one run of the next level (tiering:
 * Dostoevsky, Dayan and Idreos 2018, §2). So each entry is written once per level. Where entries
 * never change, none is ever obsolete, so that having many runs costs no space.
 *
 * For example, with a fanout of 4, sixteen flushes make four runs of level 1, each of the size of
 * four flushes, and these are merged into one run of level 2.
 *
 * While runs are merged (lsm/merge.h), the tables of the new run appear one by one, and keys that
 * have been merged are read from there: in the inputs, keys up to `hidden` are hidden. An input's
 * table is released when all of its keys are hidden.
 *
 * Records that change may have entries in several runs. The newest counts: lower levels before
 * higher ones, and later runs of a level before earlier ones.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (V1) the tables of a run have ascending, disjoint ranges of keys.
 *  (V2) at any time each entry is visible once, but for records of which newer versions hide older.
 */
#ifndef LEDGER_LSM_TREE_H
#define LEDGER_LSM_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "lsm/block_cache.h"
#include "lsm/table.h"

/* ---- Tables in memory ---------------------------------------------------------------------- */

#define NODE_NONE UINT32_MAX

/* Some tables of a run. */
struct table_node {
    uint32_t next;
    uint32_t count;
    struct table_info tables[TABLES_PER_NODE];
};

/*
 * The nodes of all trees. Their last keys are in an array of their own, so that searching a long
 * run touches few cache lines.
 */
struct table_pool {
    struct table_node *nodes;
    u128 *key_max; /* The last key of each node's last table. */
    uint32_t node_count;
    uint32_t free_count;
    uint32_t free_head;
    uint64_t table_count; /* Tables in all runs. */
};

void table_pool_init(struct table_pool *pool, struct arena *arena, uint32_t node_count);
void table_pool_open(struct table_pool *pool);

/* The place of a table within a run. */
struct table_place {
    uint32_t node; /* NODE_NONE: beyond the last. */
    uint32_t index;
};

static inline bool
table_place_same(struct table_place a, struct table_place b)
{
    return a.node == b.node && a.index == b.index;
}

struct tree_run {
    uint32_t node_first;
    uint32_t node_last;
    uint32_t skip; /* How many tables of the first node are gone. */
    uint32_t table_count;
    uint64_t entry_count;
    u128 key_min;
    u128 key_max;
    u128 hidden; /* If has_hidden: keys up to this one are hidden. */
    bool has_hidden;
    bool used;     /* A run of this number exists. */
    bool building; /* It is not complete: more tables will come. */
    bool merging;  /* It is an input of a merge. */
};

/* ---- The tree ------------------------------------------------------------------------------ */

struct tree {
    const char *name;
    struct entry_format format;
    struct table_pool *pool;
    struct block_cache *cache;
    uint32_t fanout;
    /*
     * If records change: points to the number of different records (of entries with the same key,
     * only the newest counts). NULL: entries never change.
     */
    const uint64_t *distinct;
    struct tree_run runs[TREE_RUNS_MAX];
    uint8_t order[LSM_LEVELS][LEVEL_RUNS_MAX]; /* The numbers of each level's runs, oldest first. */
    uint8_t run_count[LSM_LEVELS];
    uint64_t version; /* Changes whenever something changes that a cursor must notice. */
};

void tree_init(
    struct tree *tree,
    const char *name,
    const struct entry_format *format,
    struct table_pool *pool,
    struct block_cache *cache);

/* Makes the tree empty. */
void tree_open(struct tree *tree);

uint64_t tree_entry_count(const struct tree *tree);

static inline bool
tree_mutable(const struct tree *tree)
{
    return tree->distinct != NULL;
}

/* The number of runs in all levels. */
uint32_t tree_run_count(const struct tree *tree);

/* Adds a run without tables, as the newest or the oldest of its level. Returns its number. */
uint32_t tree_run_new(struct tree *tree, uint32_t level, bool oldest);

/*
 * Adds the table at the end of the run (V1). There must be a free node, or room in the run's last.
 */
void tree_run_append(struct tree *tree, uint32_t run, const struct table_info *table);

/* Takes the first table out of the run. */
void tree_run_pop(struct tree *tree, uint32_t run);

/* Takes the run, which must be empty, out of its level. */
void tree_run_remove(struct tree *tree, uint32_t level, uint32_t run);

/* ---- Walking the tables of a run ----------------------------------------------------------- */

struct table_place tree_run_first(const struct tree *tree, uint32_t run);
struct table_place tree_run_next(const struct tree *tree, uint32_t run, struct table_place place);

/* The first table whose key_max is not below the key. */
struct table_place tree_run_find(const struct tree *tree, uint32_t run, u128 key);

/* The last table whose key_min is not above the key. */
struct table_place tree_run_find_last(const struct tree *tree, uint32_t run, u128 key);

static inline const struct table_info *
tree_table(const struct tree *tree, struct table_place place)
{
    assert(place.node < tree->pool->node_count);
    assert(place.index < tree->pool->nodes[place.node].count);
    return &tree->pool->nodes[place.node].tables[place.index];
}

/* ---- Looking up ---------------------------------------------------------------------------- */

enum tree_found { TREE_ABSENT, TREE_FOUND, TREE_WAIT, TREE_LOST };

/*
 * Copies the newest entry of the key to `entry`. TREE_WAIT: a block is being read; other blocks
 * that may be needed to find the entry were asked for as well.
 */
enum tree_found tree_lookup(const struct tree *tree, u128 key, void *entry);

/* Looks up the key in one table. */
enum tree_found
table_lookup(const struct tree *tree, const struct table_info *table, u128 key, void *entry);

/*
 * Looks up the key in the only block that can hold it. If records never change, only the sectors
 * that most likely hold the record are read, because a disk reads twice as many sectors as blocks.
 * The whole block is read if they don't, or if more of the block is wanted soon after.
 */
enum tree_found block_lookup(
    const struct tree *tree,
    const struct table_values *values,
    u128 key,
    void *entry);

/*
 * Reports damage: what the tree says of the key, or that it has none, can't be true. Notes the
 * table that has the key, or else one that could have it, and returns TREE_LOST.
 */
enum tree_found tree_refuse(const struct tree *tree, u128 key);

static inline enum tree_found
tree_found_of(enum cache_result result)
{
    assert(result != CACHE_READY);
    return result == CACHE_LOST ? TREE_LOST : TREE_WAIT;
}

#endif
