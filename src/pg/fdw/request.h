/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a scan asks the engine, once the values of its conditions are known; and the records it
 * gets.
 *
 *      fdw_request_init      takes a plan
 *      fdw_request_add       for each condition; all of them must be true
 *      fdw_request_begin
 *      fdw_request_next      until it returns NULL
 *
 * A filter of the engine takes one value for each field. A field that may have several values (IN,
 * = ANY, OR) makes several strands, one for each combination of values of all such fields:
 *
 *      code IN (1, 2) AND user_data_32 IN (7, 8)      four strands, (1, 7) (2, 7) (1, 8) (2, 8)
 *
 * Holds of an account that may be on either side make a strand for each side. Different values
 * select different records, so no record comes twice. If the plan relies on order, all strands are
 * read at the same time and merged by timestamp; otherwise they are read one after another.
 * paging.h says what a read of several pages and strands sees.
 */
#ifndef LEDGER_PG_FDW_REQUEST_H
#define LEDGER_PG_FDW_REQUEST_H

#include "pg/client/paging.h"
#include "pg/fdw/plan.h"

/* The values that a field may have: in ascending order, each once. */
struct fdw_values {
    bool given; /* If not set, any value. */
    uint32_t count;
    u128 *values;
};

struct fdw_request {
    struct paging paging;
    MemoryContext memory; /* Where values, strands and pages live. */
    bool merged;          /* All strands are open at the same time, and merged in order. */
    bool empty;           /* The conditions contradict each other, so there is nothing to ask. */
    struct fdw_values fields[FDW_FIELD_COUNT];
    /* enum account_filter_flags: which sides of a transfer are asked for. */
    uint32_t account_flags;
    /* Only holds that expire are asked for, between expires_min and expires_max. */
    bool expiry_given;
    uint64_t expires_min;
    uint64_t expires_max;

    uint64_t strands_total;
    uint64_t strands_started;
    struct paging_strand *strands; /* The open strands: one, or all. */
    /* Of each open strand: the first record of its page that wasn't returned yet. */
    uint32_t *strands_next;
    uint32_t strands_open;
    struct paging_strand *strand; /* The strand that the newest record came from. */
};

/* Everything that it allocates is in `memory`, so that resetting that ends it. */
void fdw_request_init(
    struct fdw_request *request,
    const struct fdw_plan *plan,
    MemoryContext memory);

/*
 * Adds a condition. The value isn't null; for FDW_ANY it is an array, and `type` is the type of its
 * elements. An optional condition, which the executor checks too, is left out if it can't be
 * served.
 */
void fdw_request_add(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    bool optional,
    Oid type,
    Datum value);

/* Called after the last condition. */
void fdw_request_begin(struct fdw_request *request, uint64_t row_limit);

/*
 * The next record, which is valid until the next call; NULL if there are no more. Raises an error
 * if the engine can't answer.
 */
const void *fdw_request_next(struct fdw_request *request);

/* The account whose balance the newest record is. */
u128 fdw_request_account(const struct fdw_request *request);

#endif
