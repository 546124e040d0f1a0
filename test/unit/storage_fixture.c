/* SPDX-License-Identifier: PostgreSQL */
/* See storage_fixture.h. */
#include "unit/storage_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "unit/unit.h"

static const char *const disk_names[DISK_KIND_COUNT] = {
    "sim", "sync", "sync direct", "auto", "auto direct", "io_uring", "io_uring direct"};

const uint64_t disk_size_bytes[STORAGE_FILE_COUNT] = {
    [STORAGE_SUPERBLOCK] = 64 * KIB,
    [STORAGE_PREPARES] = 256 * KIB,
    [STORAGE_HEADERS] = 64 * KIB,
    [STORAGE_GRID] = GRID_SIZE,
};

struct item items[ITEMS_MAX];
_Alignas(SECTOR_SIZE) uint8_t buffers[ITEMS_MAX][ITEM_SIZE_MAX];
uint32_t done_count;
bool inside_submit;

bool
kind_direct(enum disk_kind kind)
{
    return kind == DISK_SYNC_DIRECT || kind == DISK_AUTO_DIRECT || kind == DISK_URING_DIRECT;
}

enum storage_os_method
kind_method(enum disk_kind kind)
{
    const bool sync = kind == DISK_SYNC || kind == DISK_SYNC_DIRECT;
    const bool choose = kind == DISK_AUTO || kind == DISK_AUTO_DIRECT;
    if (choose) return STORAGE_OS_AUTO;
    return sync ? STORAGE_OS_SYNC : STORAGE_OS_URING;
}

void
choice_teach(struct storage_choice *choice, enum storage_way faster)
{
    uint64_t now_ns = NS_PER_S;
    expect_equal(choice->rest, 0);
    for (uint32_t i = 0; i <= CHOICE_FIRST * 2 * CHOICE_TURN && choice->rest == 0; i++) {
        const uint64_t us = storage_choice_next(choice, now_ns, 1) == faster ? 50 : 100;
        storage_choice_measured(choice, us * NS_PER_US);
        now_ns += us * NS_PER_US;
    }
    expect_equal(choice->stats->way, faster);
    expect(choice->rest > 0);
}

void
directory_name(char *directory, size_t size)
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL) parent = access("build", W_OK) == 0 ? "build" : ".";
    (void) snprintf(directory, size, "%s/test_storage.XXXXXX", parent);
    if (mkdtemp(directory) == NULL || rmdir(directory) != 0) abort();
}

uint32_t
directory_entries(const char *directory, bool remove_them)
{
    DIR *dir = opendir(directory);
    if (dir == NULL) return 0;
    uint32_t count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        count += 1;
        if (remove_them) (void) unlinkat(dirfd(dir), entry->d_name, 0);
    }
    (void) closedir(dir);
    return count;
}

void
directory_remove(const char *directory)
{
    (void) directory_entries(directory, true);
    (void) rmdir(directory);
}

enum storage_os_error
disk_os_open(struct disk *disk, bool create)
{
    struct storage_os_options options = {
        .directory = disk->directory,
        .method = kind_method(disk->kind),
        .direct = kind_direct(disk->kind),
        .create = create,
    };
    memcpy(options.create_size_bytes, disk_size_bytes, sizeof(disk_size_bytes));
    const enum storage_os_error error = storage_os_open(&disk->os, &options, &disk->report);
    disk->storage = error == STORAGE_OS_OPENED ? disk->os.storage : NULL;
    if (disk->storage == NULL) return error;
    disk->storage->idle = true;
    if (options.method == STORAGE_OS_AUTO && disk->os.method == STORAGE_OS_URING) {
        choice_teach(storage_uring_choice(disk->os.uring), STORAGE_WAY_CALL);
    }
    return error;
}

