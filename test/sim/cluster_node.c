/* SPDX-License-Identifier: PostgreSQL */
/* The lives of the cluster's nodes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/units.h"
#include "engine/internal.h"
#include "forest/internal.h"
#include "sim/cluster.h"
#include "sim/memory.h"
#include "store/superblock.h"

#define CLUSTER_START_NS (UINT64_C(1750000000) * NS_PER_S)

/* Of each node, in all runs. */
static struct sim_memory memories[CLUSTER_PLACES_MAX];

/* ---- The clock ------------------------------------------------------------------------------- */

static uint64_t
node_realtime_ns(struct clock *clock)
{
    return container_of(clock, struct cluster_clock, clock)->realtime_ns;
}

static uint64_t
node_monotonic_ns(struct clock *clock)
{
    return container_of(clock, struct cluster_clock, clock)->monotonic_ns;
}

static const struct clock_ops node_clock_ops = {
    .realtime_ns = node_realtime_ns,
    .monotonic_ns = node_monotonic_ns,
};

static void
clock_step(struct cluster_node *node, uint64_t step_ns)
{
    struct prng *prng = &node->cluster->prng;
    const int64_t drift_ns =
        (int64_t) step_ns * node->options->clock_drift_ppm / INT64_C(1000000);
    const uint64_t own_ns = step_ns + (uint64_t) drift_ns;
    node->clock.monotonic_ns += own_ns;
    node->clock.realtime_ns += own_ns;
    if (node->cluster->calm || !prng_chance(prng, 1, 5000)) return;
    /* Somebody has set it. */
    const uint64_t jump_ns = prng_below(prng, 2 * NS_PER_S);
    if (prng_chance(prng, 1, 2)) {
        node->clock.realtime_ns += jump_ns;
    } else {
        node->clock.realtime_ns -= jump_ns;
    }
}

/* ---- Making ---------------------------------------------------------------------------------- */

static void
node_disk_init(struct cluster_node *node)
{
    const uint64_t ring_size = node->cluster->options.prepares_size_bytes;
    const struct storage_sim_options disk = {
        .file_size_bytes =
            {
                [STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
                [STORAGE_PREPARES] = ring_size,
                [STORAGE_HEADERS] = headers_log_count(ring_size) * PREPARE_HEADER_SIZE,
            },
        .latency_max_ticks = node->options->disk_latency_max_ticks,
        .wrote = cluster_history_wrote,
        .wrote_context = node,
    };
    storage_sim_init(&node->disk, &disk, &node->prng_disk);
}

void
cluster_node_init(struct cluster *cluster, uint32_t index)
{
    struct cluster_node *node = &cluster->nodes[index];
    const struct cluster_options *options = &cluster->options;
    node->cluster = cluster;
    node->index = index;
    node->options = &options->nodes[index];
    node->identity = (struct engine_identity){
        .cluster = CLUSTER_ID,
        .incarnation = 0x70 + node->options->slot,
        .system_identifier = 0x80 + node->options->slot,
        .replica = node->options->slot,
        .replica_count = (uint8_t) options->node_count,
    };
    struct member *member = &cluster->members.slots[node->options->slot];
    member->incarnation = node->identity.incarnation;
    member->role = MEMBER_VOTER;
    member->name[0] = (char) ('a' + index);
    if (options->grows) cluster_growth_init(node);
    node->clock = (struct cluster_clock){
        .clock.ops = &node_clock_ops,
        .realtime_ns = CLUSTER_START_NS + (uint64_t) node->options->clock_offset_ns,
        .monotonic_ns = prng_below(&cluster->prng, NS_PER_S),
    };
    prng_init(&node->prng_disk, prng_next(&cluster->prng));
    node_disk_init(node);
    if (node->options->grid_space_bytes > 0) {
        uint64_t *limit_bytes = &node->disk.options.space_limit_bytes;
        *limit_bytes = node->options->grid_space_bytes;
        for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) {
            *limit_bytes += node->disk.storage.file_size_bytes[i];
        }
        node->roomy_ns = prng_below(&cluster->prng, 4 * options->trouble_ns_max);
    }
    sim_memory_keep(&memories[index], memories[index].bytes, 0);
    for (uint32_t i = 0; i < CLUSTER_CLIENTS_MAX; i++) {
        node->clients[i].cluster = cluster;
        node->clients[i].node = node;
    }
}

void
cluster_node_free(struct cluster_node *node)
{
    storage_sim_free(&node->disk);
}

