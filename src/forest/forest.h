/* SPDX-License-Identifier: PostgreSQL */
/*
 * The forest: everything that the state machine remembers, as grooves of fixed-size records. They
 * are found by timestamp, by id, and through indexes.
 *
 * A *groove* holds records ordered by their 8-byte timestamp, which is the record's name. Records
 * are inserted in ascending order of timestamp within a groove. In some grooves records are updated
 * later; none is ever deleted. A groove may have an *id*: a unique 16-byte field. An id may also be
 * *burnt*: it names no record and never will. An *index* of a groove maps a field's value to the
 * timestamps of the records that have it. The schema (data, given at init) says where the fields
 * are. The forest itself keeps ids and indexes up to date on insert and update.
 *
 * Inside, everything is in log-structured merge trees over the grid's blocks, with a fixed amount
 * of memory (README.md). This is why an op must say beforehand what it will look at, why reads may
 * have to wait, and why there is work to do after an op. Nothing else of the inside is known
 * outside.
 *
 * The way of an op: forest_reserve (is there room?), forest_begin, forest_ask… and forest_prefetch
 * (what will be looked up), forest_get…, forest_insert and forest_update (execution, without
 * waiting), then forest_compact until it is done. What can go wrong: there is no room, and the
 * events are refused; a block is damaged (FOREST_LOST, and forest_damage says which); a write fails
 * (forest_failed, and the caller must stop).
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

/*
 * The most things that have tables of their own: records, ids and list of each groove, and each
 * index.
 */
#define FOREST_PARTS_MAX (3 * FOREST_GROOVES_MAX + FOREST_INDEXES_MAX)

/* Describes one groove. record_size is a multiple of 16. */
struct groove_schema {
    const char *name;
    uint32_t record_size;
    uint32_t timestamp_offset;
    uint32_t id_offset; /* FOREST_NONE: no id. */
    /*
     * The groove that holds this groove's burnt ids, at its id_offset. FOREST_NONE: no id can burn.
     */
    uint32_t burnt_groove;
    /*
     * The most records of this groove that one event inserts, and updates. forest_reserve computes
     * with them.
     */
    uint32_t inserts_per_event_max;
    uint32_t updates_per_event_max;
};

enum index_kind {
    /*
     * Scans for one value, by timestamp, in both directions. The field never changes. A field of 16
     * bytes is indexed by its hash, so that a scan may also give records of other values: callers
     * compare.
     */
    INDEX_EQUAL,
    /* Ranges of values, by (value, timestamp). The field has 8 bytes and never changes. */
    INDEX_ORDERED,
};

struct index_schema {
    const char *name;
    uint32_t groove;
    enum index_kind kind;
    uint32_t field_offset;
    uint32_t field_size; /* 2, 4, 8 or 16 bytes. */
    bool zero_indexed;   /* False: records with value 0 are not in the index. */
    /*
     * A partial index has only the records whose two bytes at when_offset, masked by when_mask,
     * equal when_value. These bytes never change. Other records cost it nothing. A mask of 0 means
     * all records.
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
    uint64_t memory_bytes; /* The most that the forest takes from the arena. */
};

enum forest_room {
    FOREST_ROOM,
    FOREST_MEMORY_FULL,
    FOREST_DISK_FULL,
    FOREST_ROOM_WAITS, /* The grid's file is growing: ask again after progress. */
    /* The grid's file could not be grown, for another reason than missing space. */
    FOREST_IO_ERROR,
};

/* How far a piece of work has come that is done bit by bit. */
enum forest_work {
    FOREST_WORK_DONE,
    FOREST_WORK_LEFT,  /* There is more to do. Call again when others have had their turn. */
    FOREST_WORK_WAITS, /* It waits for the disk. Call again after progress. */
};

enum forest_found {
    FOREST_ABSENT,
    FOREST_FOUND,
    FOREST_BURNT,
    /* It isn't in memory, but was asked for. Ask again after the storage has made progress. */
    FOREST_WAIT,
    /*
     * A block that is needed for the answer is damaged or unreadable; forest_damage() says which.
     */
    FOREST_LOST,
};

