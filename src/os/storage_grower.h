/* SPDX-License-Identifier: PostgreSQL */
/*
 * Growth of a file while everything else goes on (io/storage.h), for both methods.
 *
 * Allocating space and making it durable can take a tenth of a second, on a busy disk more.
 * io_uring can't do that without somebody waiting: it puts an allocation in the same queue as
 * writes of the same file, which then wait behind it. So a thread does it, one for each growth. It
 * touches nothing but its file and its own structure, gets no signal, and ends when the growth
 * does.
 *
 *      storage_grower_start     starts the thread
 *      (the thread)             allocates, syncs; sets `done`, then writes to event_fd
 *      storage_grower_finish    joins it, and runs the callback
 */
#ifndef LEDGER_OS_STORAGE_GROWER_H
#define LEDGER_OS_STORAGE_GROWER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/storage.h"
#include "os/storage_files.h"

struct storage_grower {
    struct storage_files *files;
    struct storage *storage;
    int event_fd; /* An eventfd that belongs to the owner. */
    bool active;
    bool threaded; /* If not set, no thread could be started, and the growth was done at once. */
    pthread_t thread;

    /* What the thread is told, and what it reports. */
    int fd;
    uint64_t size_old_bytes;
    uint64_t size_bytes;
    enum storage_result result;
    int error_number;
    atomic_bool done;
};

void storage_grower_init(
    struct storage_grower *grower,
    struct storage_files *files,
    struct storage *storage,
    int event_fd);

/* Begins the growth that storage->growing describes. */
void storage_grower_start(struct storage_grower *grower);

/* True if the thread has nothing left to do but to end. */
bool storage_grower_done(struct storage_grower *grower);

/* Waits for the thread and ends the growth, running its callback. */
void storage_grower_finish(struct storage_grower *grower);

/* Waits for the thread, if there is one. The callback doesn't run. */
void storage_grower_close(struct storage_grower *grower);

#endif
