/* SPDX-License-Identifier: PostgreSQL */
#define _GNU_SOURCE
#include "bench/engine_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"
#include "os/clock_os.h"
#include "os/memory_available.h"

/* As src/pg/worker/host.c, src/pg/worker/worker.c and the default of ledger.spin have them. */
#define POPULATE_AHEAD_BYTES      (UINT64_C(256) * MIB)
#define POPULATE_AVAILABLE_PART   4
#define IDLE_NS                   (2 * NS_PER_MS)
#define SPIN_NS                   (100 * NS_PER_US)
#define SPIN_WRITE_FACTOR         3
#define LOCK_WAIT_MS              10000
#define LOCK_PAUSE_MS             250

#define PATH_SIZE 4096
/* Its presence says that the directory is ours, and may be removed. */
#define MARKER "made_by_bench_engine"

static const struct engine_identity identity = {
    .cluster = 1,
    .incarnation = 1,
    .system_identifier = 1,
    .replica_count = 1,
};

/* ---- The directory --------------------------------------------------------------------------- */

static const char *
path_of(const struct bench_options *options, const char *name)
{
    static char path[PATH_SIZE];
    const int size = snprintf(path, sizeof(path), "%s/%s", options->directory, name);
    if (size < 0 || (size_t) size >= sizeof(path)) bench_fail("--dir is too long");
    return path;
}

void
bench_host_remove(const struct bench_options *options)
{
    static const char *const names[] = {
        "superblock.new", "superblock", "prepares.wal", "headers.wal", "grid", "lock", MARKER};
    if (access(path_of(options, MARKER), F_OK) != 0) return;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const char *path = path_of(options, names[i]);
        if (unlink(path) != 0 && errno != ENOENT) {
            bench_fail("could not remove \"%s\": %s", path, strerror(errno));
        }
    }
    if (rmdir(options->directory) != 0) {
        bench_fail("could not remove \"%s\": %s", options->directory, strerror(errno));
    }
}

static void
make_directory(const struct bench_options *options)
{
    bench_host_remove(options);
    if (mkdir(options->directory, 0700) != 0) {
        const char *hint = errno == EEXIST ? " (bench_engine has not made it)" : "";
        bench_fail("could not make \"%s\": %s%s", options->directory, strerror(errno), hint);
    }
    const int fd = open(path_of(options, MARKER), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) bench_fail("could not make a file in \"%s\"", options->directory);
    (void) close(fd);
}

static void
open_storage(struct storage_os *storage, const struct storage_os_options *options)
{
    struct storage_os_report report;
    enum storage_os_error error = storage_os_open(storage, options, &report);
    for (int waited_ms = 0; error == STORAGE_OS_LOCKED && waited_ms < LOCK_WAIT_MS;
         waited_ms += LOCK_PAUSE_MS) {
        (void) poll(NULL, 0, LOCK_PAUSE_MS);
        error = storage_os_open(storage, options, &report);
    }
    if (error != STORAGE_OS_OPENED) {
        bench_fail(
            "could not open \"%s\": %s",
            options->directory,
            error == STORAGE_OS_ABSENT ? "there are no files" : report.error_text);
    }
    if (report.uring_error_number != 0) {
        (void) fprintf(stderr, "bench_engine: without io_uring: %s\n", report.uring_text);
    }
}

/* Zeroed. */
static void *
take_memory(uint64_t size_bytes)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) bench_fail("could not get memory: %s", strerror(errno));
    return memory;
}