/* What was damaged when FOREST_LOST was returned, or when the forest failed (forest_failed). */
struct forest_damage {
    uint64_t block_address;
    const char *tree_name;
    bool io_error;
};

enum forest_open_result {
    FOREST_OPENED,
    FOREST_OPEN_CORRUPT,          /* The report names the block. */
    FOREST_OPEN_IO_ERROR,
    FOREST_OPEN_MEMORY_TOO_SMALL, /* The report says how much memory it takes at least. */
};

struct forest_open_report {
    uint64_t block_address;
    const char *tree_name;
    uint64_t memory_bytes_needed;
};

struct forest_stats {
    uint64_t records[FOREST_GROOVES_MAX];
    uint64_t memory_bytes_used; /* Memory in use that couldn't be given up at once. */
    uint64_t memory_bytes_max;
    uint64_t tables;
    uint64_t tables_max; /* At about this number of tables, events are refused. */
    /* The block cache: its size in blocks, and what it has done since the start. */
    uint64_t cache_blocks;
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t cache_evictions;
};

struct forest; /* Defined in forest/internal.h. */

typedef void forest_checkpoint_callback(void *context, enum grid_result result);

/* In what follows, a groove is named by its number in the schema: `groove`, or `number`. */

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
 * Opens the checkpoint: reads its root, free set and lists of tables. Address 0 means an empty
 * forest. Waits.
 */
enum forest_open_result forest_open(
    struct forest *forest,
    const struct block_reference *root,
    struct forest_open_report *report);

/* ---- Warming up: warm.c ---------------------------------------------------------------------- */

/*
 * After opening: brings records that changed lately into memory, as long as there is room, and at
 * most half a gigabyte. Nothing depends on it.
 */
enum forest_work forest_warm(struct forest *forest);

/* ---- Room: room.c ---------------------------------------------------------------------------- */

/*
 * Is there room for `event_count` more events (see groove_schema), in memory, and on disk at the
 * next checkpoint? The count includes everything that was admitted and not yet executed. The grid's
 * file grows ahead of need, so that it seldom has to be waited for. On FOREST_MEMORY_FULL and
 * FOREST_DISK_FULL, refuse the events. On FOREST_IO_ERROR, the caller must stop.
 */
enum forest_room forest_reserve(struct forest *forest, uint64_t event_count);

/*
 * The same for an op of the log that is replayed: it is executed next, and no checkpoint is under
 * way. What was admitted with forest_reserve finds room here, if forest and disk are no smaller
 * than then.
 */
enum forest_room forest_reserve_replayed(struct forest *forest, uint64_t event_count);

/* After FOREST_MEMORY_FULL: with this memory_bytes, there would be room for a batch now. */
uint64_t forest_memory_bytes_needed(const struct forest *forest);

/* ---- An op: what it will look at: ask.c ------------------------------------------------------ */

/*
 * Begins an op of `event_count` events. Returns false if that isn't possible yet, because blocks
 * are still being written: ask again after progress.
 */
bool forest_begin(struct forest *forest, uint32_t event_count);

/*
 * Asks for a record, for the op that has begun. What isn't in memory is noted, for forest_prefetch
 * to read. Between two times that forest_prefetch is done, ask for at most FOREST_ASKS_PER_EVENT
 * records for each event of a full batch.
 */
#define FOREST_ASKS_PER_EVENT 4
/*
 * Returns the record if it is in memory already; the pointer is valid during the op. Otherwise
 * NULL.
 */
const void *forest_ask_id(struct forest *forest, uint32_t number, const u128 *id);
void forest_ask(struct forest *forest, uint32_t number, uint64_t timestamp);

