/* SPDX-License-Identifier: PostgreSQL */
/* See filter.h. */
#include "lsm/filter.h"

#include <string.h>

#include "base/units.h"

uint32_t
filter_line_count(uint32_t key_count)
{
    const uint64_t bits = (uint64_t) key_count * FILTER_BITS_PER_KEY;
    const uint64_t lines = max_u64(div_ceil(bits, FILTER_LINE_SIZE * 8), 1);
    assert(lines <= UINT32_MAX);
    return (uint32_t) lines;
}

void
filter_add(uint8_t *lines, uint32_t line_count, uint64_t hash)
{
    const uint32_t number = filter_line_of(hash, line_count);
    assert(number < line_count);
    uint8_t *line = lines + (uint64_t) number * FILTER_LINE_SIZE;
    uint64_t bits = filter_bits(hash);
#pragma GCC unroll 8
    for (uint32_t at = 0; at < FILTER_LINE_SIZE; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, line + at, sizeof(word));
        word |= UINT64_C(1) << (bits & 63);
        memcpy(line + at, &word, sizeof(word));
        bits >>= 6;
    }
    assert(filter_may_hold(line, hash)); /* (H1) */
}
