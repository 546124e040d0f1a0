/* SPDX-License-Identifier: PostgreSQL */
/*
 * When to leave a view: its primary isn't heard any more, by so many that they can begin another.
 *
 * A member that hears nothing of the primary for its timeout says so to all (`suspect`), again and
 * again, and goes on working in the view. When a quorum of the voters has said so, all within one
 * timeout, each goes to the next view. So a member that can send but not hear disturbs nobody: the
 * others hear the primary, and don't agree. Timeouts are drawn anew each time, so that members
 * rarely begin at the same moment.
 *
 * Who has voted for a newer view, or suspects the primary of one, never comes back by itself: it
 * has left this one on its disk. That counts as its suspicion. And a primary that hears of it for
 * two timeouts goes there too, or that member would be lost for this view.
 *
 * A primary *resigns* where others would do better without it, though they hear it: `suspect` with
 * a flag, after which everyone who gets it goes to the next view at once. It does so
 *  - when it is asked to (a planned end), and a quorum answers. It goes along itself.
 *  - when no quorum has answered for a timeout: it may be that others hear it, and it doesn't hear
 *    them. It may also be that it is cut off from all, and then the others have another primary;
 *    so it suspects itself, but goes only when enough others have gone (their votes tell).
 *  - when its own disk hasn't finished an append for a timeout, and a quorum of others has. Where
 *    their disks stand still too, nobody does better.
 * The last two not more often than once in two timeouts, so that a long way, or slow disks
 * everywhere, don't make views change all the time.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* A timeout of ± 25 %, which differs from member to member and from time to time. */
static void
draw_timeout(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const uint64_t timeout = replica->failover_timeout_ns;
    change->draws += 1;
    const uint64_t seed = replica->session ^ change->draws * UINT64_C(0x9e3779b97f4a7c15);
    const uint64_t mixed = seed * UINT64_C(0xff51afd7ed558ccd);
    change->timeout_ns = timeout / 4 * 3 + (mixed >> 32) % (timeout / 2);
}

void
replica_suspect_reset(struct replica *replica)
{
    struct replica_change *change = replica->change;
    memset(change->suspected_ns, 0, sizeof(change->suspected_ns));
    memset(change->left_ns, 0, sizeof(change->left_ns));
    change->said_ns = 0;
    replica_heard_primary(replica);
    change->resigned_ns = change->heard_ns;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        replica->peers[slot].answered_ns = change->heard_ns;
    }
}

void
replica_heard_primary(struct replica *replica)
{
    struct replica_change *change = replica->change;
    change->heard_ns = clock_monotonic_ns(replica->clock);
    change->suspected_ns[replica->slot] = 0;
    draw_timeout(replica);
}

/* Has the member answered this primary not long ago? */
static bool
answers(const struct replica *replica, uint32_t slot, uint64_t now)
{
    assert(replica->primary);
    if (slot == replica->slot) return true;
    return now - replica->peers[slot].answered_ns < replica->failover_timeout_ns;
}

/* Are these slots a quorum of the voters? */
static bool
is_quorum(const struct replica *replica, uint32_t slots)
{
    const uint32_t count = members_voter_count((uint16_t) (replica->voters & slots));
    return count >= members_quorum(members_voter_count(replica->voters));
}

static bool
quorum_answers(const struct replica *replica, uint64_t now)
{
    uint32_t slots = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        slots |= (uint32_t) answers(replica, slot, now) << slot;
    }
    return is_quorum(replica, slots);
}

bool
replica_reaches_quorum(const struct replica *replica)
{
    assert(replica->primary);
    if (replica->network == NULL) return true;
    uint32_t slots = UINT32_C(1) << replica->slot;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        slots |= (uint32_t) replica->peers[slot].up << slot;
    }
    return is_quorum(replica, slots);
}

bool
replica_led(const struct replica *replica)
{
    if (replica->network == NULL) return true;
    if (replica->status != REPLICA_NORMAL) return false;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (replica->primary) return replica->serving && quorum_answers(replica, now);
    return now - replica->change->heard_ns < replica->failover_timeout_ns;
}

bool
replica_calls_wait(const struct replica *replica)
{
    return !replica_led(replica) || replica->no_room;
}

/* Have enough of the voters said, not long ago, that they don't hear the primary? */
static bool
quorum_suspects(const struct replica *replica, uint64_t now)
{
    const struct replica_change *change = replica->change;
    uint32_t slots = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const uint64_t said = change->suspected_ns[slot];
        const bool fresh = said != 0 && now - said <= replica->failover_timeout_ns;
        slots |= (uint32_t) fresh << slot;
    }
    return is_quorum(replica, slots);
}

/*
 * A standby begins nothing by itself: it isn't counted, and may not know yet who is. But it may
 * have become a voter with an op that it hasn't got, and then it is needed: so if it doesn't hear
 * the primary either, it goes along with a vote (replica_suspect_vote).
 */
static void
leave_if_agreed(struct replica *replica, uint64_t now)
{
    if (!replica_votes(replica)) return;
    if (!quorum_suspects(replica, now)) return;
    replica_view_enter(replica, members_next_view(replica->voters, replica->view));
}

