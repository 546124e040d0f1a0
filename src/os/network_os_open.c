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
open_secrets(struct network_os *os, const char *path, char *text, size_t text_size)
{
    char why[160];
    if (network_secrets_load(&os->secrets, path, why, sizeof(why))) return true;
    (void) snprintf(text, text_size, "secret file \"%s\": %s", path, why);
    return false;
}

static bool
needs_secret(char *text, size_t text_size)
{
    (void) snprintf(text, text_size, "a TCP address needs a secret file");
    return false;
}

bool
network_os_reload_secrets(
    struct network_os *os, const char *secret_file, char *text, size_t text_size)
{
    if (secret_file != NULL) return open_secrets(os, secret_file, text, text_size);
    if (os->tls.context != NULL) return needs_secret(text, text_size);
    explicit_bzero(&os->secrets, sizeof(os->secrets));
    return true;
}

static void
open_peers(struct network_os *os, const struct network_nodes *nodes)
{
    os->network.peer_count = nodes->count;
    /* The own one first: others are compared with its name. */
    network_os_enlist(os, os->self, &nodes->nodes[os->self]);
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (i != os->self) network_os_enlist(os, i, &nodes->nodes[i]);
    }
}

bool
network_os_listen(
    struct network_os *os, const struct network_address *address, char *text, size_t text_size)
{
    struct network_target targets[NETWORK_TARGETS_MAX];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = NETWORK_LISTENER};
    if (network_resolve(address, targets, text, text_size) == 0) return false;
    const int fd = network_listen(address, &targets[0], text, text_size);
    if (fd < 0) return false;
    const bool path = address->transport == NETWORK_UNIX;
    if (epoll_ctl(os->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        (void) snprintf(text, text_size, "the system gives no room in epoll: %s", strerror(errno));
        if (path) (void) unlink(address->place);
        (void) close(fd);
        return false;
    }
    if (os->listen_path[0] != 0) (void) unlink(os->listen_path);
    if (os->listen_fd >= 0) (void) close(os->listen_fd);
    memset(os->listen_path, 0, sizeof(os->listen_path));
    if (path) memcpy(os->listen_path, address->place, sizeof(os->listen_path));
    os->listen_fd = fd;
    os->listening = true;
    return true;
}

bool
network_os_prepare_transports(
    struct network_os *os,
    const struct network_nodes *nodes,
    const struct network_address *listen_address,
    char *text,
    size_t text_size)
{
    bool secure = listen_address != NULL && listen_address->transport == NETWORK_TLS;
    for (uint32_t i = 0; i < nodes->count; i++) {
        secure |= nodes->nodes[i].address.transport == NETWORK_TLS;
    }
    if (!secure || os->tls.context != NULL) return true;
    if (os->secrets.count == 0) return needs_secret(text, text_size);
    if (!network_tls_open(&os->tls, &os->secrets)) {
        (void) snprintf(text, text_size, "the TLS library could not be set up");
        return false;
    }
    return true;
}

static bool
open_all(
    struct network_os *os, const struct network_os_options *options, char *text, size_t text_size)
{
    const struct network_address *address = options->listen_address;
    const char *secret_file = options->secret_file;
    if (secret_file != NULL && !open_secrets(os, secret_file, text, text_size)) return false;
    if (!network_os_prepare_transports(os, options->nodes, address, text, text_size)) return false;
    os->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (os->epoll_fd < 0) {
        const char *why = strerror(errno);
        (void) snprintf(text, text_size, "the system gives no epoll descriptor: %s", why);
        return false;
    }
    os->listen_own = address == NULL;
    if (os->listen_own) address = &options->nodes->nodes[os->self].address;
    return network_os_listen(os, address, text, text_size);
}

bool
network_os_open(
    struct network_os *os, const struct network_os_options *options, char *text, size_t text_size)
{
    assert(options->timeout_ms > 0);
    assert(options->nodes->count <= options->peer_max);
    assert(options->peer_max <= NETWORK_PEERS_MAX);
    memset(os, 0, sizeof(*os));
    os->network.ops = &network_os_ops;
    os->network.callbacks = options->callbacks;
    os->network.context = options->context;
    os->clock = options->clock;
    os->network.pool = options->pool;
    os->timeout_ns = options->timeout_ms * NS_PER_MS;
    os->network.peer_max = options->peer_max;
    os->epoll_fd = -1;
    os->listen_fd = -1;
    prng_init(&os->prng, options->seed);
    os->self = network_nodes_find(options->nodes, options->name);
    if (os->self == NETWORK_PEERS_MAX) {
        (void) snprintf(text, text_size, "node \"%s\" is not in the list of nodes", options->name);
        return false;
    }
    os->chunks = calloc(NETWORK_CONNECTIONS_MAX, NETWORK_CHUNK_SIZE);
    if (os->chunks == NULL) (void) snprintf(text, text_size, "out of memory");
    if (os->chunks == NULL || !open_all(os, options, text, text_size)) {
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
