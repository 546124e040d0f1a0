/* SPDX-License-Identifier: PostgreSQL */
/*
 * Members that come and go: a lone ledger that becomes a cluster, guests that are let in and catch
 * up, members that are removed; and crashes between any two of the steps. (V12) of store/prepare.h,
 * as the replica keeps it.
 */
#include "unit/formation_fixture.h"
#include "unit/unit.h"

/* ---- Tests ----------------------------------------------------------------------------------- */

/* Without others it is what it was; with others, each of them takes requests and reads. */
UNIT_TEST(grows)
{
    formation_begin(1);
    formation_create(0);
    expect(formation_finds(0));
    expect(!formation_cluster_at(0).is_cluster);
    formation_form(1);
    expect(formation_cluster_at(0).is_cluster);
    formation_create(0);
    formation_start_guest(1);
    formation_start_guest(2);
    formation_await_guest(0, 1);
    formation_await_guest(0, 2);
    expect_equal(formation_cluster_at(0).count, 3);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    formation_await_voters(2);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_DONE);
    formation_await_voters(3);
    for (uint32_t i = 0; i < 9; i++) {
        formation_create(i % 3);
        expect(formation_finds((i + 1) % 3));
    }
    for (uint32_t i = 0; i < 3; i++) {
        const struct engine_cluster cluster = formation_cluster_at(i);
        expect_equal(cluster.count, 3);
        expect_equal(cluster.voters, 3);
        expect_equal(cluster.reachable, 3);
        expect_equal(cluster.primary, 0);
    }
    formation_end();
}

/* The table is the log's: it is what it was after all have lost their power. */
UNIT_TEST(restarts)
{
    formation_begin(2);
    formation_form(3);
    formation_create(1);
    for (uint32_t i = 0; i < 3; i++) formation_stop(i);
    for (uint32_t i = 0; i < 3; i++) formation_start_member(i);
    expect(formation_finds(2));
    formation_await_voters(3);
    /* Now through a checkpoint. */
    for (uint32_t i = 0; i < 60; i++) formation_create(i % 3);
    expect(formation_replica_of(0)->superblock->working->checkpoint.header.op > 10);
    for (uint32_t i = 0; i < 3; i++) formation_stop(i);
    for (uint32_t i = 0; i < 3; i++) formation_start_member(i);
    expect(formation_finds(1));
    formation_await_voters(3);
    for (uint32_t i = 1; i < 3; i++) {
        const bool same = memcmp(
            &formation_replica_of(0)->membership->committed,
            &formation_replica_of(i)->membership->committed,
            sizeof(struct members)) == 0;
        expect(same);
    }
    formation_end();
}

/* Whoever is primary, two of three go on. */
UNIT_TEST(one_fails)
{
    formation_begin(3);
    formation_form(3);
    for (uint32_t round = 0; round < 4; round++) {
        const uint32_t primary = formation_await_primary(round % 3);
        formation_create(primary);
        formation_stop(primary);
        const uint32_t other = (primary + 1) % 3;
        expect(formation_finds(other));
        formation_create(other);
        formation_start_member(primary);
        expect(formation_finds(primary));
    }
    formation_end();
}

UNIT_TEST(refusals)
{
    formation_begin(4);
    formation_create(0);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_NOT_CLUSTER);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_NOT_CLUSTER);
    formation_form(2);
    const uint64_t op = formation_replica_of(0)->op;
    expect_equal(formation_change(0, ENGINE_CHANGE_CREATE, 0), ENGINE_CHANGE_EXISTS);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_EXISTS);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_UNKNOWN);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_UNKNOWN);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_SELF);
    /* A backup asks the primary. */
    expect_equal(formation_change(1, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_UNKNOWN);
    expect_equal(formation_change(1, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_SELF);
    expect_equal(formation_change(1, ENGINE_CHANGE_CREATE, 1), ENGINE_CHANGE_EXISTS);
    expect_equal(formation_replica_of(0)->op, op); /* Nothing came into the log. */
    formation_wish(0, ENGINE_CHANGE_REMOVE, 1);
    struct engine_change second = {.kind = ENGINE_CHANGE_REMOVE, .callback = formation_on_changed};
    second.context = &formation_nodes[3];
    formation_name_of(1, second.name);
    engine_change_members(formation_nodes[0].engine, &second);
    expect_equal(second.result, ENGINE_CHANGE_BUSY);
    while (formation_nodes[0].changing) formation_step();
    expect_equal(formation_nodes[0].change.result, ENGINE_CHANGE_DONE);
    formation_end();
}

/* Who is removed isn't needed any more, and may come back as another. */
UNIT_TEST(removed)
{
    formation_begin(5);
    formation_form(3);
    formation_stop(2);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_DONE);
    expect_equal(formation_cluster_at(0).voters, 2);
    formation_start_member(2); /* The directory of who was removed is nobody's. */
    formation_steps(500);
    expect_equal(formation_cluster_at(0).reachable, 2);
    expect(!formation_replica_of(0)->peers[2].up);
    formation_create(1);
    formation_stop(2);
    formation_new_disk(2);
    formation_start_guest(2);
    formation_await_guest(0, 2);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 2), ENGINE_CHANGE_DONE);
    formation_await_voters(3);
    expect(formation_finds(2));
    formation_stop(1);
    formation_create(2);
    formation_end();
}

