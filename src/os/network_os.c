/* SPDX-License-Identifier: PostgreSQL */
/* See network_os.h. */
#define _GNU_SOURCE 1 /* accept4. */
#include "os/network_os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/units.h"

static_assert(NETWORK_NAME_SIZE == MESSAGE_NAME_SIZE, "a hello names a node of the list");

#define NONE          NETWORK_CONNECTIONS_MAX
#define EVENTS_MAX    64
#define ACCEPTS_MAX   64 /* Connections that one poll accepts or refuses. */
#define RECEIVES_MAX  64 /* Steps of receiving of one connection in one poll. */
#define ACCEPT_AGAIN_NS (UINT64_C(100) * NS_PER_MS) /* After the system had no descriptor. */

static struct network_os *
os_of(struct network *network)
{
    return container_of(network, struct network_os, network);
}

static uint64_t
now_ns(struct network_os *os)
{
    return clock_monotonic_ns(os->clock);
}

uint32_t
network_os_find(const struct network_os *os, const char *name)
{
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        if (os->peers[i].listed && strcmp(os->peers[i].name, name) == 0) return i;
    }
    return NETWORK_PEERS_MAX;
}

uint64_t
network_os_courtesy_ns(const struct network_os *os, uint32_t peer)
{
    const bool greater = strcmp(os->peers[os->self].name, os->peers[peer].name) > 0;
    return greater ? NETWORK_DIAL_MIN_NS : 0;
}

static uint32_t
index_of(const struct network_os *os, const struct network_connection *connection)
{
    return (uint32_t) (connection - os->connections);
}

static bool
is_stranger(const struct network_connection *connection)
{
    return connection->state != CONNECTION_FREE && connection->peer == NETWORK_PEERS_MAX &&
           connection->dialled_peer == NETWORK_PEERS_MAX;
}

static uint32_t
stranger_count(const struct network_os *os)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        count += is_stranger(&os->connections[i]);
    }
    return count;
}

/* A place whose last user has everything back. */
static struct network_connection *
free_connection(struct network_os *os)
{
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        struct network_connection *connection = &os->connections[i];
        if (connection->state == CONNECTION_FREE && connection->queue_count == 0) return connection;
    }
    return NULL;
}

/* ---- What epoll is told ---------------------------------------------------------------------- */

static bool
is_reading(const struct network_connection *connection)
{
    if (connection->stream.connecting) return false;
    if (connection->state == CONNECTION_GREETING) return true;
    return connection->state == CONNECTION_UP && !connection->paused && !connection->blocked;
}

static void
update_interest(struct network_os *os, struct network_connection *connection)
{
    if (connection->state == CONNECTION_FREE) return;
    uint32_t interest = is_reading(connection) ? EPOLLIN : 0;
    if (connection->stream.connecting || connection_unwritten(connection)) interest |= EPOLLOUT;
    if (interest == connection->interest) return;
    struct epoll_event event = {.events = interest, .data.u32 = index_of(os, connection)};
    const int result = epoll_ctl(os->epoll_fd, EPOLL_CTL_MOD, connection->stream.fd, &event);
    assert(result == 0);
    connection->interest = interest;
}

static void
update_listener(struct network_os *os, bool listening)
{
    if (listening == os->listening) return;
    struct epoll_event event = {.events = listening ? EPOLLIN : 0, .data.u32 = NETWORK_LISTENER};
    const int result = epoll_ctl(os->epoll_fd, EPOLL_CTL_MOD, os->listen_fd, &event);
    assert(result == 0);
    os->listening = listening;
}

/* ---- Reports --------------------------------------------------------------------------------- */

static void
report_down(struct network_os *os, uint32_t peer)
{
    struct network_os_peer *state = &os->peers[peer];
    if (!state->down_pending) return;
    const struct network_greeting bye = state->bye;
    const bool said_bye = state->said_bye;
    state->down_pending = false;
    state->said_bye = false;
    os->reported += 1;
    os->network.callbacks->down(os->network.context, peer, said_bye ? &bye.header : NULL);
}

/* A callback may lend again: so no more than was there can come back in one pass. */
static void
report_returned(struct network_os *os, struct network_connection *connection)
{
    for (uint32_t i = 0; i < NETWORK_QUEUE_MAX; i++) {
        bool whole = false;
        struct message *message = connection_take_back(connection, &whole);
        if (message == NULL) break;
        const uint32_t peer = connection->peer;
        struct network_peer *state = &os->network.peers[peer];
        assert(state->queued > 0);
        state->queued -= 1;
        state->queued_large -= message->class == MESSAGE_LARGE;
        os->reported += 1;
        os->network.callbacks->sent(os->network.context, peer, message, whole);
    }
}

