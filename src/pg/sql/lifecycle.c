/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/sql/lifecycle.h"

#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/uuid.h"

#include "pg/client/availability.h"
#include "pg/client/convert.h"
#include "pg/command.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/worker/awaited.h"
#include "pg/worker/directory.h"
#include "pg/worker/identity.h"
#include "pg/worker/refusal.h"

PG_FUNCTION_INFO_V1(ledger_create_ledger);
PG_FUNCTION_INFO_V1(ledger_adopt);

/* A worker that ends and is started again, as after a reload, is away for about a second. */
#define RESTART_LOOKS   50
#define RESTART_LOOK_MS 100

static ProcessUtility_hook_type previous_process_utility;

/* ---- Asking the worker ----------------------------------------------------------------------- */

static bool
takes_commands(const struct availability *availability)
{
    return availability->role == ROLE_NONE || availability->role == ROLE_REFUSED;
}

/* Like availability_wait_settled, but it also waits for a worker that is away for a moment. */
static void
wait_settled(struct availability *availability)
{
    uint32 wait_event = shared == NULL ? 0 : compat_wait_event("LedgerEngineStart");
    for (int look = 0;; look++) {
        availability_wait_settled(availability);
        if (availability->role != ROLE_STOPPED || shared == NULL) break;
        if (shared_worker_state() != WORKER_STOPPED || look == RESTART_LOOKS) break;
        (void) ConditionVariableTimedSleep(
            &shared->worker_state_changed, RESTART_LOOK_MS, wait_event);
    }
    if (shared != NULL) (void) ConditionVariableCancelSleep();
}

/*
 * Asks the worker, if it is in a state to take the command. Returns true if it did, and `command`
 * has the result. Otherwise returns false, and `availability` says why.
 */
static bool
ask(struct command *command, struct availability *availability)
{
    for (;;) {
        wait_settled(availability);
        if (!takes_commands(availability)) return false;
        if (command->kind == COMMAND_CREATE && availability->role != ROLE_NONE) return false;
        if (command_run(command)) return true;
    }
}

static void
report(int level, const char *message, const struct refusal *why)
{
    const int sqlstate =
        why->sqlstate == 0 ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE : why->sqlstate;
    ereport(
        level,
        errcode(level >= ERROR ? sqlstate : ERRCODE_WARNING),
        message == NULL         ? errmsg("%s", why->message)
        : why->message[0] == 0  ? errmsg("%s", message)
                                : errmsg("%s: %s", message, why->message),
        why->detail[0] == '\0' ? 0 : errdetail("%s", why->detail),
        why->hint[0] == '\0' ? 0 : errhint("%s", why->hint));
}

static void
check_superuser(const char *function_name)
{
    if (superuser()) return;
    ereport(
        ERROR,
        errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
        errmsg("must be superuser to call %s()", function_name));
}

static void
check_allowed(const char *function_name)
{
    if (shared == NULL) availability_raise();
    check_superuser(function_name);
    PreventCommandDuringRecovery(function_name);
    PreventCommandIfReadOnly(function_name);
    PreventCommandIfParallelMode(function_name);
}

/* ---- A new ledger ---------------------------------------------------------------------------- */

static void
tell_created(void)
{
    ereport(
        NOTICE,
        errmsg("created an empty ledger in \"%s\"", settings_data_directory),
        errdetail(
            "It stays, also if the transaction is rolled back or the extension is dropped. "
            "Back it up together with \"%s/" IDENTITY_FILE "\".",
            DataDir));
    if (!directory_is_elsewhere(settings_data_directory)) return;
    ereport(
        WARNING,
        errmsg("the ledger's data directory and PGDATA are on different file systems"),
        errdetail(
            "The ledger is in \"%s\", and PGDATA is \"%s\". Where only one of the two is kept, mounted or backed up, as by a container with a volume for PGDATA alone, the other is lost.",
            settings_data_directory,
            DataDir),
        errhint("If both are kept, all is well. Otherwise drop what is empty still, set ledger.data_directory, and see \"Containers\" in doc/operations.md."));
}

static Datum
uuid_datum(u128 value)
{
    pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
    convert_u128_to_uuid(value, uuid);
    return UUIDPGetDatum(uuid);
}

pg_attribute_noreturn()
static void
raise_exists(void)
{
    ereport(
        ERROR,
        errcode(ERRCODE_DUPLICATE_OBJECT),
        errmsg("this server has a ledger already"),
        errdetail("It is in \"%s\".", settings_data_directory),
        errhint("There is one ledger for each server, whatever the number of its databases."));
}

Datum
ledger_create_ledger(PG_FUNCTION_ARGS)
{
    struct command command = {.kind = COMMAND_CREATE};
    struct availability availability;
    check_allowed("ledger.create_ledger");
    if (!ask(&command, &availability)) {
        if (availability.role == ROLE_PRIMARY) raise_exists();
        if (availability.role == ROLE_REFUSED) {
            report(ERROR, "could not create a ledger", &availability.why);
        }
        availability_raise();
    }
    if (!command.done) report(ERROR, "could not create a ledger", &command.why);
    tell_created();
    availability_wait_running();
    PG_RETURN_DATUM(uuid_datum(command.ledger));
}

/* ---- Another's ledger ------------------------------------------------------------------------ */

