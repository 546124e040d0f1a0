/* SPDX-License-Identifier: PostgreSQL */
/* One seed of the cluster. */
#include "sim/cluster.h"

#include <inttypes.h>
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "engine/internal.h"

/* Of trouble. */
#define STEPS_MAX 400000

/* (I8) Simulated time in which everything that was asked is answered when nothing fails. */
#define CALM_NS_MAX (UINT64_C(120) * NS_PER_S)

/* ---- Trouble --------------------------------------------------------------------------------- */

static uint64_t
until_ns(struct cluster *cluster)
{
    return cluster->now_ns + prng_range(&cluster->prng, 1, cluster->options.trouble_ns_max);
}

/* Did something happen in the last step that comes once in so much time? */
static bool
happens(struct cluster *cluster, uint64_t once_in_ns)
{
    return once_in_ns > 0 && prng_below(&cluster->prng, once_in_ns) < cluster->step_ns;
}

void
cluster_network_heal(struct cluster *cluster)
{
    const uint32_t count = cluster->options.node_count;
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t to = 0; to < count; to++) {
            if (from == to) continue;
            network_sim_cut(&cluster->network, from, to, false);
            network_sim_slow(&cluster->network, from, to, 1);
        }
    }
    cluster->healed_ns = 0;
}

/* Nodes whose bit is set, and the others, don't hear each other. */
static void
network_split(struct cluster *cluster, uint64_t side)
{
    const uint32_t count = cluster->options.node_count;
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t to = 0; to < count; to++) {
            if ((side >> from & 1) == (side >> to & 1)) continue;
            network_sim_cut(&cluster->network, from, to, true);
        }
    }
}

void
cluster_network_isolate(struct cluster *cluster, uint32_t index, bool deaf, bool mute)
{
    for (uint32_t other = 0; other < cluster->options.node_count; other++) {
        if (other == index) continue;
        if (deaf) network_sim_cut(&cluster->network, other, index, true);
        if (mute) network_sim_cut(&cluster->network, index, other, true);
    }
}

bool
cluster_isolate(struct cluster *cluster, uint32_t index)
{
    if (cluster->healed_ns != 0) return false;
    cluster->healed_ns = until_ns(cluster);
    cluster->counts.partitions += 1;
    network_split(cluster, UINT64_C(1) << index);
    return true;
}

static void
network_trouble(struct cluster *cluster)
{
    if (cluster->options.storm) {
        cluster_storm(cluster);
        return;
    }
    struct prng *prng = &cluster->prng;
    const uint32_t count = cluster->options.node_count;
    const uint32_t from = (uint32_t) prng_below(prng, count);
    const uint32_t to = (from + 1 + (uint32_t) prng_below(prng, count - 1)) % count;
    if (!happens(cluster, cluster->options.partition_ns)) return;
    cluster->healed_ns = until_ns(cluster);
    cluster->counts.partitions += 1;
    switch (prng_below(prng, 6)) {
    case 0: network_split(cluster, prng_next(prng)); break;
    case 1: network_split(cluster, UINT64_C(1) << from); break;
    case 2: network_sim_cut(&cluster->network, from, to, true); break;
    case 3: cluster_network_isolate(cluster, from, true, false); break;
    case 4: cluster_network_isolate(cluster, from, false, true); break;
    default:
        network_sim_slow(&cluster->network, from, to, (uint32_t) prng_range(prng, 2, 40));
        break;
    }
}

/* The primary stays, as long as nobody could take its place. */
static bool
may_crash(const struct cluster_node *node)
{
    const struct cluster *cluster = node->cluster;
    struct engine_state state;
    if (!cluster->networked || cluster->options.view_changes) return true;
    engine_state_get(node->engine, &state);
    return members_view_slot(state.view) != state.replica;
}

static void
node_trouble(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    const struct cluster_options *options = &cluster->options;
    if (node->engine == NULL) return;
    if (may_crash(node) && happens(cluster, options->crash_ns)) {
        /* Somewhere in the middle of what it does next. */
        storage_sim_crash_after(&node->disk, prng_range(&cluster->prng, 1, 30));
    }
    if (cluster->now_ns >= node->awake_ns && happens(cluster, options->pause_ns)) {
        node->awake_ns = until_ns(cluster);
        cluster->counts.pauses += 1;
    }
    if (cluster->now_ns >= node->disk_ns && happens(cluster, options->stand_ns)) {
        node->disk_ns = until_ns(cluster);
        cluster->counts.stands += 1;
    }
    if (cluster->networked && happens(cluster, options->resign_ns)) {
        node->idle = false;
        cluster->counts.resigned += engine_resign(node->engine);
    }
}

