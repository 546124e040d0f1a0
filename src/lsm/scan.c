/* SPDX-License-Identifier: PostgreSQL */
/*
 * See scan.h. Each level seeks the one below it: intersection, union, leaf. There is no recursion.
 */
#include "lsm/scan.h"

#include "base/units.h"
#include "lsm/forest_internal.h"

/* ---- Making scans -------------------------------------------------------------------------- */

static void
scan_init_leaf(
    struct scan *scan,
    const struct forest *forest,
    enum scan_kind kind,
    uint32_t tree_number,
    const struct scan_window *window)
{
    assert(forest->opened);
    assert(tree_number < forest->schema->tree_count);
    const struct tree *tree = &forest->trees[tree_number].tree;
    *scan = (struct scan){
        .forest = forest,
        .kind = kind,
        .window = *window,
        .tree = tree_number,
        .exhausted = true,
        .list_newest = CHUNK_NONE,
        .list_single = ROW_NONE,
        .cursor_chunk = CHUNK_NONE,
    };
    if (tree->record_count == 0 || window->timestamp_min > window->timestamp_max) return;
    const uint64_t timestamp_end = min_u64(window->timestamp_max, UINT64_MAX - 1) + 1;
    scan->row_min = tree_lower_bound(tree, window->timestamp_min);
    scan->row_end = tree_lower_bound(tree, timestamp_end);
    assert(scan->row_min <= scan->row_end);
    scan->exhausted = scan->row_min == scan->row_end;
}

void
scan_tree(
    struct scan *scan, const struct forest *forest, uint32_t tree, const struct scan_window *window)
{
    assert(window->direction == SCAN_ASCENDING || window->direction == SCAN_DESCENDING);
    scan_init_leaf(scan, forest, SCAN_TREE, tree, window);
}

void
scan_index(
    struct scan *scan,
    const struct forest *forest,
    uint32_t index,
    u128 value,
    const struct scan_window *window)
{
    assert(index < forest->schema->index_count);
    const struct index_schema *schema = &forest->schema->indexes[index];
    assert(schema->kind == INDEX_EQUAL);
    assert(value != 0 || schema->zero_indexed);
    scan_init_leaf(scan, forest, SCAN_INDEX, schema->tree, window);
    scan->index = index;
    const struct posting_list list = postings_find(&forest->indexes[index].postings, value);
    scan->list_newest = list.newest;
    scan->list_single = list.single;
    if (list.newest == CHUNK_NONE && list.single == ROW_NONE) scan->exhausted = true;
}

static void
scan_init_node(
    struct scan *scan, enum scan_kind kind, struct scan *const *inputs, uint32_t input_count)
{
    assert(input_count >= 1);
    assert(input_count <= SCAN_INPUTS_MAX);
    const struct scan *first = inputs[0];
    *scan = (struct scan){
        .forest = first->forest,
        .kind = kind,
        .window = first->window,
        .tree = first->tree,
        .row_min = first->row_min,
        .row_end = first->row_end,
        .input_count = input_count,
    };
    for (uint32_t i = 0; i < input_count; i++) {
        assert(inputs[i]->forest == first->forest);
        assert(inputs[i]->tree == first->tree);
        assert(inputs[i]->row_min == first->row_min);
        assert(inputs[i]->row_end == first->row_end);
        assert(inputs[i]->window.direction == first->window.direction);
        assert(!inputs[i]->started);
        assert(inputs[i]->kind < kind);
        scan->inputs[i] = inputs[i];
    }
    scan->exhausted = scan->row_min == scan->row_end;
}

void
scan_union(struct scan *scan, struct scan *const *inputs, uint32_t input_count)
{
    static_assert(SCAN_TREE < SCAN_UNION && SCAN_INDEX < SCAN_UNION, "inputs of a union: leaves");
    scan_init_node(scan, SCAN_UNION, inputs, input_count);
}

void
scan_intersection(struct scan *scan, struct scan *const *inputs, uint32_t input_count)
{
    static_assert(SCAN_UNION < SCAN_INTERSECTION, "inputs of an intersection: leaves, unions");
    scan_init_node(scan, SCAN_INTERSECTION, inputs, input_count);
}

/* ---- Seeking (X1) -------------------------------------------------------------------------- */

static inline bool
scan_ascending(const struct scan *scan)
{
    return scan->window.direction == SCAN_ASCENDING;
}

