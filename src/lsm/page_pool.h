/* SPDX-License-Identifier: PostgreSQL */
/*
 * All memory of the forest that grows, as one array of pages of BLOCK_SIZE bytes.
 *
 * A page of a tree is the image of its grid block: 256 bytes for the block header, then records.
 * Other pages hold buckets of row maps, or chunks (lsm/chunk_pool.h). Whoever needs a page takes
 * one, so no fixed split wastes memory. The forest promises pages before it takes them
 * (forest_reserve), so taking never fails (F3).
 */
#ifndef LEDGER_LSM_PAGE_POOL_H
#define LEDGER_LSM_PAGE_POOL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/assert.h"
#include "config.h"
#include "store/superblock.h"

#define PAGE_NONE      UINT32_MAX
#define PAGE_TREE_NONE UINT8_MAX

/*
 * Chunk numbers (64 bytes each) leave one bit of 32 to their users, so there are fewer pages than
 * this.
 */
#define PAGES_MAX ((UINT32_C(1) << 31) / (BLOCK_SIZE / 64))

struct page_info {
    struct block_reference reference; /* Of the copy in the newest checkpoint; address 0: none. */
    uint64_t address_next;            /* Where the running checkpoint writes it. */
    uint32_t index; /* Of the page in its tree; of a free page: the next free one. */
    uint8_t tree;   /* PAGE_TREE_NONE: not a tree's. */
    uint8_t reserved[3];
};

struct page_pool {
    char *base;
    struct page_info *infos;
    uint32_t page_count;
    uint32_t used_count;
    uint32_t fresh;     /* Pages from here on have never been taken. */
    uint32_t free_head; /* Pages that were given back. */
};

void page_pool_init(struct page_pool *pool, struct arena *arena, uint32_t page_count);

/* Precondition: page_pool_free_count > 0. The content is undefined. */
uint32_t page_pool_acquire(struct page_pool *pool, uint8_t tree);

void page_pool_release(struct page_pool *pool, uint32_t page);

static inline uint32_t
page_pool_free_count(const struct page_pool *pool)
{
    assert(pool->used_count <= pool->page_count);
    return pool->page_count - pool->used_count;
}

static inline void *
page_pool_data(const struct page_pool *pool, uint32_t page)
{
    assert(page < pool->page_count);
    return pool->base + (uint64_t) page * BLOCK_SIZE;
}

/* The page that the pointer points into. */
static inline uint32_t
page_pool_page_of(const struct page_pool *pool, const void *pointer)
{
    assert((const char *) pointer >= pool->base);
    const uint64_t offset = (uint64_t) ((const char *) pointer - pool->base);
    assert(offset < (uint64_t) pool->page_count * BLOCK_SIZE);
    return (uint32_t) (offset / BLOCK_SIZE);
}

#endif
