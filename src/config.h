/* SPDX-License-Identifier: PostgreSQL */
/*
 * Every limit of the engine in one file.
 *
 * The core is compiled twice: with production limits into the extension, and with
 * LEDGER_CONFIG_TEST_MIN into unit tests and the simulator, so that logs wrap, blocks fill and
 * checkpoints happen all the time.
 *
 * A limit is one of two kinds, and its section says which:
 *  - Format: it decides bytes on disk, or what was promised when they were written. Each is part of
 *    CONFIG_FINGERPRINT, which is stored in the superblock. So a build with another value refuses
 *    the files, instead of reading tables that are larger than its arithmetic expects.
 *  - May change freely: it decides how much is done at a time, or held in memory. Files of one
 *    value are opened with any other.
 */
#ifndef LEDGER_CONFIG_H
#define LEDGER_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/units.h"

/* ---- Format, whatever the limits are --------------------------------------------------------- */

/* Version of everything on disk. A change of any on-disk structure increments it. */
#define DISK_FORMAT_VERSION 5

/* The unit of every disk access: offset, length and buffer address are multiples of it. */
#define SECTOR_SIZE 4096

#ifdef LEDGER_CONFIG_TEST_MIN

/* ---- Tiny limits: format --------------------------------------------------------------------- */

#define BLOCK_SIZE 8192
#define EVENTS_PER_BATCH_MAX 30
#define BATCHES_PER_PREPARE_MAX 8
#define PIPELINE_PREPARES_MAX 4
#define LSM_FANOUT 3
#define LSM_FANOUT_IDS 3
#define LSM_FANOUT_RECORDS 3
#define LSM_LEVELS 7
#define LEVEL_RUNS_MAX 12
#define TAIL_ENTRIES 64
#define OBJECTS_DIRTY_MAX 24
#define BEAT_ENTRIES 20
#define MERGE_TURNS 2
#define TABLE_BLOCKS_MAX 3
#define TABLE_FILTERED_MAX 300
#define TABLES_PER_NODE 4
#define INDEX_HASH_BITS 6

/* ---- Tiny limits: may change freely ---------------------------------------------------------- */

#define EXECUTE_EVENTS_MAX 8
#define GRID_GROW_BLOCKS 16
#define GRID_WRITES_MAX 4
#define GRID_READS_MAX 6
#define MERGE_BLOCKS_AHEAD 8
#define CURSOR_BLOCKS_AHEAD 1
#define GRID_READ_BLOCKS_MAX 3
#define PART_NODES_MIN 16
#define WARM_BLOCKS_MAX 40
#define STORAGE_BUFFERS_MAX 4
#define CHANGE_EVENTS_MAX 10
#define ENGINE_READS_MAX 3
#define READ_ROWS_PER_POLL 12
#define AS_OF_WALK_PER_ROW 2
#define PULSE_LOOKS_PER_POLL 10
#define PULSE_PASSED_MAX 40
#define VERIFY_ROWS_PER_POLL 100
#define VERIFY_ACCOUNTS_MAX 16
#define VERIFY_FINDINGS_MAX 8
#define PREPARES_SIZE_MIN PREPARES_SIZE_UNIT
#define RECOUNT_OPS 4

#else

/* ---- Format ---------------------------------------------------------------------------------- */

/* Bytes of a grid block, header included. */
#define BLOCK_SIZE 16384
/* Accounts or transfers that one batch may create. */
#define EVENTS_PER_BATCH_MAX 8190
/* Requests that share one prepare (group commit). */
#define BATCHES_PER_PREPARE_MAX 1000
/* Prepares that are made and not yet committed: every header says so (V4). */
#define PIPELINE_PREPARES_MAX 8
/* Runs of a level that are merged into one run of the next. */
#define LSM_FANOUT 16
/* The same of ids: a new one is looked for in every run. Time-ordered ones cost nothing. */
#define LSM_FANOUT_IDS 8
/* The same of records that change: what is obsolete takes space until it is merged away. */
#define LSM_FANOUT_RECORDS 8
/* Levels of a tree. */
#define LSM_LEVELS 7
/* Runs of a level, those that are being merged included. */
#define LEVEL_RUNS_MAX 40
/* New entries of an index or of a tree of ids that are sorted and written together. */
#define TAIL_ENTRIES 32768
/* Changed records (accounts, states of pending transfers) that are written together. */
#define OBJECTS_DIRTY_MAX 32768
/* Work that is due after an op is put off until so many entries have come. */
#define BEAT_ENTRIES 4096
/* Each merge works once in so many beats, as it has to find its places in all inputs again. */
#define MERGE_TURNS 4
/* Blocks with entries that a table has at most. */
#define TABLE_BLOCKS_MAX 188
/* Entries of a table that has a filter, at most. */
#define TABLE_FILTERED_MAX 131072
/* Tables are listed in memory by so many: what room is promised by. */
#define TABLES_PER_NODE 16
/* Values of 16 bytes are indexed by so many bits of their hash. */
#define INDEX_HASH_BITS 64

