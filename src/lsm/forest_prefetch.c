/* SPDX-License-Identifier: PostgreSQL */
/*
 * Before an op is executed: what it will ask for is brought among the objects, where it is pinned
 * for the op's epoch. And reads, which copy.
 *
 * Which keys were asked for is remembered, so that execution is caught when it asks for another: to
 * take that for absent would be a silent guess.
 */
#include <string.h>

#include "base/units.h"
#include "lsm/forest_internal.h"

/* ---- What was asked for -------------------------------------------------------------------- */

void
forest_prefetched_add(struct forest_prefetched *prefetched, uint64_t hash)
{
    const uint32_t bit = (uint32_t) hash % PREFETCHED_BITS;
    assert(prefetched->count <= PREFETCHED_COUNT + 1);
    prefetched->bits[bit / 64] |= UINT64_C(1) << (bit % 64);
    if (prefetched->count < PREFETCHED_COUNT) prefetched->listed[prefetched->count] = bit;
    if (prefetched->count <= PREFETCHED_COUNT) prefetched->count += 1;
}

bool
forest_prefetched_has(const struct forest_prefetched *prefetched, uint64_t hash)
{
    const uint32_t bit = (uint32_t) hash % PREFETCHED_BITS;
    return (prefetched->bits[bit / 64] >> (bit % 64)) & 1;
}

void
forest_prefetched_clear(struct forest_prefetched *prefetched)
{
    assert(prefetched->count <= PREFETCHED_COUNT + 1);
    if (prefetched->count > PREFETCHED_COUNT) {
        memset(prefetched->bits, 0, sizeof(prefetched->bits));
    }
    for (uint32_t i = 0; i < prefetched->count && i < PREFETCHED_COUNT; i++) {
        prefetched->bits[prefetched->listed[i] / 64] = 0;
    }
    prefetched->count = 0;
}

/* ---- Finding, wherever it is --------------------------------------------------------------- */

static enum forest_found
found_of(enum tree_found found)
{
    switch (found) {
    case TREE_ABSENT: return FOREST_ABSENT;
    case TREE_FOUND: return FOREST_FOUND;
    case TREE_WAIT: return FOREST_WAIT;
    case TREE_LOST: return FOREST_LOST;
    }
    unreachable();
}

enum tree_found
forest_find(const struct forest *forest, uint32_t number, uint64_t timestamp, void *record)
{
    const struct forest_tree *tree = &forest->trees[number];
    assert(number < forest->schema->tree_count);
    assert(record != NULL);
    if (timestamp == 0 || timestamp > tree->newest) return TREE_ABSENT;
    const uint32_t slot = objects_find(&tree->objects, timestamp);
    if (slot != OBJECT_NONE) {
        memcpy(record, objects_record(&tree->objects, slot), tree->schema->record_size);
        return TREE_FOUND;
    }
    if (forest_tree_is_log(tree)) return log_lookup(&tree->log, timestamp, record);
    return tree_lookup(&forest->parts[tree->records].tree, timestamp, record);
}

enum tree_found
forest_find_id(const struct forest *forest, uint32_t number, const u128 *id, uint64_t *timestamp)
{
    assert(number < forest->schema->tree_count);
    const struct forest_tree *tree = &forest->trees[number];
    struct entry24 entry;
    assert(tree->ids != PART_NONE);
    if (tail_find_id(&tree->id_tail, *id, timestamp)) return TREE_FOUND;
    const enum tree_found found = tree_lookup(&forest->parts[tree->ids].tree, *id, &entry);
    if (found == TREE_FOUND) *timestamp = entry.timestamp;
    return found;
}

/*
 * The record that the id leads to. That it leads to none, or to one with another id, was never
 * written: to take the id for absent would be a silent guess.
 */
