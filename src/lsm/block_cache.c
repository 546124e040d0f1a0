/* SPDX-License-Identifier: PostgreSQL */
/* See block_cache.h. */
#include "lsm/block_cache.h"

#include <string.h>

#include "base/units.h"

/* How many passes of the clock's hand a block survives after it was read, made or used. */
/* Index and filter blocks, blocks of ids, and blocks that were just flushed. */
#define FRAME_USED_KEPT  3
#define FRAME_USED_OTHER 1

/* Kept blocks are protected while they are at most three quarters of all frames. */
#define CACHE_KEPT_SHARE(frame_count) ((frame_count) / 4 * 3)

static uint32_t
head_count_for(uint32_t frame_count)
{
    uint32_t count = 1;
    while (count < frame_count) count *= 2;
    return count;
}

void
cache_init(
    struct block_cache *cache, struct arena *arena, struct grid *grid, uint32_t frame_count)
{
    assert(frame_count > 0);
    assert(frame_count < UINT32_MAX / 2);
    const uint32_t head_count = head_count_for(frame_count);
    *cache = (struct block_cache){
        .grid = grid,
        .frame_count = frame_count,
        .head_mask = head_count - 1,
    };
    cache->frames = arena_take(arena, frame_count, sizeof(struct frame), sizeof(uint64_t));
    cache->heads = arena_take(arena, head_count, sizeof(uint32_t), sizeof(uint64_t));
    cache->queue = arena_take(arena, frame_count, sizeof(uint32_t), sizeof(uint64_t));
    cache->reads = arena_take(arena, GRID_READS_MAX, sizeof(struct cache_read), 16);
    cache->writes = arena_take(arena, GRID_WRITES_MAX, sizeof(struct cache_write), 16);
    cache->memory = arena_take(arena, frame_count, BLOCK_SIZE, SECTOR_SIZE);
}

void
cache_open(struct block_cache *cache)
{
    assert(cache->reading == 0);
    assert(cache->writing == 0);
    for (uint32_t i = 0; i <= cache->head_mask; i++) {
        cache->heads[i] = FRAME_NONE;
    }
    for (uint32_t i = 0; i < cache->frame_count; i++) {
        cache->frames[i] = (struct frame){
            .next = i + 1 < cache->frame_count ? i + 1 : FRAME_NONE,
            .state = FRAME_FREE,
        };
    }
    cache->free_head = 0;
    cache->clock_hands[0] = 0;
    cache->clock_hands[1] = 0;
    cache->available = cache->frame_count;
    cache->available_kept = 0;
    cache->kept = 0;
    cache->queue_start = 0;
    cache->queue_count = 0;
    cache->reads_done = 0;
    cache->reading_stale = 0;
    cache->failed = false;
    for (uint32_t i = 0; i < GRID_READS_MAX; i++) {
        cache->reads[i] = (struct cache_read){.cache = cache};
    }
    for (uint32_t i = 0; i < GRID_WRITES_MAX; i++) {
        cache->writes[i] = (struct cache_write){.cache = cache};
    }
}

/* ---- Addresses ----------------------------------------------------------------------------- */

static uint32_t *
chain_of(const struct block_cache *cache, uint64_t address)
{
    assert(address != 0);
    /* Blocks with neighbouring addresses are used together. Any odd multiplier spreads them. */
    const uint64_t mixed = address * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->heads[(mixed >> 32) & cache->head_mask];
}

static uint32_t
frame_find(const struct block_cache *cache, uint64_t address)
{
    uint32_t frame = *chain_of(cache, address);
    while (frame != FRAME_NONE && cache->frames[frame].reference.address != address) {
        frame = cache->frames[frame].next;
    }
    return frame;
}

static void
frame_enter(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    uint32_t *head = chain_of(cache, cache->frames[frame].reference.address);
    assert(frame_find(cache, cache->frames[frame].reference.address) == FRAME_NONE); /* (B1) */
    cache->frames[frame].next = *head;
    *head = frame;
}

static void
frame_leave(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    uint32_t *link = chain_of(cache, cache->frames[frame].reference.address);
    while (*link != frame) {
        assert(*link != FRAME_NONE);
        link = &cache->frames[*link].next;
    }
    *link = cache->frames[frame].next;
}

/* ---- Frames -------------------------------------------------------------------------------- */

/* A lost block counts as available too (B3): it may be that nobody asks for it again. */
static bool
frame_available(const struct frame *frame)
{
    assert(frame->state != FRAME_FREE || frame->pins == 0);
    if (frame->state == FRAME_FREE) return true;
    return (frame->state == FRAME_READY || frame->state == FRAME_LOST) && frame->pins == 0;
}

