/* SPDX-License-Identifier: PostgreSQL */
/*
 * The functions that create one account or transfer, for people. A business failure is an ERROR,
 * and both `created` and `exists` are successes, so that repeating a call is safe. They return only
 * the status: if they returned a row, `(f()).*` would call the function once for each column, and
 * move the money each time. The functions that make ids are here too.
 */
#include "postgres.h"
#include "pg/compat.h"

#include <time.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/units.h"
#include "pg/client/client.h"
#include "pg/client/commit_mode.h"
#include "pg/client/convert.h"
#include "pg/sql/errors.h"

PG_FUNCTION_INFO_V1(ledger_create_account);
PG_FUNCTION_INFO_V1(ledger_create_transfer);
PG_FUNCTION_INFO_V1(ledger_post_pending_transfer);
PG_FUNCTION_INFO_V1(ledger_void_pending_transfer);
PG_FUNCTION_INFO_V1(ledger_id);
PG_FUNCTION_INFO_V1(ledger_id_numeric);
PG_FUNCTION_INFO_V1(ledger_uuidv7);

/* ---- One event ------------------------------------------------------------------------------- */

static struct create_result
create_one(enum ledger_operation operation, const void *event)
{
    struct client_call call;
    client_begin(&call, operation, 1, 1);
    assert(call.input_size_max >= EVENT_SIZE);
    memcpy(call.input, event, EVENT_SIZE);
    call.input_size = EVENT_SIZE;
    client_run(&call);

    struct create_result result;
    assert(call.reply_size == sizeof(result));
    memcpy(&result, call.reply, sizeof(result));
    client_end(&call);
    return result;
}

/* Turns the arguments into a row: `columns` says which column each argument is. */
static void
arguments_to_row(FunctionCallInfo fcinfo, const uint8_t *columns, Datum *values, bool *nulls)
{
    for (int i = 0; i < PG_NARGS(); i++) {
        values[columns[i]] = fcinfo->args[i].value;
        nulls[columns[i]] = fcinfo->args[i].isnull;
    }
}

Datum
ledger_create_account(PG_FUNCTION_ARGS)
{
    static const uint8_t columns[] = {
        ACCOUNT_INPUT_ID,
        ACCOUNT_INPUT_LEDGER,
        ACCOUNT_INPUT_CODE,
        ACCOUNT_INPUT_FLAGS,
        ACCOUNT_INPUT_USER_DATA_128,
        ACCOUNT_INPUT_USER_DATA_64,
        ACCOUNT_INPUT_USER_DATA_32,
        ACCOUNT_INPUT_TIMESTAMP,
    };
    assert(PG_NARGS() == ARRAY_COUNT(columns));
    commit_mode_check("ledger.create_account");

    Datum values[ACCOUNT_INPUT_COLUMNS];
    bool nulls[ACCOUNT_INPUT_COLUMNS];
    struct account account;
    arguments_to_row(fcinfo, columns, values, nulls);
    convert_row_to_account(values, nulls, &account);

    const struct create_result result = create_one(LEDGER_CREATE_ACCOUNTS, &account);
    if (result.status != STATUS_CREATED && result.status != ACCOUNT_STATUS_exists) {
        errors_raise_account(result.status, &account);
    }
    commit_mode_count_write();
    return convert_status(convert_labels(CONVERT_ACCOUNT_STATUS), result.status);
}

static Datum
create_transfer(const struct transfer *transfer)
{
    const struct create_result result = create_one(LEDGER_CREATE_TRANSFERS, transfer);
    if (result.status != STATUS_CREATED && result.status != TRANSFER_STATUS_exists) {
        errors_raise_transfer(result.status, transfer);
    }
    commit_mode_count_write();
    return convert_status(convert_labels(CONVERT_TRANSFER_STATUS), result.status);
}

#define CREATE_TRANSFER_ARGUMENT_TIMEOUT 7

Datum
ledger_create_transfer(PG_FUNCTION_ARGS)
{
    static const uint8_t columns[] = {
        TRANSFER_INPUT_ID,
        TRANSFER_INPUT_DEBIT_ACCOUNT_ID,
        TRANSFER_INPUT_CREDIT_ACCOUNT_ID,
        TRANSFER_INPUT_AMOUNT,
        TRANSFER_INPUT_LEDGER,
        TRANSFER_INPUT_CODE,
        TRANSFER_INPUT_FLAGS,
        [CREATE_TRANSFER_ARGUMENT_TIMEOUT] = TRANSFER_INPUT_TIMEOUT,
        TRANSFER_INPUT_USER_DATA_128,
        TRANSFER_INPUT_USER_DATA_64,
        TRANSFER_INPUT_USER_DATA_32,
        TRANSFER_INPUT_TIMESTAMP,
    };
    assert(PG_NARGS() == ARRAY_COUNT(columns));
    commit_mode_check("ledger.create_transfer");

    Datum values[TRANSFER_INPUT_COLUMNS];
    bool nulls[TRANSFER_INPUT_COLUMNS];
    struct transfer transfer;
    arguments_to_row(fcinfo, columns, values, nulls);
    nulls[TRANSFER_INPUT_PENDING_ID] = true;
    if (!nulls[TRANSFER_INPUT_TIMEOUT]) {
        /* The argument is an interval, but the row has seconds. */
        values[TRANSFER_INPUT_TIMEOUT] = Int64GetDatum(convert_interval_to_seconds(
            PG_GETARG_INTERVAL_P(CREATE_TRANSFER_ARGUMENT_TIMEOUT),
            "timeout"));
    }
    convert_row_to_transfer(values, nulls, &transfer);
    return create_transfer(&transfer);
}

