/* SPDX-License-Identifier: PostgreSQL */
/*
 * Normal operation between members: how a prepare comes from the primary onto the disks of the
 * others, and how all learn that it is committed.
 *
 *     primary                             backup
 *     makes op n ──────── prepare n ────→ follows its head? keeps it
 *       journal                             journal
 *     count ←───────── prepare_ok n ────── durable up to n (R9)
 *     a quorum has it: commit_max = n
 *       ──── commit n, or the next prepare ──→ commit_max = n; executes it (R10)
 *
 * An acknowledgement is cumulative: everything up to its op is durable. It is sent when more has
 * become durable, and for each message that asks for one by its round. Nothing is repeated on a
 * timer of its own. Each message of the primary says how far its log goes; who is behind asks for
 * what is missing (replica_catchup.c). And the heartbeat is answered, so an acknowledgement that
 * got lost comes again.
 *
 * What others send is valid by itself (message.h). Whether it fits what is here is checked; what
 * doesn't is dropped, for then it is late, doubled, or from another view.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* ---- The journal ----------------------------------------------------------------------------- */

static void
on_journaled(struct journal_append *append, enum storage_result result)
{
    struct replica *replica = container_of(append, struct replica, append);
    assert(replica->journaled < replica->op);
    if (result != STORAGE_OK) {
        replica_stop(replica);
        return;
    }
    replica->journaled += 1;
    if (replica->primary) {
        replica_count_acks(replica);
    } else {
        replica->ack_due = true;
    }
    replica_invariants(replica);
}

void
replica_append(struct replica *replica, bool solo)
{
    struct message *message = replica_message(replica, replica->journaled + 1);
    assert(message != NULL);
    replica->append = (struct journal_append){
        .prepare = replica_prepare_of(message),
        .callback = on_journaled,
        .solo = solo,
    };
    if (replica->network != NULL) {
        replica->change->append_ns = clock_monotonic_ns(replica->clock);
    }
    journal_append(replica->journal, &replica->append);
}

bool
replica_append_next(struct replica *replica)
{
    if (replica->journaled == replica->op || journal_busy(replica->journal)) return false;
    const struct message *message = replica_message(replica, replica->journaled + 1);
    assert(message != NULL);
    const struct prepare_header *prepare = message_body_const(message->header);
    /* While a checkpoint is due there may be no room. What comes meanwhile is asked for later. */
    if (!journal_has_room(replica->journal, prepare_size_on_disk(prepare))) return false;
    replica_append(replica, false);
    return true;
}

/* ---- The primary ----------------------------------------------------------------------------- */

void
replica_seal_prepare(struct replica *replica, struct message *message, uint8_t flags)
{
    struct message_header *header = message->header;
    const struct prepare_header *prepare = replica_prepare_of(message);
    assert(message->references == 1);
    *header = (struct message_header){
        .cluster = prepare->cluster,
        .size = MESSAGE_HEADER_SIZE + prepare->size,
        .view = replica->view,
        .command = MESSAGE_PREPARE,
        .sender = replica->slot,
        .flags = flags,
        .op = prepare->op,
        .commit = replica->commit_max,
        .round = replica->round,
    };
    message_seal(header, MESSAGE_VERSION_MAX);
}

void
replica_send_newest(struct replica *replica)
{
    assert(replica->primary);
    (void) replica_give(replica);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct replica_peer *peer = &replica->peers[slot];
        if (peer->up && (!peer->placed || peer->sent_op < replica->op)) return;
    }
    /* With it all have heard how far it is committed. */
    replica->commit_said = replica->commit_max;
    replica->said_ns = clock_monotonic_ns(replica->clock);
}

/* The newest op that the voter is known to have on disk, with everything before it. */
static uint64_t
acked_by(const struct replica *replica, uint32_t slot)
{
    return slot == replica->slot ? replica->journaled : replica->peers[slot].acked;
}

/* How many voters have the op on disk? */
static uint32_t
voters_with(const struct replica *replica, uint64_t op)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        count += (replica->voters >> slot & 1) != 0 && acked_by(replica, slot) >= op;
    }
    return count;
}

/*
 * Committed is what a quorum of the voters has on disk. Ops of older views commit by the same
 * count, for all who count have taken over this view's log.
 */
void
replica_count_acks(struct replica *replica)
{
    const uint32_t quorum = members_quorum(members_voter_count(replica->voters));
    assert(replica->primary);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((replica->voters >> slot & 1) == 0) continue;
        const uint64_t op = acked_by(replica, slot);
        if (op <= replica->commit_max || voters_with(replica, op) < quorum) continue;
        assert(op <= replica->op);
        replica->commit_max = op;
    }
}

