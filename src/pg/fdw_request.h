/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a scan asks the engine, once the values of its conditions are known; and the asking, page
 * by page.
 *
 *     fdw_request_init      a plan
 *     fdw_request_add       each condition; their conjunction
 *     fdw_request_begin
 *     fdw_request_next_page until it is false
 *
 * A slot of shared memory is held during a call only: between pages a scan may wait for its client
 * for hours.
 *
 * Pages grow: the first fits a backend's own small slot, for most scans are short or stop early;
 * the others need a large one. The next page starts behind the last timestamp of the one before. So
 * a scan is not a snapshot:
 *  1. Transfers, balances and change events never change: a scan returns all that matched when it
 *     began.
 *  2. An account's row is as of when its page was read.
 *  3. A scan that needs a second page ends at what is newest when it asks for it. So a query that
 *     creates transfers out of the transfers it reads comes to an end. Change events are an
 *     exception: what the engine appends while they are read is read too.
 */
#ifndef LEDGER_PG_FDW_REQUEST_H
#define LEDGER_PG_FDW_REQUEST_H

#include "pg/fdw_plan.h"

struct fdw_request {
    enum fdw_relation relation;
    enum ledger_operation operation;
    bool reversed;
    bool empty; /* The conditions contradict each other: nothing to ask. */
    bool ended; /* Everything was read. */

    uint32_t fields_set; /* A bit for each enum fdw_field that has a value. */
    u128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t ledger;
    uint16_t code;
    uint64_t timestamp_min; /* Inclusive: 1 … TIMESTAMP_MAX. */
    uint64_t timestamp_max;

    /* Ids to look up, or accounts to go through; each once. */
    u128 *ids;
    uint32_t ids_count;
    uint32_t ids_next;
    uint32_t account_flags; /* enum account_filter_flags: which sides. */

    /* Where the next page starts. */
    uint64_t page_min;
    uint64_t page_max;
    uint64_t row_limit; /* The query's, or 0. */
    uint32_t pages;     /* Read of the current account, or of all. */

    uint64_t requests;
    uint64_t records;
};

/* A page of records, copied out of the slot. */
struct fdw_page {
    MemoryContext context; /* Where `records` lives. */
    char *records;
    uint32_t records_max;
    uint32_t count;
    u128 account_id; /* Of balances. */
};

void fdw_request_init(struct fdw_request *request, const struct fdw_plan *plan);

/* The value is not null; for FDW_ANY it is an array. Ids are kept in the current memory context. */
void fdw_request_add(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    Oid type,
    Datum value);

/* After the last condition. `row_limit` 0: unknown. */
void fdw_request_begin(struct fdw_request *request, uint64_t row_limit);

/* Reads on; false if nothing is left. Raises if the engine can't answer. */
bool fdw_request_next_page(struct fdw_request *request, struct fdw_page *page);

#endif
