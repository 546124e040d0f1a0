/* SPDX-License-Identifier: PostgreSQL */
/*
 * A storm: one trouble after another, most of them the primary's, with a little time between them.
 * Often two at once, but mostly a quorum goes on. So views change all the time, and each leaves
 * something behind: a primary that doesn't know of the next one, prepares that nobody else has,
 * requests that were sent to it.
 */
#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"

/* Is it the primary of the newest view that any node knows? */
static uint32_t
newest_primary(const struct cluster *cluster)
{
    uint32_t view = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (node->engine == NULL || !node->engine->replica.primary) continue;
        if (node->engine->replica.view < view) continue;
        view = node->engine->replica.view;
        found = i;
    }
    return found;
}

static void
strike(struct cluster *cluster, struct cluster_node *victim, uint64_t until_ns)
{
    struct prng *prng = &cluster->prng;
    const uint32_t count = cluster->options.node_count;
    const uint32_t other =
        (victim->index + 1 + (uint32_t) prng_below(prng, count - 1)) % count;
    switch (prng_below(prng, 12)) {
    case 0:
    case 1: cluster_network_isolate(cluster, victim->index, true, true); break;
    case 2: cluster_network_isolate(cluster, victim->index, true, false); break;
    case 3: cluster_network_isolate(cluster, victim->index, false, true); break;
    case 4:
        network_sim_cut(&cluster->network, victim->index, other, true);
        if (prng_chance(prng, 1, 2)) network_sim_cut(&cluster->network, other, victim->index, true);
        break;
    case 5:
        victim->awake_ns = until_ns;
        cluster->counts.pauses += 1;
        break;
    case 6:
        victim->disk_ns = until_ns;
        cluster->counts.stands += 1;
        break;
    case 7:
        if (victim->engine == NULL) break;
        victim->idle = false;
        cluster->counts.resigned += engine_resign(victim->engine);
        break;
    case 8:
    case 9: cluster_growth_fill(victim, until_ns); break;
    default:
        if (victim->engine == NULL) break;
        storage_sim_crash_after(&victim->disk, prng_range(prng, 1, 30));
        break;
    }
}

/* While the superblock is written for a view, a crash is worst. */
static void
crash_in_update(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (node->engine == NULL || node->engine->replica.network == NULL) continue;
        if (!node->engine->replica.change->updating) continue;
        if (!prng_chance(&cluster->prng, 1, 60)) continue;
        storage_sim_crash_after(&node->disk, prng_range(&cluster->prng, 1, 4));
    }
}

void
cluster_storm(struct cluster *cluster)
{
    struct prng *prng = &cluster->prng;
    const uint32_t count = cluster->options.node_count;
    crash_in_update(cluster);
    if (cluster->now_ns < cluster->healed_ns) return;
    cluster_network_heal(cluster);
    cluster->healed_ns = cluster->now_ns + prng_range(prng, 1, cluster->options.trouble_ns_max);
    if (prng_chance(prng, 1, 3)) return; /* Peace, as long as that. */
    cluster->counts.partitions += 1;
    const bool primary = prng_chance(prng, 2, 3);
    const uint32_t first =
        primary ? newest_primary(cluster) : (uint32_t) prng_below(prng, count);
    strike(cluster, &cluster->nodes[first], cluster->healed_ns);
    if (!prng_chance(prng, 1, 3)) return;
    strike(cluster, &cluster->nodes[prng_below(prng, count)], cluster->healed_ns);
}

void
cluster_storm_ends(struct cluster *cluster)
{
    cluster_network_heal(cluster);
    cluster->healed_ns = cluster->now_ns + cluster->options.trouble_ns_max;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        node->up_ns = min_u64(node->up_ns, cluster->now_ns);
        node->awake_ns = 0;
        node->disk_ns = 0;
    }
}
