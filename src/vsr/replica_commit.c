/* SPDX-License-Identifier: PostgreSQL */
/*
 * Committing: executes prepares of the journal in op order, and makes the checkpoint when one is
 * due.
 *
 *    COMMIT_IDLE ── an op is committed ──→ COMMIT_PREFETCH ── all is there ──→ COMMIT_EXECUTE
 *         ▲                                                                        │ executed,
 *         │                                                                        │ answered
 *         ├──── done; checkpoint due? no ─────────────────────────────────── COMMIT_COMPACT
 *         │                                                                        │ yes
 *         │ checkpoint_on_superblock                                               ▼
 *    COMMIT_CHECKPOINT_SUPERBLOCK ←── checkpoint_on_forest ──────── COMMIT_CHECKPOINT_FOREST
 *
 * While a checkpoint runs nothing is executed, so that the forest doesn't change under it. Prepares
 * are still journaled, as far as the pipeline and the ring allow.
 *
 * An op is executed in pieces of about EXECUTE_EVENTS_MAX events, and the forest's work after it is
 * done in pieces too. Between the pieces the replica looks for new requests, so that the disk
 * needn't wait for a large batch.
 *
 * Records may be on disk, so an op begins to be executed only when everything it needs is in
 * memory. In all stages but COMMIT_EXECUTE the state is that of op `commit`, and may be read.
 *
 * What can go wrong: a block that the op needs can't be read, the forest fails, or the checkpoint
 * isn't written. Then the replica stops.
 */
#include <string.h>

#include "base/units.h"
#include "vsr/replica_internal.h"

/* ---- Checkpoint ------------------------------------------------------------------------------ */

static void
checkpoint_on_superblock(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, checkpoint)->replica;
    assert(replica->commit_stage == COMMIT_CHECKPOINT_SUPERBLOCK);
    if (result != SUPERBLOCK_OK) {
        replica_stop(replica);
        return;
    }
    forest_checkpoint_durable(replica->forest);
    journal_checkpoint_durable(replica->journal, &replica->commit_header);
    replica_fences_checkpoint(replica);
    replica->stats.checkpoints += 1;
    replica->commit_stage = COMMIT_IDLE;
}

static void
checkpoint_on_forest(void *context, enum grid_result result)
{
    struct replica *replica = context;
    assert(replica->commit_stage == COMMIT_CHECKPOINT_FOREST);
    if (result != GRID_OK) {
        replica_stop(replica);
        return;
    }
    struct superblock_update *update = &replica->updates->checkpoint;
    update->kind = SUPERBLOCK_UPDATE_CHECKPOINT;
    update->callback = checkpoint_on_superblock;
    update->checkpoint = (struct checkpoint_state){
        .header = replica->commit_header,
        .root = forest_checkpoint_root(replica->forest),
        .grid_block_count = grid_live_end(replica->grid),
    };
    update->members = replica->membership->committed;
    replica_log_end(replica, replica->superblock->working->log_view, &update->log);
    replica_fences_note(replica, &update->node);
    replica->commit_stage = COMMIT_CHECKPOINT_SUPERBLOCK;
    superblock_update(replica->superblock, update);
}

/* (R5) */
static bool
checkpoint_due(const struct replica *replica, const struct prepare_header *header)
{
    const struct prepare_header *checkpoint = &replica->journal->checkpoint;
    assert(header->op > checkpoint->op);
    const uint64_t used = header->position + prepare_size_on_disk(header) - checkpoint->position;
    return used > replica->journal->prepares_size_bytes / 2 ||
           replica->checkpoint_events >= CHECKPOINT_EVENTS_MAX;
}

