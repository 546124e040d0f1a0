/* SPDX-License-Identifier: PostgreSQL */
/* The one log, as whoever came first has executed it, and the model of it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "store/superblock.h"
#include "vsr/multi_batch.h"

void
cluster_history_init(struct cluster *cluster)
{
    const struct cluster_options *options = &cluster->options;
    const uint32_t clients = options->node_count * CLUSTER_CLIENTS_MAX;
    const uint32_t events_max =
        (options->requests + 2 * clients) * cluster->workload.options.events_max;
    model_init(&cluster->history.model, events_max, events_max);
    for (uint32_t i = 0; i <= options->node_count; i++) {
        model_init(&cluster->nodes[i].model, events_max, events_max);
    }
    if (options->grows) {
        members_lone(&cluster->history.members, cluster->nodes[0].identity.incarnation);
    }
}

void
cluster_history_free(struct cluster *cluster)
{
    struct cluster_history *history = &cluster->history;
    for (uint64_t op = 1; op <= history->head; op++) {
        free(history->ops[op].prepare);
        free(history->ops[op].results);
    }
    for (uint32_t i = 0; i < history->written_count; i++) free(history->written[i].prepare);
    model_free(&history->model);
    for (uint32_t i = 0; i <= cluster->options.node_count; i++) {
        model_free(&cluster->nodes[i].model);
    }
}

const struct prepare_header *
cluster_history_header(const struct cluster *cluster, uint64_t op)
{
    if (op == 0) return NULL;
    assert(op <= cluster->history.head);
    return (const struct prepare_header *) (const void *) cluster->history.ops[op].prepare;
}

static u128
checksum_at(const struct cluster *cluster, uint64_t op)
{
    struct prepare_header root;
    if (op > 0) return cluster_history_header(cluster, op)->checksum;
    const bool several = cluster->networked && !cluster->options.grows;
    const uint16_t voters = several ? members_voters(&cluster->members) : 1;
    prepare_root(&root, cluster->nodes[0].identity.cluster, voters);
    return root.checksum;
}

/* ---- What was asked -------------------------------------------------------------------------- */

u128
cluster_history_name(uint64_t session, uint8_t operation, const void *events, uint32_t size_bytes)
{
    struct {
        u128 content;
        uint64_t session;
        uint64_t operation;
    } name = {
        .content = checksum(events, size_bytes),
        .session = session,
        .operation = operation,
    };
    return checksum(&name, sizeof(name));
}

struct cluster_asked *
cluster_history_asked(struct cluster *cluster, u128 asked)
{
    struct cluster_history *history = &cluster->history;
    assert(asked != 0);
    for (uint64_t i = 0; i < CLUSTER_ASKED_MAX; i++) {
        struct cluster_asked *entry = &history->asked[(u128_low(asked) + i) % CLUSTER_ASKED_MAX];
        if (entry->asked == 0) entry->asked = asked;
        if (entry->asked == asked) return entry;
    }
    cluster_fail(cluster, "more batches than there is room for");
}

/* ---- What disks are given -------------------------------------------------------------------- */

static void
wrote_prepare(struct cluster *cluster, const struct prepare_header *header, uint64_t size_bytes)
{
    struct cluster_history *history = &cluster->history;
    if (!prepare_header_valid(header, cluster->nodes[0].identity.cluster)) return;
    if (header->op <= history->head) return;
    for (uint32_t i = 0; i < history->written_count; i++) {
        if (history->written[i].checksum == header->checksum) return;
    }
    cluster_check(
        cluster, history->written_count < CLUSTER_WRITTEN_MAX, "too many prepares are undecided");
    struct cluster_written *written = &history->written[history->written_count];
    *written = (struct cluster_written){
        .checksum = header->checksum,
        .op = header->op,
        .prepare = aligned_alloc(SECTOR_SIZE, align_up(size_bytes, SECTOR_SIZE)),
    };
    assert(written->prepare != NULL);
    memcpy(written->prepare, header, size_bytes);
    history->written_count += 1;
}

