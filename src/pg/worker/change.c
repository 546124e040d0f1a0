/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/change.h"

#include "pg/settings.h"
#include "pg/worker/refusal.h"

/* How long a view that was given up is waited for. */
/* So long the end of a server waits until another node leads. */
#define STEP_DOWN_WAIT_MS 1000

/* ---- Words for results ----------------------------------------------------------------------- */

/* The texts have at most one name in them, that of the node that the change is about. */
struct change_error {
    int sqlstate;
    const char *message;
    const char *detail;
    const char *hint;
};

#define DETAIL_UNCHANGED "Nothing was changed."

static const struct change_error errors[] = {
    [ENGINE_CHANGE_BUSY] =
        {ERRCODE_OBJECT_IN_USE,
         "another change of the cluster's members is under way",
         DETAIL_UNCHANGED,
         "There is one at a time. Wait for it, then call again."},
    [ENGINE_CHANGE_FULL] =
        {ERRCODE_PROGRAM_LIMIT_EXCEEDED,
         "the cluster has no room for node \"%s\"",
         "A cluster has at most 12 members, and 6 of them may vote.",
         "Remove a node first: ledger.cluster_remove()."},
    [ENGINE_CHANGE_LOG] =
        {ERRCODE_FEATURE_NOT_SUPPORTED,
         "the log does not reach back to the ledger's beginning",
         "A new member is brought up from the log, and its oldest entries were overwritten.",
         "In this version nodes are added while the log still has everything. "
         "ledger.wal_size is what it holds, and is set before the ledger is made."},
    [ENGINE_CHANGE_NOT_CLUSTER] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "this ledger is not a cluster yet",
         DETAIL_UNCHANGED,
         "SELECT ledger.cluster_create() makes it one."},
    [ENGINE_CHANGE_SELF] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "node \"%s\" is the cluster's primary, and does not remove itself",
         DETAIL_UNCHANGED,
         "Call ledger.cluster_step_down() at that node, then ledger.cluster_remove() again."},
    [ENGINE_CHANGE_NO_ROOM] =
        {ERRCODE_INSUFFICIENT_RESOURCES,
         "memory or disk of the cluster's primary are full",
         DETAIL_UNCHANGED,
         "Increase ledger.memory, or make room in the file system of ledger.data_directory. "
         "Then call again."},
    [ENGINE_CHANGE_FAILED] =
        {ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
         "it is unknown whether the cluster's members were changed",
         "The primary has changed, or the engine has stopped, before the change was acknowledged.",
         "See ledger.cluster, and call again if it was not."},
};

static const struct change_error errors_exists[] = {
    [ENGINE_CHANGE_CREATE] =
        {ERRCODE_DUPLICATE_OBJECT,
         "this ledger is a cluster already",
         DETAIL_UNCHANGED,
         "ledger.cluster_add() adds a node. ledger.cluster shows its members."},
    [ENGINE_CHANGE_ADD] =
        {ERRCODE_DUPLICATE_OBJECT,
         "node \"%s\" is a member of the cluster already",
         DETAIL_UNCHANGED,
         "If it has lost its directory, remove it first: ledger.cluster_remove()."},
};

static const struct change_error errors_unknown[] = {
    [ENGINE_CHANGE_ADD] =
        {ERRCODE_UNDEFINED_OBJECT,
         "node \"%s\" is not connected",
         "A node can be added while its server runs, has no ledger of its own, and reaches this one.",
         "Check its ledger.node_name, its ledger.nodes and its server log. "
         "ledger.cluster shows nodes that wait to be added as guests."},
    [ENGINE_CHANGE_REMOVE] =
        {ERRCODE_UNDEFINED_OBJECT,
         "node \"%s\" is not a member of the cluster",
         DETAIL_UNCHANGED,
         "ledger.cluster shows the members."},
};

static const struct change_error errors_last[] = {
    [ENGINE_CHANGE_STEP_DOWN] =
        {ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
         "there is no other node that could be the primary",
         DETAIL_UNCHANGED,
         "ledger.cluster shows which nodes can be reached."},
};

static const struct change_error error_step_down = {
    ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN,
    "no other node has become the primary yet",
    "This one has stepped down. Another one may follow, or it is the primary again.",
    "ledger.cluster shows who leads."};

static const struct change_error *
error_of(uint8_t kind, enum engine_change_result result)
{
    if (kind == ENGINE_CHANGE_STEP_DOWN && result == ENGINE_CHANGE_FAILED) return &error_step_down;
    switch (result) {
    case ENGINE_CHANGE_EXISTS:
        assert(kind < lengthof(errors_exists));
        return &errors_exists[kind];
    case ENGINE_CHANGE_UNKNOWN:
        assert(kind < lengthof(errors_unknown));
        return &errors_unknown[kind];
    case ENGINE_CHANGE_LAST:
        assert(kind < lengthof(errors_last));
        return &errors_last[kind];
    case ENGINE_CHANGE_BUSY:
    case ENGINE_CHANGE_FULL:
    case ENGINE_CHANGE_LOG:
    case ENGINE_CHANGE_SELF:
    case ENGINE_CHANGE_NOT_CLUSTER:
    case ENGINE_CHANGE_NO_ROOM:
    case ENGINE_CHANGE_FAILED: return &errors[result];
    case ENGINE_CHANGE_DONE:
    case ENGINE_CHANGE_NOT_PRIMARY: break;
    }
    unreachable();
}

