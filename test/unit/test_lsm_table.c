/* SPDX-License-Identifier: PostgreSQL */
/* Tables, tails and logs, on the simulated disk, against arrays. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "lsm/log.h"
#include "lsm/tail.h"

#include "unit/tree_fixture.h"

#define FRAMES 160

static struct lsm_fixture fixture;
static struct tree tree;

/* Entries in the order of their keys; between any two keys there is room for another. */
static struct tree_entries entries;

static void
make_entries(const struct entry_format *format, uint32_t count)
{
    u128 key = 100;
    entries.count = count;
    assert(count <= TREE_ENTRIES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        key += prng_range(&fixture.prng, 2, 40);
        const bool high = prng_chance(&fixture.prng, 1, 10);
        if (high && format->shape != ENTRY_RECORD) key += u128_make(1, 0);
        entries.keys[i] = key;
        make_entry(format, key, i + 1, tree_entry(&entries, format, i));
    }
}

static void
begin(uint64_t seed, const struct entry_format *format)
{
    begin_tree(&fixture, &tree, seed, seed + 1000, FRAMES, format);
}

/* ---- Tables -------------------------------------------------------------------------------- */

/* The entries from the first one on, as many as go into one table. */
static struct table_info
build_table(struct table_builder *builder, uint32_t first, uint32_t *count)
{
    const struct entry_format *format = &builder->format;
    uint32_t done = 0;
    table_builder_begin(builder, entries.count - first);
    expect(table_builder_active(builder));
    while (first + done < entries.count && !table_builder_full(builder)) {
        const uint32_t left = entries.count - first - done;
        if (prng_chance(&fixture.prng, 1, 2)) {
            table_builder_add(builder, tree_entry(&entries, format, first + done));
            done += 1;
        } else {
            done += table_builder_add_some(
                builder,
                tree_entry(&entries, format, first + done),
                (uint32_t) prng_range(&fixture.prng, 1, left));
        }
    }
    *count = done;
    const struct table_info table = table_builder_finish(builder);
    expect(!table_builder_active(builder));
    return table;
}

/* Its blocks list what they hold. */
static void
check_blocks(const struct entry_format *format, const struct table_info *table, uint32_t first)
{
    struct table_block blocks[TABLE_BLOCKS_MAX + FILTER_BLOCKS_MAX];
    const uint32_t listed = (uint32_t) table->block_count + table->filter_count;
    uint32_t frame;
    expect(lsm_get(&fixture, &table->index, BLOCK_INDEX, &frame) == CACHE_READY);
    const struct block_header *header = cache_block(&fixture.cache, frame);
    expect_equal(header->record_count, listed);
    expect_equal(header->op, 77);
    expect_equal(header->tree, format->tree);
    memcpy(blocks, table_blocks(&fixture.cache, frame), listed * sizeof(blocks[0]));
    uint32_t done = 0;
    for (uint32_t i = 0; i < listed; i++) {
        const struct block_reference reference = table_block_reference(&blocks[i]);
        const bool values = i < table->block_count;
        expect(
            lsm_get(&fixture, &reference, values ? BLOCK_VALUES : BLOCK_FILTER, &frame) ==
            CACHE_READY);
        if (!values) continue;
        header = cache_block(&fixture.cache, frame);
        expect_equal(header->record_count, blocks[i].entry_count);
        expect_equal(header->size, BLOCK_HEADER_SIZE + blocks[i].entry_count * format->size);
        const uint64_t size = (uint64_t) blocks[i].entry_count * format->size;
        const char *expected = tree_entry(&entries, format, first + done);
        expect(memcmp(cache_content(&fixture.cache, frame), expected, size) == 0);
        done += blocks[i].entry_count;
        expect(blocks[i].key_last == entries.keys[first + done - 1]);
    }
    expect_equal(done, table->entry_count);
}

