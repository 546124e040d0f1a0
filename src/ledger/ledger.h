/* SPDX-License-Identifier: PostgreSQL */
/*
 * The accounting state machine: implements vsr/state_machine.h over the forest.
 *
 * Pure: no clock, no I/O, no randomness. Time is each event's timestamp.
 */
#ifndef LEDGER_LEDGER_LEDGER_H
#define LEDGER_LEDGER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "forest/forest.h"
#include "forest/scan.h"
#include "ledger/types.h"
#include "vsr/state_machine.h"

/* Grooves and indexes, in the order of ledger_schema. */
enum ledger_groove {
    GROOVE_ACCOUNT,
    GROOVE_TRANSFER,
    GROOVE_TRANSFER_PENDING,
    GROOVE_ACCOUNT_EVENT,
    GROOVE_BURNT_ID,
};

enum ledger_index {
    INDEX_ACCOUNT_USER_DATA_128,
    INDEX_ACCOUNT_USER_DATA_64,
    INDEX_ACCOUNT_USER_DATA_32,
    INDEX_ACCOUNT_LEDGER,
    INDEX_ACCOUNT_CODE,
    INDEX_TRANSFER_DEBIT_ACCOUNT,
    INDEX_TRANSFER_CREDIT_ACCOUNT,
    INDEX_TRANSFER_USER_DATA_128,
    INDEX_TRANSFER_USER_DATA_64,
    INDEX_TRANSFER_USER_DATA_32,
    INDEX_TRANSFER_LEDGER,
    INDEX_TRANSFER_CODE,
    INDEX_PENDING_EXPIRES_AT,
    INDEX_HOLD_DEBIT_ACCOUNT,
    INDEX_HOLD_CREDIT_ACCOUNT,
    INDEX_HOLD_LEDGER,
    INDEX_EXPIRY_DEBIT_ACCOUNT,
    INDEX_EXPIRY_CREDIT_ACCOUNT,
};

extern const struct forest_schema ledger_schema;

/* How far a walk over the holds, in the order of their expiry, has come. */
struct ledger_walk {
    struct forest_range at;
    uint64_t passed; /* How many holds were passed since the last pulse. */
};

/* The accounts of a transfer, where they were within reach when they were asked for; else NULL. */
struct reached {
    const struct account *debit;
    const struct account *credit;
};

struct ledger {
    struct state_machine machine; /* First. */

    /* For each event of the op, what it has reached: see ledger_reached. */
    struct reached *reached;

    bool *absent; /* Which ids of a batch are new for certain: EVENTS_PER_BATCH_MAX. prefetch.c */

    /* All holds up to here in INDEX_PENDING_EXPIRES_AT are resolved, and stay so. */
    struct ledger_walk resolved;

    /* The same for holds up to here, but only as long as looked_newest is the newest hold. */
    struct ledger_walk looked;
    uint64_t looked_newest;

    /*
     * The current pulse, or the one that is rehearsed: the holds that it will release. See
     * expire.c.
     */
    bool gathering;
    uint64_t rehearsed;         /* The time that is rehearsed for; 0: no rehearsal has begun. */
    bool gathered;              /* All its holds are known; what they need is being brought. */
    bool gather_ended;          /* No hold behind `gather` is due. */
    struct forest_range gather; /* The last entry of the index that was looked at. */
    uint64_t *expired;          /* The holds: PULSE_EXPIRIES_MAX timestamps. */
    uint32_t expired_count;
    uint32_t expired_rounds; /* How many rounds of asking for what they need are over. */
    bool expired_asked;      /* The round that is not over has asked. */
    /* The next hold that a rehearsal looks at, and how many before it wait for blocks. */
    uint32_t expired_next;
    uint32_t expired_waiting;
};

void ledger_init(struct ledger *ledger, struct arena *arena, struct forest *forest);

/*
 * Is this read's input well-formed: sizes, reserved bytes, limits, timestamps, flags (accounting
 * rules of invalid filters)? NULL if it is; else what is wrong, as a phrase for people.
 */
const char *ledger_read_check(uint8_t operation, const void *input, uint32_t input_size);

/* ---- Reads ----------------------------------------------------------------------------------- */

/* One row of a reply of accounts: by which account as_of.c finds it again. */
struct ledger_row {
    uint64_t account_timestamp;
    uint16_t first; /* The first of the rows in the bucket that has this row's number. */
    uint16_t next;  /* In this row's own bucket. */
    bool listed;
};

