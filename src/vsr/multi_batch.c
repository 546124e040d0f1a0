/* SPDX-License-Identifier: PostgreSQL */
/* See multi_batch.h. */
#include "vsr/multi_batch.h"

#include <string.h>

#include "base/bytes.h"
#include "base/units.h"

/* Bytes of both tables and the trailer, without the padding before them. */
static uint32_t
tables_size(uint32_t batch_count, uint32_t origin_count)
{
    assert(batch_count > 0 && batch_count <= BATCHES_PER_PREPARE_MAX);
    assert(origin_count > 0 && origin_count <= MEMBERS_MAX);
    return batch_count * PREPARE_BATCH_SIZE + origin_count * PREPARE_ORIGIN_SIZE +
           PREPARE_TRAILER_SIZE;
}

/* ---- Writing --------------------------------------------------------------------------------- */

void
multi_batch_begin(struct multi_batch_writer *writer, void *body)
{
    assert(body != NULL);
    writer->body = body;
    writer->sums = (struct multi_batch_sums){0};
    writer->batch_count = 0;
    writer->origin_count = 0;
}

bool
multi_batch_fits_all(
    const struct multi_batch_writer *writer, struct multi_batch_sums sums, uint32_t batch_count)
{
    assert(sums.event_count > 0 && sums.record_count > 0);
    assert(writer->sums.event_count <= EVENTS_PER_BATCH_MAX);
    assert(writer->sums.record_count <= EVENTS_PER_BATCH_MAX);
    assert(writer->batch_count <= BATCHES_PER_PREPARE_MAX);
    if (batch_count > BATCHES_PER_PREPARE_MAX - writer->batch_count) return false;
    return sums.event_count <= EVENTS_PER_BATCH_MAX - writer->sums.event_count &&
           sums.record_count <= EVENTS_PER_BATCH_MAX - writer->sums.record_count;
}

bool
multi_batch_fits(const struct multi_batch_writer *writer, struct multi_batch_sums sums)
{
    return multi_batch_fits_all(writer, sums, 1);
}

/* The origin that the next batch belongs to. */
static struct multi_batch_origin *
origin_of(struct multi_batch_writer *writer, const struct multi_batch_source *source)
{
    assert(source->slot < MEMBERS_MAX);
    assert(source->session != 0 && source->number > 0);
    if (writer->origin_count > 0) {
        struct multi_batch_origin *last = &writer->origins[writer->origin_count - 1];
        assert(source->slot >= last->slot);
        if (source->slot == last->slot) {
            assert(source->session == last->session);
            assert(source->number == last->number + 1);
            return last;
        }
    }
    assert(writer->origin_count < MEMBERS_MAX);
    struct multi_batch_origin *origin = &writer->origins[writer->origin_count];
    writer->origin_count += 1;
    *origin = (struct multi_batch_origin){.slot = source->slot, .session = source->session};
    return origin;
}

void
multi_batch_add(
    struct multi_batch_writer *writer,
    const struct multi_batch_source *source,
    const struct state_machine_batch *batch)
{
    const struct multi_batch_sums sums = {batch->event_count, batch->record_count};
    assert(multi_batch_fits(writer, sums));
    assert(batch->events != NULL);
    struct multi_batch_origin *origin = origin_of(writer, source);
    memcpy(
        writer->body + (uint64_t) writer->sums.record_count * EVENT_SIZE,
        batch->events,
        (uint64_t) sums.record_count * EVENT_SIZE);
    writer->entries[writer->batch_count] = (struct multi_batch_entry){
        .operation = batch->operation,
        .event_count = (uint16_t) sums.event_count,
        .record_count = (uint16_t) sums.record_count,
    };
    writer->batch_count += 1;
    writer->sums.event_count += sums.event_count;
    writer->sums.record_count += sums.record_count;
    origin->number = source->number;
    origin->batch_count += 1;
    origin->event_count += sums.event_count;
}

