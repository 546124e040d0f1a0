/* SPDX-License-Identifier: PostgreSQL */
/*
 * The replica: Viewstamped Replication (Liskov and Cowling, "Viewstamped Replication Revisited",
 * 2012, §4). All replicas of a cluster keep the same log. One of them, the primary of the view,
 * makes the prepares of it; a prepare commits when a quorum of the voters has it on disk. A replica
 * that is alone is its own quorum, and everything about others is empty.
 *
 *    request → queue → prepare (all waiting requests) → journal → commit in op order → answer
 *       │                  ▲       │                       ▲
 *       └─ at a backup ────┘       └── to the backups ─────┘ acknowledge
 *
 * Each replica executes the log by itself, and so answers the requests that it has taken, whoever
 * has made the prepare. What can go wrong: there is no room for a request, which is refused and has
 * no effect; a write fails, or a block that an op needs can't be read. Then the replica stops, and
 * answers everything that waits with REPLICA_FAILED, since the outcome is unknown. Opening it again
 * replays the log.
 *
 * How far the log has come here:
 *
 *     commit ≤ commit_max, linked, journaled ≤ op
 *     executed  committed  of this view's log  on this disk  received
 *
 * Numbered invariants (asserted, tested under their number):
 *  (R1) commit <= journaled <= op, and commit <= linked <= op. At a primary also commit_max <= op
 *       and op − commit_max <= PIPELINE_PREPARES_MAX.
 *  (R2) ops commit in order, each once, and only when journaled, committed by a quorum, and known
 *       to be of this view's log (R10).
 *  (R3) a request is answered after its prepare is durable and executed, or with the reason why it
 *       took no effect, or with REPLICA_FAILED or REPLICA_UNKNOWN (outcome unknown).
 *  (R4) timestamps of prepares ascend strictly: prepare − event_count >= parent's timestamp.
 *  (R5) when a checkpoint is due is a function of the log alone: the prepares since the last one
 *       fill half the ring, or have CHECKPOINT_EVENTS_MAX events.
 *  (R6) a view is durable in the superblock before the replica makes a prepare in it. It belongs to
 *       the primary (store/members.h). That of a replica that is alone is newer than any that the
 *       log was made in.
 *  (R7) a pulse is made only when all that it will look at was read, as of the op before it: a
 *       damaged block that only pulses look at holds up pulses and nothing else.
 *  (R8) the requests of this replica's session are executed in the order of their numbers, each
 *       once (V9 of sessions.h), and each is answered with the results of its own batch.
 *  (R9) an acknowledgement of op n says: everything up to n is of this view's log, and is durable
 *       here.
 *  (R10) an op is known to be of this view's log, if it is named by the headers that the view began
 *       with, by a prepare of this view that follows it, or by the checksum of a committed op.
 *  (R11) a read is answered from a state that has every op that was committed when the read came.
 *  (V10) checkpoints at the same op are the same one. Each acknowledgement says which the member
 *       has; a member that hears from the primary that it has another one stops.
 *  (R13) a request that is given up took no effect and never will, or had a number before. If it
 *       executes later all the same, nothing of its caller's is read or written any more.
 */
#ifndef LEDGER_VSR_REPLICA_H
#define LEDGER_VSR_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/histogram.h"
#include "base/queue.h"
#include "base/units.h"
#include "forest/forest.h"
#include "io/clock.h"
#include "io/network.h"
#include "store/journal.h"
#include "store/superblock.h"
#include "vsr/fences.h"
#include "vsr/message_pool.h"
#include "vsr/multi_batch.h"
#include "vsr/request.h"
#include "vsr/sessions.h"
#include "vsr/state_machine.h"
#include "vsr/view_choice.h"

