/* SPDX-License-Identifier: PostgreSQL */
/*
 * The journal: two write-ahead logs that together tell a crash from a broken disk.
 *
 *    prepares.wal   byte-addressed ring: each prepare (header, body, zero padding to a sector) lies
 *                   right after its parent (store/prepare.h, P2). Cost follows bytes.
 *    headers.wal    ring of copies of the same headers, HEADERS_PER_SECTOR to a sector; the entry
 *                   of an op is headers_log_entry. It has an entry for each sector of
 *                   prepares.wal, so prepares.wal is always full first.
 *
 * An append first writes the prepare. When that is durable, it writes the sector of headers.wal
 * that holds the prepare's header. The append is complete when both are durable; or, with
 * JOURNAL_SYNC_FIRST, as soon as the prepare is: then the header is written beside what follows.
 * doc/wal_order.md says what that gives up. Prepares are written strictly one after another.
 *
 * Why two: after a crash, a prepare at the end that isn't whole was either never completed (it may
 * be dropped), or was acknowledged and has been damaged since (it must not be dropped). One log
 * can't tell these apart. With two, a header in headers.wal proves that its prepare was durable
 * once.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (J1) the header of op N is in headers.wal only if prepare N was durable before.
 *  (J2) the write of prepare N + 1 starts only after that of prepare N has completed, and that of
 *       its header; with JOURNAL_SYNC_FIRST, of the header of N − 1. So at most one append is
 *       uncertain after a crash: the one after the highest op that any log proves.
 *  (J3) a prepare's place is overwritten only when its op is at or below the durable checkpoint.
 *  (J4) op N + 1's parent is the checksum of N's header.
 *
 *  (J6) not everything that is intact counts. What the superblock says of the log
 *       (journal_evidence) decides: entries that were cut by a change of view stay on disk.
 *  (J7) nothing that the superblock says was acknowledged (op_acked_min) is ever cut.
 *  (J8) with peers, an entry that is damaged on disk never becomes one that says that nothing was
 *       there, before its op is written or the log is known to end before it.
 *
 * Recovery (journal_recovery.c) reads both logs whole. It walks from the checkpoint along the
 * parent links, op by op, as far as either log has the next op. op_max is the highest op after the
 * checkpoint that an intact header in headers.wal or an intact prepare in prepares.wal proves, even
 * one that a misdirected write has brought to a wrong place, if it counts (J6); or that the
 * superblock proves. By J1 and J2, everything up to op_max was durable once. So damage there is rot
 * or a lost write, and is never guessed away. Whatever lies after op_max was never complete, hence
 * never acknowledged, and is dropped silently; but where the entry behind op_max is damaged, which
 * no crash does, that is uncertain. The decision for each (header state × prepare state × place) is
 * a row of the table journal_rules.
 *
 * The body of a prepare holds bytes that users chose, and they may imitate a header. Therefore a
 * scan for evidence never looks inside a prepare whose extent is known, and an imitation would have
 * to carry the cluster's id to count. Whoever may write transfers must not be told that id.
 */
#ifndef LEDGER_STORE_JOURNAL_H
#define LEDGER_STORE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/u128.h"
#include "io/storage.h"
#include "store/prepare.h"

/* Which writes complete an append. Recovery is the same for both. */
enum journal_sync {
    JOURNAL_SYNC_BOTH,  /* The prepare, then its header. */
    JOURNAL_SYNC_FIRST, /* The prepare. Its header follows. */
};

struct journal_options {
    /* Multiple of PREPARES_SIZE_UNIT, ≥ PREPARES_SIZE_MIN. */
    uint64_t prepares_size_bytes;
    enum journal_sync sync;
};

struct journal;
struct journal_append;
typedef void journal_append_callback(struct journal_append *append, enum storage_result result);

/* Caller-owned, lent to the journal until the callback. */
struct journal_append {
    /* Sector-aligned, sealed, and with its padding zeroed by the caller. */
    const struct prepare_header *prepare;
    journal_append_callback *callback;
    bool solo; /* A hint: the caller has nothing else to do meanwhile. See storage_request. */
};

struct journal_reading;
typedef void journal_read_callback(struct journal_reading *reading);

enum journal_read {
    JOURNAL_READ_OK,
    JOURNAL_READ_DAMAGED, /* The disk now gives other bytes than at recovery. */
    JOURNAL_READ_IO_ERROR,
};

/* A prepare that is being read. Caller-owned, lent to the journal until the callback. */
struct journal_reading {
    journal_read_callback *callback;
    enum journal_read result; /* For the callback. */

    /* The journal's. */
    struct journal *journal;
    struct prepare_header header; /* Of the prepare that is wanted. */
    struct storage_request request;
    struct journal_reading *next;
};

