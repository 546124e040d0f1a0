/* SPDX-License-Identifier: PostgreSQL */
/*
 * The façade: puts the parts together, in the order of the layers, and translates between them and
 * the host.
 */
#include "engine.h"

#include <string.h>

#include "base/arena.h"
#include "base/units.h"
#include "ledger/ledger.h"
#include "lsm/forest.h"
#include "store/grid.h"
#include "store/journal.h"
#include "store/superblock.h"
#include "vsr/replica.h"

struct engine {
    struct engine_options options;
    struct storage *storage;
    struct clock *clock;
    struct superblock superblock;
    struct journal journal;
    struct grid grid;
    struct forest *forest;
    struct ledger ledger;
    struct replica replica;
    struct queue arrived; /* Requests not looked at yet. */
    struct queue reads;   /* Not answered yet. */
    uint32_t requests_count; /* Lent now. */
    struct engine_stats stats;
};

/* ---- Memory ---------------------------------------------------------------------------------- */

/*
 * Takes everything but the forest, and then the forest out of what is left, or of its minimum while
 * measuring.
 */
static void
engine_take(
    struct engine *engine,
    struct arena *arena,
    const struct engine_options *options,
    struct storage *storage,
    struct clock *clock)
{
    const struct journal_options journal_options = {
        .prepares_size_bytes = options->prepares_size_bytes,
    };
    engine->options = *options;
    engine->storage = storage;
    engine->clock = clock;
    superblock_init(&engine->superblock, arena, storage);
    journal_init(&engine->journal, arena, storage, &journal_options);
    /*
     * Each page in memory has a block in the grid, and while a checkpoint is written a second one;
     * manifests are small. More memory may have made the grid that is there.
     */
    const uint64_t blocks_max = 3 * div_ceil(options->memory_bytes, BLOCK_SIZE) + GRID_GROW_BLOCKS;
    const uint64_t blocks_now = options->grid_size_bytes / BLOCK_SIZE;
    grid_init(&engine->grid, arena, storage, max_u64(blocks_max, blocks_now));

    struct replica_options replica_options = {
        .clock = clock,
        .storage = storage,
        .superblock = &engine->superblock,
        .journal = &engine->journal,
        .grid = &engine->grid,
        .machine = &engine->ledger.machine,
        .requests_max = options->requests_max,
    };
    replica_init(&engine->replica, arena, &replica_options);
    ledger_init(&engine->ledger, arena, NULL);
    queue_init(&engine->arrived, "requests that have arrived", options->requests_max);
    queue_init(&engine->reads, "reads that wait", options->requests_max);

    const struct forest_options forest_options = {
        .schema = &ledger_schema,
        .memory_bytes = arena_measuring(arena)
                            ? forest_memory_bytes_min(&ledger_schema)
                            : arena->size_bytes - arena->used_bytes - ARENA_ALIGNMENT,
    };
    engine->forest = forest_init(arena, &engine->grid, &forest_options);
    engine->replica.forest = engine->forest;
    engine->ledger.machine.forest = engine->forest;
}

uint64_t
engine_memory_bytes_min(const struct engine_options *options)
{
    struct engine measured = {0};
    struct arena arena;
    arena_init_measuring(&arena);
    (void) arena_take(&arena, 1, sizeof(struct engine), ARENA_ALIGNMENT);
    engine_take(&measured, &arena, options, NULL, NULL);
    return align_up(arena.used_bytes, MIB) + MIB;
}

/* For an engine whose forest takes so many bytes. */
static uint64_t
memory_bytes_for_forest(const struct engine_options *options, uint64_t forest_bytes)
{
    const uint64_t forest_bytes_min = forest_memory_bytes_min(&ledger_schema);
    struct engine_options larger = *options;
    assert(forest_bytes >= forest_bytes_min);
    /* The account of the grid's blocks grows with the memory, far less than by as much again. */
    larger.memory_bytes = 2 * forest_bytes;
    return engine_memory_bytes_min(&larger) - forest_bytes_min + forest_bytes;
}

struct engine *
engine_create(
    void *memory,
    const struct engine_options *options,
    struct storage *storage,
    struct clock *clock)
{
    struct arena arena;
    assert(options->memory_bytes >= engine_memory_bytes_min(options));
    arena_init(&arena, memory, options->memory_bytes);
    struct engine *engine = arena_take(&arena, 1, sizeof(struct engine), ARENA_ALIGNMENT);
    engine_take(engine, &arena, options, storage, clock);
    arena_seal(&arena);
    return engine;
}

