/* SPDX-License-Identifier: PostgreSQL */
/*
 * io/network.h over sockets: connections to all nodes of a list, kept up by dialling.
 *
 *     network_os_open       listens; nothing is connected yet
 *     network_os_wait_fd    readable while network_poll has something to do …
 *     network_os_deadline_ns   … or from this moment on: the host sleeps until either
 *     network_os_close
 *
 * One thread uses it. All descriptors are close-on-exec. The peer with number i is node i of the
 * list that it was opened with; the own entry is never up.
 *
 * *Who dials.* Everybody dials each node to which it has no connection, after 50 ms, then less and
 * less often, at last each second, with jitter. Of two connections between two nodes the one that
 * the node with the smaller name has dialled stays; of two that the same node has dialled the older
 * one, unless nothing came on it for `timeout_ms`: then its node has lost it.
 *
 * *Strangers.* A connection is nobody's until its hello was judged: the protocol versions, cluster,
 * build and size of the log must be ours, and the name in the list. At most 8 such connections
 * exist at a time, for 5 s each; more aren't accepted meanwhile. They use no buffer of the pool.
 * Whom a connection's other end must be, before it may even say hello, is network_sockets.h. A
 * refusal gets a `bye` with the reason, and is counted; network_os_notice has words for it at most
 * once a minute.
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
    const char *secret_file;                      /* NULL: there is none; only Unix sockets. */
    uint64_t seed;                                /* For the jitter of dialling. */
    uint32_t timeout_ms;
};

/* What it knows of a node of the list. */
struct network_os_peer {
    char name[NETWORK_NAME_SIZE];
    uint32_t target_count;
    struct network_target targets[NETWORK_TARGETS_MAX];
    uint32_t target_next;
    uint32_t connection; /* Which one is up; NETWORK_CONNECTIONS_MAX: none. */
    uint64_t dial_ns;    /* When to dial next. */
    uint64_t backoff_ns;
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
    bool listening; /* epoll was told so. */
    uint64_t listen_again_ns;
    char listen_path[NETWORK_PLACE_SIZE]; /* A Unix socket that is to be removed; or empty. */
    const char *secret_file;
    struct network_secrets secrets;
    struct network_tls_context tls;
    struct network_os_peer peers[NETWORK_PEERS_MAX];
    struct network_connection connections[NETWORK_CONNECTIONS_MAX];
    uint8_t *chunks;
    uint32_t reported; /* Callbacks of this poll. */
    uint64_t refused_count;
    char refused_text[192];
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
 * Reads the secret file again: connections that exist stay, new ones go by its content. On false
 * the old content holds.
 */
bool network_os_reload(struct network_os *os, char *text, size_t text_size);

/* ---- network_os.c ---------------------------------------------------------------------------- */

extern const struct network_ops network_os_ops;

/* When to poll at the latest, in the clock's monotonic time. */
uint64_t network_os_deadline_ns(struct network_os *os);

/* For opening: counts a refusal, and keeps it as the newest. */
void network_os_refused(struct network_os *os, const char *who, const char *why);

/* At most once a minute: connections were refused, how many, and why the newest was. */
bool network_os_notice(struct network_os *os, char *text, size_t text_size);

#endif
