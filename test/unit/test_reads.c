/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads that take some time, while ops are committed: what they see, and whom they hold up. In the
 * tests' build everything has to be waited for now and then, and a read gets on by
 * READ_ROWS_PER_POLL rows at most.
 */
#include "unit/unit.h"

#include <string.h>

#include "store/grid.h"
#include "unit/engine_fixture.h"

static struct node node;
static uint32_t accounts; /* Asked for. */

#define ACCOUNTS  20

static void
begin(uint64_t seed)
{
    node_begin(&node, 0, seed, ACCOUNTS);
    accounts = ACCOUNTS;
}

/* Transfers of 1 between accounts 1 … ACCOUNTS. */
static void
create_transfers(uint32_t count)
{
    struct transfer transfers[EVENTS_PER_BATCH_MAX] = {0};
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t debit = prng_below(&node.prng, ACCOUNTS);
        node.id += 1;
        transfers[i] = (struct transfer){
            .id = node.id,
            .debit_account_id = 1 + debit,
            .credit_account_id = 1 + (debit + 1 + prng_below(&node.prng, ACCOUNTS - 1)) % ACCOUNTS,
            .amount = 1,
            .ledger = 1,
            .code = 1,
        };
    }
    (void) node_submit(&node, LEDGER_CREATE_TRANSFERS, transfers, count * EVENT_SIZE);
}

/* A restart, then some load: what the checkpoint has is on the disk, and has to be waited for. */
static void
forget(void)
{
    node_settle(&node);
    node_crash(&node);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED);
    for (uint32_t steps = 0; steps < 12; steps++) {
        if (node_lent(&node) < 4) create_transfers(2);
        node_step(&node);
    }
}

/* Steps under load until the read is answered. Returns how many ops were committed meanwhile. */
static uint64_t
run_until_answered(const struct node_request *read, bool with_accounts)
{
    const uint64_t commit = node_state(&node).commit;
    for (uint32_t steps = 0; read->answers == 0; steps++) {
        assert(steps < NODE_STEPS_MAX);
        if (node_lent(&node) < 4) create_transfers((uint32_t) prng_range(&node.prng, 1, 3));
        if (with_accounts && accounts < RESULTS_MAX && prng_chance(&node.prng, 1, 8)) {
            (void) node_create_accounts(&node, 1);
            accounts += 1;
        }
        node_step(&node);
    }
    expect_equal(read->request.status, ENGINE_OK);
    return read->commit - commit;
}

static struct node_request *
query(uint8_t operation, uint32_t flags)
{
    const struct query_filter filter = {.ledger = 1, .limit = UINT32_MAX, .flags = flags};
    return node_submit(&node, operation, &filter, sizeof(filter));
}

/* The newest transfers there are: up to the end of an op, and none is missing. */
UNIT_TEST(transfers_are_those_of_one_moment)
{
    uint64_t across = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        begin(seed);
        for (uint32_t i = 0; i < 12; i++) create_transfers(3);
        node_settle(&node);
        for (uint32_t round = 0; round < 4; round++) {
            if (round % 2 == 1) forget();
            const uint64_t op_submitted = node_state(&node).commit;
            const struct node_request *read =
                query(LEDGER_QUERY_TRANSFERS, QUERY_FILTER_REVERSED);
            across += run_until_answered(read, false);
            const struct transfer_row *rows = (const void *) read->reply;
            const uint32_t count = read->request.reply_size / (uint32_t) sizeof(rows[0]);
            const uint64_t op = node_op_of(&node, rows[0].transfer.timestamp);
            expect_equal(count, RESULTS_MAX);
            expect(op >= op_submitted && op <= read->commit);
            expect_equal(rows[0].transfer.timestamp, node.log[op].timestamp);
            for (uint32_t row = 1; row < count; row++) {
                const uint64_t after = rows[row - 1].transfer.timestamp;
                const uint64_t op_after = node_op_of(&node, after);
                const struct prepare_header *header = &node.log[op_after];
                const bool first = after - 1 == header->timestamp - header->event_count;
                const uint64_t before = first ? node.log[op_after - 1].timestamp : after - 1;
                expect_equal(rows[row].transfer.timestamp, before);
            }
        }
        node_free(&node);
    }
    expect(across > 120);
}

/* Ids that come into being meanwhile, asked for in any order: one has come only after the other. */
UNIT_TEST(lookups_of_transfers_have_no_gap)
{
    uint32_t found = 0;
    uint32_t absent = 0;
    uint64_t across = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        begin(600 + seed);
        for (uint32_t round = 0; round < 4; round++) {
            if (round % 2 == 1) forget();
            u128 ids[RESULTS_MAX];
            for (uint32_t i = 0; i < RESULTS_MAX; i++) {
                ids[i] = node.id + 1 + i * 7 % RESULTS_MAX;
            }
            for (uint32_t i = 0; i < 24; i++) {
                if (i % 3 == 0) create_transfers(2);
                node_step(&node);
            }
            const struct node_request *read =
                node_submit(&node, LEDGER_LOOKUP_TRANSFERS, ids, sizeof(ids));
            across += run_until_answered(read, false);
            const struct transfer_row *rows = (const void *) read->reply;
            const uint32_t count = read->request.reply_size / (uint32_t) sizeof(rows[0]);
            u128 newest = 0;
            for (uint32_t row = 0; row < count; row++) {
                if (rows[row].transfer.id > newest) newest = rows[row].transfer.id;
            }
            if (count > 0) expect_equal(newest - ids[0] + 1, count);
            found += count;
            absent += RESULTS_MAX - count;
        }
        node_free(&node);
    }
    expect(across > 50 && found > 300 && absent > 300);
}

