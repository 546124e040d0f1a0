/* SPDX-License-Identifier: PostgreSQL */
/* See row_map.h. */
#include "lsm/row_map.h"

#include "base/units.h"

static_assert((ROW_MAP_BUCKETS_PER_PAGE & (ROW_MAP_BUCKETS_PER_PAGE - 1)) == 0, "a power of two");

static void
row_map_take_page(struct row_map *map)
{
    assert(map->page_count * ROW_MAP_BUCKETS_PER_PAGE == map->bucket_count || map->page_count == 0);
    assert(map->page_count < map->pool->page_count);
    const uint32_t page = page_pool_acquire(map->pool, PAGE_TREE_NONE);
    struct row_map_bucket *buckets = page_pool_data(map->pool, page);
    for (uint32_t i = 0; i < ROW_MAP_BUCKETS_PER_PAGE; i++) {
        buckets[i] = (struct row_map_bucket){.overflow = CHUNK_NONE};
    }
    map->pages[map->page_count] = page;
    map->page_count += 1;
}

void
row_map_init(
    struct row_map *map, struct arena *arena, struct page_pool *pool, struct chunk_pool *chunks)
{
    assert(chunks->pages == pool);
    *map = (struct row_map){
        .pool = pool,
        .chunks = chunks,
        .pages = arena_take(arena, pool->page_count, sizeof(uint32_t), 8),
        .bucket_count = ROW_MAP_BUCKETS_PER_PAGE,
        .mask = ROW_MAP_BUCKETS_PER_PAGE - 1,
    };
    assert((map->pages == NULL) == arena_measuring(arena));
    if (map->pages == NULL) {
        map->page_count = 1;
    } else {
        row_map_take_page(map);
    }
}

/* Appends to the chain of `bucket`, which is at its end after (M1). */
static void
row_map_chain_append(
    struct row_map *map, struct row_map_bucket *bucket, uint32_t hash, uint32_t value)
{
    assert(bucket->count <= ROW_MAP_BUCKET_ENTRIES);
    while (bucket->overflow != CHUNK_NONE) {
        assert(bucket->count == ROW_MAP_BUCKET_ENTRIES);
        bucket = chunk_pool_data(map->chunks, bucket->overflow);
    }
    if (bucket->count == ROW_MAP_BUCKET_ENTRIES) {
        bucket->overflow = chunk_pool_acquire(map->chunks, CHUNK_SMALL);
        map->overflow_count += 1;
        bucket = chunk_pool_data(map->chunks, bucket->overflow);
        *bucket = (struct row_map_bucket){.overflow = CHUNK_NONE};
    }
    bucket->hashes[bucket->count] = hash;
    bucket->values[bucket->count] = value;
    bucket->count += 1;
}

/*
 * Adds a bucket, which takes its share of the chain that its entries were in so far. Streams: each
 * old bucket is copied out and given back before its entries are appended anew, so by (M1) no chunk
 * is needed that was not just given back.
 */
static void
row_map_split(struct row_map *map)
{
    const uint32_t number_new = map->bucket_count;
    if (number_new > map->mask) map->mask = map->mask * 2 + 1;
    const uint32_t number_old = number_new & (map->mask >> 1);
    assert(number_old < number_new);
    if (number_new / ROW_MAP_BUCKETS_PER_PAGE == map->page_count) row_map_take_page(map);
    map->bucket_count += 1;

    struct row_map_bucket *bucket_old = row_map_bucket_at(map, number_old);
    struct row_map_bucket *bucket_new = row_map_bucket_at(map, number_new);
    assert(bucket_new->count == 0);
    const uint32_t overflow_count_before = map->overflow_count;
    struct row_map_bucket taken = *bucket_old;
    *bucket_old = (struct row_map_bucket){.overflow = CHUNK_NONE};
    for (;;) {
        for (uint32_t i = 0; i < taken.count; i++) {
            const bool moves = (taken.hashes[i] & map->mask) == number_new;
            assert(moves || (taken.hashes[i] & map->mask) == number_old);
            row_map_chain_append(
                map, moves ? bucket_new : bucket_old, taken.hashes[i], taken.values[i]);
        }
        if (taken.overflow == CHUNK_NONE) break;
        const uint32_t chunk = taken.overflow;
        taken = *(struct row_map_bucket *) chunk_pool_data(map->chunks, chunk);
        chunk_pool_release(map->chunks, CHUNK_SMALL, chunk);
        map->overflow_count -= 1;
    }
    assert(map->overflow_count <= overflow_count_before); /* (M1) */
}

void
row_map_insert(struct row_map *map, uint32_t hash, uint32_t value)
{
    assert(map->entry_count < UINT32_MAX);
    map->entry_count += 1;
    if (map->entry_count > (uint64_t) map->bucket_count * ROW_MAP_LOAD) row_map_split(map);
    assert(map->entry_count <= (uint64_t) map->bucket_count * ROW_MAP_LOAD); /* (M2) */
    row_map_chain_append(map, row_map_bucket_of(map, hash), hash, value);
}

void
row_map_remove(struct row_map *map, uint32_t hash, const struct row_map_cursor *cursor)
{
    assert(map->entry_count > 0);
    assert(cursor->index < cursor->bucket->count);
    assert(cursor->bucket->hashes[cursor->index] == hash);

    /* The chain's last entry moves into the gap (M1). */
    struct row_map_bucket *before = NULL;
    struct row_map_bucket *last = row_map_bucket_of(map, hash);
    while (last->overflow != CHUNK_NONE) {
        before = last;
        last = chunk_pool_data(map->chunks, last->overflow);
    }
    assert(last->count > 0);
    last->count -= 1;
    cursor->bucket->hashes[cursor->index] = last->hashes[last->count];
    cursor->bucket->values[cursor->index] = last->values[last->count];
    map->entry_count -= 1;
    if (last->count == 0 && before != NULL) {
        chunk_pool_release(map->chunks, CHUNK_SMALL, before->overflow);
        before->overflow = CHUNK_NONE;
        map->overflow_count -= 1;
    }
}

uint64_t
row_map_pages_needed(const struct row_map *map, uint64_t inserts)
{
    assert(map->page_count > 0);
    assert(map->bucket_count <= map->page_count * ROW_MAP_BUCKETS_PER_PAGE);
    const uint64_t buckets = div_ceil(map->entry_count + inserts, ROW_MAP_LOAD);
    const uint64_t pages = div_ceil(buckets, ROW_MAP_BUCKETS_PER_PAGE);
    return pages <= map->page_count ? 0 : pages - map->page_count;
}

uint64_t
row_map_chunks_needed(const struct row_map *map, uint64_t inserts)
{
    /*
     * An insert appends one overflow bucket at most, and by (M1) there are never more than entries
     * / 7.
     */
    const uint64_t overflow_max = (map->entry_count + inserts) / ROW_MAP_BUCKET_ENTRIES;
    assert(map->overflow_count <= overflow_max);
    return min_u64(inserts, overflow_max - map->overflow_count);
}
