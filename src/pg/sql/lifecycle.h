/* SPDX-License-Identifier: PostgreSQL */
/*
 * How a server comes by its ledger: ledger.create_ledger(), ledger.adopt(), and CREATE EXTENSION.
 *
 * A new ledger is made only when somebody asks. CREATE EXTENSION ledger asks, as a person types it.
 * What pg_dump and pg_dumpall write does not: they always write
 *
 *     CREATE EXTENSION IF NOT EXISTS ledger WITH SCHEMA pg_catalog;
 *
 * and a restored database whose ledger is somewhere else must not find an empty one. So with a
 * SCHEMA clause, which nobody needs for this extension, no ledger is made, and a WARNING says so.
 * Neither does pg_upgrade ask, nor CASCADE of another extension, nor a server that starts. After
 * an upgrade or a dump, CREATE EXTENSION asks in no other database either: see awaited.h.
 *
 * What a ledger is asked for is not part of the transaction: a directory that was made stays when
 * CREATE EXTENSION is rolled back, and when the extension is dropped.
 */
#ifndef LEDGER_PG_SQL_LIFECYCLE_H
#define LEDGER_PG_SQL_LIFECYCLE_H

/* Called once, while shared_preload_libraries are loaded. */
void lifecycle_install(void);

#endif