uint32_t
multi_batch_end(struct multi_batch_writer *writer)
{
    assert(writer->batch_count > 0 && writer->origin_count > 0);
    assert(writer->sums.record_count >= writer->batch_count);
    const uint32_t records_size = writer->sums.record_count * EVENT_SIZE;
    const uint32_t entries_size = writer->batch_count * PREPARE_BATCH_SIZE;
    const uint32_t origins_size = writer->origin_count * PREPARE_ORIGIN_SIZE;
    const uint32_t tables = tables_size(writer->batch_count, writer->origin_count);
    const uint32_t size = (uint32_t) align_up(records_size + (uint64_t) tables, EVENT_SIZE);
    const struct multi_batch_trailer trailer = {
        .batch_count = (uint16_t) writer->batch_count,
        .origin_count = (uint16_t) writer->origin_count,
    };
    uint8_t *at = writer->body + size - tables;

    assert(PREPARE_HEADER_SIZE + size <= PREPARE_SIZE_MAX);
    memset(writer->body + records_size, 0, size - tables - records_size);
    memcpy(at, writer->entries, entries_size);
    memcpy(at + entries_size, writer->origins, origins_size);
    memcpy(at + entries_size + origins_size, &trailer, sizeof(trailer));
    return size;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* Does the table of batches add up to what the header says? */
static bool
batches_valid(const struct multi_batch_reader *reader, struct multi_batch_sums sums)
{
    uint64_t events = 0;
    uint64_t records = 0;
    assert(reader->batch_count > 0);
    for (uint32_t i = 0; i < reader->batch_count; i++) {
        const struct multi_batch_entry *entry = &reader->entries[i];
        if (entry->event_count == 0 || entry->record_count == 0) return false;
        if (entry->reserved_operation != 0 || entry->reserved != 0) return false;
        events += entry->event_count;
        records += entry->record_count;
    }
    return events == sums.event_count && records == sums.record_count;
}

/* Do the origins share the batches out among ascending slots? The table of batches is valid. */
static bool
origins_valid(const struct multi_batch_reader *reader)
{
    uint32_t batch = 0;
    assert(reader->origin_count > 0);
    for (uint32_t i = 0; i < reader->origin_count; i++) {
        const struct multi_batch_origin *origin = &reader->origins[i];
        uint64_t events = 0;
        if (origin->slot >= MEMBERS_MAX) return false;
        if (i > 0 && origin->slot <= reader->origins[i - 1].slot) return false;
        if (origin->reserved_slot != 0 || origin->reserved != 0) return false;
        if (origin->session == 0 || origin->number < origin->batch_count) return false;
        if (origin->batch_count == 0) return false;
        if (origin->batch_count > reader->batch_count - batch) return false;
        for (uint32_t left = origin->batch_count; left > 0; left--) {
            events += reader->entries[batch].event_count;
            batch += 1;
        }
        if (events != origin->event_count) return false;
    }
    return batch == reader->batch_count;
}

bool
multi_batch_open(
    struct multi_batch_reader *reader,
    const void *body,
    uint32_t body_size,
    uint64_t timestamp_final,
    struct multi_batch_sums sums)
{
    struct multi_batch_trailer trailer;
    const uint8_t *bytes = body;
    assert(body != NULL);
    assert((uintptr_t) body % sizeof(u128) == 0);

    if (body_size < EVENT_SIZE || body_size % EVENT_SIZE != 0) return false;
    memcpy(&trailer, bytes + body_size - sizeof(trailer), sizeof(trailer));
    if (trailer.reserved != 0) return false;
    if (trailer.batch_count == 0 || trailer.batch_count > BATCHES_PER_PREPARE_MAX) return false;
    if (trailer.origin_count == 0 || trailer.origin_count > MEMBERS_MAX) return false;
    if (sums.event_count > EVENTS_PER_BATCH_MAX || sums.event_count > timestamp_final) return false;
    if (sums.record_count > EVENTS_PER_BATCH_MAX) return false;

    const uint32_t records_size = sums.record_count * EVENT_SIZE;
    const uint32_t tables = tables_size(trailer.batch_count, trailer.origin_count);
    if (align_up(records_size + (uint64_t) tables, EVENT_SIZE) != body_size) return false;
    if (!bytes_zero(bytes + records_size, body_size - tables - records_size)) return false;

    const uint8_t *entries = bytes + body_size - tables;
    const uint8_t *origins = entries + (uint64_t) trailer.batch_count * PREPARE_BATCH_SIZE;
    *reader = (struct multi_batch_reader){
        .records = bytes,
        .entries = (const struct multi_batch_entry *) (const void *) entries,
        .origins = (const struct multi_batch_origin *) (const void *) origins,
        .batch_count = trailer.batch_count,
        .origin_count = trailer.origin_count,
        .timestamp = timestamp_final - sums.event_count,
    };
    return batches_valid(reader, sums) && origins_valid(reader);
}

struct multi_batch_sums
multi_batch_sums(const struct multi_batch_reader *reader)
{
    struct multi_batch_sums sums = {0};
    assert(reader->batch_count > 0);
    for (uint32_t i = 0; i < reader->batch_count; i++) {
        sums.event_count += reader->entries[i].event_count;
        sums.record_count += reader->entries[i].record_count;
    }
    return sums;
}

bool
multi_batch_open_unstamped(struct multi_batch_reader *reader, const void *body, uint32_t body_size)
{
    struct multi_batch_trailer trailer;
    const uint8_t *bytes = body;
    if (body_size < EVENT_SIZE) return false;
    memcpy(&trailer, bytes + body_size - sizeof(trailer), sizeof(trailer));
    if (trailer.batch_count == 0 || trailer.batch_count > BATCHES_PER_PREPARE_MAX) return false;
    if (trailer.origin_count == 0 || trailer.origin_count > MEMBERS_MAX) return false;
    const uint32_t tables = tables_size(trailer.batch_count, trailer.origin_count);
    if (tables > body_size) return false;
    /* What the table of batches says, which opening then compares with everything else. */
    const struct multi_batch_reader table = {
        .entries = (const struct multi_batch_entry *) (const void *) (bytes + body_size - tables),
        .batch_count = trailer.batch_count,
    };
    const struct multi_batch_sums sums = multi_batch_sums(&table);
    return multi_batch_open(reader, body, body_size, sums.event_count, sums);
}

bool
multi_batch_next(struct multi_batch_reader *reader, struct state_machine_batch *batch)
{
    assert(reader->batch_index <= reader->batch_count);
    if (reader->batch_index == reader->batch_count) return false;
    if (reader->origin_left == 0) {
        assert(reader->origin_next < reader->origin_count);
        const struct multi_batch_origin *origin = &reader->origins[reader->origin_next];
        reader->origin_next += 1;
        reader->origin_left = origin->batch_count;
        reader->source = (struct multi_batch_source){
            .slot = origin->slot,
            .session = origin->session,
            .number = origin->number - origin->batch_count,
        };
    }
    const struct multi_batch_entry *entry = &reader->entries[reader->batch_index];
    assert(entry->event_count > 0 && entry->record_count > 0);
    reader->origin_left -= 1;
    reader->source.number += 1;
    reader->timestamp += entry->event_count;
    *batch = (struct state_machine_batch){
        .operation = entry->operation,
        .event_count = entry->event_count,
        .record_count = entry->record_count,
        .events = reader->records,
        .timestamp_final = reader->timestamp,
    };
    reader->records += (uint64_t) entry->record_count * EVENT_SIZE;
    reader->batch_index += 1;
    return true;
}
