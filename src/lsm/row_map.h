/* SPDX-License-Identifier: PostgreSQL */
/*
 * A hash table of 32-bit values by 32-bit hash, that grows a bucket at a time: linear hashing
 * (Litwin, "Linear hashing: a new tool for file and table addressing", 1980). There is never a
 * pause to rehash, and memory follows the count.
 *
 * A bucket is a cache line of seven entries. A full one goes on in overflow buckets (small chunks).
 * The table keeps no keys: whoever asks gets every value whose hash is equal, and compares keys
 * where they are, in records.
 *
 * Numbered invariants:
 *  (M1) all buckets of a chain but its last are full, and only the first may be empty. Hence the
 *       overflow buckets of a chain are fewer than its entries / 7, and splitting a chain needs no
 *       more of them than it has.
 *  (M2) bucket_count * ROW_MAP_LOAD >= entry_count.
 */
#ifndef LEDGER_LSM_ROW_MAP_H
#define LEDGER_LSM_ROW_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "lsm/chunk_pool.h"
#include "lsm/page_pool.h"

#define ROW_MAP_BUCKET_ENTRIES 7
/* Entries a bucket on average, at most. */
#define ROW_MAP_LOAD             5
#define ROW_MAP_BUCKETS_PER_PAGE (BLOCK_SIZE / 64)

struct row_map_bucket {
    uint32_t hashes[ROW_MAP_BUCKET_ENTRIES];
    uint32_t values[ROW_MAP_BUCKET_ENTRIES];
    uint32_t overflow; /* Chunk, or CHUNK_NONE. */
    uint32_t count;
};
static_assert(sizeof(struct row_map_bucket) == 64, "a cache line");
static_assert(
    sizeof(struct row_map_bucket) == CHUNK_SMALL_SIZE, "overflow buckets are small chunks");

struct row_map {
    struct page_pool *pool;
    struct chunk_pool *chunks;
    uint32_t *pages; /* Pool page of each ROW_MAP_BUCKETS_PER_PAGE buckets. */
    uint32_t page_count;
    uint32_t bucket_count;
    uint32_t mask; /* bucket_count rounded up to a power of two, minus one. */
    uint32_t entry_count;
    uint32_t overflow_count;
};

/* A place in a chain. */
struct row_map_cursor {
    struct row_map_bucket *bucket;
    uint32_t index;
};

/* Takes the first page unless the arena is measuring. */
void row_map_init(
    struct row_map *map, struct arena *arena, struct page_pool *pool, struct chunk_pool *chunks);

/* Bytes of the arena that row_map_init takes for each page of the pool, at most. */
#define ROW_MAP_BYTES_PER_PAGE sizeof(uint32_t)

/* May take a page and a small chunk. */
void row_map_insert(struct row_map *map, uint32_t hash, uint32_t value);

/* Removes the entry that the cursor has found. */
void row_map_remove(struct row_map *map, uint32_t hash, const struct row_map_cursor *cursor);

/* The most pages, and the most small chunks, that `inserts` more entries need. */
uint64_t row_map_pages_needed(const struct row_map *map, uint64_t inserts);
uint64_t row_map_chunks_needed(const struct row_map *map, uint64_t inserts);

static inline struct row_map_bucket *
row_map_bucket_at(const struct row_map *map, uint32_t number)
{
    assert(number < map->bucket_count);
    struct row_map_bucket *buckets =
        page_pool_data(map->pool, map->pages[number / ROW_MAP_BUCKETS_PER_PAGE]);
    return &buckets[number % ROW_MAP_BUCKETS_PER_PAGE];
}

/* The first bucket of the hash's chain. */
static inline struct row_map_bucket *
row_map_bucket_of(const struct row_map *map, uint32_t hash)
{
    assert(map->mask >= map->bucket_count - 1);
    uint32_t number = hash & map->mask;
    if (number >= map->bucket_count) number &= map->mask >> 1;
    return row_map_bucket_at(map, number);
}

static inline void
row_map_prefetch(const struct row_map *map, uint32_t hash)
{
    __builtin_prefetch(row_map_bucket_of(map, hash));
}

static inline struct row_map_cursor
row_map_first(const struct row_map *map, uint32_t hash)
{
    return (struct row_map_cursor){.bucket = row_map_bucket_of(map, hash), .index = UINT32_MAX};
}

/* Four hashes at once: the compiler's vectors. */
typedef uint32_t row_map_lanes __attribute__((vector_size(16)));

/* May the bucket have the hash? Looks at all its places, used or not. */
static inline bool
row_map_bucket_may_have(const struct row_map_bucket *bucket, uint32_t hash)
{
    row_map_lanes first;
    row_map_lanes last;
    const row_map_lanes wanted = {hash, hash, hash, hash};
    static_assert(ROW_MAP_BUCKET_ENTRIES == 7, "four, and four of which one is the same");
    memcpy(&first, &bucket->hashes[0], sizeof(first));
    memcpy(&last, &bucket->hashes[3], sizeof(last));
    const row_map_lanes equal = (row_map_lanes) ((first == wanted) | (last == wanted));
    uint64_t any[2];
    memcpy(any, &equal, sizeof(any));
    return (any[0] | any[1]) != 0;
}

/*
 * Moves on to the next entry whose hash is equal, and returns where its value is; NULL at the end.
 */
static inline uint32_t *
row_map_next(const struct row_map *map, struct row_map_cursor *cursor, uint32_t hash)
{
    for (;;) {
        struct row_map_bucket *bucket = cursor->bucket;
        if (row_map_bucket_may_have(bucket, hash)) {
            for (uint32_t index = cursor->index + 1; index < bucket->count; index++) {
                if (bucket->hashes[index] == hash) {
                    cursor->index = index;
                    return &bucket->values[index];
                }
            }
        }
        if (bucket->overflow == CHUNK_NONE) return NULL;
        cursor->bucket = chunk_pool_data(map->chunks, bucket->overflow);
        cursor->index = UINT32_MAX;
    }
}

#endif
