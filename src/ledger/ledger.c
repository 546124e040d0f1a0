/* SPDX-License-Identifier: PostgreSQL */
/*
 * The batch loop: executes events in order, and keeps track of linked chains.
 *
 * A chain consists of events with the flag `linked`, one after another, and the one event behind
 * them. It is executed within a scope of the forest. When one of its events fails, the scope is
 * discarded, and all its other events fail too.
 *
 *      event            chain before    chain after         scope
 *      linked           none            open                opened
 *      fails            open            broken              discarded
 *      not linked       open            none                persisted
 *      not linked       broken          none                -
 *
 * For example, of four events A, B and C are linked and D isn't: all four are one chain. If C
 * fails, A and B are undone and get linked_event_failed, C gets its own code, and D gets
 * linked_event_failed.
 *
 * If the id of a failed event must never succeed later, it is burnt after the scope was discarded.
 * That much of a failed chain remains.
 */
#include "ledger/ledger.h"

#include <stddef.h>
#include <string.h>

#include "ledger/ledger_internal.h"

/* So many events ahead, the memory that an event needs is fetched. */
#define HINT_EVENTS_AHEAD 6

/*
 * The loop itself looks only at these fields. They are at the same place in both kinds of events.
 */
static_assert(offsetof(struct account, flags) == offsetof(struct transfer, flags), "same place");
static_assert(
    offsetof(struct account, timestamp) == offsetof(struct transfer, timestamp), "same place");
static_assert((int) ACCOUNT_LINKED == (int) TRANSFER_LINKED, "same bit");
static_assert(sizeof(struct create_result) == RESULT_SIZE, "the replica's stride");

/* Codes that the loop gives. These have the same number for both kinds of events … */
enum {
    LINKED_EVENT_FAILED = TRANSFER_STATUS_linked_event_failed,
    LINKED_EVENT_CHAIN_OPEN = TRANSFER_STATUS_linked_event_chain_open,
    TIMESTAMP_MUST_BE_ZERO = TRANSFER_STATUS_timestamp_must_be_zero,
};
static_assert(LINKED_EVENT_FAILED == (int) ACCOUNT_STATUS_linked_event_failed, "same code");
static_assert(LINKED_EVENT_CHAIN_OPEN == (int) ACCOUNT_STATUS_linked_event_chain_open, "same code");
static_assert(TIMESTAMP_MUST_BE_ZERO == (int) ACCOUNT_STATUS_timestamp_must_be_zero, "same code");

/* … and these differ. */
struct import_rules {
    uint16_t flag;
    uint32_t expected;
    uint32_t not_expected;
    uint32_t out_of_range;
    uint32_t must_not_advance;
};

static const struct import_rules account_import_rules = {
    .flag = ACCOUNT_IMPORTED,
    .expected = ACCOUNT_STATUS_imported_event_expected,
    .not_expected = ACCOUNT_STATUS_imported_event_not_expected,
    .out_of_range = ACCOUNT_STATUS_imported_event_timestamp_out_of_range,
    .must_not_advance = ACCOUNT_STATUS_imported_event_timestamp_must_not_advance,
};

static const struct import_rules transfer_import_rules = {
    .flag = TRANSFER_IMPORTED,
    .expected = TRANSFER_STATUS_imported_event_expected,
    .not_expected = TRANSFER_STATUS_imported_event_not_expected,
    .out_of_range = TRANSFER_STATUS_imported_event_timestamp_out_of_range,
    .must_not_advance = TRANSFER_STATUS_imported_event_timestamp_must_not_advance,
};

enum chain_state { CHAIN_NONE, CHAIN_OPEN, CHAIN_BROKEN };

/* A batch while it is executed. */
struct run {
    struct ledger *ledger;
    const struct state_machine_batch *batch;
    const struct import_rules *import_rules;
    struct create_result *results;
    bool imported; /* The flag `imported` of the first event. All others must have the same. */
    enum chain_state chain;
    uint32_t chain_start; /* Index of the chain's first event. */
};

/* ---- Events of a batch ----------------------------------------------------------------------- */

