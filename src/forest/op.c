/* SPDX-License-Identifier: PostgreSQL */
/* Records, ids and indexes while an op is executed: no waiting here. See forest.h. */
#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/* ---- Values of indexes --------------------------------------------------------------------- */

uint64_t
forest_index_hash(const struct index_schema *schema, u128 value)
{
    assert(schema->field_size <= sizeof(u128));
    if (schema->field_size < sizeof(u128)) return u128_low(value);
    static_assert(INDEX_HASH_BITS >= 1 && INDEX_HASH_BITS <= 64, "bits of a hash");
    return filter_hash(value) >> (64 - INDEX_HASH_BITS);
}

/* Loads of a known size: a copy of a size that isn't known costs more than all the rest. */
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

bool
forest_index_value(const struct index_schema *schema, const void *record, uint64_t *value)
{
    if (!index_has(schema, record)) return false;
    const u128 field = index_field(schema, record);
    if (field == 0 && !schema->zero_indexed) return false;
    *value = forest_index_hash(schema, field);
    return true;
}

/* ---- Reading ------------------------------------------------------------------------------- */

static inline uint64_t
record_timestamp(const struct forest_tree *tree, const void *record)
{
    uint64_t timestamp;
    memcpy(
        &timestamp, (const char *) record + tree->schema->timestamp_offset, sizeof(timestamp));
    return timestamp;
}

static inline u128
record_id(const struct forest_tree *tree, const void *record)
{
    u128 id;
    assert(tree->schema->id_offset != FOREST_NONE);
    memcpy(&id, (const char *) record + tree->schema->id_offset, sizeof(id));
    return id;
}

static const void *
get(const struct forest *forest, const struct forest_tree *tree, uint64_t timestamp)
{
    assert(forest->active);
    const uint32_t slot = objects_find(&tree->objects, timestamp);
    if (slot != OBJECT_NONE) return objects_record(&tree->objects, slot);
    return forest_tree_is_log(tree) ? log_find_open(&tree->log, timestamp) : NULL;
}

const void *
forest_get(const struct forest *forest, uint32_t number, uint64_t timestamp)
{
    assert(number < forest->schema->tree_count);
    const void *record = get(forest, &forest->trees[number], timestamp);
    if (record != NULL) return record;
    /* (F6) */
    assert(forest_prefetched_has(forest->prefetched, prefetched_hash(number, timestamp)));
    return NULL;
}

enum forest_found
forest_get_by_id(
    const struct forest *forest, uint32_t number, const u128 *id, const void **record)
{
    assert(number < forest->schema->tree_count);
    const struct forest_tree *tree = &forest->trees[number];
    uint64_t timestamp;
    assert(forest->active);
    assert(tree->ids != PART_NONE);
    if (tree->objects.count > 0) {
        const uint32_t slot = objects_find_id(&tree->objects, id);
        if (slot != OBJECT_NONE) {
            *record = objects_record(&tree->objects, slot);
            return FOREST_FOUND;
        }
    }
    /* A record of an update tree that exists is among the objects. */
    if (tail_find_id(&tree->id_tail, *id, &timestamp)) {
        if (timestamp & BURNT_BIT) return FOREST_BURNT;
        *record = get(forest, tree, timestamp);
        assert(*record != NULL);
        return FOREST_FOUND;
    }
    if (tree->schema->burnt_tree != FOREST_NONE) {
        const struct objects *burnt = &forest->trees[tree->schema->burnt_tree].objects;
        if (burnt->count > 0 && objects_find_id(burnt, id) != OBJECT_NONE) return FOREST_BURNT;
    }
    /* (F6) */
    assert(forest_prefetched_has(forest->prefetched, prefetched_hash_id(number, id)));
    return FOREST_ABSENT;
}

