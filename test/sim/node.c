/* SPDX-License-Identifier: PostgreSQL */
/* The engine's lives. (O6) */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/units.h"
#include "sim/memory.h"

/* Attempts to open with faults; then they stop. */
#define OPENS_FAULTY_MAX 6
#define OPENS_MAX        40

const struct engine_identity sim_identity = {
    .cluster = 0x51,
    .incarnation = 0x52,
    .system_identifier = 0x53,
    .replica = 0,
    .replica_count = 1,
};

static struct sim_memory node_memory; /* In all runs. */

/* ---- Format ---------------------------------------------------------------------------------- */

void
node_format(struct sim *sim)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    sim->atlas.healing = true;
    if (sim->options.fuse_max > 0 && prng_chance(&sim->prng, 1, 3)) {
        storage_sim_crash_after(&sim->disk, prng_range(&sim->prng, 1, 16));
    }
    for (;;) {
        memset(scratch, 0, sizeof(scratch));
        const enum engine_open_result result = engine_format(
            &sim->disk.storage,
            sim->options.prepares_size_bytes,
            &sim_identity,
            NULL,
            scratch);
        const bool crashed = sim->disk.crashed;
        storage_sim_restart(&sim->disk);
        if (result == ENGINE_OPENED) break;
        sim_check(sim, crashed, "format fails without a reason: %d", result);
        /* The host begins anew, with new files. */
        memset(
            storage_sim_bytes(&sim->disk, STORAGE_SUPERBLOCK),
            0,
            sim->disk.files[STORAGE_SUPERBLOCK].size_bytes);
    }
    sim->atlas.healing = false;
}

/* ---- End of a life --------------------------------------------------------------------------- */

static void
node_gone(struct sim *sim)
{
    static struct engine_stats stats;
    struct engine_state state;
    if (sim->engine != NULL) {
        engine_stats_get(sim->engine, &stats);
        sim->counts.checkpoints += stats.checkpoints;
        sim->counts.parts += stats.extracts_read;
        engine_state_get(sim->engine, &state);
        sim->counts.tours += state.scrub_tours;
    }
    sim->engine = NULL;
    clients_forget(sim);
    verify_forget(sim);
    storage_sim_restart(&sim->disk);
}

void
node_crash(struct sim *sim)
{
    assert(sim->engine != NULL);
    if (!sim->disk.crashed) storage_sim_crash_now(&sim->disk);
    node_gone(sim);
}

void
node_stop(struct sim *sim)
{
    assert(sim->engine != NULL);
    storage_sim_crash_after(&sim->disk, 0);
    engine_scrub(sim->engine, 0);
    for (uint32_t steps = 0;; steps++) {
        const bool working = engine_busy(sim->engine) && !engine_failed(sim->engine);
        if (!working && sim->disk.storage.in_flight_count == 0) break;
        sim_check(sim, steps < 10000, "does not come to rest");
        sim_step(sim);
    }
    node_gone(sim);
}

/* ---- Open ------------------------------------------------------------------------------------ */

static void
node_create(struct sim *sim)
{
    struct engine_options options = {
        .prepares_size_bytes = sim->options.prepares_size_bytes,
        .grid_size_bytes = sim->disk.storage.file_size_bytes[STORAGE_GRID],
        .requests_max = SIM_CLIENTS_MAX + 2,
        .wal_sync = sim->options.sync,
        .session = prng_range(&sim->prng_session, 1, UINT64_MAX),
    };
    if (sim->memory_bytes == 0) {
        sim->memory_bytes = engine_memory_bytes_min(&options) + sim->options.memory_extra_bytes;
        sim->memory_bytes = align_up(sim->memory_bytes, ARENA_ALIGNMENT);
    }
    void *memory = sim_memory_zeroed(&node_memory, sim->memory_bytes);
    options.memory_bytes = sim->memory_bytes;
    sim->engine =
        engine_create(memory, &options, &sim->disk.storage, &sim->clock.clock);
}

