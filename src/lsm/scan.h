/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scans: timestamps in order, ascending or descending, from trees and indexes, merged and
 * intersected.
 *
 * A scan is a small fixed plan made by the caller: leaves (an index value, or a whole tree), then
 * at most one union of leaves, then at most one intersection of everything. scan_next yields each
 * timestamp once, in order. A scan is valid until the forest changes.
 *
 * All scans of a plan are over one tree and one window. Inside they speak of rows, whose order is
 * that of timestamps; a record is looked at only for a timestamp that is yielded.
 *
 * Numbered invariants:
 *  (X1) scan_seek leaves a scan at the first row of its set at or beyond the target, in its
 *       direction, or at the end; targets only move in that direction. So nothing that an input
 *       skips can be asked for later.
 */
#ifndef LEDGER_LSM_SCAN_H
#define LEDGER_LSM_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/u128.h"
#include "lsm/forest.h"

enum scan_direction { SCAN_ASCENDING, SCAN_DESCENDING };

/* Timestamps min … max, both included. */
struct scan_window {
    uint64_t timestamp_min;
    uint64_t timestamp_max;
    enum scan_direction direction;
};

#define SCAN_INPUTS_MAX 8

enum scan_kind { SCAN_TREE, SCAN_INDEX, SCAN_UNION, SCAN_INTERSECTION };

/* Made by the four functions below; the fields are for scan.c only. */
struct scan {
    const struct forest *forest;
    enum scan_kind kind;
    struct scan_window window;
    uint32_t tree;
    uint32_t row_min; /* The window, as rows row_min … row_end − 1. */
    uint32_t row_end;
    uint32_t row; /* Where the scan is. */
    bool started;
    bool exhausted;
    /* SCAN_INDEX: the list of rows, and the place in it. */
    uint32_t index;
    uint32_t list_newest;
    uint32_t list_single;
    uint32_t cursor_chunk;
    uint32_t cursor_index;
    /* SCAN_UNION, SCAN_INTERSECTION: the caller's scans, kept alive by it. */
    struct scan *inputs[SCAN_INPUTS_MAX];
    uint32_t input_count;
};

/* All records of a tree. */
void scan_tree(
    struct scan *scan,
    const struct forest *forest,
    uint32_t tree,
    const struct scan_window *window);

/* The records whose field (INDEX_EQUAL) has the value. */
void scan_index(
    struct scan *scan,
    const struct forest *forest,
    uint32_t index,
    u128 value,
    const struct scan_window *window);

/*
 * Timestamps in any, or in all, of the inputs: 1 … SCAN_INPUTS_MAX of them, all of one tree and
 * with the same window, none of them used before. Inputs of a union are leaves; inputs of an
 * intersection are leaves and unions.
 */
void scan_union(struct scan *scan, struct scan *const *inputs, uint32_t input_count);
void scan_intersection(struct scan *scan, struct scan *const *inputs, uint32_t input_count);

/* The next timestamp, or false at the end. */
bool scan_next(struct scan *scan, uint64_t *timestamp);

#endif
