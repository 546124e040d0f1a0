/* SPDX-License-Identifier: PostgreSQL */
/*
 * The planner's side of the foreign tables, and the plan that it hands to the executor.
 *
 * Each set of clauses has one way to be answered (condition.h), so a table has one path of its
 * own, and one for each set of other tables whose columns a condition compares it with: these let a
 * nested loop look records up.
 */
#ifndef LEDGER_PG_FDW_PLAN_H
#define LEDGER_PG_FDW_PLAN_H

#include "foreign/fdwapi.h"

#include "pg/fdw/condition.h"

/*
 * What a ForeignScan carries. Its fdw_exprs are the values of the conditions, in order; then the
 * query's LIMIT and OFFSET, if it has them and if they bound this scan.
 */
struct fdw_plan {
    enum fdw_relation relation;
    enum ledger_operation operation;
    bool ordered;      /* The plan relies on the order of timestamps. */
    bool reversed;     /* Newest first. */
    bool needs_values; /* If not set, only the number of rows matters. */
    bool has_limit;
    bool has_offset;
    List *fields;    /* Integers: enum fdw_field of each condition. */
    List *compares;  /* Integers: enum fdw_compare of each condition. */
    List *optionals; /* Integers: may the condition be left out? */
    List *names;     /* Strings, for EXPLAIN: the other table's column, or empty. */
};

List *fdw_plan_encode(const struct fdw_plan *plan);
void fdw_plan_decode(List *list, struct fdw_plan *plan);

void fdw_get_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table);
void fdw_get_paths(PlannerInfo *root, RelOptInfo *rel, Oid table);
ForeignScan *fdw_get_plan(
    PlannerInfo *root,
    RelOptInfo *rel,
    Oid table,
    ForeignPath *best_path,
    List *tlist,
    List *scan_clauses,
    Plan *outer_plan);

#endif
