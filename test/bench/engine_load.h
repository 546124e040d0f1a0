/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the benchmark of TigerBeetle sends: ledger 2, two different accounts of uniform chance,
 * amounts of exponential distribution about 10,000, random user_data and code.
 *
 * An account's id is a function of its number: no table is kept that would take the processor's
 * caches from the engine. Transfers' ids are random, or ordered as UUIDv7 and ULID are.
 */
#ifndef LEDGER_TEST_BENCH_ENGINE_LOAD_H
#define LEDGER_TEST_BENCH_ENGINE_LOAD_H

#include "base/prng.h"
#include "bench/engine_bench.h"
#include "ledger/types.h"

#define LOAD_LEDGER      2
#define LOAD_SAMPLE_MAX  EVENTS_PER_BATCH_MAX
#define LOAD_AMOUNT_MEAN 10000

struct bench_load {
    const struct bench_options *options;
    struct prng prng;
    struct prng sample_prng;
    uint64_t account_time_ms;
    uint64_t transfers; /* Made so far. */
    u128 amounts;       /* Their sum. */
    u128 last_id;       /* If ordered. */

    /* Some transfers, spread evenly over options->transfers, to be asked for later. */
    struct transfer sample[LOAD_SAMPLE_MAX];
    uint32_t sample_count;
    uint64_t sample_next;
};

void bench_load_init(struct bench_load *load, const struct bench_options *options);

u128 bench_load_account_id(const struct bench_load *load, uint64_t number);

void bench_load_accounts(
    struct bench_load *load, struct account *accounts, uint64_t first, uint32_t count);

void bench_load_transfers(struct bench_load *load, struct transfer *transfers, uint32_t count);

#endif
