/* SPDX-License-Identifier: PostgreSQL */
/* See tree.h. */
#include "lsm/tree.h"

#include "base/units.h"

void
tree_init(
    struct tree *tree,
    struct arena *arena,
    struct page_pool *pool,
    const struct tree_schema *schema,
    uint8_t number)
{
    assert(schema->record_size >= 32);
    assert(schema->record_size % 16 == 0);
    assert(schema->record_size <= BLOCK_CONTENT_SIZE);
    assert(schema->timestamp_offset % 8 == 0);
    assert(schema->timestamp_offset + 8 <= schema->record_size);
    assert(schema->id_offset == FOREST_NONE || schema->id_offset + 16 <= schema->record_size);

    const uint32_t records_per_page = BLOCK_CONTENT_SIZE / schema->record_size;
    assert(records_per_page > 1);
    assert(records_per_page <= UINT16_MAX);
    *tree = (struct tree){
        .schema = schema,
        .pool = pool,
        .records_per_page = records_per_page,
        .reciprocal = UINT64_MAX / records_per_page + 1,
        .number = number,
    };
    tree->pages = arena_take(arena, pool->page_count, sizeof(uint32_t), 8);
    tree->first_timestamps = arena_take(arena, pool->page_count, sizeof(uint64_t), 8);
    tree->dirty.bit_count = pool->page_count;
    const uint64_t word_count = bitset_word_count(pool->page_count);
    tree->dirty.words = arena_take(arena, word_count, sizeof(uint64_t), 8);
    if (tree->dirty.words != NULL) memset(tree->dirty.words, 0, word_count * sizeof(uint64_t));
}

static void
tree_take_page(struct tree *tree)
{
    assert(tree->page_count < tree->pool->page_count);
    assert(tree->record_count == tree->page_count * tree->records_per_page);
    const uint32_t page = page_pool_acquire(tree->pool, tree->number);
    tree->pool->infos[page].index = tree->page_count;
    tree->pages[tree->page_count] = page;
    tree->page_count += 1;
}

uint32_t
tree_append(struct tree *tree, const void *record)
{
    const uint64_t timestamp = tree_record_timestamp(tree, record);
    assert(timestamp > tree->newest); /* (F1) */
    assert(timestamp <= TIMESTAMP_MAX);
    assert(tree->record_count < ROWS_MAX - 1);

    const uint32_t row = tree->record_count;
    const uint32_t index = tree_page_of_row(tree, row);
    if (index == tree->page_count) {
        tree_take_page(tree);
        tree->first_timestamps[index] = timestamp;
    }
    tree->record_count += 1;
    tree->newest = timestamp;
    memcpy(tree_record(tree, row), record, tree->schema->record_size);
    tree_mark_dirty(tree, index);
    return row;
}

void
tree_pop(struct tree *tree)
{
    assert(tree->record_count > 0);
    const uint32_t row = tree->record_count - 1;
    const uint32_t index = tree_page_of_row(tree, row);
    assert(index == tree->page_count - 1);
    assert(bitset_get(&tree->dirty, index));

    tree->record_count = row;
    tree->newest = row == 0 ? 0 : tree_timestamp(tree, row - 1);
    if (row == index * tree->records_per_page) {
        bitset_clear(&tree->dirty, index);
        tree->dirty_count -= 1;
        page_pool_release(tree->pool, tree->pages[index]);
        tree->page_count -= 1;
    }
}

void
tree_place(struct tree *tree, uint32_t record_count)
{
    assert(tree->page_count == 0);
    assert(tree->record_count == 0);
    const uint64_t page_count = div_ceil(record_count, tree->records_per_page);
    assert(page_count <= page_pool_free_count(tree->pool));
    for (uint32_t index = 0; index < page_count; index++) {
        const uint32_t page = page_pool_acquire(tree->pool, tree->number);
        tree->pool->infos[page].index = index;
        tree->pages[index] = page;
    }
    tree->page_count = (uint32_t) page_count;
}

/* The last page whose first timestamp is not above. Precondition: there is one. */
static uint32_t
tree_find_page(const struct tree *tree, uint64_t timestamp)
{
    assert(tree->page_count > 0);
    assert(tree->first_timestamps[0] <= timestamp);
    uint32_t low = 0;
    uint32_t high = tree->page_count - 1;
    if (tree->first_timestamps[high] <= timestamp) return high;
    while (low + 1 < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (tree->first_timestamps[middle] <= timestamp) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t
tree_lower_bound(const struct tree *tree, uint64_t timestamp)
{
    if (tree->record_count == 0 || timestamp > tree->newest) return tree->record_count;
    if (timestamp <= tree->first_timestamps[0]) return 0;

    const uint32_t index = tree_find_page(tree, timestamp);
    const uint32_t count = tree_page_record_count(tree, index);
    const char *records =
        (char *) page_pool_data(tree->pool, tree->pages[index]) + BLOCK_HEADER_SIZE;

    /*
     * Distinct ascending integers: record i is at least first + i, and the one i before the last
     * at most last − i. A batch's timestamps are consecutive, so the two bounds usually meet at
     * once. The answer is in low … high.
     */
    const uint64_t first = tree->first_timestamps[index];
    const uint64_t last =
        index == tree->page_count - 1 ? tree->newest : tree->first_timestamps[index + 1] - 1;
    uint64_t high = min_u64(count, timestamp - first);
    assert(timestamp <= last);
    uint64_t low = last - timestamp < count ? count - 1 - (last - timestamp) : 0;
    assert(low <= high);
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        const void *record = records + middle * tree->schema->record_size;
        if (tree_record_timestamp(tree, record) < timestamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return index * tree->records_per_page + (uint32_t) low;
}

uint32_t
tree_find(const struct tree *tree, uint64_t timestamp)
{
    assert((tree->record_count == 0) == (tree->newest == 0));
    if (tree->record_count == 0) return ROW_NONE;
    if (timestamp == tree->newest) return tree->record_count - 1;
    const uint32_t row = tree_lower_bound(tree, timestamp);
    assert(row <= tree->record_count);
    if (row == tree->record_count) return ROW_NONE;
    return tree_timestamp(tree, row) == timestamp ? row : ROW_NONE;
}

uint32_t
tree_dirty_next(const struct tree *tree, uint32_t from)
{
    assert(tree->page_count <= tree->dirty.bit_count);
    uint32_t index = from;
    while (index < tree->page_count) {
        const uint64_t word = tree->dirty.words[index / 64] >> (index % 64);
        if (word != 0) {
            index += (uint32_t) __builtin_ctzll(word);
            assert(index < tree->page_count);
            return index;
        }
        index = (index / 64 + 1) * 64;
    }
    return tree->page_count;
}

uint32_t
tree_page_record_count(const struct tree *tree, uint32_t index)
{
    assert(index < tree->page_count);
    assert(tree->record_count > index * tree->records_per_page);
    const uint32_t records = tree->record_count - index * tree->records_per_page;
    return records < tree->records_per_page ? records : tree->records_per_page;
}

uint64_t
tree_pages_needed(const struct tree *tree, uint64_t inserts)
{
    assert(inserts <= UINT64_MAX / 2);
    const uint64_t pages = div_ceil(tree->record_count + inserts, tree->records_per_page);
    return pages <= tree->page_count ? 0 : pages - tree->page_count;
}
