/* SPDX-License-Identifier: PostgreSQL */
/*
 * Prefetching: everything that executing a batch may ask the forest for, asked for before.
 *
 *     create_accounts    the account by id; imported: the event of its timestamp
 *     create_transfers   the transfer by id; imported: the account of its timestamp
 *       single, pending    both accounts by id
 *       post, void         the pending transfer by id; then its state and its accounts
 *
 * What an event of the same prepare creates is within reach without: if a post finds no pending
 * transfer here, but executing finds one, then that was made by an earlier event, with accounts
 * that were prefetched for it. And a stored post or void, which a retry is compared with, names the
 * same pending transfer as the retry, or is not compared any further.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

/* Batches from here on are screened: nearly all their ids are new. */
#define SCREEN_EVENTS_MIN 64

/* Events ahead: what a lookup needs takes some time to come, and what it leads to as long again. */
#define HINT_IDS_AHEAD     12
#define HINT_RECORDS_AHEAD 6

/* What one event needs, and whether all of it is there. */
struct need {
    struct forest *forest;
    bool id_absent; /* The transfer's id is known to be new. */
    enum forest_found result; /* FOREST_FOUND, _WAIT, _LOST: the worst so far. */
};

static void
need_note(struct need *need, enum forest_found found)
{
    assert(need->result != FOREST_ABSENT && need->result != FOREST_BURNT);
    if (found == FOREST_LOST) need->result = FOREST_LOST;
    if (found == FOREST_WAIT && need->result == FOREST_FOUND) need->result = FOREST_WAIT;
}

/* The record, if it is there now. Ids that can't exist are refused before they are looked up. */
static const void *
need_id(struct need *need, enum ledger_tree tree, const u128 *id)
{
    const void *record = NULL;
    assert(tree == TREE_ACCOUNT || tree == TREE_TRANSFER);
    if (*id == 0 || *id == U128_MAX) return NULL;
    const enum forest_found found = forest_prefetch_id(need->forest, (uint32_t) tree, id, &record);
    need_note(need, found);
    assert(found != FOREST_FOUND || record != NULL);
    return found == FOREST_FOUND ? record : NULL;
}

/* Timestamps that are out of range are refused likewise. */
static void
need_timestamp(struct need *need, enum ledger_tree tree, uint64_t timestamp)
{
    assert(tree != TREE_TRANSFER && tree != TREE_BURNT_ID);
    if (timestamp == 0 || timestamp > TIMESTAMP_MAX) return;
    need_note(need, forest_prefetch(need->forest, (uint32_t) tree, timestamp, NULL));
}

/* What the transfer refers to is there, or the disk is damaged. */
static void
need_referred(struct need *need, const struct transfer *transfer, enum forest_found found)
{
    assert(transfer->timestamp != 0);
    if (found == FOREST_ABSENT) {
        found = forest_refuse(need->forest, TREE_TRANSFER, transfer->timestamp);
    }
    need_note(need, found);
}

static void
need_pending(struct need *need, const u128 *pending_id)
{
    struct forest *forest = need->forest;
    const struct transfer *pending = need_id(need, TREE_TRANSFER, pending_id);
    if (pending == NULL || !(pending->flags & TRANSFER_PENDING)) return;
    assert(pending->id == *pending_id);
    const enum forest_found state =
        forest_prefetch(forest, TREE_TRANSFER_PENDING, pending->timestamp, NULL);
    need_referred(need, pending, state);
    const enum forest_found debit =
        forest_prefetch_id(forest, TREE_ACCOUNT, &pending->debit_account_id, NULL);
    need_referred(need, pending, debit);
    const enum forest_found credit =
        forest_prefetch_id(forest, TREE_ACCOUNT, &pending->credit_account_id, NULL);
    need_referred(need, pending, credit);
}

