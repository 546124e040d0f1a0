/* SPDX-License-Identifier: PostgreSQL */
/*
 * The engine's façade: the only core header that the Postgres glue and tools include.
 *
 *     engine_format      once, over new files            (waits)
 *     engine_inspect     whose files are they?           (waits)
 *     engine_adopt       gives them to another owner     (waits)
 *     engine_create      takes all memory
 *     engine_open        superblock, checkpoint, journal, replay   (waits)
 *     engine_submit      lends a request to the engine
 *     engine_poll        runs completions, forms prepares, commits, answers
 *     engine_tick        every ENGINE_TICK_MS or so
 *     engine_scrub       how fast all blocks are looked at, in the background
 *
 * One thread calls everything. A request's callback runs inside engine_poll, or engine_tick if that
 * finds that the engine must stop; never inside engine_submit. A create is answered when its
 * prepare is durable and executed; a read is answered from what is committed, all of it as of one
 * moment between submit and answer, or as of an older one that it names: that of an earlier page.
 */
#ifndef LEDGER_ENGINE_ENGINE_H
#define LEDGER_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/queue.h"
#include "base/u128.h"
#include "io/clock.h"
#include "io/storage.h"
#include "ledger/ledger.h"
#include "store/journal.h"
#include "vsr/request.h"

#define ENGINE_TICK_MS 10

/* Which ledger the data directory holds, and whose. The host keeps a copy elsewhere to compare. */
struct engine_identity {
    u128 cluster;
    u128 incarnation;
    uint64_t system_identifier;
    uint8_t replica;
    uint8_t replica_count;
};

struct engine_options {
    uint64_t memory_bytes;        /* All that it takes. At least engine_memory_bytes_min(). */
    uint64_t prepares_size_bytes; /* Size of the prepares log: as the file is. */
    uint64_t grid_size_bytes;     /* Size of the grid: as the file is. */
    uint32_t requests_max;        /* Requests that are lent at the same time. */
    enum journal_sync wal_sync;   /* What an answer waits for: see doc/wal_order.md. */
    /* What is known of the ledger. Files that have not come so far are an older copy of it. */
    uint64_t op_min;
    uint64_t view_min;
};

/* ---- Requests -------------------------------------------------------------------------------- */

enum engine_status {
    ENGINE_OK,
    ENGINE_INVALID,     /* The input is not well-formed; `detail` says what. Nothing happened. */
    ENGINE_MEMORY_FULL, /* Nothing happened. */
    ENGINE_DISK_FULL,   /* Nothing happened. */
    ENGINE_FAILED,      /* The engine has stopped working (I/O error). The outcome is unknown. */
    ENGINE_DAMAGED,     /* A block that a read needs can't be read: `damage`. Others go on. */
    ENGINE_BUSY,        /* Another request of this kind is under way, and there may be one. */
};

/* A block of the grid that can't be read, or is not what was written. */
struct engine_damage {
    uint64_t block_address;
    const char *tree_name; /* NULL: not known. */
    bool io_error;         /* The disk said so; else the content is wrong. */
};

struct engine;
struct engine_request;
typedef void engine_callback(struct engine_request *request);

/* Owned by the caller, lent to the engine from submit to callback, with both buffers. */
struct engine_request {
    uint8_t operation; /* enum ledger_operation */
    const void *input; /* Events, ids, or one filter. Not changed by the caller meanwhile. */
    uint32_t input_size;
    void *reply; /* Must not overlap input. Creates: RESULT_SIZE bytes an event. */
    uint32_t reply_size_max;
    engine_callback *callback;

    /* Reads: of which state. If it is not known, of the present one, which is filled in. */
    struct ledger_instant instant;

    /* Filled before the callback. */
    enum engine_status status;
    uint32_t reply_size;
    const char *detail; /* For ENGINE_INVALID. */
    struct engine_damage damage; /* For ENGINE_DAMAGED. */

    /* Owned by the engine. */
    struct engine *engine;
    struct queue_link link;
    struct replica_request create;
    uint64_t submitted_ns;
};

