/* SPDX-License-Identifier: PostgreSQL */
/*
 * Acknowledgements, what they commit, and what must hold. Nothing here looks at votes, nor is it
 * used by a choice.
 */
#include "protocol.h"

#include <stddef.h>

const char *violation;

void
violated(const char *what)
{
    if (violation == NULL) violation = what;
}

/* The entry at `op` of the log that ends with `id`, or 0. */
static prepare_id
ancestor(const struct state *state, prepare_id id, uint32_t op)
{
    while (id != 0 && prepare_op(id) > op)
        id = state->parent[id];
    return id != 0 && prepare_op(id) == op ? id : 0;
}

static bool
acknowledged_by(const struct state *state, uint32_t view, uint32_t op, uint32_t index)
{
    const struct view *of = &state->views[view];
    if (ancestor(state, of->acked[index], op) == of->chain[op]) return true;
    if (settings.mutation != ACKS_OF_OTHER_VIEWS) return false;
    for (uint32_t other = 0; other < settings.views; other++)
        if (ancestor(state, state->views[other].acked[index], op) == of->chain[op]) return true;
    return false;
}

bool
acknowledged(const struct state *state, uint32_t view, uint32_t op)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < settings.replicas; i++)
        count += acknowledged_by(state, view, op, i);
    return 2 * count > settings.replicas;
}

void
check_commits(struct state *state, uint32_t view)
{
    const struct view *of = &state->views[view];
    if (!of->started) return;
    for (uint32_t op = 1; op <= of->head; op++) {
        if (!acknowledged(state, view, op)) continue;
        if (state->committed[op] == 0) {
            state->committed[op] = of->chain[op];
            state->committed_in[op] = (uint8_t) view;
        }
        if (state->committed[op] != of->chain[op])
            violated("AGREEMENT: two ops of one number are committed");
        for (uint32_t later = view + 1; later < settings.views; later++)
            if (state->views[later].started && state->views[later].chain[op] != of->chain[op])
                violated("DURABILITY: an op is committed that a later view's log has not");
    }
}

void
check_start(const struct state *state, uint32_t view)
{
    const struct view *of = &state->views[view];
    for (uint32_t op = 1; op <= settings.ops; op++)
        if (state->committed[op] != 0 && state->committed_in[op] < view &&
            of->chain[op] != state->committed[op])
            violated("DURABILITY: a view starts without an op that was committed before");
    for (uint32_t op = 2; op <= of->head; op++)
        if (state->parent[of->chain[op]] != of->chain[op - 1])
            violated("CHAIN: a view starts with a log whose entries don't follow each other");
}

/* What a replica acknowledges is whole on its disk, or was committed before. */
static void
check_copies(const struct state *state, uint32_t index, uint32_t head)
{
    const struct replica *replica = &state->replicas[index];
    const struct view *of = &state->views[replica->view_now];
    for (uint32_t op = 1; op <= head; op++)
        if (replica->prepares[op] != of->chain[op] && state->committed[op] != of->chain[op])
            violated("COPY: a replica acknowledges what its disk hasn't");
}

void
acknowledge(struct state *state, uint32_t index)
{
    const struct replica *replica = &state->replicas[index];
    const uint32_t view = replica->view_now;
    struct view *of = &state->views[view];
    if (!replica->up || view != replica->log_view_now || !of->started) return;
    if (replica->log_view != view && settings.mutation != LOG_VIEW_NOT_DURABLE) return;
    uint32_t op = 0;
    while (op < replica->head && op < of->head && replica->log[op + 1] == of->chain[op + 1] &&
           (replica->whole[op + 1] || op + 1 <= replica->commit_max_now ||
            settings.mutation == DAMAGE_ACKNOWLEDGED))
        op += 1;
    if (op == 0) return;
    const prepare_id before = of->acked[index];
    const bool again = settings.mutation == PRIMARY_RESUMES && before != of->chain[op];
    if (before != 0 && prepare_op(before) >= op && !again) return;
    of->acked[index] = of->chain[op];
    check_copies(state, index, op);
    check_commits(state, view);
}

void
check_execution(const struct state *state)
{
    for (uint32_t i = 0; i < settings.replicas; i++) {
        const struct replica *replica = &state->replicas[i];
        const struct view *of = &state->views[replica->log_view_now];
        const uint32_t suffix_head = replica->suffix_head_now;
        const bool linked = replica->head >= suffix_head &&
                            (suffix_head == 0 || settings.mutation == FOREIGN_COMMIT ||
                             replica->log[suffix_head] == of->chain[suffix_head]);
        if (!replica->up || (!linked && settings.mutation != UNLINKED_EXECUTED)) continue;
        for (uint32_t op = 1; op <= replica->head && op <= replica->commit_max_now; op++)
            if (replica->log[op] != state->committed[op])
                violated("EXECUTION: a replica executes another op than the committed one");
    }
}
