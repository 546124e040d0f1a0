/* SPDX-License-Identifier: PostgreSQL */
/* The object cache against a model that looks at everything: C1, C2, C3, C4. */
#include "unit.h"
#include "unit_aborts.h"

#include "base/prng.h"
#include "base/units.h"
#include "lsm/objects.h"

#define SLOTS_MAX 64
#define UNDOS_MAX 64
#define MEMORY_SIZE (1 << 22)

static uint8_t memory[MEMORY_SIZE] __attribute__((aligned(ARENA_ALIGNMENT)));

struct model_slot {
    uint8_t record[OBJECTS_RECORD_MAX];
    uint64_t epoch;
    uint64_t op;
    bool used;
    bool dirty;
    bool touched;
};

struct undo {
    uint64_t old_op;
    uint32_t slot;
    bool inserted;
    bool was_dirty;
};

struct model {
    struct objects objects;
    struct objects_options options;
    struct prng prng;
    struct model_slot slots[SLOTS_MAX];
    uint32_t dirty[SLOTS_MAX];
    uint32_t dirty_count;
    uint32_t count;
    uint32_t hand;
    uint64_t epoch;
    uint64_t op;
    uint64_t forgotten_op;
};

static void
init_objects(struct objects *objects, const struct objects_options *options)
{
    struct arena arena;
    arena_init_measuring(&arena);
    objects_init(objects, &arena, options);
    const uint64_t size = arena.used_bytes;
    expect(size <= MEMORY_SIZE);
    memset(memory, 0xa5, size);
    arena_init(&arena, memory, (size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT);
    objects_init(objects, &arena, options);
    expect_equal(arena.used_bytes, size);
}

static uint64_t
record_timestamp(const struct model *model, const void *record)
{
    uint64_t timestamp;
    memcpy(&timestamp, (const char *) record + model->options.timestamp_offset, 8);
    return timestamp;
}

/* Ids are a function of timestamps, so that both are unique. */
static u128
id_of(uint64_t timestamp)
{
    return timestamp % 2 == 0 ? u128_make(timestamp, 7) : (u128) timestamp;
}

static void
make_record(struct model *model, uint8_t *record, uint64_t timestamp)
{
    memset(record, (int) prng_below(&model->prng, 256), model->options.record_size);
    memcpy(record + model->options.timestamp_offset, &timestamp, 8);
    if (model->options.id_offset == UINT32_MAX) return;
    const u128 id = id_of(timestamp);
    memcpy(record + model->options.id_offset, &id, 16);
}

static uint32_t
model_held(const struct model *model, uint64_t epoch)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < model->options.object_count; i++) {
        const struct model_slot *slot = &model->slots[i];
        held += slot->used && (slot->dirty || slot->epoch == epoch);
    }
    return held;
}

static uint32_t
model_evict(struct model *model)
{
    for (uint32_t steps = 0; steps <= 2 * model->options.object_count; steps++) {
        const uint32_t at = model->hand;
        struct model_slot *slot = &model->slots[at];
        model->hand = (at + 1) % model->options.object_count;
        if (slot->dirty || slot->epoch == model->epoch) continue;
        if (!slot->touched) {
            if (slot->op > model->forgotten_op) model->forgotten_op = slot->op;
            slot->used = false;
            model->count -= 1;
            return at;
        }
        slot->touched = false;
    }
    unreachable();
}

static uint32_t
model_find(const struct model *model, uint64_t timestamp)
{
    for (uint32_t i = 0; i < model->options.object_count; i++) {
        const struct model_slot *slot = &model->slots[i];
        if (slot->used && record_timestamp(model, slot->record) == timestamp) return i;
    }
    return OBJECT_NONE;
}

