/* SPDX-License-Identifier: PostgreSQL */
/* See objects.h. */
#include "lsm/objects.h"

#include <string.h>

#include "base/units.h"

/* Cache lines are fetched for objects that the hand will reach after so many others. */
#define OBJECTS_EVICT_AHEAD 8

static uint64_t
objects_timestamp(const struct objects *objects, uint32_t object)
{
    uint64_t timestamp;
    const char *record = objects->records + (uint64_t) object * objects->options.record_size;
    memcpy(&timestamp, record + objects->options.timestamp_offset, sizeof(timestamp));
    assert(timestamp != 0);
    return timestamp;
}

static u128
objects_id(const struct objects *objects, uint32_t object)
{
    u128 id;
    assert(objects->ids.entries != NULL);
    const char *record = objects->records + (uint64_t) object * objects->options.record_size;
    memcpy(&id, record + objects->options.id_offset, sizeof(id));
    return id;
}

/*
 * Timestamps that differ only in their two last bits are neighbours in the index. Those of one
 * batch are consecutive, and they are inserted, evicted and often searched for one after another.
 * The hash spreads groups of four, so that searches are as short as in a table whose buckets hold
 * four.
 */
static uint32_t
objects_hash_timestamp(const struct objects_index *index, uint64_t timestamp)
{
    const uint64_t group = timestamp >> 2;
    const uint64_t mixed = hash_multiply_fold(group ^ HASH_KEY_0, HASH_KEY_1) * HASH_KEY_2;
    const uint32_t hash = (uint32_t) (mixed >> 32);
    const uint32_t in_group = UINT32_C(3) << index->shift;
    return (hash & ~in_group) | ((uint32_t) (timestamp & 3) << index->shift);
}

static uint64_t
objects_entry(uint32_t hash, uint32_t object)
{
    assert(object < OBJECTS_MAX);
    return (uint64_t) hash << 32 | (object + 1);
}

/* Where the entry is now. It must be in the index (C1). */
static uint32_t
objects_index_position(const struct objects_index *index, uint64_t entry)
{
    uint32_t position = (uint32_t) (entry >> 32) >> index->shift;
    while (index->entries[position] != entry) {
        assert(index->entries[position] != OBJECTS_ENTRY_EMPTY);
        position = (position + 1) & index->mask;
    }
    return position;
}

/*
 * Looks at the entries between home and the first empty one: none of them may be of an equal
 * record.
 */
static void
objects_index_insert(
    const struct objects *objects, struct objects_index *index, uint32_t hash, uint32_t object)
{
    uint32_t position = hash >> index->shift;
    for (;;) {
        const uint64_t other = index->entries[position];
        if (other == OBJECTS_ENTRY_EMPTY) break;
        if ((uint32_t) (other >> 32) == hash) {
            const uint32_t object_other = (uint32_t) other - 1;
            assert(object_other != object);
            assert(
                index == &objects->ids
                    ? objects_id(objects, object_other) != objects_id(objects, object)
                    : objects_timestamp(objects, object_other) !=
                          objects_timestamp(objects, object));
        }
        position = (position + 1) & index->mask;
    }
    index->entries[position] = objects_entry(hash, object);
}

/*
 * Moves entries behind the gap into it, as long as that doesn't bring them before their home (C1).
 */
static void
objects_index_remove(struct objects_index *index, uint64_t entry)
{
    uint32_t gap = objects_index_position(index, entry);
    uint32_t position = gap;
    for (;;) {
        position = (position + 1) & index->mask;
        const uint64_t moving = index->entries[position];
        if (moving == OBJECTS_ENTRY_EMPTY) break;
        assert(position != gap);
        const uint32_t home = (uint32_t) (moving >> 32) >> index->shift;
        if (((position - home) & index->mask) < ((position - gap) & index->mask)) continue;
        index->entries[gap] = moving;
        gap = position;
    }
    index->entries[gap] = OBJECTS_ENTRY_EMPTY;
}

