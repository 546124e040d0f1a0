/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/sql/errors.h"

#include "utils/builtins.h"
#include "utils/uuid.h"

#include "base/units.h"
#include "pg/client/convert.h"

/*
 * How SQLSTATEs are chosen. A condition on balances is a check constraint (23514). Something that
 * is named but doesn't exist is a foreign key (23503). An id that is taken is a unique key (23505).
 * A state that forbids it, for now or for ever, is 55000. Arguments that could never be right are
 * 22023, sums that don't fit are 22003.
 */
struct status_error {
    int sqlstate;
    const char *detail;
    const char *hint;
};

#define HINT_SAME_ID                                                                               \
    "Use an id for one purpose only. To repeat a request, repeat all of its arguments."
#define HINT_NEW_ID "This id is used up. Correct the cause, then use a new id."
#define HINT_RESOLVE                                                                               \
    "Name it in ledger.post_pending_transfer() or ledger.void_pending_transfer()."
#define HINT_LOOK_AT_PENDING "SELECT * FROM ledger.lookup_transfers() shows the pending transfer."
#define HINT_BATCH "Use the batch functions for linked events."
#define HINT_IMPORT_ORDER                                                                          \
    "Import accounts before transfers, each in the order of their timestamps."

#define DIFFERENT(what) "The id exists with a different " what "."

static const struct status_error account_errors[] = {
    [ACCOUNT_STATUS_linked_event_failed] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Another event of the linked chain failed.", NULL},
    [ACCOUNT_STATUS_linked_event_chain_open] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The last event of a batch must not be flagged linked.",
         HINT_BATCH},
    [ACCOUNT_STATUS_timestamp_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Only an imported account brings its timestamp.", NULL},
    [ACCOUNT_STATUS_reserved_field] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A reserved field is not zero.", NULL},
    [ACCOUNT_STATUS_reserved_flag] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A reserved flag is set.", NULL},
    [ACCOUNT_STATUS_id_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The id is all zeros.", NULL},
    [ACCOUNT_STATUS_id_must_not_be_int_max] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The id is all ones.", NULL},
    [ACCOUNT_STATUS_flags_are_mutually_exclusive] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "An account may limit its debits or its credits, not both.",
         NULL},
    [ACCOUNT_STATUS_debits_pending_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A new account has no pending debits.", NULL},
    [ACCOUNT_STATUS_debits_posted_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A new account has no posted debits.", NULL},
    [ACCOUNT_STATUS_credits_pending_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A new account has no pending credits.", NULL},
    [ACCOUNT_STATUS_credits_posted_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A new account has no posted credits.", NULL},
    [ACCOUNT_STATUS_ledger_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Ledgers are numbered from 1.", NULL},
    [ACCOUNT_STATUS_code_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Codes are numbered from 1.", NULL},
    [ACCOUNT_STATUS_exists_with_different_flags] =
        {ERRCODE_UNIQUE_VIOLATION,
         "The id exists with different flags, or was closed since.",
         HINT_SAME_ID},
    [ACCOUNT_STATUS_exists_with_different_user_data_128] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("user_data_128"), HINT_SAME_ID},
    [ACCOUNT_STATUS_exists_with_different_user_data_64] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("user_data_64"), HINT_SAME_ID},
    [ACCOUNT_STATUS_exists_with_different_user_data_32] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("user_data_32"), HINT_SAME_ID},
    [ACCOUNT_STATUS_exists_with_different_ledger] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("ledger"), HINT_SAME_ID},
    [ACCOUNT_STATUS_exists_with_different_code] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("code"), HINT_SAME_ID},
    [ACCOUNT_STATUS_imported_event_expected] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The first event of the batch is imported.", NULL},
    [ACCOUNT_STATUS_imported_event_not_expected] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The first event of the batch is not imported.", NULL},
    [ACCOUNT_STATUS_imported_event_timestamp_out_of_range] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "An imported account needs its timestamp.", NULL},
    [ACCOUNT_STATUS_imported_event_timestamp_must_not_advance] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "The timestamp is not in the past.", NULL},
    [ACCOUNT_STATUS_imported_event_timestamp_must_not_regress] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "The timestamp is taken, or a newer account exists.",
         HINT_IMPORT_ORDER},
};

