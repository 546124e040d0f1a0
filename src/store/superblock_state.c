/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a state of the superblock must be, whether it comes from a disk or goes to one, and how an
 * update changes it. Pure functions.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/units.h"
#include "store/superblock_internal.h"

/* The checksum covers neither itself nor `copy`. */
#define SUPERBLOCK_CHECKSUM_START offsetof(struct superblock_state, version)

u128
superblock_checksum(const struct superblock_state *state)
{
    return checksum(
        (const uint8_t *) state + SUPERBLOCK_CHECKSUM_START,
        sizeof(*state) - SUPERBLOCK_CHECKSUM_START);
}

/* ---- What a state must be -------------------------------------------------------------------- */

/* Does the header continue a chain after `parent`? */
static bool
suffix_follows(const struct prepare_header *parent, const struct prepare_header *header)
{
    return header->op == parent->op + 1 && header->parent == parent->checksum &&
           header->view >= parent->view;
}

/* (S7), of one state. */
static bool
suffix_sound(const struct superblock_state *state)
{
    const struct prepare_header *checkpoint = &state->checkpoint.header;
    const uint32_t count = state->suffix_count;
    if (count == 0 || count > SUPERBLOCK_SUFFIX_MAX) return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct prepare_header *header = &state->suffix[i];
        if (!prepare_header_valid(header, state->cluster)) return false;
        if (header->view > state->log_view) return false;
        if (header->commit > header->op) return false;
        if (header->op - header->commit >= SUPERBLOCK_SUFFIX_MAX) return false;
        if (i > 0 && !suffix_follows(&state->suffix[i - 1], header)) return false;
        if (header->op == checkpoint->op && header->checksum != checkpoint->checksum) return false;
        if (header->op == state->commit_max && state->commit_max_checksum != 0 &&
            header->checksum != state->commit_max_checksum) {
            return false;
        }
    }
    const struct prepare_header *first = &state->suffix[0];
    if (first->op == checkpoint->op + 1 && first->parent != checkpoint->checksum) return false;
    if (state->op_acked_min < checkpoint->op) return false;
    if (state->op_acked_min > superblock_suffix_head(state)) return false;
    const uint64_t unused = SUPERBLOCK_SUFFIX_MAX - count;
    return bytes_zero(state->suffix + count, unused * sizeof(state->suffix[0]));
}

/* Of a node that is alone: its member is the only one, and what is for others is zero. */
static bool
lone_sound(const struct superblock_state *state)
{
    struct members expected = {0};
    struct member *self = &expected.slots[state->slot];
    self->incarnation = state->incarnation;
    self->role = MEMBER_VOTER;
    if (memcmp(&expected, &state->members, sizeof(expected)) != 0) return false;
    if (state->flags != 0 || state->first_incarnation != 0) return false;
    if (state->fence != 0 || state->fence_next != 0 || state->record_op != 0) return false;
    if (!bytes_zero(state->heard, sizeof(state->heard))) return false;
    return bytes_zero(state->name, sizeof(state->name));
}

/* (S9), and whether this node's place among the members can be. */
static bool
members_sound(const struct superblock_state *state)
{
    const struct checkpoint_state *checkpoint = &state->checkpoint;
    if (!members_valid(&state->members)) return false;
    if (checkpoint->members_checksum != members_checksum(&state->members)) return false;
    if (state->incarnation == 0 || state->slot >= MEMBERS_MAX) return false;
    if ((state->flags & ~(uint32_t) SUPERBLOCK_FLAGS) != 0) return false;
    if ((state->flags & SUPERBLOCK_NOT_ALONE) == 0) return lone_sound(state);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct superblock_heard *heard = &state->heard[slot];
        if (state->members.slots[slot].record_op > checkpoint->header.op) return false;
        if (heard->log_view > heard->view) return false;
    }
    return state->name[MEMBER_NAME_MAX] == 0 && member_name_valid(state->name);
}

bool
superblock_state_sound(const struct superblock_state *state)
{
    const struct checkpoint_state *checkpoint = &state->checkpoint;
    if (state->sequence == 0 || state->log_view > state->view) return false;
    if (state->view > UINT32_MAX - MEMBERS_MAX) return false; /* Nobody would have the next one. */
    if (state->commit_max < checkpoint->header.op) return false;
    if (state->commit_max == checkpoint->header.op && state->commit_max_checksum != 0 &&
        state->commit_max_checksum != checkpoint->header.checksum) {
        return false;
    }
    if (state->level != 0) return false;
    if (!bytes_zero(state->reserved_head, sizeof(state->reserved_head))) return false;
    if (!bytes_zero(state->reserved, sizeof(state->reserved))) return false;
    if (!bytes_zero(checkpoint->reserved, sizeof(checkpoint->reserved))) return false;
    if (checkpoint->root.reserved != 0) return false;
    if (!prepare_header_valid(&checkpoint->header, state->cluster)) return false;
    return suffix_sound(state) && members_sound(state);
}

/* ---- The log's end --------------------------------------------------------------------------- */

uint64_t
superblock_suffix_head(const struct superblock_state *state)
{
    assert(state->suffix_count > 0 && state->suffix_count <= SUPERBLOCK_SUFFIX_MAX);
    return state->suffix[state->suffix_count - 1].op;
}

