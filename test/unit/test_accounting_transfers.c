/* SPDX-License-Identifier: PostgreSQL */
/* Transfers by example: two-phase, expiry, balancing, closing, imported. */
#include "config.h"
#include "unit/accounting_table.h"
#include "unit/unit.h"

#define ACCOUNTS                                                                                   \
    "account 1 -> created\n"                                                                       \
    "account 2 -> created\n"                                                                       \
    "account 3 -> created\n"

/* ---- Two-phase transfers --------------------------------------------------------------------- */

UNIT_TEST(post_may_be_for_less_and_releases_the_rest)
{
    check(
        ACCOUNTS
        "transfer 1 1>2 amount=15 pending -> created\n"
        "balance 1 dp=15\n"
        "balance 2 cp=15\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=16"
        " -> exceeds_pending_transfer_amount\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=13 -> created\n"
        "balance 1 dpo=13\n"
        "balance 2 cpo=13\n"
        "stored 1 amount=15\n"
        "stored 2 amount=13 debit_account_id=1 credit_account_id=2 ledger=1 code=1\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=14 -> exists_with_different_amount\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=12 -> exists_with_different_amount\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=0 -> exists_with_different_amount\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=max"
        " -> exists_with_different_amount\n"
        "transfer 2 post_pending_transfer pending_id=1 amount=13 -> exists\n"
        "transfer 3 post_pending_transfer pending_id=1 amount=13"
        " -> pending_transfer_already_posted\n"
        "transfer 3 void_pending_transfer pending_id=1 -> pending_transfer_already_posted\n");
}

UNIT_TEST(post_of_the_largest_amount_is_for_all_of_it)
{
    check(ACCOUNTS
          "transfer 1 1>2 amount=7 pending -> created\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=max -> created\n"
          "stored 2 amount=7\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=7 -> exists\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=max -> exists\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=8 -> exists_with_different_amount\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=6 -> exists_with_different_amount\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=0 -> exists_with_different_amount\n"
          "balance 1 dpo=7\n"
          "balance 2 cpo=7\n");
}

UNIT_TEST(post_of_nothing_releases_all)
{
    check(ACCOUNTS "transfer 1 1>2 amount=7 pending -> created\n"
                   "transfer 2 post_pending_transfer pending_id=1 -> created\n"
                   "stored 2 amount=0\n"
                   "balance 1\n"
                   "balance 2\n"
                   "transfer 2 post_pending_transfer pending_id=1 -> exists\n"
                   "transfer 3 void_pending_transfer pending_id=1"
                   " -> pending_transfer_already_posted\n");
}

UNIT_TEST(void_releases_all)
{
    check(ACCOUNTS
          "transfer 1 1>2 amount=7 pending -> created\n"
          "transfer 2 void_pending_transfer pending_id=1 amount=max"
          " -> exceeds_pending_transfer_amount\n"
          "transfer 2 void_pending_transfer pending_id=1 amount=6"
          " -> pending_transfer_has_different_amount\n"
          "transfer 2 void_pending_transfer pending_id=1 -> created\n"
          "stored 2 amount=7\n"
          "balance 1\n"
          "balance 2\n"
          "transfer 2 void_pending_transfer pending_id=1 amount=7 -> exists\n"
          "transfer 2 void_pending_transfer pending_id=1 amount=0 -> exists\n"
          "transfer 2 void_pending_transfer pending_id=1 amount=6 -> exists_with_different_amount\n"
          "transfer 2 void_pending_transfer pending_id=1 amount=max"
          " -> exists_with_different_amount\n"
          "transfer 3 post_pending_transfer pending_id=1 -> pending_transfer_already_voided\n"
          "transfer 3 void_pending_transfer pending_id=1 -> pending_transfer_already_voided\n"
          "transfer 4 1>2 amount=8 pending -> created\n"
          "transfer 5 void_pending_transfer pending_id=4 amount=8 -> created\n");
}