/* ---- Opening --------------------------------------------------------------------------------- */

enum engine_open_result {
    ENGINE_OPENED,
    ENGINE_OPEN_ABSENT,          /* The superblock was never written: not formatted. */
    ENGINE_OPEN_SUPERBLOCK,      /* superblock_name says what is wrong with it. */
    ENGINE_OPEN_OTHER_IDENTITY,  /* Intact, but not the expected: `identity` is what it says. */
    ENGINE_OPEN_SIZE_MISMATCH,   /* A log is not as large as the superblock says. */
    ENGINE_OPEN_JOURNAL_DAMAGED, /* An acknowledged entry is damaged: `journal` says which. */
    ENGINE_OPEN_JOURNAL_SHORT,   /* The log ends at `op`, before what was surely committed. */
    ENGINE_OPEN_BEHIND,       /* It is whole up to `op`, but older than op_min or view_min say. */
    ENGINE_OPEN_GRID_CORRUPT, /* Block `block_address` of tree `tree_name` is damaged. */
    ENGINE_OPEN_MEMORY_TOO_SMALL, /* At least memory_bytes_needed are needed. */
    ENGINE_OPEN_DISK_FULL,
    ENGINE_OPEN_INVALID_PREPARE, /* Prepare `op` is intact, but not as this version makes it. */
    ENGINE_OPEN_IO_ERROR,
};

struct engine_open_report {
    const char *superblock_name;
    struct engine_identity identity;
    struct journal_report journal;
    uint64_t block_address;
    const char *tree_name;
    uint64_t memory_bytes_needed;
    uint32_t superblock_copies_repaired;
    uint64_t op; /* That was reached. */
    uint64_t ops_replayed;
};

/* Whatever options->memory_bytes is. */
uint64_t engine_memory_bytes_min(const struct engine_options *options);

/*
 * Writes the superblock of a new, empty ledger over zeroed files. Its last write makes the ledger
 * exist.
 */
enum engine_open_result engine_format(
    struct storage *storage,
    uint64_t prepares_size_bytes,
    const struct engine_identity *identity,
    void *scratch); /* ENGINE_FORMAT_SCRATCH bytes, sector aligned, zeroed. */
#define ENGINE_FORMAT_SCRATCH (UINT64_C(64) * KIB)

/* What the superblock says, which is less than what the log holds. */
struct engine_inspection {
    struct engine_identity identity;
    const char *superblock_name; /* What is wrong, for ENGINE_OPEN_SUPERBLOCK. */
    uint64_t commit_op;          /* The ledger came at least so far. */
    uint64_t checkpoint_timestamp;
    uint32_t view; /* How many times it was opened. */
};

/*
 * Reads the superblock and writes nothing: ENGINE_OPENED, ENGINE_OPEN_ABSENT or
 * ENGINE_OPEN_SUPERBLOCK. `scratch` as for engine_format.
 */
enum engine_open_result engine_inspect(
    struct storage *storage,
    void *scratch,
    struct engine_inspection *inspection);

/*
 * Makes the ledger that was just inspected belong to `owner`, which has its cluster and another
 * incarnation. Repairs the superblock first. After ENGINE_OPEN_IO_ERROR or a crash it belongs to
 * the old owner or to the new one.
 */
enum engine_open_result engine_adopt(
    struct storage *storage,
    void *scratch,
    const struct engine_identity *owner);

/*
 * Takes the engine out of options->memory_bytes zeroed bytes at `memory` (aligned to
 * ARENA_ALIGNMENT).
 */
struct engine *engine_create(
    void *memory,
    const struct engine_options *options,
    struct storage *storage,
    struct clock *clock);

enum engine_open_result engine_open(
    struct engine *engine,
    const struct engine_identity *expected,
    struct engine_open_report *report);

/* ---- Working --------------------------------------------------------------------------------- */

void engine_submit(struct engine *engine, struct engine_request *request);

/* Does what can be done now; true if something was done (then there may be more). Never blocks. */
bool engine_poll(struct engine *engine);

