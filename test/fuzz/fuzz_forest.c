/* SPDX-License-Identifier: PostgreSQL */
/*
 * A checkpoint whose blocks say something else than they should, behind checksums that are right:
 * root, manifest, free set, index blocks, and blocks with values. Opening it, reading all of it,
 * auditing it, and going on with ops, merges and checkpoints gives answers or errors.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/forest_fixture.h"
#include "../unit/reseal.h"
#include "forest/watch.h"
#include "fuzz.h"
#include "unit/reserve.h"

static struct forest_fixture fixture;

#define OWN_MAX   64
#define INDEX_MAX 2000

/* The checkpoint's own blocks, in the order of the chains: manifest, free set, root. */
static uint64_t own[OWN_MAX];
static uint32_t own_count;
static uint32_t manifest_count;

/* Where the manifest refers to an index block. */
static struct index_place {
    uint64_t address;
    uint32_t own;
    uint32_t item;
} indexes[INDEX_MAX];
static uint32_t index_count;

/* Blocks with values, and where index blocks refer to them. */
#define VALUES_MAX 6000
static struct values_place {
    uint64_t address;
    uint32_t index; /* Of `indexes`. */
    uint32_t entry; /* In the index block. */
} values[VALUES_MAX];
static uint32_t values_count;

static uint64_t extracts_read; /* Of blocks whose other sectors may lie. */

static uint8_t *pristine; /* The whole file. */
static uint64_t file_size;

static uint8_t *
block_at(uint64_t address)
{
    return storage_sim_bytes(&fixture.sim, STORAGE_GRID) + (address - 1) * BLOCK_SIZE;
}

/* ---- What there is ------------------------------------------------------------------------- */

static void
list_own(void)
{
    const struct forest_checkpoint *checkpoint = &fixture.forest->checkpoint;
    own_count = checkpoint->own_count;
    manifest_count = 0;
    assert(own_count <= OWN_MAX);
    for (uint32_t i = 0; i < own_count; i++) {
        own[i] = checkpoint->own[i].address;
        const struct block_header *header = (const void *) block_at(own[i]);
        manifest_count += header->type == BLOCK_MANIFEST;
    }
}

static void
list_indexes(void)
{
    uint64_t tables_left = 0;
    index_count = 0;
    for (uint32_t i = 0; i < manifest_count; i++) {
        const struct block_header *header = (const void *) block_at(own[i]);
        for (uint32_t item = 0; item < header->record_count; item++) {
            const uint8_t *at =
                block_at(own[i]) + BLOCK_HEADER_SIZE + (uint64_t) item * MANIFEST_ITEM_SIZE;
            if (tables_left == 0) {
                struct manifest_run run;
                memcpy(&run, at, sizeof(run));
                tables_left = run.table_count;
                continue;
            }
            struct table_info table;
            memcpy(&table, at, sizeof(table));
            tables_left -= 1;
            assert(index_count < INDEX_MAX);
            indexes[index_count] = (struct index_place){table.index.address, i, item};
            index_count += 1;
        }
    }
    assert(index_count > 0);
}

static void
list_values(void)
{
    values_count = 0;
    for (uint32_t i = 0; i < index_count; i++) {
        const struct block_header *header = (const void *) block_at(indexes[i].address);
        const struct table_block *blocks =
            (const void *) (block_at(indexes[i].address) + BLOCK_HEADER_SIZE);
        for (uint32_t entry = 0; entry < header->record_count; entry++) {
            if (blocks[entry].entry_count == 0) break; /* Filters follow. */
            assert(values_count < VALUES_MAX);
            values[values_count] = (struct values_place){blocks[entry].address, i, entry};
            values_count += 1;
        }
    }
    assert(values_count > 0);
}

/* ---- Checksums ----------------------------------------------------------------------------- */

/* Makes the block's checksum right; returns it. */
static u128
reseal(uint64_t address)
{
    struct block_header *header = (void *) block_at(address);
    if (header->size < BLOCK_HEADER_SIZE || header->size > BLOCK_SIZE) {
        header->size = BLOCK_SIZE;
    }
    return reseal_block(header);
}

static uint8_t *
manifest_item(const struct index_place *place)
{
    assert(place->own < manifest_count);
    return block_at(own[place->own]) + BLOCK_HEADER_SIZE +
           (uint64_t) place->item * MANIFEST_ITEM_SIZE;
}

static void
refer_from_manifest(const struct index_place *place, u128 block_checksum)
{
    uint8_t *item = manifest_item(place);
    memcpy(item + offsetof(struct table_info, index), &block_checksum, sizeof(block_checksum));
}

