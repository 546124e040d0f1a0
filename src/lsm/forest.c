/* SPDX-License-Identifier: PostgreSQL */
/* Records, ids and indexes: what the state machine does all the time. See forest.h. */
#include <string.h>

#include "base/units.h"
#include "lsm/forest_internal.h"

static inline const struct forest_tree *
forest_tree_at(const struct forest *forest, uint32_t tree)
{
    assert(tree < forest->schema->tree_count);
    return &forest->trees[tree];
}

/* ---- Indexes of a record ------------------------------------------------------------------- */

static inline uint64_t
ordered_value(const struct ordered_index *index, const void *record)
{
    assert(index->schema->kind == INDEX_ORDERED);
    uint64_t value;
    memcpy(&value, (const char *) record + index->schema->field_offset, sizeof(value));
    return value;
}

static inline bool
ordered_holds(const struct ordered_index *index, uint64_t value)
{
    return value != 0 || index->schema->zero_indexed;
}

/* All buckets first, so that their cache misses overlap. */
static void
forest_index_equal(
    struct forest *forest, const struct forest_tree *forest_tree, const void *record, uint32_t row)
{
    assert(row < ROWS_MAX);
    assert(forest_tree->equal_count <= FOREST_INDEXES_MAX);
    struct postings *held[FOREST_INDEXES_MAX];
    u128 values[FOREST_INDEXES_MAX];
    uint32_t hashes[FOREST_INDEXES_MAX];
    uint32_t held_count = 0;
    for (uint32_t i = 0; i < forest_tree->equal_count; i++) {
        struct postings *postings = &forest->indexes[forest_tree->equal[i]].postings;
        const u128 value = postings_value(postings, record);
        if (!postings_holds(postings, value)) continue;
        if (postings_append_again(postings, value, row)) continue;
        held[held_count] = postings;
        values[held_count] = value;
        hashes[held_count] = hash_u128(value);
        row_map_prefetch(&postings->map, hashes[held_count]);
        held_count += 1;
    }
    for (uint32_t i = 0; i < held_count; i++) {
        postings_append(held[i], values[i], hashes[i], row);
    }
}

void
forest_index_record(struct forest *forest, uint32_t tree, const void *record, uint32_t row)
{
    assert(tree < forest->schema->tree_count);
    struct forest_tree *forest_tree = &forest->trees[tree];
    assert(row == forest_tree->tree.record_count - 1);
    if (forest_tree->has_ids) {
        id_map_insert(&forest_tree->ids, tree_record_id(&forest_tree->tree, record), row, false);
    }
    if (forest_tree->burns_for != FOREST_NONE) {
        struct forest_tree *owner = &forest->trees[forest_tree->burns_for];
        id_map_insert(&owner->ids, tree_record_id(&forest_tree->tree, record), row, true);
    }
    forest_index_equal(forest, forest_tree, record, row);
    for (uint32_t i = 0; i < forest_tree->ordered_count; i++) {
        struct ordered_index *index = &forest->indexes[forest_tree->ordered[i]].ordered;
        const uint64_t value = ordered_value(index, record);
        if (ordered_holds(index, value)) ordered_index_insert(index, value, row);
    }
}

void
forest_unindex_record(struct forest *forest, uint32_t tree, const void *record, uint32_t row)
{
    struct forest_tree *forest_tree = &forest->trees[tree];
    assert(row == forest_tree->tree.record_count - 1);
    assert(forest_tree->burns_for == FOREST_NONE);
    for (uint32_t i = forest_tree->ordered_count; i > 0; i--) {
        struct ordered_index *index = &forest->indexes[forest_tree->ordered[i - 1]].ordered;
        const uint64_t value = ordered_value(index, record);
        if (ordered_holds(index, value)) ordered_index_remove(index, value, row);
    }
    for (uint32_t i = forest_tree->equal_count; i > 0; i--) {
        struct postings *postings = &forest->indexes[forest_tree->equal[i - 1]].postings;
        const u128 value = postings_value(postings, record);
        if (postings_holds(postings, value)) postings_pop(postings, value, row);
    }
    if (forest_tree->has_ids) {
        id_map_remove(&forest_tree->ids, tree_record_id(&forest_tree->tree, record), row);
    }
}

