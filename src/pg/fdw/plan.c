/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include <math.h>

#include "pg/fdw/plan.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/typcache.h"

#include "pg/monitor_shared.h"

/*
 * Costs in the planner's unit, a sequential page read. A request is a round trip between two
 * processes: a few microseconds while the worker spins, some tens of them if it has to be woken. A
 * row is copied twice and converted, which takes a tenth of a microsecond.
 */
#define FDW_REQUEST_COST 4.0
#define FDW_ROW_COST     0.01
/* For account_balances without an account: a path must exist, but any other path must be better. */
#define FDW_IMPOSSIBLE_COST 1.0e12

/* Guesses, since the engine keeps no statistics: which part of all records one value selects. */
#define FDW_LEDGER_FRACTION        0.2
#define FDW_CODE_FRACTION          0.1
#define FDW_USER_DATA_32_FRACTION  0.001
#define FDW_USER_DATA_64_FRACTION  0.0001
#define FDW_USER_DATA_128_FRACTION 0.00001
#define FDW_RANGE_FRACTION         0.33
#define FDW_STATE_FRACTION         0.05
#define FDW_ARRAY_ELEMENTS         10.0
#define FDW_ROWS_UNKNOWN           1000.0

struct fdw_estimate {
    double rows;
    Cost startup;
    Cost total;
};

/* ---- The plan as a list ---------------------------------------------------------------------- */

List *
fdw_plan_encode(const struct fdw_plan *plan)
{
    List *scalars =
        list_make4_int((int) plan->relation, (int) plan->operation, plan->ordered, plan->reversed);
    scalars = lappend_int(scalars, plan->needs_values);
    scalars = lappend_int(scalars, plan->has_limit);
    scalars = lappend_int(scalars, plan->has_offset);
    assert(list_length(plan->fields) == list_length(plan->compares));
    assert(list_length(plan->fields) == list_length(plan->names));
    assert(list_length(plan->fields) == list_length(plan->optionals));
    return list_make5(scalars, plan->fields, plan->compares, plan->optionals, plan->names);
}

void
fdw_plan_decode(List *list, struct fdw_plan *plan)
{
    List *scalars = linitial(list);
    assert(list_length(list) == 5);
    assert(list_length(scalars) == 7);
    *plan = (struct fdw_plan){
        .relation = (enum fdw_relation) list_nth_int(scalars, 0),
        .operation = (enum ledger_operation) list_nth_int(scalars, 1),
        .ordered = list_nth_int(scalars, 2) != 0,
        .reversed = list_nth_int(scalars, 3) != 0,
        .needs_values = list_nth_int(scalars, 4) != 0,
        .has_limit = list_nth_int(scalars, 5) != 0,
        .has_offset = list_nth_int(scalars, 6) != 0,
        .fields = lsecond(list),
        .compares = lthird(list),
        .optionals = lfourth(list),
        .names = list_nth(list, 4),
    };
    assert(list_length(plan->fields) == list_length(plan->compares));
}

/* ---- Estimates ------------------------------------------------------------------------------- */

static double
records_total(enum fdw_relation relation)
{
    struct engine_state state;
    if (!monitor_state_get(&state)) return FDW_ROWS_UNKNOWN;
    switch (relation) {
    case FDW_ACCOUNTS: return Max((double) state.accounts, 1.0);
    case FDW_TRANSFERS:
    case FDW_ACCOUNT_BALANCES:
    case FDW_CHANGE_EVENTS: return Max((double) state.transfers, 1.0);
    }
    unreachable();
}

/* Each transfer belongs to two accounts. */
static double
transfers_per_account(double sides)
{
    double accounts = records_total(FDW_ACCOUNTS);
    return Max(records_total(FDW_TRANSFERS) * sides / accounts, 1.0);
}

/* How many values the condition's field may have. */
static double
condition_keys(const struct fdw_condition *condition)
{
    const int values = fdw_condition_values(condition);
    return values < 0 ? FDW_ARRAY_ELEMENTS : Max(values, 1);
}

