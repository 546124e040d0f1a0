/* SPDX-License-Identifier: PostgreSQL */
/*
 * The pulse releases pending transfers (holds) whose timeout has passed.
 *
 * What is due is read from the index of expiry times. The index also keeps holds that were
 * resolved, because then nothing in it needs to be rolled back when a chain fails; they are
 * skipped.
 *
 * New holds expire later than the time of any op before them. So everything that lies before that
 * time, and before the first unresolved hold, is done with for good. `resolved` remembers that
 * place. It makes things faster and changes no result. A pulse releases at most PULSE_EXPIRIES_MAX
 * holds; if more are due, they are still due afterwards.
 *
 * The question whether a pulse is due is asked between ops, for a time that may be later than the
 * next op's. So what was learned by looking ahead holds only until a new hold is created.
 *
 * After a restart, the place is found again in the forest's memo (L9), which says where the last
 * pulse came to. That follows from the log alone, wherever the pulse began: it is the last hold due
 * at the pulse's time, or if the pulse was full, the last one that it released. So that the memo
 * doesn't fall far behind, a pulse is also due, with nothing to release, when PULSE_PASSED_MAX
 * resolved holds have been passed since the last one.
 *
 * While holds are gathered, `expired` has them in the order of the index. Some may still turn out
 * to be resolved; these have the bit EXPIRED_UNKNOWN.
 *
 * A pulse that is in the log must be executed. If it met a damaged block, it would stop the engine
 * at each start, although no client has asked for anything. Therefore a pulse is rehearsed before
 * it is made: everything that it would look at is read, and if that fails, no pulse is made. Its
 * holds stay open, which is reported, and everything else goes on.
 *
 * When all goes well: a tick asks ledger_pulse_due; the pulse is rehearsed, logged, prefetched
 * (ledger_prefetch_pulse: the same holds are gathered again, and what releasing them needs is
 * brought into memory), and executed. What can go wrong:
 *  - A hold is resolved between rehearsal and pulse. It is skipped when holds are gathered again.
 *  - More holds are due than a pulse takes. The others are still due after it.
 *  - A new hold comes after somebody has asked about a later time. It may be due before that, so
 *    what was learned by asking is forgotten.
 *  - A block can't be read. No pulse is made, and it is tried again from time to time.
 *  - A crash. Either the log has the pulse or it hasn't, and the memo follows from the log.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

#define EXPIRED_UNKNOWN (UINT64_C(1) << 63)
static_assert(EXPIRED_UNKNOWN > TIMESTAMP_MAX, "no timestamp has the bit");

/* What releasing holds needs is asked for in two rounds: first the holds, then their accounts. */
#define EXPIRED_ROUNDS 2

/* Is the hold unresolved? FOREST_FOUND: it is. FOREST_ABSENT: it has been resolved. */
static enum forest_found
hold_unresolved(struct forest *forest, uint64_t timestamp)
{
    struct transfer_pending state;
    const enum forest_found found =
        read_referred(forest, GROOVE_TRANSFER_PENDING, timestamp, &state);
    if (found != FOREST_FOUND) return found;
    if (state.expires_at == 0) return forest_refuse(forest, GROOVE_TRANSFER_PENDING, timestamp);
    return state.status == PENDING_PENDING ? FOREST_FOUND : FOREST_ABSENT;
}

static bool
range_before(const struct forest_range *a, const struct forest_range *b)
{
    return a->value < b->value || (a->value == b->value && a->timestamp < b->timestamp);
}

/*
 * Chooses where to go on looking for holds that are due at this time. It is the place that was
 * looked at last, unless a hold has been created since, which may expire before that place.
 */
static void
look_start(struct ledger *ledger, uint64_t timestamp)
{
    const struct forest *forest = ledger->machine.forest;
    const struct forest_range pulsed = ledger_pulsed(forest);
    const uint64_t newest = forest_newest(forest, GROOVE_TRANSFER_PENDING);
    if (range_before(&ledger->resolved.at, &pulsed)) {
        ledger->resolved = (struct ledger_walk){.at = pulsed};
    }
    const bool behind = range_before(&ledger->looked.at, &ledger->resolved.at);
    const bool ahead = ledger->looked.at.value > timestamp;
    if (behind || ahead || newest != ledger->looked_newest) ledger->looked = ledger->resolved;
    ledger->looked_newest = newest;
    assert(!range_before(&ledger->looked.at, &ledger->resolved.at));
    assert(ledger->looked.at.value <= timestamp);
    assert(ledger->looked.passed >= ledger->resolved.passed);
}

