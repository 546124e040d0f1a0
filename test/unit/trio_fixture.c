/* SPDX-License-Identifier: PostgreSQL */
/* See trio_fixture.h. */
#include "unit/trio_fixture.h"

#include "base/arena.h"
#include "unit/unit.h"

#define MEMORY_EXTRA (UINT64_C(2) * MIB)

struct trio trio;

struct replica *
trio_replica(uint32_t number)
{
    assert(trio.nodes[number].engine != NULL);
    return &trio.nodes[number].engine->replica;
}

/* The slot of a node. Views begin with slot 1. */
uint8_t
trio_slot(uint32_t number)
{
    return (uint8_t) (number < 2 ? 1 - number : number);
}

/* ---- Witnesses ------------------------------------------------------------------------------- */

static void
on_wrote(void *context, const struct storage_request *write, bool done)
{
    struct trio_node *node = context;
    if (write->file == STORAGE_PREPARES) {
        const struct prepare_header *header = write->buffer;
        assert(header->op < TRIO_OPS_MAX);
        node->log[header->op] = *header;
    }
    if (!done || write->file != STORAGE_HEADERS) return;
    const struct prepare_header *headers = write->buffer;
    for (uint32_t i = 0; i < HEADERS_PER_SECTOR; i++) {
        node->op_durable = max_u64(node->op_durable, headers[i].op);
    }
}

/* (R9): whatever is acknowledged is on that disk, and is what the primary has there. */
static void
on_sent(void *context, uint32_t from, uint32_t to, struct message_header *header)
{
    (void) context;
    if (trio.tamper != NULL) trio.tamper(from, to, header);
    if (header->command == MESSAGE_SUSPECT && header->flags != 0) trio.resignations += 1;
    if (header->command != MESSAGE_PREPARE_OK) return;
    struct trio_node *node = &trio.nodes[from];
    if (header->view != 1) return;
    expect_equal(to, TRIO_PRIMARY);
    expect(header->op <= node->op_durable);
    node->acked = max_u64(node->acked, header->op);
    if (header->op == 0 || node->may_fail) return; /* It has nothing, or what was forged. */
    expect(replica_log_has(trio_replica(TRIO_PRIMARY), header->op, header->as.prepare_ok.checksum));
}

static uint64_t
realtime_ns(struct clock *clock)
{
    return container_of(clock, struct node_clock, clock)->realtime_ns;
}

static uint64_t
monotonic_ns(struct clock *clock)
{
    return container_of(clock, struct node_clock, clock)->monotonic_ns;
}

static const struct clock_ops clock_ops = {
    .realtime_ns = realtime_ns,
    .monotonic_ns = monotonic_ns,
};

/* ---- Life ------------------------------------------------------------------------------------ */

static struct engine_identity
identity_of(uint32_t number)
{
    return (struct engine_identity){
        .cluster = 0x51,
        .incarnation = 0x60 + number,
        .system_identifier = 0x70 + number,
        .replica = trio_slot(number),
        .replica_count = TRIO_NODES,
    };
}

enum engine_open_result
trio_open(uint32_t number)
{
    struct trio_node *node = &trio.nodes[number];
    struct engine_open_report report;
    assert(node->engine == NULL);
    network_sim_start(&trio.net, number);
    struct engine_options options = {
        .prepares_size_bytes = TRIO_RING_SIZE,
        .grid_size_bytes = node->disk.storage.file_size_bytes[STORAGE_GRID],
        .requests_max = TRIO_ASKED_MAX,
        .session = prng_range(&trio.prng, 1, UINT64_MAX),
        .network = network_sim_of(&trio.net, number),
        .failover_timeout_ns = trio.elected ? TRIO_PATIENT_NS : TRIO_HASTY_NS,
    };
    if (trio.fenced) options.fence_seed = prng_range(&trio.prng, 1, UINT64_MAX);
    if (node->memory == NULL) {
        node->memory_bytes =
            align_up(engine_memory_bytes_min(&options) + MEMORY_EXTRA, ARENA_ALIGNMENT);
        node->memory = aligned_alloc(ARENA_ALIGNMENT, node->memory_bytes);
        assert(node->memory != NULL);
    }
    memset(node->memory, 0, node->memory_bytes);
    options.memory_bytes = node->memory_bytes;
    struct engine *engine =
        engine_create(node->memory, &options, &node->disk.storage, &node->clock.clock);
    const struct engine_identity identity = identity_of(number);
    const enum engine_open_result result = engine_open(engine, &identity, &report);
    node->engine = engine;
    node->session = engine->replica.session;
    if (result != ENGINE_OPENED) return result;
    /* A write that a power cut interrupted may have reached the disk. */
    node->op_durable = max_u64(node->op_durable, engine->replica.journaled);
    return result;
}

