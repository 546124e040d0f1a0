/* SPDX-License-Identifier: PostgreSQL */
/* The simulated network keeps the rules of io/network.h, and the same seed is the same run. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/units.h"
#include "sim/network_sim.h"
#include "unit/message_fixture.h"
#include "unit/unit.h"
#include "vsr/message_pool.h"

#define NODES         3
#define SMALL_BUFFERS 48
#define LARGE_BUFFERS 16
#define MEMORY_BYTES  (2 * MIB)

/* With tiny limits even the largest prepare is a small message. */
#define PREPARE_BUFFERS                                                                            \
    (message_class_for(MESSAGE_SIZE_MAX) == MESSAGE_LARGE ? LARGE_BUFFERS : SMALL_BUFFERS)
#define PREPARE_QUEUE_MAX                                                                          \
    (message_class_for(MESSAGE_SIZE_MAX) == MESSAGE_LARGE ? NETWORK_QUEUE_LARGE_MAX                \
                                                          : NETWORK_QUEUE_MAX)

#define STEP_NS       NS_PER_MS
#define STEPS_MAX     20000

struct sim_peer {
    struct message_pool pool;
    uint8_t *memory;
    bool running;
    u128 cluster;
    bool keeps; /* Received messages stay here. */
    struct message *kept[SMALL_BUFFERS + LARGE_BUFFERS];
    uint32_t kept_count;
    bool sending; /* No callback may run. */

    /* By the other node. */
    uint64_t op_next[NODES];    /* To send. */
    uint64_t op_last[NODES];    /* Received since the connection came up. */
    uint64_t lent[NODES];       /* Not returned yet. */
    uint64_t received[NODES];
    uint32_t ups[NODES];
    uint32_t downs[NODES];
    uint8_t bye_reason[NODES];
    uint64_t sent_whole;
    uint64_t sent_lost;
};

static struct network_sim network_sim;
static struct prng network_prng;
static struct sim_peer peers[NODES];
static bool ordered; /* What comes on a connection is a prefix of what was sent. */

/* ---- Callbacks ------------------------------------------------------------------------------- */

static void
on_make_hello(void *context, struct message_header *hello)
{
    const struct sim_peer *self = context;
    struct message_hello *body = message_body(hello);
    hello->cluster = self->cluster;
    hello->sender = MESSAGE_SENDER_GUEST;
    body->incarnation = 1;
    body->session = 1;
    body->prepares_size_bytes = PREPARES_SIZE_MIN;
}

static void
on_up(void *context, uint32_t peer, const struct message_header *hello)
{
    struct sim_peer *self = context;
    const struct message_hello *body = message_body_const(hello);
    expect(!self->sending);
    expect(body->name[0] == (char) ('a' + peer));
    expect(self->ups[peer] == self->downs[peer]);
    expect_equal(self->lent[peer], 0);
    self->ups[peer] += 1;
    self->op_last[peer] = 0;
}

static void
on_down(void *context, uint32_t peer, const struct message_header *bye)
{
    struct sim_peer *self = context;
    expect(!self->sending);
    expect_equal(self->lent[peer], 0);
    self->downs[peer] += self->ups[peer] > self->downs[peer];
    if (bye == NULL) return;
    const struct message_bye *body = message_body_const(bye);
    self->bye_reason[peer] = body->reason;
}

static void
on_received(void *context, uint32_t peer, struct message *message)
{
    struct sim_peer *self = context;
    expect(!self->sending);
    expect_equal(message->references, 1);
    expect(self->ups[peer] > self->downs[peer]);
    const uint64_t last = self->op_last[peer];
    if (ordered && last != 0) expect_equal(message->header->op, last + 1);
    self->op_last[peer] = message->header->op;
    self->received[peer] += 1;
    if (self->keeps) {
        self->kept[self->kept_count] = message;
        self->kept_count += 1;
    } else {
        message_release(&self->pool, message);
    }
}

static void
on_sent(void *context, uint32_t peer, struct message *message, bool whole)
{
    struct sim_peer *self = context;
    expect(!self->sending);
    expect(self->lent[peer] > 0);
    self->lent[peer] -= 1;
    self->sent_whole += whole;
    self->sent_lost += !whole;
    message_release(&self->pool, message);
}

