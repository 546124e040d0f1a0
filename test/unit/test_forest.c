/* SPDX-License-Identifier: PostgreSQL */
/*
 * The forest against its model. What it does to the disk is in test_forest_disk.c: room, damage,
 * the same bytes after crashes.
 */
#include <string.h>

#include "unit/forest_fixture.h"
#include "unit/reserve.h"
#include "unit/unit.h"
#include "unit/unit_aborts.h"

static struct forest_fixture fixture;
static struct prng prng;

/* Items with ids that are easy to tell, one an event. */
static void
insert_items(uint64_t first_id, uint32_t count)
{
    expect(reserve_now(fixture.forest, count) == FOREST_ROOM);
    fixture_op_begin(&fixture, count);
    for (uint32_t i = 0; i < count; i++) {
        fixture.timestamp += 1;
        const struct fixture_item item = {
            .id = first_id + i,
            .middle = 1,
            .timestamp = fixture.timestamp,
        };
        fixture_insert(&fixture, FIXTURE_ITEM, &item);
    }
    fixture_op_commit(&fixture);
}

UNIT_TEST(byte_table_is_as_documented)
{
#define AT(record, field, offset) expect_equal(offsetof(struct record, field), offset)
    AT(root_content, manifest, 0);
    AT(root_content, free_set, 32);
    AT(root_content, annex, 64);
    AT(root_content, item_count, 96);
    AT(root_content, word_count, 104);
    AT(root_content, newest, 112);
    AT(root_content, record_count, 176);
    AT(root_content, memo, 240);
    AT(root_content, note, 256);
    AT(root_content, reserved, 448);
    expect_equal(sizeof(struct root_content), 464);
    AT(manifest_run, hidden, 0);
    AT(manifest_run, table_count, 16);
    AT(manifest_run, part, 24);
    AT(manifest_run, level, 25);
    AT(manifest_run, flags, 26);
    AT(manifest_run, reserved, 27);
    AT(table_info, index, 0);
    AT(table_info, key_min, 32);
    AT(table_info, key_max, 48);
    AT(table_info, entry_count, 64);
    AT(table_info, block_count, 72);
    AT(table_info, filter_count, 74);
    AT(table_info, filter_lines, 76);
    expect_equal(sizeof(struct table_info), 80);
    AT(table_block, key_last, 0);
    AT(table_block, checksum, 16);
    AT(table_block, address, 32);
    AT(table_block, entry_count, 40);
    AT(table_block, reserved, 44);
    AT(table_block, sector_sums, 48);
    expect_equal(sizeof(struct table_block), 48 + 8 * BLOCK_SECTORS);
#undef AT
}

/* ---- All of it ----------------------------------------------------------------------------- */

UNIT_TEST(empty_forest_answers)
{
    fixture_begin_seed(&fixture, &prng, 1, 0);
    expect(fixture_same(&fixture));
    struct forest_range position = {0};
    expect(!fixture_range_next(&fixture, FIXTURE_STATE_DUE, &position));
    expect(reserve_now(fixture.forest, 0) == FOREST_ROOM);
    fixture_checkpoint(&fixture);
    expect(fixture.root.address != 0);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

UNIT_TEST(measuring_takes_what_the_real_arena_takes)
{
    struct arena arena;
    struct grid grid;
    arena_init_measuring(&arena);
    grid_init(&grid, &arena, NULL, FIXTURE_GRID_BLOCKS_MAX);
    const uint64_t bytes_min = forest_memory_bytes_min(&grid, &fixture_schema);
    for (uint64_t extra = 0; extra < MIB; extra += 77777) {
        const struct forest_options options = {
            .schema = &fixture_schema, .memory_bytes = bytes_min + extra};
        const uint64_t used_before = arena.used_bytes;
        expect(forest_init(&arena, &grid, &options) == NULL);
        expect(arena.used_bytes - used_before <= options.memory_bytes);
        /* Not much is left over. */
        expect(arena.used_bytes - used_before + 4 * BLOCK_SIZE > options.memory_bytes);
    }
}

/* (F4) Among it checkpoints, and opening them. */
UNIT_TEST(f4_random_work_answers_as_the_model)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, prng_below(&prng, 4) * 200 * KIB);
        fixture.spread = seed % 2 == 0 ? 10 : 500;
        for (uint32_t i = 0; i < 9; i++) {
            fixture_batches(&fixture, (uint32_t) prng_range(&prng, 1, 14));
            if (prng_chance(&prng, 1, 3)) expect(fixture_same(&fixture));
            if (prng_chance(&prng, 1, 3)) continue;
            fixture_checkpoint(&fixture);
            expect(fixture_blocks_accounted(&fixture));
            if (prng_chance(&prng, 1, 3)) expect(fixture_same(&fixture));
            if (prng_chance(&prng, 1, 3)) continue;
            expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
            if (prng_chance(&prng, 1, 2)) expect(fixture_same(&fixture));
        }
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
}

