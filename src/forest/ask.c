/* SPDX-License-Identifier: PostgreSQL */
/*
 * Before an op is executed, everything that it will look up is brought among the objects, where it
 * is pinned for the op's epoch. So execution itself never waits.
 *
 *    forest_ask_id ─→ ids ── looked up ──→ records ── looked up ──→ objects
 *    forest_ask ─────────────────────────────┘
 *
 * What isn't among the objects yet is looked up in the order of keys, all ids first. So a block
 * that many keys need is read once, and blocks are read in the order in which they lie on disk; a
 * caller that comes from one block to the next has the next one read whole at once (lsm/table.c).
 * As many reads run as there can be. Keys whose blocks are being read are put aside, and looked at
 * again when about half of those blocks have come: looking at each key twice costs little.
 *
 * Keys that turned out to be absent are remembered. If execution wants a key that was never looked
 * up, an assertion catches it (F6): to take the key for absent would be a silent guess.
 *
 * When all goes well: forest_begin, then forest_ask… for all keys, then forest_prefetch until it
 * says FOUND. A second round follows if what was found names more records: a post, for example,
 * leads to its pending transfer, and that to its accounts. What can go wrong:
 *  - All frames are in use. forest_begin says no, or forest_prefetch says WAIT: ask again after
 *    progress.
 *  - A block can't be read, or isn't what refers to it. forest_prefetch says LOST, and
 *    forest_damage names the block. The op can't be executed, so the engine stops (a pulse is only
 *    skipped).
 *  - A record that another one names is absent. That is damage too, and treated in the same way.
 */
#include <string.h>

#include "base/units.h"
#include "forest/internal.h"

/*
 * For an asked key, the field `timestamp` means something else: bits 0 … 7 are the number of the
 * groove; bit 8 is set if an id or a record says that the record exists, so that its absence is
 * damage; the bits above are the address of the block that is awaited, or 0.
 *
 * A record's key is its timestamp, with id_check of the id it was found by in the low half, or 0.
 */
#define ASK_GROOVE      UINT64_C(0xff)
#define ASK_NAMED       UINT64_C(0x100)
#define ASK_BLOCK_SHIFT 9
static_assert(FOREST_GROOVES_MAX <= ASK_GROOVE, "numbers of grooves fit");

/* ---- What is absent ------------------------------------------------------------------------ */

void
forest_prefetched_add(struct forest_prefetched *prefetched, uint64_t hash)
{
    const uint32_t bit = (uint32_t) hash % PREFETCHED_BITS;
    assert(prefetched->count <= PREFETCHED_COUNT + 1);
    prefetched->bits[bit / 64] |= UINT64_C(1) << (bit % 64);
    if (prefetched->count < PREFETCHED_COUNT) prefetched->listed[prefetched->count] = bit;
    if (prefetched->count <= PREFETCHED_COUNT) prefetched->count += 1;
}

bool
forest_prefetched_has(const struct forest_prefetched *prefetched, uint64_t hash)
{
    const uint32_t bit = (uint32_t) hash % PREFETCHED_BITS;
    return (prefetched->bits[bit / 64] >> (bit % 64)) & 1;
}

void
forest_prefetched_clear(struct forest_prefetched *prefetched)
{
    assert(prefetched->count <= PREFETCHED_COUNT + 1);
    if (prefetched->count > PREFETCHED_COUNT) {
        memset(prefetched->bits, 0, sizeof(prefetched->bits));
    }
    for (uint32_t i = 0; i < prefetched->count && i < PREFETCHED_COUNT; i++) {
        prefetched->bits[prefetched->listed[i] / 64] = 0;
    }
    prefetched->count = 0;
}

/* ---- The op -------------------------------------------------------------------------------- */

