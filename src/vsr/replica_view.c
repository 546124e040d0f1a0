/* SPDX-License-Identifier: PostgreSQL */
/*
 * The change to a new view. Its primary is the slot that the view belongs to.
 *
 *     all members                                  the new primary
 *     await the append in flight
 *     view is durable          ── do_view_change ──→ gathers votes (view_choice.h)
 *                                                  fetches what it lacks of the chosen log
 *                                                  log_view and the log's end are durable
 *     log_view and the log's   ←──── start_view ──── cuts what isn't in the log, appends the rest
 *       end are durable
 *     cut what isn't in the log; ask for the rest
 *
 * The order on disk is what makes it safe. Before `view` is durable nothing of the view is said: a
 * member that votes has promised never to acknowledge in an older one. Before `log_view` and the
 * headers of the log's end are durable, nothing is cut, appended or acknowledged: a vote tells of
 * the log as it was in log_view. Recovery reads by those headers which of the entries on disk count
 * (J6), so that what was cut doesn't come back by itself.
 *
 * What can go wrong: too few vote, or the new primary is gone. After two timeouts all go on to the
 * next view. If the new primary's own log lacks what is committed, it goes to the view of the
 * member whose log is best, which is a function of the votes.
 *
 * A replica executes what it knows to be committed meanwhile: that doesn't change with a view.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* A vote is said again so often, and at least four times before its view is given up. */
#define VOTE_AGAIN_NS_MAX (UINT64_C(500) * NS_PER_MS)

/* ---- Entering -------------------------------------------------------------------------------- */

static void
drop(struct replica *replica, struct message **message)
{
    if (*message != NULL) message_release(&replica->pool, *message);
    *message = NULL;
}

static void
forget_fetched(struct replica *replica)
{
    for (uint32_t i = 0; i < VIEW_HEADERS_MAX; i++) drop(replica, &replica->change->fetched[i]);
}

/* Nothing of what was said in normal operation of the old view holds in the new one. */
static void
leave_normal(struct replica *replica)
{
    replica->primary = false;
    replica->serving = false;
    replica_members_leave(replica);
    replica_fences_leave(replica);
    replica->pulse = PULSE_NONE;
    replica->op_admitted = UINT64_MAX;
    replica->pipeline_events = 0;
    replica->ack_due = false;
    replica->absent = false;
    replica->head_heard = 0;
    replica->round = 0;
    replica->round_due = false;
    replica->unsent = NULL;
    replica->reads.round = REPLICA_NO_ROUND;
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        struct replica_peer *peer = &replica->peers[slot];
        peer->taken_over = false;
        peer->acked = 0;
        peer->round = 0;
        peer->placed = false;
        replica_gifts_drop(replica, slot);
        peer->read_asked = false;
        replica_requests_drop(replica, slot);
    }
}

void
replica_view_enter(struct replica *replica, uint32_t view)
{
    struct replica_change *change = replica->change;
    assert(view > replica->view || replica->status == REPLICA_RECOVERING);
    assert(view >= change->view_durable);
    if (replica->status != REPLICA_VIEW_CHANGE) leave_normal(replica);
    replica->status = REPLICA_VIEW_CHANGE;
    replica->view = view;
    change->voting = false;
    change->entered_ns = clock_monotonic_ns(replica->clock);
    change->asked_ns = 0;
    memset(change->voted, 0, sizeof(change->voted));
    drop(replica, &change->start);
    forget_fetched(replica);
}

/* What was received and isn't given to the journal is of no log yet. */
static void
forget_received(struct replica *replica)
{
    for (uint32_t i = 0; i < PIPELINE_PREPARES_MAX; i++) {
        struct message **message = &replica->pipeline[i];
        if (*message == NULL) continue;
        if (replica_prepare_of(*message)->op > replica->journaled) drop(replica, message);
    }
    replica->op = replica->journaled;
    replica->linked = min_u64(replica->linked, replica->op);
    replica_members_cut(replica);
}

/* ---- What is durable ------------------------------------------------------------------------- */

static void begin_normal(struct replica *replica);

