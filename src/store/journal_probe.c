/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the two logs say of an op, and which ops they prove. See journal_recovery.h.
 */
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "store/journal_internal.h"
#include "store/journal_recovery.h"

/* ---- Reading --------------------------------------------------------------------------------- */

void
recovery_read(
    struct storage *storage,
    enum storage_file file,
    uint64_t offset_bytes,
    void *buffer,
    uint64_t size_bytes)
{
    const uint64_t file_size_bytes = storage->file_size_bytes[file];
    assert(size_bytes > 0 && size_bytes % SECTOR_SIZE == 0);
    assert(offset_bytes % SECTOR_SIZE == 0);
    if (offset_bytes + size_bytes <= file_size_bytes) {
        const enum storage_result result =
            storage_transfer_now(storage, STORAGE_READ, file, offset_bytes, buffer, size_bytes);
        if (result == STORAGE_OK) return;
    }
    for (uint64_t done = 0; done < size_bytes; done += SECTOR_SIZE) {
        uint8_t *sector = (uint8_t *) buffer + done;
        const uint64_t offset = offset_bytes + done;
        const bool readable =
            offset + SECTOR_SIZE <= file_size_bytes &&
            storage_transfer_now(storage, STORAGE_READ, file, offset, sector, SECTOR_SIZE) ==
                STORAGE_OK;
        if (!readable) memset(sector, UNREADABLE_BYTE, SECTOR_SIZE);
    }
}

bool
recovery_sector_unreadable(const uint8_t *sector)
{
    return sector[0] == UNREADABLE_BYTE && memcmp(sector, sector + 1, SECTOR_SIZE - 1) == 0;
}

const void *
recovery_window(struct recovery *recovery, uint64_t place, uint64_t size_bytes)
{
    struct journal *journal = recovery->journal;
    assert(size_bytes > 0 && size_bytes <= PREPARE_SIZE_MAX);
    assert(place % SECTOR_SIZE == 0);
    assert(place + size_bytes <= journal->prepares_size_bytes);

    const bool inside = place >= recovery->window_place &&
                        place + size_bytes <= recovery->window_place + recovery->window_size;
    if (!inside) {
        recovery->window_place = place;
        recovery->window_size = min_u64(PREPARE_SIZE_MAX, journal->prepares_size_bytes - place);
        recovery_read(
            journal->storage, STORAGE_PREPARES, place, journal->buffer, recovery->window_size);
    }
    assert(place + size_bytes <= recovery->window_place + recovery->window_size);
    return journal->buffer + (place - recovery->window_place);
}

/* Reads the prepare header at this place. True if it is intact, whatever its op, lap and place. */
static bool
recovery_any_header_at(struct recovery *recovery, uint64_t place, struct prepare_header *header)
{
    const struct journal *journal = recovery->journal;
    assert(place < journal->prepares_size_bytes);
    memcpy(header, recovery_window(recovery, place, SECTOR_SIZE), sizeof(*header));
    if (!prepare_header_valid(header, journal->cluster)) return false;
    if (header->op == 0) return false;
    return place + prepare_size_on_disk(header) <= journal->prepares_size_bytes;
}

/* One that belongs at this place. */
static bool
recovery_header_at(struct recovery *recovery, uint64_t place, struct prepare_header *header)
{
    return recovery_any_header_at(recovery, place, header) &&
           journal_place(recovery->journal, header->position) == place;
}

/* Is the prepare at this place, which has this header, whole? */
static bool
recovery_intact(
    struct recovery *recovery, uint64_t place, const struct prepare_header *header)
{
    assert(header->op > 0);
    assert(place + prepare_size_on_disk(header) <= recovery->journal->prepares_size_bytes);
    const struct prepare_header *prepare =
        recovery_window(recovery, place, prepare_size_on_disk(header));
    /*
     * Compare again: the window may have been read a second time since, and a failing disk need not
     * return the same bytes twice.
     */
    if (memcmp(prepare, header, sizeof(*header)) != 0) return false;
    return prepare_valid(prepare, recovery->journal->cluster);
}

/*
 * Is this intact header of a view that the superblock knows nothing of? A view is durable there
 * before anything of it is written to the log, and so the superblock is older than the log.
 */
static bool
recovery_ahead(const struct recovery *recovery, const struct prepare_header *header)
{
    const struct journal_evidence *evidence = recovery->evidence;
    return evidence->suffix_count > 0 && header->view > evidence->log_view;
}