/* (F4) Many checkpoints with hardly anything between: small runs, merges that are always cut. */
UNIT_TEST(f4_checkpoints_after_every_op)
{
    fixture_begin_seed(&fixture, &prng, 20, 3 * MIB);
    for (uint32_t i = 0; i < 120; i++) {
        fixture_batches(&fixture, 1);
        fixture_checkpoint(&fixture);
        expect(fixture_blocks_accounted(&fixture));
        if (i % 3 == 0) expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        if (i % 20 == 0) expect(fixture_same(&fixture));
    }
    expect(fixture_same(&fixture));
    fixture_checkpoint(&fixture);
    fixture_checkpoint(&fixture); /* Of nothing new. */
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* (F1) The newest timestamp is known; scans give all of them, in order. */
UNIT_TEST(f1_timestamps_ascend)
{
    fixture_begin_seed(&fixture, &prng, 3, 0);
    fixture_batches(&fixture, 20);
    for (uint32_t groove = 0; groove < FIXTURE_GROOVE_COUNT; groove++) {
        uint64_t before = 0;
        const struct scan_window window = {1, TIMESTAMP_MAX, SCAN_ASCENDING};
        struct scan scan;
        uint64_t timestamp;
        uint32_t count = 0;
        if (groove == FIXTURE_STATE) continue; /* Changes, and has no id: no list of all. */
        scan_groove(&scan, fixture.forest, groove, &window);
        while (fixture_scan_next(&fixture, &scan, &timestamp)) {
            expect(timestamp > before);
            before = timestamp;
            count += 1;
        }
        expect_equal(count, fixture.model->counts[groove]);
        expect_equal(before, forest_newest(fixture.forest, groove));
    }
    fixture_end(&fixture);
}

static void
insert_an_old_timestamp(void)
{
    fixture_op_begin(&fixture, 1);
    fixture.timestamp = forest_newest(fixture.forest, FIXTURE_NOTE);
    const struct fixture_note note = {.timestamp = fixture.timestamp};
    forest_insert(fixture.forest, FIXTURE_NOTE, &note);
}

UNIT_TEST(f1_an_old_timestamp_is_a_bug)
{
    fixture_begin_seed(&fixture, &prng, 4, 0);
    fixture_batches(&fixture, 3);
    expect(aborts(insert_an_old_timestamp));
    fixture_end(&fixture);
}

/* ---- Scopes -------------------------------------------------------------------------------- */

/* (F2) Everything an op of the largest size does is undone; the op goes on after it. */
UNIT_TEST(f2_discarded_scope_leaves_no_trace)
{
    fixture_begin_seed(&fixture, &prng, 5, 300 * KIB);
    for (uint32_t round = 0; round < 60; round++) {
        fixture.spread = prng_chance(&prng, 1, 2) ? 8 : 1000;
        fixture_batches(&fixture, 1);
        expect(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        const uint32_t before = (uint32_t) prng_below(&prng, EVENTS_PER_BATCH_MAX / 2);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < before; i++) {
            fixture_event(&fixture, false);
        }
        memcpy(fixture.model_saved, fixture.model, sizeof(*fixture.model));
        forest_scope_open(fixture.forest);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX / 4; i++) {
            fixture_event(&fixture, true);
        }
        forest_scope_discard(fixture.forest);
        memcpy(fixture.model, fixture.model_saved, sizeof(*fixture.model));
        if (round % 3 == 0) expect(fixture_same(&fixture));
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX / 4; i++) {
            fixture_event(&fixture, false);
        }
        fixture_op_commit(&fixture);
        if (round % 7 == 0) expect(fixture_same(&fixture));
        if (round % 10 == 5) fixture_checkpoint(&fixture);
        if (round % 20 == 5) expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    }
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* (F2) Ids that were inserted in it are absent, and can come again with other timestamps. */
UNIT_TEST(f2_ids_of_a_discarded_scope_come_again)
{
    const u128 id = u128_make(7, 7);
    const void *record;
    fixture_begin_seed(&fixture, &prng, 6, 0);
    fixture_batches(&fixture, 2);
    fixture_op_begin(&fixture, 3);
    for (uint32_t groove = FIXTURE_ITEM; groove <= FIXTURE_OWNER; groove++) {
        expect_equal(fixture_prefetch_id(&fixture, groove, &id, NULL), FOREST_ABSENT);
    }
    for (uint32_t round = 0; round < 3; round++) {
        fixture.timestamp += 1;
        const struct fixture_item item = {.id = id, .timestamp = fixture.timestamp};
        const struct fixture_owner owner = {.id = id, .rank = 3, .timestamp = fixture.timestamp};
        forest_scope_open(fixture.forest);
        memcpy(fixture.model_saved, fixture.model, sizeof(*fixture.model));
        fixture_insert(&fixture, FIXTURE_ITEM, &item);
        fixture_insert(&fixture, FIXTURE_OWNER, &owner);
        for (uint32_t groove = FIXTURE_ITEM; groove <= FIXTURE_OWNER; groove++) {
            const enum forest_found found =
                forest_get_by_id(fixture.forest, groove, &id, &record);
            expect_equal(found, FOREST_FOUND);
            expect_equal(fixture_timestamp(record, groove), fixture.timestamp);
            expect(forest_get(fixture.forest, groove, fixture.timestamp) == record);
        }
        if (round == 2) {
            forest_scope_persist(fixture.forest);
            break;
        }
        forest_scope_discard(fixture.forest);
        memcpy(fixture.model, fixture.model_saved, sizeof(*fixture.model));
        for (uint32_t groove = FIXTURE_ITEM; groove <= FIXTURE_OWNER; groove++) {
            expect_equal(forest_get_by_id(fixture.forest, groove, &id, &record), FOREST_ABSENT);
        }
    }
    fixture_op_commit(&fixture);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* (F2) Updates in a discarded scope, of records that were changed before and of others. */
UNIT_TEST(f2_updates_are_undone_to_what_they_were)
{
    fixture_begin_seed(&fixture, &prng, 7, 0);
    fixture_batches(&fixture, 10);
    fixture_checkpoint(&fixture);
    for (uint32_t round = 0; round < 40; round++) {
        fixture_op_begin(&fixture, 10);
        for (uint32_t i = 0; i < 5; i++) fixture_update_owner(&fixture);
        memcpy(fixture.model_saved, fixture.model, sizeof(*fixture.model));
        forest_scope_open(fixture.forest);
        for (uint32_t i = 0; i < 10; i++) fixture_update_owner(&fixture);
        for (uint32_t i = 0; i < 5; i++) fixture_update_state(&fixture);
        forest_scope_discard(fixture.forest);
        memcpy(fixture.model, fixture.model_saved, sizeof(*fixture.model));
        fixture_op_commit(&fixture);
        expect(fixture_same_groove(&fixture, FIXTURE_OWNER));
        expect(fixture_same_groove(&fixture, FIXTURE_STATE));
    }
    fixture_checkpoint(&fixture);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* ---- Burnt ids ----------------------------------------------------------------------------- */

static void
expect_burnt(const u128 *id)
{
    struct fixture_item item;
    const void *record;
    expect_equal(fixture_read_by_id(&fixture, FIXTURE_ITEM, id, &item), FOREST_BURNT);
    fixture_op_begin(&fixture, 1);
    expect_equal(fixture_prefetch_id(&fixture, FIXTURE_ITEM, id, &record), FOREST_BURNT);
    expect_equal(fixture_prefetch_id(&fixture, FIXTURE_ITEM, id, &record), FOREST_BURNT);
    expect_equal(forest_get_by_id(fixture.forest, FIXTURE_ITEM, id, &record), FOREST_BURNT);
    fixture_op_commit(&fixture);
}

/* In the op, in the tail, in tables, after a restart; and among many others. */
UNIT_TEST(burnt_ids_stay_burnt)
{
    const u128 id = u128_make(3, 14);
    const void *record;
    fixture_begin_seed(&fixture, &prng, 8, 0);
    fixture_batches(&fixture, 3);
    fixture_op_begin(&fixture, 1);
    fixture.timestamp += 1;
    const struct fixture_burnt burnt = {.id = id, .timestamp = fixture.timestamp};
    expect_equal(fixture_prefetch_id(&fixture, FIXTURE_ITEM, &id, NULL), FOREST_ABSENT);
    forest_burn_id(fixture.forest, FIXTURE_ITEM, &burnt);
    fixture_append(&fixture, FIXTURE_BURNT, &burnt);
    expect_equal(forest_get_by_id(fixture.forest, FIXTURE_ITEM, &id, &record), FOREST_BURNT);
    fixture_op_commit(&fixture);
    expect_burnt(&id);
    for (uint32_t round = 0; round < 6; round++) {
        fixture_batches(&fixture, 6);
        expect_burnt(&id);
        if (round % 2 == 0) continue;
        fixture_checkpoint(&fixture);
        expect_burnt(&id);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect_burnt(&id);
    }
    /* Everything that can be burnt in one op is known to be, at the same time. */
    const uint32_t count = (uint32_t) min_u64(fixture.model->counts[FIXTURE_BURNT], 25);
    fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const u128 *each = &fixture.model->burnt[i].id;
        expect_equal(fixture_prefetch_id(&fixture, FIXTURE_ITEM, each, NULL), FOREST_BURNT);
    }
    for (uint32_t i = 0; i < count; i++) {
        const u128 *each = &fixture.model->burnt[i].id;
        expect_equal(
            forest_get_by_id(fixture.forest, FIXTURE_ITEM, each, &record), FOREST_BURNT);
    }
    fixture_op_commit(&fixture);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* ---- Prefetch ------------------------------------------------------------------------------ */

static void
get_what_was_not_prefetched(void)
{
    fixture_op_begin(&fixture, 1);
    (void) forest_get(fixture.forest, FIXTURE_ITEM, 1);
}

static void
get_by_id_what_was_not_prefetched(void)
{
    const u128 id = 1;
    const void *record;
    fixture_op_begin(&fixture, 1);
    (void) forest_get_by_id(fixture.forest, FIXTURE_ITEM, &id, &record);
}

/* What an op asked for is forgotten when it ends. */
static void
get_by_id_what_was_prefetched_before(void)
{
    const u128 absent = u128_make(9, 9);
    const void *record;
    fixture_op_begin(&fixture, 1);
    (void) fixture_prefetch_id(&fixture, FIXTURE_ITEM, &absent, NULL);
    if (forest_get_by_id(fixture.forest, FIXTURE_ITEM, &absent, &record) != FOREST_ABSENT) return;
    fixture_op_commit(&fixture);
    fixture_op_begin(&fixture, 1);
    (void) forest_get_by_id(fixture.forest, FIXTURE_ITEM, &absent, &record);
}

UNIT_TEST(execution_is_caught_when_it_asks_for_more)
{
    fixture_begin_seed(&fixture, &prng, 9, 0);
    insert_items(1, 20);
    fixture_checkpoint(&fixture);
    expect(aborts(get_what_was_not_prefetched));
    expect(aborts(get_by_id_what_was_not_prefetched));
    expect(aborts(get_by_id_what_was_prefetched_before));
    fixture_end(&fixture);
}

/* What was brought stays where it is for the op, however much else is. */
UNIT_TEST(prefetched_records_stay_for_the_op)
{
    fixture_begin_seed(&fixture, &prng, 10, 0);
    for (uint32_t i = 0; i < 40; i++) {
        insert_items(1 + i * UINT64_C(30), 30);
    }
    fixture_checkpoint(&fixture);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    for (uint32_t round = 0; round < 20; round++) {
        const void *records[EVENTS_PER_BATCH_MAX];
        uint32_t rows[EVENTS_PER_BATCH_MAX];
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            rows[i] = (uint32_t) prng_below(&prng, fixture.model->counts[FIXTURE_ITEM]);
            const struct fixture_item *item = &fixture.model->items[rows[i]];
            forest_hint_id(fixture.forest, FIXTURE_ITEM, &item->id);
            forest_hint_record(fixture.forest, FIXTURE_ITEM, &item->id);
            const enum forest_found found =
                i % 2 == 0
                    ? fixture_prefetch_id(&fixture, FIXTURE_ITEM, &item->id, &records[i])
                    : fixture_prefetch(&fixture, FIXTURE_ITEM, item->timestamp, &records[i]);
            expect_equal(found, FOREST_FOUND);
        }
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            const struct fixture_item *item = &fixture.model->items[rows[i]];
            const void *record = NULL;
            expect(forest_get(fixture.forest, FIXTURE_ITEM, item->timestamp) == records[i]);
            expect(memcmp(records[i], item, sizeof(*item)) == 0);
            if (i % 2 != 0) continue;
            expect_equal(
                forest_get_by_id(fixture.forest, FIXTURE_ITEM, &item->id, &record), FOREST_FOUND);
            expect(record == records[i]);
        }
        fixture_op_commit(&fixture);
    }
    fixture_end(&fixture);
}

