/* SPDX-License-Identifier: PostgreSQL */
/* Tours over all live blocks, and the scrubber: on the simulated disk. */
#include "unit.h"

#include <string.h>

#include "forest_fixture.h"

#include "forest/watch.h"
#include "reseal.h"
#include "unit/reserve.h"

#define EXTRA_MEMORY (UINT64_C(4) * MIB)
#define RECORDS_WORTH_OF_BATCHES 150

/* ---- Helpers ------------------------------------------------------------------------------- */

static void
fill(struct forest_fixture *fixture, uint32_t batch_count)
{
    for (uint32_t i = 0; i < batch_count; i++) {
        while (reserve_now(fixture->forest, EVENTS_PER_BATCH_MAX) != FOREST_ROOM) {
            fixture_progress(fixture);
        }
        fixture_batch(fixture, EVENTS_PER_BATCH_MAX / 2);
    }
}

static struct scrub *
scrub_of(struct forest_fixture *fixture)
{
    return &fixture->forest->scrub;
}

static void
scrub_wait(struct forest_fixture *fixture)
{
    if (fixture->sim.storage.in_flight_count > 0) {
        (void) storage_wait(&fixture->sim.storage);
    }
    (void) forest_poll(fixture->forest);
}

/* Until another tour has ended. Returns how many damaged blocks were told of. */
static uint32_t
scrub_tour(struct forest_fixture *fixture, uint64_t *addresses, uint32_t addresses_max)
{
    const uint64_t tours = scrub_of(fixture)->tours;
    uint32_t told = 0;
    while (scrub_of(fixture)->tours == tours) {
        struct tour_damage damage;
        if (scrub_of(fixture)->due == 0) forest_scrub_allow(fixture->forest, 1);
        if (!forest_scrub_work(fixture->forest)) scrub_wait(fixture);
        while (forest_scrub_tell(fixture->forest, &damage)) {
            if (told < addresses_max) addresses[told] = damage.address;
            told += 1;
        }
    }
    assert(!scrub_of(fixture)->tour.reading);
    assert(scrub_of(fixture)->due == 0);
    return told;
}

static uint32_t
scrub_tour_quiet(struct forest_fixture *fixture)
{
    /* One that began before ends, then a whole one. */
    return scrub_tour(fixture, NULL, 0) + scrub_tour(fixture, NULL, 0);
}

static uint8_t *
block_bytes(struct forest_fixture *fixture, uint64_t address)
{
    return storage_sim_bytes(&fixture->sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
}

static bool
live(const struct forest_fixture *fixture, uint64_t address)
{
    return grid_is_acquired(&fixture->grid, address) && !grid_is_released(&fixture->grid, address);
}

/* The newest checkpoint is durable, nothing was written since: all blocks are listed. */
static void
settle(struct forest_fixture *fixture)
{
    fixture_checkpoint(fixture);
    assert(fixture->sim.storage.in_flight_count == 0);
}

static void
begin(struct forest_fixture *fixture, struct prng *prng, uint64_t seed)
{
    prng_init(prng, seed);
    fixture_begin(fixture, prng, EXTRA_MEMORY);
}

/* ---- Tests --------------------------------------------------------------------------------- */

UNIT_TEST(tour_visits_every_live_block_once)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 1);
    fill(&fixture, RECORDS_WORTH_OF_BATCHES);
    for (uint32_t i = 0; i < 2; i++) {
        settle(&fixture);
        (void) scrub_tour(&fixture, NULL, 0);
        const uint64_t blocks = scrub_of(&fixture)->blocks;
        expect(scrub_tour(&fixture, NULL, 0) == 0);
        expect(scrub_of(&fixture)->blocks - blocks == grid_live_count(&fixture.grid));
        /* The same after opening. */
        expect(fixture_reopen(&fixture) == FOREST_OPENED);
        expect(scrub_tour(&fixture, NULL, 0) == 0);
        expect(scrub_of(&fixture)->blocks == grid_live_count(&fixture.grid));
        fill(&fixture, 3);
    }
    fixture_end(&fixture);
}

UNIT_TEST(empty_forest)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 2);
    expect(scrub_tour_quiet(&fixture) == 0);
    expect(scrub_of(&fixture)->tours == 2);
    expect(scrub_of(&fixture)->blocks == 0);
    fixture_end(&fixture);
}

