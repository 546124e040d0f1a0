/* SPDX-License-Identifier: PostgreSQL */
/*
 * Three members on a simulated network, through the engine's façade: invariants (R9), (R10) and
 * (R11) of vsr/replica.h, and (R8) between members. Node 0 has slot 1, and is the
 * primary of view 1, which is the first to begin; then nobody is in a hurry to begin another.
 *
 * What is durable, the disks say; what was said, the network. Losses are made by cutting a wire:
 * where messages are chaos, what is sent meanwhile is lost and the connection stays.
 */
#include "unit/unit.h"

#include "base/arena.h"
#include "engine/internal.h"
#include "sim/network_sim.h"
#include "sim/storage_sim.h"
#include "unit/engine_fixture.h"
#include "vsr/replica_internal.h"

#define NODES         3
#define PRIMARY       0
#define HASTY_NS      (UINT64_C(400) * NS_PER_MS)
#define PATIENT_NS    (UINT64_C(3600) * NS_PER_S)
#define RING_SIZE     (UINT64_C(64) * SECTOR_SIZE)
#define ASKED_MAX     512
#define PATIENCE_MS   4000
#define OPS_MAX       1024
#define MEMORY_EXTRA  (UINT64_C(2) * MIB)

struct member_node;

struct asked {
    struct engine_request request;
    uint32_t answers;
    uint8_t input[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[RESULTS_MAX * sizeof(struct transfer_row)] __attribute__((aligned(16)));
};

struct member_node {
    struct prng prng;
    struct storage_sim disk;
    struct node_clock clock;
    struct engine *engine; /* NULL: it is down. */
    void *memory;
    uint64_t memory_bytes;
    uint64_t session;
    bool disk_stands; /* Nothing gets further on its disk. */
    uint64_t op_durable;                /* The newest op that its disk has in both logs. */
    struct prepare_header log[OPS_MAX]; /* What its disk was given, by op. */
    uint64_t acked;                     /* The newest op that it has acknowledged. */
};

static struct prng prng;
static struct network_sim net;
static struct members members;
static struct member_node nodes[NODES];
static struct asked asked[ASKED_MAX];
static uint32_t asked_count;
static uint64_t id_last;
static bool elected;
static uint64_t now_ms;

static struct replica *
replica_of(uint32_t number)
{
    assert(nodes[number].engine != NULL);
    return &nodes[number].engine->replica;
}

/* The slot of a node. Views begin with slot 1. */
static uint8_t
slot_of(uint32_t number)
{
    return (uint8_t) (number < 2 ? 1 - number : number);
}

/* ---- Witnesses ------------------------------------------------------------------------------- */

static void
on_wrote(void *context, const struct storage_request *write, bool done)
{
    struct member_node *node = context;
    if (write->file == STORAGE_PREPARES) {
        const struct prepare_header *header = write->buffer;
        assert(header->op < OPS_MAX);
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
    if (header->command != MESSAGE_PREPARE_OK) return;
    struct member_node *node = &nodes[from];
    if (header->view != 1) return;
    expect_equal(to, PRIMARY);
    expect(header->op <= node->op_durable);
    node->acked = max_u64(node->acked, header->op);
    if (header->op == 0) return; /* It has nothing. */
    expect(replica_log_has(replica_of(PRIMARY), header->op, header->as.prepare_ok.checksum));
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
        .replica = slot_of(number),
        .replica_count = NODES,
    };
}

static void
member_start(uint32_t number)
{
    struct member_node *node = &nodes[number];
    struct engine_open_report report;
    assert(node->engine == NULL);
    node->session = prng_range(&prng, 1, UINT64_MAX);
    network_sim_start(&net, number);
    struct engine_options options = {
        .prepares_size_bytes = RING_SIZE,
        .grid_size_bytes = node->disk.storage.file_size_bytes[STORAGE_GRID],
        .requests_max = ASKED_MAX,
        .session = node->session,
        .network = network_sim_of(&net, number),
        .failover_timeout_ns = elected ? PATIENT_NS : HASTY_NS,
    };
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
    assert(result == ENGINE_OPENED);
    node->engine = engine;
}

/* A power cut. */
static void
member_stop(uint32_t number)
{
    struct member_node *node = &nodes[number];
    network_sim_stop(&net, number);
    storage_sim_crash_now(&node->disk);
    storage_sim_restart(&node->disk);
    node->engine = NULL;
    node->acked = 0;
}

static void
member_init(uint32_t number)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    struct member_node *node = &nodes[number];
    const struct storage_sim_options options = {
        .file_size_bytes =
            {
                [STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
                [STORAGE_PREPARES] = RING_SIZE,
                [STORAGE_HEADERS] = headers_log_count(RING_SIZE) * PREPARE_HEADER_SIZE,
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
        engine_format(&node->disk.storage, RING_SIZE, &identity, &members, scratch);
    assert(result == ENGINE_OPENED);
}

/* Formatted, and none of them works yet. */
static void
cluster_init(enum network_sim_model model, uint64_t seed)
{
    struct network_sim_options options = {
        .node_count = NODES,
        .timeout_ns = 10 * NS_PER_S,
        .dial_ns = 20 * NS_PER_MS,
        .tamper = on_sent,
    };
    memset(nodes, 0, sizeof(nodes));
    memset(&members, 0, sizeof(members));
    prng_init(&prng, seed);
    for (uint32_t from = 0; from < NODES; from++) {
        members.slots[slot_of(from)] = (struct member){
            .incarnation = 0x60 + from,
            .role = MEMBER_VOTER,
            .name[0] = (char) ('a' + from),
        };
        for (uint32_t to = 0; to < NODES; to++) {
            options.wires[from][to] = (struct network_sim_wire_options){
                .model = model,
                .latency_min_ns = 2 * NS_PER_MS,
                .latency_max_ns = 3 * NS_PER_MS,
            };
        }
    }
    network_sim_init(&net, &options, &prng);
    elected = false;
    asked_count = 0;
    id_last = 0;
    now_ms = 0;
    for (uint32_t i = 0; i < NODES; i++) member_init(i);
}

/* A millisecond. */
static void
step(void)
{
    now_ms += 1;
    network_sim_advance(&net, now_ms * NS_PER_MS);
    for (uint32_t i = 0; i < NODES; i++) {
        struct member_node *node = &nodes[i];
        node->clock.realtime_ns += NS_PER_MS;
        node->clock.monotonic_ns += NS_PER_MS;
        if (node->engine == NULL) continue;
        if (!node->disk_stands) storage_sim_tick(&node->disk);
        for (uint32_t poll = 0; poll < 4 && engine_poll(node->engine); poll++) {}
        assert(!engine_failed(node->engine));
        if (now_ms % ENGINE_TICK_MS == 0) engine_tick(node->engine);
    }
}

static void
steps(uint32_t count)
{
    while (count-- > 0) step();
}

static bool
connected(uint32_t from, uint32_t to)
{
    return replica_of(from)->peers[slot_of(to)].up && replica_of(to)->peers[slot_of(from)].up;
}

/* Lets those that work begin view 1, and stay in it. */
static void
elect(void)
{
    for (uint32_t ms = 0;; ms++) {
        uint32_t left = 0;
        assert(ms < PATIENCE_MS);
        for (uint32_t i = 0; i < NODES; i++) {
            if (nodes[i].engine == NULL) continue;
            left += replica_view(replica_of(i)) != 1 || replica_of(i)->status != REPLICA_NORMAL;
            left += i != PRIMARY && !replica_of(PRIMARY)->peers[slot_of(i)].placed;
        }
        if (left == 0 && replica_of(PRIMARY)->serving) break;
        step();
    }
    for (uint32_t i = 0; i < NODES; i++) {
        if (nodes[i].engine == NULL) continue;
        replica_of(i)->failover_timeout_ns = PATIENT_NS;
        replica_of(i)->change->timeout_ns = PATIENT_NS;
    }
    elected = true;
}

static void
cluster_begin(enum network_sim_model model, uint64_t seed)
{
    cluster_init(model, seed);
    for (uint32_t i = 0; i < NODES; i++) member_start(i);
    for (uint32_t i = 0; !connected(0, 1) || !connected(0, 2); i++) {
        assert(i < PATIENCE_MS);
        step();
    }
    elect();
}

static void
cluster_end(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        storage_sim_free(&nodes[i].disk);
        free(nodes[i].memory);
    }
    network_sim_free(&net);
}

static void
cut(uint32_t from, uint32_t to, bool cuts)
{
    network_sim_cut(&net, from, to, cuts);
}

static uint64_t
commit_of(uint32_t number)
{
    return replica_committed(&nodes[number].engine->replica);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void
on_answer(struct engine_request *request)
{
    container_of(request, struct asked, request)->answers += 1;
}

static struct asked *
ask(uint32_t number, uint8_t operation, const void *input, uint32_t size)
{
    assert(asked_count < ASKED_MAX);
    struct asked *new = &asked[asked_count];
    asked_count += 1;
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
    engine_submit(nodes[number].engine, &new->request);
    return new;
}

static struct asked *
create(uint32_t number, uint32_t count)
{
    struct account accounts[EVENTS_PER_BATCH_MAX] = {0};
    assert(count <= EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        id_last += 1;
        accounts[i] = (struct account){.id = id_last, .ledger = 1, .code = 1};
    }
    return ask(number, LEDGER_CREATE_ACCOUNTS, accounts, count * EVENT_SIZE);
}

static struct asked *
look_up(uint32_t number, u128 id)
{
    return ask(number, LEDGER_LOOKUP_ACCOUNTS, &id, sizeof(id));
}

static bool
created(const struct asked *request)
{
    const struct create_result *results = (const void *) request->reply;
    if (request->answers != 1 || request->request.status != ENGINE_OK) return false;
    for (uint32_t i = 0; i < request->request.input_size / EVENT_SIZE; i++) {
        if (results[i].status != STATUS_CREATED) return false;
    }
    return true;
}

static bool
found(const struct asked *read)
{
    return read->answers == 1 && read->request.status == ENGINE_OK &&
           read->request.reply_size == sizeof(struct account);
}

/* False: after so many milliseconds it isn't answered. */
static bool
answered_within(const struct asked *request, uint32_t ms)
{
    for (uint32_t i = 0; i < ms && request->answers == 0; i++) step();
    return request->answers == 1;
}

/* ---- At rest --------------------------------------------------------------------------------- */

static bool
at_rest(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (nodes[i].engine == NULL) continue;
        if (commit_of(i) != replica_op(replica_of(PRIMARY))) return false;
        if (engine_busy(nodes[i].engine)) return false;
    }
    return network_sim_settled(&net);
}

/* Every buffer is free, but those that hold the newest prepares. */
static void
expect_buffers(uint32_t number)
{
    const struct replica *replica = replica_of(number);
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
static void
expect_rest(uint32_t accounts)
{
    for (uint32_t i = 0; i < PATIENCE_MS && !at_rest(); i++) step();
    expect(at_rest());
    uint64_t events = 0;
    for (uint64_t op = 1; op <= commit_of(PRIMARY); op++) {
        const struct prepare_header *header = &nodes[PRIMARY].log[op];
        if (header->operation == PREPARE_BATCHES) events += header->event_count;
    }
    expect_equal(events, accounts);
    for (uint32_t i = 0; i < NODES; i++) {
        struct engine_state state;
        if (nodes[i].engine == NULL) continue;
        engine_state_get(nodes[i].engine, &state);
        expect_equal(state.accounts, accounts);
        const u128 newest = replica_of(PRIMARY)->commit_header.checksum;
        expect(replica_of(i)->commit_header.checksum == newest);
        expect_buffers(i);
    }
}

/* ---- (R8) Requests at backups ---------------------------------------------------------------- */

/* Each message comes twice, and some late: each request is executed once. */
UNIT_TEST(r8_requests_whose_messages_are_doubled_execute_once)
{
    cluster_begin(NETWORK_SIM_CHAOS, 1);
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++) {
            net.options.wires[from][to].duplicate_per_million = 1000000;
            net.options.wires[from][to].latency_max_ns = 30 * NS_PER_MS;
        }
    }
    for (uint32_t i = 0; i < 60; i++) {
        (void) create(i % NODES, 1);
        steps(i % 7);
    }
    for (uint32_t i = 0; i < 60; i++) {
        expect(answered_within(&asked[i], PATIENCE_MS));
        expect(created(&asked[i]));
    }
    expect(net.counters.duplicated > 100 && net.counters.overtaken > 10);
    expect_rest(60);
    cluster_end();
}

/* The connection ends, once before the request gets out and once before its prepare comes back. */
UNIT_TEST(r8_request_whose_connection_breaks_executes_once)
{
    for (uint32_t when = 0; when < 12; when++) {
        cluster_begin(NETWORK_SIM_STREAMS, 10 + when);
        net.options.timeout_ns = 50 * NS_PER_MS;
        const struct asked *request = create(1, 2);
        steps(when);
        cut(1, 0, true);
        cut(0, 1, true);
        steps(200);
        expect(!connected(0, 1));
        cut(1, 0, false);
        cut(0, 1, false);
        expect(answered_within(request, PATIENCE_MS));
        expect(created(request));
        expect_rest(2);
        cluster_end();
    }
}

/* The first message is lost, the second is taken: the first request never executes as it was. */
UNIT_TEST(r8_overtaken_request_gets_a_new_number)
{
    cluster_begin(NETWORK_SIM_CHAOS, 2);
    cut(1, 0, true);
    struct asked *first = create(1, 1);
    steps(10);
    cut(1, 0, false);
    struct asked *second = create(1, 1);
    expect(answered_within(second, 200));
    expect_equal(second->request.create.number, 2);
    expect(answered_within(first, 200)); /* Sooner than everything is sent again. */
    expect_equal(first->request.create.number, 3);
    expect(created(first) && created(second));
    expect_rest(2);
    cluster_end();
}

/* The primary's disk takes no growth from the beginning, so nothing has room. */
static void
begin_without_room(enum network_sim_model model, uint64_t seed)
{
    cluster_begin(model, seed);
    struct storage_sim *disk = &nodes[PRIMARY].disk;
    uint64_t size = 0;
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        size += disk->storage.file_size_bytes[file];
    }
    disk->options.space_limit_bytes = size;
}

