/* SPDX-License-Identifier: PostgreSQL */
/*
 * The work after an op.
 *
 * After each op, full blocks of logs are sealed. When BEAT_ENTRIES entries have come, there is a
 * *beat*:
 *  - Tails and sets of changed records that have become large enough are written as runs of level
 *    0.
 *  - In levels with enough runs, a merge is started.
 *  - Each merge gets a quota: the entries that came to its tree, and a quarter more. So a merge is
 *    done before its level has as many runs again, and the work follows the entries.
 * Merges take turns, so that the beats cost about the same: each works off its quotas of
 * MERGE_TURNS beats at once, and at each beat it is the turn of a part of the merges.
 *
 * When the work is done, how much, and in which order depends on the log alone (F5); only how long
 * it takes doesn't.
 */
#include "base/units.h"
#include "forest/internal.h"

/* ---- Flushing ------------------------------------------------------------------------------ */

/* Records are scattered in memory, so the lines of records this far ahead are fetched. */
#define FLUSH_RECORDS_AHEAD 8

static uint32_t
flush_count(const struct part *part)
{
    assert(part->log == NULL);
    assert((part->tail == NULL) != (part->objects == NULL));
    if (part->tail != NULL) return part->tail->count;
    assert(part->objects != NULL);
    return objects_dirty_count(part->objects);
}

/* Writes one table of the run, with as many of the entries as it holds. */
static void
flush_table(struct part *part, struct table_builder *builder, uint32_t run)
{
    assert(run < TREE_RUNS_MAX);
    assert(part->tree.runs[run].used);
    const struct table_info table = table_builder_finish(builder);
    tree_run_append(&part->tree, run, &table);
}

static void
flush_tail(struct forest *forest, struct part *part, uint32_t run, struct table_builder *builder)
{
    assert(part->tail != NULL);
    struct tail *tail = part->tail;
    uint32_t done = 0;
    assert(tail->count > 0 && tail->count <= tail->count_max);
    tail_sort(tail, forest->scratch);
    while (done < tail->count) {
        if (!table_builder_active(builder)) table_builder_begin(builder, tail->count - done);
        const char *entries = tail->entries.bytes + (uint64_t) done * tail->format.size;
        done += table_builder_add_some(builder, entries, tail->count - done);
        if (table_builder_full(builder)) flush_table(part, builder, run);
    }
    assert(done == tail->count);
    tail_clear(tail);
}

static void
flush_objects(struct forest *forest, struct part *part, uint32_t run, struct table_builder *builder)
{
    assert(part->objects != NULL);
    const uint32_t count = objects_take_dirty(part->objects, forest->flushing);
    const uint32_t size = part->tree.format.size;
    assert(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        if (!table_builder_active(builder)) table_builder_begin(builder, count - i);
        if (i + FLUSH_RECORDS_AHEAD < count) {
            const uint32_t ahead = forest->flushing[i + FLUSH_RECORDS_AHEAD];
            const char *record = objects_record(part->objects, ahead);
            for (uint32_t at = 0; at < size; at += 64) __builtin_prefetch(record + at);
        }
        table_builder_add(builder, objects_record(part->objects, forest->flushing[i]));
        if (table_builder_full(builder)) flush_table(part, builder, run);
    }
}

bool
forest_flush_part(struct forest *forest, struct part *part, uint64_t op)
{
    struct block_cache *cache = &forest->cache;
    struct table_builder builder;
    assert(!forest->active);
    assert(op == forest->op);
    if (part->log != NULL) {
        if (cache->available < log_frames_needed(part->log, 0)) {
            cache_issue_writes(cache);
            return false;
        }
        log_checkpoint(part->log, op);
        return true;
    }
    const uint32_t count = flush_count(part);
    if (count == 0) return true;
    if (cache->available < table_frames_needed(&part->tree.format, count)) {
        cache_issue_writes(cache);
        return false;
    }
    table_builder_init(&builder, cache, &part->tree.format);
    builder.op = op;
    builder.soon = true;
    const uint32_t run = tree_run_new(&part->tree, 0, false);
    if (part->tail != NULL) {
        flush_tail(forest, part, run, &builder);
    } else {
        flush_objects(forest, part, run, &builder);
    }
    if (table_builder_active(&builder)) flush_table(part, &builder, run);
    return true;
}

static bool
flush_due(const struct part *part)
{
    assert(part->tail == NULL || part->objects == NULL);
    if (part->tail != NULL) return part->tail->count >= TAIL_ENTRIES;
    return part->objects != NULL && part->objects->dirty_count >= OBJECTS_DIRTY_MAX;
}

