/* SPDX-License-Identifier: PostgreSQL */
/*
 * Recovery of the journal. See journal.h for the idea, journal_rules.c for the decisions.
 *
 * The order of the work, and what it relies on:
 *  1. Read headers.wal. Any intact header in it that counts (J6), in whatever entry, proves its
 *     op: only headers are ever written there, each after its prepare was durable (J1).
 *  2. Walk the parent links from the checkpoint. If the next op's header is intact, it says where
 *     the prepare lies. If it isn't, there are only two possible places, because the op before
 *     determines position and parent (P2): right behind it, or at the start of the next lap. The
 *     walk ends at the first op without an intact prepare.
 *  3. Scan the rest of the ring for prepares that prove later ops. One that is astray proves its op
 *     too: only a misdirected write brings a prepare of this cluster to a wrong place.
 *  4. Decide by the table. Then, unless something is damaged, write: erase the torn append, so that
 *     no later recovery meets it, and make headers.wal say what this recovery found. The sector
 *     that has the entry behind the head is left to the next op's append, even if a fault has made
 *     older headers in it wrong: a crash that tore it now would damage that entry, which must be
 *     the work of a broken disk only.
 *
 * If a crash interrupts step 4 anywhere, the next recovery comes to the same decisions.
 */
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "store/journal.h"
#include "store/journal_internal.h"

/* Fills the sectors that can't be read. A sector of these bytes is neither blank nor valid. */
#define UNREADABLE_BYTE 0xff

struct recovery {
    struct journal *journal;
    struct journal_report *report;
    const struct journal_evidence *evidence;
    struct prepare_header previous; /* The last op of the walk, or at first the checkpoint. */
    uint64_t op_max;
    uint64_t op_ahead; /* The first op found of a view that is newer than log_view, or 0. */
    uint64_t window_place; /* The bytes of prepares.wal that journal->buffer holds now. */
    uint64_t window_size;
};

/* What the two logs say of one op. */
struct probe {
    uint64_t op;
    enum journal_header_state header_state;
    enum journal_prepare_state prepare_state;
    bool known; /* One of the logs has a header of this op, and `header` is it. */
    struct prepare_header header;
};

/* ---- Reading --------------------------------------------------------------------------------- */

/*
 * Reads the whole range at once, or if that fails, sector by sector. Sectors that can't be read, or
 * lie beyond the end of a file that was cut short, are filled with UNREADABLE_BYTE.
 */
static void
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

static bool
sector_unreadable(const uint8_t *sector)
{
    return sector[0] == UNREADABLE_BYTE && memcmp(sector, sector + 1, SECTOR_SIZE - 1) == 0;
}

/*
 * Bytes of prepares.wal, valid until the next call. It reads ahead, since the walk and the scan
 * both go forward.
 */
static const void *
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

