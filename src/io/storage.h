/* SPDX-License-Identifier: PostgreSQL */
/*
 * Storage as the engine sees it: four files, asynchronous reads and durable writes of whole
 * sectors.
 *
 * Rules that every implementation keeps (os/storage_uring, os/storage_sync, the simulator's disk):
 *  - A request is owned by its caller, and lent to storage from submit until its callback.
 *  - A completion never runs inside submit; callbacks run inside storage_poll or storage_wait.
 *  - A write that completes STORAGE_OK is durable. Completion order of independent requests is
 *    free.
 *  - Offset, size and buffer address are multiples of SECTOR_SIZE, within the file's present size.
 *  - A write may gather, a read may scatter: several buffers of one size lie in the file one behind
 *    the other. It is one request in everything: it fails as a whole, and a crash may leave any of
 *    a write's sectors. The array of the buffers' addresses is lent as they are.
 *  - A hint (`solo`) is only about speed: where a write is done, its rules are the same.
 *  - An error is final: storage never retries a failed write into success. Short transfers and
 *    interruptions are not errors, and are continued inside.
 */
#ifndef LEDGER_IO_STORAGE_H
#define LEDGER_IO_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/queue.h"
#include "config.h"

enum storage_file {
    STORAGE_SUPERBLOCK,
    STORAGE_PREPARES,
    STORAGE_HEADERS,
    STORAGE_GRID,
};
#define STORAGE_FILE_COUNT 4

/* The file's name in the data directory. */
static inline const char *
storage_file_name(enum storage_file file)
{
    static const char *const names[STORAGE_FILE_COUNT] = {
        [STORAGE_SUPERBLOCK] = "superblock",
        [STORAGE_PREPARES] = "prepares.wal",
        [STORAGE_HEADERS] = "headers.wal",
        [STORAGE_GRID] = "grid",
    };
    return names[file];
}

enum storage_result {
    STORAGE_OK,
    /* The sectors can't be read, or it is unknown what the write has left behind. */
    STORAGE_IO_ERROR,
    STORAGE_NO_SPACE, /* Only for growth. Nothing was changed. */
};

/* How a solo write is done: see storage_request.solo. */
enum storage_way {
    STORAGE_WAY_RING, /* Given to the kernel, as all others are; the caller goes on meanwhile. */
    STORAGE_WAY_CALL, /* By plain calls, in the thread of the caller, which blocks. */
};
#define STORAGE_WAY_COUNT 2

enum storage_direction { STORAGE_READ, STORAGE_WRITE };

struct storage_request;
typedef void storage_callback(struct storage_request *request);

struct storage_request {
    /* Filled by the caller. */
    enum storage_direction direction;
    enum storage_file file;
    uint64_t offset_bytes;
    uint64_t size_bytes;
    void *buffer; /* A write doesn't change it. NULL if there are several buffers. */
    storage_callback *callback;

    /* For several buffers; otherwise zero. */
    void *const *buffers;
    uint32_t buffer_count;      /* size_bytes is buffer_count * buffer_size_bytes. */
    uint32_t buffer_size_bytes;

    /*
     * Of a write, or the first of an ordered pair: the caller polls again before it sleeps, and
     * can't begin another write before this one is done. If it is the only request, storage may do
     * it inside the next poll, blocking for as long as the disk takes, if that is the faster way;
     * see storage.idle. A hint: it changes when things happen, and nothing else.
     */
    bool solo;
    /* Of a solo write: how many events are in it. Of two ways, the better one does more of them. */
    uint32_t events;

    /* Filled by storage before the callback. */
    enum storage_result result;

    /* Owned by storage from submit to callback. */
    struct queue_link link;
    /* If set, the request that starts when this one has completed with STORAGE_OK. */
    struct storage_request *then;
    uint64_t done_bytes;
    bool in_flight;
};

struct storage_growth;
typedef void storage_growth_callback(struct storage_growth *growth);

/*
 * A file that is to become larger. It belongs to its caller, and is lent to storage until its
 * callback.
 */
