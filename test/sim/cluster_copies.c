/* SPDX-License-Identifier: PostgreSQL */
/*
 * A copy of a node's disk is taken while the node runs. Later, when all others know of a newer
 * record of it (V16), the copy is put back in the node's place, or started beside it. It is
 * restarted again and again, and sooner or later must find out that it is over. What it does until
 * then, History judges as it judges everybody.
 *
 * In some seeds of three nodes it is put back when it does most harm: one node hears nothing for a
 * while, and the two others commit; then one of these is away, and the other is the copy. The first
 * and the copy are a majority, and don't have what was committed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "store/superblock_internal.h"

#define RESTARTS_MAX 12

/* So many ops are committed without the third node. */
#define ALONE_OPS 4

/* ---- Taking one ------------------------------------------------------------------------------ */

static bool
is_member(const struct cluster_node *node)
{
    const struct cluster *cluster = node->cluster;
    if (!cluster->options.grows) return true;
    const struct member *member = &cluster->history.members.slots[node->identity.replica];
    return node->formatted && member->incarnation == node->identity.incarnation;
}

/* All members are up and agree on who they are, so that a majority is left without any one. */
static bool
is_steady(const struct cluster *cluster)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (node->changing || node->removed_ns != 0) return false;
        if (!node->formatted) continue;
        if (node->engine == NULL || node->disk.crashed || !is_member(node)) return false;
        const struct replica_membership *membership = node->engine->replica.membership;
        if (membership->change_op != 0 || membership->wish != NULL) return false;
        voters += cluster_growth_votes(node);
        if (!cluster->options.grows) continue;
        const uint16_t here = members_voters(&membership->now);
        if (here != members_voters(&cluster->history.members)) return false;
    }
    return voters >= 3;
}

static void
take(struct cluster *cluster)
{
    struct cluster_copy *copy = &cluster->copy;
    struct prng *prng = &cluster->prng;
    struct cluster_node *node =
        &cluster->nodes[prng_below(prng, cluster->options.node_count)];
    if (!cluster_growth_votes(node) || !is_steady(cluster)) return;
    const struct superblock *superblock = &node->engine->superblock;
    *copy = (struct cluster_copy){
        .stage = CLUSTER_COPY_TAKEN,
        .of = node->index,
        .directed = cluster->options.copies_directed,
        .incarnation = node->identity.incarnation,
        .record_op = superblock->working->record_op,
        /* What the copy may have asked for, whether an update of its superblock was in time. */
        .fence_next = superblock->working->fence_next,
        .fence_written = superblock->staging->fence_next,
    };
    copy->beside = !copy->directed && prng_chance(prng, 1, 2);
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        const uint64_t size_bytes = node->disk.files[file].size_bytes;
        copy->size_bytes[file] = size_bytes;
        if (size_bytes == 0) continue;
        copy->bytes[file] = malloc(size_bytes);
        assert(copy->bytes[file] != NULL);
        memcpy(copy->bytes[file], node->disk.files[file].bytes, size_bytes);
    }
    cluster->counts.copies += 1;
    /* It starts again, and makes a record. */
    storage_sim_crash_after(&node->disk, prng_range(prng, 1, 100));
}

/* Do all who count know on their disks that the copy is an old one? */
static bool
is_known(const struct cluster *cluster)
{
    const struct cluster_copy *copy = &cluster->copy;
    const uint8_t slot = cluster->nodes[copy->of].identity.replica;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (i == copy->of || !node->formatted) continue;
        const struct superblock_heard *heard = &node->engine->superblock.working->heard[slot];
        if (heard->record_op <= copy->record_op) return false;
        if (heard->fence == copy->fence_next || heard->fence == copy->fence_written) return false;
    }
    return true;
}

/* ---- Running it ------------------------------------------------------------------------------ */

/*
 * The copy has the fences that its original has now, and what it says of its views is changed on
 * the way: as if nobody judged.
 */
static void
forge(struct cluster *cluster, const struct cluster_node *original)
{
    struct cluster_copy *copy = &cluster->copy;
    const struct superblock_state *now = &cluster->copy_newest;
    assert(original->index == copy->of);
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        uint8_t *bytes = copy->bytes[STORAGE_SUPERBLOCK] + superblock_copy_offset_bytes(i);
        struct superblock_state *state = (struct superblock_state *) (void *) bytes;
        state->fence = now->fence;
        state->fence_next = now->fence_next;
        state->record_op = now->record_op;
        state->checksum = superblock_checksum(state);
    }
}