bool
recovery_counts(const struct recovery *recovery, const struct prepare_header *header)
{
    const struct journal_evidence *evidence = recovery->evidence;
    if (evidence->suffix_count == 0 || recovery_ahead(recovery, header)) return true;
    const uint64_t op_first = evidence->suffix[0].op;
    const uint64_t op_last = evidence->suffix[evidence->suffix_count - 1].op;
    if (header->op > op_last) return header->view == evidence->log_view;
    /* What is of log_view itself was never dropped, and views ascend in each log. */
    if (header->op < op_first) {
        const bool behind = recovery->op_own > 0 && header->op > recovery->op_own;
        return !behind || header->view == evidence->log_view;
    }
    return header->checksum == evidence->suffix[header->op - op_first].checksum;
}

static void
recovery_note_ahead(struct recovery *recovery, const struct prepare_header *header)
{
    if (!recovery_ahead(recovery, header)) return;
    const uint64_t op = recovery->op_ahead;
    recovery->op_ahead = op == 0 ? header->op : min_u64(op, header->op);
}

/* An intact header or prepare proves its op, if it counts. */
static void
recovery_prove(struct recovery *recovery, const struct prepare_header *header)
{
    if (!recovery_counts(recovery, header)) return;
    recovery->op_max = max_u64(recovery->op_max, header->op);
    recovery_note_ahead(recovery, header);
}

enum journal_prepare_state
recovery_prepare_at(
    struct recovery *recovery, uint64_t op, uint64_t position, struct prepare_header *header)
{
    const struct journal *journal = recovery->journal;
    const uint64_t limit = journal_limit(journal);
    assert(op > journal->checkpoint.op);
    assert(position >= journal_end(&recovery->previous));
    if (position >= limit) return JOURNAL_PREPARE_ABSENT;
    if (!recovery_header_at(recovery, journal_place(journal, position), header)) {
        return JOURNAL_PREPARE_ABSENT;
    }
    if (header->op != op || header->position != position) return JOURNAL_PREPARE_ABSENT;
    if (journal_end(header) > limit) return JOURNAL_PREPARE_ABSENT;
    if (!recovery_counts(recovery, header)) return JOURNAL_PREPARE_ABSENT;
    const bool intact = recovery_intact(recovery, journal_place(journal, position), header);
    return intact ? JOURNAL_PREPARE_MATCH : JOURNAL_PREPARE_DAMAGED;
}

/* ---- The walk -------------------------------------------------------------------------------- */

enum journal_header_state
recovery_header_state(const struct recovery *recovery, uint64_t op)
{
    const struct journal *journal = recovery->journal;
    assert(op > journal->checkpoint.op);
    assert(op - journal->checkpoint.op <= journal->headers_count);

    const uint64_t entry = journal_entry(journal, op);
    const struct prepare_header *header = &journal->headers[entry];
    if (prepare_header_blank(header)) return JOURNAL_HEADER_OLDER;
    if (!prepare_header_valid(header, journal->cluster)) return JOURNAL_HEADER_CORRUPT;
    if (!recovery_counts(recovery, header)) return JOURNAL_HEADER_OLDER;
    if (journal_entry(journal, header->op) != entry) return JOURNAL_HEADER_CORRUPT;
    if (header->op == 0 || header->op > op) return JOURNAL_HEADER_CORRUPT;
    if (header->op < op) return JOURNAL_HEADER_OLDER;
    if (recovery->previous.op + 1 != op) return JOURNAL_HEADER_CORRUPT;
    if (!journal_follows(journal, &recovery->previous, header)) return JOURNAL_HEADER_CORRUPT;
    if (journal_end(header) > journal_limit(journal)) return JOURNAL_HEADER_CORRUPT;
    return JOURNAL_HEADER_MATCH;
}

/* The header is known, and it says where the prepare lies. */
static void
recovery_probe_named(struct recovery *recovery, struct probe *probe)
{
    const struct journal *journal = recovery->journal;
    assert(probe->header_state == JOURNAL_HEADER_MATCH);
    assert(!probe->known);
    probe->known = true;
    probe->header = journal->headers[journal_entry(journal, probe->op)];
    assert(journal_follows(journal, &recovery->previous, &probe->header));

    struct prepare_header found;
    enum journal_prepare_state state =
        recovery_prepare_at(recovery, probe->op, probe->header.position, &found);
    if (state == JOURNAL_PREPARE_MATCH && found.checksum != probe->header.checksum) {
        state = JOURNAL_PREPARE_DIFFERENT;
    }
    probe->prepare_state = state;
}

