/* SPDX-License-Identifier: PostgreSQL */
/*
 * Members that come and go, through the engine's façade on a simulated network: a lone ledger that
 * becomes a cluster, guests that are let in and catch up, members that are removed; and crashes
 * between any two of the steps. (V12) of store/prepare.h, as the replica keeps it.
 */
#include "unit/unit.h"

#include "base/arena.h"
#include "engine/internal.h"
#include "sim/network_sim.h"
#include "sim/storage_sim.h"
#include "unit/engine_fixture.h"
#include "vsr/replica_internal.h"

#define NODES        4
#define RING_SIZE    (UINT64_C(64) * SECTOR_SIZE)
#define MEMORY_EXTRA (UINT64_C(2) * MIB)
#define REQUESTS_MAX 64
#define PATIENCE_MS  20000
#define CLUSTER      0x51

enum host_state { DOWN, GUEST, MEMBER };

struct host {
    enum host_state state;
    struct prng prng;
    struct storage_sim disk;
    struct node_clock clock;
    bool formatted;
    struct engine_identity identity;
    struct engine *engine;
    struct engine_guest *guest;
    void *memory;
    uint64_t memory_bytes;
    void *guest_memory;
    bool keeps_waiting; /* Lets a welcome lie. */
    struct engine_change change;
    bool changing;
    struct engine_request request;
    bool asking;
    uint8_t input[EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[RESULTS_MAX * sizeof(struct transfer_row)] __attribute__((aligned(16)));
};

static struct host nodes[NODES];
static struct network_sim net;
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

static void
name_of(uint32_t number, char name[MEMBER_NAME_MAX + 1])
{
    memset(name, 0, MEMBER_NAME_MAX + 1);
    name[0] = (char) ('a' + number);
}

static struct replica *
replica_of(uint32_t number)
{
    assert(nodes[number].state == MEMBER);
    return &nodes[number].engine->replica;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void
start_member(uint32_t number)
{
    struct host *node = &nodes[number];
    struct engine_open_report report;
    assert(node->state == DOWN && node->formatted);
    network_sim_start(&net, number);
    struct engine_options options = {
        .prepares_size_bytes = RING_SIZE,
        .grid_size_bytes = node->disk.storage.file_size_bytes[STORAGE_GRID],
        .requests_max = REQUESTS_MAX,
        .session = prng_range(&prng, 1, UINT64_MAX),
        .network = network_sim_of(&net, number),
    };
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

static void
start_guest(uint32_t number)
{
    struct host *node = &nodes[number];
    assert(node->state == DOWN && !node->formatted);
    network_sim_start(&net, number);
    memset(node->guest_memory, 0, ENGINE_GUEST_MEMORY);
    const struct engine_guest_options options = {
        .network = network_sim_of(&net, number),
        .incarnation = node->identity.incarnation,
        .session = prng_range(&prng, 1, UINT64_MAX),
        .prepares_size_bytes = RING_SIZE,
        .memory = node->guest_memory,
    };
    node->guest = engine_guest_create(&options);
    node->state = GUEST;
}

/* A power cut. */
static void
stop(uint32_t number)
{
    struct host *node = &nodes[number];
    assert(node->state != DOWN);
    network_sim_stop(&net, number);
    storage_sim_crash_now(&node->disk);
    storage_sim_restart(&node->disk);
    node->state = DOWN;
    node->asking = false;
    node->changing = false;
}

static void
new_disk(uint32_t number)
{
    struct host *node = &nodes[number];
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
    struct host *node = &nodes[number];
    char name[MEMBER_NAME_MAX + 1];
    enum engine_open_result result;
    memset(scratch, 0, sizeof(scratch));
    name_of(number, name);
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
    struct host *node = &nodes[number];
    struct engine_welcome welcome;
    if (!engine_guest_poll(node->guest, &welcome) || node->keeps_waiting) return;
    network_sim_stop(&net, number);
    node->state = DOWN;
    format(number, &welcome);
    start_member(number);
}

/* A millisecond. */
static void
step(void)
{
    now_ms += 1;
    network_sim_advance(&net, now_ms * NS_PER_MS);
    for (uint32_t i = 0; i < NODES; i++) {
        struct host *node = &nodes[i];
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

static void
steps(uint32_t count)
{
    while (count-- > 0) step();
}

/* Node a has a ledger and is alone; the others have nothing, and are down. */
static void
begin(uint64_t seed)
{
    struct network_sim_options options = {
        .node_count = NODES,
        .timeout_ns = 10 * NS_PER_S,
        .dial_ns = 20 * NS_PER_MS,
    };
    prng_init(&prng, seed);
    memset(nodes, 0, sizeof(nodes));
    for (uint32_t i = 0; i < NODES * NODES; i++) {
        options.wires[i / NODES][i % NODES] = (struct network_sim_wire_options){
            .latency_min_ns = 2 * NS_PER_MS,
            .latency_max_ns = 3 * NS_PER_MS,
        };
    }
    network_sim_init(&net, &options, &prng);
    now_ms = 0;
    id_last = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        prng_init(&nodes[i].prng, seed + 100 + i);
        new_disk(i);
        nodes[i].clock = (struct node_clock){
            .clock.ops = &clock_ops,
            .realtime_ns = NODE_START_NS,
            .monotonic_ns = NS_PER_S * (i + 1),
        };
        nodes[i].guest_memory = aligned_alloc(ARENA_ALIGNMENT, ENGINE_GUEST_MEMORY);
        assert(nodes[i].guest_memory != NULL);
    }
    format(0, NULL);
    start_member(0);
}

static void
end(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        storage_sim_free(&nodes[i].disk);
        free(nodes[i].memory);
        free(nodes[i].guest_memory);
    }
    network_sim_free(&net);
}

/* ---- What is asked --------------------------------------------------------------------------- */

static void
on_changed(struct engine_change *change)
{
    struct host *node = change->context;
    node->changing = false;
}

static void
wish(uint32_t at, enum engine_change_kind kind, uint32_t whom)
{
    struct host *node = &nodes[at];
    assert(node->state == MEMBER && !node->changing);
    node->changing = true;
    node->change = (struct engine_change){
        .kind = (uint8_t) kind,
        .callback = on_changed,
        .context = node,
    };
    name_of(whom, node->change.name);
    engine_change_members(node->engine, &node->change);
}

static enum engine_change_result
change(uint32_t at, enum engine_change_kind kind, uint32_t whom)
{
    wish(at, kind, whom);
    for (uint32_t ms = 0; nodes[at].changing; ms++) {
        assert(ms < PATIENCE_MS);
        step();
    }
    return nodes[at].change.result;
}

static void
on_answered(struct engine_request *request)
{
    container_of(request, struct host, request)->asking = false;
}

static void
ask(uint32_t at, uint8_t operation)
{
    struct host *node = &nodes[at];
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

static void
await(uint32_t at)
{
    for (uint32_t ms = 0; nodes[at].asking; ms++) {
        assert(ms < PATIENCE_MS);
        step();
    }
    expect_equal(nodes[at].request.status, ENGINE_OK);
}

static void
ask_to_create(uint32_t at)
{
    struct account *account = (struct account *) nodes[at].input;
    id_last += 1;
    *account = (struct account){.id = id_last, .ledger = 1, .code = 1};
    ask(at, LEDGER_CREATE_ACCOUNTS);
}

/* An account more, through this node. */
static void
create(uint32_t at)
{
    ask_to_create(at);
    await(at);
    const struct create_result *result = (const struct create_result *) nodes[at].reply;
    expect_equal(result->status, STATUS_CREATED);
}

/* Does a strict read at this node find the newest account? */
static bool
finds(uint32_t at)
{
    const u128 id = id_last;
    memcpy(nodes[at].input, &id, sizeof(id));
    ask(at, LEDGER_LOOKUP_ACCOUNTS);
    await(at);
    return nodes[at].request.reply_size > 0;
}

static bool
is_voter(uint32_t at, uint32_t whom)
{
    char name[MEMBER_NAME_MAX + 1];
    name_of(whom, name);
    if (nodes[at].state != MEMBER) return false;
    const struct members *members = &replica_of(at)->membership->committed;
    const uint32_t slot = members_find(members, name);
    return slot != MEMBERS_MAX && members->slots[slot].role == MEMBER_VOTER;
}

/* All of the first `count` nodes know that all of them vote. */
static void
await_voters(uint32_t count)
{
    for (uint32_t ms = 0;; ms++) {
        uint32_t known = 0;
        assert(ms < PATIENCE_MS);
        for (uint32_t i = 0; i < count * count; i++) known += is_voter(i / count, i % count);
        if (known == count * count) return;
        step();
    }
}

static struct engine_cluster
cluster_at(uint32_t number)
{
    struct engine_cluster cluster;
    engine_cluster_get(nodes[number].engine, &cluster);
    return cluster;
}

/* Until a node says that there is a primary. Its number. */
static uint32_t
await_primary(uint32_t at)
{
    for (uint32_t ms = 0; ms < PATIENCE_MS; ms++) {
        const struct engine_cluster cluster = cluster_at(at);
        if (cluster.primary >= 0) {
            const uint32_t number =
                (uint32_t) (cluster.members[cluster.primary].name[0] - 'a');
            if (nodes[number].state == MEMBER && replica_of(number)->serving) return number;
        }
        step();
    }
    unreachable();
}

/* Until a node sees that one waits to be added. */
static void
await_guest(uint32_t at, uint32_t whom)
{
    for (uint32_t ms = 0; ms < PATIENCE_MS; ms++) {
        const struct engine_cluster cluster = cluster_at(at);
        for (uint32_t i = 0; i < cluster.count; i++) {
            const struct engine_member *member = &cluster.members[i];
            const bool named = member->name[0] == (char) ('a' + whom);
            if (member->state == ENGINE_MEMBER_GUEST && named) return;
        }
        step();
    }
    unreachable();
}

/* A cluster of the first `count` nodes. */
static void
form(uint32_t count)
{
    expect_equal(change(0, ENGINE_CHANGE_CREATE, 0), ENGINE_CHANGE_DONE);
    for (uint32_t i = 1; i < count; i++) {
        start_guest(i);
        await_guest(0, i);
        expect_equal(change(0, ENGINE_CHANGE_ADD, i), ENGINE_CHANGE_DONE);
        await_voters(i + 1);
    }
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* Without others it is what it was; with others, each of them takes requests and reads. */
UNIT_TEST(grows)
{
    begin(1);
    create(0);
    expect(finds(0));
    expect(!cluster_at(0).is_cluster);
    form(1);
    expect(cluster_at(0).is_cluster);
    create(0);
    start_guest(1);
    start_guest(2);
    await_guest(0, 1);
    await_guest(0, 2);
    expect_equal(cluster_at(0).count, 3);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    await_voters(2);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_DONE);
    await_voters(3);
    for (uint32_t i = 0; i < 9; i++) {
        create(i % 3);
        expect(finds((i + 1) % 3));
    }
    for (uint32_t i = 0; i < 3; i++) {
        const struct engine_cluster cluster = cluster_at(i);
        expect_equal(cluster.count, 3);
        expect_equal(cluster.voters, 3);
        expect_equal(cluster.reachable, 3);
        expect_equal(cluster.primary, 0);
    }
    end();
}

/* The table is the log's: it is what it was after all have lost their power. */
UNIT_TEST(restarts)
{
    begin(2);
    form(3);
    create(1);
    for (uint32_t i = 0; i < 3; i++) stop(i);
    for (uint32_t i = 0; i < 3; i++) start_member(i);
    expect(finds(2));
    await_voters(3);
    /* Now through a checkpoint. */
    for (uint32_t i = 0; i < 60; i++) create(i % 3);
    expect(replica_of(0)->superblock->working->checkpoint.header.op > 10);
    for (uint32_t i = 0; i < 3; i++) stop(i);
    for (uint32_t i = 0; i < 3; i++) start_member(i);
    expect(finds(1));
    await_voters(3);
    for (uint32_t i = 1; i < 3; i++) {
        const bool same = memcmp(
            &replica_of(0)->membership->committed,
            &replica_of(i)->membership->committed,
            sizeof(struct members)) == 0;
        expect(same);
    }
    end();
}

/* Whoever is primary, two of three go on. */
UNIT_TEST(one_fails)
{
    begin(3);
    form(3);
    for (uint32_t round = 0; round < 4; round++) {
        const uint32_t primary = await_primary(round % 3);
        create(primary);
        stop(primary);
        const uint32_t other = (primary + 1) % 3;
        expect(finds(other));
        create(other);
        start_member(primary);
        expect(finds(primary));
    }
    end();
}

UNIT_TEST(refusals)
{
    begin(4);
    create(0);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_NOT_CLUSTER);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_NOT_CLUSTER);
    form(2);
    const uint64_t op = replica_of(0)->op;
    expect_equal(change(0, ENGINE_CHANGE_CREATE, 0), ENGINE_CHANGE_EXISTS);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_EXISTS);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_UNKNOWN);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_UNKNOWN);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_SELF);
    /* A backup asks the primary. */
    expect_equal(change(1, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_UNKNOWN);
    expect_equal(change(1, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_SELF);
    expect_equal(change(1, ENGINE_CHANGE_CREATE, 1), ENGINE_CHANGE_EXISTS);
    expect_equal(replica_of(0)->op, op); /* Nothing came into the log. */
    wish(0, ENGINE_CHANGE_REMOVE, 1);
    struct engine_change second = {.kind = ENGINE_CHANGE_REMOVE, .callback = on_changed};
    second.context = &nodes[3];
    name_of(1, second.name);
    engine_change_members(nodes[0].engine, &second);
    expect_equal(second.result, ENGINE_CHANGE_BUSY);
    while (nodes[0].changing) step();
    expect_equal(nodes[0].change.result, ENGINE_CHANGE_DONE);
    end();
}

/* Who is removed isn't needed any more, and may come back as another. */
UNIT_TEST(removed)
{
    begin(5);
    form(3);
    stop(2);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_DONE);
    expect_equal(cluster_at(0).voters, 2);
    start_member(2); /* The directory of who was removed is nobody's. */
    steps(500);
    expect_equal(cluster_at(0).reachable, 2);
    expect(!replica_of(0)->peers[2].up);
    create(1);
    stop(2);
    new_disk(2);
    start_guest(2);
    await_guest(0, 2);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_DONE);
    await_voters(3);
    expect(finds(2));
    stop(1);
    create(2);
    end();
}

