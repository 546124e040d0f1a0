/* SPDX-License-Identifier: PostgreSQL */
/*
 * Posts and voids: transfers that resolve a pending transfer. The amount that the pending transfer
 * holds was admitted when it was created, so overflows and limits need no second check.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

#define STATUS(name) TRANSFER_STATUS_##name

/*
 * What a post or void leaves open: an amount of U128_MAX in a post, or of 0 in a void, means the
 * whole pending amount; 0 in another field means the pending transfer's value.
 */
struct transfer
transfer_inherit(const struct transfer *event, const struct transfer *pending)
{
    assert(event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING));
    assert(event->pending_id == pending->id);
    const u128 amount_all = event->flags & TRANSFER_POST_PENDING ? U128_MAX : 0;
    assert(pending->flags & TRANSFER_PENDING);

    struct transfer transfer = *event;
    if (transfer.amount == amount_all) transfer.amount = pending->amount;
    if (transfer.debit_account_id == 0) transfer.debit_account_id = pending->debit_account_id;
    if (transfer.credit_account_id == 0) transfer.credit_account_id = pending->credit_account_id;
    if (transfer.user_data_128 == 0) transfer.user_data_128 = pending->user_data_128;
    if (transfer.user_data_64 == 0) transfer.user_data_64 = pending->user_data_64;
    if (transfer.user_data_32 == 0) transfer.user_data_32 = pending->user_data_32;
    if (transfer.ledger == 0) transfer.ledger = pending->ledger;
    if (transfer.code == 0) transfer.code = pending->code;
    return transfer;
}

/* Rows 24–28: what can be wrong with the event by itself, whatever is stored. */
static uint32_t
check_fields(const struct transfer *event)
{
    const uint16_t both = TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING;
    const uint16_t foreign = TRANSFER_PENDING | TRANSFER_BALANCING_DEBIT |
                             TRANSFER_BALANCING_CREDIT | TRANSFER_CLOSING_DEBIT |
                             TRANSFER_CLOSING_CREDIT;
    assert(event->id != 0 && event->id != U128_MAX);
    assert(event->flags & both);
    if ((event->flags & both) == both || event->flags & foreign) {
        return STATUS(flags_are_mutually_exclusive);
    }
    if (event->pending_id == 0) return STATUS(pending_id_must_not_be_zero);
    if (event->pending_id == U128_MAX) return STATUS(pending_id_must_not_be_int_max);
    if (event->pending_id == event->id) return STATUS(pending_id_must_be_different);
    if (event->timeout != 0) return STATUS(timeout_reserved_for_pending_transfer);
    return STATUS_UNDECIDED;
}

/* Rows 31–36. `transfer` is the event after inheritance. */
static uint32_t
check_match(const struct transfer *transfer, const struct transfer *pending)
{
    assert(transfer->pending_id == pending->id);
    assert(pending->flags & TRANSFER_PENDING);
    if (transfer->debit_account_id != pending->debit_account_id) {
        return STATUS(pending_transfer_has_different_debit_account_id);
    }
    if (transfer->credit_account_id != pending->credit_account_id) {
        return STATUS(pending_transfer_has_different_credit_account_id);
    }
    if (transfer->ledger != pending->ledger) return STATUS(pending_transfer_has_different_ledger);
    if (transfer->code != pending->code) return STATUS(pending_transfer_has_different_code);
    if (transfer->amount > pending->amount) return STATUS(exceeds_pending_transfer_amount);
    if (transfer->flags & TRANSFER_VOID_PENDING && transfer->amount < pending->amount) {
        return STATUS(pending_transfer_has_different_amount);
    }
    return STATUS_UNDECIDED;
}

/*
 * Rows 37–39. A pending transfer counts as expired as soon as it is due, even if no pulse has
 * released it yet.
 */
