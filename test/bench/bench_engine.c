/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the engine does in a second, and what it takes for it, without SQL and Postgres: on the real
 * disk, durably, driven as the worker drives it. The workload is modelled after the benchmark of
 * TigerBeetle. See engine_bench.h for the parts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "bench/engine_host.h"
#include "bench/engine_report.h"

#define LONG_FACTOR         10
#define SMALL_BATCH         100
#define SMALL_BATCH_PART    5 /* Of the transfers. */
#define SMALL_BATCH_CLIENTS 32

static const char usage_text[] =
    "Usage: bench_engine [option ...]\n"
    "Measures the ledger's engine by itself, on the disk of --dir.\n"
    "  --accounts N          10000\n"
    "  --transfers N         10000000\n"
    "  --batch N             transfers in a request, 8190 at most (8190)\n"
    "  --clients N           requests under way at once (1)\n"
    "  --ids ordered|random  of accounts and transfers: as UUIDv7 and ULID are, or 128\n"
    "                        random bits (ordered)\n"
    "  --history on|off      accounts keep a history of their balances (on)\n"
    "  --user-data on|off    random user_data and code in accounts and transfers (on)\n"
    "  --memory MB           all memory of the engine (1024)\n"
    "  --wal MB              size of the prepares log (512)\n"
    "  --queries N           queries of each kind (100)\n"
    "  --seed N              of the random numbers (1)\n"
    "  --dir PATH            made, and removed at the end (build/bench-data)\n"
    "  --keep                leaves the files; the next run removes them\n"
    "  --csv                 prints a line of values for each case, and nothing else\n"
    "  --quiet               prints no line each second\n"
    "  --suite               the set of cases, and a table of them; the other options\n"
    "                        are for each case as far as it does not say otherwise\n"
    "  --long                adds a case of ten times as many transfers to the suite\n"
    "  --only CASE           of the suite only this case\n"
    "  --smoke               small cases: what is read back is checked, time is not\n";

static struct bench_result *shared_result; /* Of the case that this process runs. */

uint64_t
bench_now_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

_Noreturn void
bench_fail(const char *format, ...)
{
    char text[BENCH_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (shared_result != NULL) memcpy(shared_result->failure, text, sizeof(text));
    (void) fflush(stdout);
    (void) fprintf(stderr, "bench_engine: %s\n", text);
    exit(1);
}

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    (void) fflush(stdout);
    (void) fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

/* ---- Options --------------------------------------------------------------------------------- */

_Noreturn static void
usage_error(const char *message, const char *what)
{
    (void) fprintf(stderr, "bench_engine: %s%s\n%s", message, what, usage_text);
    exit(2);
}

static uint64_t
number_of(const char *name, uint64_t min, uint64_t max)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(optarg, &end, 10);
    if (errno != 0 || end == optarg || *end != '\0' || optarg[0] == '-' || value < min ||
        value > max) {
        usage_error("not a number that is possible: --", name);
    }
    return value;
}

/* True for the first word. */
static bool
choice_of(const char *name, const char *first, const char *second)
{
    if (strcmp(optarg, first) == 0) return true;
    if (strcmp(optarg, second) != 0) usage_error("not a choice that there is: --", name);
    return false;
}

enum bench_option {
    OPTION_HELP,
    OPTION_ACCOUNTS,
    OPTION_TRANSFERS,
    OPTION_BATCH,
    OPTION_CLIENTS,
    OPTION_IDS,
    OPTION_HISTORY,
    OPTION_USER_DATA,
    OPTION_MEMORY,
    OPTION_WAL,
    OPTION_QUERIES,
    OPTION_SEED,
    OPTION_DIR,
    OPTION_ONLY,
};

