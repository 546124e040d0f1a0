/* SPDX-License-Identifier: PostgreSQL */
/*
 * The forest and the disk: the same bytes whatever happens in between (F5), room (F3), damage and
 * errors. Its answers are in test_forest.c.
 */
#include <setjmp.h>
#include <string.h>

#include "unit/forest_fixture.h"
#include "unit/reserve.h"
#include "unit/unit.h"

static struct forest_fixture fixture;
static struct prng prng;

/* ---- The same work, under other circumstances ---------------------------------------------- */

struct circumstances {
    uint64_t seed_disk;
    uint64_t memory_bytes_extra;
    uint32_t latency_max;
    uint32_t blocks_ahead; /* So far the grid grows at once; else whenever room is asked for. */
    bool reads;
    bool crashes;
};

/* A history of batches, each a function of its number, so that it can be repeated from any. */
static struct history {
    const struct circumstances *circumstances;
    uint64_t seed;
    uint32_t batch;         /* The next. */
    uint32_t batch_durable; /* The next after the newest durable checkpoint. */
    uint32_t crash_in;      /* Looks at the disk until the next crash. */
    uint32_t crashes;
    uint32_t crashes_in_checkpoints;
} history;
static jmp_buf crash_now;

#define HISTORY_BATCHES 60
#define HISTORY_BLOCKS 10000

static void
history_on_progress(struct forest_fixture *at)
{
    if (history.circumstances->reads && prng_chance(&at->prng_sim, 1, 30)) fixture_chill(at);
    if (history.circumstances->reads && !at->forest->active) {
        char record[FOREST_RECORD_SIZE_MAX];
        const uint32_t groove = (uint32_t) prng_below(&at->prng_sim, FIXTURE_GROOVE_COUNT);
        const uint64_t timestamp = prng_below(&at->prng_sim, at->timestamp + 1);
        (void) forest_read(at->forest, groove, timestamp, record);
    }
    if (!history.circumstances->crashes) return;
    history.crash_in -= 1;
    if (history.crash_in == 0) longjmp(crash_now, 1);
}

static void
history_crash(void)
{
    history.crashes += 1;
    history.crashes_in_checkpoints += fixture.forest->checkpoint.stage != CHECKPOINT_IDLE;
    storage_sim_crash_now(&fixture.sim);
    storage_sim_restart(&fixture.sim);
    const enum forest_open_result result = fixture_reopen(&fixture);
    assert(result == FOREST_OPENED);
    if (prng_chance(&fixture.prng_sim, 1, 2)) fixture_warm(&fixture);
    history.batch = history.batch_durable;
    const uint64_t far = prng_chance(&fixture.prng_sim, 1, 2) ? 100 : 700;
    history.crash_in = (uint32_t) prng_range(&fixture.prng_sim, 1, far);
}

static void
history_batch(void)
{
    prng_init(&prng, history.seed * 1000 + history.batch);
    fixture.spread = UINT64_C(1) << prng_below(&prng, 12);
    const uint32_t event_count = (uint32_t) prng_range(&prng, 1, EVENTS_PER_BATCH_MAX);
    const bool checkpoint = prng_chance(&prng, 1, 6);
    expect(reserve_now(fixture.forest, event_count) == FOREST_ROOM);
    fixture_batch(&fixture, event_count);
    history.batch += 1;
    if (!checkpoint && history.batch < HISTORY_BATCHES) return;
    fixture_checkpoint(&fixture);
    history.batch_durable = history.batch;
}

/* Leaves the fixture with all of its work durable. */
static void
history_run(uint64_t seed, const struct circumstances *circumstances)
{
    const uint32_t crashes = history.crashes;
    const uint32_t crashes_in_checkpoints = history.crashes_in_checkpoints;
    history = (struct history){
        .circumstances = circumstances,
        .seed = seed,
        .crash_in = 100,
        .crashes = crashes,
        .crashes_in_checkpoints = crashes_in_checkpoints,
    };
    prng_init(&prng, seed);
    fixture_begin(&fixture, &prng, circumstances->memory_bytes_extra);
    prng_init(&fixture.prng_sim, circumstances->seed_disk);
    fixture.sim.options.latency_max_ticks = circumstances->latency_max;
    const enum grid_room grown = grid_reserve_now(&fixture.grid, circumstances->blocks_ahead);
    assert(grown == GRID_ROOM);
    if (setjmp(crash_now) != 0) history_crash();
    fixture.on_progress = history_on_progress;
    while (history.batch < HISTORY_BATCHES) {
        history_batch();
    }
    fixture.on_progress = NULL;
    expect(fixture_blocks_accounted(&fixture));
    expect(fixture.grid.block_count <= HISTORY_BLOCKS);
}

