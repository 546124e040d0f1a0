/* SPDX-License-Identifier: PostgreSQL */
/*
 * Making prepares: takes requests (or the time, for a pulse), and gives a sealed message to the
 * other members and to the journal, in this order, for the way to them is the longer one.
 */
#include <string.h>

#include "base/units.h"
#include "vsr/replica_internal.h"

/*
 * While two prepares are not committed, so many requests are worth a third; a message counts for …
 */
#define GROUP_REQUESTS_MIN 64
#define GROUP_PER_MESSAGE  4

/* While a member lags, the time between two prepares. */
#define LAG_PAUSE_NS (UINT64_C(10) * NS_PER_MS)

/*
 * Can a prepare be made now? Whatever requests wait until the last append is done become one
 * prepare together: group commit.
 */
static bool
can_prepare(const struct replica *replica)
{
    if (replica->status != REPLICA_NORMAL || !replica->serving) return false;
    if (journal_busy(replica->journal)) return false;
    assert(replica->op == replica->journaled);
    assert(replica->op - replica->commit <= PIPELINE_PREPARES_MAX);
    if (replica->op - replica->commit == PIPELINE_PREPARES_MAX) return false;
    /* The place of the oldest in the pipeline becomes free, unless it is lent to others. */
    const struct message *oldest = replica->pipeline[(replica->op + 1) % PIPELINE_PREPARES_MAX];
    const bool reusable = oldest != NULL && oldest->references == 1;
    if (!reusable && message_pool_free_count(&replica->pool, MESSAGE_LARGE) == 0) return false;
    return journal_has_room(replica->journal, PREPARE_SIZE_MAX);
}

/*
 * (R4) The real time if it is ahead; otherwise just after what was given out last. The event_count
 * timestamps up to the result belong to the prepare.
 */
static uint64_t
next_timestamp(const struct replica *replica, uint32_t event_count)
{
    assert(event_count > 0 && replica->timestamp < TIMESTAMP_MAX);
    const uint64_t now = clock_realtime_ns(replica->clock);
    const uint64_t start = max_u64(replica->timestamp + 1, min_u64(now, TIMESTAMP_MAX / 2));
    assert(start <= TIMESTAMP_MAX - event_count);
    return start + event_count;
}

/* A message for the next prepare. Precondition: can_prepare. */
static struct message *
prepare_message(struct replica *replica)
{
    struct message **place = &replica->pipeline[(replica->op + 1) % PIPELINE_PREPARES_MAX];
    if (*place != NULL) message_release(&replica->pool, *place);
    *place = NULL;
    struct message *message = message_pool_get(&replica->pool, MESSAGE_LARGE);
    assert(message != NULL);
    return message;
}

/* The voters after the change whose record follows the header. */
static uint16_t
voters_after(const struct replica *replica, const struct prepare_header *header)
{
    const void *record = (const uint8_t *) header + PREPARE_HEADER_SIZE;
    struct members members = replica->membership->now;
    const bool applied = members_apply(&members, record);
    assert(applied);
    return members_voters(&members);
}

