/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/directory.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"

#include "pg/settings.h"
#include "pg/worker/refusal.h"

static bool
refuse_errno(struct refusal *refusal, const char *what, const char *path)
{
    const int error = errno;
    refusal_message(refusal, "could not %s \"%s\": %s", what, path, strerror(error));
    refusal_hint(
        refusal,
        "%s",
        error == ENOSPC
            ? "Make room in the file system, then try again."
            : "The operating system user of PostgreSQL must be able to make and use ledger.data_directory.");
    switch (error) {
    case ENOSPC: refusal->sqlstate = ERRCODE_DISK_FULL; break;
    case EACCES:
    case EPERM:
    case EROFS: refusal->sqlstate = ERRCODE_INSUFFICIENT_PRIVILEGE; break;
    default: refusal->sqlstate = ERRCODE_IO_ERROR;
    }
    return false;
}

/*
 * A symbolic link may lead to a file system that isn't mounted yet. That doesn't mean that the
 * directory is absent: a new ledger can't be made there, and the one behind the link isn't missing.
 */
static bool
refuse_dangling_link(struct refusal *refusal, const char *path)
{
    refusal_message(refusal, "\"%s\" is a symbolic link that leads nowhere", path);
    refusal_detail(refusal, "What it should lead to does not exist, or is not mounted.");
    refusal_hint(
        refusal,
        "Mount or restore what it leads to, then reload the configuration. For a new ledger, remove the link, or set ledger.data_directory and restart the server.");
    refusal->sqlstate = ERRCODE_UNDEFINED_FILE;
    return false;
}

/* Finds out whether there is a directory, nothing, or something else, which is a refusal. */
static bool
look(const char *path, bool *present, struct refusal *refusal)
{
    struct stat status;
    *present = false;
    if (stat(path, &status) != 0) {
        if (errno != ENOENT) return refuse_errno(refusal, "look at", path);
        return lstat(path, &status) == 0 ? refuse_dangling_link(refusal, path) : true;
    }
    *present = S_ISDIR(status.st_mode);
    if (*present) return true;
    errno = ENOTDIR;
    return refuse_errno(refusal, "use", path);
}

/* Resolves symbolic links. A directory that doesn't exist yet is looked for through its parent. */
static bool
resolve(const char *path, char resolved[PATH_MAX], struct refusal *refusal)
{
    char parent[MAXPGPATH];
    strlcpy(parent, path, sizeof(parent));
    get_parent_directory(parent);
    if (realpath(path, resolved) != NULL || realpath(parent, resolved) != NULL) return true;
    return refuse_errno(refusal, "find", parent);
}

/*
 * The directory must not be inside PGDATA. There, pg_basebackup would copy the files while they
 * change, and pg_rewind would delete or overwrite them.
 */
static bool
check_outside_pgdata(const char *path, struct refusal *refusal)
{
    char resolved[PATH_MAX];
    char resolved_pgdata[PATH_MAX];
    if (!resolve(path, resolved, refusal)) return false;
    if (!resolve(DataDir, resolved_pgdata, refusal)) return false;
    if (!path_is_prefix_of_path(resolved_pgdata, resolved)) return true;
    refusal_message(refusal, "ledger.data_directory is inside the PostgreSQL data directory");
    refusal_detail(
        refusal,
        "In \"%s\", pg_basebackup would copy the ledger's files torn, and pg_rewind would delete them.",
        resolved_pgdata);
    refusal_hint(
        refusal,
        "Set ledger.data_directory to a directory beside it, for example \"%s-ledger\", and restart the server.",
        DataDir);
    return false;
}

static bool
check_path(const char *path, struct refusal *refusal)
{
    if (is_absolute_path(path) && strlen(path) < MAXPGPATH / 2) return true;
    refusal_message(refusal, "ledger.data_directory is not a usable path: \"%s\"", path);
    refusal_detail(refusal, "It must be absolute, and shorter than %d bytes.", MAXPGPATH / 2);
    refusal_hint(refusal, "Correct the setting and restart the server.");
    return false;
}

bool
directory_find(struct directory *directory, struct refusal *refusal)
{
    if (!check_path(settings_data_directory, refusal)) return false;
    strlcpy(directory->path, settings_data_directory, sizeof(directory->path));
    const int size =
        snprintf(directory->path_new, sizeof(directory->path_new), "%s.new", directory->path);
    assert(size > 0 && (size_t) size < sizeof(directory->path_new));
    if (!check_outside_pgdata(directory->path, refusal)) return false;
    if (!look(directory->path, &directory->present, refusal)) return false;
    return look(directory->path_new, &directory->present_new, refusal);
}

