/* SPDX-License-Identifier: PostgreSQL */
/*
 * Checkpoints: the pages that changed go to new blocks, then a manifest that lists all pages. See
 * the stages in forest_internal.h.
 *
 * Addresses are taken when the checkpoint starts, pages first, in order (F5); what they replace is
 * released then, and free when the checkpoint is durable. A page is sealed in place, and written
 * from where it is: nothing changes records meanwhile.
 *
 * Most pages are full pages of trees that are never updated. They don't wait for the checkpoint,
 * which would then keep everybody waiting: they are sealed after the op that filled them, which
 * makes their addresses a function of the log (F5), and written ahead. Until the checkpoint they
 * are as free to be lost as if they had not been written.
 */
#include <string.h>

#include "base/units.h"
#include "lsm/forest_internal.h"

static_assert(MANIFEST_BUFFERS <= GRID_WRITES_MAX, "a buffer belongs to the write of its number");

uint32_t
forest_manifest_block_count(uint64_t page_count)
{
    assert(page_count < PAGES_MAX);
    return (uint32_t) max_u64(1, div_ceil(page_count, MANIFEST_ENTRIES_PER_BLOCK));
}

uint64_t
forest_page_count(const struct forest *forest)
{
    uint64_t count = 0;
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        count += forest->trees[tree].tree.page_count;
    }
    assert(count <= forest->pages.used_count);
    return count;
}

/* ---- Addresses ----------------------------------------------------------------------------- */

static void
checkpoint_release(struct forest *forest, uint64_t address)
{
    assert(address <= forest->grid->block_count);
    assert(address != 0);
    grid_release(forest->grid, address);
    forest->checkpoint.released_count += 1;
}

static void
checkpoint_take_addresses_of_tree(struct forest *forest, struct tree *tree)
{
    uint32_t dirty_count = 0;
    uint32_t index = tree_dirty_next(tree, 0);
    while (index < tree->page_count) {
        struct page_info *info = &forest->pages.infos[tree->pages[index]];
        assert(info->tree == tree->number);
        assert(info->index == index);
        if (info->reference.address != 0) checkpoint_release(forest, info->reference.address);
        info->address_next = grid_acquire(forest->grid);
        dirty_count += 1;
        index = tree_dirty_next(tree, index + 1);
    }
    assert(dirty_count == tree->dirty_count);
    tree->dirty_count = 0; /* Each bit goes when its page is sealed. */
}

static void
checkpoint_take_addresses(struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->released_count == 0);
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        checkpoint_take_addresses_of_tree(forest, &forest->trees[tree].tree);
    }
    for (uint32_t i = 0; i < checkpoint->manifest_count; i++) {
        checkpoint_release(forest, checkpoint->manifest_addresses[i]);
    }
    checkpoint->manifest_count = forest_manifest_block_count(forest_page_count(forest));
    for (uint32_t i = 0; i < checkpoint->manifest_count; i++) {
        checkpoint->manifest_addresses[i] = grid_acquire(forest->grid);
    }
}

/* ---- Sealing ------------------------------------------------------------------------------- */

/* Seals the page, which has an address, as it is after `op`. */
static void *
checkpoint_seal(struct forest *forest, struct tree *tree, uint32_t index, uint64_t op)
{
    const uint32_t page = tree->pages[index];
    struct page_info *info = &forest->pages.infos[page];
    assert(info->tree == tree->number);
    assert(info->index == index);
    assert(info->address_next != 0);
    assert(bitset_get(&tree->dirty, index));
    bitset_clear(&tree->dirty, index);
    struct block_header *header = page_pool_data(&forest->pages, page);
    const uint32_t record_count = tree_page_record_count(tree, index);
    *header = (struct block_header){
        .op = op,
        .size = BLOCK_HEADER_SIZE + record_count * tree->schema->record_size,
        .type = BLOCK_RECORDS,
        .tree = tree->number,
        .record_count = record_count,
    };
    info->reference = grid_block_seal(forest->grid, header, info->address_next);
    forest->pages_written += 1;
    return header;
}

/* The next dirty page in order, sealed; NULL if there is none. */
static const void *
checkpoint_seal_page(struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_PAGES);
    assert(forest->checkpoint.result == GRID_OK);
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    while (checkpoint->tree < forest->schema->tree_count) {
        struct tree *tree = &forest->trees[checkpoint->tree].tree;
        const uint32_t index = tree_dirty_next(tree, checkpoint->page_index);
        if (index == tree->page_count) {
            checkpoint->tree += 1;
            checkpoint->page_index = 0;
            continue;
        }
        checkpoint->page_index = index + 1;
        return checkpoint_seal(forest, tree, index, checkpoint->op);
    }
    return NULL;
}

