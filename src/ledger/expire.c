/* SPDX-License-Identifier: PostgreSQL */
/*
 * The pulse: releases pending transfers (holds) whose timeout has passed.
 *
 * What is due is read off the index of expiry times, so that nothing needs to be rolled back with
 * chains, or found again after a restart. The index keeps holds that were resolved: they are
 * skipped. New holds expire later than the time of any op before them, so what lies before that
 * time, and before the first unresolved hold, stays behind for good: `resolved` remembers the
 * place, which makes things faster and nothing different. A pulse takes at most PULSE_EXPIRIES_MAX;
 * the rest is still due afterwards.
 *
 * Whether a pulse is due is asked at a time of no op, which may be further ahead than the next op's
 * will be: how far that looked is good only until there is a new hold.
 *
 * `expired` while it is gathered: holds in the order of the index, of which some may still turn out
 * to be resolved; those have the bit EXPIRED_UNKNOWN.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

#define EXPIRED_UNKNOWN (UINT64_C(1) << 63)
static_assert(EXPIRED_UNKNOWN > TIMESTAMP_MAX, "no timestamp has the bit");

/* Of asking for what releasing them needs. */
#define EXPIRED_ROUNDS 2

/* FOREST_FOUND: is unresolved; FOREST_ABSENT: is not. */
static enum forest_found
hold_unresolved(struct forest *forest, uint64_t timestamp)
{
    struct transfer_pending state;
    const enum forest_found found = forest_read(forest, TREE_TRANSFER_PENDING, timestamp, &state);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    assert(found == FOREST_FOUND); /* (L6) */
    assert(state.expires_at != 0);
    return state.status == PENDING_PENDING ? FOREST_FOUND : FOREST_ABSENT;
}

/* Where to look on: a hold that has come since may expire before where we are. */
static void
look_start(struct ledger *ledger)
{
    const uint64_t newest = forest_newest(ledger->machine.forest, TREE_TRANSFER_PENDING);
    const bool behind = ledger->looked.value < ledger->resolved.value ||
                        (ledger->looked.value == ledger->resolved.value &&
                         ledger->looked.timestamp < ledger->resolved.timestamp);
    if (behind || newest != ledger->looked_newest) ledger->looked = ledger->resolved;
    ledger->looked_newest = newest;
    assert(ledger->looked.value >= ledger->resolved.value);
}

enum forest_found
ledger_pulse_due(struct state_machine *machine, uint64_t timestamp)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    struct forest *forest = machine->forest;
    assert(timestamp <= TIMESTAMP_MAX);
    machine->yielded = false;
    look_start(ledger);
    for (uint32_t looks = 0; looks < PULSE_LOOKS_PER_POLL; looks++) {
        struct forest_range next = ledger->looked;
        enum forest_found found = forest_range_next(forest, INDEX_PENDING_EXPIRES_AT, &next);
        if (found != FOREST_FOUND) return found;
        if (next.value > timestamp) return FOREST_ABSENT;
        found = hold_unresolved(forest, next.timestamp);
        if (found != FOREST_ABSENT) return found;
        ledger->looked = next;
        if (next.value <= forest_newest(forest, TREE_ACCOUNT_EVENT)) ledger->resolved = next;
    }
    machine->yielded = true;
    return FOREST_WAIT;
}

/* ---- Gathering ------------------------------------------------------------------------------- */

/* Takes more holds that are due, if there is room. FOREST_FOUND: it is full, or there are none. */
static enum forest_found
gather_take(struct ledger *ledger, uint64_t timestamp_final, uint32_t *looks_left)
{
    assert(ledger->gathering);
    assert(ledger->expired_count <= PULSE_EXPIRIES_MAX);
    while (!ledger->gather_ended && ledger->expired_count < PULSE_EXPIRIES_MAX) {
        struct forest_range next = ledger->gather;
        if (*looks_left == 0) return FOREST_WAIT;
        *looks_left -= 1;
        const enum forest_found found =
            forest_range_next(ledger->machine.forest, INDEX_PENDING_EXPIRES_AT, &next);
        if (found == FOREST_WAIT || found == FOREST_LOST) return found;
        if (found == FOREST_ABSENT || next.value > timestamp_final) {
            ledger->gather_ended = true;
            break;
        }
        ledger->gather = next;
        ledger->expired[ledger->expired_count] = next.timestamp | EXPIRED_UNKNOWN;
        ledger->expired_count += 1;
    }
    return FOREST_FOUND;
}

