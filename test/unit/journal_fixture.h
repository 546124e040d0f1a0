/* SPDX-License-Identifier: PostgreSQL */
/*
 * A journal on the simulated disk, and every prepare that was ever appended to it, to compare with.
 *
 * For test_journal.c and fuzz_journal.c. Includers define assert_failed (unit.h does).
 */
#ifndef LEDGER_TEST_UNIT_JOURNAL_FIXTURE_H
#define LEDGER_TEST_UNIT_JOURNAL_FIXTURE_H

#include "base/checksum.h"
#include "base/prng.h"
#include "store/journal.h"

#include "../sim/storage_sim.h"

#define FIXTURE_OPS_MAX 512
#define FIXTURE_CLUSTER u128_make(0x1d0e5fa2c3b49687, 0x6b1c2d3e4f5a6978)

struct journal_fixture {
    struct prng prng;
    struct storage_sim sim;
    struct journal journal;
    uint64_t ring_size;
    enum journal_sync sync;
    uint64_t memory_size;
    void *memory;
    uint8_t *messages; /* PREPARE_SIZE_MAX bytes an op; op 0 is the root. */
    struct prepare_header checkpoint;
    struct journal_evidence evidence; /* At first, none. */
    struct prepare_header suffix[SUPERBLOCK_SUFFIX_MAX]; /* That of journal_fixture_begin_view. */
    uint32_t view;                    /* Of the prepares that are made. */
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

struct prepare_header *journal_fixture_message(struct journal_fixture *fixture, uint64_t op);

uint8_t *journal_fixture_prepares(struct journal_fixture *fixture);

uint8_t *journal_fixture_headers(struct journal_fixture *fixture);

uint64_t journal_fixture_place(
    const struct journal_fixture *fixture,
    const struct prepare_header *header);

uint64_t journal_fixture_slot_offset(const struct journal_fixture *fixture, uint64_t op);

enum journal_recovery journal_fixture_recover(
    struct journal_fixture *fixture,
    struct journal_report *report);

/* JOURNAL_SYNC_BOTH. */
void journal_fixture_init(struct journal_fixture *fixture, uint64_t ring_size, uint64_t seed);

void journal_fixture_init_sync(
    struct journal_fixture *fixture,
    uint64_t ring_size,
    uint64_t seed,
    enum journal_sync sync);

void journal_fixture_free(struct journal_fixture *fixture);

/* Makes the prepare that follows op − 1, with a body of random bytes. */
struct prepare_header *journal_fixture_make_prepare(
    struct journal_fixture *fixture,
    uint64_t op,
    uint32_t size_body);

void journal_fixture_append_on_done(struct journal_append *append, enum storage_result result);

/* Begins to append the message of op_head + 1; `append_done` says when its callback has come. */
void journal_fixture_append_begin(struct journal_fixture *fixture);

/*
 * Appends the message of op_head + 1, and waits for its header too. Returns what its callback gave.
 */
enum storage_result journal_fixture_append_message(struct journal_fixture *fixture);

enum storage_result journal_fixture_append(struct journal_fixture *fixture, uint32_t size_body);

/* A view begins, as at a start: the superblock lists the newest ops, up to the head. */
void journal_fixture_begin_view(struct journal_fixture *fixture);

void journal_fixture_checkpoint(struct journal_fixture *fixture, uint64_t op);

uint32_t journal_fixture_random_size_body(struct journal_fixture *fixture);

/*
 * A log of op_count ops of mixed sizes after its checkpoint. `laps`: how often the ring wrapped
 * before the checkpoint.
 */
void journal_fixture_fill(struct journal_fixture *fixture, uint64_t laps, uint64_t op_count);

/*
 * How many headers of a recovered log are wrong on disk, for recovery has left their sector to the
 * next append: it has the entry behind the head.
 */
uint64_t journal_fixture_headers_left(struct journal_fixture *fixture, uint64_t op_head);

/* True if the recovered log holds exactly what was appended, up to op_head. */
bool journal_fixture_log_equals(struct journal_fixture *fixture, uint64_t op_head);

struct journal_image journal_image_save(struct journal_fixture *fixture);

/* Also heals sectors that a fault had made unreadable. */
void journal_image_restore(struct journal_fixture *fixture, const struct journal_image *image);

bool journal_image_equals(struct journal_fixture *fixture, const struct journal_image *image);

void journal_image_free(struct journal_image *image);

#endif
