/* SPDX-License-Identifier: PostgreSQL */
/* A superblock on the simulated disk: for test_superblock.c and fuzz_superblock.c. */
#ifndef LEDGER_TEST_UNIT_SUPERBLOCK_FIXTURE_H
#define LEDGER_TEST_UNIT_SUPERBLOCK_FIXTURE_H

#include <stdint.h>

#include "sim/storage_sim.h"
#include "store/superblock.h"

/* As after a start: nothing is known but what the disk holds. One superblock at a time. */
void superblock_restart(struct superblock *superblock, struct storage_sim *sim);

enum superblock_result superblock_open_and_repair(struct superblock *superblock);

struct superblock_state *superblock_copy_on_disk(struct storage_sim *sim, uint32_t copy);

/* With the checksum of what it holds now. */
void superblock_reseal(struct superblock_state *state);

/* The headers of a log, by op: what the updates of the tests speak of. */
#define CHAIN_MAX 64
struct superblock_chain {
    struct prepare_header headers[CHAIN_MAX];
    uint64_t head;
};

/* Op 0 of this cluster. */
void superblock_chain_init(struct superblock_chain *chain, u128 cluster);

/* Ops of this view, until there is this one. */
void superblock_chain_extend(struct superblock_chain *chain, uint64_t op, uint32_t view);

/* What a node knows whose log ends with this op, which is committed, and is that of log_view. */
void superblock_chain_log(
    const struct superblock_chain *chain,
    uint64_t op,
    uint32_t log_view,
    struct superblock_log *log);

#endif
