/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/convert.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "base/units.h"

/* ---- Values of variable length --------------------------------------------------------------- */

/*
 * A value of variable length in one block. Its header has four bytes, or a single byte; with a
 * single byte the value need not be aligned.
 */
struct plain_value {
    struct varlena *value;
    bool copied;
};

/*
 * The server passes such a value in any of its forms: expanded (a variable of PL/pgSQL), external
 * or compressed (from a table), or short (inside a row). The macros that ask for a short header
 * also say yes to an expanded or external value, and then give its size as zero. So those forms are
 * handled first.
 */
static struct plain_value
value_open(Datum datum)
{
    struct varlena *given = (struct varlena *) DatumGetPointer(datum);
    struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);
    assert(!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value));
    return (struct plain_value){.value = value, .copied = value != given};
}

/* Frees a copy. A batch has thousands of values, and their copies must not add up. */
static void
value_close(const struct plain_value *plain)
{
    if (plain->copied) pfree(plain->value);
}

/* ---- Flags ----------------------------------------------------------------------------------- */

static uint16_t
flag_of_label(const struct convert_labels *labels, Oid label)
{
    for (uint32_t bit = 0; bit < labels->count; bit++) {
        if (labels->oids[bit] == label) return (uint16_t) (1u << bit);
    }
    ereport(
        ERROR,
        errcode(ERRCODE_INVALID_PARAMETER_VALUE),
        errmsg("a flag is not known to the loaded library"),
        errhint("Restart the server after upgrading the ledger extension."));
    pg_unreachable();
}

static uint16_t
flags_of_array(const ArrayType *array, enum convert_enum which)
{
    const int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    if (count == 0) return 0;
    if (ARR_HASNULL(array) && array_contains_nulls((ArrayType *) array)) {
        ereport(
            ERROR,
            errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
            errmsg("flags must not contain nulls"));
    }

    const struct convert_labels *labels = convert_labels(which);
    if (ARR_ELEMTYPE(array) != labels->type) {
        ereport(
            ERROR,
            errcode(ERRCODE_DATATYPE_MISMATCH),
            errmsg("flags must be an array of %s", format_type_be(labels->type)),
            errdetail("It is an array of %s.", format_type_be(ARR_ELEMTYPE(array))));
    }
    const Oid *elements = (const Oid *) (const void *) ARR_DATA_PTR(array);
    uint16_t flags = 0;
    for (int i = 0; i < count; i++) {
        flags |= flag_of_label(labels, elements[i]);
    }
    return flags;
}

uint16_t
convert_array_to_flags(Datum datum, enum convert_enum which)
{
    assert(which == CONVERT_ACCOUNT_FLAG || which == CONVERT_TRANSFER_FLAG);
    struct plain_value plain = value_open(datum);
    /*
     * Inside a row an array is short and unaligned. It is copied to the stack, which costs no
     * allocation.
     */
    char aligned[VARHDRSZ + VARATT_SHORT_MAX] __attribute__((aligned(8)));
    const void *array = plain.value;
    if (VARATT_IS_SHORT(plain.value)) {
        const size_t size = VARSIZE_SHORT(plain.value) - VARHDRSZ_SHORT;
        assert(size <= VARATT_SHORT_MAX);
        memcpy(aligned + VARHDRSZ, VARDATA_SHORT(plain.value), size);
        SET_VARSIZE(aligned, VARHDRSZ + size);
        array = aligned;
    }
    const uint16_t flags = flags_of_array(array, which);
    value_close(&plain);
    return flags;
}

/* ---- Scalars --------------------------------------------------------------------------------- */

void
convert_raise_null(const char *name)
{
    ereport(
        ERROR,
        errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
        errmsg("%s must not be null", name));
    pg_unreachable();
}

u128
convert_uuid_to_u128(Datum datum)
{
    uint64_t words[2];
    memcpy(words, DatumGetUUIDP(datum)->data, sizeof(words));
    return u128_make(__builtin_bswap64(words[0]), __builtin_bswap64(words[1]));
}

