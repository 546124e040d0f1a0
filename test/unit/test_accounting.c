/* SPDX-License-Identifier: PostgreSQL */
/* Accounting by example: batches, chains, ids that failed, overflow; and whole recipes. */
#include "base/units.h"
#include "unit/accounting_table.h"
#include "unit/ledger_fixture.h"
#include "unit/unit.h"

#define ACCOUNTS                                                                                   \
    "account 1 -> created\n"                                                                       \
    "account 2 -> created\n"                                                                       \
    "account 3 -> created\n"

/* ---- Batches and timestamps ------------------------------------------------------------------ */

UNIT_TEST(batch_is_of_creates_and_neither_empty_nor_too_large)
{
    struct ledger_fixture fixture;
    ledger_fixture_init(&fixture, NULL);
    struct state_machine *machine = &fixture.ledger.machine;
    const uint8_t creates[] = {LEDGER_CREATE_ACCOUNTS, LEDGER_CREATE_TRANSFERS};
    const uint32_t max = EVENTS_PER_BATCH_MAX;
    for (size_t i = 0; i < ARRAY_COUNT(creates); i++) {
        expect(!machine->ops->batch_valid(machine, creates[i], 0, 0));
        expect(machine->ops->batch_valid(machine, creates[i], 1, 1));
        expect(machine->ops->batch_valid(machine, creates[i], max, max));
        expect(!machine->ops->batch_valid(machine, creates[i], max + 1, max + 1));
        expect(!machine->ops->batch_valid(machine, creates[i], UINT32_MAX, UINT32_MAX));
    }
    for (unsigned operation = 0; operation <= UINT8_MAX; operation++) {
        if (operation == LEDGER_CREATE_ACCOUNTS || operation == LEDGER_CREATE_TRANSFERS) continue;
        expect(!machine->ops->batch_valid(machine, (uint8_t) operation, 1, 1));
    }
    ledger_fixture_free(&fixture);
}

UNIT_TEST(result_has_the_timestamp_of_the_record_or_else_of_the_slot)
{
    struct ledger_fixture fixture;
    struct create_result results[EVENTS_PER_BATCH_MAX];
    ledger_fixture_init(&fixture, NULL);
    const uint64_t start = fixture.timestamp;
    const struct account accounts[] = {
        {.id = 1, .ledger = 1, .code = 1},
        {.id = 2, .ledger = 1},
        {.id = 1, .ledger = 1, .code = 1},
        {.id = 3, .ledger = 1, .code = 1, .flags = ACCOUNT_LINKED},
        {.id = 3, .ledger = 1, .code = 1, .flags = ACCOUNT_LINKED},
        {.id = 4, .ledger = 1, .code = 1},
    };
    ledger_fixture_create(&fixture, LEDGER_CREATE_ACCOUNTS, accounts, 6, results);
    expect_equal(results[0].status, STATUS_CREATED);
    expect_equal(results[0].timestamp, start + 1);
    expect_equal(results[1].status, ACCOUNT_STATUS_code_must_not_be_zero);
    expect_equal(results[1].timestamp, start + 2);
    expect_equal(results[2].status, ACCOUNT_STATUS_exists);
    expect_equal(results[2].timestamp, start + 1);
    expect_equal(results[3].status, ACCOUNT_STATUS_linked_event_failed);
    expect_equal(results[3].timestamp, start + 4);
    /* Of the account of the same chain, which is gone. */
    expect_equal(results[4].status, ACCOUNT_STATUS_exists);
    expect_equal(results[4].timestamp, start + 4);
    expect_equal(results[5].status, ACCOUNT_STATUS_linked_event_failed);
    expect_equal(results[5].timestamp, start + 6);

    ledger_fixture_advance(&fixture, NS_PER_S);
    const uint64_t later = fixture.timestamp;
    const uint16_t linked = ACCOUNT_IMPORTED | ACCOUNT_LINKED;
    const struct account imported[] = {
        {.id = 5, .ledger = 1, .code = 1, .flags = ACCOUNT_IMPORTED, .timestamp = start + 100},
        {.id = 5, .ledger = 1, .code = 1, .flags = ACCOUNT_IMPORTED, .timestamp = start + 200},
        {.id = 6, .ledger = 1, .code = 1, .flags = linked, .timestamp = start + 300},
        {.id = 7, .ledger = 1, .flags = ACCOUNT_IMPORTED, .timestamp = start + 400},
    };
    ledger_fixture_create(&fixture, LEDGER_CREATE_ACCOUNTS, imported, 4, results);
    expect_equal(results[0].status, STATUS_CREATED);
    expect_equal(results[0].timestamp, start + 100);
    expect_equal(results[1].status, ACCOUNT_STATUS_exists);
    expect_equal(results[1].timestamp, start + 100);
    expect_equal(results[2].status, ACCOUNT_STATUS_linked_event_failed);
    expect_equal(results[2].timestamp, later + 3);
    expect_equal(results[3].status, ACCOUNT_STATUS_code_must_not_be_zero);
    expect_equal(results[3].timestamp, later + 4);
    expect_equal(fixture.mismatches, 0);
    ledger_fixture_free(&fixture);
}

