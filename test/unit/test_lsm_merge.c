/* SPDX-License-Identifier: PostgreSQL */
/*
 * Trees and their merges, on the simulated disk: random runs, quotas, latencies, checkpoints and
 * restarts, against an array of keys.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "lsm/cursor.h"
#include "lsm/merge.h"

#include "unit/tree_fixture.h"

#define KEYS_MAX 9000

/* How a run goes; what is beside the seed must make no difference to what is written. */
struct plan {
    enum entry_shape shape;
    uint64_t seed;
    uint64_t seed_sim;
    uint32_t frames;
    bool restarts;
    bool reads;
    bool ordered; /* Keys come in their order. */
    bool tiny;    /* Small runs, which soon reach the last level. */
};

/* What a run wrote, and what is left of it. */
struct outcome {
    u128 written[LSM_BLOCKS_MAX + 1]; /* Of each address: of all that was written there. */
    bool live[LSM_BLOCKS_MAX + 1];
    uint32_t live_count;
    uint64_t blocks_written;
    uint32_t levels;
    uint32_t checkpoints_in_merges;
};

static struct lsm_fixture fixture;
static struct tree tree;
static struct prng prng_plan; /* Of what makes no difference. */
static const uint64_t distinct = UINT32_MAX; /* Records that there may be. */
static struct merge merges[LSM_LEVELS];
static struct outcome *outcome;
static uint64_t op;

/* The model: keys, and the version that was written last. */
static struct known {
    u128 key;
    uint64_t version;
} known[KEYS_MAX];
static uint32_t known_count;
static uint64_t versions;

/* ---- Reading ------------------------------------------------------------------------------- */

static u128
entry_version(const char *entry)
{
    uint64_t version = 0;
    if (tree.format.shape == ENTRY_ID) memcpy(&version, entry + 16, sizeof(version));
    if (tree.format.shape == ENTRY_RECORD) memcpy(&version, entry, sizeof(version));
    return version;
}

static enum tree_found
lookup(u128 key, char *entry)
{
    enum tree_found found;
    while ((found = tree_lookup(&tree, key, entry)) == TREE_WAIT) lsm_progress(&fixture);
    return found;
}

static bool
check_known(const struct known *at)
{
    char entry[sizeof(struct record)];
    if (lookup(at->key, entry) != TREE_FOUND) return false;
    if (entry_key(&tree.format, entry) != at->key) return false;
    return tree.format.shape == ENTRY_INDEX || entry_version(entry) == at->version;
}

static enum tree_found
seek(struct cursor *cursor, bool descending, u128 key)
{
    enum tree_found found;
    while ((found = cursor_seek(cursor, &tree, descending, key)) == TREE_WAIT) {
        lsm_progress(&fixture);
    }
    return found;
}

static int
compare_known(const void *a, const void *b)
{
    const struct known *first = a;
    const struct known *second = b;
    return first->key < second->key ? -1 : first->key > second->key;
}

