/* SPDX-License-Identifier: PostgreSQL */
/*
 * What each of both orders of the logs loses (doc/wal_order.md). A few appends run as the replica
 * makes them, each as soon as the journal takes it. Power fails at each event. One fault comes
 * besides: a write of either log is lost or misdirected, or a sector rots meanwhile. Whatever
 * recovery then does without a word must be what the page says: with both writes waited for,
 * nothing that was acknowledged is missing; with the first only, at most the newest op, and exactly
 * in its window. In half of the runs the superblock lists what was there before the appends.
 */
#include "unit.h"

#include <string.h>

#include "journal_fixture.h"

#define RING_SIZE    PREPARES_SIZE_MIN
#define HEADERS_SIZE (RING_SIZE / HEADERS_PER_SECTOR)
#define OPS_BEFORE   5
#define APPENDS      4

/* Places where a misdirected write lands, for each prepare: with FIRST, hardly any loses it. */
#define LANDINGS_BOTH  2
#define LANDINGS_FIRST 6

static struct journal_fixture fixture;

enum fault { FAULT_NONE, FAULT_LOST, FAULT_MISDIRECTED, FAULT_COUNT };

/* The fault that the disk is to have: which write since the start, and how. */
static struct plan {
    enum fault fault;
    enum storage_file file;
    uint32_t write; /* From 0. */
    uint32_t writes_done;
    bool happened;
    uint64_t op; /* A prepare's write: its op. */
} plan;

/* What was acknowledged when the power failed, and what was durable. */
struct outcome {
    bool crashed;
    uint64_t acknowledged;
    uint64_t named; /* Newest op whose header's write was done. */
    uint32_t events;
};

static struct counts {
    uint32_t runs;
    uint32_t lost_silently;
    uint32_t lost_by[FAULT_COUNT + 1]; /* The last: by rot. */
    uint32_t told;
    uint32_t strays_told;
    uint32_t tails_corrupt; /* Decisions of a tail whose entry is neither a header nor blank. */
} counts;

static bool
plan_allows(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    (void) context;
    (void) size_bytes;
    const enum storage_sim_fault asked = fixture.sim.fault_asked;
    const bool kind = (plan.fault == FAULT_LOST && asked == STORAGE_SIM_LOST_WRITE) ||
                      (plan.fault == FAULT_MISDIRECTED && asked == STORAGE_SIM_MISDIRECTED_WRITE);
    (void) offset_bytes;
    return kind && file == plan.file && plan.writes_done == plan.write && !plan.happened;
}

static void
plan_wrote(void *context, const struct storage_request *write, bool done)
{
    (void) context;
    if (!done || write->file != plan.file) return;
    const uint64_t faults =
        fixture.sim.counters.lost_writes + fixture.sim.counters.misdirected_writes;
    if (faults > 0 && !plan.happened) {
        plan.happened = true;
        if (write->file == STORAGE_PREPARES) {
            plan.op = ((const struct prepare_header *) write->buffer)->op;
        }
    }
    plan.writes_done += 1;
}

static void
plan_arm(enum fault fault, enum storage_file file, uint32_t write)
{
    plan = (struct plan){.fault = fault, .file = file, .write = write};
    struct storage_sim_options *options = &fixture.sim.options;
    options->fault_allowed = plan_allows;
    options->wrote = plan_wrote;
    options->lost_write_per_million = fault == FAULT_LOST ? 1000000 : 0;
    options->misdirected_write_per_million = fault == FAULT_MISDIRECTED ? 1000000 : 0;
}

static void
plan_disarm(void)
{
    struct storage_sim_options *options = &fixture.sim.options;
    options->fault_allowed = NULL;
    options->wrote = NULL;
    options->lost_write_per_million = 0;
    options->misdirected_write_per_million = 0;
}

