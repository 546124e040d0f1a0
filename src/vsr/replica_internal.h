/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the files of the replica share.
 *
 *   replica.c           life: memory, polling, stopping
 *   replica_open.c      opening: replay, and the view that it begins with
 *   replica_requests.c  requests of this replica, from submit to the primary; and those of others
 *   replica_prepare.c   making prepares
 *   replica_normal.c    prepares, acknowledgements and commit numbers between members
 *   replica_catchup.c   prepares for a member that has missed some
 *   replica_commit.c    executing what is committed
 *   replica_members.c   changes of who the members are
 *   replica_wish.c      wishes for such changes, from any member to the primary
 *   replica_fences.c    whose directory is an older one, or a copy
 *   replica_read.c      which op a read must see
 *   replica_suspect.c   when the primary isn't heard any more
 *   replica_view.c      the change to a new view: votes, and who takes over what
 *   replica_vote.c      this replica's vote, and votes as messages
 *   replica_peers.c     connections, and who gets which message
 */
#ifndef LEDGER_VSR_REPLICA_INTERNAL_H
#define LEDGER_VSR_REPLICA_INTERNAL_H

#include "base/units.h"
#include "vsr/replica.h"

/* A primary that has nothing else to say says so after this time. */
#define REPLICA_HEARTBEAT_NS (UINT64_C(100) * NS_PER_MS)

/* After this time without an answer a question is asked again. */
#define REPLICA_ASK_AGAIN_NS (UINT64_C(250) * NS_PER_MS)

/* Requests that nothing was heard of are sent again after this time. */
#define REPLICA_RESEND_NS (UINT64_C(1) * NS_PER_S)

/* So many large messages wait for a peer at most, so that a slow one doesn't use up the pool. */
#define REPLICA_LARGE_PER_PEER 4

/* No round: nobody has been asked in this view. */
#define REPLICA_NO_ROUND UINT64_MAX

/* The oldest request of a queue that is not empty. */
static inline struct replica_request *
replica_pop_request(struct queue *requests)
{
    struct queue_link *link = queue_pop(requests);
    assert(link != NULL);
    return container_of(link, struct replica_request, link);
}

static inline struct prepare_header *
replica_prepare_of(struct message *message)
{
    return prepare_header_of(message_body(message->header));
}

/* ---- replica.c ------------------------------------------------------------------------------- */

/* Asserts (R1), and what follows from the status. */
void replica_invariants(const struct replica *replica);

/* The message with the prepare of this op, if memory has it; else NULL. */
struct message *replica_message(const struct replica *replica, uint64_t op);

/* Takes over the reference, and gives back that of the op whose place it takes. */
void replica_keep(struct replica *replica, struct message *message);

/* The header of an op of the log, after the checkpoint, that was received or is on disk. */
const struct prepare_header *replica_header(const struct replica *replica, uint64_t op);

/* Is the prepare of this checksum in the log here? */
bool replica_log_has(const struct replica *replica, uint64_t op, u128 checksum);

/*
 * Stops, because a write or the growth of a file failed: answers everything that waits with
 * REPLICA_FAILED (R3).
 */
void replica_stop(struct replica *replica);

/* Lets storage and forest work. Returns true if they made progress. */
bool replica_storage_poll(struct replica *replica);

/* ---- replica_open.c -------------------------------------------------------------------------- */

/* What this node knows of the end of its log, which is that of log_view. */
void replica_log_end(
    const struct replica *replica,
    uint32_t log_view,
    struct superblock_log *log);

/* ---- replica_requests.c ---------------------------------------------------------------------- */

/* At a backup: sends the primary what it hasn't been sent, as far as there is room. */
bool replica_requests_send(struct replica *replica);

/* From now on all of them were sent to nobody. */
void replica_requests_unsend(struct replica *replica);

/*
 * False if batches of this session aren't what was asked under their numbers: then whoever made the
 * prepare has made them up. All batches are valid.
 */
bool replica_requests_match(
    const struct replica *replica,
    const struct multi_batch_reader *reader);

/*
 * The outstanding request that this batch of this replica's session is of. Requests with lower
 * numbers were overtaken, and are sent again as new ones. NULL: nobody waits for the batch.
 */
