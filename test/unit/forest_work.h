/* SPDX-License-Identifier: PostgreSQL */
/* One forest, and random work on it: what tests of the forest begin with. */
#ifndef LEDGER_TEST_UNIT_FOREST_WORK_H
#define LEDGER_TEST_UNIT_FOREST_WORK_H

#include "unit.h"

#include "forest_fixture.h"
#include "unit/reserve.h"

static struct forest_fixture fixture;
static struct prng prng;

static void
begin(uint64_t seed, uint64_t memory_bytes_extra)
{
    prng_init(&prng, seed);
    fixture_begin(&fixture, &prng, memory_bytes_extra);
}

static void
run_batches(uint32_t batch_count)
{
    for (uint32_t i = 0; i < batch_count; i++) {
        const uint32_t event_count = (uint32_t) prng_range(&prng, 1, EVENTS_PER_BATCH_MAX);
        expect(reserve_now(fixture.forest, event_count) == FOREST_ROOM);
        fixture_batch(&fixture, event_count);
    }
}

#endif
