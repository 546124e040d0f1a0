/* SPDX-License-Identifier: PostgreSQL */
/*
 * The journal: its invariants, and each row of the recovery table from a disk image that leads
 * there.
 */
#include "unit.h"

#include <string.h>

#include "journal_fixture.h"
#include "store/journal_check.h"
#include "store/journal_internal.h"

#define RING_SIZE PREPARES_SIZE_MIN
#define OP_COUNT  6
#define VIEW      3 /* Of all prepares of the log. */

static struct journal_fixture fixture;

static bool
row_impossible(const struct journal_rule *rule)
{
    return rule->decision == JOURNAL_IMPOSSIBLE;
}

/* ---- The table ------------------------------------------------------------------------------- */

UNIT_TEST(rules_cover_each_combination_once)
{
    uint32_t seen[JOURNAL_RULE_COUNT] = {0};
    for (uint32_t header = 0; header < JOURNAL_HEADER_STATE_COUNT; header++) {
        for (uint32_t prepare = 0; prepare < JOURNAL_PREPARE_STATE_COUNT; prepare++) {
            for (uint32_t place = 0; place < JOURNAL_PLACE_COUNT; place++) {
                const struct journal_rule *rule = journal_rule_for(header, prepare, place);
                expect(rule >= journal_rules && rule < journal_rules + JOURNAL_RULE_COUNT);
                seen[rule - journal_rules] += 1;
                expect_equal(rule->header, header);
                expect_equal(rule->prepare, prepare);
                expect_equal(rule->place, place);
            }
        }
    }
    expect_equal(JOURNAL_RULE_COUNT, 36);
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        expect_equal(seen[i], 1);
    }
}

UNIT_TEST(rules_have_unique_names)
{
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        expect(journal_rules[i].name != NULL && journal_rules[i].name[0] != '\0');
        for (uint32_t j = 0; j < i; j++) {
            expect(strcmp(journal_rules[i].name, journal_rules[j].name) != 0);
        }
    }
}

UNIT_TEST(rules_follow_from_the_principles)
{
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        const struct journal_rule *rule = &journal_rules[i];
        const bool tail = rule->place == JOURNAL_PLACE_TAIL;
        const bool header = rule->header == JOURNAL_HEADER_MATCH;
        const bool whole = rule->prepare == JOURNAL_PREPARE_MATCH;
        const bool intact = whole || rule->prepare == JOURNAL_PREPARE_DIFFERENT;
        const bool corrupt = rule->header == JOURNAL_HEADER_CORRUPT;
        const enum journal_decision decision = rule->decision;
        /* Only the tail is ever dropped, and only if nothing intact or damaged proves it. */
        expect((decision == JOURNAL_CUT) == (tail && !header && !intact && !corrupt));
        expect((decision == JOURNAL_UNCERTAIN) == (tail && !intact && corrupt));
        expect((decision == JOURNAL_IMPOSSIBLE) == (tail && (header || intact)));
        /* Only a whole prepare is ever kept. */
        expect((decision == JOURNAL_KEEP) == (!tail && header && whole));
        expect((decision == JOURNAL_FIX) == (!tail && !header && whole));
        expect((decision == JOURNAL_REPAIR) == (!tail && !whole));
    }
}

/* ---- Each reachable row ---------------------------------------------------------------------- */

static struct prepare_header *
entry_of(uint64_t op)
{
    uint8_t *headers = journal_fixture_headers(&fixture);
    return (struct prepare_header *) (void *) (headers + journal_fixture_slot_offset(&fixture, op));
}

static uint8_t *
bytes_of(uint64_t op)
{
    return journal_fixture_prepares(&fixture) +
           journal_fixture_place(&fixture, journal_fixture_message(&fixture, op));
}

/* What the slot held a lap before. */
static void
entry_set_older(uint64_t op)
{
    const uint64_t count = headers_log_count(RING_SIZE);
    if (op > count) {
        *entry_of(op) = *journal_fixture_message(&fixture, op - count);
    } else {
        memset(entry_of(op), 0, PREPARE_HEADER_SIZE);
    }
}

/* Another intact prepare at the same place: of another parent, or only of another time. */
static void
prepare_set_different(uint64_t op, bool other_parent)
{
    static _Alignas(SECTOR_SIZE) uint8_t other[PREPARE_SIZE_MAX];
    struct prepare_header *header = prepare_header_of(other);
    memcpy(other, journal_fixture_message(&fixture, op), PREPARE_SIZE_MAX);
    header->timestamp += 1;
    if (other_parent) header->parent += 1;
    prepare_seal(header);
    memcpy(bytes_of(op), other, prepare_size_on_disk(header));
}

