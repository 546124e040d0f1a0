/* SPDX-License-Identifier: PostgreSQL */
/*
 * For LD_PRELOAD: system calls on the ledger's files fail, take long, or are the last ones of the
 * process. The file FILE_FAULTS says which, and is read at each of them; while there is no such
 * file, nothing happens. A line of it is
 *
 *     CALL NAME ACTION [VALUE]        e.g.  allocate grid fail 28
 *
 * CALL is one of allocate (fallocate), zeros (a write of a megabyte or more), sync (fsync),
 * truncate (ftruncate), read (pread, if the I/O method is sync) and space (fstatvfs); NAME is how
 * the path ends. ACTION is `slow` (VALUE milliseconds), `fail` (VALUE is the errno), `kill_before`,
 * `kill_after`, or `is` (space: VALUE blocks are free). A process that is to be killed removes the
 * file first, so that its successor is not.
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "next_symbol.h"

#define LARGE (1024 * 1024)

struct fault {
    char action[16]; /* Empty: none. */
    int value;
};

static bool
ends_with(const char *path, const char *end)
{
    const size_t path_size = strlen(path), end_size = strlen(end);
    return path_size >= end_size && strcmp(path + path_size - end_size, end) == 0;
}

static struct fault
fault_of(const char *call, int fd)
{
    struct fault fault = {.action = ""};
    char link[64], path[4096], line_call[16], line_name[64];
    const char *control = getenv("FILE_FAULTS");
    FILE *file = control == NULL ? NULL : fopen(control, "re");
    if (file == NULL) return fault;
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size < 0 ? 0 : size] = 0;
    char line[256];
    while (fgets(line, sizeof(line), file) != NULL) {
        struct fault found = {.action = ""};
        const int fields =
            sscanf(line, "%15s %63s %15s %d", line_call, line_name, found.action, &found.value);
        if (fields < 3 || strcmp(line_call, call) != 0 || !ends_with(path, line_name)) continue;
        fault = found;
        break;
    }
    (void) fclose(file);
    return fault;
}

static void
kill_now(void)
{
    const char *control = getenv("FILE_FAULTS");
    if (control != NULL) (void) unlink(control);
    (void) kill(getpid(), SIGKILL);
    for (;;)
        (void) pause();
}

/* True if the call is to fail: errno is set. */
static bool
before(const struct fault *fault)
{
    if (strcmp(fault->action, "kill_before") == 0) kill_now();
    if (strcmp(fault->action, "slow") == 0) {
        const struct timespec pause = {
            .tv_sec = fault->value / 1000, .tv_nsec = fault->value % 1000 * 1000000L};
        (void) nanosleep(&pause, NULL);
    }
    if (strcmp(fault->action, "fail") != 0) return false;
    errno = fault->value;
    return true;
}

static void
after(const struct fault *fault)
{
    if (strcmp(fault->action, "kill_after") == 0) kill_now();
}

int
fallocate(int fd, int mode, off_t offset, off_t size)
{
    int (*next)(int, int, off_t, off_t) = next_symbol("fallocate");
    const struct fault fault = fault_of("allocate", fd);
    if (before(&fault)) return -1;
    const int result = next(fd, mode, offset, size);
    const int error = errno;
    after(&fault);
    errno = error;
    return result;
}

ssize_t
pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = next_symbol("pwrite");
    if (size < LARGE) return next(fd, bytes, size, offset);
    const struct fault fault = fault_of("zeros", fd);
    if (before(&fault)) return -1;
    const ssize_t result = next(fd, bytes, size, offset);
    const int error = errno;
    after(&fault);
    errno = error;
    return result;
}

ssize_t
pread(int fd, void *bytes, size_t size, off_t offset)
{
    ssize_t (*next)(int, void *, size_t, off_t) = next_symbol("pread");
    const struct fault fault = fault_of("read", fd);
    if (before(&fault)) return -1;
    return next(fd, bytes, size, offset);
}

int
fsync(int fd)
{
    int (*next)(int) = next_symbol("fsync");
    const struct fault fault = fault_of("sync", fd);
    if (before(&fault)) return -1;
    const int result = next(fd);
    const int error = errno;
    after(&fault);
    errno = error;
    return result;
}

int
fstatvfs(int fd, struct statvfs *space)
{
    int (*next)(int, struct statvfs *) = next_symbol("fstatvfs");
    const struct fault fault = fault_of("space", fd);
    if (before(&fault)) return -1;
    const int result = next(fd, space);
    if (result == 0 && strcmp(fault.action, "is") == 0) {
        space->f_bavail = (fsblkcnt_t) fault.value;
    }
    return result;
}

int
ftruncate(int fd, off_t size)
{
    int (*next)(int, off_t) = next_symbol("ftruncate");
    const struct fault fault = fault_of("truncate", fd);
    if (before(&fault)) return -1;
    const int result = next(fd, size);
    const int error = errno;
    after(&fault);
    errno = error;
    return result;
}

/* The same by the names that a build with large files uses. */
int
fallocate64(int fd, int mode, off_t offset, off_t size)
{
    return fallocate(fd, mode, offset, size);
}

ssize_t
pread64(int fd, void *bytes, size_t size, off_t offset)
{
    return pread(fd, bytes, size, offset);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

int
fstatvfs64(int fd, struct statvfs64 *space)
{
    return fstatvfs(fd, (struct statvfs *) space);
}

int
ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}
