/* SPDX-License-Identifier: PostgreSQL */
/*
 * A tiny runner for unit tests.
 *
 *     UNIT_TEST(head_is_cut_when_torn) { expect(1 + 1 == 2); }
 *     UNIT_MAIN(test_journal)
 *
 * Each test registers itself; the binary runs all of them, or those whose name contains argv[1]. It
 * prints the failed expectations and ends with "<suite>: N passed, N failed". A failed assertion of
 * the code under test aborts after naming the test.
 */
#ifndef LEDGER_TEST_UNIT_UNIT_H
#define LEDGER_TEST_UNIT_UNIT_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void unit_function(void);

/* The test that runs, and how many expectations have failed so far. */
extern const char *unit_current;
extern int unit_expectations_failed;

void unit_register(const char *name, unit_function *function);

/* Runs the tests whose names contain argv[1], or all. */
int unit_main(const char *suite, int argc, char **argv);

#define UNIT_TEST(name)                                                                            \
    static void unit_##name(void);                                                                 \
    __attribute__((constructor)) static void unit_register_##name(void)                            \
    {                                                                                              \
        unit_register(#name, unit_##name);                                                         \
    }                                                                                              \
    static void unit_##name(void)

#define expect(expression)                                                                         \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            unit_expectations_failed += 1;                                                         \
            printf("%s:%d: %s: expected %s\n", __FILE__, __LINE__, unit_current, #expression);     \
        }                                                                                          \
    } while (0)

#define expect_equal(a, b)                                                                         \
    do {                                                                                           \
        const uint64_t unit_a = (uint64_t) (a), unit_b = (uint64_t) (b);                           \
        if (unit_a != unit_b) {                                                                    \
            unit_expectations_failed += 1;                                                         \
            printf(                                                                                \
                "%s:%d: %s: %s is %" PRIu64 ", expected %s = %" PRIu64 "\n", __FILE__, __LINE__,   \
                unit_current, #a, unit_a, #b, unit_b);                                             \
        }                                                                                          \
    } while (0)

#define UNIT_MAIN(suite)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return unit_main(#suite, argc, argv);                                                      \
    }

#endif