/* (T1) Ends, and every key, and what lies between keys. */
static void
check_table(
    const struct entry_format *format,
    const struct table_info *table,
    uint32_t first,
    uint32_t count)
{
    expect_equal(table->entry_count, count);
    expect(table->key_min == entries.keys[first]);
    expect(table->key_max == entries.keys[first + count - 1]);
    expect_equal(table->block_count, div_ceil(count, entries_per_block(format)));
    expect_equal(table->filter_count > 0, format->shape == ENTRY_ID);
    for (uint32_t i = first; i < first + count; i++) {
        char entry[sizeof(struct record)];
        expect_equal(lookup_in_table(&fixture, &tree, table, entries.keys[i], entry), TREE_FOUND);
        expect(memcmp(entry, tree_entry(&entries, format, i), format->size) == 0);
        expect_equal(
            lookup_in_table(&fixture, &tree, table, entries.keys[i] - 1, entry), TREE_ABSENT);
    }
}

static void
build_and_check(const struct entry_format *format, uint32_t count)
{
    struct table_builder builder;
    struct table_info tables[TREE_ENTRIES_MAX];
    uint32_t firsts[TREE_ENTRIES_MAX];
    uint32_t table_count = 0;
    uint32_t done = 0;
    make_entries(format, count);
    table_builder_init(&builder, &fixture.cache, format);
    builder.op = 77;
    const uint32_t available = fixture.cache.available;
    while (done < count) {
        uint32_t taken;
        firsts[table_count] = done;
        tables[table_count] = build_table(&builder, done, &taken);
        expect(taken == table_entries_max(format) || done + taken == count);
        done += taken;
        table_count += 1;
    }
    expect(available - fixture.cache.available <= table_frames_needed(format, count));
    if (prng_chance(&fixture.prng, 1, 2)) lsm_forget(&fixture);
    for (uint32_t i = 0; i < table_count; i++) {
        const uint32_t end = i + 1 < table_count ? firsts[i + 1] : count;
        check_table(format, &tables[i], firsts[i], end - firsts[i]);
        check_blocks(format, &tables[i], firsts[i]);
    }
    lsm_settle(&fixture);
    cache_recount(&fixture.cache);
    expect_equal(fixture.cache.available, FRAMES);
}

UNIT_TEST(t1_tables_of_every_shape_and_size)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const struct entry_format *format = &formats[shape];
        const uint32_t per_block = entries_per_block(format);
        const uint32_t most = table_entries_max(format);
        const uint32_t counts[] = {
            1, 2, per_block - 1, per_block, per_block + 1, 2 * per_block - 1, 2 * per_block,
            most - 1, most, most + 1, 2 * most, 2 * most + per_block,
        };
        begin(shape + 1, format);
        for (uint32_t i = 0; i < ARRAY_COUNT(counts); i++) {
            build_and_check(format, counts[i]);
        }
        for (uint32_t i = 0; i < 10; i++) {
            build_and_check(format, (uint32_t) prng_range(&fixture.prng, 1, 3 * most));
        }
        lsm_end(&fixture);
    }
}

/* A table is as large as it was announced, and no larger than a table may be. */
UNIT_TEST(tables_are_full_when_they_should_be)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const struct entry_format *format = &formats[shape];
        const uint32_t announced[] = {1, 7, entries_per_block(format), UINT32_MAX};
        begin(shape + 10, format);
        make_entries(format, table_entries_max(format));
        for (uint32_t i = 0; i < ARRAY_COUNT(announced); i++) {
            struct table_builder builder;
            uint32_t count = 0;
            table_builder_init(&builder, &fixture.cache, format);
            table_builder_begin(&builder, announced[i]);
            while (!table_builder_full(&builder)) {
                table_builder_add(&builder, tree_entry(&entries, format, count));
                count += 1;
            }
            expect_equal(count, min_u64(announced[i], table_entries_max(format)));
            expect_equal(table_builder_finish(&builder).entry_count, count);
        }
        lsm_settle(&fixture);
        lsm_end(&fixture);
    }
    expect_equal(table_entries_max(&formats[ENTRY_ID]), TABLE_FILTERED_MAX);
}