static const struct status_error transfer_errors[] = {
    [TRANSFER_STATUS_linked_event_failed] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Another event of the linked chain failed.", NULL},
    [TRANSFER_STATUS_linked_event_chain_open] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The last event of a batch must not be flagged linked.",
         HINT_BATCH},
    [TRANSFER_STATUS_timestamp_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Only an imported transfer brings its timestamp.", NULL},
    [TRANSFER_STATUS_reserved_flag] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A reserved flag is set.", NULL},
    [TRANSFER_STATUS_id_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The id is all zeros.", NULL},
    [TRANSFER_STATUS_id_must_not_be_int_max] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The id is all ones.", NULL},
    [TRANSFER_STATUS_flags_are_mutually_exclusive] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "A transfer that posts or voids a pending transfer has no other purpose.",
         NULL},
    [TRANSFER_STATUS_debit_account_id_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The debit account's id is all zeros.", NULL},
    [TRANSFER_STATUS_debit_account_id_must_not_be_int_max] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The debit account's id is all ones.", NULL},
    [TRANSFER_STATUS_credit_account_id_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The credit account's id is all zeros.", NULL},
    [TRANSFER_STATUS_credit_account_id_must_not_be_int_max] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The credit account's id is all ones.", NULL},
    [TRANSFER_STATUS_accounts_must_be_different] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Debit and credit account are the same.", NULL},
    [TRANSFER_STATUS_pending_id_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "Only a transfer that posts or voids names a pending transfer.",
         HINT_RESOLVE},
    [TRANSFER_STATUS_pending_id_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "No pending transfer is named.", HINT_RESOLVE},
    [TRANSFER_STATUS_pending_id_must_not_be_int_max] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The pending transfer's id is all ones.", NULL},
    [TRANSFER_STATUS_pending_id_must_be_different] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "A transfer cannot resolve itself.", NULL},
    [TRANSFER_STATUS_timeout_reserved_for_pending_transfer] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "Only a pending transfer has a timeout.",
         "Add the flag pending, or leave the timeout out."},
    [TRANSFER_STATUS_ledger_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Ledgers are numbered from 1.", NULL},
    [TRANSFER_STATUS_code_must_not_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "Codes are numbered from 1.", NULL},
    [TRANSFER_STATUS_debit_account_not_found] =
        {ERRCODE_FOREIGN_KEY_VIOLATION, "The debit account does not exist.", HINT_NEW_ID},
    [TRANSFER_STATUS_credit_account_not_found] =
        {ERRCODE_FOREIGN_KEY_VIOLATION, "The credit account does not exist.", HINT_NEW_ID},
    [TRANSFER_STATUS_accounts_must_have_the_same_ledger] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The two accounts are in different ledgers.",
         "Exchange between ledgers with two linked transfers."},
    [TRANSFER_STATUS_transfer_must_have_the_same_ledger_as_accounts] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The accounts are in another ledger.", NULL},
    [TRANSFER_STATUS_pending_transfer_not_found] =
        {ERRCODE_FOREIGN_KEY_VIOLATION, "The pending transfer does not exist.", HINT_NEW_ID},
    [TRANSFER_STATUS_pending_transfer_not_pending] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "The transfer to resolve was not created with the flag pending.",
         NULL},
    [TRANSFER_STATUS_pending_transfer_has_different_debit_account_id] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The pending transfer debits another account.",
         HINT_LOOK_AT_PENDING},
    [TRANSFER_STATUS_pending_transfer_has_different_credit_account_id] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The pending transfer credits another account.",
         HINT_LOOK_AT_PENDING},
    [TRANSFER_STATUS_pending_transfer_has_different_ledger] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The pending transfer has another ledger.",
         HINT_LOOK_AT_PENDING},
    [TRANSFER_STATUS_pending_transfer_has_different_code] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "The pending transfer has another code.",
         HINT_LOOK_AT_PENDING},
    [TRANSFER_STATUS_exceeds_pending_transfer_amount] =
        {ERRCODE_CHECK_VIOLATION,
         "More than the pending amount cannot be posted.",
         "Leave the amount out to post all of it."},
    [TRANSFER_STATUS_pending_transfer_has_different_amount] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "A pending transfer can only be voided as a whole.",
         "Leave the amount out."},
    [TRANSFER_STATUS_pending_transfer_already_posted] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "The pending transfer was posted before.",
         NULL},
    [TRANSFER_STATUS_pending_transfer_already_voided] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "The pending transfer was voided before.",
         NULL},
    [TRANSFER_STATUS_pending_transfer_expired] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "The pending transfer's timeout has passed.",
         NULL},
    [TRANSFER_STATUS_exists_with_different_flags] =
        {ERRCODE_UNIQUE_VIOLATION, "The id exists with different flags.", HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_debit_account_id] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("debit account"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_credit_account_id] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("credit account"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_amount] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("amount"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_pending_id] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("pending transfer"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_user_data_128] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("user_data_128"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_user_data_64] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("user_data_64"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_user_data_32] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("user_data_32"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_timeout] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("timeout"), HINT_SAME_ID},
    [TRANSFER_STATUS_exists_with_different_code] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("code"), HINT_SAME_ID},
    [TRANSFER_STATUS_overflows_debits_pending] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "The pending debits would reach 2^128.", NULL},
    [TRANSFER_STATUS_overflows_credits_pending] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "The pending credits would reach 2^128.", NULL},
    [TRANSFER_STATUS_overflows_debits_posted] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "The posted debits would reach 2^128.", NULL},
    [TRANSFER_STATUS_overflows_credits_posted] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "The posted credits would reach 2^128.", NULL},
    [TRANSFER_STATUS_overflows_debits] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
         "Pending and posted debits together would reach 2^128.",
         NULL},
    [TRANSFER_STATUS_overflows_credits] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
         "Pending and posted credits together would reach 2^128.",
         NULL},
    [TRANSFER_STATUS_overflows_timeout] =
        {ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "The transfer would expire after 2262.", NULL},
    [TRANSFER_STATUS_exceeds_credits] =
        {ERRCODE_CHECK_VIOLATION,
         "The debit account's debits must not exceed its credits.",
         HINT_NEW_ID},
    [TRANSFER_STATUS_exceeds_debits] =
        {ERRCODE_CHECK_VIOLATION,
         "The credit account's credits must not exceed its debits.",
         HINT_NEW_ID},
    [TRANSFER_STATUS_imported_event_expected] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The first event of the batch is imported.", NULL},
    [TRANSFER_STATUS_imported_event_not_expected] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "The first event of the batch is not imported.", NULL},
    [TRANSFER_STATUS_imported_event_timestamp_out_of_range] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "An imported transfer needs its timestamp.", NULL},
    [TRANSFER_STATUS_imported_event_timestamp_must_not_advance] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "The timestamp is not in the past.", NULL},
    [TRANSFER_STATUS_imported_event_timestamp_must_not_regress] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "The timestamp is taken, or a newer transfer exists.",
         HINT_IMPORT_ORDER},
    [TRANSFER_STATUS_imported_event_timestamp_must_postdate_debit_account] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "The debit account is not older.", NULL},
    [TRANSFER_STATUS_imported_event_timestamp_must_postdate_credit_account] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "The credit account is not older.", NULL},
    [TRANSFER_STATUS_imported_event_timeout_must_be_zero] =
        {ERRCODE_INVALID_PARAMETER_VALUE, "An imported transfer cannot have a timeout.", NULL},
    [TRANSFER_STATUS_closing_transfer_must_be_pending] =
        {ERRCODE_INVALID_PARAMETER_VALUE,
         "Only a pending transfer can close an account, so that voiding it can open it again.",
         "Add the flag pending."},
    [TRANSFER_STATUS_debit_account_already_closed] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "The debit account is closed.", HINT_NEW_ID},
    [TRANSFER_STATUS_credit_account_already_closed] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "The credit account is closed.", HINT_NEW_ID},
    [TRANSFER_STATUS_exists_with_different_ledger] =
        {ERRCODE_UNIQUE_VIOLATION, DIFFERENT("ledger"), HINT_SAME_ID},
    [TRANSFER_STATUS_id_already_failed] =
        {ERRCODE_UNIQUE_VIOLATION,
         "An earlier transfer with this id failed, and that outcome is final.",
         "Use a new id."},
};

