/* SPDX-License-Identifier: PostgreSQL */
/*
 * Giving each member the log, as fast as it can take it.
 *
 * The primary knows of each member up to where their logs are the same, and what it was sent since
 * then: sent_op. It sends the next prepare as soon as the member may take it, whether it was made
 * just now or lies in the journal. A member takes PIPELINE_PREPARES_MAX prepares beyond what it has
 * on disk, so its acknowledgements set the pace, and nobody waits for a slow one.
 *
 *     acked                    sent_op                op
 *       │  ≤ PIPELINE_PREPARES_MAX  │   to be sent yet   │
 *
 * How far the logs are the same tells an acknowledgement. If something got lost after it, with a
 * connection or in the network, then the member's log doesn't grow although the primary's is
 * longer. So it asks, and names its newest entries. The newest of them that is in the primary's log
 * is where to go on. If there is none, or what follows it was overwritten, the answer is `absent`:
 * the log alone can't bring this member up to date.
 */
#include "vsr/replica_internal.h"


/* ---- Asking ---------------------------------------------------------------------------------- */

void
replica_fetch(struct replica *replica)
{
    if (!replica_backup(replica) || replica->head_heard <= replica->linked) return;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (now - replica->grown_ns < REPLICA_ASK_AGAIN_NS) return;
    struct message *message = replica_message_new(replica, MESSAGE_GET_PREPARES);
    if (message == NULL) return;
    struct message_header *header = message->header;
    struct message_entry *entries = message_body(header);
    const uint64_t op_first = replica->journal->checkpoint.op;
    uint8_t count = 0;
    /* What isn't known to be of this view's log is asked for too, although it may be here. */
    for (uint64_t op = replica->linked; count < VIEW_HEADERS_MAX && op >= op_first; op--) {
        entries[count] = (struct message_entry){
            .checksum = replica_header(replica, op)->checksum,
            .op = op,
        };
        count += 1;
        if (op == 0) break;
    }
    header->size += (uint32_t) (count * sizeof(*entries));
    header->as.get_prepares.entry_count = count;
    header->as.get_prepares.bytes_wanted = replica->journal->prepares_size_bytes;
    if (replica_send(replica, replica_primary_slot(replica), message)) replica->grown_ns = now;
}

void
replica_on_absent(struct replica *replica, const struct message_header *header)
{
    const bool mine = replica_backup(replica) && header->view == replica->view &&
                      header->sender == replica_primary_slot(replica);
    if (mine && header->as.absent.asked == MESSAGE_GET_PREPARES &&
        header->op == replica->linked + 1) {
        replica->absent = true;
    }
}

/* ---- Giving ---------------------------------------------------------------------------------- */

static void
say_absent(struct replica *replica, uint8_t slot, uint64_t op)
{
    struct message *message = replica_message_new(replica, MESSAGE_ABSENT);
    replica->peers[slot].placed = false;
    if (message == NULL) return;
    struct message_header *header = message->header;
    header->op = op;
    header->checkpoint_op = replica->journal->checkpoint.op;
    header->as.absent.asked = MESSAGE_GET_PREPARES;
    header->as.absent.op_oldest = journal_op_oldest(replica->journal);
    (void) replica_send(replica, slot, message);
}

void
replica_on_get_prepares(
    struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const struct message_entry *entries = message_body_const(header);
    struct replica_peer *peer = &replica->peers[slot];
    if (!replica->primary || header->view != replica->view) return;
    for (uint32_t i = 0; i < header->as.get_prepares.entry_count; i++) {
        if (!replica_log_has(replica, entries[i].op, entries[i].checksum)) continue;
        peer->placed = true;
        peer->sent_op = entries[i].op;
        return;
    }
    say_absent(replica, slot, entries[0].op + 1);
}

/* Sends a prepare of this view's log; the reference is taken over. */
static bool
give(struct replica *replica, struct replica_peer *peer, struct message *message)
{
    const uint64_t op = replica_prepare_of(message)->op;
    if (!peer->up || !network_send(replica->network, peer->number, message)) {
        message_release(&replica->pool, message);
        return false;
    }
    peer->sent_op = op;
    return true;
}