/* What the transport has taken makes room at once: for the answers to what comes next. */
static void
report_written(struct network_os *os)
{
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        struct network_connection *connection = &os->connections[i];
        if (connection->queue_written > 0) report_returned(os, connection);
    }
}

static void
report(struct network_os *os)
{
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) report_returned(os, &os->connections[i]);
    for (uint32_t i = 0; i < os->network.peer_count; i++) report_down(os, i);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void
dial_later(struct network_os *os, uint32_t peer)
{
    struct network_os_peer *state = &os->peers[peer];
    const uint64_t half = state->backoff_ns / 2;
    const uint64_t wait_ns = half + prng_below(&os->prng, half + 1);
    state->dial_ns = now_ns(os) + wait_ns + network_os_courtesy_ns(os, peer);
    state->backoff_ns = min_u64(2 * state->backoff_ns, NETWORK_DIAL_MAX_NS);
}

/* The peer has no connection any longer. What it may have said is told with it. */
static void
peer_down(struct network_os *os, const struct network_connection *connection)
{
    const uint32_t peer = connection->peer;
    struct network_os_peer *state = &os->peers[peer];
    assert(state->connection == index_of(os, connection));
    state->connection = NONE;
    state->down_pending = true;
    state->said_bye = connection->said_bye;
    if (connection->said_bye) state->bye = connection->heard;
    state->lost_ns = now_ns(os);
    os->network.peers[peer].up = false;
    dial_later(os, peer);
}

static void
end_connection(struct network_os *os, struct network_connection *connection)
{
    const uint32_t dialled = connection->dialled_peer;
    if (connection->state == CONNECTION_UP) {
        peer_down(os, connection);
    } else if (dialled < NETWORK_PEERS_MAX && os->peers[dialled].connection == NONE) {
        struct network_os_peer *state = &os->peers[dialled];
        const struct message_bye *bye = message_body_const(&connection->heard.header);
        /* That it has another connection is news of this one only. */
        if (connection->said_bye && bye->reason != MESSAGE_BYE_CONNECTED) {
            state->down_pending = true;
            state->said_bye = true;
            state->bye = connection->heard;
        }
        dial_later(os, dialled);
    }
    connection_end(connection, os->network.pool);
}

static void
say_bye(
    struct network_os *os,
    struct network_connection *connection,
    const struct message_bye *bye,
    uint8_t flags)
{
    struct network_greeting *own = &connection->own;
    assert(connection->state != CONNECTION_FREE && connection->state != CONNECTION_CLOSING);
    /* A hello that was not written whole can't be followed by anything else. */
    if (connection->own_written > 0 && connection->own_written < connection->own_size) {
        end_connection(os, connection);
        return;
    }
    own->header = (struct message_header){
        .command = MESSAGE_BYE,
        .cluster = own->header.cluster,
        .sender = own->header.sender,
        .flags = flags,
        .size = sizeof(*own),
    };
    memcpy(message_body(&own->header), bye, sizeof(*bye));
    message_seal(&own->header, MESSAGE_VERSION_MAX);
    assert(message_header_valid(&own->header) && message_body_valid(&own->header));
    if (connection->state == CONNECTION_UP) peer_down(os, connection);
    connection->state = CONNECTION_CLOSING;
    connection->deadline_ns = now_ns(os) + NETWORK_CLOSING_NS;
    connection_say(connection);
    if (!connection_write(connection)) end_connection(os, connection);
}

static void
say_reason(
    struct network_os *os, struct network_connection *connection, enum message_bye_reason reason)
{
    const struct message_bye bye = {.reason = (uint8_t) reason};
    say_bye(os, connection, &bye, 0);
}

/* ---- Beginnings ------------------------------------------------------------------------------ */

static void
make_hello(struct network_os *os, struct network_greeting *own)
{
    struct message_hello *hello = message_body(&own->header);
    memset(own, 0, sizeof(*own));
    own->header.command = MESSAGE_HELLO;
    own->header.size = sizeof(*own);
    memcpy(hello->name, os->peers[os->self].name, sizeof(hello->name));
    hello->version_min = MESSAGE_VERSION_MIN;
    hello->version_max = MESSAGE_VERSION_MAX;
    os->network.callbacks->hello(os->network.context, &own->header);
    message_seal(&own->header, MESSAGE_VERSION_MAX);
    assert(message_header_valid(&own->header) && message_body_valid(&own->header));
}

