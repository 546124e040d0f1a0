/* SPDX-License-Identifier: PostgreSQL */
/*
 * Three members on a simulated network (trio_fixture.h): invariants (R9), (R10) and (R11) of
 * vsr/replica.h, and (R8) between members.
 */
#include "unit/trio_fixture.h"
#include "unit/unit.h"

/* ---- (R8) Requests at backups ---------------------------------------------------------------- */

/* Each message comes twice, and some late: each request is executed once. */
UNIT_TEST(r8_requests_whose_messages_are_doubled_execute_once)
{
    trio_begin(NETWORK_SIM_CHAOS, 1);
    for (uint32_t from = 0; from < TRIO_NODES; from++) {
        for (uint32_t to = 0; to < TRIO_NODES; to++) {
            trio.net.options.wires[from][to].duplicate_per_million = 1000000;
            trio.net.options.wires[from][to].latency_max_ns = 30 * NS_PER_MS;
        }
    }
    for (uint32_t i = 0; i < 60; i++) {
        (void) trio_create(i % TRIO_NODES, 1);
        trio_steps(i % 7);
    }
    for (uint32_t i = 0; i < 60; i++) {
        expect(trio_answered_within(&trio.asked[i], TRIO_PATIENCE_MS));
        expect(trio_created(&trio.asked[i]));
    }
    expect(trio.net.counters.duplicated > 100 && trio.net.counters.overtaken > 10);
    trio_expect_rest(60);
    trio_end();
}

/* The connection ends, once before the request gets out and once before its prepare comes back. */
UNIT_TEST(r8_request_whose_connection_breaks_executes_once)
{
    for (uint32_t when = 0; when < 12; when++) {
        trio_begin(NETWORK_SIM_STREAMS, 10 + when);
        trio.net.options.timeout_ns = 50 * NS_PER_MS;
        const struct trio_asked *request = trio_create(1, 2);
        trio_steps(when);
        trio_cut(1, 0, true);
        trio_cut(0, 1, true);
        trio_steps(200);
        expect(!trio_connected(0, 1));
        trio_cut(1, 0, false);
        trio_cut(0, 1, false);
        expect(trio_answered_within(request, TRIO_PATIENCE_MS));
        expect(trio_created(request));
        trio_expect_rest(2);
        trio_end();
    }
}

/* The first message is lost, the second is taken: the first request never executes as it was. */
UNIT_TEST(r8_overtaken_request_gets_a_new_number)
{
    trio_begin(NETWORK_SIM_CHAOS, 2);
    trio_cut(1, 0, true);
    struct trio_asked *first = trio_create(1, 1);
    trio_steps(10);
    trio_cut(1, 0, false);
    struct trio_asked *second = trio_create(1, 1);
    expect(trio_answered_within(second, 200));
    expect_equal(second->request.create.number, 2);
    expect(trio_answered_within(first, 200)); /* Sooner than everything is sent again. */
    expect_equal(first->request.create.number, 3);
    expect(trio_created(first) && trio_created(second));
    trio_expect_rest(2);
    trio_end();
}

/* The primary's disk takes no growth from the beginning, so nothing has room. */
static void
begin_without_room(enum network_sim_model model, uint64_t seed)
{
    trio_begin(model, seed);
    struct storage_sim *disk = &trio.nodes[TRIO_PRIMARY].disk;
    uint64_t size = 0;
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        size += disk->storage.file_size_bytes[file];
    }
    disk->options.space_limit_bytes = size;
}

UNIT_TEST(r8_request_without_room_at_the_primary_is_refused_and_never_executes)
{
    begin_without_room(NETWORK_SIM_STREAMS, 3);
    const struct trio_asked *refused = trio_create(1, 3);
    expect(trio_answered_within(refused, TRIO_PATIENCE_MS));
    expect_equal(refused->request.status, ENGINE_DISK_FULL);
    expect_equal(trio_commit(TRIO_PRIMARY), 0);

    trio.nodes[TRIO_PRIMARY].disk.options.space_limit_bytes = 0;
    const struct trio_asked *next = trio_create(1, 2);
    expect(trio_answered_within(next, TRIO_PATIENCE_MS));
    expect(trio_created(next));
    expect_equal(next->request.create.number, 2);
    trio_expect_rest(2);
    trio_end();
}

