/* SPDX-License-Identifier: PostgreSQL */
/*
 * Parts of blocks: in the cache, and records that are looked up in them. Runs with production
 * limits too, where a block has more sectors.
 */
#include "unit.h"

#include <string.h>

#include "lsm/tree.h"

#include "unit/tree_fixture.h"
#include "unit_aborts.h"

#define FRAMES (GRID_READS_MAX + 18)
#define TABLE  (3 * entries_per_block(format)) /* Records of a table. */

static struct lsm_fixture fixture;
static struct tree tree;

/* ---- In the cache -------------------------------------------------------------------------- */

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

static uint64_t
content_of(uint32_t frame, uint32_t sector)
{
    return lsm_number(&fixture, frame, sector);
}

static struct block_reference parted; /* A block on disk; its sums: */
static uint64_t parted_sums[BLOCK_SECTORS];

static void
begin_parted(uint64_t seed)
{
    struct block_reference references[3];
    lsm_begin(&fixture, seed, seed + 1000, FRAMES);
    lsm_build_on_disk(&fixture, references, ARRAY_COUNT(references));
    parted = references[1];
    const struct block_header *header = (const void *) lsm_disk_block(&fixture, parted.address);
    memcpy(parted_sums, header->sector_sums, sizeof(parted_sums));
}

static enum cache_result
get_part(uint32_t sector, uint32_t *frame)
{
    const struct grid_extract part = {parted_sums, sector, 1};
    return cache_get_extract(&fixture.cache, &parted, &part, 7, frame);
}

static enum cache_result
get_part_waiting(uint32_t sector, uint32_t *frame)
{
    enum cache_result result;
    while ((result = get_part(sector, frame)) == CACHE_WAIT) lsm_progress(&fixture);
    return result;
}

UNIT_TEST(b5_a_part_is_read_alone_and_then_the_block)
{
    uint32_t frame;
    for (uint32_t sector = 0; sector < BLOCK_SECTORS; sector++) {
        begin_parted(30 + sector);
        expect_equal(cache_presence(&fixture.cache, parted.address), CACHE_ABSENT);
        expect_equal(get_part_waiting(sector, &frame), CACHE_READY);
        expect_equal(cache_presence(&fixture.cache, parted.address), CACHE_EXTRACT);
        expect_equal(content_of(frame, sector), 1);
        expect_equal(get_part(sector, &frame), CACHE_READY);
        expect_equal(fixture.grid.stats.blocks_read, 1);
        expect_equal(fixture.grid.stats.extracts_read, 1);
        expect_equal(fixture.cache.stats.misses, 1);
        expect_equal(fixture.cache.available, FRAMES);
        expect(!cache_holds(&fixture.cache, frame, parted.address));
        cache_recount(&fixture.cache);
        /* What it has not is not there: all of it is read. */
        expect_equal(get_part((sector + 1) % BLOCK_SECTORS, &frame), CACHE_WAIT);
        expect_equal(fixture.cache.awaited, parted.address);
        expect_equal(cache_presence(&fixture.cache, parted.address), CACHE_WHOLE);
        expect_equal(fixture.cache.available, FRAMES - 1);
        cache_recount(&fixture.cache);
        lsm_progress(&fixture);
        expect_equal(get_part((sector + 1) % BLOCK_SECTORS, &frame), CACHE_READY);
        expect_equal(get(&parted, &frame), CACHE_READY);
        expect_equal(lsm_content(&fixture, frame), 1);
        expect_equal(fixture.cache.frames[frame].record_count, 1);
        expect(cache_holds(&fixture.cache, frame, parted.address));
        expect_equal(fixture.grid.stats.blocks_read, 2);
        expect_equal(fixture.grid.stats.extracts_read, 1);
        cache_recount(&fixture.cache);
        lsm_end(&fixture);
    }
}

