/* SPDX-License-Identifier: PostgreSQL */
/*
 * Who the members are, as the log says: changes of the table are ops (PREPARE_NODE).
 *
 *     a wish (name, add, remove)      the primary's, one at a time
 *        │ all before it is committed; what comes waits for a moment
 *        ▼
 *     prepare in the log ──→ counts from here on: `now`, and the voters
 *        │ a quorum of the new voters has it
 *        ▼
 *     executed ────────────→ `committed`: what a checkpoint has; the wish is answered
 *
 * (V12) A change counts for each node from when its log has it, and no longer if the log is cut
 * before it. As everything before a change is committed when it is made, at most one change is not,
 * and only the newest can be cut. Several may be committed and not executed: `now` has them all,
 * and `before` all but the newest.
 *
 * How a node gets in: without a directory it is a *guest* (guest.h), which connects and waits. An
 * `add` makes it a standby, and it is told the number of its slot and the ledger's id. It makes its
 * directory, comes again as a member, and takes the log from its beginning. When it has come near
 * the head, the primary makes it a voter, which is another change.
 *
 * A node whose log hasn't come to its own `add` yet is a *newcomer*. It can't know who the others
 * are, so it takes each of them for what it says. That is harmless: it isn't a voter, so what it
 * says is counted by nobody.
 */
#include <string.h>

#include "vsr/replica_internal.h"

static const struct message_bye removed = {.reason = MESSAGE_BYE_REMOVED};

/* ---- As the log grows and is cut ------------------------------------------------------------- */

static const struct member_change *
change_of(const struct prepare_header *prepare)
{
    assert(prepare->operation == PREPARE_NODE);
    return (const struct member_change *) ((const uint8_t *) prepare + PREPARE_HEADER_SIZE);
}

void
replica_members_open(struct replica *replica)
{
    struct replica_membership *membership = replica->membership;
    membership->committed = replica->superblock->working->members;
    membership->now = membership->committed;
    replica->voters = replica->network == NULL ? members_voters(&membership->now)
                                               : replica->journal->head.voters;
}

void
replica_members_logged(struct replica *replica, const struct prepare_header *prepare)
{
    struct replica_membership *membership = replica->membership;
    replica->voters = prepare->voters;
    if (prepare->operation != PREPARE_NODE) return;
    assert(prepare->op > replica->commit);
    /* Those before it may not be executed, but they are committed (V12). */
    membership->before = membership->now;
    membership->change_op = prepare->op;
    const struct member_change *change = change_of(prepare);
    /* If it can't be made, executing it stops the replica. */
    if (!members_apply(&membership->now, change)) return;
    const uint8_t slot = change->slot;
    if (change->member.role == MEMBER_NONE) {
        replica_requests_drop(replica, slot);
    } else if (replica->peers[slot].incarnation != change->member.incarnation) {
        /* Who had the slot before may not know of its end yet. It isn't counted for this one. */
        replica_dismiss(replica, slot, &removed);
    }
    if (replica->status != REPLICA_RECOVERING) replica_judge_strangers(replica);
}

void
replica_members_cut(struct replica *replica)
{
    struct replica_membership *membership = replica->membership;
    replica->voters = replica_header(replica, replica->op)->voters;
    if (membership->change_op <= replica->op) return;
    membership->now = membership->before;
    membership->change_op = 0;
}

bool
replica_members_valid(const struct replica *replica, const struct prepare_header *prepare)
{
    struct members members = replica->membership->committed;
    if (!members_apply(&members, change_of(prepare))) return false;
    return members_voters(&members) == prepare->voters;
}

bool
replica_newcomer(const struct replica *replica)
{
    const struct member *self = &replica->membership->now.slots[replica->slot];
    return self->incarnation != replica->superblock->working->incarnation;
}

/* ---- Guests ---------------------------------------------------------------------------------- */

/* Tells a guest which member it is, so that it can make its directory. */
static void
welcome(struct replica *replica, uint32_t number, uint8_t slot)
{
    struct message *message = replica_message_new(replica, MESSAGE_CHECKPOINT);
    if (message == NULL) return;
    struct message_header *header = message->header;
    struct message_checkpoint *body = message_body(header);
    const struct superblock_state *state = replica->superblock->working;
    assert(state->first_incarnation != 0); /* It can be added to. */
    header->size += sizeof(*body);
    header->commit = replica->commit;
    header->as.receiver.slot = slot;
    memset(body, 0, sizeof(*body));
    /* The beginning of each ledger: its first member is alone, and has no name yet. */
    members_lone(&body->members, state->first_incarnation);
    prepare_root(&body->checkpoint.header, state->cluster, members_voters(&body->members));
    body->checkpoint.members_checksum = members_checksum(&body->members);
    body->anchor = replica->commit_header;
    message_seal(header, MESSAGE_VERSION_MAX);
    if (!network_send(replica->network, number, message)) message_release(&replica->pool, message);
}

