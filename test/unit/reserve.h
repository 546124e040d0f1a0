/* SPDX-License-Identifier: PostgreSQL */
/* Room in a forest, where the file has to grow first: what the replica asks for again, waited for. */
#ifndef LEDGER_TEST_UNIT_RESERVE_H
#define LEDGER_TEST_UNIT_RESERVE_H

#include "lsm/forest.h"
#include "lsm/forest_internal.h"

static inline enum forest_room
reserve_now(struct forest *forest, uint64_t event_count)
{
    enum forest_room room;
    while ((room = forest_reserve(forest, event_count)) == FOREST_ROOM_WAITS) {
        (void) storage_wait(forest->grid->storage);
    }
    return room;
}

#endif
