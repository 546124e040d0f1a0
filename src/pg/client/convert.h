/* SPDX-License-Identifier: PostgreSQL */
/*
 * Conversions between SQL values and the engine's records.
 *
 *      uuid                u128, big-endian: the order of uuids is the order of the numbers
 *      numeric             u128, exact: a fraction, a sign, NaN, 2^128 or more is an ERROR
 *      bigint              u64 (bit pattern), u32 (range checked), timestamps (0 ... 2^63 - 1)
 *      integer             u16 (range checked)
 *      array of an enum    flags, a bit for each element
 *      interval            u32 seconds
 *
 * Input: NULL is zero where the engine lets zero mean "none"; elsewhere, NULL is an ERROR. Output:
 * NULL stands for "none" in user_data_128, pending_id and resolved_by (the zero uuid names
 * nothing), and in columns that only holds have, if the transfer isn't a hold. Integers are shown
 * as they are, even zero.
 *
 * Conversions to records raise errors that name the column. None of this calls the engine.
 */
#ifndef LEDGER_PG_CLIENT_CONVERT_H
#define LEDGER_PG_CLIENT_CONVERT_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "ledger/types.h"

/* ---- Enums ----------------------------------------------------------------------------------- */

enum convert_enum {
    CONVERT_ACCOUNT_FLAG,    /* The values are numbers of bits. */
    CONVERT_TRANSFER_FLAG,   /* The values are numbers of bits. */
    CONVERT_ACCOUNT_STATUS,  /* The values are codes; CONVERT_CREATED stands for STATUS_CREATED. */
    CONVERT_TRANSFER_STATUS, /* The values are codes; CONVERT_CREATED stands for STATUS_CREATED. */
    CONVERT_CHANGE_EVENT_TYPE,
    CONVERT_HOLD_STATE, /* The values are those of enum pending_status. */
};
#define CONVERT_ENUM_COUNT 6
#define CONVERT_ENUM_VALUES_MAX 70
#define CONVERT_CREATED 0

/* The oids of one SQL enum's labels, by value; InvalidOid if no label has the value. */
struct convert_labels {
    Oid type;
    Oid array_type;
    uint32_t count;
    Oid oids[CONVERT_ENUM_VALUES_MAX];
};

/*
 * Valid until the end of the statement. Only the first call in a session has to look anything up.
 */
const struct convert_labels *convert_labels(enum convert_enum which);

/* The label of a value that has one. */
Datum convert_label(const struct convert_labels *labels, uint32_t value);

/* The label of a create's status, from the labels of its kind. */
Datum convert_status(const struct convert_labels *labels, uint32_t status);

/* ---- Scalars --------------------------------------------------------------------------------- */

u128 convert_uuid_to_u128(Datum datum);
void convert_u128_to_uuid(u128 value, pg_uuid_t *uuid);

u128 convert_numeric_to_u128(Datum datum, const char *name);
/*
 * Writes a numeric at `buffer` (CONVERT_NUMERIC_SIZE_MAX bytes, 4-byte aligned); returns its size.
 */
#define CONVERT_NUMERIC_SIZE_MAX 28
uint32_t convert_u128_to_numeric(u128 value, void *buffer);

uint32_t convert_bigint_to_u32(int64_t value, const char *name);
uint16_t convert_integer_to_u16(int32_t value, const char *name);
uint64_t convert_bigint_to_timestamp(int64_t value, const char *name);
uint32_t convert_interval_to_seconds(const Interval *interval, const char *name);
uint16_t convert_array_to_flags(Datum datum, enum convert_enum which);

TimestampTz convert_timestamp_to_timestamptz(uint64_t timestamp_ns);

/* The hold_state as enum pending_status; PENDING_NONE if the value isn't one of its labels. */
enum pending_status convert_hold_state(Datum datum);

_Noreturn void convert_raise_null(const char *name);

/* ---- Rows to records ------------------------------------------------------------------------- */