bool
forest_begin(struct forest *forest, uint32_t event_count)
{
    uint32_t frames = 0;
    assert(forest->opened);
    assert(!forest->active);
    assert(forest->compact.step == COMPACT_DONE);
    assert(forest->checkpoint.stage == CHECKPOINT_IDLE);
    assert(event_count <= EVENTS_PER_BATCH_MAX);
    assert(!forest->scope.open);
    assert(forest->prefetched->count == 0);
    assert(forest->asked_ids.count == 0 && forest->asked_records.count == 0);
    for (uint32_t i = 0; i < forest->schema->groove_count; i++) {
        const struct groove *groove = &forest->grooves[i];
        if (groove_is_log(groove)) frames += log_frames_needed(&groove->log, event_count);
    }
    /* Reads need frames too, so leave some for them. */
    if (forest->cache.available < frames + GRID_READS_MAX) {
        cache_issue_writes(&forest->cache);
        return false;
    }
    forest->active = true;
    forest->epoch += 1;
    forest->asks_resume_at = 0;
    return true;
}

/* ---- Asking -------------------------------------------------------------------------------- */

void
forest_asks_init(struct forest_asks *asks, struct arena *arena)
{
    *asks = (struct forest_asks){0};
    asks->keys = arena_take(arena, FOREST_ASKS_MAX, sizeof(struct entry24), 64);
}

static void
asks_add(struct forest_asks *asks, u128 key, uint64_t mark)
{
    assert(asks->count < FOREST_ASKS_MAX);
    /* A lookup is under way while its keys are in order: nothing may be added then. */
    assert(asks->next == 0 && asks->waiting == 0);
    asks->keys[asks->count] = (struct entry24){
        .id_low = u128_low(key),
        .id_high = u128_high(key),
        .timestamp = mark,
    };
    asks->count += 1;
}

static void
asks_clear(struct forest_asks *asks)
{
    assert(asks->waiting == 0 && asks->next == asks->count);
    asks->count = 0;
    asks->next = 0;
}

/* A short hash of the id that the record should have. It is never 0. */
static uint64_t
id_check(uint32_t number, const u128 *id)
{
    return prefetched_hash_id(number, id) | 1;
}

/* Pins the object, if there is one. */
static bool
pin(struct forest *forest, struct groove *groove, uint32_t object)
{
    assert(forest->active);
    if (object == OBJECT_NONE) return false;
    objects_pin(&groove->objects, object, forest->epoch);
    return true;
}

static const void *
ask_id(struct forest *forest, uint32_t number, const u128 *id, uint64_t named)
{
    struct groove *groove = forest_groove(forest, number);
    assert(forest->active);
    assert(groove->ids != PART_NONE);
    if (groove->objects.count > 0) {
        const uint32_t object = objects_find_id(&groove->objects, id);
        if (pin(forest, groove, object)) return objects_record(&groove->objects, object);
    }
    asks_add(&forest->asked_ids, *id, number | named);
    return NULL;
}

static void
ask(struct forest *forest, uint32_t number, uint64_t timestamp, uint64_t named)
{
    struct groove *groove = forest_groove(forest, number);
    assert(forest->active);
    assert(timestamp != 0);
    if (groove->objects.count > 0 &&
        pin(forest, groove, objects_find(&groove->objects, timestamp))) {
        return;
    }
    asks_add(&forest->asked_records, u128_make(timestamp, 0), number | named);
}

const void *
forest_ask_id(struct forest *forest, uint32_t number, const u128 *id)
{
    return ask_id(forest, number, id, 0);
}

void
forest_ask(struct forest *forest, uint32_t number, uint64_t timestamp)
{
    ask(forest, number, timestamp, 0);
}

void
forest_ask_named_id(struct forest *forest, uint32_t number, const u128 *id)
{
    (void) ask_id(forest, number, id, ASK_NAMED);
}

void
forest_ask_named(struct forest *forest, uint32_t number, uint64_t timestamp)
{
    ask(forest, number, timestamp, ASK_NAMED);
}

/* ---- Looking up ---------------------------------------------------------------------------- */

/* Brings the record among the objects for this op. */
static void
bring(struct forest *forest, struct groove *groove, const void *record)
{
    assert(objects_room(&groove->objects, forest->epoch, 1));
    assert(forest->active);
    (void) objects_insert(&groove->objects, record, forest->epoch);
}

/*
 * The id is burnt. Execution learns that from a record of the groove of burnt ids, so brings that.
 */