static void
check(struct model *model)
{
    struct objects *objects = &model->objects;
    objects_recount(objects); /* C1, C2, C3 */
    expect_equal(objects->count, model->count);
    for (uint32_t i = 0; i < model->options.object_count; i++) {
        const struct model_slot *slot = &model->slots[i];
        if (!slot->used) continue;
        const uint64_t timestamp = record_timestamp(model, slot->record);
        const u128 id = id_of(timestamp);
        expect_equal(objects_find(objects, timestamp), i);
        if (objects->ids.entries != NULL) expect_equal(objects_find_id(objects, &id), i);
        void *record = objects_record(objects, i);
        expect(memcmp(record, slot->record, model->options.record_size) == 0);
        expect_equal(objects_number_of(objects, record), i);
        expect_equal(objects_op(objects, i), slot->op);
        expect_equal(objects_is_dirty(objects, i), slot->dirty);
    }
    const uint32_t held = model_held(model, objects->epoch);
    const uint32_t object_count = model->options.object_count;
    expect_equal(objects->retained_count, held); /* C2 */
    expect(objects_room(objects, objects->epoch, object_count - held));
    expect(!objects_room(objects, objects->epoch, object_count - held + 1));
    const uint32_t held_next = model_held(model, UINT64_MAX);
    expect(objects_room(objects, objects->epoch + 1, object_count - held_next));
    expect(!objects_room(objects, objects->epoch + 1, object_count - held_next + 1));
    expect_equal(objects_dirty_count(objects), model->dirty_count);
    for (uint32_t i = 0; i < model->dirty_count; i++) {
        expect_equal(objects->dirty[i].item, model->dirty[i]); /* C3 */
        expect(model->slots[model->dirty[i]].used);
    }
    expect_equal(objects_forgotten_op(objects), model->forgotten_op); /* C4 */
}

/* Inserts what is absent, pins what is there. */
static void
step_use(struct model *model, uint64_t timestamp, struct undo *undos, uint32_t *undo_count)
{
    struct objects *objects = &model->objects;
    uint32_t at = model_find(model, timestamp);
    const u128 id = id_of(timestamp);
    if (objects->ids.entries != NULL) {
        objects_hint_id(objects, &id);
        objects_hint_record(objects, &id);
        expect_equal(objects_find_id(objects, &id), at);
    }
    expect_equal(objects_find(objects, timestamp), at);
    if (at != OBJECT_NONE) {
        objects_pin(objects, at, model->epoch);
        model->slots[at].epoch = model->epoch;
        model->slots[at].touched = true;
        return;
    }
    if (!objects_room(objects, model->epoch, 1)) return;
    uint8_t record[OBJECTS_RECORD_MAX];
    make_record(model, record, timestamp);
    uint32_t expected = OBJECT_NONE;
    if (model->count == model->options.object_count) expected = model_evict(model);
    at = objects_insert(objects, record, model->epoch);
    if (expected != OBJECT_NONE) expect_equal(at, expected);
    expect(!model->slots[at].used);
    model->slots[at] = (struct model_slot){.used = true, .epoch = model->epoch};
    memcpy(model->slots[at].record, record, model->options.record_size);
    model->count += 1;
    if (*undo_count < UNDOS_MAX) undos[*undo_count] = (struct undo){.slot = at, .inserted = true};
    *undo_count += 1;
}

static void
step_touch(struct model *model, uint64_t timestamp, struct undo *undos, uint32_t *undo_count)
{
    const uint32_t at = model_find(model, timestamp);
    if (at == OBJECT_NONE) return;
    struct model_slot *slot = &model->slots[at];
    if (!slot->dirty && model->dirty_count == model->options.dirty_max) return;
    if (*undo_count < UNDOS_MAX) {
        undos[*undo_count] = (struct undo){
            .slot = at,
            .old_op = objects_op(&model->objects, at),
            .was_dirty = objects_is_dirty(&model->objects, at),
        };
    }
    *undo_count += 1;
    objects_touch(&model->objects, at, model->op);
    slot->op = model->op;
    if (!slot->dirty) model->dirty[model->dirty_count++] = at;
    slot->dirty = true;
}

static void
discard(struct model *model, const struct undo *undos, uint32_t undo_count)
{
    while (undo_count > 0) {
        const struct undo *undo = &undos[--undo_count];
        struct model_slot *slot = &model->slots[undo->slot];
        if (undo->inserted) {
            objects_remove(&model->objects, undo->slot);
            slot->used = false;
            model->count -= 1;
        } else {
            objects_untouch(&model->objects, undo->slot, undo->old_op, undo->was_dirty);
            slot->op = undo->old_op;
            slot->dirty = undo->was_dirty;
            if (!undo->was_dirty) model->dirty_count -= 1;
        }
        check(model);
    }
}

static void
step_take_dirty(struct model *model)
{
    uint32_t slots[SLOTS_MAX];
    const uint32_t count = objects_take_dirty(&model->objects, slots);
    expect_equal(count, model->dirty_count);
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct model_slot *slot = &model->slots[slots[i]];
        const uint64_t timestamp = record_timestamp(model, slot->record);
        expect(slot->dirty && timestamp > before);
        slot->dirty = false;
        before = timestamp;
    }
    model->dirty_count = 0;
}

