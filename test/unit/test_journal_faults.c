/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the journal promises of a broken disk: a single fault, alone or with a crash, never loses an
 * acknowledged op silently, and never stops the node without need.
 */
#include "unit.h"

#include <string.h>

#include "journal_fixture.h"

#define RING_SIZE    PREPARES_SIZE_MIN
#define HEADERS_SIZE (RING_SIZE / HEADERS_PER_SECTOR)
#define OP_COUNT     9

static struct journal_fixture fixture;

enum sector_fault { FAULT_ROT, FAULT_UNREADABLE, FAULT_ZEROED, FAULT_COUNT };

/* False if it changes nothing: zeros over zeros. */
static bool
break_sector(enum storage_file file, uint64_t offset, enum sector_fault fault)
{
    uint8_t *sector = storage_sim_bytes(&fixture.sim, file) + offset;
    switch (fault) {
    case FAULT_ROT: storage_sim_rot(&fixture.sim, file, offset, SECTOR_SIZE); return true;
    case FAULT_UNREADABLE:
        storage_sim_latent_error(&fixture.sim, file, offset, SECTOR_SIZE);
        return true;
    case FAULT_ZEROED: {
        static const uint8_t zero[SECTOR_SIZE];
        if (memcmp(sector, zero, SECTOR_SIZE) == 0) return false;
        memset(sector, 0, SECTOR_SIZE);
        return true;
    }
    case FAULT_COUNT: break;
    }
    unreachable();
}

/*
 * The op after the checkpoint, up to `head`, whose prepare lies over this sector of prepares.wal;
 * or 0.
 */
static uint64_t
op_at(uint64_t offset, uint64_t head)
{
    for (uint64_t op = fixture.checkpoint.op + 1; op <= head; op++) {
        const struct prepare_header *header = journal_fixture_message(&fixture, op);
        const uint64_t place = journal_fixture_place(&fixture, header);
        if (offset >= place && offset < place + prepare_size_on_disk(header)) return op;
    }
    return 0;
}

/* `acknowledged` ops must survive; one more may, if its append was under way. */
static void
expect_survived(uint64_t acknowledged, bool one_more)
{
    struct journal_report report;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect(report.op_head == acknowledged || (one_more && report.op_head == acknowledged + 1));
    expect(journal_fixture_log_equals(&fixture, report.op_head));

    /* What recovery wrote makes the next one find nothing to do. */
    const uint64_t head = report.op_head;
    const uint64_t left = journal_fixture_headers_left(&fixture, head);
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_equal(report.headers_fixed, left);
    expect(!report.tail_cut);
    expect(journal_fixture_log_equals(&fixture, head));
}

static void
expect_damage_at(uint64_t op)
{
    struct journal_report report;
    struct journal_image image = journal_image_save(&fixture);
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
    expect_equal(report.damage_op, op);
    expect_equal(report.op_head, op - 1);
    expect(report.damage != NULL && report.damage->decision == JOURNAL_REPAIR);
    expect(journal_image_equals(&fixture, &image));
    journal_image_free(&image);
}

/* Nothing tells whether this op, the one after the newest, was ever complete. */
static void
expect_uncertain_at(uint64_t op)
{
    struct journal_report report;
    struct journal_image image = journal_image_save(&fixture);
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
    expect(report.uncertain);
    expect_equal(report.damage_op, op);
    expect_equal(report.op_head, op - 1);
    expect_equal(report.op_max, op - 1);
    expect(report.damage->decision == JOURNAL_UNCERTAIN);
    expect(journal_image_equals(&fixture, &image));
    journal_image_free(&image);
}

/* Does this sector of headers.wal have the entry of the op? */
static bool
names(uint64_t offset, uint64_t op)
{
    return journal_fixture_slot_offset(&fixture, op) / SECTOR_SIZE == offset / SECTOR_SIZE;
}

/* Has the fault changed this op's entry into something that is neither a header nor blank? */
static bool
spoils(const struct journal_image *before, uint64_t op, enum sector_fault fault)
{
    const uint64_t offset = journal_fixture_slot_offset(&fixture, op);
    if (fault != FAULT_ROT) return fault == FAULT_UNREADABLE;
    return memcmp(
               journal_fixture_headers(&fixture) + offset,
               before->headers + offset,
               PREPARE_HEADER_SIZE) != 0;
}