static void
run(struct cluster *cluster)
{
    struct cluster_copy *copy = &cluster->copy;
    struct cluster_node *original = &cluster->nodes[copy->of];
    copy->stage = CLUSTER_COPY_RUNS;
    copy->restart_ns = cluster->now_ns + prng_range(&cluster->prng, 1, NS_PER_S);
    if (cluster->canary == CLUSTER_CANARY_FENCES) {
        cluster->copy_newest = *original->engine->superblock.working;
        forge(cluster, original);
    }
    if (copy->beside) {
        cluster_node_clone(cluster, original, copy);
        return;
    }
    original->had_op = original->engine->replica.journaled;
    original->had_view = original->engine->replica.change->log_view;
    cluster_node_crash(original);
    cluster_node_load(original, copy);
    original->up_ns = 0;
}

/* The rest of the majority that has committed is away for a while. */
static void
run_with_third(struct cluster *cluster)
{
    const struct cluster_copy *copy = &cluster->copy;
    run(cluster);
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (i == copy->of || i == copy->third) continue;
        if (node->engine != NULL) cluster_node_crash(node);
        node->up_ns = cluster->now_ns + 8 * NS_PER_S;
    }
    cluster_network_heal(cluster);
}

static void
begin(struct cluster *cluster)
{
    struct cluster_copy *copy = &cluster->copy;
    if (!copy->directed) {
        run(cluster);
        return;
    }
    const uint32_t count = cluster->options.node_count;
    copy->third = (copy->of + 1 + (uint32_t) prng_below(&cluster->prng, count - 1)) % count;
    if (!cluster_isolate(cluster, copy->third)) return;
    cluster->healed_ns = cluster->now_ns + 30 * NS_PER_S;
    copy->restart_ns = cluster->healed_ns;
    copy->head = cluster->history.head;
    copy->stage = CLUSTER_COPY_ALONE;
}

struct cluster_node *
cluster_copies_node(struct cluster *cluster)
{
    const struct cluster_copy *copy = &cluster->copy;
    if (copy->stage != CLUSTER_COPY_RUNS) return NULL;
    return &cluster->nodes[copy->beside ? cluster->options.node_count : copy->of];
}

bool
cluster_copies_beside(const struct cluster *cluster)
{
    return cluster->copy.beside && cluster->copy.stage == CLUSTER_COPY_RUNS;
}

const char *
cluster_copies_unrest(struct cluster *cluster)
{
    const struct cluster_node *node = cluster_copies_node(cluster);
    if (node == NULL || node->over || !is_member(node)) return NULL;
    return cluster->canary == CLUSTER_CANARY_NONE ? "is a copy, and doesn't know it" : NULL;
}

/* It is restarted from time to time. */
static void
restart(struct cluster *cluster)
{
    struct cluster_copy *copy = &cluster->copy;
    struct cluster_node *node = cluster_copies_node(cluster);
    const bool own = node->identity.incarnation == copy->incarnation;
    if (!own || node->over) {
        copy->stage = CLUSTER_COPY_OVER;
        cluster->counts.copies_over += own;
        return;
    }
    if (cluster->now_ns < copy->restart_ns || copy->restarts == RESTARTS_MAX) return;
    copy->restart_ns = cluster->now_ns + prng_range(&cluster->prng, 1, NS_PER_S);
    copy->restarts += 1;
    if (node->engine != NULL) cluster_node_crash(node);
}

void
cluster_copies_step(struct cluster *cluster)
{
    struct cluster_copy *copy = &cluster->copy;
    const struct cluster_node *original = &cluster->nodes[copy->of];
    /* In the calm nothing new happens. */
    if (cluster->calm && copy->stage != CLUSTER_COPY_RUNS) return;
    switch (copy->stage) {
    case CLUSTER_COPY_NONE:
        if (cluster->counts.copies == 0 && cluster->now_ns >= NS_PER_S) take(cluster);
        return;
    case CLUSTER_COPY_TAKEN:
        if (original->identity.incarnation != copy->incarnation) {
            copy->stage = CLUSTER_COPY_OVER;
        } else if (is_steady(cluster) && is_known(cluster)) {
            begin(cluster);
        }
        return;
    case CLUSTER_COPY_ALONE:
        if (original->engine == NULL || original->disk.crashed) return;
        if (cluster->now_ns >= copy->restart_ns ||
            cluster->history.head >= copy->head + ALONE_OPS) {
            run_with_third(cluster);
        }
        return;
    case CLUSTER_COPY_RUNS: restart(cluster); return;
    case CLUSTER_COPY_OVER: return;
    }
}

void
cluster_copies_tamper(struct cluster *cluster, uint32_t from, struct message_header *header)
{
    const struct cluster_copy *copy = &cluster->copy;
    if (header->command != MESSAGE_HELLO || copy->stage != CLUSTER_COPY_RUNS) return;
    if (from != copy->of) return;
    const struct superblock_state *newest = &cluster->copy_newest;
    struct message_hello *hello = message_body(header);
    header->view = newest->view + 100 * MEMBERS_MAX;
    hello->log_view = header->view;
    message_seal(header, header->version);
}

void
cluster_copies_free(struct cluster *cluster)
{
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) free(cluster->copy.bytes[file]);
}
