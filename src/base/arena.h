/* SPDX-License-Identifier: PostgreSQL */
/*
 * All memory of the engine, taken once at the start.
 *
 * Initialisation runs twice over the same code: first over an arena without memory, which only
 * measures (arena_take returns NULL), then over one that has exactly the measured size. After
 * arena_seal(), taking more is a bug. The memory is zero if the owner's memory was zero.
 */
#ifndef LEDGER_BASE_ARENA_H
#define LEDGER_BASE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

struct arena {
    char *base; /* NULL while measuring. Otherwise aligned to ARENA_ALIGNMENT. */
    uint64_t size_bytes;
    uint64_t used_bytes;
    bool sealed;
};

#define ARENA_ALIGNMENT 4096

/* Makes an arena that only measures. */
void arena_init_measuring(struct arena *arena);

/*
 * Makes an arena over size_bytes of zeroed memory, aligned to ARENA_ALIGNMENT. The memory stays the
 * caller's, and must exist as long as the arena's users.
 */
void arena_init(struct arena *arena, void *memory, uint64_t size_bytes);

bool arena_measuring(const struct arena *arena);

/*
 * Takes count * size_bytes bytes, aligned to `alignment` (a power of two up to ARENA_ALIGNMENT).
 * Returns NULL while measuring.
 */
void *arena_take(struct arena *arena, uint64_t count, uint64_t size_bytes, uint64_t alignment);

void arena_seal(struct arena *arena);

#endif
