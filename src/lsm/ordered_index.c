/* SPDX-License-Identifier: PostgreSQL */
/* See ordered_index.h. */
#include "lsm/ordered_index.h"

#include <string.h>

#include "base/assert.h"
#include "base/units.h"

/* The inner nodes above a leaf, root first, and which child of each leads there. */
struct ordered_path {
    uint32_t nodes[ORDERED_HEIGHT_MAX];
    uint32_t children[ORDERED_HEIGHT_MAX];
    uint32_t depth;
};

void
ordered_index_init(
    struct ordered_index *index, struct chunk_pool *chunks, const struct index_schema *schema)
{
    assert(schema->kind == INDEX_ORDERED);
    assert(schema->field_size == sizeof(uint64_t));
    *index = (struct ordered_index){
        .schema = schema,
        .chunks = chunks,
        .root = CHUNK_NONE,
        .first = CHUNK_NONE,
    };
}

static inline struct ordered_node *
ordered_node_at(const struct ordered_index *index, uint32_t chunk)
{
    return chunk_pool_data(index->chunks, chunk);
}

static uint32_t
ordered_node_acquire(struct ordered_index *index, uint16_t level)
{
    assert(level < ORDERED_HEIGHT_MAX);
    const uint32_t chunk = chunk_pool_acquire(index->chunks, CHUNK_LARGE);
    struct ordered_node *node = ordered_node_at(index, chunk);
    node->previous = CHUNK_NONE;
    node->next = CHUNK_NONE;
    node->count = 0;
    node->level = level;
    node->reserved = 0;
    if (level == 0) {
        index->leaf_count += 1;
    } else {
        index->inner_count += 1;
    }
    return chunk;
}

static void
ordered_node_release(struct ordered_index *index, uint32_t chunk)
{
    if (ordered_node_at(index, chunk)->level == 0) {
        assert(index->leaf_count > 0);
        index->leaf_count -= 1;
    } else {
        assert(index->inner_count > 0);
        index->inner_count -= 1;
    }
    chunk_pool_release(index->chunks, CHUNK_LARGE, chunk);
}

static inline bool
ordered_below(uint64_t value_a, uint32_t row_a, uint64_t value_b, uint32_t row_b)
{
    return value_a < value_b || (value_a == value_b && row_a < row_b);
}

/* The first place of the leaf whose pair is not below. */
static uint32_t
ordered_leaf_position(const struct ordered_node *leaf, struct ordered_pair pair)
{
    assert(leaf->level == 0);
    uint32_t position = 0;
    while (position < leaf->count &&
           ordered_below(
               leaf->leaf.values[position], leaf->leaf.rows[position], pair.value, pair.row)) {
        position += 1;
    }
    return position;
}

/* The child that has the pair, or would have it (D2). */
static uint32_t
ordered_inner_position(const struct ordered_node *inner, struct ordered_pair pair)
{
    assert(inner->level > 0);
    assert(inner->count > 0);
    uint32_t position = inner->count - 1u;
    while (position > 0 &&
           ordered_below(
               pair.value, pair.row, inner->inner.values[position], inner->inner.rows[position])) {
        position -= 1;
    }
    return position;
}

static uint32_t
ordered_descend(
    const struct ordered_index *index, struct ordered_pair pair, struct ordered_path *path)
{
    assert(index->pair_count > 0);
    assert(index->root != CHUNK_NONE);
    uint32_t chunk = index->root;
    path->depth = 0;
    for (;;) {
        const struct ordered_node *node = ordered_node_at(index, chunk);
        assert(node->count > 0); /* (D1) */
        if (node->level == 0) return chunk;
        assert(path->depth < ORDERED_HEIGHT_MAX);
        const uint32_t position = ordered_inner_position(node, pair);
        path->nodes[path->depth] = chunk;
        path->children[path->depth] = position;
        path->depth += 1;
        chunk = node->inner.children[position];
        assert(ordered_node_at(index, chunk)->level + 1 == node->level);
    }
}

/* ---- Insertion ----------------------------------------------------------------------------- */

static void
ordered_leaf_put(struct ordered_node *leaf, uint32_t position, struct ordered_pair pair)
{
    assert(leaf->count < ORDERED_LEAF_PAIRS);
    assert(position <= leaf->count);
    const uint32_t after = leaf->count - position;
    memmove(
        &leaf->leaf.values[position + 1],
        &leaf->leaf.values[position],
        after * sizeof(leaf->leaf.values[0]));
    memmove(
        &leaf->leaf.rows[position + 1],
        &leaf->leaf.rows[position],
        after * sizeof(leaf->leaf.rows[0]));
    leaf->leaf.values[position] = pair.value;
    leaf->leaf.rows[position] = pair.row;
    leaf->count += 1;
}

