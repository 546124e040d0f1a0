/* SPDX-License-Identifier: PostgreSQL */
/* The ids of a tree: id → row, or burnt. Keys are the ids in the records themselves. */
#ifndef LEDGER_LSM_ID_MAP_H
#define LEDGER_LSM_ID_MAP_H

#include "base/u128.h"
#include "lsm/forest.h"
#include "lsm/hash.h"
#include "lsm/row_map.h"
#include "lsm/tree.h"

struct id_map {
    struct row_map map; /* Values: rows of `tree`, or rows of `burnt` with ID_MAP_BURNT set. */
    const struct tree *tree;
    const struct tree *burnt; /* NULL: ids of the tree can't be burnt. */
};

#define ID_MAP_BURNT ROWS_MAX

/* Sets *row if FOREST_FOUND. */
enum forest_found id_map_find(const struct id_map *id_map, u128 id, uint32_t *row);

/* The row's record is in its tree already. The id is absent. */
void id_map_insert(struct id_map *id_map, u128 id, uint32_t row, bool burnt);

void id_map_remove(struct id_map *id_map, u128 id, uint32_t row);

static inline void
id_map_prefetch(const struct id_map *id_map, u128 id)
{
    assert(id_map->tree != NULL);
    row_map_prefetch(&id_map->map, hash_u128(id));
}

/* The record of the first entry with the id's hash, which is nearly always the id's. */
void id_map_prefetch_record(const struct id_map *id_map, u128 id);

#endif