void
trio_start(uint32_t number)
{
    const enum engine_open_result result = trio_open(number);
    assert(result == ENGINE_OPENED);
}

/* A power cut. */
void
trio_stop(uint32_t number)
{
    struct trio_node *node = &trio.nodes[number];
    network_sim_stop(&trio.net, number);
    storage_sim_crash_now(&node->disk);
    storage_sim_restart(&node->disk);
    node->engine = NULL;
    node->acked = 0;
}

static void
member_init(uint32_t number)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    struct trio_node *node = &trio.nodes[number];
    const struct storage_sim_options options = {
        .file_size_bytes =
            {
                [STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
                [STORAGE_PREPARES] = TRIO_RING_SIZE,
                [STORAGE_HEADERS] = headers_log_count(TRIO_RING_SIZE) * PREPARE_HEADER_SIZE,
            },
        .latency_min_ticks = 1,
        .latency_max_ticks = 2,
        .wrote = on_wrote,
        .wrote_context = node,
    };
    memset(scratch, 0, sizeof(scratch));
    prng_init(&node->prng, 100 + number);
    node->clock = (struct node_clock){
        .clock.ops = &clock_ops,
        .realtime_ns = NODE_START_NS,
        .monotonic_ns = NS_PER_S * (number + 1),
    };
    storage_sim_init(&node->disk, &options, &node->prng);
    const struct engine_identity identity = identity_of(number);
    const enum engine_open_result result =
        engine_format(&node->disk.storage, TRIO_RING_SIZE, &identity, &trio.members, scratch);
    assert(result == ENGINE_OPENED);
}

/* Formatted, and none of them works yet. */
void
trio_init(enum network_sim_model model, uint64_t seed)
{
    struct network_sim_options options = {
        .node_count = TRIO_NODES,
        .timeout_ns = 10 * NS_PER_S,
        .dial_ns = 20 * NS_PER_MS,
        .tamper = on_sent,
    };
    memset(trio.nodes, 0, sizeof(trio.nodes));
    memset(&trio.members, 0, sizeof(trio.members));
    prng_init(&trio.prng, seed);
    for (uint32_t from = 0; from < TRIO_NODES; from++) {
        trio.members.slots[trio_slot(from)] = (struct member){
            .incarnation = 0x60 + from,
            .role = MEMBER_VOTER,
            .name[0] = (char) ('a' + from),
        };
        for (uint32_t to = 0; to < TRIO_NODES; to++) {
            options.wires[from][to] = (struct network_sim_wire_options){
                .model = model,
                .latency_min_ns = 2 * NS_PER_MS,
                .latency_max_ns = 3 * NS_PER_MS,
            };
        }
    }
    network_sim_init(&trio.net, &options, &trio.prng);
    trio.elected = false;
    trio.asked_count = 0;
    trio.id_last = 0;
    trio.now_ms = 0;
    trio.resignations = 0;
    trio.tamper = NULL;
    for (uint32_t i = 0; i < TRIO_NODES; i++) member_init(i);
}

