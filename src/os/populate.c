/* SPDX-License-Identifier: PostgreSQL */
/* See populate.h. */
#include "os/populate.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/units.h"

/* At 0.5 GB/s, the slowest that was measured, these take 4 and 30 ms. */
#define STEP_BYTES         (UINT64_C(2) * MIB)
#define ASYNCHRONOUS_BYTES (UINT64_C(16) * MIB)

#define RING_ENTRIES 2

void
populate_open(struct populate *populate, void *memory, uint64_t size_bytes, bool use_uring)
{
    assert(memory != NULL);
    *populate = (struct populate){.memory = memory, .size_bytes = size_bytes};
    if (use_uring) {
        populate->asynchronous = io_uring_queue_init(RING_ENTRIES, &populate->ring, 0) == 0;
    }
}

void
populate_close(struct populate *populate)
{
    assert(populate->asked_bytes == 0);
    if (populate->asynchronous) io_uring_queue_exit(&populate->ring);
    populate->asynchronous = false;
}

void
populate_limit(struct populate *populate, uint64_t limit_bytes)
{
    populate->limit_bytes = min_u64(populate->size_bytes, align_up(limit_bytes, STEP_BYTES));
}

static void
populate_done(struct populate *populate, uint64_t size_bytes, int error_number)
{
    assert(size_bytes > 0);
    if (error_number == 0) {
        populate->done_bytes += size_bytes;
    } else if (error_number != EINTR && error_number != EAGAIN) {
        /*
         * Kernels before 5.14 don't have this call; or no memory is left. Give up: pages come on
         * first use.
         */
        populate->done_bytes = populate->size_bytes;
    }
}

static bool
populate_reap(struct populate *populate)
{
    struct io_uring_cqe *completion = NULL;
    if (io_uring_peek_cqe(&populate->ring, &completion) != 0) return false;
    const uint64_t size_bytes = populate->asked_bytes;
    populate->asked_bytes = 0;
    populate_done(populate, size_bytes, -completion->res);
    io_uring_cqe_seen(&populate->ring, completion);
    return true;
}

static void
populate_ask(struct populate *populate, uint64_t size_bytes)
{
    assert(size_bytes <= ASYNCHRONOUS_BYTES);
    struct io_uring_sqe *entry = io_uring_get_sqe(&populate->ring);
    assert(entry != NULL);
    /* Some versions of liburing take 32 bits here, others a long. These values fit both. */
    const uint32_t length = (uint32_t) size_bytes;
    char *const start = populate->memory + populate->done_bytes;
    io_uring_prep_madvise(entry, start, length, MADV_POPULATE_WRITE);
    populate->asked_bytes = size_bytes;
    if (io_uring_submit(&populate->ring) == 1) return;
    /* The kernel may still do what it was asked for, which is harmless. */
    populate->asynchronous = false;
    populate->asked_bytes = 0;
}

bool
populate_poll(struct populate *populate, bool idle)
{
    if (populate->asked_bytes > 0 && !populate_reap(populate)) return false;
    if (populate->done_bytes >= populate->limit_bytes) return false;
    const uint64_t left_bytes = populate->limit_bytes - populate->done_bytes;
    if (populate->asynchronous) {
        populate_ask(populate, min_u64(left_bytes, ASYNCHRONOUS_BYTES));
        return false;
    }
    if (!idle) return false;
    const uint64_t size_bytes = min_u64(left_bytes, STEP_BYTES);
    char *const start = populate->memory + populate->done_bytes;
    const bool failed = madvise(start, size_bytes, MADV_POPULATE_WRITE) != 0;
    populate_done(populate, size_bytes, failed ? errno : 0);
    return true;
}