static void
prepare_set_damaged(uint64_t op)
{
    const struct prepare_header *header = journal_fixture_message(&fixture, op);
    memcpy(bytes_of(op), header, prepare_size_on_disk(header));
    bytes_of(op)[header->size - 1] ^= 1;
}

static uint64_t
build_row(const struct journal_rule *rule, uint64_t laps, uint64_t seed)
{
    journal_fixture_init(&fixture, RING_SIZE, seed);
    fixture.view = VIEW;
    journal_fixture_fill(&fixture, laps, OP_COUNT);
    const uint64_t head = fixture.op_head;
    const bool tail = rule->place == JOURNAL_PLACE_TAIL;
    uint64_t op = head;
    if (rule->place == JOURNAL_PLACE_BELOW) op = head - 2;
    if (tail) op = head + 1;
    if (tail) (void) journal_fixture_make_prepare(&fixture, op, 3 * EVENT_SIZE);

    const bool named = rule->header == JOURNAL_HEADER_MATCH;
    if (rule->header == JOURNAL_HEADER_OLDER) entry_set_older(op);
    if (rule->header == JOURNAL_HEADER_CORRUPT) ((uint8_t *) entry_of(op))[17] ^= 0x40;
    switch (rule->prepare) {
    case JOURNAL_PREPARE_MATCH: break;
    case JOURNAL_PREPARE_DIFFERENT: prepare_set_different(op, !named); break;
    case JOURNAL_PREPARE_DAMAGED: prepare_set_damaged(op); break;
    case JOURNAL_PREPARE_ABSENT:
        if (!tail) bytes_of(op)[17] ^= 0x40;
        break;
    }
    const bool intact =
        rule->prepare == JOURNAL_PREPARE_MATCH || rule->prepare == JOURNAL_PREPARE_DIFFERENT;
    /* Neither log proves the head at its own place: a copy of its header astray does. */
    if (rule->place == JOURNAL_PLACE_HEAD && !named && !intact) {
        *entry_of(op + 3) = *journal_fixture_message(&fixture, op);
    }
    return op;
}

static void
expect_damage(const struct journal_rule *rule, uint64_t op, const struct journal_report *report)
{
    expect(report->damage == rule);
    expect_equal(report->damage_op, op);
    expect_equal(report->op_head, op - 1);
    const struct prepare_header *header = journal_fixture_message(&fixture, op);
    const bool known = rule->header == JOURNAL_HEADER_MATCH ||
                       rule->prepare == JOURNAL_PREPARE_DIFFERENT ||
                       rule->prepare == JOURNAL_PREPARE_DAMAGED;
    if (known) {
        expect_equal(report->damage_offset_bytes, journal_fixture_place(&fixture, header));
        expect_equal(report->damage_size_bytes, prepare_size_on_disk(header));
    } else {
        expect_equal(report->damage_offset_bytes, UINT64_MAX);
        expect_equal(report->damage_size_bytes, 0);
    }
}

/* What was recovered can be recovered again, without a change, and takes more appends. */
static void
expect_settled(uint64_t head)
{
    struct journal_report report;
    struct journal_image image = journal_image_save(&fixture);
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_equal(report.entries_kept, head - fixture.checkpoint.op);
    expect_equal(report.headers_fixed, 0);
    expect(!report.tail_cut);
    expect(journal_image_equals(&fixture, &image));
    expect(journal_fixture_log_equals(&fixture, head));
    journal_image_free(&image);

    fixture.op_head = head;
    for (uint32_t i = 0; i < 3; i++) {
        expect_equal(journal_fixture_append(&fixture, 5 * EVENT_SIZE), STORAGE_OK);
    }
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_equal(report.headers_fixed, 0);
    expect(journal_fixture_log_equals(&fixture, head + 3));
}

/* The superblock lists the newest ops up to this one. */
static void
list_up_to(uint64_t op)
{
    static struct prepare_header suffix[3];
    for (uint32_t i = 0; i < 3; i++) suffix[i] = *journal_fixture_message(&fixture, op - 2 + i);
    fixture.evidence = (struct journal_evidence){
        .log_view = VIEW,
        .suffix_count = 3,
        .suffix = suffix,
    };
}

enum row_evidence { ROW_NONE, ROW_ABOVE_SUFFIX, ROW_LISTED, ROW_EVIDENCE_COUNT };

/* The row that is found in place of this one. */
static const struct journal_rule *
row_found(const struct journal_rule *rule, enum row_evidence evidence)
{
    const bool listed = evidence == ROW_LISTED && rule->place != JOURNAL_PLACE_TAIL;
    if (!listed || rule->prepare != JOURNAL_PREPARE_DIFFERENT) return rule;
    return journal_rule_for(rule->header, JOURNAL_PREPARE_ABSENT, rule->place);
}

