/* SPDX-License-Identifier: PostgreSQL */
/*
 * The parts of lsm/ below the forest, on the simulated disk: grid, block cache, list of tables.
 *
 * For test_lsm_cache.c, test_lsm_table.c and test_lsm_merge.c. Includers define assert_failed
 * (unit.h does).
 */
#ifndef LEDGER_TEST_UNIT_LSM_FIXTURE_H
#define LEDGER_TEST_UNIT_LSM_FIXTURE_H

#include "base/prng.h"
#include "lsm/block_cache.h"
#include "lsm/table.h"
#include "lsm/tree.h"

#include "../sim/storage_sim.h"
#include "reseal.h"

#define LSM_CLUSTER    u128_make(0x243f6a8885a308d3, 0x13198a2e03707344)
#define LSM_BLOCKS_MAX 6000
#define LSM_NODES      2000

struct lsm_fixture {
    struct prng prng;
    struct prng prng_sim; /* Its own: what the disk does must not change the work. */
    struct storage_sim sim;
    struct grid grid;
    struct block_cache cache;
    struct table_pool pool;
    void *memory;
};

void lsm_begin(struct lsm_fixture *fixture, uint64_t seed, uint64_t seed_sim, uint32_t frame_count);

void lsm_end(struct lsm_fixture *fixture);

/* Something in flight completes, if anything is. */
void lsm_progress(struct lsm_fixture *fixture);

/* Until nothing is in flight. */
void lsm_settle(struct lsm_fixture *fixture);

/* The block cache forgets everything. */
void lsm_forget(struct lsm_fixture *fixture);

enum cache_result lsm_get(
    struct lsm_fixture *fixture,
    const struct block_reference *reference,
    enum block_type type,
    uint32_t *frame);

uint64_t lsm_number(struct lsm_fixture *fixture, uint32_t frame, uint32_t sector);

/* Fills a frame that was taken with content made of the number. */
void lsm_fill(struct lsm_fixture *fixture, uint32_t frame, uint64_t number);

/* A block of that content at that address, on its way to the disk. */
struct block_reference lsm_build(struct lsm_fixture *fixture, uint64_t address, uint64_t number);

/* So many blocks, whose contents are made of 0, 1 …: on disk, and none of them in the cache. */
void lsm_build_on_disk(
    struct lsm_fixture *fixture,
    struct block_reference *references,
    uint32_t count);

/* The number that the content of a whole block in a frame was made of. */
uint64_t lsm_content(struct lsm_fixture *fixture, uint32_t frame);

/* The block on disk. */
uint8_t *lsm_disk_block(struct lsm_fixture *fixture, uint64_t address);

void lsm_rot(struct lsm_fixture *fixture, uint64_t address);

/* The block on disk was changed: makes its own checksum right; returns it. */
u128 lsm_reseal(struct lsm_fixture *fixture, uint64_t address);

/* The block with values on disk was changed: makes everything that refers to it agree. */
void lsm_reseal_values(struct lsm_fixture *fixture, struct table_info *table, uint32_t place);

void lsm_heal(struct lsm_fixture *fixture, uint64_t address, const void *block);

#endif
