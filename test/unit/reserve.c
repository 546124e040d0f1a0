/* SPDX-License-Identifier: PostgreSQL */
/* See reserve.h. */
#include "unit/reserve.h"

#include "forest/internal.h"

enum forest_room
reserve_now(struct forest *forest, uint64_t event_count)
{
    enum forest_room room;
    while ((room = forest_reserve(forest, event_count)) == FOREST_ROOM_WAITS) {
        (void) storage_wait(forest->grid->storage);
    }
    return room;
}
