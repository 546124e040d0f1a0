/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/settings.h"

#include <limits.h>

#include "miscadmin.h"
#include "port.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "config.h"

#define MEMORY_MB_DEFAULT 1024
/* How much is really needed depends on other settings, and the worker checks that. */
#define MEMORY_MB_MIN          64
#define WAL_SIZE_MB_DEFAULT    256
#define WAL_SIZE_MB_MIN        ((int) (PREPARES_SIZE_MIN / MIB))
#define WAL_SIZE_MB_MAX        (64 * 1024)
#define BULK_SLOTS_DEFAULT     8
#define BULK_SLOTS_MAX         256
#define SPIN_US_DEFAULT 100
#define SPIN_US_MAX     10000
#define SCRUB_INTERVAL_S_DEFAULT (7 * 24 * 3600)
#define SCRUB_INTERVAL_S_MAX     (366 * 24 * 3600)
#define FAILOVER_TIMEOUT_MS_DEFAULT 1000
#define FAILOVER_TIMEOUT_MS_MIN     200
#define FAILOVER_TIMEOUT_MS_MAX     60000
#define QUORUM_WAIT_MS_DEFAULT      10000

static_assert(PREPARES_SIZE_MIN % MIB == 0, "wal_size is set in whole megabytes");
static_assert(
    MIB % PREPARES_SIZE_UNIT == 0, "each whole megabyte of log has whole groups of headers");

char *settings_data_directory;
int settings_memory_mb;
int settings_wal_size_mb;
int settings_io_method;
bool settings_io_direct;
int settings_wal_sync;
int settings_commit_mode;
int settings_bulk_slots;
int settings_spin_us;
int settings_scrub_interval_s;
char *settings_node_name;
char *settings_nodes;
char *settings_listen_address;
char *settings_secret_file;
int settings_failover_timeout_ms;
int settings_quorum_wait_ms;
int settings_read_consistency;

static const struct config_enum_entry io_methods[] = {
    {"auto", SETTINGS_IO_AUTO, false},
    {"io_uring", SETTINGS_IO_URING, false},
    {"sync", SETTINGS_IO_SYNC, false},
    {NULL, 0, false},
};

static const struct config_enum_entry wal_syncs[] = {
    {"both", SETTINGS_WAL_SYNC_BOTH, false},
    {"first", SETTINGS_WAL_SYNC_FIRST, false},
    {NULL, 0, false},
};

static const struct config_enum_entry commit_modes[] = {
    {"auto", SETTINGS_COMMIT_AUTO, false},
    {"immediate", SETTINGS_COMMIT_IMMEDIATE, false},
    {"transactional", SETTINGS_COMMIT_TRANSACTIONAL, false},
    {NULL, 0, false},
};

static const struct config_enum_entry read_consistencies[] = {
    {"strict", SETTINGS_READ_STRICT, false},
    {"local", SETTINGS_READ_LOCAL, false},
    {NULL, 0, false},
};

/*
 * Refuses nothing. If it did, the server would only warn and use the default path, where there is
 * no ledger or another one. The worker checks the path (directory.h).
 */
static bool
canonicalize_data_directory(char **value, void **extra, GucSource source)
{
    canonicalize_path(*value);
    return true;
}

static void
define_storage_settings(void)
{
    DefineCustomStringVariable(
        "ledger.data_directory",
        "Sets the directory of the ledger's own files.",
        "It must be outside the PostgreSQL data directory. Default: beside it, with \"-ledger\" added to its name.",
        &settings_data_directory,
        MemoryContextStrdup(TopMemoryContext, psprintf("%s-ledger", DataDir)),
        PGC_POSTMASTER,
        GUC_SUPERUSER_ONLY,
        canonicalize_data_directory,
        NULL,
        NULL);
    DefineCustomIntVariable(
        "ledger.memory",
        "Sets the memory that the ledger engine takes when it starts.",
        "It is all that the engine takes, however large the ledger is: what is not in it is read from disk. At least 110 MB and a fifteenth of ledger.wal_size.",
        &settings_memory_mb,
        MEMORY_MB_DEFAULT,
        MEMORY_MB_MIN,
        INT_MAX,
        PGC_POSTMASTER,
        GUC_UNIT_MB,
        NULL,
        NULL,
        NULL);
    DefineCustomIntVariable(
        "ledger.wal_size",
        "Sets the size of the ledger's write-ahead log.",
        "It is used only when the ledger's data directory is created.",
        &settings_wal_size_mb,
        WAL_SIZE_MB_DEFAULT,
        WAL_SIZE_MB_MIN,
        WAL_SIZE_MB_MAX,
        PGC_POSTMASTER,
        GUC_UNIT_MB,
        NULL,
        NULL,
        NULL);
    DefineCustomEnumVariable(
        "ledger.io_method",
        "Selects how the ledger engine reads and writes its files.",
        "\"auto\" uses io_uring where the system allows it, and plain calls for small writes that nothing goes on beside, if they are measured to be faster. Writes are equally durable in every method.",
        &settings_io_method,
        SETTINGS_IO_AUTO,
        io_methods,
        PGC_POSTMASTER,
        0,
        NULL,
        NULL,
        NULL);
    DefineCustomBoolVariable(
        "ledger.io_direct",
        "Makes the ledger engine bypass the system's file cache.",
        "Turn it off only for development, on file systems that lack direct I/O.",
        &settings_io_direct,
        true,
        PGC_POSTMASTER,
        0,
        NULL,
        NULL,
        NULL);
}

