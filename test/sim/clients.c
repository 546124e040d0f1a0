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

/* ---- Scans ----------------------------------------------------------------------------------- */

void
clients_init(struct sim *sim, uint32_t events_max)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        model_past_init(&sim->clients[i].scan.past, events_max, events_max);
    }
}

void
clients_free(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) model_past_free(&sim->clients[i].scan.past);
}

/* What a scan of accounts has still to see after this page; false if that is nothing. */
static bool
scan_advance(struct query_filter *page, uint64_t last)
{
    if (page->flags & QUERY_FILTER_REVERSED) {
        page->timestamp_max = last - 1;
        return last > max_u64(page->timestamp_min, 1);
    }
    page->timestamp_min = last + 1;
    return page->timestamp_max == 0 || last < page->timestamp_max;
}

/* A page was answered: where the next one begins. A first page's instant is kept if it is now. */
static void
scan_answered(struct sim *sim, struct sim_client *client)
{
    const struct engine_request *request = &client->request;
    struct sim_scan *scan = &client->scan;
    const struct account *rows = request->reply;
    const uint32_t count = request->reply_size / (uint32_t) sizeof(rows[0]);
    if (request->operation != LEDGER_QUERY_ACCOUNTS) return;
    if (scan->asked) {
        sim->counts.pages += 1;
    } else {
        if (scan->open || request->instant.op != sim->oracle.commit) return;
        model_past_take(&scan->past, &sim->oracle.model);
        scan->instant = request->instant;
    }
    memcpy(&scan->page, request->input, sizeof(scan->page));
    scan->open = count > 0 && scan_advance(&scan->page, rows[count - 1].timestamp);
}

static void
make_page(struct sim *sim, struct sim_client *client)
{
    struct sim_scan *scan = &client->scan;
    scan->page.limit = (uint32_t) prng_range(&sim->prng, 1, 12);
    memcpy(client->input, &scan->page, sizeof(scan->page));
    scan->asked = true;
    client->create = false;
    client->malformed = false;
    client->request = (struct engine_request){
        .operation = LEDGER_QUERY_ACCOUNTS,
        .input_size = sizeof(scan->page),
        .reply_size_max = SIM_REPLY_SIZE_MAX,
        .instant = scan->instant,
    };
    sim->counts.reads += 1;
}

/* ---- Answers --------------------------------------------------------------------------------- */

/* The model's answer, as it is now; to a page of a scan, as it was. */
static struct sim_answer
model_answer(struct sim *sim, const struct sim_client *client)
{
    static uint8_t expected[SIM_REPLY_SIZE_MAX];
    const struct engine_request *request = &client->request;
    const bool past = client->scan.asked;
    struct sim_answer answer = {.op = past ? client->scan.instant.op : sim->oracle.commit};
    answer.size = model_read(
        past ? &client->scan.past.model : &sim->oracle.model,
        request->operation,
        request->input,
        request->input_size,
        expected,
        request->reply_size_max);
    if (answer.size > 0) answer.content = checksum(expected, answer.size);
    return answer;
}

/* (O4): a read is of one state since it was submitted, and says which; or of its scan's state. */
static void
check_read(struct sim *sim, struct sim_client *client)
{
    const struct engine_request *request = &client->request;
    struct sim_answer answer = {.size = request->reply_size};
    if (answer.size > 0) answer.content = checksum(request->reply, answer.size);
    if (client->moments_count > 1) sim->counts.reads_across += 1;
    for (uint32_t moment = 0; moment < client->moments_count; moment++) {
        const struct sim_answer *expected = &client->moments[moment];
        if (expected->op != request->instant.op) continue;
        if (expected->size == answer.size && expected->content == answer.content) return;
    }
    sim_fail(
        sim,
        "read %u: %u bytes are not what the model had at op %" PRIu64 ", of %u moments; now it has "
        "%u",
        request->operation,
        answer.size,
        request->instant.op,
        client->moments_count,
        client->moments[client->moments_count - 1].size);
}

/* A moment in the life of a read: it begins, or the model has executed an op. */
static void
client_moment(struct sim *sim, struct sim_client *client)
{
    sim_check(sim, client->moments_count < SIM_MOMENTS_MAX, "a read is not answered");
    client->moments[client->moments_count] = model_answer(sim, client);
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
    case ENGINE_NO_QUORUM:
    case ENGINE_UNKNOWN: sim_fail(sim, "given up, and it is alone");
    case ENGINE_BUSY: sim_fail(sim, "refused, as if another one were under way");
    case ENGINE_MEMORY_FULL:
        sim_check(sim, sim->options.memory_small, "memory full, which is large");
        sim->counts.refused += 1;
        return;
    case ENGINE_DISK_FULL:
        sim_check(
            sim,
            sim->disk.options.space_limit_bytes > 0 || sim->full_before_calm || sim->disk.crashed,
            "disk full, which has no end");
        /* Each growth that is refused is an answer to one request. */
        if (sim->calm) sim->full_before_calm = false;
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
        scan_answered(sim, client);
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
    client->scan.asked = false;
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
            const bool page = client->scan.open && prng_chance(&sim->prng, 3, 4);
            page ? make_page(sim, client) : make_read(sim, client);
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