/* Completes header and padding of the prepare of op + 1, and gives it to journal and members. */
static void
prepare_give(
    struct replica *replica,
    struct message *message,
    enum prepare_operation operation,
    uint32_t body_size,
    struct multi_batch_sums sums,
    uint64_t timestamp)
{
    assert(sums.event_count > 0);
    assert(body_size % EVENT_SIZE == 0);
    struct prepare_header *header = replica_prepare_of(message);
    const struct prepare_header *parent = &replica->journal->head;
    const uint16_t voters =
        operation == PREPARE_NODE ? voters_after(replica, header) : parent->voters;
    assert(parent->op == replica->op);
    assert(PREPARE_HEADER_SIZE + body_size <= PREPARE_SIZE_MAX);

    *header = (struct prepare_header){
        .parent = parent->checksum,
        .cluster = parent->cluster,
        .checkpoint_id = superblock_checkpoint_id(replica->superblock),
        .op = replica->op + 1,
        .commit = replica->commit_max,
        .timestamp = timestamp,
        .members_op = operation == PREPARE_NODE ? replica->op + 1 : parent->members_op,
        .size = PREPARE_HEADER_SIZE + body_size,
        .view = replica->view,
        .event_count = sums.event_count,
        .record_count = sums.record_count,
        .version = DISK_FORMAT_VERSION,
        .voters = voters,
        .operation = (uint8_t) operation,
        .replica = replica->slot,
    };
    const uint64_t size_on_disk = prepare_size_on_disk(header);
    assert(size_on_disk >= header->size && size_on_disk <= PREPARE_SIZE_MAX);
    header->position =
        prepare_next_position(parent, size_on_disk, replica->journal->prepares_size_bytes);
    memset((char *) header + header->size, 0, size_on_disk - header->size);
    prepare_seal(header);
    assert(prepare_follows(parent, header)); /* (R4) */

    /*
     * Alone, nothing more can be prepared until it is durable. Nobody waits for a pulse, which a
     * tick can make, after which the host may sleep.
     */
    const bool solo = operation == PREPARE_BATCHES && replica->network == NULL;
    if (replica->network != NULL) replica_seal_prepare(replica, message, 0);
    replica_keep(replica, message);
    replica->op += 1;
    replica->linked = replica->op;
    replica->timestamp = header->timestamp;
    if (replica->network != NULL) {
        replica->prepared_ns = clock_monotonic_ns(replica->clock);
        replica_members_logged(replica, header);
    }
    replica->pipeline_events += sums.event_count;
    if (replica->network != NULL) replica_send_newest(replica);
    replica_append(replica, solo);
    replica_invariants(replica);
}

/*
 * In a cluster a prepare takes longer to commit than to be written. While two are on their way, few
 * requests wait for more to come, or groups would become small and each would cost as much.
 */
static bool
group_waits(const struct replica *replica)
{
    if (replica->network == NULL || replica->op - replica->commit_max < 2) return false;
    uint32_t waiting = replica->requests.count;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        waiting += replica->peers[slot].requests.count * GROUP_PER_MESSAGE;
    }
    return waiting < GROUP_REQUESTS_MIN;
}

/*
 * Is a member that is connected and gets on so far behind that the ring may soon have overwritten
 * what it needs? Then prepares are put off a little, and become larger. Nothing else waits for the
 * slowest; and who doesn't get on holds nobody up.
 */
static bool
lag_waits(const struct replica *replica)
{
    if (replica->network == NULL) return false;
    const struct journal *journal = replica->journal;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (now - replica->prepared_ns >= LAG_PAUSE_NS) return false;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct replica_peer *peer = &replica->peers[slot];
        if (!peer->up || !peer->placed) continue;
        if (now - peer->acked_ns >= replica->failover_timeout_ns) continue;
        const struct prepare_header *acked = journal_find(journal, peer->acked);
        if (acked == NULL) continue; /* It has nothing yet, or needs more than the log. */
        const uint64_t behind = journal->head.position - acked->position;
        if (behind > journal->prepares_size_bytes / 4) return true;
    }
    return false;
}

