/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the files of the replica share. replica.c: life; replica_prepare.c: making prepares;
 * replica_commit.c: executing them.
 */
#ifndef LEDGER_VSR_REPLICA_INTERNAL_H
#define LEDGER_VSR_REPLICA_INTERNAL_H

#include "base/units.h"
#include "vsr/replica.h"

/* The oldest request of a queue that is not empty. */
static inline struct replica_request *
replica_pop_request(struct queue *requests)
{
    struct queue_link *link = queue_pop(requests);
    assert(link != NULL);
    return container_of(link, struct replica_request, link);
}

/* Asserts R1 and what follows from the status. */
void replica_invariants(const struct replica *replica);

struct pipeline_entry *replica_entry(struct replica *replica, uint64_t op);

/* A write or a growth failed: answers everything that waits with REPLICA_FAILED (R3). */
void replica_stop(struct replica *replica);

/*
 * Makes one prepare of the waiting requests and hands it to the journal, if that is possible now.
 * True if it did.
 */
bool replica_prepare_requests(struct replica *replica);

/* Is there something that a pulse made now would do? */
bool replica_pulse_due(const struct replica *replica);

/* Makes the pulse that is wanted, once the pipeline is empty; if there is room. True if it did. */
bool replica_prepare_pulse(struct replica *replica);

/* Executes a piece of the next op that is journaled, if that is possible now. True if it did. */
bool replica_commit(struct replica *replica);

/*
 * Begins to execute the prepare of op commit + 1. False if it is not what a replica makes; then
 * nothing was done.
 */
bool replica_execute_start(struct replica *replica, const struct prepare_header *header);

/*
 * Executes about `count` events of it, and answers their `requests`. True if that was the end of
 * the op: it is committed, and a checkpoint is started if one is due (R5).
 */
bool replica_execute_some(
    struct replica *replica,
    const struct prepare_header *header,
    struct queue *requests,
    uint32_t count);

#endif