/* A millisecond. */
void
trio_step(void)
{
    trio.now_ms += 1;
    network_sim_advance(&trio.net, trio.now_ms * NS_PER_MS);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        struct trio_node *node = &trio.nodes[i];
        node->clock.realtime_ns += NS_PER_MS;
        node->clock.monotonic_ns += NS_PER_MS;
        if (node->engine == NULL) continue;
        if (!node->disk_stands) storage_sim_tick(&node->disk);
        for (uint32_t poll = 0; poll < 4 && engine_poll(node->engine); poll++) {}
        assert(node->may_fail || !engine_failed(node->engine));
        if (trio.now_ms % ENGINE_TICK_MS == 0) engine_tick(node->engine);
    }
}

void
trio_steps(uint32_t count)
{
    while (count-- > 0) trio_step();
}

bool
trio_connected(uint32_t from, uint32_t to)
{
    const struct replica_peer *there = &trio_replica(from)->peers[trio_slot(to)];
    const struct replica_peer *back = &trio_replica(to)->peers[trio_slot(from)];
    return there->up && back->up;
}

/* Lets those that work begin view 1, and stay in it. */
void
trio_elect(void)
{
    for (uint32_t ms = 0;; ms++) {
        uint32_t left = 0;
        assert(ms < TRIO_PATIENCE_MS);
        for (uint32_t i = 0; i < TRIO_NODES; i++) {
            if (trio.nodes[i].engine == NULL) continue;
            left += replica_view(trio_replica(i)) != 1 || trio_replica(i)->status != REPLICA_NORMAL;
            left += i != TRIO_PRIMARY && !trio_replica(TRIO_PRIMARY)->peers[trio_slot(i)].placed;
        }
        if (left == 0 && trio_replica(TRIO_PRIMARY)->serving) break;
        trio_step();
    }
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        if (trio.nodes[i].engine == NULL) continue;
        trio_replica(i)->failover_timeout_ns = TRIO_PATIENT_NS;
        trio_replica(i)->change->timeout_ns = TRIO_PATIENT_NS;
    }
    trio.elected = true;
}

void
trio_begin(enum network_sim_model model, uint64_t seed)
{
    trio_init(model, seed);
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio_start(i);
    for (uint32_t i = 0; !trio_connected(0, 1) || !trio_connected(0, 2); i++) {
        assert(i < TRIO_PATIENCE_MS);
        trio_step();
    }
    trio_elect();
}

void
trio_end(void)
{
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        storage_sim_free(&trio.nodes[i].disk);
        free(trio.nodes[i].memory);
    }
    network_sim_free(&trio.net);
}

void
trio_cut(uint32_t from, uint32_t to, bool cuts)
{
    network_sim_cut(&trio.net, from, to, cuts);
}