UNIT_TEST(r8_request_without_room_at_the_primary_is_refused_and_never_executes)
{
    begin_without_room(NETWORK_SIM_STREAMS, 3);
    const struct asked *refused = create(1, 3);
    expect(answered_within(refused, PATIENCE_MS));
    expect_equal(refused->request.status, ENGINE_DISK_FULL);
    expect_equal(commit_of(PRIMARY), 0);

    nodes[PRIMARY].disk.options.space_limit_bytes = 0;
    const struct asked *next = create(1, 2);
    expect(answered_within(next, PATIENCE_MS));
    expect(created(next));
    expect_equal(next->request.create.number, 2);
    expect_rest(2);
    cluster_end();
}

/* The refusal gets lost, and nothing else is asked that could overtake the request. */
UNIT_TEST(r8_refusal_that_is_lost_is_said_again)
{
    begin_without_room(NETWORK_SIM_CHAOS, 4);
    const struct asked *refused = create(1, 1);
    cut(0, 1, true);
    steps(500);
    expect_equal(replica_of(PRIMARY)->accepted.slots[slot_of(1)].number, 1);
    cut(0, 1, false);
    expect(answered_within(refused, PATIENCE_MS));
    expect_equal(refused->request.status, ENGINE_DISK_FULL);
    nodes[PRIMARY].disk.options.space_limit_bytes = 0;
    expect_rest(0);
    cluster_end();
}

