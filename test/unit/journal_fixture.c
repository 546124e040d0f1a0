/* SPDX-License-Identifier: PostgreSQL */
#include "unit/journal_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* The messages of the fixture before: tests make thousands of fixtures, one after another. */
static uint8_t *spare;

struct prepare_header *
journal_fixture_message(struct journal_fixture *fixture, uint64_t op)
{
    assert(op < FIXTURE_OPS_MAX);
    return prepare_header_of(fixture->messages + op * PREPARE_SIZE_MAX);
}

uint8_t *
journal_fixture_prepares(struct journal_fixture *fixture)
{
    return storage_sim_bytes(&fixture->sim, STORAGE_PREPARES);
}

uint8_t *
journal_fixture_headers(struct journal_fixture *fixture)
{
    return storage_sim_bytes(&fixture->sim, STORAGE_HEADERS);
}

uint64_t
journal_fixture_place(const struct journal_fixture *fixture, const struct prepare_header *header)
{
    return header->position % fixture->ring_size;
}

uint64_t
journal_fixture_slot_offset(const struct journal_fixture *fixture, uint64_t op)
{
    return headers_log_entry(headers_log_count(fixture->ring_size), op) * PREPARE_HEADER_SIZE;
}

enum journal_recovery
journal_fixture_recover(struct journal_fixture *fixture, struct journal_report *report)
{
    /* Nothing may depend on what memory held before. */
    memset(fixture->memory, 0xa5, fixture->memory_size);
    const struct journal_options options = {
        .prepares_size_bytes = fixture->ring_size,
        .sync = fixture->sync,
    };
    struct arena arena;
    arena_init(&arena, fixture->memory, fixture->memory_size);
    journal_init(&fixture->journal, &arena, &fixture->sim.storage, &options);
    return journal_recover(
        &fixture->journal, FIXTURE_CLUSTER, &fixture->checkpoint, &fixture->evidence, 0, report);
}

void
journal_fixture_init(struct journal_fixture *fixture, uint64_t ring_size, uint64_t seed)
{
    journal_fixture_init_sync(fixture, ring_size, seed, JOURNAL_SYNC_BOTH);
}

void
journal_fixture_init_sync(
    struct journal_fixture *fixture, uint64_t ring_size, uint64_t seed, enum journal_sync sync)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->ring_size = ring_size;
    fixture->sync = sync;
    prng_init(&fixture->prng, seed);
    const struct storage_sim_options sim_options = {
        .file_size_bytes =
            {
                [STORAGE_PREPARES] = ring_size,
                [STORAGE_HEADERS] = headers_log_count(ring_size) * PREPARE_HEADER_SIZE,
            },
    };
    storage_sim_init(&fixture->sim, &sim_options, &fixture->prng);

    const struct journal_options options = {.prepares_size_bytes = ring_size};
    struct arena arena;
    arena_init_measuring(&arena);
    journal_init(&fixture->journal, &arena, &fixture->sim.storage, &options);
    fixture->memory_size = align_up(arena.used_bytes, SECTOR_SIZE);
    fixture->memory = aligned_alloc(SECTOR_SIZE, fixture->memory_size);
    fixture->messages =
        spare != NULL ? spare
                      : aligned_alloc(SECTOR_SIZE, (uint64_t) FIXTURE_OPS_MAX * PREPARE_SIZE_MAX);
    spare = NULL;
    assert(fixture->memory != NULL && fixture->messages != NULL);
    memset(fixture->messages, 0, PREPARE_SIZE_MAX);

    prepare_root(journal_fixture_message(fixture, 0), FIXTURE_CLUSTER, 1);
    fixture->checkpoint = *journal_fixture_message(fixture, 0);
    struct journal_report report;
    const enum journal_recovery recovery = journal_fixture_recover(fixture, &report);
    assert(recovery == JOURNAL_RECOVERED);
}

void
journal_fixture_free(struct journal_fixture *fixture)
{
    storage_sim_free(&fixture->sim);
    free(fixture->memory);
    if (spare == NULL) {
        spare = fixture->messages;
    } else {
        free(fixture->messages);
    }
}

