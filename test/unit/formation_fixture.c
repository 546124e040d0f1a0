/* SPDX-License-Identifier: PostgreSQL */
/* See formation_fixture.h. */
#include "unit/formation_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "unit/unit.h"

#define RING_SIZE    (UINT64_C(64) * SECTOR_SIZE)
#define MEMORY_EXTRA (UINT64_C(2) * MIB)
#define REQUESTS_MAX 64
#define CLUSTER      0x51

struct formation_node formation_nodes[FORMATION_NODES];
struct network_sim formation_net;
bool formation_fenced;
static struct prng prng;
static uint64_t now_ms;
static uint64_t id_last;

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

void
formation_name_of(uint32_t number, char name[MEMBER_NAME_MAX + 1])
{
    memset(name, 0, MEMBER_NAME_MAX + 1);
    name[0] = (char) ('a' + number);
}

struct replica *
formation_replica_of(uint32_t number)
{
    assert(formation_nodes[number].state == MEMBER);
    return &formation_nodes[number].engine->replica;
}

/* ---- Life ------------------------------------------------------------------------------------ */

void
formation_start_member(uint32_t number)
{
    struct formation_node *node = &formation_nodes[number];
    struct engine_open_report report;
    assert(node->state == DOWN && node->formatted);
    network_sim_start(&formation_net, number);
    struct engine_options options = {
        .prepares_size_bytes = RING_SIZE,
        .grid_size_bytes = node->disk.storage.file_size_bytes[STORAGE_GRID],
        .requests_max = REQUESTS_MAX,
        .session = prng_range(&prng, 1, UINT64_MAX),
        .network = network_sim_of(&formation_net, number),
    };
    if (formation_fenced) options.fence_seed = prng_range(&prng, 1, UINT64_MAX);
    if (node->memory == NULL) {
        node->memory_bytes =
            align_up(engine_memory_bytes_min(&options) + MEMORY_EXTRA, ARENA_ALIGNMENT);
        node->memory = aligned_alloc(ARENA_ALIGNMENT, node->memory_bytes);
        assert(node->memory != NULL);
    }
    memset(node->memory, 0, node->memory_bytes);
    options.memory_bytes = node->memory_bytes;
    node->engine = engine_create(node->memory, &options, &node->disk.storage, &node->clock.clock);
    const enum engine_open_result result = engine_open(node->engine, &node->identity, &report);
    assert(result == ENGINE_OPENED);
    node->state = MEMBER;
}

void
formation_start_guest(uint32_t number)
{
    struct formation_node *node = &formation_nodes[number];
    assert(node->state == DOWN && !node->formatted);
    network_sim_start(&formation_net, number);
    memset(node->guest_memory, 0, ENGINE_GUEST_MEMORY);
    const struct engine_guest_options options = {
        .network = network_sim_of(&formation_net, number),
        .incarnation = node->identity.incarnation,
        .session = prng_range(&prng, 1, UINT64_MAX),
        .prepares_size_bytes = RING_SIZE,
        .memory = node->guest_memory,
    };
    node->guest = engine_guest_create(&options);
    node->state = GUEST;
}

/* A power cut. */
void
formation_stop(uint32_t number)
{
    struct formation_node *node = &formation_nodes[number];
    assert(node->state != DOWN);
    network_sim_stop(&formation_net, number);
    storage_sim_crash_now(&node->disk);
    storage_sim_restart(&node->disk);
    node->state = DOWN;
    node->asking = false;
    node->changing = false;
}

void
formation_new_disk(uint32_t number)
{
    struct formation_node *node = &formation_nodes[number];
    const struct storage_sim_options options = {
        .file_size_bytes =
            {
                [STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
                [STORAGE_PREPARES] = RING_SIZE,
                [STORAGE_HEADERS] = headers_log_count(RING_SIZE) * PREPARE_HEADER_SIZE,
            },
        .latency_min_ticks = 1,
        .latency_max_ticks = 2,
    };
    if (node->clock.clock.ops != NULL) storage_sim_free(&node->disk);
    storage_sim_init(&node->disk, &options, &node->prng);
    node->formatted = false;
    node->identity = (struct engine_identity){
        .incarnation = prng_range(&prng, 1, UINT64_MAX),
        .system_identifier = 0x70 + number,
    };
}

static void
format(uint32_t number, const struct engine_welcome *welcome)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    struct formation_node *node = &formation_nodes[number];
    char name[MEMBER_NAME_MAX + 1];
    enum engine_open_result result;
    memset(scratch, 0, sizeof(scratch));
    formation_name_of(number, name);
    if (welcome == NULL) {
        node->identity.cluster = CLUSTER;
        node->identity.replica_count = 1;
        result = engine_format(
            &node->disk.storage, RING_SIZE, &node->identity, NULL, scratch);
    } else {
        node->identity.cluster = welcome->identity.cluster;
        node->identity.replica = welcome->identity.replica;
        expect(welcome->identity.incarnation == node->identity.incarnation);
        result = engine_format_member(
            &node->disk.storage,
            RING_SIZE,
            &node->identity,
            name,
            welcome->root_incarnation,
            scratch);
    }
    assert(result == ENGINE_OPENED);
    node->formatted = true;
}