static void
checkpoint_start(struct replica *replica)
{
    struct forest_note note;
    assert(replica->commit_stage == COMMIT_IDLE);
    assert(replica->commit_header.op == replica->commit);
    replica->commit_stage = COMMIT_CHECKPOINT_FOREST;
    replica->checkpoint_events = 0;
    memcpy(&note, &replica->sessions, sizeof(note));
    forest_note_set(replica->forest, &note);
    forest_checkpoint(replica->forest, replica->commit, checkpoint_on_forest, replica);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/*
 * True while the stage waits for something, and nothing has happened since that it could go on
 * with.
 */
static bool
commit_waits(const struct replica *replica)
{
    assert(replica->commit_waits_since <= replica->progress);
    return replica->commit_waits && replica->commit_waits_since == replica->progress;
}

/*
 * Notes that the stage must wait. Returns false, so that the caller can return it: nothing more can
 * be done now.
 */
static bool
commit_wait(struct replica *replica)
{
    assert(!commit_waits(replica));
    replica->commit_waits = true;
    replica->commit_waits_since = replica->progress;
    return false;
}

static void
commit_enter(struct replica *replica, enum commit_stage stage)
{
    assert(replica->commit_stage != stage);
    assert(replica->status != REPLICA_STOPPED);
    replica->commit_stage = stage;
    replica->commit_waits = false;
}

/* ---- Execution ------------------------------------------------------------------------------- */

/* Checks all batches and origins of a prepare before any batch is executed. */
static bool
batches_open(struct replica *replica, const struct prepare_header *header)
{
    struct state_machine *machine = replica->machine;
    struct replica_execution *execution = &replica->execution;
    struct multi_batch_reader *reader = &execution->reader;
    const struct multi_batch_sums sums = {header->event_count, header->record_count};
    assert(replica->commit_stage == COMMIT_IDLE);
    if (!multi_batch_open(
            reader,
            (const char *) header + PREPARE_HEADER_SIZE,
            header->size - PREPARE_HEADER_SIZE,
            header->timestamp,
            sums)) {
        return false;
    }
    for (uint32_t i = 0; i < reader->batch_count; i++) {
        const struct multi_batch_entry *entry = &reader->entries[i];
        if (!machine->ops->batch_valid(
                machine, entry->operation, entry->event_count, entry->record_count)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < reader->origin_count; i++) {
        const struct multi_batch_origin *origin = &reader->origins[i];
        const uint64_t first = origin->number - origin->batch_count + 1;
        if (!sessions_precede(&replica->sessions, origin->slot, origin->session, first)) {
            return false;
        }
    }
    /* In replay nothing was asked. */
    if (replica->status != REPLICA_RECOVERING && !replica_requests_match(replica, reader)) {
        return false;
    }
    assert(reader->batch_count <= BATCHES_PER_PREPARE_MAX);
    execution->round_asked = false;
    execution->round = 0;
    execution->batch = (struct state_machine_batch){0};
    execution->next = 0;
    return true;
}

/*
 * Notes which requests the op has brought, when it is committed. From here on each of them is known
 * to be executed, on each replica alike.
 */
static void
take_origins(struct replica *replica)
{
    const struct multi_batch_reader *reader = &replica->execution.reader;
    for (uint32_t i = 0; i < reader->origin_count; i++) {
        const struct multi_batch_origin *origin = &reader->origins[i];
        sessions_take(&replica->sessions, origin->slot, origin->session, origin->number);
    }
}

/*
 * Who waits here for the current batch? NULL: nobody, for another replica, or another life of this
 * one, has sent it.
 */
static struct replica_request *
batch_request(struct replica *replica)
{
    const struct multi_batch_source *source = &replica->execution.reader.source;
    if (source->slot != replica->slot || source->session != replica->session) return NULL;
    /* In replay there are none. That the session was the same would be a coincidence. */
    if (replica->status == REPLICA_RECOVERING) return NULL;
    return replica_requests_find(replica, source, &replica->execution.batch);
}

/* Executes a piece of the current batch. Its request gets the results. */
static void
batch_execute(struct replica *replica, uint32_t count)
{
    struct state_machine *machine = replica->machine;
    struct replica_execution *execution = &replica->execution;
    const struct state_machine_batch *batch = &execution->batch;
    struct replica_request *request = batch_request(replica);
    void *results = request == NULL ? replica->results : request->results;
    assert(execution->next < batch->event_count);
    execution->next = machine->ops->execute(machine, batch, results, execution->next, count);
    if (request == NULL || execution->next < batch->event_count) return;
    assert(queue_peek(&replica->outstanding) == &request->link);
    (void) replica_pop_request(&replica->outstanding);
    queue_push(&execution->executed, &request->link);
}

/* Executes batches. Returns true when all are executed. */
static bool
execute_batches(struct replica *replica, uint32_t count)
{
    struct replica_execution *execution = &replica->execution;
    uint32_t left = count;
    assert(execution->begun && execution->all_in_reach);
    assert(count > 0);
    while (left > 0) {
        if (execution->next == execution->batch.event_count) {
            if (!multi_batch_next(&execution->reader, &execution->batch)) return true;
            execution->next = 0;
        }
        const uint32_t start = execution->next;
        batch_execute(replica, left);
        left -= (uint32_t) min_u64(left, execution->next - start);
    }
    return false;
}

/* ---- Stages ---------------------------------------------------------------------------------- */

/* The op that may be executed next: (R2), (R10). 0: none. */
static uint64_t
commit_next(const struct replica *replica)
{
    const uint64_t end = min_u64(replica->commit_max, min_u64(replica->linked, replica->journaled));
    return replica->commit < end ? replica->commit + 1 : 0;
}

static void
commit_on_read(struct journal_reading *reading)
{
    struct replica_execution *execution =
        container_of(reading, struct replica_execution, reading);
    struct replica *replica = container_of(execution, struct replica, execution);
    if (replica->status == REPLICA_STOPPED) return;
    assert(replica->commit_stage == COMMIT_READ);
    if (reading->result != JOURNAL_READ_OK) {
        replica_stop(replica);
        return;
    }
    replica->commit_stage = COMMIT_IDLE;
}

/*
 * The message of op commit + 1. NULL: memory has it no longer, for this replica lags behind what it
 * has on disk, and it is read; or no buffer is free.
 */
static struct message *
commit_message(struct replica *replica, uint64_t op)
{
    struct replica_execution *execution = &replica->execution;
    if (execution->message != NULL) return execution->message; /* It was read. */
    struct message *message = replica_message(replica, op);
    if (message != NULL) {
        execution->message = message_reference(message);
        return message;
    }
    message = message_pool_get(&replica->pool, MESSAGE_LARGE);
    if (message == NULL) return NULL;
    execution->message = message;
    commit_enter(replica, COMMIT_READ);
    void *prepare = message_body(message->header);
    journal_read_begin(replica->journal, &execution->reading, op, prepare, commit_on_read);
    return NULL;
}

/* Is there room for what was admitted by another? If not, it is asked again later. */
static bool
commit_has_room(struct replica *replica, const struct prepare_header *header)
{
    if (header->op >= replica->op_admitted) return true;
    const enum forest_room room = forest_reserve_replayed(replica->forest, header->event_count);
    /* While it is being looked for again, what was found before is as true as it was. */
    if (room != FOREST_ROOM_WAITS) {
        replica->no_room = room == FOREST_MEMORY_FULL || room == FOREST_DISK_FULL;
    }
    if (room == FOREST_IO_ERROR) replica_stop(replica);
    return room == FOREST_ROOM;
}

bool
replica_commit_start(struct replica *replica, struct message *message)
{
    const struct prepare_header *header = replica_prepare_of(message);
    assert(replica->commit_stage == COMMIT_IDLE);
    assert(commit_next(replica) == header->op); /* (R2) */
    if (!prepare_follows(&replica->commit_header, header)) return false;
    switch ((enum prepare_operation) header->operation) {
    case PREPARE_BATCHES:
        if (!batches_open(replica, header)) return false;
        break;
    case PREPARE_PULSE:
        assert(header->event_count == PULSE_EXPIRIES_MAX);
        break;
    case PREPARE_NODE:
        if (!replica_members_valid(replica, header)) return false;
        break;
    case PREPARE_FENCE:
        if (!replica_fences_valid(header)) return false;
        break;
    case PREPARE_RESERVED:
    case PREPARE_ROOT:
        return false;
    }
    replica->execution.message = message;
    replica->execution.begun = false;
    replica->execution.all_in_reach = false;
    commit_enter(replica, COMMIT_PREFETCH);
    return true;
}

/* Begins with the next op, if there is one. Returns true if it did something. */
static bool
commit_begin(struct replica *replica)
{
    const uint64_t op = commit_next(replica);
    if (op == 0 || commit_waits(replica)) return false;
    struct message *message = commit_message(replica, op);
    if (message == NULL) return replica->commit_stage == COMMIT_READ;
    if (!commit_has_room(replica, replica_prepare_of(message))) {
        if (replica->status == REPLICA_STOPPED) return true;
        return commit_wait(replica);
    }
    replica->commit_waits = false;
    /* It is intact, so another version has made it: nothing that this one could go on with. */
    if (!replica_commit_start(replica, message)) replica_stop(replica);
    return true;
}

/*
 * Asks for what the batches need, as far as this round knows. Returns true if another round is
 * needed.
 */
static bool
batches_ask(struct replica *replica)
{
    struct state_machine *machine = replica->machine;
    struct multi_batch_reader ahead = replica->execution.reader;
    struct state_machine_batch batch;
    bool more = false;
    assert(ahead.batch_index == 0);
    assert(replica->execution.begun);
    while (multi_batch_next(&ahead, &batch)) {
        more |= machine->ops->ask(machine, &batch, replica->execution.round);
    }
    return more;
}

static enum forest_found
batches_prefetch(struct replica *replica)
{
    struct replica_execution *execution = &replica->execution;
    assert(execution->begun);
    for (;;) {
        if (!execution->round_asked) execution->another_round = batches_ask(replica);
        execution->round_asked = true;
        const enum forest_found found = forest_prefetch(replica->forest);
        if (found != FOREST_FOUND || !execution->another_round) return found;
        execution->round_asked = false;
        execution->round += 1;
        assert(execution->round <= 1);
    }
}

static enum forest_found
execution_prefetch(struct replica *replica, const struct prepare_header *header)
{
    struct state_machine *machine = replica->machine;
    assert(!replica->execution.all_in_reach);
    assert(header->op == replica->commit + 1);
    machine->yielded = false;
    if (!replica->execution.begun) {
        replica->execution.begun = forest_begin(replica->forest, header->event_count);
        if (!replica->execution.begun) return FOREST_WAIT;
    }
    if (header->operation != PREPARE_BATCHES && header->operation != PREPARE_PULSE) {
        return forest_prefetch(replica->forest);
    }
    if (header->operation == PREPARE_BATCHES) return batches_prefetch(replica);
    return machine->ops->prefetch_pulse(machine, header->timestamp);
}

static bool
commit_prefetch(struct replica *replica)
{
    assert(replica->commit_stage == COMMIT_PREFETCH);
    if (!replica->execution.all_in_reach) {
        if (commit_waits(replica)) return false;
        const enum forest_found found =
            execution_prefetch(replica, replica_prepare_of(replica->execution.message));
        if (found == FOREST_LOST) {
            replica->lost = true;
            replica_stop(replica);
            return true;
        }
        if (found == FOREST_WAIT) return replica->machine->yielded || commit_wait(replica);
        assert(found == FOREST_FOUND);
        replica->execution.all_in_reach = true;
    }
    commit_enter(replica, COMMIT_EXECUTE);
    return true;
}

/* Executes a piece. After the last one the op is committed, and its requests are answered (R3). */
static void
commit_execute(struct replica *replica)
{
    struct message *message = replica->execution.message;
    const struct prepare_header *header = replica_prepare_of(message);
    struct queue *executed = &replica->execution.executed;
    assert(replica->commit_stage == COMMIT_EXECUTE);
    if (header->operation == PREPARE_PULSE) {
        replica->machine->ops->pulse(replica->machine, header->timestamp);
    } else if (header->operation == PREPARE_NODE) {
        replica_members_execute(replica, header);
    } else if (header->operation == PREPARE_FENCE) {
        replica_fences_execute(replica, header);
    } else if (!execute_batches(replica, EXECUTE_EVENTS_MAX)) {
        return;
    } else {
        take_origins(replica);
    }
    replica->commit_header = *header;
    if (header->op >= replica->op_admitted) replica->pipeline_events -= header->event_count;
    replica->checkpoint_events += header->event_count;
    replica->commit += 1; /* (R2) */
    replica->execution.message = NULL;
    message_release(&replica->pool, message);
    commit_enter(replica, COMMIT_COMPACT);
    while (!queue_empty(executed)) {
        struct replica_request *request = replica_pop_request(executed);
        request->callback(request, REPLICA_EXECUTED);
    }
}

static bool
commit_compact(struct replica *replica)
{
    assert(replica->commit_stage == COMMIT_COMPACT);
    assert(replica->commit_header.op == replica->commit);
    if (commit_waits(replica)) return false;
    switch (forest_compact(replica->forest, replica->commit)) {
    case FOREST_WORK_DONE: break;
    case FOREST_WORK_LEFT: return true;
    case FOREST_WORK_WAITS: return commit_wait(replica);
    }
    commit_enter(replica, COMMIT_IDLE);
    if (checkpoint_due(replica, &replica->commit_header)) checkpoint_start(replica);
    return true;
}

bool
replica_commit(struct replica *replica)
{
    bool progress = false;
    if (replica->status == REPLICA_CLOSED || replica->status == REPLICA_STOPPED) return false;
    if (replica->commit_stage == COMMIT_IDLE) progress |= commit_begin(replica);
    if (replica->status == REPLICA_STOPPED) return true;
    if (replica->commit_stage == COMMIT_PREFETCH) progress |= commit_prefetch(replica);
    if (replica->status == REPLICA_STOPPED) return true;
    if (replica->commit_stage == COMMIT_EXECUTE) {
        commit_execute(replica);
        progress = true;
    }
    if (replica->commit_stage == COMMIT_COMPACT) progress |= commit_compact(replica);
    replica_invariants(replica);
    return progress;
}

bool
replica_committing(const struct replica *replica)
{
    return replica->commit_stage != COMMIT_IDLE || commit_next(replica) != 0;
}

bool
replica_executing(const struct replica *replica)
{
    return replica->commit_stage == COMMIT_EXECUTE;
}
