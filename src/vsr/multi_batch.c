/* SPDX-License-Identifier: PostgreSQL */
/* See multi_batch.h. */
#include "vsr/multi_batch.h"

#include <string.h>

#include "base/bytes.h"
#include "base/units.h"

/* Bytes of the table, the trailer, and the padding before them. */
static uint32_t
table_size(uint32_t batch_count)
{
    assert(batch_count > 0 && batch_count <= BATCHES_PER_PREPARE_MAX);
    const uint64_t size = (uint64_t) batch_count * sizeof(struct multi_batch_entry) +
                          sizeof(struct multi_batch_trailer);
    return (uint32_t) align_up(size, EVENT_SIZE);
}

void
multi_batch_begin(struct multi_batch_writer *writer, void *body)
{
    assert(body != NULL);
    writer->body = body;
    writer->event_count = 0;
    writer->batch_count = 0;
}

bool
multi_batch_fits(const struct multi_batch_writer *writer, uint32_t event_count)
{
    assert(event_count > 0);
    assert(writer->event_count <= EVENTS_PER_BATCH_MAX);
    assert(writer->batch_count <= BATCHES_PER_PREPARE_MAX);
    if (writer->batch_count == BATCHES_PER_PREPARE_MAX) return false;
    return event_count <= EVENTS_PER_BATCH_MAX - writer->event_count;
}

void
multi_batch_add(
    struct multi_batch_writer *writer,
    uint8_t operation,
    const void *events,
    uint32_t event_count)
{
    assert(multi_batch_fits(writer, event_count));
    assert(events != NULL);
    memcpy(
        writer->body + (uint64_t) writer->event_count * EVENT_SIZE,
        events,
        (uint64_t) event_count * EVENT_SIZE);
    writer->entries[writer->batch_count] = (struct multi_batch_entry){
        .operation = operation,
        .event_count = (uint16_t) event_count,
    };
    writer->batch_count += 1;
    writer->event_count += event_count;
}

uint32_t
multi_batch_end(struct multi_batch_writer *writer)
{
    assert(writer->batch_count > 0);
    const uint32_t events_size = writer->event_count * EVENT_SIZE;
    assert(writer->event_count >= writer->batch_count);
    const uint32_t size = table_size(writer->batch_count);
    const uint32_t entries_size =
        writer->batch_count * (uint32_t) sizeof(struct multi_batch_entry);
    const struct multi_batch_trailer trailer = {.batch_count = (uint16_t) writer->batch_count};
    uint8_t *end = writer->body + events_size + size;

    memset(writer->body + events_size, 0, size);
    memcpy(end - sizeof(trailer), &trailer, sizeof(trailer));
    memcpy(end - sizeof(trailer) - entries_size, writer->entries, entries_size);
    assert(PREPARE_HEADER_SIZE + events_size + size <= PREPARE_SIZE_MAX);
    return events_size + size;
}

bool
multi_batch_open(
    struct multi_batch_reader *reader,
    const void *body,
    uint32_t body_size,
    uint64_t timestamp_final,
    uint32_t event_count)
{
    struct multi_batch_trailer trailer;
    const uint8_t *bytes = body;
    assert(body != NULL);

    if (body_size < EVENT_SIZE || body_size % EVENT_SIZE != 0) return false;
    memcpy(&trailer, bytes + body_size - sizeof(trailer), sizeof(trailer));
    if (trailer.reserved != 0) return false;
    if (trailer.batch_count == 0 || trailer.batch_count > BATCHES_PER_PREPARE_MAX) return false;
    if (event_count > EVENTS_PER_BATCH_MAX || event_count > timestamp_final) return false;
    const uint32_t size = table_size(trailer.batch_count);
    if ((uint64_t) event_count * EVENT_SIZE + size != body_size) return false;

    const uint32_t entries_size =
        trailer.batch_count * (uint32_t) sizeof(struct multi_batch_entry);
    const uint8_t *entries = bytes + body_size - sizeof(trailer) - entries_size;
    if (!bytes_zero(bytes + body_size - size, size - sizeof(trailer) - entries_size)) return false;

    *reader = (struct multi_batch_reader){
        .events = bytes,
        .entries = (const struct multi_batch_entry *) (const void *) entries,
        .batch_count = trailer.batch_count,
        .timestamp = timestamp_final - event_count,
    };
    uint64_t sum = 0;
    for (uint32_t i = 0; i < trailer.batch_count; i++) {
        if (reader->entries[i].event_count == 0 || reader->entries[i].reserved != 0) return false;
        sum += reader->entries[i].event_count;
    }
    return sum == event_count;
}

bool
multi_batch_next(struct multi_batch_reader *reader, struct state_machine_batch *batch)
{
    assert(reader->batch_index <= reader->batch_count);
    if (reader->batch_index == reader->batch_count) return false;
    const struct multi_batch_entry *entry = &reader->entries[reader->batch_index];
    assert(entry->event_count > 0);
    reader->timestamp += entry->event_count;
    *batch = (struct state_machine_batch){
        .operation = entry->operation,
        .event_count = entry->event_count,
        .events = reader->events,
        .timestamp_final = reader->timestamp,
    };
    reader->events += (uint64_t) entry->event_count * EVENT_SIZE;
    reader->batch_index += 1;
    return true;
}
