/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/fdw_condition.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* Operators by the function that implements them: their operands are integers, uuids or times,
 * nothing else. */
static const struct {
    Oid function;
    enum fdw_compare compare;
} fdw_operators[] = {
    {F_UUID_EQ, FDW_EQUAL},
    {F_INT4EQ, FDW_EQUAL},
    {F_INT24EQ, FDW_EQUAL},
    {F_INT42EQ, FDW_EQUAL},
    {F_INT8EQ, FDW_EQUAL},
    {F_INT28EQ, FDW_EQUAL},
    {F_INT82EQ, FDW_EQUAL},
    {F_INT48EQ, FDW_EQUAL},
    {F_INT84EQ, FDW_EQUAL},
    {F_TIMESTAMPTZ_EQ, FDW_EQUAL},
    {F_INT8LT, FDW_LESS},
    {F_INT28LT, FDW_LESS},
    {F_INT82LT, FDW_LESS},
    {F_INT48LT, FDW_LESS},
    {F_INT84LT, FDW_LESS},
    {F_TIMESTAMPTZ_LT, FDW_LESS},
    {F_INT8LE, FDW_LESS_OR_EQUAL},
    {F_INT28LE, FDW_LESS_OR_EQUAL},
    {F_INT82LE, FDW_LESS_OR_EQUAL},
    {F_INT48LE, FDW_LESS_OR_EQUAL},
    {F_INT84LE, FDW_LESS_OR_EQUAL},
    {F_TIMESTAMPTZ_LE, FDW_LESS_OR_EQUAL},
    {F_INT8GT, FDW_GREATER},
    {F_INT28GT, FDW_GREATER},
    {F_INT82GT, FDW_GREATER},
    {F_INT48GT, FDW_GREATER},
    {F_INT84GT, FDW_GREATER},
    {F_TIMESTAMPTZ_GT, FDW_GREATER},
    {F_INT8GE, FDW_GREATER_OR_EQUAL},
    {F_INT28GE, FDW_GREATER_OR_EQUAL},
    {F_INT82GE, FDW_GREATER_OR_EQUAL},
    {F_INT48GE, FDW_GREATER_OR_EQUAL},
    {F_INT84GE, FDW_GREATER_OR_EQUAL},
    {F_TIMESTAMPTZ_GE, FDW_GREATER_OR_EQUAL},
};

static bool
fdw_operator(Oid operator, enum fdw_compare * compare)
{
    Oid function = get_opcode(operator);
    for (size_t i = 0; i < lengthof(fdw_operators); i++) {
        if (fdw_operators[i].function == function) {
            *compare = fdw_operators[i].compare;
            return true;
        }
    }
    return false;
}

/* a < b is b > a. */
static enum fdw_compare
fdw_compare_commuted(enum fdw_compare compare)
{
    switch (compare) {
    case FDW_EQUAL: return FDW_EQUAL;
    case FDW_ANY: return FDW_ANY;
    case FDW_LESS: return FDW_GREATER;
    case FDW_LESS_OR_EQUAL: return FDW_GREATER_OR_EQUAL;
    case FDW_GREATER: return FDW_LESS;
    case FDW_GREATER_OR_EQUAL: return FDW_LESS_OR_EQUAL;
    }
    unreachable();
}

static enum fdw_field
fdw_field_of_node(RelOptInfo *rel, enum fdw_relation relation, Node *node)
{
    if (!IsA(node, Var)) return FDW_FIELD_NONE;
    Var *var = (Var *) node;
    if (var->varno != rel->relid || var->varlevelsup != 0) return FDW_FIELD_NONE;
    return fdw_relation_field(relation, var->varattno);
}

static bool
fdw_value_is_known(PlannerInfo *root, RelOptInfo *rel, Node *value)
{
    if (bms_is_member(rel->relid, pull_varnos(root, value))) return false;
    return !contain_volatile_functions(value) && !contain_subplans(value);
}

static bool
fdw_field_takes(enum fdw_field field, enum fdw_compare compare)
{
    switch (field) {
    case FDW_FIELD_NONE: return false;
    case FDW_FIELD_ID:
    case FDW_FIELD_ACCOUNT:
    case FDW_FIELD_DEBIT_ACCOUNT:
    case FDW_FIELD_CREDIT_ACCOUNT: return compare == FDW_EQUAL || compare == FDW_ANY;
    case FDW_FIELD_USER_DATA_128:
    case FDW_FIELD_USER_DATA_64:
    case FDW_FIELD_USER_DATA_32:
    case FDW_FIELD_LEDGER:
    case FDW_FIELD_CODE: return compare == FDW_EQUAL;
    case FDW_FIELD_TIMESTAMP:
    case FDW_FIELD_CREATED_AT: return compare != FDW_ANY;
    }
    unreachable();
}

/* 0 here means "no filter" to the engine, but 0 to the user. */
static bool
fdw_field_is_plain_zero(enum fdw_field field)
{
    return field == FDW_FIELD_USER_DATA_64 || field == FDW_FIELD_USER_DATA_32;
}