/* (V2) All keys, or every so many, by a cursor for each run, each once. */
static bool
check_walk(bool descending, uint32_t stride)
{
    struct cursor cursors[TREE_RUNS_MAX];
    uint32_t cursor_count = 0;
    u128 key = descending ? U128_MAX - 1 : 1;
    for (uint32_t i = 0; i < TREE_RUNS_MAX; i++) {
        if (!tree.runs[i].used || tree.runs[i].table_count == 0) continue;
        cursor_init(&cursors[cursor_count], i);
        cursor_count += 1;
    }
    qsort(known, known_count, sizeof(known[0]), compare_known);
    for (uint32_t n = 0; n <= known_count;) {
        u128 nearest = descending ? 0 : U128_MAX;
        uint32_t standing = 0;
        for (uint32_t i = 0; i < cursor_count; i++) {
            const enum tree_found found = seek(&cursors[i], descending, key);
            if (found == TREE_LOST) return false;
            if (found == TREE_ABSENT) continue;
            if (descending ? cursors[i].key > key : cursors[i].key < key) return false;
            if (cursors[i].key == nearest) {
                standing += 1;
            } else if (descending ? cursors[i].key > nearest : cursors[i].key < nearest) {
                nearest = cursors[i].key;
                standing = 1;
            }
        }
        if (n == known_count) return standing == 0;
        if (nearest != known[descending ? known_count - 1 - n : n].key) return false;
        if (standing > 1 && !tree_mutable(&tree)) return false;
        key = descending ? nearest - 1 : nearest + 1;
        n += (uint32_t) prng_range(&prng_plan, 1, stride);
        if (n < known_count && stride > 1) {
            /* Exactly there, or just beyond the one before. */
            const uint32_t at = descending ? known_count - 1 - n : n;
            const bool exact = prng_chance(&prng_plan, 1, 2);
            key = descending ? known[at + 1].key - 1 : known[at - 1].key + 1;
            if (exact) key = known[at].key;
        } else if (stride > 1) {
            return true;
        }
    }
    return false;
}

/* (V1) (M1) (M2) Of what is in memory. */
static void
check_structure(void)
{
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        bool waiting_seen = false;
        for (uint32_t i = 0; i < tree.run_count[level]; i++) {
            const struct tree_run *run = &tree.runs[tree.order[level][i]];
            if (run->merging) expect(!waiting_seen); /* (M1) */
            waiting_seen |= !run->merging && !run->building;
            expect(run->used);
            uint64_t entries = 0;
            u128 before = 0;
            struct table_place place = tree_run_first(&tree, tree.order[level][i]);
            for (uint32_t table = 0; table < run->table_count; table++) {
                const struct table_info *info = tree_table(&tree, place);
                expect(info->key_min > before); /* (V1) */
                expect(info->key_max >= info->key_min);
                before = info->key_max;
                entries += info->entry_count;
                place = tree_run_next(&tree, tree.order[level][i], place);
            }
            expect(place.node == NODE_NONE);
            expect_equal(entries, run->entry_count);
        }
    }
}

static void
check_some(uint32_t count)
{
    char entry[sizeof(struct record)];
    for (uint32_t i = 0; i < count && known_count > 0; i++) {
        const uint32_t at = (uint32_t) prng_below(&prng_plan, known_count);
        expect(check_known(&known[at]));
        if (!tree_mutable(&tree)) expect_equal(lookup(known[at].key + 1, entry), TREE_ABSENT);
    }
}

static void
check_all(void)
{
    check_structure();
    for (uint32_t i = 0; i < known_count; i++) {
        const bool good = check_known(&known[i]);
        expect(good);
        if (!good) return;
    }
    for (uint32_t stride = 1; stride < 600; stride *= 20) {
        expect(check_walk(false, stride));
        expect(check_walk(true, stride));
    }
}

/* ---- Working ------------------------------------------------------------------------------- */

static struct known *
new_key(const struct plan *plan)
{
    struct prng *prng = &fixture.prng;
    const uint64_t number = versions * 2; /* Odd ones are absent. */
    struct known *at = &known[known_count];
    assert(known_count < KEYS_MAX);
    known_count += 1;
    versions += 1;
    *at = (struct known){.version = versions};
    if (plan->shape == ENTRY_INDEX) {
        at->key = u128_make(plan->ordered ? 5 : prng_below(prng, 20), number + 2);
    } else if (plan->shape == ENTRY_ID && !plan->ordered) {
        at->key = u128_make(prng_next(prng), number);
    } else {
        at->key = number + 2;
    }
    return at;
}