/* Each sector of both logs, each kind of fault. */
UNIT_TEST(a_broken_sector_is_fixed_or_reported)
{
    for (uint64_t laps = 0; laps <= 3; laps++) {
        journal_fixture_init(&fixture, RING_SIZE, 10 + laps);
        journal_fixture_fill(&fixture, laps, OP_COUNT);
        struct journal_image image = journal_image_save(&fixture);
        for (uint64_t at = 0; at < RING_SIZE + HEADERS_SIZE; at += SECTOR_SIZE) {
            const bool prepares = at < RING_SIZE;
            const enum storage_file file = prepares ? STORAGE_PREPARES : STORAGE_HEADERS;
            const uint64_t offset = prepares ? at : at - RING_SIZE;
            for (enum sector_fault fault = 0; fault < FAULT_COUNT; fault++) {
                if (!break_sector(file, offset, fault)) continue;
                const uint64_t op = prepares ? op_at(offset, fixture.op_head) : 0;
                const bool tail = !prepares && names(offset, fixture.op_head + 1);
                if (op != 0) {
                    expect_damage_at(op);
                } else if (tail && spoils(&image, fixture.op_head + 1, fault)) {
                    expect_uncertain_at(fixture.op_head + 1);
                } else {
                    expect_survived(fixture.op_head, false);
                }
                journal_image_restore(&fixture, &image);
            }
        }
        journal_image_free(&image);
        journal_fixture_free(&fixture);
    }
}

/*
 * Power fails at each event of an append, however it tears; and any one sector is broken besides.
 */
static void
check_crash_and_fault(uint64_t seed, uint64_t laps, uint64_t event)
{
    journal_fixture_init(&fixture, RING_SIZE, seed);
    journal_fixture_fill(&fixture, laps, OP_COUNT);
    const uint64_t head = fixture.op_head;
    storage_sim_crash_after(&fixture.sim, event);
    const uint32_t size_body = journal_fixture_random_size_body(&fixture);
    expect_equal(journal_fixture_append(&fixture, size_body), STORAGE_IO_ERROR);
    storage_sim_restart(&fixture.sim);
    struct journal_image image = journal_image_save(&fixture);
    expect_survived(head, true);
    journal_image_restore(&fixture, &image);
    for (uint64_t at = 0; at < RING_SIZE + HEADERS_SIZE; at += SECTOR_SIZE) {
        const bool prepares = at < RING_SIZE;
        const enum storage_file file = prepares ? STORAGE_PREPARES : STORAGE_HEADERS;
        const uint64_t offset = prepares ? at : at - RING_SIZE;
        const enum sector_fault fault = prng_below(&fixture.prng, FAULT_COUNT);
        const uint64_t op = prepares ? op_at(offset, head) : 0;
        if (!break_sector(file, offset, fault)) continue;
        const bool tails = !prepares && (names(offset, head + 1) || names(offset, head + 2));
        if (op != 0) {
            expect_damage_at(op);
        } else if (tails && fault != FAULT_ZEROED) {
            /* Of the newest op, whichever that is, or of the one behind it. */
            struct journal_report report;
            const enum journal_recovery result = journal_fixture_recover(&fixture, &report);
            if (result == JOURNAL_RECOVERED) expect_survived(report.op_head, false);
            if (result == JOURNAL_RECOVERED) expect(report.op_head >= head);
            if (result != JOURNAL_RECOVERED) expect(report.uncertain);
            if (result != JOURNAL_RECOVERED) expect(report.op_head >= head);
        } else if (prepares && op_at(offset, head + 1) != 0) {
            /* Of the op that was never acknowledged: gone, or known to be damaged. */
            struct journal_report report;
            const enum journal_recovery result = journal_fixture_recover(&fixture, &report);
            if (result == JOURNAL_RECOVERED) expect_survived(head, false);
            if (result != JOURNAL_RECOVERED) expect_equal(report.damage_op, head + 1);
        } else {
            expect_survived(head, true);
        }
        journal_image_restore(&fixture, &image);
    }
    journal_image_free(&image);
    journal_fixture_free(&fixture);
}

