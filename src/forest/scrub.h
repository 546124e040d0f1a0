/* SPDX-License-Identifier: PostgreSQL */
/*
 * The scrubber: tours (forest/tour.h) without end, at the pace that its owner gives, one read
 * at a time. Damage that nobody has met yet is found while its cause is fresh and a backup is at
 * hand.
 *
 * It remembers the damaged blocks: a block is told of once, however often tours come by, and
 * forgotten when a tour finds it whole or doesn't find it.
 */
#ifndef LEDGER_FOREST_SCRUB_H
#define LEDGER_FOREST_SCRUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "forest/tour.h"

/* Damaged blocks that are remembered. With more, whole parts of the file are gone. */
#define SCRUB_DAMAGED_MAX 64

/* At most so many blocks can be due: a scrubber that was held up doesn't hurry afterwards. */
#define SCRUB_DUE_MAX 256

struct scrub_damaged {
    struct tour_damage damage;
    uint64_t tour; /* Which found it last. */
};

struct scrub {
    struct tour tour;
    uint64_t due;    /* Blocks that it may read. */
    uint64_t blocks; /* That it has read since start. */
    uint64_t tours;  /* That are complete. */
    uint32_t damaged_count;
    uint32_t told; /* How many of `damaged`, from the first one on, were told. */
    struct scrub_damaged damaged[SCRUB_DAMAGED_MAX];
};

/* NULL memory while measuring. */
void scrub_init(struct scrub *scrub, struct arena *arena, struct forest *forest);
void scrub_open(struct scrub *scrub);

/* Allows that many more blocks to be read. */
void forest_scrub_allow(struct forest *forest, uint64_t block_count);

/* Does what can be done; true if something was done. */
bool forest_scrub_work(struct forest *forest);

/* A damaged block that was not told of yet; false: there is none. */
bool forest_scrub_tell(struct forest *forest, struct tour_damage *damage);

/* Is this block among those that are known to be damaged? */
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
