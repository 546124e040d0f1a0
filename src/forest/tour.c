/* SPDX-License-Identifier: PostgreSQL */
/* See watch.h. */
#include "forest/watch.h"

#include <string.h>

#include "forest/internal.h"

void
tour_init(struct tour *tour, struct arena *arena, struct forest *forest)
{
    assert(forest != NULL);
    *tour = (struct tour){.forest = forest};
    tour->index = arena_take(arena, 1, BLOCK_SIZE, SECTOR_SIZE);
    tour->filter = arena_take(arena, FILTER_BLOCKS_MAX, BLOCK_SIZE, SECTOR_SIZE);
    tour->block = arena_take(arena, 1, BLOCK_SIZE, SECTOR_SIZE);
}

struct tour *
forest_tour(struct forest *forest)
{
    assert(forest->tour.forest == forest);
    return &forest->tour;
}

void
tour_open(struct tour *tour)
{
    assert(!tour->reading);
    assert(tour->forest != NULL);
    tour->part = 0;
    tour->own = 0;
    tour->positioned = false;
    tour->in_table = false;
    tour->blocks = 0;
}

bool
tour_holds(const struct tour *tour)
{
    if (!tour->reading || tour->read_done) return false;
    assert(tour->read.reference.address != 0);
    return !grid_is_acquired(tour->forest->grid, tour->read.reference.address) ||
           grid_is_released(tour->forest->grid, tour->read.reference.address);
}

/* ---- Tables -------------------------------------------------------------------------------- */

static const struct tree *
tour_tree(const struct tour *tour)
{
    return &forest_part(tour->forest, tour->part)->tree;
}

/* Does the tree still have the current table? */
static bool
table_live(struct tour *tour)
{
    const struct tree *tree = tour_tree(tour);
    assert(tour->in_table);
    assert(tour->positioned);
    if (tour->version == tree->version) return true;
    for (uint32_t run = 0; run < TREE_RUNS_MAX; run++) {
        if (!tree->runs[run].used) continue;
        const struct table_place place = tree_run_find(tree, run, tour->table.key_min);
        if (place.node == NODE_NONE) continue;
        const struct table_info *table = tree_table(tree, place);
        if (table->index.address != tour->table.index.address || table->moved) continue;
        if (table->index.checksum != tour->table.index.checksum) continue;
        tour->version = tree->version;
        return true;
    }
    return false;
}

/* Does the table come after the place where the tour is? */
static bool
table_after(const struct tour *tour, const struct table_info *table)
{
    assert(!table->moved);
    if (!tour->positioned || table->key_min > tour->table.key_min) return true;
    return table->key_min == tour->table.key_min &&
           table->index.address > tour->table.index.address;
}

/* The run's first table after the place where the tour is, or NULL. */
static const struct table_info *
run_next(const struct tour *tour, uint32_t run)
{
    assert(run < TREE_RUNS_MAX);
    const struct tree *tree = tour_tree(tour);
    assert(tree->runs[run].used);
    struct table_place place = tour->positioned ? tree_run_find(tree, run, tour->table.key_min)
                                                : tree_run_first(tree, run);
    while (place.node != NODE_NONE) {
        const struct table_info *table = tree_table(tree, place);
        if (!table->moved && table_after(tour, table)) return table;
        place = tree_run_next(tree, run, place);
    }
    return NULL;
}

/*
 * Goes on to the part's next table; false if there is none. Tables are visited in the order of
 * their keys, so that one that is moved to another run meanwhile is neither left out nor visited
 * twice (D3).
 */
static bool
next_table(struct tour *tour)
{
    const struct tree *tree = tour_tree(tour);
    assert(!tour->in_table);
    const struct table_info *best = NULL;
    for (uint32_t run = 0; run < TREE_RUNS_MAX; run++) {
        if (!tree->runs[run].used) continue;
        const struct table_info *table = run_next(tour, run);
        if (table == NULL) continue;
        const bool before =
            best == NULL || table->key_min < best->key_min ||
            (table->key_min == best->key_min && table->index.address < best->index.address);
        if (before) best = table;
    }
    if (best == NULL) return false;
    assert(!best->moved);
    assert(best->index.address != 0);
    assert(best->block_count > 0);
    assert(best->filter_count <= FILTER_BLOCKS_MAX);
    tour->table = *best;
    tour->positioned = true;
    tour->in_table = true;
    tour->filters_whole = best->filter_count > 0;
    tour->version = tree->version;
    tour->place = 0;
    tour->key_last = 0;
    return true;
}

