/* SPDX-License-Identifier: PostgreSQL */
/*
 * Fences: is a member's directory the one that the others know, or an older copy that was put back,
 * or a clone that runs beside it? Pure functions.
 *
 * A directory has two random numbers: `fence`, the newest that the log has for this member, and
 * `fence_next`, which it asks for. A *record* in the log (PREPARE_FENCE) moves the slot from the
 * one to the other, and each node that executes it knows from then on. Each start of a node, and
 * each checkpoint, asks for one. Here b is copied while it is stopped:
 *
 *     the directory of b       the log           a copy of it, started later
 *     fence 5, next 0          b is at 5         fence 5, next 0
 *     fence 5, next 8          b: 5 → 8          fence 5, next 9: asks in vain, for b isn't at 5
 *     fence 8, next 0          b is at 8         8 is neither 5 nor 9: refused, and over
 *
 * A counter of starts would not do: a copy would pass it by being started often enough.
 *
 *  (V16) who has executed the log up to the op of a node's newest record, or has heard from the
 *       node that it came so far, judges its fences: the newest that is known must be one of the
 *       two. It judges its views, too, and how far its log is durable: neither goes back. An older
 *       or doubled directory is refused: it neither votes, nor acknowledges, nor answers there.
 *  (V17) a start, and a checkpoint, is served only by a record whose fence was drawn after it;
 *       until then the node asks again. A fence is drawn only when it is about to be asked for, and
 *       is on disk before it is named; otherwise fence_next is 0, which is no fence.
 *  (V18) a node that opens a checkpoint judges itself by its own entry in the table of members.
 *  (V19) only records of a node's own incarnation judge it, and only those that change its fence.
 *       Changes of members leave fences as they are.
 *  (V20) a record whose fence_before isn't the slot's fence does nothing and judges nothing: a
 *       primary that makes the same record twice has made it once.
 *  (V21) who is refused is told what is known of it, and judges itself by what its disk has now: a
 *       hello that was long on its way ends a connection, and never a member.
 *  (V22) what was heard from a slot is of the incarnation that the executed members name. It is
 *       forgotten when that changes.
 */
#ifndef LEDGER_VSR_FENCES_H
#define LEDGER_VSR_FENCES_H

#include <stdbool.h>
#include <stdint.h>

#include "store/superblock.h"

/* What a node says of its own directory, when a connection begins. */
struct fence_claim {
    uint64_t fence;
    uint64_t fence_next; /* 0: none was asked for. */
    uint64_t record_op;  /* The op that made `fence` known. */
    uint64_t acked_op;   /* Up to here its log is durable. */
    uint32_t view;
    uint32_t log_view;
    bool uncertain; /* Its log may have gone back when it was opened, for a reason that may be. */
};

enum fence_verdict {
    FENCE_RIGHT,
    FENCE_UNKNOWN, /* The node's newest record isn't known here. */
    FENCE_STALE,
};

/*
 * Judges a node's fences by what is known of its slot (V16); `executed` is the newest op that was
 * executed here.
 */
enum fence_verdict fences_judge(
    const struct superblock_heard *known, uint64_t executed, const struct fence_claim *claim);

/* Has it come less far than was heard from it before (V16)? */
bool fences_went_back(const struct superblock_heard *known, const struct fence_claim *claim);

/* The node was refused, and told what is known of it: is its directory an older one, or a copy? */
bool fences_over(const struct superblock_heard *known, const struct fence_claim *own);

enum fence_move {
    FENCE_STAYS, /* It knew this record. */
    FENCE_MOVES,
    FENCE_OVER, /* Another directory has asked for this record. */
};

/* What becomes of a node whose own slot has got this fence by the record of an op. */
enum fence_move fences_move(
    uint64_t record_op_own, uint64_t fence_next_own, uint64_t fence, uint64_t op);

#endif
