/* SPDX-License-Identifier: PostgreSQL */
/*
 * The network as a replica sees it: peers with numbers, to which whole messages are sent, and from
 * which whole messages come.
 *
 * A peer's number is its place in the list of nodes that the host configures. It stays while the
 * node is in the list; later another node may have it, after `down` and all `sent`. `peer_count`
 * may grow between two polls, up to `peer_max`: whoever uses the network takes memory for so many.
 * What a peer means to the cluster, its hello says. Rules that every implementation keeps
 * (os/network_os):
 *  - A callback runs inside network_poll only, never inside send, pause or close.
 *  - A message is lent from a send that returned true until `sent`, exactly once for each send. It
 *    may be lent to several peers at a time, and nobody changes it meanwhile. `whole` says whether
 *    all of it was given to the transport; whether it has arrived, only an answer tells.
 *  - Between up and down of a peer, what is received is a prefix of what was sent, in order, each
 *    message whole and valid (vsr/message.h). What is lost is lost together with the connection.
 *    That may happen at any time, also right after a beginning: two nodes that dial each other at
 *    once have two connections, and one of them ends. So who waits for an answer asks again at
 *    each `up`; a question that is asked once may never be answered.
 *  - Everything is bounded: messages and large messages that wait for a peer, connections, bytes
 *    received ahead. A send that doesn't fit returns false, and nothing else happens: what to leave
 *    out is the sender's choice. What the transport has taken counts no longer when the next
 *    message is received, however many of them one poll receives.
 *  - A connection isn't read while no buffer is free for its next message. Who gives a message back
 *    polls again before it sleeps, or asks the network anew how long it may.
 *  - A guest, whose hello has no cluster, sends nothing but hello and bye. Who is greeted by one
 *    sends it what it likes, in frames of its own cluster. Between two guests nothing is sent.
 */
#ifndef LEDGER_IO_NETWORK_H
#define LEDGER_IO_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "config.h"

/* A cluster's members, and who is about to be one. */
#define NETWORK_PEERS_MAX MEMBERS_MAX

/* Messages that wait for a peer at most, and how many of them may be large. */
#define NETWORK_QUEUE_MAX       32
#define NETWORK_QUEUE_LARGE_MAX 12

struct message;      /* vsr/message_pool.h */
struct message_pool; /* vsr/message_pool.h */
struct message_header; /* vsr/message.h */
struct message_bye;

struct network_callbacks {
    /*
     * Fills in all of a hello but size, command and sums. In its body are already the own name,
     * as the list of nodes has it, and the versions of this build: who has no name of its own yet
     * leaves it there. Also called while a peer connects.
     */
    void (*hello)(void *context, struct message_header *hello);
    /*
     * NULL, or asked before a connection ends because the peer has another one already: is there
     * something wrong with who says this hello, whoever it is? Then *bye says what.
     */
    bool (*refuses)(
        void *context, const struct message_header *hello, struct message_bye *bye);
    /* The peer can be reached, and has said this. */
    void (*up)(void *context, uint32_t peer, const struct message_header *hello);
    /*
     * It can't be reached any longer. With `bye` it has said why; that may also come from a peer
     * that was never up, because it refuses us.
     */
    void (*down)(void *context, uint32_t peer, const struct message_header *bye);
    /* The reference is the receiver's from now on. */
    void (*received)(void *context, uint32_t peer, struct message *message);
    /* The reference that was lent is the sender's again. */
    void (*sent)(void *context, uint32_t peer, struct message *message, bool whole);
};

struct network_peer {
    bool up;
    bool paused;
    uint32_t queued;       /* Messages that are lent. */
    uint32_t queued_large; /* How many of them are large. */
};

struct network;

struct network_ops {
    bool (*send)(struct network *network, uint32_t peer, struct message *message);
    uint32_t (*poll)(struct network *network);
    void (*pause)(struct network *network, uint32_t peer, bool paused);
    void (*close)(
        struct network *network, uint32_t peer, const struct message_bye *bye, uint8_t flags);
};

/* First member of each implementation. */
struct network {
    const struct network_ops *ops;
    /* The owner's. It may set these three after the network was made, before the first poll. */
    const struct network_callbacks *callbacks;
    void *context;             /* Given to the callbacks. */
    struct message_pool *pool; /* Where received messages come from. */
    uint32_t peer_count;
    uint32_t peer_max;
    struct network_peer peers[NETWORK_PEERS_MAX];
    bool polling;
};

/*
 * Sends a message that was sealed, if the peer is up and its queue has room; otherwise returns
 * false. On true, one reference of the caller is lent until `sent`.
 */
static inline bool
network_send(struct network *network, uint32_t peer, struct message *message)
{
    assert(peer < network->peer_count);
    assert(message != NULL);
    const struct network_peer *state = &network->peers[peer];
    if (!state->up || state->queued == NETWORK_QUEUE_MAX) return false;
    return network->ops->send(network, peer, message);
}

/* Moves bytes and runs callbacks, without waiting. Returns how many callbacks have run. */
static inline uint32_t
network_poll(struct network *network)
{
    assert(!network->polling);
    network->polling = true;
    const uint32_t count = network->ops->poll(network);
    network->polling = false;
    return count;
}

/* While a peer is paused, nothing is received from it: it feels that, and sends no more. */
static inline void
network_pause(struct network *network, uint32_t peer, bool paused)
{
    assert(peer < network->peer_count);
    if (network->peers[peer].paused == paused) return;
    network->peers[peer].paused = paused;
    network->ops->pause(network, peer, paused);
}

/*
 * Ends the connection to a peer, if there is one: as soon as `bye` is written. `flags` may have
 * MESSAGE_FOREVER. What was lent comes back, and `down` is reported, in the next poll. A peer that
 * dials again is greeted again.
 */
static inline void
network_close(struct network *network, uint32_t peer, const struct message_bye *bye, uint8_t flags)
{
    assert(peer < network->peer_count);
    assert(bye != NULL);
    network->ops->close(network, peer, bye, flags);
}

#endif
