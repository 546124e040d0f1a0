/* SPDX-License-Identifier: PostgreSQL */
/* See chunk_pool.h. */
#include "lsm/chunk_pool.h"

#include <string.h>

static_assert(BLOCK_SIZE % CHUNK_LARGE_SIZE == 0, "pages are cut without waste");
static_assert(CHUNK_LARGE_SIZE % CHUNK_SMALL_SIZE == 0, "large chunks have numbers too");

static const uint32_t chunk_units[CHUNK_KIND_COUNT] = {
    [CHUNK_SMALL] = 1,
    [CHUNK_LARGE] = CHUNK_LARGE_SIZE / CHUNK_SMALL_SIZE,
};

void
chunk_pool_init(struct chunk_pool *pool, struct page_pool *pages)
{
    assert(pages->used_count <= pages->page_count);
    assert(pages->page_count > 0);
    *pool = (struct chunk_pool){.pages = pages};
    for (int kind = 0; kind < CHUNK_KIND_COUNT; kind++) {
        pool->lists[kind].free_head = CHUNK_NONE;
    }
}

uint32_t
chunk_pool_acquire(struct chunk_pool *pool, enum chunk_kind kind)
{
    struct chunk_list *list = &pool->lists[kind];
    const uint32_t units = chunk_units[kind];
    if (list->free_count > 0) {
        const uint32_t chunk = list->free_head;
        assert(chunk != CHUNK_NONE);
        assert(chunk % units == 0);
        memcpy(&list->free_head, chunk_pool_data(pool, chunk), sizeof(uint32_t));
        list->free_count -= 1;
        return chunk;
    }
    if (list->fresh_count == 0) {
        const uint32_t page = page_pool_acquire(pool->pages, PAGE_TREE_NONE);
        list->fresh = page * (BLOCK_SIZE / CHUNK_SMALL_SIZE);
        list->fresh_count = BLOCK_SIZE / CHUNK_SMALL_SIZE / units;
    }
    const uint32_t chunk = list->fresh;
    list->fresh += units;
    list->fresh_count -= 1;
    return chunk;
}

void
chunk_pool_release(struct chunk_pool *pool, enum chunk_kind kind, uint32_t chunk)
{
    struct chunk_list *list = &pool->lists[kind];
    assert(chunk != CHUNK_NONE);
    assert(chunk % chunk_units[kind] == 0);
    memcpy(chunk_pool_data(pool, chunk), &list->free_head, sizeof(uint32_t));
    list->free_head = chunk;
    list->free_count += 1;
}
