/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include "forest_fixture.h"

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
    fixture_begin(&fixture, &prng, 3 * MIB);
    fixture.spread = spread;
    for (uint32_t i = 0; i < batch_count; i++) {
        const enum forest_room room = forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX);
        assert(room == FOREST_ROOM);
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
    }
}

static bool
leaf_matches(const struct leaf *leaf, const struct fixture_item *item)
{
    if (leaf->whole_tree) return true;
    return fixture_field(item, &fixture_indexes[leaf->index]) == leaf->value;
}

static bool
plan_matches(const struct plan *plan, const struct fixture_item *item)
{
    if (item->timestamp < plan->window.timestamp_min) return false;
    if (item->timestamp > plan->window.timestamp_max) return false;
    bool any = plan->union_count == 0;
    for (uint32_t i = 0; i < plan->union_count; i++) {
        any |= leaf_matches(&plan->leaves[i], item);
    }
    if (!any) return false;
    for (uint32_t i = plan->union_count; i < plan->leaf_count; i++) {
        if (!leaf_matches(&plan->leaves[i], item)) return false;
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
            scan_tree(scan, fixture.forest, FIXTURE_ITEM, &plan->window);
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

/* Compares up to limit rows of the plan with the filtered model. */
static void
plan_check(struct plan *plan, uint32_t limit)
{
    const uint32_t count = fixture.model->counts[FIXTURE_ITEM];
    const bool ascending = plan->window.direction == SCAN_ASCENDING;
    uint64_t timestamp = 0;
    uint32_t found = 0;
    plan_make(plan);
    for (uint32_t i = 0; i < count && found < limit; i++) {
        const struct fixture_item *item =
            fixture_record(fixture.model, FIXTURE_ITEM, ascending ? i : count - 1 - i);
        if (!plan_matches(plan, item)) continue;
        found += 1;
        if (!scan_next(plan->root, &timestamp)) {
            expect(!"a row is missing");
            return;
        }
        expect_equal(timestamp, item->timestamp);
        if (timestamp != item->timestamp) return;
    }
    if (found == limit) return;
    expect(!scan_next(plan->root, &timestamp));
    expect(!scan_next(plan->root, &timestamp));
}

static uint64_t
random_timestamp(void)
{
    const uint32_t count = fixture.model->counts[FIXTURE_ITEM];
    switch (prng_below(&prng, 6)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return prng_below(&prng, fixture.timestamp + 3);
    case 3: return fixture.timestamp + prng_below(&prng, 2);
    default: break;
    }
    if (count == 0) return 1;
    const struct fixture_item *item =
        fixture_record(fixture.model, FIXTURE_ITEM, (uint32_t) prng_below(&prng, count));
    return item->timestamp;
}

static struct leaf
random_leaf(void)
{
    static const uint32_t indexes[] = {
        FIXTURE_ITEM_WIDE,
        FIXTURE_ITEM_MIDDLE,
        FIXTURE_ITEM_NARROW,
        FIXTURE_ITEM_TINY,
        FIXTURE_ITEM_TINY_ZERO,
    };
    const uint32_t count = fixture.model->counts[FIXTURE_ITEM];
    struct leaf leaf = {
        .whole_tree = prng_chance(&prng, 1, 12),
        .index = indexes[prng_below(&prng, ARRAY_COUNT(indexes))],
        .value = 1 + prng_below(&prng, 4),
    };
    if (count > 0 && prng_chance(&prng, 9, 10)) {
        const void *item =
            fixture_record(fixture.model, FIXTURE_ITEM, (uint32_t) prng_below(&prng, count));
        leaf.value = fixture_field(item, &fixture_indexes[leaf.index]);
    }
    if (leaf.value == 0 && !fixture_indexes[leaf.index].zero_indexed) leaf.whole_tree = true;
    return leaf;
}

static void
random_plan(struct plan *plan)
{
    *plan = (struct plan){
        .window = {random_timestamp(), random_timestamp(), SCAN_ASCENDING},
        .leaf_count = (uint32_t) prng_range(&prng, 1, prng_chance(&prng, 1, 5) ? LEAVES_MAX : 3),
    };
    if (prng_chance(&prng, 1, 2)) plan->window.direction = SCAN_DESCENDING;
    if (prng_chance(&prng, 1, 3)) plan->window.timestamp_min = 0;
    if (prng_chance(&prng, 1, 3)) plan->window.timestamp_max = UINT64_MAX;
    if (prng_chance(&prng, 1, 2)) {
        plan->union_count = (uint32_t) prng_range(&prng, 1, plan->leaf_count);
    }
    const uint32_t united = plan->union_count > 0 ? plan->union_count - 1 : 0;
    plan->intersected = plan->leaf_count - united > 1 || prng_chance(&prng, 1, 5);
    for (uint32_t i = 0; i < plan->leaf_count; i++) {
        plan->leaves[i] = random_leaf();
    }
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

/* The first row of the leaf's set from `row` on, in the plan's direction; ROW_NONE: none. */
static uint32_t
leaf_first(const struct plan *plan, const struct leaf *leaf, uint32_t row)
{
    const struct scan *root = plan->root;
    const uint32_t step = plan->window.direction == SCAN_ASCENDING ? 1u : UINT32_MAX;
    for (; row >= root->row_min && row < root->row_end; row += step) {
        if (leaf_matches(leaf, fixture_record(fixture.model, FIXTURE_ITEM, row))) return row;
    }
    return ROW_NONE;
}

/* Between two rows of the plan, each of its inputs stands where it can neither miss nor repeat. */
UNIT_TEST(x1_inputs_stand_at_their_first_row_from_the_target)
{
    static struct plan plan;
    begin(5, 6, 20);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t timestamp;
        random_plan(&plan);
        plan_make(&plan);
        while (scan_next(plan.root, &timestamp)) {
            rows += 1;
            for (uint32_t leaf = 0; leaf < plan.leaf_count; leaf++) {
                const struct scan *scan = &plan.leaf_scans[leaf];
                const uint32_t first = leaf_first(&plan, &plan.leaves[leaf], plan.root->row);
                expect_equal(scan->exhausted, first == ROW_NONE);
                if (!scan->exhausted) expect_equal(scan->row, first);
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
            plan.leaves[0] = (struct leaf){.index = FIXTURE_ITEM_WIDE, .value = U128_MAX};
            plan_check(&plan, UINT32_MAX);
        }
        expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
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
        plan.leaves[0] = random_leaf();
        plan.leaves[1] = random_leaf();
        for (uint32_t leaf = 2; leaf < LEAVES_MAX; leaf++) {
            plan.leaves[leaf] = plan.leaves[leaf % 2];
        }
        plan_check(&plan, UINT32_MAX);
    }
    fixture_end(&fixture);
}

/* Long lists that rarely meet: leapfrog goes far, over many chunks. */
UNIT_TEST(x1_intersection_leaps_over_chunks)
{
    static struct plan plan;
    begin(4, 2, 0);
    for (uint32_t batch = 0; batch < 150; batch++) {
        expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
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
    }
    static const uint32_t pairs[][2] = {
        {FIXTURE_ITEM_WIDE, FIXTURE_ITEM_MIDDLE},
        {FIXTURE_ITEM_MIDDLE, FIXTURE_ITEM_NARROW},
        {FIXTURE_ITEM_TINY, FIXTURE_ITEM_NARROW},
    };
    for (uint32_t i = 0; i < 200; i++) {
        plan = (struct plan){
            .window = {random_timestamp(), random_timestamp(), i % 2},
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

UNIT_MAIN(test_scan)
