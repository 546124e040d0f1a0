/* SPDX-License-Identifier: PostgreSQL */
/*
 * Counting the block cache anew, from its frames and the blocks in them: by another way than the
 * one on which its counts came about.
 */
#include "lsm/block_cache.h"

/* What one frame says of itself. */
static void
frame_recount(const struct block_cache *cache, const struct frame *at)
{
    const uint64_t address = at->reference.address;
    const bool there = at->state == FRAME_READY || at->state == FRAME_WRITING;
    if (at->state == FRAME_FREE) assert(address == 0 && !at->kept && at->pins == 0);
    if (address != 0) assert(cache_presence(cache, address) != CACHE_ABSENT); /* In its chain. */
    if (at->extract_count > 0) { /* (B5) */
        assert(at->state != FRAME_WRITING && at->pins == 0 && !at->kept);
        assert(at->extract_first + at->extract_count <= BLOCK_SECTORS);
        return;
    }
    if (!there) return;
    const struct block_header *header = cache_block(cache, (uint32_t) (at - cache->frames));
    assert(header->address == address); /* (B1) */
    assert(header->checksum == at->reference.checksum);
}

/* No chain has an address twice, and all chains together have the frames with an address (B1). */
static void
chains_recount(const struct block_cache *cache, uint32_t entered)
{
    uint32_t chained = 0;
    for (uint32_t head = 0; head <= cache->head_mask; head++) {
        for (uint32_t at = cache->heads[head]; at != FRAME_NONE; at = cache->frames[at].next) {
            assert(chained < entered);
            chained += 1;
            const uint64_t address = cache->frames[at].reference.address;
            for (uint32_t other = cache->frames[at].next; other != FRAME_NONE;
                 other = cache->frames[other].next) {
                assert(cache->frames[other].reference.address != address);
            }
        }
    }
    assert(chained == entered);
}

static void
free_recount(const struct block_cache *cache, uint32_t free_count)
{
    uint32_t listed = 0;
    for (uint32_t at = cache->free_head; at != FRAME_NONE; at = cache->frames[at].next) {
        assert(cache->frames[at].state == FRAME_FREE);
        assert(listed < free_count);
        listed += 1;
    }
    assert(listed == free_count);
}

void
cache_recount(const struct block_cache *cache)
{
    uint32_t counts[FRAME_WRITING + 1] = {0};
    uint32_t available = 0;
    uint32_t available_kept = 0;
    uint32_t kept = 0;
    uint32_t entered = 0;
    cache_invariants(cache);
    for (uint32_t i = 0; i < cache->frame_count; i++) {
        const struct frame *at = &cache->frames[i];
        assert(at->state <= FRAME_WRITING);
        counts[at->state] += 1;
        const bool idle = at->state == FRAME_READY || at->state == FRAME_LOST;
        const bool to_be_had = at->state == FRAME_FREE || (idle && at->pins == 0);
        available += to_be_had;
        available_kept += to_be_had && at->kept;
        kept += at->kept;
        entered += at->reference.address != 0;
        frame_recount(cache, at);
    }
    assert(available == cache->available); /* (B3) */
    assert(available_kept == cache->available_kept);
    assert(kept == cache->kept); /* (B4) */
    assert(counts[FRAME_LOADING] == cache->reading);
    if (!cache->failed) assert(counts[FRAME_WRITING] == cache->writing);
    chains_recount(cache, entered);
    free_recount(cache, counts[FRAME_FREE]);
}
