/* SPDX-License-Identifier: PostgreSQL */
/* See storage_uring.h. */
#include <liburing.h>
/* <linux/fs.h>, which liburing includes, has a macro of the same name as one in config.h. */
#undef BLOCK_SIZE

#include "os/storage_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/queue.h"
#include "base/units.h"
#include "os/clock_os.h"
#include "os/storage_grower.h"

#define URING_ENTRIES 128

/* Linux 5.6: plain read and write, no dropped completions, entries free after submission. */
#define FEATURES_NEEDED (IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS)

/*
 * The user_data of an entry: nothing, or the address of a request, or that of a pair with one of
 * these marks added.
 */
#define ENTRY_NOTHING UINT64_C(0)
#define ENTRY_SECOND  UINT64_C(1)
#define ENTRY_FIRST   UINT64_C(2)
#define ENTRY_MARKS   (ENTRY_SECOND | ENTRY_FIRST)
/* The entry that has read the grower's event. */
#define ENTRY_GROWN   ENTRY_MARKS

/* The state of an ordered pair that the kernel has, until both its entries have come back. */
enum pair_state {
    PAIR_FREE,
    PAIR_STARTED,  /* Neither entry is back. */
    PAIR_SPLIT,    /* The second has no entry: the kernel did not take it. */
    PAIR_CANCELED, /* The second's entry is back, canceled; the first's is not. */
    /* The first's entry is back, the second's is not, and the first: */
    PAIR_HALF,     /* is durable. */
    PAIR_SHORT,    /* is not done, and goes on when the second's entry is back. */
    PAIR_FAILED,   /* has failed. */
};

struct pair {
    enum pair_state state;
    struct storage_request *first;
    struct storage_request *second;
};

struct storage_uring {
    struct storage storage;
    struct storage_files *files;
    struct io_uring ring;
    /* Requests, and the first request of each pair, that aren't in the ring yet. */
    struct queue waiting;
    uint32_t entry_count; /* (U1) */
    bool polling;

    /* When pairs are linked (U3). */
    uint64_t limit_bytes; /* The process may not write beyond this in any file. */
    bool short_seen;      /* A write has ended short. */

    /* Solo writes. */
    struct clock clock;
    struct storage_choice choice;
    struct storage_request *held; /* Waits for the next poll, in no queue; NULL: none does. */
    /* The last part of the one in the ring whose latency is measured, from timed_ns on. */
    const struct storage_request *timed;
    uint64_t timed_ns;

    /* Growth: the ring reads the grower's event, so that its descriptor tells of that too. */
    struct storage_grower grower;
    uint64_t event_count;
    bool event_due; /* The entry that reads it must still be put into the ring. */

    /* The submission last put into the ring. */
    struct pair *submitted_pair; /* NULL if it isn't a pair, or was split already. */
    struct io_uring_sqe *submitted_second_entry;
    /*
     * The buffers of each entry that has several. The kernel copies them when it takes the entry.
     */
    struct iovec submitted_pieces[2][STORAGE_BUFFERS_MAX];

    struct pair pairs[URING_ENTRIES]; /* Each pair that isn't free has an entry in the ring (U1). */
};

static void uring_submit(struct storage *storage, struct storage_request *request);
static uint32_t uring_poll(struct storage *storage, bool wait);
static void uring_grow(struct storage *storage, struct storage_growth *growth);

static const struct storage_ops storage_uring_ops = {
    .submit = uring_submit,
    .poll = uring_poll,
    .grow = uring_grow,
};

static struct storage_uring *
uring_of(struct storage *storage)
{
    assert(storage->ops == &storage_uring_ops);
    return container_of(storage, struct storage_uring, storage);
}

/* Opening -------------------------------------------------------------------------------------- */

/* The value of /proc/sys/kernel/io_uring_disabled, or 0 where there is none. */
static int
sysctl_disabled(void)
{
    const int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char digit = '0';
    const ssize_t size = read(fd, &digit, 1);
    (void) close(fd);
    return size == 1 && digit >= '0' && digit <= '9' ? digit - '0' : 0;
}