static const struct network_callbacks callbacks = {
    .hello = on_make_hello,
    .up = on_up,
    .down = on_down,
    .received = on_received,
    .sent = on_sent,
};

/* ---- Nodes ----------------------------------------------------------------------------------- */

static void
peer_start(uint32_t index)
{
    struct sim_peer *self = &peers[index];
    struct arena arena;
    const u128 cluster = self->cluster;
    uint8_t *memory = self->memory;
    memset(self, 0, sizeof(*self));
    self->memory = memory;
    self->cluster = cluster;
    self->running = true;
    memset(memory, 0, MEMORY_BYTES);
    arena_init(&arena, memory, MEMORY_BYTES);
    message_pool_init(&self->pool, &arena, SMALL_BUFFERS, LARGE_BUFFERS);
    network_sim_start(&network_sim, index);
    struct network *network = network_sim_of(&network_sim, index);
    network->callbacks = &callbacks;
    network->context = self;
    network->pool = &self->pool;
}

/* Its memory is gone at once. */
static void
peer_stop(uint32_t index)
{
    struct sim_peer *self = &peers[index];
    network_sim_stop(&network_sim, index);
    memset(self->memory, 0xee, MEMORY_BYTES);
    self->running = false;
}

static void
begin(uint64_t seed, enum network_sim_model model)
{
    struct network_sim_options options = {
        .node_count = NODES,
        .timeout_ns = NS_PER_S,
        .dial_ns = 100 * NS_PER_MS,
    };
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++) {
            options.wires[from][to] = (struct network_sim_wire_options){
                .model = model,
                .latency_min_ns = NS_PER_MS,
                .latency_max_ns = 10 * NS_PER_MS,
                .bytes_per_ms = 100 * KIB,
            };
        }
    }
    ordered = model == NETWORK_SIM_STREAMS;
    prng_init(&network_prng, seed);
    network_sim_init(&network_sim, &options, &network_prng);
    for (uint32_t i = 0; i < NODES; i++) {
        peers[i].memory = aligned_alloc(ARENA_ALIGNMENT, MEMORY_BYTES);
        assert(peers[i].memory != NULL);
        peers[i].cluster = FIXTURE_CLUSTER;
        peer_start(i);
    }
}

static void
end(void)
{
    network_sim_free(&network_sim);
    for (uint32_t i = 0; i < NODES; i++) free(peers[i].memory);
    memset(peers, 0, sizeof(peers));
}

static void
step(void)
{
    network_sim_advance(&network_sim, network_sim.now_ns + STEP_NS);
    for (uint32_t i = 0; i < NODES; i++) {
        if (peers[i].running) (void) network_poll(network_sim_of(&network_sim, i));
    }
}

static void
settle(void)
{
    for (uint32_t steps = 0; steps < STEPS_MAX; steps++) {
        if (network_sim_settled(&network_sim)) return;
        step();
    }
    expect(network_sim_settled(&network_sim));
}

static void
pass(uint64_t ns)
{
    for (uint64_t passed = 0; passed < ns; passed += STEP_NS) step();
}

static bool
send_prepare(uint32_t from, uint32_t to, uint32_t body_size)
{
    struct sim_peer *self = &peers[from];
    struct network *network = network_sim_of(&network_sim, from);
    struct message *message =
        message_pool_get(&self->pool, message_class_for(MESSAGE_HEADER_SIZE + body_size));
    if (message == NULL) return false;
    message_fixture_prepare(message->header, self->op_next[to] + 1, body_size);
    self->sending = true;
    const bool sent = network_send(network, to, message);
    self->sending = false;
    if (sent) {
        self->op_next[to] += 1;
        self->lent[to] += 1;
    } else {
        message_release(&self->pool, message);
    }
    return sent;
}

