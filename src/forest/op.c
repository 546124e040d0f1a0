/* SPDX-License-Identifier: PostgreSQL */
/* Records, ids and indexes while an op is executed. Nothing waits here. See forest.h. */
#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/* ---- Values of indexes --------------------------------------------------------------------- */

/*
 * The value of a record is looked up and hashed for each index, with each record: in line it takes
 * half as many instructions.
 */
static inline uint64_t
index_hash(const struct index_schema *schema, u128 value)
{
    assert(schema->field_size <= sizeof(u128));
    if (schema->field_size < sizeof(u128)) return u128_low(value);
    static_assert(INDEX_HASH_BITS >= 1 && INDEX_HASH_BITS <= 64, "bits of a hash");
    return filter_hash(value) >> (64 - INDEX_HASH_BITS);
}

/*
 * Loads the field by one of a few fixed sizes: copying a size that isn't known at compile time
 * would cost more than everything else here.
 */
static inline u128
index_field(const struct index_schema *schema, const void *record)
{
    const char *field = (const char *) record + schema->field_offset;
    uint16_t half;
    uint32_t word;
    uint64_t two;
    u128 four;
    switch (schema->field_size) {
    case sizeof(half): memcpy(&half, field, sizeof(half)); return half;
    case sizeof(word): memcpy(&word, field, sizeof(word)); return word;
    case sizeof(two): memcpy(&two, field, sizeof(two)); return two;
    case sizeof(four): memcpy(&four, field, sizeof(four)); return four;
    default: unreachable();
    }
}

static inline bool
index_has(const struct index_schema *schema, const void *record)
{
    uint16_t when;
    memcpy(&when, (const char *) record + schema->when_offset, sizeof(when));
    return (when & schema->when_mask) == schema->when_value;
}

static inline bool
index_value(const struct index_schema *schema, const void *record, uint64_t *value)
{
    if (!index_has(schema, record)) return false;
    const u128 field = index_field(schema, record);
    if (field == 0 && !schema->zero_indexed) return false;
    *value = index_hash(schema, field);
    return true;
}

bool
forest_index_value(const struct index_schema *schema, const void *record, uint64_t *value)
{
    return index_value(schema, record, value);
}

