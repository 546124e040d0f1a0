/* SPDX-License-Identifier: PostgreSQL */
/*
 * Making a checkpoint: what is only in memory is written to disk, then the lists of what there is.
 * internal.h shows the stages.
 *
 * Nothing that is on disk already is written again, except for the manifest and the free set, which
 * are small: 80 bytes for each table and a bit for each block. Everything is brought into a state
 * that a restart finds again: tails are empty, and no table is half made.
 *
 * When all goes well: the stages follow one another, each as far as free frames and reads allow,
 * then the callback runs. The replica writes the superblock and calls forest_checkpoint_durable,
 * which frees the blocks that the new checkpoint doesn't refer to. What can go wrong:
 *  - A crash before the superblock is durable. The old checkpoint is whole: its blocks weren't
 *    free, so nothing was written over them. The log is replayed from there.
 *  - No frame is free, or a merge waits for a block. The stage is tried again after progress.
 *  - A write fails. The callback says so, and the engine stops. A restart is as after a crash.
 *  - A block that a merge needs is damaged. The forest is lost, and the engine stops.
 *  - No block is free. That can't be: room.c has promised what a checkpoint takes (F3).
 */
#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

#define WORDS_PER_BLOCK ((uint32_t) GRID_FREE_SET_WORDS_PER_BLOCK)

/* ---- Flushing ------------------------------------------------------------------------------ */

/* Flushes the next part. */
static enum forest_work
checkpoint_flush(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->stage == CHECKPOINT_FLUSH);
    assert(checkpoint->part <= forest->part_count);
    assert(forest->compact.step == COMPACT_DONE);
    if (checkpoint->part == forest->part_count) return FOREST_WORK_DONE;
    struct part *part = forest_part(forest, checkpoint->part);
    if (!forest_flush_part(forest, part, checkpoint->op)) return FOREST_WORK_WAITS;
    part->added = 0;
    part->tail_done = 0;
    checkpoint->part += 1;
    return FOREST_WORK_LEFT;
}

static bool
checkpoint_merges(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->stage == CHECKPOINT_MERGES);
    assert(checkpoint->part <= forest->part_count);
    assert(checkpoint->level < LSM_LEVELS);
    for (; checkpoint->part < forest->part_count; checkpoint->part++) {
        struct part *part = forest_part(forest, checkpoint->part);
        for (; checkpoint->level < LSM_LEVELS; checkpoint->level++) {
            struct merge *merge = &part->merges[checkpoint->level];
            if (!merge->active) continue;
            switch (merge_checkpoint(merge, checkpoint->op)) {
            case MERGE_DONE: break;
            case MERGE_WAIT: return false;
            case MERGE_LOST: forest->lost = true; return false;
            }
        }
        checkpoint->level = 0;
    }
    return true;
}

/* ---- The checkpoint's own blocks ----------------------------------------------------------- */

static uint64_t
manifest_item_count(const struct forest *forest)
{
    uint64_t count = forest->tables.table_count;
    for (uint32_t i = 0; i < forest->part_count; i++) {
        for (uint32_t level = 0; level < LSM_LEVELS; level++) {
            assert(forest->parts[i].tree.run_count[level] <= LEVEL_RUNS_MAX);
            count += forest->parts[i].tree.run_count[level];
        }
    }
    return count;
}

static void
own_acquire(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->own_count < checkpoint->own_max);
    checkpoint->own[checkpoint->own_count] =
        (struct block_reference){.address = grid_acquire(forest->grid)};
    checkpoint->own_count += 1;
}

/*
 * Takes the addresses of all own blocks before the free set is written, since they must be in it.
 * The own blocks of the last checkpoint are released.
 */
static void
own_start(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->stage == CHECKPOINT_MANIFEST);
    assert(checkpoint->own_count <= checkpoint->own_max);
    for (uint32_t i = 0; i < checkpoint->own_count; i++) {
        grid_release(forest->grid, checkpoint->own[i].address);
        cache_forget(&forest->cache, checkpoint->own[i].address);
    }
    checkpoint->content = (struct root_content){.item_count = manifest_item_count(forest)};
    checkpoint->own_count = 0;
    checkpoint->own_sealed = 0;
    const uint64_t manifest = div_ceil(checkpoint->content.item_count, MANIFEST_ITEMS_PER_BLOCK);
    /* One more than the manifest's: the root. */
    while (checkpoint->own_count < manifest + 1) own_acquire(forest);
    while (checkpoint->own_count < manifest + 1 + grid_free_set_block_count(forest->grid)) {
        own_acquire(forest);
    }
    checkpoint->content.word_count = grid_free_set_word_count(forest->grid);
    checkpoint->items_left = checkpoint->content.item_count;
    checkpoint->words_done = 0;
    checkpoint->chain = (struct block_reference){0};
    checkpoint->part = 0;
    checkpoint->level = 0;
    checkpoint->run = 0;
    checkpoint->run_items = 0;
}

