/* SPDX-License-Identifier: PostgreSQL */
/*
 * A cluster whose members come and go: it begins as a lone ledger at node 0. The others have
 * nothing, and wait to be let in. From time to time somebody asks the primary to add or to remove
 * one. Who was removed loses its disk some time later, and waits as another.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "sim/memory.h"

/* Twice the time in which who was removed is still there, on average. */
#define LINGERS_NS_MAX (UINT64_C(5) * NS_PER_S)

/* Of each node, in all runs. */
static struct sim_memory guest_memories[CLUSTER_PLACES_MAX];

static void
name_node(const struct cluster_node *node, char name[MEMBER_NAME_MAX + 1])
{
    memset(name, 0, MEMBER_NAME_MAX + 1);
    name[0] = (char) ('a' + node->index);
}

/* The node that is the member of this slot, as far as the log is executed; or NULL. */
static const struct cluster_node *
node_in_slot(const struct cluster *cluster, uint32_t slot)
{
    const struct member *member = &cluster->history.members.slots[slot];
    if (member->role == MEMBER_NONE) return NULL;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        const bool same = node->identity.incarnation == member->incarnation;
        if (same && node->formatted) return node;
    }
    return NULL;
}

uint32_t
cluster_growth_durable(
    const struct cluster *cluster,
    const struct prepare_header *header,
    bool (*durable_at)(const struct cluster_node *node, const struct prepare_header *header))
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((header->voters >> slot & 1) == 0) continue;
        const struct cluster_node *node = node_in_slot(cluster, slot);
        count += node != NULL && durable_at(node, header);
    }
    return count;
}

bool
cluster_growth_votes(const struct cluster_node *node)
{
    const struct cluster *cluster = node->cluster;
    if (node->copied) return false;
    if (!cluster->options.grows) return true;
    const struct member *member = &cluster->history.members.slots[node->identity.replica];
    return node->formatted && member->role == MEMBER_VOTER &&
           member->incarnation == node->identity.incarnation;
}

void
cluster_growth_executed(struct cluster *cluster, const struct prepare_header *header)
{
    const void *record = (const uint8_t *) header + PREPARE_HEADER_SIZE;
    const struct member_change *change = record;
    struct members *members = &cluster->history.members;
    const struct member before = members->slots[change->slot % MEMBERS_MAX];
    const bool applied = members_apply(members, change);
    cluster_check(cluster, applied, "op %" PRIu64 ": such a change can't be", header->op);
    cluster->counts.changes += 1;
    const bool removed = change->member.role == MEMBER_NONE;
    if (removed) cluster->history.sessions.slots[change->slot] = (struct session){0};
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        /* A guest that was removed before it was told of anything may be added again as it is. */
        if (node->identity.incarnation == change->member.incarnation) node->removed_ns = 0;
        if (!removed || node->identity.incarnation != before.incarnation) continue;
        node->removed_ns = cluster->now_ns + prng_range(&cluster->prng, 1, LINGERS_NS_MAX);
    }
}

/* ---- Guests ---------------------------------------------------------------------------------- */

void
cluster_growth_init(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    node->identity = (struct engine_identity){
        .cluster = node->index == 0 ? CLUSTER_ID : 0,
        .incarnation = prng_range(&cluster->prng, 1, UINT64_MAX),
        .system_identifier = 0x80 + node->index,
        .replica_count = 1,
    };
    node->formatted = false;
    node->copied = false;
    node->over = false;
    node->over_opens = 0;
    node->removed_ns = 0;
}

static void
guest_start(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    assert(node->guest == NULL && node->engine == NULL);
    network_sim_start(&cluster->network, node->index);
    /* Nothing of it is on a disk, so it is another each time. */
    node->identity.incarnation = prng_range(&cluster->prng, 1, UINT64_MAX);
    node->removed_ns = 0;
    const struct engine_guest_options options = {
        .network = network_sim_of(&cluster->network, node->index),
        .incarnation = node->identity.incarnation,
        .session = prng_range(&cluster->prng, 1, UINT64_MAX),
        .prepares_size_bytes = cluster->options.prepares_size_bytes,
        .memory = sim_memory_zeroed(&guest_memories[node->index], ENGINE_GUEST_MEMORY),
    };
    node->guest = engine_guest_create(&options);
    node->idle = false;
}

static void
guest_stop(struct cluster_node *node)
{
    network_sim_stop(&node->cluster->network, node->index);
    node->guest = NULL;
}

static bool
may_fail(const struct cluster *cluster)
{
    return !cluster->calm && !cluster->options.directed;
}

/* It makes its directory; the next step opens it. */
static void
let_in(struct cluster_node *node, const struct engine_welcome *welcome)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    struct cluster *cluster = node->cluster;
    char name[MEMBER_NAME_MAX + 1];
    name_node(node, name);
    memset(scratch, 0, sizeof(scratch));
    node->identity.cluster = welcome->identity.cluster;
    node->identity.replica = welcome->identity.replica;
    if (may_fail(cluster) && prng_chance(&cluster->prng, 1, 8)) {
        storage_sim_crash_after(&node->disk, prng_range(&cluster->prng, 1, 12));
    }
    const enum engine_open_result result = engine_format_member(
        &node->disk.storage,
        cluster->options.prepares_size_bytes,
        &node->identity,
        name,
        welcome->root_incarnation,
        scratch);
    if (node->disk.crashed) {
        /* It begins anew, as another: who was added is never there. */
        cluster->counts.crashes += 1;
        cluster_node_wipe(node);
        return;
    }
    storage_sim_crash_after(&node->disk, 0);
    cluster_check(cluster, result == ENGINE_OPENED, "format: result %d", result);
    node->formatted = true;
}

