/* SPDX-License-Identifier: PostgreSQL */
/*
 * Recovery of a node with peers (journal_peers.c): each state of the newest ops' entries and
 * prepares, with and without a suffix; what is then said of the log must be true, as much as can be
 * known, and stay so over crashes and appends.
 */
#include "unit.h"

#include <string.h>

#include "journal_fixture.h"
#include "store/journal_check.h"
#include "store/journal_internal.h"

#define RING_SIZE PREPARES_SIZE_MIN
#define OPS       7 /* After the checkpoint. */
#define TRIED     3 /* Of these, the newest ones are damaged, */
#define STATES    12 /* each in one of so many ways. */

static struct journal_fixture fixture;

/* What happens to an entry, and to a prepare. */
enum entry_fate { ENTRY_WHOLE, ENTRY_LOST, ENTRY_ROTTEN };
enum prepare_fate { PREPARE_WHOLE, PREPARE_TORN, PREPARE_GONE, PREPARE_OTHER };
#define PREPARE_FATES 4

static struct {
    uint64_t first; /* The op that fares as the first ones say. */
    enum entry_fate entry[TRIED];
    enum prepare_fate prepare[TRIED];
    enum entry_fate tail; /* The entry behind the newest op. */
} fates;

static uint64_t rules_used[JOURNAL_RULE_COUNT];

static struct counts {
    uint32_t runs;
    uint32_t holes;
    uint32_t backwards; /* Ops that only the next one names. */
    uint32_t uncertain;
    uint32_t faulty;
} counts;

static uint8_t *
entry_bytes(uint64_t op)
{
    return journal_fixture_headers(&fixture) + journal_fixture_slot_offset(&fixture, op);
}

static uint8_t *
prepare_bytes(uint64_t op)
{
    const struct prepare_header *header = journal_fixture_message(&fixture, op);
    return journal_fixture_prepares(&fixture) + journal_fixture_place(&fixture, header);
}

/* What the slot held a lap before: as if its write had been lost. */
static void
entry_lose(uint64_t op)
{
    const uint64_t count = headers_log_count(RING_SIZE);
    memset(entry_bytes(op), 0, PREPARE_HEADER_SIZE);
    if (op <= count) return;
    memcpy(entry_bytes(op), journal_fixture_message(&fixture, op - count), PREPARE_HEADER_SIZE);
}

static void
entry_spoil(uint64_t op, enum entry_fate fate)
{
    if (fate == ENTRY_LOST) entry_lose(op);
    if (fate == ENTRY_ROTTEN) entry_bytes(op)[17] ^= 0x40;
}

/* By another whole prepare of this op, which continues another log. */
static void
prepare_replace(uint64_t op)
{
    static _Alignas(SECTOR_SIZE) uint8_t other[PREPARE_SIZE_MAX];
    struct prepare_header *header = prepare_header_of(other);
    memcpy(other, journal_fixture_message(&fixture, op), PREPARE_SIZE_MAX);
    header->parent += 1;
    prepare_seal(header);
    memcpy(prepare_bytes(op), other, prepare_size_on_disk(header));
}

/* The newest ops fare as `code` says, in digits to the base of STATES. */
static void
spoil(uint32_t code, enum entry_fate tail)
{
    fates.first = fixture.op_head - TRIED + 1;
    for (uint32_t i = 0; i < TRIED; i++) {
        const uint64_t op = fates.first + i;
        fates.entry[i] = code % STATES / PREPARE_FATES;
        fates.prepare[i] = code % PREPARE_FATES;
        code /= STATES;
        entry_spoil(op, fates.entry[i]);
        const uint32_t size = journal_fixture_message(&fixture, op)->size;
        if (fates.prepare[i] == PREPARE_TORN) prepare_bytes(op)[size - 1] ^= 1;
        if (fates.prepare[i] == PREPARE_GONE) memset(prepare_bytes(op), 0, SECTOR_SIZE);
        if (fates.prepare[i] == PREPARE_OTHER) prepare_replace(op);
    }
    fates.tail = tail;
    if (tail == ENTRY_ROTTEN) memset(entry_bytes(fixture.op_head + 1), 0x5a, PREPARE_HEADER_SIZE);
}

/* ---- What can be known ----------------------------------------------------------------------- */

/* By separate code, from the fates. */
struct truth {
    uint64_t op_max;
    uint64_t op_head;
    bool uncertain;
};

