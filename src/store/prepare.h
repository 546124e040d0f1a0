/* SPDX-License-Identifier: PostgreSQL */
/*
 * The header of a prepare: the unit of the log, of replication and of execution.
 *
 *   off size field               off size field
 *     0  16  checksum            104   8  position
 *    16  16  checksum_body       112   8  members_op
 *    32  16  parent              120   4  size
 *    48  16  cluster             124   4  view
 *    64  16  checkpoint_id       128   4  event_count
 *    80   8  op                  132   4  record_count
 *    88   8  commit              136   2  version
 *    96   8  timestamp           138   2  voters
 *                                140   1  operation
 *                                141   1  replica
 *                                142 114  reserved (zero)
 *
 * `checksum` covers the rest of the header, and through checksum_body the body; so a header can be
 * trusted without its body. `parent` is the checksum of the header of op − 1: the log is a hash
 * chain. Headers alone also tell who counts: `voters` are the members whose durable copies count,
 * from this op on (members.h).
 *
 * Numbered invariants (checked in prepare_header_valid, prepare_follows and prepare_next_position,
 * tested under their number):
 *  (P1) size >= PREPARE_HEADER_SIZE and size <= PREPARE_SIZE_MAX.
 *  (P2) position is a multiple of SECTOR_SIZE and follows from the parent alone:
 *       prepare_next_position(parent, own size). It is logical, and only grows; the place in the
 *       ring is position mod size of the ring. A prepare never straddles the end of the ring.
 *  (P3) the bytes after `size` up to the next sector boundary are zero on disk.
 *  (V4) op − commit <= PIPELINE_PREPARES_MAX, so the newest header bounds what may be uncommitted.
 *  (V12) the members change only by a prepare that does nothing else, PREPARE_NODE, and with
 *       everything before committed: commit = op − 1. The voters before and after differ in one bit
 *       at most.
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
    PREPARE_NODE = 4,     /* Changes a member. Its body is a struct member_change. */
    PREPARE_FENCE = 5,    /* A member's new fence, which is no change of members: member_fence. */
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
    uint64_t op;
    /* The newest op that the primary had committed when it made this prepare. */
    uint64_t commit;
    uint64_t timestamp; /* The last event's timestamp; event i of n has timestamp − n + i + 1. */
    uint64_t position;
    uint64_t members_op; /* The newest op up to this one that changed the members; 0 if none did. */
    uint32_t size; /* Bytes of header and body. */
    uint32_t view;
    uint32_t event_count;  /* How many timestamps this prepare consumes. */
    uint32_t record_count; /* How many records of EVENT_SIZE its body has. */
    uint16_t version;
    uint16_t voters; /* As members_voters has them. Of a lone replica: 1. */
    uint8_t operation;
    uint8_t replica; /* The member that made it as primary. */
    uint8_t reserved[114];
};

static_assert(sizeof(struct prepare_header) == PREPARE_HEADER_SIZE, "headers log entry");
static_assert(offsetof(struct prepare_header, op) == 80, "no padding");
static_assert(offsetof(struct prepare_header, reserved) == 142, "no padding");

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
 * True if checksum, cluster, version and reserved bytes are right, and every field is what a
 * replica could have written beside the others. The body isn't looked at.
 */
bool prepare_header_valid(const struct prepare_header *header, u128 cluster);

/*
 * True if a replica could have made `header` after `parent`. Both are valid. It is the next op of
 * the same chain, neither time (R4) nor view nor commit goes back, and the members change as (V12)
 * says. Where it lies is not looked at: see prepare_next_position.
 */
bool prepare_follows(const struct prepare_header *parent, const struct prepare_header *header);

/* True if all 256 bytes are zero: the entry was never written. */
bool prepare_header_blank(const struct prepare_header *header);

/*
 * True if the header is valid, checksum_body matches the body, and the padding up to the sector
 * boundary is zero (P3).
 */
bool prepare_valid(const struct prepare_header *header, u128 cluster);

/* The prepare of op 0, for these voters (members_voters). */
void prepare_root(struct prepare_header *header, u128 cluster, uint16_t voters);

#endif
