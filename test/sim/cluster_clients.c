/* SPDX-License-Identifier: PostgreSQL */
/* Those who ask at each node. Each has one request at a time. */
#include <inttypes.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "vsr/multi_batch.h"

/* Steps until a read is answered when nobody else asks. */
#define READ_NOW_STEPS_MAX 100000

/* ---- Moments --------------------------------------------------------------------------------- */

static struct cluster_moment
model_answer(const struct cluster_client *client)
{
    static uint8_t expected[CLUSTER_REPLY_SIZE_MAX];
    const struct engine_request *request = &client->request;
    struct cluster_moment moment = {.op = client->node->model_op};
    moment.size = model_read(
        &client->node->model,
        request->operation,
        request->input,
        request->input_size,
        expected,
        request->reply_size_max);
    if (moment.size > 0) moment.content = checksum(expected, moment.size);
    return moment;
}

static void
client_moment(struct cluster_client *client)
{
    cluster_check(
        client->cluster,
        client->moments_count < CLUSTER_MOMENTS_MAX,
        "node %u: a read is not answered",
        client->node->index);
    client->moments[client->moments_count] = model_answer(client);
    client->moments_count += 1;
}

void
cluster_clients_executed(struct cluster_node *node)
{
    for (uint32_t i = 0; i < CLUSTER_CLIENTS_MAX; i++) {
        struct cluster_client *client = &node->clients[i];
        const bool reads =
            client->state == CLUSTER_CLIENT_LENT || client->state == CLUSTER_CLIENT_ANSWERED;
        if (reads && !client->create) client_moment(client);
    }
}

/* ---- Answers --------------------------------------------------------------------------------- */

/* (I6) */
static void
check_read(struct cluster_client *client)
{
    const struct engine_request *request = &client->request;
    struct cluster *cluster = client->cluster;
    struct cluster_node *node = client->node;
    const uint64_t op = request->instant.op;
    cluster_check(
        cluster,
        op >= client->op_before,
        "node %u: a read is of op %" PRIu64 ", and op %" PRIu64 " was answered before it was sent",
        node->index,
        op,
        client->op_before);
    node->read_op = max_u64(node->read_op, op);
    cluster->history.answered = max_u64(cluster->history.answered, op);
    const u128 content =
        request->reply_size > 0 ? checksum(request->reply, request->reply_size) : 0;
    for (uint32_t i = 0; i < client->moments_count; i++) {
        const struct cluster_moment *moment = &client->moments[i];
        if (moment->op != op) continue;
        if (moment->size == request->reply_size && moment->content == content) return;
    }
    cluster_fail(
        cluster,
        "node %u: read %u: %u bytes are not what the model had at op %" PRIu64 ", of %u moments",
        node->index,
        request->operation,
        request->reply_size,
        op,
        client->moments_count);
}

/* The results of the batch, if the op has it. */
static bool
compare_results(const struct cluster_client *client, uint64_t op)
{
    struct cluster *cluster = client->cluster;
    const struct engine_request *request = &client->request;
    const struct prepare_header *header = cluster_history_header(cluster, op);
    const struct create_result *results = cluster->history.ops[op].results;
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    const struct multi_batch_sums sums = {header->event_count, header->record_count};
    if (header->operation != PREPARE_BATCHES) return false;
    const bool opened = multi_batch_open(
        &reader,
        (const uint8_t *) header + PREPARE_HEADER_SIZE,
        header->size - PREPARE_HEADER_SIZE,
        header->timestamp,
        sums);
    assert(opened);
    for (; multi_batch_next(&reader, &batch); results += batch.event_count) {
        if (reader.source.session != client->node->session) continue;
        if (reader.source.number != request->create.number) continue;
        const bool same = request->operation == batch.operation &&
                          request->input_size == batch.event_count * EVENT_SIZE &&
                          memcmp(request->input, batch.events, request->input_size) == 0;
        cluster_check(cluster, same, "op %" PRIu64 ": an answer is of another batch", op);
        cluster_check(
            cluster,
            request->reply_size == batch.event_count * RESULT_SIZE &&
                memcmp(request->reply, results, request->reply_size) == 0,
            "op %" PRIu64 ": the answer at node %u isn't what the model has",
            op,
            client->node->index);
        return true;
    }
    return false;
}

/* (I5) */
static void
check_create(struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    const struct cluster_node *node = client->node;
    for (uint64_t op = client->op_before + 1; op <= node->commit; op++) {
        if (!compare_results(client, op)) continue;
        cluster->history.answered = max_u64(cluster->history.answered, op);
        return;
    }
    cluster_fail(
        cluster,
        "node %u: a create was answered, and is not in (%" PRIu64 ", %" PRIu64 "]",
        node->index,
        client->op_before,
        node->commit);
}

