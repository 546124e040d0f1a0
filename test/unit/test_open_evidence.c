/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the superblock says of the log, at the engine's opening: it stops no start that a crash has
 * made necessary, and what it says was acknowledged is missed when it is gone.
 */
#include "unit.h"

#include <string.h>

#include "engine_fixture.h"

#define RING_SIZE  PREPARES_SIZE_MIN
#define OPS_BEFORE 30 /* So that a checkpoint is soon due. */
#define APPENDS    6

static struct node node;

static void
begin(enum journal_sync sync, uint64_t seed, uint32_t ops)
{
    node_init(&node, RING_SIZE, MIB, seed);
    node.options.wal_sync = sync;
    expect_equal(node_open(&node), ENGINE_OPENED);
    for (uint32_t i = 0; i < ops; i++) {
        (void) node_create_accounts(&node, 1);
        node_settle(&node);
    }
}

/* ---- Crashes --------------------------------------------------------------------------------- */

/* A life that makes ops until the power fails, at this event. False if it didn't. */
static bool
live(uint64_t event, uint64_t *acknowledged)
{
    node_crash(&node);
    storage_sim_crash_after(&node.sim, event);
    const enum engine_open_result result = node_open(&node);
    if (!node.sim.crashed) expect_equal(result, ENGINE_OPENED);
    for (uint32_t i = 0; i < APPENDS && !node.sim.crashed; i++) {
        const struct node_request *request = node_create_accounts(&node, 1);
        for (uint32_t step = 0; step < 500 && request->answers == 0; step++) {
            (void) engine_poll(node.engine);
            if (node.sim.crashed) break;
            storage_sim_tick(&node.sim);
        }
        if (request->answers == 1 && request->request.status == ENGINE_OK) *acknowledged += 1;
    }
    return node.sim.crashed;
}

/* At events of a start, of appends, of a checkpoint; then again, in the life after that. */
static void
check_crashes(enum journal_sync sync)
{
    uint32_t checkpoints = 0;
    bool crashed = true;
    for (uint64_t event = sync == JOURNAL_SYNC_BOTH ? 1 : 6; crashed; event += 11) {
        begin(sync, event, OPS_BEFORE);
        uint64_t acknowledged = OPS_BEFORE;
        const uint32_t before = node.checkpoint_count;
        crashed = live(event, &acknowledged);
        (void) live(1 + event * 7 % 60, &acknowledged);
        checkpoints += node.checkpoint_count > before;
        node_reopen(&node);
        expect(node.report.op >= acknowledged);
        node_free(&node);
    }
    expect(checkpoints > 1);
}

UNIT_TEST(a_lone_node_opens_after_any_two_crashes)
{
    check_crashes(JOURNAL_SYNC_BOTH);
    check_crashes(JOURNAL_SYNC_FIRST);
}

/* ---- Loss ------------------------------------------------------------------------------------ */

static struct prepare_header *
entry_on_disk(uint64_t op)
{
    const uint64_t entry = headers_log_entry(headers_log_count(RING_SIZE), op);
    uint8_t *bytes = storage_sim_bytes(&node.sim, STORAGE_HEADERS);
    return (void *) (bytes + entry * PREPARE_HEADER_SIZE);
}

/* As if its header had never been written, and its prepare never or only in part. */
static void
lose(uint64_t op, bool torn)
{
    const struct prepare_header *header = &node.log[op];
    uint8_t *prepare =
        storage_sim_bytes(&node.sim, STORAGE_PREPARES) + header->position % RING_SIZE;
    memset(entry_on_disk(op), 0, PREPARE_HEADER_SIZE);
    if (torn) prepare[header->size - 1] ^= 1;
    if (!torn) memset(prepare, 0, SECTOR_SIZE);
}

/* (J7) The newest op is lost in both logs, before or after the superblock says it was there. */
UNIT_TEST(v15_what_the_superblock_has_as_acknowledged_is_missed)
{
    for (uint32_t known = 0; known < 2; known++) {
        for (uint32_t torn = 0; torn < 2; torn++) {
            begin(JOURNAL_SYNC_BOTH, 1, 5);
            const uint64_t op = node_state(&node).op;
            if (known) node_reopen(&node);
            node_crash(&node);
            lose(op, torn);
            const uint64_t writes = node.sim.counters.writes;
            const enum engine_open_result result = node_open(&node);
            expect_equal(result, known ? ENGINE_OPEN_JOURNAL_DAMAGED : ENGINE_OPENED);
            if (known) expect_equal(node.report.journal.damage_op, op);
            if (known) expect_equal(node.sim.counters.writes, writes);
            if (!known) expect_equal(node.report.op, op - 1);
            node_free(&node);
        }
    }
}

/* Up to the suffix's newest op, the log is the one that is listed. */
UNIT_TEST(j6_another_listed_op_is_not_taken)
{
    for (uint64_t back = 0; back < 3; back++) {
        begin(JOURNAL_SYNC_BOTH, 1, 5);
        const uint64_t op = node_state(&node).op - back;
        node_reopen(&node);
        node_crash(&node);
        const struct prepare_header *header = &node.log[op];
        struct prepare_header *prepare = (void *) (storage_sim_bytes(&node.sim, STORAGE_PREPARES) +
                                                   header->position % RING_SIZE);
        prepare->timestamp += 1;
        prepare_seal(prepare);
        *entry_on_disk(op) = *prepare;
        expect_equal(node_open(&node), ENGINE_OPEN_JOURNAL_DAMAGED);
        expect_equal(node.report.journal.damage_op, op);
        node_free(&node);
    }
}

UNIT_MAIN(test_open_evidence)
