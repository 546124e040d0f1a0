/* SPDX-License-Identifier: PostgreSQL */
/* See network_sim.h, which specifies the network. */
#include "sim/network_sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "vsr/message_pool.h"

#define PER_MILLION 1000000

/* Messages taken from one wire in one poll. */
#define RECEIVES_MAX 32

/* What is written ahead of the wire's bandwidth. */
#define AHEAD_NS NS_PER_MS

enum trace_event {
    TRACE_SEND,
    TRACE_RECEIVE,
    TRACE_LOSE,
    TRACE_UP,
    TRACE_DOWN,
    TRACE_START,
    TRACE_STOP,
    TRACE_CUT,
};

enum taking { TAKEN, BLOCKED };

static bool sim_send(struct network *network, uint32_t peer, struct message *message);
static uint32_t sim_poll(struct network *network);
static void sim_pause(struct network *network, uint32_t peer, bool paused);
static void sim_close(
    struct network *network, uint32_t peer, const struct message_bye *bye, uint8_t flags);

static const struct network_ops network_sim_ops = {
    .send = sim_send,
    .poll = sim_poll,
    .pause = sim_pause,
    .close = sim_close,
};

static void
trace(struct network_sim *sim, enum trace_event event, uint32_t from, uint32_t to, u128 content)
{
    struct {
        u128 previous;
        u128 content;
        uint64_t now_ns;
        uint32_t event;
        uint16_t from;
        uint16_t to;
    } line = {
        .previous = sim->trace_hash,
        .content = content,
        .now_ns = sim->now_ns,
        .event = event,
        .from = (uint16_t) from,
        .to = (uint16_t) to,
    };
    static_assert(sizeof(line) == 48, "no padding is hashed");
    sim->trace_hash = checksum(&line, sizeof(line));
}

static struct network_sim_node *
node_of(struct network *network)
{
    assert(network->ops == &network_sim_ops);
    return container_of(network, struct network_sim_node, network);
}

/* ---- Wires ----------------------------------------------------------------------------------- */

static void
flight_remove(struct network_sim_wire *wire, uint32_t index)
{
    assert(index < wire->flight_count);
    free(wire->flights[index].bytes);
    wire->flight_count -= 1;
    memmove(
        &wire->flights[index],
        &wire->flights[index + 1],
        (wire->flight_count - index) * sizeof(wire->flights[0]));
}

/* What was sent on the connection, or on any if that is 0, is gone. */
static void
wire_lose(struct network_sim *sim, uint32_t from, uint32_t to, uint64_t connection)
{
    struct network_sim_wire *wire = &sim->wires[from][to];
    for (uint32_t i = wire->flight_count; i > 0; i--) {
        if (connection != 0 && wire->flights[i - 1].connection != connection) continue;
        flight_remove(wire, i - 1);
        sim->counters.lost += 1;
    }
}

static bool
drawn(struct network_sim *sim, uint32_t per_million)
{
    return per_million > 0 && prng_chance(sim->prng, per_million, PER_MILLION);
}