/* What is acquired, and what is there. */
struct image {
    bool acquired[FIXTURE_GRID_BLOCKS_MAX + 1];
    char blocks[HISTORY_BLOCKS + 1][BLOCK_SIZE];
    struct block_reference root;
    uint32_t acquired_count;
};

static struct image images[2];

static void
image_take(struct image *image)
{
    memset(image, 0, sizeof(*image));
    image->root = fixture.root;
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        if (!grid_is_acquired(&fixture.grid, address)) continue;
        const uint8_t *bytes = storage_sim_bytes(&fixture.sim, STORAGE_GRID);
        image->acquired[address] = true;
        image->acquired_count += 1;
        memcpy(image->blocks[address], bytes + (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
    }
}

static void
expect_same_image(const struct image *a, const struct image *b)
{
    expect(a->acquired_count > 100);
    expect(a->root.checksum == b->root.checksum);
    expect_equal(a->root.address, b->root.address);
    expect(memcmp(a->acquired, b->acquired, sizeof(a->acquired)) == 0);
    expect(memcmp(a->blocks, b->blocks, sizeof(a->blocks)) == 0);
}

static void
compare_with_twin(uint64_t seed, const struct circumstances *circumstances)
{
    const struct circumstances plain = {.seed_disk = seed, .latency_max = 9};
    history_run(seed, &plain);
    image_take(&images[0]);
    fixture_end(&fixture);
    history_run(seed, circumstances);
    image_take(&images[1]);
    expect_same_image(&images[0], &images[1]);
    expect(fixture_same(&fixture));
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* (F5) */
UNIT_TEST(f5_latencies_and_reads_and_caches_change_no_byte)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        const struct circumstances other = {
            .seed_disk = seed + 100,
            .memory_bytes_extra = seed % 2 * 4 * MIB,
            .latency_max = seed % 3 == 0 ? 1 : 60,
            .reads = true,
        };
        compare_with_twin(seed, &other);
    }
}

/* (F4) (F5) What is repeated after a crash makes the same blocks at the same addresses. */
UNIT_TEST(f5_crashes_change_no_byte)
{
    history.crashes = 0;
    history.crashes_in_checkpoints = 0;
    for (uint64_t seed = 10; seed <= 14; seed++) {
        const struct circumstances other = {
            .seed_disk = seed + 100,
            .memory_bytes_extra = seed % 3 * MIB,
            .latency_max = 9,
            .reads = seed % 2 == 0,
            .crashes = true,
        };
        compare_with_twin(seed, &other);
    }
    expect(history.crashes > 100);
    expect(history.crashes_in_checkpoints > 3);
}

/* (F5) A file that is larger, from early on or since a crash, is no other checkpoint. */
UNIT_TEST(f5_growth_changes_no_byte)
{
    for (uint64_t seed = 20; seed <= 25; seed++) {
        const struct circumstances other = {
            .seed_disk = seed + 100,
            .latency_max = 9,
            .blocks_ahead = seed % 2 == 0 ? HISTORY_BLOCKS - GRID_GROW_BLOCKS : 2000,
            .crashes = seed % 3 == 0,
        };
        compare_with_twin(seed, &other);
    }
}

/* ---- Room ---------------------------------------------------------------------------------- */