/* (B5) Who wants the whole block gets no part: neither one that is there, nor one on its way. */
UNIT_TEST(b5_a_part_is_never_given_as_a_whole)
{
    uint32_t frame;
    for (uint32_t kind = 0; kind < 4; kind++) {
        const bool loading = kind % 2 == 1;
        begin_parted(40 + kind);
        expect_equal(get_part(0, &frame), CACHE_WAIT);
        if (!loading) lsm_settle(&fixture);
        if (kind < 2) expect_equal(get(&parted, &frame), CACHE_WAIT);
        if (kind >= 2) cache_hint(&fixture.cache, &parted, BLOCK_VALUES, 7);
        expect_equal(fixture.cache.reading, 1);
        expect_equal(fixture.grid.stats.blocks_read, loading ? 1 : 2);
        lsm_settle(&fixture);
        if (loading) expect_equal(get(&parted, &frame), CACHE_WAIT);
        lsm_settle(&fixture);
        expect_equal(get(&parted, &frame), CACHE_READY);
        expect_equal(lsm_content(&fixture, frame), 1);
        expect_equal(fixture.grid.stats.blocks_read, 2);
        cache_recount(&fixture.cache);
        lsm_end(&fixture);
    }
}

/* (B5) */
static void
pin_a_part(void)
{
    uint32_t frame;
    begin_parted(45);
    if (get_part_waiting(1, &frame) == CACHE_READY) cache_pin(&fixture.cache, frame);
}

static void
keep_a_part(void)
{
    uint32_t frame;
    begin_parted(45);
    if (get_part_waiting(1, &frame) == CACHE_READY) cache_keep(&fixture.cache, frame);
}

UNIT_TEST(b5_a_part_is_neither_pinned_nor_kept)
{
    expect(aborts(pin_a_part));
    expect(aborts(keep_a_part));
}

/* (B5) With no more reads to be had, the part stays what it is, and the block is waited for. */
UNIT_TEST(b5_a_part_waits_for_a_read)
{
    struct block_reference others[GRID_READS_MAX];
    uint32_t frame;
    begin_parted(46);
    lsm_build_on_disk(&fixture, others, GRID_READS_MAX);
    expect_equal(get_part_waiting(1, &frame), CACHE_READY);
    for (uint32_t i = 0; i < GRID_READS_MAX; i++) {
        expect_equal(get(&others[i], &frame), CACHE_WAIT);
    }
    expect_equal(get(&parted, &frame), CACHE_WAIT);
    expect_equal(fixture.cache.awaited, 0);
    expect_equal(cache_presence(&fixture.cache, parted.address), CACHE_EXTRACT);
    expect_equal(get_part(1, &frame), CACHE_READY);
    expect_equal(content_of(frame, 1), 1);
    cache_recount(&fixture.cache);
    expect_equal(get_waiting(&parted, &frame), CACHE_READY);
    expect_equal(lsm_content(&fixture, frame), 1);
    lsm_settle(&fixture);
    lsm_end(&fixture);
}

/* (B5) A frame that held the block whole, and holds a part of it now, doesn't hold the block. */
UNIT_TEST(b5_who_remembers_a_frame_sees_that_it_has_a_part)
{
    uint32_t frame;
    uint32_t again;
    begin_parted(47);
    expect_equal(get_waiting(&parted, &frame), CACHE_READY);
    expect(cache_holds(&fixture.cache, frame, parted.address));
    cache_forget(&fixture.cache, parted.address);
    expect_equal(get_part_waiting(0, &again), CACHE_READY);
    expect_equal(again, frame);
    expect(!cache_holds(&fixture.cache, frame, parted.address));
    lsm_end(&fixture);
}

/* Who needs other sectors isn't hurt; who needs these, or all, is told, and reads again. */
UNIT_TEST(a_damaged_part_is_lost_and_others_are_not)
{
    uint32_t frame;
    char healthy[BLOCK_SIZE];
    for (uint32_t kind = 0; kind < 2; kind++) {
        begin_parted(48 + kind);
        const uint64_t offset = (parted.address - 1) * BLOCK_SIZE + SECTOR_SIZE;
        memcpy(healthy, lsm_disk_block(&fixture, parted.address), BLOCK_SIZE);
        if (kind == 0) lsm_disk_block(&fixture, parted.address)[SECTOR_SIZE + 5] ^= 1;
        if (kind == 1) storage_sim_latent_error(&fixture.sim, STORAGE_GRID, offset, 1);
        for (uint32_t i = 0; i < 3; i++) {
            fixture.cache.damage = (struct cache_damage){0};
            expect_equal(get_part_waiting(1, &frame), CACHE_LOST);
            expect_equal(fixture.cache.damage.address, parted.address);
            expect_equal(fixture.cache.damage.tree, 7);
            expect_equal(fixture.cache.damage.io_error, kind == 1);
            expect_equal(fixture.cache.available, FRAMES);
            expect_equal(cache_presence(&fixture.cache, parted.address), CACHE_ABSENT);
            expect_equal(get_part_waiting(0, &frame), CACHE_READY);
            expect_equal(content_of(frame, 0), 1);
            cache_recount(&fixture.cache);
        }
        expect_equal(get_waiting(&parted, &frame), CACHE_LOST);
        expect_equal(fixture.cache.damage.io_error, kind == 1);
        cache_recount(&fixture.cache);
        if (kind == 0) lsm_heal(&fixture, parted.address, healthy);
        if (kind == 0) expect_equal(get_part_waiting(1, &frame), CACHE_READY);
        if (kind == 0) expect_equal(content_of(frame, 1), 1);
        lsm_end(&fixture);
    }
}