/* ---- Opening --------------------------------------------------------------------------------- */

enum engine_open_result
engine_format(
    struct storage *storage,
    uint64_t prepares_size_bytes,
    const struct engine_identity *identity,
    void *scratch)
{
    struct superblock superblock;
    struct arena arena;
    const struct superblock_format_options options = {
        .cluster = identity->cluster,
        .incarnation = identity->incarnation,
        .system_identifier = identity->system_identifier,
        .prepares_size_bytes = prepares_size_bytes,
        .replica = identity->replica,
        .replica_count = identity->replica_count,
    };
    assert(storage->file_size_bytes[STORAGE_PREPARES] == prepares_size_bytes);
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    const enum superblock_result result = superblock_format(&superblock, &options);
    return result == SUPERBLOCK_OK ? ENGINE_OPENED : ENGINE_OPEN_IO_ERROR;
}

static enum engine_open_result
open_superblock(
    struct engine *engine,
    const struct engine_identity *expected,
    struct engine_open_report *report)
{
    struct superblock *superblock = &engine->superblock;
    const enum superblock_result result = superblock_open(superblock);
    report->superblock_name = superblock_result_name(result);
    if (result == SUPERBLOCK_ABSENT) return ENGINE_OPEN_ABSENT;
    if (result != SUPERBLOCK_OK) return ENGINE_OPEN_SUPERBLOCK;

    const struct superblock_state *state = superblock->working;
    report->identity = (struct engine_identity){
        .cluster = state->cluster,
        .incarnation = state->incarnation,
        .system_identifier = state->system_identifier,
        .replica = state->replica,
        .replica_count = state->replica_count,
    };
    if (state->cluster != expected->cluster || state->incarnation != expected->incarnation ||
        state->system_identifier != expected->system_identifier ||
        state->replica != expected->replica || state->replica_count != expected->replica_count) {
        return ENGINE_OPEN_OTHER_IDENTITY;
    }
    const uint64_t headers_size =
        headers_log_count(state->prepares_size_bytes) * PREPARE_HEADER_SIZE;
    if (engine->journal.prepares_size_bytes != state->prepares_size_bytes ||
        engine->storage->file_size_bytes[STORAGE_PREPARES] != state->prepares_size_bytes ||
        engine->storage->file_size_bytes[STORAGE_HEADERS] != headers_size) {
        return ENGINE_OPEN_SIZE_MISMATCH;
    }
    /* Ours, as far as can be told. Nothing was written before. */
    if (superblock_repair(superblock) != SUPERBLOCK_OK) return ENGINE_OPEN_IO_ERROR;
    report->superblock_copies_repaired = superblock->copies_repaired;
    return ENGINE_OPENED;
}

static enum engine_open_result
open_journal(struct engine *engine, struct engine_open_report *report)
{
    const struct superblock_state *state = engine->superblock.working;
    const enum journal_recovery result = journal_recover(
        &engine->journal,
        state->cluster,
        &state->checkpoint.header,
        state->commit_max,
        &report->journal);
    report->op = report->journal.op_head;
    switch (result) {
    case JOURNAL_RECOVERED: return ENGINE_OPENED;
    case JOURNAL_RECOVERY_SHORT: return ENGINE_OPEN_JOURNAL_SHORT;
    case JOURNAL_RECOVERY_DAMAGED: return ENGINE_OPEN_JOURNAL_DAMAGED;
    case JOURNAL_RECOVERY_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    }
    unreachable();
}

static enum engine_open_result
open_forest(struct engine *engine, struct engine_open_report *report)
{
    const struct superblock_state *state = engine->superblock.working;
    struct forest_open_report forest_report = {0};
    grid_open(&engine->grid, state->cluster);
    const enum forest_open_result result =
        forest_open(engine->forest, &state->checkpoint.manifest, &forest_report);
    report->block_address = forest_report.block_address;
    report->tree_name = forest_report.tree_name;
    switch (result) {
    case FOREST_OPENED: return ENGINE_OPENED;
    case FOREST_OPEN_CORRUPT: return ENGINE_OPEN_GRID_CORRUPT;
    case FOREST_OPEN_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    case FOREST_OPEN_MEMORY_TOO_SMALL:
        report->memory_bytes_needed =
            memory_bytes_for_forest(&engine->options, forest_report.memory_bytes_needed);
        return ENGINE_OPEN_MEMORY_TOO_SMALL;
    }
    unreachable();
}