static bool
is_listed(uint64_t op)
{
    const struct journal_evidence *evidence = &fixture.evidence;
    return evidence->suffix_count > 0 && op >= evidence->suffix[0].op &&
           op <= evidence->suffix[evidence->suffix_count - 1].op;
}

static enum entry_fate
entry_fate(uint64_t op)
{
    return op < fates.first ? ENTRY_WHOLE : fates.entry[op - fates.first];
}

static enum prepare_fate
prepare_fate(uint64_t op)
{
    return op < fates.first ? PREPARE_WHOLE : fates.prepare[op - fates.first];
}

static struct truth
truth_of_fates(void)
{
    struct truth truth = {.op_max = fixture.evidence.op_acked_min};
    const uint64_t newest = fixture.op_head;
    for (uint64_t op = fixture.checkpoint.op + 1; op <= newest; op++) {
        const bool proved =
            entry_fate(op) == ENTRY_WHOLE || prepare_fate(op) == PREPARE_WHOLE ||
            (prepare_fate(op) == PREPARE_OTHER && !is_listed(op));
        if (proved && op > truth.op_max) truth.op_max = op;
    }
    truth.op_head = fixture.checkpoint.op;
    bool before_known = true; /* The header of the op before, and so where this one lies. */
    for (uint64_t op = fixture.checkpoint.op + 1; op <= truth.op_max; op++) {
        const bool here = entry_fate(op) == ENTRY_WHOLE || is_listed(op) ||
                          (before_known && prepare_fate(op) < PREPARE_GONE);
        const bool next = op < truth.op_max &&
                          (entry_fate(op + 1) == ENTRY_WHOLE || is_listed(op + 1));
        if (!here && !next) break;
        before_known = here;
        truth.op_head = op;
    }
    const enum entry_fate tail =
        truth.op_max == newest ? fates.tail : entry_fate(truth.op_max + 1);
    truth.uncertain = tail == ENTRY_ROTTEN;
    return truth;
}

static void
expect_truth(const struct journal_report *report, const struct truth *truth)
{
    const struct journal *journal = &fixture.journal;
    expect_equal(report->op_max, truth->op_max);
    expect_equal(report->op_head, truth->op_head);
    expect_equal(journal->head.op, truth->op_head);
    expect_equal(report->uncertain, truth->uncertain);
    uint64_t faulty = 0;
    for (uint64_t op = fixture.checkpoint.op + 1; op <= truth->op_head; op++) {
        const struct prepare_header *message = journal_fixture_message(&fixture, op);
        expect(journal_checksum(journal, op) == message->checksum);
        expect_equal(journal_faulty(journal, op), prepare_fate(op) != PREPARE_WHOLE);
        expect_equal(journal_find(journal, op) == NULL, journal_faulty(journal, op));
        faulty += journal_faulty(journal, op);
        counts.backwards +=
            journal_buried(&journal->headers[journal_entry(journal, op)]) ? 1 : 0;
    }
    expect_equal(report->entries_faulty, faulty);
    expect(!journal_faulty(journal, truth->op_head + 1));
    counts.faulty += (uint32_t) faulty;
    counts.holes += truth->op_head < truth->op_max;
    counts.uncertain += truth->uncertain;
    counts.runs += 1;
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) rules_used[i] += report->rule_uses[i];
}

/* ---- Each state of the newest ops ------------------------------------------------------------ */

enum evidence_kind { EVIDENCE_NONE, EVIDENCE_BELOW, EVIDENCE_ALL, EVIDENCE_AHEAD, EVIDENCE_COUNT };

/* The list ends below what is tried, at the newest op, or behind it: what a view has besides. */
static void
list(enum evidence_kind kind)
{
    fixture.evidence = (struct journal_evidence){.peers = true};
    if (kind == EVIDENCE_NONE) return;
    uint64_t last = fixture.op_head;
    if (kind == EVIDENCE_BELOW) last -= TRIED;
    if (kind == EVIDENCE_AHEAD) last += 2;
    fixture.evidence.suffix_count = kind == EVIDENCE_BELOW ? 2 : 4;
    fixture.evidence.suffix = fixture.suffix;
    fixture.evidence.log_view = fixture.view;
    fixture.evidence.op_acked_min = fixture.op_head - TRIED;
    for (uint32_t i = 0; i < fixture.evidence.suffix_count; i++) {
        const uint64_t op = last + 1 - fixture.evidence.suffix_count + i;
        fixture.suffix[i] = *journal_fixture_message(&fixture, op);
    }
}

