/* SPDX-License-Identifier: PostgreSQL */
/* Questions about plain bytes. */
#ifndef LEDGER_BASE_BYTES_H
#define LEDGER_BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"

/*
 * Are all bytes zero? It goes word by word, since the padding of each block that is read passes
 * here.
 */
static inline bool
bytes_zero(const void *bytes, uint64_t size_bytes)
{
    const uint8_t *const byte = bytes;
    uint64_t any = 0;
    uint64_t at = 0;
    assert(bytes != NULL || size_bytes == 0);
    for (; at + sizeof(uint64_t) <= size_bytes; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, byte + at, sizeof(word));
        any |= word;
    }
    for (; at < size_bytes; at++) any |= byte[at];
    return any == 0;
}

#endif