static bool
all_free(uint32_t index)
{
    const struct message_pool *pool = &peers[index].pool;
    message_pool_invariants(pool);
    return message_pool_free_count(pool, MESSAGE_SMALL) == SMALL_BUFFERS &&
           message_pool_free_count(pool, MESSAGE_LARGE) == LARGE_BUFFERS;
}

static void
expect_all_free(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (peers[i].running) expect(all_free(i));
    }
}

static uint32_t
size_random(struct prng *prng)
{
    if (prng_chance(prng, 1, 3)) return PREPARE_HEADER_SIZE;
    return PREPARE_HEADER_SIZE +
           (uint32_t) prng_range(prng, 1, (PREPARE_SIZE_MAX - PREPARE_HEADER_SIZE) / EVENT_SIZE) *
               EVENT_SIZE;
}

/* ---- Tests ----------------------------------------------------------------------------------- */

UNIT_TEST(nodes_meet_and_messages_arrive_in_order)
{
    struct prng prng;
    prng_init(&prng, 1);
    begin(1, NETWORK_SIM_STREAMS);
    settle();
    expect(!network_sim_of(&network_sim, 0)->peers[0].up);
    for (uint32_t i = 0; i < 300; i++) {
        const uint32_t from = (uint32_t) prng_below(&prng, NODES);
        const uint32_t to = (from + 1 + (uint32_t) prng_below(&prng, NODES - 1)) % NODES;
        while (!send_prepare(from, to, size_random(&prng))) step();
    }
    settle();
    expect_all_free();
    for (uint32_t i = 0; i < NODES; i++) {
        expect_equal(peers[i].sent_lost, 0);
        for (uint32_t other = 0; other < NODES; other++) {
            expect_equal(peers[i].received[other], peers[other].op_next[i]);
            expect_equal(peers[i].downs[other], 0);
        }
    }
    end();
}

UNIT_TEST(one_message_goes_to_several_peers)
{
    begin(2, NETWORK_SIM_STREAMS);
    settle();
    struct sim_peer *self = &peers[0];
    struct network *network = network_sim_of(&network_sim, 0);
    struct message *message = message_pool_get(&self->pool, MESSAGE_LARGE);
    message_fixture_prepare(message->header, 1, PREPARE_SIZE_MAX);
    (void) message_reference(message);
    self->lent[1] = 1;
    self->lent[2] = 1;
    expect(network_send(network, 1, message));
    expect(network_send(network, 2, message));
    settle();
    expect(peers[1].received[0] == 1 && peers[2].received[0] == 1);
    expect_equal(self->sent_whole, 2);
    expect_all_free();
    end();
}

/* The receiver doesn't read: the wire fills, then the queue, and a send says so. */
UNIT_TEST(a_paused_peer_is_felt_and_nothing_is_lost)
{
    begin(3, NETWORK_SIM_STREAMS);
    settle();
    network_pause(network_sim_of(&network_sim, 1), 0, true);
    for (uint32_t refused = 0; refused < 100;) {
        if (!send_prepare(0, 1, PREPARE_SIZE_MAX)) {
            refused += 1;
            step();
        }
    }
    const struct network_peer *state = &network_sim_of(&network_sim, 0)->peers[1];
    expect_equal(state->queued, PREPARE_QUEUE_MAX);
    expect_equal(peers[1].received[0], 0);
    pass(10 * NS_PER_S);
    network_pause(network_sim_of(&network_sim, 1), 0, false);
    settle();
    expect_equal(peers[1].received[0], peers[0].op_next[1]);
    expect_equal(peers[1].downs[0], 0);
    expect_all_free();
    end();
}

UNIT_TEST(an_empty_pool_holds_the_sender_up)
{
    begin(4, NETWORK_SIM_STREAMS);
    settle();
    peers[1].keeps = true;
    for (uint32_t i = 0; i < PREPARE_BUFFERS + 8; i++) {
        while (!send_prepare(0, 1, PREPARE_SIZE_MAX)) step();
    }
    pass(10 * NS_PER_S);
    expect_equal(peers[1].received[0], PREPARE_BUFFERS);
    expect(network_sim.counters.blocked > 0);
    peers[1].keeps = false;
    for (uint32_t i = 0; i < peers[1].kept_count; i++) {
        message_release(&peers[1].pool, peers[1].kept[i]);
    }
    settle();
    expect_equal(peers[1].received[0], peers[0].op_next[1]);
    expect_equal(peers[1].downs[0], 0);
    end();
}

