/* SPDX-License-Identifier: PostgreSQL */
/* The body of a prepare: several batches of several slots, in and out again. */
#include "unit.h"

#include "base/prng.h"
#include "ledger/types.h"
#include "vsr/multi_batch.h"

static uint8_t body[PREPARE_SIZE_MAX] __attribute__((aligned(SECTOR_SIZE)));
static uint8_t events[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
static struct multi_batch_writer writer;
static struct multi_batch_reader reader;

static void
fill_events(uint8_t first)
{
    for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
        memset(events + (size_t) i * EVENT_SIZE, (int) (first + i) & 0xff, EVENT_SIZE);
    }
}

static void
add(const struct multi_batch_source *source, uint8_t operation, uint32_t event_count,
    uint32_t record_count)
{
    const struct state_machine_batch batch = {
        .operation = operation,
        .event_count = event_count,
        .record_count = record_count,
        .events = events,
    };
    multi_batch_add(&writer, source, &batch);
}

static bool
fits(uint32_t event_count, uint32_t record_count)
{
    return multi_batch_fits(&writer, (struct multi_batch_sums){event_count, record_count});
}

UNIT_TEST(byte_table_is_as_documented)
{
    fill_events(1);
    multi_batch_begin(&writer, body);
    add(&(struct multi_batch_source){2, 0x1122, 9}, LEDGER_CREATE_ACCOUNTS, 2, 2);
    add(&(struct multi_batch_source){2, 0x1122, 10}, LEDGER_CREATE_TRANSFERS, 3, 3);
    add(&(struct multi_batch_source){11, 0x3344, 0x105}, LEDGER_CREATE_TRANSFERS, 7, 1);
    const uint32_t size = multi_batch_end(&writer);
    expect_equal(size, 6 * 128 + 128);
    expect(memcmp(body + 2 * 128, events, 3 * 128) == 0);
    /* clang-format off */
    static const uint8_t end[96] = {
        146, 0, 2, 0, 2, 0, 0, 0,
        147, 0, 3, 0, 3, 0, 0, 0,
        147, 0, 7, 0, 1, 0, 0, 0,
        2, 0, 2, 0, 5, 0, 0, 0,  0x22, 0x11, 0, 0, 0, 0, 0, 0,
        10, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
        11, 0, 1, 0, 7, 0, 0, 0,  0x44, 0x33, 0, 0, 0, 0, 0, 0,
        5, 1, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,
        3, 0, 2, 0, 0, 0, 0, 0,
    };
    /* clang-format on */
    expect(memcmp(body + size - sizeof(end), end, sizeof(end)) == 0);
    for (uint32_t at = 6 * 128; at < size - sizeof(end); at++) expect(body[at] == 0);
}

/* What went in, to be compared. */
struct sent {
    struct multi_batch_source source;
    struct multi_batch_sums sums;
};

/* Adds batches until one doesn't fit, of up to MEMBERS_MAX slots. Returns how many. */
static uint32_t
add_random(struct prng *prng, struct sent *sent)
{
    struct multi_batch_source source = {.session = 1 + prng_next(prng) / 2};
    uint32_t count = 0;
    source.slot = (uint8_t) prng_below(prng, MEMBERS_MAX);
    source.number = prng_below(prng, 100);
    for (;;) {
        const struct multi_batch_sums sums = {
            .event_count = (uint32_t) prng_range(prng, 1, EVENTS_PER_BATCH_MAX / 4),
            .record_count = (uint32_t) prng_range(prng, 1, EVENTS_PER_BATCH_MAX / 4),
        };
        if (!fits(sums.event_count, sums.record_count)) return count;
        if (count > 0 && source.slot + 1 < MEMBERS_MAX && prng_chance(prng, 1, 3)) {
            source.slot = (uint8_t) prng_range(prng, source.slot + 1, MEMBERS_MAX - 1);
            source.session = 1 + prng_next(prng) / 2;
            source.number = prng_below(prng, 100);
        }
        source.number += 1;
        fill_events((uint8_t) count);
        add(&source, (uint8_t) (100 + count), sums.event_count, sums.record_count);
        sent[count] = (struct sent){source, sums};
        count += 1;
    }
}

UNIT_TEST(batches_come_out_as_they_went_in)
{
    struct prng prng;
    prng_init(&prng, 7);
    uint32_t origins = 0;
    for (int round = 0; round < 1000; round++) {
        struct sent sent[BATCHES_PER_PREPARE_MAX];
        multi_batch_begin(&writer, body);
        const uint32_t batch_count = add_random(&prng, sent);
        const struct multi_batch_sums sums = writer.sums;
        const uint32_t size = multi_batch_end(&writer);
        struct state_machine_batch batch;
        expect(multi_batch_open(&reader, body, size, 1000000, sums));
        origins += reader.origin_count;
        uint64_t timestamp = 1000000 - sums.event_count;
        for (uint32_t i = 0; i < batch_count; i++) {
            expect(multi_batch_next(&reader, &batch));
            timestamp += sent[i].sums.event_count;
            expect_equal(batch.operation, 100 + i);
            expect_equal(batch.event_count, sent[i].sums.event_count);
            expect_equal(batch.record_count, sent[i].sums.record_count);
            expect_equal(batch.timestamp_final, timestamp);
            expect_equal(((const uint8_t *) batch.events)[0], i & 0xff);
            expect_equal(reader.source.slot, sent[i].source.slot);
            expect_equal(reader.source.session, sent[i].source.session);
            expect_equal(reader.source.number, sent[i].source.number);
        }
        expect(!multi_batch_next(&reader, &batch));
        expect_equal(timestamp, 1000000);
    }
    expect(origins > 1300);
}

