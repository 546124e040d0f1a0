/* SPDX-License-Identifier: PostgreSQL */
/* See members.h. */
#include "store/members.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"

static_assert(MEMBERS_MAX <= 16, "voters are bits of 16");
static_assert(VOTERS_MAX <= MEMBERS_MAX, "voters are members");

static bool
name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool
member_name_valid(const char name[MEMBER_NAME_MAX])
{
    uint32_t size = 0;
    while (size < MEMBER_NAME_MAX && name_character(name[size])) size += 1;
    return size > 0 && bytes_zero(name + size, MEMBER_NAME_MAX - size);
}

static bool
member_named(const struct member *member)
{
    return !bytes_zero(member->name, MEMBER_NAME_MAX);
}

static bool
member_valid(const struct member *member)
{
    if (member->role == MEMBER_NONE) return bytes_zero(member, sizeof(*member));
    if (member->role != MEMBER_STANDBY && member->role != MEMBER_VOTER) return false;
    if (member->incarnation == 0) return false;
    return !member_named(member) || member_name_valid(member->name);
}

/* May both be in one table? */
static bool
members_differ(const struct member *a, const struct member *b)
{
    if (a->role == MEMBER_NONE || b->role == MEMBER_NONE) return true;
    if (a->incarnation == b->incarnation) return false;
    if (!member_named(a) || !member_named(b)) return false; /* Neither is alone. */
    return memcmp(a->name, b->name, MEMBER_NAME_MAX) != 0;
}

bool
members_valid(const struct members *members)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (!member_valid(&members->slots[slot])) return false;
        for (uint32_t other = 0; other < slot; other++) {
            if (!members_differ(&members->slots[slot], &members->slots[other])) return false;
        }
    }
    const uint32_t voter_count = members_voter_count(members_voters(members));
    return voter_count >= 1 && voter_count <= VOTERS_MAX;
}

void
members_lone(struct members *members, u128 incarnation)
{
    assert(incarnation != 0);
    memset(members, 0, sizeof(*members));
    members->slots[0].incarnation = incarnation;
    members->slots[0].role = MEMBER_VOTER;
    assert(members_valid(members));
}

bool
members_apply(struct members *members, const struct member_change *change)
{
    if (change->slot >= MEMBERS_MAX) return false;
    if (!bytes_zero(change->reserved, sizeof(change->reserved))) return false;
    const struct member *before = &members->slots[change->slot];
    const struct member *after = &change->member;
    if (before->role == MEMBER_NONE && after->role != MEMBER_STANDBY) return false;
    if (before->role != MEMBER_NONE && after->role != MEMBER_NONE &&
        before->incarnation != after->incarnation) {
        return false;
    }
    if (after->fence != 0 || after->record_op != 0) return false;
    struct members changed = *members;
    struct member *member = &changed.slots[change->slot];
    *member = *after;
    if (after->role != MEMBER_NONE) {
        member->fence = before->fence; /* (V19): zero, if there was nobody. */
        member->record_op = before->record_op;
    }
    if (!members_valid(&changed)) return false;
    *members = changed;
    return true;
}

bool
member_fence_valid(const struct member_fence *record)
{
    if (record->slot >= MEMBERS_MAX || record->incarnation == 0) return false;
    if (record->fence == 0 || record->fence == record->fence_before) return false;
    if (record->session == 0) return false;
    return bytes_zero(record->reserved, sizeof(record->reserved));
}

bool
members_fence(struct members *members, const struct member_fence *record, uint64_t op)
{
    assert(member_fence_valid(record));
    struct member *member = &members->slots[record->slot];
    if (member->role == MEMBER_NONE || member->incarnation != record->incarnation) return false;
    if (member->fence != record->fence_before) return false; /* (V20) */
    if (op <= member->record_op) return false;
    member->fence = record->fence;
    member->record_op = op;
    return true;
}

uint32_t
members_find(const struct members *members, const char name[MEMBER_NAME_MAX])
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct member *member = &members->slots[slot];
        if (member->role == MEMBER_NONE) continue;
        if (memcmp(member->name, name, MEMBER_NAME_MAX) == 0) return slot;
    }
    return MEMBERS_MAX;
}

u128
members_checksum(const struct members *members)
{
    assert(members != NULL);
    return checksum(members, sizeof(*members));
}

uint16_t
members_voters(const struct members *members)
{
    uint32_t voters = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (members->slots[slot].role == MEMBER_VOTER) voters |= UINT32_C(1) << slot;
    }
    return (uint16_t) voters;
}

uint32_t
members_voter_count(uint16_t voters)
{
    uint32_t count = 0;
    assert(voters >> MEMBERS_MAX == 0);
    for (uint32_t rest = voters; rest != 0; rest &= rest - 1) count += 1;
    return count;
}

uint32_t
members_quorum(uint32_t voter_count)
{
    assert(voter_count >= 1 && voter_count <= VOTERS_MAX);
    return voter_count / 2 + 1;
}

uint32_t
members_nack_quorum(uint32_t voter_count)
{
    assert(voter_count >= 1 && voter_count <= VOTERS_MAX);
    return voter_count - members_quorum(voter_count) + 1;
}

uint32_t
members_view_slot(uint32_t view)
{
    return view % MEMBERS_MAX;
}

uint32_t
members_next_view(uint16_t voters, uint32_t view)
{
    assert(voters != 0);
    assert(voters >> MEMBERS_MAX == 0);
    assert(view <= UINT32_MAX - MEMBERS_MAX);
    uint32_t next = view + 1;
    while ((voters >> members_view_slot(next) & 1) == 0) next += 1;
    assert(next - view <= MEMBERS_MAX);
    return next;
}
