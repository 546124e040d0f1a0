/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include <string.h>

#include "forest_fixture.h"
#include "unit/reserve.h"

static struct forest_fixture fixture;
static struct prng prng;

#define LEAVES_MAX SCAN_INPUTS_MAX

/* A plan as a description, and as the scans made from it. */
struct leaf {
    bool whole_tree;
    uint32_t index;
    u128 value;
};

struct plan {
    uint32_t groove;
    struct scan_window window;
    struct leaf leaves[LEAVES_MAX];
    uint32_t leaf_count;
    uint32_t union_count; /* The first so many leaves are united, if more than 0. */
    bool intersected; /* The union, if any, and the other leaves; else there is one thing only. */

    struct scan leaf_scans[LEAVES_MAX];
    struct scan union_scan;
    struct scan intersection_scan;
    struct scan *root;
};

static void
begin(uint64_t seed, uint64_t spread, uint32_t batch_count)
{
    prng_init(&prng, seed);
    fixture_begin(&fixture, &prng, 300 * KIB);
    fixture.spread = spread;
    for (uint32_t i = 0; i < batch_count; i++) {
        const enum forest_room room = reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX);
        assert(room == FOREST_ROOM);
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
    }
}

/* By the hash of the value, as the forest does: there are few, so that many values collide. */
static bool
leaf_matches(const struct leaf *leaf, const void *record)
{
    if (leaf->whole_tree) return true;
    const struct index_schema *schema = &fixture_indexes[leaf->index];
    const u128 field = fixture_field(record, schema);
    if (!fixture_indexed(record, schema)) return false;
    return fixture_same_key(schema, field, leaf->value);
}

static bool
plan_matches(const struct plan *plan, const void *record)
{
    const uint64_t timestamp = fixture_timestamp(record, plan->groove);
    if (timestamp < plan->window.timestamp_min) return false;
    if (timestamp > plan->window.timestamp_max) return false;
    bool any = plan->union_count == 0;
    for (uint32_t i = 0; i < plan->union_count; i++) {
        any |= leaf_matches(&plan->leaves[i], record);
    }
    if (!any) return false;
    for (uint32_t i = plan->union_count; i < plan->leaf_count; i++) {
        if (!leaf_matches(&plan->leaves[i], record)) return false;
    }
    return true;
}

static void
plan_make(struct plan *plan)
{
    struct scan *inputs[LEAVES_MAX];
    uint32_t input_count = 0;
    for (uint32_t i = 0; i < plan->leaf_count; i++) {
        const struct leaf *leaf = &plan->leaves[i];
        struct scan *scan = &plan->leaf_scans[i];
        if (leaf->whole_tree) {
            scan_groove(scan, fixture.forest, plan->groove, &plan->window);
        } else {
            scan_index(scan, fixture.forest, leaf->index, leaf->value, &plan->window);
        }
        inputs[input_count] = scan;
        input_count += 1;
        if (i + 1 == plan->union_count) {
            scan_union(&plan->union_scan, inputs, input_count);
            inputs[0] = &plan->union_scan;
            input_count = 1;
        }
    }
    plan->root = inputs[0];
    if (plan->intersected) {
        scan_intersection(&plan->intersection_scan, inputs, input_count);
        plan->root = &plan->intersection_scan;
    }
    assert(plan->intersected || input_count == 1);
}

/* What the plan gives, by the model. */
static uint32_t
plan_expected(const struct plan *plan, uint64_t *timestamps)
{
    const uint32_t count = fixture.model->counts[plan->groove];
    const bool ascending = plan->window.direction == SCAN_ASCENDING;
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = ascending ? i : count - 1 - i;
        const void *record = fixture_record(fixture.model, plan->groove, row);
        if (!plan_matches(plan, record)) continue;
        timestamps[found] = fixture_timestamp(record, plan->groove);
        found += 1;
    }
    return found;
}

