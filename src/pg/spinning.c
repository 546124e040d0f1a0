/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/spinning.h"

#include <sched.h>
#include <time.h>

#include "storage/s_lock.h"

#include "base/units.h"

/* A yield that takes longer has let somebody else run. */
#define YIELD_ALONE_NS UINT64_C(4000)
/* After so many yields that found nobody, the processor is taken for free: */
#define YIELD_CALM 512
/* then it is offered only so often. Somebody who needs it waits no longer, and is found. */
#define YIELD_PAUSE_NS UINT64_C(100000)

uint64
spinning_now_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64) now.tv_sec * NS_PER_S + (uint64) now.tv_nsec;
}

bool
spinning_pays(const struct spinning *spinning)
{
    assert(spinning->slow <= SPINNING_SLOW_MAX);
    return spinning->slow < SPINNING_SLOW_MAX / 2;
}

void
spinning_learn(struct spinning *spinning, uint64 waited_ns, uint64 limit_ns)
{
    assert(spinning->slow <= SPINNING_SLOW_MAX);
    if (waited_ns <= limit_ns) {
        if (spinning->slow > 0) spinning->slow -= 1;
    } else if (spinning->slow < SPINNING_SLOW_MAX) {
        spinning->slow += 1;
    }
}

void
spinning_yield(struct spinning *spinning, uint64 now_ns)
{
    if (spinning->calm >= YIELD_CALM && now_ns - spinning->yielded_ns < YIELD_PAUSE_NS) {
        SPIN_DELAY();
        return;
    }
    (void) sched_yield();
    spinning->yielded_ns = spinning_now_ns();
    const bool alone = spinning->yielded_ns - now_ns < YIELD_ALONE_NS;
    spinning->calm = alone ? Min(spinning->calm + 1, YIELD_CALM) : 0;
}