static enum tree_found
find_of_id(
    const struct forest *forest,
    uint32_t number,
    const u128 *id,
    uint64_t timestamp,
    void *record)
{
    const struct forest_tree *tree = &forest->trees[number];
    u128 found_id = 0;
    assert(tree->ids != PART_NONE);
    const enum tree_found found = forest_find(forest, number, timestamp, record);
    if (found == TREE_WAIT || found == TREE_LOST) return found;
    if (found == TREE_FOUND) {
        memcpy(&found_id, (const char *) record + tree->schema->id_offset, sizeof(found_id));
    }
    if (found == TREE_FOUND && found_id == *id) return TREE_FOUND;
    const bool in_memory = tail_find_id(&tree->id_tail, *id, &timestamp);
    if (in_memory) return tree_refuse(&forest->parts[tree->records].tree, timestamp);
    return tree_refuse(&forest->parts[tree->ids].tree, *id);
}

/* ---- Prefetch ------------------------------------------------------------------------------ */

bool
forest_begin(struct forest *forest, uint32_t event_count)
{
    uint32_t frames = 0;
    assert(forest->opened);
    assert(!forest->active);
    assert(forest->commit.step == COMMIT_DONE);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(event_count <= EVENTS_PER_BATCH_MAX);
    assert(!forest->scope.open);
    assert(forest->prefetched->count == 0);
    for (uint32_t i = 0; i < forest->schema->tree_count; i++) {
        const struct forest_tree *tree = &forest->trees[i];
        if (forest_tree_is_log(tree)) frames += log_frames_needed(&tree->log, event_count);
    }
    /* Reads take frames too, as long as there are any. */
    if (forest->cache.available < frames + GRID_READS_MAX) {
        cache_issue_writes(&forest->cache);
        return false;
    }
    forest->active = true;
    forest->epoch += 1;
    return true;
}

/* The record comes among the objects, for this op. */
static const void *
bring(struct forest *forest, struct forest_tree *tree, const void *record)
{
    assert(objects_room(&tree->objects, forest->epoch, 1));
    assert(forest->active);
    return objects_record(
        &tree->objects, objects_insert(&tree->objects, record, forest->epoch));
}

/* What was found on disk, if it was, comes into reach. */
static enum forest_found
prefetch_found(
    struct forest *forest,
    uint32_t number,
    enum tree_found found,
    const void *found_record,
    const void **record)
{
    assert(forest->active);
    if (found != TREE_FOUND) return found_of(found);
    const void *brought = bring(forest, forest_tree_at(forest, number), found_record);
    if (record != NULL) *record = brought;
    return FOREST_FOUND;
}

enum forest_found
forest_prefetch(
    struct forest *forest, uint32_t number, uint64_t timestamp, const void **record)
{
    struct forest_tree *tree = forest_tree_at(forest, number);
    assert(forest->active);
    forest_prefetched_add(forest->prefetched, prefetched_hash(number, timestamp));
    const uint32_t slot = objects_find(&tree->objects, timestamp);
    if (slot != OBJECT_NONE) {
        objects_pin(&tree->objects, slot, forest->epoch);
        if (record != NULL) *record = objects_record(&tree->objects, slot);
        return FOREST_FOUND;
    }
    char copy[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16)));
    const enum tree_found found = forest_find(forest, number, timestamp, copy);
    return prefetch_found(forest, number, found, copy, record);
}

/* Execution learns that the id is burnt from a record of the tree of burnt ids. */
static enum forest_found
prefetch_burnt(struct forest *forest, struct forest_tree *tree, const u128 *id, uint64_t timestamp)
{
    struct forest_tree *burnt = forest_tree_at(forest, tree->schema->burnt_tree);
    char record[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16))) = {0};
    assert(burnt->burns_for != FOREST_NONE);
    assert(burnt->schema->id_offset != FOREST_NONE);
    if (objects_find_id(&burnt->objects, id) != OBJECT_NONE) return FOREST_BURNT;
    memcpy(record + burnt->schema->id_offset, id, sizeof(*id));
    memcpy(record + burnt->schema->timestamp_offset, &timestamp, sizeof(timestamp));
    (void) bring(forest, burnt, record);
    return FOREST_BURNT;
}