/* (B1) (B5) A part of the old block is there, on its way, or lost; or the rest is on its way. */
UNIT_TEST(b1_an_address_is_built_again_while_a_part_of_its_old_block_is_there)
{
    uint32_t frame;
    for (uint32_t kind = 0; kind < 4; kind++) {
        begin_parted(50 + kind);
        if (kind == 2) lsm_rot(&fixture, parted.address);
        expect_equal(get_part(0, &frame), CACHE_WAIT);
        if (kind != 1) lsm_settle(&fixture);
        if (kind == 3) expect_equal(get(&parted, &frame), CACHE_WAIT);
        grid_release(&fixture.grid, parted.address);
        grid_checkpoint_durable(&fixture.grid);
        const struct block_reference built = lsm_build(&fixture, grid_acquire(&fixture.grid), 100);
        expect_equal(built.address, parted.address);
        cache_recount(&fixture.cache);
        for (uint32_t i = 0; i < 3; i++) {
            expect_equal(lsm_get(&fixture, &built, BLOCK_VALUES, &frame), CACHE_READY);
            expect_equal(lsm_content(&fixture, frame), 100);
            if (i == 0) lsm_settle(&fixture);
            if (i == 1) lsm_forget(&fixture);
        }
        expect_equal(fixture.cache.reading, 0);
        lsm_end(&fixture);
    }
}

/* ---- Records in parts of blocks ------------------------------------------------------------ */

static struct tree_entries entries;

static void
begin(uint64_t seed, const struct entry_format *format)
{
    begin_tree(&fixture, &tree, seed, seed + 1000, FRAMES, format);
}

/* Entries of these timestamps, in one table. */
static struct table_info
table_of(const struct entry_format *format, uint64_t (*timestamp_of)(uint32_t), uint32_t count)
{
    struct table_builder builder;
    assert(count <= TREE_ENTRIES_MAX);
    entries.count = count;
    for (uint32_t i = 0; i < count; i++) {
        char *entry = tree_entry(&entries, format, i);
        const uint64_t timestamp = timestamp_of(i);
        entries.keys[i] = timestamp;
        memset(entry, (int) (i % 251), format->size);
        memcpy(entry + format->timestamp_offset, &timestamp, sizeof(timestamp));
    }
    table_builder_init(&builder, &fixture.cache, format);
    table_builder_begin(&builder, count);
    while (!table_builder_full(&builder)) {
        const uint32_t number = (uint32_t) builder.table.entry_count;
        table_builder_add(&builder, tree_entry(&entries, format, number));
    }
    const struct table_info table = table_builder_finish(&builder);
    assert(table.entry_count == count);
    lsm_forget(&fixture);
    return table;
}

/* Looks a record up, of which nothing is in memory. Returns how many blocks or parts are read. */
static uint64_t
cold_reads(const struct table_info *table, uint32_t number, uint64_t *parts)
{
    char entry[FOREST_RECORD_SIZE_MAX];
    lsm_forget(&fixture);
    memset(fixture.cache.memory, 0xa5, 4 * BLOCK_SIZE); /* Nothing is left of what was read. */
    const struct grid_stats before = fixture.grid.stats;
    expect_equal(lookup_in_table(&fixture, &tree, table, entries.keys[number], entry), TREE_FOUND);
    expect(memcmp(entry, tree_entry(&entries, &tree.format, number), tree.format.size) == 0);
    *parts = fixture.grid.stats.extracts_read - before.extracts_read;
    return fixture.grid.stats.blocks_read - before.blocks_read;
}

static uint64_t
consecutive(uint32_t number)
{
    return 1000 + number;
}