UNIT_TEST(only_pending_transfers_are_resolved)
{
    check(ACCOUNTS
          "transfer 1 1>2 amount=7 pending -> created\n"
          "transfer 2 post_pending_transfer pending_id=1 amount=max -> created\n"
          "transfer 3 1>2 amount=7 pending -> created\n"
          "transfer 4 void_pending_transfer pending_id=3 -> created\n"
          "transfer 5 1>2 -> created\n"
          "transfer 9 post_pending_transfer pending_id=2 -> pending_transfer_not_pending\n"
          "transfer 9 void_pending_transfer pending_id=4 -> pending_transfer_not_pending\n"
          "transfer 9 void_pending_transfer pending_id=5 -> pending_transfer_not_pending\n");
}

UNIT_TEST(resolution_takes_over_what_it_is_not_given)
{
    check(
        ACCOUNTS
        "transfer 1 1>2 pending user_data_128=5 user_data_64=6 user_data_32=7 code=8 -> created\n"
        "transfer 2 1>2 pending user_data_128=5 user_data_64=6 user_data_32=7 code=8 -> created\n"
        "transfer 3 1>2 pending user_data_64=6 code=8 -> created\n"
        "transfer 11 post_pending_transfer pending_id=1 -> created\n"
        "transfer 12 void_pending_transfer pending_id=2 1>2 ledger=1 code=8 user_data_64=60"
        " -> created\n"
        "transfer 13 post_pending_transfer pending_id=3 user_data_32=70 -> created\n"
        "stored 11 debit_account_id=1 credit_account_id=2 ledger=1 code=8 user_data_128=5\n"
        "stored 11 user_data_64=6 user_data_32=7 timeout=0 pending_id=1\n"
        "stored 12 user_data_128=5 user_data_64=60 user_data_32=7 pending_id=2\n"
        "stored 13 user_data_128=0 user_data_64=6 user_data_32=70 pending_id=3\n"
        "transfer 11 post_pending_transfer pending_id=1 user_data_128=5 user_data_32=7 -> exists\n"
        "transfer 12 void_pending_transfer pending_id=2"
        " -> exists_with_different_user_data_64\n"
        "transfer 12 void_pending_transfer pending_id=2 user_data_64=60 -> exists\n"
        "transfer 13 post_pending_transfer pending_id=3 user_data_32=70 -> exists\n"
        "transfer 13 post_pending_transfer pending_id=3"
        " -> exists_with_different_user_data_32\n");
}

UNIT_TEST(l2_all_of_the_range_can_be_reserved_and_posted)
{
    check(ACCOUNTS "transfer 1 1>2 amount=max pending -> created\n"
                   "transfer 2 1>2 amount=1 pending -> overflows_debits_pending\n"
                   "transfer 2 1>2 amount=1 -> overflows_debits\n"
                   "transfer 2 3>2 amount=1 -> overflows_credits\n"
                   "transfer 2 post_pending_transfer pending_id=1 amount=max -> created\n"
                   "balance 1 dpo=max\n"
                   "balance 2 cpo=max\n"
                   "transfer 3 1>2 amount=1 -> overflows_debits_posted\n"
                   "transfer 3 1>2 amount=0 -> created\n");
}

UNIT_TEST(l4_pending_debits_take_headroom_and_pending_credits_give_none)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 -> created\n"
          "account 3 credits_must_not_exceed_debits -> created\n"
          "transfer 1 2>1 amount=10 pending -> created\n"
          "transfer 2 1>2 amount=1 -> exceeds_credits\n"
          "transfer 3 post_pending_transfer pending_id=1 amount=max -> created\n"
          "transfer 4 1>2 amount=4 pending -> created\n"
          "transfer 5 1>2 amount=7 -> exceeds_credits\n"
          "transfer 6 1>2 amount=6 -> created\n"
          "transfer 7 1>2 amount=1 pending -> exceeds_credits\n"
          "transfer 8 post_pending_transfer pending_id=4 amount=3 -> created\n"
          "transfer 9 1>2 amount=1 -> created\n"
          "balance 1 dpo=10 cpo=10\n"
          "transfer 11 3>2 amount=10 pending -> created\n"
          "transfer 12 2>3 amount=1 -> exceeds_debits\n"
          "transfer 13 post_pending_transfer pending_id=11 amount=9 -> created\n"
          "transfer 14 2>3 amount=9 pending -> created\n"
          "transfer 15 2>3 amount=1 -> exceeds_debits\n"
          "balance 3 dpo=9 cp=9\n");
}