static void
on_view_durable(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, view)->replica;
    struct replica_change *change = replica->change;
    change->updating = false;
    if (replica->status == REPLICA_STOPPED) return;
    if (result != SUPERBLOCK_OK) {
        replica_stop(replica);
        return;
    }
    const bool taken_over = update->log.log_view > change->log_view;
    change->view_durable = update->view;
    change->log_view = update->log.log_view;
    /* While it was written, all may have gone on to the next view; but the log is taken over. */
    if (taken_over) begin_normal(replica);
}

/* Makes the view durable, with the log of an older view, so that a vote may be sent. */
static void
make_view_durable(struct replica *replica)
{
    struct superblock_update *update = &replica->updates->view;
    assert(!replica->change->updating);
    *update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_VIEW,
        .callback = on_view_durable,
        .view = replica->view,
    };
    replica_log_end(replica, replica->change->log_view, &update->log);
    replica_fences_note(replica, &update->node);
    replica->change->updating = true;
    superblock_update(replica->superblock, update);
}

/* Makes durable that the log is that of this view, and ends with these headers. */
static void
make_log_durable(struct replica *replica, const struct prepare_header *suffix, uint32_t count)
{
    struct superblock_update *update = &replica->updates->view;
    struct replica_change *change = replica->change;
    assert(!change->updating);
    assert(count > 0 && count <= SUPERBLOCK_SUFFIX_MAX);
    *update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_VIEW,
        .callback = on_view_durable,
        .view = replica->view,
        .log =
            {
                .log_view = replica->view,
                .suffix_count = count,
                .op_acked_min = change->op_common,
                .commit_max = replica->commit,
                .commit_max_checksum =
                    journal_header(replica->journal, replica->commit)->checksum,
            },
    };
    memcpy(update->log.suffix, suffix, count * sizeof(*suffix));
    replica_fences_note(replica, &update->node);
    change->updating = true;
    superblock_update(replica->superblock, update);
}

/* The newest op of the log here that is in the new view's too, by the headers of its end. */
static uint64_t
common_op(const struct replica *replica, const struct prepare_header *suffix, uint32_t count)
{
    for (uint32_t i = count; i > 0; i--) {
        const struct prepare_header *header = &suffix[i - 1];
        if (replica_log_has(replica, header->op, header->checksum)) return header->op;
    }
    /* All that is committed is in each view's log. What lies beyond may not be. */
    return min_u64(replica->commit_max, min_u64(replica->linked, replica->journaled));
}

/* ---- Choosing -------------------------------------------------------------------------------- */

/* The place of the op among those that were fetched. */
static struct message **
fetched_place(struct replica *replica, uint64_t op)
{
    return &replica->change->fetched[op % VIEW_HEADERS_MAX];
}

/*
 * Is the entry of the choice here: in the journal, or fetched? What was fetched for an earlier
 * choice need not be in this one: another vote may have changed it.
 */
static bool
have_chosen(struct replica *replica, uint64_t op)
{
    const struct view_choice *choice = &replica->change->choice;
    const u128 checksum = choice->entries[op - choice->committed].checksum;
    struct message *fetched = *fetched_place(replica, op);
    if (fetched != NULL && replica_prepare_of(fetched)->checksum == checksum) return true;
    return replica_log_has(replica, op, checksum);
}

/* Asks one of those who have it, another each time. */
static void
ask_for(struct replica *replica, uint64_t op, uint64_t now)
{
    const struct view_choice *choice = &replica->change->choice;
    const struct view_choice_entry *entry = &choice->entries[op - choice->committed];
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        const uint8_t slot = (uint8_t) ((now / REPLICA_HEARTBEAT_NS + i) % MEMBERS_MAX);
        if ((entry->present >> slot & 1) == 0 || !replica->peers[slot].up) continue;
        struct message *message = replica_message_new(replica, MESSAGE_GET_PREPARE);
        if (message == NULL) return;
        message->header->op = op;
        message->header->as.checksum.checksum = entry->checksum;
        (void) replica_send(replica, slot, message);
        return;
    }
}

/* Is all of the chosen log here? If not, it is asked for. */
static bool
have_all(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const struct view_choice *choice = &change->choice;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    const bool ask = now - change->asked_ns >= REPLICA_HEARTBEAT_NS;
    bool all = true;
    for (uint64_t op = choice->committed + 1; op <= choice->head; op++) {
        if (have_chosen(replica, op)) continue;
        all = false;
        if (ask) ask_for(replica, op, now);
    }
    if (!all && ask) change->asked_ns = now;
    return all;
}

