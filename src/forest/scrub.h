/* SPDX-License-Identifier: PostgreSQL */
/*
 * The scrubber makes tours (forest/tour.h) without end, one read at a time, at the pace that its
 * owner allows. So damage that nobody has met yet is found while its cause is fresh and a backup
 * still exists.
 *
 * It remembers damaged blocks. A block is reported once, however many tours pass it, and forgotten
 * when a tour finds it whole or doesn't meet it any more.
 */
#ifndef LEDGER_FOREST_SCRUB_H
#define LEDGER_FOREST_SCRUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "forest/tour.h"

/*
 * How many damaged blocks are remembered. If there are more, whole stretches of the file are gone.
 */
#define SCRUB_DAMAGED_MAX 64

/* The most blocks that can be due. A scrubber that was held up doesn't hurry afterwards. */
#define SCRUB_DUE_MAX 256

struct scrub_damaged {
    struct tour_damage damage;
    uint64_t tour; /* The tour that found it last. */
};

struct scrub {
    struct tour tour;
    uint64_t due;    /* How many blocks it may read now. */
    uint64_t blocks; /* How many blocks it has read since the start. */
    uint64_t tours;  /* How many tours are complete. */
    uint32_t damaged_count;
    uint32_t told; /* How many of `damaged`, counted from the first, were reported. */
    struct scrub_damaged damaged[SCRUB_DAMAGED_MAX];
};

/* The arena may be one that only measures. */
void scrub_init(struct scrub *scrub, struct arena *arena, struct forest *forest);
void scrub_open(struct scrub *scrub);

/* Allows block_count more blocks to be read. */
void forest_scrub_allow(struct forest *forest, uint64_t block_count);

/* Does what can be done now. Returns true if something was done. */
bool forest_scrub_work(struct forest *forest);

/* Gives a damaged block that wasn't reported yet. Returns false if there is none. */
bool forest_scrub_tell(struct forest *forest, struct tour_damage *damage);

/* Is this block known to be damaged? */
bool forest_scrub_knows(const struct forest *forest, uint64_t address);

struct forest_scrub_stats {
    uint64_t blocks;       /* Number of blocks that were read since the start. */
    uint64_t tours;        /* Number of tours that were completed since the start. */
    uint64_t tour_blocks;  /* Number of blocks that the current tour has read. */
    uint64_t blocks_total; /* Number of live blocks. */
    uint64_t damaged;      /* Number of blocks that are known to be damaged now. */
};

void forest_scrub_stats_get(const struct forest *forest, struct forest_scrub_stats *stats);

#endif
