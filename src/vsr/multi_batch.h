/* SPDX-License-Identifier: PostgreSQL */
/*
 * Several requests in the body of one prepare (group commit), so that they share one write to disk.
 *
 *    events of batch 0 · events of batch 1 · … · zero padding · table of batches · trailer
 *
 * The table has an entry of 4 bytes for each batch, in order. The trailer, also 4 bytes, holds
 * their number. Padding makes table and trailer together a multiple of EVENT_SIZE. Batches are
 * independent of each other: neither a chain nor a rule of one batch reaches into the next.
 * Timestamps are consecutive over all batches.
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

/* True if a batch of event_count events fits beside those already added. */
bool multi_batch_fits(const struct multi_batch_writer *writer, uint32_t event_count);

/* Copies the events in. Precondition: they fit, and there is at least one. */
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
 * Returns false if the body isn't what multi_batch_end makes. timestamp_final is that of the last
 * batch's last event; event_count, from the prepare's header, is the sum over all batches.
 */
bool multi_batch_open(
    struct multi_batch_reader *reader,
    const void *body,
    uint32_t body_size,
    uint64_t timestamp_final,
    uint32_t event_count);

bool multi_batch_next(struct multi_batch_reader *reader, struct state_machine_batch *batch);

#endif
