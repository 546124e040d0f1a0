/* SPDX-License-Identifier: PostgreSQL */
/*
 * A damaged block that only pulses look at: the hold stays open, which is told, and everything else
 * goes on, through restarts too, until the block is whole again.
 */
#include "unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "store/grid.h"
#include "unit/engine_fixture.h"

#define RING_SIZE (UINT64_C(64) * SECTOR_SIZE)
#define TIMEOUT_S 1000

static struct node node;
static struct transfer_row hold; /* The only one, on the disk and in no log. */
static uint8_t *grid_before; /* The grid as it was before it was damaged. */
static uint64_t grid_size;

/* What the damaged block has of the hold. */
enum damaged { DAMAGED_TRANSFER, DAMAGED_STATE, DAMAGED_INDEX };
#define DAMAGED_COUNT 3

static void
steps(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        node_step(&node);
        if (i % ENGINE_TICK_MS == 0) engine_tick(node.engine);
    }
}

/* Has the block the bytes, at a multiple of their size? */
static bool
block_has(const uint8_t *block, const void *bytes, uint32_t size)
{
    const struct block_header *header = (const void *) block;
    if (header->type != BLOCK_VALUES) return false;
    for (uint32_t at = BLOCK_HEADER_SIZE; at + size <= BLOCK_SIZE; at += size) {
        if (memcmp(block + at, bytes, size) == 0) return true;
    }
    return false;
}

/* Damages each block of the grid that has them, older copies included. Returns how many. */
static uint32_t
rot_blocks(const void *bytes, uint32_t size)
{
    uint32_t count = 0;
    for (uint64_t at = 0; at + BLOCK_SIZE <= grid_size; at += BLOCK_SIZE) {
        if (!block_has(storage_sim_bytes(&node.sim, STORAGE_GRID) + at, bytes, size)) continue;
        storage_sim_rot(&node.sim, STORAGE_GRID, at + BLOCK_HEADER_SIZE, 1);
        count += 1;
    }
    return count;
}

static void
damage(enum damaged damaged)
{
    const uint64_t expires_at = hold.transfer.timestamp + TIMEOUT_S * NS_PER_S;
    const struct transfer_pending state = {
        .timestamp = hold.transfer.timestamp,
        .expires_at = expires_at,
        .status = PENDING_PENDING,
    };
    const uint64_t entry[2] = {hold.transfer.timestamp, expires_at};
    const uint64_t turned[2] = {expires_at, hold.transfer.timestamp};
    uint32_t count = 0;
    grid_size = node.sim.files[STORAGE_GRID].size_bytes;
    grid_before = malloc(grid_size);
    assert(grid_before != NULL);
    memcpy(grid_before, storage_sim_bytes(&node.sim, STORAGE_GRID), grid_size);
    switch (damaged) {
    case DAMAGED_TRANSFER: count = rot_blocks(&hold.transfer, sizeof(hold.transfer)); break;
    case DAMAGED_STATE: count = rot_blocks(&state, sizeof(state)); break;
    case DAMAGED_INDEX:
        count = rot_blocks(entry, sizeof(entry)) + rot_blocks(turned, sizeof(turned));
        break;
    }
    expect(count > 0);
}

/* An old hold in a checkpoint that nothing follows. */
static void
begin_held(uint64_t seed)
{
    node_init(&node, RING_SIZE, 0, seed);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED);
    node_latency(&node, 0, 2);
    (void) node_create_accounts(&node, 4);
    (void) node_create_transfers(&node, 1, TIMEOUT_S);
    const u128 id = node.id;
    struct engine_state state;
    do {
        (void) node_create_transfers(&node, 3, 0);
        node_settle(&node);
        state = node_state(&node);
    } while (state.transfers < 200 || state.checkpoint_op != state.commit);
    const struct node_request *read =
        node_submit(&node, LEDGER_LOOKUP_TRANSFERS, &id, sizeof(id));
    node_settle(&node);
    assert(read->request.reply_size == sizeof(hold));
    memcpy(&hold, read->reply, sizeof(hold));
}

/* One of its blocks damaged, and a restart. */
static void
begin_damaged(uint64_t seed, enum damaged damaged)
{
    begin_held(seed);
    node_crash(&node);
    damage(damaged);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED && node.report.ops_replayed == 0);
}

static void
end(void)
{
    free(grid_before);
    grid_before = NULL;
    node_free(&node);
}

static u128
held(void)
{
    struct account account;
    const bool found = node_account(&node, 1, &account);
    expect(found);
    return account.debits_pending;
}

/* Writes and reads go on, and it is told which block it is. */
static void
expect_only_the_pulse_is_held_up(void)
{
    struct engine_damage told = {0};
    const struct node_request *create = node_create_transfers(&node, 1, 0);
    steps(200);
    expect_equal(create->request.status, ENGINE_OK);
    expect_equal(create->status, STATUS_CREATED);
    expect(!engine_failed(node.engine));
    expect(engine_pulse_damage(node.engine, &told));
    expect(told.block_address > 0 && told.tree_name != NULL && !told.io_error);
    expect_equal(node_state(&node).damaged_blocks, 1);
    expect(held() == 1);
}

static void
pulse_is_held_up(enum damaged damaged)
{
    struct engine_damage told;
    struct engine_stats stats;
    begin_damaged(700 + damaged, damaged);
    steps(50);
    /* It is not due. But what is due next is looked up in the index already. */
    expect_equal(engine_pulse_damage(node.engine, &told), damaged == DAMAGED_INDEX);
    node.clock.realtime_ns += (TIMEOUT_S + 1) * NS_PER_S;
    expect_only_the_pulse_is_held_up();

    /* It is tried again from time to time, and not at each tick. */
    steps(25000);
    engine_stats_get(node.engine, &stats);
    expect(stats.pulses_skipped >= 2 && stats.pulses_skipped <= 4);
    expect_equal(stats.pulses, 0);
    node_reopen(&node);
    expect_only_the_pulse_is_held_up();

    /* The block comes back from a backup. */
    memcpy(storage_sim_bytes(&node.sim, STORAGE_GRID), grid_before, grid_size);
    node_reopen(&node);
    steps(500);
    expect(!engine_pulse_damage(node.engine, &told));
    expect_equal(node_state(&node).damaged_blocks, 0);
    expect(held() == 0);
    end();
}

