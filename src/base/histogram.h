/* SPDX-License-Identifier: PostgreSQL */
/*
 * Counts values in buckets that grow with the value: four buckets for each power of two, so that a
 * percentile is known to within a quarter. The size is fixed. Two histograms are added bucket by
 * bucket.
 */
#ifndef LEDGER_BASE_HISTOGRAM_H
#define LEDGER_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 256

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

void histogram_add(struct histogram *histogram, uint64_t value);

/*
 * A value that `permille` of 1000 recorded values don't exceed: the upper edge of its bucket, but
 * at most max. 0 if the histogram is empty.
 */
uint64_t histogram_percentile(const struct histogram *histogram, uint32_t permille);

#endif
