/* SPDX-License-Identifier: PostgreSQL */
/* The forest's parts, each against the simplest thing that does the same. */
#include "unit.h"

#include "base/prng.h"
#include "base/units.h"
#include "lsm/ordered_index.h"
#include "lsm/postings.h"
#include "lsm/row_map.h"
#include "lsm/tree.h"

#define PAGES 600

static _Alignas(ARENA_ALIGNMENT) uint8_t memory[PAGES * (BLOCK_SIZE + 512) + MIB];
static struct arena arena;
static struct page_pool pages;
static struct chunk_pool chunks;
static struct prng prng;

static void
begin(uint64_t seed)
{
    prng_init(&prng, seed);
    memset(memory, 0x5a, sizeof(memory));
    arena_init(&arena, memory, sizeof(memory));
    page_pool_init(&pages, &arena, PAGES);
    chunk_pool_init(&chunks, &pages);
}

/* Chunks of the kind that someone holds. */
static uint64_t
chunks_held(enum chunk_kind kind, uint64_t pages_cut)
{
    const uint64_t size = kind == CHUNK_SMALL ? CHUNK_SMALL_SIZE : CHUNK_LARGE_SIZE;
    return pages_cut * BLOCK_SIZE / size - chunk_pool_available(&chunks, kind);
}

/* ---- Pages and chunks ---------------------------------------------------------------------- */

UNIT_TEST(pages_are_taken_once)
{
    static uint32_t taken[PAGES];
    begin(1);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < PAGES; i++) {
            taken[i] = page_pool_acquire(&pages, 1);
            expect_equal(page_pool_page_of(&pages, page_pool_data(&pages, taken[i])), taken[i]);
            memset(page_pool_data(&pages, taken[i]), (int) i, BLOCK_SIZE);
        }
        expect_equal(page_pool_free_count(&pages), 0);
        for (uint32_t i = 0; i < PAGES; i++) {
            const uint8_t *data = page_pool_data(&pages, taken[i]);
            expect(data[0] == (uint8_t) i && data[BLOCK_SIZE - 1] == (uint8_t) i);
        }
        for (uint32_t i = 0; i < PAGES; i++) {
            page_pool_release(&pages, taken[(i * 7 + round) % PAGES]);
        }
        expect_equal(page_pool_free_count(&pages), PAGES);
    }
}

UNIT_TEST(chunks_are_taken_once)
{
    static uint32_t taken[2][500];
    begin(2);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 1000; i++) {
            const enum chunk_kind kind = i % 2;
            const uint32_t chunk = chunk_pool_acquire(&chunks, kind);
            const size_t size = kind == CHUNK_SMALL ? CHUNK_SMALL_SIZE : CHUNK_LARGE_SIZE;
            memset(chunk_pool_data(&chunks, chunk), (int) i, size);
            taken[kind][i / 2] = chunk;
        }
        for (uint32_t i = 0; i < 1000; i++) {
            const uint8_t *data = chunk_pool_data(&chunks, taken[i % 2][i / 2]);
            const size_t size = i % 2 == 0 ? CHUNK_SMALL_SIZE : CHUNK_LARGE_SIZE;
            expect(data[0] == (uint8_t) i && data[size - 1] == (uint8_t) i);
        }
        for (uint32_t i = 0; i < 1000; i++) {
            chunk_pool_release(&chunks, i % 2, taken[i % 2][i / 2]);
        }
    }
    const uint32_t pages_needed =
        500 * CHUNK_SMALL_SIZE / BLOCK_SIZE + 1 + 500 * CHUNK_LARGE_SIZE / BLOCK_SIZE + 1;
    expect_equal(pages.used_count, pages_needed);
}

/* ---- Row map ------------------------------------------------------------------------------- */

#define MAP_ENTRIES 20000

static uint32_t map_hashes[MAP_ENTRIES];