/*
 * Of three requests the second is refused while the first, which is committed, waits for this
 * node's disk. What is sent again has a gap between its numbers.
 */
UNIT_TEST(r8_requests_around_a_refused_one_are_sent_again)
{
    cluster_begin(NETWORK_SIM_CHAOS, 5);
    expect(answered_within(create(1, 1), PATIENCE_MS));
    nodes[1].disk_stands = true;
    const struct asked *first = create(1, 1);
    steps(50);
    expect_equal(commit_of(PRIMARY), 2);
    struct message_header refusal = {
        .view = 1,
        .command = MESSAGE_REFUSE,
        .sender = slot_of(PRIMARY),
        .as.numbers =
            {
                .session = nodes[1].session,
                .number = 3,
                .count = 1,
                .reason = MESSAGE_REFUSE_DISK,
            },
    };
    cut(1, 0, true);
    const struct asked *second = create(1, 1);
    steps(20);
    replica_on_refuse(replica_of(1), &refusal);
    expect_equal(second->answers, 1);
    expect_equal(second->request.status, ENGINE_DISK_FULL);
    expect_equal(first->answers, 0);

    const struct asked *third = create(1, 1);
    steps(20);
    cut(1, 0, false);
    steps(1000);
    nodes[1].disk_stands = false;
    expect(answered_within(third, PATIENCE_MS));
    expect(created(first) && created(third));
    expect_rest(3);
    cluster_end();
}