/* So do records that were in memory already. */
UNIT_TEST(records_that_are_in_memory_stay_for_the_op_too)
{
    fixture_begin_seed(&fixture, &prng, 12, 0);
    while (fixture.model->counts[FIXTURE_OWNER] < 1500) fixture_batches(&fixture, 5);
    for (uint32_t round = 0; round < 60; round++) {
        struct fixture_owner *owners = fixture.model->owners;
        const uint32_t count = fixture.model->counts[FIXTURE_OWNER];
        uint32_t rows[EVENTS_PER_BATCH_MAX];
        uint32_t found_count = 0;
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t row = round; row < count && found_count < EVENTS_PER_BATCH_MAX; row += 7) {
            const struct objects *objects = &fixture.forest->grooves[FIXTURE_OWNER].objects;
            const void *record;
            if (objects_find(objects, owners[row].timestamp) == OBJECT_NONE) continue;
            rows[found_count] = row;
            found_count += 1;
            const enum forest_found found =
                row % 2 == 0
                    ? fixture_prefetch_id(&fixture, FIXTURE_OWNER, &owners[row].id, &record)
                    : fixture_prefetch(&fixture, FIXTURE_OWNER, owners[row].timestamp, &record);
            expect_equal(found, FOREST_FOUND);
        }
        for (uint32_t i = 0; i < 2 * EVENTS_PER_BATCH_MAX; i++) {
            const uint64_t timestamp = owners[prng_below(&prng, count)].timestamp;
            expect_equal(fixture_prefetch(&fixture, FIXTURE_OWNER, timestamp, NULL), FOREST_FOUND);
        }
        expect(found_count > 0);
        for (uint32_t i = 0; i < found_count; i++) {
            const struct fixture_owner *owner = &owners[rows[i]];
            const void *record = forest_get(fixture.forest, FIXTURE_OWNER, owner->timestamp);
            expect(record != NULL && memcmp(record, owner, sizeof(*owner)) == 0);
        }
        fixture_op_commit(&fixture);
    }
    fixture_end(&fixture);
}

