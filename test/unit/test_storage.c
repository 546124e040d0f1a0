/* SPDX-License-Identifier: PostgreSQL */
/* The contract of io/storage.h, run against each implementation of it. */
#include "unit/storage_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "unit/unit.h"

UNIT_TEST(what_was_written_is_read) { on_every_disk(round_trip); }

UNIT_TEST(pair_completes_in_order) { on_every_disk(pair_in_order); }

UNIT_TEST(second_is_not_started_if_first_fails) { on_every_disk(pair_first_fails); }

static void
pair_second_fails(struct disk *disk)
{
    items_reset();
    pattern_fill(buffers[0], SECTOR_SIZE, 7);
    struct storage_request *first = item_prepare(0, STORAGE_WRITE, STORAGE_HEADERS, 0, SECTOR_SIZE);
    struct storage_request *second =
        item_prepare(1, STORAGE_WRITE, STORAGE_GRID, BROKEN_OFFSET, SECTOR_SIZE);
    disk_break(disk);
    submit_ordered(disk->storage, first, second);
    drain(disk->storage);
    disk_mend(disk);
    expect(first->result == STORAGE_OK);
    expect(second->result == STORAGE_IO_ERROR);
    expect_equal(items[0].done_order, 1);
    expect(pattern_is(read_back(disk, STORAGE_HEADERS, 0, SECTOR_SIZE), SECTOR_SIZE, 7));
}

UNIT_TEST(second_may_fail_alone) { on_every_disk(pair_second_fails); }

/* Twice as many requests as the ring has entries, pairs among them; then all are read back. */
static void
many_in_flight(struct disk *disk)
{
    enum { COUNT = 240 };
    items_reset();
    for (uint32_t i = 0; i < COUNT; i++) {
        pattern_fill(buffers[i], SECTOR_SIZE, i);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        (void) item_prepare(i, STORAGE_WRITE, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE);
    }
    for (uint32_t i = 0; i < COUNT;) {
        if (i % 3 == 0) {
            submit_ordered(disk->storage, &items[i].request, &items[i + 1].request);
            i += 2;
        } else {
            submit(disk->storage, &items[i].request);
            i += 1;
        }
    }
    expect_equal(disk->storage->in_flight_count, COUNT);
    drain(disk->storage);
    expect_equal(done_count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        expect(items[i].request.result == STORAGE_OK);
        if (i % 3 == 0) expect(items[i].done_order < items[i + 1].done_order);
    }
    items_reset();
    memset(buffers, 0, (size_t) COUNT * ITEM_SIZE_MAX);
    for (uint32_t i = 0; i < COUNT; i++) {
        submit(
            disk->storage,
            item_prepare(i, STORAGE_READ, STORAGE_GRID, i * SECTOR_SIZE, SECTOR_SIZE));
        if (i % 64 == 63) expect(storage_poll(disk->storage) <= i + 1);
    }
    drain(disk->storage);
    for (uint32_t i = 0; i < COUNT; i++) {
        expect(items[i].request.result == STORAGE_OK);
        expect(pattern_is(buffers[i], SECTOR_SIZE, i));
    }
}

UNIT_TEST(u1_more_requests_than_the_ring_holds) { on_every_disk(many_in_flight); }

/* Each number of buffers, of one sector and of several; and what lies around them stays. */
static void
gather_round_trip(struct disk *disk)
{
    static const uint32_t sizes[] = {SECTOR_SIZE, 4 * SECTOR_SIZE};
    uint64_t offset_bytes = SECTOR_SIZE;
    for (uint32_t count = 1; count <= STORAGE_BUFFERS_MAX; count++) {
        for (uint32_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            items_reset();
            struct storage_request *write =
                gather_prepare(7, count, STORAGE_GRID, offset_bytes, sizes[i]);
            const uint64_t end_bytes = offset_bytes + write->size_bytes;
            submit(disk->storage, write);
            expect_equal(disk->storage->in_flight_count, 1);
            drain(disk->storage);
            expect(write->result == STORAGE_OK);
            expect_equal(write->done_bytes, write->size_bytes);
            expect_gathered(disk, write, 7, count);
            expect(bytes_zero(
                read_back(disk, STORAGE_GRID, offset_bytes - SECTOR_SIZE, SECTOR_SIZE),
                SECTOR_SIZE));
            expect(bytes_zero(read_back(disk, STORAGE_GRID, end_bytes, SECTOR_SIZE), SECTOR_SIZE));
            expect_scattered(disk, write, 7);
            offset_bytes = end_bytes + SECTOR_SIZE;
        }
    }
}

