/* SPDX-License-Identifier: PostgreSQL */
/*
 * Moving money. Every transfer and every expiry comes down to one movement between two accounts,
 * and one event that records it. Only this file changes balances, the closed flag and pending
 * states.
 *
 *      event          debit account              credit account              closed
 *      single-phase   posted + a                 posted + a
 *      pending        pending + a                pending + a                 set by closing_*
 *      post a of p    pending − p, posted + a    pending − p, posted + a
 *      void, expiry   pending − p                pending − p                 unset by closing_*
 *
 * For example, a hold of 100 that is posted with 70: pending falls by 100 and posted rises by 70,
 * on both sides alike.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

/* ---- The movement ---------------------------------------------------------------------------- */

void
movement_start(struct movement *movement, const struct account *debit, const struct account *credit)
{
    assert(debit != credit);
    assert(debit->ledger == credit->ledger);
    movement->debit_before = debit;
    movement->credit_before = credit;
    movement->debit = *debit;
    movement->credit = *credit;
}

void
movement_add(struct movement *movement, const struct transfer *transfer)
{
    assert(!((movement->debit.flags | movement->credit.flags) & ACCOUNT_CLOSED));
    if (!(transfer->flags & TRANSFER_PENDING)) {
        assert(!(transfer->flags & (TRANSFER_CLOSING_DEBIT | TRANSFER_CLOSING_CREDIT)));
        movement->debit.debits_posted += transfer->amount;
        movement->credit.credits_posted += transfer->amount;
        return;
    }
    movement->debit.debits_pending += transfer->amount;
    movement->credit.credits_pending += transfer->amount;
    if (transfer->flags & TRANSFER_CLOSING_DEBIT) movement->debit.flags |= ACCOUNT_CLOSED;
    if (transfer->flags & TRANSFER_CLOSING_CREDIT) movement->credit.flags |= ACCOUNT_CLOSED;
}

/*
 * As long as a closing transfer is pending, its account is closed, and nothing else can reopen it
 * (L5).
 */
static void
account_reopen(struct account *account)
{
    assert(account->flags & ACCOUNT_CLOSED);
    account->flags = (uint16_t) (account->flags & ~ACCOUNT_CLOSED);
}

void
movement_release(
    struct movement *movement,
    const struct transfer *pending,
    enum pending_status status,
    u128 posted)
{
    assert(pending->flags & TRANSFER_PENDING);
    assert(status == PENDING_POSTED || posted == 0);
    assert(posted <= pending->amount);
    assert(movement->debit.debits_pending >= pending->amount);
    assert(movement->credit.credits_pending >= pending->amount);
    movement->debit.debits_pending -= pending->amount;
    movement->debit.debits_posted += posted;
    movement->credit.credits_pending -= pending->amount;
    movement->credit.credits_posted += posted;

    const uint16_t closing = pending->flags & (TRANSFER_CLOSING_DEBIT | TRANSFER_CLOSING_CREDIT);
    /* The post of a closing transfer is refused, since its account is closed. */
    if (status == PENDING_POSTED) assert(closing == 0);
    if (closing & TRANSFER_CLOSING_DEBIT) account_reopen(&movement->debit);
    if (closing & TRANSFER_CLOSING_CREDIT) account_reopen(&movement->credit);
}

/* ---- Writing it ------------------------------------------------------------------------------ */

static bool
within_limits(const struct account *account)
{
    if (account->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) {
        return account->debits_pending + account->debits_posted <= account->credits_posted;
    }
    if (account->flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS) {
        return account->credits_pending + account->credits_posted <= account->debits_posted;
    }
    return true;
}

