/* SPDX-License-Identifier: PostgreSQL */
/* Fences: the judgement, (V16) … (V21) of vsr/fences.h, and records in the table of members. */
#include <string.h>

#include "store/members.h"
#include "unit/unit.h"
#include "vsr/fences.h"

#define FENCE(op) (100 + (op)) /* Of the record of an op; 0 has none. */

static uint64_t
fence_at(uint64_t record_op)
{
    return record_op == 0 ? 0 : FENCE(record_op);
}

/*
 * The slot has had records at ops 0 (none), 2 and 5. Each judge that has come to some op judges
 * each state that a directory can have had: right are only the newest and who has asked for it.
 */
UNIT_TEST(v16_only_the_newest_fence_and_who_has_asked_for_it_are_right)
{
    static const uint64_t records[] = {0, 2, 5};
    uint32_t seen[3] = {0};
    for (uint64_t executed = 0; executed < 8; executed++) {
        struct superblock_heard known = {0};
        for (uint32_t i = 0; i < 3; i++) {
            if (records[i] <= executed) known.record_op = records[i];
        }
        known.fence = fence_at(known.record_op);
        for (uint32_t i = 0; i < 3; i++) {
            for (uint32_t asked = 0; asked < 3; asked++) {
                struct fence_claim claim = {
                    .fence = fence_at(records[i]),
                    .record_op = records[i],
                    .fence_next = asked == 0 ? 0 : 9,
                };
                if (asked == 1 && i < 2) claim.fence_next = fence_at(records[i + 1]);
                enum fence_verdict expected = FENCE_STALE;
                if (records[i] > executed) expected = FENCE_UNKNOWN;
                if (records[i] == known.record_op) expected = FENCE_RIGHT;
                const bool next = i < 2 && records[i + 1] == known.record_op;
                if (next && asked == 1) expected = FENCE_RIGHT;
                const enum fence_verdict verdict = fences_judge(&known, executed, &claim);
                expect_equal(verdict, expected);
                seen[verdict] += 1;
            }
        }
    }
    expect(seen[FENCE_RIGHT] > 10 && seen[FENCE_UNKNOWN] > 5 && seen[FENCE_STALE] > 10);
    /* What was heard of it counts as what was executed. */
    const struct superblock_heard heard = {.record_op = 5, .fence = FENCE(5)};
    const struct fence_claim old = {.record_op = 2, .fence = FENCE(2)};
    expect_equal(fences_judge(&heard, 0, &old), FENCE_STALE);
    /* One that says that it has a record which the log hasn't. */
    const struct fence_claim forked = {.record_op = 6, .fence = FENCE(6)};
    expect_equal(fences_judge(&heard, 7, &forked), FENCE_STALE);
    const struct fence_claim other = {.record_op = 5, .fence = FENCE(4), .fence_next = FENCE(5)};
    expect_equal(fences_judge(&heard, 7, &other), FENCE_STALE);
}

UNIT_TEST(v16_views_and_the_durable_log_do_not_go_back)
{
    const struct superblock_heard known = {.view = 7, .log_view = 5, .acked_op = 20};
    struct fence_claim claim = {.view = 7, .log_view = 5, .acked_op = 20};
    expect(!fences_went_back(&known, &claim));
    claim.view = 6;
    expect(fences_went_back(&known, &claim));
    claim.view = 8;
    claim.log_view = 4;
    expect(fences_went_back(&known, &claim));
    claim.log_view = 5;
    claim.acked_op = 19;
    expect(fences_went_back(&known, &claim));
    claim.uncertain = true; /* It may have cut what it had, when it was opened. */
    expect(!fences_went_back(&known, &claim));
    claim.uncertain = false;
    claim.log_view = 6; /* In another log it may have less. */
    expect(!fences_went_back(&known, &claim));
}

/* No fence was drawn: nothing that the log says is meant by it. */
UNIT_TEST(v17_no_fence_is_no_fence)
{
    const struct superblock_heard nothing = {0};
    const struct fence_claim claim = {.fence = 7, .record_op = 0};
    expect_equal(fences_judge(&nothing, 9, &claim), FENCE_STALE);
    expect_equal(fences_move(3, 0, 5, 4), FENCE_OVER);
    expect_equal(fences_move(3, 5, 5, 4), FENCE_MOVES);
    expect_equal(fences_move(3, 6, 5, 4), FENCE_OVER);
    expect_equal(fences_move(4, 6, 5, 4), FENCE_STAYS);
}

