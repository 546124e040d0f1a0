/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the files of the superblock share. superblock.c: copies, opening, repair, format;
 * superblock_state.c: what a state must be, and how an update changes it; superblock_update.c:
 * updates.
 */
#ifndef LEDGER_STORE_SUPERBLOCK_INTERNAL_H
#define LEDGER_STORE_SUPERBLOCK_INTERNAL_H

#include "base/assert.h"
#include "store/superblock.h"

/* (S3): how many copies must read back identical before an update is durable. */
#define SUPERBLOCK_VERIFY_MIN 3

static inline uint64_t
superblock_copy_offset_bytes(uint32_t copy)
{
    assert(copy < SUPERBLOCK_COPIES);
    return copy * SUPERBLOCK_COPY_STRIDE;
}

u128 superblock_checksum(const struct superblock_state *state);

/*
 * True if the copy in `reading` is whole, and stands where it belongs. That of another version or
 * build counts, although its content isn't understood.
 */
bool superblock_copy_valid(const struct superblock_state *state, uint32_t copy);

/* Checks what the format demands of a state of this version, beyond its checksum. */
bool superblock_state_sound(const struct superblock_state *state);

/* What the update asks for becomes part of the state. */
void superblock_state_apply(
    struct superblock_state *state,
    const struct superblock_update *update);

/* A copy of `working` as the next state (S1). The caller changes it, then begins the update. */
struct superblock_state *superblock_stage(struct superblock *superblock);

/* Writes `staging`. */
void superblock_update_begin(struct superblock *superblock);

#endif