struct replica_request *replica_requests_find(
    struct replica *replica,
    const struct multi_batch_source *source,
    const struct state_machine_batch *batch);

/*
 * Takes what waits, this replica's requests and those of others, into the prepare that the writer
 * begins; answers what there is no room for. Returns true if it did something.
 */
bool replica_requests_take(struct replica *replica);

/*
 * Where there is no working primary: answers the requests whose time is over. Those without a
 * number are in no message and no prepare.
 */
void replica_requests_give_up(struct replica *replica);

/* At a primary that serves: the member's session is its newest. */
void replica_requests_begin(struct replica *replica, uint8_t slot);

/* What waits of this slot's requests is forgotten. */
void replica_requests_drop(struct replica *replica, uint8_t slot);

/* True if there is something to take. */
bool replica_requests_wait(const struct replica *replica);

/* The message is a valid request of this slot; its reference is taken over. */
void replica_on_request(struct replica *replica, uint8_t slot, struct message *message);

void replica_on_refuse(struct replica *replica, const struct message_header *header);

/* ---- replica_prepare.c ----------------------------------------------------------------------- */

/*
 * Makes one prepare of the waiting requests and hands it to the journal, if that is possible now.
 * Returns true if it did.
 */
bool replica_prepare_requests(struct replica *replica);

/*
 * Finds out whether a pulse is due, and makes it when the pipeline is empty, if there is room.
 * Returns true if it did something, or if there is more to do.
 */
bool replica_pulse(struct replica *replica);

/*
 * At a primary that serves: makes the prepare of this change, if nothing is in the pipeline. *room
 * is false if there is none for it.
 */
bool replica_prepare_node(
    struct replica *replica, const struct member_change *change, bool *room);

/* The same of a node's record, which needs no empty pipeline. */
bool replica_prepare_fence(
    struct replica *replica, const struct member_fence *record, bool *room);

/* ---- replica_members.c ----------------------------------------------------------------------- */

/* Before replay: the members are those of the checkpoint. */
void replica_members_open(struct replica *replica);

/* The prepare is the newest one of the log, here. */
void replica_members_logged(struct replica *replica, const struct prepare_header *prepare);

/* The log ends with `op` now, which may be before what it ended with. */
void replica_members_cut(struct replica *replica);

/* Can the change that this prepare has be made to the members that op `commit` has left? */
bool replica_members_valid(const struct replica *replica, const struct prepare_header *prepare);

/* Makes it. */
void replica_members_execute(struct replica *replica, const struct prepare_header *prepare);

/* A change waits for the pipeline to be empty. */
bool replica_members_due(const struct replica *replica);

bool replica_members_poll(struct replica *replica);

/* Tells guests that were let in. */
void replica_members_tick(struct replica *replica);

/* The replica isn't the view's primary any more, or has stopped. */
void replica_members_leave(struct replica *replica);

/* Its log hasn't come to its own `add`. */
bool replica_newcomer(const struct replica *replica);

void replica_guest_up(
    struct replica *replica, uint32_t number, const struct message_hello *hello);

void replica_guest_down(struct replica *replica, uint32_t number);

/* ---- replica_wish.c -------------------------------------------------------------------------- */

/* At a member that isn't the primary: asks that for it. */
void replica_wish_send(struct replica *replica, struct replica_wish *wish);

void replica_wish_tick(struct replica *replica);

/* The view has ended, or the replica has stopped. */
void replica_wish_leave(struct replica *replica);

void replica_on_wish(struct replica *replica, uint8_t slot, const struct message_header *header);

void replica_on_wish_answer(
    struct replica *replica, uint8_t slot, const struct message_header *header);

/* ---- replica_fences.c ------------------------------------------------------------------------ */

/* Before replay. False: the directory is over (V18). */
bool replica_fences_open(struct replica *replica);

/* After replay: what the superblock is to be told at this start. Then: it was told. */
void replica_fences_start(struct replica *replica, struct superblock_node *node);
void replica_fences_started(struct replica *replica);

/* The directory was found to be over while it was opened: tells the superblock. Waits. */
void replica_fences_close(struct replica *replica);

/* What the superblock is to be told of others with any update. */
void replica_fences_note(const struct replica *replica, struct superblock_node *node);

/* What this node says of its directory. */
void replica_fences_claim(const struct replica *replica, struct fence_claim *claim);

