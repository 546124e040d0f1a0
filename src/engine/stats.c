/* SPDX-License-Identifier: PostgreSQL */
/* What the engine reports about itself. */
#include "engine/internal.h"
#include "forest/watch.h"
#include "store/grid.h"

void
engine_state_get(const struct engine *engine, struct engine_state *state)
{
    struct forest_stats forest;
    struct forest_scrub_stats scrub;
    forest_stats_get(engine->forest, &forest);
    forest_scrub_stats_get(engine->forest, &scrub);
    struct engine_damage pulse = {0};
    const bool pulse_damaged = engine_pulse_damage(engine, &pulse);
    const bool told = pulse_damaged && forest_scrub_knows(engine->forest, pulse.block_address);
    *state = (struct engine_state){
        .op = replica_op(&engine->replica),
        .commit = replica_committed(&engine->replica),
        .kept_op = replica_kept(&engine->replica),
        .checkpoint_op = engine->journal.checkpoint.op,
        .timestamp = replica_timestamp(&engine->replica),
        .wal_used_bytes = journal_used_bytes(&engine->journal),
        .wal_size_bytes = engine->journal.prepares_size_bytes,
        .grid_size_bytes = engine->grid.block_count * BLOCK_SIZE,
        .grid_used_bytes =
            (engine->grid.block_count - grid_free_count(&engine->grid)) * BLOCK_SIZE,
        .memory_used_bytes =
            engine->options.memory_bytes - forest.memory_bytes_max + forest.memory_bytes_used,
        .memory_bytes = engine->options.memory_bytes,
        .cache_size_bytes = forest.cache_blocks * BLOCK_SIZE,
        .tables = forest.tables,
        .tables_max = forest.tables_max,
        .accounts = forest.records[GROOVE_ACCOUNT],
        .transfers = forest.records[GROOVE_TRANSFER],
        .scrub_tours = scrub.tours,
        .scrub_tour_blocks = scrub.tour_blocks,
        .scrub_blocks_total = scrub.blocks_total,
        .damaged_blocks = scrub.damaged + (pulse_damaged && !told ? 1 : 0),
        .view = replica_view(&engine->replica),
        .replica = engine->superblock.working->slot,
        .replica_count = (uint8_t) members_voter_count(engine->replica.voters),
        .failed = engine_failed(engine),
    };
}

void
engine_stats_get(const struct engine *engine, struct engine_stats *stats)
{
    struct forest_stats forest;
    forest_stats_get(engine->forest, &forest);
    *stats = engine->stats;
    stats->prepares = engine->replica.stats.prepares;
    stats->pulses = engine->replica.stats.pulses;
    stats->pulses_skipped = engine->replica.stats.pulses_skipped;
    stats->events_per_prepare = engine->replica.stats.events_per_prepare;
    stats->requests_per_prepare = engine->replica.stats.requests_per_prepare;
    stats->checkpoints = engine->replica.stats.checkpoints;
    stats->blocks_written = engine->grid.stats.blocks_written;
    stats->blocks_read = engine->grid.stats.blocks_read;
    stats->extracts_read = engine->grid.stats.extracts_read;
    stats->cache_hits = forest.cache_hits;
    stats->cache_misses = forest.cache_misses;
    stats->cache_evictions = forest.cache_evictions;
    stats->journal = engine->journal.stats;
    stats->solo_writes = engine->storage->solo;
}
