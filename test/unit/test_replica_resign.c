/* SPDX-License-Identifier: PostgreSQL */
/* A primary that resigns (vsr/replica_suspect.c), on three members (trio_fixture.h). */
#include "unit/trio_fixture.h"
#include "unit/unit.h"

#define HASTY_MS ((uint32_t) (TRIO_HASTY_NS / NS_PER_MS))

/* Lets time pass until a node is a primary that serves. */
static bool
serves_within(uint32_t number, uint32_t ms)
{
    for (uint32_t i = 0; i < ms && !trio_replica(number)->serving; i++) trio_step();
    return trio_replica(number)->serving;
}

/* Nobody's timeout ends: that takes an hour. What is under way at each node goes on. */
UNIT_TEST(primary_that_resigns_hands_over_at_once)
{
    struct trio_asked *asked[30];
    for (uint32_t when = 0; when < 12; when++) {
        trio_begin(NETWORK_SIM_STREAMS, 40 + when);
        for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
            asked[i] = trio_create(i % TRIO_NODES, 1);
            if (i % 6 == 5) trio_step();
        }
        trio_steps(when);
        expect(!engine_resign(trio.nodes[1].engine));
        expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
        expect(!engine_resign(trio.nodes[TRIO_PRIMARY].engine));
        expect(serves_within(2, 200));
        expect_equal(trio_replica(2)->view, 2);
        for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
            expect(trio_answered_within(asked[i], TRIO_PATIENCE_MS));
            expect(trio_created(asked[i]));
        }
        expect_equal(trio.resignations, 2);
        trio_expect_rest(ARRAY_COUNT(asked));
        trio_end();
    }
}

/* The view goes to a voter that answers; where there is none, or no quorum, it stays. */
UNIT_TEST(primary_resigns_only_for_one_that_can_take_over)
{
    trio_begin(NETWORK_SIM_CHAOS, 60);
    trio_replica(TRIO_PRIMARY)->failover_timeout_ns = TRIO_HASTY_NS;
    trio_isolate(2, true);
    trio_steps(HASTY_MS + 50);
    expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
    expect(serves_within(1, 200));
    expect_equal(trio_replica(1)->view, 12);
    trio_isolate(2, false);
    expect(trio_answered_within(trio_create(2, 1), TRIO_PATIENCE_MS));
    trio_replica(1)->failover_timeout_ns = TRIO_HASTY_NS;
    trio_isolate(1, true);
    trio_steps(HASTY_MS + 50);
    expect(!engine_resign(trio.nodes[1].engine));
    expect_equal(trio_replica(1)->view, 12);
    trio_isolate(1, false);
    trio_expect_rest(1);
    trio_end();
}

/* Votes that got lost are said again before anybody gives the view up: the least timeout too. */
UNIT_TEST(lost_votes_are_repeated_within_the_shortest_timeout)
{
    trio_begin(NETWORK_SIM_CHAOS, 62);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        trio_replica(i)->failover_timeout_ns = UINT64_C(200) * NS_PER_MS;
    }
    expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
    for (uint32_t ms = 0; ms < 50 && trio_replica(2)->view < 2; ms++) trio_step();
    trio_isolate(2, true);
    trio_steps(50);
    expect(!trio_replica(2)->serving);
    trio_isolate(2, false);
    expect(serves_within(2, 300));
    expect_equal(trio_replica(2)->view, 2);
    trio_expect_rest(0);
    trio_end();
}

/* Others hear it and have no reason to suspect it. It hears nobody. */
UNIT_TEST(primary_that_hears_nobody_is_replaced)
{
    trio_begin(NETWORK_SIM_CHAOS, 61);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio_replica(TRIO_PRIMARY)->failover_timeout_ns = TRIO_HASTY_NS;
    trio_cut(1, TRIO_PRIMARY, true);
    trio_cut(2, TRIO_PRIMARY, true);
    const struct trio_asked *own = trio_create(TRIO_PRIMARY, 2);
    const struct trio_asked *other = trio_create(1, 4);
    expect(serves_within(2, 3 * HASTY_MS));
    expect(trio_answered_within(other, TRIO_PATIENCE_MS));
    expect(trio_created(other));
    expect_equal(own->answers, 0);
    expect_equal(trio_replica(TRIO_PRIMARY)->view, 1);
    trio_cut(1, TRIO_PRIMARY, false);
    trio_cut(2, TRIO_PRIMARY, false);
    expect(trio_answered_within(own, TRIO_PATIENCE_MS));
    expect(trio_created(own));
    trio_expect_rest(7);
    expect_equal(trio_replica(TRIO_PRIMARY)->view, 2);
    trio_end();
}