struct storage_growth {
    /* Filled in by the caller. */
    enum storage_file file;
    uint64_t size_bytes; /* More than the file's present size. */
    storage_growth_callback *callback;

    /* Filled by storage before the callback. */
    enum storage_result result;

    /* Owned by storage. */
    bool in_flight;
};

struct storage;

struct storage_ops {
    void (*submit)(struct storage *storage, struct storage_request *request);
    uint32_t (*poll)(struct storage *storage, bool wait);
    void (*grow)(struct storage *storage, struct storage_growth *growth);
};

/* What became of solo writes. */
struct storage_solo_stats {
    enum storage_way way; /* Which way they go at present. */
    uint64_t writes[STORAGE_WAY_COUNT];
    uint64_t latency_ns[STORAGE_WAY_COUNT]; /* The median of recent ones; 0: it is not known. */
};

/* First member of each implementation. */
struct storage {
    const struct storage_ops *ops;
    void (*before_poll)(void); /* The host's chance to end the process while an engine opens. */
    uint64_t file_size_bytes[STORAGE_FILE_COUNT];
    uint32_t in_flight_count;       /* Includes the growth. */
    struct storage_growth *growing; /* The running growth, or NULL. */
    /*
     * The caller says before each poll whether there is nothing that it could do while a write
     * blocks it. If there is, a solo write that has not begun doesn't block it.
     */
    bool idle;
    /* The last poll was blocked by a solo write. So there may be more to do than before it. */
    bool blocked;
    struct storage_solo_stats solo;
};

static inline void
storage_check(const struct storage *storage, const struct storage_request *request)
{
    assert(request->callback != NULL);
    assert(!request->in_flight);
    assert(request->size_bytes > 0);
    assert(request->size_bytes % SECTOR_SIZE == 0);
    assert(!request->solo || request->direction == STORAGE_WRITE);
    assert(request->offset_bytes % SECTOR_SIZE == 0);
    assert(request->offset_bytes + request->size_bytes <= storage->file_size_bytes[request->file]);
    if (request->buffer_count == 0) {
        assert(request->buffer != NULL);
        assert((uintptr_t) request->buffer % SECTOR_SIZE == 0);
        return;
    }
    assert(request->buffer == NULL);
    assert(request->buffer_count <= STORAGE_BUFFERS_MAX);
    assert(request->buffer_size_bytes % SECTOR_SIZE == 0);
    assert(request->size_bytes == (uint64_t) request->buffer_count * request->buffer_size_bytes);
    for (uint32_t i = 0; i < request->buffer_count; i++) {
        assert(request->buffers[i] != NULL);
        assert((uintptr_t) request->buffers[i] % SECTOR_SIZE == 0);
    }
}

/*
 * Where byte `at` of the request lies in memory. *size_bytes: how many bytes from there on are
 * contiguous.
 */
static inline uint8_t *
storage_request_piece(const struct storage_request *request, uint64_t at, uint64_t *size_bytes)
{
    assert(at < request->size_bytes);
    if (request->buffer_count == 0) {
        *size_bytes = request->size_bytes - at;
        return (uint8_t *) request->buffer + at;
    }
    const uint64_t index = at / request->buffer_size_bytes;
    const uint64_t skip_bytes = at % request->buffer_size_bytes;
    assert(index < request->buffer_count);
    *size_bytes = request->buffer_size_bytes - skip_bytes;
    return (uint8_t *) request->buffers[index] + skip_bytes;
}

static inline void
storage_submit(struct storage *storage, struct storage_request *request)
{
    storage_check(storage, request);
    request->then = NULL;
    storage->ops->submit(storage, request);
}

/*
 * Two writes in order: the second starts only when the first is durable. If the first fails, the
 * second isn't started, and completes with STORAGE_IO_ERROR. Both callbacks run, that of the first
 * before that of the second. This is a single submission, so that an implementation can save the
 * wake-up in between.
 */