/* The refusal gets lost, and nothing else is asked that could overtake the request. */
UNIT_TEST(r8_refusal_that_is_lost_is_said_again)
{
    begin_without_room(NETWORK_SIM_CHAOS, 4);
    const struct trio_asked *refused = trio_create(1, 1);
    trio_cut(0, 1, true);
    trio_steps(500);
    expect_equal(trio_replica(TRIO_PRIMARY)->accepted.slots[trio_slot(1)].number, 1);
    trio_cut(0, 1, false);
    expect(trio_answered_within(refused, TRIO_PATIENCE_MS));
    expect_equal(refused->request.status, ENGINE_DISK_FULL);
    trio.nodes[TRIO_PRIMARY].disk.options.space_limit_bytes = 0;
    trio_expect_rest(0);
    trio_end();
}

/*
 * Of three requests the second is refused while the first, which is committed, waits for this
 * node's disk. What is sent again has a gap between its numbers.
 */
UNIT_TEST(r8_requests_around_a_refused_one_are_sent_again)
{
    trio_begin(NETWORK_SIM_CHAOS, 5);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio.nodes[1].disk_stands = true;
    const struct trio_asked *first = trio_create(1, 1);
    trio_steps(50);
    expect_equal(trio_commit(TRIO_PRIMARY), 2);
    struct message_header refusal = {
        .view = 1,
        .command = MESSAGE_REFUSE,
        .sender = trio_slot(TRIO_PRIMARY),
        .as.numbers =
            {
                .session = trio.nodes[1].session,
                .number = 3,
                .count = 1,
                .reason = MESSAGE_REFUSE_DISK,
            },
    };
    trio_cut(1, 0, true);
    const struct trio_asked *second = trio_create(1, 1);
    trio_steps(20);
    replica_on_refuse(trio_replica(1), &refusal);
    expect_equal(second->answers, 1);
    expect_equal(second->request.status, ENGINE_DISK_FULL);
    expect_equal(first->answers, 0);

    const struct trio_asked *third = trio_create(1, 1);
    trio_steps(20);
    trio_cut(1, 0, false);
    trio_steps(1000);
    trio.nodes[1].disk_stands = false;
    expect(trio_answered_within(third, TRIO_PATIENCE_MS));
    expect(trio_created(first) && trio_created(third));
    trio_expect_rest(3);
    trio_end();
}

/* ---- (R9) ------------------------------------------------------------------------------------ */

/* on_sent compares what is acknowledged with the disk. While one stands, nothing more is. */
UNIT_TEST(r9_acknowledgement_is_sent_only_when_durable)
{
    trio_begin(NETWORK_SIM_STREAMS, 6);
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio.nodes[i].disk.options.latency_max_ticks = 15;
    for (uint32_t i = 0; i < 40; i++) {
        (void) trio_create(i % TRIO_NODES, 1 + i % 5);
        trio_steps(i % 20);
    }
    trio_expect_rest(120);
    expect_equal(trio.nodes[1].acked, trio_commit(TRIO_PRIMARY));
    expect_equal(trio.nodes[2].acked, trio_commit(TRIO_PRIMARY));

    const uint64_t acked = trio.nodes[1].acked;
    trio.nodes[1].disk_stands = true;
    trio.nodes[2].disk_stands = true;
    const struct trio_asked *request = trio_create(TRIO_PRIMARY, 1);
    expect(!trio_answered_within(request, 500));
    expect_equal(trio_replica(1)->op, acked + 1);
    expect_equal(trio.nodes[1].acked, acked);
    expect_equal(trio.nodes[2].acked, acked);
    trio.nodes[2].disk_stands = false;
    expect(trio_answered_within(request, TRIO_PATIENCE_MS));
    expect_equal(trio.nodes[1].acked, acked);
    trio.nodes[1].disk_stands = false;
    trio_expect_rest(121);
    trio_end();
}