void
forest_reorder_record(
    struct forest *forest, uint32_t tree, uint32_t row, const void *from, const void *to)
{
    const struct forest_tree *forest_tree = &forest->trees[tree];
    assert(row < forest_tree->tree.record_count);
    assert(from != to);
    for (uint32_t i = 0; i < forest_tree->ordered_count; i++) {
        struct ordered_index *index = &forest->indexes[forest_tree->ordered[i]].ordered;
        const uint64_t value_from = ordered_value(index, from);
        const uint64_t value_to = ordered_value(index, to);
        if (value_from == value_to) continue;
        if (ordered_holds(index, value_from)) ordered_index_remove(index, value_from, row);
        if (ordered_holds(index, value_to)) ordered_index_insert(index, value_to, row);
    }
}

/* ---- Reading ------------------------------------------------------------------------------- */

void
forest_prefetch_id(const struct forest *forest, uint32_t tree, const u128 *id)
{
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    assert(forest_tree->has_ids);
    id_map_prefetch(&forest_tree->ids, *id);
}

void
forest_prefetch_record(const struct forest *forest, uint32_t tree, const u128 *id)
{
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    assert(forest_tree->has_ids);
    id_map_prefetch_record(&forest_tree->ids, *id);
}

void
forest_prefetch_indexes(const struct forest *forest, uint32_t tree, const void *record)
{
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    for (uint32_t i = 0; i < forest_tree->equal_count; i++) {
        const struct postings *postings = &forest->indexes[forest_tree->equal[i]].postings;
        const u128 value = postings_value(postings, record);
        if (!postings_holds(postings, value) || value == postings->last_value) continue;
        row_map_prefetch(&postings->map, hash_u128(value));
    }
}

void
forest_prefetch_lists(const struct forest *forest, uint32_t tree, const void *record)
{
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    for (uint32_t i = 0; i < forest_tree->equal_count; i++) {
        const struct postings *postings = &forest->indexes[forest_tree->equal[i]].postings;
        const u128 value = postings_value(postings, record);
        if (!postings_holds(postings, value) || value == postings->last_value) continue;
        postings_prefetch(postings, value);
    }
}

enum forest_found
forest_get_by_id(const struct forest *forest, uint32_t tree, const u128 *id, const void **record)
{
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    assert(forest_tree->has_ids);
    uint32_t row;
    const enum forest_found found = id_map_find(&forest_tree->ids, *id, &row);
    if (found == FOREST_FOUND) *record = tree_record(&forest_tree->tree, row);
    return found;
}

const void *
forest_get(const struct forest *forest, uint32_t tree, uint64_t timestamp)
{
    assert(forest->opened);
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    const uint32_t row = tree_find(&forest_tree->tree, timestamp);
    if (row == ROW_NONE) return NULL;
    const void *record = tree_record(&forest_tree->tree, row);
    assert(tree_record_timestamp(&forest_tree->tree, record) == timestamp);
    return record;
}

uint64_t
forest_newest(const struct forest *forest, uint32_t tree)
{
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    assert((forest_tree->tree.newest == 0) == (forest_tree->tree.record_count == 0));
    return forest_tree->tree.newest;
}

uint32_t
forest_range(
    const struct forest *forest,
    uint32_t index,
    uint64_t value_max,
    uint64_t *timestamps,
    uint32_t limit)
{
    assert(index < forest->schema->index_count);
    const struct index_schema *schema = &forest->schema->indexes[index];
    const struct ordered_index *ordered = &forest->indexes[index].ordered;
    const struct tree *tree = &forest->trees[schema->tree].tree;
    assert(schema->kind == INDEX_ORDERED);

    struct ordered_cursor cursor = ordered_index_seek(ordered, 1);
    struct ordered_pair pair;
    uint32_t count = 0;
    while (count < limit && ordered_index_next(ordered, &cursor, &pair)) {
        if (pair.value > value_max) break;
        timestamps[count] = tree_timestamp(tree, pair.row);
        count += 1;
    }
    return count;
}

uint64_t
forest_range_first(const struct forest *forest, uint32_t index)
{
    assert(index < forest->schema->index_count);
    assert(forest->schema->indexes[index].kind == INDEX_ORDERED);
    const struct ordered_index *ordered = &forest->indexes[index].ordered;
    struct ordered_cursor cursor = ordered_index_seek(ordered, 1);
    struct ordered_pair pair;
    return ordered_index_next(ordered, &cursor, &pair) ? pair.value : UINT64_MAX;
}

/* ---- Writing ------------------------------------------------------------------------------- */

