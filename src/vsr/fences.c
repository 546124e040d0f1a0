/* SPDX-License-Identifier: PostgreSQL */
/* See fences.h. */
#include "vsr/fences.h"

#include "base/units.h"

enum fence_verdict
fences_judge(
    const struct superblock_heard *known, uint64_t executed, const struct fence_claim *claim)
{
    if (claim->record_op > max_u64(executed, known->record_op)) return FENCE_UNKNOWN;
    if (claim->record_op == known->record_op) {
        return claim->fence == known->fence ? FENCE_RIGHT : FENCE_STALE;
    }
    /* It says that it has a record that isn't in the log, or it doesn't know its newest one. */
    if (claim->record_op > known->record_op) return FENCE_STALE;
    const bool asked = claim->fence_next != 0 && claim->fence_next == known->fence; /* (V17) */
    return asked ? FENCE_RIGHT : FENCE_STALE;
}

bool
fences_went_back(const struct superblock_heard *known, const struct fence_claim *claim)
{
    if (claim->view < known->view || claim->log_view < known->log_view) return true;
    if (claim->log_view > known->log_view || claim->uncertain) return false;
    return claim->acked_op < known->acked_op;
}

bool
fences_over(const struct superblock_heard *known, const struct fence_claim *own)
{
    if (fences_went_back(known, own)) return true;
    /* (V21): what is known there may be older than what is here. */
    if (known->record_op < own->record_op) return false;
    return fences_judge(known, known->record_op, own) == FENCE_STALE;
}

enum fence_move
fences_move(uint64_t record_op_own, uint64_t fence_next_own, uint64_t fence, uint64_t op)
{
    if (op <= record_op_own) return FENCE_STAYS;
    return fence_next_own != 0 && fence_next_own == fence ? FENCE_MOVES : FENCE_OVER;
}
