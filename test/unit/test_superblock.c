/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include <stddef.h>

#include "store/superblock.h"

#include "unit/superblock_bench.h"

UNIT_TEST(byte_table_is_as_documented)
{
#define AT(field, offset) expect_equal(offsetof(struct superblock_state, field), offset)
    AT(checksum, 0);
    AT(copy, 16);
    AT(version, 18);
    AT(flags, 20);
    AT(config_fingerprint, 24);
    AT(parent, 32);
    AT(cluster, 48);
    AT(incarnation, 64);
    AT(sequence, 80);
    AT(system_identifier, 88);
    AT(prepares_size_bytes, 96);
    AT(commit_max, 104);
    AT(view, 112);
    AT(log_view, 116);
    AT(slot, 120);
    AT(suffix_count, 121);
    AT(reserved_head, 122);
    AT(level, 124);
    AT(checkpoint, 128);
    AT(checkpoint.root, 384);
    AT(checkpoint.members_checksum, 416);
    AT(checkpoint.grid_block_count, 432);
    AT(checkpoint.reserved, 440);
    AT(suffix, 512);
    AT(members, 2816);
    AT(heard, 3584);
    AT(commit_max_checksum, 3968);
    AT(op_acked_min, 3984);
    AT(fence, 3992);
    AT(fence_next, 4000);
    AT(record_op, 4008);
    AT(name, 4016);
    AT(first_incarnation, 4048);
    AT(reserved, 4064);
#undef AT
#define AT(structure, field, offset) expect_equal(offsetof(struct structure, field), offset)
    AT(member, incarnation, 0);
    AT(member, name, 16);
    AT(member, role, 47);
    AT(member, fence, 48);
    AT(member, record_op, 56);
    AT(superblock_heard, fence, 0);
    AT(superblock_heard, record_op, 8);
    AT(superblock_heard, view, 16);
    AT(superblock_heard, log_view, 20);
    AT(superblock_heard, acked_op, 24);
#undef AT
    expect_equal(sizeof(struct superblock_state), SECTOR_SIZE);
    expect_equal(sizeof(struct block_reference), 32);
}

UNIT_TEST(format_then_open)
{
    bench_begin(1);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_ABSENT);
    expect_equal(superblock_format(&bench.superblock, &bench_format), SUPERBLOCK_OK);
    superblock_restart(&bench.superblock, &bench.sim);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    const struct superblock_state *state = bench.superblock.working;
    expect(state->cluster == BENCH_CLUSTER && state->incarnation == 5);
    expect_equal(state->system_identifier, 6);
    expect_equal(state->prepares_size_bytes, PREPARES_SIZE_MIN);
    struct members members;
    members_lone(&members, 5);
    expect(memcmp(&state->members, &members, sizeof(members)) == 0);
    expect_equal(state->slot, 0);
    expect_equal(state->flags, 0);
    expect_equal(state->sequence, 1);
    expect_equal(superblock_suffix_head(state), 0);
    expect_equal(state->op_acked_min, 0);
    struct prepare_header root;
    prepare_root(&root, BENCH_CLUSTER, 1);
    expect(memcmp(&state->checkpoint.header, &root, sizeof(root)) == 0);
    expect_equal(bench.superblock.copies_repaired, 0);
    expect(bench_disk_settled());

    /* A second format would lose everything. */
    expect_equal(superblock_format(&bench.superblock, &bench_format), SUPERBLOCK_PRESENT);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    bench_end();
}

/* The member of slot 2 of three, which all have the same first state but for who they are. */
UNIT_TEST(a_member_is_formatted_with_all_members)
{
    struct members members = {0};
    for (uint32_t slot = 0; slot < 3; slot++) {
        members.slots[slot] = (struct member){
            .incarnation = 50 + slot, .name = {(char) ('a' + slot)}, .role = MEMBER_VOTER};
    }
    struct superblock_format_options options = bench_format;
    options.incarnation = 52;
    options.members = &members;
    options.slot = 2;
    bench_begin(1);
    expect_equal(superblock_format(&bench.superblock, &options), SUPERBLOCK_OK);
    superblock_restart(&bench.superblock, &bench.sim);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    const struct superblock_state *state = bench.superblock.working;
    expect(memcmp(&state->members, &members, sizeof(members)) == 0);
    expect(state->checkpoint.members_checksum == members_checksum(&members));
    expect_equal(state->slot, 2);
    expect_equal(state->flags, SUPERBLOCK_NOT_ALONE);
    expect(strcmp(state->name, "c") == 0);
    expect_equal(state->view, 0);
    expect_equal(state->log_view, 0);
    expect_equal(superblock_suffix_head(state), 0);
    expect(bench_disk_settled());
    bench_end();
}