uint64_t
trio_commit(uint32_t number)
{
    return replica_committed(&trio.nodes[number].engine->replica);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void
on_answer(struct engine_request *request)
{
    container_of(request, struct trio_asked, request)->answers += 1;
}

struct trio_asked *
trio_ask(uint32_t number, uint8_t operation, const void *input, uint32_t size)
{
    assert(trio.asked_count < TRIO_ASKED_MAX);
    struct trio_asked *new = &trio.asked[trio.asked_count];
    trio.asked_count += 1;
    memset(new, 0, sizeof(*new));
    memcpy(new->input, input, size);
    new->request = (struct engine_request){
        .operation = operation,
        .input = new->input,
        .input_size = size,
        .reply = new->reply,
        .reply_size_max = sizeof(new->reply),
        .callback = on_answer,
    };
    engine_submit(trio.nodes[number].engine, &new->request);
    return new;
}

struct trio_asked *
trio_create(uint32_t number, uint32_t count)
{
    struct account accounts[EVENTS_PER_BATCH_MAX] = {0};
    assert(count <= EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        trio.id_last += 1;
        accounts[i] = (struct account){.id = trio.id_last, .ledger = 1, .code = 1};
    }
    return trio_ask(number, LEDGER_CREATE_ACCOUNTS, accounts, count * EVENT_SIZE);
}

struct trio_asked *
trio_look_up(uint32_t number, u128 id)
{
    return trio_ask(number, LEDGER_LOOKUP_ACCOUNTS, &id, sizeof(id));
}

bool
trio_created(const struct trio_asked *request)
{
    const struct create_result *results = (const void *) request->reply;
    if (request->answers != 1 || request->request.status != ENGINE_OK) return false;
    for (uint32_t i = 0; i < request->request.input_size / EVENT_SIZE; i++) {
        if (results[i].status != STATUS_CREATED) return false;
    }
    return true;
}

bool
trio_found(const struct trio_asked *read)
{
    return read->answers == 1 && read->request.status == ENGINE_OK &&
           read->request.reply_size == sizeof(struct account);
}

/* False: after so many milliseconds it isn't answered. */
bool
trio_answered_within(const struct trio_asked *request, uint32_t ms)
{
    for (uint32_t i = 0; i < ms && request->answers == 0; i++) trio_step();
    return request->answers == 1;
}

/* ---- At rest --------------------------------------------------------------------------------- */

static bool
at_rest(void)
{
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        if (trio.nodes[i].engine == NULL) continue;
        if (trio_commit(i) != replica_op(trio_replica(TRIO_PRIMARY))) return false;
        if (engine_busy(trio.nodes[i].engine)) return false;
    }
    return network_sim_settled(&trio.net);
}

/* Every buffer is free, but those that hold the newest prepares. */
static void
expect_buffers(uint32_t number)
{
    const struct replica *replica = trio_replica(number);
    const struct message_pool *pool = &replica->pool;
    uint32_t held[MESSAGE_CLASS_COUNT] = {0};
    message_pool_invariants(pool);
    for (uint32_t i = 0; i < PIPELINE_PREPARES_MAX; i++) {
        const struct message *message = replica->pipeline[i];
        if (message == NULL) continue;
        expect_equal(message->references, 1);
        held[message->class] += 1;
    }
    for (uint32_t class = 0; class < MESSAGE_CLASS_COUNT; class++) {
        expect_equal(
            message_pool_free_count(pool, (enum message_class) class) + held[class],
            pool->count_max[class]);
    }
}

/* Everything comes to rest: all have the same log and state, and nothing was executed twice. */
void
trio_expect_rest(uint32_t accounts)
{
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !at_rest(); i++) trio_step();
    expect(at_rest());
    uint64_t events = 0;
    for (uint64_t op = 1; op <= trio_commit(TRIO_PRIMARY); op++) {
        const struct prepare_header *header = &trio.nodes[TRIO_PRIMARY].log[op];
        if (header->operation == PREPARE_BATCHES) events += header->event_count;
    }
    expect_equal(events, accounts);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        struct engine_state state;
        if (trio.nodes[i].engine == NULL) continue;
        engine_state_get(trio.nodes[i].engine, &state);
        expect_equal(state.accounts, accounts);
        const u128 newest = trio_replica(TRIO_PRIMARY)->commit_header.checksum;
        expect(trio_replica(i)->commit_header.checksum == newest);
        expect_buffers(i);
    }
}

void
trio_create_many(uint32_t number, uint32_t count, uint32_t events)
{
    for (uint32_t i = 0; i < count; i++) {
        expect(trio_answered_within(trio_create(number, events), TRIO_PATIENCE_MS));
    }
}

/* Shorter timeouts, so that those who are left begin another view. */
void
trio_hurry(uint32_t number)
{
    trio_replica(number)->failover_timeout_ns = TRIO_HASTY_NS;
    trio_replica(number)->change->timeout_ns = TRIO_HASTY_NS;
}

void
trio_isolate(uint32_t number, bool cuts)
{
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        if (i == number) continue;
        trio_cut(i, number, cuts);
        trio_cut(number, i, cuts);
    }
}
