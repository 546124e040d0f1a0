/* SPDX-License-Identifier: PostgreSQL */
/* Those who ask. Each has one request at a time; answers are checked here or by the oracle. */
#include "sim/sim.h"

#include <inttypes.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"

/* Polls until a read is answered when nobody else asks. */
#define READ_NOW_POLLS_MAX 10000

static void
hash_reply(struct sim *sim, const struct engine_request *request)
{
    struct {
        u128 previous;
        u128 content;
        uint64_t status;
        uint64_t size;
    } line = {
        .previous = sim->replies_hash,
        .status = request->status,
        .size = request->reply_size,
    };
    if (request->reply_size > 0) line.content = checksum(request->reply, request->reply_size);
    sim->replies_hash = checksum(&line, sizeof(line));
}

/* The model's answer, as it is now. */
static struct sim_answer
model_answer(struct sim *sim, const struct engine_request *request)
{
    static uint8_t expected[SIM_REPLY_SIZE_MAX];
    struct sim_answer answer = {0};
    answer.size = model_read(
        &sim->oracle.model,
        request->operation,
        request->input,
        request->input_size,
        expected,
        request->reply_size_max);
    if (answer.size > 0) answer.content = checksum(expected, answer.size);
    return answer;
}

/*
 * (O4): reads run before the commits of the same poll, so the model is where the engine is. Answers
 * with accounts are of the state at that moment; others of one since the read was submitted.
 */
static void
check_read(struct sim *sim, struct sim_client *client)
{
    const struct engine_request *request = &client->request;
    const bool accounts = request->operation == LEDGER_LOOKUP_ACCOUNTS ||
                          request->operation == LEDGER_QUERY_ACCOUNTS;
    struct sim_answer answer = {.size = request->reply_size};
    if (answer.size > 0) answer.content = checksum(request->reply, answer.size);
    if (client->moments_count > 1) sim->counts.reads_across += 1;
    uint32_t moment = accounts ? client->moments_count - 1 : 0;
    while (moment < client->moments_count) {
        const struct sim_answer *expected = &client->moments[moment];
        if (expected->size == answer.size && expected->content == answer.content) return;
        moment += 1;
    }
    sim_fail(
        sim,
        "read %u: %u bytes are not what the model had at any of %u moments; now it has %u",
        request->operation,
        answer.size,
        client->moments_count,
        client->moments[client->moments_count - 1].size);
}

/* A moment in the life of a read: it begins, or the model has executed an op. */
static void
client_moment(struct sim *sim, struct sim_client *client)
{
    sim_check(sim, client->moments_count < SIM_MOMENTS_MAX, "a read is not answered");
    client->moments[client->moments_count] = model_answer(sim, &client->request);
    client->moments_count += 1;
}

void
clients_committed(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct sim_client *client = &sim->clients[i];
        const bool reads = client->state == SIM_CLIENT_LENT && !client->create;
        if (reads && !client->malformed) client_moment(sim, client);
    }
}

/* (O5) */
static void
check_refusal(struct sim *sim, const struct engine_request *request)
{
    switch (request->status) {
    case ENGINE_OK: return;
    case ENGINE_INVALID: sim_fail(sim, "well-formed, but refused: %s", request->detail);
    case ENGINE_BUSY: sim_fail(sim, "refused, as if another one were under way");
    case ENGINE_MEMORY_FULL:
        sim_check(sim, sim->options.memory_small, "memory full, which is large");
        sim->counts.refused += 1;
        return;
    case ENGINE_DISK_FULL:
        sim_check(
            sim,
            sim->disk.options.space_limit_bytes > 0 || sim->disk.crashed,
            "disk full, which has no end");
        sim->counts.refused += 1;
        return;
    case ENGINE_DAMAGED:
        sim_check(
            sim,
            sim->disk.crashed || atlas_damaged(sim),
            "block %" PRIu64 " is damaged, and no fault is on disk",
            request->damage.block_address);
        sim->counts.damaged += 1;
        return;
    case ENGINE_FAILED:
        sim_check(sim, engine_failed(sim->engine), "failed, but the engine says it works");
        sim->counts.failed += 1;
        return;
    }
    unreachable();
}

static void
client_on_answer(struct engine_request *request)
{
    struct sim_client *client = container_of(request, struct sim_client, request);
    struct sim *sim = client->sim;
    sim_check(sim, client->state == SIM_CLIENT_LENT, "answered twice");
    client->state = SIM_CLIENT_IDLE;
    if (sim->canary == SIM_CANARY_REPLY && client->create && prng_chance(&sim->prng, 1, 10)) {
        client->reply[prng_below(&sim->prng, RESULT_SIZE)] ^= 1;
    }
    hash_reply(sim, request);
    if (client->malformed) {
        sim_check(sim, request->status == ENGINE_INVALID, "malformed, but taken");
        return;
    }
    check_refusal(sim, request);
    if (request->status == ENGINE_FAILED && client->create) client->state = SIM_CLIENT_RETRY;
    if (request->status != ENGINE_OK) return;
    if (!client->create) {
        check_read(sim, client);
        return;
    }
    struct sim_oracle *oracle = &sim->oracle;
    sim_check(sim, oracle->answered_count < SIM_CLIENTS_MAX, "more answers than clients");
    client->state = SIM_CLIENT_ANSWERED;
    oracle->answered[oracle->answered_count] = client;
    oracle->answered_count += 1;
}