/* The host waits for the end of that write, and learns from how long it takes. */
UNIT_TEST(op_that_is_being_written_is_the_next_one_on_disk_and_not_the_newest)
{
    trio_begin(NETWORK_SIM_STREAMS, 17);
    trio.nodes[1].disk_stands = true;
    trio_create_many(TRIO_PRIMARY, 4, 1);
    trio_steps(100);
    const struct engine *backup = trio.nodes[1].engine;
    expect_equal(trio_replica(1)->op, 4);
    expect_equal(trio_replica(1)->journaled, 0);
    expect_equal(engine_writing_op(backup), 1);
    expect(!engine_creates_wait(backup)); /* They are sent. */
    expect_equal(engine_writing_op(trio.nodes[TRIO_PRIMARY].engine), 0);
    expect(!engine_creates_wait(trio.nodes[TRIO_PRIMARY].engine));
    trio.nodes[1].disk_stands = false;
    uint64_t seen = 1;
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && trio_replica(1)->journaled < 4; i++) {
        trio_step();
        const uint64_t writing = engine_writing_op(backup);
        if (writing == 0) continue;
        expect_equal(writing, trio_replica(1)->journaled + 1);
        seen |= UINT64_C(1) << writing;
    }
    expect_equal(seen, 0x1f);
    trio.nodes[TRIO_PRIMARY].disk_stands = true;
    (void) trio_create(TRIO_PRIMARY, 1);
    trio_steps(2);
    expect_equal(engine_writing_op(trio.nodes[TRIO_PRIMARY].engine), 5);
    expect(engine_creates_wait(trio.nodes[TRIO_PRIMARY].engine));
    trio.nodes[TRIO_PRIMARY].disk_stands = false;
    trio_expect_rest(5);
    trio_end();
}

/* ---- (R10) ----------------------------------------------------------------------------------- */

/*
 * It has the prepare, and then hears nothing of the primary any more. Another backup, which hears
 * its suspicion and doesn't share it, tells that the op is committed.
 */
UNIT_TEST(r10_backup_that_does_not_hear_the_primary_hears_of_commits_from_another)
{
    trio_begin(NETWORK_SIM_CHAOS, 18);
    trio_cut(1, TRIO_PRIMARY, true);
    trio_cut(2, TRIO_PRIMARY, true);
    const struct trio_asked *own = trio_create(TRIO_PRIMARY, 1);
    for (uint32_t i = 0; i < 100 && trio_replica(2)->journaled == 0; i++) trio_step();
    expect_equal(trio_replica(2)->journaled, 1);
    trio_cut(TRIO_PRIMARY, 2, true);
    trio_cut(1, TRIO_PRIMARY, false);
    expect(trio_answered_within(own, TRIO_PATIENCE_MS));
    trio_steps(200);
    expect_equal(trio_commit(1), 1);
    expect_equal(trio_commit(2), 0);
    trio_hurry(2);
    trio_steps((uint32_t) (2 * TRIO_HASTY_NS / NS_PER_MS));
    expect_equal(trio_commit(2), 1);
    expect(!replica_led(trio_replica(2))); /* That isn't the primary's voice. */
    expect_equal(trio_replica(2)->status, REPLICA_NORMAL);
    trio_cut(TRIO_PRIMARY, 2, false);
    trio_cut(2, TRIO_PRIMARY, false);
    trio_expect_rest(1);
    trio_end();
}

/* Backups have it on disk, and nobody knows yet that they do. */
UNIT_TEST(r10_what_is_not_committed_is_not_executed)
{
    trio_begin(NETWORK_SIM_STREAMS, 7);
    trio_cut(1, 0, true);
    trio_cut(2, 0, true);
    const struct trio_asked *request = trio_create(TRIO_PRIMARY, 1);
    trio_steps(500);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        expect_equal(trio.nodes[i].op_durable, 1);
        expect_equal(trio_commit(i), 0);
    }
    expect_equal(request->answers, 0);
    trio_cut(1, 0, false);
    expect(trio_answered_within(request, TRIO_PATIENCE_MS));
    trio_cut(2, 0, false);
    trio_expect_rest(1);
    trio_end();
}

/*
 * A backup restarts with ops that it never acknowledged. It doesn't take them for the view's before
 * the primary has named them; and it asks, if what the primary has sent again gets lost.
 */
