/* SPDX-License-Identifier: PostgreSQL */
/* See page_pool.h. */
#include "lsm/page_pool.h"

void
page_pool_init(struct page_pool *pool, struct arena *arena, uint32_t page_count)
{
    assert(page_count > 0);
    assert(page_count < PAGES_MAX);
    *pool = (struct page_pool){
        .base = arena_take(arena, page_count, BLOCK_SIZE, SECTOR_SIZE),
        .infos = arena_take(arena, page_count, sizeof(struct page_info), 16),
        .page_count = page_count,
        .free_head = PAGE_NONE,
    };
}

uint32_t
page_pool_acquire(struct page_pool *pool, uint8_t tree)
{
    assert(pool->used_count < pool->page_count);
    uint32_t page = pool->free_head;
    if (page == PAGE_NONE) {
        assert(pool->fresh < pool->page_count);
        page = pool->fresh;
        pool->fresh += 1;
    } else {
        pool->free_head = pool->infos[page].index;
    }
    pool->used_count += 1;
    pool->infos[page] = (struct page_info){.tree = tree};
    return page;
}

void
page_pool_release(struct page_pool *pool, uint32_t page)
{
    assert(page < pool->fresh);
    assert(pool->used_count > 0);
    assert(pool->infos[page].reference.address == 0);
    pool->used_count -= 1;
    pool->infos[page] = (struct page_info){.index = pool->free_head, .tree = PAGE_TREE_NONE};
    pool->free_head = page;
}
