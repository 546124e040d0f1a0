/* SPDX-License-Identifier: PostgreSQL */
#include "unit/forest_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "unit/reserve.h"

static void *
fixture_records(struct fixture_model *model, uint32_t groove)
{
    switch ((enum fixture_groove) groove) {
    case FIXTURE_ITEM: return model->items;
    case FIXTURE_OWNER: return model->owners;
    case FIXTURE_STATE: return model->states;
    case FIXTURE_BURNT: return model->burnt;
    case FIXTURE_NOTE: return model->notes;
    }
    unreachable();
}

void *
fixture_record(struct fixture_model *model, uint32_t groove, uint32_t row)
{
    assert(row < model->counts[groove]);
    return (char *) fixture_records(model, groove) +
           (uint64_t) row * fixture_grooves[groove].record_size;
}

uint64_t
fixture_timestamp(const void *record, uint32_t groove)
{
    uint64_t timestamp;
    memcpy(&timestamp, (const char *) record + fixture_grooves[groove].timestamp_offset, 8);
    return timestamp;
}

/* ---- Start and stop ------------------------------------------------------------------------ */

enum forest_open_result
fixture_open(
    struct forest_fixture *fixture,
    const struct block_reference *root,
    struct forest_open_report *report)
{
    const uint64_t size = align_up(fixture->memory_bytes + MIB, ARENA_ALIGNMENT);
    while (fixture->sim.storage.in_flight_count > 0) {
        (void) storage_wait(&fixture->sim.storage);
    }
    free(fixture->memory);
    fixture->memory = aligned_alloc(ARENA_ALIGNMENT, size);
    assert(fixture->memory != NULL);
    memset(fixture->memory, 0xa5, size);
    struct arena arena;
    arena_init(&arena, fixture->memory, size);
    grid_init(&fixture->grid, &arena, &fixture->sim.storage, FIXTURE_GRID_BLOCKS_MAX);
    grid_open(&fixture->grid, FIXTURE_CLUSTER);
    const struct forest_options options = {
        .schema = &fixture_schema,
        .memory_bytes = fixture->memory_bytes,
    };
    const uint64_t used_before = arena.used_bytes;
    fixture->forest = forest_init(&arena, &fixture->grid, &options);
    assert(arena.used_bytes - used_before <= options.memory_bytes);
    arena_seal(&arena);
    return forest_open(fixture->forest, root, report);
}

uint64_t
fixture_memory_min(void)
{
    struct arena arena;
    struct grid grid;
    arena_init_measuring(&arena);
    grid_init(&grid, &arena, NULL, FIXTURE_GRID_BLOCKS_MAX);
    return forest_memory_bytes_min(&grid, &fixture_schema);
}

void
fixture_begin(struct forest_fixture *fixture, struct prng *prng, uint64_t memory_bytes_extra)
{
    const struct storage_sim_options options = {.latency_min_ticks = 1, .latency_max_ticks = 9};
    const uint64_t memory_bytes = fixture_memory_min() + memory_bytes_extra;
    *fixture = (struct forest_fixture){
        .prng = prng,
        .memory_bytes = memory_bytes,
        .model = calloc(1, sizeof(struct fixture_model)),
        .model_saved = calloc(1, sizeof(struct fixture_model)),
        .model_durable = calloc(1, sizeof(struct fixture_model)),
        .spread = 20,
    };
    prng_init(&fixture->prng_sim, prng_next(prng));
    storage_sim_init(&fixture->sim, &options, &fixture->prng_sim);
    struct forest_open_report report;
    const enum forest_open_result result = fixture_open(fixture, &fixture->root, &report);
    assert(result == FOREST_OPENED);
}

void
fixture_begin_seed(
    struct forest_fixture *fixture, struct prng *prng, uint64_t seed, uint64_t memory_bytes_extra)
{
    prng_init(prng, seed);
    fixture_begin(fixture, prng, memory_bytes_extra);
}

void
fixture_end(struct forest_fixture *fixture)
{
    storage_sim_free(&fixture->sim);
    free(fixture->model);
    free(fixture->model_saved);
    free(fixture->model_durable);
    free(fixture->memory);
}

/* ---- Waiting ------------------------------------------------------------------------------- */

