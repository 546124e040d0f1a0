/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scopes: a log of what was done, read backwards to undo it (F2). Tails, and counts, go back to
 * what they were when the scope was opened.
 */
#include <string.h>

#include "forest/internal.h"

uint64_t
forest_scope_log_size_max(const struct forest_schema *schema)
{
    assert(schema->tree_count > 0);
    uint64_t size = 0;
    assert(schema->tree_count <= FOREST_TREES_MAX);
    for (uint32_t tree = 0; tree < schema->tree_count; tree++) {
        const struct tree_schema *tree_schema = &schema->trees[tree];
        const uint64_t update_size = sizeof(struct forest_undo) + tree_schema->record_size;
        size += tree_schema->inserts_per_event_max * sizeof(struct forest_undo);
        size += tree_schema->updates_per_event_max * update_size;
    }
    return size * EVENTS_PER_BATCH_MAX;
}

void
forest_scope_open(struct forest *forest)
{
    struct forest_scope *scope = &forest->scope;
    assert(forest->active);
    assert(!scope->open);
    assert(scope->log_size == 0);
    scope->open = true;
    for (uint32_t i = 0; i < forest->schema->tree_count; i++) {
        scope->newest[i] = forest->trees[i].newest;
        scope->record_count[i] = forest->trees[i].record_count;
    }
    for (uint32_t i = 0; i < forest->part_count; i++) {
        const struct tail *tail = forest->parts[i].tail;
        scope->tail_count[i] = tail == NULL ? 0 : tail->count;
    }
}

void
forest_scope_persist(struct forest *forest)
{
    assert(forest->scope.open);
    assert(forest->active);
    assert(forest->scope.log_size <= forest->scope.log_size_max);
    forest->scope.open = false;
    forest->scope.log_size = 0;
}

static void
scope_push(struct forest_scope *scope, const void *data, uint64_t size)
{
    assert(scope->open);
    assert(scope->log_size + size <= scope->log_size_max);
    memcpy(scope->log + scope->log_size, data, size);
    scope->log_size += size;
}

static const void *
scope_pop(struct forest_scope *scope, uint64_t size)
{
    assert(scope->open);
    assert(scope->log_size >= size);
    scope->log_size -= size;
    return scope->log + scope->log_size;
}

void
forest_scope_on_insert(struct forest *forest, uint32_t tree, uint32_t slot)
{
    const struct forest_undo undo = {.slot = slot, .kind = UNDO_INSERT, .tree = (uint8_t) tree};
    assert(tree < forest->schema->tree_count);
    scope_push(&forest->scope, &undo, sizeof(undo));
    assert((slot == OBJECT_NONE) == forest_tree_is_log(&forest->trees[tree]));
}

void
forest_scope_on_update(
    struct forest *forest, uint32_t tree, uint32_t slot, uint64_t op, bool was_dirty)
{
    const struct forest_undo undo = {
        .op = op,
        .slot = slot,
        .kind = UNDO_UPDATE,
        .tree = (uint8_t) tree,
        .was_dirty = was_dirty,
    };
    const struct forest_tree *forest_tree = forest_tree_at(forest, tree);
    const void *old = objects_record(&forest_tree->objects, slot);
    assert(op <= forest->op + 1);
    assert(was_dirty == objects_is_dirty(&forest_tree->objects, slot));
    scope_push(&forest->scope, old, forest_tree->schema->record_size);
    scope_push(&forest->scope, &undo, sizeof(undo));
}

static void
scope_undo(struct forest *forest, const struct forest_undo *undo)
{
    struct forest_tree *tree = forest_tree_at(forest, undo->tree);
    struct objects *objects = &tree->objects;
    if (forest_tree_is_log(tree)) {
        assert(undo->kind == UNDO_INSERT);
        log_pop(&tree->log);
        return;
    }
    if (undo->kind == UNDO_UPDATE) {
        const uint32_t size = tree->schema->record_size;
        memcpy(objects_record(objects, undo->slot), scope_pop(&forest->scope, size), size);
        objects_untouch(objects, undo->slot, undo->op, undo->was_dirty);
        if (!undo->was_dirty) forest->parts[tree->records].added -= 1;
        return;
    }
    assert(undo->kind == UNDO_INSERT);
    assert(forest->parts[tree->records].added > 0);
    objects_untouch(objects, undo->slot, 0, false);
    objects_remove(objects, undo->slot);
    forest->parts[tree->records].added -= 1;
}

void
forest_scope_discard(struct forest *forest)
{
    struct forest_scope *scope = &forest->scope;
    assert(scope->open);
    assert(forest->active);
    while (scope->log_size > 0) {
        struct forest_undo undo;
        memcpy(&undo, scope_pop(scope, sizeof(undo)), sizeof(undo));
        scope_undo(forest, &undo);
    }
    for (uint32_t i = 0; i < forest->schema->tree_count; i++) {
        assert(scope->newest[i] <= forest->trees[i].newest);
        assert(scope->record_count[i] <= forest->trees[i].record_count);
        forest->trees[i].newest = scope->newest[i];
        forest->trees[i].record_count = scope->record_count[i];
    }
    for (uint32_t i = 0; i < forest->part_count; i++) {
        struct tail *tail = forest->parts[i].tail;
        if (tail != NULL) tail_truncate(tail, scope->tail_count[i]);
    }
    scope->open = false;
}
