/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/sql/ask.h"

#include "miscadmin.h"
#include "tcop/utility.h"

#include "pg/shared.h"

/* A worker that ends and is started again, as after a reload, is away for about a second. */
#define RESTART_LOOKS   50
#define RESTART_LOOK_MS 100

static bool
takes(const struct availability *availability, enum command_kind kind)
{
    if (kind == COMMAND_CHANGE) return availability->role == ROLE_PRIMARY;
    return availability->role == ROLE_NONE || availability->role == ROLE_REFUSED;
}

void
ask_wait_settled(struct availability *availability)
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

bool
ask_worker(struct command *command, struct availability *availability)
{
    for (;;) {
        ask_wait_settled(availability);
        if (!takes(availability, command->kind)) return false;
        if (command->kind == COMMAND_CREATE && availability->role != ROLE_NONE) return false;
        if (command_run(command)) return true;
    }
}

static int
sqlstate_of(int level, const struct refusal *why)
{
    if (level < WARNING) return ERRCODE_SUCCESSFUL_COMPLETION;
    if (level < ERROR) return ERRCODE_WARNING;
    return why->sqlstate == 0 ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE : why->sqlstate;
}

void
ask_report(int level, const char *message, const struct refusal *why)
{
    ereport(
        level,
        errcode(sqlstate_of(level, why)),
        message == NULL         ? errmsg("%s", why->message)
        : why->message[0] == 0  ? errmsg("%s", message)
                                : errmsg("%s: %s", message, why->message),
        why->detail[0] == '\0' ? 0 : errdetail("%s", why->detail),
        why->hint[0] == '\0' ? 0 : errhint("%s", why->hint));
}

void
ask_check_superuser(const char *function_name)
{
    if (superuser()) return;
    ereport(
        ERROR,
        errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
        errmsg("must be superuser to call %s()", function_name));
}

void
ask_check_allowed(const char *function_name)
{
    if (shared == NULL) availability_raise();
    ask_check_superuser(function_name);
    PreventCommandDuringRecovery(function_name);
    PreventCommandIfReadOnly(function_name);
    PreventCommandIfParallelMode(function_name);
}