uint32_t
objects_find_id(const struct objects *objects, const u128 *id)
{
    const struct objects_index *index = &objects->ids;
    assert(index->entries != NULL);
    const uint32_t hash = hash_u128(*id);
    uint32_t position = hash >> index->shift;
    for (;;) {
        const uint64_t entry = index->entries[position];
        if (entry == OBJECTS_ENTRY_EMPTY) return OBJECT_NONE;
        if ((uint32_t) (entry >> 32) == hash) {
            const uint32_t object = (uint32_t) entry - 1;
            assert(object < objects->objects_begun);
            if (objects_id(objects, object) == *id) return object;
        }
        position = (position + 1) & index->mask;
    }
}

uint32_t
objects_find(const struct objects *objects, uint64_t timestamp)
{
    const struct objects_index *index = &objects->timestamps;
    assert(timestamp != 0);
    const uint32_t hash = objects_hash_timestamp(index, timestamp);
    uint32_t position = hash >> index->shift;
    for (;;) {
        const uint64_t entry = index->entries[position];
        if (entry == OBJECTS_ENTRY_EMPTY) return OBJECT_NONE;
        if ((uint32_t) (entry >> 32) == hash) {
            const uint32_t object = (uint32_t) entry - 1;
            assert(object < objects->objects_begun);
            if (objects_timestamp(objects, object) == timestamp) return object;
        }
        position = (position + 1) & index->mask;
    }
}

static void
objects_hint_object(const struct objects *objects, uint32_t object)
{
    const uint32_t size = objects->options.record_size;
    const char *record = objects_record(objects, object);
    __builtin_prefetch(&objects->states[object], 1);
    for (uint32_t at = 0; at < size; at += 64) __builtin_prefetch(record + at, 1);
}

void
objects_hint_update(const struct objects *objects, const void *record)
{
    objects_hint_object(objects, objects_number_of(objects, record));
}

void
objects_hint_record(const struct objects *objects, const u128 *id)
{
    const struct objects_index *index = &objects->ids;
    assert(index->entries != NULL);
    const uint32_t hash = hash_u128(*id);
    uint32_t position = hash >> index->shift;
    for (;;) {
        const uint64_t entry = index->entries[position];
        if (entry == OBJECTS_ENTRY_EMPTY) return;
        if ((uint32_t) (entry >> 32) == hash) {
            objects_hint_object(objects, (uint32_t) entry - 1);
            return;
        }
        position = (position + 1) & index->mask;
    }
}

uint32_t
objects_number_of(const struct objects *objects, const void *record)
{
    assert((const char *) record >= objects->records);
    const uint64_t offset = (uint64_t) ((const char *) record - objects->records);
    const uint64_t object = offset / objects->options.record_size;
    assert(object < objects->objects_begun);
    assert(object * objects->options.record_size == offset);
    return (uint32_t) object;
}

static void
objects_index_init(struct objects_index *index, struct arena *arena, uint32_t object_count)
{
    uint32_t bits = 3; /* An index is at least as large as a cache line. */
    while ((UINT64_C(1) << bits) < (uint64_t) object_count * OBJECTS_INDEX_SPREAD) bits += 1;
    assert(bits <= 31);
    index->shift = 32 - bits;
    index->mask = (UINT32_C(1) << bits) - 1;
    index->entries = arena_take(arena, (uint64_t) index->mask + 1, sizeof(uint64_t), 64);
    if (index->entries == NULL) return;
    memset(index->entries, 0, ((uint64_t) index->mask + 1) * sizeof(uint64_t));
}

