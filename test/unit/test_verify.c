/* SPDX-License-Identifier: PostgreSQL */
/* Verification: a clean ledger, and each kind of damage. */
#include "unit/unit.h"

#include "unit/engine_fixture.h"
#include "unit/ledger_fixture.h"

#include "ledger/ledger_internal.h"
#include "ledger/verify.h"
#include "lsm/forest_check.h"

/* ==== The books, over a forest: records are changed behind the ledger's back ================== */

static struct ledger_fixture fixture;
static struct verify verify;
static void *books_memory;
static struct journal no_journal;

#define ACCOUNTS 40 /* More than a window. */

static void
create(uint8_t operation, const void *events, uint32_t count)
{
    struct create_result results[EVENTS_PER_BATCH_MAX];
    fixture_create(&fixture, operation, events, count, results);
    for (uint32_t i = 0; i < count; i++) expect_equal(results[i].status, STATUS_CREATED);
}

static u128 next_id;

static u128
transfer(uint32_t debit, uint32_t credit, uint64_t amount, uint16_t flags, u128 pending)
{
    next_id += 1;
    const bool resolves = flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING);
    const struct transfer event = {
        .id = next_id,
        .debit_account_id = resolves ? 0 : 1 + debit % ACCOUNTS,
        .credit_account_id = resolves ? 0 : 1 + credit % ACCOUNTS,
        .amount = amount,
        .pending_id = pending,
        .ledger = resolves ? 0 : 7,
        .code = resolves ? 0 : 1,
        .flags = flags,
        .timeout = flags == TRANSFER_PENDING && amount % 2 == 1 ? 1 : 0,
    };
    create(LEDGER_CREATE_TRANSFERS, &event, 1);
    return next_id;
}

static void
books_begin(void)
{
    struct arena arena;
    arena_init_measuring(&arena);
    ledger_verify_init(&verify, &arena, &no_journal);
    const uint64_t size = align_up(arena.used_bytes, ARENA_ALIGNMENT);
    books_memory = aligned_alloc(ARENA_ALIGNMENT, size);
    assert(books_memory != NULL);
    memset(books_memory, 0, size);
    arena_init(&arena, books_memory, size);
    ledger_verify_init(&verify, &arena, &no_journal);
    fixture_init(&fixture, NULL);
    next_id = 1000;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        const struct account account = {.id = 1 + i, .ledger = 7, .code = 1};
        create(LEDGER_CREATE_ACCOUNTS, &account, 1);
    }
    for (uint32_t i = 0; i < 60; i++) {
        transfer(i, i + 1 + i % 5, 10 + i, 0, 0);
        const u128 pending = transfer(i * 3, i * 3 + 7, 100 + i * 2, TRANSFER_PENDING, 0);
        if (i % 3 == 0) transfer(0, 0, 50, TRANSFER_POST_PENDING, pending);
        if (i % 3 == 1) transfer(0, 0, 0, TRANSFER_VOID_PENDING, pending);
        transfer(i, i + 9, 5 + i * 2, TRANSFER_PENDING, 0); /* Expires. */
    }
    fixture_advance(&fixture, 100 * NS_PER_S);
    while (fixture_pulse(&fixture)) continue;
}

static void
books_end(void)
{
    fixture_free(&fixture);
    free(books_memory);
}

/* All findings of the books; returns how many. */
static uint64_t
books_verify(void)
{
    verify.forest = fixture.forest;
    verify.finding_count = 0;
    books_start(&verify.books, fixture.forest);
    for (;;) {
        uint32_t rows_left = 10;
        const enum forest_found found = books_step(&verify, &rows_left);
        if (found == FOREST_FOUND) return verify.finding_count;
        assert(found == FOREST_WAIT);
        if (rows_left > 0) fixture_progress(&fixture);
    }
}

static void
op_begin(uint32_t event_count)
{
    while (!forest_begin(fixture.forest, event_count)) fixture_progress(&fixture);
}

static void
op_end(void)
{
    fixture.op += 1;
    while (!forest_commit(fixture.forest, fixture.op)) fixture_progress(&fixture);
}

