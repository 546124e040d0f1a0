/* SPDX-License-Identifier: PostgreSQL */
/* Lookups, queries and change events by example. */
#include "base/units.h"
#include "config.h"
#include "unit/accounting_table.h"
#include "unit/ledger_fixture.h"
#include "unit/unit.h"

/* ---- Account transfers and balances ---------------------------------------------------------- */

#define SINGLE_PHASE                                                                               \
    "account 1 history -> created\n"                                                               \
    "account 2 history -> created\n"                                                               \
    "account 3 -> created\n"                                                                       \
    "transfer 1 1>2 amount=10 code=1 user_data_128=7 -> created\n"                                 \
    "transfer 2 2>1 amount=1 code=2 user_data_64=8 -> created\n"                                   \
    "transfer 3 1>3 amount=20 code=1 user_data_32=9 -> created\n"                                  \
    "transfer 4 3>1 amount=2 code=2 user_data_128=7 user_data_64=8 user_data_32=9 -> created\n"    \
    "transfer 5 2>3 amount=5 code=1 -> created\n"                                                  \
    "transfer 6 1>2 amount=30 code=2 user_data_128=7 user_data_64=8 -> created\n"                  \
    "commit\n"

UNIT_TEST(account_transfers_are_found_by_side_field_window_and_limit)
{
    check(SINGLE_PHASE
          "get_account_transfers account_id=1 debits credits -> 1 2 3 4 6\n"
          "get_account_transfers account_id=1 debits -> 1 3 6\n"
          "get_account_transfers account_id=1 credits -> 2 4\n"
          "get_account_transfers account_id=1 debits credits reversed -> 6 4 3 2 1\n"
          "get_account_transfers account_id=1 debits credits limit=2 -> 1 2\n"
          "get_account_transfers account_id=1 debits credits limit=2 reversed -> 6 4\n"
          "get_account_transfers account_id=1 debits credits limit=max -> 1 2 3 4 6\n"
          "get_account_transfers account_id=1 debits credits timestamp_min=@t3 -> 3 4 6\n"
          "get_account_transfers account_id=1 debits credits timestamp_min=@t3+1 -> 4 6\n"
          "get_account_transfers account_id=1 debits credits timestamp_max=@t3 -> 1 2 3\n"
          "get_account_transfers account_id=1 debits credits timestamp_max=@t3-1 reversed -> 2 1\n"
          "get_account_transfers account_id=1 debits credits timestamp_min=@t3 timestamp_max=@t3"
          " -> 3\n"
          "get_account_transfers account_id=1 debits credits timestamp_min=@t5 timestamp_max=@t5"
          " ->\n"
          "get_account_transfers account_id=1 debits credits timestamp_min=max63 ->\n"
          "get_account_transfers account_id=1 debits credits timestamp_max=1 ->\n"
          "get_account_transfers account_id=1 debits credits code=1 -> 1 3\n"
          "get_account_transfers account_id=1 debits credits code=2 reversed -> 6 4 2\n"
          "get_account_transfers account_id=1 debits credits code=3 ->\n"
          "get_account_transfers account_id=1 debits credits user_data_128=7 -> 1 4 6\n"
          "get_account_transfers account_id=1 debits credits user_data_64=8 -> 2 4 6\n"
          "get_account_transfers account_id=1 debits credits user_data_32=9 -> 3 4\n"
          "get_account_transfers account_id=1 debits credits user_data_128=7 user_data_64=8"
          " -> 4 6\n"
          "get_account_transfers account_id=1 debits credits user_data_128=7 user_data_64=8"
          " user_data_32=9 code=2 -> 4\n"
          "get_account_transfers account_id=1 debits user_data_128=7 user_data_64=8 code=2"
          " timestamp_min=@t2 limit=1 -> 6\n"
          "get_account_transfers account_id=1 debits user_data_32=9 user_data_64=8 ->\n"
          "get_account_transfers account_id=3 debits credits -> 3 4 5\n"
          "get_account_transfers account_id=9 debits credits ->\n");
}

