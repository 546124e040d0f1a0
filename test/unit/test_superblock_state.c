/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include "unit/superblock_bench.h"

/* What the case makes of a sound state. Returns false if there is no such case. */
static bool
make_field_nonsense(struct superblock_state *state, uint32_t which)
{
    switch (which) {
    case 0: state->checkpoint.header.op += 1; return true;
    case 1: state->sequence = 0; return true;
    case 2: state->log_view = state->view + 1; return true;
    case 3: state->view = UINT32_MAX; return true;
    case 4: state->commit_max = state->checkpoint.header.op - 1; return true;
    case 5: state->commit_max_checksum += 1; return true;
    case 6: state->level = 1; return true;
    case 7: state->reserved_head[1] = 1; return true;
    case 8: state->reserved[31] = 1; return true;
    case 9: state->checkpoint.reserved[8] = 1; return true;
    case 10: state->checkpoint.root.reserved = 1; return true;
    default: return false;
    }
}

/* The log's end (S7). */
static bool
make_suffix_nonsense(struct superblock_state *state, uint32_t which)
{
    struct prepare_header *const suffix = state->suffix;
    switch (which) {
    case 0: state->suffix_count = 0; return true;
    case 1: state->suffix_count = SUPERBLOCK_SUFFIX_MAX + 1; return true;
    case 2: state->suffix_count = 255; return true;
    case 3: state->suffix_count -= 1; return true; /* The entry after it isn't zero. */
    case 4: state->suffix_count += 1; return true;
    case 5: suffix[1].timestamp += 1; return true; /* Its checksum is wrong. */
    case 6: suffix[1] = suffix[2]; return true;
    case 7: /* No bench.chain. */
        suffix[1].timestamp += 1;
        prepare_seal(&suffix[1]);
        return true;
    case 8: /* A log that goes back to an older view. */
        suffix[3].view = state->log_view;
        prepare_seal(&suffix[3]);
        suffix[4].parent = suffix[3].checksum;
        prepare_seal(&suffix[4]);
        return true;
    case 9: /* Of a view that isn't there yet. */
        suffix[4].view = state->log_view + 1;
        prepare_seal(&suffix[4]);
        return true;
    case 10: /* More is uncommitted than can be. */
        suffix[4].commit = suffix[4].op - SUPERBLOCK_SUFFIX_MAX;
        prepare_seal(&suffix[4]);
        return true;
    case 11:
        suffix[4].commit = suffix[4].op + 1;
        prepare_seal(&suffix[4]);
        return true;
    case 12: state->op_acked_min = suffix[4].op + 1; return true;
    case 13: state->op_acked_min = state->checkpoint.header.op - 1; return true;
    case 14: /* Another bench.chain than the checkpoint's. */
        state->checkpoint.header.timestamp += 1;
        prepare_seal(&state->checkpoint.header);
        state->commit_max_checksum = state->checkpoint.header.checksum;
        return true;
    case 15:
        suffix[4].cluster += 1;
        prepare_seal(&suffix[4]);
        return true;
    default: return false;
    }
}

/* The members (S9), and what only others need. */
static bool
make_members_nonsense(struct superblock_state *state, uint32_t which)
{
    struct member *const slots = state->members.slots;
    switch (which) {
    case 0: state->checkpoint.members_checksum += 1; return true;
    case 1: slots[3].role = MEMBER_STANDBY; break;
    case 2: slots[0].role = MEMBER_VOTER + 1; break;
    case 3: slots[0].role = MEMBER_STANDBY; break;
    case 4: slots[0] = (struct member){0}; break;
    case 5: slots[0].name[0] = 'a'; break;
    case 6: state->incarnation = 0; return true;
    case 7: state->incarnation += 1; return true;
    case 8: state->slot = 1; return true;
    case 9: state->slot = MEMBERS_MAX; return true;
    case 10: state->slot = 255; return true;
    case 11: slots[1] = slots[0]; break; /* Two members with one incarnation. */
    /* A lone node has nobody to tell, nor to hear of. */
    case 12: state->flags = SUPERBLOCK_SYNCING; return true;
    case 13: state->flags = SUPERBLOCK_OVER; return true;
    case 14: state->name[0] = 'a'; return true;
    case 15: state->fence = 1; return true;
    case 16: state->fence_next = 1; return true;
    case 17: state->record_op = 1; return true;
    case 18: state->heard[11].acked_op = 1; return true;
    case 19: state->first_incarnation = 5; return true;
    default: return false;
    }
    state->checkpoint.members_checksum = members_checksum(&state->members);
    return true;
}

