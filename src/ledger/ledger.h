/* SPDX-License-Identifier: PostgreSQL */
/*
 * The accounting state machine: it implements vsr/state_machine.h over the forest. It is pure: no
 * clock, no I/O, no randomness. The time is each event's timestamp.
 *
 * The happy path of a write: the replica has everything prefetched that the batch may look at
 * (prefetch.c), then executes it event by event (ledger.c), which never waits. Bad events are
 * refused with a status; they change nothing. A read goes on in steps between ops
 * (ledger_read_start, ledger_read_step). What can go wrong with either: a block is damaged, which
 * is FOREST_LOST.
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

/* How far a walk through the holds, in the order of their expiry, has come. */
struct ledger_walk {
    struct forest_range at;
    uint64_t passed; /* How many holds were passed since the last pulse. */
};

/* The accounts of a transfer, if they were in memory when they were asked for; otherwise NULL. */
struct reached {
    const struct account *debit;
    const struct account *credit;
};

struct ledger {
    struct state_machine machine; /* It must be first. */

    /* What each event of the op has reached: see ledger_reached. */
    struct reached *reached;

    /* Which ids of a batch are certainly new; EVENTS_PER_BATCH_MAX of them (prefetch.c). */
    bool *absent;

    /* All holds up to this place in INDEX_PENDING_EXPIRES_AT are resolved, which never changes. */
    struct ledger_walk resolved;

    /*
     * All holds up to this place are resolved as well, but only as long as looked_newest is the
     * newest hold.
     */
    struct ledger_walk looked;
    uint64_t looked_newest;

    /* The holds that the current pulse, or the one being rehearsed, will release (expire.c). */
    bool gathering;
    uint64_t rehearsed;         /* The time that is rehearsed for; 0 if no rehearsal has begun. */
    /* All its holds are known. What they need is being brought into memory. */
    bool gathered;
    bool gather_ended;          /* No hold behind the place `gather` is due. */
    struct forest_range gather; /* The last entry of the index that was looked at. */
    uint64_t *expired;          /* Timestamps of the holds; room for PULSE_EXPIRIES_MAX. */
    uint32_t expired_count;
    uint32_t expired_rounds; /* How many rounds of asking for what they need are complete. */
    bool expired_asked;      /* The current round has asked for everything. */
    /* The next hold that a rehearsal looks at, and how many before it wait for blocks. */
    uint32_t expired_next;
    uint32_t expired_waiting;
};

void ledger_init(struct ledger *ledger, struct arena *arena, struct forest *forest);

/*
 * Is the input of this read well-formed? Checked are sizes, reserved bytes, limits, timestamps and
 * flags, by the public model's rules of invalid filters. Returns NULL if it is, else a phrase that
 * tells a person what is wrong.
 */
const char *ledger_read_check(uint8_t operation, const void *input, uint32_t input_size);

/* ---- Reads ----------------------------------------------------------------------------------- */

/* One row of a reply of accounts. as_of.c finds it by its account, in a hash table of buckets. */
struct ledger_row {
    uint64_t account_timestamp;
    uint16_t first; /* The bucket of this row's number begins with that row. */
    uint16_t next;  /* The next row in the bucket that this row is in. */
    bool listed;
};

/* A read whose input has been checked. The caller lends the buffers until the read is done. */
struct ledger_question {
    uint8_t operation;
    const void *input;
    uint32_t input_size;
    void *reply;
    uint32_t reply_size_max;
    struct ledger_instant instant; /* Has been checked too, by ledger_instant_check. */
    /* Memory for the read's own use: RESULTS_MAX of each. */
    uint64_t *timestamps;
    struct ledger_row *rows;
};

union ledger_filter {
    struct account_filter account;
    struct query_filter query;
    struct hold_filter hold;
    struct change_events_filter change_events;
};

