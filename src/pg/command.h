/* SPDX-License-Identifier: PostgreSQL */
/*
 * Commands to a worker that has no engine: to make a ledger, or to adopt one. The worker owns the
 * files, so a session asks it, through one box in shared memory:
 *
 *     FREE → ASKED       a session: the box is its own until it gives it back
 *     ASKED → RUNNING    the worker
 *     RUNNING → DONE     the worker, after it wrote the result
 *     ASKED, DONE → FREE the session
 *     RUNNING → FREE     the worker, if the session has left meanwhile (`abandoned`)
 *
 * One command at a time; who finds the box taken waits. A session that is cancelled takes back what
 * the worker has not begun; what has begun is carried through, and its outcome is to be seen in
 * ledger.status. A worker that ends answers what it had begun.
 */
#ifndef LEDGER_PG_COMMAND_H
#define LEDGER_PG_COMMAND_H

#include "postgres.h"

#include "storage/condition_variable.h"
#include "storage/spin.h"

#include "pg/monitor_shared.h"

enum command_kind {
    COMMAND_CREATE,
    COMMAND_ADOPT,
};

struct command {
    enum command_kind kind;
    u128 ledger; /* The one to adopt; or, after COMMAND_CREATE, the one that was made. */

    /* The result. */
    bool done;
    struct refusal why; /* If not done. */
};

enum command_state {
    COMMAND_FREE,
    COMMAND_ASKED,
    COMMAND_RUNNING,
    COMMAND_DONE,
};

struct command_box {
    slock_t mutex; /* Guards state and abandoned; whose turn it is owns the rest. */
    enum command_state state;
    bool abandoned;
    struct command command;
    ConditionVariable changed;
};

void command_init(struct command_box *box);

/* ---- For sessions ---------------------------------------------------------------------------- */

/*
 * Has the command carried out. Waits, and can be cancelled. False if the worker has come to a state
 * in which it takes none before it took this one: nothing was done, and the caller looks again.
 */
bool command_run(struct command *command);

/* ---- For the worker -------------------------------------------------------------------------- */

/* The command that was asked for, if one was: it is to be answered. */
bool command_take(struct command *command);
void command_finish(const struct command *command);

/* At the worker's end: answers what it has taken. */
void command_lose(void);

#endif
