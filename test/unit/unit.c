/* SPDX-License-Identifier: PostgreSQL */
/* See unit.h. */
#include "unit/unit.h"

#include <stdbool.h>

#include "base/assert.h"

#define UNIT_TESTS_MAX 512

struct unit_test {
    const char *name;
    unit_function *function;
};

static struct unit_test unit_tests[UNIT_TESTS_MAX];
static int unit_test_count;

const char *unit_current = "(none)";
int unit_expectations_failed;

void
unit_register(const char *name, unit_function *function)
{
    assert(unit_test_count < UNIT_TESTS_MAX);
    unit_tests[unit_test_count] = (struct unit_test){.name = name, .function = function};
    unit_test_count += 1;
}

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    fflush(stdout);
    fprintf(
        stderr, "%s:%d: assertion failed in test %s: %s\n", file, line, unit_current, expression);
    abort();
}

int
unit_main(const char *suite, int argc, char **argv)
{
    int passed = 0;
    int failed = 0;
    for (int i = 0; i < unit_test_count; i++) {
        if (argc > 1 && strstr(unit_tests[i].name, argv[1]) == NULL) continue;
        unit_current = unit_tests[i].name;
        const int failed_before = unit_expectations_failed;
        unit_tests[i].function();
        const bool ok = unit_expectations_failed == failed_before;
        passed += ok;
        failed += !ok;
    }
    printf("%s: %d passed, %d failed\n", suite, passed, failed);
    return failed != 0 || passed == 0;
}