/* Is this hello of an older directory, or a copy? Then *bye tells it so. */
bool replica_fences_refuse(
    struct replica *replica, const struct message_header *header, struct message_bye *bye);

/* The hello was taken. */
void replica_fences_heard_hello(struct replica *replica, const struct message_header *header);

/* A connection has ended with this. */
void replica_fences_told(struct replica *replica, const struct message_bye *bye);

/* Who is connected, and is an older directory by what is known now, has to go. */
void replica_fences_judge(struct replica *replica);

/* A member has acknowledged an op, or voted for a view. */
void replica_fences_heard_ack(struct replica *replica, uint8_t slot, uint64_t op);
void replica_fences_heard_vote(
    struct replica *replica, uint8_t slot, uint32_t view, uint32_t log_view);

/* The slot has another incarnation, or none (V22). */
void replica_fences_forget(struct replica *replica, uint8_t slot);

/* A checkpoint is durable. */
void replica_fences_checkpoint(struct replica *replica);

/* Can this prepare be? Then: it is executed. */
bool replica_fences_valid(const struct prepare_header *prepare);
void replica_fences_execute(struct replica *replica, const struct prepare_header *prepare);

/* Stops the replica, if its directory was found to be over. */
void replica_fences_end(struct replica *replica);

bool replica_fences_poll(struct replica *replica);
void replica_fences_tick(struct replica *replica);

/* The replica isn't the view's primary any more. */
void replica_fences_leave(struct replica *replica);

void replica_on_node_record(
    struct replica *replica, uint8_t slot, const struct message_header *header);

/*
 * The op of the checkpoint that superblock_checkpoint_id names. The journal's may be an older one:
 * it is told after the superblock, and a view that became durable together with a checkpoint may
 * be announced in between.
 */
static inline uint64_t
replica_checkpoint_op(const struct replica *replica)
{
    return replica->superblock->working->checkpoint.header.op;
}

/* ---- replica_normal.c ------------------------------------------------------------------------ */

/* Gives the journal the prepare of op journaled + 1, which memory has. */
void replica_append(struct replica *replica, bool solo);

/* Gives the journal the next prepare that was received, if it can take it. */
bool replica_append_next(struct replica *replica);

/* Makes of a prepare that nobody else holds a message of this view. */
void replica_seal_prepare(struct replica *replica, struct message *message, uint8_t flags);

/* At the primary: sends the prepare that was just made to all who have those before it. */
void replica_send_newest(struct replica *replica);

/* At the primary: counts who has what. */
void replica_count_acks(struct replica *replica);

/*
 * At the primary: have a quorum of the voters taken over this view's log, up to the head that it
 * began with? From then on no entry of an older view's log that isn't in it can return.
 */
bool replica_settled(const struct replica *replica);

/*
 * Tells the members how far it is committed, or the primary how far it is durable, if that is due.
 */
void replica_say(struct replica *replica, bool at_once);

/* The reference is taken over. */
void replica_on_prepare(struct replica *replica, struct message *message);

void replica_on_prepare_ok(
    struct replica *replica, uint8_t slot, const struct message_header *header);

void replica_on_commit(struct replica *replica, const struct message_header *header);

/* Says to a member how far it is committed, as far as the log here goes. */
void replica_say_commit(struct replica *replica, uint8_t slot);

/* ---- replica_catchup.c ----------------------------------------------------------------------- */

/* At a backup: asks the primary for what it has missed, if it has, and if it hasn't just asked. */
void replica_fetch(struct replica *replica);

void replica_on_get_prepares(
    struct replica *replica, uint8_t slot, const struct message_header *header);

/* At the primary: gives each member what comes next in its log. */
bool replica_give(struct replica *replica);

/* What was read for the member, and can't be given to it any more, makes room for what can. */
void replica_gifts_drop(struct replica *replica, uint8_t slot);

void replica_on_absent(struct replica *replica, const struct message_header *header);

void replica_on_get_prepare(
    struct replica *replica, uint8_t slot, const struct message_header *header);

/* ---- replica_commit.c ------------------------------------------------------------------------ */

/* Commits as much as possible now, but executes one piece at most. */
bool replica_commit(struct replica *replica);

