/* SPDX-License-Identifier: PostgreSQL */
/* See audit.h. */
#include "forest/audit.h"

#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/* ---- What it is about ------------------------------------------------------------------------ */

/* Nothing newer than what precedes the oldest of the tail's entries of this kind. */
static uint64_t
before_tail(const struct tail *tail, uint64_t burnt, uint64_t newest)
{
    uint64_t about = newest;
    assert(burnt == 0 || burnt == BURNT_BIT);
    for (uint32_t i = 0; i < tail->count; i++) {
        const bool id = tail->format.shape == ENTRY_ID;
        const uint64_t timestamp =
            id ? tail->entries.ids[i].timestamp : tail->entries.index[i].timestamp;
        if ((timestamp & BURNT_BIT) != burnt) continue;
        about = min_u64(about, (timestamp & ~BURNT_BIT) - 1);
    }
    return about;
}

/*
 * Of a tree with updates, records on disk: those up to the newest that is there, since all that are
 * in memory only were inserted after the last flush, which takes all. The others are counted.
 */
static void
fix_records_on_disk(struct audit *audit, uint32_t number)
{
    const struct forest *forest = audit->forest;
    const struct forest_tree *tree = &forest->trees[number];
    const struct tree *records = &forest->parts[tree->records].tree;
    uint64_t disk_max = 0;
    assert(!forest_tree_is_log(tree));
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        const struct tree_run *run = &records->runs[i];
        if (!run->used || run->table_count == 0) continue;
        disk_max = max_u64(disk_max, u128_low(run->key_max));
    }
    assert(disk_max <= tree->newest);
    for (uint32_t i = 0; i < tree->objects.dirty_count; i++) {
        if (tree->objects.dirty[i].key > disk_max) audit->record_count[number] -= 1;
    }
    audit->record_max[number] = disk_max;
}

static void
fix_tree(struct audit *audit, uint32_t number)
{
    const struct forest *forest = audit->forest;
    const struct forest_tree *tree = &forest->trees[number];
    uint64_t about = tree->newest;
    audit->record_max[number] = tree->newest;
    audit->record_count[number] = tree->record_count;
    if (!forest_tree_is_log(tree)) fix_records_on_disk(audit, number);
    about = min_u64(about, audit->record_max[number]);
    if (tree->ids != PART_NONE) about = before_tail(&tree->id_tail, 0, about);
    if (tree->list != PART_NONE) about = before_tail(&tree->list_tail, 0, about);
    if (tree->burns_for != FOREST_NONE) {
        about = before_tail(&forest->trees[tree->burns_for].id_tail, BURNT_BIT, about);
    }
    for (uint32_t i = 0; i < tree->index_count; i++) {
        about = before_tail(&forest->indexes[tree->indexes[i]].tail, 0, about);
    }
    assert(about <= tree->newest);
    audit->about[number] = about;
}

void
audit_start(struct audit *audit, struct forest *forest)
{
    assert(forest->opened);
    assert(!forest->scope.open);
    audit->forest = forest;
    audit->stage = AUDIT_STAGE_RECORDS;
    audit->tree = 0;
    audit->part = 0;
    audit->begun = false;
    memset(audit->expected, 0, sizeof(audit->expected));
    for (uint32_t tree = 0; tree < forest->schema->tree_count; tree++) {
        fix_tree(audit, tree);
    }
}

/* ---- Sums ------------------------------------------------------------------------------------ */

static void
sum_add(struct audit_sum *sum, u128 key, uint64_t timestamp)
{
    assert(timestamp != 0);
    sum->count += 1;
    sum->hashes += filter_hash(u128_make(filter_hash(key), timestamp));
}

