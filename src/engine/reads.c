/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads. Up to ENGINE_READS_MAX run at the same time, each with memory of its own; others wait.
 * They see only whole ops: between two ops they take turns, each doing some rows. A read that waits
 * for the disk is asked again only after the replica has made progress, so that waiting costs no
 * work.
 */
#include "base/arena.h"
#include "engine/internal.h"

void
engine_reads_take(struct engine *engine, struct arena *arena)
{
    engine->reads.running =
        arena_take(arena, ENGINE_READS_MAX, sizeof(struct engine_read), ARENA_ALIGNMENT);
    for (uint32_t i = 0; i < ENGINE_READS_MAX; i++) {
        uint64_t *timestamps = arena_take(arena, RESULTS_MAX, sizeof(uint64_t), sizeof(uint64_t));
        struct ledger_row *rows =
            arena_take(arena, RESULTS_MAX, sizeof(struct ledger_row), sizeof(uint64_t));
        if (engine->reads.running == NULL) continue;
        engine->reads.running[i] = (struct engine_read){.timestamps = timestamps, .rows = rows};
    }
}

const char *
engine_read_check(const struct engine *engine, const struct engine_request *request)
{
    const char *complaint =
        ledger_read_check(request->operation, request->input, request->input_size);
    if (complaint != NULL) return complaint;
    return ledger_instant_check(
        engine->forest, &request->instant, replica_committed(&engine->replica));
}

static void
read_begin(struct engine *engine, struct engine_request *request)
{
    uint32_t number = 0;
    assert(engine->reads.running_count < ENGINE_READS_MAX);
    while (engine->reads.running[number].request != NULL) number += 1;
    struct engine_read *running = &engine->reads.running[number];
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
    running->request = request;
    running->waits = false;
    engine->reads.running_count += 1;
    engine->stats.reads += 1;
    ledger_read_start(
        &running->read, engine->forest, &question, replica_committed(&engine->replica));
}

static void
read_end(struct engine *engine, struct engine_read *running, enum engine_status status)
{
    struct engine_request *request = running->request;
    assert(engine->reads.running_count > 0);
    running->request = NULL;
    engine->reads.running_count -= 1;
    if (status == ENGINE_OK) {
        request->reply_size = running->read.reply_size;
        request->instant = running->read.instant;
    }
    if (status == ENGINE_DAMAGED) engine_forest_damage(engine, &request->damage);
    assert(request->reply_size <= request->reply_size_max);
    engine_answer(request, status);
}

/* Goes on with one read. Returns true if it got further and need not wait. */
static bool
read_step(struct engine *engine, struct engine_read *running, uint32_t *rows_left)
{
    const uint64_t progress = replica_progress(&engine->replica);
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
        struct engine_read *running = &engine->reads.running[i];
        if (running->request == NULL) continue;
        read_end(engine, running, ENGINE_FAILED);
        progress = true;
    }
    for (uint32_t local = 0; local < 2; local++) {
        struct queue *waiting = local ? &engine->reads.local : &engine->reads.waiting;
        while (!queue_empty(waiting)) {
            struct queue_link *link = queue_pop(waiting);
            assert(link != NULL);
            engine_answer(container_of(link, struct engine_request, link), ENGINE_FAILED);
            progress = true;
        }
    }
    return progress;
}

void
engine_read_wait(struct engine *engine, struct engine_request *request)
{
    if (!request->local) request->read_number = replica_read_number(&engine->replica);
    queue_push(request->local ? &engine->reads.local : &engine->reads.waiting, &request->link);
}

/*
 * Takes the oldest request that may begin, or returns NULL. Those that wait for other members hold
 * up none that don't ask them.
 */
static struct engine_request *
next_read(struct engine *engine)
{
    struct queue *waiting = &engine->reads.local;
    struct queue_link *link = queue_peek(waiting);
    struct queue_link *asked = queue_peek(&engine->reads.waiting);
    struct engine_request *request =
        link == NULL ? NULL : container_of(link, struct engine_request, link);
    if (asked != NULL) {
        struct engine_request *other = container_of(asked, struct engine_request, link);
        const bool older = request == NULL || other->submitted_ns <= request->submitted_ns;
        if (older && replica_read_ready(&engine->replica, other->read_number)) {
            waiting = &engine->reads.waiting;
            request = other;
        }
    }
    if (request != NULL) (void) queue_pop(waiting);
    return request;
}

/*
 * Begins waiting reads while there is room, then gives each running read its turn, as long as rows
 * are left.
 */
static bool
run_reads(struct engine *engine, uint32_t *rows_left)
{
    bool progress = false;
    while (engine->reads.running_count < ENGINE_READS_MAX) {
        struct engine_request *request = next_read(engine);
        if (request == NULL) break;
        read_begin(engine, request);
    }
    for (uint32_t i = 0; i < ENGINE_READS_MAX && *rows_left > 0; i++) {
        struct engine_read *running = &engine->reads.running[engine->reads.turn];
        engine->reads.turn = (engine->reads.turn + 1) % ENGINE_READS_MAX;
        if (running->request != NULL) progress |= read_step(engine, running, rows_left);
    }
    return progress;
}

/* Reads see only whole ops. They do a limited number of rows, and then ops go on. */
bool
engine_reads_poll(struct engine *engine)
{
    uint32_t rows_left = READ_ROWS_PER_POLL;
    bool progress = false;
    if (engine_failed(engine)) return fail_reads(engine);
    if (replica_executing(&engine->replica)) return false;
    while (rows_left > 0 && run_reads(engine, &rows_left)) progress = true;
    return progress;
}

/* Those that may begin, and only wait for their turn, are answered soon. */
void
engine_reads_tick(struct engine *engine)
{
    struct queue *waiting = &engine->reads.waiting;
    if (engine_failed(engine) || !replica_calls_wait(&engine->replica)) return;
    const uint64_t now = clock_monotonic_ns(engine->clock);
    for (uint32_t left = waiting->count; left > 0; left--) {
        struct queue_link *link = queue_pop(waiting);
        assert(link != NULL);
        struct engine_request *request = container_of(link, struct engine_request, link);
        const uint64_t deadline_ns = engine_deadline_ns(request);
        if (deadline_ns == 0 || now < deadline_ns ||
            replica_read_ready(&engine->replica, request->read_number)) {
            queue_push(waiting, &request->link);
        } else {
            engine_answer(request, ENGINE_NO_QUORUM);
        }
    }
}
