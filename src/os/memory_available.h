/* SPDX-License-Identifier: PostgreSQL */
/* How much more memory this process may use before the system kills a process to get some back. */
#ifndef LEDGER_OS_MEMORY_AVAILABLE_H
#define LEDGER_OS_MEMORY_AVAILABLE_H

#include <stdint.h>

/*
 * The number of bytes. It is the least of what the machine has available (MemAvailable in
 * /proc/meminfo) and of what the process's control groups leave (version 2: memory.max less
 * memory.current, for each group up to the root). UINT64_MAX if none of them can be read. It is an
 * estimate that changes all the time.
 *
 * root is "" for the system's own files; tests have others.
 */
uint64_t memory_available_bytes(const char *root);

#endif