void
replica_view_fetched(struct replica *replica, struct message *message)
{
    struct replica_change *change = replica->change;
    const struct view_choice *choice = &change->choice;
    const struct prepare_header *prepare = replica_prepare_of(message);
    const bool wanted = replica->status == REPLICA_VIEW_CHANGE && change->voting &&
                        !change->updating && choice->status == VIEW_CHOICE_DECIDED &&
                        prepare->op > choice->committed && prepare->op <= choice->head &&
                        !have_chosen(replica, prepare->op) &&
                        choice->entries[prepare->op - choice->committed].checksum ==
                            prepare->checksum;
    if (!wanted) {
        message_release(&replica->pool, message);
        return;
    }
    struct message **place = fetched_place(replica, prepare->op);
    drop(replica, place);
    *place = message;
}

/* The headers of the chosen log's end. Those up to what is committed are in the log here. */
static uint32_t
chosen_suffix(const struct replica *replica, struct prepare_header *suffix)
{
    const struct view_choice *choice = &replica->change->choice;
    const uint64_t oldest = replica->journal->checkpoint.op;
    const uint32_t count =
        (uint32_t) min_u64(choice->head - oldest + 1, SUPERBLOCK_SUFFIX_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t op = choice->head + 1 - count + i;
        suffix[i] = op <= choice->committed ? *journal_header(replica->journal, op)
                                            : choice->entries[op - choice->committed].header;
    }
    return count;
}

/* The new primary: chooses the log, and begins with it if it can. */
static bool
choose(struct replica *replica)
{
    struct replica_change *change = replica->change;
    struct view_choice *choice = &change->choice;
    struct prepare_header suffix[SUPERBLOCK_SUFFIX_MAX];
    struct view_votes votes = {0};
    replica_vote(replica, &change->votes[replica->slot]);
    change->voted[replica->slot] = true;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (change->voted[slot]) votes.of[slot] = &change->votes[slot];
    }
    view_choice(&votes, choice);
    if (choice->status != VIEW_CHOICE_DECIDED) return false;
    if (!view_choice_can_start(&votes, choice, replica->slot)) {
        const uint32_t best = view_choice_best_log(&votes, choice);
        if (best == MEMBERS_MAX || best == replica->slot) return false;
        uint32_t view = replica->view + 1;
        while (members_view_slot(view) != best) view += 1;
        replica_view_enter(replica, view);
        return true;
    }
    if (!have_all(replica)) return false;
    const uint32_t count = chosen_suffix(replica, suffix);
    change->op_common = common_op(replica, suffix, count);
    replica->commit_max = max_u64(replica->commit_max, choice->committed);
    make_log_durable(replica, suffix, count);
    return true;
}

/* ---- Taking a log over ----------------------------------------------------------------------- */

/*
 * Can these be the headers of the end of a log that has everything that was executed here? They are
 * a peer's words. No member that follows the protocol says anything else.
 */
static bool
list_fits(const struct replica *replica, const struct prepare_header *suffix, uint32_t count)
{
    const uint64_t checkpoint = replica->journal->checkpoint.op;
    if (suffix[count - 1].op < replica->commit) return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct prepare_header *header = &suffix[i];
        if (header->op - header->commit >= SUPERBLOCK_SUFFIX_MAX) return false;
        if (i > 0 && !prepare_follows(&suffix[i - 1], header)) return false;
        if (header->op == checkpoint + 1 &&
            header->parent != replica->journal->checkpoint.checksum) {
            return false;
        }
        if (header->op < checkpoint || header->op > replica->commit) continue;
        if (header->checksum != journal_header(replica->journal, header->op)->checksum) {
            return false;
        }
    }
    return true;
}

/* A member: takes the log over that the primary has announced. */
static bool
take_over(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const struct message_header *header = change->start->header;
    const struct message_start_view_body *body = message_body_const(header);
    const struct prepare_header *suffix = (const struct prepare_header *) (body + 1);
    const uint32_t count = header->as.start_view.suffix_count;
    change->op_common = common_op(replica, suffix, count);
    if (!list_fits(replica, suffix, count) || change->op_common < replica->commit) {
        drop(replica, &change->start);
        return false;
    }
    make_log_durable(replica, suffix, count);
    return true;
}

