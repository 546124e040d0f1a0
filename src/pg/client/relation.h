/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the foreign tables show: four relations of the engine, their columns, and which columns its
 * indexes know.
 *
 * A foreign table names its relation in the option `relation` and has exactly the columns of that
 * relation's row type, in order: a column's number is enough to know what it is.
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
    FDW_FIELD_STATE,      /* Of a hold. */
    FDW_FIELD_EXPIRES_AT, /* Of a hold, in microseconds. */
};
#define FDW_FIELD_COUNT (FDW_FIELD_EXPIRES_AT + 1)

/* The value of a table's option `relation`; false if it is none. */
bool fdw_relation_by_name(const char *name, enum fdw_relation *relation);
const char *fdw_relation_name(enum fdw_relation relation);
/* Says which one a foreign table is. Raises an error if its option is missing. */
enum fdw_relation fdw_relation_of_table(Oid table);

/* Raises unless the table has the relation's columns. */
void fdw_relation_check_columns(enum fdw_relation relation, Oid table, TupleDesc columns);

/* What conditions on this column (from 1) are about; FDW_FIELD_NONE if the engine has no index for
 * it. */
enum fdw_field fdw_relation_field(enum fdw_relation relation, int column);
const char *fdw_field_name(enum fdw_field field);

/* `account_id` is of the balance; others ignore it. */
void fdw_relation_record_to_row(
    enum fdw_relation relation, u128 account_id, const void *record, struct convert_row *row);

#endif
