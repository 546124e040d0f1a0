/* SPDX-License-Identifier: PostgreSQL */
/*
 * The façade: puts the parts together, in the order of the layers, and translates between them and
 * the host.
 */
#include "engine.h"

#include <string.h>

#include "base/arena.h"
#include "base/units.h"
#include "forest/forest.h"
#include "forest/scrub.h"
#include "ledger/ledger.h"
#include "ledger/verify.h"
#include "store/grid.h"
#include "store/journal.h"
#include "store/superblock.h"
#include "vsr/replica.h"

/* A read under way. */
struct engine_read {
    struct ledger_read read;
    struct engine_request *request; /* NULL: none. */
    uint64_t *timestamps;
    struct ledger_row *rows;
    bool waits;        /* Until the replica's `progress` is not asked_at any more. */
    uint64_t asked_at; /* Progress when it began to ask for what it waits for. */
};

/* When the scrubber may read how much. */
struct engine_scrubbing {
    uint64_t interval_ns; /* Of a tour; 0: none. */
    uint64_t ticked_ns;
    uint64_t credit_ns; /* Passed, and not yet spent on blocks. */
};

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
    struct queue reads;   /* Not begun yet. */
    struct engine_read *running; /* ENGINE_READS_MAX. */
    uint32_t running_count;
    uint32_t turn; /* Whose it is. */
    uint32_t requests_count; /* Lent now. */
    struct engine_scrubbing scrubbing;
    struct verify verify;
    struct engine_request *verifying; /* NULL: none. */
    bool verify_waits;                /* As reads do. */
    uint64_t verify_asked_at;
    struct engine_stats stats;
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static void
take_reads(struct engine *engine, struct arena *arena)
{
    engine->running =
        arena_take(arena, ENGINE_READS_MAX, sizeof(struct engine_read), ARENA_ALIGNMENT);
    for (uint32_t i = 0; i < ENGINE_READS_MAX; i++) {
        uint64_t *timestamps = arena_take(arena, RESULTS_MAX, sizeof(uint64_t), sizeof(uint64_t));
        struct ledger_row *rows =
            arena_take(arena, RESULTS_MAX, sizeof(struct ledger_row), sizeof(uint64_t));
        if (engine->running == NULL) continue;
        engine->running[i] = (struct engine_read){.timestamps = timestamps, .rows = rows};
    }
}

/* At last, the forest gets what is left; while measuring, forest_bytes, or its minimum. */
static void
engine_take(
    struct engine *engine,
    struct arena *arena,
    const struct engine_options *options,
    uint64_t forest_bytes,
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
     * An account of three bits a block: a sixteenth of the memory is enough for some three thousand
     * times as much data. More memory may have made the grid that is there.
     */
    const uint64_t blocks_max = options->memory_bytes / 16 * 8 / 3 + GRID_GROW_BLOCKS;
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
    take_reads(engine, arena);
    ledger_verify_init(&engine->verify, arena, &engine->journal);

    const uint64_t forest_min = forest_memory_bytes_min(&engine->grid, &ledger_schema);
    const struct forest_options forest_options = {
        .schema = &ledger_schema,
        .memory_bytes = arena_measuring(arena)
                            ? max_u64(forest_min, forest_bytes)
                            : arena->size_bytes - arena->used_bytes - ARENA_ALIGNMENT,
    };
    engine->forest = forest_init(arena, &engine->grid, &forest_options);
    engine->replica.forest = engine->forest;
    engine->ledger.machine.forest = engine->forest;
}

static uint64_t
memory_bytes_taken(const struct engine_options *options, uint64_t forest_bytes)
{
    struct engine measured = {0};
    struct arena arena;
    arena_init_measuring(&arena);
    (void) arena_take(&arena, 1, sizeof(struct engine), ARENA_ALIGNMENT);
    engine_take(&measured, &arena, options, forest_bytes, NULL, NULL);
    return align_up(arena.used_bytes, MIB) + MIB;
}

/* Of more memory, more is taken to account for a larger grid: a part of it, so this ends. */
static uint64_t
memory_bytes_for(const struct engine_options *options, uint64_t forest_bytes)
{
    struct engine_options with = *options;
    with.memory_bytes = 0;
    for (;;) {
        const uint64_t taken = memory_bytes_taken(&with, forest_bytes);
        if (taken <= with.memory_bytes) return with.memory_bytes;
        with.memory_bytes = taken;
    }
}