/* Does row a come before row b in the scan's direction? */
static inline bool
scan_before(const struct scan *scan, uint32_t a, uint32_t b)
{
    assert(scan->row_min < scan->row_end);
    return scan_ascending(scan) ? a < b : a > b;
}

/* True if there is nothing to do: the scan is at its end, or at or beyond the target already. */
static inline bool
scan_there(const struct scan *scan, uint32_t target)
{
    assert(target >= scan->row_min);
    assert(target < scan->row_end);
    if (scan->exhausted) return true;
    return scan->started && !scan_before(scan, scan->row, target);
}

static void
scan_seek_leaf(struct scan *scan, uint32_t target)
{
    assert(scan->input_count == 0);
    if (scan_there(scan, target)) return;
    scan->started = true;
    scan->row = target;
    if (scan->kind == SCAN_TREE) return;

    assert(scan->kind == SCAN_INDEX);
    const struct postings *postings = &scan->forest->indexes[scan->index].postings;
    const struct posting_list list = {.newest = scan->list_newest, .single = scan->list_single};
    struct posting_cursor cursor = {.chunk = scan->cursor_chunk, .index = scan->cursor_index};
    scan->row = scan_ascending(scan) ? postings_seek_ascending(postings, &list, &cursor, target)
                                     : postings_seek_descending(postings, &list, &cursor, target);
    scan->cursor_chunk = cursor.chunk;
    scan->cursor_index = cursor.index;
    scan->exhausted =
        scan->row == ROW_NONE || scan->row < scan->row_min || scan->row >= scan->row_end;
}

/* The nearest row of any input. */
static void
scan_seek_union(struct scan *scan, uint32_t target)
{
    assert(scan->kind == SCAN_UNION);
    if (scan_there(scan, target)) return;
    scan->started = true;
    scan->exhausted = true;
    for (uint32_t i = 0; i < scan->input_count; i++) {
        struct scan *input = scan->inputs[i];
        scan_seek_leaf(input, target);
        if (input->exhausted) continue;
        assert(!scan_before(scan, input->row, target));
        if (scan->exhausted || scan_before(scan, input->row, scan->row)) scan->row = input->row;
        scan->exhausted = false;
    }
}

static void
scan_seek_input(struct scan *scan, uint32_t target)
{
    assert(scan->input_count <= SCAN_INPUTS_MAX);
    switch (scan->kind) {
    case SCAN_TREE:
    case SCAN_INDEX: scan_seek_leaf(scan, target); return;
    case SCAN_UNION: scan_seek_union(scan, target); return;
    case SCAN_INTERSECTION: break;
    }
    unreachable();
}

/* Leapfrog: whoever is behind seeks the row of the foremost, until all agree. */
static void
scan_seek_intersection(struct scan *scan, uint32_t target)
{
    assert(scan->kind == SCAN_INTERSECTION);
    if (scan_there(scan, target)) return;
    scan->started = true;
    uint32_t agreed_count = 0;
    for (uint32_t i = 0; agreed_count < scan->input_count; i = (i + 1) % scan->input_count) {
        struct scan *input = scan->inputs[i];
        scan_seek_input(input, target);
        if (input->exhausted) {
            scan->exhausted = true;
            return;
        }
        assert(!scan_before(scan, input->row, target));
        if (input->row == target) {
            agreed_count += 1;
        } else {
            target = input->row;
            agreed_count = 1;
        }
    }
    scan->row = target;
}

bool
scan_next(struct scan *scan, uint64_t *timestamp)
{
    assert(scan->forest->opened);
    if (scan->exhausted) return false;
    assert(scan->row_min < scan->row_end);
    uint32_t target = scan_ascending(scan) ? scan->row_min : scan->row_end - 1;
    if (scan->started) {
        const uint32_t last = scan_ascending(scan) ? scan->row_end - 1 : scan->row_min;
        if (scan->row == last) {
            scan->exhausted = true;
            return false;
        }
        target = scan_ascending(scan) ? scan->row + 1 : scan->row - 1;
    }
    if (scan->kind == SCAN_INTERSECTION) {
        scan_seek_intersection(scan, target);
    } else {
        scan_seek_input(scan, target);
    }
    if (scan->exhausted) return false;
    *timestamp = tree_timestamp(&scan->forest->trees[scan->tree].tree, scan->row);
    assert(*timestamp >= scan->window.timestamp_min);
    assert(*timestamp <= scan->window.timestamp_max);
    return true;
}