static void
option_take(struct bench_options *options, enum bench_option option, const char *name)
{
    const uint64_t many = UINT64_C(1) << 40;
    switch (option) {
    case OPTION_HELP:
        (void) fputs(usage_text, stdout);
        exit(0);
    case OPTION_ACCOUNTS: options->accounts = number_of(name, 2, many); return;
    case OPTION_TRANSFERS: options->transfers = number_of(name, 1, many); return;
    case OPTION_BATCH:
        options->batch = (uint32_t) number_of(name, 1, EVENTS_PER_BATCH_MAX);
        return;
    case OPTION_CLIENTS:
        options->clients = (uint32_t) number_of(name, 1, BENCH_CLIENTS_MAX);
        return;
    case OPTION_IDS: options->ids_ordered = choice_of(name, "ordered", "random"); return;
    case OPTION_HISTORY: options->history = choice_of(name, "on", "off"); return;
    case OPTION_USER_DATA: options->user_data = choice_of(name, "on", "off"); return;
    case OPTION_MEMORY: options->memory_mb = number_of(name, 1, MIB); return;
    case OPTION_WAL: options->wal_mb = number_of(name, PREPARES_SIZE_MIN / MIB, MIB); return;
    case OPTION_QUERIES: options->queries = (uint32_t) number_of(name, 0, MIB); return;
    case OPTION_SEED: options->seed = number_of(name, 0, UINT64_MAX); return;
    case OPTION_DIR: options->directory = optarg; return;
    case OPTION_ONLY: options->only = optarg; return;
    }
    unreachable();
}


static struct bench_options
options_of(int argc, char **argv)
{
    enum { KEEP, CSV, QUIET, SUITE, LONG, SMOKE, FLAG_COUNT };
    static int flags[FLAG_COUNT];
    static const struct option names[] = {
        {"help", no_argument, NULL, OPTION_HELP},
        {"accounts", required_argument, NULL, OPTION_ACCOUNTS},
        {"transfers", required_argument, NULL, OPTION_TRANSFERS},
        {"batch", required_argument, NULL, OPTION_BATCH},
        {"clients", required_argument, NULL, OPTION_CLIENTS},
        {"ids", required_argument, NULL, OPTION_IDS},
        {"history", required_argument, NULL, OPTION_HISTORY},
        {"user-data", required_argument, NULL, OPTION_USER_DATA},
        {"memory", required_argument, NULL, OPTION_MEMORY},
        {"wal", required_argument, NULL, OPTION_WAL},
        {"queries", required_argument, NULL, OPTION_QUERIES},
        {"seed", required_argument, NULL, OPTION_SEED},
        {"dir", required_argument, NULL, OPTION_DIR},
        {"only", required_argument, NULL, OPTION_ONLY},
        {"keep", no_argument, &flags[KEEP], 1},
        {"csv", no_argument, &flags[CSV], 1},
        {"quiet", no_argument, &flags[QUIET], 1},
        {"suite", no_argument, &flags[SUITE], 1},
        {"long", no_argument, &flags[LONG], 1},
        {"smoke", no_argument, &flags[SMOKE], 1},
        {0},
    };
    struct bench_options options = {
        .accounts = 10000,
        .transfers = 10000000,
        .batch = EVENTS_PER_BATCH_MAX,
        .clients = 1,
        .queries = 100,
        .memory_mb = 1024,
        .wal_mb = 512,
        .seed = 1,
        .directory = "build/bench-data",
        .ids_ordered = true,
        .history = true,
        .user_data = true,
    };
    int index = 0;
    for (int found; (found = getopt_long(argc, argv, "", names, &index)) != -1;) {
        if (found == '?') usage_error("see the options that there are", "");
        if (names[index].flag == NULL) {
            option_take(&options, (enum bench_option) found, names[index].name);
        }
    }
    if (optind < argc) usage_error("what is this: ", argv[optind]);
    options.keep = flags[KEEP];
    options.csv = flags[CSV];
    options.quiet = flags[QUIET];
    options.longer = flags[LONG];
    options.suite = flags[SUITE] || flags[LONG] || options.only != NULL;
    options.smoke = flags[SMOKE];
    return options;
}

/* ---- Cases ----------------------------------------------------------------------------------- */

struct suite_case {
    const char *name;
    struct bench_options options;
    struct bench_result *result;
};

/*
 * Each case has a process of its own, so that memory and I/O are its own, and the files are removed
 * however it ends.
 */
static void
run_case(struct suite_case *suite_case)
{
    struct bench_result *result =
        mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED) bench_fail("out of memory");
    suite_case->result = result;
    (void) fflush(stdout);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) bench_fail("could not fork: %s", strerror(errno));
    if (child == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        shared_result = result;
        bench_case_run(&suite_case->options, result);
        exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) {
        result->checks_failed += 1;
        if (result->failure[0] == '\0') {
            (void) snprintf(
                result->failure, sizeof(result->failure), "ended with status %d", status);
        }
    }
    if (!suite_case->options.keep) bench_host_remove(&suite_case->options);
}