/* The entries that the record must have: the same as in op.c, `enter`. */
static void
sum_record(struct audit *audit, uint32_t number, const void *record)
{
    const struct forest *forest = audit->forest;
    const struct forest_tree *tree = &forest->trees[number];
    const uint64_t timestamp = audit->timestamp;
    u128 id = 0;
    assert(timestamp <= audit->about[number]);
    if (tree->schema->id_offset != FOREST_NONE) {
        memcpy(&id, (const char *) record + tree->schema->id_offset, sizeof(id));
    }
    if (tree->ids != PART_NONE) sum_add(&audit->expected[tree->ids], id, timestamp);
    if (tree->list != PART_NONE) sum_add(&audit->expected[tree->list], 0, timestamp);
    if (tree->burns_for != FOREST_NONE) {
        const uint32_t ids = forest->trees[tree->burns_for].ids;
        sum_add(&audit->expected[ids], id, timestamp | BURNT_BIT);
    }
    for (uint32_t i = 0; i < tree->index_count; i++) {
        const struct forest_index *index = &forest->indexes[tree->indexes[i]];
        uint64_t value;
        if (!forest_index_value(index->schema, record, &value)) continue;
        sum_add(&audit->expected[index->part], value, timestamp);
    }
}

static void
note(struct audit *audit, uint32_t part, enum audit_kind kind, uint64_t expected, uint64_t found)
{
    assert(part < audit->forest->part_count);
    audit->finding = (struct audit_finding){
        .tree_name = forest_part(audit->forest, part)->tree.name,
        .kind = kind,
        .expected = expected,
        .found = found,
    };
}

/* ---- Records --------------------------------------------------------------------------------- */

static void
records_begin(struct audit *audit)
{
    struct forest *forest = audit->forest;
    const struct forest_tree *tree = forest_tree_at(forest, audit->tree);
    const struct scan_window window = {
        .timestamp_min = 1,
        .timestamp_max = audit->record_max[audit->tree],
        .direction = SCAN_ASCENDING,
    };
    assert(!audit->begun);
    audit->begun = true;
    audit->records_found = 0;
    audit->timestamp = 0;
    if (forest_tree_is_log(tree)) {
        scan_tree(&audit->scan, forest, audit->tree, &window);
    } else {
        walk_init(&audit->walk, &forest_part(forest, tree->records)->tree);
    }
}

/* To the next record of the tree, unless one is at hand. */
static enum tree_found
records_next(struct audit *audit)
{
    const void *entry;
    if (audit->timestamp != 0) return TREE_FOUND;
    if (forest_tree_is_log(forest_tree_at(audit->forest, audit->tree))) {
        switch (scan_next(&audit->scan, &audit->timestamp)) {
        case SCAN_FOUND: return TREE_FOUND;
        case SCAN_END: return TREE_ABSENT;
        case SCAN_WAIT: return TREE_WAIT;
        case SCAN_LOST: return TREE_LOST;
        }
    }
    const enum tree_found found = walk_next(&audit->walk, &entry);
    if (found != TREE_FOUND) return found;
    assert(u128_high(audit->walk.key) == 0);
    if (audit->walk.key > audit->record_max[audit->tree]) return TREE_ABSENT;
    audit->timestamp = u128_low(audit->walk.key);
    return TREE_FOUND;
}

/* The records of all trees, one after another. */
static enum audit_step
step_records(struct audit *audit)
{
    char record[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16)));
    struct forest *forest = audit->forest;
    const uint32_t number = audit->tree;
    if (!audit->begun) records_begin(audit);
    enum tree_found found = records_next(audit);
    if (found == TREE_FOUND) found = forest_find(forest, number, audit->timestamp, record);
    if (found == TREE_WAIT || found == TREE_LOST) {
        return found == TREE_WAIT ? AUDIT_WAIT : AUDIT_LOST;
    }
    if (audit->timestamp != 0) {
        /* What is there but can't be found is as good as not there. */
        if (found == TREE_FOUND) audit->records_found += 1;
        if (found == TREE_FOUND && audit->timestamp <= audit->about[number]) {
            sum_record(audit, number, record);
        }
        audit->timestamp = 0;
        return AUDIT_YIELD;
    }
    audit->begun = false;
    audit->tree += 1;
    if (audit->tree == forest->schema->tree_count) audit->stage = AUDIT_STAGE_ENTRIES;
    if (audit->records_found == audit->record_count[number]) return AUDIT_YIELD;
    note(
        audit,
        forest->trees[number].records,
        AUDIT_RECORDS,
        audit->record_count[number],
        audit->records_found);
    return AUDIT_WRONG;
}