static void
account_change_check(const struct account *before, const struct account *after)
{
    assert(before->timestamp == after->timestamp);
    assert(!u128_sum_overflows(after->debits_pending, after->debits_posted));   /* (L2) */
    assert(!u128_sum_overflows(after->credits_pending, after->credits_posted)); /* (L2) */
    assert(after->debits_posted >= before->debits_posted);                      /* (L3) */
    assert(after->credits_posted >= before->credits_posted);                    /* (L3) */
    if (within_limits(before)) assert(within_limits(after));                    /* (L4) */
    assert(((before->flags ^ after->flags) & ~ACCOUNT_CLOSED) == 0);            /* (L5) */
}

static void
movement_check(const struct movement *movement)
{
    const struct account *debit_before = movement->debit_before;
    const struct account *credit_before = movement->credit_before;
    const struct account *debit = &movement->debit;
    const struct account *credit = &movement->credit;

    account_change_check(debit_before, debit);
    account_change_check(credit_before, credit);
    /* (L1) Where pending shrinks, the differences wrap around, on both sides alike. */
    assert(
        (u128) (debit->debits_pending - debit_before->debits_pending) ==
        (u128) (credit->credits_pending - credit_before->credits_pending));
    assert(
        debit->debits_posted - debit_before->debits_posted ==
        credit->credits_posted - credit_before->credits_posted);
    assert(debit->credits_pending == debit_before->credits_pending);
    assert(debit->credits_posted == debit_before->credits_posted);
    assert(credit->debits_pending == credit_before->debits_pending);
    assert(credit->debits_posted == credit_before->debits_posted);
}

/*
 * Writes the account, unless the movement left it as it was: one of amount 0 that neither closes
 * nor reopens.
 */
static void
account_write(struct forest *forest, const struct account *before, const struct account *after)
{
    const bool changed = before->debits_pending != after->debits_pending ||
                         before->debits_posted != after->debits_posted ||
                         before->credits_pending != after->credits_pending ||
                         before->credits_posted != after->credits_posted ||
                         before->flags != after->flags;
    if (changed) forest_update(forest, GROOVE_ACCOUNT, before, after);
}

void
movement_apply(struct ledger *ledger, const struct movement *movement, struct account_event *event)
{
    struct forest *forest = ledger->machine.forest;
    movement_check(movement);
    assert(event->timestamp > forest_newest(forest, GROOVE_ACCOUNT_EVENT)); /* (L8) */
    assert(event->timestamp >= event->transfer_timestamp);
    assert(
        (event->type == CHANGE_TWO_PHASE_EXPIRED) ==
        (event->timestamp != event->transfer_timestamp));

    account_write(forest, movement->debit_before, &movement->debit);
    account_write(forest, movement->credit_before, &movement->credit);

    event->debit_account_timestamp = movement->debit.timestamp;
    event->credit_account_timestamp = movement->credit.timestamp;
    event->debit = account_balances(&movement->debit);
    event->credit = account_balances(&movement->credit);
    event->debit_flags = movement->debit.flags;
    event->credit_flags = movement->credit.flags;
    forest_insert(forest, GROOVE_ACCOUNT_EVENT, event);
}

void
pending_resolve(
    struct ledger *ledger,
    const struct transfer *pending,
    enum pending_status status,
    uint64_t resolved_at)
{
    struct forest *forest = ledger->machine.forest;
    const struct transfer_pending *before =
        forest_get(forest, GROOVE_TRANSFER_PENDING, pending->timestamp);
    assert(before != NULL);
    assert(before->status == PENDING_PENDING); /* (L6) */
    assert(before->expires_at == transfer_expires_at(pending));
    assert(status == PENDING_POSTED || status == PENDING_VOIDED || status == PENDING_EXPIRED);
    assert(before->resolved_at == 0);
    assert(resolved_at > pending->timestamp);
    assert(resolved_at == forest_newest(forest, GROOVE_ACCOUNT_EVENT));

    const struct transfer_pending after = {
        .timestamp = pending->timestamp,
        .expires_at = before->expires_at,
        .resolved_at = resolved_at,
        .status = (uint8_t) status,
    };
    forest_update(forest, GROOVE_TRANSFER_PENDING, before, &after);
}
