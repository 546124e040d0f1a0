/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the worker tells everyone about itself: one board in shared memory, which only the worker
 * writes.
 *
 * Readers never hold the worker up: it counts each change before and after (odd: being changed),
 * and a reader whose copy was crossed by a change copies again. The board is renewed at most every
 * MONITOR_INTERVAL_MS while there is work, and once more when work ends.
 */
#ifndef LEDGER_PG_MONITOR_SHARED_H
#define LEDGER_PG_MONITOR_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "engine/engine.h"

#define MONITOR_INTERVAL_MS 100

/*
 *     STARTING → OPENING → RUNNING → STOPPED      STOPPED → OPENING: it was started again
 *                OPENING → REFUSED → STOPPED      REFUSED → OPENING: somebody has called adopt
 *                OPENING → NONE → STOPPED         NONE → OPENING: somebody has asked for a ledger
 */
enum worker_state {
    WORKER_STARTING, /* Not started yet since the server started. On a standby: never. */
    WORKER_OPENING,  /* Makes or opens the files, and replays the log. */
    WORKER_RUNNING,
    /* Alive, but opens nothing: `refusal` says why. A reload, or time, tries again. */
    WORKER_REFUSED,
    WORKER_NONE,    /* Alive, and there is no ledger: it waits until somebody asks for one. */
    WORKER_STOPPED, /* Ended or ending; `refusal` says why if it failed. */
};

/*
 * Why there is no engine, or what it can't do: three texts as in every error message. Empty where
 * there is nothing to say.
 */
struct refusal {
    char message[256];
    char detail[768];
    char hint[512];
    int sqlstate;   /* The SQLSTATE for callers that are refused; 0: there is no special one. */
    bool retries;   /* The cause may go by itself: the worker tries again without being told. */
    bool none;      /* Nothing is wrong: there is no ledger. */
    bool adoptable; /* ledger.adopt() of `ledger` is a way on. */
    u128 ledger;    /* What the data directory holds; 0: not known. */
};

struct monitor {
    int32 worker_pid;              /* 0: none. */
    uint32 worker_starts;          /* Since the server started. */
    TimestampTz opened_at;         /* 0: not open. */
    TimestampTz published_at;      /* When the numbers below were taken. 0: there are none. */
    char data_directory[MAXPGPATH];
    char io_method[16]; /* In effect: "io_uring" or "sync"; empty before it is known. */
    bool io_direct;     /* In effect. */
    struct refusal refusal;
    struct refusal warning; /* What an engine that works can't do at present. */
    struct engine_identity identity; /* Valid if opened_at is set. */
    uint64 ops_replayed;             /* How many ops the last opening has replayed. */
    struct engine_state state;
    struct engine_stats stats;
};

struct monitor_board {
    pg_atomic_uint32 changes;
    struct monitor monitor;
};

void monitor_init(struct monitor_board *board);

/* ---- For backends ---------------------------------------------------------------------------- */

/* The worker's state. WORKER_STOPPED if the library was not preloaded. */
enum worker_state monitor_worker_state(void);

/* A consistent copy of the whole board; false if the library was not preloaded. */
bool monitor_get(struct monitor *monitor);

/* The reason only; false if the library was not preloaded. */
bool monitor_refusal_get(struct refusal *refusal);

/* The engine's numbers only; false if there are none. */
bool monitor_state_get(struct engine_state *state);

/* ---- For the worker -------------------------------------------------------------------------- */

/* Between the two, the worker writes to board->monitor, and raises nothing. */
struct monitor *monitor_change_begin(struct monitor_board *board);
void monitor_change_end(struct monitor_board *board);

#endif
