/* SPDX-License-Identifier: PostgreSQL */
/*
 * EXPLAIN: shows which operation of the engine serves a scan and with which filter; after execution
 * also what it cost.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "pg/fdw/plan.h"
#include "pg/fdw/scan.h"

static const char *
operation_name(enum ledger_operation operation)
{
    switch (operation) {
    case LEDGER_GET_CHANGE_EVENTS: return "get_change_events";
    case LEDGER_LOOKUP_ACCOUNTS: return "lookup_accounts";
    case LEDGER_LOOKUP_TRANSFERS: return "lookup_transfers";
    case LEDGER_GET_ACCOUNT_TRANSFERS: return "get_account_transfers";
    case LEDGER_GET_ACCOUNT_BALANCES: return "get_account_balances";
    case LEDGER_QUERY_ACCOUNTS: return "query_accounts";
    case LEDGER_QUERY_TRANSFERS: return "query_transfers";
    case LEDGER_QUERY_HOLDS: return "query_holds";
    case LEDGER_LOOKUP_RESOLUTIONS: return "lookup_resolutions";
    case LEDGER_LOOKUP_CHANGE_EVENTS: return "lookup_change_events";
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

static const char *
compare_name(enum fdw_compare compare)
{
    switch (compare) {
    case FDW_EQUAL: return "=";
    case FDW_ANY: return "= ANY";
    case FDW_LESS: return "<";
    case FDW_LESS_OR_EQUAL: return "<=";
    case FDW_GREATER: return ">";
    case FDW_GREATER_OR_EQUAL: return ">=";
    }
    unreachable();
}

/* A constant is shown as its bare value, anything else as the server writes it. */
static const char *
value_text(Node *value, List *context, bool qualify)
{
    if (IsA(value, Const) && !((Const *) value)->constisnull) {
        const Const *constant = (const Const *) value;
        Oid output;
        bool is_varlena;
        getTypeOutputInfo(constant->consttype, &output, &is_varlena);
        return OidOutputFunctionCall(output, constant->constvalue);
    }
    return deparse_expression(value, context, qualify, false);
}

static void
append_condition(
    StringInfo text,
    enum fdw_relation relation,
    enum fdw_field field,
    enum fdw_compare compare,
    const char *value)
{
    if (text->len > 0) appendStringInfoString(text, " AND ");
    if (relation == FDW_TRANSFERS && field == FDW_FIELD_ACCOUNT) {
        appendStringInfo(text, "(debit_account_id = %s OR credit_account_id = %s)", value, value);
    } else if (compare == FDW_ANY) {
        appendStringInfo(text, "%s = ANY (%s)", fdw_field_name(field), value);
    } else {
        appendStringInfo(text, "%s %s %s", fdw_field_name(field), compare_name(compare), value);
    }
}

static const char *
limit_text(const struct fdw_plan *plan, List *values, List *context)
{
    int index = list_length(plan->fields);
    Node *limit = list_nth(values, index);
    const char *limit_text = value_text(limit, context, false);
    if (!plan->has_offset) return limit_text;
    return psprintf(
        "%s + %s", limit_text, value_text(list_nth(values, index + 1), context, false));
}

void
fdw_explain_scan(ForeignScanState *node, ExplainState *explain)
{
    ForeignScan *scan = (ForeignScan *) node->ss.ps.plan;
    struct fdw_plan plan;
    fdw_plan_decode(scan->fdw_private, &plan);

    StringInfoData filter;
    initStringInfo(&filter);
    bool qualify = list_length(explain->rtable) > 1 || explain->verbose;
    List *context = set_deparse_context_plan(explain->deparse_cxt, node->ss.ps.plan, NIL);
    for (int i = 0; i < list_length(plan.fields); i++) {
        const char *name = strVal(list_nth(plan.names, i));
        if (name[0] == '\0') name = value_text(list_nth(scan->fdw_exprs, i), context, qualify);
        append_condition(
            &filter,
            plan.relation,
            (enum fdw_field) list_nth_int(plan.fields, i),
            (enum fdw_compare) list_nth_int(plan.compares, i),
            name);
    }

    ExplainPropertyText("Ledger Operation", operation_name(plan.operation), explain);
    if (filter.len > 0) ExplainPropertyText("Ledger Filter", filter.data, explain);
    if (plan.ordered) {
        ExplainPropertyText(
            "Ledger Order", plan.reversed ? "timestamp desc" : "timestamp", explain);
    }
    if (plan.has_limit) {
        ExplainPropertyText(
            "Ledger Limit", limit_text(&plan, scan->fdw_exprs, context), explain);
    }
    if (!explain->analyze) return;
    uint64_t requests;
    uint64_t records;
    fdw_scan_counts(node, &requests, &records);
    ExplainPropertyInteger("Ledger Requests", NULL, (int64) requests, explain);
    ExplainPropertyInteger("Ledger Rows", NULL, (int64) records, explain);
}
