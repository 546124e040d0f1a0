/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/fdw/request.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/units.h"

/* Notes that the conditions contradict each other, so that no record can match. */
static void
request_contradict(struct fdw_request *request)
{
    request->empty = true;
}

void
fdw_request_init(struct fdw_request *request, const struct fdw_plan *plan, MemoryContext memory)
{
    memset(request, 0, sizeof(*request));
    paging_init(&request->paging, plan->operation, plan->reversed);
    request->paging.memory = memory;
    request->memory = memory;
    request->merged = plan->ordered;
    request->expires_min = 1;
    request->expires_max = TIMESTAMP_MAX;
}

/* ---- Windows --------------------------------------------------------------------------------- */

/*
 * Narrows the window of the timestamp, or of the time of expiry. No record has one below 1. The
 * type is wide enough for any bound + 1.
 */
static void
request_add_range(
    struct fdw_request *request, enum fdw_field field, __int128 min, __int128 max)
{
    const bool expiry = field == FDW_FIELD_EXPIRES_AT;
    uint64_t *window_min = expiry ? &request->expires_min : &request->paging.timestamp_min;
    uint64_t *window_max = expiry ? &request->expires_max : &request->paging.timestamp_max;
    if (min > (__int128) *window_min) {
        *window_min = min > TIMESTAMP_MAX ? TIMESTAMP_MAX : (uint64_t) min;
    }
    if (max < (__int128) *window_max) *window_max = max < 0 ? 0 : (uint64_t) max;
    if (min > TIMESTAMP_MAX || *window_min > *window_max) request_contradict(request);
}

/*
 * `first` … `last` are the timestamps that count as equal to the value: none, if it lies between
 * `last` and `first`.
 */
static void
request_add_compare(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    __int128 first,
    __int128 last)
{
    const __int128 least = 1;
    const __int128 most = TIMESTAMP_MAX;
    assert(first <= last + 1);
    switch (compare) {
    case FDW_EQUAL: request_add_range(request, field, first, last); return;
    case FDW_LESS: request_add_range(request, field, least, first - 1); return;
    case FDW_LESS_OR_EQUAL: request_add_range(request, field, least, last); return;
    case FDW_GREATER: request_add_range(request, field, last + 1, most); return;
    case FDW_GREATER_OR_EQUAL: request_add_range(request, field, first, most); return;
    case FDW_ANY: break;
    }
    unreachable();
}

/*
 * What a date, or a timestamp without time zone, means in the session's time zone, in the same way
 * as the server compares them. A value out of range becomes an infinity.
 */
static TimestampTz
time_of(Oid type, Datum value)
{
    int overflow;
    switch (type) {
    case DATEOID: return date2timestamptz_opt_overflow(DatumGetDateADT(value), &overflow);
    case TIMESTAMPOID:
        return timestamp2timestamptz_opt_overflow(DatumGetTimestamp(value), &overflow);
    case TIMESTAMPTZOID: return DatumGetTimestampTz(value);
    default: unreachable();
    }
}

/*
 * created_at is the timestamp cut to microseconds, so a thousand timestamps have the same
 * created_at. The same is true of expires_at. Infinities are far enough out.
 */
