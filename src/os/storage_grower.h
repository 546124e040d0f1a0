/* SPDX-License-Identifier: PostgreSQL */
/*
 * Growth of a file beside everything else (io/storage.h), for both methods.
 *
 * To allocate space and to make it durable can take a tenth of a second, on a busy disk more. No
 * request to the kernel does both without somebody waiting: io_uring hands an allocation to the
 * same queue as writes of the same file, which then wait behind it. So a thread does it, one for
 * each growth. It touches nothing but its file and its own structure, gets no signal, and ends when
 * the growth does.
 *
 *     storage_grower_start     makes the thread
 *     (the thread)             allocates, syncs; sets `done`, then writes to event_fd
 *     storage_grower_finish    joins it, and has the callback run
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
    int event_fd; /* The owner's: an eventfd. */
    bool active;
    bool threaded; /* Else there was no thread to be had, and it is done already. */
    pthread_t thread;

    /* What the thread is told, and what it tells. */
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

/* The state of storage->growing. */
void storage_grower_start(struct storage_grower *grower);

/* True when the thread has nothing left to do but to end. */
bool storage_grower_done(struct storage_grower *grower);

/* Waits for the thread, and ends the growth: its callback runs. */
void storage_grower_finish(struct storage_grower *grower);

/* Waits for the thread, if there is one. The callback does not run. */
void storage_grower_close(struct storage_grower *grower);

#endif
