/* SPDX-License-Identifier: PostgreSQL */
#include "unit/ledger_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "unit/reserve.h"

#define FIXTURE_GRID_BLOCKS_MAX    65536
#define FIXTURE_MISMATCHES_PRINTED 5

static const struct ledger_fixture_options options_default = {
    .accounts_max = 128,
    .transfers_max = 512,
    .memory_bytes = 2 * MIB,
};

/* ---- Making it ------------------------------------------------------------------------------- */

static void
init_in(struct ledger_fixture *fixture, struct arena *arena)
{
    grid_init(&fixture->grid, arena, &fixture->storage.storage, FIXTURE_GRID_BLOCKS_MAX);
    const struct forest_options options = {
        .schema = &ledger_schema,
        .memory_bytes = forest_memory_bytes_min(&fixture->grid, &ledger_schema) +
                        fixture->options.memory_bytes,
    };
    fixture->forest = forest_init(arena, &fixture->grid, &options);
    ledger_init(&fixture->ledger, arena, fixture->forest);
}

/* As a process starts: memory, then the checkpoint. */
static void
start(struct ledger_fixture *fixture)
{
    struct arena measuring;
    arena_init_measuring(&measuring);
    init_in(fixture, &measuring);
    const uint64_t size_bytes = align_up(measuring.used_bytes, ARENA_ALIGNMENT);
    fixture->memory = calloc(1, size_bytes + ARENA_ALIGNMENT);
    assert(fixture->memory != NULL);
    void *aligned = (void *) (uintptr_t) align_up((uintptr_t) fixture->memory, ARENA_ALIGNMENT);
    arena_init(&fixture->arena, aligned, size_bytes);
    init_in(fixture, &fixture->arena);
    arena_seal(&fixture->arena);

    struct forest_open_report report = {0};
    grid_open(&fixture->grid, 1);
    const enum forest_open_result result =
        forest_open(fixture->forest, &fixture->root, &report);
    assert(result == FOREST_OPENED);
}

void
ledger_fixture_init(struct ledger_fixture *fixture, const struct ledger_fixture_options *options)
{
    *fixture = (struct ledger_fixture){
        .options = options ? *options : options_default,
        .reply_size_max = FIXTURE_REPLY_SIZE_MAX,
        .timestamp = 1000 * NS_PER_S,
    };
    const struct storage_sim_options storage_options = {0};
    prng_init(&fixture->prng, 1);
    storage_sim_init(&fixture->storage, &storage_options, &fixture->prng);
    start(fixture);
    model_init(&fixture->model, fixture->options.accounts_max, fixture->options.transfers_max);
    fixture->model.timestamp = fixture->timestamp;
}

void
ledger_fixture_free(struct ledger_fixture *fixture)
{
    storage_sim_free(&fixture->storage);
    free(fixture->memory);
    model_free(&fixture->model);
}

static void
checkpoint_on_done(void *context, enum grid_result result)
{
    struct ledger_fixture *fixture = context;
    assert(result == GRID_OK);
    fixture->checkpoint_done = true;
}

void
ledger_fixture_checkpoint(struct ledger_fixture *fixture)
{
    fixture->checkpoint_done = false;
    forest_checkpoint(fixture->forest, fixture->op, checkpoint_on_done, fixture);
    while (!fixture->checkpoint_done) ledger_fixture_progress(fixture);
    fixture->root = forest_checkpoint_root(fixture->forest);
    forest_checkpoint_durable(fixture->forest);
}

void
ledger_fixture_reopen(struct ledger_fixture *fixture)
{
    ledger_fixture_checkpoint(fixture);
    free(fixture->memory);
    start(fixture);
}

/* ---- Comparing ------------------------------------------------------------------------------- */

/* The first byte that differs, or size. */
static uint32_t
difference(const uint8_t *a, const uint8_t *b, uint32_t size)
{
    uint32_t i = 0;
    while (i < size && a[i] == b[i])
        i += 1;
    return i;
}

static bool
mismatch_add(struct ledger_fixture *fixture)
{
    fixture->mismatches += 1;
    return fixture->mismatches <= FIXTURE_MISMATCHES_PRINTED;
}

static const char *
status_name(uint8_t operation, uint32_t status)
{
    const char *name = operation == LEDGER_CREATE_ACCOUNTS ? create_account_status_name(status)
                                                           : create_transfer_status_name(status);
    return name ? name : "(no status)";
}