UNIT_TEST(a_crash_and_a_broken_sector)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t event = 1; event <= 4; event++) {
            check_crash_and_fault(seed, seed % 4, event);
        }
    }
}

/* A crash during recovery itself, at each of its writes. */
UNIT_TEST(a_crash_during_recovery)
{
    uint32_t crashes = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (uint64_t event = 1; event <= 60; event += 1 + seed % 3) {
            journal_fixture_init(&fixture, RING_SIZE, seed);
            journal_fixture_fill(&fixture, seed % 4, OP_COUNT);
            const uint64_t head = fixture.op_head;
            storage_sim_crash_after(&fixture.sim, 1 + seed % 4);
            (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
            storage_sim_restart(&fixture.sim);
            /* Not the entry of the op after the newest, whichever that is. */
            const uint64_t named = journal_fixture_slot_offset(&fixture, head - seed % 2);
            (void) break_sector(STORAGE_HEADERS, named / SECTOR_SIZE * SECTOR_SIZE, FAULT_ROT);

            struct journal_report report;
            storage_sim_crash_after(&fixture.sim, event);
            (void) journal_fixture_recover(&fixture, &report);
            const bool crashed = fixture.sim.crashed;
            crashes += crashed;
            if (crashed) storage_sim_restart(&fixture.sim);
            storage_sim_crash_after(&fixture.sim, 0);
            expect_survived(head, true);
            journal_fixture_free(&fixture);
            if (!crashed) break;
        }
    }
    expect(crashes > 100);
}

/* What recovery was writing when power failed again is no second fault. */
UNIT_TEST(a_crash_during_recovery_and_a_rotten_prepare)
{
    uint32_t crashes = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t event = 1; event <= 60; event += 1 + seed % 3) {
            journal_fixture_init(&fixture, RING_SIZE, seed);
            journal_fixture_fill(&fixture, seed % 4, OP_COUNT);
            const uint64_t head = fixture.op_head;
            storage_sim_crash_after(&fixture.sim, 1 + seed % 4);
            (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
            storage_sim_restart(&fixture.sim);
            struct journal_report report;
            storage_sim_crash_after(&fixture.sim, event);
            (void) journal_fixture_recover(&fixture, &report);
            const bool crashed = fixture.sim.crashed;
            crashes += crashed;
            if (crashed) storage_sim_restart(&fixture.sim);
            storage_sim_crash_after(&fixture.sim, 0);
            const uint64_t op = head - event % 3;
            (void) break_sector(
                STORAGE_PREPARES,
                journal_fixture_place(&fixture, journal_fixture_message(&fixture, op)),
                FAULT_ROT);
            expect_damage_at(op);
            journal_fixture_free(&fixture);
            if (!crashed) break;
        }
    }
    expect(crashes > 60);
}

/* A write that was reported durable and never happened. */
UNIT_TEST(a_lost_write)
{
    for (uint64_t laps = 0; laps <= 3; laps++) {
        for (uint64_t op_lost = 1; op_lost <= OP_COUNT; op_lost++) {
            for (uint32_t header = 0; header < 2; header++) {
                journal_fixture_init(&fixture, RING_SIZE, 20 + laps);
                journal_fixture_fill(&fixture, laps, op_lost - 1);
                struct journal_image before = journal_image_save(&fixture);
                (void) journal_fixture_append(&fixture, journal_fixture_random_size_body(&fixture));
                const uint64_t op = fixture.op_head;
                if (header) {
                    memcpy(journal_fixture_headers(&fixture), before.headers, before.headers_size);
                } else {
                    memcpy(
                        journal_fixture_prepares(&fixture), before.prepares, before.prepares_size);
                }
                while (fixture.op_head < fixture.checkpoint.op + OP_COUNT) {
                    (void) journal_fixture_append(
                        &fixture, journal_fixture_random_size_body(&fixture));
                }
                if (header) expect_survived(fixture.op_head, false);
                if (!header) expect_damage_at(op);
                journal_image_free(&before);
                journal_fixture_free(&fixture);
            }
        }
    }
}

