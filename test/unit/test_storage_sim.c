/* SPDX-License-Identifier: PostgreSQL */
/* The simulated disk does what its header says: crashes, faults, determinism. */
#include "unit/storage_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "unit/unit.h"

#define SECTORS 4
#define EXTENT  (SECTORS * SECTOR_SIZE)

static struct disk disk;

static struct storage_sim *
sim_open(uint64_t seed)
{
    (void) disk_open(&disk, DISK_SIM);
    prng_init(&disk.prng, seed);
    items_reset();
    return &disk.sim;
}

/* Prepares a write of `index`'s pattern to extent `extent` of the file. */
static struct storage_request *
write_extent(uint32_t index, enum storage_file file, uint64_t extent)
{
    pattern_fill(buffers[index], EXTENT, index);
    return item_prepare(index, STORAGE_WRITE, file, extent * EXTENT, EXTENT);
}

static const uint8_t *
extent_bytes(enum storage_file file, uint64_t extent)
{
    return storage_sim_bytes(&disk.sim, file) + extent * EXTENT;
}

/* Determinism ---------------------------------------------------------------------------------- */

static u128
random_run(uint64_t seed)
{
    struct storage_sim *sim = sim_open(seed);
    sim->options.latency_max_ticks = 10;
    sim->options.write_error_per_million = 50000;
    sim->options.lost_write_per_million = 50000;
    sim->options.misdirected_write_per_million = 50000;
    sim->options.latent_error_per_million = 50000;
    sim->options.rot_per_million = 50000;
    for (uint32_t round = 0; round < 50; round++) {
        if (round % 5 == 4) storage_sim_crash_after(sim, prng_range(&disk.prng, 1, 40));
        for (uint32_t i = 0; i < 32; i += 2) {
            struct storage_request *first = write_extent(i, STORAGE_GRID, i);
            struct storage_request *second = write_extent(i + 1, STORAGE_GRID, i + 1);
            if (i % 3 == 0) first->direction = STORAGE_READ;
            if (i % 3 == 1) {
                storage_submit_ordered(disk.storage, first, second);
            } else {
                storage_submit(disk.storage, first);
                storage_submit(disk.storage, second);
            }
        }
        if (round % 10 == 9 && sim->crashed) {
            storage_sim_restart(sim);
            continue;
        }
        drain(disk.storage);
        storage_sim_restart(sim);
    }
    expect(sim->counters.writes > 0 && sim->counters.reads > 0 && sim->counters.crashes > 0);
    expect(sim->counters.write_errors > 0 && sim->counters.lost_writes > 0);
    expect(sim->counters.misdirected_writes > 0 && sim->counters.latent_errors > 0);
    expect(sim->counters.rots > 0);
    const u128 trace_hash = sim->trace_hash;
    disk_close(&disk);
    return trace_hash;
}

UNIT_TEST(same_seed_gives_same_trace)
{
    const u128 trace_hash = random_run(1);
    expect(random_run(1) == trace_hash);
    expect(random_run(2) != trace_hash);
}

UNIT_TEST(completion_order_is_free)
{
    bool in_order = false;
    bool out_of_order = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        (void) sim_open(seed);
        for (uint32_t i = 0; i < 2; i++) {
            storage_submit(disk.storage, write_extent(i, STORAGE_GRID, i));
        }
        drain(disk.storage);
        if (items[0].done_order == 1) in_order = true;
        if (items[0].done_order == 2) out_of_order = true;
        disk_close(&disk);
    }
    expect(in_order && out_of_order);
}

UNIT_TEST(time_passes_by_ticks_and_waits_only)
{
    struct storage_sim *sim = sim_open(1);
    sim->options.latency_min_ticks = 3;
    sim->options.latency_max_ticks = 3;
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    for (int i = 0; i < 3; i++) {
        expect_equal(storage_poll(disk.storage), 0);
        expect(bytes_zero(extent_bytes(STORAGE_GRID, 0), EXTENT));
        storage_sim_tick(sim);
    }
    expect_equal(storage_poll(disk.storage), 1);
    expect(pattern_is(extent_bytes(STORAGE_GRID, 0), EXTENT, 0));
    storage_submit(disk.storage, write_extent(1, STORAGE_GRID, 1));
    expect_equal(storage_wait(disk.storage), 1);
    expect_equal(sim->tick, 6);
    disk_close(&disk);
}

