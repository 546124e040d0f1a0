/* SPDX-License-Identifier: PostgreSQL */
/* One seed. */
#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define LIVES_MAX 30

/* Liveness (O7): steps that everything in flight may take when nothing fails. */
#define CALM_STEPS_MAX 10000
#define STEPS_MAX      200000

/* ---- The clock ------------------------------------------------------------------------------- */

static uint64_t
sim_realtime_ns(struct clock *clock)
{
    return container_of(clock, struct sim_clock, clock)->realtime_ns;
}

static uint64_t
sim_monotonic_ns(struct clock *clock)
{
    return container_of(clock, struct sim_clock, clock)->monotonic_ns;
}

static const struct clock_ops sim_clock_ops = {
    .realtime_ns = sim_realtime_ns,
    .monotonic_ns = sim_monotonic_ns,
};

static void
clock_step(struct sim *sim)
{
    struct sim_clock *clock = &sim->clock;
    const uint64_t step_ns = prng_below(&sim->prng, sim->options.step_ns_max);
    clock->monotonic_ns += step_ns;
    clock->realtime_ns += step_ns;
    if (!prng_chance(&sim->prng, 1, 200)) return;
    const uint64_t jump_ns = prng_below(&sim->prng, 6 * NS_PER_S);
    if (prng_chance(&sim->prng, 1, 2)) {
        clock->realtime_ns += jump_ns;
    } else {
        clock->realtime_ns -= jump_ns;
    }
}

/* ---- Steps ----------------------------------------------------------------------------------- */

uint64_t
sim_faults(const struct sim *sim)
{
    const struct storage_sim_counters *counters = &sim->disk.counters;
    return counters->write_errors + counters->lost_writes + counters->misdirected_writes +
           counters->latent_errors + counters->rots + counters->grow_errors;
}

/*
 * (O7) What waits for the disk must have something there. Twice: what the forest's tests' build
 * lets wait is not on the disk, and gets on with the next poll.
 */
static void
check_rest(struct sim *sim, bool progress)
{
    const bool ended = sim->disk.crashed || engine_failed(sim->engine);
    const bool rests = !progress && !ended && sim->disk.storage.in_flight_count == 0;
    sim->rests = rests && engine_busy(sim->engine) ? sim->rests + 1 : 0;
    sim_check(sim, sim->rests < 2, "busy, and nothing under way");
}

void
sim_step(struct sim *sim)
{
    clock_step(sim);
    storage_sim_tick(&sim->disk);
    const uint64_t polls = prng_range(&sim->prng, 1, sim->options.polls_max);
    for (uint64_t i = 0; i < polls && !sim->disk.crashed; i++) {
        const bool progress = engine_poll(sim->engine);
        oracle_capture(sim);
        check_rest(sim, progress);
    }
    if (!sim->disk.crashed) verify_scrub(sim);
    if (!sim->disk.crashed) verify_step(sim);
    if (!sim->disk.crashed && prng_chance(&sim->prng, 1, 4)) engine_tick(sim->engine);
}

static void
on_wrote(void *context, const struct storage_request *write, bool done)
{
    struct sim *sim = context;
    atlas_wrote(sim, write, done);
    if (!sim->atlas.healing || sim->engine != NULL) oracle_wrote(sim, write, done);
}

/* ---- Canaries -------------------------------------------------------------------------------- */

static bool
lie_allowed(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    (void) context;
    (void) offset_bytes;
    (void) size_bytes;
    return file == STORAGE_PREPARES || file == STORAGE_HEADERS;
}

/* Behind the atlas's back. */
static void
canary_step(struct sim *sim)
{
    if (sim->canary != SIM_CANARY_LYING_DISK) return;
    if (sim->counts.requests < sim->options.requests / 2) return;
    sim->disk.options.fault_allowed = lie_allowed;
    sim->disk.options.lost_write_per_million = 1000000;
}

/* ---- A run ----------------------------------------------------------------------------------- */

/* Of a stream of its own, so that everything else of a seed is the same with either. */
static enum journal_sync
sync_random(uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, ~seed);
    return prng_chance(&prng, 1, 2) ? JOURNAL_SYNC_FIRST : JOURNAL_SYNC_BOTH;
}

/* One fault and one crash, and nothing else that could take part. */
static void
options_window(struct sim_options *options)
{
    options->profile = SIM_WINDOW;
    options->fuse_max = 0;
    options->injections = 0;
    options->stops = 0;
    options->grid_space_bytes = 0;
    options->memory_small = false;
    options->memory_extra_bytes = 8 * MIB;
    options->scrub_ns = 0;
    options->verifies = false;
    options->disk = (struct storage_sim_options){
        .latency_min_ticks = options->disk.latency_min_ticks,
        .latency_max_ticks = options->disk.latency_max_ticks,
    };
}