/* What a host does: the guest that was let in makes its directory, and comes again. */
static void
poll_guest(uint32_t number)
{
    struct formation_node *node = &formation_nodes[number];
    struct engine_welcome welcome;
    if (!engine_guest_poll(node->guest, &welcome) || node->keeps_waiting) return;
    network_sim_stop(&formation_net, number);
    node->state = DOWN;
    format(number, &welcome);
    formation_start_member(number);
}

/* A millisecond. */
void
formation_step(void)
{
    now_ms += 1;
    assert(now_ms < FORMATION_TEST_MS_MAX); /* Somebody waits for what doesn't come. */
    network_sim_advance(&formation_net, now_ms * NS_PER_MS);
    for (uint32_t i = 0; i < FORMATION_NODES; i++) {
        struct formation_node *node = &formation_nodes[i];
        node->clock.realtime_ns += NS_PER_MS;
        node->clock.monotonic_ns += NS_PER_MS;
        if (node->state == GUEST) poll_guest(i);
        if (node->state != MEMBER) continue;
        storage_sim_tick(&node->disk);
        for (uint32_t poll = 0; poll < 4 && engine_poll(node->engine); poll++) {}
        assert(!engine_failed(node->engine));
        if (now_ms % ENGINE_TICK_MS == 0) engine_tick(node->engine);
    }
}

void
formation_steps(uint32_t count)
{
    while (count-- > 0) formation_step();
}

/* Node a has a ledger and is alone; the others have nothing, and are down. */
void
formation_begin(uint64_t seed)
{
    struct network_sim_options options = {
        .node_count = FORMATION_NODES,
        .timeout_ns = 10 * NS_PER_S,
        .dial_ns = 20 * NS_PER_MS,
    };
    prng_init(&prng, seed);
    memset(formation_nodes, 0, sizeof(formation_nodes));
    for (uint32_t i = 0; i < FORMATION_NODES * FORMATION_NODES; i++) {
        options.wires[i / FORMATION_NODES][i % FORMATION_NODES] = (struct network_sim_wire_options){
            .latency_min_ns = 2 * NS_PER_MS,
            .latency_max_ns = 3 * NS_PER_MS,
        };
    }
    network_sim_init(&formation_net, &options, &prng);
    now_ms = 0;
    id_last = 0;
    for (uint32_t i = 0; i < FORMATION_NODES; i++) {
        prng_init(&formation_nodes[i].prng, seed + 100 + i);
        formation_new_disk(i);
        formation_nodes[i].clock = (struct node_clock){
            .clock.ops = &clock_ops,
            .realtime_ns = NODE_START_NS,
            .monotonic_ns = NS_PER_S * (i + 1),
        };
        formation_nodes[i].guest_memory = aligned_alloc(ARENA_ALIGNMENT, ENGINE_GUEST_MEMORY);
        assert(formation_nodes[i].guest_memory != NULL);
    }
    format(0, NULL);
    formation_start_member(0);
}

void
formation_end(void)
{
    for (uint32_t i = 0; i < FORMATION_NODES; i++) {
        storage_sim_free(&formation_nodes[i].disk);
        free(formation_nodes[i].memory);
        free(formation_nodes[i].guest_memory);
    }
    network_sim_free(&formation_net);
}

/* ---- What is asked --------------------------------------------------------------------------- */

void
formation_on_changed(struct engine_change *change)
{
    struct formation_node *node = change->context;
    node->changing = false;
}

void
formation_wish(uint32_t at, enum engine_change_kind kind, uint32_t whom)
{
    struct formation_node *node = &formation_nodes[at];
    assert(node->state == MEMBER && !node->changing);
    node->changing = true;
    node->change = (struct engine_change){
        .kind = (uint8_t) kind,
        .callback = formation_on_changed,
        .context = node,
    };
    formation_name_of(whom, node->change.name);
    engine_change_members(node->engine, &node->change);
}

enum engine_change_result
formation_change(uint32_t at, enum engine_change_kind kind, uint32_t whom)
{
    formation_wish(at, kind, whom);
    for (uint32_t ms = 0; formation_nodes[at].changing; ms++) {
        assert(ms < FORMATION_PATIENCE_MS);
        formation_step();
    }
    return formation_nodes[at].change.result;
}