UNIT_TEST(results_have_names)
{
    for (uint32_t i = SUPERBLOCK_OK; i <= SUPERBLOCK_REPLACED; i++) {
        expect(superblock_result_name(i)[0] != '\0');
        for (uint32_t j = 0; j < i; j++) {
            expect(strcmp(superblock_result_name(i), superblock_result_name(j)) != 0);
        }
    }
}

UNIT_TEST(s1_sequence_and_parent)
{
    bench_begin_formatted(1);
    for (uint32_t i = 1; i <= 10; i++) {
        const struct superblock_state before = *bench.superblock.working;
        const enum superblock_result result =
            i % 2 == 0 ? bench_update_view(i, i) : bench_update_checkpoint(i);
        expect_equal(result, SUPERBLOCK_OK);
        expect_equal(bench.superblock.working->sequence, before.sequence + 1);
        expect(bench.superblock.working->parent == before.checksum);
        expect(bench.superblock.working->checksum != before.checksum);
        expect(bench_disk_settled());
    }
    bench_end();
}

/* (S2): each update leaves what it does not name, and open gives it back. */
UNIT_TEST(s2_updates_change_only_what_they_name)
{
    bench_begin_formatted(1);
    expect_equal(bench_update_checkpoint(7), SUPERBLOCK_OK);
    const u128 id = superblock_checkpoint_id(&bench.superblock);
    expect_equal(bench_update_view(3, 9), SUPERBLOCK_OK);
    expect(superblock_checkpoint_id(&bench.superblock) == id);
    expect_equal(bench.superblock.working->checkpoint.header.op, 7);
    expect_equal(bench_update_checkpoint(12), SUPERBLOCK_OK);
    expect(superblock_checkpoint_id(&bench.superblock) != id);
    const struct superblock_state expected = *bench.superblock.working;
    superblock_restart(&bench.superblock, &bench.sim);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    expect(memcmp(bench.superblock.working, &expected, sizeof(expected)) == 0);
    expect_equal(bench.superblock.working->view, 3);
    expect_equal(bench.superblock.working->log_view, 3);
    expect_equal(bench.superblock.working->commit_max, 12);
    bench_end();
}

/* (S3): every set of lost, failing and unreadable copies. */
UNIT_TEST(s3_durable_when_three_read_back)
{
    for (uint64_t mask = 0; mask < 16; mask++) {
        for (uint32_t kind = 0; kind < 3; kind++) {
            bench_begin_formatted(mask + 1);
            const struct superblock_state before = *bench.superblock.working;
            bench.lost_copies = mask;
            bench.sim.options.fault_allowed = bench_fault_at_copies;
            if (kind == 0) bench.sim.options.lost_write_per_million = 1000000;
            if (kind == 1) bench.sim.options.write_error_per_million = 1000000;
            if (kind == 2) bench.sim.options.latent_error_per_million = 1000000;
            const int broken = __builtin_popcountll(mask);
            /* A write that is known to have failed is not made good by the other copies. */
            const bool ok = kind == 1 ? broken == 0 : broken <= 1;
            expect_equal(bench_update_view(4, 4), ok ? SUPERBLOCK_OK : SUPERBLOCK_IO_ERROR);
            if (!ok) expect(memcmp(bench.superblock.working, &before, sizeof(before)) == 0);
            if (ok) expect_equal(bench.superblock.working->view, 4);
            bench_end();
        }
    }
}

enum slot_state { SLOT_NEW, SLOT_OLD, SLOT_CORRUPT, SLOT_BLANK, SLOT_MISPLACED, SLOT_UNREADABLE };
#define SLOT_STATE_COUNT 6

static void
set_slot(
    uint32_t copy,
    enum slot_state slot,
    const struct superblock_state *new,
    const struct superblock_state *old)
{
    struct superblock_state *state = superblock_copy_on_disk(&bench.sim, copy);
    *state = *new;
    state->copy = (uint16_t) copy;
    switch (slot) {
    case SLOT_NEW: break;
    case SLOT_OLD:
        *state = *old;
        state->copy = (uint16_t) copy;
        break;
    case SLOT_CORRUPT: ((uint8_t *) state)[prng_below(&bench.prng, SECTOR_SIZE)] ^= 1; break;
    case SLOT_BLANK: memset(state, 0, sizeof(*state)); break;
    case SLOT_MISPLACED: state->copy = (uint16_t) ((copy + 1) % SUPERBLOCK_COPIES); break;
    case SLOT_UNREADABLE:
        storage_sim_latent_error(
            &bench.sim, STORAGE_SUPERBLOCK, copy * SUPERBLOCK_COPY_STRIDE, SECTOR_SIZE);
        break;
    }
}