static uint16_t
event_flags(const void *event)
{
    uint16_t flags;
    memcpy(&flags, (const char *) event + offsetof(struct transfer, flags), sizeof(flags));
    return flags;
}

static uint64_t
event_timestamp(const void *event)
{
    uint64_t timestamp;
    memcpy(
        &timestamp, (const char *) event + offsetof(struct transfer, timestamp), sizeof(timestamp));
    return timestamp;
}

/* ---- Chains ---------------------------------------------------------------------------------- */

static void
chain_open(struct run *run, uint32_t index)
{
    assert(run->chain == CHAIN_NONE);
    assert(index < run->batch->event_count);
    run->chain = CHAIN_OPEN;
    run->chain_start = index;
    forest_scope_open(run->ledger->machine.forest);
}

/* The event at `index` has failed. Undoes the events before it in its chain, which fail with it. */
static void
chain_break(struct run *run, uint32_t index)
{
    assert(run->chain == CHAIN_OPEN);
    assert(run->chain_start <= index);
    run->chain = CHAIN_BROKEN;
    forest_scope_discard(run->ledger->machine.forest);
    for (uint32_t i = run->chain_start; i < index; i++) {
        assert(run->results[i].status == STATUS_CREATED);
        run->results[i] = (struct create_result){
            .timestamp = event_timestamp_at(run->batch, i),
            .status = LINKED_EVENT_FAILED,
        };
    }
}

static void
chain_end(struct run *run)
{
    assert(run->chain != CHAIN_NONE);
    if (run->chain == CHAIN_OPEN) forest_scope_persist(run->ledger->machine.forest);
    run->chain = CHAIN_NONE;
}

/* ---- The loop -------------------------------------------------------------------------------- */

/* The first rows of both tables of precedence, in their order. */
static uint32_t
check_batch_rules(const struct run *run, uint32_t index)
{
    const struct import_rules *rules = run->import_rules;
    assert(run->chain != CHAIN_OPEN || run->chain_start <= index);
    const void *event = event_at(run->batch, index);
    const uint64_t timestamp = event_timestamp(event);
    const bool last = index == run->batch->event_count - 1;
    const bool imported = event_flags(event) & rules->flag;

    if (event_flags(event) & TRANSFER_LINKED && last) return LINKED_EVENT_CHAIN_OPEN;
    if (run->chain == CHAIN_BROKEN) return LINKED_EVENT_FAILED;
    if (imported != run->imported) return imported ? rules->not_expected : rules->expected;
    if (!imported) return timestamp != 0 ? TIMESTAMP_MUST_BE_ZERO : STATUS_UNDECIDED;
    if (timestamp == 0 || timestamp > TIMESTAMP_MAX) return rules->out_of_range;
    /*
     * The event's own timestamp, not the batch's end: everything stored is older than what is
     * executed next.
     */
    if (timestamp >= event_timestamp_at(run->batch, index)) return rules->must_not_advance;
    return STATUS_UNDECIDED;
}

static void
burn_id(struct forest *forest, const struct transfer *event, uint64_t event_timestamp)
{
    const struct burnt_id burnt = {.id = event->id, .timestamp = event_timestamp};
    assert(event->id != 0);
    assert(event->id != U128_MAX);
    assert(event_timestamp > 0 && event_timestamp <= TIMESTAMP_MAX);
    forest_burn_id(forest, GROOVE_TRANSFER, &burnt);
}

static void
execute_event(struct run *run, uint32_t index)
{
    const struct state_machine_batch *batch = run->batch;
    const void *event = event_at(batch, index);
    const uint64_t event_timestamp = event_timestamp_at(batch, index);
    const bool creates_account = batch->operation == LEDGER_CREATE_ACCOUNTS;
    const bool linked = event_flags(event) & TRANSFER_LINKED;

    if (linked && run->chain == CHAIN_NONE) chain_open(run, index);
    struct create_result result = {
        .timestamp = event_timestamp, .status = check_batch_rules(run, index)};
    if (result.status == STATUS_UNDECIDED) {
        result = creates_account ? account_create(run->ledger, event, event_timestamp)
                                 : transfer_create(run->ledger, event, event_timestamp);
    }
    assert(result.status != STATUS_UNDECIDED);
    run->results[index] = result;

    if (result.status != STATUS_CREATED) {
        if (run->chain == CHAIN_OPEN) chain_break(run, index);
        if (!creates_account && transfer_status_is_transient(result.status)) {
            burn_id(run->ledger->machine.forest, event, event_timestamp);
        }
    }
    assert(run->chain == CHAIN_NONE || run->chain_start <= index);
    const bool ends = !linked || result.status == LINKED_EVENT_CHAIN_OPEN;
    if (ends && run->chain != CHAIN_NONE) chain_end(run);
}

