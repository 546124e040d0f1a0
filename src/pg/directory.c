/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/directory.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"

#include "pg/refusal.h"
#include "pg/settings.h"

static bool
refuse_errno(struct refusal *refusal, const char *what, const char *path)
{
    const int error = errno;
    refusal_message(refusal, "could not %s \"%s\": %s", what, path, strerror(error));
    refusal_hint(
        refusal,
        "%s",
        error == ENOSPC ? "Make room in the file system, then reload the configuration."
                        : "The operating system user of PostgreSQL must be able to make and use "
                          "ledger.data_directory.");
    return false;
}

/* Present (a directory), absent, or a refusal. */
static bool
look(const char *path, bool *present, struct refusal *refusal)
{
    struct stat status;
    *present = false;
    if (stat(path, &status) != 0) {
        return errno == ENOENT ? true : refuse_errno(refusal, "look at", path);
    }
    *present = S_ISDIR(status.st_mode);
    if (*present) return true;
    errno = ENOTDIR;
    return refuse_errno(refusal, "use", path);
}

/* Symbolic links resolved. A directory that doesn't exist yet is where its parent is. */
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
 * Inside PGDATA, pg_basebackup would copy the files torn, and pg_rewind would delete or overwrite
 * them.
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
        "In \"%s\", pg_basebackup would copy the ledger's files torn, and pg_rewind would delete "
        "them.",
        resolved_pgdata);
    refusal_hint(
        refusal,
        "Set ledger.data_directory to a directory beside it, for example \"%s-ledger\", and "
        "restart the server.",
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

/*
 * Only the files that it may hold are removed: if there are others, it is not ours, and rmdir
 * refuses.
 */
bool
directory_remove_new(struct directory *directory, struct refusal *refusal)
{
    static const char *const names[] = {
        "superblock.new", "superblock", "prepares.wal", "headers.wal", "grid", "lock"};
    assert(!directory->present);
    if (!directory->present_new) return true;
    for (size_t i = 0; i < lengthof(names); i++) {
        char path[2 * MAXPGPATH];
        snprintf(path, sizeof(path), "%s/%s", directory->path_new, names[i]);
        if (unlink(path) != 0 && errno != ENOENT) return refuse_errno(refusal, "remove", path);
    }
    if (rmdir(directory->path_new) != 0) {
        return refuse_errno(refusal, "remove", directory->path_new);
    }
    directory->present_new = false;
    return true;
}

static bool
sync_directory(const char *path, struct refusal *refusal)
{
    /* The function logs at this level and returns; higher ones could end the whole server. */
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
