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

/* Asserts (R1), and what follows from the status. */
void replica_invariants(const struct replica *replica);

struct pipeline_entry *replica_entry(struct replica *replica, uint64_t op);

/*
 * Stops, because a write or the growth of a file failed: answers everything that waits with
 * REPLICA_FAILED (R3).
 */
void replica_stop(struct replica *replica);

/*
 * Makes one prepare of the waiting requests and hands it to the journal, if that is possible now.
 * Returns true if it did.
 */
bool replica_prepare_requests(struct replica *replica);

/*
 * Finds out whether a pulse is due, and makes it when the pipeline is empty, if there is room.
 * Returns true if it did something, or if there is more to do.
 */
bool replica_pulse(struct replica *replica);

/* Commits as much as possible now, but executes one piece at most. */
bool replica_commit(struct replica *replica);

/*
 * Begins with op commit + 1, which is journaled. Returns false, having done nothing, if no replica
 * makes such a prepare.
 */
bool replica_commit_start(struct replica *replica);

/* What this node knows of the end of its log, which is that of log_view. */
void replica_log_end(
    const struct replica *replica,
    uint32_t log_view,
    struct superblock_log *log);

/* Lets storage and forest work. Returns true if they made progress. */
bool replica_storage_poll(struct replica *replica);

#endif
