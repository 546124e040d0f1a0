/* SPDX-License-Identifier: PostgreSQL */
/*
 * The data directory as a whole: where it is, whether it is there, and making a new one durable.
 */
#ifndef LEDGER_PG_WORKER_DIRECTORY_H
#define LEDGER_PG_WORKER_DIRECTORY_H

#include "postgres.h"

#include "pg/monitor_shared.h"

struct directory {
    char path[MAXPGPATH];     /* ledger.data_directory */
    char path_new[MAXPGPATH]; /* With ".new": while it is made. */
    bool present;
    bool present_new;
};

/*
 * Looks. False, with a refusal, if it cannot be told, or if ledger.data_directory is no path, or
 * inside PGDATA.
 */
bool directory_find(struct directory *directory, struct refusal *refusal);

/* Does it hold files of a ledger, or at least some of them? */
bool directory_holds_files(const struct directory *directory);

/*
 * Is it on another file system than PGDATA? Then whoever keeps, snapshots or mounts only one of the
 * two loses the other. False if it can't be told.
 */
bool directory_is_elsewhere(const char *path);

/*
 * Removes what an interrupted creation left of path_new, so that the storage can make it. Refused
 * while another server makes a ledger there.
 */
bool directory_remove_new(struct directory *directory, struct refusal *refusal);

/* Makes path_new durable: the names in it, and its own. */
bool directory_sync_new(const struct directory *directory, struct refusal *refusal);

/* Renames path_new to path, durably. */
bool directory_rename_new(struct directory *directory, struct refusal *refusal);

#endif