/* The appends, each as soon as it may be, until they are done or the power fails. */
static struct outcome
run_appends(uint64_t crash_event)
{
    struct journal *journal = &fixture.journal;
    const uint64_t last = fixture.op_head + APPENDS;
    for (uint64_t op = fixture.op_head + 1; op <= last; op++) {
        (void) journal_fixture_make_prepare(
            &fixture, op, journal_fixture_random_size_body(&fixture));
    }
    storage_sim_crash_after(&fixture.sim, crash_event);
    fixture.append_done = true;
    bool running = false;
    while (!fixture.sim.crashed) {
        if (running && fixture.append_done) {
            running = false;
            if (fixture.append_result != STORAGE_OK) break;
            fixture.op_head += 1;
        }
        if (!running && !journal->failed && !journal_busy(journal) && fixture.op_head < last) {
            journal_fixture_append_begin(&fixture);
            running = true;
            continue;
        }
        if (!running && fixture.op_head == last && !journal_naming(journal)) break;
        if (!running && journal->failed) break;
        (void) storage_wait(&fixture.sim.storage);
    }
    const struct outcome outcome = {
        .crashed = fixture.sim.crashed,
        .acknowledged = fixture.op_head,
        .named = journal->named,
    };
    if (outcome.crashed) storage_sim_restart(&fixture.sim);
    storage_sim_crash_after(&fixture.sim, 0);
    return outcome;
}

static bool
prepare_on_disk(uint64_t op)
{
    if (op > fixture.checkpoint.op + OPS_BEFORE + APPENDS) return false;
    const struct prepare_header *message = journal_fixture_message(&fixture, op);
    const uint64_t place = journal_fixture_place(&fixture, message);
    const uint64_t size = prepare_size_on_disk(message);
    return memcmp(journal_fixture_prepares(&fixture) + place, message, size) == 0;
}

/* A whole copy of this prepare anywhere else. */
static bool
stray_on_disk(uint64_t op)
{
    const struct prepare_header *message = journal_fixture_message(&fixture, op);
    const uint64_t size = prepare_size_on_disk(message);
    for (uint64_t at = 0; at + size <= RING_SIZE; at += SECTOR_SIZE) {
        if (at == journal_fixture_place(&fixture, message)) continue;
        if (memcmp(journal_fixture_prepares(&fixture) + at, message, size) == 0) return true;
    }
    return false;
}

static bool
header_on_disk(uint64_t op)
{
    const struct prepare_header *message = journal_fixture_message(&fixture, op);
    for (uint64_t at = 0; at < HEADERS_SIZE; at += PREPARE_HEADER_SIZE) {
        const uint8_t *entry = journal_fixture_headers(&fixture) + at;
        if (memcmp(entry, message, PREPARE_HEADER_SIZE) == 0) return true;
    }
    return false;
}

/* What was recovered is what was appended, and recovering it again changes nothing. */
static void
expect_settled(uint64_t head)
{
    struct journal_report report;
    const uint64_t left = journal_fixture_headers_left(&fixture, head);
    expect(journal_fixture_log_equals(&fixture, head));
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_equal(report.op_head, head);
    expect_equal(report.headers_fixed, left);
    expect(!report.tail_cut);
    expect(journal_fixture_log_equals(&fixture, head));
}

static void
count_tails(const struct journal_report *report)
{
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        const struct journal_rule *rule = &journal_rules[i];
        if (rule->header != JOURNAL_HEADER_CORRUPT || rule->place != JOURNAL_PLACE_TAIL) continue;
        counts.tails_corrupt += (uint32_t) report->rule_uses[i];
    }
}

/*
 * Recovers, and judges. `victim`: the op that the fault has hit, 0 for none; `fault`: an index of
 * lost_by.
 */
static void
judge(const struct outcome *outcome, uint64_t victim, uint32_t fault)
{
    struct journal_report report;
    const uint64_t newest = outcome->acknowledged;
    const bool hit = victim == newest && newest > fixture.checkpoint.op && !prepare_on_disk(newest);
    const bool in_window = fixture.sync == JOURNAL_SYNC_FIRST && hit &&
                           newest > fixture.evidence.op_acked_min && outcome->named < newest &&
                           !header_on_disk(newest) && !prepare_on_disk(newest + 1);
    const bool stray = hit && stray_on_disk(newest);
    const enum journal_recovery result = journal_fixture_recover(&fixture, &report);
    counts.runs += 1;
    count_tails(&report);
    if (result == JOURNAL_RECOVERY_DAMAGED && report.uncertain) {
        /* The entry behind the newest op has rotted, or was overwritten by others. */
        expect(fault != FAULT_NONE);
        expect(report.op_head + 1 >= newest);
        counts.told += 1;
        return;
    }
    if (result == JOURNAL_RECOVERY_DAMAGED) {
        /* Only for a reason; and if what is told is the newest op's loss, then by evidence. */
        expect(fault != FAULT_NONE);
        expect(!in_window || stray);
        counts.told += 1;
        counts.strays_told += stray && !header_on_disk(newest);
        return;
    }
    expect_equal(result, JOURNAL_RECOVERED);
    if (report.op_head >= newest) {
        expect(report.op_head <= newest + 1);
        expect_settled(report.op_head);
        return;
    }
    /* Silently lost. */
    expect(in_window);
    expect_equal(report.op_head, newest - 1);
    expect_settled(newest - 1);
    counts.lost_silently += 1;
    counts.lost_by[fault] += 1;
}