void
convert_u128_to_uuid(u128 value, pg_uuid_t *uuid)
{
    uint64_t words[2] = {
        __builtin_bswap64(u128_high(value)),
        __builtin_bswap64(u128_low(value)),
    };
    static_assert(sizeof(words) == UUID_LEN, "a uuid is 128 bits");
    memcpy(uuid->data, words, sizeof(words));
}

/*
 * The stored form of a numeric (unchanged since 9.1, but not in a header). It begins with a 16-bit
 * word that holds the sign, the scale and a small weight; or with a word that holds sign and scale,
 * and a 16-bit weight. Then come digits of base 10,000, of which the first counts 10,000^weight.
 * Zeros are stripped at both ends, so zero has no digits.
 */
#define NUMERIC_KIND_MASK 0xc000
#define NUMERIC_KIND_NEGATIVE 0x4000
#define NUMERIC_KIND_SHORT 0x8000
#define NUMERIC_KIND_SPECIAL 0xc000
#define NUMERIC_SHORT_NEGATIVE 0x2000
#define NUMERIC_SHORT_WEIGHT_NEGATIVE 0x0040
#define NUMERIC_SHORT_WEIGHT_MASK 0x003f
#define NUMERIC_BASE 10000
#define NUMERIC_BASE_POWER_4 UINT64_C(10000000000000000)
/* 2^128 - 1 is 340 followed by nine digits of base 10,000. */
#define NUMERIC_WEIGHT_MAX 9
static_assert(
    CONVERT_NUMERIC_SIZE_MAX >= VARHDRSZ + 2 + 2 * (NUMERIC_WEIGHT_MAX + 1),
    "the largest numeric fits");

static _Noreturn void
raise_numeric(Datum datum, const char *name, int sqlstate, const char *rule)
{
    const char *value = DatumGetCString(DirectFunctionCall1(numeric_out, datum));
    ereport(
        ERROR,
        errcode(sqlstate),
        errmsg("%s must %s", name, rule),
        errdetail("The value is %s.", value));
    pg_unreachable();
}

/* The word at this index. It need not be aligned. */
static inline uint16_t
load_u16(const char *words, int index)
{
    uint16_t value;
    memcpy(&value, words + (size_t) index * sizeof(value), sizeof(value));
    return value;
}

u128
convert_numeric_to_u128(Datum datum, const char *name)
{
    const struct plain_value plain = value_open(datum);
    const char *data = VARDATA_ANY(plain.value);
    const char *end = data + VARSIZE_ANY_EXHDR(plain.value);
    assert(end - data >= 2);

    uint16_t header = load_u16(data, 0);
    uint16_t kind = header & NUMERIC_KIND_MASK;
    if (kind == NUMERIC_KIND_SPECIAL) {
        raise_numeric(datum, name, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "be a number");
    }
    bool is_short = kind == NUMERIC_KIND_SHORT;
    bool negative = is_short ? (header & NUMERIC_SHORT_NEGATIVE) != 0
                             : kind == NUMERIC_KIND_NEGATIVE;
    int weight = is_short ? (int) (header & NUMERIC_SHORT_WEIGHT_MASK) -
                                (int) (header & NUMERIC_SHORT_WEIGHT_NEGATIVE)
                          : (int16_t) load_u16(data, 1);
    const char *digits = data + (is_short ? 2 : 4);
    int count = (int) (end - digits) / 2;
    assert(count >= 0);
    if (count == 0) {
        value_close(&plain);
        return 0;
    }

    if (negative) {
        raise_numeric(datum, name, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "not be negative");
    }
    for (int i = weight < 0 ? 0 : weight + 1; i < count; i++) {
        if (load_u16(digits, i) == 0) continue;
        raise_numeric(datum, name, ERRCODE_INVALID_PARAMETER_VALUE, "be a whole number");
    }
    if (weight > NUMERIC_WEIGHT_MAX) {
        raise_numeric(datum, name, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "be less than 2^128");
    }

    u128 value = 0;
    for (int i = 0; i <= weight; i++) {
        uint32_t digit = i < count ? load_u16(digits, i) : 0;
        assert(digit < NUMERIC_BASE);
        /* Only the tenth digit can overflow. */
        if (i == NUMERIC_WEIGHT_MAX && value > (U128_MAX - digit) / NUMERIC_BASE) {
            raise_numeric(datum, name, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "be less than 2^128");
        }
        value = value * NUMERIC_BASE + digit;
    }
    value_close(&plain);
    return value;
}

