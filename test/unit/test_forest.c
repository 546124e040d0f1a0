/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include "base/checksum.h"

#include "forest_fixture.h"

static struct forest_fixture fixture;
static struct prng prng;

static void
begin(uint64_t seed, uint64_t memory_bytes_extra)
{
    prng_init(&prng, seed);
    fixture_begin(&fixture, &prng, memory_bytes_extra);
}

static void
run_batches(uint32_t batch_count)
{
    for (uint32_t i = 0; i < batch_count; i++) {
        const uint32_t event_count = (uint32_t) prng_range(&prng, 1, EVENTS_PER_BATCH_MAX);
        expect(forest_reserve(fixture.forest, event_count) == FOREST_ROOM);
        fixture_batch(&fixture, event_count);
    }
}

/* A record with values that no other has. */
static void
insert_new(uint32_t tree)
{
    fixture.timestamp += 1;
    const uint64_t unique = fixture.timestamp;
    const struct fixture_item item = {
        .id = u128_make(1, unique),
        .wide = unique,
        .middle = unique,
        .narrow = (uint32_t) unique,
        .tiny = (uint16_t) unique,
        .tiny_zero = (uint16_t) unique,
        .timestamp = unique,
    };
    const struct fixture_owner owner = {
        .id = unique, .rank = unique, .group = (uint32_t) unique, .timestamp = unique};
    const struct fixture_state state = {.timestamp = unique, .due = unique};
    const struct fixture_burnt burnt = {.id = u128_make(2, unique), .timestamp = unique};
    const struct fixture_note note = {.timestamp = unique};
    switch ((enum fixture_tree) tree) {
    case FIXTURE_ITEM: fixture_insert(&fixture, FIXTURE_ITEM, &item); return;
    case FIXTURE_OWNER: fixture_insert(&fixture, FIXTURE_OWNER, &owner); return;
    case FIXTURE_STATE: fixture_insert(&fixture, FIXTURE_STATE, &state); return;
    case FIXTURE_NOTE: fixture_insert(&fixture, FIXTURE_NOTE, &note); return;
    case FIXTURE_BURNT:
        forest_burn_id(fixture.forest, FIXTURE_ITEM, &burnt);
        fixture_append(&fixture, FIXTURE_BURNT, &burnt);
        return;
    }
}

/* The most that an event can take. */
static void
insert_all_new(void)
{
    for (uint32_t tree = 0; tree < FIXTURE_TREE_COUNT; tree++) {
        insert_new(tree);
    }
}

UNIT_TEST(empty_forest_answers)
{
    begin(1, 0);
    expect(fixture_same(&fixture));
    expect_equal(forest_range_first(fixture.forest, FIXTURE_STATE_DUE), UINT64_MAX);
    expect(forest_reserve(fixture.forest, 0) == FOREST_ROOM);
    fixture_checkpoint(&fixture);
    expect(fixture.manifest.address != 0);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

UNIT_TEST(measuring_takes_what_the_real_arena_takes)
{
    struct arena arena;
    arena_init_measuring(&arena);
    const uint64_t bytes_min = forest_memory_bytes_min(&fixture_schema);
    for (uint64_t extra = 0; extra < MIB; extra += 77777) {
        const struct forest_options options = {
            .schema = &fixture_schema, .memory_bytes = bytes_min + extra};
        const uint64_t used_before = arena.used_bytes;
        expect(forest_init(&arena, NULL, &options) == NULL);
        expect(arena.used_bytes - used_before <= options.memory_bytes);
        /* Not much is left over. */
        expect(arena.used_bytes - used_before + 3 * BLOCK_SIZE > options.memory_bytes);
    }
}

UNIT_TEST(random_work_answers_as_the_model)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        begin(seed, 2 * MIB);
        fixture.spread = seed % 2 == 0 ? 10 : 500;
        for (uint32_t i = 0; i < 12; i++) {
            run_batches(4);
            expect(fixture_same(&fixture));
        }
        fixture_end(&fixture);
    }
}