/* Its memory is gone at once; its peers get back what they lent, and meet the next life. */
UNIT_TEST(a_crash_is_noticed_and_looks_at_nothing)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        begin(seed, seed % 2 ? NETWORK_SIM_STREAMS : NETWORK_SIM_CHAOS);
        settle();
        for (uint32_t i = 0; i < 8; i++) {
            (void) send_prepare(0, 1, PREPARE_SIZE_MAX);
            (void) send_prepare(1, 0, PREPARE_SIZE_MAX);
        }
        peer_stop(1);
        if (seed % 3 == 0) peer_start(1);
        pass(3 * NS_PER_S);
        expect_equal(peers[0].downs[1], 1);
        expect(all_free(0));
        if (seed % 3 != 0) {
            expect(!send_prepare(0, 1, PREPARE_HEADER_SIZE));
            peer_start(1);
        }
        settle();
        expect_equal(peers[0].ups[1], 2);
        expect(send_prepare(0, 1, PREPARE_HEADER_SIZE));
        settle();
        expect_equal(peers[1].received[0], 1);
        end();
    }
}

UNIT_TEST(a_bye_says_why)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_INCARNATION};
    begin(5, NETWORK_SIM_STREAMS);
    settle();
    for (uint32_t i = 0; i < 5; i++) (void) send_prepare(0, 1, PREPARE_SIZE_MAX);
    network_close(network_sim_of(&network_sim, 0), 1, &bye, MESSAGE_FOREVER);
    expect(!send_prepare(0, 1, PREPARE_HEADER_SIZE));
    expect_equal(peers[0].downs[1], 0); /* Told by the next poll. */
    step();
    expect_equal(peers[0].downs[1], 1);
    settle();
    expect_equal(peers[1].bye_reason[0], MESSAGE_BYE_INCARNATION);
    expect_equal(peers[0].sent_whole + peers[0].sent_lost, 5);
    expect(peers[1].received[0] <= peers[0].sent_whole);
    expect_equal(peers[0].ups[1], 2); /* Whether to talk again is for the owner to say. */
    end();
}

UNIT_TEST(another_cluster_is_refused)
{
    begin(6, NETWORK_SIM_STREAMS);
    peers[1].cluster += 1;
    pass(5 * NS_PER_S);
    expect_equal(peers[0].ups[1], 0);
    expect_equal(peers[1].ups[0], 0);
    expect(peers[0].bye_reason[1] == MESSAGE_BYE_CLUSTER ||
           peers[1].bye_reason[0] == MESSAGE_BYE_CLUSTER);
    expect_equal(peers[0].ups[2], 1);
    end();
}

/* A short cut only delays; a long one ends the connection at both ends, one way too. */
UNIT_TEST(cuts_delay_or_disconnect)
{
    begin(7, NETWORK_SIM_STREAMS);
    settle();
    network_sim_cut(&network_sim, 0, 1, true);
    expect(send_prepare(0, 1, PREPARE_HEADER_SIZE));
    expect(send_prepare(1, 0, PREPARE_HEADER_SIZE));
    pass(500 * NS_PER_MS);
    expect(peers[1].received[0] == 0 && peers[0].received[1] == 1);
    network_sim_cut(&network_sim, 0, 1, false);
    settle();
    expect_equal(peers[1].received[0], 1);
    expect_equal(peers[1].downs[0], 0);

    network_sim_cut(&network_sim, 0, 1, true);
    expect(send_prepare(0, 1, PREPARE_HEADER_SIZE));
    pass(5 * NS_PER_S);
    expect(peers[0].downs[1] == 1 && peers[1].downs[0] == 1);
    expect(peers[0].ups[1] == 1 && peers[1].ups[0] == 1);
    expect_equal(peers[1].received[0], 1);
    expect(peers[0].downs[2] == 0 && peers[1].downs[2] == 0);
    network_sim_cut(&network_sim, 0, 1, false);
    settle();
    expect(peers[0].ups[1] == 2 && peers[1].ups[0] == 2);
    expect_all_free();
    end();
}