/* ---- Readers while others change ----------------------------------------------------------- */

/* What is said not to have changed since an op is as it was then, over restarts too. */
UNIT_TEST(what_has_not_changed_is_as_it_was)
{
    static struct fixture_owner before[FIXTURE_RECORDS_MAX];
    uint32_t unchanged = 0;
    uint32_t changed = 0;
    uint32_t unknown = 0;
    fixture_begin_seed(&fixture, &prng, 11, 0);
    for (uint32_t round = 0; round < 150; round++) {
        const uint64_t op = fixture.op;
        const uint32_t count = fixture.model->counts[FIXTURE_OWNER];
        memcpy(before, fixture.model->owners, count * sizeof(before[0]));
        fixture_batches(&fixture, 1);
        if (round % 30 == 29) {
            fixture_checkpoint(&fixture);
            if (round % 60 == 59) expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        }
        for (uint32_t i = 0; i < count; i++) {
            const struct fixture_owner *now = &fixture.model->owners[i];
            const bool same = memcmp(&before[i], now, sizeof(*now)) == 0;
            const bool may =
                forest_may_have_changed(fixture.forest, FIXTURE_OWNER, now->timestamp, op);
            expect(same || may);
            unchanged += !may;
            changed += !same;
            unknown += same && may;
        }
    }
    expect(unchanged > 1000);
    expect(changed > 1000);
    expect(unknown > 100);
    fixture_end(&fixture);
}

