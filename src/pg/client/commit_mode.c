/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/commit_mode.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/portal.h"

#include "pg/client/availability.h"
#include "pg/client/effects.h"
#include "pg/settings.h"
#include "pg/shared.h"

/* The outermost query that is being executed. */
struct running {
    const QueryDesc *query;
    /* The transaction had an id, so it had written something, before this query. */
    bool had_xid;
    bool in_parts;        /* The client asked for only some of its rows, and may go on later. */
    uint64 ledger_writes; /* Calls that have taken effect. */
};

static struct running running;

/*
 * How many calls of ExecutorRun are on the stack. 2 means that a function of one query runs
 * another.
 */
static int executor_depth;

/* What the calls of this transaction have found out. */
static struct {
    const PlannedStmt *proven; /* The statement that was found to change nothing else. */
    bool sequences;            /* But it takes numbers from sequences. */
    bool closed;               /* The transaction was made read-only. */
} transaction;

static ExecutorRun_hook_type previous_executor_run;

static bool
has_xid(void)
{
    return TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * Has the transaction written rows of tables? Only that uses a command's number. Taking numbers
 * from sequences doesn't, though both need a transaction id. Only an increment shows whether the
 * present number is used; every function that writes does the same.
 */
static bool
has_written_rows(void)
{
    if (!has_xid()) return false;
    CommandCounterIncrement();
    return GetCurrentCommandId(false) != FirstCommandId;
}

/* ---- What is running ------------------------------------------------------------------------- */

/* Adds to an error of the statement, so that nobody thinks that nothing has happened. */
static void
on_statement_error(void *argument)
{
    const int category = ERRCODE_TO_CATEGORY(geterrcode());
    if (running.ledger_writes == 0) return;
    if (category == ERRCODE_TO_CATEGORY(ERRCODE_SUCCESSFUL_COMPLETION)) return;
    if (category == ERRCODE_TO_CATEGORY(ERRCODE_WARNING)) return;
    errcontext(
        "ledger calls of this statement that took effect and stay: " UINT64_FORMAT,
        running.ledger_writes);
}

static void
run_outermost(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
    ErrorContextCallback callback = {
        .previous = error_context_stack,
        .callback = on_statement_error,
    };
    running = (struct running){.query = query, .had_xid = has_xid(), .in_parts = count != 0};
    error_context_stack = &callback;
    if (previous_executor_run != NULL) {
        previous_executor_run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
    } else {
        standard_ExecutorRun(COMPAT_EXECUTOR_RUN_ARGUMENTS);
    }
    error_context_stack = callback.previous;
}

static void
executor_run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
    executor_depth += 1;
    PG_TRY();
    {
        if (executor_depth == 1) {
            run_outermost(COMPAT_EXECUTOR_RUN_ARGUMENTS);
        } else if (previous_executor_run != NULL) {
            previous_executor_run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
        } else {
            standard_ExecutorRun(COMPAT_EXECUTOR_RUN_ARGUMENTS);
        }
    }
    PG_FINALLY();
    {
        executor_depth -= 1;
        if (executor_depth == 0) running = (struct running){.query = NULL};
    }
    PG_END_TRY();
}

/*
 * Is the call made inside SPI? Procedural languages evaluate simple expressions without the
 * executor, so the depth alone doesn't show them; but all of them connect to SPI first. The server
 * has no function that only asks. This one changes nothing, since no relation has an empty name. It
 * always fails, for one of two reasons, which tell.
 */
static bool
inside_spi(void)
{
    return SPI_unregister_relation("") != SPI_ERROR_UNCONNECTED;
}

/* ---- The transaction ------------------------------------------------------------------------- */

static void
on_transaction(XactEvent event, void *argument)
{
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
        if (!transaction.closed && !transaction.sequences) return;
        if (transaction.closed ? !has_xid() : !has_written_rows()) return;
        ereport(
            ERROR,
            errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
            errmsg("a statement that writes to the ledger must write to nothing else"),
            errdetail("What it wrote to the ledger took effect and stays; the rest is undone."),
            errhint("Functions that write must be declared volatile."));
        return;
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE: memset(&transaction, 0, sizeof(transaction)); return;
    case XACT_EVENT_PARALLEL_COMMIT:
    case XACT_EVENT_PARALLEL_ABORT:
    case XACT_EVENT_PARALLEL_PRE_COMMIT:
    case XACT_EVENT_PRE_PREPARE: return;
    }
}

void
commit_mode_install(void)
{
    previous_executor_run = ExecutorRun_hook;
    ExecutorRun_hook = executor_run;
    RegisterXactCallback(on_transaction, NULL);
}

/* ---- May the call be made? ------------------------------------------------------------------- */

/*
 * True unless the rows go to a table, a function, or a cursor that outlives the transaction. Rows
 * of EXECUTE are stored first.
 */