static void
on_answered(struct engine_request *request)
{
    container_of(request, struct formation_node, request)->asking = false;
}

static void
ask(uint32_t at, uint8_t operation)
{
    struct formation_node *node = &formation_nodes[at];
    assert(node->state == MEMBER && !node->asking);
    node->asking = true;
    node->request = (struct engine_request){
        .operation = operation,
        .input = node->input,
        .input_size = operation == LEDGER_CREATE_ACCOUNTS ? EVENT_SIZE : sizeof(u128),
        .reply = node->reply,
        .reply_size_max = sizeof(node->reply),
        .callback = on_answered,
    };
    engine_submit(node->engine, &node->request);
}

void
formation_await(uint32_t at)
{
    for (uint32_t ms = 0; formation_nodes[at].asking; ms++) {
        assert(ms < FORMATION_PATIENCE_MS);
        formation_step();
    }
    expect_equal(formation_nodes[at].request.status, ENGINE_OK);
}

void
formation_ask_to_create(uint32_t at)
{
    struct account *account = (struct account *) formation_nodes[at].input;
    id_last += 1;
    *account = (struct account){.id = id_last, .ledger = 1, .code = 1};
    ask(at, LEDGER_CREATE_ACCOUNTS);
}

/* An account more, through this node. */
void
formation_create(uint32_t at)
{
    formation_ask_to_create(at);
    formation_await(at);
    const struct create_result *result = (const struct create_result *) formation_nodes[at].reply;
    expect_equal(result->status, STATUS_CREATED);
}

/* Does a strict read at this node find the newest account? */
bool
formation_finds(uint32_t at)
{
    const u128 id = id_last;
    memcpy(formation_nodes[at].input, &id, sizeof(id));
    ask(at, LEDGER_LOOKUP_ACCOUNTS);
    formation_await(at);
    return formation_nodes[at].request.reply_size > 0;
}

bool
formation_is_voter(uint32_t at, uint32_t whom)
{
    char name[MEMBER_NAME_MAX + 1];
    formation_name_of(whom, name);
    if (formation_nodes[at].state != MEMBER) return false;
    const struct members *members = &formation_replica_of(at)->membership->committed;
    const uint32_t slot = members_find(members, name);
    return slot != MEMBERS_MAX && members->slots[slot].role == MEMBER_VOTER;
}

/* All of the first `count` formation_nodes know that all of them vote. */
void
formation_await_voters(uint32_t count)
{
    for (uint32_t ms = 0;; ms++) {
        uint32_t known = 0;
        assert(ms < FORMATION_PATIENCE_MS);
        for (uint32_t i = 0; i < count * count; i++) {
            known += formation_is_voter(i / count, i % count);
        }
        if (known == count * count) return;
        formation_step();
    }
}

struct engine_cluster
formation_cluster_at(uint32_t number)
{
    struct engine_cluster cluster;
    engine_cluster_get(formation_nodes[number].engine, &cluster);
    return cluster;
}

/* Until a node says that there is a primary. Its number. */
uint32_t
formation_await_primary(uint32_t at)
{
    for (uint32_t ms = 0; ms < FORMATION_PATIENCE_MS; ms++) {
        const struct engine_cluster cluster = formation_cluster_at(at);
        if (cluster.primary >= 0) {
            const uint32_t number =
                (uint32_t) (cluster.members[cluster.primary].name[0] - 'a');
            const bool works = formation_nodes[number].state == MEMBER;
            if (works && formation_replica_of(number)->serving) return number;
        }
        formation_step();
    }
    unreachable();
}

/* Until a node sees that one waits to be added. */
void
formation_await_guest(uint32_t at, uint32_t whom)
{
    for (uint32_t ms = 0; ms < FORMATION_PATIENCE_MS; ms++) {
        const struct engine_cluster cluster = formation_cluster_at(at);
        for (uint32_t i = 0; i < cluster.count; i++) {
            const struct engine_member *member = &cluster.members[i];
            const bool named = member->name[0] == (char) ('a' + whom);
            if (member->state == ENGINE_MEMBER_GUEST && named) return;
        }
        formation_step();
    }
    unreachable();
}

/* A cluster of the first `count` formation_nodes. */
void
formation_form(uint32_t count)
{
    expect_equal(formation_change(0, ENGINE_CHANGE_CREATE, 0), ENGINE_CHANGE_DONE);
    for (uint32_t i = 1; i < count; i++) {
        formation_start_guest(i);
        formation_await_guest(0, i);
        expect_equal(formation_change(0, ENGINE_CHANGE_ADD, i), ENGINE_CHANGE_DONE);
        formation_await_voters(i + 1);
    }
}