static void
begin(uint64_t laps, uint64_t seed)
{
    journal_fixture_init(&fixture, RING_SIZE, seed);
    journal_fixture_fill(&fixture, laps, OPS);
    for (uint64_t i = 1; i <= 2; i++) {
        (void) journal_fixture_make_prepare(&fixture, fixture.op_head + i, 3 * EVENT_SIZE);
    }
}

/*
 * (J8) Nothing was written but headers of whole prepares; a damaged entry that a sector's write
 * took along is damaged still, if the log isn't known to end before it.
 */
static void
expect_written_little(const struct journal_image *before, const struct truth *truth)
{
    expect(memcmp(journal_fixture_prepares(&fixture), before->prepares, RING_SIZE) == 0);
    const bool certain = truth->op_head == truth->op_max && !truth->uncertain;
    for (uint64_t op = fixture.checkpoint.op + 1; op <= fixture.op_head + 1; op++) {
        const bool newest = op > fixture.op_head;
        const enum entry_fate fate = newest ? fates.tail : entry_fate(op);
        if (fate != ENTRY_ROTTEN) continue;
        if (certain && op > truth->op_head) continue;
        struct prepare_header entry;
        memcpy(&entry, entry_bytes(op), sizeof(entry));
        const bool valid = prepare_header_valid(&entry, FIXTURE_CLUSTER);
        expect(!prepare_header_blank(&entry));
        if (!newest && op <= truth->op_head) expect(!valid || entry.op == op);
        if (newest || op > truth->op_head) expect(!valid);
    }
}

/* An append takes its sector's other entries along: they are no less damaged afterwards. */
static void
check_append(const struct truth *truth)
{
    const uint64_t head = fixture.op_head;
    struct journal_report report;
    fixture.op_head = truth->op_head;
    expect_equal(journal_fixture_append_message(&fixture), STORAGE_OK); /* As a peer has it. */
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect(report.op_head > truth->op_head);
    expect(report.op_max >= truth->op_max);
    const bool behind = report.op_max + 1 <= head;
    if (behind && report.op_head < report.op_max) {
        expect_equal(report.uncertain, entry_fate(report.op_max + 1) == ENTRY_ROTTEN);
    }
    for (uint64_t op = fixture.checkpoint.op + 1; op <= report.op_head; op++) {
        expect(
            journal_checksum(&fixture.journal, op) ==
            journal_fixture_message(&fixture, op)->checksum);
    }
}

static void
check_state(uint32_t code, enum entry_fate tail, enum evidence_kind kind, uint64_t laps)
{
    struct journal_report report;
    begin(laps, 1 + laps);
    list(kind);
    if (kind == EVIDENCE_NONE && code % 2) fixture.evidence.op_acked_min = fixture.op_head;
    spoil(code, tail);
    const struct truth truth = truth_of_fates();
    struct journal_image image = journal_image_save(&fixture);
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_truth(&report, &truth);
    expect_written_little(&image, &truth);
    /* Once more, with what was written. */
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_truth(&report, &truth);
    check_append(&truth);
    journal_image_free(&image);
    journal_fixture_free(&fixture);
}

static void
check_states(enum evidence_kind kind, uint32_t step)
{
    counts = (struct counts){0};
    for (uint32_t code = 0; code < STATES * STATES * STATES; code += step) {
        const int failed_before = unit_expectations_failed;
        const uint32_t sum = code + code / STATES + code / STATES / STATES;
        check_state(code, sum % 2 ? ENTRY_ROTTEN : ENTRY_WHOLE, kind, sum / 2 % 2 ? 2 : 0);
        if (unit_expectations_failed == failed_before) continue;
        printf("  code %u, evidence %u\n", code, (uint32_t) kind);
        if (unit_expectations_failed > 20) return;
    }
    expect(counts.faulty > 1000 / step);
    expect(counts.uncertain > 300 / step);
}

UNIT_TEST(each_state_of_the_newest_ops)
{
    check_states(EVIDENCE_NONE, 1);
    expect(counts.holes > 100 && counts.backwards > 100);
}