static double
condition_fraction(const struct fdw_condition *condition)
{
    switch (condition->field) {
    case FDW_FIELD_USER_DATA_128: return FDW_USER_DATA_128_FRACTION;
    case FDW_FIELD_USER_DATA_64: return FDW_USER_DATA_64_FRACTION;
    case FDW_FIELD_USER_DATA_32: return FDW_USER_DATA_32_FRACTION;
    case FDW_FIELD_LEDGER: return FDW_LEDGER_FRACTION;
    case FDW_FIELD_CODE: return FDW_CODE_FRACTION;
    case FDW_FIELD_TIMESTAMP:
    case FDW_FIELD_CREATED_AT: return condition->compare == FDW_EQUAL ? 0.0 : FDW_RANGE_FRACTION;
    case FDW_FIELD_STATE: return FDW_STATE_FRACTION;
    case FDW_FIELD_EXPIRES_AT: return FDW_RANGE_FRACTION;
    case FDW_FIELD_NONE:
    case FDW_FIELD_ID:
    case FDW_FIELD_PENDING_ID:
    case FDW_FIELD_TRANSFER_ID:
    case FDW_FIELD_ACCOUNT:
    case FDW_FIELD_DEBIT_ACCOUNT:
    case FDW_FIELD_CREDIT_ACCOUNT: break;
    }
    return 1.0;
}

static void
estimate_choice(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    const struct fdw_choice *choice,
    struct fdw_estimate *estimate)
{
    double fetched = records_total(relation);
    double requests_min = 1.0;
    double fraction = 1.0;
    ListCell *cell;

    foreach (cell, choice->applied) {
        const struct fdw_condition *condition = lfirst(cell);
        const double keys = condition_keys(condition);
        switch (condition->field) {
        case FDW_FIELD_ID:
        case FDW_FIELD_PENDING_ID:
        case FDW_FIELD_TRANSFER_ID: fetched = keys; break;
        case FDW_FIELD_ACCOUNT:
            fetched = keys * transfers_per_account(2.0);
            requests_min *= keys;
            break;
        case FDW_FIELD_DEBIT_ACCOUNT:
        case FDW_FIELD_CREDIT_ACCOUNT:
            fetched = keys * transfers_per_account(1.0);
            requests_min *= keys;
            break;
        default:
            fraction *= Min(keys * condition_fraction(condition), 1.0);
            requests_min *= keys;
            break;
        }
    }
    fetched = clamp_row_est(fetched * fraction);

    QualCost local;
    cost_qual_eval(&local, choice->local, root);
    double selectivity = clauselist_selectivity(root, choice->local, rel->relid, JOIN_INNER, NULL);
    double requests = Max(requests_min, ceil(fetched / RESULTS_MAX));
    double cost_per_row = FDW_ROW_COST + cpu_tuple_cost + local.per_tuple;
    estimate->rows = clamp_row_est(fetched * selectivity);
    estimate->startup = FDW_REQUEST_COST + local.startup + rel->reltarget->cost.startup;
    estimate->total = estimate->startup + (requests - 1.0) * FDW_REQUEST_COST +
                      fetched * cost_per_row + estimate->rows * rel->reltarget->cost.per_tuple;
    if (!choice->possible) estimate->total += FDW_IMPOSSIBLE_COST;
}

void
fdw_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
    enum fdw_relation relation = fdw_relation_of_table(table);
    Relation opened = table_open(table, NoLock);
    fdw_relation_check_columns(relation, table, RelationGetDescr(opened));
    table_close(opened, NoLock);

    struct fdw_choice choice;
    struct fdw_estimate estimate;
    fdw_choose(root, rel, relation, rel->baserestrictinfo, &choice);
    estimate_choice(root, rel, relation, &choice, &estimate);
    rel->tuples = records_total(relation);
    rel->rows = estimate.rows;
}

/* ---- Order ----------------------------------------------------------------------------------- */

/* The field of this table that the sort key is equal to, if that is a timestamp. */
static enum fdw_field
pathkey_field(RelOptInfo *rel, enum fdw_relation relation, const PathKey *key)
{
    ListCell *cell;
    if (key->pk_eclass->ec_has_volatile) return FDW_FIELD_NONE;
    foreach (cell, key->pk_eclass->ec_members) {
        EquivalenceMember *member = lfirst(cell);
        if (!IsA(member->em_expr, Var)) continue;
        Var *var = (Var *) member->em_expr;
        if (var->varno != rel->relid) continue;
        enum fdw_field field = fdw_relation_field(relation, var->varattno);
        if (field == FDW_FIELD_TIMESTAMP || field == FDW_FIELD_CREATED_AT) return field;
    }
    return FDW_FIELD_NONE;
}

/*
 * Is it the type's usual order? A type may be ordered in other ways: ORDER BY x USING <operator>.
 */