static void
check_row(
    const struct journal_rule *rule_built, enum row_evidence evidence, uint64_t laps, uint64_t seed)
{
    const struct journal_rule *rule = row_found(rule_built, evidence);
    const uint64_t op = build_row(rule_built, laps, seed);
    const uint64_t head = fixture.op_head;
    if (evidence == ROW_ABOVE_SUFFIX) list_up_to(head - 3);
    if (evidence == ROW_LISTED) list_up_to(head);
    struct journal_image image = journal_image_save(&fixture);
    struct journal_report report;
    const enum journal_recovery result = journal_fixture_recover(&fixture, &report);

    expect_equal(report.rule_uses[rule - journal_rules] != 0, true);
    const bool uncertain = rule->decision == JOURNAL_UNCERTAIN;
    expect_equal(report.uncertain, uncertain);
    expect_equal(report.op_max, rule->place == JOURNAL_PLACE_BELOW ? head : op - (op > head));
    if (rule->decision == JOURNAL_REPAIR || uncertain) {
        expect_equal(result, JOURNAL_RECOVERY_DAMAGED);
        expect_damage(rule, op, &report);
        expect(journal_image_equals(&fixture, &image));
        expect(fixture.journal.failed);
    } else {
        expect_equal(result, JOURNAL_RECOVERED);
        expect(report.damage == NULL);
        expect_equal(report.op_head, head);
        expect_equal(report.headers_fixed, rule->decision == JOURNAL_FIX);
        const bool trace = rule->prepare == JOURNAL_PREPARE_DAMAGED;
        expect_equal(report.tail_cut, rule->decision == JOURNAL_CUT && trace);
        expect(journal_fixture_log_equals(&fixture, head));
        expect_settled(head);
    }
    journal_image_free(&image);
    journal_fixture_free(&fixture);
}

UNIT_TEST(each_reachable_row_in_the_first_lap_and_wrapped)
{
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        if (row_impossible(&journal_rules[i])) continue;
        for (uint64_t seed = 1; seed <= 3; seed++) {
            for (uint32_t evidence = 0; evidence < ROW_EVIDENCE_COUNT; evidence++) {
                const int failed_before = unit_expectations_failed;
                check_row(&journal_rules[i], evidence, 0, seed);
                check_row(&journal_rules[i], evidence, 3, seed);
                if (unit_expectations_failed == failed_before) continue;
                printf("  row %s, %u, seed %" PRIu64 "\n", journal_rules[i].name, evidence, seed);
            }
        }
    }
}

/* ---- Evidence -------------------------------------------------------------------------------- */

/* Whatever is there of ops above the suffix, and is of another view, is as if it weren't there. */
UNIT_TEST(j6_each_row_of_what_does_not_count_is_the_end)
{
    for (uint32_t i = 0; i < JOURNAL_RULE_COUNT; i++) {
        const struct journal_rule *rule = &journal_rules[i];
        if (row_impossible(rule)) continue;
        for (uint64_t seed = 1; seed <= 6; seed++) {
            struct journal_report report;
            (void) build_row(rule, seed % 3, seed);
            const uint64_t head = fixture.op_head;
            list_up_to(head - 3);
            fixture.evidence.log_view = VIEW + 1 - 2 * (seed % 2);
            if (seed % 2) fixture.evidence.suffix_count = 0; /* Nothing is known of views. */
            const enum journal_recovery result = journal_fixture_recover(&fixture, &report);
            if (seed % 2) {
                expect_equal(report.rule_uses[i] != 0, true);
            } else if (rule->header == JOURNAL_HEADER_CORRUPT &&
                       rule->place == JOURNAL_PLACE_BELOW) {
                expect_equal(result, JOURNAL_RECOVERY_DAMAGED);
                expect(report.uncertain);
                expect_equal(report.damage_op, head - 2);
            } else {
                expect_equal(result, JOURNAL_RECOVERED);
                expect_equal(report.op_head, head - 3);
                expect_equal(report.op_max, head - 3);
                fixture.view = VIEW + 1;
                expect_settled(head - 3);
            }
            journal_fixture_free(&fixture);
        }
    }
}