/* (I7) */
static void
wrote_superblock(struct cluster_node *node, const struct superblock_state *state)
{
    struct cluster *cluster = node->cluster;
    const uint64_t op = state->checkpoint.header.op;
    const u128 id = checksum(&state->checkpoint, sizeof(state->checkpoint));
    cluster_check(cluster, op < CLUSTER_OPS_MAX, "too many ops");
    struct cluster_checkpoint *known = &cluster->history.checkpoints[op];
    if (known->id == 0) {
        *known = (struct cluster_checkpoint){.op = op, .id = id};
        cluster->counts.checkpoints += op > 0;
    }
    cluster_check(
        cluster,
        known->id == id,
        "node %u: the checkpoint of op %" PRIu64 " is another than it was first",
        node->index,
        op);
}

void
cluster_history_wrote(void *context, const struct storage_request *write, bool done)
{
    struct cluster_node *node = context;
    (void) done;
    if (write->file == STORAGE_SUPERBLOCK) wrote_superblock(node, write->buffer);
    if (write->file == STORAGE_PREPARES) {
        wrote_prepare(node->cluster, write->buffer, write->size_bytes);
    }
}

/* ---- Execution ------------------------------------------------------------------------------- */

static bool
durable_at(const struct cluster_node *node, const struct prepare_header *header)
{
    /* It was, when it was acknowledged. */
    if (node->copied && header->op <= node->had_op && header->view <= node->had_view) return true;
    const struct cluster_options *options = &node->cluster->options;
    const uint64_t ring_size = options->prepares_size_bytes;
    const uint8_t *prepares = node->disk.files[STORAGE_PREPARES].bytes;
    const uint8_t *headers = node->disk.files[STORAGE_HEADERS].bytes;
    const uint64_t entry = headers_log_entry(headers_log_count(ring_size), header->op);
    if (memcmp(prepares + header->position % ring_size, header, header->size) != 0) return false;
    return options->sync == JOURNAL_SYNC_FIRST ||
           memcmp(headers + entry * PREPARE_HEADER_SIZE, header, PREPARE_HEADER_SIZE) == 0;
}

/* (I2) */
static void
check_durable(const struct cluster *cluster, const struct prepare_header *header)
{
    uint32_t count = cluster->options.node_count;
    uint32_t durable = 0;
    if (cluster->options.grows) {
        count = members_voter_count(header->voters);
        durable = cluster_growth_durable(cluster, header, durable_at);
    } else {
        for (uint32_t i = 0; i < count; i++) durable += durable_at(&cluster->nodes[i], header);
    }
    cluster_check(
        cluster,
        durable >= members_quorum(count),
        "op %" PRIu64 " was executed, and %u of %u disks have it",
        header->op,
        durable,
        count);
}

/* (I3), of sessions: neither an older one can come, nor an older number. */
static void
check_source(struct cluster *cluster, uint64_t op, const struct multi_batch_source *source)
{
    struct cluster_history *history = &cluster->history;
    const struct session *session = &history->sessions.slots[source->slot];
    cluster_check(
        cluster,
        source->session > session->session ||
            (source->session == session->session && source->number > session->number),
        "op %" PRIu64 ": slot %u has number %" PRIu64 " after number %" PRIu64,
        op,
        source->slot,
        source->number,
        session->number);
    history->sessions.slots[source->slot] =
        (struct session){.session = source->session, .number = source->number};
}

/* (I4) */
static void
check_asked(
    struct cluster *cluster,
    uint64_t op,
    const struct multi_batch_source *source,
    const struct state_machine_batch *batch)
{
    const u128 name = cluster_history_name(
        source->session, batch->operation, batch->events, batch->event_count * EVENT_SIZE);
    struct cluster_asked *asked = cluster_history_asked(cluster, name);
    asked->executed += 1;
    cluster_check(
        cluster,
        asked->executed <= asked->sent,
        "op %" PRIu64 ": a batch of slot %u is in the log %u times, and was sent %u times",
        op,
        source->slot,
        asked->executed,
        asked->sent);
}