/* Flushes the next part that is due. */
static enum forest_work
compact_flush(struct forest *forest)
{
    struct forest_compact *compact = &forest->compact;
    assert(compact->step == COMPACT_FLUSH);
    assert(compact->part <= forest->part_count);
    for (; compact->part < forest->part_count; compact->part++) {
        struct part *part = forest_part(forest, compact->part);
        if (!flush_due(part)) continue;
        if (!forest_flush_part(forest, part, forest->op)) return FOREST_WORK_WAITS;
        compact->part += 1;
        return FOREST_WORK_LEFT;
    }
    return FOREST_WORK_DONE;
}

/* ---- Merging ------------------------------------------------------------------------------- */

/* How many runs of the level are complete and in no merge, and how many entries they have. */
static uint32_t
runs_waiting(const struct tree *tree, uint32_t level, uint64_t *entries)
{
    uint32_t count = 0;
    assert(level < LSM_LEVELS);
    assert(tree->run_count[level] <= LEVEL_RUNS_MAX);
    *entries = 0;
    for (uint32_t i = 0; i < tree->run_count[level]; i++) {
        const struct tree_run *run = &tree->runs[tree->order[level][i]];
        assert(run->used);
        if (run->building || run->merging) continue;
        count += 1;
        *entries += run->entry_count;
    }
    return count;
}

/* A quota that is more than any merge has. Sums with it don't overflow. */
#define QUOTA_ALL (UINT64_MAX / 4)

uint64_t
forest_level_entries(const struct tree *tree, uint32_t level)
{
    assert(level < LSM_LEVELS);
    uint64_t entries = OBJECTS_DIRTY_MAX;
    assert(tree->fanout >= 2);
    for (uint32_t i = 0; i < level; i++) {
        entries *= tree->fanout;
    }
    return entries;
}

/*
 * Is it time to merge the level? Records that change are merged earlier, once the runs together
 * have as many entries as there are records: each run more could be another copy of everything. And
 * if the result can't become larger than a run of this level, it stays in this level.
 */
static bool
merge_due(const struct tree *tree, uint32_t level, bool *same_level)
{
    assert(level < LSM_LEVELS);
    uint64_t entries;
    const uint32_t waiting = runs_waiting(tree, level, &entries);
    *same_level = level == LSM_LEVELS - 1;
    if (!tree_mutable(tree)) return waiting >= tree->fanout;
    *same_level |= min_u64(entries, *tree->distinct) <= forest_level_entries(tree, level);
    return waiting >= tree->fanout || (waiting >= 2 && entries >= *tree->distinct);
}

/* Starts the merges that are due, and gives every merge its quota. */
static void
merges_prepare(struct part *part)
{
    struct tree *tree = &part->tree;
    if (part->log != NULL) return;
    assert(part->tail != NULL || part->objects != NULL);
    /*
     * A merge into the level that has all records reads and writes all of them for a few new ones.
     * It gets twice the quota, so that it is done before the next one is due.
     */
    const uint64_t more = tree_mutable(tree) ? part->added : part->added / 4;
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        struct merge *merge = &part->merges[level];
        bool same_level;
        assert(merge->level == level);
        if (!merge->active) {
            if (!merge_due(tree, level, &same_level)) continue;
            merge_start(merge, same_level);
        }
        merge->quota += part->added + more + 1;
        /*
         * Checkpoints that follow each other closely make small runs, faster than quotas allow for.
         */
        if (tree->run_count[level] + 2 >= LEVEL_RUNS_MAX) merge->quota = QUOTA_ALL;
    }
    part->added = 0;
    if (part->tail != NULL) part->tail_done = part->tail->count;
}

/*
 * Is it the merge's turn? A level that has nearly as many runs as it may have doesn't wait for it.
 */
static bool
merge_turn(const struct forest_compact *compact, const struct merge *merge)
{
    assert(compact->turn <= MERGE_TURNS);
    assert(merge->active);
    if (compact->turn == MERGE_TURNS || merge->quota >= QUOTA_ALL) return true;
    return (compact->part + compact->level) % MERGE_TURNS == compact->turn;
}

