/* SPDX-License-Identifier: PostgreSQL */
/*
 * The block cache: every block that is read, and every block that is being made, is in one of its
 * frames.
 *
 *      FREE ── cache_get: not here ──→ LOADING ── verified ──→ READY ──┐
 *        ▲                               │ damaged                     │ evicted (CLOCK,
 *        ├───────────────────────────────┴── LOST, asked once more     │ Corbató 1968)
 *        └──────────────────────────────────────────────────────────←──┤
 *      FREE ── cache_take ──→ BUILDING ── cache_seal ──→ WRITING ── durable ──→ READY
 *
 * The happy path of a read: cache_get answers CACHE_WAIT and starts the read; the caller comes back
 * later and gets CACHE_READY. What can go wrong: the block is damaged or unreadable (CACHE_LOST,
 * and cache->damage says which block); a write fails (`failed`, and the engine stops).
 *
 * Some blocks are *kept*: those that lookups pass through, which are index blocks, filter blocks
 * and blocks of ids. As long as they are at most three quarters of all frames, others are evicted
 * before them. So a record that is looked up by its id costs one read, however much else is read
 * just once.
 *
 * If only one entry of a block is wanted, an *extract* can be read: some of its sectors, verified
 * by sums that the caller knows. When more of the block is wanted later, the whole block is read
 * into the same frame: the second use shows that the block is worth it.
 *
 *      READY, an extract ── cache_get, cache_hint, or another extract is wanted ──→ LOADING, whole
 *
 * Blocks are written in the order in which they are sealed; neighbours on disk go out as one write.
 * A block that is being written can already be read. Nothing here decides what happens to the data:
 * two engines with caches of different size make the same files.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (B1) an address is in at most one frame, and a frame with an address holds that block, or an
 *       extract of it.
 *  (B2) a frame that is pinned, loading, being built or written is not evicted.
 *  (B3) `available` frames can be taken without waiting for anything.
 *  (B4) `kept` is how many frames have kept blocks; `available` is the sum of the available frames
 *       that are kept and of those that are not.
 *  (B5) an extract is neither pinned nor kept nor written, and never given to a caller that wants
 *       the whole block, or sectors that the extract lacks.
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
    struct block_reference reference; /* Address 0: the frame holds no block. */
    /* The next frame of its hash chain, or the next free frame. */
    uint32_t next;
    uint16_t pins;
    uint8_t state; /* enum frame_state */
    uint8_t used;  /* How many more passes of the clock's hand it survives. */
    uint8_t type;  /* enum block_type */
    uint8_t tree;
    bool kept : 1;     /* Frames that are not kept are evicted before this one. */
    bool io_error : 1; /* Set if it is LOST because it could not be read. */
    uint8_t extract_first; /* The first sector of an extract. */
    uint8_t extract_count; /* How many sectors an extract has; 0 means that the block is whole. */
    uint32_t record_count; /* From its header. It is 0 for an extract, which has no header. */
    uint64_t checked; /* Which checks its content has passed (lsm/table.h); 0 means none yet. */
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

/* Which block could not be read. */
struct cache_damage {
    uint64_t address;
    uint8_t tree;
    bool io_error;
};

struct block_cache {
    struct grid *grid;
    char *memory;
    struct frame *frames;
    uint32_t *heads; /* The hash chains: the first frame of each. */
    uint32_t *queue; /* Ring of the frames to be written, in the order in which they were sealed. */
    uint32_t frame_count;
    uint32_t head_mask;
    uint32_t free_head;
    uint32_t available; /* Frames that are free, or ready and not pinned, or lost. */
    uint32_t available_kept; /* How many of the available frames are kept. */
    uint32_t kept;
    /* The clock's two hands: one for frames that are not kept, one for those that are. */
    uint32_t clock_hands[2];
    uint32_t queue_start;
    uint32_t queue_count;
    uint32_t reading;
    /* Reads that have ended since the cache was opened, whether they succeeded or failed. */
    uint64_t reads_done;
    /* How many of the running reads are of addresses that were given to other blocks meanwhile. */
    uint32_t reading_stale;
    /* Frames that are sealed but not durable yet, including those in the queue. */
    uint32_t writing;
    struct cache_read *reads;   /* GRID_READS_MAX */
    struct cache_write *writes; /* GRID_WRITES_MAX */
    struct cache_damage damage;
    /* The address that the last CACHE_WAIT was about; 0 if its read could not be started. */
    uint64_t awaited;
    bool failed; /* A write failed. */
    struct cache_stats stats;
};