UNIT_TEST(a_slow_wire_is_slow)
{
    begin(8, NETWORK_SIM_STREAMS);
    settle();
    network_sim_slow(&network_sim, 0, 1, 100);
    expect(send_prepare(0, 1, PREPARE_HEADER_SIZE));
    pass(90 * NS_PER_MS);
    expect_equal(peers[1].received[0], 0);
    settle();
    expect_equal(peers[1].received[0], 1);
    end();
}

UNIT_TEST(chaos_loses_doubles_and_overtakes)
{
    begin(9, NETWORK_SIM_CHAOS);
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++) {
            network_sim.options.wires[from][to].loss_per_million = 100000;
            network_sim.options.wires[from][to].duplicate_per_million = 100000;
        }
    }
    settle();
    for (uint32_t i = 0; i < 300; i++) {
        while (!send_prepare(0, 1, PREPARE_HEADER_SIZE)) step();
    }
    settle();
    const struct network_sim_counters *counters = &network_sim.counters;
    expect(counters->lost > 10 && counters->duplicated > 10 && counters->overtaken > 10);
    expect_equal(peers[1].received[0], 300 - counters->lost + counters->duplicated);
    expect_equal(peers[0].sent_whole, 300); /* Whether it arrived, only an answer tells. */
    expect_all_free();
    end();
}

/* Everything at once. The callbacks check order, and that what is lent comes back once. */
static u128
run_random(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    begin(seed, seed % 2 ? NETWORK_SIM_STREAMS : NETWORK_SIM_CHAOS);
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++) {
            struct network_sim_wire_options *wire = &network_sim.options.wires[from][to];
            wire->loss_per_million = (uint32_t) prng_below(&prng, 200000);
            wire->duplicate_per_million = (uint32_t) prng_below(&prng, 200000);
            wire->break_per_million = (uint32_t) prng_below(&prng, 20000);
        }
    }
    for (uint32_t i = 0; i < 1500; i++) {
        const uint32_t from = (uint32_t) prng_below(&prng, NODES);
        const uint32_t to = (from + 1 + (uint32_t) prng_below(&prng, NODES - 1)) % NODES;
        const struct message_bye bye = {.reason = MESSAGE_BYE_CONNECTED};
        struct network *network = network_sim_of(&network_sim, from);
        switch (prng_below(&prng, 60)) {
        case 0: network_sim_cut(&network_sim, from, to, prng_chance(&prng, 1, 2)); break;
        case 1:
            network_sim_slow(&network_sim, from, to, (uint32_t) prng_range(&prng, 1, 50));
            break;
        case 2: peers[from].running ? peer_stop(from) : peer_start(from); break;
        case 3:
            if (peers[from].running) network_pause(network, to, prng_chance(&prng, 1, 3));
            break;
        case 4:
            if (peers[from].running) network_close(network, to, &bye, 0);
            break;
        default:
            if (peers[from].running) (void) send_prepare(from, to, size_random(&prng));
            break;
        }
        if (prng_chance(&prng, 1, 2)) pass(prng_below(&prng, 4) * NS_PER_MS);
    }
    for (uint32_t from = 0; from < NODES; from++) {
        if (!peers[from].running) peer_start(from);
        for (uint32_t to = 0; to < NODES; to++) {
            if (from == to) continue;
            network_sim_cut(&network_sim, from, to, false);
            network_pause(network_sim_of(&network_sim, from), to, false);
            network_sim.options.wires[from][to].break_per_million = 0;
        }
    }
    settle();
    expect_all_free();
    const u128 hash = network_sim.trace_hash;
    end();
    return hash;
}

UNIT_TEST(the_same_seed_is_the_same_run)
{
    u128 last = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        const u128 hash = run_random(seed);
        expect(hash != last);
        expect(run_random(seed) == hash);
        last = hash;
    }
}

UNIT_MAIN(test_network_sim)
