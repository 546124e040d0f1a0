/* SPDX-License-Identifier: PostgreSQL */
/* See table.h. */
#include "lsm/table.h"

#include "base/units.h"
#include "lsm/filter.h"

static_assert(TABLE_BLOCKS_MAX + FILTER_BLOCKS_MAX <= TABLE_BLOCKS_PER_INDEX, "one index block");

/* ---- Sizes --------------------------------------------------------------------------------- */

static uint32_t
filter_blocks_for(uint32_t line_count)
{
    assert(line_count > 0);
    return (uint32_t) div_ceil(line_count, FILTER_LINES_PER_BLOCK);
}

uint32_t
table_entries_max(const struct entry_format *format)
{
    const uint32_t entries = TABLE_BLOCKS_MAX * entries_per_block(format);
    assert(entries > 0);
    if (!format->filtered) return entries;
    return (uint32_t) min_u64(entries, TABLE_FILTERED_MAX);
}

uint64_t
table_frames_needed(const struct entry_format *format, uint64_t entry_count)
{
    assert(entries_per_block(format) > 0);
    /*
     * A block and a table may have been begun before, and the last entry may begin another of each.
     */
    const uint64_t blocks = div_ceil(entry_count, entries_per_block(format)) + 1;
    const uint64_t tables = div_ceil(entry_count, table_entries_max(format)) + 1;
    const uint32_t extra = format->filtered ? 1 + FILTER_BLOCKS_MAX : 1;
    return blocks + tables * extra;
}

/* ---- Building ------------------------------------------------------------------------------ */

void
table_builder_init(
    struct table_builder *builder, struct block_cache *cache, const struct entry_format *format)
{
    assert(format->size > 0);
    assert(format->size <= BLOCK_CONTENT_SIZE);
    *builder = (struct table_builder){
        .cache = cache,
        .format = *format,
        .frame = FRAME_NONE,
        .frame_index = FRAME_NONE,
    };
}

bool
table_builder_active(const struct table_builder *builder)
{
    return builder->frame_index != FRAME_NONE;
}

void
table_builder_begin(struct table_builder *builder, uint64_t entries_expected)
{
    assert(!table_builder_active(builder));
    assert(entries_expected > 0);
    assert(builder->frame == FRAME_NONE);
    assert(builder->frame_count == 0);
    builder->entries_max =
        (uint32_t) min_u64(entries_expected, table_entries_max(&builder->format));
    builder->table = (struct table_info){0};
    builder->frame_index = cache_take(builder->cache);
    if (!builder->format.filtered) return;
    builder->table.filter_lines = filter_line_count(builder->entries_max);
    builder->table.filter_count = (uint8_t) filter_blocks_for(builder->table.filter_lines);
    assert(builder->table.filter_count <= FILTER_BLOCKS_MAX);
    for (uint32_t i = 0; i < builder->table.filter_count; i++) {
        builder->frame_filter[i] = cache_take(builder->cache);
        memset(cache_block(builder->cache, builder->frame_filter[i]), 0, BLOCK_SIZE);
    }
}

/*
 * Fingerprint of the checks that a block has passed: key range, number of entries, format. Its
 * frame keeps it, so that a block is checked only once. Never 0, which means that it was not
 * checked.
 */
static uint64_t
checked_of(const struct entry_format *format, u128 key_min, u128 key_max, uint64_t more)
{
    const uint64_t keys = filter_hash(key_min) * HASH_KEY_0 + filter_hash(key_max);
    return (keys ^ (more * HASH_KEY_3 + format->tree * HASH_KEY_1)) | 1;
}

static char *
builder_content(const struct table_builder *builder, uint32_t frame)
{
    return (char *) cache_block(builder->cache, frame) + BLOCK_HEADER_SIZE;
}

const struct table_block *
table_builder_blocks(const struct table_builder *builder)
{
    assert(table_builder_active(builder));
    return (const void *) builder_content(builder, builder->frame_index);
}

static struct block_reference
builder_seal(
    struct table_builder *builder,
    uint32_t frame,
    enum block_type type,
    uint32_t count,
    uint32_t size)
{
    struct block_header *header = cache_block(builder->cache, frame);
    assert(count > 0);
    assert(size <= BLOCK_CONTENT_SIZE);
    *header = (struct block_header){
        .op = builder->op,
        .size = BLOCK_HEADER_SIZE + size,
        .type = (uint8_t) type,
        .tree = builder->format.tree,
        .record_count = count,
    };
    return cache_seal(builder->cache, frame, grid_acquire(builder->cache->grid));
}