enum block_type
forest_own_type(const struct forest_checkpoint *checkpoint, uint32_t own)
{
    const uint64_t manifest =
        div_ceil(checkpoint->content.item_count, MANIFEST_ITEMS_PER_BLOCK);
    assert(own < checkpoint->own_count);
    assert(manifest < checkpoint->own_count);
    if (own < manifest) return BLOCK_MANIFEST;
    return own + 1 < checkpoint->own_count ? BLOCK_FREE_SET : BLOCK_ROOT;
}

const char *
forest_own_name(enum block_type type)
{
    assert(type == BLOCK_MANIFEST || type == BLOCK_FREE_SET || type == BLOCK_ROOT);
    if (type == BLOCK_MANIFEST) return "manifest";
    return type == BLOCK_FREE_SET ? "free set" : "root";
}

static void *
own_content(const struct forest *forest, uint32_t frame)
{
    return (char *) cache_block(&forest->cache, frame) + BLOCK_HEADER_SIZE;
}

/* Seals the next block of the current chain. Its content is in the frame. */
static void
own_seal(
    struct forest *forest, uint32_t frame, enum block_type type, uint32_t count, uint32_t size)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    struct block_reference *own = &checkpoint->own[checkpoint->own_sealed];
    struct block_header *header = cache_block(&forest->cache, frame);
    assert(checkpoint->own_sealed < checkpoint->own_count);
    assert(own->address != 0 && own->checksum == 0);
    assert(count > 0);
    assert(size <= BLOCK_CONTENT_SIZE);
    *header = (struct block_header){
        .op = checkpoint->op,
        .size = BLOCK_HEADER_SIZE + size,
        .type = (uint8_t) type,
        .tree = UINT8_MAX,
        .record_count = count,
        .previous = checkpoint->chain,
    };
    *own = cache_seal(&forest->cache, frame, own->address);
    checkpoint->chain = *own;
    checkpoint->own_sealed += 1;
}

/* Takes a frame for the next own block. Returns false if none is free yet. */
static bool
own_take(struct forest *forest, uint32_t *frame)
{
    assert(forest->checkpoint.own_sealed < forest->checkpoint.own_count);
    if (forest->cache.available == 0) {
        cache_issue_writes(&forest->cache);
        return false;
    }
    *frame = cache_take(&forest->cache);
    return true;
}

/* ---- The manifest -------------------------------------------------------------------------- */

/* Goes on to the next run, in the order of parts, levels and ages. */
static void
manifest_next_run(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->run < LEVEL_RUNS_MAX);
    checkpoint->run += 1;
    checkpoint->run_items = 0;
}

/* Moves on to a level that still has a run to be listed. */
static const struct tree *
manifest_settle(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    for (;;) {
        const struct tree *tree = &forest_part(forest, checkpoint->part)->tree;
        assert(checkpoint->level < LSM_LEVELS);
        if (checkpoint->run < tree->run_count[checkpoint->level]) return tree;
        checkpoint->run = 0;
        checkpoint->level += 1;
        if (checkpoint->level == LSM_LEVELS) {
            checkpoint->level = 0;
            checkpoint->part += 1;
        }
    }
}

static void
manifest_item(struct forest *forest, char *item)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    const struct tree *tree = manifest_settle(forest);
    const uint32_t number = tree->order[checkpoint->level][checkpoint->run];
    const struct tree_run *run = &tree->runs[number];
    assert(run->used);
    assert(checkpoint->run_items <= run->table_count);
    if (checkpoint->run_items == 0) {
        const struct manifest_run head = {
            .hidden = run->has_hidden ? run->hidden : 0,
            .table_count = run->table_count,
            .part = (uint8_t) checkpoint->part,
            .level = (uint8_t) checkpoint->level,
            .flags = (uint8_t) ((run->has_hidden ? MANIFEST_RUN_HIDDEN : 0) |
                                (run->building ? MANIFEST_RUN_BUILDING : 0) |
                                (run->merging ? MANIFEST_RUN_MERGING : 0)),
        };
        memcpy(item, &head, sizeof(head));
        checkpoint->place = tree_run_first(tree, number);
    } else {
        const struct table_info *table = tree_table(tree, checkpoint->place);
        assert(!table->moved);
        memcpy(item, table, sizeof(*table));
        checkpoint->place = tree_run_next(tree, number, checkpoint->place);
    }
    checkpoint->run_items += 1;
    if (checkpoint->run_items == 1 + (uint64_t) run->table_count) manifest_next_run(forest);
}

static bool
checkpoint_manifest(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    uint32_t frame;
    assert(checkpoint->stage == CHECKPOINT_MANIFEST);
    assert(checkpoint->own_sealed < checkpoint->own_count);
    while (checkpoint->items_left > 0) {
        if (!own_take(forest, &frame)) return false;
        char *items = own_content(forest, frame);
        const uint32_t count =
            (uint32_t) min_u64(checkpoint->items_left, MANIFEST_ITEMS_PER_BLOCK);
        for (uint32_t i = 0; i < count; i++) {
            manifest_item(forest, items + (uint64_t) i * MANIFEST_ITEM_SIZE);
        }
        checkpoint->items_left -= count;
        own_seal(forest, frame, BLOCK_MANIFEST, count, count * MANIFEST_ITEM_SIZE);
    }
    checkpoint->content.manifest = checkpoint->chain;
    checkpoint->chain = (struct block_reference){0};
    return true;
}

