/* SPDX-License-Identifier: PostgreSQL */
/*
 * Nodes whose members come and go, through the engine's façade on a simulated network. Node 0
 * begins with a ledger of its own; the others have nothing, and are down.
 */
#ifndef LEDGER_TEST_UNIT_FORMATION_FIXTURE_H
#define LEDGER_TEST_UNIT_FORMATION_FIXTURE_H

#include "engine/internal.h"
#include "sim/network_sim.h"
#include "sim/storage_sim.h"
#include "unit/engine_fixture.h"
#include "vsr/replica_internal.h"

#define FORMATION_NODES       4
#define FORMATION_PATIENCE_MS 20000
#define FORMATION_TEST_MS_MAX 300000 /* No test of one cluster takes longer. */

enum host_state { DOWN, GUEST, MEMBER };

struct formation_node {
    enum host_state state;
    struct prng prng;
    struct storage_sim disk;
    struct node_clock clock;
    bool formatted;
    struct engine_identity identity;
    struct engine *engine;
    struct engine_guest *guest;
    void *memory;
    uint64_t memory_bytes;
    void *guest_memory;
    bool keeps_waiting; /* Lets a welcome lie. */
    struct engine_change change;
    bool changing;
    struct engine_request request;
    bool asking;
    uint8_t input[EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[RESULTS_MAX * sizeof(struct transfer_row)] __attribute__((aligned(16)));
};

extern struct formation_node formation_nodes[FORMATION_NODES];
extern struct network_sim formation_net;
extern bool formation_fenced; /* Who starts makes records (vsr/fences.h). */

/* The name of a node: a, b, … */
void formation_name_of(uint32_t number, char name[MEMBER_NAME_MAX + 1]);

struct replica *formation_replica_of(uint32_t number);

void formation_start_member(uint32_t number);

void formation_start_guest(uint32_t number);

/* A power cut. */
void formation_stop(uint32_t number);

void formation_new_disk(uint32_t number);

/* A millisecond. */
void formation_step(void);

void formation_steps(uint32_t count);

/* Node a has a ledger and is alone; the others have nothing, and are down. */
void formation_begin(uint64_t seed);

void formation_end(void);

/* For changes whose context is a node. */
void formation_on_changed(struct engine_change *change);

void formation_wish(uint32_t at, enum engine_change_kind kind, uint32_t whom);

/* The answer. */
enum engine_change_result formation_change(
    uint32_t at, enum engine_change_kind kind, uint32_t whom);

/* Until what was asked at this node is answered. */
void formation_await(uint32_t at);

/* An account more, through this node; its answer isn't awaited. */
void formation_ask_to_create(uint32_t at);

/* An account more, through this node. */
void formation_create(uint32_t at);

/* Does a strict read at this node find the newest account? */
bool formation_finds(uint32_t at);

bool formation_is_voter(uint32_t at, uint32_t whom);

/* All of the first `count` nodes know that all of them vote. */
void formation_await_voters(uint32_t count);

struct engine_cluster formation_cluster_at(uint32_t number);

/* Until a node says that there is a primary. Its number. */
uint32_t formation_await_primary(uint32_t at);

/* Until a node sees that one waits to be added. */
void formation_await_guest(uint32_t at, uint32_t whom);

/* A cluster of the first `count` nodes. */
void formation_form(uint32_t count);

#endif
