/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scans: timestamps in order, ascending or descending, from grooves and indexes, merged and
 * intersected.
 *
 * A scan is a small fixed plan made by the caller: leaves (an index value, or a whole groove), then
 * at most one union of leaves, then at most one intersection of everything. scan_next yields each
 * timestamp once, in order. A scan stays valid when the forest changes: it sees the records of its
 * window, whose timestamp_max is at most forest_newest when the scan is made.
 *
 * All scans of a plan have one window, and are over one groove, or over grooves that name the same
 * things by the same timestamps (a transfer, its event, its state).
 *
 * Numbered invariants:
 *  (X1) a seek leaves a scan at the first timestamp of its set at or beyond the target, in its
 *       direction, or at the end; targets only move in that direction. So nothing that an input
 *       skips can be asked for later.
 */
#ifndef LEDGER_FOREST_SCAN_H
#define LEDGER_FOREST_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/u128.h"
#include "forest/forest.h"
#include "lsm/cursor.h"

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
    struct forest *forest;
    enum scan_kind kind;
    struct scan_window window;
    uint32_t groove;
    uint64_t timestamp; /* Where it stands, if `standing`. */
    uint64_t yielded;   /* The newest that scan_next gave; 0: none. */
    bool standing;
    bool exhausted;
    /* SCAN_INDEX: the entries (value, timestamp) of runs and tail, as of a version of the tree. */
    uint32_t part;
    uint64_t value;
    uint64_t version;
    uint32_t cursor_count; /* UINT32_MAX: not made yet. */
    struct cursor cursors[TREE_RUNS_MAX];
    /* SCAN_UNION, SCAN_INTERSECTION: the caller's scans, kept alive by it. */
    struct scan *inputs[SCAN_INPUTS_MAX];
    uint32_t input_count;
    uint32_t agreed_count; /* SCAN_INTERSECTION: inputs that stand at `target`, up to `next`. */
    uint32_t next;
    uint64_t target;
    bool seeking;
};

/* All records of a groove. */
void scan_groove(
    struct scan *scan,
    struct forest *forest,
    uint32_t groove,
    const struct scan_window *window);

/*
 * The records whose field (INDEX_EQUAL) has the value; if it is of 16 bytes, perhaps some others.
 */
void scan_index(
    struct scan *scan,
    struct forest *forest,
    uint32_t index,
    u128 value,
    const struct scan_window *window);

/*
 * Timestamps in any, or in all, of the inputs: 1 … SCAN_INPUTS_MAX of them, all with the same
 * window, none of them used before. Inputs of a union are leaves; inputs of an
 * intersection are leaves and unions.
 */
void scan_union(struct scan *scan, struct scan *const *inputs, uint32_t input_count);
void scan_intersection(struct scan *scan, struct scan *const *inputs, uint32_t input_count);

enum scan_result { SCAN_END, SCAN_FOUND, SCAN_WAIT, SCAN_LOST };

/*
 * The next timestamp, if SCAN_FOUND. SCAN_WAIT: the same call is to be repeated after the storage
 * has made progress.
 */
enum scan_result scan_next(struct scan *scan, uint64_t *timestamp);

#endif
