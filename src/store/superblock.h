/* SPDX-License-Identifier: PostgreSQL */
/*
 * The superblock: where opening starts. It holds the identity, the view, and the newest durable
 * checkpoint.
 *
 * It has four copies, each in its own erase unit of the disk. They are written one after another,
 * so that a crash tears at most one. A copy is one sector. All copies of one sequence are identical
 * except for the field `copy`, the copy's own index. The checksum leaves that field out, so one
 * checksum names the state; instead it is compared with the place that the copy was read from.
 *
 * The happy path: open (read, choose), repair, then updates. What can go wrong: too few copies are
 * intact (SUPERBLOCK_QUORUM_LOST), copies contradict each other (SUPERBLOCK_FORK), another version
 * or build wrote them. Then nothing is written, and a person has to decide.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (S1) sequence grows by one at each update, and parent is the checksum of the state before.
 *  (S2) view, log_view, commit_max, checkpoint op never regress.
 *  (S3) an update is durable when all copies are written and at least three read back identical.
 *  (S4) open takes the highest sequence that at least two identical valid copies hold; if a valid
 *       copy of the next sequence exists but only once, that update was torn, and does not count.
 *       A copy further ahead is refused. Two valid copies of one sequence with different checksums,
 *       or of neighbouring sequences without the parent link, are a fork, and refused.
 *  (S5) open writes nothing; repair writes copies that are missing, torn or misplaced, and comes
 *       before the first update.
 *  (S6) an update first looks which copies are bad, and writes those first. So even if two were bad
 *       and a crash tears a third, a pair is left: of the state before, or of the new one.
 */
#ifndef LEDGER_STORE_SUPERBLOCK_H
#define LEDGER_STORE_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/u128.h"
#include "config.h"
#include "io/storage.h"
#include "store/prepare.h"

/* Names a grid block: where it is, and what it holds. Address 0: none. */
struct block_reference {
    u128 checksum;
    uint64_t address;
    uint64_t reserved;
};

/* A durable state of the state machine, together with the prepare after which it was taken. */
struct checkpoint_state {
    struct prepare_header header; /* The prepare at the checkpoint. Recovery starts here. */
    /* The forest's root block; address 0 while the forest is empty. */
    struct block_reference root;
    /* The highest block in use. Whatever lies beyond it belongs to no checkpoint. */
    uint64_t grid_block_count;
    uint64_t reserved[11];
};
static_assert(sizeof(struct checkpoint_state) == 384, "no padding");

struct superblock_state {
    u128 checksum; /* The checksum of everything after `copy`. */
    uint16_t copy;
    uint16_t version; /* DISK_FORMAT_VERSION */
    uint32_t reserved_head;
    uint64_t config_fingerprint;
    u128 parent;
    u128 cluster;
    u128 incarnation; /* Names this life of the node: a node that joins again gets a new one. */
    uint64_t sequence;
    uint64_t system_identifier; /* The Postgres cluster that owns the directory. */
    uint64_t prepares_size_bytes;
    uint64_t commit_max;
    uint32_t view;
    uint32_t log_view;
    uint8_t replica;
    uint8_t replica_count;
    uint8_t reserved_members[6];
    struct checkpoint_state checkpoint;
    uint8_t reserved[3584];
};
static_assert(sizeof(struct superblock_state) == SECTOR_SIZE, "one sector a copy");

enum superblock_result {
    SUPERBLOCK_OK,
    SUPERBLOCK_ABSENT,          /* No copy was ever written. */
    SUPERBLOCK_PRESENT,         /* Format: the file is not all zero, and was left alone. */
    SUPERBLOCK_FORK,            /* Two contents for one sequence. */
    SUPERBLOCK_QUORUM_LOST,     /* No candidate has two identical valid copies. */
    SUPERBLOCK_OTHER_VERSION,   /* Intact, but written by another format version. */
    SUPERBLOCK_OTHER_CONFIG,    /* Intact, but written by a build with other limits. */
    SUPERBLOCK_IO_ERROR,        /* A write of the repair failed, or an update is not durable. */
};

const char *superblock_result_name(enum superblock_result result);

struct superblock;
typedef void superblock_callback(struct superblock *superblock, enum superblock_result result);

enum superblock_step { SUPERBLOCK_LOOK, SUPERBLOCK_WRITE, SUPERBLOCK_VERIFY };

struct superblock {
    struct storage *storage;
    struct superblock_state *working; /* The durable state, once open. Others only read it. */
    struct superblock_state *staging; /* The state being written. */
    struct superblock_state *reading; /* Read-back buffer: SUPERBLOCK_COPIES sectors. */
    superblock_callback *callback;    /* Not NULL while an update runs. */
    void *context; /* Belongs to the caller of updates, which sets it after open. */
    struct storage_request request;
    enum superblock_step step; /* The step that the update is at. */
    uint32_t step_count;       /* How many copies the present step has done. */
    /* The order in which copies are written: bad ones first (S6). */
    uint32_t order[SUPERBLOCK_COPIES];
    bool copy_good[SUPERBLOCK_COPIES];  /* The copy held `working` when it was last looked at. */
    bool settled;                       /* It was repaired, or has just been formatted. */
    uint32_t copies_repaired;
};

void superblock_init(struct superblock *superblock, struct arena *arena, struct storage *storage);

struct superblock_format_options {
    u128 cluster;
    u128 incarnation;
    uint64_t system_identifier;
    uint64_t prepares_size_bytes;
    uint8_t replica;
    uint8_t replica_count;
};

/*
 * Writes the first state, over a file that is all zero. This is the last step of making a data
 * directory. Waits.
 */
enum superblock_result superblock_format(
    struct superblock *superblock,
    const struct superblock_format_options *options);

/*
 * Reads the copies and chooses by (S4). It writes nothing, so that the caller can first check whose
 * state this is. Waits.
 */
enum superblock_result superblock_open(struct superblock *superblock);

/* After a successful open: repairs by (S5). Waits. */
enum superblock_result superblock_repair(struct superblock *superblock);

/*
 * The three kinds of update. Each makes `working` the new state, and calls back when that is
 * durable by (S3). After SUPERBLOCK_IO_ERROR the caller must stop. Only one may run at a time
 * (asserted).
 */
void superblock_update_checkpoint(
    struct superblock *superblock,
    const struct checkpoint_state *checkpoint,
    uint64_t commit_max,
    superblock_callback *callback);

void superblock_update_view(
    struct superblock *superblock,
    uint32_t view,
    uint32_t log_view,
    uint64_t commit_max,
    superblock_callback *callback);

/*
 * Gives the ledger to another owner. A crash leaves the old owner or the new one, never a mixture
 * and never none: it is one update like the others, so (S4) chooses one of the two states whole.
 */
void superblock_update_owner(
    struct superblock *superblock,
    u128 incarnation,
    uint64_t system_identifier,
    superblock_callback *callback);

/* The checkpoint's id: the checksum of checkpoint_state. */
u128 superblock_checkpoint_id(const struct superblock *superblock);

#endif