bool
cluster_growth_step(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    struct engine_welcome welcome;
    if (node->formatted) return false;
    if (cluster->now_ns < node->up_ns || cluster->now_ns < node->awake_ns) return true;
    if (node->guest == NULL) {
        guest_start(node);
        return true;
    }
    const bool fails = may_fail(cluster) && prng_chance(&cluster->prng, 1, 20000);
    if (fails) {
        guest_stop(node);
        node->up_ns = cluster->now_ns + prng_below(&cluster->prng, NS_PER_S);
        return true;
    }
    if (cluster_node_sleeps(node)) return true;
    node->ticked_ns = node->clock.monotonic_ns;
    node->idle = true;
    if (engine_guest_poll(node->guest, &welcome)) {
        guest_stop(node);
        let_in(node, &welcome);
    }
    return true;
}

/* ---- Wishes ---------------------------------------------------------------------------------- */

static void
on_changed(struct engine_change *change)
{
    struct cluster_node *node = change->context;
    node->changing = false;
}

void
cluster_growth_wish(
    struct cluster_node *primary, enum engine_change_kind kind, const struct cluster_node *whom)
{
    primary->changing = true;
    primary->change = (struct engine_change){
        .kind = (uint8_t) kind,
        .callback = on_changed,
        .context = primary,
    };
    name_node(whom, primary->change.name);
    primary->idle = false;
    engine_change_members(primary->engine, &primary->change);
}

void
cluster_growth_fill(struct cluster_node *node, uint64_t until_ns)
{
    struct storage_sim *disk = &node->disk;
    if (node->options->grid_space_bytes == 0 || disk->options.space_limit_bytes > 0) return;
    for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) {
        disk->options.space_limit_bytes += disk->storage.file_size_bytes[i];
    }
    node->roomy_ns = until_ns;
}

/* Something fails while the members change. */
static void
trouble_around(struct cluster_node *primary, struct cluster_node *whom)
{
    struct cluster *cluster = primary->cluster;
    struct prng *prng = &cluster->prng;
    struct cluster_node *victim = prng_chance(prng, 1, 2) ? primary : whom;
    struct cluster_node *third =
        &cluster->nodes[prng_below(prng, cluster->options.node_count)];
    const uint64_t until_ns =
        cluster->now_ns + prng_range(prng, 1, cluster->options.trouble_ns_max);
    if (!prng_chance(prng, cluster->options.change_trouble, 100)) return;
    cluster_growth_fill(third, until_ns);
    switch (prng_below(prng, 4)) {
    case 0:
        if (victim->engine == NULL) return;
        storage_sim_crash_after(&victim->disk, prng_range(prng, 1, 20));
        return;
    case 1: victim->awake_ns = until_ns; return;
    case 2: return;
    default: (void) cluster_isolate(cluster, victim->index); return;
    }
}

/* Whom the change is about: mostly a guest; or to be removed, often somebody who is down. */
static struct cluster_node *
draw_whom(struct cluster *cluster, bool remove)
{
    struct prng *prng = &cluster->prng;
    const uint32_t count = cluster->options.node_count;
    const uint32_t first = (uint32_t) prng_below(prng, count);
    const uint64_t chance = remove ? 5 : 9; /* Of 10. */
    for (uint32_t i = 0; i < count && prng_chance(prng, chance, 10); i++) {
        struct cluster_node *node = &cluster->nodes[(first + i) % count];
        const bool away = node->engine == NULL || cluster->now_ns < node->awake_ns;
        if (remove ? node->formatted && away : node->guest != NULL) return node;
    }
    return &cluster->nodes[first];
}

void
cluster_growth_trouble(struct cluster *cluster)
{
    struct prng *prng = &cluster->prng;
    const uint32_t count = cluster->options.node_count;
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (node->removed_ns == 0 || cluster->now_ns < node->removed_ns) continue;
        cluster_node_wipe(node);
    }
    if (cluster->options.directed) {
        cluster_directed(cluster);
        return;
    }
    const uint32_t from = (uint32_t) prng_below(prng, count);
    bool remove = prng_chance(prng, 1, 3);
    if (cluster_copies_beside(cluster)) return;
    if (prng_below(prng, cluster->options.change_ns) >= cluster->step_ns) return;
    struct cluster_node *whom = draw_whom(cluster, remove);
    if (cluster->nodes[cluster->copy.of].copied) {
        /* The others are needed. */
        whom = &cluster->nodes[cluster->copy.of];
        remove = true;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_node *node = &cluster->nodes[(from + i) % count];
        struct engine_cluster state;
        if (node->engine == NULL || node->changing || node->removed_ns != 0) continue;
        engine_cluster_get(node->engine, &state);
        const bool asks = state.primary >= 0 && state.members[state.primary].self;
        if (!asks && prng_chance(prng, 9, 10)) continue;
        if (!state.is_cluster) {
            cluster_growth_wish(node, ENGINE_CHANGE_CREATE, node);
        } else {
            cluster_growth_wish(node, remove ? ENGINE_CHANGE_REMOVE : ENGINE_CHANGE_ADD, whom);
        }
        trouble_around(node, whom);
        return;
    }
}