static void
begin_connection(
    struct network_os *os,
    struct network_connection *connection,
    const struct network_stream *stream,
    uint32_t dialled_peer,
    const struct sockaddr_storage *from)
{
    connection_begin(connection, stream);
    connection->dialled_peer = dialled_peer;
    if (from != NULL) network_os_name_origin(connection, from);
    connection->progress_ns = now_ns(os);
    connection->deadline_ns = connection->progress_ns + NETWORK_GREETING_NS;
    connection->interest = EPOLLIN | EPOLLOUT;
    struct epoll_event event = {
        .events = connection->interest,
        .data.u32 = index_of(os, connection),
    };
    if (epoll_ctl(os->epoll_fd, EPOLL_CTL_ADD, stream->fd, &event) != 0) {
        end_connection(os, connection);
        return;
    }
    make_hello(os, &connection->own);
    connection_say(connection);
    if (!connection_write(connection)) {
        network_os_gone_early(os, connection);
        end_connection(os, connection);
        return;
    }
    update_interest(os, connection);
}

static void
accept_all(struct network_os *os)
{
    bool waiting = true;
    for (uint32_t i = 0; waiting && i < ACCEPTS_MAX; i++) {
        struct network_connection *connection = free_connection(os);
        if (connection == NULL || stranger_count(os) == NETWORK_STRANGERS_MAX) break;
        struct network_stream stream;
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof(from);
        const int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
        const int fd = accept4(os->listen_fd, (struct sockaddr *) &from, &size, flags);
        if (fd < 0) {
            waiting = errno == EINTR || errno == ECONNABORTED;
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                os->listen_again_ns = now_ns(os) + ACCEPT_AGAIN_NS;
            }
        } else if (network_stream_accept(
                       &stream, fd, &os->tls, (uint32_t) (os->timeout_ns / NS_PER_MS))) {
            begin_connection(os, connection, &stream, NETWORK_PEERS_MAX, &from);
        } else {
            network_os_refused(
                os, "a process of this machine",
                "it is another user's process; nodes that share a machine run as the same user");
        }
    }
}

static bool
is_dialling(const struct network_os *os, uint32_t peer)
{
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        const struct network_connection *connection = &os->connections[i];
        if (connection->state == CONNECTION_GREETING && connection->dialled_peer == peer) {
            return true;
        }
    }
    return false;
}

static bool
wants_dialling(const struct network_os *os, uint32_t peer)
{
    return peer != os->self && os->peers[peer].connection == NONE &&
           os->peers[peer].target_count > 0 && !is_dialling(os, peer);
}

static void
dial_all(struct network_os *os)
{
    const uint64_t now = now_ns(os);
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        struct network_os_peer *peer = &os->peers[i];
        struct network_connection *connection = free_connection(os);
        if (connection == NULL) return;
        if (!wants_dialling(os, i) || now < peer->dial_ns) continue;
        const struct network_target *target = &peer->targets[peer->target_next];
        struct network_stream stream;
        peer->target_next = (peer->target_next + 1) % peer->target_count;
        if (network_stream_dial(
                &stream, target, &os->tls, (uint32_t) (os->timeout_ns / NS_PER_MS))) {
            begin_connection(os, connection, &stream, i, NULL);
        } else {
            dial_later(os, i);
        }
    }
}

/* ---- Hellos ---------------------------------------------------------------------------------- */

/* Returns 0, or why the two can't talk. `peer` is who it is. */
static uint32_t
judge(const struct network_os *os, const struct network_connection *connection, uint32_t *peer)
{
    const struct message_header *theirs = &connection->heard.header;
    const struct message_header *ours = &connection->own.header;
    const struct message_hello *hello = message_body_const(theirs);
    const struct message_hello *own = message_body_const(ours);
    if (hello->version_min > own->version_max || hello->version_max < own->version_min) {
        return MESSAGE_BYE_PROTOCOL;
    }
    /* Who is no member yet may not know the cluster. */
    if (theirs->cluster != 0 && ours->cluster != 0 && theirs->cluster != ours->cluster) {
        return MESSAGE_BYE_CLUSTER;
    }
    if (hello->fingerprint != own->fingerprint) return MESSAGE_BYE_FINGERPRINT;
    if (hello->prepares_size_bytes != own->prepares_size_bytes) return MESSAGE_BYE_RING;
    *peer = network_os_find(os, hello->name);
    if (*peer == os->self) return MESSAGE_BYE_SELF;
    if (*peer == NETWORK_PEERS_MAX) return MESSAGE_BYE_NAME;
    const uint32_t dialled = connection->dialled_peer;
    return dialled != NETWORK_PEERS_MAX && dialled != *peer ? MESSAGE_BYE_NAME : 0;
}