static enum engine_open_result
open_replica(struct engine *engine, struct engine_open_report *report)
{
    const uint64_t op_checkpoint = engine->superblock.working->checkpoint.header.op;
    const enum replica_open_result result = replica_open(&engine->replica, &report->op);
    report->ops_replayed = report->op - op_checkpoint;
    switch (result) {
    case REPLICA_OPENED: return ENGINE_OPENED;
    case REPLICA_OPEN_MEMORY_FULL:
        report->memory_bytes_needed =
            engine->options.memory_bytes + engine->options.memory_bytes / 2;
        return ENGINE_OPEN_MEMORY_TOO_SMALL;
    case REPLICA_OPEN_DISK_FULL: return ENGINE_OPEN_DISK_FULL;
    case REPLICA_OPEN_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    case REPLICA_OPEN_INVALID_PREPARE: return ENGINE_OPEN_INVALID_PREPARE;
    }
    unreachable();
}

enum engine_open_result
engine_open(
    struct engine *engine,
    const struct engine_identity *expected,
    struct engine_open_report *report)
{
    *report = (struct engine_open_report){0};
    enum engine_open_result result = open_superblock(engine, expected, report);
    if (result == ENGINE_OPENED) result = open_journal(engine, report);
    if (result == ENGINE_OPENED) result = open_forest(engine, report);
    if (result == ENGINE_OPENED) result = open_replica(engine, report);
    return result;
}

/* ---- Requests -------------------------------------------------------------------------------- */

static bool
operation_creates(uint8_t operation)
{
    return operation == LEDGER_CREATE_ACCOUNTS || operation == LEDGER_CREATE_TRANSFERS;
}

/* What is wrong with a create's sizes, or NULL. */
static const char *
create_check(const struct engine_request *request)
{
    const uint32_t count = request->input_size / EVENT_SIZE;
    if (request->input_size % EVENT_SIZE != 0) return "the input is not whole records";
    if (count == 0) return "there are no events";
    if (count > EVENTS_PER_BATCH_MAX) return "there are too many events for one batch";
    if ((uint64_t) count * RESULT_SIZE > request->reply_size_max) return "the reply has no room";
    return NULL;
}

void
engine_submit(struct engine *engine, struct engine_request *request)
{
    assert(request->callback != NULL);
    assert(engine->requests_count < engine->options.requests_max);
    engine->requests_count += 1;
    request->engine = engine;
    request->submitted_ns = clock_monotonic_ns(engine->clock);
    request->reply_size = 0;
    request->detail = NULL;
    request->link = (struct queue_link){0};
    queue_push(&engine->arrived, &request->link);
}

static void
answer(struct engine_request *request, enum engine_status status)
{
    struct engine *engine = request->engine;
    assert(engine->requests_count > 0);
    engine->requests_count -= 1;
    engine->stats.requests += 1;
    if (status != ENGINE_OK) engine->stats.requests_refused += 1;
    request->status = status;
    request->callback(request);
}

static void
count_results(uint64_t *counts, const struct create_result *results, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t status = results[i].status;
        const uint32_t last = ENGINE_STATUS_CODES_MAX - 1;
        assert(status == STATUS_CREATED || status < last);
        counts[status == STATUS_CREATED ? last : status] += 1;
    }
}

static void
create_on_outcome(struct replica_request *create, enum replica_outcome outcome)
{
    static const enum engine_status statuses[] = {
        [REPLICA_EXECUTED] = ENGINE_OK,
        [REPLICA_MEMORY_FULL] = ENGINE_MEMORY_FULL,
        [REPLICA_DISK_FULL] = ENGINE_DISK_FULL,
        [REPLICA_FAILED] = ENGINE_FAILED,
    };
    struct engine_request *request = container_of(create, struct engine_request, create);
    struct engine *engine = request->engine;
    if (outcome == REPLICA_EXECUTED) {
        struct engine_stats *stats = &engine->stats;
        count_results(
            request->operation == LEDGER_CREATE_ACCOUNTS ? stats->account_events
                                                         : stats->transfer_events,
            request->reply,
            create->event_count);
        request->reply_size = create->event_count * RESULT_SIZE;
        histogram_add(
            &stats->commit_latency_ns,
            clock_monotonic_ns(engine->clock) - request->submitted_ns);
    }
    answer(request, statuses[outcome]);
}

static void
start_create(struct engine *engine, struct engine_request *request)
{
    request->create = (struct replica_request){
        .operation = request->operation,
        .event_count = request->input_size / EVENT_SIZE,
        .events = request->input,
        .results = request->reply,
        .callback = create_on_outcome,
    };
    replica_submit(&engine->replica, &request->create);
}

