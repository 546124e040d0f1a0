/* SPDX-License-Identifier: PostgreSQL */
/*
 * A set of ids that may wrongly say yes, but never wrongly no: a Bloom filter in lines of the
 * processor's cache (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters",
 * 2007).
 *
 * The hash of an id chooses a line, and one bit in each of the line's eight words. So a lookup
 * costs one cache line, and no branch until the answer is known. No line depends on another, so a
 * filter may extend over several disk blocks: a lookup needs only the block that has its line.
 *
 * Numbered invariants:
 *  (H1) what was added is never denied.
 */
#ifndef LEDGER_LSM_FILTER_H
#define LEDGER_LSM_FILTER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/u128.h"
#include "lsm/hash.h"

#define FILTER_LINE_SIZE    64
#define FILTER_LINE_WORDS   (FILTER_LINE_SIZE / sizeof(uint64_t))
#define FILTER_BITS_PER_KEY 10

static_assert(FILTER_LINE_WORDS * 6 <= 64, "six bits of the hash choose one of a word's 64");

/* How many lines the filter of so many keys has: at least one. */
uint32_t filter_line_count(uint32_t key_count);

/* Before the first key is added, all lines are zero. */
void filter_add(uint8_t *lines, uint32_t line_count, uint64_t hash);

static inline uint64_t
filter_hash(u128 id)
{
    return hash_u128_wide(id);
}

/*
 * Scales the high half of the hash to a line number by a multiplication instead of a division
 * (Lemire, "Fast random integer generation in an interval", 2019).
 */
static inline uint32_t
filter_line_of(uint64_t hash, uint32_t line_count)
{
    assert(line_count > 0);
    return (uint32_t) (((hash >> 32) * line_count) >> 32);
}

/*
 * Chooses the bits. The line's number depends on few bits of the hash, these on all of them, so
 * that keys in one line still get different bits.
 */
static inline uint64_t
filter_bits(uint64_t hash)
{
    return (hash * HASH_KEY_1) >> (64 - FILTER_LINE_WORDS * 6);
}

/* May the id of this hash be among those that were added? `line` is the line of filter_line_of. */
static inline bool
filter_may_hold(const uint8_t *line, uint64_t hash)
{
    uint64_t bits = filter_bits(hash);
    uint64_t all = 1;
#pragma GCC unroll 8
    for (uint32_t at = 0; at < FILTER_LINE_SIZE; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, line + at, sizeof(word));
        all &= word >> (bits & 63);
        bits >>= 6;
    }
    return all != 0;
}

#endif
