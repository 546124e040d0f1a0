/* SPDX-License-Identifier: PostgreSQL */
/*
 * The façade: puts the parts together in the order of the layers, and translates between them and
 * the host.
 */
#include "engine/engine.h"

#include "base/arena.h"
#include "base/units.h"
#include "engine/internal.h"
#include "store/grid.h"

/* ---- Memory ---------------------------------------------------------------------------------- */

/*
 * How much of the memory replica and ledger will take. They are created after the forest, which
 * they are given.
 */
static uint64_t
upper_bytes(const struct replica_options *options)
{
    struct arena arena;
    struct replica replica;
    struct ledger ledger;
    arena_init_measuring(&arena);
    replica_init(&replica, &arena, options);
    ledger_init(&ledger, &arena, NULL);
    return arena.used_bytes + ARENA_ALIGNMENT;
}

/*
 * Takes all parts from the arena, the forest last. The forest gets all remaining memory. When only
 * measuring it takes forest_bytes, or its minimum if that is more.
 */
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
        .sync = options->wal_sync,
    };
    engine->options = *options;
    engine->storage = storage;
    engine->clock = clock;
    superblock_init(&engine->superblock, arena, storage);
    journal_init(&engine->journal, arena, storage, &journal_options);
    /*
     * The grid keeps three bits for each block. A sixteenth of the memory is enough for a grid of
     * about three thousand times its size. But the grid may already be larger, if there was more
     * memory once.
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
        .network = options->network,
        .failover_timeout_ns = options->failover_timeout_ns,
        .fence_seed = options->fence_seed,
        .requests_max = options->requests_max,
    };
    queue_init(&engine->arrived, "requests that have arrived", options->requests_max);
    queue_init(&engine->reads.waiting, "reads that wait", options->requests_max);
    queue_init(&engine->reads.local, "local reads that wait", options->requests_max);
    engine_reads_take(engine, arena);
    ledger_verify_init(&engine->verification.verify, arena, &engine->journal);

    const uint64_t forest_min = forest_memory_bytes_min(&engine->grid, &ledger_schema);
    const struct forest_options forest_options = {
        .schema = &ledger_schema,
        .memory_bytes = arena_measuring(arena)
                            ? max_u64(forest_min, forest_bytes)
                            : arena->size_bytes - arena->used_bytes -
                                  upper_bytes(&replica_options) - ARENA_ALIGNMENT,
    };
    engine->forest = forest_init(arena, &engine->grid, &forest_options);

    replica_options.forest = engine->forest;
    replica_init(&engine->replica, arena, &replica_options);
    ledger_init(&engine->ledger, arena, engine->forest);
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

/*
 * With more memory the grid may be larger, and its bookkeeping takes a part of what was added. It
 * is only a part, so that this converges.
 */
uint64_t
engine_memory_bytes_for(const struct engine_options *options, uint64_t forest_bytes)
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
    return engine_memory_bytes_for(options, 0);
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

/* ---- Requests -------------------------------------------------------------------------------- */

/* Returns what is wrong with the sizes of a create, or NULL. */
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

void
engine_answer(struct engine_request *request, enum engine_status status)
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
        [REPLICA_NO_QUORUM] = ENGINE_NO_QUORUM,
        [REPLICA_UNKNOWN] = ENGINE_UNKNOWN,
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
    engine_answer(request, statuses[outcome]);
}

uint64_t
engine_deadline_ns(const struct engine_request *request)
{
    if (request->wait_ns == 0) return 0;
    const uint64_t left_ns = UINT64_MAX - request->submitted_ns;
    return request->submitted_ns + min_u64(request->wait_ns, left_ns);
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
        .deadline_ns = engine_deadline_ns(request),
    };
    replica_submit(&engine->replica, &request->create);
}

/* ---- Working --------------------------------------------------------------------------------- */

/*
 * Distributes the requests that have arrived: creates go to the replica, and reads wait until no op
 * is being executed.
 */
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
            engine_verify_start(engine, request);
            continue;
        }
        request->detail = creates ? create_check(request) : engine_read_check(engine, request);
        if (request->detail != NULL) {
            engine_answer(request, ENGINE_INVALID);
        } else if (creates) {
            start_create(engine, request);
        } else {
            engine_read_wait(engine, request);
        }
    }
    return progress;
}