void
objects_init(struct objects *objects, struct arena *arena, const struct objects_options *options)
{
    const uint32_t size = options->record_size;
    assert(size >= OBJECTS_RECORD_MIN && size <= OBJECTS_RECORD_MAX && size % 8 == 0);
    assert(options->timestamp_offset <= size - sizeof(uint64_t));
    assert(options->id_offset == UINT32_MAX || options->id_offset <= size - sizeof(u128));
    assert(options->object_count > 0 && options->object_count <= OBJECTS_MAX);
    assert(options->dirty_max > 0 && options->dirty_max <= options->object_count);

    *objects = (struct objects){.options = *options, .free_first = OBJECT_NONE};
    objects->records = arena_take(arena, options->object_count, size, 64);
    objects->states = arena_take(arena, options->object_count, sizeof(struct object_state), 64);
    objects->dirty = arena_take(arena, options->dirty_max, sizeof(struct sort_item), 64);
    objects->scratch = arena_take(arena, options->dirty_max, sizeof(struct sort_item), 64);
    objects_index_init(&objects->timestamps, arena, options->object_count);
    if (options->id_offset != UINT32_MAX) {
        objects_index_init(&objects->ids, arena, options->object_count);
    }
}

static void
objects_begin_epoch(struct objects *objects, uint64_t epoch)
{
    assert(epoch >= objects->epoch);
    assert(epoch <= OBJECTS_EPOCH_MAX);
    if (epoch == objects->epoch) return;
    objects->epoch = epoch;
    objects->pinned_count = 0;
    objects->retained_count = objects->dirty_count; /* (C2) */
}

static bool
objects_pinned(const struct objects *objects, uint64_t marks)
{
    assert(marks / OBJECTS_STATE_EPOCH <= objects->epoch);
    return marks / OBJECTS_STATE_EPOCH == objects->epoch;
}

bool
objects_room(const struct objects *objects, uint64_t epoch, uint32_t count)
{
    assert(epoch >= objects->epoch);
    const uint32_t held = epoch == objects->epoch ? objects->retained_count : objects->dirty_count;
    return count <= objects->options.object_count - held; /* (C2) */
}

/* Takes a clean object out of the indexes and out of all counts. */
static void
objects_forget(struct objects *objects, uint32_t object)
{
    const uint64_t marks = objects_state(objects, object)->marks;
    assert(!(marks & OBJECTS_STATE_DIRTY));
    if (objects_pinned(objects, marks)) {
        assert(objects->pinned_count > 0 && objects->retained_count > 0);
        objects->pinned_count -= 1;
        objects->retained_count -= 1;
    }
    const struct object_state *state = &objects->states[object];
    objects_index_remove(&objects->timestamps, objects_entry(state->timestamp_hash, object));
    if (objects->ids.entries != NULL) {
        objects_index_remove(&objects->ids, objects_entry(state->id_hash, object));
    }
    assert(objects->count > 0);
    objects->count -= 1;
}

/*
 * Evicting would wait for memory at every step, because each record has its entry elsewhere in the
 * index of ids. But it is nearly known which records are next, so their lines are fetched ahead.
 */
static void
objects_hint_evict(const struct objects *objects, uint32_t object)
{
    const uint32_t object_count = objects->options.object_count;
    if (object + OBJECTS_EVICT_AHEAD >= object_count) return;
    const uint32_t ahead = object + OBJECTS_EVICT_AHEAD;
    const struct object_state *state = &objects->states[ahead];
    const struct objects_index *ids = &objects->ids;
    const struct objects_index *timestamps = &objects->timestamps;
    __builtin_prefetch(&timestamps->entries[state->timestamp_hash >> timestamps->shift], 1);
    if (ids->entries != NULL) __builtin_prefetch(&ids->entries[state->id_hash >> ids->shift], 1);
    const uint32_t size = objects->options.record_size;
    const char *record = objects_record(objects, object + OBJECTS_EVICT_AHEAD / 2);
    for (uint32_t at = 0; at < size; at += 64) __builtin_prefetch(record + at, 1);
}

/*
 * Moves the hand to an object that may go. In one round it clears the marks, so that in the second
 * round nothing is marked.
 */
