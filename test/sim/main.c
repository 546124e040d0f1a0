/* SPDX-License-Identifier: PostgreSQL */
/*
 * The simulator.
 *
 *     sim SEED [COUNT]   runs COUNT seeds, a line each; fails at the first violation
 *     sim --window SEED COUNT   one fault of the newest prepare and a crash, in each (window.c)
 *     sim --canary       breaks things on purpose: succeeds if each is noticed, in almost all seeds
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

#define CANARY_SEEDS 5
/* A lie about the newest op is covered if a checkpoint is made just then. */
#define CANARY_SEEDS_UNNOTICED_MAX 1

static struct sim sim;
static jmp_buf canary_noticed;

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    (void) fflush(stdout);
    (void) fprintf(
        stderr,
        "seed %" PRIu64 ": %s:%d: assertion failed: %s\n",
        sim.seed,
        file,
        line,
        expression);
    abort();
}

_Noreturn void
sim_fail(const struct sim *failed, const char *format, ...)
{
    va_list arguments;
    FILE *out = failed->canary == SIM_CANARY_NONE ? stderr : stdout;
    (void) fflush(stdout);
    (void) fprintf(
        out, "seed %" PRIu64 " (%s): ", failed->seed, sim_profile_name(failed->options.profile));
    va_start(arguments, format);
    (void) vfprintf(out, format, arguments);
    va_end(arguments);
    (void) fprintf(out, "\n");
    if (failed->canary != SIM_CANARY_NONE) longjmp(canary_noticed, 1);
    exit(1);
}

static void
print_line(void)
{
    const u128 disk = sim.disk.trace_hash;
    printf(
        "seed %" PRIu64 ": trace %016" PRIx64 "%016" PRIx64 " %-10s ops %" PRIu64
        " requests %" PRIu64 " reads %" PRIu64 " pages %" PRIu64
        " refused %" PRIu64 " lives %" PRIu64
        " crashes %" PRIu64 " faults %" PRIu64 " reported %" PRIu64 " checkpoints %" PRIu64
        " tours %" PRIu64 " scrubbed %" PRIu64
        " verified %" PRIu64 " parts %" PRIu64 "\n",
        sim.seed,
        u128_high(disk) ^ u128_high(sim.replies_hash),
        u128_low(disk) ^ u128_low(sim.replies_hash),
        sim_profile_name(sim.options.profile),
        sim.oracle.commit,
        sim.counts.requests,
        sim.counts.reads,
        sim.counts.pages,
        sim.counts.refused,
        sim.counts.lives,
        sim.disk.counters.crashes,
        sim_faults(&sim),
        sim.counts.reported,
        sim.counts.checkpoints,
        sim.counts.tours,
        sim.counts.scrubbed,
        sim.counts.verified,
        sim.counts.parts);
}

static int
run_canaries(void)
{
    static volatile uint64_t seed;
    static volatile int canary;
    static volatile int unnoticed;
    static volatile bool failed;
    for (canary = SIM_CANARY_NONE + 1; canary < SIM_CANARY_COUNT; canary++) {
        unnoticed = 0;
        for (seed = 1; seed <= CANARY_SEEDS; seed++) {
            if (setjmp(canary_noticed) == 0) {
                sim_run(&sim, seed, (enum sim_canary) canary);
                printf("canary %d, seed %" PRIu64 ": not noticed\n", canary, seed);
                unnoticed += 1;
            }
            sim_free(&sim);
        }
        if (unnoticed > CANARY_SEEDS_UNNOTICED_MAX) failed = true;
    }
    printf("canaries: %s\n", failed ? "NOT all noticed" : "all noticed");
    return failed ? 1 : 0;
}

/* With both writes waited for, nothing is lost; with the first one, something must be. */
static int
run_windows(uint64_t first, uint64_t count)
{
    uint64_t runs[2] = {0};
    uint64_t lost[2] = {0};
    uint64_t told[2] = {0};
    for (uint64_t seed = first; seed < first + count; seed++) {
        sim_run_window(&sim, seed);
        const uint32_t sync = sim.options.sync == JOURNAL_SYNC_FIRST;
        runs[sync] += 1;
        lost[sync] += sim.window.lost;
        told[sync] += sim.window.told;
        sim_free(&sim);
    }
    for (uint32_t sync = 0; sync < 2; sync++) {
        printf(
            "window, %s: %" PRIu64 " seeds, lost the newest op in %" PRIu64
            ", told of damage in %" PRIu64 "\n",
            sync ? "first" : "both",
            runs[sync],
            lost[sync],
            told[sync]);
    }
    const bool shown = count < 100 || (lost[1] > 0 && told[0] > 0 && told[1] > 0);
    return lost[0] == 0 && shown ? 0 : 1;
}

int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--window") == 0) {
        return run_windows(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    }
    if (argc == 2 && strcmp(argv[1], "--canary") == 0) return run_canaries();
    if (argc < 2 || argc > 3) {
        (void) fprintf(
            stderr, "usage: sim SEED [COUNT] | sim --window SEED COUNT | sim --canary\n");
        return 2;
    }
    const uint64_t first = strtoull(argv[1], NULL, 10);
    const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        sim_run(&sim, seed, SIM_CANARY_NONE);
        print_line();
        sim_free(&sim);
    }
    return 0;
}
