/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/commit_mode.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
#include "utils/portal.h"


/*
 * How many ExecutorRun are on the stack: 2 means that a query was run by a function of another
 * query.
 */
static int executor_depth;

static ExecutorRun_hook_type previous_executor_run;

static void
executor_run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
    executor_depth++;
    PG_TRY();
    {
        if (previous_executor_run != NULL) {
            previous_executor_run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
        } else {
            standard_ExecutorRun(COMPAT_EXECUTOR_RUN_ARGUMENTS);
        }
    }
    PG_FINALLY();
    {
        executor_depth--;
    }
    PG_END_TRY();
}

void
commit_mode_install(void)
{
    previous_executor_run = ExecutorRun_hook;
    ExecutorRun_hook = executor_run;
}

/*
 * Procedural languages evaluate simple expressions without the executor, so depth alone doesn't
 * show them; but all of them connect to SPI first. There is no call that only asks: this one
 * refuses for one reason or the other.
 */
static bool
inside_spi(void)
{
    return SPI_unregister_relation("ledger") != SPI_ERROR_UNCONNECTED;
}

/*
 * Does the statement change nothing but what the ledger owns? Foreign tables have no state of their
 * own in Postgres.
 */
static bool
statement_writes_no_table(const PlannedStmt *statement)
{
    ListCell *cell;
    if (statement->commandType == CMD_UTILITY) {
        return IsA(statement->utilityStmt, CopyStmt) || IsA(statement->utilityStmt, ExplainStmt);
    }
    foreach (cell, statement->resultRelations) {
        const RangeTblEntry *entry = rt_fetch((Index) lfirst_int(cell), statement->rtable);
        if (entry->relkind != RELKIND_FOREIGN_TABLE) return false;
    }
    return true;
}

/* Without a portal, it is a function call message of the protocol. */
static bool
portal_writes_no_table(void)
{
    ListCell *cell;
    if (ActivePortal == NULL) return executor_depth == 0;
    foreach (cell, ActivePortal->stmts) {
        if (!statement_writes_no_table(lfirst_node(PlannedStmt, cell))) return false;
    }
    return true;
}

bool
commit_mode_call_is_alone(void)
{
    if (IsInTransactionBlock(true)) return false;
    if (executor_depth > 1 || inside_spi()) return false;
    if (!portal_writes_no_table()) return false;
    MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
    return true;
}
