/* SPDX-License-Identifier: PostgreSQL */
#include "unit/lsm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

void
lsm_begin(struct lsm_fixture *fixture, uint64_t seed, uint64_t seed_sim, uint32_t frame_count)
{
    const struct storage_sim_options options = {.latency_min_ticks = 1, .latency_max_ticks = 9};
    const uint64_t nodes = LSM_NODES * (sizeof(struct table_node) + sizeof(u128));
    const uint64_t size =
        align_up(frame_count * (BLOCK_SIZE + UINT64_C(512)) + nodes + MIB, ARENA_ALIGNMENT);
    prng_init(&fixture->prng, seed);
    prng_init(&fixture->prng_sim, seed_sim);
    storage_sim_init(&fixture->sim, &options, &fixture->prng_sim);
    fixture->memory = aligned_alloc(ARENA_ALIGNMENT, size);
    assert(fixture->memory != NULL);
    memset(fixture->memory, 0x5a, size);
    struct arena arena;
    arena_init(&arena, fixture->memory, size);
    grid_init(&fixture->grid, &arena, &fixture->sim.storage, LSM_BLOCKS_MAX);
    cache_init(&fixture->cache, &arena, &fixture->grid, frame_count);
    table_pool_init(&fixture->pool, &arena, LSM_NODES);
    arena_seal(&arena);
    grid_open(&fixture->grid, LSM_CLUSTER);
    cache_open(&fixture->cache);
    table_pool_open(&fixture->pool);
    const enum grid_room result = grid_reserve_now(&fixture->grid, LSM_BLOCKS_MAX);
    assert(result == GRID_ROOM);
}

void
lsm_end(struct lsm_fixture *fixture)
{
    storage_sim_free(&fixture->sim);
    free(fixture->memory);
}

void
lsm_progress(struct lsm_fixture *fixture)
{
    cache_issue_writes(&fixture->cache);
    assert(fixture->sim.storage.in_flight_count > 0);
    (void) storage_wait(&fixture->sim.storage);
}

void
lsm_settle(struct lsm_fixture *fixture)
{
    cache_issue_writes(&fixture->cache);
    while (fixture->sim.storage.in_flight_count > 0) {
        (void) storage_wait(&fixture->sim.storage);
    }
    assert(fixture->cache.reading == 0);
    assert(fixture->cache.failed || fixture->cache.writing == 0);
}

void
lsm_forget(struct lsm_fixture *fixture)
{
    lsm_settle(fixture);
    cache_open(&fixture->cache);
}

enum cache_result
lsm_get(
    struct lsm_fixture *fixture,
    const struct block_reference *reference,
    enum block_type type,
    uint32_t *frame)
{
    enum cache_result result;
    while ((result = cache_get(&fixture->cache, reference, type, 7, frame)) == CACHE_WAIT) {
        lsm_progress(fixture);
    }
    return result;
}

/* Where lsm_fill puts its number, in each sector. */
static char *
lsm_number_in(struct lsm_fixture *fixture, uint32_t frame, uint32_t sector)
{
    char *block = cache_block(&fixture->cache, frame);
    return block + (sector == 0 ? BLOCK_HEADER_SIZE : (uint64_t) sector * SECTOR_SIZE);
}

uint64_t
lsm_number(struct lsm_fixture *fixture, uint32_t frame, uint32_t sector)
{
    uint64_t number;
    memcpy(&number, lsm_number_in(fixture, frame, sector), sizeof(number));
    return number;
}

void
lsm_fill(struct lsm_fixture *fixture, uint32_t frame, uint64_t number)
{
    char *block = cache_block(&fixture->cache, frame);
    const struct block_header header = {
        .op = number,
        .size = BLOCK_SIZE,
        .type = BLOCK_VALUES,
        .tree = 7,
        .record_count = 1,
    };
    memset(block, 0x11, BLOCK_SIZE);
    memcpy(block, &header, sizeof(header));
    for (uint32_t i = 0; i < BLOCK_SECTORS; i++) {
        memcpy(lsm_number_in(fixture, frame, i), &number, sizeof(number));
    }
}

struct block_reference
lsm_build(struct lsm_fixture *fixture, uint64_t address, uint64_t number)
{
    const uint32_t frame = cache_take(&fixture->cache);
    lsm_fill(fixture, frame, number);
    return cache_seal(&fixture->cache, frame, address);
}

void
lsm_build_on_disk(
    struct lsm_fixture *fixture, struct block_reference *references, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while (fixture->cache.available == 0) lsm_progress(fixture);
        references[i] = lsm_build(fixture, grid_acquire(&fixture->grid), i);
    }
    lsm_forget(fixture);
}

uint64_t
lsm_content(struct lsm_fixture *fixture, uint32_t frame)
{
    const uint64_t number = lsm_number(fixture, frame, 0);
    assert(fixture->cache.frames[frame].extract_count == 0); /* (B5) */
    for (uint32_t i = 1; i < BLOCK_SECTORS; i++) assert(lsm_number(fixture, frame, i) == number);
    return number;
}

uint8_t *
lsm_disk_block(struct lsm_fixture *fixture, uint64_t address)
{
    assert(address >= 1 && address <= fixture->grid.block_count);
    return storage_sim_bytes(&fixture->sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
}

void
lsm_rot(struct lsm_fixture *fixture, uint64_t address)
{
    const uint64_t size = BLOCK_SIZE;
    storage_sim_rot(&fixture->sim, STORAGE_GRID, (address - 1) * size, size);
}

u128
lsm_reseal(struct lsm_fixture *fixture, uint64_t address)
{
    return reseal_block(lsm_disk_block(fixture, address));
}

void
lsm_reseal_values(struct lsm_fixture *fixture, struct table_info *table, uint32_t place)
{
    char *index = (char *) lsm_disk_block(fixture, table->index.address);
    struct table_block *blocks = (void *) (index + BLOCK_HEADER_SIZE);
    const struct block_header *header =
        (const void *) lsm_disk_block(fixture, blocks[place].address);
    blocks[place].checksum = lsm_reseal(fixture, blocks[place].address);
    memcpy(blocks[place].sector_sums, header->sector_sums, sizeof(header->sector_sums));
    table->index.checksum = lsm_reseal(fixture, table->index.address);
}

void
lsm_heal(struct lsm_fixture *fixture, uint64_t address, const void *block)
{
    memcpy(lsm_disk_block(fixture, address), block, BLOCK_SIZE);
}
