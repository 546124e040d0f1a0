/* SPDX-License-Identifier: PostgreSQL */
/* Is there an engine, and if not, why? One answer for calls, commands and ledger.status. */
#ifndef LEDGER_PG_CLIENT_AVAILABILITY_H
#define LEDGER_PG_CLIENT_AVAILABILITY_H

#include "postgres.h"

#include "pg/monitor_shared.h"

enum availability_role {
    ROLE_PRIMARY,  /* The engine works. */
    ROLE_STARTING, /* The worker hasn't begun yet. It is waited for. */
    ROLE_OPENING,  /* The worker is alive and opens the engine. It is waited for. */
    ROLE_STANDBY,
    ROLE_NONE,
    ROLE_REFUSED,
    ROLE_STOPPED,
};

struct availability {
    enum availability_role role;
    struct refusal why; /* Set for all but the first three. */
    /* `why` comes from the engine: what kept it from working, or made it stop. */
    bool engine_says;
};

/* The name of the role: "primary", "starting" …. */
const char *availability_role_name(enum availability_role role);

/* Says what is known at once. */
void availability_get(struct availability *availability);

/* Waits while it is starting or opening. That takes as long as there is log to replay. */
void availability_wait_settled(struct availability *availability);

/* Waits until the engine works. If it doesn't, raises the reason. */
void availability_wait_running(void);

/*
 * Raises why there is no engine now. For callers that have found out that there is none: also where
 * the library isn't preloaded, and there is no shared memory.
 */
pg_attribute_noreturn() void availability_raise(void);

#endif