static void
client_submit(struct sim *sim, struct sim_client *client)
{
    assert(client->state != SIM_CLIENT_LENT);
    client->sim = sim;
    client->state = SIM_CLIENT_LENT;
    client->request.reply = client->reply;
    client->request.callback = client_on_answer;
    client->request.input = client->input;
    memset(client->reply, 0xaa, sizeof(client->reply));
    client->moments_count = 0;
    if (!client->create && !client->malformed) client_moment(sim, client);
    sim->counts.requests += 1;
    engine_submit(sim->engine, &client->request);
}

static void
make_create(struct sim *sim, struct sim_client *client)
{
    struct engine_state state;
    uint8_t operation = 0;
    uint32_t count = 0;
    engine_state_get(sim->engine, &state);
    workload_next_batch(
        &sim->workload,
        &sim->oracle.model,
        max_u64(state.timestamp + 1, sim->clock.realtime_ns),
        &operation,
        client->input,
        &count);
    client->create = true;
    client->malformed = false;
    client->request = (struct engine_request){
        .operation = operation,
        .input_size = count * EVENT_SIZE,
        .reply_size_max = EVENTS_PER_BATCH_MAX * RESULT_SIZE,
    };
    if (!prng_chance(&sim->prng, 1, 200)) return;
    client->malformed = true;
    switch (prng_below(&sim->prng, 4)) {
    case 0: client->request.input_size = 0; break;
    case 1: client->request.input_size += 1; break;
    case 2: client->request.input_size = (EVENTS_PER_BATCH_MAX + 1) * EVENT_SIZE; break;
    default: client->request.reply_size_max = count * RESULT_SIZE - 1; break;
    }
}

static void
make_read(struct sim *sim, struct sim_client *client)
{
    uint8_t operation = 0;
    const uint32_t size =
        workload_next_read(&sim->workload, &sim->oracle.model, &operation, client->input);
    client->create = false;
    client->malformed = !model_read_valid(operation, client->input, size);
    client->request = (struct engine_request){
        .operation = operation,
        .input_size = size,
        .reply_size_max = SIM_REPLY_SIZE_MAX,
    };
    if (prng_chance(&sim->prng, 1, 10)) {
        client->request.reply_size_max = (uint32_t) prng_below(&sim->prng, SIM_REPLY_SIZE_MAX);
    }
    sim->counts.reads += 1;
}

void
clients_submit(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->options.clients; i++) {
        struct sim_client *client = &sim->clients[i];
        if (client->state == SIM_CLIENT_LENT) continue;
        assert(client->state != SIM_CLIENT_ANSWERED);
        if (!prng_chance(&sim->prng, sim->options.submits, 100)) continue;
        if (client->state == SIM_CLIENT_RETRY) {
            client->request.status = ENGINE_OK;
            sim->counts.retries += 1;
        } else if (prng_chance(&sim->prng, sim->options.reads, 100)) {
            make_read(sim, client);
        } else {
            make_create(sim, client);
        }
        client_submit(sim, client);
    }
}

void
clients_forget(struct sim *sim)
{
    sim_check(sim, sim->oracle.answered_count == 0, "answers that nobody has looked at");
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct sim_client *client = &sim->clients[i];
        if (client->state == SIM_CLIENT_IDLE) continue;
        const bool again =
            client->create && !client->malformed && prng_chance(&sim->prng, 2, 3);
        client->state = again ? SIM_CLIENT_RETRY : SIM_CLIENT_IDLE;
    }
}

bool
clients_waiting(const struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        if (sim->clients[i].state == SIM_CLIENT_LENT) return true;
    }
    return false;
}

static void
read_now_on_answer(struct engine_request *request)
{
    assert(request->callback == read_now_on_answer);
    request->callback = NULL;
}

uint32_t
clients_read_now(
    struct sim *sim, uint8_t operation, const void *input, uint32_t input_size, void *reply)
{
    struct engine_request request = {
        .operation = operation,
        .input = input,
        .input_size = input_size,
        .reply = reply,
        .reply_size_max = SIM_REPLY_SIZE_MAX,
        .callback = read_now_on_answer,
    };
    engine_submit(sim->engine, &request);
    for (uint32_t polls = 0; request.callback != NULL; polls++) {
        sim_check(sim, polls < READ_NOW_POLLS_MAX, "a read is not answered");
        if (!engine_poll(sim->engine)) storage_sim_tick(&sim->disk);
    }
    check_refusal(sim, &request);
    return request.status == ENGINE_OK ? request.reply_size : SIM_NO_ANSWER;
}
