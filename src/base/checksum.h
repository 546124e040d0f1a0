/* SPDX-License-Identifier: PostgreSQL */
/*
 * The one checksum of everything on disk and on the wire: XXH3 (Yann Collet, xxHash 0.8
 * specification), from libxxhash. It detects damage; it does not authenticate.
 */
#ifndef LEDGER_BASE_CHECKSUM_H
#define LEDGER_BASE_CHECKSUM_H

#include <stdint.h>

#include "base/u128.h"

u128 checksum(const void *data, uint64_t size_bytes);

/* XXH3-64: for sums that are themselves covered by a checksum. */
uint64_t checksum_64(const void *data, uint64_t size_bytes);

#endif