/* ---- Where a block is ---------------------------------------------------------------------- */

/* The block that is to be read next. */
struct tour_target {
    struct block_reference reference;
    enum block_type type;
    char *buffer;
};

static const struct table_block *
tour_blocks(const struct tour *tour)
{
    assert(tour->index != NULL);
    return (const void *) (tour->index + BLOCK_HEADER_SIZE);
}

/* What the index block says of the current block. */
static const struct table_block *
tour_block(const struct tour *tour)
{
    const struct table_info *table = &tour->table;
    assert(tour->in_table);
    assert(tour->place > 0);
    const uint32_t number = tour->place - 1;
    const uint32_t entry = number < table->filter_count ? table->block_count + number
                                                        : number - table->filter_count;
    assert(entry < TABLE_BLOCKS_PER_INDEX);
    return &tour_blocks(tour)[entry];
}

static void
target_in_table(const struct tour *tour, struct tour_target *target)
{
    assert(tour->in_table);
    if (tour->place == 0) {
        *target = (struct tour_target){tour->table.index, BLOCK_INDEX, tour->index};
        return;
    }
    target->reference = table_block_reference(tour_block(tour));
    assert(target->reference.address != 0);
    if (tour->place <= tour->table.filter_count) {
        target->type = BLOCK_FILTER;
        target->buffer = tour->filter + (uint64_t) (tour->place - 1) * BLOCK_SIZE;
    } else {
        target->type = BLOCK_VALUES;
        target->buffer = tour->block;
    }
}

/* The next of the checkpoint's own blocks; false at the end. */
static bool
target_own(struct tour *tour, struct tour_target *target)
{
    const struct forest_checkpoint *checkpoint = &tour->forest->checkpoint;
    assert(tour->part == tour->forest->part_count);
    assert(!tour->in_table);
    assert(checkpoint->own_count <= checkpoint->own_max);
    if (tour->own >= checkpoint->own_count) return false;
    target->reference = checkpoint->own[tour->own];
    /* A checkpoint is being made, and the block isn't sealed yet. */
    if (target->reference.checksum == 0) return false;
    assert(target->reference.address != 0);
    target->type = forest_own_type(checkpoint, tour->own);
    target->buffer = tour->block;
    return true;
}

/* Chooses the next block; false at the end of the tour. */
static bool
tour_choose(struct tour *tour, struct tour_target *target)
{
    const uint32_t table_end =
        1 + (uint32_t) tour->table.block_count + tour->table.filter_count;
    assert(!tour->in_table || tour->place <= table_end);
    assert(tour->part <= tour->forest->part_count);
    if (tour->in_table && (tour->place == table_end || !table_live(tour))) {
        tour->in_table = false;
    }
    while (!tour->in_table && tour->part < tour->forest->part_count) {
        if (next_table(tour)) break;
        tour->part += 1;
        tour->positioned = false;
    }
    if (!tour->in_table) return target_own(tour, target);
    target_in_table(tour, target);
    return true;
}

/* ---- What a block should be ---------------------------------------------------------------- */

static bool
header_right(const struct tour *tour, const void *block, uint32_t count, uint32_t size)
{
    const struct block_header *header = block;
    assert(tour->in_table);
    return header->tree == tour->part && header->record_count == count &&
           header->size == BLOCK_HEADER_SIZE + size;
}

static bool
index_right(const struct tour *tour)
{
    const struct table_info *table = &tour->table;
    const struct table_block *blocks = tour_blocks(tour);
    const uint32_t count = (uint32_t) table->block_count + table->filter_count;
    const uint32_t entries_max = entries_per_block(&tour_tree(tour)->format);
    uint64_t entries = 0;
    assert(tour->in_table);
    assert(tour->place == 0);
    if (table->block_count == 0 || count > TABLE_BLOCKS_PER_INDEX) return false;
    if (!header_right(tour, tour->index, count, count * (uint32_t) sizeof(*blocks))) return false;
    for (uint32_t i = 0; i < table->block_count; i++) {
        if (blocks[i].entry_count == 0 || blocks[i].entry_count > entries_max) return false;
        if (i > 0 && blocks[i].key_last <= blocks[i - 1].key_last) return false;
        entries += blocks[i].entry_count;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct grid *grid = tour->forest->grid;
        if (blocks[i].reserved != 0 || !grid_is_acquired(grid, blocks[i].address)) return false;
        if (grid_is_released(grid, blocks[i].address)) return false;
    }
    if (entries != table->entry_count) return false;
    return blocks[table->block_count - 1].key_last == table->key_max;
}

