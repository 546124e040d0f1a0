/* SPDX-License-Identifier: PostgreSQL */
/*
 * The choice of a new view's log: each rule, then whole situations. These are drawn from what
 * members may have on disk, damaged or not; what was durable on a quorum is counted there, not from
 * the votes.
 */
#include "unit.h"
#include "unit_aborts.h"

#include <stdbool.h>

#include "base/checksum.h"
#include "base/prng.h"
#include "store/members.h"
#include "vsr/view_choice.h"

#define BASE 7 /* The op that everybody knows to be committed. */
#define ABC 7
#define ABCD 15

/* ---- Votes by hand --------------------------------------------------------------------------- */

static struct view_vote votes_made[MEMBERS_MAX];
static struct view_votes votes;
static struct view_choice choice;

static struct view_vote_entry
follower(const struct view_vote_entry *parent, uint32_t view, uint16_t voters)
{
    struct view_vote_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.known = true;
    entry.header.voters = voters;
    entry.header.parent = parent == NULL ? 0 : parent->header.checksum;
    entry.header.op = parent == NULL ? BASE : parent->header.op + 1;
    const bool changes = parent != NULL && parent->header.voters != voters;
    entry.header.commit = changes ? entry.header.op - 1 : BASE;
    entry.header.view = view;
    entry.header.checksum = checksum(&entry, sizeof entry);
    return entry;
}

static void
begin(void)
{
    memset(&votes, 0, sizeof votes);
    memset(votes_made, 0, sizeof votes_made);
}

/* A vote of a log that ends at `op`, of which nothing is known but its start. */
static struct view_vote *
vote(uint32_t member, uint32_t log_view, const struct view_vote_entry *anchor, uint64_t op)
{
    struct view_vote *made = &votes_made[member];
    votes.of[member] = made;
    memset(made, 0, sizeof *made);
    made->log_view = log_view;
    made->commit_max = anchor->header.op;
    made->commit_known = true;
    made->commit_checksum = anchor->header.checksum;
    made->entries[0] = *anchor;
    made->op = op;
    made->op_unbroken = anchor->header.op;
    return made;
}

enum state { WHOLE, DAMAGED, NACKED };

static void
says(struct view_vote *made, struct view_vote_entry entry, enum state state)
{
    const uint64_t op = entry.header.op;
    entry.present = state == WHOLE;
    entry.nack = state == NACKED;
    made->entries[op - made->commit_max] = entry;
    if (made->op < op) made->op = op;
    if (made->op_unbroken == op - 1) made->op_unbroken = op;
}

static void
choose(void)
{
    view_choice(&votes, &choice);
}

static bool
decided(uint64_t head)
{
    choose();
    return choice.status == VIEW_CHOICE_DECIDED && choice.head == head;
}

static bool
waits(void)
{
    choose();
    return choice.status == VIEW_CHOICE_WAIT;
}

/* ---- Rule by rule ---------------------------------------------------------------------------- */

UNIT_TEST(z1_the_log_is_that_of_the_highest_log_view_of_an_uncertain_vote_too)
{
    begin();
    const struct view_vote_entry root = follower(NULL, 1, ABC);
    const struct view_vote_entry old = follower(&root, 1, ABC);
    const struct view_vote_entry new = follower(&root, 2, ABC);
    const struct view_vote_entry old_next = follower(&old, 1, ABC);
    struct view_vote *a = vote(0, 1, &root, BASE);
    says(a, old, WHOLE);
    says(a, old_next, WHOLE);
    struct view_vote *b = vote(1, 2, &root, BASE);
    says(b, new, WHOLE);
    b->uncertain = true;
    vote(2, 1, &root, BASE);
    expect(decided(BASE + 1));
    expect_equal(choice.log_view, 2);
    expect(choice.entries[1].header.checksum == new.header.checksum);
    expect_equal(choice.entries[1].present, 2);
}