static void
run_random(struct model *model, uint32_t timestamps, int steps)
{
    struct prng *prng = &model->prng;
    struct undo undos[UNDOS_MAX];
    for (int step = 0; step < steps; step++) {
        uint32_t undo_count = 0;
        model->op += 1;
        if (prng_chance(prng, 1, 3)) model->epoch += prng_range(prng, 1, 3);
        for (uint64_t i = prng_below(prng, 12); i > 0; i--) {
            const uint64_t timestamp = 1 + prng_below(prng, timestamps);
            if (prng_chance(prng, 1, 2)) step_use(model, timestamp, undos, &undo_count);
            else step_touch(model, timestamp, undos, &undo_count);
            check(model);
        }
        if (undo_count <= UNDOS_MAX && prng_chance(prng, 1, 3)) discard(model, undos, undo_count);
        if (prng_chance(prng, 1, 8)) step_take_dirty(model);
        if (prng_chance(prng, 1, 200)) {
            objects_clear(&model->objects);
            memset(model->slots, 0, sizeof(model->slots));
            model->count = model->dirty_count = model->hand = 0;
            model->forgotten_op = prng_below(prng, 2) * model->op;
            objects_forgot(&model->objects, model->forgotten_op);
        }
        check(model);
    }
}

UNIT_TEST(c1_c2_c3_c4_hold_in_random_runs)
{
    static struct model model;
    static const uint32_t slot_counts[] = {1, 2, 3, 4, 5, 8, 13, 32, 64};
    for (uint32_t seed = 0; seed < 60; seed++) {
        memset(&model, 0, sizeof(model));
        prng_init(&model.prng, seed);
        const uint32_t object_count = slot_counts[seed % ARRAY_COUNT(slot_counts)];
        const bool with_id = seed % 4 != 0;
        const uint32_t size = 8 * (uint32_t) prng_range(&model.prng, with_id ? 3 : 2, 32);
        model.options = (struct objects_options){
            .record_size = size,
            .timestamp_offset = with_id ? size - 8 : 0,
            .id_offset = with_id ? 0 : UINT32_MAX,
            .object_count = object_count,
            .dirty_max = (uint32_t) prng_range(&model.prng, 1, object_count),
        };
        init_objects(&model.objects, &model.options);
        run_random(&model, object_count * 2 + 1, object_count > 16 ? 200 : 600);
    }
}

static const struct objects_options small = {
    .record_size = 24,
    .timestamp_offset = 16,
    .id_offset = 0,
    .object_count = 4,
    .dirty_max = 2,
};

static uint32_t
insert_small(struct objects *objects, uint64_t timestamp, uint64_t epoch)
{
    const uint64_t record[3] = {timestamp, 0, timestamp};
    return objects_insert(objects, record, epoch);
}

UNIT_TEST(what_is_used_once_goes_before_what_is_used_often)
{
    struct objects objects;
    init_objects(&objects, &small);
    const uint32_t often = insert_small(&objects, 1, 1);
    for (uint64_t epoch = 2; epoch < 100; epoch++) {
        objects_pin(&objects, often, epoch);
        insert_small(&objects, epoch, epoch);
        expect_equal(objects_find(&objects, 1), often);
        expect_equal(objects.count, epoch < 4 ? epoch : 4);
    }
    expect_equal(objects_find(&objects, 2), OBJECT_NONE);
    expect_equal(objects_forgotten_op(&objects), 0);
}

UNIT_TEST(c4_the_newest_op_that_was_forgotten_is_known)
{
    struct objects objects;
    uint32_t slots[2];
    init_objects(&objects, &small);
    objects_touch(&objects, insert_small(&objects, 9, 1), 100);
    objects_touch(&objects, insert_small(&objects, 8, 1), 101);
    for (uint64_t i = 0; i < 20; i++) insert_small(&objects, 20 + i, 2 + i);
    expect(objects_find(&objects, 8) != OBJECT_NONE);
    expect(objects_find(&objects, 9) != OBJECT_NONE);
    expect_equal(objects_forgotten_op(&objects), 0);
    expect_equal(objects_take_dirty(&objects, slots), 2);
    expect_equal(slots[0], objects_find(&objects, 8));
    expect_equal(slots[1], objects_find(&objects, 9));
    for (uint64_t i = 20; i < 30; i++) insert_small(&objects, 20 + i, 2 + i);
    expect_equal(objects_find(&objects, 8), OBJECT_NONE);
    expect_equal(objects_forgotten_op(&objects), 101);
}

UNIT_TEST(clear_with_few_leaves_nothing)
{
    struct objects objects;
    struct objects_options options = small;
    options.object_count = 1000;
    init_objects(&objects, &options);
    for (int round = 0; round < 20; round++) {
        const uint64_t few = round % 2 == 0 ? 50 : 500;
        for (uint64_t i = 1; i <= few; i++) insert_small(&objects, i * 31, 1);
        objects_remove(&objects, objects_find(&objects, 31));
        objects_clear(&objects);
        objects_recount(&objects);
        expect_equal(objects_find(&objects, 62), OBJECT_NONE);
    }
}

