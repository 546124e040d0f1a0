/* SPDX-License-Identifier: PostgreSQL */
/*
 * The pulse: releases pending transfers whose timeout has passed.
 *
 * What is due is read off the index of expiry times, so that nothing needs to be remembered between
 * pulses, rolled back with chains, or found again after a restart. A pulse takes at most
 * PULSE_EXPIRIES_MAX; the rest is still due afterwards.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

static void
expire_one(struct ledger *ledger, uint64_t pending_timestamp, uint64_t slot)
{
    const struct forest *forest = ledger->machine.forest;
    const struct transfer *pending = forest_get(forest, TREE_TRANSFER, pending_timestamp);
    assert(pending != NULL);
    assert(pending->timeout > 0);
    const struct account *debit = account_find(forest, &pending->debit_account_id);
    const struct account *credit = account_find(forest, &pending->credit_account_id);

    struct movement movement;
    struct account_event event = {
        .timestamp = slot,
        .transfer_timestamp = pending->timestamp,
        .type = CHANGE_TWO_PHASE_EXPIRED,
    };
    movement_start(&movement, debit, credit);
    movement_release(&movement, pending, PENDING_EXPIRED, 0);
    movement_apply(ledger, &movement, &event);
    pending_resolve(ledger, pending, PENDING_EXPIRED);
}

bool
ledger_pulse_due(const struct state_machine *machine, uint64_t timestamp)
{
    assert(timestamp <= TIMESTAMP_MAX);
    return forest_range_first(machine->forest, INDEX_PENDING_EXPIRES_AT) <= timestamp;
}

void
ledger_pulse(struct state_machine *machine, uint64_t timestamp_final)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    assert(timestamp_final >= PULSE_EXPIRIES_MAX);
    assert(timestamp_final <= TIMESTAMP_MAX);
    const uint32_t count = forest_range(
        machine->forest,
        INDEX_PENDING_EXPIRES_AT,
        timestamp_final,
        ledger->expired,
        PULSE_EXPIRIES_MAX);
    assert(count <= PULSE_EXPIRIES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        expire_one(ledger, ledger->expired[i], timestamp_final - count + i + 1);
    }
}