/* Who gives the first change up at any moment, and asks again, gets it once. */
UNIT_TEST(creation_is_withdrawn)
{
    for (uint32_t after = 0; after < 30; after++) {
        formation_begin(200 + after);
        formation_create(0);
        formation_wish(0, ENGINE_CHANGE_CREATE, 0);
        formation_steps(after);
        const bool withdrawn =
            engine_change_cancel(formation_nodes[0].engine, &formation_nodes[0].change);
        expect(withdrawn == formation_nodes[0].changing);
        formation_nodes[0].changing = false;
        const enum engine_change_result result = formation_change(0, ENGINE_CHANGE_CREATE, 0);
        expect(result == ENGINE_CHANGE_DONE || result == ENGINE_CHANGE_EXISTS);
        expect(formation_cluster_at(0).is_cluster);
        formation_create(0);
        formation_end();
    }
}

/* A change may be asked for at any member, again and again, and is made once. */
UNIT_TEST(asked_at_a_backup)
{
    formation_begin(9);
    formation_form(2);
    formation_start_guest(2);
    formation_await_guest(0, 2);
    const uint64_t op = formation_replica_of(0)->op;
    /* What it asks gets lost, and is asked again. */
    network_sim_cut(&formation_net, 1, 0, true);
    formation_wish(1, ENGINE_CHANGE_ADD, 2);
    formation_steps(300);
    expect(formation_nodes[1].changing);
    expect_equal(formation_replica_of(0)->op, op);
    network_sim_cut(&formation_net, 1, 0, false);
    while (formation_nodes[1].changing) formation_step();
    expect_equal(formation_nodes[1].change.result, ENGINE_CHANGE_DONE);
    formation_await_voters(3);
    expect_equal(formation_replica_of(0)->op, op + 2); /* Added, and promoted. */
    /* Who has given a wish up may have another. */
    formation_wish(1, ENGINE_CHANGE_REMOVE, 2);
    expect(engine_change_cancel(formation_nodes[1].engine, &formation_nodes[1].change));
    formation_nodes[1].changing = false;
    const enum engine_change_result result = formation_change(1, ENGINE_CHANGE_REMOVE, 2);
    expect(result == ENGINE_CHANGE_DONE || result == ENGINE_CHANGE_UNKNOWN);
    expect_equal(formation_cluster_at(0).voters, 2);
    /* Without a primary it isn't known what becomes of it. */
    formation_stop(0);
    formation_wish(1, ENGINE_CHANGE_REMOVE, 0);
    for (uint32_t ms = 0; formation_nodes[1].changing; ms++) {
        assert(ms < FORMATION_PATIENCE_MS);
        if (ms == 9000) formation_start_member(0);
        formation_step();
    }
    expect(formation_nodes[1].change.result != ENGINE_CHANGE_DONE);
    formation_end();
}

/* The log must reach back to the beginning, or nothing is changed. */
UNIT_TEST(log_too_short)
{
    formation_begin(6);
    formation_form(1);
    for (uint32_t i = 0; i < 60; i++) formation_create(0);
    formation_start_guest(1);
    formation_await_guest(0, 1);
    const uint64_t op = formation_replica_of(0)->op;
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_LOG);
    expect_equal(formation_replica_of(0)->op, op);
    expect(formation_nodes[1].state == GUEST);
    formation_end();
}

/* Waits until guests 1 and 2 know of node a as a member, or of none. */
static void
await_member_at_guests(bool known)
{
    for (uint32_t ms = 0; ms < 20000; ms++) {
        uint32_t right = 0;
        for (uint32_t i = 1; i < 3; i++) {
            assert(formation_nodes[i].state == GUEST);
            const char *name = engine_guest_member(formation_nodes[i].guest);
            right += known ? name != NULL && strcmp(name, "a") == 0 : name == NULL;
        }
        if (right == 2) return;
        formation_step();
    }
    expect(!"guests know who is there");
}

