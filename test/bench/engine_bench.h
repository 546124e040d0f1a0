/* SPDX-License-Identifier: PostgreSQL */
/*
 * bench_engine: the engine through its façade, without SQL and Postgres.
 *
 *     bench_engine.c    options, the suite; each case is a process of its own
 *     engine_host.c     files, memory, opening, and the loop: as the worker has them
 *     engine_load.c     makes accounts and transfers
 *     engine_cases.c    what one case does, and what it checks
 *     engine_report.c   what the system says of this process; prints
 */
#ifndef LEDGER_TEST_BENCH_ENGINE_BENCH_H
#define LEDGER_TEST_BENCH_ENGINE_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

#define BENCH_CLIENTS_MAX 1000
#define BENCH_TEXT_SIZE   256

struct bench_options {
    uint64_t accounts;
    uint64_t transfers;
    uint32_t batch;
    uint32_t clients;
    uint32_t queries;
    uint64_t memory_mb;
    uint64_t wal_mb;
    uint64_t seed;
    const char *directory;
    const char *only; /* Case of the suite; NULL: all. */
    bool ids_ordered;
    bool history;
    bool user_data;
    bool keep;
    bool csv;
    bool quiet;
    bool suite;
    bool smoke;
    bool longer;
};

/* Of many durations: known exactly, none dropped. */
struct bench_latency {
    double p50_ms;
    double p99_ms;
    double max_ms;
};

struct bench_query {
    struct bench_latency latency;
    double rows_per_s;
};

struct bench_restart {
    double seconds;
    uint64_t ops_replayed;
    uint64_t wal_used_bytes;
};

/* Shared by the process that runs a case, which fills it, and the one that prints the suite. */
struct bench_result {
    char failure[BENCH_TEXT_SIZE]; /* Empty: the case came to its end. */
    uint32_t checks_passed;
    uint32_t checks_failed;
    const char *io_method;

    double accounts_per_s;
    double transfers_per_s;
    double worst_per_s; /* The second with the fewest transfers. */
    struct bench_latency batch;
    double own_share; /* Of the time: making batches and looking at results. */
    double asleep_share;
    double delayed_share; /* For want of a processor. */
    double cpu_user_ns; /* A transfer, as are all below. */
    double cpu_system_ns;
    double grid_bytes;
    double written_bytes;
    double write_amplification;
    uint64_t file_bytes[STORAGE_FILE_COUNT];
    uint64_t grid_used_bytes;
    uint64_t memory_used_bytes;
    uint64_t rss_peak_bytes;       /* Until the last transfer. */
    uint64_t rss_peak_total_bytes; /* Until the end. */
    struct engine_stats stats; /* Counters are of the transfers alone, histograms of all. */

    struct bench_query transfers_query;
    struct bench_query balances_query;
    double lookup_cold_ms;
    double lookup_warm_ms;
    struct bench_restart restart;
    struct bench_restart restart_full;
};

/* Fills *result, and prints unless options->csv. Does not return where it cannot go on. */
void bench_case_run(const struct bench_options *options, struct bench_result *result);

/* Ends the process with status 1; the message goes to the result of the case, and is printed. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t bench_now_ns(void);

#endif
