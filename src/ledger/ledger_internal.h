/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the files of the state machine share. See README.md for which file does what.
 *
 * Every check returns a status: STATUS_UNDECIDED while nothing is wrong, else the first code that
 * applies, in the order of precedence. "Rows" in comments are those of README.md. Nothing is
 * written before an event has passed all its checks.
 *
 * Numbered invariants (asserted where an event is applied, tested under their number):
 *  (L1) what an event adds to the debit side's pending and posted balances it adds to the credit
 *       side's too, and it touches nothing else: the sums of all debits and of all credits stay
 *       equal.
 *  (L2) debits_pending + debits_posted and credits_pending + credits_posted never overflow.
 *  (L3) posted balances never shrink.
 *  (L4) an account within its limit (…_must_not_exceed_…) stays within it.
 *  (L5) account flags never change but for `closed`: set by a closing transfer, unset when that is
 *       voided or expires.
 *  (L6) a pending transfer is resolved once: posted, voided or expired; its state names the event
 *       that did it. INDEX_PENDING_EXPIRES_AT has exactly those with a timeout, resolved or not; a
 *       pulse releases exactly those of them that are due and unresolved.
 *  (L7) a timestamp names one thing: an account, a transfer with its event, or an expiry's event.
 *  (L8) events ascend in the order of execution, whatever is imported (see
 *       transfer_timestamp_regresses).
 *  (L9) the forest's memo is the hold in INDEX_PENDING_EXPIRES_AT that the newest pulse came to.
 *       All holds up to there are resolved, and new ones come behind it. It follows from the log
 *       alone: not from what was asked when, nor from restarts.
 */
#ifndef LEDGER_LEDGER_LEDGER_INTERNAL_H
#define LEDGER_LEDGER_LEDGER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/u128.h"
#include "base/units.h"
#include "forest/forest.h"
#include "ledger/ledger.h"
#include "ledger/types.h"

/* No check has failed so far. It never is in a result, whose codes start at 1. */
#define STATUS_UNDECIDED 0u

/* ---- Records --------------------------------------------------------------------------------- */

/* The timestamp of a batch's event. */
static inline uint64_t
event_timestamp_at(const struct state_machine_batch *batch, uint32_t index)
{
    assert(index < batch->event_count);
    assert(batch->timestamp_final >= batch->event_count);
    return batch->timestamp_final - batch->event_count + index + 1;
}

/* The event itself: an account or a transfer. */
static inline const void *
event_at(const struct state_machine_batch *batch, uint32_t index)
{
    assert(index < batch->event_count);
    return (const char *) batch->events + (size_t) index * EVENT_SIZE;
}

/*
 * What the event has reached. The place follows from its timestamp: the timestamps of an op's
 * events are consecutive, and an op has no more events than there are places.
 */
static inline struct reached *
ledger_reached(const struct ledger *ledger, uint64_t event_timestamp)
{
    assert(event_timestamp > 0 && event_timestamp <= TIMESTAMP_MAX);
    return &ledger->reached[event_timestamp % EVENTS_PER_BATCH_MAX];
}

static inline struct balances
account_balances(const struct account *account)
{
    return (struct balances){
        .debits_pending = account->debits_pending,
        .debits_posted = account->debits_posted,
        .credits_pending = account->credits_pending,
        .credits_posted = account->credits_posted,
    };
}

/* The account, or NULL if there is none. */
static inline const struct account *
account_find(const struct forest *forest, const u128 *id)
{
    const void *record = NULL;
    const enum forest_found found = forest_get_by_id(forest, GROOVE_ACCOUNT, id, &record);
    assert(found != FOREST_BURNT);
    return found == FOREST_FOUND ? record : NULL;
}

/*
 * The same for an account that may have been reached before, which saves a look into the index of
 * ids.
 */
static inline const struct account *
account_reached(const struct forest *forest, const struct account *reached, const u128 *id)
{
    if (reached == NULL) return account_find(forest, id);
    assert(reached->id == *id);
    return reached;
}

