/* SPDX-License-Identifier: PostgreSQL */
/* See memory.h. */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS. */
#include "sim/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/units.h"

#define PAGE_SIZE 4096

/* Of an entry of /proc/self/pagemap: the page is in memory, or was moved to a swap. */
#define PAGE_THERE (UINT64_C(3) << 62)

#define PAGEMAP_NOT_OPENED (-2)

/* Regions that wait for the next taker. */
#define SPARE_MAX 32

/* Entries that are read together. */
#define PAGES_MAX 1024

/* Which pages were ever written to, of `count` from there on. */
static bool
read_pages(int pagemap, const uint8_t *from, uint64_t *entries, uint64_t count)
{
    const size_t size = count * sizeof(entries[0]);
    const off_t offset = (off_t) ((uintptr_t) from / PAGE_SIZE * sizeof(entries[0]));
    return pread(pagemap, entries, size, offset) == (ssize_t) size;
}

static uint8_t *
obtain(uint64_t size_bytes)
{
    void *bytes = mmap(
        NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(bytes != MAP_FAILED);
    return bytes;
}

static void
clear(const struct sim_memory *memory, uint64_t from_bytes, uint64_t to_bytes)
{
    static int pagemap = PAGEMAP_NOT_OPENED;
    static uint64_t entries[PAGES_MAX];
    if (pagemap == PAGEMAP_NOT_OPENED && sysconf(_SC_PAGESIZE) == PAGE_SIZE) {
        pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    }
    const uint8_t *end = memory->bytes + to_bytes;
    uint64_t count = 0;
    for (uint8_t *at = memory->bytes + from_bytes; at < end; at += count * PAGE_SIZE) {
        count = min_u64((uint64_t) (end - at) / PAGE_SIZE, PAGES_MAX);
        const bool known = pagemap >= 0 && read_pages(pagemap, at, entries, count);
        for (uint64_t i = 0; i < count; i++) {
            if (known && (entries[i] & PAGE_THERE) == 0) continue;
            memset(at + i * PAGE_SIZE, 0, PAGE_SIZE);
        }
    }
}

/* The page behind what is in use must not be touched. */
static void
guard(const struct sim_memory *memory, int protection)
{
    const int result = mprotect(memory->bytes + memory->used_bytes, PAGE_SIZE, protection);
    assert(result == 0);
}

void
sim_memory_keep(struct sim_memory *memory, const void *from, uint64_t size_bytes)
{
    assert((uintptr_t) from % PAGE_SIZE == 0 && size_bytes % PAGE_SIZE == 0);
    memory->kept_offset_bytes = (uint64_t) ((const uint8_t *) from - memory->bytes);
    memory->kept_size_bytes = size_bytes;
}

void *
sim_memory_zeroed(struct sim_memory *memory, uint64_t size_bytes)
{
    assert(size_bytes > 0 && size_bytes % PAGE_SIZE == 0);
    if (memory->used_bytes == size_bytes) {
        clear(memory, 0, memory->kept_offset_bytes);
        clear(memory, memory->kept_offset_bytes + memory->kept_size_bytes, size_bytes);
        return memory->bytes;
    }
    if (memory->used_bytes > 0) guard(memory, PROT_READ | PROT_WRITE);
    if (memory->size_bytes < size_bytes) {
        if (memory->bytes != NULL) (void) munmap(memory->bytes, memory->size_bytes + PAGE_SIZE);
        *memory = (struct sim_memory){.size_bytes = size_bytes};
        memory->bytes = obtain(size_bytes + PAGE_SIZE);
    } else {
        clear(memory, 0, memory->size_bytes);
    }
    sim_memory_keep(memory, memory->bytes, 0);
    memory->used_bytes = size_bytes;
    guard(memory, PROT_NONE);
    return memory->bytes;
}

/* ---- Regions --------------------------------------------------------------------------------- */

static struct sim_memory spare[SPARE_MAX];
static uint32_t spare_count;

struct sim_memory
sim_memory_take(uint64_t size_bytes)
{
    uint32_t best = SPARE_MAX;
    assert(size_bytes > 0 && size_bytes % PAGE_SIZE == 0);
    for (uint32_t i = 0; i < spare_count; i++) {
        if (spare[i].size_bytes < size_bytes) continue;
        if (best == SPARE_MAX || spare[i].size_bytes < spare[best].size_bytes) best = i;
    }
    if (best < SPARE_MAX) {
        const struct sim_memory memory = spare[best];
        spare_count -= 1;
        spare[best] = spare[spare_count];
        clear(&memory, 0, memory.used_bytes);
        return memory;
    }
    return (struct sim_memory){.bytes = obtain(size_bytes), .size_bytes = size_bytes};
}

void
sim_memory_give(const struct sim_memory *memory, uint64_t written_bytes)
{
    if (memory->bytes == NULL) return;
    if (spare_count == SPARE_MAX) {
        (void) munmap(memory->bytes, memory->size_bytes);
        return;
    }
    spare[spare_count] = *memory;
    spare[spare_count].used_bytes = written_bytes;
    spare_count += 1;
}

/* ---- The heap -------------------------------------------------------------------------------- */

void
sim_memory_keep_heap(void)
{
    (void) mallopt(M_MMAP_THRESHOLD, 256 << 10);
    (void) mallopt(M_TRIM_THRESHOLD, 1 << 30);
    (void) mallopt(M_TOP_PAD, 16 << 20);
}