UNIT_TEST(r10_what_a_restart_finds_is_executed_when_it_is_known_to_be_of_the_view)
{
    trio_begin(NETWORK_SIM_CHAOS, 8);
    expect(trio_answered_within(trio_create(TRIO_PRIMARY, 1), TRIO_PATIENCE_MS));
    trio_expect_rest(1);
    trio_stop(2);
    trio_cut(1, 0, true);
    const struct trio_asked *first = trio_create(TRIO_PRIMARY, 1);
    trio_steps(50);
    const struct trio_asked *second = trio_create(TRIO_PRIMARY, 1);
    trio_steps(50);
    expect_equal(trio.nodes[1].op_durable, 3);
    trio_stop(1);
    trio_cut(1, 0, false);
    trio_start(1);
    const struct replica *backup = trio_replica(1);
    expect_equal(backup->journaled, 3);
    expect_equal(backup->linked, 1);
    for (uint32_t i = 0; !trio_connected(0, 1); i++) {
        assert(i < TRIO_PATIENCE_MS);
        expect_equal(trio_commit(1), 1);
        trio_step();
    }
    trio_cut(0, 1, true);
    trio_steps(100);
    expect_equal(backup->linked, 1);
    expect_equal(trio_commit(1), 1);
    trio_cut(0, 1, false);
    expect(trio_answered_within(second, TRIO_PATIENCE_MS));
    expect(trio_created(first) && trio_created(second));
    trio_start(2);
    trio_expect_rest(3);
    trio_end();
}

/* ---- (R11) ----------------------------------------------------------------------------------- */

/* What was answered at one node is seen at each, also at one that hears of everything late. */
UNIT_TEST(r11_read_sees_what_was_answered_anywhere_before)
{
    trio_begin(NETWORK_SIM_STREAMS, 9);
    network_sim_slow(&trio.net, 0, 2, 60);
    for (uint32_t i = 0; i < 12; i++) {
        const uint32_t writer = i % 2; /* The slow one would answer when it has caught up. */
        expect(trio_answered_within(trio_create(writer, 1), TRIO_PATIENCE_MS));
        const u128 id = trio.id_last;
        const struct trio_asked *late = trio_look_up(2, id);
        expect(trio_commit(2) < trio_commit(writer));
        const struct trio_asked *others[] = {trio_look_up(0, id), trio_look_up(1, id)};
        for (uint32_t j = 0; j < ARRAY_COUNT(others); j++) {
            expect(trio_answered_within(others[j], TRIO_PATIENCE_MS));
            expect(trio_found(others[j]));
        }
        expect(trio_answered_within(late, TRIO_PATIENCE_MS));
        expect(trio_found(late));
    }
    network_sim_slow(&trio.net, 0, 2, 1);
    trio_expect_rest(12);
    trio_end();
}

/* Cut off from all others, it can't know what they do. Who wants no more than its own gets that. */
UNIT_TEST(r11_primary_that_is_cut_off_answers_no_read)
{
    trio_begin(NETWORK_SIM_STREAMS, 10);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    const u128 id = trio.id_last;
    trio_expect_rest(1);
    for (uint32_t i = 1; i < TRIO_NODES; i++) {
        trio_cut(0, i, true);
        trio_cut(i, 0, true);
    }
    const struct trio_asked *read = trio_look_up(TRIO_PRIMARY, id);
    const struct trio_asked *at_backup = trio_look_up(1, id);
    trio_steps(1);
    struct trio_asked *local = &trio.asked[trio.asked_count];
    (void) trio_look_up(TRIO_PRIMARY, id);
    local->request.local = true;
    expect(trio_answered_within(local, 100));
    expect(trio_found(local));
    trio_steps(2000);
    expect_equal(read->answers, 0);
    expect_equal(at_backup->answers, 0);
    for (uint32_t i = 1; i < TRIO_NODES; i++) {
        trio_cut(0, i, false);
        trio_cut(i, 0, false);
    }
    expect(trio_answered_within(read, TRIO_PATIENCE_MS) && trio_found(read));
    expect(trio_answered_within(at_backup, TRIO_PATIENCE_MS) && trio_found(at_backup));
    trio_expect_rest(1);
    trio_end();
}