/* Notes the block in the frame, which has just been sealed, in the index block. */
static void
builder_list(struct table_builder *builder, uint32_t place, uint32_t frame, uint32_t count)
{
    const struct block_header *header = cache_block(builder->cache, frame);
    assert(header->address != 0);
    struct table_block *blocks = (void *) builder_content(builder, builder->frame_index);
    assert(place < TABLE_BLOCKS_PER_INDEX);
    blocks[place] = (struct table_block){
        .key_last = builder->key_last,
        .checksum = header->checksum,
        .address = header->address,
        .entry_count = count,
    };
    memcpy(blocks[place].sector_sums, header->sector_sums, sizeof(header->sector_sums));
}

static void
builder_seal_values(struct table_builder *builder)
{
    assert(builder->frame != FRAME_NONE);
    assert(builder->frame_count > 0);
    assert(builder->table.block_count < TABLE_BLOCKS_MAX);
    assert(builder->frame_count <= entries_per_block(&builder->format));
    (void) builder_seal(
        builder,
        builder->frame,
        BLOCK_VALUES,
        builder->frame_count,
        builder->frame_count * builder->format.size);
    builder_list(
        builder, builder->table.block_count, builder->frame, builder->frame_count);
    if (builder->soon) cache_favour(builder->cache, builder->frame);
    /* What was built here is right, so it needs no check when it is read from the cache. */
    const struct table_values values = table_values_at(
        &builder->table, table_builder_blocks(builder), builder->table.block_count);
    builder->cache->frames[builder->frame].checked =
        checked_of(&builder->format, values.key_min, values.block.key_last, values.exact);
    builder->table.block_count += 1;
    builder->frame = FRAME_NONE;
    builder->frame_count = 0;
}

static void
builder_filter_add(struct table_builder *builder, const char *entry)
{
    const uint64_t hash = filter_hash(entry_key(&builder->format, entry));
    const uint32_t line = filter_line_of(hash, builder->table.filter_lines);
    const uint32_t frame = builder->frame_filter[line / FILTER_LINES_PER_BLOCK];
    uint8_t *lines = (uint8_t *) builder_content(builder, frame);
    filter_add(lines + line % FILTER_LINES_PER_BLOCK * FILTER_LINE_SIZE, 1, hash);
}

char *
table_builder_room(struct table_builder *builder, uint32_t *count)
{
    assert(table_builder_active(builder));
    assert(!table_builder_full(builder));
    if (builder->frame == FRAME_NONE) builder->frame = cache_take(builder->cache);
    const struct entry_format *format = &builder->format;
    *count = (uint32_t) min_u64(
        entries_per_block(format) - builder->frame_count,
        builder->entries_max - builder->table.entry_count);
    assert(*count > 0);
    return builder_content(builder, builder->frame) +
           (uint64_t) builder->frame_count * format->size;
}

void
table_builder_filled(struct table_builder *builder, uint32_t count)
{
    const struct entry_format *format = &builder->format;
    assert(builder->frame != FRAME_NONE);
    assert(count > 0 && count <= entries_per_block(format) - builder->frame_count);
    const char *entries = builder_content(builder, builder->frame) +
                          (uint64_t) builder->frame_count * format->size;
    const u128 key_first = entry_key(format, entries);
    if (builder->table.entry_count == 0) {
        builder->table.key_min = key_first;
    } else {
        assert(key_first > builder->key_last); /* (T1) */
    }
    builder->key_last = entry_key(format, entries + (uint64_t) (count - 1) * format->size);
    assert(builder->key_last >= key_first);
    if (format->filtered) {
        for (uint32_t i = 0; i < count; i++) {
            builder_filter_add(builder, entries + (uint64_t) i * format->size);
        }
    }
    builder->frame_count += count;
    builder->table.entry_count += count;
    if (builder->frame_count == entries_per_block(format)) builder_seal_values(builder);
}

