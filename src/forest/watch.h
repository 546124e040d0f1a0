/* SPDX-License-Identifier: PostgreSQL */
/*
 * Those who watch over the forest, and change nothing in it: one section for each file.
 *
 *     tour     every live block on disk, once: is it the block that is referred to?
 *     scrub    tours without end, at a pace; remembers what is damaged
 *     check    do the lists in memory agree with each other, and with the free set?
 *     audit    do ids, lists and indexes say what the records say?
 */
#ifndef LEDGER_FOREST_WATCH_H
#define LEDGER_FOREST_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "forest/forest.h"
#include "forest/scan.h"
#include "lsm/table.h"
#include "lsm/walk.h"
#include "store/grid.h"

/* ---- A tour: tour.c -------------------------------------------------------------------------- */

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

/* ---- The scrubber: scrub.c ------------------------------------------------------------------- */

/*
 * The scrubber makes tours without end, one read at a time, at the pace that its
 * owner allows. So damage that nobody has met yet is found while its cause is fresh and a backup
 * still exists.
 *
 * It remembers damaged blocks. A block is reported once, however many tours pass it, and forgotten
 * when a tour finds it whole or doesn't meet it any more.
 */

/*
 * How many damaged blocks are remembered. If there are more, whole stretches of the file are gone.
 */
#define SCRUB_DAMAGED_MAX 64

/* The most blocks that can be due. A scrubber that was held up doesn't hurry afterwards. */
#define SCRUB_DUE_MAX 256

struct scrub_damaged {
    struct tour_damage damage;
    uint64_t tour; /* The tour that found it last. */
};

struct scrub {
    struct tour tour;
    uint64_t due;    /* How many blocks it may read now. */
    uint64_t blocks; /* How many blocks it has read since the start. */
    uint64_t tours;  /* How many tours are complete. */
    uint32_t damaged_count;
    uint32_t told; /* How many of `damaged`, counted from the first, were reported. */
    struct scrub_damaged damaged[SCRUB_DAMAGED_MAX];
};

/* The arena may be one that only measures. */
void scrub_init(struct scrub *scrub, struct arena *arena, struct forest *forest);
void scrub_open(struct scrub *scrub);

/* Allows block_count more blocks to be read. */
void forest_scrub_allow(struct forest *forest, uint64_t block_count);

/* Does what can be done now. Returns true if something was done. */
bool forest_scrub_work(struct forest *forest);

/* Gives a damaged block that wasn't reported yet. Returns false if there is none. */
bool forest_scrub_tell(struct forest *forest, struct tour_damage *damage);

/* Is this block known to be damaged? */
bool forest_scrub_knows(const struct forest *forest, uint64_t address);

struct forest_scrub_stats {
    uint64_t blocks;       /* Number of blocks that were read since the start. */
    uint64_t tours;        /* Number of tours that were completed since the start. */
    uint64_t tour_blocks;  /* Number of blocks that the current tour has read. */
    uint64_t blocks_total; /* Number of live blocks. */
    uint64_t damaged;      /* Number of blocks that are known to be damaged now. */
};

void forest_scrub_stats_get(const struct forest *forest, struct forest_scrub_stats *stats);

/* ---- The lists in memory: check.c ------------------------------------------------------------ */

/*
 * Do the forest's lists agree with each other? They are all compared at one moment, and from memory
 * alone; tours check what is on disk.
 */

struct forest_check {
    /* How many blocks the free set says are taken, and how many of them something refers to. */
    uint64_t blocks_taken;
    uint64_t blocks_listed;
    /*
     * The index block of a table whose keys are not above those of the table before, or whose index
     * block is free. 0 if there is no such table.
     */
    uint64_t table_address;
    const char *tree_name;
};

/* Compares the lists. Only between ops. */
void forest_check(const struct forest *forest, struct forest_check *check);

/* ---- An audit: audit.c ----------------------------------------------------------------------- */

/*
 * An audit: do the ids, lists and indexes on disk say the same as the records? Each record must
 * have exactly its entries in all of them, and no entry may lead anywhere else.
 *
 * It walks all records once, then every tree of entries once, each in the order of its keys, so
 * that nothing is read at random. For each tree it compares how many entries there should be with
 * how many there are, and the sums of their hashes, which don't depend on the order. An entry that
 * leads to the wrong record changes the sum, even if the count is right.
 *
 * The forest changes meanwhile. Therefore the audit fixes a timestamp for each groove at its start,
 * and is about the records up to it: those whose entries had all left memory by then. A record's
 * entries never change, so these records and entries are the same until the end, wherever merges
 * move them. Entries of newer records are passed over. What is in memory only needs no audit: it is
 * made again from the log at a restart, and the next checkpoint writes it.
 *
 * What can go wrong: a tree differs (AUDIT_WRONG, with `finding`, and the audit goes on), or a
 * block that is needed for an answer is damaged (AUDIT_LOST, and the audit is over).
 *
 * Numbered invariants (asserted, tested under their number):
 *  (A1) what is not damaged gives no finding, whatever is committed meanwhile.
 *  (A2) an entry that is missing, or that leads from another value, to another record or to none,
 *       among those that the audit is about, is found.
 */

enum audit_kind {
    AUDIT_RECORDS, /* Are there as many records as were inserted? */
    AUDIT_IDS,     /* The ids, burnt ones included. */
    AUDIT_LIST,
    AUDIT_INDEX,
};

/* The entries that there should be, or those that there are. */
struct audit_sum {
    uint64_t count;
    uint64_t hashes;
};

struct audit_finding {
    const char *tree_name;
    enum audit_kind kind;
    uint64_t expected; /* If both counts are equal, the entries are wrong ones. */
    uint64_t found;
};

enum audit_step {
    AUDIT_WAIT,  /* Wait for the storage. */
    AUDIT_YIELD, /* All rows of this step are spent, but there is more to do. */
    AUDIT_WRONG, /* audit->finding says what differs. */
    AUDIT_LOST,  /* A block that is needed for an answer is damaged: the audit is over. */
    AUDIT_END,
};

enum audit_stage {
    AUDIT_STAGE_RECORDS, /* It walks the records of `groove`. */
    AUDIT_STAGE_ENTRIES, /* It walks the entries of `part`. */
    AUDIT_STAGE_DONE,
};

struct audit {
    struct forest *forest;
    enum audit_stage stage;
    uint32_t groove; /* The current groove, or the one that `part` belongs to. */
    uint32_t part;
    bool begun; /* The walk of the current groove or part has begun. */
    /* Of each groove: */
    uint64_t about[FOREST_GROOVES_MAX];     /* The audit is about records up to this timestamp. */
    uint64_t record_max[FOREST_GROOVES_MAX]; /* Records up to this one are walked and counted. */
    uint64_t record_count[FOREST_GROOVES_MAX];
    uint64_t records_found;
    uint64_t timestamp; /* Timestamp of the current record; 0 if there is none. */
    /* Of each part with entries: */
    struct audit_sum expected[FOREST_PARTS_MAX];
    struct audit_sum found; /* What was found in the current part. */
    enum audit_kind kind;
    struct scan scan;
    struct walk walk;
    struct audit_finding finding;
};

/* Starts an audit. Not while an op is executed. */
void audit_start(struct audit *audit, struct forest *forest);

/*
 * Does a piece of it, also not while an op is executed. It looks at about *rows_left rows at most,
 * and counts that down.
 */
enum audit_step audit_step(struct audit *audit, uint32_t *rows_left);

#endif