/* The most that an event may do. It inserts an item, or burns an item's id. */
static void
event_of_the_largest_kind(bool burns)
{
    fixture.timestamp += 1;
    const uint64_t unique = fixture.timestamp;
    const struct fixture_note note = {.timestamp = unique};
    const struct fixture_state state = {.timestamp = unique, .due = unique};
    const struct fixture_burnt burnt = {.id = u128_make(0xb0b0, unique), .timestamp = unique};
    const struct fixture_item item = {
        .id = u128_make(prng_next(&prng), unique),
        .wide = prng_next(&prng),
        .middle = prng_next(&prng),
        .narrow = (uint32_t) prng_next(&prng) | 1,
        .tiny = (uint16_t) prng_next(&prng) | 1,
        .tiny_zero = (uint16_t) prng_next(&prng),
        .timestamp = unique,
    };
    const struct fixture_owner owner = {
        .id = u128_make(prng_next(&prng), unique),
        .rank = prng_next(&prng),
        .group = (uint32_t) prng_next(&prng) | 1,
        .timestamp = unique,
    };
    if (!burns) fixture_insert(&fixture, FIXTURE_ITEM, &item);
    fixture_insert(&fixture, FIXTURE_OWNER, &owner);
    fixture_insert(&fixture, FIXTURE_STATE, &state);
    fixture_insert(&fixture, FIXTURE_NOTE, &note);
    if (burns) {
        forest_burn_id(fixture.forest, FIXTURE_ITEM, &burnt);
        fixture_append(&fixture, FIXTURE_BURNT, &burnt);
    }
    fixture_update_owner(&fixture);
    fixture_update_owner(&fixture);
    fixture_update_state(&fixture);
}

static void
batch_of_the_largest_kind(uint32_t event_count)
{
    fixture_op_begin(&fixture, event_count);
    for (uint32_t i = 0; i < event_count; i++) {
        event_of_the_largest_kind(prng_chance(&prng, 1, 10));
    }
    fixture_op_commit(&fixture);
}

static bool
model_has_room(uint32_t event_count)
{
    for (uint32_t groove = 0; groove < FIXTURE_GROOVE_COUNT; groove++) {
        if (fixture.model->counts[groove] + event_count > FIXTURE_RECORDS_MAX) return false;
    }
    return true;
}

/* Blocks that are taken so that nobody else has them. */
static uint64_t ballast[FIXTURE_GRID_BLOCKS_MAX];
static uint32_t ballast_count;

static void
ballast_drop(void)
{
    struct free_set *free_set = &fixture.grid.free_set;
    for (uint32_t i = 0; i < ballast_count; i++) {
        const uint64_t index = ballast[i] - 1;
        free_set->acquired.words[index / 64] &= ~(UINT64_C(1) << index % 64);
        free_set->fresh.words[index / 64] &= ~(UINT64_C(1) << index % 64);
        free_set->search_start = min_u64(free_set->search_start, index);
    }
    free_set->acquired_count -= ballast_count;
    ballast_count = 0;
}

/* So for nodes of lists of tables: all but as few as there must be are held back. */
static uint32_t nodes_held;

static void
hold_nodes(uint32_t event_count)
{
    struct table_pool *pool = &fixture.forest->tables;
    uint32_t low = 0;
    uint32_t high = pool->free_count;
    while (low < high) {
        const uint32_t held = high - (high - low) / 2;
        pool->free_count -= held;
        fixture.forest->room_events = 0;
        const enum forest_room room = reserve_now(fixture.forest, event_count);
        pool->free_count += held;
        if (room == FOREST_ROOM) {
            low = held;
        } else {
            high = held - 1;
        }
    }
    pool->free_count -= low;
    nodes_held = low;
    fixture.forest->room_events = 0;
    expect_equal(reserve_now(fixture.forest, event_count), FOREST_ROOM);
}

/*
 * Room for so many more events, and hardly any more: free blocks that aren't asked for are taken,
 * and the disk grows by as little as possible until there is room.
 */
static uint32_t
reserve_tightly(uint32_t event_count)
{
    uint32_t refused = 0;
    enum forest_room room;
    ballast_drop();
    fixture.forest->tables.free_count += nodes_held;
    nodes_held = 0;
    fixture.sim.options.space_limit_bytes = fixture.sim.storage.file_size_bytes[STORAGE_GRID];
    fixture.forest->room_events = 0;
    while (reserve_now(fixture.forest, event_count) == FOREST_ROOM) {
        fixture.forest->room_events = 0;
        for (uint32_t i = 0; i < 64 && grid_free_count(&fixture.grid) > 0; i++) {
            ballast[ballast_count] = grid_acquire(&fixture.grid);
            ballast_count += 1;
        }
    }
    while ((room = reserve_now(fixture.forest, event_count)) == FOREST_DISK_FULL) {
        fixture.sim.options.space_limit_bytes += GRID_GROW_BLOCKS * BLOCK_SIZE;
        refused += 1;
    }
    expect_equal(room, FOREST_ROOM);
    hold_nodes(event_count);
    return refused;
}