/* ---- Entries --------------------------------------------------------------------------------- */

/* What the part is. */
static enum audit_kind
part_kind(const struct forest *forest, uint32_t part, uint32_t *tree)
{
    for (*tree = 0; *tree < forest->schema->tree_count; *tree += 1) {
        if (forest->trees[*tree].ids == part) return AUDIT_IDS;
        if (forest->trees[*tree].list == part) return AUDIT_LIST;
        if (forest->trees[*tree].records == part) return AUDIT_RECORDS;
    }
    for (uint32_t i = 0; i < forest->schema->index_count; i++) {
        if (forest->indexes[i].part != part) continue;
        *tree = forest->indexes[i].schema->tree;
        return AUDIT_INDEX;
    }
    unreachable();
}

static void
entries_begin(struct audit *audit)
{
    assert(!audit->begun);
    assert(audit->stage == AUDIT_STAGE_ENTRIES);
    audit->begun = true;
    audit->kind = part_kind(audit->forest, audit->part, &audit->tree);
    audit->found = (struct audit_sum){0};
    walk_init(&audit->walk, &forest_part(audit->forest, audit->part)->tree);
}

/* Adds the entry, unless it is of a record that came too late. */
static void
sum_entry(struct audit *audit, const void *entry)
{
    const struct forest *forest = audit->forest;
    uint32_t tree = audit->tree;
    u128 key = audit->walk.key;
    uint64_t timestamp = u128_low(key);
    assert(audit->kind != AUDIT_RECORDS);
    if (audit->kind == AUDIT_IDS) {
        struct entry24 id;
        memcpy(&id, entry, sizeof(id));
        timestamp = id.timestamp;
    } else {
        key = u128_high(key);
    }
    if (timestamp & BURNT_BIT) tree = forest->trees[tree].schema->burnt_tree;
    const uint64_t plain = timestamp & ~BURNT_BIT;
    /* (A2) No record is newer than the newest; no id of a tree without burnt ones is. */
    const bool possible = tree != FOREST_NONE && plain <= forest->trees[tree].newest;
    if (possible && plain > audit->about[tree]) return;
    sum_add(&audit->found, key, timestamp);
}

/* The entries of all parts, one after another. */
static enum audit_step
step_entries(struct audit *audit)
{
    struct forest *forest = audit->forest;
    const struct audit_sum *expected = &audit->expected[audit->part];
    assert(audit->part < forest->part_count);
    if (!audit->begun) entries_begin(audit);
    if (audit->kind != AUDIT_RECORDS) {
        const void *entry;
        const enum tree_found found = walk_next(&audit->walk, &entry);
        if (found == TREE_WAIT) return AUDIT_WAIT;
        if (found == TREE_LOST) return AUDIT_LOST;
        if (found == TREE_FOUND) {
            sum_entry(audit, entry);
            return AUDIT_YIELD;
        }
    }
    const bool same = audit->found.count == expected->count &&
                      audit->found.hashes == expected->hashes; /* (A1) (A2) */
    if (!same) note(audit, audit->part, audit->kind, expected->count, audit->found.count);
    audit->begun = false;
    audit->part += 1;
    if (audit->part == forest->part_count) audit->stage = AUDIT_STAGE_DONE;
    return same ? AUDIT_YIELD : AUDIT_WRONG;
}

enum audit_step
audit_step(struct audit *audit, uint32_t *rows_left)
{
    assert(audit->forest->opened);
    assert(!audit->forest->scope.open);
    while (*rows_left > 0) {
        if (audit->stage == AUDIT_STAGE_DONE) return AUDIT_END;
        const enum audit_step step =
            audit->stage == AUDIT_STAGE_RECORDS ? step_records(audit) : step_entries(audit);
        if (step != AUDIT_YIELD) return step;
        *rows_left -= 1;
    }
    return AUDIT_YIELD;
}