/* A state of a cluster of three, that of slot 1. */
static void
make_cluster(struct superblock_state *state)
{
    static const char *const names[] = {"a", "b", "0123456789_-abcdefghijklmnopqrs"};
    state->flags = SUPERBLOCK_NOT_ALONE;
    state->slot = 1;
    strcpy(state->name, names[1]);
    for (uint32_t slot = 0; slot < 3; slot++) {
        struct member *member = &state->members.slots[slot];
        *member = (struct member){.incarnation = 5 + slot, .role = MEMBER_VOTER};
        member->fence = 70 + slot;
        member->record_op = slot;
        memcpy(member->name, names[slot], strlen(names[slot]));
        state->heard[slot] = (struct superblock_heard){.view = 3, .log_view = 2, .acked_op = 4};
    }
    state->incarnation = 6;
    state->fence = 80;
    state->fence_next = 81;
    state->record_op = 99;
    state->members.slots[2].role = MEMBER_STANDBY;
    state->checkpoint.members_checksum = members_checksum(&state->members);
}

/* The same with others. */
static bool
make_cluster_nonsense(struct superblock_state *state, uint32_t which)
{
    struct member *const slots = state->members.slots;
    make_cluster(state);
    switch (which) {
    case 0: state->flags |= 8; return true;
    case 1: state->name[0] = '\0'; return true;
    case 2: memset(state->name, 'x', sizeof(state->name)); return true; /* No zero ends it. */
    case 3: state->name[2] = 'x'; return true;
    case 4: state->heard[2].log_view = state->heard[2].view + 1; return true;
    case 5: slots[2].record_op = state->checkpoint.header.op + 1; break;
    case 6: slots[2].incarnation = slots[0].incarnation; break;
    case 7: memcpy(slots[2].name, slots[0].name, MEMBER_NAME_MAX); break;
    case 8: slots[0].name[3] = 'x'; break;
    case 9: slots[2].role = 77; break;
    case 10: slots[5].fence = 1; break;
    case 11: state->checkpoint.members_checksum += 1; return true;
    case 12: state->slot = MEMBERS_MAX; return true;
    default: return false;
    }
    state->checkpoint.members_checksum = members_checksum(&state->members);
    return true;
}

/* Views, a checkpoint at op 4, and a suffix of ops 3 … 7. */
static void
begin_with_all(void)
{
    bench_begin_formatted(1);
    expect_equal(bench_update_view(1, 3), SUPERBLOCK_OK);
    expect_equal(bench_update_checkpoint(4), SUPERBLOCK_OK);
    struct superblock_log log;
    superblock_chain_extend(&bench.chain, 7, 1);
    superblock_chain_log(&bench.chain, 7, 2, &log);
    bench.alone = (struct bench_asked){.update = {.view = 3, .log = log}};
    log.suffix_count = 5;
    memset(log.suffix, 0, sizeof(log.suffix));
    memcpy(log.suffix, &bench.chain.headers[3], 5 * sizeof(log.suffix[0]));
    log.op_acked_min = 6;
    log.commit_max = 4;
    log.commit_max_checksum = bench.chain.headers[4].checksum;
    bench.alone.update.log = log;
    bench_ask(&bench.alone, SUPERBLOCK_UPDATE_VIEW);
    bench_wait();
    expect_equal(bench.alone.result, SUPERBLOCK_OK);
}

static enum superblock_result
open_changed(bool (*change)(struct superblock_state *state, uint32_t which), uint32_t which)
{
    const struct superblock_state before = *bench.superblock.working;
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state *state = superblock_copy_on_disk(&bench.sim, copy);
        if (!change(state, which)) return SUPERBLOCK_ABSENT;
        superblock_reseal(state);
    }
    const enum superblock_result result = superblock_open_and_repair(&bench.superblock);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        *superblock_copy_on_disk(&bench.sim, copy) = before;
        superblock_copy_on_disk(&bench.sim, copy)->copy = (uint16_t) copy;
    }
    expect_equal(superblock_open_and_repair(&bench.superblock), SUPERBLOCK_OK);
    return result;
}

static bool
make_sound_cluster(struct superblock_state *state, uint32_t which)
{
    make_cluster(state);
    if (which == 1) state->flags |= SUPERBLOCK_SYNCING | SUPERBLOCK_OVER;
    if (which == 2) state->slot = 11; /* Given, but after this checkpoint. */
    return true;
}

/* Each case, and there are so many. */
static void
expect_nonsense(bool (*make)(struct superblock_state *state, uint32_t which), uint32_t count)
{
    for (uint32_t which = 0; which < count; which++) {
        expect_equal(open_changed(make, which), SUPERBLOCK_QUORUM_LOST);
    }
    expect_equal(open_changed(make, count), SUPERBLOCK_ABSENT);
}

UNIT_TEST(s7_s9_sealed_nonsense_counts_as_invalid)
{
    begin_with_all();
    expect_nonsense(make_field_nonsense, 11);
    expect_nonsense(make_suffix_nonsense, 16);
    expect_nonsense(make_members_nonsense, 20);
    expect_nonsense(make_cluster_nonsense, 13);
    for (uint32_t which = 0; which < 3; which++) {
        expect_equal(open_changed(make_sound_cluster, which), SUPERBLOCK_OK);
    }
    bench_end();
}

UNIT_MAIN(test_superblock_state)
