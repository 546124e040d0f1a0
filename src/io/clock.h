/* SPDX-License-Identifier: PostgreSQL */
/*
 * Time as the engine sees it. Only the primary reads the real-time clock, to choose a prepare's
 * timestamp; everything that executes takes its time from the prepare.
 */
#ifndef LEDGER_IO_CLOCK_H
#define LEDGER_IO_CLOCK_H

#include <stdint.h>

struct clock;

struct clock_ops {
    uint64_t (*realtime_ns)(struct clock *clock);
    uint64_t (*monotonic_ns)(struct clock *clock);
};

/* First member of each implementation. */
struct clock {
    const struct clock_ops *ops;
};

/* Nanoseconds since the Unix epoch. It may jump, backwards too. */
static inline uint64_t
clock_realtime_ns(struct clock *clock)
{
    return clock->ops->realtime_ns(clock);
}

/*
 * Nanoseconds since some fixed moment. It never goes backwards. Only for durations: statistics and
 * waiting times.
 */
static inline uint64_t
clock_monotonic_ns(struct clock *clock)
{
    return clock->ops->monotonic_ns(clock);
}

#endif
