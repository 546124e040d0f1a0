/* SPDX-License-Identifier: PostgreSQL */
/* The free set: which block is the next one, and what a checkpoint stores of it. */
#include "unit.h"

#include <string.h>

#include "base/prng.h"
#include "base/units.h"
#include "store/grid.h"

#include "../sim/storage_sim.h"
#include "unit/mark_acquired.h"

#define CLUSTER         ((u128) 8 << 64 | 9)
#define BLOCK_COUNT_MAX 200000
#define WORDS_MAX       (BLOCK_COUNT_MAX / 64 + 2)

/* A grid over a file that nobody reads or writes. */
struct bare {
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[128 * KIB];
    struct storage storage;
    struct grid grid;
};

static struct bare a;
static struct bare b;
static struct prng prng;
static uint64_t words[WORDS_MAX];

static struct grid *
bare_open(struct bare *bare, uint64_t block_count)
{
    struct arena arena;
    bare->storage = (struct storage){.file_size_bytes[STORAGE_GRID] = block_count * BLOCK_SIZE};
    memset(bare->memory, 0xa5, sizeof(bare->memory));
    arena_init(&arena, bare->memory, sizeof(bare->memory));
    grid_init(&bare->grid, &arena, &bare->storage, BLOCK_COUNT_MAX);
    grid_open(&bare->grid, CLUSTER);
    expect_equal(bare->grid.block_count, block_count);
    return &bare->grid;
}

/* Acquires and releases at random; a part of the runs leaves hardly anything free or acquired. */
static void
acquire_randomly(struct grid *grid)
{
    const uint64_t acquired_of_8 = prng_below(&prng, 9);
    const uint64_t released_of_8 = prng_below(&prng, 9);
    for (uint64_t address = 1; address <= grid->block_count; address++) {
        if (!prng_chance(&prng, acquired_of_8, 8)) continue;
        expect(grid_mark_acquired(grid, address));
    }
    for (uint64_t address = 1; address <= grid->block_count; address++) {
        const bool releases = prng_chance(&prng, released_of_8, 8);
        if (releases && grid_is_acquired(grid, address)) grid_release(grid, address);
    }
}

static const uint64_t block_counts[] = {
    1,
    2,
    63,
    64,
    65,
    127,
    128,
    1000,
    GRID_FREE_SET_WORDS_PER_BLOCK * 64 - 1,
    GRID_FREE_SET_WORDS_PER_BLOCK * 64,
    GRID_FREE_SET_WORDS_PER_BLOCK * 64 + 1,
    BLOCK_COUNT_MAX - 1,
    BLOCK_COUNT_MAX,
};

/* Filled and loaded in parts of any size, into a file that may have grown since. */
UNIT_TEST(what_was_stored_is_loaded)
{
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < 4 * ARRAY_COUNT(block_counts); i++) {
        const uint64_t block_count = block_counts[i % ARRAY_COUNT(block_counts)];
        const uint64_t grown_count = prng_range(&prng, block_count, BLOCK_COUNT_MAX);
        struct grid *stored = bare_open(&a, block_count);
        struct grid *loaded = bare_open(&b, i % 2 == 0 ? block_count : grown_count);
        acquire_randomly(stored);
        const uint64_t word_count = grid_free_set_word_count(stored);
        expect(word_count <= div_ceil(block_count, 64));
        for (uint64_t word = 0; word < word_count;) {
            const uint64_t count = prng_range(&prng, 1, word_count - word);
            memset(words, 0xa5, sizeof(words));
            grid_free_set_fill(stored, word, words, count);
            expect_equal(words[count], UINT64_C(0xa5a5a5a5a5a5a5a5));
            expect(grid_free_set_load(loaded, word, words, count));
            word += count;
        }
        uint64_t count = 0;
        bool same = true;
        for (uint64_t address = 1; address <= block_count; address++) {
            const bool wanted =
                grid_is_acquired(stored, address) && !grid_is_released(stored, address);
            if (wanted != grid_is_acquired(loaded, address)) same = false;
            if (grid_is_released(loaded, address)) same = false;
            count += wanted;
        }
        expect(same);
        expect_equal(grid_free_count(loaded), loaded->block_count - count);
        /* As the set stands that was stored, once the checkpoint is durable. */
        grid_checkpoint_durable(stored);
        expect_equal(grid_free_count(stored), block_count - count);
        if (grid_free_count(stored) == 0) continue;
        expect_equal(grid_acquire(stored), grid_acquire(loaded));
    }
}

