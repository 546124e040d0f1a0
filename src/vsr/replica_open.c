/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening the replica: replay of what is known to be committed, and the view that it begins with.
 */
#include <string.h>

#include "base/units.h"
#include "vsr/replica_internal.h"

/* A session's number ends with so many random bits, so that a copied directory has another. */
#define SESSION_RANDOM_BITS 24

static_assert(sizeof(struct sessions) == sizeof(struct forest_note), "kept in the note");

/*
 * What is known of the log's end without doubt: what is durable here, and of the view's log. What
 * may lie behind it counts if it is of log_view (J6).
 */
void
replica_log_end(const struct replica *replica, uint32_t log_view, struct superblock_log *log)
{
    const struct journal *journal = replica->journal;
    const struct superblock_state *state = replica->superblock->working;
    const uint64_t op_end = min_u64(journal->head.op, replica->linked);
    assert(replica->commit <= op_end);
    *log = (struct superblock_log){
        .log_view = log_view,
        .op_acked_min = op_end,
        .commit_max = replica->commit,
        .commit_max_checksum = journal_header(journal, replica->commit)->checksum,
    };
    if (log_view == state->log_view && superblock_suffix_head(state) > op_end) {
        /* What was listed when the view began stays listed until it is known to be there. */
        log->suffix_count = state->suffix_count;
        log->op_acked_min = min_u64(state->op_acked_min, op_end);
        memcpy(log->suffix, state->suffix, sizeof(log->suffix));
        return;
    }
    const uint64_t known = op_end - journal->checkpoint.op + 1;
    log->suffix_count = (uint32_t) min_u64(known, SUPERBLOCK_SUFFIX_MAX);
    const uint64_t op_first = op_end + 1 - log->suffix_count;
    for (uint32_t i = 0; i < log->suffix_count; i++) {
        log->suffix[i] = *journal_header(journal, op_first + i);
    }
}

/* ---- Replay ---------------------------------------------------------------------------------- */

/* Waits for what is under way. Something must be, or the forest must have something to do. */
static void
open_wait(struct replica *replica)
{
    assert(replica->status == REPLICA_RECOVERING);
    if (!replica_storage_poll(replica) && !forest_failed(replica->forest)) {
        (void) storage_wait(replica->storage);
        replica->progress += 1;
    }
    if (!forest_failed(replica->forest)) return;
    replica->lost = forest_lost(replica->forest);
    replica_stop(replica);
}

/*
 * Brings records that changed lately into memory. Replay will ask for records by the ten thousand,
 * and most of them are those.
 */
static void
open_warm(struct replica *replica)
{
    assert(replica->status == REPLICA_RECOVERING);
    assert(replica->commit_stage == COMMIT_IDLE);
    while (replica->status == REPLICA_RECOVERING &&
           forest_warm(replica->forest) == FOREST_WORK_WAITS) {
        open_wait(replica);
    }
}

/*
 * Can the whole log be what this replica has written, as far as the superblock tells? If not, *op
 * is the first op that can't be: it was made in another view, or after the superblock was put back
 * from an older copy.
 */
static bool
open_check_log(const struct replica *replica, uint64_t *op)
{
    const struct journal *journal = replica->journal;
    const struct prepare_header *parent = &journal->checkpoint;
    assert(replica->status == REPLICA_RECOVERING);
    for (*op = parent->op + 1; *op <= journal->head.op; *op += 1) {
        const struct prepare_header *header = journal_header(journal, *op);
        if (!superblock_log_counts(replica->superblock->working, header)) return false;
        if (header->view < parent->view || header->commit > header->op) return false;
        if (header->op - header->commit >= SUPERBLOCK_SUFFIX_MAX) return false;
        parent = header;
    }
    return true;
}

/* The prepare of the op, as it is in the journal. */
static enum replica_open_result
open_read_op(struct replica *replica, uint64_t op, struct message *message)
{
    assert(op <= replica->journaled);
    switch (journal_read_prepare(replica->journal, op, message_body(message->header))) {
    case JOURNAL_READ_OK: break;
    case JOURNAL_READ_DAMAGED: return REPLICA_OPEN_PREPARE_DAMAGED;
    case JOURNAL_READ_IO_ERROR: return REPLICA_OPEN_IO_ERROR;
    }
    if (forest_failed(replica->forest)) return REPLICA_OPEN_IO_ERROR;
    return REPLICA_OPENED;
}

/* Is there room for so many events? Whatever was admitted once finds room again (forest.h). */
static enum replica_open_result
open_reserve(struct replica *replica, uint32_t event_count)
{
    enum forest_room room;
    assert(event_count <= max_u64(EVENTS_PER_BATCH_MAX, PULSE_EXPIRIES_MAX));
    do {
        room = forest_reserve_replayed(replica->forest, event_count);
        if (room == FOREST_ROOM_WAITS) open_wait(replica);
        if (replica->status != REPLICA_RECOVERING) break;
    } while (room == FOREST_ROOM_WAITS);
    if (replica->lost) return REPLICA_OPEN_DAMAGED;
    if (replica->status != REPLICA_RECOVERING) return REPLICA_OPEN_IO_ERROR;
    switch (room) {
    case FOREST_ROOM: return REPLICA_OPENED;
    case FOREST_MEMORY_FULL: return REPLICA_OPEN_MEMORY_FULL;
    case FOREST_DISK_FULL: return REPLICA_OPEN_DISK_FULL;
    case FOREST_ROOM_WAITS:
    case FOREST_IO_ERROR: break;
    }
    return REPLICA_OPEN_IO_ERROR;
}

