/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/paging.h"

#include "miscadmin.h"

#include "base/units.h"
#include "pg/client/client.h"
#include "pg/shared.h"
#include "pg/slots.h"

/*
 * Rows of the second page. The first page fills a small slot, those after the second a large one.
 */
#define PAGE_ROWS_SECOND 512
/*
 * The most rows that the pages of all strands have together, if each has more than the first
 * page's.
 */
#define PAGES_ROWS_MAX (2 * RESULTS_MAX)

static bool
is_lookup(const struct paging *paging)
{
    return paging->operation == LEDGER_LOOKUP_ACCOUNTS ||
           paging->operation == LEDGER_LOOKUP_TRANSFERS ||
           paging->operation == LEDGER_LOOKUP_RESOLUTIONS ||
           paging->operation == LEDGER_LOOKUP_CHANGE_EVENTS;
}

/* How many rows an id may have: in a lookup of change events, a transfer may have two. */
static uint32_t
rows_per_id(const struct paging *paging)
{
    return paging->operation == LEDGER_LOOKUP_CHANGE_EVENTS ? 2 : 1;
}

/* ---- Records --------------------------------------------------------------------------------- */

const void *
paging_record(const struct paging *paging, const struct paging_strand *strand, uint32_t index)
{
    assert(index < strand->count);
    return strand->records + (Size) index * ledger_row_size(paging->operation);
}

