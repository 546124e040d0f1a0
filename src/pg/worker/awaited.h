/* SPDX-License-Identifier: PostgreSQL */
/*
 * The file `ledger.awaited` in PGDATA: this server is to have a ledger that exists already,
 * somewhere else. It is put there by pg_upgrade (whenever it runs this library in a cluster without
 * a ledger), and by CREATE EXTENSION as a dump has it; also by any CREATE EXTENSION while the
 * library is not preloaded, where nobody can see whether a dump or a person says it.
 *
 * While it is there, CREATE EXTENSION makes no ledger, in whichever database and however it is
 * typed: whoever sets up a further database of an upgraded server must not be given an empty ledger
 * in place of the one that the others wait for. ledger.create_ledger() and ledger.adopt() say what
 * is meant, so they go on, and remove the file.
 *
 * It only ever withholds a ledger. So where it was put needlessly, as in a new cluster that had
 * nothing of ledger in it, one more statement is needed, and nothing is lost.
 */
#ifndef LEDGER_PG_WORKER_AWAITED_H
#define LEDGER_PG_WORKER_AWAITED_H

#include "postgres.h"

#define AWAITED_FILE "ledger.awaited"

/* Puts it, durably, unless this PGDATA has a ledger. What fails is logged. */
void awaited_put(void);

/* Is it there? Also true if that cannot be told. */
bool awaited_is_put(void);

/* Removes it: there is a ledger now. */
void awaited_remove(void);

#endif
