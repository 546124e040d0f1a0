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

#include "forest/forest.h"

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
     * Asks the forest (forest_ask) for what the batch will touch: in round 0 for what its events
     * say, in round 1 for what was found then. After forest_begin, for all batches of a prepare;
     * then forest_prefetch brings it within reach. True: another round is needed.
     */
    bool (*ask)(
        struct state_machine *machine,
        const struct state_machine_batch *batch,
        uint32_t round);

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

    /*
     * Is there something due at this time that needs a pulse in the log? FOREST_FOUND, _ABSENT,
     * _WAIT, _LOST. Between ops.
     */
    enum forest_found (*pulse_due)(struct state_machine *machine, uint64_t timestamp);

    /*
     * Reads all that a pulse at this time or at an earlier one would look at, and changes nothing.
     * FOREST_FOUND: all of it can be read; _WAIT; _LOST: some of it can't, and a pulse would stop
     * whoever executes it. Between ops. With another timestamp it begins anew: which it must when
     * an op was committed meanwhile.
     */
    enum forest_found (*rehearse_pulse)(struct state_machine *machine, uint64_t timestamp);

    /*
     * Finds what is due at timestamp_final, and brings it within reach. To be called until
     * FOREST_FOUND, then pulse.
     */
    enum forest_found (*prefetch_pulse)(struct state_machine *machine, uint64_t timestamp_final);

    /*
     * Does what is due at timestamp_final; at most PULSE_EXPIRIES_MAX timestamps up to it are its
     * own.
     */
    void (*pulse)(struct state_machine *machine, uint64_t timestamp_final);
};

#define RESULT_SIZE 16

/* First member of each implementation. */
struct state_machine {
    const struct state_machine_ops *ops;
    struct forest *forest;
    /* The last FOREST_WAIT only ended a long piece of work: asking again needs no progress. */
    bool yielded;
};

#endif