static void
refer_from_index(const struct values_place *place, u128 block_checksum)
{
    const struct index_place *index = &indexes[place->index];
    struct table_block *blocks = (void *) (block_at(index->address) + BLOCK_HEADER_SIZE);
    const struct block_header *header = (const void *) block_at(place->address);
    blocks[place->entry].checksum = block_checksum;
    memcpy(blocks[place->entry].sector_sums, header->sector_sums, sizeof(header->sector_sums));
    refer_from_manifest(index, reseal(index->address));
}

/* Makes all chains right, from their first blocks to the root. */
static struct block_reference
reseal_own(bool keep_references)
{
    struct block_reference reference = {0};
    struct root_content *content = (void *) (block_at(own[own_count - 1]) + BLOCK_HEADER_SIZE);
    for (uint32_t i = 0; i < own_count; i++) {
        struct block_header *header = (void *) block_at(own[i]);
        const bool root = i + 1 == own_count;
        const bool first = i == 0 || i == manifest_count || root;
        if (!first && !keep_references) header->previous.checksum = reference.checksum;
        if (i == manifest_count) content->manifest.checksum = reference.checksum;
        if (root) content->free_set.checksum = reference.checksum;
        reference = (struct block_reference){.checksum = reseal(own[i]), .address = own[i]};
    }
    return reference;
}

/* ---- Lies ---------------------------------------------------------------------------------- */

static uint64_t
some_number(struct prng *prng)
{
    switch (prng_below(prng, 7)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return UINT64_C(1) << prng_below(prng, 64);
    case 3: return prng_next(prng);
    case 4: return prng_below(prng, 20);
    case 5: return prng_below(prng, 5000);
    default: return (UINT64_C(1) << prng_below(prng, 64)) - 1;
    }
}

/* Changes the block somewhere in what a checksum protects and only its reader can judge. */
static void
lie(struct prng *prng, uint64_t address)
{
    uint8_t *block = block_at(address);
    struct block_header *header = (void *) block;
    const uint32_t size = header->size - BLOCK_HEADER_SIZE;
    uint8_t *content = block + BLOCK_HEADER_SIZE;
    const uint64_t at = size < 8 ? 0 : prng_below(prng, size - 7);
    const uint64_t word = at / 8 * 8;
    switch (prng_below(prng, 11)) {
    case 0: content[at] ^= (uint8_t) (1 << prng_below(prng, 8)); return;
    case 1: content[at] = (uint8_t) prng_next(prng); return;
    case 2:
    case 3:
    case 4: {
        const uint64_t number = some_number(prng);
        const uint64_t bytes = UINT64_C(1) << prng_below(prng, 4);
        memcpy(content + word, &number, bytes);
        return;
    }
    case 5:
    case 8:
    case 9: {
        /* A number that is nearly right. */
        uint64_t number;
        memcpy(&number, content + word, sizeof(number));
        number += prng_range(prng, 0, 4) - 2;
        memcpy(content + word, &number, sizeof(number));
        return;
    }
    case 6: {
        const uint64_t length = min_u64(prng_range(prng, 8, 96), size);
        const uint64_t from = prng_below(prng, size - length + 1);
        const uint64_t to = prng_below(prng, size - length + 1);
        memmove(content + to, content + from, length);
        return;
    }
    case 7: header->record_count = (uint32_t) some_number(prng); return;
    default:
        header->size = (uint32_t) prng_range(prng, BLOCK_HEADER_SIZE, BLOCK_SIZE);
        memset(block + header->size, 0, BLOCK_SIZE - header->size);
        return;
    }
}

/* Lies that are told of blocks with values most of all: keys out of order, or of elsewhere. */
static void
lie_about_keys(struct prng *prng, uint64_t address)
{
    uint8_t *block = block_at(address);
    const struct block_header *header = (const void *) block;
    const struct entry_format *format = &fixture.forest->parts[header->tree].tree.format;
    /* Another lie may have been told of it before. */
    const uint64_t count = min_u64(header->record_count, entries_per_block(format));
    char *entries = (char *) block + BLOCK_HEADER_SIZE;
    if (count == 0) return;
    char *a = entries + prng_below(prng, count) * format->size;
    char *b = entries + prng_below(prng, count) * format->size;
    char kept[FOREST_RECORD_SIZE_MAX];
    memcpy(kept, a, format->size);
    switch (prng_below(prng, 4)) {
    case 0: memcpy(a, b, format->size); return;
    case 1: /* Two change their places. */
        memcpy(a, b, format->size);
        memcpy(b, kept, format->size);
        return;
    case 2: memset(a, prng_chance(prng, 1, 2) ? 0 : 0xff, format->size); return;
    default: lie(prng, address); return;
    }
}