/* Cuts what isn't in the view's log. */
static void
cut_log(struct replica *replica)
{
    const uint64_t op = replica->change->op_common;
    assert(op >= replica->commit);
    if (op < replica->journaled) journal_truncate(replica->journal, op);
    replica->journaled = op;
    forget_received(replica);
    replica->linked = op;
    replica->timestamp = replica->journal->head.timestamp;
}

/* The primary: what it has fetched continues the log; then it tells the others. */
static void
begin_as_primary(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const struct view_choice *choice = &change->choice;
    replica->primary = true;
    for (uint64_t op = replica->journaled + 1; op <= choice->head; op++) {
        struct message **fetched = fetched_place(replica, op);
        assert(*fetched != NULL);
        assert(
            replica_prepare_of(*fetched)->checksum ==
            choice->entries[op - choice->committed].checksum);
        replica_keep(replica, *fetched);
        replica->op = op;
        replica_members_logged(replica, replica_prepare_of(*fetched));
        *fetched = NULL;
    }
    replica->linked = replica->op;
    replica->timestamp = replica_header(replica, replica->op)->timestamp;
    replica->op_admitted = replica->op + 1;
    replica->commit_said = 0;
    change->op_start = replica->op;
    replica_count_acks(replica); /* What is on its own disk may be enough. */
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (replica->peers[slot].up) replica_say_view(replica, slot, 0);
    }
}

static void
begin_as_backup(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const struct message_header *header = change->start->header;
    replica->commit_max = max_u64(replica->commit_max, header->commit);
    replica->head_heard = header->op;
    replica->grown_ns = 0;
    replica->ack_due = true;
    drop(replica, &change->start);
}

/* log_view is durable. */
static void
begin_normal(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const bool mine = members_view_slot(change->log_view) == replica->slot;
    cut_log(replica);
    if (change->log_view < replica->view) {
        /* A newer view has begun to change meanwhile; this one's log is the one to vote with. */
        drop(replica, &change->start);
        forget_fetched(replica);
        return;
    }
    replica->status = REPLICA_NORMAL;
    if (mine) {
        begin_as_primary(replica);
    } else {
        begin_as_backup(replica);
    }
    forget_fetched(replica);
    replica->reads.asked_ns = 0;
    replica_requests_unsend(replica);
    replica_suspect_reset(replica);
    replica_invariants(replica);
}

/* ---- The change, step by step ---------------------------------------------------------------- */

static void
say_votes(struct replica *replica, uint64_t now)
{
    struct view_vote *own = &replica->change->votes[replica->slot];
    replica_vote(replica, own);
    replica->change->voting = true;
    replica->change->voted_ns = now;
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (replica->peers[slot].up) replica_vote_send(replica, slot, own);
    }
}

bool
replica_view_poll(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    assert(replica->status == REPLICA_VIEW_CHANGE);
    /* What is being written will be durable: it must be in the vote. */
    if (journal_busy(replica->journal) || journal_naming(replica->journal)) return false;
    if (change->updating) return false;
    if (!change->voting) forget_received(replica);
    if (change->start != NULL) return take_over(replica);
    if (change->view_durable < replica->view) {
        make_view_durable(replica);
        return true;
    }
    /* Who has no vote waits for those who have. */
    const bool late = now - change->entered_ns >= 2 * replica->failover_timeout_ns;
    if (late && replica_votes(replica)) {
        replica_view_enter(replica, members_next_view(replica->voters, replica->view));
        return true;
    }
    const uint64_t again = min_u64(VOTE_AGAIN_NS_MAX, replica->failover_timeout_ns / 2);
    if (!change->voting || now - change->voted_ns >= again) say_votes(replica, now);
    /* A newcomer's log may end where its slot was another's, perhaps the only voter's. */
    if (replica_primary_slot(replica) != replica->slot || replica_newcomer(replica)) return false;
    return choose(replica);
}

/* ---- Messages -------------------------------------------------------------------------------- */

