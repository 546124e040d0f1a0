/* SPDX-License-Identifier: PostgreSQL */
/*
 * For LD_PRELOAD: real time is so many seconds ahead as CLOCK_AHEAD says. PostgreSQL itself asks
 * gettimeofday, and keeps the right time.
 */
#define _GNU_SOURCE 1

#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
clock_gettime(clockid_t clock_id, struct timespec *now)
{
    const int result = (int) syscall(SYS_clock_gettime, clock_id, now);
    const char *ahead = getenv("CLOCK_AHEAD");
    if (clock_id == CLOCK_REALTIME && ahead != NULL) now->tv_sec += atol(ahead);
    return result;
}
