/* SPDX-License-Identifier: PostgreSQL */
/*
 * A forest under random work, with scopes, checkpoints, crashes in the middle of them, and damaged
 * blocks; against the model of forest_fixture.h.
 */
#include "../unit/forest_fixture.h"
#include "fuzz.h"

static struct forest_fixture fixture;

static bool
has_room(void)
{
    for (uint32_t tree = 0; tree < FIXTURE_TREE_COUNT; tree++) {
        const uint32_t count = fixture.model->counts[tree];
        if (count + EVENTS_PER_BATCH_MAX > FIXTURE_RECORDS_MAX) return false;
    }
    return forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM;
}

static void
reopen(void)
{
    const enum forest_open_result result = fixture_reopen(&fixture);
    assert(result == FOREST_OPENED);
    const bool same = fixture_same(&fixture);
    assert(same);
}

static void
checkpoint(struct prng *prng)
{
    const bool crash = prng_chance(prng, 1, 3);
    const enum forest_room room = forest_reserve(fixture.forest, 0);
    assert(room == FOREST_ROOM);
    if (crash) storage_sim_crash_after(&fixture.sim, prng_range(prng, 1, 60));
    fixture_checkpoint_start(&fixture);
    while (!fixture.checkpoint_done && !fixture.sim.crashed) {
        (void) storage_wait(&fixture.sim.storage);
    }
    if (fixture.sim.crashed) {
        storage_sim_restart(&fixture.sim);
        reopen();
        return;
    }
    storage_sim_crash_after(&fixture.sim, 0);
    fixture_checkpoint_finish(&fixture);
}

/* One bit of the file changes: the checkpoint is refused, or as before if nothing of it was hit. */
static void
damage(struct prng *prng)
{
    const uint64_t size = fixture.sim.storage.file_size_bytes[STORAGE_GRID];
    if (size == 0) return;
    const uint64_t place = prng_below(prng, size);
    const uint8_t bit = (uint8_t) (1 << prng_below(prng, 8));
    struct forest_open_report report;
    storage_sim_bytes(&fixture.sim, STORAGE_GRID)[place] ^= bit;
    const enum forest_open_result result = fixture_open(&fixture, &fixture.manifest, &report);
    assert(result == FOREST_OPENED || result == FOREST_OPEN_CORRUPT);
    if (result == FOREST_OPEN_CORRUPT) assert(report.block_address == place / BLOCK_SIZE + 1);
    storage_sim_bytes(&fixture.sim, STORAGE_GRID)[place] ^= bit;
    reopen();
}

static void
step(struct prng *prng)
{
    switch (prng_below(prng, 12)) {
    case 0: checkpoint(prng); return;
    case 1: damage(prng); return;
    case 2: {
        const bool same = fixture_same(&fixture);
        assert(same);
        return;
    }
    case 3: fixture.spread = UINT64_C(1) << prng_below(prng, 20); return;
    default: break;
    }
    if (!has_room()) {
        reopen();
        return;
    }
    fixture_batch(&fixture, (uint32_t) prng_range(prng, 1, EVENTS_PER_BATCH_MAX));
}

void
fuzz_forest(struct prng *prng, uint64_t rounds)
{
    fixture_begin(&fixture, prng, prng_below(prng, 4 * MIB));
    fixture.spread = UINT64_C(1) << prng_below(prng, 20);
    for (uint64_t round = 0; round < rounds; round++) {
        step(prng);
    }
    const bool same = fixture_same(&fixture);
    assert(same);
    fixture_end(&fixture);
}