/* Crash ---------------------------------------------------------------------------------------- */

enum sector_state { SECTOR_OLD, SECTOR_NEW, SECTOR_OTHER };

static enum sector_state
sector_state(uint32_t index, enum storage_file file, uint64_t extent, uint32_t sector)
{
    const uint8_t *bytes = extent_bytes(file, extent) + sector * SECTOR_SIZE;
    if (bytes_zero(bytes, SECTOR_SIZE)) return SECTOR_OLD;
    if (memcmp(bytes, buffers[index] + sector * SECTOR_SIZE, SECTOR_SIZE) == 0) return SECTOR_NEW;
    return SECTOR_OTHER;
}

static bool
extent_is_all(uint32_t index, enum storage_file file, uint64_t extent, enum sector_state state)
{
    for (uint32_t sector = 0; sector < SECTORS; sector++) {
        if (sector_state(index, file, extent, sector) != state) return false;
    }
    return true;
}

/*
 * A pair has four events: each part's start and completion. Whichever is cut: what was acknowledged
 * is there, and nothing of the second is there unless all of the first is.
 */
UNIT_TEST(crash_keeps_what_was_acknowledged_and_the_order_of_pairs)
{
    uint32_t states_seen[3] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        for (uint64_t event = 1; event <= 5; event++) {
            struct storage_sim *sim = sim_open(seed);
            storage_sim_crash_after(sim, event);
            storage_submit_ordered(
                disk.storage,
                write_extent(0, STORAGE_PREPARES, 1),
                write_extent(1, STORAGE_HEADERS, 1));
            drain(disk.storage);
            expect(sim->crashed == (event <= 4));
            const bool first_ok = items[0].request.result == STORAGE_OK;
            const bool second_ok = items[1].request.result == STORAGE_OK;
            expect(first_ok == (event >= 3));
            expect(second_ok == (event == 5));
            expect(items[0].done_order == 1 && items[1].done_order == 2);

            const bool second_untouched = extent_is_all(1, STORAGE_HEADERS, 1, SECTOR_OLD);
            if (first_ok) expect(extent_is_all(0, STORAGE_PREPARES, 1, SECTOR_NEW));
            if (second_ok) expect(extent_is_all(1, STORAGE_HEADERS, 1, SECTOR_NEW));
            if (event <= 2) expect(second_untouched);
            for (uint32_t sector = 0; sector < SECTORS; sector++) {
                states_seen[sector_state(0, STORAGE_PREPARES, 1, sector)] += 1;
            }
            /* Neighbours are as they were. */
            expect(bytes_zero(extent_bytes(STORAGE_PREPARES, 0), EXTENT));
            expect(bytes_zero(extent_bytes(STORAGE_PREPARES, 2), EXTENT));
            disk_close(&disk);
        }
    }
    expect(states_seen[SECTOR_OLD] > 100 && states_seen[SECTOR_NEW] > 100);
    expect(states_seen[SECTOR_OTHER] > 50);
}

/* Every piece of a torn sector is new or old, or, more rarely, garbage. */
UNIT_TEST(crash_tears_sectors)
{
    uint32_t torn = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct storage_sim *sim = sim_open(seed);
        storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
        storage_sim_crash_now(sim);
        uint32_t pieces_old = 0;
        uint32_t pieces_new = 0;
        for (uint64_t piece = 0; piece < SECTOR_SIZE; piece += 512) {
            const uint8_t *bytes = extent_bytes(STORAGE_GRID, 0) + piece;
            if (bytes_zero(bytes, 512)) pieces_old += 1;
            if (memcmp(bytes, buffers[0] + piece, 512) == 0) pieces_new += 1;
        }
        if (pieces_old > 0 && pieces_new > 0) torn += 1;
        storage_sim_restart(sim);
        disk_close(&disk);
    }
    expect(torn > 10);
}

