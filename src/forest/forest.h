/* SPDX-License-Identifier: PostgreSQL */
/*
 * The forest: everything that the state machine remembers, as grooves of fixed-size records, found
 * by timestamp, by id, and through indexes.
 *
 * A *groove* holds records ordered by their 8-byte timestamp, which is the record's name. Records
 * are inserted in ascending order of timestamp within a groove; some grooves' records are updated
 * later, none is ever deleted. A groove may have an *id*: a unique 16-byte field. An id may also be
 * *burnt*: it names no record and never will. An *index* of a groove maps a field's value to the
 * timestamps of the records that have it. The schema (data, given at init) says where the fields
 * are; the forest keeps ids and indexes itself on insert and update.
 *
 * Inside, everything is in log-structured merge trees over the grid's blocks, in memory of a fixed
 * size: README.md. So what an op will look at is asked for before, reads may have to wait, and
 * there is work to do after an op. Nothing else of it is known outside lsm/.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (F1) timestamps of a groove ascend strictly in insertion order.
 *  (F2) after a discarded scope, every get and every scan answers as before the scope, ids and
 *       indexes included.
 *  (F3) forest_reserve said FOREST_ROOM for what is inserted: inserts and checkpoints never run
 *       out.
 *  (F4) a checkpoint opened again answers every get and scan as the forest did when the checkpoint
 *       was taken.
 *  (F5) same calls, same bytes in the grid.
 *  (F6) an op is told that a record is absent only if it was asked for, and looked up, before.
 */
#ifndef LEDGER_FOREST_FOREST_H
#define LEDGER_FOREST_FOREST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/u128.h"
#include "store/grid.h"
#include "store/superblock.h"

#define FOREST_GROOVES_MAX 8
#define FOREST_INDEXES_MAX 32
#define FOREST_NONE UINT32_MAX

/* What has tables of its own: records, ids and list of each groove, and each index. */
#define FOREST_PARTS_MAX (3 * FOREST_GROOVES_MAX + FOREST_INDEXES_MAX)

/* One groove. record_size: a multiple of 16. */
struct groove_schema {
    const char *name;
    uint32_t record_size;
    uint32_t timestamp_offset;
    uint32_t id_offset; /* FOREST_NONE: no id. */
    /*
     * The groove that holds this groove's burnt ids, at its id_offset. FOREST_NONE: none can burn.
     */
    uint32_t burnt_groove;
    /*
     * Records of this groove that one event may insert, and update, at most: what forest_reserve
     * counts with.
     */
    uint32_t inserts_per_event_max;
    uint32_t updates_per_event_max;
};

enum index_kind {
    /*
     * Scans for one value, by timestamp, both ways. The field never changes. Fields of 16 bytes are
     * kept by a hash: a scan may give records of other values too, so callers compare.
     */
    INDEX_EQUAL,
    INDEX_ORDERED, /* Ranges of values, by (value, timestamp). 8 bytes. The field never changes. */
};

struct index_schema {
    const char *name;
    uint32_t groove;
    enum index_kind kind;
    uint32_t field_offset;
    uint32_t field_size; /* 2, 4, 8 or 16 bytes. */
    bool zero_indexed;   /* False: records with value 0 are not in the index. */
    /*
     * A partial index has only the records whose two bytes at when_offset, masked by when_mask, are
     * when_value; these never change. Others cost it nothing. A mask of 0: all records.
     */
    uint32_t when_offset;
    uint16_t when_mask;
    uint16_t when_value;
};

struct forest_schema {
    const struct groove_schema *grooves;
    uint32_t groove_count;
    const struct index_schema *indexes;
    uint32_t index_count;
};

struct forest_options {
    const struct forest_schema *schema;
    uint64_t memory_bytes; /* All that the forest may take from the arena. */
};

enum forest_room {
    FOREST_ROOM,
    FOREST_MEMORY_FULL,
    FOREST_DISK_FULL,
    FOREST_ROOM_WAITS, /* The grid file grows: ask again after progress. */
    FOREST_IO_ERROR, /* The grid file could not be grown, and not for want of space. */
};