/* An op of each view behind the head, whole in both logs. It stays on disk if it doesn't count. */
UNIT_TEST(j6_what_is_behind_the_suffix_is_of_the_log_view_or_stays_unseen)
{
    for (uint64_t laps = 0; laps <= 2; laps++) {
        for (uint32_t view = VIEW - 1; view <= VIEW; view++) {
            struct journal_report report;
            journal_fixture_init(&fixture, RING_SIZE, 7 + laps);
            fixture.view = VIEW;
            journal_fixture_fill(&fixture, laps, OP_COUNT);
            const uint64_t head = fixture.op_head;
            fixture.view = view;
            for (uint32_t i = 0; i < 3; i++) (void) journal_fixture_append(&fixture, EVENT_SIZE);
            fixture.view = VIEW;
            list_up_to(head);
            struct journal_image image = journal_image_save(&fixture);
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            expect_equal(report.op_head, view == VIEW ? head + 3 : head);
            expect(journal_image_equals(&fixture, &image));
            expect_settled(report.op_head);
            journal_image_free(&image);
            journal_fixture_free(&fixture);
        }
    }
}

enum ahead { AHEAD_NAMED, AHEAD_UNNAMED, AHEAD_ENTRY, AHEAD_TORN, AHEAD_BELOW, AHEAD_COUNT };

static uint64_t
build_ahead(enum ahead ahead, uint64_t laps)
{
    journal_fixture_init(&fixture, RING_SIZE, 7 + laps);
    fixture.view = VIEW;
    journal_fixture_fill(&fixture, laps, OP_COUNT);
    const uint64_t head = fixture.op_head;
    if (ahead != AHEAD_BELOW) list_up_to(head);
    fixture.view = VIEW + 1;
    const uint64_t op = head + 1;
    for (uint32_t i = 0; i < 3; i++) (void) journal_fixture_append(&fixture, EVENT_SIZE);
    if (ahead == AHEAD_BELOW) list_up_to(head + 3);
    if (ahead == AHEAD_NAMED || ahead == AHEAD_BELOW) return op;
    for (uint32_t i = 1; i < 3; i++) entry_set_older(op + i);
    for (uint32_t i = 1; i < 3; i++) memset(bytes_of(op + i), 0, SECTOR_SIZE);
    if (ahead == AHEAD_ENTRY) memset(bytes_of(op), 0, SECTOR_SIZE);
    if (ahead == AHEAD_UNNAMED || ahead == AHEAD_TORN) entry_set_older(op);
    if (ahead == AHEAD_TORN) prepare_set_damaged(op);
    return op;
}

/*
 * Whatever is there of a later view than the superblock knows: that is an older copy. Neither is
 * the log cut to it, nor is anything written.
 */
UNIT_TEST(j6_what_is_of_a_later_view_shows_an_older_superblock)
{
    for (uint64_t laps = 0; laps <= 2; laps++) {
        for (enum ahead ahead = 0; ahead < AHEAD_COUNT; ahead++) {
            struct journal_report report;
            const uint64_t op = build_ahead(ahead, laps);
            struct journal_image image = journal_image_save(&fixture);
            const uint64_t writes = fixture.sim.counters.writes;
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_AHEAD);
            expect_equal(report.op_ahead, op);
            expect(journal_failed(&fixture.journal));
            expect_equal(fixture.sim.counters.writes, writes);
            expect(journal_image_equals(&fixture, &image));
            fixture.evidence.log_view = VIEW + 1;
            if (ahead == AHEAD_NAMED) {
                expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
                expect_equal(report.op_head, op + 2);
            }
            journal_image_free(&image);
            journal_fixture_free(&fixture);
        }
    }
}

/* Listed ops are those that are listed; and the newest one was there. */
UNIT_TEST(j6_a_listed_op_is_the_one_that_is_listed)
{
    for (uint64_t back = 0; back <= 2; back++) {
        for (uint32_t kind = 0; kind < 3; kind++) {
            struct journal_report report;
            journal_fixture_init(&fixture, RING_SIZE, 5);
            fixture.view = VIEW;
            journal_fixture_fill(&fixture, 1, OP_COUNT);
            const uint64_t head = fixture.op_head;
            const uint64_t op = head - back;
            list_up_to(head);
            struct prepare_header *other = prepare_header_of(bytes_of(op));
            if (kind == 0) prepare_set_different(op, false);
            if (kind == 1) other->view = VIEW - 1;
            if (kind == 1) prepare_seal(other);
            if (kind == 2) prepare_set_damaged(op);
            if (kind < 2) *entry_of(op) = *other;
            if (kind == 2) memset(entry_of(op), 0, PREPARE_HEADER_SIZE);
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
            expect_equal(report.damage_op, op);
            expect_equal(report.op_max, head);
            expect_equal(report.damage->header, JOURNAL_HEADER_OLDER);
            expect_equal(
                report.damage->prepare,
                kind == 2 ? JOURNAL_PREPARE_DAMAGED : JOURNAL_PREPARE_ABSENT);
            journal_fixture_free(&fixture);
        }
    }
}

