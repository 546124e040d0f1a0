/* SPDX-License-Identifier: PostgreSQL */
/* See log.h. */
#include "lsm/log.h"

#include "base/units.h"

void
log_init(struct log *log, struct tree *tree)
{
    assert(tree->format.shape == ENTRY_RECORD);
    *log = (struct log){.tree = tree, .per_block = entries_per_block(&tree->format)};
    table_builder_init(&log->builder, tree->cache, &tree->format);
    assert(log->per_block > 0);
}

void
log_open(struct log *log)
{
    assert(log->tree->run_count[0] <= 1);
    assert(log->per_block > 0);
    table_builder_init(&log->builder, log->tree->cache, &log->tree->format);
    log->frame_count = 0;
    log->record_count = 0;
}

uint32_t
log_frames_needed(const struct log *log, uint64_t record_count)
{
    assert(record_count <= LOG_OP_RECORDS_MAX);
    assert(log->per_block > 0);
    /*
     * Besides the full blocks there are the one that is begun and two index blocks, since the last
     * block may finish a table.
     */
    return (uint32_t) div_ceil(record_count, log->per_block) + 3;
}

/* ---- Open records -------------------------------------------------------------------------- */

static char *
open_record(const struct log *log, uint32_t number)
{
    assert(number < log->record_count);
    const uint32_t frame = log->frames[number / log->per_block];
    assert(frame != FRAME_NONE);
    char *block = cache_block(log->tree->cache, frame);
    return block + BLOCK_HEADER_SIZE +
           (uint64_t) (number % log->per_block) * log->tree->format.size;
}

static uint64_t
open_timestamp(const struct log *log, uint32_t number)
{
    assert(number < log->record_count);
    return u128_low(entry_key(&log->tree->format, open_record(log, number)));
}

void
log_append(struct log *log, const void *record)
{
    assert(record != NULL);
    assert(log->record_count <= log->frame_count * log->per_block);
    if (log->record_count == log->frame_count * log->per_block) {
        assert(log->frame_count < LOG_FRAMES_MAX);
        log->frames[log->frame_count] = cache_take(log->tree->cache);
        log->frame_count += 1;
    }
    log->record_count += 1;
    memcpy(open_record(log, log->record_count - 1), record, log->tree->format.size);
}

void
log_pop(struct log *log)
{
    assert(log->record_count > 0);
    assert(log->frame_count > 0);
    assert(log->record_count <= log->frame_count * log->per_block);
    log->record_count -= 1;
    if (log->record_count > (log->frame_count - 1) * log->per_block) return;
    log->frame_count -= 1;
    cache_untake(log->tree->cache, log->frames[log->frame_count]);
}

