/* SPDX-License-Identifier: PostgreSQL */
/*
 * Slots that were another's, and members that don't know each other yet: what lags, what comes
 * early, and what gets lost while the members change. (V12) of store/prepare.h: who is counted.
 */
#include "unit/formation_fixture.h"
#include "unit/unit.h"

/* Nothing that needs room is executed here any more. */
static void
fill_disk(uint32_t number)
{
    struct storage_sim *disk = &formation_nodes[number].disk;
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        disk->options.space_limit_bytes += disk->storage.file_size_bytes[file];
    }
}

static void
add(uint32_t at, uint32_t whom)
{
    formation_start_guest(whom);
    formation_await_guest(at, whom);
    expect_equal(formation_change(at, ENGINE_CHANGE_ADD, whom), ENGINE_CHANGE_DONE);
    for (uint32_t ms = 0; !formation_is_voter(at, whom); ms++) {
        assert(ms < FORMATION_PATIENCE_MS);
        formation_step();
    }
}

static void
cut(uint32_t a, uint32_t b, bool cuts)
{
    network_sim_cut(&formation_net, a, b, cuts);
    network_sim_cut(&formation_net, b, a, cuts);
}

/* The table is that of the log, whether it is executed or not. */
UNIT_TEST(several_changes_not_executed)
{
    formation_begin(10);
    fill_disk(1);
    formation_form(1);
    add(0, 1);
    add(0, 2);
    formation_steps(100);
    expect_equal(formation_replica_of(1)->commit, 0);
    expect_equal(formation_replica_of(1)->op, formation_replica_of(0)->op);
    const bool same = memcmp(
        &formation_replica_of(0)->membership->committed,
        &formation_replica_of(1)->membership->now,
        sizeof(struct members)) == 0;
    expect(same);
    formation_end();
}

/*
 * Who had the slot before is still connected to one who knows of its end by the log alone. Its vote
 * isn't that of who has the slot now: two others have acknowledged what neither of the two has.
 */
UNIT_TEST(former_member_is_not_counted)
{
    formation_begin(11);
    fill_disk(1);
    formation_form(1);
    add(0, 1);
    add(0, 2);
    cut(0, 2, true);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_DONE);
    add(0, 3);
    formation_steps(500);
    cut(0, 1, true);
    cut(1, 3, true);
    const uint64_t op = formation_replica_of(0)->op;
    formation_ask_to_create(0);
    while (formation_replica_of(3)->journaled == op) formation_step();
    /* So that it doesn't hear that the op is committed. */
    network_sim_cut(&formation_net, 0, 3, true);
    formation_await(0);
    formation_stop(0);
    formation_steps(10000);
    formation_nodes[1].disk.options.space_limit_bytes = 0;
    formation_steps(1000);
    cut(1, 3, false);
    expect(formation_finds(1));
    expect(formation_finds(3));
    formation_end();
}

/* What was acknowledged by who had the slot before doesn't make a voter of who has it now. */
UNIT_TEST(newcomer_catches_up_first)
{
    formation_begin(12);
    formation_form(2);
    for (uint32_t i = 0; i < 20; i++) formation_create(1);
    for (uint32_t i = 0; i < 2; i++) {
        formation_stop(1);
        formation_start_member(1);
        formation_create(1);
    }
    formation_stop(1);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 1), ENGINE_CHANGE_DONE);
    formation_new_disk(1);
    formation_start_guest(1);
    formation_await_guest(0, 1);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    while (formation_cluster_at(0).voters < 2) formation_step();
    const uint64_t journaled = formation_replica_of(1)->journaled;
    expect(journaled + PIPELINE_PREPARES_MAX >= formation_replica_of(0)->commit);
    formation_await_voters(2);
    formation_create(1); /* Its session is lower than that of who had the slot. */
    formation_end();
}

/*
 * A fourth voter makes the quorum larger from when the primary has made the change, not from when
 * it has it on disk: others have it sooner.
 */
UNIT_TEST(promotion_counts_from_when_it_is_made)
{
    formation_begin(18);
    formation_form(3);
    formation_start_guest(3);
    formation_await_guest(0, 3);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 3), ENGINE_CHANGE_DONE);
    formation_nodes[0].disk.options.latency_min_ticks = 80;
    formation_nodes[0].disk.options.latency_max_ticks = 90;
    const struct replica *primary = formation_replica_of(0);
    while (members_voter_count(primary->voters) < 4) formation_step();
    const uint64_t op = primary->op;
    network_sim_cut(&formation_net, 3, 0, true); /* Its acknowledgement is late. */
    while (primary->peers[1].acked < op || primary->peers[2].acked < op) formation_step();
    expect(primary->journaled < op);
    expect_equal(primary->commit_max, op - 1);
    while (primary->journaled < op) formation_step();
    expect_equal(primary->commit_max, op);
    formation_end();
}

/* A member is let in by others, and comes, before the primary has executed its addition. */
UNIT_TEST(newcomer_before_the_primary_knows)
{
    formation_begin(13);
    formation_form(3);
    formation_nodes[0].disk.options.latency_min_ticks = 80;
    formation_nodes[0].disk.options.latency_max_ticks = 90;
    formation_start_guest(3);
    formation_await_guest(0, 3);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 3), ENGINE_CHANGE_DONE);
    expect(formation_replica_of(0)->peers[3].up);
    formation_nodes[0].disk.options.latency_min_ticks = 1;
    formation_nodes[0].disk.options.latency_max_ticks = 2;
    formation_await_voters(4);
    formation_create(3);
    formation_end();
}

