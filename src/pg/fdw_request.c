/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/fdw_request.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/units.h"
#include "pg/client.h"
#include "pg/slots.h"

/* Rows of the pages after the first, which fills a small slot. */
#define FDW_PAGE_ROWS_SECOND 512

/* What contradicts every record. */
static void
fdw_request_contradict(struct fdw_request *request)
{
    request->empty = true;
}

void
fdw_request_init(struct fdw_request *request, const struct fdw_plan *plan)
{
    memset(request, 0, sizeof(*request));
    request->relation = plan->relation;
    request->operation = plan->operation;
    request->reversed = plan->reversed;
    request->timestamp_min = 1;
    request->timestamp_max = TIMESTAMP_MAX;
}

/* ---- Conditions ------------------------------------------------------------------------------ */

/* True if the field had no value yet. Then the caller sets it; else it compares. */
static bool
fdw_request_set(struct fdw_request *request, enum fdw_field field)
{
    uint32_t bit = UINT32_C(1) << field;
    if ((request->fields_set & bit) != 0) return false;
    request->fields_set |= bit;
    return true;
}

static int64_t
fdw_integer(Oid type, Datum value)
{
    switch (type) {
    case INT2OID: return DatumGetInt16(value);
    case INT4OID: return DatumGetInt32(value);
    case INT8OID: return DatumGetInt64(value);
    default: unreachable();
    }
}

static int
fdw_compare_ids(const void *a, const void *b)
{
    u128 id_a = *(const u128 *) a;
    u128 id_b = *(const u128 *) b;
    if (id_a == id_b) return 0;
    return id_a < id_b ? -1 : 1;
}

/* Keeps what can be an id: neither zero nor the largest number ever is. */
static void
fdw_request_add_id(struct fdw_request *request, Datum uuid)
{
    u128 id = convert_uuid_to_u128(uuid);
    if (id == 0 || id == U128_MAX) return;
    request->ids[request->ids_count++] = id;
}

/* The engine answers a repeated id repeatedly; SQL wants each record once. */
static void
fdw_request_add_ids(struct fdw_request *request, Datum array)
{
    Datum *elements;
    bool *nulls;
    int count;
    deconstruct_array(
        DatumGetArrayTypeP(array),
        UUIDOID,
        UUID_LEN,
        false,
        TYPALIGN_CHAR,
        &elements,
        &nulls,
        &count);
    request->ids = palloc_array(u128, Max(count, 1));
    for (int i = 0; i < count; i++) {
        if (!nulls[i]) fdw_request_add_id(request, elements[i]);
    }

    qsort(request->ids, request->ids_count, sizeof(u128), fdw_compare_ids);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < request->ids_count; i++) {
        if (kept == 0 || request->ids[kept - 1] != request->ids[i]) {
            request->ids[kept++] = request->ids[i];
        }
    }
    request->ids_count = kept;
}

static void
fdw_request_add_key(
    struct fdw_request *request, enum fdw_field field, enum fdw_compare compare, Datum value)
{
    bool first = fdw_request_set(request, field);
    assert(first);
    assert(request->ids == NULL);
    if (field != FDW_FIELD_CREDIT_ACCOUNT) request->account_flags |= ACCOUNT_FILTER_DEBITS;
    if (field != FDW_FIELD_DEBIT_ACCOUNT) request->account_flags |= ACCOUNT_FILTER_CREDITS;
    if (compare == FDW_ANY) {
        fdw_request_add_ids(request, value);
    } else {
        request->ids = palloc_array(u128, 1);
        fdw_request_add_id(request, value);
    }
    if (request->ids_count == 0) fdw_request_contradict(request);
}

/* No record has a timestamp below 1. Bounds are wide enough for any bound + 1. */
static void
fdw_request_add_range(struct fdw_request *request, __int128 min, __int128 max)
{
    if (min > (__int128) request->timestamp_min) {
        request->timestamp_min = min > TIMESTAMP_MAX ? TIMESTAMP_MAX : (uint64_t) min;
    }
    if (max < (__int128) request->timestamp_max) {
        request->timestamp_max = max < 0 ? 0 : (uint64_t) max;
    }
    if (min > TIMESTAMP_MAX || request->timestamp_min > request->timestamp_max) {
        fdw_request_contradict(request);
    }
}

