/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the files of the state machine share. See README.md for which file does what.
 *
 * Every check returns a status: STATUS_UNDECIDED while nothing is wrong, else the first code that
 * applies, in the order of precedence. `Rows` in comments are those of README.md. Nothing is
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
 *  (L6) a pending transfer is resolved once: posted, voided or expired. INDEX_PENDING_EXPIRES_AT
 *       has exactly the unresolved ones with a timeout.
 *  (L7) a timestamp names one thing: an account, a transfer with its event, or an expiry's event.
 *  (L8) events ascend in the order of execution, whatever is imported (see
 *       transfer_timestamp_regresses).
 */
#ifndef LEDGER_LEDGER_LEDGER_INTERNAL_H
#define LEDGER_LEDGER_LEDGER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/u128.h"
#include "base/units.h"
#include "ledger/ledger.h"
#include "ledger/types.h"
#include "lsm/forest.h"

/* No check has failed so far. Never in a result: codes start at 1. */
#define STATUS_UNDECIDED 0u

/* ---- Records --------------------------------------------------------------------------------- */

/* NULL: absent. */
static inline const struct account *
account_find(const struct forest *forest, const u128 *id)
{
    const void *record = NULL;
    const enum forest_found found = forest_get_by_id(forest, TREE_ACCOUNT, id, &record);
    assert(found != FOREST_BURNT);
    return found == FOREST_FOUND ? record : NULL;
}

/* NULL: absent, or burnt. */
static inline const struct transfer *
transfer_find(const struct forest *forest, const u128 *id)
{
    const void *record = NULL;
    const enum forest_found found = forest_get_by_id(forest, TREE_TRANSFER, id, &record);
    return found == FOREST_FOUND ? record : NULL;
}

/* When a pending transfer expires; 0: never. */
static inline uint64_t
transfer_expires_at(const struct transfer *pending)
{
    assert(pending->flags & TRANSFER_PENDING);
    if (pending->timeout == 0) return 0;
    assert(pending->timestamp + pending->timeout * NS_PER_S <= TIMESTAMP_MAX);
    return pending->timestamp + pending->timeout * NS_PER_S;
}

/* ---- Creating: one event. `slot` is its own timestamp in the batch. -------------------------- */

struct create_result
account_create(struct ledger *ledger, const struct account *event, uint64_t slot);

struct create_result
transfer_create(struct ledger *ledger, const struct transfer *event, uint64_t slot);

/* Transfers with flags post_pending_transfer or void_pending_transfer. The id is new. */
uint32_t transfer_resolve(struct ledger *ledger, const struct transfer *event, uint64_t slot);

/* How the event compares with the stored transfer of its id: exists, exists_with_different_…. */
uint32_t transfer_exists(
    const struct forest *forest, const struct transfer *event, const struct transfer *stored);

/* A post or void with everything that it leaves open taken from the pending transfer. */
struct transfer transfer_inherit(const struct transfer *event, const struct transfer *pending);

/* The timestamp that the transfer is stored with. */
static inline uint64_t
transfer_timestamp(const struct transfer *event, uint64_t slot)
{
    return event->flags & TRANSFER_IMPORTED ? event->timestamp : slot;
}

/*
 * May nothing be stored under this imported timestamp any more?
 *
 * Compares with the newest event, not only with the newest transfer: an expiry takes its place in
 * the order of events too, and a transfer must not slip in before what is already told (L8).
 */
bool transfer_timestamp_regresses(const struct forest *forest, uint64_t timestamp);

/* ---- Moving money: the only code that changes accounts and pending states -------------------- */

/* Two accounts, before and after. */
struct movement {
    const struct account *debit_before; /* These two: the records in the forest. */
    const struct account *credit_before;
    struct account debit;
    struct account credit;
};

void movement_start(
    struct movement *movement, const struct account *debit, const struct account *credit);

/* Adds a single-phase or pending transfer, whose amount has been decided. */
void movement_add(struct movement *movement, const struct transfer *transfer);

/* Takes back what `pending` holds, posts `posted` of it, and reopens what it closed. */
void movement_release(
    struct movement *movement,
    const struct transfer *pending,
    enum pending_status status,
    u128 posted);

/*
 * Writes both accounts, and the event: the caller sets its timestamps, type and amount_requested,
 * the rest is filled in here.
 */
void
movement_apply(struct ledger *ledger, const struct movement *movement, struct account_event *event);

/* The state of a pending transfer becomes `status`. */
void
pending_resolve(struct ledger *ledger, const struct transfer *pending, enum pending_status status);

/* ---- Others ---------------------------------------------------------------------------------- */

/* Does an id that failed with this status never succeed again? */
bool transfer_status_is_transient(uint32_t status);

/* state_machine_ops: pulse_due, pulse, read. */
bool ledger_pulse_due(const struct state_machine *machine, uint64_t timestamp);
void ledger_pulse(struct state_machine *machine, uint64_t timestamp_final);
uint32_t ledger_read(
    struct state_machine *machine,
    uint8_t operation,
    const void *input,
    uint32_t input_size,
    void *reply,
    uint32_t reply_size_max);

/* Rows of a reply, written one after another. */
struct rows {
    char *bytes;
    uint32_t row_size;
    uint32_t count;
    uint32_t count_max;
};

static inline bool
rows_full(const struct rows *rows)
{
    assert(rows->count <= rows->count_max);
    return rows->count == rows->count_max;
}

void rows_add(struct rows *rows, const void *row);

/* The queries: write as many rows as match and fit. The filter is valid. */
void query_account_transfers(
    const struct forest *forest, const struct account_filter *filter, struct rows *rows);
void query_account_balances(
    const struct forest *forest, const struct account_filter *filter, struct rows *rows);
void
query_accounts(const struct forest *forest, const struct query_filter *filter, struct rows *rows);
void
query_transfers(const struct forest *forest, const struct query_filter *filter, struct rows *rows);
void query_change_events(
    const struct forest *forest, const struct change_events_filter *filter, struct rows *rows);

/* NULL if the filter is valid; else what is wrong with it. */
const char *account_filter_check(const struct account_filter *filter);
const char *query_filter_check(const struct query_filter *filter);
const char *change_events_filter_check(const struct change_events_filter *filter);

#endif
