/* SPDX-License-Identifier: PostgreSQL */
/* Normal operation of the journal. See journal.h. */
#include "store/journal.h"

#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "store/journal_internal.h"

/*
 * The bytes skipped at the end of the ring are fewer than one prepare's. So a ring of two prepares
 * takes any prepare when it is empty.
 */
static_assert(PREPARES_SIZE_MIN >= 2 * PREPARE_SIZE_MAX, "an empty ring takes the largest prepare");

/* For recovery and replay a prepare, for journal_check.h also a group of headers. */
#define BUFFER_SIZE                                                                                \
    (PREPARE_SIZE_MAX > HEADERS_INTERLEAVED * SECTOR_SIZE ? PREPARE_SIZE_MAX                       \
                                                          : HEADERS_INTERLEAVED * SECTOR_SIZE)

static void
journal_check(const struct journal *journal)
{
    assert(journal->checkpoint.op <= journal->head.op);
    assert(journal->head.op - journal->checkpoint.op <= journal->headers_count);
    assert(journal->named <= journal->head.op);
    assert(journal->head.op - journal->named <= 2); /* (J2) */
    assert(journal_end(&journal->head) <= journal_limit(journal)); /* (J3) */
}

void
journal_init(
    struct journal *journal,
    struct arena *arena,
    struct storage *storage,
    const struct journal_options *options)
{
    assert(options->prepares_size_bytes >= PREPARES_SIZE_MIN);
    *journal = (struct journal){
        .storage = storage,
        .prepares_size_bytes = options->prepares_size_bytes,
        .headers_count = headers_log_count(options->prepares_size_bytes),
        .sync = options->sync,
        .failed = true,
    };
    assert(journal->headers_count % HEADERS_PER_GROUP == 0);
    journal->headers = arena_take(arena, journal->headers_count, PREPARE_HEADER_SIZE, SECTOR_SIZE);
    journal->faulty =
        arena_take(arena, journal->headers_count / 64, sizeof(uint64_t), sizeof(uint64_t));
    journal->sector = arena_take(arena, 1, SECTOR_SIZE, SECTOR_SIZE);
    journal->buffer = arena_take(arena, 1, BUFFER_SIZE, SECTOR_SIZE);
}

const struct prepare_header *
journal_header(const struct journal *journal, uint64_t op)
{
    assert(op >= journal->checkpoint.op);
    assert(op <= journal->head.op);
    if (op == journal->checkpoint.op) return &journal->checkpoint;
    const struct prepare_header *header = &journal->headers[journal_entry(journal, op)];
    assert(header->op == op);
    return header;
}

bool
journal_faulty(const struct journal *journal, uint64_t op)
{
    if (op <= journal->checkpoint.op || op - journal->checkpoint.op > journal->headers_count) {
        return false;
    }
    const uint64_t entry = journal_entry(journal, op);
    return (journal->faulty[entry / 64] >> entry % 64 & 1) != 0;
}

u128
journal_checksum(const struct journal *journal, uint64_t op)
{
    assert(op >= journal->checkpoint.op);
    assert(op <= journal->head.op);
    if (op == journal->checkpoint.op) return journal->checkpoint.checksum;
    if (op == journal->head.op) return journal->head.checksum;
    const struct prepare_header *header = &journal->headers[journal_entry(journal, op)];
    if (!journal_buried(header)) return header->checksum;
    assert(journal_faulty(journal, op));
    return journal_header(journal, op + 1)->parent;
}

static void
faulty_clear(struct journal *journal, uint64_t op)
{
    const uint64_t entry = journal_entry(journal, op);
    journal->faulty[entry / 64] &= ~(UINT64_C(1) << entry % 64);
}

/*
 * Reads the prepare that lies at `place` into journal->buffer, together with what follows it in the
 * log: replay reads in order, and with many small prepares each would otherwise cost the latency of
 * a disk read. What follows may be unreadable; then the prepare alone is read.
 */
static const uint8_t *
read_window(struct journal *journal, uint64_t place, uint64_t size)
{
    assert(size <= PREPARE_SIZE_MAX);
    if (place >= journal->window_place &&
        place + size <= journal->window_place + journal->window_size) {
        return journal->buffer + (place - journal->window_place);
    }
    const uint64_t sizes[] = {
        min_u64(PREPARE_SIZE_MAX, journal->prepares_size_bytes - place),
        size,
    };
    journal->window_size = 0;
    for (uint32_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        const enum storage_result result = storage_transfer_now(
            journal->storage, STORAGE_READ, STORAGE_PREPARES, place, journal->buffer, sizes[i]);
        if (result != STORAGE_OK) continue;
        journal->window_place = place;
        journal->window_size = sizes[i];
        return journal->buffer;
    }
    return NULL;
}

