/* SPDX-License-Identifier: PostgreSQL */
/* See clock_os.h. */
#include "os/clock_os.h"

#include <time.h>

#include "base/assert.h"
#include "base/units.h"

static uint64_t
now_ns(clockid_t clock_id)
{
    struct timespec now;
    const int result = clock_gettime(clock_id, &now);
    assert(result == 0);
    assert(now.tv_sec >= 0);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

static uint64_t
os_realtime_ns(struct clock *clock)
{
    (void) clock;
    return now_ns(CLOCK_REALTIME);
}

static uint64_t
os_monotonic_ns(struct clock *clock)
{
    (void) clock;
    return now_ns(CLOCK_MONOTONIC);
}

static const struct clock_ops clock_os_ops = {
    .realtime_ns = os_realtime_ns,
    .monotonic_ns = os_monotonic_ns,
};

void
clock_os_init(struct clock *clock)
{
    clock->ops = &clock_os_ops;
}
