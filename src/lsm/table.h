/* SPDX-License-Identifier: PostgreSQL */
/*
 * Tables: sorted entries on disk, never changed.
 *
 *     value blocks    entries, ascending by key
 *     filter blocks   if the format says so: which keys there may be (lsm/filter.h)
 *     index block     a table_block for each value block, then for each filter block
 *
 * Whoever refers to a table holds a table_info: the index block's reference, and the range of keys.
 *
 * An entry has one of three shapes. Its key is a number of 128 bits:
 *
 *     shape           bytes             key
 *     ENTRY_INDEX     16                value (64 bits), then timestamp: the whole entry
 *     ENTRY_ID        24                id; the timestamp is what it leads to
 *     ENTRY_RECORD    the record's      the record's timestamp
 *
 * Numbered invariants (asserted, tested under their number):
 *  (T1) keys ascend strictly within a table, and key_min and key_max are those of its ends.
 */
#ifndef LEDGER_LSM_TABLE_H
#define LEDGER_LSM_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/u128.h"
#include "config.h"
#include "lsm/block_cache.h"
#include "lsm/filter.h"
#include "lsm/sort.h"
#include "store/superblock.h"

/* In the timestamp of an id's entry: the id is burnt. No record's timestamp has it. */
#define BURNT_BIT (UINT64_C(1) << 63)

enum entry_shape { ENTRY_INDEX, ENTRY_ID, ENTRY_RECORD };

/* What the entries of a tree are like. */
struct entry_format {
    uint8_t shape;  /* enum entry_shape */
    uint8_t tree;   /* Number of the tree, for block headers. */
    bool filtered;  /* Tables have filters: entries are looked up where there may be none. */
    uint16_t timestamp_offset;
    uint32_t size;
};

static inline u128
entry_key(const struct entry_format *format, const void *entry)
{
    uint64_t words[2];
    switch ((enum entry_shape) format->shape) {
    case ENTRY_INDEX:
    case ENTRY_ID: memcpy(words, entry, sizeof(words)); return u128_make(words[1], words[0]);
    case ENTRY_RECORD:
        memcpy(words, (const char *) entry + format->timestamp_offset, sizeof(words[0]));
        return words[0];
    }
    unreachable();
}

static inline uint32_t
entries_per_block(const struct entry_format *format)
{
    return (uint32_t) (BLOCK_CONTENT_SIZE / format->size);
}

/* An index block holds these. */
struct table_block {
    u128 key_last;
    u128 checksum;
    uint64_t address;
    uint32_t entry_count;
    uint32_t reserved;
    /* The sums in its header, so that extracts of it can be verified. */
    uint64_t sector_sums[BLOCK_SECTORS];
};
static_assert(sizeof(struct table_block) == 48 + BLOCK_SECTORS * 8, "no padding");

#define TABLE_BLOCKS_PER_INDEX ((uint32_t) (BLOCK_CONTENT_SIZE / sizeof(struct table_block)))

struct table_info {
    struct block_reference index;
    u128 key_min;
    u128 key_max;
    uint64_t entry_count;
    uint16_t block_count; /* Value blocks. */
    uint8_t filter_count; /* Filter blocks. */
    uint8_t moved;        /* In an input of a merge: it belongs to the output already. */
    uint32_t filter_lines;
};
static_assert(sizeof(struct table_info) == 80, "no padding");

#define FILTER_LINES_PER_BLOCK ((uint32_t) (BLOCK_CONTENT_SIZE / FILTER_LINE_SIZE))
#define FILTER_BLOCKS_MAX 12

/* ---- Making a table ------------------------------------------------------------------------ */

/*
 * Entries go in in order of their keys; finished blocks are sealed at once, at the lowest free
 * addresses.
 */
struct table_builder {
    struct block_cache *cache;
    struct entry_format format;
    uint64_t op;           /* For block headers. */
    bool soon;             /* Its blocks are read soon, to be merged. */
    uint32_t frame;        /* The value block being filled, or FRAME_NONE. */
    uint32_t frame_count;  /* Entries in it. */
    uint32_t frame_index;  /* The index block; FRAME_NONE: no table is begun. */
    uint32_t frame_filter[FILTER_BLOCKS_MAX];
    uint32_t entries_max;  /* The table is full then. */
    struct table_info table; /* What is known of it so far. */
    u128 key_last;
};