enum journal_read
journal_read_prepare(struct journal *journal, uint64_t op, void *message)
{
    assert(op > journal->checkpoint.op);
    const struct prepare_header *header = journal_header(journal, op);
    const uint64_t size = prepare_size_on_disk(header);
    const uint8_t *read = read_window(journal, journal_place(journal, header->position), size);
    if (read == NULL) return JOURNAL_READ_IO_ERROR;
    memcpy(message, read, size);
    if (memcmp(message, header, sizeof(*header)) != 0) return JOURNAL_READ_DAMAGED;
    return prepare_valid(message, journal->cluster) ? JOURNAL_READ_OK : JOURNAL_READ_DAMAGED;
}

bool
journal_busy(const struct journal *journal)
{
    assert(journal->named <= journal->head.op);
    if (journal->append != NULL) return true;
    return !journal->failed && journal->head.op - journal->named > 1; /* (J2) */
}

bool
journal_naming(const struct journal *journal)
{
    return !journal->failed && journal->named < journal->head.op;
}

bool
journal_failed(const struct journal *journal)
{
    return journal->failed;
}

/*
 * (J5): an append must not reach beyond this position while the prepare at `position` is being
 * read. If that was dropped meanwhile, none may.
 */
static uint64_t
read_limit(const struct journal *journal, uint64_t position, uint64_t limit)
{
    if (position >= journal_end(&journal->head)) return 0;
    return min_u64(limit, position + journal->prepares_size_bytes);
}

bool
journal_has_room(const struct journal *journal, uint64_t size_on_disk)
{
    journal_check(journal);
    assert(size_on_disk <= PREPARE_SIZE_MAX);
    const uint64_t position =
        prepare_next_position(&journal->head, size_on_disk, journal->prepares_size_bytes);
    uint64_t limit = journal_limit(journal);
    if (journal->check_reads) limit = read_limit(journal, journal->check_position, limit);
    for (const struct journal_reading *reading = journal->readings; reading != NULL;
         reading = reading->next) {
        limit = read_limit(journal, reading->header.position, limit);
    }
    if (journal->check_reads_headers &&
        journal->check_sector == journal_sector(journal, journal->head.op + 1)) {
        return false; /* (J5) */
    }
    return position + size_on_disk <= limit;
}

uint64_t
journal_used_bytes(const struct journal *journal)
{
    journal_check(journal);
    return journal_end(&journal->head) - journal_end(&journal->checkpoint);
}

/* ---- Appends --------------------------------------------------------------------------------- */

/*
 * (J1): this sector of headers.wal names only prepares up to `op`, or proved by recovery, each in
 * its own entry.
 */
static void
sector_check(const struct journal *journal, uint64_t entry_first, uint64_t op)
{
    assert(entry_first % HEADERS_PER_SECTOR == 0);
    for (uint64_t i = 0; i < HEADERS_PER_SECTOR; i++) {
        const struct prepare_header *header = &journal->sector[i];
        if (journal_buried(header)) continue;
        assert(header->op <= max_u64(op, journal->op_proved));
        if (header->op != 0) assert(journal_entry(journal, header->op) == entry_first + i);
    }
}

/* Prepares the write of the sector that has the entry of this op, as it is in memory. */
static void
sector_fill(struct journal *journal, uint64_t op, storage_callback *callback)
{
    const uint64_t entry_first = journal_sector_entry(journal, op);
    memcpy(journal->sector, &journal->headers[entry_first], SECTOR_SIZE);
    journal->write_header = (struct storage_request){
        .direction = STORAGE_WRITE,
        .file = STORAGE_HEADERS,
        .offset_bytes = entry_first * PREPARE_HEADER_SIZE,
        .size_bytes = SECTOR_SIZE,
        .buffer = journal->sector,
        .callback = callback,
    };
}

static void
count_prepare(struct journal *journal)
{
    journal->stats.prepares_bytes_written += journal->write_prepare.size_bytes;
    journal->stats.prepares_writes += 1;
}

static void
count_header(struct journal *journal)
{
    journal->stats.headers_bytes_written += journal->write_header.size_bytes;
    journal->stats.headers_writes += 1;
}

