/* SPDX-License-Identifier: PostgreSQL */
/* See journal_check.h. */
#include "store/journal_check.h"

#include <string.h>

#include "base/units.h"
#include "store/journal_internal.h"

void
journal_check_init(struct journal_check *check, struct journal *journal)
{
    assert(journal != NULL);
    *check = (struct journal_check){.journal = journal};
}

void
journal_check_start(struct journal_check *check)
{
    const struct journal *journal = check->journal;
    assert(!check->reading);
    assert(journal->checkpoint.op <= journal->head.op);
    check->op = journal->checkpoint.op;
    check->parent = journal->checkpoint.checksum;
    check->op_end = journal->head.op;
    check->truncations = journal->truncations;
    check->headers = false;
}

static void
check_on_read(struct storage_request *request)
{
    struct journal_check *check = container_of(request, struct journal_check, read);
    struct journal *journal = check->journal;
    assert(check->reading);
    assert(!check->read_done);
    assert(journal->check_reads != journal->check_reads_headers);
    check->read_done = true;
    /* Cleared here and not in journal_check_step: it may be that nobody calls that any more. */
    journal->check_reads = false;
    journal->check_reads_headers = false;
}

static void
check_read(struct journal_check *check)
{
    struct journal *journal = check->journal;
    assert(!check->reading);
    assert(check->op < check->op_end);
    check->header = *journal_header(journal, check->op + 1);
    check->reading = true;
    check->read_done = false;
    journal->window_size = 0;
    journal->check_reads = true; /* (J5) */
    journal->check_position = check->header.position;
    check->read = (struct storage_request){
        .direction = STORAGE_READ,
        .file = STORAGE_PREPARES,
        .offset_bytes = journal_place(journal, check->header.position),
        .size_bytes = prepare_size_on_disk(&check->header),
        .buffer = journal->buffer,
        .callback = check_on_read,
    };
    storage_submit(journal->storage, &check->read);
}

/* Is this sector of headers.wal being written, or about to be, without a further append? */
static bool
sector_changes(const struct journal *journal, uint64_t sector)
{
    const uint64_t head = journal->head.op;
    if (journal->append != NULL && sector == journal_sector(journal, head + 1)) return true;
    for (uint64_t op = journal->named + 1; op <= head; op++) {
        if (sector == journal_sector(journal, op)) return true;
    }
    return false;
}

/* Returns false while that sector is being written: then ask again later. */
static bool
check_read_headers(struct journal_check *check)
{
    struct journal *journal = check->journal;
    const uint64_t sector = journal_sector(journal, check->op + 1);
    assert(!check->reading);
    assert(check->headers);
    if (sector_changes(journal, sector)) return false;
    check->sector = sector;
    check->sectors |= UINT32_C(1) << sector % HEADERS_INTERLEAVED;
    check->reading = true;
    check->read_done = false;
    journal->window_size = 0;
    journal->check_reads_headers = true; /* (J5) */
    journal->check_sector = sector;
    check->read = (struct storage_request){
        .direction = STORAGE_READ,
        .file = STORAGE_HEADERS,
        .offset_bytes = sector * SECTOR_SIZE,
        .size_bytes = SECTOR_SIZE,
        .buffer = journal->buffer + sector % HEADERS_INTERLEAVED * SECTOR_SIZE,
        .callback = check_on_read,
    };
    storage_submit(journal->storage, &check->read);
    return true;
}

/* Has the sector of the next entry been read? */
static bool
check_has_sector(struct journal_check *check)
{
    const uint64_t sector = journal_sector(check->journal, check->op + 1);
    assert(check->headers);
    if (check->group != sector / HEADERS_INTERLEAVED) {
        check->group = sector / HEADERS_INTERLEAVED;
        check->sectors = 0;
    }
    return (check->sectors >> sector % HEADERS_INTERLEAVED & 1) != 0;
}

/* Compares the next entry. Its sector is in the buffer, or couldn't be read. */
static enum journal_check_step
check_entry(struct journal_check *check)
{
    const struct journal *journal = check->journal;
    assert(check->headers);
    check->op += 1;
    check->header = *journal_header(journal, check->op);
    const uint64_t place = journal_entry(journal, check->op) % HEADERS_PER_GROUP;
    assert(check->group == journal_sector(journal, check->op) / HEADERS_INTERLEAVED);
    const uint8_t *entry = journal->buffer + place * PREPARE_HEADER_SIZE;
    if (check->results[place / HEADERS_PER_SECTOR] != STORAGE_OK) {
        return JOURNAL_CHECK_HEADER_DAMAGED;
    }
    return memcmp(entry, &check->header, sizeof(check->header)) == 0 ? JOURNAL_CHECK_WHOLE
                                                                     : JOURNAL_CHECK_HEADER_DAMAGED;
}

static enum journal_check_step
check_finish(struct journal_check *check)
{
    struct journal *journal = check->journal;
    const struct prepare_header *header = prepare_header_of(journal->buffer);
    assert(check->reading && check->read_done);
    assert(!journal->check_reads && !journal->check_reads_headers);
    check->reading = false;
    if (check->headers) {
        check->results[check->sector % HEADERS_INTERLEAVED] = check->read.result;
        return JOURNAL_CHECK_WHOLE;
    }
    check->op = check->header.op;
    const bool continues = check->header.parent == check->parent; /* (J4) */
    check->parent = check->header.checksum;
    if (check->read.result != STORAGE_OK || !continues) return JOURNAL_CHECK_DAMAGED;
    if (memcmp(header, &check->header, sizeof(*header)) != 0) return JOURNAL_CHECK_DAMAGED;
    return prepare_valid(header, journal->cluster) ? JOURNAL_CHECK_WHOLE : JOURNAL_CHECK_DAMAGED;
}

/* What is known to be damaged isn't looked at: it waits for a peer. */
static void
check_skip_faulty(struct journal_check *check)
{
    const struct journal *journal = check->journal;
    while (check->op < check->op_end && journal_faulty(journal, check->op + 1)) {
        check->op += 1;
        check->parent = journal_checksum(journal, check->op);
    }
}

enum journal_check_step
journal_check_step(struct journal_check *check)
{
    const struct journal *journal = check->journal;
    if (check->reading) return check->read_done ? check_finish(check) : JOURNAL_CHECK_WAIT;
    /* What was checked may have been cut, and other entries may have come in its place. */
    if (check->truncations != journal->truncations) journal_check_start(check);
    if (check->op < journal->checkpoint.op) {
        /*
         * A checkpoint has passed the op we were at, so the log before the checkpoint may be
         * overwritten.
         */
        check->op = journal->checkpoint.op;
        check->parent = journal->checkpoint.checksum;
    }
    check_skip_faulty(check);
    if (check->op >= check->op_end && !check->headers) {
        check->headers = true;
        check->group = UINT64_MAX;
        check->op = journal->checkpoint.op;
        check_skip_faulty(check);
    }
    if (check->op >= check->op_end) return JOURNAL_CHECK_END;
    if (!check->headers) {
        check_read(check);
        return JOURNAL_CHECK_STARTED;
    }
    if (check_has_sector(check)) return check_entry(check);
    return check_read_headers(check) ? JOURNAL_CHECK_STARTED : JOURNAL_CHECK_WAIT;
}