/* (F1) The newest timestamp is known; the way to a record is by its exact timestamp. */
UNIT_TEST(f1_timestamps_ascend)
{
    begin(3, MIB);
    run_batches(10);
    for (uint32_t tree = 0; tree < FIXTURE_TREE_COUNT; tree++) {
        uint64_t before = 0;
        const struct scan_window window = {1, TIMESTAMP_MAX, SCAN_ASCENDING};
        struct scan scan;
        uint64_t timestamp;
        uint32_t count = 0;
        scan_tree(&scan, fixture.forest, tree, &window);
        while (scan_next(&scan, &timestamp)) {
            expect(timestamp > before);
            before = timestamp;
            count += 1;
        }
        expect_equal(count, fixture.model->counts[tree]);
        expect_equal(before, forest_newest(fixture.forest, tree));
    }
    fixture_end(&fixture);
}

/* (F2) */
UNIT_TEST(f2_discarded_scope_leaves_no_trace)
{
    begin(4, 3 * MIB);
    for (uint32_t round = 0; round < 60; round++) {
        fixture.spread = prng_chance(&prng, 1, 2) ? 8 : 1000;
        run_batches(1);
        expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        memcpy(fixture.model_saved, fixture.model, sizeof(*fixture.model));
        forest_scope_open(fixture.forest);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            fixture_event(&fixture, true);
        }
        if (round % 10 == 0) expect(fixture_same(&fixture));
        forest_scope_discard(fixture.forest);
        memcpy(fixture.model, fixture.model_saved, sizeof(*fixture.model));
        if (round % 3 == 0) expect(fixture_same(&fixture));
    }
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/* (F3) Until memory is full, in the worst way; then reading, a checkpoint and opening go on. */
UNIT_TEST(f3_reserve_refuses_before_memory_runs_out)
{
    begin(5, 0);
    uint32_t batches = 0;
    while (forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM) {
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            insert_all_new();
        }
        batches += 1;
    }
    expect(batches > 0);
    expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_MEMORY_FULL);
    while (forest_reserve(fixture.forest, 1) == FOREST_ROOM) {
        insert_all_new();
    }
    expect(fixture_same(&fixture));
    fixture_checkpoint(&fixture);
    expect(fixture_same(&fixture));
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_MEMORY_FULL);
    fixture_end(&fixture);
}

/* (F3) The same with lists that all fill their chunks at the same time, and with mixed work. */
UNIT_TEST(f3_lists_that_fill_together)
{
    for (uint32_t round = 0; round < 6; round++) {
        begin(60 + round, 100 * KIB * round);
        fixture.spread = round == 5 ? 3 : UINT64_C(1) << (round * 2 + 3);
        uint64_t turn = 0;
        while (forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM) {
            if (round == 0) {
                fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
                continue;
            }
            for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
                fixture.timestamp += 1;
                turn = (turn + 1) % fixture.spread;
                const struct fixture_item item = {
                    .id = fixture.timestamp,
                    .wide = turn + 1,
                    .middle = turn + 1,
                    .narrow = (uint32_t) turn + 1,
                    .tiny = (uint16_t) (turn + 1),
                    .tiny_zero = (uint16_t) turn,
                    .timestamp = fixture.timestamp,
                };
                fixture_insert(&fixture, FIXTURE_ITEM, &item);
            }
        }
        expect(fixture_same(&fixture));
        fixture_checkpoint(&fixture);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
}

/* (F3) Tree by tree: what one kind of record takes is not paid for by what others don't. */
UNIT_TEST(f3_pages_needed_suffice_for_each_tree)
{
    for (uint32_t tree = 0; tree < FIXTURE_TREE_COUNT; tree++) {
        begin(70 + tree, 6 * MIB);
        while (fixture.model->counts[tree] + 400 < FIXTURE_RECORDS_MAX) {
            struct forest_growth growth = {0};
            const uint32_t inserts = (uint32_t) prng_range(&prng, 1, 400);
            growth.inserts[tree] = inserts;
            const uint32_t pages_before = fixture.forest->pages.used_count;
            const uint64_t needed = forest_pages_needed(fixture.forest, &growth);
            for (uint32_t i = 0; i < inserts; i++) {
                insert_new(tree);
            }
            const uint32_t pages_taken = fixture.forest->pages.used_count - pages_before;
            expect(pages_taken <= needed);
        }
        fixture_end(&fixture);
    }
}

