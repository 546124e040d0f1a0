/* SPDX-License-Identifier: PostgreSQL */
/* The replica's life: init, poll, tick, stop. */
#include "vsr/replica.h"

#include <string.h>

#include "base/units.h"
#include "vsr/replica_internal.h"

/*
 * Large messages: the pipeline; and with other members, what is being executed, what is fetched to
 * begin a view with, and the own requests on their way; and for each member, what is lent to it and
 * no longer in the pipeline, what it has sent and waits for a prepare, and what it gets because it
 * has missed it.
 */
#define LARGE_OWN      (1 + VIEW_HEADERS_MAX + REPLICA_LARGE_PER_PEER)
#define LARGE_PER_PEER (2 * REPLICA_LARGE_PER_PEER + 1)

/*
 * Small ones: a prepare or request that is small comes in one too. There are enough for all that
 * can be lent, kept, or wait, so that one is free for what comes next. Two members that can't read
 * for want of a buffer, while all of theirs wait to be read by the other, would wait for ever.
 */
#define SMALL_OWN      (PIPELINE_PREPARES_MAX + VIEW_HEADERS_MAX + 4)
#define SMALL_PER_PEER (NETWORK_QUEUE_MAX + REPLICA_REQUESTS_PER_PEER + REPLICA_GIFTS)

static void
init_pool(struct replica *replica, struct arena *arena, uint32_t peers)
{
    const uint32_t large = peers > 0 ? LARGE_OWN + peers * LARGE_PER_PEER : 0;
    const uint32_t small = peers > 0 ? SMALL_OWN + peers * SMALL_PER_PEER : 1;
    message_pool_init(&replica->pool, arena, small, PIPELINE_PREPARES_MAX + large);
    replica->peers = arena_take(arena, MEMBERS_MAX, sizeof(struct replica_peer), sizeof(u128));
    memset(replica->slots, REPLICA_NO_SLOT, sizeof(replica->slots));
    if (arena_measuring(arena)) return;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        queue_init(
            &replica->peers[slot].requests, "requests of a member", REPLICA_REQUESTS_PER_PEER);
    }
}

void
replica_init(struct replica *replica, struct arena *arena, const struct replica_options *options)
{
    assert(options->requests_max > 0);
    *replica = (struct replica){
        .status = REPLICA_CLOSED,
        .clock = options->clock,
        .storage = options->storage,
        .superblock = options->superblock,
        .journal = options->journal,
        .grid = options->grid,
        .forest = options->forest,
        .machine = options->machine,
        .network = options->network,
    };
    init_pool(replica, arena, options->network == NULL ? 0 : options->network->peer_max);
    queue_init(&replica->execution.executed, "executed requests", BATCHES_PER_PREPARE_MAX);
    queue_init(&replica->requests, "requests waiting for a prepare", options->requests_max);
    queue_init(&replica->outstanding, "numbered requests", options->requests_max);
    replica->failover_timeout_ns = options->failover_timeout_ns > 0 ? options->failover_timeout_ns
                                                                    : REPLICA_FAILOVER_TIMEOUT_NS;
    replica->change = arena_take(arena, 1, sizeof(struct replica_change), sizeof(u128));
    replica->membership =
        arena_take(arena, 1, sizeof(struct replica_membership), sizeof(u128));
    replica->fences = arena_take(arena, 1, sizeof(struct replica_fences), sizeof(u128));
    if (replica->fences != NULL) replica->fences->seed = options->fence_seed;
    replica->updates = arena_take(arena, 1, sizeof(struct replica_updates), sizeof(u128));
    replica->results = arena_take(arena, EVENTS_PER_BATCH_MAX, RESULT_SIZE, RESULT_SIZE);
}

