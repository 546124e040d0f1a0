/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/host.h"

#include <sys/mman.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/ipc.h"

#include "base/units.h"
#include "os/clock_os.h"
#include "os/memory_available.h"
#include "pg/settings.h"
#include "pg/worker/files.h"
#include "pg/worker/refusal.h"

/*
 * How long to wait for the files' locks. The kernel may still finish writes of a worker that was
 * killed, and they keep the files locked. If it takes longer, calls are refused, and the files are
 * tried again and again.
 */
#define LOCK_WAIT_MS 10000
/*
 * The engine will use all of ledger.memory sooner or later. But that may be more than the machine
 * has, so only a part of what is available is made resident at a time.
 */
#define POPULATE_AHEAD_BYTES    (UINT64_C(256) * MIB)
#define POPULATE_AVAILABLE_PART   4
/* So long a guest needs to be connected with those that are up. */
#define GREETING_NS ((uint64) NS_PER_S)
/*
 * If the system clock was set back by no more than this, a start doesn't warn: ledger time waits
 * for the clock, for a second at most.
 */
#define TIME_AHEAD_MAX_NS ((uint64) NS_PER_S)

/* ---- The engine ------------------------------------------------------------------------------ */

/* Sizes that no ledger can have are refused before anything is computed from them. */
static bool
check_prepares_size(uint64 size_bytes, const char *path, struct refusal *refusal)
{
    const struct engine_open_report report = {0};
    if (size_bytes >= PREPARES_SIZE_MIN && size_bytes % PREPARES_SIZE_UNIT == 0) return true;
    refusal_of_open(refusal, ENGINE_OPEN_SIZE_MISMATCH, &report, path);
    return false;
}

static bool
check_memory(const struct engine_options *options, struct refusal *refusal)
{
    const uint64 memory_bytes_min = engine_memory_bytes_min(options);
    const struct engine_open_report report = {.memory_bytes_needed = memory_bytes_min};
    if (options->memory_bytes >= memory_bytes_min) return true;
    refusal_of_open(refusal, ENGINE_OPEN_MEMORY_TOO_SMALL, &report, "");
    return false;
}

static struct engine_options
engine_options(struct host *host, uint32 requests_max)
{
    return (struct engine_options){
        .memory_bytes = (uint64) settings_memory_mb * MIB,
        .requests_max = requests_max,
        .wal_sync = settings_wal_sync == SETTINGS_WAL_SYNC_FIRST ? JOURNAL_SYNC_FIRST
                                                                 : JOURNAL_SYNC_BOTH,
        .network = cluster_network(&host->cluster),
        .failover_timeout_ns = (uint64) settings_failover_timeout_ms * NS_PER_MS,
    };
}

