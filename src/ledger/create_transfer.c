/* SPDX-License-Identifier: PostgreSQL */
/*
 * create_transfers: one event. The checks are in the order of precedence of the transfer codes,
 * which clients see. The batch loop has already checked chains, imported batches and the event's
 * timestamp.
 *
 * Here is what all transfers have in common, and single-phase and pending transfers. Posts and
 * voids are in resolve_transfer.c.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

#define STATUS(name) TRANSFER_STATUS_##name

bool
transfer_timestamp_regresses(const struct forest *forest, uint64_t timestamp)
{
    assert(timestamp > 0 && timestamp <= TIMESTAMP_MAX);
    const uint64_t newest = forest_newest(forest, GROOVE_ACCOUNT_EVENT);
    assert(newest >= forest_newest(forest, GROOVE_TRANSFER));
    return timestamp <= newest || forest_get(forest, GROOVE_ACCOUNT, timestamp) != NULL;
}

/* ---- Single-phase and pending transfers ------------------------------------------------------ */

/* Rows 24–33: what can be wrong with the event by itself, whatever is stored. */
static uint32_t
check_fields(const struct transfer *event)
{
    const uint16_t flags = event->flags;
    assert(event->id != 0 && event->id != U128_MAX);
    assert(!(flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)));
    if (event->debit_account_id == 0) return STATUS(debit_account_id_must_not_be_zero);
    if (event->debit_account_id == U128_MAX) return STATUS(debit_account_id_must_not_be_int_max);
    if (event->credit_account_id == 0) return STATUS(credit_account_id_must_not_be_zero);
    if (event->credit_account_id == U128_MAX) return STATUS(credit_account_id_must_not_be_int_max);
    if (event->debit_account_id == event->credit_account_id) {
        return STATUS(accounts_must_be_different);
    }
    if (event->pending_id != 0) return STATUS(pending_id_must_be_zero);
    if (!(flags & TRANSFER_PENDING)) {
        if (event->timeout != 0) return STATUS(timeout_reserved_for_pending_transfer);
        if (flags & (TRANSFER_CLOSING_DEBIT | TRANSFER_CLOSING_CREDIT)) {
            return STATUS(closing_transfer_must_be_pending);
        }
    }
    if (event->ledger == 0) return STATUS(ledger_must_not_be_zero);
    if (event->code == 0) return STATUS(code_must_not_be_zero);
    return STATUS_UNDECIDED;
}

/* Rows 34–43: checks the event against its accounts, except for their balances. */
static uint32_t
check_accounts(
    const struct forest *forest,
    const struct transfer *event,
    const struct account *debit,
    const struct account *credit)
{
    if (debit == NULL) return STATUS(debit_account_not_found);
    if (credit == NULL) return STATUS(credit_account_not_found);
    assert(debit->id == event->debit_account_id);
    assert(credit->id == event->credit_account_id);
    if (debit->ledger != credit->ledger) return STATUS(accounts_must_have_the_same_ledger);
    if (event->ledger != debit->ledger) {
        return STATUS(transfer_must_have_the_same_ledger_as_accounts);
    }
    if (event->flags & TRANSFER_IMPORTED) {
        if (transfer_timestamp_regresses(forest, event->timestamp)) {
            return STATUS(imported_event_timestamp_must_not_regress);
        }
        if (event->timestamp <= debit->timestamp) {
            return STATUS(imported_event_timestamp_must_postdate_debit_account);
        }
        if (event->timestamp <= credit->timestamp) {
            return STATUS(imported_event_timestamp_must_postdate_credit_account);
        }
        if (event->timeout != 0) return STATUS(imported_event_timeout_must_be_zero);
    }
    if (debit->flags & ACCOUNT_CLOSED) return STATUS(debit_account_already_closed);
    if (credit->flags & ACCOUNT_CLOSED) return STATUS(credit_account_already_closed);
    return STATUS_UNDECIDED;
}

/*
 * The amount of a balancing transfer: at most as much as brings the account's posted and pending
 * amounts on this side up to its posted amount on the other side.
 */
static u128
clamp_amount(
    const struct transfer *event, const struct account *debit, const struct account *credit)
{
    assert(debit != credit);
    u128 amount = event->amount;
    if (event->flags & TRANSFER_BALANCING_DEBIT) {
        const u128 debits = debit->debits_posted + debit->debits_pending;
        amount = u128_min(amount, u128_subtract_saturating(debit->credits_posted, debits));
    }
    if (event->flags & TRANSFER_BALANCING_CREDIT) {
        const u128 credits = credit->credits_posted + credit->credits_pending;
        amount = u128_min(amount, u128_subtract_saturating(credit->debits_posted, credits));
    }
    assert(amount <= event->amount);
    return amount;
}

/*
 * Rows 44–52: checks `transfer` (its amount clamped, its timestamp set) against balances and
 * limits.
 */
