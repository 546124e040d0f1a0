/* SPDX-License-Identifier: PostgreSQL */
#include "vsr/view_choice.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "store/members.h"

/* ---- One vote -------------------------------------------------------------------------------- */

static bool
voters_valid(uint16_t voters)
{
    return voters != 0 && voters >> MEMBERS_MAX == 0 &&
           members_voter_count(voters) <= VOTERS_MAX;
}

static bool
vote_entry_valid(const struct view_vote *vote, uint32_t index)
{
    const struct view_vote_entry *entry = &vote->entries[index];
    const struct prepare_header *header = &entry->header;
    const uint64_t op = vote->commit_max + index;
    if (op > vote->op) return !entry->known && !entry->present && !entry->nack;
    if (index == 0 && (entry->present || entry->nack)) return false;
    if (entry->present && !entry->known) return false;
    if (entry->nack && (entry->present || vote->uncertain)) return false;
    /* In an unbroken log, what isn't known is named by what follows. */
    if (!entry->known)
        return op > vote->op_unbroken || (op < vote->op_unbroken && entry[1].known);
    return header->op == op && header->view <= vote->log_view && header->commit <= op &&
           header->commit <= vote->commit_max && op - header->commit <= PIPELINE_PREPARES_MAX &&
           voters_valid(header->voters);
}

/* True if `next` may follow `entry` in a log: its parent, and what V12 says of voters. */
static bool
vote_entry_follows(const struct view_vote_entry *next, const struct view_vote_entry *entry)
{
    const uint16_t changed = next->header.voters ^ entry->header.voters;
    if (next->header.parent != entry->header.checksum) return false;
    if (next->header.view < entry->header.view) return false;
    return changed == 0 ||
           (members_voter_count(changed) == 1 && next->header.commit == entry->header.op);
}

bool
view_vote_valid(const struct view_vote *vote)
{
    assert(vote != NULL);
    const struct view_vote_entry *entries = vote->entries;
    if (vote->op < vote->commit_max) return false;
    if (vote->op - vote->commit_max > PIPELINE_PREPARES_MAX) return false;
    if (vote->op_unbroken > vote->op) return false;
    for (uint32_t i = 0; i < VIEW_HEADERS_MAX; i++) {
        if (!vote_entry_valid(vote, i)) return false;
        if (i > 0 && entries[i].known && entries[i - 1].known &&
            !vote_entry_follows(&entries[i], &entries[i - 1]))
            return false;
    }
    if (vote->commit_known)
        return (!entries[0].known || entries[0].header.checksum == vote->commit_checksum) &&
               (!entries[1].known || entries[1].header.parent == vote->commit_checksum);
    return !entries[0].known;
}

/* What the vote says of the op, or NULL if it is outside of what the vote tells of. */
static const struct view_vote_entry *
vote_entry(const struct view_vote *vote, uint64_t op)
{
    if (op < vote->commit_max || op > vote->op) return NULL;
    return &vote->entries[op - vote->commit_max];
}

static const struct view_vote_entry *
vote_entry_known(const struct view_vote *vote, uint64_t op)
{
    const struct view_vote_entry *entry = vote_entry(vote, op);
    return entry != NULL && entry->known ? entry : NULL;
}

/* ---- The chain of the highest log_view ------------------------------------------------------- */

/* (Z1), (Z2): what is to be decided. */
static void
choice_bounds(const struct view_votes *votes, struct view_choice *choice)
{
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        const struct view_vote *vote = votes->of[m];
        if (vote == NULL) continue;
        if (choice->log_view < vote->log_view) choice->log_view = vote->log_view;
        if (choice->committed < vote->commit_max) choice->committed = vote->commit_max;
    }
    choice->head = choice->head_voted = choice->committed;
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        const struct view_vote *vote = votes->of[m];
        if (vote != NULL && vote->log_view == choice->log_view && choice->head_voted < vote->op)
            choice->head_voted = vote->op;
    }
}

/* The op's checksum is this one, says a vote. */
static void
choice_name(struct view_choice *choice, uint64_t op, u128 checksum)
{
    struct view_choice_entry *entry = &choice->entries[op - choice->committed];
    if (entry->named && entry->checksum != checksum) choice->status = VIEW_CHOICE_CONTRADICTION;
    entry->named = true;
    entry->checksum = checksum;
}

/* What votes at log_view say, and of `committed` each vote: what is committed is in that chain. */
static void
choice_names(const struct view_votes *votes, struct view_choice *choice)
{
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        const struct view_vote *vote = votes->of[m];
        if (vote == NULL) continue;
        if (vote->commit_max == choice->committed && vote->commit_known)
            choice_name(choice, choice->committed, vote->commit_checksum);
        if (vote->log_view != choice->log_view) continue;
        for (uint64_t op = choice->committed; op <= choice->head_voted; op++) {
            const struct view_vote_entry *said = vote_entry_known(vote, op);
            if (said != NULL) choice_name(choice, op, said->header.checksum);
        }
    }
}

/* Whoever has the header of that checksum, at whatever log_view. */
static void
choice_find_header(const struct view_votes *votes, struct view_choice_entry *entry, uint64_t op)
{
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        const struct view_vote *vote = votes->of[m];
        const struct view_vote_entry *said = vote == NULL ? NULL : vote_entry_known(vote, op);
        if (said == NULL || said->header.checksum != entry->checksum) continue;
        if (said->present) entry->present |= (uint16_t) (1 << m);
        entry->known = true;
        entry->header = said->header;
    }
}

