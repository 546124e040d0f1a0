/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the replica drives: a deterministic machine that executes batches in the order of the log.
 * The replica knows nothing of accounts. The machine takes the time from the prepare, so that the
 * same calls give the same replies and the same state on every replica.
 */
#ifndef LEDGER_VSR_STATE_MACHINE_H
#define LEDGER_VSR_STATE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "forest/forest.h"

struct state_machine;

/* One batch of a prepare. */
struct state_machine_batch {
    uint8_t operation;
    uint32_t event_count;     /* How many timestamps it consumes. */
    uint32_t record_count;
    const void *events;       /* record_count * EVENT_SIZE bytes. */
    uint64_t timestamp_final; /* Event i has timestamp_final − event_count + i + 1. */
};

struct state_machine_ops {
    /* Does this operation go through the log, and can it take so many timestamps and records? */
    bool (*batch_valid)(
        struct state_machine *machine,
        uint8_t operation,
        uint32_t event_count,
        uint32_t record_count);

    /*
     * Asks the forest (forest_ask…) for what the batch will look at: in round 0 for what its events
     * name, in round 1 for what was found by that. It is called after forest_begin, for all batches
     * of a prepare; then forest_prefetch brings everything within reach. Returns true if another
     * round is needed.
     */
    bool (*ask)(
        struct state_machine *machine,
        const struct state_machine_batch *batch,
        uint32_t round);

    /*
     * Executes the batch's events from `start` on: at least `count` of them, and then further until
     * it can pause, or to the end. Result i of RESULT_SIZE bytes goes to results[i], counted from
     * the batch's first event. Returns the next `start`, which is event_count at the end. Nothing
     * depends on where it pauses.
     */
    uint32_t (*execute)(
        struct state_machine *machine,
        const struct state_machine_batch *batch,
        void *results,
        uint32_t start,
        uint32_t count);

    /*
     * Is anything due at this time that needs a pulse in the log? FOREST_FOUND: yes. FOREST_ABSENT:
     * no. Or FOREST_WAIT, or FOREST_LOST. It is called between ops.
     */
    enum forest_found (*pulse_due)(struct state_machine *machine, uint64_t timestamp);

    /*
     * Reads everything that a pulse at this time or earlier would look at, and changes nothing.
     * FOREST_FOUND: all of it can be read. FOREST_LOST: some of it can't, and a pulse would stop
     * any replica that executes it. Or FOREST_WAIT. It is called between ops. Another timestamp
     * begins a new rehearsal; that is necessary when an op was committed meanwhile.
     */
    enum forest_found (*rehearse_pulse)(struct state_machine *machine, uint64_t timestamp);

    /*
     * Finds what is due at timestamp_final, and brings it within reach. It is called until
     * FOREST_FOUND; `pulse` follows.
     */
    enum forest_found (*prefetch_pulse)(struct state_machine *machine, uint64_t timestamp_final);

    /*
     * Does what is due at timestamp_final. Up to PULSE_EXPIRIES_MAX timestamps, the last of them
     * timestamp_final, belong to it.
     */
    void (*pulse)(struct state_machine *machine, uint64_t timestamp_final);
};

#define RESULT_SIZE 16

/* First member of each implementation. */
struct state_machine {
    const struct state_machine_ops *ops;
    struct forest *forest;
    /*
     * The last FOREST_WAIT only ended a piece of long work: asking again needs no progress
     * elsewhere.
     */
    bool yielded;
};

#endif