/*
 * A prepare that lands at any other place. It is lost where it should be, and what it hit is
 * damaged.
 */
UNIT_TEST(a_misdirected_prepare_write)
{
    for (uint64_t laps = 0; laps <= 3; laps++) {
        journal_fixture_init(&fixture, RING_SIZE, 30 + laps);
        journal_fixture_fill(&fixture, laps, OP_COUNT - 1);
        struct journal_image before = journal_image_save(&fixture);
        (void) journal_fixture_append(&fixture, 200);
        const uint64_t head = fixture.op_head;
        const struct prepare_header *message = journal_fixture_message(&fixture, head);
        for (uint64_t at = 0; at < RING_SIZE; at += SECTOR_SIZE) {
            if (at == journal_fixture_place(&fixture, message)) continue;
            memcpy(journal_fixture_prepares(&fixture), before.prepares, before.prepares_size);
            memcpy(journal_fixture_prepares(&fixture) + at, message, SECTOR_SIZE);
            const uint64_t hit = op_at(at, head - 1);
            expect_damage_at(hit != 0 ? hit : head);
        }
        journal_image_free(&before);
        journal_fixture_free(&fixture);
    }
}

/* The sector with the head's header lands where another one is. */
static void
check_misdirected_header_write(uint64_t laps, uint64_t sectors_away)
{
    journal_fixture_init(&fixture, RING_SIZE, 40 + laps);
    journal_fixture_fill(&fixture, laps, OP_COUNT - 1);
    struct journal_image before = journal_image_save(&fixture);
    (void) journal_fixture_append(&fixture, 200);
    const uint64_t head = fixture.op_head;
    const uint64_t slot = journal_fixture_slot_offset(&fixture, head);
    const uint64_t sector = slot / SECTOR_SIZE * SECTOR_SIZE;
    const uint64_t other = (sector + sectors_away * SECTOR_SIZE) % HEADERS_SIZE;
    static uint8_t written[SECTOR_SIZE];
    memcpy(written, journal_fixture_headers(&fixture) + sector, SECTOR_SIZE);
    memcpy(journal_fixture_headers(&fixture), before.headers, before.headers_size);
    memcpy(journal_fixture_headers(&fixture) + other, written, SECTOR_SIZE);

    /* With the prepare rotten besides, the header astray is what proves the op. */
    struct journal_image image = journal_image_save(&fixture);
    (void) break_sector(
        STORAGE_PREPARES,
        journal_fixture_place(&fixture, journal_fixture_message(&fixture, head)),
        FAULT_ROT);
    expect_damage_at(head);
    journal_image_restore(&fixture, &image);
    journal_image_free(&image);
    if (names(other, head + 1)) {
        expect_uncertain_at(head + 1);
    } else {
        expect_survived(head, false);
    }
    journal_image_free(&before);
    journal_fixture_free(&fixture);
}

UNIT_TEST(a_misdirected_header_write)
{
    for (uint64_t laps = 0; laps <= 3; laps++) {
        for (uint64_t away = 1; away < HEADERS_SIZE / SECTOR_SIZE; away++) {
            check_misdirected_header_write(laps, away);
        }
    }
}

/*
 * The header sector of the newest ops is gone, and one of their prepares: the later ones prove it.
 */
UNIT_TEST(a_torn_header_sector_and_a_rotten_prepare)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        journal_fixture_init(&fixture, RING_SIZE, seed);
        journal_fixture_fill(&fixture, seed % 4, OP_COUNT);
        struct journal_image image = journal_image_save(&fixture);
        for (uint64_t op = fixture.checkpoint.op + 1; op < fixture.op_head; op++) {
            memset(journal_fixture_headers(&fixture), 0xee, HEADERS_SIZE);
            const struct prepare_header *header = journal_fixture_message(&fixture, op);
            const uint64_t place = journal_fixture_place(&fixture, header);
            (void) break_sector(STORAGE_PREPARES, place, op % FAULT_COUNT);
            expect_damage_at(op);
            journal_image_restore(&fixture, &image);
        }
        journal_image_free(&image);
        journal_fixture_free(&fixture);
    }
}