/* The same crash, error or misdirection, whichever buffers the bytes come from. */
UNIT_TEST(gathered_writes_are_torn_like_plain_ones)
{
    static uint8_t plain[GRID_SIZE];
    uint32_t states_seen[3] = {0};
    uint32_t misdirected = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        for (uint32_t gathers = 0; gathers < 2; gathers++) {
            struct storage_sim *sim = sim_open(seed);
            if (seed % 4 == 1) sim->options.write_error_per_million = 1000000;
            if (seed % 4 == 2) sim->options.misdirected_write_per_million = 1000000;
            struct storage_request *write = write_extent(0, STORAGE_GRID, 0);
            for (uint32_t i = 0; i < SECTORS && gathers == 1; i++) {
                items[0].gathered[i] = buffers[1 + 2 * i];
                memcpy(items[0].gathered[i], buffers[0] + i * SECTOR_SIZE, SECTOR_SIZE);
                write->buffer = NULL;
                write->buffers = items[0].gathered;
                write->buffer_count = SECTORS;
                write->buffer_size_bytes = SECTOR_SIZE;
            }
            storage_submit(disk.storage, write);
            if (seed % 4 == 0) {
                storage_sim_crash_now(sim);
            } else {
                drain(disk.storage);
            }
            misdirected += (uint32_t) sim->counters.misdirected_writes;
            for (uint32_t sector = 0; sector < SECTORS; sector++) {
                states_seen[sector_state(0, STORAGE_GRID, 0, sector)] += 1;
            }
            const uint8_t *bytes = storage_sim_bytes(sim, STORAGE_GRID);
            if (gathers == 0) memcpy(plain, bytes, GRID_SIZE);
            if (gathers == 1) expect(memcmp(plain, bytes, GRID_SIZE) == 0);
            if (sim->crashed) storage_sim_restart(sim);
            disk_close(&disk);
        }
    }
    expect(states_seen[SECTOR_OLD] > 0 && states_seen[SECTOR_NEW] > 0);
    expect(states_seen[SECTOR_OTHER] > 0);
    expect(misdirected > 100);
}

UNIT_TEST(crash_answers_errors_until_restart)
{
    struct storage_sim *sim = sim_open(3);
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    drain(disk.storage);
    storage_sim_crash_now(sim);
    storage_submit(disk.storage, write_extent(1, STORAGE_GRID, 1));
    storage_submit(disk.storage, item_prepare(2, STORAGE_READ, STORAGE_GRID, 0, EXTENT));
    drain(disk.storage);
    expect(items[1].request.result == STORAGE_IO_ERROR);
    expect(items[2].request.result == STORAGE_IO_ERROR);
    expect(storage_grow(disk.storage, STORAGE_GRID, 2 * GRID_SIZE) == STORAGE_IO_ERROR);

    /* What is in flight at the restart is never looked at again. */
    storage_submit(disk.storage, write_extent(3, STORAGE_GRID, 2));
    memset(items, 0xEE, sizeof(items));
    storage_sim_restart(sim);
    expect_equal(disk.storage->in_flight_count, 0);
    expect_equal(disk.storage->file_size_bytes[STORAGE_GRID], GRID_SIZE);
    expect(pattern_is(read_back(&disk, STORAGE_GRID, 0, EXTENT), EXTENT, 0));
    expect(bytes_zero(read_back(&disk, STORAGE_GRID, EXTENT, 2 * EXTENT), 2 * EXTENT));
    disk_close(&disk);
}

UNIT_TEST(crash_cuts_growth_anywhere)
{
    bool between = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct storage_sim *sim = sim_open(seed);
        storage_sim_crash_after(sim, 1);
        expect(storage_grow(disk.storage, STORAGE_GRID, 2 * GRID_SIZE) == STORAGE_IO_ERROR);
        expect_equal(disk.storage->file_size_bytes[STORAGE_GRID], GRID_SIZE);
        storage_sim_restart(sim);
        const uint64_t size = disk.storage->file_size_bytes[STORAGE_GRID];
        expect(size >= GRID_SIZE && size <= 2 * GRID_SIZE && size % SECTOR_SIZE == 0);
        if (size > GRID_SIZE && size < 2 * GRID_SIZE) between = true;
        disk_close(&disk);
    }
    expect(between);
}