/* New entries, or newer versions of old ones, become a run of level 0. */
static void
flush(const struct plan *plan, uint32_t count)
{
    static struct known fresh[KEYS_MAX];
    struct table_builder builder;
    uint32_t fresh_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const bool old = plan->shape == ENTRY_RECORD && known_count > 0 && !plan->ordered &&
                         prng_chance(&fixture.prng, 3, 4);
        struct known *at = old ? &known[prng_below(&fixture.prng, known_count)] : new_key(plan);
        if (old) {
            versions += 1;
            at->version = versions;
            uint32_t again = 0;
            while (again < fresh_count && fresh[again].key != at->key) again += 1;
            fresh[again] = *at;
            fresh_count += again == fresh_count;
        } else {
            fresh[fresh_count] = *at;
            fresh_count += 1;
        }
    }
    qsort(fresh, fresh_count, sizeof(fresh[0]), compare_known);
    while (fixture.cache.available < table_frames_needed(&tree.format, fresh_count)) {
        lsm_progress(&fixture);
    }
    table_builder_init(&builder, &fixture.cache, &tree.format);
    builder.op = op;
    const uint32_t run = tree_run_new(&tree, 0, false);
    for (uint32_t i = 0; i < fresh_count; i++) {
        char entry[sizeof(struct record)];
        if (!table_builder_active(&builder)) table_builder_begin(&builder, fresh_count - i);
        make_entry(&tree.format, fresh[i].key, fresh[i].version, entry);
        table_builder_add(&builder, entry);
        if (!table_builder_full(&builder) && i + 1 < fresh_count) continue;
        const struct table_info table = table_builder_finish(&builder);
        tree_run_append(&tree, run, &table);
    }
}

static uint32_t
runs_waiting(uint32_t level)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < tree.run_count[level]; i++) {
        const struct tree_run *run = &tree.runs[tree.order[level][i]];
        count += !run->building && !run->merging;
    }
    return count;
}

static void
work(const struct plan *plan, uint64_t quota)
{
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        struct merge *merge = &merges[level];
        if (!merge->active && runs_waiting(level) < tree.fanout) continue;
        if (!merge->active) merge_start(merge, merge->level == LSM_LEVELS - 1);
        merge->quota += quota;
        if (tree.run_count[level] + 2 >= LEVEL_RUNS_MAX) merge->quota = UINT64_MAX;
        outcome->levels = (uint32_t) max_u64(outcome->levels, level + 1);
    }
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        struct merge *merge = &merges[level];
        if (!merge->active) continue;
        enum merge_result result;
        while ((result = merge_work(merge, op)) == MERGE_WAIT) {
            if (plan->reads && prng_chance(&prng_plan, 1, 8)) check_some(1); /* (V2) */
            cache_issue_writes(&fixture.cache);
            if (fixture.sim.storage.in_flight_count > 0) lsm_progress(&fixture);
        }
        expect_equal(result, MERGE_DONE);
        expect(merge->quota == 0);
    }
    cache_issue_writes(&fixture.cache);
}

/* ---- Checkpoints and restarts -------------------------------------------------------------- */

static void
mark_live(uint64_t address)
{
    expect(address >= 1 && address <= LSM_BLOCKS_MAX);
    expect(!outcome->live[address]); /* Of one table only. */
    outcome->live[address] = true;
    outcome->live_count += 1;
}

/* The blocks of all tables are those that are acquired. */
static void
check_blocks(void)
{
    memset(outcome->live, 0, sizeof(outcome->live));
    outcome->live_count = 0;
    for (uint32_t run = 0; run < TREE_RUNS_MAX; run++) {
        if (!tree.runs[run].used) continue;
        struct table_place place = tree_run_first(&tree, run);
        for (; place.node != NODE_NONE; place = tree_run_next(&tree, run, place)) {
            const struct table_info *table = tree_table(&tree, place);
            uint32_t frame;
            expect(!table->moved);
            expect_equal(lsm_get(&fixture, &table->index, BLOCK_INDEX, &frame), CACHE_READY);
            const struct table_block *blocks = table_blocks(&fixture.cache, frame);
            mark_live(table->index.address);
            for (uint32_t i = 0; i < (uint32_t) table->block_count + table->filter_count; i++) {
                mark_live(blocks[i].address);
            }
        }
    }
    uint32_t acquired = 0;
    for (uint64_t address = 1; address <= LSM_BLOCKS_MAX; address++) {
        const bool is_acquired = grid_is_acquired(&fixture.grid, address);
        expect_equal(is_acquired, outcome->live[address]);
        acquired += is_acquired;
    }
    expect_equal(acquired, outcome->live_count);
}