uint32_t
convert_u128_to_numeric(u128 value, void *buffer)
{
    /* From the last digit to the first. Zeros at the end are left out. */
    uint16_t digits[12];
    uint32_t first = ARRAY_COUNT(digits);
    u128 rest = value;
    while (rest != 0) {
        uint64_t four;
        if (u128_high(rest) != 0) {
            four = (uint64_t) (rest % NUMERIC_BASE_POWER_4);
            rest /= NUMERIC_BASE_POWER_4;
        } else {
            four = u128_low(rest) % NUMERIC_BASE_POWER_4;
            rest = u128_low(rest) / NUMERIC_BASE_POWER_4;
        }
        for (int i = 0; i < 4; i++) {
            assert(first > 0);
            digits[--first] = (uint16_t) (four % NUMERIC_BASE);
            four /= NUMERIC_BASE;
        }
    }

    uint32_t end = ARRAY_COUNT(digits);
    while (first < end && digits[first] == 0) first += 1;
    int weight = value == 0 ? 0 : (int) (end - first) - 1;
    assert(weight <= NUMERIC_WEIGHT_MAX);
    while (first < end && digits[end - 1] == 0) end -= 1;

    uint32_t size = VARHDRSZ + 2 + 2 * (end - first);
    uint16_t header = (uint16_t) (NUMERIC_KIND_SHORT | weight);
    char *data = VARDATA(buffer);
    assert(size <= CONVERT_NUMERIC_SIZE_MAX);
    SET_VARSIZE(buffer, size);
    memcpy(data, &header, sizeof(header));
    memcpy(data + 2, digits + first, 2 * (end - first));
    return size;
}

uint32_t
convert_bigint_to_u32(int64_t value, const char *name)
{
    if (value < 0 || value > UINT32_MAX) {
        ereport(
            ERROR,
            errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
            errmsg("%s must be between 0 and %u", name, UINT32_MAX),
            errdetail("The value is %lld.", (long long) value));
    }
    return (uint32_t) value;
}

uint16_t
convert_integer_to_u16(int32_t value, const char *name)
{
    if (value < 0 || value > UINT16_MAX) {
        ereport(
            ERROR,
            errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
            errmsg("%s must be between 0 and %u", name, UINT16_MAX),
            errdetail("The value is %d.", value));
    }
    return (uint16_t) value;
}

uint64_t
convert_bigint_to_timestamp(int64_t value, const char *name)
{
    if (value < 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
            errmsg("%s must not be negative", name),
            errdetail("The value is %lld.", (long long) value),
            errhint("Timestamps of the ledger are nanoseconds since 1970."));
    }
    return (uint64_t) value;
}

uint32_t
convert_interval_to_seconds(const Interval *interval, const char *name)
{
    if (interval->month != 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("%s must not contain months or years", name),
            errdetail("Their length is not fixed."),
            errhint("Give the interval in days or smaller units."));
    }
    /* Neither part can overflow: 2^31 days are 10^14 seconds, 2^63 microseconds 10^13. */
    int64_t seconds = (int64_t) interval->day * SECS_PER_DAY + interval->time / USECS_PER_SEC;
    if (interval->time % USECS_PER_SEC != 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("%s must be a whole number of seconds", name));
    }
    if (seconds < 0 || seconds > UINT32_MAX) {
        ereport(
            ERROR,
            errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
            errmsg("%s must be between 0 and %u seconds", name, UINT32_MAX),
            errdetail("The value is %lld seconds.", (long long) seconds));
    }
    return (uint32_t) seconds;
}