/*
 * (F3) Updates that bring records into an ordered index, and a discard that takes them out again.
 */
UNIT_TEST(f3_pages_needed_suffice_for_updates)
{
    begin(75, 3 * MIB);
    for (uint32_t i = 0; i < 3000; i++) {
        fixture.timestamp += 1;
        const struct fixture_owner owner = {
            .id = fixture.timestamp, .timestamp = fixture.timestamp};
        if (i % 30 == 0) expect(forest_reserve(fixture.forest, 30) == FOREST_ROOM);
        fixture_insert(&fixture, FIXTURE_OWNER, &owner);
    }
    for (uint32_t i = 0; i < 3000;) {
        const uint32_t updates = (uint32_t) prng_range(&prng, 1, 2 * EVENTS_PER_BATCH_MAX);
        struct forest_growth growth = {0};
        growth.updates[FIXTURE_OWNER] = updates;
        const uint32_t pages_max = fixture.forest->pages.used_count +
                                   (uint32_t) forest_pages_needed(fixture.forest, &growth);
        const bool discarded = prng_chance(&prng, 1, 2);
        forest_scope_open(fixture.forest);
        for (uint32_t j = 0; j < updates && i + j < 3000; j++) {
            struct fixture_owner *model = fixture_record(fixture.model, FIXTURE_OWNER, i + j);
            struct fixture_owner owner = *model;
            owner.rank = 1 + prng_below(&prng, 100000);
            forest_update(
                fixture.forest,
                FIXTURE_OWNER,
                forest_get(fixture.forest, FIXTURE_OWNER, owner.timestamp),
                &owner);
            if (!discarded) *model = owner;
        }
        if (discarded) {
            forest_scope_discard(fixture.forest);
        } else {
            forest_scope_persist(fixture.forest);
            i += updates;
        }
        expect(fixture.forest->pages.used_count <= pages_max);
    }
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

/*
 * (F3) A checkpoint needs blocks for all that changed; with events admitted before it and executed
 * after it.
 */
UNIT_TEST(f3_admitted_events_survive_checkpoints)
{
    begin(7, 3 * MIB);
    for (uint32_t round = 0; round < 30; round++) {
        const uint32_t admitted = 3 * EVENTS_PER_BATCH_MAX;
        expect(forest_reserve(fixture.forest, admitted) == FOREST_ROOM);
        for (uint32_t i = 0; i < 3; i++) {
            if (prng_chance(&prng, 1, 2)) fixture_checkpoint(&fixture);
            fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
        }
        fixture_checkpoint_start(&fixture);
        expect(forest_reserve(fixture.forest, admitted) == FOREST_ROOM);
        fixture_checkpoint_finish(&fixture);
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
    }
    expect(fixture_same(&fixture));
    /* Blocks are used again: pages, as many at most that replace them, and manifests. */
    expect(fixture.grid.block_count < 3 * forest_page_count(fixture.forest) + 4 * GRID_GROW_BLOCKS);
    fixture_end(&fixture);
}

/* (F4) */
UNIT_TEST(f4_checkpoints_open_as_they_were)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin(80 + seed, 2 * MIB);
        fixture.spread = seed * 50;
        for (uint32_t round = 0; round < 8; round++) {
            run_batches(3);
            fixture_checkpoint(&fixture);
            if (prng_chance(&prng, 1, 2)) run_batches(2); /* Lost. */
            expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
            expect(fixture_same(&fixture));
        }
        fixture_end(&fixture);
    }
}

/*
 * (F4) What a manifest of several blocks lists, with blocks that end on a tree's last page and
 * others that don't.
 */
UNIT_TEST(f4_manifests_of_several_blocks)
{
    begin(9, 8 * MIB);
    uint32_t blocks_before = 0;
    while (fixture.model->counts[FIXTURE_NOTE] < FIXTURE_RECORDS_MAX - 60) {
        expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            fixture.timestamp += 1;
            const struct fixture_note note = {.timestamp = fixture.timestamp, .content = {i}};
            fixture_insert(&fixture, FIXTURE_NOTE, &note);
        }
        const uint32_t blocks = forest_manifest_block_count(forest_page_count(fixture.forest));
        if (blocks == blocks_before) continue;
        blocks_before = blocks;
        fixture_checkpoint(&fixture);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect(fixture_same(&fixture));
    }
    expect(blocks_before > 2);
    fixture_end(&fixture);
}