/* A change may be asked for at any member, again and again, and is made once. */
UNIT_TEST(asked_at_a_backup)
{
    begin(9);
    form(2);
    start_guest(2);
    await_guest(0, 2);
    const uint64_t op = replica_of(0)->op;
    /* What it asks gets lost, and is asked again. */
    network_sim_cut(&net, 1, 0, true);
    wish(1, ENGINE_CHANGE_ADD, 2);
    steps(300);
    expect(nodes[1].changing);
    expect_equal(replica_of(0)->op, op);
    network_sim_cut(&net, 1, 0, false);
    while (nodes[1].changing) step();
    expect_equal(nodes[1].change.result, ENGINE_CHANGE_DONE);
    await_voters(3);
    expect_equal(replica_of(0)->op, op + 2); /* Added, and promoted. */
    /* Who has given a wish up may have another. */
    wish(1, ENGINE_CHANGE_REMOVE, 2);
    expect(engine_change_cancel(nodes[1].engine, &nodes[1].change));
    nodes[1].changing = false;
    const enum engine_change_result result = change(1, ENGINE_CHANGE_REMOVE, 2);
    expect(result == ENGINE_CHANGE_DONE || result == ENGINE_CHANGE_UNKNOWN);
    expect_equal(cluster_at(0).voters, 2);
    /* Without a primary it isn't known what becomes of it. */
    stop(0);
    wish(1, ENGINE_CHANGE_REMOVE, 0);
    for (uint32_t ms = 0; nodes[1].changing; ms++) {
        assert(ms < PATIENCE_MS);
        if (ms == 9000) start_member(0);
        step();
    }
    expect(nodes[1].change.result != ENGINE_CHANGE_DONE);
    end();
}