UNIT_TEST(z2_the_log_does_not_end_below_an_op_whose_header_is_lost)
{
    begin();
    const struct view_vote_entry root = follower(NULL, 1, ABC);
    vote(0, 1, &root, BASE + 1);
    vote(1, 1, &root, BASE);
    expect(waits());
    expect_equal(choice.head, BASE);
    expect_equal(choice.head_voted, BASE + 1);
    struct view_vote *c = vote(2, 1, &root, BASE);
    says(c, follower(&root, 1, ABC), WHOLE);
    expect(decided(BASE + 1));
    /* A header that is lost is named by the one after it. */
    begin();
    const struct view_vote_entry first = follower(&root, 1, ABC);
    const struct view_vote_entry second = follower(&first, 1, ABC);
    says(vote(0, 1, &root, BASE), second, WHOLE);
    says(vote(1, 0, &root, BASE), first, WHOLE);
    votes_made[1].entries[0].header.view = 0;
    votes_made[1].entries[1].header.view = 0;
    expect(decided(BASE + 2));
    expect_equal(choice.entries[1].present, 2);
    expect_equal(choice.entries[2].present, 1);
    says(&votes_made[1], first, DAMAGED);
    votes_made[1].entries[1].header.view = 0;
    expect(waits());
}

UNIT_TEST(z3_votes_are_counted_by_the_voters_before_the_cut)
{
    begin();
    const struct view_vote_entry root = follower(NULL, 1, ABC);
    const struct view_vote_entry add = follower(&root, 1, ABCD);
    struct view_vote *a = vote(0, 1, &root, BASE);
    says(a, add, NACKED);
    vote(1, 1, &root, BASE);
    expect(waits()); /* Two of three, but the op may have been acknowledged by three of four. */
    expect_equal(choice.voters, ABCD);
    vote(3, 1, &root, BASE);
    expect(decided(BASE));
    expect(view_choice_can_start(&votes, &choice, 0));
    expect(!view_choice_can_start(&votes, &choice, 3)); /* After the cut it is no voter. */
    says(a, add, WHOLE);
    expect(decided(BASE + 1));
    expect(view_choice_can_start(&votes, &choice, 3));
    /* A standby's vote is no vote. */
    begin();
    vote(0, 1, &root, BASE);
    vote(7, 1, &root, BASE);
    expect(waits());
    vote(2, 1, &root, BASE);
    expect(decided(BASE));
}

UNIT_TEST(z4_an_uncertain_vote_at_the_highest_log_view_is_not_counted)
{
    begin();
    const struct view_vote_entry root = follower(NULL, 1, ABC);
    vote(0, 1, &root, BASE)->uncertain = true;
    vote(1, 1, &root, BASE);
    expect(waits());
    votes_made[1].log_view = 2;
    expect(decided(BASE)); /* What it may have acknowledged is in the newer log. */
    votes_made[1].log_view = 1;
    vote(2, 1, &root, BASE);
    expect(decided(BASE));
}

UNIT_TEST(z5_what_any_member_has_whole_is_kept)
{
    begin();
    const struct view_vote_entry root = follower(NULL, 1, ABC);
    const struct view_vote_entry first = follower(&root, 1, ABC);
    says(vote(0, 2, &root, BASE), first, NACKED);
    vote(1, 2, &root, BASE + 1)->entries[1].nack = true;
    expect(decided(BASE));
    /* A standby of an older log. */
    says(vote(9, 1, &root, BASE), first, WHOLE);
    expect(decided(BASE + 1));
    expect_equal(choice.entries[1].present, 1 << 9);
    /* An uncertain one. */
    votes_made[9].uncertain = true;
    expect(decided(BASE + 1));
    /* Another op of that number. */
    says(&votes_made[9], follower(&root, 0, ABC), WHOLE);
    votes_made[9].entries[1].header.view = 1;
    expect(decided(BASE));
}

UNIT_TEST(z6_only_what_was_never_there_nacks)
{
    const struct view_vote_entry root = follower(NULL, 0, ABC);
    const struct view_vote_entry first = follower(&root, 0, ABC);
    struct view_vote_entry other = first;
    other.header.checksum += 1;
    for (uint32_t log_view = 0; log_view <= 1; log_view++) {
        begin();
        says(vote(0, 1, &root, BASE), first, NACKED);
        struct view_vote *b = vote(1, log_view, &root, BASE);
        expect(decided(BASE)); /* It ends below. */
        b->uncertain = true;
        expect(waits());
        b->uncertain = false;
        says(b, first, NACKED);
        expect(decided(BASE));
        says(b, first, DAMAGED);
        expect(waits());
        b->entries[1].known = false; /* The header is lost. */
        b->op_unbroken = BASE;
        expect(waits());
    }
    /* Another entry, in an older log. */
    begin();
    says(vote(0, 1, &root, BASE), first, NACKED);
    says(vote(1, 0, &root, BASE), other, DAMAGED);
    expect(decided(BASE));
    votes_made[1].uncertain = true;
    expect(waits());
    /* A nack of a standby. */
    vote(1, 1, &root, BASE + 1);
    vote(8, 1, &root, BASE);
    expect(waits());
    /* One nack is none. */
    vote(2, 0, &root, BASE + 1);
    expect(waits());
    vote(2, 0, &root, BASE);
    expect(decided(BASE));
}