/* The model executes the batches. With `results`, this is the first time. */
static void
execute_batches(
    struct cluster *cluster,
    struct model *model,
    const struct prepare_header *header,
    struct create_result *results)
{
    struct create_result again[EVENTS_PER_BATCH_MAX];
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    const struct multi_batch_sums sums = {header->event_count, header->record_count};
    const bool opened = multi_batch_open(
        &reader,
        (const uint8_t *) header + PREPARE_HEADER_SIZE,
        header->size - PREPARE_HEADER_SIZE,
        header->timestamp,
        sums);
    cluster_check(cluster, opened, "op %" PRIu64 ": the body is not batches", header->op);
    while (multi_batch_next(&reader, &batch)) {
        if (results != NULL) {
            check_source(cluster, header->op, &reader.source);
            check_asked(cluster, header->op, &reader.source, &batch);
        }
        model_execute(
            model,
            batch.operation,
            batch.events,
            batch.event_count,
            batch.timestamp_final,
            results != NULL ? results : again);
        if (results != NULL) results += batch.event_count;
    }
}

/* What was written for this op, or an older one, and wasn't executed never will be. */
static uint8_t *
take_written(struct cluster *cluster, uint64_t op, u128 checksum_executed)
{
    struct cluster_history *history = &cluster->history;
    uint8_t *found = NULL;
    for (uint32_t i = history->written_count; i > 0; i--) {
        struct cluster_written *written = &history->written[i - 1];
        if (written->op > op) continue;
        if (written->checksum == checksum_executed) {
            found = written->prepare;
        } else {
            free(written->prepare);
        }
        history->written_count -= 1;
        *written = history->written[history->written_count];
    }
    cluster_check(cluster, found != NULL, "op %" PRIu64 " was executed, and never written", op);
    return found;
}

/* The node is the first one that executes the next op. (I1) (I3) */
static void
fix_op(struct cluster *cluster, uint64_t op, u128 checksum_executed)
{
    struct cluster_history *history = &cluster->history;
    cluster_check(cluster, op < CLUSTER_OPS_MAX, "too many ops");
    assert(op == history->head + 1);
    struct cluster_op *fixed = &history->ops[op];
    fixed->prepare = take_written(cluster, op, checksum_executed);
    const struct prepare_header *header = (const void *) fixed->prepare;
    const u128 cluster_id = cluster->nodes[0].identity.cluster;
    const struct prepare_header *parent = cluster_history_header(cluster, history->head);
    const uint64_t timestamp = parent == NULL ? 0 : parent->timestamp;
    cluster_check(cluster, header->op == op, "op %" PRIu64 " is op %" PRIu64, op, header->op);
    cluster_check(cluster, prepare_valid(header, cluster_id), "op %" PRIu64 ": invalid", op);
    cluster_check(
        cluster,
        header->parent == checksum_at(cluster, op - 1),
        "op %" PRIu64 ": broken chain",
        op);
    cluster_check(
        cluster,
        header->timestamp - header->event_count >= timestamp,
        "op %" PRIu64 ": time goes back",
        op);
    check_durable(cluster, header);
    if (header->operation == PREPARE_PULSE) {
        cluster_check(
            cluster,
            model_pulse_due(&history->model, header->timestamp),
            "op %" PRIu64 ": a pulse, and nothing is due",
            op);
        model_pulse(&history->model, header->timestamp);
    } else if (header->operation == PREPARE_NODE) {
        cluster_growth_executed(cluster, header);
    } else if (header->operation == PREPARE_FENCE) {
        cluster->counts.records += 1;
    } else {
        fixed->results = calloc(header->event_count, sizeof(struct create_result));
        assert(fixed->results != NULL);
        execute_batches(cluster, &history->model, header, fixed->results);
    }
    history->head = op;
}