/* Works off the next merge's quota. */
static enum forest_work
compact_merge(struct forest *forest)
{
    struct forest_compact *compact = &forest->compact;
    assert(compact->step == COMPACT_MERGE);
    assert(compact->part <= forest->part_count);
    assert(compact->level <= LSM_LEVELS);
    for (; compact->part < forest->part_count; compact->part++) {
        struct part *part = forest_part(forest, compact->part);
        while (compact->level < LSM_LEVELS) {
            struct merge *merge = &part->merges[compact->level];
            if (!merge->active || !merge_turn(compact, merge)) {
                compact->level += 1;
                continue;
            }
            switch (merge_work(merge, forest->op)) {
            case MERGE_DONE: break;
            case MERGE_WAIT: return FOREST_WORK_WAITS;
            case MERGE_LOST: forest->lost = true; return FOREST_WORK_WAITS;
            }
            compact->level += 1;
            return FOREST_WORK_LEFT;
        }
        compact->level = 0;
    }
    return FOREST_WORK_DONE;
}

/* ---- The op -------------------------------------------------------------------------------- */

static void
beat_start(struct forest *forest, uint32_t turn)
{
    assert(!forest->active);
    assert(forest->compact.step == COMPACT_DONE);
    assert(!forest->scope.open);
    forest->compact.part = 0;
    forest->compact.level = 0;
    forest->compact.turn = turn;
    forest->compact.step = COMPACT_FLUSH;
}

/* Ends the op: it has been executed, and nothing of it will be undone. */
static void
compact_op(struct forest *forest, uint64_t op)
{
    bool due = false;
    assert(forest->active);
    assert(!forest->scope.open);
    assert(op == forest->op + 1 || forest->op == 0);
    assert(forest->compact.step == COMPACT_DONE);
    assert(!forest_asking(forest));
    forest->active = false;
    forest->op = op;
    forest_prefetched_clear(forest->prefetched);
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        struct groove *groove = &forest->grooves[i];
        if (!groove_is_log(groove)) continue;
        log_seal(&groove->log, op);
        if (groove->objects.count > 0) objects_clear(&groove->objects);
    }
    forest->compact.added = 0;
    for (uint32_t i = 0; i < forest->part_count; i++) {
        struct part *part = forest_part(forest, i);
        if (part->log != NULL) continue;
        assert(part->tail == NULL || part->tail_done <= part->tail->count);
        if (part->tail != NULL) part->added = part->tail->count - part->tail_done;
        forest->compact.added += part->added;
        due |= flush_due(part);
    }
    if (!due && forest->compact.added < BEAT_ENTRIES) return;
    beat_start(forest, forest->compact.beat);
    forest->compact.beat = (forest->compact.beat + 1) % MERGE_TURNS;
}

void
forest_beat_start_all(struct forest *forest)
{
    assert(forest->checkpoint.stage != CHECKPOINT_IDLE);
    beat_start(forest, MERGE_TURNS);
    /* Brings the state into the form that it has after a restart. */
    forest->compact.beat = 0;
}

enum forest_work
forest_beat_work(struct forest *forest)
{
    struct forest_compact *compact = &forest->compact;
    assert(!forest->active);
    assert(compact->part <= forest->part_count);
    if (compact->step == COMPACT_FLUSH) {
        const enum forest_work work = compact_flush(forest);
        if (work != FOREST_WORK_DONE) return work;
        for (uint32_t i = 0; i < forest->part_count; i++) {
            merges_prepare(forest_part(forest, i));
        }
        compact->part = 0;
        compact->step = COMPACT_MERGE;
    }
    if (compact->step == COMPACT_MERGE) {
        const enum forest_work work = compact_merge(forest);
        if (work != FOREST_WORK_DONE) return work;
        compact->step = COMPACT_DONE;
    }
    assert(compact->step == COMPACT_DONE);
    return FOREST_WORK_DONE;
}

enum forest_work
forest_compact(struct forest *forest, uint64_t op)
{
    assert(forest->opened);
    if (forest->active) compact_op(forest, op);
    assert(forest->op == op);
    const enum forest_work work = forest_beat_work(forest);
    cache_issue_writes(&forest->cache);
    return work;
}

bool
forest_failed(const struct forest *forest)
{
    return forest->cache.failed || forest->lost;
}

bool
forest_lost(const struct forest *forest)
{
    return forest->lost;
}

void
forest_damage(const struct forest *forest, struct forest_damage *damage)
{
    const struct cache_damage *met = &forest->cache.damage;
    *damage = (struct forest_damage){.block_address = met->address, .io_error = met->io_error};
    if (met->tree < forest->part_count) {
        damage->tree_name = forest->parts[met->tree].tree.name;
    }
}