static void
compare_results(
    struct ledger_fixture *fixture,
    uint8_t operation,
    uint32_t count,
    const struct create_result *ledger,
    const struct create_result *model)
{
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(&ledger[i], &model[i], sizeof(ledger[i])) == 0) continue;
        if (!mismatch_add(fixture)) return;
        printf(
            "operation %u, event %" PRIu32 " of %" PRIu32 ", slot %" PRIu64
            ": ledger says %s at %" PRIu64 ", model says %s at %" PRIu64 "\n",
            operation,
            i,
            count,
            fixture->timestamp - count + i + 1,
            status_name(operation, ledger[i].status),
            ledger[i].timestamp,
            status_name(operation, model[i].status),
            model[i].timestamp);
    }
}

/* ---- Calls ----------------------------------------------------------------------------------- */

void
ledger_fixture_advance(struct ledger_fixture *fixture, uint64_t duration_ns)
{
    assert(duration_ns <= TIMESTAMP_MAX - fixture->timestamp);
    fixture->timestamp += duration_ns;
}

void
ledger_fixture_progress(struct ledger_fixture *fixture)
{
    bool progress = storage_poll(&fixture->storage.storage) > 0;
    progress |= forest_poll(fixture->forest);
    if (!progress) (void) storage_wait(&fixture->storage.storage);
}

/* Begins an op. */
static void
op_begin(struct ledger_fixture *fixture, uint32_t event_count)
{
    assert(reserve_now(fixture->forest, event_count) == FOREST_ROOM);
    while (!forest_begin(fixture->forest, event_count)) ledger_fixture_progress(fixture);
}

void
ledger_fixture_op_commit(struct ledger_fixture *fixture)
{
    fixture->op += 1;
    enum forest_work work;
    while ((work = forest_compact(fixture->forest, fixture->op)) != FOREST_WORK_DONE) {
        if (work == FOREST_WORK_WAITS) ledger_fixture_progress(fixture);
    }
}

static void
prefetch(struct ledger_fixture *fixture, const struct state_machine_batch *batch)
{
    struct state_machine *machine = &fixture->ledger.machine;
    bool more = true;
    for (uint32_t round = 0; more; round++) {
        enum forest_found found;
        more = machine->ops->ask(machine, batch, round);
        while ((found = forest_prefetch(fixture->forest)) != FOREST_FOUND) {
            assert(found == FOREST_WAIT);
            ledger_fixture_progress(fixture);
        }
    }
}

void
ledger_fixture_create(
    struct ledger_fixture *fixture,
    uint8_t operation,
    const void *events,
    uint32_t count,
    struct create_result *results)
{
    assert(count <= EVENTS_PER_BATCH_MAX);
    struct state_machine *machine = &fixture->ledger.machine;
    struct create_result expected[EVENTS_PER_BATCH_MAX];
    fixture->timestamp += count;
    const struct state_machine_batch batch = {
        .operation = operation,
        .event_count = count,
        .record_count = count,
        .events = events,
        .timestamp_final = fixture->timestamp,
    };
    assert(machine->ops->batch_valid(machine, operation, count, count));
    memset(results, 0xaa, count * sizeof(*results));
    op_begin(fixture, count);
    prefetch(fixture, &batch);
    /* In one go or in pieces: there must be no difference. */
    uint32_t next = 0;
    while (next < batch.event_count) {
        const uint32_t piece = 1 + (uint32_t) (batch.timestamp_final % 7) * batch.event_count / 6;
        next = machine->ops->execute(machine, &batch, results, next, piece);
    }
    ledger_fixture_op_commit(fixture);
    model_execute(&fixture->model, operation, events, count, fixture->timestamp, expected);
    compare_results(fixture, operation, count, results, expected);
}

uint64_t
ledger_fixture_add(
    struct ledger_fixture *fixture, uint8_t operation, const void *events, uint32_t count)
{
    struct create_result results[EVENTS_PER_BATCH_MAX];
    assert(count > 0);
    ledger_fixture_create(fixture, operation, events, count, results);
    for (uint32_t i = 0; i < count; i++) assert(results[i].status == STATUS_CREATED);
    return results[count - 1].timestamp;
}

bool
ledger_fixture_pulse_due(struct ledger_fixture *fixture, uint64_t timestamp)
{
    struct state_machine *machine = &fixture->ledger.machine;
    for (;;) {
        const enum forest_found found = machine->ops->pulse_due(machine, timestamp);
        if (found != FOREST_WAIT) {
            assert(found == FOREST_FOUND || found == FOREST_ABSENT);
            return found == FOREST_FOUND;
        }
        if (!machine->yielded) ledger_fixture_progress(fixture);
    }
}