/* (I4) From here on it may not come into the log any more. */
static void
check_nothing(const struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    struct cluster_asked *asked = cluster_history_asked(cluster, client->asked);
    cluster_check(
        cluster,
        client->create && asked->executed < asked->sent,
        "node %u: a create took no effect, and is in the log",
        client->node->index);
    asked->sent -= 1;
}

static void
check_refusal(const struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    bool reason = false;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        reason |= cluster->nodes[i].options->grid_space_bytes > 0;
    }
    cluster_check(cluster, reason, "refused, and no disk was ever full");
    check_nothing(client);
    cluster->counts.refused += 1;
}

/* Why may it be given up? Asked inside the callback, when it is. */
static void
check_given_up(const struct cluster_client *client)
{
    const struct cluster_node *node = client->node;
    const struct engine_request *request = &client->request;
    const uint64_t waited_ns = node->clock.monotonic_ns - request->submitted_ns;
    cluster_check(
        client->cluster,
        request->wait_ns > 0 && waited_ns >= request->wait_ns,
        "node %u: given up after %" PRIu64 " ns of %" PRIu64,
        node->index,
        waited_ns,
        request->wait_ns);
    cluster_check(
        client->cluster,
        replica_calls_wait(&node->engine->replica),
        "node %u: given up while a primary works, and there is room",
        node->index);
}

static void
hash_reply(struct cluster *cluster, const struct engine_request *request)
{
    struct {
        u128 previous;
        u128 content;
        uint64_t status;
        uint64_t size;
    } line = {
        .previous = cluster->history.hash,
        .status = request->status,
        .size = request->reply_size,
    };
    if (request->reply_size > 0) line.content = checksum(request->reply, request->reply_size);
    cluster->history.hash = checksum(&line, sizeof(line));
}

void
cluster_clients_check(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    for (uint32_t i = 0; i < CLUSTER_CLIENTS_MAX; i++) {
        struct cluster_client *client = &node->clients[i];
        if (client->state != CLUSTER_CLIENT_ANSWERED) continue;
        client->state = CLUSTER_CLIENT_IDLE;
        hash_reply(cluster, &client->request);
        switch (client->request.status) {
        case ENGINE_OK:
            cluster->counts.answered += 1;
            client->create ? check_create(client) : check_read(client);
            break;
        case ENGINE_FAILED:
            cluster_check(
                cluster,
                engine_failed(node->engine) || node->engine->replica.fences->over,
                "failed, but the engine says it works");
            if (client->create) client->state = CLUSTER_CLIENT_RETRY;
            break;
        case ENGINE_DISK_FULL: check_refusal(client); break;
        case ENGINE_NO_QUORUM:
            if (client->create) check_nothing(client);
            cluster->counts.given_up += 1;
            break;
        case ENGINE_UNKNOWN:
            cluster_check(cluster, client->create, "the outcome of a read is unknown");
            cluster->counts.unknown += 1;
            client->state = CLUSTER_CLIENT_RETRY;
            break;
        case ENGINE_INVALID:
        case ENGINE_MEMORY_FULL:
        case ENGINE_DAMAGED:
        case ENGINE_BUSY:
            cluster_fail(
                cluster,
                "node %u: status %d without a reason",
                node->index,
                client->request.status);
        }
    }
}