/* Whatever is moved meanwhile, and whoever joins: debits and credits are equal. */
UNIT_TEST(accounts_are_of_one_state)
{
    uint64_t across = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        begin(100 + seed);
        u128 ids[ACCOUNTS];
        for (uint32_t i = 0; i < ACCOUNTS; i++) ids[i] = 1 + (i * 7 + seed) % ACCOUNTS;
        for (uint32_t round = 0; round < 6; round++) {
            if (round % 2 == 1) forget();
            const struct node_request *read =
                round % 2 == 0 ? node_submit(&node, LEDGER_LOOKUP_ACCOUNTS, ids, sizeof(ids))
                               : query(LEDGER_QUERY_ACCOUNTS, round % 4 == 1);
            across += run_until_answered(read, seed % 2 == 0);
            const struct account *rows = (const void *) read->reply;
            const uint32_t count = read->request.reply_size / (uint32_t) sizeof(rows[0]);
            u128 debits = 0;
            u128 credits = 0;
            for (uint32_t row = 0; row < count; row++) {
                debits += rows[row].debits_posted;
                credits += rows[row].credits_posted;
            }
            expect(count >= ACCOUNTS);
            expect(debits == credits);
            expect(debits >= (round > 0));
        }
        node_free(&node);
    }
    expect(across > 200);
}

/* Accounts come all the time, and might belong into the answer: it is that of its start. */
UNIT_TEST(reads_of_accounts_come_to_an_end_under_load)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        begin(200 + seed);
        const struct node_request *read = query(LEDGER_QUERY_ACCOUNTS, QUERY_FILTER_REVERSED);
        for (uint32_t steps = 0; read->answers == 0; steps++) {
            assert(steps < 300);
            while (node_lent(&node) < 6) (void) node_create_accounts(&node, 1);
            node_step(&node);
        }
        const struct account *rows = (const void *) read->reply;
        const uint64_t op = read->request.instant.op;
        expect_equal(node_op_of(&node, rows[0].timestamp), op);
        expect_equal(rows[0].timestamp, node.log[op].timestamp);
        expect(op <= read->commit);
        node_settle(&node);
        expect_equal(node_lent(&node), 0);
        node_free(&node);
    }
}

UNIT_TEST(more_reads_than_run_at_a_time_are_all_answered)
{
    begin(300);
    for (uint32_t i = 0; i < 40; i++) create_transfers(2);
    node_settle(&node);
    const uint32_t answered_before = node.answered;
    for (uint32_t i = 0; i < 6 * ENGINE_READS_MAX; i++) {
        const u128 id = 1 + i % ACCOUNTS;
        (void) query(LEDGER_QUERY_TRANSFERS, i % 2);
        (void) node_submit(&node, LEDGER_LOOKUP_ACCOUNTS, &id, sizeof(id));
    }
    while (node_lent(&node) > 0) {
        expect(engine_busy(node.engine));
        node_step(&node);
    }
    expect_equal(node.answered - answered_before, 12 * ENGINE_READS_MAX);
    expect(!engine_busy(node.engine));
    for (uint32_t i = answered_before; i < node.request_count; i++) {
        expect_equal(node.requests[i].request.status, ENGINE_OK);
        expect(node.requests[i].request.reply_size > 0);
    }
    node_free(&node);
}

/* ---- Damage ---------------------------------------------------------------------------------- */

/* A transfer that lies in a block of its own kind on the disk, in no log and in no memory. */
static struct transfer old_transfer;

static bool
block_has_transfer(const uint8_t *block, const struct transfer *transfer)
{
    const struct block_header *header = (const void *) block;
    if (header->type != BLOCK_VALUES) return false;
    for (uint32_t at = BLOCK_HEADER_SIZE; at < BLOCK_SIZE; at += sizeof(*transfer)) {
        if (BLOCK_SIZE - at < sizeof(*transfer)) break;
        if (memcmp(block + at, transfer, sizeof(*transfer)) == 0) return true;
    }
    return false;
}

/* The only block on the disk that holds the record; 0 if there is none, or more than one. */
static uint64_t
block_of(const struct transfer *transfer)
{
    const uint64_t count = node.sim.files[STORAGE_GRID].size_bytes / BLOCK_SIZE;
    const uint8_t *blocks = storage_sim_bytes(&node.sim, STORAGE_GRID);
    uint64_t address = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!block_has_transfer(blocks + i * BLOCK_SIZE, transfer)) continue;
        if (address != 0) return 0;
        address = i + 1;
    }
    return address;
}

