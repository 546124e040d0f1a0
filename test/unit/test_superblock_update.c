/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include "unit/superblock_bench.h"

/* ---- The log's end (S7) ---------------------------------------------------------------------- */

/* A view that says that this op is committed, and of the log what is known already. */
static void
ask_commit(uint64_t op, u128 checksum)
{
    struct bench_asked asked = {.update.view = bench.superblock.working->view};
    struct superblock_log *log = &asked.update.log;
    const uint64_t head = superblock_suffix_head(bench.superblock.working);
    superblock_chain_log(&bench.chain, head, bench.superblock.working->log_view, log);
    log->commit_max = op;
    log->commit_max_checksum = checksum;
    bench_ask(&asked, SUPERBLOCK_UPDATE_VIEW);
    bench_wait();
    expect_equal(asked.result, SUPERBLOCK_OK);
}

UNIT_TEST(s7_in_one_view_the_log_only_grows)
{
    struct bench_asked asked;
    bench_begin_formatted(1);
    expect_equal(bench_update_view(12, 3), SUPERBLOCK_OK);
    expect_equal(bench.superblock.working->suffix_count, 4);
    bench_ask_checkpoint(&asked, 5, 20);
    bench_wait();
    expect_equal(superblock_suffix_head(bench.superblock.working), 20);
    expect_equal(bench.superblock.working->suffix_count, SUPERBLOCK_SUFFIX_MAX);
    expect_equal(bench.superblock.working->op_acked_min, 20);
    expect_equal(bench.superblock.working->commit_max, 5);
    expect(bench.superblock.working->commit_max_checksum == bench.chain.headers[5].checksum);
    /* Who knows less doesn't take back what is known. */
    bench_ask_checkpoint(&asked, 6, 18);
    bench_wait();
    expect_equal(superblock_suffix_head(bench.superblock.working), 20);
    expect_equal(bench.superblock.working->op_acked_min, 20);
    expect_equal(bench.superblock.working->commit_max, 6);
    /* What isn't known yet may become known later, but not be forgotten. */
    ask_commit(7, 0);
    expect(bench.superblock.working->commit_max_checksum == 0);
    ask_commit(7, bench.chain.headers[7].checksum);
    expect(bench.superblock.working->commit_max_checksum == bench.chain.headers[7].checksum);
    ask_commit(7, 0);
    expect(bench.superblock.working->commit_max_checksum == bench.chain.headers[7].checksum);
    /* A newer view may have a shorter log. */
    bench.chain.head = 17;
    superblock_chain_extend(&bench.chain, 19, 12);
    expect_equal(bench_update_view(13, 19), SUPERBLOCK_OK);
    expect_equal(superblock_suffix_head(bench.superblock.working), 19);
    expect_equal(bench.superblock.working->op_acked_min, 19);
    expect_equal(bench.superblock.working->log_view, 13);
    /* A vote: the view grows, the log is the same. */
    bench_ask_view(&asked, 20, 13, 19);
    bench_wait();
    expect_equal(bench.superblock.working->view, 20);
    expect_equal(bench.superblock.working->log_view, 13);
    /* Who says fewer headers leaves nothing of the ones before. */
    asked = (struct bench_asked){.update = {.view = 21, .log = {.log_view = 21}}};
    asked.update.log.suffix_count = 1;
    asked.update.log.suffix[0] = bench.chain.headers[19];
    asked.update.log.op_acked_min = 19;
    bench_ask(&asked, SUPERBLOCK_UPDATE_VIEW);
    bench_wait();
    expect_equal(asked.result, SUPERBLOCK_OK);
    expect_equal(bench.superblock.working->suffix_count, 1);
    expect_equal(bench.superblock.working->suffix[1].op, 0);
    bench_end();
}

