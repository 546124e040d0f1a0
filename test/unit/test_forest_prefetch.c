/* SPDX-License-Identifier: PostgreSQL */
/* What an op asks for before it is executed, and how long it waits for that. */
#include "unit.h"

#include <string.h>

#include "forest_fixture.h"
#include "unit_aborts.h"
#include "unit/reserve.h"

/* Of these, as many keys as an op of a full batch may ask for. */
#define ITEMS_BY_ID        12
#define ITEMS_BY_TIMESTAMP 12
#define BURNT              12
#define OWNERS             24
#define STATES             12
#define ABSENT             12
#define ASKED              (ITEMS_BY_ID + ITEMS_BY_TIMESTAMP + BURNT + OWNERS + STATES + 2 * ABSENT)
static_assert(ASKED <= FOREST_ASKS_MAX, "so many may be asked for");

static struct forest_fixture fixture;
static struct prng prng;

/* Items with neighbouring ids and timestamps, in tables, and nothing of them in memory. */
static void
items_on_disk(uint32_t count)
{
    for (uint32_t first = 0; first < count; first += EVENTS_PER_BATCH_MAX) {
        expect(reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX) == FOREST_ROOM);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
            fixture.timestamp += 1;
            const struct fixture_item item = {
                .id = 1000 + first + i,
                .timestamp = fixture.timestamp,
            };
            fixture_insert(&fixture, FIXTURE_ITEM, &item);
        }
        fixture_op_commit(&fixture);
    }
    fixture_checkpoint(&fixture);
    expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
}

static const struct fixture_item *
random_item(void)
{
    const uint32_t row = (uint32_t) prng_below(&prng, fixture.model->counts[FIXTURE_ITEM]);
    return &fixture.model->items[row];
}

/* ---- Everything is found ------------------------------------------------------------------- */

/* A key, and whether it was asked for by id. */
struct asked {
    uint32_t groove;
    const void *record; /* The model's; NULL: there is none. */
    u128 id;
    uint64_t timestamp; /* 0: by id. */
};

static struct asked asked[ASKED];
static uint32_t asked_count;

static void
choose(uint32_t groove, bool by_id, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = (uint32_t) prng_below(&prng, fixture.model->counts[groove]);
        const void *record = fixture_record(fixture.model, groove, row);
        struct asked *at = &asked[asked_count];
        asked_count += 1;
        *at = (struct asked){.groove = groove, .record = record};
        if (by_id) memcpy(&at->id, record, sizeof(at->id));
        if (!by_id) at->timestamp = fixture_timestamp(record, groove);
        /* Some are asked for twice, by id and by timestamp. */
        if (i + 1 == count || !prng_chance(&prng, 1, 4)) continue;
        asked[asked_count] = *at;
        asked[asked_count].timestamp = fixture_timestamp(record, groove);
        if (groove == FIXTURE_BURNT) asked[asked_count].timestamp = 0;
        asked_count += 1;
        i += 1;
    }
}

static void
choose_all(void)
{
    asked_count = 0;
    choose(FIXTURE_ITEM, true, ITEMS_BY_ID);
    choose(FIXTURE_ITEM, false, ITEMS_BY_TIMESTAMP);
    choose(FIXTURE_OWNER, true, OWNERS);
    choose(FIXTURE_STATE, false, STATES);
    choose(FIXTURE_BURNT, true, BURNT);
    for (uint32_t i = 0; i < ABSENT; i++) {
        const struct asked no_id = {.groove = i % 2, .id = u128_make(0xabc, prng_next(&prng) | 1)};
        const uint64_t future = fixture.timestamp + i + 1;
        const struct asked no_record = {.groove = FIXTURE_NOTE, .timestamp = future};
        asked[asked_count] = no_id;
        asked[asked_count + 1] = no_record;
        asked_count += 2;
    }
    assert(asked_count <= ASKED);
}

static void
ask_all(void)
{
    for (uint32_t i = asked_count; i > 1; i--) {
        const uint32_t other = (uint32_t) prng_below(&prng, i);
        const struct asked taken = asked[other];
        asked[other] = asked[i - 1];
        asked[i - 1] = taken;
    }
    for (uint32_t i = 0; i < asked_count; i++) {
        const struct asked *at = &asked[i];
        const uint32_t groove = at->groove == FIXTURE_BURNT ? FIXTURE_ITEM : at->groove;
        if (at->timestamp != 0) forest_ask(fixture.forest, at->groove, at->timestamp);
        if (at->timestamp == 0) forest_ask_id(fixture.forest, groove, &at->id);
    }
}