/* ---- Free set and root --------------------------------------------------------------------- */

static bool
checkpoint_free_set(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    uint32_t frame;
    assert(checkpoint->stage == CHECKPOINT_FREE_SET);
    assert(checkpoint->words_done <= checkpoint->content.word_count);
    while (checkpoint->words_done < checkpoint->content.word_count) {
        if (!own_take(forest, &frame)) return false;
        const uint32_t count = (uint32_t) min_u64(
            checkpoint->content.word_count - checkpoint->words_done, WORDS_PER_BLOCK);
        grid_free_set_fill(
            forest->grid, checkpoint->words_done, own_content(forest, frame), count);
        checkpoint->words_done += count;
        own_seal(forest, frame, BLOCK_FREE_SET, count, count * (uint32_t) sizeof(uint64_t));
    }
    if (!own_take(forest, &frame)) return false;
    checkpoint->content.free_set = checkpoint->chain;
    checkpoint->chain = (struct block_reference){0};
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        checkpoint->content.newest[i] = forest->grooves[i].newest;
        checkpoint->content.record_count[i] = forest->grooves[i].record_count;
    }
    checkpoint->content.memo = forest->memo;
    checkpoint->content.note = forest->note;
    memcpy(own_content(forest, frame), &checkpoint->content, sizeof(checkpoint->content));
    own_seal(forest, frame, BLOCK_ROOT, 1, sizeof(checkpoint->content));
    assert(checkpoint->own_sealed == checkpoint->own_count);
    checkpoint->root = checkpoint->chain;
    return true;
}

/* ---- The stages ---------------------------------------------------------------------------- */

static void
checkpoint_finish(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->stage != CHECKPOINT_IDLE);
    assert(checkpoint->callback != NULL);
    checkpoint->stage = CHECKPOINT_IDLE;
    checkpoint->callback(checkpoint->context, forest_failed(forest) ? GRID_IO_ERROR : GRID_OK);
}

/*
 * Is everything durable? Also, no tour may be reading a released block any more, since that block
 * is about to become free and may be overwritten (D4).
 */
static bool
checkpoint_written(const struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_WRITES);
    assert(forest->checkpoint.own_sealed == forest->checkpoint.own_count);
    if (forest->cache.writing > 0 || cache_reads_released(&forest->cache)) return false;
    return !tour_holds(&forest->scrub.tour) && !tour_holds(&forest->tour);
}

static enum forest_work
work_of(bool done)
{
    return done ? FOREST_WORK_DONE : FOREST_WORK_WAITS;
}

/* Does a piece of the current stage. DONE: the next stage can begin. */
static enum forest_work
checkpoint_step(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->callback != NULL);
    switch (checkpoint->stage) {
    case CHECKPOINT_IDLE: break;
    case CHECKPOINT_BEAT: return forest_beat_work(forest);
    case CHECKPOINT_FLUSH: return checkpoint_flush(forest);
    case CHECKPOINT_MERGES: return work_of(checkpoint_merges(forest));
    case CHECKPOINT_MANIFEST: return work_of(checkpoint_manifest(forest));
    case CHECKPOINT_FREE_SET: return work_of(checkpoint_free_set(forest));
    case CHECKPOINT_WRITES: return work_of(checkpoint_written(forest));
    }
    unreachable();
}

bool
forest_poll(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    bool progress = false;
    while (checkpoint->stage != CHECKPOINT_IDLE) {
        if (forest_failed(forest)) {
            checkpoint_finish(forest);
            return true;
        }
        const enum forest_work work = checkpoint_step(forest);
        if (forest_failed(forest)) continue;
        if (work == FOREST_WORK_WAITS) break;
        progress = true;
        if (work == FOREST_WORK_LEFT) break;
        checkpoint->part = 0;
        checkpoint->level = 0;
        if (checkpoint->stage == CHECKPOINT_WRITES) {
            checkpoint_finish(forest);
            return true;
        }
        checkpoint->stage += 1;
        if (checkpoint->stage == CHECKPOINT_MANIFEST) own_start(forest);
    }
    cache_issue_writes(&forest->cache);
    return progress;
}

void
forest_checkpoint(
    struct forest *forest, uint64_t op, forest_checkpoint_callback *callback, void *context)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(forest->opened);
    assert(!forest->active);
    assert(forest->op == op);
    assert(checkpoint->stage == CHECKPOINT_IDLE);
    assert(callback != NULL);
    checkpoint->stage = CHECKPOINT_BEAT;
    checkpoint->op = op;
    checkpoint->callback = callback;
    checkpoint->context = context;
    checkpoint->part = 0;
    checkpoint->level = 0;
    forest_beat_start_all(forest);
}

struct block_reference
forest_checkpoint_root(const struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(forest->checkpoint.root.address != 0);
    return forest->checkpoint.root;
}

void
forest_checkpoint_durable(struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(forest->cache.writing == 0);
    grid_checkpoint_durable(forest->grid);
    forest->room_events = 0;
}