uint64_t
forest_newest(const struct forest *forest, uint32_t tree)
{
    assert(tree < forest->schema->tree_count);
    assert((forest->trees[tree].newest == 0) == (forest->trees[tree].record_count == 0));
    return forest->trees[tree].newest;
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

/* Enters the record into the tree's list, ids and indexes. */
static void
enter(struct forest *forest, struct forest_tree *tree, const void *record, uint64_t timestamp)
{
    assert(timestamp != 0);
    assert(tree->index_count <= FOREST_INDEXES_MAX);
    if (tree->ids != PART_NONE) {
        tail_add_id(&tree->id_tail, record_id(tree, record), timestamp);
    }
    if (tree->list != PART_NONE) tail_add(&tree->list_tail, 0, timestamp);
    if (tree->burns_for != FOREST_NONE) {
        struct forest_tree *owner = &forest->trees[tree->burns_for];
        tail_add_id(&owner->id_tail, record_id(tree, record), timestamp | BURNT_BIT);
    }
    for (uint32_t i = 0; i < tree->index_count; i++) {
        struct forest_index *index = &forest->indexes[tree->indexes[i]];
        uint64_t value;
        if (forest_index_value(index->schema, record, &value)) {
            tail_add(&index->tail, value, timestamp);
        }
    }
}

static void
insert(struct forest *forest, uint32_t number, const void *record)
{
    struct forest_tree *tree = forest_tree_at(forest, number);
    const uint64_t timestamp = record_timestamp(tree, record);
    uint32_t slot = OBJECT_NONE;
    assert(forest->active);
    assert(timestamp > tree->newest); /* (F1) */
    assert(timestamp < BURNT_BIT);
    forest_room_spend(forest);
    if (forest_tree_is_log(tree)) {
        log_append(&tree->log, record);
    } else {
        slot = objects_insert(&tree->objects, record, forest->epoch);
        objects_touch(&tree->objects, slot, forest->op + 1);
        forest_part(forest, tree->records)->added += 1;
    }
    assert(forest_tree_is_log(tree) == (slot == OBJECT_NONE));
    tree->newest = timestamp;
    tree->record_count += 1;
    enter(forest, tree, record, timestamp);
    if (forest->scope.open) forest_scope_on_insert(forest, number, slot);
}

void
forest_insert(struct forest *forest, uint32_t tree, const void *record)
{
    assert(record != NULL);
    assert(forest_tree_at(forest, tree)->burns_for == FOREST_NONE);
    insert(forest, tree, record);
}

void
forest_burn_id(struct forest *forest, uint32_t tree, const void *record)
{
    const uint32_t burnt_tree = forest_tree_at(forest, tree)->schema->burnt_tree;
    assert(!forest->scope.open);
    assert(forest_tree_at(forest, burnt_tree)->burns_for == tree);
    assert(record != NULL);
    assert(burnt_tree != FOREST_NONE);
    insert(forest, burnt_tree, record);
}

/* Two words at once: the compiler's vectors. Record sizes are multiples of them. */
typedef uint64_t forest_lanes __attribute__((vector_size(16)));

/* Does the update leave alone what it must: timestamp, id, indexed fields? */
static inline bool
update_allowed(const struct forest_tree *tree, const void *old, const void *record)
{
    const uint32_t record_size = tree->schema->record_size;
    const char *fixed = (const char *) tree->fixed_words;
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
    struct forest_tree *tree = forest_tree_at(forest, number);
    struct objects *objects = &tree->objects;
    assert(forest->active);
    assert(!forest_tree_is_log(tree));
    assert(old != record);
    assert(update_allowed(tree, old, record));
    const uint32_t slot = objects_slot_of(objects, old);
    const bool was_dirty = objects_is_dirty(objects, slot);
    forest_room_spend(forest);
    if (forest->scope.open) {
        forest_scope_on_update(forest, number, slot, objects_op(objects, slot), was_dirty);
    }
    if (!was_dirty) forest_part(forest, tree->records)->added += 1;
    objects_touch(objects, slot, forest->op + 1);
    memcpy(objects_record(objects, slot), record, tree->schema->record_size);
}