/* The node's model follows. */
static void
execute_at(struct cluster_node *node, uint64_t op)
{
    const struct prepare_header *header = cluster_history_header(node->cluster, op);
    assert(op == node->model_op + 1);
    if (header->operation == PREPARE_PULSE) {
        model_pulse(&node->model, header->timestamp);
    } else if (header->operation == PREPARE_BATCHES) {
        execute_batches(node->cluster, &node->model, header, NULL);
    }
    node->model_op = op;
}

/* (I1) The header is asked for as the engine has it: what it executes next follows from that. */
static void
check_op(struct cluster_node *node, uint64_t op)
{
    struct cluster *cluster = node->cluster;
    const struct journal *journal = &node->engine->journal;
    if (op < journal->checkpoint.op) return;
    const u128 executed = journal_header(journal, op)->checksum;
    if (op == cluster->history.head + 1) fix_op(cluster, op, executed);
    cluster_check(
        cluster,
        executed == checksum_at(cluster, op),
        "node %u has executed another op %" PRIu64 " than who came first",
        node->index,
        op);
}

void
cluster_history_capture(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const uint64_t commit = replica_committed(&node->engine->replica);
    cluster_check(cluster, commit >= node->commit, "node %u: commit goes back", node->index);
    cluster_check(
        cluster,
        commit <= cluster->history.head + 1,
        "node %u has executed op %" PRIu64 " unseen",
        node->index,
        cluster->history.head + 1);
    while (node->commit < commit) {
        check_op(node, node->commit + 1);
        node->commit += 1;
        execute_at(node, node->commit);
        cluster_clients_executed(node);
    }
}

/* Its model has never been ahead of what it has executed, but may be now. */
static void
rewind_model(struct cluster_node *node, uint64_t op)
{
    model_clear(&node->model);
    node->model_op = 0;
    node->cluster->counts.rewinds += 1;
    while (node->model_op < op) execute_at(node, node->model_op + 1);
}

/* The written prepare of the op, of which the checksum is known. */
static const struct prepare_header *
written_header(struct cluster *cluster, uint64_t op, u128 checksum_known)
{
    const struct cluster_history *history = &cluster->history;
    for (uint32_t i = 0; i < history->written_count; i++) {
        if (history->written[i].checksum != checksum_known) continue;
        return (const struct prepare_header *) (const void *) history->written[i].prepare;
    }
    cluster_fail(cluster, "op %" PRIu64 " is in a checkpoint, and was never written", op);
}

/*
 * A node that crashes while it opens may have executed ops before anybody else, and have made a
 * checkpoint behind them. When it opens again, the journal begins there; their chain is known.
 */
static void
fix_behind_checkpoint(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    u128 chain[CLUSTER_WRITTEN_MAX];
    const uint64_t head = cluster->history.head;
    const struct prepare_header *checkpoint = &node->engine->journal.checkpoint;
    if (checkpoint->op <= head) return;
    const uint64_t count = checkpoint->op - head;
    cluster_check(cluster, count <= CLUSTER_WRITTEN_MAX, "too many ops were executed unseen");
    u128 named = checkpoint->checksum;
    for (uint64_t i = count; i > 0; i--) {
        chain[i - 1] = named;
        named = written_header(cluster, head + i, named)->parent;
    }
    for (uint64_t i = 0; i < count; i++) fix_op(cluster, head + i + 1, chain[i]);
}

void
cluster_history_opened(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const uint64_t commit = replica_committed(&node->engine->replica);
    const bool alone = !cluster->networked;
    cluster_check(
        cluster,
        !alone || commit >= node->commit,
        "open at op %" PRIu64 ", and op %" PRIu64 " was executed",
        commit,
        node->commit);
    fix_behind_checkpoint(node);
    for (uint64_t op = 1; op <= commit; op++) check_op(node, op);
    node->commit = commit;
    if (node->model_op > commit) rewind_model(node, commit);
    while (node->model_op < commit) execute_at(node, node->model_op + 1);
}