static bool
fdw_const_is_zero(const Const *value)
{
    if (value->constisnull) return false;
    switch (value->consttype) {
    case INT2OID: return DatumGetInt16(value->constvalue) == 0;
    case INT4OID: return DatumGetInt32(value->constvalue) == 0;
    case INT8OID: return DatumGetInt64(value->constvalue) == 0;
    default: return true;
    }
}

static struct fdw_condition *
fdw_condition_new(enum fdw_field field, enum fdw_compare compare, Expr *value, Expr *clause)
{
    if (!fdw_field_takes(field, compare)) return NULL;
    if (fdw_field_is_plain_zero(field) && IsA(value, Const) && fdw_const_is_zero((Const *) value)) {
        return NULL;
    }
    struct fdw_condition *condition = palloc(sizeof(*condition));
    *condition = (struct fdw_condition){field, compare, value, clause};
    return condition;
}

static struct fdw_condition *
fdw_condition_from_operator(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, OpExpr *clause)
{
    enum fdw_compare compare;
    if (list_length(clause->args) != 2 || !fdw_operator(clause->opno, &compare)) return NULL;

    Node *left = linitial(clause->args);
    Node *right = lsecond(clause->args);
    enum fdw_field field = fdw_field_of_node(rel, relation, left);
    if (field == FDW_FIELD_NONE) {
        Node *swap = left;
        left = right;
        right = swap;
        compare = fdw_compare_commuted(compare);
        field = fdw_field_of_node(rel, relation, left);
    }
    if (field == FDW_FIELD_NONE || !fdw_value_is_known(root, rel, right)) return NULL;
    return fdw_condition_new(field, compare, (Expr *) right, (Expr *) clause);
}

/* True if the nodes are the two accounts of a transfer, one each. */
static bool
fdw_is_both_accounts(RelOptInfo *rel, enum fdw_relation relation, Node *a, Node *b)
{
    enum fdw_field field_a = fdw_field_of_node(rel, relation, a);
    enum fdw_field field_b = fdw_field_of_node(rel, relation, b);
    return (field_a == FDW_FIELD_DEBIT_ACCOUNT && field_b == FDW_FIELD_CREDIT_ACCOUNT) ||
           (field_a == FDW_FIELD_CREDIT_ACCOUNT && field_b == FDW_FIELD_DEBIT_ACCOUNT);
}

/* field = ANY (array), or value IN (debit_account_id, credit_account_id). */
static struct fdw_condition *
fdw_condition_from_array(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, ScalarArrayOpExpr *clause)
{
    if (!clause->useOr || get_opcode(clause->opno) != F_UUID_EQ) return NULL;

    Node *scalar = linitial(clause->args);
    Node *array = lsecond(clause->args);
    enum fdw_field field = fdw_field_of_node(rel, relation, scalar);
    if (field != FDW_FIELD_NONE) {
        if (!fdw_value_is_known(root, rel, array)) return NULL;
        return fdw_condition_new(field, FDW_ANY, (Expr *) array, (Expr *) clause);
    }

    if (!IsA(array, ArrayExpr) || !fdw_value_is_known(root, rel, scalar)) return NULL;
    List *elements = ((ArrayExpr *) array)->elements;
    if (list_length(elements) != 2) return NULL;
    if (!fdw_is_both_accounts(rel, relation, linitial(elements), lsecond(elements))) return NULL;
    return fdw_condition_new(FDW_FIELD_ACCOUNT, FDW_EQUAL, (Expr *) scalar, (Expr *) clause);
}

/* debit_account_id = value OR credit_account_id = the same value. */
static struct fdw_condition *
fdw_condition_from_or(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, BoolExpr *clause)
{
    if (clause->boolop != OR_EXPR || list_length(clause->args) != 2) return NULL;
    Node *first = linitial(clause->args);
    Node *second = lsecond(clause->args);
    if (!IsA(first, OpExpr) || !IsA(second, OpExpr)) return NULL;

    struct fdw_condition *a = fdw_condition_from_operator(root, rel, relation, (OpExpr *) first);
    struct fdw_condition *b = fdw_condition_from_operator(root, rel, relation, (OpExpr *) second);
    if (a == NULL || b == NULL || !equal(a->value, b->value)) return NULL;
    bool both = (a->field == FDW_FIELD_DEBIT_ACCOUNT && b->field == FDW_FIELD_CREDIT_ACCOUNT) ||
                (a->field == FDW_FIELD_CREDIT_ACCOUNT && b->field == FDW_FIELD_DEBIT_ACCOUNT);
    if (!both) return NULL;
    return fdw_condition_new(FDW_FIELD_ACCOUNT, FDW_EQUAL, a->value, (Expr *) clause);
}

/* The planner itself asks that a timestamp is not null when it turns max(timestamp) into an ordered
 * scan. */
static struct fdw_condition *
fdw_condition_from_null_test(RelOptInfo *rel, enum fdw_relation relation, NullTest *clause)
{
    if (clause->nulltesttype != IS_NOT_NULL || clause->argisrow) return NULL;
    enum fdw_field field = fdw_field_of_node(rel, relation, (Node *) clause->arg);
    if (field != FDW_FIELD_TIMESTAMP && field != FDW_FIELD_CREATED_AT) return NULL;

    struct fdw_condition *condition = palloc(sizeof(*condition));
    *condition = (struct fdw_condition){field, FDW_GREATER, NULL, (Expr *) clause};
    return condition;
}