/* The transfer, or NULL if there is none or the id is burnt. */
static inline const struct transfer *
transfer_find(const struct forest *forest, const u128 *id)
{
    const void *record = NULL;
    const enum forest_found found = forest_get_by_id(forest, GROOVE_TRANSFER, id, &record);
    return found == FOREST_FOUND ? record : NULL;
}

/* Reads a record that something on disk refers to. If it doesn't exist, the disk is damaged. */
static inline enum forest_found
read_referred(struct forest *forest, uint32_t groove, uint64_t timestamp, void *record)
{
    const enum forest_found found = forest_read(forest, groove, timestamp, record);
    return found == FOREST_ABSENT ? forest_refuse(forest, groove, timestamp) : found;
}

/* The time at which a pending transfer expires; 0 if never. */
static inline uint64_t
transfer_expires_at(const struct transfer *pending)
{
    assert(pending->flags & TRANSFER_PENDING);
    if (pending->timeout == 0) return 0;
    assert(pending->timestamp + pending->timeout * NS_PER_S <= TIMESTAMP_MAX);
    return pending->timestamp + pending->timeout * NS_PER_S;
}

/* ---- Creating: one event, with its own timestamp in the batch ------------------------------- */

struct create_result
account_create(struct ledger *ledger, const struct account *event, uint64_t event_timestamp);

struct create_result
transfer_create(struct ledger *ledger, const struct transfer *event, uint64_t event_timestamp);

/*
 * Creates a transfer with the flag post_pending_transfer or void_pending_transfer. Its id is new.
 */
uint32_t
transfer_resolve(struct ledger *ledger, const struct transfer *event, uint64_t event_timestamp);

/* Compares the event with the stored transfer of its id: exists, or exists_with_different_…. */
uint32_t transfer_exists(
    const struct forest *forest, const struct transfer *event, const struct transfer *stored);

/* The post or void, with everything that it leaves open filled in from the pending transfer. */
struct transfer transfer_inherit(const struct transfer *event, const struct transfer *pending);

/* The timestamp that the transfer is stored with. */
static inline uint64_t
transfer_timestamp(const struct transfer *event, uint64_t event_timestamp)
{
    return event->flags & TRANSFER_IMPORTED ? event->timestamp : event_timestamp;
}

/*
 * True if this imported timestamp is too old to be stored.
 *
 * It is compared with the newest event, not only with the newest transfer: an expiry has a place in
 * the order of events too, and no transfer may come before an event that clients have already seen
 * (L8).
 */
bool transfer_timestamp_regresses(const struct forest *forest, uint64_t timestamp);

/* ---- Moving money: the only code that changes accounts and pending states -------------------- */

/* Two accounts, before and after a transfer or an expiry. */
struct movement {
    const struct account *debit_before; /* These two point to the records in the forest. */
    const struct account *credit_before;
    struct account debit;
    struct account credit;
};

void movement_start(
    struct movement *movement, const struct account *debit, const struct account *credit);

/* Adds a single-phase or pending transfer, whose amount is final. */
void movement_add(struct movement *movement, const struct transfer *transfer);

/* Takes back what `pending` holds, posts `posted` of it, and reopens what it has closed. */
void movement_release(
    struct movement *movement,
    const struct transfer *pending,
    enum pending_status status,
    u128 posted);

/*
 * Writes both accounts and the event. The caller sets the event's timestamps, type and
 * amount_requested; this fills in the rest.
 */
void
movement_apply(struct ledger *ledger, const struct movement *movement, struct account_event *event);

/*
 * Sets the state of a pending transfer to `status`. The event of timestamp `resolved_at` did it,
 * which is the newest event.
 */
void pending_resolve(
    struct ledger *ledger,
    const struct transfer *pending,
    enum pending_status status,
    uint64_t resolved_at);

/* ---- Others ---------------------------------------------------------------------------------- */

/* True if an id that failed with this status may still succeed later. */
bool transfer_status_is_transient(uint32_t status);

/* state_machine_ops. */
bool ledger_ask(
    struct state_machine *machine, const struct state_machine_batch *batch, uint32_t round);