enum forest_found
ledger_pulse_due(struct state_machine *machine, uint64_t timestamp)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    struct forest *forest = machine->forest;
    assert(timestamp <= TIMESTAMP_MAX);
    machine->yielded = false;
    look_start(ledger, timestamp);
    for (uint32_t looks = 0; looks < PULSE_LOOKS_PER_POLL; looks++) {
        struct forest_range next = ledger->looked.at;
        enum forest_found found = forest_range_next(forest, INDEX_PENDING_EXPIRES_AT, &next);
        if (found == FOREST_WAIT || found == FOREST_LOST) return found;
        if (found == FOREST_ABSENT || next.value > timestamp) {
            const bool many = ledger->looked.passed >= PULSE_PASSED_MAX;
            return many ? FOREST_FOUND : FOREST_ABSENT;
        }
        found = hold_unresolved(forest, next.timestamp);
        if (found != FOREST_ABSENT) return found;
        ledger->looked.at = next;
        ledger->looked.passed += 1;
        if (next.value <= forest_newest(forest, GROOVE_ACCOUNT_EVENT)) {
            ledger->resolved = ledger->looked;
        }
    }
    machine->yielded = true;
    return FOREST_WAIT;
}

/* ---- Gathering ------------------------------------------------------------------------------- */

/*
 * Takes more holds that are due, while there is room. FOREST_FOUND: there is no more room, or no
 * more holds are due.
 */
static enum forest_found
gather_take(struct ledger *ledger, uint64_t timestamp_final, uint32_t *looks_left)
{
    assert(ledger->gathering || ledger->rehearsed == timestamp_final);
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

/* Drops the holds that are resolved. FOREST_FOUND: all that are left are known to be unresolved. */
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
    return result;
}

/*
 * Asks for what releasing the holds needs: in the first round for the holds, in the second for what
 * they lead to. FOREST_LOST: one of them isn't what it should be.
 */
static enum forest_found
gather_ask(const struct ledger *ledger, uint32_t round)
{
    struct forest *forest = ledger->machine.forest;
    assert(ledger->expired_count <= PULSE_EXPIRIES_MAX);
    for (uint32_t i = 0; i < ledger->expired_count; i++) {
        const uint64_t hold = ledger->expired[i];
        assert(hold <= TIMESTAMP_MAX);
        if (round == 0) {
            forest_ask_named(forest, GROOVE_TRANSFER_PENDING, hold);
            forest_ask_named(forest, GROOVE_TRANSFER, hold);
            continue;
        }
        const struct transfer *pending = forest_get(forest, GROOVE_TRANSFER, hold);
        assert(pending != NULL);
        assert(pending->timestamp == hold);
        if (!(pending->flags & TRANSFER_PENDING)) {
            return forest_refuse(forest, GROOVE_TRANSFER, hold);
        }
        forest_ask_named_id(forest, GROOVE_ACCOUNT, &pending->debit_account_id);
        forest_ask_named_id(forest, GROOVE_ACCOUNT, &pending->credit_account_id);
    }
    return FOREST_FOUND;
}

/* Brings everything that releasing them needs within reach. */
static enum forest_found
gather_reach(struct ledger *ledger)
{
    assert(ledger->expired_rounds <= EXPIRED_ROUNDS);
    while (ledger->expired_rounds < EXPIRED_ROUNDS) {
        enum forest_found found = FOREST_FOUND;
        if (!ledger->expired_asked) found = gather_ask(ledger, ledger->expired_rounds);
        if (found == FOREST_LOST) return FOREST_LOST;
        ledger->expired_asked = true;
        found = forest_prefetch(ledger->machine.forest);
        if (found != FOREST_FOUND) return found;
        ledger->expired_asked = false;
        ledger->expired_rounds += 1;
    }
    return FOREST_FOUND;
}

/* Begins to gather, behind the place up to which all holds are resolved. */
static void
gather_start(struct ledger *ledger, uint64_t timestamp_final)
{
    assert(!ledger->gathering);
    look_start(ledger, timestamp_final);
    ledger->gather_ended = false;
    ledger->gather = ledger->looked.at;
    ledger->gathered = false;
    ledger->expired_count = 0;
    ledger->expired_next = 0;
    ledger->expired_waiting = 0;
    ledger->expired_rounds = 0;
    ledger->expired_asked = false;
}

/* Goes on until all holds that are due are known, or as many as a pulse releases. */
static enum forest_found
gather_holds(struct ledger *ledger, uint64_t timestamp_final)
{
    uint32_t looks_left = PULSE_LOOKS_PER_POLL;
    while (!ledger->gathered) {
        const enum forest_found taken = gather_take(ledger, timestamp_final, &looks_left);
        if (taken == FOREST_LOST) return FOREST_LOST;
        const enum forest_found sifted = gather_sift(ledger);
        if (sifted != FOREST_FOUND) return sifted;
        ledger->gathered =
            ledger->gather_ended || ledger->expired_count == PULSE_EXPIRIES_MAX;
        if (!ledger->gathered && taken == FOREST_WAIT) {
            ledger->machine.yielded = looks_left == 0;
            return FOREST_WAIT;
        }
    }
    return FOREST_FOUND;
}

enum forest_found
ledger_prefetch_pulse(struct state_machine *machine, uint64_t timestamp_final)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    assert(timestamp_final <= TIMESTAMP_MAX);
    machine->yielded = false;
    if (!ledger->gathering) gather_start(ledger, timestamp_final);
    ledger->gathering = true;
    ledger->rehearsed = 0;
    const enum forest_found found = gather_holds(ledger, timestamp_final);
    return found == FOREST_FOUND ? gather_reach(ledger) : found;
}