/*
 * (F3) What was admitted is executed, in ops of any size with checkpoints before, between and
 * after, on a disk that has no more than was asked for. (That there is room for each block is
 * asserted where it is taken.)
 */
UNIT_TEST(f3_after_room_nothing_runs_out)
{
    uint32_t refused = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, 12 * MIB);
        /* Without room for anything; with no bytes there would be no limit. */
        expect_equal(grid_reserve_now(&fixture.grid, 1), GRID_ROOM);
        ballast_count = 0;
        nodes_held = 0;
        for (uint32_t round = 0; round < 40 && model_has_room(8 * EVENTS_PER_BATCH_MAX); round++) {
            uint32_t left = (uint32_t) prng_range(&prng, 1, 5 * EVENTS_PER_BATCH_MAX);
            const bool many = prng_chance(&prng, 1, 3);
            refused += reserve_tightly(left);
            if (prng_chance(&prng, 1, 3)) fixture_checkpoint(&fixture);
            const bool once = prng_chance(&prng, 1, 2);
            while (left > 0) {
                const uint32_t most = many ? 3 : EVENTS_PER_BATCH_MAX;
                const uint32_t count = (uint32_t) prng_range(&prng, 1, min_u64(left, most));
                batch_of_the_largest_kind(count);
                left -= count;
                if (once || !prng_chance(&prng, 1, 8)) continue;
                fixture_checkpoint(&fixture);
                refused += reserve_tightly(left); /* What is admitted still is. */
            }
            if (prng_chance(&prng, 1, 2)) fixture_checkpoint(&fixture);
            if (prng_chance(&prng, 1, 3)) continue;
            refused += reserve_tightly(0);
        }
        fixture_checkpoint(&fixture);
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
    expect(refused > 100);
}

/*
 * (F3) What the work takes, the bound becomes smaller by: after each op the rest of what was
 * admitted, when it is asked for anew as a replay does, has room; after a checkpoint too. The disk
 * has no more than was asked for at first.
 */
UNIT_TEST(f3_what_was_admitted_finds_room_again)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, 12 * MIB);
        expect_equal(grid_reserve_now(&fixture.grid, 1), GRID_ROOM);
        ballast_count = 0;
        nodes_held = 0;
        for (uint32_t round = 0; round < 30 && model_has_room(5 * EVENTS_PER_BATCH_MAX); round++) {
            uint32_t left = (uint32_t) prng_range(&prng, 1, 4 * EVENTS_PER_BATCH_MAX);
            const uint32_t most = prng_chance(&prng, 1, 2) ? 4 : EVENTS_PER_BATCH_MAX;
            (void) reserve_tightly(left);
            uint32_t checkpoint_at = prng_chance(&prng, 1, 2) ? left / 2 : UINT32_MAX;
            while (left > 0) {
                expect_equal(forest_reserve_replayed(fixture.forest, left), FOREST_ROOM);
                const uint32_t count = (uint32_t) prng_range(&prng, 1, min_u64(left, most));
                batch_of_the_largest_kind(count);
                left -= count;
                if (left > checkpoint_at || left == 0) continue;
                fixture_checkpoint(&fixture);
                checkpoint_at = 0;
            }
            fixture_checkpoint(&fixture);
        }
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
}