UNIT_TEST(z7_an_op_of_unknown_header_may_be_a_change_of_voters)
{
    /* Four voters: two nacks suffice. Five: three. Three: two, of those that remain. */
    begin();
    const struct view_vote_entry root = follower(NULL, 0, ABCD);
    const struct view_vote_entry first = follower(&root, 0, ABCD);
    vote(0, 1, &root, BASE + 1);
    vote(1, 1, &root, BASE);
    vote(2, 1, &root, BASE);
    expect(waits());
    says(&votes_made[0], first, DAMAGED);
    expect(decided(BASE));
    vote(0, 1, &root, BASE + 1);
    vote(3, 1, &root, BASE);
    expect(decided(BASE));
    /* A voter of one table alone. */
    begin();
    vote(0, 1, &root, BASE + 1);
    for (uint32_t m = 1; m <= 4; m++)
        vote(m, 1, &root, BASE);
    votes_made[3].op = BASE + 1;
    expect(waits()); /* The nacks of b and c, and that of e if it is the one that was added. */
    votes_made[3].op = BASE;
    expect(decided(BASE));
}

UNIT_TEST(z8_who_starts_has_an_unbroken_log_and_the_best_is_the_same_for_all)
{
    begin();
    const struct view_vote_entry root = follower(NULL, 0, ABC);
    const struct view_vote_entry first = follower(&root, 0, ABC);
    const struct view_vote_entry second = follower(&first, 2, ABC);
    struct view_vote *a = vote(0, 1, &root, BASE + 1);
    says(a, first, WHOLE);
    struct view_vote *b = vote(1, 2, &first, BASE + 1);
    struct view_vote *c = vote(2, 2, &first, BASE + 1);
    struct view_vote *standby = vote(5, 2, &first, BASE + 1);
    b->op_unbroken = c->op_unbroken = standby->op_unbroken = BASE + 1;
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), 1);
    expect(!view_choice_can_start(&votes, &choice, 5));
    expect(!view_choice_can_start(&votes, &choice, 11));
    b->syncing = true;
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), 2);
    c->op_unbroken = BASE; /* Its header of the committed op is lost. */
    c->entries[0].known = false;
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), 0);
    /* It knows which one it is by the parent of the next. */
    c->op_unbroken = BASE + 2;
    says(c, second, WHOLE);
    expect(decided(BASE + 2));
    expect_equal(view_choice_best_log(&votes, &choice), 2);
    c->op_unbroken = BASE;
    expect(decided(BASE + 2));
    expect_equal(view_choice_best_log(&votes, &choice), 0);
    memset(&c->entries[1], 0, sizeof c->entries[1]);
    c->op = BASE + 1;
    /* What it has there is of a log that was left. */
    a->entries[1].header.checksum += 1;
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), MEMBERS_MAX);
    a->entries[1].header.checksum -= 1;
    a->op = BASE;
    a->op_unbroken = BASE;
    memset(&a->entries[1], 0, sizeof a->entries[1]);
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), MEMBERS_MAX);
    /* Nothing is decided. */
    votes.of[0] = votes.of[1] = NULL;
    expect(waits());
    expect_equal(view_choice_best_log(&votes, &choice), MEMBERS_MAX);
}