/* The log must reach back to the beginning, or nothing is changed. */
UNIT_TEST(log_too_short)
{
    begin(6);
    form(1);
    for (uint32_t i = 0; i < 60; i++) create(0);
    start_guest(1);
    await_guest(0, 1);
    const uint64_t op = replica_of(0)->op;
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_LOG);
    expect_equal(replica_of(0)->op, op);
    expect(nodes[1].state == GUEST);
    end();
}

/* A power cut at each moment of an addition: then it is done, or it can be done again. */
UNIT_TEST(crashes)
{
    for (uint32_t at = 1; at < 60; at++) {
        begin(100 + at);
        form(1);
        create(0);
        start_guest(1);
        await_guest(0, 1);
        nodes[1].keeps_waiting = at % 2 == 0; /* What it was told is lost with it. */
        wish(0, ENGINE_CHANGE_ADD, 1);
        steps(at);
        const uint32_t victim = at % 3 == 0 ? 1 : 0;
        const bool guest = nodes[victim].state == GUEST;
        stop(victim);
        nodes[1].keeps_waiting = false;
        if (guest) {
            start_guest(victim);
        } else {
            start_member(victim);
        }
        steps(2000);
        if (!is_voter(0, 1) && !nodes[0].changing) {
            const enum engine_change_result result = change(0, ENGINE_CHANGE_ADD, 1);
            expect(result == ENGINE_CHANGE_DONE || result == ENGINE_CHANGE_EXISTS);
        }
        await_voters(2);
        create(1);
        expect(finds(0));
        end();
    }
}

