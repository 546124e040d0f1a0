/* SPDX-License-Identifier: PostgreSQL */
/*
 * The books, summed up anew from the transfers alone (numbers: the invariants of the accounting
 * rules).
 *
 *  1. In each ledger, debits equal credits, pending and posted.
 *  2. An account's pending balances are the sums of its unresolved pending transfers.
 *  3. An account's posted balances are the sums of its single-phase transfers and posts.
 *  4. Pending and posted together never overflow.
 *  5. Limits hold.
 *  6. An account is closed if it was made so, or by exactly one unresolved closing transfer.
 *  8. Timestamps ascend, and each names one thing.
 */
#include <stdlib.h>

#include "model/model.h"

struct sums {
    u128 debits_pending;
    u128 debits_posted;
    u128 credits_pending;
    u128 credits_posted;
    uint32_t closings;
};

static void
sums_add(const struct model *model, struct sums *sums, uint32_t i)
{
    const struct transfer *transfer = &model->transfers[i];
    struct sums *debit = &sums[model_ids_find(&model->account_ids, transfer->debit_account_id)];
    struct sums *credit = &sums[model_ids_find(&model->account_ids, transfer->credit_account_id)];
    assert((transfer->flags & TRANSFER_PENDING) != 0 || model->statuses[i] == PENDING_NONE);
    assert((transfer->flags & TRANSFER_PENDING) == 0 || model->statuses[i] != PENDING_NONE);

    if (model->statuses[i] == PENDING_PENDING) {
        debit->debits_pending += transfer->amount;
        credit->credits_pending += transfer->amount;
        debit->closings += (transfer->flags & TRANSFER_CLOSING_DEBIT) != 0;
        credit->closings += (transfer->flags & TRANSFER_CLOSING_CREDIT) != 0;
    } else if (model->statuses[i] == PENDING_NONE && !(transfer->flags & TRANSFER_VOID_PENDING)) {
        debit->debits_posted += transfer->amount;
        credit->credits_posted += transfer->amount;
    }
}

static void
check_account(const struct account *account, const struct sums *sums, bool closed_from_birth)
{
    assert(account->debits_pending == sums->debits_pending);
    assert(account->debits_posted == sums->debits_posted);
    assert(account->credits_pending == sums->credits_pending);
    assert(account->credits_posted == sums->credits_posted);
    assert(!u128_sum_overflows(account->debits_pending, account->debits_posted));
    assert(!u128_sum_overflows(account->credits_pending, account->credits_posted));
    if (account->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) {
        assert(account->debits_pending + account->debits_posted <= account->credits_posted);
    }
    if (account->flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS) {
        assert(account->credits_pending + account->credits_posted <= account->debits_posted);
    }
    assert(sums->closings + closed_from_birth <= 1);
    const bool closed = (account->flags & ACCOUNT_CLOSED) != 0;
    assert(closed == (closed_from_birth || sums->closings == 1));
}

/* Sums of a ledger may wrap around, on both sides alike. */
static void
check_ledger(const struct model *model, uint32_t ledger)
{
    u128 pending = 0;
    u128 posted = 0;
    for (uint32_t i = 0; i < model->account_ids.count; i++) {
        const struct account *account = &model->accounts[i];
        if (account->ledger != ledger) continue;
        pending += account->debits_pending;
        pending -= account->credits_pending;
        posted += account->debits_posted;
        posted -= account->credits_posted;
    }
    assert(pending == 0);
    assert(posted == 0);
}

static void
check_timestamps(const struct model *model)
{
    uint32_t account = 0;
    uint32_t transfer = 0;
    uint64_t newest = 0;
    for (uint32_t i = 0; i < model->event_count; i++) {
        const struct change_event *event = &model->events[i];
        assert(event->timestamp > newest);
        newest = event->timestamp;
        while (account < model->account_ids.count &&
               model->accounts[account].timestamp < event->timestamp) {
            account += 1;
        }
        if (account < model->account_ids.count) {
            assert(model->accounts[account].timestamp != event->timestamp);
        }
        if (event->type == CHANGE_TWO_PHASE_EXPIRED) continue;
        assert(model->transfers[transfer].timestamp == event->timestamp);
        transfer += 1;
    }
    assert(transfer == model->transfer_ids.count);
    assert(newest <= model->timestamp);
    for (uint32_t i = 1; i < model->account_ids.count; i++) {
        assert(model->accounts[i].timestamp > model->accounts[i - 1].timestamp);
    }
}

void
model_check_invariants(const struct model *model)
{
    const uint32_t count = model->account_ids.count;
    struct sums *sums = calloc((size_t) count + 1, sizeof(*sums));
    assert(sums != NULL);
    for (uint32_t i = 0; i < model->transfer_ids.count; i++)
        sums_add(model, sums, i);
    for (uint32_t i = 0; i < count; i++) {
        check_account(&model->accounts[i], &sums[i], model->closed_from_birth[i]);
        check_ledger(model, model->accounts[i].ledger);
    }
    free(sums);
    check_timestamps(model);
}