UNIT_TEST(the_committed_op_is_named_by_whoever_knows_it)
{
    const struct view_vote_entry root = follower(NULL, 0, ABC);
    const struct view_vote_entry first = follower(&root, 0, ABC);
    const struct view_vote_entry second = follower(&first, 1, ABC);
    /* By a checksum alone: c heard that it is committed, b has it. */
    begin();
    struct view_vote *c = vote(2, 0, &first, BASE + 1);
    c->entries[0].known = false;
    c->op_unbroken = BASE;
    says(vote(1, 0, &root, BASE), first, WHOLE);
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), 1);
    /* By the log of the highest log_view. */
    c->commit_known = false;
    expect(decided(BASE + 1));
    expect_equal(view_choice_best_log(&votes, &choice), 1);
    /* By the parent of what follows. */
    c->log_view = 1;
    says(c, second, WHOLE);
    expect(decided(BASE + 2));
    expect_equal(view_choice_best_log(&votes, &choice), 1);
    /* By nobody: b's log is older, and what it has there may have been cut. */
    c->entries[1].known = c->entries[1].present = false;
    c->op = BASE + 1;
    expect(waits());
    expect_equal(choice.voters, 0);
    expect_equal(choice.committed, BASE + 1);
}

UNIT_TEST(nothing_is_chosen_of_votes_that_contradict_each_other)
{
    const struct view_vote_entry root = follower(NULL, 0, ABC);
    const struct view_vote_entry first = follower(&root, 0, ABC);
    const struct view_vote_entry second = follower(&first, 0, ABC);
    struct view_vote_entry other = first;
    other.header.checksum += 1;
    begin();
    says(vote(0, 1, &root, BASE), first, WHOLE);
    says(vote(1, 1, &root, BASE), other, WHOLE);
    vote(2, 1, &root, BASE);
    choose();
    expect_equal(choice.status, VIEW_CHOICE_CONTRADICTION);
    expect_equal(view_choice_best_log(&votes, &choice), MEMBERS_MAX);
    /* By a parent. */
    says(vote(0, 1, &root, BASE), second, WHOLE);
    choose();
    expect_equal(choice.status, VIEW_CHOICE_CONTRADICTION);
    /* By what is committed. */
    vote(2, 1, &first, BASE + 1);
    votes.of[0] = NULL;
    choose();
    expect_equal(choice.status, VIEW_CHOICE_CONTRADICTION);
    /* In an older log it is none. */
    votes_made[1].log_view = 0;
    expect(decided(BASE + 1));
}

/* ---- What no member sends -------------------------------------------------------------------- */

static struct view_vote sound;

static struct view_vote *
sound_vote(void)
{
    const struct view_vote_entry root = follower(NULL, 1, ABC);
    const struct view_vote_entry first = follower(&root, 1, ABC);
    const struct view_vote_entry second = follower(&first, 2, ABC);
    begin();
    struct view_vote *made = vote(0, 2, &root, BASE);
    says(made, first, WHOLE);
    says(made, second, NACKED);
    sound = *made;
    return &sound;
}

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct view_vote *v = sound_vote();                                                        \
        expect(view_vote_valid(v));                                                                \
        change;                                                                                    \
        expect(!view_vote_valid(v));                                                               \
    } while (0)

UNIT_TEST(a_vote_that_no_member_sends_is_refused)
{
    REFUSED(v->op = BASE - 1);
    REFUSED(v->op = BASE + PIPELINE_PREPARES_MAX + 1);
    REFUSED(v->op = BASE + 1);
    REFUSED(v->op_unbroken = BASE + 3);
    REFUSED(v->op = BASE + 3; v->op_unbroken = BASE + 3);
    REFUSED(v->uncertain = true);
    REFUSED(v->log_view = 1);
    REFUSED(v->commit_known = false);
    REFUSED(v->commit_checksum += 1);
    REFUSED(v->commit_checksum += 1; v->entries[0].known = false; v->op_unbroken = 0);
    REFUSED(v->entries[0].known = v->entries[1].known = v->entries[1].present = false);
    REFUSED(v->entries[0].present = true);
    REFUSED(v->entries[0].nack = true);
    REFUSED(v->entries[1].known = false; v->op_unbroken = BASE);
    REFUSED(v->entries[1].nack = true);
    REFUSED(v->entries[1].header.op += 1);
    REFUSED(v->entries[1].header.checksum += 1);
    REFUSED(v->entries[1].header.parent += 1);
    REFUSED(v->entries[1].header.commit = BASE + 1);
    REFUSED(v->entries[1].header.commit = BASE - PIPELINE_PREPARES_MAX);
    REFUSED(v->entries[1].header.view = 3);
    REFUSED(v->entries[2].header.view = 0);
    REFUSED(v->entries[3].nack = true);
    REFUSED(v->entries[3].known = true);
    REFUSED(v->entries[1].header.voters = 0);
    REFUSED(v->entries[1].header.voters = 1 << 12);
    REFUSED(v->entries[1].header.voters = 127);
}