static bool
rows_go_to_client(const DestReceiver *receiver, const PortalData *portal)
{
    switch (receiver->mydest) {
    case DestNone:
    case DestDebug:
    case DestRemote:
    case DestRemoteExecute:
    case DestRemoteSimple:
    case DestCopyOut: return true;
    case DestTuplestore: return (portal->cursorOptions & CURSOR_OPT_HOLD) == 0;
    default: return compat_is_explain_receiver(receiver);
    }
}

/*
 * Looks at the statement around the running query: it must be that query, or EXPLAIN or COPY of it.
 * A rule makes several statements of one.
 */
static bool
portal_only_reads(Portal portal)
{
    if (list_length(portal->stmts) != 1) return false;
    const PlannedStmt *statement = linitial_node(PlannedStmt, portal->stmts);
    if (statement->commandType != CMD_UTILITY) return true;
    if (IsA(statement->utilityStmt, CopyStmt)) {
        return !((const CopyStmt *) statement->utilityStmt)->is_from;
    }
    if (IsA(statement->utilityStmt, ExplainStmt)) {
        const Node *explained = ((const ExplainStmt *) statement->utilityStmt)->query;
        return IsA(explained, Query) && ((const Query *) explained)->commandType == CMD_SELECT;
    }
    return false;
}

/*
 * If there is neither a query nor its portal, only a function call message of the protocol has no
 * text.
 */
static bool
is_function_call_message(void)
{
    return ActivePortal == NULL && executor_depth == 0 && debug_query_string == NULL;
}

static const char *
refuse_statement(void)
{
    static const char written[] = "The transaction has written something before.";
    if (is_function_call_message()) return has_xid() ? written : NULL;
    if (running.query == NULL || ActivePortal == NULL || !portal_only_reads(ActivePortal)) {
        return "The statement is not a SELECT.";
    }
    if (!rows_go_to_client(running.query->dest, ActivePortal)) {
        return "The statement's rows go to a table or a cursor.";
    }
    const PlannedStmt *statement = running.query->plannedstmt;
    if (transaction.proven != statement) {
        const struct effects effects = effects_of_plan(statement);
        if (effects.reason != NULL) return effects.reason;
        transaction.proven = statement;
        transaction.sequences = effects.sequences;
    }
    if (running.had_xid) return written;
    if (transaction.sequences ? has_written_rows() : has_xid()) return written;
    if (running.in_parts && transaction.sequences) {
        return "The statement takes numbers from sequences and its rows are fetched in parts.";
    }
    return NULL;
}

/* Why the call is not a whole transaction by itself, as a sentence. NULL: it is. */
static const char *
refuse(void)
{
    if (IsInTransactionBlock(true)) return "The call is in a transaction block.";
    if (executor_depth > 1 || inside_spi()) {
        return "The call is in a function, a procedure, a trigger or DO.";
    }
    return refuse_statement();
}

/* Lets nothing else into the transaction, and ends it with the statement. */
static void
close_transaction(void)
{
    MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
    if (transaction.sequences || transaction.closed) return;
    XactReadOnly = true;
    transaction.closed = true;
}

#define HINT_IMMEDIATE                                                                             \
    "To let it take effect when it returns, even if the transaction rolls back: "                  \
    "SET LOCAL ledger.commit_mode = 'immediate', or ALTER ROLE ... SET it. "                       \
    "A plain SET could reach other clients of a connection pool."

pg_attribute_noreturn()
static void
raise_not_alone(const char *function_name, const char *reason)
{
    ereport(
        ERROR,
        errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg("%s cannot take part in a transaction yet", function_name),
        errdetail(
            "%s ledger.commit_mode = auto accepts only a call that is a transaction by itself.",
            reason),
        errhint("Use autocommit: call it in a SELECT of its own. " HINT_IMMEDIATE));
}

void
commit_mode_check(const char *function_name)
{
    if (shared == NULL) availability_raise();
    PreventCommandDuringRecovery(function_name);
    if (!transaction.closed) PreventCommandIfReadOnly(function_name);
    PreventCommandIfParallelMode(function_name);
    switch ((enum settings_commit_mode) settings_commit_mode) {
    case SETTINGS_COMMIT_IMMEDIATE: return;
    case SETTINGS_COMMIT_AUTO: {
        const char *reason = refuse();
        if (reason != NULL) raise_not_alone(function_name, reason);
        close_transaction();
        return;
    }
    case SETTINGS_COMMIT_TRANSACTIONAL:
        ereport(
            ERROR,
            errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("ledger.commit_mode = transactional is not supported yet"),
            errdetail("A ledger write can't be undone by ROLLBACK."),
            errhint("RESET ledger.commit_mode. The default, auto, accepts a call that is a transaction by itself. In immediate mode, a call takes effect when it returns, even if the transaction rolls back."));
    }
    unreachable();
}

void
commit_mode_count_write(void)
{
    if (running.query != NULL) running.ledger_writes += 1;
}
