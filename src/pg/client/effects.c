/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/effects.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/units.h"

struct walk {
    List *plans; /* The plans that were found. Each is looked at once. */
    Oid writer;  /* A function that may write. */
    bool sequences;
    bool user_functions;
    bool unknown; /* There is a node that this version doesn't know. */
};

/* ---- Functions ------------------------------------------------------------------------------- */

/* Volatile functions of the catalog that write nothing. Locks and settings don't count as data. */
static const char *const harmless_functions[] = {
    "clock_timestamp",
    "gen_random_uuid",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "random",
    "random_normal",
    "set_config",
    "setseed",
    "timeofday",
    "uuidv4",
    "uuidv7",
};

static const char *const sequence_functions[] = {"currval", "lastval", "nextval"};

/* These give the transaction an id, as writing does, although they are declared stable. */
static const char *const xid_functions[] = {"pg_current_xact_id", "txid_current"};

/* C libraries whose functions write nothing. Ours write only to the ledger. */
static const char *const harmless_libraries[] = {
    "$libdir/ledger",
    "$libdir/pgcrypto",
    "$libdir/uuid-ossp",
};

static bool
is_listed(const char *name, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

#define IS_LISTED(name, names) is_listed(name, names, lengthof(names))

/* A function made by initdb, so its declaration is right. Returns true if it may write. */
static bool
catalog_function_may_write(struct walk *walk, const FormData_pg_proc *function)
{
    const char *name = NameStr(function->proname);
    if (function->provolatile != PROVOLATILE_VOLATILE) return IS_LISTED(name, xid_functions);
    if (IS_LISTED(name, sequence_functions)) {
        walk->sequences = true;
        return false;
    }
    return !IS_LISTED(name, harmless_functions);
}

static bool
is_of_harmless_library(HeapTuple tuple)
{
    const FormData_pg_proc *function = (const FormData_pg_proc *) GETSTRUCT(tuple);
    if (function->prolang != ClanguageId) return false;
    bool is_null;
    const Datum library = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &is_null);
    return !is_null && IS_LISTED(TextDatumGetCString(library), harmless_libraries);
}

/* The callback of check_functions_in_node. Returning true ends the walk. */
static bool
function_may_write(Oid oid, void *context)
{
    struct walk *walk = context;
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
    if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for function %u", oid);
    const FormData_pg_proc *function = (const FormData_pg_proc *) GETSTRUCT(tuple);
    bool may_write = false;
    if (oid < FirstNormalObjectId) {
        may_write = catalog_function_may_write(walk, function);
    } else if (!is_of_harmless_library(tuple)) {
        walk->user_functions = true;
        may_write = function->provolatile == PROVOLATILE_VOLATILE;
    }
    ReleaseSysCache(tuple);
    if (may_write) walk->writer = oid;
    return may_write;
}

/*
 * An aggregate is always declared immutable, whatever functions it is made of, so these are looked
 * at.
 */
static bool
aggregate_may_write(struct walk *walk, Oid oid)
{
    if (oid < FirstNormalObjectId) return false;
    HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(oid));
    if (!HeapTupleIsValid(tuple)) return false;
    const FormData_pg_aggregate *aggregate = (const FormData_pg_aggregate *) GETSTRUCT(tuple);
    const Oid parts[] = {
        aggregate->aggtransfn,
        aggregate->aggfinalfn,
        aggregate->aggcombinefn,
        aggregate->aggserialfn,
        aggregate->aggdeserialfn,
        aggregate->aggmtransfn,
        aggregate->aggminvtransfn,
        aggregate->aggmfinalfn,
    };
    bool may_write = false;
    for (int i = 0; i < lengthof(parts) && !may_write; i++) {
        may_write = OidIsValid(parts[i]) && function_may_write(parts[i], walk);
    }
    ReleaseSysCache(tuple);
    return may_write;
}

/* ---- Expressions ----------------------------------------------------------------------------- */

static bool expression_may_write(Node *node, void *context);