/* Prepares of more than a block: of two in a block, places are known from its ends. */
static uint64_t
of_prepares(uint32_t number)
{
    const uint32_t count = entries_per_block(&formats[ENTRY_RECORD]) / 4 * 7;
    return 1000 + (uint64_t) number / count * 1000000007 + number % count;
}

/* Every third event has failed. */
static uint64_t
with_gaps(uint32_t number)
{
    return 1000 + number + number / 2;
}

/* Nearly all at the start of the block, where interpolation doesn't see them. */
static uint64_t
skewed(uint32_t number)
{
    const uint32_t place = number % entries_per_block(&formats[ENTRY_RECORD]);
    return 1000 + (uint64_t) number / entries_per_block(&formats[ENTRY_RECORD]) * UINT32_MAX +
           (uint64_t) place * place * place;
}

/* Guessed rightly: the index block, and the sectors that hold the record. */
UNIT_TEST(a_record_costs_a_part_of_its_block)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    uint64_t (*const timestamps[])(uint32_t) = {consecutive, of_prepares, with_gaps};
    const uint32_t count = 2 * entries_per_block(format) + 5; /* The last block is short. */
    for (uint32_t kind = 0; kind < ARRAY_COUNT(timestamps); kind++) {
        begin(60 + kind, format);
        const struct table_info table = table_of(format, timestamps[kind], count);
        uint32_t more = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t parts;
            const uint64_t reads = cold_reads(&table, i, &parts);
            expect_equal(parts, 1);
            expect(reads == 2 || reads == 3);
            more += reads == 3;
            cache_recount(&fixture.cache);
        }
        /* With gaps, those beside the sectors' border. */
        expect(kind == 2 ? more <= count / 20 : more == 0);
        lsm_end(&fixture);
    }
}

/* Guessed wrongly: the whole block; and only that says that a record is absent. */
UNIT_TEST(a_wrong_guess_has_the_whole_block_read)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    const uint32_t count = TABLE;
    uint32_t wrong = 0;
    uint32_t right = 0;
    begin(65, format);
    const struct table_info table = table_of(format, skewed, count);
    for (uint32_t i = 0; i < count; i++) {
        char entry[sizeof(struct record)];
        uint64_t parts;
        const uint64_t reads = cold_reads(&table, i, &parts);
        expect_equal(parts, 1);
        expect(reads == 2 || reads == 3);
        wrong += reads == 3;
        right += reads == 2;
        if (i == 0 || entries.keys[i - 1] == entries.keys[i] - 1) continue;
        lsm_forget(&fixture);
        expect_equal(
            lookup_in_table(&fixture, &tree, &table, entries.keys[i] - 1, entry), TREE_ABSENT);
        /* As it was read whole, for others too. */
        const uint64_t before = fixture.grid.stats.blocks_read;
        expect_equal(lookup_in_table(&fixture, &tree, &table, entries.keys[i], entry), TREE_FOUND);
        expect_equal(fixture.grid.stats.blocks_read, before);
    }
    expect(wrong > 20 && right > 20);
    lsm_end(&fixture);
}

/* A record that lies in two sectors is in a part only if both are. */
UNIT_TEST(records_that_straddle_sectors)
{
    for (uint32_t size = 24; size <= FOREST_RECORD_SIZE_MAX; size += 8) {
        struct entry_format format = formats[ENTRY_RECORD];
        format.size = size;
        begin(size, &format);
        const uint32_t per_block = entries_per_block(&format);
        const struct table_info table = table_of(&format, consecutive, per_block);
        uint32_t whole = 0;
        for (uint32_t i = 0; i < per_block; i++) {
            const uint32_t start = BLOCK_HEADER_SIZE + i * size;
            const uint32_t end = start + size - 1;
            const uint32_t sectors = end / SECTOR_SIZE - start / SECTOR_SIZE + 1;
            uint64_t parts;
            expect_equal(cold_reads(&table, i, &parts), 2);
            expect_equal(parts, sectors < BLOCK_SECTORS);
            whole += sectors == BLOCK_SECTORS;
        }
        const bool straddles = (SECTOR_SIZE - BLOCK_HEADER_SIZE) % size != 0;
        expect_equal(whole, BLOCK_SECTORS == 2 && straddles);
        lsm_end(&fixture);
    }
}