static void
request_add_time(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    TimestampTz time)
{
    const __int128 epochs_apart_us =
        (__int128) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    __int128 first = ((__int128) time + epochs_apart_us) * NS_PER_US;
    if (field == FDW_FIELD_EXPIRES_AT) request->expiry_given = true;
    request_add_compare(request, field, compare, first, first + (NS_PER_US - 1));
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* A value that is compared with integers: the nearest ones, equal if it is one itself. */
struct integers {
    __int128 floor;
    __int128 ceiling;
};

/* What no int64 can be is one beyond them. NaN is greater than all, as the server orders it. */
static __int128
integer_of_whole(Datum whole)
{
    const Datum least = NumericGetDatum(int64_to_numeric(INT64_MIN));
    const Datum most = NumericGetDatum(int64_to_numeric(INT64_MAX));
    if (DatumGetBool(DirectFunctionCall2(numeric_lt, whole, least))) {
        return (__int128) INT64_MIN - 1;
    }
    if (DatumGetBool(DirectFunctionCall2(numeric_gt, whole, most))) {
        return (__int128) INT64_MAX + 1;
    }
    return DatumGetInt64(DirectFunctionCall1(numeric_int8, whole));
}

static struct integers
integers_of(Oid type, Datum value)
{
    __int128 integer;
    switch (type) {
    case INT2OID: integer = DatumGetInt16(value); break;
    case INT4OID: integer = DatumGetInt32(value); break;
    case INT8OID: integer = DatumGetInt64(value); break;
    case NUMERICOID:
        return (struct integers){
            .floor = integer_of_whole(DirectFunctionCall1(numeric_floor, value)),
            .ceiling = integer_of_whole(DirectFunctionCall1(numeric_ceil, value)),
        };
    default: unreachable();
    }
    return (struct integers){.floor = integer, .ceiling = integer};
}

/* False if it is none from `least` to `most`. */
static bool
integer_within(Oid type, Datum datum, int64_t least, int64_t most, u128 *value)
{
    const struct integers integers = integers_of(type, datum);
    *value = (u128) integers.floor;
    return integers.floor == integers.ceiling && integers.floor >= least && integers.floor <= most;
}

/*
 * Converts the value to the engine's number. Returns false if no record can have it, so that it
 * selects nothing. 0 is given only for fields where it doesn't mean "no filter" to the engine.
 */
static bool
value_of(enum fdw_field field, Oid type, Datum datum, u128 *value)
{
    switch (field) {
    case FDW_FIELD_ID:
    case FDW_FIELD_PENDING_ID: /* No pending_id is shown as NULL as well. */
    case FDW_FIELD_TRANSFER_ID:
    case FDW_FIELD_ACCOUNT:
    case FDW_FIELD_DEBIT_ACCOUNT:
    case FDW_FIELD_CREDIT_ACCOUNT:
        *value = convert_uuid_to_u128(datum);
        return *value != 0 && *value != U128_MAX;
    case FDW_FIELD_USER_DATA_128: /* 0 is shown as NULL, which equals nothing. */
        *value = convert_uuid_to_u128(datum);
        return *value != 0;
    case FDW_FIELD_USER_DATA_64: {
        const bool known = integer_within(type, datum, INT64_MIN, INT64_MAX, value);
        *value = (uint64_t) *value;
        return known;
    }
    case FDW_FIELD_USER_DATA_32: return integer_within(type, datum, 0, UINT32_MAX, value);
    case FDW_FIELD_LEDGER: return integer_within(type, datum, 1, UINT32_MAX, value);
    case FDW_FIELD_CODE: return integer_within(type, datum, 1, UINT16_MAX, value);
    case FDW_FIELD_STATE: *value = convert_hold_state(datum); return *value != PENDING_NONE;
    case FDW_FIELD_NONE:
    case FDW_FIELD_TIMESTAMP:
    case FDW_FIELD_EXPIRES_AT:
    case FDW_FIELD_CREATED_AT: break;
    }
    unreachable();
}

static int
compare_values(const void *a, const void *b)
{
    const u128 value_a = *(const u128 *) a;
    const u128 value_b = *(const u128 *) b;
    if (value_a == value_b) return 0;
    return value_a < value_b ? -1 : 1;
}

/*
 * The elements that a record can have, ascending, each once. NULLs equal nothing, so they are left
 * out.
 */
static struct fdw_values
values_of_array(enum fdw_field field, Oid type, Datum datum)
{
    struct fdw_values set = {.given = true};
    int16 length;
    bool by_value;
    char alignment;
    Datum *elements;
    bool *nulls;
    int count;
    get_typlenbyvalalign(type, &length, &by_value, &alignment);
    deconstruct_array(
        DatumGetArrayTypeP(datum),
        type,
        length,
        by_value,
        alignment,
        &elements,
        &nulls,
        &count);
    set.values = palloc(Max((Size) count, 1) * sizeof(u128));
    for (int i = 0; i < count; i++) {
        if (nulls[i]) continue;
        if (value_of(field, type, elements[i], &set.values[set.count])) set.count += 1;
    }

    qsort(set.values, set.count, sizeof(u128), compare_values);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < set.count; i++) {
        if (kept > 0 && set.values[kept - 1] == set.values[i]) continue;
        set.values[kept++] = set.values[i];
    }
    set.count = kept;
    return set;
}