static void
trouble(struct cluster *cluster)
{
    if (cluster->options.storm) {
        cluster_storm(cluster);
        return;
    }
    for (uint32_t i = 0; i < cluster->options.node_count; i++) node_trouble(&cluster->nodes[i]);
    if (!cluster->networked) return;
    const bool over = cluster->healed_ns != 0 && cluster->now_ns >= cluster->healed_ns;
    if (over) cluster_network_heal(cluster);
    if (cluster->healed_ns == 0) network_trouble(cluster);
}

/* ---- Canaries -------------------------------------------------------------------------------- */

static bool
lie_allowed(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    (void) context;
    (void) offset_bytes;
    (void) size_bytes;
    return file == STORAGE_PREPARES || file == STORAGE_HEADERS;
}

/* The disks of a quorum lie. */
static void
canary_step(struct cluster *cluster)
{
    if (cluster->canary != CLUSTER_CANARY_LYING_DISK) return;
    if (cluster->counts.requests < cluster->options.requests / 2) return;
    for (uint32_t i = 0; i < members_quorum(cluster->options.node_count); i++) {
        cluster->nodes[i].disk.options.fault_allowed = lie_allowed;
        cluster->nodes[i].disk.options.lost_write_per_million = 1000000;
    }
}

/* Changes messages on their way, as a primary or a backup with that fault would send them. */
static void
canary_tamper(void *context, uint32_t from, uint32_t to, struct message_header *header)
{
    struct cluster *cluster = context;
    struct prepare_header *sent = &cluster->canary_sent[to];
    if (cluster->canary == CLUSTER_CANARY_FENCES) {
        cluster_copies_tamper(cluster, from, header);
        return;
    }
    if (header->command == MESSAGE_PREPARE) {
        const struct prepare_header *prepare = message_body_const(header);
        if (prepare->op > sent->op) *sent = *prepare;
        if (cluster->canary != CLUSTER_CANARY_COMMIT) return;
        header->commit = prepare->op;
        message_seal(header, header->version);
    }
    if (cluster->canary == CLUSTER_CANARY_ACK && header->command == MESSAGE_PREPARE_OK) {
        sent = &cluster->canary_sent[from];
        if (sent->op <= header->op) return;
        header->op = sent->op;
        header->as.prepare_ok.checksum = sent->checksum;
        message_seal(header, header->version);
    }
    if (cluster->canary == CLUSTER_CANARY_COMMIT && header->command == MESSAGE_COMMIT) {
        if (sent->op <= header->commit) return;
        header->commit = sent->op;
        header->as.checksum.checksum = sent->checksum;
        message_seal(header, header->version);
    }
}

/* ---- A run ----------------------------------------------------------------------------------- */

void
cluster_step(struct cluster *cluster)
{
    const uint64_t step_ns = prng_range(&cluster->prng, 1, cluster->options.step_ns_max);
    const uint32_t count = cluster->options.node_count;
    const uint32_t first = (uint32_t) prng_below(&cluster->prng, count);
    cluster->now_ns += step_ns;
    cluster->step_ns = step_ns;
    cluster->counts.steps += 1;
    if (cluster->networked) network_sim_advance(&cluster->network, cluster->now_ns);
    for (uint32_t i = 0; i < count; i++) {
        cluster_node_step(&cluster->nodes[(first + i) % count], step_ns);
    }
    if (cluster_copies_beside(cluster)) cluster_node_step(&cluster->nodes[count], step_ns);
    if (cluster->options.copies) cluster_copies_step(cluster);
}

