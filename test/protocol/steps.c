/* SPDX-License-Identifier: PostgreSQL */
/* What can happen next. */
#include "protocol.h"

#include <stddef.h>
#include <string.h>

struct steps {
    const struct state *from;
    struct state next;
    step_visit *visit;
    void *context;
};

static struct replica *
step_begin(struct steps *steps, uint32_t index)
{
    steps->next = *steps->from;
    violation = NULL;
    return &steps->next.replicas[index];
}

/* Votes that nobody will choose by any more make no difference. */
static void
forget_votes(struct state *state)
{
    if (settings.mutation == VIEW_NOT_DURABLE) return;
    for (uint32_t view = 0; view < settings.views; view++) {
        const struct replica *primary = &state->replicas[view % settings.replicas];
        const uint32_t now = primary->up ? primary->view_now : primary->view;
        if (state->views[view].started || now > view || primary->log_view >= view)
            memset(state->ballots[view], 0, sizeof state->ballots[view]);
    }
}

static void
step_end(struct steps *steps, enum step_kind kind, uint32_t index, uint32_t of, uint32_t detail)
{
    const struct step step = {kind, (uint8_t) index, (uint8_t) of, (uint8_t) detail};
    check_execution(&steps->next);
    forget_votes(&steps->next);
    steps->visit(steps->context, &steps->next, step, violation);
}

/* ---- Faults ---------------------------------------------------------------------------------- */

static bool
whole_elsewhere(const struct state *state, uint32_t index, uint32_t op, prepare_id id)
{
    for (uint32_t other = 0; other < settings.replicas; other++)
        if (other != index && state->replicas[other].prepares[op] == id) return true;
    return false;
}

/* Rot is found at a restart, so it may as well happen before one. */
static void
steps_rot(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    for (uint32_t op = 1; op <= settings.ops; op++) {
        const prepare_id id = replica->prepares[op];
        if (id == 0 || id == UNREADABLE) continue;
        if (!whole_elsewhere(steps->from, index, op, id)) continue;
        step_begin(steps, index)->prepares[op] = UNREADABLE;
        steps->next.faults += 1;
        step_end(steps, STEP_ROT_PREPARE, index, op, 0);
    }
    for (uint32_t sector = 1; sector <= 2 && sector <= settings.ops; sector++) {
        struct replica *rotten = step_begin(steps, index);
        bool any = false;
        for (uint32_t op = sector; op <= settings.ops; op += 2) {
            any |= rotten->headers[op] != UNREADABLE;
            rotten->headers[op] = UNREADABLE;
        }
        if (!any) continue;
        steps->next.faults += 1;
        step_end(steps, STEP_ROT_HEADERS, index, sector, 0);
    }
}

/* ---- Appends and acknowledgements ------------------------------------------------------------ */

static void
steps_append(struct steps *steps, uint32_t index, uint32_t op)
{
    for (uint32_t stage = 0; stage < APPEND_STAGES; stage++) {
        if (stage != APPEND_DONE && steps->from->crashes >= settings.crashes) break;
        struct replica *replica = step_begin(steps, index);
        if (replica->head >= op) replica->head = (uint8_t) (op - 1); /* Cut: not of this view. */
        if (stage != APPEND_DONE) steps->next.crashes += 1;
        replica_append(&steps->next, index, op, (enum append_stage) stage);
        step_end(steps, STEP_APPEND, index, op, stage);
    }
}

static void
step_make(struct steps *steps, uint32_t index)
{
    const uint32_t view = step_begin(steps, index)->view_now;
    struct state *next = &steps->next;
    struct view *of = &next->views[view];
    const uint32_t op = of->head + 1u;
    prepare_id id = prepare_of(view, op, 0);
    for (uint32_t i = 0; i < settings.replicas; i++) {
        const struct replica *other = &next->replicas[i];
        if (other->prepares[op] == id || other->headers[op] == id || of->acked[i] == id) {
            id = prepare_of(view, op, 1);
            break;
        }
    }
    next->parent[id] = of->chain[op - 1];
    next->commit[id] = next->replicas[index].commit_max_now;
    of->chain[op] = id;
    of->head = (uint8_t) op;
    step_end(steps, STEP_MAKE, index, op, view);
}

static void
steps_primary(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    const uint32_t view = replica->view_now;
    const struct view *of = &steps->from->views[view];
    uint32_t commit = 0;
    for (uint32_t op = 1; op <= of->head; op++)
        if (acknowledged(steps->from, view, op)) commit = op;
    if (commit > replica->commit_max_now) {
        step_begin(steps, index)->commit_max_now = (uint8_t) commit;
        if (steps->next.views[view].commit < commit)
            steps->next.views[view].commit = (uint8_t) commit;
        check_commits(&steps->next, view);
        step_end(steps, STEP_COMMIT, index, commit, 0);
    }
    if (replica->head == of->head && of->head < settings.ops &&
        of->head + 1u - replica->commit_max_now <= settings.window)
        step_make(steps, index);
    if (replica->head < of->head) steps_append(steps, index, replica->head + 1u);
}