TimestampTz
convert_timestamp_to_timestamptz(uint64_t timestamp_ns)
{
    static const int64_t epochs_apart_us =
        (int64_t) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    assert(timestamp_ns <= TIMESTAMP_MAX);
    return (int64_t) (timestamp_ns / NS_PER_US) - epochs_apart_us;
}

/* ---- Rows to records ------------------------------------------------------------------------- */

static_assert(
    sizeof(CONVERT_ACCOUNT_INPUT_TYPES) - 1 == ACCOUNT_INPUT_COLUMNS, "a letter a column");
static_assert(
    sizeof(CONVERT_TRANSFER_INPUT_TYPES) - 1 == TRANSFER_INPUT_COLUMNS, "a letter a column");

Oid
convert_letter_type(char letter)
{
    switch (letter) {
    case 'u': return UUIDOID;
    case 'n': return NUMERICOID;
    case 'b': return INT8OID;
    case 'i': return INT4OID;
    case 'z': return TIMESTAMPTZOID;
    case 'a': return convert_labels(CONVERT_ACCOUNT_FLAG)->array_type;
    case 't': return convert_labels(CONVERT_TRANSFER_FLAG)->array_type;
    case 'e': return convert_labels(CONVERT_CHANGE_EVENT_TYPE)->type;
    case 'h': return convert_labels(CONVERT_HOLD_STATE)->type;
    default: unreachable();
    }
}

static u128
column_uuid(const Datum *values, const bool *nulls, int column)
{
    return nulls[column] ? 0 : convert_uuid_to_u128(values[column]);
}

static uint64_t
column_bigint(const Datum *values, const bool *nulls, int column)
{
    return nulls[column] ? 0 : (uint64_t) DatumGetInt64(values[column]);
}

static uint32_t
column_u32(const Datum *values, const bool *nulls, int column, const char *name)
{
    return nulls[column] ? 0 : convert_bigint_to_u32(DatumGetInt64(values[column]), name);
}

static uint16_t
column_u16(const Datum *values, const bool *nulls, int column, const char *name)
{
    return nulls[column] ? 0 : convert_integer_to_u16(DatumGetInt32(values[column]), name);
}

static uint64_t
column_timestamp(const Datum *values, const bool *nulls, int column)
{
    if (nulls[column]) return 0;
    return convert_bigint_to_timestamp(DatumGetInt64(values[column]), "timestamp");
}

static uint16_t
column_flags(const Datum *values, const bool *nulls, int column, enum convert_enum which)
{
    return nulls[column] ? 0 : convert_array_to_flags(values[column], which);
}

void
convert_row_to_account(const Datum *values, const bool *nulls, struct account *account)
{
    if (nulls[ACCOUNT_INPUT_ID]) convert_raise_null("id");
    if (nulls[ACCOUNT_INPUT_LEDGER]) convert_raise_null("ledger");
    if (nulls[ACCOUNT_INPUT_CODE]) convert_raise_null("code");
    *account = (struct account){
        .id = column_uuid(values, nulls, ACCOUNT_INPUT_ID),
        .user_data_128 = column_uuid(values, nulls, ACCOUNT_INPUT_USER_DATA_128),
        .user_data_64 = column_bigint(values, nulls, ACCOUNT_INPUT_USER_DATA_64),
        .user_data_32 = column_u32(values, nulls, ACCOUNT_INPUT_USER_DATA_32, "user_data_32"),
        .ledger = column_u32(values, nulls, ACCOUNT_INPUT_LEDGER, "ledger"),
        .code = column_u16(values, nulls, ACCOUNT_INPUT_CODE, "code"),
        .flags = column_flags(values, nulls, ACCOUNT_INPUT_FLAGS, CONVERT_ACCOUNT_FLAG),
        .timestamp = column_timestamp(values, nulls, ACCOUNT_INPUT_TIMESTAMP),
    };
}

