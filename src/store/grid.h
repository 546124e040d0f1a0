/* SPDX-License-Identifier: PostgreSQL */
/*
 * The grid: blocks, copy-on-write. A block says where it belongs and what it is; whoever refers to
 * it knows its checksum. So a lost, misdirected or rotten write is found at the first read.
 *
 * Addresses are 1 … block_count; block n lies at (n − 1) * BLOCK_SIZE.
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
#include "base/u128.h"
#include "config.h"
#include "io/storage.h"
#include "store/free_set.h"
#include "store/superblock.h"

enum block_type {
    BLOCK_RESERVED = 0,
    BLOCK_MANIFEST = 1,
    BLOCK_RECORDS = 2,
};

/*
 * Byte table: checksum 0, cluster 16, address 32, op 40, size 48, type 52, tree 53, version 54,
 * previous 56 …
 */
struct block_header {
    u128 checksum; /* Of everything after this field up to `size`. */
    u128 cluster;
    uint64_t address;
    uint64_t op;   /* After which it was written. */
    uint32_t size; /* Header and content, bytes. The rest of the block is zero, and checked. */
    uint8_t type;
    uint8_t tree;
    uint16_t version;
    uint32_t record_count;
    uint32_t reserved_count;
    struct block_reference previous; /* Of a chain; address 0 at its end. */
    uint8_t reserved[160];
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

/* Caller-owned, lent to the grid until the callback. */
struct grid_write {
    struct storage_request request;
    grid_write_callback *callback;
};

struct grid_stats {
    uint64_t blocks_written;
    uint64_t blocks_read;
};

struct grid {
    struct storage *storage;
    struct free_set free_set;
    u128 cluster;
    uint64_t block_count; /* Blocks that fit the file now. */
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

/* After the superblock is open. All blocks are free until grid_mark_acquired says otherwise. */
void grid_open(struct grid *grid, u128 cluster);

/*
 * While opening: a block that the checkpoint references. False if it is out of range or taken
 * already.
 */
bool grid_mark_acquired(struct grid *grid, uint64_t address);

/*
 * Grows the file until `count` blocks are free. STORAGE_NO_SPACE: the file system or
 * block_count_max is full; nothing changed. STORAGE_IO_ERROR: the caller must stop.
 */
enum storage_result grid_reserve(struct grid *grid, uint64_t count);

/* Free blocks within the file. */
uint64_t grid_free_count(const struct grid *grid);

/* The lowest free address (G3). Precondition: grid_free_count > 0 (G4). */
uint64_t grid_acquire(struct grid *grid);

/* The next checkpoint won't reference it (G2). */
void grid_release(struct grid *grid, uint64_t address);

/* The checkpoint that was being written is durable: released blocks are free. */
void grid_checkpoint_durable(struct grid *grid);

/*
 * Completes the header of a block (caller has set type, tree, op, size, record_count, previous, and
 * the content), zeroes the rest, and returns the reference to it.
 */
struct block_reference grid_block_seal(struct grid *grid, void *block, uint64_t address);

/* Writes a sealed block. The buffer stays the caller's and unchanged until the callback. */
void grid_write_block(
    struct grid *grid,
    struct grid_write *write,
    const void *block,
    grid_write_callback *callback);

/*
 * Reads and verifies: address, checksum, cluster, type, version, reserved bytes, padding. Waits.
 * For opening.
 */
enum grid_result grid_read_block(
    struct grid *grid,
    const struct block_reference *reference,
    enum block_type type,
    void *block);

#endif