/*
 * Begins with op commit + 1, which is journaled, and whose message has one reference for this.
 * Returns false, having done nothing, if no replica makes such a prepare.
 */
bool replica_commit_start(struct replica *replica, struct message *message);

/* ---- replica_read.c -------------------------------------------------------------------------- */

bool replica_reads_poll(struct replica *replica);

/* At the primary: a quorum may have answered a round. */
void replica_reads_answered(struct replica *replica);

void replica_on_read_index(
    struct replica *replica, uint8_t slot, const struct message_header *header);

void replica_on_read_ok(struct replica *replica, const struct message_header *header);

/* ---- replica_suspect.c ----------------------------------------------------------------------- */

/* In normal operation, at each tick: is the primary heard, and by whom? */
void replica_suspect_tick(struct replica *replica);

/* Is this primary connected with so many voters that an op can be committed? */
bool replica_reaches_quorum(const struct replica *replica);

/* Something of this view has come from its primary. */
void replica_heard_primary(struct replica *replica);

void replica_on_suspect(struct replica *replica, uint8_t slot, const struct message_header *header);

/* Normal operation has begun: nobody is suspected. */
void replica_suspect_reset(struct replica *replica);

/* A vote for a newer view has come in normal operation. */
void replica_suspect_vote(struct replica *replica, uint8_t slot, uint32_t view);

/* ---- replica_vote.c -------------------------------------------------------------------------- */

/* The vote of this replica, of what is durable here. */
void replica_vote(const struct replica *replica, struct view_vote *vote);

/* Returns false if no member that follows the protocol sends such a vote. */
bool replica_vote_read(const struct message_header *header, struct view_vote *vote);

void replica_vote_send(struct replica *replica, uint8_t slot, const struct view_vote *vote);

/* ---- replica_view.c -------------------------------------------------------------------------- */

/* Leaves normal operation, or the change to an older view, for the change to this one. */
void replica_view_enter(struct replica *replica, uint32_t view);

/* Goes on with the change to a view. */
bool replica_view_poll(struct replica *replica);

void replica_on_do_view_change(
    struct replica *replica, uint8_t slot, const struct message_header *header);

/* The reference is taken over. */
void replica_on_start_view(struct replica *replica, uint8_t slot, struct message *message);

void replica_on_get_view(
    struct replica *replica, uint8_t slot, const struct message_header *header);

/* At the primary: tells a member that the view has begun. `nonce` is of its question, or 0. */
void replica_say_view(struct replica *replica, uint8_t slot, uint64_t nonce);

/* A message of a newer view has come from its primary: asks that for the view. */
void replica_get_view(struct replica *replica, uint8_t slot, uint32_t view);

/* A prepare that was asked for to begin the view with; the reference is taken over. */
void replica_view_fetched(struct replica *replica, struct message *message);

/* ---- replica_peers.c ------------------------------------------------------------------------- */

/* From now on the network calls this replica. */
void replica_connect(struct replica *replica);

/* Ends the connection to who has this slot, if there is one: nothing more is taken from it. */
void replica_dismiss(struct replica *replica, uint8_t slot, const struct message_bye *bye);

/* Whoever was connected as this member isn't counted for anything any more. */
void replica_uncount(struct replica *replica, uint8_t slot);

/* Is who is connected, and wasn't known, a member by now? Who isn't, and was removed, has to go. */
void replica_judge_strangers(struct replica *replica);

/* A small message with the fields that all have, or NULL if there is none. */
struct message *replica_message_new(struct replica *replica, enum message_command command);

/*
 * Seals and sends it to the member of a slot; the reference is taken over. Returns false, with the
 * message given back, if that can't be done now.
 */
bool replica_send(struct replica *replica, uint8_t slot, struct message *message);

/* It takes part in the view, whose primary is another. */
static inline bool
replica_backup(const struct replica *replica)
{
    return replica->status == REPLICA_NORMAL && !replica->primary;
}

/* Does it count for quorums, as far as its log tells? Its slot may have been another's. */
static inline bool
replica_votes(const struct replica *replica)
{
    return (replica->voters >> replica->slot & 1) != 0 && !replica_newcomer(replica);
}

/* The slot that the view belongs to. */
static inline uint8_t
replica_primary_slot(const struct replica *replica)
{
    return (uint8_t) members_view_slot(replica->view);
}

#endif
