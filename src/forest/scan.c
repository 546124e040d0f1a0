/* SPDX-License-Identifier: PostgreSQL */
/*
 * See scan.h. Each level of the plan seeks in the one below it: intersection, union, leaf. There is
 * no recursion.
 *
 * A seek that must wait first asks for everything that it will need; later it is repeated
 * unchanged.
 */
#include "forest/scan.h"

#include "base/units.h"
#include "forest/internal.h"

/* Up to so many unsorted entries of a tail are looked through one by one rather than sorted. */
#define TAIL_UNSORTED_MAX (8 + TAIL_ENTRIES / 128)

#define CURSORS_NONE UINT32_MAX

/* ---- Making scans -------------------------------------------------------------------------- */

static void
init_leaf(
    struct scan *scan,
    struct forest *forest,
    enum scan_kind kind,
    uint32_t groove,
    const struct scan_window *window)
{
    assert(forest->opened);
    assert(groove < forest->schema->groove_count);
    scan->forest = forest;
    scan->kind = kind;
    scan->window = *window;
    scan->groove = groove;
    scan->yielded = 0;
    scan->standing = false;
    scan->seeking = false;
    scan->exhausted = window->timestamp_min > window->timestamp_max;
    scan->part = PART_NONE;
    scan->cursor_count = CURSORS_NONE;
    scan->input_count = 0;
}

void
scan_groove(
    struct scan *scan, struct forest *forest, uint32_t groove, const struct scan_window *window)
{
    assert(groove < forest->schema->groove_count);
    const uint32_t list = forest->grooves[groove].list;
    assert(window->direction == SCAN_ASCENDING || window->direction == SCAN_DESCENDING);
    if (groove_is_log(&forest->grooves[groove])) {
        init_leaf(scan, forest, SCAN_TREE, groove, window);
        return;
    }
    assert(list != PART_NONE);
    init_leaf(scan, forest, SCAN_INDEX, groove, window);
    scan->part = list;
    scan->value = 0;
}

void
scan_index(
    struct scan *scan,
    struct forest *forest,
    uint32_t index,
    u128 value,
    const struct scan_window *window)
{
    assert(index < forest->schema->index_count);
    const struct index_schema *schema = &forest->schema->indexes[index];
    assert(schema->kind == INDEX_EQUAL);
    assert(value != 0 || schema->zero_indexed);
    init_leaf(scan, forest, SCAN_INDEX, schema->groove, window);
    scan->part = forest->indexes[index].part;
    scan->value = forest_index_hash(schema, value);
}

static void
init_node(struct scan *scan, enum scan_kind kind, struct scan *const *inputs, uint32_t input_count)
{
    const struct scan *first = inputs[0];
    assert(input_count >= 1);
    assert(input_count <= SCAN_INPUTS_MAX);
    init_leaf(scan, first->forest, kind, first->groove, &first->window);
    scan->input_count = input_count;
    for (uint32_t i = 0; i < input_count; i++) {
        assert(inputs[i]->forest == first->forest);
        assert(inputs[i]->window.timestamp_min == first->window.timestamp_min);
        assert(inputs[i]->window.timestamp_max == first->window.timestamp_max);
        assert(inputs[i]->window.direction == first->window.direction);
        assert(!inputs[i]->standing);
        assert(inputs[i]->kind < kind);
        scan->inputs[i] = inputs[i];
    }
}

void
scan_union(struct scan *scan, struct scan *const *inputs, uint32_t input_count)
{
    static_assert(SCAN_TREE < SCAN_UNION && SCAN_INDEX < SCAN_UNION, "inputs of a union: leaves");
    init_node(scan, SCAN_UNION, inputs, input_count);
}

void
scan_intersection(struct scan *scan, struct scan *const *inputs, uint32_t input_count)
{
    static_assert(SCAN_UNION < SCAN_INTERSECTION, "inputs of an intersection: leaves, unions");
    init_node(scan, SCAN_INTERSECTION, inputs, input_count);
}

/* ---- Order --------------------------------------------------------------------------------- */

static inline bool
scan_descending(const struct scan *scan)
{
    return scan->window.direction == SCAN_DESCENDING;
}

/* Does a come before b in the scan's direction? */
static inline bool
scan_before(const struct scan *scan, uint64_t a, uint64_t b)
{
    return scan_descending(scan) ? a > b : a < b;
}

/* True if the scan needn't move: it is at its end, or already at or beyond the target. */
static inline bool
scan_there(const struct scan *scan, uint64_t target)
{
    assert(target >= scan->window.timestamp_min);
    assert(target <= scan->window.timestamp_max);
    if (scan->exhausted) return true;
    return scan->standing && !scan_before(scan, scan->timestamp, target);
}

/* Takes the timestamp if it is nearer than the nearest one so far. */
static inline void
scan_offer(struct scan *scan, uint64_t timestamp)
{
    if (scan->standing && !scan_before(scan, timestamp, scan->timestamp)) return;
    scan->timestamp = timestamp;
    scan->standing = true;
}