/*
 * (V12) A change that only the old primary has is dropped with the rest of what it had alone, and
 * counts for nobody then; and it isn't made before all before it is committed.
 */
UNIT_TEST(dropped)
{
    begin(7);
    form(3);
    create(1);
    for (uint32_t i = 1; i < 3; i++) {
        network_sim_cut(&net, 0, i, true);
        network_sim_cut(&net, i, 0, true);
    }
    wish(0, ENGINE_CHANGE_REMOVE, 2);
    steps(30);
    expect_equal(replica_of(0)->op, replica_of(0)->commit + 1);
    expect_equal(cluster_at(0).voters, 2);
    expect(is_voter(0, 2)); /* As far as it is committed. */
    expect(finds(1)); /* The two others have gone on. */
    create(2);
    for (uint32_t i = 1; i < 3; i++) {
        network_sim_cut(&net, 0, i, false);
        network_sim_cut(&net, i, 0, false);
    }
    while (nodes[0].changing) step();
    expect(nodes[0].change.result == ENGINE_CHANGE_FAILED);
    expect(finds(0));
    await_voters(3);
    expect_equal(cluster_at(0).voters, 3);
    end();
}

/* Two voters need each other: one can't even be removed alone while something waits. */
UNIT_TEST(two)
{
    begin(8);
    form(2);
    create(1);
    stop(1);
    ask_to_create(0);
    steps(3000);
    expect(nodes[0].asking);
    wish(0, ENGINE_CHANGE_REMOVE, 1);
    steps(3000);
    expect(nodes[0].changing);
    start_member(1);
    await(0);
    while (nodes[0].changing) step();
    end();
}

