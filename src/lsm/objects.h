/* SPDX-License-Identifier: PostgreSQL */
/*
 * The object cache of a tree: at most a fixed number of records of one size, found by timestamp and
 * by id. A record that is not in it is on disk. A record that was changed (dirty) stays in it until
 * it is taken to be written.
 *
 * A caller that needs a record to stay pins it for an epoch. Epochs only ascend, and a pin ends
 * when a newer epoch begins. A full cache evicts by CLOCK (Corbató, "A paging experiment with the
 * Multics system", 1968): the hand passes over objects that are dirty or pinned, clears the mark of
 * those that were used since it last came by, and stops at the first one without a mark. Inserting
 * a record doesn't mark it, only pinning it again does. So a record that is used once goes before
 * one that is used often.
 *
 * An index is a table of open addressing with linear probing (Knuth, TAOCP vol. 3, 6.4, algorithms
 * L and R). An entry keeps the hash beside the object's number, so that records are looked at
 * neither when other entries are passed nor when entries are moved, and a search that fails nearly
 * always costs one cache line. The table is sparse. That isn't to save comparisons: the processor
 * guesses well how long a search will be if nearly all are short.
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
#define OBJECTS_STATE_USED    1 /* The object has a record. */
#define OBJECTS_STATE_DIRTY   2
#define OBJECTS_STATE_TOUCHED 4 /* Pinned since the hand last came by. */
#define OBJECTS_STATE_EPOCH   8 /* Multiplied by the epoch of the newest pin. */
#define OBJECTS_EPOCH_MAX     (UINT64_MAX / OBJECTS_STATE_EPOCH)

/* The timestamp and the id of a record never change while it is in the cache. */
struct objects_options {
    uint32_t record_size; /* A multiple of 8. */
    uint32_t timestamp_offset;
    uint32_t id_offset; /* UINT32_MAX if records have no id. */
    uint32_t object_count;
    uint32_t dirty_max; /* The most objects that are dirty at a time. */
};

/* A table of (hash << 32 | object + 1), or OBJECTS_ENTRY_EMPTY. */
struct objects_index {
    uint64_t *entries;
    uint32_t shift; /* A hash shifted right by this gives the entry's home. */
    uint32_t mask;
};

struct object_state {
    uint64_t marks; /* OBJECTS_STATE_*. For a free object, the number of the next free one. */
    uint64_t op;    /* The op of its last change; 0 if it hasn't changed since it was inserted. */
    uint32_t timestamp_hash;
    uint32_t id_hash;
};

struct objects {
    struct objects_options options;
    char *records;
    struct object_state *states;
    struct objects_index timestamps;
    struct objects_index ids;
    struct sort_item *dirty; /* The dirty objects: timestamp and number of each. */
    struct sort_item *scratch;
    uint64_t epoch; /* The newest epoch. */
    uint64_t forgotten_op;
    uint32_t count;
    uint32_t dirty_count;
    uint32_t pinned_count; /* Objects pinned in the newest epoch. */
    uint32_t retained_count;
    /* How many numbers were ever used. The numbers from here on never were. */
    uint32_t objects_begun;
    /* The first free number below objects_begun; OBJECT_NONE if all are used. */
    uint32_t free_first;
    uint32_t hand;
};

void objects_init(
    struct objects *objects, struct arena *arena, const struct objects_options *options);

/* The number of the record's object, or OBJECT_NONE. */
uint32_t objects_find_id(const struct objects *objects, const u128 *id);
uint32_t objects_find(const struct objects *objects, uint64_t timestamp);

/*
 * Fetches into the processor's cache what is needed to pin the record that objects_find_id will
 * find. Its line of the index should have been fetched by objects_hint_id before.
 */
void objects_hint_record(const struct objects *objects, const u128 *id);

/* Fetches the record, and what is needed to touch it. */
void objects_hint_update(const struct objects *objects, const void *record);

/* The number of the object whose record objects_record has returned. */
uint32_t objects_number_of(const struct objects *objects, const void *record);

/*
 * Copies in a record that isn't in the cache yet, and returns its number. The object is clean, and
 * pinned for the epoch. If the cache is full, another is evicted. Precondition: objects_room.
 */
uint32_t objects_insert(struct objects *objects, const void *record, uint64_t epoch);

/* Undoes an insert. The object must be clean. */
void objects_remove(struct objects *objects, uint32_t object);

/* The record stays for the epoch, and counts as recently used. */
void objects_pin(struct objects *objects, uint32_t object, uint64_t epoch);

/* Can `count` more be inserted in this epoch, evicting as many as needed? The answer is exact. */
bool objects_room(const struct objects *objects, uint64_t epoch, uint32_t count);

/* Notes that `op` has changed the record: it is dirty now. */
void objects_touch(struct objects *objects, uint32_t object, uint64_t op);

/*
 * Undoes objects_touch. The arguments are what objects_op and objects_is_dirty said before it. The
 * object that became dirty last must be undone first (C3).
 */
void objects_untouch(struct objects *objects, uint32_t object, uint64_t old_op, bool was_dirty);

/*
 * Puts the numbers of the dirty objects into `numbers`, in ascending order of timestamp, and
 * returns how many there are. They are clean then, and unless they are pinned, the next insert may
 * evict them.
 */
uint32_t objects_take_dirty(struct objects *objects, uint32_t *numbers);

/*
 * Forgets everything, including forgotten_op and the epoch. The state is that after objects_init.
 */
void objects_clear(struct objects *objects);

/* Notes that there were changes up to this op that aren't in the cache (C4). */
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

/* The op of the record's last change since it was inserted; 0 if it hasn't changed. */
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

/* The newest op that may have changed a record that isn't in the cache; 0 if there is none (C4). */
static inline uint64_t
objects_forgotten_op(const struct objects *objects)
{
    return objects->forgotten_op;
}

/* Fetches the line of the index where objects_find_id will look first. */
static inline void
objects_hint_id(const struct objects *objects, const u128 *id)
{
    assert(objects->ids.entries != NULL);
    __builtin_prefetch(&objects->ids.entries[hash_u128(*id) >> objects->ids.shift]);
}

#endif
