/* SPDX-License-Identifier: PostgreSQL */
/* Marks a block of a grid as taken, as a checkpoint's free set does when it is opened. */
#ifndef LEDGER_TEST_UNIT_MARK_ACQUIRED_H
#define LEDGER_TEST_UNIT_MARK_ACQUIRED_H

#include <stdbool.h>

#include "store/grid.h"

/* False if there is no such block, or it is taken already. */
bool grid_mark_acquired(struct grid *grid, uint64_t address);

#endif