enum replica_status {
    REPLICA_CLOSED,
    REPLICA_RECOVERING, /* It replays the journal and takes no requests. */
    REPLICA_NORMAL,
    REPLICA_VIEW_CHANGE, /* Which log the view has is being found out, or taken over. */
    /*
     * A write or the growth of a file failed, or a needed block is damaged. Until it is opened
     * again, it answers everything with REPLICA_FAILED.
     */
    REPLICA_STOPPED,
};

/* What committing is doing, and in brackets what comes next: see replica_commit.c. */
enum commit_stage {
    COMMIT_IDLE,
    COMMIT_READ,                  /* Reads a prepare that memory has no longer. (→ IDLE) */
    COMMIT_PREFETCH,              /* Brings what op commit + 1 needs within reach. (→ EXECUTE) */
    COMMIT_EXECUTE,               /* Executes it piece by piece. (→ COMPACT) */
    /* The forest does what is due after it. (→ IDLE, or a checkpoint) */
    COMMIT_COMPACT,
    COMMIT_CHECKPOINT_FOREST,     /* The forest writes what changed. (→ SUPERBLOCK) */
    COMMIT_CHECKPOINT_SUPERBLOCK, /* The superblock takes the new root. (→ IDLE) */
};

/* Op commit + 1, from COMMIT_READ to the end of COMMIT_EXECUTE. */
struct replica_execution {
    struct message *message;        /* Its prepare, or NULL in other stages. */
    struct journal_reading reading; /* In COMMIT_READ. */
    bool begun;         /* The forest has begun the op. */
    bool all_in_reach;  /* Everything that its execution will look at is in memory. */
    uint32_t round;     /* How many rounds of asking the batches what they need are complete. */
    bool round_asked;   /* The batches have been asked in the current round. */
    /* What this round brings will tell what else is needed, so another round follows. */
    bool another_round;
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    uint32_t next; /* The next event of the batch. When it equals event_count, the batch is done. */
    struct queue executed; /* Executed requests, to be answered when the op is committed (R3). */
};

enum pulse_stage {
    PULSE_NONE,
    PULSE_LOOK,   /* Finding out whether one is due. */
    /* One is due. No new prepares are made until the pipeline is empty, so that it can be made. */
    PULSE_WANTED,
};

/*
 * A pulse is made a moment after its rehearsal, and by then more may be due. So the rehearsal is
 * done for a later time, and is good for a pulse at any time up to that: such a pulse looks at
 * nothing that wasn't read.
 */
struct pulse_rehearsal {
    uint64_t timestamp; /* It is good for pulses up to this time; 0 if there is no rehearsal. */
    uint64_t commit;    /* And only while this is the newest committed op. */
    /* How far ahead of the clock it was begun. It must be more than the rehearsal takes. */
    uint64_t ahead_ns;
};

/*
 * A block that pulses need can't be read. No pulse is made before the monotonic clock says
 * retry_ns.
 */
struct pulse_block {
    bool damaged;
    uint64_t retry_ns;
    struct forest_damage damage;
};

struct replica_stats {
    uint64_t prepares;
    uint64_t pulses;
    /* Pulses that were due but not made, because a block that they need can't be read. */
    uint64_t pulses_skipped;
    uint64_t checkpoints;
    struct histogram events_per_prepare;
    struct histogram requests_per_prepare;
};

/* What it asks of the superblock. */
struct replica_updates {
    struct replica *replica;
    struct superblock_update view;
    struct superblock_update checkpoint;
    struct superblock_update node;
    struct superblock_update fences;
};

/* ---- Members --------------------------------------------------------------------------------- */

enum replica_wish_kind {
    REPLICA_WISH_CREATE, /* The lone member gets its name, and others can be added. */
    REPLICA_WISH_ADD,    /* The guest of this name becomes a member. */
    REPLICA_WISH_REMOVE,
    REPLICA_WISH_PROMOTE, /* The primary's own: a standby becomes a voter. */
};

