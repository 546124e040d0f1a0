/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/relation.h"

#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "utils/lsyscache.h"

#define FDW_FIELDS_MAX 14

/* A letter for the type of each column; see convert_letter_type. */
#define FDW_ACCOUNT_TYPES         "unnnnubbbiabz"
#define FDW_TRANSFER_TYPES        "uuunuubbbbitbzhzuz"
#define FDW_ACCOUNT_BALANCE_TYPES "unnnnbz"
#define FDW_CHANGE_EVENT_TYPES                                                                     \
    "unuubbbitbe"                                                                                  \
    "unnnnubbia"                                                                                   \
    "unnnnubbia"                                                                                   \
    "bbbbz"

static_assert(sizeof(FDW_ACCOUNT_TYPES) - 1 == CONVERT_ACCOUNT_COLUMNS, "a letter a column");
static_assert(sizeof(FDW_TRANSFER_TYPES) - 1 == CONVERT_TRANSFER_COLUMNS, "a letter a column");
static_assert(
    sizeof(FDW_ACCOUNT_BALANCE_TYPES) - 1 == CONVERT_ACCOUNT_BALANCE_COLUMNS, "a letter a column");
static_assert(
    sizeof(FDW_CHANGE_EVENT_TYPES) - 1 == CONVERT_CHANGE_EVENT_COLUMNS, "a letter a column");

struct fdw_relation_columns {
    const char *name;
    const char *types;
    struct {
        int column;
        enum fdw_field field;
    } fields[FDW_FIELDS_MAX];
};

static const struct fdw_relation_columns fdw_relations[FDW_RELATION_COUNT] = {
    [FDW_ACCOUNTS] =
        {
            .name = "accounts",
            .types = FDW_ACCOUNT_TYPES,
            .fields =
                {{1, FDW_FIELD_ID},
                 {6, FDW_FIELD_USER_DATA_128},
                 {7, FDW_FIELD_USER_DATA_64},
                 {8, FDW_FIELD_USER_DATA_32},
                 {9, FDW_FIELD_LEDGER},
                 {10, FDW_FIELD_CODE},
                 {12, FDW_FIELD_TIMESTAMP},
                 {13, FDW_FIELD_CREATED_AT}},
        },
    [FDW_TRANSFERS] =
        {
            .name = "transfers",
            .types = FDW_TRANSFER_TYPES,
            .fields =
                {{1, FDW_FIELD_ID},
                 {2, FDW_FIELD_DEBIT_ACCOUNT},
                 {3, FDW_FIELD_CREDIT_ACCOUNT},
                 {5, FDW_FIELD_PENDING_ID},
                 {6, FDW_FIELD_USER_DATA_128},
                 {7, FDW_FIELD_USER_DATA_64},
                 {8, FDW_FIELD_USER_DATA_32},
                 {10, FDW_FIELD_LEDGER},
                 {11, FDW_FIELD_CODE},
                 {13, FDW_FIELD_TIMESTAMP},
                 {14, FDW_FIELD_CREATED_AT},
                 {15, FDW_FIELD_STATE},
                 {16, FDW_FIELD_EXPIRES_AT}},
        },
    [FDW_ACCOUNT_BALANCES] =
        {
            .name = "account_balances",
            .types = FDW_ACCOUNT_BALANCE_TYPES,
            .fields = {{1, FDW_FIELD_ACCOUNT}, {6, FDW_FIELD_TIMESTAMP}, {7, FDW_FIELD_CREATED_AT}},
        },
    [FDW_CHANGE_EVENTS] =
        {
            .name = "change_events",
            .types = FDW_CHANGE_EVENT_TYPES,
            .fields =
                {{1, FDW_FIELD_TRANSFER_ID},
                 {32, FDW_FIELD_TIMESTAMP},
                 {36, FDW_FIELD_CREATED_AT}},
        },
};