uint64_t
paging_timestamp(const struct paging *paging, const void *record)
{
    switch (paging->operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_QUERY_ACCOUNTS: return ((const struct account *) record)->timestamp;
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_QUERY_HOLDS:
    case LEDGER_QUERY_TRANSFERS: return ((const struct transfer_row *) record)->transfer.timestamp;
    case LEDGER_GET_ACCOUNT_BALANCES: return ((const struct account_balance *) record)->timestamp;
    case LEDGER_LOOKUP_CHANGE_EVENTS:
    case LEDGER_GET_CHANGE_EVENTS: return ((const struct change_event *) record)->timestamp;
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

/* ---- Filters --------------------------------------------------------------------------------- */

/* To the engine, 0 is no bound. An unbounded side of the window is given as that. */
static uint64_t
bound_min(const struct paging_strand *strand)
{
    return strand->timestamp_min <= 1 ? 0 : strand->timestamp_min;
}

static uint64_t
bound_max(const struct paging_strand *strand)
{
    return strand->timestamp_max == TIMESTAMP_MAX ? 0 : strand->timestamp_max;
}

static uint32_t
fill_account_filter(
    const struct paging *paging, const struct paging_strand *strand, uint32_t rows, void *input)
{
    struct account_filter filter = strand->filter.account;
    filter.timestamp_min = bound_min(strand);
    filter.timestamp_max = bound_max(strand);
    filter.limit = rows;
    if (paging->reversed) filter.flags |= ACCOUNT_FILTER_REVERSED;
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

static uint32_t
fill_query_filter(
    const struct paging *paging, const struct paging_strand *strand, uint32_t rows, void *input)
{
    struct query_filter filter = strand->filter.query;
    filter.timestamp_min = bound_min(strand);
    filter.timestamp_max = bound_max(strand);
    filter.limit = rows;
    if (paging->reversed) filter.flags |= QUERY_FILTER_REVERSED;
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

static uint32_t
fill_hold_filter(
    const struct paging *paging, const struct paging_strand *strand, uint32_t rows, void *input)
{
    struct hold_filter filter = strand->filter.hold;
    filter.timestamp_min = bound_min(strand);
    filter.timestamp_max = bound_max(strand);
    filter.limit = rows;
    if (paging->reversed) filter.flags |= HOLD_FILTER_REVERSED;
    if (paging->by_expiry) filter.flags |= HOLD_FILTER_BY_EXPIRY;
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

static uint32_t
fill_change_events_filter(
    const struct paging *paging, const struct paging_strand *strand, uint32_t rows, void *input)
{
    struct change_events_filter filter = strand->filter.change_events;
    filter.timestamp_min = bound_min(strand);
    filter.timestamp_max = bound_max(strand);
    filter.limit = rows;
    if (paging->reversed) filter.flags |= CHANGE_EVENTS_FILTER_REVERSED;
    memcpy(input, &filter, sizeof(filter));
    return sizeof(filter);
}

/* Writes the request for `rows` rows, and returns its size. */
static uint32_t
fill(const struct paging *paging, const struct paging_strand *strand, uint32_t rows, void *input)
{
    switch (paging->operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS:
        memcpy(input, strand->ids + strand->ids_next, rows * sizeof(u128));
        return rows * (uint32_t) sizeof(u128);
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES: return fill_account_filter(paging, strand, rows, input);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS: return fill_query_filter(paging, strand, rows, input);
    case LEDGER_QUERY_HOLDS: return fill_hold_filter(paging, strand, rows, input);
    case LEDGER_GET_CHANGE_EVENTS: return fill_change_events_filter(paging, strand, rows, input);
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

/* ---- Pages ----------------------------------------------------------------------------------- */

static void
reserve(const struct paging *paging, struct paging_strand *strand, uint32_t rows)
{
    if (strand->records_max >= rows) return;
    if (strand->records != NULL) pfree(strand->records);
    strand->records = NULL;
    strand->records_max = 0;
    strand->records =
        MemoryContextAlloc(paging->memory, (Size) rows * ledger_row_size(paging->operation));
    strand->records_max = rows;
}

/*
 * Makes one call for at most `count` records, or in a lookup ids, and copies the result to the
 * strand's page.
 */
static void
read_page(struct paging *paging, struct paging_strand *strand, uint32_t count)
{
    assert(count > 0);
    const uint32_t record_size = ledger_row_size(paging->operation);
    const uint32_t rows = count * rows_per_id(paging);
    reserve(paging, strand, rows);

    struct client_call call;
    client_begin(&call, paging->operation, is_lookup(paging) ? count : 1, rows);
    call.instant = paging->instant;
    call.input_size = fill(paging, strand, count, call.input);
    assert(call.input_size <= call.input_size_max);
    client_run(&call);
    assert(call.reply_size % record_size == 0);
    assert(call.reply_size / record_size <= rows);
    strand->count = call.reply_size / record_size;
    memcpy(strand->records, call.reply, call.reply_size);
    paging->instant = call.instant;
    client_end(&call);

    paging->requests += 1;
    paging->records += strand->count;
}

/* The most records, or in a lookup ids, that a page may have. */
static uint32_t
page_rows_max(const struct paging *paging)
{
    switch (paging->operation) {
    case LEDGER_GET_CHANGE_EVENTS: return CHANGE_EVENTS_MAX;
    case LEDGER_LOOKUP_CHANGE_EVENTS: return CHANGE_EVENTS_MAX / rows_per_id(paging);
    default: return RESULTS_MAX;
    }
}

static uint32_t
page_rows(const struct paging *paging, const struct paging_strand *strand)
{
    const uint32_t most = page_rows_max(paging);
    const uint32_t first = SLOT_SMALL_REPLY_BYTES / ledger_row_size(paging->operation);
    uint32_t rows = Min(most, Max(first, PAGES_ROWS_MAX / paging->strands));
    if (is_lookup(paging)) return Min(strand->ids_count - strand->ids_next, most);
    /* With a limit, the first page is the only one, if a page can have that many rows. */
    if (paging->row_limit == PAGING_NO_LIMIT) {
        if (strand->pages == 0) rows = first;
        if (strand->pages == 1) rows = Min(rows, PAGE_ROWS_SECOND);
    }
    return (uint32_t) Min(strand->rows_left, rows);
}

/* Removes what was read from the window. A page that wasn't full is the last one. */
static void
advance(const struct paging *paging, struct paging_strand *strand, uint32_t rows)
{
    strand->pages += 1;
    strand->rows_left -= strand->count;
    strand->ended = strand->count < rows || strand->rows_left == 0;
    if (strand->ended) return;

    const void *record = paging_record(paging, strand, strand->count - 1);
    const uint64_t last = paging_timestamp(paging, record);
    if (paging->by_expiry) {
        strand->filter.hold.expires_min = ((const struct transfer_row *) record)->expires_at;
        strand->filter.hold.after_timestamp = last;
        return;
    }
    assert(last >= strand->timestamp_min);
    assert(last <= strand->timestamp_max);
    if (paging->reversed) {
        strand->timestamp_max = last - 1;
    } else {
        strand->timestamp_min = last + 1;
    }
    strand->ended = strand->timestamp_min > strand->timestamp_max;
}

bool
paging_next(struct paging *paging, struct paging_strand *strand)
{
    strand->count = 0;
    while (!strand->ended && strand->count == 0) {
        CHECK_FOR_INTERRUPTS();
        const uint32_t rows = page_rows(paging, strand);
        read_page(paging, strand, rows);
        if (is_lookup(paging)) {
            strand->ids_next += rows;
            strand->ended = strand->ids_next == strand->ids_count;
        } else {
            advance(paging, strand, rows);
        }
    }
    return strand->count > 0;
}

/* ---- Beginning and ending -------------------------------------------------------------------- */

void
paging_init(struct paging *paging, enum ledger_operation operation, bool reversed)
{
    *paging = (struct paging){
        .operation = operation,
        .reversed = reversed,
        .timestamp_min = 1,
        .timestamp_max = TIMESTAMP_MAX,
        .row_limit = PAGING_NO_LIMIT,
        .strands = 1,
        .memory = CurrentMemoryContext,
    };
}

void
paging_begin(struct paging *paging)
{
    paging->instant = (struct ledger_instant){0};
}

void
paging_strand_start(
    const struct paging *paging, struct paging_strand *strand, const union paging_filter *filter)
{
    assert(!is_lookup(paging));
    assert(paging->row_limit > 0);
    strand->filter = *filter;
    strand->timestamp_min = paging->timestamp_min;
    strand->timestamp_max = paging->timestamp_max;
    strand->rows_left = paging->row_limit;
    strand->pages = 0;
    strand->ended = paging->timestamp_min > paging->timestamp_max;
    strand->count = 0;
}

void
paging_strand_start_lookup(struct paging_strand *strand, const u128 *ids, uint32_t count)
{
    strand->ids = ids;
    strand->ids_count = count;
    strand->ids_next = 0;
    strand->ended = count == 0;
    strand->count = 0;
}

void
paging_strand_end(struct paging_strand *strand)
{
    if (strand->records != NULL) pfree(strand->records);
    strand->records = NULL;
    strand->records_max = 0;
    strand->count = 0;
    strand->ended = true;
}