void
fixture_progress(struct forest_fixture *fixture)
{
    if (fixture->on_progress != NULL) fixture->on_progress(fixture);
    bool progress = storage_poll(&fixture->sim.storage) > 0;
    progress |= forest_poll(fixture->forest);
    if (progress) return;
    assert(fixture->sim.storage.in_flight_count > 0);
    (void) storage_wait(&fixture->sim.storage);
}

void
fixture_chill(struct forest_fixture *fixture)
{
    struct block_cache *cache = &fixture->forest->cache;
    for (uint32_t i = 0; i < cache->frame_count; i++) {
        const struct frame *frame = &cache->frames[i];
        if (frame->state != FRAME_READY || frame->pins > 0) continue;
        cache_forget(cache, frame->reference.address);
    }
}

uint64_t
fixture_next_acquired(const struct forest_fixture *fixture, uint64_t address)
{
    for (; address <= fixture->grid.block_count; address++) {
        if (grid_is_acquired(&fixture->grid, address)) return address;
    }
    return 0;
}

void
fixture_warm(struct forest_fixture *fixture)
{
    while (forest_warm(fixture->forest) == FOREST_WORK_WAITS) fixture_progress(fixture);
}

void
fixture_op_begin(struct forest_fixture *fixture, uint32_t event_count)
{
    while (!forest_begin(fixture->forest, event_count)) fixture_progress(fixture);
}

void
fixture_op_commit(struct forest_fixture *fixture)
{
    fixture->op += 1;
    enum forest_work work;
    while ((work = forest_compact(fixture->forest, fixture->op)) != FOREST_WORK_DONE) {
        if (work == FOREST_WORK_WAITS) fixture_progress(fixture);
    }
}

enum forest_found
fixture_reach(struct forest_fixture *fixture)
{
    enum forest_found found;
    while ((found = forest_prefetch(fixture->forest)) == FOREST_WAIT) fixture_progress(fixture);
    return found;
}

enum forest_found
fixture_prefetch_id(
    struct forest_fixture *fixture, uint32_t groove, const u128 *id, const void **record)
{
    const void *found = NULL;
    forest_ask_id(fixture->forest, groove, id);
    if (fixture_reach(fixture) == FOREST_LOST) return FOREST_LOST;
    return forest_get_by_id(fixture->forest, groove, id, record != NULL ? record : &found);
}

enum forest_found
fixture_prefetch(
    struct forest_fixture *fixture, uint32_t groove, uint64_t timestamp, const void **record)
{
    forest_ask(fixture->forest, groove, timestamp);
    if (fixture_reach(fixture) == FOREST_LOST) return FOREST_LOST;
    const void *found = forest_get(fixture->forest, groove, timestamp);
    if (record != NULL) *record = found;
    return found != NULL ? FOREST_FOUND : FOREST_ABSENT;
}

enum forest_found
fixture_read_by_id(struct forest_fixture *fixture, uint32_t groove, const u128 *id, void *record)
{
    enum forest_found found;
    while ((found = forest_read_by_id(fixture->forest, groove, id, record)) == FOREST_WAIT) {
        fixture_progress(fixture);
    }
    return found;
}

enum forest_found
fixture_read(struct forest_fixture *fixture, uint32_t groove, uint64_t timestamp, void *record)
{
    enum forest_found found;
    while ((found = forest_read(fixture->forest, groove, timestamp, record)) == FOREST_WAIT) {
        fixture_progress(fixture);
    }
    return found;
}

bool
fixture_range_next(struct forest_fixture *fixture, uint32_t index, struct forest_range *position)
{
    enum forest_found found;
    while ((found = forest_range_next(fixture->forest, index, position)) == FOREST_WAIT) {
        fixture_progress(fixture);
    }
    assert(found == FOREST_FOUND || found == FOREST_ABSENT);
    return found == FOREST_FOUND;
}

bool
fixture_scan_next(struct forest_fixture *fixture, struct scan *scan, uint64_t *timestamp)
{
    enum scan_result result;
    while ((result = scan_next(scan, timestamp)) == SCAN_WAIT) fixture_progress(fixture);
    assert(result == SCAN_FOUND || result == SCAN_END);
    return result == SCAN_FOUND;
}

/* ---- Doing the same to both ---------------------------------------------------------------- */