static void
give_on_read(struct journal_reading *reading)
{
    struct replica_gift *gift = container_of(reading, struct replica_gift, reading);
    struct replica *replica = gift->replica;
    struct replica_peer *peer = &replica->peers[gift->slot];
    struct message *message = gift->message;
    const uint64_t op = reading->header.op;
    gift->message = NULL;
    const bool wanted = !gift->repair && replica->status == REPLICA_NORMAL && replica->primary &&
                        peer->placed && peer->sent_op + 1 == op;
    if (reading->result == JOURNAL_READ_OK && wanted) {
        replica_seal_prepare(replica, message, 0);
        (void) give(replica, peer, message);
        return;
    }
    if (reading->result == JOURNAL_READ_OK && gift->repair && peer->up) {
        replica_seal_prepare(replica, message, MESSAGE_REPAIR);
        if (network_send(replica->network, peer->number, message)) return;
    }
    message_release(&replica->pool, message);
    if (reading->result != JOURNAL_READ_OK && wanted) say_absent(replica, gift->slot, op);
}

/* Reads the prepare that the member needs; `repair`: which it has asked for by its checksum. */
static bool
give_begin_read(struct replica *replica, uint8_t slot, uint64_t op, bool repair)
{
    struct replica_gift *gift = &replica->peers[slot].gift;
    assert(op <= replica->journaled);
    if (gift->message != NULL) return false;
    struct message *message = message_pool_get(&replica->pool, MESSAGE_LARGE);
    if (message == NULL) return false;
    gift->replica = replica;
    gift->slot = slot;
    gift->repair = repair;
    gift->message = message;
    void *prepare = message_body(message->header);
    journal_read_begin(replica->journal, &gift->reading, op, prepare, give_on_read);
    return true;
}

void
replica_on_get_prepare(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const bool here = header->op <= replica->journaled &&
                      journal_find(replica->journal, header->op) != NULL &&
                      replica_log_has(replica, header->op, header->as.checksum.checksum);
    /* If it can't be read now, who asks will ask again. */
    if (here) (void) give_begin_read(replica, slot, header->op, true);
}

/* A prepare in memory, as a message of this view. NULL: it isn't there, or others hold it. */
static struct message *
give_from_memory(struct replica *replica, uint64_t op)
{
    struct message *message = replica_message(replica, op);
    if (message == NULL) return NULL;
    const struct message_header *header = message->header;
    const bool current = header->command == MESSAGE_PREPARE && header->view == replica->view &&
                         header->sender == replica->slot && header->flags == 0;
    if (!current && message->references > 1) return NULL;
    if (!current) replica_seal_prepare(replica, message, 0);
    return message_reference(message);
}

/* Gives the member one more prepare, if it may have one. */
static bool
give_next(struct replica *replica, uint8_t slot)
{
    struct replica_peer *peer = &replica->peers[slot];
    if (!peer->up || !peer->placed || peer->sent_op >= replica->op) return false;
    if (peer->sent_op >= peer->acked + PIPELINE_PREPARES_MAX) return false;
    const struct network_peer *connection = &replica->network->peers[peer->number];
    if (connection->queued_large >= REPLICA_LARGE_PER_PEER) return false;
    if (connection->queued == NETWORK_QUEUE_MAX) return false;
    const uint64_t op = peer->sent_op + 1;
    struct message *message = give_from_memory(replica, op);
    if (message != NULL) return give(replica, peer, message);
    if (op > replica->journaled) return false;
    if (journal_find(replica->journal, op) != NULL) {
        return give_begin_read(replica, slot, op, false);
    }
    say_absent(replica, slot, op);
    return true;
}

bool
replica_give(struct replica *replica)
{
    bool progress = false;
    if (!replica->primary) return false;
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        while (give_next(replica, slot)) progress = true;
    }
    return progress;
}