/* ---- Expiry ---------------------------------------------------------------------------------- */

UNIT_TEST(pending_transfers_expire_second_by_second)
{
    check(ACCOUNTS "transfer 1 1>2 amount=1 pending timeout=3 -> created\n"
                   "transfer 2 1>2 amount=10 pending timeout=1 -> created\n"
                   "transfer 3 1>2 amount=100 pending timeout=2 -> created\n"
                   "transfer 4 1>2 amount=1000 pending -> created\n"
                   "transfer 5 1>2 amount=0 pending timeout=2 -> created\n"
                   "balance 1 dp=1111\n"
                   "tick 1s\n"
                   "balance 1 dp=1101\n"
                   "balance 2 cp=1101\n"
                   "tick 1s\n"
                   "balance 1 dp=1001\n"
                   "tick 1s\n"
                   "balance 1 dp=1000\n"
                   "tick 1000s\n"
                   "balance 1 dp=1000\n"
                   "balance 2 cp=1000\n"
                   "transfer 11 post_pending_transfer pending_id=1 -> pending_transfer_expired\n"
                   "transfer 12 void_pending_transfer pending_id=2 -> pending_transfer_expired\n"
                   "transfer 14 post_pending_transfer pending_id=4 amount=max -> created\n"
                   "transfer 15 post_pending_transfer pending_id=5 -> pending_transfer_expired\n"
                   "get_change_events timestamp_min=@t5+1 limit=10"
                   " -> 2:expired 3:expired 5:expired 1:expired 14:posted\n"
                   "query_transfers -> 1 2 3 4 5 14\n"
                   "stored 1 amount=1 timeout=3\n");
}

UNIT_TEST(timeout_ends_to_the_nanosecond_before_any_pulse)
{
    check(ACCOUNTS "transfer 1 1>2 amount=1 pending timeout=1 -> created\n"
                   "wait 999999998ns\n"
                   "transfer 2 post_pending_transfer pending_id=1 amount=max -> created\n"
                   "transfer 3 1>2 amount=2 pending timeout=1 -> created\n"
                   "wait 999999999ns\n"
                   "transfer 4 post_pending_transfer pending_id=3 -> pending_transfer_expired\n"
                   "transfer 4 void_pending_transfer pending_id=3 -> pending_transfer_expired\n"
                   "balance 1 dp=2 dpo=1\n"
                   "tick 0s\n"
                   "balance 1 dpo=1\n");
}

UNIT_TEST(pulse_takes_what_is_due_at_its_last_slot)
{
    /* A pulse has the next 30 slots. Transfer 1 expires 1 s after its own. */
    static_assert(PULSE_EXPIRIES_MAX == 30, "the ticks below");
    check(ACCOUNTS "transfer 1 1>2 amount=1 pending timeout=1 -> created\n"
                   "tick 999999969ns\n"
                   "balance 1 dp=1\n"
                   "tick 1ns\n"
                   "balance 1\n");
}

UNIT_TEST(transfers_that_expire_at_one_time_do_so_in_the_order_of_their_creation)
{
    check(ACCOUNTS "transfer 1 1>2 amount=1 pending timeout=3 -> created\n"
                   "wait 999999999ns\n"
                   "transfer 2 1>2 amount=2 pending timeout=2 -> created\n"
                   "wait 999999999ns\n"
                   "transfer 3 1>2 amount=3 pending timeout=1 -> created\n"
                   "tick 2s\n"
                   "get_change_events timestamp_min=@t3+1 -> 1:expired 2:expired 3:expired\n");
}

UNIT_TEST(reservation_counts_until_the_pulse)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 -> created\n"
          "transfer 1 2>1 amount=10 -> created\n"
          "transfer 2 1>2 amount=10 pending timeout=1 -> created\n"
          "wait 5s\n"
          "transfer 3 1>2 amount=10 -> exceeds_credits\n"
          "tick 0s\n"
          "transfer 4 1>2 amount=10 -> created\n"
          "balance 1 dpo=10 cpo=10\n");
}