static void
lie_about_values(struct prng *prng)
{
    const struct values_place *place = &values[prng_below(prng, values_count)];
    lie_about_keys(prng, place->address);
    refer_from_index(place, reseal(place->address));
}

/* *mergeable: no table is named twice. */
static struct block_reference
lie_somewhere(struct prng *prng, bool *mergeable)
{
    const uint32_t lies = prng_chance(prng, 3, 4) ? 1 : (uint32_t) prng_range(prng, 2, 5);
    for (uint32_t i = 0; i < lies; i++) {
        switch (prng_below(prng, 8)) {
        case 0: lie(prng, own[own_count - 1]); break;
        case 1: lie(prng, own[prng_below(prng, own_count)]); break;
        case 2:
        case 3:
        case 4:
        case 5: lie_about_values(prng); break;
        default: {
            const struct index_place *place = &indexes[prng_below(prng, index_count)];
            lie(prng, place->address);
            refer_from_manifest(place, reseal(place->address));
            break;
        }
        }
    }
    *mergeable = !prng_chance(prng, 1, 4);
    if (!*mergeable) {
        /* Two tables change their places, or one is named twice. */
        const struct index_place *a = &indexes[prng_below(prng, index_count)];
        const struct index_place *b = &indexes[prng_below(prng, index_count)];
        uint8_t *item_a = manifest_item(a);
        const uint8_t *item_b = manifest_item(b);
        memmove(item_a, item_b, prng_chance(prng, 1, 2) ? 40 : sizeof(struct table_info));
    }
    return reseal_own(prng_chance(prng, 1, 20));
}

/* Lies that must be found at once: what comes after opening relies on it. */
static void
expect_refused(void)
{
    struct forest_open_report report;
    const struct block_reference root = reseal_own(false);
    const enum forest_open_result result = fixture_open(&fixture, &root, &report);
    assert(result == FOREST_OPEN_CORRUPT);
    assert(report.block_address != 0);
    memcpy(storage_sim_bytes(&fixture.sim, STORAGE_GRID), pristine, file_size);
}

static void
lie_about_root(void)
{
    const uint64_t address = own[own_count - 1];
    for (uint32_t number = 0; number < 10; number++) {
        struct root_content *content = (void *) (block_at(address) + BLOCK_HEADER_SIZE);
        switch (number) {
        case 0: content->newest[FIXTURE_ITEM] += 1; break;
        case 1: content->newest[FIXTURE_OWNER] = UINT64_MAX; break;
        case 2: content->record_count[FIXTURE_ITEM] -= 1; break;
        case 3: content->item_count = UINT64_C(1) << 40; break;
        case 4: content->word_count = UINT64_C(1) << 40; break;
        case 5: content->reserved[1] = 1; break;
        case 6: content->newest[FIXTURE_OWNER] += 1; break;
        case 7: content->annex.address = content->manifest.address; break;
        case 8: content->annex.checksum = 1; break;
        default: content->item_count -= 1; break;
        }
        expect_refused();
    }
}

static void
lie_about_run(uint64_t address, uint32_t item)
{
    const uint64_t offset = BLOCK_HEADER_SIZE + (uint64_t) item * MANIFEST_ITEM_SIZE;
    for (uint32_t number = 0; number < 6; number++) {
        struct manifest_run *run = (void *) (block_at(address) + offset);
        const struct part *part = &fixture.forest->parts[run->part];
        const bool is_log = part->log != NULL;
        if (number == 4 && !(run->flags & MANIFEST_RUN_HIDDEN)) continue;
        if (number == 5 && !is_log) continue;
        switch (number) {
        case 0: run->part = UINT8_MAX; break;
        case 1: run->level = LSM_LEVELS; break;
        case 2: run->table_count = UINT64_MAX; break;
        case 3: run->flags |= MANIFEST_RUN_HIDDEN | MANIFEST_RUN_BUILDING; break;
        case 4: run->hidden += 1; break;
        default: run->level = 1; break;
        }
        expect_refused();
    }
}

static void
known_lies(void)
{
    uint64_t tables_left = 0;
    lie_about_root();
    for (uint32_t i = 0; i < manifest_count; i++) {
        const struct block_header *header = (const void *) block_at(own[i]);
        for (uint32_t item = 0; item < header->record_count; item++) {
            struct manifest_run run;
            if (tables_left > 0) {
                tables_left -= 1;
                continue;
            }
            memcpy(&run, block_at(own[i]) + BLOCK_HEADER_SIZE + item * sizeof(run), sizeof(run));
            tables_left = run.table_count;
            if (item % 3 == 0) lie_about_run(own[i], item);
        }
    }
}

