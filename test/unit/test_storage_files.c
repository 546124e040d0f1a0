/* SPDX-License-Identifier: PostgreSQL */
/*
 * The directory of the real disks: how it is created, locked and checked, and with which flags its
 * files are opened.
 */
#include "unit/storage_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "unit/unit.h"

static void
one_owner(struct disk *disk)
{
    static struct disk other;
    other = (struct disk){.kind = disk->kind};
    memcpy(other.directory, disk->directory, sizeof(other.directory));
    expect(disk_os_open(&other, true) == STORAGE_OS_LOCKED);
    expect(strstr(other.report.error_text, "in use by another process") != NULL);
    expect(strstr(other.report.error_text, disk->directory) != NULL);

    /* Data files are locked on their own too. */
    expect(unlinkat(disk->os.files.directory_fd, "lock", 0) == 0);
    expect(disk_os_open(&other, false) == STORAGE_OS_LOCKED);
    expect(strstr(other.report.error_text, "/superblock\" is in use") != NULL);

    storage_os_close(&disk->os);
    expect(disk_os_open(disk, false) == STORAGE_OS_OPENED);
}

UNIT_TEST(directory_has_one_owner) { on_kinds(one_owner, DISK_SYNC, DISK_SYNC); }

static void
open_flags(struct disk *disk)
{
    for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
        const int fd = disk->os.files.fds[i];
        const int flags = fcntl(fd, F_GETFL);
        expect((flags & O_DSYNC) != 0);
        expect(((flags & O_DIRECT) != 0) == kind_direct(disk->kind));
        expect((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        struct stat status;
        expect(fstat(fd, &status) == 0);
        expect_equal(status.st_mode & 0777, 0600);
        expect((uint64_t) status.st_blocks * 512 >= disk_size_bytes[i]);
    }
    const bool sync = kind_method(disk->kind) == STORAGE_OS_SYNC;
    expect(disk->report.method == (sync ? STORAGE_OS_SYNC : STORAGE_OS_URING));
}

UNIT_TEST(writes_are_durable_by_open_flags) { on_real_disks(open_flags); }

/* Pages of a file that are in the page cache. A file system that is nothing else has none. */
static uint32_t
cached_pages(int fd, uint64_t size)
{
    struct statfs status;
    expect(fstatfs(fd, &status) == 0);
    if (status.f_type == TMPFS_MAGIC) return 0;
    static unsigned char resident[GRID_SIZE / SECTOR_SIZE];
    assert(size <= GRID_SIZE);
    void *mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    expect(mapped != MAP_FAILED);
    if (mapped == MAP_FAILED) return 0;
    expect(mincore(mapped, size, resident) == 0);
    (void) munmap(mapped, size);
    uint32_t count = 0;
    for (uint64_t i = 0; i < size / SECTOR_SIZE; i++) count += resident[i] & 1;
    return count;
}

/*
 * What an earlier owner left in the page cache may not be what the disk holds: none of it is read.
 * And a sync that fails says so.
 */
static void
open_distrusts_cache(struct disk *disk)
{
    (void) read_back(disk, STORAGE_GRID, 0, ITEM_SIZE_MAX);
    hooks.drops = 0;
    disk_reopen(disk);
    expect_equal(hooks.drops, kind_direct(disk->kind) ? 0 : STORAGE_FILE_COUNT);
    if (!kind_direct(disk->kind)) {
        for (int i = 0; i < STORAGE_FILE_COUNT; i++) {
            expect_equal(cached_pages(disk->os.files.fds[i], disk_size_bytes[i]), 0);
        }
    }
    storage_os_close(&disk->os);
    hooks.fsync_errno = EIO;
    expect(disk_os_open(disk, false) == STORAGE_OS_FAILED);
    expect(strstr(disk->report.error_text, "could not fsync \"") != NULL);
    hooks.fsync_errno = 0;
    hooks.fadvise_errno = EIO;
    const bool refused = disk_os_open(disk, false) == STORAGE_OS_FAILED;
    expect(refused != kind_direct(disk->kind));
    hooks.fadvise_errno = 0;
    if (refused) expect(disk_os_open(disk, false) == STORAGE_OS_OPENED);
}

UNIT_TEST(opening_distrusts_the_page_cache) { on_real_disks(open_distrusts_cache); }

/* Opens an own directory that holds nothing yet. */
static void
absent_disk(struct disk *disk, enum disk_kind kind)
{
    memset(disk, 0, sizeof(*disk));
    memset(&hooks, 0, sizeof(hooks));
    disk->kind = kind;
    directory_name(disk->directory, sizeof(disk->directory));
}

static int
touch(const struct disk *disk, const char *name, const char *content)
{
    char path[512];
    (void) snprintf(path, sizeof(path), "%s/%s", disk->directory, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return -1;
    const ssize_t written = write(fd, content, strlen(content));
    (void) close(fd);
    return written == (ssize_t) strlen(content) ? 0 : -1;
}

UNIT_TEST(absent_directory_stays_absent)
{
    static struct disk disk;
    absent_disk(&disk, DISK_SYNC);
    expect(disk_os_open(&disk, false) == STORAGE_OS_ABSENT);
    expect_equal(disk.report.error_number, ENOENT);
    expect(access(disk.directory, F_OK) != 0);

    expect(mkdir(disk.directory, 0700) == 0);
    expect(disk_os_open(&disk, false) == STORAGE_OS_ABSENT);
    expect_equal(directory_entries(disk.directory, false), 0);

    /* Parents are not made. */
    strcat(disk.directory, "/a/b");
    expect(disk_os_open(&disk, true) == STORAGE_OS_FAILED);
    expect(strstr(disk.report.error_text, "could not create directory") != NULL);
    *strstr(disk.directory, "/a/b") = 0;
    directory_remove(disk.directory);
}

/* Another process takes what isn't locked yet for something that a crash has left. */
UNIT_TEST(directory_removed_while_it_is_made_is_in_use)
{
    static struct disk disk;
    absent_disk(&disk, DISK_SYNC);
    hooks.fsync_removes = disk.directory;
    expect(disk_os_open(&disk, true) == STORAGE_OS_LOCKED);
    expect(hooks.fsync_removes == NULL);
    expect(strstr(disk.report.error_text, "is in use by another process") != NULL);
    expect(access(disk.directory, F_OK) != 0);
    expect(disk_os_open(&disk, true) == STORAGE_OS_OPENED);
    disk_close(&disk);
}

UNIT_TEST(creation_without_space_leaves_nothing)
{
    static struct disk disk;
    for (int made_before = 0; made_before < 2; made_before++) {
        absent_disk(&disk, DISK_SYNC);
        if (made_before == 1) expect(mkdir(disk.directory, 0700) == 0);
        limit_set(GRID_SIZE - SECTOR_SIZE);
        expect(disk_os_open(&disk, true) == STORAGE_OS_NO_SPACE);
        limit_lift();
        expect(strstr(disk.report.error_text, "/grid\"") != NULL);
        expect(!disk.report.created);
        expect((access(disk.directory, F_OK) == 0) == (made_before == 1));
        /* The lock file may stay in a directory that is not ours to remove. */
        expect(directory_entries(disk.directory, false) <= 1);

        expect(disk_os_open(&disk, true) == STORAGE_OS_OPENED);
        expect(disk.report.created);
        disk_close(&disk);
    }
}

UNIT_TEST(unfinished_creation_is_done_again)
{
    static struct disk disk;
    absent_disk(&disk, DISK_SYNC);
    expect(mkdir(disk.directory, 0700) == 0);
    expect(touch(&disk, "superblock.new", "partial") == 0);
    expect(touch(&disk, "prepares.wal", "partial") == 0);
    expect(disk_os_open(&disk, false) == STORAGE_OS_ABSENT);
    expect(disk_os_open(&disk, true) == STORAGE_OS_OPENED);
    expect(disk.report.created);
    round_trip(&disk);
    expect_equal(directory_entries(disk.directory, false), 5);
    disk_close(&disk);
}

UNIT_TEST(missing_file_is_never_made_up_for)
{
    static struct disk disk;
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        if (!disk_open(&disk, DISK_SYNC)) return;
        expect(unlinkat(disk.os.files.directory_fd, storage_file_name(file), 0) == 0);
        storage_os_close(&disk.os);
        expect(disk_os_open(&disk, true) == STORAGE_OS_INCOMPLETE);
        expect(strstr(disk.report.error_text, storage_file_name(file)) != NULL);
        expect_equal(directory_entries(disk.directory, false), 4);
        disk_close(&disk);
    }
}

UNIT_TEST(existing_files_are_not_created_over)
{
    static struct disk disk;
    if (!disk_open(&disk, DISK_SYNC)) return;
    memset(buffers[0], 0x5A, SECTOR_SIZE);
    const enum storage_result result = storage_transfer_now(
        disk.storage, STORAGE_WRITE, STORAGE_SUPERBLOCK, 0, buffers[0], SECTOR_SIZE);
    expect(result == STORAGE_OK);
    storage_os_close(&disk.os);
    expect(disk_os_open(&disk, true) == STORAGE_OS_OPENED);
    expect(!disk.report.created);
    const uint8_t *bytes = read_back(&disk, STORAGE_SUPERBLOCK, 0, SECTOR_SIZE);
    expect(memcmp(bytes, buffers[0], SECTOR_SIZE) == 0);
    disk_close(&disk);
}

static uint32_t asked;
static uint32_t asked_max;

static bool
shall_end(void)
{
    asked += 1;
    return asked > asked_max;
}

/* Wherever a creation is ended, it leaves nothing, and the next one begins from nothing. */
UNIT_TEST(creation_ends_where_it_is_told_to)
{
    static struct disk disk;
    if (!disk_open(&disk, DISK_SYNC)) return;
    storage_os_close(&disk.os);
    directory_remove(disk.directory);
    const struct storage_os_options ending = {
        .directory = disk.directory,
        .method = STORAGE_OS_SYNC,
        .direct = kind_direct(disk.kind),
        .create = true,
        .create_size_bytes = {MIB, 3 * MIB, 2 * MIB, 0},
        .create_shall_end = shall_end,
    };
    struct stat status;
    enum storage_os_error error = STORAGE_OS_ENDED;
    for (asked_max = 0; error == STORAGE_OS_ENDED; asked_max++) {
        asked = 0;
        error = storage_os_open(&disk.os, &ending, &disk.report);
        if (error != STORAGE_OS_ENDED) break;
        expect(strstr(disk.report.error_text, "was being made when") != NULL);
        expect(stat(disk.directory, &status) != 0 && errno == ENOENT);
    }
    expect_equal(error, STORAGE_OS_OPENED);
    expect_equal(asked_max, 6); /* Once for each megabyte. */
    disk_close(&disk);
}

UNIT_TEST(odd_files_are_reported)
{
    static struct disk disk;
    if (!disk_open(&disk, DISK_SYNC)) return;
    const int directory_fd = dup(disk.os.files.directory_fd);
    expect(ftruncate(disk.os.files.fds[STORAGE_GRID], 5 * SECTOR_SIZE + 1000) == 0);
    disk_reopen(&disk);
    expect_equal(disk.storage->file_size_bytes[STORAGE_GRID], 5 * SECTOR_SIZE);
    storage_os_close(&disk.os);

    expect(unlinkat(directory_fd, "grid", 0) == 0);
    expect(mkdirat(directory_fd, "grid", 0700) == 0);
    expect(disk_os_open(&disk, false) == STORAGE_OS_FAILED);
    expect(strstr(disk.report.error_text, "could not open \"") != NULL);
    expect(unlinkat(directory_fd, "grid", AT_REMOVEDIR) == 0);
    (void) close(directory_fd);
    disk_close(&disk);
}

UNIT_MAIN(test_storage_files)
