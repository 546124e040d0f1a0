/* SPDX-License-Identifier: PostgreSQL */
/* What a seed is like. Each takes some kinds of trouble at some rates, and leaves others out. */
#include "sim/sim.h"

#include "base/units.h"

const char *
sim_profile_name(enum sim_profile profile)
{
    static const char *const names[SIM_PROFILE_COUNT + 1] = {
        [SIM_QUIET] = "quiet",
        [SIM_CRASHES] = "crashes",
        [SIM_SURVIVABLE] = "survivable",
        [SIM_DAMAGE] = "damage",
        [SIM_WINDOW] = "window",
    };
    return names[profile];
}

/* Per million: absent, rare or frequent. */
static uint32_t
rate(struct prng *prng, uint32_t rare, uint32_t frequent)
{
    switch (prng_below(prng, 3)) {
    case 0: return 0;
    case 1: return (uint32_t) prng_range(prng, 1, rare);
    default: return (uint32_t) prng_range(prng, rare, frequent);
    }
}

static void
faults_random(struct prng *prng, struct sim_options *options)
{
    options->disk.write_error_per_million = rate(prng, 300, 4000);
    options->disk.lost_write_per_million = rate(prng, 1000, 20000);
    options->disk.misdirected_write_per_million = rate(prng, 1000, 20000);
    options->disk.latent_error_per_million = rate(prng, 2000, 30000);
    options->disk.rot_per_million = rate(prng, 2000, 30000);
    options->disk.grow_error_per_million = rate(prng, 10000, 300000);
    options->injections = prng_chance(prng, 1, 2) ? (uint32_t) prng_range(prng, 10, 80) : 0;
}

struct sim_options
sim_options_random(struct prng *prng)
{
    struct sim_options options = {
        .profile = (enum sim_profile) prng_below(prng, SIM_PROFILE_COUNT),
        .prepares_size_bytes = PREPARES_SIZE_MIN * prng_range(prng, 1, 2),
        .memory_extra_bytes = 8 * MIB,
        .requests = (uint32_t) prng_range(prng, 150, 400),
        .clients = (uint32_t) prng_range(prng, 1, SIM_CLIENTS_MAX),
        .reads = (uint32_t) prng_range(prng, 0, 40),
        .submits = (uint32_t) prng_range(prng, 10, 100),
        .polls_max = (uint32_t) prng_range(prng, 1, 4),
        .stops = prng_chance(prng, 1, 2) ? (uint32_t) prng_range(prng, 1, 10) : 0,
        .step_ns_max = NS_PER_MS * prng_range(prng, 1, 40),
    };
    if (prng_chance(prng, 1, 2)) options.prepares_size_bytes = PREPARES_SIZE_MIN;
    options.disk.latency_max_ticks = (uint32_t) prng_below(prng, 6);
    options.disk.latency_min_ticks =
        (uint32_t) prng_below(prng, options.disk.latency_max_ticks + 1);
    if (prng_chance(prng, 1, 5)) {
        options.memory_small = true;
        options.memory_extra_bytes = prng_below(prng, 64) * BLOCK_SIZE;
    }
    if (prng_chance(prng, 1, 4)) {
        /* Full soon, or often: in tiny ones hardly anything is admitted. */
        const uint64_t blocks = prng_range(prng, 150, prng_chance(prng, 1, 2) ? 800 : 3200);
        options.grid_space_bytes = blocks * BLOCK_SIZE;
    }
    if (prng_chance(prng, 3, 4)) {
        options.scrub_ns = NS_PER_MS * prng_range(prng, 1, prng_chance(prng, 1, 2) ? 200 : 20000);
    }
    options.verifies = prng_chance(prng, 1, 2);
    const bool crashes = options.profile == SIM_CRASHES ||
                         (options.profile != SIM_QUIET && prng_chance(prng, 3, 4));
    if (crashes) options.fuse_max = prng_range(prng, 60, 1500);
    if (options.profile == SIM_SURVIVABLE || options.profile == SIM_DAMAGE) {
        faults_random(prng, &options);
    }
    return options;
}
