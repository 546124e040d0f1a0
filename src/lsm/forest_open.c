/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening a checkpoint. The manifest is read twice, from its newest block back: once to check it
 * and to count, once to note where each page is. Then all pages are read in order, and ids and
 * indexes made as if the records came anew (F4).
 */
#include <string.h>

#include "base/units.h"
#include "lsm/forest_internal.h"

/* Pages of the manifest come in descending order. */
struct open_manifest {
    uint64_t page_counts[FOREST_TREES_MAX];
    uint64_t record_counts[FOREST_TREES_MAX];
    uint64_t block_count;
    uint32_t tree;       /* Of the page before; tree_count before the first. */
    uint32_t pages_left; /* Of that tree, further ones. */
};

static enum forest_open_result
open_corrupt(struct forest_open_report *report, uint64_t address)
{
    assert(address != 0);
    report->block_address = address;
    return FOREST_OPEN_CORRUPT;
}

/* Reads a manifest block into the first manifest buffer. */
static enum forest_open_result
open_read_manifest_block(
    struct forest *forest,
    const struct block_reference *reference,
    struct forest_open_report *report)
{
    assert(!forest->opened);
    assert(reference->address != 0);
    struct block_header *header = (void *) forest->checkpoint.manifest_buffers;
    report->block_address = reference->address;
    report->tree_name = "manifest";
    switch (grid_read_block(forest->grid, reference, BLOCK_MANIFEST, header)) {
    case GRID_OK: break;
    case GRID_CORRUPT: return FOREST_OPEN_CORRUPT;
    case GRID_IO_ERROR: return FOREST_OPEN_IO_ERROR;
    }
    if (header->record_count > MANIFEST_ENTRIES_PER_BLOCK) return FOREST_OPEN_CORRUPT;
    const uint64_t content_size = header->record_count * sizeof(struct manifest_entry);
    if (header->size != BLOCK_HEADER_SIZE + content_size) return FOREST_OPEN_CORRUPT;
    return FOREST_OPENED;
}

/* Is this the entry that comes next, going back? */
static bool
open_check_entry(
    const struct forest *forest, struct open_manifest *state, const struct manifest_entry *entry)
{
    assert(state->tree <= forest->schema->tree_count);
    if (entry->tree >= forest->schema->tree_count || entry->reserved != 0) return false;
    const uint32_t records_per_page = forest->trees[entry->tree].tree.records_per_page;
    if (entry->record_count == 0 || entry->record_count > records_per_page) return false;
    if (state->pages_left > 0) {
        if (entry->tree != state->tree) return false;
        if (entry->page_index != state->pages_left - 1) return false;
        if (entry->record_count != records_per_page) return false;
        state->pages_left -= 1;
        return true;
    }
    const uint64_t full_records = (uint64_t) entry->page_index * records_per_page;
    if (entry->tree >= state->tree) return false;
    if (full_records + entry->record_count >= ROWS_MAX) return false;
    state->tree = entry->tree;
    state->pages_left = entry->page_index;
    state->page_counts[entry->tree] = (uint64_t) entry->page_index + 1;
    state->record_counts[entry->tree] = full_records + entry->record_count;
    return true;
}

/* Checks the chain, marks its blocks and theirs as acquired, and counts. */
static enum forest_open_result
open_scan_manifest(
    struct forest *forest,
    const struct block_reference *manifest,
    struct open_manifest *state,
    struct forest_open_report *report)
{
    assert(manifest->address != 0);
    assert(forest_page_count(forest) == 0);
    const char *block = forest->checkpoint.manifest_buffers;
    struct block_reference reference = *manifest;
    uint64_t page_count = 0;
    *state = (struct open_manifest){.tree = forest->schema->tree_count};
    while (reference.address != 0) {
        /* A block that is marked already closes a circle. */
        if (!grid_mark_acquired(forest->grid, reference.address)) {
            report->tree_name = "manifest";
            return open_corrupt(report, reference.address);
        }
        const enum forest_open_result result = open_read_manifest_block(forest, &reference, report);
        if (result != FOREST_OPENED) return result;
        const struct block_header *header = (const void *) block;
        const struct manifest_entry *entries = (const void *) (block + BLOCK_HEADER_SIZE);
        for (uint32_t i = header->record_count; i > 0; i--) {
            if (!open_check_entry(forest, state, &entries[i - 1]) ||
                !grid_mark_acquired(forest->grid, entries[i - 1].address)) {
                return open_corrupt(report, reference.address);
            }
        }
        page_count += header->record_count;
        state->block_count += 1;
        reference = header->previous;
    }
    if (state->pages_left > 0 || page_count >= PAGES_MAX ||
        state->block_count != forest_manifest_block_count(page_count)) {
        return open_corrupt(report, manifest->address);
    }
    return FOREST_OPENED;
}

