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
    /* Op 0. Its content follows from the cluster's id, and only the superblock holds it. */
    PREPARE_ROOT = 1,
    PREPARE_PULSE = 2,    /* Expires holds. It has no body. */
    PREPARE_BATCHES = 3,  /* Requests of clients, see vsr/multi_batch.h. */
};

struct prepare_header {
    u128 checksum;
    u128 checksum_body;
    u128 parent;
    u128 cluster;
    /*
     * The checkpoint that the log continues. If two nodes' ids differ, their states have diverged.
     */
    u128 checkpoint_id;
    u128 client;        /* The client's session; 0 for what the primary makes for itself. */
    uint64_t op;
    /* The newest op that the primary had committed when it made this prepare. */
    uint64_t commit;
    uint64_t timestamp; /* The last event's timestamp; event i of n has timestamp − n + i + 1. */
    uint64_t position;
    uint32_t size; /* Bytes of header and body. */
    uint32_t view;
    uint32_t request;
    uint32_t event_count; /* How many timestamps this prepare consumes. */
    uint16_t version;
    uint8_t operation;
    uint8_t replica; /* Index of the replica that made it as primary. */
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

/* Bytes that the prepare takes in the log: header and body, rounded up to whole sectors. */
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
 * True if checksum, cluster, version, operation, sizes and reserved bytes are right. The body isn't
 * looked at.
 */
bool prepare_header_valid(const struct prepare_header *header, u128 cluster);

/* True if all 256 bytes are zero: the entry was never written. */
bool prepare_header_blank(const struct prepare_header *header);

/*
 * True if the header is valid, checksum_body matches the body, and the padding up to the sector
 * boundary is zero (P3).
 */
bool prepare_valid(const struct prepare_header *header, u128 cluster);

/* The prepare of op 0. */
void prepare_root(struct prepare_header *header, u128 cluster);

#endif