/* Runs inside a poll, after which the answer is checked. */
static void
client_on_answer(struct engine_request *request)
{
    struct cluster_client *client = container_of(request, struct cluster_client, request);
    struct cluster *cluster = client->cluster;
    cluster_check(cluster, client->state == CLUSTER_CLIENT_LENT, "answered twice");
    client->state = CLUSTER_CLIENT_ANSWERED;
    if (request->status == ENGINE_NO_QUORUM || request->status == ENGINE_UNKNOWN) {
        check_given_up(client);
    }
    if (cluster->canary == CLUSTER_CANARY_REPLY && client->create &&
        prng_chance(&cluster->prng, 1, 10)) {
        client->reply[prng_below(&cluster->prng, RESULT_SIZE)] ^= 1;
    }
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void
client_submit(struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    struct cluster_node *node = client->node;
    struct engine_request *request = &client->request;
    client->state = CLUSTER_CLIENT_LENT;
    request->reply = client->reply;
    request->callback = client_on_answer;
    request->input = client->input;
    request->local = client->local;
    request->wait_ns = 0;
    if (prng_chance(&cluster->prng, cluster->options.waits, 100)) {
        request->wait_ns = prng_range(&cluster->prng, 1, cluster->options.wait_ns_max);
    }
    memset(client->reply, 0xaa, sizeof(client->reply));
    client->moments_count = 0;
    client->op_before = client->local ? node->read_op : cluster->history.answered;
    if (client->create) {
        client->asked = cluster_history_name(
            node->session, request->operation, request->input, request->input_size);
        cluster_history_asked(cluster, client->asked)->sent += 1;
    } else {
        client_moment(client);
    }
    cluster->counts.requests += 1;
    node->idle = false;
    engine_submit(node->engine, request);
}

static void
make_create(struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    uint8_t operation = 0;
    uint32_t count = 0;
    const struct prepare_header *newest =
        cluster_history_header(cluster, cluster->history.head);
    const uint64_t timestamp = newest == NULL ? 0 : newest->timestamp;
    workload_next_batch(
        &cluster->workload,
        &cluster->history.model,
        max_u64(timestamp + 1, client->node->clock.realtime_ns),
        &operation,
        client->input,
        &count);
    client->create = true;
    client->local = false;
    client->request = (struct engine_request){
        .operation = operation,
        .input_size = count * EVENT_SIZE,
        .reply_size_max = EVENTS_PER_BATCH_MAX * RESULT_SIZE,
    };
}

/* Returns false if it would be refused: what is malformed is the other simulator's subject. */
static bool
make_read(struct cluster_client *client)
{
    struct cluster *cluster = client->cluster;
    uint8_t operation = 0;
    const uint32_t size = workload_next_read(
        &cluster->workload, &cluster->history.model, &operation, client->input);
    if (!model_read_valid(operation, client->input, size)) return false;
    client->create = false;
    client->local =
        cluster->networked && prng_chance(&cluster->prng, cluster->options.local, 100);
    client->request = (struct engine_request){
        .operation = operation,
        .input_size = size,
        .reply_size_max = CLUSTER_REPLY_SIZE_MAX,
    };
    cluster->counts.reads += 1;
    return true;
}

void
cluster_clients_submit(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const struct cluster_options *options = &cluster->options;
    assert(node->engine != NULL);
    const bool eager = options->directed && cluster_directed_eager(node);
    const uint32_t clients = eager ? CLUSTER_CLIENTS_MAX : options->clients;
    for (uint32_t i = 0; i < clients; i++) {
        struct cluster_client *client = &node->clients[i];
        if (client->state == CLUSTER_CLIENT_LENT) continue;
        assert(client->state != CLUSTER_CLIENT_ANSWERED);
        /* In a storm all others may wait for ever where nobody leads; one goes on asking. */
        const uint64_t reads = options->storm && i == 0 ? 100 : options->reads;
        if (!eager && !prng_chance(&cluster->prng, options->submits, 1000)) continue;
        if (client->state == CLUSTER_CLIENT_RETRY) {
            cluster->counts.retries += 1;
        } else if (prng_chance(&cluster->prng, reads, 100)) {
            if (!make_read(client)) continue;
        } else {
            make_create(client);
        }
        client_submit(client);
    }
}

void
cluster_clients_forget(struct cluster_node *node)
{
    struct prng *prng = &node->cluster->prng;
    for (uint32_t i = 0; i < CLUSTER_CLIENTS_MAX; i++) {
        struct cluster_client *client = &node->clients[i];
        if (client->state == CLUSTER_CLIENT_IDLE) continue;
        const bool again = client->create && prng_chance(prng, 2, 3);
        client->state = again ? CLUSTER_CLIENT_RETRY : CLUSTER_CLIENT_IDLE;
    }
}

bool
cluster_clients_waiting(const struct cluster_node *node)
{
    for (uint32_t i = 0; i < CLUSTER_CLIENTS_MAX; i++) {
        if (node->clients[i].state == CLUSTER_CLIENT_LENT) return true;
    }
    return false;
}

/* ---- In the calm ----------------------------------------------------------------------------- */

static void
read_now_on_answer(struct engine_request *request)
{
    assert(request->callback == read_now_on_answer);
    request->callback = NULL;
}

uint32_t
cluster_read_now(
    struct cluster_node *node,
    uint8_t operation,
    const void *input,
    uint32_t input_size,
    void *reply)
{
    struct cluster *cluster = node->cluster;
    struct engine_request request = {
        .operation = operation,
        .input = input,
        .input_size = input_size,
        .reply = reply,
        .reply_size_max = CLUSTER_REPLY_SIZE_MAX,
        .local = true,
    };
    uint32_t steps = 0;
    do {
        /* A pulse may have come meanwhile; then the answer is compared with a later model. */
        request.callback = read_now_on_answer;
        request.instant = (struct ledger_instant){0};
        node->idle = false;
        engine_submit(node->engine, &request);
        for (; request.callback != NULL; steps++) {
            cluster_check(cluster, steps < READ_NOW_STEPS_MAX, "a read is not answered");
            cluster_step(cluster);
        }
        cluster_check(
            cluster, request.status == ENGINE_OK, "read %u: %d", operation, request.status);
    } while (request.instant.op != cluster->history.head);
    return request.reply_size;
}
