/* SPDX-License-Identifier: PostgreSQL */
/*
 * Truncation, as a change of view does it, with crashes at each event; and what of the log is still
 * there to be read, also before the checkpoint.
 */
#include "unit.h"

#include <string.h>

#include "journal_fixture.h"
#include "store/journal_check.h"

#define RING_SIZE   PREPARES_SIZE_MIN
#define OPS_BEFORE  7
#define APPENDS     3
#define CUT_MAX     3
#define SUFFIX_MAX  4

static struct journal_fixture fixture;
static struct prepare_header suffix[SUFFIX_MAX];
static uint32_t crashes;
static bool peers; /* Recovery may ask others: it erases nothing. */

/* A view begins: the superblock says what counts, then the log is cut to this op. */
static void
begin_view(uint64_t op)
{
    const uint64_t first = op - fixture.checkpoint.op < SUFFIX_MAX ? fixture.checkpoint.op + 1
                                                                   : op - SUFFIX_MAX + 1;
    fixture.view += 1;
    fixture.evidence = (struct journal_evidence){
        .log_view = fixture.view,
        .op_acked_min = op,
        .suffix_count = (uint32_t) (op - first + 1),
        .suffix = suffix,
        .peers = peers,
    };
    for (uint64_t i = first; i <= op; i++) {
        suffix[i - first] = *journal_fixture_message(&fixture, i);
    }
    journal_truncate(&fixture.journal, op);
    expect_equal(fixture.journal.head.op, op);
    fixture.op_head = op;
}

/* Recovers as often as power fails in it, `event` events after its start the first time. */
static void
recover(uint64_t event, uint64_t acknowledged)
{
    struct journal_report report;
    storage_sim_crash_after(&fixture.sim, event);
    (void) journal_fixture_recover(&fixture, &report);
    const bool crashed = fixture.sim.crashed;
    if (crashed) storage_sim_restart(&fixture.sim);
    storage_sim_crash_after(&fixture.sim, 0);
    crashes += crashed;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect(!report.uncertain);
    expect(report.damage == NULL);
    expect_equal(report.op_max, report.op_head);
    expect_equal(report.entries_faulty, 0);
    expect(report.op_head == acknowledged || report.op_head == acknowledged + 1);
    expect(journal_fixture_log_equals(&fixture, report.op_head));
    fixture.op_head = report.op_head;
}

/* Appends until power fails, at this event, or all are done. */
static void
append_some(uint64_t event)
{
    storage_sim_crash_after(&fixture.sim, event);
    for (uint32_t i = 0; i < APPENDS && !fixture.sim.crashed; i++) {
        (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
    }
    crashes += fixture.sim.crashed;
    if (fixture.sim.crashed) storage_sim_restart(&fixture.sim);
    storage_sim_crash_after(&fixture.sim, 0);
}

/*
 * Two views in a row cut some ops each. Power fails in the appends after each cut, and in the
 * recovery after that.
 */
static void
check_cuts(uint64_t seed, enum journal_sync sync, uint64_t event, uint64_t second)
{
    journal_fixture_init_sync(&fixture, RING_SIZE, seed, sync);
    fixture.sim.options.latency_max_ticks = seed % 3;
    journal_fixture_fill(&fixture, seed % 4, OPS_BEFORE);
    for (uint32_t round = 0; round < 2; round++) {
        begin_view(fixture.op_head - (seed + round) % (CUT_MAX + 1));
        append_some(event);
        recover(second, fixture.op_head);
    }
    begin_view(fixture.op_head);
    expect_equal(journal_fixture_append(&fixture, EVENT_SIZE), STORAGE_OK);
    recover(0, fixture.op_head);
    journal_fixture_free(&fixture);
}

UNIT_TEST(crashes_after_a_cut_bring_back_nothing_and_lose_nothing)
{
    crashes = 0;
    peers = false;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t event = 1; event <= 4 * APPENDS + 1; event++) {
            for (uint64_t second = 1; second <= 13; second += 1 + seed % 3) {
                check_cuts(seed, JOURNAL_SYNC_BOTH, event, second);
                check_cuts(seed, JOURNAL_SYNC_FIRST, event, second);
            }
        }
    }
    expect(crashes > 1000);
}

