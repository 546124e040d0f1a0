/* SPDX-License-Identifier: PostgreSQL */
/*
 * Is there an engine, and if not, why: one answer for calls, commands and ledger.status.
 */
#ifndef LEDGER_PG_CLIENT_AVAILABILITY_H
#define LEDGER_PG_CLIENT_AVAILABILITY_H

#include "postgres.h"

#include "pg/monitor_shared.h"

enum availability_role {
    ROLE_PRIMARY,  /* It works. */
    ROLE_STARTING, /* Not yet: it is waited for. */
    ROLE_OPENING,  /* The same, and the worker lives. */
    ROLE_STANDBY,
    ROLE_NONE,
    ROLE_REFUSED,
    ROLE_STOPPED,
};

struct availability {
    enum availability_role role;
    struct refusal why; /* For all but the first three. */
    bool engine_says;   /* `why` is what kept the engine from working, or made it stop. */
};

/* "primary", "starting" … */
const char *availability_role_name(enum availability_role role);

/* What is known at once. */
void availability_get(struct availability *availability);

/* Waits while it is starting or opening, which takes as long as there is log to replay. */
void availability_wait_settled(struct availability *availability);

/* The same until the engine works; if it does not, raises the reason. */
void availability_wait_running(void);

/* Raises why there is no engine now. For who has found out that there is none. */
pg_attribute_noreturn() void availability_raise(void);

/* Raises that the library is not preloaded, if it is not. */
void availability_check_preloaded(void);

#endif