void
fixture_append(struct forest_fixture *fixture, uint32_t groove, const void *record)
{
    struct fixture_model *model = fixture->model;
    assert(model->counts[groove] < FIXTURE_RECORDS_MAX);
    model->counts[groove] += 1;
    void *copy = fixture_record(model, groove, model->counts[groove] - 1);
    memcpy(copy, record, fixture_grooves[groove].record_size);
}

void
fixture_insert(struct forest_fixture *fixture, uint32_t groove, const void *record)
{
    forest_insert(fixture->forest, groove, record);
    fixture_append(fixture, groove, record);
}

/* Ids: sequential numbers, their like in the high half, and mixtures. */
static u128
fixture_id(struct forest_fixture *fixture)
{
    switch (fixture->timestamp % 3) {
    case 0: return fixture->timestamp;
    case 1: return u128_make(fixture->timestamp, 0);
    default: return u128_make(fixture->timestamp << 20, prng_next(fixture->prng));
    }
}

static uint64_t
fixture_value(struct forest_fixture *fixture)
{
    return prng_below(fixture->prng, fixture->spread);
}

void
fixture_insert_item(struct forest_fixture *fixture)
{
    const uint64_t value = fixture_value(fixture);
    const struct fixture_item item = {
        .id = fixture_id(fixture),
        .wide = u128_make(value, value / 2),
        .middle = fixture_value(fixture) << 40,
        .narrow = (uint32_t) (fixture_value(fixture) / 2),
        .tiny = (uint16_t) (fixture_value(fixture) % 4),
        .tiny_zero = (uint16_t) (fixture_value(fixture) % 3),
        .amount = prng_next(fixture->prng),
        .timestamp = fixture->timestamp,
    };
    fixture_insert(fixture, FIXTURE_ITEM, &item);
}

void
fixture_insert_owner(struct forest_fixture *fixture)
{
    const struct fixture_owner owner = {
        .id = fixture_id(fixture),
        .rank = fixture_value(fixture),
        .group = (uint32_t) (fixture_value(fixture) % 5),
        .timestamp = fixture->timestamp,
    };
    fixture_insert(fixture, FIXTURE_OWNER, &owner);
}

void
fixture_update_owner(struct forest_fixture *fixture)
{
    const uint32_t count = fixture->model->counts[FIXTURE_OWNER];
    if (count == 0) return;
    struct fixture_owner *model =
        fixture_record(fixture->model, FIXTURE_OWNER, (uint32_t) prng_below(fixture->prng, count));
    const void *old = NULL;
    enum forest_found found = fixture_prefetch_id(fixture, FIXTURE_OWNER, &model->id, &old);
    assert(found == FOREST_FOUND);
    found = forest_get_by_id(fixture->forest, FIXTURE_OWNER, &model->id, &old);
    assert(found == FOREST_FOUND);
    assert(memcmp(old, model, sizeof(*model)) == 0);
    struct fixture_owner owner = *model;
    owner.counter += 1;
    forest_update(fixture->forest, FIXTURE_OWNER, old, &owner);
    *model = owner;
}

void
fixture_update_state(struct forest_fixture *fixture)
{
    const uint32_t count = fixture->model->counts[FIXTURE_STATE];
    if (count == 0) return;
    struct fixture_state *model =
        fixture_record(fixture->model, FIXTURE_STATE, (uint32_t) prng_below(fixture->prng, count));
    (void) fixture_prefetch(fixture, FIXTURE_STATE, model->timestamp, NULL);
    const void *old = forest_get(fixture->forest, FIXTURE_STATE, model->timestamp);
    assert(old != NULL);
    assert(memcmp(old, model, sizeof(*model)) == 0);
    struct fixture_state state = *model;
    state.status += 1;
    forest_update(fixture->forest, FIXTURE_STATE, old, &state);
    *model = state;
}