/* Both ends come to the same answer about the same connection. */
static bool
dialled_by_smaller(
    const struct network_os *os, const struct network_connection *connection, uint32_t peer)
{
    const bool we_are_smaller = strcmp(os->peers[os->self].name, os->peers[peer].name) < 0;
    return (connection->dialled_peer != NETWORK_PEERS_MAX) == we_are_smaller;
}

/* Is the connection that is up to give way to a new one? */
static bool
gives_way(
    struct network_os *os,
    const struct network_connection *old,
    const struct network_connection *connection,
    uint32_t peer)
{
    const bool old_preferred = dialled_by_smaller(os, old, peer);
    const bool new_preferred = dialled_by_smaller(os, connection, peer);
    if (old_preferred != new_preferred) return new_preferred;
    return now_ns(os) - old->progress_ns >= os->timeout_ns;
}

/* Since this connection has begun we may have become somebody else: a guest is a member now. */
static bool
is_outdated(struct network_os *os, const struct network_connection *connection)
{
    struct network_greeting own;
    make_hello(os, &own);
    const struct message_hello *now = message_body_const(&own.header);
    const struct message_hello *said = message_body_const(&connection->own.header);
    return own.header.cluster != connection->own.header.cluster ||
           own.header.sender != connection->own.header.sender ||
           now->incarnation != said->incarnation || now->session != said->session;
}

/* There is a connection to this peer already. Who this is may have to know more than that. */
static void
say_connected(struct network_os *os, struct network_connection *connection)
{
    const struct network_callbacks *callbacks = os->network.callbacks;
    struct message_bye bye = {.reason = MESSAGE_BYE_CONNECTED};
    if (callbacks->refuses != NULL) {
        (void) callbacks->refuses(os->network.context, &connection->heard.header, &bye);
    }
    say_bye(os, connection, &bye, 0);
}

