/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/files.h"

#include <sys/mman.h>

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/pmsignal.h"

#include "base/units.h"
#include "pg/settings.h"
#include "pg/worker/identity.h"
#include "pg/worker/refusal.h"

#define LOCK_PAUSE_MS 250

/* ---- Opening --------------------------------------------------------------------------------- */

bool
files_shall_end(void)
{
    return ShutdownRequestPending || !PostmasterIsAlive();
}

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
        return "Is another server running on the same ledger.data_directory? Stop it: the engine tries again by itself, every few seconds.";
    case STORAGE_OS_NO_DIRECT:
        return "Move ledger.data_directory to a file system with direct I/O (ext4, xfs). "
               "For development, ledger.io_direct = off.";
    case STORAGE_OS_NO_SPACE:
        return "Make room in the file system of ledger.data_directory, or decrease ledger.wal_size for a new ledger; then try again.";
    case STORAGE_OS_NO_URING:
        return "Allow io_uring, or set ledger.io_method to auto or sync: writes are equally durable.";
    case STORAGE_OS_ENDED: return "Nothing is left of it. Try again when the engine runs.";
    case STORAGE_OS_FAILED:
        return "The operating system user of PostgreSQL must own the directory and its files. "
               "If they are fine, check the disk; then reload the configuration.";
    }
    unreachable();
}

static int
storage_sqlstate(enum storage_os_error error)
{
    switch (error) {
    case STORAGE_OS_LOCKED: return ERRCODE_OBJECT_IN_USE;
    case STORAGE_OS_NO_SPACE: return ERRCODE_DISK_FULL;
    case STORAGE_OS_ENDED: return ERRCODE_CANNOT_CONNECT_NOW;
    case STORAGE_OS_NO_DIRECT:
    case STORAGE_OS_NO_URING: return ERRCODE_FEATURE_NOT_SUPPORTED;
    default: return ERRCODE_IO_ERROR;
    }
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
    refusal->sqlstate = storage_sqlstate(error);
}

static bool
open_with(
    struct storage_os *storage,
    const struct storage_os_options *options,
    int lock_wait_ms,
    struct refusal *refusal)
{
    static bool told; /* The files may be opened again and again. */
    struct storage_os_report report;
    enum storage_os_error error = storage_os_open(storage, options, &report);
    for (int waited_ms = 0; error == STORAGE_OS_LOCKED && waited_ms < lock_wait_ms;
         waited_ms += LOCK_PAUSE_MS) {
        if (files_shall_end()) break;
        pg_usleep(LOCK_PAUSE_MS * 1000L);
        error = storage_os_open(storage, options, &report);
    }
    if (error != STORAGE_OS_OPENED) {
        refuse_storage(refusal, error, options, &report);
        return false;
    }
    if (report.uring_error_number != 0 && !told) {
        told = true;
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

bool
files_open(struct storage_os *storage, const char *path, int lock_wait_ms, struct refusal *refusal)
{
    const struct storage_os_options options = storage_options(path);
    return open_with(storage, &options, lock_wait_ms, refusal);
}

/* ---- What the engine does before it is there ------------------------------------------------- */

void *
files_take_memory(uint64 size_bytes)
{
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Takes memory for functions that need no open engine. NULL, with a refusal, if there is none. */
static void *
take_scratch(struct refusal *refusal)
{
    void *scratch = files_take_memory(ENGINE_FORMAT_SCRATCH);
    if (scratch != NULL) return scratch;
    refusal_message(refusal, "could not get memory: %s", strerror(errno));
    refusal_hint(refusal, "Give the system more memory, then reload the configuration.");
    refusal->sqlstate = ERRCODE_OUT_OF_MEMORY;
    return NULL;
}

static bool
refuse_result(
    struct refusal *refusal,
    enum engine_open_result result,
    const char *superblock_name,
    const char *path)
{
    const struct engine_open_report report = {.superblock_name = superblock_name};
    if (result == ENGINE_OPENED) return true;
    refusal_of_open(refusal, result, &report, path);
    return false;
}

static bool
format(
    struct storage_os *storage,
    const char *path,
    const struct engine_identity *owner,
    const struct files_member *member,
    struct refusal *refusal)
{
    const uint64 prepares_size = storage->storage->file_size_bytes[STORAGE_PREPARES];
    void *scratch = take_scratch(refusal);
    if (scratch == NULL) return false;
    const enum engine_open_result result =
        member == NULL ? engine_format(storage->storage, prepares_size, owner, NULL, scratch)
                       : engine_format_member(
                             storage->storage,
                             prepares_size,
                             owner,
                             member->name,
                             member->root_incarnation,
                             scratch);
    (void) munmap(scratch, ENGINE_FORMAT_SCRATCH);
    return refuse_result(refusal, result, "", path);
}

bool
files_create(
    struct storage_os *storage,
    const char *path,
    const struct engine_identity *owner,
    const struct files_member *member,
    struct refusal *refusal)
{
    const uint64 prepares_size = (uint64) settings_wal_size_mb * MIB;
    struct storage_os_options options = storage_options(path);
    options.create = true;
    options.create_shall_end = files_shall_end;
    options.create_size_bytes[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE;
    options.create_size_bytes[STORAGE_PREPARES] = prepares_size;
    options.create_size_bytes[STORAGE_HEADERS] =
        headers_log_count(prepares_size) * PREPARE_HEADER_SIZE;
    if (!open_with(storage, &options, 0, refusal)) return false;
    if (format(storage, path, owner, member, refusal)) return true;
    storage_os_close(storage);
    return false;
}

bool
files_inspect(
    struct storage_os *storage,
    const char *path,
    struct engine_inspection *inspection,
    struct refusal *refusal)
{
    void *scratch = take_scratch(refusal);
    if (scratch == NULL) return false;
    const enum engine_open_result result = engine_inspect(storage->storage, scratch, inspection);
    (void) munmap(scratch, ENGINE_FORMAT_SCRATCH);
    return refuse_result(refusal, result, inspection->superblock_name, path);
}

bool
files_adopt(
    struct storage_os *storage,
    const char *path,
    const struct engine_identity *owner,
    struct refusal *refusal)
{
    void *scratch = take_scratch(refusal);
    if (scratch == NULL) return false;
    const enum engine_open_result result = engine_adopt(storage->storage, scratch, owner);
    (void) munmap(scratch, ENGINE_FORMAT_SCRATCH);
    if (!refuse_result(refusal, result, "", path)) {
        refusal->sqlstate = result == ENGINE_OPEN_IO_ERROR
                                ? ERRCODE_IO_ERROR
                                : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        return false;
    }
    return true;
}
