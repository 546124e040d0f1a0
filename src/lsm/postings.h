/* SPDX-License-Identifier: PostgreSQL */
/*
 * An INDEX_EQUAL: for each value of a field, the ascending list of the rows that have it.
 *
 * A row_map holds the lists by hash of the value. A list of one row is that row, in the map; its
 * value is in the record. A longer one is a chain of chunks, each of which has the value too, to
 * compare without going to a record:
 *
 *     map ──→ newest chunk ──previous──→ … ──previous──→ oldest chunk
 *                    └────jump────→ …           (6 rows in the oldest, 54 in others; next: back)
 *
 * `jump` leads to an older chunk so that any row is found in O(log chunks) steps from any newer
 * one, though each chunk has one such link and none ever changes (Myers, "An applicative
 * random-access stack", 1983).
 *
 * Numbered invariants:
 *  (B1) a list's rows ascend strictly; its chunks but the newest are full.
 *  (B2) chunk_bytes <= POSTING_BYTES_MAX * row_count. What an append takes beyond a new map entry
 *       is at most 128 bytes, on average over any run of appends, plus 128 for each list in
 *       full_count.
 */
#ifndef LEDGER_LSM_POSTINGS_H
#define LEDGER_LSM_POSTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/u128.h"
#include "lsm/chunk_pool.h"
#include "lsm/forest.h"
#include "lsm/hash.h"
#include "lsm/row_map.h"
#include "lsm/tree.h"

/* In a value of the map: a chunk, not a row. */
#define POSTINGS_CHUNK ROWS_MAX

struct posting_chunk {
    u128 value;
    uint32_t previous; /* Older; CHUNK_NONE at the oldest. */
    uint32_t next;     /* Newer; CHUNK_NONE at the newest. */
    uint32_t jump;     /* Older, or itself at the oldest. */
    uint32_t ordinal;  /* Chunks before it in the list. */
    uint32_t newest;   /* The last of its rows. */
    uint16_t count;
    uint16_t capacity;
    uint32_t rows[];
};
#define POSTING_CHUNK_HEADER_SIZE 40
static_assert(sizeof(struct posting_chunk) == POSTING_CHUNK_HEADER_SIZE, "no padding");
#define POSTING_ROWS_SMALL ((CHUNK_SMALL_SIZE - POSTING_CHUNK_HEADER_SIZE) / 4)
#define POSTING_ROWS_LARGE ((CHUNK_LARGE_SIZE - POSTING_CHUNK_HEADER_SIZE) / 4)
/* A row, at worst: the first of a list's first large chunk has just come. */
#define POSTING_BYTES_MAX 46

struct postings {
    const struct index_schema *schema;
    const struct tree *tree;
    struct chunk_pool *chunks;
    struct row_map map; /* Values: a row, or a chunk with POSTINGS_CHUNK set. */
    /* Where the field is: 16 bytes at load_offset, shifted down, masked. */
    uint32_t load_offset;
    uint32_t load_shift;
    u128 load_mask;
    /* The value last appended to, and its newest chunk if that is not full; or CHUNK_NONE. */
    u128 last_value;
    uint32_t last_chunk;
    uint64_t row_count;
    uint64_t chunk_bytes;
    uint32_t
        full_count; /* Lists whose newest chunk is full: the next append takes a large chunk. */
};

/* The rows of one value. */
struct posting_list {
    uint32_t newest; /* Chunk, or CHUNK_NONE. */
    uint32_t single; /* The only row, or ROW_NONE. Both none: no rows. */
};

/* A place in a list. Starts with chunk CHUNK_NONE. */
struct posting_cursor {
    uint32_t chunk;
    uint32_t index;
};

void postings_init(
    struct postings *postings,
    struct arena *arena,
    struct chunk_pool *chunks,
    const struct index_schema *schema,
    const struct tree *tree);

/* The record's value. */
static inline u128
postings_value(const struct postings *postings, const void *record)
{
    u128 bytes;
    memcpy(&bytes, (const char *) record + postings->load_offset, sizeof(bytes));
    return (bytes >> postings->load_shift) & postings->load_mask;
}

/* Do records with the value belong into the index? */
static inline bool
postings_holds(const struct postings *postings, u128 value)
{
    return value != 0 || postings->schema->zero_indexed;
}

/*
 * Appends the row if it goes where the last one went, which needs no look at the map: of fields
 * with few values, most do. False if it does not.
 */
bool postings_append_again(struct postings *postings, u128 value, uint32_t row);

/* Hints that a row will be appended to the value's list soon; its bucket of the map is at hand. */
void postings_prefetch(const struct postings *postings, u128 value);

/*
 * Appends the row to the value's list; `hash` is the value's. The record is in the tree already, as
 * its newest.
 */
void postings_append(struct postings *postings, u128 value, uint32_t hash, uint32_t row);

/* Takes the newest row of the value's list away again. It is the tree's newest, and still there. */
void postings_pop(struct postings *postings, u128 value, uint32_t row);

struct posting_list postings_find(const struct postings *postings, u128 value);

/*
 * The first row >= `row` (ascending), or the last <= `row` (descending); ROW_NONE if there is none.
 * The cursor moves there. With one cursor, ask for ascending rows only, or for descending ones
 * only.
 */
uint32_t postings_seek_ascending(
    const struct postings *postings,
    const struct posting_list *list,
    struct posting_cursor *cursor,
    uint32_t row);
uint32_t postings_seek_descending(
    const struct postings *postings,
    const struct posting_list *list,
    struct posting_cursor *cursor,
    uint32_t row);

/*
 * The most bytes of chunks, overflow buckets of the map included, that `inserts` more rows need
 * (B2).
 */
uint64_t postings_bytes_needed(const struct postings *postings, uint64_t inserts);

#endif
