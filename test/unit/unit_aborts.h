/* SPDX-License-Identifier: PostgreSQL */
/* Testing that an assertion is there. */
#ifndef LEDGER_TEST_UNIT_UNIT_ABORTS_H
#define LEDGER_TEST_UNIT_UNIT_ABORTS_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/* True if the body aborts: in a child process, which is silent. */
static inline bool
aborts(void (*body)(void))
{
    (void) fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        (void) freopen("/dev/null", "w", stderr);
        body();
        _exit(0);
    }
    int status = 0;
    const pid_t waited = waitpid(child, &status, 0);
    assert(waited == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#endif
