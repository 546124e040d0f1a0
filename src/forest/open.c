/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening a checkpoint: reads its root, free set and manifest. Tables are read only when somebody
 * asks for them. What can go wrong: a block is damaged or says what can't be (FOREST_OPEN_CORRUPT,
 * naming the block), or the memory is too small for the lists.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "forest/internal.h"

struct opening {
    struct forest *forest;
    struct forest_open_report *report;
    void *block; /* A frame of the cache, to read into. */
    /* Where the manifest's stream of items is. */
    struct part *part;
    uint32_t run;
    uint32_t level;
    uint64_t tables_left;
    uint64_t nodes; /* How many nodes the lists of tables need, as far as that is known yet. */
};

static enum forest_open_result
open_block(
    struct opening *opening, const struct block_reference *reference, enum block_type type)
{
    assert(!opening->forest->opened);
    assert(opening->block != NULL);
    assert(reference->address != 0);
    opening->report->block_address = reference->address;
    opening->report->tree_name = forest_own_name(type);
    switch (grid_read_block(opening->forest->grid, reference, type, opening->block)) {
    case GRID_OK: return FOREST_OPENED;
    case GRID_CORRUPT: return FOREST_OPEN_CORRUPT;
    case GRID_IO_ERROR: return FOREST_OPEN_IO_ERROR;
    }
    unreachable();
}

static const void *
open_content(const struct opening *opening)
{
    assert(opening->block != NULL);
    return (const char *) opening->block + BLOCK_HEADER_SIZE;
}

/*
 * Lists the blocks of the chain that ends with `last` in checkpoint->own, from index `first` on, in
 * the order from the chain's first block to its last. If it is longer than `count`, it isn't right.
 */
static enum forest_open_result
open_chain(
    struct opening *opening,
    const struct block_reference *last,
    enum block_type type,
    uint64_t first,
    uint64_t count)
{
    struct forest_checkpoint *checkpoint = &opening->forest->checkpoint;
    const struct block_header *header = opening->block;
    struct block_reference reference = *last;
    assert(type == BLOCK_MANIFEST || type == BLOCK_FREE_SET);
    /* The checkpoint was made by a forest with more memory. */
    if (first + count >= checkpoint->own_max) return FOREST_OPEN_MEMORY_TOO_SMALL;
    for (uint64_t i = count; i > 0; i--) {
        if (reference.address == 0) return FOREST_OPEN_CORRUPT;
        const enum forest_open_result result = open_block(opening, &reference, type);
        if (result != FOREST_OPENED) return result;
        assert(first + i <= checkpoint->own_max);
        checkpoint->own[first + i - 1] = reference;
        reference = header->previous;
    }
    if (reference.address != 0) return FOREST_OPEN_CORRUPT;
    return FOREST_OPENED;
}

/* ---- The free set -------------------------------------------------------------------------- */

static enum forest_open_result
open_free_set(struct opening *opening, const struct root_content *root)
{
    struct forest *forest = opening->forest;
    const uint32_t words_per_block = (uint32_t) GRID_FREE_SET_WORDS_PER_BLOCK;
    assert(opening->part == NULL);
    const uint64_t heads_max = (uint64_t) FOREST_PARTS_MAX * TREE_RUNS_MAX;
    const uint64_t items_max = forest->grid->block_count + heads_max;
    if (root->item_count > items_max) return FOREST_OPEN_CORRUPT;
    /* A lower bound, until the runs are known. */
    if (root->item_count > heads_max) {
        opening->nodes = div_ceil(root->item_count - heads_max, TABLES_PER_NODE);
    }
    const uint64_t first = div_ceil(root->item_count, MANIFEST_ITEMS_PER_BLOCK);
    const uint64_t count = div_ceil(root->word_count, words_per_block);
    /*
     * The file may be larger than it was at the checkpoint, but not smaller. What lies beyond is
     * free.
     */
    if (root->word_count > bitset_word_count(forest->grid->block_count)) return FOREST_OPEN_CORRUPT;
    enum forest_open_result result =
        open_chain(opening, &root->free_set, BLOCK_FREE_SET, first, count);
    if (result != FOREST_OPENED) return result;
    assert(first + count < forest->checkpoint.own_max);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t word = (uint64_t) i * words_per_block;
        result = open_block(opening, &forest->checkpoint.own[first + i], BLOCK_FREE_SET);
        if (result != FOREST_OPENED) return result;
        const struct block_header *header = opening->block;
        if (header->record_count != min_u64(words_per_block, root->word_count - word)) {
            return FOREST_OPEN_CORRUPT;
        }
        if (!grid_free_set_load(forest->grid, word, open_content(opening), header->record_count)) {
            return FOREST_OPEN_CORRUPT;
        }
    }
    return FOREST_OPENED;
}

