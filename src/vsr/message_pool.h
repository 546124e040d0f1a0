/* SPDX-License-Identifier: PostgreSQL */
/*
 * Buffers for messages, of two sizes, with counted references.
 *
 * A prepare is received, journaled, sent and executed in one buffer: frame and body lie behind each
 * other, and the body begins at a sector, so that the disk takes it from there.
 *
 *        | unused | frame | body …                                  |
 *        0                SECTOR_SIZE                    whole sectors
 *
 * Each holder has a reference; the last one that gives it back frees the buffer. A pool that is
 * empty says so (NULL): then a connection isn't read, or a message isn't made, until one comes
 * back. Small messages never take the place of large ones, or the other way round.
 *
 * A buffer is free exactly if nobody has a reference; message_pool_invariants looks at all.
 */
#ifndef LEDGER_VSR_MESSAGE_POOL_H
#define LEDGER_VSR_MESSAGE_POOL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/queue.h"
#include "vsr/message.h"

enum message_class { MESSAGE_SMALL, MESSAGE_LARGE };
#define MESSAGE_CLASS_COUNT 2

/* Bytes of a body. A block is small. */
#define MESSAGE_SMALL_BODY_MAX BLOCK_SIZE
#define MESSAGE_LARGE_BODY_MAX PREPARE_SIZE_MAX

struct message {
    struct message_header *header; /* Followed by the body. */
    uint32_t references;
    uint8_t class; /* enum message_class */
    struct queue_link link; /* Of the pool, while it is free. */
};

struct message_pool {
    struct message *messages;
    uint32_t count_max[MESSAGE_CLASS_COUNT];
    struct queue free[MESSAGE_CLASS_COUNT];
};

/* At least one of each size. The memory is the arena's. */
void message_pool_init(
    struct message_pool *pool,
    struct arena *arena,
    uint32_t small_count,
    uint32_t large_count);

/* The least class that holds a message of so many bytes, header included. */
static inline enum message_class
message_class_for(uint32_t size)
{
    return size <= MESSAGE_HEADER_SIZE + MESSAGE_SMALL_BODY_MAX ? MESSAGE_SMALL : MESSAGE_LARGE;
}

/* A buffer with one reference and a zeroed header, or NULL. */
struct message *message_pool_get(struct message_pool *pool, enum message_class class);

static inline uint32_t
message_pool_free_count(const struct message_pool *pool, enum message_class class)
{
    return pool->free[class].count;
}

/* One more reference. Returns the message. */
static inline struct message *
message_reference(struct message *message)
{
    assert(message->references > 0 && message->references < UINT32_MAX);
    message->references += 1;
    return message;
}

void message_release(struct message_pool *pool, struct message *message);

/* For tests and at quiet moments: a walk over all buffers. */
void message_pool_invariants(const struct message_pool *pool);

#endif
