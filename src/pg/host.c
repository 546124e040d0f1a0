/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/host.h"

#include <sys/mman.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"

#include "base/units.h"
#include "os/clock_os.h"
#include "os/memory_available.h"
#include "pg/directory.h"
#include "pg/identity.h"
#include "pg/refusal.h"
#include "pg/settings.h"

/*
 * The kernel may still finish writes of a worker that was killed, and they keep the files locked.
 * If it takes longer, calls are refused meanwhile; then the files are looked at again and again.
 */
#define LOCK_WAIT_MS  10000
#define LOCK_PAUSE_MS 250
/*
 * The engine uses all of ledger.memory sooner or later. But that may be more than the machine has:
 * no more pages at a time than a part of what is available.
 */
#define POPULATE_AHEAD_BYTES    (UINT64_C(256) * MIB)
#define POPULATE_AVAILABLE_PART   4
/* By so much, clocks are set back without anybody being worried. */
#define TIME_AHEAD_MAX_NS ((uint64) NS_PER_S)

/* ---- Storage --------------------------------------------------------------------------------- */

static enum storage_os_method
method_wanted(void)
{
    switch ((enum settings_io_method) settings_io_method) {
    case SETTINGS_IO_AUTO: return STORAGE_OS_AUTO;
    case SETTINGS_IO_URING: return STORAGE_OS_URING;
    case SETTINGS_IO_SYNC: return STORAGE_OS_SYNC;
    }
    unreachable();
}

static const char *
storage_hint(enum storage_os_error error)
{
    switch (error) {
    case STORAGE_OS_OPENED: unreachable();
    case STORAGE_OS_ABSENT:
    case STORAGE_OS_INCOMPLETE:
        return "Restore the missing files, or the whole directory together with " IDENTITY_FILE
               ", from a backup. Nothing was changed.";
    case STORAGE_OS_LOCKED:
        return "Is another server running on the same ledger.data_directory? Stop it: the engine "
               "tries again by itself, every few seconds.";
    case STORAGE_OS_NO_DIRECT:
        return "Move ledger.data_directory to a file system with direct I/O (ext4, xfs). For "
               "development, "
               "ledger.io_direct = off.";
    case STORAGE_OS_NO_SPACE:
        return "Make room in the file system of ledger.data_directory, or decrease ledger.wal_size "
               "for a new "
               "ledger; then reload the configuration.";
    case STORAGE_OS_NO_URING:
        return "Allow io_uring, or set ledger.io_method to auto or sync: writes are equally "
               "durable.";
    case STORAGE_OS_FAILED:
        return "The operating system user of PostgreSQL must own the directory and its files. If "
               "they are fine, check the "
               "disk; then reload the configuration.";
    }
    unreachable();
}

static void
refuse_storage(
    struct refusal *refusal,
    enum storage_os_error error,
    const struct storage_os_options *options,
    const struct storage_os_report *report)
{
    refusal_message(refusal, "ledger data directory \"%s\" cannot be opened", options->directory);
    if (error == STORAGE_OS_ABSENT) {
        refusal_detail(refusal, "It holds none of the ledger's files.");
    } else {
        refusal_detail(refusal, "%s.", report->error_text);
        refusal->detail[0] = (char) pg_toupper((unsigned char) refusal->detail[0]);
    }
    refusal_hint(refusal, "%s", storage_hint(error));
    refusal->retries = error == STORAGE_OS_LOCKED;
}

static bool
storage_open(
    struct storage_os *storage,
    const struct storage_os_options *options,
    int lock_wait_ms,
    struct refusal *refusal)
{
    struct storage_os_report report;
    enum storage_os_error error = storage_os_open(storage, options, &report);
    for (int waited_ms = 0; error == STORAGE_OS_LOCKED && waited_ms < lock_wait_ms;
         waited_ms += LOCK_PAUSE_MS) {
        if (ShutdownRequestPending) break;
        pg_usleep(LOCK_PAUSE_MS * 1000L);
        error = storage_os_open(storage, options, &report);
    }
    if (error != STORAGE_OS_OPENED) {
        refuse_storage(refusal, error, options, &report);
        return false;
    }
    if (report.uring_error_number != 0) {
        ereport(
            LOG,
            errmsg("ledger engine uses ledger.io_method \"sync\": io_uring is refused"),
            errdetail("%s.", report.uring_text));
    }
    return true;
}