static void
refusal_describe(struct storage_os_report *report, const char *call, int error_number)
{
    char who[160];
    const int disabled = sysctl_disabled();
    if (error_number == ENOSYS) {
        (void) snprintf(
            who, sizeof(who), "this kernel has no io_uring, or a seccomp filter hides it");
    } else if (error_number == EPERM && disabled >= 2) {
        (void) snprintf(who, sizeof(who), "the sysctl kernel.io_uring_disabled is %d", disabled);
    } else if (error_number == EPERM && disabled == 1) {
        (void) snprintf(
            who,
            sizeof(who),
            "the sysctl kernel.io_uring_disabled is 1, and this user is not in "
            "kernel.io_uring_group");
    } else if (error_number == EPERM || error_number == EACCES) {
        (void) snprintf(
            who, sizeof(who), "a seccomp filter (of a container, perhaps) or a security module");
    } else if (error_number == ENOMEM) {
        struct rlimit limit = {0};
        (void) getrlimit(RLIMIT_MEMLOCK, &limit);
        (void) snprintf(
            who,
            sizeof(who),
            "the limit of locked memory (RLIMIT_MEMLOCK is %llu kB), or memory is short",
            (unsigned long long) limit.rlim_cur / 1024);
    } else {
        (void) snprintf(who, sizeof(who), "the kernel");
    }
    report->uring_error_number = error_number;
    (void) snprintf(
        report->uring_text,
        sizeof(report->uring_text),
        "%s: %s; refused by: %s",
        call,
        strerror(error_number),
        who);
}

/*
 * A system-call filter may allow setting up a ring but not using it, so try. Returns 0 or an errno.
 */
static int
ring_try(struct io_uring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    assert(entry != NULL);
    io_uring_prep_nop(entry);
    entry->user_data = ENTRY_NOTHING;
    int result;
    do {
        result = io_uring_submit_and_wait(ring, 1);
    } while (result == -EINTR);
    if (result < 0) return -result;

    struct io_uring_cqe *completion = NULL;
    do {
        result = io_uring_wait_cqe(ring, &completion);
    } while (result == -EINTR);
    if (result < 0) return -result;
    io_uring_cqe_seen(ring, completion);
    return 0;
}

/* True if the ring works; otherwise nothing is left of it, and the report says why. */
static bool
ring_open(struct io_uring *ring, struct storage_os_report *report)
{
    struct io_uring_params params = {0};
    const int result = io_uring_queue_init_params(URING_ENTRIES, ring, &params);
    if (result < 0) {
        refusal_describe(report, "io_uring_setup", -result);
        return false;
    }
    const bool modern = (params.features & FEATURES_NEEDED) == FEATURES_NEEDED;
    const int error_number = modern ? ring_try(ring) : ENOSYS;
    if (error_number == 0) return true;

    io_uring_queue_exit(ring);
    refusal_describe(report, modern ? "io_uring_enter" : "io_uring of Linux 5.6", error_number);
    return false;
}

