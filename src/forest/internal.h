/* SPDX-License-Identifier: PostgreSQL */
/* What the files of the forest share. See forest.h for what it is, README.md for the map. */
#ifndef LEDGER_FOREST_INTERNAL_H
#define LEDGER_FOREST_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "forest/forest.h"
#include "forest/watch.h"
#include "lsm/block_cache.h"
#include "lsm/filter.h"
#include "lsm/log.h"
#include "lsm/merge.h"
#include "lsm/objects.h"
#include "lsm/tail.h"
#include "lsm/tree.h"
#include "store/grid.h"

/* ---- Parts --------------------------------------------------------------------------------- */

/*
 * A part is what has tables of its own: the records of a groove, its ids, its list, or an index.
 * Block headers call the number of a part `tree`.
 */
#define PART_NONE UINT32_MAX

struct part {
    struct tree tree;
    struct merge merges[LSM_LEVELS];
    /* Where its new entries come from. Exactly one of the three is set. */
    struct tail *tail;
    struct objects *objects;
    struct log *log;
    uint64_t added;     /* Entries that have come since the last beat. */
    uint32_t tail_done; /* Tail entries that earlier beats have counted. */
    uint32_t entries_per_event; /* That an event brings at most. */
};

/* ---- Grooves and indexes ------------------------------------------------------------------- */

struct groove {
    const struct groove_schema *schema;
    uint32_t records; /* Number of the part. */
    uint32_t ids;     /* Number of the part, or PART_NONE. */
    /* Number of the part, or PART_NONE. A groove with updates has a list of all timestamps. */
    uint32_t list;
    uint32_t burns_for; /* The groove whose ids this one's records burn, or FOREST_NONE. */
    struct log log;         /* Only a groove without updates has one. */
    /*
     * Records within reach. With updates: those that are in memory. For a log: those that the
     * current op asked for.
     */
    struct objects objects;
    struct tail id_tail;
    struct tail list_tail;
    uint64_t newest;
    uint64_t record_count;
    uint32_t index_count;
    uint32_t indexes[FOREST_INDEXES_MAX];
    /* A mask of the bytes that no update may change. */
    uint64_t fixed_words[FOREST_RECORD_SIZE_MAX / sizeof(uint64_t)];
};

struct forest_index {
    const struct index_schema *schema;
    uint32_t part;
    struct tail tail;
};

static inline bool
groove_is_log(const struct groove *groove)
{
    return groove->schema->updates_per_event_max == 0;
}

/* ---- Scopes: scope.c ----------------------------------------------------------------------- */

enum forest_undo_kind { UNDO_INSERT, UNDO_UPDATE };

/*
 * Ends an entry of the undo log, which is read backwards. Before an UNDO_UPDATE lies the old
 * record.
 */
struct forest_undo {
    uint64_t op;     /* The op of the record's previous change. */
    uint32_t object; /* For a groove with updates: the number of its object. */
    uint8_t kind;
    uint8_t groove;
    bool was_dirty;
    uint8_t reserved;
};
static_assert(sizeof(struct forest_undo) == 16, "records in the log stay aligned");

struct forest_scope {
    bool open;
    char *log;
    uint64_t log_size;
    uint64_t log_size_max; /* Room for everything that a batch may insert and update. */
    /* The values at the time when the scope was opened. */
    uint64_t newest[FOREST_GROOVES_MAX];
    uint64_t record_count[FOREST_GROOVES_MAX];
    uint32_t tail_count[FOREST_PARTS_MAX];
};

uint64_t forest_scope_log_size_max(const struct forest_schema *schema);
void forest_scope_on_insert(struct forest *forest, uint32_t groove, uint32_t object);
void forest_scope_on_update(
    struct forest *forest, uint32_t groove, uint32_t object, uint64_t op, bool was_dirty);

/* ---- What an op asks for: ask.c ------------------------------------------------------------ */

#define PREFETCHED_BITS  (1 << 18)
#define PREFETCHED_COUNT 512

/*
 * The keys that an op asked for and that are absent: a bit for each, chosen by hash. `listed` has
 * the first of these bits, so that a small op can clear them one by one instead of clearing
 * everything.
 */
struct forest_prefetched {
    uint64_t bits[PREFETCHED_BITS / 64];
    uint32_t listed[PREFETCHED_COUNT];
    uint32_t count;
};

void forest_prefetched_add(struct forest_prefetched *prefetched, uint64_t hash);
void forest_prefetched_clear(struct forest_prefetched *prefetched);
bool forest_prefetched_has(const struct forest_prefetched *prefetched, uint64_t hash);

static inline uint64_t
prefetched_hash_id(uint32_t groove, const u128 *id)
{
    return filter_hash(*id) + groove;
}

static inline uint64_t
prefetched_hash(uint32_t groove, uint64_t timestamp)
{
    return filter_hash(u128_make(groove + 1, timestamp));
}