UNIT_TEST(the_largest_prepare_fits_its_message)
{
    struct multi_batch_source source = {.session = 1};
    multi_batch_begin(&writer, body);
    for (uint32_t i = 0; i + 1 < BATCHES_PER_PREPARE_MAX; i++) {
        if (i > 0 && source.slot + 1 < MEMBERS_MAX) source = (struct multi_batch_source){
            .slot = (uint8_t) (source.slot + 1),
            .session = 1,
        };
        source.number += 1;
        add(&source, 1, 1, 1);
    }
    const uint32_t left = EVENTS_PER_BATCH_MAX - (BATCHES_PER_PREPARE_MAX - 1);
    source.number += 1;
    expect(fits(left, left) && !fits(left + 1, left) && !fits(left, left + 1));
    add(&source, 1, left, left);
    expect(!fits(1, 1));
    const uint32_t size = multi_batch_end(&writer);
    expect(PREPARE_HEADER_SIZE + size <= PREPARE_SIZE_MAX);
    expect(multi_batch_open(&reader, body, size, EVENTS_PER_BATCH_MAX, writer.sums));
}

static bool
opens(uint32_t size)
{
    return multi_batch_open(&reader, body, size, 100, writer.sums);
}

/* Two batches of slot 3, one of slot 5. Returns the size. */
static uint32_t
make_three(void)
{
    fill_events(1);
    multi_batch_begin(&writer, body);
    add(&(struct multi_batch_source){3, 7, 1}, 1, 2, 2);
    add(&(struct multi_batch_source){3, 7, 2}, 2, 2, 3);
    add(&(struct multi_batch_source){5, 9, 4}, 2, 5, 1);
    return multi_batch_end(&writer);
}

UNIT_TEST(a_changed_table_or_padding_is_refused)
{
    const uint32_t size = make_three();
    const uint32_t origins = size - 8 - 2 * 32;
    const uint32_t entries = origins - 3 * 8;
    expect(opens(size));
    for (uint32_t at = 6 * EVENT_SIZE; at < size; at++) {
        /*
         * Each byte of it matters; but others judge the operations, and which session it is, and
         * numbers may be higher.
         */
        if (at >= entries && at < origins && (at - entries) % 8 == 0) continue;
        if (at >= origins && at < size - 8 && (at - origins) % 32 >= 8 &&
            (at - origins) % 32 < 24) {
            continue;
        }
        for (uint32_t bit = 0; bit < 8; bit++) {
            /* Slots 3 and 5 may be others, as long as they ascend. */
            const uint8_t before = body[at];
            body[at] ^= (uint8_t) (1 << bit);
            const bool first = at == origins && body[at] < 5;
            const bool second = at == origins + 32 && body[at] > 3 && body[at] < MEMBERS_MAX;
            expect_equal(opens(size), first || second);
            body[at] = before;
        }
    }
    expect(opens(size));
    const struct multi_batch_sums sums = writer.sums;
    expect(!multi_batch_open(
        &reader, body, size, 100, (struct multi_batch_sums){sums.event_count - 1, 6}));
    expect(!multi_batch_open(
        &reader, body, size, 100, (struct multi_batch_sums){sums.event_count, 5}));
    expect(!multi_batch_open(&reader, body, size, sums.event_count - 1, sums));
    expect(!multi_batch_open(&reader, body, size - EVENT_SIZE, 100, sums));
    expect(!multi_batch_open(&reader, body, size - 1, 100, sums));
    expect(!multi_batch_open(&reader, body, 0, 100, (struct multi_batch_sums){0}));
    expect(!multi_batch_open(
        &reader, body, size, 100, (struct multi_batch_sums){sums.event_count, UINT32_MAX}));
}

UNIT_TEST(origins_must_be_possible)
{
    const uint32_t size = make_three();
    struct multi_batch_origin *origins = (void *) (body + size - 8 - 2 * 32);
    expect(opens(size));
    struct {
        uint64_t *field;
        uint64_t bad;
        uint64_t good;
    } fields[] = {
        {&origins[0].session, 0, 8}, /* No session. */
        {&origins[0].number, 1, 2},  /* Its first request would have number 0. */
        {&origins[0].number, 0, UINT64_MAX},
        {&origins[1].number, 0, 1},
        {&origins[1].reserved, 1, 0},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(fields); i++) {
        *fields[i].field = fields[i].bad;
        expect(!opens(size));
        *fields[i].field = fields[i].good;
        expect(opens(size));
    }
    /* The batches shared out otherwise: the sums of events tell. */
    (void) make_three();
    origins[0].batch_count = 1;
    origins[1].batch_count = 2;
    expect(!opens(size));
    origins[0].event_count = 2;
    origins[1].event_count = 7;
    expect(opens(size));
    /* No origin may be without batches. */
    origins[0].batch_count = 3;
    origins[0].number = 3;
    origins[0].event_count = 9;
    origins[1].batch_count = 0;
    origins[1].event_count = 0;
    expect(!opens(size));
    origins[1].batch_count = UINT16_MAX;
    expect(!opens(size));
}

UNIT_MAIN(test_multi_batch)