/* If the guest has been let in, it is told so: again and again, for what is said may get lost. */
static void
welcome_if_member(struct replica *replica, uint32_t number)
{
    const struct replica_guest *guest = &replica->membership->guests[number];
    const struct members *members = &replica->membership->committed;
    const uint32_t slot = members_find(members, guest->name);
    if (slot == MEMBERS_MAX || members->slots[slot].incarnation != guest->incarnation) return;
    welcome(replica, number, (uint8_t) slot);
}

void
replica_guest_up(struct replica *replica, uint32_t number, const struct message_hello *hello)
{
    struct replica_guest *guest = &replica->membership->guests[number];
    assert(hello->incarnation != 0);
    *guest = (struct replica_guest){.incarnation = hello->incarnation};
    memcpy(guest->name, hello->name, MEMBER_NAME_MAX);
    welcome_if_member(replica, number);
}

static void
welcome_guests(struct replica *replica)
{
    const struct replica_membership *membership = replica->membership;
    for (uint32_t number = 0; number < NETWORK_PEERS_MAX; number++) {
        if (membership->guests[number].incarnation != 0) welcome_if_member(replica, number);
    }
}

void
replica_members_tick(struct replica *replica)
{
    struct replica_membership *membership = replica->membership;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (now - membership->welcomed_ns < REPLICA_RESEND_NS) return;
    membership->welcomed_ns = now;
    welcome_guests(replica);
    replica_judge_strangers(replica);
    replica_fences_judge(replica);
}

void
replica_guest_down(struct replica *replica, uint32_t number)
{
    replica->membership->guests[number] = (struct replica_guest){0};
}

/* The guest of that name, or NULL. */
static const struct replica_guest *
guest_named(const struct replica *replica, const char name[MEMBER_NAME_MAX])
{
    for (uint32_t number = 0; number < NETWORK_PEERS_MAX; number++) {
        const struct replica_guest *guest = &replica->membership->guests[number];
        if (guest->incarnation == 0) continue;
        if (memcmp(guest->name, name, MEMBER_NAME_MAX) == 0) return guest;
    }
    return NULL;
}

/* ---- Wishes ---------------------------------------------------------------------------------- */

static void
answer(struct replica *replica, enum replica_wish_outcome outcome)
{
    struct replica_wish *wish = replica->membership->wish;
    replica->membership->wish = NULL;
    if (wish == NULL) return;
    wish->stage = REPLICA_WISH_ANSWERED;
    wish->outcome = outcome;
    if (wish->callback != NULL) wish->callback(wish);
}

static bool
is_cluster(const struct replica *replica)
{
    const uint32_t flags = replica->superblock->working->flags;
    return (flags & SUPERBLOCK_NOT_ALONE) != 0 &&
           member_name_valid(replica->membership->now.slots[replica->slot].name);
}

/*
 * The log can bring a node up only if it is there from its first op on; and it should be there for
 * a while yet, for the ring goes on turning meanwhile.
 */
static bool
log_reaches_back(const struct replica *replica)
{
    const struct journal *journal = replica->journal;
    const uint64_t end = journal->head.position + prepare_size_on_disk(&journal->head);
    if (journal_op_oldest(journal) > 1) return false;
    return end <= journal->prepares_size_bytes / 4 * 3;
}

/* What a change of members says of one. (V19) */
static struct member
role_of(const struct member *member)
{
    struct member role = *member;
    role.fence = 0;
    role.record_op = 0;
    return role;
}

static enum replica_wish_outcome
plan_add(struct replica *replica, struct replica_wish *wish)
{
    const struct members *members = &replica->membership->now;
    const struct replica_guest *guest = guest_named(replica, wish->name);
    uint32_t slot = 1; /* The first one is for ever that of who began the ledger. */
    if (members_find(members, wish->name) != MEMBERS_MAX) return REPLICA_WISH_EXISTS;
    if (guest == NULL) return REPLICA_WISH_UNKNOWN;
    while (slot < MEMBERS_MAX && members->slots[slot].role != MEMBER_NONE) slot += 1;
    if (slot == MEMBERS_MAX) return REPLICA_WISH_FULL;
    if (members_voter_count(members_voters(members)) == VOTERS_MAX) return REPLICA_WISH_FULL;
    if (!log_reaches_back(replica)) return REPLICA_WISH_LOG;
    wish->change = (struct member_change){
        .slot = (uint8_t) slot,
        .member.role = MEMBER_STANDBY,
        .member.incarnation = guest->incarnation,
    };
    memcpy(wish->change.member.name, wish->name, MEMBER_NAME_MAX);
    return REPLICA_WISH_DONE;
}