/* The arena may be one that only measures. */
void cache_init(
    struct block_cache *cache,
    struct arena *arena,
    struct grid *grid,
    uint32_t frame_count);

/* Call this after grid_open. It forgets everything. */
void cache_open(struct block_cache *cache);

enum cache_result {
    CACHE_READY,
    CACHE_WAIT, /* It is being read, or will be when there is room for another read. */
    CACHE_LOST, /* It is damaged or unreadable; cache->damage says which. */
};

/*
 * The frame of the block, if it is in memory; otherwise starts to read it. `tree` is only for
 * messages. The frame keeps this block while it is pinned, or else until the next cache_take, or
 * the next cache_get that isn't answered by CACHE_READY.
 */
enum cache_result cache_get(
    struct block_cache *cache,
    const struct block_reference *reference,
    enum block_type type,
    uint8_t tree,
    uint32_t *frame);

/*
 * The same for callers that need only an extract of a value block. The frame then has these sectors
 * in their places, and perhaps more of the block.
 */
enum cache_result cache_get_extract(
    struct block_cache *cache,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    uint8_t tree,
    uint32_t *frame);

/* How much of the block is in memory, or is being read. */
enum cache_presence { CACHE_ABSENT, CACHE_EXTRACT, CACHE_WHOLE };
enum cache_presence cache_presence(const struct block_cache *cache, uint64_t address);

/*
 * Reports a block whose checksum is right but whose content can't be: the block itself, or what
 * refers to it, was spoilt before its checksum was computed. Returns CACHE_LOST.
 */
enum cache_result cache_refuse(struct block_cache *cache, uint32_t frame);

/* The same for a block that may have left the cache. */
void cache_accuse(struct block_cache *cache, uint64_t address, uint8_t tree);

/* Is the block being read? As long as it is, those who wait for it need not ask again. */
bool cache_reads(const struct block_cache *cache, uint64_t address);

/*
 * Starts to read the block if it isn't in memory or only in part. Returns false if that can't be
 * done now.
 */
bool cache_hint(
    struct block_cache *cache,
    const struct block_reference *reference,
    enum block_type type,
    uint8_t tree);

/*
 * The same for several value blocks, in order; neighbours on disk are read together. Returns how
 * many of them, counted from the first, are now in memory or being read.
 */
uint32_t cache_hint_some(
    struct block_cache *cache,
    const struct block_reference *references,
    uint32_t count,
    uint8_t tree);

/* A frame to build a block in, pinned. Precondition: cache->available > 0 (B3). */
uint32_t cache_take(struct block_cache *cache);

/* Gives back a frame that was taken but isn't needed. */
void cache_untake(struct block_cache *cache, uint32_t frame);

/*
 * The block in the frame is complete except for what grid_block_seal fills in. Seals it at the
 * address, queues it to be written, and unpins it.
 */
struct block_reference cache_seal(struct block_cache *cache, uint32_t frame, uint64_t address);

/* The block, which was just sealed, will be read once and soon. It stays longer than others. */
void cache_favour(struct block_cache *cache, uint32_t frame);

/* Marks the block in the frame, which is ready, as kept (B4). */
void cache_keep(struct block_cache *cache, uint32_t frame);

/*
 * If the block is here, it becomes one of the first to be evicted: it will hardly be wanted again.
 */
void cache_leave(struct block_cache *cache, uint64_t address);

/* Can another read be started? If not, one of the running reads has to end first. */
static inline bool
cache_may_read(const struct block_cache *cache)
{
    return cache->reading < GRID_READS_MAX && cache->available > 0;
}

/* The block was released, so nobody will ask for it again. */
void cache_forget(struct block_cache *cache, uint64_t address);

void cache_pin(struct block_cache *cache, uint32_t frame);
void cache_unpin(struct block_cache *cache, uint32_t frame);

/* Is the block of this address sealed, and not durable yet? */
bool cache_writes(const struct block_cache *cache, uint64_t address);

/* Is a block being read that the grid has released? Nobody will want the result any more. */
bool cache_reads_released(const struct block_cache *cache);

/* Starts the queued writes, as far as they can be started. */
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

/* Does the frame still hold the whole block of this address? (B5) */
static inline bool
cache_holds(const struct block_cache *cache, uint32_t frame, uint64_t address)
{
    assert(frame < cache->frame_count);
    const struct frame *at = &cache->frames[frame];
    return at->reference.address == address && at->extract_count == 0 &&
           (at->state == FRAME_READY || at->state == FRAME_WRITING);
}

#endif