bool
replica_prepare_requests(struct replica *replica)
{
    struct multi_batch_writer *writer = &replica->writer;
    if (!replica_requests_wait(replica) || !can_prepare(replica)) return false;
    /*
     * The pulse goes first. But while a checkpoint runs the pipeline can't drain, so don't wait for
     * it then.
     */
    const bool checkpoint_runs = replica->commit_stage == COMMIT_CHECKPOINT_FOREST ||
                                 replica->commit_stage == COMMIT_CHECKPOINT_SUPERBLOCK;
    const bool others_first = replica->pulse == PULSE_WANTED || replica_members_due(replica);
    if (others_first && !checkpoint_runs) return false;
    if (group_waits(replica) || lag_waits(replica)) return false;
    /* Nothing more could be committed; and what has no number can be given up for certain (R13). */
    if (!replica_reaches_quorum(replica)) return false;
    struct message *message = prepare_message(replica);
    multi_batch_begin(writer, (char *) replica_prepare_of(message) + PREPARE_HEADER_SIZE);
    const bool progress = replica_requests_take(replica);
    assert(writer->sums.event_count <= EVENTS_PER_BATCH_MAX);
    if (replica->status == REPLICA_STOPPED || writer->batch_count == 0) {
        message_release(&replica->pool, message);
        return progress;
    }
    replica->stats.prepares += 1;
    histogram_add(&replica->stats.events_per_prepare, writer->sums.event_count);
    histogram_add(&replica->stats.requests_per_prepare, writer->batch_count);
    const uint64_t timestamp = next_timestamp(replica, writer->sums.event_count);
    const uint32_t size = multi_batch_end(writer);
    prepare_give(replica, message, PREPARE_BATCHES, size, writer->sums, timestamp);
    return true;
}

/* ---- Members --------------------------------------------------------------------------------- */

/* A prepare of one record of the log. */
static bool
prepare_record(
    struct replica *replica, enum prepare_operation operation, const void *record, bool *room)
{
    assert(replica->status == REPLICA_NORMAL && replica->serving);
    if (!can_prepare(replica)) return false;
    const enum forest_room found = forest_reserve(replica->forest, 1);
    if (found == FOREST_IO_ERROR) replica_stop(replica);
    *room = found == FOREST_ROOM || found == FOREST_ROOM_WAITS;
    if (found != FOREST_ROOM) return false;
    const struct multi_batch_sums sums = {.event_count = 1, .record_count = 1};
    struct message *message = prepare_message(replica);
    memcpy((uint8_t *) replica_prepare_of(message) + PREPARE_HEADER_SIZE, record, EVENT_SIZE);
    const uint64_t timestamp = next_timestamp(replica, 1);
    prepare_give(replica, message, operation, EVENT_SIZE, sums, timestamp);
    return true;
}

bool
replica_prepare_node(struct replica *replica, const struct member_change *change, bool *room)
{
    /* (V12): everything before it is committed. */
    if (replica->op != replica->commit) return false;
    return prepare_record(replica, PREPARE_NODE, change, room);
}

bool
replica_prepare_fence(struct replica *replica, const struct member_fence *record, bool *room)
{
    assert(member_fence_valid(record));
    return prepare_record(replica, PREPARE_FENCE, record, room);
}

/* ---- Pulses ---------------------------------------------------------------------------------- */

/* The time between two attempts to read a block that pulses need and that can't be read. */
#define PULSE_RETRY_NS (UINT64_C(10) * NS_PER_S)

/* How far ahead of the time a rehearsal begins. No new hold can expire sooner than that. */
#define REHEARSAL_AHEAD_NS NS_PER_S

/*
 * Skips the pulse, because a block that it needs can't be read. As nothing is in the log yet,
 * nobody has to execute it.
 */
static void
pulse_skip(struct replica *replica)
{
    struct pulse_block *block = &replica->pulse_block;
    assert(replica->status == REPLICA_NORMAL);
    replica->pulse = PULSE_NONE;
    replica->rehearsal = (struct pulse_rehearsal){0};
    replica->stats.pulses_skipped += 1;
    block->damaged = true;
    block->retry_ns = clock_monotonic_ns(replica->clock) + PULSE_RETRY_NS;
    forest_damage(replica->forest, &block->damage);
}

/* Would a pulse that is made now do anything? */
static enum forest_found
pulse_due(struct replica *replica)
{
    assert(replica->status == REPLICA_NORMAL);
    assert(!replica_executing(replica));
    const uint64_t timestamp = next_timestamp(replica, PULSE_EXPIRIES_MAX);
    const enum forest_found due = replica->machine->ops->pulse_due(replica->machine, timestamp);
    if (due == FOREST_LOST) pulse_skip(replica);
    if (due == FOREST_ABSENT) replica->pulse_block.damaged = false;
    return due;
}

