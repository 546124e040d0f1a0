/* SPDX-License-Identifier: PostgreSQL */
/* Verification and scrubbing through the engine, while ops are committed, and on damaged disks. */
#include "unit/unit.h"

#include <string.h>

#include "unit/engine_fixture.h"

#include "ledger/verify.h"

/* ==== Everything, through the engine ========================================================== */

static struct node node;


static void
node_fill(uint32_t batch_count)
{
    for (uint32_t i = 0; i < batch_count; i++) {
        (void) node_create_transfers(&node, EVENTS_PER_BATCH_MAX, i % 3 == 0 ? 1 : 0);
        node_settle(&node);
    }
}

static const struct node_request *
verify_start(void)
{
    return node_submit(&node, LEDGER_VERIFY, "", 0);
}

/* Returns how many findings there are. */
static uint32_t
verify_finish(const struct node_request *request, struct verify_finding *first)
{
    for (uint32_t i = 0; request->answers == 0; i++) {
        assert(i < 100 * NODE_STEPS_MAX);
        if (!engine_poll(node.engine)) storage_sim_tick(&node.sim);
    }
    expect_equal(request->request.status, ENGINE_OK);
    memcpy(first, request->reply, sizeof(*first));
    return request->request.reply_size / (uint32_t) sizeof(*first);
}

UNIT_TEST(y1_verification_while_ops_are_committed)
{
    struct verify_finding first;
    node_begin(&node, 8 * MIB, 1, 20);
    node_fill(20);
    const struct node_request *request = verify_start();
    const uint64_t commit = node_state(&node).commit;
    for (uint32_t i = 0; request->answers == 0; i++) {
        assert(i < NODE_STEPS_MAX);
        if (node_lent(&node) < 3 && node.request_count < NODE_REQUESTS_MAX - 4) {
            (void) node_create_transfers(&node, 1 + i % 5, i % 4 == 0 ? 1 : 0);
        }
        if (i % 9 == 0) engine_tick(node.engine);
        node_step(&node);
    }
    expect_equal(verify_finish(request, &first), 0);
    expect(node_state(&node).commit > commit + 20);
    expect(node.checkpoint_count > 0);
    node_settle(&node);
    expect_equal(verify_finish(verify_start(), &first), 0);
    node_crash(&node);
    expect_equal(node_open(&node), ENGINE_OPENED);
    expect_equal(verify_finish(verify_start(), &first), 0);
    node_free(&node);
}