static bool
pathkey_is_usual(enum fdw_field field, const PathKey *key)
{
    const Oid type = field == FDW_FIELD_TIMESTAMP ? INT8OID : TIMESTAMPTZOID;
    return key->pk_opfamily == lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
}

/*
 * The part of the query's order that records have when they come in the order of their timestamps.
 * Timestamps are never null. created_at rises with the timestamp, but two records may have the
 * same. So ordering by created_at, then timestamp, is the same order, as long as both have the same
 * direction.
 */
static List *
pathkeys_of(PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, bool *reversed)
{
    List *pathkeys = NIL;
    ListCell *cell;
    *reversed = false;
    foreach (cell, root->query_pathkeys) {
        PathKey *key = lfirst(cell);
        bool descending = compat_pathkey_is_descending(key);
        enum fdw_field field = pathkey_field(rel, relation, key);
        if (field == FDW_FIELD_NONE || !pathkey_is_usual(field, key)) break;
        if (pathkeys != NIL && descending != *reversed) break;
        *reversed = descending;
        pathkeys = lappend(pathkeys, key);
        if (field == FDW_FIELD_TIMESTAMP) break;
    }
    return pathkeys;
}

/* ---- Paths ----------------------------------------------------------------------------------- */

static void
offer_path(
    PlannerInfo *root,
    RelOptInfo *rel,
    const struct fdw_estimate *estimate,
    List *pathkeys,
    Relids outer,
    bool reversed)
{
    List *fdw_private = list_make1(makeInteger(reversed));
    add_path(
        rel,
        (Path *) compat_create_foreignscan_path(
            root,
            rel,
            estimate->rows,
            estimate->startup,
            estimate->total,
            pathkeys,
            outer,
            fdw_private));
}

static bool
ec_member_matches(
    PlannerInfo *root,
    RelOptInfo *rel,
    EquivalenceClass *class,
    EquivalenceMember *member,
    void *argument)
{
    if (!IsA(member->em_expr, Var)) return false;
    Var *var = (Var *) member->em_expr;
    return var->varno == rel->relid && var->varattno == *(int *) argument;
}

/*
 * The join clauses that might become conditions: those that the planner keeps, and those that
 * equivalences imply.
 */
static List *
join_clauses(PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation)
{
    List *clauses = list_copy(rel->joininfo);
    if (!rel->has_eclass_joins) return clauses;
    for (int column = 1; column <= rel->max_attr; column++) {
        if (fdw_relation_field(relation, column) == FDW_FIELD_NONE) continue;
        clauses = list_concat(
            clauses,
            generate_implied_equalities_for_column(
                root, rel, ec_member_matches, &column, rel->lateral_referencers));
    }
    return clauses;
}

/* The sets of other tables whose columns say which records to look for. */
static List *
outer_relids(PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation)
{
    List *outers = NIL;
    ListCell *cell;
    foreach (cell, join_clauses(root, rel, relation)) {
        RestrictInfo *info = lfirst_node(RestrictInfo, cell);
        if (!join_clause_is_movable_to(info, rel)) continue;
        struct fdw_condition *condition = fdw_condition_make(root, rel, relation, info);
        if (condition == NULL) continue;

        Relids outer = bms_union(info->clause_relids, rel->lateral_relids);
        outer = bms_del_member(outer, (int) rel->relid);
        if (bms_is_empty(outer)) continue;
        bool known = false;
        ListCell *other;
        foreach (other, outers) {
            known = known || bms_equal(outer, lfirst(other));
        }
        if (!known) outers = lappend(outers, outer);
    }
    return outers;
}

void
fdw_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
    enum fdw_relation relation = fdw_relation_of_table(table);
    struct fdw_choice choice;
    struct fdw_estimate estimate;
    bool reversed = false;
    List *pathkeys = NIL;

    fdw_choose(root, rel, relation, rel->baserestrictinfo, &choice);
    estimate_choice(root, rel, relation, &choice, &estimate);
    if (choice.ordered) pathkeys = pathkeys_of(root, rel, relation, &reversed);
    offer_path(root, rel, &estimate, pathkeys, rel->lateral_relids, reversed);

    ListCell *cell;
    foreach (cell, outer_relids(root, rel, relation)) {
        Relids outer = lfirst(cell);
        ParamPathInfo *info = get_baserel_parampathinfo(root, rel, outer);
        List *clauses = list_concat_copy(rel->baserestrictinfo, info->ppi_clauses);
        fdw_choose(root, rel, relation, clauses, &choice);
        estimate_choice(root, rel, relation, &choice, &estimate);
        info->ppi_rows = estimate.rows;
        offer_path(root, rel, &estimate, NIL, outer, false);
    }
}