uint64_t
engine_memory_bytes_min(const struct engine_options *options)
{
    return memory_bytes_for(options, 0);
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
    engine_take(engine, &arena, options, 0, storage, clock);
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

static struct engine_identity
identity_of(const struct superblock_state *state)
{
    return (struct engine_identity){
        .cluster = state->cluster,
        .incarnation = state->incarnation,
        .system_identifier = state->system_identifier,
        .replica = state->replica,
        .replica_count = state->replica_count,
    };
}

static enum engine_open_result
superblock_opened(enum superblock_result result)
{
    if (result == SUPERBLOCK_ABSENT) return ENGINE_OPEN_ABSENT;
    return result == SUPERBLOCK_OK ? ENGINE_OPENED : ENGINE_OPEN_SUPERBLOCK;
}

enum engine_open_result
engine_inspect(struct storage *storage, void *scratch, struct engine_inspection *inspection)
{
    struct superblock superblock;
    struct arena arena;
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    const enum superblock_result result = superblock_open(&superblock);
    *inspection = (struct engine_inspection){.superblock_name = superblock_result_name(result)};
    if (result != SUPERBLOCK_OK) return superblock_opened(result);
    const struct superblock_state *state = superblock.working;
    inspection->identity = identity_of(state);
    inspection->commit_op = state->commit_max;
    inspection->checkpoint_timestamp = state->checkpoint.header.timestamp;
    inspection->view = state->view;
    return ENGINE_OPENED;
}

/* The result is read off `working`, which only a durable update replaces. */
static void
adopt_on_done(struct superblock *superblock, enum superblock_result result)
{
    assert(superblock->callback == NULL);
    assert(result == SUPERBLOCK_OK || result == SUPERBLOCK_IO_ERROR);
}

enum engine_open_result
engine_adopt(struct storage *storage, void *scratch, const struct engine_identity *owner)
{
    struct superblock superblock;
    struct arena arena;
    arena_init(&arena, scratch, ENGINE_FORMAT_SCRATCH);
    superblock_init(&superblock, &arena, storage);
    const enum superblock_result result = superblock_open(&superblock);
    if (result != SUPERBLOCK_OK) return superblock_opened(result);
    assert(superblock.working->cluster == owner->cluster);
    assert(superblock.working->replica == owner->replica);
    assert(superblock.working->replica_count == owner->replica_count);
    if (superblock_repair(&superblock) != SUPERBLOCK_OK) return ENGINE_OPEN_IO_ERROR;
    superblock_update_owner(
        &superblock, owner->incarnation, owner->system_identifier, adopt_on_done);
    while (superblock.callback != NULL) (void) storage_wait(storage);
    const bool adopted = superblock.working->incarnation == owner->incarnation;
    return adopted ? ENGINE_OPENED : ENGINE_OPEN_IO_ERROR;
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
    if (result != SUPERBLOCK_OK) return superblock_opened(result);

    const struct superblock_state *state = superblock->working;
    report->identity = identity_of(state);
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
    case JOURNAL_RECOVERED:
        /* Before anything is replayed: what is refused is not gone on with. */
        if (report->op < engine->options.op_min) return ENGINE_OPEN_BEHIND;
        if (state->view < engine->options.view_min) return ENGINE_OPEN_BEHIND;
        return ENGINE_OPENED;
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
        forest_open(engine->forest, &state->checkpoint.root, &forest_report);
    report->block_address = forest_report.block_address;
    report->tree_name = forest_report.tree_name;
    switch (result) {
    case FOREST_OPENED: return ENGINE_OPENED;
    case FOREST_OPEN_CORRUPT: return ENGINE_OPEN_GRID_CORRUPT;
    case FOREST_OPEN_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    case FOREST_OPEN_MEMORY_TOO_SMALL:
        report->memory_bytes_needed =
            memory_bytes_for(&engine->options, forest_report.memory_bytes_needed);
        return ENGINE_OPEN_MEMORY_TOO_SMALL;
    }
    unreachable();
}

static struct engine_damage
damage_of(const struct forest_damage *damage)
{
    return (struct engine_damage){
        .block_address = damage->block_address,
        .tree_name = damage->tree_name,
        .io_error = damage->io_error,
    };
}

static struct engine_damage
forest_damage_now(const struct engine *engine)
{
    struct forest_damage damage;
    forest_damage(engine->forest, &damage);
    return damage_of(&damage);
}

/* It was whole at the recovery: no rule has decided this. */
static void
report_prepare_damage(const struct engine *engine, struct engine_open_report *report)
{
    const struct journal *journal = &engine->journal;
    const struct prepare_header *header = journal_header(journal, report->op);
    report->journal.damage = NULL;
    report->journal.damage_op = report->op;
    report->journal.damage_offset_bytes = header->position % journal->prepares_size_bytes;
    report->journal.damage_size_bytes = prepare_size_on_disk(header);
}

static enum engine_open_result
open_replica(struct engine *engine, struct engine_open_report *report)
{
    const uint64_t op_checkpoint = engine->superblock.working->checkpoint.header.op;
    const enum replica_open_result result = replica_open(&engine->replica, &report->op);
    struct engine_damage damage = {0};
    report->ops_replayed = report->op - op_checkpoint;
    switch (result) {
    case REPLICA_OPENED: return ENGINE_OPENED;
    case REPLICA_OPEN_MEMORY_FULL:
        report->memory_bytes_needed =
            memory_bytes_for(&engine->options, forest_memory_bytes_needed(engine->forest));
        return ENGINE_OPEN_MEMORY_TOO_SMALL;
    case REPLICA_OPEN_DISK_FULL: return ENGINE_OPEN_DISK_FULL;
    case REPLICA_OPEN_IO_ERROR: return ENGINE_OPEN_IO_ERROR;
    case REPLICA_OPEN_PREPARE_DAMAGED:
        report_prepare_damage(engine, report);
        return ENGINE_OPEN_JOURNAL_DAMAGED;
    case REPLICA_OPEN_DAMAGED:
        damage = forest_damage_now(engine);
        report->block_address = damage.block_address;
        report->tree_name = damage.tree_name;
        return damage.io_error ? ENGINE_OPEN_IO_ERROR : ENGINE_OPEN_GRID_CORRUPT;
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

/* ---- Reads ----------------------------------------------------------------------------------- */

static const char *
read_check(const struct engine *engine, const struct engine_request *request)
{
    const char *complaint =
        ledger_read_check(request->operation, request->input, request->input_size);
    if (complaint != NULL) return complaint;
    return ledger_instant_check(engine->forest, &request->instant, engine->replica.commit);
}

static void
read_begin(struct engine *engine, struct engine_request *request)
{
    uint32_t number = 0;
    while (engine->running[number].request != NULL) number += 1;
    struct engine_read *running = &engine->running[number];
    const struct ledger_question question = {
        .operation = request->operation,
        .input = request->input,
        .input_size = request->input_size,
        .reply = request->reply,
        .reply_size_max = request->reply_size_max,
        .instant = request->instant,
        .timestamps = running->timestamps,
        .rows = running->rows,
    };
    assert(number < ENGINE_READS_MAX);
    running->request = request;
    running->waits = false;
    engine->running_count += 1;
    engine->stats.reads += 1;
    ledger_read_start(&running->read, engine->forest, &question, engine->replica.commit);
}

static void
read_end(struct engine *engine, struct engine_read *running, enum engine_status status)
{
    struct engine_request *request = running->request;
    assert(engine->running_count > 0);
    running->request = NULL;
    engine->running_count -= 1;
    if (status == ENGINE_OK) {
        request->reply_size = running->read.reply_size;
        request->instant = running->read.instant;
    }
    if (status == ENGINE_DAMAGED) request->damage = forest_damage_now(engine);
    assert(request->reply_size <= request->reply_size_max);
    answer(request, status);
}

/* True if it got on, and need not wait. */
static bool
read_step(struct engine *engine, struct engine_read *running, uint32_t *rows_left)
{
    const uint64_t progress = engine->replica.progress;
    if (running->waits && running->asked_at == progress) return false;
    if (!running->read.yielded) running->asked_at = progress;
    switch (ledger_read_step(&running->read, rows_left)) {
    case FOREST_FOUND: read_end(engine, running, ENGINE_OK); return true;
    case FOREST_LOST: read_end(engine, running, ENGINE_DAMAGED); return true;
    case FOREST_WAIT:
        running->waits = !running->read.yielded;
        return !running->waits || running->asked_at != progress;
    case FOREST_ABSENT:
    case FOREST_BURNT: break;
    }
    unreachable();
}

static bool
fail_reads(struct engine *engine)
{
    bool progress = false;
    for (uint32_t i = 0; i < ENGINE_READS_MAX; i++) {
        struct engine_read *running = &engine->running[i];
        if (running->request == NULL) continue;
        read_end(engine, running, ENGINE_FAILED);
        progress = true;
    }
    while (!queue_empty(&engine->reads)) {
        struct queue_link *link = queue_pop(&engine->reads);
        assert(link != NULL);
        answer(container_of(link, struct engine_request, link), ENGINE_FAILED);
        progress = true;
    }
    return progress;
}

/* Begins what there is room for, then each read has its turn, as far as there are rows left. */
static bool
run_reads(struct engine *engine, uint32_t *rows_left)
{
    bool progress = false;
    while (!queue_empty(&engine->reads) && engine->running_count < ENGINE_READS_MAX) {
        struct queue_link *link = queue_pop(&engine->reads);
        assert(link != NULL);
        read_begin(engine, container_of(link, struct engine_request, link));
    }
    for (uint32_t i = 0; i < ENGINE_READS_MAX && *rows_left > 0; i++) {
        struct engine_read *running = &engine->running[engine->turn];
        engine->turn = (engine->turn + 1) % ENGINE_READS_MAX;
        if (running->request != NULL) progress |= read_step(engine, running, rows_left);
    }
    return progress;
}

/* Reads see whole ops only. They get on by so many rows, then ops go on. */
static bool
answer_reads(struct engine *engine)
{
    uint32_t rows_left = READ_ROWS_PER_POLL;
    bool progress = false;
    if (engine_failed(engine)) return fail_reads(engine);
    if (replica_executing(&engine->replica)) return false;
    while (rows_left > 0 && run_reads(engine, &rows_left)) progress = true;
    return progress;
}

/* ---- Verification ---------------------------------------------------------------------------- */

static void
start_verify(struct engine *engine, struct engine_request *request)
{
    if (request->reply_size_max < 2 * sizeof(struct verify_finding)) {
        request->detail = "the reply has no room";
        answer(request, ENGINE_INVALID);
        return;
    }
    if (engine->verifying != NULL) {
        answer(request, ENGINE_BUSY);
        return;
    }
    engine->verifying = request;
    engine->verify_waits = false;
    engine->stats.reads += 1;
    ledger_verify_start(&engine->verify, engine->forest);
}

static void
verify_end(struct engine *engine, enum engine_status status)
{
    struct engine_request *request = engine->verifying;
    assert(request != NULL);
    engine->verifying = NULL;
    if (status == ENGINE_OK) {
        request->reply_size =
            ledger_verify_reply(&engine->verify, request->reply, request->reply_size_max);
    } else {
        ledger_verify_cancel(&engine->verify);
    }
    answer(request, status);
}

bool
engine_cancel(struct engine *engine, struct engine_request *request)
{
    assert(request != NULL);
    if (engine->verifying != request) return false;
    request->detail = "it was cancelled";
    verify_end(engine, ENGINE_INVALID);
    return true;
}

/* Gets on a little, between ops; others come first. */
static bool
verify_poll(struct engine *engine)
{
    const uint64_t progress = engine->replica.progress;
    uint32_t rows_left = VERIFY_ROWS_PER_POLL;
    if (engine->verifying == NULL) return false;
    if (engine_failed(engine)) {
        verify_end(engine, ENGINE_FAILED);
        return true;
    }
    if (replica_executing(&engine->replica)) return false;
    if (engine->verify_waits && engine->verify_asked_at == progress) return false;
    if (!engine->verify.yielded) engine->verify_asked_at = progress;
    if (ledger_verify_step(&engine->verify, &rows_left) == FOREST_FOUND) {
        verify_end(engine, ENGINE_OK);
        return true;
    }
    engine->verify_waits = !engine->verify.yielded;
    return true;
}

/* ---- Scrubbing ------------------------------------------------------------------------------- */

void
engine_scrub(struct engine *engine, uint64_t interval_ns)
{
    struct engine_scrubbing *scrubbing = &engine->scrubbing;
    if (interval_ns == scrubbing->interval_ns) return;
    scrubbing->interval_ns = interval_ns;
    scrubbing->ticked_ns = clock_monotonic_ns(engine->clock);
    scrubbing->credit_ns = 0;
}

/* So many blocks are due as the time that has passed is worth. */
static void
scrub_tick(struct engine *engine)
{
    struct engine_scrubbing *scrubbing = &engine->scrubbing;
    struct forest_scrub_stats stats;
    if (scrubbing->interval_ns == 0) return;
    forest_scrub_stats_get(engine->forest, &stats);
    const uint64_t now = clock_monotonic_ns(engine->clock);
    const uint64_t block_ns =
        max_u64(scrubbing->interval_ns / max_u64(stats.blocks_total, 1), 1);
    scrubbing->credit_ns += min_u64(now - scrubbing->ticked_ns, scrubbing->interval_ns);
    scrubbing->ticked_ns = now;
    forest_scrub_allow(engine->forest, scrubbing->credit_ns / block_ns);
    scrubbing->credit_ns %= block_ns;
}

static bool
scrub_poll(struct engine *engine)
{
    return !engine_failed(engine) && forest_scrub_work(engine->forest);
}

bool
engine_scrub_damage(struct engine *engine, struct engine_damage *damage)
{
    struct tour_damage found;
    if (!forest_scrub_tell(engine->forest, &found)) return false;
    assert(found.address != 0);
    *damage = (struct engine_damage){
        .block_address = found.address,
        .tree_name = found.tree_name,
        .io_error = found.kind == TOUR_UNREADABLE,
    };
    return true;
}

/* ---- Working --------------------------------------------------------------------------------- */

/* Sorts the requests that have arrived: creates to the replica, reads to wait for its next rest. */
static bool
take_requests(struct engine *engine)
{
    bool progress = false;
    while (!queue_empty(&engine->arrived)) {
        struct queue_link *link = queue_pop(&engine->arrived);
        assert(link != NULL);
        struct engine_request *request = container_of(link, struct engine_request, link);
        const bool creates = ledger_operation_creates(request->operation);
        progress = true;
        if (request->operation == LEDGER_VERIFY) {
            start_verify(engine, request);
            continue;
        }
        request->detail = creates ? create_check(request) : read_check(engine, request);
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
    progress |= verify_poll(engine);
    progress |= scrub_poll(engine);
    return progress;
}

void
engine_tick(struct engine *engine)
{
    replica_tick(&engine->replica);
    scrub_tick(engine);
}

bool
engine_busy(const struct engine *engine)
{
    return !queue_empty(&engine->arrived) || !queue_empty(&engine->reads) ||
           engine->running_count > 0 || replica_busy(&engine->replica);
}

bool
engine_failed(const struct engine *engine)
{
    return engine->replica.status == REPLICA_STOPPED;
}

bool
engine_failed_on_damage(const struct engine *engine, struct engine_damage *damage)
{
    if (!engine_failed(engine) || !engine->replica.lost) return false;
    *damage = forest_damage_now(engine);
    return true;
}

bool
engine_pulse_damage(const struct engine *engine, struct engine_damage *damage)
{
    struct forest_damage found;
    if (engine_failed(engine) || !replica_pulse_damage(&engine->replica, &found)) return false;
    *damage = damage_of(&found);
    return true;
}

/* ---- Monitoring ------------------------------------------------------------------------------ */

void
engine_state_get(const struct engine *engine, struct engine_state *state)
{
    struct forest_stats forest;
    struct forest_scrub_stats scrub;
    forest_stats_get(engine->forest, &forest);
    forest_scrub_stats_get(engine->forest, &scrub);
    struct engine_damage pulse = {0};
    const bool pulse_damaged = engine_pulse_damage(engine, &pulse);
    const bool told = pulse_damaged && forest_scrub_knows(engine->forest, pulse.block_address);
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
        .cache_size_bytes = forest.cache_blocks * BLOCK_SIZE,
        .tables = forest.tables,
        .tables_max = forest.tables_max,
        .accounts = forest.records[GROOVE_ACCOUNT],
        .transfers = forest.records[GROOVE_TRANSFER],
        .scrub_tours = scrub.tours,
        .scrub_tour_blocks = scrub.tour_blocks,
        .scrub_blocks_total = scrub.blocks_total,
        .damaged_blocks = scrub.damaged + (pulse_damaged && !told ? 1 : 0),
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
    stats->pulses_skipped = engine->replica.stats.pulses_skipped;
    stats->events_per_prepare = engine->replica.stats.events_per_prepare;
    stats->requests_per_prepare = engine->replica.stats.requests_per_prepare;
    stats->checkpoints = engine->replica.stats.checkpoints;
    stats->blocks_written = engine->grid.stats.blocks_written;
    stats->blocks_read = engine->grid.stats.blocks_read;
    stats->extracts_read = engine->grid.stats.extracts_read;
    stats->cache_hits = forest.cache_hits;
    stats->cache_misses = forest.cache_misses;
    stats->cache_evictions = forest.cache_evictions;
    stats->journal = engine->journal.stats;
}