struct journal_stats {
    uint64_t prepares_bytes_written;
    uint64_t prepares_writes; /* Each is one durable write, which costs a sync. */
    uint64_t headers_bytes_written;
    uint64_t headers_writes;
};

struct journal {
    struct storage *storage;
    uint64_t prepares_size_bytes;
    uint64_t headers_count;
    enum journal_sync sync;
    u128 cluster;

    /*
     * The image of headers.wal: headers_count entries, sector-aligned. Entries of the ops in
     * (named, head] are not on disk yet. An append enters its header when it is complete.
     */
    struct prepare_header *headers;
    /* The newest prepare whose append is complete, or else the checkpoint's. */
    struct prepare_header head;
    struct prepare_header checkpoint;
    uint64_t named; /* The newest op whose header is durable; head.op, or a little less. */

    struct journal_append *append; /* The one in flight, or NULL. */
    struct storage_request write_prepare;
    struct storage_request write_header;
    enum storage_result write_prepare_result;
    /*
     * The sector of headers.wal that is being written. It is a copy, because an entry may be added
     * to `headers` meanwhile whose prepare was not durable when the write began (J1).
     */
    struct prepare_header *sector;
    uint64_t naming; /* JOURNAL_SYNC_FIRST: the op that `sector` names; 0: no write is in flight. */
    /* A bit for each entry of headers.wal: that op's prepare is known, and not whole here. */
    uint64_t *faulty;
    /* The newest op that recovery has proved. Beyond a hole there may be headers up to it. */
    uint64_t op_proved;
    uint64_t truncations; /* How often the log was cut. */
    bool failed; /* Recovery hasn't run yet, or a write failed. No append is accepted. */

    uint64_t op_oldest; /* The oldest op that may be found; the one behind the head if none. */
    /* Everything before this position may have been written. Truncation doesn't take that back. */
    uint64_t position_written;
    struct journal_reading *readings; /* Prepares being read (J5). */

    uint8_t *buffer; /* For recovery, replay, checks: PREPARE_SIZE_MAX bytes, sector aligned. */
    uint64_t window_place; /* Where in prepares.wal the bytes lie that replay has in the buffer. */
    uint64_t window_size;  /* How many bytes these are; 0 means none. */
    bool check_reads;      /* The prepare at check_position is being read (journal_check.h). */
    uint64_t check_position;
    /* The sector check_sector of headers.wal is being read (journal_check.h). */
    bool check_reads_headers;
    uint64_t check_sector;
    struct journal_stats stats;
};

/*
 * The entry of headers.wal that belongs to an op, in a log of `count` entries.
 *
 * Entries of ops that are less than HEADERS_INTERLEAVED apart lie in different sectors, also where
 * a group or a lap ends. So the write of a header, if a crash tears it, never damages the entry of
 * the op after the newest: that is one or, with JOURNAL_SYNC_FIRST, two ops beyond the one being
 * written. There, an entry that is neither a header nor blank is the work of a broken disk.
 */
static inline uint64_t
headers_log_entry(uint64_t count, uint64_t op)
{
    assert(count > 0 && count % HEADERS_PER_GROUP == 0);
    const uint64_t group = op / HEADERS_PER_GROUP % (count / HEADERS_PER_GROUP);
    const uint64_t sector = op % HEADERS_INTERLEAVED;
    const uint64_t place = op / HEADERS_INTERLEAVED % HEADERS_PER_SECTOR;
    return group * HEADERS_PER_GROUP + sector * HEADERS_PER_SECTOR + place;
}

void journal_init(
    struct journal *journal,
    struct arena *arena,
    struct storage *storage,
    const struct journal_options *options);

/* ---- Recovery -------------------------------------------------------------------------------- */

/*
 * (J6) What the superblock says of the log: which of its entries count. An intact header or prepare
 * of op n counts if n is above the suffix and its view is log_view; or if n isn't above the suffix
 * and its view is at most log_view, and, where the suffix lists n, it is the one that is listed. An
 * entry that doesn't count was dropped when a view began. It stays on disk and proves nothing: its
 * header reads as JOURNAL_HEADER_OLDER, its prepare as JOURNAL_PREPARE_ABSENT. One of a view after
 * log_view was not dropped: it says that the superblock is the older one
 * (JOURNAL_RECOVERY_AHEAD).
 */
