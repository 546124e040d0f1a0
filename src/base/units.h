/* SPDX-License-Identifier: PostgreSQL */
/* Sizes, rounding and other small arithmetic that says its intent in its name. */
#ifndef LEDGER_BASE_UNITS_H
#define LEDGER_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The object that holds `member` at `pointer`. */
#define container_of(pointer, type, member)                                                        \
    ((type *) (void *) ((char *) (pointer) - offsetof(type, member)))

static inline uint64_t
min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t
max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t
div_ceil(uint64_t numerator, uint64_t denominator)
{
    assert(denominator > 0);
    return numerator / denominator + (numerator % denominator != 0);
}

/* The smallest multiple of `alignment` (a power of two) that is not below `value`. */
static inline uint64_t
align_up(uint64_t value, uint64_t alignment)
{
    assert(alignment > 0 && (alignment & (alignment - 1)) == 0);
    assert(value <= UINT64_MAX - alignment);
    return (value + alignment - 1) & ~(alignment - 1);
}

#endif