static void
run_read(struct engine *engine, struct engine_request *request)
{
    struct state_machine *machine = &engine->ledger.machine;
    if (engine_failed(engine)) {
        answer(request, ENGINE_FAILED);
        return;
    }
    engine->stats.reads += 1;
    request->reply_size = machine->ops->read(
        machine,
        request->operation,
        request->input,
        request->input_size,
        request->reply,
        request->reply_size_max);
    assert(request->reply_size <= request->reply_size_max);
    answer(request, ENGINE_OK);
}

/* Reads see whole ops only. */
static bool
answer_reads(struct engine *engine)
{
    bool progress = false;
    const bool possible = engine_failed(engine) || !replica_executing(&engine->replica);
    while (possible && !queue_empty(&engine->reads)) {
        struct queue_link *link = queue_pop(&engine->reads);
        assert(link != NULL);
        run_read(engine, container_of(link, struct engine_request, link));
        progress = true;
    }
    return progress;
}

/* Sorts the requests that have arrived: creates to the replica, reads to wait for its next rest. */
static bool
take_requests(struct engine *engine)
{
    bool progress = false;
    while (!queue_empty(&engine->arrived)) {
        struct queue_link *link = queue_pop(&engine->arrived);
        assert(link != NULL);
        struct engine_request *request = container_of(link, struct engine_request, link);
        const bool creates = operation_creates(request->operation);
        progress = true;
        request->detail =
            creates ? create_check(request)
                    : ledger_read_check(request->operation, request->input, request->input_size);
        if (request->detail != NULL) {
            answer(request, ENGINE_INVALID);
        } else if (creates) {
            start_create(engine, request);
        } else {
            queue_push(&engine->reads, &request->link);
        }
    }
    return progress;
}

bool
engine_poll(struct engine *engine)
{
    bool progress = take_requests(engine);
    progress |= answer_reads(engine);
    progress |= replica_poll(&engine->replica);
    return progress;
}

void
engine_tick(struct engine *engine)
{
    replica_tick(&engine->replica);
}

bool
engine_busy(const struct engine *engine)
{
    return !queue_empty(&engine->arrived) || !queue_empty(&engine->reads) ||
           replica_busy(&engine->replica);
}

bool
engine_failed(const struct engine *engine)
{
    return engine->replica.status == REPLICA_STOPPED;
}

/* ---- Monitoring ------------------------------------------------------------------------------ */

void
engine_state_get(const struct engine *engine, struct engine_state *state)
{
    struct forest_stats forest;
    forest_stats_get(engine->forest, &forest);
    *state = (struct engine_state){
        .op = engine->replica.op,
        .commit = engine->replica.commit,
        .checkpoint_op = engine->journal.checkpoint.op,
        .timestamp = engine->replica.timestamp,
        .wal_used_bytes = journal_used_bytes(&engine->journal),
        .wal_size_bytes = engine->journal.prepares_size_bytes,
        .grid_size_bytes = engine->grid.block_count * BLOCK_SIZE,
        .grid_used_bytes =
            (engine->grid.block_count - grid_free_count(&engine->grid)) * BLOCK_SIZE,
        .memory_used_bytes =
            engine->options.memory_bytes - forest.memory_bytes_max + forest.memory_bytes_used,
        .memory_bytes = engine->options.memory_bytes,
        .accounts = forest.records[TREE_ACCOUNT],
        .transfers = forest.records[TREE_TRANSFER],
        .pending_transfers_total = forest.records[TREE_TRANSFER_PENDING],
        .view = engine->replica.view,
        .replica = engine->superblock.working->replica,
        .replica_count = engine->superblock.working->replica_count,
        .failed = engine_failed(engine),
    };
}

void
engine_stats_get(const struct engine *engine, struct engine_stats *stats)
{
    struct forest_stats forest;
    forest_stats_get(engine->forest, &forest);
    *stats = engine->stats;
    stats->prepares = engine->replica.stats.prepares;
    stats->pulses = engine->replica.stats.pulses;
    stats->events_per_prepare = engine->replica.stats.events_per_prepare;
    stats->requests_per_prepare = engine->replica.stats.requests_per_prepare;
    stats->checkpoints = engine->replica.stats.checkpoints;
    stats->checkpoint_blocks = engine->grid.stats.blocks_written;
    stats->journal = engine->journal.stats;
}