static void
prefetch_pulse(struct ledger_fixture *fixture, uint64_t timestamp)
{
    struct state_machine *machine = &fixture->ledger.machine;
    for (;;) {
        const enum forest_found found = machine->ops->prefetch_pulse(machine, timestamp);
        if (found == FOREST_FOUND) return;
        assert(found == FOREST_WAIT);
        if (!machine->yielded) ledger_fixture_progress(fixture);
    }
}

void
ledger_fixture_pulse_replay(struct ledger_fixture *fixture)
{
    struct state_machine *machine = &fixture->ledger.machine;
    struct model *model = &fixture->model;
    fixture->timestamp += PULSE_EXPIRIES_MAX;
    op_begin(fixture, PULSE_EXPIRIES_MAX);
    prefetch_pulse(fixture, fixture->timestamp);
    machine->ops->pulse(machine, fixture->timestamp);
    ledger_fixture_op_commit(fixture);
    model_pulse(model, fixture->timestamp);
    const struct forest_memo memo = forest_memo(fixture->forest);
    const bool same = memo.words[0] == model->pulsed_expires_at &&
                      memo.words[1] == model->pulsed_timestamp;
    if (!same && mismatch_add(fixture)) {
        printf(
            "pulse at %" PRIu64 ": the memo is %" PRIu64 ", %" PRIu64 ", model says %" PRIu64
            ", %" PRIu64 "\n",
            fixture->timestamp,
            memo.words[0],
            memo.words[1],
            model->pulsed_expires_at,
            model->pulsed_timestamp);
    }
}

/* As the replica does before it makes a pulse, for a later time. It may change nothing. */
static void
rehearse_pulse(struct ledger_fixture *fixture, uint64_t timestamp)
{
    struct state_machine *machine = &fixture->ledger.machine;
    for (;;) {
        const enum forest_found found = machine->ops->rehearse_pulse(machine, timestamp);
        if (found == FOREST_FOUND) return;
        assert(found == FOREST_WAIT);
        if (!machine->yielded) ledger_fixture_progress(fixture);
    }
}

bool
ledger_fixture_pulse(struct ledger_fixture *fixture)
{
    const uint64_t timestamp = fixture->timestamp + PULSE_EXPIRIES_MAX;
    const bool ledger_due = ledger_fixture_pulse_due(fixture, timestamp);
    const bool model_due = model_pulse_due(&fixture->model, timestamp);
    if (ledger_due != model_due && mismatch_add(fixture)) {
        printf(
            "pulse at %" PRIu64 ": due says ledger %d, model %d\n",
            timestamp,
            ledger_due,
            model_due);
    }
    if (!model_due) return false;
    rehearse_pulse(fixture, timestamp + NS_PER_S / 2);
    ledger_fixture_pulse_replay(fixture);
    return true;
}

bool
ledger_fixture_read_valid(
    struct ledger_fixture *fixture, uint8_t operation, const void *input, uint32_t size)
{
    const char *complaint = ledger_read_check(operation, input, size);
    const bool valid = model_read_valid(operation, input, size);
    if (valid != (complaint == NULL) && mismatch_add(fixture)) {
        printf(
            "read %u of %" PRIu32 " bytes: ledger says %s, model says %s\n",
            operation,
            size,
            complaint ? complaint : "valid",
            valid ? "valid" : "invalid");
    }
    return valid && complaint == NULL;
}

enum forest_found
ledger_fixture_read_finish(struct ledger_fixture *fixture, struct ledger_read *read)
{
    for (;;) {
        uint32_t rows_left = READ_ROWS_PER_POLL;
        const enum forest_found found = ledger_read_step(read, &rows_left);
        if (found != FOREST_WAIT) return found;
        if (!read->yielded) ledger_fixture_progress(fixture);
    }
}

uint32_t
ledger_fixture_ask(struct ledger_fixture *fixture, const struct ledger_question *asked)
{
    static uint64_t timestamps[RESULTS_MAX];
    static struct ledger_row rows[RESULTS_MAX];
    static struct ledger_read read;
    struct ledger_question question = *asked;
    question.timestamps = timestamps;
    question.rows = rows;
    ledger_read_start(&read, fixture->forest, &question, fixture->op);
    const enum forest_found found = ledger_fixture_read_finish(fixture, &read);
    assert(found == FOREST_FOUND);
    fixture->instant = read.instant;
    return read.reply_size;
}

