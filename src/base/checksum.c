/* SPDX-License-Identifier: PostgreSQL */
/* See checksum.h. */
#include "base/checksum.h"

#include <xxhash.h>

#include "base/assert.h"

u128
checksum(const void *data, uint64_t size_bytes)
{
    assert(data != NULL || size_bytes == 0);
    const XXH128_hash_t hash = XXH3_128bits(data, size_bytes);
    return u128_make(hash.high64, hash.low64);
}

uint64_t
checksum_64(const void *data, uint64_t size_bytes)
{
    assert(data != NULL || size_bytes == 0);
    return XXH3_64bits(data, size_bytes);
}