/* How far what is done in pieces has come. */
enum forest_work {
    FOREST_WORK_DONE,
    FOREST_WORK_LEFT,  /* A piece is done: ask for the next when others have had their turn. */
    FOREST_WORK_WAITS, /* For the disk: ask again after progress. */
};

enum forest_found {
    FOREST_ABSENT,
    FOREST_FOUND,
    FOREST_BURNT,
    FOREST_WAIT, /* Not in memory; asked for. Ask again after the storage has made progress. */
    FOREST_LOST, /* A block that would tell is damaged or unreadable; forest_damage() says which. */
};

/* What FOREST_LOST, or a failed forest (forest_failed), met. */
struct forest_damage {
    uint64_t block_address;
    const char *tree_name;
    bool io_error;
};

enum forest_open_result {
    FOREST_OPENED,
    FOREST_OPEN_CORRUPT,          /* report names the block. */
    FOREST_OPEN_IO_ERROR,
    FOREST_OPEN_MEMORY_TOO_SMALL, /* report says how many bytes it takes at least. */
};

struct forest_open_report {
    uint64_t block_address;
    const char *tree_name;
    uint64_t memory_bytes_needed;
};

struct forest_stats {
    uint64_t records[FOREST_GROOVES_MAX];
    uint64_t memory_bytes_used; /* Memory that is in use, and couldn't be given up at once. */
    uint64_t memory_bytes_max;
    uint64_t tables;
    uint64_t tables_max; /* With about so many tables, events are refused. */
    /* The block cache: its size in blocks, and what it has done since start. */
    uint64_t cache_blocks;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t cache_evictions;
};

struct forest; /* Defined in forest/internal.h. */

typedef void forest_checkpoint_callback(void *context, enum grid_result result);

/* Grooves are named by their number in the schema: `groove`, or `number`. */

/* ---- Making it, and how it is: init.c -------------------------------------------------------- */

/* Takes the forest and everything it needs from the arena. NULL while measuring. */
struct forest *forest_init(
    struct arena *arena,
    struct grid *grid,
    const struct forest_options *options);

/* The smallest memory_bytes that forest_init accepts for the schema. */
uint64_t forest_memory_bytes_min(struct grid *grid, const struct forest_schema *schema);

void forest_stats_get(const struct forest *forest, struct forest_stats *stats);

/*
 * Assert what holds between two calls of an open forest, of its cache and of all its objects: by
 * some comparisons, and by counting everything anew.
 */
void forest_invariants(const struct forest *forest);
void forest_recount(const struct forest *forest);

/* ---- Opening a checkpoint: open.c ------------------------------------------------------------ */

/*
 * Opens the checkpoint: reads its root, free set and lists of tables. Address 0: empty. Waits.
 */
enum forest_open_result forest_open(
    struct forest *forest,
    const struct block_reference *root,
    struct forest_open_report *report);

/* ---- Warming up: warm.c ---------------------------------------------------------------------- */

/*
 * After opening: brings records that changed lately into memory, as long as there is room, and half
 * a gigabyte at most. Nobody depends on it.
 */
enum forest_work forest_warm(struct forest *forest);

/* ---- Room: room.c ---------------------------------------------------------------------------- */

/*
 * Can `event_count` more events (see groove_schema) be kept, in memory and at the next checkpoint
 * on disk? The grid file grows ahead of need, so that it seldom has to be waited for. Callers count
 * everything admitted and not yet executed. FOREST_MEMORY_FULL and FOREST_DISK_FULL: refuse.
 * FOREST_IO_ERROR: the caller must stop.
 */
enum forest_room forest_reserve(struct forest *forest, uint64_t event_count);

/*
 * The same for an op of the log, which is executed next, while no checkpoint is under way. What was
 * admitted with forest_reserve finds room here, in a forest and on a disk that are no smaller.
 */
enum forest_room forest_reserve_replayed(struct forest *forest, uint64_t event_count);

/* After FOREST_MEMORY_FULL: with so much memory_bytes there would be room for a batch now. */
uint64_t forest_memory_bytes_needed(const struct forest *forest);