/* (D3) Any live block, of whatever kind. */
UNIT_TEST(d3_rot_is_found_within_a_tour)
{
    static struct forest_fixture fixture;
    struct prng prng;
    uint32_t found_types[8] = {0};
    begin(&fixture, &prng, 3);
    fill(&fixture, RECORDS_WORTH_OF_BATCHES);
    settle(&fixture);
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        if (!live(&fixture, address)) continue;
        const struct block_header *header = (const void *) block_bytes(&fixture, address);
        const uint8_t type = header->type;
        const uint64_t at = prng_below(&prng, header->size);
        uint64_t found[2] = {0};
        (void) scrub_tour(&fixture, NULL, 0);
        block_bytes(&fixture, address)[at] ^= 0x10;
        expect(scrub_tour(&fixture, found, 2) == 1);
        expect(found[0] == address);
        expect(scrub_tour(&fixture, NULL, 0) == 0); /* Told once, */
        expect(scrub_of(&fixture)->damaged_count == 1);
        block_bytes(&fixture, address)[at] ^= 0x10;
        (void) scrub_tour(&fixture, NULL, 0);
        expect(scrub_of(&fixture)->damaged_count == 0); /* and forgotten when it is whole. */
        found_types[type] += 1;
    }
    expect(found_types[BLOCK_ROOT] == 1);
    expect(found_types[BLOCK_MANIFEST] > 0);
    expect(found_types[BLOCK_FREE_SET] > 0);
    expect(found_types[BLOCK_INDEX] > 0);
    expect(found_types[BLOCK_VALUES] > 0);
    expect(found_types[BLOCK_FILTER] > 0);
    fixture_end(&fixture);
}

UNIT_TEST(unreadable_blocks)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 4);
    fill(&fixture, RECORDS_WORTH_OF_BATCHES);
    settle(&fixture);
    const uint64_t address = fixture_next_acquired(&fixture, 20);
    expect(live(&fixture, address));
    storage_sim_latent_error(
        &fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
    uint64_t found = 0;
    expect(scrub_tour(&fixture, &found, 1) + scrub_tour(&fixture, &found, 1) == 1);
    expect(found == address);
    expect(scrub_of(&fixture)->damaged[0].damage.kind == TOUR_UNREADABLE);
    fixture_end(&fixture);
}

/* The block is whole, but not what refers to it. Found by its content alone. */
UNIT_TEST(content_is_checked)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 5);
    fill(&fixture, RECORDS_WORTH_OF_BATCHES);
    settle(&fixture);
    struct tree *tree = &fixture.forest->parts[0].tree;
    const uint32_t run = tree->order[0][0];
    const struct table_place place = tree_run_first(tree, run);
    struct table_info *table = &tree->pool->nodes[place.node].tables[place.index];
    expect(scrub_tour_quiet(&fixture) == 0);
    table->entry_count += 1;
    uint64_t found = 0;
    expect(scrub_tour(&fixture, &found, 1) == 1);
    expect(found == table->index.address);
    expect(scrub_of(&fixture)->damaged[0].damage.kind == TOUR_WRONG);
    table->entry_count -= 1;
    expect(scrub_tour(&fixture, NULL, 0) == 0);
    table->key_min -= 1;
    expect(scrub_tour(&fixture, &found, 1) == 1);
    expect(found != table->index.address);
    fixture_end(&fixture);
}

/* The block is as its maker wanted it: its checksum fits what was changed. */
static u128
reseal(struct forest_fixture *fixture, uint64_t address)
{
    return reseal_block(block_bytes(fixture, address));
}

static struct table_info *
table_in_memory(struct forest_fixture *fixture, uint32_t part)
{
    struct tree *tree = &fixture->forest->parts[part].tree;
    for (uint32_t run = 0; run < TREE_RUNS_MAX; run++) {
        if (!tree->runs[run].used || tree->runs[run].table_count == 0) continue;
        const struct table_place place = tree_run_first(tree, run);
        return &tree->pool->nodes[place.node].tables[place.index];
    }
    unreachable();
}