/* `first` … `last` are the timestamps that count as equal to the value. */
static void
fdw_request_add_compare(
    struct fdw_request *request, enum fdw_compare compare, __int128 first, __int128 last)
{
    const __int128 least = 1;
    const __int128 most = TIMESTAMP_MAX;
    assert(first <= last);
    switch (compare) {
    case FDW_EQUAL: fdw_request_add_range(request, first, last); return;
    case FDW_LESS: fdw_request_add_range(request, least, first - 1); return;
    case FDW_LESS_OR_EQUAL: fdw_request_add_range(request, least, last); return;
    case FDW_GREATER: fdw_request_add_range(request, last + 1, most); return;
    case FDW_GREATER_OR_EQUAL: fdw_request_add_range(request, first, most); return;
    case FDW_ANY: break;
    }
    unreachable();
}

/* created_at is the timestamp cut to microseconds: a thousand timestamps have the same. Infinities
 * are far enough. */
static void
fdw_request_add_created_at(struct fdw_request *request, enum fdw_compare compare, TimestampTz time)
{
    const __int128 epochs_apart_us =
        (__int128) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    __int128 first = ((__int128) time + epochs_apart_us) * NS_PER_US;
    fdw_request_add_compare(request, compare, first, first + (NS_PER_US - 1));
}

/* A number that must be 1 … max: nothing else is ever stored. */
static void
fdw_request_add_number(
    struct fdw_request *request, enum fdw_field field, int64_t value, int64_t max)
{
    if (value < 1 || value > max) {
        fdw_request_contradict(request);
        return;
    }
    bool first = fdw_request_set(request, field);
    if (field == FDW_FIELD_LEDGER) {
        if (!first && request->ledger != value) fdw_request_contradict(request);
        request->ledger = (uint32_t) value;
    } else {
        assert(field == FDW_FIELD_CODE);
        if (!first && request->code != value) fdw_request_contradict(request);
        request->code = (uint16_t) value;
    }
}

/* 0 is no filter to the engine; the executor checks it (fdw_condition.h). */
static void
fdw_request_add_user_data(struct fdw_request *request, enum fdw_field field, int64_t value)
{
    if (field == FDW_FIELD_USER_DATA_32 && (value < 0 || value > UINT32_MAX)) {
        fdw_request_contradict(request);
        return;
    }
    if (value == 0) return;
    bool first = fdw_request_set(request, field);
    if (field == FDW_FIELD_USER_DATA_64) {
        if (!first && request->user_data_64 != (uint64_t) value) fdw_request_contradict(request);
        request->user_data_64 = (uint64_t) value;
    } else {
        assert(field == FDW_FIELD_USER_DATA_32);
        if (!first && request->user_data_32 != (uint32_t) value) fdw_request_contradict(request);
        request->user_data_32 = (uint32_t) value;
    }
}

/* user_data_128 of 0 is shown as NULL, which equals nothing. */
static void
fdw_request_add_reference(struct fdw_request *request, u128 value)
{
    bool first = fdw_request_set(request, FDW_FIELD_USER_DATA_128);
    if (value == 0 || (!first && request->user_data_128 != value)) fdw_request_contradict(request);
    request->user_data_128 = value;
}

