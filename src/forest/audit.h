/* SPDX-License-Identifier: PostgreSQL */
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
#ifndef LEDGER_FOREST_AUDIT_H
#define LEDGER_FOREST_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "forest/forest.h"
#include "forest/scan.h"
#include "lsm/walk.h"

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
