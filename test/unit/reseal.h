/* SPDX-License-Identifier: PostgreSQL */
/* Makes the sums and the checksum of a block right, whatever it says: for what lies. */
#ifndef LEDGER_TEST_UNIT_RESEAL_H
#define LEDGER_TEST_UNIT_RESEAL_H

#include "base/u128.h"

/* Returns the checksum. */
u128 reseal_block(void *block);

#endif