/* (S4) and (S5): every combination of what the four slots can hold. */
UNIT_TEST(s4_s5_each_combination_of_slots)
{
    bench_begin_formatted(1);
    const struct superblock_state old = *bench.superblock.working;
    expect_equal(bench_update_view(1, 1), SUPERBLOCK_OK);
    const struct superblock_state new = *bench.superblock.working;
    bench_end();
    for (uint32_t code = 0; code < 6 * 6 * 6 * 6; code++) {
        bench_begin(code);
        uint32_t counts[SLOT_STATE_COUNT] = {0};
        for (uint32_t copy = 0, rest = code; copy < SUPERBLOCK_COPIES; copy++, rest /= 6) {
            counts[rest % 6] += 1;
            set_slot(copy, rest % 6, &new, &old);
        }
        const struct superblock_state *expected = NULL;
        if (counts[SLOT_OLD] >= 2) expected = &old;
        if (counts[SLOT_NEW] >= 2) expected = &new;
        const enum superblock_result result = superblock_open_and_repair(&bench.superblock);
        if (expected != NULL) {
            expect_equal(result, SUPERBLOCK_OK);
            expect(bench.superblock.working->checksum == expected->checksum);
            expect(bench_disk_settled()); /* (S5) */
            const uint32_t good = counts[expected == &new ? SLOT_NEW : SLOT_OLD];
            expect_equal(bench.superblock.copies_repaired, SUPERBLOCK_COPIES - good);
            superblock_restart(&bench.superblock, &bench.sim);
            expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
            expect_equal(bench.superblock.copies_repaired, 0);
            expect_equal(bench_update_view(9, 9), SUPERBLOCK_OK);
        } else if (counts[SLOT_BLANK] == SUPERBLOCK_COPIES) {
            expect_equal(result, SUPERBLOCK_ABSENT);
        } else {
            expect_equal(result, SUPERBLOCK_QUORUM_LOST);
        }
        bench_end();
    }
}

UNIT_TEST(s4_a_copy_two_ahead_is_no_torn_update)
{
    bench_begin_formatted(1);
    const struct superblock_state old = *bench.superblock.working;
    expect_equal(bench_update_view(1, 1), SUPERBLOCK_OK);
    const struct superblock_state middle = *bench.superblock.working;
    expect_equal(bench_update_view(2, 2), SUPERBLOCK_OK);
    const struct superblock_state new = *bench.superblock.working;
    for (uint32_t copy = 2; copy < SUPERBLOCK_COPIES; copy++) {
        set_slot(copy, SLOT_NEW, &old, &old);
    }
    set_slot(1, SLOT_NEW, &middle, &middle);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_QUORUM_LOST);
    /* Two of the newest are enough, whatever the others are. */
    set_slot(1, SLOT_NEW, &new, &new);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    expect_equal(bench.superblock.working->view, 2);
    expect(bench_disk_settled());
    bench_end();
}

UNIT_TEST(s4_forks_are_refused)
{
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        /* One sequence, two contents. */
        bench_begin_formatted(1);
        expect_equal(bench_update_view(1, 1), SUPERBLOCK_OK);
        superblock_copy_on_disk(&bench.sim, copy)->view += 1;
        superblock_reseal(superblock_copy_on_disk(&bench.sim, copy));
        struct superblock_state before = *superblock_copy_on_disk(&bench.sim, copy);
        expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_FORK);
        expect(memcmp(superblock_copy_on_disk(&bench.sim, copy), &before, sizeof(before)) == 0);

        /* The next sequence, not a child; and the same with the roles changed. */
        superblock_copy_on_disk(&bench.sim, copy)->sequence += 1;
        superblock_reseal(superblock_copy_on_disk(&bench.sim, copy));
        expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_FORK);
        superblock_copy_on_disk(&bench.sim, copy)->sequence -= 2;
        superblock_reseal(superblock_copy_on_disk(&bench.sim, copy));
        expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_FORK);
        bench_end();
    }
}