UNIT_TEST(v12_a_change_of_voters_is_of_one_voter_and_after_what_is_committed)
{
    struct view_vote *v = sound_vote();
    v->entries[1].header.voters = v->entries[2].header.voters = ABCD;
    expect(view_vote_valid(v));
    v->entries[0].header.voters = 3; /* Two were added. */
    expect(!view_vote_valid(v));
    v->entries[0].header.voters = 14; /* One for another. */
    expect(view_vote_valid(v));
    v->entries[0].header.voters = 11 << 1;
    expect(!view_vote_valid(v));
    v = sound_vote();
    v->entries[2].header.voters = ABCD; /* Before the op ahead of it is committed. */
    expect(!view_vote_valid(v));
}

static void
choose_of_invalid_votes(void)
{
    struct view_vote *v = sound_vote();
    v->op = BASE - 1;
    votes.of[0] = v;
    choose();
}

UNIT_TEST(a_vote_is_checked_before)
{
    expect(aborts(choose_of_invalid_votes));
}

/* ---- Whole situations ------------------------------------------------------------------------ */

/*
 * Where the numbers of a situation come from: all of them in turn, like the digits of a counter, or
 * random ones.
 */
static struct {
    bool random;
    struct prng prng;
    uint32_t depth;
    uint32_t used;
    uint32_t values[64];
    uint32_t bounds[64];
} draws;

static uint32_t
draw(uint32_t bound)
{
    if (draws.random) return (uint32_t) prng_below(&draws.prng, bound);
    if (draws.depth == draws.used) {
        draws.values[draws.used] = 0;
        draws.bounds[draws.used] = bound;
        draws.used += 1;
    }
    return draws.values[draws.depth++];
}

static bool
draws_next(void)
{
    draws.depth = 0;
    while (draws.used > 0 && draws.values[draws.used - 1] + 1 == draws.bounds[draws.used - 1])
        draws.used -= 1;
    if (draws.used == 0) return false;
    draws.values[draws.used - 1] += 1;
    return true;
}

#define OPS_MAX 3

/*
 * View 1 made ops 1 … `shared`, which view 2 took over, and others after them, which it cut. Entry
 * n of a chain is of op BASE + n.
 */
enum disk { THERE, ROTTEN, HEADER_LOST, LISTED, NOT_THERE };

static struct {
    uint32_t replicas;
    uint32_t ops;
    uint32_t shared;
    uint32_t committed; /* Known to whoever knows it. */
    struct view_vote_entry chains[3][OPS_MAX + 1]; /* Of views 1 and 2. */
    enum disk disks[VOTERS_MAX][OPS_MAX + 1];
} world;

static bool
was_durable(uint32_t member, uint32_t op)
{
    const struct view_vote *vote = &votes_made[member];
    const enum disk disk = world.disks[member][op];
    if (vote->log_view == 1 && op > world.shared) return false; /* It had another. */
    if (disk == LISTED || disk == NOT_THERE) return vote->uncertain;
    return true;
}

static uint32_t
durable_copies(uint32_t op)
{
    uint32_t count = 0;
    for (uint32_t m = 0; m < world.replicas; m++)
        count += was_durable(m, op);
    return count;
}

/* What is on the member's disk of each op, in the order in which it came there. */
static void
draw_disk(uint32_t member, uint32_t log_view)
{
    enum disk before = THERE;
    world.disks[member][0] = THERE;
    for (uint32_t op = 1; op <= world.ops; op++) {
        enum disk disk = NOT_THERE;
        if (before == NOT_THERE) {
            disk = NOT_THERE;
        } else if (log_view == 2 && op <= world.shared) {
            disk = before == LISTED ? LISTED : (enum disk[]){THERE, ROTTEN, LISTED}[draw(3)];
        } else if (before == LISTED) {
            disk = (enum disk[]){LISTED, NOT_THERE}[draw(2)];
        } else if (log_view == 2) {
            disk = (enum disk) draw(5);
        } else {
            disk = (enum disk[]){THERE, ROTTEN, HEADER_LOST, NOT_THERE}[draw(4)];
        }
        world.disks[member][op] = before = disk;
    }
}

