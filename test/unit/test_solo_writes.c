/* SPDX-License-Identifier: PostgreSQL */
/*
 * When the engine tells storage that it has nothing else to do until a write is done
 * (io/storage.h): never while a request, an op or a read could get on meanwhile.
 */
#include "unit/unit.h"

#include "engine/internal.h"
#include "unit/engine_fixture.h"

static struct node node;

#define RING_SIZE (UINT64_C(64) * SECTOR_SIZE)

/* The disk takes its time: what is submitted stays under way during a poll. */
static void
begin(void)
{
    node_init(&node, RING_SIZE, 0, 1);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED);
    (void) node_create_accounts(&node, 2);
    node_settle(&node);
    node_latency(&node, 5, 5);
}

/* Steps until the journal writes the prepare of this op. */
static const struct storage_request *
write_of(uint64_t op)
{
    const struct journal *journal = &node.engine->journal;
    for (uint32_t steps = 0; steps < 100; steps++) {
        if (journal->append != NULL && journal->append->prepare->op == op) {
            return &journal->write_prepare;
        }
        node_step(&node);
    }
    expect(false);
    return &journal->write_prepare;
}

UNIT_TEST(a_prepare_that_only_is_waited_for_is_solo)
{
    begin();
    const uint64_t op = node_state(&node).op;
    /* Several requests that are there together are one prepare. */
    for (uint32_t i = 1; i <= 3; i++) {
        for (uint32_t k = 0; k < i; k++) (void) node_create_transfers(&node, 1, 0);
        expect(write_of(op + i)->solo);
        (void) engine_poll(node.engine);
        expect(node.sim.storage.idle);
        node_settle(&node);
        expect_equal(node_state(&node).op, op + i);
    }
    node_free(&node);
}

UNIT_TEST(more_to_prepare_waits_anyway)
{
    begin();
    const uint64_t op = node_state(&node).op;
    (void) node_create_transfers(&node, 1, 0);
    expect(write_of(op + 1)->solo);
    /* It comes while the first is written, and can't be written before that is done. */
    (void) node_create_transfers(&node, 1, 0);
    (void) engine_poll(node.engine);
    expect(node.sim.storage.idle);
    expect(write_of(op + 2)->solo);
    expect_equal(write_of(op + 2)->events, 1);
    node_settle(&node);
    node_free(&node);
}

/* What is durable is executed and answered before another write may block; so is what follows. */
UNIT_TEST(an_op_to_execute_is_something_to_do)
{
    begin();
    uint32_t polls[2] = {0, 0};
    for (uint32_t i = 0; i < 200; i++) {
        (void) node_create_transfers(&node, 1, 0);
        while (engine_busy(node.engine)) {
            const bool committing = replica_committing(&node.engine->replica);
            node_step(&node);
            expect_equal(node.sim.storage.idle, !committing);
            polls[committing ? 1 : 0] += 1;
        }
    }
    /* Checkpoints are among them. */
    expect(node_state(&node).checkpoint_op > 0);
    expect(polls[0] > 0 && polls[1] > 0);
    node_free(&node);
}

/* What came while storage blocked is taken first, and makes the next prepare larger. */
UNIT_TEST(after_a_blocking_write_the_host_has_a_turn)
{
    begin();
    const uint64_t op = node_state(&node).op;
    (void) node_create_transfers(&node, 1, 0);
    (void) write_of(op + 1);
    (void) node_create_transfers(&node, 1, 0);
    (void) engine_poll(node.engine);
    struct storage *storage = &node.sim.storage;
    while (storage->in_flight_count > 0) {
        storage_sim_tick(&node.sim);
        storage->blocked = true;
        expect(node.engine->journal.append->prepare->op == op + 1);
        (void) engine_poll(node.engine);
    }
    expect_equal(node_state(&node).op, op + 1);
    expect(node.engine->journal.append == NULL);
    (void) node_create_transfers(&node, 1, 0);
    storage->blocked = false;
    expect_equal(write_of(op + 2)->events, 2);
    node_settle(&node);
    node_free(&node);
}

UNIT_TEST(a_read_under_way_is_something_to_do)
{
    begin();
    const uint64_t op = node_state(&node).op;
    (void) node_create_transfers(&node, 1, 0);
    expect(write_of(op + 1)->solo);
    const u128 id = 1;
    (void) node_submit(&node, LEDGER_LOOKUP_ACCOUNTS, &id, sizeof(id));
    (void) engine_poll(node.engine);
    expect(!node.sim.storage.idle);
    node_settle(&node);

    /* A verification goes on for long. */
    (void) node_submit(&node, LEDGER_VERIFY, "", 0);
    (void) engine_poll(node.engine);
    expect(node.engine->verification.request != NULL);
    expect(!node.sim.storage.idle);
    for (uint32_t i = 0; node.engine->verification.request != NULL; i++) {
        assert(i < NODE_STEPS_MAX);
        node_step(&node);
    }
    node_settle(&node);
    (void) engine_poll(node.engine);
    expect(node.sim.storage.idle);
    node_free(&node);
}

/* A pulse may be made by a tick, after which the host may sleep instead of polling. */
UNIT_TEST(a_pulse_is_not_solo)
{
    begin();
    (void) node_create_transfers(&node, 1, 1);
    node_settle(&node);
    const uint64_t op = node_state(&node).op;
    node.clock.realtime_ns += 2 * NS_PER_S;
    for (uint32_t i = 0; node_state(&node).op == op; i++) {
        assert(i < NODE_STEPS_MAX);
        engine_tick(node.engine);
        node_step(&node);
    }
    const struct storage_request *write = write_of(op + 1);
    const struct prepare_header *prepare = write->buffer;
    expect_equal(prepare->operation, PREPARE_PULSE);
    expect(!write->solo);
    node_settle(&node);
    node_free(&node);
}

UNIT_MAIN(test_solo_writes)