/* ---- The manifest -------------------------------------------------------------------------- */

static bool
open_run(struct opening *opening, const struct manifest_run *head)
{
    struct forest *forest = opening->forest;
    assert(opening->tables_left == 0);
    if (head->part >= forest->part_count || head->level >= LSM_LEVELS) return false;
    if (head->table_count > forest->grid->block_count) return false;
    struct part *part = forest_part(forest, head->part);
    if (part->tree.run_count[head->level] == LEVEL_RUNS_MAX) return false;
    if (tree_run_count(&part->tree) == TREE_RUNS_MAX) return false;
    switch (head->flags) {
    case 0: /* A log has one run. */
        if (head->table_count == 0) return false;
        if (part->log != NULL && (head->level > 0 || part->tree.run_count[0] > 0)) return false;
        break;
    case MANIFEST_RUN_BUILDING:
    case MANIFEST_RUN_MERGING:
    case MANIFEST_RUN_MERGING | MANIFEST_RUN_HIDDEN:
        if (part->log != NULL) return false;
        break;
    default: return false;
    }
    opening->part = part;
    opening->level = head->level;
    opening->run = tree_run_new(&part->tree, head->level, false);
    opening->tables_left = head->table_count;
    opening->nodes += div_ceil(head->table_count, TABLES_PER_NODE);
    struct tree_run *run = &part->tree.runs[opening->run];
    assert(run->used);
    assert(run->table_count == 0);
    run->hidden = head->hidden;
    run->has_hidden = head->flags & MANIFEST_RUN_HIDDEN;
    run->building = head->flags & MANIFEST_RUN_BUILDING;
    run->merging = head->flags & MANIFEST_RUN_MERGING;
    return true;
}

static enum forest_open_result
open_table(struct opening *opening, const struct table_info *table)
{
    assert(opening->part != NULL);
    assert(opening->tables_left > 0);
    struct tree *tree = &opening->part->tree;
    const struct tree_run *run = &tree->runs[opening->run];
    assert(run->used);
    opening->tables_left -= 1;
    /* There aren't enough nodes; the rest is only counted, to say how many are needed. */
    if (opening->nodes > tree->pool->node_count) return FOREST_OPENED;
    if (!table_info_valid(&tree->format, table)) return FOREST_OPEN_CORRUPT;
    if (run->table_count > 0 && table->key_min <= run->key_max) return FOREST_OPEN_CORRUPT;
    if (!grid_is_acquired(opening->forest->grid, table->index.address)) return FOREST_OPEN_CORRUPT;
    tree_run_append(tree, opening->run, table);
    return FOREST_OPENED;
}

static enum forest_open_result
open_items(struct opening *opening, const char *items, uint32_t count)
{
    assert(count <= MANIFEST_ITEMS_PER_BLOCK);
    for (uint32_t i = 0; i < count; i++) {
        const char *item = items + (uint64_t) i * MANIFEST_ITEM_SIZE;
        if (opening->tables_left > 0) {
            struct table_info table;
            memcpy(&table, item, sizeof(table));
            const enum forest_open_result result = open_table(opening, &table);
            if (result != FOREST_OPENED) return result;
        } else {
            struct manifest_run head;
            memcpy(&head, item, sizeof(head));
            if (!open_run(opening, &head)) return FOREST_OPEN_CORRUPT;
        }
    }
    return FOREST_OPENED;
}

