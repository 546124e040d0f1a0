/* SPDX-License-Identifier: PostgreSQL */
/* A replica's disk: appends that may crash, and what a restart makes of what it finds. */
#include "protocol.h"

#include <string.h>

void
replica_crash(struct replica *replica)
{
    replica->up = false;
    replica->view_now = replica->view;
    replica->log_view_now = replica->log_view;
    replica->suffix_head_now = replica->suffix_head;
    replica->commit_max_now = replica->head = replica->op_max = 0;
    replica->uncertain = replica->leads = false;
    memset(replica->log, 0, sizeof replica->log);
    memset(replica->whole, 0, sizeof replica->whole);
    memset(replica->image, 0, sizeof replica->image);
}

bool
suffix_lists(const struct replica *replica, uint32_t op)
{
    return op <= replica->suffix_head_now && op + settings.window >= replica->suffix_head_now;
}

/* (E1) True if the intact entry is evidence of what is in the log of log_view. */
static bool
counts(const struct state *state, const struct replica *replica, uint32_t op, prepare_id id)
{
    if (id == 0 || id == UNREADABLE) return false;
    if (settings.mutation == ALL_EVIDENCE_COUNTS) return true;
    if (op > replica->suffix_head) return prepare_view(id) == replica->log_view;
    if (prepare_view(id) > replica->log_view) return false;
    if (suffix_lists(replica, op) && settings.mutation != LIST_IGNORED)
        return id == state->views[replica->log_view].chain[op];
    return true;
}

void
headers_write(struct replica *replica, uint32_t op)
{
    for (uint32_t other = 1; other <= settings.ops; other++)
        if (other % 2 == op % 2) replica->headers[other] = replica->image[other];
}

static void
headers_tear(struct replica *replica, uint32_t op)
{
    for (uint32_t other = 1; other <= settings.ops; other++)
        if (other % 2 == op % 2) replica->headers[other] = UNREADABLE;
}

void
replica_append(struct state *state, uint32_t index, uint32_t op, enum append_stage stage)
{
    struct replica *replica = &state->replicas[index];
    const struct view *of = &state->views[replica->view_now];
    const prepare_id id = of->chain[op];
    for (uint32_t n = op; n <= settings.ops; n++) {
        if (n > op && n <= of->head && replica->log[n] == of->chain[n]) continue;
        replica->log[n] = 0;
        replica->whole[n] = false;
        if (replica->image[n] != UNREADABLE || n == op) replica->image[n] = 0;
    }
    replica->prepares[op] = stage == PREPARE_TORN ? UNREADABLE : id;
    replica->image[op] = id;
    if (stage == HEADER_TORN) headers_tear(replica, op);
    if (stage != APPEND_DONE) {
        replica_crash(replica);
        return;
    }
    headers_write(replica, op);
    replica->log[op] = id;
    replica->whole[op] = true;
    replica->head = (uint8_t) op;
    while (replica->head < of->head && replica->log[replica->head + 1] != 0 &&
           replica->log[replica->head + 1] == of->chain[replica->head + 1])
        replica->head += 1;
    if (replica->op_max < replica->head) replica->op_max = replica->head;
    if (replica->commit_max_now < state->commit[id]) replica->commit_max_now = state->commit[id];
    acknowledge(state, index);
}

/* By headers, then by prepares; after a break, what counts is kept without being linked. */
static void
recover_forwards(const struct state *state, struct replica *replica)
{
    prepare_id before = 0;
    bool unbroken = true;
    for (uint32_t op = 1; op <= settings.ops; op++) {
        const prepare_id header = replica->headers[op];
        const prepare_id prepare = replica->prepares[op];
        const bool by_header = counts(state, replica, op, header);
        const bool by_prepare = counts(state, replica, op, prepare);
        prepare_id found = 0;
        if (by_header && (!unbroken || state->parent[header] == before))
            found = header;
        else if (by_prepare && (!unbroken || state->parent[prepare] == before))
            found = prepare;
        if (found == 0) unbroken = false;
        if (unbroken) {
            replica->head = (uint8_t) op;
            before = found;
        }
        if (by_header || by_prepare) replica->op_max = (uint8_t) op;
        const bool keeps = header == UNREADABLE && settings.mutation != UNREADABLE_BLANKED;
        replica->log[op] = found;
        replica->whole[op] = found != 0 && prepare == found;
        replica->image[op] = found != 0 ? found : keeps ? UNREADABLE : 0;
    }
}

/* What follows names what is lost. */
static void
recover_backwards(const struct state *state, struct replica *replica)
{
    for (uint32_t op = replica->op_max; op > replica->head + 1u; op--) {
        prepare_id *lost = &replica->log[op - 1];
        if (*lost != 0 || replica->log[op] == 0) continue;
        /* Its own header isn't known then, and it tells of none before it. */
        if (replica->image[op] != replica->log[op]) continue;
        *lost = state->parent[replica->log[op]];
        replica->whole[op - 1] = *lost != 0 && replica->prepares[op - 1] == *lost;
        if (replica->whole[op - 1]) replica->image[op - 1] = *lost;
    }
    while (replica->head < replica->op_max && replica->log[replica->head + 1] != 0 &&
           state->parent[replica->log[replica->head + 1]] == replica->log[replica->head])
        replica->head += 1;
}

/* Headers that are known from prepares. */
static void
recover_headers(struct replica *replica)
{
    bool write[2] = {false, false};
    for (uint32_t op = 1; op <= settings.ops; op++) {
        const bool known = replica->image[op] != 0 && replica->image[op] == replica->log[op];
        if ((known && op <= replica->head && replica->headers[op] != replica->image[op]) ||
            (settings.mutation == UNREADABLE_BLANKED && replica->headers[op] != replica->image[op]))
            write[op % 2] = true;
    }
    for (uint32_t op = 1; op <= 2; op++)
        if (write[op % 2]) headers_write(replica, op);
}

bool
replica_restart(struct state *state, uint32_t index)
{
    struct replica *replica = &state->replicas[index];
    replica->up = true;
    recover_forwards(state, replica);
    recover_backwards(state, replica);
    if (replica->op_max < replica->head) replica->op_max = replica->head;
    const uint32_t tail = replica->op_max + 1u;
    replica->uncertain = tail <= settings.ops && replica->headers[tail] == UNREADABLE;
    recover_headers(replica);
    replica->commit_max_now = replica->commit_max;
    for (uint32_t op = settings.ops; op >= 1; op--) {
        const prepare_id id = replica->log[op];
        if (id == 0 || replica->image[op] != id) continue;
        if (replica->commit_max_now < state->commit[id])
            replica->commit_max_now = state->commit[id];
        break;
    }
    const bool own = replica->view % settings.replicas == index;
    if (replica->log_view == replica->view && !own) {
        acknowledge(state, index);
        return true;
    }
    if (replica->log_view == replica->view && settings.mutation == PRIMARY_RESUMES) {
        struct view *of = &state->views[replica->view];
        replica->leads = true;
        of->head = replica->head;
        for (uint32_t op = 1; op <= settings.ops; op++)
            of->chain[op] = op <= of->head ? replica->log[op] : 0;
        acknowledge(state, index);
        return true;
    }
    if (replica->log_view == replica->view) {
        if (replica->view + 1u >= settings.views) return false;
        replica->view += 1;
        replica->view_now = replica->view;
    }
    replica_vote(state, index);
    return true;
}
