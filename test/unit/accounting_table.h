/* SPDX-License-Identifier: PostgreSQL */
/*
 * Accounting tests as tables: a script is lines, each one row.
 *
 *     account 1 debits_must_not_exceed_credits user_data_64=7  -> created
 *     transfer 5 1>2 amount=15 pending timeout=3               -> exceeds_credits
 *
 * Events. Rows of one kind that follow each other are one batch, which any other row ends. What
 * stands after -> is the status that the event must get.
 *
 *     account ID [FIELD=NUMBER | FLAG | -FLAG]...  -> STATUS      ledger=1 code=1 unless given
 *     transfer ID [DEBIT>CREDIT] [FIELD=NUMBER | FLAG | -FLAG]...  -> STATUS
 *                                   ledger=1 code=1 unless given, or 0 for a post or void
 *     commit                        ends the batch; two batches in a row
 *
 * Fields and flags have the names of the records (ledger/types.h). A field that is given twice has
 * the last value. NUMBER is decimal or 0x…; or max (of the field's type), max63 (the largest
 * timestamp), slot (the event's own), @a5 or @t5 (timestamp of account or transfer 5, stored by an
 * earlier batch); each may be followed by +N or -N.
 *
 * Time.
 *     tick N(s|ms|ns)               time passes, and what is due expires
 *     wait N(s|ms|ns)               time passes, nothing expires
 *     reopen                        checkpoint, and open it again
 *
 * State.
 *     balance ID [dp=N] [dpo=N] [cp=N] [cpo=N] [closed]
 *                                   debits pending, debits posted, credits …; 0 unless given
 *     stored ID FIELD=NUMBER...     the transfer has these
 *     missing account ID...         also: missing transfer ID...
 *
 * Queries. FIELDs are those of the filter; limit=RESULTS_MAX unless given. After ->: what is found,
 * in order.
 *     get_account_transfers, query_accounts, query_transfers  -> ID...
 *     get_account_balances  -> ID:DP/DPO/CP/CPO...             ID of the transfer
 *     get_change_events  -> ID:TYPE...          single, pending, posted, voided, expired
 *     any of them  -> invalid
 *
 * All of it runs in a fixture of its own, so that the model judges every answer as well.
 */
#ifndef LEDGER_TEST_UNIT_ACCOUNTING_TABLE_H
#define LEDGER_TEST_UNIT_ACCOUNTING_TABLE_H

/* Runs the script; prints each row that is not as it says. Returns how many. */
int accounting_table_run(const char *script);

/* Needs unit.h. */
#define check(script)                                                                              \
    do {                                                                                           \
        const int rows_failed = accounting_table_run(script);                                      \
        expect(rows_failed == 0);                                                                  \
    } while (0)

#endif