/* Columns of ledger.account_input and ledger.transfer_input, in order. */
enum account_input_column {
    ACCOUNT_INPUT_ID,
    ACCOUNT_INPUT_USER_DATA_128,
    ACCOUNT_INPUT_USER_DATA_64,
    ACCOUNT_INPUT_USER_DATA_32,
    ACCOUNT_INPUT_LEDGER,
    ACCOUNT_INPUT_CODE,
    ACCOUNT_INPUT_FLAGS,
    ACCOUNT_INPUT_TIMESTAMP,
    ACCOUNT_INPUT_COLUMNS,
};

enum transfer_input_column {
    TRANSFER_INPUT_ID,
    TRANSFER_INPUT_DEBIT_ACCOUNT_ID,
    TRANSFER_INPUT_CREDIT_ACCOUNT_ID,
    TRANSFER_INPUT_AMOUNT,
    TRANSFER_INPUT_PENDING_ID,
    TRANSFER_INPUT_USER_DATA_128,
    TRANSFER_INPUT_USER_DATA_64,
    TRANSFER_INPUT_USER_DATA_32,
    TRANSFER_INPUT_TIMEOUT,
    TRANSFER_INPUT_LEDGER,
    TRANSFER_INPUT_CODE,
    TRANSFER_INPUT_FLAGS,
    TRANSFER_INPUT_TIMESTAMP,
    TRANSFER_INPUT_COLUMNS,
};

/*
 * The SQL type that a letter stands for. The columns of a row type are written as letters: u uuid,
 * n numeric, b bigint, i integer, z timestamptz, a array of account flags, t array of transfer
 * flags, e type of a change event, h state of a hold.
 */
Oid convert_letter_type(char letter);

/* The types of the columns of ledger.account_input and ledger.transfer_input. */
#define CONVERT_ACCOUNT_INPUT_TYPES  "uubbbiab"
#define CONVERT_TRANSFER_INPUT_TYPES "uuunuubbbbitb"

void convert_row_to_account(const Datum *values, const bool *nulls, struct account *account);

/*
 * The amount may be NULL in a post, where it means the whole pending amount, and in a void. In
 * both, accounts, ledger and code may be NULL, which means the pending transfer's.
 */
void convert_row_to_transfer(const Datum *values, const bool *nulls, struct transfer *transfer);
/* The same, with `flags` in place of the row's. */
void convert_row_to_transfer_flagged(
    const Datum *values,
    const bool *nulls,
    uint16_t flags,
    struct transfer *transfer);

/* ---- Records to rows ------------------------------------------------------------------------- */

#define CONVERT_ACCOUNT_COLUMNS 13
#define CONVERT_TRANSFER_COLUMNS 18
#define CONVERT_ACCOUNT_BALANCE_COLUMNS 7
#define CONVERT_CHANGE_EVENT_COLUMNS 36
#define CONVERT_COLUMNS_MAX CONVERT_CHANGE_EVENT_COLUMNS

/*
 * One row of ledger.accounts, transfers, account_balances or change_events. What its Datums point
 * to lives in `space`, so a row costs no allocation: the next conversion into the same convert_row
 * overwrites it. Large, but fine on the stack.
 */
struct convert_row {
    Datum values[CONVERT_COLUMNS_MAX];
    bool nulls[CONVERT_COLUMNS_MAX];
    uint32_t space_used;
    /* A change event needs the most: 9 numerics, 7 uuids, 3 arrays of flags. */
    char space[1024] __attribute__((aligned(16)));
};

void convert_account_to_row(const struct account *account, struct convert_row *row);
void convert_transfer_to_row(const struct transfer_row *record, struct convert_row *row);
void convert_account_balance_to_row(
    u128 account_id,
    const struct account_balance *balance,
    struct convert_row *row);
void convert_change_event_to_row(const struct change_event *event, struct convert_row *row);

#endif
