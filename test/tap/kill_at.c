/* SPDX-License-Identifier: PostgreSQL */
/*
 * For LD_PRELOAD: a process of the server is killed (SIGKILL) just before it changes the ledger's
 * files for the n-th time, where n is what the file KILL_AT says; nothing happens while there is no
 * such file. What counts as a change: a rename, a directory made or removed, a file removed, a
 * write of less than a megabyte; but no zeroing of new files. The I/O method must be sync.
 */
#define _GNU_SOURCE 1

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "next_symbol.h"

#define LARGE (1024 * 1024)

static void
count_change(void)
{
    static int changes = 0;
    char text[16] = "";
    const char *path = getenv("KILL_AT");
    const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        changes = 0;
        return;
    }
    const ssize_t size = read(fd, text, sizeof(text) - 1);
    (void) close(fd);
    changes += 1;
    if (size <= 0 || changes != atoi(text)) return;
    (void) unlink(path);
    (void) kill(getpid(), SIGKILL);
}

static int
is_of_ledger(const char *path)
{
    return strstr(path, "-ledger") != NULL || strstr(path, "ledger.identity") != NULL;
}

static void
change_path(const char *path)
{
    if (is_of_ledger(path)) count_change();
}

static void
change_fd(int fd)
{
    char link[64], path[4096];
    (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, path, sizeof(path) - 1);
    if (size <= 0) return;
    path[size] = 0;
    change_path(path);
}

int
rename(const char *from, const char *to)
{
    int (*next)(const char *, const char *) = next_symbol("rename");
    change_path(to);
    return next(from, to);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    int (*next)(int, const char *, int, const char *) = next_symbol("renameat");
    change_fd(to_fd);
    return next(from_fd, from, to_fd, to);
}

int
mkdir(const char *path, mode_t mode)
{
    int (*next)(const char *, mode_t) = next_symbol("mkdir");
    change_path(path);
    return next(path, mode);
}

int
rmdir(const char *path)
{
    int (*next)(const char *) = next_symbol("rmdir");
    change_path(path);
    return next(path);
}

int
unlink(const char *path)
{
    int (*next)(const char *) = next_symbol("unlink");
    if (is_of_ledger(path) && access(path, F_OK) == 0) count_change();
    return next(path);
}

ssize_t
pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = next_symbol("pwrite");
    if (size < LARGE) change_fd(fd);
    return next(fd, bytes, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t) = next_symbol("pwritev");
    change_fd(fd);
    return next(fd, pieces, count, offset);
}

/* The same by the names that a build with large files uses. */
ssize_t
pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return pwritev(fd, pieces, count, offset);
}