/* The same for a record that another record names. If it is absent, that is damage. */
void forest_ask_named_id(struct forest *forest, uint32_t number, const u128 *id);
void forest_ask_named(struct forest *forest, uint32_t number, uint64_t timestamp);

/*
 * Reads what was asked for, with many reads under way. FOREST_FOUND: all of it is within reach of
 * the op. Until forest_compact, forest_get_by_id and forest_get answer without waiting, whether it
 * exists or not; and more can be asked for. FOREST_WAIT: call again after progress. FOREST_LOST:
 * the op can't be executed.
 */
enum forest_found forest_prefetch(struct forest *forest);

/*
 * Fetch into the processor's cache what forest_ask_id will look at: first the index (about a dozen
 * events ahead), then the record (about half a dozen ahead).
 */
void forest_hint_id(const struct forest *forest, uint32_t number, const u128 *id);
void forest_hint_record(const struct forest *forest, uint32_t number, const u128 *id);

/* The same for what forest_update will look at, when the record is within reach. */
void forest_hint_update(const struct forest *forest, uint32_t number, const void *record);

/* ---- An op: which ids are new: screen.c ------------------------------------------------------ */

/*
 * Which of the ids are certainly absent? The first id is at `ids`, and each next one `stride` bytes
 * further. Sets absent[i] for these; they need no forest_ask_id. It is much faster than asking one
 * by one, since the filters of tables are visited in order. count <= EVENTS_PER_BATCH_MAX.
 */
void forest_screen_ids(
    struct forest *forest,
    uint32_t number,
    const void *ids,
    uint32_t stride,
    uint32_t count,
    bool *absent);

/* ---- An op: records, memo and note: op.c ----------------------------------------------------- */

/* Timestamp of the newest record of the groove; 0 if it is empty. */
uint64_t forest_newest(const struct forest *forest, uint32_t groove);

/*
 * The record by its id, if it was prefetched for this op or inserted in it. On FOREST_FOUND,
 * *record points to it. The pointer is valid until the next insert into this groove, the next
 * update of this record, or the end of the scope. Updating one record leaves pointers to others
 * valid, so that the two accounts of a transfer need to be found only once.
 */
enum forest_found forest_get_by_id(
    const struct forest *forest,
    uint32_t number,
    const u128 *id,
    const void **record);

/* The record by its timestamp, or NULL. The same conditions as for forest_get_by_id. */
const void *forest_get(const struct forest *forest, uint32_t number, uint64_t timestamp);

/* Copies the record in. The timestamp must be the newest (F1), and the id absent. */
void forest_insert(struct forest *forest, uint32_t groove, const void *record);

/*
 * Replaces the record that a get has returned (`old` is that pointer, still valid) by `record`.
 * Timestamp, id and indexed fields must stay the same.
 */
void forest_update(struct forest *forest, uint32_t number, const void *old, const void *record);

/*
 * Burns an absent id of the groove, by inserting `record` into its burnt_groove. Not within a
 * scope.
 */
void forest_burn_id(struct forest *forest, uint32_t groove, const void *record);

/*
 * A few words that the state machine keeps from op to op, besides records. They are part of the
 * checkpoint, so that they are there again after a restart. In an empty forest they are zero.
 */
struct forest_memo {
    uint64_t words[2];
};

/* The memo as the newest op has left it, or as the current op has set it so far. */
struct forest_memo forest_memo(const struct forest *forest);

/* Sets the memo, as a part of the current op. Discarding a scope doesn't bring the old one back. */
void forest_memo_set(struct forest *forest, struct forest_memo memo);

/*
 * What the replica keeps with a checkpoint. It must follow from the log, as all of a checkpoint
 * does. In an empty forest it is zero.
 */
struct forest_note {
    uint64_t words[2 * MEMBERS_MAX];
};

/* The note of the checkpoint that was opened, or what was set since. */
const struct forest_note *forest_note(const struct forest *forest);

/* Sets the note for the next checkpoint. It is called between ops, while no checkpoint is made. */
void forest_note_set(struct forest *forest, const struct forest_note *note);