void
recovery_next_places(
    const struct recovery *recovery, const struct prepare_header *previous, uint64_t positions[2])
{
    const uint64_t ring_size = recovery->journal->prepares_size_bytes;
    const uint64_t end = journal_end(previous);
    const uint64_t lap_next = div_ceil(end, ring_size) * ring_size;
    assert(lap_next >= end && lap_next - end < ring_size);
    positions[0] = end;
    positions[1] = lap_next - end < PREPARE_SIZE_MAX ? lap_next : end;
    assert(positions[0] <= positions[1]);
}

/* Is there a next op, in either log, whose parent is this prepare? */
static bool
recovery_has_child(struct recovery *recovery, const struct prepare_header *parent)
{
    const struct journal *journal = recovery->journal;
    const uint64_t op = parent->op + 1;
    uint64_t positions[2];
    if (op - journal->checkpoint.op > journal->headers_count) return false;
    const struct prepare_header *entry = &journal->headers[journal_entry(journal, op)];
    if (prepare_header_valid(entry, journal->cluster) && recovery_counts(recovery, entry) &&
        journal_follows(journal, parent, entry)) {
        return true;
    }
    recovery_next_places(recovery, parent, positions);
    for (uint32_t i = 0; i < 2; i++) {
        struct prepare_header found;
        if (recovery_prepare_at(recovery, op, positions[i], &found) != JOURNAL_PREPARE_ABSENT &&
            journal_follows(journal, parent, &found)) {
            return true;
        }
    }
    return false;
}

/*
 * Both places hold a prepare of this op in the same state. One of them was dropped, by an earlier
 * recovery that couldn't erase it or by a change of view. The right one is the parent of the next
 * op. If there is none, it is the one of the higher view; that alone doesn't decide, for an op that
 * was dropped can return in a later view, as it was.
 */
static bool
recovery_prefers(
    struct recovery *recovery,
    const struct prepare_header *found,
    const struct prepare_header *other)
{
    const bool found_has_child = recovery_has_child(recovery, found);
    const bool other_has_child = recovery_has_child(recovery, other);
    if (found_has_child != other_has_child) return found_has_child;
    return found->view > other->view;
}

/*
 * The header isn't known. Look at the places where the next prepare can be, and take the best find.
 */
static void
recovery_probe_unnamed(struct recovery *recovery, struct probe *probe)
{
    uint64_t positions[2];
    assert(probe->header_state != JOURNAL_HEADER_MATCH);
    recovery_next_places(recovery, &recovery->previous, positions);
    probe->prepare_state = JOURNAL_PREPARE_ABSENT;
    for (uint32_t i = 0; i < 2; i++) {
        struct prepare_header found;
        if (i == 1 && positions[1] == positions[0]) continue;
        enum journal_prepare_state state =
            recovery_prepare_at(recovery, probe->op, positions[i], &found);
        if (state == JOURNAL_PREPARE_MATCH &&
            !journal_follows(recovery->journal, &recovery->previous, &found)) {
            state = JOURNAL_PREPARE_DIFFERENT;
        }
        if (state == JOURNAL_PREPARE_ABSENT) continue;
        if (recovery->named != 0 && found.checksum != recovery->named) continue;
        const bool better = state < probe->prepare_state ||
                            (state == probe->prepare_state &&
                             recovery_prefers(recovery, &found, &probe->header));
        if (!better) continue;
        probe->prepare_state = state;
        probe->header = found;
        probe->known = true;
    }
    assert(probe->known == (probe->prepare_state != JOURNAL_PREPARE_ABSENT));
}

struct probe
recovery_probe(struct recovery *recovery, uint64_t op)
{
    const struct journal *journal = recovery->journal;
    assert(op == recovery->previous.op + 1);
    struct probe probe = {
        .op = op,
        .header_state = JOURNAL_HEADER_OLDER,
        .prepare_state = JOURNAL_PREPARE_ABSENT,
    };
    /* The log is full: it has neither an entry nor a place for this op. */
    if (op - journal->checkpoint.op > journal->headers_count) return probe;

    probe.header_state = recovery_header_state(recovery, op);
    if (probe.header_state == JOURNAL_HEADER_MATCH) {
        recovery_probe_named(recovery, &probe);
    } else {
        recovery_probe_unnamed(recovery, &probe);
    }
    const bool whole = probe.prepare_state == JOURNAL_PREPARE_MATCH ||
                       probe.prepare_state == JOURNAL_PREPARE_DIFFERENT;
    if (whole) assert(probe.known);
    /* A torn prepare proves no op, but its header is intact. */
    if (probe.known) recovery_note_ahead(recovery, &probe.header);
    if (whole) recovery_prove(recovery, &probe.header);
    if (whole) assert(recovery->op_max >= op);
    if (probe.header_state == JOURNAL_HEADER_MATCH) assert(recovery->op_max >= op);
    return probe;
}