/* ---- Chains ---------------------------------------------------------------------------------- */

UNIT_TEST(chain_fails_as_a_whole_wherever_it_breaks)
{
    check("account 1 -> created\n"
          "account 2 linked -> linked_event_failed\n"
          "account 3 linked -> linked_event_failed\n"
          "account 4 ledger=0 -> ledger_must_not_be_zero\n"
          "account 2 -> created\n"
          "account 5 linked -> linked_event_failed\n"
          "account 6 linked code=0 -> code_must_not_be_zero\n"
          "account 7 linked -> linked_event_failed\n"
          "account 8 -> linked_event_failed\n"
          "account 9 linked reserved=1 -> reserved_field\n"
          "account 10 -> linked_event_failed\n"
          "account 11 linked -> created\n"
          "account 12 linked -> created\n"
          "account 13 -> created\n"
          "account 14 -> created\n"
          "missing account 3 4 5 6 7 8 9 10\n"
          "query_accounts -> 1 2 11 12 13 14\n"
          "account 3 -> created\n"
          "account 6 linked -> created\n"
          "account 5 -> created\n");
}

UNIT_TEST(chain_that_the_batch_leaves_open_fails)
{
    check("account 1 -> created\n"
          "account 2 linked -> linked_event_failed\n"
          "account 3 linked -> linked_event_failed\n"
          "account 4 linked -> linked_event_chain_open\n"
          "query_accounts -> 1\n");
}

UNIT_TEST(chain_that_is_broken_and_left_open_keeps_the_status_of_the_breaker)
{
    check("account 1 linked -> linked_event_failed\n"
          "account 2 linked code=0 -> code_must_not_be_zero\n"
          "account 3 linked -> linked_event_failed\n"
          "account 4 linked -> linked_event_chain_open\n"
          "query_accounts ->\n");
}

UNIT_TEST(single_linked_event_is_an_open_chain)
{
    check("account 1 linked -> linked_event_chain_open\n"
          "commit\n"
          "account 1 -> created\n"
          "account 2 -> created\n"
          "transfer 1 1>2 linked -> linked_event_chain_open\n"
          "commit\n"
          "transfer 1 1>2 -> created\n");
}

UNIT_TEST(chains_do_not_reach_over_batches)
{
    check("account 1 linked -> linked_event_chain_open\n"
          "commit\n"
          "account 2 -> created\n"
          "account 3 linked -> created\n"
          "account 4 -> created\n"
          "account 5 linked -> created\n"
          "account 6 -> created\n");
}

UNIT_TEST(chain_that_is_retried_exists_at_its_first_event)
{
    check("account 1 linked -> created\n"
          "account 2 linked -> created\n"
          "account 3 -> created\n"
          "commit\n"
          "account 1 linked -> exists\n"
          "account 2 linked -> linked_event_failed\n"
          "account 3 -> linked_event_failed\n"
          "query_accounts -> 1 2 3\n");
}

UNIT_TEST(chain_breaks_when_an_id_is_twice_in_it)
{
    check("account 1 linked -> linked_event_failed\n"
          "account 1 linked -> exists\n"
          "account 2 -> linked_event_failed\n"
          "missing account 1 2\n");
}

UNIT_TEST(events_of_a_chain_see_each_other)
{
    check(ACCOUNTS "transfer 1 1>2 amount=10 pending linked -> created\n"
                   "transfer 2 post_pending_transfer pending_id=1 amount=7 linked -> created\n"
                   "transfer 3 2>1 amount=7 balancing_debit -> created\n"
                   "balance 1 dpo=7 cpo=7\n"
                   "balance 2 dpo=7 cpo=7\n");
}