/* Compares up to limit rows of the plan with the filtered model. */
static void
plan_check(struct plan *plan, uint32_t limit)
{
    static uint64_t expected[FIXTURE_RECORDS_MAX];
    const uint32_t count = plan_expected(plan, expected);
    uint64_t timestamp = 0;
    plan_make(plan);
    for (uint32_t i = 0; i < count && i < limit; i++) {
        if (!fixture_scan_next(&fixture, plan->root, &timestamp)) {
            expect(!"a row is missing");
            return;
        }
        expect_equal(timestamp, expected[i]);
        if (timestamp != expected[i]) return;
    }
    if (count >= limit) return;
    expect(!fixture_scan_next(&fixture, plan->root, &timestamp));
    expect(!fixture_scan_next(&fixture, plan->root, &timestamp));
}

static uint64_t
random_timestamp(const struct plan *plan)
{
    const uint32_t count = fixture.model->counts[plan->groove];
    switch (prng_below(&prng, 6)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return prng_below(&prng, fixture.timestamp + 3);
    case 3: return fixture.timestamp + prng_below(&prng, 2);
    default: break;
    }
    if (count == 0) return 1;
    const uint32_t row = (uint32_t) prng_below(&prng, count);
    return fixture_timestamp(fixture_record(fixture.model, plan->groove, row), plan->groove);
}

static struct leaf
random_leaf(uint32_t groove)
{
    static const uint32_t indexes[] = {
        FIXTURE_ITEM_WIDE,
        FIXTURE_ITEM_MIDDLE,
        FIXTURE_ITEM_NARROW,
        FIXTURE_ITEM_TINY,
        FIXTURE_ITEM_TINY_ZERO,
        FIXTURE_ITEM_PARTIAL,
    };
    const uint32_t count = fixture.model->counts[groove];
    struct leaf leaf = {
        .whole_tree = prng_chance(&prng, 1, 12),
        .index = indexes[prng_below(&prng, ARRAY_COUNT(indexes))],
        .value = 1 + prng_below(&prng, 4),
    };
    if (groove == FIXTURE_OWNER) leaf.index = FIXTURE_OWNER_GROUP;
    if (count > 0 && prng_chance(&prng, 9, 10)) {
        const void *record =
            fixture_record(fixture.model, groove, (uint32_t) prng_below(&prng, count));
        leaf.value = fixture_field(record, &fixture_indexes[leaf.index]);
    }
    if (leaf.value == 0 && !fixture_indexes[leaf.index].zero_indexed) leaf.whole_tree = true;
    return leaf;
}

static void
random_plan(struct plan *plan)
{
    *plan = (struct plan){
        .groove = prng_chance(&prng, 1, 4) ? FIXTURE_OWNER : FIXTURE_ITEM,
        .leaf_count = (uint32_t) prng_range(&prng, 1, prng_chance(&prng, 1, 5) ? LEAVES_MAX : 3),
    };
    plan->window.timestamp_min = random_timestamp(plan);
    plan->window.timestamp_max = random_timestamp(plan);
    if (prng_chance(&prng, 1, 2)) plan->window.direction = SCAN_DESCENDING;
    if (prng_chance(&prng, 1, 3)) plan->window.timestamp_min = 0;
    if (prng_chance(&prng, 1, 3)) plan->window.timestamp_max = UINT64_MAX;
    if (prng_chance(&prng, 1, 2)) {
        plan->union_count = (uint32_t) prng_range(&prng, 1, plan->leaf_count);
    }
    const uint32_t united = plan->union_count > 0 ? plan->union_count - 1 : 0;
    plan->intersected = plan->leaf_count - united > 1 || prng_chance(&prng, 1, 5);
    for (uint32_t i = 0; i < plan->leaf_count; i++) {
        plan->leaves[i] = random_leaf(plan->groove);
    }
}

/* With a window that ends now or before: it gives the same however long it takes. */
static void
random_plan_of_now(struct plan *plan)
{
    random_plan(plan);
    const uint64_t newest = forest_newest(fixture.forest, plan->groove);
    plan->window.timestamp_max = min_u64(plan->window.timestamp_max, newest);
}

