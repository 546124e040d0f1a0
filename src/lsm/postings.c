/* SPDX-License-Identifier: PostgreSQL */
/* See postings.h. */
#include "lsm/postings.h"

#include "base/units.h"

static_assert(POSTING_ROWS_SMALL == 6, "six rows: a cache line with the header");
static_assert(POSTING_ROWS_LARGE == 54, "54 rows: four cache lines");
/* (B2) */
static_assert(CHUNK_SMALL_SIZE <= POSTING_BYTES_MAX * 2, "a list of two rows");
static_assert(
    CHUNK_SMALL_SIZE + CHUNK_LARGE_SIZE <= POSTING_BYTES_MAX * (POSTING_ROWS_SMALL + 1),
    "a list of seven rows");

void
postings_init(
    struct postings *postings,
    struct arena *arena,
    struct chunk_pool *chunks,
    const struct index_schema *schema,
    const struct tree *tree)
{
    const uint32_t size = schema->field_size;
    assert(schema->kind == INDEX_EQUAL);
    assert(size == 2 || size == 4 || size == 8 || size == 16);
    assert(schema->field_offset + size <= tree->schema->record_size);
    const uint32_t offset = schema->field_offset;
    const uint32_t load_offset = (uint32_t) min_u64(offset, tree->schema->record_size - 16);
    *postings = (struct postings){
        .schema = schema,
        .tree = tree,
        .chunks = chunks,
        .load_offset = load_offset,
        .load_shift = 8 * (offset - load_offset),
        .load_mask = U128_MAX >> (128 - 8 * size),
        .last_chunk = CHUNK_NONE,
    };
    row_map_init(&postings->map, arena, chunks->pages, chunks);
}

static inline struct posting_chunk *
postings_chunk(const struct postings *postings, uint32_t chunk)
{
    return chunk_pool_data(postings->chunks, chunk);
}

/* The newest row of the list that the map's value stands for. */
static inline uint32_t
postings_newest_row(const struct postings *postings, uint32_t map_value)
{
    assert(postings->map.entry_count > 0);
    if ((map_value & POSTINGS_CHUNK) == 0) return map_value;
    return postings_chunk(postings, map_value & ~POSTINGS_CHUNK)->newest;
}

/* The value of that list. */
static inline u128
postings_list_value(const struct postings *postings, uint32_t map_value)
{
    if ((map_value & POSTINGS_CHUNK) == 0) {
        return postings_value(postings, tree_record(postings->tree, map_value));
    }
    return postings_chunk(postings, map_value & ~POSTINGS_CHUNK)->value;
}

/* Where the map holds the list of the value; NULL if there is none. */
static uint32_t *
postings_lookup(
    const struct postings *postings, u128 value, uint32_t hash, struct row_map_cursor *cursor)
{
    *cursor = row_map_first(&postings->map, hash);
    for (;;) {
        uint32_t *map_value = row_map_next(&postings->map, cursor, hash);
        if (map_value == NULL) return NULL;
        if (postings_list_value(postings, *map_value) == value) return map_value;
    }
}

void
postings_prefetch(const struct postings *postings, u128 value)
{
    const uint32_t hash = hash_u128(value);
    struct row_map_cursor cursor = row_map_first(&postings->map, hash);
    const uint32_t *map_value = row_map_next(&postings->map, &cursor, hash);
    if (map_value == NULL) return;
    if ((*map_value & POSTINGS_CHUNK) == 0) {
        __builtin_prefetch(tree_record(postings->tree, *map_value));
        return;
    }
    /* Its start, which is read; what is written need not be waited for. */
    __builtin_prefetch(postings_chunk(postings, *map_value & ~POSTINGS_CHUNK), 1);
}

