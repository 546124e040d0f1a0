/* SPDX-License-Identifier: PostgreSQL */
/*
 * A build with another limit of those that are format has another fingerprint, and so refuses the
 * files. What it refuses them with is in test_superblock.c.
 */
#include "config.h"
#include "unit.h"

/*
 * The fingerprint as compiled with one limit changed: macros are expanded where they are used, so
 * each function below is what a build with that limit would compute.
 */
#pragma push_macro("SECTOR_SIZE")
#undef SECTOR_SIZE
#define SECTOR_SIZE 77
static uint64_t
with_other_sector_size(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("SECTOR_SIZE")

#pragma push_macro("BLOCK_SIZE")
#undef BLOCK_SIZE
#define BLOCK_SIZE 77
static uint64_t
with_other_block_size(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("BLOCK_SIZE")

#pragma push_macro("EVENTS_PER_BATCH_MAX")
#undef EVENTS_PER_BATCH_MAX
#define EVENTS_PER_BATCH_MAX 77
static uint64_t
with_other_events_per_batch_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("EVENTS_PER_BATCH_MAX")

#pragma push_macro("BATCHES_PER_PREPARE_MAX")
#undef BATCHES_PER_PREPARE_MAX
#define BATCHES_PER_PREPARE_MAX 77
static uint64_t
with_other_batches_per_prepare_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("BATCHES_PER_PREPARE_MAX")

#pragma push_macro("LSM_FANOUT")
#undef LSM_FANOUT
#define LSM_FANOUT 77
static uint64_t
with_other_lsm_fanout(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("LSM_FANOUT")

#pragma push_macro("LSM_FANOUT_IDS")
#undef LSM_FANOUT_IDS
#define LSM_FANOUT_IDS 77
static uint64_t
with_other_lsm_fanout_ids(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("LSM_FANOUT_IDS")

#pragma push_macro("LSM_FANOUT_RECORDS")
#undef LSM_FANOUT_RECORDS
#define LSM_FANOUT_RECORDS 77
static uint64_t
with_other_lsm_fanout_records(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("LSM_FANOUT_RECORDS")

#pragma push_macro("LSM_LEVELS")
#undef LSM_LEVELS
#define LSM_LEVELS 77
static uint64_t
with_other_lsm_levels(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("LSM_LEVELS")

#pragma push_macro("LEVEL_RUNS_MAX")
#undef LEVEL_RUNS_MAX
#define LEVEL_RUNS_MAX 77
static uint64_t
with_other_level_runs_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("LEVEL_RUNS_MAX")

#pragma push_macro("TAIL_ENTRIES")
#undef TAIL_ENTRIES
#define TAIL_ENTRIES 77
static uint64_t
with_other_tail_entries(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("TAIL_ENTRIES")

#pragma push_macro("OBJECTS_DIRTY_MAX")
#undef OBJECTS_DIRTY_MAX
#define OBJECTS_DIRTY_MAX 77
static uint64_t
with_other_objects_dirty_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("OBJECTS_DIRTY_MAX")

#pragma push_macro("BEAT_ENTRIES")
#undef BEAT_ENTRIES
#define BEAT_ENTRIES 77
static uint64_t
with_other_beat_entries(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("BEAT_ENTRIES")

#pragma push_macro("MERGE_TURNS")
#undef MERGE_TURNS
#define MERGE_TURNS 77
static uint64_t
with_other_merge_turns(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("MERGE_TURNS")

#pragma push_macro("TABLE_BLOCKS_MAX")
#undef TABLE_BLOCKS_MAX
#define TABLE_BLOCKS_MAX 77
static uint64_t
with_other_table_blocks_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("TABLE_BLOCKS_MAX")

#pragma push_macro("TABLE_FILTERED_MAX")
#undef TABLE_FILTERED_MAX
#define TABLE_FILTERED_MAX 77
static uint64_t
with_other_table_filtered_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("TABLE_FILTERED_MAX")

#pragma push_macro("TABLES_PER_NODE")
#undef TABLES_PER_NODE
#define TABLES_PER_NODE 77
static uint64_t
with_other_tables_per_node(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("TABLES_PER_NODE")

#pragma push_macro("INDEX_HASH_BITS")
#undef INDEX_HASH_BITS
#define INDEX_HASH_BITS 77
static uint64_t
with_other_index_hash_bits(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("INDEX_HASH_BITS")

#pragma push_macro("EVENT_SIZE")
#undef EVENT_SIZE
#define EVENT_SIZE 77
static uint64_t
with_other_event_size(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("EVENT_SIZE")

#pragma push_macro("PREPARE_HEADER_SIZE")
#undef PREPARE_HEADER_SIZE
#define PREPARE_HEADER_SIZE 77
static uint64_t
with_other_prepare_header_size(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("PREPARE_HEADER_SIZE")

#pragma push_macro("PULSE_EXPIRIES_MAX")
#undef PULSE_EXPIRIES_MAX
#define PULSE_EXPIRIES_MAX 77
static uint64_t
with_other_pulse_expiries_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("PULSE_EXPIRIES_MAX")

#pragma push_macro("CHECKPOINT_EVENTS_MAX")
#undef CHECKPOINT_EVENTS_MAX
#define CHECKPOINT_EVENTS_MAX 77
static uint64_t
with_other_checkpoint_events_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("CHECKPOINT_EVENTS_MAX")

#pragma push_macro("SUPERBLOCK_COPIES")
#undef SUPERBLOCK_COPIES
#define SUPERBLOCK_COPIES 77
static uint64_t
with_other_superblock_copies(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("SUPERBLOCK_COPIES")

#pragma push_macro("SUPERBLOCK_COPY_STRIDE")
#undef SUPERBLOCK_COPY_STRIDE
#define SUPERBLOCK_COPY_STRIDE 77
static uint64_t
with_other_superblock_copy_stride(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("SUPERBLOCK_COPY_STRIDE")

#pragma push_macro("PIPELINE_PREPARES_MAX")
#undef PIPELINE_PREPARES_MAX
#define PIPELINE_PREPARES_MAX 77
static uint64_t
with_other_pipeline_prepares_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("PIPELINE_PREPARES_MAX")

#pragma push_macro("SUPERBLOCK_SUFFIX_MAX")
#undef SUPERBLOCK_SUFFIX_MAX
#define SUPERBLOCK_SUFFIX_MAX 77
static uint64_t
with_other_superblock_suffix_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("SUPERBLOCK_SUFFIX_MAX")

#pragma push_macro("MEMBERS_MAX")
#undef MEMBERS_MAX
#define MEMBERS_MAX 77
static uint64_t
with_other_members_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("MEMBERS_MAX")

#pragma push_macro("VOTERS_MAX")
#undef VOTERS_MAX
#define VOTERS_MAX 77
static uint64_t
with_other_voters_max(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("VOTERS_MAX")

#pragma push_macro("HEADERS_INTERLEAVED")
#undef HEADERS_INTERLEAVED
#define HEADERS_INTERLEAVED 77
static uint64_t
with_other_headers_interleaved(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("HEADERS_INTERLEAVED")

#pragma push_macro("DISK_FORMAT_VERSION")
#undef DISK_FORMAT_VERSION
#define DISK_FORMAT_VERSION 77
static uint64_t
with_other_disk_format_version(void)
{
    return CONFIG_FINGERPRINT;
}
#pragma pop_macro("DISK_FORMAT_VERSION")

typedef uint64_t fingerprint_function(void);

static fingerprint_function *const changed[] = {
    with_other_sector_size,
    with_other_block_size,
    with_other_events_per_batch_max,
    with_other_batches_per_prepare_max,
    with_other_pipeline_prepares_max,
    with_other_lsm_fanout,
    with_other_lsm_fanout_ids,
    with_other_lsm_fanout_records,
    with_other_lsm_levels,
    with_other_level_runs_max,
    with_other_tail_entries,
    with_other_objects_dirty_max,
    with_other_beat_entries,
    with_other_merge_turns,
    with_other_table_blocks_max,
    with_other_table_filtered_max,
    with_other_tables_per_node,
    with_other_index_hash_bits,
    with_other_event_size,
    with_other_prepare_header_size,
    with_other_pulse_expiries_max,
    with_other_checkpoint_events_max,
    with_other_superblock_copies,
    with_other_superblock_copy_stride,
    with_other_superblock_suffix_max,
    with_other_members_max,
    with_other_voters_max,
    with_other_headers_interleaved,
    with_other_disk_format_version,
};
#define CHANGED_COUNT (sizeof(changed) / sizeof(changed[0]))

UNIT_TEST(each_limit_that_is_format_changes_the_fingerprint)
{
    for (uint32_t i = 0; i < CHANGED_COUNT; i++) {
        expect(changed[i]() != CONFIG_FINGERPRINT);
        for (uint32_t j = 0; j < i; j++) expect(changed[i]() != changed[j]());
    }
}

UNIT_TEST(each_limit_that_is_format_is_tried)
{
    expect_equal(CHANGED_COUNT, sizeof((uint64_t[]){CONFIG_FORMAT}) / sizeof(uint64_t));
}

#pragma push_macro("READ_ROWS_PER_POLL")
#undef READ_ROWS_PER_POLL
#define READ_ROWS_PER_POLL 77
UNIT_TEST(a_limit_that_may_change_freely_does_not)
{
    static const uint64_t values[] = {CONFIG_FORMAT};
    expect_equal(CONFIG_FINGERPRINT, config_fingerprint(values, CHANGED_COUNT));
}
#pragma pop_macro("READ_ROWS_PER_POLL")

UNIT_TEST(the_same_values_in_another_order_differ)
{
    const uint64_t values[2] = {1, 2};
    const uint64_t turned[2] = {2, 1};
    expect(config_fingerprint(values, 2) != config_fingerprint(turned, 2));
    expect(config_fingerprint(values, 1) != config_fingerprint(values, 2));
}

UNIT_MAIN(test_config)
