/* SPDX-License-Identifier: PostgreSQL */
/*
 * One connection: messages out of a stream of bytes, and into one.
 *
 * Out: first a hello; then messages that are lent, in order, each from its own buffer; at last a
 * bye. In: first a hello, which is parsed where it was received, so that somebody unknown takes no
 * buffer of the pool; then messages. Their frames are read 64 KiB ahead; a message whose rest is
 * missing gets a buffer from the pool by what its header says, and the rest is received in place.
 *
 * A connection never calls anybody. Its owner (network_os.c) asks it for what has come, and for
 * what is done with.
 *
 *   GREETING   the peer's hello hasn't come, or hasn't been judged
 *   UP         messages go both ways
 *   CLOSING    only the bye, and a message that was begun before it, still go out
 */
#ifndef LEDGER_OS_NETWORK_CONNECTION_H
#define LEDGER_OS_NETWORK_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "os/network_sockets.h"
#include "vsr/message.h"
#include "vsr/message_pool.h"

enum connection_state {
    CONNECTION_FREE,
    CONNECTION_GREETING,
    CONNECTION_UP,
    CONNECTION_CLOSING,
};

/* A hello or a bye, in memory that is aligned as a message's is. */
struct network_greeting {
    struct message_header header;
    uint8_t body[sizeof(struct message_hello)];
};
static_assert(sizeof(struct network_greeting) == 384, "frame and body lie behind each other");
static_assert(sizeof(struct message_bye) == sizeof(struct message_hello), "either fits");

struct network_connection {
    enum connection_state state;
    struct network_stream stream;
    uint32_t peer; /* NETWORK_PEERS_MAX until its hello was judged. */
    uint32_t dialled_peer;  /* Whom we dialled; NETWORK_PEERS_MAX if we were dialled. */
    uint32_t target;        /* Which of the peer's addresses. */
    uint32_t interest;      /* What epoll was told. */
    uint64_t deadline_ns;   /* When it is closed if it is still in its state; 0: never. */
    uint64_t progress_ns;   /* When something came last. */
    u128 cluster;           /* What the frames of both ends must say. */
    char from[64];          /* Who has dialled us, for people; empty if we have. */
    bool paused;
    bool blocked; /* No buffer for the next message, */
    uint8_t blocked_class; /* of this enum message_class. */
    bool more;    /* There may be more to read than the socket says. */
    bool said_bye; /* The peer has. */
    bool unwritable; /* Its end was met in writing; what the peer has said is still read. */

    /* In: bytes received ahead. */
    uint8_t *chunk; /* NETWORK_CHUNK_SIZE bytes. */
    uint32_t chunk_begin;
    uint32_t chunk_end;
    struct message *incoming; /* The message whose rest is missing, or NULL. */
    uint32_t incoming_size;   /* Bytes of it that are there. */
    struct network_greeting heard; /* The peer's hello, or bye. */
    bool of_guest; /* The peer's hello was one without a cluster: it may only say bye. */

    /* Out: a ring of what was lent; the first `written` of it are done. */
    struct network_greeting own;
    uint32_t own_size; /* Bytes of it that are still to be written end here; 0: nothing. */
    uint32_t own_written;
    struct message *queue[NETWORK_QUEUE_MAX];
    uint32_t queue_begin;
    uint32_t queue_count;
    uint32_t queue_large;
    uint32_t queue_written; /* Messages. */
    uint32_t head_written;  /* Bytes of the first one that isn't done. */
};

/* What connection_receive has found. */
enum connection_news {
    CONNECTION_NOTHING, /* Nothing more for now. */
    CONNECTION_HELLO,   /* `heard` is the peer's hello. */
    CONNECTION_BYE,     /* `heard` is the peer's bye. */
    CONNECTION_MESSAGE, /* A valid message; the reference is the caller's. */
    CONNECTION_ENDED,   /* The stream has ended, or can't be used. */
    CONNECTION_GARBAGE, /* What came is no message, or none that is allowed here. */
};

/* Over a stream that was dialled or accepted; `chunk` stays that of this place. */
void connection_begin(struct network_connection *connection, const struct network_stream *stream);

/* Closes the stream, and gives back what was being received. What is lent can be taken back. */
void connection_end(struct network_connection *connection, struct message_pool *pool);

/* Puts a sealed hello or bye where it goes out next. */
void connection_say(struct network_connection *connection);

/* Returns false if the queue is full for such a message. */
bool connection_lend(struct network_connection *connection, struct message *message);

/* Writes what goes. Returns false when the end of the stream is met. */
bool connection_write(struct network_connection *connection);

/*
 * Is there something that waits for nothing but room? While the two ends of a secure stream don't
 * know each other yet, that is only what they say to get to know each other: what is to follow
 * waits for the other end.
 */
bool connection_unwritten(struct network_connection *connection);

/* The next message that is done with, or NULL. `whole`: it was written. */
struct message *connection_take_back(struct network_connection *connection, bool *whole);

/* Reads at most once from the socket, and only when the chunk has nothing whole. */
enum connection_news connection_receive(
    struct network_connection *connection, struct message_pool *pool, struct message **message);

#endif