bool
disk_open(struct disk *disk, enum disk_kind kind)
{
    memset(disk, 0, sizeof(*disk));
    memset(&hooks, 0, sizeof(hooks));
    disk->kind = kind;
    if (kind == DISK_SIM) {
        struct storage_sim_options options = {.latency_max_ticks = 5};
        memcpy(options.file_size_bytes, disk_size_bytes, sizeof(disk_size_bytes));
        prng_init(&disk->prng, 42);
        storage_sim_init(&disk->sim, &options, &disk->prng);
        disk->storage = &disk->sim.storage;
        return true;
    }
    directory_name(disk->directory, sizeof(disk->directory));
    const enum storage_os_error error = disk_os_open(disk, true);
    if (error == STORAGE_OS_NO_DIRECT || error == STORAGE_OS_NO_URING) {
        printf("%s: skipped on %s: %s\n", unit_current, disk_names[kind], disk->report.error_text);
        directory_remove(disk->directory);
        return false;
    }
    expect(error == STORAGE_OS_OPENED);
    if (error != STORAGE_OS_OPENED) printf("%s\n", disk->report.error_text);
    expect(disk->report.created);
    return error == STORAGE_OS_OPENED;
}

void
disk_close(struct disk *disk)
{
    if (disk->kind == DISK_SIM) {
        storage_sim_free(&disk->sim);
        return;
    }
    if (disk->storage != NULL) storage_os_close(&disk->os);
    directory_remove(disk->directory);
}

void
disk_reopen(struct disk *disk)
{
    if (disk->kind == DISK_SIM) {
        storage_sim_restart(&disk->sim);
        return;
    }
    storage_os_close(&disk->os);
    const enum storage_os_error error = disk_os_open(disk, false);
    expect(error == STORAGE_OS_OPENED);
    if (error != STORAGE_OS_OPENED) abort();
}

static bool
sim_breaks(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size)
{
    (void) context;
    (void) file;
    return offset_bytes + size > BROKEN_OFFSET;
}

void
disk_break(struct disk *disk)
{
    if (disk->kind != DISK_SIM) {
        limit_set(BROKEN_OFFSET);
        return;
    }
    disk->sim.options.fault_allowed = sim_breaks;
    disk->sim.options.write_error_per_million = 1000000;
}

void
disk_mend(struct disk *disk)
{
    limit_lift();
    disk->sim.options.write_error_per_million = 0;
}

void
on_kinds(disk_test *test, enum disk_kind first, enum disk_kind last)
{
    static struct disk disk;
    for (enum disk_kind kind = first; kind <= last; kind++) {
        if (!disk_open(&disk, kind)) continue;
        const int failed_before = unit_expectations_failed;
        test(&disk);
        if (unit_expectations_failed != failed_before) printf("… on %s\n", disk_names[kind]);
        disk_close(&disk);
    }
}

void
on_every_disk(disk_test *test)
{
    on_kinds(test, DISK_SIM, DISK_URING_DIRECT);
}

void
on_real_disks(disk_test *test)
{
    on_kinds(test, DISK_SYNC, DISK_URING_DIRECT);
}

void
item_on_done(struct storage_request *request)
{
    struct item *item = container_of(request, struct item, request);
    expect(!inside_submit);
    expect(!request->in_flight);
    expect(item->done_order == 0);
    done_count += 1;
    item->done_order = done_count;
}

void
items_reset(void)
{
    memset(items, 0, sizeof(items));
    done_count = 0;
}

struct storage_request *
item_prepare(
    uint32_t index,
    enum storage_direction direction,
    enum storage_file file,
    uint64_t offset_bytes,
    uint64_t size)
{
    assert(size <= ITEM_SIZE_MAX);
    items[index] = (struct item){
        .request =
            {
                .direction = direction,
                .file = file,
                .offset_bytes = offset_bytes,
                .size_bytes = size,
                .buffer = buffers[index],
                .callback = item_on_done,
            },
    };
    return &items[index].request;
}

void
submit(struct storage *storage, struct storage_request *request)
{
    inside_submit = true;
    request->solo = request->direction == STORAGE_WRITE;
    request->events = 1;
    storage_submit(storage, request);
    inside_submit = false;
}