static void
run_init(struct cluster *cluster, uint64_t seed, const struct cluster_kind *kind)
{
    const enum cluster_canary canary = kind->canary;
    memset(cluster, 0, sizeof(*cluster));
    cluster->seed = seed;
    cluster->canary = canary;
    prng_init(&cluster->prng, seed);
    prng_init(&cluster->prng_network, prng_next(&cluster->prng));
    prng_init(&cluster->prng_workload, prng_next(&cluster->prng));
    uint32_t node_count = kind->node_count;
    if (kind->grows && node_count == 0) {
        /* With four, a change may make the quorum larger. */
        node_count = (uint32_t) prng_range(&cluster->prng, 3, CLUSTER_NODES_MAX);
    }
    cluster->options = cluster_options_random(&cluster->prng, node_count);
    if (kind->storm) cluster_options_storm(&cluster->prng, &cluster->options);
    if (kind->directed) cluster_options_directed(&cluster->options);
    if (kind->grows) cluster_options_growing(&cluster->prng, &cluster->options, kind->storm);
    cluster->networked = cluster->options.node_count > 1;
    if (canary == CLUSTER_CANARY_FENCES) {
        cluster_options_copied(&cluster->options);
    }
    if (canary >= CLUSTER_CANARY_ACK) {
        cluster->options.network.tamper = canary_tamper;
        cluster->options.network.tamper_context = cluster;
    }
    network_sim_init(&cluster->network, &cluster->options.network, &cluster->prng_network);
    const struct workload_options workload = workload_options_random(&cluster->prng_workload);
    workload_init(&cluster->workload, &cluster->prng_workload, &workload);
    for (uint32_t i = 0; i < cluster->options.node_count; i++) cluster_node_init(cluster, i);
    cluster_history_init(cluster);
}

static void
run_start(struct cluster *cluster)
{
    const uint32_t count = cluster->options.grows ? 1 : cluster->options.node_count;
    for (uint32_t i = 0; i < count; i++) cluster_node_format(&cluster->nodes[i]);
    for (uint32_t i = 0; i < count; i++) {
        while (!cluster_node_open(&cluster->nodes[i])) continue;
    }
}

/* A node is so far behind that the others may soon not have any more what it lacks. */
static bool
lags(const struct cluster_node *node)
{
    const struct cluster *cluster = node->cluster;
    const struct prepare_header *head = cluster_history_header(cluster, cluster->history.head);
    const struct prepare_header *own = cluster_history_header(cluster, node->commit);
    const uint64_t position = own == NULL ? 0 : own->position;
    if (cluster->options.state_sync || !cluster->networked || head == NULL) return false;
    if (!cluster_growth_votes(node)) return false;
    return head->position - position > cluster->options.prepares_size_bytes / 4;
}

/*
 * Nobody asks for more until all have caught up. Pulses come all the same, so who lags has no more
 * trouble until then.
 */
static bool
wait_for_lagging(struct cluster *cluster)
{
    bool waits = false;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (!lags(node)) continue;
        waits = true;
        node->up_ns = 0;
        node->awake_ns = 0;
        node->disk_ns = 0;
        node->roomy_ns = 0;
    }
    if (waits && cluster->healed_ns != 0) cluster_network_heal(cluster);
    if (waits && cluster->options.storm) cluster_storm_ends(cluster);
    return waits;
}

static void
submit(struct cluster *cluster)
{
    if (wait_for_lagging(cluster)) return;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        if (cluster->nodes[i].engine != NULL) cluster_clients_submit(&cluster->nodes[i]);
    }
    struct cluster_node *copy = cluster_copies_node(cluster);
    if (copy != NULL && copy->copied && copy->engine != NULL) cluster_clients_submit(copy);
}

static void
run_faulty(struct cluster *cluster)
{
    while (cluster->options.directed ? !cluster_directed_done(cluster)
                                     : cluster->counts.requests < cluster->options.requests) {
        /* Where hardly anybody is ever there at the same time, it ends: then all is answered. */
        if (cluster->counts.steps >= STEPS_MAX && !cluster->options.directed) break;
        submit(cluster);
        cluster_step(cluster);
        trouble(cluster);
        if (cluster->options.grows) cluster_growth_trouble(cluster);
        canary_step(cluster);
    }
}

static void
heal(struct cluster *cluster)
{
    const uint32_t count = cluster->options.node_count;
    cluster->calm = true;
    if (cluster->networked) cluster_network_heal(cluster);
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        node->up_ns = 0;
        node->awake_ns = 0;
        node->disk_ns = 0;
        node->roomy_ns = 0;
        if (!node->disk.crashed) storage_sim_crash_after(&node->disk, 0);
        for (uint32_t to = 0; to < count; to++) {
            struct network_sim_wire_options *wire = &cluster->network.options.wires[i][to];
            wire->break_per_million = 0;
            wire->loss_per_million = 0;
            wire->duplicate_per_million = 0;
        }
    }
}

