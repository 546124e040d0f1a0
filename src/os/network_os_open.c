/* SPDX-License-Identifier: PostgreSQL */
/* Opening and closing of network_os.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/units.h"
#include "os/network_os.h"

static bool
open_secrets(struct network_os *os, char *text, size_t text_size)
{
    char why[160];
    if (network_secrets_load(&os->secrets, os->secret_file, why, sizeof(why))) return true;
    (void) snprintf(text, text_size, "secret file \"%s\": %s", os->secret_file, why);
    return false;
}

bool
network_os_reload(struct network_os *os, char *text, size_t text_size)
{
    return os->secret_file == NULL || open_secrets(os, text, text_size);
}

/* The jitter of the first dialling keeps nodes that are started together from dialling together. */
static void
open_peers(struct network_os *os, const struct network_nodes *nodes)
{
    os->network.peer_count = nodes->count;
    for (uint32_t i = 0; i < nodes->count; i++) {
        struct network_os_peer *peer = &os->peers[i];
        char why[160];
        memcpy(peer->name, nodes->nodes[i].name, sizeof(peer->name));
        peer->connection = NETWORK_CONNECTIONS_MAX;
        peer->backoff_ns = NETWORK_DIAL_MIN_NS;
        peer->dial_ns = clock_monotonic_ns(os->clock) + prng_below(&os->prng, NETWORK_DIAL_MIN_NS);
        if (i == os->self) continue;
        peer->target_count =
            network_resolve(&nodes->nodes[i].address, peer->targets, why, sizeof(why));
        if (peer->target_count == 0) network_os_refused(os, peer->name, why);
    }
}

static bool
open_listener(
    struct network_os *os, const struct network_address *address, char *text, size_t text_size)
{
    struct network_target targets[NETWORK_TARGETS_MAX];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = NETWORK_LISTENER};
    if (network_resolve(address, targets, text, text_size) == 0) return false;
    os->listen_fd = network_listen(address, &targets[0], text, text_size);
    if (os->listen_fd < 0) return false;
    if (address->transport == NETWORK_UNIX) {
        memcpy(os->listen_path, address->place, sizeof(os->listen_path));
    }
    os->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (os->epoll_fd < 0 || epoll_ctl(os->epoll_fd, EPOLL_CTL_ADD, os->listen_fd, &event) != 0) {
        (void) snprintf(text, text_size, "the system gives no epoll descriptor (error %d)", errno);
        return false;
    }
    os->listening = true;
    return true;
}

static bool
open_transports(
    struct network_os *os, const struct network_os_options *options, char *text, size_t text_size)
{
    bool needs_secret = options->listen_address != NULL &&
                        options->listen_address->transport == NETWORK_TLS;
    for (uint32_t i = 0; i < options->nodes->count; i++) {
        needs_secret |= options->nodes->nodes[i].address.transport == NETWORK_TLS;
    }
    if (needs_secret && options->secret_file == NULL) {
        (void) snprintf(text, text_size, "a TCP address needs a secret file");
        return false;
    }
    if (options->secret_file != NULL && !open_secrets(os, text, text_size)) return false;
    if (needs_secret && !network_tls_open(&os->tls, &os->secrets)) {
        (void) snprintf(text, text_size, "the TLS library could not be set up");
        return false;
    }
    return true;
}

bool
network_os_open(
    struct network_os *os, const struct network_os_options *options, char *text, size_t text_size)
{
    assert(options->timeout_ms > 0);
    memset(os, 0, sizeof(*os));
    os->network.ops = &network_os_ops;
    os->network.callbacks = options->callbacks;
    os->network.context = options->context;
    os->clock = options->clock;
    os->network.pool = options->pool;
    os->timeout_ns = options->timeout_ms * NS_PER_MS;
    os->secret_file = options->secret_file;
    os->epoll_fd = -1;
    os->listen_fd = -1;
    prng_init(&os->prng, options->seed);
    os->self = network_nodes_find(options->nodes, options->name);
    if (os->self == NETWORK_PEERS_MAX) {
        (void) snprintf(text, text_size, "node \"%s\" is not in the list of nodes", options->name);
        return false;
    }
    const struct network_address *address = options->listen_address != NULL
                                                ? options->listen_address
                                                : &options->nodes->nodes[os->self].address;
    os->chunks = calloc(NETWORK_CONNECTIONS_MAX, NETWORK_CHUNK_SIZE);
    if (os->chunks == NULL) (void) snprintf(text, text_size, "out of memory");
    if (os->chunks == NULL || !open_transports(os, options, text, text_size) ||
        !open_listener(os, address, text, text_size)) {
        network_os_close(os);
        return false;
    }
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        os->connections[i].chunk = os->chunks + i * NETWORK_CHUNK_SIZE;
        os->connections[i].stream.fd = -1;
    }
    open_peers(os, options->nodes);
    return true;
}

void
network_os_close(struct network_os *os)
{
    assert(!os->network.polling);
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        struct network_connection *connection = &os->connections[i];
        bool whole = false;
        struct message *message = NULL;
        if (connection->state != CONNECTION_FREE) connection_end(connection, os->network.pool);
        while ((message = connection_take_back(connection, &whole)) != NULL) {
            message_release(os->network.pool, message);
        }
    }
    if (os->listen_path[0] != 0) (void) unlink(os->listen_path);
    if (os->listen_fd >= 0) (void) close(os->listen_fd);
    if (os->epoll_fd >= 0) (void) close(os->epoll_fd);
    network_tls_close(&os->tls);
    explicit_bzero(&os->secrets, sizeof(os->secrets));
    free(os->chunks);
    os->chunks = NULL;
}

int
network_os_wait_fd(const struct network_os *os)
{
    return os->epoll_fd;
}