/* Counts a frame that has just become available. */
static void
frame_offer(struct block_cache *cache, const struct frame *at)
{
    assert(frame_available(at));
    cache->available += 1;
    if (at->kept) cache->available_kept += 1;
}

/* Counts a frame that isn't available any more. */
static void
frame_withdraw(struct block_cache *cache, const struct frame *at)
{
    assert(frame_available(at));
    assert(cache->available > 0);
    cache->available -= 1;
    if (at->kept) cache->available_kept -= 1;
}

/* Empties the frame's description: what it holds is no block any more. */
static void
frame_vacate(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    struct frame *at = &cache->frames[frame];
    assert(at->pins == 0);
    if (at->kept) cache->kept -= 1;
    *at = (struct frame){.state = FRAME_FREE};
}

/* Makes a frame free and available. It has left its hash chain and isn't counted as available. */
static void
frame_free(struct block_cache *cache, uint32_t frame)
{
    assert(cache->frames[frame].state != FRAME_FREE);
    frame_vacate(cache, frame);
    cache->frames[frame].next = cache->free_head;
    cache->free_head = frame;
    frame_offer(cache, &cache->frames[frame]);
}

/* The next frame to evict, kept or not: the first one not used since the hand last came by. */
static uint32_t
clock_next(struct block_cache *cache, bool kept)
{
    assert(cache->available > 0);
    assert(kept ? cache->available_kept > 0 : cache->available > cache->available_kept);
    uint32_t *hand = &cache->clock_hands[kept];
    for (;;) {
        const uint32_t frame = *hand;
        struct frame *at = &cache->frames[frame];
        *hand = frame + 1 < cache->frame_count ? frame + 1 : 0;
        if (at->kept != kept || !frame_available(at)) continue;
        if (at->used == 0) return frame;
        at->used -= 1;
    }
}

/* A free frame, which counts as available no more. If none is free, a block is evicted (B2). */
static uint32_t
frame_acquire(struct block_cache *cache)
{
    assert(cache->available > 0);
    uint32_t frame = cache->free_head;
    if (frame != FRAME_NONE) {
        cache->free_head = cache->frames[frame].next;
        frame_withdraw(cache, &cache->frames[frame]);
        return frame;
    }
    bool kept = cache->kept > CACHE_KEPT_SHARE(cache->frame_count);
    if (cache->available_kept == 0) kept = false;
    if (cache->available_kept == cache->available) kept = true;
    frame = clock_next(cache, kept);
    assert(cache->frames[frame].pins == 0); /* (B2) */
    frame_leave(cache, frame);
    frame_withdraw(cache, &cache->frames[frame]);
    frame_vacate(cache, frame);
    cache->stats.evictions += 1;
    return frame;
}

void
cache_keep(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_READY || at->state == FRAME_WRITING);
    assert(at->extract_count == 0); /* (B5) */
    if (at->kept) return;
    at->kept = true;
    cache->kept += 1;
    if (frame_available(at)) cache->available_kept += 1;
}

void
cache_pin(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_READY || at->state == FRAME_WRITING);
    assert(at->extract_count == 0); /* (B5) */
    assert(at->pins < UINT16_MAX);
    if (frame_available(at)) frame_withdraw(cache, at);
    at->pins += 1;
}

void
cache_unpin(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_READY || at->state == FRAME_WRITING);
    assert(at->pins > 0);
    at->pins -= 1;
    if (frame_available(at)) frame_offer(cache, at);
}

/* ---- Reading ------------------------------------------------------------------------------- */

/* Blocks that lookups pass through on their way are kept. */
static bool
type_kept(enum block_type type)
{
    return type == BLOCK_INDEX || type == BLOCK_FILTER;
}

static void
cache_on_read(struct grid_read *grid_read, enum grid_result result)
{
    struct cache_read *read = container_of(grid_read, struct cache_read, read);
    struct block_cache *cache = read->cache;
    struct frame *at = &cache->frames[read->frame];
    assert(read->busy);
    assert(cache->reading > 0);
    assert(at->pins == 0); /* (B2) */
    assert(at->state == FRAME_LOADING);
    read->busy = false;
    cache->reading -= 1;
    cache->reads_done += 1;
    if (at->reference.address == 0) {
        frame_free(cache, read->frame); /* Meanwhile its address was given to another block. */
        assert(cache->reading_stale > 0);
        cache->reading_stale -= 1;
        cache_issue_writes(cache);
        return;
    }
    at->state = result == GRID_OK ? FRAME_READY : FRAME_LOST;
    at->io_error = result == GRID_IO_ERROR;
    const struct block_header *header = cache_block(cache, read->frame);
    at->record_count = at->extract_count == 0 ? header->record_count : 0;
    frame_offer(cache, at);
}

