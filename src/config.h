/* SPDX-License-Identifier: PostgreSQL */
/*
 * Every limit of the engine in one file.
 *
 * The core is compiled twice: with production limits into the extension, and with
 * LEDGER_CONFIG_TEST_MIN into unit tests and the simulator, so that logs wrap, blocks fill and
 * checkpoints happen all the time. CONFIG_FINGERPRINT is stored in the superblock: one build never
 * opens the other's files.
 */
#ifndef LEDGER_CONFIG_H
#define LEDGER_CONFIG_H

#include <stdint.h>

#include "base/assert.h"
#include "base/units.h"

/* Version of everything on disk. A change of any on-disk structure increments it. */
#define DISK_FORMAT_VERSION 1

/* The unit of every disk access: offset, length and buffer address are multiples of it. */
#define SECTOR_SIZE 4096

#ifdef LEDGER_CONFIG_TEST_MIN
#define BLOCK_SIZE 4096
#define EVENTS_PER_BATCH_MAX 30
#define BATCHES_PER_PREPARE_MAX 8
#define PIPELINE_PREPARES_MAX 4
#define EXECUTE_EVENTS_MAX 8
#define GRID_GROW_BLOCKS 16
#define GRID_WRITES_MAX 4
#define CHANGE_EVENTS_MAX 10
#define PREPARES_SIZE_MIN (UINT64_C(16) * SECTOR_SIZE)
#else
/* Bytes of a grid block, header included. */
#define BLOCK_SIZE 65536
/* Accounts or transfers that one batch may create. */
#define EVENTS_PER_BATCH_MAX 8190
/* Requests that share one prepare (group commit). */
#define BATCHES_PER_PREPARE_MAX 1000
/* Prepares that are journaled or being journaled and not yet committed. */
#define PIPELINE_PREPARES_MAX 8
/* Events that are executed at a time: about a millisecond. */
#define EXECUTE_EVENTS_MAX 1024
/* The grid file grows by so many blocks at a time. */
#define GRID_GROW_BLOCKS 1024
/* Block writes in flight: what bulk work fills while one prepare is executed. */
#define GRID_WRITES_MAX 64
/* Rows that get_change_events returns at most: as many 384-byte rows as fit a megabyte. */
#define CHANGE_EVENTS_MAX 2730
/* The smallest prepares log: it must hold a full pipeline of the largest prepares, twice over. */
#define PREPARES_SIZE_MIN (UINT64_C(32) * MIB)
#endif

/* Accounts and transfers are both 128 bytes (accounting: one record layout each). */
#define EVENT_SIZE 128
/* Rows that any other read returns at most. */
#define RESULTS_MAX EVENTS_PER_BATCH_MAX

/*
 * A prepare: header, then events of all its batches, then the batch table (see vsr/multi_batch.h).
 */
#define PREPARE_HEADER_SIZE 256
#define PREPARE_BATCH_TABLE_SIZE_MAX ((4 * BATCHES_PER_PREPARE_MAX + 4 + 127) / 128 * 128)
#define PREPARE_SIZE_MAX                                                                           \
    ((PREPARE_HEADER_SIZE + EVENTS_PER_BATCH_MAX * EVENT_SIZE + PREPARE_BATCH_TABLE_SIZE_MAX +     \
      SECTOR_SIZE - 1) /                                                                           \
     SECTOR_SIZE * SECTOR_SIZE)

/* Expired holds that one pulse releases at most. */
#define PULSE_EXPIRIES_MAX EVENTS_PER_BATCH_MAX

/* Four copies, written one after another: at most one is torn by a crash, one more may rot. */
#define SUPERBLOCK_COPIES 4
#define SUPERBLOCK_COPY_STRIDE (UINT64_C(16) * KIB)
#define SUPERBLOCK_FILE_SIZE (SUPERBLOCK_COPIES * SUPERBLOCK_COPY_STRIDE)

#define HEADERS_PER_SECTOR (SECTOR_SIZE / PREPARE_HEADER_SIZE)

/*
 * The headers log has one entry for each sector of the prepares log. A prepare takes at least a
 * sector, so the headers log can never be the one that is full.
 */
static inline uint64_t
headers_log_count(uint64_t prepares_size_bytes)
{
    assert(prepares_size_bytes % (SECTOR_SIZE * HEADERS_PER_SECTOR) == 0);
    return prepares_size_bytes / SECTOR_SIZE;
}

/* Timestamps are nanoseconds, 1 … 2^63 − 1. */
#define TIMESTAMP_MAX ((UINT64_C(1) << 63) - 1)

#define CONFIG_FINGERPRINT                                                                         \
    ((uint64_t) DISK_FORMAT_VERSION << 56 | (uint64_t) EVENTS_PER_BATCH_MAX << 32 |                \
     (uint64_t) BATCHES_PER_PREPARE_MAX << 20 | (uint64_t) BLOCK_SIZE / SECTOR_SIZE)

static_assert(BLOCK_SIZE % SECTOR_SIZE == 0, "blocks are whole sectors");
static_assert(SECTOR_SIZE % PREPARE_HEADER_SIZE == 0, "headers do not straddle sectors");
static_assert(EVENTS_PER_BATCH_MAX < UINT16_MAX, "event counts are stored in 16 bits");
static_assert(BATCHES_PER_PREPARE_MAX < UINT16_MAX, "batch counts are stored in 16 bits");
static_assert(SUPERBLOCK_COPIES == 4, "quorums of superblock.c are for four copies");

#endif