/* The lock goes last: nobody else may begin while the others are being removed. */
static const char *const file_names[] = {
    "superblock.new", "superblock", "prepares.wal", "headers.wal", "grid", "lock"};

bool
directory_holds_files(const struct directory *directory)
{
    assert(directory->present);
    for (size_t i = 0; i < lengthof(file_names); i++) {
        char path[2 * MAXPGPATH];
        snprintf(path, sizeof(path), "%s/%s", directory->path, file_names[i]);
        if (strcmp(file_names[i], "lock") != 0 && access(path, F_OK) == 0) return true;
    }
    return false;
}

bool
directory_is_elsewhere(const char *path)
{
    struct stat directory;
    struct stat pgdata;
    if (stat(path, &directory) != 0 || stat(DataDir, &pgdata) != 0) return false;
    return directory.st_dev != pgdata.st_dev;
}

/*
 * A process that makes a ledger holds this lock until the ledger has its name (storage_files.h).
 * Where there is no such file, it is made: who is about to make a ledger here has made the
 * directory, and will look for the lock next. Returns the locked file, or -1 with errno: ENOENT if
 * there is no such directory any more, EWOULDBLOCK if another process uses it.
 */
static int
lock_new(const struct directory *directory)
{
    char path[2 * MAXPGPATH];
    struct stat status;
    snprintf(path, sizeof(path), "%s/lock", directory->path_new);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return fd;
    int error = 0;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &status) != 0) {
        error = errno;
    } else if (status.st_nlink == 0) {
        error = EWOULDBLOCK; /* Somebody else has removed it, and goes on. */
    }
    if (error == 0) return fd;
    (void) close(fd);
    errno = error;
    return -1;
}

static bool
refuse_in_use(struct refusal *refusal, const struct directory *directory)
{
    refusal_message(
        refusal, "another server is making a ledger in \"%s\"", directory->path_new);
    refusal_hint(refusal, "Each server needs a ledger.data_directory of its own.");
    refusal->sqlstate = ERRCODE_OBJECT_IN_USE;
    return false;
}

/*
 * Removes only the files that a ledger may have. If there are others, the directory isn't ours, and
 * rmdir refuses. If there is a lock again, another process has begun.
 */
static bool
remove_files(const struct directory *directory, struct refusal *refusal)
{
    char path[2 * MAXPGPATH];
    for (size_t i = 0; i < lengthof(file_names); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory->path_new, file_names[i]);
        if (unlink(path) != 0 && errno != ENOENT) return refuse_errno(refusal, "remove", path);
    }
    if (rmdir(directory->path_new) == 0 || errno == ENOENT) return true;
    const int error = errno;
    if (access(path, F_OK) == 0) return refuse_in_use(refusal, directory);
    errno = error;
    return refuse_errno(refusal, "remove", directory->path_new);
}

bool
directory_remove_new(struct directory *directory, struct refusal *refusal)
{
    if (!directory->present_new) return true;
    const int lock_fd = lock_new(directory);
    if (lock_fd < 0 && errno == EWOULDBLOCK) return refuse_in_use(refusal, directory);
    if (lock_fd < 0 && errno != ENOENT) return refuse_errno(refusal, "lock", directory->path_new);
    const bool removed = lock_fd < 0 || remove_files(directory, refusal);
    if (lock_fd >= 0) (void) close(lock_fd);
    if (removed) directory->present_new = false;
    return removed;
}

static bool
sync_directory(const char *path, struct refusal *refusal)
{
    /* At this level the function logs and returns. A higher one could end the whole server. */
    if (fsync_fname_ext(path, true, false, LOG) == 0) return true;
    return refuse_errno(refusal, "sync", path);
}

static bool
sync_parent(const struct directory *directory, struct refusal *refusal)
{
    char parent[MAXPGPATH];
    strlcpy(parent, directory->path, sizeof(parent));
    get_parent_directory(parent);
    return sync_directory(parent, refusal);
}

bool
directory_sync_new(const struct directory *directory, struct refusal *refusal)
{
    return sync_directory(directory->path_new, refusal) && sync_parent(directory, refusal);
}

bool
directory_rename_new(struct directory *directory, struct refusal *refusal)
{
    assert(!directory->present);
    if (rename(directory->path_new, directory->path) != 0) {
        return refuse_errno(refusal, "rename", directory->path_new);
    }
    directory->present = true;
    directory->present_new = false;
    return sync_parent(directory, refusal);
}
