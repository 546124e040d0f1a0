/* SPDX-License-Identifier: PostgreSQL */
#define _GNU_SOURCE
#include "bench/engine_load.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/units.h"

/* A time-ordered id: 48 bits of milliseconds, then 80 random ones. */
#define ID_RANDOM_BITS_HIGH 16
#define ACCOUNTS_PER_MS     64

static uint64_t
realtime_ms(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / NS_PER_MS;
}

/* A permutation of the 64-bit numbers (the end of SplitMix64). */
static uint64_t
mix(uint64_t value)
{
    uint64_t z = value + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- Accounts -------------------------------------------------------------------------------- */

/* Random, or as if some had been made in each of the last milliseconds. */
u128
bench_load_account_id(const struct bench_load *load, uint64_t number)
{
    const uint64_t salted = number ^ mix(load->options->seed);
    if (!load->options->ids_ordered) return u128_make(mix(salted), mix(~salted) | 1);
    const uint64_t time_ms = load->account_time_ms + number / ACCOUNTS_PER_MS;
    const uint64_t place = number % ACCOUNTS_PER_MS;
    return u128_make(time_ms << ID_RANDOM_BITS_HIGH | place << 10, mix(salted));
}

static void
account_user_data(struct account *account, struct prng *prng)
{
    const uint64_t random = prng_next(prng);
    account->user_data_128 = u128_make(prng_next(prng), prng_next(prng));
    account->user_data_64 = prng_next(prng);
    account->user_data_32 = (uint32_t) random;
    account->code = (uint16_t) (1 + (random >> 32) % UINT16_MAX);
}

void
bench_load_accounts(
    struct bench_load *load, struct account *accounts, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        accounts[i] = (struct account){
            .id = bench_load_account_id(load, first + i),
            .ledger = LOAD_LEDGER,
            .code = 1,
            .flags = load->options->history ? ACCOUNT_HISTORY : 0,
        };
        if (load->options->user_data) account_user_data(&accounts[i], &load->prng);
    }
}

/* ---- Transfers ------------------------------------------------------------------------------- */

static u128
ordered_id(struct bench_load *load, uint64_t time_ms)
{
    const uint64_t random = prng_next(&load->prng);
    if (time_ms > u128_high(load->last_id) >> ID_RANDOM_BITS_HIGH) {
        /* The topmost random bit is left clear, so that a millisecond's ids don't run over. */
        const uint64_t high = prng_next(&load->prng) & 0x7fff;
        load->last_id = u128_make(time_ms << ID_RANDOM_BITS_HIGH | high, random);
    } else {
        load->last_id += 1 + random;
    }
    return load->last_id;
}

/* Exponential; at least 1. Random bits: those above 40. */
static uint64_t
amount_of(uint64_t random)
{
    const float uniform = ((float) (random >> 40) + 0.5F) * 0x1p-24F;
    return 1 + (uint64_t) (-logf(uniform) * (float) LOAD_AMOUNT_MEAN);
}

static void
transfer_user_data(struct transfer *transfer, struct prng *prng, uint64_t random)
{
    transfer->user_data_128 = u128_make(prng_next(prng), prng_next(prng));
    transfer->user_data_64 = prng_next(prng);
    transfer->user_data_32 = (uint32_t) prng_next(prng);
    transfer->code = (uint16_t) (1 + (random & 0xffffffff) % UINT16_MAX);
}

/* The next of the sample is drawn out of its own share of all transfers. */
static void
sample_draw(struct bench_load *load)
{
    const uint64_t total = load->options->transfers;
    const uint64_t count = min_u64(total, LOAD_SAMPLE_MAX);
    load->sample_next = UINT64_MAX;
    if (load->sample_count >= count) return;
    const uint64_t low = total * load->sample_count / count;
    const uint64_t high = total * (load->sample_count + 1) / count;
    load->sample_next = low + prng_below(&load->sample_prng, high - low);
}

static void
sample_take(struct bench_load *load, const struct transfer *transfer)
{
    load->sample[load->sample_count] = *transfer;
    load->sample_count += 1;
    sample_draw(load);
}

void
bench_load_transfers(struct bench_load *load, struct transfer *transfers, uint32_t count)
{
    struct prng *prng = &load->prng;
    const uint64_t accounts = load->options->accounts;
    const bool ordered = load->options->ids_ordered;
    const uint64_t time_ms = realtime_ms();
    for (uint32_t i = 0; i < count; i++) {
        struct transfer *transfer = &transfers[i];
        const uint64_t debit = prng_below(prng, accounts);
        const uint64_t other = prng_below(prng, accounts - 1);
        const uint64_t credit = other + (other >= debit);
        const uint64_t random = prng_next(prng);
        const uint64_t amount = amount_of(random);
        *transfer = (struct transfer){
            .id = ordered ? ordered_id(load, time_ms)
                          : u128_make(prng_next(prng), prng_next(prng)),
            .debit_account_id = bench_load_account_id(load, debit),
            .credit_account_id = bench_load_account_id(load, credit),
            .amount = amount,
            .ledger = LOAD_LEDGER,
            .code = 1,
        };
        if (load->options->user_data) transfer_user_data(transfer, prng, random);
        load->amounts += amount;
        if (load->transfers == load->sample_next) sample_take(load, transfer);
        load->transfers += 1;
    }
}

void
bench_load_init(struct bench_load *load, const struct bench_options *options)
{
    memset(load, 0, sizeof(*load));
    load->options = options;
    load->account_time_ms = realtime_ms() - options->accounts / ACCOUNTS_PER_MS - 1;
    prng_init(&load->prng, options->seed);
    prng_init(&load->sample_prng, ~options->seed);
    sample_draw(load);
}
