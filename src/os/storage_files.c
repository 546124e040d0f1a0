/* SPDX-License-Identifier: PostgreSQL */
/* See storage_files.h. */
#define _GNU_SOURCE 1 /* O_DIRECT, fallocate. */

#include "os/storage_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

#define CREATION_MARK "superblock.new"
#define LOCK_NAME     "lock"
#define LOCK_TRIES    5
#define LOCK_PAUSE_MS 50
#define ZEROS_SIZE    MIB
/* After so many zeros they are synced, so that no sync has more to write, and none takes long. */
#define ZEROS_SYNC_SIZE (64 * MIB)

/* Which files were found in the directory. */
struct presence {
    uint32_t file_count;
    bool superblock;
    bool creation_mark;
    enum storage_file missing; /* One of those, if any. */
};

static bool
errno_is_no_space(int error_number)
{
    return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
}

static enum storage_os_error
fail_with(
    struct storage_os_report *report,
    enum storage_os_error error,
    int error_number,
    const char *format,
    const char *directory,
    const char *name)
{
    assert(error != STORAGE_OS_OPENED);
    report->error_number = error_number;
    char path[STORAGE_OS_TEXT_SIZE];
    (void) snprintf(path, sizeof(path), "%s%s%s", directory, name[0] == 0 ? "" : "/", name);
    int length = snprintf(report->error_text, sizeof(report->error_text), format, path);
    if (error_number == 0 || length < 0 || (size_t) length >= sizeof(report->error_text)) {
        return error;
    }
    const size_t used = (size_t) length;
    (void) snprintf(
        report->error_text + used,
        sizeof(report->error_text) - used,
        ": %s",
        strerror(error_number));
    return error;
}

/* The system call on directory/name has just failed, and left its reason in errno. */
static enum storage_os_error
fail(struct storage_os_report *report, const char *format, const char *directory, const char *name)
{
    const int error_number = errno;
    assert(error_number != 0);
    const bool no_space = errno_is_no_space(error_number);
    const enum storage_os_error error = no_space ? STORAGE_OS_NO_SPACE : STORAGE_OS_FAILED;
    return fail_with(report, error, error_number, format, directory, name);
}

/* System calls that go on after an interruption ------------------------------------------------ */

