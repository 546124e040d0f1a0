/* SPDX-License-Identifier: PostgreSQL */
/*
 * A forest on the simulated disk, and a naive model of it: arrays, searched from end to end.
 *
 * For test_forest.c, test_scan.c and fuzz_forest.c. Includers define assert_failed (unit.h does).
 */
#ifndef LEDGER_TEST_UNIT_FOREST_FIXTURE_H
#define LEDGER_TEST_UNIT_FOREST_FIXTURE_H

#include <stddef.h>

#include "base/prng.h"
#include "base/units.h"
#include "forest/forest.h"
#include "forest/internal.h"
#include "forest/scan.h"

#include "../sim/storage_sim.h"

#define FIXTURE_RECORDS_MAX     6000
#define FIXTURE_CLUSTER         u128_make(0x2b7e151628aed2a6, 0xabf7158809cf4f3c)
#define FIXTURE_GRID_BLOCKS_MAX 40000

/* ---- A schema with one of everything ------------------------------------------------------- */

enum fixture_groove { FIXTURE_ITEM, FIXTURE_OWNER, FIXTURE_STATE, FIXTURE_BURNT, FIXTURE_NOTE };
#define FIXTURE_GROOVE_COUNT 5

struct fixture_item {
    u128 id;
    u128 wide;
    uint64_t middle;
    uint32_t narrow;
    uint16_t tiny;
    uint16_t tiny_zero; /* Indexed with 0 too. */
    uint64_t amount;
    uint64_t timestamp;
};

struct fixture_owner {
    u128 id;
    uint64_t counter; /* Updated. */
    uint64_t rank;    /* Ordered index. */
    uint32_t group;
    uint32_t reserved;
    uint64_t timestamp;
};

struct fixture_state {
    uint64_t timestamp;
    uint64_t due; /* Ordered index. */
    uint64_t status; /* Updated. */
    uint64_t reserved;
};

struct fixture_burnt {
    u128 id;
    uint64_t timestamp;
    uint64_t reserved;
};

struct fixture_note {
    uint64_t timestamp;
    uint64_t content[23];
};

enum fixture_index {
    FIXTURE_ITEM_WIDE,
    FIXTURE_ITEM_MIDDLE,
    FIXTURE_ITEM_NARROW,
    FIXTURE_ITEM_TINY,
    FIXTURE_ITEM_TINY_ZERO,
    FIXTURE_OWNER_GROUP,
    FIXTURE_OWNER_RANK,
    FIXTURE_STATE_DUE,
    FIXTURE_ITEM_PARTIAL,
};

#define FIXTURE_TREE(tree_name, record, id_at, burnt, inserts, updates)                            \
    {                                                                                              \
        .name = tree_name, .record_size = sizeof(struct record),                                   \
        .timestamp_offset = offsetof(struct record, timestamp), .id_offset = id_at,                \
        .burnt_groove = burnt, .inserts_per_event_max = inserts, .updates_per_event_max = updates, \
    }
#define FIXTURE_INDEX(groove_number, record, field, index_kind, zero)                              \
    {                                                                                              \
        .name = #field, .groove = groove_number, .kind = index_kind,                               \
        .field_offset = offsetof(struct record, field),                                            \
        .field_size = sizeof(((struct record *) 0)->field), .zero_indexed = zero,                  \
    }

static const struct groove_schema fixture_grooves[FIXTURE_GROOVE_COUNT] = {
    FIXTURE_TREE("item", fixture_item, 0, FIXTURE_BURNT, 1, 0),
    FIXTURE_TREE("owner", fixture_owner, 0, FOREST_NONE, 1, 2),
    FIXTURE_TREE("state", fixture_state, FOREST_NONE, FOREST_NONE, 1, 1),
    FIXTURE_TREE("burnt", fixture_burnt, 0, FOREST_NONE, 1, 0),
    FIXTURE_TREE("note", fixture_note, FOREST_NONE, FOREST_NONE, 1, 0),
};

static const struct index_schema fixture_indexes[] = {
    FIXTURE_INDEX(FIXTURE_ITEM, fixture_item, wide, INDEX_EQUAL, false),
    FIXTURE_INDEX(FIXTURE_ITEM, fixture_item, middle, INDEX_EQUAL, false),
    FIXTURE_INDEX(FIXTURE_ITEM, fixture_item, narrow, INDEX_EQUAL, false),
    FIXTURE_INDEX(FIXTURE_ITEM, fixture_item, tiny, INDEX_EQUAL, false),
    FIXTURE_INDEX(FIXTURE_ITEM, fixture_item, tiny_zero, INDEX_EQUAL, true),
    FIXTURE_INDEX(FIXTURE_OWNER, fixture_owner, group, INDEX_EQUAL, false),
    FIXTURE_INDEX(FIXTURE_OWNER, fixture_owner, rank, INDEX_ORDERED, false),
    FIXTURE_INDEX(FIXTURE_STATE, fixture_state, due, INDEX_ORDERED, false),
    {
        .name = "partial",
        .groove = FIXTURE_ITEM,
        .kind = INDEX_EQUAL,
        .field_offset = offsetof(struct fixture_item, wide),
        .field_size = sizeof(((struct fixture_item *) 0)->wide),
        .when_offset = offsetof(struct fixture_item, middle),
        .when_mask = 1,
        .when_value = 1,
    },
};

static const struct forest_schema fixture_schema = {
    .grooves = fixture_grooves,
    .groove_count = FIXTURE_GROOVE_COUNT,
    .indexes = fixture_indexes,
    .index_count = ARRAY_COUNT(fixture_indexes),
};

/* ---- The model ----------------------------------------------------------------------------- */