static u128
transfer_amount(const Datum *values, const bool *nulls, uint16_t flags)
{
    if (!nulls[TRANSFER_INPUT_AMOUNT]) {
        return convert_numeric_to_u128(values[TRANSFER_INPUT_AMOUNT], "amount");
    }
    /*
     * In both cases the whole pending amount. If both flags are set, the engine refuses the
     * transfer.
     */
    if ((flags & TRANSFER_POST_PENDING) != 0) return U128_MAX;
    if ((flags & TRANSFER_VOID_PENDING) != 0) return 0;
    convert_raise_null("amount");
}

void
convert_row_to_transfer(const Datum *values, const bool *nulls, struct transfer *transfer)
{
    uint16_t flags = column_flags(values, nulls, TRANSFER_INPUT_FLAGS, CONVERT_TRANSFER_FLAG);
    convert_row_to_transfer_flagged(values, nulls, flags, transfer);
}

void
convert_row_to_transfer_flagged(
    const Datum *values,
    const bool *nulls,
    uint16_t flags,
    struct transfer *transfer)
{
    bool resolves = (flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) != 0;
    if (nulls[TRANSFER_INPUT_ID]) convert_raise_null("id");
    if (!resolves) {
        if (nulls[TRANSFER_INPUT_DEBIT_ACCOUNT_ID]) convert_raise_null("debit_account_id");
        if (nulls[TRANSFER_INPUT_CREDIT_ACCOUNT_ID]) convert_raise_null("credit_account_id");
        if (nulls[TRANSFER_INPUT_LEDGER]) convert_raise_null("ledger");
        if (nulls[TRANSFER_INPUT_CODE]) convert_raise_null("code");
    }
    *transfer = (struct transfer){
        .id = column_uuid(values, nulls, TRANSFER_INPUT_ID),
        .debit_account_id = column_uuid(values, nulls, TRANSFER_INPUT_DEBIT_ACCOUNT_ID),
        .credit_account_id = column_uuid(values, nulls, TRANSFER_INPUT_CREDIT_ACCOUNT_ID),
        .amount = transfer_amount(values, nulls, flags),
        .pending_id = column_uuid(values, nulls, TRANSFER_INPUT_PENDING_ID),
        .user_data_128 = column_uuid(values, nulls, TRANSFER_INPUT_USER_DATA_128),
        .user_data_64 = column_bigint(values, nulls, TRANSFER_INPUT_USER_DATA_64),
        .user_data_32 = column_u32(values, nulls, TRANSFER_INPUT_USER_DATA_32, "user_data_32"),
        .timeout = column_u32(values, nulls, TRANSFER_INPUT_TIMEOUT, "timeout"),
        .ledger = column_u32(values, nulls, TRANSFER_INPUT_LEDGER, "ledger"),
        .code = column_u16(values, nulls, TRANSFER_INPUT_CODE, "code"),
        .flags = flags,
        .timestamp = column_timestamp(values, nulls, TRANSFER_INPUT_TIMESTAMP),
    };
}

/* ---- Records to rows ------------------------------------------------------------------------- */

static void *
row_space(struct convert_row *row, uint32_t size)
{
    assert(row->space_used + size <= sizeof(row->space));
    void *space = row->space + row->space_used;
    row->space_used = (uint32_t) MAXALIGN(row->space_used + size);
    return space;
}

static Datum
row_numeric(struct convert_row *row, u128 value)
{
    void *space = row_space(row, CONVERT_NUMERIC_SIZE_MAX);
    (void) convert_u128_to_numeric(value, space);
    return PointerGetDatum(space);
}

static Datum
row_uuid(struct convert_row *row, u128 value)
{
    pg_uuid_t *uuid = row_space(row, sizeof(pg_uuid_t));
    convert_u128_to_uuid(value, uuid);
    return UUIDPGetDatum(uuid);
}