/* A copy goes on its way, behind all that the wire is busy with. */
static void
wire_put(
    struct network_sim *sim,
    uint32_t from,
    uint32_t to,
    const struct message_header *header,
    uint64_t connection)
{
    struct network_sim_wire *wire = &sim->wires[from][to];
    const struct network_sim_wire_options *options = &sim->options.wires[from][to];
    assert(wire->flight_count < NETWORK_SIM_FLIGHTS_MAX);
    wire->busy_until_ns = max_u64(wire->busy_until_ns, sim->now_ns);
    if (options->bytes_per_ms > 0) {
        wire->busy_until_ns += header->size * NS_PER_MS / options->bytes_per_ms;
    }
    const uint64_t latency =
        prng_range(sim->prng, options->latency_min_ns, options->latency_max_ns);
    uint64_t due_ns = wire->busy_until_ns + latency * (wire->slow > 0 ? wire->slow : 1);
    if (options->model == NETWORK_SIM_STREAMS) due_ns = max_u64(due_ns, wire->due_last_ns);
    wire->due_last_ns = max_u64(due_ns, wire->due_last_ns);
    wire->number_sent += 1;
    struct network_sim_flight *flight = &wire->flights[wire->flight_count];
    *flight = (struct network_sim_flight){
        .bytes = malloc(header->size),
        .size = header->size,
        .connection = connection,
        .due_ns = due_ns,
        .number = wire->number_sent,
    };
    assert(flight->bytes != NULL);
    memcpy(flight->bytes, header, header->size);
    if (sim->options.tamper != NULL) {
        struct message_header *copy = (struct message_header *) (void *) flight->bytes;
        sim->options.tamper(sim->options.tamper_context, from, to, copy);
        assert(copy->size == flight->size);
    }
    wire->due_first_ns =
        wire->flight_count == 0 ? due_ns : min_u64(wire->due_first_ns, due_ns);
    wire->flight_count += 1;
    sim->counters.sent += 1;
    sim->counters.sent_bytes += header->size;
    trace(sim, TRACE_SEND, from, to, header->checksum);
}

