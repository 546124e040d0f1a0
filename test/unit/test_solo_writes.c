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

UNIT_TEST(a_prepare_with_an_op_to_execute_meanwhile_is_not_solo)
{
    begin();
    const uint64_t op = node_state(&node).op;
    (void) node_create_transfers(&node, 1, 0);
    expect(write_of(op + 1)->solo);
    /* It comes while the first is written: the write has nobody's undivided attention any more. */
    (void) node_create_transfers(&node, 1, 0);
    (void) engine_poll(node.engine);
    expect(!node.sim.storage.idle);
    /* The first is durable, and is executed while the second is written. */
    expect(!write_of(op + 2)->solo);
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

UNIT_MAIN(test_solo_writes)
