/* SPDX-License-Identifier: PostgreSQL */
/*
 * The grid: blocks, copy-on-write. A block says where it belongs and what it is; whoever refers to
 * it knows its checksum. So a lost, misdirected or rotten write is found at the first read.
 *
 * Addresses are 1 … block_count; block n lies at (n − 1) * BLOCK_SIZE.
 *
 * A block's checksum has two levels (a tree of height one: Merkle, "A digital signature based on a
 * conventional encryption function", CRYPTO 1987). It covers the header, which has a sum of each
 * sector. So whoever has those sums from a source that can be trusted reads and verifies some
 * sectors alone: a disk gives more sectors than blocks.
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
    uint64_t op;   /* After which it was written. */
    uint32_t size; /* Header and content, bytes. The rest of the block is zero, and checked. */
    uint8_t type;
    uint8_t tree;
    uint16_t version;
    uint32_t record_count;
    uint32_t reserved_count;
    struct block_reference previous; /* The previous block of a chain; address 0 at its end. */
    /* Sums of the sectors; the first one's is of what follows the header. */
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

/* Blocks that one request writes at most. */
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
    uint32_t sector_first; /* Where the extract begins. */
    uint32_t sector_count; /* 0: the whole block. */
    uint64_t sector_sums[BLOCK_SECTORS];
    void *block;
    grid_read_callback *callback;
    struct grid_read *next; /* If several are one request, the next block's; else NULL. */
    void *blocks[GRID_READ_BLOCKS_MAX]; /* In the first of them, the blocks of all. */
};

/* Consecutive sectors of a block, fewer than all, and what proves them: the sums of all of them. */
struct grid_extract {
    const uint64_t *sector_sums;
    uint32_t first;
    uint32_t count;
};

struct grid_stats {
    uint64_t blocks_written;
    uint64_t blocks_read;   /* How many were read, whole or in part. */
    uint64_t extracts_read; /* How many of these were extracts. */
    uint64_t read_requests;
    uint64_t write_requests;
};

/*
 * The file's growth, which goes on beside everything else. There is one at a time.
 *
 *     nothing refused ── grow, rounded up ── no space ──→ refused ── grow, exactly ── no space ──→
 *     whoever asked is told GRID_ROOM_FULL, and the next who asks tries anew
 *
 * Growth ahead of need is not tried again after it was refused, until a checkpoint has freed
 * something: by then the disk may have room.
 */
