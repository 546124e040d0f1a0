/* SPDX-License-Identifier: PostgreSQL */
/*
 * Random batches and reads: the ledger and the model must give the same bytes.
 *
 *     test_ledger_random [seeds [batches [first seed]]]
 *
 * One seed is one ledger with its own mixture of the workload. In its default length the run must
 * also have met every status there is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "model/workload.h"
#include "unit/ledger_fixture.h"

#define SEEDS_DEFAULT   300
#define BATCHES_DEFAULT 200
#define STATUSES_MAX    80

struct seen {
    uint64_t created;
    uint64_t events;
    uint64_t expired;
    uint64_t rows;
    uint64_t accounts[STATUSES_MAX];
    uint64_t transfers[STATUSES_MAX];
};

/* Where the run is, for whoever fails. */
static uint64_t seed_now;
static uint32_t batch_now;

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    fflush(stdout);
    fprintf(
        stderr,
        "%s:%d: assertion failed in seed %" PRIu64 ", batch %" PRIu32 ": %s\n",
        file,
        line,
        seed_now,
        batch_now,
        expression);
    abort();
}

static void
seen_add(struct seen *seen, uint8_t operation, const struct create_result *results, uint32_t count)
{
    seen->events += count;
    for (uint32_t i = 0; i < count; i++) {
        if (results[i].status == STATUS_CREATED) {
            seen->created += 1;
        } else if (operation == LEDGER_CREATE_ACCOUNTS) {
            assert(results[i].status < STATUSES_MAX);
            seen->accounts[results[i].status] += 1;
        } else {
            assert(results[i].status < STATUSES_MAX);
            seen->transfers[results[i].status] += 1;
        }
    }
}

/* Mostly a moment. Sometimes long enough for timeouts, or to the nanosecond of one. */
static uint64_t
duration(const struct ledger_fixture *fixture, struct prng *prng)
{
    const struct model *model = &fixture->model;
    const uint64_t now = fixture->timestamp;
    switch (prng_below(prng, 8)) {
    case 0: return prng_range(prng, 1, 3 * NS_PER_S);
    case 1: return NS_PER_S - prng_below(prng, 20); /* So that some expire at the same time. */
    case 2: return 0;
    case 3: {
        if (model->transfer_ids.count == 0) return 0;
        const uint32_t index = (uint32_t) prng_below(prng, model->transfer_ids.count);
        const uint64_t expires_at = model_expires_at(model, index);
        if (expires_at < now + 100 || expires_at > now + 10 * NS_PER_S) return 0;
        const uint64_t until = expires_at - now - prng_below(prng, 3);
        return prng_chance(prng, 1, 2) ? until : until - PULSE_EXPIRIES_MAX;
    }
    default: return prng_range(prng, 1, 1000);
    }
}

static void
step(
    struct ledger_fixture *fixture, struct workload *workload, struct prng *prng, struct seen *seen)
{
    static uint8_t events[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    static uint8_t input[WORKLOAD_READ_SIZE_MAX] __attribute__((aligned(16)));
    static uint8_t reply[FIXTURE_REPLY_SIZE_MAX] __attribute__((aligned(16)));
    struct create_result results[EVENTS_PER_BATCH_MAX];
    uint8_t operation = 0;
    uint32_t count = 0;

    ledger_fixture_advance(fixture, duration(fixture, prng));
    if (prng_chance(prng, 3, 4)) seen->expired += ledger_fixture_pulse(fixture);
    workload_next_batch(
        workload, &fixture->model, fixture->timestamp + 1, &operation, events, &count);
    ledger_fixture_create(fixture, operation, events, count, results);
    seen_add(seen, operation, results, count);

    const uint32_t account_count = fixture->model.account_ids.count;
    (void) ledger_fixture_read(
        fixture,
        LEDGER_LOOKUP_ACCOUNTS,
        fixture->model.account_ids.ids,
        (account_count < RESULTS_MAX ? account_count : RESULTS_MAX) * (uint32_t) sizeof(u128),
        reply);
    if (prng_chance(prng, 1, 10)) {
        fixture->reply_size_max = (uint32_t) prng_below(prng, FIXTURE_REPLY_SIZE_MAX);
    }
    const uint32_t size = workload_next_read(workload, &fixture->model, &operation, input);
    seen->rows += ledger_fixture_read(fixture, operation, input, size, reply) / EVENT_SIZE;
    fixture->reply_size_max = FIXTURE_REPLY_SIZE_MAX;
    if (prng_chance(prng, 1, 100)) ledger_fixture_reopen(fixture);
}

/* False if ledger and model differ. */
static bool
run_seed(uint64_t seed, uint32_t batches, struct seen *seen)
{
    const struct ledger_fixture_options options = {
        .accounts_max = EVENTS_PER_BATCH_MAX * batches,
        .transfers_max = EVENTS_PER_BATCH_MAX * batches,
        .memory_bytes = (batches + 2) * EVENTS_PER_BATCH_MAX * KIB,
    };
    struct prng prng;
    struct workload workload;
    static struct ledger_fixture fixture;
    prng_init(&prng, seed);
    const struct workload_options workload_options = workload_options_random(&prng);
    workload_init(&workload, &prng, &workload_options);
    ledger_fixture_init(&fixture, &options);
    /* So late that the longest timeouts end after time does. */
    if (prng_chance(&prng, 1, 4)) ledger_fixture_advance(&fixture, 4928403742 * NS_PER_S);

    seed_now = seed;
    for (batch_now = 0; batch_now < batches && fixture.mismatches == 0; batch_now++) {
        step(&fixture, &workload, &prng, seen);
        if (batch_now % 50 == 0) model_check_invariants(&fixture.model);
    }
    if (fixture.mismatches == 0) ledger_fixture_compare(&fixture);
    if (fixture.mismatches > 0) printf("seed %" PRIu64 ", batch %" PRIu32 "\n", seed, batch_now);
    const bool same = fixture.mismatches == 0;
    ledger_fixture_free(&fixture);
    return same;
}

/* Statuses that never came. */
static int
seen_missing(const struct seen *seen)
{
    int missing = 0;
#define X(name, code)                                                                              \
    if (seen->accounts[code] == 0) missing += printf("account status %s never came\n", #name) > 0;
    CREATE_ACCOUNT_STATUS_LIST(X)
#undef X
#define X(name, code)                                                                              \
    if (seen->transfers[code] == 0) missing += printf("transfer status %s never came\n", #name) > 0;
    CREATE_TRANSFER_STATUS_LIST(X)
#undef X
    return missing;
}

int
main(int argc, char **argv)
{
    const uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : SEEDS_DEFAULT;
    const uint32_t batches = argc > 2 ? (uint32_t) strtoul(argv[2], NULL, 10) : BATCHES_DEFAULT;
    const uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    static struct seen seen;
    int passed = 0;
    int failed = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        if (run_seed(seed, batches, &seen)) {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    if (argc == 1) {
        const bool complete = seen_missing(&seen) == 0;
        passed += complete;
        failed += !complete;
    }
    printf(
        "events %" PRIu64 ", created %" PRIu64 ", pulses %" PRIu64 ", rows read %" PRIu64 "\n",
        seen.events,
        seen.created,
        seen.expired,
        seen.rows);
    printf("test_ledger_random: %d passed, %d failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
