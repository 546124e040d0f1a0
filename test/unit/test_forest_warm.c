/* SPDX-License-Identifier: PostgreSQL */
/* What comes into memory after opening is the newest version of each record, or nothing. */
#include "unit/unit.h"

#include <string.h>

#include "unit/forest_fixture.h"

static struct forest_fixture fixture;
static struct prng prng;

/* Opens what a history of so many batches has left, with merges half done. */
static void
begin_opened(uint64_t seed, uint32_t batch_count)
{
    fixture_begin_seed(&fixture, &prng, seed, 8 * MIB);
    for (uint32_t i = 0; i < batch_count; i++) {
        fixture_batches(&fixture, 1);
        if (prng_chance(&prng, 1, 5)) fixture_checkpoint(&fixture);
    }
    fixture_checkpoint(&fixture);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
}

/* How many of the groove's records are in memory; all of them as the model has them. */
static uint32_t
warm_records(uint32_t groove)
{
    const struct objects *objects = &fixture.forest->grooves[groove].objects;
    uint32_t count = 0;
    for (uint32_t row = 0; row < fixture.model->counts[groove]; row++) {
        const void *expected = fixture_record(fixture.model, groove, row);
        const uint32_t slot = objects_find(objects, fixture_timestamp(expected, groove));
        if (slot == OBJECT_NONE) continue;
        const void *record = objects_record(objects, slot);
        expect(memcmp(record, expected, fixture_grooves[groove].record_size) == 0);
        count += 1;
    }
    expect_equal(objects->count, count);
    return count;
}

UNIT_TEST(after_opening_all_changing_records_are_in_memory)
{
    uint32_t merging = 0;
    uint32_t complete = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        begin_opened(seed, 6 + 2 * (uint32_t) seed);
        const struct part *part = &fixture.forest->parts[fixture.forest->grooves[1].records];
        for (uint32_t level = 0; level < LSM_LEVELS; level++) merging += part->merges[level].active;
        fixture_warm(&fixture);
        const bool all = fixture.forest->warm.blocks < WARM_BLOCKS_MAX;
        const uint32_t owners = warm_records(FIXTURE_OWNER);
        const uint32_t states = warm_records(FIXTURE_STATE);
        if (all) expect_equal(owners, fixture.model->counts[FIXTURE_OWNER]);
        if (all) expect_equal(states, fixture.model->counts[FIXTURE_STATE]);
        complete += all;
        expect_equal(fixture.forest->grooves[FIXTURE_ITEM].objects.count, 0);
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
    expect(merging > 0);
    expect(complete > 10);
}

/* However much there is: a start doesn't take longer and longer. */
UNIT_TEST(warming_ends_after_so_many_blocks)
{
    begin_opened(77, 250);
    fixture_warm(&fixture);
    expect_equal(fixture.forest->warm.blocks, WARM_BLOCKS_MAX);
    expect(warm_records(FIXTURE_OWNER) > 0);
    fixture_end(&fixture);
}

/* What is in an older run is no substitute for what a damaged block of a newer one holds. */
UNIT_TEST(no_older_version_takes_the_place_of_what_is_lost)
{
    uint32_t fewer = 0;
    begin_opened(5, 14);
    fixture_warm(&fixture);
    const uint32_t all = warm_records(FIXTURE_OWNER) + warm_records(FIXTURE_STATE);
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        struct forest_open_report report;
        if (!grid_is_acquired(&fixture.grid, address)) continue;
        uint8_t *block = storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
        block[BLOCK_SIZE / 2] ^= 1;
        if (fixture_open(&fixture, &fixture.root, &report) == FOREST_OPENED) {
            fixture_warm(&fixture);
            expect(!forest_failed(fixture.forest));
            const uint32_t count = warm_records(FIXTURE_OWNER) + warm_records(FIXTURE_STATE);
            expect(count <= all);
            fewer += count < all;
        }
        block[BLOCK_SIZE / 2] ^= 1;
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    }
    expect(fewer > 0);
    fixture_end(&fixture);
}

UNIT_MAIN(test_forest_warm)