/* (J7) A lost header write and a damaged prepare, as after a crash in the prepare's write. */
UNIT_TEST(j7_what_was_acknowledged_is_never_cut)
{
    for (uint32_t damaged = 0; damaged < 2; damaged++) {
        for (uint64_t back = 0; back <= 2; back++) {
            struct journal_report report;
            journal_fixture_init(&fixture, RING_SIZE, 3);
            journal_fixture_fill(&fixture, 2, OP_COUNT);
            const uint64_t head = fixture.op_head;
            entry_set_older(head);
            if (damaged) prepare_set_damaged(head);
            if (!damaged) memset(bytes_of(head), 0, SECTOR_SIZE);
            fixture.evidence.op_acked_min = head - back;
            const enum journal_recovery result = journal_fixture_recover(&fixture, &report);
            expect_equal(report.op_head, head - 1);
            expect_equal(report.op_max, back == 0 ? head : head - 1);
            if (back == 0) expect_equal(result, JOURNAL_RECOVERY_DAMAGED);
            if (back == 0) expect_equal(report.damage_op, head);
            if (back != 0) expect_equal(result, JOURNAL_RECOVERED);
            journal_fixture_free(&fixture);
        }
    }
}

/*
 * Op N lies at both places where it can be, whole, with the same parent: the shorter one was cut,
 * and the longer one, of a lower view, has returned. The next op tells which it is.
 */
UNIT_TEST(of_two_prepares_of_an_op_the_next_ops_parent_tells)
{
    for (uint32_t with_header = 0; with_header < 2; with_header++) {
        struct journal_report report;
        journal_fixture_init(&fixture, RING_SIZE, 1);
        while (journal_used_bytes(&fixture.journal) < RING_SIZE - 2 * SECTOR_SIZE) {
            (void) journal_fixture_append(&fixture, EVENT_SIZE);
        }
        journal_fixture_checkpoint(&fixture, fixture.op_head - 2);
        const uint64_t op = fixture.op_head + 1;
        fixture.view = VIEW;
        const struct prepare_header *cut = journal_fixture_make_prepare(&fixture, op, EVENT_SIZE);
        const uint64_t place = RING_SIZE - SECTOR_SIZE;
        expect_equal(journal_fixture_place(&fixture, cut), place);
        memcpy(journal_fixture_prepares(&fixture) + place, cut, SECTOR_SIZE);
        fixture.view = VIEW - 1;
        (void) journal_fixture_append(&fixture, 40 * EVENT_SIZE);
        expect_equal(journal_fixture_place(&fixture, journal_fixture_message(&fixture, op)), 0);
        fixture.view = VIEW;
        (void) journal_fixture_append(&fixture, EVENT_SIZE);
        ((uint8_t *) entry_of(op))[17] ^= 0x40;
        if (!with_header) memset(entry_of(op + 1), 0, PREPARE_HEADER_SIZE);
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect_equal(report.headers_fixed, with_header ? 1 : 2);
        expect(journal_fixture_log_equals(&fixture, op + 1));
        journal_fixture_free(&fixture);
    }
}

/* ---- Entries --------------------------------------------------------------------------------- */

UNIT_TEST(entries_are_of_one_op_a_lap_and_neighbours_share_no_sector)
{
    for (uint64_t groups = 1; groups <= 5; groups++) {
        const uint64_t count = groups * HEADERS_PER_GROUP;
        uint32_t seen[5 * HEADERS_PER_GROUP] = {0};
        for (uint64_t op = 0; op < 3 * count; op++) {
            const uint64_t entry = headers_log_entry(count, op);
            expect(entry < count);
            expect_equal(entry, headers_log_entry(count, op + count));
            expect_equal(seen[entry], op / count);
            seen[entry] += 1;
            for (uint64_t next = op + 1; next < op + HEADERS_INTERLEAVED; next++) {
                const uint64_t sector = headers_log_entry(count, next) / HEADERS_PER_SECTOR;
                expect(sector != entry / HEADERS_PER_SECTOR);
            }
        }
    }
    /* As doc/disk_format.md says. */
    expect_equal(headers_log_entry(128, 1), 16);
    expect_equal(headers_log_entry(128, 4), 1);
    expect_equal(headers_log_entry(128, 63), 63);
    expect_equal(headers_log_entry(128, 66), 64 + 32);
    expect_equal(headers_log_entry(128, 130), 32);
}

/* ---- Invariants ------------------------------------------------------------------------------ */