static void
run_init(struct sim *sim, uint64_t seed, enum sim_canary canary, bool window)
{
    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    sim->canary = canary;
    prng_init(&sim->prng, seed);
    prng_init(&sim->prng_disk, prng_next(&sim->prng));
    prng_init(&sim->prng_session, ~sim->seed);
    prng_init(&sim->prng_workload, prng_next(&sim->prng));
    sim->options = sim_options_random(&sim->prng);
    sim->options.sync = sync_random(seed);
    if (window) options_window(&sim->options);
    if (canary != SIM_CANARY_NONE) {
        sim->options.profile = SIM_CRASHES;
        sim->options.fuse_max = 300;
    }

    const uint64_t prepares_size = sim->options.prepares_size_bytes;
    struct storage_sim_options *disk = &sim->options.disk;
    disk->file_size_bytes[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE;
    disk->file_size_bytes[STORAGE_PREPARES] = prepares_size;
    disk->file_size_bytes[STORAGE_HEADERS] = headers_log_count(prepares_size) * PREPARE_HEADER_SIZE;
    disk->fault_allowed = atlas_allows;
    disk->fault_context = sim;
    disk->wrote = on_wrote;
    disk->wrote_context = sim;
    if (sim->options.grid_space_bytes > 0) {
        disk->space_limit_bytes = sim->options.grid_space_bytes;
        for (uint32_t i = 0; i < STORAGE_FILE_COUNT; i++) {
            disk->space_limit_bytes += disk->file_size_bytes[i];
        }
    }
    storage_sim_init(&sim->disk, disk, &sim->prng_disk);
    sim->clock = (struct sim_clock){
        .clock.ops = &sim_clock_ops,
        .realtime_ns = UINT64_C(1750000000) * NS_PER_S,
    };
    const struct workload_options workload = workload_options_random(&sim->prng_workload);
    workload_init(&sim->workload, &sim->prng_workload, &workload);
    atlas_init(sim);
    oracle_init(sim);
}

static void
run_reopen(struct sim *sim, bool crash)
{
    if (crash) {
        node_crash(sim);
    } else {
        node_stop(sim);
    }
    if (!sim->calm) atlas_inject(sim);
    node_open(sim);
}

/* The end of this life, if it has come. */
static void
run_mishaps(struct sim *sim)
{
    if (sim->disk.crashed) {
        run_reopen(sim, true);
        return;
    }
    if (engine_failed(sim->engine)) {
        sim_check(
            sim,
            sim_faults(sim) > sim->faults_at_open || atlas_damaged(sim),
            "failed without a reason");
        run_reopen(sim, sim->options.fuse_max > 0 && prng_chance(&sim->prng, 1, 2));
        return;
    }
    struct engine_damage damage;
    if (engine_pulse_damage(sim->engine, &damage)) {
        sim_check(
            sim,
            sim_faults(sim) > sim->faults_at_open || atlas_damaged(sim),
            "no pulse is made, without a reason");
    }
    if (prng_chance(&sim->prng, sim->options.stops, 1000)) run_reopen(sim, false);
}

static void
run_faulty(struct sim *sim)
{
    uint32_t steps = 0;
    while (sim->counts.requests < sim->options.requests && sim->counts.lives < LIVES_MAX) {
        steps += 1;
        sim_check(sim, steps < STEPS_MAX, "no progress");
        clients_submit(sim);
        sim_step(sim);
        canary_step(sim);
        run_mishaps(sim);
    }
}

/*
 * A step in the calm. An error, or damage, from before may come to light only now: the owner
 * restores what was damaged, or the same op would meet it again and again; and so would pulses,
 * which are not made meanwhile.
 */
static void
calm_step(struct sim *sim)
{
    struct engine_damage damage;
    sim_step(sim);
    if (!engine_failed(sim->engine) && !engine_pulse_damage(sim->engine, &damage)) return;
    sim_check(
        sim,
        sim_faults(sim) > sim->faults_at_open || atlas_damaged(sim),
        "fails in the calm");
    node_stop(sim);
    if (atlas_damaged(sim)) atlas_heal(sim);
    node_open(sim);
}

/* Everything that was asked is answered, and what is due is released. */
static void
run_calm(struct sim *sim)
{
    sim->calm = true;
    sim->full_before_calm = sim->disk.options.space_limit_bytes > 0;
    sim->disk.options.space_limit_bytes = 0;
    if (sim->disk.crashed) run_reopen(sim, true);
    storage_sim_crash_after(&sim->disk, 0);
    uint32_t steps = 0;
    while (clients_waiting(sim) || engine_busy(sim->engine)) {
        sim_check(sim, steps < CALM_STEPS_MAX, "requests are not answered");
        calm_step(sim);
        steps += 1;
    }
    const uint64_t now = max_u64(sim->clock.realtime_ns, sim->oracle.timestamp + 1);
    while (!sim->options.memory_small && model_pulse_due(&sim->oracle.model, now)) {
        sim_check(sim, steps < CALM_STEPS_MAX, "holds that are due are not released");
        calm_step(sim);
        steps += 1;
    }
    verify_now(sim);
}

void
sim_run(struct sim *sim, uint64_t seed, enum sim_canary canary)
{
    run_init(sim, seed, canary, false);
    node_format(sim);
    node_open(sim);
    run_faulty(sim);
    run_calm(sim);
    run_reopen(sim, false);
    run_reopen(sim, false);
}

void
sim_run_window(struct sim *sim, uint64_t seed)
{
    run_init(sim, seed, SIM_CANARY_NONE, true);
    node_format(sim);
    node_open(sim);
    window_run(sim);
}

void
sim_free(struct sim *sim)
{
    model_past_free(&sim->window.past);
    oracle_free(sim);
    atlas_free(sim);
    storage_sim_free(&sim->disk);
}