struct journal_evidence {
    uint32_t log_view;
    /*
     * (J7) This op was durable in both logs, and is on the log of log_view. Nothing up to it is
     * cut, whatever its header reads as: a lost header write can't pass for a crash.
     */
    uint64_t op_acked_min;
    /*
     * Headers of the newest ops that the log had when log_view began: consecutive ops, each the
     * parent of the next. That the last one is listed proves it. Without a suffix (0) nothing is
     * known of views: everything intact counts, whatever log_view is.
     */
    uint32_t suffix_count;
    const struct prepare_header *suffix;
    /* The newest op that the disk proves to be committed, and which one it is; 0: not known. */
    uint64_t commit_max;
    u128 commit_max_checksum;
    /*
     * Others may have what is damaged here. Then damage is reported, and stops nothing
     * (journal_peers.c).
     */
    bool peers;
};

/* What headers.wal says of an op. */
enum journal_header_state {
    JOURNAL_HEADER_MATCH, /* Intact, has this op, and continues the log. */
    /* Intact and of an earlier lap; or blank (in the first lap); or it doesn't count (J6). */
    JOURNAL_HEADER_OLDER,
    JOURNAL_HEADER_CORRUPT, /* Unreadable, damaged, or a header that can't belong to this entry. */
};
#define JOURNAL_HEADER_STATE_COUNT 3

/* What prepares.wal says of an op. */
enum journal_prepare_state {
    /*
     * Intact, has this op, and is the prepare that the matching header names. If no header matches:
     * intact, has this op, and continues the log.
     */
    JOURNAL_PREPARE_MATCH,
    /* Intact and has this op, but is another prepare than the header names. */
    JOURNAL_PREPARE_DIFFERENT,
    JOURNAL_PREPARE_DAMAGED,   /* Its header is intact and has this op, but the rest is damaged. */
    /* Anything else: blank, bytes of an older lap, unreadable; or it doesn't count (J6). */
    JOURNAL_PREPARE_ABSENT,
};
#define JOURNAL_PREPARE_STATE_COUNT 4

/* Where the op lies, compared with the newest op that anything proves. */
enum journal_place {
    JOURNAL_PLACE_BELOW, /* op < op_max */
    JOURNAL_PLACE_HEAD,  /* op = op_max */
    JOURNAL_PLACE_TAIL,  /* op = op_max + 1: the append that a crash may have torn. */
};
#define JOURNAL_PLACE_COUNT 3

enum journal_decision {
    JOURNAL_KEEP,       /* Both logs agree. */
    JOURNAL_FIX,        /* The prepare is intact: write its header to the headers log again. */
    JOURNAL_CUT,        /* The append was never complete: the log ends before it. */
    /* It was durable once and is damaged now. Peers have it; a lone node must stop. */
    JOURNAL_REPAIR,
    /*
     * Nothing tells whether it was ever complete: its entry in headers.wal is damaged, which no
     * crash does. Peers know; a lone node must stop.
     */
    JOURNAL_UNCERTAIN,
    JOURNAL_IMPOSSIBLE, /* It can't occur: something intact proves the op, so it isn't the tail. */
};

struct journal_rule {
    enum journal_header_state header;
    enum journal_prepare_state prepare;
    enum journal_place place;
    enum journal_decision decision;
    const char *name; /* Short and unique. It appears in messages and in tests. */
};
#define JOURNAL_RULE_COUNT                                                                         \
    (JOURNAL_HEADER_STATE_COUNT * JOURNAL_PREPARE_STATE_COUNT * JOURNAL_PLACE_COUNT)

/* All combinations, each exactly once. */
extern const struct journal_rule journal_rules[JOURNAL_RULE_COUNT];

const struct journal_rule *journal_rule_for(
    enum journal_header_state header,
    enum journal_prepare_state prepare,
    enum journal_place place);

enum journal_recovery {
    JOURNAL_RECOVERED,
    JOURNAL_RECOVERY_SHORT,    /* The log ends before commit_max. Nothing was written. */
    /*
     * report.op_ahead is of a view that the superblock doesn't know: it is older than the log, as
     * when it was put back from a copy. Nothing was written.
     */
    JOURNAL_RECOVERY_AHEAD,
    /*
     * report.damage says which rule, damage_op which op. A lone node must not start. Nothing was
     * written.
     */
    JOURNAL_RECOVERY_DAMAGED,
    /*
     * A write of the repair failed; or neither log can be read at its end, and nothing was written.
     */
    JOURNAL_RECOVERY_IO_ERROR,
};

