/* SPDX-License-Identifier: PostgreSQL */
/*
 * Whose directory is an older one, or a copy (fences.h).
 *
 *   a start, a checkpoint                                  the primary
 *     fence_next is drawn, and on disk
 *     asked for  ────── node_record, again and again ───→  a prepare, if the log's fence is
 *     executed: fence := fence_next                        fence_before
 *     on disk, before another is drawn
 *
 * All who execute it note it: the superblock has what is known of each slot, so that a restart
 * forgets none of it. Nothing waits for any of this. Who has no others to tell makes no records.
 *
 * A directory that finds out that it is over answers nothing any more. It says so in its
 * superblock, and is never opened again.
 */
#include <string.h>

#include "base/checksum.h"
#include "vsr/replica_internal.h"

/*
 * Records that all members make at a checkpoint don't make the next one due. There may be two of
 * each, where one was asked for before it.
 */
static_assert(PREPARES_SIZE_MIN / 2 > UINT64_C(2) * MEMBERS_MAX * SECTOR_SIZE, "in bytes");
static_assert(CHECKPOINT_EVENTS_MAX > UINT64_C(2) * MEMBERS_MAX, "in events");
static_assert(PREPARE_HEADER_SIZE + sizeof(struct member_fence) <= SECTOR_SIZE, "a sector each");

/* ---- This node ------------------------------------------------------------------------------- */

static const struct member_fence *
record_of(const struct prepare_header *prepare)
{
    assert(prepare->operation == PREPARE_FENCE);
    return (const struct member_fence *) ((const uint8_t *) prepare + PREPARE_HEADER_SIZE);
}

/* The member that has this slot by the ops that were executed here. */
static const struct member *
member_of(const struct replica *replica, uint32_t slot)
{
    return &replica->membership->committed.slots[slot];
}

/* Is it a member, with others? */
static bool
has_others(const struct replica *replica)
{
    const u128 own = replica->superblock->working->incarnation;
    if (replica->network == NULL || member_of(replica, replica->slot)->incarnation != own) {
        return false;
    }
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        count += member_of(replica, slot)->role != MEMBER_NONE;
    }
    return count > 1;
}

/* (V17): something that has happened is to be served, and nothing was drawn for it. */
static bool
wants_draw(const struct replica *replica)
{
    const struct replica_fences *fences = replica->fences;
    if (fences->seed == 0 || fences->fence_next != 0) return false;
    return fences->events > fences->events_served && has_others(replica);
}

/* Each draw is of another sequence of the superblock, or of another life. */
static uint64_t
draw(const struct replica *replica)
{
    const struct replica_fences *fences = replica->fences;
    const struct {
        uint64_t seed;
        uint64_t sequence;
        uint64_t fence;
        uint64_t events;
    } of = {
        .seed = fences->seed,
        .sequence = replica->superblock->working->sequence,
        .fence = fences->fence,
        .events = fences->events,
    };
    const uint64_t drawn = u128_low(checksum(&of, sizeof(of)));
    return drawn != 0 && drawn != fences->fence ? drawn : drawn + 1;
}

void
replica_fences_note(const struct replica *replica, struct superblock_node *node)
{
    const struct replica_fences *fences = replica->fences;
    if ((replica->superblock->working->flags & SUPERBLOCK_NOT_ALONE) == 0) return;
    node->heard_of = (UINT32_C(1) << MEMBERS_MAX) - 1;
    memcpy(node->heard, fences->heard, sizeof(node->heard));
}

void
replica_fences_start(struct replica *replica, struct superblock_node *node)
{
    struct replica_fences *fences = replica->fences;
    fences->events = 1;
    if (wants_draw(replica)) {
        fences->drawn = draw(replica);
        fences->drawn_events = fences->events;
    }
    node->fences = (replica->superblock->working->flags & SUPERBLOCK_NOT_ALONE) != 0;
    node->fence = fences->fence;
    node->fence_next = fences->drawn != 0 ? fences->drawn : fences->fence_next;
    node->record_op = fences->record_op;
    if (fences->over) node->flags_set |= SUPERBLOCK_OVER;
    replica_fences_note(replica, node);
}

