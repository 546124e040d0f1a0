/* SPDX-License-Identifier: PostgreSQL */
#define _GNU_SOURCE
#include "bench/engine_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/units.h"

/* ---- What the system says -------------------------------------------------------------------- */

/* The number behind `label` at the start of a line; 0 if there is none. */
static uint64_t
number_in_file(const char *path, const char *label)
{
    char line[BENCH_TEXT_SIZE];
    uint64_t number = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, label, strlen(label)) != 0) continue;
        number = strtoull(line + strlen(label), NULL, 10);
        break;
    }
    (void) fclose(file);
    return number;
}

/* 0 where the kernel doesn't count it. */
static uint64_t
delayed_ns(void)
{
    char line[BENCH_TEXT_SIZE];
    uint64_t number = 0;
    FILE *file = fopen("/proc/self/schedstat", "re");
    if (file == NULL) return 0;
    if (fgets(line, sizeof(line), file) != NULL) {
        char *end = line;
        (void) strtoull(line, &end, 10);
        number = strtoull(end, NULL, 10);
    }
    (void) fclose(file);
    return number;
}

static uint64_t
timeval_ns(const struct timeval *time)
{
    return (uint64_t) time->tv_sec * NS_PER_S + (uint64_t) time->tv_usec * NS_PER_US;
}

void
bench_usage_get(struct bench_usage *usage)
{
    struct rusage rusage;
    (void) getrusage(RUSAGE_SELF, &rusage);
    usage->now_ns = bench_now_ns();
    usage->user_ns = timeval_ns(&rusage.ru_utime);
    usage->system_ns = timeval_ns(&rusage.ru_stime);
    usage->delayed_ns = delayed_ns();
    usage->written_bytes = number_in_file("/proc/self/io", "write_bytes:");
    usage->rss_peak_bytes = number_in_file("/proc/self/status", "VmHWM:") * KIB;
}

uint64_t
bench_rss_bytes(void)
{
    return number_in_file("/proc/self/status", "VmRSS:") * KIB;
}

static int
compare_u64(const void *a, const void *b)
{
    const uint64_t value_a = *(const uint64_t *) a;
    const uint64_t value_b = *(const uint64_t *) b;
    return (value_a > value_b) - (value_a < value_b);
}

/* The smallest that so many of 1000 do not exceed. */
static double
percentile_ms(const uint64_t *sorted_ns, uint64_t count, uint64_t permille)
{
    const uint64_t rank = max_u64(div_ceil(count * permille, 1000), 1);
    return (double) sorted_ns[rank - 1] / NS_PER_MS;
}

struct bench_latency
bench_latency_of(uint64_t *durations_ns, uint64_t count)
{
    if (count == 0) return (struct bench_latency){0};
    qsort(durations_ns, count, sizeof(uint64_t), compare_u64);
    return (struct bench_latency){
        .p50_ms = percentile_ms(durations_ns, count, 500),
        .p99_ms = percentile_ms(durations_ns, count, 990),
        .max_ms = percentile_ms(durations_ns, count, 1000),
    };
}

/* ---- For people ------------------------------------------------------------------------------ */

void
bench_print_case(const struct bench_options *options)
{
    printf(
        "%" PRIu64 " accounts, %" PRIu64 " transfers, batches of %" PRIu32 ", %" PRIu32
        " client(s), ids %s, history %s, user data %s, memory %" PRIu64 " MB, wal %" PRIu64
        " MB\n",
        options->accounts,
        options->transfers,
        options->batch,
        options->clients,
        options->ids_ordered ? "ordered" : "random",
        options->history ? "on" : "off",
        options->user_data ? "on" : "off",
        options->memory_mb,
        options->wal_mb);
}

void
bench_print_transfers(const struct bench_result *result)
{
    const struct engine_stats *stats = &result->stats;
    printf(
        "transfers: %.0f/s, worst second %.0f/s; a batch p50 %.2f ms, p99 %.2f, max %.2f\n",
        result->transfers_per_s,
        result->worst_per_s,
        result->batch.p50_ms,
        result->batch.p99_ms,
        result->batch.max_ms);
    printf(
        "  a transfer: CPU %.0f ns user, %.0f ns system; %.0f bytes of the grid; %.0f bytes "
        "written (%.2f times its 128)\n",
        result->cpu_user_ns,
        result->cpu_system_ns,
        result->grid_bytes,
        result->written_bytes,
        result->write_amplification);
    printf(
        "  time: %.1f %% of this program's own (making and checking batches), %.1f %% asleep, "
        "%.1f %% waiting for a processor; I/O by %s\n",
        100 * result->own_share,
        100 * result->asleep_share,
        100 * result->delayed_share,
        result->io_method);
    printf(
        "  memory: RSS peak %" PRIu64 " MB, used by the engine %" PRIu64 " MB\n",
        result->rss_peak_bytes / MIB,
        result->memory_used_bytes / MIB);
    printf("  files:");
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        printf(
            " %s %.1f MB", storage_file_name(file), (double) result->file_bytes[file] / MIB);
    }
    printf("; used of the grid %.1f MB\n", (double) result->grid_used_bytes / MIB);
    printf(
        "  %" PRIu64 " prepares, %" PRIu64 " requests; %" PRIu64 " checkpoints with %" PRIu64
        " blocks; written to prepares %" PRIu64 " MB, headers %" PRIu64 " MB\n",
        stats->prepares,
        stats->requests,
        stats->checkpoints,
        stats->blocks_written,
        stats->journal.prepares_bytes_written / MIB,
        stats->journal.headers_bytes_written / MIB);
}