struct fdw_condition *
fdw_condition_make(PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, Expr *clause)
{
    if (IsA(clause, OpExpr)) {
        return fdw_condition_from_operator(root, rel, relation, (OpExpr *) clause);
    }
    if (IsA(clause, ScalarArrayOpExpr)) {
        return fdw_condition_from_array(root, rel, relation, (ScalarArrayOpExpr *) clause);
    }
    if (IsA(clause, BoolExpr)) {
        return fdw_condition_from_or(root, rel, relation, (BoolExpr *) clause);
    }
    if (IsA(clause, NullTest))
        return fdw_condition_from_null_test(rel, relation, (NullTest *) clause);
    return NULL;
}

static bool
fdw_field_is_key(enum fdw_field field)
{
    return field == FDW_FIELD_ID || field == FDW_FIELD_ACCOUNT ||
           field == FDW_FIELD_DEBIT_ACCOUNT || field == FDW_FIELD_CREDIT_ACCOUNT;
}

/*
 * The condition that says where to look: one id before a list of them, an id before an account, one
 * account before either. An operation takes one of these; the executor checks the rest.
 */
static struct fdw_condition *
fdw_choose_key(List *conditions)
{
    struct fdw_condition *key = NULL;
    int key_rank = 0;
    ListCell *cell;
    foreach (cell, conditions) {
        struct fdw_condition *condition = lfirst(cell);
        if (!fdw_field_is_key(condition->field)) continue;
        int rank = condition->field == FDW_FIELD_ID        ? 6
                   : condition->field == FDW_FIELD_ACCOUNT ? 2
                                                           : 4;
        if (condition->compare == FDW_EQUAL) rank++;
        if (rank > key_rank) {
            key = condition;
            key_rank = rank;
        }
    }
    return key;
}

static enum ledger_operation
fdw_choose_operation(enum fdw_relation relation, const struct fdw_condition *key)
{
    switch (relation) {
    case FDW_ACCOUNTS: return key == NULL ? LEDGER_QUERY_ACCOUNTS : LEDGER_LOOKUP_ACCOUNTS;
    case FDW_TRANSFERS:
        if (key == NULL) return LEDGER_QUERY_TRANSFERS;
        return key->field == FDW_FIELD_ID ? LEDGER_LOOKUP_TRANSFERS : LEDGER_GET_ACCOUNT_TRANSFERS;
    case FDW_ACCOUNT_BALANCES: return LEDGER_GET_ACCOUNT_BALANCES;
    case FDW_CHANGE_EVENTS: return LEDGER_GET_CHANGE_EVENTS;
    }
    unreachable();
}

/* Does the operation's filter have this field? Keys are not asked about. */
static bool
fdw_operation_takes(enum ledger_operation operation, enum fdw_field field)
{
    switch (operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS: return false;
    case LEDGER_GET_ACCOUNT_TRANSFERS: return field != FDW_FIELD_LEDGER;
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS: return true;
    case LEDGER_GET_ACCOUNT_BALANCES:
    case LEDGER_GET_CHANGE_EVENTS:
        return field == FDW_FIELD_TIMESTAMP || field == FDW_FIELD_CREATED_AT;
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

static bool
fdw_condition_is_exact(const struct fdw_condition *condition)
{
    return !fdw_field_is_plain_zero(condition->field) || IsA(condition->value, Const);
}

void
fdw_choose(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    List *clauses,
    struct fdw_choice *choice)
{
    List *conditions = NIL;
    memset(choice, 0, sizeof(*choice));

    ListCell *cell;
    foreach (cell, clauses) {
        RestrictInfo *info = lfirst_node(RestrictInfo, cell);
        if (info->pseudoconstant) continue;
        struct fdw_condition *condition = fdw_condition_make(root, rel, relation, info->clause);
        if (condition == NULL) {
            choice->local = lappend(choice->local, info->clause);
        } else {
            conditions = lappend(conditions, condition);
        }
    }

    struct fdw_condition *key = fdw_choose_key(conditions);
    choice->operation = fdw_choose_operation(relation, key);
    choice->possible = relation != FDW_ACCOUNT_BALANCES || key != NULL;
    choice->ordered = choice->operation != LEDGER_LOOKUP_ACCOUNTS &&
                      choice->operation != LEDGER_LOOKUP_TRANSFERS &&
                      (key == NULL || key->compare == FDW_EQUAL);

    foreach (cell, conditions) {
        struct fdw_condition *condition = lfirst(cell);
        if (condition->value == NULL) continue;
        bool applied = fdw_field_is_key(condition->field)
                           ? condition == key
                           : fdw_operation_takes(choice->operation, condition->field);
        if (applied) choice->applied = lappend(choice->applied, condition);
        if (!applied || !fdw_condition_is_exact(condition)) {
            choice->local = lappend(choice->local, condition->clause);
        }
    }
}