UNIT_TEST(random_plans_give_what_a_filter_gives)
{
    static const uint64_t spreads[] = {2, 4, 12, 60, 1000};
    static struct plan plan;
    for (uint32_t s = 0; s < ARRAY_COUNT(spreads); s++) {
        for (uint32_t size = 0; size < 3; size++) {
            begin(100 * s + size, spreads[s], size == 0 ? 1 : size * 30);
            for (uint32_t i = 0; i < 150; i++) {
                random_plan(&plan);
                const bool whole = prng_chance(&prng, 3, 4);
                plan_check(&plan, whole ? UINT32_MAX : (uint32_t) prng_range(&prng, 1, 20));
            }
            fixture_end(&fixture);
        }
    }
}

/* The first of the leaf's set from the timestamp on, in the plan's direction; 0: none. */
static uint64_t
leaf_first(const struct plan *plan, const struct leaf *leaf, uint64_t timestamp)
{
    const uint32_t count = fixture.model->counts[plan->groove];
    const bool ascending = plan->window.direction == SCAN_ASCENDING;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = ascending ? i : count - 1 - i;
        const void *record = fixture_record(fixture.model, plan->groove, row);
        const uint64_t at = fixture_timestamp(record, plan->groove);
        if (ascending ? at < timestamp : at > timestamp) continue;
        if (at < plan->window.timestamp_min || at > plan->window.timestamp_max) return 0;
        if (leaf_matches(leaf, record)) return at;
    }
    return 0;
}

/* (X1) Between two rows, each of the inputs stands where it can neither miss nor repeat. */
UNIT_TEST(x1_inputs_stand_at_their_first_row_from_the_target)
{
    static struct plan plan;
    begin(5, 6, 20);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t timestamp;
        random_plan(&plan);
        plan_make(&plan);
        while (fixture_scan_next(&fixture, plan.root, &timestamp)) {
            rows += 1;
            for (uint32_t leaf = 0; leaf < plan.leaf_count; leaf++) {
                const struct scan *scan = &plan.leaf_scans[leaf];
                const uint64_t first = leaf_first(&plan, &plan.leaves[leaf], timestamp);
                expect_equal(scan->exhausted, first == 0);
                if (!scan->exhausted) expect_equal(scan->timestamp, first);
            }
        }
    }
    expect(rows > 1000);
    fixture_end(&fixture);
}

/* Each pair of bounds of a short list, both ways: the bounds themselves are included. */
UNIT_TEST(windows_are_inclusive)
{
    static struct plan plan;
    begin(1, 2, 1);
    for (uint64_t min = 0; min <= fixture.timestamp + 1; min++) {
        for (uint64_t max = 0; max <= fixture.timestamp + 1; max++) {
            for (uint32_t way = 0; way < 4; way++) {
                plan = (struct plan){
                    .window = {min, max, way % 2 == 0 ? SCAN_ASCENDING : SCAN_DESCENDING},
                    .leaves = {{.whole_tree = way < 2, .index = FIXTURE_ITEM_TINY_ZERO}},
                    .leaf_count = 1,
                };
                plan_check(&plan, UINT32_MAX);
            }
        }
    }
    fixture_end(&fixture);
}

UNIT_TEST(empty_tree_and_absent_values)
{
    static struct plan plan;
    begin(2, 4, 0);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 200; i++) {
            random_plan(&plan);
            const bool owner = plan.groove == FIXTURE_OWNER;
            plan.leaves[0] = (struct leaf){
                .index = owner ? FIXTURE_OWNER_GROUP : FIXTURE_ITEM_MIDDLE,
                .value = 0xffffffff,
            };
            plan_check(&plan, UINT32_MAX);
        }
        expect(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
    }
    fixture_end(&fixture);
}

/*
 * The same record in several inputs comes once; the same scan twice in an intersection changes
 * nothing.
 */