void
replica_invariants(const struct replica *replica)
{
    assert(replica->commit <= replica->journaled); /* R1 */
    assert(replica->journaled <= replica->op);
    assert(replica->commit <= replica->commit_max);
    assert(replica->commit <= replica->linked);
    assert(replica->linked <= replica->op);
    assert(replica->status != REPLICA_CLOSED);
    if (replica->primary) {
        assert(replica->commit_max <= replica->op);
        assert(replica->linked == replica->op);
        assert(replica->op - replica->commit_max <= PIPELINE_PREPARES_MAX);
    }
    if (replica->serving) assert(replica->op - replica->journaled <= 1);
    if (replica->primary && replica->op == replica->commit) assert(replica->pipeline_events == 0);
    if (replica->network == NULL && replica->op == replica->commit) {
        assert(queue_empty(&replica->outstanding));
    }
    if (replica->status == REPLICA_NORMAL && replica->network == NULL) assert(replica->view > 0);
}

/* ---- Prepares in memory ---------------------------------------------------------------------- */

struct message *
replica_message(const struct replica *replica, uint64_t op)
{
    struct message *message = replica->pipeline[op % PIPELINE_PREPARES_MAX];
    if (message == NULL || replica_prepare_of(message)->op != op) return NULL;
    return message;
}

void
replica_keep(struct replica *replica, struct message *message)
{
    const uint64_t op = replica_prepare_of(message)->op;
    struct message **place = &replica->pipeline[op % PIPELINE_PREPARES_MAX];
    assert(op > replica->journaled);
    assert(op <= replica->journaled + PIPELINE_PREPARES_MAX);
    if (*place != NULL) message_release(&replica->pool, *place);
    *place = message;
}

const struct prepare_header *
replica_header(const struct replica *replica, uint64_t op)
{
    assert(op <= replica->op);
    if (op <= replica->journaled) return journal_header(replica->journal, op);
    struct message *message = replica_message(replica, op);
    assert(message != NULL);
    return replica_prepare_of(message);
}

bool
replica_log_has(const struct replica *replica, uint64_t op, u128 checksum)
{
    if (op > replica->op) return false;
    if (op > replica->journaled) return replica_header(replica, op)->checksum == checksum;
    const struct prepare_header *header = journal_find(replica->journal, op);
    if (op == replica->journal->checkpoint.op) header = &replica->journal->checkpoint;
    if (header != NULL) return header->checksum == checksum;
    /* It was overwritten, or is the root. Its successor, if it is there still, names it. */
    const struct prepare_header *next = journal_find(replica->journal, op + 1);
    return next != NULL && next->parent == checksum;
}

/* ---- Stopping -------------------------------------------------------------------------------- */

static void
fail_requests(struct queue *requests)
{
    while (!queue_empty(requests)) {
        struct replica_request *request = replica_pop_request(requests);
        assert(request->callback != NULL);
        request->callback(request, REPLICA_FAILED);
    }
}

void
replica_stop(struct replica *replica)
{
    assert(replica->status != REPLICA_CLOSED);
    replica->status = REPLICA_STOPPED;
    replica->pulse = PULSE_NONE;
    replica->unsent = NULL;
    replica->serving = false;
    fail_requests(&replica->execution.executed);
    fail_requests(&replica->outstanding);
    fail_requests(&replica->requests);
    replica_members_leave(replica);
}

bool
replica_storage_poll(struct replica *replica)
{
    bool progress = storage_poll(replica->storage) > 0;
    progress |= forest_poll(replica->forest);
    if (progress) replica->progress += 1;
    return progress;
}

/* Takes what has come from others, and goes on with what they have asked for. */
static bool
poll_network(struct replica *replica)
{
    bool progress = network_poll(replica->network) > 0;
    if (replica->status == REPLICA_STOPPED) return progress;
    progress |= replica_fences_poll(replica);
    if (replica->status == REPLICA_VIEW_CHANGE) return progress | replica_view_poll(replica);
    if (replica->status != REPLICA_NORMAL) return progress;
    if (!replica->serving) progress |= replica_append_next(replica);
    if (replica_backup(replica)) progress |= replica_requests_send(replica);
    progress |= replica_give(replica);
    return progress | replica_reads_poll(replica);
}