/* What holds between two calls of an open engine. */
static void
engine_invariants(const struct engine *engine)
{
    const struct engine_reads *reads = &engine->reads;
    const struct engine_request *verified = engine->verification.request;
    uint32_t running = 0;
    for (uint32_t i = 0; i < ENGINE_READS_MAX; i++) running += reads->running[i].request != NULL;
    assert(running == reads->running_count);
    assert(reads->turn < ENGINE_READS_MAX);
    assert(verified == NULL || verified->operation == LEDGER_VERIFY);
    /*
     * Each request that is lent is in exactly one place, where it will be answered from. One that
     * fell between two would keep its client waiting for ever.
     */
    const uint32_t lent = engine->arrived.count + reads->waiting.count + reads->local.count +
                          running + replica_requests_count(&engine->replica) +
                          (verified != NULL ? 1 : 0);
    assert(lent == engine->requests_count);
    assert(lent <= engine->options.requests_max);
    /* Without an interval no time is due: scrubbing would begin with a burst when there is one. */
    assert(engine->scrubbing.interval_ns > 0 || engine->scrubbing.credit_ns == 0);
    forest_invariants(engine->forest);
}

/* In tests: cache and objects are what their counts say, every so many ops. */
static void
engine_recount(struct engine *engine)
{
    if (RECOUNT_OPS == 0) return;
    const uint64_t op = replica_committed(&engine->replica);
    if (op < engine->recounted_op + RECOUNT_OPS) return;
    engine->recounted_op = op;
    forest_recount(engine->forest);
}

/* True while a read or a verification is running. */
static bool
reads_busy(const struct engine *engine)
{
    const struct engine_reads *reads = &engine->reads;
    return !queue_empty(&reads->waiting) || !queue_empty(&reads->local) ||
           reads->running_count > 0 || engine->verification.request != NULL;
}

bool
engine_poll(struct engine *engine)
{
    bool progress = take_requests(engine);
    const bool answered = engine_reads_poll(engine);
    progress |= answered;
    /* What has come to be prepared waits for the write before it anyway. */
    engine->storage->idle =
        !answered && !reads_busy(engine) && !replica_committing(&engine->replica);
    progress |= replica_poll(&engine->replica);
    progress |= engine_verify_poll(engine);
    progress |= engine_scrub_poll(engine);
    engine_invariants(engine);
    engine_recount(engine);
    return progress;
}

void
engine_tick(struct engine *engine)
{
    replica_tick(&engine->replica);
    engine_reads_tick(engine);
    engine_scrub_tick(engine);
}

bool
engine_resign(struct engine *engine)
{
    return replica_resign(&engine->replica);
}

bool
engine_busy(const struct engine *engine)
{
    const struct engine_reads *reads = &engine->reads;
    return !queue_empty(&engine->arrived) || !queue_empty(&reads->waiting) ||
           !queue_empty(&reads->local) || reads->running_count > 0 ||
           replica_busy(&engine->replica);
}

uint64_t
engine_writing_op(const struct engine *engine)
{
    const struct journal *journal = &engine->journal;
    if (!journal_busy(journal)) return 0;
    /* Others may have sent more than that; and with JOURNAL_SYNC_FIRST a header may be written. */
    return journal->append != NULL ? journal->append->prepare->op : journal->head.op;
}

bool
engine_creates_wait(const struct engine *engine)
{
    return engine_writing_op(engine) != 0 && replica_is_primary(&engine->replica);
}

bool
engine_failed(const struct engine *engine)
{
    return replica_stopped(&engine->replica);
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

void
engine_forest_damage(const struct engine *engine, struct engine_damage *damage)
{
    struct forest_damage found;
    forest_damage(engine->forest, &found);
    *damage = damage_of(&found);
}

bool
engine_failed_on_damage(const struct engine *engine, struct engine_damage *damage)
{
    if (!replica_stopped_by_damage(&engine->replica)) return false;
    engine_forest_damage(engine, damage);
    return true;
}

bool
engine_failed_on_divergence(const struct engine *engine, uint64_t *op)
{
    if (!replica_stopped_by_divergence(&engine->replica)) return false;
    *op = engine->journal.checkpoint.op;
    return true;
}

bool
engine_failed_as_copy(const struct engine *engine)
{
    return replica_stopped_as_copy(&engine->replica);
}

bool
engine_pulse_damage(const struct engine *engine, struct engine_damage *damage)
{
    struct forest_damage found;
    if (engine_failed(engine) || !replica_pulse_damage(&engine->replica, &found)) return false;
    *damage = damage_of(&found);
    return true;
}
