/* SPDX-License-Identifier: PostgreSQL */
/* See arena.h. */
#include "base/arena.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/units.h"

void
arena_init_measuring(struct arena *arena)
{
    *arena = (struct arena){.size_bytes = UINT64_MAX / 2};
}

void
arena_init(struct arena *arena, void *memory, uint64_t size_bytes)
{
    assert(memory != NULL);
    assert((uintptr_t) memory % ARENA_ALIGNMENT == 0);
    *arena = (struct arena){.base = memory, .size_bytes = size_bytes};
}

bool
arena_measuring(const struct arena *arena)
{
    return arena->base == NULL;
}

void *
arena_take(struct arena *arena, uint64_t count, uint64_t size_bytes, uint64_t alignment)
{
    assert(!arena->sealed);
    assert(size_bytes > 0);
    assert(alignment <= ARENA_ALIGNMENT);
    assert(count <= (UINT64_MAX / 4) / size_bytes);

    const uint64_t offset = align_up(arena->used_bytes, alignment);
    const uint64_t end = offset + count * size_bytes;
    assert(end <= arena->size_bytes);
    arena->used_bytes = end;
    if (arena->base == NULL) return NULL;
    return arena->base + offset;
}

void
arena_seal(struct arena *arena)
{
    assert(!arena->sealed);
    assert(arena->base != NULL);
    arena->sealed = true;
}