/* Of a hundred absent ids, few cost more than the index block and a filter block. */
UNIT_TEST(filters_spare_reading_values)
{
    const struct entry_format *format = &formats[ENTRY_ID];
    struct table_builder builder;
    uint32_t count;
    begin(20, format);
    make_entries(format, TABLE_FILTERED_MAX);
    table_builder_init(&builder, &fixture.cache, format);
    const struct table_info table = build_table(&builder, 0, &count);
    uint32_t needless = 0;
    for (uint32_t i = 0; i < TABLE_FILTERED_MAX; i++) {
        struct entry24 entry;
        lsm_forget(&fixture);
        const uint64_t read_before = fixture.grid.stats.blocks_read;
        expect_equal(
            lookup_in_table(&fixture, &tree, &table, entries.keys[i] - 1, &entry), TREE_ABSENT);
        const uint64_t blocks_read = fixture.grid.stats.blocks_read - read_before;
        expect(i == 0 ? blocks_read == 0 : blocks_read == 2 || blocks_read == 3);
        needless += blocks_read == 3;
    }
    expect(needless < TABLE_FILTERED_MAX / 20);
    lsm_end(&fixture);
}

/* Blocks that were filled elsewhere, full or not. */
UNIT_TEST(t1_tables_are_made_of_whole_blocks)
{
    const struct entry_format *format = &formats[ENTRY_RECORD];
    const uint32_t per_block = entries_per_block(format);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct table_builder builder;
        uint32_t ends[TABLE_BLOCKS_MAX];
        uint32_t done = 0;
        begin(seed, format);
        make_entries(format, TABLE_BLOCKS_MAX * per_block);
        table_builder_init(&builder, &fixture.cache, format);
        table_builder_begin(&builder, table_entries_max(format));
        for (uint32_t i = 0; i < TABLE_BLOCKS_MAX; i++) {
            const uint32_t count = (uint32_t) prng_range(&fixture.prng, 1, per_block);
            const uint32_t frame = cache_take(&fixture.cache);
            char *block = cache_block(&fixture.cache, frame);
            memcpy(
                block + BLOCK_HEADER_SIZE,
                tree_entry(&entries, format, done),
                (uint64_t) count * format->size);
            table_builder_add_block(&builder, frame, count);
            done += count;
            ends[i] = done;
            expect_equal(table_builder_blocks(&builder)[i].entry_count, count);
            expect(table_builder_blocks(&builder)[i].key_last == entries.keys[done - 1]);
        }
        const struct table_info table = table_builder_finish(&builder);
        lsm_forget(&fixture);
        expect_equal(table.block_count, TABLE_BLOCKS_MAX);
        expect_equal(table.entry_count, done);
        expect(table.key_min == entries.keys[0] && table.key_max == entries.keys[done - 1]);
        for (uint32_t i = 0; i < ends[TABLE_BLOCKS_MAX - 1]; i++) {
            struct record record;
            expect_equal(
                lookup_in_table(&fixture, &tree, &table, entries.keys[i], &record), TREE_FOUND);
            expect(memcmp(&record, tree_entry(&entries, format, i), sizeof(record)) == 0);
            expect_equal(
                lookup_in_table(&fixture, &tree, &table, entries.keys[i] - 1, &record),
                TREE_ABSENT);
        }
        lsm_end(&fixture);
    }
}

UNIT_TEST(bounds_are_found_as_by_counting)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const struct entry_format *format = &formats[shape];
        begin(shape + 30, format);
        for (uint32_t count = 0; count < 70; count++) {
            struct table_block blocks[70];
            make_entries(format, count);
            for (uint32_t i = 0; i < count; i++) {
                blocks[i] = (struct table_block){.key_last = entries.keys[i]};
            }
            for (uint32_t i = 0; i <= count; i++) {
                const u128 key = i < count ? entries.keys[i] : U128_MAX;
                expect_equal(entries_lower_bound(format, entries.bytes, count, key), i);
                expect_equal(entries_lower_bound(format, entries.bytes, count, key - 1), i);
                expect_equal(table_blocks_find(blocks, count, key), i);
                expect_equal(table_blocks_find(blocks, count, key - 1), i);
            }
        }
        lsm_end(&fixture);
    }
}

