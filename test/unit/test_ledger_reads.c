/* SPDX-License-Identifier: PostgreSQL */
/* Reads of the state machine: what the model can't show, or random work rarely meets. */
#include "unit/unit.h"

#include "base/units.h"
#include "lsm/filter.h"
#include "unit/ledger_fixture.h"

static struct ledger_fixture fixture;

/* Accounts 1 … count, with history; user_data_128 is the id. */
static void
start(uint64_t count)
{
    ledger_fixture_init(&fixture, NULL);
    for (uint64_t id = 1; id <= count; id++) {
        const struct account account = {
            .id = id, .ledger = 1, .code = 1, .flags = ACCOUNT_HISTORY, .user_data_128 = id};
        (void) ledger_fixture_add(&fixture, LEDGER_CREATE_ACCOUNTS, &account, 1);
    }
}

/* From account 1. */
static void
create(uint64_t id, uint64_t credit_account_id, uint64_t user_data_128)
{
    const struct transfer transfer = {
        .id = id,
        .debit_account_id = 1,
        .credit_account_id = credit_account_id,
        .amount = id,
        .user_data_128 = user_data_128,
        .ledger = 1,
        .code = 1,
    };
    (void) ledger_fixture_add(&fixture, LEDGER_CREATE_TRANSFERS, &transfer, 1);
}

UNIT_TEST(answers_fit_the_reply_whatever_its_alignment)
{
    start(2);
    for (uint64_t i = 0; i < 5; i++) create(10 + i, 2, 0);
    const struct account_filter filter = {
        .account_id = 2,
        .limit = 4,
        .flags = ACCOUNT_FILTER_CREDITS | ACCOUNT_FILTER_REVERSED,
    };
    char input[1 + sizeof(filter)];
    memcpy(input + 1, &filter, sizeof(filter));
    char reply[1 + 8 * sizeof(struct transfer_row)];
    for (uint32_t room = 0; room <= 8 * sizeof(struct transfer_row); room += 32) {
        const struct ledger_question question = {
            .operation = LEDGER_GET_ACCOUNT_TRANSFERS,
            .input = input + 1,
            .input_size = sizeof(filter),
            .reply = reply + 1,
            .reply_size_max = room,
        };
        const uint32_t size = ledger_fixture_ask(&fixture, &question);
        const uint32_t rows = (uint32_t) min_u64(room / sizeof(struct transfer_row), 4);
        expect_equal(size, rows * sizeof(struct transfer_row));
        for (uint32_t i = 0; i < rows; i++) {
            struct transfer_row row;
            memcpy(&row, reply + 1 + i * sizeof(row), sizeof(row));
            expect_equal(row.transfer.id, 14 - i);
        }
    }
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* The next value that an index of a 16-byte field gives, too, where this one is asked for. */
static uint64_t
twin_of(uint64_t value)
{
    uint64_t twin = value + 1;
    while ((filter_hash(twin) ^ filter_hash(value)) >> (64 - INDEX_HASH_BITS) != 0) twin += 1;
    return twin;
}

/*
 * Indexes of 16-byte fields give other values too. They are left out, and the limit counts what is
 * not. The fixture compares with the model.
 */
UNIT_TEST(queries_leave_out_what_an_index_gives_too_much)
{
    static struct transfer_row rows[FIXTURE_REPLY_SIZE_MAX / sizeof(struct transfer_row) + 1];
    const uint64_t accounts[] = {2, twin_of(2)};
    const uint64_t marks[] = {8, twin_of(8)};
    start(accounts[1]);
    for (uint64_t i = 0; i < 20; i++) create(10 + i, accounts[i % 2], marks[i / 2 % 2]);
    for (uint32_t i = 0; i < 64; i++) {
        const struct account_filter filter = {
            .account_id = accounts[i % 2],
            .user_data_128 = i & 2 ? marks[i >> 5] : 0,
            .limit = i & 4 ? 3 : UINT32_MAX,
            .flags = ACCOUNT_FILTER_CREDITS | (i & 8 ? ACCOUNT_FILTER_DEBITS : 0) |
                     (i & 16 ? ACCOUNT_FILTER_REVERSED : 0),
        };
        const uint32_t size = ledger_fixture_read(
            &fixture, LEDGER_GET_ACCOUNT_TRANSFERS, &filter, sizeof(filter), rows);
        const uint32_t count = size / (uint32_t) sizeof(rows[0]);
        expect_equal(count, i & 4 ? 3 : i & 2 ? 5 : 10);
        for (uint32_t row = 0; row < count; row++) {
            expect(rows[row].transfer.credit_account_id == filter.account_id);
        }
        (void) ledger_fixture_read(
            &fixture, LEDGER_GET_ACCOUNT_BALANCES, &filter, sizeof(filter), rows);
        const struct query_filter query = {
            .user_data_128 = i % 8 < 2 ? marks[i % 8] : 2 + i % 8,
            .limit = filter.limit,
            .flags = i >> 5,
        };
        (void) ledger_fixture_read(&fixture, LEDGER_QUERY_TRANSFERS, &query, sizeof(query), rows);
        (void) ledger_fixture_read(&fixture, LEDGER_QUERY_ACCOUNTS, &query, sizeof(query), rows);
    }
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* The index of debits gives an account what its twin paid, also what that paid to it. */
UNIT_TEST(balances_are_of_the_side_that_is_asked_for)
{
    static struct account_balance rows[FIXTURE_REPLY_SIZE_MAX / sizeof(struct account_balance)];
    const uint64_t twin = twin_of(3);
    start(twin);
    for (uint64_t i = 0; i < 12; i++) {
        struct create_result result;
        const struct transfer transfer = {
            .id = 10 + i,
            .debit_account_id = i % 3 == 0 ? 3 : twin,
            .credit_account_id = i % 3 == 0 ? twin : 3,
            .amount = 1,
            .user_data_128 = i % 2,
            .ledger = 1,
            .code = 1,
        };
        ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, &transfer, 1, &result);
        expect_equal(result.status, STATUS_CREATED);
    }
    for (uint32_t flags = 1; flags <= (ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS); flags++) {
        for (uint32_t user_data = 0; user_data <= 1; user_data++) {
            const struct account_filter filter = {
                .account_id = 3,
                .user_data_128 = user_data,
                .limit = UINT32_MAX,
                .flags = flags,
            };
            const uint32_t size = ledger_fixture_read(
                &fixture, LEDGER_GET_ACCOUNT_BALANCES, &filter, sizeof(filter), rows);
            const uint32_t debits = flags & ACCOUNT_FILTER_DEBITS ? 4 : 0;
            const uint32_t credits = flags & ACCOUNT_FILTER_CREDITS ? 8 : 0;
            expect_equal(size / sizeof(rows[0]), (debits + credits) / (user_data + 1));
        }
    }
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_MAIN(test_ledger_reads)
