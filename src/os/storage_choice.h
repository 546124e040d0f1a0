/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which way solo writes go (io/storage.h): through the ring, or by plain calls of the thread that
 * would only wait for them. What is faster depends on what a wake-up costs, what the disk takes and
 * who else needs the processors, which differs between machines and changes with their load. So it
 * is tried out:
 *
 *  - What counts is how much is done, not how long a write takes: a way that keeps a processor
 *    busy may write as fast, and delay those who will bring the next write. So the *cost* of a way
 *    is the time from each write to the next, by the events that were written.
 *  - A *turn* is CHOICE_TURN writes that go the same way, and its cost is that of the last
 *    CHOICE_COUNTED of them, without the longest: those were pauses, of the disk, of the callers,
 *    or for want of a processor. The first ones are not counted, since the kernel's scheduler takes
 *    some time to treat the thread otherwise: one that sleeps in each write as one that does not.
 *  - At first, and again after CHOICE_PERIOD writes, the two ways are compared, by turns: the
 *    present one, the other, and so on, CHOICE_TURNS in all. The cost of a way is the median of its
 *    turns. So neither a load that grows meanwhile nor one bad turn decides.
 *  - If other reads and writes come in between so often that a turn would take more than
 *    CHOICE_TURN_MAX writes, the comparison is given up.
 *  - The other way is used from when it was better by more than 1 in CHOICE_MARGIN.
 *  - Calls are used only while they take less than CHOICE_CALL_NS_MAX: that is the median of
 *    CHOICE_LATENCIES of them. What blocks longer than that would hold up reads that come
 *    meanwhile, and a wake-up no longer matters.
 *
 * No clock here: whoever writes says what time it is.
 */
#ifndef LEDGER_OS_STORAGE_CHOICE_H
#define LEDGER_OS_STORAGE_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/units.h"
#include "io/storage.h"

/* Larger writes take longer than what can be saved. Of each part of a pair. */
#define CHOICE_SIZE_MAX    (UINT64_C(16) * KIB)
#define CHOICE_COUNTED     64
#define CHOICE_LONGEST     16
#define CHOICE_SETTLING    32
#define CHOICE_TURN        (CHOICE_SETTLING + CHOICE_COUNTED)
#define CHOICE_TURN_MAX    (4 * CHOICE_TURN)
#define CHOICE_PERIOD      24576
#define CHOICE_MARGIN      32
#define CHOICE_LATENCIES   31
#define CHOICE_CALL_NS_MAX (2 * NS_PER_MS)

/* Turns of one comparison: of the present way those with even numbers, of the other way the odd. */
#define CHOICE_TURNS 7

/* From one write to the next. */
struct choice_interval {
    uint64_t ns;
    uint32_t events;
};

struct storage_choice {
    struct storage_solo_stats *stats; /* The storage's, which this keeps. */
    bool fixed;                       /* There is only the way that it began with. */
    enum storage_way newest; /* The way of the newest write. */
    uint32_t newest_events;
    uint64_t newest_ns;  /* When it was submitted; 0: the interval behind it doesn't count. */
    uint32_t rest;       /* Writes until the next comparison; 0: one is under way. */
    uint32_t turn;       /* The turn of the comparison. */
    uint32_t turn_taken; /* Number of its writes until now. */
    uint32_t counted;    /* Number of intervals below. */
    struct choice_interval intervals[CHOICE_COUNTED];
    uint64_t costs[CHOICE_TURNS]; /* Of the turns that have ended. */

    /* How long the newest calls, and the newest writes through the ring, took. */
    uint64_t latencies_ns[STORAGE_WAY_COUNT][CHOICE_LATENCIES];
    uint64_t latencies_count[STORAGE_WAY_COUNT]; /* Of all time: the place of the next one. */
};

/* fixed: there is only this way. Otherwise it is the one of the first write. */
void storage_choice_init(
    struct storage_choice *choice,
    struct storage_solo_stats *stats,
    enum storage_way way,
    bool fixed);

/* Does a request that was just counted as in flight count as a solo write? */
bool storage_choice_takes(const struct storage *storage, const struct storage_request *request);

/* Which way the next solo write goes, which is submitted now and is of so many events. */
enum storage_way
storage_choice_next(struct storage_choice *choice, uint64_t now_ns, uint32_t events);

/* Something else is submitted. The interval from the newest solo write to the next says nothing. */
void storage_choice_interrupt(struct storage_choice *choice);

/*
 * The newest solo write has succeeded, the way that it was given, and nothing else went on
 * meanwhile. Not called for others.
 */
void storage_choice_measured(struct storage_choice *choice, uint64_t latency_ns);

#endif