/* Writes the bytes into a listed block of the table, and makes all checksums fit. */
static uint64_t
forge(struct forest_fixture *fixture, struct table_info *table, uint32_t listed, uint32_t at)
{
    struct table_block *blocks =
        (void *) (block_bytes(fixture, table->index.address) + BLOCK_HEADER_SIZE);
    const uint64_t address = blocks[listed].address;
    memset(block_bytes(fixture, address) + BLOCK_HEADER_SIZE + at, 0, 64);
    blocks[listed].checksum = reseal(fixture, address);
    const struct block_header *header = (const void *) block_bytes(fixture, address);
    memcpy(blocks[listed].sector_sums, header->sector_sums, sizeof(header->sector_sums));
    table->index.checksum = reseal(fixture, table->index.address);
    return address;
}

UNIT_TEST(forged_content_is_found)
{
    static struct forest_fixture fixture;
    struct prng prng;
    const uint32_t ids = 1; /* The part with the items' ids. */
    for (uint32_t which = 0; which < 4; which++) {
        begin(&fixture, &prng, 20 + which);
        fill(&fixture, RECORDS_WORTH_OF_BATCHES);
        settle(&fixture);
        (void) scrub_tour(&fixture, NULL, 0);
        struct table_info *table = table_in_memory(&fixture, ids);
        expect(table->filter_count > 0);
        uint64_t address = 0;
        uint64_t found[64] = {0};
        if (which == 0) address = forge(&fixture, table, 0, 0);    /* The first keys */
        if (which == 1) address = forge(&fixture, table, 0, 2400); /* or others, */
        if (which == 2) (void) forge(&fixture, table, table->block_count, 0); /* or a filter. */
        if (which == 3) {
            struct forest_checkpoint *checkpoint = &fixture.forest->checkpoint;
            address = checkpoint->own[0].address;
            uint8_t *items = block_bytes(&fixture, address) + BLOCK_HEADER_SIZE;
            struct table_info second;
            memcpy(&second, items + MANIFEST_ITEM_SIZE, sizeof(second));
            second.key_max = second.key_min - 1;
            memcpy(items + MANIFEST_ITEM_SIZE, &second, sizeof(second));
            checkpoint->own[0].checksum = reseal(&fixture, address);
        }
        const uint32_t count = scrub_tour(&fixture, found, 64);
        /* A filter that denies ids is found where the ids are. */
        expect(which == 2 ? count > 0 : count == 1);
        if (which != 2) expect_equal(found[0], address);
        expect_equal(scrub_of(&fixture)->damaged[0].damage.kind, TOUR_WRONG);
        fixture_end(&fixture);
    }
}

/* What nobody who reads a record alone sees, a tour does: it reads whole blocks. */
UNIT_TEST(damage_beside_what_is_read_is_found)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 9);
    fill(&fixture, RECORDS_WORTH_OF_BATCHES);
    settle(&fixture);
    expect_equal(scrub_tour(&fixture, NULL, 0), 0);
    const struct tree *items = &fixture.forest->parts[0].tree;
    const struct table_info *table = tree_table(items, tree_run_first(items, items->order[0][0]));
    const struct table_block *blocks =
        (const void *) (block_bytes(&fixture, table->index.address) + BLOCK_HEADER_SIZE);
    const uint64_t first = u128_low(table->key_min);
    const uint64_t last = u128_low(blocks[0].key_last);
    block_bytes(&fixture, blocks[0].address)[BLOCK_SIZE - SECTOR_SIZE + 7] ^= 1;
    struct fixture_item item;
    for (uint32_t round = 0; round < 2; round++) {
        fixture_chill(&fixture);
        const uint64_t parts_before = fixture.grid.stats.extracts_read;
        expect_equal(fixture_read(&fixture, FIXTURE_ITEM, first, &item), FOREST_FOUND);
        expect_equal(item.timestamp, first);
        expect_equal(fixture.grid.stats.extracts_read, parts_before + 1);
        uint64_t found = 0;
        expect_equal(scrub_tour(&fixture, &found, 1), round == 0 ? 1 : 0); /* Told once. */
        if (round == 0) expect_equal(found, blocks[0].address);
        expect_equal(scrub_of(&fixture)->damaged_count, 1);
    }
    fixture_chill(&fixture);
    expect_equal(fixture_read(&fixture, FIXTURE_ITEM, last, &item), FOREST_LOST);
    fixture_end(&fixture);
}