static enum forest_open_result
open_too_small(
    const struct forest *forest,
    const struct open_manifest *state,
    struct forest_open_report *report)
{
    assert(!forest->opened);
    /* As if every indexed value were new, and another batch to come. */
    struct forest_growth growth =
        forest_growth_of_events(forest, EVENTS_PER_BATCH_MAX + PULSE_EXPIRIES_MAX);
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        growth.inserts[tree] += state->record_counts[tree];
    }
    report->memory_bytes_needed = forest_memory_bytes_for(forest->schema, &growth);
    assert(report->memory_bytes_needed > forest->memory_bytes);
    return FOREST_OPEN_MEMORY_TOO_SMALL;
}

/* Second walk: notes the references of pages and the addresses of manifest blocks. */
static enum forest_open_result
open_place_pages(
    struct forest *forest,
    const struct block_reference *manifest,
    const struct open_manifest *state,
    struct forest_open_report *report)
{
    assert(state->pages_left == 0);
    assert(state->block_count > 0);
    struct forest_checkpoint *checkpoint = &forest->checkpoint;
    struct block_reference reference = *manifest;
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        tree_place(&forest->trees[tree].tree, (uint32_t) state->record_counts[tree]);
    }
    checkpoint->manifest = *manifest;
    checkpoint->manifest_count = (uint32_t) state->block_count;
    for (uint32_t number = checkpoint->manifest_count; number > 0; number--) {
        const enum forest_open_result result = open_read_manifest_block(forest, &reference, report);
        if (result != FOREST_OPENED) return result;
        checkpoint->manifest_addresses[number - 1] = reference.address;
        const struct block_header *header = (const void *) checkpoint->manifest_buffers;
        const struct manifest_entry *entries =
            (const void *) (checkpoint->manifest_buffers + BLOCK_HEADER_SIZE);
        for (uint32_t i = 0; i < header->record_count; i++) {
            const struct tree *tree = &forest->trees[entries[i].tree].tree;
            assert(entries[i].page_index < tree->page_count);
            struct page_info *info = &forest->pages.infos[tree->pages[entries[i].page_index]];
            assert(info->reference.address == 0);
            info->reference = (struct block_reference){
                .checksum = entries[i].checksum,
                .address = entries[i].address,
            };
        }
        reference = header->previous;
    }
    assert(reference.address == 0);
    return FOREST_OPENED;
}

/* Is there room for the indexes of one more record? */
static bool
open_room(const struct forest *forest, uint32_t tree)
{
    assert(tree < forest->schema->tree_count);
    const uint32_t free_count = page_pool_free_count(&forest->pages);
    if (free_count > 2 * forest_pages_spare(forest->schema)) return true;
    struct forest_growth growth = {0};
    growth.inserts[tree] = 1;
    return forest_pages_needed(forest, &growth) <= free_count;
}

/* The record is on its page; it becomes part of the tree and its indexes. */
static enum forest_open_result
open_record(struct forest *forest, uint32_t number, const void *record)
{
    assert(!forest->opened);
    struct forest_tree *forest_tree = &forest->trees[number];
    struct tree *tree = &forest_tree->tree;
    const uint64_t timestamp = tree_record_timestamp(tree, record);
    /* (F1) */
    if (timestamp <= tree->newest || timestamp > TIMESTAMP_MAX) return FOREST_OPEN_CORRUPT;
    const bool burns = forest_tree->burns_for != FOREST_NONE;
    if (forest_tree->has_ids || burns) {
        const struct id_map *ids = &forest->trees[burns ? forest_tree->burns_for : number].ids;
        uint32_t row_found;
        if (id_map_find(ids, tree_record_id(tree, record), &row_found) != FOREST_ABSENT) {
            return FOREST_OPEN_CORRUPT;
        }
    }
    if (!open_room(forest, number)) return FOREST_OPEN_MEMORY_TOO_SMALL;

    const uint32_t row = tree->record_count;
    const uint32_t index = tree_page_of_row(tree, row);
    if (row == index * tree->records_per_page) tree->first_timestamps[index] = timestamp;
    tree->record_count += 1;
    tree->newest = timestamp;
    assert(tree_record(tree, row) == record);
    forest_index_record(forest, number, record, row);
    return FOREST_OPENED;
}

