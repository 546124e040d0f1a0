/* SPDX-License-Identifier: PostgreSQL */
/*
 * Several requests in the body of one prepare (group commit), so that they share one write to disk.
 *
 *    records of batch 0 · records of batch 1 · … · zero padding · table of batches
 *      · table of origins · trailer
 *
 * A batch is one request: an operation and its records, of EVENT_SIZE bytes each. Batches are
 * independent of each other: neither a chain nor a rule of one batch reaches into the next.
 * Timestamps are consecutive over all batches. How many records a batch has and how many timestamps
 * it consumes are two numbers, since an operation may need more time than records.
 *
 * Batches of one member lie together, and the table of origins says whose they are: the first
 * origin's batches come first, then the second's. A slot's requests are numbered within the slot's
 * session, and those in one prepare are consecutive, so the number of the last one is enough. This
 * is what each replica knows its own requests by, and what makes a request count once (sessions.h).
 *
 * The bytes come from disks and peers. So multi_batch_open checks all of it, and only then is it
 * used.
 */
#ifndef LEDGER_VSR_MULTI_BATCH_H
#define LEDGER_VSR_MULTI_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "vsr/state_machine.h"

/* ---- On disk --------------------------------------------------------------------------------- */

struct multi_batch_entry {
    uint8_t operation;
    uint8_t reserved_operation;
    uint16_t event_count; /* How many timestamps it consumes. */
    uint16_t record_count;
    uint16_t reserved;
};
static_assert(sizeof(struct multi_batch_entry) == PREPARE_BATCH_SIZE, "on disk");

struct multi_batch_origin {
    uint8_t slot;
    uint8_t reserved_slot;
    uint16_t batch_count;
    uint32_t event_count; /* Of all its batches. */
    uint64_t session;     /* Never 0. */
    uint64_t number;      /* Of its last batch; the first has number − batch_count + 1 >= 1. */
    uint64_t reserved;
};
static_assert(sizeof(struct multi_batch_origin) == PREPARE_ORIGIN_SIZE, "on disk");

struct multi_batch_trailer {
    uint16_t batch_count;
    uint16_t origin_count;
    uint32_t reserved;
};
static_assert(sizeof(struct multi_batch_trailer) == PREPARE_TRAILER_SIZE, "on disk");

/* ---- In memory ------------------------------------------------------------------------------- */

/* Who has sent a batch: the number is that of the batch within the session of the slot. */
struct multi_batch_source {
    uint8_t slot;
    uint64_t session;
    uint64_t number;
};

/* How much a prepare has. Its header says it too. */
struct multi_batch_sums {
    uint32_t event_count;
    uint32_t record_count;
};

struct multi_batch_writer {
    uint8_t *body;
    struct multi_batch_sums sums;
    uint32_t batch_count;
    uint32_t origin_count;
    struct multi_batch_entry entries[BATCHES_PER_PREPARE_MAX];
    struct multi_batch_origin origins[MEMBERS_MAX];
};

/* Writes into `body`, which has room for a prepare's largest body. */
void multi_batch_begin(struct multi_batch_writer *writer, void *body);

/* True if a batch with so many events and records fits beside those already added. */
bool multi_batch_fits(const struct multi_batch_writer *writer, struct multi_batch_sums sums);

/* True if so many batches, with so many events and records together, fit beside those added. */
bool multi_batch_fits_all(
    const struct multi_batch_writer *writer,
    struct multi_batch_sums sums,
    uint32_t batch_count);

/*
 * Copies the batch's records in. Preconditions: they fit, and there is at least one. The source has
 * the slot of the batch before, its session and the next number; or a higher slot.
 */
void multi_batch_add(
    struct multi_batch_writer *writer,
    const struct multi_batch_source *source,
    const struct state_machine_batch *batch);

/* Writes padding, tables and trailer; returns the body's size in bytes. */
uint32_t multi_batch_end(struct multi_batch_writer *writer);

struct multi_batch_reader {
    const uint8_t *records;
    const struct multi_batch_entry *entries;
    const struct multi_batch_origin *origins;
    uint32_t batch_count;
    uint32_t batch_index;
    uint32_t origin_count;
    uint32_t origin_next;  /* The origin after that of the last batch. */
    uint32_t origin_left;  /* How many batches the current origin still has. */
    uint64_t timestamp;    /* The timestamp of the last event before the next batch. */
    struct multi_batch_source source; /* Of the batch that multi_batch_next has given last. */
};

/*
 * Returns false if the body isn't what multi_batch_end makes. timestamp_final is that of the last
 * batch's last event; the sums are those of the prepare's header.
 */
bool multi_batch_open(
    struct multi_batch_reader *reader,
    const void *body,
    uint32_t body_size,
    uint64_t timestamp_final,
    struct multi_batch_sums sums);

/*
 * The same for a body that has no header yet: the sums are its own, and timestamps count from zero.
 * For requests on their way to the primary.
 */
bool multi_batch_open_unstamped(
    struct multi_batch_reader *reader,
    const void *body,
    uint32_t body_size);

/* What its tables say. After opening. */
struct multi_batch_sums multi_batch_sums(const struct multi_batch_reader *reader);

bool multi_batch_next(struct multi_batch_reader *reader, struct state_machine_batch *batch);

#endif