/* A full disk is refused, and changes nothing; when it is larger the work goes on. */
UNIT_TEST(f3_a_full_disk_is_refused)
{
    fixture_begin_seed(&fixture, &prng, 40, MIB);
    fixture_batches(&fixture, 5);
    fixture.sim.options.space_limit_bytes = fixture.sim.storage.file_size_bytes[STORAGE_GRID];
    enum forest_room room;
    uint32_t batches = 0;
    while ((room = reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX)) == FOREST_ROOM) {
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
        batches += 1;
    }
    expect_equal(room, FOREST_DISK_FULL);
    expect(fixture_same(&fixture));
    /* A checkpoint has room, and gives back what was released. */
    fixture_checkpoint(&fixture);
    expect(fixture_same(&fixture));
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    fixture.sim.options.space_limit_bytes *= 4;
    expect_equal(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX), FOREST_ROOM);
    fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

UNIT_TEST(f3_an_error_of_growth_is_said)
{
    fixture_begin_seed(&fixture, &prng, 41, 0);
    fixture.sim.options.grow_error_per_million = 1000000;
    expect_equal(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX), FOREST_IO_ERROR);
    fixture_end(&fixture);
}

/* Notes only, without the model, until the list of tables is full. */
static uint32_t
fill_memory(void)
{
    uint32_t batches = 0;
    while (reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM) {
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            fixture.timestamp += 1;
            const struct fixture_note note = {.timestamp = fixture.timestamp};
            forest_insert(fixture.forest, FIXTURE_NOTE, &note);
        }
        fixture_op_commit(&fixture);
        batches += 1;
    }
    return batches;
}

UNIT_TEST(f3_full_memory_is_refused)
{
    struct fixture_note note;
    fixture_begin_seed(&fixture, &prng, 42, 0);
    expect_equal(grid_reserve_now(&fixture.grid, 9000), GRID_ROOM);
    const uint32_t batches = fill_memory();
    expect(batches > 100);
    expect_equal(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX), FOREST_MEMORY_FULL);
    expect_equal(fixture_read(&fixture, FIXTURE_NOTE, 5, &note), FOREST_FOUND);
    fixture_checkpoint(&fixture);
    expect_equal(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX), FOREST_MEMORY_FULL);
    /* With more, it goes on. */
    fixture.memory_bytes += 10 * MIB;
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect_equal(forest_newest(fixture.forest, FIXTURE_NOTE), fixture.timestamp);
    expect_equal(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX), FOREST_ROOM);
    expect(fill_memory() > batches);
    fixture_checkpoint(&fixture);

    /* And with less again it cannot be opened, but it is said how much will do. */
    struct forest_open_report report;
    fixture.memory_bytes = fixture_memory_min();
    enum forest_open_result result = fixture_open(&fixture, &fixture.root, &report);
    expect_equal(result, FOREST_OPEN_MEMORY_TOO_SMALL);
    const uint64_t at_least = report.memory_bytes_needed;
    expect(at_least > fixture.memory_bytes);
    /* Where the chain was too long even to be read, there is more to know now. */
    fixture.memory_bytes = at_least;
    result = fixture_open(&fixture, &fixture.root, &report);
    if (result == FOREST_OPEN_MEMORY_TOO_SMALL) {
        expect(report.memory_bytes_needed > at_least);
        fixture.memory_bytes = report.memory_bytes_needed;
        result = fixture_open(&fixture, &fixture.root, &report);
    }
    expect_equal(result, FOREST_OPENED);
    /* It isn't much more than is needed. */
    fixture.memory_bytes -= fixture.memory_bytes / 10;
    result = fixture_open(&fixture, &fixture.root, &report);
    expect_equal(result, FOREST_OPEN_MEMORY_TOO_SMALL);
    fixture.memory_bytes = report.memory_bytes_needed;
    expect_equal(fixture_open(&fixture, &fixture.root, &report), FOREST_OPENED);
    expect_equal(fixture_read(&fixture, FIXTURE_NOTE, 5, &note), FOREST_FOUND);
    fixture_end(&fixture);
}

/* ---- Damage -------------------------------------------------------------------------------- */

static uint8_t *
disk_block(uint64_t address)
{
    return storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
}

