/* SPDX-License-Identifier: PostgreSQL */
/*
 * The functions that create many accounts or transfers, for programs. They return a result for each
 * event, in order, and never raise an ERROR for a business failure.
 *
 *      array of rows      → rows        create_accounts, create_transfers
 *      128-byte records   → 16-byte     create_accounts_packed, create_transfers_packed
 *
 * A batch that is larger than a message is cut into pieces of at most EVENTS_PER_BATCH_MAX events,
 * but never within a linked chain. Pieces are sent one after another, and each is durable before
 * the next is sent. All input is checked before the first piece is sent. A backend owns one slot at
 * a time, so that backends that send large batches never wait for each other in a circle.
 *
 * What can go wrong: a later piece fails when earlier ones have taken effect. The error says so in
 * its context, and the batch can be repeated with the same ids.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "base/units.h"
#include "pg/client/client.h"
#include "pg/client/commit_mode.h"
#include "pg/client/convert.h"

PG_FUNCTION_INFO_V1(ledger_create_accounts);
PG_FUNCTION_INFO_V1(ledger_create_transfers);
PG_FUNCTION_INFO_V1(ledger_create_accounts_packed);
PG_FUNCTION_INFO_V1(ledger_create_transfers_packed);


/* ---- Pieces ---------------------------------------------------------------------------------- */

static_assert(offsetof(struct account, flags) == offsetof(struct transfer, flags), "as one");
static_assert((int) ACCOUNT_LINKED == (int) TRANSFER_LINKED, "as one");

static bool
event_is_linked(const char *records, uint64_t index)
{
    uint16_t flags;
    memcpy(&flags, records + index * EVENT_SIZE + offsetof(struct transfer, flags), sizeof(flags));
    return (flags & TRANSFER_LINKED) != 0;
}

/* How many events the first piece has; 0 if the first chain is longer than a message. */
static uint32_t
piece_count(const char *records, uint64_t count)
{
    assert(count > 0);
    if (count <= EVENTS_PER_BATCH_MAX) return (uint32_t) count;
    uint32_t piece = EVENTS_PER_BATCH_MAX;
    while (piece > 0 && event_is_linked(records, piece - 1)) piece -= 1;
    return piece;
}

static void
check_chains(const char *records, uint64_t count)
{
    uint64_t done = 0;
    while (done < count) {
        const uint32_t piece = piece_count(records + done * EVENT_SIZE, count - done);
        if (piece == 0) {
            ereport(
                ERROR,
                errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                errmsg("a chain of linked events is longer than %d", EVENTS_PER_BATCH_MAX),
                errdetail("The chain begins at event %llu.", (unsigned long long) done + 1),
                errhint("Nothing was created."));
        }
        done += piece;
    }
    assert(done == count);
}

struct sending {
    uint64_t done;
    uint64_t count;
};

/*
 * Adds to the error if a later piece fails: the earlier ones have taken effect, and the user must
 * know.
 */
static void
sending_error_context(void *argument)
{
    const struct sending *sending = argument;
    if (sending->done == 0) return;
    errcontext(
        "the first %llu of %llu events were processed and stay",
        (unsigned long long) sending->done,
        (unsigned long long) sending->count);
}