UNIT_TEST(each_state_of_ops_above_the_suffix)
{
    check_states(EVIDENCE_BELOW, 5);
    expect(counts.holes > 20 && counts.backwards > 20);
}

UNIT_TEST(each_state_of_listed_ops)
{
    check_states(EVIDENCE_ALL, 1);
    expect_equal(counts.holes, 0);
}

/* The list has ops that never came here: they prove nothing, but what they name is known. */
UNIT_TEST(each_state_before_ops_that_are_listed_and_not_here)
{
    check_states(EVIDENCE_AHEAD, 5);
}

/* In the tests before. */
UNIT_TEST(each_reachable_row_was_met)
{
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        const bool possible = journal_rules[i].decision != JOURNAL_IMPOSSIBLE;
        expect_equal(rules_used[i] > 0, possible);
        if ((rules_used[i] > 0) != possible) printf("  row %s\n", journal_rules[i].name);
    }
}

/* ---- Crashes --------------------------------------------------------------------------------- */

/* Power fails at each event of recovery, twice in a row: what it then says is the same. */
UNIT_TEST(crashes_in_recovery_change_nothing_of_it)
{
    uint32_t crashes = 0;
    for (uint32_t code = 1; code < STATES * STATES * STATES; code += 9) {
        for (uint64_t event = 1; event <= 4; event++) {
            struct journal_report report;
            begin(code % 3, 2);
            list(code % 2 ? EVIDENCE_ALL : EVIDENCE_NONE);
            spoil(code, code % 5 ? ENTRY_WHOLE : ENTRY_ROTTEN);
            const struct truth truth = truth_of_fates();
            bool crashed = false;
            for (uint32_t i = 0; i < 2; i++) {
                storage_sim_crash_after(&fixture.sim, event);
                (void) journal_fixture_recover(&fixture, &report);
                crashed = fixture.sim.crashed;
                crashes += crashed;
                if (crashed) storage_sim_restart(&fixture.sim);
                storage_sim_crash_after(&fixture.sim, 0);
            }
            const int failed_before = unit_expectations_failed;
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect_truth(&report, &truth);
            if (unit_expectations_failed != failed_before) {
                printf("  code %u, event %" PRIu64 "\n", code, event);
            }
            journal_fixture_free(&fixture);
        }
    }
    expect(crashes > 300);
}

/* ---- The rest -------------------------------------------------------------------------------- */

/*
 * An entry that counts and is of another op than the next one names: it was cut, and the write of
 * what came in its place was lost.
 */
UNIT_TEST(an_entry_that_the_next_op_does_not_name_is_none)
{
    for (uint32_t gone = 0; gone < 2; gone++) {
        struct journal_report report;
        begin(1, 3);
        fixture.evidence.peers = true;
        const uint64_t op = fixture.op_head - 2;
        struct prepare_header stranger = *journal_fixture_message(&fixture, op);
        stranger.timestamp += 1;
        const struct prepare_header *message = journal_fixture_message(&fixture, op);
        stranger.checksum = checksum(
            (const uint8_t *) &stranger + sizeof(u128), PREPARE_HEADER_SIZE - sizeof(u128));
        memcpy(entry_bytes(op), &stranger, sizeof(stranger));
        if (gone) memset(prepare_bytes(op), 0, SECTOR_SIZE);
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect_equal(report.op_head, fixture.op_head);
        expect(journal_checksum(&fixture.journal, op) == message->checksum);
        expect_equal(journal_faulty(&fixture.journal, op), gone);
        expect_equal(report.headers_fixed, !gone);
        journal_fixture_free(&fixture);
    }
}

/*
 * A write of a sector that a crash tears may spoil entries in it that aren't in use yet. Recovery
 * is certain that nothing was there. It must still be when the log has grown up to such an entry,
 * whose sector wasn't written meanwhile.
 */
UNIT_TEST(what_a_crash_has_torn_behind_the_head_says_nothing_later)
{
    for (uint32_t ahead = 2; ahead <= 3 * HEADERS_INTERLEAVED; ahead++) {
        for (uint32_t laps = 0; laps < 3; laps += 2) {
            struct journal_report report;
            begin(laps, 6);
            list(EVIDENCE_NONE);
            const uint64_t head = fixture.op_head;
            memset(entry_bytes(head + ahead), 0x5a, PREPARE_HEADER_SIZE);
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect(!report.uncertain && report.op_head == head);
            for (uint32_t i = 1; i < ahead; i++) {
                expect_equal(journal_fixture_append(&fixture, EVENT_SIZE), STORAGE_OK);
            }
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect_equal(report.op_head, head + ahead - 1);
            expect(!report.uncertain);
            expect(report.damage == NULL);
            journal_fixture_free(&fixture);
        }
    }
}

