/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads: what may be asked, and lookups by id. query.c has the queries.
 *
 * An answer is as many rows as match, up to three bounds: the filter's limit, the operation's
 * maximum, and the room in the reply. Whoever wants the rest asks again from the last row's
 * timestamp.
 */
#include <stddef.h>
#include <string.h>

#include "ledger/ledger_internal.h"

/* ---- Sizes ----------------------------------------------------------------------------------- */

uint32_t
ledger_row_size(uint8_t operation)
{
    switch ((enum ledger_operation) operation) {
    case LEDGER_GET_CHANGE_EVENTS: return sizeof(struct change_event);
    case LEDGER_LOOKUP_ACCOUNTS: return sizeof(struct account);
    case LEDGER_LOOKUP_TRANSFERS: return sizeof(struct transfer);
    case LEDGER_GET_ACCOUNT_TRANSFERS: return sizeof(struct transfer);
    case LEDGER_GET_ACCOUNT_BALANCES: return sizeof(struct account_balance);
    case LEDGER_QUERY_ACCOUNTS: return sizeof(struct account);
    case LEDGER_QUERY_TRANSFERS: return sizeof(struct transfer);
    case LEDGER_CREATE_ACCOUNTS: return sizeof(struct create_result);
    case LEDGER_CREATE_TRANSFERS: return sizeof(struct create_result);
    }
    unreachable();
}

uint32_t
ledger_input_size(uint8_t operation)
{
    switch ((enum ledger_operation) operation) {
    case LEDGER_GET_CHANGE_EVENTS: return sizeof(struct change_events_filter);
    case LEDGER_LOOKUP_ACCOUNTS: return sizeof(u128);
    case LEDGER_LOOKUP_TRANSFERS: return sizeof(u128);
    case LEDGER_GET_ACCOUNT_TRANSFERS: return sizeof(struct account_filter);
    case LEDGER_GET_ACCOUNT_BALANCES: return sizeof(struct account_filter);
    case LEDGER_QUERY_ACCOUNTS: return sizeof(struct query_filter);
    case LEDGER_QUERY_TRANSFERS: return sizeof(struct query_filter);
    case LEDGER_CREATE_ACCOUNTS: return sizeof(struct account);
    case LEDGER_CREATE_TRANSFERS: return sizeof(struct transfer);
    }
    unreachable();
}

static uint32_t
rows_max(uint8_t operation)
{
    return operation == LEDGER_GET_CHANGE_EVENTS ? CHANGE_EVENTS_MAX : RESULTS_MAX;
}

/* ---- Is it valid? ---------------------------------------------------------------------------- */

static bool
all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) return false;
    }
    return true;
}

/* The three that all filters have. Above TIMESTAMP_MAX nothing can be stored; 0 is no bound. */
static const char *
window_check(uint64_t timestamp_min, uint64_t timestamp_max, uint32_t limit)
{
    if (timestamp_min > TIMESTAMP_MAX) return "timestamp_min is out of range";
    if (timestamp_max > TIMESTAMP_MAX) return "timestamp_max is out of range";
    if (timestamp_max != 0 && timestamp_min > timestamp_max) {
        return "timestamp_min must not be greater than timestamp_max";
    }
    if (limit == 0) return "limit must not be zero";
    return NULL;
}