UNIT_TEST(s7_which_entries_count)
{
    bench_begin_formatted(1);
    expect_equal(bench_update_view(12, 3), SUPERBLOCK_OK);
    superblock_chain_extend(&bench.chain, 20, 12);
    struct bench_asked asked;
    bench_ask_checkpoint(&asked, 2, 15);
    bench_wait();
    const struct superblock_state *state = bench.superblock.working;
    for (uint64_t op = 1; op <= 20; op++) {
        struct prepare_header header = bench.chain.headers[op];
        expect(superblock_log_counts(state, &header));
        header.timestamp += 1;
        prepare_seal(&header);
        /* The suffix lists ops 7 … 15. */
        expect(superblock_log_counts(state, &header) == (op < 7 || op > 15));
        header.view = 11;
        expect(superblock_log_counts(state, &header) == (op < 7));
        header.view = 13;
        expect(!superblock_log_counts(state, &header));
    }
    bench_end();
}

/* ---- Updates that wait (S8) ------------------------------------------------------------------ */

UNIT_TEST(s8_what_waits_is_one_update)
{
    struct bench_asked first, view, checkpoint, owner;
    bench_begin_formatted(1);
    bench.turns = 0;
    bench_ask_view(&first, 1, 0, 2);
    const struct superblock_state before = *bench.superblock.working;
    bench_ask_checkpoint(&checkpoint, 2, 4);
    bench_ask_owner(&owner, 50, 60);
    bench_ask_view(&view, 12, 12, 4);
    expect(superblock_busy(&bench.superblock));
    const uint64_t writes = bench.sim.counters.writes;
    bench_wait();
    expect_equal(bench.sim.counters.writes, writes + 2 * SUPERBLOCK_COPIES);
    expect_equal(bench.superblock.working->sequence, before.sequence + 2);
    expect(first.done && view.done && checkpoint.done && owner.done);
    expect_equal(first.turn, 0);
    expect_equal(bench.turns, 4);
    expect_equal(view.result, SUPERBLOCK_OK);
    expect_equal(checkpoint.result, SUPERBLOCK_OK);
    expect_equal(owner.result, SUPERBLOCK_OK);
    expect_equal(bench.superblock.working->view, 12);
    expect_equal(bench.superblock.working->log_view, 12);
    expect_equal(bench.superblock.working->checkpoint.header.op, 2);
    expect_equal(bench.superblock.working->checkpoint.root.address, 2);
    expect_equal(bench.superblock.working->system_identifier, 60);
    expect_equal(superblock_suffix_head(bench.superblock.working), 4);
    expect_equal(bench.superblock.working->commit_max, 4);
    expect(bench.superblock.working->members.slots[0].incarnation == 50);
    expect(bench_disk_settled());
    bench_end();
}

/* The log of the newest view decides, whoever asks first. */
UNIT_TEST(s7_s8_what_a_checkpoint_says_of_an_older_log_is_not_taken)
{
    for (uint32_t order = 0; order < 2; order++) {
        struct bench_asked first, view, checkpoint;
        bench_begin_formatted(1);
        bench_ask_view(&first, 1, 0, 2);
        superblock_chain_extend(&bench.chain, 9, 0);
        struct superblock_chain shorter = bench.chain;
        shorter.head = 6; /* The view's log has another op 7, and ends there. */
        superblock_chain_extend(&shorter, 7, 1);
        const struct superblock_chain longer = bench.chain;
        for (uint32_t i = 0; i < 2; i++) {
            bench.chain = i == order ? longer : shorter;
            if (i == order) bench_ask_checkpoint(&checkpoint, 5, 9);
            if (i != order) bench_ask_view(&view, 12, 12, 7);
        }
        bench_wait();
        expect(view.done && checkpoint.done);
        expect_equal(bench.superblock.working->log_view, 12);
        expect_equal(bench.superblock.working->checkpoint.header.op, 5);
        expect_equal(superblock_suffix_head(bench.superblock.working), 7);
        expect_equal(bench.superblock.working->op_acked_min, 7);
        const struct prepare_header *head =
            &bench.superblock.working->suffix[bench.superblock.working->suffix_count - 1];
        expect(head->checksum == shorter.headers[7].checksum);
        bench_end();
    }
}

