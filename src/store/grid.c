/* SPDX-License-Identifier: PostgreSQL */
/* See grid.h. */
#include "store/grid.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/units.h"

static_assert(BLOCK_HEADER_SIZE < SECTOR_SIZE, "the header is in the first sector");

/*
 * The checksum covers the header after this field. The header contains a sum of each sector, so by
 * way of these sums the checksum covers the whole block.
 */
static u128
block_checksum(const struct block_header *header)
{
    return checksum(
        (const uint8_t *) header + sizeof(header->checksum),
        BLOCK_HEADER_SIZE - sizeof(header->checksum));
}

static uint64_t
sector_sum(const void *block, uint32_t sector)
{
    assert(sector < BLOCK_SECTORS);
    const uint64_t start = sector == 0 ? BLOCK_HEADER_SIZE : (uint64_t) sector * SECTOR_SIZE;
    const uint64_t end = (uint64_t) (sector + 1) * SECTOR_SIZE;
    return checksum_64((const uint8_t *) block + start, end - start);
}

static bool
sectors_match(const void *block, const uint64_t *sums, uint32_t first, uint32_t count)
{
    bool match = true;
    assert(count > 0 && first + count <= BLOCK_SECTORS);
    for (uint32_t i = first; i < first + count; i++) {
        match &= sector_sum(block, i) == sums[i];
    }
    return match;
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
    grid->growth = (struct grid_growth){0};
    free_set_reset(&grid->free_set, grid->block_count);
    grid_check(grid);
}

/* ---- Growth ---------------------------------------------------------------------------------- */

static void
growth_on_done(struct storage_growth *storage_growth)
{
    struct grid_growth *growth = container_of(storage_growth, struct grid_growth, storage);
    struct grid *grid = container_of(growth, struct grid, growth);
    assert(growth->block_count > grid->block_count);
    switch (storage_growth->result) {
    case STORAGE_OK:
        grid->block_count = growth->block_count;
        free_set_grow(&grid->free_set, growth->block_count);
        growth->refused = 0;
        break;
    case STORAGE_NO_SPACE: growth->refused = growth->block_count; break;
    case STORAGE_IO_ERROR:
        if (growth->needed) {
            growth->failed = true;
        } else {
            growth->refused = growth->block_count;
        }
        break;
    }
    grid_check(grid);
}

static void
growth_start(struct grid *grid, uint64_t block_count, bool needed)
{
    struct grid_growth *growth = &grid->growth;
    assert(!growth->failed);
    assert(block_count > grid->block_count);
    assert(block_count <= grid->free_set.acquired.bit_count);
    growth->block_count = block_count;
    growth->needed = needed;
    growth->storage = (struct storage_growth){
        .file = STORAGE_GRID,
        .size_bytes = block_count * BLOCK_SIZE,
        .callback = growth_on_done,
    };
    storage_grow_start(grid->storage, &growth->storage);
}

/*
 * How many blocks the grid must have so that `count` of them are free. UINT64_MAX if that is more
 * than the grid may ever have.
 */
static uint64_t
growth_wanted(const struct grid *grid, uint64_t count)
{
    const uint64_t free_count = free_set_free_count(&grid->free_set);
    const uint64_t block_count_max = grid->free_set.acquired.bit_count;
    assert(count > free_count);
    if (count - free_count > block_count_max - grid->block_count) return UINT64_MAX;
    return grid->block_count + (count - free_count);
}

static uint64_t
growth_rounded(const struct grid *grid, uint64_t wanted)
{
    const uint64_t rounded = div_ceil(wanted, GRID_GROW_BLOCKS) * GRID_GROW_BLOCKS;
    return min_u64(rounded, grid->free_set.acquired.bit_count);
}

/* Growth that nobody waits for. It isn't tried again as soon as it was refused. */
static void
growth_ahead(struct grid *grid, uint64_t wished)
{
    const struct grid_growth *growth = &grid->growth;
    if (wished <= free_set_free_count(&grid->free_set)) return;
    if (growth->storage.in_flight || growth->refused != 0) return;
    const uint64_t wanted = growth_wanted(grid, wished);
    if (wanted == UINT64_MAX) return;
    growth_start(grid, growth_rounded(grid, wanted), false);
}

