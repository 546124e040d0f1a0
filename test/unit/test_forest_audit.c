/* SPDX-License-Identifier: PostgreSQL */
/* Audits: of forests as they are, and of such with entries that were changed in memory. */
#include "unit.h"

#include <string.h>

#include "forest/watch.h"
#include "forest_fixture.h"
#include "unit/reserve.h"

#define FINDINGS_MAX 20

static struct forest_fixture fixture;
static struct prng prng;
static struct audit audit;
static struct audit_finding findings[FINDINGS_MAX];
static uint32_t finding_count;
static uint64_t entries_seen; /* That the audit was about. */

static void
batches(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const enum forest_room room = reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX);
        assert(room == FOREST_ROOM);
        fixture_batch(&fixture, (uint32_t) prng_range(&prng, 1, EVENTS_PER_BATCH_MAX));
    }
}

/* One step; false: the audit is over. */
static bool
step_once(uint32_t rows)
{
    const enum audit_step step = audit_step(&audit, &rows);
    switch (step) {
    case AUDIT_WAIT: fixture_progress(&fixture); return true;
    case AUDIT_YIELD: expect_equal(rows, 0); return true;
    case AUDIT_WRONG:
        assert(finding_count < FINDINGS_MAX);
        findings[finding_count] = audit.finding;
        finding_count += 1;
        return true;
    case AUDIT_LOST: expect(!"lost"); return false;
    case AUDIT_END: break;
    }
    entries_seen = 0;
    for (uint32_t i = 0; i < fixture.forest->part_count; i++) {
        entries_seen += audit.expected[i].count;
    }
    return false;
}

static uint32_t
audit_all(void)
{
    finding_count = 0;
    audit_start(&audit, fixture.forest);
    while (step_once((uint32_t) prng_range(&prng, 1, 200))) continue;
    return finding_count;
}

static bool
finds(enum audit_kind kind, const char *tree_name, int64_t surplus)
{
    for (uint32_t i = 0; i < finding_count; i++) {
        const struct audit_finding *at = &findings[i];
        if (at->kind != kind || strcmp(at->tree_name, tree_name) != 0) continue;
        if (at->found - at->expected == (uint64_t) surplus) return true;
    }
    return false;
}

/* Of all ids, lists and indexes. */
static uint64_t
model_entries(void)
{
    struct fixture_model *model = fixture.model;
    uint64_t count = model->counts[FIXTURE_ITEM] + 2 * (uint64_t) model->counts[FIXTURE_OWNER] +
                     model->counts[FIXTURE_STATE] + model->counts[FIXTURE_BURNT];
    for (uint32_t i = 0; i < ARRAY_COUNT(fixture_indexes); i++) {
        const struct index_schema *schema = &fixture_indexes[i];
        for (uint32_t row = 0; row < model->counts[schema->groove]; row++) {
            const void *record = fixture_record(model, schema->groove, row);
            count += fixture_indexed(record, schema);
        }
    }
    return count;
}

/* ---- What is not damaged ------------------------------------------------------------------- */

/* (A1) Whatever is in memory or on disk, merged or being merged. */
UNIT_TEST(a1_a_forest_at_rest_has_no_findings)
{
    fixture_begin_seed(&fixture, &prng, 1, 100 * KIB);
    expect_equal(audit_all(), 0);
    for (uint32_t i = 0; i < 60; i++) {
        batches(1);
        if (i % 7 == 6) fixture_checkpoint(&fixture);
        expect_equal(audit_all(), 0);
        if (i % 13 == 12) fixture_chill(&fixture);
        if (i % 20 == 19) expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    }
    fixture_checkpoint(&fixture);
    expect_equal(audit_all(), 0);
    expect_equal(entries_seen, model_entries()); /* All: nothing is in memory only. */
    fixture_end(&fixture);
}

