/* SPDX-License-Identifier: PostgreSQL */
/*
 * A directed run: a newcomer has the slot of who was once the only voter.
 *
 *   Node 0 begins alone, and adds node 1, which takes over and removes node 0. For a while node 1
 *   is the only voter. Then it adds node 2, which takes over, removes node 1, and adds it anew: it
 *   gets the same slot, and the log from its beginning. Where that log says that the slot is the
 *   only voter, nobody hears the newcomer any more, for long enough to suspect the primary.
 *
 * Nothing of who was removed comes into the log behind that, though it asks for as much as it can
 * until then. And the newcomer must begin nothing by itself: when it is heard again, it soon
 * becomes a voter (D1), for it has not gone to views that nobody follows.
 */
#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "vsr/replica_internal.h"

#define ALONE_OPS   40
#define ALONE_NS    (UINT64_C(6) * NS_PER_S)
#define WISH_NS     (UINT64_C(200) * NS_PER_MS)
#define PROMOTED_NS (UINT64_C(12) * NS_PER_S) /* (D1) */

enum stage {
    STAGE_BEGIN,      /* Node 0 makes a cluster, */
    STAGE_ADD_1,      /* adds node 1, */
    STAGE_REMOVE_0,   /* which removes it, */
    STAGE_ALONE,      /* and is alone, */
    STAGE_ADD_2,      /* adds node 2, */
    STAGE_REMOVE_1,   /* which removes it, */
    STAGE_ADD_1_ANEW, /* and adds it anew. */
    STAGE_CUT_OFF,
    STAGE_HEARD,
    STAGE_DONE,
};

static void
reach(struct cluster *cluster, enum stage stage)
{
    cluster->directed.stage = stage;
    cluster->directed.since_ns = cluster->now_ns;
    cluster->directed.head = cluster->history.head;
}

/* From time to time the primary is asked for it; if another one is to ask, it resigns first. */
static void
ask(struct cluster *cluster, uint32_t who, enum engine_change_kind kind, uint32_t whom)
{
    if (cluster->now_ns - cluster->directed.asked_ns < WISH_NS) return;
    cluster->directed.asked_ns = cluster->now_ns;
    for (uint32_t i = 0; i < cluster->options.node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (node->engine == NULL || !node->engine->replica.serving || node->changing) continue;
        if (node->removed_ns != 0) continue;
        node->idle = false;
        if (i == who) {
            cluster_growth_wish(node, kind, &cluster->nodes[whom]);
        } else {
            (void) engine_resign(node->engine);
        }
    }
}

/* Its slot was another's, and that is all that it knows. */
static bool
lost_in_the_past(const struct cluster_node *node)
{
    if (!node->formatted || node->engine == NULL) return false;
    const struct replica *replica = &node->engine->replica;
    return replica_newcomer(replica) && replica->voters == 1U << replica->slot;
}

static void
end(struct cluster *cluster)
{
    const struct cluster_directed *directed = &cluster->directed;
    const uint64_t took_ns = cluster->now_ns - directed->since_ns;
    if (directed->stage == STAGE_CUT_OFF) {
        if (took_ns < ALONE_NS) return;
        cluster_network_heal(cluster);
        reach(cluster, STAGE_HEARD);
        return;
    }
    cluster_check(cluster, took_ns < PROMOTED_NS, "the newcomer doesn't become a voter (D1)");
    if (cluster_growth_votes(&cluster->nodes[1])) reach(cluster, STAGE_DONE);
}

void
cluster_directed(struct cluster *cluster)
{
    const struct cluster_node *nodes = cluster->nodes;
    const uint64_t ops = cluster->history.head - cluster->directed.head;
    cluster_check(
        cluster,
        cluster->counts.requests < cluster->options.requests,
        "stage %u takes too long",
        cluster->directed.stage);
    switch ((enum stage) cluster->directed.stage) {
    case STAGE_BEGIN:
        ask(cluster, 0, ENGINE_CHANGE_CREATE, 0);
        if (cluster->counts.changes > 0) reach(cluster, STAGE_ADD_1);
        break;
    case STAGE_ADD_1:
        ask(cluster, 0, ENGINE_CHANGE_ADD, 1);
        if (cluster_growth_votes(&nodes[1])) reach(cluster, STAGE_REMOVE_0);
        break;
    case STAGE_REMOVE_0:
        ask(cluster, 1, ENGINE_CHANGE_REMOVE, 0);
        if (!cluster_growth_votes(&nodes[0])) reach(cluster, STAGE_ALONE);
        break;
    case STAGE_ALONE:
        if (ops >= ALONE_OPS) reach(cluster, STAGE_ADD_2);
        break;
    case STAGE_ADD_2:
        ask(cluster, 1, ENGINE_CHANGE_ADD, 2);
        if (cluster_growth_votes(&nodes[2])) reach(cluster, STAGE_REMOVE_1);
        break;
    case STAGE_REMOVE_1:
        ask(cluster, 2, ENGINE_CHANGE_REMOVE, 1);
        if (!cluster_growth_votes(&nodes[1])) reach(cluster, STAGE_ADD_1_ANEW);
        break;
    case STAGE_ADD_1_ANEW:
        ask(cluster, 2, ENGINE_CHANGE_ADD, 1);
        if (!lost_in_the_past(&nodes[1])) break;
        cluster_network_isolate(cluster, 1, true, true);
        reach(cluster, STAGE_CUT_OFF);
        break;
    case STAGE_CUT_OFF:
    case STAGE_HEARD: end(cluster); break;
    case STAGE_DONE: break;
    }
}

bool
cluster_directed_done(const struct cluster *cluster)
{
    return cluster->directed.stage == STAGE_DONE;
}

bool
cluster_directed_eager(const struct cluster_node *node)
{
    const uint32_t stage = node->cluster->directed.stage;
    return (stage == STAGE_REMOVE_0 && node->index == 0) ||
           (stage == STAGE_REMOVE_1 && node->index == 1);
}