uint64_t
forest_index_hash(const struct index_schema *schema, u128 value)
{
    return index_hash(schema, value);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static inline uint64_t
record_timestamp(const struct groove *groove, const void *record)
{
    uint64_t timestamp;
    memcpy(
        &timestamp, (const char *) record + groove->schema->timestamp_offset, sizeof(timestamp));
    return timestamp;
}

static inline u128
record_id(const struct groove *groove, const void *record)
{
    u128 id;
    assert(groove->schema->id_offset != FOREST_NONE);
    memcpy(&id, (const char *) record + groove->schema->id_offset, sizeof(id));
    return id;
}

static const void *
get(const struct forest *forest, const struct groove *groove, uint64_t timestamp)
{
    assert(forest->active);
    const uint32_t object = objects_find(&groove->objects, timestamp);
    if (object != OBJECT_NONE) return objects_record(&groove->objects, object);
    return groove_is_log(groove) ? log_find_open(&groove->log, timestamp) : NULL;
}

const void *
forest_get(const struct forest *forest, uint32_t number, uint64_t timestamp)
{
    assert(number < forest->schema->groove_count);
    const void *record = get(forest, &forest->grooves[number], timestamp);
    if (record != NULL) return record;
    /* (F6) */
    assert(forest_prefetched_has(forest->prefetched, prefetched_hash(number, timestamp)));
    return NULL;
}

enum forest_found
forest_get_by_id(
    const struct forest *forest, uint32_t number, const u128 *id, const void **record)
{
    assert(number < forest->schema->groove_count);
    const struct groove *groove = &forest->grooves[number];
    uint64_t timestamp;
    assert(forest->active);
    assert(groove->ids != PART_NONE);
    if (groove->objects.count > 0) {
        const uint32_t object = objects_find_id(&groove->objects, id);
        if (object != OBJECT_NONE) {
            *record = objects_record(&groove->objects, object);
            return FOREST_FOUND;
        }
    }
    /* In a groove with updates, a record that exists is among the objects. */
    if (tail_find_id(&groove->id_tail, *id, &timestamp)) {
        if (timestamp & BURNT_BIT) return FOREST_BURNT;
        *record = get(forest, groove, timestamp);
        assert(*record != NULL);
        return FOREST_FOUND;
    }
    if (groove->schema->burnt_groove != FOREST_NONE) {
        const struct objects *burnt = &forest->grooves[groove->schema->burnt_groove].objects;
        if (burnt->count > 0 && objects_find_id(burnt, id) != OBJECT_NONE) return FOREST_BURNT;
    }
    /* (F6) */
    assert(forest_prefetched_has(forest->prefetched, prefetched_hash_id(number, id)));
    return FOREST_ABSENT;
}

uint64_t
forest_newest(const struct forest *forest, uint32_t groove)
{
    assert(groove < forest->schema->groove_count);
    assert((forest->grooves[groove].newest == 0) == (forest->grooves[groove].record_count == 0));
    return forest->grooves[groove].newest;
}

struct forest_memo
forest_memo(const struct forest *forest)
{
    assert(forest->opened);
    return forest->memo;
}

void
forest_memo_set(struct forest *forest, struct forest_memo memo)
{
    assert(forest->active);
    assert(!forest->scope.open);
    forest->memo = memo;
}

/* ---- Writing ------------------------------------------------------------------------------- */

/* Enters the record into the groove's list, ids and indexes. */
static void
enter(struct forest *forest, struct groove *groove, const void *record, uint64_t timestamp)
{
    assert(timestamp != 0);
    assert(groove->index_count <= FOREST_INDEXES_MAX);
    if (groove->ids != PART_NONE) {
        tail_add_id(&groove->id_tail, record_id(groove, record), timestamp);
    }
    if (groove->list != PART_NONE) tail_add(&groove->list_tail, 0, timestamp);
    if (groove->burns_for != FOREST_NONE) {
        struct groove *owner = &forest->grooves[groove->burns_for];
        tail_add_id(&owner->id_tail, record_id(groove, record), timestamp | BURNT_BIT);
    }
    for (uint32_t i = 0; i < groove->index_count; i++) {
        struct forest_index *index = &forest->indexes[groove->indexes[i]];
        uint64_t value;
        if (index_value(index->schema, record, &value)) {
            tail_add(&index->tail, value, timestamp);
        }
    }
}

static void
insert(struct forest *forest, uint32_t number, const void *record)
{
    struct groove *groove = forest_groove(forest, number);
    const uint64_t timestamp = record_timestamp(groove, record);
    uint32_t object = OBJECT_NONE;
    assert(forest->active);
    assert(timestamp > groove->newest); /* (F1) */
    assert(timestamp < BURNT_BIT);
    forest_room_spend(forest);
    if (groove_is_log(groove)) {
        log_append(&groove->log, record);
    } else {
        object = objects_insert(&groove->objects, record, forest->epoch);
        objects_touch(&groove->objects, object, forest->op + 1);
        forest_part(forest, groove->records)->added += 1;
    }
    assert(groove_is_log(groove) == (object == OBJECT_NONE));
    groove->newest = timestamp;
    groove->record_count += 1;
    enter(forest, groove, record, timestamp);
    if (forest->scope.open) forest_scope_on_insert(forest, number, object);
}

void
forest_insert(struct forest *forest, uint32_t groove, const void *record)
{
    assert(record != NULL);
    assert(forest_groove(forest, groove)->burns_for == FOREST_NONE);
    insert(forest, groove, record);
}

void
forest_burn_id(struct forest *forest, uint32_t groove, const void *record)
{
    const uint32_t burnt_groove = forest_groove(forest, groove)->schema->burnt_groove;
    assert(!forest->scope.open);
    assert(forest_groove(forest, burnt_groove)->burns_for == groove);
    assert(record != NULL);
    assert(burnt_groove != FOREST_NONE);
    insert(forest, burnt_groove, record);
}

/* Two words at once, for the compiler's vectors. Record sizes are multiples of this. */
typedef uint64_t forest_lanes __attribute__((vector_size(16)));

/* Does the update leave unchanged what it must: timestamp, id, indexed fields? */
static inline bool
update_allowed(const struct groove *groove, const void *old, const void *record)
{
    const uint32_t record_size = groove->schema->record_size;
    const char *fixed = (const char *) groove->fixed_words;
    forest_lanes difference = {0};
    assert(record_size % sizeof(forest_lanes) == 0);
    for (uint32_t i = 0; i < record_size; i += sizeof(forest_lanes)) {
        forest_lanes lanes_old;
        forest_lanes lanes_new;
        forest_lanes lanes_fixed;
        memcpy(&lanes_old, (const char *) old + i, sizeof(forest_lanes));
        memcpy(&lanes_new, (const char *) record + i, sizeof(forest_lanes));
        memcpy(&lanes_fixed, fixed + i, sizeof(forest_lanes));
        difference |= (lanes_old ^ lanes_new) & lanes_fixed;
    }
    return (difference[0] | difference[1]) == 0;
}

void
forest_update(struct forest *forest, uint32_t number, const void *old, const void *record)
{
    struct groove *groove = forest_groove(forest, number);
    struct objects *objects = &groove->objects;
    assert(forest->active);
    assert(!groove_is_log(groove));
    assert(old != record);
    assert(update_allowed(groove, old, record));
    const uint32_t object = objects_number_of(objects, old);
    const bool was_dirty = objects_is_dirty(objects, object);
    forest_room_spend(forest);
    if (forest->scope.open) {
        forest_scope_on_update(forest, number, object, objects_op(objects, object), was_dirty);
    }
    if (!was_dirty) forest_part(forest, groove->records)->added += 1;
    objects_touch(objects, object, forest->op + 1);
    memcpy(objects_record(objects, object), record, groove->schema->record_size);
}
