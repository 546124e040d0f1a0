/* SPDX-License-Identifier: PostgreSQL */
/* What the log is told of a working engine: damage that was found, and what it can't do. */
#ifndef LEDGER_PG_WORKER_WARNINGS_H
#define LEDGER_PG_WORKER_WARNINGS_H

#include "postgres.h"

#include "engine/engine.h"
#include "pg/monitor_shared.h"
#include "pg/worker/host.h"

struct warnings {
    /* What the warning about pulses says at present; empty if there is none. */
    struct refusal pulses;
    uint64 warned_block;   /* The damaged block that the warning is about. */
    uint64 warned_ns;      /* When the log was last told of it. */
    uint64_t growths_told; /* Failed growths of the grid that the log was told of. */
    uint32 refused_told;   /* A bit for each slot of which the log was told that it is refused. */
};

/* At each tick. Returns true if there is something new to publish. */
bool warnings_tick(struct warnings *warnings, struct host *host, uint64 now_ns);

/* A damaged block in words. */
void warnings_describe(const struct engine_damage *damage, char *text, size_t size);

#endif