UNIT_TEST(account_balances_are_those_after_each_transfer_found)
{
    check(SINGLE_PHASE
          "get_account_balances account_id=1 debits credits"
          " -> 1:0/10/0/0 2:0/10/0/1 3:0/30/0/1 4:0/30/0/3 6:0/60/0/3\n"
          "get_account_balances account_id=1 debits -> 1:0/10/0/0 3:0/30/0/1 6:0/60/0/3\n"
          "get_account_balances account_id=1 credits reversed -> 4:0/30/0/3 2:0/10/0/1\n"
          "get_account_balances account_id=1 debits credits limit=1 reversed -> 6:0/60/0/3\n"
          "get_account_balances account_id=1 debits credits timestamp_min=@t4 limit=1"
          " -> 4:0/30/0/3\n"
          "get_account_balances account_id=1 debits credits code=2 user_data_128=7"
          " -> 4:0/30/0/3 6:0/60/0/3\n"
          "get_account_balances account_id=2 debits credits"
          " -> 1:0/0/0/10 2:0/1/0/10 5:0/6/0/10 6:0/6/0/40\n"
          "get_account_balances account_id=3 debits credits ->\n"
          "get_account_balances account_id=9 debits credits ->\n");
}

UNIT_TEST(two_phase_transfers_are_listed_with_their_resolutions_and_not_their_expiry)
{
    check("account 1 history -> created\n"
          "account 2 history -> created\n"
          "transfer 1 1>2 amount=10 pending timeout=1 -> created\n"
          "transfer 2 1>2 amount=20 pending -> created\n"
          "transfer 3 2>1 amount=5 pending -> created\n"
          "transfer 4 post_pending_transfer pending_id=2 amount=15 -> created\n"
          "tick 2s\n"
          "transfer 5 void_pending_transfer pending_id=3 -> created\n"
          "get_account_transfers account_id=1 debits credits -> 1 2 3 4 5\n"
          "get_account_transfers account_id=1 debits -> 1 2 4\n"
          "get_account_transfers account_id=1 credits reversed -> 5 3\n"
          "get_account_balances account_id=1 debits credits"
          " -> 1:10/0/0/0 2:30/0/0/0 3:30/0/5/0 4:10/15/5/0 5:0/15/0/0\n"
          "get_account_balances account_id=2 credits reversed"
          " -> 4:5/0/10/15 2:0/0/30/0 1:0/0/10/0\n");
}

UNIT_TEST(account_filter_that_makes_no_sense_is_invalid)
{
    static const char *const filters[] = {
        "account_id=0 debits credits",
        "account_id=max debits credits",
        "account_id=1",
        "account_id=1 reversed",
        "account_id=1 debits flags=17",
        "account_id=1 debits flags=0x80000001",
        "account_id=1 debits limit=0",
        "account_id=1 debits timestamp_min=max",
        "account_id=1 debits timestamp_max=max",
        "account_id=1 debits timestamp_min=max63+1",
        "account_id=1 debits timestamp_max=max63+1",
        "account_id=1 debits timestamp_min=2 timestamp_max=1",
        "account_id=1 debits reserved=1",
    };
    for (size_t i = 0; i < ARRAY_COUNT(filters); i++) {
        char script[256];
        snprintf(
            script,
            sizeof(script),
            "get_account_transfers %s -> invalid\nget_account_balances %s -> invalid\n",
            filters[i],
            filters[i]);
        check(script);
    }
}

/* ---- Queries --------------------------------------------------------------------------------- */

UNIT_TEST(accounts_are_found_by_all_fields_given)
{
    check("account 1 user_data_128=1 user_data_64=2 user_data_32=3 ledger=4 code=5 -> created\n"
          "account 2 user_data_128=1 user_data_64=9 user_data_32=9 ledger=9 code=9 -> created\n"
          "account 3 user_data_128=9 user_data_64=2 user_data_32=3 ledger=4 code=5 -> created\n"
          "account 4 user_data_128=1 user_data_64=2 user_data_32=9 ledger=4 code=9 -> created\n"
          "account 5 ledger=4 code=5 -> created\n"
          "query_accounts -> 1 2 3 4 5\n"
          "query_accounts reversed -> 5 4 3 2 1\n"
          "query_accounts limit=2 -> 1 2\n"
          "query_accounts limit=2 reversed -> 5 4\n"
          "query_accounts timestamp_min=@a2 timestamp_max=@a4 -> 2 3 4\n"
          "query_accounts timestamp_min=@a2+1 timestamp_max=@a4-1 -> 3\n"
          "query_accounts timestamp_max=@a3 reversed limit=2 -> 3 2\n"
          "query_accounts user_data_128=1 -> 1 2 4\n"
          "query_accounts user_data_64=2 -> 1 3 4\n"
          "query_accounts user_data_32=3 -> 1 3\n"
          "query_accounts ledger=4 -> 1 3 4 5\n"
          "query_accounts code=5 -> 1 3 5\n"
          "query_accounts code=9 reversed -> 4 2\n"
          "query_accounts user_data_128=1 user_data_64=2 -> 1 4\n"
          "query_accounts user_data_128=1 user_data_64=2 user_data_32=3 ledger=4 code=5 -> 1\n"
          "query_accounts user_data_64=2 ledger=4 reversed -> 4 3 1\n"
          "query_accounts user_data_64=2 ledger=4 timestamp_min=@a2 limit=1 -> 3\n"
          "query_accounts user_data_128=9 user_data_64=9 ->\n"
          "query_accounts user_data_128=77 ->\n"
          "query_accounts code=77 reversed ->\n");
}