static enum scan_result
scan_settle(struct scan *scan, enum tree_found result)
{
    assert(!scan->exhausted);
    if (result == TREE_WAIT || result == TREE_LOST) {
        scan->standing = false;
        return result == TREE_WAIT ? SCAN_WAIT : SCAN_LOST;
    }
    if (scan->standing && (scan->timestamp < scan->window.timestamp_min ||
                           scan->timestamp > scan->window.timestamp_max)) {
        scan->standing = false;
    }
    scan->exhausted = !scan->standing;
    return scan->standing ? SCAN_FOUND : SCAN_END;
}

/* ---- Leaves -------------------------------------------------------------------------------- */

static void
leaf_make_cursors(struct scan *scan, const struct tree *tree)
{
    assert(scan->kind == SCAN_INDEX);
    scan->version = tree->version;
    scan->cursor_count = 0;
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        if (!tree->runs[i].used || tree->runs[i].table_count == 0) continue;
        cursor_init(&scan->cursors[scan->cursor_count], i);
        scan->cursor_count += 1;
    }
}

static enum tree_found
leaf_seek_runs(struct scan *scan, const struct tree *tree, uint64_t target)
{
    const u128 key = u128_make(scan->value, target);
    enum tree_found result = TREE_ABSENT;
    if (scan->cursor_count == CURSORS_NONE || scan->version != tree->version) {
        leaf_make_cursors(scan, tree);
    }
    assert(scan->cursor_count <= TREE_RUNS_MAX);
    for (uint32_t i = 0; i < scan->cursor_count; i++) {
        struct cursor *cursor = &scan->cursors[i];
        const enum tree_found found = cursor_seek(cursor, tree, scan_descending(scan), key);
        if (found == TREE_WAIT || found == TREE_LOST) {
            if (result != TREE_LOST) result = found;
        } else if (found == TREE_FOUND) {
            if (u128_high(cursor->key) == scan->value) {
                scan_offer(scan, u128_low(cursor->key));
            } else {
                cursor->exhausted = true;
            }
        }
    }
    return result;
}

/* The first of the tail's sorted entries that is at or after the key. */
static uint32_t
tail_lower_bound(const struct tail *tail, u128 key)
{
    assert(tail->format.shape == ENTRY_INDEX);
    assert(tail->sorted_count <= tail->count);
    return entries_lower_bound(&tail->format, tail->entries.bytes, tail->sorted_count, key);
}

static void
leaf_seek_tail(struct scan *scan, struct tail *tail, uint64_t target)
{
    const struct entry16 *entries = tail->entries.index;
    const bool descending = scan_descending(scan);
    if (tail->count - tail->sorted_count > TAIL_UNSORTED_MAX) {
        tail_sort(tail, scan->forest->scratch);
    }
    uint32_t place = tail_lower_bound(tail, u128_make(scan->value, target));
    const bool exact = place < tail->sorted_count && entries[place].value == scan->value &&
                       entries[place].timestamp == target;
    if (descending && !exact) place = place == 0 ? tail->sorted_count : place - 1;
    if (place < tail->sorted_count && entries[place].value == scan->value) {
        scan_offer(scan, entries[place].timestamp);
    }
    for (uint32_t i = tail->sorted_count; i < tail->count; i++) {
        if (entries[i].value != scan->value) continue;
        if (scan_before(scan, entries[i].timestamp, target)) continue;
        scan_offer(scan, entries[i].timestamp);
    }
}

static enum scan_result
seek_leaf(struct scan *scan, uint64_t target)
{
    struct forest *forest = scan->forest;
    if (scan_there(scan, target)) return scan->exhausted ? SCAN_END : SCAN_FOUND;
    scan->standing = false;
    if (scan->kind == SCAN_TREE) {
        uint64_t timestamp = target;
        const struct log *log = &forest->grooves[scan->groove].log;
        const enum tree_found found = log_seek(log, scan_descending(scan), &timestamp);
        if (found == TREE_FOUND) scan_offer(scan, timestamp);
        return scan_settle(scan, found);
    }
    assert(scan->kind == SCAN_INDEX);
    struct part *part = forest_part(forest, scan->part);
    const enum tree_found found = leaf_seek_runs(scan, &part->tree, target);
    leaf_seek_tail(scan, part->tail, target);
    return scan_settle(scan, found);
}

/* ---- Unions and intersections (X1) --------------------------------------------------------- */

/* A union stands where the nearest of its inputs stands. */
static enum scan_result
seek_union(struct scan *scan, uint64_t target)
{
    enum tree_found result = TREE_ABSENT;
    assert(scan->kind == SCAN_UNION);
    assert(scan->input_count >= 1);
    if (scan_there(scan, target)) return scan->exhausted ? SCAN_END : SCAN_FOUND;
    scan->standing = false;
    for (uint32_t i = 0; i < scan->input_count; i++) {
        switch (seek_leaf(scan->inputs[i], target)) {
        case SCAN_END: break;
        case SCAN_FOUND: scan_offer(scan, scan->inputs[i]->timestamp); break;
        case SCAN_WAIT:
            if (result != TREE_LOST) result = TREE_WAIT;
            break;
        case SCAN_LOST: result = TREE_LOST; break;
        }
    }
    return scan_settle(scan, result);
}

