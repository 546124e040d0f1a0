/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/fdw/condition.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

/* Operators by the function that implements them: their operands are integers, uuids, times or
 * states of holds, nothing else; or numerics, to which an integer field is cast (uncast). */
static const struct {
    Oid function;
    enum fdw_compare compare;
} fdw_operators[] = {
    {F_UUID_EQ, FDW_EQUAL},
    {F_ENUM_EQ, FDW_EQUAL},
    {F_INT4EQ, FDW_EQUAL},
    {F_INT24EQ, FDW_EQUAL},
    {F_INT42EQ, FDW_EQUAL},
    {F_INT8EQ, FDW_EQUAL},
    {F_INT28EQ, FDW_EQUAL},
    {F_INT82EQ, FDW_EQUAL},
    {F_INT48EQ, FDW_EQUAL},
    {F_INT84EQ, FDW_EQUAL},
    {F_NUMERIC_EQ, FDW_EQUAL},
    {F_TIMESTAMPTZ_EQ, FDW_EQUAL},
    {F_TIMESTAMPTZ_EQ_DATE, FDW_EQUAL},
    {F_DATE_EQ_TIMESTAMPTZ, FDW_EQUAL},
    {F_TIMESTAMPTZ_EQ_TIMESTAMP, FDW_EQUAL},
    {F_TIMESTAMP_EQ_TIMESTAMPTZ, FDW_EQUAL},
    {F_INT8LT, FDW_LESS},
    {F_INT28LT, FDW_LESS},
    {F_INT82LT, FDW_LESS},
    {F_INT48LT, FDW_LESS},
    {F_INT84LT, FDW_LESS},
    {F_NUMERIC_LT, FDW_LESS},
    {F_TIMESTAMPTZ_LT, FDW_LESS},
    {F_TIMESTAMPTZ_LT_DATE, FDW_LESS},
    {F_DATE_LT_TIMESTAMPTZ, FDW_LESS},
    {F_TIMESTAMPTZ_LT_TIMESTAMP, FDW_LESS},
    {F_TIMESTAMP_LT_TIMESTAMPTZ, FDW_LESS},
    {F_INT8LE, FDW_LESS_OR_EQUAL},
    {F_INT28LE, FDW_LESS_OR_EQUAL},
    {F_INT82LE, FDW_LESS_OR_EQUAL},
    {F_INT48LE, FDW_LESS_OR_EQUAL},
    {F_INT84LE, FDW_LESS_OR_EQUAL},
    {F_NUMERIC_LE, FDW_LESS_OR_EQUAL},
    {F_TIMESTAMPTZ_LE, FDW_LESS_OR_EQUAL},
    {F_TIMESTAMPTZ_LE_DATE, FDW_LESS_OR_EQUAL},
    {F_DATE_LE_TIMESTAMPTZ, FDW_LESS_OR_EQUAL},
    {F_TIMESTAMPTZ_LE_TIMESTAMP, FDW_LESS_OR_EQUAL},
    {F_TIMESTAMP_LE_TIMESTAMPTZ, FDW_LESS_OR_EQUAL},
    {F_INT8GT, FDW_GREATER},
    {F_INT28GT, FDW_GREATER},
    {F_INT82GT, FDW_GREATER},
    {F_INT48GT, FDW_GREATER},
    {F_INT84GT, FDW_GREATER},
    {F_NUMERIC_GT, FDW_GREATER},
    {F_TIMESTAMPTZ_GT, FDW_GREATER},
    {F_TIMESTAMPTZ_GT_DATE, FDW_GREATER},
    {F_DATE_GT_TIMESTAMPTZ, FDW_GREATER},
    {F_TIMESTAMPTZ_GT_TIMESTAMP, FDW_GREATER},
    {F_TIMESTAMP_GT_TIMESTAMPTZ, FDW_GREATER},
    {F_INT8GE, FDW_GREATER_OR_EQUAL},
    {F_INT28GE, FDW_GREATER_OR_EQUAL},
    {F_INT82GE, FDW_GREATER_OR_EQUAL},
    {F_INT48GE, FDW_GREATER_OR_EQUAL},
    {F_INT84GE, FDW_GREATER_OR_EQUAL},
    {F_NUMERIC_GE, FDW_GREATER_OR_EQUAL},
    {F_TIMESTAMPTZ_GE, FDW_GREATER_OR_EQUAL},
    {F_TIMESTAMPTZ_GE_DATE, FDW_GREATER_OR_EQUAL},
    {F_DATE_GE_TIMESTAMPTZ, FDW_GREATER_OR_EQUAL},
    {F_TIMESTAMPTZ_GE_TIMESTAMP, FDW_GREATER_OR_EQUAL},
    {F_TIMESTAMP_GE_TIMESTAMPTZ, FDW_GREATER_OR_EQUAL},
};