static const void *
prefetched(uint32_t tree, uint64_t timestamp)
{
    const void *record;
    while (forest_prefetch(fixture.forest, tree, timestamp, &record) == FOREST_WAIT) {
        fixture_progress(&fixture);
    }
    return forest_get(fixture.forest, tree, timestamp);
}

/* An event of a transfer that was never executed: both made up, as the caller likes. */
static void
make_up(const struct transfer *made, const struct account_event *event)
{
    op_begin(1);
    if (made != NULL) forest_insert(fixture.forest, TREE_TRANSFER, made);
    if (event != NULL) forest_insert(fixture.forest, TREE_ACCOUNT_EVENT, event);
    op_end();
}

/* The model is not asked: it knows nothing of what is changed here. */
static struct account
account_now(u128 id)
{
    struct account account;
    enum forest_found found;
    while ((found = forest_read_by_id(fixture.forest, TREE_ACCOUNT, &id, &account)) ==
           FOREST_WAIT) {
        fixture_progress(&fixture);
    }
    assert(found == FOREST_FOUND);
    return account;
}

/* What a transfer of 5 from account 1 to account 2 would be. */
static void
honest(struct transfer *made, struct account_event *event)
{
    const struct account debit = account_now(1);
    const struct account credit = account_now(2);
    fixture.timestamp += 1;
    *made = (struct transfer){
        .id = 999999,
        .debit_account_id = 1,
        .credit_account_id = 2,
        .amount = 5,
        .ledger = 7,
        .code = 1,
        .timestamp = fixture.timestamp,
    };
    *event = (struct account_event){
        .timestamp = fixture.timestamp,
        .transfer_timestamp = fixture.timestamp,
        .debit_account_timestamp = debit.timestamp,
        .credit_account_timestamp = credit.timestamp,
        .debit = {debit.debits_pending, debit.debits_posted + 5, debit.credits_pending,
                  debit.credits_posted},
        .credit = {credit.debits_pending, credit.debits_posted, credit.credits_pending,
                   credit.credits_posted + 5},
        .amount_requested = 5,
    };
}

/* Changes a balance of the account's record. */
static void
change_account(u128 id, int64_t debits_posted, int64_t credits_posted)
{
    struct account account = account_now(id);
    op_begin(1);
    const void *old = prefetched(TREE_ACCOUNT, account.timestamp);
    account.debits_posted += (u128) debits_posted;
    account.credits_posted += (u128) credits_posted;
    forest_update(fixture.forest, TREE_ACCOUNT, old, &account);
    op_end();
}

static bool
finds(enum verify_kind kind, enum verify_what what, uint64_t number)
{
    for (uint64_t i = 0; i < verify.finding_count && i < VERIFY_FINDINGS_MAX; i++) {
        const struct verify_finding *finding = &verify.findings[i];
        if (finding->kind != kind || finding->what != what) continue;
        if (finding->number == number) return true;
    }
    return false;
}

/* (Y1) */
UNIT_TEST(y1_clean_books_have_no_findings)
{
    books_begin();
    expect_equal(books_verify(), 0);
    fixture_reopen(&fixture);
    expect_equal(books_verify(), 0);
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    make_up(&made, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    expect_equal(books_verify(), 0);
    books_end();
}

/* (Y2) */
UNIT_TEST(y2_a_wrong_balance_of_an_account)
{
    books_begin();
    change_account(33, 4, 0);
    const struct account account = account_now(33);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_ACCOUNT, VERIFY_DEBITS_POSTED, account.timestamp));
    expect(verify.findings[0].id == 33);
    expect(verify.findings[0].found == account.debits_posted);
    expect(verify.findings[0].expected == account.debits_posted - 4);
    change_account(33, -4, 0);
    expect_equal(books_verify(), 0);
    books_end();
}

/* (Y2) */
UNIT_TEST(y2_a_wrong_balance_of_an_event)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    event.credit.credits_posted += 1;
    make_up(&made, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_EVENT, VERIFY_CREDITS_POSTED, event.timestamp));
    expect(verify.findings[0].id == 2);
    books_end();
}