UNIT_TEST(resolved_transfers_do_not_expire)
{
    check(ACCOUNTS "transfer 1 1>2 amount=1 pending timeout=1 -> created\n"
                   "transfer 2 1>2 amount=2 pending timeout=1 -> created\n"
                   "transfer 3 1>2 amount=4 pending timeout=1 -> created\n"
                   "transfer 4 post_pending_transfer pending_id=1 amount=max -> created\n"
                   "transfer 5 void_pending_transfer pending_id=2 -> created\n"
                   "reopen\n"
                   "tick 10s\n"
                   "balance 1 dpo=1\n"
                   "get_change_events"
                   " -> 1:pending 2:pending 3:pending 4:posted 5:voided 3:expired\n");
}

UNIT_TEST(more_transfers_expire_at_a_time_than_one_pulse_takes)
{
    char script[16384];
    size_t size = (size_t) snprintf(script, sizeof(script), ACCOUNTS);
    for (int i = 1; i <= 2 * PULSE_EXPIRIES_MAX + 1; i++) {
        size += (size_t) snprintf(
            script + size,
            sizeof(script) - size,
            "%stransfer %d 1>2 amount=1 pending timeout=%d -> created\n",
            i % EVENTS_PER_BATCH_MAX == 1 ? "commit\n" : "",
            i,
            1 + i % 3);
    }
    static_assert(PULSE_EXPIRIES_MAX == 30, "the balance below");
    snprintf(
        script + size,
        sizeof(script) - size,
        "wait 3s\nbalance 1 dp=61\ntick 0s\nbalance 1\nbalance 2\n");
    check(script);
}

/* ---- Balancing ------------------------------------------------------------------------------- */

UNIT_TEST(balancing_debit_takes_what_the_debit_account_has)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 -> created\n"
          "transfer 1 2>1 amount=10 -> created\n"
          "transfer 2 1>2 amount=1 pending -> created\n"
          "transfer 3 1>2 amount=3 balancing_debit -> created\n"
          "transfer 4 1>2 amount=13 balancing_debit -> created\n"
          "transfer 5 1>2 amount=1 balancing_debit -> created\n"
          "stored 3 amount=3\n"
          "stored 4 amount=6\n"
          "stored 5 amount=0\n"
          "balance 1 dp=1 dpo=9 cpo=10\n");
}

UNIT_TEST(balancing_credit_gives_what_the_credit_account_lacks)
{
    check("account 1 credits_must_not_exceed_debits -> created\n"
          "account 2 -> created\n"
          "transfer 1 1>2 amount=10 -> created\n"
          "transfer 2 2>1 amount=2 pending -> created\n"
          "transfer 3 2>1 amount=3 balancing_credit -> created\n"
          "transfer 4 2>1 amount=13 balancing_credit -> created\n"
          "transfer 5 2>1 amount=1 balancing_credit -> created\n"
          "stored 3 amount=3\n"
          "stored 4 amount=5\n"
          "stored 5 amount=0\n"
          "balance 1 dpo=10 cp=2 cpo=8\n");
}

UNIT_TEST(balancing_both_takes_the_smallest)
{
    check(ACCOUNTS "transfer 1 3>1 amount=20 -> created\n"
                   "transfer 2 2>3 amount=10 -> created\n"
                   "transfer 3 1>2 amount=1 balancing_debit balancing_credit -> created\n"
                   "transfer 4 1>2 amount=12 balancing_debit balancing_credit -> created\n"
                   "transfer 5 1>2 amount=1 balancing_debit balancing_credit -> created\n"
                   "stored 3 amount=1\n"
                   "stored 4 amount=9\n"
                   "stored 5 amount=0\n"
                   "balance 1 dpo=10 cpo=20\n"
                   "balance 2 dpo=10 cpo=10\n");
}

UNIT_TEST(balancing_needs_no_limits_and_saturates)
{
    check(ACCOUNTS "transfer 1 2>1 amount=10 -> created\n"
                   "transfer 2 1>2 amount=4 balancing_debit -> created\n"
                   "transfer 3 1>2 amount=max balancing_debit -> created\n"
                   "stored 3 amount=6\n"
                   "transfer 4 1>2 amount=5 -> created\n"
                   "transfer 5 1>2 amount=max balancing_debit -> created\n"
                   "stored 5 amount=0\n"
                   "transfer 6 1>2 amount=max balancing_credit -> created\n"
                   "stored 6 amount=0\n"
                   "balance 1 dpo=15 cpo=10\n");
}

