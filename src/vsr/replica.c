/* SPDX-License-Identifier: PostgreSQL */
/* The replica's life: init, open (replay, new view), requests, stop. */
#include "vsr/replica.h"

#include <string.h>

#include "base/units.h"
#include "vsr/replica_internal.h"

static_assert(sizeof(struct sessions) == sizeof(struct forest_note), "kept in the note");

void
replica_init(struct replica *replica, struct arena *arena, const struct replica_options *options)
{
    assert(options->requests_max > 0);
    *replica = (struct replica){
        .status = REPLICA_CLOSED,
        .clock = options->clock,
        .storage = options->storage,
        .superblock = options->superblock,
        .journal = options->journal,
        .grid = options->grid,
        .forest = options->forest,
        .machine = options->machine,
    };
    for (uint32_t i = 0; i < PIPELINE_PREPARES_MAX; i++) {
        struct pipeline_entry *entry = &replica->pipeline[i];
        entry->message = arena_take(arena, 1, PREPARE_SIZE_MAX, SECTOR_SIZE);
    }
    queue_init(&replica->execution.executed, "executed requests", BATCHES_PER_PREPARE_MAX);
    queue_init(&replica->requests, "requests waiting for a prepare", options->requests_max);
    queue_init(&replica->outstanding, "requests in prepares", options->requests_max);
    replica->updates = arena_take(arena, 1, sizeof(struct replica_updates), sizeof(u128));
    replica->results = arena_take(arena, EVENTS_PER_BATCH_MAX, RESULT_SIZE, RESULT_SIZE);
}

void
replica_invariants(const struct replica *replica)
{
    assert(replica->commit <= replica->journaled); /* R1 */
    assert(replica->journaled <= replica->op);
    assert(replica->op - replica->journaled <= 1);
    assert(replica->op - replica->commit <= PIPELINE_PREPARES_MAX);
    assert(replica->status != REPLICA_CLOSED);
    if (replica->op == replica->commit) {
        assert(replica->pipeline_events == 0);
        assert(queue_empty(&replica->outstanding));
    }
    if (replica->status == REPLICA_NORMAL) assert(replica->view > 0);
}

struct pipeline_entry *
replica_entry(struct replica *replica, uint64_t op)
{
    assert(op > replica->commit);
    assert(op <= replica->commit + PIPELINE_PREPARES_MAX);
    return &replica->pipeline[op % PIPELINE_PREPARES_MAX];
}