UNIT_TEST(a_damaged_block_and_a_damaged_prepare)
{
    struct verify_finding first;
    node_begin(&node, 8 * MIB, 2, 20);
    node_fill(30);
    /* Any block that is in use: the first one with values that a whole tour tells of. */
    uint64_t damaged = 0;
    for (uint64_t address = 1; damaged == 0; address++) {
        uint8_t *block =
            storage_sim_bytes(&node.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
        const struct block_header *header = (const void *) block;
        if (header->type != BLOCK_VALUES) continue;
        block[300] ^= 1;
        const uint32_t count = verify_finish(verify_start(), &first);
        if (count > 0 && first.kind == VERIFY_BLOCK) damaged = address;
        if (damaged != 0) {
            expect_equal(first.number, address);
            expect_equal(first.what, VERIFY_CORRUPT);
        }
        block = storage_sim_bytes(&node.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
        block[300] ^= 1;
    }
    expect_equal(verify_finish(verify_start(), &first), 0);
    const struct prepare_header *head = &node.log[node_state(&node).op];
    uint8_t *prepare =
        storage_sim_bytes(&node.sim, STORAGE_PREPARES) + head->position % NODE_RING_SIZE;
    prepare[PREPARE_HEADER_SIZE + 3] ^= 1;
    expect_equal(verify_finish(verify_start(), &first), 1);
    expect_equal(first.kind, VERIFY_JOURNAL);
    expect_equal(first.what, VERIFY_CORRUPT);
    expect_equal(first.number, head->op);
    node_free(&node);
}

static uint8_t *
header_entry(uint64_t op)
{
    const uint64_t entry = headers_log_entry(headers_log_count(NODE_RING_SIZE), op);
    return storage_sim_bytes(&node.sim, STORAGE_HEADERS) + entry * PREPARE_HEADER_SIZE;
}

/* Each entry since the checkpoint is the prepare's header, also if it is another intact one. */
UNIT_TEST(a_damaged_entry_of_the_headers_log)
{
    struct verify_finding first;
    uint8_t entry[PREPARE_HEADER_SIZE];
    node_begin(&node, 8 * MIB, 6, 20);
    node_fill(30);
    const struct engine_state state = node_state(&node);
    expect(state.op > state.checkpoint_op + 1);
    for (uint64_t op = state.checkpoint_op; op <= state.op; op++) {
        memcpy(entry, header_entry(op), sizeof(entry));
        for (uint32_t kind = 0; kind < 3; kind++) {
            if (kind == 0) header_entry(op)[PREPARE_HEADER_SIZE - 1] ^= 1;
            if (kind == 1) memset(header_entry(op), 0, sizeof(entry));
            if (kind == 2) memcpy(header_entry(op), header_entry(op - 1), sizeof(entry));
            const bool live = op > state.checkpoint_op;
            expect_equal(verify_finish(verify_start(), &first), live ? 1 : 0);
            if (live) expect_equal(first.kind, VERIFY_HEADER);
            if (live) expect_equal(first.what, VERIFY_CORRUPT);
            if (live) expect_equal(first.number, op);
            memcpy(header_entry(op), entry, sizeof(entry));
        }
    }
    storage_sim_latent_error(
        &node.sim,
        STORAGE_HEADERS,
        headers_log_entry(headers_log_count(NODE_RING_SIZE), state.op) / HEADERS_PER_SECTOR *
            SECTOR_SIZE,
        SECTOR_SIZE);
    expect(verify_finish(verify_start(), &first) > 0);
    expect_equal(first.kind, VERIFY_HEADER);
    expect_equal(first.what, VERIFY_UNREADABLE);
    node_free(&node);
}

/* (J5) Small rings, slow reads: what is read is never written over, which the disk asserts. */
UNIT_TEST(j5_prepares_are_read_while_the_log_wraps)
{
    struct verify_finding first;
    node_init(&node, PREPARES_SIZE_MIN, 8 * MIB, 3);
    expect_equal(node_open(&node), ENGINE_OPENED);
    (void) node_create_accounts(&node, 2);
    node_settle(&node);
    for (uint32_t round = 0; round < 6; round++) {
        node_latency(&node, 0, round % 2 == 0 ? 0 : 9);
        const struct node_request *request = verify_start();
        for (uint32_t i = 0; request->answers == 0; i++) {
            assert(i < NODE_STEPS_MAX);
            if (node_lent(&node) < 3 && node.checkpoint_count < 10 * (round + 1)) {
                (void) node_create_transfers(&node, 2, 0);
            }
            node_step(&node);
        }
        expect_equal(verify_finish(request, &first), 0);
        node_settle(&node);
    }
    node_free(&node);
}

/* (J5) A verification that was given up while it read holds nothing up, for however long. */
UNIT_TEST(j5_the_log_wraps_after_one_was_given_up)
{
    node_init(&node, PREPARES_SIZE_MIN, 8 * MIB, 7);
    expect_equal(node_open(&node), ENGINE_OPENED);
    (void) node_create_accounts(&node, 2);
    for (uint32_t after = 0; after < 60; after += 4) {
        (void) node_create_transfers(&node, 2, 0);
        node_settle(&node);
        node_latency(&node, 3, 9);
        struct node_request *given_up = node_submit(&node, LEDGER_VERIFY, "", 0);
        for (uint32_t i = 0; i < after && given_up->answers == 0; i++) node_step(&node);
        (void) engine_poll(node.engine);
        if (given_up->answers == 0) expect(engine_cancel(node.engine, &given_up->request));
        node_latency(&node, 0, 2);
        const uint64_t checkpoints = node.checkpoint_count;
        while (node.checkpoint_count < checkpoints + 3) {
            const struct node_request *last = node_create_transfers(&node, EVENTS_PER_BATCH_MAX, 0);
            node_settle(&node);
            expect_equal(last->answers, 1);
        }
        node_settle(&node);
    }
    node_free(&node);
}

UNIT_TEST(one_at_a_time_and_given_up)
{
    struct verify_finding first;
    node_begin(&node, 8 * MIB, 4, 20);
    node_fill(10);
    struct node_request *one = node_submit(&node, LEDGER_VERIFY, "", 0);
    struct node_request *two = node_submit(&node, LEDGER_VERIFY, "", 0);
    for (uint32_t i = 0; i < 5; i++) node_step(&node);
    expect_equal(two->answers, 1);
    expect_equal(two->request.status, ENGINE_BUSY);
    expect_equal(one->answers, 0);
    expect(!engine_cancel(node.engine, &two->request));
    expect(engine_cancel(node.engine, &one->request));
    expect_equal(one->answers, 1);
    expect_equal(one->request.status, ENGINE_INVALID);
    expect_equal(verify_finish(verify_start(), &first), 0);
    for (uint32_t after = 0; after < 200; after++) {
        struct node_request *given_up = node_submit(&node, LEDGER_VERIFY, "", 0);
        for (uint32_t i = 0; i < after && given_up->answers == 0; i++) node_step(&node);
        (void) engine_poll(node.engine);
        if (given_up->answers == 0) expect(engine_cancel(node.engine, &given_up->request));
    }
    expect_equal(verify_finish(verify_start(), &first), 0);
    node_free(&node);
}

/* ==== The scrubber's pace ===================================================================== */

UNIT_TEST(a_tour_takes_the_interval)
{
    node_begin(&node, 8 * MIB, 5, 20);
    node_fill(30);
    expect_equal(node_state(&node).scrub_tours, 0);
    engine_scrub(node.engine, 2 * NS_PER_S);
    uint64_t last = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        if (i % ENGINE_TICK_MS == 0) engine_tick(node.engine);
        node_step(&node);
        const struct engine_state state = node_state(&node);
        /* Blocks that are merged meanwhile are replaced by others. */
        const uint64_t total = state.scrub_blocks_total;
        expect(state.scrub_tour_blocks <= total + total / 8);
        last = state.scrub_tours;
    }
    /* Ten seconds. */
    expect(last == 4 || last == 5);
    engine_scrub(node.engine, 0);
    for (uint32_t i = 0; i < 5000; i++) {
        if (i % ENGINE_TICK_MS == 0) engine_tick(node.engine);
        node_step(&node);
    }
    expect_equal(node_state(&node).scrub_tours, last);
    expect_equal(node_state(&node).damaged_blocks, 0);
    node_free(&node);
}

UNIT_MAIN(test_verify_engine)
