/* SPDX-License-Identifier: PostgreSQL */
/*
 * The functions that read: lookups by id, the transfers and balances of an account, queries, change
 * events.
 *
 * NULL means no filter. A filter that makes no sense is an ERROR, never an empty answer; so is a
 * zero where the engine takes zero for "no filter". A limit larger than a message is satisfied page
 * by page: each page is a read of its own, and continues behind the timestamp of the last row.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "base/units.h"
#include "pg/client.h"
#include "pg/convert.h"
#include "pg/fdw_relation.h"

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
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_QUERY_TRANSFERS: return FDW_TRANSFERS;
    case LEDGER_GET_ACCOUNT_BALANCES: return FDW_ACCOUNT_BALANCES;
    case LEDGER_GET_CHANGE_EVENTS: return FDW_CHANGE_EVENTS;
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

/* Rows are those of a foreign table, which its owner may have altered. */
static ReturnSetInfo *
begin_rows(FunctionCallInfo fcinfo, enum ledger_operation operation)
{
    InitMaterializedSRF(fcinfo, 0);
    ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
    fdw_relation_check_columns(
        relation_of_operation(operation),
        get_typ_typrelid(get_fn_expr_rettype(fcinfo->flinfo)),
        set->setDesc);
    return set;
}

/* Appends the reply's rows to the set; returns the timestamp of the last one. */
static uint64_t
put_rows(ReturnSetInfo *set, const struct client_call *call, u128 account_id)
{
    struct convert_row row;
    uint64_t timestamp = 0;
    uint32_t row_size = ledger_row_size(call->operation);
    assert(call->reply_size % row_size == 0);
    for (uint32_t offset = 0; offset < call->reply_size; offset += row_size) {
        const void *record = (const char *) call->reply + offset;
        switch (call->operation) {
        case LEDGER_LOOKUP_ACCOUNTS:
        case LEDGER_QUERY_ACCOUNTS:
            convert_account_to_row(record, &row);
            timestamp = ((const struct account *) record)->timestamp;
            break;
        case LEDGER_LOOKUP_TRANSFERS:
        case LEDGER_GET_ACCOUNT_TRANSFERS:
        case LEDGER_QUERY_TRANSFERS:
            convert_transfer_to_row(record, &row);
            timestamp = ((const struct transfer *) record)->timestamp;
            break;
        case LEDGER_GET_ACCOUNT_BALANCES:
            convert_account_balance_to_row(account_id, record, &row);
            timestamp = ((const struct account_balance *) record)->timestamp;
            break;
        case LEDGER_GET_CHANGE_EVENTS:
            convert_change_event_to_row(record, &row);
            timestamp = ((const struct change_event *) record)->timestamp;
            break;
        default: unreachable();
        }
        tuplestore_putvalues(set->setResult, set->setDesc, row.values, row.nulls);
    }
    return timestamp;
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

    ReturnSetInfo *set = begin_rows(fcinfo, operation);
    const pg_uuid_t *uuids = (const pg_uuid_t *) (const void *) ARR_DATA_PTR(array);
    for (int done = 0; done < count;) {
        uint32_t ids = (uint32_t) min_u64((uint64_t) (count - done), RESULTS_MAX);
        struct client_call call;
        client_begin(&call, operation, ids, ids);
        call.input_size = ids * (uint32_t) sizeof(u128);
        assert(call.input_size <= call.input_size_max);
        u128 *input = call.input;
        for (uint32_t i = 0; i < ids; i++) {
            input[i] = convert_uuid_to_u128(UUIDPGetDatum(&uuids[done + (int) i]));
        }
        client_run(&call);
        (void) put_rows(set, &call, 0);
        client_end(&call);
        done += (int) ids;
    }
    return (Datum) 0;
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

/* What all filters share. The pointers are to the members of the filter itself. */
struct query {
    enum ledger_operation operation;
    const void *filter;
    uint32_t filter_size;
    uint32_t page_rows_max;
    uint64_t *timestamp_min;
    uint64_t *timestamp_max;
    uint32_t *limit;
    bool reversed;
    u128 account_id;
};

/*
 * Arguments `first` to `first` + 2 are timestamp_min, timestamp_max and limit. Returns the limit.
 */
static uint64_t
query_range(FunctionCallInfo fcinfo, int first, struct query *query)
{
    *query->timestamp_min =
        PG_ARGISNULL(first)
            ? 0
            : convert_bigint_to_timestamp(PG_GETARG_INT64(first), "timestamp_min");
    if (!PG_ARGISNULL(first + 1)) {
        *query->timestamp_max =
            convert_bigint_to_timestamp(PG_GETARG_INT64(first + 1), "timestamp_max");
        if (*query->timestamp_max == 0) raise_zero_filter("timestamp_max");
        if (*query->timestamp_min > *query->timestamp_max) {
            ereport(
                ERROR,
                errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                errmsg("timestamp_min must not be greater than timestamp_max"));
        }
    }

    if (PG_ARGISNULL(first + 2)) return UINT64_MAX;
    int64_t limit = PG_GETARG_INT64(first + 2);
    if (limit <= 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE),
            errmsg("limit must be greater than zero"),
            errdetail("The value is %lld.", (long long) limit),
            errhint("Use null for no limit."));
    }
    return (uint64_t) limit;
}