/* ---- May change freely ----------------------------------------------------------------------- */

/* Events that are executed at a time: about a millisecond. */
#define EXECUTE_EVENTS_MAX 1024
/* The grid file grows by so many blocks at a time. */
#define GRID_GROW_BLOCKS 4096
/* Block writes in flight: what bulk work fills while one prepare is executed. */
#define GRID_WRITES_MAX 16
/* Block reads in flight. */
#define GRID_READS_MAX 256
/* Blocks that a merge asks for ahead: three times what it takes in a turn. */
#define MERGE_BLOCKS_AHEAD 128
/* Blocks that a cursor which goes through a whole table asks for ahead. */
#define CURSOR_BLOCKS_AHEAD 24
/* Blocks that one read gets at most. */
#define GRID_READ_BLOCKS_MAX 8
/* The smallest forest has so many such lists for each part: two dozen runs, and many tables. */
#define PART_NODES_MIN 32
/* Blocks that are read after opening to have records in memory: half a gigabyte. */
#define WARM_BLOCKS_MAX 32768
/* Buffers that one write gathers: 256 KiB of blocks, from where on a disk gains little. */
#define STORAGE_BUFFERS_MAX 16
/* Rows that get_change_events returns at most: as many 384-byte rows as fit a megabyte. */
#define CHANGE_EVENTS_MAX 2730
/* Reads under way at a time; others wait for their turn. */
#define ENGINE_READS_MAX 16
/* Rows that reads look at before ops go on: below a millisecond, if nothing waits for the disk. */
#define READ_ROWS_PER_POLL 1024
/* Events that are walked along for each changed row, before each is sought in indexes instead. */
#define AS_OF_WALK_PER_ROW 64
/* Holds whose state is looked at, in search of those that are due, before other work goes on. */
#define PULSE_LOOKS_PER_POLL 1024
/* Resolved holds to look at again after a restart, before a pulse records that they are. */
#define PULSE_PASSED_MAX 65536
/* Rows that a verification looks at before other work goes on. */
#define VERIFY_ROWS_PER_POLL 512
/* Accounts whose balances are recomputed in one walk over all events. */
#define VERIFY_ACCOUNTS_MAX 32768
/* Findings that a verification lists; others are counted. */
#define VERIFY_FINDINGS_MAX 1000
/* The smallest prepares log: it must hold a full pipeline of the largest prepares, twice over. */
#define PREPARES_SIZE_MIN (UINT64_C(32) * MIB)
/* After so many ops, cache and objects are counted anew, which takes a walk over all; 0: never. */
#define RECOUNT_OPS 0

#endif

/* ---- Both: format ---------------------------------------------------------------------------- */

/* Accounts and transfers are both 128 bytes (accounting: one record layout each). */
#define EVENT_SIZE 128

/* The header of a prepare. */
#define PREPARE_HEADER_SIZE 256

/* So many headers of consecutive ops lie in as many sectors of the headers log. */
#define HEADERS_INTERLEAVED 4

/* Expired holds that one pulse releases at most. */
#define PULSE_EXPIRIES_MAX EVENTS_PER_BATCH_MAX

/*
 * A checkpoint is due after so many events, if not sooner: it bounds the time of a restart, and the
 * space of what merges have replaced since.
 */
#define CHECKPOINT_EVENTS_MAX (UINT64_C(128) * EVENTS_PER_BATCH_MAX)

/* Four copies, written one after another: at most one is torn by a crash, one more may rot. */
#define SUPERBLOCK_COPIES 4
#define SUPERBLOCK_COPY_STRIDE (UINT64_C(16) * KIB)
/* Headers of the log's end in the superblock: what may be uncommitted, and the op before. */
#define SUPERBLOCK_SUFFIX_MAX 9

/* Nodes that hold the ledger, and those of them that vote. View v is of slot v mod MEMBERS_MAX. */
#define MEMBERS_MAX 12
#define VOTERS_MAX 6

/* ---- What follows from them ------------------------------------------------------------------ */

/*
 * A prepare: header, then the records of all its batches, then the tables of batches and of origins
 * with their trailer (see vsr/multi_batch.h).
 */
#define PREPARE_BATCH_SIZE   8
#define PREPARE_ORIGIN_SIZE  32
#define PREPARE_TRAILER_SIZE 8
#define PREPARE_TABLES_SIZE_MAX                                                                    \
    ((PREPARE_BATCH_SIZE * BATCHES_PER_PREPARE_MAX + PREPARE_ORIGIN_SIZE * MEMBERS_MAX +           \
      PREPARE_TRAILER_SIZE + EVENT_SIZE - 1) /                                                     \
     EVENT_SIZE * EVENT_SIZE)
#define PREPARE_SIZE_MAX                                                                           \
    ((PREPARE_HEADER_SIZE + EVENTS_PER_BATCH_MAX * EVENT_SIZE + PREPARE_TABLES_SIZE_MAX +          \
      SECTOR_SIZE - 1) /                                                                           \
     SECTOR_SIZE * SECTOR_SIZE)