/* The append in flight has come to its end. */
static void
append_finish(struct journal *journal, enum storage_result result)
{
    struct journal_append *append = journal->append;
    assert(append != NULL);
    journal->append = NULL;
    if (result == STORAGE_OK) {
        const struct prepare_header *prepare = append->prepare;
        assert(!journal->failed);
        journal->head = *prepare;
        journal->headers[journal_entry(journal, prepare->op)] = *prepare;
        if (journal->sync == JOURNAL_SYNC_BOTH) journal->named = prepare->op;
        journal_check(journal);
    } else {
        journal->failed = true;
    }
    append->callback(append, result);
}

static void
both_on_prepare(struct storage_request *request)
{
    struct journal *journal = container_of(request, struct journal, write_prepare);
    assert(journal->append != NULL);
    assert(request->result != STORAGE_NO_SPACE);
    journal->write_prepare_result = request->result;
}

static void
both_on_header(struct storage_request *request)
{
    struct journal *journal = container_of(request, struct journal, write_header);
    assert(!journal->failed);
    if (journal->write_prepare_result != STORAGE_OK) assert(request->result != STORAGE_OK);
    if (request->result == STORAGE_OK) {
        count_prepare(journal);
        count_header(journal);
    }
    append_finish(journal, request->result);
}

static void first_name(struct journal *journal);

static void
first_on_header(struct storage_request *request)
{
    struct journal *journal = container_of(request, struct journal, write_header);
    assert(journal->naming > journal->named);
    assert(request->result != STORAGE_NO_SPACE);
    if (request->result == STORAGE_OK) {
        count_header(journal);
        journal->named = journal->naming;
    } else {
        journal->failed = true;
    }
    journal->naming = 0;
    first_name(journal);
}

/*
 * Writes the header of the next complete append that headers.wal lacks. One at a time: the next
 * ones lie in other sectors.
 */
static void
first_name(struct journal *journal)
{
    if (journal->failed || journal->naming != 0 || journal->named == journal->head.op) return;
    const uint64_t op = journal->named + 1;
    sector_fill(journal, op, first_on_header);
    sector_check(journal, journal_sector_entry(journal, op), op);
    journal->naming = op;
    storage_submit(journal->storage, &journal->write_header);
}

static void
first_on_prepare(struct storage_request *request)
{
    struct journal *journal = container_of(request, struct journal, write_prepare);
    assert(request->result != STORAGE_NO_SPACE);
    /* A header's write may have failed meanwhile. */
    const bool whole = request->result == STORAGE_OK && !journal->failed;
    if (whole) count_prepare(journal);
    append_finish(journal, whole ? STORAGE_OK : STORAGE_IO_ERROR);
    first_name(journal);
}

void
journal_append(struct journal *journal, struct journal_append *append)
{
    const struct prepare_header *prepare = append->prepare;
    assert(append->callback != NULL);
    assert(!journal->failed);
    assert(!journal_busy(journal));                            /* (J2) */
    assert(prepare_valid(prepare, journal->cluster));          /* (P3): and the padding is zero. */
    assert(journal_follows(journal, &journal->head, prepare)); /* (J4) */
    const uint64_t size_on_disk = prepare_size_on_disk(prepare);
    assert(journal_has_room(journal, size_on_disk)); /* (J3) */

    const bool both = journal->sync == JOURNAL_SYNC_BOTH;
    journal->append = append;
    journal_wrote(journal, journal_end(prepare));
    journal->write_prepare_result = STORAGE_IO_ERROR;
    journal->write_prepare = (struct storage_request){
        .direction = STORAGE_WRITE,
        .file = STORAGE_PREPARES,
        .offset_bytes = journal_place(journal, prepare->position),
        .size_bytes = size_on_disk,
        .buffer = (void *) prepare,
        .callback = both ? both_on_prepare : first_on_prepare,
        .solo = append->solo,
        .events = prepare->event_count,
    };
    if (!both) {
        storage_submit(journal->storage, &journal->write_prepare);
        return;
    }
    assert(journal->named == journal->head.op);
    sector_fill(journal, prepare->op, both_on_header);
    journal->sector[journal_entry(journal, prepare->op) % HEADERS_PER_SECTOR] = *prepare;
    sector_check(journal, journal_sector_entry(journal, prepare->op), prepare->op);
    storage_submit_ordered(journal->storage, &journal->write_prepare, &journal->write_header);
}

/* ---- Truncation ------------------------------------------------------------------------------ */