/* ---- (R9) ------------------------------------------------------------------------------------ */

/* on_sent compares what is acknowledged with the disk. While one stands, nothing more is. */
UNIT_TEST(r9_acknowledgement_is_sent_only_when_durable)
{
    cluster_begin(NETWORK_SIM_STREAMS, 6);
    for (uint32_t i = 0; i < NODES; i++) nodes[i].disk.options.latency_max_ticks = 15;
    for (uint32_t i = 0; i < 40; i++) {
        (void) create(i % NODES, 1 + i % 5);
        steps(i % 20);
    }
    expect_rest(120);
    expect_equal(nodes[1].acked, commit_of(PRIMARY));
    expect_equal(nodes[2].acked, commit_of(PRIMARY));

    const uint64_t acked = nodes[1].acked;
    nodes[1].disk_stands = true;
    nodes[2].disk_stands = true;
    const struct asked *request = create(PRIMARY, 1);
    expect(!answered_within(request, 500));
    expect_equal(replica_of(1)->op, acked + 1);
    expect_equal(nodes[1].acked, acked);
    expect_equal(nodes[2].acked, acked);
    nodes[2].disk_stands = false;
    expect(answered_within(request, PATIENCE_MS));
    expect_equal(nodes[1].acked, acked);
    nodes[1].disk_stands = false;
    expect_rest(121);
    cluster_end();
}

