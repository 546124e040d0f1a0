/* SPDX-License-Identifier: PostgreSQL */
/*
 * Prefetching: everything that executing a batch may look up in the forest is asked for beforehand.
 * It takes two rounds, since what a pending transfer leads to is known only when that transfer is
 * within reach.
 *
 *      create_accounts    the account by id; imported: the event of its timestamp
 *      create_transfers   the transfer by id; imported: the account of its timestamp
 *        single, pending    both accounts by id
 *        post, void         the pending transfer by id; then its state and its accounts
 *
 * What an earlier event of the same prepare creates needs no asking. If a post finds no pending
 * transfer here, but finds one when it is executed, then an earlier event made that transfer, and
 * its accounts were prefetched for that event. A stored post or void, with which a retry is
 * compared, either names the same pending transfer as the retry, or isn't compared any further.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

/* Batches of at least so many events are screened, since nearly all their ids are new. */
#define SCREEN_EVENTS_MIN 64

/*
 * So many events ahead, what a lookup needs is fetched. It takes some time to come, and the record
 * that it leads to takes as long again.
 */
#define HINT_IDS_AHEAD     12
#define HINT_RECORDS_AHEAD 6

/* Can this id exist? Others are refused before they are looked up. */
static bool
id_possible(u128 id)
{
    return id != 0 && id != U128_MAX;
}

static const void *
ask_id(struct forest *forest, enum ledger_groove groove, const u128 *id)
{
    assert(groove == GROOVE_ACCOUNT || groove == GROOVE_TRANSFER);
    return id_possible(*id) ? forest_ask_id(forest, (uint32_t) groove, id) : NULL;
}

/*
 * Timestamps that are out of range are refused before they are looked up, so they aren't asked for.
 */
static void
ask_timestamp(struct forest *forest, enum ledger_groove groove, uint64_t timestamp)
{
    assert(groove == GROOVE_ACCOUNT || groove == GROOVE_ACCOUNT_EVENT);
    if (timestamp == 0 || timestamp > TIMESTAMP_MAX) return;
    forest_ask(forest, (uint32_t) groove, timestamp);
}

static bool
resolves(const struct transfer *event)
{
    return (event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) != 0;
}

static void
ask_transfer(
    struct forest *forest,
    const struct transfer *event,
    bool id_absent,
    struct reached *reached)
{
    *reached = (struct reached){0};
    if (!id_absent) (void) ask_id(forest, GROOVE_TRANSFER, &event->id);
    if (resolves(event)) {
        (void) ask_id(forest, GROOVE_TRANSFER, &event->pending_id);
    } else {
        reached->debit = ask_id(forest, GROOVE_ACCOUNT, &event->debit_account_id);
        reached->credit = ask_id(forest, GROOVE_ACCOUNT, &event->credit_account_id);
    }
    if (event->flags & TRANSFER_IMPORTED) ask_timestamp(forest, GROOVE_ACCOUNT, event->timestamp);
}

static void
ask_account(struct forest *forest, const struct account *event)
{
    (void) ask_id(forest, GROOVE_ACCOUNT, &event->id);
    if (event->flags & ACCOUNT_IMPORTED) {
        ask_timestamp(forest, GROOVE_ACCOUNT_EVENT, event->timestamp);
    }
}

/*
 * Finds out which ids are certainly new. Returns the ledger's `absent`, or NULL if that isn't worth
 * it.
 */
static const bool *
screen(struct ledger *ledger, const struct state_machine_batch *batch)
{
    assert(batch->operation == LEDGER_CREATE_TRANSFERS);
    static_assert(offsetof(struct transfer, id) == 0, "ids are at the start of events");
    if (batch->event_count < SCREEN_EVENTS_MIN) return NULL;
    forest_screen_ids(
        ledger->machine.forest,
        GROOVE_TRANSFER,
        batch->events,
        EVENT_SIZE,
        batch->event_count,
        ledger->absent);
    return ledger->absent;
}

static void
hint_asks_ahead(
    const struct forest *forest, const struct state_machine_batch *batch, uint32_t index)
{
    assert(index < batch->event_count);
    assert(batch->operation == LEDGER_CREATE_TRANSFERS);
    if (index + HINT_IDS_AHEAD < batch->event_count) {
        const struct transfer *event = event_at(batch, index + HINT_IDS_AHEAD);
        forest_hint_id(forest, GROOVE_ACCOUNT, &event->debit_account_id);
        forest_hint_id(forest, GROOVE_ACCOUNT, &event->credit_account_id);
    }
    if (index + HINT_RECORDS_AHEAD < batch->event_count) {
        const struct transfer *event = event_at(batch, index + HINT_RECORDS_AHEAD);
        forest_hint_record(forest, GROOVE_ACCOUNT, &event->debit_account_id);
        forest_hint_record(forest, GROOVE_ACCOUNT, &event->credit_account_id);
    }
}

/* Asks for transfers. Returns true if some of them resolve pending transfers. */
static bool
ask_transfers(struct ledger *ledger, const struct state_machine_batch *batch)
{
    struct forest *forest = ledger->machine.forest;
    const bool *absent = screen(ledger, batch);
    bool any_resolves = false;
    assert(batch->event_count <= EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct transfer *event = event_at(batch, i);
        hint_asks_ahead(forest, batch, i);
        struct reached *reached = ledger_reached(ledger, event_timestamp_at(batch, i));
        ask_transfer(forest, event, absent != NULL && absent[i], reached);
        any_resolves |= resolves(event);
    }
    return any_resolves;
}

/* The second round: the pending transfers are within reach now. */
static void
ask_for_resolved(struct forest *forest, const struct state_machine_batch *batch)
{
    assert(batch->operation == LEDGER_CREATE_TRANSFERS);
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct transfer *event = event_at(batch, i);
        const void *record = NULL;
        if (!resolves(event) || !id_possible(event->pending_id)) continue;
        const enum forest_found found =
            forest_get_by_id(forest, GROOVE_TRANSFER, &event->pending_id, &record);
        if (found != FOREST_FOUND) continue;
        const struct transfer *pending = record;
        assert(pending->id == event->pending_id);
        if (!(pending->flags & TRANSFER_PENDING)) continue;
        forest_ask_named(forest, GROOVE_TRANSFER_PENDING, pending->timestamp);
        forest_ask_named_id(forest, GROOVE_ACCOUNT, &pending->debit_account_id);
        forest_ask_named_id(forest, GROOVE_ACCOUNT, &pending->credit_account_id);
    }
}

bool
ledger_ask(struct state_machine *machine, const struct state_machine_batch *batch, uint32_t round)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    assert((uintptr_t) batch->events % _Alignof(struct transfer) == 0);
    assert(batch->event_count > 0);
    assert(batch->event_count <= EVENTS_PER_BATCH_MAX);
    assert(round < 2);
    if (batch->operation == LEDGER_CREATE_TRANSFERS) {
        if (round == 0) return ask_transfers(ledger, batch);
        ask_for_resolved(machine->forest, batch);
        return false;
    }
    assert(batch->operation == LEDGER_CREATE_ACCOUNTS);
    for (uint32_t i = 0; round == 0 && i < batch->event_count; i++) {
        ask_account(machine->forest, event_at(batch, i));
    }
    return false;
}