UNIT_TEST(balancing_of_nothing_is_of_nothing)
{
    check(ACCOUNTS "transfer 1 2>1 amount=10 -> created\n"
                   "transfer 2 1>2 amount=0 balancing_debit -> created\n"
                   "transfer 3 1>2 amount=0 balancing_credit -> created\n"
                   "stored 2 amount=0\n"
                   "stored 3 amount=0\n"
                   "balance 1 cpo=10\n");
}

UNIT_TEST(balancing_reaches_to_the_end_of_the_range)
{
    check(ACCOUNTS "transfer 1 2>1 amount=max-1 -> created\n"
                   "transfer 2 1>3 amount=max balancing_debit -> created\n"
                   "stored 2 amount=max-1\n"
                   "transfer 3 1>3 amount=max balancing_debit -> created\n"
                   "stored 3 amount=0\n"
                   "transfer 4 3>2 amount=max balancing_credit -> created\n"
                   "stored 4 amount=max-1\n"
                   "balance 3 dpo=max-1 cpo=max-1\n");
}

UNIT_TEST(balancing_transfer_exists_when_retried_with_its_limit)
{
    check(ACCOUNTS "transfer 1 2>1 amount=6 -> created\n"
                   "transfer 2 1>2 amount=13 balancing_debit -> created\n"
                   "transfer 2 1>2 amount=13 balancing_debit -> exists\n"
                   "transfer 2 1>2 amount=max balancing_debit -> exists\n"
                   "transfer 2 1>2 amount=6 balancing_debit -> exists\n"
                   "transfer 2 1>2 amount=5 balancing_debit -> exists_with_different_amount\n"
                   "transfer 2 1>2 amount=6 -> exists_with_different_flags\n"
                   "transfer 2 1>2 amount=6 balancing_credit -> exists_with_different_flags\n"
                   "transfer 3 1>2 amount=9 balancing_debit ledger=2"
                   " -> transfer_must_have_the_same_ledger_as_accounts\n");
}

UNIT_TEST(balanced_amount_may_still_exceed_the_other_side)
{
    check("account 1 debits_must_not_exceed_credits -> created\n"
          "account 2 credits_must_not_exceed_debits -> created\n"
          "account 3 -> created\n"
          "transfer 1 3>1 amount=10 -> created\n"
          "transfer 2 2>3 amount=5 -> created\n"
          "transfer 3 1>2 amount=max balancing_debit -> exceeds_debits\n"
          "transfer 3 1>2 amount=1 -> id_already_failed\n"
          "transfer 4 1>2 amount=5 balancing_debit -> created\n"
          "transfer 5 3>2 amount=max balancing_credit -> created\n"
          "stored 5 amount=0\n"
          "transfer 6 2>3 amount=15 -> created\n"
          "transfer 7 1>2 amount=max balancing_credit -> exceeds_credits\n"
          "transfer 7 1>2 amount=1 -> id_already_failed\n");
}

UNIT_TEST(balanced_amount_is_reserved_and_resolved)
{
    check(ACCOUNTS "transfer 1 2>1 amount=10 -> created\n"
                   "transfer 2 1>3 amount=7 pending balancing_debit -> created\n"
                   "transfer 3 1>3 amount=7 pending balancing_debit timeout=1 -> created\n"
                   "stored 3 amount=3\n"
                   "balance 1 dp=10 cpo=10\n"
                   "transfer 4 post_pending_transfer pending_id=3 amount=7"
                   " -> exceeds_pending_transfer_amount\n"
                   "transfer 4 post_pending_transfer pending_id=3 amount=max -> created\n"
                   "stored 4 amount=3\n"
                   "transfer 5 void_pending_transfer pending_id=2 amount=7 -> created\n"
                   "balance 1 dpo=3 cpo=10\n"
                   "balance 3 cpo=3\n");
}

/* ---- Closing --------------------------------------------------------------------------------- */