uint32_t
table_builder_add_some(struct table_builder *builder, const void *entries, uint32_t count)
{
    uint32_t room;
    char *place = table_builder_room(builder, &room);
    const uint32_t added = (uint32_t) min_u64(room, count);
    assert(added > 0);
    memcpy(place, entries, (uint64_t) added * builder->format.size);
    table_builder_filled(builder, added);
    return added;
}

void
table_builder_add_block(struct table_builder *builder, uint32_t frame, uint32_t count)
{
    const struct entry_format *format = &builder->format;
    const char *entries = builder_content(builder, frame);
    assert(table_builder_active(builder));
    assert(builder->frame == FRAME_NONE);
    assert(format->shape == ENTRY_RECORD);
    assert(count > 0 && count <= entries_per_block(format));
    const u128 key_first = entry_key(format, entries);
    if (builder->table.entry_count == 0) {
        builder->table.key_min = key_first;
    } else {
        assert(key_first > builder->key_last); /* (T1) */
    }
    builder->key_last = entry_key(format, entries + (uint64_t) (count - 1) * format->size);
    builder->table.entry_count += count;
    builder->frame = frame;
    builder->frame_count = count;
    builder_seal_values(builder);
}

void
table_builder_add(struct table_builder *builder, const void *entry)
{
    (void) table_builder_add_some(builder, entry, 1);
}

struct table_info
table_builder_finish(struct table_builder *builder)
{
    struct table_info *table = &builder->table;
    assert(table_builder_active(builder));
    assert(table->entry_count > 0);
    if (builder->frame != FRAME_NONE) builder_seal_values(builder);
    table->key_max = builder->key_last;
    assert(table->key_min <= table->key_max); /* (T1) */
    assert(table->block_count > 0);
    for (uint32_t i = 0; i < table->filter_count; i++) {
        (void) builder_seal(
            builder,
            builder->frame_filter[i],
            BLOCK_FILTER,
            FILTER_LINES_PER_BLOCK,
            FILTER_LINES_PER_BLOCK * FILTER_LINE_SIZE);
        builder_list(builder, table->block_count + i, builder->frame_filter[i], 0);
    }
    const uint32_t listed = (uint32_t) table->block_count + table->filter_count;
    table->index = builder_seal(
        builder,
        builder->frame_index,
        BLOCK_INDEX,
        listed,
        listed * (uint32_t) sizeof(struct table_block));
    builder->frame_index = FRAME_NONE;
    return *table;
}

/* ---- Reading ------------------------------------------------------------------------------- */

bool
table_info_valid(const struct entry_format *format, const struct table_info *table)
{
    assert(format->size > 0);
    if (table->key_min == 0 || table->key_max == U128_MAX) return false;
    if (table->key_min > table->key_max) return false;
    if (format->shape == ENTRY_RECORD && u128_high(table->key_max) != 0) return false;
    if (table->block_count == 0 || table->block_count > TABLE_BLOCKS_MAX) return false;
    if (table->entry_count < table->block_count) return false;
    const uint64_t entries_max = (uint64_t) table->block_count * entries_per_block(format);
    if (table->entry_count > entries_max) return false;
    if (table->moved != 0) return false;
    if (!format->filtered) return table->filter_lines == 0 && table->filter_count == 0;
    if (table->filter_lines == 0 || table->filter_count > FILTER_BLOCKS_MAX) return false;
    return table->filter_count == filter_blocks_for(table->filter_lines);
}

/* Does this index block describe the table that refers to it? */
static bool
index_valid(
    const struct block_cache *cache,
    const struct entry_format *format,
    const struct table_info *table,
    const struct table_block *blocks)
{
    u128 key_last = 0;
    uint64_t entry_count = 0;
    assert(table->block_count > 0);
    assert(table->block_count <= TABLE_BLOCKS_MAX);
    for (uint32_t i = 0; i < (uint32_t) table->block_count + table->filter_count; i++) {
        if (!grid_is_acquired(cache->grid, blocks[i].address)) return false;
        if (blocks[i].reserved != 0) return false;
        if (i >= table->block_count) continue;
        if (blocks[i].entry_count == 0) return false;
        if (blocks[i].entry_count > entries_per_block(format)) return false;
        if (blocks[i].key_last <= key_last) return false;
        key_last = blocks[i].key_last;
        entry_count += blocks[i].entry_count;
    }
    return key_last == table->key_max && entry_count == table->entry_count &&
           blocks[0].key_last >= table->key_min;
}