void
submit_ordered(
    struct storage *storage, struct storage_request *first, struct storage_request *second)
{
    inside_submit = true;
    first->solo = true;
    first->events = 1;
    storage_submit_ordered(storage, first, second);
    inside_submit = false;
}

void
drain(struct storage *storage)
{
    while (storage->in_flight_count > 0) {
        expect(storage_wait(storage) > 0);
    }
    expect_equal(storage_poll(storage), 0);
}

void
pattern_fill(uint8_t *bytes, uint64_t size, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    for (uint64_t i = 0; i < size; i += sizeof(uint64_t)) {
        const uint64_t word = prng_next(&prng);
        memcpy(bytes + i, &word, sizeof(word));
    }
}

bool
pattern_is(const uint8_t *bytes, uint64_t size, uint64_t seed)
{
    static uint8_t wanted[ITEM_SIZE_MAX];
    pattern_fill(wanted, size, seed);
    return memcmp(bytes, wanted, size) == 0;
}

const uint8_t *
read_back(struct disk *disk, enum storage_file file, uint64_t offset_bytes, uint64_t size)
{
    static _Alignas(SECTOR_SIZE) uint8_t bytes[ITEM_SIZE_MAX];
    assert(size <= sizeof(bytes));
    const enum storage_result result =
        storage_transfer_now(disk->storage, STORAGE_READ, file, offset_bytes, bytes, size);
    expect(result == STORAGE_OK);
    return bytes;
}

struct storage_request *
gather_prepare(
    uint32_t index, uint32_t count, enum storage_file file, uint64_t offset_bytes, uint32_t size)
{
    struct storage_request *request =
        item_prepare(index, STORAGE_WRITE, file, offset_bytes, (uint64_t) count * size);
    for (uint32_t i = 0; i < count; i++) {
        items[index].gathered[i] = buffers[index + count - 1 - i];
        pattern_fill(items[index].gathered[i], size, index + i);
    }
    request->buffer = NULL;
    request->buffers = items[index].gathered;
    request->buffer_count = count;
    request->buffer_size_bytes = size;
    return request;
}

void
expect_gathered(
    struct disk *disk, const struct storage_request *write, uint32_t index, uint32_t count)
{
    const uint64_t size = write->buffer_size_bytes;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t offset_bytes = write->offset_bytes + i * size;
        expect(pattern_is(read_back(disk, write->file, offset_bytes, size), size, index + i));
        expect(pattern_is(write->buffers[i], size, index + i));
    }
}

void
expect_scattered(struct disk *disk, struct storage_request *request, uint32_t index)
{
    const uint32_t count = request->buffer_count;
    const uint64_t size = request->buffer_size_bytes;
    for (uint32_t i = 0; i < count; i++) {
        memset(request->buffers[i], 0xEE, size);
    }
    items[index].done_order = 0;
    request->direction = STORAGE_READ;
    request->solo = false;
    submit(disk->storage, request);
    expect_equal(disk->storage->in_flight_count, 1);
    drain(disk->storage);
    expect(request->result == STORAGE_OK);
    expect_equal(request->done_bytes, request->size_bytes);
    for (uint32_t i = 0; i < count; i++) {
        expect(pattern_is(request->buffers[i], size, index + i));
    }
}

void
round_trip(struct disk *disk)
{
    static const uint64_t sizes[] = {SECTOR_SIZE, 3 * SECTOR_SIZE, ITEM_SIZE_MAX};
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        expect_equal(disk->storage->file_size_bytes[file], disk_size_bytes[file]);
        expect(bytes_zero(read_back(disk, file, 0, 64 * KIB), 64 * KIB));
        for (uint64_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            const uint64_t offset_bytes = disk_size_bytes[file] - sizes[i];
            pattern_fill(buffers[0], sizes[i], i);
            const enum storage_result result = storage_transfer_now(
                disk->storage, STORAGE_WRITE, file, offset_bytes, buffers[0], sizes[i]);
            expect(result == STORAGE_OK);
            expect(pattern_is(buffers[0], sizes[i], i));
            expect(pattern_is(read_back(disk, file, offset_bytes, sizes[i]), sizes[i], i));
        }
    }
    disk_reopen(disk);
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        expect_equal(disk->storage->file_size_bytes[file], disk_size_bytes[file]);
        const uint64_t offset_bytes = disk_size_bytes[file] - ITEM_SIZE_MAX;
        expect(pattern_is(read_back(disk, file, offset_bytes, ITEM_SIZE_MAX), ITEM_SIZE_MAX, 2));
    }
}

