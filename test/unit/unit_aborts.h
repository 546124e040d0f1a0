/* SPDX-License-Identifier: PostgreSQL */
/* Testing that an assertion is there. */
#ifndef LEDGER_TEST_UNIT_UNIT_ABORTS_H
#define LEDGER_TEST_UNIT_UNIT_ABORTS_H

#include <stdbool.h>

/* True if the body aborts: in a child process, which is silent. */
bool aborts(void (*body)(void));

#endif