/* Was the block written for this tree? */
static bool
of_tree(const struct block_cache *cache, const struct entry_format *format, uint32_t frame)
{
    const struct block_header *header = cache_block(cache, frame);
    assert(header->record_count == cache->frames[frame].record_count);
    return header->tree == format->tree;
}

/* Could a record have this timestamp? */
static inline bool
timestamp_possible(uint64_t timestamp)
{
    return timestamp - 1 < BURNT_BIT - 1;
}

/*
 * (T1) Each shape has its own loop without branches. It must be fast, since blocks that are merged
 * pass through here too.
 */
static bool
index_entries_valid(const struct entry16 *entries, uint32_t count)
{
    bool valid = timestamp_possible(entries[0].timestamp);
    u128 before = u128_make(entries[0].value, entries[0].timestamp);
    assert(count > 0);
    for (uint32_t i = 1; i < count; i++) {
        const u128 key = u128_make(entries[i].value, entries[i].timestamp);
        valid &= (key > before) & timestamp_possible(entries[i].timestamp);
        before = key;
    }
    return valid;
}

static bool
id_entries_valid(const struct entry24 *entries, uint32_t count)
{
    bool valid = timestamp_possible(entries[0].timestamp & ~BURNT_BIT);
    u128 before = u128_make(entries[0].id_high, entries[0].id_low);
    assert(count > 0);
    for (uint32_t i = 1; i < count; i++) {
        const u128 key = u128_make(entries[i].id_high, entries[i].id_low);
        valid &= (key > before) & timestamp_possible(entries[i].timestamp & ~BURNT_BIT);
        before = key;
    }
    return valid;
}

static bool
records_valid(const struct entry_format *format, const char *entries, uint32_t count)
{
    uint64_t before = u128_low(entry_key(format, entries));
    bool valid = timestamp_possible(before);
    assert(count > 0);
    for (uint32_t i = 1; i < count; i++) {
        const uint64_t key = u128_low(entry_key(format, entries + (uint64_t) i * format->size));
        valid &= (key > before) & timestamp_possible(key);
        before = key;
    }
    return valid;
}

/* Are the entries what the table says of them? */
static bool
values_valid(
    const struct entry_format *format, const struct table_values *values, const char *entries)
{
    const uint32_t count = values->block.entry_count;
    assert(count > 0);
    assert(count <= entries_per_block(format));
    const u128 first = entry_key(format, entries);
    const u128 last = entry_key(format, entries + (uint64_t) (count - 1) * format->size);
    if (first < values->key_min || last != values->block.key_last) return false;
    if (values->exact && first != values->key_min) return false;
    switch ((enum entry_shape) format->shape) {
    case ENTRY_INDEX: return index_entries_valid((const void *) entries, count);
    case ENTRY_ID: return id_entries_valid((const void *) entries, count);
    case ENTRY_RECORD: return records_valid(format, entries, count);
    }
    unreachable();
}

/* Does the index block have the same sector sums for this block as the block itself? */
static bool
sums_agree(const struct block_cache *cache, const struct table_values *values, uint32_t frame)
{
    const struct block_header *header = cache_block(cache, frame);
    const uint64_t *sums = values->block.sector_sums;
    assert(header->checksum == values->block.checksum);
    return memcmp(header->sector_sums, sums, sizeof(header->sector_sums)) == 0;
}

enum cache_result
table_index_get(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_info *table,
    uint32_t *frame)
{
    assert(table->block_count > 0);
    const enum cache_result result =
        cache_get(cache, &table->index, BLOCK_INDEX, format->tree, frame);
    if (result != CACHE_READY) return result;
    struct frame *at = &cache->frames[*frame];
    if (at->record_count != (uint32_t) table->block_count + table->filter_count) {
        return cache_refuse(cache, *frame);
    }
    const uint64_t checked =
        checked_of(format, table->key_min, table->key_max, table->entry_count);
    if (at->checked != checked) {
        if (!of_tree(cache, format, *frame) ||
            !index_valid(cache, format, table, table_blocks(cache, *frame))) {
            return cache_refuse(cache, *frame);
        }
        at->checked = checked;
    }
    return CACHE_READY;
}