static bool
all_are_there(void)
{
    for (uint32_t i = 0; i < asked_count; i++) {
        const struct asked *at = &asked[i];
        const void *record = NULL;
        enum forest_found found = FOREST_FOUND;
        if (at->timestamp != 0) {
            record = forest_get(fixture.forest, at->groove, at->timestamp);
            found = record != NULL ? FOREST_FOUND : FOREST_ABSENT;
        } else {
            const uint32_t groove = at->groove == FIXTURE_BURNT ? FIXTURE_ITEM : at->groove;
            found = forest_get_by_id(fixture.forest, groove, &at->id, &record);
        }
        if (at->record == NULL) {
            if (found != FOREST_ABSENT) return false;
        } else if (at->groove == FIXTURE_BURNT) {
            if (found != FOREST_BURNT) return false;
        } else {
            if (found != FOREST_FOUND) return false;
            if (memcmp(record, at->record, fixture_grooves[at->groove].record_size) != 0) {
                return false;
            }
        }
    }
    return true;
}

/* Keys of all trees at once, in any order; reads end in any order, and blocks are evicted. */
UNIT_TEST(all_that_was_asked_for_is_found_or_known_to_be_absent)
{
    uint64_t waits = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        fixture_begin_seed(&fixture, &prng, seed, 0);
        for (uint32_t round = 0; round < 12; round++) {
            fixture_batches(&fixture, 10);
            if (fixture.model->counts[FIXTURE_BURNT] == 0) continue;
            if (round % 4 == 3) {
                fixture_checkpoint(&fixture);
                expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
            }
            expect(reserve_now(fixture.forest, 0) == FOREST_ROOM);
            fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
            fixture_chill(&fixture);
            choose_all();
            ask_all();
            enum forest_found found;
            while ((found = forest_prefetch(fixture.forest)) == FOREST_WAIT) {
                expect(fixture.forest->cache.reading <= GRID_READS_MAX);
                waits += 1;
                if (prng_chance(&prng, 1, 10)) fixture_chill(&fixture);
                fixture_progress(&fixture);
            }
            expect_equal(found, FOREST_FOUND);
            expect(all_are_there());
            fixture_op_commit(&fixture);
        }
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
    expect(waits > 1000);
}

/* What was found in one round can be asked about in the next, of the same op. */
UNIT_TEST(more_can_be_asked_for_when_all_is_there)
{
    const void *record;
    fixture_begin_seed(&fixture, &prng, 20, 0);
    items_on_disk(900);
    fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
        const struct fixture_item *item = random_item();
        const void *again;
        expect_equal(
            fixture_prefetch_id(&fixture, FIXTURE_ITEM, &item->id, &record), FOREST_FOUND);
        expect_equal(
            fixture_prefetch(&fixture, FIXTURE_ITEM, item->timestamp, &again), FOREST_FOUND);
        expect(record == again);
    }
    fixture_op_commit(&fixture);
    fixture_end(&fixture);
}

/* ---- Waiting ------------------------------------------------------------------------------- */

/* One less than there may be. */
static void
ask_for_many(void)
{
    for (uint32_t i = 1; i < 2 * EVENTS_PER_BATCH_MAX; i++) {
        forest_ask_id(fixture.forest, FIXTURE_ITEM, &random_item()->id);
    }
}

/* As long as there are keys that nobody looked at, as many reads are under way as can be. */
UNIT_TEST(many_reads_are_under_way)
{
    const struct block_cache *cache;
    uint32_t full = 0;
    fixture_begin_seed(&fixture, &prng, 21, 0);
    items_on_disk(3000);
    cache = &fixture.forest->cache;
    fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
    ask_for_many();
    while (forest_prefetch(fixture.forest) == FOREST_WAIT) {
        const struct forest_asks *records = &fixture.forest->asked_records;
        const bool looking = records->waiting > 0 && records->next < records->count;
        if (looking && cache->reads_done + GRID_READS_MAX / 2 == fixture.forest->asks_resume_at) {
            expect_equal(cache->reading, GRID_READS_MAX);
            full += 1;
        }
        expect(cache->reading > 0);
        fixture_progress(&fixture);
    }
    expect(full > 3);
    fixture_op_commit(&fixture);
    fixture_end(&fixture);
}