UNIT_TEST(with_peers_too)
{
    crashes = 0;
    peers = true;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t event = 1; event <= 4 * APPENDS + 1; event++) {
            const uint64_t second = 1 + (seed + event) % 13;
            check_cuts(seed, JOURNAL_SYNC_BOTH, event, second);
            check_cuts(seed, JOURNAL_SYNC_FIRST, event, second);
        }
    }
    peers = false;
    expect(crashes > 300);
}

/* A power cut right after the cut: nothing was written, and nothing that was cut is seen. */
UNIT_TEST(what_was_cut_stays_on_disk_unseen)
{
    for (uint64_t laps = 0; laps <= 2; laps++) {
        for (uint64_t cut = 0; cut <= CUT_MAX; cut++) {
            struct journal_report report;
            journal_fixture_init(&fixture, RING_SIZE, 4);
            journal_fixture_fill(&fixture, laps, OPS_BEFORE);
            struct journal_image image = journal_image_save(&fixture);
            const uint64_t op = fixture.op_head - cut;
            begin_view(op);
            expect(journal_find(&fixture.journal, op + 1) == NULL);
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect_equal(report.op_head, op);
            expect(journal_fixture_log_equals(&fixture, op));
            expect(journal_image_equals(&fixture, &image));
            journal_image_free(&image);
            journal_fixture_free(&fixture);
        }
    }
}

/*
 * After so many steps of a check the log is cut, and goes on with other entries. It isn't damaged.
 * Returns false if the check had ended before.
 */
static bool
check_over_cut(uint32_t steps)
{
    struct journal_check check;
    journal_fixture_init(&fixture, RING_SIZE, 5);
    journal_fixture_fill(&fixture, 1, OPS_BEFORE);
    journal_check_init(&check, &fixture.journal);
    journal_check_start(&check);
    bool ended = false;
    bool cut = false;
    for (uint32_t i = 0; !ended; i++) {
        if (i == steps) {
            begin_view(fixture.op_head - CUT_MAX);
            while (check.reading && !check.read_done) (void) storage_wait(&fixture.sim.storage);
            for (uint32_t op = 0; op <= CUT_MAX; op++) {
                expect_equal(journal_fixture_append(&fixture, EVENT_SIZE), STORAGE_OK);
            }
            cut = true;
        }
        const enum journal_check_step step = journal_check_step(&check);
        expect(step != JOURNAL_CHECK_DAMAGED && step != JOURNAL_CHECK_HEADER_DAMAGED);
        if (step == JOURNAL_CHECK_WAIT) (void) storage_wait(&fixture.sim.storage);
        ended = step == JOURNAL_CHECK_END;
    }
    journal_fixture_free(&fixture);
    return cut;
}

UNIT_TEST(check_during_which_the_log_is_cut_finds_no_damage)
{
    uint32_t steps = 0;
    while (check_over_cut(steps)) steps += 1;
    expect(steps > 3 * OPS_BEFORE);
}

/* ---- What is still there --------------------------------------------------------------------- */

static bool
on_disk(uint64_t op)
{
    const struct prepare_header *message = journal_fixture_message(&fixture, op);
    const uint64_t place = journal_fixture_place(&fixture, message);
    const uint8_t *bytes = journal_fixture_prepares(&fixture) + place;
    return memcmp(bytes, message, prepare_size_on_disk(message)) == 0;
}

UNIT_TEST(what_is_found_is_there_and_reaches_back_before_the_checkpoint)
{
    uint32_t before_checkpoint = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        journal_fixture_init(&fixture, RING_SIZE, seed);
        expect_equal(journal_op_oldest(&fixture.journal), 1);
        while (fixture.op_head < 150) {
            (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
            if (fixture.op_head % 7 == 0) journal_fixture_checkpoint(&fixture, fixture.op_head - 2);
            const uint64_t oldest = journal_op_oldest(&fixture.journal);
            expect(oldest >= 1 && oldest <= fixture.op_head);
            expect(journal_find(&fixture.journal, oldest - 1) == NULL);
            expect(journal_find(&fixture.journal, fixture.op_head + 1) == NULL);
            if (oldest > 1) expect(!on_disk(oldest - 1));
            for (uint64_t op = oldest; op <= fixture.op_head; op++) {
                const struct prepare_header *header = journal_find(&fixture.journal, op);
                expect(header != NULL && on_disk(op));
                expect(header->checksum == journal_fixture_message(&fixture, op)->checksum);
                before_checkpoint += op < fixture.checkpoint.op;
            }
            if (fixture.op_head % 10 != 0) continue;
            struct journal_report report;
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect_equal(journal_op_oldest(&fixture.journal), oldest);
        }
        journal_fixture_free(&fixture);
    }
    expect(before_checkpoint > 1000);
}