/* Reads everything; returns how many reads the damage at the address makes impossible. */
static uint32_t
read_with_damage(uint64_t address, bool io_error)
{
    uint32_t lost = 0;
    for (uint32_t groove = 0; groove < FIXTURE_GROOVE_COUNT; groove++) {
        for (uint32_t row = 0; row < fixture.model->counts[groove]; row++) {
            const void *expected = fixture_record(fixture.model, groove, row);
            char record[FOREST_RECORD_SIZE_MAX];
            const bool by_id = groove <= FIXTURE_OWNER && row % 2 == 0;
            const enum forest_found found =
                by_id ? fixture_read_by_id(&fixture, groove, expected, record)
                      : fixture_read(&fixture, groove, fixture_timestamp(expected, groove), record);
            if (found == FOREST_FOUND) {
                expect(memcmp(record, expected, fixture_grooves[groove].record_size) == 0);
                continue;
            }
            struct forest_damage damage;
            forest_damage(fixture.forest, &damage);
            expect_equal(found, FOREST_LOST);
            expect_equal(damage.block_address, address);
            expect_equal(damage.io_error, io_error);
            expect(strcmp(damage.tree_name, fixture_grooves[groove].name) == 0);
            lost += 1;
        }
    }
    return lost;
}

/* Each block in turn is damaged: opening says so, or else what needs the block does. */
UNIT_TEST(a_damaged_block_is_named_and_the_rest_is_read)
{
    uint32_t refused = 0;
    uint32_t hidden = 0;
    bool named[BLOCK_ROOT + 1] = {0};
    fixture_begin_seed(&fixture, &prng, 50, 0);
    fixture_batches(&fixture, 14);
    fixture_checkpoint(&fixture);
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        static char healthy[BLOCK_SIZE] __attribute__((aligned(SECTOR_SIZE)));
        struct forest_open_report report;
        if (!grid_is_acquired(&fixture.grid, address)) continue;
        const bool io_error = address % 2 == 0;
        memcpy(healthy, disk_block(address), BLOCK_SIZE);
        if (io_error) {
            storage_sim_latent_error(
                &fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
        } else {
            storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, 1);
        }
        const enum forest_open_result result = fixture_open(&fixture, &fixture.root, &report);
        if (result == FOREST_OPENED) {
            hidden += read_with_damage(address, io_error) == 0;
        } else {
            expect_equal(result, io_error ? FOREST_OPEN_IO_ERROR : FOREST_OPEN_CORRUPT);
            expect_equal(report.block_address, address);
            const struct block_header *header = (const void *) healthy;
            expect(strcmp(report.tree_name, forest_own_name(header->type)) == 0);
            named[header->type] = true;
            refused += 1;
        }
        memcpy(disk_block(address), healthy, BLOCK_SIZE);
        if (!io_error) {
            if (result == FOREST_OPENED) expect_equal(read_with_damage(address, io_error), 0);
            expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
            continue;
        }
        /* A latent error goes by being overwritten. */
        const enum storage_result mended = storage_transfer_now(
            &fixture.sim.storage, STORAGE_WRITE, STORAGE_GRID, (address - 1) * BLOCK_SIZE,
            healthy, BLOCK_SIZE);
        expect_equal(mended, STORAGE_OK);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    }
    expect(refused >= 3);
    expect(named[BLOCK_ROOT] && named[BLOCK_FREE_SET] && named[BLOCK_MANIFEST]);
    expect(hidden > 0);   /* Indexes: only scans need them. */
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

static void
expect_id_lost(const u128 *id)
{
    struct forest_damage damage;
    struct fixture_owner owner;
    expect_equal(fixture_read_by_id(&fixture, FIXTURE_OWNER, id, &owner), FOREST_LOST);
    forest_damage(fixture.forest, &damage);
    expect(damage.block_address != 0);
    expect(strcmp(damage.tree_name, "owner") == 0);
    fixture_op_begin(&fixture, 1);
    expect_equal(fixture_prefetch_id(&fixture, FIXTURE_OWNER, id, NULL), FOREST_LOST);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED); /* Such an op is never committed. */
}