static void
bring_burnt(struct forest *forest, const struct groove *groove, u128 id, uint64_t timestamp)
{
    struct groove *burnt = forest_groove(forest, groove->schema->burnt_groove);
    char record[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16))) = {0};
    assert(burnt->burns_for != FOREST_NONE);
    assert(burnt->schema->id_offset != FOREST_NONE);
    if (objects_find_id(&burnt->objects, &id) != OBJECT_NONE) return;
    memcpy(record + burnt->schema->id_offset, &id, sizeof(id));
    memcpy(record + burnt->schema->timestamp_offset, &timestamp, sizeof(timestamp));
    bring(forest, burnt, record);
}

/* Looks up the timestamp that the id leads to. */
static enum tree_found
look_up_id(struct forest *forest, const struct entry24 *key)
{
    const uint32_t number = (uint32_t) (key->timestamp & ASK_GROOVE);
    const struct groove *groove = forest_groove(forest, number);
    const struct tree *ids = &forest->parts[groove->ids].tree;
    const bool named = (key->timestamp & ASK_NAMED) != 0;
    const u128 id = u128_make(key->id_high, key->id_low);
    uint64_t timestamp;
    const enum tree_found found = forest_find_id(forest, number, &id, &timestamp);
    if (found == TREE_ABSENT) {
        if (named) return tree_refuse(ids, id);
        forest_prefetched_add(forest->prefetched, prefetched_hash_id(number, &id)); /* (F6) */
    }
    if (found != TREE_FOUND) return found;
    if ((timestamp & BURNT_BIT) == 0) {
        if (timestamp == 0) return tree_refuse(ids, id);
        const u128 record = u128_make(timestamp, id_check(number, &id));
        asks_add(&forest->asked_records, record, number | ASK_NAMED);
        return TREE_FOUND;
    }
    if (named || groove->schema->burnt_groove == FOREST_NONE) return tree_refuse(ids, id);
    bring_burnt(forest, groove, id, timestamp & ~BURNT_BIT);
    return TREE_FOUND;
}

/* Does the record have the id that led to it? */
static bool
id_matches(const struct groove *groove, uint32_t number, const void *record, uint64_t check)
{
    u128 id;
    if (check == 0) return true; /* The record was asked for by its timestamp, not by an id. */
    assert(groove->schema->id_offset != FOREST_NONE);
    memcpy(&id, (const char *) record + groove->schema->id_offset, sizeof(id));
    return id_check(number, &id) == check;
}

/*
 * Looks up a record. It is among the objects already if both its id and its timestamp were asked
 * for.
 */
static enum tree_found
look_up_record(struct forest *forest, const struct entry24 *key)
{
    const uint32_t number = (uint32_t) (key->timestamp & ASK_GROOVE);
    const uint64_t timestamp = key->id_high;
    struct groove *groove = forest_groove(forest, number);
    const struct tree *records = &forest->parts[groove->records].tree;
    char record[FOREST_RECORD_SIZE_MAX] __attribute__((aligned(16)));
    assert(timestamp != 0);
    const uint32_t object = objects_find(&groove->objects, timestamp);
    if (pin(forest, groove, object)) {
        const void *there = objects_record(&groove->objects, object);
        if (!id_matches(groove, number, there, key->id_low)) return tree_refuse(records, timestamp);
        return TREE_FOUND;
    }
    const enum tree_found found = forest_find(forest, number, timestamp, record);
    if (found == TREE_FOUND) {
        if (!id_matches(groove, number, record, key->id_low)) {
            return tree_refuse(records, timestamp);
        }
        bring(forest, groove, record);
    }
    if (found != TREE_ABSENT) return found;
    if (key->timestamp & ASK_NAMED) return tree_refuse(records, timestamp);
    forest_prefetched_add(forest->prefetched, prefetched_hash(number, timestamp)); /* (F6) */
    return TREE_ABSENT;
}

/*
 * Puts the keys in order, each once. Every second op goes through them from the other end. What the
 * op before has read last is still in memory; going through in the same order would evict all of it
 * before it is reached.
 */
