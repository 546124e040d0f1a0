/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the replica drives: a deterministic machine that executes batches in the order of the log.
 *
 * The replica knows nothing of accounts. Each call takes its time from the prepare. Same calls,
 * same replies and same state on every replica.
 */
#ifndef LEDGER_VSR_STATE_MACHINE_H
#define LEDGER_VSR_STATE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/forest.h"

struct state_machine;

/* One batch of a prepare. */
struct state_machine_batch {
    uint8_t operation;
    uint32_t event_count;
    const void *events;       /* event_count * EVENT_SIZE bytes. */
    uint64_t timestamp_final; /* Event i has timestamp_final − event_count + i + 1. */
};

struct state_machine_ops {
    /* Is this an operation that goes through the log, and can it take so many events? */
    bool (*batch_valid)(struct state_machine *machine, uint8_t operation, uint32_t event_count);

    /*
     * Brings what the batch will touch within reach. Before execute, for all batches of a prepare.
     */
    void (*prefetch)(struct state_machine *machine, const struct state_machine_batch *batch);

    /*
     * Executes the batch's events from `start` on: as many as `count`, and further to where it can
     * pause, or to the end. Writes their results, of RESULT_SIZE bytes each, from results[0] for
     * the batch's first event. Returns the next `start`; event_count is the end. Where it pauses
     * makes no difference to anything.
     */
    uint32_t (*execute)(
        struct state_machine *machine,
        const struct state_machine_batch *batch,
        void *results,
        uint32_t start,
        uint32_t count);

    /* Is there something due at this time that needs a pulse in the log? */
    bool (*pulse_due)(const struct state_machine *machine, uint64_t timestamp);

    /*
     * Does what is due at timestamp_final; at most PULSE_EXPIRIES_MAX timestamps up to it are its
     * own.
     */
    void (*pulse)(struct state_machine *machine, uint64_t timestamp_final);

    /*
     * Answers a read from the committed state. Returns the bytes written to reply, ≤
     * reply_size_max. The input is valid.
     */
    uint32_t (*read)(
        struct state_machine *machine,
        uint8_t operation,
        const void *input,
        uint32_t input_size,
        void *reply,
        uint32_t reply_size_max);
};

#define RESULT_SIZE 16

/* First member of each implementation. */
struct state_machine {
    const struct state_machine_ops *ops;
    struct forest *forest;
};

#endif