UNIT_TEST(a_wrong_amount_of_a_transfer)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    made.amount = 6;
    make_up(&made, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    /* Both sides of it are one finding. */
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_EVENT, VERIFY_DEBITS_POSTED, event.timestamp));
    books_end();
}

UNIT_TEST(a_transfer_that_is_missing)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    make_up(NULL, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    expect_equal(books_verify(), 2);
    expect(finds(VERIFY_TRANSFER, VERIFY_MISSING, event.timestamp));
    expect(finds(VERIFY_TRANSFER, VERIFY_COUNT, 0));
    books_end();
}

UNIT_TEST(a_transfer_without_event)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    make_up(&made, NULL);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_TRANSFER, VERIFY_COUNT, 0));
    books_end();
}

UNIT_TEST(a_transfer_of_other_accounts)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    made.debit_account_id = 3;
    make_up(&made, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_TRANSFER, VERIFY_MISFILED, event.timestamp));
    books_end();
}

UNIT_TEST(an_event_of_another_type)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    event.type = CHANGE_TWO_PHASE_PENDING;
    make_up(&made, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_EVENT, VERIFY_TYPE, event.timestamp));
    books_end();
}

/* Money that comes from nowhere. */
UNIT_TEST(an_event_of_an_account_that_does_not_exist)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    event.debit_account_timestamp -= 1;
    make_up(&made, &event);
    change_account(2, 0, 5);
    (void) books_verify();
    expect_equal(verify.finding_count, 2);
    expect(finds(VERIFY_EVENT, VERIFY_MISSING, event.timestamp));
    expect(finds(VERIFY_LEDGER, VERIFY_DEBITS_POSTED, 7));
    books_end();
}

UNIT_TEST(a_hold_of_another_status)
{
    books_begin();
    const u128 pending = transfer(3, 4, 50, TRANSFER_PENDING, 0);
    const u128 post = transfer(0, 0, 50, TRANSFER_POST_PENDING, pending);
    struct transfer stored;
    struct transfer posted;
    expect(fixture_transfer(&fixture, pending, &stored));
    expect(fixture_transfer(&fixture, post, &posted));
    op_begin(1);
    const struct transfer_pending *old = prefetched(TREE_TRANSFER_PENDING, stored.timestamp);
    struct transfer_pending changed = *old;
    changed.status = PENDING_PENDING;
    forest_update(fixture.forest, TREE_TRANSFER_PENDING, old, &changed);
    op_end();
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_TRANSFER, VERIFY_STATUS, posted.timestamp));
    books_end();
}

UNIT_TEST(findings_beyond_the_room_are_counted)
{
    books_begin();
    for (u128 id = 1; id <= ACCOUNTS; id++) change_account(id, 1, 1);
    expect_equal(books_verify(), ACCOUNTS);
    struct verify_finding rows[VERIFY_FINDINGS_MAX + 3];
    uint32_t size = ledger_verify_reply(&verify, rows, sizeof(rows));
    expect_equal(size / sizeof(rows[0]), VERIFY_FINDINGS_MAX + 1);
    expect_equal(rows[VERIFY_FINDINGS_MAX].kind, VERIFY_MORE);
    expect_equal(rows[VERIFY_FINDINGS_MAX].number, ACCOUNTS - VERIFY_FINDINGS_MAX);
    size = ledger_verify_reply(&verify, rows, 3 * sizeof(rows[0]));
    expect_equal(size / sizeof(rows[0]), 3);
    expect_equal(rows[2].kind, VERIFY_MORE);
    expect_equal(rows[2].number, ACCOUNTS - 2);
    books_end();
}

/* ==== The lists =============================================================================== */