/* ---- Plan ------------------------------------------------------------------------------------ */

static bool
limit_is_plain(Node *limit)
{
    if (limit == NULL) return true;
    if (IsA(limit, Const)) return true;
    return IsA(limit, Param) && ((Param *) limit)->paramkind == PARAM_EXTERN;
}

/*
 * Does the query's LIMIT bound the number of rows that this scan returns? Then the scan asks the
 * engine for no more. The Limit node stays above it, so only the size of the first page depends on
 * this.
 */
static bool
limit_bounds_scan(PlannerInfo *root, const Path *path, List *local)
{
    const Query *query = root->parse;
    if (query->limitCount == NULL || query->limitOption != LIMIT_OPTION_COUNT) return false;
    if (!limit_is_plain(query->limitCount)) return false;
    if (!limit_is_plain(query->limitOffset)) return false;
    if (local != NIL || path->param_info != NULL) return false;
    if (query->hasAggs || query->hasWindowFuncs || query->hasTargetSRFs) return false;
    if (query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL) {
        return false;
    }
    if (query->distinctClause != NIL || query->setOperations != NULL) return false;
    if (bms_membership(root->all_baserels) != BMS_SINGLETON) return false;
    return pathkeys_contained_in(root->sort_pathkeys, path->pathkeys);
}

static bool
needs_values(RelOptInfo *rel, List *local)
{
    Bitmapset *columns = NULL;
    pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
    pull_varattnos((Node *) local, rel->relid, &columns);
    return !bms_is_empty(columns);
}

/*
 * For EXPLAIN: in a scan inside a nested loop, it can't see any more which column became its
 * parameter.
 */
static char *
value_name(PlannerInfo *root, const Expr *value)
{
    if (!IsA(value, Var)) return pstrdup("");
    const Var *var = (const Var *) value;
    RangeTblEntry *entry = planner_rt_fetch(var->varno, root);
    return psprintf(
        "%s.%s",
        quote_identifier(entry->eref->aliasname),
        quote_identifier(get_rte_attribute_name(entry, var->varattno)));
}

static void
raise_account_needed(void)
{
    ereport(
        ERROR,
        errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg("a query of account balances must say which account"),
        errdetail("Balances are kept by account."),
        errhint("Add a condition account_id = ... or account_id IN (...), or join account_id with an id."));
}

ForeignScan *
fdw_get_plan(
    PlannerInfo *root,
    RelOptInfo *rel,
    Oid table,
    ForeignPath *best_path,
    List *tlist,
    List *scan_clauses,
    Plan *outer_plan)
{
    enum fdw_relation relation = fdw_relation_of_table(table);
    struct fdw_choice choice;
    fdw_choose(root, rel, relation, scan_clauses, &choice);
    if (!choice.possible) raise_account_needed();

    List *values = NIL;
    List *recheck = NIL;
    struct fdw_plan plan = {
        .relation = relation,
        .operation = choice.operation,
        .ordered = best_path->path.pathkeys != NIL,
        .reversed = intVal(linitial(best_path->fdw_private)) != 0,
        .needs_values = needs_values(rel, choice.local),
    };
    ListCell *cell;
    foreach (cell, choice.applied) {
        const struct fdw_condition *condition = lfirst(cell);
        plan.fields = lappend_int(plan.fields, (int) condition->field);
        plan.compares = lappend_int(plan.compares, (int) condition->compare);
        plan.optionals = lappend_int(plan.optionals, condition->optional);
        plan.names = lappend(plan.names, makeString(value_name(root, condition->value)));
        values = lappend(values, condition->value);
        recheck = lappend(recheck, condition->clause);
    }
    if (choice.ordered && limit_bounds_scan(root, &best_path->path, choice.local)) {
        plan.has_limit = true;
        values = lappend(values, root->parse->limitCount);
        plan.has_offset = root->parse->limitOffset != NULL;
        if (plan.has_offset) values = lappend(values, root->parse->limitOffset);
    }
    return make_foreignscan(
        tlist, choice.local, rel->relid, values, fdw_plan_encode(&plan), NIL, recheck, outer_plan);
}