/* ---- Slots that were another's --------------------------------------------------------------- */

/* Nothing that needs room is executed here any more. */
static void
fill_disk(uint32_t number)
{
    struct storage_sim *disk = &nodes[number].disk;
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        disk->options.space_limit_bytes += disk->storage.file_size_bytes[file];
    }
}

static void
add(uint32_t at, uint32_t whom)
{
    start_guest(whom);
    await_guest(at, whom);
    expect_equal(change(at, ENGINE_CHANGE_ADD, whom), ENGINE_CHANGE_DONE);
    for (uint32_t ms = 0; !is_voter(at, whom); ms++) {
        assert(ms < PATIENCE_MS);
        step();
    }
}

static void
cut(uint32_t a, uint32_t b, bool cuts)
{
    network_sim_cut(&net, a, b, cuts);
    network_sim_cut(&net, b, a, cuts);
}

/* The table is that of the log, whether it is executed or not. */
UNIT_TEST(several_changes_not_executed)
{
    begin(10);
    fill_disk(1);
    form(1);
    add(0, 1);
    add(0, 2);
    steps(100);
    expect_equal(replica_of(1)->commit, 0);
    expect_equal(replica_of(1)->op, replica_of(0)->op);
    const bool same = memcmp(
        &replica_of(0)->membership->committed,
        &replica_of(1)->membership->now,
        sizeof(struct members)) == 0;
    expect(same);
    end();
}

/*
 * Who had the slot before is still connected to one who knows of its end by the log alone. Its vote
 * isn't that of who has the slot now: two others have acknowledged what neither of the two has.
 */