/* ---- An op: what it will look at: ask.c ------------------------------------------------------ */

/*
 * Begins an op of so many events. False: not now (blocks are still being written); ask again after
 * progress.
 */
bool forest_begin(struct forest *forest, uint32_t event_count);

/*
 * Asks for the record, for the op that has begun: what is not in memory is noted. No more than
 * FOREST_ASKS_PER_EVENT for each event of a full batch between two times that forest_prefetch is
 * done.
 */
#define FOREST_ASKS_PER_EVENT 4
/* The record, where it is within reach already: good for the op. Else NULL. */
const void *forest_ask_id(struct forest *forest, uint32_t number, const u128 *id);
void forest_ask(struct forest *forest, uint32_t number, uint64_t timestamp);

/* The same where a record names it: that it is absent is damage then. */
void forest_ask_named_id(struct forest *forest, uint32_t number, const u128 *id);
void forest_ask_named(struct forest *forest, uint32_t number, uint64_t timestamp);

/*
 * Brings what was asked for into reach of the op, with many reads under way. FOREST_FOUND: it is
 * done, so that forest_get_by_id and forest_get answer without waiting until forest_compact, that
 * it is there or that it is absent; and more can be asked for. FOREST_WAIT: call again after
 * progress. FOREST_LOST: the op can't be executed.
 */
enum forest_found forest_prefetch(struct forest *forest);

/*
 * Has what forest_ask_id will look at, or then its record, on its way to the processor. Worth
 * most a dozen, and half a dozen, events ahead.
 */
void forest_hint_id(const struct forest *forest, uint32_t number, const u128 *id);
void forest_hint_record(const struct forest *forest, uint32_t number, const u128 *id);

/* The same for what forest_update of a record that is within reach will look at. */
void forest_hint_update(const struct forest *forest, uint32_t number, const void *record);

/* ---- An op: which ids are new: screen.c ------------------------------------------------------ */

/*
 * Which of the ids, the first at `ids` and each `stride` bytes after the one before, are absent for
 * certain? Sets absent[i]; those need no forest_ask_id. Much faster than one by one: tables'
 * filters are visited in order. count <= EVENTS_PER_BATCH_MAX.
 */
void forest_screen_ids(
    struct forest *forest,
    uint32_t number,
    const void *ids,
    uint32_t stride,
    uint32_t count,
    bool *absent);

/* ---- An op: records, and the memo: op.c ------------------------------------------------------ */

/* Timestamp of the newest record of the groove; 0 if it is empty. */
uint64_t forest_newest(const struct forest *forest, uint32_t groove);

/*
 * Record by id, of what was prefetched in this op or inserted in it. Sets *record if FOREST_FOUND;
 * valid until the next insert into this groove, the next update of this record, or scope end. (An
 * update of one record leaves pointers to others valid: the two accounts of a transfer are found
 * once.)
 */
enum forest_found forest_get_by_id(
    const struct forest *forest,
    uint32_t number,
    const u128 *id,
    const void **record);

/* Record by timestamp, or NULL. Of what one by id is of, and valid as long. */
const void *forest_get(const struct forest *forest, uint32_t number, uint64_t timestamp);

/* Copies the record in. F1; the id is absent. */
void forest_insert(struct forest *forest, uint32_t groove, const void *record);

/*
 * Replaces a record that a get returned (`old`: that pointer, still valid) by `record`. Timestamp,
 * id and indexed fields stay the same.
 */
void forest_update(struct forest *forest, uint32_t number, const void *old, const void *record);

/*
 * Burns an absent id of the groove by inserting `record` into its burnt_groove. Not within a scope.
 */
void forest_burn_id(struct forest *forest, uint32_t groove, const void *record);

/*
 * A few words that the state machine keeps from op to op, besides records. They are part of the
 * checkpoint, so that it finds them again after a restart. At first they are zero.
 */
struct forest_memo {
    uint64_t words[2];
};

/* The memo as the newest op has left it, as far as it is executed. */
struct forest_memo forest_memo(const struct forest *forest);

/* Sets the memo, as a part of the current op. Discarding a scope doesn't bring the old one back. */
void forest_memo_set(struct forest *forest, struct forest_memo memo);