enum cache_result
table_values_get(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_values *values,
    uint32_t *frame)
{
    assert(values->block.entry_count > 0);
    const struct block_reference reference = table_block_reference(&values->block);
    const enum cache_result result =
        cache_get(cache, &reference, BLOCK_VALUES, format->tree, frame);
    if (result != CACHE_READY) return result;
    struct frame *at = &cache->frames[*frame];
    if (at->record_count != values->block.entry_count) return cache_refuse(cache, *frame);
    const uint64_t checked =
        checked_of(format, values->key_min, values->block.key_last, values->exact);
    if (at->checked != checked) {
        if (!of_tree(cache, format, *frame) || !sums_agree(cache, values, *frame) ||
            !values_valid(format, values, cache_content(cache, *frame))) {
            return cache_refuse(cache, *frame);
        }
        at->checked = checked;
    }
    return CACHE_READY;
}

/* ---- Extracts of blocks -------------------------------------------------------------------- */

/*
 * Guesses the place of the record with this timestamp in its block, if there is such a record.
 *
 * The guess lies between two bounds. Timestamps ascend by at least one, so the record is no more
 * entries away from either end of the block than it is nanoseconds. The events of a prepare have
 * consecutive timestamps, except for events that failed. So if a block comes from a single prepare,
 * the bounds are close together, and interpolation gives a place between them (Perl, Itai and Avni,
 * "Interpolation search", CACM 1978). If it comes from two prepares, which are far apart in time,
 * the bound from the end that belongs to the same prepare is as good as exact.
 */
#define PREPARES_APART 16 /* Nanoseconds per entry. */


static uint32_t
record_guess(const struct table_values *values, u128 key)
{
    assert(values->block.entry_count > 0);
    assert(key >= values->key_min && key <= values->block.key_last);
    const uint64_t last = values->block.entry_count - 1;
    const uint64_t before = u128_low(key - values->key_min);
    const uint64_t behind = u128_low(values->block.key_last - key);
    const uint64_t low = behind < last ? last - behind : 0;
    const uint64_t high = min_u64(before, last);
    const uint64_t span = before + behind;
    if (low >= high) return (uint32_t) high;
    if (span / last >= PREPARES_APART && low > 0) return (uint32_t) low;
    if (span / last >= PREPARES_APART && high < last) return (uint32_t) high;
    static_assert(BLOCK_SIZE <= UINT16_MAX, "products fit into 64 bits");
    const uint32_t shift = span >> 48 == 0 ? 0 : 16;
    const uint64_t guess = (before >> shift) * last / (span >> shift);
    assert(guess <= last);
    return (uint32_t) guess;
}

/* The sectors that hold record `number`. */
static struct grid_extract
record_extract(
    const struct entry_format *format, const struct table_values *values, uint32_t number)
{
    assert(number < values->block.entry_count);
    const uint32_t start = BLOCK_HEADER_SIZE + number * format->size;
    const uint32_t first = start / SECTOR_SIZE;
    const uint32_t last = (start + format->size - 1) / SECTOR_SIZE;
    assert(last < BLOCK_SECTORS);
    return (struct grid_extract){
        .sector_sums = values->block.sector_sums,
        .first = first,
        .count = last - first + 1,
    };
}

/*
 * Has the caller come from a neighbouring block, walking? Then it will want all records in between,
 * so the whole block should be read. The sign is that the wanted record lies at an edge of this
 * block, and the block beyond that edge is in memory or being read.
 */
static bool
walked_to(
    const struct block_cache *cache,
    const struct table_values *values,
    const struct grid_extract *extract)
{
    const uint64_t neighbours[] = {
        extract->first == 0 ? values->before : 0,
        extract->first + extract->count == BLOCK_SECTORS ? values->behind : 0,
    };
    for (uint32_t i = 0; i < 2; i++) {
        if (neighbours[i] == 0) continue;
        if (cache_presence(cache, neighbours[i]) != CACHE_ABSENT) return true;
    }
    return false;
}

/* The records first … end - 1 lie completely in an extract of the block. */
struct extract_records {
    uint32_t first;
    uint32_t end;
};

