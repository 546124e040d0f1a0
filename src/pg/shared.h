/* SPDX-License-Identifier: PostgreSQL */
/*
 * The shared memory of the extension: a fixed head, then the slots. Taken once, when the server
 * starts, from the main segment; so a crash of any process, which makes the postmaster start all
 * over, also makes it new.
 *
 *     struct shared | slots (slots.h)
 */
#ifndef LEDGER_PG_SHARED_H
#define LEDGER_PG_SHARED_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"

#include "pg/command.h"
#include "pg/monitor_shared.h"
#include "pg/slots.h"

enum worker_sleep {
    WORKER_AWAKE,
    WORKER_ASLEEP,
    /* A prepare is being written, and its end wakes the worker: a create needs not do so. */
    WORKER_ASLEEP_WRITING,
};

struct shared {
    /* Written by the worker only, where nothing else is said. */
    pg_atomic_uint32 worker_state;  /* enum worker_state */
    /* The process whose latch wakes it; SLOT_NONE: there is none. */
    pg_atomic_uint32 worker_procno;
    /*
     * enum worker_sleep. The worker sets it before it looks at the ready list for the last time and
     * sleeps; a backend reads it after it has pushed to the list. With a full barrier between the
     * two steps on both sides, one sees the other.
     */
    pg_atomic_uint32 worker_asleep;
    pg_atomic_uint32 requests_under_way; /* Taken and not answered; a hint to those who wait. */
    /* When a session first missed a worker that has not begun; see availability.c. 0: none has. */
    pg_atomic_uint64 start_awaited_since;
    struct command_box command_box;
    ConditionVariable worker_state_changed;
    struct monitor_board board;
};

/* NULL: the library was not loaded by shared_preload_libraries. */
extern struct shared *shared;

struct slots *shared_slots(void);

/* Called once, while shared_preload_libraries are loaded. */
void shared_request(void);

/* The worker says what it does now. */
void shared_set_worker_state(enum worker_state state);

/*
 * Wakes the worker if it sleeps. After something was put where it looks. `can_wait`: for the end of
 * the write that is under way, if one is.
 */
void shared_wake_worker(bool can_wait);

#endif