/* What a checkpoint keeps of a run. */
struct saved_run {
    struct tree_run run;
    uint32_t level;
    uint32_t first; /* Of its tables. */
};

static void
restart(void)
{
    static struct saved_run saved[TREE_RUNS_MAX];
    static struct table_info tables[LSM_BLOCKS_MAX];
    uint32_t run_count = 0;
    uint32_t table_count = 0;
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        for (uint32_t i = 0; i < tree.run_count[level]; i++) {
            const uint32_t run = tree.order[level][i];
            saved[run_count] = (struct saved_run){tree.runs[run], level, table_count};
            run_count += 1;
            struct table_place place = tree_run_first(&tree, run);
            for (; place.node != NODE_NONE; place = tree_run_next(&tree, run, place)) {
                tables[table_count] = *tree_table(&tree, place);
                table_count += 1;
            }
        }
    }
    lsm_forget(&fixture);
    table_pool_open(&fixture.pool);
    tree_open(&tree);
    for (uint32_t i = 0; i < run_count; i++) {
        const uint32_t number = tree_run_new(&tree, saved[i].level, false);
        struct tree_run *run = &tree.runs[number];
        run->hidden = saved[i].run.hidden;
        run->has_hidden = saved[i].run.has_hidden;
        run->building = saved[i].run.building;
        run->merging = saved[i].run.merging;
        for (uint32_t table = 0; table < saved[i].run.table_count; table++) {
            tree_run_append(&tree, number, &tables[saved[i].first + table]);
        }
    }
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        merge_init(&merges[level], &tree, level);
        if (tree.run_count[level] < 2) continue;
        bool merging = false;
        for (uint32_t i = 0; i < tree.run_count[level]; i++) {
            merging |= tree.runs[tree.order[level][i]].merging;
        }
        if (!merging) continue;
        const bool last = level == LSM_LEVELS - 1;
        const uint8_t *order = tree.order[last ? level : level + 1];
        merge_resume(&merges[level], order[last ? 0 : tree.run_count[level + 1] - 1]);
    }
}

/* (M2) */
static void
check_hidden(const struct merge *merge)
{
    const struct tree_run *output = &tree.runs[merge->output];
    uint32_t tables_left = 0;
    for (uint32_t i = 0; i < merge->input_count; i++) {
        const struct tree_run *input = &tree.runs[merge->inputs[i].run];
        expect_equal(input->has_hidden, output->table_count > 0);
        if (input->has_hidden) expect(input->hidden == output->key_max);
        if (input->has_hidden && input->table_count > 0) expect(input->key_max > input->hidden);
        tables_left += input->table_count;
    }
    expect(tables_left > 0);
}

static void
checkpoint(const struct plan *plan)
{
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        struct merge *merge = &merges[level];
        if (!merge->active) continue;
        enum merge_result result;
        while ((result = merge_checkpoint(merge, op)) == MERGE_WAIT) {
            if (plan->reads) check_some(1);
            if (fixture.sim.storage.in_flight_count > 0) lsm_progress(&fixture);
        }
        expect_equal(result, MERGE_DONE);
        if (merge->active) check_hidden(merge);
        outcome->checkpoints_in_merges += merge->active;
    }
    lsm_settle(&fixture);
    cache_recount(&fixture.cache);
    expect_equal(fixture.cache.available, fixture.cache.frame_count);
    grid_checkpoint_durable(&fixture.grid);
    check_blocks();
    if (plan->restarts && prng_chance(&prng_plan, 2, 3)) restart();
}