UNIT_TEST(former_member_is_not_counted)
{
    begin(11);
    fill_disk(1);
    form(1);
    add(0, 1);
    add(0, 2);
    cut(0, 2, true);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_DONE);
    add(0, 3);
    steps(500);
    cut(0, 1, true);
    cut(1, 3, true);
    const uint64_t op = replica_of(0)->op;
    ask_to_create(0);
    while (replica_of(3)->journaled == op) step();
    network_sim_cut(&net, 0, 3, true); /* So that it doesn't hear that the op is committed. */
    await(0);
    stop(0);
    steps(10000);
    nodes[1].disk.options.space_limit_bytes = 0;
    steps(1000);
    cut(1, 3, false);
    expect(finds(1));
    expect(finds(3));
    end();
}

/* What was acknowledged by who had the slot before doesn't make a voter of who has it now. */
UNIT_TEST(newcomer_catches_up_first)
{
    begin(12);
    form(2);
    for (uint32_t i = 0; i < 20; i++) create(1);
    stop(1);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 1), ENGINE_CHANGE_DONE);
    new_disk(1);
    start_guest(1);
    await_guest(0, 1);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    while (cluster_at(0).voters < 2) step();
    expect(replica_of(1)->journaled + PIPELINE_PREPARES_MAX >= replica_of(0)->commit);
    end();
}

/* A member is let in by others, and comes, before the primary has executed its addition. */
UNIT_TEST(newcomer_before_the_primary_knows)
{
    begin(13);
    form(3);
    nodes[0].disk.options.latency_min_ticks = 80;
    nodes[0].disk.options.latency_max_ticks = 90;
    start_guest(3);
    await_guest(0, 3);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 3), ENGINE_CHANGE_DONE);
    expect(replica_of(0)->peers[3].up);
    nodes[0].disk.options.latency_min_ticks = 1;
    nodes[0].disk.options.latency_max_ticks = 2;
    await_voters(4);
    create(3);
    end();
}

/* Whoever a change is asked of answers. */
UNIT_TEST(wishes_are_answered)
{
    begin(14);
    form(2);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 1), ENGINE_CHANGE_DONE);
    /* It was removed, and may have had the time to ask. */
    const enum engine_change_result result = change(1, ENGINE_CHANGE_REMOVE, 0);
    expect(result == ENGINE_CHANGE_NOT_PRIMARY || result == ENGINE_CHANGE_FAILED);
    expect_equal(change(1, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_NOT_PRIMARY);
    end();
    begin(15);
    form(1);
    start_guest(1);
    await_guest(0, 1);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    while (replica_of(0)->membership->wish == NULL) step();
    wish(0, ENGINE_CHANGE_REMOVE, 1); /* Waits for the promotion. */
    struct engine_change second = {.kind = ENGINE_CHANGE_REMOVE, .callback = on_changed};
    second.context = &nodes[3];
    name_of(1, second.name);
    engine_change_members(nodes[0].engine, &second);
    expect_equal(second.result, ENGINE_CHANGE_BUSY);
    while (nodes[0].changing) step();
    expect_equal(nodes[0].change.result, ENGINE_CHANGE_DONE);
    end();
}

/* A guest that was let in is told so, when and to whom ever it connects. */
UNIT_TEST(welcome_is_said_again)
{
    begin(16);
    form(1);
    start_guest(1);
    await_guest(0, 1);
    network_sim_cut(&net, 0, 1, true);
    expect_equal(change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    create(0);
    stop(0);
    network_sim_cut(&net, 0, 1, false);
    nodes[0].disk.options.latency_min_ticks = 10; /* So that it comes before there is a view. */
    nodes[0].disk.options.latency_max_ticks = 11;
    start_member(0);
    await_voters(2);
    end();
}

/* A quorum that works is enough, although one of it has never heard of the other. */
UNIT_TEST(voters_that_do_not_know_each_other)
{
    begin(17);
    form(3);
    stop(2);
    add(0, 3);
    stop(1);
    expect_equal(change(0, ENGINE_CHANGE_REMOVE, 1), ENGINE_CHANGE_DONE);
    create(3);
    stop(0);
    start_member(2);
    expect(finds(2));
    create(2);
    create(3);
    end();
}

UNIT_MAIN(test_formation)