UNIT_TEST(transfers_are_found_by_all_fields_given)
{
    check("account 1 -> created\n"
          "account 2 -> created\n"
          "account 3 ledger=2 -> created\n"
          "account 4 ledger=2 -> created\n"
          "transfer 1 1>2 user_data_128=1 user_data_64=2 user_data_32=3 code=5 -> created\n"
          "transfer 2 3>4 user_data_128=1 ledger=2 code=6 -> created\n"
          "transfer 3 1>2 pending user_data_64=2 user_data_32=3 code=5 -> created\n"
          "transfer 4 post_pending_transfer pending_id=3 user_data_128=1 -> created\n"
          "transfer 5 4>3 user_data_64=2 ledger=2 code=5 -> created\n"
          "query_transfers -> 1 2 3 4 5\n"
          "query_transfers reversed limit=3 -> 5 4 3\n"
          "query_transfers timestamp_min=@t2 timestamp_max=@t4-1 -> 2 3\n"
          "query_transfers user_data_128=1 -> 1 2 4\n"
          "query_transfers user_data_64=2 reversed -> 5 4 3 1\n"
          "query_transfers user_data_32=3 -> 1 3 4\n"
          "query_transfers ledger=2 -> 2 5\n"
          "query_transfers code=5 -> 1 3 4 5\n"
          "query_transfers ledger=1 code=5 user_data_128=1 -> 1 4\n"
          "query_transfers user_data_128=1 user_data_64=2 user_data_32=3 ledger=1 code=5 reversed"
          " -> 4 1\n"
          "query_transfers user_data_64=2 code=5 timestamp_min=@t3 limit=2 -> 3 4\n"
          "query_transfers ledger=2 code=5 user_data_128=1 ->\n"
          "reopen\n"
          "query_transfers ledger=1 code=5 user_data_128=1 -> 1 4\n"
          "query_transfers user_data_64=2 reversed -> 5 4 3 1\n");
}

UNIT_TEST(query_filter_that_makes_no_sense_is_invalid)
{
    static const char *const filters[] = {
        "limit=0",
        "flags=2",
        "flags=0x80000000",
        "reserved=1",
        "timestamp_min=max",
        "timestamp_max=max",
        "timestamp_min=max63+1",
        "timestamp_max=max63+1",
        "timestamp_min=2 timestamp_max=1",
    };
    for (size_t i = 0; i < ARRAY_COUNT(filters); i++) {
        char script[256];
        snprintf(
            script,
            sizeof(script),
            "query_accounts %s -> invalid\nquery_transfers %s -> invalid\n",
            filters[i],
            filters[i]);
        check(script);
    }
}

UNIT_TEST(each_reserved_byte_of_a_filter_must_be_zero)
{
    struct ledger_fixture fixture;
    ledger_fixture_init(&fixture, NULL);
    for (size_t i = 0; i < sizeof(((struct account_filter *) 0)->reserved); i++) {
        struct account_filter filter = {.account_id = 1, .limit = 1, .flags = 1};
        expect(ledger_read_check(LEDGER_GET_ACCOUNT_TRANSFERS, &filter, sizeof(filter)) == NULL);
        filter.reserved[i] = 1;
        expect(ledger_read_check(LEDGER_GET_ACCOUNT_TRANSFERS, &filter, sizeof(filter)) != NULL);
        expect(ledger_read_check(LEDGER_GET_ACCOUNT_BALANCES, &filter, sizeof(filter)) != NULL);
    }
    for (size_t i = 0; i < sizeof(((struct query_filter *) 0)->reserved); i++) {
        struct query_filter filter = {.limit = 1};
        expect(ledger_read_check(LEDGER_QUERY_ACCOUNTS, &filter, sizeof(filter)) == NULL);
        filter.reserved[i] = 1;
        expect(ledger_read_check(LEDGER_QUERY_ACCOUNTS, &filter, sizeof(filter)) != NULL);
        expect(ledger_read_check(LEDGER_QUERY_TRANSFERS, &filter, sizeof(filter)) != NULL);
    }
    for (size_t i = 0; i < sizeof(((struct change_events_filter *) 0)->reserved); i++) {
        struct change_events_filter filter = {.limit = 1};
        expect(ledger_read_check(LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter)) == NULL);
        filter.reserved[i] = 1;
        expect(ledger_read_check(LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter)) != NULL);
    }
    ledger_fixture_free(&fixture);
}

