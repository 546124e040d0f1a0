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
 *    CHOICE_COUNTED of them, without the very longest: those were pauses of the disk, or nobody
 *    called. The first ones are not counted, since the kernel's scheduler takes some time to treat
 *    the thread otherwise: one that sleeps in each write as one that does not.
 *  - A *comparison* is a turn of the present way and a turn of the other. What counts is the median
 *    of the newest CHOICE_COMPARISONS: so one bad turn doesn't decide, nor a load that grows
 *    meanwhile. The first CHOICE_FIRST of them follow each other at once.
 *  - Between two comparisons all writes go the present way, CHOICE_REST_MIN of them. If it was
 *    clearly better, by more than 1 in CHOICE_CLEAR, then twice as many as the last time, up to
 *    CHOICE_REST_MAX. Where the ways are about as good, comparing often costs next to nothing; and
 *    it is needed, since many threads on few processors stay in good or bad rhythms for seconds.
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
#define CHOICE_LONGEST     2
#define CHOICE_SETTLING    32
#define CHOICE_TURN        (CHOICE_SETTLING + CHOICE_COUNTED)
#define CHOICE_TURN_MAX    (4 * CHOICE_TURN)
#define CHOICE_COMPARISONS 5
#define CHOICE_FIRST       3
#define CHOICE_REST_MIN    1024
#define CHOICE_REST_MAX    32768
#define CHOICE_MARGIN      32
#define CHOICE_CLEAR       8
#define CHOICE_LATENCIES   31
#define CHOICE_CALL_NS_MAX (2 * NS_PER_MS)

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
    uint32_t rest_last;  /* What it was at the end of the last comparison. */
    bool others_turn;    /* In the comparison. */
    uint32_t turn_taken; /* Number of the turn's writes until now. */
    uint32_t counted;    /* Number of intervals below. */
    struct choice_interval intervals[CHOICE_COUNTED];
    uint64_t present_cost; /* Of the present way's turn in this comparison. */

    /* What the newest comparisons said: the cost of calls in parts of the ring's. */
    uint64_t ratios[CHOICE_COMPARISONS];
    uint64_t ratios_count; /* Of all time: the place of the next one. */

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