/* Nothing has come, or little: then nothing is looked at. */
UNIT_TEST(what_waits_is_not_looked_at_in_vain)
{
    uint32_t early = 0;
    fixture_begin_seed(&fixture, &prng, 22, 0);
    items_on_disk(900);
    const struct block_cache *cache = &fixture.forest->cache;
    fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
    ask_for_many();
    for (;;) {
        const struct cache_stats stats = cache->stats;
        const bool little = cache->reads_done < fixture.forest->asks_resume_at;
        const enum forest_found found = forest_prefetch(fixture.forest);
        if (found != FOREST_WAIT) break;
        if (little) {
            early += 1;
            expect_equal(cache->stats.hits, stats.hits);
            expect_equal(cache->stats.misses, stats.misses);
        }
        expect(fixture.forest->asks_resume_at > cache->reads_done);
        expect(fixture.forest->asks_resume_at <= cache->reads_done + (GRID_READS_MAX + 1) / 2);
        fixture_progress(&fixture);
    }
    expect(early > 3);
    fixture_op_commit(&fixture);
    fixture_end(&fixture);
}

/* An index block, and the blocks that the items are in; and keys are looked up once. */
UNIT_TEST(a_block_that_many_keys_need_is_read_once)
{
    fixture_begin_seed(&fixture, &prng, 23, 0);
    items_on_disk(900);
    fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
    const uint64_t read_before = fixture.grid.stats.blocks_read;
    for (uint32_t i = 0; i < 2 * EVENTS_PER_BATCH_MAX; i++) {
        const uint32_t row = 200 + i * 7 % EVENTS_PER_BATCH_MAX;
        forest_ask(fixture.forest, FIXTURE_ITEM, fixture.model->items[row].timestamp);
    }
    expect_equal(forest_prefetch(fixture.forest), FOREST_WAIT);
    expect_equal(fixture.forest->asked_records.count, EVENTS_PER_BATCH_MAX);
    expect_equal(fixture_reach(&fixture), FOREST_FOUND);
    expect(fixture.grid.stats.blocks_read - read_before <= 3);
    fixture_op_commit(&fixture);
    fixture_end(&fixture);
}

/* From one op to the next, keys are looked up from the one and from the other end. */
UNIT_TEST(ops_take_turns_in_where_they_begin)
{
    uint32_t descending = 0;
    fixture_begin_seed(&fixture, &prng, 25, 0);
    items_on_disk(900);
    for (uint32_t op = 0; op < 2; op++) {
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        fixture_chill(&fixture);
        ask_for_many();
        expect_equal(forest_prefetch(fixture.forest), FOREST_WAIT);
        const struct forest_asks *ids = &fixture.forest->asked_ids;
        const bool down = ids->keys[1].id_low < ids->keys[0].id_low;
        for (uint32_t i = 1; i < ids->waiting; i++) {
            expect_equal(ids->keys[i].id_low < ids->keys[i - 1].id_low, down);
        }
        expect(ids->waiting > EVENTS_PER_BATCH_MAX);
        descending += down;
        expect_equal(fixture_reach(&fixture), FOREST_FOUND);
        fixture_op_commit(&fixture);
    }
    expect_equal(descending, 1);
    fixture_end(&fixture);
}

/* (F6) */
static void
get_what_is_still_being_read(void)
{
    const void *record;
    const u128 id = fixture.model->items[17].id;
    fixture_op_begin(&fixture, 1);
    forest_ask_id(fixture.forest, FIXTURE_ITEM, &id);
    if (forest_prefetch(fixture.forest) != FOREST_WAIT) return;
    (void) forest_get_by_id(fixture.forest, FIXTURE_ITEM, &id, &record);
}

UNIT_TEST(f6_what_is_still_being_read_is_not_taken_for_absent)
{
    fixture_begin_seed(&fixture, &prng, 24, 0);
    items_on_disk(900);
    expect(aborts(get_what_is_still_being_read));
    fixture_end(&fixture);
}

/* ---- Ends ---------------------------------------------------------------------------------- */

/* The block that holds the item's record. */
static uint64_t
block_of(const struct fixture_item *item)
{
    const struct forest *forest = fixture.forest;
    const struct tree *tree = &forest->parts[forest->grooves[FIXTURE_ITEM].records].tree;
    const struct table_place place = tree_run_find(tree, tree->order[0][0], item->timestamp);
    const struct table_info *table = tree_table(tree, place);
    const uint8_t *bytes = storage_sim_bytes(&fixture.sim, STORAGE_GRID);
    const struct table_block *blocks =
        (const void *) (bytes + (table->index.address - 1) * BLOCK_SIZE + BLOCK_HEADER_SIZE);
    return blocks[table_blocks_find(blocks, table->block_count, item->timestamp)].address;
}