/* The scans of a query. They point at each other, so a plan must not be moved. */
struct ledger_plan {
    struct forest *forest;
    struct scan_window window;
    struct scan leaves[SCAN_INPUTS_MAX];
    uint32_t leaf_count;
    /* The transfers on the debit side, the credit side, or both sides of an account. */
    struct scan sides;
    struct scan *inputs[SCAN_INPUTS_MAX];
    uint32_t input_count;
    struct scan all;
    struct scan *root; /* The scan to read from. */
};

/* How far the rows of accounts have been brought back to the read's instant: as_of.c. */
struct ledger_as_of {
    /* How many rows were looked at. Those whose account may have changed since are listed. */
    uint32_t rows_looked_at;
    /* How many listed rows still wait for their first event after the instant. */
    uint32_t listed;
    uint64_t event_max;      /* The walk through the events ends here. */
    uint64_t timestamp;      /* The timestamp of the event that it has reached. */
    /* How many more events it may pass. Then the first events of the other rows are sought. */
    uint64_t walk_left;
    /* The row whose event is being sought. No row before it is listed any more. */
    uint32_t row;
    bool row_started;        /* The scan for this row has been made, in the read's plan. */
    bool named;              /* The scan has given `timestamp`. */
    bool event_there;        /* `event` was read and is to be undone. */
    bool transfer_there;
    struct account_event event;
    struct transfer transfer; /* The transfer that the event is of. */
    struct transfer pending;  /* The hold that the transfer resolved. */
};

/*
 * A read, which goes on between ops, whatever is committed meanwhile. All its rows are of one
 * instant: the one that was given, or that of the read's beginning. See read.c.
 */
struct ledger_read {
    struct ledger_question question;
    struct forest *forest;
    union ledger_filter filter;
    struct ledger_instant instant;
    uint64_t timestamp_max; /* The newest timestamp that existed at the instant. */
    /*
     * The last FOREST_WAIT only ended a piece of work: the read can go on without any progress
     * elsewhere.
     */
    bool yielded;

    struct ledger_plan plan;
    /* For holds in the order of their expiry: the last one that was collected. */
    struct forest_range expiry;
    bool source_ended;          /* There are no more timestamps, or ids, to collect. */
    uint32_t id_next;           /* For lookups: the next row to be asked for by its id. */
    bool account_known;         /* For LEDGER_GET_ACCOUNT_BALANCES: the account has been found. */
    uint64_t account_timestamp; /* The timestamp of that account. */

    uint32_t row_size;
    uint32_t rows_max;
    uint32_t rows_done; /* Rows of the reply that are final in number and place. */
    /*
     * The rows in work, behind those that are done. `question.timestamps` says what each still
     * needs.
     */
    uint32_t pass_id; /* For lookups: the index of the first row's id in the input. */
    uint32_t pass_count;
    uint32_t pass_front; /* Rows before this one need nothing any more. */
    uint32_t pass_next;
    uint32_t pass_waiting; /* How many rows before pass_next wait for blocks. */
    /* It is useless to go on before the forest's reads have reached this mark. */
    uint64_t pass_mark;

    /* All rows are there. Only accounts still have to be brought back to the instant. */
    bool gathered;
    struct ledger_as_of as_of;

    uint32_t reply_size; /* Bytes of the reply, when the read is done. */
};

/*
 * Returns NULL if the instant can be read: it isn't later than what is committed, whose newest op
 * is `op`. An instant that isn't `known` is right too. Otherwise returns what is wrong.
 */
const char *ledger_instant_check(
    const struct forest *forest, const struct ledger_instant *instant, uint64_t op);

/* Starts a read, between ops. `op` is the newest committed op. */
void ledger_read_start(
    struct ledger_read *read,
    struct forest *forest,
    const struct ledger_question *question,
    uint64_t op);

/*
 * Goes on, between ops. FOREST_FOUND: it is done, and the reply has reply_size bytes. FOREST_WAIT:
 * see `yielded`. FOREST_LOST: it can't be answered. It looks at no more than *rows_left rows, and
 * counts that down.
 */
enum forest_found ledger_read_step(struct ledger_read *read, uint32_t *rows_left);

#endif