/* It resigns, for it can't know better; but nobody hears it, and it comes back without a change. */
UNIT_TEST(primary_that_is_cut_off_disturbs_nobody)
{
    trio_begin(NETWORK_SIM_CHAOS, 62);
    trio_replica(TRIO_PRIMARY)->failover_timeout_ns = TRIO_HASTY_NS;
    trio_isolate(TRIO_PRIMARY, true);
    const struct replica_change *change = trio_replica(TRIO_PRIMARY)->change;
    uint64_t resigned_ns = change->resigned_ns;
    uint32_t resigned = 0;
    for (uint32_t i = 0; i < 20 * HASTY_MS; i++) {
        trio_step();
        if (change->resigned_ns == resigned_ns) continue;
        expect(resigned == 0 || change->resigned_ns - resigned_ns >= 2 * TRIO_HASTY_NS);
        resigned_ns = change->resigned_ns;
        resigned += 1;
    }
    expect(resigned >= 5 && resigned <= 10);
    expect_equal(trio_replica(TRIO_PRIMARY)->view, 1);
    trio_isolate(TRIO_PRIMARY, false);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    expect_equal(trio_replica(1)->view, 1);

    trio_isolate(TRIO_PRIMARY, true);
    trio_hurry(1);
    trio_hurry(2);
    expect(serves_within(2, TRIO_PATIENCE_MS));
    const uint32_t view = trio_replica(2)->view;
    trio_isolate(TRIO_PRIMARY, false);
    expect(trio_answered_within(trio_create(TRIO_PRIMARY, 1), TRIO_PATIENCE_MS));
    trio_steps(5 * HASTY_MS);
    for (uint32_t i = 0; i < TRIO_NODES; i++) expect_equal(trio_replica(i)->view, view);
    trio_expect_rest(2);
    trio_end();
}

/* One of the others goes at once; the other one is down, so the new view needs the old primary. */
UNIT_TEST(primary_that_heard_nobody_goes_after_those_that_have_gone)
{
    trio_begin(NETWORK_SIM_CHAOS, 63);
    trio_stop(1);
    trio_replica(TRIO_PRIMARY)->failover_timeout_ns = TRIO_HASTY_NS;
    trio_cut(2, TRIO_PRIMARY, true);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS; i++) {
        if (trio_replica(2)->status == REPLICA_VIEW_CHANGE) break;
        trio_step();
    }
    expect_equal(trio_replica(2)->status, REPLICA_VIEW_CHANGE);
    trio_steps(3 * HASTY_MS);
    expect_equal(trio_replica(TRIO_PRIMARY)->view, 1);
    trio_cut(2, TRIO_PRIMARY, false);
    expect(serves_within(2, 700)); /* Votes are said again each 500 ms. */
    expect(trio_answered_within(trio_create(TRIO_PRIMARY, 1), TRIO_PATIENCE_MS));
    trio_start(1);
    trio_expect_rest(1);
    trio_end();
}

static void
begin_hasty(uint64_t seed)
{
    trio_begin(NETWORK_SIM_STREAMS, seed);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        trio_replica(i)->failover_timeout_ns = TRIO_HASTY_NS;
    }
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio_expect_rest(1);
}

/* What others have on disk can be committed without it; but nothing new is made. */
UNIT_TEST(primary_whose_disk_stands_still_is_replaced)
{
    begin_hasty(64);
    trio.nodes[TRIO_PRIMARY].disk_stands = true;
    const struct trio_asked *first = trio_create(1, 1);
    expect(trio_answered_within(first, 100));
    const struct trio_asked *second = trio_create(1, 1);
    const struct trio_asked *own = trio_create(TRIO_PRIMARY, 1);
    expect(serves_within(2, 3 * HASTY_MS));
    expect(trio_answered_within(second, TRIO_PATIENCE_MS));
    expect(trio_created(first) && trio_created(second));
    expect_equal(own->answers, 0);
    trio.nodes[TRIO_PRIMARY].disk_stands = false;
    expect(trio_answered_within(own, TRIO_PATIENCE_MS));
    trio_expect_rest(4);
    trio_end();
}

/* Where no quorum of others has the op on disk, another primary would do no better. */
UNIT_TEST(primary_stays_where_other_disks_stand_still_too)
{
    begin_hasty(65);
    trio.nodes[TRIO_PRIMARY].disk_stands = true;
    trio.nodes[1].disk_stands = true;
    const struct trio_asked *request = trio_create(2, 1);
    trio_steps(10 * HASTY_MS);
    expect_equal(trio.resignations, 0);
    expect_equal(trio_replica(2)->view, 1);
    expect_equal(request->answers, 0);
    trio.nodes[TRIO_PRIMARY].disk_stands = false;
    expect(trio_answered_within(request, TRIO_PATIENCE_MS));
    trio.nodes[1].disk_stands = false;
    trio_expect_rest(2);
    trio_end();
}

/*
 * One has missed that a view has begun, and the primary of that is gone for good. The two that are
 * left work in different views, and neither has a primary: each hears that the other has none.
 */
UNIT_TEST(two_in_different_views_without_a_primary_begin_another)
{
    trio_begin(NETWORK_SIM_CHAOS, 12);
    trio_create_many(TRIO_PRIMARY, 2, 1);
    trio_isolate(2, true);
    trio_hurry(TRIO_PRIMARY);
    trio_steps(600); /* It is no successor. */
    expect(replica_resign(trio_replica(TRIO_PRIMARY)));
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !trio_replica(1)->serving; i++) trio_step();
    expect(trio_replica(1)->serving);
    expect(trio_replica(TRIO_PRIMARY)->status == REPLICA_NORMAL);
    expect_equal(replica_view(trio_replica(2)), 1);
    expect(replica_view(trio_replica(TRIO_PRIMARY)) > 1);
    trio_stop(1);
    trio_isolate(2, false);
    trio_hurry(TRIO_PRIMARY);
    trio_hurry(2);
    expect(trio_answered_within(trio_create(2, 1), 20000));
    trio_end();
}

UNIT_MAIN(test_replica_resign)