/* A damaged block of any kind loses the keys that need it, and says where it is. */
UNIT_TEST(damaged_blocks_lose_their_keys_only)
{
    const struct entry_format *format = &formats[ENTRY_ID];
    struct table_builder builder;
    struct table_block blocks[TABLE_BLOCKS_MAX + FILTER_BLOCKS_MAX];
    struct entry24 entry;
    uint32_t count;
    uint32_t frame;
    begin(40, format);
    make_entries(format, TABLE_FILTERED_MAX);
    table_builder_init(&builder, &fixture.cache, format);
    const struct table_info table = build_table(&builder, 0, &count);
    const uint32_t listed = (uint32_t) table.block_count + table.filter_count;
    expect_equal(lsm_get(&fixture, &table.index, BLOCK_INDEX, &frame), CACHE_READY);
    memcpy(blocks, table_blocks(&fixture.cache, frame), listed * sizeof(blocks[0]));
    for (uint32_t i = 0; i <= listed; i++) {
        const uint64_t address = i < listed ? blocks[i].address : table.index.address;
        char healthy[BLOCK_SIZE];
        lsm_forget(&fixture);
        memcpy(healthy, lsm_disk_block(&fixture, address), BLOCK_SIZE);
        lsm_rot(&fixture, address);
        uint32_t lost = 0;
        for (uint32_t at = 0; at < count; at++) {
            const enum tree_found found =
                lookup_in_table(&fixture, &tree, &table, entries.keys[at], &entry);
            lost += found == TREE_LOST;
            expect(found == TREE_FOUND || fixture.cache.damage.address == address);
        }
        if (i < table.block_count) expect_equal(lost, blocks[i].entry_count);
        if (i == listed) expect_equal(lost, count);
        expect(lost > 0);
        lsm_heal(&fixture, address, healthy);
        for (uint32_t at = 0; at < count; at++) {
            expect_equal(
                lookup_in_table(&fixture, &tree, &table, entries.keys[at], &entry), TREE_FOUND);
        }
    }
    lsm_end(&fixture);
}

/* ---- Values that lie, behind checksums that are right -------------------------------------- */

static void
set_key(const struct entry_format *format, char *entry, u128 key)
{
    const uint64_t words[2] = {u128_low(key), u128_high(key)};
    if (format->shape == ENTRY_RECORD) {
        memcpy(entry + format->timestamp_offset, words, sizeof(words[0]));
    } else {
        memcpy(entry, words, sizeof(words));
    }
}

#define LIES 10

/* Tells one lie about a block of the table; false: there is no such lie of this shape. */
static bool
tell_lie(const struct entry_format *format, uint32_t lie, uint32_t place, char *values, u128 before)
{
    struct block_header *header = (void *) values;
    const uint32_t count = header->record_count;
    char *first = values + BLOCK_HEADER_SIZE;
    char *last = first + (uint64_t) (count - 1) * format->size;
    char *some = first + (uint64_t) (count / 2) * format->size;
    const u128 key = entry_key(format, some);
    switch (lie) {
    case 0: memcpy(some, some - format->size, format->size); return true; /* Twice. */
    case 1:
        set_key(format, some, entry_key(format, some - format->size));
        set_key(format, some - format->size, key);
        return true;
    case 2: set_key(format, some, 0); return true;
    case 3: set_key(format, some, U128_MAX); return true;
    case 4: set_key(format, first, before); return true; /* The block before has it. */
    case 5: set_key(format, last, entry_key(format, last) + 1); return true;
    case 6: set_key(format, last, entry_key(format, last) - 1); return true;
    case 7: /* The table's first key is another. */
        set_key(format, first, entry_key(format, first) + 1);
        return place == 0;
    case 8:
        if (format->shape == ENTRY_ID) memset(some + sizeof(u128), 0, sizeof(uint64_t));
        if (format->shape == ENTRY_INDEX) set_key(format, some, u128_make(u128_high(key) + 1, 0));
        return format->shape != ENTRY_RECORD;
    default:
        header->record_count -= 1;
        header->size -= format->size;
        memset(last, 0, format->size);
        return true;
    }
}

/* Is there a lie in the sector of that record? */
static bool
sector_lies(const char *healthy, const char *values, uint32_t number)
{
    const uint64_t offset = BLOCK_HEADER_SIZE + number * sizeof(struct record);
    const uint64_t start = max_u64(offset / SECTOR_SIZE * SECTOR_SIZE, BLOCK_HEADER_SIZE);
    const uint64_t size = SECTOR_SIZE - start % SECTOR_SIZE;
    return memcmp(healthy + start, values + start, size) != 0;
}

