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

static uint64_t
gift_op(const struct replica_gift *gift)
{
    return gift->reading.header.op;
}

/* Is it of this view's log, and one that the member may be sent next or soon? */
static bool
gift_wanted(const struct replica *replica, const struct replica_gift *gift)
{
    const struct replica_peer *peer = &replica->peers[gift->slot];
    if (replica->status != REPLICA_NORMAL || !replica->primary) return false;
    if (!peer->up || !peer->placed || gift_op(gift) <= peer->sent_op) return false;
    return replica_log_has(replica, gift_op(gift), gift->reading.header.checksum);
}

static void
gift_on_read(struct journal_reading *reading)
{
    struct replica_gift *gift = container_of(reading, struct replica_gift, reading);
    struct replica *replica = gift->replica;
    struct replica_peer *peer = &replica->peers[gift->slot];
    struct message *message = gift->message;
    const bool whole = reading->result == JOURNAL_READ_OK;
    if (whole && !gift->repair && gift_wanted(replica, gift)) {
        gift->whole = true; /* It is sent in its turn. */
        return;
    }
    gift->message = NULL;
    if (whole && gift->repair && peer->up) {
        replica_seal_prepare(replica, message, MESSAGE_REPAIR);
        if (network_send(replica->network, peer->number, message)) return;
    }
    message_release(&replica->pool, message);
    if (whole || gift->repair || !gift_wanted(replica, gift)) return;
    if (gift_op(gift) == peer->sent_op + 1) say_absent(replica, gift->slot, gift_op(gift));
}

/* The gift that is read for this op, or was. NULL: there is none. */
static struct replica_gift *
gift_find(struct replica *replica, uint8_t slot, uint64_t op)
{
    for (uint32_t i = 0; i < REPLICA_GIFTS; i++) {
        struct replica_gift *gift = &replica->peers[slot].gifts[i];
        if (gift->message != NULL && !gift->repair && gift_op(gift) == op) return gift;
    }
    return NULL;
}

/* Of the large buffers, one is enough for each member: it is the disk that large reads wait for. */
static bool
gift_has_large(const struct replica_peer *peer)
{
    for (uint32_t i = 0; i < REPLICA_GIFTS; i++) {
        const struct message *message = peer->gifts[i].message;
        if (message != NULL && message->class == MESSAGE_LARGE) return true;
    }
    return false;
}

/* Begins to read a prepare for the member; `repair`: which it has asked for by its checksum. */
static bool
gift_begin(struct replica *replica, uint8_t slot, uint64_t op, bool repair)
{
    struct replica_peer *peer = &replica->peers[slot];
    const struct prepare_header *header = journal_find(replica->journal, op);
    assert(op <= replica->journaled && header != NULL);
    const uint32_t size = MESSAGE_HEADER_SIZE + (uint32_t) prepare_size_on_disk(header);
    const enum message_class class = message_class_for(size);
    if (class == MESSAGE_LARGE && gift_has_large(peer)) return false;
    struct replica_gift *gift = peer->gifts;
    while (gift < peer->gifts + REPLICA_GIFTS && gift->message != NULL) gift += 1;
    if (gift == peer->gifts + REPLICA_GIFTS) return false;
    struct message *message = message_pool_get(&replica->pool, class);
    if (message == NULL) return false;
    gift->replica = replica;
    gift->slot = slot;
    gift->repair = repair;
    gift->whole = false;
    gift->message = message;
    void *prepare = message_body(message->header);
    journal_read_begin(replica->journal, &gift->reading, op, prepare, gift_on_read);
    return true;
}

void
replica_on_get_prepare(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const bool here = header->op <= replica->journaled &&
                      journal_find(replica->journal, header->op) != NULL &&
                      replica_log_has(replica, header->op, header->as.checksum.checksum);
    /* If it can't be read now, who asks will ask again. */
    if (here) (void) gift_begin(replica, slot, header->op, true);
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

/*
 * Begins to read one more of those that the member may be sent, and memory hasn't. They are read
 * side by side, so that the disk's time is spent once for all of them.
 */
static bool
read_ahead(struct replica *replica, uint8_t slot)
{
    const struct replica_peer *peer = &replica->peers[slot];
    const uint64_t op_last = min_u64(peer->acked + PIPELINE_PREPARES_MAX, replica->journaled);
    for (uint64_t op = peer->sent_op + 1; op <= op_last; op++) {
        if (gift_find(replica, slot, op) != NULL) continue;
        if (replica_message(replica, op) != NULL && op != peer->sent_op + 1) return false;
        if (journal_find(replica->journal, op) == NULL) return false;
        return gift_begin(replica, slot, op, false);
    }
    return false;
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
    struct replica_gift *gift = gift_find(replica, slot, op);
    if (gift != NULL && gift->whole) {
        struct message *message = gift->message;
        gift->message = NULL;
        replica_seal_prepare(replica, message, 0);
        return give(replica, peer, message);
    }
    struct message *message = gift == NULL ? give_from_memory(replica, op) : NULL;
    if (message != NULL) return give(replica, peer, message);
    if (op > replica->journaled) return false;
    if (gift != NULL || journal_find(replica->journal, op) != NULL) {
        return read_ahead(replica, slot);
    }
    say_absent(replica, slot, op);
    return true;
}

void
replica_gifts_drop(struct replica *replica, uint8_t slot)
{
    for (uint32_t i = 0; i < REPLICA_GIFTS; i++) {
        struct replica_gift *gift = &replica->peers[slot].gifts[i];
        if (gift->message == NULL || !gift->whole || gift_wanted(replica, gift)) continue;
        message_release(&replica->pool, gift->message);
        gift->message = NULL;
    }
}

bool
replica_give(struct replica *replica)
{
    bool progress = false;
    if (!replica->primary || replica->network == NULL) return false;
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        replica_gifts_drop(replica, slot);
        while (give_next(replica, slot)) progress = true;
    }
    return progress;
}
