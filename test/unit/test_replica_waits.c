/* SPDX-License-Identifier: PostgreSQL */
/*
 * Waiting where no primary works: invariant (R13) of vsr/replica.h, on three members
 * (trio_fixture.h).
 */
#include "unit/trio_fixture.h"
#include "unit/unit.h"

#define WAIT_MS 700
/* Votes that got no answer are said again after half a second. */
#define ALL_HEAR_MS 1000

static struct trio_asked *
create_for(uint32_t number, uint32_t count, uint32_t wait_ms)
{
    struct trio_asked *asked = trio_create(number, count);
    asked->request.wait_ns = wait_ms * NS_PER_MS;
    memset(asked->reply, 0xaa, sizeof(asked->reply));
    return asked;
}

static struct trio_asked *
look_up_for(uint32_t number, u128 id, uint32_t wait_ms)
{
    struct trio_asked *asked = trio_look_up(number, id);
    asked->request.wait_ns = wait_ms * NS_PER_MS;
    return asked;
}

static bool
untouched(const struct trio_asked *asked)
{
    for (size_t i = 0; i < sizeof(asked->reply); i++) {
        if (asked->reply[i] != 0xaa) return false;
    }
    return asked->answers == 1;
}

/* What was sent may yet come; what waited for its turn never will. */
UNIT_TEST(r13_creates_at_a_backup_that_hears_nothing_are_given_up)
{
    struct trio_asked *sent[REPLICA_REQUESTS_PER_PEER];
    struct trio_asked *waiting[3];
    trio_begin(NETWORK_SIM_CHAOS, 30);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio_hurry(1);
    trio_isolate(1, true);
    for (uint32_t i = 0; i < ARRAY_COUNT(sent); i++) {
        sent[i] = create_for(1, 1, WAIT_MS);
        trio_step();
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(waiting); i++) waiting[i] = create_for(1, 1, WAIT_MS);
    struct trio_asked *patient = create_for(1, 1, 0);
    trio_steps(WAIT_MS - 2 * ENGINE_TICK_MS);
    expect_equal(sent[0]->answers, 0);
    expect_equal(waiting[0]->answers, 0);
    trio_steps(4 * ENGINE_TICK_MS);
    for (uint32_t i = 0; i < ARRAY_COUNT(sent); i++) {
        expect_equal(sent[i]->request.status, ENGINE_UNKNOWN);
        expect(untouched(sent[i]));
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(waiting); i++) {
        expect_equal(waiting[i]->request.status, ENGINE_NO_QUORUM);
        expect(untouched(waiting[i]));
    }
    expect_equal(patient->answers, 0);
    trio_isolate(1, false);
    expect(trio_answered_within(patient, TRIO_PATIENCE_MS));
    expect(trio_created(patient));
    trio_expect_rest(2); /* The messages were lost, and nothing of them comes again. */
    trio_end();
}

/* It is on all disks, and only the acknowledgements are lost: later it executes, for nobody. */
UNIT_TEST(r13_create_that_executes_after_it_was_given_up_tells_nobody)
{
    trio_begin(NETWORK_SIM_CHAOS, 31);
    expect(trio_answered_within(trio_create(TRIO_PRIMARY, 1), TRIO_PATIENCE_MS));
    trio_expect_rest(1);
    trio_hurry(TRIO_PRIMARY);
    trio_cut(1, TRIO_PRIMARY, true);
    trio_cut(2, TRIO_PRIMARY, true);
    struct trio_asked *first = create_for(TRIO_PRIMARY, 2, WAIT_MS);
    trio_steps(20);
    struct trio_asked *second = create_for(TRIO_PRIMARY, 1, 0);
    struct trio_asked *third = create_for(TRIO_PRIMARY, 3, WAIT_MS);
    trio_steps(WAIT_MS + 2 * ENGINE_TICK_MS);
    expect_equal(first->request.status, ENGINE_UNKNOWN);
    expect_equal(third->request.status, ENGINE_UNKNOWN);
    expect(untouched(first) && untouched(third));
    expect_equal(second->answers, 0);
    /* Its buffers are the caller's again. */
    memset(first->input, 0, sizeof(first->input));
    trio_cut(1, TRIO_PRIMARY, false);
    trio_cut(2, TRIO_PRIMARY, false);
    expect(trio_answered_within(second, TRIO_PATIENCE_MS));
    expect(trio_created(second));
    trio_expect_rest(7);
    expect(untouched(first) && untouched(third));
    trio_end();
}