static bool
map_has(const struct row_map *map, uint32_t hash, uint32_t value, struct row_map_cursor *cursor)
{
    *cursor = row_map_first(map, hash);
    const uint32_t *found = row_map_next(map, cursor, hash);
    while (found != NULL && *found != value) {
        found = row_map_next(map, cursor, hash);
    }
    return found != NULL;
}

/* (M1) for every chain, and that every entry is in its chain. */
static void
map_check(const struct row_map *map, uint32_t count)
{
    uint32_t entries = 0;
    uint32_t overflows = 0;
    for (uint32_t number = 0; number < map->bucket_count; number++) {
        const struct row_map_bucket *bucket = row_map_bucket_at(map, number);
        for (;;) {
            for (uint32_t i = 0; i < bucket->count; i++) {
                expect(row_map_bucket_of(map, bucket->hashes[i]) == row_map_bucket_at(map, number));
            }
            entries += bucket->count;
            if (bucket->overflow == CHUNK_NONE) break;
            expect_equal(bucket->count, ROW_MAP_BUCKET_ENTRIES);
            bucket = chunk_pool_data(map->chunks, bucket->overflow);
            expect(bucket->count > 0);
            overflows += 1;
        }
    }
    expect_equal(entries, count);
    expect_equal(entries, map->entry_count);
    expect_equal(overflows, map->overflow_count);
    expect(map->entry_count <= map->bucket_count * ROW_MAP_LOAD); /* (M2) */
}

/* Hashes of several kinds; `kind` 2 and 3 are what an adversary would choose. */
static uint32_t
map_hash(uint32_t kind, uint32_t number)
{
    switch (kind) {
    case 0: return hash_u128(number);
    case 1: return (uint32_t) prng_below(&prng, 3000);
    case 2: return number << 16;
    default: return 77;
    }
}

UNIT_TEST(row_map_holds_what_was_inserted)
{
    for (uint32_t kind = 0; kind < 4; kind++) {
        struct row_map map;
        struct row_map_cursor cursor;
        begin(3 + kind);
        row_map_init(&map, &arena, &pages, &chunks);
        const uint32_t count = kind < 2 ? MAP_ENTRIES : 3000;
        for (uint32_t i = 0; i < count; i++) {
            map_hashes[i] = map_hash(kind, i);
            row_map_insert(&map, map_hashes[i], i);
        }
        map_check(&map, count);
        for (uint32_t i = 0; i < count; i++) {
            expect(map_has(&map, map_hashes[i], i, &cursor));
            expect(!map_has(&map, map_hashes[i], i + MAP_ENTRIES, &cursor));
        }
        /* Away again in another order; half way the rest is all there. */
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t value = (i * 7919) % count;
            expect(map_has(&map, map_hashes[value], value, &cursor));
            row_map_remove(&map, map_hashes[value], &cursor);
            expect(!map_has(&map, map_hashes[value], value, &cursor));
            if (i == count / 2) map_check(&map, count - i - 1);
        }
        map_check(&map, 0);
        expect_equal(map.overflow_count, 0);
    }
}

/* What is promised to suffice does, from any fill. */
UNIT_TEST(row_map_needs_no_more_than_it_says)
{
    for (uint32_t kind = 0; kind < 4; kind++) {
        struct row_map map;
        begin(10 + kind);
        row_map_init(&map, &arena, &pages, &chunks);
        uint32_t number = 0;
        while (number < (kind < 2 ? MAP_ENTRIES : 3000)) {
            const uint32_t inserts = 1 + (uint32_t) prng_below(&prng, 300);
            const uint64_t pages_max = map.page_count + row_map_pages_needed(&map, inserts);
            const uint64_t chunks_max = map.overflow_count + row_map_chunks_needed(&map, inserts);
            uint64_t overflow_peak = 0;
            for (uint32_t i = 0; i < inserts; i++) {
                row_map_insert(&map, map_hash(kind, number), number);
                number += 1;
                overflow_peak = max_u64(overflow_peak, map.overflow_count);
            }
            expect(map.page_count <= pages_max);
            expect(overflow_peak <= chunks_max);
        }
    }
}