/* ---- Evidence -------------------------------------------------------------------------------- */

static void
recovery_find_own(struct recovery *recovery)
{
    const struct journal *journal = recovery->journal;
    const struct journal_evidence *evidence = recovery->evidence;
    recovery->op_own = 0;
    if (evidence->suffix_count == 0) return;
    for (uint64_t entry = 0; entry < journal->headers_count; entry++) {
        const struct prepare_header *header = &journal->headers[entry];
        if (!prepare_header_valid(header, journal->cluster)) continue;
        if (header->view != evidence->log_view || header->op >= evidence->suffix[0].op) continue;
        recovery->op_own = max_u64(recovery->op_own, header->op);
    }
}

void
recovery_read_headers(struct recovery *recovery)
{
    const struct journal *journal = recovery->journal;
    const uint64_t size_bytes = journal->headers_count * PREPARE_HEADER_SIZE;
    assert(size_bytes % SECTOR_SIZE == 0);
    assert(recovery->op_max >= journal->checkpoint.op);
    for (uint64_t done = 0; done < size_bytes; done += PREPARE_SIZE_MAX) {
        recovery_read(
            journal->storage,
            STORAGE_HEADERS,
            done,
            (uint8_t *) journal->headers + done,
            min_u64(PREPARE_SIZE_MAX, size_bytes - done));
    }
    recovery_find_own(recovery);
    for (uint64_t entry = 0; entry < journal->headers_count; entry++) {
        const struct prepare_header *header = &journal->headers[entry];
        if (!prepare_header_valid(header, journal->cluster)) continue;
        recovery_prove(recovery, header);
    }
}

/* A prepare is astray where it doesn't belong: a write that was misdirected has left it there. */
static bool
recovery_astray(
    const struct recovery *recovery, uint64_t place, const struct prepare_header *header)
{
    return journal_place(recovery->journal, header->position) != place;
}

void
recovery_scan_prepares(struct recovery *recovery, uint64_t from)
{
    const struct journal *journal = recovery->journal;
    const uint64_t limit = journal_limit(journal);
    assert(from >= journal_end(&recovery->previous));

    uint64_t position = from;
    while (position < limit) {
        struct prepare_header header;
        const uint64_t place = journal_place(journal, position);
        if (!recovery_any_header_at(recovery, place, &header) ||
            !recovery_intact(recovery, place, &header)) {
            position += SECTOR_SIZE;
            continue;
        }
        const bool here = header.position == position;
        if (here || recovery_astray(recovery, place, &header)) {
            recovery_prove(recovery, &header);
        }
        position += prepare_size_on_disk(&header);
    }
}

void
recovery_scan_astray(struct recovery *recovery, uint64_t from, uint64_t end)
{
    assert(from % SECTOR_SIZE == 0);
    assert(end <= recovery->journal->prepares_size_bytes);
    for (uint64_t at = from; at < end; at += SECTOR_SIZE) {
        struct prepare_header header;
        if (!recovery_any_header_at(recovery, at, &header)) continue;
        if (!recovery_astray(recovery, at, &header)) continue;
        if (!recovery_intact(recovery, at, &header)) continue;
        recovery_prove(recovery, &header);
    }
}

void
recovery_scan_inside(struct recovery *recovery, const struct probe *probe)
{
    const uint64_t place = journal_place(recovery->journal, probe->header.position);
    const uint64_t end = place + prepare_size_on_disk(&probe->header);
    assert(probe->prepare_state == JOURNAL_PREPARE_DAMAGED);
    assert(probe->known && probe->header.op == probe->op);
    recovery_scan_astray(recovery, place + SECTOR_SIZE, end);
}

uint64_t
recovery_scan_start(const struct recovery *recovery, const struct probe *probe)
{
    const bool trusted =
        probe->known && journal_follows(recovery->journal, &recovery->previous, &probe->header);
    const uint64_t end = journal_end(&recovery->previous);
    if (trusted) assert(journal_end(&probe->header) > end);
    return trusted ? journal_end(&probe->header) : end;
}