struct prepare_header *
journal_fixture_make_prepare(struct journal_fixture *fixture, uint64_t op, uint32_t size_body)
{
    const struct prepare_header *parent = journal_fixture_message(fixture, op - 1);
    struct prepare_header *prepare = journal_fixture_message(fixture, op);
    memset(prepare, 0, PREPARE_SIZE_MAX);
    uint8_t *body = (uint8_t *) prepare + PREPARE_HEADER_SIZE;
    for (uint32_t i = 0; i < size_body; i++) {
        body[i] = (uint8_t) prng_next(&fixture->prng);
    }
    prepare->cluster = FIXTURE_CLUSTER;
    prepare->parent = parent->checksum;
    prepare->op = op;
    prepare->view = fixture->view;
    prepare->commit = op - 1;
    prepare->timestamp = parent->timestamp + PULSE_EXPIRIES_MAX + prng_below(&fixture->prng, 1000);
    prepare->size = PREPARE_HEADER_SIZE + size_body;
    prepare->version = DISK_FORMAT_VERSION;
    prepare->voters = parent->voters;
    /* What the body says is not the journal's business, but that there is one. */
    const bool pulse = size_body < EVENT_SIZE;
    prepare->operation = pulse ? PREPARE_PULSE : PREPARE_BATCHES;
    prepare->event_count = pulse ? PULSE_EXPIRIES_MAX : 1;
    prepare->record_count = pulse ? 0 : 1;
    prepare->position =
        prepare_next_position(parent, prepare_size_on_disk(prepare), fixture->ring_size);
    prepare_seal(prepare);
    return prepare;
}

void
journal_fixture_append_on_done(struct journal_append *append, enum storage_result result)
{
    struct journal_fixture *fixture = container_of(append, struct journal_fixture, append);
    assert(!fixture->append_done);
    fixture->append_done = true;
    fixture->append_result = result;
}

void
journal_fixture_append_begin(struct journal_fixture *fixture)
{
    fixture->append_done = false;
    fixture->append = (struct journal_append){
        .prepare = journal_fixture_message(fixture, fixture->op_head + 1),
        .callback = journal_fixture_append_on_done,
    };
    journal_append(&fixture->journal, &fixture->append);
    assert(journal_busy(&fixture->journal));
}

enum storage_result
journal_fixture_append_message(struct journal_fixture *fixture)
{
    journal_fixture_append_begin(fixture);
    while (!fixture->append_done || journal_naming(&fixture->journal)) {
        (void) storage_wait(&fixture->sim.storage);
    }
    assert(!journal_busy(&fixture->journal));
    if (fixture->append_result == STORAGE_OK) fixture->op_head += 1;
    return fixture->append_result;
}

enum storage_result
journal_fixture_append(struct journal_fixture *fixture, uint32_t size_body)
{
    (void) journal_fixture_make_prepare(fixture, fixture->op_head + 1, size_body);
    return journal_fixture_append_message(fixture);
}

void
journal_fixture_begin_view(struct journal_fixture *fixture)
{
    const uint64_t known = fixture->op_head - fixture->checkpoint.op + 1;
    fixture->view += 1;
    fixture->evidence = (struct journal_evidence){
        .log_view = fixture->view,
        .op_acked_min = fixture->op_head,
        .suffix_count = (uint32_t) min_u64(known, SUPERBLOCK_SUFFIX_MAX),
        .suffix = fixture->suffix,
    };
    const uint64_t first = fixture->op_head + 1 - fixture->evidence.suffix_count;
    for (uint32_t i = 0; i < fixture->evidence.suffix_count; i++) {
        fixture->suffix[i] = *journal_fixture_message(fixture, first + i);
    }
}

void
journal_fixture_checkpoint(struct journal_fixture *fixture, uint64_t op)
{
    fixture->checkpoint = *journal_fixture_message(fixture, op);
    journal_checkpoint_durable(&fixture->journal, &fixture->checkpoint);
}

uint32_t
journal_fixture_random_size_body(struct journal_fixture *fixture)
{
    const uint64_t units = (PREPARE_SIZE_MAX - PREPARE_HEADER_SIZE) / EVENT_SIZE;
    return (uint32_t) (prng_range(&fixture->prng, 1, units) * EVENT_SIZE);
}