/* The first open record at or after the timestamp; record_count if there is none. */
static uint32_t
open_lower_bound(const struct log *log, uint64_t timestamp)
{
    uint32_t low = 0;
    uint32_t high = log->record_count;
    assert(log->record_count <= log->frame_count * log->per_block);
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (open_timestamp(log, middle) < timestamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const void *
log_find_open(const struct log *log, uint64_t timestamp)
{
    assert(timestamp > 0);
    const uint32_t number = open_lower_bound(log, timestamp);
    if (number == log->record_count) return NULL;
    return open_timestamp(log, number) == timestamp ? open_record(log, number) : NULL;
}

/* ---- Sealing ------------------------------------------------------------------------------- */

static void
log_finish_table(struct log *log)
{
    struct tree *tree = log->tree;
    assert(tree->run_count[0] <= 1);
    const struct table_info table = table_builder_finish(&log->builder);
    const uint32_t run = tree->run_count[0] == 0 ? tree_run_new(tree, 0, false) : tree->order[0][0];
    tree_run_append(tree, run, &table);
}

static void
log_seal_block(struct log *log, uint32_t frame, uint32_t count)
{
    assert(count > 0 && count <= log->per_block);
    if (!table_builder_active(&log->builder)) {
        table_builder_begin(&log->builder, table_entries_max(&log->tree->format));
    }
    table_builder_add_block(&log->builder, frame, count);
    assert(
        log->builder.table.block_count > 0 && log->builder.table.block_count <= TABLE_BLOCKS_MAX);
    /* Blocks of history are rarely read soon after they are written. */
    const struct table_block *blocks = table_builder_blocks(&log->builder);
    cache_leave(log->tree->cache, blocks[log->builder.table.block_count - 1].address);
    if (log->builder.table.block_count == TABLE_BLOCKS_MAX) log_finish_table(log);
}

void
log_seal(struct log *log, uint64_t op)
{
    const uint32_t full_count = log->record_count / log->per_block;
    assert(full_count <= log->frame_count);
    assert(log->frame_count <= LOG_FRAMES_MAX);
    assert(log->record_count <= log->frame_count * log->per_block);
    if (full_count == 0) return;
    log->builder.op = op;
    for (uint32_t i = 0; i < full_count; i++) {
        log_seal_block(log, log->frames[i], log->per_block);
    }
    log->record_count -= full_count * log->per_block;
    for (uint32_t i = full_count; i < log->frame_count; i++) {
        log->frames[i - full_count] = log->frames[i];
    }
    log->frame_count -= full_count;
    assert((log->frame_count == 0) == (log->record_count == 0));
    log->tree->version += 1;
}

void
log_checkpoint(struct log *log, uint64_t op)
{
    log_seal(log, op);
    assert(log->record_count < log->per_block);
    assert(log->frame_count <= 1);
    log->builder.op = op;
    if (log->frame_count == 1) {
        log_seal_block(log, log->frames[0], log->record_count);
        log->frame_count = 0;
        log->record_count = 0;
    }
    if (table_builder_active(&log->builder)) log_finish_table(log);
    log->tree->version += 1;
}

/* ---- Looking up ---------------------------------------------------------------------------- */

/* Is the timestamp within the table that is being made? */
static bool
log_in_builder(const struct log *log, uint64_t timestamp)
{
    return table_builder_active(&log->builder) && timestamp >= log->builder.table.key_min &&
           timestamp <= log->builder.key_last;
}

/* Makes sure that the block is in memory, and sets *entries to its records. */
static enum tree_found
log_block(const struct log *log, const struct table_values *values, const char **entries)
{
    const struct tree *tree = log->tree;
    uint32_t frame;
    assert(values->block.entry_count > 0);
    assert(values->block.address != 0);
    const enum cache_result result = table_values_get(tree->cache, &tree->format, values, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    *entries = cache_content(tree->cache, frame);
    return TREE_FOUND;
}

enum tree_found
log_lookup(const struct log *log, uint64_t timestamp, void *record)
{
    const struct entry_format *format = &log->tree->format;
    assert(record != NULL);
    const void *open = log_find_open(log, timestamp);
    if (open != NULL) {
        memcpy(record, open, format->size);
        return TREE_FOUND;
    }
    if (!log_in_builder(log, timestamp)) return tree_lookup(log->tree, timestamp, record);
    const struct table_block *blocks = table_builder_blocks(&log->builder);
    const uint32_t place =
        table_blocks_find(blocks, log->builder.table.block_count, timestamp);
    assert(place < log->builder.table.block_count);
    const struct table_values values = table_values_at(&log->builder.table, blocks, place);
    return block_lookup(log->tree, &values, timestamp, record);
}

/* ---- Seeking ------------------------------------------------------------------------------- */

/* The nearest timestamp in a list of blocks. The caller knows that there is one. */
static enum tree_found
seek_in_blocks(
    const struct log *log,
    const struct table_info *table,
    const struct table_block *blocks,
    bool descending,
    uint64_t *timestamp)
{
    const struct entry_format *format = &log->tree->format;
    assert(table->block_count > 0);
    uint32_t place = table_blocks_find(blocks, table->block_count, *timestamp);
    if (place == table->block_count) place -= 1; /* A descending search begins beyond the end. */
    const struct table_values values = table_values_at(table, blocks, place);
    const uint32_t count = values.block.entry_count;
    const char *entries = NULL;
    const enum tree_found result = log_block(log, &values, &entries);
    if (result != TREE_FOUND) return result;
    assert(entries != NULL);
    uint32_t at = entries_lower_bound(format, entries, count, *timestamp);
    if (descending) {
        const bool exact = at < count &&
                           entry_key(format, entries + (uint64_t) at * format->size) == *timestamp;
        if (!exact && at == 0) {
            /* The timestamp lies between two blocks. */
            assert(place > 0); /* (T1): the table's first key is not above. */
            *timestamp = u128_low(blocks[place - 1].key_last);
            return TREE_FOUND;
        }
        if (!exact) at -= 1;
    }
    assert(at < count); /* (T1) */
    *timestamp = u128_low(entry_key(format, entries + (uint64_t) at * format->size));
    return TREE_FOUND;
}

static enum tree_found
seek_in_table(
    const struct log *log, const struct table_info *table, bool descending, uint64_t *timestamp)
{
    const struct tree *tree = log->tree;
    assert(table->block_count > 0);
    assert(u128_high(table->key_max) == 0);
    if (!descending && *timestamp <= table->key_min) {
        *timestamp = u128_low(table->key_min);
        return TREE_FOUND;
    }
    if (descending && *timestamp >= table->key_max) {
        *timestamp = u128_low(table->key_max);
        return TREE_FOUND;
    }
    uint32_t frame;
    const enum cache_result result = table_index_get(tree->cache, &tree->format, table, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    return seek_in_blocks(log, table, blocks, descending, timestamp);
}

static enum tree_found
seek_ascending(const struct log *log, uint64_t *timestamp)
{
    const struct tree *tree = log->tree;
    const struct table_builder *builder = &log->builder;
    if (tree->run_count[0] > 0) {
        const struct table_place place = tree_run_find(tree, tree->order[0][0], *timestamp);
        if (place.node != NODE_NONE) {
            return seek_in_table(log, tree_table(tree, place), false, timestamp);
        }
    }
    if (table_builder_active(builder) && *timestamp <= builder->key_last) {
        const struct table_block *blocks = table_builder_blocks(builder);
        return seek_in_blocks(log, &builder->table, blocks, false, timestamp);
    }
    const uint32_t number = open_lower_bound(log, *timestamp);
    if (number == log->record_count) return TREE_ABSENT;
    *timestamp = open_timestamp(log, number);
    return TREE_FOUND;
}

static enum tree_found
seek_descending(const struct log *log, uint64_t *timestamp)
{
    const struct tree *tree = log->tree;
    const struct table_builder *builder = &log->builder;
    if (log->record_count > 0 && *timestamp >= open_timestamp(log, 0)) {
        uint32_t number = open_lower_bound(log, *timestamp);
        if (number == log->record_count || open_timestamp(log, number) != *timestamp) number -= 1;
        *timestamp = open_timestamp(log, number);
        return TREE_FOUND;
    }
    if (table_builder_active(builder) && *timestamp >= builder->table.key_min) {
        const struct table_block *blocks = table_builder_blocks(builder);
        return seek_in_blocks(log, &builder->table, blocks, true, timestamp);
    }
    if (tree->run_count[0] == 0) return TREE_ABSENT;
    const struct table_place place = tree_run_find_last(tree, tree->order[0][0], *timestamp);
    if (place.node == NODE_NONE) return TREE_ABSENT;
    return seek_in_table(log, tree_table(tree, place), true, timestamp);
}

enum tree_found
log_seek(const struct log *log, bool descending, uint64_t *timestamp)
{
    assert(timestamp != NULL);
    assert(log->tree->run_count[0] <= 1);
    return descending ? seek_descending(log, timestamp) : seek_ascending(log, timestamp);
}

enum tree_found
log_next(const struct log *log, uint64_t *timestamp, void *record)
{
    assert(*timestamp < UINT64_MAX);
    uint64_t next = *timestamp + 1;
    enum tree_found found = log_seek(log, false, &next);
    if (found != TREE_FOUND) return found;
    found = log_lookup(log, next, record);
    if (found == TREE_ABSENT) return tree_refuse(log->tree, next);
    if (found == TREE_FOUND) *timestamp = next;
    return found;
}