/* ---- Reading ------------------------------------------------------------------------------- */

static void
read_records(struct prng *prng)
{
    for (uint32_t groove = 0; groove < FIXTURE_GROOVE_COUNT; groove++) {
        const uint32_t count = fixture.model->counts[groove];
        for (uint32_t i = 0; i < 40 && count > 0; i++) {
            const uint32_t row = (uint32_t) prng_below(prng, count);
            const void *expected = fixture_record(fixture.model, groove, row);
            char record[FOREST_RECORD_SIZE_MAX];
            const uint64_t timestamp = fixture_timestamp(expected, groove);
            if (prng_chance(prng, 1, 4)) fixture_chill(&fixture);
            (void) fixture_read(&fixture, groove, timestamp + prng_below(prng, 2), record);
            if (groove > FIXTURE_OWNER) continue;
            (void) fixture_read_by_id(&fixture, groove, expected, record);
        }
    }
}

static void
read_scan(struct scan *scan)
{
    uint64_t timestamp;
    for (uint32_t i = 0; i < 300; i++) {
        enum scan_result result;
        while ((result = scan_next(scan, &timestamp)) == SCAN_WAIT) fixture_progress(&fixture);
        if (result != SCAN_FOUND) return;
    }
}

static void
read_scans(struct prng *prng)
{
    struct scan scan;
    for (uint32_t i = 0; i < 20; i++) {
        const uint64_t from = prng_below(prng, fixture.timestamp + 2);
        const bool descending = prng_chance(prng, 1, 2);
        const struct scan_window window = {
            descending ? 0 : from,
            descending ? from : UINT64_MAX,
            descending ? SCAN_DESCENDING : SCAN_ASCENDING,
        };
        const uint32_t groove = (uint32_t) prng_below(prng, FIXTURE_GROOVE_COUNT);
        if (groove == FIXTURE_STATE) continue;
        scan_groove(&scan, fixture.forest, groove, &window);
        read_scan(&scan);
        const uint32_t index = (uint32_t) prng_below(prng, FIXTURE_OWNER_RANK);
        scan_index(&scan, fixture.forest, index, 1 + prng_below(prng, 20), &window);
        read_scan(&scan);
    }
    for (uint32_t index = FIXTURE_OWNER_RANK; index <= FIXTURE_STATE_DUE; index++) {
        struct forest_range position = {.value = prng_below(prng, fixture.spread)};
        for (uint32_t i = 0; i < 200; i++) {
            enum forest_found found;
            while ((found = forest_range_next(fixture.forest, index, &position)) == FOREST_WAIT) {
                fixture_progress(&fixture);
            }
            if (found != FOREST_FOUND) break;
        }
    }
}

static void
read_audit(struct prng *prng)
{
    static struct audit audit;
    enum audit_step step = AUDIT_WRONG;
    audit_start(&audit, fixture.forest);
    while (step != AUDIT_LOST && step != AUDIT_END) {
        uint32_t rows = (uint32_t) prng_range(prng, 1, 1000);
        step = audit_step(&audit, &rows);
        if (step == AUDIT_WAIT) fixture_progress(&fixture);
    }
}

/* ---- Going on ------------------------------------------------------------------------------ */

/* False: what the op needs is lost, or the forest has failed. */
static bool
work_op(struct prng *prng, uint32_t event_count)
{
    const uint32_t owner_count = fixture.model_durable->counts[FIXTURE_OWNER];
    fixture_op_begin(&fixture, event_count);
    for (uint32_t i = 0; i < event_count; i++) {
        fixture.timestamp += 1;
        fixture_insert_item(&fixture);
        fixture_insert_owner(&fixture);
        if (owner_count == 0) continue;
        const struct fixture_owner *known = fixture_record(
            fixture.model_durable, FIXTURE_OWNER, (uint32_t) prng_below(prng, owner_count));
        const void *old = NULL;
        const enum forest_found found =
            fixture_prefetch_id(&fixture, FIXTURE_OWNER, &known->id, &old);
        if (found == FOREST_LOST) return false;
        if (found != FOREST_FOUND) continue;
        struct fixture_owner owner;
        memcpy(&owner, old, sizeof(owner));
        owner.counter += 1;
        forest_update(fixture.forest, FIXTURE_OWNER, old, &owner);
    }
    fixture.op += 1;
    enum forest_work left;
    while ((left = forest_compact(fixture.forest, fixture.op)) != FOREST_WORK_DONE) {
        if (forest_failed(fixture.forest)) return false;
        if (left == FOREST_WORK_WAITS) fixture_progress(&fixture);
    }
    return true;
}

