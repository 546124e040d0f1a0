/* SPDX-License-Identifier: PostgreSQL */
/*
 * The engine on a simulated disk and clock, and a witness of what reaches the disk.
 *
 * A step is a poll of the engine, then a tick of the disk and a millisecond of the clock. The
 * witness is the disk's own: what it says of a prepare owes nothing to what the engine says.
 */
#ifndef LEDGER_TEST_UNIT_ENGINE_FIXTURE_H
#define LEDGER_TEST_UNIT_ENGINE_FIXTURE_H

#include "base/prng.h"
#include "base/units.h"
#include "engine/engine.h"
#include "sim/storage_sim.h"
#include "store/prepare.h"
#include "store/superblock.h"

#define NODE_REQUESTS_MAX    1024
#define NODE_OPS_MAX         16384
#define NODE_CHECKPOINTS_MAX 4096
#define NODE_RING_SIZE       (UINT64_C(64) * SECTOR_SIZE) /* Of node_begin. */
#define NODE_STEPS_MAX       20000
#define NODE_START_NS        (UINT64_C(1700000000) * NS_PER_S)
#define NODE_STEP_NS         NS_PER_MS

static const struct engine_identity node_identity = {
    .cluster = 0x51,
    .incarnation = 0x52,
    .system_identifier = 0x53,
    .replica_count = 1,
};

struct node;

struct node_request {
    struct engine_request request;
    struct node *node;
    uint32_t event_count;
    uint32_t answers;    /* How often it was answered. */
    uint32_t rank;       /* So many were answered before it. */
    uint64_t commit;     /* The engine's, when it was answered. */
    uint64_t op_durable; /* The witness's, when it was answered. */
    uint32_t status;     /* Of a create's last event, when it was answered. */
    uint8_t input[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[RESULTS_MAX * sizeof(struct transfer_row)] __attribute__((aligned(16)));
};

struct node_clock {
    struct clock clock;
    uint64_t realtime_ns;
    uint64_t monotonic_ns;
};

struct node {
    struct prng prng;
    struct storage_sim sim;
    struct node_clock clock;
    struct engine_options options;
    void *memory;
    struct engine *engine; /* NULL: not running. */
    struct engine_open_report report;

    struct node_request *requests;
    uint32_t request_count;
    uint32_t answered;
    uint64_t id; /* Newest that was given out. */

    /* The witness. */
    struct prepare_header log[NODE_OPS_MAX]; /* Newest prepare of each op, whole or torn. */
    uint64_t op_durable; /* Newest op whose header followed its prepare to the disk. */
    uint64_t checkpoints[NODE_CHECKPOINTS_MAX];
    uint32_t checkpoint_count;
    uint32_t prepares_without_view; /* Written when the superblock did not have their view. */
};

/* ---- Clock and witness ----------------------------------------------------------------------- */

/* Copies of the superblock on the disk that have the view. */
uint32_t node_copies_with_view(struct node *node, uint32_t view);

/* The op whose prepare gave out the timestamp. */
uint64_t node_op_of(const struct node *node, uint64_t timestamp);

/* ---- Life ------------------------------------------------------------------------------------ */

/* Files and what is above memory's least; formatted, not open. */
void node_init(struct node *node, uint64_t ring_size, uint64_t memory_extra, uint64_t seed);

/* Requests of the life before are forgotten. */
enum engine_open_result node_open(struct node *node);

/* A power cut, or what is left of one that a fuse has brought. */
void node_crash(struct node *node);

void node_free(struct node *node);

/* A power cut, and what a restart finds must be in order. */
void node_reopen(struct node *node);

/* A new node at work, with accounts 1 … account_count; the disk takes up to two ticks. */
void node_begin(struct node *node, uint64_t memory_extra, uint64_t seed, uint32_t account_count);

void node_latency(struct node *node, uint32_t min_ticks, uint32_t max_ticks);

struct engine_state node_state(const struct node *node);

void node_step(struct node *node);

/* Until nothing is under way. */
void node_settle(struct node *node);

/* ---- Requests -------------------------------------------------------------------------------- */

uint32_t node_lent(const struct node *node);

struct create_result node_result(const struct node_request *request, uint32_t index);

struct node_request *node_submit(
    struct node *node,
    uint8_t operation,
    const void *input,
    uint32_t size);

/* New accounts. */
struct node_request *node_create_accounts(struct node *node, uint32_t count);

/* New transfers of 1 from account 1 to account 2; pending ones if there is a timeout. */
struct node_request *node_create_transfers(struct node *node, uint32_t count, uint32_t timeout);

/* Reads an account, as the engine has committed it. False if there is none. */
bool node_account(struct node *node, u128 id, struct account *account);

/* The op that a request answered ENGINE_OK was executed in. */
uint64_t node_op(const struct node_request *request);

#endif
