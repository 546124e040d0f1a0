/* SPDX-License-Identifier: PostgreSQL */
/* Verification of books, indexes and lists: clean ones, and each kind of wrong ones. */
#include "unit/unit.h"

#include "unit/ledger_fixture.h"

#include "forest/internal.h"
#include "forest/watch.h"
#include "ledger/ledger_internal.h"
#include "ledger/verify.h"

/* ==== The books: records are changed behind the ledger's back ================================= */

static struct ledger_fixture fixture;
static struct verify verify;
static void *books_memory;
static struct journal no_journal;

#define ACCOUNTS 40 /* More than a window. */

static void
create(uint8_t operation, const void *events, uint32_t count)
{
    (void) ledger_fixture_add(&fixture, operation, events, count);
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
    ledger_fixture_init(&fixture, NULL);
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
    ledger_fixture_advance(&fixture, 100 * NS_PER_S);
    while (ledger_fixture_pulse(&fixture)) continue;
}

static void
books_end(void)
{
    ledger_fixture_free(&fixture);
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
        if (rows_left > 0) ledger_fixture_progress(&fixture);
    }
}

static void
op_begin(uint32_t event_count)
{
    while (!forest_begin(fixture.forest, event_count)) ledger_fixture_progress(&fixture);
}

static const void *
prefetched(uint32_t groove, uint64_t timestamp)
{
    forest_ask(fixture.forest, groove, timestamp);
    while (forest_prefetch(fixture.forest) == FOREST_WAIT) ledger_fixture_progress(&fixture);
    return forest_get(fixture.forest, groove, timestamp);
}

/* An event of a transfer that was never executed: both made up, as the caller likes. */
static void
make_up(const struct transfer *made, const struct account_event *event)
{
    op_begin(1);
    if (made != NULL) forest_insert(fixture.forest, GROOVE_TRANSFER, made);
    if (event != NULL) forest_insert(fixture.forest, GROOVE_ACCOUNT_EVENT, event);
    ledger_fixture_op_commit(&fixture);
}

/* The model is not asked: it knows nothing of what is changed here. */
static struct account
account_now(u128 id)
{
    struct account account;
    enum forest_found found;
    while ((found = forest_read_by_id(fixture.forest, GROOVE_ACCOUNT, &id, &account)) ==
           FOREST_WAIT) {
        ledger_fixture_progress(&fixture);
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
    const void *old = prefetched(GROOVE_ACCOUNT, account.timestamp);
    account.debits_posted += (u128) debits_posted;
    account.credits_posted += (u128) credits_posted;
    forest_update(fixture.forest, GROOVE_ACCOUNT, old, &account);
    ledger_fixture_op_commit(&fixture);
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
    ledger_fixture_reopen(&fixture);
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

/* A hold that a post has resolved, and then its state is changed without an event. */
static void
change_state(uint8_t status, uint64_t later_ns, struct transfer *held, struct transfer *posted)
{
    books_begin();
    const u128 pending = transfer(3, 4, 50, TRANSFER_PENDING, 0);
    const u128 post = transfer(0, 0, 50, TRANSFER_POST_PENDING, pending);
    expect(ledger_fixture_transfer(&fixture, pending, held));
    expect(ledger_fixture_transfer(&fixture, post, posted));
    op_begin(1);
    const struct transfer_pending *old = prefetched(GROOVE_TRANSFER_PENDING, held->timestamp);
    struct transfer_pending changed = *old;
    changed.status = status;
    changed.resolved_at = status == PENDING_PENDING ? 0 : old->resolved_at + later_ns;
    forest_update(fixture.forest, GROOVE_TRANSFER_PENDING, old, &changed);
    ledger_fixture_op_commit(&fixture);
}

UNIT_TEST(a_hold_of_another_status)
{
    struct transfer held;
    struct transfer posted;
    change_state(PENDING_PENDING, 0, &held, &posted);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_TRANSFER, VERIFY_STATUS, posted.timestamp));
    books_end();
}

/* Both sides tell: there is no event at that time, and the post was at another. */
UNIT_TEST(a_hold_resolved_at_another_time)
{
    struct transfer held;
    struct transfer posted;
    change_state(PENDING_POSTED, 1, &held, &posted);
    expect_equal(books_verify(), 2);
    expect(finds(VERIFY_TRANSFER, VERIFY_STATUS, held.timestamp));
    expect(finds(VERIFY_TRANSFER, VERIFY_STATUS, posted.timestamp));
    books_end();
}

