/* SPDX-License-Identifier: PostgreSQL */
/* What a seed of the cluster is like. Each takes some kinds of trouble, and leaves others out. */
#include "base/units.h"
#include "sim/cluster.h"

/* Once in so much time: never, rarely or often. */
static uint64_t
every_ns(struct prng *prng, uint64_t often_ns, uint64_t rarely_ns)
{
    switch (prng_below(prng, 3)) {
    case 0: return 0;
    case 1: return prng_range(prng, often_ns, rarely_ns);
    default: return prng_range(prng, often_ns / 4, often_ns);
    }
}

/* Absent, rare or frequent. */
static uint32_t
rate(struct prng *prng, uint32_t rare, uint32_t frequent)
{
    switch (prng_below(prng, 3)) {
    case 0: return 0;
    case 1: return (uint32_t) prng_range(prng, 1, rare);
    default: return (uint32_t) prng_range(prng, rare, frequent);
    }
}

static struct network_sim_wire_options
wire_random(struct prng *prng, bool chaos)
{
    struct network_sim_wire_options wire = {
        .model = chaos ? NETWORK_SIM_CHAOS : NETWORK_SIM_STREAMS,
        .latency_min_ns = prng_range(prng, 1, 2000) * NS_PER_US,
    };
    wire.latency_max_ns = wire.latency_min_ns + prng_range(prng, 0, 20000) * NS_PER_US;
    if (prng_chance(prng, 1, 3)) wire.bytes_per_ms = prng_range(prng, 4, 1000) * KIB;
    wire.break_per_million = rate(prng, 500, 5000);
    wire.loss_per_million = rate(prng, 5000, 100000);
    wire.duplicate_per_million = rate(prng, 5000, 100000);
    return wire;
}

static void
network_random(struct prng *prng, struct cluster_options *options)
{
    struct network_sim_options *network = &options->network;
    const uint64_t chaos = prng_below(prng, 3); /* Nowhere, here and there, everywhere. */
    network->node_count = options->node_count + (options->copies ? 1 : 0);
    network->timeout_ns = prng_range(prng, 200, 2000) * NS_PER_MS;
    network->dial_ns = prng_range(prng, 20, 200) * NS_PER_MS;
    for (uint32_t from = 0; from <= options->node_count; from++) {
        for (uint32_t to = 0; to <= options->node_count; to++) {
            network->wires[from][to] = wire_random(prng, prng_chance(prng, chaos, 2));
        }
    }
}

static struct cluster_node_options
node_random(struct prng *prng, uint64_t full)
{
    struct cluster_node_options node = {
        .memory_extra_bytes = MIB / 2 + prng_below(prng, 12) * 256 * KIB,
        .disk_latency_max_ticks = (uint32_t) prng_below(prng, 6),
        .clock_offset_ns = (int64_t) prng_below(prng, 2000) * NS_PER_MS - (int64_t) NS_PER_S,
        .clock_drift_ppm = (int64_t) prng_below(prng, 1000) - 500,
    };
    if (prng_chance(prng, 1, 2)) node.scrub_ns = prng_range(prng, 100, 10000) * NS_PER_MS;
    if (prng_chance(prng, full, 4)) {
        const uint64_t blocks = prng_range(prng, 150, prng_chance(prng, 1, 2) ? 800 : 3200);
        node.grid_space_bytes = blocks * BLOCK_SIZE;
    }
    return node;
}

/* Which slot each node has: any order. */
static void
slots_random(struct prng *prng, struct cluster_options *options)
{
    for (uint32_t i = 0; i < options->node_count; i++) {
        const uint32_t other = (uint32_t) prng_below(prng, i + 1);
        options->nodes[i].slot = options->nodes[other].slot;
        options->nodes[other].slot = (uint8_t) i;
    }
}

struct cluster_options
cluster_options_random(struct prng *prng, uint32_t node_count)
{
    static const uint32_t counts[] = {3, 3, 3, 3, 2, 5};
    const uint32_t drawn = counts[prng_below(prng, ARRAY_COUNT(counts))];
    struct cluster_options options = {
        .node_count = node_count > 0 ? node_count : drawn,
        .prepares_size_bytes = PREPARES_SIZE_MIN * prng_range(prng, 1, 2),
        .sync = JOURNAL_SYNC_BOTH,
        .view_changes = true,
        .requests = (uint32_t) prng_range(prng, 100, 300),
        .clients = (uint32_t) prng_range(prng, 1, CLUSTER_CLIENTS_MAX),
        .reads = (uint32_t) prng_range(prng, 0, 40),
        .local = (uint32_t) prng_range(prng, 0, 50),
        .waits = rate(prng, 10, 80),
        .wait_ns_max = prng_range(prng, 1, 4000) * NS_PER_MS,
        .submits = (uint32_t) prng_range(prng, 1, prng_chance(prng, 1, 2) ? 20 : 300),
        .polls_max = (uint32_t) prng_range(prng, 1, 4),
        .step_ns_max = prng_range(prng, 200, 10000) * NS_PER_US,
        .trouble_ns_max = prng_range(prng, 100, 5000) * NS_PER_MS,
    };
    options.crash_ns = every_ns(prng, 2 * NS_PER_S, 20 * NS_PER_S);
    options.pause_ns = every_ns(prng, 2 * NS_PER_S, 20 * NS_PER_S);
    options.stand_ns = every_ns(prng, 2 * NS_PER_S, 20 * NS_PER_S);
    options.resign_ns = every_ns(prng, 2 * NS_PER_S, 20 * NS_PER_S);
    /* Two of three must be enough. */
    options.copies = options.node_count >= 3 && prng_chance(prng, 1, 3);
    options.copies_directed = options.node_count == 3 && prng_chance(prng, 1, 3);
    options.partition_ns = every_ns(prng, 2 * NS_PER_S, 20 * NS_PER_S);
    options.sleeps = prng_chance(prng, 7, 8);
    const uint64_t full = prng_chance(prng, 1, 3) ? prng_range(prng, 1, 4) : 0;
    for (uint32_t i = 0; i < options.node_count; i++) options.nodes[i] = node_random(prng, full);
    slots_random(prng, &options);
    network_random(prng, &options);
    return options;
}

