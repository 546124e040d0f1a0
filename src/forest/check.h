/* SPDX-License-Identifier: PostgreSQL */
/*
 * Do the forest's lists agree with each other? They are all compared at one moment, and from memory
 * alone; tours check what is on disk (forest/tour.h).
 */
#ifndef LEDGER_FOREST_CHECK_H
#define LEDGER_FOREST_CHECK_H

#include <stdint.h>

struct forest;

struct forest_check {
    /* How many blocks the free set says are taken, and how many of them something refers to. */
    uint64_t blocks_taken;
    uint64_t blocks_listed;
    /*
     * The index block of a table whose keys are not above those of the table before, or whose index
     * block is free. 0 if there is no such table.
     */
    uint64_t table_address;
    const char *tree_name;
};

/* Compares the lists. Only between ops. */
void forest_check(const struct forest *forest, struct forest_check *check);

#endif
