/* SPDX-License-Identifier: PostgreSQL */
/*
 * The functions that read: lookups by id, the transfers and balances of an account, queries, change
 * events.
 *
 * NULL means no filter, and no limit. A filter that makes no sense is an ERROR, never an empty
 * answer. So is a zero, where the engine would understand zero as "no filter". Rows are read page
 * by page (paging.h), and the set of them goes to disk when it outgrows work_mem.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "base/units.h"
#include "pg/client/convert.h"
#include "pg/client/paging.h"
#include "pg/client/relation.h"

PG_FUNCTION_INFO_V1(ledger_lookup_accounts);
PG_FUNCTION_INFO_V1(ledger_lookup_transfers);
PG_FUNCTION_INFO_V1(ledger_get_account_transfers);
PG_FUNCTION_INFO_V1(ledger_get_account_balances);
PG_FUNCTION_INFO_V1(ledger_query_accounts);
PG_FUNCTION_INFO_V1(ledger_query_transfers);
PG_FUNCTION_INFO_V1(ledger_get_change_events);

/* ---- Rows ------------------------------------------------------------------------------------ */

static enum fdw_relation
relation_of_operation(enum ledger_operation operation)
{
    switch (operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_QUERY_ACCOUNTS: return FDW_ACCOUNTS;
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_QUERY_HOLDS:
    case LEDGER_QUERY_TRANSFERS: return FDW_TRANSFERS;
    case LEDGER_GET_ACCOUNT_BALANCES: return FDW_ACCOUNT_BALANCES;
    case LEDGER_LOOKUP_CHANGE_EVENTS:
    case LEDGER_GET_CHANGE_EVENTS: return FDW_CHANGE_EVENTS;
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

/*
 * Reads the strand to its end into the function's set. Its rows are those of a foreign table, which
 * the table's owner may have altered. `account_id` is used for balances only.
 */
static Datum
put_rows(
    FunctionCallInfo fcinfo, struct paging *paging, struct paging_strand *strand, u128 account_id)
{
    const enum fdw_relation relation = relation_of_operation(paging->operation);
    const Oid table = get_typ_typrelid(get_fn_expr_rettype(fcinfo->flinfo));
    struct convert_row row;
    InitMaterializedSRF(fcinfo, 0);
    ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
    fdw_relation_check_columns(relation, table, set->setDesc);
    while (paging_next(paging, strand)) {
        for (uint32_t i = 0; i < strand->count; i++) {
            const void *record = paging_record(paging, strand, i);
            fdw_relation_record_to_row(relation, account_id, record, &row);
            tuplestore_putvalues(set->setResult, set->setDesc, row.values, row.nulls);
        }
    }
    paging_strand_end(strand);
    return (Datum) 0;
}

/* ---- Lookups --------------------------------------------------------------------------------- */

static Datum
lookup(FunctionCallInfo fcinfo, enum ledger_operation operation)
{
    ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
    int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    if (count > 0 && ARR_HASNULL(array) && array_contains_nulls(array)) {
        ereport(
            ERROR,
            errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
            errmsg("ids must not contain nulls"));
    }

    u128 *ids = palloc(Max((Size) count, 1) * sizeof(u128));
    const pg_uuid_t *uuids = (const pg_uuid_t *) (const void *) ARR_DATA_PTR(array);
    for (int i = 0; i < count; i++) {
        ids[i] = convert_uuid_to_u128(UUIDPGetDatum(&uuids[i]));
    }
    struct paging paging;
    struct paging_strand strand = {0};
    paging_init(&paging, operation, false);
    paging_strand_start_lookup(&strand, ids, (uint32_t) count);
    return put_rows(fcinfo, &paging, &strand, 0);
}

Datum
ledger_lookup_accounts(PG_FUNCTION_ARGS)
{
    return lookup(fcinfo, LEDGER_LOOKUP_ACCOUNTS);
}

Datum
ledger_lookup_transfers(PG_FUNCTION_ARGS)
{
    return lookup(fcinfo, LEDGER_LOOKUP_TRANSFERS);
}

/* ---- Filters --------------------------------------------------------------------------------- */

static _Noreturn void
raise_zero_filter(const char *name)
{
    ereport(
        ERROR,
        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
        errmsg("cannot filter by a %s of zero", name),
        errhint("Zero means that it is not set. Use null for no filter."));
    pg_unreachable();
}

static u128
filter_uuid(FunctionCallInfo fcinfo, int argument, const char *name)
{
    if (PG_ARGISNULL(argument)) return 0;
    u128 value = convert_uuid_to_u128(PG_GETARG_DATUM(argument));
    if (value == 0) raise_zero_filter(name);
    return value;
}

static uint64_t
filter_u64(FunctionCallInfo fcinfo, int argument, const char *name)
{
    if (PG_ARGISNULL(argument)) return 0;
    uint64_t value = (uint64_t) PG_GETARG_INT64(argument);
    if (value == 0) raise_zero_filter(name);
    return value;
}

static uint32_t
filter_u32(FunctionCallInfo fcinfo, int argument, const char *name)
{
    if (PG_ARGISNULL(argument)) return 0;
    uint32_t value = convert_bigint_to_u32(PG_GETARG_INT64(argument), name);
    if (value == 0) raise_zero_filter(name);
    return value;
}

static uint16_t
filter_u16(FunctionCallInfo fcinfo, int argument, const char *name)
{
    if (PG_ARGISNULL(argument)) return 0;
    uint16_t value = convert_integer_to_u16(PG_GETARG_INT32(argument), name);
    if (value == 0) raise_zero_filter(name);
    return value;
}

static bool
filter_bool(FunctionCallInfo fcinfo, int argument, bool value_default)
{
    return PG_ARGISNULL(argument) ? value_default : PG_GETARG_BOOL(argument);
}

/* Reads the arguments timestamp_min, timestamp_max and limit, which begin at number `first`. */
static void
take_range(FunctionCallInfo fcinfo, int first, struct paging *paging)
{
    if (!PG_ARGISNULL(first)) {
        uint64_t min = convert_bigint_to_timestamp(PG_GETARG_INT64(first), "timestamp_min");
        paging->timestamp_min = max_u64(min, 1);
    }
    if (!PG_ARGISNULL(first + 1)) {
        uint64_t max = convert_bigint_to_timestamp(PG_GETARG_INT64(first + 1), "timestamp_max");
        if (max == 0) raise_zero_filter("timestamp_max");
        paging->timestamp_max = max;
    }
    if (paging->timestamp_min > paging->timestamp_max) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("timestamp_min must not be greater than timestamp_max"));
    }

    if (PG_ARGISNULL(first + 2)) return;
    int64_t limit = PG_GETARG_INT64(first + 2);
    if (limit <= 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE),
            errmsg("limit must be greater than zero"),
            errdetail("The value is %lld.", (long long) limit),
            errhint("Use null for no limit."));
    }
    paging->row_limit = (uint64_t) limit;
}