static void
start(uint64_t seed, enum journal_sync sync)
{
    journal_fixture_init_sync(&fixture, RING_SIZE, seed, sync);
    fixture.sim.options.latency_max_ticks = seed % 3;
    journal_fixture_fill(&fixture, seed % 4, OPS_BEFORE);
    if (seed % 2 == 0) journal_fixture_begin_view(&fixture);
}

/* Events of the appends until all is durable. */
static uint64_t
events_of(uint64_t seed, enum journal_sync sync)
{
    for (uint64_t event = 1;; event++) {
        start(seed, sync);
        const struct outcome outcome = run_appends(event);
        journal_fixture_free(&fixture);
        if (!outcome.crashed) return event - 1;
    }
}

static void
check_write_fault(
    uint64_t seed, enum journal_sync sync, uint64_t event, enum fault fault, uint32_t write)
{
    const enum storage_file file =
        write < APPENDS ? STORAGE_PREPARES : STORAGE_HEADERS;
    start(seed, sync);
    plan_arm(fault, file, write % APPENDS);
    const struct outcome outcome = run_appends(event);
    plan_disarm();
    expect(outcome.crashed || event > 4 * APPENDS);
    if (plan.happened) judge(&outcome, file == STORAGE_PREPARES ? plan.op : 0, fault);
    journal_fixture_free(&fixture);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void
check_crashes(enum journal_sync sync)
{
    for (uint64_t seed = 1; seed <= 24; seed++) {
        const uint64_t events = events_of(seed, sync);
        expect_equal(events, 4 * APPENDS);
        for (uint64_t event = 1; event <= events; event++) {
            start(seed, sync);
            const struct outcome outcome = run_appends(event);
            expect(outcome.crashed);
            judge(&outcome, 0, FAULT_NONE);
            journal_fixture_free(&fixture);
        }
    }
}

UNIT_TEST(crashes_alone_lose_nothing_and_stop_nothing)
{
    counts = (struct counts){0};
    check_crashes(JOURNAL_SYNC_BOTH);
    check_crashes(JOURNAL_SYNC_FIRST);
    expect_equal(counts.told, 0);
    expect_equal(counts.lost_silently, 0);
    expect_equal(counts.tails_corrupt, 0);
    expect(counts.runs > 700);
}

static void
check_write_faults(enum journal_sync sync)
{
    counts = (struct counts){0};
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (uint64_t event = 1; event <= 4 * APPENDS; event++) {
            for (uint32_t write = 0; write < 2 * APPENDS; write++) {
                const uint64_t many = sync == JOURNAL_SYNC_BOTH ? LANDINGS_BOTH : LANDINGS_FIRST;
                const uint64_t landings = write < APPENDS ? many : 1;
                check_write_fault(seed, sync, event, FAULT_LOST, write);
                for (uint64_t landing = 0; landing < landings; landing++) {
                    check_write_fault(
                        seed + 100 * landing, sync, event, FAULT_MISDIRECTED, write);
                }
            }
        }
    }
    expect(counts.told > 300);
}

UNIT_TEST(with_both_no_lost_or_misdirected_write_loses_silently)
{
    check_write_faults(JOURNAL_SYNC_BOTH);
    expect_equal(counts.lost_silently, 0);
}

UNIT_TEST(with_first_a_lost_or_misdirected_write_loses_in_its_window_only)
{
    check_write_faults(JOURNAL_SYNC_FIRST);
    expect(counts.lost_by[FAULT_LOST] > 10);
    expect(counts.lost_by[FAULT_MISDIRECTED] > 0);
    expect(counts.strays_told > 5);
    expect_equal(
        counts.lost_silently, counts.lost_by[FAULT_LOST] + counts.lost_by[FAULT_MISDIRECTED]);
}

/* The op up to `op_end` whose prepare lies over this sector, or 0. */
static uint64_t
op_at(uint64_t offset, uint64_t op_end)
{
    for (uint64_t op = fixture.checkpoint.op + 1; op <= op_end; op++) {
        const struct prepare_header *header = journal_fixture_message(&fixture, op);
        const uint64_t place = journal_fixture_place(&fixture, header);
        if (offset >= place && offset < place + prepare_size_on_disk(header)) return op;
    }
    return 0;
}