static bool
pulse_look(struct replica *replica)
{
    assert(replica->pulse == PULSE_LOOK);
    if (replica_executing(replica)) return false;
    switch (pulse_due(replica)) {
    case FOREST_FOUND: replica->pulse = PULSE_WANTED; return true;
    case FOREST_ABSENT: replica->pulse = PULSE_NONE; return false;
    case FOREST_WAIT: return replica->machine->yielded;
    case FOREST_LOST: return true;
    case FOREST_BURNT: break;
    }
    unreachable();
}

/*
 * Has everything been read that a pulse with this timestamp needs (R7)? If the rehearsal took
 * longer than it was ahead, it begins again, further ahead; most of what it needs is in memory by
 * then.
 */
static enum forest_found
pulse_rehearse(struct replica *replica, uint64_t timestamp)
{
    struct pulse_rehearsal *rehearsal = &replica->rehearsal;
    struct state_machine *machine = replica->machine;
    assert(replica->op == replica->commit);
    if (rehearsal->timestamp == 0 || rehearsal->commit != replica->commit) {
        *rehearsal = (struct pulse_rehearsal){.ahead_ns = REHEARSAL_AHEAD_NS};
    } else if (rehearsal->timestamp < timestamp) {
        rehearsal->timestamp = 0;
        rehearsal->ahead_ns *= 2;
    }
    if (rehearsal->timestamp == 0) {
        rehearsal->commit = replica->commit;
        rehearsal->timestamp = timestamp + rehearsal->ahead_ns;
    }
    const enum forest_found found = machine->ops->rehearse_pulse(machine, rehearsal->timestamp);
    if (found == FOREST_LOST) pulse_skip(replica);
    return found;
}

static bool
pulse_prepare(struct replica *replica)
{
    assert(replica->pulse == PULSE_WANTED);
    assert(replica->status == REPLICA_NORMAL);
    /* Prepares in the pipeline may change what is due, so wait until it is empty. */
    if (replica->op != replica->commit || !can_prepare(replica)) return false;
    const uint64_t timestamp = next_timestamp(replica, PULSE_EXPIRIES_MAX);
    enum forest_found found = pulse_due(replica);
    if (found == FOREST_FOUND) found = pulse_rehearse(replica, timestamp);
    if (found == FOREST_WAIT) return replica->machine->yielded;
    replica->pulse = PULSE_NONE;
    if (found != FOREST_FOUND) return false;
    replica->pulse_block.damaged = false;
    /* If there is no room the pulse remains due, and the next tick tries again. */
    const enum forest_room room = forest_reserve(replica->forest, PULSE_EXPIRIES_MAX);
    if (room == FOREST_IO_ERROR) replica_stop(replica);
    if (room != FOREST_ROOM) return false;

    replica->stats.pulses += 1;
    replica->rehearsal = (struct pulse_rehearsal){0};
    const struct multi_batch_sums sums = {.event_count = PULSE_EXPIRIES_MAX};
    prepare_give(replica, prepare_message(replica), PREPARE_PULSE, 0, sums, timestamp);
    return true;
}

bool
replica_pulse(struct replica *replica)
{
    bool progress = false;
    assert(replica->status == REPLICA_NORMAL && replica->serving);
    if (replica->pulse == PULSE_LOOK) progress |= pulse_look(replica);
    if (replica->pulse == PULSE_WANTED) progress |= pulse_prepare(replica);
    return progress;
}

bool
replica_pulse_damage(const struct replica *replica, struct forest_damage *damage)
{
    if (!replica->pulse_block.damaged) return false;
    *damage = replica->pulse_block.damage;
    return true;
}