/*
 * The op whose header is known makes the log unbroken up to it, if of what was lost before it each
 * is named: two in a row aren't.
 */
static uint64_t
named_up_to(uint32_t member, uint32_t op)
{
    for (uint32_t n = 1; n < op; n++)
        if (world.disks[member][n] == HEADER_LOST && world.disks[member][n + 1] == HEADER_LOST)
            return votes_made[member].op_unbroken;
    return BASE + op;
}

/* Precondition: disks and log_view are drawn. The member knows ops up to `committed` committed. */
static void
make_vote(uint32_t member, uint32_t committed, bool checksum_known)
{
    struct view_vote *made = &votes_made[member];
    const struct view_vote_entry *chain = world.chains[made->log_view];
    const bool uncertain = made->uncertain;
    const uint32_t log_view = made->log_view;
    vote(member, log_view, &chain[committed], BASE + committed);
    made->uncertain = uncertain;
    const enum disk anchor = world.disks[member][committed];
    if (anchor == HEADER_LOST || anchor == NOT_THERE) {
        made->commit_known = checksum_known;
        memset(&made->entries[0], 0, sizeof made->entries[0]);
    }
    made->op_unbroken = BASE;
    for (uint32_t op = 1; op <= world.ops; op++) {
        const enum disk disk = world.disks[member][op];
        if (disk != HEADER_LOST && disk != NOT_THERE &&
            (made->op_unbroken == BASE + op - 1 || world.disks[member][op - 1] == HEADER_LOST))
            made->op_unbroken = named_up_to(member, op);
        if (op <= committed || disk == NOT_THERE) continue;
        made->op = BASE + op;
        if (disk == HEADER_LOST) continue;
        made->entries[op - committed] = chain[op];
        made->entries[op - committed].present = disk == THERE;
        made->entries[op - committed].nack = disk == LISTED && !uncertain;
    }
    expect(view_vote_valid(made));
}

/*
 * Returns false if the members' disks aren't in ascending order: another order of the same disks is
 * drawn, too, if all are.
 */
static bool
draw_world(uint32_t replicas, uint32_t ops)
{
    const uint16_t voters = (uint16_t) ((1 << replicas) - 1);
    begin();
    memset(&world, 0, sizeof world);
    world.replicas = replicas;
    world.ops = ops;
    world.shared = draw(ops + 1);
    world.chains[1][0] = world.chains[2][0] = follower(NULL, 1, voters);
    for (uint32_t op = 1; op <= ops; op++) {
        world.chains[1][op] = follower(&world.chains[1][op - 1], 1, voters);
        world.chains[2][op] = op <= world.shared
            ? world.chains[1][op]
            : follower(&world.chains[2][op - 1], 2, voters);
    }
    uint32_t least = 0;
    for (uint32_t m = 0; m < replicas; m++) {
        votes_made[m].log_view = 1 + draw(2);
        votes_made[m].uncertain = draw(2) == 1;
        draw_disk(m, votes_made[m].log_view);
        uint32_t number = votes_made[m].log_view * 2 + votes_made[m].uncertain;
        for (uint32_t op = 1; op <= ops; op++)
            number = number * 8 + world.disks[m][op];
        if (!draws.random && number < least) return false;
        least = number;
    }
    uint32_t committed = 0;
    while (committed < ops && durable_copies(committed + 1) >= members_quorum(replicas))
        committed += 1;
    world.committed = draws.random ? draw(committed + 1) : committed * draw(2);
    for (uint32_t m = 0; m < replicas; m++) {
        /* In view 1, what that view committed. */
        const bool may = votes_made[m].log_view == 2 || world.committed <= world.shared;
        const bool knows = world.committed > 0 && may && draw(2) == 1;
        make_vote(m, knows ? world.committed : 0, knows && draw(2) == 1);
    }
    return true;
}