/* At whatever event the power fails: if an intact header of N + 1 is on disk, so is the prepare. */
UNIT_TEST(j1_header_is_written_after_its_prepare_is_durable)
{
    uint32_t with_header = 0, with_prepare_only = 0, with_neither = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        for (uint64_t event = 1; event <= 4; event++) {
            journal_fixture_init(&fixture, RING_SIZE, seed);
            journal_fixture_fill(&fixture, seed % 3, OP_COUNT);
            const uint64_t op = fixture.op_head + 1;
            storage_sim_crash_after(&fixture.sim, event);
            expect_equal(journal_fixture_append(&fixture, 3 * EVENT_SIZE), STORAGE_IO_ERROR);
            expect(fixture.journal.failed);
            storage_sim_restart(&fixture.sim);
            const struct prepare_header *message = journal_fixture_message(&fixture, op);
            const bool header = memcmp(entry_of(op), message, PREPARE_HEADER_SIZE) == 0;
            const bool prepare = memcmp(bytes_of(op), message, prepare_size_on_disk(message)) == 0;
            if (header) expect(prepare);
            if (event <= 2) expect(!header);
            if (event > 2) expect(prepare);
            with_header += header;
            with_prepare_only += prepare && !header;
            with_neither += !prepare;
            journal_fixture_free(&fixture);
        }
    }
    expect(with_header > 0 && with_prepare_only > 0 && with_neither > 0);
}

static uint32_t busy_seen;

static void
append_while_busy_on_done(struct journal_append *append, enum storage_result result)
{
    (void) append;
    expect_equal(result, STORAGE_OK);
    expect(!journal_busy(&fixture.journal));
    busy_seen += 1;
}

UNIT_TEST(j2_appends_are_serial)
{
    journal_fixture_init(&fixture, RING_SIZE, 1);
    struct journal_append append = {
        .prepare = journal_fixture_make_prepare(&fixture, 1, EVENT_SIZE),
        .callback = append_while_busy_on_done,
    };
    busy_seen = 0;
    journal_append(&fixture.journal, &append);
    expect(journal_busy(&fixture.journal));
    expect_equal(fixture.journal.head.op, 0); /* The head advances at completion. */
    expect_equal(busy_seen, 0);               /* No completion inside submit. */
    while (busy_seen == 0) {
        expect_equal(fixture.journal.head.op, 0);
        (void) storage_wait(&fixture.sim.storage);
    }
    expect_equal(fixture.journal.head.op, 1);
    expect_equal(fixture.journal.stats.prepares_writes, 1);
    expect_equal(fixture.journal.stats.headers_writes, 1);
    expect_equal(fixture.journal.stats.prepares_bytes_written, SECTOR_SIZE);
    expect_equal(fixture.journal.stats.headers_bytes_written, SECTOR_SIZE);
    expect(storage_sim_bytes(&fixture.sim, STORAGE_PREPARES)[SECTOR_SIZE] != 0);
    journal_fixture_free(&fixture);
}

/* Against a model of the ring that marks each sector with the op that lies in it. */
UNIT_TEST(j3_room_ends_where_the_checkpoint_does)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        journal_fixture_init(&fixture, PREPARES_SIZE_MIN, seed);
        uint64_t sector_ops[PREPARES_SIZE_MIN / SECTOR_SIZE] = {0};
        uint32_t refused = 0;
        while (fixture.op_head < 500) {
            const uint64_t op = fixture.op_head + 1;
            const struct prepare_header *prepare = journal_fixture_make_prepare(
                &fixture, op, journal_fixture_random_size_body(&fixture));
            const uint64_t size = prepare_size_on_disk(prepare);
            const uint64_t first = journal_fixture_place(&fixture, prepare) / SECTOR_SIZE;
            bool overwrites = false;
            for (uint64_t i = 0; i < size / SECTOR_SIZE; i++) {
                overwrites |= sector_ops[first + i] > fixture.checkpoint.op;
            }
            const bool room = journal_has_room(&fixture.journal, size);
            if (room) expect(!overwrites);
            /*
             * Refused too early only for bytes skipped at the end of the ring: they count as used.
             */
            const bool at_seam =
                first == 0 || first * SECTOR_SIZE + PREPARE_SIZE_MAX >= PREPARES_SIZE_MIN;
            if (!room && !overwrites) expect(at_seam);
            if (!room) {
                refused += 1;
                const uint64_t used = journal_used_bytes(&fixture.journal);
                expect(used + 2 * PREPARE_SIZE_MAX > PREPARES_SIZE_MIN);
                journal_fixture_checkpoint(
                    &fixture, prng_range(&fixture.prng, fixture.checkpoint.op + 1, op - 1));
                continue;
            }
            for (uint64_t i = 0; i < size / SECTOR_SIZE; i++) {
                sector_ops[first + i] = op;
            }
            expect_equal(journal_fixture_append_message(&fixture), STORAGE_OK);
        }
        expect(refused > 5);
        journal_fixture_free(&fixture);
    }
}