UNIT_TEST(account_created_closed_takes_nothing_ever)
{
    check("account 1 closed -> created\n"
          "account 2 -> created\n"
          "balance 1 closed\n"
          "transfer 1 1>2 -> debit_account_already_closed\n"
          "transfer 2 2>1 -> credit_account_already_closed\n"
          "transfer 3 2>1 pending closing_credit -> credit_account_already_closed\n"
          "account 1 closed -> exists\n"
          "account 1 -> exists_with_different_flags\n");
}

UNIT_TEST(closing_transfer_closes_and_its_void_opens)
{
    check(ACCOUNTS
          "transfer 1 1>2 amount=5 -> created\n"
          "transfer 2 1>3 amount=3 pending closing_debit -> created\n"
          "balance 1 dpo=5 dp=3 closed\n"
          "balance 3 cp=3\n"
          "account 1 -> exists_with_different_flags\n"
          "transfer 3 1>2 -> debit_account_already_closed\n"
          "transfer 4 2>1 -> credit_account_already_closed\n"
          "transfer 5 1>2 pending closing_debit -> debit_account_already_closed\n"
          "transfer 6 2>1 pending closing_credit -> credit_account_already_closed\n"
          "transfer 7 post_pending_transfer pending_id=2 -> debit_account_already_closed\n"
          "transfer 8 void_pending_transfer pending_id=2 -> created\n"
          "balance 1 dpo=5\n"
          "account 1 -> exists\n"
          "transfer 3 1>2 -> id_already_failed\n"
          "transfer 9 1>2 amount=2 -> created\n"
          "transfer 10 2>1 amount=4 pending closing_credit -> created\n"
          "balance 1 dpo=7 cp=4 closed\n"
          "balance 2 dp=4 cpo=7\n"
          "transfer 11 post_pending_transfer pending_id=10 -> credit_account_already_closed\n"
          "transfer 12 void_pending_transfer pending_id=10 -> created\n"
          "balance 1 dpo=7\n");
}

UNIT_TEST(closing_transfer_may_close_both_sides)
{
    check(ACCOUNTS "transfer 1 1>2 pending closing_debit closing_credit -> created\n"
                   "balance 1 closed\n"
                   "balance 2 closed\n"
                   "transfer 2 void_pending_transfer pending_id=1 -> created\n"
                   "balance 1\n"
                   "balance 2\n"
                   "transfer 3 1>3 pending closing_debit -> created\n"
                   "transfer 4 2>1 pending closing_debit closing_credit"
                   " -> credit_account_already_closed\n"
                   "balance 2\n");
}

UNIT_TEST(closing_transfer_that_expires_opens)
{
    check(ACCOUNTS "transfer 1 1>2 amount=5 pending closing_debit timeout=2 -> created\n"
                   "tick 1s\n"
                   "balance 1 dp=5 closed\n"
                   "tick 1s\n"
                   "balance 1\n"
                   "transfer 2 1>2 amount=0 pending closing_credit timeout=1 -> created\n"
                   "balance 2 closed\n"
                   "tick 1s\n"
                   "balance 2\n"
                   "transfer 3 1>2 -> created\n");
}

UNIT_TEST(pending_transfers_of_a_closed_account_are_voided_or_expire_and_not_posted)
{
    check(ACCOUNTS
          "transfer 1 1>2 amount=1 pending -> created\n"
          "transfer 2 1>2 amount=2 pending -> created\n"
          "transfer 3 1>2 amount=4 pending timeout=5 -> created\n"
          "transfer 4 2>1 amount=8 pending -> created\n"
          "transfer 5 1>3 pending closing_debit -> created\n"
          "balance 1 dp=7 cp=8 closed\n"
          "transfer 11 post_pending_transfer pending_id=1 -> debit_account_already_closed\n"
          "transfer 12 void_pending_transfer pending_id=2 -> created\n"
          "transfer 14 post_pending_transfer pending_id=4 -> credit_account_already_closed\n"
          "balance 1 dp=5 cp=8 closed\n"
          "tick 5s\n"
          "balance 1 dp=1 cp=8 closed\n"
          "transfer 15 void_pending_transfer pending_id=5 -> created\n"
          "transfer 16 post_pending_transfer pending_id=1 amount=max -> created\n"
          "transfer 17 post_pending_transfer pending_id=4 amount=max -> created\n"
          "balance 1 dpo=1 cpo=8\n");
}

