/* SPDX-License-Identifier: PostgreSQL */
/* Memory that gets its pages before it is used, and how much of it there is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "os/memory_available.h"
#include "os/populate.h"

#include "unit.h"

#define MEMORY_BYTES (48 * MIB)
#define PAGE_BYTES   4096

static char *
memory_take(int protection)
{
    void *memory =
        mmap(NULL, MEMORY_BYTES, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(memory != MAP_FAILED);
    return memory;
}

/* Bytes that have pages. */
static uint64_t
memory_present(char *memory)
{
    static unsigned char present[MEMORY_BYTES / PAGE_BYTES];
    uint64_t bytes = 0;
    const int result = mincore(memory, MEMORY_BYTES, present);
    assert(result == 0);
    for (uint64_t i = 0; i < ARRAY_COUNT(present); i++) {
        bytes += (present[i] & 1) != 0 ? PAGE_BYTES : 0;
    }
    return bytes;
}

/* Polls until it has nothing more to do, or for some seconds. */
static void
settle(struct populate *populate)
{
    const struct timespec pause = {.tv_nsec = 1000 * 1000};
    for (uint32_t i = 0; i < 10000; i++) {
        const bool progress = populate_poll(populate, true);
        const bool asked = populate->asked_bytes > 0;
        if (!progress && !asked) return;
        if (asked) (void) nanosleep(&pause, NULL);
    }
    expect(false);
}

static void
on_both(void (*test)(bool use_uring))
{
    test(true); /* Where io_uring is refused, this is the same as the next. */
    test(false);
}

static void
takes_what_the_limit_says(bool use_uring)
{
    struct populate populate;
    char *memory = memory_take(PROT_READ | PROT_WRITE);
    populate_open(&populate, memory, MEMORY_BYTES, use_uring);
    settle(&populate);
    expect_equal(memory_present(memory), 0);
    populate_limit(&populate, 20 * MIB);
    settle(&populate);
    expect_equal(memory_present(memory), 20 * MIB);
    populate_limit(&populate, 10 * MIB); /* What is there stays. */
    settle(&populate);
    expect_equal(memory_present(memory), 20 * MIB);
    populate_limit(&populate, UINT64_C(1) << 40);
    settle(&populate);
    expect_equal(memory_present(memory), MEMORY_BYTES);
    expect_equal(populate.done_bytes, MEMORY_BYTES);
    (void) munmap(memory, MEMORY_BYTES);
}

UNIT_TEST(memory_gets_as_many_pages_as_the_limit_says)
{
    on_both(takes_what_the_limit_says);
}

static void
keeps_content(bool use_uring)
{
    struct populate populate;
    char *memory = memory_take(PROT_READ | PROT_WRITE);
    memset(memory + 3 * MIB, 0x5a, MIB);
    populate_open(&populate, memory, MEMORY_BYTES, use_uring);
    populate_limit(&populate, MEMORY_BYTES);
    settle(&populate);
    for (uint64_t i = 0; i < 8 * MIB; i++) {
        const bool used = i >= 3 * MIB && i < 4 * MIB;
        if (memory[i] == (used ? 0x5a : 0)) continue;
        expect(false);
        break;
    }
    (void) munmap(memory, MEMORY_BYTES);
}

UNIT_TEST(what_is_in_memory_stays_there)
{
    on_both(keeps_content);
}

static void
ends_when_refused(bool use_uring)
{
    struct populate populate;
    char *memory = memory_take(PROT_READ);
    populate_open(&populate, memory, MEMORY_BYTES, use_uring);
    populate_limit(&populate, MEMORY_BYTES);
    settle(&populate);
    expect(!populate_poll(&populate, true));
    expect_equal(populate.asked_bytes, 0);
    expect_equal(memory_present(memory), 0);
    (void) munmap(memory, MEMORY_BYTES);
}

UNIT_TEST(a_refusal_ends_it)
{
    on_both(ends_when_refused);
}

/* Only in idle times, unless the kernel does it. */
UNIT_TEST(it_takes_no_time_from_work)
{
    struct populate populate;
    char *memory = memory_take(PROT_READ | PROT_WRITE);
    populate_open(&populate, memory, MEMORY_BYTES, false);
    populate_limit(&populate, MEMORY_BYTES);
    expect(!populate_poll(&populate, false));
    expect_equal(memory_present(memory), 0);
    expect(populate_poll(&populate, true));
    expect(memory_present(memory) > 0);
    expect(memory_present(memory) < MEMORY_BYTES);
    (void) munmap(memory, MEMORY_BYTES);
}

/* ---- Available memory ---------------------------------------------------------------------- */

/* Files of a system that is not this one. */
static char root[64];

static void
root_put(const char *name, const char *content)
{
    char path[256];
    (void) snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void) mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert(file != NULL);
    (void) fputs(content, file);
    (void) fclose(file);
}

static void
root_make(void)
{
    (void) snprintf(root, sizeof(root), "build/test_populate.XXXXXX");
    const char *made = mkdtemp(root);
    assert(made != NULL);
}

static void
root_remove(void)
{
    char command[128];
    (void) snprintf(command, sizeof(command), "rm -r %s", root);
    const int status = system(command);
    assert(status == 0);
}

UNIT_TEST(available_memory_is_the_least_of_machine_and_control_groups)
{
    root_make();
    expect_equal(memory_available_bytes(root), UINT64_MAX);
    root_put("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    5000 kB\nX: 2 kB\n");
    expect_equal(memory_available_bytes(root), 5000 * KIB);
    root_put("proc/self/cgroup", "4:memory:/old\n0::/a/b\n");
    expect_equal(memory_available_bytes(root), 5000 * KIB);
    root_put("sys/fs/cgroup/a/b/memory.max", "max\n");
    root_put("sys/fs/cgroup/a/b/memory.current", "1000\n");
    root_put("sys/fs/cgroup/a/memory.max", "3000000\n");
    root_put("sys/fs/cgroup/a/memory.current", "1000000\n");
    expect_equal(memory_available_bytes(root), 2000000);
    root_put("sys/fs/cgroup/memory.max", "500\n");
    root_put("sys/fs/cgroup/memory.current", "600\n");
    expect_equal(memory_available_bytes(root), 0);
    root_put("proc/self/cgroup", "0::/\n");
    root_put("sys/fs/cgroup/memory.max", "700\n");
    expect_equal(memory_available_bytes(root), 100);
    root_put("proc/self/cgroup", "10::/\n");
    expect_equal(memory_available_bytes(root), 5000 * KIB);
    root_remove();
}

UNIT_TEST(this_machine_has_some_memory_available)
{
    expect(memory_available_bytes("") > 0);
}

UNIT_MAIN(test_populate)