UNIT_TEST(hash_spreads_what_clients_choose)
{
    static uint32_t counts[4][1024];
    memset(counts, 0, sizeof(counts));
    for (uint64_t i = 0; i < 102400; i++) {
        counts[0][hash_u128(i) % 1024] += 1;
        counts[1][hash_u128(u128_make(i, 0)) % 1024] += 1;
        counts[2][hash_u128(u128_make(i << 48, 0)) % 1024] += 1;
        /* One half cancels its key: the product is zero. */
        counts[3][hash_u128(u128_make(i, HASH_KEY_0)) % 1024] += 1;
    }
    for (uint32_t kind = 0; kind < 4; kind++) {
        if (kind == 2) continue; /* Only 65,536 different ones. */
        for (uint32_t i = 0; i < 1024; i++) {
            expect(counts[kind][i] > 40);
            expect(counts[kind][i] < 180);
        }
    }
}

/* ---- Tree ---------------------------------------------------------------------------------- */

struct record {
    uint64_t timestamp;
    uint32_t field;
    uint32_t reserved;
    uint64_t filler[2];
};

static const struct tree_schema record_schema = {
    .name = "record",
    .record_size = sizeof(struct record),
    .timestamp_offset = 0,
    .id_offset = FOREST_NONE,
    .burnt_tree = FOREST_NONE,
    .inserts_per_event_max = 1,
};

UNIT_TEST(tree_finds_by_timestamp)
{
    static uint64_t timestamps[3000];
    for (uint32_t gap_max = 1; gap_max <= 64; gap_max *= 4) {
        struct tree tree;
        begin(20 + gap_max);
        tree_init(&tree, &arena, &pages, &record_schema, 0);
        expect_equal(tree_lower_bound(&tree, 5), 0);
        expect_equal(tree_find(&tree, 5), ROW_NONE);
        const uint32_t count = 3000;
        uint64_t timestamp = 10;
        for (uint32_t row = 0; row < count; row++) {
            timestamp += prng_range(&prng, 1, prng_chance(&prng, 1, 9) ? gap_max : 1);
            const struct record record = {.timestamp = timestamp};
            timestamps[row] = timestamp;
            expect_equal(tree_append(&tree, &record), row);
        }
        uint32_t row = 0;
        for (uint64_t asked = 0; asked < timestamp + 5; asked++) {
            while (row < count && timestamps[row] < asked) {
                row += 1;
            }
            const bool there = row < count && timestamps[row] == asked;
            expect_equal(tree_lower_bound(&tree, asked), row);
            expect_equal(tree_find(&tree, asked), there ? row : ROW_NONE);
        }
        for (uint32_t i = count; i > 0; i--) {
            expect_equal(tree.newest, timestamps[i - 1]);
            tree_pop(&tree);
        }
        expect_equal(pages.used_count, 0);
        expect_equal(tree.dirty_count, 0);
        expect_equal(tree.newest, 0);
    }
}

UNIT_TEST(row_division_is_exact)
{
    for (uint32_t size = 32; size <= 192; size += 16) {
        const struct tree_schema schema = {
            .record_size = size, .id_offset = FOREST_NONE, .burnt_tree = FOREST_NONE};
        struct tree tree;
        begin(30);
        tree_init(&tree, &arena, &pages, &schema, 0);
        const uint32_t per_page = BLOCK_CONTENT_SIZE / size;
        for (uint32_t i = 0; i < 10000; i++) {
            const uint32_t row = (uint32_t) prng_next(&prng);
            expect_equal(tree_page_of_row(&tree, row), row / per_page);
        }
        for (uint32_t page = 1; page < 1000; page++) {
            expect_equal(tree_page_of_row(&tree, page * per_page), page);
            expect_equal(tree_page_of_row(&tree, page * per_page - 1), page - 1);
        }
        expect_equal(tree_page_of_row(&tree, UINT32_MAX), UINT32_MAX / per_page);
    }
}