static enum replica_wish_outcome
plan_remove(struct replica *replica, struct replica_wish *wish)
{
    const struct members *members = &replica->membership->now;
    const uint32_t slot = members_find(members, wish->name);
    if (slot == MEMBERS_MAX) return REPLICA_WISH_UNKNOWN;
    if (slot == replica->slot) return REPLICA_WISH_SELF;
    wish->change = (struct member_change){.slot = (uint8_t) slot};
    return REPLICA_WISH_DONE;
}

static void
on_named(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, node)->replica;
    struct replica_wish *wish = replica->membership->wish;
    replica->membership->naming = false;
    if (replica->status == REPLICA_STOPPED) return;
    if (result != SUPERBLOCK_OK) {
        replica_stop(replica);
        return;
    }
    if (wish != NULL && wish->stage == REPLICA_WISH_NAMING) wish->stage = REPLICA_WISH_WANTED;
}

/*
 * Before others can be let in, this node's disk says that it isn't alone any more: then what only a
 * lone node may decide about its log isn't decided by it.
 */
static enum replica_wish_outcome
plan_create(struct replica *replica, struct replica_wish *wish)
{
    const struct superblock_state *state = replica->superblock->working;
    struct superblock_update *update = &replica->updates->node;
    if (is_cluster(replica)) return REPLICA_WISH_EXISTS;
    wish->change = (struct member_change){
        .slot = replica->slot,
        .member = role_of(&replica->membership->now.slots[replica->slot]),
    };
    memcpy(wish->change.member.name, wish->name, MEMBER_NAME_MAX);
    if ((state->flags & SUPERBLOCK_NOT_ALONE) != 0) return REPLICA_WISH_DONE;
    wish->stage = REPLICA_WISH_NAMING;
    if (replica->membership->naming) return REPLICA_WISH_DONE; /* For one that was withdrawn. */
    replica->membership->naming = true;
    *update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_NODE,
        .callback = on_named,
        .node.flags_set = SUPERBLOCK_NOT_ALONE,
    };
    memcpy(update->node.name, wish->name, MEMBER_NAME_MAX);
    superblock_update(replica->superblock, update);
    return REPLICA_WISH_DONE;
}

static enum replica_wish_outcome
plan(struct replica *replica, struct replica_wish *wish)
{
    if (wish->kind == REPLICA_WISH_CREATE) return plan_create(replica, wish);
    if (!is_cluster(replica)) return REPLICA_WISH_NOT_CLUSTER;
    assert(replica->superblock->working->first_incarnation != 0);
    if (wish->kind == REPLICA_WISH_ADD) return plan_add(replica, wish);
    assert(wish->kind == REPLICA_WISH_REMOVE);
    return plan_remove(replica, wish);
}

void
replica_members_wish(struct replica *replica, struct replica_wish *wish)
{
    struct replica_membership *membership = replica->membership;
    assert(replica->network != NULL);
    assert(member_name_valid(wish->name));
    /* Who is the only voter is about to be the primary again. */
    const bool sole = replica_votes(replica) && members_voter_count(replica->voters) == 1;
    const bool leads = replica->status != REPLICA_STOPPED && (replica->primary || sole);
    if (!leads) {
        replica_wish_send(replica, wish);
        return;
    }
    wish->stage = REPLICA_WISH_PLANNED;
    const bool waits = membership->wish == &membership->promotion;
    if ((membership->wish != NULL && !waits) || membership->wish_next != NULL) {
        wish->stage = REPLICA_WISH_ANSWERED;
        wish->outcome = REPLICA_WISH_BUSY;
        wish->callback(wish);
        return;
    }
    if (membership->wish == NULL) {
        membership->wish = wish;
    } else {
        membership->wish_next = wish;
    }
}

bool
replica_members_withdraw(struct replica *replica, struct replica_wish *wish)
{
    struct replica_membership *membership = replica->membership;
    if (wish->stage == REPLICA_WISH_ANSWERED) return false;
    if (membership->sent == wish) membership->sent = NULL;
    if (membership->wish == wish) membership->wish = NULL;
    if (membership->wish_next == wish) membership->wish_next = NULL;
    wish->stage = REPLICA_WISH_ANSWERED;
    return true;
}

