/* SPDX-License-Identifier: PostgreSQL */
/* See tree.h. */
#include "lsm/tree.h"

#include "base/units.h"
#include "lsm/filter.h"

/* ---- Nodes --------------------------------------------------------------------------------- */

void
table_pool_init(struct table_pool *pool, struct arena *arena, uint32_t node_count)
{
    assert(node_count > 0);
    assert(node_count < NODE_NONE);
    *pool = (struct table_pool){.node_count = node_count};
    pool->nodes = arena_take(arena, node_count, sizeof(struct table_node), sizeof(uint64_t));
    pool->key_max = arena_take(arena, node_count, sizeof(u128), sizeof(u128));
}

void
table_pool_open(struct table_pool *pool)
{
    assert(pool->node_count > 0);
    for (uint32_t i = 0; i < pool->node_count; i++) {
        pool->nodes[i].next = i + 1 < pool->node_count ? i + 1 : NODE_NONE;
        pool->nodes[i].count = 0;
    }
    pool->free_head = 0;
    pool->free_count = pool->node_count;
    pool->table_count = 0;
}

static uint32_t
node_acquire(struct table_pool *pool)
{
    const uint32_t node = pool->free_head;
    assert(pool->free_count > 0);
    assert(node != NODE_NONE);
    pool->free_head = pool->nodes[node].next;
    pool->free_count -= 1;
    pool->nodes[node].next = NODE_NONE;
    pool->nodes[node].count = 0;
    return node;
}

static void
node_release(struct table_pool *pool, uint32_t node)
{
    assert(node < pool->node_count);
    pool->nodes[node].next = pool->free_head;
    pool->nodes[node].count = 0;
    pool->free_head = node;
    pool->free_count += 1;
    assert(pool->free_count <= pool->node_count);
}

/* ---- Runs ---------------------------------------------------------------------------------- */

void
tree_init(
    struct tree *tree,
    const char *name,
    const struct entry_format *format,
    struct table_pool *pool,
    struct block_cache *cache)
{
    assert(name != NULL);
    static_assert(TREE_RUNS_MAX <= UINT8_MAX, "numbers of runs are bytes");
    *tree = (struct tree){
        .name = name,
        .format = *format,
        .pool = pool,
        .cache = cache,
        .fanout = LSM_FANOUT,
    };
}

void
tree_open(struct tree *tree)
{
    assert(tree->pool->node_count > 0);
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        tree->runs[i] = (struct tree_run){.node_first = NODE_NONE, .node_last = NODE_NONE};
    }
    memset(tree->run_count, 0, sizeof(tree->run_count));
    tree->version += 1;
}

uint64_t
tree_entry_count(const struct tree *tree)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        if (tree->runs[i].used) count += tree->runs[i].entry_count;
    }
    return count;
}

uint32_t
tree_run_count(const struct tree *tree)
{
    uint32_t count = 0;
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        count += tree->run_count[level];
    }
    assert(count <= TREE_RUNS_MAX);
    return count;
}

uint32_t
tree_run_new(struct tree *tree, uint32_t level, bool oldest)
{
    uint32_t run = 0;
    assert(level < LSM_LEVELS);
    assert(tree->run_count[level] < LEVEL_RUNS_MAX);
    while (tree->runs[run].used) {
        run += 1;
        assert(run < TREE_RUNS_MAX);
    }
    tree->runs[run] = (struct tree_run){
        .node_first = NODE_NONE,
        .node_last = NODE_NONE,
        .used = true,
    };
    uint8_t *order = tree->order[level];
    if (oldest) memmove(&order[1], &order[0], tree->run_count[level]);
    order[oldest ? 0 : tree->run_count[level]] = (uint8_t) run;
    tree->run_count[level] += 1;
    tree->version += 1;
    return run;
}

