/* SPDX-License-Identifier: PostgreSQL */
/*
 * The cluster's simulator: several engines in one process, each with its own disk, memory and
 * clock, on a simulated network, and a history that knows what may happen. All from one seed.
 *
 *   cluster.c           one seed: steps of time, mishaps, the calm end
 *   cluster_swarm.c     what this seed is like
 *   cluster_growth.c    members that come and go
 *   cluster_copies.c    a copy of a node's disk, put back or started beside it
 *   cluster_storm.c     trouble upon trouble, most of it the primary's
 *   cluster_directed.c  what is too rare to be drawn
 *   cluster_node.c      one life of a node after another; its pauses; its clock
 *   cluster_clients.c   requests in flight at each node, and what may be answered to them
 *   cluster_history.c   the one log, as whoever came first has executed it, and the model of it
 *   cluster_compare.c   in the calm: all nodes have the same state, and it is the model's
 *
 * WHAT IS CHECKED. History sees each prepare on its way to the disks, and how far each node says it
 * has executed.
 *  (I1) the node that executes an op first fixes it: every other one has the same prepare there.
 *  (I2) when an op is executed anywhere, it is durable on a quorum of disks, in both logs where an
 *       answer waits for both. So acknowledgements and commits are true: (R9), (R10).
 *  (I3) ops have no gap, chain by parent, and their timestamps ascend strictly. The numbers of a
 *       session ascend, and an older session of a slot doesn't come back.
 *  (I4) each batch in the log was asked for by a client of that node in that life, and is there no
 *       more often than it was asked for. What was refused isn't there.
 *       A refusal has a reason: a disk that is full. What was given up without a number isn't there
 *       either; with one, it may come later (R13). Nothing is given up while a primary is known
 *       and there is room.
 *  (I5) a create that is answered is in the log, at an op behind everything that was answered
 *       anywhere before it was sent, with the model's results, byte by byte.
 *  (I6) a read is what the model has at the op that it names. That isn't older than anything that
 *       was answered anywhere before it was sent; for a `local` one, than what its node has
 *       answered in this life. (R11)
 *  (I7) checkpoints at the same op are the same: their ids, which stand for all that they refer to.
 *  (I8) once faults stop and everything is healed, all that was asked is answered within a bound of
 *       time, and all nodes are at the same op, with the same state: live blocks byte by byte.
 */
#ifndef LEDGER_TEST_SIM_CLUSTER_H
#define LEDGER_TEST_SIM_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "engine/engine.h"
#include "model/model.h"
#include "model/workload.h"
#include "sim/network_sim.h"
#include "sim/storage_sim.h"
#include "store/members.h"
#include "store/prepare.h"
#include "store/superblock.h"
#include "vsr/sessions.h"

#define CLUSTER_ID          0x61
#define CLUSTER_NODES_MAX   5
/* One more may run beside its original, as a copy of it. */
#define CLUSTER_PLACES_MAX  (CLUSTER_NODES_MAX + 1)
#define CLUSTER_CLIENTS_MAX 6
#define CLUSTER_OPS_MAX     8192
#define CLUSTER_REPLY_SIZE_MAX (RESULTS_MAX * 384)

/* Ops that may be executed while a read is under way. */
#define CLUSTER_MOMENTS_MAX 2048

/* Batches that are told apart: more than there can be requests. */
#define CLUSTER_ASKED_MAX 8192

/* Prepares that were written and that nobody has executed yet. */
#define CLUSTER_WRITTEN_MAX 64

/* ---- Swarm ----------------------------------------------------------------------------------- */

struct cluster_node_options {
    uint8_t slot; /* Among the members. Node 0 of the network needn't have slot 0. */
    uint64_t memory_extra_bytes;
    uint64_t scrub_ns;
    uint32_t disk_latency_max_ticks;
    uint64_t grid_space_bytes; /* Its disk is full at that size, for a while. 0: it never is. */
    int64_t clock_offset_ns;
    int64_t clock_drift_ppm;
};