void
fixture_event(struct forest_fixture *fixture, bool scope_open)
{
    struct prng *prng = fixture->prng;
    const bool item = prng_chance(prng, 3, 4); /* Else an id may be burnt: one of the two. */
    fixture->timestamp += prng_chance(prng, 3, 4) ? 1 : prng_range(prng, 1, 50);
    if (item) fixture_insert_item(fixture);
    if (prng_chance(prng, 1, 3)) fixture_insert_owner(fixture);
    if (prng_chance(prng, 1, 2)) fixture_update_owner(fixture);
    if (prng_chance(prng, 1, 2)) fixture_update_owner(fixture);
    if (prng_chance(prng, 1, 3)) {
        const struct fixture_state state = {
            .timestamp = fixture->timestamp,
            .due = fixture_value(fixture),
        };
        fixture_insert(fixture, FIXTURE_STATE, &state);
    }
    if (prng_chance(prng, 1, 4)) fixture_update_state(fixture);
    if (prng_chance(prng, 1, 3)) {
        struct fixture_note note = {.timestamp = fixture->timestamp};
        for (uint32_t i = 0; i < ARRAY_COUNT(note.content); i++) {
            note.content[i] = prng_next(prng);
        }
        fixture_insert(fixture, FIXTURE_NOTE, &note);
    }
    if (!scope_open && !item && prng_chance(prng, 3, 4)) {
        const struct fixture_burnt burnt = {
            .id = u128_make(0xb0b0, fixture->timestamp),
            .timestamp = fixture->timestamp,
        };
        forest_burn_id(fixture->forest, FIXTURE_ITEM, &burnt);
        fixture_append(fixture, FIXTURE_BURNT, &burnt);
    }
}

void
fixture_batch(struct forest_fixture *fixture, uint32_t event_count)
{
    uint32_t events_left = event_count;
    assert(event_count <= EVENTS_PER_BATCH_MAX);
    fixture_op_begin(fixture, event_count);
    while (events_left > 0) {
        const bool scope = prng_chance(fixture->prng, 1, 3);
        const uint32_t count = (uint32_t) prng_range(fixture->prng, 1, events_left);
        if (scope) {
            forest_scope_open(fixture->forest);
            memcpy(fixture->model_saved, fixture->model, sizeof(*fixture->model));
        }
        for (uint32_t i = 0; i < count; i++) {
            fixture_event(fixture, scope);
        }
        events_left -= count;
        if (!scope) continue;
        if (prng_chance(fixture->prng, 1, 2)) {
            forest_scope_persist(fixture->forest);
        } else {
            forest_scope_discard(fixture->forest);
            memcpy(fixture->model, fixture->model_saved, sizeof(*fixture->model));
        }
    }
    if (event_count % 3 == 0) {
        fixture->model->memo = (struct forest_memo){.words = {event_count, fixture->timestamp}};
        forest_memo_set(fixture->forest, fixture->model->memo);
    }
    fixture_op_commit(fixture);
}

void
fixture_batches(struct forest_fixture *fixture, uint32_t batch_count)
{
    for (uint32_t i = 0; i < batch_count; i++) {
        const uint32_t event_count =
            (uint32_t) prng_range(fixture->prng, 1, EVENTS_PER_BATCH_MAX);
        const enum forest_room room = reserve_now(fixture->forest, event_count);
        assert(room == FOREST_ROOM);
        fixture_batch(fixture, event_count);
    }
}

/* ---- Checkpoints --------------------------------------------------------------------------- */

static void
fixture_on_checkpoint(void *context, enum grid_result result)
{
    struct forest_fixture *fixture = context;
    assert(!fixture->checkpoint_done);
    fixture->checkpoint_done = true;
    fixture->checkpoint_result = result;
}

void
fixture_checkpoint_start(struct forest_fixture *fixture)
{
    struct forest_note *note = &fixture->model->note;
    for (uint64_t i = 0; i < ARRAY_COUNT(note->words); i++) note->words[i] = fixture->op + i;
    fixture->checkpoint_done = false;
    forest_note_set(fixture->forest, note);
    forest_checkpoint(fixture->forest, fixture->op, fixture_on_checkpoint, fixture);
    assert(!fixture->checkpoint_done);
}

void
fixture_checkpoint_finish(struct forest_fixture *fixture)
{
    while (!fixture->checkpoint_done) fixture_progress(fixture);
    assert(fixture->checkpoint_result == GRID_OK);
    fixture->root = forest_checkpoint_root(fixture->forest);
    memcpy(fixture->model_durable, fixture->model, sizeof(*fixture->model));
    fixture->timestamp_durable = fixture->timestamp;
    fixture->op_durable = fixture->op;
    forest_checkpoint_durable(fixture->forest);
}

void
fixture_checkpoint(struct forest_fixture *fixture)
{
    fixture_checkpoint_start(fixture);
    fixture_checkpoint_finish(fixture);
}

/* ---- Comparing: false at the first difference ---------------------------------------------- */

