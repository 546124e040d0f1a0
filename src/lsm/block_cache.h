/* SPDX-License-Identifier: PostgreSQL */
/*
 * The block cache: every block that is read, and every block that is being made, is in one of its
 * frames.
 *
 *     FREE ── cache_get: not here ──→ LOADING ── verified ──→ READY ──┐
 *       ▲                               │ damaged                     │ evicted (CLOCK,
 *       ├───────────────────────────────┴── LOST, asked once more     │ Corbató 1968)
 *       └──────────────────────────────────────────────────────────←──┤
 *     FREE ── cache_take ──→ BUILDING ── cache_seal ──→ WRITING ── durable ──→ READY
 *
 * Blocks that lookups pass through, index and filter blocks and those with ids, are *kept*: as long
 * as they are no more than three quarters of all, others are evicted. So, however much is read once
 * only, a record that is looked up by its id costs one read.
 *
 * Of a block of which one entry is wanted, an *extract* can be read: some of its sectors, verified
 * by sums that the caller knows. Whoever wants more of the block has it read whole, into the same
 * frame: the second touch shows that the block is worth it.
 *
 *     READY, an extract ── cache_get, cache_hint, or another extract is wanted ──→ LOADING, whole
 *
 * Blocks are written in the order in which they are sealed; neighbours on disk go out as one write.
 * A block that is being written can be read already. Nothing here decides what happens to the data:
 * two engines with caches of different size make the same files.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (B1) an address is in at most one frame, and a frame with an address holds that block, or a
 *       part of it.
 *  (B2) a frame that is pinned, loading, being built or written is not evicted.
 *  (B3) `available` frames can be taken without waiting for anything.
 *  (B4) `kept` is how many frames have kept blocks; `available` is the sum of what is available of
 *       kept ones and of others.
 *  (B5) an extract is neither pinned nor kept nor written, and never given to who wants the whole
 *       block, or sectors that it has not.
 */
#ifndef LEDGER_LSM_BLOCK_CACHE_H
#define LEDGER_LSM_BLOCK_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "config.h"
#include "store/grid.h"

#define FRAME_NONE UINT32_MAX

enum frame_state {
    FRAME_FREE,
    FRAME_LOADING,
    FRAME_READY,
    FRAME_LOST,
    FRAME_BUILDING,
    FRAME_WRITING,
};

struct frame {
    struct block_reference reference; /* Address 0: none yet. */
    uint32_t next;                    /* In its hash chain, or the next free one. */
    uint16_t pins;
    uint8_t state; /* enum frame_state */
    uint8_t used;  /* CLOCK: passes that it survives. */
    uint8_t type;  /* enum block_type */
    uint8_t tree;
    bool kept : 1;     /* Others are evicted before. */
    bool io_error : 1; /* LOST: it could not be read. */
    uint8_t extract_first; /* Of an extract: its sectors. */
    uint8_t extract_count; /* 0: the block is whole. */
    uint32_t record_count; /* As its header says; an extract has none. */
    uint64_t checked; /* The checks that its content has passed (lsm/table.h). 0: none yet. */
};

struct block_cache;

struct cache_read {
    struct grid_read read;
    struct block_cache *cache;
    uint32_t frame;
    bool busy;
};

struct cache_write {
    struct grid_write write;
    struct block_cache *cache;
    uint32_t frames[GRID_WRITE_BLOCKS_MAX];
    uint32_t count;
    bool busy;
};

struct cache_stats {
    uint64_t hits;
    uint64_t misses;
    uint64_t evictions;
};

/* The block that could not be read. */
struct cache_damage {
    uint64_t address;
    uint8_t tree;
    bool io_error;
};

struct block_cache {
    struct grid *grid;
    char *memory;
    struct frame *frames;
    uint32_t *heads; /* Hash chains. */
    uint32_t *queue; /* Ring of frames to be written, in the order of sealing. */
    uint32_t frame_count;
    uint32_t head_mask;
    uint32_t free_head;
    uint32_t available; /* Frames that are free, or ready and not pinned, or lost. */
    uint32_t available_kept; /* How many of these are kept. */
    uint32_t kept;
    /* The hand of the frames that are not kept, and that of those that are. */
    uint32_t clock_hands[2];
    uint32_t queue_start;
    uint32_t queue_count;
    uint32_t reading;
    uint64_t reads_done; /* Since it was opened: they have come, or failed. */
    /* How many of these read addresses that belong to other blocks by now. */
    uint32_t reading_stale;
    uint32_t writing; /* Frames sealed and not durable, the queued ones included. */
    struct cache_read *reads;   /* GRID_READS_MAX */
    struct cache_write *writes; /* GRID_WRITES_MAX */
    struct cache_damage damage;
    uint64_t awaited; /* The block of the last CACHE_WAIT; 0: its read was not started. */
    bool failed; /* A write failed. */
    struct cache_stats stats;
};