UNIT_TEST(failed_chain_is_undone)
{
    check(ACCOUNTS
          "transfer 1 1>2 amount=15 pending timeout=60 -> created\n"
          "transfer 2 1>2 amount=20 pending -> created\n"
          "commit\n"
          "transfer 3 1>2 amount=7 linked -> linked_event_failed\n"
          "transfer 4 post_pending_transfer pending_id=1 amount=9 linked -> linked_event_failed\n"
          "transfer 5 void_pending_transfer pending_id=2 linked -> linked_event_failed\n"
          "transfer 6 1>2 pending amount=3 timeout=1 linked -> linked_event_failed\n"
          "transfer 7 post_pending_transfer pending_id=6 amount=max linked -> linked_event_failed\n"
          "transfer 8 3>2 pending closing_debit linked -> linked_event_failed\n"
          "transfer 9 3>1 linked -> debit_account_already_closed\n"
          "transfer 10 1>2 -> linked_event_failed\n"
          "balance 1 dp=35\n"
          "balance 2 cp=35\n"
          "balance 3\n"
          "missing transfer 3 4 5 6 7 8 9 10\n"
          "query_transfers -> 1 2\n"
          "get_change_events -> 1:pending 2:pending\n"
          "tick 2s\n"
          "balance 1 dp=35\n"
          "transfer 3 1>2 amount=7 linked -> created\n"
          "transfer 4 post_pending_transfer pending_id=1 amount=9 linked -> created\n"
          "transfer 5 void_pending_transfer pending_id=2 linked -> created\n"
          "transfer 6 1>2 pending amount=3 timeout=1 linked -> created\n"
          "transfer 7 post_pending_transfer pending_id=6 amount=max linked -> created\n"
          "transfer 8 3>2 pending closing_debit -> created\n"
          "transfer 9 1>2 -> id_already_failed\n"
          "transfer 10 1>2 -> created\n"
          "balance 1 dpo=19\n"
          "balance 2 cpo=19\n"
          "balance 3 closed\n"
          "tick 120s\n"
          "balance 1 dpo=19\n");
}

UNIT_TEST(failed_chain_frees_its_headroom_within_the_batch)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 -> created\n"
          "transfer 9 2>1 amount=20 -> created\n"
          "commit\n"
          "transfer 1 1>2 amount=15 linked -> linked_event_failed\n"
          "transfer 2 1>2 amount=5 ledger=0 -> ledger_must_not_be_zero\n"
          "transfer 3 1>2 amount=15 -> created\n"
          "balance 1 dpo=15 cpo=20\n");
}

UNIT_TEST(chain_burns_only_the_id_that_failed_itself)
{
    check(ACCOUNTS "transfer 1 1>2 linked -> linked_event_failed\n"
                   "transfer 2 1>99 linked -> credit_account_not_found\n"
                   "transfer 3 1>2 -> linked_event_failed\n"
                   "commit\n"
                   "transfer 1 1>2 -> created\n"
                   "transfer 2 1>2 -> id_already_failed\n"
                   "transfer 3 1>2 -> created\n"
                   "transfer 4 1>2 linked -> linked_event_failed\n"
                   "transfer 2 1>2 -> id_already_failed\n");
}

/* ---- Ids that failed ------------------------------------------------------------------------- */

UNIT_TEST(id_that_failed_for_a_reason_of_state_never_succeeds)
{
    check("account 1 -> created\n"
          "account 2 -> created\n"
          "account 3 debits_must_not_exceed_credits -> created\n"
          "account 4 credits_must_not_exceed_debits -> created\n"
          "account 5 closed -> created\n"
          "transfer 1 99>1 -> debit_account_not_found\n"
          "transfer 2 1>99 -> credit_account_not_found\n"
          "transfer 3 post_pending_transfer pending_id=99 -> pending_transfer_not_found\n"
          "transfer 4 3>1 amount=1 -> exceeds_credits\n"
          "transfer 5 1>4 amount=1 -> exceeds_debits\n"
          "transfer 6 5>1 -> debit_account_already_closed\n"
          "transfer 7 1>5 -> credit_account_already_closed\n"
          "missing transfer 1 2 3 4 5 6 7\n"
          "reopen\n"
          "transfer 1 1>2 -> id_already_failed\n"
          "transfer 2 1>2 -> id_already_failed\n"
          "transfer 3 1>2 -> id_already_failed\n"
          "transfer 4 1>2 pending timeout=1 -> id_already_failed\n"
          "transfer 5 1>2 -> id_already_failed\n"
          "transfer 6 post_pending_transfer pending_id=99 -> id_already_failed\n"
          "transfer 7 1>2 -> id_already_failed\n"
          "transfer 8 void_pending_transfer pending_id=3 -> pending_transfer_not_found\n"
          "query_transfers ->\n");
}

