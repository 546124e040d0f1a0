/* SPDX-License-Identifier: PostgreSQL */
/*
 * A table: sorted entries on disk that never change.
 *
 *      value blocks    entries, ascending by key
 *      filter blocks   if the format says so: which keys there may be (lsm/filter.h)
 *      index block     a table_block for each value block, then for each filter block
 *
 * Whoever refers to a table holds a table_info: the reference to the index block, and the range of
 * keys.
 *
 * An entry has one of three shapes. Its key is a number of 128 bits:
 *
 *      shape           bytes             key
 *      ENTRY_INDEX     16                value (64 bits), then timestamp: the whole entry
 *      ENTRY_ID        24                id; the entry maps it to a timestamp
 *      ENTRY_RECORD    the record's      the record's timestamp
 *
 * The happy path of a lookup: table_index_get, table_blocks_find, table_values_get, then
 * entries_lower_bound. What can go wrong: a block isn't in memory (CACHE_WAIT, ask again later), or
 * it is damaged or doesn't fit what refers to it (CACHE_LOST).
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

/* Set in the timestamp of an id's entry if the id is burnt. No record's timestamp has this bit. */
#define BURNT_BIT (UINT64_C(1) << 63)

enum entry_shape { ENTRY_INDEX, ENTRY_ID, ENTRY_RECORD };

/* The form of a tree's entries. */
struct entry_format {
    uint8_t shape;  /* enum entry_shape */
    uint8_t tree;   /* Number of the tree, for the headers of blocks. */
    bool filtered;  /* Tables have filters, because keys are often looked up that don't exist. */
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

/* An index block is an array of these. */
struct table_block {
    u128 key_last;
    u128 checksum;
    uint64_t address;
    uint32_t entry_count;
    uint32_t reserved;
    /* Copies of the sums in the block's header, so that extracts of it can be verified. */
    uint64_t sector_sums[BLOCK_SECTORS];
};
static_assert(sizeof(struct table_block) == 48 + BLOCK_SECTORS * 8, "no padding");

#define TABLE_BLOCKS_PER_INDEX ((uint32_t) (BLOCK_CONTENT_SIZE / sizeof(struct table_block)))

struct table_info {
    struct block_reference index;
    u128 key_min;
    u128 key_max;
    uint64_t entry_count;
    uint16_t block_count; /* How many value blocks it has. */
    uint8_t filter_count; /* How many filter blocks it has. */
    uint8_t moved;        /* For an input of a merge: the table belongs to the output already. */
    uint32_t filter_lines;
};
static_assert(sizeof(struct table_info) == 80, "no padding");

#define FILTER_LINES_PER_BLOCK ((uint32_t) (BLOCK_CONTENT_SIZE / FILTER_LINE_SIZE))
#define FILTER_BLOCKS_MAX 12

/* ---- Making a table ------------------------------------------------------------------------ */

/*
 * Makes a table from entries that are given in the order of their keys. Each block is sealed as
 * soon as it is full, at the lowest free address.
 */
struct table_builder {
    struct block_cache *cache;
    struct entry_format format;
    uint64_t op;           /* Goes into the headers of blocks. */
    bool soon;             /* Its blocks will be read soon, to be merged. */
    uint32_t frame;        /* The value block being filled, or FRAME_NONE. */
    uint32_t frame_count;  /* How many entries that block has. */
    uint32_t frame_index;  /* The index block; FRAME_NONE if no table is begun. */
    uint32_t frame_filter[FILTER_BLOCKS_MAX];
    uint32_t entries_max;  /* The table is full when it has so many entries. */
    struct table_info table; /* Its description, as far as it is known yet. */
    u128 key_last;
};

/* The most entries of a table. */
uint32_t table_entries_max(const struct entry_format *format);

/* The most frames that `entry_count` more entries take, in however many tables they end up. */
uint64_t table_frames_needed(const struct entry_format *format, uint64_t entry_count);

void table_builder_init(
    struct table_builder *builder,
    struct block_cache *cache,
    const struct entry_format *format);

/* True while a table is begun. */
bool table_builder_active(const struct table_builder *builder);

/* Begins a table of up to entries_expected entries (no more than table_entries_max). */
void table_builder_begin(struct table_builder *builder, uint64_t entries_expected);

static inline bool
table_builder_full(const struct table_builder *builder)
{
    return builder->table.entry_count == builder->entries_max;
}

/* Precondition: a table is begun and not full, and the key is above the last one (T1). */
void table_builder_add(struct table_builder *builder, const void *entry);

/* Adds several entries at once, as many as fit into the current block; returns how many. */
uint32_t table_builder_add_some(struct table_builder *builder, const void *entries, uint32_t count);

/*
 * The same for callers that make entries in place. table_builder_room returns where they go, with
 * room for *count of them in the current block. table_builder_filled then says how many there are
 * now: at least one.
 */
char *table_builder_room(struct table_builder *builder, uint32_t *count);
void table_builder_filled(struct table_builder *builder, uint32_t count);

/* Takes a frame that the caller has filled with `count` entries as the next block. */
void table_builder_add_block(struct table_builder *builder, uint32_t frame, uint32_t count);

/* Seals what is left, and returns the table. Precondition: it has entries. */
struct table_info table_builder_finish(struct table_builder *builder);

/* The blocks made so far, while a table is begun. */
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

/* A value block, and what the table says of it: the range of its keys, and its neighbours. */
struct table_values {
    struct table_block block;
    u128 key_min;
    bool exact; /* Its first key is exactly key_min. If not set: at or above key_min. */
    /* Addresses of the block before and of the block behind it; 0 if there is none. */
    uint64_t before;
    uint64_t behind;
};

/*
 * Block number `place` of the table. Only the table's key_min and its list of blocks need to be
 * known.
 */
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
 * Get a table's index block, or a value block, into memory. Its content is checked once each time
 * it comes into memory, so that nobody else needs to: it must be what others say of it, the blocks
 * it names must exist, keys must ascend (T1), and timestamps must be possible ones. Otherwise the
 * result is CACHE_LOST.
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
 * Finds a record in a block that isn't in memory as a whole: gets those sectors into memory that
 * most likely hold the record of this key, and sets *entry to it. CACHE_READY with a *entry of
 * NULL: the record isn't in these sectors, and only the whole block can tell whether it exists. The
 * records in these sectors are checked as far as possible; if they can't be right, the result is
 * CACHE_LOST.
 */
enum cache_result table_extract_find(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_values *values,
    u128 key,
    const char **entry);

/* Is this a possible description of a table? */
bool table_info_valid(const struct entry_format *format, const struct table_info *table);

/* The number of the first block whose last key is not below the key; `count` if there is none. */
uint32_t table_blocks_find(const struct table_block *blocks, uint32_t count, u128 key);

/* The first of `count` entries whose key is not below; `count` if there is none. */
uint32_t entries_lower_bound(
    const struct entry_format *format,
    const char *entries,
    uint32_t count,
    u128 key);

#endif