/* The view's log was said before the checkpoint's op was executed: it has it all the same. */
UNIT_TEST(s7_s8_a_checkpoint_is_acknowledged)
{
    struct bench_asked first, view, checkpoint;
    bench_begin_formatted(1);
    bench_ask_view(&first, 1, 0, 2);
    superblock_chain_extend(&bench.chain, 8, 0);
    view = (struct bench_asked){.update.view = 12};
    superblock_chain_log(&bench.chain, 8, 12, &view.update.log);
    view.update.log.op_acked_min = 3;
    view.update.log.commit_max = 3;
    view.update.log.commit_max_checksum = 0;
    bench_ask(&view, SUPERBLOCK_UPDATE_VIEW);
    bench_ask_checkpoint(&checkpoint, 6, 8);
    bench_wait();
    expect_equal(bench.superblock.working->op_acked_min, 6);
    expect_equal(bench.superblock.working->commit_max, 6);
    expect(bench.superblock.working->commit_max_checksum == bench.chain.headers[6].checksum);
    bench_end();
}

UNIT_TEST(s8_a_newer_view_replaces_one_that_waits)
{
    struct bench_asked first, installed, vote, newest;
    bench_begin_formatted(1);
    bench.turns = 0;
    bench_ask_view(&first, 1, 0, 1);
    superblock_chain_extend(&bench.chain, 2, 0);
    bench_ask_view(&installed, 5, 5, 2);
    bench_ask_view(&vote, 6, 0, 1); /* Of the older log: the one of view 5 never was. */
    bench_ask_view(&newest, 6, 6, 2);
    const uint64_t writes = bench.sim.counters.writes;
    bench_wait();
    expect_equal(bench.sim.counters.writes, writes + 2 * SUPERBLOCK_COPIES);
    expect_equal(first.result, SUPERBLOCK_OK);
    expect_equal(installed.result, SUPERBLOCK_REPLACED);
    expect_equal(vote.result, SUPERBLOCK_REPLACED);
    expect_equal(newest.result, SUPERBLOCK_OK);
    expect_equal(bench.turns, 4);
    expect_equal(newest.turn, 3);
    expect_equal(bench.superblock.working->log_view, 6);
    bench_end();
}

static struct bench_asked asked_within;

static void
asks_again(struct superblock_update *update, enum superblock_result result)
{
    bench_on_done(update, result);
    expect_equal(bench.superblock.working->view, update->view); /* Durable when told. */
    bench_ask_view(&asked_within, update->view + 1, update->view + 1, 3);
}

UNIT_TEST(s8_a_callback_may_ask)
{
    for (uint32_t waits = 0; waits < 2; waits++) {
        struct bench_asked first = {.update = {.callback = asks_again, .view = 1}};
        struct bench_asked checkpoint;
        bench_begin_formatted(1);
        superblock_chain_extend(&bench.chain, 3, 0);
        superblock_chain_log(&bench.chain, 2, 1, &first.update.log);
        superblock_update(&bench.superblock, &first.update);
        if (waits == 1) bench_ask_checkpoint(&checkpoint, 2, 2);
        bench_wait();
        expect(first.done && asked_within.done);
        if (waits == 1) expect(checkpoint.done);
        expect_equal(bench.superblock.working->view, 2);
        expect_equal(bench.superblock.working->sequence, 3);
        bench_end();
    }
}

