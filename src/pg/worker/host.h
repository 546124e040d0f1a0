/* SPDX-License-Identifier: PostgreSQL */
/*
 * What surrounds the engine in the worker: its directory, storage, clock and memory; and its
 * opening.
 */
#ifndef LEDGER_PG_WORKER_HOST_H
#define LEDGER_PG_WORKER_HOST_H

#include "postgres.h"

#include "engine/engine.h"
#include "os/file_replacer.h"
#include "os/populate.h"
#include "os/storage_os.h"
#include "pg/monitor_shared.h"
#include "pg/worker/ownership.h"

/* Does not move while it is open. */
struct host {
    struct engine *engine;
    void *memory; /* The engine's. */
    uint64 memory_bytes;
    struct populate populate;
    struct clock clock;
    struct storage_os storage;
    struct ownership ownership;
    struct engine_open_report report;
    struct file_replacer note; /* The note of how far the ledger has come: see identity.h. */
    int note_error; /* The error of the newest note; 0: there was none. */
    uint64 noted_ns;
    bool lock_waited; /* Set before opening: the worker before has waited for the files already. */
};

/*
 * Opens this server's ledger (see ownership.h), and replays the log. `requests_max` requests can be
 * lent to the engine. If something forbids it, fills `refusal`, leaves nothing open, and returns
 * false: it can be called again. A shutdown that is asked for meanwhile ends the process.
 */
bool host_open(struct host *host, uint32 requests_max, struct refusal *refusal);

/* Each ENGINE_TICK_MS or so. */
void host_tick(struct host *host);

/* At an orderly end, when the engine does no more: waits until it is noted how far it has come. */
void host_stop(struct host *host);

/*
 * Lets the memory that the engine will use soon have its pages; see os/populate.h. idle: for a
 * moment now, there has been nothing to do. True if it did something that took its time.
 */
bool host_populate(struct host *host, bool idle);

#endif
