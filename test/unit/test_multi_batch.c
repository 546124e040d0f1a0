/* SPDX-License-Identifier: PostgreSQL */
/* The body of a prepare: several batches, in and out again. */
#include "unit.h"

#include "base/prng.h"
#include "ledger/types.h"
#include "vsr/multi_batch.h"

static uint8_t body[PREPARE_SIZE_MAX] __attribute__((aligned(SECTOR_SIZE)));
static uint8_t events[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
static struct multi_batch_writer writer;

static void
fill_events(uint8_t first)
{
    for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) {
        memset(events + (size_t) i * EVENT_SIZE, (int) (first + i) & 0xff, EVENT_SIZE);
    }
}

UNIT_TEST(byte_table_is_as_documented)
{
    fill_events(1);
    multi_batch_begin(&writer, body);
    multi_batch_add(&writer, LEDGER_CREATE_ACCOUNTS, events, 2);
    multi_batch_add(&writer, LEDGER_CREATE_TRANSFERS, events, 3);
    const uint32_t size = multi_batch_end(&writer);
    expect_equal(size, 5 * 128 + 128);
    expect(memcmp(body + 2 * 128, events, 3 * 128) == 0);
    static const uint8_t end[12] = {146, 0, 2, 0, 147, 0, 3, 0, 2, 0, 0, 0};
    expect(memcmp(body + size - sizeof(end), end, sizeof(end)) == 0);
    for (uint32_t at = 5 * 128; at < size - sizeof(end); at++) expect(body[at] == 0);
}

UNIT_TEST(batches_come_out_as_they_went_in)
{
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 500; round++) {
        uint32_t counts[BATCHES_PER_PREPARE_MAX];
        uint32_t batch_count = 0;
        multi_batch_begin(&writer, body);
        for (;;) {
            const uint32_t count = (uint32_t) prng_range(&prng, 1, EVENTS_PER_BATCH_MAX);
            if (!multi_batch_fits(&writer, count)) break;
            fill_events((uint8_t) batch_count);
            multi_batch_add(&writer, (uint8_t) (100 + batch_count), events, count);
            counts[batch_count++] = count;
        }
        const uint32_t event_count = writer.event_count;
        const uint32_t size = multi_batch_end(&writer);
        struct multi_batch_reader reader;
        struct state_machine_batch batch;
        expect(multi_batch_open(&reader, body, size, 1000000, event_count));
        uint64_t timestamp = 1000000 - event_count;
        for (uint32_t i = 0; i < batch_count; i++) {
            expect(multi_batch_next(&reader, &batch));
            timestamp += counts[i];
            expect_equal(batch.operation, 100 + i);
            expect_equal(batch.event_count, counts[i]);
            expect_equal(batch.timestamp_final, timestamp);
            expect_equal(((const uint8_t *) batch.events)[0], i & 0xff);
        }
        expect(!multi_batch_next(&reader, &batch));
        expect_equal(timestamp, 1000000);
    }
}

UNIT_TEST(the_largest_prepare_fits_its_message)
{
    multi_batch_begin(&writer, body);
    const uint32_t singles = BATCHES_PER_PREPARE_MAX - 1;
    for (uint32_t i = 0; i < singles; i++)
        multi_batch_add(&writer, 1, events, 1);
    multi_batch_add(&writer, 1, events, EVENTS_PER_BATCH_MAX - singles);
    expect(!multi_batch_fits(&writer, 1));
    expect(PREPARE_HEADER_SIZE + multi_batch_end(&writer) <= PREPARE_SIZE_MAX);
}

UNIT_TEST(a_changed_table_or_padding_is_refused)
{
    struct multi_batch_reader reader;
    fill_events(1);
    multi_batch_begin(&writer, body);
    multi_batch_add(&writer, 1, events, 2);
    multi_batch_add(&writer, 2, events, 3);
    const uint32_t size = multi_batch_end(&writer);
    expect(multi_batch_open(&reader, body, size, 100, 5));
    for (uint32_t at = 5 * EVENT_SIZE; at < size; at++) {
        /* Each byte of it matters, but the operations, which the state machine judges. */
        if (at == size - 12 || at == size - 8) continue;
        body[at] ^= 1;
        expect(!multi_batch_open(&reader, body, size, 100, 5));
        body[at] ^= 1;
    }
    expect(!multi_batch_open(&reader, body, size, 100, 4));
    expect(!multi_batch_open(&reader, body, size, 4, 5));
    expect(!multi_batch_open(&reader, body, size - EVENT_SIZE, 100, 5));
    expect(!multi_batch_open(&reader, body, size - 1, 100, 5));
    expect(!multi_batch_open(&reader, body, 0, 100, 0));
}

UNIT_MAIN(test_multi_batch)