/* Headers that a view change has to look at: what may be uncommitted (V4), and one before. */
#define VIEW_HEADERS_MAX (PIPELINE_PREPARES_MAX + 1)

/* Rows that any read returns at most, but for change events. */
#define RESULTS_MAX EVENTS_PER_BATCH_MAX

/* Records that one op inserts into a tree, at most: one an event, or one an expiry. */
#define LOG_OP_RECORDS_MAX EVENTS_PER_BATCH_MAX

/* The largest record that a tree may have. */
#define FOREST_RECORD_SIZE_MAX 256

/* Runs of a tree, at all levels. */
#define TREE_RUNS_MAX (LEVEL_RUNS_MAX + LSM_LEVELS * (LEVEL_RUNS_MAX / 2))

#define SUPERBLOCK_FILE_SIZE (SUPERBLOCK_COPIES * SUPERBLOCK_COPY_STRIDE)

#define BLOCK_SECTORS (BLOCK_SIZE / SECTOR_SIZE)

#define HEADERS_PER_SECTOR (SECTOR_SIZE / PREPARE_HEADER_SIZE)

/* Ops whose headers share HEADERS_INTERLEAVED sectors of the headers log. */
#define HEADERS_PER_GROUP (HEADERS_INTERLEAVED * HEADERS_PER_SECTOR)

/* The size of a prepares log is a multiple of this: then the headers log has whole groups. */
#define PREPARES_SIZE_UNIT ((uint64_t) HEADERS_PER_GROUP * SECTOR_SIZE)

/*
 * The headers log has one entry for each sector of the prepares log. A prepare takes at least a
 * sector, so the headers log can never be the one that is full.
 */
static inline uint64_t
headers_log_count(uint64_t prepares_size_bytes)
{
    assert(prepares_size_bytes % PREPARES_SIZE_UNIT == 0);
    return prepares_size_bytes / SECTOR_SIZE;
}

/* Timestamps are nanoseconds, 1 … 2^63 − 1. */
#define TIMESTAMP_MAX ((UINT64_C(1) << 63) - 1)

/* ---- The fingerprint ------------------------------------------------------------------------- */

/* All limits that are format. tools/tidy.py compares the list with the sections above. */
#define CONFIG_FORMAT                                                                              \
    DISK_FORMAT_VERSION, SECTOR_SIZE, BLOCK_SIZE, EVENTS_PER_BATCH_MAX, BATCHES_PER_PREPARE_MAX,   \
        PIPELINE_PREPARES_MAX, LSM_FANOUT, LSM_FANOUT_IDS, LSM_FANOUT_RECORDS, LSM_LEVELS,         \
        LEVEL_RUNS_MAX, TAIL_ENTRIES, OBJECTS_DIRTY_MAX, BEAT_ENTRIES, MERGE_TURNS,                \
        TABLE_BLOCKS_MAX, TABLE_FILTERED_MAX, TABLES_PER_NODE, INDEX_HASH_BITS, EVENT_SIZE,        \
        PREPARE_HEADER_SIZE, PULSE_EXPIRIES_MAX, CHECKPOINT_EVENTS_MAX, SUPERBLOCK_COPIES,         \
        SUPERBLOCK_COPY_STRIDE, SUPERBLOCK_SUFFIX_MAX, MEMBERS_MAX, VOTERS_MAX,                   \
        HEADERS_INTERLEAVED

/* FNV-1a, byte by byte. */
static inline uint64_t
config_fingerprint(const uint64_t *values, uint32_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    assert(values != NULL);
    assert(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t bits = 0; bits < 64; bits += 8) {
            hash = (hash ^ (values[i] >> bits & 0xff)) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

#define CONFIG_FINGERPRINT                                                                         \
    config_fingerprint(                                                                            \
        (const uint64_t[]){CONFIG_FORMAT}, sizeof((uint64_t[]){CONFIG_FORMAT}) / sizeof(uint64_t))

static_assert(BLOCK_SIZE % SECTOR_SIZE == 0, "blocks are whole sectors");
static_assert(BLOCK_SECTORS >= 2, "a part of a block is less than the block");
static_assert(STORAGE_BUFFERS_MAX >= 2, "one buffer needs no gathering");
static_assert(SECTOR_SIZE % PREPARE_HEADER_SIZE == 0, "headers do not straddle sectors");
static_assert(MEMBERS_MAX <= 16, "voters are bits of 16");
static_assert(EVENTS_PER_BATCH_MAX < UINT16_MAX, "event counts are stored in 16 bits");
static_assert(BATCHES_PER_PREPARE_MAX < UINT16_MAX, "batch counts are stored in 16 bits");
static_assert(SUPERBLOCK_COPIES == 4, "quorums of superblock.c are for four copies");
static_assert(PIPELINE_PREPARES_MAX < SUPERBLOCK_SUFFIX_MAX, "the suffix has what is uncommitted");

#endif
