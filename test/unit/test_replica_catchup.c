/* SPDX-License-Identifier: PostgreSQL */
/* A member that has missed a part of the log gets it from disk (vsr/replica_catchup.c). */
#include "unit/trio_fixture.h"
#include "unit/unit.h"

#define LATE 2

/* How many prepares the primary reads for a member, or has read and not sent yet. */
static uint32_t
gifts(uint8_t slot)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < REPLICA_GIFTS; i++) {
        count += trio_replica(TRIO_PRIMARY)->peers[slot].gifts[i].message != NULL;
    }
    return count;
}

/* How many of them were read, and wait for those before them. */
static uint32_t
gifts_whole(uint8_t slot)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < REPLICA_GIFTS; i++) {
        const struct replica_gift *gift = &trio_replica(TRIO_PRIMARY)->peers[slot].gifts[i];
        count += gift->message != NULL && gift->whole;
    }
    return count;
}

/* Lets the late member catch up. Returns the most gifts that were under way. */
static uint32_t
catch_up(void)
{
    uint32_t most = 0;
    const uint64_t op = trio_commit(TRIO_PRIMARY);
    for (uint32_t ms = 0; ms < TRIO_PATIENCE_MS && trio_commit(LATE) < op; ms++) {
        trio_step();
        most = most > gifts(trio_slot(LATE)) ? most : gifts(trio_slot(LATE));
    }
    expect(trio_commit(LATE) >= op);
    return most;
}

UNIT_TEST(what_was_missed_is_read_side_by_side)
{
    for (uint32_t model = NETWORK_SIM_STREAMS; model <= NETWORK_SIM_CHAOS; model++) {
        trio_begin((enum network_sim_model) model, 70 + model);
        trio_stop(LATE);
        trio_create_many(TRIO_PRIMARY, 40, 1);
        trio_start(LATE);
        const uint32_t most = catch_up();
        expect(most > 1 && most <= REPLICA_GIFTS);
        trio_expect_rest(40);
        trio_end();
    }
}

/* Whenever it is cut off or goes down, what was read for it gives its buffer back. */
UNIT_TEST(what_was_read_is_dropped_when_nobody_takes_it)
{
    for (uint32_t when = 0; when < 40; when++) {
        trio_begin(NETWORK_SIM_STREAMS, 80 + when);
        trio_stop(LATE);
        trio_create_many(TRIO_PRIMARY, 30, 1);
        trio_start(LATE);
        trio_steps(when);
        if (when % 2 == 0) {
            trio_stop(LATE);
            trio_steps(100);
            expect_equal(gifts(trio_slot(LATE)), 0);
            trio_start(LATE);
        } else {
            expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
        }
        trio_expect_rest(30); /* All buffers are free. */
        trio_end();
    }
}

/* Who isn't the primary any more keeps nothing for others. */
UNIT_TEST(what_was_read_is_dropped_with_the_view)
{
    uint32_t found = 0;
    for (uint64_t seed = 130; seed < 170; seed++) {
        trio_begin(NETWORK_SIM_STREAMS, seed);
        trio_stop(LATE);
        trio_create_many(TRIO_PRIMARY, 30, 1);
        trio_start(LATE);
        const uint8_t slot = trio_slot(LATE);
        for (uint32_t ms = 0; ms < 60 && gifts_whole(slot) == 0; ms++) trio_step();
        found += gifts_whole(slot) > 0;
        expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
        expect_equal(gifts_whole(slot), 0);
        trio_expect_rest(30);
        trio_end();
    }
    expect(found > 0);
}

/* What its host may note as never to be lost, while the gap to a new view's headers is filled. */
UNIT_TEST(what_is_kept_while_the_gap_is_filled)
{
    uint32_t filling = 0;
    for (uint64_t seed = 170; seed < 190; seed++) {
        trio_begin(NETWORK_SIM_STREAMS, seed);
        trio_create_many(TRIO_PRIMARY, 5, 1);
        trio_expect_rest(5);
        trio_stop(LATE);
        trio_create_many(TRIO_PRIMARY, 40, 1);
        expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
        trio_start(LATE);
        for (uint32_t ms = 0; ms < TRIO_PATIENCE_MS && trio_commit(LATE) < 40; ms++) {
            const struct replica *late = trio_replica(LATE);
            const struct superblock_state *state = late->superblock->working;
            const bool gap = late->commit < state->suffix[0].op && state->log_view > 1;
            if (gap && late->commit > state->op_acked_min && seed % 20 < ms) {
                const uint64_t kept = replica_kept(late);
                expect_equal(kept, state->op_acked_min);
                filling += 1;
                trio_stop(LATE);
                trio_start(LATE);
                expect(trio_replica(LATE)->journaled >= kept);
                break;
            }
            trio_step();
        }
        trio_expect_rest(45);
        expect_equal(replica_kept(trio_replica(LATE)), trio_commit(LATE));
        trio_end();
    }
    expect(filling > 10);
}

UNIT_MAIN(test_replica_catchup)