void
tree_run_append(struct tree *tree, uint32_t run_number, const struct table_info *table)
{
    assert(run_number < TREE_RUNS_MAX);
    struct tree_run *run = &tree->runs[run_number];
    struct table_pool *pool = tree->pool;
    assert(run->used);
    assert(table->key_min <= table->key_max);
    assert(table->entry_count > 0);
    assert(!table->moved);
    if (run->table_count > 0) assert(table->key_min > run->key_max); /* (V1) */
    if (run->node_last == NODE_NONE) {
        run->node_first = node_acquire(pool);
        run->node_last = run->node_first;
        run->skip = 0;
    } else if (pool->nodes[run->node_last].count == TABLES_PER_NODE) {
        const uint32_t node = node_acquire(pool);
        pool->nodes[run->node_last].next = node;
        run->node_last = node;
    }
    struct table_node *node = &pool->nodes[run->node_last];
    node->tables[node->count] = *table;
    node->count += 1;
    pool->key_max[run->node_last] = table->key_max;
    if (run->table_count == 0) run->key_min = table->key_min;
    run->key_max = table->key_max;
    run->table_count += 1;
    run->entry_count += table->entry_count;
    pool->table_count += 1;
    tree->version += 1;
}

void
tree_run_pop(struct tree *tree, uint32_t run_number)
{
    struct tree_run *run = &tree->runs[run_number];
    struct table_pool *pool = tree->pool;
    assert(run->table_count > 0);
    struct table_node *node = &pool->nodes[run->node_first];
    assert(run->skip < node->count);
    assert(run->entry_count >= node->tables[run->skip].entry_count);
    assert(run->used);
    run->entry_count -= node->tables[run->skip].entry_count;
    run->table_count -= 1;
    run->skip += 1;
    pool->table_count -= 1;
    if (run->skip == node->count) {
        const uint32_t next = node->next;
        node_release(pool, run->node_first);
        run->node_first = next;
        run->skip = 0;
        if (next == NODE_NONE) run->node_last = NODE_NONE;
    }
    assert((run->node_first == NODE_NONE) == (run->table_count == 0));
    if (run->table_count > 0) {
        run->key_min = pool->nodes[run->node_first].tables[run->skip].key_min;
    }
    tree->version += 1;
}

void
tree_run_remove(struct tree *tree, uint32_t level, uint32_t run)
{
    assert(level < LSM_LEVELS);
    uint8_t *order = tree->order[level];
    uint32_t place = 0;
    assert(tree->runs[run].used);
    assert(tree->runs[run].table_count == 0);
    assert(tree->runs[run].node_first == NODE_NONE);
    while (order[place] != run) {
        place += 1;
        assert(place < tree->run_count[level]);
    }
    memmove(&order[place], &order[place + 1], tree->run_count[level] - place - 1u);
    tree->run_count[level] -= 1;
    tree->runs[run].used = false;
    tree->version += 1;
}

/* ---- Places -------------------------------------------------------------------------------- */

struct table_place
tree_run_first(const struct tree *tree, uint32_t run)
{
    assert(tree->runs[run].used);
    return (struct table_place){.node = tree->runs[run].node_first, .index = tree->runs[run].skip};
}

struct table_place
tree_run_next(const struct tree *tree, uint32_t run, struct table_place place)
{
    assert(place.node < tree->pool->node_count);
    const struct table_node *node = &tree->pool->nodes[place.node];
    assert(tree->runs[run].used);
    assert(place.index < node->count);
    if (place.index + 1 < node->count) {
        return (struct table_place){.node = place.node, .index = place.index + 1};
    }
    return (struct table_place){.node = node->next, .index = 0};
}