enum forest_found ledger_pulse_due(struct state_machine *machine, uint64_t timestamp);
enum forest_found ledger_rehearse_pulse(struct state_machine *machine, uint64_t timestamp);
enum forest_found ledger_prefetch_pulse(struct state_machine *machine, uint64_t timestamp_final);
void ledger_pulse(struct state_machine *machine, uint64_t timestamp_final);

/*
 * The place that the newest pulse came to (L9). {0, 0} if there was no pulse, or none met a due
 * hold.
 */
static inline struct forest_range
ledger_pulsed(const struct forest *forest)
{
    const struct forest_memo memo = forest_memo(forest);
    return (struct forest_range){.value = memo.words[0], .timestamp = memo.words[1]};
}

/* ---- Reads: read.c, read_row.c, query.c, as_of.c --------------------------------------------- */

/* What the words of a row in `timestamps` mean, if they aren't a timestamp that is to be read. */
#define READ_THERE   UINT64_C(0)
/* Added to a timestamp that must be read before the row's other words. */
#define READ_FIRST   (UINT64_C(1) << 63)
#define READ_BY_ID   (UINT64_MAX - 1)     /* Look up the id of this row. */
#define READ_DROPPED UINT64_MAX           /* The row doesn't belong in the reply. */

/* Is the operation's input a list of ids? */
static inline bool
operation_looks_up(uint8_t operation)
{
    return operation == LEDGER_LOOKUP_ACCOUNTS || operation == LEDGER_LOOKUP_TRANSFERS ||
           operation == LEDGER_LOOKUP_RESOLUTIONS || operation == LEDGER_LOOKUP_CHANGE_EVENTS;
}

/* Are its rows change events? */
static inline bool
operation_gives_events(uint8_t operation)
{
    return operation == LEDGER_GET_CHANGE_EVENTS || operation == LEDGER_LOOKUP_CHANGE_EVENTS;
}

/*
 * How many words a row needs. A change event is made of four records: the event, and the three that
 * it names.
 */
static inline uint32_t
read_words_per_row(uint8_t operation)
{
    return operation_gives_events(operation) ? 3 : 1;
}

/* A transfer has its own event, and may have a second one, of its expiry. */
static inline uint32_t
read_rows_per_id(uint8_t operation)
{
    return operation == LEDGER_LOOKUP_CHANGE_EVENTS ? 2 : 1;
}
static_assert(3 * CHANGE_EVENTS_MAX <= RESULTS_MAX, "the words of all rows fit");
static_assert(READ_FIRST > TIMESTAMP_MAX, "no timestamp has the bit");

/* Does what can be done for a row in work. FOREST_FOUND: nothing is left to do. */
enum forest_found read_row(struct ledger_read *read, uint32_t index);

/*
 * Brings the rows of accounts, each copied at its own time, back to the read's instant.
 * FOREST_FOUND: all are. FOREST_WAIT: see `yielded`.
 */
void as_of_start(struct ledger_read *read);
enum forest_found as_of_step(struct ledger_read *read, uint32_t *rows_left);

/*
 * Makes the scans of a query, over what existed at the read's instant. Returns false if nothing can
 * match.
 */
bool query_plan(struct ledger_read *read);

/* The most rows that the query wants. */
uint32_t query_limit(const struct ledger_read *read);

/* Does the filter want the record? Indexes may also give records of other values. */
bool query_wants_account(const struct ledger_read *read, const struct account *account);
bool query_wants_transfer(const struct ledger_read *read, const struct transfer *transfer);

/*
 * LEDGER_QUERY_HOLDS: does the filter want a hold of this state, as far as the state alone tells?
 */
bool query_wants_state(
    const struct ledger_read *read, const struct transfer_pending *state, enum pending_status now);

/* Are the holds collected in the order of their expiry? */
bool query_by_expiry(const struct ledger_read *read);

/* LEDGER_GET_ACCOUNT_BALANCES: does the filter ask more of a transfer than its account? */
bool query_compares_transfer(const struct ledger_read *read);

/* NULL if the filter is valid; else what is wrong with it. */
const char *account_filter_check(const struct account_filter *filter);
const char *query_filter_check(const struct query_filter *filter);
const char *hold_filter_check(const struct hold_filter *filter);
const char *change_events_filter_check(const struct change_events_filter *filter);

#endif
