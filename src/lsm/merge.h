/* SPDX-License-Identifier: PostgreSQL */
/*
 * Merging the oldest runs of a level into one run of the next; or of the same, where they are as
 * large as they can become.
 *
 * A merge works in quotas of entries, given by the forest after each op, so that how far it is, and
 * which addresses its blocks get, is a function of the log alone. A quota is worked off exactly; if
 * a block isn't in memory the merge waits for it.
 *
 * A table that overlaps no other input, and is at least half full, is moved: it is listed in the
 * new run, neither read nor written again. So what arrives in order of its keys (time-ordered ids)
 * costs nothing. Only where a table that is being made has to end for it, its entries count as
 * merged.
 *
 * At a checkpoint the current table is finished as it is. What a merge then still has to know is
 * the last key that it has merged: the inputs' `hidden`. From there it goes on, the same after a
 * restart.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (M1) a merge's inputs are the oldest runs of their level, and stay that until it is done.
 *  (M2) after merge_checkpoint, everything up to the inputs' `hidden` is in the output, and nothing
 *       beyond.
 */
#ifndef LEDGER_LSM_MERGE_H
#define LEDGER_LSM_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/tree.h"

struct merge_input {
    uint8_t run;
    bool positioned; /* Its current block is in memory, and pinned. */
    bool exhausted;
    bool entered; /* Entries of the current table have been taken, so that it can't be moved. */
    struct table_place place;
    uint32_t block; /* Number of the current block in its table. */
    uint32_t entry; /* Number of the current entry in its block. */
    /* Number of blocks behind the current one that were asked for. ask_* say which is the next. */
    uint32_t ahead;
    uint32_t ask_block;
    struct table_place ask_place;
    u128 ask_key; /* The last key of the blocks that were asked for. */
    uint32_t block_count;
    uint32_t entry_count;
    uint32_t frame;
    const char *entries;
};

struct merge {
    struct tree *tree;
    uint32_t level; /* The level of the inputs. */
    bool active;
    bool dropping; /* There may be tables of inputs that are wholly hidden, to be released. */
    bool lost;     /* Two inputs have a key of which there can be only one: damage. */
    uint8_t output;
    uint32_t input_count;
    struct merge_input inputs[LEVEL_RUNS_MAX]; /* Newest first. */
    struct table_builder builder;
    uint64_t entries_left; /* The inputs have at most so many entries left. */
    uint64_t quota;        /* So many entries are to be merged now. */
    u128 key_last;         /* The key of the last entry in the output; 0, which is no key: none. */
};

void merge_init(struct merge *merge, struct tree *tree, uint32_t level);

/*
 * Starts to merge all complete runs of the level, into one of the next, or of the same.
 * Precondition: at least two, and none merging.
 */
void merge_start(struct merge *merge, bool same_level);

/* While opening: goes on with the runs that are marked so, into `output`. */
void merge_resume(struct merge *merge, uint32_t output);

enum merge_result {
    MERGE_DONE, /* The quota is worked off, or the merge is complete (not active any more). */
    MERGE_WAIT, /* A block, or a frame, is awaited. */
    MERGE_LOST,
};

/* Blocks that are merged between looks for free frames, and the frames that this takes at most. */
#define MERGE_STEP_BLOCKS 8
uint64_t merge_step_frames(const struct merge *merge);

/*
 * Is the input at the start of a table of which no more needs to be known yet than its first key?
 * Not of records that change: their first entry may be an older version.
 */
bool merge_input_outside(const struct merge *merge, const struct merge_input *input);

/* The key that is next. The input is positioned, or outside. */
u128 merge_input_key(const struct merge *merge, const struct merge_input *input);

/* May the table that the input is about to begin be moved, as all other keys are not below? */
bool merge_may_move(const struct merge *merge, const struct merge_input *input, u128 bound);

/*
 * Asks for the blocks that come next, so that they are there when they are needed: lsm/merge_ahead.
 * All inputs are positioned, outside, or exhausted.
 */
void merge_ahead(struct merge *merge);

/* Works on the quota. `op` goes into block headers. */
enum merge_result merge_work(struct merge *merge, uint64_t op);

/* Finishes the current table (M2). The quota is 0. Call again after MERGE_WAIT. */
enum merge_result merge_checkpoint(struct merge *merge, uint64_t op);

#endif