static uint8_t
type_used(enum block_type type)
{
    assert(type != BLOCK_RESERVED);
    return type_kept(type) ? FRAME_USED_KEPT : FRAME_USED_OTHER;
}

/* Takes a read request for the frame, which is LOADING. */
static struct cache_read *
read_take(struct block_cache *cache, uint32_t frame)
{
    uint32_t number = 0;
    assert(cache->frames[frame].state == FRAME_LOADING);
    assert(cache->reading < GRID_READS_MAX);
    while (cache->reads[number].busy) number += 1;
    struct cache_read *read = &cache->reads[number];
    read->frame = frame;
    read->busy = true;
    cache->reading += 1;
    cache->stats.misses += 1;
    return read;
}

/* Starts to read the block, or only the extract if one is given. */
static void
read_start(struct block_cache *cache, uint32_t frame, const struct grid_extract *extract)
{
    const struct frame *at = &cache->frames[frame];
    struct cache_read *read = read_take(cache, frame);
    struct grid *grid = cache->grid;
    void *block = cache_block(cache, frame);
    const bool started =
        extract == NULL
            ? grid_read_block_start(
                  grid, &read->read, &at->reference, (enum block_type) at->type, block,
                  cache_on_read)
            : grid_read_extract_start(
                  grid, &read->read, &at->reference, extract, block, cache_on_read);
    assert(started);
}

/* A frame for a block, or an extract, that is about to be read. Precondition: cache_may_read. */
static uint32_t
frame_load(
    struct block_cache *cache,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    enum block_type type,
    uint8_t tree)
{
    assert(reference->address != 0);
    assert(cache_may_read(cache));
    const uint32_t frame = frame_acquire(cache);
    struct frame *at = &cache->frames[frame];
    assert(!at->kept);
    *at = (struct frame){
        .reference = *reference,
        .kept = type_kept(type),
        .state = FRAME_LOADING,
        .used = type_used(type),
        .type = (uint8_t) type,
        .tree = tree,
        .extract_first = extract == NULL ? 0 : (uint8_t) extract->first,
        .extract_count = extract == NULL ? 0 : (uint8_t) extract->count,
    };
    assert(extract == NULL || !at->kept); /* (B5) */
    if (at->kept) cache->kept += 1;
    frame_enter(cache, frame);
    return frame;
}

/* The frame has an extract. Starts to read the whole block, if that is possible now. */
static void
cache_complete(struct block_cache *cache, uint32_t frame)
{
    struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_READY);
    assert(at->extract_count > 0);
    if (!cache_may_read(cache)) return;
    frame_withdraw(cache, at);
    *at = (struct frame){
        .reference = at->reference,
        .next = at->next,
        .state = FRAME_LOADING,
        .used = type_used((enum block_type) at->type),
        .type = at->type,
        .tree = at->tree,
    };
    read_start(cache, frame, NULL);
}

/* Does the frame have what is wanted: the whole block, or all sectors of the extract? (B5) */
static bool
frame_serves(const struct frame *at, const struct grid_extract *extract)
{
    assert(at->extract_first + at->extract_count <= BLOCK_SECTORS);
    if (at->extract_count == 0) return true;
    return extract != NULL && extract->first >= at->extract_first &&
           extract->first + extract->count <= (uint32_t) at->extract_first + at->extract_count;
}

/* True if no block has this address. Then nobody may wait for its read. */
static bool
cache_beyond(const struct block_cache *cache, const struct block_reference *reference)
{
    return reference->address > cache->grid->block_count;
}

/* Reports the damage and frees the frame, so that the next who asks reads the block again. */
static enum cache_result
cache_lose(struct block_cache *cache, uint32_t frame)
{
    const struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_LOST);
    assert(at->reference.address != 0);
    cache->damage = (struct cache_damage){
        .address = at->reference.address,
        .tree = at->tree,
        .io_error = at->io_error,
    };
    frame_leave(cache, frame);
    frame_withdraw(cache, at);
    frame_free(cache, frame);
    return CACHE_LOST;
}