/* ---- Postings ------------------------------------------------------------------------------ */

static const struct index_schema field_schema = {
    .name = "field",
    .tree = 0,
    .kind = INDEX_EQUAL,
    .field_offset = offsetof(struct record, field),
    .field_size = 4,
    .zero_indexed = true,
};

#define POSTINGS_ROWS 4000
static uint32_t fields[POSTINGS_ROWS];
static struct tree postings_tree;
static struct postings postings;

static void
postings_begin(uint64_t seed)
{
    begin(seed);
    tree_init(&postings_tree, &arena, &pages, &record_schema, 0);
    postings_init(&postings, &arena, &chunks, &field_schema, &postings_tree);
}

static void
postings_add(uint32_t field)
{
    const uint32_t row = postings_tree.record_count;
    const struct record record = {.timestamp = row + 1, .field = field};
    (void) tree_append(&postings_tree, &record);
    postings_append(&postings, field, hash_u128(field), row);
    fields[row] = field;
}

static void
postings_drop(void)
{
    const uint32_t row = postings_tree.record_count - 1;
    postings_pop(&postings, fields[row], row);
    tree_pop(&postings_tree);
}

/* The first row from `row` on, in the direction, that has the field. */
static uint32_t
postings_expected(uint32_t field, uint32_t row, bool ascending)
{
    const uint32_t count = postings_tree.record_count;
    for (uint32_t i = row; i < count; i += ascending ? 1u : UINT32_MAX) {
        if (fields[i] == field) return i;
    }
    return ROW_NONE;
}

/* (B1) from the newest chunk back: every row of the value, once, and no chunk with a gap. */
static void
postings_chunks_check(const struct posting_list *list, uint32_t field)
{
    uint32_t row = postings_tree.record_count;
    uint32_t number = list->newest;
    while (number != CHUNK_NONE) {
        const struct posting_chunk *chunk = chunk_pool_data(&chunks, number);
        expect(chunk->count > 0);
        if (number != list->newest) expect_equal(chunk->count, chunk->capacity);
        for (uint32_t i = chunk->count; i > 0; i--) {
            row = postings_expected(field, row - 1, false);
            expect_equal(chunk->rows[i - 1], row);
        }
        number = chunk->previous;
    }
    if (list->newest != CHUNK_NONE) expect(postings_expected(field, row - 1, false) == ROW_NONE);
}

static void
postings_check(uint32_t field)
{
    const struct posting_list list = postings_find(&postings, field);
    const uint32_t count = postings_tree.record_count;
    postings_chunks_check(&list, field);
    for (uint32_t step_max = 1; step_max <= count; step_max *= 6) {
        struct posting_cursor cursor = {.chunk = CHUNK_NONE};
        uint32_t row = (uint32_t) prng_below(&prng, step_max);
        while (row < count) {
            const uint32_t expected = postings_expected(field, row, true);
            expect_equal(postings_seek_ascending(&postings, &list, &cursor, row), expected);
            if (expected == ROW_NONE) break;
            row = expected + 1 + (uint32_t) prng_below(&prng, step_max);
        }
        cursor = (struct posting_cursor){.chunk = CHUNK_NONE};
        row = count - 1 - (uint32_t) prng_below(&prng, step_max);
        while (row < count) {
            const uint32_t expected = postings_expected(field, row, false);
            expect_equal(postings_seek_descending(&postings, &list, &cursor, row), expected);
            if (expected == ROW_NONE) break;
            row = expected - 1 - (uint32_t) prng_below(&prng, step_max);
        }
    }
}