static uint32_t
objects_evict(struct objects *objects)
{
    const uint32_t object_count = objects->options.object_count;
    assert(objects->count == object_count);
    assert(objects->retained_count < object_count);
    for (uint64_t steps = 0; steps <= 2 * (uint64_t) object_count; steps++) {
        const uint32_t object = objects->hand;
        struct object_state *state = &objects->states[object];
        objects->hand = object + 1 == object_count ? 0 : object + 1;
        const uint64_t marks = state->marks;
        if ((marks & OBJECTS_STATE_DIRTY) || objects_pinned(objects, marks)) continue; /* (C3) */
        if (marks & OBJECTS_STATE_TOUCHED) {
            state->marks = marks & ~(uint64_t) OBJECTS_STATE_TOUCHED;
            continue;
        }
        objects->forgotten_op = max_u64(objects->forgotten_op, state->op); /* (C4) */
        objects_hint_evict(objects, object);
        objects_forget(objects, object);
        return object;
    }
    unreachable();
}

static uint32_t
objects_take_free(struct objects *objects)
{
    if (objects->free_first != OBJECT_NONE) {
        const uint32_t object = objects->free_first;
        assert(object < objects->objects_begun);
        objects->free_first = (uint32_t) (objects->states[object].marks / OBJECTS_STATE_EPOCH);
        return object;
    }
    assert(objects->count == objects->objects_begun);
    if (objects->objects_begun == objects->options.object_count) return objects_evict(objects);
    objects->objects_begun += 1;
    return objects->objects_begun - 1;
}

uint32_t
objects_insert(struct objects *objects, const void *record, uint64_t epoch)
{
    assert(objects_room(objects, epoch, 1));
    objects_begin_epoch(objects, epoch);
    const uint32_t object = objects_take_free(objects);
    memcpy(objects_record(objects, object), record, objects->options.record_size);

    const uint64_t timestamp = objects_timestamp(objects, object);
    const bool has_id = objects->ids.entries != NULL;
    const struct object_state state = {
        .marks = epoch * OBJECTS_STATE_EPOCH | OBJECTS_STATE_USED,
        .timestamp_hash = objects_hash_timestamp(&objects->timestamps, timestamp),
        .id_hash = has_id ? hash_u128(objects_id(objects, object)) : 0,
    };
    objects->states[object] = state;
    if (timestamp % 4 == 0) {
        /*
         * Fetches the line two groups further on. Unlike ids, these timestamps aren't announced by
         * hints, but they arrive in order.
         */
        const struct objects_index *index = &objects->timestamps;
        const uint32_t hash = objects_hash_timestamp(index, timestamp + 8);
        __builtin_prefetch(&index->entries[hash >> index->shift], 1);
    }
    objects_index_insert(objects, &objects->timestamps, state.timestamp_hash, object);
    if (has_id) objects_index_insert(objects, &objects->ids, state.id_hash, object);
    objects->count += 1;
    objects->pinned_count += 1;
    objects->retained_count += 1;
    return object;
}

void
objects_remove(struct objects *objects, uint32_t object)
{
    assert(objects_op(objects, object) == 0);
    objects_forget(objects, object);
    static_assert(OBJECT_NONE <= OBJECTS_EPOCH_MAX, "an object's number fits in place of an epoch");
    objects->states[object] = (struct object_state){
        .marks = objects->free_first * (uint64_t) OBJECTS_STATE_EPOCH,
    };
    objects->free_first = object;
}

void
objects_pin(struct objects *objects, uint32_t object, uint64_t epoch)
{
    objects_begin_epoch(objects, epoch);
    const uint64_t marks = objects_state(objects, object)->marks;
    const uint64_t flags = marks & (OBJECTS_STATE_EPOCH - 1);
    objects->states[object].marks = epoch * OBJECTS_STATE_EPOCH | flags | OBJECTS_STATE_TOUCHED;
    if (objects_pinned(objects, marks)) return;
    objects->pinned_count += 1;
    if (!(marks & OBJECTS_STATE_DIRTY)) objects->retained_count += 1; /* (C2) */
}

