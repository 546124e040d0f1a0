/* SPDX-License-Identifier: PostgreSQL */
/*
 * The grid: a file of blocks of one size. A block is never overwritten while anything refers to it
 * (copy on write). Each block says in its header where it belongs and what it is, and whoever
 * refers to it knows its checksum. So a write that was lost or went astray, and bytes that have
 * rotted, are found when the block is next read.
 *
 * The happy path of a write: grid_reserve (is there room?), grid_acquire (an address),
 * grid_block_seal (the checksum), grid_write_blocks; in its callback the block is durable, and may
 * be referred to. What can go wrong: there is no room (GRID_ROOM_FULL, nothing has changed), a
 * write fails (GRID_IO_ERROR, the caller must stop), a block that is read isn't the one the
 * reference names (GRID_CORRUPT).
 *
 * Addresses are 1 … block_count; block n lies at (n − 1) * BLOCK_SIZE.
 *
 * A block's checksum has two levels (a tree of height one: Merkle, "A digital signature based on a
 * conventional encryption function", CRYPTO 1987). It covers the header, and the header holds a sum
 * of each sector. So a caller that has these sums from a source it trusts can read and verify a few
 * sectors alone (an extract). That pays because a disk delivers more sectors than blocks per
 * second.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (G1) a block that a durable checkpoint references is never overwritten.
 *  (G2) a released block becomes free when the checkpoint that no longer references it is durable.
 *  (G3) addresses are acquired lowest first: same history, same addresses.
 *  (G4) an acquired block lies within the file: grid_reserve takes space before it is promised.
 */
#ifndef LEDGER_STORE_GRID_H
#define LEDGER_STORE_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/u128.h"
#include "config.h"
#include "io/storage.h"
#include "store/free_set.h"
#include "store/superblock.h"

enum block_type {
    BLOCK_RESERVED = 0,
    BLOCK_MANIFEST = 1,
    BLOCK_FREE_SET = 2,
    BLOCK_INDEX = 3,
    BLOCK_VALUES = 4,
    BLOCK_FILTER = 5,
    BLOCK_ROOT = 6,
};

/*
 * Byte table: checksum 0, cluster 16, address 32, op 40, size 48, type 52, tree 53, version 54,
 * record_count 56, previous 64, sector_sums 96 …
 */
struct block_header {
    u128 checksum; /* The checksum of the header after this field. */
    u128 cluster;
    uint64_t address;
    uint64_t op;   /* The op after which it was written. */
    /* Bytes of header and content. The rest of the block is zero, and that is checked. */
    uint32_t size;
    uint8_t type;
    uint8_t tree;
    uint16_t version;
    uint32_t record_count;
    uint32_t reserved_count;
    struct block_reference previous; /* The previous block of a chain; address 0 at its end. */
    /* A sum of each sector. The sum of the first sector covers only what follows the header. */
    uint64_t sector_sums[BLOCK_SECTORS];
    uint8_t reserved[160 - BLOCK_SECTORS * 8];
};
#define BLOCK_HEADER_SIZE 256
#define BLOCK_CONTENT_SIZE (BLOCK_SIZE - BLOCK_HEADER_SIZE)
static_assert(sizeof(struct block_header) == BLOCK_HEADER_SIZE, "no padding");

enum grid_result {
    GRID_OK,
    GRID_CORRUPT,  /* Not the block that the reference names. */
    GRID_IO_ERROR,
};

struct grid_write;
typedef void grid_write_callback(struct grid_write *write, enum grid_result result);

/* The most blocks that one request writes. */
#define GRID_WRITE_BLOCKS_MAX STORAGE_BUFFERS_MAX

static_assert(GRID_READ_BLOCKS_MAX <= STORAGE_BUFFERS_MAX, "one request reads them");

/* Caller-owned, lent to the grid until the callback. */
struct grid_write {
    struct storage_request request;
    grid_write_callback *callback;
    void *blocks[GRID_WRITE_BLOCKS_MAX];
};

struct grid_read;
typedef void grid_read_callback(struct grid_read *read, enum grid_result result);