/* Not open: may that be? And what does its owner do about it? */
static void
open_refused(
    struct sim *sim,
    enum engine_open_result result,
    const struct engine_open_report *report,
    uint64_t faults_before)
{
    const bool fault_now = sim_faults(sim) > faults_before;
    const bool damaged = atlas_damaged(sim);
    switch (result) {
    case ENGINE_OPENED: unreachable();
    case ENGINE_OPEN_ABSENT:
    case ENGINE_OPEN_OTHER_IDENTITY:
    case ENGINE_OPEN_SIZE_MISMATCH:
    case ENGINE_OPEN_BEHIND:
    case ENGINE_OPEN_JOURNAL_SHORT: /* The atlas keeps the evidence. */
    case ENGINE_OPEN_OTHER_LOG:
    case ENGINE_OPEN_CLUSTER:
    case ENGINE_OPEN_OVER:
    case ENGINE_OPEN_INVALID_PREPARE: sim_fail(sim, "open: result %d", result);
    case ENGINE_OPEN_MEMORY_TOO_SMALL:
        sim_check(sim, sim->options.memory_small, "open: memory is large, but too small");
        sim_check(
            sim,
            report->memory_bytes_needed > sim->memory_bytes,
            "open: %" PRIu64 " bytes of memory would do, it has %" PRIu64,
            report->memory_bytes_needed,
            sim->memory_bytes);
        sim->memory_bytes = align_up(report->memory_bytes_needed, ARENA_ALIGNMENT);
        return;
    case ENGINE_OPEN_DISK_FULL: sim_fail(sim, "open: no room for what was admitted");
    case ENGINE_OPEN_IO_ERROR:
        sim_check(sim, fault_now || damaged, "open: input/output error, and no fault");
        if (damaged && prng_chance(&sim->prng, 1, 2)) atlas_heal(sim);
        return;
    case ENGINE_OPEN_SUPERBLOCK:
    case ENGINE_OPEN_OTHER_VERSION:
    case ENGINE_OPEN_OTHER_CONFIG:
    case ENGINE_OPEN_JOURNAL_DAMAGED:
    case ENGINE_OPEN_GRID_CORRUPT:
        sim_check(
            sim,
            damaged || atlas_uncertain(sim, result, &report->journal),
            "open: result %d, superblock %s, rule %s, op %" PRIu64 ", block %" PRIu64,
            result,
            report->superblock_name,
            report->journal.damage ? report->journal.damage->name : "none",
            report->journal.damage_op,
            report->block_address);
        sim->counts.reported += 1;
        atlas_heal(sim);
        return;
    }
    unreachable();
}

static void
open_plan_crash(struct sim *sim, bool faulty)
{
    if (!faulty || sim->calm || sim->options.fuse_max == 0) return;
    const uint64_t fuse_max = prng_chance(&sim->prng, 1, 3) ? 60 : sim->options.fuse_max;
    storage_sim_crash_after(&sim->disk, prng_range(&sim->prng, 1, fuse_max));
}

/* True if it is open and lives. */
static bool
open_once(struct sim *sim, bool faulty)
{
    struct engine_open_report report;
    sim->faults_at_open = sim_faults(sim);
    sim->atlas.healing = !faulty;
    node_create(sim);
    open_plan_crash(sim, faulty);
    const enum engine_open_result result = engine_open(sim->engine, &sim_identity, &report);
    sim->atlas.healing = false;
    if (!sim->disk.crashed && result == ENGINE_OPENED) {
        oracle_opened(sim, report.op);
        engine_scrub(sim->engine, sim->options.scrub_ns);
        return true;
    }
    const bool crashed = sim->disk.crashed;
    while (sim->disk.storage.in_flight_count > 0) (void) storage_wait(&sim->disk.storage);
    sim->engine = NULL;
    storage_sim_restart(&sim->disk);
    sim->counts.opens_failed += 1;
    if (!crashed) open_refused(sim, result, &report, sim->faults_at_open);
    return false;
}

enum engine_open_result
node_try(struct sim *sim, struct engine_open_report *report)
{
    assert(sim->engine == NULL);
    sim->faults_at_open = sim_faults(sim);
    sim->atlas.healing = true;
    node_create(sim);
    const enum engine_open_result result = engine_open(sim->engine, &sim_identity, report);
    sim->atlas.healing = false;
    assert(!sim->disk.crashed);
    if (result == ENGINE_OPENED) return result;
    while (sim->disk.storage.in_flight_count > 0) (void) storage_wait(&sim->disk.storage);
    sim->engine = NULL;
    storage_sim_restart(&sim->disk);
    return result;
}

/*
 * The grid's file is larger than any checkpoint knows: as after a crash soon after it grew.
 */
static void
grid_grows_unnoticed(struct sim *sim)
{
    struct storage *storage = &sim->disk.storage;
    const uint64_t blocks = prng_range(&sim->prng, 1, 40 * GRID_GROW_BLOCKS);
    const uint64_t size_bytes = storage->file_size_bytes[STORAGE_GRID] + blocks * BLOCK_SIZE;
    assert(!sim->disk.crashed);
    sim->atlas.healing = true;
    (void) storage_grow(storage, STORAGE_GRID, size_bytes);
    sim->atlas.healing = false;
}

void
node_open(struct sim *sim)
{
    assert(sim->engine == NULL);
    uint32_t attempts = 0;
    if (!sim->calm && prng_chance(&sim->prng, 1, 6)) grid_grows_unnoticed(sim);
    while (!open_once(sim, attempts < OPENS_FAULTY_MAX)) {
        attempts += 1;
        sim_check(sim, attempts < OPENS_MAX, "does not open");
    }
    sim->counts.lives += 1;
    compare_log(sim);
    compare_all(sim);
}