enum grid_room
grid_reserve(struct grid *grid, uint64_t count, uint64_t wished)
{
    struct grid_growth *growth = &grid->growth;
    assert(wished >= count);
    grid_check(grid);
    if (growth->failed) return GRID_ROOM_FAILED;
    if (count <= free_set_free_count(&grid->free_set)) {
        growth_ahead(grid, wished);
        return GRID_ROOM;
    }
    if (growth->storage.in_flight) return GRID_ROOM_WAITS;
    const uint64_t wanted = growth_wanted(grid, count);
    if (wanted == UINT64_MAX) return GRID_ROOM_FULL;
    if (growth->needed && growth->refused != 0 && growth->refused <= wanted) {
        /*
         * The growth has been tried once more for this caller, so forget the refusal: the next
         * caller causes a new attempt.
         */
        growth->refused = 0;
        return GRID_ROOM_FULL;
    }
    const uint64_t rounded = growth_rounded(grid, wanted);
    const bool vain = growth->refused != 0 && rounded >= growth->refused;
    growth_start(grid, vain ? wanted : rounded, true);
    return GRID_ROOM_WAITS;
}

enum grid_room
grid_reserve_now(struct grid *grid, uint64_t count)
{
    enum grid_room room;
    while ((room = grid_reserve(grid, count, count)) == GRID_ROOM_WAITS) {
        (void) storage_wait(grid->storage);
    }
    assert(room != GRID_ROOM || grid_free_count(grid) >= count);
    return room;
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

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
    if (!grid->growth.storage.in_flight) grid->growth.refused = 0;
    free_set_checkpoint_durable(&grid->free_set);
}

bool
grid_is_acquired(const struct grid *grid, uint64_t address)
{
    assert(grid->block_count == grid->free_set.block_count);
    return address >= 1 && free_set_is_acquired(&grid->free_set, address - 1);
}

bool
grid_is_released(const struct grid *grid, uint64_t address)
{
    assert(grid->block_count == grid->free_set.block_count);
    return address >= 1 && free_set_is_released(&grid->free_set, address - 1);
}

uint64_t
grid_live_end(const struct grid *grid)
{
    grid_check(grid);
    const uint64_t end = free_set_live_end(&grid->free_set);
    assert(end <= grid->block_count);
    return end;
}

uint64_t
grid_free_set_word_count(const struct grid *grid)
{
    return bitset_word_count(grid_live_end(grid));
}

uint64_t
grid_free_set_block_count(const struct grid *grid)
{
    return div_ceil(grid_free_set_word_count(grid), GRID_FREE_SET_WORDS_PER_BLOCK);
}

void
grid_free_set_fill(
    const struct grid *grid, uint64_t first_word, uint64_t *words, uint64_t word_count)
{
    grid_check(grid);
    free_set_fill(&grid->free_set, first_word, words, word_count);
}

bool
grid_free_set_load(
    struct grid *grid, uint64_t first_word, const uint64_t *words, uint64_t word_count)
{
    grid_check(grid);
    return free_set_load(&grid->free_set, first_word, words, word_count);
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
    for (uint32_t i = 0; i < BLOCK_SECTORS; i++) {
        header->sector_sums[i] = sector_sum(block, i);
    }
    header->checksum = block_checksum(header);
    return (struct block_reference){.checksum = header->checksum, .address = address};
}

static void
grid_write_on_done(struct storage_request *request)
{
    struct grid_write *write = container_of(request, struct grid_write, request);
    assert(request->file == STORAGE_GRID);
    assert(request->result != STORAGE_NO_SPACE);
    write->callback(write, request->result == STORAGE_OK ? GRID_OK : GRID_IO_ERROR);
}

/*
 * Was the block left unchanged since it was sealed? Only the tests' build looks. In production this
 * would be the second checksum over every byte that is written, and the next read finds a changed
 * block anyway.
 */