/* Up to where this process may write in a file. */
static uint64_t
file_limit_bytes(void)
{
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return 0;
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

struct storage_uring *
storage_uring_open(struct storage_files *files, bool chooses, struct storage_os_report *report)
{
    struct storage_uring *uring = calloc(1, sizeof(*uring));
    if (uring == NULL) {
        refusal_describe(report, "memory for the ring", ENOMEM);
        return NULL;
    }
    if (!ring_open(&uring->ring, report)) {
        free(uring);
        return NULL;
    }
    /* Without O_NONBLOCK, so that the ring's read waits. */
    const int event_fd = eventfd(0, EFD_CLOEXEC);
    if (event_fd < 0) {
        refusal_describe(report, "eventfd", errno);
        io_uring_queue_exit(&uring->ring);
        free(uring);
        return NULL;
    }
    storage_grower_init(&uring->grower, files, &uring->storage, event_fd);
    uring->storage.ops = &storage_uring_ops;
    uring->files = files;
    uring->limit_bytes = file_limit_bytes();
    clock_os_init(&uring->clock);
    storage_choice_init(&uring->choice, &uring->storage.solo, STORAGE_WAY_RING, !chooses);
    queue_init(&uring->waiting, "storage_uring.waiting", STORAGE_OS_REQUESTS_MAX);
    return uring;
}

struct storage *
storage_uring_storage(struct storage_uring *uring)
{
    return &uring->storage;
}

struct storage_choice *
storage_uring_choice(struct storage_uring *uring)
{
    return &uring->choice;
}

int
storage_uring_wait_fd(const struct storage_uring *uring)
{
    return uring->ring.ring_fd;
}

/* Submission ----------------------------------------------------------------------------------- */

static struct io_uring_sqe *
entry_fill(
    struct storage_uring *uring, const struct storage_request *request, uint64_t user_data)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    assert(entry != NULL); /* (U1) */
    assert(request->done_bytes < request->size_bytes);

    const int fd = uring->files->fds[request->file];
    const uint64_t offset_bytes = request->offset_bytes + request->done_bytes;
    uint64_t piece_bytes;
    uint8_t *at = storage_request_piece(request, request->done_bytes, &piece_bytes);
    const unsigned left_bytes = (unsigned) piece_bytes;
    if (request->buffer_count > 0) {
        /* The entries of one submission (U2), and no more, are in the ring until it is taken. */
        struct iovec *pieces = uring->submitted_pieces[io_uring_sq_ready(&uring->ring) - 1];
        const unsigned count = (unsigned) storage_files_pieces(request, pieces);
        if (request->direction == STORAGE_WRITE) {
            io_uring_prep_writev(entry, fd, pieces, count, offset_bytes);
        } else {
            io_uring_prep_readv(entry, fd, pieces, count, offset_bytes);
        }
    } else if (request->direction == STORAGE_WRITE) {
        io_uring_prep_write(entry, fd, at, left_bytes, offset_bytes);
    } else {
        io_uring_prep_read(entry, fd, at, left_bytes, offset_bytes);
    }
    entry->user_data = user_data;
    uring->entry_count += 1;
    return entry;
}

static struct pair *
pair_take(struct storage_uring *uring, struct storage_request *first)
{
    struct pair *pair = uring->pairs;
    while (pair->state != PAIR_FREE) {
        pair += 1;
        assert(pair < uring->pairs + URING_ENTRIES);
    }
    *pair = (struct pair){.state = PAIR_STARTED, .first = first, .second = first->then};
    return pair;
}

/* (U3) Will the kernel cancel the second unless all of the first is written? */
static bool
pair_may_link(const struct storage_uring *uring, const struct storage_request *first)
{
    return !uring->short_seen && first->offset_bytes + first->size_bytes <= uring->limit_bytes;
}

/* Puts one submission into the ring. */
static void
ring_fill(struct storage_uring *uring, struct storage_request *request)
{
    assert(io_uring_sq_ready(&uring->ring) == 0); /* (U2) */
    uring->submitted_pair = NULL;
    if (request->then == NULL) {
        assert(((uintptr_t) request & ENTRY_MARKS) == 0);
        (void) entry_fill(uring, request, (uint64_t) (uintptr_t) request);
        return;
    }
    struct pair *pair = pair_take(uring, request);
    const uint64_t address = (uint64_t) (uintptr_t) pair;
    assert((address & ENTRY_MARKS) == 0);
    assert(pair->second->done_bytes == 0); /* (U3) */
    struct io_uring_sqe *entry = entry_fill(uring, pair->first, address | ENTRY_FIRST);
    if (!pair_may_link(uring, request)) {
        pair->state = PAIR_SPLIT;
        return;
    }
    entry->flags |= IOSQE_IO_LINK;
    uring->submitted_pair = pair;
    uring->submitted_second_entry = entry_fill(uring, pair->second, address | ENTRY_SECOND);
}

/*
 * Offers what is in the ring to the kernel. Returns false if it was put off: offer it again later.
 */
