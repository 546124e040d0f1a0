/* SPDX-License-Identifier: PostgreSQL */
/* The cluster as the host sees it: changes of the members, what is known of them, and guests. */
#include <string.h>

#include "base/arena.h"
#include "engine/internal.h"
#include "vsr/guest.h"

/* ---- Changes --------------------------------------------------------------------------------- */

static enum engine_change_result
change_result(enum replica_wish_outcome outcome)
{
    static const enum engine_change_result results[] = {
        [REPLICA_WISH_DONE] = ENGINE_CHANGE_DONE,
        [REPLICA_WISH_NOT_PRIMARY] = ENGINE_CHANGE_NOT_PRIMARY,
        [REPLICA_WISH_BUSY] = ENGINE_CHANGE_BUSY,
        [REPLICA_WISH_EXISTS] = ENGINE_CHANGE_EXISTS,
        [REPLICA_WISH_UNKNOWN] = ENGINE_CHANGE_UNKNOWN,
        [REPLICA_WISH_FULL] = ENGINE_CHANGE_FULL,
        [REPLICA_WISH_LOG] = ENGINE_CHANGE_LOG,
        [REPLICA_WISH_SELF] = ENGINE_CHANGE_SELF,
        [REPLICA_WISH_NOT_CLUSTER] = ENGINE_CHANGE_NOT_CLUSTER,
        [REPLICA_WISH_NO_ROOM] = ENGINE_CHANGE_NO_ROOM,
        [REPLICA_WISH_FAILED] = ENGINE_CHANGE_FAILED,
    };
    assert(outcome < sizeof(results) / sizeof(results[0]));
    return results[outcome];
}

static void
change_on_outcome(struct replica_wish *wish)
{
    struct engine_change *change = container_of(wish, struct engine_change, wish);
    change->result = change_result(wish->outcome);
    change->callback(change);
}

static enum replica_wish_kind
wish_kind(const struct engine_change *change)
{
    switch ((enum engine_change_kind) change->kind) {
    case ENGINE_CHANGE_CREATE: return REPLICA_WISH_CREATE;
    case ENGINE_CHANGE_ADD: return REPLICA_WISH_ADD;
    case ENGINE_CHANGE_REMOVE: return REPLICA_WISH_REMOVE;
    case ENGINE_CHANGE_STEP_DOWN: break;
    }
    unreachable();
}

void
engine_change_members(struct engine *engine, struct engine_change *change)
{
    assert(engine->options.network != NULL);
    assert(change->callback != NULL);
    change->wish = (struct replica_wish){
        .kind = wish_kind(change),
        .callback = change_on_outcome,
    };
    memcpy(change->wish.name, change->name, sizeof(change->wish.name));
    replica_members_wish(&engine->replica, &change->wish);
}

bool
engine_change_cancel(struct engine *engine, struct engine_change *change)
{
    return replica_members_withdraw(&engine->replica, &change->wish);
}

/* ---- What is known --------------------------------------------------------------------------- */

static enum engine_member_state
own_state(const struct replica *replica)
{
    /* Who is cut off from a majority isn't what it was, as far as it can know. */
    if (!replica_led(replica)) return ENGINE_MEMBER_VIEW_CHANGE;
    if (replica->primary) return ENGINE_MEMBER_PRIMARY;
    if (replica->no_room) return ENGINE_MEMBER_NO_ROOM;
    if (replica->commit + PIPELINE_PREPARES_MAX < replica->head_heard) {
        return ENGINE_MEMBER_CATCHING_UP;
    }
    return ENGINE_MEMBER_BACKUP;
}

/* A member is let in once: a guest with its name isn't it, unless it is just coming. */
static bool
is_lost(const struct replica *replica, const struct member *entry)
{
    for (uint32_t number = 0; number < NETWORK_PEERS_MAX; number++) {
        const struct replica_guest *guest = &replica->membership->guests[number];
        if (guest->incarnation == 0 || guest->incarnation == entry->incarnation) continue;
        if (memcmp(guest->name, entry->name, MEMBER_NAME_MAX) == 0) return true;
    }
    return false;
}