/* An index block that says other sums than the block itself does: no part of it can be read. */
UNIT_TEST(forged_sums_are_found)
{
    static struct forest_fixture fixture;
    struct prng prng;
    for (uint32_t which = 0; which < 2; which++) {
        begin(&fixture, &prng, 26 + which);
        fill(&fixture, RECORDS_WORTH_OF_BATCHES);
        settle(&fixture);
        (void) scrub_tour(&fixture, NULL, 0);
        struct table_info *table = table_in_memory(&fixture, 1);
        struct table_block *blocks =
            (void *) (block_bytes(&fixture, table->index.address) + BLOCK_HEADER_SIZE);
        struct table_block *block = &blocks[which == 0 ? 0 : table->block_count];
        block->sector_sums[BLOCK_SECTORS - 1] += 1;
        table->index.checksum = reseal(&fixture, table->index.address);
        uint64_t found = 0;
        expect_equal(scrub_tour(&fixture, &found, 1), 1);
        expect_equal(found, block->address);
        expect_equal(scrub_of(&fixture)->damaged[0].damage.kind, TOUR_WRONG);
        fixture_end(&fixture);
    }
}

/* (D2) Blocks that were released, and changed then. */
UNIT_TEST(d2_released_blocks_are_not_told)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 6);
    fill(&fixture, 20);
    uint32_t rotten = 0;
    for (uint32_t round = 0; round < 60; round++) {
        fill(&fixture, 2);
        if (round % 5 == 4) settle(&fixture);
        for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
            const bool released = grid_is_released(&fixture.grid, address);
            if (!released || cache_writes(&fixture.forest->cache, address)) continue;
            storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
            rotten += 1;
        }
        expect(scrub_tour(&fixture, NULL, 0) == 0);
    }
    expect(rotten > 100);
    fixture_end(&fixture);
}

/* (D1) (D4) Merges, flushes and checkpoints under its feet, with and without it. */
UNIT_TEST(d1_tours_during_changes)
{
    static struct forest_fixture fixtures[2];
    for (uint32_t scrubs = 0; scrubs < 2; scrubs++) {
        struct forest_fixture *fixture = &fixtures[scrubs];
        static struct prng prngs[2];
        struct tour_damage damage;
        begin(fixture, &prngs[scrubs], 7);
        for (uint32_t round = 0; round < 200; round++) {
            fill(fixture, 1);
            if (round % 9 == 8) fixture_checkpoint_start(fixture);
            for (uint32_t i = 0; i < 30 && scrubs == 1; i++) {
                forest_scrub_allow(fixture->forest, 1);
                (void) forest_scrub_work(fixture->forest);
                if (i % 3 == 0) {
                    storage_sim_tick(&fixture->sim);
                    (void) storage_poll(&fixture->sim.storage);
                }
            }
            if (round % 9 == 8) fixture_checkpoint_finish(fixture);
        }
        expect(!forest_scrub_tell(fixture->forest, &damage));
        settle(fixture);
        while (fixture->sim.storage.in_flight_count > 0) {
            (void) storage_wait(&fixture->sim.storage);
        }
    }
    expect(scrub_of(&fixtures[1])->tours > 3);
    expect(fixtures[0].grid.block_count == fixtures[1].grid.block_count);
    expect(
        memcmp(
            block_bytes(&fixtures[0], 1),
            block_bytes(&fixtures[1], 1),
            fixtures[0].grid.block_count * BLOCK_SIZE) == 0);
    fixture_end(&fixtures[0]);
    fixture_end(&fixtures[1]);
}

/* More damage than can be remembered is no reason to fall over. */
UNIT_TEST(everything_is_damaged)
{
    static struct forest_fixture fixture;
    struct prng prng;
    begin(&fixture, &prng, 8);
    fill(&fixture, RECORDS_WORTH_OF_BATCHES);
    settle(&fixture);
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
    }
    expect(scrub_tour_quiet(&fixture) == SCRUB_DAMAGED_MAX);
    expect(scrub_tour(&fixture, NULL, 0) == 0);
    fixture_end(&fixture);
}

UNIT_MAIN(test_forest_scrub)