UNIT_TEST(b1_postings_seek_any_row)
{
    for (uint32_t spread = 1; spread < 3000; spread *= 7) {
        postings_begin(40 + spread);
        for (uint32_t i = 0; i < POSTINGS_ROWS; i++) {
            postings_add((uint32_t) prng_below(&prng, spread));
        }
        for (uint32_t i = 0; i < 6; i++) {
            postings_check((uint32_t) prng_below(&prng, spread));
        }
        postings_check(5000);
    }
}

UNIT_TEST(postings_go_back_exactly)
{
    for (uint32_t spread = 1; spread < 3000; spread *= 7) {
        postings_begin(50 + spread);
        for (uint32_t round = 0; round < 30; round++) {
            const uint32_t added = (uint32_t) prng_range(&prng, 1, 120);
            for (uint32_t i = 0; i < added; i++) {
                postings_add((uint32_t) prng_below(&prng, spread));
            }
            const uint64_t bytes = postings.chunk_bytes;
            const uint32_t full_count = postings.full_count;
            const uint32_t entries = postings.map.entry_count;
            const uint32_t undone = (uint32_t) prng_range(&prng, 1, 200);
            for (uint32_t i = 0; i < undone; i++) {
                postings_add((uint32_t) prng_below(&prng, spread));
            }
            for (uint32_t i = 0; i < undone; i++) {
                postings_drop();
            }
            expect_equal(postings.chunk_bytes, bytes);
            expect_equal(postings.full_count, full_count);
            expect_equal(postings.map.entry_count, entries);
        }
        for (uint32_t i = 0; i < 4; i++) {
            postings_check((uint32_t) prng_below(&prng, spread));
        }
        while (postings_tree.record_count > 0) {
            postings_drop();
        }
        expect_equal(postings.chunk_bytes, 0);
        expect_equal(postings.full_count, 0);
        expect_equal(postings.map.entry_count, 0);
        expect_equal(postings.row_count, 0);
    }
}

/*
 * (B2) What is promised to suffice does: random values, all new, and rounds that fill all lists
 * together.
 */
UNIT_TEST(b2_postings_need_no_more_than_they_say)
{
    for (uint32_t kind = 0; kind < 6; kind++) {
        postings_begin(60 + kind);
        uint32_t number = 0;
        while (number + 200 < POSTINGS_ROWS) {
            const uint32_t inserts = (uint32_t) prng_range(&prng, 1, 200);
            const uint64_t needed = postings_bytes_needed(&postings, inserts);
            const uint64_t before =
                postings.chunk_bytes + CHUNK_SMALL_SIZE * postings.map.overflow_count;
            for (uint32_t i = 0; i < inserts; i++) {
                number += 1;
                switch (kind) {
                case 0: postings_add(number); break;
                case 1: postings_add(number % 70); break;
                case 2: postings_add(number % 7); break;
                case 3: postings_add((uint32_t) prng_below(&prng, 300)); break;
                case 4: postings_add(number / 7); break;
                default: postings_add(number / 2); break;
                }
                const uint64_t now =
                    postings.chunk_bytes + CHUNK_SMALL_SIZE * postings.map.overflow_count;
                expect(now <= before + needed);
                expect(postings.chunk_bytes <= POSTING_BYTES_MAX * postings.row_count);
            }
        }
    }
}

/* ---- Ordered index ------------------------------------------------------------------------- */

static const struct index_schema ordered_schema = {
    .name = "ordered", .kind = INDEX_ORDERED, .field_size = 8};

#define ORDERED_ROWS 5000
/* values[row] = 0: not in the index. */
static uint64_t values[ORDERED_ROWS];
static struct ordered_pair sorted[ORDERED_ROWS];

static int
compare_pairs(const void *a, const void *b)
{
    const struct ordered_pair *pair_a = a;
    const struct ordered_pair *pair_b = b;
    if (pair_a->value != pair_b->value) return pair_a->value < pair_b->value ? -1 : 1;
    return (pair_a->row > pair_b->row) - (pair_a->row < pair_b->row);
}