enum replica_wish_stage {
    REPLICA_WISH_PLANNED,
    REPLICA_WISH_SENT,   /* To the primary. */
    REPLICA_WISH_NAMING, /* The superblock is told. */
    REPLICA_WISH_WANTED, /* A prepare is to be made. */
    REPLICA_WISH_MADE,   /* It is, and not executed yet. */
    REPLICA_WISH_ANSWERED,
};

enum replica_wish_outcome {
    REPLICA_WISH_DONE, /* The change is in the log for ever, and is executed here. */
    REPLICA_WISH_NOT_PRIMARY,
    REPLICA_WISH_BUSY,    /* Another wish is under way. */
    REPLICA_WISH_EXISTS,  /* It is a member already; or this is a cluster already. */
    REPLICA_WISH_UNKNOWN, /* No member of this name; or no guest. */
    REPLICA_WISH_FULL,    /* No slot is free, or there are as many voters as there can be. */
    REPLICA_WISH_LOG,     /* The log doesn't reach back to the ledger's beginning. */
    REPLICA_WISH_SELF,    /* The primary doesn't remove itself. */
    REPLICA_WISH_NOT_CLUSTER, /* REPLICA_WISH_CREATE comes first. */
    REPLICA_WISH_NO_ROOM, /* Memory or disk are full. */
    REPLICA_WISH_FAILED,  /* The view has ended, or the replica has stopped: unknown. */
};

/* A wish to change the members. Owned by the caller, lent to the replica until it is answered. */
struct replica_wish {
    enum replica_wish_kind kind;
    char name[MEMBER_NAME_MAX + 1];
    void (*callback)(struct replica_wish *wish);
    enum replica_wish_outcome outcome;
    /* The replica's. */
    enum replica_wish_stage stage;
    uint64_t op;
    struct member_change change;
};

/* Who has connected, and isn't a member. */
struct replica_guest {
    u128 incarnation; /* 0: nobody. */
    char name[MEMBER_NAME_MAX];
};

/* Who the members are: see replica_members.c. */
struct replica_membership {
    struct members now;       /* As the log here has them. */
    struct members committed; /* As op `commit` has left them. */
    struct members before;    /* As `now` was before the newest change. */
    uint64_t change_op; /* The newest op that changes them, if it is not executed; 0: none. */
    struct replica_wish *wish;      /* Under way. */
    struct replica_wish *wish_next; /* Waits for the end of a promotion. */
    struct replica_wish promotion;
    struct replica_wish *sent; /* At a backup: the one that the primary was asked for, */
    uint64_t sent_number;      /* under this number, */
    uint64_t sent_ns;          /* the last time then. */
    bool naming;          /* The superblock is being told that this node isn't alone any more. */
    uint64_t promote_ns;  /* There was no room for one: not before that; monotonic. */
    uint64_t welcomed_ns; /* When guests that were let in were told so; monotonic. */
    struct replica_guest guests[NETWORK_PEERS_MAX]; /* By number in the network. */
};

/* At the primary: a record that a member has asked for. By slot. */
struct replica_record {
    bool wanted;
    uint64_t fence_before;
    uint64_t fence;
    uint64_t session;
    uint64_t made_op; /* One was made with this op, in this view; 0: none. */
};

/* What tells this node's directory from copies of it, and those of others: see replica_fences.c. */
struct replica_fences {
    uint64_t seed; /* Fences are drawn from it. 0: no records are made. */
    /* As they are by the log; the superblock follows, and has fence_next before anybody else. */
    uint64_t fence;
    uint64_t fence_next;
    uint64_t record_op;
    uint64_t events;        /* Starts and checkpoints of this life, */
    uint64_t events_drawn;  /* how many of them there were when fence_next was drawn, */
    uint64_t events_served; /* and when `fence` was (V17). */
    uint64_t drawn;         /* What becomes fence_next when it is on disk; 0: nothing. */
    uint64_t drawn_events;
    uint64_t asked_ns; /* When the primary was asked for a record last; monotonic. */
    bool note_due;     /* The superblock is to be told of what changed, */
    bool noting;       /* and is being told. */
    bool over;         /* This directory is over: it takes part no more, */
    bool over_noted;   /* and its superblock says so. */
    bool open_uncertain;     /* When it was opened, its log may have gone back rightly; */
    uint32_t open_log_view;  /* it was the log of this view, */
    uint64_t open_op;        /* and ended with this op. */
    struct superblock_heard heard[MEMBERS_MAX]; /* What is known of each slot (V16). */
    struct replica_record records[MEMBERS_MAX];
};

