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
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

typedef void unit_function(void);

struct unit_test {
    const char *name;
    unit_function *function;
};

#define UNIT_TESTS_MAX 512

static struct unit_test unit_tests[UNIT_TESTS_MAX];
static int unit_test_count;
static const char *unit_current = "(none)";
static int unit_expectations_failed;

#define UNIT_TEST(name)                                                                            \
    static void unit_##name(void);                                                                 \
    __attribute__((constructor)) static void unit_register_##name(void)                            \
    {                                                                                              \
        unit_tests[unit_test_count++] = (struct unit_test){#name, unit_##name};                    \
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

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    fflush(stdout);
    fprintf(
        stderr, "%s:%d: assertion failed in test %s: %s\n", file, line, unit_current, expression);
    abort();
}

#define UNIT_MAIN(suite)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        int passed = 0, failed = 0;                                                                \
        for (int i = 0; i < unit_test_count; i++) {                                                \
            if (argc > 1 && strstr(unit_tests[i].name, argv[1]) == NULL) continue;                 \
            unit_current = unit_tests[i].name;                                                     \
            const int failed_before = unit_expectations_failed;                                    \
            unit_tests[i].function();                                                              \
            const bool ok = unit_expectations_failed == failed_before;                             \
            passed += ok;                                                                          \
            failed += !ok;                                                                         \
        }                                                                                          \
        printf(#suite ": %d passed, %d failed\n", passed, failed);                                 \
        return failed != 0 || passed == 0;                                                         \
    }

#endif
