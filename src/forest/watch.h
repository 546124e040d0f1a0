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

/* ---- The scrubber: scrub.c ------------------------------------------------------------------- */

/*
 * The scrubber: tours without end, at the pace that its owner gives, one read
 * at a time. Damage that nobody has met yet is found while its cause is fresh and a backup is at
 * hand.
 *
 * It remembers the damaged blocks: a block is told of once, however often tours come by, and
 * forgotten when a tour finds it whole or doesn't find it.
 */

/* Damaged blocks that are remembered. With more, whole parts of the file are gone. */
#define SCRUB_DAMAGED_MAX 64

/* At most so many blocks can be due: a scrubber that was held up doesn't hurry afterwards. */
#define SCRUB_DUE_MAX 256

struct scrub_damaged {
    struct tour_damage damage;
    uint64_t tour; /* Which found it last. */
};

struct scrub {
    struct tour tour;
    uint64_t due;    /* Blocks that it may read. */
    uint64_t blocks; /* That it has read since start. */
    uint64_t tours;  /* That are complete. */
    uint32_t damaged_count;
    uint32_t told; /* How many of `damaged`, from the first one on, were told. */
    struct scrub_damaged damaged[SCRUB_DAMAGED_MAX];
};

/* NULL memory while measuring. */
void scrub_init(struct scrub *scrub, struct arena *arena, struct forest *forest);
void scrub_open(struct scrub *scrub);

/* Allows that many more blocks to be read. */
void forest_scrub_allow(struct forest *forest, uint64_t block_count);

/* Does what can be done; true if something was done. */
bool forest_scrub_work(struct forest *forest);

/* A damaged block that was not told of yet; false: there is none. */
bool forest_scrub_tell(struct forest *forest, struct tour_damage *damage);

/* Is this block among those that are known to be damaged? */
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
 * Do the forest's lists agree with each other? All at one moment, and from memory alone: what is on
 * disk is checked by tours.
 */

struct forest_check {
    /* The free set: blocks that are taken, and blocks that something refers to. */
    uint64_t blocks_taken;
    uint64_t blocks_listed;
    /* A table whose keys are not above those before, or whose index block is free. 0: none. */
    uint64_t table_address;
    const char *tree_name;
};

/* Between ops. */
void forest_check(const struct forest *forest, struct forest_check *check);

/* ---- An audit: audit.c ----------------------------------------------------------------------- */

/*
 * An audit: do ids, lists and indexes on disk say what the records say? Each record has exactly its
 * entries in all of them, and no entry leads anywhere else.
 *
 * All records are walked once, then every tree of entries once, each in the order of its keys, so
 * that nothing is read at random. What is compared is how many entries there should be and are, and
 * the sum of their hashes, which does not depend on their order.
 *
 * The forest changes meanwhile. Of each groove, the audit is about the records up to a timestamp
 * that is fixed at its start: all whose entries had left memory then. A record's entries never
 * change, so those records and entries are the same to the end, wherever merges move them. Entries
 * of newer records are passed over; what is in memory only is made again from the log at a restart,
 * and the next checkpoint writes it.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (A1) what is not damaged gives no finding, whatever is committed meanwhile.
 *  (A2) an entry that is missing, or that leads from another value, to another record or to none,
 *       among those that the audit is about, is found.
 */

enum audit_kind {
    AUDIT_RECORDS, /* There are as many as were inserted. */
    AUDIT_IDS,     /* Burnt ones too. */
    AUDIT_LIST,
    AUDIT_INDEX,
};

/* Entries that there should be, or that there are. */
struct audit_sum {
    uint64_t count;
    uint64_t hashes;
};

struct audit_finding {
    const char *tree_name;
    enum audit_kind kind;
    uint64_t expected; /* If both are the same, entries are other ones. */
    uint64_t found;
};

enum audit_step {
    AUDIT_WAIT,  /* For the storage. */
    AUDIT_YIELD, /* All rows are spent, and there is more. */
    AUDIT_WRONG, /* audit->finding. */
    AUDIT_LOST,  /* A block that would tell is damaged: the audit is over. */
    AUDIT_END,
};

enum audit_stage {
    AUDIT_STAGE_RECORDS, /* The records of `groove`. */
    AUDIT_STAGE_ENTRIES, /* The entries of `part`. */
    AUDIT_STAGE_DONE,
};

struct audit {
    struct forest *forest;
    enum audit_stage stage;
    uint32_t groove; /* The current groove, or the one that `part` belongs to. */
    uint32_t part;
    bool begun; /* The walk of the current groove or part has begun. */
    /* For each groove: */
    uint64_t about[FOREST_GROOVES_MAX];     /* Records up to this timestamp. */
    uint64_t record_max[FOREST_GROOVES_MAX]; /* Records are walked, and counted, up to this one. */
    uint64_t record_count[FOREST_GROOVES_MAX];
    uint64_t records_found;
    uint64_t timestamp; /* The current record's timestamp; 0: there is none. */
    /* For each part with entries: */
    struct audit_sum expected[FOREST_PARTS_MAX];
    struct audit_sum found; /* What was found in the current part. */
    enum audit_kind kind;
    struct scan scan;
    struct walk walk;
    struct audit_finding finding;
};

/* Not while an op is executed. */
void audit_start(struct audit *audit, struct forest *forest);

/* The same. Looks at *rows_left rows at most, about, which it counts down. */
enum audit_step audit_step(struct audit *audit, uint32_t *rows_left);

#endif