static Datum
row_flags(struct convert_row *row, uint16_t flags, enum convert_enum which)
{
    if (flags == 0) {
        ArrayType *empty = row_space(row, sizeof(ArrayType));
        SET_VARSIZE(empty, sizeof(ArrayType));
        empty->ndim = 0;
        empty->dataoffset = 0;
        empty->elemtype = convert_labels(which)->type;
        return PointerGetDatum(empty);
    }

    const struct convert_labels *labels = convert_labels(which);
    uint32_t count = (uint32_t) __builtin_popcount(flags);
    uint32_t size = ARR_OVERHEAD_NONULLS(1) + count * (uint32_t) sizeof(Oid);
    ArrayType *array = row_space(row, size);
    SET_VARSIZE(array, size);
    array->ndim = 1;
    array->dataoffset = 0;
    array->elemtype = labels->type;
    ARR_DIMS(array)[0] = (int) count;
    ARR_LBOUND(array)[0] = 1;
    Oid *elements = (Oid *) (void *) ARR_DATA_PTR(array);
    for (uint32_t rest = flags; rest != 0; rest &= rest - 1) {
        uint32_t bit = (uint32_t) __builtin_ctz(rest);
        assert(bit < labels->count);
        *elements++ = labels->oids[bit];
    }
    return PointerGetDatum(array);
}

static int
row_put_balances(struct convert_row *row, int column, const struct balances *balances)
{
    row->values[column++] = row_numeric(row, balances->debits_pending);
    row->values[column++] = row_numeric(row, balances->debits_posted);
    row->values[column++] = row_numeric(row, balances->credits_pending);
    row->values[column++] = row_numeric(row, balances->credits_posted);
    return column;
}

/* Zero means none, and is shown as NULL. */
static int
row_put_reference(struct convert_row *row, int column, u128 id)
{
    row->nulls[column] = id == 0;
    row->values[column] = id == 0 ? (Datum) 0 : row_uuid(row, id);
    return column + 1;
}

static void
row_begin(struct convert_row *row, int columns)
{
    row->space_used = 0;
    memset(row->nulls, false, (size_t) columns * sizeof(bool));
}

void
convert_account_to_row(const struct account *account, struct convert_row *row)
{
    const struct balances balances = {
        .debits_pending = account->debits_pending,
        .debits_posted = account->debits_posted,
        .credits_pending = account->credits_pending,
        .credits_posted = account->credits_posted,
    };
    int column = 0;
    Datum *values = row->values;
    row_begin(row, CONVERT_ACCOUNT_COLUMNS);
    values[column++] = row_uuid(row, account->id);
    column = row_put_balances(row, column, &balances);
    column = row_put_reference(row, column, account->user_data_128);
    values[column++] = Int64GetDatum((int64_t) account->user_data_64);
    values[column++] = Int64GetDatum(account->user_data_32);
    values[column++] = Int64GetDatum(account->ledger);
    values[column++] = Int32GetDatum(account->code);
    values[column++] = row_flags(row, account->flags, CONVERT_ACCOUNT_FLAG);
    values[column++] = Int64GetDatum((int64_t) account->timestamp);
    values[column++] = TimestampTzGetDatum(convert_timestamp_to_timestamptz(account->timestamp));
    assert(column == CONVERT_ACCOUNT_COLUMNS);
}

/* Zero means none, and is shown as NULL. */
static int
row_put_time(struct convert_row *row, int column, uint64_t timestamp_ns)
{
    row->nulls[column] = timestamp_ns == 0;
    row->values[column] = TimestampTzGetDatum(convert_timestamp_to_timestamptz(timestamp_ns));
    return column + 1;
}

