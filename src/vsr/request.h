/* SPDX-License-Identifier: PostgreSQL */
/* A request to the replica: one batch that goes through the log. */
#ifndef LEDGER_VSR_REQUEST_H
#define LEDGER_VSR_REQUEST_H

#include <stdint.h>

#include "base/queue.h"

enum replica_outcome {
    REPLICA_EXECUTED,
    REPLICA_MEMORY_FULL, /* Memory is full. The request had no effect. */
    REPLICA_DISK_FULL,   /* The disk is full. The request had no effect. */
    REPLICA_FAILED,      /* The replica has stopped. The outcome is unknown. */
    /* It has waited long enough, and replica_calls_wait. The request had no effect. */
    REPLICA_NO_QUORUM,
    REPLICA_UNKNOWN, /* Likewise; but it was sent or prepared, so the outcome is unknown. */
};

struct replica_request;
typedef void replica_callback(struct replica_request *request, enum replica_outcome outcome);

/* Owned by the caller, lent to the replica from submit to callback. */
struct replica_request {
    uint8_t operation;
    uint32_t event_count; /* 1 … EVENTS_PER_BATCH_MAX */
    const void *events;   /* EVENT_SIZE bytes each. They are read until the callback. */
    void *results;        /* RESULT_SIZE bytes each. The buffer must not overlap the events. */
    replica_callback *callback;
    /* How long to wait where there is no working primary; monotonic. 0: for ever. */
    uint64_t deadline_ns;
    /* Used by the replica. */
    uint64_t number; /* Within the session of its replica, once it was sent or prepared. */
    struct queue_link link;
};

#endif