/* ---- Runs ---------------------------------------------------------------------------------- */

static void
on_write(void *context, const struct storage_request *write, bool done)
{
    struct outcome *into = context;
    expect(done);
    for (uint64_t at = 0; at < write->size_bytes; at += BLOCK_SIZE) {
        uint64_t piece;
        const uint8_t *block = storage_request_piece(write, at, &piece);
        u128 chained[2] = {0, checksum(block, BLOCK_SIZE)};
        const uint64_t address = (write->offset_bytes + at) / BLOCK_SIZE + 1;
        chained[0] = into->written[address];
        into->written[address] = checksum(chained, sizeof(chained));
        into->blocks_written += 1;
    }
}

static void
begin(const struct plan *plan, uint32_t fanout, struct outcome *into)
{
    begin_tree(&fixture, &tree, plan->seed, plan->seed_sim, plan->frames, &formats[plan->shape]);
    prng_init(&prng_plan, plan->seed_sim + 77);
    outcome = into;
    memset(outcome, 0, sizeof(*outcome));
    fixture.sim.options.wrote = on_write;
    fixture.sim.options.wrote_context = outcome;
    tree.distinct = plan->shape == ENTRY_RECORD ? &distinct : NULL;
    tree.fanout = fanout;
    for (uint32_t level = 0; level < LSM_LEVELS; level++) {
        merge_init(&merges[level], &tree, level);
    }
    known_count = 0;
    versions = 0;
    op = 0;
}

static void
run(const struct plan *plan, struct outcome *into)
{
    begin(plan, plan->tiny ? 2 : 2 + (uint32_t) (plan->seed % 3), into);
    struct prng *prng = &fixture.prng;
    const uint32_t flush_max = plan->tiny ? 6 : prng_chance(prng, 1, 2) ? 40 : 400;
    const uint32_t checkpoint_rate = (uint32_t) prng_range(prng, 2, 20);
    const uint64_t quota_max = prng_range(prng, 1, 3) * flush_max + (plan->tiny ? 60 : 0);
    const uint32_t rounds = plan->tiny ? 900 : 150;
    for (uint32_t i = 0; i < rounds && known_count + flush_max <= KEYS_MAX; i++) {
        op += 1;
        if (prng_chance(prng, 2, 3)) flush(plan, (uint32_t) prng_range(prng, 1, flush_max));
        work(plan, prng_range(prng, 0, quota_max) + 1);
        if (plan->reads) check_structure();
        if (plan->reads) check_some(4);
        if (plan->reads && prng_chance(&prng_plan, 1, 25)) check_all();
        if (prng_chance(prng, 1, checkpoint_rate)) checkpoint(plan);
    }
    checkpoint(plan);
    check_all();
    lsm_settle(&fixture);
    lsm_end(&fixture);
}

static struct outcome outcomes[2];

static void
run_shape(enum entry_shape shape, uint64_t seeds)
{
    uint32_t levels = 0;
    uint32_t checkpoints_in_merges = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        const bool ordered = seed % 4 == 0;
        const bool tiny = seed % 6 == 1;
        const struct plan plain = {shape, seed, seed, 2000, false, false, ordered, tiny};
        const struct plan other = {shape, seed, seed + 999, 190, true, true, ordered, tiny};
        run(&plain, &outcomes[0]);
        run(&other, &outcomes[1]);
        expect_equal(outcomes[0].blocks_written, outcomes[1].blocks_written);
        expect(memcmp(outcomes[0].written, outcomes[1].written, sizeof(outcomes[0].written)) == 0);
        expect(memcmp(outcomes[0].live, outcomes[1].live, sizeof(outcomes[0].live)) == 0);
        levels = (uint32_t) max_u64(levels, outcomes[0].levels);
        checkpoints_in_merges += outcomes[0].checkpoints_in_merges;
    }
    expect_equal(levels, LSM_LEVELS);
    expect(checkpoints_in_merges > 20);
}