/* Who is a standby, and has come near the head of the log, becomes a voter. */
static void
promote(struct replica *replica)
{
    struct replica_membership *membership = replica->membership;
    const struct members *members = &membership->now;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (members_voter_count(replica->voters) == VOTERS_MAX) return;
    if (now < membership->promote_ns) return;
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct replica_peer *peer = &replica->peers[slot];
        if (members->slots[slot].role != MEMBER_STANDBY) continue;
        if (!peer->up || peer->stranger || !peer->taken_over) continue;
        if (peer->acked + PIPELINE_PREPARES_MAX < replica->op) continue;
        membership->promotion = (struct replica_wish){
            .kind = REPLICA_WISH_PROMOTE,
            .stage = REPLICA_WISH_WANTED,
            .change = {.slot = slot, .member = role_of(&members->slots[slot])},
        };
        membership->promotion.change.member.role = MEMBER_VOTER;
        membership->wish = &membership->promotion;
        return;
    }
}

bool
replica_members_due(const struct replica *replica)
{
    const struct replica_wish *wish = replica->membership->wish;
    return wish != NULL && wish->stage == REPLICA_WISH_WANTED;
}

/* At a primary that serves. */
bool
replica_members_poll(struct replica *replica)
{
    struct replica_membership *membership = replica->membership;
    assert(replica->serving);
    if (membership->wish == NULL) {
        membership->wish = membership->wish_next;
        membership->wish_next = NULL;
    }
    if (membership->wish == NULL) promote(replica);
    struct replica_wish *wish = membership->wish;
    if (wish == NULL) return false;
    if (wish->stage == REPLICA_WISH_PLANNED) {
        wish->stage = REPLICA_WISH_WANTED;
        const enum replica_wish_outcome outcome = plan(replica, wish);
        if (outcome != REPLICA_WISH_DONE) answer(replica, outcome);
        return true;
    }
    if (wish->stage != REPLICA_WISH_WANTED) return false;
    bool room = true;
    if (replica_prepare_node(replica, &wish->change, &room)) {
        wish->stage = REPLICA_WISH_MADE;
        wish->op = replica->op;
        return true;
    }
    if (room) return false;
    if (wish == &membership->promotion) {
        membership->promote_ns = clock_monotonic_ns(replica->clock) + REPLICA_RESEND_NS;
    }
    answer(replica, REPLICA_WISH_NO_ROOM);
    return true;
}

void
replica_members_leave(struct replica *replica)
{
    const struct replica_wish *wish = replica->membership->wish;
    replica_wish_leave(replica);
    /* The first may be gone, and the next one not taken up yet. */
    const bool made = wish != NULL && wish->stage == REPLICA_WISH_MADE;
    answer(replica, made ? REPLICA_WISH_FAILED : REPLICA_WISH_NOT_PRIMARY);
    replica->membership->wish = replica->membership->wish_next;
    replica->membership->wish_next = NULL;
    answer(replica, REPLICA_WISH_NOT_PRIMARY);
}

/* ---- Executing ------------------------------------------------------------------------------- */

void
replica_members_execute(struct replica *replica, const struct prepare_header *prepare)
{
    struct replica_membership *membership = replica->membership;
    const struct member_change *change = change_of(prepare);
    const bool was_member = membership->committed.slots[change->slot].role != MEMBER_NONE;
    const bool is_member = change->member.role != MEMBER_NONE;
    const bool applied = members_apply(&membership->committed, change);
    assert(applied); /* replica_members_valid */
    /* Whoever has the slot now begins with a session of its own. */
    if (was_member != is_member) {
        replica_fences_forget(replica, change->slot);
        replica->sessions.slots[change->slot] = (struct session){0};
        /* Of one that was added there may be requests in the log already, behind this op. */
        if (!is_member) replica->accepted.slots[change->slot] = (struct session){0};
        /* Others, which were faster, may have let it in already. */
        const struct replica_peer *peer = &replica->peers[change->slot];
        const bool here = peer->up && peer->incarnation == change->member.incarnation;
        if (replica->serving && here) replica_requests_begin(replica, change->slot);
    }
    if (membership->change_op <= prepare->op) {
        membership->change_op = 0;
        membership->now = membership->committed;
    }
    if (replica->status == REPLICA_RECOVERING) return;
    if (!is_member) replica_dismiss(replica, change->slot, &removed);
    welcome_guests(replica);
    const struct replica_wish *wish = membership->wish;
    if (wish != NULL && wish->stage == REPLICA_WISH_MADE && wish->op == prepare->op) {
        answer(replica, REPLICA_WISH_DONE);
    }
}