static bool
create_engine(struct host *host, const struct engine_options *options, struct refusal *refusal)
{
    if (!check_memory(options, refusal)) return false;
    host->memory = files_take_memory(options->memory_bytes);
    host->memory_bytes = options->memory_bytes;
    if (host->memory == NULL) {
        refusal_message(
            refusal,
            "could not get %d MB of memory for ledger.memory: %s",
            settings_memory_mb,
            strerror(errno));
        refusal_hint(refusal, "Decrease ledger.memory, or give the system more memory.");
        return false;
    }
    (void) madvise(host->memory, options->memory_bytes, MADV_HUGEPAGE);
    const bool use_uring = host->storage.method == STORAGE_OS_URING;
    populate_open(&host->populate, host->memory, options->memory_bytes, use_uring);
    host->engine = engine_create(host->memory, options, host->storage.storage, &host->clock);
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

/* ---- The note -------------------------------------------------------------------------------- */

/*
 * Writes what identity.h calls the note: how far the ledger has come. A thread writes it, so that
 * no transfer waits for PGDATA's disk. Without it everything works, except that an older copy of
 * the directory can't be told from the newest one. So if it can't be written, the log says so once.
 */
static void
note_error(struct host *host, int error)
{
    if (error == host->note_error) return;
    host->note_error = error;
    if (error == 0) return;
    ereport(
        WARNING,
        errmsg("could not write \"%s/" IDENTITY_FILE "\": %s", DataDir, strerror(error)),
        errdetail("The ledger works on. But while the file is old, an old copy of the ledger's directory would not be recognised as such."),
        errhint("Correct the cause, such as a full file system. The engine tries again by itself."));
}

/* Returns true if there is something new to note. */
static bool
note_renew(struct host *host)
{
    struct identity *identity = &host->ownership.identity;
    struct engine_state state;
    engine_state_get(host->engine, &state);
    const bool same = identity->op == state.kept_op &&
                      (settings_has_node() || identity->view == state.view);
    identity->op = state.kept_op;
    identity->view = settings_has_node() ? Max(host->ownership.view, 1) : state.view;
    identity->timestamp = state.timestamp;
    return !same;
}

static void
note_put(struct host *host)
{
    char text[IDENTITY_TEXT_MAX];
    const int size = identity_text(&host->ownership.identity, text);
    file_replacer_put(&host->note, text, (size_t) size);
}

/*
 * The first note after opening is waited for: from then on, earlier copies are known to be older.
 */
static void
note_begin(struct host *host)
{
    struct identity *identity = &host->ownership.identity;
    identity->node[0] = '\0';
    if (settings_has_node()) strlcpy(identity->node, settings_node_name, sizeof(identity->node));
    (void) note_renew(host);
    note_error(host, identity_write(&host->ownership.identity) ? 0 : errno);
    file_replacer_start(&host->note, IDENTITY_FILE, (mode_t) pg_file_create_mode);
    host->noted_ns = clock_monotonic_ns(&host->clock);
}

static void
note_tick(struct host *host)
{
    const uint64 now = clock_monotonic_ns(&host->clock);
    if (now - host->noted_ns < NOTE_INTERVAL_MS * NS_PER_MS) return;
    host->noted_ns = now;
    const int error = file_replacer_error(&host->note);
    note_error(host, error);
    if (note_renew(host) || error != 0) note_put(host);
}

void
host_stop(struct host *host)
{
    if (note_renew(host) || host->note_error != 0) note_put(host);
    note_error(host, file_replacer_stop(&host->note));
}

/* ---- Working --------------------------------------------------------------------------------- */

void
host_tick(struct host *host)
{
    engine_scrub(host->engine, (uint64) settings_scrub_interval_s * NS_PER_S);
    engine_tick(host->engine);
    populate_ahead(host);
    note_tick(host);
}

/* ---- Opening --------------------------------------------------------------------------------- */

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
                          " headers repaired, %u superblock copies repaired, %s; I/O method %s, direct I/O %s.",
            (uint64) report->ops_replayed,
            (uint64) report->journal.headers_fixed,
            report->superblock_copies_repaired,
            report->journal.tail_cut ? "an unfinished entry dropped" : "no unfinished entry",
            storage_os_method_name(host->storage.method),
            settings_io_direct ? "on" : "off"));
}

/*
 * Ledger time never goes back. If the clock once stood too far ahead, this shows only here:
 * everything works, but with timestamps that aren't the time.
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
            UINT64_FORMAT ". New timestamps go on from there, some nanoseconds at a time, until the clock has caught up; holds expire late by as much.",
            (uint64) state.timestamp,
            now),
        errhint("If the clock is wrong now, set it right. If it once was ahead, see \"Clock\" in doc/operations.md."));
}

/*
 * PGDATA was restored from a copy, but the ledger wasn't: it has been opened since that copy.
 * Nothing of the ledger is lost, and ids that were used stay used; but the tables have forgotten
 * what they knew of its transfers. The note may be one opening behind, if a crash came between an
 * opening and its note.
 */
static void
warn_of_older_pgdata(const struct host *host, uint64 noted_op, uint64 noted_view)
{
    if (settings_has_node() || noted_view + 1 >= host->ownership.view) return;
    ereport(
        WARNING,
        errmsg("this PGDATA is older than the ledger in \"%s\"", host->ownership.directory.path),
        errdetail(
            "It has noted op " UINT64_FORMAT "; the ledger is at op " UINT64_FORMAT
            ", and was opened since. What tables have of the transfers between may be missing; the transfers are all there.",
            noted_op,
            (uint64) host->report.op),
        errhint("See \"Upgrading and restoring\" in doc/operations.md."));
}

/*
 * While the engine opens, which replays the log, nothing but the storage is asked again and again:
 * so that is where a shutdown is noticed. The process ends here, between two steps of the engine: a
 * kill at any instruction is normal to the files.
 */
static void
end_if_asked(void)
{
    if (files_shall_end()) proc_exit(1);
}

static enum engine_open_result
open_engine(struct host *host)
{
    struct storage *storage = host->storage.storage;
    storage->before_poll = end_if_asked;
    const enum engine_open_result result =
        engine_open(host->engine, &host->ownership.identity.owner, &host->report);
    storage->before_poll = NULL;
    return result;
}

static void
refuse_opening(struct host *host, enum engine_open_result result, struct refusal *refusal)
{
    const struct ownership *ownership = &host->ownership;
    const char *path = ownership->directory.path;
    char failure[STORAGE_OS_TEXT_SIZE];
    if (result == ENGINE_OPEN_BEHIND) {
        refusal_of_older_directory(
            refusal, path, &ownership->identity, host->report.op, ownership->view);
        return;
    }
    refusal_of_open(refusal, result, &host->report, path);
    if (result != ENGINE_OPEN_IO_ERROR) return;
    if (!storage_os_failure_text(&host->storage, failure, sizeof(failure))) return;
    refusal_detail(refusal, "In \"%s\": %s.", path, failure);
}

