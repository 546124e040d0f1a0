/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include "store/members.h"

static uint32_t
bits(uint32_t mask)
{
    return (uint32_t) __builtin_popcount(mask);
}

/* Voters 0 … count − 1 */
static uint32_t
all(uint32_t count)
{
    return (UINT32_C(1) << count) - 1;
}

UNIT_TEST(quorums_are_as_documented)
{
    static const uint32_t rows[VOTERS_MAX][2] = {{1, 1}, {2, 1}, {2, 2}, {3, 2}, {3, 3}, {4, 3}};
    for (uint32_t count = 1; count <= VOTERS_MAX; count++) {
        expect_equal(members_quorum(count), rows[count - 1][0]);
        expect_equal(members_nack_quorum(count), rows[count - 1][1]);
    }
}

/* Every quorum of every set of voters, with every quorum of it, and of each with one voter more. */
UNIT_TEST(any_two_quorums_meet)
{
    uint32_t pairs = 0;
    for (uint32_t count = 1; count <= VOTERS_MAX; count++) {
        for (uint32_t more = count; more <= count + 1 && more <= VOTERS_MAX; more++) {
            for (uint32_t a = 0; a <= all(count); a++) {
                if (bits(a) < members_quorum(count)) continue;
                for (uint32_t b = 0; b <= all(more); b++) {
                    if (bits(b) < members_quorum(more)) continue;
                    expect((a & b) != 0);
                    pairs += 1;
                }
            }
        }
    }
    expect(pairs > 1000);
}

/*
 * Whoever acknowledged an op, and whoever says that it never did, honestly: if the latter are a
 * nack quorum, the former are no replication quorum, and with one nack less they may be. And while
 * a quorum that has the op lives, the others are too few to drop it.
 */
UNIT_TEST(a_nack_quorum_proves_that_nothing_was_committed)
{
    for (uint32_t count = 1; count <= VOTERS_MAX; count++) {
        const uint32_t nacks_needed = members_nack_quorum(count);
        bool committed_with_one_less = false;
        for (uint32_t acked = 0; acked <= all(count); acked++) {
            const bool committed = bits(acked) >= members_quorum(count);
            const uint32_t others = all(count) & ~acked;
            for (uint32_t nacks = 0; nacks <= all(count); nacks++) {
                if ((nacks & ~others) != 0) continue;
                if (bits(nacks) >= nacks_needed) expect(!committed);
                if (bits(nacks) + 1 == nacks_needed) committed_with_one_less |= committed;
            }
        }
        expect(committed_with_one_less);
        /* A view change by any quorum can decide: either one voter has it, or all of them nack. */
        expect(members_quorum(count) >= nacks_needed);
    }
}

/* Every set of voters and every view of two rounds, against a walk by hand. */
UNIT_TEST(the_next_view_skips_who_does_not_vote)
{
    for (uint32_t voters = 1; voters < UINT32_C(1) << MEMBERS_MAX; voters++) {
        for (uint32_t view = 0; view < 2 * MEMBERS_MAX; view++) {
            const uint32_t next = members_next_view((uint16_t) voters, view);
            expect(next > view && next <= view + MEMBERS_MAX);
            expect((voters >> members_view_slot(next) & 1) == 1);
            for (uint32_t between = view + 1; between < next; between++) {
                expect((voters >> (between % 12) & 1) == 0);
            }
        }
        expect_equal(members_voter_count((uint16_t) voters), bits(voters));
    }
    /* Each voter gets its turn, in the order of the slots. */
    uint32_t view = 0;
    for (uint32_t i = 0; i < 6; i++) {
        view = members_next_view(1 << 2 | 1 << 5 | 1 << 11, view);
        expect_equal(members_view_slot(view), i % 3 == 0 ? 2 : i % 3 == 1 ? 5 : 11);
    }
    expect_equal(view, 23);
    /* The lone ledger has every twelfth view. */
    expect_equal(members_next_view(1, 0), 12);
    expect_equal(members_next_view(1, 12), 24);
}

static void
member_set(struct members *members, uint32_t slot, enum member_role role, const char *name)
{
    members->slots[slot] = (struct member){.incarnation = 100 + slot, .role = (uint8_t) role};
    memcpy(members->slots[slot].name, name, strlen(name));
}

/* Two voters and a standby; a name has the greatest length. */
static struct members
three(void)
{
    struct members members = {0};
    member_set(&members, 1, MEMBER_VOTER, "a");
    member_set(&members, 7, MEMBER_VOTER, "0123456789_-abcdefghijklmnopqrs");
    member_set(&members, 11, MEMBER_STANDBY, "node-3");
    return members;
}

UNIT_TEST(a_table_and_its_voters)
{
    struct members members = three();
    expect(members_valid(&members));
    expect_equal(members_voters(&members), 1 << 1 | 1 << 7);
    const u128 before = members_checksum(&members);
    members.slots[11].role = MEMBER_VOTER;
    expect_equal(members_voters(&members), 1 << 1 | 1 << 7 | 1 << 11);
    expect(members_checksum(&members) != before);

    members_lone(&members, 9);
    expect(members_valid(&members));
    expect_equal(members_voters(&members), 1);
    expect(members.slots[0].incarnation == 9);
}