/*
 * Many transfers, a checkpoint that nothing follows, and a restart, so that memory is empty; then
 * the block of an old transfer rots. Returns the block's address.
 */
static uint64_t
begin_damaged(uint64_t seed)
{
    begin(seed);
    create_transfers(1);
    const u128 id = node.id;
    const struct node_request *read = NULL;
    node_settle(&node);
    struct engine_state state;
    do {
        create_transfers(3);
        node_settle(&node);
        state = node_state(&node);
    } while (state.transfers < 200 || state.checkpoint_op != state.commit);
    read = node_submit(&node, LEDGER_LOOKUP_TRANSFERS, &id, sizeof(id));
    node_settle(&node);
    assert(read->request.reply_size == sizeof(struct transfer_row));
    memcpy(&old_transfer, read->reply, sizeof(old_transfer));

    node_crash(&node);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED && node.report.ops_replayed == 0);
    const uint64_t address = block_of(&old_transfer);
    assert(address != 0);
    storage_sim_rot(
        &node.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE + BLOCK_HEADER_SIZE, 1);
    return address;
}

UNIT_TEST(a_read_that_meets_damage_fails_alone)
{
    const uint64_t address = begin_damaged(400);
    const u128 ids[] = {old_transfer.id + 100, old_transfer.id};
    const struct node_request *before = query(LEDGER_QUERY_ACCOUNTS, 0);
    const struct node_request *lost =
        node_submit(&node, LEDGER_LOOKUP_TRANSFERS, ids, sizeof(ids));
    const struct node_request *scan = query(LEDGER_QUERY_TRANSFERS, 0);
    const struct node_request *sound =
        node_submit(&node, LEDGER_LOOKUP_TRANSFERS, ids, sizeof(ids[0]));
    const struct node_request *newest = query(LEDGER_QUERY_TRANSFERS, QUERY_FILTER_REVERSED);
    create_transfers(3);
    const struct node_request *create = &node.requests[node.request_count - 1];
    node_settle(&node);
    for (uint32_t i = 0; i < 2; i++) {
        const struct node_request *failed = i == 0 ? lost : scan;
        expect_equal(failed->request.status, ENGINE_DAMAGED);
        expect_equal(failed->request.reply_size, 0);
        expect_equal(failed->request.damage.block_address, address);
        expect(failed->request.damage.tree_name != NULL);
        expect(!failed->request.damage.io_error);
    }
    expect(strcmp(lost->request.damage.tree_name, "transfer") == 0);
    expect_equal(before->request.status, ENGINE_OK);
    expect_equal(sound->request.status, ENGINE_OK);
    expect_equal(sound->request.reply_size, sizeof(struct transfer_row));
    expect_equal(newest->request.status, ENGINE_OK);
    expect_equal(newest->request.reply_size, RESULTS_MAX * sizeof(struct transfer_row));
    expect_equal(create->request.status, ENGINE_OK);
    expect_equal(create->status, STATUS_CREATED);
    expect(!engine_failed(node.engine));
    struct engine_damage damage;
    expect(!engine_failed_on_damage(node.engine, &damage));
    struct account account;
    expect(node_account(&node, 1, &account));
    node_free(&node);
}

/* A sector that the disk can't read is told apart from one that holds something else. */
UNIT_TEST(a_read_that_meets_an_unreadable_sector_says_so)
{
    const uint64_t address = begin_damaged(450);
    storage_sim_latent_error(&node.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, 1);
    const struct node_request *lost =
        node_submit(&node, LEDGER_LOOKUP_TRANSFERS, &old_transfer.id, sizeof(old_transfer.id));
    node_settle(&node);
    expect_equal(lost->request.status, ENGINE_DAMAGED);
    expect_equal(lost->request.damage.block_address, address);
    expect(lost->request.damage.io_error);
    expect(!engine_failed(node.engine));
    node_free(&node);
}

/* An op can't be left out: the engine stops and says why, now and when it is opened again. */
UNIT_TEST(an_op_that_meets_damage_stops_the_engine)
{
    const uint64_t address = begin_damaged(500);
    struct transfer again = old_transfer;
    again.timestamp = 0;
    const struct node_request *create =
        node_submit(&node, LEDGER_CREATE_TRANSFERS, &again, sizeof(again));
    const struct node_request *read = NULL;
    for (uint32_t steps = 0; !engine_failed(node.engine); steps++) {
        assert(steps < NODE_STEPS_MAX);
        node_step(&node);
    }
    read = query(LEDGER_QUERY_ACCOUNTS, 0);
    node_step(&node);
    struct engine_damage damage;
    expect(engine_failed_on_damage(node.engine, &damage));
    expect_equal(damage.block_address, address);
    expect(strcmp(damage.tree_name, "transfer") == 0);
    expect_equal(create->request.status, ENGINE_FAILED);
    expect_equal(read->request.status, ENGINE_FAILED);
    node_crash(&node);
    expect_equal(node_open(&node), ENGINE_OPEN_GRID_CORRUPT);
    expect_equal(node.report.block_address, address);
    expect(strcmp(node.report.tree_name, "transfer") == 0);
    node_free(&node);
}

UNIT_MAIN(test_reads)
