/* SPDX-License-Identifier: PostgreSQL */
/*
 * What each order of the two logs loses (doc/wal_order.md). A life goes on until the write of one
 * prepare, the victim, is reported durable, and it is lost, lands elsewhere, or rots at once. Some
 * events later power fails. Then
 *  - nothing is missing; or damage is told, and nothing is missing once it is healed;
 *  - or, with JOURNAL_SYNC_FIRST, the victim is missing, which is the newest op that was
 *    acknowledged, and neither its header nor the next prepare came to the disk, nor the superblock
 *    that says that it was there. All that was before is there, unchanged.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <string.h>

/* Events of the disk from the victim's write to the crash, at most. */
#define WINDOW_FUSE_MAX 6
#define WINDOW_STEPS_MAX 20000

/* ---- The victim ------------------------------------------------------------------------------ */

static void
take_past(struct sim *sim)
{
    struct sim_window *window = &sim->window;
    if (window->victim == 0 || window->past_taken) return;
    if (sim->oracle.commit + 1 != window->victim) return;
    window->past_taken = true;
    window->past_checksum = sim->oracle.checksum;
    window->past_timestamp = sim->oracle.timestamp;
    model_past_take(&window->past, &sim->oracle.model);
}

void
window_committed(struct sim *sim)
{
    take_past(sim);
}

void
window_wrote(struct sim *sim, const struct prepare_header *header)
{
    struct sim_window *window = &sim->window;
    if (!window->armed) return;
    if (window->fault == SIM_WINDOW_ROT) {
        const uint64_t sectors = prepare_size_on_disk(header) / SECTOR_SIZE;
        const uint64_t place = header->position % sim->options.prepares_size_bytes;
        const uint64_t offset = prng_below(&sim->prng, sectors) * SECTOR_SIZE;
        storage_sim_rot(&sim->disk, STORAGE_PREPARES, place + offset, SECTOR_SIZE);
    } else if (sim_faults(sim) == 0) {
        return; /* No place was found for it to land. */
    }
    window->armed = false;
    window->victim = header->op;
    sim->disk.options.lost_write_per_million = 0;
    sim->disk.options.misdirected_write_per_million = 0;
    storage_sim_crash_after(&sim->disk, prng_range(&sim->prng, 1, WINDOW_FUSE_MAX));
    take_past(sim);
}

static void
arm(struct sim *sim)
{
    struct sim_window *window = &sim->window;
    window->armed = true;
    window->fault = (enum sim_window_fault) prng_below(&sim->prng, 3);
    struct storage_sim_options *options = &sim->disk.options;
    if (window->fault == SIM_WINDOW_LOST) options->lost_write_per_million = 1000000;
    if (window->fault == SIM_WINDOW_MISDIRECTED) options->misdirected_write_per_million = 1000000;
}

/* ---- Judging --------------------------------------------------------------------------------- */

static bool
prepare_on_disk(const struct sim *sim, uint64_t op)
{
    const struct prepare_header *header = oracle_prepare(sim, op);
    if (header == NULL) return false;
    const uint64_t place = header->position % sim->options.prepares_size_bytes;
    const uint8_t *bytes = sim->disk.files[STORAGE_PREPARES].bytes + place;
    return memcmp(bytes, header, prepare_size_on_disk(header)) == 0;
}

/*
 * Acknowledged, and nothing on disk proves it, at least where it belongs; nor does the superblock.
 */
static bool
in_window(const struct sim *sim)
{
    const uint64_t victim = sim->window.victim;
    const struct prepare_header *header = oracle_prepare(sim, victim);
    const struct superblock_state *superblock = atlas_superblock(sim);
    assert(header != NULL && superblock != NULL);
    if (superblock->op_acked_min >= victim) return false;
    return sim->options.sync == JOURNAL_SYNC_FIRST && victim == sim->oracle.commit &&
           !prepare_on_disk(sim, victim) && !atlas_header_on_disk(sim, header) &&
           !prepare_on_disk(sim, victim + 1);
}

/* The ledger is what it was before the victim. */
static void
check_lost(struct sim *sim, uint64_t op)
{
    struct sim_window *window = &sim->window;
    struct sim_oracle *oracle = &sim->oracle;
    const struct model model = oracle->model;
    sim_check(sim, window->past_taken && op + 1 == window->victim, "more than one op is lost");
    oracle->model = window->past.model;
    oracle->commit = op;
    oracle->checksum = window->past_checksum;
    oracle->timestamp = window->past_timestamp;
    oracle_opened(sim, op);
    compare_log(sim);
    compare_all(sim);
    oracle->model = model;
    window->lost = true;
}

static void
judge(struct sim *sim)
{
    struct engine_open_report report;
    const bool window = in_window(sim);
    const uint64_t acknowledged = sim->oracle.commit;
    const enum engine_open_result result = node_try(sim, &report);
    if (result != ENGINE_OPENED) {
        const bool told = result == ENGINE_OPEN_JOURNAL_DAMAGED ||
                          result == ENGINE_OPEN_JOURNAL_SHORT;
        sim_check(sim, told, "open: result %d", result);
        sim_check(
            sim,
            !window || sim->window.fault == SIM_WINDOW_MISDIRECTED ||
                result == ENGINE_OPEN_JOURNAL_SHORT,
            "op %" PRIu64 " is told to be damaged, and nothing proves it",
            sim->window.victim);
        sim->window.told = true;
        atlas_heal(sim);
        node_open(sim);
        return;
    }
    if (report.op >= acknowledged) {
        oracle_opened(sim, report.op);
        compare_log(sim);
        compare_all(sim);
        return;
    }
    sim_check(
        sim,
        window,
        "op %" PRIu64 " was acknowledged and is gone, without being in the window",
        acknowledged);
    check_lost(sim, report.op);
}

void
window_run(struct sim *sim)
{
    const struct model *model = &sim->oracle.model;
    const uint64_t quiet = prng_range(&sim->prng, 5, 120);
    model_past_init(
        &sim->window.past, model->account_ids.count_max, model->transfer_ids.count_max);
    for (uint32_t steps = 0; !sim->disk.crashed; steps++) {
        sim_check(sim, steps < WINDOW_STEPS_MAX, "no prepare, or no crash");
        if (!sim->window.armed && sim->window.victim == 0 && sim->counts.requests >= quiet) {
            arm(sim);
        }
        clients_submit(sim);
        sim_step(sim);
    }
    node_crash(sim);
    judge(sim);
}