static const char *
uuid_text(u128 value)
{
    pg_uuid_t uuid;
    convert_u128_to_uuid(value, &uuid);
    return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&uuid)));
}

static const char *
amount_text(u128 value)
{
    char numeric[CONVERT_NUMERIC_SIZE_MAX] __attribute__((aligned(8)));
    (void) convert_u128_to_numeric(value, numeric);
    return DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(numeric)));
}

void
errors_raise_account(uint32_t status, const struct account *account)
{
    assert(status < ARRAY_COUNT(account_errors));
    const struct status_error *error = &account_errors[status];
    assert(error->detail);
    ereport(
        ERROR,
        errcode(error->sqlstate),
        errmsg("could not create account: %s", create_account_status_name(status)),
        errdetail("%s Account %s.", error->detail, uuid_text(account->id)),
        error->hint ? errhint("%s", error->hint) : 0);
    pg_unreachable();
}

void
errors_raise_transfer(uint32_t status, const struct transfer *transfer)
{
    assert(status < ARRAY_COUNT(transfer_errors));
    const struct status_error *error = &transfer_errors[status];
    assert(error->detail);

    const char *verb = "create";
    if ((transfer->flags & TRANSFER_POST_PENDING) != 0) verb = "post pending";
    if ((transfer->flags & TRANSFER_VOID_PENDING) != 0) verb = "void pending";
    const char *parties =
        (transfer->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) != 0
            ? psprintf("pending transfer %s", uuid_text(transfer->pending_id))
            : psprintf(
                  "debit account %s, credit account %s, amount %s",
                  uuid_text(transfer->debit_account_id),
                  uuid_text(transfer->credit_account_id),
                  amount_text(transfer->amount));
    ereport(
        ERROR,
        errcode(error->sqlstate),
        errmsg("could not %s transfer: %s", verb, create_transfer_status_name(status)),
        errdetail("%s Transfer %s, %s.", error->detail, uuid_text(transfer->id), parties),
        error->hint ? errhint("%s", error->hint) : 0);
    pg_unreachable();
}
