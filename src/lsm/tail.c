/* SPDX-License-Identifier: PostgreSQL */
/* See tail.h. */
#include "lsm/tail.h"

#include <string.h>

#include "base/units.h"
#include "lsm/filter.h"

void
tail_init(
    struct tail *tail, struct arena *arena, const struct entry_format *format, uint32_t count_max)
{
    assert(count_max > 0);
    assert(count_max < UINT16_MAX);
    assert(format->shape == ENTRY_INDEX || format->shape == ENTRY_ID);
    assert(format->size > 0);
    *tail = (struct tail){.format = *format, .count_max = count_max};
    tail->entries.bytes = arena_take(arena, count_max, format->size, sizeof(uint64_t));
    if (format->shape != ENTRY_ID) return;
    uint32_t bucket_count = 1;
    while (bucket_count < 2 * count_max) bucket_count *= 2;
    tail->bucket_mask = bucket_count - 1;
    tail->buckets = arena_take(arena, bucket_count, sizeof(uint32_t), 64);
}

void
tail_clear(struct tail *tail)
{
    assert(tail->count <= tail->count_max);
    tail->count = 0;
    tail->sorted_count = 0;
    if (tail->buckets == NULL) return;
    assert(tail->format.shape == ENTRY_ID);
    memset(tail->buckets, 0, ((uint64_t) tail->bucket_mask + 1) * sizeof(uint32_t));
}

void
tail_add(struct tail *tail, uint64_t value, uint64_t timestamp)
{
    assert(tail->format.shape == ENTRY_INDEX);
    assert(tail->count < tail->count_max);
    tail->entries.index[tail->count] = (struct entry16){.timestamp = timestamp, .value = value};
    tail->count += 1;
}

/* ---- Ids ----------------------------------------------------------------------------------- */

static inline uint32_t
bucket_tag(uint64_t hash)
{
    return (uint32_t) (hash >> 48) << 16;
}

static inline u128
tail_id(const struct tail *tail, uint32_t number)
{
    assert(number < tail->count);
    return u128_make(tail->entries.ids[number].id_high, tail->entries.ids[number].id_low);
}

/* The bucket that holds the id, or the empty one where the id belongs. */
static uint32_t
bucket_find(const struct tail *tail, u128 id, uint64_t hash)
{
    uint32_t bucket = (uint32_t) hash & tail->bucket_mask;
    while (tail->buckets[bucket] != 0) {
        const uint32_t entry = tail->buckets[bucket];
        if ((entry & 0xffff0000u) == bucket_tag(hash) &&
            tail_id(tail, (entry & 0xffff) - 1) == id) {
            break;
        }
        bucket = (bucket + 1) & tail->bucket_mask;
    }
    return bucket;
}

void
tail_hint_id(const struct tail *tail, u128 id)
{
    assert(tail->buckets != NULL);
    __builtin_prefetch(&tail->buckets[(uint32_t) filter_hash(id) & tail->bucket_mask]);
}

bool
tail_find_id(const struct tail *tail, u128 id, uint64_t *timestamp)
{
    assert(tail->format.shape == ENTRY_ID);
    assert(tail->buckets != NULL);
    const uint32_t entry = tail->buckets[bucket_find(tail, id, filter_hash(id))];
    if (entry == 0) return false;
    *timestamp = tail->entries.ids[(entry & 0xffff) - 1].timestamp;
    return true;
}

void
tail_add_id(struct tail *tail, u128 id, uint64_t timestamp)
{
    const uint64_t hash = filter_hash(id);
    assert(tail->sorted_count == 0);
    const uint32_t bucket = bucket_find(tail, id, hash);
    assert(tail->count < tail->count_max);
    assert(tail->buckets[bucket] == 0);
    tail->entries.ids[tail->count] = (struct entry24){
        .id_low = u128_low(id),
        .id_high = u128_high(id),
        .timestamp = timestamp,
    };
    tail->count += 1;
    tail->buckets[bucket] = bucket_tag(hash) | tail->count;
}

void
tail_truncate(struct tail *tail, uint32_t count)
{
    assert(count <= tail->count);
    assert(tail->sorted_count <= count);
    /*
     * The newest goes first. So whatever was added after an entry, and perhaps went to a later
     * bucket because of it, has gone before the entry goes.
     */
    while (tail->buckets != NULL && tail->count > count) {
        const u128 id = tail_id(tail, tail->count - 1);
        const uint32_t bucket = bucket_find(tail, id, filter_hash(id));
        assert((tail->buckets[bucket] & 0xffff) == tail->count);
        tail->buckets[bucket] = 0;
        tail->count -= 1;
    }
    tail->count = count;
}

/* ---- Order --------------------------------------------------------------------------------- */

void
tail_sort(struct tail *tail, void *scratch)
{
    assert(scratch != NULL);
    assert(tail->sorted_count <= tail->count);
    if (tail->sorted_count == tail->count) return;
    if (tail->format.shape == ENTRY_ID) {
        sort_entries24(tail->entries.ids, tail->count, scratch);
    } else {
        sort_entries16(tail->entries.index, tail->count, scratch);
    }
    tail->sorted_count = tail->count;
}
