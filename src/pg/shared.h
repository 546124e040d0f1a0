/* SPDX-License-Identifier: PostgreSQL */
/*
 * The shared memory of the extension: a fixed head, then the slots. It is part of the main segment,
 * and reserved when the server starts. When any process crashes, the postmaster starts everything
 * anew, and this memory with it.
 *
 *      struct shared | slots (slots.h)
 */
#ifndef LEDGER_PG_SHARED_H
#define LEDGER_PG_SHARED_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"

#include "pg/command.h"
#include "pg/monitor_shared.h"
#include "pg/slots.h"

/*
 *     STARTING → OPENING → RUNNING → STOPPED      STOPPED → OPENING: it was started again
 *                OPENING → REFUSED → STOPPED      REFUSED → OPENING: somebody has called adopt
 *                OPENING → NONE → STOPPED         NONE → OPENING: somebody has asked for a ledger
 */
enum worker_state {
    WORKER_STARTING, /* It hasn't started since the server started. On a standby it never does. */
    WORKER_OPENING,  /* Makes or opens the files, and replays the log. */
    WORKER_RUNNING,
    /*
     * Alive, but it opens nothing; the board's `refusal` says why. It tries again after a reload,
     * or after some time.
     */
    WORKER_REFUSED,
    WORKER_NONE,    /* Alive, but there is no ledger: it waits for a command. */
    WORKER_STOPPED, /* Ended or ending; the board's `refusal` says why if it failed. */
};

enum worker_sleep {
    WORKER_AWAKE,
    WORKER_ASLEEP,
    /* A prepare is being written, and its end wakes the worker: a create needs not do so. */
    WORKER_ASLEEP_WRITING,
};

struct shared {
    /* Written only by the worker, unless something else is said. */
    pg_atomic_uint32 worker_state;  /* enum worker_state */
    /* The process whose latch wakes the worker; SLOT_NONE if there is none. */
    pg_atomic_uint32 worker_procno;
    /*
     * enum worker_sleep. The worker sets it before it looks at the ready list for the last time and
     * sleeps; a backend reads it after it has pushed to the list. With a full barrier between the
     * two steps on both sides, one sees the other.
     */
    pg_atomic_uint32 worker_asleep;
    /* Requests that were taken and aren't answered. It is only a hint, to those who wait. */
    pg_atomic_uint32 requests_under_way;
    /* When a session first missed a worker that hasn't begun (availability.c); 0 if none has. */
    pg_atomic_uint64 start_awaited_since;
    struct command_box command_box;
    ConditionVariable worker_state_changed;
    struct monitor_board board;
};

/* NULL if the library wasn't loaded by shared_preload_libraries. */
extern struct shared *shared;

struct slots *shared_slots(void);

/* Called once, while shared_preload_libraries are loaded. */
void shared_request(void);

/* The worker announces its state. */
void shared_set_worker_state(enum worker_state state);

/* WORKER_STOPPED if the library wasn't preloaded. */
static inline enum worker_state
shared_worker_state(void)
{
    if (shared == NULL) return WORKER_STOPPED;
    return (enum worker_state) pg_atomic_read_u32(&shared->worker_state);
}

/*
 * Wakes the worker if it sleeps. After something was put where it looks. `can_wait`: for the end of
 * the write that is under way, if one is.
 */
void shared_wake_worker(bool can_wait);

#endif