static struct fdw_values
values_of_scalar(enum fdw_field field, Oid type, Datum datum)
{
    struct fdw_values set = {.given = true, .values = palloc(sizeof(u128))};
    if (value_of(field, type, datum, &set.values[0])) set.count = 1;
    return set;
}

/* Keeps only those values of `set` that `other` has too. */
static void
values_intersect(struct fdw_values *set, const struct fdw_values *other)
{
    uint32_t kept = 0;
    uint32_t next = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        while (next < other->count && other->values[next] < set->values[i]) next += 1;
        if (next == other->count) break;
        if (other->values[next] == set->values[i]) set->values[kept++] = set->values[i];
    }
    set->count = kept;
}

/* ---- Strands --------------------------------------------------------------------------------- */

/* The fields for which a filter takes one value. */
static const enum fdw_field fdw_filter_fields[] = {
    FDW_FIELD_CODE,
    FDW_FIELD_LEDGER,
    FDW_FIELD_USER_DATA_32,
    FDW_FIELD_USER_DATA_64,
    FDW_FIELD_USER_DATA_128,
    FDW_FIELD_ACCOUNT,
    FDW_FIELD_DEBIT_ACCOUNT,
    FDW_FIELD_CREDIT_ACCOUNT,
};

/*
 * A filter of holds names the debit and the credit account. An account that may be on either side
 * needs a strand for each side.
 */
static bool
request_has_sides(const struct fdw_request *request)
{
    return request->paging.operation == LEDGER_QUERY_HOLDS &&
           request->fields[FDW_FIELD_ACCOUNT].given;
}

/* How many combinations of values there are, which is the number of strands. */
static uint64_t
request_strands(const struct fdw_request *request)
{
    uint64_t strands = 1;
    for (size_t i = 0; i < lengthof(fdw_filter_fields); i++) {
        const struct fdw_values *set = &request->fields[fdw_filter_fields[i]];
        if (set->given) strands *= set->count;
    }
    if (request_has_sides(request)) strands *= 2;
    return strands;
}

/*
 * The value of the field in a strand; 0 means any value. `*index` is the number of the strand: its
 * digits choose a value of each field.
 */
static u128
request_pick(const struct fdw_request *request, enum fdw_field field, uint64_t *index)
{
    const struct fdw_values *set = &request->fields[field];
    if (!set->given) return 0;
    assert(set->count > 0);
    const u128 value = set->values[*index % set->count];
    *index /= set->count;
    return value;
}

static struct hold_filter
request_hold_filter(const struct fdw_request *request, const u128 *picked)
{
    const struct fdw_values *states = &request->fields[FDW_FIELD_STATE];
    struct hold_filter filter = {
        .debit_account_id = picked[FDW_FIELD_DEBIT_ACCOUNT],
        .credit_account_id = picked[FDW_FIELD_CREDIT_ACCOUNT],
        .user_data_128 = picked[FDW_FIELD_USER_DATA_128],
        .user_data_64 = (uint64_t) picked[FDW_FIELD_USER_DATA_64],
        .user_data_32 = (uint32_t) picked[FDW_FIELD_USER_DATA_32],
        .ledger = (uint32_t) picked[FDW_FIELD_LEDGER],
        .code = (uint16_t) picked[FDW_FIELD_CODE],
    };
    for (uint32_t i = 0; i < states->count; i++) {
        filter.states |= (uint8_t) (1 << states->values[i]);
    }
    if (request->expiry_given) {
        filter.expires_min = request->expires_min;
        filter.expires_max = request->expires_max;
    }
    return filter;
}

