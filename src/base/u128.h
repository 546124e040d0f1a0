/* SPDX-License-Identifier: PostgreSQL */
/*
 * 128-bit unsigned integers, aligned to 8 bytes: records live in memory that Postgres aligns to 8.
 * Structures place them at multiples of 16, so that the layout is the same with either alignment.
 */
#ifndef LEDGER_BASE_U128_H
#define LEDGER_BASE_U128_H

#include <stdbool.h>
#include <stdint.h>

typedef unsigned __int128 u128 __attribute__((aligned(8)));

#define U128_MAX (~(u128) 0)

static inline u128
u128_make(uint64_t high, uint64_t low)
{
    return ((u128) high << 64) | low;
}

static inline uint64_t
u128_high(u128 value)
{
    return (uint64_t) (value >> 64);
}

static inline uint64_t
u128_low(u128 value)
{
    return (uint64_t) value;
}

/* True if a + b does not fit. */
static inline bool
u128_sum_overflows(u128 a, u128 b)
{
    return a > U128_MAX - b;
}

/* a - b, or 0 where that would be negative. */
static inline u128
u128_subtract_saturating(u128 a, u128 b)
{
    return a > b ? a - b : 0;
}

static inline u128
u128_min(u128 a, u128 b)
{
    return a < b ? a : b;
}

#endif