static void
ordered_inner_put(
    struct ordered_node *inner, uint32_t position, struct ordered_pair key, uint32_t child)
{
    assert(inner->count < ORDERED_INNER_CHILDREN);
    assert(position <= inner->count);
    const uint32_t after = inner->count - position;
    memmove(
        &inner->inner.values[position + 1],
        &inner->inner.values[position],
        after * sizeof(inner->inner.values[0]));
    memmove(
        &inner->inner.rows[position + 1],
        &inner->inner.rows[position],
        after * sizeof(inner->inner.rows[0]));
    memmove(
        &inner->inner.children[position + 1],
        &inner->inner.children[position],
        after * sizeof(inner->inner.children[0]));
    inner->inner.values[position] = key.value;
    inner->inner.rows[position] = key.row;
    inner->inner.children[position] = child;
    inner->count += 1;
}

/* A new leaf after a full one, with the upper half of its pairs; with none at the right edge. */
static uint32_t
ordered_leaf_split(struct ordered_index *index, uint32_t chunk, bool edge)
{
    const uint32_t chunk_new = ordered_node_acquire(index, 0);
    struct ordered_node *leaf = ordered_node_at(index, chunk);
    struct ordered_node *leaf_new = ordered_node_at(index, chunk_new);
    assert(leaf->level == 0);
    assert(leaf->count == ORDERED_LEAF_PAIRS);
    const uint32_t kept = edge ? ORDERED_LEAF_PAIRS : ORDERED_LEAF_PAIRS / 2;
    const uint32_t moved = ORDERED_LEAF_PAIRS - kept;
    memcpy(leaf_new->leaf.values, &leaf->leaf.values[kept], moved * sizeof(uint64_t));
    memcpy(leaf_new->leaf.rows, &leaf->leaf.rows[kept], moved * sizeof(uint32_t));
    leaf->count = (uint16_t) kept;
    leaf_new->count = (uint16_t) moved;

    leaf_new->previous = chunk;
    leaf_new->next = leaf->next;
    if (leaf->next != CHUNK_NONE) ordered_node_at(index, leaf->next)->previous = chunk_new;
    leaf->next = chunk_new;
    return chunk_new;
}

static uint32_t
ordered_inner_split(struct ordered_index *index, uint32_t chunk, bool edge)
{
    struct ordered_node *inner = ordered_node_at(index, chunk);
    const uint32_t chunk_new = ordered_node_acquire(index, inner->level);
    assert(inner->level > 0);
    struct ordered_node *inner_new = ordered_node_at(index, chunk_new);
    assert(inner->count == ORDERED_INNER_CHILDREN);
    const uint32_t kept = edge ? ORDERED_INNER_CHILDREN : ORDERED_INNER_CHILDREN / 2;
    const uint32_t moved = ORDERED_INNER_CHILDREN - kept;
    memcpy(inner_new->inner.values, &inner->inner.values[kept], moved * sizeof(uint64_t));
    memcpy(inner_new->inner.rows, &inner->inner.rows[kept], moved * sizeof(uint32_t));
    memcpy(inner_new->inner.children, &inner->inner.children[kept], moved * sizeof(uint32_t));
    inner->count = (uint16_t) kept;
    inner_new->count = (uint16_t) moved;
    return chunk_new;
}

static void
ordered_root_grow(struct ordered_index *index, struct ordered_pair key, uint32_t child)
{
    assert(index->root != CHUNK_NONE);
    assert(child != CHUNK_NONE);
    const uint32_t root_old = index->root;
    const uint16_t level = ordered_node_at(index, root_old)->level;
    index->root = ordered_node_acquire(index, (uint16_t) (level + 1));
    struct ordered_node *root = ordered_node_at(index, index->root);
    ordered_inner_put(root, 0, (struct ordered_pair){0}, root_old);
    ordered_inner_put(root, 1, key, child);
    assert(root->level == ordered_node_at(index, child)->level + 1);
}

