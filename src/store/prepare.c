/* SPDX-License-Identifier: PostgreSQL */
/* See prepare.h. */
#include "store/prepare.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/units.h"

/* The header's checksum covers everything after itself. */
#define PREPARE_CHECKSUM_START sizeof(u128)

static_assert(offsetof(struct prepare_header, checksum) == 0, "PREPARE_CHECKSUM_START");

static u128
prepare_header_checksum(const struct prepare_header *header)
{
    assert(header != NULL);
    return checksum(
        (const uint8_t *) header + PREPARE_CHECKSUM_START,
        PREPARE_HEADER_SIZE - PREPARE_CHECKSUM_START);
}

uint64_t
prepare_size_on_disk(const struct prepare_header *header)
{
    assert(header->size >= PREPARE_HEADER_SIZE); /* (P1) */
    assert(header->size <= PREPARE_SIZE_MAX);
    return align_up(header->size, SECTOR_SIZE);
}

uint64_t
prepare_next_position(
    const struct prepare_header *parent, uint64_t size_on_disk, uint64_t ring_size)
{
    assert(size_on_disk > 0 && size_on_disk % SECTOR_SIZE == 0);
    assert(size_on_disk <= ring_size);
    assert(ring_size % SECTOR_SIZE == 0);
    assert(parent->position % SECTOR_SIZE == 0);

    const uint64_t end = parent->position + prepare_size_on_disk(parent);
    const uint64_t place = end % ring_size;
    const uint64_t position = place + size_on_disk <= ring_size ? end : end + (ring_size - place);

    assert(position > parent->position); /* (P2) */
    assert(position % SECTOR_SIZE == 0);
    assert(position % ring_size + size_on_disk <= ring_size);
    return position;
}

void
prepare_seal(struct prepare_header *header)
{
    assert(header->size >= PREPARE_HEADER_SIZE); /* (P1) */
    assert(header->size <= PREPARE_SIZE_MAX);
    const uint8_t *body = (const uint8_t *) header + PREPARE_HEADER_SIZE;
    header->checksum_body = checksum(body, header->size - PREPARE_HEADER_SIZE);
    header->checksum = prepare_header_checksum(header);
}

/* Are the numbers of timestamps and records possible for the operation? */
static bool
counts_valid(const struct prepare_header *header)
{
    const uint64_t records_size = (uint64_t) header->record_count * EVENT_SIZE;
    if (header->timestamp > TIMESTAMP_MAX || header->event_count > header->timestamp) return false;
    switch ((enum prepare_operation) header->operation) {
    case PREPARE_ROOT: return header->event_count == 0 && header->record_count == 0;
    case PREPARE_PULSE:
        return header->event_count == PULSE_EXPIRIES_MAX && header->record_count == 0;
    case PREPARE_BATCHES:
        if (header->event_count == 0 || header->event_count > EVENTS_PER_BATCH_MAX) return false;
        if (header->record_count == 0 || header->record_count > EVENTS_PER_BATCH_MAX) return false;
        return records_size <= header->size - PREPARE_HEADER_SIZE;
    case PREPARE_NODE:
    case PREPARE_FENCE: return header->event_count == 1 && header->record_count == 1;
    case PREPARE_RESERVED: break;
    }
    unreachable();
}

/* Is there room for the body that the operation has? */
static bool
size_valid(const struct prepare_header *header)
{
    if (header->size < PREPARE_HEADER_SIZE || header->size > PREPARE_SIZE_MAX) return false;
    const uint32_t body_size = header->size - PREPARE_HEADER_SIZE;
    switch ((enum prepare_operation) header->operation) {
    case PREPARE_ROOT:
    case PREPARE_PULSE: return body_size == 0;
    case PREPARE_BATCHES: return true;
    case PREPARE_NODE:
    case PREPARE_FENCE: return body_size == EVENT_SIZE;
    case PREPARE_RESERVED: break;
    }
    return false;
}

/* Are the members, and what was committed, possible for the op? */
static bool
members_valid(const struct prepare_header *header)
{
    assert(header->operation != PREPARE_RESERVED);
    if (header->replica >= MEMBERS_MAX) return false;
    if (header->voters == 0 || header->voters >> MEMBERS_MAX != 0) return false;
    if (__builtin_popcount(header->voters) > VOTERS_MAX) return false;
    if (header->members_op > header->op) return false;
    if (header->op == 0) return header->commit == 0;
    const bool changes = header->operation == PREPARE_NODE; /* (V12) */
    if (changes != (header->members_op == header->op)) return false;
    if (header->commit >= header->op) return false;
    return header->op - header->commit <= PIPELINE_PREPARES_MAX; /* (V4) */
}

bool
prepare_header_valid(const struct prepare_header *header, u128 cluster)
{
    /* The cheap checks come first: recovery asks this of every sector of the log. */
    if (header->cluster != cluster) return false;
    if (header->version != DISK_FORMAT_VERSION) return false;
    if (header->position % SECTOR_SIZE != 0) return false;
    if (header->operation == PREPARE_RESERVED || header->operation > PREPARE_FENCE) return false;
    if (!size_valid(header)) return false;
    if ((header->operation == PREPARE_ROOT) != (header->op == 0)) return false;
    if (!counts_valid(header) || !members_valid(header)) return false;
    if (!bytes_zero(header->reserved, sizeof(header->reserved))) return false;
    return header->checksum == prepare_header_checksum(header);
}

bool
prepare_follows(const struct prepare_header *parent, const struct prepare_header *header)
{
    assert(header->op > 0);
    if (header->op != parent->op + 1 || header->parent != parent->checksum) return false;
    if (header->cluster != parent->cluster) return false;
    if (header->timestamp - header->event_count < parent->timestamp) return false;
    if (header->view < parent->view || header->commit < parent->commit) return false;

    /* (V12) */
    const uint32_t changed = (uint32_t) header->voters ^ parent->voters;
    if (header->members_op == parent->members_op) return changed == 0;
    if (header->members_op != header->op || header->commit != header->op - 1) return false;
    return (changed & (changed - 1)) == 0;
}

bool
prepare_header_blank(const struct prepare_header *header)
{
    return bytes_zero((const uint8_t *) header, PREPARE_HEADER_SIZE);
}

bool
prepare_valid(const struct prepare_header *header, u128 cluster)
{
    if (!prepare_header_valid(header, cluster)) return false;
    const uint8_t *message = (const uint8_t *) header;
    const uint64_t size_body = header->size - PREPARE_HEADER_SIZE;
    if (header->checksum_body != checksum(message + PREPARE_HEADER_SIZE, size_body)) return false;
    return bytes_zero(message + header->size, prepare_size_on_disk(header) - header->size);
}

void
prepare_root(struct prepare_header *header, u128 cluster, uint16_t voters)
{
    memset(header, 0, sizeof(*header));
    header->cluster = cluster;
    header->size = PREPARE_HEADER_SIZE;
    header->version = DISK_FORMAT_VERSION;
    header->operation = PREPARE_ROOT;
    header->voters = voters;
    prepare_seal(header);
    assert(header->op == 0);
    assert(prepare_header_valid(header, cluster));
}