/* Sends `count` records, and writes their results at `results` (which need not be aligned). */
static void
send_pieces(
    enum ledger_operation operation,
    const char *records,
    uint64_t count,
    char *results)
{
    check_chains(records, count);

    struct sending sending = {.done = 0, .count = count};
    ErrorContextCallback context = {
        .previous = error_context_stack,
        .callback = sending_error_context,
        .arg = &sending,
    };
    error_context_stack = &context;
    while (sending.done < count) {
        const char *piece = records + sending.done * EVENT_SIZE;
        const uint32_t events = piece_count(piece, count - sending.done);
        struct client_call call;
        client_begin(&call, operation, events, events);
        call.input_size = events * EVENT_SIZE;
        assert(call.input_size <= call.input_size_max);
        memcpy(call.input, piece, call.input_size);
        client_run(&call);
        assert(call.reply_size == events * RESULT_SIZE);
        memcpy(results + sending.done * RESULT_SIZE, call.reply, call.reply_size);
        client_end(&call);
        sending.done += events;
    }
    assert(sending.done == count);
    error_context_stack = context.previous;
    commit_mode_count_write();
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

static void
packing_error_context(void *argument)
{
    const int *index = argument;
    errcontext("element %d of the array", *index + 1);
}

static void
raise_null_element(void)
{
    ereport(
        ERROR,
        errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
        errmsg("the array must not contain nulls"));
}

/*
 * Takes apart rows of an input type. ALTER TYPE leaves attributes in place that were dropped, so
 * the number of an attribute may differ from that of the column.
 */
struct row_reader {
    TupleDesc descriptor;
    int columns;
    int attributes[TRANSFER_INPUT_COLUMNS]; /* The number of each column's attribute. */
    Datum *values;                          /* Values of all attributes. */
    bool *nulls;
};

static_assert((int) TRANSFER_INPUT_COLUMNS >= (int) ACCOUNT_INPUT_COLUMNS, "the rows fit");

static void
row_reader_open(struct row_reader *reader, Oid type, enum ledger_operation operation)
{
    const bool is_account = operation == LEDGER_CREATE_ACCOUNTS;
    const char *types = is_account ? CONVERT_ACCOUNT_INPUT_TYPES : CONVERT_TRANSFER_INPUT_TYPES;
    reader->descriptor = lookup_rowtype_tupdesc(type, -1);
    reader->columns = (int) strlen(types);
    assert(reader->columns <= TRANSFER_INPUT_COLUMNS);

    const int attributes = reader->descriptor->natts;
    int column = 0;
    bool same = true;
    for (int i = 0; i < attributes && same; i++) {
        const FormData_pg_attribute *attribute = TupleDescAttr(reader->descriptor, i);
        if (attribute->attisdropped) continue;
        same = column < reader->columns;
        same = same && attribute->atttypid == convert_letter_type(types[column]);
        if (same) reader->attributes[column] = i;
        column += 1;
    }
    if (!same || column != reader->columns) {
        ereport(
            ERROR,
            errcode(ERRCODE_DATATYPE_MISMATCH),
            errmsg("type %s was altered", format_type_be(type)),
            errhint("Give it the attributes back that CREATE EXTENSION ledger makes."));
    }
    reader->values = palloc_array(Datum, attributes);
    reader->nulls = palloc_array(bool, attributes);
}

static void
row_reader_read(struct row_reader *reader, const char *element, Datum *values, bool *nulls)
{
    HeapTupleHeader header = DatumGetHeapTupleHeader(PointerGetDatum(element));
    HeapTupleData tuple = {
        .t_len = HeapTupleHeaderGetDatumLength(header),
        .t_data = header,
    };
    heap_deform_tuple(&tuple, reader->descriptor, reader->values, reader->nulls);
    for (int column = 0; column < reader->columns; column++) {
        values[column] = reader->values[reader->attributes[column]];
        nulls[column] = reader->nulls[reader->attributes[column]];
    }
}

static void
row_reader_close(struct row_reader *reader)
{
    pfree(reader->values);
    pfree(reader->nulls);
    ReleaseTupleDesc(reader->descriptor);
}

/* Writes a record for each element of the array, which has no NULLs. */
static void
pack_array(ArrayType *array, int count, enum ledger_operation operation, char *records)
{
    struct row_reader reader;
    row_reader_open(&reader, ARR_ELEMTYPE(array), operation);

    int index = 0;
    ErrorContextCallback context = {
        .previous = error_context_stack,
        .callback = packing_error_context,
        .arg = &index,
    };
    error_context_stack = &context;
    const char *element = ARR_DATA_PTR(array);
    for (; index < count; index++) {
        CHECK_FOR_INTERRUPTS();
        element = (const char *) att_align_pointer(element, TYPALIGN_DOUBLE, -1, element);
        Datum values[TRANSFER_INPUT_COLUMNS];
        bool nulls[TRANSFER_INPUT_COLUMNS];
        row_reader_read(&reader, element, values, nulls);
        void *record = records + (size_t) index * EVENT_SIZE;
        if (operation == LEDGER_CREATE_ACCOUNTS) {
            convert_row_to_account(values, nulls, record);
        } else {
            convert_row_to_transfer(values, nulls, record);
        }
        element = att_addlength_pointer(element, -1, element);
    }
    error_context_stack = context.previous;
    row_reader_close(&reader);
}

static void
put_results(
    ReturnSetInfo *set,
    enum ledger_operation operation,
    const struct create_result *results,
    uint64_t count)
{
    const struct convert_labels *labels = convert_labels(
        operation == LEDGER_CREATE_ACCOUNTS ? CONVERT_ACCOUNT_STATUS : CONVERT_TRANSFER_STATUS);
    bool nulls[3] = {false, false, false};
    assert(set->setDesc->natts == 3);
    for (uint64_t i = 0; i < count; i++) {
        Datum values[3] = {
            Int32GetDatum((int32_t) (i + 1)),
            convert_status(labels, results[i].status),
            Int64GetDatum((int64_t) results[i].timestamp),
        };
        tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
    }
}

/* The common case: a single message, packed directly where the engine reads it. */
static void
create_one_message(
    ReturnSetInfo *set,
    enum ledger_operation operation,
    ArrayType *array,
    int count)
{
    assert(count <= EVENTS_PER_BATCH_MAX);
    struct client_call call;
    client_begin(&call, operation, (uint32_t) count, (uint32_t) count);
    call.input_size = (uint32_t) count * EVENT_SIZE;
    assert(call.input_size <= call.input_size_max);
    pack_array(array, count, operation, call.input);
    client_run(&call);
    assert(call.reply_size == (uint32_t) count * RESULT_SIZE);
    commit_mode_count_write();
    put_results(set, operation, call.reply, (uint64_t) count);
    client_end(&call);
}

static void
create_many_messages(
    ReturnSetInfo *set,
    enum ledger_operation operation,
    ArrayType *array,
    int count)
{
    char *records =
        MemoryContextAllocHuge(CurrentMemoryContext, (Size) count * EVENT_SIZE);
    struct create_result *results =
        MemoryContextAllocHuge(CurrentMemoryContext, (Size) count * RESULT_SIZE);
    pack_array(array, count, operation, records);
    send_pieces(operation, records, (uint64_t) count, (char *) results);
    pfree(records);
    put_results(set, operation, results, (uint64_t) count);
    pfree(results);
}

static Datum
create_from_array(FunctionCallInfo fcinfo, enum ledger_operation operation)
{
    ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
    const int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    if (ARR_NDIM(array) > 1) {
        ereport(
            ERROR,
            errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
            errmsg("the array must have one dimension"));
    }
    if (count > 0 && ARR_HASNULL(array) && array_contains_nulls(array)) raise_null_element();

    InitMaterializedSRF(fcinfo, 0);
    ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
    if (count > EVENTS_PER_BATCH_MAX) {
        create_many_messages(set, operation, array, count);
    } else if (count > 0) {
        create_one_message(set, operation, array, count);
    }
    return (Datum) 0;
}

Datum
ledger_create_accounts(PG_FUNCTION_ARGS)
{
    commit_mode_check("ledger.create_accounts");
    return create_from_array(fcinfo, LEDGER_CREATE_ACCOUNTS);
}

Datum
ledger_create_transfers(PG_FUNCTION_ARGS)
{
    commit_mode_check("ledger.create_transfers");
    return create_from_array(fcinfo, LEDGER_CREATE_TRANSFERS);
}

/* ---- Packed records -------------------------------------------------------------------------- */

static Datum
create_from_packed(FunctionCallInfo fcinfo, enum ledger_operation operation)
{
    bytea *input = PG_GETARG_BYTEA_PP(0);
    const Size size = VARSIZE_ANY_EXHDR(input);
    if (size % EVENT_SIZE != 0) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("packed records must be a multiple of %d bytes", EVENT_SIZE),
            errdetail("The length is %zu bytes.", size));
    }

    const uint64_t count = size / EVENT_SIZE;
    const Size reply_size = VARHDRSZ + count * RESULT_SIZE;
    bytea *reply = palloc(reply_size);
    SET_VARSIZE(reply, reply_size);
    send_pieces(operation, VARDATA_ANY(input), count, VARDATA(reply));
    PG_RETURN_BYTEA_P(reply);
}

Datum
ledger_create_accounts_packed(PG_FUNCTION_ARGS)
{
    commit_mode_check("ledger.create_accounts_packed");
    return create_from_packed(fcinfo, LEDGER_CREATE_ACCOUNTS);
}

Datum
ledger_create_transfers_packed(PG_FUNCTION_ARGS)
{
    commit_mode_check("ledger.create_transfers_packed");
    return create_from_packed(fcinfo, LEDGER_CREATE_TRANSFERS);
}