/* So many messages with requests of a member are on their way, or wait for a prepare, at most. */
#define REPLICA_REQUESTS_PER_PEER 4

#define REPLICA_FAILOVER_TIMEOUT_NS (UINT64_C(1) * NS_PER_S)

/* A slot that isn't one. */
#define REPLICA_NO_SLOT UINT8_MAX

/* So many of these a peer has at most, which is as far as it is sent the log ahead. */
#define REPLICA_GIFTS PIPELINE_PREPARES_MAX

/* A prepare that memory has no longer, on its way to a peer: read from the journal, then sent. */
struct replica_gift {
    struct journal_reading reading;
    struct replica *replica;
    struct message *message; /* NULL: none. */
    uint8_t slot;            /* Of the peer. */
    bool repair;             /* It has asked for this one, and isn't given the log. */
    bool whole;              /* It was read, and waits for those before it. */
};

/* What is known of another member, and what it was sent. By its slot. */
struct replica_peer {
    u128 incarnation; /* By its newest hello. */
    bool up;
    bool stranger;    /* It is up, and the log here doesn't know it: nothing it says is counted. */
    uint8_t number;   /* In the network, while it is up. */
    uint64_t session; /* Of its life, by its hello. */
    uint64_t hello_op; /* So far its log went then. */
    struct fence_claim claim; /* What it has said of its directory, and what the log said since. */
    bool refused;             /* The last that has come as this member was refused (V16). */
    uint64_t heard_ns; /* When something came from it; monotonic. 0: never. */

    /* At the primary, in this view. */
    uint64_t acked;        /* It has everything up to this op on disk. */
    uint64_t acked_ns;     /* When that grew last; monotonic. */
    uint64_t answered_ns;  /* When it last answered, or when the view began; monotonic. */
    uint64_t round;        /* The newest round that it has answered. */
    bool taken_over;       /* It has acknowledged something, so its log is that of the view. */
    bool placed;           /* It is known where its log and this one part: */
    uint64_t sent_op;      /* it has everything up to this op, or was sent it. */
    struct replica_gift gifts[REPLICA_GIFTS];
    struct queue requests; /* Messages with its requests, which wait for a prepare. */
    /*
     * In this view, no request of its session from this number on is in a prepare: those that count
     * as accepted were refused, for this reason. 0: none was refused since its last prepare.
     */
    uint64_t refused_first;
    uint32_t refused_view;
    uint8_t refused_reason; /* enum message_refusal */
    struct replica_wish wish; /* The newest that it has asked for, */
    uint64_t wish_number;     /* under this number; 0: none. */
    struct replica *replica;
    bool read_asked;       /* It waits for a read's op … */
    uint64_t read_number;  /* … under this number, */
    uint64_t read_round;   /* which is known when a quorum has answered this round: */
    uint64_t read_op;      /* this one. */
};