void
convert_transfer_to_row(const struct transfer_row *record, struct convert_row *row)
{
    const struct transfer *transfer = &record->transfer;
    int column = 0;
    Datum *values = row->values;
    row_begin(row, CONVERT_TRANSFER_COLUMNS);
    values[column++] = row_uuid(row, transfer->id);
    values[column++] = row_uuid(row, transfer->debit_account_id);
    values[column++] = row_uuid(row, transfer->credit_account_id);
    values[column++] = row_numeric(row, transfer->amount);
    column = row_put_reference(row, column, transfer->pending_id);
    column = row_put_reference(row, column, transfer->user_data_128);
    values[column++] = Int64GetDatum((int64_t) transfer->user_data_64);
    values[column++] = Int64GetDatum(transfer->user_data_32);
    values[column++] = Int64GetDatum(transfer->timeout);
    values[column++] = Int64GetDatum(transfer->ledger);
    values[column++] = Int32GetDatum(transfer->code);
    values[column++] = row_flags(row, transfer->flags, CONVERT_TRANSFER_FLAG);
    values[column++] = Int64GetDatum((int64_t) transfer->timestamp);
    values[column++] = TimestampTzGetDatum(convert_timestamp_to_timestamptz(transfer->timestamp));
    row->nulls[column] = record->state == PENDING_NONE;
    values[column++] = record->state == PENDING_NONE
                           ? (Datum) 0
                           : convert_label(convert_labels(CONVERT_HOLD_STATE), record->state);
    column = row_put_time(row, column, record->expires_at);
    column = row_put_reference(row, column, record->resolved_by);
    column = row_put_time(row, column, record->resolved_at);
    assert(column == CONVERT_TRANSFER_COLUMNS);
}

void
convert_account_balance_to_row(
    u128 account_id,
    const struct account_balance *balance,
    struct convert_row *row)
{
    int column = 0;
    Datum *values = row->values;
    row_begin(row, CONVERT_ACCOUNT_BALANCE_COLUMNS);
    values[column++] = row_uuid(row, account_id);
    column = row_put_balances(row, column, &balance->balances);
    values[column++] = Int64GetDatum((int64_t) balance->timestamp);
    values[column++] = TimestampTzGetDatum(convert_timestamp_to_timestamptz(balance->timestamp));
    assert(column == CONVERT_ACCOUNT_BALANCE_COLUMNS);
}

static int
row_put_event_account(
    struct convert_row *row,
    int column,
    const struct change_event_account *account)
{
    Datum *values = row->values;
    values[column++] = row_uuid(row, account->id);
    column = row_put_balances(row, column, &account->balances);
    column = row_put_reference(row, column, account->user_data_128);
    values[column++] = Int64GetDatum((int64_t) account->user_data_64);
    values[column++] = Int64GetDatum(account->user_data_32);
    values[column++] = Int32GetDatum(account->code);
    values[column++] = row_flags(row, account->flags, CONVERT_ACCOUNT_FLAG);
    return column;
}

void
convert_change_event_to_row(const struct change_event *event, struct convert_row *row)
{
    int column = 0;
    Datum *values = row->values;
    row_begin(row, CONVERT_CHANGE_EVENT_COLUMNS);
    values[column++] = row_uuid(row, event->transfer_id);
    values[column++] = row_numeric(row, event->transfer_amount);
    column = row_put_reference(row, column, event->transfer_pending_id);
    column = row_put_reference(row, column, event->transfer_user_data_128);
    values[column++] = Int64GetDatum((int64_t) event->transfer_user_data_64);
    values[column++] = Int64GetDatum(event->transfer_user_data_32);
    values[column++] = Int64GetDatum(event->transfer_timeout);
    values[column++] = Int32GetDatum(event->transfer_code);
    values[column++] = row_flags(row, event->transfer_flags, CONVERT_TRANSFER_FLAG);
    values[column++] = Int64GetDatum(event->ledger);
    values[column++] =
        convert_label(convert_labels(CONVERT_CHANGE_EVENT_TYPE), event->type);
    column = row_put_event_account(row, column, &event->debit_account);
    column = row_put_event_account(row, column, &event->credit_account);
    values[column++] = Int64GetDatum((int64_t) event->timestamp);
    values[column++] = Int64GetDatum((int64_t) event->transfer_timestamp);
    values[column++] = Int64GetDatum((int64_t) event->debit_account_timestamp);
    values[column++] = Int64GetDatum((int64_t) event->credit_account_timestamp);
    values[column++] = TimestampTzGetDatum(convert_timestamp_to_timestamptz(event->timestamp));
    assert(column == CONVERT_CHANGE_EVENT_COLUMNS);
}
