/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scopes: a log of what was done, read backwards to undo it (F2).
 *
 * Undoing an insert takes the newest record of the tree away, from the indexes first. As everything
 * younger has been undone before, the record is the newest of every list it is in.
 */
#include <string.h>

#include "lsm/forest_internal.h"

uint64_t
forest_scope_log_size_max(const struct forest_schema *schema)
{
    assert(schema->tree_count > 0);
    uint64_t size = 0;
    for (uint32_t tree = 0; tree < schema->tree_count; tree++) {
        const struct tree_schema *tree_schema = &schema->trees[tree];
        const uint64_t update_size = sizeof(struct forest_undo) + tree_schema->record_size;
        size += tree_schema->inserts_per_event_max * sizeof(struct forest_undo);
        size += tree_schema->updates_per_event_max * update_size;
    }
    assert(size > 0);
    return size * EVENTS_PER_BATCH_MAX;
}

void
forest_scope_open(struct forest *forest)
{
    assert(forest->opened);
    assert(!forest->scope.open);
    assert(forest->scope.log_size == 0);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    forest->scope.open = true;
}

void
forest_scope_persist(struct forest *forest)
{
    assert(forest->scope.open);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
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
forest_scope_on_insert(struct forest *forest, uint32_t tree, uint32_t row)
{
    assert(forest->scope.open);
    const struct forest_undo undo = {.row = row, .kind = UNDO_INSERT, .tree = (uint16_t) tree};
    assert(tree < forest->schema->tree_count);
    scope_push(&forest->scope, &undo, sizeof(undo));
}

void
forest_scope_on_update(struct forest *forest, uint32_t tree, uint32_t row, const void *old)
{
    assert(forest->scope.open);
    const struct forest_undo undo = {.row = row, .kind = UNDO_UPDATE, .tree = (uint16_t) tree};
    assert(tree < forest->schema->tree_count);
    scope_push(&forest->scope, old, forest->schema->trees[tree].record_size);
    scope_push(&forest->scope, &undo, sizeof(undo));
}

static void
scope_undo_insert(struct forest *forest, const struct forest_undo *undo)
{
    assert(undo->tree < forest->schema->tree_count);
    struct tree *tree = &forest->trees[undo->tree].tree;
    assert(undo->row == tree->record_count - 1);
    forest_unindex_record(forest, undo->tree, tree_record(tree, undo->row), undo->row);
    tree_pop(tree);
}

static void
scope_undo_update(struct forest *forest, const struct forest_undo *undo)
{
    assert(undo->tree < forest->schema->tree_count);
    struct tree *tree = &forest->trees[undo->tree].tree;
    const void *old = scope_pop(&forest->scope, tree->schema->record_size);
    void *record = tree_record(tree, undo->row);
    assert(tree_record_timestamp(tree, old) == tree_record_timestamp(tree, record));
    forest_reorder_record(forest, undo->tree, undo->row, record, old);
    memcpy(record, old, tree->schema->record_size);
}

void
forest_scope_discard(struct forest *forest)
{
    assert(forest->scope.open);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    while (forest->scope.log_size > 0) {
        struct forest_undo undo;
        memcpy(&undo, scope_pop(&forest->scope, sizeof(undo)), sizeof(undo));
        switch ((enum forest_undo_kind) undo.kind) {
        case UNDO_INSERT: scope_undo_insert(forest, &undo); break;
        case UNDO_UPDATE: scope_undo_update(forest, &undo); break;
        }
    }
    forest->scope.open = false;
}