/* ---- Rehearsing ------------------------------------------------------------------------------ */

/* Reads an account that the transfer names. If it doesn't exist, that is damage. */
static enum forest_found
rehearse_account(struct forest *forest, const struct transfer *pending, const u128 *id)
{
    struct account account;
    const enum forest_found found = forest_read_by_id(forest, GROOVE_ACCOUNT, id, &account);
    if (found == FOREST_FOUND || found == FOREST_WAIT || found == FOREST_LOST) return found;
    return forest_refuse(forest, GROOVE_TRANSFER, pending->timestamp);
}

/* Reads everything that gather_ask asks for. */
static enum forest_found
rehearse_hold(struct forest *forest, uint64_t hold)
{
    struct transfer pending;
    assert(hold > 0 && hold <= TIMESTAMP_MAX);
    const enum forest_found found = read_referred(forest, GROOVE_TRANSFER, hold, &pending);
    if (found != FOREST_FOUND) return found;
    if (!(pending.flags & TRANSFER_PENDING)) return forest_refuse(forest, GROOVE_TRANSFER, hold);
    const enum forest_found debit = rehearse_account(forest, &pending, &pending.debit_account_id);
    const enum forest_found credit = rehearse_account(forest, &pending, &pending.credit_account_id);
    if (debit == FOREST_LOST || credit == FOREST_LOST) return FOREST_LOST;
    return debit == FOREST_WAIT ? debit : credit;
}

/*
 * Makes a pass over the holds that are left. Those that wait for blocks are moved to the front of
 * `expired`, for the next pass; the others are done.
 */
static enum forest_found
rehearse_pass(struct ledger *ledger)
{
    struct forest *forest = ledger->machine.forest;
    assert(ledger->expired_waiting <= ledger->expired_next);
    for (uint32_t looks = 0; ledger->expired_next < ledger->expired_count; looks++) {
        if (looks == PULSE_LOOKS_PER_POLL) {
            ledger->machine.yielded = true;
            return FOREST_WAIT;
        }
        if (forest_reads_full(forest)) return FOREST_WAIT;
        const uint64_t hold = ledger->expired[ledger->expired_next];
        const enum forest_found found = rehearse_hold(forest, hold);
        if (found == FOREST_LOST) return FOREST_LOST;
        ledger->expired_next += 1;
        if (found == FOREST_FOUND) continue;
        ledger->expired[ledger->expired_waiting] = hold;
        ledger->expired_waiting += 1;
    }
    ledger->expired_count = ledger->expired_waiting;
    ledger->expired_next = 0;
    ledger->expired_waiting = 0;
    return ledger->expired_count == 0 ? FOREST_FOUND : FOREST_WAIT;
}

enum forest_found
ledger_rehearse_pulse(struct state_machine *machine, uint64_t timestamp)
{
    struct ledger *ledger = container_of(machine, struct ledger, machine);
    assert(timestamp > 0 && timestamp <= TIMESTAMP_MAX);
    assert(!ledger->gathering);
    machine->yielded = false;
    if (ledger->rehearsed != timestamp) gather_start(ledger, timestamp);
    ledger->rehearsed = timestamp;
    const enum forest_found found = gather_holds(ledger, timestamp);
    return found == FOREST_FOUND ? rehearse_pass(ledger) : found;
}

/* ---- Releasing ------------------------------------------------------------------------------- */

static void
expire_one(struct ledger *ledger, uint64_t pending_timestamp, uint64_t event_timestamp)
{
    const struct forest *forest = ledger->machine.forest;
    const struct transfer *pending = forest_get(forest, GROOVE_TRANSFER, pending_timestamp);
    assert(pending != NULL);
    assert(pending->timeout > 0);
    const struct account *debit = account_find(forest, &pending->debit_account_id);
    const struct account *credit = account_find(forest, &pending->credit_account_id);

    struct movement movement;
    struct account_event event = {
        .timestamp = event_timestamp,
        .transfer_timestamp = pending->timestamp,
        .type = CHANGE_TWO_PHASE_EXPIRED,
    };
    movement_start(&movement, debit, credit);
    movement_release(&movement, pending, PENDING_EXPIRED, 0);
    movement_apply(ledger, &movement, &event);
    pending_resolve(ledger, pending, PENDING_EXPIRED, event_timestamp);
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
    const struct forest_range pulsed = ledger_pulsed(machine->forest);
    assert(!range_before(&ledger->gather, &pulsed)); /* (L9) */
    for (uint32_t i = 0; i < count; i++) {
        expire_one(ledger, ledger->expired[i], timestamp_final - count + i + 1);
    }
    ledger->gathering = false;
    ledger->resolved = (struct ledger_walk){.at = ledger->gather};
    ledger->looked = ledger->resolved;
    const struct forest_memo memo = {.words = {ledger->gather.value, ledger->gather.timestamp}};
    forest_memo_set(machine->forest, memo);
}