/* A second row: the list moves out of the map, into a small chunk. */
static uint32_t
postings_chunk_first(struct postings *postings, u128 value, uint32_t row_older, uint32_t row_newer)
{
    assert(row_older < row_newer);
    assert(row_newer == postings->tree->record_count - 1);
    const uint32_t chunk = chunk_pool_acquire(postings->chunks, CHUNK_SMALL);
    struct posting_chunk *content = postings_chunk(postings, chunk);
    *content = (struct posting_chunk){
        .value = value,
        .previous = CHUNK_NONE,
        .next = CHUNK_NONE,
        .jump = chunk,
        .newest = row_newer,
        .count = 2,
        .capacity = POSTING_ROWS_SMALL,
    };
    content->rows[0] = row_older;
    content->rows[1] = row_newer;
    postings->chunk_bytes += CHUNK_SMALL_SIZE;
    return chunk;
}

static uint32_t
postings_chunk_after(struct postings *postings, uint32_t previous, uint32_t row)
{
    struct posting_chunk *previous_content = postings_chunk(postings, previous);
    const struct posting_chunk *jump = postings_chunk(postings, previous_content->jump);
    const struct posting_chunk *jump_jump = postings_chunk(postings, jump->jump);
    assert(previous_content->count == previous_content->capacity);
    assert(previous_content->next == CHUNK_NONE);
    assert(previous_content->newest < row);
    assert(jump->ordinal <= previous_content->ordinal);

    /* Two jumps of equal length become one of both lengths; else the next starts a new length. */
    const bool equal =
        previous_content->ordinal - jump->ordinal == jump->ordinal - jump_jump->ordinal;
    const uint32_t chunk = chunk_pool_acquire(postings->chunks, CHUNK_LARGE);
    struct posting_chunk *content = postings_chunk(postings, chunk);
    *content = (struct posting_chunk){
        .value = previous_content->value,
        .previous = previous,
        .next = CHUNK_NONE,
        .jump = equal ? jump->jump : previous,
        .ordinal = previous_content->ordinal + 1,
        .newest = row,
        .count = 1,
        .capacity = POSTING_ROWS_LARGE,
    };
    content->rows[0] = row;
    previous_content->next = chunk;
    postings->chunk_bytes += CHUNK_LARGE_SIZE;
    return chunk;
}

/* Appends the row to a chunk that is not full, the newest of the value's list. */
static void
postings_chunk_append(struct postings *postings, u128 value, uint32_t chunk, uint32_t row)
{
    struct posting_chunk *content = postings_chunk(postings, chunk);
    assert(content->value == value);
    assert(content->newest < row); /* (B1) */
    assert(content->count < content->capacity);
    content->rows[content->count] = row;
    content->count += 1;
    content->newest = row;
    const bool full = content->count == content->capacity;
    postings->full_count += full;
    postings->last_value = value;
    postings->last_chunk = full ? CHUNK_NONE : chunk;
}

bool
postings_append_again(struct postings *postings, u128 value, uint32_t row)
{
    assert(row == postings->tree->record_count - 1);
    if (value != postings->last_value || postings->last_chunk == CHUNK_NONE) return false;
    postings->row_count += 1;
    postings_chunk_append(postings, value, postings->last_chunk, row);
    return true;
}

void
postings_append(struct postings *postings, u128 value, uint32_t hash, uint32_t row)
{
    assert(row == postings->tree->record_count - 1);
    assert(postings_holds(postings, value));
    struct row_map_cursor cursor;
    uint32_t *map_value = postings_lookup(postings, value, hash, &cursor);
    postings->row_count += 1;
    postings->last_chunk = CHUNK_NONE;
    if (map_value == NULL) {
        row_map_insert(&postings->map, hash, row);
        return;
    }
    if ((*map_value & POSTINGS_CHUNK) == 0) {
        *map_value = postings_chunk_first(postings, value, *map_value, row) | POSTINGS_CHUNK;
        return;
    }
    const uint32_t chunk = *map_value & ~POSTINGS_CHUNK;
    const struct posting_chunk *content = postings_chunk(postings, chunk);
    if (content->count == content->capacity) {
        *map_value = postings_chunk_after(postings, chunk, row) | POSTINGS_CHUNK;
        postings->full_count -= 1;
        return;
    }
    postings_chunk_append(postings, value, chunk, row);
}