void
journal_fixture_fill(struct journal_fixture *fixture, uint64_t laps, uint64_t op_count)
{
    while (fixture->journal.head.position < laps * fixture->ring_size) {
        const enum storage_result result =
            journal_fixture_append(fixture, journal_fixture_random_size_body(fixture));
        assert(result == STORAGE_OK);
        journal_fixture_checkpoint(fixture, fixture->op_head);
    }
    for (uint64_t i = 0; i < op_count; i++) {
        const enum storage_result result =
            journal_fixture_append(fixture, journal_fixture_random_size_body(fixture));
        assert(result == STORAGE_OK);
    }
}

uint64_t
journal_fixture_headers_left(struct journal_fixture *fixture, uint64_t op_head)
{
    const uint64_t count = headers_log_count(fixture->ring_size);
    const uint64_t sector_next = headers_log_entry(count, op_head + 1) / HEADERS_PER_SECTOR;
    uint64_t left = 0;
    for (uint64_t op = fixture->checkpoint.op + 1; op <= op_head; op++) {
        const uint64_t offset = journal_fixture_slot_offset(fixture, op);
        const uint8_t *entry = journal_fixture_headers(fixture) + offset;
        if (offset / SECTOR_SIZE != sector_next) continue;
        left += memcmp(entry, journal_fixture_message(fixture, op), PREPARE_HEADER_SIZE) != 0;
    }
    return left;
}

bool
journal_fixture_log_equals(struct journal_fixture *fixture, uint64_t op_head)
{
    bool equal = fixture->journal.head.op == op_head;
    uint8_t *message = aligned_alloc(SECTOR_SIZE, PREPARE_SIZE_MAX);
    assert(message != NULL);
    for (uint64_t op = fixture->checkpoint.op + 1; equal && op <= op_head; op++) {
        const struct prepare_header *expected = journal_fixture_message(fixture, op);
        equal = journal_read_prepare(&fixture->journal, op, message) == JOURNAL_READ_OK &&
                memcmp(message, expected, prepare_size_on_disk(expected)) == 0 &&
                memcmp(journal_header(&fixture->journal, op), expected, PREPARE_HEADER_SIZE) == 0;
    }
    free(message);
    return equal;
}

struct journal_image
journal_image_save(struct journal_fixture *fixture)
{
    struct journal_image image = {
        .prepares_size = fixture->sim.storage.file_size_bytes[STORAGE_PREPARES],
        .headers_size = fixture->sim.storage.file_size_bytes[STORAGE_HEADERS],
    };
    image.prepares = malloc(image.prepares_size + 1);
    image.headers = malloc(image.headers_size + 1);
    assert(image.prepares != NULL && image.headers != NULL);
    memcpy(image.prepares, journal_fixture_prepares(fixture), image.prepares_size);
    memcpy(image.headers, journal_fixture_headers(fixture), image.headers_size);
    return image;
}

void
journal_image_restore(struct journal_fixture *fixture, const struct journal_image *image)
{
    static _Alignas(SECTOR_SIZE) uint8_t zero[SECTOR_SIZE];
    struct storage *storage = &fixture->sim.storage;
    for (uint32_t i = 0; i < 2; i++) {
        const enum storage_file file = i == 0 ? STORAGE_PREPARES : STORAGE_HEADERS;
        for (uint64_t at = 0; at < storage->file_size_bytes[file]; at += SECTOR_SIZE) {
            if (!storage_sim_faulty(&fixture->sim, file, at, SECTOR_SIZE)) continue;
            (void) storage_transfer_now(storage, STORAGE_WRITE, file, at, zero, SECTOR_SIZE);
        }
    }
    memcpy(journal_fixture_prepares(fixture), image->prepares, image->prepares_size);
    memcpy(journal_fixture_headers(fixture), image->headers, image->headers_size);
}

bool
journal_image_equals(struct journal_fixture *fixture, const struct journal_image *image)
{
    return memcmp(journal_fixture_prepares(fixture), image->prepares, image->prepares_size) == 0 &&
           memcmp(journal_fixture_headers(fixture), image->headers, image->headers_size) == 0;
}

void
journal_image_free(struct journal_image *image)
{
    free(image->prepares);
    free(image->headers);
}
