/* SPDX-License-Identifier: PostgreSQL */
/*
 * A tour visits every live block of the forest on disk, one after another, and says which are
 * damaged: the blocks of all tables, and those of the newest checkpoint itself. It reads past the
 * block cache, so that it sees what the disk holds.
 *
 *      part by part      its tables in the order of their first keys, whatever run they are in
 *      a table           index block, filter blocks, value blocks
 *      at the end        manifest, free set, root
 *
 * The forest changes meanwhile: tables are merged away, and their blocks become other blocks. A
 * table that exists throughout the tour is visited, even if it is moved to another run. Blocks of
 * tables that are still being made are not visited; they were written just now.
 *
 * More is checked than checksums: keys ascend and are those that the index block names, counts are
 * right, filters hold every key, the manifest lists runs and tables in order. So a block that was
 * already wrong when it was written is found too.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (D1) a tour changes nothing: with it and without it, the same calls make the same bytes.
 *  (D2) damage is told only of a block that is live after it was read.
 *  (D3) whatever was damaged before a tour began, and is live until it ends, is told.
 *  (D4) nothing is written to where a tour reads: a checkpoint does not end before.
 */
#ifndef LEDGER_FOREST_TOUR_H
#define LEDGER_FOREST_TOUR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "lsm/table.h"
#include "store/grid.h"

struct forest;

enum tour_step {
    TOUR_WAIT,    /* A read is under way, or the block is being written. */
    TOUR_STARTED, /* A read was started. */
    TOUR_CHECKED, /* A block was read, and is as it should be or not needed any more. */
    TOUR_DAMAGED, /* A block was read, and tour->damage says what is wrong with it. */
    TOUR_END,     /* All are visited. The next step begins anew. */
};

enum tour_damage_kind {
    TOUR_UNREADABLE, /* The disk reports an error. */
    TOUR_CORRUPT,    /* The bytes there are not the block that was written. */
    /* It is the block that was written, but its content doesn't agree with what refers to it. */
    TOUR_WRONG,
};

struct tour_damage {
    uint64_t address;
    const char *tree_name;
    enum tour_damage_kind kind;
};

struct tour {
    struct forest *forest;
    char *index;  /* The index block of the current table. */
    char *filter; /* Filter blocks of the current table. */
    char *block;  /* Any other block that is being looked at. */

    struct grid_read read;
    enum grid_result result;
    bool reading;
    bool read_done;

    uint32_t part; /* The current part; after the last one come the checkpoint's own blocks. */
    uint32_t own;  /* The next of the checkpoint's own blocks. */
    /* The current table, or the place where it was before it was merged. */
    bool positioned;
    bool in_table;
    bool filters_whole;
    struct table_info table;
    uint64_t version; /* The tree's version when the table was last known to exist. */
    /* The table's next block: 0 is the index block, then come filters, then values. */
    uint32_t place;
    u128 key_last;  /* The last key of the value block before this one. */

    /* How far the manifest was read that belongs to the checkpoint with this root. */
    uint64_t manifest_root;
    uint32_t manifest_next;
    uint64_t manifest_tables; /* Number of tables of the current run that are still to come. */
    u128 manifest_key_last;
    bool manifest_first; /* The next table is the run's first. */

    uint64_t blocks; /* Number of blocks that this tour has read. */
    struct tour_damage damage;
};

/* A tour for callers that want to make one at once. The scrubber has its own. */
struct tour *forest_tour(struct forest *forest);

/* The arena may be one that only measures. */
void tour_init(struct tour *tour, struct arena *arena, struct forest *forest);

/* Puts the tour at its start. No read may be under way. */
void tour_open(struct tour *tour);

/* Does one piece of the tour. It may be called at any time between other calls. */
enum tour_step tour_step(struct tour *tour);

/* True while the tour is reading a block that isn't live any more. */
bool tour_holds(const struct tour *tour);

#endif