void
fdw_request_add(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    Oid type,
    Datum value)
{
    switch (field) {
    case FDW_FIELD_ID:
    case FDW_FIELD_ACCOUNT:
    case FDW_FIELD_DEBIT_ACCOUNT:
    case FDW_FIELD_CREDIT_ACCOUNT: fdw_request_add_key(request, field, compare, value); return;
    case FDW_FIELD_USER_DATA_128:
        fdw_request_add_reference(request, convert_uuid_to_u128(value));
        return;
    case FDW_FIELD_USER_DATA_64:
    case FDW_FIELD_USER_DATA_32:
        fdw_request_add_user_data(request, field, fdw_integer(type, value));
        return;
    case FDW_FIELD_LEDGER:
        fdw_request_add_number(request, field, fdw_integer(type, value), UINT32_MAX);
        return;
    case FDW_FIELD_CODE:
        fdw_request_add_number(request, field, fdw_integer(type, value), UINT16_MAX);
        return;
    case FDW_FIELD_TIMESTAMP: {
        int64_t timestamp = fdw_integer(type, value);
        fdw_request_add_compare(request, compare, timestamp, timestamp);
        return;
    }
    case FDW_FIELD_CREATED_AT:
        fdw_request_add_created_at(request, compare, DatumGetTimestampTz(value));
        return;
    case FDW_FIELD_NONE: break;
    }
    unreachable();
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void
fdw_request_rewind(struct fdw_request *request)
{
    request->page_min = request->timestamp_min;
    request->page_max = request->timestamp_max;
    request->pages = 0;
}

void
fdw_request_begin(struct fdw_request *request, uint64_t row_limit)
{
    request->row_limit = row_limit;
    request->ids_next = 0;
    request->ended = request->empty;
    fdw_request_rewind(request);
}

/* What the engine takes as "no bound" is 0, and it is also what an unbounded side of the range
 * becomes. */
static uint64_t
fdw_bound_min(uint64_t timestamp_min)
{
    return timestamp_min <= 1 ? 0 : timestamp_min;
}

static uint64_t
fdw_bound_max(uint64_t timestamp_max)
{
    return timestamp_max == TIMESTAMP_MAX ? 0 : timestamp_max;
}

static uint32_t
fdw_fill_account_filter(
    const struct fdw_request *request, bool reversed, uint32_t limit, void *input)
{
    assert(request->ids != NULL);
    struct account_filter filter = {
        .account_id = request->ids[request->ids_next],
        .user_data_128 = request->user_data_128,
        .user_data_64 = request->user_data_64,
        .user_data_32 = request->user_data_32,
        .code = request->code,
        .timestamp_min = fdw_bound_min(request->page_min),
        .timestamp_max = fdw_bound_max(request->page_max),
        .limit = limit,
        .flags = request->account_flags | (reversed ? ACCOUNT_FILTER_REVERSED : 0u),
    };
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

static uint32_t
fdw_fill_query_filter(const struct fdw_request *request, bool reversed, uint32_t limit, void *input)
{
    struct query_filter filter = {
        .user_data_128 = request->user_data_128,
        .user_data_64 = request->user_data_64,
        .user_data_32 = request->user_data_32,
        .ledger = request->ledger,
        .code = request->code,
        .timestamp_min = fdw_bound_min(request->page_min),
        .timestamp_max = fdw_bound_max(request->page_max),
        .limit = limit,
        .flags = reversed ? QUERY_FILTER_REVERSED : 0u,
    };
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

static uint32_t
fdw_fill_change_events_filter(const struct fdw_request *request, uint32_t limit, void *input)
{
    struct change_events_filter filter = {
        .timestamp_min = fdw_bound_min(request->page_min),
        .timestamp_max = fdw_bound_max(request->page_max),
        .limit = limit,
    };
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

static bool
fdw_request_is_lookup(const struct fdw_request *request)
{
    return request->operation == LEDGER_LOOKUP_ACCOUNTS ||
           request->operation == LEDGER_LOOKUP_TRANSFERS;
}

static uint32_t
fdw_request_fill(const struct fdw_request *request, bool reversed, uint32_t rows, void *input)
{
    switch (request->operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
        assert(request->ids != NULL);
        memcpy(input, request->ids + request->ids_next, rows * sizeof(u128));
        return rows * (uint32_t) sizeof(u128);
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        return fdw_fill_account_filter(request, reversed, rows, input);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS: return fdw_fill_query_filter(request, reversed, rows, input);
    case LEDGER_GET_CHANGE_EVENTS:
        assert(!reversed);
        return fdw_fill_change_events_filter(request, rows, input);
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

static void
fdw_page_reserve(struct fdw_page *page, uint32_t rows, uint32_t record_size)
{
    if (page->records_max >= rows) return;
    if (page->records != NULL) pfree(page->records);
    page->records = NULL;
    page->records_max = 0;
    page->records = MemoryContextAlloc(page->context, (Size) rows * record_size);
    page->records_max = rows;
}

/* One call: at most `rows` records, copied to the page. */
static void
fdw_request_call(struct fdw_request *request, bool reversed, uint32_t rows, struct fdw_page *page)
{
    uint32_t record_size = fdw_relation_record_size(request->relation);
    uint32_t inputs = fdw_request_is_lookup(request) ? rows : 1;
    fdw_page_reserve(page, rows, record_size);

    struct client_call call;
    client_begin(&call, request->operation, inputs, rows);
    call.input_size = fdw_request_fill(request, reversed, rows, call.input);
    client_run(&call);
    assert(call.reply_size % record_size == 0);
    assert(call.reply_size / record_size <= rows);
    page->count = call.reply_size / record_size;
    memcpy(page->records, call.reply, call.reply_size);
    client_end(&call);

    request->requests++;
    request->records += page->count;
}

static uint32_t
fdw_request_page_rows(const struct fdw_request *request)
{
    uint32_t rows_max =
        request->operation == LEDGER_GET_CHANGE_EVENTS ? CHANGE_EVENTS_MAX : RESULTS_MAX;
    if (fdw_request_is_lookup(request)) {
        return Min(request->ids_count - request->ids_next, rows_max);
    }
    if (request->pages == 0 && request->row_limit != 0)
        return (uint32_t) Min(request->row_limit, rows_max);
    if (request->pages == 0) {
        return SLOT_SMALL_REPLY_BYTES / fdw_relation_record_size(request->relation);
    }
    return request->pages == 1 ? Min(FDW_PAGE_ROWS_SECOND, rows_max) : rows_max;
}

/* Before the second page: nothing that is newer than now is read (rule 3 of the header). */
static void
fdw_request_cap(struct fdw_request *request, struct fdw_page *page)
{
    if (request->reversed || request->operation == LEDGER_GET_CHANGE_EVENTS) return;
    fdw_request_call(request, true, 1, page);
    request->records -= page->count;
    if (page->count == 0) return;
    uint64_t newest = fdw_relation_record_timestamp(request->relation, page->records);
    assert(newest >= request->page_min);
    assert(newest <= request->page_max);
    request->page_max = newest;
}

/* The range that is left after a page that was full; false if none is. */
static bool
fdw_request_advance(struct fdw_request *request, const struct fdw_page *page)
{
    uint32_t record_size = fdw_relation_record_size(request->relation);
    uint64_t last = fdw_relation_record_timestamp(
        request->relation, page->records + (Size) (page->count - 1) * record_size);
    assert(last >= request->page_min);
    assert(last <= request->page_max);
    if (request->reversed) {
        if (last == request->page_min) return false;
        request->page_max = last - 1;
    } else {
        if (last == request->page_max) return false;
        request->page_min = last + 1;
    }
    request->pages++;
    return true;
}

static void
fdw_request_next_id(struct fdw_request *request, uint32_t count)
{
    request->ids_next += count;
    request->ended = request->ids_next >= request->ids_count;
    fdw_request_rewind(request);
}

bool
fdw_request_next_page(struct fdw_request *request, struct fdw_page *page)
{
    page->count = 0;
    while (!request->ended && page->count == 0) {
        if (request->pages == 1) fdw_request_cap(request, page);
        uint32_t rows = fdw_request_page_rows(request);
        if (request->ids != NULL) page->account_id = request->ids[request->ids_next];
        fdw_request_call(request, request->reversed, rows, page);
        if (fdw_request_is_lookup(request)) {
            fdw_request_next_id(request, rows);
        } else if (page->count < rows || !fdw_request_advance(request, page)) {
            fdw_request_next_id(request, 1);
        }
    }
    return page->count > 0;
}