/* Executes op commit + 1. */
static enum replica_open_result
open_replay_op(struct replica *replica)
{
    const uint64_t op = replica->commit + 1;
    assert(replica->status == REPLICA_RECOVERING);
    struct message *message = message_pool_get(&replica->pool, MESSAGE_LARGE);
    assert(message != NULL);
    enum replica_open_result result = open_read_op(replica, op, message);
    if (result == REPLICA_OPENED) {
        assert(replica_prepare_of(message)->op == op);
        result = open_reserve(replica, replica_prepare_of(message)->event_count);
    }
    if (result == REPLICA_OPENED && !replica_commit_start(replica, message)) {
        result = REPLICA_OPEN_INVALID_PREPARE;
    }
    if (result != REPLICA_OPENED) {
        message_release(&replica->pool, message);
        return result;
    }
    while (replica->status == REPLICA_RECOVERING && replica->commit_stage != COMMIT_IDLE) {
        if (!replica_commit(replica)) open_wait(replica);
    }
    if (replica->lost) return REPLICA_OPEN_DAMAGED;
    return replica->status == REPLICA_RECOVERING ? REPLICA_OPENED : REPLICA_OPEN_IO_ERROR;
}

/* A change of the members that isn't known to be committed counts already (V12). */
static bool
open_members(struct replica *replica, uint64_t *op)
{
    replica->membership->now = replica->membership->committed;
    for (*op = replica->commit + 1; *op <= replica->journaled; *op += 1) {
        if (journal_header(replica->journal, *op)->operation != PREPARE_NODE) continue;
        struct message *message = message_pool_get(&replica->pool, MESSAGE_LARGE);
        assert(message != NULL);
        const bool read = open_read_op(replica, *op, message) == REPLICA_OPENED;
        if (read) replica_members_logged(replica, replica_prepare_of(message));
        message_release(&replica->pool, message);
        if (!read) return false;
    }
    replica->voters = replica->journal->head.voters;
    *op = replica->commit;
    return true;
}

/* ---- The view -------------------------------------------------------------------------------- */

static void
open_on_view(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, view)->replica;
    assert(replica->status == REPLICA_RECOVERING);
    if (result != SUPERBLOCK_OK) {
        replica_stop(replica);
        return;
    }
    replica->view = update->view;
    replica->primary = true;
    replica->serving = true;
    replica->op_admitted = replica->op + 1;
    replica->accepted = replica->sessions;
    sessions_begin(&replica->accepted, replica->slot, replica->session);
    replica->status = REPLICA_NORMAL;
}

/*
 * (R6) Each start of a replica that is alone is a new view: what an earlier life prepared and lost
 * can be told from what is prepared now.
 */
static enum replica_open_result
open_alone(struct replica *replica)
{
    assert(replica->status == REPLICA_RECOVERING);
    const struct superblock_state *state = replica->superblock->working;
    struct superblock_update *update = &replica->updates->view;
    const uint32_t view = members_next_view(replica->voters, state->view);
    assert(members_view_slot(view) == state->slot);
    update->kind = SUPERBLOCK_UPDATE_VIEW;
    update->callback = open_on_view;
    update->view = view;
    replica_log_end(replica, view, &update->log);
    superblock_update(replica->superblock, update);
    while (replica->status == REPLICA_RECOVERING) (void) storage_wait(replica->storage);
    if (replica->status != REPLICA_NORMAL) return REPLICA_OPEN_IO_ERROR;
    assert(replica->view == view);
    return REPLICA_OPENED;
}

/*
 * Cuts what was to be cut when the log of log_view was taken over, if a crash came before that:
 * entries of older views, below those that are listed, and beyond what is known to be committed.
 * The view's log has other ones in their place, or the same ones, which others will send. All of
 * them are committed, and a quorum has them that this replica isn't of, for it lacks what is
 * listed.
 */
static void
open_cut(struct replica *replica)
{
    const uint32_t log_view = replica->superblock->working->log_view;
    if (replica->linked == replica->journaled) return;
    if (journal_header(replica->journal, replica->linked + 1)->view == log_view) return;
    journal_truncate(replica->journal, replica->linked);
    replica->journaled = replica->linked;
    replica->op = replica->linked;
    replica->timestamp = replica->journal->head.timestamp;
}

/*
 * A member goes on in the view whose log it has, but not as its primary: others may have prepares
 * of it that this disk has lost. In that case, and if it had left its view already, it goes on with
 * changing the view.
 */