void
journal_truncate(struct journal *journal, uint64_t op)
{
    assert(op >= journal->checkpoint.op);
    assert(op <= journal->head.op);
    assert(!journal->failed);
    assert(!journal_busy(journal));
    assert(!journal_naming(journal));
    for (uint64_t cut = op + 1; cut <= journal->head.op; cut++) {
        memset(&journal->headers[journal_entry(journal, cut)], 0, PREPARE_HEADER_SIZE);
        faulty_clear(journal, cut);
    }
    journal->head = *journal_header(journal, op);
    journal->named = op;
    journal->truncations += 1;
    journal->op_oldest = min_u64(journal->op_oldest, op + 1);
    journal->window_size = 0;
    journal_check(journal);
}

void
journal_drop_after(struct journal *journal, uint64_t op)
{
    const uint64_t op_end = journal->checkpoint.op + journal->headers_count;
    assert(op >= journal->head.op);
    assert(!journal->failed);
    assert(!journal_busy(journal));
    for (uint64_t cut = op + 1; cut <= op_end; cut++) {
        struct prepare_header *header = &journal->headers[journal_entry(journal, cut)];
        if (!journal_buried(header) && header->op <= op) continue; /* Of an earlier lap. */
        memset(header, 0, PREPARE_HEADER_SIZE);
    }
    journal->op_proved = min_u64(journal->op_proved, op);
}

/* ---- What is still there --------------------------------------------------------------------- */

void
journal_wrote(struct journal *journal, uint64_t position)
{
    journal->position_written = max_u64(journal->position_written, position);
    while (journal->op_oldest <= journal->head.op) {
        const struct prepare_header *header =
            &journal->headers[journal_entry(journal, journal->op_oldest)];
        if (journal_buried(header)) {
            journal->op_oldest += 1;
            continue;
        }
        assert(header->op == journal->op_oldest);
        if (header->position + journal->prepares_size_bytes >= journal->position_written) return;
        journal->op_oldest += 1;
    }
}

uint64_t
journal_op_oldest(const struct journal *journal)
{
    assert(journal->op_oldest <= journal->head.op + 1);
    return journal->op_oldest;
}

const struct prepare_header *
journal_find(const struct journal *journal, uint64_t op)
{
    if (op < journal->op_oldest || op > journal->head.op) return NULL;
    if (journal_faulty(journal, op)) return NULL;
    const struct prepare_header *header = &journal->headers[journal_entry(journal, op)];
    assert(header->op == op);
    return header;
}

static void
read_on_done(struct storage_request *request)
{
    struct journal_reading *reading = container_of(request, struct journal_reading, request);
    struct journal *journal = reading->journal;
    struct journal_reading **link = &journal->readings;
    while (*link != reading) link = &(*link)->next;
    *link = reading->next;
    const struct prepare_header *found = prepare_header_of(request->buffer);
    reading->result = JOURNAL_READ_OK;
    if (request->result != STORAGE_OK) {
        reading->result = JOURNAL_READ_IO_ERROR;
    } else if (memcmp(found, &reading->header, sizeof(*found)) != 0 ||
               !prepare_valid(found, journal->cluster)) {
        reading->result = JOURNAL_READ_DAMAGED;
    }
    reading->callback(reading);
}

void
journal_read_begin(
    struct journal *journal,
    struct journal_reading *reading,
    uint64_t op,
    void *message,
    journal_read_callback *callback)
{
    const struct prepare_header *header = journal_find(journal, op);
    assert(header != NULL);
    assert(callback != NULL);
    *reading = (struct journal_reading){
        .callback = callback,
        .journal = journal,
        .header = *header,
        .next = journal->readings,
    };
    journal->readings = reading;
    reading->request = (struct storage_request){
        .direction = STORAGE_READ,
        .file = STORAGE_PREPARES,
        .offset_bytes = journal_place(journal, header->position),
        .size_bytes = prepare_size_on_disk(header),
        .buffer = message,
        .callback = read_on_done,
    };
    storage_submit(journal->storage, &reading->request);
}

/* ---- Checkpoints ----------------------------------------------------------------------------- */

void
journal_checkpoint_durable(struct journal *journal, const struct prepare_header *checkpoint)
{
    assert(checkpoint->op >= journal->checkpoint.op);
    assert(checkpoint->op <= journal->head.op);
    assert(checkpoint->checksum == journal_header(journal, checkpoint->op)->checksum);
    journal->checkpoint = *checkpoint;
    journal_check(journal);
}