/* (A1) Ops, merges and checkpoints meanwhile. */
UNIT_TEST(a1_a_forest_at_work_has_no_findings)
{
    uint64_t entries = 0;
    uint64_t entries_late = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, 100 * KIB);
        batches((uint32_t) prng_range(&prng, 5, 40));
        if (seed % 2 == 0) fixture_checkpoint(&fixture);
        finding_count = 0;
        audit_start(&audit, fixture.forest);
        const uint64_t entries_before = model_entries();
        while (step_once((uint32_t) prng_range(&prng, 1, 100))) {
            if (prng_chance(&prng, 1, 3) && fixture.model->counts[FIXTURE_ITEM] < 3000) batches(1);
            if (prng_chance(&prng, 1, 40)) fixture_checkpoint(&fixture);
            if (prng_chance(&prng, 1, 10)) fixture_chill(&fixture);
        }
        expect_equal(finding_count, 0);
        entries += entries_seen;
        entries_late += model_entries() - entries_before;
        expect(entries_seen <= entries_before);
        expect_equal(audit_all(), 0);
        fixture_end(&fixture);
    }
    expect(entries > 20000);
    expect(entries_late > 20000);
}

/* ---- Entries that are not those of the records --------------------------------------------- */

static struct groove *
tree_at(enum fixture_groove groove)
{
    return &fixture.forest->grooves[groove];
}

static struct tail *
index_tail(enum fixture_index index)
{
    return &fixture.forest->indexes[index].tail;
}

/* An entry of the tail that is of no tree of burnt ids, or is. */
static struct entry24 *
some_id(struct tail *tail, bool burnt)
{
    for (uint32_t i = tail->count; i > 0; i--) {
        struct entry24 *entry = &tail->entries.ids[i - 1];
        if (((entry->timestamp & BURNT_BIT) != 0) == burnt) return entry;
    }
    assert(!"there is one");
    return NULL;
}

#define VALUE_NONE UINT64_C(0xabcdef) /* No record has it. */

/* What is planted, and the only thing that is found. */
struct plant {
    const char *tree_name;
    enum audit_kind kind;
    int64_t surplus;
};

/* Of an index: a change of what is about to be written. */
static struct plant
plant_in_index(uint32_t number)
{
    const uint64_t newest = forest_newest(fixture.forest, FIXTURE_ITEM);
    switch (number) {
    case 0: /* It lacks an entry, */
        tail_truncate(index_tail(FIXTURE_ITEM_WIDE), index_tail(FIXTURE_ITEM_WIDE)->count - 1);
        return (struct plant){"wide", AUDIT_INDEX, -1};
    case 1: /* has another one, */
        index_tail(FIXTURE_ITEM_MIDDLE)->entries.index[3].value = VALUE_NONE;
        return (struct plant){"middle", AUDIT_INDEX, 0};
    case 2: /* one of another record, */
        index_tail(FIXTURE_ITEM_TINY)->entries.index[3] =
            (struct entry16){.value = VALUE_NONE, .timestamp = newest};
        return (struct plant){"tiny", AUDIT_INDEX, 0};
    case 3: /* one too many of a record, */
        tail_add(index_tail(FIXTURE_OWNER_RANK), VALUE_NONE, tree_at(FIXTURE_OWNER)->newest);
        return (struct plant){"rank", AUDIT_INDEX, 1};
    case 4: /* one of no record, older */
        tail_add(index_tail(FIXTURE_STATE_DUE), VALUE_NONE, 1);
        return (struct plant){"due", AUDIT_INDEX, 1};
    default: /* or newer than all. */
        tail_add(index_tail(FIXTURE_ITEM_TINY_ZERO), VALUE_NONE, newest + 1000);
        return (struct plant){"tiny_zero", AUDIT_INDEX, 1};
    }
}

static struct plant
plant_in_ids(uint32_t number)
{
    struct tail *items = &tree_at(FIXTURE_ITEM)->id_tail;
    struct tail *owners = &tree_at(FIXTURE_OWNER)->id_tail;
    const struct plant item = {"item", AUDIT_IDS, 0};
    const struct plant owner = {"owner", AUDIT_IDS, 0};
    switch (number) {
    case 0: /* An id leads to another record, */
        some_id(owners, false)->timestamp = owners->entries.ids[0].timestamp;
        return owner;
    case 1: /* to none, */
        some_id(items, false)->timestamp = forest_newest(fixture.forest, FIXTURE_ITEM) + 1000;
        return item;
    case 2: some_id(items, false)->timestamp |= BURNT_BIT; return item; /* is burnt, */
    case 3: some_id(owners, false)->timestamp |= BURNT_BIT; return owner; /* where none can be, */
    case 4: some_id(items, true)->timestamp &= ~BURNT_BIT; return item; /* isn't any more, */
    case 5: some_id(items, true)->id_high ^= UINT64_C(1) << 60; return item; /* is another one, */
    case 6: some_id(items, false)->id_high ^= UINT64_C(1) << 60; return item;
    case 7: /* is missing, */
        tail_truncate(items, items->count - 1);
        return (struct plant){"item", AUDIT_IDS, -1};
    default: /* or is there, though no record has it. */
        tail_add_id(owners, u128_make(VALUE_NONE, VALUE_NONE), 1);
        return (struct plant){"owner", AUDIT_IDS, 1};
    }
}

