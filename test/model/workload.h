/* SPDX-License-Identifier: PostgreSQL */
/*
 * The workload: random batches and reads for the ledger, of a kind that finds trouble.
 *
 * Few accounts, so that they fill up, close and collide; ids that come again, with the same content
 * or other; pending transfers that are posted, voided, both, or left to expire; chains that break;
 * imports; and events that are wrong in one or several ways at once. Each seed takes its own
 * mixture (swarm testing): what is rare in one run is common in another.
 *
 * It knows nothing of who executes: a model serves as hints of what exists. The model may lag
 * behind.
 */
#ifndef LEDGER_TEST_MODEL_WORKLOAD_H
#define LEDGER_TEST_MODEL_WORKLOAD_H

#include <stdint.h>

#include "base/prng.h"
#include "ledger/types.h"
#include "model/model.h"

enum workload_kind {
    WORKLOAD_SINGLE_PHASE,
    WORKLOAD_PENDING,
    WORKLOAD_POST,
    WORKLOAD_VOID,
    WORKLOAD_BALANCING,
    WORKLOAD_CLOSING,
};
#define WORKLOAD_KIND_COUNT 6

enum workload_id_style {
    WORKLOAD_ID_LOW,       /* 1, 2, 3 … */
    WORKLOAD_ID_HIGH,      /* The same in the high half. */
    WORKLOAD_ID_SCATTERED, /* All over the range. */
};

struct workload_options {
    uint32_t account_count; /* How many different accounts are asked for. */
    uint32_t events_max;    /* In a batch, 1 … EVENTS_PER_BATCH_MAX. */
    enum workload_id_style id_style;
    uint32_t kind_weights[WORKLOAD_KIND_COUNT];
    uint32_t timeout_max; /* Of most pending transfers, seconds. */

    /* Of 100. */
    uint32_t account_batches; /* The others are transfers. */
    uint32_t import_batches;
    uint32_t linked;      /* Events that are linked to the next. */
    uint32_t limited;     /* Accounts with a limit. */
    uint32_t retries;     /* Events whose id was there before. */
    uint32_t wrong;       /* Events with something wrong. */
    uint32_t huge;        /* Amounts near the end of the range. */
    uint32_t wrong_reads; /* Filters with something wrong. */
};

/* A random mixture. */
struct workload_options workload_options_random(struct prng *prng);

struct workload {
    struct prng *prng; /* The caller's. */
    struct workload_options options;
    uint64_t salt;            /* What accounts are like in this run. */
    uint64_t transfers_asked; /* Ids of transfers count up. */
};

/* The largest input of a read. */
#define WORKLOAD_READ_SIZE_MAX (RESULTS_MAX * sizeof(u128))

void
workload_init(struct workload *workload, struct prng *prng, const struct workload_options *options);

/*
 * Makes the next batch: sets *operation and *count, and writes events (room for
 * EVENTS_PER_BATCH_MAX * EVENT_SIZE bytes). timestamp_next: about when it will execute; imports
 * take timestamps just before.
 */
void workload_next_batch(
    struct workload *workload,
    const struct model *model,
    uint64_t timestamp_next,
    uint8_t *operation,
    void *events,
    uint32_t *count);

/*
 * Makes the next read: sets *operation, writes input (room for WORKLOAD_READ_SIZE_MAX bytes),
 * returns its size.
 */
uint32_t workload_next_read(
    struct workload *workload, const struct model *model, uint8_t *operation, void *input);

#endif
