/* SPDX-License-Identifier: PostgreSQL */
/* io/clock.h over the clocks of the operating system. */
#ifndef LEDGER_OS_CLOCK_OS_H
#define LEDGER_OS_CLOCK_OS_H

#include "io/clock.h"

/* Needs no closing. */
void clock_os_init(struct clock *clock);

#endif