struct fixture_model {
    struct fixture_item items[FIXTURE_RECORDS_MAX];
    struct fixture_owner owners[FIXTURE_RECORDS_MAX];
    struct fixture_state states[FIXTURE_RECORDS_MAX];
    struct fixture_burnt burnt[FIXTURE_RECORDS_MAX];
    struct fixture_note notes[FIXTURE_RECORDS_MAX];
    uint32_t counts[FIXTURE_GROOVE_COUNT];
    struct forest_memo memo;
    struct forest_note note;
};

struct forest_fixture {
    struct prng *prng;
    struct prng prng_sim; /* Its own: what the disk does must not change the work. */
    struct storage_sim sim;
    struct grid grid;
    void *memory;
    uint64_t memory_bytes; /* Of the forest. */
    struct forest *forest;
    struct fixture_model *model;
    struct fixture_model *model_saved; /* As it was when the scope was opened. */
    struct block_reference root;       /* Of the newest durable checkpoint. */
    struct fixture_model *model_durable;
    uint64_t timestamp;
    uint64_t op;
    uint64_t timestamp_durable;
    uint64_t op_durable;
    void (*on_progress)(struct forest_fixture *fixture); /* NULL, or called while waiting. */
    bool checkpoint_done;
    enum grid_result checkpoint_result;
    uint64_t spread; /* Values are in 0 … spread − 1, so small ones make long lists. */
};

void *fixture_record(struct fixture_model *model, uint32_t groove, uint32_t row);

uint64_t fixture_timestamp(const void *record, uint32_t groove);

/* ---- Start and stop ------------------------------------------------------------------------ */

/* Forgets everything in memory, as a crash does, and opens what is on the disk. */
enum forest_open_result fixture_open(
    struct forest_fixture *fixture,
    const struct block_reference *root,
    struct forest_open_report *report);

uint64_t fixture_memory_min(void);

void fixture_begin(struct forest_fixture *fixture, struct prng *prng, uint64_t memory_bytes_extra);

/* The same, with a generator that begins anew too. */
void fixture_begin_seed(
    struct forest_fixture *fixture,
    struct prng *prng,
    uint64_t seed,
    uint64_t memory_bytes_extra);

void fixture_end(struct forest_fixture *fixture);

/* ---- Waiting ------------------------------------------------------------------------------- */

void fixture_progress(struct forest_fixture *fixture);

/*
 * The block cache forgets all that it may: even the smallest is too large for what a test does, and
 * blocks would never be read.
 */
void fixture_chill(struct forest_fixture *fixture);

/* The lowest acquired address from this one on; 0 at the end. */
uint64_t fixture_next_acquired(const struct forest_fixture *fixture, uint64_t address);

void fixture_warm(struct forest_fixture *fixture);

void fixture_op_begin(struct forest_fixture *fixture, uint32_t event_count);

void fixture_op_commit(struct forest_fixture *fixture);

/* Brings what was asked for within reach. */
enum forest_found fixture_reach(struct forest_fixture *fixture);

enum forest_found fixture_prefetch_id(
    struct forest_fixture *fixture,
    uint32_t groove,
    const u128 *id,
    const void **record);

enum forest_found fixture_prefetch(
    struct forest_fixture *fixture,
    uint32_t groove,
    uint64_t timestamp,
    const void **record);

enum forest_found fixture_read_by_id(
    struct forest_fixture *fixture,
    uint32_t groove,
    const u128 *id,
    void *record);

enum forest_found fixture_read(
    struct forest_fixture *fixture,
    uint32_t groove,
    uint64_t timestamp,
    void *record);

bool fixture_range_next(
    struct forest_fixture *fixture,
    uint32_t index,
    struct forest_range *position);

bool fixture_scan_next(struct forest_fixture *fixture, struct scan *scan, uint64_t *timestamp);

/* ---- Doing the same to both ---------------------------------------------------------------- */

void fixture_append(struct forest_fixture *fixture, uint32_t groove, const void *record);

void fixture_insert(struct forest_fixture *fixture, uint32_t groove, const void *record);

void fixture_insert_item(struct forest_fixture *fixture);

void fixture_insert_owner(struct forest_fixture *fixture);

void fixture_update_owner(struct forest_fixture *fixture);

void fixture_update_state(struct forest_fixture *fixture);

/* What one event may do at most, or less of it. Everything has room: the caller has reserved. */
void fixture_event(struct forest_fixture *fixture, bool scope_open);

/* A batch of events, some of them in scopes, some of which are discarded. */
void fixture_batch(struct forest_fixture *fixture, uint32_t event_count);

/* Batches of random length, for which there is room. */
void fixture_batches(struct forest_fixture *fixture, uint32_t batch_count);

/* ---- Checkpoints --------------------------------------------------------------------------- */

void fixture_checkpoint_start(struct forest_fixture *fixture);

void fixture_checkpoint_finish(struct forest_fixture *fixture);

void fixture_checkpoint(struct forest_fixture *fixture);

/* ---- Comparing: false at the first difference ---------------------------------------------- */

bool fixture_same_groove(struct forest_fixture *fixture, uint32_t groove);

u128 fixture_field(const void *record, const struct index_schema *schema);

/* Has the index an entry of the record? */
bool fixture_indexed(const void *record, const struct index_schema *schema);

/* Do records with the values come in the same list? */
bool fixture_same_key(const struct index_schema *schema, u128 a, u128 b);

/* Does the forest answer as the model does? */
bool fixture_same(struct forest_fixture *fixture);

/*
 * After forest_checkpoint_durable: is each acquired block of a table, or of the checkpoint, and of
 * one only?
 */
bool fixture_blocks_accounted(struct forest_fixture *fixture);

/* After a crash: opens the newest durable checkpoint, and goes back to its model. */
enum forest_open_result fixture_reopen(struct forest_fixture *fixture);

#endif