static enum forest_open_result
open_page(
    struct forest *forest,
    uint32_t number,
    uint32_t index,
    uint32_t record_count,
    struct forest_open_report *report)
{
    assert(record_count > 0);
    assert(index < forest->trees[number].tree.page_count);
    const struct tree *tree = &forest->trees[number].tree;
    const uint32_t page = tree->pages[index];
    const struct block_reference *reference = &forest->pages.infos[page].reference;
    assert(reference->address != 0);
    assert(record_count <= tree->records_per_page);
    struct block_header *header = page_pool_data(&forest->pages, page);
    report->block_address = reference->address;
    report->tree_name = tree->schema->name;
    switch (grid_read_block(forest->grid, reference, BLOCK_RECORDS, header)) {
    case GRID_OK: break;
    case GRID_CORRUPT: return FOREST_OPEN_CORRUPT;
    case GRID_IO_ERROR: return FOREST_OPEN_IO_ERROR;
    }
    const uint32_t record_size = tree->schema->record_size;
    if (header->tree != number) return FOREST_OPEN_CORRUPT;
    if (header->record_count != record_count) return FOREST_OPEN_CORRUPT;
    if (header->size != BLOCK_HEADER_SIZE + record_count * record_size) return FOREST_OPEN_CORRUPT;

    const char *records = (const char *) header + BLOCK_HEADER_SIZE;
    for (uint32_t i = 0; i < record_count; i++) {
        const enum forest_open_result result =
            open_record(forest, number, records + (uint64_t) i * record_size);
        if (result != FOREST_OPENED) return result;
    }
    return FOREST_OPENED;
}

static enum forest_open_result
open_pages(
    struct forest *forest, const struct open_manifest *state, struct forest_open_report *report)
{
    for (uint32_t number = 0; number < forest->schema->tree_count; number++) {
        const struct tree *tree = &forest->trees[number].tree;
        assert(tree->page_count == state->page_counts[number]);
        for (uint32_t index = 0; index < tree->page_count; index++) {
            const uint64_t records_left = state->record_counts[number] - tree->record_count;
            const uint32_t record_count = (uint32_t) min_u64(records_left, tree->records_per_page);
            const enum forest_open_result result =
                open_page(forest, number, index, record_count, report);
            if (result != FOREST_OPENED) return result;
        }
        assert(tree->record_count == state->record_counts[number]);
    }
    return FOREST_OPENED;
}

enum forest_open_result
forest_open(
    struct forest *forest,
    const struct block_reference *manifest,
    struct forest_open_report *report)
{
    struct open_manifest state;
    assert(!forest->opened);
    assert(forest_page_count(forest) == 0);
    *report = (struct forest_open_report){0};
    if (manifest->address == 0) {
        forest->opened = true;
        return FOREST_OPENED;
    }
    enum forest_open_result result = open_scan_manifest(forest, manifest, &state, report);
    if (result != FOREST_OPENED) return result;

    uint64_t page_count = 0;
    for (uint32_t i = 0; i < FOREST_TREES_MAX; i++) {
        page_count += state.page_counts[i];
    }
    if (page_count > page_pool_free_count(&forest->pages)) {
        return open_too_small(forest, &state, report);
    }
    result = open_place_pages(forest, manifest, &state, report);
    if (result == FOREST_OPENED) result = open_pages(forest, &state, report);
    if (result == FOREST_OPEN_MEMORY_TOO_SMALL) return open_too_small(forest, &state, report);
    if (result != FOREST_OPENED) return result;
    *report = (struct forest_open_report){0};
    forest_ahead_reset(forest);
    forest->opened = true;
    return FOREST_OPENED;
}