/* (F5) */
UNIT_TEST(f5_same_calls_same_bytes)
{
    u128 checksums[2];
    uint64_t sizes[2];
    for (uint32_t run = 0; run < 2; run++) {
        begin(10, 2 * MIB);
        for (uint32_t round = 0; round < 6; round++) {
            for (uint32_t batch = 0; batch < 12; batch++) {
                run_batches(1);
                /* Nor does it when the writes ahead of a checkpoint come to their end. */
                while (run == 1 && fixture.sim.storage.in_flight_count > 0) {
                    (void) storage_wait(&fixture.sim.storage);
                }
            }
            fixture_checkpoint(&fixture);
            /* A restart in between makes no difference. */
            if (run == 1 && round == 3) expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        }
        sizes[run] = forest_page_count(fixture.forest);
        checksums[run] = fixture.manifest.checksum;
        fixture_end(&fixture);
    }
    expect_equal(sizes[0], sizes[1]);
    expect(checksums[0] == checksums[1]);
}

/* A crash at each event of a checkpoint in turn: the one before it opens. */
UNIT_TEST(crash_during_checkpoint_opens_the_one_before)
{
    begin(11, MIB);
    run_batches(4);
    fixture_checkpoint(&fixture);
    bool finished = false;
    for (uint64_t events = 1; !finished; events += 1 + events / 4) {
        expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
        storage_sim_crash_after(&fixture.sim, events);
        fixture_checkpoint_start(&fixture);
        while (!fixture.checkpoint_done && !fixture.sim.crashed) {
            (void) storage_wait(&fixture.sim.storage);
        }
        finished = !fixture.sim.crashed;
        if (finished) {
            storage_sim_crash_after(&fixture.sim, 0);
            fixture_checkpoint_finish(&fixture);
        }
        storage_sim_restart(&fixture.sim);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect(fixture_same(&fixture));
    }
    fixture_end(&fixture);
}

UNIT_TEST(damaged_block_is_named)
{
    begin(12, MIB);
    run_batches(5);
    fixture_checkpoint(&fixture);
    run_batches(3);
    fixture_checkpoint(&fixture);
    const uint64_t pages = forest_page_count(fixture.forest);
    uint64_t found = 0;
    for (uint64_t address = 1; address <= fixture.grid.block_count; address++) {
        uint8_t *block = storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
        const uint64_t place = prng_below(&prng, BLOCK_SIZE);
        struct forest_open_report report;
        block[place] ^= 0x10;
        const enum forest_open_result result = fixture_open(&fixture, &fixture.manifest, &report);
        block[place] ^= 0x10;
        if (result == FOREST_OPENED) continue; /* Not a block of this checkpoint. */
        expect_equal(result, FOREST_OPEN_CORRUPT);
        expect_equal(report.block_address, address);
        expect(report.tree_name != NULL);
        found += 1;
    }
    expect_equal(found, pages + forest_manifest_block_count(pages));
    fixture_end(&fixture);
}

/* Blocks that are intact, but not what the manifest says. */
UNIT_TEST(swapped_blocks_are_found)
{
    begin(13, MIB);
    run_batches(6);
    fixture_checkpoint(&fixture);
    uint8_t *blocks = storage_sim_bytes(&fixture.sim, STORAGE_GRID);
    uint8_t kept[BLOCK_SIZE];
    memcpy(kept, blocks, BLOCK_SIZE);
    memcpy(blocks, blocks + BLOCK_SIZE, BLOCK_SIZE);
    struct forest_open_report report;
    expect_equal(fixture_open(&fixture, &fixture.manifest, &report), FOREST_OPEN_CORRUPT);
    expect_equal(report.block_address, 1);
    memcpy(blocks, kept, BLOCK_SIZE);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    fixture_end(&fixture);
}

/* ---- Blocks that are intact by their checksum, but lie ------------------------------------- */