void
replica_fences_started(struct replica *replica)
{
    struct replica_fences *fences = replica->fences;
    if (fences->over) fences->over_noted = true;
    if (fences->drawn == 0) return;
    fences->fence_next = fences->drawn;
    fences->events_drawn = fences->drawn_events;
    fences->drawn = 0;
}

static void
on_noted(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, fences)->replica;
    struct replica_fences *fences = replica->fences;
    fences->noting = false;
    if (result != SUPERBLOCK_OK) {
        if (replica->status != REPLICA_STOPPED) replica_stop(replica);
        return;
    }
    const bool said_over = (update->node.flags_set & SUPERBLOCK_OVER) != 0;
    if (said_over) fences->over_noted = true;
    if (fences->drawn != 0) {
        assert(fences->drawn == replica->superblock->working->fence_next); /* (V17) */
        fences->fence_next = fences->drawn;
        fences->events_drawn = fences->drawn_events;
        fences->drawn = 0;
    }
    /* What came meanwhile. */
    if (fences->over && !fences->over_noted) replica_fences_end(replica);
}

/* Tells the superblock what has changed; and draws, if that is wanted. */
static void
note(struct replica *replica)
{
    struct replica_fences *fences = replica->fences;
    struct superblock_update *update = &replica->updates->fences;
    assert(!fences->noting && fences->drawn == 0);
    *update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_NODE,
        .callback = on_noted,
    };
    if (!fences->over && wants_draw(replica)) {
        fences->drawn = draw(replica);
        fences->drawn_events = fences->events;
    }
    update->node.fences = true;
    update->node.fence = fences->fence;
    update->node.fence_next = fences->drawn != 0 ? fences->drawn : fences->fence_next;
    update->node.record_op = fences->record_op;
    if (fences->over) update->node.flags_set = SUPERBLOCK_OVER;
    replica_fences_note(replica, &update->node);
    fences->note_due = false;
    fences->noting = true;
    superblock_update(replica->superblock, update);
}

void
replica_fences_end(struct replica *replica)
{
    struct replica_fences *fences = replica->fences;
    if (!fences->over) return;
    if (replica->status != REPLICA_STOPPED) replica_stop(replica);
    if (!fences->over_noted && !fences->noting && !replica->superblock->failed) note(replica);
}

/* The own slot has got this fence by the record of an op. */
static void
move_own(struct replica *replica, uint64_t fence, uint64_t op)
{
    struct replica_fences *fences = replica->fences;
    switch (fences_move(fences->record_op, fences->fence_next, fence, op)) {
    case FENCE_STAYS: return;
    case FENCE_OVER: fences->over = true; return;
    case FENCE_MOVES: break;
    }
    fences->fence = fence;
    fences->fence_next = 0;
    fences->record_op = op;
    fences->events_served = fences->events_drawn;
    fences->events_drawn = 0;
    fences->note_due = true;
}

bool
replica_fences_open(struct replica *replica)
{
    const struct superblock_state *state = replica->superblock->working;
    struct replica_fences *fences = replica->fences;
    fences->fence = state->fence;
    fences->fence_next = state->fence_next;
    fences->record_op = state->record_op;
    fences->open_log_view = state->log_view;
    fences->open_op = replica->journal->head.op;
    fences->open_uncertain = fences->open_op < superblock_suffix_head(state);
    memcpy(fences->heard, state->heard, sizeof(fences->heard));
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct member *member = member_of(replica, slot);
        struct superblock_heard *heard = &fences->heard[slot];
        if (member->record_op <= heard->record_op) continue;
        heard->fence = member->fence;
        heard->record_op = member->record_op;
    }
    const struct member *self = member_of(replica, state->slot);
    if (self->incarnation == state->incarnation && self->record_op > 0) {
        move_own(replica, self->fence, self->record_op); /* (V18) */
    }
    return !fences->over;
}

