/* SPDX-License-Identifier: PostgreSQL */
/*
 * Business failures as SQL errors, for the functions that create one account or transfer. For each
 * kind there is a table of SQLSTATEs, what they mean, and what to do. The batch functions return
 * statuses instead.
 */
#ifndef LEDGER_PG_SQL_ERRORS_H
#define LEDGER_PG_SQL_ERRORS_H

#include "ledger/types.h"

/*
 * Raises the error of a status, which is neither STATUS_CREATED nor `exists`. The record is the one
 * that was sent.
 */
_Noreturn void errors_raise_account(uint32_t status, const struct account *account);
_Noreturn void errors_raise_transfer(uint32_t status, const struct transfer *transfer);

#endif
