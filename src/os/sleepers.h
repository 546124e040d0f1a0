/* SPDX-License-Identifier: PostgreSQL */
/*
 * Processes that sleep until another one, the waker, has done something for each of them. The waker
 * wakes all whose turn has come with one call of the kernel, up to 32 of them. In shared memory;
 * indexes only, no pointers.
 *
 *     sleepers_sleep    a sleeper: until a word has a value, a signal comes, or the time is up
 *     sleepers_call     the waker, after it changed that word: this one is to be woken
 *     sleepers_wake     the waker: wakes all that were called since
 *
 * A *place* is where one process sleeps: a bit of a *row*. All who sleep in a row wait for one
 * futex, the row's `turns`, each with its bit for a mask (FUTEX_WAIT_BITSET; every Linux has it).
 * So one call of the kernel wakes any set of them, and no other. A sleeper takes the first free
 * place for each sleep. So 20 sleepers are in one row whoever they are, and to wake 300 takes ten
 * calls. Nobody is called who doesn't sleep: who spins for its answer costs the waker nothing.
 *
 * Numbered invariants:
 *  (Q1) No wake-up is lost: who sleeps on when its word has the value is woken. A sleeper reads
 *       `turns`, then stores its place, then loads the word. The waker stores the word, then loads
 *       the place. Between store and load both have a full barrier, so one sees what the other did
 *       (Dekker): the sleeper sees the value and doesn't sleep, or the waker sees the place. Then
 *       it increments `turns`, which the sleeper has read before, and only then wakes: the kernel
 *       finds the sleeper in its queue, or doesn't let it in, because `turns` has changed.
 *  (Q2) A place has one owner at a time, from before it reads `turns` until it is up again. So who
 *       is woken without need is one who took a place just after its last owner was called, but had
 *       got up by itself. Each such getting up (a signal, the time, a word that changed between the
 *       two steps of the waker) wakes one other at most. And who is just lying down when its row's
 *       `turns` change gets up again before it slept. Both are counted.
 *  (Q3) A sleep lasts no longer than its time. Wrong bookkeeping could make it too long, not
 *       endless; and 2^32 wake-ups of a row between two instructions of a sleeper do no more.
 *
 * A sleeper that is killed between these steps keeps its place for ever. That is for those who
 * share this memory to repair, by making it new; a server does that when one of its processes is
 * killed. Where sleepers_init was told the number of processes, there is always a free place.
 */
#ifndef LEDGER_OS_SLEEPERS_H
#define LEDGER_OS_SLEEPERS_H

#include <stddef.h>
#include <stdint.h>

#define SLEEPERS_ALIGNMENT 128

struct sleeper_row {
    uint32_t taken; /* A bit for each place. */
    uint32_t turns; /* The futex: how many times somebody in this row was woken. */
    uint32_t due;   /* The waker's: who was called. */
} __attribute__((aligned(SLEEPERS_ALIGNMENT)));

/* Each number is written by one side only, and may be read by anybody. */
struct sleepers_stats {
    uint64_t wakes;   /* By the waker: calls of the kernel. */
    uint64_t woken;   /* By the waker: processes that the kernel says it woke. */
    uint64_t in_vain; /* By sleepers: ends of a sleep before anything had happened (Q2). */
};

struct sleepers {
    uint32_t row_count;
    uint32_t rows_due; /* The waker's: the rows below may have somebody to wake. */
    struct sleepers_stats stats;
    struct sleeper_row rows[];
};

/* What may sleep: one for each, beside the word that it waits for. Zero at the start. */
struct sleeper {
    uint32_t place; /* The place's number + 1; 0: it doesn't sleep. */
};

enum sleep_end {
    SLEEP_WOKEN, /* Or not begun. The word is to be looked at. */
    SLEEP_INTERRUPTED,
    SLEEP_TIMED_OUT,
};

/* For so many processes. Memory: aligned to SLEEPERS_ALIGNMENT, and a multiple of it. */
size_t sleepers_size(uint32_t count);
void sleepers_init(struct sleepers *sleepers, uint32_t count);

/* Sleeps until *word is `value`. It may end earlier, so the caller looks again. */
enum sleep_end sleepers_sleep(
    struct sleepers *sleepers,
    struct sleeper *self,
    const volatile uint32_t *word,
    uint32_t value,
    uint32_t milliseconds);

/* After the word of this sleeper has got its value. */
void sleepers_call(struct sleepers *sleepers, const struct sleeper *sleeper);

void sleepers_wake(struct sleepers *sleepers);

/* A copy of the numbers. */
struct sleepers_stats sleepers_stats(const struct sleepers *sleepers);

#endif