/* The newest chunk has lost its newest row. Returns what the map now holds. */
static uint32_t
postings_chunk_shrink(struct postings *postings, uint32_t chunk)
{
    struct posting_chunk *content = postings_chunk(postings, chunk);
    const uint32_t previous = content->previous;
    if (previous == CHUNK_NONE && content->count == 1) {
        const uint32_t single = content->rows[0];
        assert(content->capacity == POSTING_ROWS_SMALL);
        chunk_pool_release(postings->chunks, CHUNK_SMALL, chunk);
        postings->chunk_bytes -= CHUNK_SMALL_SIZE;
        return single;
    }
    if (content->count == 0) {
        assert(previous != CHUNK_NONE);
        struct posting_chunk *previous_content = postings_chunk(postings, previous);
        assert(previous_content->count == previous_content->capacity); /* (B1) */
        previous_content->next = CHUNK_NONE;
        chunk_pool_release(postings->chunks, CHUNK_LARGE, chunk);
        postings->chunk_bytes -= CHUNK_LARGE_SIZE;
        postings->full_count += 1;
        return previous | POSTINGS_CHUNK;
    }
    content->newest = content->rows[content->count - 1];
    return chunk | POSTINGS_CHUNK;
}

void
postings_pop(struct postings *postings, u128 value, uint32_t row)
{
    const uint32_t hash = hash_u128(value);
    struct row_map_cursor cursor;
    uint32_t *map_value = postings_lookup(postings, value, hash, &cursor);
    assert(map_value != NULL);
    assert(postings_newest_row(postings, *map_value) == row);
    assert(postings->row_count > 0);
    postings->row_count -= 1;
    postings->last_chunk = CHUNK_NONE;
    if ((*map_value & POSTINGS_CHUNK) == 0) {
        row_map_remove(&postings->map, hash, &cursor);
        return;
    }
    const uint32_t chunk = *map_value & ~POSTINGS_CHUNK;
    struct posting_chunk *content = postings_chunk(postings, chunk);
    postings->full_count -= content->count == content->capacity;
    content->count -= 1;
    *map_value = postings_chunk_shrink(postings, chunk);
}

struct posting_list
postings_find(const struct postings *postings, u128 value)
{
    struct row_map_cursor cursor;
    const uint32_t *map_value = postings_lookup(postings, value, hash_u128(value), &cursor);
    struct posting_list list = {.newest = CHUNK_NONE, .single = ROW_NONE};
    if (map_value == NULL) return list;
    if ((*map_value & POSTINGS_CHUNK) == 0) {
        list.single = *map_value;
    } else {
        list.newest = *map_value & ~POSTINGS_CHUNK;
        assert(postings_chunk(postings, list.newest)->next == CHUNK_NONE);
        assert(postings_chunk(postings, list.newest)->value == value);
    }
    return list;
}

/*
 * The oldest chunk whose newest row is >= row. Precondition: the list's newest chunk is such a one.
 */
static uint32_t
postings_chunk_for_ascending(const struct postings *postings, uint32_t newest, uint32_t row)
{
    assert(newest != CHUNK_NONE);
    uint32_t chunk = newest;
    assert(postings_chunk(postings, chunk)->newest >= row);
    for (;;) {
        const struct posting_chunk *content = postings_chunk(postings, chunk);
        if (content->ordinal == 0) return chunk;
        if (postings_chunk(postings, content->jump)->newest >= row) {
            chunk = content->jump;
        } else if (postings_chunk(postings, content->previous)->newest >= row) {
            chunk = content->previous;
        } else {
            return chunk;
        }
    }
}