static enum engine_member_state
peer_state(const struct replica *replica, uint8_t slot)
{
    const struct replica_peer *peer = &replica->peers[slot];
    if (!peer->up && peer->refused) return ENGINE_MEMBER_REFUSED;
    if (!peer->up || peer->stranger) {
        const struct member *entry = &replica->membership->now.slots[slot];
        return is_lost(replica, entry) ? ENGINE_MEMBER_LOST : ENGINE_MEMBER_UNREACHABLE;
    }
    if (replica->status != REPLICA_NORMAL) return ENGINE_MEMBER_VIEW_CHANGE;
    if (slot == members_view_slot(replica->view)) return ENGINE_MEMBER_PRIMARY;
    if (replica->primary && peer->acked + PIPELINE_PREPARES_MAX < replica->op) {
        return ENGINE_MEMBER_CATCHING_UP;
    }
    return ENGINE_MEMBER_BACKUP;
}

static void
put_member(const struct engine *engine, uint8_t slot, struct engine_member *member)
{
    const struct replica *replica = &engine->replica;
    const struct replica_peer *peer = &replica->peers[slot];
    const struct member *entry = &replica->membership->now.slots[slot];
    const bool self = slot == replica->slot;
    *member = (struct engine_member){
        .slot = slot,
        .role = entry->role,
        .self = self,
        .state = (uint8_t) (self ? own_state(replica) : peer_state(replica, slot)),
        .view = replica->view,
        .op = self ? replica->journaled : peer->acked,
        .heard_ns = UINT64_MAX,
    };
    memcpy(member->name, entry->name, MEMBER_NAME_MAX);
    if (self) {
        member->heard_ns = 0;
    } else if (peer->heard_ns != 0) {
        member->heard_ns = clock_monotonic_ns(engine->clock) - peer->heard_ns;
    }
}

static void
put_guest(const struct replica_guest *guest, struct engine_member *member)
{
    *member = (struct engine_member){
        .slot = MEMBERS_MAX,
        .state = ENGINE_MEMBER_GUEST,
        .heard_ns = UINT64_MAX,
    };
    memcpy(member->name, guest->name, MEMBER_NAME_MAX);
}

void
engine_cluster_get(const struct engine *engine, struct engine_cluster *cluster)
{
    const struct replica *replica = &engine->replica;
    const struct superblock_state *state = engine->superblock.working;
    *cluster = (struct engine_cluster){
        .cluster = state->cluster,
        .view = replica->view,
        .op = replica->op,
        .commit = replica->commit,
        .voters = members_voter_count(replica->voters),
        .primary = -1,
        .is_cluster = (state->flags & SUPERBLOCK_NOT_ALONE) != 0,
    };
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (replica->membership->now.slots[slot].role == MEMBER_NONE) continue;
        struct engine_member *member = &cluster->members[cluster->count];
        put_member(engine, slot, member);
        if (member->state == ENGINE_MEMBER_PRIMARY) cluster->primary = (int32_t) cluster->count;
        const bool here = member->self || engine_member_answers(member);
        cluster->reachable += here && member->role == MEMBER_VOTER;
        cluster->count += 1;
    }
    for (uint32_t number = 0; number < NETWORK_PEERS_MAX; number++) {
        const struct replica_guest *guest = &replica->membership->guests[number];
        if (guest->incarnation == 0) continue;
        put_guest(guest, &cluster->members[cluster->count]);
        cluster->count += 1;
    }
}

/* ---- Guests ---------------------------------------------------------------------------------- */

struct engine_guest {
    struct guest guest;
};

struct engine_guest *
engine_guest_create(const struct engine_guest_options *options)
{
    struct arena arena;
    const struct guest_options guest_options = {
        .network = options->network,
        .incarnation = options->incarnation,
        .session = options->session,
        .prepares_size_bytes = options->prepares_size_bytes,
    };
    arena_init(&arena, options->memory, ENGINE_GUEST_MEMORY);
    struct engine_guest *guest = arena_take(&arena, 1, sizeof(*guest), ARENA_ALIGNMENT);
    guest_init(&guest->guest, &arena, &guest_options);
    arena_seal(&arena);
    return guest;
}

bool
engine_guest_poll(struct engine_guest *guest, struct engine_welcome *welcome)
{
    if (!guest_poll(&guest->guest)) return false;
    *welcome = (struct engine_welcome){
        .identity =
            {
                .cluster = guest->guest.welcome.cluster,
                .incarnation = guest->guest.incarnation,
                .replica = guest->guest.welcome.slot,
                .replica_count = 1,
            },
        .root_incarnation = guest->guest.welcome.first_incarnation,
    };
    return true;
}

const char *
engine_guest_member(const struct engine_guest *guest)
{
    return guest_member(&guest->guest);
}
