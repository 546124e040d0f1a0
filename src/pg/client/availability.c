/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/client/availability.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/worker/refusal.h"
#include "pg/worker/worker.h"

/*
 * A worker that hasn't begun by then won't begin. The time counts from the first look of any
 * session, so only sessions of that time wait.
 */
#define START_WAIT_MS 10000
/* How often to look again. A change is noticed at once. */
#define LOOK_MS 1000

const char *
availability_role_name(enum availability_role role)
{
    switch (role) {
    case ROLE_PRIMARY: return "primary";
    case ROLE_STARTING: return "starting";
    case ROLE_OPENING: return "opening";
    case ROLE_STANDBY: return "standby";
    case ROLE_NONE: return "none";
    case ROLE_REFUSED: return "refused";
    case ROLE_STOPPED: return "stopped";
    }
    unreachable();
}

/* ---- Why ------------------------------------------------------------------------------------- */

static void
why_not_preloaded(struct refusal *why)
{
    why->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    refusal_message(why, "the ledger library is not preloaded");
    refusal_detail(why, "The ledger engine runs in a process that starts with the server.");
    refusal_hint(
        why,
        "Add the line shared_preload_libraries = 'ledger' to postgresql.conf and restart the server. If the line exists, add ledger to its list.");
}

static void
why_standby(struct refusal *why)
{
    refusal_message(why, "ledger engine is not running on a standby");
    refusal_detail(
        why, "The server is in recovery. The engine starts when recovery has ended.");
    refusal_hint(why, "Connect to the primary.");
}

static void
why_not_started(struct refusal *why)
{
    if (!IsUnderPostmaster) {
        refusal_message(why, "ledger engine does not run in single-user mode");
        refusal_hint(why, "Start the server as usual.");
        return;
    }
    refusal_message(why, "ledger engine has not been started");
    refusal_detail(why, "The server has not started the background worker \"ledger engine\".");
    refusal_hint(
        why,
        "Increase max_worker_processes (it is %d) and restart the server. "
        "If that does not help, see the server log.",
        max_worker_processes);
}

static void
why_stopped(struct refusal *why)
{
    refusal_message(why, "ledger engine is not running");
    refusal_detail(why, "It is stopping, or starting again.");
    refusal_hint(why, "Retry. If it persists, see the server log.");
}

/* Returns true if the worker should have begun, and has had the time to. */
static bool
start_is_overdue(void)
{
    const uint64 now = (uint64) GetCurrentTimestamp();
    uint64 first = 0;
    if (!worker_is_registered()) return true;
    if (pg_atomic_compare_exchange_u64(&shared->start_awaited_since, &first, now)) return false;
    return now > first + START_WAIT_MS * UINT64CONST(1000);
}

/*
 * The worker publishes a refusal before it sets the state: what is copied in between would be of
 * two states. False: there is no shared memory.
 */
static bool
state_with_refusal(enum worker_state *state, struct refusal *why)
{
    if (!monitor_refusal_get(why)) return false;
    for (;;) {
        *state = shared_worker_state();
        (void) monitor_refusal_get(why);
        if (shared_worker_state() == *state) return true;
        CHECK_FOR_INTERRUPTS();
    }
}

void
availability_get(struct availability *availability)
{
    struct refusal *why = &availability->why;
    enum worker_state state = WORKER_STARTING;
    memset(availability, 0, sizeof(*availability));
    if (!state_with_refusal(&state, why)) {
        availability->role = ROLE_STOPPED;
        why_not_preloaded(why);
        return;
    }
    switch (state) {
    case WORKER_STARTING:
        if (RecoveryInProgress() && !settings_has_node()) {
            availability->role = ROLE_STANDBY;
            why_standby(why);
        } else if (start_is_overdue()) {
            availability->role = ROLE_STOPPED;
            why_not_started(why);
        } else {
            availability->role = ROLE_STARTING;
        }
        return;
    case WORKER_OPENING: availability->role = ROLE_OPENING; return;
    case WORKER_RUNNING: availability->role = ROLE_PRIMARY; return;
    case WORKER_NONE: availability->role = ROLE_NONE; return;
    case WORKER_REFUSED:
        availability->role = ROLE_REFUSED;
        availability->engine_says = true;
        return;
    case WORKER_STOPPED:
        availability->role = ROLE_STOPPED;
        availability->engine_says = why->message[0] != '\0';
        if (!availability->engine_says) why_stopped(why);
        return;
    }
    unreachable();
}

/* ---- Waiting and raising --------------------------------------------------------------------- */

static void
raise_why(const struct availability *availability)
{
    const struct refusal *why = &availability->why;
    const bool engine_says = availability->engine_says;
    const char *message = engine_says ? "ledger engine is not running" : why->message;
    const int sqlstate = shared == NULL ? why->sqlstate : ERRCODE_CANNOT_CONNECT_NOW;
    ereport(
        ERROR,
        errcode(sqlstate),
        errmsg("%s", message),
        engine_says              ? errdetail("The reason: %s. %s", why->message, why->detail)
        : why->detail[0] == '\0' ? 0
                                 : errdetail("%s", why->detail),
        why->hint[0] == '\0' ? errhint("Retry. If it persists, see the server log.")
                             : errhint("%s", why->hint));
}

void
availability_raise(void)
{
    struct availability availability;
    availability_get(&availability);
    if (availability.role <= ROLE_OPENING) {
        /* The worker has just come back. The engine before it had not taken the call. */
        memset(&availability, 0, sizeof(availability));
        availability.role = ROLE_STOPPED;
        why_stopped(&availability.why);
    }
    raise_why(&availability);
    pg_unreachable();
}

void
availability_wait_settled(struct availability *availability)
{
    static uint32 wait_event;
    if (wait_event == 0 && shared != NULL) wait_event = compat_wait_event("LedgerEngineStart");
    for (;;) {
        availability_get(availability);
        if (availability->role != ROLE_STARTING && availability->role != ROLE_OPENING) break;
        (void) ConditionVariableTimedSleep(&shared->worker_state_changed, LOOK_MS, wait_event);
    }
    if (shared != NULL) (void) ConditionVariableCancelSleep();
}

void
availability_wait_running(void)
{
    struct availability availability;
    availability_wait_settled(&availability);
    if (availability.role != ROLE_PRIMARY) raise_why(&availability);
}
