/* SPDX-License-Identifier: PostgreSQL */
/* See memory_available.h. */
#include "os/memory_available.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/units.h"

#define TEXT_SIZE     4096
#define CGROUP_FOLDER "/sys/fs/cgroup"

/* Reads the beginning of a small file, as a string. */
static bool
read_text(const char *path, char text[static TEXT_SIZE])
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t size = read(fd, text, TEXT_SIZE - 1);
    (void) close(fd);
    if (size < 0) return false;
    text[size] = '\0';
    return true;
}

static uint64_t
machine_available(const char *root)
{
    static const char label[] = "\nMemAvailable:";
    char path[PATH_MAX];
    char text[TEXT_SIZE];
    (void) snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (!read_text(path, text)) return UINT64_MAX;
    const char *line = strstr(text, label);
    return line == NULL ? UINT64_MAX : strtoull(line + sizeof(label) - 1, NULL, 10) * KIB;
}

/*
 * Reads a number from a file of a control group. UINT64_MAX if there is none, or if it says "max".
 */
static uint64_t
group_number(const char *root, const char *group, const char *name)
{
    char path[PATH_MAX];
    char text[TEXT_SIZE];
    const int size =
        snprintf(path, sizeof(path), "%s" CGROUP_FOLDER "%s/%s", root, group, name);
    if (size >= (int) sizeof(path) || !read_text(path, text)) return UINT64_MAX;
    return text[0] < '0' || text[0] > '9' ? UINT64_MAX : strtoull(text, NULL, 10);
}

static uint64_t
group_available(const char *root, const char *group)
{
    const uint64_t limit = group_number(root, group, "memory.max");
    const uint64_t used = group_number(root, group, "memory.current");
    if (limit == UINT64_MAX || used == UINT64_MAX) return UINT64_MAX;
    return limit - min_u64(limit, used);
}

/* In version 2 the line is "0::/a/b", and the limits of /a/b, of /a and of the root all apply. */
static uint64_t
groups_available(const char *root)
{
    char path[PATH_MAX];
    char text[TEXT_SIZE];
    (void) snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (!read_text(path, text)) return UINT64_MAX;
    char *group = strstr(text, "0::/");
    if (group == NULL || (group != text && group[-1] != '\n')) return UINT64_MAX;
    group += strlen("0::");
    group[strcspn(group, "\n")] = '\0';
    if (strcmp(group, "/") == 0) group[0] = '\0';

    uint64_t available = group_available(root, group);
    while (group[0] != '\0') {
        char *last = strrchr(group, '/');
        assert(last != NULL);
        *last = '\0';
        available = min_u64(available, group_available(root, group));
    }
    return available;
}

uint64_t
memory_available_bytes(const char *root)
{
    assert(root != NULL);
    return min_u64(machine_available(root), groups_available(root));
}