UNIT_TEST(words_of_blocks_that_do_not_exist_are_refused)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(block_counts); i++) {
        const uint64_t block_count = block_counts[i];
        struct grid *grid = bare_open(&a, block_count);
        for (uint64_t bit = block_count; bit < block_count + 130; bit++) {
            const uint64_t first = block_count / 64 > 0 ? block_count / 64 - 1 : 0;
            memset(words, 0, 5 * sizeof(uint64_t));
            words[0] = 1; /* Nothing of it is taken over. */
            words[bit / 64 - first] |= UINT64_C(1) << bit % 64;
            expect(!grid_free_set_load(grid, first, words, 5));
            expect_equal(grid_free_count(grid), block_count);
        }
        memset(words, 0, sizeof(words));
        expect(grid_free_set_load(grid, div_ceil(block_count, 64), words, 3));
        expect(grid_free_set_load(grid, UINT64_MAX / 64 - 2, words, 3));
        words[0] = 1;
        expect(!grid_free_set_load(grid, div_ceil(block_count, 64), words, 1));
        expect(!grid_free_set_load(grid, UINT64_MAX - 1, words, 1));
        /* All that exist; and none twice. */
        const uint64_t last = (block_count - 1) / 64;
        words[0] = UINT64_MAX >> (63 - (block_count - 1) % 64);
        expect(grid_free_set_load(grid, last, words, 1));
        expect_equal(grid_free_count(grid), last * 64);
        words[0] = 1;
        expect(!grid_free_set_load(grid, last, words, 1));
        expect_equal(grid_free_count(grid), last * 64);
    }
}

UNIT_TEST(chain_is_as_long_as_the_blocks_need)
{
    const uint64_t per_block = GRID_FREE_SET_WORDS_PER_BLOCK * 64;
    expect_equal(GRID_FREE_SET_WORDS_PER_BLOCK * sizeof(uint64_t), BLOCK_CONTENT_SIZE);
    const uint64_t counts[] = {0, 1, per_block, per_block + 1, 3 * per_block, 3 * per_block + 64};
    const uint64_t expected[] = {0, 1, 1, 2, 3, 4};
    for (uint32_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct grid *grid = bare_open(&a, BLOCK_COUNT_MAX);
        if (counts[i] > 0) expect(grid_mark_acquired(grid, counts[i]));
        expect_equal(grid_free_set_block_count(grid), expected[i]);
    }
}

/* Beyond the last live block a checkpoint tells nothing, however large the file is. */
UNIT_TEST(a_checkpoint_ends_with_the_last_live_block)
{
    prng_init(&prng, 2);
    for (uint32_t i = 0; i < ARRAY_COUNT(block_counts); i++) {
        struct grid *grid = bare_open(&a, block_counts[i]);
        expect_equal(grid_live_end(grid), 0);
        acquire_randomly(grid);
        uint64_t end = 0;
        for (uint64_t address = 1; address <= grid->block_count; address++) {
            if (grid_is_released(grid, address)) continue;
            if (grid_is_acquired(grid, address)) end = address;
        }
        expect_equal(grid_live_end(grid), end);
        expect_equal(grid_free_set_word_count(grid), div_ceil(end, 64));
        grid_checkpoint_durable(grid);
        expect_equal(grid_live_end(grid), end);
        a.storage.file_size_bytes[STORAGE_GRID] = (uint64_t) BLOCK_COUNT_MAX * BLOCK_SIZE;
        grid->block_count = BLOCK_COUNT_MAX;
        free_set_grow(&grid->free_set, BLOCK_COUNT_MAX);
        expect_equal(grid_live_end(grid), end);
        expect(!grid_is_acquired(grid, 0));
        expect(!grid_is_acquired(grid, grid->block_count + 1));
        expect(!grid_is_released(grid, 0));
        expect(!grid_is_released(grid, UINT64_MAX));
    }
}