void
objects_touch(struct objects *objects, uint32_t object, uint64_t op)
{
    const uint64_t marks = objects_state(objects, object)->marks;
    assert(op >= objects->states[object].op);
    objects->states[object].op = op;
    if (marks & OBJECTS_STATE_DIRTY) return;
    assert(objects->dirty_count < objects->options.dirty_max);
    objects->dirty[objects->dirty_count] = (struct sort_item){
        .key = objects_timestamp(objects, object),
        .item = object,
    };
    objects->dirty_count += 1;
    objects->states[object].marks = marks | OBJECTS_STATE_DIRTY;
    if (!objects_pinned(objects, marks)) objects->retained_count += 1; /* (C2) */
}

void
objects_untouch(struct objects *objects, uint32_t object, uint64_t old_op, bool was_dirty)
{
    const uint64_t marks = objects_state(objects, object)->marks;
    assert(marks & OBJECTS_STATE_DIRTY);
    assert(old_op <= objects->states[object].op);
    objects->states[object].op = old_op;
    if (was_dirty) return;
    assert(objects->dirty_count > 0);
    objects->dirty_count -= 1;
    assert(objects->dirty[objects->dirty_count].item == object); /* (C3) */
    objects->states[object].marks = marks & ~(uint64_t) OBJECTS_STATE_DIRTY;
    if (!objects_pinned(objects, marks)) objects->retained_count -= 1; /* (C2) */
}

uint32_t
objects_take_dirty(struct objects *objects, uint32_t *numbers)
{
    const uint32_t count = objects->dirty_count;
    sort_items_by_key(objects->dirty, count, objects->scratch);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t object = (uint32_t) objects->dirty[i].item;
        assert(objects->states[object].marks & OBJECTS_STATE_DIRTY); /* (C3) */
        objects->states[object].marks &= ~(uint64_t) OBJECTS_STATE_DIRTY;
        numbers[i] = object;
    }
    objects->dirty_count = 0;
    objects->retained_count = objects->pinned_count; /* (C2) */
    return count;
}

/* Empties the entries one by one without closing gaps, since all of them will go. */
static void
objects_clear_each(struct objects *objects)
{
    for (uint32_t object = 0; object < objects->objects_begun; object++) {
        if (!(objects->states[object].marks & OBJECTS_STATE_USED)) continue;
        const uint64_t entries[2] = {
            objects_entry(objects->states[object].timestamp_hash, object),
            objects_entry(objects->states[object].id_hash, object),
        };
        const struct objects_index *indexes[2] = {&objects->timestamps, &objects->ids};
        for (int i = 0; i < 2; i++) {
            const struct objects_index *index = indexes[i];
            if (index->entries == NULL) continue;
            uint32_t position = (uint32_t) (entries[i] >> 32) >> index->shift;
            while (index->entries[position] != entries[i]) position = (position + 1) & index->mask;
            index->entries[position] = OBJECTS_ENTRY_EMPTY;
        }
        assert(objects->count > 0);
        objects->count -= 1;
    }
    assert(objects->count == 0);
}

void
objects_clear(struct objects *objects)
{
    if (objects->objects_begun < objects->options.object_count / 16) {
        objects_clear_each(objects);
    } else {
        const uint64_t size = ((uint64_t) objects->timestamps.mask + 1) * sizeof(uint64_t);
        memset(objects->timestamps.entries, 0, size);
        if (objects->ids.entries != NULL) memset(objects->ids.entries, 0, size);
    }
    objects->epoch = 0;
    objects->forgotten_op = 0;
    objects->count = 0;
    objects->dirty_count = 0;
    objects->pinned_count = 0;
    objects->retained_count = 0;
    objects->objects_begun = 0;
    objects->free_first = OBJECT_NONE;
    objects->hand = 0;
}

void
objects_forgot(struct objects *objects, uint64_t op)
{
    assert(objects->count == 0);
    assert(objects->forgotten_op <= op);
    objects->forgotten_op = op;
}

/* ---- Invariants ------------------------------------------------------------------------------ */

