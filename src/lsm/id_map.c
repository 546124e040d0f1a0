/* SPDX-License-Identifier: PostgreSQL */
/* See id_map.h. */
#include "lsm/id_map.h"

static inline u128
id_map_id_of(const struct id_map *id_map, uint32_t value)
{
    const bool burnt = (value & ID_MAP_BURNT) != 0;
    const struct tree *tree = burnt ? id_map->burnt : id_map->tree;
    assert(tree != NULL);
    return tree_record_id(tree, tree_record(tree, value & ~ID_MAP_BURNT));
}

/* Where the id is in the map; NULL if it is absent. */
static inline const uint32_t *
id_map_lookup(const struct id_map *id_map, u128 id, uint32_t hash, struct row_map_cursor *cursor)
{
    *cursor = row_map_first(&id_map->map, hash);
    for (;;) {
        const uint32_t *value = row_map_next(&id_map->map, cursor, hash);
        if (value == NULL || id_map_id_of(id_map, *value) == id) return value;
    }
}

enum forest_found
id_map_find(const struct id_map *id_map, u128 id, uint32_t *row)
{
    struct row_map_cursor cursor;
    const uint32_t *value = id_map_lookup(id_map, id, hash_u128(id), &cursor);
    if (value == NULL) return FOREST_ABSENT;
    if ((*value & ID_MAP_BURNT) != 0) return FOREST_BURNT;
    *row = *value;
    assert(*row < id_map->tree->record_count);
    return FOREST_FOUND;
}

void
id_map_prefetch_record(const struct id_map *id_map, u128 id)
{
    assert(id_map->tree != NULL);
    const uint32_t hash = hash_u128(id);
    struct row_map_cursor cursor = row_map_first(&id_map->map, hash);
    const uint32_t *value = row_map_next(&id_map->map, &cursor, hash);
    if (value == NULL || (*value & ID_MAP_BURNT) != 0) return;
    const char *record = tree_record(id_map->tree, *value);
    const uint32_t record_size = id_map->tree->schema->record_size;
    assert(record_size > 0);
    for (uint32_t offset = 0; offset < record_size; offset += 64) {
        __builtin_prefetch(record + offset, 1);
    }
}

void
id_map_insert(struct id_map *id_map, u128 id, uint32_t row, bool burnt)
{
    assert(id_map->tree != NULL);
    assert(row < ROWS_MAX);
    assert(!burnt || id_map->burnt != NULL);
    const uint32_t hash = hash_u128(id);
    struct row_map_cursor cursor;
    assert(id_map_lookup(id_map, id, hash, &cursor) == NULL);
    row_map_insert(&id_map->map, hash, burnt ? row | ID_MAP_BURNT : row);
}

void
id_map_remove(struct id_map *id_map, u128 id, uint32_t row)
{
    assert(row < ROWS_MAX);
    const uint32_t hash = hash_u128(id);
    struct row_map_cursor cursor;
    const uint32_t *value = id_map_lookup(id_map, id, hash, &cursor);
    assert(value != NULL);
    assert(*value == row);
    row_map_remove(&id_map->map, hash, &cursor);
}