UNIT_TEST(a_block_that_leaks)
{
    struct forest_check check;
    books_begin();
    fixture_reopen(&fixture);
    forest_check(fixture.forest, &check);
    expect_equal(check.table_address, 0);
    expect_equal(check.blocks_listed, check.blocks_taken);
    expect_equal(grid_reserve(&fixture.grid, 1), STORAGE_OK);
    const uint64_t leaked = grid_acquire(&fixture.grid);
    forest_check(fixture.forest, &check);
    expect_equal(check.blocks_listed + 1, check.blocks_taken);
    grid_release(&fixture.grid, leaked);
    forest_check(fixture.forest, &check);
    expect_equal(check.blocks_listed, check.blocks_taken);
    books_end();
}

/* ==== Everything, through the engine ========================================================== */

static struct node node;

#define RING_SIZE (UINT64_C(64) * SECTOR_SIZE)

static void
node_begin(uint64_t seed)
{
    node_init(&node, RING_SIZE, 8 * MIB, seed);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED);
    node_latency(&node, 0, 2);
    (void) node_create_accounts(&node, 20);
    node_settle(&node);
}

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
    node_begin(1);
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
    node_begin(2);
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
        storage_sim_bytes(&node.sim, STORAGE_PREPARES) + head->position % RING_SIZE;
    prepare[PREPARE_HEADER_SIZE + 3] ^= 1;
    expect_equal(verify_finish(verify_start(), &first), 1);
    expect_equal(first.kind, VERIFY_JOURNAL);
    expect_equal(first.what, VERIFY_CORRUPT);
    expect_equal(first.number, head->op);
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

/* (J5) Nor does it hold the log for longer than that: whoever asked may have given up meanwhile. */
UNIT_TEST(j5_a_verification_that_is_given_up_holds_no_log)
{
    node_init(&node, PREPARES_SIZE_MIN, 8 * MIB, 3);
    expect_equal(node_open(&node), ENGINE_OPENED);
    (void) node_create_accounts(&node, 2);
    node_settle(&node);
    node_latency(&node, 0, 9);
    for (uint32_t after = 0; after < 120; after++) {
        node.request_count = 0; /* Nothing is lent. */
        node.answered = 0;
        struct node_request *given_up = node_submit(&node, LEDGER_VERIFY, "", 0);
        for (uint32_t i = 0; i < after && given_up->answers == 0; i++) node_step(&node);
        (void) engine_poll(node.engine);
        if (given_up->answers == 0) expect(engine_cancel(node.engine, &given_up->request));
        for (uint32_t lap = 0; lap < 12; lap++) {
            (void) node_create_transfers(&node, EVENTS_PER_BATCH_MAX, 0);
            node_settle(&node);
        }
    }
    node_free(&node);
}

UNIT_TEST(one_at_a_time_and_given_up)
{
    struct verify_finding first;
    node_begin(4);
    node_fill(10);
    struct node_request *one = node_submit(&node, LEDGER_VERIFY, "", 0);
    struct node_request *two = node_submit(&node, LEDGER_VERIFY, "", 0);
    for (uint32_t i = 0; i < 5; i++) node_step(&node);
    expect_equal(two->answers, 1);
    expect_equal(two->request.status, ENGINE_INVALID);
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
    node_begin(5);
    node_fill(30);
    expect_equal(node_state(&node).scrub_tours, 0);
    engine_scrub(node.engine, 2 * NS_PER_S);
    uint64_t last = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        if (i % ENGINE_TICK_MS == 0) engine_tick(node.engine);
        node_step(&node);
        const struct engine_state state = node_state(&node);
        expect(state.scrub_tour_blocks <= state.scrub_blocks_total);
        last = state.scrub_tours;
    }
    /* Ten seconds. */
    expect(last == 4 || last == 5);
    expect(node_state(&node).scrub_tour_ended > NODE_START_NS);
    engine_scrub(node.engine, 0);
    for (uint32_t i = 0; i < 5000; i++) {
        if (i % ENGINE_TICK_MS == 0) engine_tick(node.engine);
        node_step(&node);
    }
    expect_equal(node_state(&node).scrub_tours, last);
    expect_equal(node_state(&node).damaged_blocks, 0);
    node_free(&node);
}

UNIT_MAIN(test_verify)