static bool
compare_of_operator(Oid operator, enum fdw_compare * compare)
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

/* The comparison with its sides exchanged: a < b is b > a. */
static enum fdw_compare
compare_commuted(enum fdw_compare compare)
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

/*
 * An integer column is compared with a numeric as a numeric: `code = 5.0` is code::numeric = 5.0.
 * The cast is exact, so the field may be compared itself.
 */
static Node *
uncast(Node *node)
{
    if (!IsA(node, FuncExpr)) return node;
    FuncExpr *cast = (FuncExpr *) node;
    const bool exact = cast->funcid == F_NUMERIC_INT4 || cast->funcid == F_NUMERIC_INT8;
    return exact ? linitial(cast->args) : node;
}

static enum fdw_field
field_of_node(RelOptInfo *rel, enum fdw_relation relation, Node *node)
{
    node = uncast(node);
    if (!IsA(node, Var)) return FDW_FIELD_NONE;
    Var *var = (Var *) node;
    if (var->varno != rel->relid || var->varlevelsup != 0) return FDW_FIELD_NONE;
    return fdw_relation_field(relation, var->varattno);
}

static bool
value_is_known(PlannerInfo *root, RelOptInfo *rel, Node *value)
{
    if (bms_is_member(rel->relid, pull_varnos(root, value))) return false;
    return !contain_volatile_functions(value) && !contain_subplans(value);
}

static bool
field_is_time(enum fdw_field field)
{
    return field == FDW_FIELD_TIMESTAMP || field == FDW_FIELD_CREATED_AT ||
           field == FDW_FIELD_EXPIRES_AT;
}

/*
 * How well a field says where to look: the larger the number, the fewer records. 0 for fields that
 * don't.
 */
static int
field_key_rank(enum fdw_field field)
{
    switch (field) {
    case FDW_FIELD_ID:
    case FDW_FIELD_TRANSFER_ID: return 8;
    case FDW_FIELD_PENDING_ID: return 6;
    case FDW_FIELD_DEBIT_ACCOUNT:
    case FDW_FIELD_CREDIT_ACCOUNT: return 4;
    case FDW_FIELD_ACCOUNT: return 2;
    default: return 0;
    }
}

static bool
field_is_key(enum fdw_field field)
{
    return field_key_rank(field) > 0;
}

/* Do only holds have this field? A condition on one of them then asks for holds. */
static bool
field_is_of_holds(enum fdw_field field)
{
    return field == FDW_FIELD_STATE || field == FDW_FIELD_EXPIRES_AT;
}

/* Can the column be NULL? NULL is shown for a value that no record has, or for none at all. */
static bool
field_is_nullable(enum fdw_field field)
{
    return field == FDW_FIELD_USER_DATA_128 || field == FDW_FIELD_PENDING_ID ||
           field_is_of_holds(field);
}

/* Fields where 0 is an ordinary value to the user, but means "no filter" to the engine. */
static bool
field_is_plain_zero(enum fdw_field field)
{
    return field == FDW_FIELD_USER_DATA_64 || field == FDW_FIELD_USER_DATA_32;
}

