/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scopes: a log of what was done, which is read backwards to undo it (F2). Tails and counts are set
 * back to what they were when the scope was opened.
 */
#include <string.h>

#include "forest/internal.h"

uint64_t
forest_scope_log_size_max(const struct forest_schema *schema)
{
    assert(schema->groove_count > 0);
    uint64_t size = 0;
    assert(schema->groove_count <= FOREST_GROOVES_MAX);
    for (uint32_t groove = 0; groove < schema->groove_count; groove++) {
        const struct groove_schema *groove_schema = &schema->grooves[groove];
        const uint64_t update_size = sizeof(struct forest_undo) + groove_schema->record_size;
        size += groove_schema->inserts_per_event_max * sizeof(struct forest_undo);
        size += groove_schema->updates_per_event_max * update_size;
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
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        scope->newest[i] = forest->grooves[i].newest;
        scope->record_count[i] = forest->grooves[i].record_count;
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
forest_scope_on_insert(struct forest *forest, uint32_t groove, uint32_t object)
{
    assert(groove < forest->schema->groove_count);
    const struct forest_undo undo = {
        .object = object, .kind = UNDO_INSERT, .groove = (uint8_t) groove};
    scope_push(&forest->scope, &undo, sizeof(undo));
    assert((object == OBJECT_NONE) == groove_is_log(&forest->grooves[groove]));
}

void
forest_scope_on_update(
    struct forest *forest, uint32_t groove, uint32_t object, uint64_t op, bool was_dirty)
{
    const struct forest_undo undo = {
        .op = op,
        .object = object,
        .kind = UNDO_UPDATE,
        .groove = (uint8_t) groove,
        .was_dirty = was_dirty,
    };
    const struct groove *changed = forest_groove(forest, groove);
    const void *old = objects_record(&changed->objects, object);
    assert(op <= forest->op + 1);
    assert(was_dirty == objects_is_dirty(&changed->objects, object));
    scope_push(&forest->scope, old, changed->schema->record_size);
    scope_push(&forest->scope, &undo, sizeof(undo));
}

static void
scope_undo(struct forest *forest, const struct forest_undo *undo)
{
    struct groove *groove = forest_groove(forest, undo->groove);
    struct objects *objects = &groove->objects;
    if (groove_is_log(groove)) {
        assert(undo->kind == UNDO_INSERT);
        log_pop(&groove->log);
        return;
    }
    if (undo->kind == UNDO_UPDATE) {
        const uint32_t size = groove->schema->record_size;
        memcpy(objects_record(objects, undo->object), scope_pop(&forest->scope, size), size);
        objects_untouch(objects, undo->object, undo->op, undo->was_dirty);
        if (!undo->was_dirty) forest->parts[groove->records].added -= 1;
        return;
    }
    assert(undo->kind == UNDO_INSERT);
    assert(forest->parts[groove->records].added > 0);
    objects_untouch(objects, undo->object, 0, false);
    objects_remove(objects, undo->object);
    forest->parts[groove->records].added -= 1;
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
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        assert(scope->newest[i] <= forest->grooves[i].newest);
        assert(scope->record_count[i] <= forest->grooves[i].record_count);
        forest->grooves[i].newest = scope->newest[i];
        forest->grooves[i].record_count = scope->record_count[i];
    }
    for (uint32_t i = 0; i < forest->part_count; i++) {
        struct tail *tail = forest->parts[i].tail;
        if (tail != NULL) tail_truncate(tail, scope->tail_count[i]);
    }
    scope->open = false;
}
