/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which clauses of a query the engine can apply, and which operation of the engine serves them.
 *
 * A clause becomes a condition only if it is `field <operator> value`, where the operator is one of
 * a closed list whose meaning is certain, and the value is known before the scan starts: free of
 * columns of the scanned table, of volatile functions and of subplans. So is `field = ANY (array)`,
 * and what means the same: IN, and an OR of equalities of one field. A field of integers may also
 * be compared with a numeric, which drivers send for their decimal types. Every other clause stays
 * with the executor, in the order in which the planner gives them.
 *
 * For example, in `ledger = 7 AND code IN (1, 2) AND amount > 100`, the first two become
 * conditions; the executor checks the third, since the engine has no index of amounts.
 *
 * A condition that an operation applies is exact, and the executor need not check it again. There
 * are two exceptions, in which both check:
 *  - 0 in user_data_64 or user_data_32 means "no filter" to the engine. So these are exact only if
 *    all values are constants; a constant 0 is no condition at all.
 *  - A field with several values makes several requests (request.h), FDW_STRANDS_MAX at most.
 *    If the planner can't count the values, whoever starts the scan does, and leaves the condition
 *    to the executor if there are too many.
 *
 * Security. The policies of row level security, and the conditions of a security_barrier view, come
 * to the planner with a lower security level than the conditions of the query. What the engine
 * applies comes before everything that the executor checks. So a clause may become a condition only
 * if it could become an index condition: it is of the lowest level that the table has, or its
 * operators are leakproof and reveal nothing of rows that the policy hides. Its value is computed
 * once, before any row is read: that may raise an error, but knows nothing of the rows. The
 * executor checks the rest in the planner's order, which puts lower security levels first.
 */
#ifndef LEDGER_PG_FDW_CONDITION_H
#define LEDGER_PG_FDW_CONDITION_H

#include "nodes/pathnodes.h"

#include "pg/client/relation.h"

enum fdw_compare {
    FDW_EQUAL,
    FDW_ANY, /* Equal to an element of an array. */
    FDW_LESS,
    FDW_LESS_OR_EQUAL,
    FDW_GREATER,
    FDW_GREATER_OR_EQUAL,
};

/* The most combinations of values that one scan asks for. */
#define FDW_STRANDS_MAX 64

struct fdw_condition {
    enum fdw_field field;
    enum fdw_compare compare;
    /* NULL: the condition is always true (IS NOT NULL of a column that never is null). */
    Expr *value;
    Expr *clause;  /* The whole clause. */
    bool optional; /* The executor checks it too, so it may be left out. */
};

/* How a set of clauses will be answered. */
struct fdw_choice {
    enum ledger_operation operation;
    bool possible; /* False for account_balances without an account. */
    bool ordered;  /* The records can come in the order of their timestamps. */
    List *applied; /* struct fdw_condition *: those that the engine applies. */
    List *local;   /* Expr *: those that the executor must check. */
};

/* Makes a condition of the clause. NULL if the engine can't apply it, or must not. */
struct fdw_condition *fdw_condition_make(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    const RestrictInfo *clause);

/* How many values the condition's field may have; negative if that isn't known yet. */
int fdw_condition_values(const struct fdw_condition *condition);

/*
 * Decides how the clauses are answered. They are RestrictInfos, joined by AND. Pseudoconstant ones
 * are left out, since they get a plan node of their own.
 */
void fdw_choose(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    List *clauses,
    struct fdw_choice *choice);

#endif