enum cache_result
cache_refuse(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    const struct frame *at = &cache->frames[frame];
    assert(at->reference.address != 0);
    assert(at->state != FRAME_FREE && at->state != FRAME_BUILDING);
    cache_accuse(cache, at->reference.address, at->tree);
    return CACHE_LOST;
}

void
cache_accuse(struct block_cache *cache, uint64_t address, uint8_t tree)
{
    assert(address != 0);
    cache->damage = (struct cache_damage){.address = address, .tree = tree};
}

/* What getting a block and getting an extract have in common. NULL extract: the whole block. */
static enum cache_result
cache_obtain(
    struct block_cache *cache,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    enum block_type type,
    uint8_t tree,
    uint32_t *frame)
{
    assert(reference->address != 0);
    uint32_t found = frame_find(cache, reference->address);
    if (found == FRAME_NONE) {
        if (cache_beyond(cache, reference)) {
            cache->damage = (struct cache_damage){.address = reference->address, .tree = tree};
            return CACHE_LOST;
        }
        if (!cache_may_read(cache)) {
            /* No read is free at the moment. The caller waits for room, not for a certain block. */
            cache->awaited = 0;
            return CACHE_WAIT;
        }
        found = frame_load(cache, reference, extract, type, tree);
        read_start(cache, found, extract);
    }
    struct frame *at = &cache->frames[found];
    /* (B1) Two references name this address and disagree, so one of them is damaged. */
    if (at->reference.checksum != reference->checksum || at->type != type) {
        return cache_refuse(cache, found);
    }
    switch ((enum frame_state) at->state) {
    case FRAME_LOADING: cache->awaited = reference->address; return CACHE_WAIT;
    case FRAME_LOST: return cache_lose(cache, found);
    case FRAME_READY:
    case FRAME_WRITING:
        if (!frame_serves(at, extract)) {
            cache_complete(cache, found);
            cache->awaited = at->state == FRAME_LOADING ? reference->address : 0;
            return CACHE_WAIT;
        }
        at->used = type_used((enum block_type) at->type);
        cache->stats.hits += 1;
        *frame = found;
        return CACHE_READY;
    case FRAME_FREE:
    case FRAME_BUILDING: break;
    }
    unreachable();
}

enum cache_result
cache_get(
    struct block_cache *cache,
    const struct block_reference *reference,
    enum block_type type,
    uint8_t tree,
    uint32_t *frame)
{
    const enum cache_result result = cache_obtain(cache, reference, NULL, type, tree, frame);
    assert(result != CACHE_READY || cache->frames[*frame].extract_count == 0); /* (B5) */
    return result;
}

enum cache_result
cache_get_extract(
    struct block_cache *cache,
    const struct block_reference *reference,
    const struct grid_extract *extract,
    uint8_t tree,
    uint32_t *frame)
{
    assert(extract->count > 0 && extract->count < BLOCK_SECTORS);
    assert(extract->first + extract->count <= BLOCK_SECTORS);
    return cache_obtain(cache, reference, extract, BLOCK_VALUES, tree, frame);
}

/* May this block be read ahead? What is needed now goes first. */
static bool
may_hint(const struct block_cache *cache, const struct block_reference *reference)
{
    if (cache->reading >= GRID_READS_MAX / 4 * 3 || cache_beyond(cache, reference)) return false;
    return cache_may_read(cache);
}

bool
cache_hint(
    struct block_cache *cache,
    const struct block_reference *reference,
    enum block_type type,
    uint8_t tree)
{
    assert(reference->address != 0);
    const uint32_t found = frame_find(cache, reference->address);
    const bool extract = found != FRAME_NONE && cache->frames[found].state == FRAME_READY &&
                      cache->frames[found].extract_count > 0;
    if (found != FRAME_NONE && !extract) {
        struct frame *at = &cache->frames[found];
        at->used = (uint8_t) max_u64(at->used, FRAME_USED_OTHER);
        return true;
    }
    if (!may_hint(cache, reference)) return false;
    if (extract) {
        cache_complete(cache, found);
    } else {
        read_start(cache, frame_load(cache, reference, NULL, type, tree), NULL);
    }
    return true;
}

/* How many of the blocks, counted from the first, can be fetched by one read now. */
static uint32_t
hint_count(
    const struct block_cache *cache, const struct block_reference *references, uint32_t count)
{
    uint32_t taken = 0;
    const uint32_t most = (uint32_t) min_u64(count, GRID_READ_BLOCKS_MAX);
    for (; taken < most; taken++) {
        const struct block_reference *next = &references[taken];
        if (next->address != references[0].address + taken) break;
        if (!may_hint(cache, next) || frame_find(cache, next->address) != FRAME_NONE) break;
    }
    const uint32_t reads = GRID_READS_MAX - cache->reading;
    return (uint32_t) min_u64(taken, min_u64(reads, cache->available));
}