static void
on_hello(struct network_os *os, struct network_connection *connection)
{
    uint32_t peer = NETWORK_PEERS_MAX;
    const uint32_t reason = judge(os, connection, &peer);
    if (reason != 0) {
        const struct message_hello *hello = message_body_const(&connection->heard.header);
        network_os_refused_for(os, hello->name, "", (uint8_t) reason);
        say_reason(os, connection, (enum message_bye_reason) reason);
        return;
    }
    if (is_outdated(os, connection)) {
        say_reason(os, connection, MESSAGE_BYE_SHUTDOWN);
        return;
    }
    struct network_os_peer *state = &os->peers[peer];
    if (state->connection != NONE) {
        struct network_connection *old = &os->connections[state->connection];
        if (!gives_way(os, old, connection, peer)) {
            say_connected(os, connection);
            return;
        }
        say_reason(os, old, MESSAGE_BYE_CONNECTED);
        update_interest(os, old);
        report_returned(os, old);
    }
    report_down(os, peer);
    const u128 ours = connection->own.header.cluster;
    connection->of_guest = connection->heard.header.cluster == 0;
    connection->cluster = ours != 0 ? ours : connection->heard.header.cluster;
    connection->peer = peer;
    connection->state = CONNECTION_UP;
    connection->deadline_ns = 0;
    connection->paused = os->network.peers[peer].paused;
    state->connection = index_of(os, connection);
    state->backoff_ns = NETWORK_DIAL_MIN_NS;
    state->gone_early = 0;
    os->trouble_text[0] = 0;
    os->network.peers[peer].up = true;
    os->reported += 1;
    os->network.callbacks->up(os->network.context, peer, &connection->heard.header);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

/* What it found wrong with our hello is told here too: people may look at either node's log. */
static void
on_bye(struct network_os *os, struct network_connection *connection)
{
    const struct message_bye *bye = message_body_const(&connection->heard.header);
    const uint32_t peer =
        connection->peer < NETWORK_PEERS_MAX ? connection->peer : connection->dialled_peer;
    if (peer < NETWORK_PEERS_MAX && bye->reason >= MESSAGE_BYE_PROTOCOL &&
        bye->reason <= MESSAGE_BYE_SELF) {
        network_os_refused_for(os, os->peers[peer].name, "it refuses this node: ", bye->reason);
    }
    connection->said_bye = true;
    end_connection(os, connection);
}

/*
 * Who finds the stream's end in writing goes on reading up to it: what the other end has said
 * before it went, above all why, is still there.
 */
static void
write_out(struct network_os *os, struct network_connection *connection)
{
    if (connection->state == CONNECTION_FREE || connection_write(connection)) return;
    if (is_reading(connection)) {
        connection->unwritable = true;
        connection->more = true;
    } else {
        end_connection(os, connection);
    }
}

/* Something may be there to be read although the socket says nothing. */
static bool
reads_on(const struct network_connection *connection)
{
    if (connection->more && is_reading(connection)) return true;
    return connection->state == CONNECTION_UP && connection->blocked && !connection->paused;
}

/* Returns false when nothing more is to be asked of the connection now. */
static bool
on_news(
    struct network_os *os,
    struct network_connection *connection,
    enum connection_news news,
    struct message *message)
{
    switch (news) {
    case CONNECTION_NOTHING: return connection->more && !connection->blocked;
    case CONNECTION_MESSAGE:
        os->reported += 1;
        os->network.callbacks->received(os->network.context, connection->peer, message);
        return true;
    case CONNECTION_HELLO: on_hello(os, connection); return true;
    case CONNECTION_BYE: on_bye(os, connection); return false;
    case CONNECTION_ENDED:
        if (connection->state == CONNECTION_GREETING && connection->stream.tls.failed) {
            network_os_refused_connection(
                os,
                connection,
                "the TLS handshake has failed; see whether ledger.secret_file is the same on both "
                "nodes");
        } else if (connection->state == CONNECTION_GREETING) {
            network_os_gone_early(os, connection);
        }
        end_connection(os, connection);
        return false;
    case CONNECTION_GARBAGE:
        network_os_refused_connection(os, connection, "what it sent is no valid message");
        end_connection(os, connection);
        return false;
    }
    unreachable();
}

/* For a while; `more` stays set if that wasn't all. */
static void
receive(struct network_os *os, struct network_connection *connection)
{
    bool again = true;
    for (uint32_t i = 0; again && i < RECEIVES_MAX; i++) {
        struct message *message = NULL;
        const bool was_blocked = connection->blocked;
        const enum connection_news news =
            connection_receive(connection, os->network.pool, &message);
        const bool goes_on = was_blocked && !connection->blocked; /* It couldn't come earlier. */
        if (news != CONNECTION_NOTHING || connection->more || goes_on) {
            connection->progress_ns = now_ns(os);
        }
        again = on_news(os, connection, news, message);
        report_written(os);
        /* Any callback may have ended or paused it. */
        const bool reads = connection->state == CONNECTION_GREETING ||
                           (connection->state == CONNECTION_UP && !connection->paused);
        if (!reads) break;
        if (again) connection->more = true;
    }
    if (connection->unwritable && !connection->more && is_reading(connection)) {
        end_connection(os, connection);
    }
    /* A handshake that went on may let the hello go out. */
    write_out(os, connection);
}

static void
on_event(struct network_os *os, struct network_connection *connection, uint32_t events)
{
    if (connection->state == CONNECTION_FREE) return; /* Ended by an event before this one. */
    if (!network_stream_connected(&connection->stream)) {
        end_connection(os, connection);
        return;
    }
    if (is_reading(connection)) {
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(os, connection);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        end_connection(os, connection); /* It would be reported for ever. */
    }
    if ((events & EPOLLOUT) != 0) write_out(os, connection);
    if (connection->state == CONNECTION_CLOSING && !connection_unwritten(connection)) {
        end_connection(os, connection);
    }
    update_interest(os, connection);
}

/* ---- Time ------------------------------------------------------------------------------------ */

/* When the connection is over if nothing comes; UINT64_MAX: never. */
static uint64_t
connection_deadline_ns(const struct network_os *os, const struct network_connection *connection)
{
    if (connection->state == CONNECTION_FREE) return UINT64_MAX;
    if (connection->deadline_ns != 0) return connection->deadline_ns;
    const bool half = connection->incoming != NULL || connection->chunk_end > 0;
    if (half && is_reading(connection)) return connection->progress_ns + os->timeout_ns;
    return UINT64_MAX;
}

static void
serve(struct network_os *os, struct network_connection *connection)
{
    if (connection->state == CONNECTION_FREE) return;
    if (now_ns(os) >= connection_deadline_ns(os, connection)) {
        if (connection->state != CONNECTION_CLOSING) {
            /* Who is just starting, and has much to replay, listens and isn't there yet. */
            const bool greeting = connection->state == CONNECTION_GREETING;
            network_os_refused_connection(
                os,
                connection,
                greeting ? "it has not said hello in time" : "a message was not whole in time");
        }
        end_connection(os, connection);
        return;
    }
    if (reads_on(connection)) receive(os, connection);
    if (connection->state == CONNECTION_CLOSING && !connection_unwritten(connection)) {
        end_connection(os, connection);
    }
    update_interest(os, connection);
}

/* Also after a buffer came back in the last moment of a poll, or between two. */
static bool
lacks_buffer(const struct network_os *os, const struct network_connection *connection)
{
    const enum message_class class = (enum message_class) connection->blocked_class;
    return connection->blocked && message_pool_free_count(os->network.pool, class) == 0;
}

uint64_t
network_os_deadline_ns(struct network_os *os)
{
    uint64_t deadline = UINT64_MAX;
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        const struct network_connection *connection = &os->connections[i];
        deadline = min_u64(deadline, connection_deadline_ns(os, connection));
        if (reads_on(connection) && !lacks_buffer(os, connection)) return now_ns(os);
        if (connection->queue_written > 0) return now_ns(os); /* To be reported. */
    }
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        if (os->peers[i].down_pending) return now_ns(os);
        if (wants_dialling(os, i)) deadline = min_u64(deadline, os->peers[i].dial_ns);
    }
    if (!os->listening && os->listen_again_ns > now_ns(os)) {
        deadline = min_u64(deadline, os->listen_again_ns);
    }
    return deadline;
}