/* Returns all rows of one filter. */
static Datum
run(FunctionCallInfo fcinfo,
    struct paging *paging,
    const union paging_filter *filter,
    u128 account_id)
{
    struct paging_strand strand = {0};
    paging_begin(paging);
    paging_strand_start(paging, &strand, filter);
    return put_rows(fcinfo, paging, &strand, account_id);
}

/* ---- Queries --------------------------------------------------------------------------------- */

static Datum
account_query(FunctionCallInfo fcinfo, enum ledger_operation operation)
{
    if (PG_ARGISNULL(0)) convert_raise_null("account_id");
    struct account_filter filter = {
        .account_id = convert_uuid_to_u128(PG_GETARG_DATUM(0)),
        .user_data_128 = filter_uuid(fcinfo, 3, "user_data_128"),
        .user_data_64 = filter_u64(fcinfo, 4, "user_data_64"),
        .user_data_32 = filter_u32(fcinfo, 5, "user_data_32"),
        .code = filter_u16(fcinfo, 6, "code"),
    };
    if (filter.account_id == 0 || filter.account_id == U128_MAX) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("account_id must not be all zeros or all ones"));
    }

    if (filter_bool(fcinfo, 1, true)) filter.flags |= ACCOUNT_FILTER_DEBITS;
    if (filter_bool(fcinfo, 2, true)) filter.flags |= ACCOUNT_FILTER_CREDITS;
    if (filter.flags == 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("debits and credits must not both be false"));
    }
    struct paging paging;
    paging_init(&paging, operation, filter_bool(fcinfo, 10, false));
    take_range(fcinfo, 7, &paging);
    return run(fcinfo, &paging, &(union paging_filter){.account = filter}, filter.account_id);
}

Datum
ledger_get_account_transfers(PG_FUNCTION_ARGS)
{
    return account_query(fcinfo, LEDGER_GET_ACCOUNT_TRANSFERS);
}

Datum
ledger_get_account_balances(PG_FUNCTION_ARGS)
{
    return account_query(fcinfo, LEDGER_GET_ACCOUNT_BALANCES);
}

static Datum
object_query(FunctionCallInfo fcinfo, enum ledger_operation operation)
{
    struct query_filter filter = {
        .user_data_128 = filter_uuid(fcinfo, 0, "user_data_128"),
        .user_data_64 = filter_u64(fcinfo, 1, "user_data_64"),
        .user_data_32 = filter_u32(fcinfo, 2, "user_data_32"),
        .ledger = filter_u32(fcinfo, 3, "ledger"),
        .code = filter_u16(fcinfo, 4, "code"),
    };
    struct paging paging;
    paging_init(&paging, operation, filter_bool(fcinfo, 8, false));
    take_range(fcinfo, 5, &paging);
    return run(fcinfo, &paging, &(union paging_filter){.query = filter}, 0);
}

Datum
ledger_query_accounts(PG_FUNCTION_ARGS)
{
    return object_query(fcinfo, LEDGER_QUERY_ACCOUNTS);
}

Datum
ledger_query_transfers(PG_FUNCTION_ARGS)
{
    return object_query(fcinfo, LEDGER_QUERY_TRANSFERS);
}

Datum
ledger_get_change_events(PG_FUNCTION_ARGS)
{
    struct paging paging;
    paging_init(&paging, LEDGER_GET_CHANGE_EVENTS, filter_bool(fcinfo, 3, false));
    take_range(fcinfo, 0, &paging);
    return run(fcinfo, &paging, &(union paging_filter){.change_events = {0}}, 0);
}