/* ---- (R10) ----------------------------------------------------------------------------------- */

/* Backups have it on disk, and nobody knows yet that they do. */
UNIT_TEST(r10_what_is_not_committed_is_not_executed)
{
    cluster_begin(NETWORK_SIM_STREAMS, 7);
    cut(1, 0, true);
    cut(2, 0, true);
    const struct asked *request = create(PRIMARY, 1);
    steps(500);
    for (uint32_t i = 0; i < NODES; i++) {
        expect_equal(nodes[i].op_durable, 1);
        expect_equal(commit_of(i), 0);
    }
    expect_equal(request->answers, 0);
    cut(1, 0, false);
    expect(answered_within(request, PATIENCE_MS));
    cut(2, 0, false);
    expect_rest(1);
    cluster_end();
}

/*
 * A backup restarts with ops that it never acknowledged. It doesn't take them for the view's before
 * the primary has named them; and it asks, if what the primary has sent again gets lost.
 */
UNIT_TEST(r10_what_a_restart_finds_is_executed_when_it_is_known_to_be_of_the_view)
{
    cluster_begin(NETWORK_SIM_CHAOS, 8);
    expect(answered_within(create(PRIMARY, 1), PATIENCE_MS));
    expect_rest(1);
    member_stop(2);
    cut(1, 0, true);
    const struct asked *first = create(PRIMARY, 1);
    steps(50);
    const struct asked *second = create(PRIMARY, 1);
    steps(50);
    expect_equal(nodes[1].op_durable, 3);
    member_stop(1);
    cut(1, 0, false);
    member_start(1);
    const struct replica *backup = replica_of(1);
    expect_equal(backup->journaled, 3);
    expect_equal(backup->linked, 1);
    for (uint32_t i = 0; !connected(0, 1); i++) {
        assert(i < PATIENCE_MS);
        expect_equal(commit_of(1), 1);
        step();
    }
    cut(0, 1, true);
    steps(100);
    expect_equal(backup->linked, 1);
    expect_equal(commit_of(1), 1);
    cut(0, 1, false);
    expect(answered_within(second, PATIENCE_MS));
    expect(created(first) && created(second));
    member_start(2);
    expect_rest(3);
    cluster_end();
}

