/* SPDX-License-Identifier: PostgreSQL */
/*
 * The real disk: a data directory opened with the method that was asked for, or that is to be had.
 *
 *     storage_os_open      auto: io_uring, but solo writes go the way that was found to be better
 *                          (storage_choice.h); sync where it is refused. All are equally durable
 *     os->storage          what the engine is given
 *     storage_os_wait_fd   readable while storage_poll has something to do: the host sleeps on it
 *     storage_os_close
 *
 * One thread uses it, the one that opened it. All descriptors are close-on-exec, and none is shared
 * with a parent if the process opens after it was forked. The host should also poll at each tick,
 * even if the descriptor is quiet: a submission that the kernel has put off for want of memory is
 * offered again then.
 *
 * A host that spins for a disk write must yield the CPU each time: the kernel finishes an O_DSYNC
 * write in a worker thread, which a spinning thread can keep off its CPU (measured on two CPUs: 8
 * ms instead of 0.2).
 */
#ifndef LEDGER_OS_STORAGE_OS_H
#define LEDGER_OS_STORAGE_OS_H

#include <stddef.h>

#include "os/storage_files.h"
#include "os/storage_sync.h"
#include "os/storage_uring.h"

/* It must not be moved while it is open. */
struct storage_os {
    struct storage *storage; /* The storage of the method that is in use. */
    struct storage_files files;
    enum storage_os_method method;
    struct storage_sync sync;
    struct storage_uring *uring;
};

/*
 * Opens a data directory. On success the report says which method is in effect, and whether files
 * were created. Otherwise nothing stays open, and the report says why. It blocks; a creation takes
 * as long as writing all files once.
 */
enum storage_os_error storage_os_open(
    struct storage_os *storage_os,
    const struct storage_os_options *options,
    struct storage_os_report *report);

/* Requests in flight are waited for (io_uring) or forgotten (sync). Their callbacks never run. */
void storage_os_close(struct storage_os *storage_os);

int storage_os_wait_fd(const struct storage_os *storage_os);

/*
 * Describes the first request that failed since opening, or else the last growth, if that failed;
 * as a sentence. Returns false if neither did.
 */
bool storage_os_failure_text(const struct storage_os *storage_os, char *text, size_t text_size);

/*
 * Describes the last growth if it has failed since *told, which is 0 at first and counts failures.
 */
bool storage_os_growth_failure(
    const struct storage_os *storage_os, uint64_t *told, char *text, size_t text_size);

const char *storage_os_method_name(enum storage_os_method method);

#endif