UNIT_TEST(input_of_a_read_has_its_size)
{
    static const uint8_t operations[] = {
        LEDGER_GET_ACCOUNT_TRANSFERS,
        LEDGER_GET_ACCOUNT_BALANCES,
        LEDGER_QUERY_ACCOUNTS,
        LEDGER_QUERY_TRANSFERS,
        LEDGER_GET_CHANGE_EVENTS,
        LEDGER_LOOKUP_ACCOUNTS,
        LEDGER_LOOKUP_TRANSFERS,
        LEDGER_CREATE_ACCOUNTS,
        LEDGER_CREATE_TRANSFERS,
        0,
        UINT8_MAX,
    };
    static u128 input[RESULTS_MAX + 2];
    struct ledger_fixture fixture;
    ledger_fixture_init(&fixture, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++) {
        for (uint32_t size = 0; size <= sizeof(input); size += 8) {
            (void) ledger_fixture_read_valid(&fixture, operations[i], input, size);
        }
    }
    expect_equal(fixture.mismatches, 0);
    ledger_fixture_free(&fixture);
}

UNIT_TEST(lookup_answers_in_the_order_asked_and_leaves_out_what_is_missing)
{
    struct ledger_fixture fixture;
    struct create_result results[3];
    struct account found[FIXTURE_REPLY_SIZE_MAX / sizeof(struct account)];
    const struct account accounts[] = {
        {.id = 1, .ledger = 1, .code = 1},
        {.id = 2, .ledger = 1, .code = 1},
        {.id = 3, .ledger = 1, .code = 1},
    };
    const u128 ids[] = {3, 9, 1, 0, 3, U128_MAX, 2};
    ledger_fixture_init(&fixture, NULL);
    ledger_fixture_create(&fixture, LEDGER_CREATE_ACCOUNTS, accounts, 3, results);
    const uint32_t size =
        ledger_fixture_read(&fixture, LEDGER_LOOKUP_ACCOUNTS, ids, sizeof(ids), found);
    expect_equal(size, 4 * sizeof(struct account));
    expect_equal(found[0].id, 3);
    expect_equal(found[1].id, 1);
    expect_equal(found[2].id, 3);
    expect_equal(found[3].id, 2);
    expect_equal(found[3].timestamp, results[1].timestamp);
    expect_equal(
        ledger_fixture_read(&fixture, LEDGER_LOOKUP_TRANSFERS, ids, sizeof(ids), found), 0);
    expect_equal(ledger_fixture_read(&fixture, LEDGER_LOOKUP_ACCOUNTS, ids, 0, found), 0);
    expect_equal(fixture.mismatches, 0);
    ledger_fixture_free(&fixture);
}

/* ---- Change events --------------------------------------------------------------------------- */

UNIT_TEST(change_events_are_all_events_in_order)
{
    check(
        "account 1 -> created\n"
        "account 2 -> created\n"
        "transfer 1 1>2 amount=1 -> created\n"
        "transfer 2 1>2 amount=2 pending timeout=1 -> created\n"
        "transfer 3 1>2 amount=3 pending -> created\n"
        "transfer 4 1>2 amount=4 pending -> created\n"
        "transfer 9 1>2 ledger=0 -> ledger_must_not_be_zero\n"
        "transfer 5 post_pending_transfer pending_id=3 -> created\n"
        "tick 2s\n"
        "transfer 6 void_pending_transfer pending_id=4 -> created\n"
        "get_change_events -> 1:single 2:pending 3:pending 4:pending 5:posted 2:expired 6:voided\n"
        "get_change_events limit=2 -> 1:single 2:pending\n"
        "get_change_events timestamp_min=@t3 timestamp_max=@t5 -> 3:pending 4:pending 5:posted\n"
        "get_change_events timestamp_min=@t5+1 -> 2:expired 6:voided\n"
        "get_change_events timestamp_min=@t5+1 timestamp_max=@t6-1 -> 2:expired\n"
        "get_change_events timestamp_max=1 ->\n"
        "reopen\n"
        "get_change_events -> 1:single 2:pending 3:pending 4:pending 5:posted 2:expired "
        "6:voided\n");
}