static void
need_transfer(struct need *need, const struct transfer *event)
{
    assert(need->result == FOREST_FOUND);
    if (!need->id_absent) (void) need_id(need, TREE_TRANSFER, &event->id);
    if (event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) {
        need_pending(need, &event->pending_id);
    } else {
        (void) need_id(need, TREE_ACCOUNT, &event->debit_account_id);
        (void) need_id(need, TREE_ACCOUNT, &event->credit_account_id);
    }
    if (event->flags & TRANSFER_IMPORTED) need_timestamp(need, TREE_ACCOUNT, event->timestamp);
}

static void
need_account(struct need *need, const struct account *event)
{
    assert(need->result == FOREST_FOUND);
    (void) need_id(need, TREE_ACCOUNT, &event->id);
    if (event->flags & ACCOUNT_IMPORTED) need_timestamp(need, TREE_ACCOUNT_EVENT, event->timestamp);
}

static const void *
event_at(const struct state_machine_batch *batch, uint32_t index)
{
    assert(index < batch->event_count);
    return (const char *) batch->events + (size_t) index * EVENT_SIZE;
}

/* Finds out, at the first pass, which ids are new. Those of another batch are forgotten. */
static void
screen(struct ledger *ledger, const struct state_machine_batch *batch)
{
    assert(batch->event_count <= EVENTS_PER_BATCH_MAX);
    static_assert(offsetof(struct transfer, id) == 0, "ids are at the start of events");
    ledger->screened = NULL;
    if (batch->operation != LEDGER_CREATE_TRANSFERS) return;
    if (batch->event_count < SCREEN_EVENTS_MIN) return;
    forest_screen_ids(
        ledger->machine.forest,
        TREE_TRANSFER,
        batch->events,
        EVENT_SIZE,
        batch->event_count,
        ledger->absent);
    ledger->screened = batch->events;
}

static void
hint_ahead(const struct forest *forest, const struct state_machine_batch *batch, uint32_t index)
{
    assert(index < batch->event_count);
    if (batch->operation != LEDGER_CREATE_TRANSFERS) return;
    if (index + HINT_IDS_AHEAD < batch->event_count) {
        const struct transfer *event = event_at(batch, index + HINT_IDS_AHEAD);
        forest_hint_id(forest, TREE_ACCOUNT, &event->debit_account_id);
        forest_hint_id(forest, TREE_ACCOUNT, &event->credit_account_id);
    }
    if (index + HINT_RECORDS_AHEAD < batch->event_count) {
        const struct transfer *event = event_at(batch, index + HINT_RECORDS_AHEAD);
        forest_hint_record(forest, TREE_ACCOUNT, &event->debit_account_id);
        forest_hint_record(forest, TREE_ACCOUNT, &event->credit_account_id);
    }
}

enum forest_found
ledger_prefetch(
    struct state_machine *machine, const struct state_machine_batch *batch, uint32_t *start)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    bool waits = false;
    assert(*start <= batch->event_count);
    assert((uintptr_t) batch->events % _Alignof(struct transfer) == 0);
    assert(batch->event_count > 0);
    assert(
        batch->operation == LEDGER_CREATE_ACCOUNTS || batch->operation == LEDGER_CREATE_TRANSFERS);
    assert(batch->event_count <= EVENTS_PER_BATCH_MAX);
    if (*start == 0) screen(ledger, batch);
    const bool screened = ledger->screened == batch->events;
    for (uint32_t i = *start; i < batch->event_count; i++) {
        struct need need = {
            .forest = machine->forest,
            .id_absent = screened && ledger->absent[i],
            .result = FOREST_FOUND,
        };
        hint_ahead(machine->forest, batch, i);
        if (batch->operation == LEDGER_CREATE_ACCOUNTS) {
            need_account(&need, event_at(batch, i));
        } else {
            need_transfer(&need, event_at(batch, i));
        }
        if (need.result == FOREST_LOST) return FOREST_LOST;
        waits |= need.result == FOREST_WAIT;
        if (!waits) *start = i + 1;
    }
    machine->yielded = false;
    assert(waits == (*start < batch->event_count));
    return waits ? FOREST_WAIT : FOREST_FOUND;
}