UNIT_TEST(s5_what_cannot_be_repaired_stops_the_open)
{
    /*
     * A write that fails; and one that is lost, over a copy that could make a fork of the next
     * update.
     */
    for (uint32_t kind = 0; kind < 2; kind++) {
        bench_begin_formatted(1);
        const struct superblock_state old = *bench.superblock.working;
        expect_equal(bench_update_view(1, 1), SUPERBLOCK_OK);
        for (uint32_t copy = 1; copy < SUPERBLOCK_COPIES; copy++) {
            set_slot(copy, SLOT_NEW, &old, &old);
        }
        if (kind == 0) bench.sim.options.write_error_per_million = 1000000;
        if (kind == 1) bench.sim.options.lost_write_per_million = 1000000;
        superblock_restart(&bench.superblock, &bench.sim);
        expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_IO_ERROR);
        bench.sim.options.write_error_per_million = 0;
        bench.sim.options.lost_write_per_million = 0;
        expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
        expect_equal(bench.superblock.working->sequence, 1);
        bench_end();
    }
}

UNIT_TEST(other_versions_and_configurations_are_left_alone)
{
    bench_begin_formatted(1);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        superblock_copy_on_disk(&bench.sim, copy)->version += 1;
        superblock_copy_on_disk(&bench.sim, copy)->reserved[0] = 1; /* May mean something there. */
        superblock_reseal(superblock_copy_on_disk(&bench.sim, copy));
    }
    memset(superblock_copy_on_disk(&bench.sim, 3), 0, SECTOR_SIZE);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OTHER_VERSION);
    expect_equal(superblock_copy_on_disk(&bench.sim, 3)->sequence, 0);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        *superblock_copy_on_disk(&bench.sim, copy) = *superblock_copy_on_disk(&bench.sim, 0);
        superblock_copy_on_disk(&bench.sim, copy)->copy = (uint16_t) copy;
        superblock_copy_on_disk(&bench.sim, copy)->version = DISK_FORMAT_VERSION;
        superblock_copy_on_disk(&bench.sim, copy)->config_fingerprint = CONFIG_FINGERPRINT ^ 1;
        superblock_reseal(superblock_copy_on_disk(&bench.sim, copy));
    }
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OTHER_CONFIG);
    bench_end();
}

/* Power fails at each event of an update: the state is the one before or the one after, whole. */
UNIT_TEST(a_torn_update)
{
    uint32_t taken_new = 0, taken_old = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint64_t event = 1; event <= 24; event++) {
            bench_begin_formatted(seed);
            const struct superblock_state old = *bench.superblock.working;
            storage_sim_crash_after(&bench.sim, event);
            (void) bench_update_view(1, 1);
            expect(bench.sim.crashed || event == 24);
            if (bench.sim.crashed) expect(bench.alone.done);
            const bool durable = bench.alone.result == SUPERBLOCK_OK;
            if (bench.sim.crashed) storage_sim_restart(&bench.sim);
            superblock_restart(&bench.superblock, &bench.sim);
            expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
            const bool is_old = memcmp(bench.superblock.working, &old, sizeof(old)) == 0;
            if (!is_old) expect_equal(bench.superblock.working->view, 1);
            if (durable) expect(!is_old);
            taken_old += is_old;
            taken_new += !is_old;
            expect(bench_disk_settled());
            bench_end();
        }
    }
    expect(taken_new > 100 && taken_old > 50);
}

/* (S1) and (S2) hold for a change of owner too: all but the owner stays. */
UNIT_TEST(s1_s2_another_owner)
{
    bench_begin_formatted(1);
    expect_equal(bench_update_checkpoint(7), SUPERBLOCK_OK);
    expect_equal(bench_update_view(3, 9), SUPERBLOCK_OK);
    struct superblock_state expected = *bench.superblock.working;
    expect_equal(bench_update_owner(50, 60), SUPERBLOCK_OK);
    expected.parent = expected.checksum;
    expected.sequence += 1;
    expected.incarnation = 50;
    expected.system_identifier = 60;
    expected.members.slots[0].incarnation = 50;
    expected.checkpoint.members_checksum = members_checksum(&expected.members);
    superblock_reseal(&expected);
    superblock_restart(&bench.superblock, &bench.sim);
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    expect(memcmp(bench.superblock.working, &expected, sizeof(expected)) == 0);
    expect(bench_disk_settled());
    bench_end();
}