static uint32_t
check_unresolved(
    const struct forest *forest, const struct transfer *pending, uint64_t event_timestamp)
{
    assert(pending->timestamp < event_timestamp);
    const struct transfer_pending *state =
        forest_get(forest, GROOVE_TRANSFER_PENDING, pending->timestamp);
    assert(state != NULL);
    switch ((enum pending_status) state->status) {
    case PENDING_POSTED: return STATUS(pending_transfer_already_posted);
    case PENDING_VOIDED: return STATUS(pending_transfer_already_voided);
    case PENDING_EXPIRED: return STATUS(pending_transfer_expired);
    case PENDING_PENDING: break;
    case PENDING_NONE: unreachable();
    }
    const uint64_t expires_at = transfer_expires_at(pending);
    if (expires_at != 0 && expires_at <= event_timestamp) return STATUS(pending_transfer_expired);
    return STATUS_UNDECIDED;
}

/* Rows 40–42. Closed accounts don't prevent a void, since it only undoes. */
static uint32_t
check_accounts(
    const struct forest *forest,
    const struct transfer *transfer,
    const struct account *debit,
    const struct account *credit)
{
    assert(debit != credit);
    assert(debit->ledger == credit->ledger);
    if (transfer->flags & TRANSFER_IMPORTED &&
        transfer_timestamp_regresses(forest, transfer->timestamp)) {
        return STATUS(imported_event_timestamp_must_not_regress);
    }
    if (transfer->flags & TRANSFER_POST_PENDING) {
        if (debit->flags & ACCOUNT_CLOSED) return STATUS(debit_account_already_closed);
        if (credit->flags & ACCOUNT_CLOSED) return STATUS(credit_account_already_closed);
    }
    return STATUS_UNDECIDED;
}

/* Writes the post or void. Everything has been decided. */
static void
apply(
    struct ledger *ledger,
    const struct transfer *transfer,
    const struct transfer *pending,
    const struct account *debit,
    const struct account *credit,
    u128 amount_requested)
{
    const bool posts = transfer->flags & TRANSFER_POST_PENDING;
    const enum pending_status status = posts ? PENDING_POSTED : PENDING_VOIDED;
    struct movement movement;
    struct account_event event = {
        .timestamp = transfer->timestamp,
        .transfer_timestamp = transfer->timestamp,
        .amount_requested = amount_requested,
        .type = posts ? CHANGE_TWO_PHASE_POSTED : CHANGE_TWO_PHASE_VOIDED,
    };
    assert(transfer->timestamp > pending->timestamp);
    assert(transfer->timeout == 0);
    assert(transfer->amount <= pending->amount);
    movement_start(&movement, debit, credit);
    movement_release(&movement, pending, status, posts ? transfer->amount : 0);
    movement_apply(ledger, &movement, &event);

    pending_resolve(ledger, pending, status, transfer->timestamp);
    forest_insert(ledger->machine.forest, GROOVE_TRANSFER, transfer);
}

uint32_t
transfer_resolve(struct ledger *ledger, const struct transfer *event, uint64_t event_timestamp)
{
    const struct forest *forest = ledger->machine.forest;
    uint32_t status = check_fields(event);
    if (status != STATUS_UNDECIDED) return status;
    const struct transfer *pending = transfer_find(forest, &event->pending_id);
    if (pending == NULL) return STATUS(pending_transfer_not_found);
    if (!(pending->flags & TRANSFER_PENDING)) return STATUS(pending_transfer_not_pending);

    struct transfer transfer = transfer_inherit(event, pending);
    transfer.timestamp = transfer_timestamp(event, event_timestamp);
    status = check_match(&transfer, pending);
    if (status != STATUS_UNDECIDED) return status;
    status = check_unresolved(forest, pending, event_timestamp);
    if (status != STATUS_UNDECIDED) return status;
    const struct account *debit = account_find(forest, &pending->debit_account_id);
    const struct account *credit = account_find(forest, &pending->credit_account_id);
    assert(debit != NULL && credit != NULL);
    status = check_accounts(forest, &transfer, debit, credit);
    if (status != STATUS_UNDECIDED) return status;

    apply(ledger, &transfer, pending, debit, credit, event->amount);
    return STATUS_CREATED;
}
