/* SPDX-License-Identifier: PostgreSQL */
/*
 * Business failures as SQL errors, for the functions that create one account or transfer: SQLSTATE,
 * what it means and what to do, one table for each kind. The batch functions return statuses
 * instead.
 */
#ifndef LEDGER_PG_SQL_ERRORS_H
#define LEDGER_PG_SQL_ERRORS_H

#include "ledger/types.h"

/* `status` is neither STATUS_CREATED nor exists. The record is the one that was sent. */
_Noreturn void errors_raise_account(uint32_t status, const struct account *account);
_Noreturn void errors_raise_transfer(uint32_t status, const struct transfer *transfer);

#endif
