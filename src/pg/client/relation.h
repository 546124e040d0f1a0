/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the foreign tables show: four relations of the engine, their columns, and which of these
 * columns the engine has indexes for.
 *
 * A foreign table names its relation in the option `relation`. It must have exactly the columns of
 * that relation's row type, in order, so that a column's number says what it is.
 */
#ifndef LEDGER_PG_CLIENT_RELATION_H
#define LEDGER_PG_CLIENT_RELATION_H

#include "access/tupdesc.h"

#include "ledger/types.h"
#include "pg/client/convert.h"

enum fdw_relation {
    FDW_ACCOUNTS,
    FDW_TRANSFERS,
    FDW_ACCOUNT_BALANCES,
    FDW_CHANGE_EVENTS,
};
#define FDW_RELATION_COUNT 4

/* What a condition can be about. The names are those of the columns. */
enum fdw_field {
    FDW_FIELD_NONE,
    FDW_FIELD_ID,
    FDW_FIELD_ACCOUNT, /* The account of a balance; either account of a transfer. */
    FDW_FIELD_DEBIT_ACCOUNT,
    FDW_FIELD_CREDIT_ACCOUNT,
    FDW_FIELD_USER_DATA_128,
    FDW_FIELD_USER_DATA_64,
    FDW_FIELD_USER_DATA_32,
    FDW_FIELD_LEDGER,
    FDW_FIELD_CODE,
    FDW_FIELD_TIMESTAMP,
    FDW_FIELD_CREATED_AT, /* The timestamp, in microseconds. */
    FDW_FIELD_PENDING_ID,
    FDW_FIELD_TRANSFER_ID,
    FDW_FIELD_STATE,      /* For holds only. */
    FDW_FIELD_EXPIRES_AT, /* For holds only; in microseconds. */
};
#define FDW_FIELD_COUNT (FDW_FIELD_EXPIRES_AT + 1)

/*
 * The relation that a table's option `relation` names. Returns false if there is none of that name.
 */
bool fdw_relation_by_name(const char *name, enum fdw_relation *relation);
const char *fdw_relation_name(enum fdw_relation relation);
/* The relation that a foreign table shows. Raises an error if the table lacks the option. */
enum fdw_relation fdw_relation_of_table(Oid table);

/* Raises an error unless the table has the relation's columns. */
void fdw_relation_check_columns(enum fdw_relation relation, Oid table, TupleDesc columns);

/*
 * What a condition on this column (counted from 1) is about; FDW_FIELD_NONE if the engine has no
 * index for it.
 */
enum fdw_field fdw_relation_field(enum fdw_relation relation, int column);
const char *fdw_field_name(enum fdw_field field);

/* `account_id` is that of the balance. Other relations ignore it. */
void fdw_relation_record_to_row(
    enum fdw_relation relation, u128 account_id, const void *record, struct convert_row *row);

#endif