UNIT_TEST(planned_crash_can_be_taken_back)
{
    struct storage_sim *sim = sim_open(1);
    storage_sim_crash_after(sim, 1);
    storage_sim_crash_after(sim, 0);
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    drain(disk.storage);
    expect(!sim->crashed && items[0].request.result == STORAGE_OK);
    disk_close(&disk);
}

/* Faults --------------------------------------------------------------------------------------- */

UNIT_TEST(latent_error_stays_until_overwritten)
{
    struct storage_sim *sim = sim_open(1);
    storage_sim_latent_error(sim, STORAGE_GRID, EXTENT + SECTOR_SIZE, 1);
    expect(storage_sim_faulty(sim, STORAGE_GRID, EXTENT, EXTENT));
    expect(!storage_sim_faulty(sim, STORAGE_GRID, EXTENT, SECTOR_SIZE));
    for (int i = 0; i < 2; i++) {
        storage_submit(disk.storage, item_prepare(0, STORAGE_READ, STORAGE_GRID, EXTENT, EXTENT));
        drain(disk.storage);
        expect(items[0].request.result == STORAGE_IO_ERROR);
        items_reset();
    }
    expect(bytes_zero(read_back(&disk, STORAGE_GRID, EXTENT, SECTOR_SIZE), SECTOR_SIZE));
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 1));
    drain(disk.storage);
    expect(pattern_is(read_back(&disk, STORAGE_GRID, EXTENT, EXTENT), EXTENT, 0));
    expect(!storage_sim_faulty(sim, STORAGE_GRID, EXTENT, EXTENT));
    disk_close(&disk);
}

UNIT_TEST(rot_changes_every_sector_that_it_touches)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct storage_sim *sim = sim_open(seed);
        storage_sim_rot(sim, STORAGE_GRID, SECTOR_SIZE - 1, SECTOR_SIZE + 2);
        const uint8_t *bytes = storage_sim_bytes(sim, STORAGE_GRID);
        expect(bytes_zero(bytes, SECTOR_SIZE - 1));
        expect(!bytes_zero(bytes + SECTOR_SIZE - 1, 1));
        expect(!bytes_zero(bytes + SECTOR_SIZE, SECTOR_SIZE));
        expect(!bytes_zero(bytes + 2 * SECTOR_SIZE, 1));
        expect(bytes_zero(bytes + 2 * SECTOR_SIZE + 1, SECTOR_SIZE - 1));
        expect_equal(sim->counters.rots, 3);
        expect(storage_sim_faulty(sim, STORAGE_GRID, 2 * SECTOR_SIZE, SECTOR_SIZE));
        disk_close(&disk);
    }
}

UNIT_TEST(lost_write_is_acknowledged)
{
    struct storage_sim *sim = sim_open(1);
    sim->options.lost_write_per_million = 1000000;
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    drain(disk.storage);
    expect(items[0].request.result == STORAGE_OK);
    expect(bytes_zero(extent_bytes(STORAGE_GRID, 0), EXTENT));
    expect(storage_sim_faulty(sim, STORAGE_GRID, 0, EXTENT));
    disk_close(&disk);
}

UNIT_TEST(misdirected_write_lands_elsewhere_in_the_file)
{
    struct storage_sim *sim = sim_open(1);
    sim->options.misdirected_write_per_million = 1000000;
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    drain(disk.storage);
    expect(items[0].request.result == STORAGE_OK);
    expect(bytes_zero(extent_bytes(STORAGE_GRID, 0), EXTENT));
    expect(storage_sim_faulty(sim, STORAGE_GRID, 0, SECTOR_SIZE));
    uint32_t places = 0;
    for (uint64_t offset = EXTENT; offset + EXTENT <= GRID_SIZE; offset += SECTOR_SIZE) {
        if (!pattern_is(storage_sim_bytes(sim, STORAGE_GRID) + offset, EXTENT, 0)) continue;
        places += 1;
        expect(storage_sim_faulty(sim, STORAGE_GRID, offset, SECTOR_SIZE));
    }
    expect_equal(places, 1);

    /* A file that has no other place takes it where it belongs. */
    const uint64_t whole = 64 * KIB;
    pattern_fill(buffers[1], whole, 1);
    storage_submit(disk.storage, item_prepare(1, STORAGE_WRITE, STORAGE_SUPERBLOCK, 0, whole));
    drain(disk.storage);
    expect(pattern_is(storage_sim_bytes(sim, STORAGE_SUPERBLOCK), whole, 1));
    disk_close(&disk);
}

