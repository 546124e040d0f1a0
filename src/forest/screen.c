/* SPDX-License-Identifier: PostgreSQL */
/*
 * Screening finds the ids of a batch that are certainly new. Nearly all are, and it must be certain
 * of each. If ids were looked up one by one, each would visit the filter of a table in every run,
 * and most of the time would go into finding these filters. Here the ids are in order, so that the
 * filters of each table are found once for all ids that the table may hold.
 *
 * What isn't in memory just now is no hindrance: its ids are left to forest_ask_id.
 */
#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/* So many ids ahead, the lines of their filters are fetched. */
#define LINES_AHEAD 8

struct screening {
    const struct tree *tree;
    struct entry24 *ids;
    uint32_t count;
    bool *absent;
};

static u128
screened_id(const struct screening *screening, uint32_t number)
{
    assert(number < screening->count);
    return u128_make(screening->ids[number].id_high, screening->ids[number].id_low);
}

static void
leave(struct screening *screening, uint32_t first, uint32_t end)
{
    assert(first <= end);
    assert(end <= screening->count);
    for (uint32_t i = first; i < end; i++) {
        screening->absent[screening->ids[i].timestamp] = false;
    }
}

/* Finds the table's filter blocks. Returns false unless all are in memory. */
static bool
filters_find(
    const struct screening *screening, const struct table_info *table, const uint8_t **filters)
{
    struct block_cache *cache = screening->tree->cache;
    uint32_t frame;
    assert(table->filter_count > 0);
    const struct entry_format *format = &screening->tree->format;
    if (table_index_get(cache, format, table, &frame) != CACHE_READY) return false;
    const struct table_block *blocks = table_blocks(cache, frame) + table->block_count;
    assert(table->filter_count <= FILTER_BLOCKS_MAX);
    for (uint32_t i = 0; i < table->filter_count; i++) {
        const struct block_reference reference = table_block_reference(&blocks[i]);
        /*
         * A miss may evict a block that was found before. Then all ids are left to forest_ask_id.
         */
        const enum cache_result result =
            cache_get(cache, &reference, BLOCK_FILTER, format->tree, &frame);
        if (result != CACHE_READY) return false;
        filters[i] = (const uint8_t *) cache_content(cache, frame);
    }
    return true;
}

static const uint8_t *
filter_line(const struct table_info *table, const uint8_t *const *filters, uint64_t hash)
{
    const uint32_t line = filter_line_of(hash, table->filter_lines);
    return filters[line / FILTER_LINES_PER_BLOCK] +
           line % FILTER_LINES_PER_BLOCK * FILTER_LINE_SIZE;
}

/* Screens the ids first … end − 1, which are in the table's range of keys. */
static void
screen_table(
    struct screening *screening, const struct table_info *table, uint32_t first, uint32_t end)
{
    const uint8_t *filters[FILTER_BLOCKS_MAX];
    uint64_t hashes[LINES_AHEAD];
    const uint8_t *lines[LINES_AHEAD];
    assert(first < end && end <= screening->count);
    assert(table->filter_lines > 0);
    assert(table->filter_lines <= table->filter_count * FILTER_LINES_PER_BLOCK);
    if (!filters_find(screening, table, filters)) {
        leave(screening, first, end);
        return;
    }
    for (uint32_t i = first; i < end + LINES_AHEAD; i++) {
        const uint32_t place = i % LINES_AHEAD;
        if (i >= first + LINES_AHEAD && filter_may_hold(lines[place], hashes[place])) {
            leave(screening, i - LINES_AHEAD, i - LINES_AHEAD + 1);
        }
        if (i >= end) continue;
        hashes[place] = filter_hash(screened_id(screening, i));
        lines[place] = filter_line(table, filters, hashes[place]);
        __builtin_prefetch(lines[place]);
    }
}

static void
screen_run(struct screening *screening, uint32_t number)
{
    assert(number < TREE_RUNS_MAX);
    const struct tree *tree = screening->tree;
    const struct tree_run *run = &tree->runs[number];
    uint32_t next = 0;
    assert(run->used);
    /* Keys that are hidden in this run are in another one. */
    while (next < screening->count && run->has_hidden &&
           screened_id(screening, next) <= run->hidden) {
        next += 1;
    }
    while (next < screening->count) {
        const struct table_place place =
            tree_run_find(tree, number, screened_id(screening, next));
        if (place.node == NODE_NONE) return;
        const struct table_info *table = tree_table(tree, place);
        while (next < screening->count && screened_id(screening, next) < table->key_min) next += 1;
        const uint32_t first = next;
        while (next < screening->count && screened_id(screening, next) <= table->key_max) next += 1;
        if (next > first) screen_table(screening, table, first, next);
    }
}

/* Puts the ids in order, and finds those that are in memory. */
static void
screen_tail(
    struct screening *screening, const struct groove *groove, const char *ids, uint32_t stride)
{
    assert(stride >= sizeof(u128));
    assert(screening->count <= EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < screening->count; i++) {
        uint64_t words[2];
        uint64_t timestamp;
        if (i + LINES_AHEAD < screening->count) {
            u128 ahead;
            memcpy(&ahead, ids + (uint64_t) (i + LINES_AHEAD) * stride, sizeof(ahead));
            tail_hint_id(&groove->id_tail, ahead);
        }
        memcpy(words, ids + (uint64_t) i * stride, sizeof(words));
        const u128 id = u128_make(words[1], words[0]);
        screening->ids[i] =
            (struct entry24){.id_low = words[0], .id_high = words[1], .timestamp = i};
        screening->absent[i] =
            !tail_find_id(&groove->id_tail, id, &timestamp) &&
            (groove->objects.count == 0 || objects_find_id(&groove->objects, &id) == OBJECT_NONE);
    }
}

/* Do the ranges of the run's keys and of the batch's ids overlap? */
static bool
run_concerns(const struct tree_run *run, u128 id_min, u128 id_max)
{
    if (!run->used || run->table_count == 0) return false;
    assert(run->key_min <= run->key_max); /* (V1) */
    return run->key_max >= id_min && run->key_min <= id_max;
}

void
forest_screen_ids(
    struct forest *forest,
    uint32_t number,
    const void *ids,
    uint32_t stride,
    uint32_t count,
    bool *absent) /* NOLINT(readability-non-const-parameter): written through screening */
{
    const struct groove *groove = forest_groove(forest, number);
    struct screening screening = {
        .tree = &forest_part(forest, groove->ids)->tree,
        .ids = forest->screened,
        .count = count,
        .absent = absent,
    };
    u128 id_min = U128_MAX;
    u128 id_max = 0;
    bool sorted = false;
    assert(forest->active);
    assert(count <= EVENTS_PER_BATCH_MAX);
    screen_tail(&screening, groove, ids, stride);
    for (uint32_t i = 0; i < count; i++) {
        const u128 id = screened_id(&screening, i);
        id_min = u128_min(id_min, id);
        if (id > id_max) id_max = id;
    }
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        if (!run_concerns(&screening.tree->runs[i], id_min, id_max)) continue;
        if (!sorted) sort_entries24(screening.ids, count, forest->scratch);
        sorted = true;
        screen_run(&screening, i);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!absent[screening.ids[i].timestamp]) continue;
        const u128 id = screened_id(&screening, i);
        forest_prefetched_add(forest->prefetched, prefetched_hash_id(number, &id));
    }
}