/* A failure is everybody's: what waits is not written after it. */
UNIT_TEST(s8_a_failure_is_told_to_all)
{
    struct bench_asked first, older, view, checkpoint;
    bench_begin_formatted(1);
    const struct superblock_state before = *bench.superblock.working;
    bench_ask_view(&first, 1, 0, 2);
    bench_ask_view(&older, 2, 0, 2);
    bench_ask_view(&view, 3, 0, 2);
    bench_ask_checkpoint(&checkpoint, 2, 2);
    bench.lost_copies = 15;
    bench.sim.options.fault_allowed = bench_fault_at_copies;
    bench.sim.options.write_error_per_million = 1000000;
    const uint64_t writes = bench.sim.counters.writes;
    bench_wait();
    expect(first.done && older.done && view.done && checkpoint.done);
    expect_equal(first.result, SUPERBLOCK_IO_ERROR);
    expect_equal(older.result, SUPERBLOCK_REPLACED);
    expect_equal(view.result, SUPERBLOCK_IO_ERROR);
    expect_equal(checkpoint.result, SUPERBLOCK_IO_ERROR);
    expect_equal(bench.sim.counters.writes, writes + 1);
    expect(memcmp(bench.superblock.working, &before, sizeof(before)) == 0);
    bench_end();
}

/* (S9) */
UNIT_TEST(s9_members_are_part_of_the_checkpoint)
{
    bench_begin_formatted(1);
    expect_equal(bench_update_checkpoint(3), SUPERBLOCK_OK);
    const u128 id = superblock_checkpoint_id(&bench.superblock);
    expect_equal(bench_update_view(3, 5), SUPERBLOCK_OK);
    expect(superblock_checkpoint_id(&bench.superblock) == id);
    struct members other = bench.superblock.working->members;
    other.slots[0].incarnation += 1;
    expect_equal(bench_update_owner(other.slots[0].incarnation, 9), SUPERBLOCK_OK);
    expect(superblock_checkpoint_id(&bench.superblock) != id);
    const u128 sum = bench.superblock.working->checkpoint.members_checksum;
    expect(sum == members_checksum(&other));
    bench_end();
}

/* What a state must be that has all of a view, a checkpoint and an owner, or none. */
static void
expect_all_or_nothing(bool with_owner)
{
    const struct superblock_state *state = bench.superblock.working;
    const bool all = state->view == 12;
    expect_equal(state->log_view, all ? 12 : 0);
    expect_equal(state->checkpoint.header.op, all ? 3 : 0);
    expect_equal(state->checkpoint.root.address, all ? 3 : 0);
    expect_equal(state->system_identifier, all && with_owner ? 60 : 6);
    if (all) expect_equal(superblock_suffix_head(state), 5);
    if (!all) expect_equal(superblock_suffix_head(state), state->view == 1 ? 2 : 0);
    expect_equal(state->op_acked_min, superblock_suffix_head(state));
}

/*
 * A view, a checkpoint, and perhaps an owner are asked for at each event of an update, and power
 * fails at each event from then on: (S8) it is all of them or none; what was told is durable.
 */
UNIT_TEST(s8_a_torn_update_of_several)
{
    uint32_t taken[3] = {0};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        for (uint64_t asked_at = 0; asked_at <= 11; asked_at++) {
            for (uint64_t event = 1; event <= 25; event++) {
                struct bench_asked first, older, view, checkpoint, owner = {0};
                bench_begin_formatted(seed);
                const bool with_owner = seed % 2 == 0;
                const bool with_older = seed > 2;
                bench_ask_view(&first, 1, 0, 2);
                for (uint64_t i = 0; i < asked_at; i++) (void) storage_wait(&bench.sim.storage);
                expect(!first.done);
                storage_sim_crash_after(&bench.sim, event);
                superblock_chain_extend(&bench.chain, 5, 0);
                if (with_older) bench_ask_view(&older, 7, 7, 4);
                bench_ask_checkpoint(&checkpoint, 3, 5);
                bench_ask_view(&view, 12, 12, 5);
                if (with_owner) bench_ask_owner(&owner, 50, 60);
                bench_wait();
                expect(first.done && view.done && checkpoint.done);
                expect_equal(view.result, checkpoint.result);
                if (with_owner) expect_equal(view.result, owner.result);
                if (with_older) expect_equal(older.result, SUPERBLOCK_REPLACED);
                if (bench.sim.crashed) storage_sim_restart(&bench.sim);
                superblock_restart(&bench.superblock, &bench.sim);
                expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
                const uint32_t is = bench.superblock.working->view;
                expect(is == 0 || is == 1 || is == 12);
                if (first.result == SUPERBLOCK_OK) expect(is >= 1);
                if (view.result == SUPERBLOCK_OK) expect(is == 12);
                expect_all_or_nothing(with_owner);
                taken[is == 12 ? 2 : is] += 1;
                expect(bench_disk_settled());
                bench_end();
            }
        }
    }
    for (uint32_t i = 0; i < 3; i++) expect(taken[i] > 50);
}