/* Things that depend on time: releases expired holds, lets the scrubber go on. */
void engine_tick(struct engine *engine);

/*
 * From now on, all live blocks are read and verified in the background, one after another, each
 * once in the interval. 0: none are. No scrubbing before the first call.
 */
void engine_scrub(struct engine *engine, uint64_t interval_ns);

/*
 * Gives up a LEDGER_VERIFY that is under way, which may take long: it is answered at once, from
 * inside this call. Not before engine_poll has seen it; any other request comes to its end by
 * itself. False: the request is none.
 */
bool engine_cancel(struct engine *engine, struct engine_request *request);

/* A damaged block that scrubbing has found; each is told once. False: there is none. */
bool engine_scrub_damage(struct engine *engine, struct engine_damage *damage);

/* Requests or writes are under way: the host should wait for storage, not only for new requests. */
bool engine_busy(const struct engine *engine);

/*
 * A write failed, or an op needs a block that can't be read: every request is answered
 * ENGINE_FAILED. The host must stop and open again.
 */
bool engine_failed(const struct engine *engine);

/* True if the engine has failed because of a block; then says which. */
bool engine_failed_on_damage(const struct engine *engine, struct engine_damage *damage);

/*
 * True while holds that have expired are not released, because a block that this needs is damaged;
 * then says which. Everything else goes on, and it is tried again every ten seconds.
 */
bool engine_pulse_damage(const struct engine *engine, struct engine_damage *damage);

/* ---- Monitoring ------------------------------------------------------------------------------ */

#define ENGINE_STATUS_CODES_MAX 80 /* Codes of create results; the last entry counts `created`. */

struct engine_state {
    uint64_t op;
    uint64_t commit;
    uint64_t checkpoint_op;
    uint64_t timestamp; /* The newest prepare's, in ns. */
    uint64_t wal_used_bytes;
    uint64_t wal_size_bytes;
    uint64_t grid_size_bytes;
    uint64_t grid_used_bytes;
    uint64_t memory_used_bytes; /* Memory that is in use, and couldn't be given up at once. */
    uint64_t memory_bytes;
    uint64_t cache_size_bytes; /* The size of the block cache. */
    uint64_t tables;
    uint64_t tables_max; /* With about so many tables, events are refused: ENGINE_MEMORY_FULL. */
    uint64_t accounts;
    uint64_t transfers;
    uint64_t scrub_tours; /* Number of tours that the scrubber has completed since the start. */
    uint64_t scrub_tour_blocks;  /* Number of blocks that the current tour has read. */
    uint64_t scrub_blocks_total; /* Number of live blocks. */
    /* Found damaged by tours, and live still when one came by last; or that pulses can't read. */
    uint64_t damaged_blocks;
    uint32_t view;
    uint8_t replica;
    uint8_t replica_count;
    bool failed;
};

struct engine_stats {
    uint64_t requests;
    uint64_t requests_refused; /* Memory or disk full, or not well-formed. */
    uint64_t reads;
    uint64_t prepares;
    uint64_t pulses;
    uint64_t pulses_skipped; /* Pulses that were not made because of a damaged block. */
    uint64_t account_events[ENGINE_STATUS_CODES_MAX];  /* By status. */
    uint64_t transfer_events[ENGINE_STATUS_CODES_MAX]; /* By status. */
    struct histogram events_per_prepare;
    struct histogram requests_per_prepare;
    struct histogram commit_latency_ns; /* From a create's submission to its answer. */
    uint64_t checkpoints;
    uint64_t blocks_written;
    uint64_t blocks_read; /* How many blocks were read, whole or in part. */
    uint64_t extracts_read; /* Of these, how many were read in part. */
    uint64_t cache_hits; /* Blocks that were in memory when they were asked for. */
    uint64_t cache_misses;
    uint64_t cache_evictions;
    struct journal_stats journal;
    struct storage_solo_stats solo_writes;
};

void engine_state_get(const struct engine *engine, struct engine_state *state);
void engine_stats_get(const struct engine *engine, struct engine_stats *stats);

#endif
