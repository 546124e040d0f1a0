/* SPDX-License-Identifier: PostgreSQL */
/*
 * Gives memory its pages before it is used.
 *
 * A page that is touched for the first time waits for the kernel to zero it, which on a virtual
 * machine can be half of the time that bulk work takes. Where io_uring works, a kernel thread does
 * it meanwhile (madvise(2), MADV_POPULATE_WRITE, through a ring of its own); else idle times are
 * used. A limit keeps it from taking what may never be needed. All of it is a favour: without it,
 * pages come when they are first used.
 */
#ifndef LEDGER_OS_POPULATE_H
#define LEDGER_OS_POPULATE_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct populate {
    char *memory;
    uint64_t size_bytes;
    uint64_t done_bytes;  /* How much of it, from its start, has pages. */
    uint64_t limit_bytes; /* How much should have now. */
    uint64_t asked_bytes; /* How much the current request has asked for; 0: there is none. */
    struct io_uring ring; /* If asynchronous. */
    bool asynchronous;
};

/* memory: page-aligned. use_uring: if the system allows it. */
void populate_open(struct populate *populate, void *memory, uint64_t size_bytes, bool use_uring);

/* How much of the memory should have pages. More than there is: all. Less than have: a pause. */
void populate_limit(struct populate *populate, uint64_t limit_bytes);

/* Before any of it was asked for: nothing is under way. */
void populate_close(struct populate *populate);

/*
 * Goes on; never waits, but where it isn't asynchronous takes some milliseconds in idle times. True
 * if it did something itself.
 */
bool populate_poll(struct populate *populate, bool idle);

#endif
