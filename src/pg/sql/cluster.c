/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/sql/cluster.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "os/network_address.h"
#include "pg/client/availability.h"
#include "pg/client/convert.h"
#include "pg/command.h"
#include "pg/monitor_shared.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/sql/ask.h"
#include "pg/sql/lifecycle.h"

PG_FUNCTION_INFO_V1(ledger_cluster_create);
PG_FUNCTION_INFO_V1(ledger_cluster_add);
PG_FUNCTION_INFO_V1(ledger_cluster_remove);
PG_FUNCTION_INFO_V1(ledger_cluster_step_down);
PG_FUNCTION_INFO_V1(ledger_cluster);

/* ---- Changes --------------------------------------------------------------------------------- */

/*
 * The cluster's members aren't PostgreSQL's: on a standby they may be changed too, where every
 * transaction is read-only.
 */
static void
check_allowed(const char *function_name)
{
    if (shared == NULL) availability_raise();
    ask_check_superuser(function_name);
    if (!RecoveryInProgress()) PreventCommandIfReadOnly(function_name);
    PreventCommandIfParallelMode(function_name);
    if (settings_has_node()) return;
    ereport(
        ERROR,
        errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
        errmsg("this server is not a node of a cluster"),
        errdetail("ledger.node_name is not set."),
        errhint("Set ledger.node_name and ledger.nodes in postgresql.conf, and restart the server."));
}

/* Fills in the name that a caller gave, if a node can have it. */
static void
take_name(FunctionCallInfo fcinfo, char name[NETWORK_NAME_SIZE])
{
    if (PG_ARGISNULL(0)) convert_raise_null("name");
    const char *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
    if (!network_name_valid(given)) {
        ereport(
            ERROR,
            errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("a node cannot have the name \"%s\"", given),
            errdetail(MONITOR_NAME_DETAIL));
    }
    strlcpy(name, given, NETWORK_NAME_SIZE);
}

/* Has the worker do it, and waits until it is done. */
static void
change_members(struct command *command, const char *failure)
{
    struct availability availability;
    command->kind = COMMAND_CHANGE;
    command->wait_ms = (uint32) settings_quorum_wait_ms;
    if (!ask_worker(command, &availability)) availability_raise();
    if (!command->done) ask_report(ERROR, failure, &command->why);
}

Datum
ledger_cluster_create(PG_FUNCTION_ARGS)
{
    struct command create = {.kind = COMMAND_CREATE};
    struct command change = {.change = ENGINE_CHANGE_CREATE};
    struct availability availability;
    check_allowed("ledger.cluster_create");
    if (ask_worker(&create, &availability)) {
        if (!create.done) ask_report(ERROR, "could not create a ledger", &create.why);
        lifecycle_tell_created();
    }
    strlcpy(change.name, settings_node_name, sizeof(change.name));
    change_members(&change, "could not create a cluster");
    PG_RETURN_VOID();
}

Datum
ledger_cluster_add(PG_FUNCTION_ARGS)
{
    struct command change = {.change = ENGINE_CHANGE_ADD};
    check_allowed("ledger.cluster_add");
    take_name(fcinfo, change.name);
    change_members(&change, "could not add a node");
    PG_RETURN_VOID();
}

Datum
ledger_cluster_remove(PG_FUNCTION_ARGS)
{
    struct command change = {.change = ENGINE_CHANGE_REMOVE};
    check_allowed("ledger.cluster_remove");
    take_name(fcinfo, change.name);
    change_members(&change, "could not remove a node");
    PG_RETURN_VOID();
}

Datum
ledger_cluster_step_down(PG_FUNCTION_ARGS)
{
    struct command change = {.change = ENGINE_CHANGE_STEP_DOWN};
    check_allowed("ledger.cluster_step_down");
    change_members(&change, "could not step down");
    PG_RETURN_VOID();
}

/* ---- The view -------------------------------------------------------------------------------- */

const char *
cluster_state_name(uint8 state)
{
    switch ((enum engine_member_state) state) {
    case ENGINE_MEMBER_PRIMARY: return "primary";
    case ENGINE_MEMBER_BACKUP: return "backup";
    case ENGINE_MEMBER_VIEW_CHANGE: return "view_change";
    case ENGINE_MEMBER_CATCHING_UP: return "catching_up";
    case ENGINE_MEMBER_NO_ROOM: return "no_room";
    case ENGINE_MEMBER_UNREACHABLE: return "unreachable";
    case ENGINE_MEMBER_LOST: return "lost";
    case ENGINE_MEMBER_REFUSED: return "refused";
    case ENGINE_MEMBER_GUEST: return "guest";
    }
    unreachable();
}

/* NULL if the list of nodes doesn't have the name. */
static const char *
address_of(const struct network_nodes *nodes, const char *name)
{
    const uint32 found = network_nodes_find(nodes, name);
    if (found == NETWORK_PEERS_MAX) return NULL;
    char *text = palloc(NETWORK_ADDRESS_SIZE);
    network_address_text(&nodes->nodes[found].address, text);
    return text;
}

static Datum
interval_datum(uint64 ns)
{
    Interval *interval = palloc0(sizeof(Interval));
    interval->time = (TimeOffset) (ns / NS_PER_US);
    return IntervalPGetDatum(interval);
}

#define CLUSTER_COLUMNS 10

static void
put_member(
    ReturnSetInfo *set, const struct monitor *monitor, const struct engine_member *member)
{
    static const char *const roles[] = {"guest", "standby", "voter"};
    Datum values[CLUSTER_COLUMNS] = {0};
    bool nulls[CLUSTER_COLUMNS] = {false};
    const bool is_member = member->state != ENGINE_MEMBER_GUEST;
    const bool is_known = engine_member_answers(member);
    const bool was_heard = !member->self && member->heard_ns != UINT64_MAX;
    const TimestampTz now = GetCurrentTimestamp();
    const uint64 op = monitor->cluster.op;
    const char *address = address_of(&monitor->nodes, member->name);
    assert(member->role < lengthof(roles));
    values[0] = CStringGetTextDatum(member->name);
    values[1] = Int32GetDatum(member->slot);
    nulls[1] = !is_member;
    values[2] = CStringGetTextDatum(roles[member->role]);
    values[3] = CStringGetTextDatum(cluster_state_name(member->state));
    values[4] = BoolGetDatum(member->self);
    if (address != NULL) values[5] = CStringGetTextDatum(address);
    nulls[5] = address == NULL;
    values[6] = Int64GetDatum((int64) member->view);
    values[7] = Int64GetDatum((int64) member->op);
    values[8] = Int64GetDatum((int64) (op > member->op ? op - member->op : 0));
    nulls[6] = !is_member || !is_known;
    /* Members acknowledge to the primary alone. */
    nulls[7] = !is_member || !(member->self || (is_known && monitor_is_primary(&monitor->cluster)));
    nulls[8] = nulls[7];
    nulls[9] = !was_heard;
    if (!nulls[9]) {
        const TimestampTz since = Max(now - monitor->published_at, 0);
        values[9] = interval_datum(member->heard_ns + (uint64) since * NS_PER_US);
    }
    tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

Datum
ledger_cluster(PG_FUNCTION_ARGS)
{
    struct monitor monitor;
    ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
    InitMaterializedSRF(fcinfo, 0);
    if (!monitor_get(&monitor) || monitor.published_at == 0) return (Datum) 0;
    if (!monitor.cluster.is_cluster) return (Datum) 0;
    for (uint32 i = 0; i < monitor.cluster.count; i++) {
        put_member(set, &monitor, &monitor.cluster.members[i]);
    }
    return (Datum) 0;
}