/*
 * A backup's question may have been long on its way. It says what the backup was when it asked, and
 * nothing of what it is now: it is no answer to the primary's own.
 */
UNIT_TEST(r11_question_of_a_backup_answers_none_of_the_primary)
{
    trio_begin(NETWORK_SIM_STREAMS, 11);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio_expect_rest(1);
    trio_cut(0, 1, true);
    trio_cut(0, 2, true);
    const struct trio_asked *read = trio_look_up(TRIO_PRIMARY, 1);
    trio_steps(10);
    const struct trio_asked *at_backup = trio_look_up(1, 1);
    trio_steps(500);
    expect(trio_replica(TRIO_PRIMARY)->round >= 2); /* The backup's question has arrived. */
    expect_equal(read->answers, 0);
    expect_equal(at_backup->answers, 0);
    trio_cut(0, 1, false);
    expect(trio_answered_within(read, TRIO_PATIENCE_MS) && trio_found(read));
    expect(trio_answered_within(at_backup, TRIO_PATIENCE_MS) && trio_found(at_backup));
    trio_cut(0, 2, false);
    trio_expect_rest(1);
    trio_end();
}

/* The way there and back takes longer than it takes until the question is asked again. */
UNIT_TEST(r11_read_over_a_long_way_is_answered)
{
    trio_begin(NETWORK_SIM_STREAMS, 12);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio_expect_rest(1);
    for (uint32_t i = 1; i < TRIO_NODES; i++) {
        network_sim_slow(&trio.net, 0, i, 120);
        network_sim_slow(&trio.net, i, 0, 120);
    }
    const struct trio_asked *reads[] = {trio_look_up(0, 1), trio_look_up(1, 1), trio_look_up(2, 1)};
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        expect(trio_answered_within(reads[i], 1500));
        expect(trio_found(reads[i]));
    }
    trio_end();
}

/* ---- Catching up ----------------------------------------------------------------------------- */

/*
 * What the pipeline has no longer comes from the journal: for one that was away for a while, and
 * for one that was never there, while the primary is past its first checkpoint.
 */
UNIT_TEST(backup_that_has_missed_many_prepares_gets_them_from_the_journal)
{
    trio_begin(NETWORK_SIM_STREAMS, 13);
    trio_create_many(TRIO_PRIMARY, 5, 1);
    trio_expect_rest(5);
    trio_stop(2);
    trio_create_many(1, 20, 1);
    trio_start(2);
    trio_expect_rest(25);
    trio_end();

    trio_init(NETWORK_SIM_STREAMS, 14);
    trio_start(0);
    trio_start(1);
    trio_elect();
    for (uint32_t i = 0; i < 200; i++) trio_step();
    trio_create_many(1, 45, 1);
    expect(trio_replica(TRIO_PRIMARY)->stats.checkpoints > 0);
    trio_start(2);
    trio_expect_rest(45);
    expect(!trio_replica(2)->absent);
    trio_end();
}

UNIT_TEST(backup_whose_next_prepare_was_overwritten_is_told_so)
{
    trio_init(NETWORK_SIM_STREAMS, 15);
    trio_start(0);
    trio_start(1);
    trio_elect();
    for (uint32_t i = 0; i < 200; i++) trio_step();
    trio_create_many(1, 150, 1);
    trio_start(2);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !trio_replica(2)->absent; i++) trio_step();
    expect(trio_replica(2)->absent);
    expect_equal(trio_commit(2), 0);
    trio_create_many(0, 5, 1);
    trio_create_many(1, 5, 1);
    expect_equal(trio_commit(1), trio_commit(0));
    trio_end();
}

