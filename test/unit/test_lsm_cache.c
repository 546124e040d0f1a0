/* SPDX-License-Identifier: PostgreSQL */
/* The block cache, on the simulated disk. */
#include "unit.h"
#include "unit_aborts.h"

#include <string.h>

#include "lsm_fixture.h"

#define FRAMES 24

static struct lsm_fixture fixture;

static void
begin(uint64_t seed, uint32_t frame_count)
{
    lsm_begin(&fixture, seed, seed + 1000, frame_count);
}

/* A block of that content at that address, on its way to the disk. */
static struct block_reference
build_at(uint64_t address, uint64_t number)
{
    return lsm_build(&fixture, address, number);
}

static struct block_reference
build(uint64_t number)
{
    return build_at(grid_acquire(&fixture.grid), number);
}

static enum cache_result
get(const struct block_reference *reference, uint32_t *frame)
{
    return cache_get(&fixture.cache, reference, BLOCK_VALUES, 7, frame);
}

static enum cache_result
get_waiting(const struct block_reference *reference, uint32_t *frame)
{
    return lsm_get(&fixture, reference, BLOCK_VALUES, frame);
}

/* ---- Reading ------------------------------------------------------------------------------- */

UNIT_TEST(a_block_is_read_once_for_all_who_ask)
{
    struct block_reference reference;
    uint32_t frame = FRAME_NONE;
    uint32_t again = FRAME_NONE;
    begin(1, FRAMES);
    lsm_build_on_disk(&fixture, &reference, 1);
    expect_equal(get(&reference, &frame), CACHE_WAIT);
    expect_equal(get(&reference, &frame), CACHE_WAIT);
    (void) cache_hint(&fixture.cache, &reference, BLOCK_VALUES, 7);
    expect_equal(fixture.cache.reading, 1);
    expect_equal(fixture.cache.available, FRAMES - 1);
    lsm_progress(&fixture);
    expect_equal(get(&reference, &frame), CACHE_READY);
    expect_equal(get(&reference, &again), CACHE_READY);
    expect_equal(again, frame);
    expect_equal(lsm_content(&fixture, frame), 0);
    expect_equal(fixture.grid.stats.blocks_read, 1);
    expect_equal(fixture.cache.stats.misses, 1);
    expect_equal(fixture.cache.stats.hits, 2);
    expect(cache_holds(&fixture.cache, frame, reference.address));
    expect(!cache_holds(&fixture.cache, frame, reference.address + 1));
    expect_equal(fixture.cache.available, FRAMES);
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* More than can be read at a time are read all the same, one after another. */
UNIT_TEST(reads_beyond_the_limit_wait)
{
    struct block_reference references[3 * GRID_READS_MAX];
    begin(2, 4 * GRID_READS_MAX);
    lsm_build_on_disk(&fixture, references, ARRAY_COUNT(references));
    uint32_t frame;
    uint32_t ready = 0;
    for (uint32_t round = 0; ready < ARRAY_COUNT(references); round++) {
        ready = 0;
        for (uint32_t i = 0; i < ARRAY_COUNT(references); i++) {
            ready += get(&references[i], &frame) == CACHE_READY;
        }
        expect(fixture.cache.reading <= GRID_READS_MAX);
        if (round == 0) expect_equal(fixture.cache.reading, GRID_READS_MAX);
        if (fixture.cache.reading > 0) lsm_progress(&fixture);
    }
    expect_equal(fixture.grid.stats.blocks_read, ARRAY_COUNT(references));
    lsm_end(&fixture);
}

/* Hints leave half of the reads to what is wanted now. */
UNIT_TEST(hints_leave_reads_to_others)
{
    struct block_reference references[2 * GRID_READS_MAX];
    begin(3, 4 * GRID_READS_MAX);
    lsm_build_on_disk(&fixture, references, ARRAY_COUNT(references));
    for (uint32_t i = 0; i < ARRAY_COUNT(references); i++) {
        (void) cache_hint(&fixture.cache, &references[i], BLOCK_VALUES, 7);
    }
    expect_equal(fixture.cache.reading, GRID_READS_MAX / 2);
    lsm_settle(&fixture);
    uint32_t frame;
    expect_equal(get(&references[0], &frame), CACHE_READY);
    expect_equal(lsm_content(&fixture, frame), 0);
    lsm_end(&fixture);
}

/* Neighbours on disk that are not in memory yet come in one read, as many as a read may get. */
UNIT_TEST(neighbours_are_read_together)
{
    enum { COUNT = 4 * GRID_READ_BLOCKS_MAX };
    struct block_reference references[COUNT];
    uint32_t frame;
    begin(3, 4 * GRID_READS_MAX);
    lsm_build_on_disk(&fixture, references, COUNT);
    static_assert(GRID_READS_MAX / 4 * 3 <= GRID_READ_BLOCKS_MAX, "then hints have to wait");
    for (uint32_t turn = 1; turn <= 2; turn++) {
        const uint32_t there = turn * GRID_READ_BLOCKS_MAX;
        expect_equal(cache_hint_some(&fixture.cache, references, COUNT, 7), there);
        expect_equal(fixture.grid.stats.read_requests, turn);
        expect_equal(fixture.grid.stats.blocks_read, there);
        expect_equal(fixture.cache.reading, GRID_READ_BLOCKS_MAX);
        lsm_settle(&fixture);
    }
    /* One that is in memory parts its neighbours. */
    const uint32_t next = 2 * GRID_READ_BLOCKS_MAX;
    expect_equal(get_waiting(&references[next + 1], &frame), CACHE_READY);
    expect_equal(cache_hint_some(&fixture.cache, &references[next], 3, 7), 3);
    expect_equal(fixture.grid.stats.read_requests, 3 + 2);
    lsm_settle(&fixture);
    for (uint32_t i = 0; i < next + 3; i++) {
        expect_equal(get(&references[i], &frame), CACHE_READY);
        expect_equal(lsm_content(&fixture, frame), i);
    }
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* The clock's passes that the block survives. */
static uint32_t
used_of(uint64_t address)
{
    for (uint32_t i = 0; i < fixture.cache.frame_count; i++) {
        const struct frame *at = &fixture.cache.frames[i];
        if (at->reference.address == address) return at->used;
    }
    assert(false);
    return 0;
}

/* What was favoured outlasts what came at the same time; what is asked for ahead stays, too. */
UNIT_TEST(what_is_read_soon_stays)
{
    struct block_reference references[FRAMES * 3 / 2];
    uint32_t frame;
    begin(3, FRAMES);
    for (uint32_t i = 0; i < ARRAY_COUNT(references); i++) {
        while (fixture.cache.available == 0) lsm_progress(&fixture);
        frame = cache_take(&fixture.cache);
        lsm_fill(&fixture, frame, i);
        references[i] = cache_seal(&fixture.cache, frame, grid_acquire(&fixture.grid));
        if (i == 0) cache_favour(&fixture.cache, frame);
        lsm_settle(&fixture);
    }
    expect_equal(cache_presence(&fixture.cache, references[1].address), CACHE_ABSENT);
    expect_equal(get(&references[0], &frame), CACHE_READY);
    /* The hand has passed it once, and takes it next time. */
    const struct block_reference *next = &references[FRAMES - 1];
    expect_equal(used_of(next->address), 0);
    expect(cache_hint(&fixture.cache, next, BLOCK_VALUES, 7));
    expect_equal(used_of(next->address), 1);
    expect_equal(fixture.grid.stats.blocks_read, 0);
    lsm_end(&fixture);
}

/* (B2) Without a frame that can be had, a get waits, and starts nothing. */
UNIT_TEST(b2_pinned_frames_stay_and_a_get_waits_for_one)
{
    struct block_reference references[FRAMES + 1];
    uint32_t frames[FRAMES];
    begin(4, FRAMES);
    lsm_build_on_disk(&fixture, references, FRAMES + 1);
    for (uint32_t i = 0; i < FRAMES; i++) {
        expect_equal(get_waiting(&references[i], &frames[i]), CACHE_READY);
        cache_pin(&fixture.cache, frames[i]);
        if (i % 2 == 0) cache_pin(&fixture.cache, frames[i]);
    }
    expect_equal(fixture.cache.available, 0);
    uint32_t frame;
    expect_equal(get(&references[FRAMES], &frame), CACHE_WAIT);
    expect_equal(fixture.cache.reading, 0);
    cache_unpin(&fixture.cache, frames[4]);
    expect_equal(get(&references[FRAMES], &frame), CACHE_WAIT);
    expect_equal(fixture.cache.reading, 0);
    expect_equal(fixture.cache.available, 0);
    cache_unpin(&fixture.cache, frames[4]);
    expect_equal(fixture.cache.available, 1);
    expect_equal(get_waiting(&references[FRAMES], &frame), CACHE_READY);
    expect_equal(frame, frames[4]);
    for (uint32_t i = 0; i < FRAMES; i++) {
        const bool stays = i != 4;
        expect(cache_holds(&fixture.cache, frames[i], references[i].address) == stays);
        if (stays) expect_equal(lsm_content(&fixture, frames[i]), i);
    }
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* What is asked for again and again outlives what was read once. */
UNIT_TEST(what_is_used_stays)
{
    struct block_reference references[4 * FRAMES];
    uint32_t frame;
    begin(5, FRAMES);
    lsm_build_on_disk(&fixture, references, 4 * FRAMES);
    for (uint32_t i = 0; i < 4 * FRAMES; i++) {
        expect_equal(get_waiting(&references[i], &frame), CACHE_READY);
        expect_equal(get_waiting(&references[0], &frame), CACHE_READY);
    }
    expect(fixture.grid.stats.blocks_read <= 4 * FRAMES + 2); /* Nearly always. */
    expect(fixture.cache.stats.evictions >= 3 * FRAMES);
    lsm_end(&fixture);
}

/* (B4) Whatever else is read once. */
UNIT_TEST(b4_kept_blocks_outlive_others)
{
    struct block_reference references[5 * FRAMES];
    uint32_t frame;
    begin(20, FRAMES);
    lsm_build_on_disk(&fixture, references, 5 * FRAMES);
    for (uint32_t i = 0; i < FRAMES / 2; i++) {
        expect_equal(get_waiting(&references[i], &frame), CACHE_READY);
        cache_keep(&fixture.cache, frame);
        cache_keep(&fixture.cache, frame);
    }
    expect_equal(fixture.cache.kept, FRAMES / 2);
    for (uint32_t i = FRAMES / 2; i < 5 * FRAMES; i++) {
        expect_equal(get_waiting(&references[i], &frame), CACHE_READY);
        expect_equal(lsm_content(&fixture, frame), i);
    }
    for (uint32_t i = 0; i < FRAMES / 2; i++) {
        expect_equal(get(&references[i], &frame), CACHE_READY);
    }
    expect_equal(fixture.grid.stats.blocks_read, 5 * FRAMES);
    cache_recount(&fixture.cache);
    cache_forget(&fixture.cache, references[0].address);
    expect_equal(fixture.cache.kept, FRAMES / 2 - 1);
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* (B4) But they are no more than three quarters of all, and those used last stay. */
UNIT_TEST(b4_kept_blocks_leave_frames_to_others)
{
    struct block_reference references[5 * FRAMES];
    uint32_t frame;
    begin(21, FRAMES);
    lsm_build_on_disk(&fixture, references, 5 * FRAMES);
    for (uint32_t i = 0; i < 3 * FRAMES; i++) {
        expect_equal(get_waiting(&references[i], &frame), CACHE_READY);
        cache_keep(&fixture.cache, frame);
        cache_recount(&fixture.cache);
    }
    expect(fixture.cache.kept > FRAMES / 4 * 3);
    for (uint32_t i = 3 * FRAMES; i < 5 * FRAMES; i++) {
        expect_equal(get_waiting(&references[i], &frame), CACHE_READY);
        cache_recount(&fixture.cache);
    }
    expect_equal(fixture.cache.kept, FRAMES / 4 * 3);
    for (uint32_t i = 3 * FRAMES - FRAMES / 2; i < 3 * FRAMES; i++) {
        expect_equal(get(&references[i], &frame), CACHE_READY);
    }
    for (uint32_t i = 5 * FRAMES - FRAMES / 4; i < 5 * FRAMES; i++) {
        expect_equal(get(&references[i], &frame), CACHE_READY);
    }
    lsm_end(&fixture);
}

/* ---- Damage -------------------------------------------------------------------------------- */

UNIT_TEST(a_lost_block_is_told_once_and_read_again)
{
    struct block_reference references[3];
    uint32_t frame;
    begin(6, FRAMES);
    lsm_build_on_disk(&fixture, references, 3);
    char healthy[BLOCK_SIZE];
    memcpy(healthy, lsm_disk_block(&fixture, references[1].address), BLOCK_SIZE);
    lsm_rot(&fixture, references[1].address);
    expect_equal(get_waiting(&references[0], &frame), CACHE_READY);
    for (uint32_t i = 0; i < 3; i++) {
        fixture.cache.damage = (struct cache_damage){0};
        expect_equal(get_waiting(&references[1], &frame), CACHE_LOST);
        expect_equal(fixture.cache.damage.address, references[1].address);
        expect_equal(fixture.cache.damage.tree, 7);
        expect(!fixture.cache.damage.io_error);
        expect_equal(fixture.cache.available, FRAMES);
        cache_recount(&fixture.cache);
    }
    lsm_heal(&fixture, references[1].address, healthy);
    expect_equal(get_waiting(&references[1], &frame), CACHE_READY);
    expect_equal(lsm_content(&fixture, frame), 1);
    lsm_end(&fixture);
}

UNIT_TEST(an_unreadable_block_and_one_beyond_the_file_are_lost)
{
    struct block_reference references[2];
    uint32_t frame;
    begin(7, FRAMES);
    lsm_build_on_disk(&fixture, references, 2);
    storage_sim_latent_error(
        &fixture.sim, STORAGE_GRID, (references[0].address - 1) * BLOCK_SIZE, 1);
    expect_equal(get_waiting(&references[0], &frame), CACHE_LOST);
    expect_equal(fixture.cache.damage.address, references[0].address);
    expect(fixture.cache.damage.io_error);
    references[1].address = LSM_BLOCKS_MAX + 5;
    (void) cache_hint(&fixture.cache, &references[1], BLOCK_VALUES, 7);
    expect_equal(get(&references[1], &frame), CACHE_LOST); /* At once: nothing is on its way. */
    expect_equal(fixture.cache.reading, 0);
    expect_equal(fixture.cache.damage.address, LSM_BLOCKS_MAX + 5);
    expect(!fixture.cache.damage.io_error);
    expect_equal(fixture.cache.available, FRAMES);
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* (B3) Nobody may ever ask again for what is lost: its frames must not be. */
UNIT_TEST(b3_lost_blocks_that_nobody_asks_for_take_no_frames)
{
    struct block_reference references[3 * FRAMES];
    uint32_t frame;
    begin(8, FRAMES);
    lsm_build_on_disk(&fixture, references, 3 * FRAMES);
    for (uint32_t i = 0; i < 3 * FRAMES - 1; i++) {
        lsm_rot(&fixture, references[i].address);
    }
    for (uint32_t i = 0; i < 3 * FRAMES - 1; i++) {
        expect_equal(get(&references[i], &frame), CACHE_WAIT);
        lsm_settle(&fixture);
        expect_equal(fixture.cache.available, FRAMES);
    }
    expect_equal(get(&references[3 * FRAMES - 1], &frame), CACHE_WAIT);
    expect_equal(fixture.cache.reading, 1);
    lsm_settle(&fixture);
    expect_equal(get(&references[3 * FRAMES - 1], &frame), CACHE_READY);
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* ---- Addresses that are used again --------------------------------------------------------- */

/* Releases the block, and makes the address free. */
static void
release(const struct block_reference *reference)
{
    grid_release(&fixture.grid, reference->address);
    cache_forget(&fixture.cache, reference->address);
    grid_checkpoint_durable(&fixture.grid);
}

/* The lowest free address is the one that was released. */
static void
rebuild(const struct block_reference *old, uint64_t number)
{
    uint32_t frame;
    const uint64_t address = grid_acquire(&fixture.grid);
    expect_equal(address, old->address);
    const struct block_reference reference = build_at(address, number);
    expect(reference.checksum != old->checksum);
    cache_recount(&fixture.cache);
    expect_equal(get(&reference, &frame), CACHE_READY); /* While it is written. */
    expect_equal(lsm_content(&fixture, frame), number);
    expect_equal(fixture.cache.frames[frame].state, FRAME_WRITING);
    lsm_settle(&fixture);
    expect_equal(get(&reference, &frame), CACHE_READY);
    expect_equal(lsm_content(&fixture, frame), number);
    expect_equal(fixture.cache.available, FRAMES);
    cache_recount(&fixture.cache);
    lsm_forget(&fixture);
    expect_equal(get_waiting(&reference, &frame), CACHE_READY);
    expect_equal(lsm_content(&fixture, frame), number);
}

/* (B1) */
UNIT_TEST(b1_an_address_is_built_again_while_its_old_block_is_cached)
{
    struct block_reference references[3];
    uint32_t frame;
    begin(9, FRAMES);
    lsm_build_on_disk(&fixture, references, 3);
    expect_equal(get_waiting(&references[1], &frame), CACHE_READY);
    cache_pin(&fixture.cache, frame); /* So that forgetting has to leave it. */
    release(&references[1]);
    cache_unpin(&fixture.cache, frame);
    expect(cache_holds(&fixture.cache, frame, references[1].address));
    rebuild(&references[1], 100);
    lsm_end(&fixture);
}

/* (B1) The old block's read ends when the new block is there already. */
UNIT_TEST(b1_an_address_is_built_again_while_its_old_block_is_loading)
{
    struct block_reference references[3];
    uint32_t frame;
    begin(10, FRAMES);
    lsm_build_on_disk(&fixture, references, 3);
    expect_equal(get(&references[1], &frame), CACHE_WAIT);
    release(&references[1]);
    expect_equal(fixture.cache.reading, 1);
    rebuild(&references[1], 100);
    expect_equal(fixture.cache.reading, 0);
    lsm_end(&fixture);
}

/* (B1) */
UNIT_TEST(b1_an_address_is_built_again_after_its_old_block_was_lost)
{
    struct block_reference references[3];
    uint32_t frame;
    begin(11, FRAMES);
    lsm_build_on_disk(&fixture, references, 3);
    lsm_rot(&fixture, references[1].address);
    expect_equal(get(&references[1], &frame), CACHE_WAIT);
    lsm_settle(&fixture);
    release(&references[1]);
    rebuild(&references[1], 100);
    lsm_end(&fixture);
}

UNIT_TEST(what_is_forgotten_is_gone)
{
    struct block_reference references[FRAMES];
    uint32_t frame;
    begin(12, FRAMES);
    lsm_build_on_disk(&fixture, references, FRAMES);
    for (uint32_t i = 0; i < FRAMES; i++) {
        expect_equal(get_waiting(&references[i], &frame), CACHE_READY);
    }
    expect(fixture.cache.free_head == FRAME_NONE);
    cache_forget(&fixture.cache, references[5].address);
    expect(fixture.cache.free_head != FRAME_NONE);
    expect_equal(fixture.cache.available, FRAMES);
    cache_forget(&fixture.cache, references[5].address);
    cache_forget(&fixture.cache, 999);
    cache_recount(&fixture.cache);
    expect_equal(get(&references[5], &frame), CACHE_WAIT);
    lsm_settle(&fixture);
    lsm_end(&fixture);
}

/* ---- Writing ------------------------------------------------------------------------------- */

UNIT_TEST(neighbours_are_written_together)
{
    begin(13, 8 * GRID_WRITE_BLOCKS_MAX);
    for (uint32_t i = 0; i < 2 * GRID_WRITE_BLOCKS_MAX + 1; i++) {
        (void) build(i);
    }
    expect_equal(fixture.cache.writing, 2 * GRID_WRITE_BLOCKS_MAX + 1);
    lsm_settle(&fixture);
    expect_equal(fixture.grid.stats.write_requests, 3);
    expect_equal(fixture.grid.stats.blocks_written, 2 * GRID_WRITE_BLOCKS_MAX + 1);

    /* Every second address, then the others: none has its neighbour behind it. */
    const uint64_t first = grid_acquire(&fixture.grid);
    for (uint32_t i = 1; i < 2 * GRID_WRITES_MAX; i++) {
        (void) grid_acquire(&fixture.grid);
    }
    for (uint32_t i = 0; i < 2 * GRID_WRITES_MAX; i++) {
        (void) build_at(first + (2 * i) % (2 * GRID_WRITES_MAX) + i / GRID_WRITES_MAX, i);
    }
    cache_issue_writes(&fixture.cache);
    expect_equal(fixture.grid.stats.write_requests, 3 + GRID_WRITES_MAX);
    expect_equal(fixture.sim.storage.in_flight_count, GRID_WRITES_MAX);
    lsm_settle(&fixture);
    expect_equal(fixture.grid.stats.write_requests, 3 + 2 * GRID_WRITES_MAX);
    expect_equal(fixture.cache.writing, 0);
    expect_equal(fixture.cache.available, fixture.cache.frame_count);
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

UNIT_TEST(a_failed_write_fails_the_cache)
{
    begin(14, FRAMES);
    fixture.sim.options.write_error_per_million = 1000000;
    const struct block_reference reference = build(1);
    lsm_settle(&fixture);
    expect(fixture.cache.failed);
    /* Nothing is written any more. */
    fixture.sim.options.write_error_per_million = 0;
    (void) build(2);
    cache_issue_writes(&fixture.cache);
    expect_equal(fixture.sim.storage.in_flight_count, 0);
    uint32_t frame;
    expect_equal(get(&reference, &frame), CACHE_READY);
    expect_equal(lsm_content(&fixture, frame), 1);
    lsm_end(&fixture);
}

UNIT_TEST(b3_a_frame_that_is_not_needed_is_free_again)
{
    uint32_t frames[FRAMES];
    begin(15, FRAMES);
    for (uint32_t i = 0; i < FRAMES; i++) {
        expect_equal(fixture.cache.available, FRAMES - i);
        frames[i] = cache_take(&fixture.cache);
    }
    for (uint32_t i = 0; i < FRAMES; i++) {
        cache_untake(&fixture.cache, frames[i]);
        expect_equal(fixture.cache.available, i + 1);
    }
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

/* ---- Random runs --------------------------------------------------------------------------- */

#define BLOCKS 90

struct known_block {
    struct block_reference reference; /* Address 0: none. */
    uint64_t number;
    bool damaged;        /* On disk. */
    bool perhaps_lost;   /* Was damaged since it was READY last. */
    uint32_t pinned;     /* Frame, or FRAME_NONE. */
    char healthy[BLOCK_SIZE];
};

static struct known_block blocks[BLOCKS];
static uint32_t building[FRAMES];
static uint32_t building_count;
static uint32_t pinned_count;
static uint64_t numbers;
static uint32_t lost_seen;
static uint32_t parts_seen;

static void
step_get_part(struct known_block *block)
{
    const struct block_header *header = (const void *) block->healthy;
    const uint32_t sector = (uint32_t) prng_below(&fixture.prng, BLOCK_SECTORS);
    const struct grid_extract part = {header->sector_sums, sector, 1};
    uint32_t frame;
    switch (cache_get_extract(&fixture.cache, &block->reference, &part, 7, &frame)) {
    case CACHE_WAIT: expect(block->pinned == FRAME_NONE); return;
    case CACHE_LOST:
        expect(block->perhaps_lost);
        expect_equal(fixture.cache.damage.address, block->reference.address);
        lost_seen += 1;
        return;
    case CACHE_READY: break;
    }
    expect_equal(lsm_number(&fixture, frame, sector), block->number);
    block->perhaps_lost = block->damaged;
    parts_seen += fixture.cache.frames[frame].extract_count > 0;
}

static void
step_get(struct known_block *block)
{
    uint32_t frame;
    if (prng_chance(&fixture.prng, 1, 2)) {
        step_get_part(block);
        return;
    }
    if (prng_chance(&fixture.prng, 1, 5)) {
        (void) cache_hint(&fixture.cache, &block->reference, BLOCK_VALUES, 7);
        return;
    }
    switch (get(&block->reference, &frame)) {
    case CACHE_WAIT: expect(block->pinned == FRAME_NONE); return;
    case CACHE_LOST:
        expect(block->perhaps_lost);
        expect_equal(fixture.cache.damage.address, block->reference.address);
        lost_seen += 1;
        return;
    case CACHE_READY: break;
    }
    expect_equal(lsm_content(&fixture, frame), block->number);
    block->perhaps_lost = block->damaged;
    if (block->pinned != FRAME_NONE) {
        expect_equal(frame, block->pinned);
        return;
    }
    if (pinned_count < FRAMES / 3 && prng_chance(&fixture.prng, 1, 3)) {
        cache_pin(&fixture.cache, frame);
        block->pinned = frame;
        pinned_count += 1;
    }
}

static void
step_seal(struct known_block *block)
{
    if (building_count == 0 || block->reference.address != 0) return;
    building_count -= 1;
    numbers += 1;
    lsm_fill(&fixture, building[building_count], numbers);
    *block = (struct known_block){.number = numbers, .pinned = FRAME_NONE};
    block->reference =
        cache_seal(&fixture.cache, building[building_count], grid_acquire(&fixture.grid));
    memcpy(
        block->healthy, cache_block(&fixture.cache, building[building_count]), BLOCK_SIZE);
}

static void
step_unpin(struct known_block *block)
{
    if (block->pinned == FRAME_NONE) return;
    expect(cache_holds(&fixture.cache, block->pinned, block->reference.address)); /* (B2) */
    expect_equal(lsm_content(&fixture, block->pinned), block->number);
    cache_unpin(&fixture.cache, block->pinned);
    block->pinned = FRAME_NONE;
    pinned_count -= 1;
}

/* Damage comes while nothing is read, so that it is known who sees it. */
static void
step_damage(struct known_block *block)
{
    lsm_settle(&fixture);
    if (block->damaged) {
        lsm_heal(&fixture, block->reference.address, block->healthy);
    } else {
        lsm_rot(&fixture, block->reference.address);
        block->perhaps_lost = true;
    }
    block->damaged = !block->damaged;
}

static void
step(void)
{
    struct prng *prng = &fixture.prng;
    struct known_block *block = &blocks[prng_below(prng, BLOCKS)];
    const bool exists = block->reference.address != 0;
    switch (prng_below(prng, 16)) {
    case 0:
    case 1:
        if (building_count == FRAMES / 3 || fixture.cache.available == 0) return;
        building[building_count] = cache_take(&fixture.cache);
        building_count += 1;
        return;
    case 2:
        if (building_count == 0) return;
        building_count -= 1;
        cache_untake(&fixture.cache, building[building_count]);
        return;
    case 3:
    case 4: step_seal(block); return;
    case 5:
    case 6:
        if (exists) step_unpin(block);
        return;
    case 7:
        if (!exists || block->pinned != FRAME_NONE || prng_chance(prng, 1, 2)) return;
        grid_release(&fixture.grid, block->reference.address);
        cache_forget(&fixture.cache, block->reference.address);
        *block = (struct known_block){.pinned = FRAME_NONE};
        return;
    case 8:
        if (exists) step_damage(block);
        return;
    case 9: cache_issue_writes(&fixture.cache); return;
    case 10:
        if (fixture.cache.writing == 0) grid_checkpoint_durable(&fixture.grid);
        return;
    case 11: storage_sim_tick(&fixture.sim); (void) storage_poll(&fixture.sim.storage); return;
    default:
        if (exists) step_get(block);
        return;
    }
}

/* (B5) too. */
UNIT_TEST(b1_b2_b3_hold_in_random_runs)
{
    lost_seen = 0;
    parts_seen = 0;
    uint64_t evictions = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        begin(seed, FRAMES);
        building_count = 0;
        pinned_count = 0;
        for (uint32_t i = 0; i < BLOCKS; i++) {
            blocks[i] = (struct known_block){.pinned = FRAME_NONE};
        }
        for (uint32_t i = 0; i < 4000; i++) {
            step();
            cache_recount(&fixture.cache);
        }
        evictions += fixture.cache.stats.evictions;
        lsm_settle(&fixture);
        lsm_end(&fixture);
    }
    expect(lost_seen > 50);
    expect(parts_seen > 50);
    expect(evictions > 1000);
}

/* ---- What the invariants see --------------------------------------------------------------- */

static void (*spoil)(struct block_cache *cache);

static void
spoil_available(struct block_cache *cache)
{
    cache->available -= 1; /* (B3) */
}

static void
spoil_kept(struct block_cache *cache)
{
    cache->kept += 1; /* (B4) */
}

static void
spoil_address(struct block_cache *cache)
{
    cache->frames[0].reference.address += 1; /* (B1) */
}

static void
spoil_reading(struct block_cache *cache)
{
    cache->reading += 1; /* (B2) */
}

static void
spoil_extract(struct block_cache *cache)
{
    cache->frames[0].extract_count = 1; /* (B5) */
    cache->frames[0].kept = true;
}

static void
spoil_and_look(void)
{
    begin(1, FRAMES);
    (void) build(7);
    lsm_settle(&fixture);
    cache_recount(&fixture.cache);
    if (spoil != NULL) spoil(&fixture.cache);
    cache_recount(&fixture.cache);
}

UNIT_TEST(b1_b2_b3_b4_b5_a_cache_that_contradicts_itself_is_noticed)
{
    void (*const spoils[])(struct block_cache * cache) = {
        spoil_available, spoil_kept, spoil_address, spoil_reading, spoil_extract,
    };
    spoil = NULL;
    expect(!aborts(spoil_and_look));
    for (uint32_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
        spoil = spoils[i];
        expect(aborts(spoil_and_look));
    }
}

UNIT_MAIN(test_lsm_cache)
