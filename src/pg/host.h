/* SPDX-License-Identifier: PostgreSQL */
/*
 * What surrounds the engine in the worker: its directory, storage, clock and memory; and its
 * opening.
 */
#ifndef LEDGER_PG_HOST_H
#define LEDGER_PG_HOST_H

#include "postgres.h"

#include "engine.h"
#include "os/populate.h"
#include "os/storage_os.h"
#include "pg/monitor_shared.h"

/* Does not move while it is open. */
struct host {
    struct engine *engine;
    struct populate populate; /* The engine's memory: settings_memory_mb. */
    struct clock clock;
    struct storage_os storage;
    struct engine_identity identity;
    struct engine_open_report report;
    bool lock_waited; /* Set before opening: the worker before has waited for the files already. */
};

/*
 * Finds or makes the data directory as identity.h says, opens it, replays the log. `requests_max`
 * requests can be lent to the engine. If something forbids it, fills `refusal` and returns false;
 * then the process must not try again. Another process may: later if `refusal->retries`.
 */
bool host_open(struct host *host, uint32 requests_max, struct refusal *refusal);

/* Each ENGINE_TICK_MS or so. idle: for a moment now, there has been nothing to do. */
void host_tick(struct host *host);

/*
 * Lets the memory that the engine will use soon have its pages; see os/populate.h. True if it did
 * something that took its time.
 */
bool host_populate(struct host *host, bool idle);

#endif
