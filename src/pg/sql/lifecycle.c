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
#include "pg/sql/ask.h"
#include "pg/worker/awaited.h"
#include "pg/worker/directory.h"
#include "pg/worker/identity.h"
#include "pg/worker/refusal.h"

PG_FUNCTION_INFO_V1(ledger_create_ledger);
PG_FUNCTION_INFO_V1(ledger_adopt);

static ProcessUtility_hook_type previous_process_utility;

/* ---- A new ledger ---------------------------------------------------------------------------- */

void
lifecycle_tell_created(void)
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

/* A node of a cluster gets its ledger from the others, or makes it as a cluster's first node. */
static void
check_alone(void)
{
    struct availability availability;
    if (!settings_has_node()) return;
    ask_wait_settled(&availability);
    if (availability.role != ROLE_NONE) return;
    ask_report(ERROR, "could not create a ledger", &availability.why);
}

Datum
ledger_create_ledger(PG_FUNCTION_ARGS)
{
    struct command command = {.kind = COMMAND_CREATE};
    struct availability availability;
    ask_check_allowed("ledger.create_ledger");
    check_alone();
    if (!ask_worker(&command, &availability)) {
        if (availability.role == ROLE_PRIMARY) raise_exists();
        if (availability.role == ROLE_REFUSED) {
            ask_report(ERROR, "could not create a ledger", &availability.why);
        }
        availability_raise();
    }
    if (!command.done) ask_report(ERROR, "could not create a ledger", &command.why);
    lifecycle_tell_created();
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
    ask_check_allowed("ledger.adopt");
    if (PG_ARGISNULL(0)) convert_raise_null("ledger");
    command.ledger = convert_uuid_to_u128(PG_GETARG_DATUM(0));
    if (!ask_worker(&command, &availability)) {
        if (availability.role != ROLE_PRIMARY) availability_raise();
        adopt_running(command.ledger);
        PG_RETURN_VOID();
    }
    if (!command.done) ask_report(ERROR, "could not adopt the ledger", &command.why);
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
    ask_report(WARNING, "no ledger was created", &awaited);
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
    if (settings_has_node()) {
        ask_wait_settled(&availability);
        if (availability.role == ROLE_NONE) {
            ask_report(NOTICE, NULL, &availability.why);
            return;
        }
    }
    if (is_of_dump) awaited_put();
    if (is_of_dump || awaited_is_put()) {
        ask_wait_settled(&availability);
        if (availability.role == ROLE_NONE) {
            warn_of_awaited(&availability.why, is_of_dump);
            return;
        }
    } else if (ask_worker(&command, &availability)) {
        if (command.done) {
            lifecycle_tell_created();
            ask_wait_settled(&availability);
        } else {
            ask_report(WARNING, "no ledger was created", &command.why);
        }
        return;
    }
    if (availability.role != ROLE_PRIMARY) {
        ask_report(WARNING, "there is no ledger to work with", &availability.why);
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