enum forest_found
forest_prefetch_id(
    struct forest *forest, uint32_t number, const u128 *id, const void **record)
{
    struct forest_tree *tree = forest_tree_at(forest, number);
    uint64_t timestamp;
    assert(forest->active);
    assert(tree->ids != PART_NONE);
    forest_prefetched_add(forest->prefetched, prefetched_hash_id(number, id));
    if (tree->objects.count > 0) {
        const uint32_t slot = objects_find_id(&tree->objects, id);
        if (slot != OBJECT_NONE) {
            objects_pin(&tree->objects, slot, forest->epoch);
            if (record != NULL) *record = objects_record(&tree->objects, slot);
            return FOREST_FOUND;
        }
    }
    const enum tree_found found = forest_find_id(forest, number, id, &timestamp);
    if (found != TREE_FOUND) return found_of(found);
    if (timestamp & BURNT_BIT && tree->schema->burnt_tree != FOREST_NONE) {
        return prefetch_burnt(forest, tree, id, timestamp & ~BURNT_BIT);
    }
    char copy[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16)));
    const enum tree_found led = find_of_id(forest, number, id, timestamp, copy);
    return prefetch_found(forest, number, led, copy, record);
}

void
forest_hint_id(const struct forest *forest, uint32_t number, const u128 *id)
{
    const struct forest_tree *tree = &forest->trees[number];
    assert(number < forest->schema->tree_count);
    assert(tree->ids != PART_NONE);
    if (tree->objects.count > 0) objects_hint_id(&tree->objects, id);
    if (forest_tree_is_log(tree)) tail_hint_id(&tree->id_tail, *id);
}

void
forest_hint_record(const struct forest *forest, uint32_t number, const u128 *id)
{
    const struct forest_tree *tree = &forest->trees[number];
    assert(number < forest->schema->tree_count);
    assert(tree->ids != PART_NONE);
    if (tree->objects.count > 0) objects_hint_record(&tree->objects, id);
}

/* ---- Reads --------------------------------------------------------------------------------- */

enum forest_found
forest_read(struct forest *forest, uint32_t tree, uint64_t timestamp, void *record)
{
    assert(forest->opened);
    assert(tree < forest->schema->tree_count);
    assert(record != NULL);
    return found_of(forest_find(forest, tree, timestamp, record));
}

enum forest_found
forest_refuse(struct forest *forest, uint32_t tree, uint64_t timestamp)
{
    assert(forest->opened);
    assert(tree < forest->schema->tree_count);
    const uint32_t part = forest->trees[tree].records;
    return found_of(tree_refuse(&forest_part(forest, part)->tree, timestamp));
}

enum forest_found
forest_read_by_id(struct forest *forest, uint32_t number, const u128 *id, void *record)
{
    const struct forest_tree *tree = forest_tree_at(forest, number);
    uint64_t timestamp;
    assert(forest->opened);
    assert(tree->ids != PART_NONE);
    if (tree->objects.count > 0) {
        const uint32_t slot = objects_find_id(&tree->objects, id);
        if (slot != OBJECT_NONE) {
            memcpy(record, objects_record(&tree->objects, slot), tree->schema->record_size);
            return FOREST_FOUND;
        }
    }
    const enum tree_found found = forest_find_id(forest, number, id, &timestamp);
    if (found != TREE_FOUND) return found_of(found);
    if (timestamp & BURNT_BIT && tree->schema->burnt_tree != FOREST_NONE) return FOREST_BURNT;
    return found_of(find_of_id(forest, number, id, timestamp, record));
}

void
forest_refresh(const struct forest *forest, uint32_t number, void *record)
{
    assert(number < forest->schema->tree_count);
    const struct forest_tree *tree = &forest->trees[number];
    uint64_t timestamp;
    assert(!forest_tree_is_log(tree));
    memcpy(
        &timestamp, (const char *) record + tree->schema->timestamp_offset, sizeof(timestamp));
    if (timestamp == 0) return; /* The caller's memory may be written by others. */
    const uint32_t slot = objects_find(&tree->objects, timestamp);
    if (slot == OBJECT_NONE) return;
    memcpy(record, objects_record(&tree->objects, slot), tree->schema->record_size);
}

uint64_t
forest_forgotten_op(const struct forest *forest, uint32_t tree)
{
    assert(tree < forest->schema->tree_count);
    assert(!forest_tree_is_log(&forest->trees[tree]));
    return objects_forgotten_op(&forest->trees[tree].objects);
}