struct grid_growth {
    struct storage_growth storage;
    uint64_t block_count; /* That the one under way, or the last one, is for. */
    uint64_t refused;     /* The least block_count that there was no space for; 0: none. */
    bool needed;          /* The last one was started because somebody had to wait. */
    bool failed;          /* Nobody knows how large the file is: there is no more growth. */
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
 * block_count_max: the most blocks that the grid may ever have; bounds the memory of the free set.
 */
void grid_init(
    struct grid *grid,
    struct arena *arena,
    struct storage *storage,
    uint64_t block_count_max);

/*
 * After the superblock is open. All blocks are free until grid_free_set_load
 * says otherwise.
 */
void grid_open(struct grid *grid, u128 cluster);

enum grid_room {
    GRID_ROOM,        /* There are so many free blocks. */
    GRID_ROOM_WAITS,  /* The file grows: ask again after progress. */
    GRID_ROOM_FULL,   /* The file system or block_count_max is full; nothing changed. */
    GRID_ROOM_FAILED, /* Growth failed otherwise: the caller must stop. */
};

/*
 * Are `count` blocks free? If not, the file begins to grow, by GRID_GROW_BLOCKS at a time, or by
 * what is missing where the disk has no more. It begins to grow also where `wished` are not free,
 * count or more of them; but nobody waits for that.
 */
enum grid_room grid_reserve(struct grid *grid, uint64_t count, uint64_t wished);

/* The same, waited for. For opening. */
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

/* False for an address that is none. What is released is acquired still. */
bool grid_is_acquired(const struct grid *grid, uint64_t address);
bool grid_is_released(const struct grid *grid, uint64_t address);

/*
 * The highest address that is acquired and not released; 0: none is. What a checkpoint has to tell
 * of ends there. It follows from the log alone, which block_count doesn't: how large the file is
 * depends on when room was asked for.
 */
uint64_t grid_live_end(const struct grid *grid);

/*
 * The free set as a checkpoint stores it: a bit for each block up to grid_live_end, block 1 first,
 * set where the block is acquired and not released, in words that go into the content of a chain
 * of BLOCK_FREE_SET blocks. All of them but the last are full; record_count says how many words
 * there are. Blocks beyond are free.
 *
 * A checkpoint first releases the chain of the one before. Then it acquires everything else that it
 * references, and blocks of the chain until there are grid_free_set_block_count of them: each may
 * lie beyond what was the end. And then it fills them. So the chain's own blocks are in it. Until
 * the checkpoint is durable, nothing else is released.
 */
#define GRID_FREE_SET_WORDS_PER_BLOCK (BLOCK_CONTENT_SIZE / sizeof(uint64_t))
uint64_t grid_free_set_word_count(const struct grid *grid);
uint64_t grid_free_set_block_count(const struct grid *grid);

/* Words first_word … of it, within grid_free_set_word_count. */
void grid_free_set_fill(
    const struct grid *grid, uint64_t first_word, uint64_t *words, uint64_t word_count);

/*
 * While opening: acquires what words of a chain say, each part of it once, in any order. False,
 * and nothing changed, if they name blocks beyond the file or acquired already. The file may have
 * become larger since.
 */
bool grid_free_set_load(
    struct grid *grid, uint64_t first_word, const uint64_t *words, uint64_t word_count);

/*
 * Completes the header of a block (caller has set type, tree, op, size, record_count, previous, and
 * the content), zeroes the rest, and returns the reference to it.
 */
struct block_reference grid_block_seal(struct grid *grid, void *block, uint64_t address);

/*
 * Writes sealed blocks of consecutive addresses, ascending, in one request: 1 …
 * GRID_WRITE_BLOCKS_MAX. The blocks stay the caller's and unchanged until the callback; the array
 * is copied.
 */
void grid_write_blocks(
    struct grid *grid,
    struct grid_write *write,
    void *const *blocks,
    uint32_t count,
    grid_write_callback *callback);

/*
 * Reads and verifies: address, checksum, cluster, type, version, reserved bytes, padding. The
 * callback says whether the block is the one that the reference names; it never runs inside this.
 * The reference is copied.
 *
 * False: the reference names no block within the file, so that there is nothing to read. No
 * callback will run; to the caller it is GRID_CORRUPT.
 */
bool grid_read_block_start(
    struct grid *grid,
    struct grid_read *read,
    const struct block_reference *reference,
    enum block_type type,
    void *block,
    grid_read_callback *callback);

/*
 * The same of several BLOCK_VALUES of consecutive addresses, within the file, in one request: 2 …
 * GRID_READ_BLOCKS_MAX. reads[i] gets block i, and its callback runs with what was found of that
 * block alone: where the request fails, each block is read again by itself.
 */
void grid_read_blocks_start(
    struct grid *grid,
    struct grid_read *const *reads,
    const struct block_reference *references,
    uint32_t count,
    void *const *blocks,
    grid_read_callback *callback);

/*
 * The same of some sectors only, which come to their places in `block`; the rest of it, the header
 * mostly included, is not there. Each is verified against its sum, and against nothing else: that
 * it is of this block follows from whose sums they are.
 */
bool grid_read_extract_start(
    struct grid *grid,
    struct grid_read *read,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    void *block,
    grid_read_callback *callback);

/* The same of the whole block, waited for. For opening. */
enum grid_result grid_read_block(
    struct grid *grid,
    const struct block_reference *reference,
    enum block_type type,
    void *block);

#endif