static bool
ring_submit(struct storage_uring *uring)
{
    struct io_uring *ring = &uring->ring;
    for (;;) {
        const unsigned offered = io_uring_sq_ready(ring);
        if (offered == 0) return true;
        assert(offered <= 2);
        const int taken = io_uring_submit(ring);
        if (taken == -EINTR) continue;
        if (taken <= 0) {
            /* Anything else would be a ring that is not used as the kernel demands. */
            assert(taken == 0 || taken == -EAGAIN || taken == -EBUSY || taken == -ENOMEM);
            return false;
        }
        assert((unsigned) taken <= offered);
        if ((unsigned) taken == offered) return true;

        assert(uring->submitted_pair != NULL);
        assert(uring->submitted_pair->state == PAIR_STARTED);
        uring->submitted_pair->state = PAIR_SPLIT;
        uring->submitted_pair = NULL;
        io_uring_prep_nop(uring->submitted_second_entry);
        uring->submitted_second_entry->user_data = ENTRY_NOTHING;
    }
}

static void
event_fill(struct storage_uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    assert(entry != NULL); /* (U1) */
    io_uring_prep_read(
        entry,
        uring->grower.event_fd,
        &uring->event_count,
        (unsigned) sizeof(uring->event_count),
        0);
    entry->user_data = ENTRY_GROWN;
    uring->entry_count += 1;
    uring->submitted_pair = NULL;
    uring->event_due = false;
}

/* Fills the ring from the queue, in order, while there is room. */
static void
ring_refill(struct storage_uring *uring)
{
    for (;;) {
        if (!ring_submit(uring)) return;
        if (uring->event_due && uring->entry_count < URING_ENTRIES) {
            event_fill(uring);
            continue;
        }
        struct queue_link *link = queue_peek(&uring->waiting);
        if (link == NULL) return;
        struct storage_request *request = container_of(link, struct storage_request, link);
        const bool pair = request->then != NULL;
        if (uring->entry_count + (pair ? 2 : 1) > URING_ENTRIES) return;
        (void) queue_pop(&uring->waiting);
        ring_fill(uring, request);
    }
}

/* Lets a held solo write take the usual way. */
static void
held_release(struct storage_uring *uring)
{
    if (uring->held == NULL) return;
    uring->timed = NULL;
    queue_push(&uring->waiting, &uring->held->link);
    uring->held = NULL;
}

/*
 * Begins to measure the solo write. True if it is held. That it was held counts too: meanwhile, the
 * ring would have been writing.
 */
static bool
solo_hold(struct storage_uring *uring, struct storage_request *request)
{
    assert(request != NULL);
    assert(uring->held == NULL);
    uring->timed = request->then != NULL ? request->then : request;
    uring->timed_ns = clock_monotonic_ns(&uring->clock);
    const enum storage_way way =
        storage_choice_next(&uring->choice, uring->timed_ns, request->events);
    if (way == STORAGE_WAY_RING) return false;
    uring->held = request;
    return true;
}

static void
uring_submit(struct storage *storage, struct storage_request *request)
{
    struct storage_uring *uring = uring_of(storage);
    /* Something else goes on now, so a running measurement is worthless. */
    uring->timed = NULL;
    held_release(uring);
    for (struct storage_request *part = request; part != NULL; part = part->then) {
        assert(part->size_bytes <= STORAGE_OS_REQUEST_SIZE_MAX);
        part->in_flight = true;
        part->done_bytes = 0;
        part->link = (struct queue_link){0};
        storage->in_flight_count += 1;
    }
    if (!storage_choice_takes(storage, request)) {
        storage_choice_interrupt(&uring->choice);
    } else if (solo_hold(uring, request)) {
        return;
    }
    queue_push(&uring->waiting, &request->link);
    ring_refill(uring);
}

/* Completion ----------------------------------------------------------------------------------- */

static void
finish(struct storage_uring *uring, struct storage_request *request, enum storage_result result)
{
    assert(request->in_flight);
    assert(!request->link.queued);
    assert(uring->storage.in_flight_count > 0);
    if (request == uring->timed) {
        uring->timed = NULL;
        if (result == STORAGE_OK) {
            const uint64_t now_ns = clock_monotonic_ns(&uring->clock);
            storage_choice_measured(&uring->choice, now_ns - uring->timed_ns);
        }
    }
    request->result = result;
    request->then = NULL;
    request->in_flight = false;
    uring->storage.in_flight_count -= 1;
    request->callback(request);
}