/* (V1) (V2) (M1) (M2), and a restart, latencies, reads and a small cache change no byte. */
UNIT_TEST(m1_m2_v1_v2_merges_of_indexes) { run_shape(ENTRY_INDEX, 12); }
UNIT_TEST(m1_m2_v1_v2_merges_of_ids) { run_shape(ENTRY_ID, 12); }
UNIT_TEST(m1_m2_v1_v2_merges_of_records_that_change) { run_shape(ENTRY_RECORD, 12); }

/* ---- One merge ----------------------------------------------------------------------------- */

/* A run of level 0 with the keys first, first + step … */
static void
flush_keys(uint64_t first, uint64_t step, uint32_t count)
{
    struct table_builder builder;
    table_builder_init(&builder, &fixture.cache, &tree.format);
    const uint32_t run = tree_run_new(&tree, 0, false);
    for (uint32_t i = 0; i < count; i++) {
        char entry[sizeof(struct record)];
        const struct known at = {.key = first + i * step, .version = 1};
        if (!table_builder_active(&builder)) table_builder_begin(&builder, count - i);
        make_entry(&tree.format, at.key, at.version, entry);
        table_builder_add(&builder, entry);
        known[known_count] = at;
        known_count += 1;
        if (!table_builder_full(&builder) && i + 1 < count) continue;
        const struct table_info table = table_builder_finish(&builder);
        tree_run_append(&tree, run, &table);
    }
    lsm_settle(&fixture);
}

static enum merge_result
merge_some(struct merge *merge, uint64_t quota)
{
    enum merge_result result;
    merge->quota += quota;
    while ((result = merge_work(merge, 1)) == MERGE_WAIT) lsm_progress(&fixture);
    return result;
}

static void
begin_one(enum entry_shape shape)
{
    const struct plan plan = {.shape = shape, .seed = 1, .seed_sim = 2, .frames = 400};
    begin(&plan, 2, &outcomes[0]);
}

static void
end_one(void)
{
    lsm_settle(&fixture);
    grid_checkpoint_durable(&fixture.grid);
    check_all();
    check_blocks();
    lsm_end(&fixture);
}

/* Tables that overlap nothing are listed in the output as they are; that takes no quota. */
UNIT_TEST(tables_that_do_not_overlap_are_moved)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const uint32_t most = table_entries_max(&formats[shape]);
        begin_one((enum entry_shape) shape);
        flush_keys(100000, 2, 2 * most);
        flush_keys(10, 2, most / 2);
        flush_keys(50000, 2, most);
        const uint64_t blocks = outcome->blocks_written;
        lsm_forget(&fixture);
        merge_start(&merges[0], false);
        expect_equal(merge_some(&merges[0], 1), MERGE_DONE);
        expect(!merges[0].active);
        expect_equal(outcome->blocks_written, blocks);
        if (!tree_mutable(&tree)) expect_equal(fixture.grid.stats.blocks_read, 0);
        expect_equal(tree.run_count[0], 0);
        expect_equal(tree.run_count[1], 1);
        expect_equal(tree.runs[tree.order[1][0]].table_count, 4);
        expect_equal(fixture.pool.table_count, 4);
        end_one();
    }
}

/*
 * One input is used for long, through many tables, between two entries of the other: what comes
 * next is on its way early, and blocks of a table come several in a read.
 */