/* No entry is of what left: there are as many as objects, each of which was found (C1). */
static void
index_recount(const struct objects_index *index, uint32_t count)
{
    uint32_t filled = 0;
    for (uint64_t i = 0; i <= index->mask; i++) filled += index->entries[i] != OBJECTS_ENTRY_EMPTY;
    assert(filled == count);
    assert((uint64_t) filled * OBJECTS_INDEX_SPREAD <= (uint64_t) index->mask + 1);
}

/* The object is where its record says: whoever searches for its timestamp or id finds it (C1). */
static void
object_recount(const struct objects *objects, uint32_t object)
{
    const struct object_state *state = &objects->states[object];
    const uint64_t timestamp = objects_timestamp(objects, object);
    assert(state->timestamp_hash == objects_hash_timestamp(&objects->timestamps, timestamp));
    (void) objects_index_position(
        &objects->timestamps, objects_entry(state->timestamp_hash, object));
    if (objects->ids.entries == NULL) return;
    assert(state->id_hash == hash_u128(objects_id(objects, object)));
    (void) objects_index_position(&objects->ids, objects_entry(state->id_hash, object));
}

/* Free objects are in the list of free ones, each once, and no other is. */
static void
free_recount(const struct objects *objects)
{
    uint32_t free_count = 0;
    for (uint32_t object = objects->free_first; object != OBJECT_NONE;) {
        const uint64_t marks = objects->states[object].marks;
        assert(!(marks & OBJECTS_STATE_USED));
        assert(free_count < objects->objects_begun);
        free_count += 1;
        object = (uint32_t) (marks / OBJECTS_STATE_EPOCH);
    }
    assert(free_count == objects->objects_begun - objects->count);
}

void
objects_recount(const struct objects *objects)
{
    uint32_t used = 0;
    uint32_t dirty = 0;
    uint32_t pinned = 0;
    uint32_t retained = 0;
    objects_invariants(objects);
    for (uint32_t object = 0; object < objects->objects_begun; object++) {
        const uint64_t marks = objects->states[object].marks;
        if (!(marks & OBJECTS_STATE_USED)) continue;
        const bool is_dirty = (marks & OBJECTS_STATE_DIRTY) != 0;
        const bool is_pinned = objects_pinned(objects, marks);
        used += 1;
        dirty += is_dirty;
        pinned += is_pinned;
        retained += is_dirty || is_pinned;
        object_recount(objects, object);
    }
    assert(used == objects->count);
    assert(dirty == objects->dirty_count);
    assert(pinned == objects->pinned_count);
    assert(retained == objects->retained_count); /* (C2) */
    for (uint32_t i = 0; i < dirty; i++) {
        const uint32_t object = (uint32_t) objects->dirty[i].item;
        assert(objects_is_dirty(objects, object)); /* (C3) */
        assert(objects->dirty[i].key == objects_timestamp(objects, object));
    }
    index_recount(&objects->timestamps, used);
    if (objects->ids.entries != NULL) index_recount(&objects->ids, used);
    free_recount(objects);
}

void
objects_invariants(const struct objects *objects)
{
    /* Numbers are handed out from below, and each is used or in the list of free ones. */
    assert(objects->objects_begun <= objects->options.object_count);
    assert(objects->count <= objects->objects_begun);
    assert((objects->free_first == OBJECT_NONE) == (objects->count == objects->objects_begun));
    assert(objects->hand < objects->options.object_count);
    /*
     * (C2) What can't be evicted: too small a count, and objects_room promises what objects_evict
     * does not find; too large a one, and events are refused that have room.
     */
    assert(objects->dirty_count <= objects->retained_count);
    assert(objects->pinned_count <= objects->retained_count);
    assert(objects->retained_count <= (uint64_t) objects->dirty_count + objects->pinned_count);
    assert(objects->retained_count <= objects->count);
    assert(objects->dirty_count <= objects->options.dirty_max); /* (C3) Its list has a bound. */
}
