/* SPDX-License-Identifier: PostgreSQL */
/*
 * xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021, §4.5).
 *
 * For tests and simulation: the core itself uses no randomness. State is explicit, so that one seed
 * gives one run.
 */
#ifndef LEDGER_BASE_PRNG_H
#define LEDGER_BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

struct prng {
    uint64_t state[4];
};

static inline uint64_t
prng_rotate_left(uint64_t value, unsigned count)
{
    return (value << count) | (value >> (64 - count));
}

/* Fills the state by SplitMix64, as the authors recommend. */
static inline void
prng_init(struct prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        prng->state[i] = z ^ (z >> 31);
    }
}

static inline uint64_t
prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    const uint64_t result = prng_rotate_left(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = prng_rotate_left(s[3], 45);
    return result;
}

/*
 * Uniform in 0 … bound − 1 (Lemire's multiplication, without the last correction: bias below
 * 2^-32).
 */
static inline uint64_t
prng_below(struct prng *prng, uint64_t bound)
{
    assert(bound > 0);
    return (uint64_t) (((unsigned __int128) prng_next(prng) * bound) >> 64);
}

/* Uniform in low … high, both included. */
static inline uint64_t
prng_range(struct prng *prng, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return low + prng_below(prng, high - low + 1);
}

/* True with probability numerator / denominator. */
static inline bool
prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator)
{
    assert(denominator > 0);
    return prng_below(prng, denominator) < numerator;
}

#endif