/* The most keys that an op asks for at a time, by id or by timestamp. */
#define FOREST_ASKS_MAX (FOREST_ASKS_PER_EVENT * EVENTS_PER_BATCH_MAX)

/*
 * Keys to be looked up. First come those that wait for blocks; from `next` on, those that weren't
 * looked at yet. Once `next` isn't 0, they are in order.
 */
struct forest_asks {
    /* In these, `timestamp` has the groove and the block that is awaited (ask.c). */
    struct entry24 *keys;
    uint32_t count;
    uint32_t next;
    uint32_t waiting;
};

void forest_asks_init(struct forest_asks *asks, struct arena *arena);

/* ---- The work after an op: compact.c ------------------------------------------------------- */

enum compact_step {
    COMPACT_DONE,
    COMPACT_FLUSH, /* Tails and sets of changed records that are large enough go to level 0. */
    COMPACT_MERGE,
};

struct forest_compact {
    enum compact_step step;
    uint32_t part; /* The part that is being worked on. */
    uint32_t level;
    uint64_t added; /* Entries of all parts that have come since the last beat. */
    uint32_t beat;  /* Number of beats since the last checkpoint, modulo MERGE_TURNS. */
    uint32_t turn; /* Which merges have their turn at this beat; MERGE_TURNS means all of them. */
};

/*
 * Writes all that the part has in memory as a run of level 0. Returns false if it has to wait for
 * frames. A log is only flushed at a checkpoint.
 */
bool forest_flush_part(struct forest *forest, struct part *part, uint64_t op);

/* How many entries a run of the level has if everything it was made of was full. */
uint64_t forest_level_entries(const struct tree *tree, uint32_t level);

/*
 * Starts a checkpoint's beat, in which all merges work off their quotas. forest_beat_work does the
 * next piece of a beat.
 */
void forest_beat_start_all(struct forest *forest);
enum forest_work forest_beat_work(struct forest *forest);

/* ---- Checkpoints: checkpoint.c, open.c ----------------------------------------------------- */

/*
 * IDLE ─ forest_checkpoint → BEAT → FLUSH → MERGES → MANIFEST → FREE_SET → WRITES ─ callback → IDLE
 *
 *    BEAT       does what is due after the op
 *    FLUSH      writes everything that parts have in memory
 *    MERGES     finishes the tables that are being made
 *    MANIFEST   writes a chain of blocks that lists all runs and tables
 *    FREE_SET   writes a chain of blocks with the free set, and then the root, which is one block
 *    WRITES     waits until all is durable
 */
enum forest_checkpoint_stage {
    CHECKPOINT_IDLE,
    CHECKPOINT_BEAT,
    CHECKPOINT_FLUSH,
    CHECKPOINT_MERGES,
    CHECKPOINT_MANIFEST,
    CHECKPOINT_FREE_SET,
    CHECKPOINT_WRITES,
};

/* The manifest is a stream of items of one size: each run's head, then its tables. */
struct manifest_run {
    u128 hidden;
    uint64_t table_count;
    uint8_t part;
    uint8_t level;
    uint8_t flags; /* MANIFEST_RUN_* */
    uint8_t reserved[53];
};
static_assert(sizeof(struct manifest_run) == sizeof(struct table_info), "items of one size");
#define MANIFEST_RUN_HIDDEN   1
#define MANIFEST_RUN_BUILDING 2
#define MANIFEST_RUN_MERGING  4

#define MANIFEST_ITEM_SIZE       ((uint32_t) sizeof(struct table_info))
#define MANIFEST_ITEMS_PER_BLOCK ((uint32_t) (BLOCK_CONTENT_SIZE / MANIFEST_ITEM_SIZE))

/* The content of the root: the block that the superblock refers to. */
struct root_content {
    struct block_reference manifest; /* Each of the two refers to the last block of its chain. */
    struct block_reference free_set;
    struct block_reference annex;    /* Zero, until the state machine has more than records. */
    uint64_t item_count;
    uint64_t word_count; /* How many words the free set has. */
    uint64_t newest[FOREST_GROOVES_MAX];
    uint64_t record_count[FOREST_GROOVES_MAX];
    struct forest_memo memo;
    struct forest_note note;
    uint64_t reserved[2];
};
static_assert(sizeof(struct root_content) == 464, "no padding");

