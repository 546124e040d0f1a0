/* SPDX-License-Identifier: PostgreSQL */
/*
 * The data directory: the four files of io/storage.h and a file `lock`, opened, created and grown.
 * Shared by storage_sync and storage_uring; opened and closed by storage_os.
 *
 * Every file is opened O_DSYNC, and O_DIRECT unless direct is off: a write that has completed is
 * durable. When it is opened, it is synced; and where direct is off, what the kernel has cached of
 * it is dropped then, so that what is read first is what the disk holds.
 *
 * Creation makes zeroed files, so that later writes are pure overwrites:
 *
 *     superblock.new    zeroed, durable       the mark of a creation that has not finished
 *     the other three   zeroed, durable
 *     superblock.new → superblock             durable: the creation has finished
 *
 * So what is found tells what happened:
 *  - all four files: open them.
 *  - superblock.new and no superblock: a creation was cut by a crash. Nobody has ever used these
 *    files; this is as if there were none.
 *  - none: absent.
 *  - anything else: somebody has removed a file. Never created over; STORAGE_OS_INCOMPLETE.
 *
 * Two processes never use a directory at once: `lock` is locked (flock), and so is each of the four
 * files. The second matters after a kill: io_uring can finish a write after the process that asked
 * for it is gone. Such a write holds its file open and thereby locked, until it is done.
 */
#ifndef LEDGER_OS_STORAGE_FILES_H
#define LEDGER_OS_STORAGE_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/storage.h"

/* The most requests that are in flight or wait. An ordered pair counts as one. */
#define STORAGE_OS_REQUESTS_MAX 65536

/*
 * The most bytes of one request. A single transfer of the kernel is limited to 2 GiB less a page.
 */
#define STORAGE_OS_REQUEST_SIZE_MAX GIB

#define STORAGE_OS_TEXT_SIZE 1024

enum storage_os_error {
    STORAGE_OS_OPENED,
    STORAGE_OS_ABSENT,     /* There are no files, and they were not to be created. */
    STORAGE_OS_INCOMPLETE, /* Some of the files are missing. */
    STORAGE_OS_LOCKED,     /* Another process uses the directory. */
    STORAGE_OS_NO_DIRECT,  /* The file system refuses O_DIRECT. */
    STORAGE_OS_NO_SPACE,   /* The files to be created didn't fit. The creation was undone. */
    STORAGE_OS_NO_URING,   /* io_uring was demanded, and is refused. */
    STORAGE_OS_ENDED,      /* The creation was told to end, and was undone. */
    STORAGE_OS_FAILED,     /* Another system call failed. */
};

enum storage_os_method { STORAGE_OS_AUTO, STORAGE_OS_URING, STORAGE_OS_SYNC };

struct storage_os_options {
    const char *directory; /* Not kept after opening. */
    enum storage_os_method method;
    bool direct;
    bool create; /* Create the files if they are absent; also the directory, but not its parents. */
    uint64_t create_size_bytes[STORAGE_FILE_COUNT];

    /*
     * To zero a large log can take minutes. So creation asks again and again whether it should end;
     * NULL: it never does.
     */
    bool (*create_shall_end)(void);
};

struct storage_os_report {
    enum storage_os_method method; /* The method in effect. */
    bool created;

    /*
     * If opening failed: which call failed on which path, and why. A sentence without a full stop.
     */
    int error_number;
    char error_text[STORAGE_OS_TEXT_SIZE];

    /* If io_uring was refused and method auto uses sync instead: why, and who refuses it. */
    int uring_error_number;
    char uring_text[STORAGE_OS_TEXT_SIZE];
};

/* A request or a growth that has failed. */
struct storage_files_failure {
    bool happened;
    bool growing;
    enum storage_direction direction;
    enum storage_file file;
    uint64_t offset_bytes;
    int error_number; /* 0 means that the file ended too early. */
};

struct storage_files {
    int directory_fd;
    int lock_fd;
    int fds[STORAGE_FILE_COUNT];
    struct storage_files_failure failure; /* The first request that failed. */
    /* The newest growth that failed, unless one has succeeded since; and how many failed. */
    struct storage_files_failure growth_failure;
    uint64_t growth_failures;
};

/* On success fills in size_bytes. On failure nothing stays open, and the report says why. */
enum storage_os_error storage_files_open(
    struct storage_files *files,
    const struct storage_os_options *options,
    uint64_t size_bytes[STORAGE_FILE_COUNT],
    struct storage_os_report *report);

void storage_files_close(struct storage_files *files);

/*
 * Grows a file as io/storage.h promises, and waits. On STORAGE_IO_ERROR, *error_number says why. It
 * uses nothing but its arguments, so that a thread of its own may call it. After an error it may be
 * called again: to allocate what is allocated changes nothing, and if the error was that of a sync,
 * each write in the new space is durable by itself (O_DSYNC), with all that is needed to find it,
 * or fails.
 */
enum storage_result storage_files_extend(
    int fd,
    uint64_t size_old_bytes,
    uint64_t size_bytes,
    int *error_number);

/* Remembers that growth failed. */
void storage_files_note_growth_failure(
    struct storage_files *files,
    enum storage_file file,
    uint64_t size_old_bytes,
    int error_number);

/*
 * Describes what is left of a request with several buffers, for the kernel. Returns the number of
 * pieces.
 */
int storage_files_pieces(
    const struct storage_request *request, struct iovec pieces[STORAGE_BUFFERS_MAX]);

/*
 * Carries a request out by plain calls, which block. Short transfers and interruptions are
 * continued. If a part of the request is done already, that isn't repeated.
 */
enum storage_result
storage_files_transfer(struct storage_files *files, struct storage_request *request);

/* Notes that a request failed, if it is the first failure. */
void storage_files_note_failure(
    struct storage_files *files, const struct storage_request *request, int error_number);

#endif