static void
asks_sort(struct forest_asks *asks, bool descending, struct entry24 *scratch)
{
    uint32_t kept = 0;
    assert(asks->next == 0 && asks->waiting == 0);
    sort_entries24(asks->keys, asks->count, scratch);
    for (uint32_t i = 0; i < asks->count; i++) {
        const struct entry24 *key = &asks->keys[i];
        const struct entry24 *last = &asks->keys[kept - (kept > 0)];
        if (kept > 0 && memcmp(key, last, sizeof(*key)) == 0) continue;
        asks->keys[kept] = *key;
        kept += 1;
    }
    asks->count = kept;
    for (uint32_t i = 0; descending && i < kept / 2; i++) {
        const struct entry24 key = asks->keys[i];
        asks->keys[i] = asks->keys[kept - 1 - i];
        asks->keys[kept - 1 - i] = key;
    }
}

/*
 * True if looking up now would find nothing new: the awaited block is still being read, or its read
 * can't be started yet.
 */
static bool
ask_waits(const struct block_cache *cache, const struct entry24 *key)
{
    const uint64_t awaited = key->timestamp >> ASK_BLOCK_SHIFT;
    return awaited == 0 ? !cache_may_read(cache) : cache_reads(cache, awaited);
}

/*
 * Looks up the keys that wait, then others as long as more reads can be started. TREE_FOUND: all
 * are found.
 */
static enum tree_found
asks_look_up(
    struct forest *forest,
    struct forest_asks *asks,
    enum tree_found (*look_up)(struct forest *forest, const struct entry24 *key))
{
    struct block_cache *cache = &forest->cache;
    uint32_t kept = 0;
    if (asks->next == 0) asks_sort(asks, forest->epoch % 2 == 1, forest->scratch);
    assert(asks->waiting <= asks->next && asks->next <= asks->count);
    for (uint32_t i = 0; i < asks->waiting || asks->next < asks->count; i++) {
        if (i >= asks->waiting && !cache_may_read(cache)) break;
        struct entry24 key = asks->keys[i < asks->waiting ? i : asks->next];
        if (i >= asks->waiting) asks->next += 1;
        if (!ask_waits(cache, &key)) {
            const enum tree_found found = look_up(forest, &key);
            if (found == TREE_LOST) return TREE_LOST;
            if (found != TREE_WAIT) continue;
            key.timestamp &= ASK_GROOVE | ASK_NAMED;
            assert(cache->awaited <= UINT64_MAX >> ASK_BLOCK_SHIFT);
            key.timestamp |= cache->awaited << ASK_BLOCK_SHIFT;
        }
        asks->keys[kept] = key;
        kept += 1;
    }
    asks->waiting = kept;
    return kept == 0 && asks->next == asks->count ? TREE_FOUND : TREE_WAIT;
}

enum forest_found
forest_prefetch(struct forest *forest)
{
    assert(forest->active);
    if (!forest_reads_reached(forest, forest->asks_resume_at)) return FOREST_WAIT;
    enum tree_found found = asks_look_up(forest, &forest->asked_ids, look_up_id);
    if (found == TREE_FOUND) found = asks_look_up(forest, &forest->asked_records, look_up_record);
    if (found == TREE_WAIT) {
        const uint32_t waiting = forest->asked_ids.waiting + forest->asked_records.waiting;
        forest->asks_resume_at = forest_reads_mark(forest, waiting);
    }
    if (found == TREE_FOUND) {
        asks_clear(&forest->asked_ids);
        asks_clear(&forest->asked_records);
        assert(!forest_asking(forest));
    }
    return forest_found_of(found);
}

void
forest_hint_id(const struct forest *forest, uint32_t number, const u128 *id)
{
    assert(number < forest->schema->groove_count);
    const struct groove *groove = &forest->grooves[number];
    assert(groove->ids != PART_NONE);
    if (groove->objects.count > 0) objects_hint_id(&groove->objects, id);
    if (groove_is_log(groove)) tail_hint_id(&groove->id_tail, *id);
}

void
forest_hint_record(const struct forest *forest, uint32_t number, const u128 *id)
{
    assert(number < forest->schema->groove_count);
    const struct groove *groove = &forest->grooves[number];
    assert(groove->ids != PART_NONE);
    if (groove->objects.count > 0) objects_hint_record(&groove->objects, id);
}

void
forest_hint_update(const struct forest *forest, uint32_t number, const void *record)
{
    assert(number < forest->schema->groove_count);
    const struct groove *groove = &forest->grooves[number];
    assert(!groove_is_log(groove));
    objects_hint_update(&groove->objects, record);
}