/* One that takes nothing holds up nobody, and holds no more buffers than are meant for it. */
UNIT_TEST(slow_member_does_not_use_up_the_buffers)
{
    trio_begin(NETWORK_SIM_STREAMS, 16);
    trio_cut(0, 2, true);
    for (uint32_t i = 0; i < 18; i++) {
        const struct trio_asked *request = trio_create(i % 2, EVENTS_PER_BATCH_MAX);
        expect(trio_answered_within(request, 400));
        expect(trio_created(request));
    }
    /* Each read at the primary asks all. */
    for (uint32_t i = 0; i < 150; i++) {
        expect(trio_answered_within(trio_look_up(TRIO_PRIMARY, 1), 400));
    }
    const struct replica *primary = trio_replica(TRIO_PRIMARY);
    expect_equal(primary->network->peers[2].queued, NETWORK_QUEUE_MAX);
    expect(message_pool_free_count(&primary->pool, MESSAGE_SMALL) > 0);
    expect(message_pool_free_count(&primary->pool, MESSAGE_LARGE) > 0);
    expect_equal(trio_commit(2), 0);
    trio_cut(0, 2, false);
    trio_expect_rest(18 * EVENTS_PER_BATCH_MAX);
    trio_end();
}

/*
 * The primary makes ops that nobody gets, and is left behind by the others. When it takes over
 * their log, which lists none of what it has, it loses its power: whenever that is, it opens again.
 */
UNIT_TEST(former_primary_far_behind_opens_after_a_crash_while_it_catches_up)
{
    for (uint32_t when = 0; when < 40; when++) {
        trio_begin(NETWORK_SIM_CHAOS, 20);
        trio_create_many(0, 3, 1);
        trio_isolate(TRIO_PRIMARY, true);
        for (uint32_t i = 0; i < 6; i++) {
            (void) trio_create(TRIO_PRIMARY, 3 + i);
            trio_steps(20);
        }
        expect(trio_replica(TRIO_PRIMARY)->journaled == trio_commit(TRIO_PRIMARY) + 2);
        trio_hurry(1);
        trio_hurry(2);
        for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !trio_replica(2)->serving; i++) trio_step();
        expect(trio_replica(2)->serving);
        for (uint32_t i = 0; i < 24; i++) {
            const struct trio_asked *request = trio_create(2, 1 + i % 20);
            expect(trio_answered_within(request, TRIO_PATIENCE_MS));
        }
        trio_isolate(TRIO_PRIMARY, false);
        const uint32_t view = replica_view(trio_replica(2));
        const struct replica *former = trio_replica(TRIO_PRIMARY);
        for (uint32_t i = 0; i < TRIO_PATIENCE_MS && former->view < view; i++) trio_step();
        trio_steps(when);
        trio_stop(TRIO_PRIMARY);
        trio_start(TRIO_PRIMARY);
        for (uint32_t i = 0; i < TRIO_PATIENCE_MS; i++) {
            if (trio_commit(TRIO_PRIMARY) == trio_commit(2)) break;
            trio_step();
        }
        expect_equal(trio_commit(TRIO_PRIMARY), trio_commit(2));
        trio_end();
    }
}

/*
 * A request is in the log of the old primary alone. The new one, which has sent it, has no room.
 * But while nobody else has its view's log, the old one's may yet be chosen: it doesn't refuse.
 */
UNIT_TEST(new_primary_refuses_nothing_before_a_quorum_has_its_log)
{
    trio_begin(NETWORK_SIM_CHAOS, 21);
    trio_cut(TRIO_PRIMARY, 1, true);
    trio_cut(TRIO_PRIMARY, 2, true);
    const struct trio_asked *request = trio_create(2, 1);
    for (uint32_t i = 0; i < 200 && trio_replica(TRIO_PRIMARY)->journaled == 0; i++) trio_step();
    expect_equal(trio_replica(TRIO_PRIMARY)->journaled, 1);
    expect_equal(trio_replica(2)->op, 0);
    trio_stop(TRIO_PRIMARY);
    struct storage_sim *disk = &trio.nodes[2].disk;
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        disk->options.space_limit_bytes += disk->storage.file_size_bytes[file];
    }
    trio_hurry(1);
    trio_hurry(2);
    const struct replica *new = trio_replica(2);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS; i++) {
        if (new->status == REPLICA_VIEW_CHANGE && new->change->voted[trio_slot(1)]) break;
        trio_step();
    }
    trio_cut(2, 1, true);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !new->primary; i++) trio_step();
    expect(new->primary);
    expect(trio_replica(1)->change->log_view < new->change->log_view);
    trio_steps(100);
    expect_equal(request->answers, 0);
    trio_stop(2);
    disk->options.space_limit_bytes = 0;
    trio_cut(TRIO_PRIMARY, 1, false);
    trio_cut(TRIO_PRIMARY, 2, false);
    trio_cut(2, 1, false);
    trio_start(TRIO_PRIMARY);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && trio_commit(1) == 0; i++) trio_step();
    expect_equal(trio_commit(1), 1); /* It was in the log that was chosen. */
    trio_end();
}