static bool
filters_hold(const struct tour *tour, u128 key)
{
    assert(tour->filters_whole);
    const uint64_t hash = filter_hash(key);
    const uint32_t line = filter_line_of(hash, tour->table.filter_lines);
    const uint32_t number = line / FILTER_LINES_PER_BLOCK;
    assert(number < tour->table.filter_count);
    const char *block = tour->filter + (uint64_t) number * BLOCK_SIZE + BLOCK_HEADER_SIZE;
    const uint32_t offset = line % FILTER_LINES_PER_BLOCK * FILTER_LINE_SIZE;
    return filter_may_hold((const uint8_t *) block + offset, hash);
}

static bool
values_right(struct tour *tour)
{
    const struct entry_format *format = &tour_tree(tour)->format;
    const struct table_block *block = tour_block(tour);
    const bool first = tour->place == 1u + tour->table.filter_count;
    u128 key_before = tour->key_last;
    assert(tour->place > tour->table.filter_count);
    if (!header_right(tour, tour->block, block->entry_count, block->entry_count * format->size)) {
        return false;
    }
    tour->key_last = block->key_last;
    for (uint32_t i = 0; i < block->entry_count; i++) {
        const char *entry = tour->block + BLOCK_HEADER_SIZE + (uint64_t) i * format->size;
        const u128 key = entry_key(format, entry);
        if (first && i == 0) {
            if (key != tour->table.key_min) return false;
        } else if (key <= key_before) {
            return false; /* (T1) */
        }
        if (tour->filters_whole && !filters_hold(tour, key)) return false;
        key_before = key;
    }
    return key_before == block->key_last;
}

/* Checks one item of the manifest: the head of a run, or one of its tables. */
static bool
manifest_item_right(struct tour *tour, const char *item)
{
    struct manifest_run head;
    struct table_info table;
    assert(tour->manifest_root == tour->forest->checkpoint.root.address);
    if (tour->manifest_tables == 0) {
        memcpy(&head, item, sizeof(head));
        tour->manifest_tables = head.table_count;
        tour->manifest_first = true;
        return head.part < tour->forest->part_count && head.level < LSM_LEVELS;
    }
    memcpy(&table, item, sizeof(table));
    const bool ascends = tour->manifest_first || table.key_min > tour->manifest_key_last;
    tour->manifest_tables -= 1;
    tour->manifest_first = false;
    tour->manifest_key_last = table.key_max;
    return ascends && table.key_min <= table.key_max && table.index.address != 0; /* (V1) */
}

/*
 * Checks a block of the manifest. Its blocks are a stream: if one is missing, those behind it can't
 * be understood.
 */
static bool
manifest_right(struct tour *tour)
{
    const struct forest_checkpoint *checkpoint = &tour->forest->checkpoint;
    const struct block_header *header = (const void *) tour->block;
    const char *items = tour->block + BLOCK_HEADER_SIZE;
    assert(!tour->in_table);
    if (header->size != BLOCK_HEADER_SIZE + header->record_count * MANIFEST_ITEM_SIZE) return false;
    if (tour->own == 0) {
        tour->manifest_root = checkpoint->root.address;
        tour->manifest_next = 0;
        tour->manifest_tables = 0;
    }
    if (tour->manifest_root != checkpoint->root.address) return true;
    if (tour->manifest_next != tour->own) return true;
    bool right = true;
    for (uint32_t i = 0; i < header->record_count; i++) {
        right &= manifest_item_right(tour, items + (uint64_t) i * MANIFEST_ITEM_SIZE);
    }
    tour->manifest_next += right;
    return right;
}

static bool
own_right(struct tour *tour)
{
    const struct forest_checkpoint *checkpoint = &tour->forest->checkpoint;
    const struct block_header *header = (const void *) tour->block;
    const bool first = tour->own == 0 || forest_own_type(checkpoint, tour->own - 1) != header->type;
    const uint64_t previous = first ? 0 : checkpoint->own[tour->own - 1].address;
    assert(!tour->in_table);
    assert(tour->own < checkpoint->own_count);
    if (header->tree != UINT8_MAX || header->previous.address != previous) return false;
    return header->type == BLOCK_MANIFEST ? manifest_right(tour) : true;
}

