/* SPDX-License-Identifier: PostgreSQL */
/* The log as the engine gave it to the disk, and the model that executes it. (O1) (O2) (O3) */
#include "sim/sim.h"

#include <inttypes.h>
#include <string.h>

#include "base/units.h"
#include "vsr/multi_batch.h"

void
oracle_init(struct sim *sim)
{
    struct sim_oracle *oracle = &sim->oracle;
    struct prepare_header root;
    const uint32_t events_max =
        (sim->options.requests + SIM_CLIENTS_MAX) * sim->workload.options.events_max;
    model_init(&oracle->model, events_max, events_max);
    clients_init(sim, events_max);
    for (uint32_t i = 0; i < SIM_LOG_ENTRIES; i++) {
        oracle->log[i].op = 0;
    }
    prepare_root(&root, sim_identity.cluster, 1);
    oracle->checksum = root.checksum;
}

void
oracle_free(struct sim *sim)
{
    model_free(&sim->oracle.model);
    clients_free(sim);
}

const struct prepare_header *
oracle_prepare(const struct sim *sim, uint64_t op)
{
    const struct sim_log_entry *entry = &sim->oracle.log[op % SIM_LOG_ENTRIES];
    if (op == 0 || entry->op != op) return NULL;
    return (const struct prepare_header *) (const void *) entry->bytes;
}

/*
 * (O10) A checkpoint that a crash cut short, or left in doubt, is made again from the log: the same
 * one. Its root's checksum stands for all that it refers to.
 */
static void
wrote_root(struct sim *sim, const struct block_header *header)
{
    struct sim_oracle *oracle = &sim->oracle;
    assert(header->type == BLOCK_ROOT);
    if (header->op == oracle->root.op) {
        sim_check(
            sim,
            header->checksum == oracle->root.checksum && header->address == oracle->root.address,
            "the checkpoint of op %" PRIu64 " has another root than before",
            header->op);
    }
    oracle->root = *header;
}

static void
wrote_blocks(struct sim *sim, const struct storage_request *write)
{
    assert(write->size_bytes % BLOCK_SIZE == 0);
    for (uint64_t at = 0; at < write->size_bytes; at += BLOCK_SIZE) {
        uint64_t piece_bytes;
        const void *block = storage_request_piece(write, at, &piece_bytes);
        const struct block_header *header = block;
        if (header->type == BLOCK_ROOT) wrote_root(sim, header);
    }
}

static void
wrote_superblock(struct sim *sim, const struct superblock_state *state)
{
    struct sim_oracle *oracle = &sim->oracle;
    const struct checkpoint_state *checkpoint = &state->checkpoint;
    const uint64_t op = checkpoint->header.op;
    if (op == oracle->checkpoint.header.op && op > 0) {
        const bool same = memcmp(&oracle->checkpoint, checkpoint, sizeof(*checkpoint)) == 0;
        sim_check(sim, same, "the checkpoint of op %" PRIu64 " is another than before", op);
    }
    oracle->checkpoint = *checkpoint;
}

/* Also sees what recovery erases: that is no prepare. */
void
oracle_wrote(struct sim *sim, const struct storage_request *write, bool done)
{
    struct sim_oracle *oracle = &sim->oracle;
    const struct prepare_header *header = write->buffer;
    if (write->file == STORAGE_SUPERBLOCK) wrote_superblock(sim, write->buffer);
    if (write->file == STORAGE_GRID) wrote_blocks(sim, write);
    if (write->file != STORAGE_PREPARES) return;
    if (!prepare_header_valid(header, sim_identity.cluster)) return;
    sim_check(sim, write->size_bytes == prepare_size_on_disk(header), "size of a prepare's write");
    sim_check(
        sim,
        write->offset_bytes == header->position % sim->options.prepares_size_bytes,
        "op %" PRIu64 " is written to a wrong place",
        header->op);
    sim_check(
        sim,
        header->op > oracle->commit,
        "op %" PRIu64 " is written again, %" PRIu64 " are committed",
        header->op,
        oracle->commit);
    struct sim_log_entry *entry = &oracle->log[header->op % SIM_LOG_ENTRIES];
    entry->op = header->op;
    memcpy(entry->bytes, write->buffer, write->size_bytes);
    if (!done) return;
    oracle->op_done = header->op;
    window_wrote(sim, header);
}

/* ---- Execution ------------------------------------------------------------------------------- */

static void
check_answer(
    struct sim *sim,
    struct sim_client *client,
    const struct state_machine_batch *batch,
    const struct create_result *results)
{
    const struct engine_request *request = &client->request;
    const uint32_t count = batch->event_count;
    const struct create_result *replies = request->reply;
    client->state = SIM_CLIENT_IDLE;
    const bool same_batch = request->operation == batch->operation &&
                            request->input_size == count * EVENT_SIZE &&
                            memcmp(request->input, batch->events, count * EVENT_SIZE) == 0;
    sim_check(sim, same_batch, "an answer is not of the batch that was committed");
    sim_check(sim, request->reply_size == count * RESULT_SIZE, "size of an answer");
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(&replies[i], &results[i], sizeof(results[i])) == 0) continue;
        sim_fail(
            sim,
            "operation %u, event %u: status %u at %" PRIu64 ", the model has %u at %" PRIu64,
            batch->operation,
            i,
            replies[i].status,
            replies[i].timestamp,
            results[i].status,
            results[i].timestamp);
    }
}