/* Each case is one change of a valid table. */
UNIT_TEST(what_no_table_can_be)
{
    for (uint32_t i = 0; i < 14; i++) {
        struct members members = three();
        struct member *const slots = members.slots;
        switch (i) {
        case 0: slots[1].role = MEMBER_VOTER + 1; break;
        case 1: slots[1].role = 255; break;
        case 2: slots[1].role = MEMBER_NONE; break; /* The rest of the entry isn't zero. */
        case 3: slots[3].fence = 1; break;
        case 4: slots[1].incarnation = 0; break;
        case 5: slots[11].incarnation = slots[1].incarnation; break;
        case 6: memcpy(slots[11].name, slots[7].name, MEMBER_NAME_MAX); break;
        case 7: memset(slots[1].name, 0, MEMBER_NAME_MAX); break; /* Not alone, and nameless. */
        case 8: slots[1].name[2] = 'b'; break; /* After the name's end. */
        case 9: slots[1].name[0] = 'A'; break;
        case 10: slots[1].name[0] = '\xff'; break;
        case 11: slots[7].name[MEMBER_NAME_MAX - 1] = ' '; break;
        case 12: /* Nobody votes. */
            slots[1].role = MEMBER_STANDBY;
            slots[7].role = MEMBER_STANDBY;
            break;
        case 13: /* Seven vote. */
            for (uint32_t slot = 0; slot < VOTERS_MAX + 1; slot++) {
                const char name[2] = {(char) ('b' + slot), '\0'};
                member_set(&members, slot, MEMBER_VOTER, name);
            }
            slots[7].role = MEMBER_STANDBY;
            break;
        default: expect(false);
        }
        expect(!members_valid(&members));
    }
    const struct members nobody = {0};
    expect(!members_valid(&nobody));
}

UNIT_TEST(names)
{
    char name[MEMBER_NAME_MAX] = {0};
    expect(!member_name_valid(name));
    for (uint32_t size = 1; size <= MEMBER_NAME_MAX; size++) {
        name[size - 1] = 'z';
        expect(member_name_valid(name));
    }
    name[0] = '\0';
    expect(!member_name_valid(name));
    for (uint32_t c = 1; c < 256; c++) {
        const bool may = strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", (int) c) != NULL;
        const char one[MEMBER_NAME_MAX] = {(char) c};
        expect(member_name_valid(one) == may);
    }
}

/* Of all changes to a table of three, those that leave a table that may be. */
UNIT_TEST(a_change_is_of_one_member_and_leaves_a_valid_table)
{
    struct members members = {0};
    for (uint32_t slot = 0; slot < 3; slot++) {
        members.slots[slot] = (struct member){
            .incarnation = slot + 1,
            .role = slot < 2 ? MEMBER_VOTER : MEMBER_STANDBY,
            .name[0] = (char) ('a' + slot),
        };
    }
    uint32_t applied = 0;
    for (uint32_t slot = 0; slot <= MEMBERS_MAX; slot++) {
        for (uint32_t role = 0; role <= 3; role++) {
            for (uint32_t incarnation = 0; incarnation <= 4; incarnation++) {
                for (char name = 'a'; name <= 'd'; name++) {
                    struct members after = members;
                    struct member_change change = {.slot = (uint8_t) slot};
                    if (role != MEMBER_NONE) {
                        change.member.role = (uint8_t) role;
                        change.member.incarnation = incarnation;
                        change.member.name[0] = name;
                    }
                    const bool old = slot < 3;
                    const bool own_name = old && name == 'a' + (char) slot;
                    const bool free_name = name == 'd';
                    const bool fits = role == MEMBER_NONE
                                          ? old
                                          : role <= MEMBER_VOTER && slot < MEMBERS_MAX &&
                                                (own_name || free_name) &&
                                                (old ? incarnation == slot + 1
                                                     : role == MEMBER_STANDBY && incarnation == 4);
                    expect_equal(members_apply(&after, &change), fits);
                    applied += fits;
                    const bool same = memcmp(&after, &members, sizeof(members)) == 0;
                    if (!fits) expect(same);
                    if (fits) expect(members_valid(&after));
                    if (!fits) continue;
                    /* It is absolute: twice is once. */
                    struct members twice = after;
                    if (role == MEMBER_NONE) continue;
                    expect(members_apply(&twice, &change));
                    expect(memcmp(&after, &twice, sizeof(after)) == 0);
                }
            }
        }
    }
    expect(applied > 20);
    struct member_change last = {.slot = 1};
    expect(members_apply(&members, &last));
    last.slot = 0;
    expect(!members_apply(&members, &last)); /* There is a voter. */
    struct member_change reserved = {.slot = 2, .reserved[62] = 1};
    expect(!members_apply(&members, &reserved));
}

UNIT_TEST(a_member_is_found_by_its_name)
{
    struct members members;
    char name[MEMBER_NAME_MAX + 1] = "ab";
    members_lone(&members, 7);
    expect_equal(members_find(&members, name), MEMBERS_MAX);
    members.slots[0].name[0] = 'a';
    expect_equal(members_find(&members, name), MEMBERS_MAX);
    members.slots[0].name[1] = 'b';
    expect_equal(members_find(&members, name), 0);
}

UNIT_MAIN(test_members)
