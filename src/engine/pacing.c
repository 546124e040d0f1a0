/* SPDX-License-Identifier: PostgreSQL */
/*
 * What goes on beside requests, at a limited pace: a verification, which does some rows between two
 * ops, and the scrubber, which reads as many blocks as the time that has passed allows.
 */
#include "base/units.h"
#include "engine/internal.h"
#include "forest/watch.h"

/* ---- Verification ---------------------------------------------------------------------------- */

void
engine_verify_start(struct engine *engine, struct engine_request *request)
{
    if (request->reply_size_max < 2 * sizeof(struct verify_finding)) {
        request->detail = "the reply has no room";
        engine_answer(request, ENGINE_INVALID);
        return;
    }
    if (engine->verification.request != NULL) {
        engine_answer(request, ENGINE_BUSY);
        return;
    }
    engine->verification.request = request;
    engine->verification.waits = false;
    engine->stats.reads += 1;
    ledger_verify_start(&engine->verification.verify, engine->forest);
}

static void
verify_end(struct engine *engine, enum engine_status status)
{
    struct engine_request *request = engine->verification.request;
    assert(request != NULL);
    engine->verification.request = NULL;
    if (status == ENGINE_OK) {
        request->reply_size = ledger_verify_reply(
            &engine->verification.verify, request->reply, request->reply_size_max);
    } else {
        ledger_verify_cancel(&engine->verification.verify);
    }
    engine_answer(request, status);
}

bool
engine_cancel(struct engine *engine, struct engine_request *request)
{
    if (engine->verification.request != request) return false;
    request->detail = "it was cancelled";
    verify_end(engine, ENGINE_INVALID);
    return true;
}

/* Goes on with the verification by some rows, between ops. Requests come first. */
bool
engine_verify_poll(struct engine *engine)
{
    const uint64_t progress = replica_progress(&engine->replica);
    uint32_t rows_left = VERIFY_ROWS_PER_POLL;
    if (engine->verification.request == NULL) return false;
    if (engine_failed(engine)) {
        verify_end(engine, ENGINE_FAILED);
        return true;
    }
    if (replica_executing(&engine->replica)) return false;
    if (engine->verification.waits && engine->verification.asked_at == progress) return false;
    if (!engine->verification.verify.yielded) engine->verification.asked_at = progress;
    if (ledger_verify_step(&engine->verification.verify, &rows_left) == FOREST_FOUND) {
        verify_end(engine, ENGINE_OK);
        return true;
    }
    engine->verification.waits = !engine->verification.verify.yielded;
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

/* Allows the scrubber as many blocks as the time that has passed is worth. */
void
engine_scrub_tick(struct engine *engine)
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

bool
engine_scrub_poll(struct engine *engine)
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