/* The next page that was sealed ahead and is not written yet; NULL if there is none. */
static const void *
checkpoint_ahead_next(struct forest *forest)
{
    assert(forest->opened);
    for (uint32_t number = 0; number < forest->schema->tree_count; number++) {
        struct forest_tree *forest_tree = &forest->trees[number];
        assert(forest_tree->ahead_written <= forest_tree->ahead_sealed);
        if (forest_tree->ahead_written == forest_tree->ahead_sealed) continue;
        const uint32_t page = forest_tree->tree.pages[forest_tree->ahead_written];
        forest_tree->ahead_written += 1;
        return page_pool_data(&forest->pages, page);
    }
    return NULL;
}

static uint32_t
checkpoint_fill_manifest(struct forest *forest, struct manifest_entry *entries)
{
    assert(forest->checkpoint.stage == CHECKPOINT_MANIFEST);
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    uint32_t count = 0;
    while (checkpoint->tree < forest->schema->tree_count) {
        const struct tree *tree = &forest->trees[checkpoint->tree].tree;
        if (checkpoint->page_index == tree->page_count) {
            checkpoint->tree += 1;
            checkpoint->page_index = 0;
            continue;
        }
        if (count == MANIFEST_ENTRIES_PER_BLOCK) break;
        const struct page_info *info = &forest->pages.infos[tree->pages[checkpoint->page_index]];
        assert(info->index == checkpoint->page_index);
        assert(!bitset_get(&tree->dirty, checkpoint->page_index));
        assert(info->reference.address != 0);
        entries[count] = (struct manifest_entry){
            .checksum = info->reference.checksum,
            .address = info->reference.address,
            .page_index = checkpoint->page_index,
            .record_count = (uint16_t) tree_page_record_count(tree, checkpoint->page_index),
            .tree = tree->number,
        };
        count += 1;
        checkpoint->page_index += 1;
    }
    return count;
}

/* The next manifest block, sealed into the buffer. */
static const void *
checkpoint_seal_manifest(struct forest *forest, uint32_t buffer)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(buffer < MANIFEST_BUFFERS);
    assert(checkpoint->manifest_sealed < checkpoint->manifest_count);
    char *block = checkpoint->manifest_buffers + (uint64_t) buffer * BLOCK_SIZE;
    void *entries = block + BLOCK_HEADER_SIZE;
    const uint32_t count = checkpoint_fill_manifest(forest, entries);
    struct block_header *header = (void *) block;
    *header = (struct block_header){
        .op = checkpoint->op,
        .size = BLOCK_HEADER_SIZE + count * (uint32_t) sizeof(struct manifest_entry),
        .type = BLOCK_MANIFEST,
        .record_count = count,
    };
    if (checkpoint->manifest_sealed > 0) header->previous = checkpoint->manifest;
    checkpoint->manifest = grid_block_seal(
        forest->grid, block, checkpoint->manifest_addresses[checkpoint->manifest_sealed]);
    checkpoint->manifest_sealed += 1;
    return block;
}

/* ---- Writing ------------------------------------------------------------------------------- */

static void checkpoint_on_written(struct grid_write *write, enum grid_result result);

static uint32_t
checkpoint_free_write(const struct forest_checkpoint *checkpoint)
{
    assert(checkpoint->in_flight <= GRID_WRITES_MAX);
    uint32_t slot = 0;
    while (slot < GRID_WRITES_MAX && checkpoint->writes[slot].busy) {
        slot += 1;
    }
    return slot;
}

static void
checkpoint_write(struct forest *forest, uint32_t slot, const void *block)
{
    struct forest_write *write = &forest->checkpoint.writes[slot];
    assert(!write->busy);
    assert(write->forest == forest);
    write->busy = true;
    forest->checkpoint.in_flight += 1;
    grid_write_block(forest->grid, &write->write, block, checkpoint_on_written);
}

/* Keeps writes of pages that were sealed ahead in flight. */
static void
ahead_issue(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->stage == CHECKPOINT_IDLE);
    while (checkpoint->result == GRID_OK && checkpoint->in_flight < GRID_WRITES_MAX) {
        const void *page = checkpoint_ahead_next(forest);
        if (page == NULL) return;
        checkpoint_write(forest, checkpoint_free_write(checkpoint), page);
    }
}