/* Drops those that are resolved. FOREST_FOUND: the others are known not to be. */
static enum forest_found
gather_sift(struct ledger *ledger)
{
    enum forest_found result = FOREST_FOUND;
    uint32_t kept = 0;
    assert(ledger->expired_count <= PULSE_EXPIRIES_MAX);
    for (uint32_t i = 0; i < ledger->expired_count; i++) {
        uint64_t hold = ledger->expired[i];
        if (hold & EXPIRED_UNKNOWN) {
            const enum forest_found found =
                hold_unresolved(ledger->machine.forest, hold & ~EXPIRED_UNKNOWN);
            if (found == FOREST_FOUND) hold &= ~EXPIRED_UNKNOWN;
            if (found == FOREST_WAIT && result == FOREST_FOUND) result = FOREST_WAIT;
            if (found == FOREST_LOST) result = FOREST_LOST;
            if (found == FOREST_ABSENT) continue;
        }
        ledger->expired[kept] = hold;
        kept += 1;
    }
    ledger->expired_count = kept;
    if (kept == 0) ledger->resolved = ledger->gather;
    return result;
}

/* Asks for what releasing the holds needs: first for them, then for what they lead to. */
static void
gather_ask(const struct ledger *ledger, uint32_t round)
{
    struct forest *forest = ledger->machine.forest;
    assert(ledger->expired_count <= PULSE_EXPIRIES_MAX);
    for (uint32_t i = 0; i < ledger->expired_count; i++) {
        const uint64_t hold = ledger->expired[i];
        assert(hold <= TIMESTAMP_MAX);
        if (round == 0) {
            forest_ask(forest, TREE_TRANSFER_PENDING, hold);
            forest_ask(forest, TREE_TRANSFER, hold);
            continue;
        }
        const struct transfer *pending = forest_get(forest, TREE_TRANSFER, hold);
        assert(pending != NULL);
        assert(pending->timestamp == hold);
        assert(pending->flags & TRANSFER_PENDING);
        forest_ask_id(forest, TREE_ACCOUNT, &pending->debit_account_id);
        forest_ask_id(forest, TREE_ACCOUNT, &pending->credit_account_id);
    }
}

/* Brings all of that within reach. */
static enum forest_found
gather_reach(struct ledger *ledger)
{
    assert(ledger->expired_rounds <= EXPIRED_ROUNDS);
    while (ledger->expired_rounds < EXPIRED_ROUNDS) {
        if (!ledger->expired_asked) gather_ask(ledger, ledger->expired_rounds);
        ledger->expired_asked = true;
        const enum forest_found found = forest_prefetch(ledger->machine.forest);
        if (found != FOREST_FOUND) return found;
        ledger->expired_asked = false;
        ledger->expired_rounds += 1;
    }
    return FOREST_FOUND;
}

enum forest_found
ledger_prefetch_pulse(struct state_machine *machine, uint64_t timestamp_final)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    uint32_t looks_left = PULSE_LOOKS_PER_POLL;
    assert(timestamp_final <= TIMESTAMP_MAX);
    machine->yielded = false;
    if (!ledger->gathering) {
        ledger->gathering = true;
        ledger->gathered = false;
        ledger->gather_ended = false;
        ledger->gather = ledger->resolved;
        ledger->expired_count = 0;
        ledger->expired_rounds = 0;
        ledger->expired_asked = false;
    }
    if (ledger->gathered) return gather_reach(ledger);
    for (;;) {
        const enum forest_found taken = gather_take(ledger, timestamp_final, &looks_left);
        if (taken == FOREST_LOST) return FOREST_LOST;
        const enum forest_found sifted = gather_sift(ledger);
        if (sifted == FOREST_LOST) return FOREST_LOST;
        if (sifted == FOREST_WAIT) return FOREST_WAIT;
        const bool full = ledger->gather_ended || ledger->expired_count == PULSE_EXPIRIES_MAX;
        if (full) {
            ledger->gathered = true;
            return gather_reach(ledger);
        }
        if (taken == FOREST_WAIT) {
            machine->yielded = looks_left == 0;
            return FOREST_WAIT;
        }
    }
}

/* ---- Releasing ------------------------------------------------------------------------------- */

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

void
ledger_pulse(struct state_machine *machine, uint64_t timestamp_final)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    const uint32_t count = ledger->expired_count;
    assert(timestamp_final >= PULSE_EXPIRIES_MAX);
    assert(timestamp_final <= TIMESTAMP_MAX);
    assert(ledger->gathering && ledger->gathered);
    assert(count <= PULSE_EXPIRIES_MAX && ledger->expired_rounds == EXPIRED_ROUNDS);
    assert(ledger->gather_ended || count == PULSE_EXPIRIES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        expire_one(ledger, ledger->expired[i], timestamp_final - count + i + 1);
    }
    ledger->resolved = ledger->gather;
    ledger->gathering = false;
}