/* (J6) What is ahead counts: otherwise an older superblock would make acknowledged ops vanish. */
static bool
recovery_counts(const struct recovery *recovery, const struct prepare_header *header)
{
    const struct journal_evidence *evidence = recovery->evidence;
    if (evidence->suffix_count == 0 || recovery_ahead(recovery, header)) return true;
    const uint64_t op_first = evidence->suffix[0].op;
    const uint64_t op_last = evidence->suffix[evidence->suffix_count - 1].op;
    if (header->op > op_last) return header->view == evidence->log_view;
    if (header->op < op_first) return true;
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

/* What lies at this position. Here, MATCH means only: intact, has this op, has this position. */
static enum journal_prepare_state
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

static enum journal_header_state
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

/*
 * The positions where the next prepare can begin: right behind the previous one, and, if a prepare
 * can be too long for the rest of this lap, at the start of the next. Which of the two it is
 * depends on the prepare's length, which isn't known. If only one is possible, both positions are
 * equal.
 */
static void
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

static struct probe
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

/*
 * Takes account of each intact prepare from position `from` to the end of the log: those of this
 * lap that lie where they belong, and those that are astray. An intact prepare of any lap is
 * stepped over whole, since its inside is users' bytes, which may imitate a header.
 */
static void
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

/*
 * The op that ended the walk is damaged, but its header is intact. Was it overwritten by a later
 * prepare that went astray? In there, a prepare that lies where it belongs proves nothing, because
 * a body can imitate that.
 */
static void
recovery_scan_inside(struct recovery *recovery, const struct probe *probe)
{
    const uint64_t place = journal_place(recovery->journal, probe->header.position);
    const uint64_t end = place + prepare_size_on_disk(&probe->header);
    assert(probe->prepare_state == JOURNAL_PREPARE_DAMAGED);
    assert(probe->known && probe->header.op == probe->op);
    for (uint64_t at = place + SECTOR_SIZE; at < end; at += SECTOR_SIZE) {
        struct prepare_header header;
        if (!recovery_any_header_at(recovery, at, &header)) continue;
        if (!recovery_astray(recovery, at, &header)) continue;
        if (!recovery_intact(recovery, at, &header)) continue;
        recovery_prove(recovery, &header);
    }
}

/*
 * Where the scan begins: behind the op that ended the walk, if a header says how long that op is.
 * The parent link makes sure that this header is no imitation.
 */
static uint64_t
recovery_scan_start(const struct recovery *recovery, const struct probe *probe)
{
    const bool trusted =
        probe->known && journal_follows(recovery->journal, &recovery->previous, &probe->header);
    const uint64_t end = journal_end(&recovery->previous);
    if (trusted) assert(journal_end(&probe->header) > end);
    return trusted ? journal_end(&probe->header) : end;
}

/* ---- Deciding -------------------------------------------------------------------------------- */

static enum journal_decision
recovery_decide(struct recovery *recovery, const struct probe *probe, enum journal_place place)
{
    struct journal *journal = recovery->journal;
    struct journal_report *report = recovery->report;
    const struct journal_rule *rule =
        journal_rule_for(probe->header_state, probe->prepare_state, place);
    report->rule_uses[rule - journal_rules] += 1;
    assert(report->damage == NULL);
    assert(!report->tail_cut);

    switch (rule->decision) {
    case JOURNAL_KEEP: report->entries_kept += 1; break;
    case JOURNAL_FIX:
        assert(probe->known);
        assert(probe->header.op == probe->op);
        journal->headers[journal_entry(journal, probe->op)] = probe->header;
        report->headers_fixed += 1;
        break;
    case JOURNAL_CUT:
        assert(place == JOURNAL_PLACE_TAIL);
        assert(probe->op > recovery->evidence->op_acked_min); /* (J7) */
        report->tail_cut = probe->prepare_state == JOURNAL_PREPARE_DAMAGED;
        break;
    case JOURNAL_UNCERTAIN:
    case JOURNAL_REPAIR:
        report->uncertain = rule->decision == JOURNAL_UNCERTAIN;
        assert(probe->prepare_state != JOURNAL_PREPARE_MATCH);
        report->damage = rule;
        report->damage_op = probe->op;
        if (probe->known) {
            report->damage_offset_bytes = journal_place(journal, probe->header.position);
            report->damage_size_bytes = prepare_size_on_disk(&probe->header);
        }
        break;
    case JOURNAL_IMPOSSIBLE: unreachable();
    }
    return rule->decision;
}

/*
 * True if neither log can be read where the next op would be. A single fault doesn't do that: the
 * disk is failing, or the files are gone. Cutting the log here, and writing, would lose what may
 * still be there.
 */
static bool
recovery_blind(struct recovery *recovery)
{
    const struct journal *journal = recovery->journal;
    const uint64_t op = recovery->previous.op + 1;
    assert(recovery->report->uncertain);
    const uint64_t position = journal_end(&recovery->previous);
    if (position >= journal_limit(journal)) return false;
    const uint64_t entry_first = journal_sector_entry(journal, op);
    if (!sector_unreadable((const uint8_t *) &journal->headers[entry_first])) return false;
    return sector_unreadable(
        recovery_window(recovery, journal_place(journal, position), SECTOR_SIZE));
}

/* Steps 2 and 3, and the decisions. Returns true if the log is whole up to recovery->previous. */
static bool
recovery_walk(struct recovery *recovery)
{
    /* The op before the current one. It is decided only when it is known whether it is the head. */
    struct probe last = {0};
    struct probe probe = recovery_probe(recovery, recovery->previous.op + 1);
    while (probe.prepare_state == JOURNAL_PREPARE_MATCH) {
        if (last.op != 0) (void) recovery_decide(recovery, &last, JOURNAL_PLACE_BELOW);
        assert(journal_follows(recovery->journal, &recovery->previous, &probe.header));
        last = probe;
        recovery->previous = probe.header;
        probe = recovery_probe(recovery, recovery->previous.op + 1);
    }
    if (probe.prepare_state == JOURNAL_PREPARE_DAMAGED) recovery_scan_inside(recovery, &probe);
    recovery_scan_prepares(recovery, recovery_scan_start(recovery, &probe));

    const uint64_t op_max = recovery->op_max;
    assert(op_max >= recovery->previous.op);
    if (last.op != 0) {
        const enum journal_place place =
            last.op < op_max ? JOURNAL_PLACE_BELOW : JOURNAL_PLACE_HEAD;
        const enum journal_decision decision = recovery_decide(recovery, &last, place);
        assert(decision == JOURNAL_KEEP || decision == JOURNAL_FIX);
    }
    enum journal_place place = JOURNAL_PLACE_TAIL;
    if (probe.op == op_max) place = JOURNAL_PLACE_HEAD;
    if (probe.op < op_max) place = JOURNAL_PLACE_BELOW;
    const enum journal_decision decision = recovery_decide(recovery, &probe, place);
    assert(decision != JOURNAL_KEEP && decision != JOURNAL_FIX);
    return decision == JOURNAL_CUT;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/*
 * Erases what a dropped append may have left at its two possible places. The next append may go to
 * only one of them. If the other kept its content, a later recovery would find two prepares of one
 * op.
 */
static bool
recovery_erase_tail(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    struct prepare_header *header = (struct prepare_header *) (void *) journal->buffer;
    uint64_t positions[2];
    assert(recovery->op_max == recovery->previous.op);
    recovery_next_places(recovery, &recovery->previous, positions);
    recovery->window_size = 0;
    for (uint32_t i = 0; i < 2; i++) {
        if (positions[i] >= journal_limit(journal)) continue;
        const uint64_t place = journal_place(journal, positions[i]);
        assert(place + SECTOR_SIZE <= journal->storage->file_size_bytes[STORAGE_PREPARES]);
        recovery_read(journal->storage, STORAGE_PREPARES, place, journal->buffer, SECTOR_SIZE);
        const bool unreadable = sector_unreadable(journal->buffer);
        const bool dropped = prepare_header_valid(header, journal->cluster) &&
                             header->op > recovery->previous.op &&
                             header->position == positions[i] && recovery_counts(recovery, header);
        if (!unreadable && !dropped) continue;
        memset(journal->buffer, 0, SECTOR_SIZE);
        const enum storage_result result = storage_transfer_now(
            journal->storage, STORAGE_WRITE, STORAGE_PREPARES, place, journal->buffer, SECTOR_SIZE);
        if (result != STORAGE_OK) return false;
    }
    return true;
}

/*
 * Blanks entries behind the head that are damaged: before headers.wal is written, so that they are
 * blank on disk before the head comes near them.
 */
static void
recovery_blank_damaged(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    const uint64_t op_end = journal->checkpoint.op + journal->headers_count;
    assert(recovery->previous.op <= op_end);
    for (uint64_t op = recovery->previous.op + 1; op <= op_end; op++) {
        const enum journal_header_state state = recovery_header_state(recovery, op);
        assert(state != JOURNAL_HEADER_MATCH); /* A header that matched would have proved the op. */
        if (state == JOURNAL_HEADER_OLDER) continue;
        memset(&journal->headers[journal_entry(journal, op)], 0, PREPARE_HEADER_SIZE);
    }
}

/*
 * Blanks entries of ops behind the head that don't count (J6), only in memory: an append that
 * writes their sector must not name them again (J1).
 */
static void
recovery_blank_dropped(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    for (uint64_t i = 0; i < journal->headers_count; i++) {
        struct prepare_header *header = &journal->headers[i];
        const bool dropped = header->op > recovery->previous.op ||
                             (header->op != 0 && journal_entry(journal, header->op) != i);
        if (dropped) memset(header, 0, PREPARE_HEADER_SIZE);
    }
}

/*
 * Writes each sector of headers.wal that differs from journal->headers, but for the one that has
 * the entry behind the head.
 */
static bool
recovery_write_headers(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    const uint64_t size_bytes = journal->headers_count * PREPARE_HEADER_SIZE;
    uint8_t *headers = (uint8_t *) journal->headers;
    const uint64_t op_next = recovery->previous.op + 1;
    const bool full = op_next - journal->checkpoint.op > journal->headers_count;
    assert(size_bytes <= journal->storage->file_size_bytes[STORAGE_HEADERS]);
    assert(recovery->report->damage == NULL);
    recovery->window_size = 0;
    for (uint64_t offset = 0; offset < size_bytes; offset += SECTOR_SIZE) {
        const uint64_t chunk = offset % PREPARE_SIZE_MAX;
        if (chunk == 0) {
            recovery_read(
                journal->storage,
                STORAGE_HEADERS,
                offset,
                journal->buffer,
                min_u64(PREPARE_SIZE_MAX, size_bytes - offset));
        }
        if (memcmp(journal->buffer + chunk, headers + offset, SECTOR_SIZE) == 0) continue;
        if (!full && offset / SECTOR_SIZE == journal_sector(journal, op_next)) continue;
        const enum storage_result result = storage_transfer_now(
            journal->storage,
            STORAGE_WRITE,
            STORAGE_HEADERS,
            offset,
            headers + offset,
            SECTOR_SIZE);
        if (result != STORAGE_OK) return false;
    }
    return true;
}

static bool
recovery_grow(struct storage *storage, enum storage_file file, uint64_t size_bytes)
{
    assert(size_bytes > 0 && size_bytes % SECTOR_SIZE == 0);
    if (storage->file_size_bytes[file] >= size_bytes) return true;
    return storage_grow(storage, file, size_bytes) == STORAGE_OK;
}

static bool
recovery_write(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    const uint64_t headers_size_bytes = journal->headers_count * PREPARE_HEADER_SIZE;
    assert(recovery->report->damage == NULL);
    assert(journal->failed);
    if (!recovery_grow(journal->storage, STORAGE_PREPARES, journal->prepares_size_bytes)) {
        return false;
    }
    if (!recovery_grow(journal->storage, STORAGE_HEADERS, headers_size_bytes)) return false;
    if (!recovery_erase_tail(recovery)) return false;
    recovery_blank_damaged(recovery);
    if (!recovery_write_headers(recovery)) return false;
    recovery_blank_dropped(recovery);
    return true;
}

/*
 * The newest op that is known to have been durable, whatever the logs say: the checkpoint, what the
 * superblock says was acknowledged (nothing up to that is ever cut), and what it lists.
 */
static uint64_t
evidence_op_max(const struct journal_evidence *evidence, const struct prepare_header *checkpoint)
{
    uint64_t op = max_u64(checkpoint->op, evidence->op_acked_min);
    for (uint32_t i = 0; i < evidence->suffix_count; i++) {
        const struct prepare_header *header = &evidence->suffix[i];
        if (i > 0) assert(header->op == header[-1].op + 1);
        if (i > 0) assert(header->parent == header[-1].checksum);
        op = max_u64(op, header->op);
    }
    return op;
}

/*
 * How far back the log reaches before the checkpoint: as far as each entry is the parent of the
 * next. Whether their prepares are whole is found out when they are read.
 */
static void
recovery_find_oldest(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    u128 checksum = journal->checkpoint.checksum;
    uint64_t op = journal->checkpoint.op;
    for (; op > 0; op--) {
        const struct prepare_header *header = &journal->headers[journal_entry(journal, op)];
        if (header->op != op || header->checksum != checksum) break;
        if (!prepare_header_valid(header, journal->cluster)) break;
        checksum = header->parent;
    }
    journal->op_oldest = op + 1;
    journal->position_written = 0;
    journal_wrote(journal, journal_end(&journal->head));
}

enum journal_recovery
journal_recover(
    struct journal *journal,
    u128 cluster,
    const struct prepare_header *checkpoint,
    const struct journal_evidence *evidence,
    uint64_t commit_max,
    struct journal_report *report)
{
    assert(!journal_busy(journal));
    assert(prepare_header_valid(checkpoint, cluster));
    *report = (struct journal_report){.damage_offset_bytes = UINT64_MAX};
    journal->failed = true;
    journal->cluster = cluster;
    journal->checkpoint = *checkpoint;
    journal->head = *checkpoint;
    journal->named = checkpoint->op;
    journal->naming = 0;

    struct recovery recovery = {
        .journal = journal,
        .report = report,
        .evidence = evidence,
        .previous = *checkpoint,
        .op_max = evidence_op_max(evidence, checkpoint),
    };
    recovery_read_headers(&recovery);
    const bool whole = recovery_walk(&recovery);
    report->op_head = recovery.previous.op;
    report->op_max = recovery.op_max;
    assert(whole == (report->damage == NULL));
    if (recovery.op_ahead != 0) {
        report->op_ahead = recovery.op_ahead;
        return JOURNAL_RECOVERY_AHEAD;
    }
    if (report->uncertain && recovery_blind(&recovery)) return JOURNAL_RECOVERY_IO_ERROR;
    if (!whole) return JOURNAL_RECOVERY_DAMAGED;
    assert(recovery.op_max == recovery.previous.op);
    if (report->op_head < commit_max) return JOURNAL_RECOVERY_SHORT;

    if (!recovery_write(&recovery)) return JOURNAL_RECOVERY_IO_ERROR;
    journal->head = recovery.previous;
    journal->named = journal->head.op;
    journal->window_size = 0;
    journal->readings = NULL;
    recovery_find_oldest(&recovery);
    journal->failed = false;
    assert(journal_end(&journal->head) <= journal_limit(journal));
    assert(report->entries_kept + report->headers_fixed == journal->head.op - checkpoint->op);
    return JOURNAL_RECOVERED;
}