static int
open_at(int directory_fd, const char *name, int flags)
{
    int fd;
    do {
        fd = openat(directory_fd, name, flags | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static bool
sync_fd(int fd)
{
    int result;
    do {
        result = fsync(fd);
    } while (result < 0 && errno == EINTR);
    return result == 0;
}

/*
 * Where there is less space than it is asked for, fallocate takes all that there is before it
 * fails: until that is given back, nobody else has any, and a server that can't write its log goes
 * down. So what is too much for certain is not asked for. Some file systems don't tell.
 */
static bool
space_is_short(int fd, uint64_t size_bytes)
{
    struct statvfs space;
    if (fstatvfs(fd, &space) != 0 || space.f_blocks == 0 || space.f_frsize == 0) return false;
    return space.f_bavail < div_ceil(size_bytes, space.f_frsize);
}

static bool
allocate(int fd, uint64_t offset_bytes, uint64_t size_bytes)
{
    int result;
    if (space_is_short(fd, size_bytes)) {
        errno = ENOSPC;
        return false;
    }
    do {
        result = fallocate(fd, 0, (off_t) offset_bytes, (off_t) size_bytes);
    } while (result < 0 && errno == EINTR);
    return result == 0;
}

/* `shall_end`, if there is one, is asked before each piece; then errno is ECANCELED. */
static bool
write_zeros(int fd, uint64_t offset_bytes, uint64_t size_bytes, bool (*shall_end)(void))
{
    void *zeros = mmap(NULL, ZEROS_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (zeros == MAP_FAILED) return false;

    const uint64_t end_bytes = offset_bytes + size_bytes;
    bool ok = true;
    while (ok && offset_bytes < end_bytes) {
        const uint64_t chunk_bytes = min_u64(ZEROS_SIZE, end_bytes - offset_bytes);
        if (shall_end != NULL && shall_end()) {
            errno = ECANCELED;
            ok = false;
            break;
        }
        const ssize_t written = pwrite(fd, zeros, chunk_bytes, (off_t) offset_bytes);
        if (written > 0) {
            offset_bytes += (uint64_t) written;
            ok = offset_bytes % ZEROS_SYNC_SIZE != 0 || sync_fd(fd);
        } else if (written == 0) {
            errno = EIO;
            ok = false;
        } else {
            ok = errno == EINTR;
        }
    }
    const int error_number = errno;
    (void) munmap(zeros, ZEROS_SIZE);
    errno = error_number;
    return ok;
}

static bool
unsupported(int error_number)
{
    return error_number == EOPNOTSUPP || error_number == ENOSYS;
}

/*
 * Returns true if the lock can't be had. errno is EWOULDBLOCK if another process held it all the
 * time.
 */
static bool
lock_fails(int fd)
{
    for (int try = 0;; try++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return false;
        if (errno != EINTR && errno != EWOULDBLOCK) return true;
        if (try == LOCK_TRIES - 1) {
            errno = EWOULDBLOCK;
            return true;
        }
        const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000 * 1000};
        (void) nanosleep(&pause, NULL);
    }
}

/*
 * What is read from here on comes from the disk. Where a write-back has failed, the kernel says so
 * once, to whoever had the file open, marks the pages clean, and keeps them: the next owner would
 * read from memory what the disk has not got, and a sync would find nothing to write and succeed
 * ("fsyncgate"). So after the sync, which writes what a killed process left dirty, the clean pages
 * go. Nobody else has the file: it is locked. Direct reads don't come from there.
 */
static bool
drop_cached(int fd)
{
    const int error_number = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    errno = error_number;
    return error_number == 0;
}

/* The directory and its lock ------------------------------------------------------------------- */

static enum storage_os_error
fail_in_use(struct storage_os_report *report, const char *directory)
{
    return fail_with(
        report,
        STORAGE_OS_LOCKED,
        0,
        "directory \"%s\" is in use by another process",
        directory,
        "");
}

/*
 * Two processes that create in one place: who comes second finds the directory made. And what isn't
 * locked yet is taken for something that a crash has left: it may be removed by the other one, at
 * any time until the lock is had. Then that one goes on.
 */
static enum storage_os_error
directory_make(const char *directory, struct storage_os_report *report, int *directory_fd)
{
    if (mkdir(directory, 0700) != 0) {
        if (errno == EEXIST) return fail_in_use(report, directory);
        return fail(report, "could not create directory \"%s\"", directory, "");
    }
    *directory_fd = open_at(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY);
    if (*directory_fd < 0) {
        if (errno == ENOENT) return fail_in_use(report, directory);
        return fail(report, "could not open directory \"%s\"", directory, "");
    }

    const int parent_fd = open_at(*directory_fd, "..", O_RDONLY | O_DIRECTORY);
    if (parent_fd < 0 && errno == ENOENT) return fail_in_use(report, directory);
    const bool ok = parent_fd >= 0 && sync_fd(parent_fd);
    if (!ok) (void) fail(report, "could not fsync the parent directory of \"%s\"", directory, "");
    if (parent_fd >= 0) (void) close(parent_fd);
    return ok ? STORAGE_OS_OPENED : STORAGE_OS_FAILED;
}

/*
 * A creation that is undone removes the lock file too. So after waiting for the lock, one must
 * check that the locked file still is the one with that name. It is made if it isn't there, which
 * only fails so if the directory itself was removed.
 */
static enum storage_os_error
lock_take(struct storage_files *files, const char *directory, struct storage_os_report *report)
{
    for (int try = 0; try < LOCK_TRIES; try++) {
        files->lock_fd = open_at(files->directory_fd, LOCK_NAME, O_RDWR | O_CREAT);
        if (files->lock_fd < 0 && errno == ENOENT) break;
        if (files->lock_fd < 0) return fail(report, "could not open \"%s\"", directory, LOCK_NAME);
        if (lock_fails(files->lock_fd)) {
            if (errno != EWOULDBLOCK) {
                return fail(report, "could not lock \"%s\"", directory, LOCK_NAME);
            }
            break;
        }
        struct stat status;
        if (fstat(files->lock_fd, &status) != 0) {
            return fail(report, "could not stat \"%s\"", directory, LOCK_NAME);
        }
        if (status.st_nlink > 0) return STORAGE_OS_OPENED;
        (void) close(files->lock_fd);
        files->lock_fd = -1;
    }
    return fail_in_use(report, directory);
}

static bool
name_exists(int directory_fd, const char *name)
{
    return faccessat(directory_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

static struct presence
presence_find(int directory_fd)
{
    struct presence presence = {.creation_mark = name_exists(directory_fd, CREATION_MARK)};
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        if (name_exists(directory_fd, storage_file_name(file))) {
            presence.file_count += 1;
            if (file == STORAGE_SUPERBLOCK) presence.superblock = true;
        } else {
            presence.missing = file;
        }
    }
    return presence;
}

static bool
presence_is_absent(const struct presence *presence)
{
    return presence->file_count == 0 || (presence->creation_mark && !presence->superblock);
}

/* Creation ------------------------------------------------------------------------------------- */

static enum storage_os_error
fail_direct(struct storage_os_report *report, const char *directory, const char *name)
{
    return fail_with(
        report,
        STORAGE_OS_NO_DIRECT,
        EINVAL,
        "the file system does not support direct I/O (O_DIRECT) on \"%s\"",
        directory,
        name);
}

/* Makes one zeroed file of the given size, durable but for its name. */
static enum storage_os_error
file_make(
    int directory_fd,
    const char *name,
    uint64_t size_bytes,
    const struct storage_os_options *options,
    struct storage_os_report *report)
{
    assert(size_bytes % SECTOR_SIZE == 0);
    const int direct_flag = options->direct ? O_DIRECT : 0;
    const int fd = open_at(directory_fd, name, O_RDWR | O_CREAT | O_TRUNC | direct_flag);
    if (fd < 0 && errno == EINVAL && options->direct) {
        return fail_direct(report, options->directory, name);
    }
    if (fd < 0) return fail(report, "could not create \"%s\"", options->directory, name);

    bool ok = size_bytes == 0 || allocate(fd, 0, size_bytes) || unsupported(errno);
    ok = ok && write_zeros(fd, 0, size_bytes, options->create_shall_end);
    ok = ok && sync_fd(fd);
    enum storage_os_error error = STORAGE_OS_OPENED;
    if (!ok && errno == EINVAL && options->direct) {
        error = fail_direct(report, options->directory, name);
    } else if (!ok && errno == ECANCELED) {
        error = fail_with(
            report,
            STORAGE_OS_ENDED,
            0,
            "\"%s\" was being made when the engine was told to stop",
            options->directory,
            name);
    } else if (!ok) {
        error = fail(report, "could not allocate and zero \"%s\"", options->directory, name);
    }
    (void) close(fd);
    return error;
}

static enum storage_os_error
files_make(
    const struct storage_files *files,
    const struct storage_os_options *options,
    struct storage_os_report *report)
{
    const char *directory = options->directory;
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        const bool first = file == STORAGE_SUPERBLOCK;
        const char *name = first ? CREATION_MARK : storage_file_name(file);
        const enum storage_os_error error =
            file_make(files->directory_fd, name, options->create_size_bytes[file], options, report);
        if (error != STORAGE_OS_OPENED) return error;
        if (!sync_fd(files->directory_fd)) {
            return fail(report, "could not fsync directory \"%s\"", directory, "");
        }
    }
    const int fd = files->directory_fd;
    if (renameat(fd, CREATION_MARK, fd, storage_file_name(STORAGE_SUPERBLOCK)) != 0) {
        return fail(report, "could not rename \"%s\"", directory, CREATION_MARK);
    }
    if (!sync_fd(fd)) return fail(report, "could not fsync directory \"%s\"", directory, "");
    return STORAGE_OS_OPENED;
}

/*
 * Removes what a failed creation made. The mark goes last: if a crash interrupts this, what is left
 * is still recognised as an unfinished creation.
 */
static void
files_unmake(const struct storage_files *files, const char *directory, bool directory_made)
{
    const int fd = files->directory_fd;
    const char *superblock = storage_file_name(STORAGE_SUPERBLOCK);
    (void) renameat(fd, superblock, fd, CREATION_MARK);
    (void) sync_fd(fd);
    for (enum storage_file file = STORAGE_SUPERBLOCK + 1; file < STORAGE_FILE_COUNT; file++) {
        (void) unlinkat(fd, storage_file_name(file), 0);
    }
    (void) sync_fd(fd);
    (void) unlinkat(fd, CREATION_MARK, 0);
    if (directory_made) {
        (void) unlinkat(fd, LOCK_NAME, 0);
        (void) rmdir(directory);
    }
    (void) sync_fd(fd);
}

/* Opening -------------------------------------------------------------------------------------- */

static enum storage_os_error
file_open(
    struct storage_files *files,
    enum storage_file file,
    const struct storage_os_options *options,
    uint64_t *size_bytes,
    struct storage_os_report *report)
{
    const char *directory = options->directory;
    const char *name = storage_file_name(file);
    const int flags = O_RDWR | O_DSYNC | (options->direct ? O_DIRECT : 0);
    const int fd = open_at(files->directory_fd, name, flags);
    if (fd < 0 && errno == EINVAL && options->direct) return fail_direct(report, directory, name);
    if (fd < 0) return fail(report, "could not open \"%s\"", directory, name);
    files->fds[file] = fd;

    if (lock_fails(fd)) {
        if (errno != EWOULDBLOCK) return fail(report, "could not lock \"%s\"", directory, name);
        return fail_with(
            report,
            STORAGE_OS_LOCKED,
            0,
            "\"%s\" is in use: a write of an earlier process has not finished",
            directory,
            name);
    }
    struct stat status;
    if (fstat(fd, &status) != 0) return fail(report, "could not stat \"%s\"", directory, name);
    if (!S_ISREG(status.st_mode)) {
        return fail_with(
            report, STORAGE_OS_FAILED, 0, "\"%s\" is not a regular file", directory, name);
    }
    /* The process that wrote the file may have died before the file's size was durable. */
    if (!sync_fd(fd)) return fail(report, "could not fsync \"%s\"", directory, name);
    if (!options->direct && !drop_cached(fd)) {
        return fail(report, "could not drop cached pages of \"%s\"", directory, name);
    }
    *size_bytes = (uint64_t) status.st_size / SECTOR_SIZE * SECTOR_SIZE;
    return STORAGE_OS_OPENED;
}

/* Some file systems let a file be opened O_DIRECT, and refuse only its transfers. */
static bool
direct_works(int fd)
{
    void *sector =
        mmap(NULL, SECTOR_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sector == MAP_FAILED) return true;
    const ssize_t result = pread(fd, sector, SECTOR_SIZE, 0);
    const bool refused = result < 0 && errno == EINVAL;
    (void) munmap(sector, SECTOR_SIZE);
    return !refused;
}

static enum storage_os_error
files_open(
    struct storage_files *files,
    const struct storage_os_options *options,
    uint64_t size_bytes[STORAGE_FILE_COUNT],
    struct storage_os_report *report)
{
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        const enum storage_os_error error =
            file_open(files, file, options, &size_bytes[file], report);
        if (error != STORAGE_OS_OPENED) return error;
    }
    if (options->direct && !direct_works(files->fds[STORAGE_SUPERBLOCK])) {
        return fail_direct(report, options->directory, storage_file_name(STORAGE_SUPERBLOCK));
    }
    if (!sync_fd(files->directory_fd)) {
        return fail(report, "could not fsync directory \"%s\"", options->directory, "");
    }
    return STORAGE_OS_OPENED;
}

/* What the found files mean: absent, incomplete, or STORAGE_OS_OPENED if all are there. */
static enum storage_os_error
presence_check(
    const struct presence *presence,
    const struct storage_os_options *options,
    struct storage_os_report *report)
{
    if (presence->file_count == STORAGE_FILE_COUNT) return STORAGE_OS_OPENED;
    const char *directory = options->directory;
    if (presence_is_absent(presence)) {
        return fail_with(
            report, STORAGE_OS_ABSENT, 0, "directory \"%s\" holds no ledger", directory, "");
    }
    return fail_with(
        report,
        STORAGE_OS_INCOMPLETE,
        0,
        "\"%s\" is missing, while other files of the ledger are there",
        directory,
        storage_file_name(presence->missing));
}

static enum storage_os_error
open_locked(
    struct storage_files *files,
    const struct storage_os_options *options,
    bool directory_made,
    uint64_t size_bytes[STORAGE_FILE_COUNT],
    struct storage_os_report *report)
{
    const struct presence presence = presence_find(files->directory_fd);
    enum storage_os_error error = presence_check(&presence, options, report);
    const bool create = error == STORAGE_OS_ABSENT && options->create;
    if (create) error = files_make(files, options, report);
    if (error == STORAGE_OS_OPENED) error = files_open(files, options, size_bytes, report);
    if (create && error != STORAGE_OS_OPENED) {
        files_unmake(files, options->directory, directory_made);
    }
    report->created = create && error == STORAGE_OS_OPENED;
    return error;
}

enum storage_os_error
storage_files_open(
    struct storage_files *files,
    const struct storage_os_options *options,
    uint64_t size_bytes[STORAGE_FILE_COUNT],
    struct storage_os_report *report)
{
    const char *directory = options->directory;
    *files = (struct storage_files){.directory_fd = -1, .lock_fd = -1};
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        files->fds[i] = -1;
    }

    bool directory_made = false;
    enum storage_os_error error = STORAGE_OS_OPENED;
    files->directory_fd = open_at(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY);
    if (files->directory_fd < 0 && errno == ENOENT && options->create) {
        error = directory_make(directory, report, &files->directory_fd);
        directory_made = files->directory_fd >= 0;
    } else if (files->directory_fd < 0 && errno == ENOENT) {
        error = fail_with(
            report, STORAGE_OS_ABSENT, ENOENT, "could not open directory \"%s\"", directory, "");
    } else if (files->directory_fd < 0) {
        error = fail(report, "could not open directory \"%s\"", directory, "");
    }
    if (error == STORAGE_OS_OPENED && !options->create) {
        /* If there is no ledger, nothing must be left behind, not even a lock file. */
        const struct presence presence = presence_find(files->directory_fd);
        error = presence_check(&presence, options, report);
    }
    if (error == STORAGE_OS_OPENED) error = lock_take(files, directory, report);
    if (error == STORAGE_OS_OPENED) {
        error = open_locked(files, options, directory_made, size_bytes, report);
    }
    if (error != STORAGE_OS_OPENED) storage_files_close(files);
    return error;
}

void
storage_files_close(struct storage_files *files)
{
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        if (files->fds[i] >= 0) (void) close(files->fds[i]);
        files->fds[i] = -1;
    }
    if (files->lock_fd >= 0) (void) close(files->lock_fd);
    if (files->directory_fd >= 0) (void) close(files->directory_fd);
    files->lock_fd = -1;
    files->directory_fd = -1;
}

