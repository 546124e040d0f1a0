/* SPDX-License-Identifier: PostgreSQL */
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
#ifndef LEDGER_FOREST_AUDIT_H
#define LEDGER_FOREST_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "forest/forest.h"
#include "forest/scan.h"
#include "lsm/walk.h"

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