void
replica_log_end(const struct replica *replica, uint32_t log_view, struct superblock_log *log)
{
    const struct journal *journal = replica->journal;
    const uint64_t op_head = journal->head.op;
    const uint64_t known = op_head - journal->checkpoint.op + 1;
    assert(replica->commit <= op_head);
    *log = (struct superblock_log){
        .log_view = log_view,
        .suffix_count = (uint32_t) min_u64(known, SUPERBLOCK_SUFFIX_MAX),
        .op_acked_min = op_head,
        .commit_max = replica->commit,
        .commit_max_checksum = journal_header(journal, replica->commit)->checksum,
    };
    const uint64_t op_first = op_head + 1 - log->suffix_count;
    for (uint32_t i = 0; i < log->suffix_count; i++) {
        log->suffix[i] = *journal_header(journal, op_first + i);
    }
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Waits for what is under way. Something must be, or the forest must have something to do. */
static void
open_wait(struct replica *replica)
{
    assert(replica->status == REPLICA_RECOVERING);
    if (!replica_storage_poll(replica) && !forest_failed(replica->forest)) {
        (void) storage_wait(replica->storage);
        replica->progress += 1;
    }
    if (!forest_failed(replica->forest)) return;
    replica->lost = forest_lost(replica->forest);
    replica_stop(replica);
}

/*
 * Brings records that changed lately into memory. Replay will ask for records by the ten thousand,
 * and most of them are those.
 */
static void
open_warm(struct replica *replica)
{
    assert(replica->status == REPLICA_RECOVERING);
    assert(replica->commit_stage == COMMIT_IDLE);
    while (replica->status == REPLICA_RECOVERING &&
           forest_warm(replica->forest) == FOREST_WORK_WAITS) {
        open_wait(replica);
    }
}

/*
 * Can the whole log be what this replica has written, as far as the superblock tells? If not, *op
 * is the first op that can't be: it was made in another view, or after the superblock was put back
 * from an older copy.
 */
static bool
open_check_log(const struct replica *replica, uint64_t *op)
{
    const struct journal *journal = replica->journal;
    const struct prepare_header *parent = &journal->checkpoint;
    assert(replica->status == REPLICA_RECOVERING);
    for (*op = parent->op + 1; *op <= journal->head.op; *op += 1) {
        const struct prepare_header *header = journal_header(journal, *op);
        if (!superblock_log_counts(replica->superblock->working, header)) return false;
        if (header->view < parent->view || header->commit > header->op) return false;
        if (header->op - header->commit >= SUPERBLOCK_SUFFIX_MAX) return false;
        parent = header;
    }
    return true;
}

static enum replica_open_result
open_replay_op(struct replica *replica, uint64_t op)
{
    assert(replica->status == REPLICA_RECOVERING);
    assert(op == replica->commit + 1);
    struct pipeline_entry *entry = replica_entry(replica, op);
    const struct prepare_header *header = prepare_header_of(entry->message);

    switch (journal_read_prepare(replica->journal, op, entry->message)) {
    case JOURNAL_READ_OK: break;
    case JOURNAL_READ_DAMAGED: return REPLICA_OPEN_PREPARE_DAMAGED;
    case JOURNAL_READ_IO_ERROR: return REPLICA_OPEN_IO_ERROR;
    }
    if (forest_failed(replica->forest)) return REPLICA_OPEN_IO_ERROR;
    assert(header->op == op);
    assert(header->event_count <= max_u64(EVENTS_PER_BATCH_MAX, PULSE_EXPIRIES_MAX));
    enum forest_room room;
    do {
        room = forest_reserve_replayed(replica->forest, header->event_count);
        if (room == FOREST_ROOM_WAITS) open_wait(replica);
        if (replica->status != REPLICA_RECOVERING) break;
    } while (room == FOREST_ROOM_WAITS);
    if (replica->lost) return REPLICA_OPEN_DAMAGED;
    if (replica->status != REPLICA_RECOVERING) return REPLICA_OPEN_IO_ERROR;
    switch (room) {
    case FOREST_ROOM: break;
    case FOREST_MEMORY_FULL: return REPLICA_OPEN_MEMORY_FULL;
    case FOREST_DISK_FULL: return REPLICA_OPEN_DISK_FULL;
    case FOREST_ROOM_WAITS:
    case FOREST_IO_ERROR: return REPLICA_OPEN_IO_ERROR;
    }
    replica->op = op;
    replica->journaled = op;
    replica->timestamp = header->timestamp;
    replica->pipeline_events = header->event_count;
    if (!replica_commit_start(replica)) return REPLICA_OPEN_INVALID_PREPARE;
    while (replica->status == REPLICA_RECOVERING && replica->commit_stage != COMMIT_IDLE) {
        if (!replica_commit(replica)) open_wait(replica);
    }
    if (replica->lost) return REPLICA_OPEN_DAMAGED;
    return replica->status == REPLICA_RECOVERING ? REPLICA_OPENED : REPLICA_OPEN_IO_ERROR;
}

static void
open_on_view(struct superblock_update *update, enum superblock_result result)
{
    struct replica *replica = container_of(update, struct replica_updates, view)->replica;
    assert(replica->status == REPLICA_RECOVERING);
    if (result != SUPERBLOCK_OK) {
        replica_stop(replica);
        return;
    }
    replica->view = update->view;
    replica->accepted = replica->sessions;
    sessions_begin(&replica->accepted, replica->slot, replica->session);
    replica->status = REPLICA_NORMAL;
}

/*
 * (R6) Each start is a new view: what an earlier life prepared and lost can be told from what is
 * prepared now.
 */
static enum replica_open_result
open_start_view(struct replica *replica)
{
    assert(replica->status == REPLICA_RECOVERING);
    assert(replica->commit == replica->op);
    const struct superblock_state *state = replica->superblock->working;
    struct superblock_update *update = &replica->updates->view;
    const uint32_t view = members_next_view(members_voters(&state->members), state->view);
    assert(members_view_slot(view) == state->slot);
    update->kind = SUPERBLOCK_UPDATE_VIEW;
    update->callback = open_on_view;
    update->view = view;
    replica_log_end(replica, view, &update->log);
    superblock_update(replica->superblock, update);
    while (replica->status == REPLICA_RECOVERING) (void) storage_wait(replica->storage);
    if (replica->status != REPLICA_NORMAL) return REPLICA_OPEN_IO_ERROR;
    assert(replica->view == view);
    return REPLICA_OPENED;
}

enum replica_open_result
replica_open(struct replica *replica, uint64_t session, uint64_t *op)
{
    const struct prepare_header *checkpoint = &replica->journal->checkpoint;
    const uint64_t op_head = replica->journal->head.op;
    assert(replica->status == REPLICA_CLOSED);
    assert(members_voter_count(members_voters(&replica->superblock->working->members)) == 1);
    assert(session != 0);

    assert(op_head >= checkpoint->op);
    replica->updates->replica = replica;
    replica->status = REPLICA_RECOVERING;
    replica->op = checkpoint->op;
    replica->journaled = checkpoint->op;
    replica->commit = checkpoint->op;
    replica->timestamp = checkpoint->timestamp;
    replica->commit_header = *checkpoint;
    replica->slot = replica->superblock->working->slot;
    replica->session = session;
    memcpy(&replica->sessions, forest_note(replica->forest), sizeof(replica->sessions));
    if (!open_check_log(replica, op)) return REPLICA_OPEN_OTHER_LOG;
    *op = checkpoint->op;
    if (!sessions_valid(&replica->sessions)) return REPLICA_OPEN_SESSIONS_INVALID;
    open_warm(replica);
    while (replica->op < op_head) {
        *op = replica->op + 1;
        const enum replica_open_result result = open_replay_op(replica, *op);
        if (result != REPLICA_OPENED) return result;
    }
    const enum replica_open_result result = open_start_view(replica);
    if (result == REPLICA_OPENED) replica_invariants(replica);
    return result;
}

/* ---- Requests -------------------------------------------------------------------------------- */

void
replica_submit(struct replica *replica, struct replica_request *request)
{
    assert(replica->status == REPLICA_NORMAL || replica->status == REPLICA_STOPPED);
    assert(request->event_count > 0);
    assert(request->event_count <= EVENTS_PER_BATCH_MAX);
    assert(request->callback != NULL);
    queue_push(&replica->requests, &request->link);
}

static void
fail_requests(struct queue *requests)
{
    while (!queue_empty(requests)) {
        struct replica_request *request = replica_pop_request(requests);
        assert(request->callback != NULL);
        request->callback(request, REPLICA_FAILED);
    }
}

void
replica_stop(struct replica *replica)
{
    assert(replica->status != REPLICA_CLOSED);
    replica->status = REPLICA_STOPPED;
    replica->pulse = PULSE_NONE;
    fail_requests(&replica->execution.executed);
    fail_requests(&replica->outstanding);
    fail_requests(&replica->requests);
}

bool
replica_storage_poll(struct replica *replica)
{
    bool progress = storage_poll(replica->storage) > 0;
    progress |= forest_poll(replica->forest);
    if (progress) replica->progress += 1;
    return progress;
}

bool
replica_poll(struct replica *replica)
{
    bool progress = replica_storage_poll(replica);
    if (forest_failed(replica->forest) && replica->status == REPLICA_NORMAL) {
        replica->lost = forest_lost(replica->forest);
        replica_stop(replica);
    }
    /* A header's write, after its op was journaled; no append may be there to tell. */
    if (journal_failed(replica->journal) && replica->status == REPLICA_NORMAL) {
        replica_stop(replica);
    }
    if (replica->status == REPLICA_STOPPED) {
        progress |= !queue_empty(&replica->requests);
        fail_requests(&replica->requests);
        return progress;
    }
    /* First the disk gets its next write; then the CPU executes what the last one made durable. */
    assert(replica->status == REPLICA_NORMAL);
    progress |= replica_prepare_requests(replica);
    progress |= replica_commit(replica);
    if (replica->status == REPLICA_NORMAL) progress |= replica_pulse(replica);
    return progress;
}

void
replica_tick(struct replica *replica)
{
    if (replica->status != REPLICA_NORMAL) return;
    const struct pulse_block *block = &replica->pulse_block;
    const bool waits = block->damaged && clock_monotonic_ns(replica->clock) < block->retry_ns;
    if (replica->pulse == PULSE_NONE && !waits) replica->pulse = PULSE_LOOK;
    (void) replica_pulse(replica);
}

bool
replica_busy(const struct replica *replica)
{
    return replica->op != replica->commit || replica->commit_stage != COMMIT_IDLE ||
           replica->pulse != PULSE_NONE || !queue_empty(&replica->requests) ||
           journal_naming(replica->journal);
}

uint32_t
replica_requests_count(const struct replica *replica)
{
    return replica->requests.count + replica->outstanding.count + replica->execution.executed.count;
}