/*
 * (T1) A block that says what its table doesn't promise loses all its keys, and is named. But for
 * records: those in a sector in which there is no lie may be found, as they are, if that is all
 * that is read.
 */
UNIT_TEST(t1_values_that_lie_are_lost)
{
    for (uint32_t number = 0; number < ARRAY_COUNT(formats) * TABLE_BLOCKS_MAX * LIES; number++) {
        const struct entry_format *format = &formats[number % ARRAY_COUNT(formats)];
        uint32_t place = number / ARRAY_COUNT(formats) % TABLE_BLOCKS_MAX;
        const uint32_t lie = number / ARRAY_COUNT(formats) / TABLE_BLOCKS_MAX;
        struct table_builder builder;
        uint32_t count;
        begin(number, format);
        make_entries(format, table_entries_max(format));
        table_builder_init(&builder, &fixture.cache, format);
        struct table_info table = build_table(&builder, 0, &count);
        lsm_forget(&fixture);
        place %= table.block_count;
        const char *index = (const char *) lsm_disk_block(&fixture, table.index.address);
        struct table_block blocks[TABLE_BLOCKS_MAX];
        memcpy(blocks, index + BLOCK_HEADER_SIZE, table.block_count * sizeof(blocks[0]));
        const u128 before = place == 0 ? table.key_min - 1 : blocks[place - 1].key_last;
        char *values = (char *) lsm_disk_block(&fixture, blocks[place].address);
        char healthy[BLOCK_SIZE];
        memcpy(healthy, values, BLOCK_SIZE);
        const bool lies = tell_lie(format, lie, place, values, before);
        lsm_reseal_values(&fixture, &table, place);
        char entry[sizeof(struct record)];
        uint32_t lost = 0;
        for (uint32_t i = 0; lies && i < count; i++) {
            const bool here = entries.keys[i] > before && entries.keys[i] <= blocks[place].key_last;
            const bool record = format->shape == ENTRY_RECORD;
            if (record) lsm_forget(&fixture);
            const enum tree_found found =
                lookup_in_table(&fixture, &tree, &table, entries.keys[i], entry);
            const char *expected = tree_entry(&entries, format, i);
            if (found == TREE_FOUND) expect(memcmp(entry, expected, format->size) == 0);
            if (!here || !record || sector_lies(healthy, values, i % entries_per_block(format))) {
                expect_equal(found, here ? TREE_LOST : TREE_FOUND);
            }
            if (found != TREE_LOST) continue;
            expect_equal(fixture.cache.damage.address, blocks[place].address);
            expect_equal(fixture.cache.damage.tree, format->tree);
            lost += 1;
        }
        expect(!lies || lost > 0);
        lsm_end(&fixture);
    }
}

/* (T1) Others that name the same blocks: these keep the promise of one table only. */
UNIT_TEST(t1_a_block_keeps_each_promise_or_is_lost)
{
    const struct entry_format *format = &formats[ENTRY_INDEX];
    struct table_builder builder;
    char entry[sizeof(struct record)];
    uint32_t count;
    begin(50, format);
    make_entries(format, 100);
    table_builder_init(&builder, &fixture.cache, format);
    const struct table_info table = build_table(&builder, 0, &count);
    struct table_info other = table;
    other.key_min -= 1;
    lsm_forget(&fixture);
    expect_equal(lookup_in_table(&fixture, &tree, &table, entries.keys[50], entry), TREE_FOUND);
    expect_equal(lookup_in_table(&fixture, &tree, &other, entries.keys[50], entry), TREE_LOST);
    other = table;
    other.entry_count += 1;
    expect_equal(lookup_in_table(&fixture, &tree, &other, entries.keys[50], entry), TREE_LOST);
    expect_equal(lookup_in_table(&fixture, &tree, &table, entries.keys[50], entry), TREE_FOUND);
    tree.format.tree += 1;
    expect_equal(lookup_in_table(&fixture, &tree, &table, entries.keys[50], entry), TREE_LOST);
    expect_equal(fixture.cache.damage.address, table.index.address);
    lsm_end(&fixture);
}