/* ---- state_machine_ops ----------------------------------------------------------------------- */

static bool
batch_valid(
    struct state_machine *machine, uint8_t operation, uint32_t event_count, uint32_t record_count)
{
    (void) machine;
    /* Each event is a record. */
    if (!ledger_operation_creates(operation) || record_count != event_count) return false;
    return event_count >= 1 && event_count <= EVENTS_PER_BATCH_MAX;
}

/*
 * Fetches what updates will need once more: it was in the processor's cache when it was asked for,
 * but that may be long ago.
 */
static void
hint_updates_ahead(const struct run *run, uint32_t index)
{
    const struct forest *forest = run->ledger->machine.forest;
    if (run->batch->operation != LEDGER_CREATE_TRANSFERS) return;
    if (index + HINT_EVENTS_AHEAD >= run->batch->event_count) return;
    const struct reached *reached =
        ledger_reached(run->ledger, event_timestamp_at(run->batch, index + HINT_EVENTS_AHEAD));
    if (reached->debit != NULL) forest_hint_update(forest, GROOVE_ACCOUNT, reached->debit);
    if (reached->credit != NULL) forest_hint_update(forest, GROOVE_ACCOUNT, reached->credit);
}

/* Executes events. It can pause between any two events where no chain is open. */
static uint32_t
execute(
    struct state_machine *machine,
    const struct state_machine_batch *batch,
    void *results,
    uint32_t start,
    uint32_t count)
{
    assert(batch_valid(machine, batch->operation, batch->event_count, batch->record_count));
    assert(start < batch->event_count);
    assert(count > 0);
    assert(batch->timestamp_final > batch->event_count);
    assert(batch->timestamp_final <= TIMESTAMP_MAX);
    assert((uintptr_t) batch->events % _Alignof(struct transfer) == 0);
    assert((uintptr_t) results % _Alignof(struct create_result) == 0);

    struct run run = {
        .ledger = container_of(machine, struct ledger, machine),
        .batch = batch,
        .import_rules = batch->operation == LEDGER_CREATE_ACCOUNTS ? &account_import_rules
                                                                   : &transfer_import_rules,
        .results = results,
        .chain = CHAIN_NONE,
    };
    run.imported = event_flags(event_at(batch, 0)) & run.import_rules->flag;
    uint32_t next = start;
    while (next < batch->event_count && (next - start < count || run.chain != CHAIN_NONE)) {
        hint_updates_ahead(&run, next);
        execute_event(&run, next);
        next += 1;
    }
    assert(run.chain == CHAIN_NONE);
    assert(next > start && next <= batch->event_count);
    return next;
}

static const struct state_machine_ops ledger_ops = {
    .batch_valid = batch_valid,
    .ask = ledger_ask,
    .execute = execute,
    .pulse_due = ledger_pulse_due,
    .rehearse_pulse = ledger_rehearse_pulse,
    .prefetch_pulse = ledger_prefetch_pulse,
    .pulse = ledger_pulse,
};

void
ledger_init(struct ledger *ledger, struct arena *arena, struct forest *forest)
{
    *ledger = (struct ledger){.machine = {.ops = &ledger_ops, .forest = forest}};
    ledger->expired =
        arena_take(arena, PULSE_EXPIRIES_MAX, sizeof(*ledger->expired), sizeof(*ledger->expired));
    ledger->reached = arena_take(arena, EVENTS_PER_BATCH_MAX, sizeof(*ledger->reached), 64);
    ledger->absent = arena_take(arena, EVENTS_PER_BATCH_MAX, sizeof(*ledger->absent), 64);
}
