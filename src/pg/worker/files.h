/* SPDX-License-Identifier: PostgreSQL */
/* Opens the files of a data directory as the settings say. Failures are refusals, not errors. */
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

/* For a node that was let into a cluster. */
struct files_member {
    const char *name;
    u128 root_incarnation; /* Of the member with which the ledger began. */
};

/*
 * Makes the directory and its files, and formats them as a ledger that belongs to `owner`: a new
 * one, or with `member` that of a cluster, as it was in the beginning. On success they stay open.
 * On failure nothing is left behind, if the system allows removing it.
 */
bool files_create(
    struct storage_os *storage,
    const char *path,
    const struct engine_identity *owner,
    const struct files_member *member,
    struct refusal *refusal);

/* Reads what the superblock says. Returns false, with a refusal, if that can't be understood. */
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

/* Takes zeroed, page-aligned memory from the system; NULL with errno set. munmap gives it back. */
void *files_take_memory(uint64 size_bytes);

#endif
