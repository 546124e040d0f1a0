/* SPDX-License-Identifier: PostgreSQL */
/*
 * A log: records that never change and arrive in the order of their timestamps. They are written
 * once, block by block as these fill, and never merged: the tree has a single run, and each new
 * table goes to its end.
 *
 *      tree->run[0]     tables
 *      builder          the table being made: its blocks are sealed
 *      open frames      the newest records, in memory; those of the current op among them
 *
 * Full blocks are sealed only when an op ends, so that until then any of the op's records can be
 * taken back.
 */
#ifndef LEDGER_LSM_LOG_H
#define LEDGER_LSM_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/tree.h"

/* The blocks that one op may fill, and the one that was begun before it. */
#define LOG_FRAMES_MAX (LOG_OP_RECORDS_MAX * FOREST_RECORD_SIZE_MAX / BLOCK_CONTENT_SIZE + 3)

struct log {
    struct tree *tree;
    struct table_builder builder;
    uint32_t per_block;
    uint32_t frames[LOG_FRAMES_MAX]; /* The open frames. All but the last are full. */
    uint32_t frame_count;
    uint32_t record_count; /* Records in the open frames. */
};

void log_init(struct log *log, struct tree *tree);
void log_open(struct log *log);

/* How many frames `record_count` more records may take, before the op ends and at its end. */
uint32_t log_frames_needed(const struct log *log, uint64_t record_count);

/* Precondition: the record is newer than all others, and a frame is available. */
void log_append(struct log *log, const void *record);

/* Takes back the newest of the open records. */
void log_pop(struct log *log);

/* Ends the op: seals the blocks that are full. */
void log_seal(struct log *log, uint64_t op);

/* Seals all open records, and finishes the table. */
void log_checkpoint(struct log *log, uint64_t op);

/* The record if it is among the open ones, or NULL. */
const void *log_find_open(const struct log *log, uint64_t timestamp);

/* Copies the record of this timestamp. */
enum tree_found log_lookup(const struct log *log, uint64_t timestamp, void *record);

/* Copies the first record after *timestamp, and sets *timestamp to the record's own. */
enum tree_found log_next(const struct log *log, uint64_t *timestamp, void *record);

/*
 * Sets *timestamp to the first timestamp at or after it, or if descending, to the last one at or
 * before it. TREE_ABSENT: there is none.
 */
enum tree_found log_seek(const struct log *log, bool descending, uint64_t *timestamp);

#endif
