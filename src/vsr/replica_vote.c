/* SPDX-License-Identifier: PostgreSQL */
/*
 * Votes: what a replica says of its log when a new view is to begin (view_choice.h), and how it is
 * sent. What it says stays true whatever happens to the replica later, for it is made of what is on
 * its disk: the journal, and the headers that the superblock lists.
 *
 *      … entries that are committed │ up to `journaled`: present │ listed, but not here: nacks
 *                          commit_max                                                      op
 *
 * An entry that is here, but isn't known to be of log_view's log, is neither: it says nothing.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* ---- Making ---------------------------------------------------------------------------------- */

/* The header that the superblock lists for this op, or NULL. */
static const struct prepare_header *
listed(const struct replica *replica, uint64_t op)
{
    const struct superblock_state *state = replica->superblock->working;
    const uint64_t first = state->suffix[0].op;
    if (op < first || op > superblock_suffix_head(state)) return NULL;
    return &state->suffix[op - first];
}

/* The newest op that is known to be committed, as far as the disk proves it. */
static uint64_t
committed(const struct replica *replica, uint64_t op)
{
    const uint64_t here =
        min_u64(replica->commit_max, min_u64(replica->linked, replica->journaled));
    const struct prepare_header *head = listed(replica, op);
    return head == NULL ? here : max_u64(here, head->commit);
}

/*
 * Up to here the entries on this disk are known to be of log_view's log. What lies behind may have
 * been dropped by it: where the log was cut below the listed headers and a crash followed, recovery
 * finds again what was cut (J6), and only the primary's prepares tell which of it is right.
 */
static uint64_t
known_end(const struct replica *replica)
{
    const struct prepare_header *first = &replica->superblock->working->suffix[0];
    const uint64_t journaled = replica->journaled;
    /* Recovery has kept only what is listed, or continues that; and one list is one chain. */
    if (journaled >= first->op) return journaled;
    const struct prepare_header *head = journal_header(replica->journal, journaled);
    if (journaled + 1 == first->op && head->checksum == first->parent) return journaled;
    return min_u64(journaled, replica->linked);
}

void
replica_vote(const struct replica *replica, struct view_vote *vote)
{
    const struct superblock_state *state = replica->superblock->working;
    const uint64_t journaled = replica->journaled;
    const uint64_t op = max_u64(journaled, superblock_suffix_head(state));
    const uint64_t end = known_end(replica);
    memset(vote, 0, sizeof(*vote));
    vote->log_view = state->log_view;
    vote->op = op;
    vote->op_unbroken = end;
    vote->commit_max = committed(replica, op);
    assert(op - vote->commit_max <= PIPELINE_PREPARES_MAX);
    for (uint64_t at = vote->commit_max; at <= op; at++) {
        struct view_vote_entry *entry = &vote->entries[at - vote->commit_max];
        const bool here = at <= end;
        const struct prepare_header *header =
            here ? journal_header(replica->journal, at) : listed(replica, at);
        if (header != NULL) {
            entry->known = true;
            entry->header = *header;
        }
        if (at == vote->commit_max) continue;
        entry->present = here;
        entry->nack = at > journaled;
    }
    vote->commit_known = vote->entries[0].known;
    if (vote->commit_known) vote->commit_checksum = vote->entries[0].header.checksum;
}

/* ---- As messages ----------------------------------------------------------------------------- */

bool
replica_vote_read(const struct message_header *header, struct view_vote *vote)
{
    const struct message_do_view_change *said = &header->as.do_view_change;
    const struct message_do_view_change_body *body = message_body_const(header);
    const struct prepare_header *headers = (const struct prepare_header *) (body + 1);
    memset(vote, 0, sizeof(*vote));
    vote->log_view = said->log_view;
    vote->uncertain = (header->flags & MESSAGE_UNCERTAIN) != 0;
    vote->syncing = (header->flags & MESSAGE_SYNCING) != 0;
    vote->commit_known = (header->flags & MESSAGE_COMMIT_KNOWN) != 0;
    vote->commit_checksum = body->commit_checksum;
    vote->commit_max = header->commit;
    vote->op = header->op;
    vote->op_unbroken = said->chain_op;
    if (said->suffix_count != header->op - header->commit + 1) return false;
    for (uint32_t i = 0; i < said->suffix_count; i++) {
        struct view_vote_entry *entry = &vote->entries[i];
        entry->known = !prepare_header_blank(&headers[i]);
        entry->present = (said->present >> i & 1) != 0;
        entry->nack = (said->nacks >> i & 1) != 0;
        entry->header = headers[i];
    }
    return view_vote_valid(vote);
}

void
replica_vote_send(struct replica *replica, uint8_t slot, const struct view_vote *vote)
{
    struct message *message = replica_message_new(replica, MESSAGE_DO_VIEW_CHANGE);
    if (message == NULL) return;
    struct message_header *header = message->header;
    struct message_do_view_change_body *body = message_body(header);
    struct prepare_header *headers = (struct prepare_header *) (body + 1);
    const uint32_t count = (uint32_t) (vote->op - vote->commit_max + 1);
    header->size += (uint32_t) (sizeof(*body) + count * sizeof(*headers));
    header->op = vote->op;
    header->commit = vote->commit_max;
    if (vote->commit_known) header->flags |= MESSAGE_COMMIT_KNOWN;
    body->commit_checksum = vote->commit_checksum;
    struct message_do_view_change said = {
        .chain_op = vote->op_unbroken,
        .members_op = replica->journal->head.members_op,
        .log_view = vote->log_view,
        .suffix_count = (uint8_t) count,
    };
    for (uint32_t i = 0; i < count; i++) {
        headers[i] = vote->entries[i].header;
        said.present |= (uint16_t) (vote->entries[i].present << i);
        said.nacks |= (uint16_t) (vote->entries[i].nack << i);
    }
    header->as.do_view_change = said;
    (void) replica_send(replica, slot, message);
}