/* The change to the view `replica.view`, and what may lead to the next: see replica_view.c. */
struct replica_change {
    uint32_t log_view;     /* The newest view whose log was taken over; durable. */
    uint32_t view_durable; /* The newest view that this replica takes part in; durable. */
    bool updating;         /* The superblock is being told of a view. */
    bool voting;           /* In this view's change: votes are sent. */
    uint64_t entered_ns;   /* When it began; then when a vote was sent, or something asked for. */
    uint64_t voted_ns;
    uint64_t asked_ns;
    uint64_t heard_ns; /* In normal operation: when the primary was heard last. */
    uint64_t timeout_ns; /* How long to wait for it now. */
    uint64_t draws;      /* How many timeouts were drawn. */
    uint64_t said_ns;    /* When it was said that the primary isn't heard. */
    uint64_t resigned_ns; /* At a primary: when it resigned last, or the view began. */
    uint64_t append_ns;   /* When the newest append began. */
    uint64_t suspected_ns[MEMBERS_MAX]; /* When each slot said so of this view; 0: it didn't. */
    /* At a primary: since when each slot has voted for a newer view. 0: it hasn't. */
    uint64_t left_ns[MEMBERS_MAX];
    uint32_t left_view[MEMBERS_MAX];

    bool voted[MEMBERS_MAX]; /* Who has voted for this view. */
    struct view_vote votes[MEMBERS_MAX];
    struct view_choice choice;
    struct message *fetched[VIEW_HEADERS_MAX]; /* [op % VIEW_HEADERS_MAX], or NULL. */
    struct message *start; /* The start_view that is to be taken over, or NULL. */
    uint64_t op_common;    /* While a log is taken over: what is kept of the old one. */
    uint64_t op_start;     /* At the primary: the head that the view began with. */
};

/* Reads that wait until it is known which op they must see (R11): see replica_read.c. */
struct replica_reads {
    uint64_t newest;    /* The number of those that came last. */
    uint64_t asked;     /* For which it is being found out; equal to `known`: for none. */
    uint64_t round;     /* At the primary: the round that a quorum must answer. */
    uint64_t op;        /* What these must see. At a backup 0 until the primary has said it. */
    uint64_t known;     /* Up to here it was found out, */
    uint64_t op_known;  /* and this op is enough for them. */
    uint64_t asked_ns;
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

    struct network *network; /* NULL: it is alone. */

    uint64_t op;         /* Newest prepare. */
    uint64_t journaled;  /* Newest durable prepare. */
    uint64_t linked;     /* Newest prepare that is known to be of this view's log. */
    uint64_t commit_max; /* Newest prepare that is known to be committed. */
    uint64_t commit;     /* Newest executed prepare. */
    uint64_t timestamp;  /* Timestamp of the newest prepare. */
    uint64_t checkpoint_events; /* Events that came since the newest checkpoint was started. */
    uint32_t view;
    uint8_t slot;    /* Of this replica. */
    uint16_t voters; /* As members_voters has them: of the newest prepare. */
    bool primary;    /* Of the view. */
    bool lost;       /* It has stopped because a block that an op needs can't be read. */
    bool diverged;   /* It has stopped because its state isn't the primary's (V10). */
    bool no_room;    /* An op that is committed waits for room. */
    /*
     * At the primary: everything that the view began with is executed, and a quorum has this view's
     * log, so it takes requests.
     */
    bool serving;
    bool round_due;     /* At the primary: the members are to be asked for an answer at once. */
    uint8_t take_first; /* At the primary: the next prepare begins with requests of this slot. */
    bool ack_due;       /* At a backup: the primary is to be told how far the log is durable. */
    bool absent;        /* At a backup: the primary has no longer what comes next here. */
    uint8_t slots[NETWORK_PEERS_MAX]; /* Of peers that are up, by their number in the network. */
    /*
     * Ops from here on were made by this replica, which has looked for room first. For others it
     * looks before it executes them.
     */
    uint64_t op_admitted;

    struct message_pool pool;
    /*
     * [op % PIPELINE_PREPARES_MAX]: the newest prepares; all that aren't committed are among them.
     * NULL where it was never used, or not since the replica was opened.
     */
    struct message *pipeline[PIPELINE_PREPARES_MAX];
    uint64_t pipeline_events; /* Sum of event_count of the ops in (commit, op]. */
    struct journal_append append;
    struct replica_updates *updates;
    struct queue requests; /* Requests that wait for a prepare. */
    /* Those that have a number and aren't executed yet, in the order of their numbers (R8). */
    struct queue outstanding;

