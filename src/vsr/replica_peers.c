/* SPDX-License-Identifier: PostgreSQL */
/*
 * Connections to other members: who they are, what they are told when one begins and ends, and who
 * gets which message.
 *
 * The network knows peers by its own numbers. Which member it is, the hello says: its slot and its
 * incarnation must be those in the table of members, or the connection is ended. Who isn't a member
 * says that too, and is a guest. What was known of a member's log stays true when a connection ends
 * (V6); what was sent and not acknowledged is taken for lost.
 *
 * But who has a longer log may have been made a member by an op that this one hasn't got. It may
 * also be who was removed. So it is a *stranger*: it is told everything, and its votes lead to
 * views, and what it has as a view's primary is taken, since this log can't grow without; but it is
 * counted for nothing. When the log here has come as far, it is judged again.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* ---- Sending --------------------------------------------------------------------------------- */

struct message *
replica_message_new(struct replica *replica, enum message_command command)
{
    struct message *message = message_pool_get(&replica->pool, MESSAGE_SMALL);
    if (message == NULL) return NULL;
    struct message_header *header = message->header;
    header->cluster = replica->superblock->working->cluster;
    header->size = MESSAGE_HEADER_SIZE;
    header->view = replica->view;
    header->command = (uint8_t) command;
    header->sender = replica->slot;
    return message;
}

bool
replica_send(struct replica *replica, uint8_t slot, struct message *message)
{
    assert(slot < MEMBERS_MAX);
    const struct replica_peer *peer = &replica->peers[slot];
    if (peer->up) {
        message_seal(message->header, MESSAGE_VERSION_MAX);
        if (network_send(replica->network, peer->number, message)) return true;
    }
    message_release(&replica->pool, message);
    return false;
}

/* ---- Connections ----------------------------------------------------------------------------- */

void
replica_dismiss(struct replica *replica, uint8_t slot, const struct message_bye *bye)
{
    struct replica_peer *peer = &replica->peers[slot];
    if (!peer->up) return;
    network_close(replica->network, peer->number, bye, 0);
    /* `down` comes later, and nothing else. */
    replica->slots[peer->number] = REPLICA_NO_SLOT;
    peer->up = false;
    peer->stranger = false;
    peer->placed = false;
}

void
replica_uncount(struct replica *replica, uint8_t slot)
{
    struct replica_peer *peer = &replica->peers[slot];
    struct replica_change *change = replica->change;
    assert(!peer->up);
    replica_requests_drop(replica, slot);
    peer->heard_ns = 0;
    peer->acked = 0;
    peer->round = 0;
    peer->taken_over = false;
    change->suspected_ns[slot] = 0;
    change->left_ns[slot] = 0;
    change->voted[slot] = false;
}

/* What was known of who had the slot before isn't true of this one. */
static void
forget_former(struct replica *replica, uint8_t slot)
{
    replica_uncount(replica, slot);
    replica->peers[slot].refused_first = 0;
}

static void
on_hello(void *context, struct message_header *header)
{
    struct replica *replica = context;
    const struct superblock_state *state = replica->superblock->working;
    struct message_hello *hello = message_body(header);
    struct fence_claim claim;
    char name[MESSAGE_NAME_SIZE]; /* The network knows it. */
    memcpy(name, hello->name, sizeof(name));
    replica_fences_claim(replica, &claim);
    header->cluster = state->cluster;
    header->view = claim.view;
    header->sender = replica->slot;
    header->flags = claim.uncertain ? MESSAGE_UNCERTAIN : 0;
    header->op = min_u64(replica->journaled, replica->linked);
    *hello = (struct message_hello){
        .incarnation = state->incarnation,
        .session = replica->session,
        .fingerprint = CONFIG_FINGERPRINT,
        .prepares_size_bytes = state->prepares_size_bytes,
        .fence = claim.fence,
        .fence_next = claim.fence_next,
        .record_op = claim.record_op,
        .acked_op = claim.acked_op,
        .log_view = claim.log_view,
        .version_min = MESSAGE_VERSION_MIN,
        .version_max = MESSAGE_VERSION_MAX,
    };
    memcpy(hello->name, name, sizeof(name));
}

