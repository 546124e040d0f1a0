/* SPDX-License-Identifier: PostgreSQL */
/*
 * io/network.h over sockets: connections to all nodes of a list, kept up by dialling.
 *
 *     network_os_open       listens; nothing is connected yet
 *     network_os_wait_fd    readable while network_poll has something to do …
 *     network_os_deadline_ns   … or from this moment on: the host sleeps until either, and asks
 *                           for the moment just before, after all else that it does
 *     network_os_close
 *
 * One thread uses it. All descriptors are close-on-exec. The peer with number i is node i of the
 * list that it was opened with; the own entry is never up. Another list can be taken over while
 * nodes are connected (network_os_reload_nodes).
 *
 * *Who dials.* Everybody dials each node to which it has no connection, within 50 ms, then less and
 * less often, at last each second, with jitter; and 50 ms later if its own name is the greater one.
 * Of two connections between two nodes the one that the node with the smaller name has dialled
 * stays; of two that the same node has dialled the older one, unless nothing came on it for
 * `timeout_ms`: then its node has lost it. So where both dial at once a peer may be up, down and up
 * again within moments, and what was sent on the first connection is lost, as with any other.
 *
 * *Strangers.* A connection is nobody's until its hello was judged: the protocol versions, cluster,
 * build and size of the log must be ours, and the name in the list. At most 8 such connections
 * exist at a time, for 5 s each; more aren't accepted meanwhile. They use no buffer of the pool.
 * Whom a connection's other end must be, before it may even say hello, is network_sockets.h. A
 * refusal gets a `bye` with the reason, and is counted; network_os_notice has words for it, at both
 * ends, at most once a minute.
 *
 * *Guests.* Who is no member yet says hello without a cluster, and then sends nothing but a bye. A
 * member sends it messages of its own cluster. Once it is a member it closes its connections, and
 * is greeted anew. A connection on which we have said hello as who we were before ends by itself
 * before it is up.
 *
 * *Bounds.* All memory is taken by open, but for what the TLS library holds for each of at most
 * NETWORK_CONNECTIONS_MAX connections. A message that stays half received for `timeout_ms` ends its
 * connection.
 */
#ifndef LEDGER_OS_NETWORK_OS_H
#define LEDGER_OS_NETWORK_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prng.h"
#include "io/clock.h"
#include "io/network.h"
#include "os/network_address.h"
#include "os/network_connection.h"
#include "os/network_secrets.h"
#include "os/network_sockets.h"
#include "os/network_tls.h"
#include "vsr/message_pool.h"

#define NETWORK_STRANGERS_MAX 8
#define NETWORK_GREETING_NS   (UINT64_C(5) * NS_PER_S)
#define NETWORK_CLOSING_NS    (UINT64_C(1) * NS_PER_S)
#define NETWORK_DIAL_MIN_NS   (UINT64_C(50) * NS_PER_MS)
#define NETWORK_DIAL_MAX_NS   (UINT64_C(1) * NS_PER_S)
#define NETWORK_NOTICE_NS     (UINT64_C(60) * NS_PER_S)
#define NETWORK_LOOK_UP_NS    (UINT64_C(30) * NS_PER_S)

/* Bytes that suffice for network_os_notice, and for what it says was wrong. */
#define NETWORK_NOTICE_SIZE 512
#define NETWORK_REASON_SIZE 256

/* For each peer one that is up, one that is dialled and one that ends; and strangers. */
#define NETWORK_CONNECTIONS_MAX (3 * NETWORK_PEERS_MAX + NETWORK_STRANGERS_MAX)

struct network_os_options {
    struct clock *clock;
    /* These three may be left to the network's owner: see struct network. */
    struct message_pool *pool;
    const struct network_callbacks *callbacks;
    void *context;
    const char *name; /* The own one, which is in the list. */
    const struct network_nodes *nodes;
    const struct network_address *listen_address; /* NULL: the own entry's. */
    uint32_t peer_max; /* Nodes that a later list may have at most; no fewer than this one. */
    const char *secret_file;                      /* NULL: there is none; only Unix sockets. */
    uint64_t seed;                                /* For the jitter of dialling. */
    uint32_t timeout_ms;
};

/* What it knows of a node of the list, or of one that was in it. */
struct network_os_peer {
    char name[NETWORK_NAME_SIZE];
    bool listed;
    struct network_address address;
    uint64_t lost_ns;      /* Since when it has no connection, if it has none, */
    uint64_t looked_up_ns; /* and when its host was looked up last. */
    uint32_t target_count;
    struct network_target targets[NETWORK_TARGETS_MAX];
    uint32_t target_next;
    uint32_t connection; /* Which one is up; NETWORK_CONNECTIONS_MAX: none. */
    uint64_t dial_ns;    /* When to dial next. */
    uint64_t backoff_ns;
    uint32_t gone_early; /* Connections in a row that it has left without a word. */
    bool down_pending; /* To be reported. */
    bool said_bye;     /* `bye` is what it said. */
    struct network_greeting bye;
};

/* What epoll says of the listening socket; below are connections. */
#define NETWORK_LISTENER NETWORK_CONNECTIONS_MAX