/* Each sector that prepares lie over rots, in turn; and each of the headers. */
static void
check_rot(uint64_t seed, enum journal_sync sync, uint64_t event)
{
    start(seed, sync);
    const struct outcome outcome = run_appends(event);
    struct journal_image image = journal_image_save(&fixture);
    for (uint64_t at = 0; at < RING_SIZE + HEADERS_SIZE; at += SECTOR_SIZE) {
        const bool prepares = at < RING_SIZE;
        const uint64_t offset = prepares ? at : at - RING_SIZE;
        const enum storage_file file = prepares ? STORAGE_PREPARES : STORAGE_HEADERS;
        /* Of the ring's free sectors, some. */
        const bool live = !prepares || op_at(offset, outcome.acknowledged) != 0;
        if (!live && at / SECTOR_SIZE % 8 != event % 8) continue;
        journal_image_restore(&fixture, &image);
        if (at % 2 == 0) {
            storage_sim_rot(&fixture.sim, file, offset, SECTOR_SIZE);
        } else {
            storage_sim_latent_error(&fixture.sim, file, offset, SECTOR_SIZE);
        }
        judge(&outcome, prepares ? op_at(offset, outcome.acknowledged) : 0, FAULT_COUNT);
    }
    journal_image_free(&image);
    journal_fixture_free(&fixture);
}

static void
check_rots(enum journal_sync sync)
{
    counts = (struct counts){0};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        for (uint64_t event = 1; event <= 4 * APPENDS; event++) check_rot(seed, sync, event);
    }
    expect(counts.told > 500);
}

UNIT_TEST(with_both_no_rotten_sector_loses_silently)
{
    check_rots(JOURNAL_SYNC_BOTH);
    expect_equal(counts.lost_silently, 0);
}

UNIT_TEST(with_first_a_rotten_sector_loses_in_its_window_only)
{
    check_rots(JOURNAL_SYNC_FIRST);
    expect(counts.lost_by[FAULT_COUNT] > 10);
    expect_equal(counts.lost_silently, counts.lost_by[FAULT_COUNT]);
}

/*
 * A prepare's write is misdirected over the newest ones before it; then its header's write is torn,
 * with their entries. Wherever it lies: it proves them.
 */
UNIT_TEST(a_prepare_astray_proves_what_it_has_overwritten)
{
    uint32_t covered = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        start(seed, JOURNAL_SYNC_BOTH);
        struct journal_image before = journal_image_save(&fixture);
        const uint64_t newest = fixture.op_head;
        (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
        const struct prepare_header *stray = journal_fixture_message(&fixture, newest + 1);
        const uint64_t size = prepare_size_on_disk(stray);
        for (uint64_t at = 0; at + size <= RING_SIZE; at += SECTOR_SIZE) {
            uint64_t hit = 0;
            for (uint64_t end = at + size; end > at; end -= SECTOR_SIZE) {
                const uint64_t op = op_at(end - SECTOR_SIZE, newest);
                if (op != 0 && (hit == 0 || op < hit)) hit = op;
            }
            if (hit == 0) continue;
            struct journal_report report;
            journal_image_restore(&fixture, &before);
            memcpy(journal_fixture_prepares(&fixture) + at, stray, size);
            memset(journal_fixture_headers(&fixture), 0xee, HEADERS_SIZE);
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
            expect_equal(report.damage_op, hit);
            covered += hit + 1 >= newest;
        }
        journal_image_free(&before);
        journal_fixture_free(&fixture);
    }
    expect(covered > 40);
}

/*
 * A crash, another one at each event of the recovery, and then in a third life a rotten sector of
 * the newest prepare, if `rots`. Its window is as long as its header is not durable.
 */
static void
check_second_crash(uint64_t seed, enum journal_sync sync, bool rots)
{
    for (uint64_t event = 1; event <= 4 * APPENDS; event++) {
        for (uint64_t second = 1;; second += 1 + seed % 3) {
            struct journal_report report;
            start(seed, sync);
            struct outcome outcome = run_appends(event);
            storage_sim_crash_after(&fixture.sim, second);
            (void) journal_fixture_recover(&fixture, &report);
            const bool crashed = fixture.sim.crashed;
            if (crashed) storage_sim_restart(&fixture.sim);
            storage_sim_crash_after(&fixture.sim, 0);
            if (rots) {
                const struct prepare_header *newest =
                    journal_fixture_message(&fixture, outcome.acknowledged);
                storage_sim_rot(
                    &fixture.sim,
                    STORAGE_PREPARES,
                    journal_fixture_place(&fixture, newest),
                    SECTOR_SIZE);
            }
            judge(
                &outcome,
                rots ? outcome.acknowledged : 0,
                rots ? (uint32_t) FAULT_COUNT : (uint32_t) FAULT_NONE);
            journal_fixture_free(&fixture);
            if (!crashed) break;
        }
    }
}