static void
say_not_primary(struct refusal *why, const struct engine_cluster *cluster)
{
    why->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    refusal_message(why, "node \"%s\" is not the cluster's primary", settings_node_name);
    if (cluster->primary >= 0) {
        const char *primary = cluster->members[cluster->primary].name;
        refusal_detail(why, "The primary is node \"%s\". " DETAIL_UNCHANGED, primary);
        refusal_hint(why, "Call it there.");
    } else if (!monitor_is_member(cluster)) {
        refusal_message(why, "node \"%s\" is not a member of its cluster", settings_node_name);
        refusal_detail(why, MONITOR_OUTSIDE_DETAIL " " DETAIL_UNCHANGED);
        refusal_hint(why, MONITOR_OUTSIDE_HINT);
    } else {
        refusal_detail(
            why,
            "There is no primary at present: %u of %u nodes can be reached. " DETAIL_UNCHANGED,
            cluster->reachable,
            cluster->voters);
        refusal_hint(why, "Retry when ledger.cluster shows one.");
    }
}

static void
say_why(struct change *change)
{
    const enum engine_change_result result = change->change.result;
    struct refusal *why = &change->command.why;
    if (result == ENGINE_CHANGE_NOT_PRIMARY) {
        struct engine_cluster cluster;
        engine_cluster_get(change->engine, &cluster);
        say_not_primary(why, &cluster);
        return;
    }
    const struct change_error *error = error_of(change->change.kind, result);
    assert(error->message != NULL);
    why->sqlstate = error->sqlstate;
    /* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of the texts above. */
    refusal_message(why, error->message, change->command.name);
    strlcpy(why->detail, error->detail, sizeof(why->detail));
    strlcpy(why->hint, error->hint, sizeof(why->hint));
}

/* ---- Carrying out ---------------------------------------------------------------------------- */

static void
answer(struct change *change, enum engine_change_result result)
{
    change->running = false;
    if (change->unasked) return;
    change->change.result = result;
    change->command.done = result == ENGINE_CHANGE_DONE;
    if (!change->command.done) say_why(change);
    command_finish(&change->command);
}

static void
on_answer(struct engine_change *members_change)
{
    struct change *change = container_of(members_change, struct change, change);
    answer(change, members_change->result);
}

static void
step_down(struct change *change, uint64 now_ns)
{
    struct engine_cluster cluster;
    engine_cluster_get(change->engine, &cluster);
    change->view = cluster.view;
    const uint64 wait_ms = change->unasked ? STEP_DOWN_WAIT_MS : change->command.wait_ms;
    change->deadline_ns = wait_ms == 0 ? UINT64_MAX : now_ns + wait_ms * NS_PER_MS;
    if (!cluster.is_cluster) {
        answer(change, ENGINE_CHANGE_NOT_CLUSTER);
    } else if (!monitor_is_primary(&cluster)) {
        answer(change, ENGINE_CHANGE_NOT_PRIMARY);
    } else if (!engine_resign(change->engine)) {
        answer(change, ENGINE_CHANGE_LAST);
    }
}

/* It has ended when somebody leads a newer view. That may be this node again. */
static void
step_down_tick(struct change *change, uint64 now_ns)
{
    struct engine_cluster cluster;
    engine_cluster_get(change->engine, &cluster);
    if (cluster.view != change->view && cluster.primary >= 0) {
        answer(change, ENGINE_CHANGE_DONE);
    } else if (now_ns > change->deadline_ns) {
        answer(change, ENGINE_CHANGE_FAILED);
    }
}

static void
begin(struct change *change, struct engine *engine, uint64 now_ns)
{
    const enum engine_change_kind kind = change->command.change;
    assert(!change->running);
    change->engine = engine;
    change->running = true;
    change->led_ns = now_ns;
    change->change = (struct engine_change){.kind = (uint8) kind, .callback = on_answer};
    strlcpy(change->change.name, change->command.name, sizeof(change->change.name));
    if (kind == ENGINE_CHANGE_STEP_DOWN) {
        step_down(change, now_ns);
    } else {
        engine_change_members(engine, &change->change);
    }
}

/* Gives a change up that has waited long enough for a primary, or that nobody waits for. */
static void
running_tick(struct change *change, uint64 now_ns)
{
    struct engine_cluster cluster;
    if (change->change.kind == ENGINE_CHANGE_STEP_DOWN) {
        step_down_tick(change, now_ns);
    } else {
        const uint64 wait_ns = change->command.wait_ms * NS_PER_MS;
        engine_cluster_get(change->engine, &cluster);
        if (cluster.primary >= 0) change->led_ns = now_ns;
        if (wait_ns > 0 && now_ns - change->led_ns >= wait_ns) change_end(change);
    }
    if (change->running && !change->unasked && command_abandoned()) change_end(change);
}

void
change_tick(struct change *change, struct engine *engine, uint64 now_ns)
{
    if (change->running) {
        running_tick(change, now_ns);
        return;
    }
    if (!command_take(&change->command, true)) return;
    memset(&change->command.why, 0, sizeof(change->command.why));
    change->command.done = false;
    begin(change, engine, now_ns);
}

bool
change_step_down(struct change *change, struct engine *engine, uint64 now_ns)
{
    change_end(change);
    change->unasked = true;
    change->command = (struct command){.change = ENGINE_CHANGE_STEP_DOWN};
    begin(change, engine, now_ns);
    return change->running;
}

bool
change_running(const struct change *change)
{
    return change->running;
}

void
change_end(struct change *change)
{
    if (!change->running) return;
    const bool lent = change->change.kind != ENGINE_CHANGE_STEP_DOWN;
    if (lent && !engine_change_cancel(change->engine, &change->change)) return;
    answer(change, ENGINE_CHANGE_FAILED);
}