/* Makes a new node, whose first pair is `key`, known to the nodes above its left neighbour. */
static void
ordered_insert_child(
    struct ordered_index *index,
    const struct ordered_path *path,
    struct ordered_pair key,
    uint32_t child,
    bool edge)
{
    assert(path->depth < ORDERED_HEIGHT_MAX);
    for (uint32_t depth = path->depth; depth > 0; depth--) {
        const uint32_t chunk = path->nodes[depth - 1];
        const uint32_t position = path->children[depth - 1] + 1;
        struct ordered_node *inner = ordered_node_at(index, chunk);
        if (inner->count < ORDERED_INNER_CHILDREN) {
            ordered_inner_put(inner, position, key, child);
            return;
        }
        assert(!edge || position == inner->count);
        const uint32_t chunk_new = ordered_inner_split(index, chunk, edge);
        struct ordered_node *inner_new = ordered_node_at(index, chunk_new);
        if (position > inner->count || edge) {
            ordered_inner_put(inner_new, position - inner->count, key, child);
        } else {
            ordered_inner_put(inner, position, key, child);
        }
        key = (struct ordered_pair){inner_new->inner.values[0], inner_new->inner.rows[0]};
        child = chunk_new;
    }
    ordered_root_grow(index, key, child);
}

void
ordered_index_insert(struct ordered_index *index, uint64_t value, uint32_t row)
{
    assert(row < UINT32_MAX);
    const struct ordered_pair pair = {.value = value, .row = row};
    index->pair_count += 1;
    if (index->root == CHUNK_NONE) {
        index->root = ordered_node_acquire(index, 0);
        index->first = index->root;
        ordered_leaf_put(ordered_node_at(index, index->root), 0, pair);
        return;
    }
    struct ordered_path path;
    const uint32_t chunk = ordered_descend(index, pair, &path);
    struct ordered_node *leaf = ordered_node_at(index, chunk);
    const uint32_t position = ordered_leaf_position(leaf, pair);
    if (position < leaf->count) {
        assert(leaf->leaf.values[position] != value || leaf->leaf.rows[position] != row);
    }
    if (leaf->count < ORDERED_LEAF_PAIRS) {
        ordered_leaf_put(leaf, position, pair);
        return;
    }
    const bool edge = leaf->next == CHUNK_NONE && position == leaf->count;
    const uint32_t chunk_new = ordered_leaf_split(index, chunk, edge);
    struct ordered_node *leaf_new = ordered_node_at(index, chunk_new);
    if (position > leaf->count || edge) {
        ordered_leaf_put(leaf_new, position - leaf->count, pair);
    } else {
        ordered_leaf_put(leaf, position, pair);
    }
    const struct ordered_pair key = {leaf_new->leaf.values[0], leaf_new->leaf.rows[0]};
    ordered_insert_child(index, &path, key, chunk_new, edge);
}

/* ---- Removal ------------------------------------------------------------------------------- */

static void
ordered_leaf_unlink(struct ordered_index *index, uint32_t chunk)
{
    assert(index->leaf_count > 0);
    const struct ordered_node *leaf = ordered_node_at(index, chunk);
    assert(leaf->level == 0);
    assert(leaf->count == 0);
    if (leaf->next != CHUNK_NONE) ordered_node_at(index, leaf->next)->previous = leaf->previous;
    if (leaf->previous == CHUNK_NONE) {
        assert(index->first == chunk);
        index->first = leaf->next;
    } else {
        ordered_node_at(index, leaf->previous)->next = leaf->next;
    }
    ordered_node_release(index, chunk);
}

static void
ordered_inner_remove(struct ordered_node *inner, uint32_t position)
{
    assert(inner->level > 0);
    assert(position < inner->count);
    const uint32_t after = inner->count - position - 1u;
    memmove(
        &inner->inner.values[position],
        &inner->inner.values[position + 1],
        after * sizeof(inner->inner.values[0]));
    memmove(
        &inner->inner.rows[position],
        &inner->inner.rows[position + 1],
        after * sizeof(inner->inner.rows[0]));
    memmove(
        &inner->inner.children[position],
        &inner->inner.children[position + 1],
        after * sizeof(inner->inner.children[0]));
    inner->count -= 1;
}

/*
 * The leaf at the end of the path is gone: so is the place for it above, and each node that has no
 * other.
 */