bool
fixture_same_groove(struct forest_fixture *fixture, uint32_t groove)
{
    struct fixture_model *model = fixture->model;
    const struct groove_schema *schema = &fixture_grooves[groove];
    uint64_t newest = 0;
    for (uint32_t row = 0; row < model->counts[groove]; row++) {
        const void *expected = fixture_record(model, groove, row);
        const uint64_t timestamp = fixture_timestamp(expected, groove);
        char record[FOREST_RECORD_SIZE_MAX];
        if (fixture_read(fixture, groove, timestamp, record) != FOREST_FOUND) return false;
        if (memcmp(record, expected, schema->record_size) != 0) return false;
        char before[FOREST_RECORD_SIZE_MAX];
        if (newest + 1 != timestamp &&
            fixture_read(fixture, groove, timestamp - 1, before) != FOREST_ABSENT) {
            return false;
        }
        newest = timestamp;
        if (schema->id_offset == FOREST_NONE) continue;
        u128 id;
        memcpy(&id, (const char *) expected + schema->id_offset, sizeof(id));
        char by_id[FOREST_RECORD_SIZE_MAX];
        const bool burnt = groove == FIXTURE_BURNT;
        const enum forest_found found =
            fixture_read_by_id(fixture, burnt ? FIXTURE_ITEM : groove, &id, by_id);
        if (found != (burnt ? FOREST_BURNT : FOREST_FOUND)) return false;
        if (!burnt && memcmp(by_id, record, schema->record_size) != 0) return false;
    }
    char record[FOREST_RECORD_SIZE_MAX];
    if (forest_newest(fixture->forest, groove) != newest) return false;
    if (fixture_read(fixture, groove, newest + 1, record) != FOREST_ABSENT) return false;
    return fixture_read(fixture, groove, 0, record) == FOREST_ABSENT;
}

u128
fixture_field(const void *record, const struct index_schema *schema)
{
    u128 value = 0;
    memcpy(&value, (const char *) record + schema->field_offset, schema->field_size);
    return value;
}

bool
fixture_indexed(const void *record, const struct index_schema *schema)
{
    uint16_t when;
    memcpy(&when, (const char *) record + schema->when_offset, sizeof(when));
    if ((when & schema->when_mask) != schema->when_value) return false;
    return schema->zero_indexed || fixture_field(record, schema) != 0;
}

bool
fixture_same_key(const struct index_schema *schema, u128 a, u128 b)
{
    return forest_index_hash(schema, a) == forest_index_hash(schema, b);
}

/* The list of one value, ascending; a value that no record has gives an empty one. */
static bool
fixture_same_list(struct forest_fixture *fixture, uint32_t index, u128 value)
{
    const struct index_schema *schema = &fixture_indexes[index];
    const struct scan_window window = {0, UINT64_MAX, SCAN_ASCENDING};
    struct scan scan;
    uint64_t timestamp = 0;
    if (value == 0 && !schema->zero_indexed) return true;
    scan_index(&scan, fixture->forest, index, value, &window);
    for (uint32_t row = 0; row < fixture->model->counts[schema->groove]; row++) {
        const void *record = fixture_record(fixture->model, schema->groove, row);
        const u128 field = fixture_field(record, schema);
        if (!fixture_indexed(record, schema)) continue; /* The hash of 0 may be another's. */
        if (!fixture_same_key(schema, field, value)) continue;
        if (!fixture_scan_next(fixture, &scan, &timestamp)) return false;
        if (timestamp != fixture_timestamp(record, schema->groove)) return false;
    }
    return !fixture_scan_next(fixture, &scan, &timestamp);
}

/* All pairs, in order, each once. */
static bool
fixture_same_range(struct forest_fixture *fixture, uint32_t index)
{
    const struct index_schema *schema = &fixture_indexes[index];
    const uint32_t record_count = fixture->model->counts[schema->groove];
    uint32_t expected = 0;
    for (uint32_t row = 0; row < record_count; row++) {
        expected += fixture_field(fixture_record(fixture->model, schema->groove, row), schema) != 0;
    }
    struct forest_range position = {0};
    struct forest_range before = {0};
    uint32_t count = 0;
    while (fixture_range_next(fixture, index, &position)) {
        char record[FOREST_RECORD_SIZE_MAX];
        if (fixture_read(fixture, schema->groove, position.timestamp, record) != FOREST_FOUND) {
            return false;
        }
        if (fixture_field(record, schema) != position.value) return false;
        if (position.value < before.value) return false;
        if (position.value == before.value && position.timestamp <= before.timestamp) return false;
        before = position;
        count += 1;
    }
    return count == expected && before.value == position.value;
}

