/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the files of recovery share. journal_probe.c: what the two logs say of an op, and which ops
 * they prove; journal_recovery.c: recovery of a node that is alone, and the writing;
 * journal_peers.c: recovery of a node whose peers have what it has lost.
 */
#ifndef LEDGER_STORE_JOURNAL_RECOVERY_H
#define LEDGER_STORE_JOURNAL_RECOVERY_H

#include "store/journal.h"
#include "store/journal_internal.h"

/* Fills the sectors that can't be read. A sector of these bytes is neither blank nor valid. */
#define UNREADABLE_BYTE JOURNAL_TOMBSTONE_BYTE

struct recovery {
    struct journal *journal;
    struct journal_report *report;
    const struct journal_evidence *evidence;
    struct prepare_header previous; /* The last op of the walk, or at first the checkpoint. */
    uint64_t op_max;
    uint64_t op_own; /* The newest op of view log_view below the suffix, by headers.wal; or 0. */
    uint64_t op_ahead; /* The first op found of a view that is newer than log_view, or 0. */
    u128 named; /* With peers: the checksum that the op being looked at must have, or 0. */
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

/*
 * Reads the whole range at once, or if that fails, sector by sector. Sectors that can't be read, or
 * lie beyond the end of a file that was cut short, are filled with UNREADABLE_BYTE.
 */
void recovery_read(
    struct storage *storage,
    enum storage_file file,
    uint64_t offset_bytes,
    void *buffer,
    uint64_t size_bytes);

bool recovery_sector_unreadable(const uint8_t *sector);

/*
 * Bytes of prepares.wal, valid until the next call. It reads ahead, since the walk and the scan
 * both go forward.
 */
const void *recovery_window(struct recovery *recovery, uint64_t place, uint64_t size_bytes);

/* (J6) What is ahead counts: otherwise an older superblock would make acknowledged ops vanish. */
bool recovery_counts(const struct recovery *recovery, const struct prepare_header *header);

/* What lies at this position. Here, MATCH means only: intact, has this op, has this position. */
enum journal_prepare_state recovery_prepare_at(
    struct recovery *recovery,
    uint64_t op,
    uint64_t position,
    struct prepare_header *header);

/* MATCH: the entry of this op continues the walk. */
enum journal_header_state recovery_header_state(const struct recovery *recovery, uint64_t op);

/*
 * The positions where the next prepare can begin: right behind the previous one, and, if a prepare
 * can be too long for the rest of this lap, at the start of the next. Which of the two it is
 * depends on the prepare's length, which isn't known. If only one is possible, both positions are
 * equal.
 */
void recovery_next_places(
    const struct recovery *recovery,
    const struct prepare_header *previous,
    uint64_t positions[2]);

/* What both logs say of the op behind the previous one. */
struct probe recovery_probe(struct recovery *recovery, uint64_t op);

/* Reads headers.wal into the journal's image of it, and notes what it proves. */
void recovery_read_headers(struct recovery *recovery);

/*
 * Takes account of each intact prepare from position `from` to the end of the log: those of this
 * lap that lie where they belong, and those that are astray. An intact prepare of any lap is
 * stepped over whole, since its inside is users' bytes, which may imitate a header.
 */
void recovery_scan_prepares(struct recovery *recovery, uint64_t from);

/*
 * Takes account of intact prepares that are astray between these places. One that lies where it
 * belongs proves nothing there, because a body can imitate that.
 */
void recovery_scan_astray(struct recovery *recovery, uint64_t from, uint64_t end);

/*
 * The op is damaged, but its header is intact. Was it overwritten by a later prepare that went
 * astray?
 */
void recovery_scan_inside(struct recovery *recovery, const struct probe *probe);

/*
 * Where the scan begins: behind the op that ended the walk, if a header says how long that op is.
 * The parent link makes sure that this header is no imitation.
 */
uint64_t recovery_scan_start(const struct recovery *recovery, const struct probe *probe);

/* Notes the rule that has found damage, and where. */
void recovery_report_damage(
    struct recovery *recovery,
    const struct probe *probe,
    const struct journal_rule *rule);

/*
 * With peers: steps 2 and 3, the decisions, and the image of headers.wal. What is damaged is marked
 * and doesn't end the log, as long as the chain of checksums goes on.
 */
void recovery_walk_with_peers(struct recovery *recovery);

#endif