/* ---- Imports --------------------------------------------------------------------------------- */

UNIT_TEST(batch_is_imported_or_not)
{
    check("tick 1s\n"
          "account 1 imported timestamp=1 -> created\n"
          "account 2 -> imported_event_expected\n"
          "account 3 imported timestamp=2 -> created\n"
          "commit\n"
          "account 4 -> created\n"
          "account 5 imported timestamp=3 -> imported_event_not_expected\n"
          "account 6 -> created\n"
          "transfer 1 1>3 imported timestamp=3 -> created\n"
          "transfer 2 1>3 -> imported_event_expected\n"
          "transfer 3 1>3 imported timestamp=4 -> created\n"
          "commit\n"
          "transfer 4 1>3 -> created\n"
          "transfer 5 1>3 imported timestamp=5 -> imported_event_not_expected\n"
          "query_accounts -> 1 3 4 6\n"
          "query_transfers -> 1 3 4\n");
}

UNIT_TEST(imported_timestamp_is_before_the_events_own_slot)
{
    check("account 1 imported timestamp=slot-1 -> created\n"
          "account 2 imported timestamp=slot -> imported_event_timestamp_must_not_advance\n"
          "account 3 imported timestamp=slot -> imported_event_timestamp_must_not_advance\n"
          "commit\n"
          "account 2 imported timestamp=slot-1 -> created\n"
          "tick 1s\n"
          "transfer 1 1>2 imported timestamp=slot -> imported_event_timestamp_must_not_advance\n"
          "transfer 2 1>2 imported timestamp=slot-1 -> created\n"
          "transfer 3 1>2 imported timestamp=slot+1 -> imported_event_timestamp_must_not_advance\n"
          "transfer 4 1>2 imported timestamp=max63 -> imported_event_timestamp_must_not_advance\n"
          "transfer 5 1>2 imported timestamp=max63+1 -> imported_event_timestamp_out_of_range\n"
          "transfer 6 1>2 imported timestamp=max -> imported_event_timestamp_out_of_range\n"
          "transfer 7 1>2 imported timestamp=0 -> imported_event_timestamp_out_of_range\n");
}

UNIT_TEST(imported_timestamps_ascend_in_each_kind)
{
    check("account 1 imported timestamp=10 -> created\n"
          "account 2 imported timestamp=10 -> imported_event_timestamp_must_not_regress\n"
          "account 2 imported timestamp=9 -> imported_event_timestamp_must_not_regress\n"
          "account 2 imported timestamp=11 -> created\n"
          "account 3 imported timestamp=20 -> created\n"
          "transfer 1 1>2 imported timestamp=15 -> created\n"
          "transfer 2 1>2 imported timestamp=15 -> imported_event_timestamp_must_not_regress\n"
          "transfer 2 1>2 imported timestamp=14 -> imported_event_timestamp_must_not_regress\n"
          "transfer 2 1>2 imported timestamp=20 -> imported_event_timestamp_must_not_regress\n"
          "transfer 2 1>2 imported timestamp=25 -> created\n"
          "account 4 imported timestamp=25 -> imported_event_timestamp_must_not_regress\n"
          "account 4 imported timestamp=24 -> created\n"
          "transfer 1 1>2 imported timestamp=1 -> exists\n"
          "account 1 imported timestamp=1 -> exists\n"
          "stored 1 timestamp=15\n"
          "query_accounts -> 1 2 3 4\n"
          "tick 1s\n"
          "account 5 -> created\n"
          "account 6 imported timestamp=30 -> imported_event_not_expected\n"
          "commit\n"
          "account 6 imported timestamp=30 -> imported_event_timestamp_must_not_regress\n"
          "account 6 imported timestamp=slot-1 -> created\n");
}