static struct members
two(void)
{
    struct members members = {0};
    for (uint32_t slot = 0; slot < 2; slot++) {
        members.slots[slot] = (struct member){
            .incarnation = 1 + slot,
            .role = slot == 0 ? MEMBER_VOTER : MEMBER_STANDBY,
            .name[0] = (char) ('a' + slot),
        };
    }
    return members;
}

UNIT_TEST(v19_changes_of_members_leave_fences_as_they_are)
{
    struct members members = two();
    const struct member_fence record = {.incarnation = 2, .fence = 5, .session = 1, .slot = 1};
    expect(members_fence(&members, &record, 3));
    struct member_change change = {.slot = 1, .member = members.slots[1]};
    expect(!members_apply(&members, &change)); /* It says something of fences. */
    change.member.fence = 0;
    expect(!members_apply(&members, &change));
    change.member.record_op = 0;
    change.member.role = MEMBER_VOTER;
    expect(members_apply(&members, &change));
    expect_equal(members.slots[1].fence, 5);
    expect_equal(members.slots[1].record_op, 3);
    /* Who has the slot next has none. */
    const struct member_change gone = {.slot = 1};
    expect(members_apply(&members, &gone));
    change.member.role = MEMBER_STANDBY;
    change.member.incarnation = 3;
    expect(members_apply(&members, &change));
    expect_equal(members.slots[1].fence, 0);
    expect_equal(members.slots[1].record_op, 0);
    expect(!members_fence(&members, &record, 9)); /* It is of the former one. */
}

UNIT_TEST(v20_a_record_counts_only_if_it_begins_with_the_slots_fence)
{
    struct members members = two();
    struct member_fence record = {.incarnation = 2, .fence = 5, .session = 1, .slot = 1};
    expect(members_fence(&members, &record, 3));
    const struct members after = members;
    expect(!members_fence(&members, &record, 4)); /* Made twice. */
    record.fence_before = 4;
    record.fence = 6;
    expect(!members_fence(&members, &record, 5));
    record.fence_before = 5;
    expect(!members_fence(&members, &record, 3)); /* Executed again. */
    expect(memcmp(&members, &after, sizeof(members)) == 0);
    expect(members_fence(&members, &record, 5));
    expect_equal(members.slots[1].fence, 6);
    expect_equal(members.slots[1].record_op, 5);
    record.slot = 2; /* Nobody's. */
    record.fence_before = 0;
    expect(!members_fence(&members, &record, 6));
}

UNIT_TEST(what_no_record_can_be)
{
    const struct member_fence record = {.incarnation = 2, .fence = 5, .session = 1, .slot = 1};
    expect(member_fence_valid(&record));
    for (uint32_t i = 0; i < 6; i++) {
        struct member_fence changed = record;
        switch (i) {
        case 0: changed.incarnation = 0; break;
        case 1: changed.fence = 0; break;
        case 2: changed.fence_before = 5; break;
        case 3: changed.session = 0; break;
        case 4: changed.slot = MEMBERS_MAX; break;
        default: changed.reserved[86] = 1; break;
        }
        expect(!member_fence_valid(&changed));
    }
}

UNIT_TEST(v21_who_is_refused_judges_itself_by_what_it_has_now)
{
    const struct superblock_heard known = {
        .fence = FENCE(5), .record_op = 5, .view = 7, .log_view = 7, .acked_op = 20};
    /* It has come further since it said hello. */
    struct fence_claim own = {
        .fence = FENCE(9), .record_op = 9, .view = 8, .log_view = 8, .acked_op = 1};
    expect(!fences_over(&known, &own));
    own = (struct fence_claim){
        .fence = FENCE(2), .record_op = 2, .fence_next = FENCE(5), .view = 7, .log_view = 7,
        .acked_op = 20};
    expect(!fences_over(&known, &own)); /* It has asked for it. */
    own.fence_next = 1;
    expect(fences_over(&known, &own));
    own.fence_next = 0;
    expect(fences_over(&known, &own));
    own = (struct fence_claim){
        .fence = FENCE(5), .record_op = 5, .view = 7, .log_view = 7, .acked_op = 20};
    expect(!fences_over(&known, &own));
    own.acked_op = 19;
    expect(fences_over(&known, &own));
    own.acked_op = 20;
    own.fence = FENCE(4);
    expect(fences_over(&known, &own));
}

UNIT_MAIN(test_fences)