/* ---- Reading beside appends ------------------------------------------------------------------ */

static uint32_t readings_done;

static void
reading_on_done(struct journal_reading *reading)
{
    expect(reading->callback == reading_on_done);
    readings_done += 1;
}

UNIT_TEST(prepares_are_read_several_at_a_time_and_verified)
{
    static _Alignas(SECTOR_SIZE) uint8_t messages[4][PREPARE_SIZE_MAX];
    struct journal_reading readings[4];
    journal_fixture_init(&fixture, RING_SIZE, 1);
    journal_fixture_fill(&fixture, 0, OPS_BEFORE);
    journal_fixture_checkpoint(&fixture, 4);
    const struct prepare_header *rotten = journal_fixture_message(&fixture, 3);
    journal_fixture_prepares(&fixture)[journal_fixture_place(&fixture, rotten) + 300] ^= 1;
    const struct prepare_header *unreadable = journal_fixture_message(&fixture, 4);
    storage_sim_latent_error(
        &fixture.sim, STORAGE_PREPARES, journal_fixture_place(&fixture, unreadable), 1);
    readings_done = 0;
    for (uint64_t i = 0; i < 4; i++) {
        journal_read_begin(
            &fixture.journal, &readings[i], i + 2, messages[i], reading_on_done);
    }
    expect_equal(readings_done, 0);
    while (readings_done < 4) (void) storage_wait(&fixture.sim.storage);
    expect(fixture.journal.readings == NULL);
    static const enum journal_read results[] = {
        JOURNAL_READ_OK, JOURNAL_READ_DAMAGED, JOURNAL_READ_IO_ERROR, JOURNAL_READ_OK};
    for (uint64_t i = 0; i < 4; i++) {
        const struct prepare_header *message = journal_fixture_message(&fixture, i + 2);
        expect_equal(readings[i].result, results[i]);
        if (results[i] != JOURNAL_READ_OK) continue;
        expect(memcmp(messages[i], message, prepare_size_on_disk(message)) == 0);
    }
    journal_fixture_free(&fixture);
}

/* (J5) Neither a lap later, nor after it was cut. */
UNIT_TEST(j5_what_is_being_read_is_not_overwritten)
{
    static _Alignas(SECTOR_SIZE) uint8_t message[PREPARE_SIZE_MAX];
    for (uint32_t cut = 0; cut < 2; cut++) {
        struct journal_reading reading;
        journal_fixture_init(&fixture, RING_SIZE, 1);
        while (journal_used_bytes(&fixture.journal) < RING_SIZE) {
            (void) journal_fixture_append(&fixture, EVENT_SIZE);
        }
        journal_fixture_checkpoint(&fixture, fixture.op_head - 4);
        expect(journal_has_room(&fixture.journal, SECTOR_SIZE));
        const uint64_t op = cut ? fixture.op_head : journal_op_oldest(&fixture.journal);
        readings_done = 0;
        journal_read_begin(&fixture.journal, &reading, op, message, reading_on_done);
        expect_equal(journal_has_room(&fixture.journal, SECTOR_SIZE), cut);
        if (cut) begin_view(op - 1);
        expect(!journal_has_room(&fixture.journal, SECTOR_SIZE));
        while (readings_done == 0) (void) storage_wait(&fixture.sim.storage);
        expect_equal(reading.result, JOURNAL_READ_OK);
        expect(journal_has_room(&fixture.journal, SECTOR_SIZE));
        expect_equal(journal_fixture_append(&fixture, EVENT_SIZE), STORAGE_OK);
        if (!cut) expect(journal_find(&fixture.journal, op) == NULL);
        journal_fixture_free(&fixture);
    }
}

UNIT_MAIN(test_journal_truncate)