static void
change_flags(u128 id, uint16_t flags)
{
    struct account account = account_now(id);
    op_begin(1);
    const void *old = prefetched(GROOVE_ACCOUNT, account.timestamp);
    account.flags ^= flags;
    forest_update(fixture.forest, GROOVE_ACCOUNT, old, &account);
    ledger_fixture_op_commit(&fixture);
}

/* Both ways, of an account that the last closing transfer left as told. */
static void
expect_closed(u128 id, bool closed)
{
    const struct account account = account_now(id);
    const uint16_t flag = closed ? ACCOUNT_CLOSED : 0;
    expect_equal(account.flags & ACCOUNT_CLOSED, flag);
    expect_equal(books_verify(), 0);
    change_flags(id, ACCOUNT_CLOSED);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_ACCOUNT, VERIFY_FLAGS, account.timestamp));
    expect(verify.findings[0].expected == flag);
    expect(verify.findings[0].found == (flag ^ ACCOUNT_CLOSED));
    change_flags(id, ACCOUNT_CLOSED);
}

/* (Y2) */
UNIT_TEST(y2_closed_is_what_transfers_make_of_it)
{
    books_begin();
    expect_closed(5, false);
    const u128 closes_debit = transfer(4, 5, 2, TRANSFER_PENDING | TRANSFER_CLOSING_DEBIT, 0);
    expect_closed(5, true);
    expect_closed(6, false);
    const u128 closes_credit = transfer(6, 7, 2, TRANSFER_PENDING | TRANSFER_CLOSING_CREDIT, 0);
    expect_closed(7, false);
    expect_closed(8, true);
    transfer(0, 0, 0, TRANSFER_VOID_PENDING, closes_debit);
    expect_closed(5, false);
    transfer(0, 0, 0, TRANSFER_VOID_PENDING, closes_credit);
    expect_closed(8, false);
    const struct transfer expires = {
        .id = 5000,
        .debit_account_id = 9,
        .credit_account_id = 10,
        .amount = 1,
        .ledger = 7,
        .code = 1,
        .flags = TRANSFER_PENDING | TRANSFER_CLOSING_DEBIT | TRANSFER_CLOSING_CREDIT,
        .timeout = 1,
    };
    create(LEDGER_CREATE_TRANSFERS, &expires, 1);
    expect_closed(9, true);
    expect_closed(10, true);
    ledger_fixture_advance(&fixture, 100 * NS_PER_S);
    while (ledger_fixture_pulse(&fixture)) continue;
    expect_closed(9, false);
    expect_closed(10, false);
    /* Created closed: no transfer says so. */
    const struct account account = {.id = 6000, .ledger = 7, .code = 1, .flags = ACCOUNT_CLOSED};
    create(LEDGER_CREATE_ACCOUNTS, &account, 1);
    expect_equal(books_verify(), 0);
    books_end();
}

/* (Y2) */
UNIT_TEST(y2_wrong_flags_of_an_event)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    event.debit_flags = ACCOUNT_CLOSED;
    make_up(&made, &event);
    change_account(1, 5, 0);
    change_account(2, 0, 5);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_EVENT, VERIFY_FLAGS, event.timestamp));
    expect(verify.findings[0].id == 1);
    books_end();
    books_begin();
    change_flags(12, ACCOUNT_HISTORY);
    expect_equal(books_verify(), 1);
    expect_equal(verify.findings[0].kind, VERIFY_EVENT);
    expect_equal(verify.findings[0].what, VERIFY_FLAGS);
    expect(verify.findings[0].id == 12);
    books_end();
}

UNIT_TEST(a_hold_without_state_or_with_another_expiry)
{
    books_begin();
    struct transfer made;
    struct account_event event;
    honest(&made, &event);
    made.flags = TRANSFER_PENDING;
    event.type = CHANGE_TWO_PHASE_PENDING;
    event.debit.debits_posted -= 5;
    event.debit.debits_pending += 5;
    event.credit.credits_posted -= 5;
    event.credit.credits_pending += 5;
    make_up(&made, &event);
    struct account account = account_now(1);
    op_begin(2);
    const void *old = prefetched(GROOVE_ACCOUNT, account.timestamp);
    account.debits_pending += 5;
    forest_update(fixture.forest, GROOVE_ACCOUNT, old, &account);
    account = account_now(2);
    old = prefetched(GROOVE_ACCOUNT, account.timestamp);
    account.credits_pending += 5;
    forest_update(fixture.forest, GROOVE_ACCOUNT, old, &account);
    ledger_fixture_op_commit(&fixture);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_TRANSFER, VERIFY_STATUS, made.timestamp));
    struct transfer_pending state = {
        .timestamp = made.timestamp,
        .expires_at = made.timestamp + 5,
        .status = PENDING_PENDING,
    };
    op_begin(1);
    forest_insert(fixture.forest, GROOVE_TRANSFER_PENDING, &state);
    ledger_fixture_op_commit(&fixture);
    expect_equal(books_verify(), 1);
    expect(finds(VERIFY_TRANSFER, VERIFY_STATUS, made.timestamp));
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