UNIT_TEST(blocks_are_asked_for_before_they_are_needed)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        if (formats[shape].filtered) continue; /* Its tables are too small here. */
        const uint32_t count = 5 * table_entries_max(&formats[shape]);
        uint32_t waits = 0;
        begin_one((enum entry_shape) shape);
        flush_keys(10, 2, count);
        flush_keys(11, count / 40 * 2, 40);
        lsm_forget(&fixture);
        const struct grid_stats before = fixture.grid.stats;
        merge_start(&merges[0], false);
        /* Between two turns there is time. */
        while (merges[0].active) {
            enum merge_result result;
            merges[0].quota = 40;
            while ((result = merge_work(&merges[0], 1)) == MERGE_WAIT) {
                waits += 1;
                lsm_progress(&fixture);
            }
            assert(result == MERGE_DONE);
            lsm_settle(&fixture);
        }
        const uint64_t blocks = fixture.grid.stats.blocks_read - before.blocks_read;
        const uint64_t requests = fixture.grid.stats.read_requests - before.read_requests;
        expect(blocks >= 5 * TABLE_BLOCKS_MAX);
        expect(requests < blocks / 4 * 3);
        expect(waits < blocks / 4);
        end_one();
    }
}

/* Small ones, though, are put together; and one in the middle of another is merged with it. */
UNIT_TEST(tables_that_are_small_or_overlap_are_written_anew)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const uint32_t most = table_entries_max(&formats[shape]);
        begin_one((enum entry_shape) shape);
        flush_keys(10, 2, most / 2 - 1);
        flush_keys(100000, 2, most / 2 - 1);
        merge_start(&merges[0], false);
        expect_equal(merge_some(&merges[0], UINT64_MAX), MERGE_DONE);
        expect_equal(fixture.pool.table_count, 1);
        const struct table_place first = tree_run_first(&tree, tree.order[1][0]);
        const struct table_info *table = tree_table(&tree, first);
        if (shape == ENTRY_ID) expect_equal(table->filter_lines, filter_line_count(most - 2));

        /* The first table is moved, the two others become one and a half. */
        flush_keys(200000, 2, 2 * most);
        flush_keys(200001 + 2 * most, 2, most / 2);
        const uint64_t blocks = outcome->blocks_written;
        merge_start(&merges[0], false);
        expect_equal(merge_some(&merges[0], most + most / 2), MERGE_DONE);
        expect_equal(merge_some(&merges[0], 1), MERGE_DONE);
        expect(!merges[0].active);
        lsm_settle(&fixture);
        const uint64_t values = div_ceil(most, entries_per_block(&formats[shape])) +
                                div_ceil(most / 2, entries_per_block(&formats[shape]));
        expect_equal(outcome->blocks_written - blocks, values + 2 + 2 * table->filter_count);
        expect_equal(fixture.pool.table_count, 4);
        const struct table_place last =
            tree_run_find(&tree, tree.order[1][1], 200000 + 4 * most - 2);
        table = tree_table(&tree, last);
        expect_equal(table->entry_count, most / 2);
        if (shape == ENTRY_ID) expect_equal(table->filter_lines, filter_line_count(most / 2));
        end_one();
    }
}

/* Older versions of the last key are all that is left: a checkpoint is done with them too. */
UNIT_TEST(m2_a_checkpoint_completes_a_merge_of_older_versions)
{
    begin_one(ENTRY_RECORD);
    flush_keys(10, 2, 50);
    known_count = 0;
    flush_keys(10, 2, 50);
    merge_start(&merges[0], false);
    expect_equal(merge_some(&merges[0], 99), MERGE_DONE);
    expect(merges[0].active);
    expect_equal(merges[0].entries_left, 1);
    while (merge_checkpoint(&merges[0], 1) == MERGE_WAIT) lsm_progress(&fixture);
    expect(!merges[0].active);
    expect_equal(tree.run_count[0], 0);
    expect_equal(tree_entry_count(&tree), 50);
    end_one();
}

UNIT_TEST(a_quota_is_worked_off_exactly)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const uint32_t count = 2 * table_entries_max(&formats[shape]);
        begin_one((enum entry_shape) shape);
        flush_keys(10, 2, count);
        flush_keys(11, 20, count / 10 + 1);
        merge_start(&merges[0], false);
        uint64_t left = count + count / 10 + 1;
        while (left > 0) {
            const uint64_t quota = prng_range(&fixture.prng, 1, 70);
            expect_equal(merge_some(&merges[0], quota), MERGE_DONE);
            left -= min_u64(quota, left);
            expect_equal(merges[0].active, left > 0);
            if (left > 0) expect_equal(merges[0].entries_left, left);
        }
        end_one();
    }
}