/* ---- An op: scopes: scope.c ------------------------------------------------------------------ */

/* Everything inserted and updated from here on can be undone. One scope at a time. */
void forest_scope_open(struct forest *forest);
void forest_scope_persist(struct forest *forest);
void forest_scope_discard(struct forest *forest); /* F2 */

/* ---- After an op: compact.c ------------------------------------------------------------------ */

/*
 * Ends the op, and does a piece of the work that is due after it (writing, compaction): below a
 * millisecond or two, so that the disk gets its next write meanwhile. The state may be read between
 * pieces. No op may begin before all is done.
 */
enum forest_work forest_compact(struct forest *forest, uint64_t op);

/* Which block was met last that is damaged or can't be read: after FOREST_LOST, or forest_lost. */
void forest_damage(const struct forest *forest, struct forest_damage *damage);

/*
 * A write failed, or a block that has to be merged is lost: the caller must stop. forest_lost: it
 * is the latter, and forest_damage says which block.
 */
bool forest_failed(const struct forest *forest);
bool forest_lost(const struct forest *forest);

/* ---- Reads, outside of an op: find.c --------------------------------------------------------- */

/* Copies the newest record. */
enum forest_found forest_read_by_id(
    struct forest *forest,
    uint32_t number,
    const u128 *id,
    void *record);
enum forest_found forest_read(
    struct forest *forest,
    uint32_t groove,
    uint64_t timestamp,
    void *record);

/* True if no more blocks can be asked for now, so that only what is in memory can be read. */
bool forest_reads_full(const struct forest *forest);

/*
 * A caller that waits for so many records need not ask for them again before this mark is reached:
 * when half of the blocks that are being read for them have come, which is enough to keep a disk
 * busy.
 */
uint64_t forest_reads_mark(const struct forest *forest, uint32_t waiting);
bool forest_reads_reached(const struct forest *forest, uint64_t mark);

/*
 * What others say of the record cannot be, or it isn't there at all: FOREST_LOST. forest_damage()
 * names the table that has it, or that should.
 */
enum forest_found forest_refuse(struct forest *forest, uint32_t groove, uint64_t timestamp);

/*
 * Copies the first record after *timestamp, and moves *timestamp there: a walk along a groove whose
 * records never change. FOREST_ABSENT: there are no more.
 */
enum forest_found forest_read_next(
    struct forest *forest,
    uint32_t groove,
    uint64_t *timestamp,
    void *record);

/*
 * May an op after `op` have changed the record? False: none has. True: one has, or nothing in
 * memory tells.
 */
bool forest_may_have_changed(
    const struct forest *forest,
    uint32_t number,
    uint64_t timestamp,
    uint64_t op);

/* ---- Ranges of ordered indexes: scan.c ------------------------------------------------------- */

/* Position: the pair last given; {0, 0}: before all. */
struct forest_range {
    uint64_t value;
    uint64_t timestamp;
};

/*
 * The next pair of the index after *position, ascending by (value, timestamp): FOUND (position is
 * moved there), ABSENT (end), WAIT, LOST.
 */
enum forest_found forest_range_next(
    struct forest *forest,
    uint32_t index,
    struct forest_range *position);

/* ---- Checkpoints: checkpoint.c --------------------------------------------------------------- */

/* Does what can be done now (steps of checkpoints …); true if something was done. */
bool forest_poll(struct forest *forest);

/*
 * Writes all that changed since the last checkpoint, and a manifest. No insert or update until the
 * callback, which gives GRID_OK or GRID_IO_ERROR and never runs inside this call. Then
 * forest_checkpoint_root() is what the superblock must reference. `op` goes into the blocks'
 * headers.
 */
void forest_checkpoint(
    struct forest *forest,
    uint64_t op,
    forest_checkpoint_callback *callback,
    void *context);

struct block_reference forest_checkpoint_root(const struct forest *forest);

/*
 * The superblock that references the root is durable: what it replaced is free
 * (grid_checkpoint_durable is called).
 */
void forest_checkpoint_durable(struct forest *forest);

#endif