/* Records and ids are read while an op's work, or a checkpoint, goes on. */
static uint64_t reads_under_way;

static void
read_something(struct forest_fixture *at)
{
    char record[FOREST_RECORD_SIZE_MAX];
    const uint32_t groove = (uint32_t) prng_below(&at->prng_sim, 2);
    if (prng_chance(&at->prng_sim, 1, 20)) fixture_chill(at);
    if (at->forest->active || at->model->counts[groove] == 0) return;
    const uint32_t row = (uint32_t) prng_below(&at->prng_sim, at->model->counts[groove]);
    const void *expected = fixture_record(at->model, groove, row);
    enum forest_found found;
    if (prng_chance(&at->prng_sim, 1, 2)) {
        found = forest_read(at->forest, groove, fixture_timestamp(expected, groove), record);
    } else {
        found = forest_read_by_id(at->forest, groove, expected, record);
    }
    expect(found == FOREST_FOUND || found == FOREST_WAIT);
    if (found != FOREST_FOUND) return;
    expect(memcmp(record, expected, fixture_grooves[groove].record_size) == 0);
    reads_under_way += 1;
}

UNIT_TEST(reads_go_on_while_the_forest_works)
{
    uint64_t extracts_read = 0;
    reads_under_way = 0;
    for (uint64_t seed = 30; seed < 36; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, 0);
        fixture.on_progress = read_something;
        for (uint32_t i = 0; i < 10; i++) {
            fixture_batches(&fixture, 8);
            fixture_checkpoint(&fixture);
        }
        fixture.on_progress = NULL;
        extracts_read += fixture.grid.stats.extracts_read;
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
    expect(reads_under_way > 300);
    expect(extracts_read > 20);
}

