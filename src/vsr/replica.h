/* SPDX-License-Identifier: PostgreSQL */
/*
 * The replica: Viewstamped Replication (Liskov and Cowling, "Viewstamped Replication Revisited",
 * 2012, §4), in a cluster of one. It is primary of every view, and its replication quorum is
 * itself: a prepare commits when its own journal has it.
 *
 *   request → queue → prepare (all waiting requests) → journal → commit in op order → answer
 *
 * Numbered invariants (asserted, tested under their number):
 *  (R1) commit <= journaled <= op, and op − commit <= PIPELINE_PREPARES_MAX.
 *  (R2) ops commit in order, each once, and only when journaled.
 *  (R3) a request is answered after its prepare is durable and executed, or with the reason why it
 *       took no effect, or with REPLICA_FAILED (outcome unknown).
 *  (R4) timestamps of prepares ascend strictly: prepare − event_count >= parent's timestamp.
 *  (R5) when a checkpoint is due is a function of the log alone: the prepares since the last one
 *       fill half the ring, or have CHECKPOINT_EVENTS_MAX events.
 *  (R6) a view is durable in the superblock before the replica makes a prepare in it.
 *  (R7) a pulse is made only when all that it will look at was read, as of the op before it: a
 *       damaged block that only pulses look at holds up pulses and nothing else.
 */
#ifndef LEDGER_VSR_REPLICA_H
#define LEDGER_VSR_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/histogram.h"
#include "base/queue.h"
#include "forest/forest.h"
#include "io/clock.h"
#include "store/journal.h"
#include "store/superblock.h"
#include "vsr/multi_batch.h"
#include "vsr/request.h"
#include "vsr/state_machine.h"

enum replica_status {
    REPLICA_CLOSED,
    REPLICA_RECOVERING, /* Replaying the journal: takes no requests. */
    REPLICA_NORMAL,
    /* A write or a growth failed. Answers nothing but REPLICA_FAILED until opened again. */
    REPLICA_STOPPED,
};

/* What committing waits for: see replica_commit.c. */
enum commit_stage {
    COMMIT_IDLE,
    COMMIT_PREFETCH,              /* What op commit + 1 needs comes into reach. → COMMIT_EXECUTE */
    COMMIT_EXECUTE,               /* It is executed, piece by piece. → COMMIT_COMPACT */
    COMMIT_COMPACT,               /* The forest does what is due after it. → COMMIT_IDLE, … */
    COMMIT_CHECKPOINT_FOREST,     /* The forest writes what changed. → ..._SUPERBLOCK */
    COMMIT_CHECKPOINT_SUPERBLOCK, /* The superblock takes the new root. → COMMIT_IDLE */
};

/* The op commit + 1 from COMMIT_PREFETCH to COMMIT_EXECUTE. */
struct replica_execution {
    bool begun;         /* The forest has begun the op. */
    bool all_in_reach;  /* All that its execution will look at is in memory. */
    uint32_t round;     /* Number of times that its batches have been asked what they need. */
    bool round_asked;   /* They have been asked in this round. */
    bool another_round; /* What is brought in this round will say what else is needed. */
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    uint32_t next; /* Next event of the batch; at its event_count, the batch is done. */
    struct queue executed; /* Requests that are answered when the op is committed (R3). */
};

enum pulse_stage {
    PULSE_NONE,
    PULSE_LOOK,   /* Is one due? */
    PULSE_WANTED, /* One is due: no new prepares until the pipeline is empty for it. */
};

/*
 * A pulse is made a moment after it was rehearsed, so that more may be due then. So it is rehearsed
 * for a later time, up to which the rehearsal is good: there is nothing in it then that was not
 * read.
 */
struct pulse_rehearsal {
    uint64_t timestamp; /* Good for pulses up to this time; 0: there is none. */
    uint64_t commit;    /* And after this op only. */
    uint64_t ahead_ns;  /* How far ahead it was begun: more than it takes. */
};

/* A block that pulses need can't be read: none is made before `retry_ns` of the monotonic clock. */
struct pulse_block {
    bool damaged;
    uint64_t retry_ns;
    struct forest_damage damage;
};

/* A prepare from its making to its commit. */
struct pipeline_entry {
    void *message; /* Sector-aligned, PREPARE_SIZE_MAX bytes: header, body, zero padding. */
    /* The requests whose batches it has, in order. Empty in replay and for pulses. */
    struct queue requests;
};

struct replica_stats {
    uint64_t prepares;
    uint64_t pulses;
    uint64_t pulses_skipped; /* Due, and not made: a block that they need can't be read. */
    uint64_t checkpoints;
    struct histogram events_per_prepare;
    struct histogram requests_per_prepare;
};

