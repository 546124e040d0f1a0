/* SPDX-License-Identifier: PostgreSQL */
/*
 * All that there is at one moment: disks, memories, messages that were sent, and the history that
 * checks need. It is bytes alone, without padding, so that equal states have equal bytes.
 */
#ifndef LEDGER_TEST_PROTOCOL_STATE_H
#define LEDGER_TEST_PROTOCOL_STATE_H

#include <stdint.h>

#define REPLICAS_MAX 5
#define OPS_MAX 3
#define VIEWS_MAX 4

/*
 * A prepare has a small number in place of a checksum: it tells its op, the view of its making, and
 * one of two variants, where a primary makes an op anew after losing the first. 0 is none.
 */
typedef uint8_t prepare_id;

#define PREPARE_IDS (1 + VIEWS_MAX * OPS_MAX * 2)
#define UNREADABLE 255 /* On disk: rotten, or torn. */

static inline prepare_id
prepare_of(uint32_t view, uint32_t op, uint32_t variant)
{
    return (prepare_id) (1 + (view * OPS_MAX + op - 1) * 2 + variant);
}

static inline uint32_t
prepare_view(prepare_id id)
{
    return (id - 1u) / 2 / OPS_MAX;
}

static inline uint32_t
prepare_op(prepare_id id)
{
    return (id - 1u) / 2 % OPS_MAX + 1;
}

/* Of arrays by op, entry 0 is unused. */
struct replica {
    /* On disk: the superblock, which also has the suffix of the log of log_view … */
    uint8_t view;
    uint8_t log_view;
    uint8_t suffix_head;
    uint8_t commit_max;
    /* … and both logs. 0: blank. */
    prepare_id headers[OPS_MAX + 1];
    prepare_id prepares[OPS_MAX + 1];

    /* In memory. The same as on disk, but for mutations. */
    uint8_t up;
    uint8_t view_now;
    uint8_t log_view_now;
    uint8_t suffix_head_now;
    uint8_t commit_max_now;
    uint8_t leads;
    uint8_t head;      /* Its log is known without a break up to here. */
    uint8_t op_max;    /* The newest op that it may have had. */
    uint8_t uncertain; /* Or more. */
    prepare_id log[OPS_MAX + 1];   /* Also entries beyond a break. */
    uint8_t whole[OPS_MAX + 1];    /* Its prepare is on disk. */
    prepare_id image[OPS_MAX + 1]; /* What the next write of a sector of headers has. */
};

/* A view that was started: what its primary has said. */
struct view {
    uint8_t started;
    uint8_t head_first; /* What it began with. */
    uint8_t head;
    uint8_t commit;
    prepare_id chain[OPS_MAX + 1];
    prepare_id acked[REPLICAS_MAX]; /* The newest op of which that replica has said: durable. */
};

#define ENTRY_KNOWN 1
#define ENTRY_PRESENT 2
#define ENTRY_NACK 4

/* A vote that was sent. */
struct ballot {
    uint8_t cast;
    uint8_t uncertain;
    uint8_t log_view;
    uint8_t commit_max;
    uint8_t op;
    uint8_t op_unbroken;
    prepare_id ids[OPS_MAX + 1]; /* From commit_max on. */
    uint8_t says[OPS_MAX + 1];
};

struct state {
    prepare_id parent[PREPARE_IDS];
    uint8_t commit[PREPARE_IDS]; /* What its header says. */
    struct replica replicas[REPLICAS_MAX];
    struct view views[VIEWS_MAX];
    struct ballot ballots[VIEWS_MAX][REPLICAS_MAX][2]; /* The newest, and one before. */
    /* History: what was committed, and in which view first. */
    prepare_id committed[OPS_MAX + 1];
    uint8_t committed_in[OPS_MAX + 1];
    uint8_t crashes;
    uint8_t faults;
};

#endif