/* True if all went well. */
static bool
run_cases(struct suite_case *cases, uint32_t count, bool table)
{
    const bool csv = cases[0].options.csv;
    uint32_t passed = 0;
    uint32_t failed = 0;
    if (csv) bench_print_csv_head();
    for (uint32_t i = 0; i < count; i++) {
        if (table && !csv) printf("\n== %s\n", cases[i].name);
        run_case(&cases[i]);
        passed += cases[i].result->checks_passed;
        failed += cases[i].result->checks_failed;
        if (csv) bench_print_csv(cases[i].name, &cases[i].options, cases[i].result);
    }
    if (table && !csv) bench_print_table_head();
    for (uint32_t i = 0; table && !csv && i < count; i++) {
        bench_print_table(cases[i].name, &cases[i].options, cases[i].result);
    }
    if (!csv) printf("bench-engine: %" PRIu32 " passed, %" PRIu32 " failed\n", passed, failed);
    return failed == 0 && passed > 0;
}

#define SUITE_MAX 8

static bool
run_suite(const struct bench_options *options)
{
    struct suite_case cases[SUITE_MAX] = {
        {.name = "10,000 accounts"},
        {.name = "1,000,000 accounts"},
        {.name = "random ids"},
        {.name = "no history"},
        {.name = "batches of 100"},
        {.name = "batches of 100, 32 clients"},
        {.name = "long"},
    };
    enum { BASE, MILLION, RANDOM, NO_HISTORY, SMALL, SMALL_MANY, LONG, COUNT };
    struct suite_case chosen[SUITE_MAX];
    uint32_t count = 0;
    for (int i = 0; i < COUNT; i++)
        cases[i].options = *options;
    cases[MILLION].options.accounts = 1000000;
    cases[RANDOM].options.ids_ordered = false;
    cases[NO_HISTORY].options.history = false;
    for (int i = SMALL; i <= SMALL_MANY; i++) {
        cases[i].options.batch = SMALL_BATCH;
        cases[i].options.transfers = max_u64(options->transfers / SMALL_BATCH_PART, 1);
    }
    cases[SMALL_MANY].options.clients = SMALL_BATCH_CLIENTS;
    cases[LONG].options.transfers = options->transfers * LONG_FACTOR;
    for (int i = 0; i < COUNT; i++) {
        if (options->only != NULL && strcmp(options->only, cases[i].name) != 0) continue;
        if (i == LONG && !options->longer && options->only == NULL) continue;
        chosen[count] = cases[i];
        count += 1;
    }
    if (count == 0) usage_error("no case of the suite: ", options->only);
    return run_cases(chosen, count, true);
}

/* Small enough to be a test. The log is filled, and checkpoints happen. */
static bool
run_smoke(const struct bench_options *options)
{
    struct suite_case cases[] = {{.name = "ordered"}, {.name = "random, small batches"}};
    for (uint32_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cases[i].options = *options;
        cases[i].options.transfers = 200000;
        cases[i].options.memory_mb = 512;
        cases[i].options.wal_mb = PREPARES_SIZE_MIN / MIB;
        cases[i].options.queries = 20;
        cases[i].options.quiet = true;
    }
    cases[1].options.accounts = 1000;
    cases[1].options.transfers = 150000;
    cases[1].options.batch = SMALL_BATCH;
    cases[1].options.clients = SMALL_BATCH_CLIENTS;
    cases[1].options.ids_ordered = false;
    cases[1].options.history = false;
    cases[1].options.user_data = false;
    return run_cases(cases, ARRAY_COUNT(cases), true);
}

int
main(int argc, char **argv)
{
    const struct bench_options options = options_of(argc, argv);
    bool good = false;
    if (options.suite) {
        good = run_suite(&options);
    } else if (options.smoke) {
        good = run_smoke(&options);
    } else {
        struct suite_case one = {.name = "one", .options = options};
        good = run_cases(&one, 1, false);
    }
    return good ? 0 : 1;
}
