/* SPDX-License-Identifier: PostgreSQL */
/*
 * The change of the cluster's members that a session has asked for: takes it from the box
 * (command.h), has the engine carry it out, and answers in words.
 */
#ifndef LEDGER_PG_WORKER_CHANGE_H
#define LEDGER_PG_WORKER_CHANGE_H

#include "postgres.h"

#include "engine/engine.h"
#include "pg/command.h"

/* It must not be moved while one is under way. */
struct change {
    bool running;
    bool stepping_down; /* By the worker itself, which ends: nobody asked for it. */
    struct engine *engine;
    struct engine_change change;
    struct command command;
};

/*
 * At each tick: takes the command that was asked for, or gives up the one under way if nobody waits
 * for it any more.
 */
void change_tick(struct change *change, struct engine *engine);

/*
 * Before the worker ends: if this node is the cluster's primary, asks another one to be it. True if
 * there is something to wait for: the engine is to be polled until change_running says no.
 */
bool change_step_down(struct change *change, struct engine *engine);

bool change_running(const struct change *change);

/* Gives up what is under way. */
void change_end(struct change *change);

#endif