/* ---- (R11) ----------------------------------------------------------------------------------- */

/* What was answered at one node is seen at each, also at one that hears of everything late. */
UNIT_TEST(r11_read_sees_what_was_answered_anywhere_before)
{
    cluster_begin(NETWORK_SIM_STREAMS, 9);
    network_sim_slow(&net, 0, 2, 60);
    for (uint32_t i = 0; i < 12; i++) {
        const uint32_t writer = i % 2; /* The slow one would answer when it has caught up. */
        expect(answered_within(create(writer, 1), PATIENCE_MS));
        const u128 id = id_last;
        const struct asked *late = look_up(2, id);
        expect(commit_of(2) < commit_of(writer));
        const struct asked *others[] = {look_up(0, id), look_up(1, id)};
        for (uint32_t j = 0; j < ARRAY_COUNT(others); j++) {
            expect(answered_within(others[j], PATIENCE_MS));
            expect(found(others[j]));
        }
        expect(answered_within(late, PATIENCE_MS));
        expect(found(late));
    }
    network_sim_slow(&net, 0, 2, 1);
    expect_rest(12);
    cluster_end();
}

/* Cut off from all others, it can't know what they do. Who wants no more than its own gets that. */
UNIT_TEST(r11_primary_that_is_cut_off_answers_no_read)
{
    cluster_begin(NETWORK_SIM_STREAMS, 10);
    expect(answered_within(create(1, 1), PATIENCE_MS));
    const u128 id = id_last;
    expect_rest(1);
    for (uint32_t i = 1; i < NODES; i++) {
        cut(0, i, true);
        cut(i, 0, true);
    }
    const struct asked *read = look_up(PRIMARY, id);
    const struct asked *at_backup = look_up(1, id);
    steps(1);
    struct asked *local = &asked[asked_count];
    (void) look_up(PRIMARY, id);
    local->request.local = true;
    expect(answered_within(local, 100));
    expect(found(local));
    steps(2000);
    expect_equal(read->answers, 0);
    expect_equal(at_backup->answers, 0);
    for (uint32_t i = 1; i < NODES; i++) {
        cut(0, i, false);
        cut(i, 0, false);
    }
    expect(answered_within(read, PATIENCE_MS) && found(read));
    expect(answered_within(at_backup, PATIENCE_MS) && found(at_backup));
    expect_rest(1);
    cluster_end();
}

/*
 * A backup's question may have been long on its way. It says what the backup was when it asked, and
 * nothing of what it is now: it is no answer to the primary's own.
 */
UNIT_TEST(r11_question_of_a_backup_answers_none_of_the_primary)
{
    cluster_begin(NETWORK_SIM_STREAMS, 11);
    expect(answered_within(create(1, 1), PATIENCE_MS));
    expect_rest(1);
    cut(0, 1, true);
    cut(0, 2, true);
    const struct asked *read = look_up(PRIMARY, 1);
    steps(10);
    const struct asked *at_backup = look_up(1, 1);
    steps(500);
    expect(replica_of(PRIMARY)->round >= 2); /* The backup's question has arrived. */
    expect_equal(read->answers, 0);
    expect_equal(at_backup->answers, 0);
    cut(0, 1, false);
    expect(answered_within(read, PATIENCE_MS) && found(read));
    expect(answered_within(at_backup, PATIENCE_MS) && found(at_backup));
    cut(0, 2, false);
    expect_rest(1);
    cluster_end();
}