UNIT_TEST(imported_transfer_is_newer_than_its_accounts)
{
    check("account 1 imported timestamp=10 -> created\n"
          "account 2 imported timestamp=20 -> created\n"
          "account 3 imported timestamp=30 -> created\n"
          "transfer 1 1>2 imported timestamp=5"
          " -> imported_event_timestamp_must_postdate_debit_account\n"
          "transfer 1 1>2 imported timestamp=15"
          " -> imported_event_timestamp_must_postdate_credit_account\n"
          "transfer 1 2>1 imported timestamp=15"
          " -> imported_event_timestamp_must_postdate_debit_account\n"
          "transfer 1 1>2 imported timestamp=20 -> imported_event_timestamp_must_not_regress\n"
          "transfer 1 1>2 imported timestamp=21 -> created\n"
          "transfer 2 1>3 imported timestamp=22"
          " -> imported_event_timestamp_must_postdate_credit_account\n"
          "transfer 2 1>3 imported timestamp=31 -> created\n");
}

UNIT_TEST(imported_pending_transfers_have_no_timeout)
{
    check(
        "account 1 imported timestamp=10 -> created\n"
        "account 2 imported timestamp=20 -> created\n"
        "transfer 1 1>2 imported pending amount=5 timeout=1 timestamp=21"
        " -> imported_event_timeout_must_be_zero\n"
        "transfer 1 1>2 imported pending amount=5 timestamp=21 -> created\n"
        "transfer 2 1>2 imported pending amount=6 timestamp=22 -> created\n"
        "transfer 3 1>2 imported pending amount=7 timestamp=23 -> created\n"
        "transfer 4 post_pending_transfer pending_id=1 imported amount=4 timestamp=23"
        " -> imported_event_timestamp_must_not_regress\n"
        "transfer 4 post_pending_transfer pending_id=1 imported amount=4 timestamp=24 -> created\n"
        "transfer 5 void_pending_transfer pending_id=2 imported timestamp=25 -> created\n"
        "commit\n"
        "transfer 6 post_pending_transfer pending_id=3 amount=max -> created\n"
        "balance 1 dpo=11\n"
        "balance 2 cpo=11\n"
        "get_change_events -> 1:pending 2:pending 3:pending 4:posted 5:voided 6:posted\n");
}

UNIT_TEST(imported_post_is_judged_at_its_slot_and_not_at_its_timestamp)
{
    check(ACCOUNTS "transfer 1 1>2 amount=5 pending timeout=2 -> created\n"
                   "wait 2s\n"
                   "transfer 2 post_pending_transfer pending_id=1 imported timestamp=@t1+1"
                   " -> pending_transfer_expired\n");
}

UNIT_TEST(broken_chain_of_imports_leaves_its_timestamps_free)
{
    check("account 1 imported timestamp=10 linked -> linked_event_failed\n"
          "account 2 imported timestamp=11 linked -> linked_event_failed\n"
          "account 3 imported timestamp=12 code=0 -> code_must_not_be_zero\n"
          "account 1 imported timestamp=10 linked -> created\n"
          "account 2 imported timestamp=11 -> created\n"
          "transfer 1 1>2 imported timestamp=20 linked -> linked_event_failed\n"
          "transfer 2 1>2 imported timestamp=21 linked -> linked_event_failed\n"
          "transfer 3 1>2 imported timestamp=21 -> imported_event_timestamp_must_not_regress\n"
          "transfer 1 1>2 imported timestamp=20 linked -> created\n"
          "transfer 2 1>2 imported timestamp=21 -> created\n"
          "account 3 imported timestamp=20 -> imported_event_timestamp_must_not_regress\n"
          "account 3 imported timestamp=22 -> created\n");
}

UNIT_TEST(imports_keep_clear_of_expiries)
{
    /* After the tick, slot-1 is the timestamp of the expiry. */
    check(ACCOUNTS
          "transfer 1 1>2 pending amount=5 timeout=1 -> created\n"
          "tick 2s\n"
          "transfer 2 1>2 imported timestamp=slot-1 -> imported_event_timestamp_must_not_regress\n"
          "tick 1s\n"
          "transfer 3 1>2 imported timestamp=@t1+500 -> imported_event_timestamp_must_not_regress\n"
          "transfer 3 1>2 imported timestamp=slot-2 -> created\n");
    check(ACCOUNTS
          "transfer 1 1>2 pending amount=5 timeout=1 -> created\n"
          "tick 2s\n"
          "account 9 imported timestamp=slot-1 -> imported_event_timestamp_must_not_regress\n"
          "account 9 imported timestamp=slot-3 -> created\n");
}

UNIT_MAIN(test_accounting_transfers)
