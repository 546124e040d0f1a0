/* SPDX-License-Identifier: PostgreSQL */
#include "unit/engine_fixture.h"

#include <stdlib.h>
#include <string.h>

/* ---- Clock and witness ----------------------------------------------------------------------- */

static uint64_t
node_realtime_ns(struct clock *clock)
{
    return container_of(clock, struct node_clock, clock)->realtime_ns;
}

static uint64_t
node_monotonic_ns(struct clock *clock)
{
    return container_of(clock, struct node_clock, clock)->monotonic_ns;
}

static const struct clock_ops node_clock_ops = {
    .realtime_ns = node_realtime_ns,
    .monotonic_ns = node_monotonic_ns,
};

uint32_t
node_copies_with_view(struct node *node, uint32_t view)
{
    uint32_t count = 0;
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state state;
        const uint8_t *bytes = storage_sim_bytes(&node->sim, STORAGE_SUPERBLOCK);
        memcpy(&state, bytes + copy * SUPERBLOCK_COPY_STRIDE, sizeof(state));
        count += state.view == view;
    }
    return count;
}

static void
node_witness_checkpoint(struct node *node, const struct superblock_state *state)
{
    const uint64_t op = state->checkpoint.header.op;
    const uint32_t count = node->checkpoint_count;
    if (op == (count == 0 ? 0 : node->checkpoints[count - 1])) return;
    assert(count < NODE_CHECKPOINTS_MAX);
    node->checkpoints[count] = op;
    node->checkpoint_count += 1;
}

static void
node_wrote(void *context, const struct storage_request *write, bool done)
{
    struct node *node = context;
    if (write->file == STORAGE_PREPARES) {
        const struct prepare_header *header = write->buffer;
        assert(header->op < NODE_OPS_MAX);
        node->log[header->op] = *header;
        node->prepares_without_view += node_copies_with_view(node, header->view) < 3;
    }
    if (!done) return;
    if (write->file == STORAGE_SUPERBLOCK) node_witness_checkpoint(node, write->buffer);
    if (write->file == STORAGE_HEADERS) {
        const struct prepare_header *headers = write->buffer;
        for (uint32_t i = 0; i < HEADERS_PER_SECTOR; i++) {
            node->op_durable = max_u64(node->op_durable, headers[i].op);
        }
    }
}

