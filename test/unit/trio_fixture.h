/* SPDX-License-Identifier: PostgreSQL */
/*
 * Three members on a simulated network, through the engine's façade. Node 0 has slot 1, and is the
 * primary of view 1, which is the first to begin; then nobody is in a hurry to begin another.
 *
 * What is durable, the disks say; what was said, the network. Losses are made by cutting a wire:
 * where messages are chaos, what is sent meanwhile is lost and the connection stays.
 */
#ifndef LEDGER_TEST_UNIT_TRIO_FIXTURE_H
#define LEDGER_TEST_UNIT_TRIO_FIXTURE_H

#include "engine/internal.h"
#include "sim/network_sim.h"
#include "sim/storage_sim.h"
#include "unit/engine_fixture.h"
#include "vsr/replica_internal.h"

#define TRIO_NODES       3
#define TRIO_PRIMARY     0
#define TRIO_HASTY_NS    (UINT64_C(400) * NS_PER_MS)
#define TRIO_PATIENT_NS  (UINT64_C(3600) * NS_PER_S)
#define TRIO_RING_SIZE   (UINT64_C(64) * SECTOR_SIZE)
#define TRIO_ASKED_MAX   512
#define TRIO_PATIENCE_MS 4000
#define TRIO_OPS_MAX     1024

struct trio_asked {
    struct engine_request request;
    uint32_t answers;
    uint8_t input[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[RESULTS_MAX * sizeof(struct transfer_row)] __attribute__((aligned(16)));
};

struct trio_node {
    struct prng prng;
    struct storage_sim disk;
    struct node_clock clock;
    struct engine *engine; /* NULL: it is down. */
    void *memory;
    uint64_t memory_bytes;
    uint64_t session;
    bool disk_stands; /* Nothing gets further on its disk. */
    bool may_fail;    /* Its engine may stop. */
    uint64_t op_durable;                     /* The newest op that its disk has in both logs. */
    struct prepare_header log[TRIO_OPS_MAX]; /* What its disk was given, by op. */
    uint64_t acked;                          /* The newest op that it has acknowledged. */
};

struct trio {
    struct prng prng;
    struct network_sim net;
    struct members members;
    struct trio_node nodes[TRIO_NODES];
    struct trio_asked asked[TRIO_ASKED_MAX];
    uint32_t asked_count;
    uint64_t id_last;
    bool elected;
    bool fenced; /* Who starts makes records (vsr/fences.h). */
    uint64_t now_ms;
    uint32_t resignations; /* Messages by which a primary resigns. */
    /* NULL, or changes a message on its way, and seals it again. */
    void (*tamper)(uint32_t from, uint32_t to, struct message_header *header);
};

extern struct trio trio;

/* ---- Life ------------------------------------------------------------------------------------ */

/* Formatted, and none of them works yet. */
void trio_init(enum network_sim_model model, uint64_t seed);
void trio_start(uint32_t number);

/* The same, and it may be refused. Then it is up as far as trio_stop is concerned. */
enum engine_open_result trio_open(uint32_t number);

/* All work, in view 1. */
void trio_begin(enum network_sim_model model, uint64_t seed);
void trio_end(void);

/* Lets those that work begin view 1, and stay in it. */
void trio_elect(void);

/* A power cut. */
void trio_stop(uint32_t number);

/* A millisecond. */
void trio_step(void);
void trio_steps(uint32_t count);

struct replica *trio_replica(uint32_t number);
uint8_t trio_slot(uint32_t number);
uint64_t trio_commit(uint32_t number);

bool trio_connected(uint32_t from, uint32_t to);
void trio_cut(uint32_t from, uint32_t to, bool cuts);

/* Cuts both ways between one and all others. */
void trio_isolate(uint32_t number, bool cuts);

/* Shorter timeouts, so that those who are left begin another view. */
void trio_hurry(uint32_t number);

/* ---- Requests -------------------------------------------------------------------------------- */

struct trio_asked *trio_ask(
    uint32_t number, uint8_t operation, const void *input, uint32_t size);
struct trio_asked *trio_create(uint32_t number, uint32_t count);
struct trio_asked *trio_look_up(uint32_t number, u128 id);

/* Creates, one after the other. */
void trio_create_many(uint32_t number, uint32_t count, uint32_t events);

bool trio_created(const struct trio_asked *request);
bool trio_found(const struct trio_asked *read);

/* False: after so many milliseconds it isn't answered. */
bool trio_answered_within(const struct trio_asked *request, uint32_t ms);

/* Everything comes to rest: all have the same log and state, and nothing was executed twice. */
void trio_expect_rest(uint32_t accounts);

#endif