UNIT_TEST(j3_an_empty_ring_takes_any_prepare)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        journal_fixture_init(&fixture, PREPARES_SIZE_MIN, seed);
        for (uint32_t i = 0; i < 60; i++) {
            for (uint64_t size = SECTOR_SIZE; size <= PREPARE_SIZE_MAX; size += SECTOR_SIZE) {
                expect(journal_has_room(&fixture.journal, size));
            }
            expect_equal(journal_used_bytes(&fixture.journal), 0);
            (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
            expect(journal_used_bytes(&fixture.journal) >= SECTOR_SIZE);
            journal_fixture_checkpoint(&fixture, fixture.op_head);
        }
        journal_fixture_free(&fixture);
    }
}

/* Full to the last sector, with each slot of the headers log in use. */
UNIT_TEST(j3_full_log_recovers)
{
    for (uint64_t laps = 0; laps <= 3; laps++) {
        journal_fixture_init(&fixture, PREPARES_SIZE_MIN, 1);
        journal_fixture_fill(&fixture, laps, 0);
        while (journal_has_room(&fixture.journal, SECTOR_SIZE)) {
            expect_equal(journal_fixture_append(&fixture, EVENT_SIZE), STORAGE_OK);
        }
        expect_equal(journal_used_bytes(&fixture.journal), PREPARES_SIZE_MIN);
        expect_equal(fixture.op_head - fixture.checkpoint.op, headers_log_count(PREPARES_SIZE_MIN));
        struct journal_report report;
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect_equal(report.entries_kept, headers_log_count(PREPARES_SIZE_MIN));
        expect(journal_fixture_log_equals(&fixture, fixture.op_head));
        expect(!journal_has_room(&fixture.journal, SECTOR_SIZE));

        /* The same without the headers log: every header is fixed from its prepare. */
        memset(journal_fixture_headers(&fixture), 0, RING_SIZE / HEADERS_PER_SECTOR);
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect_equal(report.headers_fixed, headers_log_count(PREPARES_SIZE_MIN));
        expect(journal_fixture_log_equals(&fixture, fixture.op_head));
        journal_fixture_free(&fixture);
    }
}

/*
 * (J4): a whole prepare of the right op that is not the child of the head is damage, not the next
 * op.
 */
UNIT_TEST(j4_recovery_follows_parent_links)
{
    journal_fixture_init(&fixture, RING_SIZE, 4);
    journal_fixture_fill(&fixture, 0, OP_COUNT);
    const uint64_t op = fixture.op_head + 1;
    struct prepare_header *stranger = journal_fixture_make_prepare(&fixture, op, EVENT_SIZE);
    stranger->parent += 1;
    prepare_seal(stranger);
    memcpy(bytes_of(op), stranger, prepare_size_on_disk(stranger));
    struct journal_report report;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
    expect_equal(report.damage_op, op);
    expect(strcmp(report.damage->name, "unnamed_stranger_head") == 0);

    /* Also if the headers log names it. */
    *entry_of(op) = *stranger;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
    expect(strcmp(report.damage->name, "misnamed_stranger_head") == 0);
    journal_fixture_free(&fixture);
}

UNIT_TEST(a_failed_write_fails_the_journal)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        journal_fixture_init(&fixture, RING_SIZE, seed);
        journal_fixture_fill(&fixture, seed % 2, OP_COUNT);
        fixture.sim.options.write_error_per_million = 500000;
        while (journal_fixture_append(&fixture, 2 * EVENT_SIZE) == STORAGE_OK) {
            continue;
        }
        expect(fixture.journal.failed);
        expect_equal(fixture.journal.head.op, fixture.op_head);
        fixture.sim.options.write_error_per_million = 0;

        struct journal_report report;
        expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
        expect(report.op_head == fixture.op_head || report.op_head == fixture.op_head + 1);
        expect(journal_fixture_log_equals(&fixture, report.op_head));
        expect_settled(report.op_head);
        journal_fixture_free(&fixture);
    }
}

UNIT_TEST(a_failed_repair_write_is_an_io_error)
{
    journal_fixture_init(&fixture, RING_SIZE, 1);
    journal_fixture_fill(&fixture, 1, OP_COUNT);
    memset(entry_of(fixture.op_head), 0, PREPARE_HEADER_SIZE);
    fixture.sim.options.write_error_per_million = 1000000;
    struct journal_report report;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_IO_ERROR);
    expect(fixture.journal.failed);
    fixture.sim.options.write_error_per_million = 0;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect(journal_fixture_log_equals(&fixture, fixture.op_head));
    journal_fixture_free(&fixture);
}