static struct storage_os_options
storage_options(const char *path)
{
    return (struct storage_os_options){
        .directory = path,
        .method = method_wanted(),
        .direct = settings_io_direct,
    };
}

/* ---- A new ledger ---------------------------------------------------------------------------- */

/* Zeroed memory of the system, page-aligned, kept until the process ends. */
static void *
take_memory(uint64 size_bytes)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool
format_files(
    const struct directory *directory,
    const struct engine_identity *identity,
    struct refusal *refusal)
{
    struct storage_os *storage = palloc0(sizeof(struct storage_os));
    const uint64 prepares_size = (uint64) settings_wal_size_mb * MIB;
    struct storage_os_options options = storage_options(directory->path_new);
    options.create = true;
    options.create_size_bytes[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE;
    options.create_size_bytes[STORAGE_PREPARES] = prepares_size;
    options.create_size_bytes[STORAGE_HEADERS] =
        headers_log_count(prepares_size) * PREPARE_HEADER_SIZE;
    if (!storage_open(storage, &options, LOCK_WAIT_MS, refusal)) return false;

    void *scratch = take_memory(ENGINE_FORMAT_SCRATCH);
    enum engine_open_result result = ENGINE_OPEN_IO_ERROR;
    if (scratch != NULL) {
        result = engine_format(storage->storage, prepares_size, identity, scratch);
        (void) munmap(scratch, ENGINE_FORMAT_SCRATCH);
    }
    storage_os_close(storage);
    pfree(storage);
    if (result == ENGINE_OPENED) return true;
    const struct engine_open_report report = {0};
    refusal_of_open(refusal, result, &report, directory->path_new);
    return false;
}

static bool
write_identity(const struct engine_identity *identity, struct refusal *refusal)
{
    if (identity_write(identity)) return true;
    refusal_message(
        refusal, "could not write \"%s/" IDENTITY_FILE "\": %s", DataDir, strerror(errno));
    refusal_hint(refusal, "Make room for it, then reload the configuration.");
    return false;
}

/* The order makes a crash at any point harmless: see identity.h. */
static bool
create(struct host *host, struct directory *directory, struct refusal *refusal)
{
    if (!identity_make(&host->identity)) {
        refusal_message(refusal, "the system gave no random numbers for the ledger's identity");
        refusal_hint(refusal, "Reload the configuration to try again.");
        return false;
    }
    if (!directory_remove_new(directory, refusal)) return false;
    if (!format_files(directory, &host->identity, refusal)) return false;
    if (!directory_sync_new(directory, refusal)) return false;
    if (!write_identity(&host->identity, refusal)) return false;
    if (!directory_rename_new(directory, refusal)) return false;
    ereport(
        LOG,
        errmsg("ledger engine created an empty ledger in \"%s\"", directory->path),
        errdetail("Back it up together with \"%s/" IDENTITY_FILE "\".", DataDir));
    return true;
}

/* ---- The identity ---------------------------------------------------------------------------- */

static bool
refuse_identity_file(enum identity_result result, struct refusal *refusal)
{
    if (result == IDENTITY_DAMAGED) {
        refusal_message(refusal, "file \"%s/" IDENTITY_FILE "\" is damaged or was edited", DataDir);
    } else {
        refusal_message(
            refusal, "could not read \"%s/" IDENTITY_FILE "\": %s", DataDir, strerror(errno));
    }
    refusal_hint(refusal, "Restore it from a backup, then reload the configuration.");
    return false;
}

/*
 * PGDATA's copy must be of this very cluster, which pg_control identifies. The superblock is
 * compared when it is read.
 */
static bool
check_system_identifier(
    const struct host *host, const struct directory *directory, struct refusal *refusal)
{
    if (host->identity.system_identifier == GetSystemIdentifier()) return true;
    refusal_of_foreign_directory(refusal, directory->path);
    refusal_detail(
        refusal,
        "The file \"%s/" IDENTITY_FILE
        "\" is of a PostgreSQL cluster with system identifier " UINT64_FORMAT
        "; this one has " UINT64_FORMAT ".",
        DataDir,
        (uint64) host->identity.system_identifier,
        (uint64) GetSystemIdentifier());
    return false;
}

/* Brings about that there is a directory to open, and that host->identity names its owner. */
static bool
settle_directory(struct host *host, struct directory *directory, struct refusal *refusal)
{
    if (!directory_find(directory, refusal)) return false;
    const enum identity_result found = identity_read(&host->identity);
    if (found == IDENTITY_DAMAGED || found == IDENTITY_IO_ERROR) {
        return refuse_identity_file(found, refusal);
    }
    const bool present = found == IDENTITY_PRESENT;
    if (present && !check_system_identifier(host, directory, refusal)) return false;
    switch (identity_decide(present, directory->present, directory->present_new)) {
    case IDENTITY_CREATE: return create(host, directory, refusal);
    case IDENTITY_FINISH_RENAME: return directory_rename_new(directory, refusal);
    case IDENTITY_OPEN: return true;
    case IDENTITY_REFUSE_MISSING:
        refusal_of_missing_directory(refusal, directory->path);
        return false;
    case IDENTITY_REFUSE_FOREIGN:
        refusal_of_foreign_directory(refusal, directory->path);
        refusal_detail(refusal, "There is no file \"%s/" IDENTITY_FILE "\".", DataDir);
        return false;
    }
    unreachable();
}

/* ---- The engine ------------------------------------------------------------------------------ */

/* Sizes that no ledger can have are refused before anything is measured by them. */
static bool
check_prepares_size(uint64 size_bytes, const struct directory *directory, struct refusal *refusal)
{
    const struct engine_open_report report = {0};
    const uint64 unit = (uint64) SECTOR_SIZE * HEADERS_PER_SECTOR;
    if (size_bytes >= PREPARES_SIZE_MIN && size_bytes % unit == 0) return true;
    refusal_of_open(refusal, ENGINE_OPEN_SIZE_MISMATCH, &report, directory->path);
    return false;
}

static bool
create_engine(struct host *host, const struct engine_options *options, struct refusal *refusal)
{
    const uint64 memory_bytes_min = engine_memory_bytes_min(options);
    if (options->memory_bytes < memory_bytes_min) {
        const struct engine_open_report report = {.memory_bytes_needed = memory_bytes_min};
        refusal_of_open(refusal, ENGINE_OPEN_MEMORY_TOO_SMALL, &report, "");
        return false;
    }
    void *memory = take_memory(options->memory_bytes);
    if (memory == NULL) {
        refusal_message(
            refusal,
            "could not get %d MB of memory for ledger.memory: %s",
            settings_memory_mb,
            strerror(errno));
        refusal_hint(refusal, "Decrease ledger.memory, or give the system more memory.");
        return false;
    }
    (void) madvise(memory, options->memory_bytes, MADV_HUGEPAGE);
    const bool use_uring = host->storage.method == STORAGE_OS_URING;
    populate_open(&host->populate, memory, options->memory_bytes, use_uring);
    host->engine = engine_create(memory, options, host->storage.storage, &host->clock);
    return true;
}

bool
host_populate(struct host *host, bool idle)
{
    return populate_poll(&host->populate, idle);
}

static void
populate_ahead(struct host *host)
{
    const uint64 done = host->populate.done_bytes;
    if (done == host->populate.size_bytes) return;
    const uint64 part = memory_available_bytes("") / POPULATE_AVAILABLE_PART;
    populate_limit(&host->populate, done + Min(part, POPULATE_AHEAD_BYTES));
}

void
host_tick(struct host *host)
{
    engine_scrub(host->engine, (uint64) settings_scrub_interval_s * NS_PER_S);
    engine_tick(host->engine);
    populate_ahead(host);
}

static void
log_opened(const struct host *host, const struct directory *directory)
{
    const struct engine_open_report *report = &host->report;
    ereport(
        LOG,
        errmsg(
            "ledger engine opened \"%s\" at op " UINT64_FORMAT,
            directory->path,
            (uint64) report->op),
        errdetail(
            UINT64_FORMAT " ops replayed, " UINT64_FORMAT
                          " headers repaired, %u superblock copies repaired, %s; "
                          "I/O method %s, direct I/O %s.",
            (uint64) report->ops_replayed,
            (uint64) report->journal.headers_fixed,
            report->superblock_copies_repaired,
            report->journal.tail_cut ? "an unfinished entry dropped" : "no unfinished entry",
            storage_os_method_name(host->storage.method),
            settings_io_direct ? "on" : "off"));
}

/*
 * Ledger time never goes back. A clock that once stood too far ahead shows only here: everything
 * works on, with timestamps that are not the time.
 */
static void
warn_of_time_ahead(struct host *host)
{
    struct engine_state state;
    engine_state_get(host->engine, &state);
    const uint64 now = clock_realtime_ns(&host->clock);
    if (state.timestamp <= now + TIME_AHEAD_MAX_NS) return;
    const uint64 ahead = state.timestamp - now;
    ereport(
        WARNING,
        errmsg(
            "ledger time is " UINT64_FORMAT ".%03d seconds ahead of the system clock",
            ahead / NS_PER_S,
            (int) (ahead % NS_PER_S / NS_PER_MS)),
        errdetail(
            "The newest entry of the log has timestamp " UINT64_FORMAT "; the clock says "
            UINT64_FORMAT ". New timestamps go on from there, some nanoseconds at a time, until "
            "the clock has caught up; holds expire late by as much.",
            (uint64) state.timestamp,
            now),
        errhint("If the clock is wrong now, set it right. If it once was ahead, see \"Clock\" in "
                "doc/operations.md."));
}

/*
 * While the engine opens, which replays the log, nothing looks at ShutdownRequestPending, and
 * nothing needs to end orderly: only code of the core and of the storage runs, and a kill at any
 * instruction is normal to them.
 */
static void
end_at_once(SIGNAL_ARGS)
{
    proc_exit(1);
}

static enum engine_open_result
open_engine(struct host *host)
{
    pqsignal(SIGTERM, end_at_once);
    if (ShutdownRequestPending) proc_exit(1);
    const enum engine_open_result result =
        engine_open(host->engine, &host->identity, &host->report);
    pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
    return result;
}

bool
host_open(struct host *host, uint32 requests_max, struct refusal *refusal)
{
    struct directory directory = {0};
    clock_os_init(&host->clock);
    if (!settle_directory(host, &directory, refusal)) return false;

    const struct storage_os_options storage = storage_options(directory.path);
    const int lock_wait_ms = host->lock_waited ? 0 : LOCK_WAIT_MS;
    if (!storage_open(&host->storage, &storage, lock_wait_ms, refusal)) return false;
    const struct engine_options options = {
        .memory_bytes = (uint64) settings_memory_mb * MIB,
        .prepares_size_bytes = host->storage.storage->file_size_bytes[STORAGE_PREPARES],
        .grid_size_bytes = host->storage.storage->file_size_bytes[STORAGE_GRID],
        .requests_max = requests_max,
    };
    if (check_prepares_size(options.prepares_size_bytes, &directory, refusal) &&
        create_engine(host, &options, refusal)) {
        const enum engine_open_result result = open_engine(host);
        if (result == ENGINE_OPENED) {
            log_opened(host, &directory);
            warn_of_time_ahead(host);
            return true;
        }
        refusal_of_open(refusal, result, &host->report, directory.path);
        char failure[STORAGE_OS_TEXT_SIZE];
        if (result == ENGINE_OPEN_IO_ERROR &&
            storage_os_failure_text(&host->storage, failure, sizeof(failure))) {
            refusal_detail(refusal, "In \"%s\": %s.", directory.path, failure);
        }
    }
    /* Whoever repairs the files must not find them locked. */
    storage_os_close(&host->storage);
    return false;
}
