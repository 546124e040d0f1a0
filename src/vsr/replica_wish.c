/* SPDX-License-Identifier: PostgreSQL */
/*
 * Wishes to change the members, from any member to the primary.
 *
 *     a backup                                     the primary
 *     a wish comes     ── wish, its number ──→     replica_members_wish
 *       asked again, under the same number …         is it under way? is it answered?
 *     answered         ←── outcome ───────────     made, committed, executed; or why not
 *
 * A member asks for one wish at a time. The primary remembers the newest one of each member in this
 * life of both, so that one that comes twice isn't done twice. If the view ends meanwhile, or the
 * primary isn't heard any more, nobody knows here whether it is in the log: the outcome is unknown,
 * and whoever has asked looks.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* ---- Who asks -------------------------------------------------------------------------------- */

static void
finish(struct replica *replica, enum replica_wish_outcome outcome)
{
    struct replica_membership *membership = replica->membership;
    struct replica_wish *wish = membership->sent;
    membership->sent = NULL;
    wish->stage = REPLICA_WISH_ANSWERED;
    wish->outcome = outcome;
    wish->callback(wish);
}

static void
say_wish(struct replica *replica)
{
    struct replica_membership *membership = replica->membership;
    const struct replica_wish *wish = membership->sent;
    membership->sent_ns = clock_monotonic_ns(replica->clock);
    struct message *message = replica_message_new(replica, MESSAGE_WISH);
    if (message == NULL) return;
    message->header->round = membership->sent_number;
    message->header->as.wish.adds = wish->kind == REPLICA_WISH_ADD;
    memcpy(message->header->as.wish.name, wish->name, MEMBER_NAME_MAX);
    (void) replica_send(replica, replica_primary_slot(replica), message);
}

void
replica_wish_send(struct replica *replica, struct replica_wish *wish)
{
    struct replica_membership *membership = replica->membership;
    const bool reachable =
        replica_backup(replica) && replica->peers[replica_primary_slot(replica)].up;
    enum replica_wish_outcome outcome = REPLICA_WISH_DONE;
    if (membership->sent != NULL) outcome = REPLICA_WISH_BUSY;
    if (!reachable) outcome = REPLICA_WISH_NOT_PRIMARY;
    if (wish->kind == REPLICA_WISH_CREATE) outcome = REPLICA_WISH_EXISTS;
    if (outcome != REPLICA_WISH_DONE) {
        wish->stage = REPLICA_WISH_ANSWERED;
        wish->outcome = outcome;
        wish->callback(wish);
        return;
    }
    membership->sent = wish;
    membership->sent_number += 1;
    wish->stage = REPLICA_WISH_SENT;
    say_wish(replica);
}

void
replica_wish_tick(struct replica *replica)
{
    const struct replica_membership *membership = replica->membership;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (membership->sent == NULL) return;
    if (!replica_led(replica)) {
        finish(replica, REPLICA_WISH_FAILED);
    } else if (now - membership->sent_ns >= REPLICA_ASK_AGAIN_NS) {
        say_wish(replica);
    }
}

void
replica_wish_leave(struct replica *replica)
{
    if (replica->membership->sent != NULL) finish(replica, REPLICA_WISH_FAILED);
}

/* A newer primary may have outcomes that this member doesn't know, or not of such a wish. */
static enum replica_wish_outcome
known_outcome(const struct replica_wish *wish, uint8_t outcome)
{
    bool known = false;
    switch (outcome) {
    case REPLICA_WISH_DONE:
    case REPLICA_WISH_NOT_PRIMARY:
    case REPLICA_WISH_BUSY:
    case REPLICA_WISH_UNKNOWN:
    case REPLICA_WISH_NOT_CLUSTER:
    case REPLICA_WISH_NO_ROOM: known = true; break;
    case REPLICA_WISH_EXISTS:
    case REPLICA_WISH_FULL:
    case REPLICA_WISH_LOG: known = wish->kind == REPLICA_WISH_ADD; break;
    case REPLICA_WISH_SELF: known = wish->kind == REPLICA_WISH_REMOVE; break;
    default: break;
    }
    return known ? (enum replica_wish_outcome) outcome : REPLICA_WISH_FAILED;
}

void
replica_on_wish_answer(
    struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const struct replica_membership *membership = replica->membership;
    const bool mine = replica_backup(replica) && header->view == replica->view &&
                      slot == replica_primary_slot(replica) && membership->sent != NULL &&
                      header->round == membership->sent_number;
    if (mine) finish(replica, known_outcome(membership->sent, header->as.wish_answer.outcome));
}

/* ---- The primary ----------------------------------------------------------------------------- */

static void
say_answer(struct replica *replica, uint8_t slot)
{
    const struct replica_peer *peer = &replica->peers[slot];
    struct message *message = replica_message_new(replica, MESSAGE_WISH_ANSWER);
    if (message == NULL) return; /* It asks again. */
    message->header->round = peer->wish_number;
    message->header->as.wish_answer.outcome = (uint8_t) peer->wish.outcome;
    (void) replica_send(replica, slot, message);
}

static void
on_outcome(struct replica_wish *wish)
{
    struct replica_peer *peer = container_of(wish, struct replica_peer, wish);
    say_answer(peer->replica, (uint8_t) (peer - peer->replica->peers));
}

void
replica_on_wish(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    struct replica_peer *peer = &replica->peers[slot];
    const bool under_way =
        peer->wish_number != 0 && peer->wish.stage != REPLICA_WISH_ANSWERED;
    if (!replica->primary || header->view != replica->view) return;
    if (header->round == peer->wish_number && !under_way) say_answer(replica, slot);
    /* One that it has given up may be under way still; it asks again. */
    if (header->round <= peer->wish_number || under_way) return;
    peer->replica = replica;
    peer->wish_number = header->round;
    peer->wish = (struct replica_wish){
        .kind = header->as.wish.adds ? REPLICA_WISH_ADD : REPLICA_WISH_REMOVE,
        .callback = on_outcome,
    };
    memcpy(peer->wish.name, header->as.wish.name, MEMBER_NAME_MAX);
    replica_members_wish(replica, &peer->wish);
}