/* Each life is a session, whose batches are numbered 1, 2, 3 … in the log. (O1) */
static void
check_source(struct sim *sim, const struct multi_batch_source *source)
{
    struct sim_oracle *oracle = &sim->oracle;
    const uint64_t before = source->session == oracle->session ? oracle->number : 0;
    sim_check(
        sim,
        source->slot == 0 && source->number == before + 1 && source->session >= oracle->session,
        "a batch is number %" PRIu64 " of its session, after number %" PRIu64,
        source->number,
        before);
    oracle->session = source->session;
    oracle->number = source->number;
}

static void
execute_batches(struct sim *sim, const struct prepare_header *header, bool replay)
{
    struct sim_oracle *oracle = &sim->oracle;
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    struct create_result results[EVENTS_PER_BATCH_MAX];
    uint32_t used = 0;
    const struct multi_batch_sums sums = {header->event_count, header->record_count};
    const bool opened = multi_batch_open(
        &reader,
        (const uint8_t *) header + PREPARE_HEADER_SIZE,
        header->size - PREPARE_HEADER_SIZE,
        header->timestamp,
        sums);
    sim_check(sim, opened, "op %" PRIu64 ": the body is not batches", header->op);
    while (multi_batch_next(&reader, &batch)) {
        check_source(sim, &reader.source);
        model_execute(
            &oracle->model,
            batch.operation,
            batch.events,
            batch.event_count,
            batch.timestamp_final,
            results);
        if (replay) continue;
        sim_check(
            sim, used < oracle->answered_count, "op %" PRIu64 ": no answer", header->op);
        check_answer(sim, oracle->answered[used], &batch, results);
        used += 1;
    }
    oracle->answered_count -= used;
    memmove(
        oracle->answered,
        oracle->answered + used,
        oracle->answered_count * sizeof(oracle->answered[0]));
}

/* The engine has committed the next op. */
static void
commit_next(struct sim *sim, bool replay)
{
    struct sim_oracle *oracle = &sim->oracle;
    const uint64_t op = oracle->commit + 1;
    const struct prepare_header *header = oracle_prepare(sim, op);
    sim_check(sim, header != NULL, "op %" PRIu64 " was committed, and never written", op);
    sim_check(sim, prepare_valid(header, sim_identity.cluster), "op %" PRIu64 " invalid", op);
    sim_check(sim, header->parent == oracle->checksum, "op %" PRIu64 ": broken chain", op);
    sim_check(
        sim,
        header->timestamp - header->event_count >= oracle->timestamp,
        "op %" PRIu64 ": time goes back",
        op);
    if (header->operation == PREPARE_PULSE) {
        sim_check(
            sim,
            model_pulse_due(&oracle->model, header->timestamp),
            "op %" PRIu64 ": a pulse, and nothing is due",
            op);
        model_pulse(&oracle->model, header->timestamp);
    } else {
        execute_batches(sim, header, replay);
    }
    oracle->commit = op;
    oracle->checksum = header->checksum;
    oracle->timestamp = header->timestamp;
    window_committed(sim);
}

void
oracle_capture(struct sim *sim)
{
    struct sim_oracle *oracle = &sim->oracle;
    struct engine_state state;
    if (oracle->op_done == oracle->commit && oracle->answered_count == 0) return;
    engine_state_get(sim->engine, &state);
    sim_check(sim, state.commit >= oracle->commit, "commit goes back");
    while (oracle->commit < state.commit) {
        commit_next(sim, false);
        clients_committed(sim);
    }
    sim_check(sim, oracle->answered_count == 0, "an answer without a commit");
    sim_check(
        sim,
        state.checkpoint_op >= oracle->checkpoint_op && state.checkpoint_op <= state.commit,
        "checkpoint %" PRIu64 " after %" PRIu64,
        state.checkpoint_op,
        oracle->checkpoint_op);
    oracle->checkpoint_op = state.checkpoint_op;
}

void
oracle_opened(struct sim *sim, uint64_t op)
{
    struct sim_oracle *oracle = &sim->oracle;
    struct engine_state state;
    engine_state_get(sim->engine, &state);
    sim_check(
        sim,
        op >= oracle->commit,
        "open at op %" PRIu64 ", but op %" PRIu64 " was acknowledged",
        op,
        oracle->commit);
    sim_check(sim, state.op == op && state.commit == op, "open, but not all is committed");
    while (oracle->commit < op) commit_next(sim, true);
    for (uint32_t i = 0; i < SIM_LOG_ENTRIES; i++) {
        if (oracle->log[i].op > op) oracle->log[i].op = 0;
    }
    oracle->op_done = op;
    oracle->checkpoint_op = state.checkpoint_op;
    sim_check(sim, state.timestamp == oracle->timestamp, "open at another timestamp");
    if (sim->canary == SIM_CANARY_STATE && oracle->model.account_ids.count > 0) {
        oracle->model.accounts[0].user_data_32 ^= 1;
    }
}
