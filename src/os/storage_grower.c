/* SPDX-License-Identifier: PostgreSQL */
/* See storage_grower.h. */
#define _GNU_SOURCE 1 /* pthread_setname_np. */

#include "os/storage_grower.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

void
storage_grower_init(
    struct storage_grower *grower,
    struct storage_files *files,
    struct storage *storage,
    int event_fd)
{
    assert(files != NULL && storage != NULL);
    *grower = (struct storage_grower){.files = files, .storage = storage, .event_fd = event_fd};
}

/* Runs in the thread. It writes the event last, so that whoever sees the event also sees `done`. */
static void *
grower_run(void *context)
{
    struct storage_grower *grower = context;
    const uint64_t one = 1;
    grower->result = storage_files_extend(
        grower->fd, grower->size_old_bytes, grower->size_bytes, &grower->error_number);
    atomic_store(&grower->done, true);
    ssize_t written;
    do {
        written = write(grower->event_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    return NULL;
}

void
storage_grower_start(struct storage_grower *grower)
{
    const struct storage_growth *growth = grower->storage->growing;
    sigset_t all;
    sigset_t before;
    assert(growth != NULL);
    assert(!grower->active);
    grower->active = true;
    grower->fd = grower->files->fds[growth->file];
    grower->size_old_bytes = grower->storage->file_size_bytes[growth->file];
    grower->size_bytes = growth->size_bytes;
    grower->error_number = 0;
    atomic_store(&grower->done, false);
    /* Signals belong to the host, so the new thread starts with all of them blocked. */
    (void) sigfillset(&all);
    const int blocked = pthread_sigmask(SIG_SETMASK, &all, &before);
    assert(blocked == 0);
    grower->threaded = pthread_create(&grower->thread, NULL, grower_run, grower) == 0;
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (grower->threaded) {
        (void) pthread_setname_np(grower->thread, "ledger grower");
    } else {
        (void) grower_run(grower);
    }
}

bool
storage_grower_done(struct storage_grower *grower)
{
    return grower->active && atomic_load(&grower->done);
}

static void
grower_join(struct storage_grower *grower)
{
    assert(grower->active);
    if (grower->threaded) {
        const int joined = pthread_join(grower->thread, NULL);
        assert(joined == 0);
    }
    grower->active = false;
    assert(atomic_load(&grower->done));
}

void
storage_grower_finish(struct storage_grower *grower)
{
    grower_join(grower);
    if (grower->result == STORAGE_IO_ERROR) {
        storage_files_note_growth_failure(
            grower->files,
            grower->storage->growing->file,
            grower->size_old_bytes,
            grower->error_number);
    }
    if (grower->result == STORAGE_OK) grower->files->growth_failure.happened = false;
    storage_grow_finish(grower->storage, grower->result);
}

void
storage_grower_close(struct storage_grower *grower)
{
    if (grower->active) grower_join(grower);
}
