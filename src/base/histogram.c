/* SPDX-License-Identifier: PostgreSQL */
/*
 * See histogram.h. Values below 4 have a bucket each. For larger values, the position of the
 * leading bit and the two bits after it choose the bucket.
 */
#include "base/histogram.h"

#include "base/assert.h"
#include "base/units.h"

static uint32_t
bucket_for(uint64_t value)
{
    if (value < 4) return (uint32_t) value;
    const uint32_t exponent = 63 - (uint32_t) __builtin_clzll(value);
    return (exponent - 1) * 4 + (uint32_t) ((value >> (exponent - 2)) & 3);
}

/* The largest value of a bucket. */
static uint64_t
bucket_max(uint32_t bucket)
{
    if (bucket < 4) return bucket;
    const uint32_t exponent = bucket / 4 + 1;
    const uint64_t next = (uint64_t) (bucket % 4) + 5; /* In units of 2^(exponent − 2). */
    if (exponent == 63 && next == 8) return UINT64_MAX;
    return (next << (exponent - 2)) - 1;
}

void
histogram_add(struct histogram *histogram, uint64_t value)
{
    const uint32_t bucket = bucket_for(value);
    assert(bucket < HISTOGRAM_BUCKETS);
    histogram->buckets[bucket] += 1;
    histogram->count += 1;
    histogram->sum += value;
    histogram->max = max_u64(histogram->max, value);
}

uint64_t
histogram_percentile(const struct histogram *histogram, uint32_t permille)
{
    assert(permille <= 1000);
    if (histogram->count == 0) return 0;
    const uint64_t rank = max_u64(div_ceil(histogram->count * permille, 1000), 1);
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= rank) return min_u64(bucket_max(bucket), histogram->max);
    }
    unreachable();
}