UNIT_TEST(id_that_failed_for_another_reason_may_succeed)
{
    check("account 1 -> created\n"
          "account 2 -> created\n"
          "transfer 9 1>2 amount=max-5 -> created\n"
          "transfer 10 1>2 pending amount=5 -> created\n"
          "transfer 11 void_pending_transfer pending_id=10 -> created\n"
          "transfer 1 1>2 ledger=0 -> ledger_must_not_be_zero\n"
          "transfer 2 1>2 amount=6 -> overflows_debits_posted\n"
          "transfer 3 1>2 pending timeout=max flags=0x202 -> reserved_flag\n"
          "transfer 4 post_pending_transfer pending_id=10 -> pending_transfer_already_voided\n"
          "transfer 5 post_pending_transfer pending_id=9 -> pending_transfer_not_pending\n"
          "missing transfer 1 2 3 4 5\n"
          "transfer 1 1>2 -> created\n"
          "transfer 2 1>2 -> created\n"
          "transfer 3 1>2 -> created\n"
          "transfer 4 1>2 -> created\n"
          "transfer 5 1>2 -> created\n");
}

/* ---- Overflow -------------------------------------------------------------------------------- */

UNIT_TEST(l2_overflow_is_tested_on_each_balance)
{
    check(ACCOUNTS "account 4 -> created\n"
                   "transfer 1 1>3 pending amount=100 -> created\n"
                   "transfer 2 1>3 amount=200 -> created\n"
                   "transfer 3 4>2 pending amount=110 -> created\n"
                   "transfer 4 4>2 amount=210 -> created\n"
                   "balance 1 dp=100 dpo=200\n"
                   "balance 2 cp=110 cpo=210\n"
                   "transfer 5 1>2 pending amount=max-99 -> overflows_debits_pending\n"
                   "transfer 5 1>2 pending amount=max-109 -> overflows_credits_pending\n"
                   "transfer 5 1>2 pending amount=max-199 -> overflows_debits_posted\n"
                   "transfer 5 1>2 pending amount=max-209 -> overflows_credits_posted\n"
                   "transfer 5 1>2 pending amount=max-299 -> overflows_debits\n"
                   "transfer 5 1>2 pending amount=max-319 -> overflows_credits\n"
                   "transfer 5 1>2 amount=max-99 -> overflows_debits_posted\n"
                   "transfer 5 1>2 amount=max-199 -> overflows_debits_posted\n"
                   "transfer 5 1>2 amount=max-209 -> overflows_credits_posted\n"
                   "transfer 5 1>2 amount=max-299 -> overflows_debits\n"
                   "transfer 5 1>2 amount=max-319 -> overflows_credits\n"
                   "transfer 5 1>2 pending amount=max-320 -> created\n"
                   "transfer 6 post_pending_transfer pending_id=5 amount=max -> created\n"
                   "balance 1 dp=100 dpo=max-120\n"
                   "balance 2 cp=110 cpo=max-110\n");
}

UNIT_TEST(timeout_may_end_with_time_itself)
{
    /* The slot of transfer 1 is 2^63 − 1 ns less 4294967294 s. */
    check(ACCOUNTS "wait 4928403742s\n"
                   "wait 854775803ns\n"
                   "transfer 1 1>2 pending timeout=max-1 -> created\n"
                   "transfer 2 1>2 pending timeout=max-1 -> overflows_timeout\n"
                   "transfer 2 1>2 pending timeout=max -> overflows_timeout\n"
                   "transfer 2 1>2 pending timeout=max-2 -> created\n");
}

/* ---- Recipes --------------------------------------------------------------------------------- */