static enum forest_open_result
open_manifest(struct opening *opening, const struct root_content *root)
{
    struct forest_checkpoint *checkpoint = &opening->forest->checkpoint;
    assert(opening->part == NULL);
    assert(opening->tables_left == 0);
    const uint64_t count = div_ceil(root->item_count, MANIFEST_ITEMS_PER_BLOCK);
    enum forest_open_result result =
        open_chain(opening, &root->manifest, BLOCK_MANIFEST, 0, count);
    uint64_t left = root->item_count;
    if (result == FOREST_OPENED) opening->nodes = 0; /* From here on they are counted run by run. */
    for (uint32_t i = 0; result == FOREST_OPENED && i < count; i++) {
        result = open_block(opening, &checkpoint->own[i], BLOCK_MANIFEST);
        if (result != FOREST_OPENED) return result;
        const struct block_header *header = opening->block;
        if (header->record_count != min_u64(left, MANIFEST_ITEMS_PER_BLOCK)) {
            return FOREST_OPEN_CORRUPT;
        }
        left -= header->record_count;
        result = open_items(opening, open_content(opening), header->record_count);
    }
    assert(result != FOREST_OPENED || left == 0);
    if (result == FOREST_OPENED && opening->tables_left > 0) return FOREST_OPEN_CORRUPT;
    const bool room = opening->nodes <= opening->forest->tables.node_count;
    return result == FOREST_OPENED && !room ? FOREST_OPEN_MEMORY_TOO_SMALL : result;
}

/* (M1) (M2) Are the inputs the oldest runs of the level, and merged as far as the output goes? */
static bool
open_inputs_valid(const struct tree *tree, uint32_t level, const struct tree_run *output)
{
    bool waiting = false;
    assert(level < LSM_LEVELS);
    assert(output->used && output->building);
    for (uint32_t i = 0; i < tree->run_count[level]; i++) {
        const struct tree_run *run = &tree->runs[tree->order[level][i]];
        if (!run->merging) {
            waiting |= !run->building;
            continue;
        }
        if (waiting || run->has_hidden != (output->table_count > 0)) return false;
        if (run->has_hidden && run->hidden != output->key_max) return false;
    }
    return true;
}

/* Lets the merges that were under way go on where they were. */
static bool
open_merges(struct part *part)
{
    struct tree *tree = &part->tree;
    uint32_t outputs = 0;
    uint32_t building = 0;
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        building += tree->runs[i].used && tree->runs[i].building;
    }
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        uint32_t inputs = 0;
        assert(tree->run_count[level] <= LEVEL_RUNS_MAX);
        for (uint32_t i = 0; i < tree->run_count[level]; i++) {
            inputs += tree->runs[tree->order[level][i]].merging;
        }
        if (inputs == 0) continue;
        outputs += 1;
        /* The output is either the oldest run of this level, or the newest of the next. */
        uint32_t output = tree->order[level][0];
        if (!tree->runs[output].building) {
            if (level == LSM_LEVELS - 1 || tree->run_count[level + 1] == 0) return false;
            output = tree->order[level + 1][tree->run_count[level + 1] - 1];
        }
        if (inputs < 2 || !tree->runs[output].building) return false;
        if (!open_inputs_valid(tree, level, &tree->runs[output])) return false;
        merge_resume(&part->merges[level], output);
    }
    return outputs == building;
}

/*
 * Do the newest record and the number of records fit what the tables say? At a checkpoint the tails
 * are empty, so that all gets and scans were answered from tables (F4).
 */
static bool
open_groove_valid(const struct forest *forest, const struct groove *groove)
{
    assert(groove->records < forest->part_count);
    const struct tree *records = &forest->parts[groove->records].tree;
    u128 key_max = 0;
    if ((groove->newest == 0) != (groove->record_count == 0) || groove->newest >= BURNT_BIT) {
        return false;
    }
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        const struct tree_run *run = &records->runs[i];
        if (run->used && run->table_count > 0 && run->key_max > key_max) key_max = run->key_max;
    }
    if (key_max != groove->newest) return false;
    return !groove_is_log(groove) || tree_entry_count(records) == groove->record_count;
}

/* ---- Opening ------------------------------------------------------------------------------- */

