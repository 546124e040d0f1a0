/* SPDX-License-Identifier: PostgreSQL */
/*
 * Fuzzers of everything that decodes bytes. Each is a function of a PRNG: one seed, one run. What
 * it finds wrong it asserts; the runner (main.c) then prints how to run it again.
 */
#ifndef LEDGER_TEST_FUZZ_FUZZ_H
#define LEDGER_TEST_FUZZ_FUZZ_H

#include <stdint.h>

#include "base/prng.h"

/* A new fuzzer: a line here, and fuzz_<name>.c. */
#define FUZZ_TARGETS(TARGET)                                                                       \
    TARGET(journal)                                                                                \
    TARGET(superblock)                                                                             \
    TARGET(block)                                                                                  \
    TARGET(forest)                                                                                 \
    TARGET(requests)                                                                               \
    TARGET(message)

typedef void fuzz_function(struct prng *prng, uint64_t rounds);

#define FUZZ_DECLARE(name) void fuzz_##name(struct prng *prng, uint64_t rounds);
FUZZ_TARGETS(FUZZ_DECLARE)
#undef FUZZ_DECLARE

struct fuzz_target {
    const char *name;
    fuzz_function *function;
};

#endif