/*
 * A dropped append must never come back beside the one that took its op. Histories of crashes at
 * each event, with the same few sizes again and again, so that old and new bytes meet.
 */
UNIT_TEST(a_dropped_append_stays_dropped)
{
    uint32_t cuts = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        journal_fixture_init(&fixture, PREPARES_SIZE_MIN, seed);
        for (uint32_t round = 0; round < 60 && fixture.op_head + 2 < FIXTURE_OPS_MAX; round++) {
            if (journal_used_bytes(&fixture.journal) > PREPARES_SIZE_MIN / 2) {
                journal_fixture_checkpoint(&fixture, fixture.op_head);
            }
            const uint64_t event = prng_range(&fixture.prng, 1, 6);
            storage_sim_crash_after(&fixture.sim, event);
            const uint64_t head = fixture.op_head;
            const uint32_t size_body = round % 2 == 0 ? 4 * EVENT_SIZE : 40 * EVENT_SIZE;
            const enum storage_result result = journal_fixture_append(&fixture, size_body);
            const uint64_t op = head + 1;
            if (fixture.sim.crashed) storage_sim_restart(&fixture.sim);
            storage_sim_crash_after(&fixture.sim, 0);

            struct journal_report report;
            expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
            if (result == STORAGE_OK) expect_equal(report.op_head, op);
            expect(report.op_head == head || report.op_head == op);
            expect(journal_fixture_log_equals(&fixture, report.op_head));
            cuts += report.op_head == head;
            fixture.op_head = report.op_head;
        }
        journal_fixture_free(&fixture);
    }
    expect(cuts > 100);
}

/*
 * Op N is whole, but could not be read when recovery ran, and was dropped. Its successor takes more
 * bytes and lies at the start of the next lap; N must be gone from the end of the ring, or it would
 * be found there once the headers log is damaged.
 */
UNIT_TEST(an_append_dropped_as_unreadable_is_erased)
{
    journal_fixture_init(&fixture, PREPARES_SIZE_MIN, 1);
    while (journal_used_bytes(&fixture.journal) < PREPARES_SIZE_MIN - 2 * SECTOR_SIZE) {
        (void) journal_fixture_append(&fixture, EVENT_SIZE);
    }
    journal_fixture_checkpoint(&fixture, fixture.op_head - 2);
    const uint64_t head = fixture.op_head;
    const uint64_t place = PREPARES_SIZE_MIN - SECTOR_SIZE;
    struct journal_image before = journal_image_save(&fixture);
    (void) journal_fixture_append(&fixture, EVENT_SIZE);
    expect_equal(
        journal_fixture_place(&fixture, journal_fixture_message(&fixture, head + 1)), place);
    memcpy(journal_fixture_headers(&fixture), before.headers, before.headers_size);
    storage_sim_latent_error(&fixture.sim, STORAGE_PREPARES, place, SECTOR_SIZE);
    fixture.op_head = head;
    expect_survived(head, false);

    (void) journal_fixture_append(&fixture, 40 * EVENT_SIZE);
    (void) journal_fixture_append(&fixture, EVENT_SIZE);
    expect_equal(journal_fixture_place(&fixture, journal_fixture_message(&fixture, head + 1)), 0);
    for (uint64_t at = 0; at < HEADERS_SIZE; at += SECTOR_SIZE) {
        if (names(at, head + 3)) continue;
        memset(journal_fixture_headers(&fixture) + at, 0xee, SECTOR_SIZE);
    }
    expect_survived(head + 2, false);
    journal_image_free(&before);
    journal_fixture_free(&fixture);
}

/*
 * Makes the second sector of a body imitate a whole prepare of this op, which belongs where it lies
 * `laps` laps later.
 */