/* May records change now? */
static inline void
forest_assert_mutable(const struct forest *forest)
{
    assert(forest->opened);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
}

void
forest_insert(struct forest *forest, uint32_t tree, const void *record)
{
    assert(record != NULL);
    forest_assert_mutable(forest);
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    assert(forest_tree->burns_for == FOREST_NONE);
    forest_room_spend(forest);
    const uint32_t row = tree_append(&forest->trees[tree].tree, record);
    forest_index_record(forest, tree, record, row);
    if (forest->scope.open) forest_scope_on_insert(forest, tree, row);
}

/* Two words at once: the compiler's vectors. Record sizes are multiples of them. */
typedef uint64_t forest_lanes __attribute__((vector_size(16)));

/* Does the update leave alone what it must: timestamp, id, INDEX_EQUAL fields? */
static inline bool
forest_update_allowed(const struct forest_tree *forest_tree, const void *old, const void *record)
{
    const uint32_t record_size = forest_tree->tree.schema->record_size;
    const char *fixed = (const char *) forest_tree->fixed_words;
    forest_lanes difference = {0};
    assert(record_size % sizeof(forest_lanes) == 0);
    assert(record_size <= FOREST_RECORD_SIZE_MAX);
    for (uint32_t i = 0; i < record_size; i += sizeof(forest_lanes)) {
        forest_lanes lanes_old;
        forest_lanes lanes_new;
        forest_lanes lanes_fixed;
        memcpy(&lanes_old, (const char *) old + i, sizeof(forest_lanes));
        memcpy(&lanes_new, (const char *) record + i, sizeof(forest_lanes));
        memcpy(&lanes_fixed, fixed + i, sizeof(forest_lanes));
        difference |= (lanes_old ^ lanes_new) & lanes_fixed;
    }
    return (difference[0] | difference[1]) == 0;
}

void
forest_update(struct forest *forest, uint32_t tree, const void *old, const void *record)
{
    forest_assert_mutable(forest);
    struct forest_tree *forest_tree = &forest->trees[tree];
    assert(tree < forest->schema->tree_count);
    assert(forest_tree->tree.schema->updates_per_event_max > 0);
    assert(old != record);
    assert(forest_update_allowed(forest_tree, old, record));

    /* The pointer says where the record is. */
    const uint32_t page = page_pool_page_of(&forest->pages, old);
    const struct page_info *info = &forest->pages.infos[page];
    assert(info->tree == tree);
    char *data = page_pool_data(&forest->pages, page);
    const uint32_t record_size = forest_tree->tree.schema->record_size;
    const uint64_t offset = (uint64_t) ((const char *) old - data) - BLOCK_HEADER_SIZE;
    assert(offset % record_size == 0);
    const uint32_t row =
        info->index * forest_tree->tree.records_per_page + (uint32_t) (offset / record_size);
    assert(row < forest_tree->tree.record_count);

    forest_room_spend(forest);
    if (forest->scope.open) forest_scope_on_update(forest, tree, row, old);
    forest_reorder_record(forest, tree, row, old, record);
    memcpy(data + BLOCK_HEADER_SIZE + offset, record, record_size);
    tree_mark_dirty(&forest_tree->tree, info->index);
}

void
forest_burn_id(struct forest *forest, uint32_t tree, const void *record)
{
    forest_assert_mutable(forest);
    assert(!forest->scope.open);
    const uint32_t burnt_tree = forest_tree_at(forest, tree)->tree.schema->burnt_tree;
    assert(burnt_tree < forest->schema->tree_count);
    struct forest_tree *burnt = &forest->trees[burnt_tree];
    assert(burnt->burns_for == tree);
    forest_room_spend(forest);
    const uint32_t row = tree_append(&burnt->tree, record);
    forest_index_record(forest, burnt_tree, record, row);
}

void
forest_stats_get(const struct forest *forest, struct forest_stats *stats)
{
    assert(forest->pages.used_count <= forest->pages.page_count);
    *stats = (struct forest_stats){
        .memory_bytes_used =
            forest->memory_bytes_fixed + (uint64_t) forest->pages.used_count * BLOCK_SIZE,
        .memory_bytes_max = forest->memory_bytes,
        .pages_written = forest->pages_written,
    };
    assert(stats->memory_bytes_used <= stats->memory_bytes_max);
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        stats->records[tree] = forest->trees[tree].tree.record_count;
    }
}