/* Whoever a change is asked of answers. */
UNIT_TEST(wishes_are_answered)
{
    formation_begin(14);
    formation_form(2);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 1), ENGINE_CHANGE_DONE);
    /* It was removed, and may have had the time to ask. */
    const enum engine_change_result result = formation_change(1, ENGINE_CHANGE_REMOVE, 0);
    expect(result == ENGINE_CHANGE_NOT_PRIMARY || result == ENGINE_CHANGE_FAILED);
    expect_equal(formation_change(1, ENGINE_CHANGE_REMOVE, 0), ENGINE_CHANGE_NOT_PRIMARY);
    formation_end();
    formation_begin(15);
    formation_form(1);
    formation_start_guest(1);
    formation_await_guest(0, 1);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    while (formation_replica_of(0)->membership->wish == NULL) formation_step();
    formation_wish(0, ENGINE_CHANGE_REMOVE, 1); /* Waits for the promotion. */
    struct engine_change second = {.kind = ENGINE_CHANGE_REMOVE, .callback = formation_on_changed};
    second.context = &formation_nodes[3];
    formation_name_of(1, second.name);
    engine_change_members(formation_nodes[0].engine, &second);
    expect_equal(second.result, ENGINE_CHANGE_BUSY);
    while (formation_nodes[0].changing) formation_step();
    expect_equal(formation_nodes[0].change.result, ENGINE_CHANGE_DONE);
    formation_end();
}

/* A guest that was let in is told so, when and to whom ever it connects. */
UNIT_TEST(welcome_is_said_again)
{
    formation_begin(16);
    formation_form(1);
    formation_start_guest(1);
    formation_await_guest(0, 1);
    network_sim_cut(&formation_net, 0, 1, true);
    expect_equal(formation_change(0, ENGINE_CHANGE_ADD, 1), ENGINE_CHANGE_DONE);
    formation_create(0);
    formation_stop(0);
    network_sim_cut(&formation_net, 0, 1, false);
    /* So that it comes before there is a view. */
    formation_nodes[0].disk.options.latency_min_ticks = 10;
    formation_nodes[0].disk.options.latency_max_ticks = 11;
    formation_start_member(0);
    formation_await_voters(2);
    formation_end();
}

/* A quorum that works is enough, although one of it has never heard of the other. */
UNIT_TEST(voters_that_do_not_know_each_other)
{
    formation_begin(17);
    formation_form(3);
    formation_stop(2);
    add(0, 3);
    formation_stop(1);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 1), ENGINE_CHANGE_DONE);
    formation_create(3);
    formation_stop(0);
    formation_start_member(2);
    expect(formation_finds(2));
    formation_create(2);
    formation_create(3);
    formation_end();
}

/* ---- Records of nodes (vsr/fences.h) --------------------------------------------------------- */

/* Until the first `count` nodes have records, and all of them know. */
static void
await_records(uint32_t count)
{
    for (uint32_t ms = 0;; ms++) {
        uint32_t known = 0;
        assert(ms < FORMATION_PATIENCE_MS);
        for (uint32_t at = 0; at < count; at++) {
            for (uint32_t whom = 0; whom < count; whom++) {
                const struct replica *of = formation_replica_of(whom);
                const struct member *member =
                    &formation_replica_of(at)->membership->committed.slots[of->slot];
                known += member->record_op > 0 && member->fence == of->fences->fence;
            }
        }
        if (known == count * count) return;
        formation_step();
    }
}

UNIT_TEST(who_has_no_others_makes_no_records)
{
    formation_fenced = true;
    formation_begin(30);
    formation_form(1);
    formation_create(0);
    const uint64_t op = formation_replica_of(0)->op;
    formation_steps(3000);
    const struct replica_fences *fences = formation_replica_of(0)->fences;
    expect_equal(formation_replica_of(0)->op, op);
    expect_equal(fences->fence, 0);
    expect_equal(fences->fence_next, 0);
    add(0, 1);
    await_records(2);
    formation_end();
    formation_fenced = false;
}

/* (V22), (V19): it has neither the former one's fence nor what was heard of that. */
UNIT_TEST(v22_who_has_a_slot_next_begins_without_a_fence)
{
    formation_fenced = true;
    formation_begin(31);
    formation_form(1);
    add(0, 1);
    add(0, 2);
    await_records(3);
    const uint8_t slot = formation_replica_of(2)->slot;
    const uint64_t fence = formation_replica_of(2)->fences->fence;
    expect(formation_replica_of(1)->fences->heard[slot].fence == fence);
    expect_equal(formation_change(0, ENGINE_CHANGE_REMOVE, 2), ENGINE_CHANGE_DONE);
    const uint64_t op = formation_replica_of(0)->commit;
    expect_equal(formation_replica_of(0)->fences->heard[slot].record_op, 0);
    formation_stop(2);
    formation_new_disk(2);
    add(0, 2);
    await_records(3);
    expect_equal(formation_replica_of(2)->slot, slot);
    for (uint32_t at = 0; at < 3; at++) {
        const struct replica *replica = formation_replica_of(at);
        expect(replica->membership->committed.slots[slot].record_op > op);
        expect(replica->membership->committed.slots[slot].fence != fence);
        expect(!replica->fences->over);
    }
    formation_create(2);
    formation_end();
    formation_fenced = false;
}

UNIT_MAIN(test_formation_slots)