static struct prepare_header *
imitate_prepare(struct prepare_header *message, uint64_t op, uint64_t laps)
{
    assert(prepare_size_on_disk(message) == 2 * SECTOR_SIZE);
    uint8_t *sector = (uint8_t *) message + SECTOR_SIZE;
    struct prepare_header *imitation = prepare_header_of(sector);
    memset(sector, 0, SECTOR_SIZE);
    imitation->cluster = FIXTURE_CLUSTER;
    imitation->op = op;
    imitation->position = message->position + SECTOR_SIZE + laps * fixture.ring_size;
    imitation->size = PREPARE_HEADER_SIZE;
    imitation->version = DISK_FORMAT_VERSION;
    imitation->operation = PREPARE_PULSE;
    imitation->commit = op - 1;
    imitation->timestamp = message->timestamp + PULSE_EXPIRIES_MAX;
    imitation->event_count = PULSE_EXPIRIES_MAX;
    imitation->voters = message->voters;
    prepare_seal(imitation);
    expect(prepare_valid(imitation, FIXTURE_CLUSTER));
    prepare_seal(message);
    return imitation;
}

UNIT_TEST(an_imitated_header_in_a_body_proves_nothing)
{
    for (uint64_t laps = 0; laps <= 1; laps++) {
        journal_fixture_init(&fixture, PREPARES_SIZE_MIN, 1);
        (void) journal_fixture_append(&fixture, EVENT_SIZE);
        struct prepare_header *message = journal_fixture_make_prepare(&fixture, 2, 40 * EVENT_SIZE);
        /* Of the very next op where it lies; or of one that a later lap brings to that place. */
        const uint64_t ops_lap = headers_log_count(PREPARES_SIZE_MIN) - 2;
        (void) imitate_prepare(message, laps == 0 ? 3 : 2 + ops_lap + 2, laps);
        (void) journal_fixture_append_message(&fixture);
        expect_survived(2, false);

        for (uint64_t i = 0; laps == 1 && i < ops_lap; i++) {
            (void) journal_fixture_append(&fixture, EVENT_SIZE);
            journal_fixture_checkpoint(&fixture, fixture.op_head);
            expect_survived(fixture.op_head, false);
        }
        /* One more would have taken the place of the prepare that holds the imitation. */
        const uint64_t end = fixture.journal.head.position + SECTOR_SIZE;
        if (laps == 1) expect_equal(end, message->position + PREPARES_SIZE_MIN);
        journal_fixture_free(&fixture);
    }
}

/* In a torn append: its own header tells how far its body reaches. */
UNIT_TEST(an_imitated_header_in_a_torn_append_proves_nothing)
{
    journal_fixture_init(&fixture, PREPARES_SIZE_MIN, 1);
    journal_fixture_fill(&fixture, 0, 2);
    struct prepare_header *message = journal_fixture_make_prepare(&fixture, 3, 40 * EVENT_SIZE);
    (void) imitate_prepare(message, 4, 0);
    uint8_t *disk = journal_fixture_prepares(&fixture) + journal_fixture_place(&fixture, message);
    memcpy(disk, message, prepare_size_on_disk(message));
    disk[PREPARE_HEADER_SIZE] ^= 1;
    struct journal_report report;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERED);
    expect_equal(report.op_head, 2);
    expect(report.tail_cut);
    journal_fixture_free(&fixture);
}

/* Where the torn append's first sector never came, only the cluster's id unmasks the imitation. */
UNIT_TEST(an_imitated_header_of_another_cluster_proves_nothing)
{
    for (uint32_t other = 0; other < 2; other++) {
        journal_fixture_init(&fixture, PREPARES_SIZE_MIN, 1);
        journal_fixture_fill(&fixture, 0, 2);
        struct prepare_header *message = journal_fixture_make_prepare(&fixture, 3, 40 * EVENT_SIZE);
        struct prepare_header *imitation = imitate_prepare(message, 4, 0);
        imitation->cluster += other;
        prepare_seal(imitation);
        uint8_t *disk =
            journal_fixture_prepares(&fixture) + journal_fixture_place(&fixture, message);
        memcpy(disk + SECTOR_SIZE, imitation, SECTOR_SIZE);
        if (other) expect_survived(2, false);
        if (!other) expect_damage_at(3);
        journal_fixture_free(&fixture);
    }
}