struct forest_checkpoint {
    enum forest_checkpoint_stage stage;
    uint64_t op;
    forest_checkpoint_callback *callback;
    void *context;
    uint32_t part; /* The part that FLUSH, MERGES or MANIFEST is at. */
    uint32_t level;
    /* For MANIFEST: the run within the level, and how many of its items were written. */
    uint32_t run;
    uint64_t run_items;
    struct table_place place;
    uint64_t items_left;
    uint64_t words_done; /* For FREE_SET: words that were written. */
    struct root_content content;
    struct block_reference chain; /* The newest block of the chain that is being written. */
    struct block_reference root;
    /*
     * The blocks of the newest checkpoint's manifest, free set and root, in this order. The next
     * checkpoint replaces them. Checksum 0: the block isn't sealed yet.
     */
    struct block_reference *own;
    uint32_t own_count;
    uint32_t own_sealed;
    uint32_t own_max;
};

enum block_type forest_own_type(const struct forest_checkpoint *checkpoint, uint32_t own);

/* The name that reports use for a block that belongs to no tree. */
const char *forest_own_name(enum block_type type);

/* ---- Warming up: warm.c -------------------------------------------------------------------- */

struct forest_warm {
    bool settled;     /* `place` is a table of the current run. */
    uint32_t groove;  /* The groove that is being warmed. */
    uint32_t level;
    uint32_t run;   /* Which run of the level, counted from the newest. */
    uint32_t block; /* Which block of the table. */
    struct table_place place;
    uint64_t blocks; /* How many blocks were looked at so far. */
};

/* ---- The forest ---------------------------------------------------------------------------- */

struct forest {
    const struct forest_schema *schema;
    struct grid *grid;
    struct block_cache cache;
    struct table_pool tables;
    struct part *parts;
    uint32_t part_count;
    struct groove grooves[FOREST_GROOVES_MAX];
    struct forest_index indexes[FOREST_INDEXES_MAX];
    struct forest_scope scope;
    struct forest_compact compact;
    struct forest_checkpoint checkpoint;
    struct forest_warm warm;
    struct scrub scrub;
    struct tour tour; /* For callers that want a tour of their own, made at once (forest_tour). */
    struct forest_prefetched *prefetched;
    struct forest_memo memo;
    struct forest_note note;
    struct forest_asks asked_ids;
    struct forest_asks asked_records; /* Records that were asked for by timestamp. */
    /* The asked keys are not looked at again before cache.reads_done has reached this. */
    uint64_t asks_resume_at;
    void *scratch;    /* Memory for sorting. */
    /* Ids of a batch, in order; their `timestamp` is their number in the batch. */
    struct entry24 *screened;
    uint32_t *flushing; /* The numbers of the changed objects while they are flushed. */
    uint64_t memory_bytes;
    uint64_t op;      /* The newest committed op. */
    uint64_t epoch;   /* The current op pins records for this epoch. */
    bool active;      /* An op has begun and not ended. */
    bool lost;        /* A block that an op or a merge needs is damaged. The forest has failed. */
    bool opened;
    uint64_t room_events; /* So many events are known to find room. */
};

static inline struct part *
forest_part(const struct forest *forest, uint32_t part)
{
    assert(part < forest->part_count);
    return &forest->parts[part];
}

static inline struct groove *
forest_groove(struct forest *forest, uint32_t groove)
{
    assert(groove < forest->schema->groove_count);
    return &forest->grooves[groove];
}

/* Has the op asked for something that wasn't found yet? */
static inline bool
forest_asking(const struct forest *forest)
{
    return forest->asked_ids.count > 0 || forest->asked_records.count > 0;
}

/* ---- Memory: init.c ------------------------------------------------------------------------ */

/* How much memory_bytes a forest on this grid needs to get at least node_count nodes. */
uint64_t forest_memory_bytes_for(const struct forest *forest, uint64_t node_count);

/* ---- Indexes: op.c ------------------------------------------------------------------------- */

/*
 * Sets *value to what the record is indexed under. Returns false if the record isn't in the index.
 */
bool forest_index_value(const struct index_schema *schema, const void *record, uint64_t *value);

/* The form in which a value of 16 bytes is indexed: its hash. */
uint64_t forest_index_hash(const struct index_schema *schema, u128 value);

/* ---- Finding: find.c ----------------------------------------------------------------------- */

/* Copies the record of this timestamp, wherever it is. */
enum tree_found
forest_find(const struct forest *forest, uint32_t number, uint64_t timestamp, void *record);

enum forest_found forest_found_of(enum tree_found found);

/* Finds the timestamp that the id leads to, perhaps with BURNT_BIT. */
enum tree_found
forest_find_id(const struct forest *forest, uint32_t number, const u128 *id, uint64_t *timestamp);

/* ---- Room: room.c -------------------------------------------------------------------------- */

/* Once all parts are there: what an event brings to each. */
void forest_room_init(struct forest *forest);

/* About how many more tables can be listed before events are refused. */
uint64_t forest_room_tables(const struct forest *forest);

/* Another operation was executed: the number of events known to find room decreases by one. */
static inline void
forest_room_spend(struct forest *forest)
{
    if (forest->room_events > 0) forest->room_events -= 1;
}

#endif
