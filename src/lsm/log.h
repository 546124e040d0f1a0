/* SPDX-License-Identifier: PostgreSQL */
/*
 * Logs: records that never change and come in the order of their timestamps. They are written once,
 * block by block as these fill, and never again: the tree has one run, to whose end tables go.
 *
 *     tree->run[0]     tables
 *     builder          the table being made: its blocks are sealed
 *     open frames      the newest records, in memory; those of the current op among them
 *
 * Blocks are sealed when an op ends, so that until then any of its records can be taken back.
 */
#ifndef LEDGER_LSM_LOG_H
#define LEDGER_LSM_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/tree.h"

/* Blocks that one op may fill, and the one that it finds. */
#define LOG_FRAMES_MAX (LOG_OP_RECORDS_MAX * FOREST_RECORD_SIZE_MAX / BLOCK_CONTENT_SIZE + 3)

struct log {
    struct tree *tree;
    struct table_builder builder;
    uint32_t per_block;
    uint32_t frames[LOG_FRAMES_MAX]; /* Open: all but the last are full. */
    uint32_t frame_count;
    uint32_t record_count; /* In the open frames. */
};

void log_init(struct log *log, struct tree *tree);
void log_open(struct log *log);

/* Frames that `record_count` more records may take before the op ends, and at its end. */
uint32_t log_frames_needed(const struct log *log, uint64_t record_count);

/* Precondition: newer than all; a frame is available. */
void log_append(struct log *log, const void *record);

/* Takes the newest of the open records away. */
void log_pop(struct log *log);

/* The op is over: seals full blocks. */
void log_seal(struct log *log, uint64_t op);

/* Seals everything, and finishes the table. */
void log_checkpoint(struct log *log, uint64_t op);

/* The record among the open ones, or NULL. */
const void *log_find_open(const struct log *log, uint64_t timestamp);

/* The record of the timestamp, copied. */
enum tree_found log_lookup(const struct log *log, uint64_t timestamp, void *record);

/* The first record after *timestamp, copied; sets *timestamp to its own. */
enum tree_found log_next(const struct log *log, uint64_t *timestamp, void *record);

/*
 * The first timestamp at or after *timestamp (the last at or before it, if descending); sets it.
 * TREE_ABSENT: there is none.
 */
enum tree_found log_seek(const struct log *log, bool descending, uint64_t *timestamp);

#endif