/* Does the held write by calls, which block, in order; as the ring would. */
static uint32_t
held_write(struct storage_uring *uring)
{
    struct storage_request *first = uring->held;
    struct storage_request *last = first->then != NULL ? first->then : first;
    uring->held = NULL;
    uring->storage.blocked = true;
    assert(uring->timed == last);
    enum storage_result result = storage_files_transfer(uring->files, first);
    finish(uring, first, result);
    if (last == first) return 1;
    if (result == STORAGE_OK) result = storage_files_transfer(uring->files, last);
    finish(uring, last, result);
    return 2;
}

/* What has become of a request. */
enum progress { PROGRESS_DONE, PROGRESS_UNFINISHED, PROGRESS_FAILED };

static enum progress
request_advance(struct storage_uring *uring, struct storage_request *request, int result)
{
    assert(request->in_flight);
    if (result > 0) request->done_bytes += (uint64_t) (unsigned) result;
    assert(request->done_bytes <= request->size_bytes);
    if (request->done_bytes == request->size_bytes) return PROGRESS_DONE;
    if (result > 0 && request->direction == STORAGE_WRITE) uring->short_seen = true;
    if (result > 0 || result == -EINTR || result == -EAGAIN) return PROGRESS_UNFINISHED;
    storage_files_note_failure(uring->files, request, -result);
    return PROGRESS_FAILED;
}

/* Completes a request that isn't part of a pair, or the second of a pair whose first is durable. */
static uint32_t
single_complete(struct storage_uring *uring, struct storage_request *request, int result)
{
    assert(request->then == NULL);
    const enum progress progress = request_advance(uring, request, result);
    if (progress == PROGRESS_UNFINISHED) {
        queue_push(&uring->waiting, &request->link);
        return 0;
    }
    finish(uring, request, progress == PROGRESS_DONE ? STORAGE_OK : STORAGE_IO_ERROR);
    return 1;
}

/* Both entries are back. The first goes on, and the second behind it; or it has failed. */
static uint32_t
pair_end(struct storage_uring *uring, struct pair *pair)
{
    struct storage_request *first = pair->first;
    struct storage_request *second = pair->second;
    const bool failed = pair->state == PAIR_FAILED;
    assert(failed || pair->state == PAIR_SHORT);
    assert(first->then == second);
    pair->state = PAIR_FREE;
    if (!failed) {
        queue_push(&uring->waiting, &first->link);
        return 0;
    }
    finish(uring, first, STORAGE_IO_ERROR);
    finish(uring, second, STORAGE_IO_ERROR);
    return 2;
}

static uint32_t
first_complete(struct storage_uring *uring, struct pair *pair, int result)
{
    struct storage_request *first = pair->first;
    struct storage_request *second = pair->second;
    const bool second_under_way = pair->state == PAIR_STARTED;
    assert(second_under_way || pair->state == PAIR_SPLIT || pair->state == PAIR_CANCELED);
    assert(first->then == second);

    const enum progress progress = request_advance(uring, first, result);
    if (progress == PROGRESS_DONE) {
        pair->state = second_under_way ? PAIR_HALF : PAIR_FREE;
        if (!second_under_way) queue_push(&uring->waiting, &second->link);
        finish(uring, first, STORAGE_OK);
        return 1;
    }
    pair->state = progress == PROGRESS_UNFINISHED ? PAIR_SHORT : PAIR_FAILED;
    return second_under_way ? 0 : pair_end(uring, pair);
}

static uint32_t
second_complete(struct storage_uring *uring, struct pair *pair, int result)
{
    struct storage_request *second = pair->second;
    switch (pair->state) {
    case PAIR_STARTED:
        /*
         * Cancelled with its first; or the kernel could not even prepare it, for want of memory,
         * and then cancels the first too. Either way nothing was written (U3); whatever its
         * result, it is written behind its first.
         */
        pair->state = PAIR_CANCELED;
        return 0;
    case PAIR_SHORT:
    case PAIR_FAILED:
        return pair_end(uring, pair);
    case PAIR_HALF:
        pair->state = PAIR_FREE;
        if (result != -ECANCELED) return single_complete(uring, second, result);
        queue_push(&uring->waiting, &second->link);
        return 0;
    case PAIR_FREE:
    case PAIR_SPLIT:
    case PAIR_CANCELED: break;
    }
    unreachable();
}

