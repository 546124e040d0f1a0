/* SPDX-License-Identifier: PostgreSQL */
/* Reading grid blocks from a mutated file: what was written, or a refusal. */
#include <string.h>

#include "base/units.h"
#include "store/grid.h"

#include "../sim/storage_sim.h"
#include "fuzz.h"

#define BLOCK_COUNT 24

static _Alignas(ARENA_ALIGNMENT) uint8_t memory[4 * ARENA_ALIGNMENT];
static _Alignas(SECTOR_SIZE) uint8_t blocks[BLOCK_COUNT][BLOCK_SIZE];
static _Alignas(SECTOR_SIZE) uint8_t block_read[BLOCK_SIZE];
static struct block_reference references[BLOCK_COUNT];
static struct storage_sim sim;
static struct grid grid;

static void
write_on_done(struct grid_write *write, enum grid_result result)
{
    (void) write;
    assert(result == GRID_OK);
}

static void
build(struct prng *prng)
{
    struct arena arena;
    arena_init(&arena, memory, sizeof(memory));
    grid_init(&grid, &arena, &sim.storage, BLOCK_COUNT + 8);
    grid_open(&grid, prng_next(prng));
    const enum grid_room reserved = grid_reserve_now(&grid, BLOCK_COUNT);
    assert(reserved == GRID_ROOM);
    for (uint32_t i = 0; i < BLOCK_COUNT; i++) {
        struct block_header *header = (struct block_header *) (void *) blocks[i];
        memset(header, 0, sizeof(*header));
        header->type = prng_chance(prng, 1, 2) ? BLOCK_MANIFEST : BLOCK_VALUES;
        header->size = (uint32_t) prng_range(prng, BLOCK_HEADER_SIZE, BLOCK_SIZE);
        for (uint64_t at = BLOCK_HEADER_SIZE; at < header->size; at++) {
            blocks[i][at] = (uint8_t) at;
        }
        references[i] = grid_block_seal(&grid, blocks[i], grid_acquire(&grid));
        struct grid_write write = {0};
        void *const block = blocks[i];
        grid_write_blocks(&grid, &write, &block, 1, write_on_done);
        while (write.request.in_flight) {
            (void) storage_wait(&sim.storage);
        }
    }
}

static void
mutate(struct prng *prng)
{
    uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
    const uint64_t size = grid.block_count * BLOCK_SIZE;
    const uint64_t at = prng_below(prng, size);
    const uint64_t block = at / BLOCK_SIZE * BLOCK_SIZE;
    switch (prng_below(prng, 4)) {
    case 0: bytes[at] ^= (uint8_t) (1 << prng_below(prng, 8)); break;
    case 1: storage_sim_latent_error(&sim, STORAGE_GRID, at, 1); break;
    case 2: memset(bytes + at, 0, min_u64(size - at, SECTOR_SIZE)); break;
    default:
        memmove(bytes + prng_below(prng, grid.block_count) * BLOCK_SIZE, bytes + block, BLOCK_SIZE);
    }
}

static enum grid_result part_result;

static void
read_on_done(struct grid_read *read, enum grid_result result)
{
    (void) read;
    part_result = result;
}

/* A sector is what was written if and only if its sum says so, whatever is around it. */
static void
check_parts(uint32_t number, const uint8_t *bytes)
{
    const struct block_header *header =
        (const struct block_header *) (const void *) blocks[number];
    const uint64_t offset = (references[number].address - 1) * BLOCK_SIZE;
    for (uint32_t i = 0; i < BLOCK_SECTORS; i++) {
        const struct grid_extract part = {header->sector_sums, i, 1};
        const uint64_t start = i == 0 ? BLOCK_HEADER_SIZE : (uint64_t) i * SECTOR_SIZE;
        const uint64_t size = (uint64_t) (i + 1) * SECTOR_SIZE - start;
        const bool faulty =
            storage_sim_faulty(&sim, STORAGE_GRID, offset + start / SECTOR_SIZE * SECTOR_SIZE, 1);
        const bool intact = !faulty && memcmp(bytes + start, blocks[number] + start, size) == 0;
        struct grid_read read = {0};
        const bool started = grid_read_extract_start(
            &grid, &read, &references[number], &part, block_read, read_on_done);
        assert(started);
        while (read.request.in_flight) (void) storage_wait(&sim.storage);
        assert((part_result == GRID_OK) == intact);
        if (intact) assert(memcmp(block_read + start, blocks[number] + start, size) == 0);
    }
}

static void
check(struct prng *prng)
{
    const uint8_t *bytes = storage_sim_bytes(&sim, STORAGE_GRID);
    for (uint32_t i = 0; i < BLOCK_COUNT; i++) {
        const struct block_header *header = (const struct block_header *) (const void *) blocks[i];
        const uint64_t offset = (references[i].address - 1) * BLOCK_SIZE;
        const bool intact = memcmp(bytes + offset, blocks[i], BLOCK_SIZE) == 0 &&
                            !storage_sim_faulty(&sim, STORAGE_GRID, offset, BLOCK_SIZE);
        const enum grid_result result =
            grid_read_block(&grid, &references[i], header->type, block_read);
        assert((result == GRID_OK) == intact);
        if (intact) assert(memcmp(block_read, blocks[i], BLOCK_SIZE) == 0);
        check_parts(i, bytes + offset);

        struct block_reference other = references[i];
        if (prng_chance(prng, 1, 2)) other.checksum ^= (u128) 1 << prng_below(prng, 128);
        if (other.checksum == references[i].checksum) other.address = prng_below(prng, 64);
        if (other.address == references[i].address) continue;
        assert(grid_read_block(&grid, &other, header->type, block_read) != GRID_OK);
    }
}

void
fuzz_block(struct prng *prng, uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        const struct storage_sim_options options = {0};
        storage_sim_init(&sim, &options, prng);
        build(prng);
        for (uint64_t i = prng_below(prng, 12); i > 0; i--) {
            mutate(prng);
        }
        check(prng);
        storage_sim_free(&sim);
    }
}