/* ==== Ids and indexes ========================================================================= */

/* All findings of ids and indexes. */
static uint64_t
indexes_verify(void)
{
    verify.forest = fixture.forest;
    verify.finding_count = 0;
    audit_start(verify.audit, fixture.forest);
    for (;;) {
        uint32_t rows_left = 10;
        const enum forest_found found = verify_indexes_step(&verify, &rows_left);
        if (found == FOREST_FOUND) return verify.finding_count;
        assert(found == FOREST_WAIT);
        if (rows_left > 0) ledger_fixture_progress(&fixture);
    }
}

/* Every tree and index of the schema: its name, and whether it has more or other entries. */
UNIT_TEST(wrong_ids_and_indexes_are_named)
{
    for (uint32_t index = 0; index <= ledger_schema.index_count; index++) {
        const bool ids = index == ledger_schema.index_count;
        const char *name = ids ? "transfer" : ledger_schema.indexes[index].name;
        for (uint32_t more = 0; more < 2; more++) {
            books_begin();
            ledger_fixture_reopen(&fixture);
            expect_equal(indexes_verify(), 0);
            const struct account account = {
                .id = 7000,
                .user_data_128 = 1,
                .user_data_64 = 2,
                .user_data_32 = 3,
                .ledger = 4,
                .code = 5,
            };
            create(LEDGER_CREATE_ACCOUNTS, &account, 1);
            const struct transfer hold = {
                .id = 7001,
                .debit_account_id = 1,
                .credit_account_id = 2,
                .amount = 1,
                .user_data_128 = 1,
                .user_data_64 = 2,
                .user_data_32 = 3,
                .timeout = 9,
                .ledger = 7,
                .code = 5,
                .flags = TRANSFER_PENDING,
            };
            create(LEDGER_CREATE_TRANSFERS, &hold, 1);
            ledger_fixture_advance(&fixture, (hold.timeout + 1) * NS_PER_S);
            expect(ledger_fixture_pulse(&fixture));
            struct tail *tail = ids ? &fixture.forest->grooves[GROOVE_TRANSFER].id_tail
                                    : &fixture.forest->indexes[index].tail;
            expect(tail->count > 0);
            if (ids && more) tail_add_id(tail, 7777, 1);
            if (ids && !more) tail->entries.ids[0].timestamp -= 1;
            if (!ids && more) tail_add(tail, UINT64_MAX - 1, 1);
            if (!ids && !more) tail->entries.index[tail->count - 1].value = UINT64_MAX - 1;
            ledger_fixture_reopen(&fixture);
            expect_equal(indexes_verify(), 1);
            expect_equal(verify.findings[0].kind, ids ? VERIFY_IDS : VERIFY_INDEX);
            expect_equal(verify.findings[0].what, more ? VERIFY_COUNT : VERIFY_WRONG);
            expect(verify.findings[0].found == verify.findings[0].expected + more);
            expect(strcmp(verify.findings[0].tree_name, name) == 0);
            books_end();
        }
    }
}

/* ==== The lists =============================================================================== */

UNIT_TEST(a_block_that_leaks)
{
    struct forest_check check;
    books_begin();
    ledger_fixture_reopen(&fixture);
    forest_check(fixture.forest, &check);
    expect_equal(check.table_address, 0);
    expect_equal(check.blocks_listed, check.blocks_taken);
    expect_equal(grid_reserve_now(&fixture.grid, 1), GRID_ROOM);
    const uint64_t leaked = grid_acquire(&fixture.grid);
    forest_check(fixture.forest, &check);
    expect_equal(check.blocks_listed + 1, check.blocks_taken);
    grid_release(&fixture.grid, leaked);
    forest_check(fixture.forest, &check);
    expect_equal(check.blocks_listed, check.blocks_taken);
    books_end();
}

UNIT_MAIN(test_verify)
