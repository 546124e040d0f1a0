/* SPDX-License-Identifier: PostgreSQL */
/*
 * Commands to the worker, through one box in shared memory: to one that has no engine, to make a
 * ledger or to adopt one, since the files belong to the worker; and to one that has, to change the
 * members of the cluster.
 *
 *
 *      FREE → ASKED       a session; from now on the box is its own, until it gives it back
 *      ASKED → RUNNING    the worker
 *      RUNNING → DONE     the worker, after it wrote the result
 *      ASKED, DONE → FREE the session
 *      RUNNING → FREE     the worker, if the session has left meanwhile (`abandoned`)
 *
 * There is one command at a time; a session that finds the box taken waits. What can go wrong:
 *  - The session is cancelled. If the worker hasn't begun, the command is taken back. Otherwise it
 *    is carried out, and ledger.status shows its outcome; for a change of members the worker sees
 *    that nobody waits any more, and gives the box back: what comes of it, ledger.cluster shows.
 *  - The worker ends. It first answers the command that it has begun.
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
    COMMAND_CHANGE, /* Of the cluster's members. */
};

struct command {
    enum command_kind kind;
    enum engine_change_kind change; /* For COMMAND_CHANGE. */
    u128 ledger; /* The ledger to adopt; or, after COMMAND_CREATE, the ledger that was made. */
    char name[32]; /* For COMMAND_CHANGE: the node that it is about, */
    uint32 wait_ms; /* and how long to wait while there is no primary; 0: without an end. */

    /* The result. */
    bool done;
    struct refusal why; /* Why it wasn't done. */
};

enum command_state {
    COMMAND_FREE,
    COMMAND_ASKED,
    COMMAND_RUNNING,
    COMMAND_DONE,
};

struct command_box {
    /* Guards state and abandoned. The rest belongs to whoever's turn it is by the state. */
    slock_t mutex;
    enum command_state state;
    bool abandoned;
    struct command command;
    ConditionVariable changed;
};

void command_init(struct command_box *box);

/* ---- For sessions ---------------------------------------------------------------------------- */

/*
 * Has the command carried out. Waits, and can be cancelled. Returns false if the worker, before it
 * took this command, has come to a state in which it takes none. Then nothing was done, and the
 * caller should look at the state again.
 */
bool command_run(struct command *command);

/* ---- For the worker -------------------------------------------------------------------------- */

/*
 * Takes the command that was asked for, if there is one that a worker with or without an engine can
 * carry out. The worker must then answer it.
 */
bool command_take(struct command *command, bool has_engine);
void command_finish(const struct command *command);

/* Has the session left that asked for the command that was taken? */
bool command_abandoned(void);

/* Called when the worker ends: answers what it has taken. */
void command_lose(void);

#endif