/* An expression may be as deep as the stack allows; the server's walker checks that. */
/* NOLINTBEGIN(misc-no-recursion): a domain's checks are expressions. */
static bool
domain_may_write(struct walk *walk, Oid type)
{
    /* A callback of the memory context uses it, so it must live as long as the context. */
    DomainConstraintRef *checks = palloc0_object(DomainConstraintRef);
    InitDomainConstraintRef(type, checks, CurrentMemoryContext, false);
    ListCell *cell;
    foreach (cell, checks->constraints) {
        const DomainConstraintState *check = lfirst(cell);
        if (expression_may_write((Node *) check->check_expr, walk)) return true;
    }
    return false;
}

/* Subplans aren't followed here, since they are in the statement's list of plans. */
static bool
expression_may_write(Node *node, void *context)
{
    struct walk *walk = context;
    if (node == NULL) return false;
    if (check_functions_in_node(node, function_may_write, walk)) return true;
    if (IsA(node, Aggref)) {
        if (aggregate_may_write(walk, ((Aggref *) node)->aggfnoid)) return true;
    } else if (IsA(node, WindowFunc)) {
        if (aggregate_may_write(walk, ((WindowFunc *) node)->winfnoid)) return true;
    } else if (IsA(node, CoerceToDomain)) {
        if (domain_may_write(walk, ((CoerceToDomain *) node)->resulttype)) return true;
    } else if (IsA(node, NextValueExpr)) {
        walk->sequences = true;
    }
    return expression_tree_walker(node, expression_may_write, walk);
}
/* NOLINTEND(misc-no-recursion) */

/* ---- Plans ----------------------------------------------------------------------------------- */

static void
add_plan(struct walk *walk, const void *plan)
{
    if (plan != NULL) walk->plans = lappend(walk->plans, (void *) plan);
}

static void
add_plans(struct walk *walk, List *plans)
{
    walk->plans = list_concat(walk->plans, plans);
}

static bool
expressions_may_write(struct walk *walk, const void *first, const void *second)
{
    if (expression_may_write((Node *) first, walk)) return true;
    return expression_may_write((Node *) second, walk);
}

/* What scans have besides their target list and conditions. */
static bool
scan_may_write(struct walk *walk, const Plan *plan)
{
    switch (nodeTag(plan)) {
    case T_SampleScan: return expressions_may_write(walk, ((SampleScan *) plan)->tablesample, NULL);
    case T_IndexScan:
        return expressions_may_write(
            walk, ((IndexScan *) plan)->indexqualorig, ((IndexScan *) plan)->indexorderbyorig);
    case T_IndexOnlyScan:
        return expressions_may_write(
            walk, ((IndexOnlyScan *) plan)->indexqual, ((IndexOnlyScan *) plan)->indexorderby);
    case T_BitmapIndexScan:
        return expressions_may_write(walk, ((BitmapIndexScan *) plan)->indexqualorig, NULL);
    case T_BitmapHeapScan:
        return expressions_may_write(walk, ((BitmapHeapScan *) plan)->bitmapqualorig, NULL);
    case T_TidScan: return expressions_may_write(walk, ((TidScan *) plan)->tidquals, NULL);
    case T_TidRangeScan:
        return expressions_may_write(walk, ((TidRangeScan *) plan)->tidrangequals, NULL);
    case T_FunctionScan:
        return expressions_may_write(walk, ((FunctionScan *) plan)->functions, NULL);
    case T_TableFuncScan:
        return expressions_may_write(walk, ((TableFuncScan *) plan)->tablefunc, NULL);
    case T_ValuesScan:
        return expressions_may_write(walk, ((ValuesScan *) plan)->values_lists, NULL);
    case T_ForeignScan:
        return expressions_may_write(
            walk, ((ForeignScan *) plan)->fdw_exprs, ((ForeignScan *) plan)->fdw_recheck_quals);
    case T_CustomScan:
        add_plans(walk, ((CustomScan *) plan)->custom_plans);
        return expressions_may_write(walk, ((CustomScan *) plan)->custom_exprs, NULL);
    case T_SubqueryScan: add_plan(walk, ((SubqueryScan *) plan)->subplan); return false;
    case T_SeqScan:
    case T_CteScan:
    case T_NamedTuplestoreScan:
    case T_WorkTableScan: return false;
    default: walk->unknown = true; return true;
    }
}