/* Not absent: that would be a guess. To another record, to none, or burnt where no id can be. */
UNIT_TEST(an_id_that_leads_elsewhere_is_lost)
{
    for (uint32_t kind = 0; kind < 3; kind++) {
        fixture_begin_seed(&fixture, &prng, 90 + kind, 0);
        struct tail *tail = &fixture.forest->grooves[FIXTURE_OWNER].id_tail;
        while (tail->count < 5) fixture_batches(&fixture, 1);
        struct entry24 *entry = &tail->entries.ids[2];
        const u128 id = u128_make(entry->id_high, entry->id_low);
        if (kind == 0) entry->timestamp = tail->entries.ids[1].timestamp;
        if (kind == 1) entry->timestamp = fixture.timestamp + 1000;
        if (kind == 2) entry->timestamp |= BURNT_BIT;
        fixture_checkpoint(&fixture);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect_id_lost(&id);
        struct forest_damage damage;
        expect_equal(forest_refuse(fixture.forest, FIXTURE_ITEM, fixture.timestamp), FOREST_LOST);
        forest_damage(fixture.forest, &damage);
        expect(strcmp(damage.tree_name, "item") == 0);
        fixture_end(&fixture);
    }
}

/* A merge that needs a damaged block cannot go on, nor can the forest. */
UNIT_TEST(a_merge_that_is_lost_fails_the_forest)
{
    fixture_begin_seed(&fixture, &prng, 51, 0);
    fixture_batches(&fixture, 30);
    fixture_checkpoint(&fixture);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        if (!grid_is_acquired(&fixture.grid, address)) continue;
        const struct block_header *header = (const void *) disk_block(address);
        if (header->type != BLOCK_INDEX) continue;
        storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, 1);
    }
    for (uint32_t i = 0; i < 60 && !forest_failed(fixture.forest); i++) {
        if (reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) != FOREST_ROOM) break;
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t event = 0; event < EVENTS_PER_BATCH_MAX; event++) {
            fixture.timestamp += 1;
            fixture_insert_item(&fixture);
        }
        fixture.op += 1;
        enum forest_work work;
        while ((work = forest_compact(fixture.forest, fixture.op)) != FOREST_WORK_DONE &&
               !forest_failed(fixture.forest)) {
            if (work == FOREST_WORK_WAITS) fixture_progress(&fixture);
        }
    }
    struct forest_damage damage;
    forest_damage(fixture.forest, &damage);
    expect(forest_failed(fixture.forest));
    expect(grid_is_acquired(&fixture.grid, damage.block_address));
    expect(!damage.io_error);
    fixture_end(&fixture);
}

/* ---- Errors -------------------------------------------------------------------------------- */

UNIT_TEST(a_failed_write_fails_the_checkpoint)
{
    uint32_t failed = 0;
    for (uint64_t seed = 60; seed < 70; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, 0);
        fixture_batches(&fixture, 4);
        fixture_checkpoint(&fixture);
        const struct block_reference before = fixture.root;
        fixture_batches(&fixture, 3);
        fixture.sim.options.write_error_per_million = 200000;
        fixture_checkpoint_start(&fixture);
        while (!fixture.checkpoint_done) fixture_progress(&fixture);
        fixture.sim.options.write_error_per_million = 0;
        const bool ok = fixture.checkpoint_result == GRID_OK;
        expect_equal(forest_failed(fixture.forest), !ok);
        failed += !ok;
        if (ok) {
            fixture_end(&fixture);
            continue;
        }
        /* The one before is as it was. */
        fixture.root = before;
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
    expect(failed > 2);
}

/* (F4) A crash at any moment of a checkpoint leaves the one before. */
UNIT_TEST(f4_a_crash_in_a_checkpoint_leaves_the_one_before)
{
    fixture_begin_seed(&fixture, &prng, 70, 0);
    fixture_batches(&fixture, 6);
    fixture_checkpoint(&fixture);
    for (uint32_t fuse = 1; fuse < 100; fuse += 3) {
        fixture_batches(&fixture, 2);
        storage_sim_crash_after(&fixture.sim, fuse);
        fixture_checkpoint_start(&fixture);
        while (!fixture.checkpoint_done && !fixture.sim.crashed) fixture_progress(&fixture);
        if (!fixture.sim.crashed) {
            storage_sim_crash_after(&fixture.sim, 0);
            fixture_checkpoint_finish(&fixture);
            continue;
        }
        storage_sim_restart(&fixture.sim);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect(fixture_same(&fixture));
    }
    fixture_end(&fixture);
}

UNIT_MAIN(test_forest_disk)