static struct fdw_condition *
condition_new(enum fdw_field field, enum fdw_compare compare, Expr *value, Expr *clause)
{
    const bool selects = compare == FDW_EQUAL || compare == FDW_ANY;
    if (field == FDW_FIELD_NONE) return NULL;
    if (field_is_time(field) ? compare == FDW_ANY : !selects) return NULL;
    struct fdw_condition *condition = palloc(sizeof(*condition));
    *condition = (struct fdw_condition){field, compare, value, clause, false};
    return condition;
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* What is known of a condition's values when the query is planned. */
struct fdw_known {
    int count;     /* Negative if it isn't known. */
    bool constant; /* All of them are known. */
    bool zero;     /* One of them is the integer 0. */
};

static void
know_integer(struct fdw_known *known, Oid type, Datum value)
{
    switch (type) {
    case INT2OID: known->zero |= DatumGetInt16(value) == 0; return;
    case INT4OID: known->zero |= DatumGetInt32(value) == 0; return;
    case INT8OID: known->zero |= DatumGetInt64(value) == 0; return;
    case NUMERICOID:
        known->zero |= DatumGetBool(
            DirectFunctionCall2(numeric_eq, value, NumericGetDatum(int64_to_numeric(0))));
        return;
    default: return;
    }
}

static void
know_scalar(struct fdw_known *known, const Expr *value)
{
    if (!IsA(value, Const)) {
        known->constant = false;
        return;
    }
    const Const *constant = (const Const *) value;
    if (!constant->constisnull) {
        know_integer(known, constant->consttype, constant->constvalue);
    }
}

static void
know_array(struct fdw_known *known, const Const *array)
{
    if (array->constisnull) return;
    const Oid type = get_base_element_type(array->consttype);
    int16 length;
    bool by_value;
    char alignment;
    Datum *elements;
    bool *nulls;
    get_typlenbyvalalign(type, &length, &by_value, &alignment);
    deconstruct_array(
        DatumGetArrayTypeP(array->constvalue),
        type,
        length,
        by_value,
        alignment,
        &elements,
        &nulls,
        &known->count);
    for (int i = 0; i < known->count; i++) {
        if (!nulls[i]) know_integer(known, type, elements[i]);
    }
}

static struct fdw_known
know_values(const struct fdw_condition *condition)
{
    struct fdw_known known = {.constant = true};
    if (condition->compare != FDW_ANY) {
        known.count = 1;
        know_scalar(&known, condition->value);
    } else if (IsA(condition->value, Const)) {
        know_array(&known, (const Const *) condition->value);
    } else if (IsA(condition->value, ArrayExpr) && !((ArrayExpr *) condition->value)->multidims) {
        ListCell *cell;
        known.count = list_length(((ArrayExpr *) condition->value)->elements);
        foreach (cell, ((ArrayExpr *) condition->value)->elements) {
            know_scalar(&known, lfirst(cell));
        }
    } else {
        known.count = -1;
        known.constant = false;
    }
    return known;
}

int
fdw_condition_values(const struct fdw_condition *condition)
{
    return know_values(condition).count;
}

/* ---- Clauses --------------------------------------------------------------------------------- */

static struct fdw_condition *
condition_from_operator(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, OpExpr *clause)
{
    enum fdw_compare compare;
    if (list_length(clause->args) != 2 || !compare_of_operator(clause->opno, &compare)) return NULL;

    Node *left = linitial(clause->args);
    Node *right = lsecond(clause->args);
    enum fdw_field field = field_of_node(rel, relation, left);
    if (field == FDW_FIELD_NONE) {
        Node *swap = left;
        left = right;
        right = swap;
        compare = compare_commuted(compare);
        field = field_of_node(rel, relation, left);
    }
    if (field == FDW_FIELD_NONE || !value_is_known(root, rel, right)) return NULL;
    return condition_new(field, compare, (Expr *) right, (Expr *) clause);
}

/* True if the two nodes are the two accounts of a transfer, in either order. */
static bool
is_both_accounts(RelOptInfo *rel, enum fdw_relation relation, Node *a, Node *b)
{
    enum fdw_field field_a = field_of_node(rel, relation, a);
    enum fdw_field field_b = field_of_node(rel, relation, b);
    return (field_a == FDW_FIELD_DEBIT_ACCOUNT && field_b == FDW_FIELD_CREDIT_ACCOUNT) ||
           (field_a == FDW_FIELD_CREDIT_ACCOUNT && field_b == FDW_FIELD_DEBIT_ACCOUNT);
}

/* field = ANY (array), or value IN (debit_account_id, credit_account_id). */
static struct fdw_condition *
condition_from_array(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, ScalarArrayOpExpr *clause)
{
    enum fdw_compare compare;
    if (!clause->useOr || !compare_of_operator(clause->opno, &compare)) return NULL;
    if (compare != FDW_EQUAL) return NULL;

    Node *scalar = linitial(clause->args);
    Node *array = lsecond(clause->args);
    enum fdw_field field = field_of_node(rel, relation, scalar);
    if (field != FDW_FIELD_NONE) {
        if (!value_is_known(root, rel, array)) return NULL;
        return condition_new(field, FDW_ANY, (Expr *) array, (Expr *) clause);
    }

    if (!IsA(array, ArrayExpr) || !value_is_known(root, rel, scalar)) return NULL;
    List *elements = ((ArrayExpr *) array)->elements;
    if (list_length(elements) != 2) return NULL;
    if (!is_both_accounts(rel, relation, linitial(elements), lsecond(elements))) return NULL;
    return condition_new(FDW_FIELD_ACCOUNT, FDW_EQUAL, (Expr *) scalar, (Expr *) clause);
}

/* debit_account_id = value OR credit_account_id = the same value. */
static struct fdw_condition *
condition_from_both_accounts(List *equalities, BoolExpr *clause)
{
    if (list_length(equalities) != 2) return NULL;
    struct fdw_condition *a = linitial(equalities);
    struct fdw_condition *b = lsecond(equalities);
    bool both = (a->field == FDW_FIELD_DEBIT_ACCOUNT && b->field == FDW_FIELD_CREDIT_ACCOUNT) ||
                (a->field == FDW_FIELD_CREDIT_ACCOUNT && b->field == FDW_FIELD_DEBIT_ACCOUNT);
    if (!both || !equal(a->value, b->value)) return NULL;
    return condition_new(FDW_FIELD_ACCOUNT, FDW_EQUAL, a->value, (Expr *) clause);
}

/* Makes field = ANY (ARRAY[a, b, …]) of field = a OR field = b …. */
static struct fdw_condition *
condition_from_equalities(List *equalities, BoolExpr *clause)
{
    const struct fdw_condition *first = linitial(equalities);
    const Oid type = exprType((Node *) first->value);
    ArrayExpr *array = makeNode(ArrayExpr);
    array->array_typeid = get_array_type(type);
    array->element_typeid = type;
    array->location = -1;
    ListCell *cell;
    foreach (cell, equalities) {
        const struct fdw_condition *condition = lfirst(cell);
        if (condition->field != first->field) return NULL;
        if (exprType((Node *) condition->value) != type) return NULL;
        array->elements = lappend(array->elements, condition->value);
    }
    if (!OidIsValid(array->array_typeid)) return NULL;
    return condition_new(first->field, FDW_ANY, (Expr *) array, (Expr *) clause);
}

/* Makes a condition of an OR of equalities. */
static struct fdw_condition *
condition_from_or(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, BoolExpr *clause)
{
    List *equalities = NIL;
    ListCell *cell;
    foreach (cell, clause->args) {
        Node *arm = lfirst(cell);
        if (IsA(arm, RestrictInfo)) arm = (Node *) ((RestrictInfo *) arm)->clause;
        if (!IsA(arm, OpExpr)) return NULL;
        struct fdw_condition *equality =
            condition_from_operator(root, rel, relation, (OpExpr *) arm);
        if (equality == NULL || equality->compare != FDW_EQUAL) return NULL;
        equalities = lappend(equalities, equality);
    }
    struct fdw_condition *both = condition_from_both_accounts(equalities, clause);
    return both != NULL ? both : condition_from_equalities(equalities, clause);
}

/*
 * field IS NOT DISTINCT FROM value. It means the same as equality for fields that are never null:
 * no record has a null there, so a null value selects nothing either way.
 */
static struct fdw_condition *
condition_from_not(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, BoolExpr *clause)
{
    Node *negated = linitial(clause->args);
    if (!IsA(negated, DistinctExpr)) return NULL;
    struct fdw_condition *condition =
        condition_from_operator(root, rel, relation, (OpExpr *) negated);
    if (condition == NULL || condition->compare != FDW_EQUAL) return NULL;
    if (field_is_nullable(condition->field)) return NULL;
    condition->clause = (Expr *) clause;
    return condition;
}

/*
 * When the planner turns max(timestamp) into an ordered scan, it adds the condition that the
 * timestamp is not null.
 */
static struct fdw_condition *
condition_from_null_test(RelOptInfo *rel, enum fdw_relation relation, NullTest *clause)
{
    if (clause->nulltesttype != IS_NOT_NULL || clause->argisrow) return NULL;
    enum fdw_field field = field_of_node(rel, relation, (Node *) clause->arg);
    if (field != FDW_FIELD_TIMESTAMP && field != FDW_FIELD_CREATED_AT) return NULL;

    return condition_new(field, FDW_GREATER, NULL, (Expr *) clause);
}

static struct fdw_condition *
condition_from_clause(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, Expr *clause)
{
    if (IsA(clause, OpExpr)) {
        return condition_from_operator(root, rel, relation, (OpExpr *) clause);
    }
    if (IsA(clause, ScalarArrayOpExpr)) {
        return condition_from_array(root, rel, relation, (ScalarArrayOpExpr *) clause);
    }
    if (is_orclause(clause)) {
        return condition_from_or(root, rel, relation, (BoolExpr *) clause);
    }
    if (is_notclause(clause)) {
        return condition_from_not(root, rel, relation, (BoolExpr *) clause);
    }
    if (IsA(clause, NullTest)) {
        return condition_from_null_test(rel, relation, (NullTest *) clause);
    }
    return NULL;
}

struct fdw_condition *
fdw_condition_make(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    const RestrictInfo *clause)
{
    RestrictInfo *info = (RestrictInfo *) clause;
    if (!restriction_is_securely_promotable(info, rel)) return NULL;
    struct fdw_condition *condition =
        condition_from_clause(root, rel, relation, clause->clause);
    if (condition == NULL || !field_is_plain_zero(condition->field)) return condition;
    const struct fdw_known known = know_values(condition);
    if (known.zero) return NULL;
    condition->optional = !known.constant;
    return condition;
}

/* ---- Choice ---------------------------------------------------------------------------------- */

/*
 * The condition that says where to look. A single id is better than a list of ids, an id better
 * than an account, and one account better than either of two. An operation takes only one of these
 * (except for holds, which can be asked for by both of their accounts); the executor checks the
 * others.
 */
static struct fdw_condition *
choose_key(List *conditions)
{
    struct fdw_condition *key = NULL;
    int key_rank = 0;
    ListCell *cell;
    foreach (cell, conditions) {
        struct fdw_condition *condition = lfirst(cell);
        if (!field_is_key(condition->field)) continue;
        int rank = field_key_rank(condition->field);
        if (condition->compare == FDW_EQUAL) rank += 1;
        if (rank > key_rank) {
            key = condition;
            key_rank = rank;
        }
    }
    return key;
}

static bool
wants_holds(List *conditions)
{
    ListCell *cell;
    foreach (cell, conditions) {
        const struct fdw_condition *condition = lfirst(cell);
        if (field_is_of_holds(condition->field)) return true;
    }
    return false;
}

/* Does the query ask for holds that expire in a given time, whatever their accounts? */
static bool
wants_holds_by_expiry(List *conditions, const struct fdw_condition *key)
{
    ListCell *cell;
    if (key != NULL) return false;
    foreach (cell, conditions) {
        const struct fdw_condition *condition = lfirst(cell);
        if (condition->field == FDW_FIELD_EXPIRES_AT) return true;
    }
    return false;
}

static enum ledger_operation
choose_transfers_operation(List *conditions, const struct fdw_condition *key)
{
    if (key != NULL && key->field == FDW_FIELD_ID) return LEDGER_LOOKUP_TRANSFERS;
    if (key != NULL && key->field == FDW_FIELD_PENDING_ID) return LEDGER_LOOKUP_RESOLUTIONS;
    if (wants_holds(conditions)) return LEDGER_QUERY_HOLDS;
    return key == NULL ? LEDGER_QUERY_TRANSFERS : LEDGER_GET_ACCOUNT_TRANSFERS;
}

static enum ledger_operation
choose_operation(
    enum fdw_relation relation, List *conditions, const struct fdw_condition *key)
{
    switch (relation) {
    case FDW_ACCOUNTS: return key == NULL ? LEDGER_QUERY_ACCOUNTS : LEDGER_LOOKUP_ACCOUNTS;
    case FDW_TRANSFERS: return choose_transfers_operation(conditions, key);
    case FDW_ACCOUNT_BALANCES: return LEDGER_GET_ACCOUNT_BALANCES;
    case FDW_CHANGE_EVENTS:
        return key == NULL ? LEDGER_GET_CHANGE_EVENTS : LEDGER_LOOKUP_CHANGE_EVENTS;
    }
    unreachable();
}

/* Does the operation's filter have this field? It isn't called for keys. */
static bool
operation_takes(enum ledger_operation operation, enum fdw_field field)
{
    switch (operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS: return false;
    case LEDGER_GET_ACCOUNT_TRANSFERS: return field != FDW_FIELD_LEDGER;
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_HOLDS:
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

/*
 * Multiplies `strands` by the number of the condition's values. Returns false if the list is too
 * long, so that it is left to the executor. A list that can't be counted yet may be left to it
 * later.
 */
static bool
choose_list(struct fdw_condition *condition, int *strands)
{
    if (condition->compare != FDW_ANY) return true;
    const int values = fdw_condition_values(condition);
    if (*strands > FDW_STRANDS_MAX || values > FDW_STRANDS_MAX / *strands) return false;
    if (values > 0) *strands *= values;
    if (values < 0) condition->optional = true;
    return true;
}

/* Does the operation apply the condition? */
static bool
choose_applies(
    const struct fdw_choice *choice,
    const struct fdw_condition *key,
    struct fdw_condition *condition,
    int *strands)
{
    if (condition->value == NULL) return false;
    if (field_is_key(condition->field)) {
        const bool both = choice->operation == LEDGER_QUERY_HOLDS &&
                          key->field != FDW_FIELD_ACCOUNT &&
                          condition->field != FDW_FIELD_ACCOUNT &&
                          condition->compare == FDW_EQUAL;
        return condition == key || both;
    }
    /* Several states fit into one filter, so they don't need several requests. */
    if (condition->field == FDW_FIELD_STATE) return choice->operation == LEDGER_QUERY_HOLDS;
    return operation_takes(choice->operation, condition->field) &&
           choose_list(condition, strands);
}

/*
 * Makes a condition of each clause, in order. For clauses that stay with the executor, only
 * `clause` is set.
 */
static List *
choose_conditions(
    PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, List *clauses)
{
    List *conditions = NIL;
    ListCell *cell;
    foreach (cell, clauses) {
        RestrictInfo *info = lfirst_node(RestrictInfo, cell);
        if (info->pseudoconstant) continue;
        struct fdw_condition *condition = fdw_condition_make(root, rel, relation, info);
        if (condition == NULL) {
            condition = palloc0(sizeof(*condition));
            condition->clause = info->clause;
        }
        conditions = lappend(conditions, condition);
    }
    return conditions;
}

void
fdw_choose(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    List *clauses,
    struct fdw_choice *choice)
{
    List *conditions = choose_conditions(root, rel, relation, clauses);
    struct fdw_condition *key = choose_key(conditions);
    int keys = key == NULL ? 1 : fdw_condition_values(key);
    memset(choice, 0, sizeof(*choice));
    choice->operation = choose_operation(relation, conditions, key);
    /* Holds of an account are asked for by either side. */
    const bool sides = choice->operation == LEDGER_QUERY_HOLDS && key != NULL &&
                       key->field == FDW_FIELD_ACCOUNT;
    if (sides && keys > 0) keys *= 2;
    const bool by_expiry = choice->operation == LEDGER_QUERY_HOLDS &&
                           wants_holds_by_expiry(conditions, key);
    const bool lookup = key != NULL && field_key_rank(key->field) >= 6;
    choice->possible = relation != FDW_ACCOUNT_BALANCES || key != NULL;
    choice->ordered = !lookup && !by_expiry && keys >= 0 && keys <= FDW_STRANDS_MAX;

    /* Optional conditions come last: they use what the others leave of FDW_STRANDS_MAX. */
    List *optional = NIL;
    int strands = keys < 0 || keys > FDW_STRANDS_MAX ? FDW_STRANDS_MAX + 1 : Max(keys, 1);
    ListCell *cell;
    foreach (cell, conditions) {
        struct fdw_condition *condition = lfirst(cell);
        const bool served = condition->field != FDW_FIELD_NONE;
        const bool applied = served && choose_applies(choice, key, condition, &strands);
        if (applied && condition->optional) {
            optional = lappend(optional, condition);
        } else if (applied) {
            choice->applied = lappend(choice->applied, condition);
        }
        const bool always = served && condition->value == NULL;
        if (!always && (!applied || condition->optional)) {
            choice->local = lappend(choice->local, condition->clause);
        }
    }
    choice->applied = list_concat(choice->applied, optional);
}
