/* SPDX-License-Identifier: PostgreSQL */
/*
 * The file `ledger.awaited` in PGDATA. It says that this server should get a ledger that exists
 * already, somewhere else. pg_upgrade puts it there (whenever it runs this library in a cluster
 * without a ledger), and so does a CREATE EXTENSION that a dump has written. Any CREATE EXTENSION
 * does so while the library isn't preloaded, since it can't be seen then whether a dump or a person
 * has written it.
 *
 * While the file is there, CREATE EXTENSION makes no ledger, in whichever database and however it
 * is written. Otherwise somebody who sets up one more database of an upgraded server would get an
 * empty ledger, in place of the one that the other databases wait for. ledger.create_ledger() and
 * ledger.adopt() are explicit, so they go on, and remove the file.
 *
 * The file can only prevent that a ledger is made. If it was put needlessly, as in a new cluster
 * that never had a ledger, one more statement is needed, and nothing is lost.
 */
#ifndef LEDGER_PG_WORKER_AWAITED_H
#define LEDGER_PG_WORKER_AWAITED_H

#include "postgres.h"

#define AWAITED_FILE "ledger.awaited"

/* Puts the file there, durably, unless this PGDATA has a ledger. A failure is logged. */
void awaited_put(void);

/* Is the file there? Also true if that can't be found out. */
bool awaited_is_put(void);

/* Removes the file, since there is a ledger now. */
void awaited_remove(void);

#endif