/*
 * A member that is far behind takes a log over that lists later ops, cuts its own, and gets on with
 * it. What was cut and isn't written over yet names other ops than the new ones: it must not bring
 * down what is known to be committed.
 */
UNIT_TEST(what_was_cut_does_not_contradict_what_is_committed)
{
    for (uint64_t kept = 1; kept < OPS; kept++) {
        struct journal_report report;
        begin(0, 7);
        const uint64_t op_kept = fixture.checkpoint.op + kept;
        const uint64_t op_list = fixture.op_head + 3;
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        journal_truncate(&fixture.journal, op_kept);
        fixture.op_head = op_kept;
        expect_equal(journal_fixture_append(&fixture, 2 * EVENT_SIZE), STORAGE_OK);
        const u128 checksum_new = journal_fixture_message(&fixture, op_kept + 1)->checksum;
        fixture.suffix[0] = *journal_fixture_message(&fixture, op_kept + 1);
        fixture.suffix[0].op = op_list;
        fixture.evidence = (struct journal_evidence){
            .peers = true,
            .log_view = fixture.view + 1,
            .op_acked_min = op_kept,
            .suffix_count = 1,
            .suffix = fixture.suffix,
            .op_committed = op_kept + 1,
            .committed_checksum = checksum_new,
        };
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect(report.op_head >= op_kept + 1);
        expect(!journal_faulty(&fixture.journal, op_kept + 1));
        expect(journal_checksum(&fixture.journal, op_kept + 1) == checksum_new);
        if (report.op_head > op_kept + 1) expect(journal_faulty(&fixture.journal, op_kept + 2));
        journal_fixture_free(&fixture);
    }
}

/* The scrubber leaves out what is known to be damaged, and finds nothing else. */
UNIT_TEST(what_is_faulty_is_not_checked)
{
    for (uint32_t code = 1; code < STATES * STATES * STATES; code += 17) {
        struct journal_report report;
        struct journal_check check;
        begin(0, 4);
        list(EVIDENCE_ALL);
        spoil(code, ENTRY_WHOLE);
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        journal_check_init(&check, &fixture.journal);
        journal_check_start(&check);
        uint64_t whole = 0;
        enum journal_check_step step;
        while ((step = journal_check_step(&check)) != JOURNAL_CHECK_END) {
            expect(step != JOURNAL_CHECK_DAMAGED);
            if (step == JOURNAL_CHECK_STARTED) (void) storage_wait(&fixture.sim.storage);
            whole += step == JOURNAL_CHECK_WHOLE && !check.headers;
        }
        expect_equal(whole, report.op_head - fixture.checkpoint.op - report.entries_faulty);
        journal_fixture_free(&fixture);
    }
}

/* A view without them: then later recoveries find no trace of what was behind the head. */
UNIT_TEST(what_no_view_lists_is_dropped)
{
    uint32_t dropped = 0;
    for (uint32_t code = 0; code < STATES * STATES * STATES; code += 5) {
        struct journal_report report;
        begin(code % 3, 5);
        list(EVIDENCE_NONE);
        spoil(code, ENTRY_ROTTEN);
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        const uint64_t head = report.op_head;
        if (head > fixture.checkpoint.op && !journal_faulty(&fixture.journal, head)) {
            dropped += report.uncertain;
            fixture.op_head = head;
            journal_fixture_begin_view(&fixture);
            fixture.evidence.peers = true;
            journal_drop_after(&fixture.journal, head);
            for (uint32_t i = 0; i < 2 * HEADERS_INTERLEAVED; i++) {
                expect_equal(journal_fixture_append(&fixture, EVENT_SIZE), STORAGE_OK);
            }
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect_equal(report.op_head, head + 2 * HEADERS_INTERLEAVED);
            expect_equal(report.op_max, report.op_head);
            expect(!report.uncertain);
        }
        journal_fixture_free(&fixture);
    }
    expect(dropped > 50);
}

UNIT_MAIN(test_journal_peers)