/* ---- An op: scopes: scope.c ------------------------------------------------------------------ */

/*
 * Everything that is inserted and updated from here on can be undone. There is one scope at a time.
 */
void forest_scope_open(struct forest *forest);
void forest_scope_persist(struct forest *forest);
void forest_scope_discard(struct forest *forest); /* F2 */

/* ---- After an op: compact.c ------------------------------------------------------------------ */

/*
 * Ends the op, and does a piece of the work that is due after it (writing, compaction). A piece
 * takes less than a millisecond or two, so that the disk gets its next write in between. The state
 * may be read between pieces. The next op may begin only when all is done.
 */
enum forest_work forest_compact(struct forest *forest, uint64_t op);

/* After FOREST_LOST, or if forest_lost: which block was found to be damaged or unreadable last. */
void forest_damage(const struct forest *forest, struct forest_damage *damage);

/*
 * True if the caller must stop: a write failed, or a block that has to be merged is lost.
 * forest_lost is true in the second case only, and forest_damage says which block.
 */
bool forest_failed(const struct forest *forest);
bool forest_lost(const struct forest *forest);

/* ---- Reads, outside of an op: find.c --------------------------------------------------------- */

/* Copy the newest version of the record. */
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
 * While a caller waits for `waiting` records, it need not ask for them again before this mark is
 * reached. That is when half of the blocks being read for it have come, so that a disk is kept
 * busy.
 */
uint64_t forest_reads_mark(const struct forest *forest, uint32_t waiting);
bool forest_reads_reached(const struct forest *forest, uint64_t mark);

/*
 * Reports damage and returns FOREST_LOST: what others say of the record can't be true, or the
 * record doesn't exist. forest_damage() then names the table that has it, or that should have it.
 */
enum forest_found forest_refuse(struct forest *forest, uint32_t groove, uint64_t timestamp);

/*
 * Copies the first record after *timestamp, and sets *timestamp to the record's. This walks along a
 * groove whose records never change. FOREST_ABSENT: there are no more.
 */
enum forest_found forest_read_next(
    struct forest *forest,
    uint32_t groove,
    uint64_t *timestamp,
    void *record);

/*
 * May an op after `op` have changed the record? False is certain. True means that one has, or that
 * it can't be told from memory.
 */
bool forest_may_have_changed(
    const struct forest *forest,
    uint32_t number,
    uint64_t timestamp,
    uint64_t op);

/* ---- Ranges of ordered indexes: scan.c ------------------------------------------------------- */

/* A position in an index: the pair that was given last; {0, 0} before the first. */
struct forest_range {
    uint64_t value;
    uint64_t timestamp;
};

/*
 * The next pair of the index after *position, in the order of (value, timestamp). FOREST_FOUND:
 * *position is that pair. FOREST_ABSENT: there are no more. Or FOREST_WAIT, or FOREST_LOST.
 */
enum forest_found forest_range_next(
    struct forest *forest,
    uint32_t index,
    struct forest_range *position);

/* ---- Checkpoints: checkpoint.c --------------------------------------------------------------- */

/* Does what can be done now, such as a step of a checkpoint. Returns true if something was done. */
bool forest_poll(struct forest *forest);

/*
 * Writes everything that changed since the last checkpoint, and a manifest. There must be no insert
 * or update until the callback, which gets GRID_OK or GRID_IO_ERROR and never runs inside this
 * call. After it, the superblock must refer to forest_checkpoint_root(). `op` goes into the blocks'
 * headers.
 */
void forest_checkpoint(
    struct forest *forest,
    uint64_t op,
    forest_checkpoint_callback *callback,
    void *context);

struct block_reference forest_checkpoint_root(const struct forest *forest);

/*
 * The superblock that refers to the new root is durable, so blocks that only the old checkpoint
 * needed become free (it calls grid_checkpoint_durable).
 */
void forest_checkpoint_durable(struct forest *forest);

#endif