static uint32_t
os_poll(struct network *network)
{
    struct network_os *os = os_of(network);
    struct epoll_event events[EVENTS_MAX];
    os->reported = 0;
    report(os);
    const int count = epoll_wait(os->epoll_fd, events, EVENTS_MAX, 0);
    assert(count >= 0 || errno == EINTR);
    bool accepts = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == NETWORK_LISTENER) {
            accepts = true;
        } else {
            on_event(os, &os->connections[events[i].data.u32], events[i].events);
        }
    }
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) serve(os, &os->connections[i]);
    /* After the events: a place that was given away would be taken for the one that they are of. */
    if (accepts) accept_all(os);
    update_listener(
        os, stranger_count(os) < NETWORK_STRANGERS_MAX && now_ns(os) >= os->listen_again_ns);
    dial_all(os);
    report(os);
    return os->reported;
}

/* ---- The interface --------------------------------------------------------------------------- */

static bool
os_send(struct network *network, uint32_t peer, struct message *message)
{
    struct network_os *os = os_of(network);
    struct network_connection *connection = &os->connections[os->peers[peer].connection];
    assert(message->header->cluster == connection->cluster);
    assert(connection->own.header.cluster != 0); /* A guest sends nothing. */
    const bool waiting = connection_unwritten(connection);
    if (!connection_lend(connection, message)) return false;
    network->peers[peer].queued += 1;
    network->peers[peer].queued_large += message->class == MESSAGE_LARGE;
    /* Behind what waits it would not get out. An end of the stream is met again by the poll. */
    if (!waiting) (void) connection_write(connection);
    update_interest(os, connection);
    return true;
}

static void
os_pause(struct network *network, uint32_t peer, bool paused)
{
    struct network_os *os = os_of(network);
    if (os->peers[peer].connection == NONE) return;
    struct network_connection *connection = &os->connections[os->peers[peer].connection];
    connection->paused = paused;
    if (!paused) connection->more = true;
    connection->progress_ns = now_ns(os);
    update_interest(os, connection);
}

void
network_os_drop(struct network_os *os, uint32_t peer, enum message_bye_reason reason)
{
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        struct network_connection *connection = &os->connections[i];
        if (connection->state == CONNECTION_UP && connection->peer == peer) {
            say_reason(os, connection, reason);
            update_interest(os, connection);
        } else if (connection->state == CONNECTION_GREETING && connection->dialled_peer == peer) {
            end_connection(os, connection);
        }
    }
}

static void
os_close(struct network *network, uint32_t peer, const struct message_bye *bye, uint8_t flags)
{
    struct network_os *os = os_of(network);
    if (os->peers[peer].connection == NONE) return;
    struct network_connection *connection = &os->connections[os->peers[peer].connection];
    say_bye(os, connection, bye, flags);
    update_interest(os, connection);
}

const struct network_ops network_os_ops = {
    .send = os_send,
    .poll = os_poll,
    .pause = os_pause,
    .close = os_close,
};