/* True if it needs no more than these votes: a quorum, and all that they tell of is whole. */
static bool
must_decide(void)
{
    uint32_t certain = 0;
    uint32_t damaged = 0;
    for (uint32_t m = 0; m < world.replicas; m++) {
        if (votes.of[m] == NULL) continue;
        if (!votes.of[m]->uncertain || votes.of[m]->log_view < choice.log_view) certain += 1;
        for (uint32_t op = 1; op <= world.ops; op++)
            damaged += world.disks[m][op] == ROTTEN || world.disks[m][op] == HEADER_LOST;
        damaged += votes.of[m]->uncertain;
        damaged += votes.of[m]->commit_max > votes.of[m]->op_unbroken;
    }
    if (certain < members_quorum(world.replicas)) return false;
    if (damaged == 0) return true;
    for (uint64_t op = 1; op <= choice.head_voted - BASE; op++) {
        bool whole = false;
        for (uint32_t m = 0; m < world.replicas; m++)
            whole |= votes.of[m] != NULL && world.disks[m][op] == THERE &&
                     (votes.of[m]->log_view == choice.log_view || op <= world.shared);
        if (!whole) return false;
    }
    return true;
}

static uint32_t
best_log_expected(void)
{
    for (uint32_t log_view = 2; log_view >= 1; log_view--)
        for (uint32_t m = 0; m < world.replicas; m++) {
            const struct view_vote *of = votes.of[m];
            if (of == NULL || of->log_view != log_view || of->op_unbroken < choice.committed)
                continue;
            if (choice.committed - BASE <= world.shared || log_view == choice.log_view) return m;
        }
    return MEMBERS_MAX;
}

static uint64_t situations;
static uint64_t cuts;
static uint64_t waitings;

/* The choice of one set of votes in this situation. */
static void
check_choice(void)
{
    const uint32_t quorum = members_quorum(world.replicas);
    choose();
    situations += 1;
    expect(choice.status != VIEW_CHOICE_CONTRADICTION);
    if (choice.status == VIEW_CHOICE_WAIT) {
        waitings += 1;
        expect(!must_decide());
        return;
    }
    cuts += choice.head < choice.head_voted;
    for (uint32_t op = 1; op <= world.ops; op++) {
        if (durable_copies(op) < quorum) continue;
        expect(choice.head >= BASE + op);
        if (BASE + op >= choice.committed) {
            const struct view_choice_entry *kept = &choice.entries[BASE + op - choice.committed];
            expect(!kept->named || kept->checksum == world.chains[2][op].header.checksum);
        }
    }
    if (choice.entries[choice.head - choice.committed].known && choice.entries[0].named)
        expect_equal(view_choice_best_log(&votes, &choice), best_log_expected());
}

/* Of each set of voters that may be a quorum. */
static void
check_world(void)
{
    for (uint32_t set = 1; set < 1u << world.replicas; set++) {
        for (uint32_t m = 0; m < world.replicas; m++)
            votes.of[m] = (set >> m & 1) != 0 ? &votes_made[m] : NULL;
        if ((uint32_t) __builtin_popcount(set) >= members_quorum(world.replicas)) check_choice();
    }
}

static void
expect_both(void)
{
    printf("  %" PRIu64 " choices: ", situations);
    printf("%" PRIu64 " cut, %" PRIu64 " wait\n", cuts, waitings);
    expect(cuts > 0);
    expect(waitings > 0);
}

UNIT_TEST(every_situation_of_three_voters_and_one_op)
{
    memset(&draws, 0, sizeof draws);
    situations = cuts = waitings = 0;
    do {
        if (draw_world(3, 1)) check_world();
    } while (draws_next());
    expect_both();
}

UNIT_TEST(every_situation_of_three_voters_and_two_ops)
{
    memset(&draws, 0, sizeof draws);
    situations = cuts = waitings = 0;
    do {
        if (draw_world(3, 2)) check_world();
    } while (draws_next());
    expect_both();
}

UNIT_TEST(random_situations_of_up_to_five_voters_and_three_ops)
{
    memset(&draws, 0, sizeof draws);
    draws.random = true;
    prng_init(&draws.prng, 11);
    situations = cuts = waitings = 0;
    for (uint32_t i = 0; i < 60000; i++) {
        if (draw_world(1 + i % 5, OPS_MAX)) check_world();
    }
    expect_both();
}

UNIT_MAIN(test_view_choice)