uint32_t
ledger_fixture_read(
    struct ledger_fixture *fixture,
    uint8_t operation,
    const void *input,
    uint32_t size,
    void *reply)
{
    static uint8_t expected[FIXTURE_REPLY_SIZE_MAX];
    if (!ledger_fixture_read_valid(fixture, operation, input, size)) return 0;
    memset(reply, 0xaa, FIXTURE_REPLY_SIZE_MAX);
    const struct ledger_question question = {
        .operation = operation,
        .input = input,
        .input_size = size,
        .reply = reply,
        .reply_size_max = fixture->reply_size_max,
    };
    const uint32_t reply_size = ledger_fixture_ask(fixture, &question);
    const uint32_t expected_size =
        model_read(&fixture->model, operation, input, size, expected, fixture->reply_size_max);
    const uint32_t same =
        difference(reply, expected, reply_size < expected_size ? reply_size : expected_size);
    if ((reply_size != expected_size || same != reply_size) && mismatch_add(fixture)) {
        printf(
            "read %u: ledger answers %" PRIu32 " bytes, model %" PRIu32 ", same for %" PRIu32 "\n",
            operation,
            reply_size,
            expected_size,
            same);
    }
    return reply_size;
}

bool
ledger_fixture_account(struct ledger_fixture *fixture, u128 id, struct account *account)
{
    static uint8_t reply[FIXTURE_REPLY_SIZE_MAX];
    const uint32_t size =
        ledger_fixture_read(fixture, LEDGER_LOOKUP_ACCOUNTS, &id, sizeof(id), reply);
    if (size > 0) memcpy(account, reply, sizeof(*account));
    return size > 0;
}

bool
ledger_fixture_transfer(struct ledger_fixture *fixture, u128 id, struct transfer *transfer)
{
    static uint8_t reply[FIXTURE_REPLY_SIZE_MAX];
    const uint32_t size =
        ledger_fixture_read(fixture, LEDGER_LOOKUP_TRANSFERS, &id, sizeof(id), reply);
    if (size > 0) memcpy(transfer, reply, sizeof(*transfer));
    return size > 0;
}

/* ---- Everything ------------------------------------------------------------------------------ */

static void
compare_lookups(struct ledger_fixture *fixture, uint8_t operation, const struct model_ids *ids)
{
    static uint8_t reply[FIXTURE_REPLY_SIZE_MAX];
    for (uint32_t i = 0; i < ids->count; i += RESULTS_MAX) {
        const uint32_t left = ids->count - i;
        const uint32_t count = left < RESULTS_MAX ? left : RESULTS_MAX;
        (void) ledger_fixture_read(
            fixture, operation, &ids->ids[i], count * (uint32_t) sizeof(u128), reply);
    }
}

static void
compare_balances(struct ledger_fixture *fixture, const struct account *account)
{
    static struct account_balance reply[FIXTURE_REPLY_SIZE_MAX / sizeof(struct account_balance)];
    struct account_filter filter = {
        .account_id = account->id,
        .limit = UINT32_MAX,
        .flags = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS,
    };
    for (;;) {
        const uint32_t size = ledger_fixture_read(
            fixture, LEDGER_GET_ACCOUNT_BALANCES, &filter, sizeof(filter), reply);
        if (size == 0 || fixture->mismatches > 0) return;
        filter.timestamp_min = reply[size / sizeof(reply[0]) - 1].timestamp + 1;
    }
}

static void
compare_events(struct ledger_fixture *fixture)
{
    static struct change_event reply[FIXTURE_REPLY_SIZE_MAX / sizeof(struct change_event)];
    struct change_events_filter filter = {.limit = UINT32_MAX};
    for (;;) {
        const uint32_t size =
            ledger_fixture_read(fixture, LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter), reply);
        if (size == 0 || fixture->mismatches > 0) return;
        filter.timestamp_min = reply[size / sizeof(reply[0]) - 1].timestamp + 1;
    }
}

void
ledger_fixture_compare(struct ledger_fixture *fixture)
{
    const struct model *model = &fixture->model;
    model_check_invariants(model);
    compare_lookups(fixture, LEDGER_LOOKUP_ACCOUNTS, &model->account_ids);
    compare_lookups(fixture, LEDGER_LOOKUP_TRANSFERS, &model->transfer_ids);
    compare_lookups(fixture, LEDGER_LOOKUP_TRANSFERS, &model->burnt_ids);
    for (uint32_t i = 0; i < model->account_ids.count; i++) {
        if (model->accounts[i].flags & ACCOUNT_HISTORY) {
            compare_balances(fixture, &model->accounts[i]);
        }
    }
    compare_events(fixture);
}

uint32_t
ledger_fixture_finish(struct ledger_fixture *fixture)
{
    ledger_fixture_compare(fixture);
    const uint32_t mismatches = fixture->mismatches;
    ledger_fixture_free(fixture);
    return mismatches;
}
