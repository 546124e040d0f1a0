/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening the files of a data directory as the settings say, with refusals instead of errors.
 */
#ifndef LEDGER_PG_WORKER_FILES_H
#define LEDGER_PG_WORKER_FILES_H

#include "postgres.h"

#include "engine/engine.h"
#include "os/storage_os.h"
#include "pg/monitor_shared.h"

/*
 * Was a shutdown asked for, or has the postmaster gone? What takes long asks this again and again:
 * the handler of the signal only sets a flag.
 */
bool files_shall_end(void);

/*
 * Opens what is there, under its locks. Files that another process has are waited for
 * `lock_wait_ms` at most.
 */
bool files_open(
    struct storage_os *storage, const char *path, int lock_wait_ms, struct refusal *refusal);

/*
 * Makes the directory and its files, and formats them: a ledger that belongs to `owner`. On success
 * they stay open. On failure nothing is left behind, if the system lets it.
 */
bool files_create(
    struct storage_os *storage,
    const char *path,
    const struct engine_identity *owner,
    struct refusal *refusal);

/* What the superblock says. False, with a refusal, if it says nothing that can be understood. */
bool files_inspect(
    struct storage_os *storage,
    const char *path,
    struct engine_inspection *inspection,
    struct refusal *refusal);

/* See engine_adopt. */
bool files_adopt(
    struct storage_os *storage,
    const char *path,
    const struct engine_identity *owner,
    struct refusal *refusal);

/* Zeroed memory of the system, page-aligned; NULL with errno set. munmap gives it back. */
void *files_take_memory(uint64 size_bytes);

#endif
