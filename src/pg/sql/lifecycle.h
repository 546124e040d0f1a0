/* SPDX-License-Identifier: PostgreSQL */
/*
 * How a server gets its ledger: by ledger.create_ledger(), ledger.adopt(), or CREATE EXTENSION.
 *
 * A new ledger is made only when somebody asks for one. CREATE EXTENSION ledger asks for one, if it
 * is written as a person types it. What pg_dump and pg_dumpall write doesn't; they always write
 *
 *      CREATE EXTENSION IF NOT EXISTS ledger WITH SCHEMA pg_catalog;
 *
 * and a restored database whose ledger is somewhere else must not get an empty one. So if there is
 * a SCHEMA clause, which nobody needs for this extension, no ledger is made, and a WARNING says so.
 * None is made either by pg_upgrade, by CASCADE of another extension, or by a server that starts.
 * After an upgrade or a restored dump, CREATE EXTENSION makes none in other databases either: see
 * awaited.h.
 *
 * Making a ledger is not part of the transaction: the directory stays when CREATE EXTENSION is
 * rolled back, and when the extension is dropped.
 */
#ifndef LEDGER_PG_SQL_LIFECYCLE_H
#define LEDGER_PG_SQL_LIFECYCLE_H

/* Says to the session's user where its new ledger is. */
void lifecycle_tell_created(void);

/* Called once, while shared_preload_libraries are loaded. */
void lifecycle_install(void);

#endif
