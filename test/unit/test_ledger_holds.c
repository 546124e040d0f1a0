/* SPDX-License-Identifier: PostgreSQL */
/* What became of holds, and lists of them. The fixture compares each answer with the model's. */
#include "unit/unit.h"

#include "base/units.h"
#include "ledger/ledger_internal.h"
#include "unit/ledger_fixture.h"

static struct ledger_fixture fixture;

static struct transfer_row rows[FIXTURE_REPLY_SIZE_MAX / sizeof(struct transfer_row) + 1];

/* Accounts 1 … 4; 4 is of another ledger, as is 5. None has the flag history. */
static void
start(void)
{
    ledger_fixture_init(&fixture, NULL);
    for (uint64_t id = 1; id <= 5; id++) {
        const struct account account = {.id = id, .ledger = id < 4 ? 1 : 2, .code = 1};
        (void) ledger_fixture_add(&fixture, LEDGER_CREATE_ACCOUNTS, &account, 1);
    }
}

static uint64_t
create(struct transfer transfer)
{
    transfer.code = 1;
    return ledger_fixture_add(&fixture, LEDGER_CREATE_TRANSFERS, &transfer, 1);
}

static uint64_t
hold(uint64_t id, uint64_t debit, uint64_t credit, uint32_t timeout)
{
    return create((struct transfer){
        .id = id,
        .debit_account_id = debit,
        .credit_account_id = credit,
        .amount = 10,
        .ledger = debit < 4 ? 1 : 2,
        .timeout = timeout,
        .flags = TRANSFER_PENDING,
    });
}

static uint64_t
resolve(uint64_t id, uint64_t hold_id, uint16_t flags)
{
    return create((struct transfer){
        .id = id, .pending_id = hold_id, .amount = flags & TRANSFER_POST_PENDING ? 3 : 0,
        .flags = flags});
}

static uint32_t
holds(struct hold_filter filter)
{
    if (filter.limit == 0) filter.limit = UINT32_MAX;
    return ledger_fixture_read(&fixture, LEDGER_QUERY_HOLDS, &filter, sizeof(filter), rows) /
           (uint32_t) sizeof(rows[0]);
}

static void
expire(uint64_t seconds)
{
    ledger_fixture_advance(&fixture, seconds * NS_PER_S);
    while (ledger_fixture_pulse(&fixture))
        continue;
}

