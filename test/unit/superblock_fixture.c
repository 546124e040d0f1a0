/* SPDX-License-Identifier: PostgreSQL */
/* See superblock_fixture.h. */
#include "unit/superblock_fixture.h"

#include "base/checksum.h"
#include "base/units.h"

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

void
superblock_reseal(struct superblock_state *state)
{
    const uint64_t start = offsetof(struct superblock_state, version);
    state->checksum = checksum((const uint8_t *) state + start, sizeof(*state) - start);
}

void
superblock_chain_init(struct superblock_chain *chain, u128 cluster)
{
    chain->head = 0;
    prepare_root(&chain->headers[0], cluster, 1);
}

void
superblock_chain_extend(struct superblock_chain *chain, uint64_t op, uint32_t view)
{
    assert(op < CHAIN_MAX);
    while (chain->head < op) {
        const struct prepare_header *parent = &chain->headers[chain->head];
        struct prepare_header *header = &chain->headers[chain->head + 1];
        *header = (struct prepare_header){
            .parent = parent->checksum,
            .cluster = parent->cluster,
            .op = parent->op + 1,
            .commit = parent->op,
            .timestamp = parent->timestamp + PULSE_EXPIRIES_MAX,
            .size = PREPARE_HEADER_SIZE,
            .view = view,
            .event_count = PULSE_EXPIRIES_MAX,
            .version = DISK_FORMAT_VERSION,
            .voters = parent->voters,
            .operation = PREPARE_PULSE,
        };
        prepare_seal(header);
        chain->head += 1;
    }
}

void
superblock_chain_log(
    const struct superblock_chain *chain,
    uint64_t op,
    uint32_t log_view,
    struct superblock_log *log)
{
    const uint64_t count = min_u64(op + 1, SUPERBLOCK_SUFFIX_MAX);
    assert(op <= chain->head);
    *log = (struct superblock_log){
        .log_view = log_view,
        .suffix_count = (uint32_t) count,
        .op_acked_min = op,
        .commit_max = op,
        .commit_max_checksum = chain->headers[op].checksum,
    };
    memcpy(log->suffix, &chain->headers[op + 1 - count], count * sizeof(log->suffix[0]));
}
