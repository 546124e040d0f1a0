/* SPDX-License-Identifier: PostgreSQL */
/* Everything that the engine knows, against the model. Nothing must be under way. (O3) (O8) */
#include "sim/sim.h"

#include <inttypes.h>
#include <string.h>

#include "base/units.h"

static uint8_t reply[SIM_REPLY_SIZE_MAX] __attribute__((aligned(16)));

/* The same read, of the model. */
static void
compare_read(struct sim *sim, uint8_t operation, const void *input, uint32_t input_size)
{
    static uint8_t expected[SIM_REPLY_SIZE_MAX];
    const uint32_t size = clients_read_now(sim, operation, input, input_size, reply);
    if (size == SIM_NO_ANSWER) return;
    const uint32_t size_expected = model_read(
        &sim->oracle.model, operation, input, input_size, expected, SIM_REPLY_SIZE_MAX);
    sim_check(
        sim,
        size == size_expected && memcmp(reply, expected, size) == 0,
        "read %u differs",
        operation);
}

/* Each that is there; of ids that were burnt, none. */
static void
compare_lookups(struct sim *sim, uint8_t operation, const struct model_ids *ids, bool found)
{
    const uint32_t row_size = ledger_row_size(operation);
    for (uint32_t i = 0; i < ids->count; i += RESULTS_MAX) {
        const uint32_t count = (uint32_t) min_u64(ids->count - i, RESULTS_MAX);
        const uint32_t ids_size = count * (uint32_t) sizeof(u128);
        const uint32_t size = clients_read_now(sim, operation, &ids->ids[i], ids_size, reply);
        if (size == SIM_NO_ANSWER) return;
        const uint32_t size_expected = found ? count * row_size : 0;
        sim_check(sim, size == size_expected, "lookup %u: %u bytes", operation, size);
        compare_read(sim, operation, &ids->ids[i], ids_size);
    }
}

/* What became of holds, and what the events of transfers are. */
static void
compare_resolutions(struct sim *sim, const struct model_ids *ids)
{
    const uint32_t per_read = CHANGE_EVENTS_MAX / 2;
    for (uint32_t i = 0; i < ids->count; i += per_read) {
        const uint32_t count = (uint32_t) min_u64(ids->count - i, per_read);
        const uint32_t ids_size = count * (uint32_t) sizeof(u128);
        compare_read(sim, LEDGER_LOOKUP_RESOLUTIONS, &ids->ids[i], ids_size);
        compare_read(sim, LEDGER_LOOKUP_CHANGE_EVENTS, &ids->ids[i], ids_size);
    }
}

static void
compare_events(struct sim *sim)
{
    const struct model *model = &sim->oracle.model;
    struct change_events_filter filter = {.limit = UINT32_MAX};
    uint32_t done = 0;
    for (;;) {
        const uint32_t size = clients_read_now(
            sim, LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter), reply);
        if (size == SIM_NO_ANSWER) return;
        const uint32_t count = size / (uint32_t) sizeof(struct change_event);
        sim_check(sim, count <= model->event_count - done, "more change events than there are");
        sim_check(
            sim,
            memcmp(reply, &model->events[done], size) == 0,
            "change events %u … differ",
            done);
        done += count;
        if (count == 0) break;
        filter.timestamp_min = model->events[done - 1].timestamp + 1;
    }
    sim_check(sim, done == model->event_count, "%u of %u events", done, model->event_count);
}

/* Of one account, chosen at random: the indexes by account. */
static void
compare_account(struct sim *sim)
{
    const struct model *model = &sim->oracle.model;
    if (model->account_ids.count == 0) return;
    const u128 id = model->accounts[prng_below(&sim->prng, model->account_ids.count)].id;
    struct account_filter filter = {
        .account_id = id,
        .limit = UINT32_MAX,
        .flags = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS | ACCOUNT_FILTER_REVERSED,
    };
    compare_read(sim, LEDGER_GET_ACCOUNT_TRANSFERS, &filter, sizeof(filter));
    compare_read(sim, LEDGER_GET_ACCOUNT_BALANCES, &filter, sizeof(filter));
    filter.flags |= ACCOUNT_FILTER_EXPIRIES;
    compare_read(sim, LEDGER_GET_ACCOUNT_BALANCES, &filter, sizeof(filter));
    const struct hold_filter holds[] = {
        {.debit_account_id = id, .limit = UINT32_MAX},
        {.credit_account_id = id, .limit = UINT32_MAX, .flags = HOLD_FILTER_REVERSED},
        {.states = 1 << PENDING_PENDING, .limit = UINT32_MAX},
        {.ledger = 1, .states = 1 << PENDING_EXPIRED, .limit = UINT32_MAX},
        {.states = 1 << PENDING_PENDING, .limit = UINT32_MAX, .flags = HOLD_FILTER_BY_EXPIRY},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(holds); i++) {
        compare_read(sim, LEDGER_QUERY_HOLDS, &holds[i], sizeof(holds[i]));
    }
}

void
compare_all(struct sim *sim)
{
    const struct model *model = &sim->oracle.model;
    struct engine_state state;
    assert(!clients_waiting(sim));
    engine_state_get(sim->engine, &state);
    sim_check(sim, state.commit == sim->oracle.commit, "something is under way");
    sim_check(sim, state.accounts == model->account_ids.count, "number of accounts");
    sim_check(sim, state.transfers == model->transfer_ids.count, "number of transfers");
    sim_check(sim, state.timestamp == sim->oracle.timestamp, "timestamp");
    sim_check(sim, state.memory_used_bytes <= state.memory_bytes, "memory");
    model_check_invariants(model);
    compare_lookups(sim, LEDGER_LOOKUP_ACCOUNTS, &model->account_ids, true);
    compare_lookups(sim, LEDGER_LOOKUP_TRANSFERS, &model->transfer_ids, true);
    compare_lookups(sim, LEDGER_LOOKUP_TRANSFERS, &model->burnt_ids, false);
    compare_resolutions(sim, &model->transfer_ids);
    compare_events(sim);
    compare_account(sim);
}

/* Both logs hold what was written, but for faults that nobody has met yet. */
void
compare_log(struct sim *sim)
{
    const struct sim_oracle *oracle = &sim->oracle;
    const uint64_t ring_size = sim->options.prepares_size_bytes;
    const uint8_t *prepares = storage_sim_bytes(&sim->disk, STORAGE_PREPARES);
    const uint8_t *headers = storage_sim_bytes(&sim->disk, STORAGE_HEADERS);
    for (uint64_t op = oracle->checkpoint_op + 1; op <= oracle->commit; op++) {
        const struct prepare_header *header = oracle_prepare(sim, op);
        sim_check(sim, header != NULL, "op %" PRIu64 " is not known", op);
        const uint64_t place = header->position % ring_size;
        const uint64_t size = prepare_size_on_disk(header);
        const uint64_t entry_offset =
            headers_log_entry(headers_log_count(ring_size), op) * PREPARE_HEADER_SIZE;
        if (!storage_sim_faulty(&sim->disk, STORAGE_PREPARES, place, size)) {
            sim_check(
                sim,
                memcmp(prepares + place, header, size) == 0,
                "op %" PRIu64 " is not what was written",
                op);
        }
        if (storage_sim_faulty(&sim->disk, STORAGE_HEADERS, entry_offset, PREPARE_HEADER_SIZE)) {
            continue;
        }
        sim_check(
            sim,
            memcmp(headers + entry_offset, header, PREPARE_HEADER_SIZE) == 0,
            "the header of op %" PRIu64 " is not what was written",
            op);
    }
}