/* Blocks may be on their way to the disk when all else is done. */
static bool
writes(const struct cluster_node *node)
{
    for (uint32_t i = 0; i < node->disk.flight_count; i++) {
        if (node->disk.flights[i].request->direction == STORAGE_WRITE) return true;
    }
    return false;
}

/* Why the node isn't done yet, or NULL. */
static const char *
unrest(const struct cluster_node *node)
{
    const struct cluster *cluster = node->cluster;
    if (!cluster_growth_votes(node)) return NULL;
    if (node->engine == NULL) return "is down";
    if (cluster_clients_waiting(node)) return "has requests that are not answered";
    if (node->commit < cluster->history.head) return "is behind";
    if (engine_busy(node->engine) || writes(node)) return "is busy";
    return NULL;
}

static bool
pulse_due(const struct cluster *cluster)
{
    const struct cluster_history *history = &cluster->history;
    const struct prepare_header *newest = cluster_history_header(cluster, history->head);
    uint64_t now_ns = newest == NULL ? 0 : newest->timestamp + 1;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        struct engine_state state;
        if (node->engine == NULL) continue;
        engine_state_get(node->engine, &state);
        const bool primary = members_view_slot(state.view) == state.replica;
        if (primary) now_ns = max_u64(now_ns, node->clock.realtime_ns);
    }
    return model_pulse_due(&history->model, now_ns);
}

/*
 * Does a node lack what nobody has any more? Others have overwritten it, or a crash has torn the
 * entries that lead back to it. The log alone doesn't help it, and a quorum that needs it waits.
 */
static bool
anybody_stranded(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        const struct engine *engine = cluster->nodes[i].engine;
        if (engine != NULL && engine->replica.absent) return true;
    }
    return false;
}

/* (I8). False: it can't come to rest, and why is known. */
static bool
run_calm(struct cluster *cluster)
{
    const uint64_t end_ns = cluster->now_ns + CALM_NS_MAX;
    for (;;) {
        const struct cluster_node *restless = NULL;
        for (uint32_t i = 0; i < cluster->options.node_count; i++) {
            if (unrest(&cluster->nodes[i]) != NULL) restless = &cluster->nodes[i];
        }
        const char *copy = cluster_copies_unrest(cluster);
        cluster_check(
            cluster, copy == NULL || cluster->now_ns <= end_ns, "in the calm: a node %s", copy);
        if (copy != NULL) {
            cluster_step(cluster);
            continue;
        }
        if (restless == NULL && !pulse_due(cluster)) return true;
        if (cluster->now_ns > end_ns && restless != NULL && anybody_stranded(cluster)) {
            cluster->counts.stranded += 1;
            return false;
        }
        if (cluster->now_ns > end_ns && restless != NULL) {
            cluster_fail(
                cluster,
                "in the calm: node %u %s, executed %" PRIu64 " of %" PRIu64,
                restless->index,
                unrest(restless),
                restless->commit,
                cluster->history.head);
        }
        cluster_check(cluster, cluster->now_ns <= end_ns, "holds that are due are not released");
        cluster_step(cluster);
    }
}

void
cluster_run(struct cluster *cluster, uint64_t seed, const struct cluster_kind *kind)
{
    run_init(cluster, seed, kind);
    run_start(cluster);
    run_faulty(cluster);
    heal(cluster);
    if (!run_calm(cluster)) return;
    cluster_compare(cluster);
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (node->engine != NULL && may_crash(node)) cluster_node_crash(node);
    }
    if (run_calm(cluster)) cluster_compare(cluster);
}

u128
cluster_trace(const struct cluster *cluster)
{
    u128 hashes[CLUSTER_NODES_MAX + 2] = {cluster->network.trace_hash, cluster->history.hash};
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        hashes[2 + i] = cluster->nodes[i].disk.trace_hash;
    }
    return checksum(hashes, sizeof(hashes));
}

void
cluster_free(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        cluster_node_free(&cluster->nodes[i]);
    }
    cluster_node_free(&cluster->nodes[cluster->options.node_count]);
    cluster_copies_free(cluster);
    cluster_history_free(cluster);
    network_sim_free(&cluster->network);
}
