/* SPDX-License-Identifier: PostgreSQL */
/*
 * A tree: records of one size, in ascending order of timestamp, on pages.
 *
 * Records have rows, 0, 1, 2 …: row r lies on the tree's page r / records_per_page. All pages but
 * the last are full. As rows and timestamps ascend together (F1), everything inside lsm/ speaks of
 * rows; timestamps are for callers.
 */
#ifndef LEDGER_LSM_TREE_H
#define LEDGER_LSM_TREE_H

#include <stdint.h>
#include <string.h>

#include "base/bitset.h"
#include "lsm/forest.h"
#include "lsm/page_pool.h"

#define ROW_NONE UINT32_MAX
/* Rows leave one bit of 32 to id maps and posting lists. */
#define ROWS_MAX (UINT32_C(1) << 31)

struct tree {
    const struct tree_schema *schema;
    struct page_pool *pool;
    uint32_t *pages;            /* Pool page of each page of the tree. */
    uint64_t *first_timestamps; /* Of each page: what binary search reads. */
    struct bitset dirty;        /* Pages that the newest checkpoint doesn't have as they are. */
    uint32_t dirty_count;
    uint32_t page_count;
    uint32_t record_count;
    uint32_t records_per_page;
    uint64_t reciprocal; /* 2^64 / records_per_page, rounded up: division by multiplication. */
    uint64_t newest;     /* Timestamp; 0: empty. */
    uint8_t number;
};

void tree_init(
    struct tree *tree,
    struct arena *arena,
    struct page_pool *pool,
    const struct tree_schema *schema,
    uint8_t number);

/* Bytes of the arena that tree_init takes for each page of the pool, at most. */
#define TREE_BYTES_PER_PAGE (sizeof(uint32_t) + sizeof(uint64_t) + 1)

/* Copies the record in (F1), returns its row. May take a page. */
uint32_t tree_append(struct tree *tree, const void *record);

/* Takes the newest record away again. */
void tree_pop(struct tree *tree);

/*
 * While opening: takes pool pages for record_count records, whose pages are to be filled.
 * Precondition: room.
 */
void tree_place(struct tree *tree, uint32_t record_count);

/* The first row whose timestamp is not below; record_count if there is none. */
uint32_t tree_lower_bound(const struct tree *tree, uint64_t timestamp);

/* Row of the timestamp, or ROW_NONE. */
uint32_t tree_find(const struct tree *tree, uint64_t timestamp);

/* The first dirty page of index >= from; page_count if there is none. */
uint32_t tree_dirty_next(const struct tree *tree, uint32_t from);

/* How many records of the page there are. */
uint32_t tree_page_record_count(const struct tree *tree, uint32_t index);

/* The most pages that `inserts` more records need. */
uint64_t tree_pages_needed(const struct tree *tree, uint64_t inserts);

/*
 * Exact for every 32-bit row (Lemire, Kaser, Kurz: "Faster remainder by direct computation", 2019).
 */
static inline uint32_t
tree_page_of_row(const struct tree *tree, uint32_t row)
{
    return (uint32_t) (((unsigned __int128) tree->reciprocal * row) >> 64);
}

static inline void *
tree_record(const struct tree *tree, uint32_t row)
{
    assert(row < tree->record_count);
    const uint32_t index = tree_page_of_row(tree, row);
    const uint32_t slot = row - index * tree->records_per_page;
    char *page = page_pool_data(tree->pool, tree->pages[index]);
    return page + BLOCK_HEADER_SIZE + (uint64_t) slot * tree->schema->record_size;
}

static inline uint64_t
tree_record_timestamp(const struct tree *tree, const void *record)
{
    uint64_t timestamp;
    memcpy(&timestamp, (const char *) record + tree->schema->timestamp_offset, sizeof(timestamp));
    return timestamp;
}

static inline u128
tree_record_id(const struct tree *tree, const void *record)
{
    assert(tree->schema->id_offset != FOREST_NONE);
    u128 id;
    memcpy(&id, (const char *) record + tree->schema->id_offset, sizeof(id));
    return id;
}

static inline uint64_t
tree_timestamp(const struct tree *tree, uint32_t row)
{
    assert(row < tree->record_count);
    return tree_record_timestamp(tree, tree_record(tree, row));
}

static inline void
tree_mark_dirty(struct tree *tree, uint32_t index)
{
    assert(index < tree->page_count);
    if (bitset_get(&tree->dirty, index)) return;
    bitset_set(&tree->dirty, index);
    tree->dirty_count += 1;
}

#endif
