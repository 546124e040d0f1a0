/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which way solo writes go (io/storage.h): through the ring, or by plain calls of the thread that
 * would only wait for them. What is faster depends on what a wake-up costs and what the disk takes,
 * which differs between machines and changes with their load. So it is measured:
 *
 *  - The latency of each way is the median of its newest CHOICE_SAMPLES writes.
 *  - At first, both ways take turns until each has that many. Then one way is used, and once in
 *    CHOICE_PERIOD writes the other one for CHOICE_TRIAL writes, one after the other, so that they
 *    find what they would find if they were the rule. The first of these is not counted.
 *  - The other way is used from when it is faster by more than 1 in CHOICE_MARGIN.
 *  - Calls are used only while they take less than CHOICE_CALL_NS_MAX. What blocks longer than that
 *    would hold up reads that come meanwhile, and a wake-up no longer matters.
 *
 * No clock here: whoever writes says how long it took.
 */
#ifndef LEDGER_OS_STORAGE_CHOICE_H
#define LEDGER_OS_STORAGE_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/units.h"
#include "io/storage.h"

/* Larger writes take longer than what can be saved. Of each part of a pair. */
#define CHOICE_SIZE_MAX    (UINT64_C(16) * KIB)
#define CHOICE_SAMPLES     31
#define CHOICE_TRIAL       17
#define CHOICE_PERIOD      2048
#define CHOICE_MARGIN      32
#define CHOICE_CALL_NS_MAX (2 * NS_PER_MS)

struct storage_choice {
    struct storage_solo_stats *stats; /* The storage's, which this keeps. */
    bool fixed;                       /* There is only the way that it began with. */
    uint32_t taken; /* Number of writes that were given a way since the last change or trial. */
    enum storage_way newest;                /* The way of the newest write. */
    bool newest_begins;                     /* The one before it went the other way. */
    uint64_t samples_ns[STORAGE_WAY_COUNT][CHOICE_SAMPLES];
    uint64_t samples_count[STORAGE_WAY_COUNT]; /* Of all time: the place of the next one. */
};

/* fixed: there is only this way. Otherwise it is the one of the first write. */
void storage_choice_init(
    struct storage_choice *choice,
    struct storage_solo_stats *stats,
    enum storage_way way,
    bool fixed);

/* Does a request that was just counted as in flight count as a solo write? */
bool storage_choice_takes(const struct storage *storage, const struct storage_request *request);

/* Which way the next solo write goes. */
enum storage_way storage_choice_next(struct storage_choice *choice);

/*
 * The newest solo write has succeeded, the way that it was given, and nothing else went on
 * meanwhile. Not called for others.
 */
void storage_choice_measured(struct storage_choice *choice, uint64_t latency_ns);

#endif
