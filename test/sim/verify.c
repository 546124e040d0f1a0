/* SPDX-License-Identifier: PostgreSQL */
/* Verifications, while everything happens and in the calm; and the scrubber's reports. (O9) */
#include "sim/sim.h"

#include <inttypes.h>
#include <string.h>

/* Polls of a verification in the calm. */
#define VERIFY_POLLS_MAX 1000000

/* Only where there were faults. A lone node mends its headers log when it starts. */
static bool
may_find(const struct sim *sim, const struct verify_finding *finding)
{
    if (sim_faults(sim) == 0) return false;
    if (sim->options.profile == SIM_DAMAGE) return true;
    if (sim->options.profile != SIM_SURVIVABLE) return false;
    return finding->kind == VERIFY_HEADER || finding->kind == VERIFY_MORE;
}

static void
on_verified(struct engine_request *request)
{
    struct sim *sim = container_of(request, struct sim, verify.request);
    struct verify_finding finding;
    assert(sim->verify.lent);
    sim->verify.lent = false;
    /* After a crash, nothing can be read. */
    if (request->status != ENGINE_OK || sim->disk.crashed) return;
    sim->counts.verified += 1;
    for (uint32_t at = 0; at < request->reply_size; at += sizeof(finding)) {
        memcpy(&finding, (const char *) sim->verify.reply + at, sizeof(finding));
        sim_check(
            sim,
            may_find(sim, &finding),
            "verification finds kind %u, what %u, number %" PRIu64 ", tree \"%s\", expected "
            "%" PRIu64 ", found %" PRIu64 ", of %zu findings",
            finding.kind,
            finding.what,
            finding.number,
            finding.tree_name,
            u128_low(finding.expected),
            u128_low(finding.found),
            request->reply_size / sizeof(finding));
    }
}

static void
verify_submit(struct sim *sim)
{
    assert(!sim->verify.lent);
    sim->verify.request = (struct engine_request){
        .operation = LEDGER_VERIFY,
        .reply = sim->verify.reply,
        .reply_size_max = sizeof(sim->verify.reply),
        .callback = on_verified,
    };
    sim->verify.lent = true;
    engine_submit(sim->engine, &sim->verify.request);
}

void
verify_step(struct sim *sim)
{
    if (!sim->options.verifies) return;
    if (!sim->verify.lent) {
        if (!sim->calm && prng_chance(&sim->prng, 1, 20)) verify_submit(sim);
    } else if (prng_chance(&sim->prng, 1, 400)) {
        if (engine_cancel(sim->engine, &sim->verify.request)) assert(!sim->verify.lent);
    }
}

void
verify_forget(struct sim *sim)
{
    sim->verify.lent = false;
}

void
verify_now(struct sim *sim)
{
    const uint64_t verified = sim->counts.verified;
    for (uint32_t polls = 0; sim->counts.verified == verified; polls++) {
        sim_check(sim, polls < VERIFY_POLLS_MAX, "verification does not end");
        if (engine_failed(sim->engine)) return; /* Of an error from before the calm. */
        if (!sim->verify.lent) verify_submit(sim);
        if (!engine_poll(sim->engine)) storage_sim_tick(&sim->disk);
        oracle_capture(sim);
    }
}

void
verify_scrub(struct sim *sim)
{
    struct engine_damage damage;
    while (engine_scrub_damage(sim->engine, &damage)) {
        const uint64_t offset = (damage.block_address - 1) * BLOCK_SIZE;
        const bool within = offset < sim->disk.files[STORAGE_GRID].size_bytes;
        sim_check(
            sim,
            !within || storage_sim_faulty(&sim->disk, STORAGE_GRID, offset, BLOCK_SIZE),
            "block %" PRIu64 " of tree %s is not damaged",
            damage.block_address,
            damage.tree_name);
        sim->counts.scrubbed += 1;
    }
}