/* A node, and the bounds that its parent sets: pairs from low on, below high. */
struct ordered_place {
    uint32_t chunk;
    struct ordered_pair low;
    struct ordered_pair high;
};

static const struct ordered_node *
ordered_node(const struct ordered_index *index, const struct ordered_place *place)
{
    return chunk_pool_data(index->chunks, place->chunk);
}

/* (D2) Makes the places of the next level down. Returns how many there are. */
static uint32_t
ordered_level_down(
    const struct ordered_index *index, struct ordered_place *places, uint32_t place_count)
{
    static struct ordered_place below[ORDERED_ROWS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < place_count; i++) {
        const struct ordered_node *node = ordered_node(index, &places[i]);
        for (uint32_t child = 0; child < node->count; child++) {
            struct ordered_place *place = &below[count];
            count += 1;
            *place = places[i];
            place->chunk = node->inner.children[child];
            if (child > 0) {
                place->low = (struct ordered_pair){
                    .value = node->inner.values[child],
                    .row = node->inner.rows[child],
                };
                place[-1].high = place->low;
            }
            expect_equal(ordered_node(index, place)->level + 1, node->level);
        }
    }
    memcpy(places, below, count * sizeof(below[0]));
    return count;
}

/* (D1) for the leaves, and (D2) for the pairs in them. */
static void
ordered_leaves_check(
    const struct ordered_index *index, const struct ordered_place *places, uint32_t count)
{
    expect_equal(index->leaf_count, count);
    expect_equal(index->first, places[0].chunk);
    for (uint32_t i = 0; i < count; i++) {
        const struct ordered_node *leaf = ordered_node(index, &places[i]);
        expect_equal(leaf->level, 0);
        expect(leaf->count > 0);
        expect_equal(leaf->previous, i == 0 ? CHUNK_NONE : places[i - 1].chunk);
        expect_equal(leaf->next, i + 1 == count ? CHUNK_NONE : places[i + 1].chunk);
        for (uint32_t at = 0; at < leaf->count; at++) {
            const struct ordered_pair pair = {leaf->leaf.values[at], leaf->leaf.rows[at]};
            expect(compare_pairs(&pair, &places[i].low) >= 0);
            expect(compare_pairs(&pair, &places[i].high) < 0);
        }
    }
}

/* (D1) and (D2), level by level from the root. */
static void
ordered_nodes_check(const struct ordered_index *index)
{
    static struct ordered_place places[ORDERED_ROWS];
    if (index->pair_count == 0) return;
    uint32_t count = 1;
    uint64_t inner_count = 0;
    places[0] = (struct ordered_place){
        .chunk = index->root,
        .high = {.value = UINT64_MAX, .row = UINT32_MAX},
    };
    while (ordered_node(index, &places[0])->level > 0) {
        inner_count += count;
        for (uint32_t i = 0; i < count; i++) {
            expect(ordered_node(index, &places[i])->count > 0);
        }
        count = ordered_level_down(index, places, count);
    }
    expect_equal(index->inner_count, inner_count);
    ordered_leaves_check(index, places, count);
}

static void
ordered_check(const struct ordered_index *index)
{
    ordered_nodes_check(index);
    uint32_t count = 0;
    for (uint32_t row = 0; row < ORDERED_ROWS; row++) {
        if (values[row] == 0) continue;
        sorted[count] = (struct ordered_pair){.value = values[row], .row = row};
        count += 1;
    }
    qsort(sorted, count, sizeof(sorted[0]), compare_pairs);
    expect_equal(index->pair_count, count);
    for (uint32_t probe = 0; probe < 5; probe++) {
        const uint64_t from = probe == 0 || count == 0
                                  ? 1
                                  : sorted[prng_below(&prng, count)].value + prng_below(&prng, 2);
        struct ordered_cursor cursor = ordered_index_seek(index, from);
        struct ordered_pair pair;
        for (uint32_t i = 0; i < count; i++) {
            if (sorted[i].value < from) continue;
            expect(ordered_index_next(index, &cursor, &pair));
            expect(pair.value == sorted[i].value && pair.row == sorted[i].row);
        }
        expect(!ordered_index_next(index, &cursor, &pair));
    }
    expect_equal(
        chunks_held(CHUNK_LARGE, pages.used_count), index->leaf_count + index->inner_count);
}