UNIT_TEST(write_error_leaves_anything)
{
    uint32_t states_seen[3] = {0};
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct storage_sim *sim = sim_open(seed);
        sim->options.write_error_per_million = 1000000;
        storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
        drain(disk.storage);
        expect(items[0].request.result == STORAGE_IO_ERROR);
        for (uint32_t sector = 0; sector < SECTORS; sector++) {
            states_seen[sector_state(0, STORAGE_GRID, 0, sector)] += 1;
        }
        expect(bytes_zero(extent_bytes(STORAGE_GRID, 1), EXTENT));
        disk_close(&disk);
    }
    expect(states_seen[SECTOR_OLD] > 0 && states_seen[SECTOR_NEW] > 0);
    expect(states_seen[SECTOR_OTHER] > 0);
}

static bool
forbid(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size)
{
    *(uint64_t *) context += 1;
    expect(file == STORAGE_GRID);
    expect(offset_bytes % SECTOR_SIZE == 0 && size % SECTOR_SIZE == 0);
    return false;
}

UNIT_TEST(atlas_can_veto_every_fault)
{
    struct storage_sim *sim = sim_open(1);
    uint64_t asked = 0;
    sim->options.write_error_per_million = 1000000;
    sim->options.lost_write_per_million = 1000000;
    sim->options.misdirected_write_per_million = 1000000;
    sim->options.latent_error_per_million = 1000000;
    sim->options.rot_per_million = 1000000;
    sim->options.fault_allowed = forbid;
    sim->options.fault_context = &asked;
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    drain(disk.storage);
    expect_equal(asked, 3);
    expect(pattern_is(read_back(&disk, STORAGE_GRID, 0, EXTENT), EXTENT, 0));
    expect_equal(asked, 5);
    expect_equal(sim->counters.faults_vetoed, 5);
    expect(!storage_sim_faulty(sim, STORAGE_GRID, 0, EXTENT));
    disk_close(&disk);
}

/* Checks --------------------------------------------------------------------------------------- */

static void
submit_overlapping(struct disk *unused)
{
    (void) unused;
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    struct storage_request *read = item_prepare(1, STORAGE_READ, STORAGE_GRID, 0, SECTOR_SIZE);
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    storage_submit(disk.storage, read);
}

static void
change_buffer_in_flight(struct disk *unused)
{
    (void) unused;
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    storage_submit(disk.storage, write_extent(0, STORAGE_GRID, 0));
    buffers[0][100] ^= 1;
    drain(disk.storage);
}

static void
change_piece_in_flight(struct disk *unused)
{
    (void) unused;
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
    storage_submit(disk.storage, gather_prepare(0, 2, STORAGE_GRID, 0, SECTOR_SIZE));
    buffers[0][100] ^= 1;
    drain(disk.storage);
}

UNIT_TEST(misuse_is_asserted)
{
    (void) sim_open(1);
    const int piece = in_child(change_piece_in_flight, &disk);
    expect(WIFSIGNALED(piece) && WTERMSIG(piece) == SIGABRT);
    const int overlapping = in_child(submit_overlapping, &disk);
    expect(WIFSIGNALED(overlapping) && WTERMSIG(overlapping) == SIGABRT);
    const int changed = in_child(change_buffer_in_flight, &disk);
    expect(WIFSIGNALED(changed) && WTERMSIG(changed) == SIGABRT);
    disk_close(&disk);
}

UNIT_MAIN(test_storage_sim)