static struct plant
plant_in_list(uint32_t number)
{
    struct tail *list = &tree_at(FIXTURE_OWNER)->list_tail;
    if (number == 0) {
        tail_truncate(list, list->count - 1);
        return (struct plant){"owner", AUDIT_LIST, -1};
    }
    tail_add(list, 0, tree_at(FIXTURE_OWNER)->newest + 1);
    return (struct plant){"owner", AUDIT_LIST, 1};
}

/* A record is missing that nothing leads to. */
static struct plant
plant_no_record(void)
{
    tree_at(FIXTURE_NOTE)->record_count += 1;
    return (struct plant){"note", AUDIT_RECORDS, -1};
}

#define PLANTS 18

static struct plant
plant(uint32_t number)
{
    assert(number < PLANTS);
    if (number < 6) return plant_in_index(number);
    if (number < 15) return plant_in_ids(number - 6);
    return number < 17 ? plant_in_list(number - 15) : plant_no_record();
}

/* Some entries of each kind are about to be written. */
static bool
tails_filled(void)
{
    const struct tail *items = &tree_at(FIXTURE_ITEM)->id_tail;
    bool burnt = false;
    for (uint32_t i = 0; i < items->count; i++) {
        burnt |= (items->entries.ids[i].timestamp & BURNT_BIT) != 0;
    }
    return burnt && items->count >= 20 && tree_at(FIXTURE_OWNER)->id_tail.count >= 8;
}

/* (A2) Each kind, alone; at once, after merges, and after a restart. */
UNIT_TEST(a2_each_wrong_entry_is_found)
{
    for (uint32_t number = 0; number < PLANTS; number++) {
        fixture_begin_seed(&fixture, &prng, number + 1, 100 * KIB);
        batches(20);
        fixture_checkpoint(&fixture);
        do batches(1);
        while (!tails_filled());
        const struct plant planted = plant(number);
        fixture_checkpoint(&fixture);
        expect_equal(audit_all(), 1);
        expect(finds(planted.kind, planted.tree_name, planted.surplus));
        batches(30);
        expect_equal(audit_all(), 1);
        expect(finds(planted.kind, planted.tree_name, planted.surplus));
        fixture_checkpoint(&fixture);
        if (planted.kind != AUDIT_RECORDS) { /* Of a log that is found when it is opened. */
            expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
            expect_equal(audit_all(), 1);
            expect(finds(planted.kind, planted.tree_name, planted.surplus));
        }
        fixture_end(&fixture);
    }
}

UNIT_TEST(a_damaged_block_ends_an_audit)
{
    fixture_begin_seed(&fixture, &prng, 3, 100 * KIB);
    batches(40);
    fixture_checkpoint(&fixture);
    expect_equal(audit_all(), 0);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    const struct tree *tree = &fixture.forest->parts[fixture.forest->indexes[0].part].tree;
    uint32_t run = 0;
    while (!tree->runs[run].used) run += 1;
    const uint64_t address = tree_table(tree, tree_run_first(tree, run))->index.address;
    storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
    audit_start(&audit, fixture.forest);
    uint32_t rows = UINT32_MAX;
    enum audit_step step;
    while ((step = audit_step(&audit, &rows)) == AUDIT_WAIT) fixture_progress(&fixture);
    expect_equal(step, AUDIT_LOST);
    struct forest_damage damage;
    forest_damage(fixture.forest, &damage);
    expect_equal(damage.block_address, address);
    expect(strcmp(damage.tree_name, "wide") == 0);
    fixture_end(&fixture);
}

UNIT_MAIN(test_forest_audit)