static void
define_log_settings(void)
{
    DefineCustomEnumVariable(
        "ledger.wal_sync",
        "Selects how many of the log's two writes a ledger write waits for.",
        "With \"both\", the ledger notices at a start if the disk has lost the newest entry of the log. With \"first\", a call is answered sooner; a crash together with a fault of the disk may then lose the newest entry unnoticed. A crash alone loses nothing.",
        &settings_wal_sync,
        SETTINGS_WAL_SYNC_BOTH,
        wal_syncs,
        PGC_POSTMASTER,
        0,
        NULL,
        NULL,
        NULL);
}

static void
define_process_settings(void)
{
    DefineCustomIntVariable(
        "ledger.bulk_slots",
        "Sets the number of large requests that can be under way at the same time.",
        "Each takes 2.4 MB of shared memory. Sessions that find all taken wait.",
        &settings_bulk_slots,
        BULK_SLOTS_DEFAULT,
        1,
        BULK_SLOTS_MAX,
        PGC_POSTMASTER,
        0,
        NULL,
        NULL,
        NULL);
    DefineCustomIntVariable(
        "ledger.spin",
        "Sets for how many microseconds the ledger engine looks for more work before it sleeps.",
        "Three times as long while a write is on its way; then a session that nobody else waits with does so too. Where waits of late took longer, both sleep at once. It makes single calls faster and costs processor time. 0 turns it off.",
        &settings_spin_us,
        SPIN_US_DEFAULT,
        0,
        SPIN_US_MAX,
        PGC_SIGHUP,
        0,
        NULL,
        NULL,
        NULL);
    DefineCustomIntVariable(
        "ledger.scrub_interval",
        "Sets in which time the ledger engine reads and verifies all its data once.",
        "It does so in the background, over and over, at an even pace. Damage is logged and shown in ledger.status. 0 turns it off.",
        &settings_scrub_interval_s,
        SCRUB_INTERVAL_S_DEFAULT,
        0,
        SCRUB_INTERVAL_S_MAX,
        PGC_SIGHUP,
        GUC_UNIT_S,
        NULL,
        NULL,
        NULL);
    DefineCustomEnumVariable(
        "ledger.commit_mode",
        "Selects when a ledger write takes effect.",
        "\"auto\": when the call returns, which must be a whole transaction by itself. "
        "\"immediate\": when the call returns, even if the transaction rolls back. "
        "\"transactional\": if and only if the transaction commits, which is not supported yet.",
        &settings_commit_mode,
        SETTINGS_COMMIT_AUTO,
        commit_modes,
        PGC_USERSET,
        /*
         * Reported to clients, so that a pooler can give each of its clients the value that it has
         * set.
         */
        GUC_REPORT,
        NULL,
        NULL,
        NULL);
}

static void
define_node_text(
    const char *name, const char *what, const char *more, GucContext context, char **variable)
{
    DefineCustomStringVariable(
        name, what, more, variable, "", context, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

/* What a node is and knows of the others. */
static void
define_node_settings(void)
{
    define_node_text(
        "ledger.node_name",
        "Sets the name of this node of a ledger cluster.",
        "At most 31 of a-z, 0-9, _ and -. Empty: this server's ledger is alone.",
        PGC_POSTMASTER,
        &settings_node_name);
    define_node_text(
        "ledger.nodes",
        "Lists all nodes of the ledger cluster, with their addresses.",
        "The same line on all nodes: a=10.0.0.1:5440, b=[fd00::2]:5440, c=/run/ledger/c.sock. Not used while ledger.node_name is empty, which takes a restart to set.",
        PGC_SIGHUP,
        &settings_nodes);
    define_node_text(
        "ledger.listen_address",
        "Sets the address at which this node listens for the others.",
        "Empty: its own in ledger.nodes.",
        PGC_POSTMASTER,
        &settings_listen_address);
    define_node_text(
        "ledger.secret_file",
        "Sets the file of the secrets by which nodes know each other.",
        "Needed for any TCP address. Its content is read again at a reload.",
        PGC_SIGHUP,
        &settings_secret_file);
    DefineCustomIntVariable(
        "ledger.failover_timeout",
        "Sets after which time without a sign of life the cluster's primary is replaced.",
        "Nodes that differ in it work together. It must be longer than the slowest write of a disk.",
        &settings_failover_timeout_ms,
        FAILOVER_TIMEOUT_MS_DEFAULT,
        FAILOVER_TIMEOUT_MS_MIN,
        FAILOVER_TIMEOUT_MS_MAX,
        PGC_POSTMASTER,
        GUC_UNIT_MS,
        NULL,
        NULL,
        NULL);
}

/* What a call asks of the cluster. */
static void
define_call_settings(void)
{
    DefineCustomIntVariable(
        "ledger.quorum_wait",
        "Sets how long a call waits while the ledger cluster has no primary.",
        "0: until it is cancelled.",
        &settings_quorum_wait_ms,
        QUORUM_WAIT_MS_DEFAULT,
        0,
        INT_MAX,
        PGC_USERSET,
        GUC_UNIT_MS,
        NULL,
        NULL,
        NULL);
    DefineCustomEnumVariable(
        "ledger.read_consistency",
        "Selects how new the state is that a read shows.",
        "\"strict\": everything that was acknowledged at any node before the read. "
        "\"local\": this node's state, which may be behind; it needs no other node.",
        &settings_read_consistency,
        SETTINGS_READ_STRICT,
        read_consistencies,
        PGC_USERSET,
        0,
        NULL,
        NULL,
        NULL);
}

void
settings_define(void)
{
    define_storage_settings();
    define_log_settings();
    define_process_settings();
    define_node_settings();
    define_call_settings();
    MarkGUCPrefixReserved("ledger");
}
