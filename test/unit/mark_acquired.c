/* SPDX-License-Identifier: PostgreSQL */
/* See mark_acquired.h. */
#include "unit/mark_acquired.h"

bool
grid_mark_acquired(struct grid *grid, uint64_t address)
{
    if (address < 1 || address > grid->block_count) return false;
    const uint64_t word = UINT64_C(1) << ((address - 1) % 64);
    return grid_free_set_load(grid, (address - 1) / 64, &word, 1);
}