static void
steps_backup(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    const struct view *of = &steps->from->views[replica->view_now];
    const uint32_t common = log_common(replica, of);
    if (of->commit > replica->commit_max_now) {
        step_begin(steps, index)->commit_max_now = of->commit;
        step_end(steps, STEP_LEARN, index, of->commit, 0);
    }
    if (common < of->head) steps_append(steps, index, common + 1);
    if (settings.mutation == HEARTBEAT_CLEARS && replica->uncertain) {
        struct replica *certain = step_begin(steps, index);
        certain->uncertain = false;
        certain->op_max = certain->head;
        step_end(steps, STEP_MUTATION, index, 0, 0);
    }
    if (settings.mutation == START_VIEW_CUTS_AGAIN && of->head_first < replica->head) {
        struct replica *cut = step_begin(steps, index);
        for (uint32_t op = of->head_first + 1u; op <= settings.ops; op++)
            cut->log[op] = cut->whole[op] = cut->image[op] = 0;
        cut->head = cut->op_max = of->head_first;
        step_end(steps, STEP_MUTATION, index, of->head_first, 0);
    }
}

static void
steps_repair(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    for (uint32_t op = 1; op <= replica->head; op++) {
        const prepare_id id = replica->log[op];
        bool source = false;
        for (uint32_t i = 0; i < settings.replicas; i++)
            source |= i != index && steps->from->replicas[i].up &&
                      steps->from->replicas[i].prepares[op] == id;
        if (id == 0 || replica->whole[op] || !source) continue;
        struct replica *repaired = step_begin(steps, index);
        repaired->prepares[op] = repaired->image[op] = id;
        repaired->whole[op] = true;
        headers_write(repaired, op);
        if (repaired->view_now == repaired->log_view_now)
            acknowledge(&steps->next, index);
        else
            replica_vote(&steps->next, index);
        step_end(steps, STEP_REPAIR, index, op, 0);
    }
}

/* ---- Views ----------------------------------------------------------------------------------- */

static void
steps_install(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    for (uint32_t view = replica->log_view_now + 1u; view < settings.views; view++) {
        const struct view *of = &steps->from->views[view];
        if (view < replica->view_now || !of->started || view % settings.replicas == index) continue;
        step_begin(steps, index);
        view_install(&steps->next, index, view, of->head_first);
        step_end(steps, STEP_INSTALL, index, view, of->head_first);
        if (of->head == of->head_first || settings.mutation == PRIMARY_RESUMES) continue;
        step_begin(steps, index);
        view_install(&steps->next, index, view, of->head);
        step_end(steps, STEP_INSTALL, index, view, of->head);
    }
}

static void
steps_view(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    for (uint32_t view = replica->view_now + 1u; view < settings.views; view++) {
        struct replica *voter = step_begin(steps, index);
        voter->view_now = (uint8_t) view;
        voter->leads = false;
        if (settings.mutation != VIEW_NOT_DURABLE) voter->view = (uint8_t) view;
        replica_vote(&steps->next, index);
        step_end(steps, STEP_VOTE, index, view, view - replica->view_now);
    }
    steps_install(steps, index);
}

static void
steps_start(struct steps *steps, uint32_t index)
{
    struct chosen choices[CHOICES_MAX];
    violation = NULL;
    const uint32_t count = choices_of(steps->from, index, choices);
    const char *contradiction = violation;
    const uint32_t view = step_begin(steps, index)->view_now;
    if (contradiction != NULL) {
        violated(contradiction);
        step_end(steps, STEP_START, index, view, 0);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        step_begin(steps, index);
        view_start(&steps->next, index, &choices[i]);
        step_end(steps, STEP_START, index, view, choices[i].head);
    }
}

static void
steps_up(struct steps *steps, uint32_t index)
{
    const struct replica *replica = &steps->from->replicas[index];
    const struct view *of = &steps->from->views[replica->view_now];
    const bool normal = replica->view_now == replica->log_view_now;
    /* What its primary has sent before its own append is done: it waits for that. */
    const bool appending =
        replica->leads && normal && of->head > replica->head && of->head > of->head_first;
    if (steps->from->crashes < settings.crashes) {
        replica_crash(step_begin(steps, index));
        steps->next.crashes += 1;
        step_end(steps, STEP_CRASH, index, 0, 0);
    }
    if (!appending) steps_view(steps, index);
    steps_repair(steps, index);
    if (normal && of->started && replica->leads) steps_primary(steps, index);
    if (normal && of->started && !replica->leads) steps_backup(steps, index);
    if (!normal && settings.mutation == FOREIGN_COMMIT && of->started &&
        of->commit > replica->commit_max_now) {
        step_begin(steps, index)->commit_max_now = of->commit;
        step_end(steps, STEP_MUTATION, index, of->commit, 0);
    }
    if (!normal && replica->view_now % settings.replicas == index && !of->started)
        steps_start(steps, index);
}

void
steps_each(const struct state *from, step_visit *visit, void *context)
{
    static struct steps steps; /* Callers don't nest. */
    steps.from = from;
    steps.visit = visit;
    steps.context = context;
    for (uint32_t index = 0; index < settings.replicas; index++) {
        if (from->replicas[index].up) {
            steps_up(&steps, index);
            continue;
        }
        step_begin(&steps, index);
        if (replica_restart(&steps.next, index))
            step_end(&steps, STEP_RESTART, index, steps.next.replicas[index].view_now, 0);
        if (from->faults < settings.faults) steps_rot(&steps, index);
    }
}