UNIT_TEST(change_events_answer_no_more_than_their_maximum)
{
    static_assert(CHANGE_EVENTS_MAX == 10, "the events below");
    check("account 1 -> created\n"
          "account 2 -> created\n"
          "transfer 1 1>2 -> created\n"
          "transfer 2 1>2 -> created\n"
          "transfer 3 1>2 -> created\n"
          "transfer 4 1>2 -> created\n"
          "transfer 5 1>2 -> created\n"
          "transfer 6 1>2 -> created\n"
          "transfer 7 1>2 -> created\n"
          "transfer 8 1>2 -> created\n"
          "transfer 9 1>2 -> created\n"
          "transfer 10 1>2 -> created\n"
          "transfer 11 1>2 -> created\n"
          "get_change_events limit=max -> 1:single 2:single 3:single 4:single 5:single 6:single"
          " 7:single 8:single 9:single 10:single\n"
          "get_change_events timestamp_min=@t10+1 -> 11:single\n");
}

UNIT_TEST(change_events_filter_that_makes_no_sense_is_invalid)
{
    check("get_change_events limit=0 -> invalid\n"
          "get_change_events reserved=1 -> invalid\n"
          "get_change_events timestamp_min=max -> invalid\n"
          "get_change_events timestamp_max=max -> invalid\n"
          "get_change_events timestamp_min=max63+1 -> invalid\n"
          "get_change_events timestamp_max=max63+1 -> invalid\n"
          "get_change_events timestamp_min=2 timestamp_max=1 -> invalid\n"
          "get_change_events timestamp_min=max63 timestamp_max=max63 ->\n");
}

static const struct account told_accounts[] = {
    {.id = 1, .ledger = 7, .code = 11, .user_data_128 = 12, .user_data_64 = 13},
    {.id = 2, .ledger = 7, .code = 21, .user_data_32 = 22, .flags = ACCOUNT_HISTORY},
};
static const struct transfer told_transfer = {
    .id = 3,
    .debit_account_id = 1,
    .credit_account_id = 2,
    .amount = 30,
    .user_data_128 = 31,
    .user_data_64 = 32,
    .user_data_32 = 33,
    .timeout = 34,
    .ledger = 7,
    .code = 35,
    .flags = TRANSFER_PENDING | TRANSFER_CLOSING_CREDIT,
};
/* But for timestamps. */
static const struct change_event told_event = {
    .transfer_id = 3,
    .transfer_amount = 30,
    .transfer_user_data_128 = 31,
    .transfer_user_data_64 = 32,
    .transfer_user_data_32 = 33,
    .transfer_timeout = 34,
    .transfer_code = 35,
    .transfer_flags = TRANSFER_PENDING | TRANSFER_CLOSING_CREDIT,
    .ledger = 7,
    .type = CHANGE_TWO_PHASE_PENDING,
    .debit_account =
        {
            .id = 1,
            .balances = {.debits_pending = 30},
            .user_data_128 = 12,
            .user_data_64 = 13,
            .code = 11,
        },
    .credit_account =
        {
            .id = 2,
            .balances = {.credits_pending = 30},
            .user_data_32 = 22,
            .code = 21,
            .flags = ACCOUNT_HISTORY | ACCOUNT_CLOSED,
        },
};

/* A closing transfer that expires. */
UNIT_TEST(change_event_tells_everything_as_it_was)
{
    struct ledger_fixture fixture;
    struct create_result results[2];
    struct change_event events[FIXTURE_REPLY_SIZE_MAX / sizeof(struct change_event)];
    const struct change_events_filter filter = {.limit = 10};
    ledger_fixture_init(&fixture, NULL);
    ledger_fixture_create(&fixture, LEDGER_CREATE_ACCOUNTS, told_accounts, 2, results);
    const uint64_t accounts_created = fixture.timestamp;
    ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, &told_transfer, 1, results);
    const uint64_t transfer_created = fixture.timestamp;
    ledger_fixture_advance(&fixture, 34 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    expect(!ledger_fixture_pulse(&fixture));

    struct change_event expected[2] = {told_event, told_event};
    expected[0].timestamp = transfer_created;
    expected[1].timestamp = fixture.timestamp;
    expected[1].type = CHANGE_TWO_PHASE_EXPIRED;
    expected[1].debit_account.balances.debits_pending = 0;
    expected[1].credit_account.balances.credits_pending = 0;
    expected[1].credit_account.flags = ACCOUNT_HISTORY;
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        expected[i].transfer_timestamp = transfer_created;
        expected[i].debit_account_timestamp = accounts_created - 1;
        expected[i].credit_account_timestamp = accounts_created;
    }
    const uint32_t size =
        ledger_fixture_read(&fixture, LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter), events);
    expect_equal(size, sizeof(expected));
    expect(memcmp(events, expected, sizeof(expected)) == 0);
    expect_equal(fixture.mismatches, 0);
    ledger_fixture_free(&fixture);
}

UNIT_MAIN(test_accounting_queries)
