/* SPDX-License-Identifier: PostgreSQL */
/*
 * Committing: prepares of the journal, executed in op order; and the checkpoint that follows when
 * one is due.
 *
 *   COMMIT_IDLE ── execute an op; checkpoint due? ──no──→ COMMIT_IDLE
 *        │ yes: checkpoint_start
 *        ▼
 *   COMMIT_CHECKPOINT_FOREST ── checkpoint_on_forest ──→ COMMIT_CHECKPOINT_SUPERBLOCK
 *        ▲                                                     │ checkpoint_on_superblock
 *        └──────────────────────── next due ── COMMIT_IDLE ←───┘
 *
 * While a checkpoint runs nothing is executed, so the forest does not change under it; prepares go
 * on being journaled, as far as pipeline and ring allow.
 *
 * An op is executed in pieces of about EXECUTE_EVENTS_MAX events, between which the replica looks
 * for new requests: the disk shall not wait for a large batch to be executed.
 */
#include "base/units.h"
#include "vsr/replica_internal.h"

/* ---- Checkpoint ------------------------------------------------------------------------------ */

static void
checkpoint_on_superblock(struct superblock *superblock, enum superblock_result result)
{
    struct replica *replica = superblock->context;
    assert(replica->commit_stage == COMMIT_CHECKPOINT_SUPERBLOCK);
    if (result != SUPERBLOCK_OK) {
        replica_stop(replica);
        return;
    }
    forest_checkpoint_durable(replica->forest);
    journal_checkpoint_durable(replica->journal, &replica->checkpoint_header);
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
    const struct checkpoint_state state = {
        .header = replica->checkpoint_header,
        .manifest = forest_checkpoint_manifest(replica->forest),
        .grid_block_count = replica->grid->block_count,
    };
    replica->commit_stage = COMMIT_CHECKPOINT_SUPERBLOCK;
    superblock_update_checkpoint(
        replica->superblock,
        &state,
        replica->commit,
        checkpoint_on_superblock);
}

/* (R5) */
static bool
checkpoint_due(const struct replica *replica, const struct prepare_header *header)
{
    const struct prepare_header *checkpoint = &replica->journal->checkpoint;
    assert(header->op > checkpoint->op);
    const uint64_t used = header->position + prepare_size_on_disk(header) - checkpoint->position;
    return used > replica->journal->prepares_size_bytes / 2;
}

static void
checkpoint_start(struct replica *replica, const struct prepare_header *header)
{
    assert(replica->commit_stage == COMMIT_IDLE);
    assert(header->op == replica->commit);
    replica->commit_stage = COMMIT_CHECKPOINT_FOREST;
    replica->checkpoint_header = *header;
    forest_checkpoint(replica->forest, header->op, checkpoint_on_forest, replica);
}

/* ---- Execution ------------------------------------------------------------------------------- */

/* Checks the batches of a prepare, all of them before any is executed. */
static bool
batches_open(struct replica *replica, const struct prepare_header *header)
{
    struct state_machine *machine = replica->machine;
    struct replica_execution *execution = &replica->execution;
    struct multi_batch_reader *reader = &execution->reader;
    assert(!execution->active);
    if (!multi_batch_open(
            reader,
            (const char *) header + PREPARE_HEADER_SIZE,
            header->size - PREPARE_HEADER_SIZE,
            header->timestamp,
            header->event_count)) {
        return false;
    }
    for (uint32_t i = 0; i < reader->batch_count; i++) {
        const struct multi_batch_entry *entry = &reader->entries[i];
        if (!machine->ops->batch_valid(machine, entry->operation, entry->event_count)) return false;
    }
    struct multi_batch_reader ahead = *reader;
    while (multi_batch_next(&ahead, &execution->batch)) {
        machine->ops->prefetch(machine, &execution->batch);
    }
    execution->batch = (struct state_machine_batch){0};
    execution->next = 0;
    return true;
}

