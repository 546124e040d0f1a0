/* SPDX-License-Identifier: PostgreSQL */
/* Names of statuses, from the lists in types.h. */
#include <stddef.h>

#include "ledger/ledger_internal.h"

const char *
create_account_status_name(uint32_t status)
{
    switch (status) {
    case STATUS_CREATED: return "created";
#define X(name, code)                                                                              \
    case code: return #name;
        CREATE_ACCOUNT_STATUS_LIST(X)
#undef X
    default: return NULL;
    }
}

const char *
create_transfer_status_name(uint32_t status)
{
    switch (status) {
    case STATUS_CREATED: return "created";
#define X(name, code)                                                                              \
    case code: return #name;
        CREATE_TRANSFER_STATUS_LIST(X)
#undef X
    default: return NULL;
    }
}

/*
 * These seven depend on what is stored: the same event might succeed later. A client that lost the
 * reply and asks again must not see another outcome, so the id is burnt. All other failures are
 * caused by the event itself, or can't change anyway.
 */
bool
transfer_status_is_transient(uint32_t status)
{
    return status == TRANSFER_STATUS_debit_account_not_found ||
           status == TRANSFER_STATUS_credit_account_not_found ||
           status == TRANSFER_STATUS_pending_transfer_not_found ||
           status == TRANSFER_STATUS_exceeds_credits || status == TRANSFER_STATUS_exceeds_debits ||
           status == TRANSFER_STATUS_debit_account_already_closed ||
           status == TRANSFER_STATUS_credit_account_already_closed;
}
