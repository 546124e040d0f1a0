/* SPDX-License-Identifier: PostgreSQL */
/*
 * The hash of ids and of indexed values, 128 bits to 64. Tables in memory use the high 32 bits. It
 * is fixed, and the same on every replica.
 *
 * Clients choose ids, and the function is public, so a client that wants collisions can search for
 * them. No function without a secret key prevents that. This one makes sure that searching is
 * needed: the sums beside the product keep every input bit in play even when a factor is zero. A
 * collision that was found costs a longer search among the objects in memory, or one more block
 * that a filter doesn't spare.
 */
#ifndef LEDGER_LSM_HASH_H
#define LEDGER_LSM_HASH_H

#include <stdint.h>

#include "base/u128.h"

/* Fractional digits of the square roots of 2, 3, 5, 7, made odd. */
#define HASH_KEY_0 UINT64_C(0x6a09e667f3bcc909)
#define HASH_KEY_1 UINT64_C(0xbb67ae8584caa73b)
#define HASH_KEY_2 UINT64_C(0x3c6ef372fe94f82b)
#define HASH_KEY_3 UINT64_C(0xa54ff53a5f1d36f1)

/* Multiplies to 128 bits and folds the high and the low half together. */
static inline uint64_t
hash_multiply_fold(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

/* All 64 bits. Filters and indexes keep these. */
static inline uint64_t
hash_u128_wide(u128 value)
{
    const uint64_t low = u128_low(value);
    const uint64_t high = u128_high(value);
    const uint64_t folded = hash_multiply_fold(low ^ HASH_KEY_0, high ^ HASH_KEY_1);
    const uint64_t mixed = folded + ((low << 29) | (low >> 35)) + high * HASH_KEY_2;
    return hash_multiply_fold(mixed ^ HASH_KEY_2, HASH_KEY_3);
}

static inline uint32_t
hash_u128(u128 value)
{
    return (uint32_t) (hash_u128_wide(value) >> 32);
}

#endif