/* ---- Tails --------------------------------------------------------------------------------- */

#define TAIL_MAX 500

static struct tail tail;
static char tail_memory[TAIL_MAX * 64] __attribute__((aligned(ARENA_ALIGNMENT)));
static char tail_scratch[TAIL_MAX * sizeof(struct entry24)] __attribute__((aligned(64)));

static void
begin_tail(uint64_t seed, const struct entry_format *format, uint32_t count_max)
{
    struct arena arena;
    prng_init(&fixture.prng, seed);
    memset(tail_memory, 0xa5, sizeof(tail_memory));
    arena_init(&arena, tail_memory, sizeof(tail_memory));
    tail_init(&tail, &arena, format, count_max);
    expect((uint64_t) count_max * format->size <= sizeof(tail_scratch));
    tail_clear(&tail);
}

static int
compare_entry16(const void *a, const void *b)
{
    const struct entry16 *first = a;
    const struct entry16 *second = b;
    if (first->value != second->value) return first->value < second->value ? -1 : 1;
    return first->timestamp < second->timestamp ? -1 : first->timestamp > second->timestamp;
}

/* (E1) Adding, taking away and sorting, in any order. */
UNIT_TEST(e1_a_tail_is_sorted_by_value_and_timestamp)
{
    static struct entry16 model[TAIL_MAX];
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin_tail(seed, &formats[ENTRY_INDEX], TAIL_MAX);
        const uint64_t spread = UINT64_C(1) << prng_below(&fixture.prng, 60);
        uint64_t timestamp = 0;
        uint32_t count = 0;
        for (uint32_t round = 0; round < 60; round++) {
            const uint32_t more = (uint32_t) prng_below(&fixture.prng, 30);
            for (uint32_t i = 0; i < more && count < TAIL_MAX; i++) {
                timestamp += prng_range(&fixture.prng, 1, 3);
                const uint64_t value = prng_below(&fixture.prng, spread);
                model[count] = (struct entry16){.timestamp = timestamp, .value = value};
                tail_add(&tail, value, timestamp);
                count += 1;
            }
            if (prng_chance(&fixture.prng, 1, 3)) {
                count = (uint32_t) prng_range(&fixture.prng, tail.sorted_count, count);
                tail_truncate(&tail, count);
            }
            expect_equal(tail.count, count);
            if (prng_chance(&fixture.prng, 1, 3)) {
                tail_sort(&tail, tail_scratch);
                qsort(model, count, sizeof(model[0]), compare_entry16);
                expect_equal(tail.sorted_count, count);
            }
            expect(memcmp(model, tail.entries.index, count * sizeof(model[0])) == 0);
            if (!prng_chance(&fixture.prng, 1, 20)) continue;
            tail_clear(&tail);
            count = 0;
        }
    }
}

static u128
some_id(uint64_t number)
{
    switch (number % 3) {
    case 0: return number + 1;
    case 1: return u128_make(number, 0);
    default: return u128_make(number << 32, number * UINT64_C(0x9e3779b97f4a7c15));
    }
}

/* Ids in the tail are found, others aren't, whatever came and went. */
UNIT_TEST(ids_of_a_tail_are_found)
{
    static u128 model[TAIL_MAX];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        const uint32_t count_max = (uint32_t) (seed * 61 % TAIL_MAX + 1);
        begin_tail(seed, &formats[ENTRY_ID], count_max);
        uint64_t number = 0;
        uint32_t count = 0;
        for (uint32_t round = 0; round < 30; round++) {
            const uint32_t more = (uint32_t) prng_below(&fixture.prng, count_max + 1);
            for (uint32_t i = 0; i < more && count < count_max; i++) {
                number += 1;
                model[count] = some_id(number);
                tail_hint_id(&tail, model[count]);
                tail_add_id(&tail, model[count], count + 1000);
                count += 1;
            }
            for (uint32_t i = 0; i < count; i++) {
                uint64_t timestamp = 0;
                expect(tail_find_id(&tail, model[i], &timestamp));
                expect_equal(timestamp, i + 1000);
            }
            const uint32_t kept = (uint32_t) prng_below(&fixture.prng, count + 1);
            tail_truncate(&tail, kept);
            for (uint32_t i = kept; i < count; i++) {
                uint64_t timestamp;
                expect(!tail_find_id(&tail, model[i], &timestamp));
            }
            count = kept;
        }
        tail_sort(&tail, tail_scratch);
        u128 before = 0;
        for (uint32_t i = 0; i < count; i++) {
            const struct entry24 *entry = &tail.entries.ids[i];
            const u128 id = u128_make(entry->id_high, entry->id_low);
            expect(id > before);
            expect(model[entry->timestamp - 1000] == id);
            before = id;
        }
        tail_clear(&tail);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t timestamp;
            expect(!tail_find_id(&tail, model[i], &timestamp));
        }
    }
}

