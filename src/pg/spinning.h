/* SPDX-License-Identifier: PostgreSQL */
/*
 * Looking for something again and again instead of sleeping, where that pays: to be woken takes a
 * good part of the time of a fast durable write, and nothing of a slow one.
 *
 * Waits are like those before them. So each tells how long it took, also if it was slept through;
 * and one does not spin while what is awaited usually takes longer than spinning may.
 *
 * In between, whoever spins yields its processor: others may need it, among them the kernel's part
 * of the write. But where nobody does, time after time, it yields only now and then.
 */
#ifndef LEDGER_PG_SPINNING_H
#define LEDGER_PG_SPINNING_H

#include "postgres.h"

struct spinning {
    uint32 slow; /* 0 to SPINNING_SLOW_MAX: whether waits of late took longer than spinning may. */
    uint32 calm; /* Yields in a row that found nobody else. */
    uint64 yielded_ns;
};

/* From half of it on, one sleeps at once. */
#define SPINNING_SLOW_MAX 4

/* Nanoseconds of the monotonic clock. */
uint64 spinning_now_ns(void);

bool spinning_pays(const struct spinning *spinning);

/* A wait has ended after so long; spinning may take so long. */
void spinning_learn(struct spinning *spinning, uint64 waited_ns, uint64 limit_ns);

/* Once in each round. */
void spinning_yield(struct spinning *spinning, uint64 now_ns);

#endif