/* The engine is running already. Either that was wanted, or it has another ledger. */
static void
adopt_running(u128 ledger)
{
    char wanted[IDENTITY_UUID_TEXT_SIZE];
    char running[IDENTITY_UUID_TEXT_SIZE];
    struct monitor *monitor = palloc(sizeof(struct monitor));
    (void) monitor_get(monitor);
    identity_uuid_text(ledger, wanted);
    identity_uuid_text(monitor->identity.cluster, running);
    if (monitor->identity.cluster == ledger) {
        ereport(NOTICE, errmsg("ledger %s is this server's already", wanted));
        return;
    }
    ereport(
        ERROR,
        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
        errmsg("this server has another ledger"),
        errdetail("It has ledger %s, in \"%s\".", running, settings_data_directory),
        errhint(
            "To adopt ledger %s instead, set ledger.data_directory to its directory, restart the server, and call ledger.adopt() again.",
            wanted));
}

Datum
ledger_adopt(PG_FUNCTION_ARGS)
{
    struct command command = {.kind = COMMAND_ADOPT};
    struct availability availability;
    check_allowed("ledger.adopt");
    if (PG_ARGISNULL(0)) convert_raise_null("ledger");
    command.ledger = convert_uuid_to_u128(PG_GETARG_DATUM(0));
    if (!ask(&command, &availability)) {
        if (availability.role != ROLE_PRIMARY) availability_raise();
        adopt_running(command.ledger);
        PG_RETURN_VOID();
    }
    if (!command.done) report(ERROR, "could not adopt the ledger", &command.why);
    ereport(
        NOTICE,
        errmsg("adopted the ledger in \"%s\"", settings_data_directory),
        errdetail(
            "It can no longer be opened with the PGDATA that had it. Back it up together with "
            "\"%s/" IDENTITY_FILE "\".",
            DataDir));
    availability_wait_running();
    PG_RETURN_VOID();
}

/* ---- CREATE EXTENSION ------------------------------------------------------------------------ */

static bool
has_schema_clause(const CreateExtensionStmt *statement)
{
    ListCell *cell;
    foreach (cell, statement->options) {
        if (strcmp(lfirst_node(DefElem, cell)->defname, "schema") == 0) return true;
    }
    return false;
}

/* Warns that this statement, or something before it, says that the ledger is somewhere else. */
static void
warn_of_awaited(const struct refusal *why, bool is_of_dump)
{
    struct refusal awaited = *why;
    if (is_of_dump) {
        refusal_detail(
            &awaited,
            "CREATE EXTENSION with a SCHEMA clause is what pg_dump writes, and a dump does not contain the ledger. If this is a restored database, its accounts and transfers are in the data directory of the server that was dumped.");
    } else {
        refusal_detail(
            &awaited,
            "The file \"%s/" AWAITED_FILE
            "\" says that this server was upgraded, or that the extension was made by a dump, or before the library was preloaded. After an upgrade or a dump, its accounts and transfers are in the data directory of the server of before.",
            DataDir);
    }
    report(WARNING, "no ledger was created", &awaited);
}

/*
 * Makes a ledger, if the statement asks for one. Whatever comes of that, the extension stays: the
 * ledger can be asked for again.
 */
static void
on_extension_created(const CreateExtensionStmt *statement)
{
    struct command command = {.kind = COMMAND_CREATE};
    struct availability availability;
    const bool is_of_dump = has_schema_clause(statement);
    if (is_of_dump) awaited_put();
    if (is_of_dump || awaited_is_put()) {
        wait_settled(&availability);
        if (availability.role == ROLE_NONE) {
            warn_of_awaited(&availability.why, is_of_dump);
            return;
        }
    } else if (ask(&command, &availability)) {
        if (command.done) {
            tell_created();
            wait_settled(&availability);
        } else {
            report(WARNING, "no ledger was created", &command.why);
        }
        return;
    }
    if (availability.role != ROLE_PRIMARY) {
        report(WARNING, "there is no ledger to work with", &availability.why);
    }
}

static void
lifecycle_process_utility( /* NOLINT(readability-function-size): the server calls it. */
    PlannedStmt *planned,
    const char *query_string,
    bool read_only_tree,
    ProcessUtilityContext context,
    ParamListInfo parameters,
    QueryEnvironment *environment,
    DestReceiver *destination,
    QueryCompletion *completion)
{
    const Node *node = planned->utilityStmt;
    bool creates = false;
    if (IsA(node, CreateExtensionStmt)) {
        const CreateExtensionStmt *statement = (const CreateExtensionStmt *) node;
        creates = strcmp(statement->extname, "ledger") == 0 &&
                  !OidIsValid(get_extension_oid("ledger", true));
    }
    (previous_process_utility != NULL ? previous_process_utility : standard_ProcessUtility)(
        planned,
        query_string,
        read_only_tree,
        context,
        parameters,
        environment,
        destination,
        completion);
    if (!creates || !OidIsValid(get_extension_oid("ledger", true))) return;
    on_extension_created((const CreateExtensionStmt *) planned->utilityStmt);
}

void
lifecycle_install(void)
{
    previous_process_utility = ProcessUtility_hook;
    ProcessUtility_hook = lifecycle_process_utility;
}
