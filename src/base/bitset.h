/* SPDX-License-Identifier: PostgreSQL */
/* A bitset over caller-owned words. */
#ifndef LEDGER_BASE_BITSET_H
#define LEDGER_BASE_BITSET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

struct bitset {
    uint64_t *words;
    uint64_t bit_count;
};

static inline uint64_t
bitset_word_count(uint64_t bit_count)
{
    return (bit_count + 63) / 64;
}

static inline bool
bitset_get(const struct bitset *bitset, uint64_t index)
{
    assert(index < bitset->bit_count);
    return (bitset->words[index / 64] >> (index % 64)) & 1;
}

static inline void
bitset_set(struct bitset *bitset, uint64_t index)
{
    assert(index < bitset->bit_count);
    bitset->words[index / 64] |= UINT64_C(1) << (index % 64);
}

static inline void
bitset_clear(struct bitset *bitset, uint64_t index)
{
    assert(index < bitset->bit_count);
    bitset->words[index / 64] &= ~(UINT64_C(1) << (index % 64));
}

#endif