static enum scan_result
seek_input(struct scan *scan, uint64_t target)
{
    assert(scan->kind != SCAN_INTERSECTION);
    return scan->kind == SCAN_UNION ? seek_union(scan, target) : seek_leaf(scan, target);
}

/* Leapfrog: whichever input is behind seeks to the foremost one, until all agree. */
static enum scan_result
seek_intersection(struct scan *scan, uint64_t target)
{
    assert(scan->kind == SCAN_INTERSECTION);
    if (scan_there(scan, target)) return scan->exhausted ? SCAN_END : SCAN_FOUND;
    if (!scan->seeking) {
        scan->seeking = true;
        scan->target = target;
        scan->agreed_count = 0;
        scan->next = 0;
        scan->standing = false;
        /* All inputs seek at once, so that their reads overlap. */
        for (uint32_t i = 0; i < scan->input_count; i++) {
            (void) seek_input(scan->inputs[i], target);
        }
    }
    while (scan->agreed_count < scan->input_count) {
        assert(scan->next < scan->input_count);
        struct scan *input = scan->inputs[scan->next];
        const enum scan_result result = seek_input(input, scan->target);
        if (result == SCAN_WAIT || result == SCAN_LOST) return result;
        if (result == SCAN_END) {
            scan->exhausted = true;
            return SCAN_END;
        }
        assert(!scan_before(scan, input->timestamp, scan->target));
        if (input->timestamp == scan->target) {
            scan->agreed_count += 1;
        } else {
            scan->target = input->timestamp;
            scan->agreed_count = 1;
        }
        scan->next = (scan->next + 1) % scan->input_count;
    }
    scan->seeking = false;
    scan->timestamp = scan->target;
    scan->standing = true;
    return SCAN_FOUND;
}

enum scan_result
scan_next(struct scan *scan, uint64_t *timestamp)
{
    const bool descending = scan_descending(scan);
    uint64_t target = descending ? scan->window.timestamp_max : scan->window.timestamp_min;
    if (scan->exhausted) return SCAN_END;
    if (scan->yielded != 0) {
        if (scan->yielded == (descending ? scan->window.timestamp_min
                                         : scan->window.timestamp_max)) {
            scan->exhausted = true;
            return SCAN_END;
        }
        target = descending ? scan->yielded - 1 : scan->yielded + 1;
    }
    const enum scan_result result = scan->kind == SCAN_INTERSECTION
                                        ? seek_intersection(scan, target)
                                        : seek_input(scan, target);
    if (result != SCAN_FOUND) return result;
    assert(!scan_before(scan, scan->timestamp, target));
    assert(scan->timestamp >= scan->window.timestamp_min);
    assert(scan->timestamp <= scan->window.timestamp_max);
    scan->yielded = scan->timestamp;
    *timestamp = scan->timestamp;
    return SCAN_FOUND;
}

/* ---- Ranges of ordered indexes ------------------------------------------------------------- */

/* The nearest key of the tail at or after `key`; U128_MAX if there is none. */
static u128
range_tail(struct forest *forest, struct tail *tail, u128 key)
{
    tail_sort(tail, forest->scratch);
    assert(tail->sorted_count == tail->count);
    const uint32_t place = tail_lower_bound(tail, key);
    if (place == tail->count) return U128_MAX;
    return u128_make(tail->entries.index[place].value, tail->entries.index[place].timestamp);
}

enum forest_found
forest_range_next(struct forest *forest, uint32_t index, struct forest_range *position)
{
    assert(index < forest->schema->index_count);
    struct part *part = forest_part(forest, forest->indexes[index].part);
    const struct tree *tree = &part->tree;
    const u128 key = u128_make(position->value, position->timestamp) + 1;
    assert(forest->schema->indexes[index].kind == INDEX_ORDERED);
    assert(!forest->scope.open);
    assert(part->tail != NULL);
    u128 nearest = range_tail(forest, part->tail, key);
    enum forest_found result = FOREST_ABSENT;
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        if (!tree->runs[i].used || tree->runs[i].table_count == 0) continue;
        struct cursor cursor;
        cursor_init(&cursor, i);
        switch (cursor_seek(&cursor, tree, false, key)) {
        case TREE_ABSENT: break;
        case TREE_FOUND: nearest = u128_min(nearest, cursor.key); break;
        case TREE_WAIT: result = result == FOREST_LOST ? FOREST_LOST : FOREST_WAIT; break;
        case TREE_LOST: result = FOREST_LOST; break;
        }
    }
    if (result != FOREST_ABSENT) return result;
    if (nearest == U128_MAX) return FOREST_ABSENT;
    position->value = u128_high(nearest);
    position->timestamp = u128_low(nearest);
    return FOREST_FOUND;
}
