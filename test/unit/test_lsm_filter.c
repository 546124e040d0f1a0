/* SPDX-License-Identifier: PostgreSQL */
/* The filter: never a wrong no, seldom a wrong yes, whatever ids look like. */
#include "unit.h"

#include "base/prng.h"
#include "lsm/filter.h"

#define KEYS_MAX 100000
#define ID_KINDS 6

static uint8_t lines[KEYS_MAX * FILTER_BITS_PER_KEY / 8 + FILTER_LINE_SIZE];

static u128
id_of_kind(uint32_t kind, uint64_t i)
{
    struct prng prng;
    prng_init(&prng, i);
    switch (kind) {
    case 0: return i;
    case 1: return u128_make(prng_next(&prng), prng_next(&prng));
    case 2: return u128_make((UINT64_C(1700000000000) + i / 50) << 16, prng_next(&prng));
    case 3: return u128_make(i, 0);
    case 4: return (u128) i << 40;
    default: return u128_make(i, ~i);
    }
}

static bool
may_hold(uint32_t line_count, u128 id)
{
    const uint64_t hash = filter_hash(id);
    const uint64_t line = filter_line_of(hash, line_count);
    expect(line < line_count);
    return filter_may_hold(lines + line * FILTER_LINE_SIZE, hash);
}

UNIT_TEST(h1_what_was_added_is_there_and_at_most_two_of_a_hundred_others)
{
    static const uint32_t key_counts[] = {1, 2, 51, 52, 1000, 20000, KEYS_MAX};
    for (uint32_t kind = 0; kind < ID_KINDS; kind++) {
        for (uint32_t c = 0; c < sizeof(key_counts) / sizeof(key_counts[0]); c++) {
            const uint32_t key_count = key_counts[c];
            const uint32_t line_count = filter_line_count(key_count);
            expect(line_count * (uint64_t) FILTER_LINE_SIZE <= sizeof(lines));
            memset(lines, 0, (size_t) line_count * FILTER_LINE_SIZE);
            for (uint64_t i = 0; i < key_count; i++) {
                filter_add(lines, line_count, filter_hash(id_of_kind(kind, i)));
            }
            uint32_t wrong = 0;
            for (uint64_t i = 0; i < key_count; i++) {
                expect(may_hold(line_count, id_of_kind(kind, i)));
            }
            for (uint64_t i = 0; i < 20000; i++) {
                wrong += may_hold(line_count, id_of_kind(kind, key_count + i));
            }
            expect(wrong <= 400);
        }
    }
}

UNIT_TEST(line_counts)
{
    expect_equal(filter_line_count(0), 1);
    expect_equal(filter_line_count(51), 1);
    expect_equal(filter_line_count(52), 2);
    expect_equal(filter_line_count(UINT32_MAX), 83886080);
    expect_equal(filter_line_of(UINT64_MAX, 83886080), 83886079);
    expect_equal(filter_line_of(UINT64_MAX, UINT32_MAX), UINT32_MAX - 1);
    expect_equal(filter_line_of(0, 7), 0);
}

UNIT_TEST(an_empty_filter_holds_nothing)
{
    memset(lines, 0, sizeof(lines));
    for (uint64_t i = 0; i < 1000; i++) expect(!may_hold(20, i));
}

UNIT_MAIN(test_lsm_filter)