/* Caller-owned, lent to the grid until the callback. */
struct grid_read {
    struct storage_request request;
    struct grid *grid;
    struct block_reference reference;
    enum block_type type;
    uint32_t sector_first; /* The first sector of the extract. */
    uint32_t sector_count; /* Sectors of the extract; 0 means the whole block. */
    uint64_t sector_sums[BLOCK_SECTORS];
    void *block;
    grid_read_callback *callback;
    /* When one request reads several blocks: the read of the next block. NULL at the last one. */
    struct grid_read *next;
    /* Used in the first of them only: the buffers of all blocks. */
    void *blocks[GRID_READ_BLOCKS_MAX];
};

/*
 * Consecutive sectors of a block, but not all of them. sector_sums, the sums of every sector of the
 * block, prove them.
 */
struct grid_extract {
    const uint64_t *sector_sums;
    uint32_t first;
    uint32_t count;
};

struct grid_stats {
    uint64_t blocks_written;
    uint64_t blocks_read;   /* Blocks that were read, whole or in part. */
    uint64_t extracts_read; /* How many of these reads were extracts. */
    uint64_t read_requests;
    uint64_t write_requests;
};

/*
 * The growth of the file, which goes on while everything else works. There is one growth at a time.
 *
 *      nothing refused ── grow, rounded up ── no space ──→ refused ── grow, exactly ── no space ──→
 *      the caller is told GRID_ROOM_FULL, and the next caller causes a new attempt
 *
 * Growth ahead of need isn't tried again after a refusal until a checkpoint has freed something: by
 * then the disk may have room. An error of the disk is a refusal too, as long as nobody waits:
 * there is room for all that was promised. Only if the growth that a caller waits for ends so, it
 * has failed.
 */
struct grid_growth {
    struct storage_growth storage;
    uint64_t block_count; /* The size that the running growth, or else the last one, is to reach. */
    /* The smallest size that the disk has refused; 0 if it refused none. */
    uint64_t refused;
    bool needed;          /* The last growth was started because a caller had to wait. */
    bool failed;          /* Such a growth has met an error of the disk: the grid grows no more. */
};

struct grid {
    struct storage *storage;
    struct free_set free_set;
    u128 cluster;
    uint64_t block_count; /* Blocks that fit the file now. */
    struct grid_growth growth;
    struct grid_stats stats;
};

/*
 * block_count_max is the most blocks that the grid may ever have. It decides how much memory the
 * free set takes.
 */
void grid_init(
    struct grid *grid,
    struct arena *arena,
    struct storage *storage,
    uint64_t block_count_max);

/*
 * Call this after the superblock is open. All blocks are free until grid_free_set_load says
 * otherwise.
 */
void grid_open(struct grid *grid, u128 cluster);

enum grid_room {
    GRID_ROOM,        /* As many blocks as asked for are free. */
    GRID_ROOM_WAITS,  /* The file grows: ask again after progress. */
    /* The disk has no space, or block_count_max is reached. Nothing has changed. */
    GRID_ROOM_FULL,
    GRID_ROOM_FAILED, /* Growing the file failed for another reason: the caller must stop. */
};

/*
 * Are `count` blocks free? If not, the file begins to grow: by GRID_GROW_BLOCKS at a time, or where
 * the disk has less space, by exactly what is missing. Growth also begins when `wished` blocks are
 * not free (wished is at least count), but then nobody has to wait for it.
 */
enum grid_room grid_reserve(struct grid *grid, uint64_t count, uint64_t wished);

/* The same, but it waits for the growth. For opening only. */
enum grid_room grid_reserve_now(struct grid *grid, uint64_t count);

/* Free blocks within the file. */
uint64_t grid_free_count(const struct grid *grid);

/* Blocks that are acquired and not released. */
static inline uint64_t
grid_live_count(const struct grid *grid)
{
    assert(grid->free_set.released_count <= grid->free_set.acquired_count);
    return grid->free_set.acquired_count - grid->free_set.released_count;
}

/* The lowest free address (G3). Precondition: grid_free_count > 0 (G4). */
uint64_t grid_acquire(struct grid *grid);

/* The next checkpoint won't reference it (G2). */
void grid_release(struct grid *grid, uint64_t address);

/* The checkpoint that was being written is durable: released blocks are free. */
void grid_checkpoint_durable(struct grid *grid);

