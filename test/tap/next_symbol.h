/* SPDX-License-Identifier: PostgreSQL */
/* For libraries that are preloaded: the function of this name that they stand in for. */
#ifndef LEDGER_TEST_TAP_NEXT_SYMBOL_H
#define LEDGER_TEST_TAP_NEXT_SYMBOL_H

#include <dlfcn.h>
#include <stdlib.h>

static void *
next_symbol(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) abort();
    return symbol;
}

#endif
