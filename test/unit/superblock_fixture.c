/* SPDX-License-Identifier: PostgreSQL */
/* See superblock_fixture.h. */
#include "unit/superblock_fixture.h"

#include <string.h>

void
superblock_restart(struct superblock *superblock, struct storage_sim *sim)
{
    static _Alignas(SECTOR_SIZE) uint8_t memory[16 * SECTOR_SIZE];
    struct arena arena;
    memset(memory, 0xa5, sizeof(memory));
    arena_init(&arena, memory, sizeof(memory));
    superblock_init(superblock, &arena, &sim->storage);
}

enum superblock_result
superblock_open_and_repair(struct superblock *superblock)
{
    const enum superblock_result result = superblock_open(superblock);
    return result == SUPERBLOCK_OK ? superblock_repair(superblock) : result;
}

struct superblock_state *
superblock_copy_on_disk(struct storage_sim *sim, uint32_t copy)
{
    uint8_t *bytes = storage_sim_bytes(sim, STORAGE_SUPERBLOCK);
    return (struct superblock_state *) (void *) (bytes + copy * SUPERBLOCK_COPY_STRIDE);
}
