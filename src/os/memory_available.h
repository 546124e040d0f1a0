/* SPDX-License-Identifier: PostgreSQL */
/* How much more memory this process may use before the system kills somebody for it. */
#ifndef LEDGER_OS_MEMORY_AVAILABLE_H
#define LEDGER_OS_MEMORY_AVAILABLE_H

#include <stdint.h>

/*
 * In bytes: the least of what the machine has available (/proc/meminfo, MemAvailable) and what the
 * limits of the control groups that the process is in leave (version 2: memory.max less
 * memory.current, of each up to the root). UINT64_MAX if none of them can be read. An estimate: it
 * changes all the time.
 *
 * root: "" for the system's own files; tests have others.
 */
uint64_t memory_available_bytes(const char *root);

#endif
