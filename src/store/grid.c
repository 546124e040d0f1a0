/* SPDX-License-Identifier: PostgreSQL */
/* See grid.h. */
#include "store/grid.h"

#include <string.h>

#include "base/assert.h"
#include "base/checksum.h"
#include "base/units.h"

/* A block's checksum covers everything after itself. */
#define BLOCK_CHECKSUM_START sizeof(u128)

static u128
block_checksum(const struct block_header *header)
{
    assert(header->size >= BLOCK_HEADER_SIZE);
    assert(header->size <= BLOCK_SIZE);
    return checksum(
        (const uint8_t *) header + BLOCK_CHECKSUM_START, header->size - BLOCK_CHECKSUM_START);
}

static uint64_t
grid_offset_bytes(const struct grid *grid, uint64_t address)
{
    assert(address >= 1);
    assert(address <= grid->block_count);
    return (address - 1) * BLOCK_SIZE;
}

static void
grid_check(const struct grid *grid)
{
    assert(grid->block_count == grid->free_set.block_count);
    /* (G4) */
    assert(grid->block_count * BLOCK_SIZE <= grid->storage->file_size_bytes[STORAGE_GRID]);
}

void
grid_init(struct grid *grid, struct arena *arena, struct storage *storage, uint64_t block_count_max)
{
    assert(block_count_max > 0);
    assert(block_count_max <= INT64_MAX / BLOCK_SIZE);
    *grid = (struct grid){.storage = storage};
    free_set_init(&grid->free_set, arena, block_count_max);
}

void
grid_open(struct grid *grid, u128 cluster)
{
    const uint64_t file_size_bytes = grid->storage->file_size_bytes[STORAGE_GRID];
    grid->cluster = cluster;
    grid->block_count = min_u64(file_size_bytes / BLOCK_SIZE, grid->free_set.acquired.bit_count);
    free_set_reset(&grid->free_set, grid->block_count);
    grid_check(grid);
}

bool
grid_mark_acquired(struct grid *grid, uint64_t address)
{
    if (address < 1 || address > grid->block_count) return false;
    return free_set_mark_acquired(&grid->free_set, address - 1);
}

enum storage_result
grid_reserve(struct grid *grid, uint64_t count)
{
    grid_check(grid);
    const uint64_t free_count = free_set_free_count(&grid->free_set);
    if (count <= free_count) return STORAGE_OK;

    const uint64_t block_count_max = grid->free_set.acquired.bit_count;
    const uint64_t missing_count = count - free_count;
    if (missing_count > block_count_max - grid->block_count) return STORAGE_NO_SPACE;

    const uint64_t wanted_count = grid->block_count + missing_count;
    const uint64_t rounded_count = div_ceil(wanted_count, GRID_GROW_BLOCKS) * GRID_GROW_BLOCKS;
    const uint64_t block_count = min_u64(rounded_count, block_count_max);
    assert(block_count >= wanted_count);

    const enum storage_result result =
        storage_grow(grid->storage, STORAGE_GRID, block_count * BLOCK_SIZE);
    if (result != STORAGE_OK) return result;
    grid->block_count = block_count;
    free_set_grow(&grid->free_set, block_count);
    grid_check(grid);
    assert(grid_free_count(grid) >= count);
    return STORAGE_OK;
}

uint64_t
grid_free_count(const struct grid *grid)
{
    return free_set_free_count(&grid->free_set);
}

uint64_t
grid_acquire(struct grid *grid)
{
    assert(grid_free_count(grid) > 0);
    const uint64_t address = free_set_acquire(&grid->free_set) + 1;
    assert(address <= grid->block_count); /* (G4) */
    return address;
}

void
grid_release(struct grid *grid, uint64_t address)
{
    assert(address >= 1);
    assert(address <= grid->block_count);
    free_set_release(&grid->free_set, address - 1);
}

void
grid_checkpoint_durable(struct grid *grid)
{
    grid_check(grid);
    free_set_checkpoint_durable(&grid->free_set);
}

