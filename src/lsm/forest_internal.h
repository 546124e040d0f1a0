/* SPDX-License-Identifier: PostgreSQL */
/* What the files of the forest share. See forest.h for what it is, README.md for the map. */
#ifndef LEDGER_LSM_FOREST_INTERNAL_H
#define LEDGER_LSM_FOREST_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/chunk_pool.h"
#include "lsm/forest.h"
#include "lsm/id_map.h"
#include "lsm/ordered_index.h"
#include "lsm/page_pool.h"
#include "lsm/postings.h"
#include "lsm/tree.h"
#include "store/grid.h"

#define FOREST_RECORD_SIZE_MAX 256

/* Ids and indexes of one tree. */
struct forest_tree {
    struct tree tree;
    struct id_map ids; /* If has_ids. */
    bool has_ids;
    uint32_t burns_for; /* The tree whose ids this one's records burn, or FOREST_NONE. */
    /*
     * Of the pages that came after the newest checkpoint: those below are sealed, or written (or
     * being written), ahead of the next one. Both are page_count before any is.
     */
    uint32_t ahead_sealed;
    uint32_t ahead_written;
    uint32_t equal_count;
    uint32_t ordered_count;
    uint32_t equal[FOREST_INDEXES_MAX]; /* Numbers of its indexes, by kind. */
    uint32_t ordered[FOREST_INDEXES_MAX];
    uint64_t
        fixed_words[FOREST_RECORD_SIZE_MAX / sizeof(uint64_t)]; /* Bits that no update changes. */
};

/* By the schema's kind. */
union forest_index {
    struct postings postings;
    struct ordered_index ordered;
};

/* ---- Scopes: forest_scope.c ---------------------------------------------------------------- */

enum forest_undo_kind { UNDO_INSERT, UNDO_UPDATE };

/*
 * Ends an entry of the log, which is read backwards. Before an UNDO_UPDATE lies the record as it
 * was.
 */
struct forest_undo {
    uint32_t row;
    uint16_t kind;
    uint16_t tree;
    uint64_t reserved;
};
static_assert(sizeof(struct forest_undo) == 16, "records in the log stay aligned");

struct forest_scope {
    bool open;
    char *log;
    uint64_t log_size;
    uint64_t log_size_max; /* Everything that a batch may insert and update. */
};

uint64_t forest_scope_log_size_max(const struct forest_schema *schema);
void forest_scope_on_insert(struct forest *forest, uint32_t tree, uint32_t row);
void forest_scope_on_update(struct forest *forest, uint32_t tree, uint32_t row, const void *old);

/* ---- Checkpoints: forest_checkpoint.c, forest_open.c --------------------------------------- */

/*
 * Manifest blocks hold these, ascending by (tree, page index), none left out; the block_header's
 * record_count says how many. Each block refers to the one before it by `previous`; the last one
 * written is the checkpoint's root.
 */
struct manifest_entry {
    u128 checksum;
    uint64_t address;
    uint32_t page_index;
    uint16_t record_count;
    uint8_t tree;
    uint8_t reserved;
};
static_assert(sizeof(struct manifest_entry) == 32, "no padding");
#define MANIFEST_ENTRIES_PER_BLOCK ((uint32_t) (BLOCK_CONTENT_SIZE / sizeof(struct manifest_entry)))

/* Manifest blocks being written at a time, at most. */
#define MANIFEST_BUFFERS 4

struct forest_write {
    struct grid_write write;
    struct forest *forest;
    bool busy;
    bool manifest; /* Uses the manifest buffer of its slot number. */
};

/*
 *   CHECKPOINT_IDLE ── forest_checkpoint ──→ CHECKPOINT_PAGES ── all sealed ──→ CHECKPOINT_MANIFEST
 *         ▲                                       │ a write failed              │ all written,
 *         └────────── nothing in flight ──────────┴─────────────────────────────┘ or failed
 */
enum forest_checkpoint_stage { CHECKPOINT_IDLE, CHECKPOINT_PAGES, CHECKPOINT_MANIFEST };

struct forest_checkpoint {
    enum forest_checkpoint_stage stage;
    uint64_t op;
    forest_checkpoint_callback *callback;
    void *context;
    enum grid_result result;
    uint32_t tree; /* The next page to be written, or to be listed. */
    uint32_t page_index;
    uint64_t *manifest_addresses; /* Of the newest manifest, oldest block first. */
    uint32_t manifest_count;
    uint32_t manifest_sealed;
    struct block_reference manifest; /* The last block sealed. */
    char *manifest_buffers;
    uint32_t in_flight;
    struct forest_write writes[GRID_WRITES_MAX];
    uint64_t released_count; /* Blocks that become free when this checkpoint is durable. */
};

/*
 * Manifest blocks for so many pages. An empty forest has one, so that a checkpoint always has
 * something to write.
 */
uint32_t forest_manifest_block_count(uint64_t page_count);
uint64_t forest_page_count(const struct forest *forest);

/* All pages there are belong to a checkpoint: what comes can be written ahead of the next. */
void forest_ahead_reset(struct forest *forest);

/* ---- Room: forest_room.c ------------------------------------------------------------------- */

/* Records that may come, for each tree. */
struct forest_growth {
    uint64_t inserts[FOREST_TREES_MAX];
    uint64_t updates[FOREST_TREES_MAX];
};

struct forest_growth forest_growth_of_events(const struct forest *forest, uint64_t event_count);

/* The most pages that the growth takes (F3). */
uint64_t forest_pages_needed(const struct forest *forest, const struct forest_growth *growth);

/*
 * Pages that forest_reserve leaves alone: opening rebuilds in another order, and rounds up at other
 * places.
 */
uint32_t forest_pages_spare(const struct forest_schema *schema);

/* ---- The forest: forest.c, forest_init.c --------------------------------------------------- */

struct forest {
    const struct forest_schema *schema;
    struct grid *grid;
    struct page_pool pages;
    struct chunk_pool chunks;
    struct forest_tree trees[FOREST_TREES_MAX];
    union forest_index indexes[FOREST_INDEXES_MAX];
    struct forest_scope scope;
    struct forest_checkpoint checkpoint;
    uint64_t memory_bytes;
    uint64_t memory_bytes_fixed; /* Of these, what is not pages of the pool. */
    uint64_t room_events;        /* So many events are known to find room. */
    uint64_t pages_written;
    bool opened;
};

/* The memory that holds the growth, from empty. */
uint64_t
forest_memory_bytes_for(const struct forest_schema *schema, const struct forest_growth *growth);

/* Makes ids and indexes of a record that is in its tree. */
void forest_index_record(struct forest *forest, uint32_t tree, const void *record, uint32_t row);

/* Undoes forest_index_record for the tree's newest record. */
void forest_unindex_record(struct forest *forest, uint32_t tree, const void *record, uint32_t row);

/* Moves the row in the tree's ordered indexes from its place by one record to that by the other. */
void forest_reorder_record(
    struct forest *forest, uint32_t tree, uint32_t row, const void *from, const void *to);

/* Another operation happened: what was known of room is less by at most one event. */
static inline void
forest_room_spend(struct forest *forest)
{
    assert(forest->opened);
    if (forest->room_events > 0) forest->room_events -= 1;
}

#endif
