/* SPDX-License-Identifier: PostgreSQL */
/* What the files of the engine share. See engine.h for what it is. */
#ifndef LEDGER_ENGINE_INTERNAL_H
#define LEDGER_ENGINE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/engine.h"
#include "forest/forest.h"
#include "ledger/ledger.h"
#include "ledger/verify.h"
#include "store/grid.h"
#include "store/journal.h"
#include "store/superblock.h"
#include "vsr/replica.h"

/* A running read. */
struct engine_read {
    struct ledger_read read;
    struct engine_request *request; /* NULL if this place is free. */
    uint64_t *timestamps;
    struct ledger_row *rows;
    bool waits;        /* It waits until the replica's progress is no longer asked_at. */
    uint64_t asked_at; /* The replica's progress when the read asked for what it lacks. */
};

struct engine_reads {
    struct queue waiting;        /* Requests that haven't begun, */
    struct queue local;          /* and those that this node's state will do for. */
    struct engine_read *running; /* ENGINE_READS_MAX of them. */
    uint32_t running_count;
    uint32_t turn; /* The read that has its turn next. */
};

/* The verification, if one was asked for. It waits in the same way as reads. */
struct engine_verification {
    struct verify verify;
    struct engine_request *request; /* NULL if none is running. */
    bool waits;
    uint64_t asked_at;
};

/* Paces the scrubber. */
struct engine_scrubbing {
    uint64_t interval_ns; /* How long a tour should take; 0 means that there are no tours. */
    uint64_t ticked_ns;
    uint64_t credit_ns; /* Time that has passed and wasn't spent on blocks yet. */
};

struct engine {
    struct engine_options options;
    struct storage *storage;
    struct clock *clock;
    struct superblock superblock;
    struct journal journal;
    struct grid grid;
    struct forest *forest;
    struct ledger ledger;
    struct replica replica;
    struct queue arrived; /* Requests that weren't looked at yet. */
    struct engine_reads reads;
    uint32_t requests_count; /* Requests that were submitted and aren't answered yet. */
    uint64_t recounted_op;   /* Cache and objects were counted anew after this op (RECOUNT_OPS). */
    struct engine_scrubbing scrubbing;
    struct engine_verification verification;
    struct engine_stats stats;
};

/* ---- engine.c -------------------------------------------------------------------------------- */

uint64_t engine_memory_bytes_for(const struct engine_options *options, uint64_t forest_bytes);

/* When it has waited long enough; monotonic. 0: never. */
uint64_t engine_deadline_ns(const struct engine_request *request);

void engine_answer(struct engine_request *request, enum engine_status status);

void engine_forest_damage(const struct engine *engine, struct engine_damage *damage);

/* ---- reads.c --------------------------------------------------------------------------------- */

void engine_reads_take(struct engine *engine, struct arena *arena);

const char *engine_read_check(const struct engine *engine, const struct engine_request *request);

/* The request waits until it is known what it must see, and until there is room. */
void engine_read_wait(struct engine *engine, struct engine_request *request);

bool engine_reads_poll(struct engine *engine);

/* Where no primary works: answers reads whose time is over. */
void engine_reads_tick(struct engine *engine);

/* ---- pacing.c -------------------------------------------------------------------------------- */

void engine_verify_start(struct engine *engine, struct engine_request *request);

bool engine_verify_poll(struct engine *engine);

void engine_scrub_tick(struct engine *engine);

bool engine_scrub_poll(struct engine *engine);

#endif