static struct block_header *
block_on_disk(uint64_t address)
{
    return (void *) (storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE);
}

static void
reseal(struct block_header *header)
{
    const uint64_t start = sizeof(header->checksum);
    header->checksum = checksum((const char *) header + start, header->size - start);
}

/* Opens the checkpoint after its manifest block, which is its only one, was changed. */
static enum forest_open_result
open_changed_manifest(void)
{
    struct block_header *manifest = block_on_disk(fixture.manifest.address);
    struct block_reference reference = fixture.manifest;
    struct forest_open_report report;
    reseal(manifest);
    reference.checksum = manifest->checksum;
    return fixture_open(&fixture, &reference, &report);
}

/* Any bit of any entry counts. */
UNIT_TEST(manifest_that_lies_is_refused)
{
    begin(20, 0);
    run_batches(3);
    fixture_checkpoint(&fixture);
    struct block_header *manifest = block_on_disk(fixture.manifest.address);
    uint8_t *bytes = (uint8_t *) manifest;
    expect_equal(manifest->previous.address, 0);
    expect(manifest->record_count > 4);
    expect_equal(open_changed_manifest(), FOREST_OPENED);
    for (uint32_t place = BLOCK_HEADER_SIZE; place < manifest->size; place++) {
        const uint8_t kept = bytes[place];
        bytes[place] ^= (uint8_t) (1 << prng_below(&prng, 8));
        expect_equal(open_changed_manifest(), FOREST_OPEN_CORRUPT);
        bytes[place] = kept;
    }
    expect_equal(open_changed_manifest(), FOREST_OPENED);

    /* The count is not what fits the size. */
    manifest->record_count -= 1;
    expect_equal(open_changed_manifest(), FOREST_OPEN_CORRUPT);
    manifest->record_count = UINT32_MAX;
    expect_equal(open_changed_manifest(), FOREST_OPEN_CORRUPT);
    fixture_end(&fixture);
}

UNIT_TEST(manifest_without_its_first_page_is_refused)
{
    begin(22, MIB);
    run_batches(10);
    fixture_checkpoint(&fixture);
    struct block_header *manifest = block_on_disk(fixture.manifest.address);
    struct manifest_entry *entries = (void *) ((char *) manifest + BLOCK_HEADER_SIZE);
    manifest->record_count -= 1;
    manifest->size -= (uint32_t) sizeof(entries[0]);
    memmove(&entries[0], &entries[1], manifest->record_count * sizeof(entries[0]));
    memset(&entries[manifest->record_count], 0, sizeof(entries[0]));
    expect_equal(entries[0].tree, FIXTURE_ITEM); /* Its second page. */
    expect_equal(open_changed_manifest(), FOREST_OPEN_CORRUPT);
    fixture_end(&fixture);
}

/*
 * A second block in front that refers back: a chain, and not one block more than its entries fill.
 */
UNIT_TEST(manifest_chain_that_is_too_long_is_refused)
{
    begin(23, 0);
    run_batches(3);
    fixture_checkpoint(&fixture);
    const uint64_t address_free = fixture.grid.block_count;
    struct block_header *manifest = block_on_disk(fixture.manifest.address);
    struct block_header *extra = block_on_disk(address_free);
    expect_equal(extra->size, 0);
    *extra = *manifest;
    extra->address = address_free;
    extra->size = BLOCK_HEADER_SIZE;
    extra->record_count = 0;
    extra->previous = fixture.manifest;
    reseal(extra);
    const struct block_reference root = {.checksum = extra->checksum, .address = address_free};
    struct forest_open_report report;
    expect_equal(fixture_open(&fixture, &root, &report), FOREST_OPEN_CORRUPT);
    expect_equal(report.block_address, address_free);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    fixture_end(&fixture);
}