/* ---- Logs ---------------------------------------------------------------------------------- */

#define LOG_MAX 4000

static struct log log_made;
static uint64_t log_timestamps[LOG_MAX];
static uint32_t log_count;
static uint64_t log_op;

static void
log_record(char *record, uint64_t timestamp)
{
    const struct entry_format *format = &tree.format;
    memset(record, (int) (timestamp % 251), format->size);
    memcpy(record + format->timestamp_offset, &timestamp, sizeof(timestamp));
}

/* An op: some records, of which the last are perhaps taken back, and come again. */
static void
log_op_run(void)
{
    struct prng *prng = &fixture.prng;
    char record[FOREST_RECORD_SIZE_MAX];
    const uint32_t records = (uint32_t) prng_range(prng, 1, LOG_OP_RECORDS_MAX);
    const uint32_t needed = log_frames_needed(&log_made, records);
    while (fixture.cache.available < needed) lsm_progress(&fixture);
    const uint32_t available = fixture.cache.available;
    const uint32_t frames_open = log_made.frame_count;
    const uint32_t first = log_count;
    const bool discard = prng_chance(prng, 1, 5);
    uint32_t appended = 0;
    for (uint32_t i = 0; i < 2 * records && appended < records; i++) {
        if (log_count > first && prng_chance(prng, 1, 8)) {
            log_pop(&log_made);
            log_count -= 1;
            appended -= 1;
            continue;
        }
        const uint64_t newest = log_count == 0 ? 0 : log_timestamps[log_count - 1];
        log_timestamps[log_count] = newest + prng_range(prng, 1, 4);
        log_record(record, log_timestamps[log_count]);
        log_append(&log_made, record);
        log_count += 1;
        appended += 1;
    }
    while (discard && log_count > first) {
        log_pop(&log_made);
        log_count -= 1;
    }
    if (discard) expect_equal(log_made.frame_count, frames_open);
    if (discard) expect_equal(fixture.cache.available, available);
    log_op += 1;
    log_seal(&log_made, log_op);
    expect(log_made.frame_count <= 1);
    expect(available - fixture.cache.available <= needed);
}

/* As if the process had been restarted after the checkpoint. */
static void
log_restart(void)
{
    static struct table_info tables[LOG_MAX];
    uint32_t table_count = 0;
    if (tree.run_count[0] > 0) {
        struct table_place place = tree_run_first(&tree, tree.order[0][0]);
        while (place.node != NODE_NONE) {
            tables[table_count] = *tree_table(&tree, place);
            table_count += 1;
            place = tree_run_next(&tree, tree.order[0][0], place);
        }
    }
    lsm_forget(&fixture);
    table_pool_open(&fixture.pool);
    tree_open(&tree);
    if (table_count > 0) (void) tree_run_new(&tree, 0, false);
    for (uint32_t i = 0; i < table_count; i++) {
        tree_run_append(&tree, tree.order[0][0], &tables[i]);
    }
    log_open(&log_made);
}

static void
log_check_seek(uint64_t target, bool descending)
{
    uint32_t at = 0;
    while (at < log_count && log_timestamps[at] < target) at += 1;
    const bool exact = at < log_count && log_timestamps[at] == target;
    bool expected = at < log_count;
    if (descending && !exact) {
        expected = at > 0;
        at -= 1;
    }
    uint64_t timestamp = target;
    enum tree_found found;
    while ((found = log_seek(&log_made, descending, &timestamp)) == TREE_WAIT) {
        expect_equal(timestamp, target);
        lsm_progress(&fixture);
    }
    expect_equal(found, expected ? TREE_FOUND : TREE_ABSENT);
    if (expected && found == TREE_FOUND) expect_equal(timestamp, log_timestamps[at]);
}