void
replica_fences_close(struct replica *replica)
{
    assert(replica->fences->over);
    replica_fences_end(replica);
    while (superblock_busy(replica->superblock)) (void) storage_wait(replica->storage);
}

void
replica_fences_checkpoint(struct replica *replica)
{
    replica->fences->events += 1;
    replica->fences->note_due |= wants_draw(replica);
}

void
replica_fences_claim(const struct replica *replica, struct fence_claim *claim)
{
    const struct superblock_state *state = replica->superblock->working;
    const struct replica_fences *fences = replica->fences;
    const bool same = state->log_view == fences->open_log_view;
    const uint64_t linked = min_u64(replica->journaled, replica->linked);
    *claim = (struct fence_claim){
        .fence = fences->fence,
        .fence_next = fences->fence_next,
        .record_op = fences->record_op,
        /* What was found when it was opened may have been acknowledged before. */
        .acked_op = same ? max_u64(linked, fences->open_op) : linked,
        .view = state->view,
        .log_view = state->log_view,
        .uncertain = same && fences->open_uncertain,
    };
}

void
replica_fences_told(struct replica *replica, const struct message_bye *bye)
{
    struct fence_claim own;
    const bool works = replica->status == REPLICA_NORMAL || replica->status == REPLICA_VIEW_CHANGE;
    if (bye->reason != MESSAGE_BYE_FENCE || !works) return;
    replica_fences_claim(replica, &own);
    if (!fences_over(&bye->known, &own)) return; /* (V21): it says hello again. */
    replica->fences->over = true;
    replica_fences_end(replica);
}

/* ---- Others ---------------------------------------------------------------------------------- */

/* What is known of the member of a slot; NULL: it isn't this incarnation, as far as known (V22). */
static struct superblock_heard *
known_of(struct replica *replica, uint32_t slot, u128 incarnation)
{
    const struct member *member = member_of(replica, slot);
    if (member->role == MEMBER_NONE || member->incarnation != incarnation) return NULL;
    struct superblock_heard *heard = &replica->fences->heard[slot];
    assert(heard->record_op >= member->record_op); /* (V16) */
    return heard;
}

static void
heard_view(
    struct superblock_heard *heard, uint32_t view, uint32_t log_view, uint64_t acked_op)
{
    assert(log_view <= view);
    if (log_view > heard->log_view) heard->acked_op = 0;
    if (log_view >= heard->log_view) heard->acked_op = max_u64(heard->acked_op, acked_op);
    if (log_view > heard->log_view) heard->log_view = log_view;
    if (view > heard->view) heard->view = view;
}

void
replica_fences_heard_ack(struct replica *replica, uint8_t slot, uint64_t op)
{
    const struct replica_peer *peer = &replica->peers[slot];
    struct superblock_heard *heard = known_of(replica, slot, peer->incarnation);
    if (heard != NULL) heard_view(heard, replica->view, replica->view, op);
}

void
replica_fences_heard_vote(
    struct replica *replica, uint8_t slot, uint32_t view, uint32_t log_view)
{
    const struct replica_peer *peer = &replica->peers[slot];
    struct superblock_heard *heard = known_of(replica, slot, peer->incarnation);
    if (heard != NULL) heard_view(heard, view, log_view, 0);
}

void
replica_fences_forget(struct replica *replica, uint8_t slot)
{
    struct replica_updates *updates = replica->updates;
    /* (V22), also for updates that wait and were built before. */
    replica->fences->heard[slot] = (struct superblock_heard){0};
    updates->view.node.heard[slot] = (struct superblock_heard){0};
    updates->checkpoint.node.heard[slot] = (struct superblock_heard){0};
    updates->fences.node.heard[slot] = (struct superblock_heard){0};
    replica->fences->records[slot] = (struct replica_record){0};
    replica->peers[slot].refused = false;
}

static void
bye_with(const struct superblock_heard *known, struct message_bye *bye)
{
    *bye = (struct message_bye){.reason = MESSAGE_BYE_FENCE, .known = *known};
}

