/* SPDX-License-Identifier: PostgreSQL */
/*
 * The superblock: where opening starts. It holds the identity, the view, the newest durable
 * checkpoint, and what is known of the log's end.
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
 * An entry of the log may be intact and not count, because a view dropped it and nothing was
 * erased; and one that counts may be damaged, and look as if nothing had been there. So the
 * superblock says what the log of log_view has: the suffix, its newest headers, and op_acked_min.
 * Whatever is at or below op_acked_min was durable here once, and is never dropped.
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
 *  (S7) the suffix is one chain of 1 … SUPERBLOCK_SUFFIX_MAX headers, none of a view newer than
 *       log_view, and checkpoint op <= op_acked_min <= op of its newest header. While log_view
 *       stays, neither regresses, and headers beyond the newest one before are of log_view itself.
 *       An update with a newer log_view replaces suffix and op_acked_min, which may be lower then.
 *       What an update says of the log of an older log_view is not taken.
 *  (S8) what is asked for while an update runs becomes durable with the next one, all of it at
 *       once. Whoever asked is called back once. If a newer view was asked for meanwhile, then the
 *       answer is SUPERBLOCK_REPLACED, and nothing of what it asked for was or will be written.
 *  (S9) the members are those at the checkpoint op, and their checksum is part of the checkpoint.
 *  (S10) SUPERBLOCK_NOT_ALONE and SUPERBLOCK_OVER stay once they are set, and record_op never goes
 *       back.
 */
#ifndef LEDGER_STORE_SUPERBLOCK_H
#define LEDGER_STORE_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/u128.h"
#include "config.h"
#include "io/storage.h"
#include "store/members.h"
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
    u128 members_checksum; /* (S9): so the checkpoint's id tells also whose members differ. */
    /* The highest block in use. Whatever lies beyond it belongs to no checkpoint. */
    uint64_t grid_block_count;
    uint64_t reserved[9];
};
static_assert(sizeof(struct checkpoint_state) == 384, "no padding");

/* What was last heard from the member of a slot. All zero until members hear of each other. */
struct superblock_heard {
    uint64_t fence;
    uint64_t record_op;
    uint32_t view;
    uint32_t log_view;
    uint64_t acked_op;
};
static_assert(sizeof(struct superblock_heard) == 32, "no padding");

enum superblock_flag {
    SUPERBLOCK_SYNCING = 1,   /* The blocks of the checkpoint are not all here yet. */
    SUPERBLOCK_OVER = 2,      /* This incarnation was refused, and never takes part again. */
    SUPERBLOCK_NOT_ALONE = 4, /* Others are, or may be, members too. */
};
#define SUPERBLOCK_FLAGS (SUPERBLOCK_SYNCING | SUPERBLOCK_OVER | SUPERBLOCK_NOT_ALONE)

#define SUPERBLOCK_NAME_SIZE 32
static_assert(SUPERBLOCK_NAME_SIZE > MEMBER_NAME_MAX, "a zero ends the name");

struct superblock_state {
    u128 checksum; /* The checksum of everything after `copy`. */
    uint16_t copy;
    uint16_t version; /* DISK_FORMAT_VERSION */
    uint32_t flags;   /* enum superblock_flag. Zero until a ledger has more than one member. */
    uint64_t config_fingerprint;
    u128 parent;
    u128 cluster;
    u128 incarnation; /* Names this life of the node: a node that joins again gets a new one. */
    uint64_t sequence;
    uint64_t system_identifier; /* The Postgres cluster that owns the directory. */
    uint64_t prepares_size_bytes;
    uint64_t commit_max;
    uint32_t view;
    uint32_t log_view; /* The view whose log this node has. */
    uint8_t slot;      /* Of this node, among the members. */
    uint8_t suffix_count;
    uint8_t reserved_head[2];
    uint32_t level; /* Which behaviour the log has switched to. Zero until there is a second. */
    struct checkpoint_state checkpoint;
    struct prepare_header suffix[SUPERBLOCK_SUFFIX_MAX]; /* Ascending; zero after suffix_count. */
    struct members members;                              /* (S9) */
    struct superblock_heard heard[MEMBERS_MAX];          /* By slot. */
    u128 commit_max_checksum; /* Of the prepare of commit_max; 0 where that isn't known. */
    uint64_t op_acked_min;
    uint64_t fence;      /* The last one known to be committed. Zero while the node is alone. */
    uint64_t fence_next; /* The one that was asked for, or zero. Zero while the node is alone. */
    uint64_t record_op;  /* The op that made `fence` known. Zero while the node is alone. */
    char name[SUPERBLOCK_NAME_SIZE]; /* This node's. Empty while the node is alone. */
    /*
     * Of the only member that the ledger began with: members that come later begin their log with
     * that, too. Zero while the node is alone, and where the ledger began with several.
     */
    u128 first_incarnation;
    uint8_t reserved[32];
};
static_assert(sizeof(struct superblock_state) == SECTOR_SIZE, "one sector a copy");
static_assert(offsetof(struct superblock_state, checkpoint) == 128, "no padding");
static_assert(offsetof(struct superblock_state, suffix) == 512, "no padding");
static_assert(offsetof(struct superblock_state, members) == 2816, "no padding");
static_assert(offsetof(struct superblock_state, heard) == 3584, "no padding");
static_assert(offsetof(struct superblock_state, commit_max_checksum) == 3968, "no padding");
static_assert(offsetof(struct superblock_state, reserved) == 4064, "no padding");

/*
 * What is known of the log's end, which says what of it counts when it is read again. The newest
 * header of the suffix is the newest one of the log of log_view, and op_acked_min the newest op
 * that is durable here and on that log; no append in flight is in either.
 */