/*
 * Executes a piece of the batch at hand. In normal work, the batch goes with the oldest of
 * `requests`, which gets the results; in replay there are none.
 */
static void
batch_execute(struct replica *replica, struct queue *requests, uint32_t count)
{
    struct state_machine *machine = replica->machine;
    struct replica_execution *execution = &replica->execution;
    const struct state_machine_batch *batch = &execution->batch;
    if (queue_empty(requests)) {
        assert(replica->status == REPLICA_RECOVERING);
        execution->next = machine->ops->execute(
            machine, batch, replica->results, execution->next, count);
        return;
    }
    const struct replica_request *request =
        container_of(queue_peek(requests), struct replica_request, link);
    assert(request->operation == batch->operation);
    assert(request->event_count == batch->event_count);
    execution->next =
        machine->ops->execute(machine, batch, request->results, execution->next, count);
    if (execution->next < batch->event_count) return;
    queue_push(&execution->executed, &replica_pop_request(requests)->link);
}

bool
replica_execute_start(struct replica *replica, const struct prepare_header *header)
{
    assert(replica->commit_stage == COMMIT_IDLE);
    assert(header->op == replica->commit + 1);
    switch ((enum prepare_operation) header->operation) {
    case PREPARE_BATCHES:
        if (!batches_open(replica, header)) return false;
        break;
    case PREPARE_PULSE:
        if (header->event_count != PULSE_EXPIRIES_MAX) return false;
        if (header->size != PREPARE_HEADER_SIZE) return false;
        break;
    case PREPARE_RESERVED:
    case PREPARE_ROOT:
        return false;
    }
    replica->execution.active = true;
    return true;
}

/* True when all batches are executed. */
static bool
execute_batches(struct replica *replica, struct queue *requests, uint32_t count)
{
    struct replica_execution *execution = &replica->execution;
    uint32_t left = count;
    while (left > 0) {
        if (execution->next == execution->batch.event_count) {
            if (!multi_batch_next(&execution->reader, &execution->batch)) return true;
            execution->next = 0;
        }
        const uint32_t start = execution->next;
        batch_execute(replica, requests, left);
        left -= (uint32_t) min_u64(left, execution->next - start);
    }
    return false;
}

bool
replica_execute_some(
    struct replica *replica,
    const struct prepare_header *header,
    struct queue *requests,
    uint32_t count)
{
    assert(replica->execution.active);
    assert(header->op == replica->commit + 1);
    assert(count > 0);
    if (header->operation == PREPARE_PULSE) {
        replica->machine->ops->pulse(replica->machine, header->timestamp);
    } else if (!execute_batches(replica, requests, count)) {
        return false;
    }
    assert(queue_empty(requests));
    replica->execution.active = false;
    replica->commit += 1; /* (R2) */
    forest_write_ahead(replica->forest, replica->commit);
    while (!queue_empty(&replica->execution.executed)) {
        struct replica_request *request = replica_pop_request(&replica->execution.executed);
        request->callback(request, REPLICA_EXECUTED);
    }
    if (checkpoint_due(replica, header)) checkpoint_start(replica, header);
    return true;
}

bool
replica_executing(const struct replica *replica)
{
    return replica->execution.active;
}

bool
replica_commit(struct replica *replica)
{
    if (replica->status != REPLICA_NORMAL || replica->commit_stage != COMMIT_IDLE) return false;
    if (replica->commit == replica->journaled) return false;
    struct pipeline_entry *entry = replica_entry(replica, replica->commit + 1);
    const struct prepare_header *header = prepare_header_of(entry->message);
    if (!replica->execution.active) {
        const bool started = replica_execute_start(replica, header);
        assert(started); /* This replica made it. */
    }
    const uint64_t event_count = header->event_count;
    if (replica_execute_some(replica, header, &entry->requests, EXECUTE_EVENTS_MAX)) {
        replica->pipeline_events -= event_count;
    }
    replica_invariants(replica);
    return true;
}