static struct extract_records
extract_records(
    const struct entry_format *format, const struct table_values *values, const struct frame *at)
{
    assert(at->extract_count > 0);
    const uint32_t start = at->extract_first * SECTOR_SIZE;
    const uint32_t end = start + at->extract_count * SECTOR_SIZE;
    const uint32_t before = start == 0 ? 0 : start - BLOCK_HEADER_SIZE;
    const uint64_t first = div_ceil(before, format->size);
    const uint64_t behind = (end - BLOCK_HEADER_SIZE) / format->size;
    const uint64_t count = values->block.entry_count;
    return (struct extract_records){
        .first = (uint32_t) min_u64(first, count),
        .end = (uint32_t) min_u64(behind, count),
    };
}

/* Are the records that the extract has what the table says of them? */
static bool
extract_valid(
    const struct entry_format *format,
    const struct table_values *values,
    struct extract_records records,
    const char *entries)
{
    if (records.first >= records.end) return true;
    const char *start = entries + (uint64_t) records.first * format->size;
    const u128 first = entry_key(format, start);
    const u128 last = entry_key(format, entries + (uint64_t) (records.end - 1) * format->size);
    if (first < values->key_min || last > values->block.key_last) return false;
    if (records.first == 0 && values->exact && first != values->key_min) return false;
    if (records.end == values->block.entry_count && last != values->block.key_last) return false;
    return records_valid(format, start, records.end - records.first);
}

/* Looks for the record in the extract that the frame has. *entry is NULL if it isn't there. */
static enum cache_result
extract_search(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_values *values,
    uint32_t frame,
    u128 key,
    const char **entry)
{
    struct frame *at = &cache->frames[frame];
    const char *entries = cache_content(cache, frame);
    const struct extract_records records = extract_records(format, values, at);
    /* Another fingerprint than that of a whole block. */
    const uint64_t more = values->exact ? 3 : 2;
    const uint64_t checked =
        checked_of(format, values->key_min, values->block.key_last, more);
    if (at->checked != checked) {
        if (!extract_valid(format, values, records, entries)) return cache_refuse(cache, frame);
        at->checked = checked;
    }
    if (records.first >= records.end) return CACHE_READY;
    const char *start = entries + (uint64_t) records.first * format->size;
    const uint32_t count = records.end - records.first;
    const uint32_t found = entries_lower_bound(format, start, count, key);
    if (found == count) return CACHE_READY;
    const char *record = start + (uint64_t) found * format->size;
    if (entry_key(format, record) == key) *entry = record;
    return CACHE_READY;
}

enum cache_result
table_extract_find(
    struct block_cache *cache,
    const struct entry_format *format,
    const struct table_values *values,
    u128 key,
    const char **entry)
{
    uint32_t frame;
    assert(format->shape == ENTRY_RECORD);
    *entry = NULL;
    const enum cache_presence present = cache_presence(cache, values->block.address);
    if (present == CACHE_WHOLE) return CACHE_READY;
    const struct grid_extract extract = record_extract(format, values, record_guess(values, key));
    if (extract.count == BLOCK_SECTORS) return CACHE_READY;
    if (present == CACHE_ABSENT && walked_to(cache, values, &extract)) return CACHE_READY;
    const struct block_reference reference = table_block_reference(&values->block);
    const enum cache_result result =
        cache_get_extract(cache, &reference, &extract, format->tree, &frame);
    if (result != CACHE_READY) return result;
    if (cache->frames[frame].extract_count == 0) return CACHE_READY;
    return extract_search(cache, format, values, frame, key, entry);
}

/* ---- Searching ----------------------------------------------------------------------------- */

uint32_t
table_blocks_find(const struct table_block *blocks, uint32_t count, u128 key)
{
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (blocks[middle].key_last < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    assert(low <= count);
    return low;
}

uint32_t
entries_lower_bound(
    const struct entry_format *format, const char *entries, uint32_t count, u128 key)
{
    assert(format->size > 0);
    uint32_t low = 0;
    uint32_t length = count;
    /*
     * No branch depends on a key: what is looked up is as good as random, so branches would be
     * guessed wrongly half of the time.
     */
    while (length > 0) {
        const uint32_t half = length / 2;
        const char *middle = entries + (uint64_t) (low + half) * format->size;
        const bool below = entry_key(format, middle) < key;
        low = below ? low + half + 1 : low;
        length = below ? length - half - 1 : half;
    }
    assert(low <= count);
    return low;
}
