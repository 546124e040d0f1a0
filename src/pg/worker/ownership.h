/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which ledger is this server's: settles it at a start, and changes it where somebody asks. The
 * rules, and why each step is safe against a crash, are in identity.h.
 *
 * Nothing here waits for anybody but the disk, and everything runs in the worker.
 */
#ifndef LEDGER_PG_WORKER_OWNERSHIP_H
#define LEDGER_PG_WORKER_OWNERSHIP_H

#include "postgres.h"

#include "os/storage_os.h"
#include "pg/worker/directory.h"
#include "pg/worker/identity.h"

/* This server's ledger, as far as it is known without the engine. */
struct ownership {
    struct directory directory;
    struct identity identity; /* What PGDATA says. */
    uint64 view; /* What the superblock says. */
};

/*
 * Finds this server's ledger. If there is one, its files are open in `storage` on success, and hold
 * what PGDATA says. Else false, with a refusal: `none` if there simply is no ledger, `adoptable` if
 * there is one that belongs to another PGDATA.
 */
bool ownership_settle(
    struct ownership *ownership,
    struct storage_os *storage,
    int lock_wait_ms,
    struct refusal *refusal);

/* Makes a new, empty ledger, where there is none. Its uuid. */
bool ownership_create(u128 *ledger, struct refusal *refusal);

/*
 * Makes the data directory, which must hold `ledger`, this server's own. `refused`: why the engine
 * didn't open; of a directory that is this server's already, only one that is adoptable is taken.
 */
bool ownership_adopt(u128 ledger, const struct refusal *refused, struct refusal *refusal);

#endif
