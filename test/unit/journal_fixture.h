/* SPDX-License-Identifier: PostgreSQL */
/*
 * A journal on the simulated disk, and every prepare that was ever appended to it, to compare with.
 *
 * For test_journal.c and fuzz_journal.c. Includers define assert_failed (unit.h does).
 */
#ifndef LEDGER_TEST_UNIT_JOURNAL_FIXTURE_H
#define LEDGER_TEST_UNIT_JOURNAL_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/prng.h"
#include "base/units.h"
#include "store/journal.h"

#include "../sim/storage_sim.h"

#define FIXTURE_OPS_MAX 256
#define FIXTURE_CLUSTER u128_make(0x1d0e5fa2c3b49687, 0x6b1c2d3e4f5a6978)

struct journal_fixture {
    struct prng prng;
    struct storage_sim sim;
    struct journal journal;
    uint64_t ring_size;
    uint64_t memory_size;
    void *memory;
    uint8_t *messages; /* PREPARE_SIZE_MAX bytes an op; op 0 is the root. */
    struct prepare_header checkpoint;
    uint64_t op_head; /* Newest op whose append completed. */

    struct journal_append append;
    enum storage_result append_result;
    bool append_done;
};

/* Both logs as they were at some time. */
struct journal_image {
    uint64_t prepares_size;
    uint64_t headers_size;
    uint8_t *prepares;
    uint8_t *headers;
};

static inline struct prepare_header *
fixture_message(struct journal_fixture *fixture, uint64_t op)
{
    assert(op < FIXTURE_OPS_MAX);
    return prepare_header_of(fixture->messages + op * PREPARE_SIZE_MAX);
}

static inline uint8_t *
fixture_prepares(struct journal_fixture *fixture)
{
    return storage_sim_bytes(&fixture->sim, STORAGE_PREPARES);
}

static inline uint8_t *
fixture_headers(struct journal_fixture *fixture)
{
    return storage_sim_bytes(&fixture->sim, STORAGE_HEADERS);
}

static inline uint64_t
fixture_place(const struct journal_fixture *fixture, const struct prepare_header *header)
{
    return header->position % fixture->ring_size;
}

static inline uint64_t
fixture_slot_offset(const struct journal_fixture *fixture, uint64_t op)
{
    return op % headers_log_count(fixture->ring_size) * PREPARE_HEADER_SIZE;
}

static inline enum journal_recovery
fixture_recover(struct journal_fixture *fixture, struct journal_report *report)
{
    /* Nothing may depend on what memory held before. */
    memset(fixture->memory, 0xa5, fixture->memory_size);
    const struct journal_options options = {.prepares_size_bytes = fixture->ring_size};
    struct arena arena;
    arena_init(&arena, fixture->memory, fixture->memory_size);
    journal_init(&fixture->journal, &arena, &fixture->sim.storage, &options);
    return journal_recover(&fixture->journal, FIXTURE_CLUSTER, &fixture->checkpoint, 0, report);
}

static inline void
fixture_init(struct journal_fixture *fixture, uint64_t ring_size, uint64_t seed)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->ring_size = ring_size;
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
    fixture->messages = aligned_alloc(SECTOR_SIZE, (uint64_t) FIXTURE_OPS_MAX * PREPARE_SIZE_MAX);
    assert(fixture->memory != NULL && fixture->messages != NULL);
    memset(fixture->messages, 0, PREPARE_SIZE_MAX);

    prepare_root(fixture_message(fixture, 0), FIXTURE_CLUSTER);
    fixture->checkpoint = *fixture_message(fixture, 0);
    struct journal_report report;
    const enum journal_recovery recovery = fixture_recover(fixture, &report);
    assert(recovery == JOURNAL_RECOVERED);
}

static inline void
fixture_free(struct journal_fixture *fixture)
{
    storage_sim_free(&fixture->sim);
    free(fixture->memory);
    free(fixture->messages);
}

/* Makes the prepare that follows op − 1, with a body of random bytes. */
static inline struct prepare_header *
fixture_make_prepare(struct journal_fixture *fixture, uint64_t op, uint32_t size_body)
{
    const struct prepare_header *parent = fixture_message(fixture, op - 1);
    struct prepare_header *prepare = fixture_message(fixture, op);
    memset(prepare, 0, PREPARE_SIZE_MAX);
    uint8_t *body = (uint8_t *) prepare + PREPARE_HEADER_SIZE;
    for (uint32_t i = 0; i < size_body; i++) {
        body[i] = (uint8_t) prng_next(&fixture->prng);
    }
    prepare->cluster = FIXTURE_CLUSTER;
    prepare->parent = parent->checksum;
    prepare->op = op;
    prepare->commit = op - 1;
    prepare->timestamp = parent->timestamp + 1 + prng_below(&fixture->prng, 1000);
    prepare->size = PREPARE_HEADER_SIZE + size_body;
    prepare->version = DISK_FORMAT_VERSION;
    prepare->operation = PREPARE_BATCHES;
    prepare->position =
        prepare_next_position(parent, prepare_size_on_disk(prepare), fixture->ring_size);
    prepare_seal(prepare);
    return prepare;
}

