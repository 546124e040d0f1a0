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

static void
prefetch_batches(struct replica *replica, struct multi_batch_reader reader)
{
    struct state_machine_batch batch;
    while (multi_batch_next(&reader, &batch)) {
        replica->machine->ops->prefetch(replica->machine, &batch);
    }
}

/*
 * Executes the batches in order; each goes with the request that it came from, unless this is a
 * replay.
 */
static bool
execute_batches(
    struct replica *replica, const struct prepare_header *header, struct queue *requests)
{
    struct state_machine *machine = replica->machine;
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    const bool answered = !queue_empty(requests);

    if (!multi_batch_open(
            &reader,
            (const char *) header + PREPARE_HEADER_SIZE,
            header->size - PREPARE_HEADER_SIZE,
            header->timestamp,
            header->event_count)) {
        return false;
    }
    for (uint32_t i = 0; i < reader.batch_count; i++) {
        const struct multi_batch_entry *entry = &reader.entries[i];
        if (!machine->ops->batch_valid(machine, entry->operation, entry->event_count)) return false;
    }
    assert(!answered || requests->count == reader.batch_count);

    prefetch_batches(replica, reader);
    while (multi_batch_next(&reader, &batch)) {
        if (!answered) {
            machine->ops->execute(machine, &batch, replica->results);
            continue;
        }
        struct replica_request *request = replica_pop_request(requests);
        assert(request->operation == batch.operation);
        assert(request->event_count == batch.event_count);
        machine->ops->execute(machine, &batch, request->results);
        request->callback(request, REPLICA_EXECUTED);
    }
    return true;
}

bool
replica_execute(struct replica *replica, void *message, struct queue *requests)
{
    const struct prepare_header *header = prepare_header_of(message);
    assert(replica->commit_stage == COMMIT_IDLE);
    assert(header->op == replica->commit + 1); /* (R2) */

    switch ((enum prepare_operation) header->operation) {
    case PREPARE_BATCHES:
        if (!execute_batches(replica, header, requests)) return false;
        break;
    case PREPARE_PULSE:
        if (header->event_count != PULSE_EXPIRIES_MAX) return false;
        if (header->size != PREPARE_HEADER_SIZE) return false;
        replica->machine->ops->pulse(replica->machine, header->timestamp);
        break;
    case PREPARE_RESERVED:
    case PREPARE_ROOT:
        return false;
    }
    replica->commit += 1;
    forest_write_ahead(replica->forest, replica->commit);
    if (checkpoint_due(replica, header)) checkpoint_start(replica, header);
    return true;
}

bool
replica_commit(struct replica *replica)
{
    bool progress = false;
    while (replica->status == REPLICA_NORMAL && replica->commit_stage == COMMIT_IDLE &&
           replica->commit < replica->journaled) {
        struct pipeline_entry *entry = replica_entry(replica, replica->commit + 1);
        const struct prepare_header *header = prepare_header_of(entry->message);
        replica->pipeline_events -= header->event_count;
        const bool executed = replica_execute(replica, entry->message, &entry->requests);
        assert(executed); /* This replica made it. */
        progress = true;
    }
    replica_invariants(replica);
    return progress;
}
