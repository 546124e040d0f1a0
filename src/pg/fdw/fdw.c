/* SPDX-License-Identifier: PostgreSQL */
/*
 * The foreign-data wrapper `ledger_fdw`: foreign tables over the engine's relations, for reading
 * only.
 *
 *     client/relation.h   what the tables show: columns, and which have indexes in the engine
 *     condition.c         which clauses become conditions, and by which operation they are served
 *     plan.c              paths, estimates, order and limit; the plan
 *     request.c           the conditions with their values: filters, and pages
 *     scan.c              rows for the executor
 *     explain.c           EXPLAIN
 *
 * Records are created through functions, which answer each event; accounts and transfers never
 * change. So every command that would write through a table is refused here, and the message names
 * the way that works.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "access/reloptions.h"
#include "catalog/pg_foreign_table.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

#include "pg/fdw/plan.h"
#include "pg/fdw/scan.h"

PG_FUNCTION_INFO_V1(ledger_fdw_handler);
PG_FUNCTION_INFO_V1(ledger_fdw_validator);

/* ---- Options --------------------------------------------------------------------------------- */

/* A table must say which relation it shows. The wrapper, servers and user mappings have no options.
 */
Datum
ledger_fdw_validator(PG_FUNCTION_ARGS)
{
    List *options = untransformRelOptions(PG_GETARG_DATUM(0));
    bool is_table = PG_GETARG_OID(1) == ForeignTableRelationId;
    bool named = false;
    ListCell *cell;
    foreach (cell, options) {
        DefElem *option = lfirst_node(DefElem, cell);
        enum fdw_relation relation;
        if (!is_table || strcmp(option->defname, "relation") != 0) {
            ereport(
                ERROR,
                errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
                errmsg("invalid option \"%s\"", option->defname),
                errhint("The only option is \"relation\", of foreign tables."));
        }
        if (!fdw_relation_by_name(defGetString(option), &relation)) {
            ereport(
                ERROR,
                errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
                errmsg("there is no ledger relation \"%s\"", defGetString(option)),
                errhint("There are \"accounts\", \"transfers\", \"account_balances\" and \"change_events\"."));
        }
        named = true;
    }
    if (is_table && !named) {
        ereport(
            ERROR,
            errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
            errmsg("option \"relation\" is required"));
    }
    PG_RETURN_VOID();
}

/* ---- Writes are refused ---------------------------------------------------------------------- */

static void
raise_insert(Relation table)
{
    enum fdw_relation relation = fdw_relation_of_table(RelationGetRelid(table));
    const char *hint = NULL;
    switch (relation) {
    case FDW_ACCOUNTS: hint = "Use ledger.create_account() or ledger.create_accounts()."; break;
    case FDW_TRANSFERS: hint = "Use ledger.create_transfer() or ledger.create_transfers()."; break;
    case FDW_ACCOUNT_BALANCES:
    case FDW_CHANGE_EVENTS: hint = "The rows follow from transfers."; break;
    }
    ereport(
        ERROR,
        errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg(
            "inserting into foreign table \"%s\" is not supported yet",
            RelationGetRelationName(table)),
        errhint("%s", hint));
}

static void
raise_immutable(Relation table, const char *command)
{
    ereport(
        ERROR,
        errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg("cannot %s foreign table \"%s\"", command, RelationGetRelationName(table)),
        errdetail("Accounts and transfers are immutable."),
        errhint("Correct a transfer by another transfer in the opposite direction."));
}

/* INSERT comes to plan_modify first, COPY to refuse_copy. */
static int
is_updatable(Relation table)
{
    return 1 << CMD_INSERT;
}

static List *
plan_modify(PlannerInfo *root, ModifyTable *plan, Index result_relation, int subplan_index)
{
    Relation table = RelationIdGetRelation(planner_rt_fetch(result_relation, root)->relid);
    raise_insert(table);
    return NIL;
}

static void
add_update_targets(PlannerInfo *root, Index index, RangeTblEntry *entry, Relation table)
{
    raise_immutable(table, root->parse->commandType == CMD_DELETE ? "delete from" : "update");
}

static void
refuse_copy(ModifyTableState *state, ResultRelInfo *info)
{
    raise_insert(info->ri_RelationDesc);
}

static TupleTableSlot *
refuse_row(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
    raise_insert(info->ri_RelationDesc);
    return NULL;
}

static void
refuse_truncate(List *tables, DropBehavior behavior, bool restart_sequences)
{
    raise_immutable(linitial(tables), "truncate");
}

/* ---- Handler --------------------------------------------------------------------------------- */

/*
 * It isn't parallel safe (the default), since a scan waits in a slot that belongs to its own
 * backend.
 */
Datum
ledger_fdw_handler(PG_FUNCTION_ARGS)
{
    FdwRoutine *routine = makeNode(FdwRoutine);

    routine->GetForeignRelSize = fdw_get_rel_size;
    routine->GetForeignPaths = fdw_get_paths;
    routine->GetForeignPlan = fdw_get_plan;

    routine->BeginForeignScan = fdw_begin_scan;
    routine->IterateForeignScan = fdw_iterate_scan;
    routine->ReScanForeignScan = fdw_rescan;
    routine->EndForeignScan = fdw_end_scan;
    routine->ExplainForeignScan = fdw_explain_scan;

    routine->IsForeignRelUpdatable = is_updatable;
    routine->AddForeignUpdateTargets = add_update_targets;
    routine->PlanForeignModify = plan_modify;
    routine->BeginForeignInsert = refuse_copy;
    routine->ExecForeignInsert = refuse_row;
    routine->ExecForeignTruncate = refuse_truncate;

    PG_RETURN_POINTER(routine);
}
