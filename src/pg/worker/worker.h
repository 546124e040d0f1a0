/* SPDX-License-Identifier: PostgreSQL */
/*
 * The ledger worker: the one process that owns the engine, its memory and its files. One thread,
 * one loop:
 *
 *     take ready slots → engine_submit → engine_poll → answer, wake owners → tick → sleep
 *
 * It has no database connection, so it never holds up DROP DATABASE. A lone ledger's worker starts
 * when recovery has ended: a standby has no engine. That of a cluster's node starts at once: it
 * votes while PostgreSQL replays its log, and on a standby too.
 *
 * How it ends, always with exit code 1, so that the postmaster starts it again after a second and
 * nobody else notices:
 *     SIGTERM          another node becomes the primary, if this one is; what runs is finished, for
 *                      STOP_WAIT_MS at most
 *     write error      after a write failed, only a new start can find out what the disk holds
 *     failed assertion logged, and shown to callers
 * If the files cannot be opened, it does not end but stays to refuse calls with the reason
 * (WORKER_REFUSED; WORKER_NONE where there is no ledger), so that the log has the message once and
 * not each second, and takes commands to make or adopt a ledger (command.h). A reload
 * (pg_reload_conf()) makes it try again, in a new process. Where somebody else has the files, or
 * the node's address, which may end without anybody thinking of a reload, it tries again by itself
 * every RETRY_PAUSE_MS.
 */
#ifndef LEDGER_PG_WORKER_WORKER_H
#define LEDGER_PG_WORKER_WORKER_H

#include "postgres.h"

/* Called once, while shared_preload_libraries are loaded. */
void worker_register(void);

/* False if the server had no place for it (max_worker_processes): it will never start. */
bool worker_is_registered(void);

/* True in the worker's process. */
bool worker_is_here(void);

/* Ends the worker's process, and publishes why. Callable from anywhere in it. */
pg_attribute_noreturn() void worker_fail(const char *message, const char *detail, const char *hint);

PGDLLEXPORT void ledger_worker_main(Datum argument);

#endif