UNIT_TEST(page_that_lies_is_refused)
{
    begin(21, MIB);
    run_batches(8);
    fixture_checkpoint(&fixture);
    struct block_header *manifest = block_on_disk(fixture.manifest.address);
    struct manifest_entry *entry = (void *) ((char *) manifest + BLOCK_HEADER_SIZE);
    expect_equal(entry[0].tree, FIXTURE_ITEM);
    while (entry[1].tree == FIXTURE_ITEM) {
        entry += 1;
    }
    struct block_header *page = block_on_disk(entry->address);
    struct fixture_item *items = (void *) ((char *) page + BLOCK_HEADER_SIZE);
    expect(entry->record_count > 2);
    const uint32_t last = entry->record_count - 1u;
    for (uint32_t lie = 0; lie < 7; lie++) {
        uint8_t kept[BLOCK_SIZE];
        memcpy(kept, page, BLOCK_SIZE);
        switch (lie) {
        case 0: page->tree = FIXTURE_OWNER; break;
        case 1: page->record_count -= 1; break;
        case 2: page->size -= 16; break;
        case 3: items[1].timestamp = items[0].timestamp; break;
        case 4: items[last].timestamp = TIMESTAMP_MAX + 1; break;
        case 5: items[1].id = items[0].id; break;
        default: break; /* The truth. */
        }
        if (lie == 2) memset((char *) page + page->size, 0, 16);
        reseal(page);
        entry->checksum = page->checksum;
        expect_equal(open_changed_manifest(), lie == 6 ? FOREST_OPENED : FOREST_OPEN_CORRUPT);
        memcpy(page, kept, BLOCK_SIZE);
    }
    fixture_end(&fixture);
}

UNIT_TEST(unreadable_block_is_an_io_error)
{
    begin(14, MIB);
    run_batches(5);
    fixture_checkpoint(&fixture);
    storage_sim_latent_error(&fixture.sim, STORAGE_GRID, 2 * BLOCK_SIZE, 1);
    struct forest_open_report report;
    expect_equal(fixture_open(&fixture, &fixture.manifest, &report), FOREST_OPEN_IO_ERROR);
    expect_equal(report.block_address, 3);
    fixture_end(&fixture);
}

UNIT_TEST(failed_write_fails_the_checkpoint)
{
    for (uint32_t per_million = 1000000; per_million > 1000; per_million /= 4) {
        begin(15, MIB);
        run_batches(5);
        fixture.sim.options.write_error_per_million = per_million;
        fixture_checkpoint_start(&fixture);
        while (!fixture.checkpoint_done) {
            (void) storage_wait(&fixture.sim.storage);
        }
        const bool failed = fixture.sim.counters.write_errors > 0;
        expect_equal(fixture.checkpoint_result, failed ? GRID_IO_ERROR : GRID_OK);
        expect_equal(fixture.sim.storage.in_flight_count, 0);
        fixture_end(&fixture);
    }
}

/* Inserts as many batches of nothing but notes. */
static void
insert_notes(uint32_t batch_count)
{
    for (uint32_t batch = 0; batch < batch_count; batch++) {
        expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            fixture.timestamp += 1;
            const struct fixture_note note = {.timestamp = fixture.timestamp, .content = {i}};
            fixture_insert(&fixture, FIXTURE_NOTE, &note);
        }
        fixture.op += 1;
        forest_write_ahead(fixture.forest, fixture.op);
    }
}

/* The page that a checkpoint has in part is left to the next one. */
UNIT_TEST(full_pages_are_written_ahead_of_the_checkpoint)
{
    begin(20, 2 * MIB);
    for (uint32_t round = 0; round < 4; round++) {
        const struct tree *notes = &fixture.forest->trees[FIXTURE_NOTE].tree;
        const uint64_t written_before = fixture.grid.stats.blocks_written;
        const uint32_t pages_before = notes->page_count;
        insert_notes(10);
        while (fixture.sim.storage.in_flight_count > 0) {
            (void) storage_wait(&fixture.sim.storage);
        }
        const uint32_t full = notes->record_count / notes->records_per_page;
        const uint64_t ahead = fixture.grid.stats.blocks_written - written_before;
        expect(full > pages_before + 10);
        expect_equal(ahead, full - pages_before);
        fixture_checkpoint(&fixture);
        /* Two partial pages of notes at most, and the manifest. */
        expect(fixture.grid.stats.blocks_written - written_before - ahead <= 2 + 1);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        expect(fixture_same(&fixture));
    }
    fixture_end(&fixture);
}