UNIT_TEST(a_second_crash_in_recovery_loses_no_more)
{
    for (uint32_t first = 0; first < 2; first++) {
        const enum journal_sync sync = first ? JOURNAL_SYNC_FIRST : JOURNAL_SYNC_BOTH;
        counts = (struct counts){0};
        for (uint64_t seed = 1; seed <= 3; seed++) check_second_crash(seed, sync, false);
        expect_equal(counts.told, 0);
        expect_equal(counts.lost_silently, 0);
        expect_equal(counts.tails_corrupt, 0);
        for (uint64_t seed = 1; seed <= 3; seed++) check_second_crash(seed, sync, true);
        expect_equal(counts.lost_silently > 0, first == 1);
    }
}

/* (J1) (J2): what is on disk at each crash, with headers behind. */
UNIT_TEST(j1_j2_with_first_at_most_two_durable_prepares_are_not_named)
{
    uint32_t behind[4] = {0};
    for (uint64_t seed = 1; seed <= 24; seed++) {
        for (uint64_t event = 1; event <= 4 * APPENDS; event++) {
            start(seed, JOURNAL_SYNC_FIRST);
            const struct outcome outcome = run_appends(event);
            const uint64_t op_end = fixture.checkpoint.op + OPS_BEFORE + APPENDS;
            uint64_t durable = outcome.acknowledged;
            while (durable < op_end && prepare_on_disk(durable + 1)) durable += 1;
            for (uint64_t op = fixture.checkpoint.op + 1; op <= op_end; op++) {
                if (header_on_disk(op)) expect(prepare_on_disk(op)); /* (J1) */
            }
            expect(durable <= outcome.acknowledged + 1);
            expect(outcome.named + 2 >= outcome.acknowledged); /* (J2) */
            behind[outcome.acknowledged - outcome.named] += 1;
            journal_fixture_free(&fixture);
        }
    }
    expect(behind[0] > 0 && behind[1] > 0 && behind[3] == 0);
}

/* A header's write that fails: what was acknowledged stays, and nothing more is taken. */
UNIT_TEST(with_first_a_failed_header_write_fails_the_journal)
{
    uint32_t failures = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        start(seed, JOURNAL_SYNC_FIRST);
        fixture.sim.options.write_error_per_million = 300000;
        const struct outcome outcome = run_appends(0);
        fixture.sim.options.write_error_per_million = 0;
        while (fixture.sim.storage.in_flight_count > 0) {
            (void) storage_wait(&fixture.sim.storage);
        }
        const bool failed = journal_failed(&fixture.journal);
        expect_equal(failed, fixture.sim.counters.write_errors > 0);
        expect(!failed || !journal_naming(&fixture.journal));
        failures += failed;
        struct journal_report report;
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect(report.op_head >= outcome.acknowledged);
        expect(report.op_head <= outcome.acknowledged + 1);
        expect_settled(report.op_head);
        journal_fixture_free(&fixture);
    }
    expect(failures > 20);
}

/* The order may change at any start. */
UNIT_TEST(either_order_recovers_what_the_other_one_wrote)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (uint64_t event = 1; event <= 4 * APPENDS; event++) {
            start(seed, seed % 2 ? JOURNAL_SYNC_FIRST : JOURNAL_SYNC_BOTH);
            const struct outcome outcome = run_appends(event);
            fixture.sync = seed % 2 ? JOURNAL_SYNC_BOTH : JOURNAL_SYNC_FIRST;
            struct journal_report report;
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect(report.op_head >= outcome.acknowledged);
            expect_settled(report.op_head);
            fixture.op_head = report.op_head;
            expect_equal(journal_fixture_append(&fixture, 5 * EVENT_SIZE), STORAGE_OK);
            expect_settled(report.op_head + 1);
            journal_fixture_free(&fixture);
        }
    }
}

UNIT_MAIN(test_journal_order)