/* A read, whose input has been checked. Buffers stay the caller's, lent until the read is done. */
struct ledger_question {
    uint8_t operation;
    const void *input;
    uint32_t input_size;
    void *reply;
    uint32_t reply_size_max;
    struct ledger_instant instant; /* Checked too: ledger_instant_check. */
    /* For the read's own use, RESULTS_MAX of each. */
    uint64_t *timestamps;
    struct ledger_row *rows;
};

union ledger_filter {
    struct account_filter account;
    struct query_filter query;
    struct hold_filter hold;
    struct change_events_filter change_events;
};

/* Scans point at each other: a plan stays where it is made. */
struct ledger_plan {
    struct forest *forest;
    struct scan_window window;
    struct scan leaves[SCAN_INPUTS_MAX];
    uint32_t leaf_count;
    struct scan sides; /* Debits or credits of an account. */
    struct scan *inputs[SCAN_INPUTS_MAX];
    uint32_t input_count;
    struct scan all;
    struct scan *root; /* What to read. */
};

/* How far the rows of accounts are those of the read's instant: as_of.c. */
struct ledger_as_of {
    uint32_t rows_looked_at; /* Of these, those that may have changed since are listed. */
    uint32_t listed;         /* How many rows' first event after the instant was not met yet. */
    uint64_t event_max;      /* The walk over events ends here. */
    uint64_t timestamp;      /* The timestamp of the event where it is. */
    uint64_t walk_left;      /* Events; then the others are sought, row by row. */
    uint32_t row;            /* The row whose event is sought; those before have none to seek. */
    bool row_started;        /* Its scan is in the read's plan. */
    bool named;              /* The scan has come to `timestamp`. */
    bool event_there;        /* That event is to be undone. */
    bool transfer_there;
    struct account_event event;
    struct transfer transfer; /* The event's. */
    struct transfer pending;  /* The hold that the transfer resolved. */
};

/*
 * A read that goes on between ops, whatever is committed meanwhile. All rows are of one instant:
 * the one that was given, or the state when the read began. See read.c.
 */
struct ledger_read {
    struct ledger_question question;
    struct forest *forest;
    union ledger_filter filter;
    struct ledger_instant instant;
    uint64_t timestamp_max; /* The newest timestamp that there was at the instant. */
    bool yielded; /* The last FOREST_WAIT only ended a piece of work: going on needs no progress. */

    struct ledger_plan plan;
    struct forest_range expiry; /* Holds by expiry: the last one that was collected. */
    bool source_ended;          /* No more timestamps, or ids. */
    uint32_t id_next;           /* Lookups: the next row to be asked for by its id. */
    bool account_known;         /* LEDGER_GET_ACCOUNT_BALANCES has found the account. */
    uint64_t account_timestamp; /* The timestamp of that account. */

    uint32_t row_size;
    uint32_t rows_max;
    uint32_t rows_done; /* Rows of the reply that stay where they are. */
    /* Rows on their way, behind those done; `question.timestamps` says what each still needs. */
    uint32_t pass_id; /* Lookups: the id of the first of them. */
    uint32_t pass_count;
    uint32_t pass_front; /* Those before need nothing any more. */
    uint32_t pass_next;
    uint32_t pass_waiting; /* Before pass_next: those that wait for blocks. */
    uint64_t pass_mark;    /* No use to go on before the forest's reads have reached it. */

    bool gathered; /* All rows are there. What is left is that accounts become of the instant. */
    struct ledger_as_of as_of;

    uint32_t reply_size; /* When it is done. */
};

/*
 * NULL if the instant lies in the past of what is committed, which `op` is the newest of; else what
 * is wrong. One that is not known is none, and right.
 */
const char *ledger_instant_check(
    const struct forest *forest, const struct ledger_instant *instant, uint64_t op);

/* `op` is what is committed. Between ops. */
void ledger_read_start(
    struct ledger_read *read,
    struct forest *forest,
    const struct ledger_question *question,
    uint64_t op);

/*
 * Goes on. FOREST_FOUND: done, reply_size bytes are the reply. FOREST_WAIT: see `yielded`.
 * FOREST_LOST: it can't be answered. Looks at *rows_left rows at most, which it counts down.
 * Between ops.
 */
enum forest_found ledger_read_step(struct ledger_read *read, uint32_t *rows_left);

/* Bytes of one row of the operation's reply. */
uint32_t ledger_row_size(uint8_t operation);

/* Bytes of one element of the operation's input: an event, an id, or a filter. */
uint32_t ledger_input_size(uint8_t operation);

#endif
