/* SPDX-License-Identifier: PostgreSQL */
/* Room in a forest, waited for where the file has to grow first: the replica asks again instead. */
#ifndef LEDGER_TEST_UNIT_RESERVE_H
#define LEDGER_TEST_UNIT_RESERVE_H

#include "forest/forest.h"

enum forest_room reserve_now(struct forest *forest, uint64_t event_count);

#endif
