/* SPDX-License-Identifier: PostgreSQL */
/*
 * An engine whose answers wait for the first of the log's two writes (JOURNAL_SYNC_FIRST,
 * doc/wal_order.md), where the second one, of the header, fails. Who was answered was told the
 * truth, the engine stops, and nobody else is told that anything took effect.
 */
#include "unit/unit.h"

#include "engine/internal.h"
#include "unit/engine_fixture.h"

#define RING_SIZE (UINT64_C(64) * SECTOR_SIZE)
#define ACCOUNTS  2
#define REQUESTS  40
#define LENT      3

static struct node node;

/* The write of headers.wal that fails: the next ones are let through. */
struct failing {
    uint64_t writes_left;
    bool failed;
};

static bool
fault_in_headers(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    struct failing *failing = context;
    (void) offset_bytes;
    (void) size_bytes;
    if (file != STORAGE_HEADERS || failing->failed) return false;
    if (failing->writes_left > 0) {
        failing->writes_left -= 1;
        return false;
    }
    failing->failed = true;
    return true;
}

static void
begin(uint64_t seed)
{
    node_init(&node, RING_SIZE, 0, seed);
    node.options.wal_sync = JOURNAL_SYNC_FIRST;
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED);
    (void) node_create_accounts(&node, ACCOUNTS);
    node_settle(&node);
    assert(node_state(&node).accounts == ACCOUNTS);
    /* Nothing is lent: the place is free. */
    node.request_count = 0;
    node.answered = 0;
}

/* Several requests at a time, until a header's write fails. Returns whether it did. */
static bool
run_until_failure(struct failing *failing)
{
    node.sim.options.fault_allowed = fault_in_headers;
    node.sim.options.fault_context = failing;
    node.sim.options.write_error_per_million = 1000000;
    for (uint32_t steps = 0; !engine_failed(node.engine); steps++) {
        assert(steps < NODE_STEPS_MAX);
        if (node.request_count == REQUESTS && node_lent(&node) == 0) break;
        while (node_lent(&node) < LENT && node.request_count < REQUESTS) {
            (void) node_create_transfers(&node, 1, 0);
        }
        node_step(&node);
    }
    node.sim.options.write_error_per_million = 0;
    return engine_failed(node.engine);
}

/* Each was answered once. Returns how many took effect, all of them before the others. */
static uint32_t
answered_ok(void)
{
    uint32_t succeeded = 0;
    expect_equal(node_lent(&node), 0);
    for (uint32_t i = 0; i < node.request_count; i++) {
        const struct node_request *request = &node.requests[i];
        expect_equal(request->answers, 1);
        if (request->request.status == ENGINE_OK) {
            expect_equal(succeeded, i);
            succeeded += 1;
        } else {
            expect_equal(request->request.status, ENGINE_FAILED);
        }
    }
    return succeeded;
}

/* How many transfers account 1 has had, each of 1. */
static uint64_t
transfers_found(void)
{
    struct account account;
    const bool found = node_account(&node, 1, &account);
    expect(found);
    return (uint64_t) account.debits_posted;
}

/* The process ends, and another one opens the same files; or the power fails too. */
static void
next_life(bool power_fails)
{
    if (power_fails) {
        node_crash(&node);
    } else {
        while (node.sim.storage.in_flight_count > 0) (void) storage_wait(&node.sim.storage);
        storage_sim_restart(&node.sim);
        node.engine = NULL;
        node.op_durable = 0;
    }
    expect_equal(node_open(&node), ENGINE_OPENED);
    node_settle(&node);
}

UNIT_TEST(a_failed_header_write_stops_the_engine)
{
    uint32_t beside = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin(seed);
        node_latency(&node, (uint32_t) (seed % 3), 3);
        struct failing failing = {.writes_left = seed % 10};
        expect(run_until_failure(&failing));
        expect(failing.failed);
        expect_equal(node.sim.counters.write_errors, 1);
        beside += node.engine->journal.append != NULL;

        /* What comes later is refused at once, and nothing more is written. */
        const uint64_t prepares = node.engine->journal.stats.prepares_writes;
        (void) node_create_transfers(&node, 1, 0);
        for (uint32_t i = 0; i < 20; i++) node_step(&node);
        expect(engine_failed(node.engine));
        expect_equal(node.engine->journal.stats.prepares_writes, prepares);
        expect_equal(node.requests[node.request_count - 1].request.status, ENGINE_FAILED);
        const uint32_t succeeded = answered_ok();
        expect(succeeded >= seed % 10);
        const uint32_t asked = node.request_count;

        next_life(seed % 2 == 0);
        const uint64_t found = transfers_found();
        expect(found >= succeeded);
        expect(found < asked); /* The last one was refused before it was prepared. */
        (void) node_create_transfers(&node, 1, 0);
        node_settle(&node);
        expect_equal(transfers_found(), found + 1);
        node_free(&node);
    }
    /* The next prepare was being written when the header's write failed. */
    expect(beside > 10);
}

/* The same engine, without a failure: the header is written beside what follows. */
UNIT_TEST(without_a_failure_all_is_named)
{
    begin(1);
    node_latency(&node, 1, 3);
    struct failing failing = {.failed = true};
    expect(!run_until_failure(&failing));
    expect_equal(answered_ok(), node.request_count);
    node_settle(&node);
    expect_equal(node.engine->journal.named, node.engine->journal.head.op);
    next_life(true);
    expect_equal(transfers_found(), REQUESTS);
    node_free(&node);
}

UNIT_MAIN(test_wal_sync)