static void
open_reset(struct forest *forest)
{
    assert(!forest->opened);
    assert(!forest->active);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    cache_open(&forest->cache);
    table_pool_open(&forest->tables);
    for (uint32_t i = 0; i < forest->part_count; i++) {
        struct part *part = forest_part(forest, i);
        tree_open(&part->tree);
        part->added = 0;
        part->tail_done = 0;
        if (part->tail != NULL) tail_clear(part->tail);
        if (part->log != NULL) log_open(part->log);
    }
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        objects_clear(&forest->grooves[i].objects);
        forest->grooves[i].newest = 0;
        forest->grooves[i].record_count = 0;
    }
    memset(forest->prefetched, 0, sizeof(*forest->prefetched));
    forest->checkpoint.own_count = 0;
    forest->warm = (struct forest_warm){0};
    forest->memo = (struct forest_memo){0};
    forest->note = (struct forest_note){0};
    scrub_open(&forest->scrub);
    tour_open(&forest->tour);
    forest->op = 0;
    forest->epoch = 1;
}

static enum forest_open_result
open_root(struct opening *opening, const struct block_reference *reference)
{
    struct forest *forest = opening->forest;
    struct root_content root;
    assert(reference->address != 0);
    enum forest_open_result result = open_block(opening, reference, BLOCK_ROOT);
    if (result != FOREST_OPENED) return result;
    const struct block_header *header = opening->block;
    if (header->size != BLOCK_HEADER_SIZE + sizeof(root)) return FOREST_OPEN_CORRUPT;
    memcpy(&root, open_content(opening), sizeof(root));
    if (root.reserved[0] != 0 || root.reserved[1] != 0) return FOREST_OPEN_CORRUPT;
    if (!bytes_zero((const uint8_t *) &root.annex, sizeof(root.annex))) return FOREST_OPEN_CORRUPT;
    forest->op = header->op;
    forest->memo = root.memo;
    forest->note = root.note;
    result = open_free_set(opening, &root);
    if (result == FOREST_OPENED) result = open_manifest(opening, &root);
    if (result != FOREST_OPENED) return result;
    opening->report->block_address = reference->address;
    opening->report->tree_name = forest_own_name(BLOCK_ROOT);
    for (uint32_t i = 0; i < forest->part_count; i++) {
        if (!open_merges(forest_part(forest, i))) return FOREST_OPEN_CORRUPT;
    }
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        objects_forgot(&forest->grooves[i].objects, forest->op);
        forest->grooves[i].newest = root.newest[i];
        forest->grooves[i].record_count = root.record_count[i];
        if (!open_groove_valid(forest, &forest->grooves[i])) return FOREST_OPEN_CORRUPT;
    }
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    checkpoint->root = *reference;
    checkpoint->content = root;
    checkpoint->own_count = (uint32_t) (div_ceil(root.item_count, MANIFEST_ITEMS_PER_BLOCK) +
                                        div_ceil(root.word_count, GRID_FREE_SET_WORDS_PER_BLOCK));
    assert(checkpoint->own_count < checkpoint->own_max);
    checkpoint->own[checkpoint->own_count] = *reference;
    checkpoint->own_count += 1;
    for (uint32_t i = 0; i < checkpoint->own_count; i++) {
        if (!grid_is_acquired(forest->grid, checkpoint->own[i].address)) return FOREST_OPEN_CORRUPT;
    }
    return FOREST_OPENED;
}

enum forest_open_result
forest_open(
    struct forest *forest,
    const struct block_reference *root,
    struct forest_open_report *report)
{
    struct opening opening = {.forest = forest, .report = report};
    enum forest_open_result result = FOREST_OPENED;
    assert(!forest->opened);
    *report = (struct forest_open_report){0};
    open_reset(forest);
    if (root->address != 0) {
        const uint32_t frame = cache_take(&forest->cache);
        opening.block = cache_block(&forest->cache, frame);
        result = open_root(&opening, root);
        cache_untake(&forest->cache, frame);
    }
    forest->opened = result == FOREST_OPENED;
    if (result == FOREST_OPEN_MEMORY_TOO_SMALL) {
        /*
         * The tables may find room and a chain still be too long, if the grid was larger before.
         * How much memory that takes isn't known here, so a quarter more is asked for; after a few
         * attempts it suffices.
         */
        report->memory_bytes_needed = forest_memory_bytes_for(forest, opening.nodes);
        if (report->memory_bytes_needed <= forest->memory_bytes) {
            report->memory_bytes_needed = forest->memory_bytes + forest->memory_bytes / 4;
        }
    }
    assert(forest->cache.available == forest->cache.frame_count);
    return result;
}
