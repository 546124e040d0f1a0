/* SPDX-License-Identifier: PostgreSQL */
/* The small parts: arena, queue, bitset, histogram, 128-bit arithmetic, checksum. */
#include "unit.h"

#include "base/arena.h"
#include "base/bitset.h"
#include "base/checksum.h"
#include "base/histogram.h"
#include "base/prng.h"
#include "base/queue.h"
#include "base/u128.h"
#include "base/units.h"

UNIT_TEST(an_arena_measures_what_it_then_takes)
{
    static uint8_t memory[16384] __attribute__((aligned(ARENA_ALIGNMENT)));
    struct arena arena;
    arena_init_measuring(&arena);
    expect(arena_take(&arena, 3, 5, 1) == NULL);
    expect(arena_take(&arena, 1, 4096, 4096) == NULL);
    expect(arena_take(&arena, 2, 16, 16) == NULL);
    const uint64_t measured = arena.used_bytes;
    arena_init(&arena, memory, sizeof(memory));
    expect(arena_take(&arena, 3, 5, 1) == memory);
    expect(arena_take(&arena, 1, 4096, 4096) == memory + 4096);
    expect(arena_take(&arena, 2, 16, 16) == memory + 8192);
    expect_equal(arena.used_bytes, measured);
}

UNIT_TEST(a_queue_is_first_in_first_out)
{
    struct queue queue;
    struct queue_link links[3] = {{0}};
    queue_init(&queue, "test", 3);
    expect(queue_pop(&queue) == NULL);
    for (int i = 0; i < 3; i++)
        queue_push(&queue, &links[i]);
    expect(queue_full(&queue));
    for (int i = 0; i < 3; i++)
        expect(queue_pop(&queue) == &links[i]);
    expect(queue_empty(&queue));
    queue_push(&queue, &links[1]);
    expect(queue_peek(&queue) == &links[1]);
}

UNIT_TEST(what_is_pushed_first_is_the_next)
{
    struct queue queue;
    struct queue_link links[3] = {{0}};
    queue_init(&queue, "test", 3);
    queue_push_first(&queue, &links[0]);
    queue_push(&queue, &links[1]);
    queue_push_first(&queue, &links[2]);
    expect(queue_full(&queue));
    expect(queue_pop(&queue) == &links[2]);
    expect(queue_pop(&queue) == &links[0]);
    expect(queue_pop(&queue) == &links[1]);
    expect(queue_empty(&queue) && queue.tail == NULL);
}

UNIT_TEST(percentiles_are_within_a_quarter)
{
    static struct histogram histogram;
    expect_equal(histogram_percentile(&histogram, 500), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(&histogram, i);
    for (uint32_t permille = 10; permille <= 1000; permille += 10) {
        const uint64_t exact = permille * 100;
        const uint64_t found = histogram_percentile(&histogram, permille);
        expect(found >= exact);
        expect(found <= exact + exact / 4 + 1);
    }
    histogram_add(&histogram, UINT64_MAX);
    histogram_add(&histogram, 0);
    expect_equal(histogram_percentile(&histogram, 1000), UINT64_MAX);
    expect_equal(histogram.max, UINT64_MAX);
}

UNIT_TEST(u128_edges)
{
    expect(u128_sum_overflows(U128_MAX, 1));
    expect(!u128_sum_overflows(U128_MAX, 0));
    expect(!u128_sum_overflows(U128_MAX - 5, 5));
    expect(u128_subtract_saturating(3, 5) == 0);
    expect(u128_subtract_saturating(5, 3) == 2);
    expect(u128_make(1, 2) == ((u128) 1 << 64) + 2);
    expect_equal(u128_high(u128_make(7, 9)), 7);
    expect_equal(u128_low(u128_make(7, 9)), 9);
}

UNIT_TEST(rounding)
{
    expect_equal(div_ceil(0, 8), 0);
    expect_equal(div_ceil(8, 8), 1);
    expect_equal(div_ceil(9, 8), 2);
    expect_equal(align_up(0, 4096), 0);
    expect_equal(align_up(4096, 4096), 4096);
    expect_equal(align_up(4097, 4096), 8192);
}

UNIT_TEST(the_checksum_is_xxh3_128)
{
    /* Test vectors of the xxHash project: empty input, seed 0. */
    expect(checksum("", 0) == u128_make(0x99aa06d3014798d8u, 0x6001c324468d497fu));
    expect(checksum("a", 1) != checksum("b", 1));
}

UNIT_TEST(bits)
{
    uint64_t words[2] = {0};
    struct bitset bitset = {.words = words, .bit_count = 100};
    bitset_set(&bitset, 0);
    bitset_set(&bitset, 99);
    expect(bitset_get(&bitset, 0) && bitset_get(&bitset, 99) && !bitset_get(&bitset, 63));
    bitset_clear(&bitset, 99);
    expect(!bitset_get(&bitset, 99));
}

UNIT_TEST(one_seed_one_sequence)
{
    struct prng a;
    struct prng b;
    prng_init(&a, 42);
    prng_init(&b, 42);
    for (int i = 0; i < 1000; i++)
        expect_equal(prng_next(&a), prng_next(&b));
    for (int i = 0; i < 1000; i++) {
        const uint64_t value = prng_range(&a, 3, 9);
        expect(value >= 3 && value <= 9);
    }
}

UNIT_MAIN(test_base)
