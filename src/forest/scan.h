/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scans: timestamps in ascending or descending order, from grooves and indexes, united and
 * intersected.
 *
 * A scan is a small fixed plan that the caller makes: leaves (one value of an index, or a whole
 * groove), then at most one level of unions of leaves, then at most one intersection of everything.
 * For example, "transfers of account 7 with code 3" is the intersection of two things: the union of
 * the two leaves "debit account is 7" and "credit account is 7", and the leaf "code is 3".
 *
 * scan_next gives each timestamp once, in order. A scan stays valid while the forest changes: it
 * sees the records of its window, and the window's timestamp_max is at most forest_newest at the
 * time when the scan is made.
 *
 * All scans of a plan have the same window. They are over one groove, or over grooves that use the
 * same timestamps for the same things (a transfer, its event, its state).
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

/* The timestamps min … max, both included. */
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
    uint64_t timestamp; /* If `standing`: the timestamp where it stands. */
    uint64_t yielded;   /* The timestamp that scan_next gave last; 0 if none. */
    bool standing;
    bool exhausted;
    /*
     * For SCAN_INDEX: the entries (value, timestamp) in runs and tail. `version` is the version of
     * the tree that the cursors were made for.
     */
    uint32_t part;
    uint64_t value;
    uint64_t version;
    uint32_t cursor_count; /* UINT32_MAX: they aren't made yet. */
    struct cursor cursors[TREE_RUNS_MAX];
    /*
     * For SCAN_UNION and SCAN_INTERSECTION: scans of the caller, which must exist as long as this
     * one.
     */
    struct scan *inputs[SCAN_INPUTS_MAX];
    uint32_t input_count;
    /* For SCAN_INTERSECTION: this many inputs, up to input `next`, stand at `target`. */
    uint32_t agreed_count;
    uint32_t next;
    uint64_t target;
    bool seeking;
};

/* A scan of all records of a groove. */
void scan_groove(
    struct scan *scan,
    struct forest *forest,
    uint32_t groove,
    const struct scan_window *window);

/*
 * A scan of the records whose field has this value, by an INDEX_EQUAL index. If the field has 16
 * bytes, some records with other values may come as well.
 */
void scan_index(
    struct scan *scan,
    struct forest *forest,
    uint32_t index,
    u128 value,
    const struct scan_window *window);

/*
 * Timestamps that are in any input (union), or in all inputs (intersection). There are 1 …
 * SCAN_INPUTS_MAX inputs, all with the same window, none of them used before. Inputs of a union are
 * leaves. Inputs of an intersection are leaves and unions.
 */
void scan_union(struct scan *scan, struct scan *const *inputs, uint32_t input_count);
void scan_intersection(struct scan *scan, struct scan *const *inputs, uint32_t input_count);

enum scan_result { SCAN_END, SCAN_FOUND, SCAN_WAIT, SCAN_LOST };

/*
 * On SCAN_FOUND, *timestamp is the next timestamp. On SCAN_WAIT, repeat the same call after the
 * storage has made progress.
 */
enum scan_result scan_next(struct scan *scan, uint64_t *timestamp);

#endif