/* Working -------------------------------------------------------------------------------------- */

void
storage_files_note_failure(
    struct storage_files *files, const struct storage_request *request, int error_number)
{
    if (files->failure.happened) return;
    files->failure = (struct storage_files_failure){
        .happened = true,
        .direction = request->direction,
        .file = request->file,
        .offset_bytes = request->offset_bytes + request->done_bytes,
        .error_number = error_number,
    };
}

int
storage_files_pieces(
    const struct storage_request *request, struct iovec pieces[STORAGE_BUFFERS_MAX])
{
    assert(request->buffer_count > 0);
    int count = 0;
    for (uint64_t at = request->done_bytes; at < request->size_bytes;) {
        uint64_t piece_bytes;
        uint8_t *piece = storage_request_piece(request, at, &piece_bytes);
        assert(count < STORAGE_BUFFERS_MAX);
        pieces[count] = (struct iovec){.iov_base = piece, .iov_len = piece_bytes};
        count += 1;
        at += piece_bytes;
    }
    return count;
}

/*
 * Makes one call of the kernel for the rest of the request. Returns how many bytes it transferred,
 * or -1 with errno.
 */
static ssize_t
transfer_once(const struct storage_files *files, const struct storage_request *request)
{
    const int fd = files->fds[request->file];
    const off_t offset = (off_t) (request->offset_bytes + request->done_bytes);
    assert(request->done_bytes < request->size_bytes);
    if (request->buffer_count > 0) {
        struct iovec pieces[STORAGE_BUFFERS_MAX];
        const int count = storage_files_pieces(request, pieces);
        return request->direction == STORAGE_WRITE ? pwritev(fd, pieces, count, offset)
                                                   : preadv(fd, pieces, count, offset);
    }
    uint64_t left_bytes;
    uint8_t *at = storage_request_piece(request, request->done_bytes, &left_bytes);
    return request->direction == STORAGE_WRITE ? pwrite(fd, at, left_bytes, offset)
                                               : pread(fd, at, left_bytes, offset);
}

