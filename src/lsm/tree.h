/* SPDX-License-Identifier: PostgreSQL */
/*
 * A tree: the tables of one log-structured merge tree (O'Neil et al. 1996), in runs, in levels.
 *
 * A *run* is a sequence of tables whose keys ascend from one to the next. A flush adds a run to
 * level 0. When a level has `fanout` runs, they are merged into one run of the next level (tiering:
 * Dostoevsky, Dayan and Idreos 2018, §2): each entry is written once a level. Trees of immutable
 * entries have nothing obsolete in them, so that this costs them no space.
 *
 * While runs are merged (lsm/merge.h), what has been merged already is read from the new run, whose
 * tables appear one by one: the inputs' keys up to `hidden` are hidden. A table of an input is
 * released when all of its keys are.
 *
 * Where an entry may be in several runs (records that change), the newest has it: lower levels
 * before higher ones, and later runs of a level before earlier ones.
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

/* All nodes of all trees. Keys are beside: a long run is searched through few cache lines. */
struct table_pool {
    struct table_node *nodes;
    u128 *key_max; /* The last key of each node's last table. */
    uint32_t node_count;
    uint32_t free_count;
    uint32_t free_head;
    uint64_t table_count; /* In all runs. */
};

void table_pool_init(struct table_pool *pool, struct arena *arena, uint32_t node_count);
void table_pool_open(struct table_pool *pool);

/* A place among a run's tables. */
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
    uint32_t skip; /* Tables of the first node that are gone. */
    uint32_t table_count;
    uint64_t entry_count;
    u128 key_min;
    u128 key_max;
    u128 hidden; /* If has_hidden: keys up to here are hidden. */
    bool has_hidden;
    bool used;     /* There is a run of this number. */
    bool building; /* More tables come. */
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
     * Of records that change, how many there are: of entries with the same key the newest counts.
     * NULL: entries never change.
     */
    const uint64_t *distinct;
    struct tree_run runs[TREE_RUNS_MAX];
    uint8_t order[LSM_LEVELS][LEVEL_RUNS_MAX]; /* The numbers of each level's runs, oldest first. */
    uint8_t run_count[LSM_LEVELS];
    uint64_t version; /* Changes with everything that a cursor must notice. */
};

void tree_init(
    struct tree *tree,
    const char *name,
    const struct entry_format *format,
    struct table_pool *pool,
    struct block_cache *cache);

/* Empty. */
void tree_open(struct tree *tree);

uint64_t tree_entry_count(const struct tree *tree);

static inline bool
tree_mutable(const struct tree *tree)
{
    return tree->distinct != NULL;
}

/* Runs of all levels. */
uint32_t tree_run_count(const struct tree *tree);

/* A new run, the newest or oldest of its level, with no tables yet. Returns its number. */
uint32_t tree_run_new(struct tree *tree, uint32_t level, bool oldest);

/* The table goes to the run's end (V1). Needs a free node, or room in the run's last. */
void tree_run_append(struct tree *tree, uint32_t run, const struct table_info *table);

/* Takes the run's first table away. */
void tree_run_pop(struct tree *tree, uint32_t run);

/* The run, empty, leaves its level. */
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
 * The newest entry of the key, copied to `entry`. TREE_WAIT: a block is on its way; what else must
 * be known to find the entry has been asked for too.
 */
enum tree_found tree_lookup(const struct tree *tree, u128 key, void *entry);

/* The same in one table. */
enum tree_found
table_lookup(const struct tree *tree, const struct table_info *table, u128 key, void *entry);

/*
 * The same in the only block that can hold it. Of a record that never changes, no more than the
 * sectors that hold it are read, unless they are guessed wrongly, or more of the block is wanted
 * soon after: a disk reads twice as many sectors as blocks.
 */
enum tree_found block_lookup(
    const struct tree *tree,
    const struct table_values *values,
    u128 key,
    void *entry);

/*
 * What the tree says of the key, or that it has none, cannot be: TREE_LOST. Names the table that
 * has the key, or else one that could.
 */
enum tree_found tree_refuse(const struct tree *tree, u128 key);

static inline enum tree_found
tree_found_of(enum cache_result result)
{
    assert(result != CACHE_READY);
    return result == CACHE_LOST ? TREE_LOST : TREE_WAIT;
}

#endif
