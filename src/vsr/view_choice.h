/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which log a new view goes on with: a pure function of the votes for the view.
 *
 * The primary of the new view gathers a vote from each member that answers: how far its log
 * reaches, the headers of what may be uncommitted, and of each such op whether it is whole there,
 * or was never there, or neither is known. From them follow the log's new head, the entries to
 * fetch, and what is cut. An op that may have been acknowledged is never cut, whatever has been
 * damaged; where the votes can't tell, the choice waits for more of them.
 *
 *     log_view    the highest of all votes: their logs are prefixes of one chain
 *     committed   the highest commit_max of any vote
 *     head_voted  the highest op of the votes at log_view
 *     voters      those of the newest known header of the chain
 *     for each op after `committed` up to head_voted:
 *         whole at any member     it is kept
 *         nacks reach a quorum    it is cut, with all that follows
 *         otherwise               wait
 *
 * Sources: the choice by log_view and length is that of Liskov and Cowling, "Viewstamped
 * Replication Revisited", 2012, §4.2. That what is damaged is told from what was never there, and
 * only proof of the latter cuts, is from Alagappan et al., "Protocol-Aware Recovery for
 * Consensus-Based Storage", FAST '18.
 *
 * Rules (tested under their number, and by test/protocol):
 *  (Z1) The log is that of the highest log_view of all votes, uncertain ones too: what was
 *       committed in a view is in the log of each later one.
 *  (Z2) It doesn't end below the highest op that a vote at that log_view tells of without nacks,
 *       whether the op's header is known or not: a damaged entry may be of an acknowledged op.
 *  (Z3) Votes and nacks are counted by the voters of the newest known header *before* anything is
 *       cut, since acknowledgements of that op and of what follows it were counted so.
 *  (Z4) A vote that is uncertain and at the highest log_view isn't counted into the quorum: it may
 *       have acknowledged ops that no other vote knows.
 *  (Z5) An op that any member has whole is kept. A member that isn't a voter, or whose log is
 *       older, has it under the same checksum, and that is all that is asked.
 *  (Z6) An op is cut only if a nack quorum of voters never had it: a committed one was durable on a
 *       quorum, and the others are fewer than that. What is damaged, or below what a log is proved
 *       to have had, doesn't nack; nor does an uncertain log.
 *  (Z7) An op whose header no vote knows might be a change of voters, and be counted by the table
 *       that it makes: it is cut only if nacks reach the nack quorum by each table that differs
 *       by one voter, too.
 *  (Z8) The new view's primary is a voter after the cut, isn't syncing, and has the log without a
 *       break up to `committed`. Who else may be primary is a function of the votes alone, so that
 *       all who look at the same votes go to the same view.
 *
 * What the caller sees to: at most one vote a member, its newest for this view, of the incarnation
 * that the chooser's own log names for it. So it starts nothing before its own log reaches the
 * committed op. Its own vote is among them, and is made anew whenever its log has grown.
 */
#ifndef LEDGER_VSR_VIEW_CHOICE_H
#define LEDGER_VSR_VIEW_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/u128.h"
#include "config.h"
#include "store/prepare.h"

/* What a member says of one op. Neither present nor nack: it doesn't know. */
struct view_vote_entry {
    bool known;   /* `header` is that of the member's log. */
    bool present; /* It is whole in the member's journal, and known. */
    bool nack;    /* It was never in the member's log, so the member never acknowledged it. */
    struct prepare_header header;
};

struct view_vote {
    uint32_t log_view; /* The newest view whose log the member has installed. */
    bool uncertain;    /* It may have had ops beyond `op`. It nacks nothing. */
    bool syncing;      /* Its state is incomplete: it can't be primary. */
    bool commit_known; /* commit_checksum is that of op commit_max. */
    u128 commit_checksum;
    uint64_t commit_max;  /* The newest op that it knows to be committed. */
    uint64_t op;          /* The newest op that its log may have had, or that it knows of. */
    /* Up to here it knows each entry: by its header, or as the parent of the next one. */
    uint64_t op_unbroken;
    /* Entry i is of op commit_max + i, up to `op`. Of commit_max itself only the header counts. */
    struct view_vote_entry entries[VIEW_HEADERS_MAX];
};

/* One vote of each member, or NULL. */
struct view_votes {
    const struct view_vote *of[MEMBERS_MAX];
};

enum view_choice_status {
    VIEW_CHOICE_WAIT,    /* A quorum is missing, or what would tell about op head + 1. */
    VIEW_CHOICE_DECIDED, /* The log ends at `head`. */
    /* Votes of one log_view contradict each other: a member is at fault. Nothing may be chosen. */
    VIEW_CHOICE_CONTRADICTION,
};

/* What the votes together say of one op of the chain. */
struct view_choice_entry {
    bool named; /* `checksum` is known: from its header, or as the parent of what follows it. */
    bool known; /* `header` is. */
    uint16_t present; /* Members that have it whole. */
    uint16_t nacks;   /* Members that never had it, voters or not. */
    u128 checksum;
    struct prepare_header header;
};

struct view_choice {
    enum view_choice_status status;
    uint32_t log_view;
    uint16_t voters;    /* By whom it was counted; 0 if no header is known. */
    uint64_t committed; /* Op that is known to be committed. */
    uint64_t head_voted;
    uint64_t head; /* What is kept. If status is WAIT: so far. */
    /* Entry i is of op committed + i, up to head_voted. Those up to `head`, after it, are known. */
    struct view_choice_entry entries[VIEW_HEADERS_MAX];
};

/*
 * False if no member that follows the protocol sends it. The headers' own sums are checked by
 * prepare_header_valid, when the message is read.
 */
bool view_vote_valid(const struct view_vote *vote);

/* Precondition: each vote is valid. */
void view_choice(const struct view_votes *votes, struct view_choice *choice);

/* True if the member may be primary of the view (Z8). Precondition: the choice is of the votes. */
bool view_choice_can_start(
    const struct view_votes *votes,
    const struct view_choice *choice,
    uint32_t member);

/*
 * The member whose view is to be next if the chooser can't start its own: of those that can start,
 * the one of the highest log_view, then of the lowest number. MEMBERS_MAX if none can, or if
 * nothing is decided.
 */
uint32_t view_choice_best_log(const struct view_votes *votes, const struct view_choice *choice);

#endif