static struct fence_claim
claim_of(const struct message_header *header)
{
    const struct message_hello *hello = message_body_const(header);
    return (struct fence_claim){
        .fence = hello->fence,
        .fence_next = hello->fence_next,
        .record_op = hello->record_op,
        .acked_op = hello->acked_op,
        .view = header->view,
        .log_view = hello->log_view,
        .uncertain = (header->flags & MESSAGE_UNCERTAIN) != 0,
    };
}

bool
replica_fences_refuse(
    struct replica *replica, const struct message_header *header, struct message_bye *bye)
{
    const struct message_hello *hello = message_body_const(header);
    const uint8_t slot = header->sender;
    if (slot >= MEMBERS_MAX || slot == replica->slot) return false;
    struct superblock_heard *known = known_of(replica, slot, hello->incarnation);
    if (known == NULL) return false;
    const struct fence_claim claim = claim_of(header);
    const enum fence_verdict verdict = fences_judge(known, replica->commit, &claim);
    if (verdict != FENCE_STALE && !fences_went_back(known, &claim)) return false;
    bye_with(known, bye);
    /* Who is connected may be the right one. */
    if (!replica->peers[slot].up) replica->peers[slot].refused = true;
    return true;
}

void
replica_fences_heard_hello(struct replica *replica, const struct message_header *header)
{
    const struct message_hello *hello = message_body_const(header);
    struct replica_peer *peer = &replica->peers[header->sender];
    peer->claim = claim_of(header);
    peer->refused = false;
    struct superblock_heard *known = known_of(replica, header->sender, hello->incarnation);
    if (known == NULL) return;
    /* Not acked_op: what is beyond may yet be cut. */
    heard_view(known, header->view, hello->log_view, header->op);
    if (hello->record_op <= known->record_op) return;
    known->fence = hello->fence;
    known->record_op = hello->record_op;
    replica->fences->note_due = true;
}

void
replica_fences_judge(struct replica *replica)
{
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct replica_peer *peer = &replica->peers[slot];
        struct message_bye bye;
        if (!peer->up) continue;
        const struct superblock_heard *known = known_of(replica, slot, peer->incarnation);
        if (known == NULL) continue;
        if (fences_judge(known, replica->commit, &peer->claim) != FENCE_STALE) continue;
        bye_with(known, &bye);
        replica_dismiss(replica, slot, &bye);
        replica_uncount(replica, slot);
        replica->peers[slot].refused = true;
    }
}

/* ---- Records --------------------------------------------------------------------------------- */

bool
replica_fences_valid(const struct prepare_header *prepare)
{
    return member_fence_valid(record_of(prepare));
}

/* A peer's slot has got another fence. */
static void
move_peer(struct replica *replica, const struct member_fence *record, uint64_t op)
{
    struct replica_peer *peer = &replica->peers[record->slot];
    struct superblock_heard *heard = &replica->fences->heard[record->slot];
    if (op > heard->record_op) {
        heard->fence = record->fence;
        heard->record_op = op;
        replica->fences->note_due = true;
    }
    if (!peer->up || peer->incarnation != record->incarnation) return;
    if (record->session != peer->session || op <= peer->claim.record_op) return;
    /* Who is connected has asked for it. */
    peer->claim.fence = record->fence;
    peer->claim.fence_next = 0;
    peer->claim.record_op = op;
}

