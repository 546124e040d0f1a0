/* SPDX-License-Identifier: PostgreSQL */
/*
 * The object cache of a tree: records of one size, at most a fixed number of them, found by
 * timestamp and by id. What is not in it is on disk; what was changed (dirty) is in it until it was
 * taken to be written.
 *
 * A caller that wants a record to stay pins it for an epoch; epochs only ascend, and a pin ends
 * when a newer epoch begins. A full cache evicts by CLOCK (Corbató, "A paging experiment with the
 * Multics system", 1968): the hand passes over objects that are dirty or pinned, takes the mark
 * from those that were used since it last came by, and stops at the first that has none. A record
 * is not marked by being inserted, only by being pinned again: what is used once goes before what
 * is used often.
 *
 * An index is a table of open addressing with linear probing (Knuth, TAOCP vol. 3, 6.4, algorithms
 * L and R). An entry keeps the hash beside the number, so that neither passing over others nor
 * moving them looks at records, and a search that fails nearly always costs one cache line. The
 * table is sparse, not to save comparisons but because the processor then guesses how long a search
 * is.
 *
 * Numbered invariants:
 *  (C1) an object is in the index of timestamps, and of ids if there is one, exactly if it is used,
 *       and no entry is empty between its hash's home and it. No more than one entry of
 *       OBJECTS_INDEX_SPREAD is filled.
 *  (C2) retained_count is how many objects are dirty, or pinned in the newest epoch, or both. All
 *       others can be evicted or are free.
 *  (C3) the dirty objects are those in the list of dirty objects, each once, in the order in which
 *       they became dirty. What is dirty is never evicted.
 *  (C4) the op of last change of a record that was evicted, or that lay on disk when the cache was
 *       opened, is at most forgotten_op.
 */
#ifndef LEDGER_LSM_OBJECTS_H
#define LEDGER_LSM_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/u128.h"
#include "lsm/hash.h"
#include "lsm/sort.h"

#define OBJECT_NONE           UINT32_MAX
#define OBJECTS_MAX           (UINT32_C(1) << 29)
#define OBJECTS_INDEX_SPREAD  4
#define OBJECTS_RECORD_MIN    16
#define OBJECTS_RECORD_MAX    256
#define OBJECTS_ENTRY_EMPTY   0
#define OBJECTS_STATE_USED    1 /* There is a record. */
#define OBJECTS_STATE_DIRTY   2
#define OBJECTS_STATE_TOUCHED 4 /* Pinned since the hand last came by. */
#define OBJECTS_STATE_EPOCH   8 /* Times the epoch of the newest pin. */
#define OBJECTS_EPOCH_MAX     (UINT64_MAX / OBJECTS_STATE_EPOCH)

/* Timestamps and ids of records never change while they are in the cache. */
struct objects_options {
    uint32_t record_size; /* A multiple of 8. */
    uint32_t timestamp_offset;
    uint32_t id_offset; /* UINT32_MAX: records have no id. */
    uint32_t object_count;
    uint32_t dirty_max; /* Objects that are dirty at a time, at most. */
};

/* A table of (hash << 32 | object + 1), or OBJECTS_ENTRY_EMPTY. */
struct objects_index {
    uint64_t *entries;
    uint32_t shift; /* What is left of a hash when shifted by it is the entry where it belongs. */
    uint32_t mask;
};

struct object_state {
    uint64_t marks; /* OBJECTS_STATE_*; of a free object: the next free one. */
    uint64_t op;    /* The op of its last change; 0: it has not changed since it was inserted. */
    uint32_t timestamp_hash;
    uint32_t id_hash;
};

struct objects {
    struct objects_options options;
    char *records;
    struct object_state *states;
    struct objects_index timestamps;
    struct objects_index ids;
    struct sort_item *dirty; /* Timestamp and number. */
    struct sort_item *scratch;
    uint64_t epoch; /* The newest. */
    uint64_t forgotten_op;
    uint32_t count;
    uint32_t dirty_count;
    uint32_t pinned_count; /* In the newest epoch. */
    uint32_t retained_count;
    uint32_t objects_begun; /* Numbers that were ever used; then come those that never were. */
    uint32_t free_first;    /* The first free one of those begun; OBJECT_NONE: all are used. */
    uint32_t hand;
};