enum storage_result
storage_files_transfer(struct storage_files *files, struct storage_request *request)
{
    while (request->done_bytes < request->size_bytes) {
        const ssize_t result = transfer_once(files, request);
        if (result > 0) {
            assert((uint64_t) result <= request->size_bytes - request->done_bytes);
            request->done_bytes += (uint64_t) result;
        } else if (result == 0 || (errno != EINTR && errno != EAGAIN)) {
            storage_files_note_failure(files, request, result == 0 ? 0 : errno);
            return STORAGE_IO_ERROR;
        }
    }
    return STORAGE_OK;
}

enum storage_result
storage_files_extend(int fd, uint64_t size_old_bytes, uint64_t size_bytes, int *error_number)
{
    assert(size_bytes > size_old_bytes);
    const uint64_t added_bytes = size_bytes - size_old_bytes;
    bool ok = allocate(fd, size_old_bytes, added_bytes);
    if (!ok && unsupported(errno)) ok = write_zeros(fd, size_old_bytes, added_bytes, NULL);
    if (!ok && errno_is_no_space(errno)) {
        /* If the allocated space can't be given back, the file is larger than we know. */
        const int ignored = ftruncate(fd, (off_t) size_old_bytes);
        (void) ignored;
        return STORAGE_NO_SPACE;
    }
    if (ok && sync_fd(fd)) return STORAGE_OK;
    *error_number = errno;
    return STORAGE_IO_ERROR;
}

void
storage_files_note_growth_failure(
    struct storage_files *files,
    enum storage_file file,
    uint64_t size_old_bytes,
    int error_number)
{
    files->growth_failures += 1;
    files->growth_failure = (struct storage_files_failure){
        .happened = true,
        .growing = true,
        .file = file,
        .offset_bytes = size_old_bytes,
        .error_number = error_number,
    };
}