UNIT_TEST(buffers_are_gathered_and_scattered_in_order) { on_every_disk(gather_round_trip); }

/* More than the ring has entries, of any count, some in pairs: none takes another's pieces. */
static void
gather_many(struct disk *disk)
{
    enum { COUNT = 200, STRIDE = STORAGE_BUFFERS_MAX };
    static struct item gathers[COUNT];
    items_reset();
    memset(gathers, 0, sizeof(gathers));
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t count = 1 + i % STORAGE_BUFFERS_MAX;
        const enum storage_file file = STORAGE_GRID;
        const uint64_t offset_bytes = (uint64_t) i * STRIDE * SECTOR_SIZE;
        gathers[i].request = *gather_prepare(0, count, file, offset_bytes, SECTOR_SIZE);
        for (uint32_t piece = 0; piece < count; piece++) {
            gathers[i].gathered[piece] = buffers[(i * 7 + piece * 3) % ITEMS_MAX];
        }
        gathers[i].request.buffers = gathers[i].gathered;
    }
    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        pattern_fill(buffers[i], SECTOR_SIZE, i);
    }
    expect(storage_grow(disk->storage, STORAGE_GRID, 4 * GRID_SIZE) == STORAGE_OK);
    for (uint32_t i = 0; i < COUNT; i += 2) {
        if (i % 3 == 0) {
            submit_ordered(disk->storage, &gathers[i].request, &gathers[i + 1].request);
            continue;
        }
        submit(disk->storage, &gathers[i].request);
        submit(disk->storage, &gathers[i + 1].request);
    }
    drain(disk->storage);
    for (uint32_t i = 0; i < COUNT; i++) {
        expect(gathers[i].request.result == STORAGE_OK);
        for (uint32_t piece = 0; piece < gathers[i].request.buffer_count; piece++) {
            const uint64_t at = gathers[i].request.offset_bytes + piece * SECTOR_SIZE;
            const uint8_t *bytes = read_back(disk, STORAGE_GRID, at, SECTOR_SIZE);
            expect(pattern_is(bytes, SECTOR_SIZE, (i * 7 + piece * 3) % ITEMS_MAX));
        }
    }
}

UNIT_TEST(u2_gathered_writes_keep_apart) { on_every_disk(gather_many); }

static void
gather_fails(struct disk *disk)
{
    items_reset();
    struct storage_request *first = gather_prepare(0, 2, STORAGE_GRID, BROKEN_OFFSET, SECTOR_SIZE);
    struct storage_request *second = gather_prepare(2, 2, STORAGE_PREPARES, 0, SECTOR_SIZE);
    disk_break(disk);
    submit_ordered(disk->storage, first, second);
    drain(disk->storage);
    disk_mend(disk);
    expect(first->result == STORAGE_IO_ERROR);
    expect(second->result == STORAGE_IO_ERROR);
    expect(bytes_zero(read_back(disk, STORAGE_PREPARES, 0, 2 * SECTOR_SIZE), 2 * SECTOR_SIZE));
}

UNIT_TEST(gathered_writes_may_fail) { on_every_disk(gather_fails); }

static struct storage *chain_storage;
static uint32_t chain_left;

static void
chain_on_done(struct storage_request *request)
{
    expect(!inside_submit);
    expect(request->result == STORAGE_OK);
    if (chain_left == 0) return;
    chain_left -= 1;
    request->offset_bytes = chain_left * SECTOR_SIZE;
    submit(chain_storage, request);
    expect(request->in_flight);
}

/* A callback submits the next; a poll never goes round for ever on what its callbacks submit. */
static void
submit_in_callback(struct disk *disk)
{
    items_reset();
    struct storage_request *request = item_prepare(0, STORAGE_WRITE, STORAGE_GRID, 0, SECTOR_SIZE);
    request->callback = chain_on_done;
    chain_storage = disk->storage;
    chain_left = 20;
    submit(disk->storage, request);
    uint32_t callbacks = 0;
    while (request->in_flight) {
        const uint32_t completed = storage_wait(disk->storage);
        expect_equal(completed, 1);
        callbacks += completed;
    }
    expect_equal(callbacks, 21);
}

UNIT_TEST(callbacks_may_submit) { on_every_disk(submit_in_callback); }