/* A guest knows whether one that it is connected with has a ledger. */
UNIT_TEST(guest_that_reaches_a_ledger)
{
    formation_begin(7);
    formation_stop(0);
    formation_start_guest(1);
    formation_start_guest(2);
    formation_steps(2000);
    await_member_at_guests(false); /* Each reaches another guest. */
    formation_start_member(0);
    await_member_at_guests(true);
    formation_stop(0);
    await_member_at_guests(false);
    formation_end();
}

/* A power cut at each moment of an addition: then it is done, or it can be done again. */
UNIT_TEST(crashes)
{
    for (uint32_t at = 1; at < 60; at++) {
        formation_begin(100 + at);
        formation_form(1);
        formation_create(0);
        formation_start_guest(1);
        formation_await_guest(0, 1);
        formation_nodes[1].keeps_waiting = at % 2 == 0; /* What it was told is lost with it. */
        formation_wish(0, ENGINE_CHANGE_ADD, 1);
        formation_steps(at);
        const uint32_t victim = at % 3 == 0 ? 1 : 0;
        const bool guest = formation_nodes[victim].state == GUEST;
        formation_stop(victim);
        formation_nodes[1].keeps_waiting = false;
        if (guest) {
            formation_start_guest(victim);
        } else {
            formation_start_member(victim);
        }
        formation_steps(2000);
        if (!formation_is_voter(0, 1) && !formation_nodes[0].changing) {
            const enum engine_change_result result = formation_change(0, ENGINE_CHANGE_ADD, 1);
            expect(result == ENGINE_CHANGE_DONE || result == ENGINE_CHANGE_EXISTS);
        }
        formation_await_voters(2);
        formation_create(1);
        expect(formation_finds(0));
        formation_end();
    }
}

/*
 * (V12) A change that only the old primary has is dropped with the rest of what it had alone, and
 * counts for nobody then; and it isn't made before all before it is committed.
 */
UNIT_TEST(dropped)
{
    formation_begin(7);
    formation_form(3);
    formation_create(1);
    for (uint32_t i = 1; i < 3; i++) {
        network_sim_cut(&formation_net, 0, i, true);
        network_sim_cut(&formation_net, i, 0, true);
    }
    formation_wish(0, ENGINE_CHANGE_REMOVE, 2);
    formation_steps(30);
    expect_equal(formation_replica_of(0)->op, formation_replica_of(0)->commit + 1);
    expect_equal(formation_cluster_at(0).voters, 2);
    expect(formation_is_voter(0, 2)); /* As far as it is committed. */
    expect(formation_finds(1)); /* The two others have gone on. */
    formation_create(2);
    for (uint32_t i = 1; i < 3; i++) {
        network_sim_cut(&formation_net, 0, i, false);
        network_sim_cut(&formation_net, i, 0, false);
    }
    while (formation_nodes[0].changing) formation_step();
    expect(formation_nodes[0].change.result == ENGINE_CHANGE_FAILED);
    expect(formation_finds(0));
    /* What was cut isn't in the table any more, neither here nor for the next change. */
    const struct replica_membership *membership = formation_replica_of(0)->membership;
    expect(memcmp(&membership->now, &membership->committed, sizeof(membership->now)) == 0);
    formation_await_voters(3);
    expect_equal(formation_cluster_at(0).voters, 3);
    formation_end();
}

/* (V12) A change that isn't known to be committed counts after a restart, too. */
UNIT_TEST(counts_after_a_restart)
{
    formation_begin(18);
    formation_form(3);
    formation_create(0);
    for (uint32_t i = 1; i < 3; i++) formation_stop(i);
    formation_wish(0, ENGINE_CHANGE_REMOVE, 2);
    formation_steps(50);
    const uint64_t op = formation_replica_of(0)->op;
    expect(formation_replica_of(0)->commit < op);
    formation_stop(0);
    formation_start_member(0);
    const struct replica_membership *membership = formation_replica_of(0)->membership;
    expect_equal(formation_replica_of(0)->op, op);
    expect_equal(membership->committed.slots[2].role, MEMBER_VOTER);
    expect_equal(membership->now.slots[2].role, MEMBER_NONE);
    formation_end();
}

/* Two voters need each other: one can't even be removed alone while something waits. */
UNIT_TEST(two)
{
    formation_begin(8);
    formation_form(2);
    formation_create(1);
    formation_stop(1);
    formation_ask_to_create(0);
    formation_steps(3000);
    expect(formation_nodes[0].asking);
    formation_wish(0, ENGINE_CHANGE_REMOVE, 1);
    formation_steps(3000);
    expect(formation_nodes[0].changing);
    formation_start_member(1);
    formation_await(0);
    while (formation_nodes[0].changing) formation_step();
    formation_end();
}

UNIT_MAIN(test_formation)