/* ---- What the node knows of itself and of others (S10) --------------------------------------- */

static void
ask_node(struct bench_asked *asked, const struct superblock_node *node)
{
    *asked = (struct bench_asked){.update.node = *node};
    bench_ask(asked, SUPERBLOCK_UPDATE_NODE);
}

static const struct superblock_node node_joins = {
    .flags_set = SUPERBLOCK_NOT_ALONE,
    .name = "a",
    .fences = true,
    .fence_next = 77,
};

static void
begin_not_alone(uint64_t seed)
{
    struct bench_asked asked;
    bench_begin_formatted(seed);
    ask_node(&asked, &node_joins);
    bench_wait();
    expect_equal(asked.result, SUPERBLOCK_OK);
}

/* Opened anew, it is as it was left. */
static void
expect_opens_the_same(void)
{
    const struct superblock_state before = *bench.superblock.working;
    superblock_restart(&bench.superblock, &bench.sim);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    expect(memcmp(bench.superblock.working, &before, sizeof(before)) == 0);
}

UNIT_TEST(s10_only_what_is_named_changes)
{
    struct bench_asked asked;
    begin_not_alone(1);
    const struct superblock_state *state = bench.superblock.working;
    expect_equal(state->flags, SUPERBLOCK_NOT_ALONE);
    expect_equal(state->fence_next, 77);
    expect(state->name[0] == 'a' && state->name[1] == 0);
    expect_opens_the_same();

    const struct superblock_node moves = {
        .fences = true, .fence = 77, .record_op = 5, .flags_set = SUPERBLOCK_SYNCING};
    ask_node(&asked, &moves);
    bench_wait();
    expect_equal(state->flags, SUPERBLOCK_NOT_ALONE | SUPERBLOCK_SYNCING);
    expect_equal(state->fence, 77);
    expect_equal(state->fence_next, 0);
    expect_equal(state->record_op, 5);

    struct superblock_node hears = {.heard_of = 1U << 2 | 1U << 11};
    hears.heard[2] = (struct superblock_heard){.fence = 9, .view = 4, .log_view = 3, .acked_op = 8};
    hears.heard[11] = (struct superblock_heard){.record_op = 2, .view = 1};
    hears.heard[3].view = 5; /* Not of a slot that is named. */
    ask_node(&asked, &hears);
    bench_wait();
    expect_equal(state->heard[2].acked_op, 8);
    expect_equal(state->heard[11].record_op, 2);
    expect_equal(state->heard[3].view, 0);
    expect_equal(state->fence, 77);

    /* A slot that was given to another is forgotten; the sync is over. */
    const struct superblock_node ends = {
        .flags_cleared = SUPERBLOCK_SYNCING, .heard_of = 1U << 2};
    ask_node(&asked, &ends);
    bench_wait();
    expect_equal(state->heard[2].view, 0);
    expect_equal(state->heard[11].view, 1);
    expect_equal(state->flags, SUPERBLOCK_NOT_ALONE);
    expect_opens_the_same();
    bench_end();
}

UNIT_TEST(s10_flags_stay)
{
    struct bench_asked asked;
    begin_not_alone(1);
    const struct superblock_node over = {.flags_set = SUPERBLOCK_OVER};
    ask_node(&asked, &over);
    bench_wait();
    expect_equal(bench_update_view(12, 3), SUPERBLOCK_OK);
    expect_equal(bench_update_checkpoint(3), SUPERBLOCK_OK);
    expect_equal(
        bench.superblock.working->flags, (uint32_t) SUPERBLOCK_NOT_ALONE | SUPERBLOCK_OVER);
    expect_equal(bench.superblock.working->fence_next, 77);
    expect_opens_the_same();
    bench_end();
}