/* Each record that never changes, when nothing is in memory; and those that do. */
UNIT_TEST(records_are_read_by_their_sectors)
{
    const uint32_t logs[] = {FIXTURE_ITEM, FIXTURE_BURNT, FIXTURE_NOTE};
    fixture_begin_seed(&fixture, &prng, 72, 0);
    fixture_batches(&fixture, 40);
    for (uint32_t round = 0; round < 3; round++) {
        /* In a table that is being made, in one that is listed, and after a restart. */
        if (round == 1) fixture_checkpoint(&fixture);
        if (round == 2) expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        while (fixture.forest->cache.writing > 0) fixture_progress(&fixture);
        for (uint32_t i = 0; i < ARRAY_COUNT(logs); i++) {
            const uint32_t groove = logs[i];
            const uint64_t parts_before = fixture.grid.stats.extracts_read;
            for (uint32_t row = 0; row < fixture.model->counts[groove]; row++) {
                const void *expected = fixture_record(fixture.model, groove, row);
                const uint64_t timestamp = fixture_timestamp(expected, groove);
                char record[FOREST_RECORD_SIZE_MAX];
                fixture_chill(&fixture);
                expect_equal(fixture_read(&fixture, groove, timestamp, record), FOREST_FOUND);
                expect(memcmp(record, expected, fixture_grooves[groove].record_size) == 0);
            }
            const uint64_t parts = fixture.grid.stats.extracts_read - parts_before;
            if (round > 0) expect(parts > fixture.model->counts[groove] / 2);
            expect(parts > 0 || groove == FIXTURE_BURNT);
        }
        expect(fixture_same(&fixture));
    }
    fixture_end(&fixture);
}

/* Who has something for the disk needn't wait for a whole beat; nothing is missing in between. */
UNIT_TEST(work_after_an_op_comes_in_pieces)
{
    uint32_t pieces_most = 0;
    fixture_begin_seed(&fixture, &prng, 71, 8 * MIB);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t pieces = 0;
        expect(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t event = 0; event < EVENTS_PER_BATCH_MAX; event++) {
            fixture_event(&fixture, false);
        }
        fixture.op += 1;
        enum forest_work work;
        while ((work = forest_compact(fixture.forest, fixture.op)) != FOREST_WORK_DONE) {
            if (work == FOREST_WORK_WAITS) fixture_progress(&fixture);
            if (work == FOREST_WORK_LEFT) pieces += 1;
            if (work == FOREST_WORK_LEFT && i % 10 == 9) expect(fixture_same(&fixture));
        }
        if (pieces > pieces_most) pieces_most = pieces;
    }
    /* Each part that is flushed is a piece, and each merge. */
    expect(pieces_most > fixture.forest->part_count / 2);
    fixture_end(&fixture);
}

UNIT_MAIN(test_forest)
