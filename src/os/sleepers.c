/* SPDX-License-Identifier: PostgreSQL */
/* See sleepers.h. */
#include "os/sleepers.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/units.h"

#define PLACES_PER_ROW 32

static_assert(sizeof(struct sleeper_row) == SLEEPERS_ALIGNMENT, "rows don't share cache lines");

static uint32_t
rows_for(uint32_t count)
{
    return count / PLACES_PER_ROW + 1;
}

size_t
sleepers_size(uint32_t count)
{
    return sizeof(struct sleepers) + rows_for(count) * sizeof(struct sleeper_row);
}

void
sleepers_init(struct sleepers *sleepers, uint32_t count)
{
    assert((uintptr_t) sleepers % SLEEPERS_ALIGNMENT == 0);
    memset(sleepers, 0, sleepers_size(count));
    sleepers->row_count = rows_for(count);
}

/* ---- Sleepers -------------------------------------------------------------------------------- */

/* The first free one (Q2). There is one, but not always where it was looked for just then. */
static uint32_t
place_take(struct sleepers *sleepers)
{
    for (uint32_t number = 0;; number = (number + 1) % sleepers->row_count) {
        struct sleeper_row *row = &sleepers->rows[number];
        uint32_t taken = __atomic_load_n(&row->taken, __ATOMIC_RELAXED);
        while (taken != UINT32_MAX) {
            const uint32_t bit = (uint32_t) __builtin_ctz(~taken);
            const uint32_t with = taken | UINT32_C(1) << bit;
            if (__atomic_compare_exchange_n(
                    &row->taken, &taken, with, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
                return number * PLACES_PER_ROW + bit;
            }
        }
    }
}

/* The kernel wants the time of the end, not how long. */
static struct timespec
time_in(uint32_t milliseconds)
{
    struct timespec end;
    const int result = clock_gettime(CLOCK_MONOTONIC, &end);
    assert(result == 0);
    const uint64_t nanoseconds = (uint64_t) end.tv_nsec + milliseconds * NS_PER_MS;
    end.tv_sec += (time_t) (nanoseconds / NS_PER_S);
    end.tv_nsec = (long) (nanoseconds % NS_PER_S);
    return end;
}

static enum sleep_end
futex_wait(const uint32_t *word, uint32_t value, uint32_t mask, const struct timespec *end)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, end, NULL, mask) == 0) {
        return SLEEP_WOKEN;
    }
    switch (errno) {
    case EINTR: return SLEEP_INTERRUPTED;
    case ETIMEDOUT: return SLEEP_TIMED_OUT;
    default: return SLEEP_WOKEN; /* EAGAIN: somebody was woken just now, perhaps this one. */
    }
}

enum sleep_end
sleepers_sleep(
    struct sleepers *sleepers,
    struct sleeper *self,
    const volatile uint32_t *word,
    uint32_t value,
    uint32_t milliseconds)
{
    assert(self->place == 0);
    const uint32_t place = place_take(sleepers);
    struct sleeper_row *row = &sleepers->rows[place / PLACES_PER_ROW];
    const uint32_t mask = UINT32_C(1) << place % PLACES_PER_ROW;
    const struct timespec end = time_in(milliseconds); /* (Q3) */
    enum sleep_end how = SLEEP_WOKEN;
    /* (Q1): turns, place, word. */
    const uint32_t turns = __atomic_load_n(&row->turns, __ATOMIC_SEQ_CST);
    __atomic_store_n(&self->place, place + 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
        how = futex_wait(&row->turns, turns, mask, &end);
        const bool in_vain = how == SLEEP_WOKEN && __atomic_load_n(word, __ATOMIC_SEQ_CST) != value;
        if (in_vain) (void) __atomic_add_fetch(&sleepers->stats.in_vain, 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&self->place, 0, __ATOMIC_SEQ_CST);
    (void) __atomic_and_fetch(&row->taken, ~mask, __ATOMIC_SEQ_CST);
    return how;
}

/* ---- The waker ------------------------------------------------------------------------------- */

void
sleepers_call(struct sleepers *sleepers, const struct sleeper *sleeper)
{
    /* (Q1): the caller has stored the word. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    const uint32_t place_next = __atomic_load_n(&sleeper->place, __ATOMIC_SEQ_CST);
    if (place_next == 0) return;
    const uint32_t number = (place_next - 1) / PLACES_PER_ROW;
    assert(number < sleepers->row_count);
    sleepers->rows[number].due |= UINT32_C(1) << (place_next - 1) % PLACES_PER_ROW;
    if (number >= sleepers->rows_due) sleepers->rows_due = number + 1;
}

void
sleepers_wake(struct sleepers *sleepers)
{
    assert(sleepers->rows_due <= sleepers->row_count);
    for (uint32_t number = 0; number < sleepers->rows_due; number++) {
        struct sleeper_row *row = &sleepers->rows[number];
        /* Some may have got up by themselves. */
        const uint32_t due = row->due & __atomic_load_n(&row->taken, __ATOMIC_SEQ_CST);
        row->due = 0;
        if (due == 0) continue;
        (void) __atomic_add_fetch(&row->turns, 1, __ATOMIC_SEQ_CST); /* (Q1) */
        const long woken =
            syscall(SYS_futex, &row->turns, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, due);
        assert(woken >= 0);
        (void) __atomic_add_fetch(&sleepers->stats.wakes, 1, __ATOMIC_RELAXED);
        (void) __atomic_add_fetch(&sleepers->stats.woken, (uint64_t) woken, __ATOMIC_RELAXED);
    }
    sleepers->rows_due = 0;
}

struct sleepers_stats
sleepers_stats(const struct sleepers *sleepers)
{
    return (struct sleepers_stats){
        .wakes = __atomic_load_n(&sleepers->stats.wakes, __ATOMIC_RELAXED),
        .woken = __atomic_load_n(&sleepers->stats.woken, __ATOMIC_RELAXED),
        .in_vain = __atomic_load_n(&sleepers->stats.in_vain, __ATOMIC_RELAXED),
    };
}
