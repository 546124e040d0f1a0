/* SPDX-License-Identifier: PostgreSQL */
/*
 * Several requests in the body of one prepare: group commit.
 *
 *   events of batch 0 · events of batch 1 · … · zero padding · table of batches · trailer
 *
 * The table has one 4-byte entry a batch, in order; the 4-byte trailer holds their number. Padding
 * makes table and trailer a multiple of EVENT_SIZE. Batches are independent of each other: chains
 * and rules of a batch never reach into the next. Timestamps are laid over all batches
 * consecutively.
 */
#ifndef LEDGER_VSR_MULTI_BATCH_H
#define LEDGER_VSR_MULTI_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "vsr/state_machine.h"

struct multi_batch_entry {
    uint8_t operation;
    uint8_t reserved;
    uint16_t event_count;
};
static_assert(sizeof(struct multi_batch_entry) == 4, "on disk");

struct multi_batch_trailer {
    uint16_t batch_count;
    uint16_t reserved;
};
static_assert(sizeof(struct multi_batch_trailer) == 4, "on disk");

struct multi_batch_writer {
    uint8_t *body;
    uint32_t event_count;
    uint32_t batch_count;
    struct multi_batch_entry entries[BATCHES_PER_PREPARE_MAX];
};

/* Writes into `body`, which has room for a prepare's largest body. */
void multi_batch_begin(struct multi_batch_writer *writer, void *body);

/* True if a batch of so many events fits beside those added. */
bool multi_batch_fits(const struct multi_batch_writer *writer, uint32_t event_count);

/* Copies the events in. Precondition: it fits, and is not empty. */
void multi_batch_add(
    struct multi_batch_writer *writer,
    uint8_t operation,
    const void *events,
    uint32_t event_count);

/* Writes padding, table and trailer; returns the body's size in bytes. */
uint32_t multi_batch_end(struct multi_batch_writer *writer);

struct multi_batch_reader {
    const uint8_t *events;
    const struct multi_batch_entry *entries;
    uint32_t batch_count;
    uint32_t batch_index;
    uint64_t timestamp; /* The timestamp of the last event before the next batch. */
};

/*
 * False if the body is not what multi_batch_end makes. timestamp_final: of the last event of the
 * last batch; event_count: of all batches, as the prepare's header says.
 */
bool multi_batch_open(
    struct multi_batch_reader *reader,
    const void *body,
    uint32_t body_size,
    uint64_t timestamp_final,
    uint32_t event_count);

bool multi_batch_next(struct multi_batch_reader *reader, struct state_machine_batch *batch);

#endif
