/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the worker tells everyone about itself: one board in shared memory, which only the worker
 * writes.
 *
 * Readers never hold the worker up. The worker counts each change before and after it (so an odd
 * count means that the board is being changed); a reader that sees a change during its copy copies
 * again. The board is renewed at most every MONITOR_INTERVAL_MS while there is work, and once more
 * when work ends.
 */
#ifndef LEDGER_PG_MONITOR_SHARED_H
#define LEDGER_PG_MONITOR_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "engine/engine.h"
#include "os/network_address.h"

#define MONITOR_INTERVAL_MS 100

/*
 * Why there is no engine, or what it can't do: the three texts of an error message. A text is empty
 * if there is nothing to say.
 */
struct refusal {
    char message[256];
    char detail[768];
    char hint[512];
    int sqlstate;   /* The SQLSTATE for refused calls; 0 if there is no special one. */
    /* The cause may go away by itself, so the worker tries again without being told. */
    bool retries;
    bool none;      /* Nothing is wrong, but there is no ledger. */
    bool adoptable; /* ledger.adopt() of `ledger` would help. */
    u128 ledger;    /* The ledger that the data directory holds; 0 if it isn't known. */
};

struct monitor {
    int32 worker_pid;              /* 0 if there is no worker. */
    uint32 worker_starts;          /* How often the worker was started since the server started. */
    TimestampTz opened_at;         /* 0 if it isn't open. */
    TimestampTz published_at;      /* When the numbers below were taken; 0 if there are none. */
    char data_directory[MAXPGPATH];
    /* The method in effect, "io_uring" or "sync"; empty while it isn't known. */
    char io_method[16];
    bool io_direct;     /* Whether O_DIRECT is in effect. */
    struct refusal refusal;
    struct refusal warning; /* What a working engine can't do at present. */
    struct engine_identity identity; /* Valid if opened_at is set. */
    uint64 ops_replayed;             /* How many ops the last opening has replayed. */
    struct engine_state state;
    struct engine_stats stats;
    struct engine_cluster cluster;
    struct network_nodes nodes; /* The list in effect; none: the ledger is alone. */
};

struct monitor_board {
    pg_atomic_uint32 changes;
    struct monitor monitor;
};

void monitor_init(struct monitor_board *board);

/* ---- For backends ---------------------------------------------------------------------------- */

/* Makes a consistent copy of the whole board. Returns false if the library wasn't preloaded. */
bool monitor_get(struct monitor *monitor);

/* Copies only the refusal. Returns false if the library wasn't preloaded. */
bool monitor_refusal_get(struct refusal *refusal);

/* Copies only the engine's numbers. Returns false if there are none. */
bool monitor_state_get(struct engine_state *state);

/* ---- For both -------------------------------------------------------------------------------- */

#define MONITOR_NAME_DETAIL "A name has 1 to 31 of the characters a-z, 0-9, _ and -."

/* What there is to say of a node that isn't a member (monitor_is_member). */
#define MONITOR_OUTSIDE_DETAIL \
    "It was removed from it, or was let in just now and has not read so in the log yet."
#define MONITOR_OUTSIDE_HINT \
    "If it was let in, wait: it is sent the log. If it was removed, its directory is of no use any more: see \"Clusters\" in doc/operations.md."

/*
 * True if this node is one of the members that it knows. A node that has just been let in isn't
 * until it has read so in the log; one that was removed never is again.
 */
bool monitor_is_member(const struct engine_cluster *cluster);

/* This node among the members, or NULL; */
const struct engine_member *monitor_self(const struct engine_cluster *cluster);

/* is it the primary that works, as far as it knows? */
bool monitor_is_primary(const struct engine_cluster *cluster);

/* Does what is committed wait at this node for room? */
bool monitor_lacks_room(const struct engine_cluster *cluster);

/* ---- For the worker -------------------------------------------------------------------------- */

/* Between these two, the worker writes to board->monitor, and nothing may raise an error. */
struct monitor *monitor_change_begin(struct monitor_board *board);
void monitor_change_end(struct monitor_board *board);

#endif