void
replica_judge_strangers(struct replica *replica)
{
    static const struct message_bye unknown = {.reason = MESSAGE_BYE_INCARNATION};
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        struct replica_peer *peer = &replica->peers[slot];
        if (!peer->up || !peer->stranger) continue;
        const struct member *known = &replica->membership->now.slots[slot];
        if (known->incarnation == peer->incarnation) {
            peer->stranger = false;
            if (replica->serving) replica_requests_begin(replica, slot);
        } else if (peer->hello_op <= replica->op && !replica_newcomer(replica)) {
            replica_dismiss(replica, slot, &unknown);
        }
    }
}

static bool
on_second(void *context, const struct message_header *header, struct message_bye *bye)
{
    return replica_fences_refuse(context, header, bye);
}

static void
on_up(void *context, uint32_t number, const struct message_header *header)
{
    struct replica *replica = context;
    const struct message_hello *hello = message_body_const(header);
    const uint8_t slot = header->sender;
    if (slot == MESSAGE_SENDER_GUEST) {
        replica_guest_up(replica, number, hello);
        return;
    }
    struct message_bye bye = {.reason = MESSAGE_BYE_INCARNATION};
    if (replica_fences_refuse(replica, header, &bye)) {
        network_close(replica->network, number, &bye, 0);
        return;
    }
    const struct member *known = &replica->membership->now.slots[slot % MEMBERS_MAX];
    const bool named = known->role != MEMBER_NONE && known->incarnation == hello->incarnation;
    const bool ahead = replica_newcomer(replica) || header->op > replica->op;
    const bool member = slot < MEMBERS_MAX && slot != replica->slot && (named || ahead);
    /* What a former life has sent may still be on its way (V9). */
    const bool former = member && replica->peers[slot].incarnation == hello->incarnation &&
                        hello->session < replica->peers[slot].session;
    if (member && named && replica->peers[slot].stranger) replica_dismiss(replica, slot, &bye);
    if (!member || former || replica->peers[slot].up) {
        if (member) bye.reason = MESSAGE_BYE_CONNECTED;
        network_close(replica->network, number, &bye, 0);
        return;
    }
    struct replica_peer *peer = &replica->peers[slot];
    if (peer->incarnation != hello->incarnation) forget_former(replica, slot);
    if (peer->session != hello->session) {
        peer->refused_first = 0;
        if (peer->wish.stage == REPLICA_WISH_ANSWERED) peer->wish_number = 0;
    }
    peer->up = true;
    peer->stranger = !named;
    peer->hello_op = header->op;
    peer->number = (uint8_t) number;
    peer->session = hello->session;
    peer->incarnation = hello->incarnation;
    peer->placed = false;
    peer->read_asked = false;
    replica->slots[number] = slot;
    replica_fences_heard_hello(replica, header);
    if (replica->serving && named) replica_requests_begin(replica, slot);
    /* A primary is told at once how far the log goes here, and gets all that it may have lost. */
    replica->ack_due = true;
    const bool to_primary = slot == replica_primary_slot(replica) && replica_backup(replica);
    if (to_primary) replica_requests_unsend(replica);
    /* It may have to hear a vote. */
    replica->change->voted_ns = 0;
    replica->reads.asked_ns = 0;
}

static void
on_down(void *context, uint32_t number, const struct message_header *bye)
{
    struct replica *replica = context;
    const uint8_t slot = replica->slots[number];
    if (bye != NULL) replica_fences_told(replica, message_body_const(bye));
    replica_guest_down(replica, number);
    if (slot == REPLICA_NO_SLOT) return; /* It was never taken for a member. */
    struct replica_peer *peer = &replica->peers[slot];
    assert(peer->up && peer->number == number);
    peer->up = false;
    peer->stranger = false;
    peer->placed = false;
    replica->slots[number] = REPLICA_NO_SLOT;
}