UNIT_TEST(r7_a_damaged_transfer_of_a_hold_holds_up_pulses_only)
{
    pulse_is_held_up(DAMAGED_TRANSFER);
}

UNIT_TEST(r7_a_damaged_state_of_a_hold_holds_up_pulses_only)
{
    pulse_is_held_up(DAMAGED_STATE);
}

UNIT_TEST(r7_a_damaged_index_of_expiry_times_holds_up_pulses_only)
{
    pulse_is_held_up(DAMAGED_INDEX);
}

/*
 * A pulse that is in the log can't be left out, as no op can: a start that needs a damaged block
 * for it is refused, at each try, and says which op and which block. With the block back, it goes
 * on.
 */
static void
pulse_in_the_log(enum damaged damaged)
{
    begin_held(730 + damaged);
    const uint64_t op = node_state(&node).commit + 1;
    node.clock.realtime_ns += (TIMEOUT_S + 1) * NS_PER_S;
    steps(200);
    expect(held() == 0);
    expect(node_state(&node).commit >= op);
    expect(node_state(&node).checkpoint_op < op);
    node_crash(&node);
    damage(damaged);
    for (uint32_t i = 0; i < 3; i++) {
        expect_equal(node_open(&node), ENGINE_OPEN_GRID_CORRUPT);
        expect_equal(node.report.op, op);
        expect(node.report.ops_replayed > 0);
        expect(node.report.block_address > 0 && node.report.tree_name != NULL);
        node_crash(&node);
    }
    memcpy(storage_sim_bytes(&node.sim, STORAGE_GRID), grid_before, grid_size);
    expect_equal(node_open(&node), ENGINE_OPENED);
    expect(held() == 0);
    end();
}

UNIT_TEST(r7_a_pulse_in_the_log_needs_its_blocks)
{
    pulse_in_the_log(DAMAGED_TRANSFER);
    pulse_in_the_log(DAMAGED_STATE);
    pulse_in_the_log(DAMAGED_INDEX);
}

/*
 * Ops come between the passes of a rehearsal, which resolve the holds that it has looked at, and
 * bring others that expire at the same time. All that is due is released, and nothing else.
 */
UNIT_TEST(r7_a_rehearsal_is_interrupted)
{
    begin_held(740);
    for (uint32_t round = 0; round < 40; round++) {
        (void) node_create_transfers(&node, 3, 1 + round % 3);
        node_settle(&node);
        node.clock.realtime_ns += NS_PER_S / 2;
        for (uint32_t i = 0; i < 5; i++) {
            engine_tick(node.engine);
            steps(1 + round % 2);
            (void) node_create_transfers(&node, 1, i % 2);
        }
    }
    node.clock.realtime_ns += 10 * NS_PER_S;
    steps(500);
    expect(held() == 1);
    node.clock.realtime_ns += TIMEOUT_S * NS_PER_S;
    steps(500);
    expect(held() == 0);
    end();
}

/* The disk may become able again to read what it could not: no restart is needed. */
UNIT_TEST(r7_a_block_that_can_be_read_again_lets_pulses_go_on)
{
    struct engine_damage told;
    begin_damaged(710, DAMAGED_TRANSFER);
    node.clock.realtime_ns += (TIMEOUT_S + 1) * NS_PER_S;
    steps(200);
    expect(engine_pulse_damage(node.engine, &told));
    memcpy(
        storage_sim_bytes(&node.sim, STORAGE_GRID) + (told.block_address - 1) * BLOCK_SIZE,
        grid_before + (told.block_address - 1) * BLOCK_SIZE,
        BLOCK_SIZE);
    steps(11000);
    expect(!engine_pulse_damage(node.engine, &told));
    expect(held() == 0);
    end();
}

/* The damaged hold and full pulses of others, which expire later or sooner. Restarts at the end. */
static void
many_are_due(uint32_t timeout, uint64_t held_expected)
{
    struct engine_damage told;
    begin_damaged(720, DAMAGED_TRANSFER);
    for (uint32_t i = 0; i < 3; i++) {
        (void) node_create_transfers(&node, EVENTS_PER_BATCH_MAX, timeout);
        node_settle(&node);
    }
    expect_equal((uint64_t) held(), 3 * EVENTS_PER_BATCH_MAX + 1);
    node.clock.realtime_ns += (TIMEOUT_S + 20) * NS_PER_S;
    steps(1000);
    for (uint32_t i = 0; i < 2; i++) {
        expect(engine_pulse_damage(node.engine, &told));
        expect(!engine_failed(node.engine));
        expect_equal((uint64_t) held(), held_expected);
        node_reopen(&node);
        steps(1000);
    }
    expect(!engine_failed(node.engine));
    end();
}

UNIT_TEST(r7_a_pulse_with_a_damaged_hold_is_not_made)
{
    many_are_due(TIMEOUT_S + 10, 3 * EVENTS_PER_BATCH_MAX + 1);
}

/* Each pulse takes those that are due first: these are full without the damaged one. */
UNIT_TEST(r7_pulses_that_do_not_need_the_block_are_made)
{
    many_are_due(TIMEOUT_S - 10, 1);
}

UNIT_MAIN(test_pulse_damage)