static inline void
fixture_append_on_done(struct journal_append *append, enum storage_result result)
{
    struct journal_fixture *fixture = container_of(append, struct journal_fixture, append);
    assert(!fixture->append_done);
    fixture->append_done = true;
    fixture->append_result = result;
}

/* Appends the message of op_head + 1. Returns what its callback gave. */
static inline enum storage_result
fixture_append_message(struct journal_fixture *fixture)
{
    fixture->append_done = false;
    fixture->append = (struct journal_append){
        .prepare = fixture_message(fixture, fixture->op_head + 1),
        .callback = fixture_append_on_done,
    };
    journal_append(&fixture->journal, &fixture->append);
    assert(journal_busy(&fixture->journal));
    while (!fixture->append_done) {
        (void) storage_wait(&fixture->sim.storage);
    }
    assert(!journal_busy(&fixture->journal));
    if (fixture->append_result == STORAGE_OK) fixture->op_head += 1;
    return fixture->append_result;
}

static inline enum storage_result
fixture_append(struct journal_fixture *fixture, uint32_t size_body)
{
    (void) fixture_make_prepare(fixture, fixture->op_head + 1, size_body);
    return fixture_append_message(fixture);
}

static inline void
fixture_checkpoint(struct journal_fixture *fixture, uint64_t op)
{
    fixture->checkpoint = *fixture_message(fixture, op);
    journal_checkpoint_durable(&fixture->journal, &fixture->checkpoint);
}

static inline uint32_t
fixture_random_size_body(struct journal_fixture *fixture)
{
    const uint64_t units = (PREPARE_SIZE_MAX - PREPARE_HEADER_SIZE) / EVENT_SIZE;
    return (uint32_t) (prng_range(&fixture->prng, 1, units) * EVENT_SIZE);
}

/*
 * A log of op_count ops of mixed sizes after its checkpoint. `laps`: how often the ring wrapped
 * before the checkpoint.
 */
static inline void
fixture_fill(struct journal_fixture *fixture, uint64_t laps, uint64_t op_count)
{
    while (fixture->journal.head.position < laps * fixture->ring_size) {
        const enum storage_result result =
            fixture_append(fixture, fixture_random_size_body(fixture));
        assert(result == STORAGE_OK);
        fixture_checkpoint(fixture, fixture->op_head);
    }
    for (uint64_t i = 0; i < op_count; i++) {
        const enum storage_result result =
            fixture_append(fixture, fixture_random_size_body(fixture));
        assert(result == STORAGE_OK);
    }
}

/* True if the recovered log holds exactly what was appended, up to op_head. */
static inline bool
fixture_log_equals(struct journal_fixture *fixture, uint64_t op_head)
{
    bool equal = fixture->journal.head.op == op_head;
    uint8_t *message = aligned_alloc(SECTOR_SIZE, PREPARE_SIZE_MAX);
    assert(message != NULL);
    for (uint64_t op = fixture->checkpoint.op + 1; equal && op <= op_head; op++) {
        const struct prepare_header *expected = fixture_message(fixture, op);
        equal = journal_read_prepare(&fixture->journal, op, message) == JOURNAL_READ_OK &&
                memcmp(message, expected, prepare_size_on_disk(expected)) == 0 &&
                memcmp(journal_header(&fixture->journal, op), expected, PREPARE_HEADER_SIZE) == 0;
    }
    free(message);
    return equal;
}

static inline struct journal_image
journal_image_save(struct journal_fixture *fixture)
{
    struct journal_image image = {
        .prepares_size = fixture->sim.storage.file_size_bytes[STORAGE_PREPARES],
        .headers_size = fixture->sim.storage.file_size_bytes[STORAGE_HEADERS],
    };
    image.prepares = malloc(image.prepares_size + 1);
    image.headers = malloc(image.headers_size + 1);
    assert(image.prepares != NULL && image.headers != NULL);
    memcpy(image.prepares, fixture_prepares(fixture), image.prepares_size);
    memcpy(image.headers, fixture_headers(fixture), image.headers_size);
    return image;
}

/* Also heals sectors that a fault had made unreadable. */
static inline void
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
    memcpy(fixture_prepares(fixture), image->prepares, image->prepares_size);
    memcpy(fixture_headers(fixture), image->headers, image->headers_size);
}

static inline bool
journal_image_equals(struct journal_fixture *fixture, const struct journal_image *image)
{
    return memcmp(fixture_prepares(fixture), image->prepares, image->prepares_size) == 0 &&
           memcmp(fixture_headers(fixture), image->headers, image->headers_size) == 0;
}

static inline void
journal_image_free(struct journal_image *image)
{
    free(image->prepares);
    free(image->headers);
}

#endif