/* The most entries of a table. */
uint32_t table_entries_max(const struct entry_format *format);

/* The most frames that `entry_count` more entries take, in however many tables. */
uint64_t table_frames_needed(const struct entry_format *format, uint64_t entry_count);

void table_builder_init(
    struct table_builder *builder,
    struct block_cache *cache,
    const struct entry_format *format);

/* True if a table is begun. */
bool table_builder_active(const struct table_builder *builder);

/* Begins a table of up to entries_expected entries (no more than table_entries_max). */
void table_builder_begin(struct table_builder *builder, uint64_t entries_expected);

static inline bool
table_builder_full(const struct table_builder *builder)
{
    return builder->table.entry_count == builder->entries_max;
}

/* Precondition: begun, not full, keys ascend (T1). */
void table_builder_add(struct table_builder *builder, const void *entry);

/* Adds several at once, as many as fit the current block; returns how many. */
uint32_t table_builder_add_some(struct table_builder *builder, const void *entries, uint32_t count);

/*
 * The same for callers that make entries in place: room for *count more in the current block, and
 * then, how many of these there are now: at least one.
 */
char *table_builder_room(struct table_builder *builder, uint32_t *count);
void table_builder_filled(struct table_builder *builder, uint32_t count);

/* Takes a frame that is filled with so many entries already, as the next block. */
void table_builder_add_block(struct table_builder *builder, uint32_t frame, uint32_t count);

/* Seals what is left. Precondition: it has entries. */
struct table_info table_builder_finish(struct table_builder *builder);

/* The blocks so far, while a table is begun. */
const struct table_block *table_builder_blocks(const struct table_builder *builder);

/* ---- Reading a table ----------------------------------------------------------------------- */

/* The blocks of a table, once its index block is in memory. */
static inline const struct table_block *
table_blocks(const struct block_cache *cache, uint32_t frame_index)
{
    return (const void *) cache_content(cache, frame_index);
}

static inline struct block_reference
table_block_reference(const struct table_block *block)
{
    return (struct block_reference){.checksum = block->checksum, .address = block->address};
}

/* A block with values, and what the table promises of it: where its keys begin and end. */
struct table_values {
    struct table_block block;
    u128 key_min;
    bool exact; /* Its first key is key_min, else one that is not below. */
    uint64_t before; /* Address of the block before, and of the one behind; 0: none. */
    uint64_t behind;
};

/* The table's block number `place`. Its key_min and list are known; others may not be yet. */
static inline struct table_values
table_values_at(
    const struct table_info *table, const struct table_block *blocks, uint32_t place)
{
    return (struct table_values){
        .block = blocks[place],
        .key_min = place == 0 ? table->key_min : blocks[place - 1].key_last + 1,
        .exact = place == 0,
        .before = place == 0 ? 0 : blocks[place - 1].address,
        .behind = place + 1 < table->block_count ? blocks[place + 1].address : 0,
    };
}

/*
 * A table's index block, and a block with values, in memory. What they say is what others say of
 * them; blocks that are named are there, keys ascend (T1), and timestamps are some: else
 * CACHE_LOST. Content is looked at once each time that it comes into memory, so that nobody else
 * needs to.
 */
enum cache_result table_index_get(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_info *table,
    uint32_t *frame);
enum cache_result table_values_get(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_values *values,
    uint32_t *frame);

/*
 * Of a block with records, if it isn't in memory whole: has the sectors in memory that most likely
 * hold the record of this key, and sets *entry to it. CACHE_READY and NULL: it isn't in what is in
 * memory; only the whole block tells if there is such a record. What is in memory of a block keeps
 * its promise as far as that can be seen: else CACHE_LOST.
 */
enum cache_result table_extract_find(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_values *values,
    u128 key,
    const char **entry);

/* Can there be such a table? */
bool table_info_valid(const struct entry_format *format, const struct table_info *table);

/* The first block that may hold the key, or a later one; `count` if there is none. */
uint32_t table_blocks_find(const struct table_block *blocks, uint32_t count, u128 key);

/* The first of `count` entries whose key is not below; `count` if there is none. */
uint32_t entries_lower_bound(
    const struct entry_format *format,
    const char *entries,
    uint32_t count,
    u128 key);

#endif