UNIT_TEST(currency_exchange_is_a_chain_over_two_ledgers)
{
    check("account 1 ledger=1 debits_must_not_exceed_credits -> created\n"
          "account 2 ledger=2 -> created\n"
          "account 11 ledger=1 -> created\n"
          "account 12 ledger=2 debits_must_not_exceed_credits -> created\n"
          "transfer 1 11>1 amount=100 -> created\n"
          "transfer 2 2>12 amount=500 ledger=2 -> created\n"
          "commit\n"
          "transfer 3 1>11 amount=100 ledger=1 linked -> linked_event_failed\n"
          "transfer 4 12>2 amount=501 ledger=2 -> exceeds_credits\n"
          "transfer 5 1>11 amount=100 ledger=1 linked -> created\n"
          "transfer 6 12>2 amount=500 ledger=2 -> created\n"
          "balance 1 dpo=100 cpo=100\n"
          "balance 2 dpo=500 cpo=500\n");
}

UNIT_TEST(several_accounts_are_drained_into_one)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 debits_must_not_exceed_credits -> created\n"
          "account 3 -> created\n"
          "account 4 debits_must_not_exceed_credits -> created\n"
          "account 5 -> created\n"
          "transfer 1 5>1 amount=30 -> created\n"
          "transfer 2 5>2 amount=40 -> created\n"
          "commit\n"
          "transfer 10 1>4 amount=100 balancing_debit linked -> linked_event_failed\n"
          "transfer 11 2>4 amount=100 balancing_debit linked -> linked_event_failed\n"
          "transfer 12 4>3 amount=100 -> exceeds_credits\n"
          "balance 1 cpo=30\n"
          "transfer 20 1>4 amount=50 balancing_debit linked -> created\n"
          "transfer 21 2>4 amount=20 balancing_debit linked -> created\n"
          "transfer 22 4>3 amount=50 -> created\n"
          "balance 1 dpo=30 cpo=30\n"
          "balance 2 dpo=20 cpo=40\n"
          "balance 3 cpo=50\n"
          "balance 4 dpo=50 cpo=50\n");
}

UNIT_TEST(account_is_emptied_and_closed_in_a_chain)
{
    check(ACCOUNTS "transfer 1 2>1 amount=25 -> created\n"
                   "transfer 2 1>3 amount=max balancing_debit linked -> created\n"
                   "transfer 3 1>3 pending closing_debit -> created\n"
                   "balance 1 dpo=25 cpo=25 closed\n"
                   "balance 3 cpo=25\n"
                   "transfer 4 void_pending_transfer pending_id=3 -> created\n"
                   "balance 1 dpo=25 cpo=25\n");
}

UNIT_TEST(transfer_may_depend_on_a_balance)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 -> created\n"
          "account 3 -> created\n"
          "transfer 1 2>1 amount=100 -> created\n"
          "commit\n"
          "transfer 11 1>3 amount=80 pending linked -> created\n"
          "transfer 12 void_pending_transfer pending_id=11 linked -> created\n"
          "transfer 13 1>2 amount=30 -> created\n"
          "balance 1 dpo=30 cpo=100\n"
          "transfer 21 1>3 amount=80 pending linked -> exceeds_credits\n"
          "transfer 22 void_pending_transfer pending_id=21 linked -> linked_event_failed\n"
          "transfer 23 1>2 amount=30 -> linked_event_failed\n"
          "balance 1 dpo=30 cpo=100\n");
}

UNIT_TEST(transfer_may_keep_an_invariant_of_a_balance)
{
    /*
     * Account 1 has no limit; the chain fails if its credits fall below its debits. Account 9 has
     * the opposite one.
     */
    check("account 1 -> created\n"
          "account 2 -> created\n"
          "account 9 credits_must_not_exceed_debits -> created\n"
          "transfer 1 2>1 amount=10 -> created\n"
          "commit\n"
          "transfer 11 1>2 amount=10 linked -> created\n"
          "transfer 12 9>1 amount=1 pending balancing_credit linked -> created\n"
          "transfer 13 void_pending_transfer pending_id=12 -> created\n"
          "stored 12 amount=0\n"
          "commit\n"
          "transfer 21 1>2 amount=1 linked -> linked_event_failed\n"
          "transfer 22 1>9 amount=1 pending linked -> exceeds_debits\n"
          "transfer 23 void_pending_transfer pending_id=22 -> linked_event_failed\n"
          "balance 1 dpo=10 cpo=10\n"
          "transfer 21 2>1 -> created\n"
          "transfer 22 2>1 -> id_already_failed\n"
          "transfer 23 2>1 -> created\n");
}

UNIT_MAIN(test_accounting)