uint32_t
cache_hint_some(
    struct block_cache *cache,
    const struct block_reference *references,
    uint32_t count,
    uint8_t tree)
{
    uint32_t done = 0;
    assert(count > 0);
    while (done < count) {
        const struct block_reference *next = &references[done];
        const uint32_t together = hint_count(cache, next, count - done);
        if (together < 2) {
            if (!cache_hint(cache, next, BLOCK_VALUES, tree)) return done;
            done += 1;
            continue;
        }
        struct grid_read *reads[GRID_READ_BLOCKS_MAX];
        void *blocks[GRID_READ_BLOCKS_MAX];
        for (uint32_t i = 0; i < together; i++) {
            const uint32_t frame = frame_load(cache, &next[i], NULL, BLOCK_VALUES, tree);
            reads[i] = &read_take(cache, frame)->read;
            blocks[i] = cache_block(cache, frame);
        }
        grid_read_blocks_start(cache->grid, reads, next, together, blocks, cache_on_read);
        done += together;
    }
    return done;
}

enum cache_presence
cache_presence(const struct block_cache *cache, uint64_t address)
{
    const uint32_t frame = frame_find(cache, address);
    if (frame == FRAME_NONE) return CACHE_ABSENT;
    return cache->frames[frame].extract_count > 0 ? CACHE_EXTRACT : CACHE_WHOLE;
}

bool
cache_reads(const struct block_cache *cache, uint64_t address)
{
    const uint32_t frame = frame_find(cache, address);
    return frame != FRAME_NONE && cache->frames[frame].state == FRAME_LOADING;
}

bool
cache_writes(const struct block_cache *cache, uint64_t address)
{
    const uint32_t frame = frame_find(cache, address);
    return frame != FRAME_NONE && cache->frames[frame].state == FRAME_WRITING;
}

bool
cache_reads_released(const struct block_cache *cache)
{
    if (cache->reading == 0) return false;
    for (uint32_t i = 0; i < GRID_READS_MAX; i++) {
        const struct cache_read *read = &cache->reads[i];
        if (!read->busy) continue;
        if (grid_is_released(cache->grid, read->read.reference.address)) return true;
    }
    return false;
}

void
cache_leave(struct block_cache *cache, uint64_t address)
{
    const uint32_t frame = frame_find(cache, address);
    if (frame != FRAME_NONE) cache->frames[frame].used = 0;
}

void
cache_forget(struct block_cache *cache, uint64_t address)
{
    const uint32_t frame = frame_find(cache, address);
    if (frame == FRAME_NONE) return;
    struct frame *at = &cache->frames[frame];
    /* Being read or written, it can't leave at once. The clock evicts it soon after. */
    if (!frame_available(at)) {
        at->used = 0;
        return;
    }
    frame_leave(cache, frame);
    frame_withdraw(cache, at);
    frame_free(cache, frame);
}

/* ---- Making and writing -------------------------------------------------------------------- */

uint32_t
cache_take(struct block_cache *cache)
{
    const uint32_t frame = frame_acquire(cache);
    assert(frame < cache->frame_count);
    cache->frames[frame] = (struct frame){.state = FRAME_BUILDING, .pins = 1};
    return frame;
}

void
cache_untake(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    assert(cache->frames[frame].state == FRAME_BUILDING);
    assert(cache->frames[frame].pins == 1);
    cache->frames[frame].pins = 0;
    frame_free(cache, frame);
}

/* Drops an older block of this address, which was released and given out again (B1). */
static void
cache_drop_stale(struct block_cache *cache, uint64_t address)
{
    const uint32_t stale = frame_find(cache, address);
    if (stale == FRAME_NONE) return;
    struct frame *at = &cache->frames[stale];
    assert(at->pins == 0);
    assert(at->state == FRAME_READY || at->state == FRAME_LOADING || at->state == FRAME_LOST);
    frame_leave(cache, stale);
    if (at->state == FRAME_LOADING) {
        at->reference.address = 0; /* The frame is freed when the read is done. */
        cache->reading_stale += 1;
        return;
    }
    frame_withdraw(cache, at);
    frame_free(cache, stale);
}

