/* SPDX-License-Identifier: PostgreSQL */
/*
 * A node that has no ledger yet: it connects to the nodes of ledger.nodes and waits until a member
 * lets it in (ledger.cluster_add). Then it has the ledger's identity, and makes a data directory to
 * which the others send everything.
 *
 * Its incarnation is drawn anew at each start, and named in the cluster's log when it is let in. If
 * its directory can't be made then, nobody has that incarnation, and it can't be let in a second
 * time under its name before the cluster has removed it. It never counted as a voter. If the
 * incarnation were kept in PGDATA, a PGDATA that is restored after its ledger was lost would come
 * back as a voter that has forgotten what it acknowledged.
 */
#ifndef LEDGER_PG_WORKER_JOINING_H
#define LEDGER_PG_WORKER_JOINING_H

#include "postgres.h"

#include "engine/engine.h"
#include "pg/monitor_shared.h"
#include "pg/worker/cluster.h"

struct joining {
    struct engine_guest *guest; /* NULL: it isn't one. */
    void *memory;
    char trouble[NETWORK_NOTICE_SIZE]; /* Why it reaches nobody, as it was told last; or empty. */
};

/* The network must be open. Returns false with a refusal. */
bool joining_begin(struct joining *joining, struct cluster *cluster, struct refusal *refusal);

/* Returns true once it was let in. */
bool joining_poll(struct joining *joining, struct engine_welcome *welcome);

/* Has what keeps it from reaching the others changed? Then the refusal of a guest says it. */
bool joining_news(
    struct joining *joining, const struct cluster *cluster, struct refusal *refusal);

/*
 * May a ledger be made here? Not while this node is connected with one that has a ledger: who asks
 * for that has mistaken the server. Then `refusal` says so.
 */
bool joining_alone(const struct joining *joining, struct refusal *refusal);

/* Closes the network too, which has messages in the guest's memory. */
void joining_end(struct joining *joining, struct cluster *cluster);

#endif