static bool
fixture_same_index(struct forest_fixture *fixture, uint32_t index)
{
    const struct index_schema *schema = &fixture_indexes[index];
    const uint32_t record_count = fixture->model->counts[schema->groove];
    if (schema->kind == INDEX_ORDERED) {
        return fixture_same_range(fixture, index);
    }
    for (uint32_t i = 0; i < 8 && record_count > 0; i++) {
        const uint32_t row = (uint32_t) prng_below(fixture->prng, record_count);
        const void *record = fixture_record(fixture->model, schema->groove, row);
        if (!fixture_same_list(fixture, index, fixture_field(record, schema))) return false;
    }
    return fixture_same_list(fixture, index, 0xfffe);
}

bool
fixture_same(struct forest_fixture *fixture)
{
    struct forest_stats stats;
    forest_stats_get(fixture->forest, &stats);
    for (uint32_t groove = 0; groove < FIXTURE_GROOVE_COUNT; groove++) {
        if (stats.records[groove] != fixture->model->counts[groove]) return false;
        if (!fixture_same_groove(fixture, groove)) return false;
    }
    for (uint32_t index = 0; index < ARRAY_COUNT(fixture_indexes); index++) {
        if (!fixture_same_index(fixture, index)) return false;
    }
    const struct forest_memo memo = forest_memo(fixture->forest);
    if (memcmp(&memo, &fixture->model->memo, sizeof(memo)) != 0) return false;
    const struct forest_note *note = forest_note(fixture->forest);
    if (memcmp(note, &fixture->model->note, sizeof(*note)) != 0) return false;
    const u128 absent = u128_make(UINT64_MAX, 1);
    struct fixture_item item;
    return fixture_read_by_id(fixture, FIXTURE_ITEM, &absent, &item) == FOREST_ABSENT;
}

bool
fixture_blocks_accounted(struct forest_fixture *fixture)
{
    static bool live[FIXTURE_GRID_BLOCKS_MAX + 1];
    struct forest *forest = fixture->forest;
    uint64_t count = 0;
    memset(live, 0, sizeof(live));
    for (uint32_t i = 0; i < forest->checkpoint.own_count; i++) {
        const uint64_t address = forest->checkpoint.own[i].address;
        if (live[address]) return false;
        live[address] = true;
        count += 1;
    }
    for (uint32_t i = 0; i < forest->part_count * TREE_RUNS_MAX; i++) {
        const struct tree *tree = &forest->parts[i / TREE_RUNS_MAX].tree;
        const uint32_t run = i % TREE_RUNS_MAX;
        if (!tree->runs[run].used) continue;
        struct table_place place = tree_run_first(tree, run);
        for (; place.node != NODE_NONE; place = tree_run_next(tree, run, place)) {
            const struct table_info *table = tree_table(tree, place);
            const uint32_t listed = (uint32_t) table->block_count + table->filter_count;
            const uint8_t *bytes = storage_sim_bytes(&fixture->sim, STORAGE_GRID);
            const struct table_block *blocks =
                (const void *) (bytes + (table->index.address - 1) * BLOCK_SIZE +
                                BLOCK_HEADER_SIZE);
            for (uint32_t block = 0; block <= listed; block++) {
                const bool index = block == listed;
                const uint64_t address = index ? table->index.address : blocks[block].address;
                if (address > FIXTURE_GRID_BLOCKS_MAX || live[address]) return false;
                live[address] = true;
                count += 1;
                if (!grid_is_acquired(&fixture->grid, address)) return false;
            }
        }
    }
    return count == fixture->grid.free_set.acquired_count;
}

enum forest_open_result
fixture_reopen(struct forest_fixture *fixture)
{
    struct forest_open_report report;
    const enum forest_open_result result = fixture_open(fixture, &fixture->root, &report);
    memcpy(fixture->model, fixture->model_durable, sizeof(*fixture->model));
    fixture->timestamp = fixture->timestamp_durable;
    fixture->op = fixture->op_durable;
    return result;
}