UNIT_TEST(duplicates_come_once)
{
    static struct plan plan;
    begin(3, 6, 30);
    for (uint32_t i = 0; i < 100; i++) {
        random_plan(&plan);
        plan.leaf_count = LEAVES_MAX;
        plan.union_count = i % 2 == 0 ? LEAVES_MAX : 0;
        plan.intersected = i % 2 == 1;
        plan.leaves[0] = random_leaf(plan.groove);
        plan.leaves[1] = random_leaf(plan.groove);
        for (uint32_t leaf = 2; leaf < LEAVES_MAX; leaf++) {
            plan.leaves[leaf] = plan.leaves[leaf % 2];
        }
        plan_check(&plan, UINT32_MAX);
    }
    fixture_end(&fixture);
}

/* (X1) Long lists that rarely meet: leapfrog goes far, over many blocks. */
UNIT_TEST(x1_intersection_leaps_over_blocks)
{
    static struct plan plan;
    begin(4, 2, 0);
    for (uint32_t batch = 0; batch < 150; batch++) {
        expect(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            fixture.timestamp += 1;
            const uint64_t number = fixture.timestamp;
            const struct fixture_item item = {
                .id = number,
                .wide = 1 + number / 700 % 2,   /* Long runs … */
                .middle = 1 + number / 701 % 2, /* … that overlap at their ends. */
                .narrow = 1 + (number % 997 == 0),
                .tiny = 1,
                .timestamp = number,
            };
            fixture_insert(&fixture, FIXTURE_ITEM, &item);
        }
        fixture_op_commit(&fixture);
    }
    static const uint32_t pairs[][2] = {
        {FIXTURE_ITEM_WIDE, FIXTURE_ITEM_MIDDLE},
        {FIXTURE_ITEM_MIDDLE, FIXTURE_ITEM_NARROW},
        {FIXTURE_ITEM_TINY, FIXTURE_ITEM_NARROW},
    };
    for (uint32_t i = 0; i < 200; i++) {
        plan = (struct plan){
            .window = {prng_below(&prng, 4500), prng_below(&prng, 4500), i % 2},
            .leaf_count = 2,
            .intersected = true,
        };
        if (i % 4 < 2) plan.window = (struct scan_window){0, UINT64_MAX, i % 2};
        for (uint32_t leaf = 0; leaf < 2; leaf++) {
            plan.leaves[leaf] = (struct leaf){
                .index = pairs[i % ARRAY_COUNT(pairs)][leaf],
                .value = 1 + prng_below(&prng, 2),
            };
        }
        plan_check(&plan, UINT32_MAX);
    }
    fixture_end(&fixture);
}

/* ---- While the forest changes -------------------------------------------------------------- */

#define LIVE_PLANS 4

static struct live {
    struct plan plan;
    uint64_t expected[FIXTURE_RECORDS_MAX];
    uint32_t count;
    uint32_t given;
} lives[LIVE_PLANS];

static uint32_t live_rows;
static uint32_t live_waits;

static void
live_start(struct live *live)
{
    random_plan_of_now(&live->plan);
    live->count = plan_expected(&live->plan, live->expected);
    live->given = 0;
    plan_make(&live->plan);
}

/* One call of scan_next; what must be waited for may come or not until the next one. */
static void
live_step(struct live *live)
{
    uint64_t timestamp = 0;
    switch (scan_next(live->plan.root, &timestamp)) {
    case SCAN_WAIT: live_waits += 1; return;
    case SCAN_FOUND:
        expect(live->given < live->count);
        if (live->given < live->count) expect_equal(timestamp, live->expected[live->given]);
        live->given += 1;
        live_rows += 1;
        return;
    case SCAN_LOST: expect(!"lost"); return;
    case SCAN_END:
        expect_equal(live->given, live->count);
        live_start(live);
        return;
    }
}

/* In the middle of an op's work, or of a checkpoint, too. */
static void
live_on_progress(struct forest_fixture *at)
{
    if (at->forest->active) return;
    live_step(&lives[prng_below(&at->prng_sim, LIVE_PLANS)]);
}