void
replica_on_do_view_change(
    struct replica *replica, uint8_t slot, const struct message_header *header)
{
    struct replica_change *change = replica->change;
    struct view_vote vote;
    const uint32_t log_view = header->as.do_view_change.log_view;
    replica_fences_heard_vote(replica, slot, header->view, log_view);
    if (header->view < replica->view) return;
    if (replica->status == REPLICA_NORMAL) {
        if (header->view > replica->view) {
            replica_suspect_vote(replica, slot, header->view);
        } else if (replica->primary) {
            replica_say_view(replica, slot, 0); /* It has missed that the view has begun. */
        }
        if (replica->status == REPLICA_NORMAL) return;
    }
    if (header->view > replica->view) replica_view_enter(replica, header->view);
    if (header->view != replica->view || !replica_vote_read(header, &vote)) return;
    if (replica->peers[slot].stranger) return;
    change->votes[slot] = vote;
    change->voted[slot] = true;
}

/* (V10) Has the primary of this view, or of a newer one, another checkpoint of the same op? */
static bool
checkpoint_differs(
    const struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const struct message_start_view_body *body = message_body_const(header);
    const uint64_t op = replica_checkpoint_op(replica);
    if (header->view < replica->view || members_view_slot(header->view) != slot) return false;
    if (op == 0 || header->checkpoint_op != op) return false;
    return body->checkpoint_id != superblock_checkpoint_id(replica->superblock);
}

void
replica_on_start_view(struct replica *replica, uint8_t slot, struct message *message)
{
    struct replica_change *change = replica->change;
    const struct message_header *header = message->header;
    const bool wanted = header->view >= replica->view && header->view > change->log_view &&
                        members_view_slot(header->view) == slot;
    if (checkpoint_differs(replica, slot, header)) {
        message_release(&replica->pool, message);
        replica->diverged = true;
        replica_stop(replica);
        return;
    }
    if (wanted && header->view > replica->view) replica_view_enter(replica, header->view);
    if (!wanted || replica->status != REPLICA_VIEW_CHANGE || change->updating) {
        message_release(&replica->pool, message); /* It is sent again when it is asked for. */
        return;
    }
    drop(replica, &change->start);
    change->start = message;
}

void
replica_get_view(struct replica *replica, uint8_t slot, uint32_t view)
{
    struct replica_change *change = replica->change;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (now - change->asked_ns < REPLICA_HEARTBEAT_NS) return;
    struct message *message = replica_message_new(replica, MESSAGE_GET_VIEW);
    if (message == NULL) return;
    message->header->view = view;
    message->header->as.get_view.nonce = replica->session;
    change->asked_ns = now;
    (void) replica_send(replica, slot, message);
}

void
replica_on_get_view(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    if (replica->status != REPLICA_NORMAL || !replica->primary) return;
    if (header->view != replica->view) return;
    replica_say_view(replica, slot, header->as.get_view.nonce);
}

void
replica_say_view(struct replica *replica, uint8_t slot, uint64_t nonce)
{
    struct message *message = replica_message_new(replica, MESSAGE_START_VIEW);
    assert(replica->primary);
    if (message == NULL) return;
    struct message_header *header = message->header;
    struct message_start_view_body *body = message_body(header);
    struct prepare_header *suffix = (struct prepare_header *) (body + 1);
    const uint64_t oldest = replica->journal->checkpoint.op;
    const uint32_t count = (uint32_t) min_u64(replica->op - oldest + 1, VIEW_HEADERS_MAX);
    header->size += (uint32_t) (sizeof(*body) + count * sizeof(*suffix));
    header->op = replica->op;
    header->commit = replica->commit_max;
    header->checkpoint_op = replica_checkpoint_op(replica);
    header->as.start_view = (struct message_start_view){
        .nonce = nonce,
        .op_oldest = min_u64(journal_op_oldest(replica->journal), replica->op),
        .suffix_count = (uint8_t) count,
    };
    body->commit_checksum = replica_header(replica, replica->commit_max)->checksum;
    body->checkpoint_id = superblock_checkpoint_id(replica->superblock);
    body->members = replica->membership->now;
    for (uint32_t i = 0; i < count; i++) {
        suffix[i] = *replica_header(replica, replica->op + 1 - count + i);
    }
    (void) replica_send(replica, slot, message);
}
