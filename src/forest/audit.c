/* SPDX-License-Identifier: PostgreSQL */
/* See watch.h. */
#include "forest/watch.h"

#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/* ---- What it is about ------------------------------------------------------------------------ */

/*
 * The newest timestamp that is older than all of the tail's entries of this kind. Entries of
 * records up to it have all left memory.
 */
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
 * For a groove with updates: which records are on disk. Every flush takes all that are in memory.
 * So a record that is newer than the newest one on disk was inserted after the last flush, and is
 * in memory only. Those are subtracted from the count.
 */
static void
fix_records_on_disk(struct audit *audit, uint32_t number)
{
    const struct forest *forest = audit->forest;
    const struct groove *groove = &forest->grooves[number];
    const struct tree *records = &forest->parts[groove->records].tree;
    uint64_t disk_max = 0;
    assert(!groove_is_log(groove));
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        const struct tree_run *run = &records->runs[i];
        if (!run->used || run->table_count == 0) continue;
        disk_max = max_u64(disk_max, u128_low(run->key_max));
    }
    assert(disk_max <= groove->newest);
    for (uint32_t i = 0; i < groove->objects.dirty_count; i++) {
        if (groove->objects.dirty[i].key > disk_max) audit->record_count[number] -= 1;
    }
    audit->record_max[number] = disk_max;
}

static void
fix_groove(struct audit *audit, uint32_t number)
{
    const struct forest *forest = audit->forest;
    const struct groove *groove = &forest->grooves[number];
    uint64_t about = groove->newest;
    audit->record_max[number] = groove->newest;
    audit->record_count[number] = groove->record_count;
    if (!groove_is_log(groove)) fix_records_on_disk(audit, number);
    about = min_u64(about, audit->record_max[number]);
    if (groove->ids != PART_NONE) about = before_tail(&groove->id_tail, 0, about);
    if (groove->list != PART_NONE) about = before_tail(&groove->list_tail, 0, about);
    if (groove->burns_for != FOREST_NONE) {
        about = before_tail(&forest->grooves[groove->burns_for].id_tail, BURNT_BIT, about);
    }
    for (uint32_t i = 0; i < groove->index_count; i++) {
        about = before_tail(&forest->indexes[groove->indexes[i]].tail, 0, about);
    }
    assert(about <= groove->newest);
    audit->about[number] = about;
}