uint64_t
node_op_of(const struct node *node, uint64_t timestamp)
{
    for (uint64_t op = 1; op < NODE_OPS_MAX; op++) {
        const struct prepare_header *header = &node->log[op];
        if (timestamp > header->timestamp) continue;
        if (timestamp > header->timestamp - header->event_count) return op;
    }
    return 0;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void
node_init(struct node *node, uint64_t ring_size, uint64_t memory_extra, uint64_t seed)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    memset(node, 0, sizeof(*node));
    memset(scratch, 0, sizeof(scratch));
    prng_init(&node->prng, seed);
    node->clock = (struct node_clock){
        .clock.ops = &node_clock_ops,
        .realtime_ns = NODE_START_NS,
    };
    const struct storage_sim_options sim_options = {
        .file_size_bytes =
            {
                [STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
                [STORAGE_PREPARES] = ring_size,
                [STORAGE_HEADERS] = headers_log_count(ring_size) * PREPARE_HEADER_SIZE,
            },
        .wrote = node_wrote,
        .wrote_context = node,
    };
    storage_sim_init(&node->sim, &sim_options, &node->prng);
    node->options = (struct engine_options){
        .prepares_size_bytes = ring_size,
        .requests_max = NODE_REQUESTS_MAX,
    };
    node->options.memory_bytes = engine_memory_bytes_min(&node->options) + memory_extra;
    node->requests = aligned_alloc(16, NODE_REQUESTS_MAX * sizeof(struct node_request));
    assert(node->requests != NULL);
    const enum engine_open_result result =
        engine_format(&node->sim.storage, ring_size, &node_identity, NULL, scratch);
    assert(result == ENGINE_OPENED);
}

enum engine_open_result
node_open(struct node *node)
{
    assert(node->engine == NULL);
    free(node->memory);
    node->options.session += 1;
    node->options.grid_size_bytes = node->sim.storage.file_size_bytes[STORAGE_GRID];
    const uint64_t memory_bytes = align_up(node->options.memory_bytes, ARENA_ALIGNMENT);
    node->memory = aligned_alloc(ARENA_ALIGNMENT, memory_bytes);
    assert(node->memory != NULL);
    memset(node->memory, 0, memory_bytes);
    node->request_count = 0;
    node->answered = 0;
    struct engine *engine =
        engine_create(node->memory, &node->options, &node->sim.storage, &node->clock.clock);
    const enum engine_open_result result = engine_open(engine, &node_identity, &node->report);
    if (result == ENGINE_OPENED) node->engine = engine;
    return result;
}

void
node_crash(struct node *node)
{
    if (!node->sim.crashed) storage_sim_crash_now(&node->sim);
    storage_sim_restart(&node->sim);
    node->engine = NULL;
    node->op_durable = 0;
}

void
node_free(struct node *node)
{
    storage_sim_free(&node->sim);
    free(node->memory);
    free(node->requests);
}

void
node_latency(struct node *node, uint32_t min_ticks, uint32_t max_ticks)
{
    node->sim.options.latency_min_ticks = min_ticks;
    node->sim.options.latency_max_ticks = max_ticks;
}

struct engine_state
node_state(const struct node *node)
{
    struct engine_state state;
    engine_state_get(node->engine, &state);
    return state;
}

void
node_step(struct node *node)
{
    (void) engine_poll(node->engine);
    storage_sim_tick(&node->sim);
    node->clock.realtime_ns += NODE_STEP_NS;
    node->clock.monotonic_ns += NODE_STEP_NS;
}

void
node_settle(struct node *node)
{
    for (uint32_t i = 0; engine_busy(node->engine); i++) {
        assert(i < NODE_STEPS_MAX);
        node_step(node);
    }
}

/* ---- Requests -------------------------------------------------------------------------------- */

uint32_t
node_lent(const struct node *node)
{
    return node->request_count - node->answered;
}

struct create_result
node_result(const struct node_request *request, uint32_t index)
{
    struct create_result result;
    assert(request->answers == 1 && index < request->event_count);
    memcpy(&result, request->reply + index * sizeof(result), sizeof(result));
    return result;
}

static void
node_on_answer(struct engine_request *engine_request)
{
    struct node_request *request = container_of(engine_request, struct node_request, request);
    struct node *node = request->node;
    request->answers += 1;
    request->rank = node->answered;
    request->commit = node_state(node).commit;
    request->op_durable = node->op_durable;
    if (request->event_count > 0) {
        request->status = node_result(request, request->event_count - 1).status;
    }
    node->answered += 1;
}

struct node_request *
node_submit(struct node *node, uint8_t operation, const void *input, uint32_t size)
{
    assert(node->request_count < NODE_REQUESTS_MAX);
    struct node_request *request = &node->requests[node->request_count];
    node->request_count += 1;
    memset(request, 0, sizeof(*request));
    assert(size <= sizeof(request->input));
    memcpy(request->input, input, size);
    request->node = node;
    request->event_count = size / EVENT_SIZE;
    request->request = (struct engine_request){
        .operation = operation,
        .input = request->input,
        .input_size = size,
        .reply = request->reply,
        .reply_size_max = sizeof(request->reply),
        .callback = node_on_answer,
    };
    engine_submit(node->engine, &request->request);
    return request;
}

struct node_request *
node_create_accounts(struct node *node, uint32_t count)
{
    struct account accounts[EVENTS_PER_BATCH_MAX] = {0};
    assert(count <= EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        node->id += 1;
        accounts[i] = (struct account){.id = node->id, .ledger = 1, .code = 1};
    }
    return node_submit(node, LEDGER_CREATE_ACCOUNTS, accounts, count * EVENT_SIZE);
}

struct node_request *
node_create_transfers(struct node *node, uint32_t count, uint32_t timeout)
{
    struct transfer transfers[EVENTS_PER_BATCH_MAX] = {0};
    assert(count <= EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        node->id += 1;
        transfers[i] = (struct transfer){
            .id = node->id,
            .debit_account_id = 1,
            .credit_account_id = 2,
            .amount = 1,
            .ledger = 1,
            .code = 1,
            .flags = timeout > 0 ? TRANSFER_PENDING : 0,
            .timeout = timeout,
        };
    }
    return node_submit(node, LEDGER_CREATE_TRANSFERS, transfers, count * EVENT_SIZE);
}

/* Without time passing. */
static void
node_poll_until_answered(struct node *node, const struct node_request *request)
{
    for (uint32_t i = 0; request->answers == 0; i++) {
        assert(i < NODE_STEPS_MAX);
        if (!engine_poll(node->engine)) storage_sim_tick(&node->sim);
    }
}

bool
node_account(struct node *node, u128 id, struct account *account)
{
    const struct node_request *read = node_submit(node, LEDGER_LOOKUP_ACCOUNTS, &id, sizeof(id));
    node_poll_until_answered(node, read);
    assert(read->answers == 1 && read->request.status == ENGINE_OK);
    memcpy(account, read->reply, sizeof(*account));
    return read->request.reply_size == sizeof(*account);
}

uint64_t
node_op(const struct node_request *request)
{
    assert(request->request.status == ENGINE_OK);
    return node_op_of(request->node, node_result(request, request->event_count - 1).timestamp);
}

void
node_reopen(struct node *node)
{
    node_crash(node);
    const enum engine_open_result result = node_open(node);
    assert(result == ENGINE_OPENED);
}

void
node_begin(struct node *node, uint64_t memory_extra, uint64_t seed, uint32_t account_count)
{
    node_init(node, NODE_RING_SIZE, memory_extra, seed);
    const enum engine_open_result result = node_open(node);
    assert(result == ENGINE_OPENED);
    node_latency(node, 0, 2);
    (void) node_create_accounts(node, account_count);
    node_settle(node);
}