static inline void
storage_submit_ordered(
    struct storage *storage,
    struct storage_request *first,
    struct storage_request *second)
{
    assert(first != second);
    assert(first->direction == STORAGE_WRITE);
    assert(second->direction == STORAGE_WRITE);
    storage_check(storage, first);
    storage_check(storage, second);
    first->then = second;
    second->then = NULL;
    storage->ops->submit(storage, first);
}

/* Runs the callbacks of what has completed, and returns how many. Blocks only for a solo write. */
static inline uint32_t
storage_poll(struct storage *storage)
{
    if (storage->before_poll != NULL) storage->before_poll();
    return storage->ops->poll(storage, false);
}

/*
 * Blocks until at least one request has completed, and runs callbacks. Something must be in flight.
 */
static inline uint32_t
storage_wait(struct storage *storage)
{
    assert(storage->in_flight_count > 0);
    if (storage->before_poll != NULL) storage->before_poll();
    return storage->ops->poll(storage, true);
}

/*
 * Makes the file size_bytes large, with its space allocated; new space reads as zeros. Meanwhile,
 * requests within the old size go on, and nobody is held up. The callback runs with one of these
 * results. STORAGE_OK: the new size is durable, and file_size_bytes says so. STORAGE_NO_SPACE:
 * everything is as before. STORAGE_IO_ERROR: file_size_bytes is as before, and the file may be
 * longer than that by what was got until the error; it may be tried to grow it again, to any size
 * above file_size_bytes. A crash leaves any size from the old to the new one. There is one growth
 * at a time.
 */
static inline void
storage_grow_start(struct storage *storage, struct storage_growth *growth)
{
    assert(growth->callback != NULL);
    assert(!growth->in_flight);
    assert(growth->size_bytes % SECTOR_SIZE == 0);
    assert(growth->size_bytes > storage->file_size_bytes[growth->file]);
    assert(storage->growing == NULL);
    storage->growing = growth;
    storage->in_flight_count += 1;
    growth->in_flight = true;
    storage->ops->grow(storage, growth);
}

/* For implementations: ends the running growth. */
static inline void
storage_grow_finish(struct storage *storage, enum storage_result result)
{
    struct storage_growth *growth = storage->growing;
    assert(growth != NULL && growth->in_flight);
    assert(storage->in_flight_count > 0);
    storage->in_flight_count -= 1;
    storage->growing = NULL;
    growth->in_flight = false;
    growth->result = result;
    if (result == STORAGE_OK) storage->file_size_bytes[growth->file] = growth->size_bytes;
    growth->callback(growth);
}

static inline void
storage_grow_on_done(struct storage_growth *growth)
{
    assert(!growth->in_flight);
}

/*
 * Grows the file and waits, for opening and formatting. Does nothing if the file is that large
 * already. Callbacks of other requests may run meanwhile.
 */
static inline enum storage_result
storage_grow(struct storage *storage, enum storage_file file, uint64_t size_bytes)
{
    struct storage_growth growth = {
        .file = file,
        .size_bytes = size_bytes,
        .callback = storage_grow_on_done,
    };
    assert(size_bytes >= storage->file_size_bytes[file]);
    if (size_bytes == storage->file_size_bytes[file]) return STORAGE_OK;
    storage_grow_start(storage, &growth);
    while (growth.in_flight) (void) storage_wait(storage);
    return growth.result;
}

static inline void
storage_now_on_done(struct storage_request *request)
{
    assert(!request->in_flight);
}

/*
 * Makes one transfer and waits, for opening and formatting only. Callbacks of other requests may
 * run meanwhile.
 */
static inline enum storage_result
storage_transfer_now(
    struct storage *storage,
    enum storage_direction direction,
    enum storage_file file,
    uint64_t offset_bytes,
    void *buffer,
    uint64_t size_bytes)
{
    struct storage_request request = {
        .direction = direction,
        .file = file,
        .offset_bytes = offset_bytes,
        .size_bytes = size_bytes,
        .buffer = buffer,
        .callback = storage_now_on_done,
    };
    storage_submit(storage, &request);
    while (request.in_flight) (void) storage_wait(storage);
    return request.result;
}

#endif