static void
grow_file(struct disk *disk)
{
    struct storage *storage = disk->storage;
    const uint64_t size_new = GRID_SIZE + 32 * SECTOR_SIZE;
    expect(storage_grow(storage, STORAGE_GRID, GRID_SIZE) == STORAGE_OK);
    expect(storage_grow(storage, STORAGE_GRID, size_new) == STORAGE_OK);
    expect(bytes_zero(read_back(disk, STORAGE_GRID, GRID_SIZE, 64 * KIB), 64 * KIB));
    hooks.fallocate_unsupported = true;
    expect(storage_grow(storage, STORAGE_GRID, 2 * GRID_SIZE + SECTOR_SIZE) == STORAGE_OK);
    hooks.fallocate_unsupported = false;
    expect(bytes_zero(read_back(disk, STORAGE_GRID, 2 * GRID_SIZE, SECTOR_SIZE), SECTOR_SIZE));

    pattern_fill(buffers[0], SECTOR_SIZE, 5);
    const enum storage_result result = storage_transfer_now(
        storage, STORAGE_WRITE, STORAGE_GRID, 2 * GRID_SIZE, buffers[0], SECTOR_SIZE);
    expect(result == STORAGE_OK);
    disk_reopen(disk);
    expect_equal(disk->storage->file_size_bytes[STORAGE_GRID], 2 * GRID_SIZE + SECTOR_SIZE);
    expect(pattern_is(read_back(disk, STORAGE_GRID, 2 * GRID_SIZE, SECTOR_SIZE), SECTOR_SIZE, 5));
}

UNIT_TEST(files_grow) { on_every_disk(grow_file); }

static void
grow_without_space(struct disk *disk)
{
    struct storage *storage = disk->storage;
    for (int fallback = 0; fallback < 2; fallback++) {
        hooks.fallocate_unsupported = fallback == 1;
        limit_set(GRID_SIZE + SECTOR_SIZE);
        disk->sim.options.space_limit_bytes = GRID_SIZE;
        expect(storage_grow(storage, STORAGE_GRID, 2 * GRID_SIZE) == STORAGE_NO_SPACE);
        limit_lift();
        disk->sim.options.space_limit_bytes = 0;
        hooks.fallocate_unsupported = false;

        expect_equal(storage->file_size_bytes[STORAGE_GRID], GRID_SIZE);
        disk_reopen(disk);
        storage = disk->storage;
        expect_equal(storage->file_size_bytes[STORAGE_GRID], GRID_SIZE);
    }
    expect(storage_grow(storage, STORAGE_GRID, 2 * GRID_SIZE) == STORAGE_OK);
    expect(bytes_zero(read_back(disk, STORAGE_GRID, GRID_SIZE, 64 * KIB), 64 * KIB));
}

UNIT_TEST(growth_that_does_not_fit_changes_nothing) { on_every_disk(grow_without_space); }

static void
submit_unaligned(struct disk *disk)
{
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    struct storage_request *write =
        item_prepare(0, STORAGE_WRITE, STORAGE_GRID, SECTOR_SIZE / 2, SECTOR_SIZE);
    storage_submit(disk->storage, write);
}

static void
submit_beyond_end(struct disk *disk)
{
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    struct storage_request *write =
        item_prepare(0, STORAGE_WRITE, STORAGE_GRID, GRID_SIZE, SECTOR_SIZE);
    storage_submit(disk->storage, write);
}

static void
submit_unaligned_piece(struct disk *disk)
{
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    struct storage_request *write = gather_prepare(0, 2, STORAGE_GRID, 0, SECTOR_SIZE);
    items[0].gathered[1] = buffers[5] + SECTOR_SIZE / 2;
    storage_submit(disk->storage, write);
}

static void
broken_contract(struct disk *disk)
{
    const int piece = in_child(submit_unaligned_piece, disk);
    expect(WIFSIGNALED(piece) && WTERMSIG(piece) == SIGABRT);
    const int unaligned = in_child(submit_unaligned, disk);
    expect(WIFSIGNALED(unaligned) && WTERMSIG(unaligned) == SIGABRT);
    const int beyond = in_child(submit_beyond_end, disk);
    expect(WIFSIGNALED(beyond) && WTERMSIG(beyond) == SIGABRT);
}

UNIT_TEST(contract_is_asserted) { on_kinds(broken_contract, DISK_SIM, DISK_SYNC); }

UNIT_MAIN(test_storage)