void
cluster_node_format(struct cluster_node *node)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    const struct cluster *cluster = node->cluster;
    memset(scratch, 0, sizeof(scratch));
    const enum engine_open_result result = engine_format(
        &node->disk.storage,
        cluster->options.prepares_size_bytes,
        &node->identity,
        cluster->networked && !cluster->options.grows ? &cluster->members : NULL,
        scratch);
    cluster_check(cluster, result == ENGINE_OPENED, "format: result %d", result);
    node->formatted = true;
}

/* ---- Lives ----------------------------------------------------------------------------------- */

static void
node_create(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct engine_options options = {
        .prepares_size_bytes = cluster->options.prepares_size_bytes,
        .grid_size_bytes = node->disk.storage.file_size_bytes[STORAGE_GRID],
        .requests_max = CLUSTER_CLIENTS_MAX + 1,
        .wal_sync = cluster->options.sync,
        .op_min = node->noted_op,
        .session = prng_range(&cluster->prng, 1, UINT64_MAX),
        .fence_seed = prng_range(&cluster->prng, 1, UINT64_MAX),
    };
    if (cluster->networked) {
        network_sim_start(&cluster->network, node->index);
        options.network = network_sim_of(&cluster->network, node->index);
    }
    if (node->memory_bytes == 0) {
        const uint64_t memory_bytes =
            engine_memory_bytes_min(&options) + node->options->memory_extra_bytes;
        node->memory_bytes = align_up(memory_bytes, ARENA_ALIGNMENT);
    }
    void *memory = sim_memory_zeroed(&memories[node->index], node->memory_bytes);
    options.memory_bytes = node->memory_bytes;
    node->engine =
        engine_create(memory, &options, &node->disk.storage, &node->clock.clock);
    /* Whatever a block's frame has had is replaced before it is looked at. */
    const struct block_cache *cache = &node->engine->forest->cache;
    sim_memory_keep(&memories[node->index], cache->memory, cache->frame_count * BLOCK_SIZE);
}

/* When it is up again, if it goes down now. */
static void
node_gone(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const uint64_t trouble_ns = cluster->calm ? 1 : cluster->options.trouble_ns_max;
    if (cluster->networked) network_sim_stop(&cluster->network, node->index);
    node->engine = NULL;
    node->changing = false;
    node->up_ns = cluster->now_ns + prng_below(&cluster->prng, trouble_ns);
    cluster_clients_forget(node);
    storage_sim_restart(&node->disk);
}

/* It knows now that it is a copy. It is never let in again, however often it tries. */
static void
node_over(struct cluster_node *node)
{
    if (!node->disk.crashed) storage_sim_crash_now(&node->disk);
    node_gone(node);
    node->over = true;
    node->over_opens += 1;
    if (node->over_opens >= 3) node->up_ns = UINT64_MAX;
}

bool
cluster_node_open(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct engine_open_report report;
    assert(node->engine == NULL);
    node_create(node);
    const bool faulty = !cluster->calm && cluster->options.crash_ns > 0 && cluster->now_ns > 0;
    if (faulty && prng_chance(&cluster->prng, 1, 8)) {
        storage_sim_crash_after(&node->disk, prng_range(&cluster->prng, 1, 60));
    }
    const enum engine_open_result result = engine_open(node->engine, &node->identity, &report);
    if (node->disk.crashed) {
        cluster->counts.crashes += 1;
        node_gone(node);
        return false;
    }
    if (result == ENGINE_OPEN_DISK_FULL && node->disk.options.space_limit_bytes > 0) {
        /* What was committed meanwhile needs more room than there is. */
        storage_sim_crash_now(&node->disk);
        node_gone(node);
        return false;
    }
    if (node->copied && result == ENGINE_OPEN_OVER) {
        node_over(node);
        return false;
    }
    cluster_check(cluster, !node->over, "node %u: it opens, and is over", node->index);
    cluster_check(
        cluster,
        result == ENGINE_OPENED,
        "node %u: open: result %d, superblock %s, rule %s, op %" PRIu64 ", block %" PRIu64,
        node->index,
        result,
        report.superblock_name,
        report.journal.damage ? report.journal.damage->name : "none",
        report.journal.damage_op,
        report.block_address);
    node->session = node->engine->replica.session;
    storage_sim_crash_after(&node->disk, 0);
    engine_scrub(node->engine, node->options->scrub_ns);
    node->read_op = 0;
    node->idle = false;
    cluster_history_opened(node);
    return true;
}

