/* SPDX-License-Identifier: PostgreSQL */
/*
 * The data directory as a whole: finds out where it is and whether it exists, and makes a new one
 * durable.
 */
#ifndef LEDGER_PG_WORKER_DIRECTORY_H
#define LEDGER_PG_WORKER_DIRECTORY_H

#include "postgres.h"

#include "pg/monitor_shared.h"

struct directory {
    char path[MAXPGPATH];     /* ledger.data_directory */
    char path_new[MAXPGPATH]; /* The same with ".new", while it is being made. */
    bool present;
    bool present_new;
};

/*
 * Looks for the directory. Returns false, with a refusal, if it can't be found out whether it
 * exists, or if ledger.data_directory isn't a path or lies inside PGDATA.
 */
bool directory_find(struct directory *directory, struct refusal *refusal);

/* Does it hold any of a ledger's files? */
bool directory_holds_files(const struct directory *directory);

/*
 * Is it on another file system than PGDATA? Then a backup, snapshot or mount of only one of the two
 * loses the other. False if that can't be found out.
 */
bool directory_is_elsewhere(const char *path);

/*
 * Removes what an interrupted creation left in path_new, so that it can be made again. Refuses
 * while another server is making a ledger there.
 */
bool directory_remove_new(struct directory *directory, struct refusal *refusal);

/* Makes path_new durable: the names of its files, and its own name. */
bool directory_sync_new(const struct directory *directory, struct refusal *refusal);

/* Renames path_new to path, durably. */
bool directory_rename_new(struct directory *directory, struct refusal *refusal);

#endif