void
cluster_options_growing(struct prng *prng, struct cluster_options *options, bool storm)
{
    options->grows = true;
    options->copies_directed = false;
    options->change_ns = prng_range(prng, 20, 600) * NS_PER_MS;
    options->submits = (uint32_t) prng_range(prng, 1, 40);
    options->change_trouble = rate(prng, 20, 80);
    if (storm) {
        options->change_ns = prng_range(prng, 20, 200) * NS_PER_MS;
        options->submits = (uint32_t) prng_range(prng, 2, 20);
        options->change_trouble = (uint32_t) prng_range(prng, 20, 80);
    }
    for (uint32_t i = 0; i < options->node_count; i++) {
        if (prng_chance(prng, 1, 3)) options->nodes[i].grid_space_bytes = 400 * BLOCK_SIZE;
        if (options->directed) options->nodes[i].grid_space_bytes = 0;
    }
    if (options->directed) {
        /* About a dozen in a second: the log must reach back to its beginning. */
        options->clients = 2;
        options->submits = 1 + (uint32_t) (options->step_ns_max / NS_PER_MS);
    }
    if (!storm) options->requests *= 2;
    /* Members that come need the log from its beginning on: two sectors or less for most ops. */
    const uint64_t size_bytes = (uint64_t) options->requests * 2 * SECTOR_SIZE;
    options->prepares_size_bytes = align_up(size_bytes, PREPARES_SIZE_MIN);
}

void
cluster_options_copied(struct cluster_options *options)
{
    assert(options->node_count == 3);
    options->copies = true;
    options->copies_directed = true;
    options->requests = 600;
    options->submits = 100;
    options->crash_ns = 0;
    options->pause_ns = 0;
    options->stand_ns = 0;
    options->resign_ns = 0;
    options->partition_ns = 0;
    options->network.node_count = options->node_count + 1;
}

static struct network_sim_wire_options
storm_wire(struct prng *prng, bool chaos)
{
    struct network_sim_wire_options wire = {
        .model = chaos ? NETWORK_SIM_CHAOS : NETWORK_SIM_STREAMS,
        .latency_min_ns = prng_range(prng, 1, 2000) * NS_PER_US,
        .break_per_million = (uint32_t) prng_range(prng, 1, 3000),
        .loss_per_million = (uint32_t) prng_range(prng, 1000, 200000),
        .duplicate_per_million = (uint32_t) prng_range(prng, 1000, 200000),
    };
    const uint64_t spread_us = prng_chance(prng, 1, 4) ? 200000 : 10000;
    wire.latency_max_ns = wire.latency_min_ns + prng_range(prng, 0, spread_us) * NS_PER_US;
    return wire;
}

void
cluster_options_storm(struct prng *prng, struct cluster_options *options)
{
    struct network_sim_options *network = &options->network;
    options->requests = (uint32_t) prng_range(prng, 500, 900);
    options->clients = (uint32_t) prng_range(prng, 3, CLUSTER_CLIENTS_MAX);
    options->submits = (uint32_t) prng_range(prng, 2, prng_chance(prng, 1, 2) ? 8 : 40);
    options->waits = (uint32_t) prng_range(prng, 1, 60);
    options->wait_ns_max = prng_range(prng, 100, 2000) * NS_PER_MS;
    options->step_ns_max = prng_range(prng, 500, 8000) * NS_PER_US;
    options->trouble_ns_max = prng_range(prng, 1000, 5000) * NS_PER_MS;
    options->storm = true;
    const uint64_t chaos = prng_below(prng, 3);
    for (uint32_t from = 0; from < options->node_count; from++) {
        for (uint32_t to = 0; to < options->node_count; to++) {
            network->wires[from][to] = storm_wire(prng, prng_chance(prng, chaos, 2));
        }
    }
    for (uint32_t i = 0; i < options->node_count; i++) {
        struct cluster_node_options *node = &options->nodes[i];
        const bool full = prng_chance(prng, 2, 3);
        node->grid_space_bytes = full ? prng_range(prng, 150, 800) * BLOCK_SIZE : 0;
    }
}

void
cluster_options_directed(struct cluster_options *options)
{
    options->directed = true;
    options->requests = 1000; /* At most: so much room is made for them. */
    options->waits = 0;
    options->crash_ns = 0;
    options->pause_ns = 0;
    options->stand_ns = 0;
    options->resign_ns = 0;
    options->partition_ns = 0;
    options->requests = 300;
    options->submits = 20;
    options->step_ns_max = 2 * NS_PER_MS;
}