static bool
tour_content_right(struct tour *tour)
{
    assert(!tour->reading);
    assert(tour->result == GRID_OK);
    if (!tour->in_table) return own_right(tour);
    if (tour->place == 0) return index_right(tour);
    const bool values = tour->place > tour->table.filter_count;
    const char *block =
        values ? tour->block : tour->filter + (uint64_t) (tour->place - 1) * BLOCK_SIZE;
    const struct block_header *header = (const void *) block;
    const uint64_t *sums = tour_block(tour)->sector_sums;
    if (memcmp(header->sector_sums, sums, sizeof(header->sector_sums)) != 0) return false;
    if (values) return values_right(tour);
    return header_right(
        tour, block, FILTER_LINES_PER_BLOCK, FILTER_LINES_PER_BLOCK * FILTER_LINE_SIZE);
}

/* ---- Steps --------------------------------------------------------------------------------- */

static void
tour_on_read(struct grid_read *read, enum grid_result result)
{
    struct tour *tour = container_of(read, struct tour, read);
    assert(tour->reading);
    assert(!tour->read_done);
    tour->result = result;
    tour->read_done = true;
}

/* Does the forest still refer to the block that was read? (D2) */
static bool
tour_target_live(struct tour *tour)
{
    const struct forest_checkpoint *checkpoint = &tour->forest->checkpoint;
    const struct block_reference *reference = &tour->read.reference;
    assert(!tour->reading);
    assert(reference->address != 0);
    if (tour->in_table) return table_live(tour);
    if (tour->own >= checkpoint->own_count) return false;
    return checkpoint->own[tour->own].address == reference->address &&
           checkpoint->own[tour->own].checksum == reference->checksum;
}

static void
tour_note_damage(struct tour *tour, uint64_t address, bool whole)
{
    assert(address != 0);
    assert(whole == (tour->result == GRID_OK));
    tour->damage = (struct tour_damage){
        .address = address,
        .tree_name = tour->in_table ? tour_tree(tour)->name : forest_own_name(tour->read.type),
        .kind = whole ? TOUR_WRONG : TOUR_CORRUPT,
    };
    if (!whole && tour->result == GRID_IO_ERROR) tour->damage.kind = TOUR_UNREADABLE;
}

/*
 * Goes on behind the block that was read. If that was a damaged index block, its table is unknown
 * and skipped.
 */
static void
tour_advance(struct tour *tour, bool right)
{
    assert(!tour->reading);
    tour->blocks += 1;
    if (!tour->in_table) {
        tour->own += 1;
        return;
    }
    if (!right && tour->place == 0) {
        tour->in_table = false;
    } else if (!right && tour->place <= tour->table.filter_count) {
        tour->filters_whole = false;
    } else if (!right) {
        tour->key_last = tour_block(tour)->key_last;
    }
    tour->place += 1;
}

/*
 * Judges the block after its read is done, or after it turned out that there was nothing to read.
 */
static enum tour_step
tour_finish_read(struct tour *tour)
{
    const uint64_t address = tour->read.reference.address;
    assert(tour->reading && tour->read_done);
    assert(address != 0);
    tour->reading = false;
    if (!tour_target_live(tour)) {
        tour->blocks += 1;
        if (!tour->in_table) tour->own += 1;
        tour->in_table = false;
        return TOUR_CHECKED;
    }
    const bool whole = tour->result == GRID_OK;
    const bool right = whole && tour_content_right(tour);
    if (!right) tour_note_damage(tour, address, whole);
    tour_advance(tour, right);
    return right ? TOUR_CHECKED : TOUR_DAMAGED;
}

enum tour_step
tour_step(struct tour *tour)
{
    struct forest *forest = tour->forest;
    struct tour_target target;
    assert(forest->opened);
    assert(tour->part <= forest->part_count);
    if (tour->reading) return tour->read_done ? tour_finish_read(tour) : TOUR_WAIT;
    if (forest_failed(forest)) return TOUR_WAIT;
    if (!tour_choose(tour, &target)) {
        tour_open(tour);
        return TOUR_END;
    }
    if (cache_writes(&forest->cache, target.reference.address)) return TOUR_WAIT;
    tour->reading = true;
    tour->read_done = false;
    /* Reads into the tour's own memory, so that the cache stays as it is (D1). */
    const bool within = grid_read_block_start(
        forest->grid, &tour->read, &target.reference, target.type, target.buffer, tour_on_read);
    if (!within) {
        /* The file was cut short. */
        tour->read.reference = target.reference;
        tour->result = GRID_CORRUPT;
        tour->read_done = true;
    }
    return TOUR_STARTED;
}
