/* SPDX-License-Identifier: PostgreSQL */
/* Starting a view, and installing its log. */
#include "protocol.h"

#include <string.h>

uint32_t
log_common(const struct replica *replica, const struct view *view)
{
    uint32_t op = 0;
    while (op < replica->head && op < view->head && replica->log[op + 1] == view->chain[op + 1])
        op += 1;
    return op;
}

/*
 * The replica's log becomes that of the view up to `head`, as far as it has it. What was unknown
 * stays so: of what is listed, and isn't newer than the log that it had, it nacks nothing.
 */
static void
log_take_over(struct state *state, uint32_t index, uint32_t view, uint32_t head)
{
    struct replica *replica = &state->replicas[index];
    const struct view *of = &state->views[view];
    const bool hole = replica->head < replica->op_max;
    const bool unknown = (replica->uncertain || hole) && settings.mutation != INSTALL_MAKES_CERTAIN;
    uint32_t common = log_common(replica, of);
    if (common > head) common = head;
    uint32_t op_max = common;
    for (uint32_t op = common + 1; op <= settings.ops; op++) {
        const bool listed = op <= head;
        if (unknown && listed && prepare_view(of->chain[op]) <= replica->log_view_now) op_max = op;
        /* Behind a hole, what the view lists is still what it was. */
        if (hole && listed && replica->log[op] == of->chain[op] && replica->whole[op]) continue;
        replica->log[op] = 0;
        replica->whole[op] = false;
        const bool keeps = listed && settings.mutation != INSTALL_BLANKS;
        if (replica->image[op] != UNREADABLE || !keeps) replica->image[op] = 0;
    }
    replica->head = (uint8_t) common;
    replica->op_max = (uint8_t) op_max;
    replica->uncertain = false;
    replica->view_now = replica->log_view_now = (uint8_t) view;
    replica->suffix_head_now = (uint8_t) head;
    if (replica->commit_max_now < of->commit) replica->commit_max_now = of->commit;
    replica->view = (uint8_t) view;
    if (settings.mutation == LOG_VIEW_NOT_DURABLE && !replica->leads) return;
    replica->log_view = (uint8_t) view;
    replica->suffix_head = (uint8_t) head;
    replica->commit_max = replica->commit_max_now;
}

void
view_start(struct state *state, uint32_t index, const struct chosen *chosen)
{
    struct replica *replica = &state->replicas[index];
    const uint32_t view = replica->view_now;
    struct view *of = &state->views[view];
    of->started = true;
    of->head_first = of->head = chosen->head;
    of->commit = chosen->committed;
    for (uint32_t op = 1; op <= chosen->head; op++)
        of->chain[op] = op <= chosen->committed ? replica->log[op] : chosen->chain[op];
    check_start(state, view);
    replica->leads = true;
    log_take_over(state, index, view, chosen->head);
    acknowledge(state, index);
    check_commits(state, view);
}

void
view_install(struct state *state, uint32_t index, uint32_t view, uint32_t head)
{
    state->replicas[index].leads = false;
    log_take_over(state, index, view, head);
    acknowledge(state, index);
}