void objects_init(
    struct objects *objects, struct arena *arena, const struct objects_options *options);

/* The number of the record, or OBJECT_NONE. */
uint32_t objects_find_id(const struct objects *objects, const u128 *id);
uint32_t objects_find(const struct objects *objects, uint64_t timestamp);

/*
 * Fetches into the processor's cache what is needed to pin what objects_find_id will find. Its line
 * of the index should have been fetched before, by objects_hint_id.
 */
void objects_hint_record(const struct objects *objects, const u128 *id);

/* The same of the record, and what is needed to touch it. */
void objects_hint_update(const struct objects *objects, const void *record);

/* The number of a record that objects_record has returned. */
uint32_t objects_number_of(const struct objects *objects, const void *record);

/*
 * Copies in a record that is not there yet, clean and pinned for the epoch; returns its number.
 * Evicts if the cache is full. Precondition: objects_room.
 */
uint32_t objects_insert(struct objects *objects, const void *record, uint64_t epoch);

/* Undoes an insert. The object is clean. */
void objects_remove(struct objects *objects, uint32_t object);

/* The record stays for the epoch, and counts as recently used. */
void objects_pin(struct objects *objects, uint32_t object, uint64_t epoch);

/* Can `count` more be inserted in this epoch, whatever is evicted for it? Exact. */
bool objects_room(const struct objects *objects, uint64_t epoch, uint32_t count);

/* The record was changed by `op`: it is dirty now. */
void objects_touch(struct objects *objects, uint32_t object, uint64_t op);

/*
 * Undoes objects_touch, with what objects_op and objects_is_dirty said before it. What became dirty
 * last is undone first (C3).
 */
void objects_untouch(struct objects *objects, uint32_t object, uint64_t old_op, bool was_dirty);

/*
 * The dirty objects, in ascending order of timestamp, into `numbers`; returns how many. They are
 * clean then, and may be evicted by the next insert, unless they are pinned.
 */
uint32_t objects_take_dirty(struct objects *objects, uint32_t *numbers);

/* Forgets everything, forgotten_op and the epoch too: as initialised. */
void objects_clear(struct objects *objects);

/* There were changes up to this op, and none of them is in the cache (C4). */
void objects_forgot(struct objects *objects, uint64_t op);

/* Asserts what the counts say of each other between two calls (C2) (C3): some comparisons. */
void objects_invariants(const struct objects *objects);

/* The same, and that they are what the objects and both indexes say: a walk over all (C1). */
void objects_recount(const struct objects *objects);

static inline void *
objects_record(const struct objects *objects, uint32_t object)
{
    assert(object < objects->objects_begun);
    return objects->records + (uint64_t) object * objects->options.record_size;
}

static inline const struct object_state *
objects_state(const struct objects *objects, uint32_t object)
{
    assert(object < objects->objects_begun);
    assert(objects->states[object].marks & OBJECTS_STATE_USED);
    return &objects->states[object];
}

/* The op of last change since the record was inserted; 0: none. */
static inline uint64_t
objects_op(const struct objects *objects, uint32_t object)
{
    return objects_state(objects, object)->op;
}

static inline bool
objects_is_dirty(const struct objects *objects, uint32_t object)
{
    return (objects_state(objects, object)->marks & OBJECTS_STATE_DIRTY) != 0;
}

static inline uint32_t
objects_dirty_count(const struct objects *objects)
{
    return objects->dirty_count;
}

/* The newest op of last change among all that are not in the cache; 0: none (C4). */
static inline uint64_t
objects_forgotten_op(const struct objects *objects)
{
    return objects->forgotten_op;
}

/* Fetches the line of the index that objects_find_id will look at first. */
static inline void
objects_hint_id(const struct objects *objects, const u128 *id)
{
    assert(objects->ids.entries != NULL);
    __builtin_prefetch(&objects->ids.entries[hash_u128(*id) >> objects->ids.shift]);
}

#endif
