/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include <stdalign.h>

#include "pg/fdw_scan.h"

#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/fdw_request.h"

struct fdw_scan {
    struct fdw_plan plan;
    List *values;          /* ExprState *: of the conditions, then of LIMIT and OFFSET. */
    MemoryContext context; /* What belongs to one run of the scan: ids. */
    struct fdw_request request;
    struct fdw_page page;
    uint32_t page_next;
    bool started;      /* The conditions' values were evaluated. */
    uint64_t requests; /* Of earlier runs. */
    uint64_t records;
    struct convert_row row;
};

void
fdw_begin_scan(ForeignScanState *node, int executor_flags)
{
    const ForeignScan *plan = (const ForeignScan *) node->ss.ps.plan;
    EState *estate = node->ss.ps.state;
    /* A convert_row wants more alignment than palloc promises. */
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
    scan->page.context = estate->es_query_cxt;
}

/* The value of the ith expression; lives as long as the run. */
static Datum
fdw_scan_value(struct fdw_scan *scan, int index, ExprContext *econtext, bool *is_null)
{
    return ExecEvalExprSwitchContext(list_nth(scan->values, index), econtext, is_null);
}

/* LIMIT + OFFSET, or 0 if there is no bound. Bad values are left to the Limit node to complain
 * about. */
static uint64_t
fdw_scan_row_limit(struct fdw_scan *scan, ExprContext *econtext)
{
    if (!scan->plan.has_limit) return 0;
    int index = list_length(scan->plan.fields);
    bool is_null;
    int64_t limit = DatumGetInt64(fdw_scan_value(scan, index, econtext, &is_null));
    if (is_null || limit <= 0) return 0;
    if (!scan->plan.has_offset) return (uint64_t) limit;

    int64_t offset = DatumGetInt64(fdw_scan_value(scan, index + 1, econtext, &is_null));
    if (is_null || offset < 0) return (uint64_t) limit;
    return (uint64_t) limit + (uint64_t) offset;
}

/* Conditions are ANDed, so one that is null rules everything out. */
static void
fdw_scan_start(ForeignScanState *node, struct fdw_scan *scan)
{
    ExprContext *econtext = node->ss.ps.ps_ExprContext;
    MemoryContextReset(scan->context);
    fdw_request_init(&scan->request, &scan->plan);

    MemoryContext caller = MemoryContextSwitchTo(scan->context);
    int count = list_length(scan->plan.fields);
    for (int i = 0; i < count; i++) {
        bool is_null;
        const ExprState *value = list_nth(scan->values, i);
        Datum datum = fdw_scan_value(scan, i, econtext, &is_null);
        if (is_null) {
            scan->request.empty = true;
            continue;
        }
        fdw_request_add(
            &scan->request,
            (enum fdw_field) list_nth_int(scan->plan.fields, i),
            (enum fdw_compare) list_nth_int(scan->plan.compares, i),
            exprType((const Node *) value->expr),
            datum);
    }
    MemoryContextSwitchTo(caller);

    fdw_request_begin(&scan->request, fdw_scan_row_limit(scan, econtext));
    scan->page.count = 0;
    scan->page_next = 0;
    scan->started = true;
}

TupleTableSlot *
fdw_iterate_scan(ForeignScanState *node)
{
    struct fdw_scan *scan = node->fdw_state;
    TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
    ExecClearTuple(slot);
    if (!scan->started) fdw_scan_start(node, scan);
    if (scan->page_next == scan->page.count) {
        scan->page_next = 0;
        if (!fdw_request_next_page(&scan->request, &scan->page)) return slot;
    }

    int columns = slot->tts_tupleDescriptor->natts;
    if (scan->plan.needs_values) {
        const char *record = scan->page.records +
                             (Size) scan->page_next * fdw_relation_record_size(scan->plan.relation);
        fdw_relation_record_to_row(scan->plan.relation, scan->page.account_id, record, &scan->row);
        memcpy(slot->tts_values, scan->row.values, (Size) columns * sizeof(Datum));
        memcpy(slot->tts_isnull, scan->row.nulls, (Size) columns * sizeof(bool));
    } else {
        memset(slot->tts_isnull, true, (Size) columns * sizeof(bool));
    }
    scan->page_next++;
    return ExecStoreVirtualTuple(slot);
}

void
fdw_rescan(ForeignScanState *node)
{
    struct fdw_scan *scan = node->fdw_state;
    if (!scan->started) return;
    scan->started = false;
    scan->requests += scan->request.requests;
    scan->records += scan->request.records;
    scan->request.requests = 0;
    scan->request.records = 0;
}

void
fdw_end_scan(ForeignScanState *node)
{
    struct fdw_scan *scan = node->fdw_state;
    if (scan == NULL || scan->context == NULL) return;
    if (scan->page.records != NULL) pfree(scan->page.records);
    scan->page.records = NULL;
    MemoryContextDelete(scan->context);
    scan->context = NULL;
}

void
fdw_scan_counts(const ForeignScanState *node, uint64_t *requests, uint64_t *records)
{
    const struct fdw_scan *scan = node->fdw_state;
    *requests = scan->requests + scan->request.requests;
    *records = scan->records + scan->request.records;
}