/* The way there and back takes longer than it takes until the question is asked again. */
UNIT_TEST(r11_read_over_a_long_way_is_answered)
{
    cluster_begin(NETWORK_SIM_STREAMS, 12);
    expect(answered_within(create(1, 1), PATIENCE_MS));
    expect_rest(1);
    for (uint32_t i = 1; i < NODES; i++) {
        network_sim_slow(&net, 0, i, 120);
        network_sim_slow(&net, i, 0, 120);
    }
    const struct asked *reads[] = {look_up(0, 1), look_up(1, 1), look_up(2, 1)};
    for (uint32_t i = 0; i < NODES; i++) {
        expect(answered_within(reads[i], 1500));
        expect(found(reads[i]));
    }
    cluster_end();
}

/* ---- Catching up ----------------------------------------------------------------------------- */

static void
create_many(uint32_t number, uint32_t count, uint32_t events)
{
    for (uint32_t i = 0; i < count; i++) {
        expect(answered_within(create(number, events), PATIENCE_MS));
    }
}

/*
 * What the pipeline has no longer comes from the journal: for one that was away for a while, and
 * for one that was never there, while the primary is past its first checkpoint.
 */
UNIT_TEST(backup_that_has_missed_many_prepares_gets_them_from_the_journal)
{
    cluster_begin(NETWORK_SIM_STREAMS, 13);
    create_many(PRIMARY, 5, 1);
    expect_rest(5);
    member_stop(2);
    create_many(1, 20, 1);
    member_start(2);
    expect_rest(25);
    cluster_end();

    cluster_init(NETWORK_SIM_STREAMS, 14);
    member_start(0);
    member_start(1);
    elect();
    for (uint32_t i = 0; i < 200; i++) step();
    create_many(1, 45, 1);
    expect(replica_of(PRIMARY)->stats.checkpoints > 0);
    member_start(2);
    expect_rest(45);
    expect(!replica_of(2)->absent);
    cluster_end();
}

UNIT_TEST(backup_whose_next_prepare_was_overwritten_is_told_so)
{
    cluster_init(NETWORK_SIM_STREAMS, 15);
    member_start(0);
    member_start(1);
    elect();
    for (uint32_t i = 0; i < 200; i++) step();
    create_many(1, 150, 1);
    member_start(2);
    for (uint32_t i = 0; i < PATIENCE_MS && !replica_of(2)->absent; i++) step();
    expect(replica_of(2)->absent);
    expect_equal(commit_of(2), 0);
    create_many(0, 5, 1);
    create_many(1, 5, 1);
    expect_equal(commit_of(1), commit_of(0));
    cluster_end();
}

/* One that takes nothing holds up nobody, and holds no more buffers than are meant for it. */
UNIT_TEST(slow_member_does_not_use_up_the_buffers)
{
    cluster_begin(NETWORK_SIM_STREAMS, 16);
    cut(0, 2, true);
    for (uint32_t i = 0; i < 18; i++) {
        const struct asked *request = create(i % 2, EVENTS_PER_BATCH_MAX);
        expect(answered_within(request, 400));
        expect(created(request));
    }
    /* Each read at the primary asks all. */
    for (uint32_t i = 0; i < 150; i++) expect(answered_within(look_up(PRIMARY, 1), 400));
    const struct replica *primary = replica_of(PRIMARY);
    expect_equal(primary->network->peers[2].queued, NETWORK_QUEUE_MAX);
    expect(message_pool_free_count(&primary->pool, MESSAGE_SMALL) > 0);
    expect(message_pool_free_count(&primary->pool, MESSAGE_LARGE) > 0);
    expect_equal(commit_of(2), 0);
    cut(0, 2, false);
    expect_rest(18 * EVENTS_PER_BATCH_MAX);
    cluster_end();
}

