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

#endif