static bool
grid_block_sealed(const struct grid *grid, const struct block_header *header)
{
    if (header->cluster != grid->cluster) return false;
#ifdef LEDGER_CONFIG_TEST_MIN
    if (header->checksum != block_checksum(header)) return false;
    if (!sectors_match(header, header->sector_sums, 0, BLOCK_SECTORS)) return false;
#endif
    return header->version == DISK_FORMAT_VERSION;
}

void
grid_write_blocks(
    struct grid *grid,
    struct grid_write *write,
    void *const *blocks,
    uint32_t count,
    grid_write_callback *callback)
{
    assert(callback != NULL);
    assert(count >= 1 && count <= GRID_WRITE_BLOCKS_MAX);
    assert(!write->request.in_flight);
    const uint64_t address_first = ((const struct block_header *) blocks[0])->address;
    for (uint32_t i = 0; i < count; i++) {
        const struct block_header *header = blocks[i];
        assert(grid_block_sealed(grid, header));
        assert(header->address == address_first + i);
        assert(header->address <= grid->block_count);
        assert(bitset_get(&grid->free_set.acquired, header->address - 1));
        assert(bitset_get(&grid->free_set.fresh, header->address - 1)); /* (G1) */
        write->blocks[i] = blocks[i];
    }
    grid->stats.blocks_written += count;
    grid->stats.write_requests += 1;
    write->callback = callback;
    write->request = (struct storage_request){
        .direction = STORAGE_WRITE,
        .file = STORAGE_GRID,
        .offset_bytes = grid_offset_bytes(grid, address_first),
        .size_bytes = (uint64_t) count * BLOCK_SIZE,
        .callback = grid_write_on_done,
    };
    if (count == 1) {
        write->request.buffer = write->blocks[0];
    } else {
        write->request.buffers = write->blocks;
        write->request.buffer_count = count;
        write->request.buffer_size_bytes = BLOCK_SIZE;
    }
    storage_submit(grid->storage, &write->request);
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
    if (!sectors_match(header, header->sector_sums, 0, BLOCK_SECTORS)) return false;
    if (header->reserved_count != 0 || header->previous.reserved != 0) return false;
    if (!bytes_zero(header->reserved, sizeof(header->reserved))) return false;
    return bytes_zero((const uint8_t *) header + header->size, BLOCK_SIZE - header->size);
}

/* Completes one read, after its own request or the request it was a part of. */
static void
read_finish(struct grid_read *read, enum storage_result got)
{
    enum grid_result result = GRID_IO_ERROR;
    assert(got != STORAGE_NO_SPACE);
    assert(read->next == NULL);
    if (got == STORAGE_OK) {
        const bool valid =
            read->sector_count == 0
                ? grid_block_valid(read->grid, &read->reference, read->type, read->block)
                : sectors_match(
                      read->block, read->sector_sums, read->sector_first, read->sector_count);
        result = valid ? GRID_OK : GRID_CORRUPT;
    }
    read->callback(read, result);
}

static void grid_read_on_done(struct storage_request *request);

/* `read` says what it is about. */
static void
read_submit(struct grid_read *read)
{
    const uint32_t count = read->sector_count == 0 ? BLOCK_SECTORS : read->sector_count;
    const uint64_t start = (uint64_t) read->sector_first * SECTOR_SIZE;
    assert(read->callback != NULL);
    assert(read->next == NULL);
    assert(read->sector_first + count <= BLOCK_SECTORS);
    read->grid->stats.read_requests += 1;
    read->request = (struct storage_request){
        .direction = STORAGE_READ,
        .file = STORAGE_GRID,
        .offset_bytes = grid_offset_bytes(read->grid, read->reference.address) + start,
        .size_bytes = (uint64_t) count * SECTOR_SIZE,
        .buffer = (uint8_t *) read->block + start,
        .callback = grid_read_on_done,
    };
    storage_submit(read->grid->storage, &read->request);
}

/* The callback of a block may reuse its structure to start another read. */
static void
grid_read_on_done(struct storage_request *request)
{
    struct grid_read *read = container_of(request, struct grid_read, request);
    const enum storage_result got = request->result;
    const bool alone = read->next == NULL;
    assert(request->file == STORAGE_GRID);
    while (read != NULL) {
        struct grid_read *next = read->next;
        read->next = NULL;
        if (alone || got == STORAGE_OK) {
            read_finish(read, got);
        } else {
            /* Read each block by itself, to find out which of them can't be read. */
            read_submit(read);
        }
        read = next;
    }
}