struct replica {
    enum replica_status status;
    struct clock *clock;
    struct storage *storage;
    struct superblock *superblock;
    struct journal *journal;
    struct forest *forest;
    struct grid *grid;
    struct state_machine *machine;

    uint64_t op;        /* Newest prepare. */
    uint64_t journaled; /* Newest durable prepare. */
    uint64_t commit;    /* Newest executed prepare. */
    uint64_t timestamp; /* The newest prepare's. */
    uint64_t checkpoint_events; /* How many events came after the start of the newest checkpoint. */
    uint32_t view;

    struct pipeline_entry pipeline[PIPELINE_PREPARES_MAX]; /* [op % PIPELINE_PREPARES_MAX] */
    uint64_t pipeline_events; /* Sum of event_count of the ops in (commit, op]. */
    struct journal_append append;
    struct queue requests; /* Waiting for a prepare. */

    struct replica_execution execution;
    enum commit_stage commit_stage;
    struct prepare_header commit_header; /* The header of op `commit`, from COMMIT_COMPACT on. */
    bool lost; /* It stopped because a block that an op needs can't be read. */

    /*
     * Grows whenever the storage or the forest gets on. A commit stage that had to wait for them is
     * tried again only then, and so are reads.
     */
    uint64_t progress;
    bool commit_waits;
    uint64_t commit_waits_since;

    struct multi_batch_writer writer;
    uint8_t *results; /* The results of a batch that nobody waits for. */
    enum pulse_stage pulse;
    struct pulse_rehearsal rehearsal;
    struct pulse_block pulse_block;
    struct replica_stats stats;
};

struct replica_options {
    struct clock *clock;
    struct storage *storage;
    struct superblock *superblock;
    struct journal *journal;
    struct grid *grid;
    struct forest *forest;
    struct state_machine *machine;
    uint32_t requests_max;
};

void replica_init(
    struct replica *replica,
    struct arena *arena,
    const struct replica_options *options);

enum replica_open_result {
    REPLICA_OPENED,
    REPLICA_OPEN_MEMORY_FULL, /* The log holds more than memory has room for. */
    REPLICA_OPEN_DISK_FULL,
    REPLICA_OPEN_IO_ERROR,
    REPLICA_OPEN_PREPARE_DAMAGED, /* The entry of op `op` is not what recovery has read. */
    REPLICA_OPEN_DAMAGED,         /* A block that the log needs can't be read: forest_damage(). */
    REPLICA_OPEN_INVALID_PREPARE, /* Intact, but not what a replica makes: op `op`. */
};

/*
 * Superblock, forest and journal are open. Executes the journal from the checkpoint to its head,
 * starts a new view, and takes requests. Waits. *op: the op that was reached.
 */
enum replica_open_result replica_open(struct replica *replica, uint64_t *op);

/* Queues the request. It is answered later, inside replica_poll. */
void replica_submit(struct replica *replica, struct replica_request *request);

/* Does what can be done now; true if something was done. Never blocks. */
bool replica_poll(struct replica *replica);

/* Makes a pulse if one is due: now, or in one of the next polls, also under continuous load. */
void replica_tick(struct replica *replica);

/*
 * True while no pulses are made because a block that they need can't be read: says which one. It is
 * tried again from time to time.
 */
bool replica_pulse_damage(const struct replica *replica, struct forest_damage *damage);

/* True while an op has been executed in part: the state is none that may be read. */
bool replica_executing(const struct replica *replica);

/*
 * True while there is something in the pipeline, a checkpoint runs, a pulse is looked for, or a
 * header is on its way to the disk.
 */
bool replica_busy(const struct replica *replica);

/*
 * ---- What others may know of it ----------------------------------------------------------------
 */

/* The newest prepare; the newest op that is executed; the time of the newest prepare. */
static inline uint64_t
replica_op(const struct replica *replica)
{
    return replica->op;
}

static inline uint64_t
replica_committed(const struct replica *replica)
{
    return replica->commit;
}

static inline uint64_t
replica_timestamp(const struct replica *replica)
{
    return replica->timestamp;
}

static inline uint32_t
replica_view(const struct replica *replica)
{
    return replica->view;
}

/*
 * Grows whenever the storage or the forest gets on. Whoever had to wait for either need not ask
 * again before it has grown.
 */
static inline uint64_t
replica_progress(const struct replica *replica)
{
    return replica->progress;
}

/* It has failed, and does nothing any more. */
static inline bool
replica_stopped(const struct replica *replica)
{
    return replica->status == REPLICA_STOPPED;
}

/* It has failed because a block that an op needs can't be read: forest_damage says which. */
static inline bool
replica_stopped_by_damage(const struct replica *replica)
{
    return replica_stopped(replica) && replica->lost;
}

#endif
