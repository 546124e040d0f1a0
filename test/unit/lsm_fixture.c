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

/* ---- Counted anew -------------------------------------------------------------------------- */

bool
lsm_cache_consistent(const struct block_cache *cache)
{
    uint32_t available = 0;
    uint32_t available_kept = 0;
    uint32_t kept = 0;
    uint32_t reading = 0;
    uint32_t writing = 0;
    uint32_t entered = 0;
    uint32_t chained = 0;
    for (uint32_t i = 0; i < cache->frame_count; i++) {
        const struct frame *frame = &cache->frames[i];
        const bool done = frame->state == FRAME_READY || frame->state == FRAME_LOST;
        available += frame->state == FRAME_FREE || (done && frame->pins == 0);
        available_kept += frame->kept && done && frame->pins == 0;
        kept += frame->kept;
        reading += frame->state == FRAME_LOADING;
        writing += frame->state == FRAME_WRITING;
        entered += frame->reference.address != 0;
        if (frame->state == FRAME_FREE && frame->reference.address != 0) return false;
        if (frame->state == FRAME_FREE && frame->kept) return false;
        const bool part = frame->extract_count > 0;
        if (part && (frame->state == FRAME_WRITING || frame->pins > 0 || frame->kept)) return false;
        if (part && cache_holds(cache, i, frame->reference.address)) return false;
        if (part || (frame->state != FRAME_READY && frame->state != FRAME_WRITING)) continue;
        const struct block_header *header = cache_block(cache, i);
        if (header->address != frame->reference.address) return false;
        if (header->checksum != frame->reference.checksum) return false;
    }
    for (uint32_t head = 0; head <= cache->head_mask; head++) {
        for (uint32_t at = cache->heads[head]; at != FRAME_NONE; at = cache->frames[at].next) {
            chained += 1;
            if (chained > cache->frame_count) return false;
            for (uint32_t other = cache->frames[at].next; other != FRAME_NONE;
                 other = cache->frames[other].next) {
                const uint64_t address = cache->frames[other].reference.address;
                if (address == cache->frames[at].reference.address) return false;
            }
        }
    }
    uint32_t free_count = 0;
    for (uint32_t at = cache->free_head; at != FRAME_NONE; at = cache->frames[at].next) {
        if (cache->frames[at].state != FRAME_FREE || free_count > cache->frame_count) return false;
        free_count += 1;
    }
    if (cache->failed) writing = cache->writing; /* What failed stays as it is. */
    if (available_kept != cache->available_kept || kept != cache->kept) return false;
    return available == cache->available && reading == cache->reading &&
           writing == cache->writing && entered == chained;
}