static void
open_as_member(struct replica *replica)
{
    const struct superblock_state *state = replica->superblock->working;
    struct replica_change *change = replica->change;
    assert(replica->status == REPLICA_RECOVERING);
    open_cut(replica);
    replica_members_cut(replica);
    replica->view = state->view;
    change->log_view = state->log_view;
    change->view_durable = state->view;
    replica_connect(replica);
    if (replica_primary_slot(replica) == replica->slot) {
        replica_view_enter(replica, members_next_view(replica->voters, state->view));
    } else if (state->log_view < state->view) {
        replica_view_enter(replica, state->view);
    } else {
        replica->status = REPLICA_NORMAL;
        replica_suspect_reset(replica);
    }
}

static void
open_on_noted(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, node)->replica;
    if (result != SUPERBLOCK_OK) replica_stop(replica);
}

/* Each start of a member is on its disk before others hear of it. Alone, the new view is. */
static bool
open_note_start(struct replica *replica)
{
    struct superblock_update *update = &replica->updates->node;
    assert(replica->status == REPLICA_RECOVERING);
    *update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_NODE,
        .callback = open_on_noted,
    };
    replica_fences_start(replica, &update->node);
    superblock_update(replica->superblock, update);
    while (superblock_busy(replica->superblock)) (void) storage_wait(replica->storage);
    if (replica->status != REPLICA_RECOVERING) return false;
    replica_fences_started(replica);
    return true;
}

/*
 * The number of this life's session. It is higher than those of former lives (V9), since each of
 * them has written the superblock, whose sequence ascends (S1).
 */
static uint64_t
open_session(const struct replica *replica, uint64_t random)
{
    const uint64_t sequence = replica->superblock->working->sequence;
    assert(sequence > 0 && sequence < UINT64_C(1) << (64 - SESSION_RANDOM_BITS));
    const uint64_t mask = (UINT64_C(1) << SESSION_RANDOM_BITS) - 1;
    return sequence << SESSION_RANDOM_BITS | (random & mask);
}

static enum replica_open_result
open_over(struct replica *replica)
{
    replica_fences_close(replica);
    return replica->fences->over_noted ? REPLICA_OPEN_OVER : REPLICA_OPEN_IO_ERROR;
}

/*
 * How far is the log known to be committed, and to be that of the view? A header tells what was
 * committed in the log that it is part of; and the superblock lists what the view began with.
 */
static void
open_know(struct replica *replica, bool alone)
{
    const struct superblock_state *state = replica->superblock->working;
    const struct prepare_header *head = &replica->journal->head;
    assert(head->op >= state->commit_max); /* Or the journal wouldn't have been recovered. */
    replica->op = head->op;
    replica->journaled = head->op;
    replica->timestamp = head->timestamp;
    replica->commit_max = alone ? head->op : max_u64(state->commit_max, head->commit);
    replica->linked = replica->commit_max;
    const uint64_t listed = min_u64(superblock_suffix_head(state), head->op);
    if (!alone && listed >= state->suffix[0].op) {
        /* What is here of the list is what is listed, or open_check_log refuses the log. */
        replica->linked = max_u64(replica->linked, listed);
    }
}

enum replica_open_result
replica_open(struct replica *replica, uint64_t random, uint64_t *op)
{
    const struct prepare_header *checkpoint = &replica->journal->checkpoint;
    const struct superblock_state *state = replica->superblock->working;
    assert(replica->status == REPLICA_CLOSED);
    assert(replica->journal->head.op >= checkpoint->op);
    assert(random != 0);

    replica->updates->replica = replica;
    replica->status = REPLICA_RECOVERING;
    replica_members_open(replica);
    const bool alone = replica->network == NULL;
    assert(!alone || members_voter_count(replica->voters) == 1);
    open_know(replica, alone);
    replica->commit = checkpoint->op;
    replica->commit_header = *checkpoint;
    replica->op_admitted = UINT64_MAX;
    replica->slot = state->slot;
    /* So that no answer to an earlier life is taken for one to this. */
    replica->reads.newest = random / 2;
    replica->reads.asked = replica->reads.newest;
    replica->reads.known = replica->reads.newest;
    memcpy(&replica->sessions, forest_note(replica->forest), sizeof(replica->sessions));
    if (!open_check_log(replica, op)) return REPLICA_OPEN_OTHER_LOG;
    *op = checkpoint->op;
    if (!replica_fences_open(replica)) return open_over(replica);
    if (!sessions_valid(&replica->sessions)) return REPLICA_OPEN_SESSIONS_INVALID;
    open_warm(replica);
    while (replica->commit < min_u64(replica->commit_max, replica->linked)) {
        *op = replica->commit + 1;
        const enum replica_open_result result = open_replay_op(replica);
        if (result != REPLICA_OPENED) return result;
        if (replica->fences->over) return open_over(replica);
    }
    if (!open_members(replica, op)) return REPLICA_OPEN_PREPARE_DAMAGED;
    if (!alone && !open_note_start(replica)) return REPLICA_OPEN_IO_ERROR;
    replica->session = open_session(replica, random);
    enum replica_open_result result = REPLICA_OPENED;
    if (alone) {
        result = open_alone(replica);
    } else {
        open_as_member(replica);
    }
    if (result == REPLICA_OPENED) replica_invariants(replica);
    return result;
}