UNIT_TEST(failed_write_ahead_is_said_and_nothing_more_is_written)
{
    begin(21, 2 * MIB);
    insert_notes(3);
    expect(!forest_failed(fixture.forest));
    fixture.sim.options.write_error_per_million = 1000000;
    insert_notes(3);
    while (fixture.sim.storage.in_flight_count > 0) {
        (void) storage_wait(&fixture.sim.storage);
    }
    expect(forest_failed(fixture.forest));
    fixture.sim.options.write_error_per_million = 0;
    const uint64_t written = fixture.grid.stats.blocks_written;
    insert_notes(3);
    expect_equal(fixture.grid.stats.blocks_written, written);
    fixture_end(&fixture);
}

UNIT_TEST(reserve_refuses_when_the_disk_is_full)
{
    begin(16, 4 * MIB);
    fixture.sim.options.space_limit_bytes = 640 * KIB;
    uint32_t batches = 0;
    uint32_t refused_in_a_row = 0; /* A checkpoint gives back what it replaces. */
    while (refused_in_a_row < 2) {
        const enum forest_room room = forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX);
        if (room == FOREST_ROOM) {
            fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
            batches += 1;
            refused_in_a_row = 0;
            if (batches % 7 != 0) continue;
        } else {
            expect_equal(room, FOREST_DISK_FULL);
            refused_in_a_row += 1;
        }
        fixture_checkpoint(&fixture);
    }
    expect(batches > 10);
    expect(fixture_same(&fixture));
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    expect(fixture_same(&fixture));
    expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_DISK_FULL);
    fixture.sim.options.space_limit_bytes = 0;
    expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
    fixture_end(&fixture);
}

UNIT_TEST(byte_table_is_as_documented)
{
#define AT(field, offset) expect_equal(offsetof(struct manifest_entry, field), offset)
    AT(checksum, 0);
    AT(address, 16);
    AT(page_index, 24);
    AT(record_count, 28);
    AT(tree, 30);
    AT(reserved, 31);
#undef AT
    expect_equal(sizeof(struct manifest_entry), 32);
}

/* An error of growth is no want of space: nothing is tried again (F3 would rest on luck). */
UNIT_TEST(reserve_reports_an_error_of_growth)
{
    begin(18, 4 * MIB);
    fixture.sim.options.grow_error_per_million = 1000000;
    enum forest_room room = FOREST_ROOM;
    while (room == FOREST_ROOM) {
        room = forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX);
        if (room == FOREST_ROOM) fixture_batch(&fixture, EVENTS_PER_BATCH_MAX);
    }
    expect_equal(room, FOREST_IO_ERROR);
    expect_equal(fixture.sim.counters.grow_errors, 1);
    expect(fixture_same(&fixture));
    fixture_end(&fixture);
}

UNIT_TEST(too_little_memory_says_how_much_will_do)
{
    for (uint32_t variant = 0; variant < 2; variant++) {
        begin(17, 4 * MIB);
        fixture.spread = variant == 0 ? 5 : UINT64_C(1) << 40;
        run_batches(100);
        fixture_checkpoint(&fixture);
        struct forest_stats stats;
        forest_stats_get(fixture.forest, &stats);

        struct forest_open_report report;
        uint32_t refused = 0;
        fixture.memory_bytes = forest_memory_bytes_min(&fixture_schema);
        enum forest_open_result result = fixture_open(&fixture, &fixture.manifest, &report);
        while (result == FOREST_OPEN_MEMORY_TOO_SMALL) {
            const uint64_t bytes_needed = report.memory_bytes_needed;
            expect(bytes_needed > fixture.memory_bytes);
            const uint64_t bytes_tried = fixture.memory_bytes;
            fixture.memory_bytes = bytes_needed;
            expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
            expect(fixture_same(&fixture));
            expect(forest_reserve(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
            fixture.memory_bytes = bytes_tried + 97 * KIB;
            refused += 1;
            result = fixture_open(&fixture, &fixture.manifest, &report);
        }
        expect_equal(result, FOREST_OPENED);
        expect(refused > 1);
        expect(fixture.memory_bytes < stats.memory_bytes_used + 300 * KIB);
        fixture_end(&fixture);
    }
}

UNIT_MAIN(test_forest)