void
audit_start(struct audit *audit, struct forest *forest)
{
    assert(forest->opened);
    assert(!forest->scope.open);
    audit->forest = forest;
    audit->stage = AUDIT_STAGE_RECORDS;
    audit->groove = 0;
    audit->part = 0;
    audit->begun = false;
    memset(audit->expected, 0, sizeof(audit->expected));
    for (uint32_t groove = 0; groove < forest->schema->groove_count; groove++) {
        fix_groove(audit, groove);
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

/* Adds the entries that the record must have. They are those that `enter` in op.c makes. */
static void
sum_record(struct audit *audit, uint32_t number, const void *record)
{
    const struct forest *forest = audit->forest;
    const struct groove *groove = &forest->grooves[number];
    const uint64_t timestamp = audit->timestamp;
    u128 id = 0;
    assert(timestamp <= audit->about[number]);
    if (groove->schema->id_offset != FOREST_NONE) {
        memcpy(&id, (const char *) record + groove->schema->id_offset, sizeof(id));
    }
    if (groove->ids != PART_NONE) sum_add(&audit->expected[groove->ids], id, timestamp);
    if (groove->list != PART_NONE) sum_add(&audit->expected[groove->list], 0, timestamp);
    if (groove->burns_for != FOREST_NONE) {
        const uint32_t ids = forest->grooves[groove->burns_for].ids;
        sum_add(&audit->expected[ids], id, timestamp | BURNT_BIT);
    }
    for (uint32_t i = 0; i < groove->index_count; i++) {
        const struct forest_index *index = &forest->indexes[groove->indexes[i]];
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
    const struct groove *groove = forest_groove(forest, audit->groove);
    const struct scan_window window = {
        .timestamp_min = 1,
        .timestamp_max = audit->record_max[audit->groove],
        .direction = SCAN_ASCENDING,
    };
    assert(!audit->begun);
    audit->begun = true;
    audit->records_found = 0;
    audit->timestamp = 0;
    if (groove_is_log(groove)) {
        scan_groove(&audit->scan, forest, audit->groove, &window);
    } else {
        walk_init(&audit->walk, &forest_part(forest, groove->records)->tree);
    }
}

/* Goes on to the groove's next record, unless there is a current one already. */
static enum tree_found
records_next(struct audit *audit)
{
    const void *entry;
    if (audit->timestamp != 0) return TREE_FOUND;
    if (groove_is_log(forest_groove(audit->forest, audit->groove))) {
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
    if (audit->walk.key > audit->record_max[audit->groove]) return TREE_ABSENT;
    audit->timestamp = u128_low(audit->walk.key);
    return TREE_FOUND;
}

/* Goes through the records of all grooves, one groove after another. */
static enum audit_step
step_records(struct audit *audit)
{
    char record[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16)));
    struct forest *forest = audit->forest;
    const uint32_t number = audit->groove;
    if (!audit->begun) records_begin(audit);
    enum tree_found found = records_next(audit);
    if (found == TREE_FOUND) found = forest_find(forest, number, audit->timestamp, record);
    if (found == TREE_WAIT || found == TREE_LOST) {
        return found == TREE_WAIT ? AUDIT_WAIT : AUDIT_LOST;
    }
    if (audit->timestamp != 0) {
        /*
         * A record that is there but can't be found is as bad as a missing one, so it isn't
         * counted.
         */
        if (found == TREE_FOUND) audit->records_found += 1;
        if (found == TREE_FOUND && audit->timestamp <= audit->about[number]) {
            sum_record(audit, number, record);
        }
        audit->timestamp = 0;
        return AUDIT_YIELD;
    }
    audit->begun = false;
    audit->groove += 1;
    if (audit->groove == forest->schema->groove_count) audit->stage = AUDIT_STAGE_ENTRIES;
    if (audit->records_found == audit->record_count[number]) return AUDIT_YIELD;
    note(
        audit,
        forest->grooves[number].records,
        AUDIT_RECORDS,
        audit->record_count[number],
        audit->records_found);
    return AUDIT_WRONG;
}

/* ---- Entries --------------------------------------------------------------------------------- */

/* Which kind of entries the part has, and of which groove. */
static enum audit_kind
part_kind(const struct forest *forest, uint32_t part, uint32_t *groove)
{
    for (*groove = 0; *groove < forest->schema->groove_count; *groove += 1) {
        if (forest->grooves[*groove].ids == part) return AUDIT_IDS;
        if (forest->grooves[*groove].list == part) return AUDIT_LIST;
        if (forest->grooves[*groove].records == part) return AUDIT_RECORDS;
    }
    for (uint32_t i = 0; i < forest->schema->index_count; i++) {
        if (forest->indexes[i].part != part) continue;
        *groove = forest->indexes[i].schema->groove;
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
    audit->kind = part_kind(audit->forest, audit->part, &audit->groove);
    audit->found = (struct audit_sum){0};
    walk_init(&audit->walk, &forest_part(audit->forest, audit->part)->tree);
}

/* Adds the entry to what was found, unless its record is too new for this audit. */
static void
sum_entry(struct audit *audit, const void *entry)
{
    const struct forest *forest = audit->forest;
    uint32_t groove = audit->groove;
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
    if (timestamp & BURNT_BIT) groove = forest->grooves[groove].schema->burnt_groove;
    const uint64_t plain = timestamp & ~BURNT_BIT;
    /*
     * (A2) If there is no groove for it, or if it is newer than the groove's newest record, the
     * entry can't be right. Then it is counted, and makes the sum wrong.
     */
    const bool possible = groove != FOREST_NONE && plain <= forest->grooves[groove].newest;
    if (possible && plain > audit->about[groove]) return;
    sum_add(&audit->found, key, timestamp);
}

/* Goes through the entries of all parts, one part after another. */
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
