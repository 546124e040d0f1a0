/* SPDX-License-Identifier: PostgreSQL */
/*
 * A tour visits every live block of the forest on disk, one after another, and says which are
 * damaged: those of all tables, and those of the newest checkpoint itself. It goes past the block
 * cache, so that it sees what the disk holds.
 *
 *     part by part      its tables in the order of their first keys, whatever run they are in
 *     a table           index block, filter blocks, value blocks
 *     at the end        manifest, free set, root
 *
 * The forest changes meanwhile: tables are merged away, and their blocks become other blocks. A
 * table that stays throughout is visited, also if it is moved to another run. Blocks of tables that
 * are still being made are not visited: they were written just now.
 *
 * More is looked at than checksums: keys ascend and are those that the index block promises, counts
 * are right, filters hold every key, the manifest lists runs and tables in order. So a block that
 * was written wrongly is found too.
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
    TOUR_UNREADABLE, /* The disk says so. */
    TOUR_CORRUPT,    /* It is not the block that was written there. */
    TOUR_WRONG,      /* It is, but its content is not what refers to it. */
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
    uint64_t version; /* The tree's version when the table was there for certain. */
    uint32_t place; /* Next block of the table: index block 0, then filters, then values. */
    u128 key_last;  /* The last key of the value block before. */

    /* How far the manifest of the checkpoint with this root has been read. */
    uint64_t manifest_root;
    uint32_t manifest_next;
    uint64_t manifest_tables; /* Number of tables of the current run that are still to come. */
    u128 manifest_key_last;
    bool manifest_first; /* The next table is the run's first. */

    uint64_t blocks; /* Number of blocks that this tour has read. */
    struct tour_damage damage;
};

/* A tour for callers that want to make one at once. The scrubber has another one. */
struct tour *forest_tour(struct forest *forest);

/* NULL memory while measuring. */
void tour_init(struct tour *tour, struct arena *arena, struct forest *forest);

/* At the start. No read is under way. */
void tour_open(struct tour *tour);

/* Does one piece of the tour. It may be called at any time between other calls. */
enum tour_step tour_step(struct tour *tour);

/* True while it reads a block that is live no more. */
bool tour_holds(const struct tour *tour);

#endif