/* Narrows the range to what is behind a row with this timestamp; false if nothing is. */
static bool
query_advance(struct query *query, uint64_t timestamp)
{
    assert(timestamp > 0);
    assert(timestamp <= TIMESTAMP_MAX);
    if (query->reversed) {
        uint64_t lowest = max_u64(*query->timestamp_min, 1);
        if (timestamp <= lowest) return false;
        *query->timestamp_max = timestamp - 1;
    } else {
        uint64_t highest = *query->timestamp_max == 0 ? TIMESTAMP_MAX : *query->timestamp_max;
        if (timestamp >= highest) return false;
        *query->timestamp_min = timestamp + 1;
    }
    return true;
}

static Datum
query_run(FunctionCallInfo fcinfo, struct query *query, uint64_t limit)
{
    assert(limit > 0);
    ReturnSetInfo *set = begin_rows(fcinfo, query->operation);
    bool more = true;
    for (uint64_t remaining = limit; remaining > 0 && more;) {
        CHECK_FOR_INTERRUPTS();
        uint32_t page_rows = (uint32_t) min_u64(remaining, query->page_rows_max);
        *query->limit = page_rows;
        struct client_call call;
        client_begin(&call, query->operation, 1, page_rows);
        assert(query->filter_size <= call.input_size_max);
        memcpy(call.input, query->filter, query->filter_size);
        call.input_size = query->filter_size;
        client_run(&call);

        uint32_t rows = call.reply_size / ledger_row_size(call.operation);
        assert(rows <= page_rows);
        uint64_t timestamp = put_rows(set, &call, query->account_id);
        client_end(&call);
        remaining -= rows;
        more = rows == page_rows && query_advance(query, timestamp);
    }
    return (Datum) 0;
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

    bool reversed = filter_bool(fcinfo, 10, false);
    if (filter_bool(fcinfo, 1, true)) filter.flags |= ACCOUNT_FILTER_DEBITS;
    if (filter_bool(fcinfo, 2, true)) filter.flags |= ACCOUNT_FILTER_CREDITS;
    if (filter.flags == 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("debits and credits must not both be false"));
    }
    if (reversed) filter.flags |= ACCOUNT_FILTER_REVERSED;

    struct query query = {
        .operation = operation,
        .filter = &filter,
        .filter_size = sizeof(filter),
        .page_rows_max = RESULTS_MAX,
        .timestamp_min = &filter.timestamp_min,
        .timestamp_max = &filter.timestamp_max,
        .limit = &filter.limit,
        .reversed = reversed,
        .account_id = filter.account_id,
    };
    return query_run(fcinfo, &query, query_range(fcinfo, 7, &query));
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
    bool reversed = filter_bool(fcinfo, 8, false);
    struct query_filter filter = {
        .user_data_128 = filter_uuid(fcinfo, 0, "user_data_128"),
        .user_data_64 = filter_u64(fcinfo, 1, "user_data_64"),
        .user_data_32 = filter_u32(fcinfo, 2, "user_data_32"),
        .ledger = filter_u32(fcinfo, 3, "ledger"),
        .code = filter_u16(fcinfo, 4, "code"),
        .flags = reversed ? QUERY_FILTER_REVERSED : 0,
    };
    struct query query = {
        .operation = operation,
        .filter = &filter,
        .filter_size = sizeof(filter),
        .page_rows_max = RESULTS_MAX,
        .timestamp_min = &filter.timestamp_min,
        .timestamp_max = &filter.timestamp_max,
        .limit = &filter.limit,
        .reversed = reversed,
    };
    return query_run(fcinfo, &query, query_range(fcinfo, 5, &query));
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
    struct change_events_filter filter = {0};
    struct query query = {
        .operation = LEDGER_GET_CHANGE_EVENTS,
        .filter = &filter,
        .filter_size = sizeof(filter),
        .page_rows_max = CHANGE_EVENTS_MAX,
        .timestamp_min = &filter.timestamp_min,
        .timestamp_max = &filter.timestamp_max,
        .limit = &filter.limit,
    };
    return query_run(fcinfo, &query, query_range(fcinfo, 0, &query));
}