struct table_place
tree_run_find(const struct tree *tree, uint32_t run_number, u128 key)
{
    const struct tree_run *run = &tree->runs[run_number];
    const struct table_pool *pool = tree->pool;
    struct table_place place = {.node = NODE_NONE, .index = 0};
    assert(run->used);
    if (run->table_count == 0 || key > run->key_max) return place;
    place.node = run->node_first;
    while (pool->key_max[place.node] < key) {
        place.node = pool->nodes[place.node].next;
        assert(place.node != NODE_NONE);
    }
    const struct table_node *node = &pool->nodes[place.node];
    uint32_t low = place.node == run->node_first ? run->skip : 0;
    uint32_t high = node->count - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (node->tables[middle].key_max < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    place.index = low;
    assert(node->tables[low].key_max >= key);
    return place;
}

struct table_place
tree_run_find_last(const struct tree *tree, uint32_t run_number, u128 key)
{
    const struct tree_run *run = &tree->runs[run_number];
    struct table_place last = {.node = NODE_NONE, .index = 0};
    assert(run->used);
    if (run->table_count == 0 || key < run->key_min) return last;
    /*
     * The table before the first one that starts above the key. Whole nodes are skipped by their
     * last keys.
     */
    struct table_place place = tree_run_first(tree, run_number);
    while (place.node != NODE_NONE) {
        const struct table_node *node = &tree->pool->nodes[place.node];
        if (node->tables[place.index].key_min > key) break;
        uint32_t low = place.index;
        uint32_t high = node->count - 1;
        while (low < high) {
            const uint32_t middle = low + (high - low + 1) / 2;
            if (node->tables[middle].key_min > key) {
                high = middle - 1;
            } else {
                low = middle;
            }
        }
        last = (struct table_place){.node = place.node, .index = low};
        if (low + 1 < node->count) break;
        place = (struct table_place){.node = node->next, .index = 0};
    }
    return last;
}

/* ---- Looking up ---------------------------------------------------------------------------- */

/* May the table hold the key of this hash? */
static enum tree_found
filter_lookup(
    const struct tree *tree,
    const struct table_info *table,
    const struct table_block *blocks,
    uint64_t hash)
{
    assert(table->filter_count > 0);
    const uint32_t line = filter_line_of(hash, table->filter_lines);
    const struct table_block *block = &blocks[table->block_count + line / FILTER_LINES_PER_BLOCK];
    const struct block_reference reference = table_block_reference(block);
    uint32_t frame;
    const enum cache_result result =
        cache_get(tree->cache, &reference, BLOCK_FILTER, tree->format.tree, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    const uint32_t offset = line % FILTER_LINES_PER_BLOCK * FILTER_LINE_SIZE;
    const uint8_t *content = (const uint8_t *) cache_content(tree->cache, frame);
    return filter_may_hold(content + offset, hash) ? TREE_FOUND : TREE_ABSENT;
}

/* Finds the only block of the table that can hold the key. `hash` is the key's, for the filter. */
static enum tree_found
table_seek(
    const struct tree *tree,
    const struct table_info *table,
    u128 key,
    uint64_t hash,
    struct table_values *values)
{
    uint32_t frame;
    assert(key <= table->key_max);
    if (key < table->key_min) return TREE_ABSENT;
    const enum cache_result result = table_index_get(tree->cache, &tree->format, table, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    const struct table_block *blocks = table_blocks(tree->cache, frame);
    if (tree->format.filtered) {
        const enum tree_found may = filter_lookup(tree, table, blocks, hash);
        if (may != TREE_FOUND) return may;
    }
    const uint32_t place = table_blocks_find(blocks, table->block_count, key);
    if (place == table->block_count) return tree_found_of(cache_refuse(tree->cache, frame));
    *values = table_values_at(table, blocks, place);
    return TREE_FOUND;
}

enum tree_found
block_lookup(const struct tree *tree, const struct table_values *values, u128 key, void *entry)
{
    const struct entry_format *format = &tree->format;
    uint32_t frame;
    enum cache_result result;
    assert(values->block.entry_count > 0);
    if (format->shape == ENTRY_RECORD && !tree_mutable(tree)) {
        const char *found;
        result = table_extract_find(tree->cache, format, values, key, &found);
        if (result != CACHE_READY) return tree_found_of(result);
        if (found != NULL) {
            assert(entry_key(format, found) == key);
            memcpy(entry, found, format->size);
            return TREE_FOUND;
        }
    }
    result = table_values_get(tree->cache, format, values, &frame);
    if (result != CACHE_READY) return tree_found_of(result);
    /*
     * Keep blocks of ids: a block has many more ids than records, and the record of each id is
     * looked up right after it.
     */
    if (format->shape == ENTRY_ID) cache_keep(tree->cache, frame);
    const char *entries = cache_content(tree->cache, frame);
    const uint32_t at = entries_lower_bound(format, entries, values->block.entry_count, key);
    assert(at < values->block.entry_count); /* (T1) */
    const char *found = entries + (uint64_t) at * format->size;
    if (entry_key(format, found) != key) return TREE_ABSENT;
    memcpy(entry, found, format->size);
    return TREE_FOUND;
}

enum tree_found
table_lookup(const struct tree *tree, const struct table_info *table, u128 key, void *entry)
{
    struct table_values values;
    const enum tree_found found = table_seek(tree, table, key, filter_hash(key), &values);
    return found == TREE_FOUND ? block_lookup(tree, &values, key, entry) : found;
}

/* The table of this run that would hold the key, or NULL if it can't be in this run. */
static const struct table_info *
run_table(const struct tree *tree, uint32_t number, u128 key)
{
    const struct tree_run *run = &tree->runs[number];
    assert(run->used);
    if (run->table_count == 0 || key < run->key_min || key > run->key_max) return NULL;
    if (run->has_hidden && key <= run->hidden) return NULL; /* (V2) */
    return tree_table(tree, tree_run_find(tree, number, key));
}

enum tree_found
tree_lookup(const struct tree *tree, u128 key, void *entry)
{
    const uint64_t hash = tree->format.filtered ? filter_hash(key) : 0;
    enum tree_found result = TREE_ABSENT;
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        for (uint32_t i = tree->run_count[level]; i > 0; i--) {
            struct table_values values;
            const struct table_info *table = run_table(tree, tree->order[level][i - 1], key);
            if (table == NULL) continue;
            enum tree_found found = table_seek(tree, table, key, hash, &values);
            if (found == TREE_FOUND) {
                /*
                 * A newer run still waits for its block. It may have a newer version of the record.
                 */
                if (tree_mutable(tree) && result != TREE_ABSENT) return result;
                found = block_lookup(tree, &values, key, entry);
                if (found == TREE_FOUND) return TREE_FOUND;
                /*
                 * Wait before asking older runs: a filter that says yes is nearly always right, and
                 * nothing should be read without need.
                 */
                if (found == TREE_WAIT) return result == TREE_LOST ? TREE_LOST : TREE_WAIT;
            }
            if (found != TREE_ABSENT && result != TREE_LOST) result = found;
        }
    }
    return result;
}

enum tree_found
tree_refuse(const struct tree *tree, u128 key)
{
    char entry[FOREST_RECORD_SIZE_MAX];
    struct cache_damage damage = {.tree = tree->format.tree};
    bool has = false;
    assert(tree->format.size <= sizeof(entry));
    for (uint32_t i = 0; i < TREE_RUNS_MAX && !has; i++) {
        const struct tree_run *run = &tree->runs[i];
        if (!run->used || run->table_count == 0) continue;
        if (run->has_hidden && key <= run->hidden) continue; /* (V2) */
        const struct table_place place = tree_run_find(tree, i, key);
        if (place.node == NODE_NONE || tree_table(tree, place)->key_min > key) continue;
        has = table_lookup(tree, tree_table(tree, place), key, entry) == TREE_FOUND;
        if (has || damage.address == 0) damage.address = tree_table(tree, place)->index.address;
    }
    tree->cache->damage = damage;
    return TREE_LOST;
}