static uint64_t
ordered_new_value(uint32_t kind, uint64_t number)
{
    switch (kind) {
    case 0: return 1 + number;                           /* Ascending. */
    case 1: return 1000000 - number;                     /* Descending. */
    case 2: return 1 + prng_below(&prng, 10);            /* Few values. */
    case 3: return 1 + prng_below(&prng, 1000000);       /* Anything. */
    default: return 1 + number + prng_below(&prng, 200); /* Nearly ascending, as with timeouts. */
    }
}

UNIT_TEST(d1_d2_ordered_index_keeps_order)
{
    for (uint32_t kind = 0; kind < 10; kind++) {
        struct ordered_index index;
        begin(70 + kind);
        memset(values, 0, sizeof(values));
        ordered_index_init(&index, &chunks, &ordered_schema);
        ordered_check(&index);
        uint64_t number = 0;
        const uint32_t insert_share = kind < 5 ? 3 : 2;
        for (uint32_t step = 0; step < 12000; step++) {
            const uint32_t row = (uint32_t) prng_below(&prng, ORDERED_ROWS);
            if (values[row] != 0) {
                ordered_index_remove(&index, values[row], row);
                values[row] = 0;
            }
            if (prng_below(&prng, 4) < insert_share) {
                number += 1;
                values[row] = ordered_new_value(kind % 5, number);
                ordered_index_insert(&index, values[row], row);
            }
            if (step % 1500 == 0) ordered_check(&index);
        }
        ordered_check(&index);
        for (uint32_t i = 0; i < ORDERED_ROWS; i++) {
            const uint32_t row = kind % 2 == 0 ? i : (i * 1009) % ORDERED_ROWS;
            if (values[row] != 0) ordered_index_remove(&index, values[row], row);
            values[row] = 0;
            if (i % 1000 == 0) ordered_check(&index);
        }
        ordered_check(&index);
        expect_equal(index.leaf_count + index.inner_count, 0);
    }
}

/* What is promised to suffice does: growing, in a tree made thin, and where every leaf is full. */
UNIT_TEST(ordered_index_needs_no_more_than_it_says)
{
    for (uint32_t kind = 0; kind < 10; kind++) {
        struct ordered_index index;
        begin(90 + kind);
        memset(values, 0, sizeof(values));
        ordered_index_init(&index, &chunks, &ordered_schema);
        uint64_t number = 0;
        uint32_t row = 0;
        while (row + 200 < ORDERED_ROWS) {
            const uint32_t inserts = (uint32_t) prng_range(&prng, 1, 200);
            const uint64_t needed = ordered_index_bytes_needed(&index, inserts);
            const uint64_t before = index.leaf_count + index.inner_count;
            for (uint32_t i = 0; i < inserts; i++) {
                number += 1;
                values[row] = ordered_new_value(kind % 5, number * (1 + kind));
                /* Full leaves from the first half are split by the second. */
                if (row > ORDERED_ROWS / 2 && kind % 5 == 0) values[row] = 1 + number * 37 % 2500;
                ordered_index_insert(&index, values[row], row);
                row += 1;
                const uint64_t now = index.leaf_count + index.inner_count;
                expect((now - min_u64(now, before)) * CHUNK_LARGE_SIZE <= needed);
            }
            if (kind < 5) continue;
            for (uint32_t i = 0; i < row; i++) {
                if (values[i] == 0 || prng_chance(&prng, 1, 3)) continue;
                ordered_index_remove(&index, values[i], i);
                values[i] = 0;
            }
        }
        ordered_check(&index);
    }
}

UNIT_MAIN(test_lsm_parts)
