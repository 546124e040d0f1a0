/* SPDX-License-Identifier: PostgreSQL */
/*
 * Small memory of the indexes: chunks of two sizes, cut from pages.
 *
 * Small chunks (a cache line) are overflow buckets of row maps and first chunks of posting lists;
 * large ones are further chunks of posting lists and nodes of ordered indexes. A chunk's number is
 * its offset in the page pool in units of a small chunk. A page, once cut, stays cut: freed chunks
 * are taken again first.
 */
#ifndef LEDGER_LSM_CHUNK_POOL_H
#define LEDGER_LSM_CHUNK_POOL_H

#include <stdint.h>

#include "lsm/page_pool.h"

#define CHUNK_NONE       UINT32_MAX
#define CHUNK_SMALL_SIZE 64
#define CHUNK_LARGE_SIZE 256

enum chunk_kind { CHUNK_SMALL, CHUNK_LARGE };
#define CHUNK_KIND_COUNT 2

struct chunk_list {
    uint32_t free_head;
    uint32_t free_count;
    uint32_t fresh; /* Chunks of the newest page from here on have never been taken. */
    uint32_t fresh_count;
};

struct chunk_pool {
    struct page_pool *pages;
    struct chunk_list lists[CHUNK_KIND_COUNT];
};

void chunk_pool_init(struct chunk_pool *pool, struct page_pool *pages);

/* May take a page. The content is undefined. */
uint32_t chunk_pool_acquire(struct chunk_pool *pool, enum chunk_kind kind);

void chunk_pool_release(struct chunk_pool *pool, enum chunk_kind kind, uint32_t chunk);

/* How many can be taken without a new page. */
static inline uint64_t
chunk_pool_available(const struct chunk_pool *pool, enum chunk_kind kind)
{
    assert(kind == CHUNK_SMALL || kind == CHUNK_LARGE);
    return (uint64_t) pool->lists[kind].free_count + pool->lists[kind].fresh_count;
}

static inline void *
chunk_pool_data(const struct chunk_pool *pool, uint32_t chunk)
{
    assert(chunk < pool->pages->page_count * (BLOCK_SIZE / CHUNK_SMALL_SIZE));
    return pool->pages->base + (uint64_t) chunk * CHUNK_SMALL_SIZE;
}

#endif
