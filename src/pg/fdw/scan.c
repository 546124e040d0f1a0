/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include <stdalign.h>

#include "pg/fdw/scan.h"

#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/fdw/request.h"

struct fdw_scan {
    struct fdw_plan plan;
    List *values;          /* ExprState *: the values of the conditions, then LIMIT and OFFSET. */
    MemoryContext context; /* Holds what belongs to one run of the scan, such as pages. */
    struct fdw_request request;
    bool started;      /* The values of the conditions have been computed. */
    uint64_t requests; /* How many requests earlier runs have made. */
    uint64_t records;
    struct convert_row row;
};

void
fdw_begin_scan(ForeignScanState *node, int executor_flags)
{
    const ForeignScan *plan = (const ForeignScan *) node->ss.ps.plan;
    EState *estate = node->ss.ps.state;
    /* struct convert_row needs more alignment than palloc promises. */
    char *space = palloc0(sizeof(struct fdw_scan) + alignof(struct fdw_scan));
    struct fdw_scan *scan = (struct fdw_scan *) TYPEALIGN(alignof(struct fdw_scan), space);
    node->fdw_state = scan;
    fdw_plan_decode(plan->fdw_private, &scan->plan);
    fdw_relation_check_columns(
        scan->plan.relation,
        RelationGetRelid(node->ss.ss_currentRelation),
        RelationGetDescr(node->ss.ss_currentRelation));
    if ((executor_flags & EXEC_FLAG_EXPLAIN_ONLY) != 0) return;

    scan->values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
    scan->context =
        AllocSetContextCreate(estate->es_query_cxt, "ledger foreign scan", ALLOCSET_SMALL_SIZES);
}

/* The value of expression number `index`. */
static Datum
scan_value(struct fdw_scan *scan, int index, ExprContext *econtext, bool *is_null)
{
    return ExecEvalExprSwitchContext(list_nth(scan->values, index), econtext, is_null);
}

/* LIMIT + OFFSET, if they bound the scan. The Limit node complains about wrong values. */
static uint64_t
scan_row_limit(struct fdw_scan *scan, ExprContext *econtext)
{
    if (!scan->plan.has_limit) return PAGING_NO_LIMIT;
    int index = list_length(scan->plan.fields);
    bool is_null;
    int64_t limit = DatumGetInt64(scan_value(scan, index, econtext, &is_null));
    if (is_null || limit <= 0) return PAGING_NO_LIMIT;
    if (!scan->plan.has_offset) return (uint64_t) limit;

    int64_t offset = DatumGetInt64(scan_value(scan, index + 1, econtext, &is_null));
    if (is_null || offset < 0) return (uint64_t) limit;
    return (uint64_t) limit + (uint64_t) offset;
}

/* All conditions must be true, so one whose value is null rules everything out. */
static void
scan_start(ForeignScanState *node, struct fdw_scan *scan)
{
    ExprContext *econtext = node->ss.ps.ps_ExprContext;
    MemoryContextReset(scan->context);
    fdw_request_init(&scan->request, &scan->plan, scan->context);

    MemoryContext caller = MemoryContextSwitchTo(scan->context);
    int count = list_length(scan->plan.fields);
    for (int i = 0; i < count; i++) {
        bool is_null;
        const ExprState *value = list_nth(scan->values, i);
        const enum fdw_compare compare = (enum fdw_compare) list_nth_int(scan->plan.compares, i);
        const Oid type = exprType((const Node *) value->expr);
        Datum datum = scan_value(scan, i, econtext, &is_null);
        if (is_null) {
            scan->request.empty = true;
            continue;
        }
        fdw_request_add(
            &scan->request,
            (enum fdw_field) list_nth_int(scan->plan.fields, i),
            compare,
            list_nth_int(scan->plan.optionals, i) != 0,
            compare == FDW_ANY ? get_base_element_type(type) : getBaseType(type),
            datum);
    }
    MemoryContextSwitchTo(caller);

    fdw_request_begin(&scan->request, scan_row_limit(scan, econtext));
    scan->started = true;
}

TupleTableSlot *
fdw_iterate_scan(ForeignScanState *node)
{
    struct fdw_scan *scan = node->fdw_state;
    TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
    ExecClearTuple(slot);
    if (!scan->started) scan_start(node, scan);
    const void *record = fdw_request_next(&scan->request);
    if (record == NULL) return slot;

    int columns = slot->tts_tupleDescriptor->natts;
    if (scan->plan.needs_values) {
        u128 account_id =
            scan->plan.relation == FDW_ACCOUNT_BALANCES ? fdw_request_account(&scan->request) : 0;
        fdw_relation_record_to_row(scan->plan.relation, account_id, record, &scan->row);
        memcpy(slot->tts_values, scan->row.values, (Size) columns * sizeof(Datum));
        memcpy(slot->tts_isnull, scan->row.nulls, (Size) columns * sizeof(bool));
    } else {
        memset(slot->tts_isnull, true, (Size) columns * sizeof(bool));
    }
    return ExecStoreVirtualTuple(slot);
}

void
fdw_rescan(ForeignScanState *node)
{
    struct fdw_scan *scan = node->fdw_state;
    if (!scan->started) return;
    scan->started = false;
    scan->requests += scan->request.paging.requests;
    scan->records += scan->request.paging.records;
    scan->request.paging.requests = 0;
    scan->request.paging.records = 0;
}

void
fdw_end_scan(ForeignScanState *node)
{
    struct fdw_scan *scan = node->fdw_state;
    if (scan == NULL || scan->context == NULL) return;
    MemoryContextDelete(scan->context);
    scan->context = NULL;
}

void
fdw_scan_counts(const ForeignScanState *node, uint64_t *requests, uint64_t *records)
{
    const struct fdw_scan *scan = node->fdw_state;
    *requests = scan->requests + scan->request.paging.requests;
    *records = scan->records + scan->request.paging.records;
}
