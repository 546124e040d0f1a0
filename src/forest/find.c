/* SPDX-License-Identifier: PostgreSQL */
/* Finding records and ids, in memory or on disk; and reads, which copy what they find. */
#include <string.h>

#include "forest/internal.h"

/* ---- Finding, wherever it is --------------------------------------------------------------- */

enum forest_found
forest_found_of(enum tree_found found)
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
    assert(number < forest->schema->groove_count);
    const struct groove *groove = &forest->grooves[number];
    assert(record != NULL);
    if (timestamp == 0 || timestamp > groove->newest) return TREE_ABSENT;
    const uint32_t object = objects_find(&groove->objects, timestamp);
    if (object != OBJECT_NONE) {
        memcpy(record, objects_record(&groove->objects, object), groove->schema->record_size);
        return TREE_FOUND;
    }
    if (groove_is_log(groove)) return log_lookup(&groove->log, timestamp, record);
    return tree_lookup(&forest->parts[groove->records].tree, timestamp, record);
}

enum tree_found
forest_find_id(const struct forest *forest, uint32_t number, const u128 *id, uint64_t *timestamp)
{
    assert(number < forest->schema->groove_count);
    const struct groove *groove = &forest->grooves[number];
    struct entry24 entry;
    assert(groove->ids != PART_NONE);
    if (tail_find_id(&groove->id_tail, *id, timestamp)) return TREE_FOUND;
    const enum tree_found found = tree_lookup(&forest->parts[groove->ids].tree, *id, &entry);
    if (found == TREE_FOUND) *timestamp = entry.timestamp;
    return found;
}

/*
 * Finds the record that the id leads to. An id that leads to no record, or to one with another id,
 * was never written like that, so it is damage. To take the id for absent would be a silent guess.
 */
static enum tree_found
find_of_id(
    const struct forest *forest,
    uint32_t number,
    const u128 *id,
    uint64_t timestamp,
    void *record)
{
    const struct groove *groove = &forest->grooves[number];
    u128 found_id = 0;
    assert(groove->ids != PART_NONE);
    const enum tree_found found = forest_find(forest, number, timestamp, record);
    if (found == TREE_WAIT || found == TREE_LOST) return found;
    if (found == TREE_FOUND) {
        memcpy(&found_id, (const char *) record + groove->schema->id_offset, sizeof(found_id));
    }
    if (found == TREE_FOUND && found_id == *id) return TREE_FOUND;
    const bool in_memory = tail_find_id(&groove->id_tail, *id, &timestamp);
    if (in_memory) return tree_refuse(&forest->parts[groove->records].tree, timestamp);
    return tree_refuse(&forest->parts[groove->ids].tree, *id);
}

/* ---- Reads --------------------------------------------------------------------------------- */

enum forest_found
forest_read(struct forest *forest, uint32_t groove, uint64_t timestamp, void *record)
{
    assert(forest->opened);
    assert(groove < forest->schema->groove_count);
    assert(record != NULL);
    return forest_found_of(forest_find(forest, groove, timestamp, record));
}

enum forest_found
forest_refuse(struct forest *forest, uint32_t groove, uint64_t timestamp)
{
    assert(forest->opened);
    assert(groove < forest->schema->groove_count);
    const uint32_t part = forest->grooves[groove].records;
    return forest_found_of(tree_refuse(&forest_part(forest, part)->tree, timestamp));
}

enum forest_found
forest_read_by_id(struct forest *forest, uint32_t number, const u128 *id, void *record)
{
    const struct groove *groove = forest_groove(forest, number);
    uint64_t timestamp;
    assert(forest->opened);
    assert(groove->ids != PART_NONE);
    if (groove->objects.count > 0) {
        const uint32_t object = objects_find_id(&groove->objects, id);
        if (object != OBJECT_NONE) {
            memcpy(record, objects_record(&groove->objects, object), groove->schema->record_size);
            return FOREST_FOUND;
        }
    }
    const enum tree_found found = forest_find_id(forest, number, id, &timestamp);
    if (found != TREE_FOUND) return forest_found_of(found);
    if (timestamp & BURNT_BIT && groove->schema->burnt_groove != FOREST_NONE) return FOREST_BURNT;
    return forest_found_of(find_of_id(forest, number, id, timestamp, record));
}

enum forest_found
forest_read_next(struct forest *forest, uint32_t groove, uint64_t *timestamp, void *record)
{
    assert(forest->opened);
    assert(groove < forest->schema->groove_count);
    assert(groove_is_log(&forest->grooves[groove]));
    assert(record != NULL);
    if (*timestamp >= forest->grooves[groove].newest) return FOREST_ABSENT;
    return forest_found_of(log_next(&forest->grooves[groove].log, timestamp, record));
}

bool
forest_may_have_changed(
    const struct forest *forest, uint32_t number, uint64_t timestamp, uint64_t op)
{
    assert(number < forest->schema->groove_count);
    const struct objects *objects = &forest->grooves[number].objects;
    assert(!groove_is_log(&forest->grooves[number]));
    assert(timestamp > 0);
    const uint32_t object = objects_find(objects, timestamp);
    /* It is unknown what happened to a record before it came back into memory (C4). */
    const uint64_t changed = object == OBJECT_NONE ? 0 : objects_op(objects, object);
    return (changed == 0 ? objects_forgotten_op(objects) : changed) > op;
}

bool
forest_reads_full(const struct forest *forest)
{
    assert(forest->opened);
    return !cache_may_read(&forest->cache);
}

uint64_t
forest_reads_mark(const struct forest *forest, uint32_t waiting)
{
    const struct block_cache *cache = &forest->cache;
    assert(cache->reading <= GRID_READS_MAX);
    /* Others read too. This mark counts only as many reads as the caller waits for, not theirs. */
    return cache->reads_done + div_ceil(min_u64(waiting, cache->reading), 2);
}

bool
forest_reads_reached(const struct forest *forest, uint64_t mark)
{
    assert(forest->opened);
    return forest->cache.reads_done >= mark;
}