bool
fdw_relation_by_name(const char *name, enum fdw_relation *relation)
{
    for (int i = 0; i < FDW_RELATION_COUNT; i++) {
        if (strcmp(fdw_relations[i].name, name) == 0) {
            *relation = (enum fdw_relation) i;
            return true;
        }
    }
    return false;
}

const char *
fdw_relation_name(enum fdw_relation relation)
{
    return fdw_relations[relation].name;
}

enum fdw_relation
fdw_relation_of_table(Oid table)
{
    ListCell *cell;
    foreach (cell, GetForeignTable(table)->options) {
        DefElem *option = lfirst_node(DefElem, cell);
        enum fdw_relation relation;
        if (strcmp(option->defname, "relation") != 0) continue;
        if (fdw_relation_by_name(defGetString(option), &relation)) return relation;
    }
    ereport(
        ERROR,
        errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
        errmsg("foreign table \"%s\" does not say which relation it shows", get_rel_name(table)),
        errhint("Set its option \"relation\"."));
    pg_unreachable();
}

void
fdw_relation_check_columns(enum fdw_relation relation, Oid table, TupleDesc columns)
{
    const char *types = fdw_relations[relation].types;
    bool same = columns->natts == (int) strlen(types);
    for (int i = 0; same && i < columns->natts; i++) {
        same = TupleDescAttr(columns, i)->atttypid == convert_letter_type(types[i]);
    }
    if (same) return;
    ereport(
        ERROR,
        errcode(ERRCODE_FDW_INCONSISTENT_DESCRIPTOR_INFORMATION),
        errmsg(
            "foreign table \"%s\" does not have the columns of relation \"%s\"",
            get_rel_name(table),
            fdw_relation_name(relation)),
        errhint("It must have the same columns as ledger.%s.", fdw_relation_name(relation)));
}

enum fdw_field
fdw_relation_field(enum fdw_relation relation, int column)
{
    if (column <= 0) return FDW_FIELD_NONE;
    for (int i = 0; i < FDW_FIELDS_MAX; i++) {
        if (fdw_relations[relation].fields[i].column == column) {
            return fdw_relations[relation].fields[i].field;
        }
    }
    return FDW_FIELD_NONE;
}

const char *
fdw_field_name(enum fdw_field field)
{
    switch (field) {
    case FDW_FIELD_NONE: break;
    case FDW_FIELD_ID: return "id";
    case FDW_FIELD_ACCOUNT: return "account_id";
    case FDW_FIELD_DEBIT_ACCOUNT: return "debit_account_id";
    case FDW_FIELD_CREDIT_ACCOUNT: return "credit_account_id";
    case FDW_FIELD_USER_DATA_128: return "user_data_128";
    case FDW_FIELD_USER_DATA_64: return "user_data_64";
    case FDW_FIELD_USER_DATA_32: return "user_data_32";
    case FDW_FIELD_LEDGER: return "ledger";
    case FDW_FIELD_CODE: return "code";
    case FDW_FIELD_TIMESTAMP: return "timestamp";
    case FDW_FIELD_CREATED_AT: return "created_at";
    case FDW_FIELD_PENDING_ID: return "pending_id";
    case FDW_FIELD_TRANSFER_ID: return "transfer_id";
    case FDW_FIELD_STATE: return "state";
    case FDW_FIELD_EXPIRES_AT: return "expires_at";
    }
    unreachable();
}

void
fdw_relation_record_to_row(
    enum fdw_relation relation, u128 account_id, const void *record, struct convert_row *row)
{
    switch (relation) {
    case FDW_ACCOUNTS: convert_account_to_row(record, row); return;
    case FDW_TRANSFERS: convert_transfer_to_row(record, row); return;
    case FDW_ACCOUNT_BALANCES: convert_account_balance_to_row(account_id, record, row); return;
    case FDW_CHANGE_EVENTS: convert_change_event_to_row(record, row); return;
    }
    unreachable();
}