void
pair_in_order(struct disk *disk)
{
    items_reset();
    for (uint32_t i = 0; i < 2; i++) {
        pattern_fill(buffers[i], 2 * SECTOR_SIZE, i);
    }
    struct storage_request *first =
        item_prepare(0, STORAGE_WRITE, STORAGE_PREPARES, 8 * SECTOR_SIZE, 2 * SECTOR_SIZE);
    struct storage_request *second =
        item_prepare(1, STORAGE_WRITE, STORAGE_HEADERS, SECTOR_SIZE, 2 * SECTOR_SIZE);
    submit_ordered(disk->storage, first, second);
    expect_equal(disk->storage->in_flight_count, 2);
    expect(first->in_flight && second->in_flight);
    drain(disk->storage);
    expect_equal(items[0].done_order, 1);
    expect_equal(items[1].done_order, 2);
    expect(first->result == STORAGE_OK && second->result == STORAGE_OK);
    const uint8_t *prepares = read_back(disk, STORAGE_PREPARES, 8 * SECTOR_SIZE, 2 * SECTOR_SIZE);
    expect(pattern_is(prepares, 2 * SECTOR_SIZE, 0));
    const uint8_t *headers = read_back(disk, STORAGE_HEADERS, SECTOR_SIZE, 2 * SECTOR_SIZE);
    expect(pattern_is(headers, 2 * SECTOR_SIZE, 1));
}

void
pair_first_fails(struct disk *disk)
{
    items_reset();
    pattern_fill(buffers[1], SECTOR_SIZE, 7);
    struct storage_request *first =
        item_prepare(0, STORAGE_WRITE, STORAGE_GRID, BROKEN_OFFSET, SECTOR_SIZE);
    struct storage_request *second =
        item_prepare(1, STORAGE_WRITE, STORAGE_HEADERS, 0, SECTOR_SIZE);
    disk_break(disk);
    submit_ordered(disk->storage, first, second);
    drain(disk->storage);
    expect_equal(items[0].done_order, 1);
    expect_equal(items[1].done_order, 2);
    expect(first->result == STORAGE_IO_ERROR);
    expect(second->result == STORAGE_IO_ERROR);

    /* An error is final for its request only. */
    items_reset();
    second = item_prepare(1, STORAGE_WRITE, STORAGE_PREPARES, 0, SECTOR_SIZE);
    submit(disk->storage, second);
    drain(disk->storage);
    expect(second->result == STORAGE_OK);
    disk_mend(disk);
    expect(bytes_zero(read_back(disk, STORAGE_HEADERS, 0, SECTOR_SIZE), SECTOR_SIZE));
    expect(pattern_is(read_back(disk, STORAGE_PREPARES, 0, SECTOR_SIZE), SECTOR_SIZE, 7));

    if (disk->kind == DISK_SIM) return;
    char text[256] = "";
    expect(storage_os_failure_text(&disk->os, text, sizeof(text)));
    expect(strstr(text, "could not write file \"grid\" at offset 524288: ") != NULL);
    expect(strstr(text, strerror(EFBIG)) != NULL);
}

int
in_child(void (*body)(struct disk *disk), struct disk *disk)
{
    (void) fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        body(disk);
        (void) fflush(NULL);
        _exit(unit_expectations_failed != 0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        continue;
    }
    return status;
}
