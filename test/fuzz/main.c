/* SPDX-License-Identifier: PostgreSQL */
/*
 * Runs fuzzers.
 *
 *     fuzz                        all, FUZZ_SECONDS each
 *     fuzz NAME [SEED [ROUNDS]]   one
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/units.h"
#include "fuzz.h"

#define FUZZ_SECONDS        2
#define FUZZ_ROUNDS_DEFAULT 1000
#define FUZZ_ROUNDS_BATCH   50

#define FUZZ_ENTRY(name) {#name, fuzz_##name},
static const struct fuzz_target targets[] = {FUZZ_TARGETS(FUZZ_ENTRY)};
#undef FUZZ_ENTRY

static const char *current_name = "(none)";
static uint64_t current_seed;
static uint64_t current_rounds;

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    (void) fflush(stdout);
    (void) fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    (void) fprintf(
        stderr,
        "again: fuzz %s %" PRIu64 " %" PRIu64 "\n",
        current_name,
        current_seed,
        current_rounds);
    abort();
}

static void
run(const struct fuzz_target *target, uint64_t seed, uint64_t rounds)
{
    current_name = target->name;
    current_seed = seed;
    current_rounds = rounds;
    struct prng prng;
    prng_init(&prng, seed);
    target->function(&prng, rounds);
}

static void
run_for_a_while(const struct fuzz_target *target)
{
    const time_t end = time(NULL) + FUZZ_SECONDS;
    uint64_t seed = 0;
    do {
        seed += 1;
        run(target, seed, FUZZ_ROUNDS_BATCH);
    } while (time(NULL) < end);
    printf("fuzz %s: %" PRIu64 " rounds\n", target->name, seed * FUZZ_ROUNDS_BATCH);
}

int
main(int argc, char **argv)
{
    if (argc == 1) {
        for (uint64_t i = 0; i < ARRAY_COUNT(targets); i++) {
            run_for_a_while(&targets[i]);
        }
        printf("fuzz: %" PRIu64 " passed, 0 failed\n", (uint64_t) ARRAY_COUNT(targets));
        return 0;
    }
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const uint64_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : FUZZ_ROUNDS_DEFAULT;
    for (uint64_t i = 0; i < ARRAY_COUNT(targets); i++) {
        if (strcmp(targets[i].name, argv[1]) != 0) continue;
        run(&targets[i], seed, rounds);
        printf("fuzz %s: %" PRIu64 " rounds\n", argv[1], rounds);
        return 0;
    }
    (void) fprintf(stderr, "no such fuzzer: %s\n", argv[1]);
    return 2;
}
