/* SPDX-License-Identifier: PostgreSQL */
/* See network_connection.h. */
#include "os/network_connection.h"

#include <string.h>

#include "base/assert.h"
#include "base/units.h"

/* Messages that one system call gathers. */
#define PIECES_MAX 8

void
connection_begin(struct network_connection *connection, const struct network_stream *stream)
{
    uint8_t *chunk = connection->chunk;
    assert(connection->state == CONNECTION_FREE);
    assert(chunk != NULL);
    memset(connection, 0, sizeof(*connection));
    connection->chunk = chunk;
    connection->state = CONNECTION_GREETING;
    connection->stream = *stream;
    connection->peer = NETWORK_PEERS_MAX;
    connection->dialled_peer = NETWORK_PEERS_MAX;
}

void
connection_end(struct network_connection *connection, struct message_pool *pool)
{
    assert(connection->state != CONNECTION_FREE);
    network_stream_close(&connection->stream);
    if (connection->incoming != NULL) message_release(pool, connection->incoming);
    connection->incoming = NULL;
    connection->state = CONNECTION_FREE;
}

/* ---- Out ------------------------------------------------------------------------------------- */

void
connection_say(struct network_connection *connection)
{
    assert(connection->own.header.size == sizeof(connection->own));
    connection->own_size = sizeof(connection->own);
    connection->own_written = 0;
}

bool
connection_lend(struct network_connection *connection, struct message *message)
{
    assert(message->references > 0);
    const bool large = message->class == MESSAGE_LARGE;
    if (connection->state != CONNECTION_UP) return false;
    if (connection->queue_count == NETWORK_QUEUE_MAX) return false;
    if (large && connection->queue_large == NETWORK_QUEUE_LARGE_MAX) return false;
    const uint32_t at = (connection->queue_begin + connection->queue_count) % NETWORK_QUEUE_MAX;
    connection->queue[at] = message;
    connection->queue_count += 1;
    connection->queue_large += large;
    return true;
}

static struct message *
queue_at(const struct network_connection *connection, uint32_t index)
{
    assert(index < connection->queue_count);
    return connection->queue[(connection->queue_begin + index) % NETWORK_QUEUE_MAX];
}

/* Messages that may go out now: a bye lets only that one pass which was begun. */
static uint32_t
writable_count(const struct network_connection *connection)
{
    const uint32_t count = connection->queue_count - connection->queue_written;
    switch (connection->state) {
    case CONNECTION_UP: return count;
    case CONNECTION_CLOSING: return connection->head_written > 0 ? 1 : 0;
    case CONNECTION_GREETING:
    case CONNECTION_FREE: break;
    }
    return 0;
}

bool
connection_unwritten(struct network_connection *connection)
{
    if (connection->unwritable) return false;
    const bool waiting =
        connection->own_written < connection->own_size || writable_count(connection) > 0;
    return (waiting && network_stream_known(&connection->stream)) ||
           network_stream_unsent(&connection->stream);
}

static bool
write_own(struct network_connection *connection)
{
    const struct iovec piece = {
        .iov_base = (uint8_t *) &connection->own + connection->own_written,
        .iov_len = connection->own_size - connection->own_written,
    };
    const ssize_t size = network_stream_write(&connection->stream, &piece, 1);
    if (size > 0) connection->own_written += (uint32_t) size;
    return size >= 0;
}

/* So many bytes of the queue were taken. */
static void
advance(struct network_connection *connection, uint64_t size)
{
    while (size > 0) {
        const struct message *message = queue_at(connection, connection->queue_written);
        const uint64_t rest = message->header->size - connection->head_written;
        if (size < rest) {
            connection->head_written += (uint32_t) size;
            return;
        }
        size -= rest;
        connection->head_written = 0;
        connection->queue_written += 1;
    }
}

/* Returns < 0 at the end, else how many bytes went. */
static ssize_t
write_queue(struct network_connection *connection, uint32_t count)
{
    struct iovec pieces[PIECES_MAX];
    int used = 0;
    while (used < PIECES_MAX && (uint32_t) used < count) {
        const struct message *message =
            queue_at(connection, connection->queue_written + (uint32_t) used);
        const uint32_t skip = used == 0 ? connection->head_written : 0;
        pieces[used].iov_base = (uint8_t *) message->header + skip;
        pieces[used].iov_len = message->header->size - skip;
        used += 1;
    }
    const ssize_t size = network_stream_write(&connection->stream, pieces, used);
    if (size > 0) advance(connection, (uint64_t) size);
    return size;
}

bool
connection_write(struct network_connection *connection)
{
    if (connection->stream.connecting || connection->unwritable) return true;
    for (;;) {
        const uint32_t count = writable_count(connection);
        const bool own = connection->own_written < connection->own_size;
        if (own && connection->head_written == 0) {
            const uint32_t before = connection->own_written;
            if (!write_own(connection)) return false;
            if (connection->own_written == before) return true;
        } else if (count > 0) {
            const ssize_t size = write_queue(connection, count);
            if (size <= 0) return size == 0;
        } else {
            return network_stream_flush(&connection->stream);
        }
    }
}

struct message *
connection_take_back(struct network_connection *connection, bool *whole)
{
    struct message *message = NULL;
    if (connection->queue_written > 0) {
        message = queue_at(connection, 0);
        *whole = true;
        connection->queue_written -= 1;
        connection->queue_begin = (connection->queue_begin + 1) % NETWORK_QUEUE_MAX;
    } else if (connection->queue_count > writable_count(connection)) {
        /* From the end, so that one that was begun stays the first. */
        message = queue_at(connection, connection->queue_count - 1);
        *whole = false;
    } else {
        return NULL;
    }
    connection->queue_count -= 1;
    connection->queue_large -= message->class == MESSAGE_LARGE;
    return message;
}

