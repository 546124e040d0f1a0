/* SPDX-License-Identifier: PostgreSQL */
/*
 * A cursor walks the entries of one run of an index, in either direction, from key to key.
 *
 * It holds no pins: before each step it looks whether its block is still in its frame, and finds
 * its place again if it isn't.
 */
#ifndef LEDGER_LSM_CURSOR_H
#define LEDGER_LSM_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/tree.h"

struct cursor {
    u128 key;         /* If `standing`: the key of the entry where it stands. */
    bool standing;
    bool exhausted;
    /* It will pass all entries in ascending order, so blocks are read ahead (walk.h). */
    bool reads_ahead;
    uint8_t run;
    uint32_t frame;
    uint32_t entry;
    uint32_t entry_count;
    uint64_t address; /* The address of the block where it stands; 0 if none. */
};

/* Makes a cursor of the run. It stands at no entry yet. */
void cursor_init(struct cursor *cursor, uint32_t run);

/*
 * Moves to the first entry at or after the key, or if descending, to the last one at or before it.
 * TREE_FOUND: it stands there. TREE_ABSENT: there is no such entry, and the cursor is exhausted. A
 * cursor moves in one direction only: the key must be at or beyond the entry where it stands.
 */
enum tree_found
cursor_seek(struct cursor *cursor, const struct tree *tree, bool descending, u128 key);

#endif