/* It must not be moved while it is open. */
struct network_os {
    struct network network;
    struct clock *clock;
    struct prng prng;
    uint32_t self;
    uint64_t timeout_ns;
    int epoll_fd;
    int listen_fd;
    bool listening;  /* epoll was told so. */
    bool listen_own; /* At the own entry's address. */
    uint64_t listen_again_ns;
    char listen_path[NETWORK_PLACE_SIZE]; /* A Unix socket that is to be removed; or empty. */
    struct network_secrets secrets; /* None: only Unix sockets. */
    struct network_tls_context tls;
    struct network_os_peer peers[NETWORK_PEERS_MAX];
    struct network_connection connections[NETWORK_CONNECTIONS_MAX];
    uint8_t *chunks;
    uint32_t reported; /* Callbacks of this poll. */
    uint64_t refused_count;
    char refused_text[NETWORK_REASON_SIZE + 64];
    char trouble_text[NETWORK_REASON_SIZE + 64]; /* The same, but empty once somebody is met. */
    uint64_t noticed_ns;
    bool noticed;
};

/* ---- network_os_open.c ----------------------------------------------------------------------- */

/* On false, nothing stays open, and the text says why. Looks hosts up, which may block. */
bool network_os_open(
    struct network_os *os, const struct network_os_options *options, char *text, size_t text_size);

/* What is lent goes back to the pool without a callback. */
void network_os_close(struct network_os *os);

int network_os_wait_fd(const struct network_os *os);

/*
 * Reads the secret file again, which may be another one: connections that exist stay, new ones go
 * by its content. On false the old content holds. NULL: there is none any more; then what is known
 * stays while a TCP address needs it.
 */
bool network_os_reload_secrets(
    struct network_os *os, const char *secret_file, char *text, size_t text_size);

/* For another list: what TCP needs, if there is any; */
bool network_os_prepare_transports(
    struct network_os *os,
    const struct network_nodes *nodes,
    const struct network_address *listen_address,
    char *text,
    size_t text_size);

/* listens at another address than before. On false it is still that one. */
bool network_os_listen(
    struct network_os *os, const struct network_address *address, char *text, size_t text_size);

/* ---- network_os_nodes.c ---------------------------------------------------------------------- */

/*
 * Takes over another list of nodes. Who stays in it keeps number and connection; a new address
 * counts when it is dialled next. Who is no longer in it gets the bye that it would get from now on
 * (MESSAGE_BYE_NAME). Who is new gets a number that nobody has had, or else that of a node that is
 * gone from the list and has given everything back; there are `peer_max` numbers. Listening moves
 * with the own entry's address. New hosts are looked up, which may block. On false nothing has
 * changed, and the text says why.
 */
bool network_os_reload_nodes(
    struct network_os *os, const struct network_nodes *nodes, char *text, size_t text_size);

/*
 * Looks a host up again, which may block: of a peer that has had no connection for
 * NETWORK_LOOK_UP_NS, and wasn't looked up for as long. For the host to call now and then, while
 * nobody waits for this node. Returns false if there is none. Who isn't found is where it was.
 */
bool network_os_look_up(struct network_os *os);

/* For opening: the peer of this number is that node, and is dialled within moments. */
void network_os_enlist(struct network_os *os, uint32_t peer, const struct network_node *node);

/* ---- network_os.c ---------------------------------------------------------------------------- */

extern const struct network_ops network_os_ops;

/* When to poll at the latest, in the clock's monotonic time. */
uint64_t network_os_deadline_ns(struct network_os *os);

/* For another list: ends all connections with a peer, and those that are being made. */
void network_os_drop(struct network_os *os, uint32_t peer, enum message_bye_reason reason);

/* Which number the listed node has, or NETWORK_PEERS_MAX. */
uint32_t network_os_find(const struct network_os *os, const char *name);

/* How much later a peer is dialled because it may dial first. */
uint64_t network_os_courtesy_ns(const struct network_os *os, uint32_t peer);

/* ---- network_os_notices.c -------------------------------------------------------------------- */

/* Counts a connection that came to nothing, and keeps it as the newest. */
void network_os_refused(struct network_os *os, const char *who, const char *why);

/* The same, with whom it is or where it comes from, */
void network_os_refused_connection(
    struct network_os *os, const struct network_connection *connection, const char *why);

/* and for a reason of a `bye`, whose words come behind `begin`. */
void network_os_refused_for(
    struct network_os *os, const char *name, const char *begin, uint8_t reason);

/* The other end has left before it had said hello: once or twice, somebody may just have ended. */
void network_os_gone_early(struct network_os *os, const struct network_connection *connection);

/* Notes where a connection comes from. */
void network_os_name_origin(
    struct network_connection *connection, const struct sockaddr_storage *address);

/*
 * At most once a minute: whom no connection could be made with, why, and what to do; and of how
 * many that is the newest. The text has at most NETWORK_NOTICE_SIZE bytes.
 */
bool network_os_notice(struct network_os *os, char *text, size_t text_size);

/*
 * While no peer is up: whom no connection could be made with last, why, and what to do. False if
 * one is up, or nothing is known.
 */
bool network_os_trouble(const struct network_os *os, char *text, size_t text_size);

#endif