struct block_reference
grid_block_seal(struct grid *grid, void *block, uint64_t address)
{
    struct block_header *header = block;
    assert(address >= 1 && address <= grid->block_count);
    assert(bitset_get(&grid->free_set.acquired, address - 1));
    assert(header->type != BLOCK_RESERVED);
    assert(header->size >= BLOCK_HEADER_SIZE);
    assert(header->size <= BLOCK_SIZE);

    header->cluster = grid->cluster;
    header->address = address;
    header->version = DISK_FORMAT_VERSION;
    header->reserved_count = 0;
    memset(header->reserved, 0, sizeof(header->reserved));
    memset((uint8_t *) block + header->size, 0, BLOCK_SIZE - header->size);
    header->checksum = block_checksum(header);
    return (struct block_reference){.checksum = header->checksum, .address = address};
}

static void
grid_write_block_on_done(struct storage_request *request)
{
    struct grid_write *write = container_of(request, struct grid_write, request);
    assert(request->result != STORAGE_NO_SPACE);
    write->callback(write, request->result == STORAGE_OK ? GRID_OK : GRID_IO_ERROR);
}

void
grid_write_block(
    struct grid *grid, struct grid_write *write, const void *block, grid_write_callback *callback)
{
    const struct block_header *header = block;
    assert(callback != NULL);
    assert(!write->request.in_flight);
    assert(header->cluster == grid->cluster);
    assert(header->checksum == block_checksum(header));
    const uint64_t offset_bytes = grid_offset_bytes(grid, header->address);
    assert(bitset_get(&grid->free_set.acquired, header->address - 1));
    assert(bitset_get(&grid->free_set.fresh, header->address - 1)); /* (G1) */

    grid->stats.blocks_written += 1;
    write->callback = callback;
    write->request = (struct storage_request){
        .direction = STORAGE_WRITE,
        .file = STORAGE_GRID,
        .offset_bytes = offset_bytes,
        .size_bytes = BLOCK_SIZE,
        .buffer = (void *) block,
        .callback = grid_write_block_on_done,
    };
    storage_submit(grid->storage, &write->request);
}

static bool
bytes_zero(const uint8_t *bytes, uint64_t size)
{
    uint8_t any = 0;
    for (uint64_t i = 0; i < size; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

static bool
grid_block_valid(
    const struct grid *grid,
    const struct block_reference *reference,
    enum block_type type,
    const struct block_header *header)
{
    if (header->checksum != reference->checksum) return false;
    if (header->address != reference->address) return false;
    if (header->cluster != grid->cluster) return false;
    if (header->version != DISK_FORMAT_VERSION) return false;
    if (header->type != type) return false;
    if (header->size < BLOCK_HEADER_SIZE || header->size > BLOCK_SIZE) return false;
    if (header->checksum != block_checksum(header)) return false;
    if (header->reserved_count != 0 || header->previous.reserved != 0) return false;
    if (!bytes_zero(header->reserved, sizeof(header->reserved))) return false;
    return bytes_zero((const uint8_t *) header + header->size, BLOCK_SIZE - header->size);
}

enum grid_result
grid_read_block(
    struct grid *grid, const struct block_reference *reference, enum block_type type, void *block)
{
    assert(type != BLOCK_RESERVED);
    /*
     * Beyond the file: it was cut short. As little the block that was meant as any other content.
     */
    if (reference->address < 1 || reference->address > grid->block_count) return GRID_CORRUPT;

    grid->stats.blocks_read += 1;
    const enum storage_result result = storage_transfer_now(
        grid->storage,
        STORAGE_READ,
        STORAGE_GRID,
        grid_offset_bytes(grid, reference->address),
        block,
        BLOCK_SIZE);
    if (result != STORAGE_OK) return GRID_IO_ERROR;
    return grid_block_valid(grid, reference, type, block) ? GRID_OK : GRID_CORRUPT;
}
