/* SPDX-License-Identifier: PostgreSQL */
/*
 * All memory of the engine, taken once at start.
 *
 * Initialisation runs twice over the same code: first over an arena without memory, which only
 * measures (arena_take returns NULL), then over one that has exactly the measured size. After
 * arena_seal() any further take is a bug. Memory comes zeroed if the owner's memory was zeroed.
 */
#ifndef LEDGER_BASE_ARENA_H
#define LEDGER_BASE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

struct arena {
    char *base; /* NULL: measuring. Aligned to ARENA_ALIGNMENT otherwise. */
    uint64_t size_bytes;
    uint64_t used_bytes;
    bool sealed;
};

#define ARENA_ALIGNMENT 4096

/* An arena that measures. */
void arena_init_measuring(struct arena *arena);

/*
 * An arena over size_bytes of zeroed memory, aligned to ARENA_ALIGNMENT. The caller keeps it alive.
 */
void arena_init(struct arena *arena, void *memory, uint64_t size_bytes);

bool arena_measuring(const struct arena *arena);

/*
 * count * size_bytes bytes aligned to `alignment` (a power of two up to ARENA_ALIGNMENT); NULL
 * while measuring.
 */
void *arena_take(struct arena *arena, uint64_t count, uint64_t size_bytes, uint64_t alignment);

void arena_seal(struct arena *arena);

#endif
