/* SPDX-License-Identifier: PostgreSQL */
/* See storage_os.h. */
#include "os/storage_os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *
storage_os_method_name(enum storage_os_method method)
{
    switch (method) {
    case STORAGE_OS_AUTO: return "auto";
    case STORAGE_OS_URING: return "io_uring";
    case STORAGE_OS_SYNC: return "sync";
    }
    unreachable();
}

static enum storage_os_error
method_open(
    struct storage_os *storage_os, enum storage_os_method wanted, struct storage_os_report *report)
{
    if (wanted != STORAGE_OS_SYNC) {
        storage_os->uring = storage_uring_open(
            &storage_os->files, wanted == STORAGE_OS_AUTO, report);
        if (storage_os->uring != NULL) {
            storage_os->method = STORAGE_OS_URING;
            storage_os->storage = storage_uring_storage(storage_os->uring);
            return STORAGE_OS_OPENED;
        }
        if (wanted == STORAGE_OS_URING) {
            report->error_number = report->uring_error_number;
            memcpy(report->error_text, report->uring_text, sizeof(report->error_text));
            return STORAGE_OS_NO_URING;
        }
    }
    if (!storage_sync_open(&storage_os->sync, &storage_os->files)) {
        report->error_number = errno;
        (void) snprintf(
            report->error_text,
            sizeof(report->error_text),
            "could not create an eventfd: %s",
            strerror(report->error_number));
        return STORAGE_OS_FAILED;
    }
    storage_os->method = STORAGE_OS_SYNC;
    storage_os->storage = &storage_os->sync.storage;
    return STORAGE_OS_OPENED;
}

enum storage_os_error
storage_os_open(
    struct storage_os *storage_os,
    const struct storage_os_options *options,
    struct storage_os_report *report)
{
    assert(options->directory != NULL);
    memset(storage_os, 0, sizeof(*storage_os));
    memset(report, 0, sizeof(*report));

    uint64_t size_bytes[STORAGE_FILE_COUNT] = {0};
    enum storage_os_error error =
        storage_files_open(&storage_os->files, options, size_bytes, report);
    if (error != STORAGE_OS_OPENED) return error;

    error = method_open(storage_os, options->method, report);
    if (error != STORAGE_OS_OPENED) {
        storage_files_close(&storage_os->files);
        return error;
    }
    memcpy(storage_os->storage->file_size_bytes, size_bytes, sizeof(size_bytes));
    report->method = storage_os->method;
    return STORAGE_OS_OPENED;
}

void
storage_os_close(struct storage_os *storage_os)
{
    assert(storage_os->storage != NULL);
    if (storage_os->method == STORAGE_OS_URING) {
        storage_uring_close(storage_os->uring);
    } else {
        storage_sync_close(&storage_os->sync);
    }
    storage_files_close(&storage_os->files);
    storage_os->storage = NULL;
}

int
storage_os_wait_fd(const struct storage_os *storage_os)
{
    assert(storage_os->storage != NULL);
    if (storage_os->method == STORAGE_OS_URING) return storage_uring_wait_fd(storage_os->uring);
    return storage_os->sync.event_fd;
}

static void
failure_describe(const struct storage_files_failure *failure, char *text, size_t text_size)
{
    const char *what = failure->direction == STORAGE_WRITE ? "write" : "read";
    if (failure->growing) what = "grow";
    (void) snprintf(
        text,
        text_size,
        "could not %s file \"%s\" at offset %llu: %s",
        what,
        storage_file_name(failure->file),
        (unsigned long long) failure->offset_bytes,
        failure->error_number == 0 ? "the file ends too early" : strerror(failure->error_number));
}

bool
storage_os_failure_text(const struct storage_os *storage_os, char *text, size_t text_size)
{
    const struct storage_files *files = &storage_os->files;
    const struct storage_files_failure *failure =
        files->failure.happened ? &files->failure : &files->growth_failure;
    if (!failure->happened) return false;
    failure_describe(failure, text, text_size);
    return true;
}

bool
storage_os_growth_failure(
    const struct storage_os *storage_os, uint64_t *told, char *text, size_t text_size)
{
    const struct storage_files *files = &storage_os->files;
    if (*told == files->growth_failures) return false;
    *told = files->growth_failures;
    if (!files->growth_failure.happened) return false;
    failure_describe(&files->growth_failure, text, text_size);
    return true;
}