/* Keeps as many writes in flight as may be. */
static void
checkpoint_issue(struct forest *forest)
{
    assert(forest->opened);
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->stage != CHECKPOINT_IDLE);
    while (checkpoint->result == GRID_OK) {
        const uint32_t slot = checkpoint_free_write(checkpoint);
        if (slot == GRID_WRITES_MAX) return;
        if (checkpoint->stage == CHECKPOINT_PAGES) {
            const void *page = checkpoint_ahead_next(forest);
            if (page == NULL) page = checkpoint_seal_page(forest);
            if (page != NULL) {
                checkpoint_write(forest, slot, page);
                continue;
            }
            checkpoint->stage = CHECKPOINT_MANIFEST;
            checkpoint->tree = 0;
            checkpoint->page_index = 0;
        }
        if (checkpoint->manifest_sealed == checkpoint->manifest_count) return;
        if (slot >= MANIFEST_BUFFERS) return;
        checkpoint_write(forest, slot, checkpoint_seal_manifest(forest, slot));
    }
}

static void
checkpoint_finish(struct forest *forest)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(checkpoint->in_flight == 0);
    if (checkpoint->result == GRID_OK) {
        assert(checkpoint->stage == CHECKPOINT_MANIFEST);
        assert(checkpoint->manifest_sealed == checkpoint->manifest_count);
        assert(checkpoint->tree == forest->schema->tree_count);
    }
    forest_ahead_reset(forest);
    checkpoint->stage = CHECKPOINT_IDLE;
    checkpoint->callback(checkpoint->context, checkpoint->result);
}

static void
checkpoint_on_written(struct grid_write *write, enum grid_result result)
{
    struct forest_write *forest_write = container_of(write, struct forest_write, write);
    struct forest *forest = forest_write->forest;
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(forest_write->busy);
    assert(checkpoint->in_flight > 0);
    forest_write->busy = false;
    checkpoint->in_flight -= 1;
    if (result != GRID_OK) checkpoint->result = GRID_IO_ERROR;
    if (checkpoint->stage == CHECKPOINT_IDLE) {
        ahead_issue(forest);
        return;
    }
    checkpoint_issue(forest);
    if (checkpoint->in_flight == 0) checkpoint_finish(forest);
}

/* ---- Entry points -------------------------------------------------------------------------- */

void
forest_ahead_reset(struct forest *forest)
{
    for (uint32_t number = 0; number < forest->schema->tree_count; number++) {
        struct forest_tree *forest_tree = &forest->trees[number];
        forest_tree->ahead_sealed = forest_tree->tree.page_count;
        forest_tree->ahead_written = forest_tree->tree.page_count;
    }
}

void
forest_write_ahead(struct forest *forest, uint64_t op)
{
    assert(forest->opened);
    assert(!forest->scope.open);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    for (uint32_t number = 0; number < forest->schema->tree_count; number++) {
        struct forest_tree *forest_tree = &forest->trees[number];
        struct tree *tree = &forest_tree->tree;
        if (tree->schema->updates_per_event_max > 0) continue;
        const uint32_t full_count = tree->record_count / tree->records_per_page;
        while (forest_tree->ahead_sealed < full_count) {
            struct page_info *info =
                &forest->pages.infos[tree->pages[forest_tree->ahead_sealed]];
            assert(info->reference.address == 0); /* In no checkpoint: nothing is replaced. */
            info->address_next = grid_acquire(forest->grid);
            (void) checkpoint_seal(forest, tree, forest_tree->ahead_sealed, op);
            tree->dirty_count -= 1;
            forest_tree->ahead_sealed += 1;
        }
    }
    ahead_issue(forest);
}

bool
forest_failed(const struct forest *forest)
{
    return forest->checkpoint.result != GRID_OK;
}

void
forest_checkpoint(
    struct forest *forest, uint64_t op, forest_checkpoint_callback *callback, void *context)
{
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    assert(forest->opened);
    assert(!forest->scope.open);
    assert(checkpoint->stage == CHECKPOINT_IDLE);
    assert(checkpoint->result == GRID_OK); /* After a failed one the caller stops. */
    assert(callback != NULL);
    checkpoint_take_addresses(forest);
    checkpoint->stage = CHECKPOINT_PAGES;
    checkpoint->op = op;
    checkpoint->callback = callback;
    checkpoint->context = context;
    checkpoint->tree = 0;
    checkpoint->page_index = 0;
    checkpoint->manifest_sealed = 0;
    checkpoint_issue(forest);
    assert(checkpoint->in_flight > 0);
}

struct block_reference
forest_checkpoint_manifest(const struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(forest->checkpoint.result == GRID_OK);
    return forest->checkpoint.manifest;
}

void
forest_checkpoint_durable(struct forest *forest)
{
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(forest->checkpoint.result == GRID_OK);
    grid_checkpoint_durable(forest->grid);
    forest->checkpoint.released_count = 0;
}