/* Scans that take long see exactly their window, though ops, merges and checkpoints go on. */
UNIT_TEST(x1_scans_see_their_window_while_the_forest_changes)
{
    live_rows = 0;
    live_waits = 0;
    uint32_t levels = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(seed + 300, seed % 2 == 0 ? 6 : 300, 2);
        for (uint32_t i = 0; i < LIVE_PLANS; i++) live_start(&lives[i]);
        fixture.on_progress = live_on_progress;
        for (uint32_t batch = 0; batch < 110; batch++) {
            expect(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
            fixture_batch(&fixture, (uint32_t) prng_range(&prng, 1, EVENTS_PER_BATCH_MAX));
            if (prng_chance(&prng, 1, 9)) fixture_checkpoint(&fixture);
            if (prng_chance(&prng, 1, 5)) fixture_chill(&fixture);
            const uint32_t steps = (uint32_t) prng_below(&prng, 30);
            for (uint32_t i = 0; i < steps; i++) {
                live_step(&lives[prng_below(&prng, LIVE_PLANS)]);
                if (fixture.sim.storage.in_flight_count == 0) continue;
                storage_sim_tick(&fixture.sim);
                (void) storage_poll(&fixture.sim.storage);
            }
        }
        fixture.on_progress = NULL;
        for (uint32_t i = 0; i < LIVE_PLANS; i++) {
            struct live *live = &lives[i];
            uint64_t timestamp;
            while (fixture_scan_next(&fixture, live->plan.root, &timestamp)) {
                expect(live->given < live->count);
                expect_equal(timestamp, live->expected[live->given]);
                live->given += 1;
            }
            expect_equal(live->given, live->count);
        }
        for (uint32_t part = 0; part < fixture.forest->part_count; part++) {
            const struct tree *tree = &fixture.forest->parts[part].tree;
            for (uint32_t level = 0; level < LSM_LEVELS; level++) {
                if (tree->run_count[level] > 0) levels = (uint32_t) max_u64(levels, level + 1);
            }
        }
        fixture_end(&fixture);
    }
    expect(live_rows > 5000);
    expect(live_waits > 300);
    expect(levels >= 4);
}

/* ---- Damage -------------------------------------------------------------------------------- */

static enum scan_result
next_or_lost(struct scan *scan, uint64_t *timestamp)
{
    enum scan_result result;
    while ((result = scan_next(scan, timestamp)) == SCAN_WAIT) fixture_progress(&fixture);
    return result;
}

/* A scan says that it is lost as often as it is asked, and goes on when the block is whole. */
UNIT_TEST(a_scan_that_is_lost_goes_on_after_mending)
{
    static struct plan plan;
    static uint64_t expected[FIXTURE_RECORDS_MAX];
    uint32_t lost = 0;
    begin(400, 20, 40);
    fixture_checkpoint(&fixture);
    for (uint32_t i = 0; i < 600; i++) {
        char healthy[BLOCK_SIZE];
        uint64_t address = prng_range(&prng, 1, fixture.grid.free_set.acquired_count);
        address = fixture_next_acquired(&fixture, address);
        if (address == 0) continue;
        uint8_t *block =
            storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
        const struct block_header *header = (const void *) block;
        if (header->type != BLOCK_VALUES && header->type != BLOCK_INDEX) continue;
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        memcpy(healthy, block, BLOCK_SIZE);
        storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, 1);
        random_plan(&plan);
        plan_make(&plan);
        const uint32_t count = plan_expected(&plan, expected);
        uint32_t given = 0;
        uint64_t timestamp;
        enum scan_result result;
        while ((result = next_or_lost(plan.root, &timestamp)) != SCAN_END) {
            if (result == SCAN_LOST) {
                struct forest_damage damage;
                forest_damage(fixture.forest, &damage);
                expect_equal(damage.block_address, address);
                expect_equal(next_or_lost(plan.root, &timestamp), SCAN_LOST);
                memcpy(block, healthy, BLOCK_SIZE);
                lost += 1;
                continue;
            }
            expect(given < count && timestamp == expected[given]);
            given += 1;
        }
        expect_equal(given, count);
        memcpy(block, healthy, BLOCK_SIZE);
    }
    expect(lost > 20);
    fixture_end(&fixture);
}

UNIT_MAIN(test_scan)
