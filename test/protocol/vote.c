/* SPDX-License-Identifier: PostgreSQL */
/* Votes, and what src/vsr/view_choice.c chooses of them. */
#include "protocol.h"

#include <string.h>

#include "vsr/view_choice.h"

static_assert(OPS_MAX <= PIPELINE_PREPARES_MAX, "a vote can tell of all ops");

/* ---- A vote ---------------------------------------------------------------------------------- */

/* The entry that the replica's log has, or that the suffix lists; with `known` if by its header. */
static prepare_id
log_entry(const struct state *state, const struct replica *replica, uint32_t op, bool *known)
{
    const prepare_id id = replica->log[op];
    const struct view *of = &state->views[replica->log_view_now];
    *known = id != 0 && (replica->image[op] == id || replica->whole[op]);
    if (op == 0 || !suffix_lists(replica, op) || (id != 0 && id != of->chain[op])) return id;
    *known = of->chain[op] != 0;
    return of->chain[op];
}

static struct ballot
ballot_of(const struct state *state, uint32_t index)
{
    const struct replica *replica = &state->replicas[index];
    const uint8_t top = replica->head > replica->op_max ? replica->head : replica->op_max;
    struct ballot ballot;
    memset(&ballot, 0, sizeof ballot);
    ballot.cast = true;
    ballot.uncertain = replica->uncertain;
    ballot.log_view = replica->log_view_now;
    ballot.commit_max = replica->commit_max_now;
    ballot.op_unbroken = replica->head;
    ballot.op = top;
    if (ballot.op < replica->suffix_head_now) ballot.op = replica->suffix_head_now;
    if (ballot.op < ballot.commit_max) ballot.op = ballot.commit_max;
    for (uint32_t op = ballot.commit_max; op <= ballot.op; op++) {
        bool known = false;
        ballot.ids[op] = log_entry(state, replica, op, &known);
        if (known) ballot.says[op] = ENTRY_KNOWN;
        if (op == ballot.commit_max) continue;
        const bool present = known && replica->log[op] == ballot.ids[op] && replica->whole[op];
        const bool never = op > top || settings.mutation == DAMAGE_NACKS;
        if (present) ballot.says[op] |= ENTRY_PRESENT;
        if (!present && never && !replica->uncertain) ballot.says[op] |= ENTRY_NACK;
        if (!known) ballot.ids[op] = 0;
    }
    return ballot;
}

void
replica_vote(struct state *state, uint32_t index)
{
    const struct ballot ballot = ballot_of(state, index);
    struct ballot *cast = state->ballots[state->replicas[index].view_now][index];
    if (memcmp(&cast[0], &ballot, sizeof ballot) == 0) return;
    cast[1] = cast[0];
    cast[0] = ballot;
}

/* ---- In the structures of view_choice.h ------------------------------------------------------ */

/* Op 0 is a header, too: everybody has it, and it is committed. */
static u128
checksum_of(prepare_id id)
{
    return (u128) id + 1;
}

static struct view_vote_entry
entry_of(const struct state *state, uint32_t op, prepare_id id)
{
    struct view_vote_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.known = true;
    entry.header.voters = (uint16_t) ((1 << settings.replicas) - 1);
    entry.header.op = op;
    entry.header.checksum = checksum_of(id);
    if (op == 0) return entry;
    entry.header.parent = checksum_of(state->parent[id]);
    entry.header.commit = state->commit[id];
    entry.header.view = prepare_view(id);
    return entry;
}

static void
vote_of(const struct state *state, const struct ballot *ballot, struct view_vote *vote)
{
    memset(vote, 0, sizeof *vote);
    vote->log_view = ballot->log_view;
    vote->uncertain = ballot->uncertain;
    vote->commit_max = ballot->commit_max;
    vote->commit_known = ballot->commit_max == 0 || ballot->ids[ballot->commit_max] != 0;
    vote->commit_checksum = checksum_of(ballot->ids[ballot->commit_max]);
    vote->op = ballot->op;
    vote->op_unbroken = ballot->op_unbroken;
    for (uint32_t op = ballot->commit_max; op <= ballot->op; op++) {
        struct view_vote_entry *entry = &vote->entries[op - ballot->commit_max];
        if (op == 0 || (ballot->says[op] & ENTRY_KNOWN) != 0)
            *entry = entry_of(state, op, ballot->ids[op]);
        entry->present = (ballot->says[op] & ENTRY_PRESENT) != 0;
        entry->nack = (ballot->says[op] & ENTRY_NACK) != 0;
    }
}

/* ---- Mutations of the choice: other votes than were sent ------------------------------------- */

struct vote_set {
    struct view_vote votes[REPLICAS_MAX];
    bool cast[REPLICAS_MAX];
    uint32_t log_view;
    uint64_t op; /* The highest at that log_view. */
};

static struct view_vote_entry *
vote_entry_at(struct view_vote *vote, uint64_t op)
{
    return op > vote->commit_max && op <= vote->op ? &vote->entries[op - vote->commit_max] : NULL;
}

/* True if some vote has such an entry: known, or a nack. */
static bool
any_vote(struct vote_set *set, uint64_t op, bool nack)
{
    for (uint32_t i = 0; i < settings.replicas; i++) {
        struct view_vote *vote = &set->votes[i];
        if (!set->cast[i]) continue;
        const struct view_vote_entry *entry = vote_entry_at(vote, op);
        if (nack && !vote->uncertain && op > vote->op) return true;
        if (entry == NULL) continue;
        if (nack ? entry->nack : entry->known && vote->log_view == set->log_view) return true;
    }
    return false;
}