/* The header of this op in the suffix, or NULL. */
static const struct prepare_header *
suffix_header(const struct superblock_state *state, uint64_t op)
{
    const uint64_t first = state->suffix[0].op;
    if (op < first || op > superblock_suffix_head(state)) return NULL;
    return &state->suffix[op - first];
}

bool
superblock_log_counts(
    const struct superblock_state *state, const struct prepare_header *header)
{
    assert(state->sequence > 0);
    if (header->op > superblock_suffix_head(state)) return header->view == state->log_view;
    const struct prepare_header *listed = suffix_header(state, header->op);
    if (listed != NULL) return header->checksum == listed->checksum;
    return header->view <= state->log_view;
}

/* (S7): with one log_view, what the log's end is said to be now must continue what it was. */
static bool
log_continues(const struct superblock_state *state, const struct superblock_log *log)
{
    const struct prepare_header *head = &state->suffix[state->suffix_count - 1];
    assert(log->log_view == state->log_view);
    for (uint32_t i = 0; i < log->suffix_count; i++) {
        const struct prepare_header *header = &log->suffix[i];
        if (!superblock_log_counts(state, header)) return false;
        if (header->op == head->op + 1 && header->parent != head->checksum) return false;
    }
    return true;
}

/*
 * What the update knows of the log. Several updates that become one may know different things: the
 * newest log_view decides, and with one log_view all are of one chain, so that who knows more is
 * right. The order in which they are asked doesn't matter.
 */
static void
state_apply_log(struct superblock_state *state, const struct superblock_log *log)
{
    assert(log->suffix_count > 0 && log->suffix_count <= SUPERBLOCK_SUFFIX_MAX);
    const uint64_t head = log->suffix[log->suffix_count - 1].op;
    if (log->commit_max > state->commit_max) {
        state->commit_max = log->commit_max;
        state->commit_max_checksum = log->commit_max_checksum;
    } else if (log->commit_max == state->commit_max && state->commit_max_checksum == 0) {
        state->commit_max_checksum = log->commit_max_checksum;
    }
    if (log->log_view < state->log_view) return;
    const bool same = log->log_view == state->log_view;
    if (same) {
        assert(log_continues(state, log));
        state->op_acked_min = max_u64(state->op_acked_min, log->op_acked_min);
        if (head < superblock_suffix_head(state)) return;
    } else {
        state->log_view = log->log_view;
        state->op_acked_min = log->op_acked_min;
    }
    const uint64_t size = log->suffix_count * sizeof(log->suffix[0]);
    memset(state->suffix, 0, sizeof(state->suffix));
    memcpy(state->suffix, log->suffix, size);
    state->suffix_count = (uint8_t) log->suffix_count;
}

/* ---- Updates --------------------------------------------------------------------------------- */

static void
state_apply_owner(struct superblock_state *state, const struct superblock_update *update)
{
    assert((state->flags & SUPERBLOCK_NOT_ALONE) == 0);
    assert(update->incarnation != 0);
    /* With the same incarnation, the old owner could still open it. */
    assert(update->incarnation != state->incarnation);
    state->incarnation = update->incarnation;
    state->system_identifier = update->system_identifier;
    state->members.slots[state->slot].incarnation = update->incarnation;
}

/*
 * With several updates that become one, the last in the order of kinds decides what more than one
 * of them says.
 */
static void
state_apply_node(struct superblock_state *state, const struct superblock_node *node)
{
    if ((node->flags_set & SUPERBLOCK_NOT_ALONE) != 0) {
        assert(state->name[0] == '\0' || memcmp(state->name, node->name, sizeof(node->name)) == 0);
        memcpy(state->name, node->name, sizeof(state->name));
        const bool was_alone = (state->flags & SUPERBLOCK_NOT_ALONE) == 0;
        if (was_alone) state->first_incarnation = state->incarnation;
    }
    state->flags = (state->flags & ~node->flags_cleared) | node->flags_set;
    if (node->fences) {
        state->fence = node->fence;
        state->fence_next = node->fence_next;
        state->record_op = node->record_op;
    }
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((node->heard_of >> slot & 1) != 0) state->heard[slot] = node->heard[slot];
    }
}

void
superblock_state_apply(struct superblock_state *state, const struct superblock_update *update)
{
    switch (update->kind) {
    case SUPERBLOCK_UPDATE_VIEW:
        state->view = update->view;
        state_apply_log(state, &update->log);
        break;
    case SUPERBLOCK_UPDATE_CHECKPOINT:
        state->checkpoint = update->checkpoint;
        state->members = update->members;
        state_apply_log(state, &update->log);
        break;
    case SUPERBLOCK_UPDATE_OWNER: state_apply_owner(state, update); break;
    case SUPERBLOCK_UPDATE_NODE: break;
    }
    state_apply_node(state, &update->node);
    /* The checkpoint is durable here: none of its ops is needed of the log any more. */
    state->op_acked_min = max_u64(state->op_acked_min, state->checkpoint.header.op);
    state->checkpoint.members_checksum = members_checksum(&state->members); /* (S9) */
}
