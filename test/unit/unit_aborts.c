/* SPDX-License-Identifier: PostgreSQL */
/* See unit_aborts.h. */
#include "unit/unit_aborts.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

bool
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