/* (G2), (G3) A set that is full at its front: what becomes free there is found again. */
UNIT_TEST(g3_lowest_block_of_a_large_set_is_first)
{
    enum { COUNT = 20000 };
    static bool taken[COUNT + 1];
    static bool released[COUNT + 1];
    for (uint64_t seed = 1; seed <= 10; seed++) {
        prng_init(&prng, seed);
        memset(taken, 0, sizeof(taken));
        memset(released, 0, sizeof(released));
        struct grid *grid = bare_open(&a, COUNT);
        for (uint32_t round = 0; round < 30; round++) {
            uint64_t lowest = 1;
            for (uint64_t i = prng_below(&prng, 2000); i > 0; i--) {
                while (lowest <= COUNT && taken[lowest]) {
                    lowest += 1;
                }
                if (lowest > COUNT) break;
                expect_equal(grid_acquire(grid), lowest);
                taken[lowest] = true;
            }
            for (uint64_t i = prng_below(&prng, 20); i > 0; i--) {
                const uint64_t address = prng_range(&prng, 1, COUNT);
                if (!taken[address] || released[address]) continue;
                grid_release(grid, address);
                released[address] = true;
            }
            if (round % 3 != 2) continue;
            grid_checkpoint_durable(grid);
            for (uint64_t address = 1; address <= COUNT; address++) {
                if (released[address]) taken[address] = false;
                released[address] = false;
            }
        }
    }
}

/* The chain as a checkpoint writes it, read back from its last block. */
UNIT_TEST(chain_on_disk)
{
    static _Alignas(SECTOR_SIZE) uint8_t block[BLOCK_SIZE];
    static struct storage_sim sim;
    const uint64_t block_count = GRID_FREE_SET_WORDS_PER_BLOCK * 64 + 70;
    struct block_header *header = (void *) block;
    uint64_t *content = (void *) (block + BLOCK_HEADER_SIZE);
    struct storage_sim_options options = {0};
    options.file_size_bytes[STORAGE_GRID] = block_count * BLOCK_SIZE;
    prng_init(&prng, 3);
    storage_sim_init(&sim, &options, &prng);

    struct grid *grid = bare_open(&a, block_count);
    grid->storage = &sim.storage;
    for (uint64_t i = 0; i < block_count - 10; i++) (void) grid_acquire(grid);
    for (uint64_t address = 1; address < block_count - 20; address += 7) {
        grid_release(grid, address);
    }
    const uint64_t addresses[] = {grid_acquire(grid), grid_acquire(grid)};
    expect_equal(grid_free_set_block_count(grid), ARRAY_COUNT(addresses));
    struct block_reference reference = {0};
    uint64_t left = grid_free_set_word_count(grid);
    for (uint32_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        const uint64_t count = min_u64(left, GRID_FREE_SET_WORDS_PER_BLOCK);
        *header = (struct block_header){
            .type = BLOCK_FREE_SET,
            .size = (uint32_t) (BLOCK_HEADER_SIZE + count * sizeof(uint64_t)),
            .record_count = (uint32_t) count,
            .previous = reference,
        };
        grid_free_set_fill(grid, i * GRID_FREE_SET_WORDS_PER_BLOCK, content, count);
        reference = grid_block_seal(grid, block, addresses[i]);
        memcpy(storage_sim_bytes(&sim, STORAGE_GRID) + (addresses[i] - 1) * BLOCK_SIZE, block,
               BLOCK_SIZE);
        left -= count;
    }
    expect_equal(left, 0);
    grid_checkpoint_durable(grid);

    struct grid *loaded = bare_open(&b, block_count);
    loaded->storage = &sim.storage;
    uint64_t first_word = grid_free_set_word_count(grid);
    while (reference.address != 0) {
        expect_equal(grid_read_block(loaded, &reference, BLOCK_FREE_SET, block), GRID_OK);
        first_word -= header->record_count;
        expect(grid_free_set_load(loaded, first_word, content, header->record_count));
        reference = header->previous;
    }
    expect_equal(first_word, 0);
    expect_equal(grid_free_count(loaded), grid_free_count(grid));
    bool same = true;
    for (uint64_t address = 1; address <= block_count; address++) {
        if (grid_is_acquired(grid, address) != grid_is_acquired(loaded, address)) same = false;
    }
    expect(same);
    expect(grid_is_acquired(loaded, addresses[0]) && grid_is_acquired(loaded, addresses[1]));
    storage_sim_free(&sim);
}

UNIT_MAIN(test_free_set)