/* The next op by number and parent, at its place, but sealed for the lap before or after. */
UNIT_TEST(a_prepare_of_another_lap_is_absent)
{
    for (uint32_t after = 0; after < 2; after++) {
        journal_fixture_init(&fixture, RING_SIZE, 1);
        journal_fixture_fill(&fixture, 1, 2);
        const uint64_t head = fixture.op_head;
        struct prepare_header *message =
            journal_fixture_make_prepare(&fixture, head + 1, EVENT_SIZE);
        const uint64_t place = journal_fixture_place(&fixture, message);
        message->position = after ? message->position + RING_SIZE : message->position - RING_SIZE;
        prepare_seal(message);
        memcpy(journal_fixture_prepares(&fixture) + place, message, SECTOR_SIZE);
        expect_survived(head, false);
        journal_fixture_free(&fixture);
    }
}

/* The superblock was put back from a copy made earlier: the log says so, and nothing is cut. */
UNIT_TEST(a_checkpoint_older_than_the_log_is_damage)
{
    journal_fixture_init(&fixture, PREPARES_SIZE_MIN, 1);
    journal_fixture_fill(&fixture, 0, 3);
    const struct prepare_header checkpoint = fixture.checkpoint;
    journal_fixture_fill(&fixture, 3, 3);
    fixture.checkpoint = checkpoint;
    expect_damage_at(checkpoint.op + 1);
    struct journal_report report;
    (void) journal_fixture_recover(&fixture, &report);
    expect_equal(report.damage->header, JOURNAL_HEADER_CORRUPT);
    journal_fixture_free(&fixture);
}

UNIT_TEST(files_cut_short)
{
    for (uint64_t laps = 0; laps <= 2; laps += 2) {
        for (uint32_t file_index = 0; file_index < 2; file_index++) {
            const enum storage_file file = file_index == 0 ? STORAGE_PREPARES : STORAGE_HEADERS;
            const uint64_t full = file_index == 0 ? RING_SIZE : HEADERS_SIZE;
            for (uint64_t size = 0; size < full; size += SECTOR_SIZE) {
                journal_fixture_init(&fixture, RING_SIZE, 50 + laps);
                journal_fixture_fill(&fixture, laps, OP_COUNT);
                uint64_t damaged = 0;
                for (uint64_t at = full; at > size && file == STORAGE_PREPARES;) {
                    at -= SECTOR_SIZE;
                    const uint64_t op = op_at(at, fixture.op_head);
                    if (op != 0 && (damaged == 0 || op < damaged)) damaged = op;
                }
                fixture.sim.storage.file_size_bytes[file] = size;
                fixture.sim.files[file].size_bytes = size;
                memset(fixture.sim.files[file].bytes + size, 0, full - size);
                struct journal_report report;
                const uint64_t tail = journal_fixture_slot_offset(&fixture, fixture.op_head + 1);
                if (file == STORAGE_HEADERS && tail >= size) {
                    expect_equal(
                        journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
                    expect(report.uncertain);
                } else if (damaged != 0) {
                    expect_equal(
                        journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_DAMAGED);
                    expect_equal(report.damage_op, damaged);
                } else {
                    expect_survived(fixture.op_head, false);
                    expect_equal(fixture.sim.storage.file_size_bytes[file], full);
                }
                journal_fixture_free(&fixture);
            }
        }
    }
}

/*
 * Nothing can be read for a while, though writes work: the log must be there when the disk is back.
 */
UNIT_TEST(a_blind_disk_loses_nothing)
{
    journal_fixture_init(&fixture, RING_SIZE, 1);
    journal_fixture_fill(&fixture, 1, OP_COUNT);
    struct journal_image image = journal_image_save(&fixture);
    storage_sim_latent_error(&fixture.sim, STORAGE_PREPARES, 0, RING_SIZE);
    storage_sim_latent_error(&fixture.sim, STORAGE_HEADERS, 0, HEADERS_SIZE);
    struct journal_report report;
    expect_equal(journal_fixture_recover(&fixture, &report), JOURNAL_RECOVERY_IO_ERROR);
    expect(fixture.journal.failed);
    expect(journal_image_equals(&fixture, &image));
    journal_image_free(&image);
    journal_fixture_free(&fixture);
}

UNIT_MAIN(test_journal_faults)
