/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which op a read must see (R11). A read is answered from this replica's own state, which may be
 * behind: so first it is found out what was committed when the read came, and the read waits until
 * that is executed here. No clock and no lease is relied on.
 *
 *   alone      nothing to find out
 *   primary    asks all (`round`): if a quorum of the voters answers in this view, none newer has
 *              begun when the reads came, so nothing is committed that the primary doesn't know.
 *              Its own voice counts if it is a voter.
 *   backup     asks the primary (`read_index`), which does the same for it. The question is the
 *              backup's own voice; with three voters, nobody else need be asked.
 *
 * Reads that come while a question is under way wait for the next one, all together. Questions get
 * lost; they are asked again after a while.
 */
#include "vsr/replica_internal.h"

uint64_t
replica_read_number(struct replica *replica)
{
    struct replica_reads *reads = &replica->reads;
    if (replica->network == NULL) return 0;
    /* The question that is under way was asked before this read came. */
    if (reads->newest == reads->asked) reads->newest += 1;
    return reads->newest;
}

bool
replica_read_ready(const struct replica *replica, uint64_t number)
{
    const struct replica_reads *reads = &replica->reads;
    if (replica->network == NULL) return true;
    assert(number <= reads->newest);
    return number <= reads->known && replica->commit >= reads->op_known;
}

/* The question under way is answered: these reads must see this op. */
static void
answered(struct replica_reads *reads, uint64_t op)
{
    assert(reads->asked > reads->known);
    reads->known = reads->asked;
    reads->op_known = max_u64(reads->op_known, op);
}

/* ---- The primary ----------------------------------------------------------------------------- */

/*
 * Have a quorum of the voters answered this round, in this view? Who has asked the question counts
 * as one of them, for this question alone: a message that was long on its way says nothing of what
 * its sender has done since.
 */
static bool
round_answered(const struct replica *replica, uint64_t round, uint8_t asker)
{
    uint32_t voices = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((replica->voters >> slot & 1) == 0) continue;
        const bool own = slot == replica->slot || slot == asker;
        voices += own || replica->peers[slot].round >= round;
    }
    return voices >= members_quorum(members_voter_count(replica->voters));
}

static void
say_read_op(struct replica *replica, uint8_t slot)
{
    struct replica_peer *peer = &replica->peers[slot];
    struct message *message = replica_message_new(replica, MESSAGE_READ_OK);
    if (message == NULL) return; /* It will ask again. */
    message->header->commit = peer->read_op;
    message->header->as.read.number = peer->read_number;
    peer->read_asked = false;
    (void) replica_send(replica, slot, message);
}

void
replica_reads_answered(struct replica *replica)
{
    struct replica_reads *reads = &replica->reads;
    if (!replica->serving) return;
    if (reads->asked > reads->known && round_answered(replica, reads->round, replica->slot)) {
        answered(reads, reads->op);
    }
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct replica_peer *peer = &replica->peers[slot];
        if (peer->read_asked && round_answered(replica, peer->read_round, slot)) {
            say_read_op(replica, slot);
        }
    }
}

void
replica_on_read_index(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    struct replica_peer *peer = &replica->peers[slot];
    /* Before all that the view began with is committed, commit_max may be behind. */
    if (!replica->serving || header->view != replica->view) return;
    if (peer->read_asked && peer->read_number == header->as.read.number) {
        /* Asked again. A new round would make the answers that are on their way worthless. */
        replica->round_due = true;
        return;
    }
    replica->round += 1;
    peer->read_asked = true;
    peer->read_number = header->as.read.number;
    peer->read_round = replica->round;
    peer->read_op = replica->commit_max;
    replica_reads_answered(replica);
    if (peer->read_asked) replica->round_due = true;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

void
replica_on_read_ok(struct replica *replica, const struct message_header *header)
{
    struct replica_reads *reads = &replica->reads;
    const bool mine = replica_backup(replica) && header->view == replica->view &&
                      header->sender == replica_primary_slot(replica);
    if (!mine || reads->asked == reads->known) return;
    if (header->as.read.number == reads->asked) answered(reads, header->commit);
}

/* `again`: the same question, so that an answer that is on its way still counts. */
static bool
ask(struct replica *replica, bool again)
{
    struct replica_reads *reads = &replica->reads;
    if (replica->primary) {
        if (!replica->serving) return false;
        if (!again || reads->round == REPLICA_NO_ROUND) {
            replica->round += 1;
            reads->round = replica->round;
            reads->op = replica->commit_max;
        }
        replica->round_due = true;
        replica_reads_answered(replica); /* A voter that is alone is a quorum. */
        return true;
    }
    struct message *message = replica_message_new(replica, MESSAGE_READ_INDEX);
    if (message == NULL) return false;
    message->header->as.read.number = reads->asked;
    return replica_send(replica, replica_primary_slot(replica), message);
}

bool
replica_reads_poll(struct replica *replica)
{
    struct replica_reads *reads = &replica->reads;
    const bool fresh = reads->asked == reads->known;
    if (fresh && reads->newest == reads->known) return false;
    if (replica->status != REPLICA_NORMAL) return false;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (!fresh && now - reads->asked_ns < REPLICA_ASK_AGAIN_NS) return false;
    if (fresh) reads->asked = reads->newest;
    reads->asked_ns = now;
    return ask(replica, !fresh);
}