/* Shorter timeouts, so that those who are left begin another view. */
static void
hurry(uint32_t number)
{
    replica_of(number)->failover_timeout_ns = HASTY_NS;
    replica_of(number)->change->timeout_ns = HASTY_NS;
}

static void
isolate(uint32_t number, bool cuts)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (i == number) continue;
        cut(i, number, cuts);
        cut(number, i, cuts);
    }
}

/*
 * The primary makes ops that nobody gets, and is left behind by the others. When it takes over
 * their log, which lists none of what it has, it loses its power: whenever that is, it opens again.
 */
UNIT_TEST(former_primary_far_behind_opens_after_a_crash_while_it_catches_up)
{
    for (uint32_t when = 0; when < 40; when++) {
        cluster_begin(NETWORK_SIM_CHAOS, 20);
        create_many(0, 3, 1);
        isolate(PRIMARY, true);
        for (uint32_t i = 0; i < 6; i++) {
            (void) create(PRIMARY, 3 + i);
            steps(20);
        }
        expect(replica_of(PRIMARY)->journaled == commit_of(PRIMARY) + 2);
        hurry(1);
        hurry(2);
        for (uint32_t i = 0; i < PATIENCE_MS && !replica_of(2)->serving; i++) step();
        expect(replica_of(2)->serving);
        for (uint32_t i = 0; i < 24; i++) {
            const struct asked *request = create(2, 1 + i % 20);
            expect(answered_within(request, PATIENCE_MS));
        }
        isolate(PRIMARY, false);
        const uint32_t view = replica_view(replica_of(2));
        for (uint32_t i = 0; i < PATIENCE_MS && replica_of(PRIMARY)->view < view; i++) step();
        steps(when);
        member_stop(PRIMARY);
        member_start(PRIMARY);
        for (uint32_t i = 0; i < PATIENCE_MS && commit_of(PRIMARY) < commit_of(2); i++) step();
        expect_equal(commit_of(PRIMARY), commit_of(2));
        cluster_end();
    }
}

/*
 * A request is in the log of the old primary alone. The new one, which has sent it, has no room.
 * But while nobody else has its view's log, the old one's may yet be chosen: it doesn't refuse.
 */
UNIT_TEST(new_primary_refuses_nothing_before_a_quorum_has_its_log)
{
    cluster_begin(NETWORK_SIM_CHAOS, 21);
    cut(PRIMARY, 1, true);
    cut(PRIMARY, 2, true);
    const struct asked *request = create(2, 1);
    for (uint32_t i = 0; i < 200 && replica_of(PRIMARY)->journaled == 0; i++) step();
    expect_equal(replica_of(PRIMARY)->journaled, 1);
    expect_equal(replica_of(2)->op, 0);
    member_stop(PRIMARY);
    struct storage_sim *disk = &nodes[2].disk;
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        disk->options.space_limit_bytes += disk->storage.file_size_bytes[file];
    }
    hurry(1);
    hurry(2);
    const struct replica *new = replica_of(2);
    for (uint32_t i = 0; i < PATIENCE_MS; i++) {
        if (new->status == REPLICA_VIEW_CHANGE && new->change->voted[slot_of(1)]) break;
        step();
    }
    cut(2, 1, true);
    for (uint32_t i = 0; i < PATIENCE_MS && !new->primary; i++) step();
    expect(new->primary);
    expect(replica_of(1)->change->log_view < new->change->log_view);
    steps(100);
    expect_equal(request->answers, 0);
    member_stop(2);
    disk->options.space_limit_bytes = 0;
    cut(PRIMARY, 1, false);
    cut(PRIMARY, 2, false);
    cut(2, 1, false);
    member_start(PRIMARY);
    for (uint32_t i = 0; i < PATIENCE_MS && commit_of(1) == 0; i++) step();
    expect_equal(commit_of(1), 1); /* It was in the log that was chosen. */
    cluster_end();
}

UNIT_MAIN(test_replica_members)