/* Says to all that this view should end. A primary that resigns names the next one; else 0. */
static void
say_suspect(struct replica *replica, uint32_t view_next)
{
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (!replica->peers[slot].up) continue;
        struct message *message = replica_message_new(replica, MESSAGE_SUSPECT);
        if (message == NULL) continue;
        if (view_next != 0) message->header->flags |= MESSAGE_RESIGN;
        message->header->as.suspect.view_next = view_next;
        (void) replica_send(replica, slot, message);
    }
}

/* ---- The primary ----------------------------------------------------------------------------- */

/* The next view of a voter that has answered not long ago. 0: no other one has. */
static uint32_t
successor_view(const struct replica *replica, uint64_t now)
{
    uint32_t view = replica->view;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        view = members_next_view(replica->voters, view);
        const uint32_t slot = members_view_slot(view);
        if (slot != replica->slot && answers(replica, slot, now)) return view;
    }
    return 0;
}

bool
replica_resign(struct replica *replica)
{
    if (replica->network == NULL || replica->status != REPLICA_NORMAL) return false;
    if (!replica->primary) return false;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    const uint32_t view = quorum_answers(replica, now) ? successor_view(replica, now) : 0;
    if (view == 0) return false;
    say_suspect(replica, view);
    replica_view_enter(replica, view);
    return true;
}

/* Has a quorum of others an op on disk that is being written here, for longer than a timeout? */
static bool
disk_stands(const struct replica *replica, uint64_t now)
{
    if (replica->commit_max <= replica->journaled || !journal_busy(replica->journal)) return false;
    return now - replica->change->append_ns >= replica->failover_timeout_ns;
}

/* Lets others go on without this primary, if it can't do its work. */
static void
resign_if_useless(struct replica *replica, uint64_t now)
{
    struct replica_change *change = replica->change;
    if (quorum_answers(replica, now) && !disk_stands(replica, now)) return;
    if ((replica->voters & ~(1U << replica->slot)) == 0) return;
    /* When others vote for a newer view, it will agree. */
    change->suspected_ns[replica->slot] = now;
    if (now - change->resigned_ns < 2 * replica->failover_timeout_ns) return;
    change->resigned_ns = now;
    const uint32_t view = successor_view(replica, now);
    say_suspect(replica, view != 0 ? view : members_next_view(replica->voters, replica->view));
}

/* A primary that a member has left for good goes after it. */
static void
follow_who_left(struct replica *replica, uint64_t now)
{
    const struct replica_change *change = replica->change;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (change->left_ns[slot] == 0) continue;
        /* Without its vote the cluster works on; so it isn't worth much of a disturbance. */
        const uint64_t patience = (replica->voters >> slot & 1) != 0 ? 2 : 20;
        if (now - change->left_ns[slot] < patience * replica->failover_timeout_ns) continue;
        if (now - change->suspected_ns[slot] > replica->failover_timeout_ns) continue;
        replica_view_enter(replica, change->left_view[slot]);
        return;
    }
}

void
replica_suspect_tick(struct replica *replica)
{
    struct replica_change *change = replica->change;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (replica->status != REPLICA_NORMAL) return;
    if (replica->primary) {
        resign_if_useless(replica, now);
        follow_who_left(replica, now);
        return;
    }
    if (now - change->heard_ns < change->timeout_ns) return;
    change->suspected_ns[replica->slot] = now;
    if (now - change->said_ns >= REPLICA_HEARTBEAT_NS) {
        change->said_ns = now;
        say_suspect(replica, 0);
    }
    leave_if_agreed(replica, now);
}

void
replica_on_suspect(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    if (replica->status == REPLICA_NORMAL && header->view > replica->view) {
        /* It works in a newer view, so it has left this one, though nobody may lead that. */
        replica_suspect_vote(replica, slot, header->view);
        return;
    }
    const bool here = replica->status == REPLICA_NORMAL && header->view == replica->view;
    if (!here || replica->primary) return;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if ((header->flags & MESSAGE_RESIGN) != 0 && slot == replica_primary_slot(replica)) {
        const uint32_t view = header->as.suspect.view_next;
        const bool follows = view <= UINT32_MAX - MEMBERS_MAX && replica_votes(replica);
        if (follows) replica_view_enter(replica, view);
        return;
    }
    replica->change->suspected_ns[slot] = now;
    leave_if_agreed(replica, now);
    /* Who is cut off from the primary alone follows it through others, as far as it has the log. */
    if (replica_led(replica)) replica_say_commit(replica, slot);
}

void
replica_suspect_vote(struct replica *replica, uint8_t slot, uint32_t view)
{
    struct replica_change *change = replica->change;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    assert(replica->status == REPLICA_NORMAL && view > replica->view);
    const bool alone = replica->primary ? !quorum_answers(replica, now)
                                        : now - change->heard_ns >= change->timeout_ns;
    if (replica->peers[slot].stranger) {
        /* It may be one of those who count, in a log that has gone on without this node. */
        if (alone) replica_view_enter(replica, view);
        return;
    }
    if (change->left_ns[slot] == 0) change->left_ns[slot] = now;
    change->left_view[slot] = view;
    change->suspected_ns[slot] = now;
    if (!replica->primary && !replica_votes(replica) && alone) {
        replica_view_enter(replica, view);
    } else {
        leave_if_agreed(replica, now);
    }
}