/* Each request given up lies between others that wait on: those keep their order and numbers. */
UNIT_TEST(r13_requests_between_which_others_are_given_up_execute_once)
{
    struct trio_asked *asked[24];
    uint32_t accounts = 1;
    trio_begin(NETWORK_SIM_CHAOS, 32);
    expect(trio_answered_within(trio_create(2, 1), TRIO_PATIENCE_MS));
    trio_hurry(2);
    trio_cut(2, TRIO_PRIMARY, true);
    trio_cut(TRIO_PRIMARY, 2, true);
    for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
        asked[i] = create_for(2, 1, i % 3 == 1 ? WAIT_MS : 0);
        if (i % 5 == 0) trio_step();
    }
    trio_steps(WAIT_MS + 2 * ENGINE_TICK_MS);
    for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
        expect_equal(asked[i]->answers, i % 3 == 1);
        accounts += i % 3 != 1;
    }
    trio_cut(2, TRIO_PRIMARY, false);
    trio_cut(TRIO_PRIMARY, 2, false);
    for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
        expect(trio_answered_within(asked[i], TRIO_PATIENCE_MS));
        if (i % 3 == 1) {
            expect(untouched(asked[i]));
        } else {
            expect(trio_created(asked[i]));
        }
    }
    trio_expect_rest(accounts);
    trio_end();
}

/* Reads end likewise. One that this node's state will do for waits for nobody. */
UNIT_TEST(r13_reads_where_nobody_leads_are_given_up)
{
    trio_begin(NETWORK_SIM_CHAOS, 33);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    const u128 id = trio.id_last;
    trio_expect_rest(1);
    for (uint32_t i = 0; i < 2; i++) {
        trio_hurry(i);
        trio_isolate(i, true);
        const struct trio_asked *read = look_up_for(i, id, WAIT_MS);
        const struct trio_asked *patient = look_up_for(i, id, 0);
        struct trio_asked *local = look_up_for(i, id, WAIT_MS);
        local->request.local = true;
        trio_steps(WAIT_MS - 2 * ENGINE_TICK_MS);
        expect(trio_found(local));
        expect_equal(read->answers, 0);
        trio_steps(4 * ENGINE_TICK_MS);
        expect_equal(read->answers, 1);
        expect_equal(read->request.status, ENGINE_NO_QUORUM);
        expect_equal(patient->answers, 0);
        trio_isolate(i, false);
        expect(trio_answered_within(patient, TRIO_PATIENCE_MS));
        expect(trio_found(patient));
        trio_expect_rest(1);
        /* The next one that is cut off must have heard that the view has begun. */
        trio_steps(ALL_HEAR_MS);
        for (uint32_t n = 0; n < TRIO_NODES; n++) {
            expect_equal(trio_replica(n)->status, REPLICA_NORMAL);
        }
    }
    trio_end();
}

/* The primary works, and it is the disks of the others that take long. */
UNIT_TEST(r13_nothing_is_given_up_while_a_primary_works)
{
    trio_begin(NETWORK_SIM_STREAMS, 34);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        trio_replica(i)->failover_timeout_ns = TRIO_HASTY_NS;
    }
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio.nodes[1].disk_stands = true;
    trio.nodes[2].disk_stands = true;
    struct trio_asked *asked[TRIO_NODES];
    for (uint32_t i = 0; i < TRIO_NODES; i++) asked[i] = create_for(i, 1, 1);
    trio_steps(5 * WAIT_MS);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        expect(replica_led(trio_replica(i)));
        expect_equal(asked[i]->answers, 0);
    }
    trio.nodes[1].disk_stands = false;
    trio.nodes[2].disk_stands = false;
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        expect(trio_answered_within(asked[i], TRIO_PATIENCE_MS));
        expect(trio_created(asked[i]));
    }
    trio_expect_rest(4);
    trio_end();
}

static void
stop_and_notice(uint32_t number)
{
    const struct replica_peer *peer = &trio_replica(TRIO_PRIMARY)->peers[trio_slot(number)];
    trio_stop(number);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && peer->up; i++) trio_step();
    expect(!peer->up);
}

/* A primary that is left alone takes nothing that it would have to answer in doubt. */
UNIT_TEST(r13_creates_at_a_primary_that_reaches_nobody_took_no_effect)
{
    trio_begin(NETWORK_SIM_STREAMS, 37);
    expect(trio_answered_within(trio_create(TRIO_PRIMARY, 1), TRIO_PATIENCE_MS));
    trio_expect_rest(1);
    trio_hurry(TRIO_PRIMARY);
    stop_and_notice(1);
    struct trio_asked *sure = create_for(TRIO_PRIMARY, 1, 0);
    expect(trio_answered_within(sure, TRIO_PATIENCE_MS)); /* Two of three do. */
    stop_and_notice(2);
    struct trio_asked *asked = create_for(TRIO_PRIMARY, 1, WAIT_MS);
    struct trio_asked *patient = create_for(TRIO_PRIMARY, 1, 0);
    trio_steps(WAIT_MS + TRIO_HASTY_NS / NS_PER_MS);
    expect_equal(asked->request.status, ENGINE_NO_QUORUM);
    expect(untouched(asked));
    expect_equal(patient->answers, 0);
    trio_start(2);
    trio_hurry(2);
    expect(trio_answered_within(patient, TRIO_PATIENCE_MS));
    expect(trio_created(patient));
    trio_start(1);
    trio_expect_rest(3);
    trio_end();
}