/*
 * What a node has besides its target list and conditions. The expressions by which partitions are
 * pruned aren't looked at; they are never volatile.
 */
static bool
node_may_write(struct walk *walk, const Plan *plan)
{
    switch (nodeTag(plan)) {
    case T_Result: return expressions_may_write(walk, ((Result *) plan)->resconstantqual, NULL);
    case T_Append: add_plans(walk, ((Append *) plan)->appendplans); return false;
    case T_MergeAppend: add_plans(walk, ((MergeAppend *) plan)->mergeplans); return false;
    case T_BitmapAnd: add_plans(walk, ((BitmapAnd *) plan)->bitmapplans); return false;
    case T_BitmapOr: add_plans(walk, ((BitmapOr *) plan)->bitmapplans); return false;
    case T_Agg: add_plans(walk, ((Agg *) plan)->chain); return false;
    case T_NestLoop: return expressions_may_write(walk, ((Join *) plan)->joinqual, NULL);
    case T_MergeJoin:
        return expressions_may_write(
            walk, ((Join *) plan)->joinqual, ((MergeJoin *) plan)->mergeclauses);
    case T_HashJoin:
        return expressions_may_write(
            walk, ((Join *) plan)->joinqual, ((HashJoin *) plan)->hashclauses);
    case T_Hash: return expressions_may_write(walk, ((Hash *) plan)->hashkeys, NULL);
    case T_Memoize: return expressions_may_write(walk, ((Memoize *) plan)->param_exprs, NULL);
    case T_WindowAgg:
        return expressions_may_write(
                   walk, ((WindowAgg *) plan)->startOffset, ((WindowAgg *) plan)->endOffset) ||
               expressions_may_write(walk, ((WindowAgg *) plan)->runCondition, NULL);
    case T_Limit:
        return expressions_may_write(
            walk, ((Limit *) plan)->limitOffset, ((Limit *) plan)->limitCount);
    case T_ProjectSet:
    case T_RecursiveUnion:
    case T_Material:
    case T_Sort:
    case T_IncrementalSort:
    case T_Group:
    case T_Unique:
    case T_Gather:
    case T_GatherMerge:
    case T_SetOp: return false;
    default: return scan_may_write(walk, plan);
    }
}

static bool
plans_may_write(struct walk *walk)
{
    /* The list grows meanwhile. */
    for (int i = 0; i < list_length(walk->plans); i++) {
        const Plan *plan = list_nth(walk->plans, i);
        if (plan == NULL) continue;
        if (expressions_may_write(walk, plan->targetlist, plan->qual)) return true;
        if (node_may_write(walk, plan)) return true;
        add_plan(walk, plan->lefttree);
        add_plan(walk, plan->righttree);
    }
    return false;
}

struct effects
effects_of_plan(const PlannedStmt *statement)
{
    if (statement->commandType != CMD_SELECT || statement->hasModifyingCTE) {
        return (struct effects){.reason = "The statement writes to tables."};
    }
    if (statement->rowMarks != NIL) {
        return (struct effects){.reason = "The statement locks rows of tables."};
    }
    struct walk walk = {.plans = NIL};
    add_plan(&walk, statement->planTree);
    add_plans(&walk, statement->subplans);
    const bool may_write = plans_may_write(&walk);
    list_free(walk.plans);
    struct effects effects = {.reason = NULL, .sequences = walk.sequences};
    if (OidIsValid(walk.writer)) {
        effects.reason = psprintf(
            "The statement calls function %s too, which is volatile, so that it could write.",
            format_procedure(walk.writer));
    } else if (may_write || walk.unknown) {
        effects.reason = "The statement is of a kind that could write.";
    } else if (walk.sequences && walk.user_functions) {
        effects.reason = "The statement takes numbers from sequences and calls functions of users.";
    }
    return effects;
}
