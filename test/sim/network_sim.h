/* SPDX-License-Identifier: PostgreSQL */
/*
 * The simulated network behind io/network.h: some nodes in one process.
 *
 * Everything is a function of the options, of the PRNG, of the time that network_sim_advance sets,
 * and of the calls made. The peer with number i is node i; the own one is never up.
 *
 * WIRES. Each direction between two nodes is a wire, with a latency, a bandwidth, and a bound of
 * what is on the way. Each has one of two models, but hellos always come whole and once.
 *  - streams, as TCP: what is sent comes once and in order, or the connection breaks, by itself
 *    from time to time too, and all that was on the way is lost.
 *  - chaos: each message for itself is lost, comes twice, or later than what was sent after it.
 *    What is promised of order doesn't hold then: safety mustn't need it.
 * In both, a connection begins with a hello of each end, and what was sent on one never comes on a
 * later one. What is received is a copy in a buffer of the receiver's pool. While that has none, or
 * the peer is paused, the wire isn't read: it fills, then the queue at the sender does.
 *
 * CUTS. While a wire is cut, nothing comes through. On a stream it comes later, if the cut ends
 * before `timeout_ns`; of chaos it is lost. A connection of which a wire, either one, is cut for
 * longer ends, at each end in its own time, and can't begin anew before both are whole again.
 *
 * NODES. network_sim_start lets a node take part. network_sim_stop ends it as a crash does: no
 * callback runs, and what it has lent is not looked at any more, since its memory may be gone. Its
 * peers notice after a while; what it has sent before may still come, or is lost. A node that is
 * paused is simply not polled.
 */
#ifndef LEDGER_TEST_SIM_NETWORK_SIM_H
#define LEDGER_TEST_SIM_NETWORK_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/u128.h"
#include "io/network.h"
#include "vsr/message.h"

#define NETWORK_SIM_NODES_MAX 6

/* Messages that are on the way on one wire, at most. */
#define NETWORK_SIM_FLIGHTS_MAX 64

enum network_sim_model { NETWORK_SIM_STREAMS, NETWORK_SIM_CHAOS };

struct network_sim_wire_options {
    enum network_sim_model model;
    uint64_t latency_min_ns;
    uint64_t latency_max_ns;
    uint64_t bytes_per_ms; /* 0: as many as there are. */
    uint32_t break_per_million;     /* Of messages on a stream: the connection breaks. */
    uint32_t loss_per_million;      /* Of chaos. */
    uint32_t duplicate_per_million; /* Of chaos. */
};

struct network_sim_options {
    uint32_t node_count;
    struct network_sim_wire_options wires[NETWORK_SIM_NODES_MAX][NETWORK_SIM_NODES_MAX];
    uint64_t timeout_ns; /* After which a cut ends a connection. */
    uint64_t dial_ns;    /* Between two attempts to connect, about. */
    /* NULL, or called for each message on its way, whose copy it may change and seal again. */
    void (*tamper)(void *context, uint32_t from, uint32_t to, struct message_header *header);
    void *tamper_context;
};

struct network_sim_counters {
    uint64_t sent;
    uint64_t sent_bytes;
    uint64_t received;
    uint64_t lost;       /* On the way, for whatever reason. */
    uint64_t duplicated;
    uint64_t overtaken;  /* Came after one that was sent later. */
    uint64_t connected;  /* Ends that came up, */
    uint64_t broken;     /* and that went down. */
    uint64_t blocked;    /* Times that a wire wasn't read for want of a buffer. */
};

struct network_sim_flight {
    uint8_t *bytes;
    uint32_t size;
    uint64_t connection; /* On which it was sent. */
    uint64_t due_ns;
    uint64_t number; /* Ascends in the order of sending. */
};

/* From one node to another. */
struct network_sim_wire {
    bool cut;
    uint64_t cut_ns; /* Since when. */
    uint32_t slow;   /* By which latencies are multiplied; 0: once. */
    uint64_t busy_until_ns;
    uint64_t due_last_ns;
    uint64_t due_first_ns; /* Nothing that is on the way is due before. */
    uint64_t number_sent;
    uint64_t number_received; /* The highest. */
    struct network_sim_flight flights[NETWORK_SIM_FLIGHTS_MAX];
    uint32_t flight_count;
};

enum network_sim_state { NETWORK_SIM_FREE, NETWORK_SIM_GREETING, NETWORK_SIM_UP };

struct network_sim_greeting {
    struct message_header header;
    uint8_t body[sizeof(struct message_hello)];
};

/* What a node has of its connection to a peer. */
struct network_sim_end {
    enum network_sim_state state;
    uint64_t connection; /* Both ends have the same number; later ones have higher numbers. */
    uint64_t at_ns;      /* Free: when to dial. Greeting: when to give up. */
    uint64_t dead_ns;    /* The other end is gone: when this one notices. 0: it isn't. */
    struct message *lent[NETWORK_QUEUE_MAX];
    uint32_t lent_count;
    uint32_t written; /* How many of them are on the way; the first ones. */
    bool ended;       /* All that is lent comes back. */
    bool down_pending;
    bool said_bye;
    struct network_sim_greeting bye;
};

struct network_sim_node {
    struct network network;
    struct network_sim *sim;
    uint32_t index;
    bool running;
    uint32_t reported; /* Callbacks of this poll. */
    struct network_sim_end ends[NETWORK_SIM_NODES_MAX];
};

struct network_sim {
    struct network_sim_options options; /* May be changed between calls, except node_count. */
    struct network_sim_counters counters;
    uint64_t now_ns;
    u128 trace_hash; /* Of all that happened so far. */

    /* Private. */
    struct prng *prng;
    uint64_t connection_last;
    struct network_sim_node nodes[NETWORK_SIM_NODES_MAX];
    struct network_sim_wire wires[NETWORK_SIM_NODES_MAX][NETWORK_SIM_NODES_MAX];
};

/* The PRNG stays the caller's. The network must not be moved. */
void network_sim_init(
    struct network_sim *sim, const struct network_sim_options *options, struct prng *prng);
void network_sim_free(struct network_sim *sim);

/* A node's network. Its owner sets callbacks, context and pool after network_sim_start. */
struct network *network_sim_of(struct network_sim *sim, uint32_t node);

void network_sim_start(struct network_sim *sim, uint32_t node);
void network_sim_stop(struct network_sim *sim, uint32_t node);

/* Time goes on; never back. */
void network_sim_advance(struct network_sim *sim, uint64_t now_ns);

/* Would a poll of this node tell it anything? But for connections that begin or time out. */
bool network_sim_due(struct network_sim *sim, uint32_t node);

void network_sim_cut(struct network_sim *sim, uint32_t from, uint32_t to, bool cut);

/* Latencies of a wire are `factor` times what the options say. */
void network_sim_slow(struct network_sim *sim, uint32_t from, uint32_t to, uint32_t factor);

/* Nothing is on the way or lent, and who runs is connected to everybody else who does. */
bool network_sim_settled(const struct network_sim *sim);

#endif
