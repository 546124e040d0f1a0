/* SPDX-License-Identifier: PostgreSQL */
/* See reseal.h. */
#include "unit/reseal.h"

#include "base/checksum.h"
#include "store/grid.h"

u128
reseal_block(void *block)
{
    struct block_header *header = block;
    const uint8_t *bytes = block;
    for (uint32_t i = 0; i < BLOCK_SECTORS; i++) {
        const uint64_t start = i == 0 ? BLOCK_HEADER_SIZE : (uint64_t) i * SECTOR_SIZE;
        header->sector_sums[i] = checksum_64(bytes + start, (i + 1) * SECTOR_SIZE - start);
    }
    header->checksum = checksum(bytes + sizeof(u128), BLOCK_HEADER_SIZE - sizeof(u128));
    return header->checksum;
}
