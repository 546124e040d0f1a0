/* SPDX-License-Identifier: PostgreSQL */
/* See storage_sync.h. */
#include "os/storage_sync.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/units.h"

static void sync_submit(struct storage *storage, struct storage_request *request);
static uint32_t sync_poll(struct storage *storage, bool wait);
static void sync_grow(struct storage *storage, struct storage_growth *growth);

static const struct storage_ops storage_sync_ops = {
    .submit = sync_submit,
    .poll = sync_poll,
    .grow = sync_grow,
};

static struct storage_sync *
sync_of(struct storage *storage)
{
    assert(storage->ops == &storage_sync_ops);
    return container_of(storage, struct storage_sync, storage);
}

bool
storage_sync_open(struct storage_sync *sync, struct storage_files *files)
{
    *sync = (struct storage_sync){.storage = {.ops = &storage_sync_ops}, .files = files};
    clock_os_init(&sync->clock);
    storage_choice_init(&sync->choice, &sync->storage.solo, STORAGE_WAY_CALL, true);
    queue_init(&sync->waiting, "storage_sync.waiting", STORAGE_OS_REQUESTS_MAX);
    sync->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    storage_grower_init(&sync->grower, files, &sync->storage, sync->event_fd);
    return sync->event_fd >= 0;
}

void
storage_sync_close(struct storage_sync *sync)
{
    assert(!sync->polling);
    storage_grower_close(&sync->grower);
    if (sync->event_fd >= 0) (void) close(sync->event_fd);
    sync->event_fd = -1;
}

static void
event_set(struct storage_sync *sync)
{
    const uint64_t one = 1;
    const ssize_t written = write(sync->event_fd, &one, sizeof(one));
    assert(written == (ssize_t) sizeof(one));
}

/* The grower may have written what was cleared just now: then it had set `done` before. */
static void
event_clear(struct storage_sync *sync)
{
    uint64_t count;
    const ssize_t got = read(sync->event_fd, &count, sizeof(count));
    assert(got == (ssize_t) sizeof(count));
    if (storage_grower_done(&sync->grower)) event_set(sync);
}

static void
sync_submit(struct storage *storage, struct storage_request *request)
{
    struct storage_sync *sync = sync_of(storage);
    assert(request != NULL);
    for (struct storage_request *part = request; part != NULL; part = part->then) {
        assert(part->size_bytes <= STORAGE_OS_REQUEST_SIZE_MAX);
        part->in_flight = true;
        part->done_bytes = 0;
        part->link = (struct queue_link){0};
        storage->in_flight_count += 1;
    }
    const bool alone = request->solo && queue_empty(&sync->waiting);
    if (!alone && !sync->told) {
        event_set(sync);
        sync->told = true;
    }
    queue_push(&sync->waiting, &request->link);
}

static void
finish(struct storage_sync *sync, struct storage_request *request, enum storage_result result)
{
    assert(request->in_flight);
    assert(sync->storage.in_flight_count > 0);
    request->result = result;
    request->then = NULL;
    request->in_flight = false;
    sync->storage.in_flight_count -= 1;
    request->callback(request);
}

/* A request or a pair. */
static uint32_t
carry_out(struct storage_sync *sync, struct storage_request *request)
{
    struct storage_request *last = request->then != NULL ? request->then : request;
    const bool solo = storage_choice_takes(&sync->storage, request);
    const uint64_t start_ns = clock_monotonic_ns(&sync->clock);
    if (solo) (void) storage_choice_next(&sync->choice, start_ns, request->events);
    sync->storage.blocked = request->solo;
    enum storage_result result = storage_files_transfer(sync->files, request);
    if (last != request) {
        finish(sync, request, result);
        if (result == STORAGE_OK) result = storage_files_transfer(sync->files, last);
    }
    if (solo && result == STORAGE_OK) {
        storage_choice_measured(&sync->choice, clock_monotonic_ns(&sync->clock) - start_ns);
    }
    finish(sync, last, result);
    return last == request ? 1 : 2;
}

static uint32_t
sync_poll(struct storage *storage, bool wait)
{
    struct storage_sync *sync = sync_of(storage);
    assert(!sync->polling);
    assert(!wait || storage->in_flight_count > 0);
    storage->blocked = false;
    const bool waits = wait && queue_empty(&sync->waiting);
    if (storage->growing != NULL && (waits || storage_grower_done(&sync->grower))) {
        sync->polling = true;
        storage_grower_finish(&sync->grower);
        sync->polling = false;
        /* Its event is there: it wrote before it ended, or what was cleared was set again. */
        if (!sync->told) event_clear(sync);
        return 1;
    }
    struct queue_link *link = queue_pop(&sync->waiting);
    if (link == NULL) return 0;
    if (sync->told && queue_empty(&sync->waiting)) {
        sync->told = false;
        event_clear(sync);
    }

    sync->polling = true;
    const uint32_t completed =
        carry_out(sync, container_of(link, struct storage_request, link));
    sync->polling = false;
    return completed;
}

static void
sync_grow(struct storage *storage, struct storage_growth *growth)
{
    struct storage_sync *sync = sync_of(storage);
    assert(storage->growing == growth);
    storage_grower_start(&sync->grower);
}