/* Among others that are whole; reads are under way when the op is given up. Then it is done. */
UNIT_TEST(an_op_that_meets_a_lost_block_is_given_up)
{
    for (uint64_t seed = 30; seed < 40; seed++) {
        struct forest_damage damage;
        uint8_t healthy[BLOCK_SIZE];
        fixture_begin_seed(&fixture, &prng, seed, 0);
        items_on_disk(900);
        const struct fixture_item *item = random_item();
        const uint64_t address = block_of(item);
        uint8_t *block = storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
        memcpy(healthy, block, BLOCK_SIZE);
        storage_sim_rot(&fixture.sim, STORAGE_GRID, (address - 1) * BLOCK_SIZE, BLOCK_SIZE);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        ask_for_many();
        forest_ask_id(fixture.forest, FIXTURE_ITEM, &item->id);
        expect_equal(fixture_reach(&fixture), FOREST_LOST);
        forest_damage(fixture.forest, &damage);
        expect_equal(damage.block_address, address);
        expect(strcmp(damage.tree_name, "item") == 0);
        memcpy(block, healthy, BLOCK_SIZE);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        ask_for_many();
        expect_equal(forest_prefetch(fixture.forest), FOREST_WAIT); /* Given up here too. */
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
        fixture_op_begin(&fixture, EVENTS_PER_BATCH_MAX);
        ask_for_many();
        forest_ask_id(fixture.forest, FIXTURE_ITEM, &item->id);
        expect_equal(fixture_reach(&fixture), FOREST_FOUND);
        fixture_op_commit(&fixture);
        expect(fixture_same(&fixture));
        fixture_end(&fixture);
    }
}

/* Blocks that are whole but don't go together: an id of no record, or of another (1). */
UNIT_TEST(an_id_without_its_record_is_damage)
{
    struct forest_damage damage;
    fixture_begin_seed(&fixture, &prng, 41, 0);
    items_on_disk(900);
    fixture_batches(&fixture, 3);
    const uint64_t timestamps[] = {fixture.timestamp + 1000, 1, 0};
    for (uint32_t i = 0; i < ARRAY_COUNT(timestamps); i++) {
        const u128 id = u128_make(0xdead, i + 1);
        fixture_op_begin(&fixture, 1);
        tail_add_id(&fixture.forest->grooves[FIXTURE_ITEM].id_tail, id, timestamps[i]);
        forest_ask_id(fixture.forest, FIXTURE_ITEM, &id);
        expect_equal(fixture_reach(&fixture), FOREST_LOST);
        forest_damage(fixture.forest, &damage);
        expect(strcmp(damage.tree_name, "item") == 0);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    }
    fixture_end(&fixture);
}

/* What nobody names may be absent; what a record names may not, nor may its id be burnt. */
UNIT_TEST(what_a_record_names_is_there_or_the_disk_is_damaged)
{
    const u128 absent = u128_make(0xdead, 7);
    struct forest_damage damage;
    fixture_begin_seed(&fixture, &prng, 43, 0);
    items_on_disk(900);
    fixture_batches(&fixture, 3);
    fixture_checkpoint(&fixture);
    expect(fixture.model->counts[FIXTURE_BURNT] > 0);
    for (uint32_t kind = 0; kind < 6; kind++) {
        const uint64_t timestamp = fixture.timestamp + 1000;
        fixture_op_begin(&fixture, 1);
        switch (kind) {
        case 0: forest_ask_id(fixture.forest, FIXTURE_ITEM, &absent); break;
        case 1: forest_ask(fixture.forest, FIXTURE_STATE, timestamp); break;
        case 2: forest_ask_named_id(fixture.forest, FIXTURE_ITEM, &random_item()->id); break;
        case 3: forest_ask_named_id(fixture.forest, FIXTURE_ITEM, &absent); break;
        case 4: forest_ask_named(fixture.forest, FIXTURE_STATE, timestamp); break;
        default:
            forest_ask_named_id(fixture.forest, FIXTURE_ITEM, &fixture.model->burnt[0].id);
            break;
        }
        expect_equal(fixture_reach(&fixture), kind < 3 ? FOREST_FOUND : FOREST_LOST);
        if (kind < 3) {
            fixture_op_commit(&fixture);
            continue;
        }
        forest_damage(fixture.forest, &damage);
        expect(strcmp(damage.tree_name, kind == 4 ? "state" : "item") == 0);
        expect_equal(fixture_reopen(&fixture), FOREST_OPENED);
    }
    fixture_end(&fixture);
}

UNIT_MAIN(test_forest_prefetch)