static uint32_t
check_balances(
    const struct transfer *transfer, const struct account *debit, const struct account *credit)
{
    assert(!u128_sum_overflows(debit->debits_pending, debit->debits_posted)); /* (L2) */
    assert(!u128_sum_overflows(credit->credits_pending, credit->credits_posted));
    const u128 amount = transfer->amount;
    const u128 debits = debit->debits_pending + debit->debits_posted; /* (L2) */
    const u128 credits = credit->credits_pending + credit->credits_posted;
    assert(transfer->timestamp > 0 && transfer->timestamp <= TIMESTAMP_MAX);
    if (transfer->flags & TRANSFER_PENDING) {
        if (u128_sum_overflows(debit->debits_pending, amount)) {
            return STATUS(overflows_debits_pending);
        }
        if (u128_sum_overflows(credit->credits_pending, amount)) {
            return STATUS(overflows_credits_pending);
        }
    }
    if (u128_sum_overflows(debit->debits_posted, amount)) return STATUS(overflows_debits_posted);
    if (u128_sum_overflows(credit->credits_posted, amount)) return STATUS(overflows_credits_posted);
    if (u128_sum_overflows(debits, amount)) return STATUS(overflows_debits);
    if (u128_sum_overflows(credits, amount)) return STATUS(overflows_credits);
    if (transfer->timestamp + transfer->timeout * NS_PER_S > TIMESTAMP_MAX) {
        return STATUS(overflows_timeout);
    }
    if (debit->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS &&
        debits + amount > debit->credits_posted) {
        return STATUS(exceeds_credits);
    }
    if (credit->flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS &&
        credits + amount > credit->debits_posted) {
        return STATUS(exceeds_debits);
    }
    return STATUS_UNDECIDED;
}

/* Writes the transfer. Everything has been decided. */
static void
apply(
    struct ledger *ledger,
    const struct transfer *transfer,
    const struct account *debit,
    const struct account *credit,
    u128 amount_requested)
{
    struct forest *forest = ledger->machine.forest;
    const bool pending = transfer->flags & TRANSFER_PENDING;
    struct movement movement;
    struct account_event event = {
        .timestamp = transfer->timestamp,
        .transfer_timestamp = transfer->timestamp,
        .amount_requested = amount_requested,
        .type = pending ? CHANGE_TWO_PHASE_PENDING : CHANGE_SINGLE_PHASE,
    };
    assert(amount_requested >= transfer->amount);
    assert(transfer->timestamp > debit->timestamp);
    assert(transfer->timestamp > credit->timestamp);
    movement_start(&movement, debit, credit);
    movement_add(&movement, transfer);
    movement_apply(ledger, &movement, &event);

    forest_insert(forest, GROOVE_TRANSFER, transfer);
    if (pending) {
        const struct transfer_pending state = {
            .timestamp = transfer->timestamp,
            .expires_at = transfer_expires_at(transfer),
            .status = PENDING_PENDING,
        };
        assert(state.expires_at == 0 || state.expires_at > ledger_pulsed(forest).value); /* (L9) */
        forest_insert(forest, GROOVE_TRANSFER_PENDING, &state);
    }
}

static uint32_t
create_single_or_pending(
    struct ledger *ledger, const struct transfer *event, uint64_t event_timestamp)
{
    const struct forest *forest = ledger->machine.forest;
    assert(!(event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)));

    uint32_t status = check_fields(event);
    if (status != STATUS_UNDECIDED) return status;
    const struct reached *reached = ledger_reached(ledger, event_timestamp);
    const struct account *debit =
        account_reached(forest, reached->debit, &event->debit_account_id);
    const struct account *credit =
        account_reached(forest, reached->credit, &event->credit_account_id);
    status = check_accounts(forest, event, debit, credit);
    if (status != STATUS_UNDECIDED) return status;
    assert(debit != NULL && credit != NULL);

    struct transfer transfer = *event;
    transfer.timestamp = transfer_timestamp(event, event_timestamp);
    transfer.amount = clamp_amount(event, debit, credit);
    status = check_balances(&transfer, debit, credit);
    if (status != STATUS_UNDECIDED) return status;

    apply(ledger, &transfer, debit, credit, event->amount);
    return STATUS_CREATED;
}

/* ---- All transfers --------------------------------------------------------------------------- */

static uint32_t
check_id(const struct transfer *event)
{
    if (event->flags & ~TRANSFER_FLAGS_KNOWN) return STATUS(reserved_flag);
    if (event->id == 0) return STATUS(id_must_not_be_zero);
    if (event->id == U128_MAX) return STATUS(id_must_not_be_int_max);
    return STATUS_UNDECIDED;
}

/* Creates the transfer. Its id is valid and new. */
static uint32_t
create_new(struct ledger *ledger, const struct transfer *event, uint64_t event_timestamp)
{
    assert(event->id != 0 && event->id != U128_MAX);
    if (event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) {
        return transfer_resolve(ledger, event, event_timestamp);
    }
    return create_single_or_pending(ledger, event, event_timestamp);
}

struct create_result
transfer_create(struct ledger *ledger, const struct transfer *event, uint64_t event_timestamp)
{
    const struct forest *forest = ledger->machine.forest;
    struct create_result result = {.timestamp = event_timestamp};
    const void *record = NULL;
    assert(event_timestamp > 0 && event_timestamp <= TIMESTAMP_MAX);

    result.status = check_id(event);
    if (result.status != STATUS_UNDECIDED) return result;
    switch (forest_get_by_id(forest, GROOVE_TRANSFER, &event->id, &record)) {
    case FOREST_FOUND: {
        const struct transfer *stored = record;
        result.status = transfer_exists(forest, event, stored);
        if (result.status == STATUS(exists)) result.timestamp = stored->timestamp;
        break;
    }
    case FOREST_BURNT: result.status = STATUS(id_already_failed); break;
    case FOREST_ABSENT:
        result.status = create_new(ledger, event, event_timestamp);
        if (result.status == STATUS_CREATED) {
            result.timestamp = transfer_timestamp(event, event_timestamp);
        }
        break;
    case FOREST_WAIT:
    case FOREST_LOST: unreachable(); /* It was prefetched. */
    }
    assert(result.status != STATUS_UNDECIDED);
    assert(result.timestamp <= event_timestamp);
    return result;
}
