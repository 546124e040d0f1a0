/* SPDX-License-Identifier: PostgreSQL */
/*
 * Assertions that are always on, in production too.
 *
 * A failed assertion is a bug in this program, never bad input or a broken disk. assert_failed() is
 * supplied at link time by whoever hosts the core: the Postgres worker logs the expression and ends
 * itself, tests print their seed and abort. It never returns.
 */
#ifndef LEDGER_BASE_ASSERT_H
#define LEDGER_BASE_ASSERT_H

_Noreturn void assert_failed(const char *expression, const char *file, int line);

#define assert(expression)                                                                         \
    (__builtin_expect(!!(expression), 1) ? (void) 0                                                \
                                         : assert_failed(#expression, __FILE__, __LINE__))

#define unreachable() assert_failed("unreachable", __FILE__, __LINE__)

#ifndef static_assert
#define static_assert _Static_assert
#endif

#endif