/* Draws the numbers that tell this life from others (engine.h). */
static bool
draw_numbers(struct engine_options *options, struct refusal *refusal)
{
    const bool drawn = pg_strong_random(&options->session, sizeof(options->session)) &&
                       pg_strong_random(&options->fence_seed, sizeof(options->fence_seed));
    if (drawn && options->session != 0 && options->fence_seed != 0) return true;
    refusal_message(refusal, "the system gave no random number for the ledger's session");
    refusal_hint(refusal, "Try again.");
    return false;
}

/* Opens the engine. The files are open. */
static bool
open_files(struct host *host, uint32 requests_max, struct refusal *refusal)
{
    const struct ownership *ownership = &host->ownership;
    const struct identity noted = ownership->identity;
    const uint64_t *sizes = host->storage.storage->file_size_bytes;
    struct engine_options options = engine_options(host, requests_max);
    options.prepares_size_bytes = sizes[STORAGE_PREPARES];
    options.grid_size_bytes = sizes[STORAGE_GRID];
    options.op_min = noted.op;
    options.view_min = noted.view;
    const char *path = ownership->directory.path;
    if (!check_prepares_size(options.prepares_size_bytes, path, refusal)) return false;
    if (!draw_numbers(&options, refusal)) return false;
    if (!create_engine(host, &options, refusal)) return false;
    const enum engine_open_result result = open_engine(host);
    if (result != ENGINE_OPENED) {
        refuse_opening(host, result, refusal);
        return false;
    }
    log_opened(host, &ownership->directory);
    warn_of_time_ahead(host);
    warn_of_older_pgdata(host, noted.op, noted.view);
    note_begin(host);
    return true;
}

/* ---- A node without a ledger ----------------------------------------------------------------- */

/* Who is let in must be able to open its ledger: what can be known of that is checked before. */
static void
be_guest(struct host *host, uint32 requests_max, struct refusal *refusal)
{
    struct refusal wrong = {0};
    if (cluster_open(&host->cluster, &host->clock, &wrong)) {
        struct engine_options options = engine_options(host, requests_max);
        options.prepares_size_bytes = (uint64) settings_wal_size_mb * MIB;
        if (check_memory(&options, &wrong) &&
            joining_begin(&host->joining, &host->cluster, &wrong)) {
            host->guest_since_ns = clock_monotonic_ns(&host->clock);
            return;
        }
        cluster_close(&host->cluster);
    }
    *refusal = wrong;
}

bool
host_guest_news(struct host *host, struct refusal *refusal)
{
    return joining_news(&host->joining, &host->cluster, refusal);
}

bool
host_has_greeted(struct host *host)
{
    if (host->joining.guest == NULL) return true;
    return clock_monotonic_ns(&host->clock) - host->guest_since_ns >= GREETING_NS;
}

bool
host_alone(const struct host *host, struct refusal *refusal)
{
    return joining_alone(&host->joining, refusal);
}

bool
host_let_in(struct host *host, struct refusal *refusal)
{
    struct engine_welcome welcome;
    if (!joining_poll(&host->joining, &welcome)) return false;
    host_guest_end(host);
    (void) ownership_join(&welcome, refusal);
    return true;
}

void
host_guest_end(struct host *host)
{
    joining_end(&host->joining, &host->cluster);
}

/* ---- Opening all ----------------------------------------------------------------------------- */

static void
close_all(struct host *host)
{
    /* The network first: it has messages in the engine's memory. */
    cluster_close(&host->cluster);
    /*
     * Close the files, so that they aren't locked for whoever repairs them; and give back the
     * memory.
     */
    storage_os_close(&host->storage);
    if (host->memory != NULL) {
        populate_close(&host->populate);
        (void) munmap(host->memory, host->memory_bytes);
        host->memory = NULL;
    }
    host->engine = NULL;
}

bool
host_open(struct host *host, uint32 requests_max, struct refusal *refusal)
{
    const int lock_wait_ms = host->lock_waited ? 0 : LOCK_WAIT_MS;
    clock_os_init(&host->clock);
    if (!ownership_settle(&host->ownership, &host->storage, lock_wait_ms, refusal)) {
        if (refusal->none && settings_has_node()) be_guest(host, requests_max, refusal);
        return false;
    }
    const bool ready =
        !settings_has_node() || cluster_open(&host->cluster, &host->clock, refusal);
    if (ready && open_files(host, requests_max, refusal)) return true;
    close_all(host);
    return false;
}
