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

/*
 * Looks whether a pulse is due, and makes it once the pipeline is empty, if there is room. True if
 * it did something, or there is more to do.
 */
bool replica_pulse(struct replica *replica);

/* Goes on with committing as far as possible now, but for a piece of execution at most. */
bool replica_commit(struct replica *replica);

/*
 * Begins with op commit + 1, which is journaled. False if it is not what a replica makes; then
 * nothing was done.
 */
bool replica_commit_start(struct replica *replica);

/* Storage and forest get on. True if they did. */
bool replica_storage_poll(struct replica *replica);

#endif
