/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which ledger belongs to this server: finds out at a start, and changes it when somebody asks. The
 * rules, and why each step is safe against a crash, are in identity.h.
 *
 * Everything here runs in the worker, and waits for nothing but the disk.
 */
#ifndef LEDGER_PG_WORKER_OWNERSHIP_H
#define LEDGER_PG_WORKER_OWNERSHIP_H

#include "postgres.h"

#include "os/storage_os.h"
#include "pg/worker/directory.h"
#include "pg/worker/identity.h"

/* This server's ledger, as far as it is known before the engine is open. */
struct ownership {
    struct directory directory;
    struct identity identity; /* What PGDATA says. */
    uint64 view; /* What the superblock says. */
};

/*
 * Finds this server's ledger. On success, its files are open in `storage`, and match what PGDATA
 * says. Otherwise returns false with a refusal. Its field `none` is set if there simply is no
 * ledger, and `adoptable` if there is one that belongs to another PGDATA.
 */
bool ownership_settle(
    struct ownership *ownership,
    struct storage_os *storage,
    int lock_wait_ms,
    struct refusal *refusal);

/* Makes a new, empty ledger, if there is none, and gives its uuid. */
bool ownership_create(u128 *ledger, struct refusal *refusal);

/* Makes the directory of a node that was let into a cluster. */
bool ownership_join(const struct engine_welcome *welcome, struct refusal *refusal);

/*
 * Makes the data directory, which must hold `ledger`, this server's own. `refused` is why the
 * engine didn't open. If the directory already belongs to this server, it is adopted only if that
 * refusal says `adoptable`.
 */
bool ownership_adopt(u128 ledger, const struct refusal *refused, struct refusal *refusal);

#endif
