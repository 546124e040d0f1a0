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
    bool unasked; /* The worker itself steps down, because it ends. */
    /* For a step down: the view that this node has given up, and until when it is waited for. */
    uint32 view;
    uint64 deadline_ns;
    uint64 led_ns; /* For others: when there was a primary last, or the change was begun. */
    struct engine *engine;
    struct engine_change change;
    struct command command;
};

/*
 * At each tick: takes the command that was asked for, or looks what has become of the one under
 * way, and gives it up if nobody waits for it any more.
 */
void change_tick(struct change *change, struct engine *engine, uint64 now_ns);

/*
 * Before the worker ends: if this node is the cluster's primary, another one takes over. True if
 * there is something to wait for: engine and change have their ticks until change_running says no.
 */
bool change_step_down(struct change *change, struct engine *engine, uint64 now_ns);

bool change_running(const struct change *change);

/* Gives up what is under way. */
void change_end(struct change *change);

#endif