bool
replica_settled(const struct replica *replica)
{
    const uint64_t op = replica->change->op_start;
    uint32_t count = 0;
    assert(replica->primary);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const bool own = slot == replica->slot;
        if ((replica->voters >> slot & 1) == 0) continue;
        count += (own || replica->peers[slot].taken_over) && acked_by(replica, slot) >= op;
    }
    return count >= members_quorum(members_voter_count(replica->voters));
}

/* (V10) Who has another checkpoint of the same op is told which is right. Then it stops. */
static void
compare_checkpoint(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const uint64_t op = replica_checkpoint_op(replica);
    if (op == 0 || header->checkpoint_op != op) return;
    const u128 id = superblock_checkpoint_id(replica->superblock);
    if (header->as.prepare_ok.checkpoint_id != id) replica_say_view(replica, slot, 0);
}

void
replica_on_prepare_ok(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    struct replica_peer *peer = &replica->peers[slot];
    if (!replica->primary || header->view != replica->view) return;
    replica->change->left_ns[slot] = 0;
    peer->answered_ns = clock_monotonic_ns(replica->clock);
    /* A higher one is of a view before, when it was heard from another primary. */
    if (header->round <= replica->round) peer->round = max_u64(peer->round, header->round);
    if (replica_log_has(replica, header->op, header->as.prepare_ok.checksum)) {
        peer->taken_over = true;
        if (header->op > peer->acked) peer->acked_ns = peer->answered_ns;
        peer->acked = max_u64(peer->acked, header->op);
        peer->sent_op = peer->placed ? max_u64(peer->sent_op, header->op) : header->op;
        peer->placed = true;
        replica_fences_heard_ack(replica, slot, header->op);
        replica_count_acks(replica);
    }
    compare_checkpoint(replica, slot, header);
    replica_reads_answered(replica);
}

void
replica_say_commit(struct replica *replica, uint8_t slot)
{
    const uint64_t commit = min_u64(replica->commit_max, replica->linked);
    struct message *message = replica_message_new(replica, MESSAGE_COMMIT);
    if (message == NULL) return;
    struct message_header *header = message->header;
    struct message_clock *clock = message_body(header);
    header->size += sizeof(*clock);
    header->op = replica->linked;
    header->commit = commit;
    header->round = replica->round;
    header->as.checksum.checksum = replica_header(replica, commit)->checksum;
    *clock = (struct message_clock){
        .probe_ns = clock_monotonic_ns(replica->clock),
        .realtime_ns = clock_realtime_ns(replica->clock),
    };
    (void) replica_send(replica, slot, message);
}

/* Says to all how far it is committed. */
static void
say_commit(struct replica *replica)
{
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (replica->peers[slot].up) replica_say_commit(replica, slot);
    }
    replica->commit_said = replica->commit_max;
    replica->round_due = false;
    replica->said_ns = clock_monotonic_ns(replica->clock);
}

/* ---- Backups --------------------------------------------------------------------------------- */

/* (R9) Tells the primary how far the log is durable here. */
static void
say_prepare_ok(struct replica *replica)
{
    const uint64_t op = min_u64(replica->journaled, replica->linked);
    struct message *message = replica_message_new(replica, MESSAGE_PREPARE_OK);
    if (message == NULL) return;
    struct message_header *header = message->header;
    struct message_prepare_ok_body *body = message_body(header);
    header->size += sizeof(*body);
    header->op = op;
    header->commit = replica->commit;
    header->round = replica->round;
    header->checkpoint_op = replica_checkpoint_op(replica);
    header->as.prepare_ok.checksum = journal_header(replica->journal, op)->checksum;
    header->as.prepare_ok.checkpoint_id = superblock_checkpoint_id(replica->superblock);
    *body = (struct message_prepare_ok_body){
        .clock =
            {
                .probe_ns = clock_monotonic_ns(replica->clock),
                .realtime_ns = clock_realtime_ns(replica->clock),
            },
    };
    if (!replica_send(replica, replica_primary_slot(replica), message)) return;
    replica->ack_due = false;
}

void
replica_say(struct replica *replica, bool at_once)
{
    if (replica->network == NULL) return;
    if (replica->status != REPLICA_NORMAL) return;
    if (!replica->primary) {
        if (replica->ack_due) say_prepare_ok(replica);
        return;
    }
    const uint64_t silent_ns = clock_monotonic_ns(replica->clock) - replica->said_ns;
    const bool news = replica->commit_said < replica->commit_max || replica->round_due;
    if (at_once ? news : silent_ns >= REPLICA_HEARTBEAT_NS) say_commit(replica);
}

