/* SPDX-License-Identifier: PostgreSQL */
/*
 * This node's place in a cluster: its name and its list of nodes, as the settings say, and the
 * network to them. Without ledger.node_name none of it is there, and the ledger is alone.
 *
 * The texts of the settings are checked here and not where they are set: a bad value of an
 * extension's setting in postgresql.conf only gives a warning, and the server would go on without
 * it. What is wrong is a refusal, which the log and all callers get.
 */
#ifndef LEDGER_PG_WORKER_CLUSTER_H
#define LEDGER_PG_WORKER_CLUSTER_H

#include "postgres.h"

#include "engine/engine.h"
#include "os/network_os.h"
#include "pg/monitor_shared.h"

/* The longest sleep of a node: its heartbeats and timers are run by ticks. */
#define CLUSTER_SLEEP_MS 20

/*
 * Memory for messages is taken when the engine opens: for as many nodes as may vote, and for one
 * more than ledger.nodes has then, so that a reload can bring in who replaces another.
 */
#define CLUSTER_PEERS_MIN VOTERS_MAX

/* It must not be moved while it is open. */
struct cluster {
    bool open;
    struct network_nodes nodes; /* The list in effect. */
    struct network_os network;
    /* What the log was told last: of which view, and who its primary is; empty if there is none. */
    uint32 told_view;
    char told_primary[NETWORK_NAME_SIZE];
    uint64 told_none_ns;    /* When the log was told that there is none; 0: since then there was. */
    uint64 primary_seen_ns; /* When there was one last. */
    uint64 outside_ns; /* Since when this node isn't a member; 0: it is one. */
    bool told_outside;
    bool told_unused; /* That ledger.nodes is set where the ledger is alone. */
    uint32 told_unlisted; /* Slots of members that aren't in the list, as the log was told; */
    uint32 told_lost;     /* and of those that are lost. */
    uint64 looked_up_ns;
};

/*
 * Opens the network of this node. Returns false with a refusal, and nothing open. To be called only
 * if settings_has_node().
 */
bool cluster_open(struct cluster *cluster, struct clock *clock, struct refusal *refusal);

/* Whoever used the network has ended, or ends without using it again. It may not be open at all. */
void cluster_close(struct cluster *cluster);

/* NULL if it isn't open: the ledger is alone. */
struct network *cluster_network(struct cluster *cluster);

/* How long the node may sleep at most: `timeout_ms`, or less. */
long cluster_sleep_ms(struct cluster *cluster, struct clock *clock, long timeout_ms);

/*
 * Reads the secret file again, and takes over what ledger.nodes says now. What can't be used is
 * logged, and what was in effect before stays. That may block for as long as the system's resolver
 * does.
 */
void cluster_reload(struct cluster *cluster);

/*
 * Looks hosts up again that can't be reached, now and then. That may block for as long as the
 * system's resolver does: to be called only while this node can't do anything for the others.
 */
void cluster_look_up(struct cluster *cluster, uint64 now_ns);

/* Why nobody is reached. Returns false if somebody is, or nothing is known. */
bool cluster_trouble(const struct cluster *cluster, char *text, size_t size);

/* Logs connections that were refused. */
void cluster_log_refused(struct cluster *cluster);

/*
 * Logs a view that has changed since the last call, and its primary; once for each, members that
 * ledger.nodes doesn't have, or that are lost; or, once, that this node isn't a member.
 */
void cluster_log_view(
    struct cluster *cluster, const struct engine_cluster *now, uint64 now_ns);

#endif
