/* SPDX-License-Identifier: PostgreSQL */
/*
 * What surrounds the engine: files, memory, clock, and the loop. All of it as src/pg/worker/host.c
 * and src/pg/worker/worker.c do it, so that what is measured is what a server runs.
 */
#ifndef LEDGER_TEST_BENCH_ENGINE_HOST_H
#define LEDGER_TEST_BENCH_ENGINE_HOST_H

#include "bench/engine_bench.h"
#include "os/populate.h"
#include "os/storage_os.h"

/* Does not move while it is open. */
struct bench_host {
    const struct bench_options *options;
    struct engine *engine;
    struct populate populate;
    struct clock clock;
    struct storage_os storage;
    struct engine_open_report report;
    void *memory;
    uint64_t now_ns; /* Of the last pass. */
    uint64_t active_ns;
    uint64_t ticked_ns;
    uint64_t asleep_ns; /* So long in all. */
};

/* Makes the directory with a new, empty ledger. One that bench_engine has left there is removed. */
void bench_host_format(const struct bench_options *options);

/* Removes the directory, if it is one of bench_engine. */
void bench_host_remove(const struct bench_options *options);

/* Returns how long engine_create and engine_open took. */
uint64_t bench_host_open(struct bench_host *host, const struct bench_options *options);

/* As a kill would: whatever the engine is doing, it does no more. */
void bench_host_close(struct bench_host *host);

/*
 * One pass of the loop: polls, does what is due, and waits if there is nothing to do. submitted:
 * something was, since the last pass.
 */
void bench_host_pass(struct bench_host *host, bool submitted);

#endif