static union paging_filter
request_filter(const struct fdw_request *request, uint64_t index)
{
    u128 picked[FDW_FIELD_COUNT] = {0};
    const bool credit = request_has_sides(request) && index % 2 == 1;
    if (request_has_sides(request)) index /= 2;
    for (size_t i = 0; i < lengthof(fdw_filter_fields); i++) {
        const enum fdw_field field = fdw_filter_fields[i];
        picked[field] = request_pick(request, field, &index);
    }
    union paging_filter filter = {0};
    switch (request->paging.operation) {
    case LEDGER_QUERY_HOLDS:
        picked[credit ? FDW_FIELD_CREDIT_ACCOUNT : FDW_FIELD_DEBIT_ACCOUNT] |=
            picked[FDW_FIELD_ACCOUNT];
        filter.hold = request_hold_filter(request, picked);
        return filter;
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        filter.account = (struct account_filter){
            .account_id = picked[FDW_FIELD_ACCOUNT] | picked[FDW_FIELD_DEBIT_ACCOUNT] |
                          picked[FDW_FIELD_CREDIT_ACCOUNT],
            .user_data_128 = picked[FDW_FIELD_USER_DATA_128],
            .user_data_64 = (uint64_t) picked[FDW_FIELD_USER_DATA_64],
            .user_data_32 = (uint32_t) picked[FDW_FIELD_USER_DATA_32],
            .code = (uint16_t) picked[FDW_FIELD_CODE],
            .flags = request->account_flags |
                     (request->paging.operation == LEDGER_GET_ACCOUNT_BALANCES
                          ? ACCOUNT_FILTER_EXPIRIES
                          : 0),
        };
        return filter;
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS:
        filter.query = (struct query_filter){
            .user_data_128 = picked[FDW_FIELD_USER_DATA_128],
            .user_data_64 = (uint64_t) picked[FDW_FIELD_USER_DATA_64],
            .user_data_32 = (uint32_t) picked[FDW_FIELD_USER_DATA_32],
            .ledger = (uint32_t) picked[FDW_FIELD_LEDGER],
            .code = (uint16_t) picked[FDW_FIELD_CODE],
        };
        return filter;
    case LEDGER_GET_CHANGE_EVENTS: return filter;
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS:
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

/* ---- Conditions ------------------------------------------------------------------------------ */

/* Notes that the field must have one of these values, in addition to what was noted before. */
static void
request_restrict(
    struct fdw_request *request, enum fdw_field field, bool optional, struct fdw_values set)
{
    struct fdw_values *field_set = &request->fields[field];
    const bool least_is_zero = set.count > 0 && set.values[0] == 0;
    /* 0 is no filter to the engine; the executor checks it (condition.h). */
    assert(!least_is_zero || optional);
    if (least_is_zero) return;

    const struct fdw_values before = *field_set;
    if (before.given) {
        values_intersect(&set, &before);
    }
    *field_set = set;
    if (set.count == 0) request_contradict(request);
    if (optional && set.count > 1 && request_strands(request) > FDW_STRANDS_MAX) {
        *field_set = before;
    }
}

void
fdw_request_add(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    bool optional,
    Oid type,
    Datum value)
{
    if (field == FDW_FIELD_TIMESTAMP) {
        const struct integers timestamps = integers_of(type, value);
        request_add_compare(request, field, compare, timestamps.ceiling, timestamps.floor);
        return;
    }
    if (field == FDW_FIELD_CREATED_AT || field == FDW_FIELD_EXPIRES_AT) {
        request_add_time(request, field, compare, time_of(type, value));
        return;
    }
    if (field == FDW_FIELD_ACCOUNT || field == FDW_FIELD_DEBIT_ACCOUNT) {
        request->account_flags |= ACCOUNT_FILTER_DEBITS;
    }
    if (field == FDW_FIELD_ACCOUNT || field == FDW_FIELD_CREDIT_ACCOUNT) {
        request->account_flags |= ACCOUNT_FILTER_CREDITS;
    }
    MemoryContext caller = MemoryContextSwitchTo(request->memory);
    request_restrict(
        request,
        field,
        optional,
        compare == FDW_ANY ? values_of_array(field, type, value)
                           : values_of_scalar(field, type, value));
    MemoryContextSwitchTo(caller);
}

/* ---- Records --------------------------------------------------------------------------------- */

/* The field whose values a lookup looks for; FDW_FIELD_NONE if the operation isn't a lookup. */
static enum fdw_field
request_lookup_field(const struct fdw_request *request)
{
    switch (request->paging.operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS: return FDW_FIELD_ID;
    case LEDGER_LOOKUP_RESOLUTIONS: return FDW_FIELD_PENDING_ID;
    case LEDGER_LOOKUP_CHANGE_EVENTS: return FDW_FIELD_TRANSFER_ID;
    default: return FDW_FIELD_NONE;
    }
}

/* Puts the next strand that wasn't started in the place of an open one. */
static void
request_start_strand(struct fdw_request *request, uint32_t place)
{
    struct paging_strand *strand = &request->strands[place];
    assert(request->strands_started < request->strands_total);
    request->strands_next[place] = 0;
    const enum fdw_field lookup_field = request_lookup_field(request);
    if (lookup_field != FDW_FIELD_NONE) {
        const struct fdw_values *ids = &request->fields[lookup_field];
        paging_strand_start_lookup(strand, ids->values, ids->count);
    } else {
        const union paging_filter filter = request_filter(request, request->strands_started);
        paging_strand_start(&request->paging, strand, &filter);
    }
    request->strands_started += 1;
}

void
fdw_request_begin(struct fdw_request *request, uint64_t row_limit)
{
    if (request->empty) return;
    request->strands_total = request_strands(request);
    request->merged = request->merged && request->strands_total > 1;
    assert(request->strands_total > 0);
    assert(!request->merged || request->strands_total <= FDW_STRANDS_MAX);
    request->strands_open = request->merged ? (uint32_t) request->strands_total : 1;
    request->strands = MemoryContextAllocZero(
        request->memory,
        request->strands_open * sizeof(struct paging_strand));
    request->strands_next =
        MemoryContextAllocZero(request->memory, request->strands_open * sizeof(uint32_t));
    request->paging.strands = request->strands_open;
    request->paging.row_limit = row_limit;
    /*
     * As fdw_choose decided: holds that are asked for by expiry and not by account come in that
     * order.
     */
    request->paging.by_expiry = request->paging.operation == LEDGER_QUERY_HOLDS &&
                                request->expiry_given && request->account_flags == 0;
    paging_begin(&request->paging);
    for (uint32_t place = 0; place < request->strands_open; place++) {
        request_start_strand(request, place);
    }
}

/* The strand's first record that wasn't returned yet; NULL at its end. */
static const void *
request_head(struct fdw_request *request, uint32_t place)
{
    struct paging_strand *strand = &request->strands[place];
    if (request->strands_next[place] == strand->count) {
        request->strands_next[place] = 0;
        if (!paging_next(&request->paging, strand)) return NULL;
    }
    return paging_record(&request->paging, strand, request->strands_next[place]);
}

/*
 * The head that is next by timestamp, among all strands. If two are equal, that of the lower
 * strand.
 */
static const void *
request_merge(struct fdw_request *request, uint32_t *place)
{
    const void *first = NULL;
    uint64_t first_timestamp = 0;
    for (uint32_t i = 0; i < request->strands_open; i++) {
        const void *head = request_head(request, i);
        if (head == NULL) continue;
        const uint64_t timestamp = paging_timestamp(&request->paging, head);
        const bool before = request->paging.reversed ? timestamp > first_timestamp
                                                     : timestamp < first_timestamp;
        if (first != NULL && !before) continue;
        first = head;
        first_timestamp = timestamp;
        *place = i;
    }
    return first;
}

const void *
fdw_request_next(struct fdw_request *request)
{
    if (request->empty) return NULL;
    uint32_t place = 0;
    const void *record;
    if (request->merged) {
        record = request_merge(request, &place);
    } else {
        record = request_head(request, place);
        while (record == NULL && request->strands_started < request->strands_total) {
            request_start_strand(request, place);
            record = request_head(request, place);
        }
    }
    if (record == NULL) return NULL;
    request->strand = &request->strands[place];
    request->strands_next[place] += 1;
    return record;
}

u128
fdw_request_account(const struct fdw_request *request)
{
    assert(request->strand != NULL);
    return request->strand->filter.account.account_id;
}