void
bench_print_query(const char *name, const struct bench_query *query)
{
    printf(
        "%s: p50 %.3f ms, p99 %.3f, max %.3f; %.0f rows/s\n",
        name,
        query->latency.p50_ms,
        query->latency.p99_ms,
        query->latency.max_ms,
        query->rows_per_s);
}

/* ---- For programs ---------------------------------------------------------------------------- */

void
bench_print_csv_head(void)
{
    printf(
        "case,accounts,transfers,batch,clients,ids,history,user_data,memory_mb,wal_mb,seed,"
        "accounts_per_s,transfers_per_s,worst_per_s,batch_p50_ms,batch_p99_ms,batch_max_ms,"
        "own_share,asleep_share,delayed_share,cpu_user_ns,cpu_system_ns,grid_bytes,written_bytes,"
        "write_amplification,rss_peak_bytes,rss_peak_total_bytes,memory_used_bytes,"
        "grid_used_bytes,grid_file_bytes,checkpoints,blocks_written,prepares,"
        "transfers_p50_ms,transfers_p99_ms,transfers_max_ms,transfers_rows_per_s,"
        "balances_p50_ms,balances_p99_ms,balances_max_ms,balances_rows_per_s,"
        "lookup_cold_ms,lookup_warm_ms,restart_s,restart_ops,restart_full_s,restart_full_ops,"
        "checks_passed,checks_failed,failure\n");
}

static void
print_csv_options(const char *name, const struct bench_options *options)
{
    printf(
        "%s,%" PRIu64 ",%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",%s,%s,%s,%" PRIu64 ",%" PRIu64
        ",%" PRIu64,
        name,
        options->accounts,
        options->transfers,
        options->batch,
        options->clients,
        options->ids_ordered ? "ordered" : "random",
        options->history ? "on" : "off",
        options->user_data ? "on" : "off",
        options->memory_mb,
        options->wal_mb,
        options->seed);
}

static void
print_csv_latency(const struct bench_latency *latency)
{
    printf(",%.3f,%.3f,%.3f", latency->p50_ms, latency->p99_ms, latency->max_ms);
}

static void
print_csv_query(const struct bench_query *query)
{
    print_csv_latency(&query->latency);
    printf(",%.0f", query->rows_per_s);
}

void
bench_print_csv(
    const char *name, const struct bench_options *options, const struct bench_result *result)
{
    print_csv_options(name, options);
    printf(
        ",%.0f,%.0f,%.0f",
        result->accounts_per_s,
        result->transfers_per_s,
        result->worst_per_s);
    print_csv_latency(&result->batch);
    printf(
        ",%.4f,%.4f,%.4f,%.1f,%.1f,%.1f,%.1f,%.3f",
        result->own_share,
        result->asleep_share,
        result->delayed_share,
        result->cpu_user_ns,
        result->cpu_system_ns,
        result->grid_bytes,
        result->written_bytes,
        result->write_amplification);
    printf(
        ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
        ",%" PRIu64,
        result->rss_peak_bytes,
        result->rss_peak_total_bytes,
        result->memory_used_bytes,
        result->grid_used_bytes,
        result->file_bytes[STORAGE_GRID],
        result->stats.checkpoints,
        result->stats.blocks_written,
        result->stats.prepares);
    print_csv_query(&result->transfers_query);
    print_csv_query(&result->balances_query);
    printf(
        ",%.3f,%.3f,%.3f,%" PRIu64 ",%.3f,%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",\"%s\"\n",
        result->lookup_cold_ms,
        result->lookup_warm_ms,
        result->restart.seconds,
        result->restart.ops_replayed,
        result->restart_full.seconds,
        result->restart_full.ops_replayed,
        result->checks_passed,
        result->checks_failed,
        result->failure);
    (void) fflush(stdout);
}

/* ---- The suite ------------------------------------------------------------------------------- */

void
bench_print_table_head(void)
{
    printf(
        "\n| case | transfers | transfers/s | worst second | p50 ms | p99 ms | max ms | CPU ns "
        "| RSS MB | grid B | written B | checkpoints | statement p50 ms | p99 ms "
        "| lookup ms | restart s | full log s |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
}

void
bench_print_table(
    const char *name, const struct bench_options *options, const struct bench_result *result)
{
    printf("| %s | %" PRIu64 " | ", name, options->transfers);
    if (result->failure[0] != '\0') {
        printf("%s | | | | | | | | | | | | | | |\n", result->failure);
        return;
    }
    printf(
        "%.0f | %.0f | %.2f | %.2f | %.1f | %.0f | %" PRIu64 " | %.0f | %.0f | %" PRIu64
        " | %.3f | %.3f | %.2f | %.2f | %.2f |\n",
        result->transfers_per_s,
        result->worst_per_s,
        result->batch.p50_ms,
        result->batch.p99_ms,
        result->batch.max_ms,
        result->cpu_user_ns + result->cpu_system_ns,
        result->rss_peak_bytes / MIB,
        result->grid_bytes,
        result->written_bytes,
        result->stats.checkpoints,
        result->transfers_query.latency.p50_ms,
        result->transfers_query.latency.p99_ms,
        result->lookup_cold_ms,
        result->restart.seconds,
        result->restart_full.seconds);
}