static void
on_sent(void *context, uint32_t number, struct message *message, bool whole)
{
    struct replica *replica = context;
    (void) number;
    (void) whole;
    message_release(&replica->pool, message);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

/* Of what a stranger says, this is taken: a way to newer views, and to what their logs have. */
static bool
taken_of_stranger(const struct message_header *header)
{
    switch ((enum message_command) header->command) {
    case MESSAGE_PREPARE:
    case MESSAGE_COMMIT:
    case MESSAGE_REFUSE:
    case MESSAGE_ABSENT:
    case MESSAGE_READ_OK:
    case MESSAGE_DO_VIEW_CHANGE:
    case MESSAGE_START_VIEW:
    case MESSAGE_GET_PREPARE:
    case MESSAGE_WISH_ANSWER: return true;
    case MESSAGE_SUSPECT: return (header->flags & MESSAGE_RESIGN) != 0;
    case MESSAGE_REQUEST:
    case MESSAGE_WISH:
    case MESSAGE_PREPARE_OK:
    case MESSAGE_GET_PREPARES:
    case MESSAGE_GET_VIEW:
    case MESSAGE_READ_INDEX:
    case MESSAGE_HELLO:
    case MESSAGE_BYE:
    case MESSAGE_GET_BLOCKS:
    case MESSAGE_BLOCK:
    case MESSAGE_GET_CHECKPOINT:
    case MESSAGE_CHECKPOINT:
    case MESSAGE_NODE_RECORD:
    case MESSAGE_RESERVED: break;
    }
    return false;
}

/* Gives the message to who knows it; the reference is taken over. */
static void
dispatch(struct replica *replica, uint8_t slot, struct message *message)
{
    const struct message_header *header = message->header;
    switch ((enum message_command) header->command) {
    case MESSAGE_PREPARE: replica_on_prepare(replica, message); return;
    case MESSAGE_REQUEST: replica_on_request(replica, slot, message); return;
    case MESSAGE_PREPARE_OK: replica_on_prepare_ok(replica, slot, header); break;
    case MESSAGE_COMMIT: replica_on_commit(replica, header); break;
    case MESSAGE_REFUSE: replica_on_refuse(replica, header); break;
    case MESSAGE_GET_PREPARES: replica_on_get_prepares(replica, slot, header); break;
    case MESSAGE_ABSENT: replica_on_absent(replica, header); break;
    case MESSAGE_READ_INDEX: replica_on_read_index(replica, slot, header); break;
    case MESSAGE_READ_OK: replica_on_read_ok(replica, header); break;
    case MESSAGE_SUSPECT: replica_on_suspect(replica, slot, header); break;
    case MESSAGE_DO_VIEW_CHANGE: replica_on_do_view_change(replica, slot, header); break;
    case MESSAGE_START_VIEW: replica_on_start_view(replica, slot, message); return;
    case MESSAGE_GET_VIEW: replica_on_get_view(replica, slot, header); break;
    case MESSAGE_GET_PREPARE: replica_on_get_prepare(replica, slot, header); break;
    case MESSAGE_WISH: replica_on_wish(replica, slot, header); break;
    case MESSAGE_WISH_ANSWER: replica_on_wish_answer(replica, slot, header); break;
    case MESSAGE_NODE_RECORD: replica_on_node_record(replica, slot, header); break;
    /* The network has seen to the first two; nobody sends the others yet. */
    case MESSAGE_HELLO:
    case MESSAGE_BYE:
    case MESSAGE_GET_BLOCKS:
    case MESSAGE_BLOCK:
    case MESSAGE_GET_CHECKPOINT:
    case MESSAGE_CHECKPOINT:
    case MESSAGE_RESERVED: break;
    }
    message_release(&replica->pool, message);
}

static void
on_received(void *context, uint32_t number, struct message *message)
{
    struct replica *replica = context;
    const struct message_header *header = message->header;
    const uint8_t slot = replica->slots[number];
    const bool known = slot != REPLICA_NO_SLOT && header->sender == slot &&
                       header->cluster == replica->superblock->working->cluster &&
                       header->view <= UINT32_MAX - MEMBERS_MAX; /* There is a next view. */
    const bool working =
        replica->status == REPLICA_NORMAL || replica->status == REPLICA_VIEW_CHANGE;
    const bool counts = known && (!replica->peers[slot].stranger || taken_of_stranger(header));
    if (!counts || !working) {
        message_release(&replica->pool, message);
        return;
    }
    replica->peers[slot].heard_ns = clock_monotonic_ns(replica->clock);
    dispatch(replica, slot, message);
}

static const struct network_callbacks callbacks = {
    .hello = on_hello,
    .refuses = on_second,
    .up = on_up,
    .down = on_down,
    .received = on_received,
    .sent = on_sent,
};

void
replica_connect(struct replica *replica)
{
    struct network *network = replica->network;
    assert(network != NULL);
    network->callbacks = &callbacks;
    network->context = replica;
    network->pool = &replica->pool;
}
