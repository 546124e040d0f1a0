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
#include "store/journal_recovery.h"

/* ---- Deciding -------------------------------------------------------------------------------- */

void
recovery_report_damage(
    struct recovery *recovery, const struct probe *probe, const struct journal_rule *rule)
{
    struct journal_report *report = recovery->report;
    assert(probe->prepare_state != JOURNAL_PREPARE_MATCH);
    if (report->damage != NULL) return;
    report->damage = rule;
    report->damage_op = probe->op;
    if (!probe->known) return;
    report->damage_offset_bytes = journal_place(recovery->journal, probe->header.position);
    report->damage_size_bytes = prepare_size_on_disk(&probe->header);
}

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
        recovery_report_damage(recovery, probe, rule);
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
    if (!recovery_sector_unreadable((const uint8_t *) &journal->headers[entry_first])) return false;
    return recovery_sector_unreadable(
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
        const bool unreadable = recovery_sector_unreadable(journal->buffer);
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
 * Behind a certain end nothing was (J8): what is damaged there is what a crash has left of a sector
 * that also has older entries. When the head comes near, nobody could tell that any more.
 */
static bool
recovery_blanked(
    const struct recovery *recovery,
    const struct prepare_header *disk,
    const struct prepare_header *image)
{
    if (recovery->report->entries_faulty > 0 || !prepare_header_blank(image)) return false;
    return !prepare_header_blank(disk) && !prepare_header_valid(disk, recovery->journal->cluster);
}

/*
 * Is the image of this sector to be written over what is on the disk? With peers, only if the
 * header of a whole prepare is missing there, or the end is certain: else what is damaged stays as
 * it is.
 */
static bool
recovery_sector_differs(
    const struct recovery *recovery,
    const struct prepare_header *disk,
    const struct prepare_header *image)
{
    const struct journal *journal = recovery->journal;
    if (!recovery->evidence->peers) return memcmp(disk, image, SECTOR_SIZE) != 0;
    for (uint32_t i = 0; i < HEADERS_PER_SECTOR; i++) {
        const uint64_t op = image[i].op;
        if (recovery_blanked(recovery, &disk[i], &image[i])) return true;
        if (op <= journal->checkpoint.op || op > recovery->previous.op) continue;
        if (journal_faulty(journal, op)) continue;
        if (memcmp(&disk[i], &image[i], PREPARE_HEADER_SIZE) != 0) return true;
    }
    return false;
}

/*
 * Writes sectors of headers.wal that differ from journal->headers, but for the one that has the
 * entry behind the head.
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
        const struct prepare_header *disk = (const void *) (journal->buffer + chunk);
        const struct prepare_header *image = &journal->headers[offset / PREPARE_HEADER_SIZE];
        if (!recovery_sector_differs(recovery, disk, image)) continue;
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
    const bool peers = recovery->evidence->peers;
    assert(peers || recovery->report->damage == NULL);
    assert(journal->failed);
    if (!recovery_grow(journal->storage, STORAGE_PREPARES, journal->prepares_size_bytes)) {
        return false;
    }
    if (!recovery_grow(journal->storage, STORAGE_HEADERS, headers_size_bytes)) return false;
    if (peers) return recovery_write_headers(recovery);
    if (!recovery_erase_tail(recovery)) return false;
    recovery_blank_damaged(recovery);
    if (!recovery_write_headers(recovery)) return false;
    recovery_blank_dropped(recovery);
    return true;
}

/*
 * The newest op that is known to have been durable, whatever the logs say: the checkpoint, what the
 * superblock says was acknowledged (nothing up to that is ever cut), and what it lists. With peers,
 * the list is of the view's log, of which this node need not have had everything.
 */
static uint64_t
evidence_op_max(const struct journal_evidence *evidence, const struct prepare_header *checkpoint)
{
    uint64_t op = max_u64(checkpoint->op, evidence->op_acked_min);
    for (uint32_t i = 0; i < evidence->suffix_count; i++) {
        const struct prepare_header *header = &evidence->suffix[i];
        if (i > 0) assert(header->op == header[-1].op + 1);
        if (i > 0) assert(header->parent == header[-1].checksum);
        if (!evidence->peers) op = max_u64(op, header->op);
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
    memset(journal->faulty, 0, journal->headers_count / 8);

    struct recovery recovery = {
        .journal = journal,
        .report = report,
        .evidence = evidence,
        .previous = *checkpoint,
        .op_max = evidence_op_max(evidence, checkpoint),
    };
    recovery_read_headers(&recovery);
    const bool peers = evidence->peers;
    bool whole = true;
    if (peers) recovery_walk_with_peers(&recovery);
    if (!peers) whole = recovery_walk(&recovery);
    report->op_head = recovery.previous.op;
    report->op_max = recovery.op_max;
    if (!peers) assert(whole == (report->damage == NULL));
    if (recovery.op_ahead != 0) {
        report->op_ahead = recovery.op_ahead;
        return JOURNAL_RECOVERY_AHEAD;
    }
    if (!peers) {
        if (report->uncertain && recovery_blind(&recovery)) return JOURNAL_RECOVERY_IO_ERROR;
        if (!whole) return JOURNAL_RECOVERY_DAMAGED;
        assert(recovery.op_max == recovery.previous.op);
        if (report->op_head < commit_max) return JOURNAL_RECOVERY_SHORT;
    }

    if (!recovery_write(&recovery)) return JOURNAL_RECOVERY_IO_ERROR;
    journal->head = recovery.previous;
    journal->named = journal->head.op;
    journal->window_size = 0;
    journal->readings = NULL;
    journal->op_proved = recovery.op_max;
    recovery_find_oldest(&recovery);
    journal->failed = false;
    assert(journal_end(&journal->head) <= journal_limit(journal));
    assert(
        report->entries_kept + report->headers_fixed + report->entries_faulty ==
        journal->head.op - checkpoint->op);
    return JOURNAL_RECOVERED;
}