/* Power fails at each event of a change of owner: it is the old one's or the new one's. */
UNIT_TEST(a_torn_change_of_owner)
{
    uint32_t taken_new = 0, taken_old = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint64_t event = 1; event <= 24; event++) {
            bench_begin_formatted(seed);
            storage_sim_crash_after(&bench.sim, event);
            (void) bench_update_owner(50, 60);
            const bool durable = bench.alone.result == SUPERBLOCK_OK;
            if (bench.sim.crashed) storage_sim_restart(&bench.sim);
            superblock_restart(&bench.superblock, &bench.sim);
            expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
            const bool is_new = bench.superblock.working->incarnation == 50;
            expect_equal(bench.superblock.working->system_identifier, is_new ? 60 : 6);
            expect(is_new || bench.superblock.working->incarnation == 5);
            if (durable) expect(is_new);
            taken_new += is_new;
            taken_old += !is_new;
            expect(bench_disk_settled());
            bench_end();
        }
    }
    expect(taken_new > 100 && taken_old > 50);
}

/*
 * (S6): two copies are bad, whichever, since the last update; and power fails at each event of the
 * next.
 */
UNIT_TEST(s6_a_torn_update_over_bad_copies)
{
    uint32_t torn = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        for (uint64_t mask = 1; mask < 16; mask++) {
            if (__builtin_popcountll(mask) > 2) continue;
            for (uint64_t event = 1; event <= 24; event++) {
                bench_begin_formatted(seed);
                for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
                    const uint64_t offset = copy * SUPERBLOCK_COPY_STRIDE;
                    if (((mask >> copy) & 1) == 0) continue;
                    storage_sim_rot(&bench.sim, STORAGE_SUPERBLOCK, offset, SECTOR_SIZE);
                }
                storage_sim_crash_after(&bench.sim, event);
                (void) bench_update_view(1, 1);
                const bool durable = bench.alone.result == SUPERBLOCK_OK;
                torn += bench.sim.crashed;
                if (bench.sim.crashed) storage_sim_restart(&bench.sim);
                superblock_restart(&bench.superblock, &bench.sim);
                expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
                expect(bench.superblock.working->view == 1 || !durable);
                expect(bench_disk_settled());
                bench_end();
            }
        }
    }
    expect(torn > 1000);
}

/* (S5): whose it is, the caller compares before anything is written. */
UNIT_TEST(s5_open_writes_nothing)
{
    bench_begin_formatted(1);
    memset(superblock_copy_on_disk(&bench.sim, 1), 0, SECTOR_SIZE);
    storage_sim_rot(&bench.sim, STORAGE_SUPERBLOCK, 3 * SUPERBLOCK_COPY_STRIDE, SECTOR_SIZE);
    const uint64_t writes = bench.sim.counters.writes;
    superblock_restart(&bench.superblock, &bench.sim);
    expect_equal(superblock_open(&bench.superblock), SUPERBLOCK_OK);
    expect_equal(bench.sim.counters.writes, writes);
    expect_equal(superblock_repair(&bench.superblock), SUPERBLOCK_OK);
    expect_equal(bench.sim.counters.writes, writes + 2);
    expect_equal(bench.superblock.copies_repaired, 2);
    expect(bench_disk_settled());
    bench_end();
}

UNIT_TEST(a_file_cut_short)
{
    for (uint64_t size = 0; size < SUPERBLOCK_FILE_SIZE; size += SECTOR_SIZE) {
        bench_begin_formatted(1);
        bench.sim.storage.file_size_bytes[STORAGE_SUPERBLOCK] = size;
        bench.sim.files[STORAGE_SUPERBLOCK].size_bytes = size;
        const uint64_t left = (size + SUPERBLOCK_COPY_STRIDE - 1) / SUPERBLOCK_COPY_STRIDE;
        const enum superblock_result result = superblock_open_and_repair(&bench.superblock);
        if (size == 0) {
            expect_equal(result, SUPERBLOCK_ABSENT);
        } else if (left < 2) {
            expect_equal(result, SUPERBLOCK_QUORUM_LOST);
        } else {
            expect_equal(result, SUPERBLOCK_OK);
            expect_equal(
                bench.sim.storage.file_size_bytes[STORAGE_SUPERBLOCK], SUPERBLOCK_FILE_SIZE);
            expect(bench_disk_settled());
        }
        bench_end();
    }
}

UNIT_MAIN(test_superblock)
