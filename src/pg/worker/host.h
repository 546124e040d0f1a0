/* SPDX-License-Identifier: PostgreSQL */
/*
 * What surrounds the engine in the worker: its directory, storage, clock and memory; and how it is
 * opened.
 */
#ifndef LEDGER_PG_WORKER_HOST_H
#define LEDGER_PG_WORKER_HOST_H

#include "postgres.h"

#include "engine/engine.h"
#include "os/file_replacer.h"
#include "os/populate.h"
#include "os/storage_os.h"
#include "pg/monitor_shared.h"
#include "pg/worker/cluster.h"
#include "pg/worker/joining.h"
#include "pg/worker/ownership.h"

/* It must not be moved while it is open. */
struct host {
    struct engine *engine;
    void *memory; /* Belongs to the engine. */
    uint64 memory_bytes;
    struct populate populate;
    struct clock clock;
    struct storage_os storage;
    struct cluster cluster;
    struct joining joining; /* After a refusal `none` of a node of a cluster; */
    uint64 guest_since_ns;  /* it has waited since then. */
    struct ownership ownership;
    struct engine_open_report report;
    struct file_replacer note; /* Writes the note of how far the ledger has come (identity.h). */
    int note_error; /* Why the newest note failed; 0 if it didn't. */
    uint64 noted_ns;
    /* Set before opening, if the previous worker has already waited for the files. */
    bool lock_waited;
};

/*
 * Opens this server's ledger (ownership.h), and replays the log. Up to `requests_max` requests can
 * be lent to the engine. If that is impossible, it fills in `refusal`, leaves nothing open, and
 * returns false; it can be called again. A shutdown that is asked for meanwhile ends the process.
 */
bool host_open(struct host *host, uint32 requests_max, struct refusal *refusal);

/*
 * After a refusal `none`: a node of a cluster waits here to be let in. True if it was; then its
 * directory is made and can be opened, or `refusal` says why it couldn't be made.
 */
bool host_let_in(struct host *host, struct refusal *refusal);

/* While it waits: true if there is news of why, which `refusal` has. */
bool host_guest_news(struct host *host, struct refusal *refusal);

/* False of a guest that has just begun: it doesn't know yet who is there. */
bool host_has_greeted(struct host *host);

/* May it have a ledger of its own (joining_alone)? If not, `refusal` says why. */
bool host_alone(const struct host *host, struct refusal *refusal);

/*
 * It isn't to be let in: the host is to be opened for another reason, or the process ends. Nothing
 * happens if it waits for nothing.
 */
void host_guest_end(struct host *host);

/* To be called each ENGINE_TICK_MS or so. */
void host_tick(struct host *host);

/* At an orderly end, when the engine does nothing more: waits until the last note is written. */
void host_stop(struct host *host);

/*
 * Gives pages to memory that the engine will use soon (os/populate.h). idle: there has been nothing
 * to do for a moment. Returns true if it did something that took time.
 */
bool host_populate(struct host *host, bool idle);

#endif