    struct replica_peer *peers; /* By slot: MEMBERS_MAX of them. */
    /* At the primary: grows with each question to all. At a backup: the newest that was heard. */
    uint64_t round;
    uint64_t commit_said; /* At the primary: the commit_max that was said to all. */
    uint64_t said_ns;     /* When something was said to all; monotonic. */
    uint64_t prepared_ns; /* At the primary: when it made its newest prepare; monotonic. */
    uint64_t head_heard;  /* At a backup: the primary's newest op, as far as it has said. */
    /* At a backup: when the log got longer, or the primary was asked for prepares; monotonic. */
    uint64_t grown_ns;
    struct replica_reads reads;
    uint64_t failover_timeout_ns;
    struct replica_change *change;
    struct replica_membership *membership;
    struct replica_fences *fences;

    uint64_t session; /* Of this life of the replica. */
    uint64_t number;  /* The newest number that a request was given. */
    /* At a backup: the oldest outstanding request that the primary wasn't sent. */
    struct replica_request *unsent;
    uint64_t resend_ns; /* When to send all of them again; monotonic. */
    /* At a backup: the last numbers of the messages with requests that were sent, in turn. */
    uint64_t sent_last[REPLICA_REQUESTS_PER_PEER];
    uint64_t sent_count;
    struct sessions sessions; /* As op `commit` has left them. */
    struct sessions accepted; /* And the requests in the prepares up to `op`. */

    struct replica_execution execution;
    enum commit_stage commit_stage;
    /* The header of op `commit`. */
    struct prepare_header commit_header;

    /*
     * Grows whenever the storage or the forest has made progress. Only then is it worth trying
     * again: a commit stage that had to wait for them, or a read.
     */
    uint64_t progress;
    bool commit_waits;
    uint64_t commit_waits_since;

    struct multi_batch_writer writer;
    uint8_t *results; /* Where the results of a batch go that nobody waits for. */
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
    struct network *network; /* NULL: it is alone. */
    /* A primary that isn't heard for so long is replaced. 0: REPLICA_FAILOVER_TIMEOUT_NS. */
    uint64_t failover_timeout_ns;
    uint64_t fence_seed; /* A random number, from which fences are drawn. 0: none are. */
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
    REPLICA_OPEN_PREPARE_DAMAGED, /* The entry of op `op` is no longer what recovery has read. */
    REPLICA_OPEN_DAMAGED,         /* A block that the log needs can't be read: forest_damage(). */
    REPLICA_OPEN_SESSIONS_INVALID, /* The checkpoint's root has sessions that no log leads to. */
    /* The directory is older than the log tells, or a copy. Its superblock says so now. */
    REPLICA_OPEN_OVER,
    REPLICA_OPEN_OTHER_LOG,       /* Op `op` is of another log than the superblock knows. */
    REPLICA_OPEN_INVALID_PREPARE, /* Op `op` is intact, but no replica makes such a prepare. */
};

/*
 * Opens the replica. Superblock, forest and journal must be open. It executes the journal from the
 * checkpoint as far as it is known to be committed: alone, that is to the head, and a new view is
 * begun. A member goes on in its view, or with changing it. From then on it takes requests. Waits.
 * *op is the op that was reached. `random` is a random number other than 0, drawn anew for each
 * opening.
 */
enum replica_open_result replica_open(struct replica *replica, uint64_t random, uint64_t *op);

/* Queues the request. It is answered later, inside replica_poll or replica_tick. */
void replica_submit(struct replica *replica, struct replica_request *request);

/* It is answered at once or later, inside replica_poll. With a network only. */
void replica_members_wish(struct replica *replica, struct replica_wish *wish);

/* Nobody waits for the wish any more; what was begun goes on. False: it has been answered. */
bool replica_members_withdraw(struct replica *replica, struct replica_wish *wish);

