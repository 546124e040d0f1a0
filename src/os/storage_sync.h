/* SPDX-License-Identifier: PostgreSQL */
/*
 * io/storage.h over pread, pwrite and pwritev, where io_uring is not to be had.
 *
 * A submission (a request, or an ordered pair) is queued; each poll carries out the oldest one,
 * blocking for as long as the disk takes. One at a time, so that the host gets to its other work in
 * between. The eventfd is readable while something is queued, or a growth is done. But of a solo
 * write alone nobody is told, which would cost two system calls: its caller polls before it sleeps.
 */
#ifndef LEDGER_OS_STORAGE_SYNC_H
#define LEDGER_OS_STORAGE_SYNC_H

#include "base/queue.h"
#include "io/storage.h"
#include "os/clock_os.h"
#include "os/storage_choice.h"
#include "os/storage_files.h"
#include "os/storage_grower.h"

struct storage_sync {
    struct storage storage;
    struct storage_files *files;
    struct queue waiting; /* Requests, and the first request of each pair. */
    int event_fd;
    bool told; /* The event was set for what is queued. */
    struct storage_grower grower; /* Only growth goes on while others are carried out. */
    struct clock clock;
    struct storage_choice choice; /* Of one way: it only measures. */
    bool polling;
};

/* Returns false with errno if the system gives no eventfd. The files stay the caller's. */
bool storage_sync_open(struct storage_sync *sync, struct storage_files *files);

/* Forgets what is queued: its callbacks never run. */
void storage_sync_close(struct storage_sync *sync);

#endif
