/* SPDX-License-Identifier: PostgreSQL */
/*
 * The simulator.
 *
 *     sim SEED [COUNT]   runs COUNT seeds, a line each; fails at the first violation
 *     sim --window SEED COUNT   one fault of the newest prepare and a crash, in each (window.c)
 *     sim --canary       breaks things on purpose: succeeds if each is noticed, in almost all seeds
 *     sim --cluster SEED [COUNT [NODES]]   several engines; some seeds twice: the same trace
 *     sim --growing SEED [COUNT [NODES]]   they begin as a lone ledger, and members come and go
 *     sim --cluster-storm …, --growing-storm …   the same where everything goes wrong all the time
 *     sim --directed SEED [COUNT]   what is too rare to be drawn (cluster_directed.c)
 *     sim --cluster-canary
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "engine/internal.h"
#include "sim/cluster.h"
#include "sim/memory.h"
#include "sim/sim.h"

#define CANARY_SEEDS 5
/* A lie about the newest op is covered if a checkpoint is made just then. */
#define CANARY_SEEDS_UNNOTICED_MAX 1

/* In so many seeds an old copy of a node must do harm, if it isn't recognised. */
#define CANARY_COPY_SEEDS 4

/* Of so many seeds of clusters, one is run twice. */
#define CLUSTER_TWICE 8