uint32_t
postings_seek_ascending(
    const struct postings *postings,
    const struct posting_list *list,
    struct posting_cursor *cursor,
    uint32_t row)
{
    assert(list->newest == CHUNK_NONE || list->single == ROW_NONE);
    if (list->newest == CHUNK_NONE) {
        return list->single != ROW_NONE && list->single >= row ? list->single : ROW_NONE;
    }
    if (postings_chunk(postings, list->newest)->newest < row) return ROW_NONE;

    const struct posting_chunk *content =
        cursor->chunk == CHUNK_NONE ? NULL : postings_chunk(postings, cursor->chunk);
    if (content == NULL || content->newest < row) {
        /* The next chunk is the likely one. */
        cursor->index = 0;
        if (content != NULL && postings_chunk(postings, content->next)->newest >= row) {
            cursor->chunk = content->next;
        } else {
            cursor->chunk = postings_chunk_for_ascending(postings, list->newest, row);
        }
        content = postings_chunk(postings, cursor->chunk);
    }
    assert(content->newest >= row);
    uint32_t low = cursor->index;
    assert(low < content->count);
    uint32_t high = content->count - 1u;
    if (content->rows[low] >= row) {
        high = low;
    } else if (low + 1 <= high && content->rows[low + 1] >= row) {
        low = high = low + 1;
    }
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (content->rows[middle] < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    cursor->index = low;
    return content->rows[low];
}

uint32_t
postings_seek_descending(
    const struct postings *postings,
    const struct posting_list *list,
    struct posting_cursor *cursor,
    uint32_t row)
{
    assert(list->newest == CHUNK_NONE || list->single == ROW_NONE);
    if (list->newest == CHUNK_NONE) {
        return list->single != ROW_NONE && list->single <= row ? list->single : ROW_NONE;
    }
    if (cursor->chunk == CHUNK_NONE) {
        cursor->chunk = list->newest;
        cursor->index = postings_chunk(postings, list->newest)->count - 1u;
    }
    const struct posting_chunk *content = postings_chunk(postings, cursor->chunk);
    while (content->rows[0] > row) {
        if (content->ordinal == 0) return ROW_NONE;
        const bool far = postings_chunk(postings, content->jump)->rows[0] > row;
        cursor->chunk = far ? content->jump : content->previous;
        content = postings_chunk(postings, cursor->chunk);
        cursor->index = content->count - 1u;
    }
    uint32_t low = 0;
    uint32_t high = cursor->index;
    assert(high < content->count);
    if (content->rows[high] <= row) {
        low = high;
    } else if (high > 0 && content->rows[high - 1] <= row) {
        low = high = high - 1;
    }
    while (low < high) {
        const uint32_t middle = high - (high - low) / 2;
        if (content->rows[middle] > row) {
            high = middle - 1;
        } else {
            low = middle;
        }
    }
    assert(content->rows[low] <= row);
    cursor->index = low;
    return content->rows[low];
}

uint64_t
postings_bytes_needed(const struct postings *postings, uint64_t inserts)
{
    assert(postings->row_count <= postings->tree->record_count);
    assert(postings->full_count <= postings->map.entry_count);
    /*
     * A list that is not full takes two appends before it takes a large chunk, so 128 bytes each; a
     * list of one row takes a small chunk; a new value takes an overflow bucket of the map at most:
     * all within 128 bytes an append.
     */
    const uint64_t full_count = min_u64(inserts, postings->full_count);
    const uint64_t by_append = (CHUNK_LARGE_SIZE / 2) * (inserts + full_count);

    const uint64_t chunk_bytes_max = POSTING_BYTES_MAX * (postings->row_count + inserts);
    const uint64_t overflow_bytes =
        CHUNK_SMALL_SIZE * row_map_chunks_needed(&postings->map, inserts);
    assert(chunk_bytes_max >= postings->chunk_bytes); /* (B2) */
    return min_u64(by_append, chunk_bytes_max - postings->chunk_bytes + overflow_bytes);
}