const char *
account_filter_check(const struct account_filter *filter)
{
    const uint32_t sides = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS;
    if (filter->account_id == 0) return "account_id must not be zero";
    if (filter->account_id == U128_MAX) return "account_id must not be the largest integer";
    if (!(filter->flags & sides)) return "debits or credits, or both, must be asked for";
    if (filter->flags & ~(sides | ACCOUNT_FILTER_REVERSED)) return "unknown flags must be zero";
    if (!all_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

const char *
query_filter_check(const struct query_filter *filter)
{
    if (filter->flags & ~(uint32_t) QUERY_FILTER_REVERSED) return "unknown flags must be zero";
    if (!all_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

const char *
change_events_filter_check(const struct change_events_filter *filter)
{
    if (!all_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

/* Any 16 bytes are an id that can be looked up; those that can't exist are not found. */
static const char *
ids_check(uint32_t input_size)
{
    if (input_size % sizeof(u128) != 0) return "the input is not whole ids";
    if (input_size / sizeof(u128) > RESULTS_MAX) return "there are too many ids for one lookup";
    return NULL;
}

/* Inputs come from shared memory as they are: copied, so that alignment does not matter. */
union filter {
    struct account_filter account;
    struct query_filter query;
    struct change_events_filter change_events;
};

const char *
ledger_read_check(uint8_t operation, const void *input, uint32_t input_size)
{
    union filter filter;
    switch ((enum ledger_operation) operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS: return ids_check(input_size);
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        if (input_size != sizeof(filter.account)) break;
        memcpy(&filter.account, input, sizeof(filter.account));
        return account_filter_check(&filter.account);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS:
        if (input_size != sizeof(filter.query)) break;
        memcpy(&filter.query, input, sizeof(filter.query));
        return query_filter_check(&filter.query);
    case LEDGER_GET_CHANGE_EVENTS:
        if (input_size != sizeof(filter.change_events)) break;
        memcpy(&filter.change_events, input, sizeof(filter.change_events));
        return change_events_filter_check(&filter.change_events);
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    default: return "the operation is not a read";
    }
    return "the input is not one filter";
}

/* ---- Answers --------------------------------------------------------------------------------- */

void
rows_add(struct rows *rows, const void *row)
{
    assert(!rows_full(rows));
    memcpy(rows->bytes + (size_t) rows->count * rows->row_size, row, rows->row_size);
    rows->count += 1;
}

/* In the order of the ids; those that are not found are left out. */
static void
lookup(
    const struct forest *forest,
    enum ledger_operation operation,
    const void *ids,
    uint32_t id_count,
    struct rows *rows)
{
    assert(operation == LEDGER_LOOKUP_ACCOUNTS || operation == LEDGER_LOOKUP_TRANSFERS);
    for (uint32_t i = 0; i < id_count && !rows_full(rows); i++) {
        u128 id;
        memcpy(&id, (const char *) ids + (size_t) i * sizeof(id), sizeof(id));
        const void *record = operation == LEDGER_LOOKUP_ACCOUNTS
                                 ? (const void *) account_find(forest, &id)
                                 : (const void *) transfer_find(forest, &id);
        if (record != NULL) rows_add(rows, record);
    }
}

uint32_t
ledger_read(
    struct state_machine *machine,
    uint8_t operation,
    const void *input,
    uint32_t input_size,
    void *reply,
    uint32_t reply_size_max)
{
    const struct forest *forest = machine->forest;
    const uint32_t row_size = ledger_row_size(operation);
    union filter filter;
    struct rows rows = {
        .bytes = reply,
        .row_size = row_size,
        .count_max = (uint32_t) min_u64(reply_size_max / row_size, rows_max(operation)),
    };
    assert(ledger_read_check(operation, input, input_size) == NULL);

    const enum ledger_operation kind = (enum ledger_operation) operation;
    if (kind == LEDGER_LOOKUP_ACCOUNTS || kind == LEDGER_LOOKUP_TRANSFERS) {
        lookup(forest, kind, input, (uint32_t) (input_size / sizeof(u128)), &rows);
        return rows.count * rows.row_size;
    }
    assert(input_size <= sizeof(filter));
    memcpy(&filter, input, input_size);
    switch (kind) {
    case LEDGER_GET_ACCOUNT_TRANSFERS:
        query_account_transfers(forest, &filter.account, &rows);
        break;
    case LEDGER_GET_ACCOUNT_BALANCES: query_account_balances(forest, &filter.account, &rows); break;
    case LEDGER_QUERY_ACCOUNTS: query_accounts(forest, &filter.query, &rows); break;
    case LEDGER_QUERY_TRANSFERS: query_transfers(forest, &filter.query, &rows); break;
    case LEDGER_GET_CHANGE_EVENTS: query_change_events(forest, &filter.change_events, &rows); break;
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS: unreachable();
    }
    return rows.count * rows.row_size;
}