/*
 * The event has come. If it couldn't be read, the thread is waited for all the same, which ends
 * too.
 */
static uint32_t
event_complete(struct storage_uring *uring, int result)
{
    assert(uring->storage.growing != NULL);
    assert(!uring->event_due);
    if (result == -EINTR || result == -EAGAIN) {
        uring->event_due = true;
        return 0;
    }
    storage_grower_finish(&uring->grower);
    return 1;
}

/* Handles one completion of the kernel. Returns how many callbacks ran. */
static uint32_t
entry_complete(struct storage_uring *uring, uint64_t user_data, int result)
{
    assert(uring->entry_count > 0);
    uring->entry_count -= 1;
    if (user_data == ENTRY_NOTHING) return 0;
    if (user_data == ENTRY_GROWN) return event_complete(uring, result);

    void *subject = (void *) (uintptr_t) (user_data & ~ENTRY_MARKS);
    if ((user_data & ENTRY_FIRST) != 0) return first_complete(uring, subject, result);
    if ((user_data & ENTRY_SECOND) != 0) return second_complete(uring, subject, result);
    return single_complete(uring, subject, result);
}

/* Handles only the completions that are there at the start, since callbacks may submit more. */
static uint32_t
ring_reap(struct storage_uring *uring)
{
    uint32_t callbacks = 0;
    for (unsigned count = io_uring_cq_ready(&uring->ring); count > 0; count--) {
        struct io_uring_cqe *completion = NULL;
        if (io_uring_peek_cqe(&uring->ring, &completion) != 0) break;
        const uint64_t user_data = completion->user_data;
        const int result = completion->res;
        io_uring_cqe_seen(&uring->ring, completion);
        callbacks += entry_complete(uring, user_data, result);
    }
    return callbacks;
}

/*
 * Blocks until the kernel has completed an entry; only for a moment if the kernel has taken none.
 */
static void
ring_wait(struct storage_uring *uring)
{
    assert(uring->entry_count > 0);
    if (uring->entry_count == io_uring_sq_ready(&uring->ring)) {
        const struct timespec pause = {.tv_nsec = 1000 * 1000};
        (void) nanosleep(&pause, NULL);
        (void) ring_submit(uring);
        return;
    }
    struct io_uring_cqe *completion = NULL;
    const int result = io_uring_wait_cqe(&uring->ring, &completion);
    assert(result == 0 || result == -EINTR || result == -EAGAIN);
}

static uint32_t
uring_poll(struct storage *storage, bool wait)
{
    struct storage_uring *uring = uring_of(storage);
    assert(!uring->polling);
    uring->polling = true;
    storage->blocked = false;
    uint32_t callbacks = 0;
    if (uring->held != NULL && (wait || storage->idle)) {
        callbacks += held_write(uring); /* Whose callbacks may submit another one. */
    } else {
        held_release(uring);
    }
    do {
        ring_refill(uring);
        if (wait && callbacks == 0) ring_wait(uring);
        callbacks += ring_reap(uring);
    } while (wait && callbacks == 0);
    ring_refill(uring);
    uring->polling = false;
    assert(uring->entry_count <= URING_ENTRIES); /* (U1) */
    return callbacks;
}

static void
uring_grow(struct storage *storage, struct storage_growth *growth)
{
    struct storage_uring *uring = uring_of(storage);
    assert(storage->growing == growth);
    uring->timed = NULL;
    held_release(uring);
    storage_grower_start(&uring->grower);
    uring->event_due = true;
    ring_refill(uring);
}

void
storage_uring_close(struct storage_uring *uring)
{
    assert(!uring->polling);
    storage_grower_close(&uring->grower); /* This makes the pending read of its event end. */
    while (uring->entry_count > 0) {
        ring_wait(uring);
        while (io_uring_cq_ready(&uring->ring) > 0) {
            struct io_uring_cqe *completion = NULL;
            if (io_uring_peek_cqe(&uring->ring, &completion) != 0) break;
            io_uring_cqe_seen(&uring->ring, completion);
            uring->entry_count -= 1;
        }
    }
    io_uring_queue_exit(&uring->ring);
    (void) close(uring->grower.event_fd);
    free(uring);
}