/* ---- In -------------------------------------------------------------------------------------- */

static uint32_t
chunk_count(const struct network_connection *connection)
{
    return connection->chunk_end - connection->chunk_begin;
}

static void
chunk_take(struct network_connection *connection, void *into, uint32_t size)
{
    assert(size <= chunk_count(connection));
    memcpy(into, connection->chunk + connection->chunk_begin, size);
    connection->chunk_begin += size;
    if (connection->chunk_begin == connection->chunk_end) {
        connection->chunk_begin = 0;
        connection->chunk_end = 0;
    }
}

/* A hello or bye is parsed once it is whole, without a buffer of the pool. */
static enum connection_news
parse_greeting(struct network_connection *connection, const struct message_header *header)
{
    const bool hello = header->command == MESSAGE_HELLO;
    if (hello && connection->state != CONNECTION_GREETING) return CONNECTION_GARBAGE;
    if (chunk_count(connection) < sizeof(connection->heard)) return CONNECTION_NOTHING;
    chunk_take(connection, &connection->heard, sizeof(connection->heard));
    if (!message_body_valid(&connection->heard.header)) return CONNECTION_GARBAGE;
    return hello ? CONNECTION_HELLO : CONNECTION_BYE;
}

/* Looks at the next frame in the chunk, and begins its message. */
static enum connection_news
parse_frame(struct network_connection *connection, struct message_pool *pool)
{
    struct message_header header;
    if (chunk_count(connection) < MESSAGE_HEADER_SIZE) return CONNECTION_NOTHING;
    memcpy(&header, connection->chunk + connection->chunk_begin, MESSAGE_HEADER_SIZE);
    if (!message_header_valid(&header)) return CONNECTION_GARBAGE;
    if (header.command == MESSAGE_HELLO || header.command == MESSAGE_BYE) {
        return parse_greeting(connection, &header);
    }
    if (connection->state != CONNECTION_UP) return CONNECTION_GARBAGE;
    if (header.cluster != connection->cluster || connection->of_guest) return CONNECTION_GARBAGE;
    const enum message_class class = message_class_for(header.size);
    connection->incoming = message_pool_get(pool, class);
    connection->blocked = connection->incoming == NULL;
    connection->blocked_class = (uint8_t) class;
    if (connection->blocked) return CONNECTION_NOTHING;
    chunk_take(connection, connection->incoming->header, MESSAGE_HEADER_SIZE);
    connection->incoming_size = MESSAGE_HEADER_SIZE;
    return CONNECTION_MESSAGE;
}

/* Takes of the chunk what belongs to the message. Returns it if it is whole. */
static enum connection_news
fill_incoming(struct network_connection *connection, struct message **message)
{
    struct message *incoming = connection->incoming;
    const uint32_t rest = incoming->header->size - connection->incoming_size;
    const uint32_t size = (uint32_t) min_u64(rest, chunk_count(connection));
    uint8_t *bytes = (uint8_t *) incoming->header;
    chunk_take(connection, bytes + connection->incoming_size, size);
    connection->incoming_size += size;
    if (size < rest) return CONNECTION_NOTHING;
    message_pad(incoming->header);
    if (!message_body_valid(incoming->header)) return CONNECTION_GARBAGE;
    connection->incoming = NULL;
    connection->incoming_size = 0;
    *message = incoming;
    return CONNECTION_MESSAGE;
}

/* What can be said of the bytes that are here. */
static enum connection_news
parse(struct network_connection *connection, struct message_pool *pool, struct message **message)
{
    if (connection->incoming == NULL) {
        const enum connection_news news = parse_frame(connection, pool);
        if (news != CONNECTION_MESSAGE) return news;
    }
    return fill_incoming(connection, message);
}

/* The rest of a message goes where it belongs, and what follows it into the chunk. */
static ssize_t
read_once(struct network_connection *connection)
{
    struct iovec pieces[2];
    int count = 0;
    if (connection->chunk_begin > 0) {
        memmove(
            connection->chunk,
            connection->chunk + connection->chunk_begin,
            chunk_count(connection));
        connection->chunk_end -= connection->chunk_begin;
        connection->chunk_begin = 0;
    }
    uint64_t rest = 0;
    if (connection->incoming != NULL) {
        assert(connection->chunk_end == 0);
        uint8_t *bytes = (uint8_t *) connection->incoming->header;
        rest = connection->incoming->header->size - connection->incoming_size;
        pieces[count].iov_base = bytes + connection->incoming_size;
        pieces[count].iov_len = rest;
        count += rest > 0;
    }
    pieces[count].iov_base = connection->chunk + connection->chunk_end;
    pieces[count].iov_len = NETWORK_CHUNK_SIZE - connection->chunk_end;
    count += 1;
    const ssize_t size = network_stream_read(&connection->stream, pieces, count);
    if (size <= 0) return size;
    const uint64_t placed = min_u64((uint64_t) size, rest);
    connection->incoming_size += (uint32_t) placed;
    connection->chunk_end += (uint32_t) ((uint64_t) size - placed);
    return size;
}

enum connection_news
connection_receive(
    struct network_connection *connection, struct message_pool *pool, struct message **message)
{
    *message = NULL;
    connection->blocked = false;
    enum connection_news news = parse(connection, pool, message);
    if (news != CONNECTION_NOTHING || connection->blocked) return news;
    const ssize_t size = read_once(connection);
    connection->more = size > 0;
    if (size < 0) return CONNECTION_ENDED;
    if (size == 0) return CONNECTION_NOTHING;
    return parse(connection, pool, message);
}