UNIT_TEST(rot_after_recovery_is_found_by_the_read)
{
    journal_fixture_init(&fixture, RING_SIZE, 1);
    journal_fixture_fill(&fixture, 0, OP_COUNT);
    static _Alignas(SECTOR_SIZE) uint8_t message[PREPARE_SIZE_MAX];
    expect_equal(journal_read_prepare(&fixture.journal, 2, message), JOURNAL_READ_OK);
    /* Replay reads ahead: what it has in memory was verified; what it reads next is found out. */
    fixture.journal.window_size = 0;
    prepare_set_different(2, false);
    expect_equal(journal_read_prepare(&fixture.journal, 2, message), JOURNAL_READ_DAMAGED);
    fixture.journal.window_size = 0;
    prepare_set_damaged(3);
    expect_equal(journal_read_prepare(&fixture.journal, 3, message), JOURNAL_READ_DAMAGED);
    fixture.journal.window_size = 0;
    storage_sim_latent_error(
        &fixture.sim,
        STORAGE_PREPARES,
        journal_fixture_place(&fixture, journal_fixture_message(&fixture, 4)),
        1);
    expect_equal(journal_read_prepare(&fixture.journal, 4, message), JOURNAL_READ_IO_ERROR);
    journal_fixture_free(&fixture);
}

UNIT_TEST(a_log_that_ends_before_what_was_committed_is_refused_untouched)
{
    struct journal_report report;
    journal_fixture_init(&fixture, RING_SIZE, 1);
    journal_fixture_fill(&fixture, 0, OP_COUNT);
    const uint64_t op_head = fixture.op_head;
    const uint64_t writes = fixture.sim.counters.writes;
    memset(entry_of(op_head), 0, PREPARE_HEADER_SIZE);
    prepare_set_damaged(op_head);
    expect_equal(
        journal_recover(
            &fixture.journal,
            FIXTURE_CLUSTER,
            &fixture.checkpoint,
            &fixture.evidence,
            op_head,
            &report),
        JOURNAL_RECOVERY_SHORT);
    expect_equal(report.op_head, op_head - 1);
    expect(fixture.journal.failed);
    expect_equal(fixture.sim.counters.writes, writes);
    journal_fixture_free(&fixture);
}

/*
 * (J5) While a sector of the headers log is read, the head doesn't move into it; and while it is
 * written, it isn't read.
 */
UNIT_TEST(j5_headers_are_read_again_beside_appends)
{
    uint32_t refused = 0;
    uint32_t waited = 0;
    for (uint64_t op_count = 1; op_count < 30; op_count++) {
        struct journal_check check;
        journal_fixture_init(&fixture, RING_SIZE, op_count);
        for (uint64_t i = 0; i < op_count; i++) (void) journal_fixture_append(&fixture, 0);
        struct journal *journal = &fixture.journal;
        journal_check_init(&check, journal);
        journal_check_start(&check);
        uint32_t sectors = 0;
        enum journal_check_step step;
        while ((step = journal_check_step(&check)) != JOURNAL_CHECK_END) {
            expect(step != JOURNAL_CHECK_DAMAGED && step != JOURNAL_CHECK_HEADER_DAMAGED);
            if (step != JOURNAL_CHECK_STARTED) continue;
            const bool here =
                check.headers && check.sector == journal_sector(journal, op_count + 1);
            expect_equal(journal_has_room(journal, SECTOR_SIZE), !here);
            refused += here;
            sectors += check.headers;
            (void) storage_wait(&fixture.sim.storage);
            expect(journal_has_room(journal, SECTOR_SIZE));
        }
        expect_equal(sectors, op_count < HEADERS_INTERLEAVED ? op_count : HEADERS_INTERLEAVED);
        /* The head's sector, at its turn while an append is under way. */
        journal_check_start(&check);
        while (!check.headers) {
            if (journal_check_step(&check) == JOURNAL_CHECK_WAIT) {
                (void) storage_wait(&fixture.sim.storage);
            }
            if (check.op == check.op_end) break;
        }
        (void) journal_fixture_make_prepare(&fixture, op_count + 1, 0);
        fixture.append_done = false;
        fixture.append = (struct journal_append){
            .prepare = journal_fixture_message(&fixture, op_count + 1),
            .callback = journal_fixture_append_on_done,
        };
        journal_append(journal, &fixture.append);
        while ((step = journal_check_step(&check)) != JOURNAL_CHECK_END) {
            expect(step != JOURNAL_CHECK_DAMAGED && step != JOURNAL_CHECK_HEADER_DAMAGED);
            waited += step == JOURNAL_CHECK_WAIT && !check.reading;
            if (step == JOURNAL_CHECK_WAIT) (void) storage_wait(&fixture.sim.storage);
        }
        journal_fixture_free(&fixture);
    }
    expect(refused >= 20);
    expect(waited >= 20);
}

UNIT_MAIN(test_journal)