UNIT_TEST(a_damaged_input_is_lost)
{
    begin_one(ENTRY_INDEX);
    flush_keys(10, 4, 500);
    flush_keys(12, 4, 500);
    const uint32_t run = tree.order[0][1];
    const uint64_t address = tree_table(&tree, tree_run_first(&tree, run))->index.address;
    lsm_forget(&fixture);
    lsm_rot(&fixture, address);
    merge_start(&merges[0], false);
    expect_equal(merge_some(&merges[0], 100), MERGE_LOST);
    expect_equal(fixture.cache.damage.address, address);
    lsm_end(&fixture);
}

/* (T1) A value block that is whole, but whose keys don't ascend. */
UNIT_TEST(t1_an_input_that_lies_is_lost)
{
    for (uint32_t shape = 0; shape < ARRAY_COUNT(formats); shape++) {
        const uint32_t size = formats[shape].size;
        begin_one((enum entry_shape) shape);
        flush_keys(10, 4, 100);
        flush_keys(12, 4, 100);
        const struct table_place place = tree_run_first(&tree, tree.order[0][1]);
        struct table_info *table = &fixture.pool.nodes[place.node].tables[place.index];
        lsm_forget(&fixture);
        const char *index = (const char *) lsm_disk_block(&fixture, table->index.address);
        struct table_block block;
        memcpy(&block, index + BLOCK_HEADER_SIZE, sizeof(block));
        char *entry = (char *) lsm_disk_block(&fixture, block.address) + BLOCK_HEADER_SIZE;
        memcpy(entry + 5 * size, entry + 7 * size, size);
        lsm_reseal_values(&fixture, table, 0);
        merge_start(&merges[0], false);
        expect_equal(merge_some(&merges[0], 150), MERGE_LOST);
        expect_equal(fixture.cache.damage.address, block.address);
        expect_equal(fixture.cache.damage.tree, formats[shape].tree);
        char found[sizeof(struct record)];
        expect_equal(lookup(12 + 4 * 3, found), TREE_LOST);
        struct cursor cursor;
        cursor_init(&cursor, tree.order[0][1]);
        expect_equal(seek(&cursor, false, 1), TREE_LOST);
        cursor_init(&cursor, tree.order[0][1]);
        expect_equal(seek(&cursor, true, 12 + 4 * 3), TREE_LOST);
        lsm_end(&fixture);
    }
}

/* Runs that both keep what their tables promise may still have an entry in common. */
UNIT_TEST(a_key_that_two_runs_have_is_damage_where_nothing_changes)
{
    static const uint64_t firsts[] = {10, 14, 14, 7};
    static const uint64_t steps[] = {4, 4, 2, 8};
    for (uint32_t i = 0; i < ARRAY_COUNT(firsts); i++) {
        for (uint32_t quota = 1; quota < 9; quota++) {
            begin_one(quota % 2 == 0 ? ENTRY_INDEX : ENTRY_ID);
            flush_keys(10, 4, 3); /* 10, 14, 18 */
            flush_keys(firsts[i], steps[i], 3);
            merge_start(&merges[0], false);
            enum merge_result result = merge_some(&merges[0], quota);
            if (result == MERGE_DONE) result = merge_some(&merges[0], UINT64_MAX / 2);
            expect_equal(result, i == 3 ? MERGE_DONE : MERGE_LOST);
            if (i < 3) expect_equal(fixture.cache.damage.tree, tree.format.tree);
            if (i < 3) expect(grid_is_acquired(&fixture.grid, fixture.cache.damage.address));
            lsm_end(&fixture);
        }
    }
}

UNIT_MAIN(test_lsm_merge)