/*
 * Backwards, as a header names the entry before it. The newest known header says who counts (Z3).
 */
static void
choice_chain(const struct view_votes *votes, struct view_choice *choice)
{
    choice_names(votes, choice);
    for (uint64_t op = choice->head_voted;; op--) {
        struct view_choice_entry *entry = &choice->entries[op - choice->committed];
        if (entry->named) choice_find_header(votes, entry, op);
        if (entry->known && choice->voters == 0) choice->voters = entry->header.voters;
        if (op == choice->committed) break;
        if (entry->known) choice_name(choice, op - 1, entry->header.parent);
    }
}

/* ---- Counting -------------------------------------------------------------------------------- */

/* (Z4) */
static bool
choice_quorum(const struct view_votes *votes, const struct view_choice *choice)
{
    uint32_t count = 0;
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        const struct view_vote *vote = votes->of[m];
        if (vote == NULL || (choice->voters >> m & 1) == 0) continue;
        if (vote->uncertain && vote->log_view == choice->log_view) continue;
        count += 1;
    }
    return count >= members_quorum(members_voter_count(choice->voters));
}

/* (Z6): true if the member never had this op. The op is newer than each vote's commit_max. */
static bool
vote_nacks(const struct view_vote *vote, uint64_t op, const struct view_choice_entry *entry)
{
    const struct view_vote_entry *said = vote_entry(vote, op);
    if (vote->uncertain) return false;
    if (said == NULL || said->nack) return true;
    /* A log has one entry for an op. At the highest log_view it would be a contradiction. */
    return entry->named && said->known && said->header.checksum != entry->checksum;
}

static bool
nacks_suffice(uint16_t nacks, uint16_t voters)
{
    return members_voter_count(nacks & voters) >= members_nack_quorum(members_voter_count(voters));
}

/* (Z6), (Z7) */
static bool
choice_cuts(const struct view_choice *choice, const struct view_choice_entry *entry)
{
    if (!nacks_suffice(entry->nacks, choice->voters)) return false;
    if (entry->known) return true;
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        const uint16_t changed = (uint16_t) (choice->voters ^ 1 << m);
        if (voters_valid(changed) && !nacks_suffice(entry->nacks, changed)) return false;
    }
    return true;
}

static void
choice_decide(const struct view_votes *votes, struct view_choice *choice)
{
    for (uint64_t op = choice->committed + 1; op <= choice->head_voted; op++) {
        struct view_choice_entry *entry = &choice->entries[op - choice->committed];
        for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
            const struct view_vote *vote = votes->of[m];
            if (vote != NULL && vote_nacks(vote, op, entry)) entry->nacks |= (uint16_t) (1 << m);
        }
        if (entry->present == 0) {
            if (choice_cuts(choice, entry)) break;
            return;
        }
        choice->head = op; /* (Z5) */
    }
    choice->status = VIEW_CHOICE_DECIDED;
}

void
view_choice(const struct view_votes *votes, struct view_choice *choice)
{
    assert(votes != NULL);
    assert(choice != NULL);
    for (uint32_t m = 0; m < MEMBERS_MAX; m++)
        assert(votes->of[m] == NULL || view_vote_valid(votes->of[m]));
    memset(choice, 0, sizeof *choice);
    choice->status = VIEW_CHOICE_WAIT;
    choice_bounds(votes, choice);
    choice_chain(votes, choice);
    if (choice->status == VIEW_CHOICE_CONTRADICTION || choice->voters == 0) return;
    if (choice_quorum(votes, choice)) choice_decide(votes, choice);
}

/* ---- Who starts the view --------------------------------------------------------------------- */

/* True if the member's own log has the op, and no break before it. */
static bool
vote_reaches(const struct view_vote *vote, uint64_t op, u128 checksum)
{
    if (vote->op_unbroken < op) return false;
    const struct view_vote_entry *own = vote_entry_known(vote, op);
    if (own != NULL) return own->header.checksum == checksum;
    const struct view_vote_entry *next = vote_entry_known(vote, op + 1);
    return next != NULL && next->header.parent == checksum;
}

bool
view_choice_can_start(
    const struct view_votes *votes,
    const struct view_choice *choice,
    uint32_t member)
{
    assert(member < MEMBERS_MAX);
    const struct view_vote *vote = votes->of[member];
    if (choice->status != VIEW_CHOICE_DECIDED || vote == NULL) return false;
    assert(choice->head - choice->committed < VIEW_HEADERS_MAX);
    const struct view_choice_entry *head = &choice->entries[choice->head - choice->committed];
    const struct view_choice_entry *anchor = &choice->entries[0];
    if (!head->known || (head->header.voters >> member & 1) == 0 || vote->syncing) return false;
    return anchor->named && vote_reaches(vote, choice->committed, anchor->checksum);
}

uint32_t
view_choice_best_log(const struct view_votes *votes, const struct view_choice *choice)
{
    uint32_t best = MEMBERS_MAX;
    for (uint32_t m = 0; m < MEMBERS_MAX; m++) {
        if (!view_choice_can_start(votes, choice, m)) continue;
        if (best == MEMBERS_MAX || votes->of[best]->log_view < votes->of[m]->log_view)
            best = m;
    }
    return best;
}
