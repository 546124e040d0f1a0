/* SPDX-License-Identifier: PostgreSQL */
/*
 * Verification of everything, while everything goes on: is all that is on disk what was written,
 * and do the books add up?
 *
 *     BLOCKS    a tour: every live block
 *     LISTS     tables are in order; the blocks taken are those that something refers to
 *     JOURNAL   every prepare since the checkpoint, its parent, its entry in headers.wal
 *     INDEXES   ids and indexes, compared with the records: an audit
 *     BOOKS     balances, recomputed from transfers (verify_books.c)
 *
 * Like a read, it does a bounded number of rows between two ops, in a fixed amount of memory. What
 * it finds are rows of struct verify_finding; if there are none, all is well. A damaged block
 * doesn't end it: it notes what couldn't be compared (VERIFY_UNFINISHED), and goes on with the next
 * stage.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (Y1) what is not damaged gives no finding, whatever is committed meanwhile.
 *  (Y2) a balance, in an account or in an event, that is not the sum of what transfers say is
 *       found; and so are flags that are not what transfers make of them.
 */
#ifndef LEDGER_LEDGER_VERIFY_H
#define LEDGER_LEDGER_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "forest/forest.h"
#include "forest/scan.h"
#include "forest/watch.h"
#include "ledger/types.h"
#include "store/journal.h"
#include "store/journal_check.h"

/* An account of the current window. */
struct verify_account {
    u128 id;
    struct balances balances; /* Recomputed from transfers, up to the current event. */
    /* The sum of the balances in its record, at the time when the record was read. */
    u128 checksum;
    uint64_t event_max;       /* The newest event at the time when its record was read. */
    uint32_t ledger;
    uint16_t flags; /* The flags in its record. */
    /* Recomputed. It is known only if `moved`, since an account may be created closed. */
    bool closed;
    bool moved;     /* An event of it was met. */
    /* There is a finding about it already; others would only follow from that one. */
    bool told;
};

/* Sums of all movements of a ledger. If there are very many ledgers, some share an entry. */
#define VERIFY_LEDGERS_MAX 256
struct verify_ledger {
    u128 debits_posted;
    u128 credits_posted;
    u128 debits_pending;
    u128 credits_pending;
    uint32_t ledger;
};

enum books_stage {
    BOOKS_WINDOW,   /* Begins the next window. */
    BOOKS_ACCOUNTS, /* Reads the window's accounts. */
    BOOKS_EVENTS,   /* Walks all events. */
    BOOKS_COMPARE,  /* Compares the recomputed balances with those of the records. */
    BOOKS_DONE,
};

struct verify_books {
    struct forest *forest;
    enum books_stage stage;
    /* What existed when it began. */
    uint64_t account_newest;
    uint64_t account_count;
    uint64_t event_newest;
    uint64_t transfer_count;
    /* The window: accounts with timestamps window_min … window_max. */
    uint64_t *timestamps;            /* VERIFY_ACCOUNTS_MAX */
    struct verify_account *accounts; /* The accounts of these timestamps. */
    uint32_t count;
    uint32_t compared;
    uint64_t window_min;
    uint64_t window_max;
    uint64_t event_max; /* Events are walked up to this one. */
    uint64_t accounts_seen;
    uint64_t transfers_told; /* How many transfers the events up to event_newest are of. */
    struct verify_ledger *ledgers; /* VERIFY_LEDGERS_MAX */
    struct scan scan;
    /* The current timestamp, or 0 if none; and what was read for it. */
    uint64_t timestamp;
    bool event_there;
    bool transfer_there;
    bool pending_there;
    struct account_event event;
    struct transfer transfer;
    struct transfer pending;
};

enum verify_stage {
    VERIFY_IDLE,
    VERIFY_START, /* Waits until the reads of a cancelled verification are over. */
    VERIFY_BLOCKS,
    VERIFY_LISTS,
    VERIFY_PREPARES,
    VERIFY_INDEXES,
    VERIFY_BOOKS,
};

struct verify {
    enum verify_stage stage;
    struct forest *forest;
    struct journal_check journal;
    struct audit *audit;
    struct verify_books books;
    /*
     * The last FOREST_WAIT only ended a piece of work: it can go on without any progress elsewhere.
     */
    bool yielded;
    struct verify_finding *findings; /* VERIFY_FINDINGS_MAX */
    /* The number of all findings. As many of them are listed as there is room for. */
    uint64_t finding_count;
};

/* The arena may be one that only measures. */
void ledger_verify_init(struct verify *verify, struct arena *arena, struct journal *journal);

/* Starts one. Precondition: none is running. */
void ledger_verify_start(struct verify *verify, struct forest *forest);

/* Gives up the running one. */
void ledger_verify_cancel(struct verify *verify);

/*
 * Goes on, between ops. FOREST_FOUND: it is done, see ledger_verify_reply. FOREST_WAIT: see
 * `yielded`. It looks at about *rows_left rows at most, and counts that down.
 */
enum forest_found ledger_verify_step(struct verify *verify, uint32_t *rows_left);

/*
 * Copies as many findings as fit. If there are more, the last row says how many. Returns the size
 * in bytes.
 */
uint32_t ledger_verify_reply(const struct verify *verify, void *reply, uint32_t reply_size_max);

/* ---- For tests, and for verify_books.c ----------------------------------------------------- */

/* Do a piece of the stages INDEXES and BOOKS alone. The stage must have been started. */
enum forest_found verify_indexes_step(struct verify *verify, uint32_t *rows_left);

void verify_note(struct verify *verify, const struct verify_finding *finding);
bool verify_noted(const struct verify *verify, enum verify_kind kind, uint64_t number);

void books_start(struct verify_books *books, struct forest *forest);
enum forest_found books_step(struct verify *verify, uint32_t *rows_left);

#endif