/* Two of a block, in any sectors: at most the part, and the block; in order, hardly any part. */
UNIT_TEST(more_records_of_a_block_have_it_read_whole)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    const uint32_t count = TABLE;
    struct record record;
    begin(67, format);
    const struct table_info table = table_of(format, consecutive, count);
    for (uint32_t descending = 0; descending < 2; descending++) {
        lsm_forget(&fixture);
        const struct grid_stats before = fixture.grid.stats;
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t number = descending ? count - 1 - i : i;
            expect_equal(
                lookup_in_table(&fixture, &tree, &table, entries.keys[number], &record),
                TREE_FOUND);
            expect(memcmp(&record, tree_entry(&entries, format, number), sizeof(record)) == 0);
        }
        expect_equal(fixture.grid.stats.extracts_read - before.extracts_read, 1);
        expect_equal(
            fixture.grid.stats.blocks_read - before.blocks_read, 2 + table.block_count);
    }
    lsm_end(&fixture);
}

/* Only what changes can be looked up in another version: of it whole blocks are read. */
UNIT_TEST(of_records_that_change_no_part_is_read)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    const uint64_t distinct = 100;
    begin(68, format);
    const struct table_info table = table_of(format, consecutive, 100);
    tree.distinct = &distinct;
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t parts;
        expect_equal(cold_reads(&table, i, &parts), 2);
        expect_equal(parts, 0);
    }
    lsm_end(&fixture);
}

/* Damage in another sector doesn't hurt. */
UNIT_TEST(a_damaged_sector_loses_its_records_only)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    const uint32_t count = entries_per_block(format);
    struct record record;
    for (uint32_t sector = 0; sector < BLOCK_SECTORS; sector++) {
        begin(70 + sector, format);
        const struct table_info table = table_of(format, consecutive, count);
        const struct table_block *blocks =
            (const void *) (lsm_disk_block(&fixture, table.index.address) + BLOCK_HEADER_SIZE);
        const uint64_t address = blocks[0].address;
        lsm_disk_block(&fixture, address)[sector * SECTOR_SIZE + 4000] ^= 1;
        for (uint32_t i = 0; i < count; i++) {
            const uint64_t start = BLOCK_HEADER_SIZE + (uint64_t) i * format->size;
            lsm_forget(&fixture);
            const enum tree_found found =
                lookup_in_table(&fixture, &tree, &table, entries.keys[i], &record);
            expect_equal(found, start / SECTOR_SIZE == sector ? TREE_LOST : TREE_FOUND);
            if (found == TREE_LOST) expect_equal(fixture.cache.damage.address, address);
            const char *expected = tree_entry(&entries, format, i);
            if (found != TREE_LOST) expect(memcmp(&record, expected, format->size) == 0);
        }
        lsm_end(&fixture);
    }
}

/* An index block whose sums are not those of the block: found by a part of it, and by all of it. */
UNIT_TEST(t1_sums_that_lie_are_found)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    const uint32_t count = entries_per_block(format);
    char entry[sizeof(struct record)];
    for (uint32_t whole = 0; whole < 2; whole++) {
        begin(75 + whole, format);
        const uint64_t distinct = 1;
        struct table_info table = table_of(format, consecutive, count);
        if (whole) tree.distinct = &distinct;
        struct table_block *blocks =
            (void *) (lsm_disk_block(&fixture, table.index.address) + BLOCK_HEADER_SIZE);
        blocks[0].sector_sums[BLOCK_SECTORS - 1] ^= 1;
        table.index.checksum = lsm_reseal(&fixture, table.index.address);
        expect_equal(
            lookup_in_table(&fixture, &tree, &table, entries.keys[count - 1], entry), TREE_LOST);
        expect_equal(fixture.cache.damage.address, blocks[0].address);
        lsm_forget(&fixture);
        expect_equal(
            lookup_in_table(&fixture, &tree, &table, entries.keys[0], entry),
            whole ? TREE_LOST : TREE_FOUND);
        blocks[0].sector_sums[BLOCK_SECTORS - 1] ^= 1;
        blocks[0].reserved = 1;
        table.index.checksum = lsm_reseal(&fixture, table.index.address);
        lsm_forget(&fixture);
        expect_equal(lookup_in_table(&fixture, &tree, &table, entries.keys[0], entry), TREE_LOST);
        expect_equal(fixture.cache.damage.address, table.index.address);
        lsm_end(&fixture);
    }
}

UNIT_MAIN(test_lsm_parts)