/* Which message comes next, if one is due; the wire's count: none is. */
static uint32_t
wire_next(struct network_sim *sim, uint32_t from, uint32_t to)
{
    struct network_sim_wire *wire = &sim->wires[from][to];
    const uint32_t none = wire->flight_count;
    uint32_t next = none;
    if (wire->cut || none == 0 || wire->due_first_ns > sim->now_ns) return none;
    /* Those of a stream are due in the order of sending, and the first of equals is taken. */
    uint64_t due_first_ns = UINT64_MAX;
    for (uint32_t i = 0; i < none; i++) {
        if (wire->flights[i].due_ns >= due_first_ns) continue;
        due_first_ns = wire->flights[i].due_ns;
        next = i;
    }
    wire->due_first_ns = due_first_ns;
    return due_first_ns <= sim->now_ns ? next : none;
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void
end_free(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim *sim = node->sim;
    struct network_sim_end *end = &node->ends[peer];
    const uint64_t dial_ns = sim->options.dial_ns;
    if (end->state == NETWORK_SIM_UP) {
        end->down_pending = true;
        sim->counters.broken += 1;
        trace(sim, TRACE_DOWN, node->index, peer, 0);
    }
    end->state = NETWORK_SIM_FREE;
    end->ended = true;
    end->dead_ns = 0;
    end->at_ns = sim->now_ns + prng_range(sim->prng, dial_ns / 2, dial_ns);
    node->network.peers[peer].up = false;
}

/* The other end of the connection, if it still has it, notices within so much time. */
static void
other_notices(struct network_sim_node *node, uint32_t peer, uint64_t within_ns)
{
    struct network_sim *sim = node->sim;
    struct network_sim_end *other = &sim->nodes[peer].ends[node->index];
    if (other->state == NETWORK_SIM_FREE || other->dead_ns != 0) return;
    if (other->connection != node->ends[peer].connection) return;
    other->dead_ns = sim->now_ns + 1 + prng_below(sim->prng, within_ns + 1);
}

/* Whatever was on the way is lost. */
static void
connection_break(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim *sim = node->sim;
    const uint64_t connection = node->ends[peer].connection;
    assert(node->ends[peer].state != NETWORK_SIM_FREE);
    wire_lose(sim, node->index, peer, connection);
    wire_lose(sim, peer, node->index, connection);
    other_notices(node, peer, sim->options.timeout_ns / 2);
    end_free(node, peer);
}

/* Is the connection at its end, as this end sees it? */
static void
end_check(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim *sim = node->sim;
    struct network_sim_end *end = &node->ends[peer];
    if (end->state == NETWORK_SIM_FREE) return;
    const struct network_sim_wire *out = &sim->wires[node->index][peer];
    const struct network_sim_wire *in = &sim->wires[peer][node->index];
    const uint64_t patient_ns = sim->now_ns - min_u64(sim->now_ns, sim->options.timeout_ns);
    const bool dead = end->dead_ns != 0 && sim->now_ns >= end->dead_ns;
    const bool cut = (out->cut && out->cut_ns < patient_ns) || (in->cut && in->cut_ns < patient_ns);
    const bool unanswered = end->state == NETWORK_SIM_GREETING && sim->now_ns >= end->at_ns;
    if (dead || cut || unanswered) connection_break(node, peer);
}

static void
make_greeting(struct network_sim_node *node, struct network_sim_greeting *greeting)
{
    memset(greeting, 0, sizeof(*greeting));
    struct message_hello *hello = message_body(&greeting->header);
    greeting->header.command = MESSAGE_HELLO;
    greeting->header.size = sizeof(*greeting);
    hello->name[0] = (char) ('a' + node->index);
    hello->version_min = MESSAGE_VERSION_MIN;
    hello->version_max = MESSAGE_VERSION_MAX;
    node->network.callbacks->hello(node->network.context, &greeting->header);
    message_seal(&greeting->header, MESSAGE_VERSION_MAX);
    assert(message_header_valid(&greeting->header) && message_body_valid(&greeting->header));
}

static void
send_bye(
    struct network_sim_node *node,
    uint32_t peer,
    const struct message_bye *bye,
    uint8_t flags)
{
    struct network_sim *sim = node->sim;
    struct network_sim_greeting greeting;
    if (sim->wires[node->index][peer].flight_count == NETWORK_SIM_FLIGHTS_MAX) return;
    memset(&greeting, 0, sizeof(greeting));
    greeting.header = (struct message_header){
        .command = MESSAGE_BYE,
        .sender = MESSAGE_SENDER_GUEST,
        .flags = flags,
        .size = sizeof(greeting),
    };
    memcpy(message_body(&greeting.header), bye, sizeof(*bye));
    message_seal(&greeting.header, MESSAGE_VERSION_MAX);
    wire_put(sim, node->index, peer, &greeting.header, node->ends[peer].connection);
}

static void
dial(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim *sim = node->sim;
    struct network_sim_end *end = &node->ends[peer];
    struct network_sim_greeting greeting;
    if (end->state != NETWORK_SIM_FREE || end->down_pending || end->lent_count > 0) return;
    if (sim->now_ns < end->at_ns) return;
    end->at_ns = sim->now_ns + sim->options.dial_ns;
    if (!sim->nodes[peer].running) return;
    if (sim->wires[node->index][peer].flight_count == NETWORK_SIM_FLIGHTS_MAX) return;
    make_greeting(node, &greeting);
    sim->connection_last += 1;
    end->state = NETWORK_SIM_GREETING;
    end->ended = false;
    end->connection = sim->connection_last;
    end->at_ns = sim->now_ns + sim->options.timeout_ns;
    wire_put(sim, node->index, peer, &greeting.header, end->connection);
}

/* The reason to refuse the other's hello, or 0. */
static uint32_t
judge(const struct network_sim_greeting *own, const struct network_sim_greeting *heard)
{
    const struct message_hello *ours = message_body_const(&own->header);
    const struct message_hello *theirs = message_body_const(&heard->header);
    const u128 cluster = heard->header.cluster;
    if (cluster != 0 && own->header.cluster != 0 && cluster != own->header.cluster) {
        return MESSAGE_BYE_CLUSTER;
    }
    if (ours->fingerprint != theirs->fingerprint) return MESSAGE_BYE_FINGERPRINT;
    if (ours->prepares_size_bytes != theirs->prepares_size_bytes) return MESSAGE_BYE_RING;
    return 0;
}

static void
come_up(
    struct network_sim_node *node, uint32_t peer, const struct network_sim_greeting *heard)
{
    struct network_sim_end *end = &node->ends[peer];
    assert(end->lent_count == 0 && !end->down_pending);
    end->state = NETWORK_SIM_UP;
    end->ended = false;
    node->network.peers[peer].up = true;
    node->sim->counters.connected += 1;
    node->reported += 1;
    trace(node->sim, TRACE_UP, node->index, peer, heard->header.checksum);
    node->network.callbacks->up(node->network.context, peer, &heard->header);
}

/* Somebody else has begun the connection; this end is free. */
static void
accept(
    struct network_sim_node *node,
    uint32_t peer,
    uint64_t connection,
    const struct network_sim_greeting *heard)
{
    struct network_sim *sim = node->sim;
    struct network_sim_end *end = &node->ends[peer];
    struct network_sim_greeting own;
    const struct network_sim_wire *back = &sim->wires[node->index][peer];
    assert(end->state == NETWORK_SIM_FREE);
    if (back->cut || back->flight_count == NETWORK_SIM_FLIGHTS_MAX) return;
    end->connection = connection;
    make_greeting(node, &own);
    const uint32_t reason = judge(&own, heard);
    if (reason != 0) {
        const struct message_bye bye = {.reason = (uint8_t) reason};
        send_bye(node, peer, &bye, 0);
        end->at_ns = sim->now_ns + sim->options.dial_ns;
        return;
    }
    wire_put(sim, node->index, peer, &own.header, connection);
    come_up(node, peer, heard);
}

static enum taking
take_hello(struct network_sim_node *node, uint32_t peer, const struct network_sim_flight *flight)
{
    struct network_sim_end *end = &node->ends[peer];
    struct network_sim_greeting heard;
    assert(flight->size == sizeof(heard));
    memcpy(&heard, flight->bytes, sizeof(heard));
    const bool answer =
        end->state == NETWORK_SIM_GREETING && flight->connection == end->connection;
    if (answer) {
        end->dead_ns = 0;
        come_up(node, peer, &heard);
        return TAKEN;
    }
    if (flight->connection <= end->connection && end->state != NETWORK_SIM_GREETING) return TAKEN;
    /* Both have dialled: the one with the smaller number wins. */
    if (end->state == NETWORK_SIM_GREETING && node->index < peer) return TAKEN;
    /* Who dials anew has lost the connection that there was. */
    if (end->state != NETWORK_SIM_FREE) end_free(node, peer);
    if (end->down_pending || end->lent_count > 0) return BLOCKED;
    accept(node, peer, flight->connection, &heard);
    return TAKEN;
}

static void
take_bye(struct network_sim_node *node, uint32_t peer, const struct network_sim_flight *flight)
{
    struct network_sim_end *end = &node->ends[peer];
    assert(flight->size == sizeof(end->bye));
    end_free(node, peer);
    memcpy(&end->bye, flight->bytes, sizeof(end->bye));
    end->said_bye = true;
    end->down_pending = true;
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static enum taking
take_message(struct network_sim_node *node, uint32_t peer, const struct network_sim_flight *flight)
{
    struct network_sim *sim = node->sim;
    struct network_sim_wire *wire = &sim->wires[peer][node->index];
    if (node->network.peers[peer].paused) return BLOCKED;
    struct message *message =
        message_pool_get(node->network.pool, message_class_for(flight->size));
    if (message == NULL) {
        sim->counters.blocked += 1;
        return BLOCKED;
    }
    memcpy(message->header, flight->bytes, flight->size);
    message_pad(message->header);
    assert(message_header_valid(message->header) && message_body_valid(message->header));
    sim->counters.received += 1;
    sim->counters.overtaken += flight->number < wire->number_received;
    wire->number_received = max_u64(wire->number_received, flight->number);
    node->reported += 1;
    trace(sim, TRACE_RECEIVE, peer, node->index, message->header->checksum);
    node->network.callbacks->received(node->network.context, peer, message);
    return TAKEN;
}

static enum taking
take(struct network_sim_node *node, uint32_t peer, const struct network_sim_flight *flight)
{
    const struct message_header *header = (const void *) flight->bytes;
    const struct network_sim_end *end = &node->ends[peer];
    if (header->command == MESSAGE_HELLO) return take_hello(node, peer, flight);
    const bool current = flight->connection == end->connection &&
                         end->state != NETWORK_SIM_FREE;
    if (current && header->command == MESSAGE_BYE) {
        take_bye(node, peer, flight);
        return TAKEN;
    }
    if (current && end->state == NETWORK_SIM_UP) return take_message(node, peer, flight);
    node->sim->counters.lost += 1;
    trace(node->sim, TRACE_LOSE, peer, node->index, header->checksum);
    return TAKEN;
}

/*
 * A callback may send, close or pause. None of this changes what is on the way to this node, but
 * for a send that breaks the connection: so the message is taken off the wire first.
 */
static void
receive(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim *sim = node->sim;
    struct network_sim_wire *wire = &sim->wires[peer][node->index];
    for (uint32_t i = 0; i < RECEIVES_MAX; i++) {
        const uint32_t next = wire_next(sim, peer, node->index);
        if (next == wire->flight_count) return;
        struct network_sim_flight flight = wire->flights[next];
        wire->flights[next].bytes = NULL;
        flight_remove(wire, next);
        if (take(node, peer, &flight) == TAKEN) {
            free(flight.bytes);
            continue;
        }
        memmove(
            &wire->flights[next + 1],
            &wire->flights[next],
            (wire->flight_count - next) * sizeof(wire->flights[0]));
        wire->flights[next] = flight;
        wire->flight_count += 1;
        return;
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* Returns how many copies of a message arrive. */
static uint32_t
copies_drawn(struct network_sim *sim, uint32_t from, uint32_t to)
{
    const struct network_sim_wire_options *options = &sim->options.wires[from][to];
    if (options->model == NETWORK_SIM_STREAMS) return 1;
    if (sim->wires[from][to].cut || drawn(sim, options->loss_per_million)) return 0;
    return drawn(sim, options->duplicate_per_million) ? 2 : 1;
}

/* Gives the wire what fits onto it. */
static void
transmit(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim *sim = node->sim;
    struct network_sim_end *end = &node->ends[peer];
    const struct network_sim_wire *wire = &sim->wires[node->index][peer];
    const struct network_sim_wire_options *options = &sim->options.wires[node->index][peer];
    while (end->state == NETWORK_SIM_UP && end->written < end->lent_count) {
        /* Room for a double, and for a bye or a hello. */
        if (wire->flight_count + 4 > NETWORK_SIM_FLIGHTS_MAX) return;
        if (wire->busy_until_ns > sim->now_ns + AHEAD_NS) return;
        const struct message *message = end->lent[end->written];
        const uint32_t copies = copies_drawn(sim, node->index, peer);
        end->written += 1;
        for (uint32_t i = 0; i < copies; i++) {
            wire_put(sim, node->index, peer, message->header, end->connection);
        }
        sim->counters.lost += copies == 0;
        sim->counters.duplicated += copies == 2;
        const bool stream = options->model == NETWORK_SIM_STREAMS;
        if (stream && drawn(sim, options->break_per_million)) connection_break(node, peer);
    }
}

/* Gives back what is written, or all if the connection is at its end. */
static void
report_sent(struct network_sim_node *node, uint32_t peer)
{
    struct network_sim_end *end = &node->ends[peer];
    struct network_peer *state = &node->network.peers[peer];
    uint32_t count = end->ended ? end->lent_count : end->written;
    /* A callback may lend again, but only once there is a connection again. */
    for (; count > 0; count--) {
        struct message *message = end->lent[0];
        const bool whole = end->written > 0;
        end->written -= whole;
        end->lent_count -= 1;
        memmove(end->lent, end->lent + 1, end->lent_count * sizeof(end->lent[0]));
        state->queued -= 1;
        state->queued_large -= message->class == MESSAGE_LARGE;
        node->reported += 1;
        node->network.callbacks->sent(node->network.context, peer, message, whole);
    }
}

static void
report(struct network_sim_node *node)
{
    const uint32_t count = node->sim->options.node_count;
    for (uint32_t peer = 0; peer < count; peer++) report_sent(node, peer);
    for (uint32_t peer = 0; peer < count; peer++) {
        struct network_sim_end *end = &node->ends[peer];
        if (!end->down_pending) continue;
        const struct network_sim_greeting bye = end->bye;
        const bool said_bye = end->said_bye;
        end->down_pending = false;
        end->said_bye = false;
        node->reported += 1;
        node->network.callbacks->down(
            node->network.context, peer, said_bye ? &bye.header : NULL);
    }
}

/* ---- The interface --------------------------------------------------------------------------- */

static bool
sim_send(struct network *network, uint32_t peer, struct message *message)
{
    struct network_sim_node *node = node_of(network);
    struct network_sim_end *end = &node->ends[peer];
    assert(node->running && peer != node->index);
    assert(message->references > 0);
    assert(message_header_valid(message->header));
    assert(message->header->command != MESSAGE_HELLO && message->header->command != MESSAGE_BYE);
    assert(end->state == NETWORK_SIM_UP && end->lent_count < NETWORK_QUEUE_MAX);
    const bool large = message->class == MESSAGE_LARGE;
    if (large && network->peers[peer].queued_large == NETWORK_QUEUE_LARGE_MAX) return false;
    end->lent[end->lent_count] = message;
    end->lent_count += 1;
    network->peers[peer].queued += 1;
    network->peers[peer].queued_large += large;
    transmit(node, peer);
    return true;
}

static uint32_t
sim_poll(struct network *network)
{
    struct network_sim_node *node = node_of(network);
    const uint32_t count = node->sim->options.node_count;
    assert(node->running);
    assert(network->callbacks != NULL && network->pool != NULL);
    node->reported = 0;
    for (uint32_t peer = 0; peer < count; peer++) end_check(node, peer);
    report(node);
    const uint32_t first = (uint32_t) prng_below(node->sim->prng, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t peer = (first + i) % count;
        if (peer != node->index) receive(node, peer);
    }
    for (uint32_t peer = 0; peer < count; peer++) {
        if (peer == node->index) continue;
        transmit(node, peer);
        dial(node, peer);
    }
    report(node);
    return node->reported;
}

static void
sim_pause(struct network *network, uint32_t peer, bool paused)
{
    assert(node_of(network)->running);
    assert(network->peers[peer].paused == paused);
}

static void
sim_close(struct network *network, uint32_t peer, const struct message_bye *bye, uint8_t flags)
{
    struct network_sim_node *node = node_of(network);
    if (node->ends[peer].state != NETWORK_SIM_UP) return;
    send_bye(node, peer, bye, flags);
    other_notices(node, peer, node->sim->options.timeout_ns);
    end_free(node, peer);
}

/* ---- Life ------------------------------------------------------------------------------------ */

void
network_sim_init(
    struct network_sim *sim, const struct network_sim_options *options, struct prng *prng)
{
    assert(options->node_count >= 1 && options->node_count <= NETWORK_SIM_NODES_MAX);
    assert(options->timeout_ns > 0 && options->dial_ns > 0);
    memset(sim, 0, sizeof(*sim));
    sim->options = *options;
    sim->prng = prng;
    for (uint32_t i = 0; i < options->node_count; i++) {
        sim->nodes[i].sim = sim;
        sim->nodes[i].index = i;
        sim->nodes[i].network.ops = &network_sim_ops;
        sim->nodes[i].network.peer_count = options->node_count;
        sim->nodes[i].network.peer_max = options->node_count;
    }
}

void
network_sim_free(struct network_sim *sim)
{
    for (uint32_t from = 0; from < sim->options.node_count; from++) {
        for (uint32_t to = 0; to < sim->options.node_count; to++) wire_lose(sim, from, to, 0);
    }
    memset(sim, 0, sizeof(*sim));
}

struct network *
network_sim_of(struct network_sim *sim, uint32_t node)
{
    assert(node < sim->options.node_count);
    return &sim->nodes[node].network;
}

void
network_sim_start(struct network_sim *sim, uint32_t node)
{
    struct network_sim_node *started = &sim->nodes[node];
    assert(node < sim->options.node_count);
    assert(!started->running);
    started->running = true;
    started->network.callbacks = NULL;
    started->network.context = NULL;
    started->network.pool = NULL;
    started->network.polling = false;
    memset(started->network.peers, 0, sizeof(started->network.peers));
    for (uint32_t peer = 0; peer < sim->options.node_count; peer++) {
        wire_lose(sim, peer, node, 0);
        started->ends[peer].at_ns = sim->now_ns + prng_below(sim->prng, sim->options.dial_ns);
    }
    trace(sim, TRACE_START, node, node, 0);
}

void
network_sim_stop(struct network_sim *sim, uint32_t node)
{
    struct network_sim_node *stopped = &sim->nodes[node];
    assert(node < sim->options.node_count);
    assert(stopped->running);
    stopped->running = false;
    const bool power_cut = prng_chance(sim->prng, 1, 2);
    const uint64_t within_ns = power_cut ? sim->options.timeout_ns : sim->options.timeout_ns / 50;
    for (uint32_t peer = 0; peer < sim->options.node_count; peer++) {
        const uint64_t connection = stopped->ends[peer].connection;
        if (peer == node) continue;
        if (prng_chance(sim->prng, 1, 2)) wire_lose(sim, node, peer, 0);
        other_notices(stopped, peer, within_ns);
        stopped->ends[peer] = (struct network_sim_end){.connection = connection};
    }
    trace(sim, TRACE_STOP, node, node, 0);
}

void
network_sim_advance(struct network_sim *sim, uint64_t now_ns)
{
    assert(now_ns >= sim->now_ns);
    sim->now_ns = now_ns;
}

void
network_sim_cut(struct network_sim *sim, uint32_t from, uint32_t to, bool cut)
{
    struct network_sim_wire *wire = &sim->wires[from][to];
    assert(from != to);
    if (wire->cut == cut) return;
    wire->cut = cut;
    wire->cut_ns = sim->now_ns;
    trace(sim, TRACE_CUT, from, to, cut);
    if (sim->options.wires[from][to].model == NETWORK_SIM_CHAOS) {
        if (cut) wire_lose(sim, from, to, 0);
        return;
    }
    if (cut) return;
    /* What was sent meanwhile is sent again, after a while. */
    const uint64_t due_ns = sim->now_ns + prng_below(sim->prng, 200 * NS_PER_MS);
    for (uint32_t i = 0; i < wire->flight_count; i++) {
        wire->flights[i].due_ns = max_u64(wire->flights[i].due_ns, due_ns);
        wire->due_last_ns = max_u64(wire->due_last_ns, due_ns);
    }
}

void
network_sim_slow(struct network_sim *sim, uint32_t from, uint32_t to, uint32_t factor)
{
    assert(from != to);
    assert(factor >= 1);
    sim->wires[from][to].slow = factor;
}

bool
network_sim_due(struct network_sim *sim, uint32_t node)
{
    for (uint32_t peer = 0; peer < sim->options.node_count; peer++) {
        const struct network_sim_end *end = &sim->nodes[node].ends[peer];
        const struct network_sim_wire *in = &sim->wires[peer][node];
        if (end->lent_count > 0 || end->down_pending) return true;
        if (end->dead_ns != 0 && sim->now_ns >= end->dead_ns) return true;
        if (wire_next(sim, peer, node) != in->flight_count) return true;
    }
    return false;
}

bool
network_sim_settled(const struct network_sim *sim)
{
    const uint32_t count = sim->options.node_count;
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t to = 0; to < count; to++) {
            const struct network_sim_end *end = &sim->nodes[from].ends[to];
            if (from == to) continue;
            if (end->lent_count > 0 || end->down_pending) return false;
            if (!sim->nodes[from].running || !sim->nodes[to].running) continue;
            if (sim->wires[from][to].flight_count > 0) return false;
            if (end->state != NETWORK_SIM_UP || end->dead_ns != 0) return false;
        }
    }
    return true;
}