/* What waits goes together: with an update of its own, and with those that say it besides. */
UNIT_TEST(s8_s10_what_waits_of_the_node_goes_along)
{
    struct bench_asked first, node, checkpoint, view = {.update.view = 12};
    begin_not_alone(1);
    bench_ask_view(&first, 1, 0, 2);
    struct superblock_node hears = {.heard_of = 1U << 1};
    hears.heard[1].view = 6;
    bench_ask_checkpoint(&checkpoint, 2, 4);
    ask_node(&node, &hears);
    superblock_chain_log(&bench.chain, 4, 12, &view.update.log);
    view.update.node = (struct superblock_node){.fences = true, .fence = 77, .record_op = 3};
    bench_ask(&view, SUPERBLOCK_UPDATE_VIEW);
    const uint64_t writes = bench.sim.counters.writes;
    bench_wait();
    expect_equal(bench.sim.counters.writes, writes + 2 * SUPERBLOCK_COPIES);
    expect(first.done && node.done && checkpoint.done && view.done);
    const struct superblock_state *state = bench.superblock.working;
    expect_equal(state->view, 12);
    expect_equal(state->checkpoint.header.op, 2);
    expect_equal(state->heard[1].view, 6);
    expect_equal(state->fence, 77);
    expect_equal(state->record_op, 3);
    bench_end();
}

/* Power fails at each event: all that waited together is there, or none of it. */
UNIT_TEST(s8_s10_a_torn_update_of_the_node_and_others)
{
    uint32_t taken[3] = {0};
    for (uint64_t asked_at = 0; asked_at <= 11; asked_at++) {
        for (uint64_t event = 1; event <= 25; event++) {
            struct bench_asked first, node, checkpoint, view = {.update.view = 12};
            bench_begin_formatted(event);
            bench_ask_view(&first, 1, 0, 2);
            for (uint64_t i = 0; i < asked_at; i++) (void) storage_wait(&bench.sim.storage);
            storage_sim_crash_after(&bench.sim, event);
            struct superblock_node joins = node_joins;
            joins.heard_of = 1U << 4;
            joins.heard[4].view = 9;
            ask_node(&node, &joins);
            bench_ask_checkpoint(&checkpoint, 1, 2);
            superblock_chain_log(&bench.chain, 2, 12, &view.update.log);
            view.update.node.heard_of = 1U << 5;
            view.update.node.flags_set = SUPERBLOCK_SYNCING;
            view.update.node.heard[5].view = 11;
            bench_ask(&view, SUPERBLOCK_UPDATE_VIEW);
            bench_wait();
            expect_equal(node.result, view.result);
            expect_equal(node.result, checkpoint.result);
            if (bench.sim.crashed) storage_sim_restart(&bench.sim);
            superblock_restart(&bench.superblock, &bench.sim);
            expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
            const struct superblock_state *state = bench.superblock.working;
            const bool all = state->view == 12;
            expect(all || state->view <= 1);
            if (node.result == SUPERBLOCK_OK) expect(all);
            const uint32_t flags = SUPERBLOCK_NOT_ALONE | SUPERBLOCK_SYNCING;
            expect_equal(state->flags, all ? flags : 0);
            expect_equal(state->fence_next, all ? 77 : 0);
            expect_equal(state->heard[4].view, all ? 9 : 0);
            expect_equal(state->heard[5].view, all ? 11 : 0);
            expect_equal(state->name[0], all ? 'a' : 0);
            expect_equal(state->checkpoint.header.op, all ? 1 : 0);
            taken[all ? 2 : state->view] += 1;
            expect(bench_disk_settled());
            bench_end();
        }
    }
    for (uint32_t i = 0; i < 3; i++) expect(taken[i] > 20);
}

UNIT_MAIN(test_superblock_update)