void
bench_host_format(const struct bench_options *options)
{
    static struct storage_os storage;
    const uint64_t prepares_size = options->wal_mb * MIB;
    const struct storage_os_options storage_options = {
        .directory = options->directory,
        .method = STORAGE_OS_AUTO,
        .direct = true,
        .create = true,
        .create_size_bytes[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
        .create_size_bytes[STORAGE_PREPARES] = prepares_size,
        .create_size_bytes[STORAGE_HEADERS] =
            headers_log_count(prepares_size) * PREPARE_HEADER_SIZE,
    };
    make_directory(options);
    open_storage(&storage, &storage_options);
    void *scratch = take_memory(ENGINE_FORMAT_SCRATCH);
    const enum engine_open_result result =
        engine_format(storage.storage, prepares_size, &identity, NULL, scratch);
    (void) munmap(scratch, ENGINE_FORMAT_SCRATCH);
    storage_os_close(&storage);
    if (result != ENGINE_OPENED) bench_fail("could not format \"%s\"", options->directory);
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static const char *
open_result_name(enum engine_open_result result)
{
    static const char *const names[] = {
        [ENGINE_OPENED] = "opened",
        [ENGINE_OPEN_ABSENT] = "absent",
        [ENGINE_OPEN_SUPERBLOCK] = "superblock",
        [ENGINE_OPEN_OTHER_VERSION] = "other version",
        [ENGINE_OPEN_OTHER_CONFIG] = "other config",
        [ENGINE_OPEN_OTHER_IDENTITY] = "other identity",
        [ENGINE_OPEN_SIZE_MISMATCH] = "size mismatch",
        [ENGINE_OPEN_JOURNAL_DAMAGED] = "journal damaged",
        [ENGINE_OPEN_JOURNAL_SHORT] = "journal short",
        [ENGINE_OPEN_OTHER_LOG] = "other log",
        [ENGINE_OPEN_BEHIND] = "behind",
        [ENGINE_OPEN_GRID_CORRUPT] = "grid corrupt",
        [ENGINE_OPEN_MEMORY_TOO_SMALL] = "memory too small: raise --memory",
        [ENGINE_OPEN_DISK_FULL] = "disk full",
        [ENGINE_OPEN_INVALID_PREPARE] = "invalid prepare",
        [ENGINE_OPEN_IO_ERROR] = "I/O error",
        [ENGINE_OPEN_CLUSTER] = "member of a cluster",
        [ENGINE_OPEN_OVER] = "older copy of a member's directory",
    };
    return result < ARRAY_COUNT(names) && names[result] != NULL ? names[result] : "unknown";
}

static uint64_t
create_and_open(struct bench_host *host, const struct engine_options *engine_options)
{
    const uint64_t start_ns = bench_now_ns();
    host->engine =
        engine_create(host->memory, engine_options, host->storage.storage, &host->clock);
    const enum engine_open_result result = engine_open(host->engine, &identity, &host->report);
    const uint64_t end_ns = bench_now_ns();
    if (result != ENGINE_OPENED) {
        bench_fail("the engine did not open: %s", open_result_name(result));
    }
    return end_ns - start_ns;
}

/* As a server that was started some seconds ago: the engine's memory has its pages. */
static void
settle(struct bench_host *host)
{
    while (host->populate.done_bytes < host->populate.size_bytes) {
        const uint64_t before = host->populate.done_bytes;
        populate_limit(&host->populate, host->populate.size_bytes);
        (void) populate_poll(&host->populate, true);
        if (host->populate.done_bytes == before && host->populate.asked_bytes == 0) return;
        (void) sched_yield();
    }
}

uint64_t
bench_host_open(struct bench_host *host, const struct bench_options *options)
{
    const struct storage_os_options storage_options = {
        .directory = options->directory,
        .method = STORAGE_OS_AUTO,
        .direct = true,
    };
    *host = (struct bench_host){.options = options};
    clock_os_init(&host->clock);
    open_storage(&host->storage, &storage_options);
    const struct engine_options engine_options = {
        .memory_bytes = options->memory_mb * MIB,
        .prepares_size_bytes = host->storage.storage->file_size_bytes[STORAGE_PREPARES],
        .grid_size_bytes = host->storage.storage->file_size_bytes[STORAGE_GRID],
        .requests_max = options->clients + 1,
        .session = bench_now_ns(),
    };
    const uint64_t memory_bytes_min = engine_memory_bytes_min(&engine_options);
    if (engine_options.memory_bytes < memory_bytes_min) {
        bench_fail(
            "the engine needs --memory %llu", (unsigned long long) (memory_bytes_min / MIB));
    }
    host->memory = take_memory(engine_options.memory_bytes);
    (void) madvise(host->memory, engine_options.memory_bytes, MADV_HUGEPAGE);
    const bool use_uring = host->storage.method == STORAGE_OS_URING;
    populate_open(&host->populate, host->memory, engine_options.memory_bytes, use_uring);
    const uint64_t took_ns = create_and_open(host, &engine_options);
    settle(host);
    host->now_ns = bench_now_ns();
    host->active_ns = host->now_ns;
    return took_ns;
}

void
bench_host_close(struct bench_host *host)
{
    struct populate *populate = &host->populate;
    storage_os_close(&host->storage);
    /* Its kernel thread must not meet the memory of the next one. */
    populate_limit(populate, 0);
    while (populate->asked_bytes > 0) {
        (void) populate_poll(populate, false);
        (void) sched_yield();
    }
    if (populate->asynchronous) io_uring_queue_exit(&populate->ring);
    (void) munmap(host->memory, populate->size_bytes);
    host->engine = NULL;
}

/* ---- The loop -------------------------------------------------------------------------------- */

static void
populate_ahead(struct bench_host *host)
{
    const uint64_t done = host->populate.done_bytes;
    if (done == host->populate.size_bytes) return;
    const uint64_t part = memory_available_bytes("") / POPULATE_AVAILABLE_PART;
    populate_limit(&host->populate, done + min_u64(part, POPULATE_AHEAD_BYTES));
}

static void
tick(struct bench_host *host)
{
    engine_tick(host->engine);
    populate_ahead(host);
}

/* Until a completion of storage, or the next tick. */
static void
wait_for_storage(struct bench_host *host)
{
    struct pollfd wait = {.fd = storage_os_wait_fd(&host->storage), .events = POLLIN};
    (void) poll(&wait, 1, ENGINE_TICK_MS);
    host->asleep_ns += bench_now_ns() - host->now_ns;
}

void
bench_host_pass(struct bench_host *host, bool submitted)
{
    const bool progress = engine_poll(host->engine) || submitted;
    if (engine_failed(host->engine)) {
        char text[BENCH_TEXT_SIZE] = "what was written did not read back";
        (void) storage_os_failure_text(&host->storage, text, sizeof(text));
        bench_fail("the engine has stopped: %s", text);
    }
    host->now_ns = bench_now_ns();
    if (progress) host->active_ns = host->now_ns;
    const uint64_t quiet_ns = host->now_ns - host->active_ns;
    const bool idle = quiet_ns >= IDLE_NS;
    if (host->now_ns - host->ticked_ns >= ENGINE_TICK_MS * NS_PER_MS) {
        tick(host);
        host->ticked_ns = host->now_ns;
    }
    if (populate_poll(&host->populate, idle) || progress) return;
    const uint64_t spin_ns = engine_busy(host->engine) ? SPIN_NS * SPIN_WRITE_FACTOR : SPIN_NS;
    if (quiet_ns >= spin_ns) {
        wait_for_storage(host);
    } else {
        (void) sched_yield();
    }
}
