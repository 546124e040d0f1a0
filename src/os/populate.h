/* SPDX-License-Identifier: PostgreSQL */
/*
 * Gives memory its pages before it is used.
 *
 * When a page is touched for the first time, the kernel has to zero it, which on a virtual machine
 * can take half of the time of bulk work. Where io_uring works, a thread of the kernel does it
 * beforehand (madvise(2), MADV_POPULATE_WRITE, through a ring of its own). Otherwise it is done in
 * idle times. A limit keeps it from taking memory that may never be needed. Nothing depends on it:
 * without it, pages come when they are first used.
 */
#ifndef LEDGER_OS_POPULATE_H
#define LEDGER_OS_POPULATE_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct populate {
    char *memory;
    uint64_t size_bytes;
    uint64_t done_bytes;  /* How many bytes, from the start, have pages. */
    uint64_t limit_bytes; /* How many bytes should have pages now. */
    /* How many bytes the running request has asked for; 0 if none is running. */
    uint64_t asked_bytes;
    struct io_uring ring; /* Only if asynchronous. */
    bool asynchronous;
};

/* `memory` must be page-aligned. use_uring: try that way first, if the system allows it. */
void populate_open(struct populate *populate, void *memory, uint64_t size_bytes, bool use_uring);

/*
 * Sets how many bytes should have pages. More than there are means all; less than have pages
 * already means a pause.
 */
void populate_limit(struct populate *populate, uint64_t limit_bytes);

/* Closes it. This is allowed only before any request was made. */
void populate_close(struct populate *populate);

/*
 * Goes on. It never waits, except that without io_uring it takes some milliseconds in idle times.
 * Returns true if it did something itself.
 */
bool populate_poll(struct populate *populate, bool idle);

#endif
