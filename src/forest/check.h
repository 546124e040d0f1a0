/* SPDX-License-Identifier: PostgreSQL */
/*
 * Do the forest's lists agree with each other? All at one moment, and from memory alone: what is on
 * disk is checked by tours (forest/tour.h).
 */
#ifndef LEDGER_FOREST_CHECK_H
#define LEDGER_FOREST_CHECK_H

#include <stdint.h>

struct forest;

struct forest_check {
    /* The free set: blocks that are taken, and blocks that something refers to. */
    uint64_t blocks_taken;
    uint64_t blocks_listed;
    /* A table whose keys are not above those before, or whose index block is free. 0: none. */
    uint64_t table_address;
    const char *tree_name;
};

/* Between ops. */
void forest_check(const struct forest *forest, struct forest_check *check);

#endif