/* Does what can be done now, and returns true if something was. Blocks as storage_poll does. */
bool replica_poll(struct replica *replica);

/*
 * Makes a pulse if one is due: now, or in one of the next polls, even under continuous load.
 * Answers requests that have waited long enough.
 */
void replica_tick(struct replica *replica);

/*
 * True while no pulses are made, because a block that they need can't be read; *damage says which.
 * It is tried again from time to time.
 */
bool replica_pulse_damage(const struct replica *replica, struct forest_damage *damage);

/*
 * For a read that has just come: a number, under which replica_read_ready says when it may begin.
 */
uint64_t replica_read_number(struct replica *replica);

/*
 * A planned end of this primary: another begins the next view, in some tens of milliseconds, and
 * requests go on there. False: it isn't the primary, or too few voters have answered lately for
 * anybody to take over; then nothing has changed.
 */
bool replica_resign(struct replica *replica);

/*
 * Is there a primary that works, as far as is known here? If not, nothing new can be executed, and
 * no read can be answered, until there is one. Alone there always is. A backup knows of one while
 * it has heard it within the last failover timeout, and isn't changing the view. A primary that
 * takes requests is one itself, while a quorum of the voters has answered it within that time.
 */
bool replica_led(const struct replica *replica);

/*
 * Nobody can say when requests here will be answered: no primary works, or what is committed waits
 * for room. Then those are given up that have waited as long as they would (R13).
 */
bool replica_calls_wait(const struct replica *replica);

/* Has the replica executed everything that was committed when the read came (R11)? */
bool replica_read_ready(const struct replica *replica, uint64_t number);

/* Has a durable op still to be executed, or has its work still to be finished? */
bool replica_committing(const struct replica *replica);

/* True while an op is executed in part. The state may not be read then. */
bool replica_executing(const struct replica *replica);

/*
 * True if the pipeline isn't empty, a checkpoint is running, it is being found out whether a pulse
 * is due, or a header is on its way to the disk.
 */
bool replica_busy(const struct replica *replica);

/* How many requests were submitted, and not answered. */
uint32_t replica_requests_count(const struct replica *replica);

/*
 * ---- What others may know of it ----------------------------------------------------------------
 */

/* The newest prepare; then, the newest executed op; then, the timestamp of the newest prepare. */
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

/*
 * The newest op of those executed that this node has after any crash, if its files are what they
 * are now. While it fills the gap between what it kept of its own log and the headers that a view
 * began with, that is what it kept: what it cut is still on the disk, and a restart may take what
 * meets it for damage (engine/open.c, journal_drop_leftover). Nobody needs that of this node.
 */
uint64_t replica_kept(const struct replica *replica);

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

/* It is the primary of its view. */
static inline bool
replica_is_primary(const struct replica *replica)
{
    return replica->primary;
}

/*
 * Grows whenever the storage or the forest has made progress. A caller that had to wait for either
 * need not ask again before that.
 */
static inline uint64_t
replica_progress(const struct replica *replica)
{
    return replica->progress;
}

/* It has failed and does nothing any more, and has noted what it has to. */
static inline bool
replica_stopped(const struct replica *replica)
{
    const struct replica_fences *fences = replica->fences;
    return replica->status == REPLICA_STOPPED && !(fences->over && fences->noting);
}

/* It has stopped because its directory is an older one than its peers know, or a copy (V16). */
static inline bool
replica_stopped_as_copy(const struct replica *replica)
{
    return replica_stopped(replica) && replica->fences->over;
}

/* It has failed because a block that an op needs can't be read: forest_damage says which. */
static inline bool
replica_stopped_by_damage(const struct replica *replica)
{
    return replica_stopped(replica) && replica->lost;
}

/* It has failed because its newest checkpoint isn't the primary's (V10). */
static inline bool
replica_stopped_by_divergence(const struct replica *replica)
{
    return replica_stopped(replica) && replica->diverged;
}

#endif