static struct sim sim;
static struct cluster cluster;
static uint64_t seed_running;
static jmp_buf canary_noticed;

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    (void) fflush(stdout);
    (void) fprintf(
        stderr,
        "seed %" PRIu64 ": %s:%d: assertion failed: %s\n",
        seed_running,
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

/* What became of its requests, as far as it knows; and of those of others. */
static void
print_sessions(const struct replica *replica, FILE *out)
{
    (void) fprintf(
        out,
        "    journaled %" PRIu64 ", linked %" PRIu64 ", committed %" PRIu64 ", numbered %" PRIu64
        ", outstanding %u, waiting %u; by slot, executed and accepted:",
        replica->journaled,
        replica->linked,
        replica->commit_max,
        replica->number,
        replica->outstanding.count,
        replica->requests.count);
    for (uint32_t slot = 0; slot < CLUSTER_NODES_MAX; slot++) {
        (void) fprintf(
            out,
            " %" PRIu64 "/%" PRIu64,
            replica->sessions.slots[slot].number,
            replica->accepted.slots[slot].number);
    }
    (void) fprintf(out, "\n");
}

static void
print_nodes(const struct cluster *failed, FILE *out)
{
    for (uint32_t i = 0; i < failed->options.node_count; i++) {
        const struct cluster_node *node = &failed->nodes[i];
        struct engine_state state = {0};
        uint32_t waiting = 0;
        if (node->engine != NULL) engine_state_get(node->engine, &state);
        for (uint32_t j = 0; j < CLUSTER_CLIENTS_MAX; j++) {
            waiting += node->clients[j].state == CLUSTER_CLIENT_LENT;
        }
        (void) fprintf(
            out,
            "  node %u, slot %u: %s%s, op %" PRIu64 ", executed %" PRIu64 ", checkpoint %" PRIu64
            ", %u requests wait\n",
            i,
            node->options->slot,
            node->engine == NULL ? "down" : "up",
            failed->now_ns < node->awake_ns ? " and paused" : "",
            state.op,
            state.commit,
            state.checkpoint_op,
            waiting);
        if (node->engine != NULL) print_sessions(&node->engine->replica, out);
    }
}

_Noreturn void
cluster_fail(const struct cluster *failed, const char *format, ...)
{
    va_list arguments;
    const bool canary = failed->canary != CLUSTER_CANARY_NONE;
    FILE *out = canary ? stdout : stderr;
    (void) fflush(stdout);
    (void) fprintf(
        out,
        "cluster seed %" PRIu64 " (%u nodes): ",
        failed->seed,
        failed->options.node_count);
    va_start(arguments, format);
    (void) vfprintf(out, format, arguments);
    va_end(arguments);
    (void) fprintf(out, "\n");
    print_nodes(failed, out);
    if (canary) longjmp(canary_noticed, 1);
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
            seed_running = seed;
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
        seed_running = seed;
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

/* ---- Clusters -------------------------------------------------------------------------------- */

static uint64_t
read_ns(clockid_t clock)
{
    struct timespec now;
    (void) clock_gettime(clock, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

static void
print_cluster_line(void)
{
    const u128 trace = cluster_trace(&cluster);
    const struct cluster_counts *counts = &cluster.counts;
    const struct network_sim_counters *network = &cluster.network.counters;
    uint64_t view = 0;
    for (uint32_t i = 0; i < cluster.options.node_count; i++) {
        struct engine_state state;
        if (cluster.nodes[i].engine == NULL) continue;
        engine_state_get(cluster.nodes[i].engine, &state);
        view = max_u64(view, state.view);
    }
    printf(
        "cluster seed %" PRIu64 ": trace %016" PRIx64 "%016" PRIx64 " nodes %u view %" PRIu64
        " ops %" PRIu64
        " requests %" PRIu64 " reads %" PRIu64 " answered %" PRIu64 " retries %" PRIu64
        " crashes %" PRIu64 " pauses %" PRIu64 " partitions %" PRIu64 " checkpoints %" PRIu64
        " messages %" PRIu64 " lost %" PRIu64 " doubled %" PRIu64 " overtaken %" PRIu64
        " broken %" PRIu64 " blocked %" PRIu64 " refused %" PRIu64 " given up %" PRIu64
        " unknown %" PRIu64 " changes %" PRIu64 " stands %" PRIu64 " resigned %" PRIu64
        " records %" PRIu64 " copies %" PRIu64 " over %" PRIu64
        " stranded %" PRIu64
        " steps %" PRIu64 " seconds %" PRIu64 "\n",
        cluster.seed,
        u128_high(trace),
        u128_low(trace),
        cluster.options.node_count,
        view,
        cluster.history.head,
        counts->requests,
        counts->reads,
        counts->answered,
        counts->retries,
        counts->crashes,
        counts->pauses,
        counts->partitions,
        counts->checkpoints,
        network->sent,
        network->lost,
        network->duplicated,
        network->overtaken,
        network->broken,
        network->blocked,
        counts->refused,
        counts->given_up,
        counts->unknown,
        counts->changes,
        counts->stands,
        counts->resigned,
        counts->records,
        counts->copies,
        counts->copies_over,
        counts->stranded,
        counts->steps,
        cluster.now_ns / NS_PER_S);
}

static int
run_clusters(uint64_t first, uint64_t count, const struct cluster_kind *kind)
{
    uint64_t simulated_ns = 0;
    uint64_t runs_total = 0;
    const uint64_t real_start_ns = read_ns(CLOCK_MONOTONIC);
    const uint64_t processor_start_ns = read_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t seed = first; seed < first + count; seed++) {
        u128 trace = 0;
        seed_running = seed;
        const uint32_t runs = count == 1 || seed % CLUSTER_TWICE == 0 ? 2 : 1;
        for (uint32_t run = 0; run < runs; run++) {
            cluster_run(&cluster, seed, kind);
            simulated_ns += cluster.now_ns;
            cluster_check(
                &cluster, run == 0 || cluster_trace(&cluster) == trace, "not the same trace again");
            trace = cluster_trace(&cluster);
            if (run == 0) print_cluster_line();
            cluster_free(&cluster);
        }
        runs_total += runs;
    }
    const uint64_t processor_ns = read_ns(CLOCK_PROCESS_CPUTIME_ID) - processor_start_ns;
    const uint64_t real_ns = read_ns(CLOCK_MONOTONIC) - real_start_ns;
    /* On a machine that others use as well, real time says what they do. */
    printf(
        "clusters: %" PRIu64 " seeds, %" PRIu64 " runs, simulated %" PRIu64 " s: %" PRIu64
        " times the processor's time, %" PRIu64 " times real time\n",
        count,
        runs_total,
        simulated_ns / NS_PER_S,
        simulated_ns / max_u64(processor_ns, 1),
        simulated_ns / max_u64(real_ns, 1));
    return 0;
}

static bool
cluster_canary_noticed(int canary, uint64_t seed)
{
    /* Where two are a quorum, a backup isn't alone with an op for long. */
    const struct cluster_kind kind = {
        .node_count = canary == CLUSTER_CANARY_COMMIT ? 5 : 3,
        .canary = (enum cluster_canary) canary,
    };
    seed_running = seed;
    if (setjmp(canary_noticed) == 0) {
        cluster_run(&cluster, seed, &kind);
        cluster_free(&cluster);
        return false;
    }
    cluster_free(&cluster);
    return true;
}

static int
run_cluster_canaries(void)
{
    bool failed = false;
    for (int canary = CLUSTER_CANARY_NONE + 1; canary < CLUSTER_CANARY_COUNT; canary++) {
        /* A copy does harm only where nobody else has what it has forgotten. */
        const uint64_t seeds = canary == CLUSTER_CANARY_FENCES ? CANARY_COPY_SEEDS : 1;
        uint32_t unnoticed = 0;
        for (uint64_t try = 0; try < CANARY_SEEDS; try++) {
            bool noticed = false;
            for (uint64_t i = 0; i < seeds && !noticed; i++) {
                noticed = cluster_canary_noticed(canary, try * seeds + i + 1);
            }
            if (!noticed) printf("cluster canary %d, try %" PRIu64 ": not noticed\n", canary, try);
            unnoticed += !noticed;
        }
        if (unnoticed > CANARY_SEEDS_UNNOTICED_MAX) failed = true;
    }
    printf("cluster canaries: %s\n", failed ? "NOT all noticed" : "all noticed");
    return failed ? 1 : 0;
}

static bool
is_cluster(const char *mode)
{
    static const char *const modes[] = {
        "--cluster", "--cluster-storm", "--growing", "--growing-storm", "--directed"};
    for (uint32_t i = 0; i < ARRAY_COUNT(modes); i++) {
        if (strcmp(mode, modes[i]) == 0) return true;
    }
    return false;
}

static int
main_cluster(int argc, char **argv)
{
    const uint64_t first = strtoull(argv[2], NULL, 10);
    const uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    const uint32_t nodes = argc > 4 ? (uint32_t) strtoul(argv[4], NULL, 10) : 0;
    if (nodes > CLUSTER_NODES_MAX) {
        (void) fprintf(stderr, "at most %u nodes\n", CLUSTER_NODES_MAX);
        return 2;
    }
    const bool directed = strcmp(argv[1], "--directed") == 0;
    const struct cluster_kind kind = {
        .node_count = directed ? 3 : nodes,
        .directed = directed,
        .grows = directed || strncmp(argv[1], "--growing", strlen("--growing")) == 0,
        .storm = strstr(argv[1], "-storm") != NULL,
    };
    return run_clusters(first, count, &kind);
}

int
main(int argc, char **argv)
{
    sim_memory_keep_heap();
    if (argc >= 3 && argc <= 5 && is_cluster(argv[1])) return main_cluster(argc, argv);
    if (argc == 2 && strcmp(argv[1], "--cluster-canary") == 0) return run_cluster_canaries();

    if (argc == 4 && strcmp(argv[1], "--window") == 0) {
        return run_windows(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    }
    if (argc == 2 && strcmp(argv[1], "--canary") == 0) return run_canaries();
    if (argc < 2 || argc > 3) {
        (void) fprintf(
            stderr,
            "usage: sim SEED [COUNT] | sim --window SEED COUNT | sim --canary | sim --cluster SEED "
            "[COUNT [NODES]] | sim --growing SEED [COUNT [NODES]] | sim --cluster-storm … | "
            "sim --growing-storm … | sim --directed SEED [COUNT] | sim --cluster-canary\n");
        return 2;
    }
    const uint64_t first = strtoull(argv[1], NULL, 10);
    const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        seed_running = seed;
        sim_run(&sim, seed, SIM_CANARY_NONE);
        print_line();
        sim_free(&sim);
    }
    return 0;
}
