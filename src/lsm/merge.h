/* SPDX-License-Identifier: PostgreSQL */
/*
 * A merge makes the oldest runs of a level into one run of the next level, or of the same level
 * where runs are as large as they can become.
 *
 * It works in quotas of entries, which the forest gives after each op. A quota is worked off
 * exactly, and if a block isn't in memory, the merge waits for it. So how far a merge is, and which
 * addresses its blocks get, depends on the log alone, not on the speed of a disk.
 *
 * A table that overlaps no other input, and is at least half full, is moved: it is listed in the
 * new run, and neither read nor written again. So entries that arrive in the order of their keys
 * (such as time-ordered ids) cost nothing to merge. Only if the table that is being made has to end
 * for it, the moved entries count as merged.
 *
 * At a checkpoint the current table is finished as it is. What a merge must remember then is only
 * the last key that it has merged: the inputs' `hidden`. It goes on from there, the same after a
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
    bool positioned; /* Its current block is in memory and pinned. */
    bool exhausted;
    bool entered; /* Entries of the current table have been taken, so it can't be moved any more. */
    struct table_place place;
    uint32_t block; /* Number of the current block in its table. */
    uint32_t entry; /* Number of the current entry in its block. */
    /*
     * How many blocks behind the current one were asked for. ask_place and ask_block are the next
     * one to ask for.
     */
    uint32_t ahead;
    uint32_t ask_block;
    struct table_place ask_place;
    u128 ask_key; /* The last key of the last block that was asked for. */
    uint32_t block_count;
    uint32_t entry_count;
    uint32_t frame;
    const char *entries;
};

struct merge {
    struct tree *tree;
    uint32_t level; /* The level of the inputs. */
    bool active;
    bool dropping; /* There may be input tables whose keys are all hidden, to be released. */
    bool lost;     /* Two inputs have a key of which there can be only one. This is damage. */
    uint8_t output;
    uint32_t input_count;
    struct merge_input inputs[LEVEL_RUNS_MAX]; /* Newest first. */
    struct table_builder builder;
    uint64_t entries_left; /* An upper bound of the entries that the inputs have left. */
    uint64_t quota;        /* How many entries are still to be merged now. */
    /* The key of the last entry in the output; 0, which is never a key, if there is none. */
    u128 key_last;
};

void merge_init(struct merge *merge, struct tree *tree, uint32_t level);

/*
 * Starts to merge all complete runs of the level into one run, of the next level or of the same.
 * Precondition: there are at least two, and no merge is running there.
 */
void merge_start(struct merge *merge, bool same_level);

/* While opening: goes on with the merge of the runs that are marked as merging, into `output`. */
void merge_resume(struct merge *merge, uint32_t output);

enum merge_result {
    MERGE_DONE, /* The quota is worked off, or the merge is complete and not active any more. */
    MERGE_WAIT, /* It waits for a block or for a free frame. */
    MERGE_LOST,
};

/*
 * How many blocks are merged before free frames are counted again, and how many frames that takes
 * at most.
 */
#define MERGE_STEP_BLOCKS 8
uint64_t merge_step_frames(const struct merge *merge);

/*
 * Is the input at the start of a table of which only the first key needs to be known yet? Never for
 * records that change, since their first entry may be an older version to be dropped.
 */
bool merge_input_outside(const struct merge *merge, const struct merge_input *input);

/* The input's next key. The input must be positioned, or outside as above. */
u128 merge_input_key(const struct merge *merge, const struct merge_input *input);

/*
 * May the table that the input is about to begin be moved? All other inputs' keys are at or above
 * the bound.
 */
bool merge_may_move(const struct merge *merge, const struct merge_input *input, u128 bound);

/*
 * Asks for the blocks that are needed next, so that they have arrived by then (merge_ahead.c). Each
 * input is positioned, outside, or exhausted.
 */
void merge_ahead(struct merge *merge);

/* Works on the quota. `op` goes into the headers of new blocks. */
enum merge_result merge_work(struct merge *merge, uint64_t op);

/* Finishes the current table (M2). The quota must be 0. After MERGE_WAIT, call it again. */
enum merge_result merge_checkpoint(struct merge *merge, uint64_t op);

#endif