/* Returns false if the reference names no block within the file. */
static bool
grid_read_start(struct grid_read *read)
{
    struct grid *grid = read->grid;
    const uint64_t address = read->reference.address;
    /*
     * The address is past the end: the file was cut short. Treat it like a block with wrong
     * contents.
     */
    if (address < 1 || address > grid->block_count) return false;
    grid->stats.blocks_read += 1;
    grid->stats.extracts_read += read->sector_count > 0;
    read_submit(read);
    return true;
}

bool
grid_read_block_start(
    struct grid *grid,
    struct grid_read *read,
    const struct block_reference *reference,
    enum block_type type,
    void *block,
    grid_read_callback *callback)
{
    assert(type != BLOCK_RESERVED);
    assert(!read->request.in_flight);
    *read = (struct grid_read){
        .grid = grid,
        .reference = *reference,
        .type = type,
        .block = block,
        .callback = callback,
    };
    return grid_read_start(read);
}

void
grid_read_blocks_start(
    struct grid *grid,
    struct grid_read *const *reads,
    const struct block_reference *references,
    uint32_t count,
    void *const *blocks,
    grid_read_callback *callback)
{
    struct grid_read *first = reads[0];
    assert(callback != NULL);
    assert(count >= 2 && count <= GRID_READ_BLOCKS_MAX);
    assert(references[0].address >= 1);
    assert(references[count - 1].address <= grid->block_count);
    for (uint32_t i = 0; i < count; i++) {
        assert(!reads[i]->request.in_flight);
        assert(references[i].address == references[0].address + i);
        *reads[i] = (struct grid_read){
            .grid = grid,
            .reference = references[i],
            .type = BLOCK_VALUES,
            .block = blocks[i],
            .callback = callback,
            .next = i + 1 < count ? reads[i + 1] : NULL,
        };
    }
    memcpy(first->blocks, blocks, count * sizeof(blocks[0]));
    grid->stats.blocks_read += count;
    grid->stats.read_requests += 1;
    first->request = (struct storage_request){
        .direction = STORAGE_READ,
        .file = STORAGE_GRID,
        .offset_bytes = grid_offset_bytes(grid, references[0].address),
        .size_bytes = (uint64_t) count * BLOCK_SIZE,
        .buffers = first->blocks,
        .buffer_count = count,
        .buffer_size_bytes = BLOCK_SIZE,
        .callback = grid_read_on_done,
    };
    storage_submit(grid->storage, &first->request);
}

bool
grid_read_extract_start(
    struct grid *grid,
    struct grid_read *read,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    void *block,
    grid_read_callback *callback)
{
    assert(extract->count > 0 && extract->count < BLOCK_SECTORS);
    assert(extract->first + extract->count <= BLOCK_SECTORS);
    assert(!read->request.in_flight);
    *read = (struct grid_read){
        .grid = grid,
        .reference = *reference,
        .sector_first = extract->first,
        .sector_count = extract->count,
        .block = block,
        .callback = callback,
    };
    memcpy(read->sector_sums, extract->sector_sums, sizeof(read->sector_sums));
    return grid_read_start(read);
}

struct grid_read_now {
    struct grid_read read;
    enum grid_result result;
    bool done;
};

static void
grid_read_now_on_done(struct grid_read *read, enum grid_result result)
{
    struct grid_read_now *now = container_of(read, struct grid_read_now, read);
    assert(!now->done);
    now->result = result;
    now->done = true;
}

enum grid_result
grid_read_block(
    struct grid *grid, const struct block_reference *reference, enum block_type type, void *block)
{
    struct grid_read_now now = {.done = false};
    if (!grid_read_block_start(grid, &now.read, reference, type, block, grid_read_now_on_done)) {
        return GRID_CORRUPT;
    }
    while (!now.done) (void) storage_wait(grid->storage);
    assert(!now.read.request.in_flight);
    return now.result;
}