/* While a view changes, nobody leads; and a wait that was over before ends then. */
UNIT_TEST(r13_waits_end_while_no_view_can_begin)
{
    trio_begin(NETWORK_SIM_STREAMS, 35);
    trio_hurry(1);
    trio_hurry(2);
    trio_stop(TRIO_PRIMARY);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS; i++) {
        if (trio_replica(1)->status == REPLICA_VIEW_CHANGE) break;
        trio_step();
    }
    expect_equal(trio_replica(1)->status, REPLICA_VIEW_CHANGE);
    trio_stop(2);
    struct trio_asked *create = create_for(1, 1, WAIT_MS);
    const struct trio_asked *read = look_up_for(1, 1, WAIT_MS);
    trio_steps(WAIT_MS - 2 * ENGINE_TICK_MS);
    expect_equal(create->answers, 0);
    trio_steps(4 * ENGINE_TICK_MS);
    expect_equal(create->request.status, ENGINE_NO_QUORUM);
    expect(untouched(create));
    expect_equal(read->answers, 1);
    expect_equal(read->request.status, ENGINE_NO_QUORUM);
    trio_start(2);
    trio_hurry(2);
    expect(trio_answered_within(trio_create(1, 2), TRIO_PATIENCE_MS));
    trio_end();
}

/* It has sent them, and would take them itself now. Nobody has its log, so it doesn't work yet. */
UNIT_TEST(r13_requests_that_a_new_primary_has_yet_to_take_are_given_up)
{
    trio_begin(NETWORK_SIM_CHAOS, 36);
    trio_cut(2, TRIO_PRIMARY, true);
    struct trio_asked *lost[3];
    for (uint32_t i = 0; i < ARRAY_COUNT(lost); i++) {
        lost[i] = create_for(2, 1, 0);
        trio_step();
    }
    trio_stop(TRIO_PRIMARY);
    trio_hurry(1);
    trio_hurry(2);
    const struct replica *new = trio_replica(2);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS; i++) {
        if (new->status == REPLICA_VIEW_CHANGE && new->change->voted[trio_slot(1)]) break;
        trio_step();
    }
    trio_cut(2, 1, true);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !new->primary; i++) trio_step();
    expect(new->primary && !new->serving);
    expect(new->unsent == &lost[0]->request.create);
    lost[0]->request.create.deadline_ns = 1;
    lost[1]->request.create.deadline_ns = 1;
    trio_steps(2 * ENGINE_TICK_MS);
    expect(new->primary && new->unsent == &lost[2]->request.create);
    trio_cut(2, 1, false);
    expect(trio_answered_within(lost[2], TRIO_PATIENCE_MS));
    expect(trio_created(lost[2]));
    for (uint32_t i = 0; i < 2; i++) {
        expect_equal(lost[i]->request.status, ENGINE_UNKNOWN);
        expect(untouched(lost[i]));
    }
    trio_cut(2, TRIO_PRIMARY, false);
    trio_start(TRIO_PRIMARY);
    trio_expect_rest(1);
    trio_end();
}

/* A full disk: what is committed isn't executed there, and so nothing is answered. */
static void
fill_disk(struct storage_sim *disk)
{
    for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) {
        disk->options.space_limit_bytes += disk->storage.file_size_bytes[i];
    }
}

UNIT_TEST(r13_calls_at_a_member_without_room_are_given_up)
{
    uint32_t accounts = 1;
    trio_begin(NETWORK_SIM_CHAOS, 36);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    const u128 id = trio.id_last;
    trio_expect_rest(1);
    const struct replica *replica = trio_replica(2);
    fill_disk(&trio.nodes[2].disk);
    for (uint32_t i = 0; i < 400 && !replica->no_room; i++) {
        expect(trio_answered_within(trio_create(1, EVENTS_PER_BATCH_MAX), TRIO_PATIENCE_MS));
        accounts += EVENTS_PER_BATCH_MAX;
    }
    expect(replica->no_room);
    expect(replica_led(replica));
    const struct trio_asked *create = create_for(2, 1, WAIT_MS);
    const struct trio_asked *read = look_up_for(2, id, WAIT_MS);
    struct trio_asked *patient = create_for(2, 1, 0);
    struct trio_asked *local = look_up_for(2, id, WAIT_MS);
    local->request.local = true;
    trio_steps(WAIT_MS - 2 * ENGINE_TICK_MS);
    expect(trio_found(local));
    expect_equal(create->answers + read->answers, 0);
    trio_steps(4 * ENGINE_TICK_MS);
    expect(untouched(create));
    expect_equal(create->request.status, ENGINE_UNKNOWN); /* The others have executed it. */
    expect_equal(read->answers, 1);
    expect_equal(read->request.status, ENGINE_NO_QUORUM);
    expect_equal(patient->answers, 0);
    trio.nodes[2].disk.options.space_limit_bytes = 0;
    expect(trio_answered_within(patient, TRIO_PATIENCE_MS));
    expect(trio_created(patient));
    expect(untouched(create));
    trio_expect_rest(accounts + 2);
    trio_end();
}

UNIT_MAIN(test_replica_waits)
