/* SPDX-License-Identifier: PostgreSQL */
/*
 * What clients and the log bring as bytes: bodies of prepares and inputs of reads, changed at
 * random. Whatever is accepted must be safe to use: batches lie within the body and add up; reads
 * pass their own check again.
 */
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "fuzz/fuzz.h"
#include "ledger/ledger.h"
#include "vsr/multi_batch.h"

static uint8_t body[PREPARE_SIZE_MAX] __attribute__((aligned(16)));

static void
random_bytes(struct prng *prng, uint8_t *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = (uint8_t) prng_next(prng);
}

static uint32_t
make_body(struct prng *prng, struct multi_batch_writer *writer)
{
    static uint8_t events[EVENTS_PER_BATCH_MAX * EVENT_SIZE];
    struct multi_batch_source source = {.session = prng_range(prng, 1, 3)};
    multi_batch_begin(writer, body);
    do {
        const struct state_machine_batch batch = {
            .operation = (uint8_t) prng_next(prng),
            .event_count = (uint32_t) prng_range(prng, 1, 5),
            .record_count = (uint32_t) prng_range(prng, 1, 5),
            .events = events,
        };
        const struct multi_batch_sums sums = {batch.event_count, batch.record_count};
        if (!multi_batch_fits(writer, sums)) break;
        random_bytes(prng, events, (uint64_t) batch.record_count * EVENT_SIZE);
        if (prng_chance(prng, 1, 3) && source.slot + 1 < MEMBERS_MAX && source.number > 0) {
            source.slot += 1;
            source.number = prng_below(prng, 9);
        }
        source.number += 1;
        multi_batch_add(writer, &source, &batch);
    } while (prng_chance(prng, 3, 4));
    return multi_batch_end(writer);
}

static void
fuzz_body(struct prng *prng)
{
    static struct multi_batch_writer writer;
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    uint32_t size = make_body(prng, &writer);
    struct multi_batch_sums sums = writer.sums;
    const uint32_t changes = (uint32_t) prng_below(prng, 4);
    for (uint32_t i = 0; i < changes; i++) {
        /* Mostly in the table, where it matters. */
        const uint64_t tail = min_u64(size, 96);
        const uint64_t at =
            prng_chance(prng, 3, 4) ? size - 1 - prng_below(prng, tail) : prng_below(prng, size);
        body[at] = (uint8_t) prng_next(prng);
    }
    if (prng_chance(prng, 1, 8)) size = (uint32_t) prng_below(prng, size + 1);
    if (prng_chance(prng, 1, 8)) sums.event_count = (uint32_t) prng_below(prng, 100);
    if (prng_chance(prng, 1, 8)) sums.record_count = (uint32_t) prng_next(prng);
    const uint64_t timestamp = prng_range(prng, 0, 1000);
    if (!multi_batch_open(&reader, body, size, timestamp, sums)) return;
    struct multi_batch_sums found = {0};
    struct multi_batch_source before = {0};
    while (multi_batch_next(&reader, &batch)) {
        const uint8_t *events = batch.events;
        assert(events >= body);
        assert(events + (uint64_t) batch.record_count * EVENT_SIZE <= body + size);
        assert(batch.event_count > 0 && batch.record_count > 0);
        found.event_count += batch.event_count;
        found.record_count += batch.record_count;
        const struct multi_batch_source *source = &reader.source;
        assert(source->slot < MEMBERS_MAX && source->session > 0 && source->number > 0);
        if (before.session > 0 && source->slot == before.slot) {
            assert(source->session == before.session);
            assert(source->number == before.number + 1);
        }
        assert(source->slot >= before.slot);
        before = *source;
    }
    assert(found.event_count == sums.event_count && found.record_count == sums.record_count);
    assert(batch.timestamp_final == timestamp);
}

/* All reads, and numbers beside theirs that no operation has. */
static uint8_t
any_operation(struct prng *prng)
{
    return (uint8_t) (prng_chance(prng, 2, 3) ? prng_range(prng, 130, 150)
                                              : prng_range(prng, 198, 206));
}

/* Without a limit no filter is right, and what else is checked would never be reached. */
static void
give_limit(struct prng *prng, uint8_t operation, uint8_t *input)
{
    const uint32_t limit = (uint32_t) prng_range(prng, 1, 9000);
    switch (operation) {
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES: ((struct account_filter *) input)->limit = limit; return;
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS: ((struct query_filter *) input)->limit = limit; return;
    case LEDGER_QUERY_HOLDS: ((struct hold_filter *) input)->limit = limit; return;
    case LEDGER_GET_CHANGE_EVENTS:
        ((struct change_events_filter *) input)->limit = limit;
        return;
    default: return;
    }
}

static void
fuzz_read(struct prng *prng)
{
    uint8_t input[512] __attribute__((aligned(16))) = {0};
    const uint8_t operation = any_operation(prng);
    uint32_t size = (uint32_t) prng_below(prng, sizeof(input) + 1);
    if (prng_chance(prng, 1, 2)) size = prng_chance(prng, 1, 2) ? 128 : 64;
    const uint32_t changes = (uint32_t) prng_below(prng, 12);
    for (uint32_t i = 0; i < changes; i++)
        input[prng_below(prng, prng_chance(prng, 1, 2) ? 128 : sizeof(input))] =
            (uint8_t) prng_next(prng);
    if (prng_chance(prng, 3, 4)) give_limit(prng, operation, input);
    const char *wrong = ledger_read_check(operation, input, size);
    const char *again = ledger_read_check(operation, input, size);
    assert((wrong == NULL) == (again == NULL));
    if (wrong != NULL) assert(strlen(wrong) > 0);
    if (wrong == NULL) assert(size % ledger_input_size(operation) == 0);
}

void
fuzz_requests(struct prng *prng, uint64_t rounds)
{
    for (uint64_t i = 0; i < rounds; i++) {
        fuzz_body(prng);
        fuzz_read(prng);
    }
}
