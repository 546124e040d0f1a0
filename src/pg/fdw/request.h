/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a scan asks the engine, once the values of its conditions are known; and its records.
 *
 *     fdw_request_init      a plan
 *     fdw_request_add       each condition; their conjunction
 *     fdw_request_begin
 *     fdw_request_next      until it is NULL
 *
 * A filter of the engine has one value for each field. A field that may have several values (IN,
 * = ANY, OR) makes several strands, one for each combination of values of all such fields:
 *
 *     code IN (1, 2) AND user_data_32 IN (7, 8)      four strands, (1, 7) (2, 7) (1, 8) (2, 8)
 *
 * Holds of an account, by whichever side, make one for either side. Different values select
 * different records, so no record comes twice. If the plan relies on order,
 * all strands are read at the same time and merged by timestamp; else one after another. What a
 * read of several pages and strands sees is said in paging.h.
 */
#ifndef LEDGER_PG_FDW_REQUEST_H
#define LEDGER_PG_FDW_REQUEST_H

#include "pg/client/paging.h"
#include "pg/fdw/plan.h"

/* The values that a field may have: ascending, each once. */
struct fdw_values {
    bool given; /* False: any. */
    uint32_t count;
    u128 *values;
};

struct fdw_request {
    struct paging paging;
    MemoryContext memory; /* Where values, strands and pages live. */
    bool merged;          /* All strands are open at the same time, in order. */
    bool empty;           /* The conditions contradict each other: nothing to ask. */
    struct fdw_values fields[FDW_FIELD_COUNT];
    uint32_t account_flags; /* enum account_filter_flags: which sides of a transfer. */
    bool expiry_given;      /* Only holds that expire, at expires_min … expires_max. */
    uint64_t expires_min;
    uint64_t expires_max;

    uint64_t strands_total;
    uint64_t strands_started;
    struct paging_strand *strands; /* The strands that are open: one, or all. */
    uint32_t *strands_next;        /* The first record of its page that was not returned. */
    uint32_t strands_open;
    struct paging_strand *strand; /* The newest record is of it. */
};

/* What it allocates is in `memory`; it ends when that is reset. */
void fdw_request_init(
    struct fdw_request *request,
    const struct fdw_plan *plan,
    MemoryContext memory);

/*
 * The value is not null; for FDW_ANY it is an array, and `type` the type of its elements. An
 * optional condition, which the executor checks too, is left out if it can't be served.
 */
void fdw_request_add(
    struct fdw_request *request,
    enum fdw_field field,
    enum fdw_compare compare,
    bool optional,
    Oid type,
    Datum value);

/* After the last condition. */
void fdw_request_begin(struct fdw_request *request, uint64_t row_limit);

/*
 * The next record, valid until the next call; NULL: there are no more. Raises if the engine can't
 * answer.
 */
const void *fdw_request_next(struct fdw_request *request);

/* Says whose balance the newest record is. */
u128 fdw_request_account(const struct fdw_request *request);

#endif