/*
 * A new primary has executed all that the view began with. So it knows which requests are in the
 * log, and each op is committed that an older view's primary may have acknowledged. And a quorum
 * has this view's log: until then an older log could yet be chosen, with a request in it that isn't
 * in this one, and that was refused here (V14).
 */
static void
begin_serving(struct replica *replica)
{
    replica->serving = true;
    replica->accepted = replica->sessions;
    sessions_begin(&replica->accepted, replica->slot, replica->session);
    for (uint8_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (replica->peers[slot].up) replica_requests_begin(replica, slot);
    }
    replica_requests_unsend(replica);
}

bool
replica_poll(struct replica *replica)
{
    bool progress = replica_storage_poll(replica);
    if (forest_failed(replica->forest) && replica->status != REPLICA_STOPPED) {
        replica->lost = forest_lost(replica->forest);
        replica_stop(replica);
    }
    /* A header's write, after its op was journaled; no append may be there to tell. */
    if (journal_failed(replica->journal) && replica->status != REPLICA_STOPPED) {
        replica_stop(replica);
    }
    if (replica->status == REPLICA_STOPPED) {
        progress |= !queue_empty(&replica->requests);
        fail_requests(&replica->requests);
        return progress;
    }
    /* First the disk gets its next write; then the CPU executes what the last one made durable. */
    if (replica->network != NULL) progress |= poll_network(replica);
    if (replica->status == REPLICA_STOPPED) return true; /* By what has come. */
    const bool begins = replica->primary && !replica->serving;
    if (begins && replica->commit >= replica->change->op_start && replica_settled(replica)) {
        begin_serving(replica);
        progress = true;
    }
    if (replica->serving && replica->network != NULL) progress |= replica_members_poll(replica);
    /* What has come while storage blocked makes the next prepare larger; its turn is next. */
    const bool prepares = replica->serving && !replica->storage->blocked;
    if (prepares) progress |= replica_prepare_requests(replica);
    replica_say(replica, true);
    progress |= replica_commit(replica);
    replica_fences_end(replica);
    if (replica->serving && replica->status == REPLICA_NORMAL) progress |= replica_pulse(replica);
    return progress;
}

void
replica_tick(struct replica *replica)
{
    if (replica->status == REPLICA_STOPPED) return;
    if (replica->network != NULL) {
        replica_say(replica, false);
        replica_fetch(replica);
        replica_members_tick(replica);
        replica_fences_tick(replica);
        replica_suspect_tick(replica);
        replica_wish_tick(replica);
        replica_requests_give_up(replica);
    }
    /* What has waited for room asks again. */
    if (replica->no_room) replica->progress += 1;
    if (replica->status != REPLICA_NORMAL || !replica->serving) return;
    const struct pulse_block *block = &replica->pulse_block;
    const bool waits = block->damaged && clock_monotonic_ns(replica->clock) < block->retry_ns;
    if (replica->pulse == PULSE_NONE && !waits) replica->pulse = PULSE_LOOK;
    (void) replica_pulse(replica);
}

uint64_t
replica_kept(const struct replica *replica)
{
    const struct superblock_state *state = replica->superblock->working;
    const bool gap = state->suffix_count > 0 && replica->commit < state->suffix[0].op;
    return gap ? min_u64(replica->commit, state->op_acked_min) : replica->commit;
}

bool
replica_busy(const struct replica *replica)
{
    return replica->op != replica->commit || replica->commit_stage != COMMIT_IDLE ||
           replica->pulse != PULSE_NONE || journal_naming(replica->journal) ||
           !queue_empty(&replica->requests) ||
           (replica->serving && replica_requests_wait(replica));
}

uint32_t
replica_requests_count(const struct replica *replica)
{
    return replica->requests.count + replica->outstanding.count + replica->execution.executed.count;
}