struct superblock_log {
    uint32_t log_view;
    uint32_t suffix_count;
    struct prepare_header suffix[SUPERBLOCK_SUFFIX_MAX];
    uint64_t op_acked_min;
    uint64_t commit_max;
    u128 commit_max_checksum;
};

enum superblock_result {
    SUPERBLOCK_OK,
    SUPERBLOCK_ABSENT,          /* No copy was ever written. */
    SUPERBLOCK_PRESENT,         /* Format: the file is not all zero, and was left alone. */
    SUPERBLOCK_FORK,            /* Two contents for one sequence. */
    SUPERBLOCK_QUORUM_LOST,     /* No candidate has two identical valid copies. */
    SUPERBLOCK_OTHER_VERSION,   /* Intact, but written by another format version. */
    SUPERBLOCK_OTHER_CONFIG,    /* Intact, but written by a build with other limits. */
    SUPERBLOCK_IO_ERROR,        /* A write of the repair failed, or an update is not durable. */
    SUPERBLOCK_REPLACED,        /* Update: a newer view was asked for before it began. */
};

const char *superblock_result_name(enum superblock_result result);

/*
 * What the node knows of itself and has heard of others, as far as it changes; all zero: nothing
 * does. May go with an update of any kind, and is durable with it or not at all.
 */
struct superblock_node {
    uint32_t flags_set;
    uint32_t flags_cleared; /* SUPERBLOCK_SYNCING, or none (S10). */
    char name[SUPERBLOCK_NAME_SIZE]; /* The node's, with SUPERBLOCK_NOT_ALONE. */
    bool fences;                     /* These three change: */
    uint64_t fence;
    uint64_t fence_next;
    uint64_t record_op;
    uint32_t heard_of; /* A bit for each slot of which `heard` changes. */
    struct superblock_heard heard[MEMBERS_MAX];
};

struct superblock_update;
typedef void superblock_callback(struct superblock_update *update, enum superblock_result result);

enum superblock_update_kind {
    SUPERBLOCK_UPDATE_VIEW,
    SUPERBLOCK_UPDATE_CHECKPOINT,
    /*
     * Gives the ledger to another owner: the node begins a new life. Only for a lone ledger, as
     * other members would have to agree. A crash leaves the old owner or the new one.
     */
    SUPERBLOCK_UPDATE_OWNER,
    SUPERBLOCK_UPDATE_NODE, /* Only what `node` says. */
};
#define SUPERBLOCK_UPDATE_KIND_COUNT 4

/* Caller-owned, lent to the superblock until the callback. */
struct superblock_update {
    enum superblock_update_kind kind;
    superblock_callback *callback;
    /* Of a view, and of a checkpoint: `log` says of the log what is true now. */
    struct superblock_log log;
    uint32_t view; /* Of a view. */
    /* Of a checkpoint: it and the members then. members_checksum is filled in by the superblock. */
    struct checkpoint_state checkpoint;
    struct members members;
    /* Of an owner. */
    u128 incarnation;
    uint64_t system_identifier;
    struct superblock_node node; /* Of any kind. */
    struct superblock_update *replaced_next; /* The superblock's. */
};

enum superblock_step { SUPERBLOCK_LOOK, SUPERBLOCK_WRITE, SUPERBLOCK_VERIFY };

struct superblock {
    struct storage *storage;
    struct superblock_state *working; /* The durable state, once open. Others only read it. */
    struct superblock_state *staging; /* The state being written. */
    struct superblock_state *reading; /* Read-back buffer: SUPERBLOCK_COPIES sectors. */
    bool updating; /* From the start of an update until all its callers have been called. */
    bool failed;   /* An update was not durable. */
    /* What the running update makes durable, and what the next one will; by kind, or NULL. */
    struct superblock_update *running[SUPERBLOCK_UPDATE_KIND_COUNT];
    struct superblock_update *pending[SUPERBLOCK_UPDATE_KIND_COUNT];
    struct superblock_update *replaced; /* To be told so when the running update ends. */
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
    /*
     * All members that the ledger begins with, and the slot of this node among them, whose
     * incarnation is the one above. NULL and 0: the ledger is alone.
     */
    const struct members *members;
    uint8_t slot;
    /*
     * Of a node that becomes a member later, by the log: its name; and the members are those of the
     * log's beginning, without it. Otherwise NULL. MEMBER_NAME_MAX bytes, as a member has it.
     */
    const char *name;
};

/*
 * Writes the first state, in which nothing is in the log, over a file that is all zero. This is the
 * last step of making a data directory. Waits.
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
 * Makes `working` a new state, and calls back when that is durable by (S3). It begins at once;
 * while an update runs, it waits for the next one (S8). Views, log_view and checkpoints never
 * regress (S2). Only the newest view may wait, and one update of each other kind; a newer view
 * replaces one that waits. After SUPERBLOCK_IO_ERROR the caller must stop: nothing is written any
 * more.
 */
void superblock_update(struct superblock *superblock, struct superblock_update *update);

/* True while an update runs, or waits. */
bool superblock_busy(const struct superblock *superblock);

/* The newest op of the suffix: the head of the log of log_view, as far as that was known. */
uint64_t superblock_suffix_head(const struct superblock_state *state);

/*
 * Can this header of the log be of the log of log_view? Up to the suffix's head it must be of no
 * newer view, and where the suffix lists its op be the one listed; beyond, it must be of log_view.
 * Other entries remain on disk from logs that were dropped.
 */
bool superblock_log_counts(
    const struct superblock_state *state,
    const struct prepare_header *header);

/* The checkpoint's id: the checksum of checkpoint_state. */
u128 superblock_checkpoint_id(const struct superblock *superblock);

#endif