static void
log_check_lookup(uint64_t timestamp, bool exists)
{
    char record[FOREST_RECORD_SIZE_MAX];
    char expected[FOREST_RECORD_SIZE_MAX];
    enum tree_found found;
    while ((found = log_lookup(&log_made, timestamp, record)) == TREE_WAIT) {
        lsm_progress(&fixture);
    }
    expect_equal(found, exists ? TREE_FOUND : TREE_ABSENT);
    if (!exists) return;
    log_record(expected, timestamp);
    expect(memcmp(record, expected, tree.format.size) == 0);
    const void *open = log_find_open(&log_made, timestamp);
    const uint32_t open_first = log_count - log_made.record_count;
    const bool is_open =
        open_first < log_count && timestamp >= log_timestamps[open_first];
    expect_equal(open != NULL, is_open);
    if (open != NULL) expect(memcmp(open, expected, tree.format.size) == 0);
}

static void
log_check(uint32_t checks)
{
    struct prng *prng = &fixture.prng;
    const uint64_t newest = log_count == 0 ? 0 : log_timestamps[log_count - 1];
    for (uint32_t i = 0; i < checks; i++) {
        const uint64_t target = prng_range(prng, 0, newest + 3);
        log_check_seek(target, true);
        log_check_seek(target, false);
        if (log_count == 0) continue;
        const uint32_t at = (uint32_t) prng_below(prng, log_count);
        log_check_lookup(log_timestamps[at], true);
        const uint64_t before = at == 0 ? 0 : log_timestamps[at - 1];
        if (log_timestamps[at] - 1 > before) log_check_lookup(log_timestamps[at] - 1, false);
    }
}

static void
log_run(uint64_t seed, uint32_t record_size)
{
    struct entry_format format = formats[ENTRY_RECORD];
    format.size = record_size;
    format.timestamp_offset = (uint16_t) (record_size - 16);
    lsm_begin(&fixture, seed, seed + 1000, 40);
    tree_init(&tree, "log", &format, &fixture.pool, &fixture.cache);
    tree_open(&tree);
    log_init(&log_made, &tree);
    log_open(&log_made);
    log_count = 0;
    log_op = 0;
    uint32_t checkpoints = 0;
    log_check(3);
    while (log_count < LOG_MAX - LOG_OP_RECORDS_MAX) {
        log_op_run();
        log_check(4);
        if (!prng_chance(&fixture.prng, 1, 12)) continue;
        while (fixture.cache.available < log_frames_needed(&log_made, 0)) lsm_progress(&fixture);
        log_checkpoint(&log_made, log_op);
        checkpoints += 1;
        expect_equal(log_made.record_count, 0);
        expect_equal(tree_entry_count(&tree), log_count);
        log_check(20);
        if (prng_chance(&fixture.prng, 1, 2)) log_restart();
        log_check(20);
    }
    /* A checkpoint cuts a table, and no more. */
    const uint32_t per_table = table_entries_max(&format);
    expect(fixture.pool.table_count <= log_count / per_table + checkpoints + 1);
    for (uint32_t i = 0; i < log_count; i++) {
        log_check_lookup(log_timestamps[i], true);
        log_check_seek(log_timestamps[i] + 1, false);
        log_check_seek(log_timestamps[i] - 1, true);
    }
    log_check_seek(UINT64_MAX, true);
    log_check_seek(UINT64_MAX, false);
    lsm_settle(&fixture);
    cache_recount(&fixture.cache);
    lsm_end(&fixture);
}

UNIT_TEST(logs_of_every_record_size_against_an_array)
{
    const uint32_t sizes[] = {32, 64, 128, 192, 256};
    for (uint64_t seed = 1; seed <= 10; seed++) {
        log_run(seed, sizes[seed % ARRAY_COUNT(sizes)]);
    }
}

UNIT_MAIN(test_lsm_table)