/*
 * (V9) What a former life of a node has said doesn't bring its session back: a request that it had
 * sent could come into the log behind what the present life has done.
 */
UNIT_TEST(v9_a_former_life_is_not_let_in)
{
    struct {
        struct message_header header;
        struct message_hello hello;
    } former = {.hello.name = "b"};
    trio_begin(NETWORK_SIM_STREAMS, 31);
    struct network *network = network_sim_of(&trio.net, 1);
    network->callbacks->hello(network->context, &former.header);
    const uint64_t session = trio.nodes[1].session;
    expect_equal(former.hello.session, session);
    trio_stop(1);
    trio_start(1);
    expect(trio.nodes[1].session > session);
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !trio_connected(0, 1); i++) trio_step();
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    const struct replica *primary = trio_replica(TRIO_PRIMARY);
    trio_stop(1);
    const struct replica_peer *peer = &primary->peers[trio_slot(1)];
    for (uint32_t i = 0; i < 20000 && peer->up; i++) trio_step();
    expect(!peer->up);
    network = network_sim_of(&trio.net, TRIO_PRIMARY);
    network->callbacks->up(network->context, 1, &former.header);
    expect(!peer->up);
    expect(primary->accepted.slots[trio_slot(1)].session > session);
    trio_start(1);
    expect(trio_answered_within(trio_create(1, 1), 20000));
    trio_end();
}

/*
 * Under a load that is too much for the disk of one of them, prepares become fewer and larger, so
 * that the ring doesn't overwrite what that member has yet to get.
 */
UNIT_TEST(who_lags_is_not_left_behind)
{
    struct trio_asked *asked[400];
    trio_begin(NETWORK_SIM_STREAMS, 33);
    trio.nodes[2].disk.options.latency_min_ticks = 3;
    trio.nodes[2].disk.options.latency_max_ticks = 4;
    uint64_t lag_max = 0;
    for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
        asked[i] = trio_create(i % 2, 1);
        trio_steps(2);
        const struct replica_peer *peer = &trio_replica(TRIO_PRIMARY)->peers[trio_slot(2)];
        lag_max = max_u64(lag_max, trio_replica(TRIO_PRIMARY)->op - peer->acked);
    }
    const uint64_t ring_ops = TRIO_RING_SIZE / SECTOR_SIZE;
    expect(lag_max > ring_ops / 4); /* Or nothing was tried. */
    expect(lag_max < ring_ops * 3 / 4);
    expect(!trio_replica(2)->absent);
    for (uint32_t i = 0; i < ARRAY_COUNT(asked); i++) {
        expect(trio_answered_within(asked[i], TRIO_PATIENCE_MS));
    }
    trio_expect_rest(ARRAY_COUNT(asked));
    trio_end();
}

/* ---- Changes of members ---------------------------------------------------------------------- */

/* The first wish is answered, the next one isn't taken up yet, and the view ends. */
UNIT_TEST(a_wish_that_waits_for_its_turn_is_answered_when_the_view_ends)
{
    struct replica_wish wish = {.stage = REPLICA_WISH_WANTED};
    trio_begin(NETWORK_SIM_STREAMS, 41);
    struct replica *replica = trio_replica(TRIO_PRIMARY);
    replica->membership->wish_next = &wish;
    expect(engine_resign(trio.nodes[TRIO_PRIMARY].engine));
    expect_equal(wish.stage, REPLICA_WISH_ANSWERED);
    expect_equal(wish.outcome, REPLICA_WISH_NOT_PRIMARY);
    expect(replica->membership->wish_next == NULL);
    trio_expect_rest(0);
    trio_end();
}

UNIT_MAIN(test_replica_members)