/*
 * What the primary has said in passing: how far its log goes, how far it is committed, and that it
 * wants to be answered.
 */
static void
hear_primary(struct replica *replica, const struct message_header *header, uint64_t op_head)
{
    replica->head_heard = max_u64(replica->head_heard, op_head);
    replica->commit_max = max_u64(replica->commit_max, header->commit);
    replica->round = max_u64(replica->round, header->round);
    replica_heard_primary(replica);
}

/*
 * Is the message one of this view's primary, for a backup of this view? If it is of a newer view's
 * primary, that is asked for the view.
 */
static bool
from_primary(struct replica *replica, const struct message_header *header)
{
    if (header->sender != members_view_slot(header->view)) return false;
    if (header->view > replica->view) replica_get_view(replica, header->sender, header->view);
    return replica_backup(replica) && header->view == replica->view;
}

/* Takes into the log what was received and continues it. */
static void
take_received(struct replica *replica)
{
    for (;;) {
        struct message *message = replica_message(replica, replica->op + 1);
        if (message == NULL) return;
        const struct prepare_header *prepare = replica_prepare_of(message);
        const struct prepare_header *parent = replica_header(replica, replica->op);
        const uint64_t position = prepare_next_position(
            parent, prepare_size_on_disk(prepare), replica->journal->prepares_size_bytes);
        if (!prepare_follows(parent, prepare) || prepare->position != position) {
            /* It isn't what follows here, or what is here isn't of this view's log. */
            replica->pipeline[prepare->op % PIPELINE_PREPARES_MAX] = NULL;
            message_release(&replica->pool, message);
            return;
        }
        replica->op += 1;
        replica->linked = replica->op; /* (R10) */
        replica->grown_ns = clock_monotonic_ns(replica->clock);
        replica->absent = false;
        replica->timestamp = prepare->timestamp;
        replica_members_logged(replica, prepare);
    }
}

/*
 * A prepare of this view's log that isn't newer than what is here: is it the same? If not, what is
 * here was dropped by this view, or an older one. Then it is cut, and true returned; or false, if
 * that can't be done now: the prepare will be asked for again.
 */
static bool
cut_for(struct replica *replica, const struct prepare_header *prepare)
{
    if (prepare->op <= replica->linked) return false;
    const struct prepare_header *here = replica_header(replica, prepare->op);
    if (here->checksum == prepare->checksum) {
        replica->linked = prepare->op;
        return false;
    }
    const bool idle = replica->op == replica->journaled && !journal_busy(replica->journal) &&
                      !journal_naming(replica->journal);
    if (!idle || here->view >= replica->view) return false;
    journal_truncate(replica->journal, prepare->op - 1);
    replica->op = prepare->op - 1;
    replica->journaled = replica->op;
    replica_members_cut(replica);
    return true;
}

void
replica_on_prepare(struct replica *replica, struct message *message)
{
    const struct message_header *header = message->header;
    const struct prepare_header *prepare = replica_prepare_of(message);
    if ((header->flags & MESSAGE_REPAIR) != 0) {
        replica_view_fetched(replica, message);
        return;
    }
    if (!from_primary(replica, header)) {
        message_release(&replica->pool, message);
        return;
    }
    hear_primary(replica, header, prepare->op);
    if (prepare->op <= replica->op && !cut_for(replica, prepare)) {
        replica->ack_due = true; /* It came again. */
        message_release(&replica->pool, message);
        return;
    }
    if (prepare->op > replica->journaled + PIPELINE_PREPARES_MAX ||
        replica_message(replica, prepare->op) != NULL) {
        message_release(&replica->pool, message); /* It is asked for when there is room. */
        return;
    }
    replica_keep(replica, message);
    take_received(replica);
}

/* A committed op is of this view's log, so what leads to it here is of it too (R10). */
static void
link_committed(struct replica *replica, const struct message_header *header)
{
    if (header->commit <= replica->linked || header->commit > replica->op) return;
    const struct prepare_header *here = replica_header(replica, header->commit);
    if (here->checksum == header->as.checksum.checksum) replica->linked = header->commit;
}

void
replica_on_commit(struct replica *replica, const struct message_header *header)
{
    if (from_primary(replica, header)) {
        hear_primary(replica, header, header->op);
        link_committed(replica, header);
        replica->ack_due = true;
    } else if (replica_backup(replica) && header->view == replica->view) {
        /* Another backup hears the primary, and this one doesn't. So it isn't asked for more. */
        replica->commit_max = max_u64(replica->commit_max, header->commit);
        link_committed(replica, header);
    }
}
