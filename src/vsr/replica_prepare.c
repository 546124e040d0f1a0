/* SPDX-License-Identifier: PostgreSQL */
/*
 * Making prepares: takes requests (or the time, for a pulse), and gives a sealed message to the
 * journal.
 */
#include <string.h>

#include "base/units.h"
#include "vsr/replica_internal.h"

/*
 * Can a prepare be made now? Whatever requests wait until the last append is done become one
 * prepare together: group commit.
 */
static bool
can_prepare(const struct replica *replica)
{
    assert(replica->op - replica->commit <= PIPELINE_PREPARES_MAX);
    if (replica->status != REPLICA_NORMAL) return false;
    if (journal_busy(replica->journal)) return false;
    if (replica->op - replica->commit == PIPELINE_PREPARES_MAX) return false;
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

static void
prepare_on_journaled(struct journal_append *append, enum storage_result result)
{
    struct replica *replica = container_of(append, struct replica, append);
    assert(replica->journaled + 1 == replica->op);
    if (result != STORAGE_OK) {
        replica_stop(replica);
        return;
    }
    replica->journaled += 1;
    replica_invariants(replica);
}

/* Completes header and padding of the message of op + 1, and hands it to the journal. */
static void
prepare_append(
    struct replica *replica,
    enum prepare_operation operation,
    uint32_t body_size,
    uint32_t event_count,
    uint64_t timestamp)
{
    assert(event_count > 0);
    assert(body_size % EVENT_SIZE == 0);
    struct pipeline_entry *entry = replica_entry(replica, replica->op + 1);
    struct prepare_header *header = prepare_header_of(entry->message);
    const struct prepare_header *parent = &replica->journal->head;
    assert(parent->op == replica->op);
    assert(PREPARE_HEADER_SIZE + body_size <= PREPARE_SIZE_MAX);

    *header = (struct prepare_header){
        .parent = parent->checksum,
        .cluster = parent->cluster,
        .checkpoint_id = superblock_checkpoint_id(replica->superblock),
        .op = replica->op + 1,
        .commit = replica->commit,
        .timestamp = timestamp,
        .size = PREPARE_HEADER_SIZE + body_size,
        .view = replica->view,
        .event_count = event_count,
        .version = DISK_FORMAT_VERSION,
        .operation = (uint8_t) operation,
        .replica = replica->superblock->working->slot,
    };
    const uint64_t size_on_disk = prepare_size_on_disk(header);
    assert(size_on_disk >= header->size && size_on_disk <= PREPARE_SIZE_MAX);
    header->position =
        prepare_next_position(parent, size_on_disk, replica->journal->prepares_size_bytes);
    memset((char *) entry->message + header->size, 0, size_on_disk - header->size);
    prepare_seal(header);
    assert(header->timestamp - event_count >= parent->timestamp); /* (R4) */

    /*
     * Nothing to execute, nobody to prepare for: until it is durable, there is only waiting. Nobody
     * waits for a pulse, which a tick can make, after which the host may sleep.
     */
    const bool solo = operation == PREPARE_BATCHES && replica->op == replica->commit &&
                      replica->commit_stage == COMMIT_IDLE && queue_empty(&replica->requests);
    replica->op += 1;
    replica->timestamp = header->timestamp;
    replica->pipeline_events += event_count;
    replica->append = (struct journal_append){
        .prepare = header,
        .callback = prepare_on_journaled,
        .solo = solo,
    };
    journal_append(replica->journal, &replica->append);
    replica_invariants(replica);
}

/* Answers the oldest waiting request: there is no room for it. */
static void
refuse_oldest(struct replica *replica, enum forest_room room)
{
    struct replica_request *request = replica_pop_request(&replica->requests);
    assert(room == FOREST_DISK_FULL || room == FOREST_MEMORY_FULL);
    request->callback(request, room == FOREST_DISK_FULL ? REPLICA_DISK_FULL : REPLICA_MEMORY_FULL);
}

/* Takes the oldest waiting request into the prepare being made. */
static void
take_oldest(struct replica *replica, struct pipeline_entry *entry)
{
    struct replica_request *request = replica_pop_request(&replica->requests);
    multi_batch_add(&replica->writer, request->operation, request->events, request->event_count);
    queue_push(&entry->requests, &request->link);
}

bool
replica_prepare_requests(struct replica *replica)
{
    struct multi_batch_writer *writer = &replica->writer;
    bool refused = false;

    if (queue_empty(&replica->requests) || !can_prepare(replica)) return false;
    /*
     * The pulse goes first. But while a checkpoint runs the pipeline can't drain, so don't wait for
     * it then.
     */
    const bool checkpoint_runs = replica->commit_stage == COMMIT_CHECKPOINT_FOREST ||
                                 replica->commit_stage == COMMIT_CHECKPOINT_SUPERBLOCK;
    if (replica->pulse == PULSE_WANTED && !checkpoint_runs) return false;
    struct pipeline_entry *entry = replica_entry(replica, replica->op + 1);
    assert(queue_empty(&entry->requests));

    multi_batch_begin(writer, (char *) entry->message + PREPARE_HEADER_SIZE);
    while (!queue_empty(&replica->requests)) {
        const struct replica_request *request =
            container_of(queue_peek(&replica->requests), struct replica_request, link);
        if (!multi_batch_fits(writer, request->event_count)) break;
        const enum forest_room room = forest_reserve(
            replica->forest,
            replica->pipeline_events + writer->event_count + request->event_count);
        if (room == FOREST_IO_ERROR) {
            replica_stop(replica);
            return true;
        }
        /* The requests taken before this one go on without it. */
        if (room == FOREST_ROOM_WAITS) break;
        if (room == FOREST_ROOM) {
            take_oldest(replica, entry);
        } else {
            refuse_oldest(replica, room);
            refused = true;
        }
    }
    assert(writer->event_count <= EVENTS_PER_BATCH_MAX);
    if (writer->batch_count == 0) return refused;

    replica->stats.prepares += 1;
    histogram_add(&replica->stats.events_per_prepare, writer->event_count);
    histogram_add(&replica->stats.requests_per_prepare, writer->batch_count);
    const uint64_t timestamp = next_timestamp(replica, writer->event_count);
    prepare_append(
        replica, PREPARE_BATCHES, multi_batch_end(writer), writer->event_count, timestamp);
    return true;
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
    prepare_append(replica, PREPARE_PULSE, 0, PULSE_EXPIRIES_MAX, timestamp);
    return true;
}

bool
replica_pulse(struct replica *replica)
{
    bool progress = false;
    assert(replica->status == REPLICA_NORMAL);
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
