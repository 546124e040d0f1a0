/* SPDX-License-Identifier: PostgreSQL */
/* What the system says of this process; and how results are printed. */
#ifndef LEDGER_TEST_BENCH_ENGINE_REPORT_H
#define LEDGER_TEST_BENCH_ENGINE_REPORT_H

#include "bench/engine_bench.h"

struct bench_usage {
    uint64_t now_ns;
    uint64_t user_ns;
    uint64_t system_ns;
    uint64_t delayed_ns; /* The first thread was ready, and had no processor. */
    uint64_t written_bytes; /* To devices, by this process and the kernel threads of its ring. */
    uint64_t rss_peak_bytes;
};

void bench_usage_get(struct bench_usage *usage);

uint64_t bench_rss_bytes(void);

/* Sorts the durations. */
struct bench_latency bench_latency_of(uint64_t *durations_ns, uint64_t count);

void bench_print_case(const struct bench_options *options);
void bench_print_transfers(const struct bench_result *result);
void bench_print_query(const char *name, const struct bench_query *query);

void bench_print_csv_head(void);
void bench_print_csv(
    const char *name, const struct bench_options *options, const struct bench_result *result);

void bench_print_table_head(void);
void bench_print_table(
    const char *name, const struct bench_options *options, const struct bench_result *result);

#endif