static void
ordered_remove_child(struct ordered_index *index, const struct ordered_path *path)
{
    assert(path->depth < ORDERED_HEIGHT_MAX);
    for (uint32_t depth = path->depth; depth > 0; depth--) {
        const uint32_t chunk = path->nodes[depth - 1];
        struct ordered_node *inner = ordered_node_at(index, chunk);
        ordered_inner_remove(inner, path->children[depth - 1]);
        if (inner->count > 0) return;
        ordered_node_release(index, chunk);
    }
    index->root = CHUNK_NONE;
    assert(index->first == CHUNK_NONE);
    assert(index->leaf_count == 0 && index->inner_count == 0);
}

void
ordered_index_remove(struct ordered_index *index, uint64_t value, uint32_t row)
{
    assert(index->pair_count > 0);
    const struct ordered_pair pair = {.value = value, .row = row};
    struct ordered_path path;
    const uint32_t chunk = ordered_descend(index, pair, &path);
    struct ordered_node *leaf = ordered_node_at(index, chunk);
    const uint32_t position = ordered_leaf_position(leaf, pair);
    assert(position < leaf->count);
    assert(leaf->leaf.values[position] == value);
    assert(leaf->leaf.rows[position] == row);

    const uint32_t after = leaf->count - position - 1u;
    memmove(
        &leaf->leaf.values[position],
        &leaf->leaf.values[position + 1],
        after * sizeof(leaf->leaf.values[0]));
    memmove(
        &leaf->leaf.rows[position],
        &leaf->leaf.rows[position + 1],
        after * sizeof(leaf->leaf.rows[0]));
    leaf->count -= 1;
    index->pair_count -= 1;
    if (leaf->count > 0) return;

    ordered_leaf_unlink(index, chunk);
    ordered_remove_child(index, &path);
    while (index->root != CHUNK_NONE) {
        const uint32_t root = index->root;
        const struct ordered_node *node = ordered_node_at(index, root);
        if (node->level == 0 || node->count > 1) break;
        index->root = node->inner.children[0];
        ordered_node_release(index, root);
    }
}

/* ---- Reading ------------------------------------------------------------------------------- */

struct ordered_cursor
ordered_index_seek(const struct ordered_index *index, uint64_t value)
{
    assert(index->schema->kind == INDEX_ORDERED);
    if (index->root == CHUNK_NONE) return (struct ordered_cursor){.leaf = CHUNK_NONE};
    const struct ordered_pair pair = {.value = value, .row = 0};
    struct ordered_path path;
    const uint32_t chunk = ordered_descend(index, pair, &path);
    const struct ordered_node *leaf = ordered_node_at(index, chunk);
    const uint32_t position = ordered_leaf_position(leaf, pair);
    assert(position <= leaf->count);
    /* All pairs of the leaf may be below; those of the next one are not (D2). */
    if (position == leaf->count) return (struct ordered_cursor){.leaf = leaf->next};
    return (struct ordered_cursor){.leaf = chunk, .index = position};
}

bool
ordered_index_next(
    const struct ordered_index *index, struct ordered_cursor *cursor, struct ordered_pair *pair)
{
    if (cursor->leaf == CHUNK_NONE) return false;
    const struct ordered_node *leaf = ordered_node_at(index, cursor->leaf);
    assert(leaf->level == 0);
    assert(cursor->index < leaf->count);
    pair->value = leaf->leaf.values[cursor->index];
    pair->row = leaf->leaf.rows[cursor->index];
    cursor->index += 1;
    if (cursor->index == leaf->count) {
        *cursor = (struct ordered_cursor){.leaf = leaf->next};
    }
    return true;
}

uint64_t
ordered_index_bytes_needed(const struct ordered_index *index, uint64_t inserts)
{
    assert((index->root == CHUNK_NONE) == (index->pair_count == 0));
    /*
     * Each node that is full now may split at its first insert. After that, or when new, it takes
     * nine inserts to split a leaf, seven to split an inner node; eight and four make up for those
     * at the right edge, which stay full.
     */
    const uint64_t leaves = min_u64(inserts, index->leaf_count + inserts / 8 + 1);
    const uint64_t level =
        index->root == CHUNK_NONE ? 0 : ordered_node_at(index, index->root)->level;
    const uint64_t by_leaf = leaves * (level + 2);
    const uint64_t by_count =
        index->inner_count + index->inner_count / 4 + leaves / 4 + ORDERED_HEIGHT_MAX;
    assert(level < ORDERED_HEIGHT_MAX);
    return CHUNK_LARGE_SIZE * (leaves + min_u64(by_leaf, by_count));
}