struct cluster_options {
    uint32_t node_count;
    uint64_t prepares_size_bytes;
    enum journal_sync sync;
    uint32_t requests;
    uint32_t clients; /* At each node. */
    uint32_t reads;   /* Of 100 requests. */
    uint32_t local;   /* Of 100 reads. */
    uint32_t waits;   /* Of 100 requests: those that don't wait for ever where nobody leads, */
    uint64_t wait_ns_max; /* but at most so long. */
    uint32_t submits; /* Of 1,000: chance that a free client asks in a step. */
    uint32_t polls_max;
    uint64_t step_ns_max;
    bool sleeps; /* A node that had nothing to do isn't polled before something comes, or a tick. */
    bool storm;        /* cluster_storm.c says what goes wrong. */
    bool directed;     /* cluster_directed.c says what happens, and nothing else does. */
    bool grows;        /* It begins as a lone ledger, and members come and go. */
    bool view_changes; /* Then the primary may crash too. */
    bool copies; /* A copy of a node's disk is put back, or started beside it. */
    bool copies_directed; /* When it does most harm. */
    bool state_sync;   /* Then a node may lag further than the logs of the others reach back. */

    /* About how often, for each node or the network: once in so much time. 0: never. */
    uint64_t change_ns; /* Somebody wants the members to change. */
    uint32_t change_trouble; /* Of 100 changes: those during which something fails, too. */
    uint64_t crash_ns;
    uint64_t pause_ns;
    uint64_t stand_ns;  /* Its disk stands still. */
    uint64_t resign_ns; /* It is asked to resign, primary or not. */
    uint64_t partition_ns;
    uint64_t trouble_ns_max; /* How long each lasts, at most. */

    struct cluster_node_options nodes[CLUSTER_NODES_MAX];
    struct network_sim_options network;
};

struct cluster_options cluster_options_random(struct prng *prng, uint32_t node_count);

/* Makes of it one in which a copy is put back when it does most harm, and little else happens. */
void cluster_options_copied(struct cluster_options *options);
/* Makes of it one in which everything goes wrong, often and at the same time. */
void cluster_options_storm(struct prng *prng, struct cluster_options *options);

/* Makes of it one in which only what is directed happens. */
void cluster_options_directed(struct cluster_options *options);

/* Makes of it one that begins as a lone ledger. */
void cluster_options_growing(struct prng *prng, struct cluster_options *options, bool storm);

/* ---- Parts ----------------------------------------------------------------------------------- */

struct cluster_clock {
    struct clock clock;
    uint64_t realtime_ns;
    uint64_t monotonic_ns;
};

enum cluster_client_state {
    CLUSTER_CLIENT_IDLE,
    CLUSTER_CLIENT_LENT,     /* The engine has the request. */
    CLUSTER_CLIENT_ANSWERED, /* In this poll: to be checked. */
    CLUSTER_CLIENT_RETRY,    /* The outcome is unknown: the same batch again. */
};

/* What the model of a node would answer. */
struct cluster_moment {
    u128 content;
    uint32_t size;
    uint64_t op;
};