void
replica_fences_execute(struct replica *replica, const struct prepare_header *prepare)
{
    const struct member_fence *record = record_of(prepare);
    struct replica_membership *membership = replica->membership;
    struct replica_record *own_record = &replica->fences->records[record->slot];
    if (own_record->made_op <= prepare->op) own_record->made_op = 0;
    if (!members_fence(&membership->committed, record, prepare->op)) return; /* (V20) */
    /* A change of the members that isn't executed yet says nothing of fences (V19). */
    (void) members_fence(&membership->now, record, prepare->op);
    (void) members_fence(&membership->before, record, prepare->op);
    if (record->slot == replica->slot) {
        const u128 own = replica->superblock->working->incarnation;
        if (record->incarnation == own) move_own(replica, record->fence, prepare->op); /* (V19) */
    }
    move_peer(replica, record, prepare->op);
    if (replica->status != REPLICA_RECOVERING) replica_fences_judge(replica);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

/* Is a record to be asked for now, for the first time or again? */
static bool
asks(const struct replica *replica, uint64_t now)
{
    const struct replica_fences *fences = replica->fences;
    if (fences->fence_next == 0 || fences->seed == 0) return false;
    if (now - fences->asked_ns < REPLICA_ASK_AGAIN_NS || !has_others(replica)) return false;
    assert(fences->fence_next == replica->superblock->working->fence_next); /* (V17) */
    return true;
}

void
replica_fences_tick(struct replica *replica)
{
    struct replica_fences *fences = replica->fences;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (!replica_backup(replica) || !asks(replica, now)) return;
    struct message *message = replica_message_new(replica, MESSAGE_NODE_RECORD);
    if (message == NULL) return;
    struct message_node_record *record = message_body(message->header);
    message->header->size += sizeof(*record);
    *record = (struct message_node_record){
        .incarnation = replica->superblock->working->incarnation,
        .fence = fences->fence,
        .fence_next = fences->fence_next,
        .session = replica->session,
    };
    fences->asked_ns = now;
    (void) replica_send(replica, replica_primary_slot(replica), message);
}

void
replica_on_node_record(
    struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const struct message_node_record *body = message_body_const(header);
    const struct replica_peer *peer = &replica->peers[slot];
    struct replica_record *record = &replica->fences->records[slot];
    if (!replica->serving || header->view != replica->view) return;
    if (body->incarnation != peer->incarnation || body->session != peer->session) return;
    if (known_of(replica, slot, peer->incarnation) == NULL) return;
    record->wanted = true;
    record->fence_before = body->fence;
    record->fence = body->fence_next;
    record->session = body->session;
}

void
replica_fences_leave(struct replica *replica)
{
    memset(replica->fences->records, 0, sizeof(replica->fences->records));
}

/* At a primary that serves: makes the record of a slot, if it was asked for. */
static bool
make_record(struct replica *replica, uint8_t slot)
{
    struct replica_record *wanted = &replica->fences->records[slot];
    const struct member *member = member_of(replica, slot);
    if (!wanted->wanted || wanted->made_op != 0) return false;
    /* Nothing of this slot is on its way, so this is the fence that the log has (V20). */
    const bool right = member->role != MEMBER_NONE && member->fence == wanted->fence_before &&
                       wanted->fence != wanted->fence_before;
    bool room = true;
    if (right) {
        const struct member_fence record = {
            .incarnation = member->incarnation,
            .fence_before = wanted->fence_before,
            .fence = wanted->fence,
            .session = wanted->session,
            .slot = slot,
        };
        if (replica_prepare_fence(replica, &record, &room)) {
            wanted->made_op = replica->op;
            wanted->wanted = false;
            return true;
        }
    }
    if (!right || !room) wanted->wanted = false; /* Who still wants it asks again. */
    return false;
}

/* The primary asks itself. */
static void
want_own(struct replica *replica)
{
    struct replica_fences *fences = replica->fences;
    struct replica_record *own = &fences->records[replica->slot];
    if (fences->fence_next == 0 || own->wanted || own->made_op != 0) return; /* Mostly. */
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (!asks(replica, now)) return;
    fences->asked_ns = now;
    own->wanted = true;
    own->fence_before = fences->fence;
    own->fence = fences->fence_next;
    own->session = replica->session;
}

bool
replica_fences_poll(struct replica *replica)
{
    struct replica_fences *fences = replica->fences;
    bool progress = false;
    if (replica->network == NULL) return false; /* A lone ledger pays nothing for it. */
    if (!fences->noting && (fences->note_due || wants_draw(replica))) {
        note(replica);
        progress = true;
    }
    if (replica->serving) want_own(replica);
    for (uint8_t slot = 0; slot < MEMBERS_MAX && replica->serving; slot++) {
        progress |= make_record(replica, slot);
    }
    return progress;
}