static void
vote_shorten(struct view_vote *vote, uint64_t op)
{
    while (vote->op > op && vote->op > vote->commit_max) {
        memset(&vote->entries[vote->op - vote->commit_max], 0, sizeof vote->entries[0]);
        vote->op -= 1;
    }
    if (vote->op_unbroken > vote->op) vote->op_unbroken = vote->op;
}

static void
vote_mutate(struct vote_set *set, struct view_vote *vote, uint64_t known)
{
    const bool newest = vote->log_view == set->log_view;
    if (settings.mutation == UNCERTAIN_COUNTED && vote->uncertain && newest) {
        vote->uncertain = false;
        vote->op = set->op;
    }
    if (settings.mutation == HEAD_BY_KNOWN_HEADERS && newest) vote_shorten(vote, known);
    for (uint64_t op = vote->commit_max + 1; op <= vote->op && !vote->uncertain; op++) {
        struct view_vote_entry *entry = vote_entry_at(vote, op);
        if (settings.mutation == OLDER_LOG_NACKS && !newest) {
            entry->present = false;
            entry->nack = true;
        }
        if (settings.mutation == NACK_QUORUM_LESS && any_vote(set, op, true) && !entry->present)
            entry->nack = true;
    }
}

static void
votes_mutate(struct vote_set *set)
{
    uint64_t known = 0;
    set->log_view = 0;
    set->op = 0;
    for (uint32_t i = 0; i < settings.replicas; i++)
        if (set->cast[i] && set->log_view < set->votes[i].log_view)
            set->log_view = set->votes[i].log_view;
    for (uint32_t i = 0; i < settings.replicas; i++) {
        const struct view_vote *vote = &set->votes[i];
        if (!set->cast[i]) continue;
        if (vote->log_view == set->log_view && set->op < vote->op) set->op = vote->op;
        if (known < vote->commit_max) known = vote->commit_max;
    }
    while (known < settings.ops && any_vote(set, known + 1, false))
        known += 1;
    for (uint32_t i = 0; i < settings.replicas; i++)
        if (set->cast[i]) vote_mutate(set, &set->votes[i], known);
}

/* ---- The choice ------------------------------------------------------------------------------ */

static void
choose(struct vote_set *set, uint32_t index, struct view_choice *choice, bool *starts)
{
    struct view_votes votes;
    memset(&votes, 0, sizeof votes);
    if (settings.mutation != MUTATION_NONE) votes_mutate(set);
    for (uint32_t i = 0; i < settings.replicas; i++) {
        if (!set->cast[i]) continue;
        if (view_vote_valid(&set->votes[i]))
            votes.of[i] = &set->votes[i];
        else if (settings.mutation == MUTATION_NONE)
            violated("VOTE: a replica sends a vote that others refuse");
    }
    view_choice(&votes, choice);
    if (choice->status == VIEW_CHOICE_CONTRADICTION)
        violated("VOTE: two votes of one log contradict each other");
    *starts = view_choice_can_start(&votes, choice, index);
}

static struct chosen
chosen_of(const struct view_choice *choice)
{
    struct chosen chosen;
    memset(&chosen, 0, sizeof chosen);
    chosen.committed = (uint8_t) choice->committed;
    chosen.head = (uint8_t) choice->head;
    for (uint32_t op = chosen.committed + 1u; op <= chosen.head; op++)
        chosen.chain[op] = (prepare_id) (choice->entries[op - chosen.committed].checksum - 1);
    return chosen;
}

uint32_t
choices_of(const struct state *state, uint32_t index, struct chosen choices[CHOICES_MAX])
{
    static struct view_vote made[REPLICAS_MAX][2];
    static struct vote_set set;
    static struct view_choice choice;
    const struct ballot(*ballots)[2] = state->ballots[state->replicas[index].view_now];
    uint32_t sets = 1;
    uint32_t count = 0;
    for (uint32_t i = 0; i < settings.replicas; i++) {
        sets *= 3;
        for (uint32_t age = 0; age < 2; age++)
            if (ballots[i][age].cast) vote_of(state, &ballots[i][age], &made[i][age]);
    }
    for (uint32_t number = 0; number < sets; number++) {
        uint32_t votes = 0;
        uint32_t rest = number;
        bool possible = true;
        for (uint32_t i = 0; i < settings.replicas; i++, rest /= 3) {
            const uint32_t age = rest % 3; /* 0: its vote isn't there. */
            set.cast[i] = age != 0;
            if (i == index && age != 1) possible = false;
            if (age != 0 && !ballots[i][age - 1].cast) possible = false;
            if (!possible) break;
            if (age == 0) continue;
            set.votes[i] = made[i][age - 1];
            votes += 1;
        }
        if (!possible || 2 * votes <= settings.replicas) continue;
        bool starts = false;
        choose(&set, index, &choice, &starts);
        if (violation != NULL) return count;
        if (!starts) continue;
        const struct chosen chosen = chosen_of(&choice);
        bool known = false;
        for (uint32_t i = 0; i < count; i++)
            known |= memcmp(&choices[i], &chosen, sizeof chosen) == 0;
        if (!known && count < CHOICES_MAX) choices[count++] = chosen;
    }
    return count;
}