struct cluster_client {
    struct engine_request request;
    struct cluster *cluster;
    struct cluster_node *node;
    enum cluster_client_state state;
    bool create;
    bool local; /* A read of this node's state, even if it is behind. */
    uint64_t op_before; /* The answer must be behind it (a create), or not before it (a read). */
    u128 asked;         /* Names session and content, of a create. */
    struct cluster_moment moments[CLUSTER_MOMENTS_MAX]; /* A read: when sent, after each op. */
    uint32_t moments_count;
    uint8_t input[EVENTS_PER_BATCH_MAX * EVENT_SIZE + EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[CLUSTER_REPLY_SIZE_MAX] __attribute__((aligned(16)));
};

struct cluster_node {
    struct cluster *cluster;
    uint32_t index;
    const struct cluster_node_options *options;
    struct engine_identity identity;
    struct storage_sim disk;
    struct prng prng_disk;
    struct cluster_clock clock;
    struct engine *engine; /* NULL: it is down. */
    uint64_t memory_bytes;
    uint64_t session; /* Of this life. */
    uint64_t up_ns;      /* Down: when it starts again. */
    uint64_t awake_ns;   /* Before that it is paused. */
    uint64_t disk_ns;    /* Before that its disk stands still. */
    uint64_t roomy_ns;   /* From then on its disk has no end. */
    uint64_t ticked_ns;
    bool idle; /* Its last poll had nothing to do, and nobody has asked it for anything since. */
    uint64_t commit;     /* It has executed so far. */
    uint64_t noted_op;   /* Its host knows that it had this: what lost it is an older directory. */
    uint64_t read_op;    /* The newest op that a read was answered from in this life. */
    struct model model;  /* That of op `model_op`. */
    uint64_t model_op;
    bool formatted;
    bool copied; /* What it has is a copy of what a node had once; */
    bool over;   /* and it knows. */
    uint32_t over_opens;
    uint64_t had_op; /* Before its disk was put back it had acknowledged so much, */
    uint32_t had_view; /* of logs up to this view. */
    /* Where members come and go. */
    struct engine_guest *guest; /* NULL: it isn't one, or is down. */
    uint64_t removed_ns; /* When its disk is taken away, since it was removed. 0: it wasn't. */
    struct engine_change change;
    bool changing;
    struct cluster_client clients[CLUSTER_CLIENTS_MAX];
};

/* An op that somebody has executed. */
struct cluster_op {
    uint8_t *prepare;              /* Header and body. */
    struct create_result *results; /* Of all its events. */
};

/* A prepare that some disk was given. */
struct cluster_written {
    u128 checksum;
    uint64_t op;
    uint8_t *prepare;
};

/* How often a batch was asked for in a life of a node, and is in the log. */
struct cluster_asked {
    u128 asked; /* 0: nothing is here. */
    uint32_t sent;
    uint32_t executed;
};

struct cluster_checkpoint {
    uint64_t op;
    u128 id; /* 0: none is known. */
};

struct cluster_history {
    struct model model; /* As op `head` has left it. */
    uint64_t head;
    uint64_t answered; /* The newest op that any answer was of. */
    struct cluster_op ops[CLUSTER_OPS_MAX];
    struct cluster_written written[CLUSTER_WRITTEN_MAX];
    uint32_t written_count;
    struct cluster_asked asked[CLUSTER_ASKED_MAX];
    struct cluster_checkpoint checkpoints[CLUSTER_OPS_MAX]; /* By op. */
    struct sessions sessions; /* As op `head` has left them. */
    struct members members;
    u128 hash; /* Of all answers. */
};

enum cluster_canary {
    CLUSTER_CANARY_NONE,
    CLUSTER_CANARY_LYING_DISK, /* A disk says that writes are durable, and forgets them. */
    CLUSTER_CANARY_REPLY,      /* A bit of an answer flips. */
    CLUSTER_CANARY_STATE,      /* A byte of a block on a disk differs in the calm. */
    CLUSTER_CANARY_ACK,    /* The newest prepare that was sent is acknowledged, durable or not. */
    CLUSTER_CANARY_COMMIT, /* The primary says that whatever it has sent is committed. */
    CLUSTER_CANARY_FENCES, /* An older copy of a disk is taken for the newest. */
};
#define CLUSTER_CANARY_COUNT 7

enum cluster_copy_stage {
    CLUSTER_COPY_NONE,
    CLUSTER_COPY_TAKEN, /* It waits until the others would notice. */
    CLUSTER_COPY_ALONE, /* Something is committed without the third node. */
    CLUSTER_COPY_RUNS,
    CLUSTER_COPY_OVER,
};

struct cluster_copy {
    enum cluster_copy_stage stage;
    uint32_t of;
    bool beside; /* Its original runs, too. */
    bool directed;
    u128 incarnation;
    uint8_t *bytes[STORAGE_FILE_COUNT];
    uint64_t size_bytes[STORAGE_FILE_COUNT];
    uint64_t record_op;
    uint64_t fence_next;
    uint64_t fence_written;
    uint32_t third; /* Directed: who hears nothing until `head` and some more is committed. */
    uint32_t restarts;
    uint64_t head;
    uint64_t restart_ns;
};

struct cluster_counts {
    uint64_t requests;
    uint64_t reads;
    uint64_t retries;
    uint64_t answered;
    uint64_t refused;
    uint64_t stands;
    uint64_t resigned;
    uint64_t given_up;
    uint64_t unknown;
    uint64_t crashes;
    uint64_t pauses;
    uint64_t partitions;
    uint64_t checkpoints;
    uint64_t steps;
    uint64_t rewinds;
    uint64_t changes; /* Of the members. */
    uint64_t records; /* Of nodes. */
    uint64_t copies;  /* Of disks, */
    uint64_t copies_over;
    uint64_t stranded; /* It ended as some node lacked what nobody had any more. */
};

/* How far a directed run is. */
struct cluster_directed {
    uint32_t stage;
    uint64_t since_ns;
    uint64_t asked_ns;
    uint64_t head;
};

struct cluster {
    uint64_t seed;
    struct prng prng; /* What happens. */
    struct prng prng_network;
    struct prng prng_workload;
    struct cluster_options options;
    uint64_t now_ns;
    uint64_t step_ns; /* By which time went on last. */
    struct network_sim network;
    bool networked;
    struct members members;
    struct workload workload;
    struct cluster_node nodes[CLUSTER_PLACES_MAX];
    struct cluster_copy copy;
    struct superblock_state copy_newest; /* Of the original, when the copy began to run. */
    struct cluster_history history;
    uint64_t healed_ns; /* When the present partition ends. 0: there is none. */
    bool calm;          /* No more faults. */
    enum cluster_canary canary;
    struct prepare_header canary_sent[CLUSTER_PLACES_MAX]; /* The newest that each was sent. */
    struct cluster_directed directed;
    struct cluster_counts counts;
};

/* ---- main.c ---------------------------------------------------------------------------------- */

/* A violation. Prints the seed and ends the program; a canary goes back to main. */
_Noreturn void cluster_fail(const struct cluster *cluster, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define cluster_check(cluster, condition, ...)                                                     \
    do {                                                                                           \
        if (!(condition)) cluster_fail(cluster, __VA_ARGS__);                                      \
    } while (0)

/* ---- cluster.c ------------------------------------------------------------------------------- */

struct cluster_kind {
    uint32_t node_count; /* 0: the seed says how many. */
    bool grows;
    bool storm;
    bool directed;
    enum cluster_canary canary;
};

void cluster_run(struct cluster *cluster, uint64_t seed, const struct cluster_kind *kind);
void cluster_free(struct cluster *cluster);

/* Time goes on, and every node that isn't down or paused works. */
void cluster_step(struct cluster *cluster);

/* Of all disks, the network and all answers. */
u128 cluster_trace(const struct cluster *cluster);

/* For a while the node hears nobody, and isn't heard. False: something else is wrong already. */
bool cluster_isolate(struct cluster *cluster, uint32_t index);

/* All that was cut is whole again. */
void cluster_network_heal(struct cluster *cluster);

/* Nobody hears what it sends, or it doesn't hear others, or both. */
void cluster_network_isolate(struct cluster *cluster, uint32_t index, bool deaf, bool mute);

/* ---- cluster_storm.c ------------------------------------------------------------------------- */

/* Instead of the trouble that comes by itself. */
void cluster_storm(struct cluster *cluster);

/* For a while there is peace. */
void cluster_storm_ends(struct cluster *cluster);

/* ---- cluster_directed.c ---------------------------------------------------------------------- */

/* What happens next. Until it is done there are requests. */
void cluster_directed(struct cluster *cluster);
bool cluster_directed_done(const struct cluster *cluster);

/* It is about to be removed, and asks for as much as it can. */
bool cluster_directed_eager(const struct cluster_node *node);

/* ---- cluster_node.c -------------------------------------------------------------------------- */

void cluster_node_init(struct cluster *cluster, uint32_t index);
void cluster_node_free(struct cluster_node *node);
void cluster_node_format(struct cluster_node *node);

/* It begins to work; false if it crashed while it began. */
bool cluster_node_open(struct cluster_node *node);

/* The engine is gone, and what it was doing is cut. */
void cluster_node_crash(struct cluster_node *node);

/* Nothing came that it would wait for, and no tick is due. */
bool cluster_node_sleeps(struct cluster_node *node);

void cluster_node_step(struct cluster_node *node, uint64_t step_ns);

/* Its disk is taken away, and a new one put in its place. */
void cluster_node_wipe(struct cluster_node *node);

/* The copy is on its disk from now on. */
void cluster_node_load(struct cluster_node *node, const struct cluster_copy *copy);

/* The copy is another node's disk, which takes itself for the original. */
void cluster_node_clone(
    struct cluster *cluster, const struct cluster_node *original, const struct cluster_copy *copy);

/* ---- cluster_copies.c ------------------------------------------------------------------------ */

void cluster_copies_step(struct cluster *cluster);
void cluster_copies_free(struct cluster *cluster);

/* The node that runs a copy, and doesn't know it yet; or NULL. */
struct cluster_node *cluster_copies_node(struct cluster *cluster);

/* A copy runs beside its original. */
bool cluster_copies_beside(const struct cluster *cluster);

/* Why a copy isn't done yet, or NULL. */
const char *cluster_copies_unrest(struct cluster *cluster);

/* Of CLUSTER_CANARY_FENCES. */
void cluster_copies_tamper(struct cluster *cluster, uint32_t from, struct message_header *header);

/* ---- cluster_growth.c ------------------------------------------------------------------------ */

/* It has nothing, and is nobody. */
void cluster_growth_init(struct cluster_node *node);

/* What a node without a ledger does in a step. False: it has one. */
bool cluster_growth_step(struct cluster_node *node);

/* Wishes, and the end of who was removed. */
void cluster_growth_trouble(struct cluster *cluster);

/* The first node executes this change of the members. */
void cluster_growth_executed(struct cluster *cluster, const struct prepare_header *header);

/* The primary is asked for a change. */
void cluster_growth_wish(
    struct cluster_node *primary, enum engine_change_kind kind, const struct cluster_node *whom);

/* Its disk is full for a while: it keeps the log, and executes nothing. */
void cluster_growth_fill(struct cluster_node *node, uint64_t until_ns);

/* How many of the disks of those who vote on this op have it. */
uint32_t cluster_growth_durable(
    const struct cluster *cluster,
    const struct prepare_header *header,
    bool (*durable_at)(const struct cluster_node *node, const struct prepare_header *header));

/* Is it a voter, as far as the log is executed? Where members don't change, each is. */
bool cluster_growth_votes(const struct cluster_node *node);

/* ---- cluster_clients.c ----------------------------------------------------------------------- */

void cluster_clients_submit(struct cluster_node *node);

/* What was answered in this poll is checked. */
void cluster_clients_check(struct cluster_node *node);

/* The node's model has executed an op. */
void cluster_clients_executed(struct cluster_node *node);

/* The engine is gone: what it was lent is of unknown outcome. */
void cluster_clients_forget(struct cluster_node *node);

bool cluster_clients_waiting(const struct cluster_node *node);

/* A read in the calm that nobody else sees. Returns the size of the reply. */
uint32_t cluster_read_now(
    struct cluster_node *node,
    uint8_t operation,
    const void *input,
    uint32_t input_size,
    void *reply);

/* ---- cluster_history.c ----------------------------------------------------------------------- */

void cluster_history_init(struct cluster *cluster);
void cluster_history_free(struct cluster *cluster);

/* A disk was given something. */
void cluster_history_wrote(void *node, const struct storage_request *write, bool done);

/* After each poll: what the node has executed since. */
void cluster_history_capture(struct cluster_node *node);

/* The node has opened, and may have gone back. */
void cluster_history_opened(struct cluster_node *node);

/* Names a batch within a session of a node. */
u128 cluster_history_name(
    uint64_t session, uint8_t operation, const void *events, uint32_t size_bytes);
struct cluster_asked *cluster_history_asked(struct cluster *cluster, u128 asked);

const struct prepare_header *cluster_history_header(const struct cluster *cluster, uint64_t op);

/* ---- cluster_compare.c ----------------------------------------------------------------------- */

void cluster_compare(struct cluster *cluster);

#endif
