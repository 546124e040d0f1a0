/* SPDX-License-Identifier: PostgreSQL */
/*
 * Memory for one engine after another.
 *
 * Each wants all zeros, and writes to a small part of it. Memory that is fresh from the system
 * costs a page fault for each page that is written to, more than all else that a short life does.
 * So it is kept, and what was written to is set to zero.
 */
#ifndef LEDGER_TEST_SIM_MEMORY_H
#define LEDGER_TEST_SIM_MEMORY_H

#include <stdint.h>

/* All zero: none yet. */
struct sim_memory {
    uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t used_bytes; /* What was given out, or may have been written to. */
    uint64_t kept_offset_bytes;
    uint64_t kept_size_bytes;
};

/* So many bytes, whole pages, all zero. What was given out before is gone. */
void *sim_memory_zeroed(struct sim_memory *memory, uint64_t size_bytes);

/*
 * What is there needn't be zero the next time that as many bytes are asked for: whoever gets it may
 * find anything. Whole pages; none where the size is 0.
 */
void sim_memory_keep(struct sim_memory *memory, const void *from, uint64_t size_bytes);

/* At least so many bytes, all zero, until they are given back. What isn't touched costs nothing. */
struct sim_memory sim_memory_take(uint64_t size_bytes);
/* Nothing was written beyond the first so many bytes of it. */
void sim_memory_give(const struct sim_memory *memory, uint64_t written_bytes);

/* What the heap gets it keeps: for simulators, whose runs follow each other in one process. */
void sim_memory_keep_heap(void);

#endif