UNIT_TEST(transfers_say_what_became_of_them)
{
    start();
    const uint64_t held = hold(10, 1, 2, 5);
    (void) hold(11, 1, 2, 0);
    (void) hold(12, 1, 2, 60);
    (void) hold(13, 1, 2, 0);
    const uint64_t posted = resolve(20, 11, TRANSFER_POST_PENDING);
    const uint64_t voided = resolve(21, 12, TRANSFER_VOID_PENDING);
    expire(5);
    const u128 ids[] = {10, 11, 12, 13, 20, 21};
    const uint32_t size =
        ledger_fixture_read(&fixture, LEDGER_LOOKUP_TRANSFERS, ids, sizeof(ids), rows);
    expect_equal(size, 6 * sizeof(rows[0]));
    expect_equal(rows[0].state, PENDING_EXPIRED);
    expect_equal(rows[0].expires_at, held + 5 * NS_PER_S);
    expect(rows[0].resolved_at >= rows[0].expires_at);
    expect_equal(rows[0].resolved_by, 0);
    expect_equal(rows[1].state, PENDING_POSTED);
    expect_equal(rows[1].expires_at, 0);
    expect_equal(rows[1].resolved_at, posted);
    expect_equal(rows[1].resolved_by, 20);
    expect_equal(rows[2].state, PENDING_VOIDED);
    expect_equal(rows[2].resolved_at, voided);
    expect_equal(rows[2].resolved_by, 21);
    expect(rows[2].expires_at > voided);
    expect_equal(rows[3].state, PENDING_PENDING);
    expect_equal(rows[3].resolved_at, 0);
    expect_equal(rows[4].state, PENDING_NONE);
    expect_equal(rows[5].resolved_at, 0);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_TEST(what_resolved_a_hold_is_found_by_its_id)
{
    static struct change_event events[FIXTURE_REPLY_SIZE_MAX / sizeof(struct change_event) + 1];
    start();
    (void) hold(10, 1, 2, 1);
    (void) hold(11, 1, 2, 0);
    (void) hold(12, 1, 2, 0);
    (void) resolve(20, 11, TRANSFER_POST_PENDING);
    expire(1);
    const u128 ids[] = {10, 11, 12, 20, 99};
    uint32_t size =
        ledger_fixture_read(&fixture, LEDGER_LOOKUP_RESOLUTIONS, ids, sizeof(ids), rows);
    expect_equal(size, sizeof(rows[0]));
    expect_equal(rows[0].transfer.id, 20);
    size = ledger_fixture_read(&fixture, LEDGER_LOOKUP_CHANGE_EVENTS, ids, sizeof(ids), events);
    expect_equal(size, 5 * sizeof(events[0]));
    expect_equal(events[0].type, CHANGE_TWO_PHASE_PENDING);
    expect_equal(events[1].type, CHANGE_TWO_PHASE_EXPIRED);
    expect_equal(events[1].transfer_id, 10);
    expect_equal(events[4].transfer_id, 20);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_TEST(open_holds_of_accounts_ledgers_and_times_are_listed)
{
    start();
    for (uint64_t i = 0; i < 12; i++) {
        (void) hold(100 + i, 1 + i % 3, 1 + (i + 1) % 3, i % 4 == 0 ? 0 : 12 - (uint32_t) i);
    }
    (void) hold(200, 4, 5, 3);
    (void) resolve(300, 103, TRANSFER_VOID_PENDING);
    const uint8_t open = 1 << PENDING_PENDING;
    expect_equal(holds((struct hold_filter){.debit_account_id = 1, .states = open}), 3);
    expect_equal(rows[0].transfer.id, 100);
    expect_equal(holds((struct hold_filter){.debit_account_id = 1}), 4);
    expect_equal(holds((struct hold_filter){.credit_account_id = 5, .states = open}), 1);
    expect_equal(holds((struct hold_filter){.ledger = 2, .states = open}), 1);
    expect_equal(holds((struct hold_filter){.states = open}), 12);
    expect_equal(
        holds((struct hold_filter){.states = open, .flags = HOLD_FILTER_REVERSED, .limit = 1}), 1);
    expect_equal(rows[0].transfer.id, 200);
    expect_equal(
        holds((struct hold_filter){.ledger = 1, .debit_account_id = 4, .states = open}), 0);
    /* By expiry, a page of two at a time. */
    struct hold_filter filter = {.states = open, .flags = HOLD_FILTER_BY_EXPIRY, .limit = 2};
    uint32_t listed = 0;
    uint64_t expires_at = 0;
    for (uint32_t count = holds(filter); count > 0; count = holds(filter)) {
        for (uint32_t i = 0; i < count; i++) {
            expect(rows[i].expires_at >= expires_at);
            expires_at = rows[i].expires_at;
        }
        filter.expires_min = expires_at;
        filter.after_timestamp = rows[count - 1].transfer.timestamp;
        listed += count;
    }
    expect_equal(listed, 9);
    /* Those that are due are gone from the list, and the list begins behind them. */
    expire(5);
    expect(
        holds((struct hold_filter){.states = open, .flags = HOLD_FILTER_BY_EXPIRY}) < listed);
    expect(rows[0].expires_at > ledger_pulsed(fixture.forest).value);
    expect(holds((struct hold_filter){.states = 1 << PENDING_EXPIRED}) > 0);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* The newest row of balances is what the account says, at any time; also without history. */
UNIT_TEST(balances_have_a_row_for_each_expiry)
{
    static struct account_balance
        balances[FIXTURE_REPLY_SIZE_MAX / sizeof(struct account_balance) + 1];
    start();
    const struct account_filter newest = {
        .account_id = 1,
        .limit = 1,
        .flags = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS | ACCOUNT_FILTER_REVERSED |
                 ACCOUNT_FILTER_EXPIRIES,
    };
    for (uint64_t i = 0; i < 8; i++) {
        struct account account;
        if (i < 4) (void) hold(10 + i, i % 2 == 0 ? 1 : 2, i % 2 == 0 ? 2 : 1, 1 + (uint32_t) i);
        expire(1);
        expect(ledger_fixture_account(&fixture, 1, &account));
        const uint32_t size = ledger_fixture_read(
            &fixture, LEDGER_GET_ACCOUNT_BALANCES, &newest, sizeof(newest), balances);
        expect_equal(size, sizeof(balances[0]));
        expect_equal(balances[0].balances.debits_pending, account.debits_pending);
        expect_equal(balances[0].balances.credits_pending, account.credits_pending);
    }
    struct account_filter all = newest;
    all.limit = UINT32_MAX;
    uint32_t size =
        ledger_fixture_read(&fixture, LEDGER_GET_ACCOUNT_BALANCES, &all, sizeof(all), balances);
    expect_equal(size, 8 * sizeof(balances[0]));
    all.flags ^= ACCOUNT_FILTER_EXPIRIES;
    size = ledger_fixture_read(&fixture, LEDGER_GET_ACCOUNT_BALANCES, &all, sizeof(all), balances);
    expect_equal(size, 0); /* The public model: without history there is nothing. */
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_TEST(filters_of_holds_that_make_no_sense_are_refused)
{
    const struct hold_filter good = {.limit = 1};
    struct hold_filter bad = good;
    expect(hold_filter_check(&good) == NULL);
    bad.limit = 0;
    expect(hold_filter_check(&bad) != NULL);
    bad = (struct hold_filter){.limit = 1, .states = 1};
    expect(hold_filter_check(&bad) != NULL);
    bad = (struct hold_filter){
        .limit = 1, .flags = HOLD_FILTER_REVERSED | HOLD_FILTER_BY_EXPIRY};
    expect(hold_filter_check(&bad) != NULL);
    bad = (struct hold_filter){.limit = 1, .after_timestamp = 1};
    expect(hold_filter_check(&bad) != NULL);
    bad = (struct hold_filter){.limit = 1, .expires_min = 2, .expires_max = 1};
    expect(hold_filter_check(&bad) != NULL);
    for (uint32_t i = 0; i < sizeof(good.reserved); i++) {
        bad = good;
        bad.reserved[i] = 1;
        expect(hold_filter_check(&bad) != NULL);
    }
    const struct account_filter transfers = {
        .account_id = 1, .limit = 1, .flags = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_EXPIRIES};
    const void *input = &transfers;
    expect(ledger_read_check(LEDGER_GET_ACCOUNT_TRANSFERS, input, sizeof(transfers)) != NULL);
    expect(ledger_read_check(LEDGER_GET_ACCOUNT_BALANCES, input, sizeof(transfers)) == NULL);
}

UNIT_MAIN(test_ledger_holds)