/* NULL memory while measuring. */
void cache_init(
    struct block_cache *cache,
    struct arena *arena,
    struct grid *grid,
    uint32_t frame_count);

/* After grid_open: everything is forgotten. */
void cache_open(struct block_cache *cache);

enum cache_result {
    CACHE_READY,
    CACHE_WAIT, /* It is being read, or will be when there is room for another read. */
    CACHE_LOST, /* It is damaged or unreadable; cache->damage says which. */
};

/*
 * The block's frame, if it is in memory. Else starts to read it. `tree` is for messages. The frame
 * stays what it is until the next cache_take, or cache_get that does not say CACHE_READY, or as
 * long as it is pinned.
 */
enum cache_result cache_get(
    struct block_cache *cache,
    const struct block_reference *reference,
    enum block_type type,
    uint8_t tree,
    uint32_t *frame);

/*
 * The same for callers that need only an extract of a block with values: the frame has that in its
 * place, and perhaps more.
 */
enum cache_result cache_get_extract(
    struct block_cache *cache,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    uint8_t tree,
    uint32_t *frame);

/* What of the block is in memory, or on its way there? */
enum cache_presence { CACHE_ABSENT, CACHE_EXTRACT, CACHE_WHOLE };
enum cache_presence cache_presence(const struct block_cache *cache, uint64_t address);

/*
 * The block is whole, but what it says cannot be: it, or what refers to it, was spoilt before it
 * got its checksum. CACHE_LOST.
 */
enum cache_result cache_refuse(struct block_cache *cache, uint32_t frame);

/* The same of a block that need not be here any more. */
void cache_accuse(struct block_cache *cache, uint64_t address, uint8_t tree);

/* Is the block being read? What waited for it need not ask before it isn't any more. */
bool cache_reads(const struct block_cache *cache, uint64_t address);

/* Starts to read it if it isn't here, or not whole. False if that can't be done now. */
bool cache_hint(
    struct block_cache *cache,
    const struct block_reference *reference,
    enum block_type type,
    uint8_t tree);

/*
 * The same of several blocks with values, in order: what are neighbours on disk are one read.
 * Returns how many of them, from the first on, are here now or being read.
 */
uint32_t cache_hint_some(
    struct block_cache *cache,
    const struct block_reference *references,
    uint32_t count,
    uint8_t tree);

/* A frame to build a block in, pinned. Precondition: cache->available > 0 (B3). */
uint32_t cache_take(struct block_cache *cache);

/* A frame that was taken isn't needed. */
void cache_untake(struct block_cache *cache, uint32_t frame);

/*
 * The block in the frame is complete but for what grid_block_seal fills in: seals it at the
 * address, queues it to be written, unpins it.
 */
struct block_reference cache_seal(struct block_cache *cache, uint32_t frame, uint64_t address);

/* The block, just sealed, will be read soon, and once: it stays longer than others until then. */
void cache_favour(struct block_cache *cache, uint32_t frame);

/* The block in the frame, which is ready, is kept before others (B4). */
void cache_keep(struct block_cache *cache, uint32_t frame);

/* The block, if it is here, is among the first to be evicted: it will hardly be asked for again. */
void cache_leave(struct block_cache *cache, uint64_t address);

/* Can another read be started? If not, one of those under way has to end first. */
static inline bool
cache_may_read(const struct block_cache *cache)
{
    return cache->reading < GRID_READS_MAX && cache->available > 0;
}

/* The block is released: it won't be asked for again. */
void cache_forget(struct block_cache *cache, uint64_t address);

void cache_pin(struct block_cache *cache, uint32_t frame);
void cache_unpin(struct block_cache *cache, uint32_t frame);

/* Is the block of this address sealed, and not durable yet? */
bool cache_writes(const struct block_cache *cache, uint64_t address);

/* Is a block being read that the grid has released? What becomes of it nobody asks any more. */
bool cache_reads_released(const struct block_cache *cache);

/* Starts the writes that can be started. */
void cache_issue_writes(struct block_cache *cache);

/* Asserts what the counts say of each other between two calls (B2) (B3) (B4): some comparisons. */
void cache_invariants(const struct block_cache *cache);

/* The same, and that they and the chains are what the frames and blocks say: a walk over all. */
void cache_recount(const struct block_cache *cache);

static inline void *
cache_block(const struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    return cache->memory + (uint64_t) frame * BLOCK_SIZE;
}

static inline const char *
cache_content(const struct block_cache *cache, uint32_t frame)
{
    return (const char *) cache_block(cache, frame) + BLOCK_HEADER_SIZE;
}

/* Does the frame still hold the block of this address, whole? (B5) */
static inline bool
cache_holds(const struct block_cache *cache, uint32_t frame, uint64_t address)
{
    assert(frame < cache->frame_count);
    const struct frame *at = &cache->frames[frame];
    return at->reference.address == address && at->extract_count == 0 &&
           (at->state == FRAME_READY || at->state == FRAME_WRITING);
}

#endif