/*
 * Posts or voids a pending transfer. What isn't given is taken from the pending transfer: accounts,
 * ledger, code, and user data that is zero.
 */
static Datum
resolve_pending_transfer(
    FunctionCallInfo fcinfo,
    enum transfer_flags flag,
    const uint8_t *columns)
{
    Datum values[TRANSFER_INPUT_COLUMNS];
    bool nulls[TRANSFER_INPUT_COLUMNS];
    struct transfer transfer;
    memset(nulls, true, sizeof(nulls));
    arguments_to_row(fcinfo, columns, values, nulls);
    if (nulls[TRANSFER_INPUT_PENDING_ID]) convert_raise_null("pending_id");
    convert_row_to_transfer_flagged(values, nulls, (uint16_t) flag, &transfer);
    return create_transfer(&transfer);
}

Datum
ledger_post_pending_transfer(PG_FUNCTION_ARGS)
{
    static const uint8_t columns[] = {
        TRANSFER_INPUT_ID,
        TRANSFER_INPUT_PENDING_ID,
        TRANSFER_INPUT_AMOUNT,
        TRANSFER_INPUT_USER_DATA_128,
        TRANSFER_INPUT_USER_DATA_64,
        TRANSFER_INPUT_USER_DATA_32,
    };
    assert(PG_NARGS() == ARRAY_COUNT(columns));
    commit_mode_check("ledger.post_pending_transfer");
    return resolve_pending_transfer(fcinfo, TRANSFER_POST_PENDING, columns);
}

Datum
ledger_void_pending_transfer(PG_FUNCTION_ARGS)
{
    static const uint8_t columns[] = {
        TRANSFER_INPUT_ID,
        TRANSFER_INPUT_PENDING_ID,
        TRANSFER_INPUT_USER_DATA_128,
        TRANSFER_INPUT_USER_DATA_64,
        TRANSFER_INPUT_USER_DATA_32,
    };
    assert(PG_NARGS() == ARRAY_COUNT(columns));
    commit_mode_check("ledger.void_pending_transfer");
    return resolve_pending_transfer(fcinfo, TRANSFER_VOID_PENDING, columns);
}

/* ---- Ids ------------------------------------------------------------------------------------- */

static Datum
uuid_datum(u128 value)
{
    pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
    convert_u128_to_uuid(value, uuid);
    return UUIDPGetDatum(uuid);
}

Datum
ledger_id(PG_FUNCTION_ARGS)
{
    return uuid_datum(convert_numeric_to_u128(PG_GETARG_DATUM(0), "id"));
}

Datum
ledger_id_numeric(PG_FUNCTION_ARGS)
{
    void *numeric = palloc(CONVERT_NUMERIC_SIZE_MAX);
    (void) convert_u128_to_numeric(convert_uuid_to_u128(PG_GETARG_DATUM(0)), numeric);
    return PointerGetDatum(numeric);
}

/*
 * The bits of a version 7 uuid, from the left: 48 of Unix milliseconds, 4 of version, 12 that are
 * free, 2 of variant, 62 that are free.
 */
#define UUIDV7_VERSION (UINT64_C(7) << 12)
#define UUIDV7_VARIANT (UINT64_C(2) << 62)
#define UUIDV7_FRACTION_BITS 12

/*
 * A call of pg_strong_random costs the same however much it is asked for, so ask for many at a
 * time.
 */
static uint64_t
random_next(void)
{
    static uint64_t random[64];
    static uint32_t left = 0;
    if (left == 0) {
        if (!pg_strong_random(random, sizeof(random))) {
            ereport(
                ERROR,
                errcode(ERRCODE_INTERNAL_ERROR),
                errmsg("could not generate random values"));
        }
        left = lengthof(random);
    }
    left -= 1;
    return random[left];
}

/*
 * The 12 free bits behind the milliseconds hold their fraction. In one session they never repeat or
 * go back, so the ids of a session are strictly increasing. The other 62 bits are random.
 */
Datum
ledger_uuidv7(PG_FUNCTION_ARGS)
{
    static uint64_t tick_last = 0;

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t milliseconds = (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / NS_PER_MS;
    const uint64_t fraction =
        ((uint64_t) now.tv_nsec % NS_PER_MS << UUIDV7_FRACTION_BITS) / NS_PER_MS;
    tick_last = max_u64(tick_last + 1, milliseconds << UUIDV7_FRACTION_BITS | fraction);

    const uint64_t random = random_next();
    const uint64_t fraction_mask = (UINT64_C(1) << UUIDV7_FRACTION_BITS) - 1;
    const uint64_t high = (tick_last & ~fraction_mask) << 4 | (tick_last & fraction_mask);
    return uuid_datum(u128_make(high | UUIDV7_VERSION, UUIDV7_VARIANT | random >> 2));
}
