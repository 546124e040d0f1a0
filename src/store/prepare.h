/* SPDX-License-Identifier: PostgreSQL */
/*
 * The header of a prepare: the unit of the log, of replication and of execution.
 *
 *   off size field               off size field
 *     0  16  checksum             96   8  op
 *    16  16  checksum_body       104   8  commit
 *    32  16  parent              112   8  timestamp
 *    48  16  cluster             120   8  position
 *    64  16  checkpoint_id       128   4  size
 *    80  16  client              132   4  view
 *                                136   4  request
 *                                140   4  event_count
 *                                144   2  version
 *                                146   1  operation
 *                                147   1  replica
 *                                148 108  reserved (zero)
 *
 * `checksum` covers the rest of the header, and through checksum_body the body; so a header can be
 * trusted without its body. `parent` is the checksum of the header of op − 1: the log is a hash
 * chain.
 *
 * Numbered invariants (asserted in prepare_header_valid and prepare_next_position, tested under
 * their number):
 *  (P1) size >= PREPARE_HEADER_SIZE and size <= PREPARE_SIZE_MAX.
 *  (P2) position is a multiple of SECTOR_SIZE and follows from the parent alone:
 *       prepare_next_position(parent, own size). It is logical, and only grows; the place in the
 *       ring is position mod size of the ring. A prepare never straddles the end of the ring.
 *  (P3) the bytes after `size` up to the next sector boundary are zero on disk.
 */
#ifndef LEDGER_STORE_PREPARE_H
#define LEDGER_STORE_PREPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/u128.h"
#include "config.h"

/* What a prepare does. */
enum prepare_operation {
    PREPARE_RESERVED = 0, /* Never valid: zeroed memory is no prepare. */
    PREPARE_ROOT = 1,     /* Op 0, a function of the cluster's id. In the superblock only. */
    PREPARE_PULSE = 2,    /* Releases expired holds. No body. */
    PREPARE_BATCHES = 3,  /* Requests of clients, see vsr/multi_batch.h. */
};

struct prepare_header {
    u128 checksum;
    u128 checksum_body;
    u128 parent;
    u128 cluster;
    u128 checkpoint_id; /* The checkpoint that the log continues. States diverged if it differs. */
    u128 client;        /* Session; 0 for what the primary makes itself. */
    uint64_t op;
    uint64_t commit;    /* The primary's newest committed op when it made this. */
    uint64_t timestamp; /* The last event's; event i of n has timestamp − n + i + 1. */
    uint64_t position;
    uint32_t size; /* Header and body, bytes. */
    uint32_t view;
    uint32_t request;
    uint32_t event_count; /* Timestamps that this prepare consumes. */
    uint16_t version;
    uint8_t operation;
    uint8_t replica; /* Index of the primary that made it. */
    uint8_t reserved[108];
};

static_assert(sizeof(struct prepare_header) == PREPARE_HEADER_SIZE, "headers log entry");
static_assert(offsetof(struct prepare_header, op) == 96, "no padding");
static_assert(offsetof(struct prepare_header, reserved) == 148, "no padding");

/*
 * A prepare in memory: a sector-aligned buffer of PREPARE_SIZE_MAX bytes that starts with the
 * header.
 */
static inline struct prepare_header *
prepare_header_of(void *message)
{
    return message;
}

/* Header and body, rounded up to sectors: what the prepare takes in the log. */
uint64_t prepare_size_on_disk(const struct prepare_header *header);

/*
 * (P2): the position of a prepare of size_on_disk bytes that follows `parent` in a ring of
 * ring_size bytes.
 */
uint64_t prepare_next_position(
    const struct prepare_header *parent,
    uint64_t size_on_disk,
    uint64_t ring_size);

/* Fills checksum_body, then checksum. The body follows the header in memory. */
void prepare_seal(struct prepare_header *header);

/*
 * Checksum, cluster, version, operation, sizes and reserved bytes are right. Says nothing of the
 * body.
 */
bool prepare_header_valid(const struct prepare_header *header, u128 cluster);

/* All 256 bytes are zero: never written. */
bool prepare_header_blank(const struct prepare_header *header);

/*
 * The header is valid, checksum_body matches, and the padding up to the sector boundary is zero
 * (P3).
 */
bool prepare_valid(const struct prepare_header *header, u128 cluster);

/* The prepare of op 0. */
void prepare_root(struct prepare_header *header, u128 cluster);

#endif
