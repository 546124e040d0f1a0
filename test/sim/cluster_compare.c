/* SPDX-License-Identifier: PostgreSQL */
/* In the calm: all nodes have the same state, and it is the model's. (I8) */
#include <inttypes.h>
#include <string.h>

#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "store/grid.h"
#include "store/superblock.h"

static uint8_t reply[CLUSTER_REPLY_SIZE_MAX] __attribute__((aligned(16)));

/* ---- With each other ------------------------------------------------------------------------- */

static void
compare_states(const struct cluster_node *a, const struct cluster_node *b)
{
    const struct cluster *cluster = a->cluster;
    struct engine_state of_a;
    struct engine_state of_b;
    engine_state_get(a->engine, &of_a);
    engine_state_get(b->engine, &of_b);
    cluster_check(
        cluster,
        of_a.commit == of_b.commit && of_a.op == of_b.op,
        "nodes %u and %u are at ops %" PRIu64 " and %" PRIu64,
        a->index,
        b->index,
        of_a.commit,
        of_b.commit);
    cluster_check(cluster, of_a.timestamp == of_b.timestamp, "timestamps differ");
    cluster_check(cluster, of_a.accounts == of_b.accounts, "numbers of accounts differ");
    cluster_check(cluster, of_a.transfers == of_b.transfers, "numbers of transfers differ");
    cluster_check(cluster, of_a.tables == of_b.tables, "numbers of tables differ");
    cluster_check(
        cluster,
        of_a.checkpoint_op == of_b.checkpoint_op,
        "nodes %u and %u have checkpoints at ops %" PRIu64 " and %" PRIu64,
        a->index,
        b->index,
        of_a.checkpoint_op,
        of_b.checkpoint_op);
    cluster_check(
        cluster,
        superblock_checkpoint_id(&a->engine->superblock) ==
            superblock_checkpoint_id(&b->engine->superblock),
        "checkpoint ids differ");
}

/* Live blocks, byte by byte. */
static void
compare_blocks(const struct cluster_node *a, const struct cluster_node *b)
{
    const struct grid *grid = &a->engine->grid;
    const struct storage_sim_file *file_a = &a->disk.files[STORAGE_GRID];
    const struct storage_sim_file *file_b = &b->disk.files[STORAGE_GRID];
    const uint64_t end = grid_live_end(grid);
    for (uint64_t address = 1; address <= end; address++) {
        const bool live_a = grid_is_acquired(grid, address) && !grid_is_released(grid, address);
        const bool live_b = grid_is_acquired(&b->engine->grid, address) &&
                            !grid_is_released(&b->engine->grid, address);
        cluster_check(
            a->cluster,
            live_a == live_b,
            "block %" PRIu64 " is live at one of nodes %u and %u only",
            address,
            a->index,
            b->index);
        if (!live_a) continue;
        const uint64_t offset = (address - 1) * BLOCK_SIZE;
        assert(offset + BLOCK_SIZE <= file_a->size_bytes);
        cluster_check(
            a->cluster,
            offset + BLOCK_SIZE <= file_b->size_bytes &&
                memcmp(file_a->bytes + offset, file_b->bytes + offset, BLOCK_SIZE) == 0,
            "block %" PRIu64 " differs between nodes %u and %u",
            address,
            a->index,
            b->index);
    }
}

/* ---- With the model -------------------------------------------------------------------------- */

static void
compare_read(
    struct cluster_node *node, uint8_t operation, const void *input, uint32_t input_size)
{
    static uint8_t expected[CLUSTER_REPLY_SIZE_MAX];
    const uint32_t size = cluster_read_now(node, operation, input, input_size, reply);
    const uint32_t size_expected = model_read(
        &node->cluster->history.model,
        operation,
        input,
        input_size,
        expected,
        CLUSTER_REPLY_SIZE_MAX);
    cluster_check(
        node->cluster,
        size == size_expected && memcmp(reply, expected, size) == 0,
        "node %u: read %u differs from the model",
        node->index,
        operation);
}

static void
compare_ids(struct cluster_node *node, uint8_t operation, const struct model_ids *ids)
{
    for (uint32_t i = 0; i < ids->count; i += RESULTS_MAX) {
        const uint32_t count = (uint32_t) min_u64(ids->count - i, RESULTS_MAX);
        compare_read(node, operation, &ids->ids[i], count * (uint32_t) sizeof(u128));
    }
}

static void
compare_events(struct cluster_node *node)
{
    const struct model *model = &node->cluster->history.model;
    struct change_events_filter filter = {.limit = UINT32_MAX};
    uint32_t done = 0;
    for (;;) {
        const uint32_t size = cluster_read_now(
            node, LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter), reply);
        const uint32_t count = size / (uint32_t) sizeof(struct change_event);
        cluster_check(
            node->cluster,
            count <= model->event_count - done &&
                memcmp(reply, &model->events[done], size) == 0,
            "node %u: change events %u … differ",
            node->index,
            done);
        done += count;
        if (count == 0) break;
        filter.timestamp_min = model->events[done - 1].timestamp + 1;
    }
    cluster_check(node->cluster, done == model->event_count, "change events are missing");
}

static struct cluster_node *
first_voter(struct cluster *cluster)
{
    struct cluster_node *node = cluster->nodes;
    while (!cluster_growth_votes(node)) node += 1;
    assert(node < cluster->nodes + cluster->options.node_count);
    return node;
}

void
cluster_compare(struct cluster *cluster)
{
    const struct model *model = &cluster->history.model;
    struct cluster_node *first = first_voter(cluster);
    if (cluster->canary == CLUSTER_CANARY_STATE && cluster->networked) {
        uint8_t *block = first->disk.files[STORAGE_GRID].bytes;
        const uint64_t end = grid_live_end(&first->engine->grid);
        if (end > 0) block[(end - 1) * BLOCK_SIZE + BLOCK_SIZE / 2] ^= 1;
    }
    model_check_invariants(model);
    cluster_check(cluster, first->commit == cluster->history.head, "nodes are behind");
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        if (&cluster->nodes[i] == first || !cluster_growth_votes(&cluster->nodes[i])) continue;
        compare_states(first, &cluster->nodes[i]);
        compare_blocks(first, &cluster->nodes[i]);
        compare_blocks(&cluster->nodes[i], first);
    }
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!cluster_growth_votes(node)) continue;
        compare_ids(node, LEDGER_LOOKUP_ACCOUNTS, &model->account_ids);
        compare_ids(node, LEDGER_LOOKUP_TRANSFERS, &model->transfer_ids);
        compare_ids(node, LEDGER_LOOKUP_TRANSFERS, &model->burnt_ids);
        compare_events(node);
    }
}