void
cluster_node_crash(struct cluster_node *node)
{
    assert(node->engine != NULL);
    node->noted_op = replica_kept(&node->engine->replica);
    if (!node->disk.crashed) storage_sim_crash_now(&node->disk);
    node->cluster->counts.crashes += 1;
    node_gone(node);
}

void
cluster_node_wipe(struct cluster_node *node)
{
    if (node->engine != NULL) cluster_node_crash(node);
    storage_sim_free(&node->disk);
    node_disk_init(node);
    cluster_growth_init(node);
    node->commit = 0;
    node->noted_op = 0;
}

static void
disk_load(struct cluster_node *node, const struct cluster_copy *copy)
{
    struct storage_sim_options options = {
        .latency_max_ticks = node->options->disk_latency_max_ticks,
        .wrote = cluster_history_wrote,
        .wrote_context = node,
    };
    memcpy(options.file_size_bytes, copy->size_bytes, sizeof(options.file_size_bytes));
    storage_sim_free(&node->disk);
    storage_sim_init(&node->disk, &options, &node->prng_disk);
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        if (copy->size_bytes[file] == 0) continue;
        uint8_t *bytes = storage_sim_bytes(&node->disk, (enum storage_file) file);
        memcpy(bytes, copy->bytes[file], copy->size_bytes[file]);
    }
    node->copied = true;
    node->noted_op = 0;
}

void
cluster_node_load(struct cluster_node *node, const struct cluster_copy *copy)
{
    assert(node->engine == NULL);
    disk_load(node, copy);
    node->commit = 0;
}

void
cluster_node_clone(
    struct cluster *cluster, const struct cluster_node *original, const struct cluster_copy *copy)
{
    struct cluster_node *node = &cluster->nodes[cluster->options.node_count];
    assert(node->cluster == NULL);
    node->cluster = cluster;
    node->index = cluster->options.node_count;
    node->options = original->options;
    node->identity = original->identity;
    node->clock = original->clock;
    node->formatted = true;
    prng_init(&node->prng_disk, prng_next(&cluster->prng));
    disk_load(node, copy);
    for (uint32_t i = 0; i < CLUSTER_CLIENTS_MAX; i++) {
        node->clients[i].cluster = cluster;
        node->clients[i].node = node;
    }
}

/* ---- Work ------------------------------------------------------------------------------------ */

bool
cluster_node_sleeps(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    if (!cluster->options.sleeps || !node->idle) return false;
    if (node->clock.monotonic_ns - node->ticked_ns >= ENGINE_TICK_MS * NS_PER_MS) return false;
    if (node->disk.flight_count > 0 || node->disk.storage.growing != NULL) return false;
    return !cluster->networked || !network_sim_due(&cluster->network, node->index);
}

static void
node_work(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    if (cluster_node_sleeps(node)) return;
    const uint64_t polls = prng_range(&cluster->prng, 1, cluster->options.polls_max);
    for (uint64_t i = 0; i < polls && !node->disk.crashed; i++) {
        const bool progress = engine_poll(node->engine);
        node->idle = !progress;
        cluster_history_capture(node);
        cluster_clients_check(node);
        if (!progress && (i > 0 || cluster->options.sleeps)) break;
    }
    if (node->disk.crashed) return;
    const bool over = node->engine->replica.fences->over;
    cluster_check(cluster, !over || node->copied, "node %u is over, and no copy", node->index);
    if (over) {
        if (engine_failed(node->engine)) node_over(node);
        return;
    }
    cluster_check(cluster, !engine_failed(node->engine), "node %u failed", node->index);
    if (node->clock.monotonic_ns - node->ticked_ns < ENGINE_TICK_MS * NS_PER_MS) return;
    node->idle = false;
    node->ticked_ns = node->clock.monotonic_ns;
    engine_tick(node->engine);
    cluster_clients_check(node);
}

void
cluster_node_step(struct cluster_node *node, uint64_t step_ns)
{
    const struct cluster *cluster = node->cluster;
    clock_step(node, step_ns);
    if (cluster->now_ns >= node->roomy_ns) node->disk.options.space_limit_bytes = 0;
    if (cluster->options.grows && cluster_growth_step(node)) return;
    if (node->engine == NULL) {
        if (cluster->now_ns >= node->up_ns) (void) cluster_node_open(node);
        return;
    }
    /* A disk doesn't stand still because a process does. */
    if (cluster->now_ns >= node->disk_ns) storage_sim_tick(&node->disk);
    if (cluster->now_ns < node->awake_ns) return;
    node_work(node);
    if (node->engine != NULL && node->disk.crashed) cluster_node_crash(node);
}