/* Both are false for an address that names no block. A released block still counts as acquired. */
bool grid_is_acquired(const struct grid *grid, uint64_t address);
bool grid_is_released(const struct grid *grid, uint64_t address);

/*
 * The highest address that is acquired and not released, or 0 if there is none. A checkpoint needs
 * to describe no block beyond it. It follows from the log alone, so that it is the same wherever
 * the log is executed. block_count doesn't: how large the file is depends on when room was asked
 * for.
 */
uint64_t grid_live_end(const struct grid *grid);

/*
 * The free set as a checkpoint stores it: a bit for each block up to grid_live_end, beginning with
 * block 1, set where the block is acquired and not released. The words of these bits are the
 * content of a chain of BLOCK_FREE_SET blocks. All blocks of the chain but the last are full;
 * record_count says how many words a block holds. Blocks beyond the end are free.
 *
 * The chain's own blocks are acquired too, so they must be in it. Therefore a checkpoint works in
 * this order. It releases the chain of the checkpoint before. It acquires everything else that it
 * refers to. It acquires blocks for the chain until there are grid_free_set_block_count of them;
 * that number may grow meanwhile, since a new block may lie beyond the old end. Only then it fills
 * them. Until the checkpoint is durable, nothing else is released.
 */
#define GRID_FREE_SET_WORDS_PER_BLOCK (BLOCK_CONTENT_SIZE / sizeof(uint64_t))
uint64_t grid_free_set_word_count(const struct grid *grid);
uint64_t grid_free_set_block_count(const struct grid *grid);

/* The words of the free set from first_word on. They must lie within grid_free_set_word_count. */
void grid_free_set_fill(
    const struct grid *grid, uint64_t first_word, uint64_t *words, uint64_t word_count);

/*
 * While opening: acquires the blocks that the words of a chain name. Each part of the chain is
 * given once, in any order. Returns false and changes nothing if they name blocks beyond the file
 * or blocks that are acquired already. The file may have grown since the checkpoint.
 */
bool grid_free_set_load(
    struct grid *grid, uint64_t first_word, const uint64_t *words, uint64_t word_count);

/*
 * Completes the header of a block, zeroes the rest of the block, and returns the reference to it.
 * The caller has set type, tree, op, size, record_count and previous, and written the content.
 */
struct block_reference grid_block_seal(struct grid *grid, void *block, uint64_t address);

/*
 * Writes 1 … GRID_WRITE_BLOCKS_MAX sealed blocks of consecutive ascending addresses in one request.
 * The blocks remain the caller's, and must not change until the callback; the array is copied.
 */
void grid_write_blocks(
    struct grid *grid,
    struct grid_write *write,
    void *const *blocks,
    uint32_t count,
    grid_write_callback *callback);

/*
 * Reads a block and verifies address, checksum, cluster, type, version, reserved bytes and padding.
 * The callback says whether it is the block that the reference names; it never runs inside this
 * call. The reference is copied.
 *
 * Returns false if the reference names no block within the file, so that there is nothing to read.
 * Then no callback runs; the caller treats it as GRID_CORRUPT.
 */
bool grid_read_block_start(
    struct grid *grid,
    struct grid_read *read,
    const struct block_reference *reference,
    enum block_type type,
    void *block,
    grid_read_callback *callback);

/*
 * Reads 2 … GRID_READ_BLOCKS_MAX blocks of type BLOCK_VALUES, which have consecutive addresses
 * within the file, in one request. reads[i] gets block i. Each callback is told about its own block
 * alone: where the request fails, each block is read again by itself.
 */
void grid_read_blocks_start(
    struct grid *grid,
    struct grid_read *const *reads,
    const struct block_reference *references,
    uint32_t count,
    void *const *blocks,
    grid_read_callback *callback);

/*
 * Reads only some sectors of a block, to their places in `block`. The rest of `block` isn't filled;
 * that mostly includes the header. Each sector is verified against its sum and against nothing
 * else. That is enough, since the sums come from the block's own verified header.
 */
bool grid_read_extract_start(
    struct grid *grid,
    struct grid_read *read,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    void *block,
    grid_read_callback *callback);

/* Reads the whole block and waits for it. For opening only. */
enum grid_result grid_read_block(
    struct grid *grid,
    const struct block_reference *reference,
    enum block_type type,
    void *block);

#endif
