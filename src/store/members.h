/* SPDX-License-Identifier: PostgreSQL */
/*
 * The table of members: which nodes hold the ledger, and which of them vote. Pure functions.
 *
 * A member has a slot, a number below MEMBERS_MAX, for as long as it is a member. A voter counts
 * for quorums. A standby does all that a voter does, and isn't counted.
 *
 *    voters   replication = view change quorum   nack quorum   failed voters survived
 *       1                  1                          1                  0
 *       2                  2                          1                  0
 *       3                  2                          2                  1
 *       4                  3                          2                  1
 *       5                  3                          3                  2
 *       6                  4                          3                  2
 *
 * Quorums are majorities: so a quorum of R voters and one of R + 1 have a voter in common, which is
 * what makes it safe to add or remove one voter at a time. If as many voters as the nack quorum say
 * that they never acknowledged an op, then no replication quorum can have.
 *
 * View v belongs to slot v mod MEMBERS_MAX, for ever, whoever the members are. Views whose slot is
 * no voter's are skipped. So there are neither split votes nor ties.
 *
 * A lone ledger has one member: a voter without a name.
 */
#ifndef LEDGER_STORE_MEMBERS_H
#define LEDGER_STORE_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/u128.h"
#include "config.h"

/* Bytes of a node's name, at most. There is no zero after a name of this length. */
#define MEMBER_NAME_MAX 31

enum member_role {
    MEMBER_NONE = 0, /* Nobody has this slot; all of the entry is zero. */
    MEMBER_STANDBY = 1,
    MEMBER_VOTER = 2,
};

struct member {
    u128 incarnation; /* This life of the node: one that joins again gets a new one. */
    char name[MEMBER_NAME_MAX]; /* Letters a … z, digits, _ and -; zeros after it. */
    uint8_t role;
    uint64_t fence;     /* Tells a copy of its directory from the directory; 0: none yet. */
    uint64_t record_op; /* The op that last changed the fence; 0: none has. */
};
static_assert(sizeof(struct member) == 64, "no padding");

/* By slot. */
struct members {
    struct member slots[MEMBERS_MAX];
};
static_assert(sizeof(struct members) == MEMBERS_MAX * sizeof(struct member), "no padding");

/*
 * A change of one member, as a prepare has it: what the slot holds from then on. It is absolute, so
 * that making it twice is making it once.
 */
struct member_change {
    struct member member; /* MEMBER_NONE: the slot becomes free. */
    uint8_t slot;
    uint8_t reserved[63];
};
static_assert(sizeof(struct member_change) == EVENT_SIZE, "a record of the log");

/*
 * A node's record, as a prepare has it: from then on its fence is another (vsr/fences.h). It counts
 * only if the member of the slot is this incarnation, and its fence is fence_before.
 */
struct member_fence {
    u128 incarnation;
    uint64_t fence_before;
    uint64_t fence;
    uint64_t session; /* Of the life of the node that has asked for it. */
    uint8_t slot;
    uint8_t reserved[87];
};
static_assert(sizeof(struct member_fence) == EVENT_SIZE, "a record of the log");

/* True for 1 … MEMBER_NAME_MAX of the characters that a name may have, followed by zeros alone. */
bool member_name_valid(const char name[MEMBER_NAME_MAX]);

/*
 * True if roles and names are right, no two members share an incarnation or a name, only a member
 * that is alone has no name, and there are 1 … VOTERS_MAX voters.
 */
bool members_valid(const struct members *members);

/* The table of a lone ledger. */
void members_lone(struct members *members, u128 incarnation);

/*
 * Makes the change, if it can be made to this table: the result is a valid table, a member stays
 * the same incarnation for as long as it has its slot, and a new one isn't a voter at once. On
 * false the table is as it was. It says nothing of fences: a member keeps its own, and a new one
 * has none (V19).
 */
bool members_apply(struct members *members, const struct member_change *change);

/* Can it be a record that a primary has made? */
bool member_fence_valid(const struct member_fence *record);

/* Takes the record of this op, if it counts. Returns false, and changes nothing, if not (V20). */
bool members_fence(struct members *members, const struct member_fence *record, uint64_t op);

/* The slot of the member of that name, or MEMBERS_MAX. */
uint32_t members_find(const struct members *members, const char name[MEMBER_NAME_MAX]);

/* For checkpoint ids: if two members' tables differ, so do their checkpoints. */
u128 members_checksum(const struct members *members);

/* Bit n is set if slot n is a voter's. */
uint16_t members_voters(const struct members *members);

uint32_t members_voter_count(uint16_t voters);

/* How many of voter_count voters must have an op before it is committed, or agree on a view. */
uint32_t members_quorum(uint32_t voter_count);

/* How many of them must say that they never acknowledged an op before it may be dropped. */
uint32_t members_nack_quorum(uint32_t voter_count);

/* The slot that the view belongs to. */
uint32_t members_view_slot(uint32_t view);

/* The least view after this one that belongs to a voter. */
uint32_t members_next_view(uint16_t voters, uint32_t view);

#endif