struct journal_report {
    /*
     * The newest op of the recovered log. With peers, the end of the chain of known checksums: if
     * it is below op_max, there is a hole, and behind it nothing is known.
     */
    uint64_t op_head;
    uint64_t entries_kept;
    uint64_t headers_fixed;
    uint64_t entries_faulty; /* With peers: ops up to op_head whose prepare isn't whole. */
    uint64_t rule_uses[JOURNAL_RULE_COUNT]; /* For each rule, how many ops it decided. */
    bool tail_cut;             /* A trace of a torn append was found and dropped. */
    uint64_t op_max;           /* The newest op that anything proves. */
    uint64_t op_ahead;         /* Set for JOURNAL_RECOVERY_AHEAD: the first such op found. */
    /* The op after op_max may have been complete too: damage is the rule that says so. */
    bool uncertain;
    /*
     * Set for JOURNAL_RECOVERY_DAMAGED, and with peers wherever something is damaged: the rule that
     * decided the first damaged op.
     */
    const struct journal_rule *damage;
    uint64_t damage_op;
    uint64_t damage_offset_bytes; /* Its place in prepares.wal; UINT64_MAX if it can't be known. */
    uint64_t damage_size_bytes;   /* Its length; 0 if it can't be known. */
};

/*
 * Reads both logs, decides each op after the checkpoint, erases a torn append, and rewrites
 * headers.wal where it differs. Waits until all this is done. The journal stays failed unless the
 * result is JOURNAL_RECOVERED; when it is damaged or short, nothing was written. commit_max is the
 * op up to which the superblock knows that everything is committed.
 */
enum journal_recovery journal_recover(
    struct journal *journal,
    u128 cluster,
    const struct prepare_header *checkpoint,
    const struct journal_evidence *evidence,
    uint64_t commit_max,
    struct journal_report *report);

/*
 * Reads the prepare of an op after the checkpoint into message (PREPARE_SIZE_MAX bytes,
 * sector-aligned) and verifies it. Waits. For replay.
 */
enum journal_read journal_read_prepare(struct journal *journal, uint64_t op, void *message);

/* ---- Normal operation ------------------------------------------------------------------------ */

/* The header of an op in (checkpoint, head], or the checkpoint's own. */
const struct prepare_header *journal_header(const struct journal *journal, uint64_t op);

/*
 * With peers: the op is of the log, and its prepare isn't whole here. Its header may be lost too;
 * then journal_header has nothing for it, only journal_checksum.
 */
bool journal_faulty(const struct journal *journal, uint64_t op);

/* The checksum of the header of an op in [checkpoint, head]. */
u128 journal_checksum(const struct journal *journal, uint64_t op);

/* True while no append can begin, for one runs, or too few headers are durable (J2). */
bool journal_busy(const struct journal *journal);

/* True while headers of complete appends are not durable. */
bool journal_naming(const struct journal *journal);

/* A write has failed: no append completes any more. */
bool journal_failed(const struct journal *journal);

/*
 * True if a prepare of size_on_disk bytes may follow the head without overwriting anything newer
 * than the checkpoint (J3). Bytes that are skipped at the end of the ring count as used.
 */
bool journal_has_room(const struct journal *journal, uint64_t size_on_disk);

/*
 * Bytes of prepares.wal used since the durable checkpoint. A checkpoint is due when half of the
 * ring is used.
 */
uint64_t journal_used_bytes(const struct journal *journal);

/*
 * Appends the prepare that follows head. Precondition: not busy, not failed, has room. The callback
 * runs when what journal_sync says is durable, or with STORAGE_IO_ERROR; after that the journal is
 * failed. With JOURNAL_SYNC_FIRST, the header's write may fail later; then the journal fails too.
 */
void journal_append(struct journal *journal, struct journal_append *append);

/*
 * Drops what follows this op, at or after the checkpoint: it becomes the head. The dropped entries
 * stay on disk until they are overwritten, and the evidence (J6) must already say so: recovery
 * relies on it. Precondition: not busy, not naming, not failed.
 */
void journal_truncate(struct journal *journal, uint64_t op);

/*
 * With peers: the view's log has nothing after this op, at or behind the head, and the evidence
 * already says so. What recovery has kept of later ops (J8) is dropped.
 */
void journal_drop_after(struct journal *journal, uint64_t op);

/*
 * The oldest op of the log whose prepare is still there: a checkpoint frees space, it doesn't erase
 * it. The op behind the head if there is none.
 */
uint64_t journal_op_oldest(const struct journal *journal);

/* The header of an op that is still there, whether before or after the checkpoint; else NULL. */
const struct prepare_header *journal_find(const struct journal *journal, uint64_t op);

/*
 * Begins to read the prepare of an op that journal_find finds into message (PREPARE_SIZE_MAX bytes,
 * sector-aligned), and verifies it. The callback runs later; many may be under way. Meanwhile the
 * journal has no room for what would overwrite it (J5).
 */
void journal_read_begin(
    struct journal *journal,
    struct journal_reading *reading,
    uint64_t op,
    void *message,
    journal_read_callback *callback);

/* The checkpoint at this header is durable: what lies up to it may be overwritten. */
void journal_checkpoint_durable(struct journal *journal, const struct prepare_header *checkpoint);

#endif
