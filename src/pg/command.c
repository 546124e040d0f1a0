/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/command.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "pg/shared.h"

/* How often a waiting session checks that the worker still takes commands. */
#define LOOK_MS 100

void
command_init(struct command_box *box)
{
    memset(box, 0, sizeof(*box));
    SpinLockInit(&box->mutex);
    ConditionVariableInit(&box->changed);
}

/* Changes the state to `to` if it is `from`. Returns true if it was. */
static bool
change(struct command_box *box, enum command_state from, enum command_state to)
{
    SpinLockAcquire(&box->mutex);
    const bool changed = box->state == from;
    if (changed) box->state = to;
    SpinLockRelease(&box->mutex);
    return changed;
}

static enum command_state
state_of(struct command_box *box)
{
    SpinLockAcquire(&box->mutex);
    const enum command_state state = box->state;
    SpinLockRelease(&box->mutex);
    return state;
}

/* ---- For sessions ---------------------------------------------------------------------------- */

/* However the session leaves, the box is free again, now or when the worker is done with it. */
static void
leave(int code, Datum argument)
{
    struct command_box *box = &shared->command_box;
    SpinLockAcquire(&box->mutex);
    if (box->state == COMMAND_RUNNING) {
        box->abandoned = true;
    } else {
        box->state = COMMAND_FREE;
    }
    SpinLockRelease(&box->mutex);
    ConditionVariableBroadcast(&box->changed);
}

static void
acquire(struct command_box *box, const struct command *command, uint32 wait_event)
{
    for (;;) {
        SpinLockAcquire(&box->mutex);
        const bool acquired = box->state == COMMAND_FREE;
        if (acquired) {
            box->command = *command;
            box->abandoned = false;
            box->state = COMMAND_ASKED;
        }
        SpinLockRelease(&box->mutex);
        if (acquired) break;
        (void) ConditionVariableTimedSleep(&box->changed, LOOK_MS, wait_event);
    }
    (void) ConditionVariableCancelSleep();
}

/*
 * Adds to the error of an interrupt (cancel, timeout, terminate), which keeps its own code and
 * message. The worker may have taken the command, and goes on with it.
 */
static void
on_interrupt_error(void *argument)
{
    const struct command *command = argument;
    const int category = ERRCODE_TO_CATEGORY(geterrcode());
    if (category == ERRCODE_TO_CATEGORY(ERRCODE_SUCCESSFUL_COMPLETION)) return;
    if (category == ERRCODE_TO_CATEGORY(ERRCODE_WARNING)) return;
    (void) errdetail("Whether it was carried out is unknown.");
    (void) errhint(
        command->kind == COMMAND_CHANGE ? "See ledger.cluster. Repeating it is safe."
                                        : "See ledger.status. Repeating it is safe.");
}

static bool
worker_takes(enum command_kind kind)
{
    const enum worker_state state = shared_worker_state();
    if (kind == COMMAND_CHANGE) return state == WORKER_RUNNING;
    return state == WORKER_NONE || state == WORKER_REFUSED;
}

/*
 * Waits. True: the command was carried out. False: the worker takes no commands now, and the
 * command was taken back.
 */
static bool
wait_done(struct command_box *box, struct command *command, uint32 wait_event)
{
    ErrorContextCallback callback = {
        .previous = error_context_stack,
        .callback = on_interrupt_error,
        .arg = command,
    };
    for (;;) {
        const enum command_state state = state_of(box);
        if (state == COMMAND_DONE) break;
        if (state == COMMAND_ASKED && !worker_takes(command->kind) &&
            change(box, COMMAND_ASKED, COMMAND_FREE)) {
            ConditionVariableBroadcast(&box->changed);
            return false;
        }
        error_context_stack = &callback;
        (void) ConditionVariableTimedSleep(&box->changed, LOOK_MS, wait_event);
        error_context_stack = callback.previous;
    }
    return true;
}

bool
command_run(struct command *command)
{
    static uint32 wait_event;
    struct command_box *box = &shared->command_box;
    bool done = false;
    if (wait_event == 0) wait_event = compat_wait_event("LedgerCommand");
    acquire(box, command, wait_event);
    PG_ENSURE_ERROR_CLEANUP(leave, (Datum) 0);
    {
        shared_wake_worker(false);
        done = wait_done(box, command, wait_event);
        if (done) *command = box->command;
    }
    PG_END_ENSURE_ERROR_CLEANUP(leave, (Datum) 0);
    (void) ConditionVariableCancelSleep();
    if (done) leave(0, (Datum) 0);
    return done;
}

/* ---- For the worker -------------------------------------------------------------------------- */

bool
command_take(struct command *command, bool has_engine)
{
    struct command_box *box = &shared->command_box;
    SpinLockAcquire(&box->mutex);
    const bool taken =
        box->state == COMMAND_ASKED && (box->command.kind == COMMAND_CHANGE) == has_engine;
    if (taken) box->state = COMMAND_RUNNING;
    SpinLockRelease(&box->mutex);
    if (taken) *command = box->command;
    return taken;
}

void
command_finish(const struct command *command)
{
    struct command_box *box = &shared->command_box;
    assert(state_of(box) == COMMAND_RUNNING);
    box->command = *command;
    SpinLockAcquire(&box->mutex);
    box->state = box->abandoned ? COMMAND_FREE : COMMAND_DONE;
    SpinLockRelease(&box->mutex);
    ConditionVariableBroadcast(&box->changed);
}

bool
command_abandoned(void)
{
    struct command_box *box = &shared->command_box;
    SpinLockAcquire(&box->mutex);
    const bool abandoned = box->abandoned;
    SpinLockRelease(&box->mutex);
    return abandoned;
}

void
command_lose(void)
{
    struct command_box *box = &shared->command_box;
    if (state_of(box) != COMMAND_RUNNING) return;
    struct command lost = {
        .kind = box->command.kind,
        .why = {.sqlstate = ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN},
    };
    strlcpy(
        lost.why.message,
        "the ledger engine stopped while it worked on the command",
        sizeof(lost.why.message));
    strlcpy(
        lost.why.detail,
        lost.kind == COMMAND_CHANGE
            ? "Whether it was carried out, ledger.cluster shows when the engine has started again."
            : "Whether it was carried out, ledger.status shows when the engine has started again.",
        sizeof(lost.why.detail));
    strlcpy(
        lost.why.hint,
        "Repeating it is safe: what was carried out is refused the second time.",
        sizeof(lost.why.hint));
    command_finish(&lost);
}
