/* SPDX-License-Identifier: PostgreSQL */
/*
 * Clauses of a query that the engine can apply, and which operation of the engine serves them.
 *
 * A clause becomes a condition only if it is `field <operator> value`, where the operator is one of
 * a closed list whose meaning is certain, and the value is known before the scan starts: free of
 * columns of the scanned table, of volatile functions and of subplans. Every other clause stays
 * with the executor.
 *
 * A condition that an operation applies is exact (the executor need not look again), with one
 * exception: 0 in user_data_64 or user_data_32 means "no filter" to the engine. So these are exact
 * only if the value is a constant that is not 0; a constant 0 is no condition at all, and anything
 * else is checked by both.
 */
#ifndef LEDGER_PG_FDW_CONDITION_H
#define LEDGER_PG_FDW_CONDITION_H

#include "nodes/pathnodes.h"

#include "pg/fdw_relation.h"

enum fdw_compare {
    FDW_EQUAL,
    FDW_ANY, /* Equal to an element of an array. */
    FDW_LESS,
    FDW_LESS_OR_EQUAL,
    FDW_GREATER,
    FDW_GREATER_OR_EQUAL,
};

struct fdw_condition {
    enum fdw_field field;
    enum fdw_compare compare;
    Expr *value;  /* NULL: is always true (IS NOT NULL of a column that never is). */
    Expr *clause; /* All of it. */
};

/* How a set of clauses is answered. */
struct fdw_choice {
    enum ledger_operation operation;
    bool possible; /* False: account_balances without an account. */
    bool ordered;  /* Records come in order of timestamp. */
    List *applied; /* struct fdw_condition *: what the engine gets. */
    List *local;   /* Expr *: what the executor has to check. */
};

/* NULL if the engine can't. */
struct fdw_condition *
fdw_condition_make(PlannerInfo *root, RelOptInfo *rel, enum fdw_relation relation, Expr *clause);

/* `clauses` are RestrictInfos, ANDed. Pseudoconstant ones are left out: they have a node of their
 * own. */
void fdw_choose(
    PlannerInfo *root,
    RelOptInfo *rel,
    enum fdw_relation relation,
    List *clauses,
    struct fdw_choice *choice);

#endif