/* Entries that a search for what is there looks at, on average, times 100; and at most. */
static uint32_t
search_length(const struct objects_index *index, uint32_t *length_max)
{
    uint64_t sum = 0;
    uint64_t count = 0;
    *length_max = 0;
    for (uint32_t i = 0; i <= index->mask; i++) {
        if (index->entries[i] == OBJECTS_ENTRY_EMPTY) continue;
        const uint32_t home = (uint32_t) (index->entries[i] >> 32) >> index->shift;
        const uint32_t length = ((i - home) & index->mask) + 1;
        sum += length;
        count += 1;
        if (length > *length_max) *length_max = length;
    }
    return (uint32_t) (sum * 100 / count);
}

UNIT_TEST(ids_and_timestamps_of_any_kind_do_not_cluster)
{
    struct objects objects;
    struct objects_options options = small;
    options.object_count = 16384; /* The fullest that an index gets. */
    struct prng prng;
    prng_init(&prng, 3);
    for (int kind = 0; kind < 10; kind++) {
        init_objects(&objects, &options);
        for (uint64_t i = 1; i <= options.object_count; i++) {
            const uint64_t random = prng_next(&prng);
            uint64_t record[3] = {i, 0, i}; /* Low and high half of the id, timestamp. */
            if (kind == 1) record[0] = random, record[2] = i * 1000;
            if (kind == 2) record[0] = random, record[1] = i << 16, record[2] = i << 20;
            if (kind == 3) record[0] = 0, record[1] = i, record[2] = i << 32;
            if (kind == 4) record[0] = i << 32, record[2] = i * 4;
            if (kind == 5) record[0] = i << 48, record[1] = i, record[2] = i << 45;
            if (kind == 6) record[0] = i, record[1] = ~i, record[2] = ~i;
            if (kind == 7) record[0] = i << 50, record[1] = i << 50 ^ 1, record[2] = i * 8190;
            if (kind == 8) record[0] = UINT64_C(0x6a09e667f3bcc909), record[1] = i;
            if (kind == 9) record[0] = i, record[1] = UINT64_C(0xbb67ae8584caa73b);
            objects_insert(&objects, record, 1);
        }
        uint32_t length_max;
        /* Knuth: (1 + 1 / (1 - 1/4)) / 2 = 1.17 at random; groups of four are slightly worse. */
        expect(search_length(&objects.ids, &length_max) < 120);
        expect(length_max < 16);
expect(search_length(&objects.timestamps, &length_max) < 200);
        expect(length_max < 40);
    }
}

/* ---- What the invariants see --------------------------------------------------------------- */

static void (*spoil)(struct objects *objects);

static void
spoil_index(struct objects *objects)
{
    for (uint32_t i = 0; i <= objects->ids.mask; i++) objects->ids.entries[i] = 0; /* C1 */
}

static void
spoil_hash(struct objects *objects)
{
    objects->states[0].timestamp_hash += 1; /* C1 */
}

static void
spoil_retained(struct objects *objects)
{
    objects->retained_count -= 1; /* C2 */
}

static void
spoil_dirty(struct objects *objects)
{
    objects->dirty[0].item = 1; /* C3 */
}

static void
spoil_free(struct objects *objects)
{
    objects->free_first = 0;
}

static void
spoil_and_look(void)
{
    struct objects objects;
    const struct objects_options options = {
        .record_size = 64, .id_offset = 16, .object_count = 8, .dirty_max = 4,
    };
    init_objects(&objects, &options);
    for (uint64_t i = 1; i <= 3; i++) {
        const uint64_t record[8] = {i, 0, i};
        (void) objects_insert(&objects, record, 1);
    }
    objects_touch(&objects, 0, 1);
    objects_recount(&objects);
    if (spoil != NULL) spoil(&objects);
    objects_recount(&objects);
}

UNIT_TEST(c1_c2_c3_objects_that_contradict_themselves_are_noticed)
{
    void (*const spoils[])(struct objects * objects) = {
        spoil_index, spoil_hash, spoil_retained, spoil_dirty, spoil_free,
    };
    spoil = NULL;
    expect(!aborts(spoil_and_look));
    for (uint32_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
        spoil = spoils[i];
        expect(aborts(spoil_and_look));
    }
}

UNIT_MAIN(test_lsm_objects)