/* Ops, until merges have gone over what there was; and perhaps checkpoints. */
static void
work(struct prng *prng)
{
    const uint32_t ops = (uint32_t) prng_range(prng, 0, 50);
    /* Far from all keys that a lie may have made. */
    for (uint32_t groove = 0; groove < FIXTURE_GROOVE_COUNT; groove++) {
        fixture.timestamp = max_u64(fixture.timestamp, forest_newest(fixture.forest, groove));
    }
    fixture.timestamp += UINT64_C(1) << 40;
    fixture.op = fixture.forest->op;
    for (uint32_t i = 0; i < ops; i++) {
        const uint32_t count = (uint32_t) prng_range(prng, 1, EVENTS_PER_BATCH_MAX);
        if (fixture.model->counts[FIXTURE_ITEM] + count > FIXTURE_RECORDS_MAX) return;
        if (fixture.timestamp > UINT64_C(1) << 62) return;
        if (reserve_now(fixture.forest, count) != FOREST_ROOM) return;
        if (!work_op(prng, count)) return;
        if (!prng_chance(prng, 1, 20)) continue;
        fixture_checkpoint_start(&fixture);
        while (!fixture.checkpoint_done) {
            if (forest_failed(fixture.forest)) return;
            fixture_progress(&fixture);
        }
        if (fixture.checkpoint_result != GRID_OK) return;
        forest_checkpoint_durable(fixture.forest);
    }
}

/* ---- Rounds -------------------------------------------------------------------------------- */

static void
begin(struct prng *prng)
{
    fixture_begin(&fixture, prng, prng_below(prng, 200 * KIB));
    fixture.spread = UINT64_C(1) << prng_range(prng, 2, 12);
    const uint32_t batches = (uint32_t) prng_range(prng, 3, 60);
    for (uint32_t i = 0; i < batches; i++) {
        const enum forest_room room = reserve_now(fixture.forest, EVENTS_PER_BATCH_MAX);
        if (room != FOREST_ROOM) break;
        fixture_batch(&fixture, (uint32_t) prng_range(prng, 1, EVENTS_PER_BATCH_MAX));
        if (prng_chance(prng, 1, 10)) fixture_checkpoint(&fixture);
    }
    fixture_checkpoint(&fixture);
    list_own();
    list_indexes();
    list_values();
    file_size = fixture.sim.storage.file_size_bytes[STORAGE_GRID];
    pristine = malloc(file_size);
    assert(pristine != NULL);
    memcpy(pristine, storage_sim_bytes(&fixture.sim, STORAGE_GRID), file_size);
}

static void
round_of_lies(struct prng *prng)
{
    struct forest_open_report report;
    bool mergeable;
    const struct block_reference root = lie_somewhere(prng, &mergeable);
    const enum forest_open_result result = fixture_open(&fixture, &root, &report);
    switch (result) {
    case FOREST_OPENED:
        if (prng_chance(prng, 3, 4)) read_records(prng);
        if (prng_chance(prng, 3, 4)) read_scans(prng);
        if (prng_chance(prng, 1, 4)) read_audit(prng);
        if (mergeable && prng_chance(prng, 1, 2)) work(prng);
        memcpy(fixture.model, fixture.model_durable, sizeof(*fixture.model));
        break;
    case FOREST_OPEN_CORRUPT: assert(report.block_address != 0); break;
    case FOREST_OPEN_MEMORY_TOO_SMALL: break;
    case FOREST_OPEN_IO_ERROR: unreachable();
    }
    while (fixture.sim.storage.in_flight_count > 0) (void) storage_wait(&fixture.sim.storage);
    extracts_read += fixture.grid.stats.extracts_read;
    /* Ops may have made the file larger. */
    assert(fixture.sim.storage.file_size_bytes[STORAGE_GRID] >= file_size);
    memcpy(storage_sim_bytes(&fixture.sim, STORAGE_GRID), pristine, file_size);
}

void
fuzz_forest(struct prng *prng, uint64_t rounds)
{
    extracts_read = 0;
    begin(prng);
    known_lies();
    for (uint64_t round = 0; round < rounds; round++) {
        round_of_lies(prng);
    }
    assert(rounds < 50 || extracts_read > 0);
    /* Nothing is left of it. */
    const enum forest_open_result result = fixture_reopen(&fixture);
    assert(result == FOREST_OPENED);
    const bool same = fixture_same(&fixture);
    assert(same);
    free(pristine);
    fixture_end(&fixture);
}
