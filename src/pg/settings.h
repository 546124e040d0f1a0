/* SPDX-License-Identifier: PostgreSQL */
/*
 * The settings `ledger.*`. They exist only when the library was loaded by shared_preload_libraries;
 * without, every call that needs them has already raised an error.
 */
#ifndef LEDGER_PG_SETTINGS_H
#define LEDGER_PG_SETTINGS_H

#include <stdbool.h>

enum settings_io_method { SETTINGS_IO_AUTO, SETTINGS_IO_URING, SETTINGS_IO_SYNC };

enum settings_wal_sync { SETTINGS_WAL_SYNC_BOTH, SETTINGS_WAL_SYNC_FIRST };

enum settings_commit_mode {
    /* Immediate, if the call is a whole transaction by itself. Otherwise refused. */
    SETTINGS_COMMIT_AUTO,
    SETTINGS_COMMIT_IMMEDIATE,     /* Durable when the call returns, survives ROLLBACK. */
    SETTINGS_COMMIT_TRANSACTIONAL, /* Takes effect if and only if the transaction commits. */
};

enum settings_read_consistency { SETTINGS_READ_STRICT, SETTINGS_READ_LOCAL };

extern char *settings_data_directory; /* In canonical form, but not checked any further. */
extern int settings_memory_mb;
extern int settings_wal_size_mb;
extern int settings_io_method; /* enum settings_io_method */
extern bool settings_io_direct;
extern int settings_wal_sync; /* enum settings_wal_sync */
extern int settings_commit_mode; /* enum settings_commit_mode */
extern int settings_bulk_slots;
extern int settings_spin_us;
extern int settings_scrub_interval_s;
/* Those of a cluster's node. None of their texts is checked here: worker/cluster.h. */
extern char *settings_node_name; /* Empty: the ledger is alone. */
extern char *settings_nodes;
extern char *settings_listen_address;
extern char *settings_secret_file;
extern int settings_failover_timeout_ms;
extern int settings_quorum_wait_ms;   /* 0: without an end. */
extern int settings_read_consistency; /* enum settings_read_consistency */

/* While a write is running, the worker spins for this many times ledger.spin. */
#define SPIN_WRITE_FACTOR 3

static inline bool
settings_has_node(void)
{
    return settings_node_name != NULL && settings_node_name[0] != '\0';
}

/* Called once, while shared_preload_libraries are loaded. */
void settings_define(void);

#endif