void
cache_favour(struct block_cache *cache, uint32_t frame)
{
    assert(frame < cache->frame_count);
    struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_WRITING);
    at->used = FRAME_USED_KEPT;
}

struct block_reference
cache_seal(struct block_cache *cache, uint32_t frame, uint64_t address)
{
    assert(frame < cache->frame_count);
    assert(address != 0);
    struct frame *at = &cache->frames[frame];
    assert(at->state == FRAME_BUILDING);
    assert(at->pins == 1);
    assert(cache->queue_count < cache->frame_count);
    const struct block_header *header = cache_block(cache, frame);
    *at = (struct frame){
        .reference = grid_block_seal(cache->grid, cache_block(cache, frame), address),
        .kept = type_kept((enum block_type) header->type),
        .state = FRAME_WRITING,
        .used = type_used((enum block_type) header->type),
        .type = header->type,
        .tree = header->tree,
        .record_count = header->record_count,
    };
    if (at->kept) cache->kept += 1;
    cache_drop_stale(cache, address);
    frame_enter(cache, frame);
    cache->queue[(cache->queue_start + cache->queue_count) % cache->frame_count] = frame;
    cache->queue_count += 1;
    cache->writing += 1;
    return at->reference;
}

static void
cache_on_written(struct grid_write *grid_write, enum grid_result result)
{
    struct cache_write *write = container_of(grid_write, struct cache_write, write);
    struct block_cache *cache = write->cache;
    assert(write->busy);
    assert(write->count > 0 && write->count <= GRID_WRITE_BLOCKS_MAX);
    assert(cache->writing >= write->count);
    write->busy = false;
    cache->writing -= write->count;
    if (result != GRID_OK) {
        cache->failed = true;
        return;
    }
    for (uint32_t i = 0; i < write->count; i++) {
        struct frame *at = &cache->frames[write->frames[i]];
        assert(at->state == FRAME_WRITING);
        at->state = FRAME_READY;
        if (at->pins == 0) frame_offer(cache, at);
    }
    cache_issue_writes(cache);
}

/* Takes the next blocks from the queue, as long as they are neighbours on disk. */
static void
write_gather(struct block_cache *cache, struct cache_write *write)
{
    assert(!write->busy);
    assert(cache->queue_count > 0);
    void *blocks[GRID_WRITE_BLOCKS_MAX];
    uint64_t address = 0;
    write->count = 0;
    while (cache->queue_count > 0 && write->count < GRID_WRITE_BLOCKS_MAX) {
        const uint32_t frame = cache->queue[cache->queue_start];
        const uint64_t next = cache->frames[frame].reference.address;
        assert(next != 0);
        if (write->count > 0 && next != address + 1) break;
        address = next;
        write->frames[write->count] = frame;
        blocks[write->count] = cache_block(cache, frame);
        write->count += 1;
        cache->queue_start = (cache->queue_start + 1) % cache->frame_count;
        cache->queue_count -= 1;
    }
    write->busy = true;
    grid_write_blocks(cache->grid, &write->write, blocks, write->count, cache_on_written);
}

void
cache_issue_writes(struct block_cache *cache)
{
    /*
     * The storage gives no order to a read and a write of one address, so they never run together.
     */
    if (cache->reading_stale > 0) return;
    for (uint32_t number = 0; number < GRID_WRITES_MAX && cache->queue_count > 0; number++) {
        if (cache->failed) return;
        if (!cache->writes[number].busy) write_gather(cache, &cache->writes[number]);
    }
}

/* ---- Invariants ---------------------------------------------------------------------------- */

void
cache_invariants(const struct block_cache *cache)
{
    /* Reads have a place each. Writes wait for those of stale blocks, as long as there are any. */
    assert(cache->reading <= GRID_READS_MAX);
    assert(cache->reading_stale <= cache->reading);
    assert(cache->queue_count <= cache->writing);
    /*
     * (B2) (B3) Frames with transfers under way are not available: or else a frame would be evicted
     * that the disk still writes into, or cache_take would find none where one was counted.
     */
    assert(cache->available <= cache->frame_count);
    assert((uint64_t) cache->reading + cache->writing <= cache->frame_count - cache->available);
    /* (B4) By these the clock chooses its hand; if they were wrong, it would turn for ever. */
    assert(cache->available_kept <= cache->available);
    assert(cache->available_kept <= cache->kept);
    assert(cache->kept - cache->available_kept <= cache->frame_count - cache->available);
    assert(cache->clock_hands[0] < cache->frame_count);
    assert(cache->clock_hands[1] < cache->frame_count);
}
