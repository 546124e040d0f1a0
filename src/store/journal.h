/* SPDX-License-Identifier: PostgreSQL */
/*
 * The journal: two write-ahead logs that together tell a crash from a broken disk.
 *
 *   prepares.wal   byte-addressed ring: each prepare (header, body, zero padding to a sector) lies
 *                  right after its parent (store/prepare.h, P2). Cost follows bytes.
 *   headers.wal    ring of copies of the same headers, HEADERS_PER_SECTOR to a sector, entry = op
 *                  mod count. There is an entry for each sector of prepares.wal, so it is never the
 *                  one that is full.
 *
 * An append writes the prepare, and when that is durable the sector of the headers log that holds
 * its header. It is complete when both are durable; with JOURNAL_SYNC_FIRST, when the prepare is,
 * and the header is written beside what follows. What that gives up is in doc/wal_order.md.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (J1) the header of op N is in headers.wal only if prepare N was durable before.
 *  (J2) the write of prepare N + 1 starts only after that of prepare N has completed, and that of
 *       its header; with JOURNAL_SYNC_FIRST, of the header of N − 1. So at most one append is
 *       uncertain after a crash: the one after the highest op that any log proves.
 *  (J3) a prepare's place is overwritten only when its op is at or below the durable checkpoint.
 *  (J4) op N + 1's parent is the checksum of N's header.
 *
 * Recovery (journal_recovery.c) reads both logs whole. It walks from the checkpoint along the
 * parent links, op by op, as far as either log has the next op. op_max is the highest op after the
 * checkpoint that an intact header in headers.wal or an intact prepare in prepares.wal proves, even
 * one that a misdirected write has brought to a wrong place. By J1 and J2 everything up to op_max
 * was once durable, hence what is damaged there is rot or a lost write, and is never guessed away;
 * whatever lies after op_max was never complete, hence never acknowledged, and is dropped silently.
 * The decision for each (header state × prepare state × place) is a table of data, journal_rules.
 *
 * The body of a prepare holds bytes that users chose, and they may imitate a header. So a scan for
 * evidence never looks inside a prepare whose extent is known, and an imitation must carry the
 * cluster's id to count: whoever may write transfers must not be told that id.
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
    /* Multiple of SECTOR_SIZE * HEADERS_PER_SECTOR, ≥ PREPARES_SIZE_MIN. */
    uint64_t prepares_size_bytes;
    enum journal_sync sync;
};

struct journal;
struct journal_append;
typedef void journal_append_callback(struct journal_append *append, enum storage_result result);

/* Caller-owned, lent to the journal until the callback. */
struct journal_append {
    /* Sector-aligned message, sealed, padding zeroed by the journal's caller. */
    const struct prepare_header *prepare;
    journal_append_callback *callback;
};

struct journal_stats {
    uint64_t prepares_bytes_written;
    uint64_t prepares_writes; /* Each is one durable write (a sync). */
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
     * headers_count entries: what headers.wal holds, or, of the ops in (named, head], will hold. An
     * entry is entered when its append is complete.
     */
    struct prepare_header *headers;
    struct prepare_header head; /* The newest complete append; or the checkpoint's. */
    struct prepare_header checkpoint;
    uint64_t named; /* The newest op whose header is durable; head.op, or a little less. */

    struct journal_append *append; /* The one in flight, or NULL. */
    struct storage_request write_prepare;
    struct storage_request write_header;
    enum storage_result write_prepare_result;
    /*
     * The sector of headers.wal that is being written: a copy, for entries may be added meanwhile
     * whose prepares are not durable when its write begins (J1).
     */
    struct prepare_header *sector;
    uint64_t naming; /* JOURNAL_SYNC_FIRST: the newest op in `sector`; 0: no write is in flight. */
    bool failed; /* Not recovered yet, or a write failed: the log takes no appends. */

    uint8_t *buffer; /* For recovery and replay: PREPARE_SIZE_MAX bytes, sector aligned. */
    uint64_t window_place; /* What of prepares.wal replay has in the buffer. */
    uint64_t window_size;  /* 0: nothing. */
    bool check_reads;      /* journal_check.h: the prepare at check_position is being read. */
    uint64_t check_position;
    bool check_reads_headers; /* The same of a sector of headers.wal. */
    uint64_t check_sector;
    struct journal_stats stats;
};

void journal_init(
    struct journal *journal,
    struct arena *arena,
    struct storage *storage,
    const struct journal_options *options);

/* ---- Recovery -------------------------------------------------------------------------------- */

/* What the headers log says of an op. */
enum journal_header_state {
    JOURNAL_HEADER_MATCH,   /* Intact, of this op, and it continues the log. */
    JOURNAL_HEADER_OLDER,   /* Intact, of an earlier lap; or blank (first lap). */
    JOURNAL_HEADER_CORRUPT, /* Unreadable, damaged, or one that cannot be in this entry here. */
};
#define JOURNAL_HEADER_STATE_COUNT 3

/* What the prepares log says of an op. */
enum journal_prepare_state {
    /*
     * Intact, of this op, and the one that the matching header names; without one: continues the
     * log.
     */
    JOURNAL_PREPARE_MATCH,
    JOURNAL_PREPARE_DIFFERENT, /* Intact, of this op, but another one. */
    JOURNAL_PREPARE_DAMAGED,   /* Its header is intact and of this op, the rest is not. */
    JOURNAL_PREPARE_ABSENT,    /* Anything else: blank, an older lap's bytes, unreadable. */
};
#define JOURNAL_PREPARE_STATE_COUNT 4

/* Where the op lies. */
enum journal_place {
    JOURNAL_PLACE_BELOW, /* op < op_max */
    JOURNAL_PLACE_HEAD,  /* op = op_max */
    JOURNAL_PLACE_TAIL,  /* op = op_max + 1: the append that a crash may have torn. */
};
#define JOURNAL_PLACE_COUNT 3

enum journal_decision {
    JOURNAL_KEEP,       /* Both agree. */
    JOURNAL_FIX,        /* The prepare is intact: write its header to the headers log again. */
    JOURNAL_CUT,        /* Never complete: the log ends before it. */
    JOURNAL_REPAIR,     /* Durable once, damaged now. Peers have it; a lone node must stop. */
    JOURNAL_IMPOSSIBLE, /* Cannot occur: what is intact proves the op, so it is not the tail. */
};

struct journal_rule {
    enum journal_header_state header;
    enum journal_prepare_state prepare;
    enum journal_place place;
    enum journal_decision lone;    /* In a cluster of one. */
    enum journal_decision cluster; /* With peers. */
    const char *name;              /* Short, unique: appears in messages and tests. */
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
    JOURNAL_RECOVERY_SHORT,    /* The log ends before commit_max: nothing was written. */
    JOURNAL_RECOVERY_DAMAGED,  /* report.damage tells which op; a lone node must not start. */
    /* A repair write failed; or neither log can be read at its end, and nothing was written. */
    JOURNAL_RECOVERY_IO_ERROR,
};

struct journal_report {
    uint64_t op_head;          /* Newest op of the recovered log. */
    uint64_t entries_kept;
    uint64_t headers_fixed;
    uint64_t rule_uses[JOURNAL_RULE_COUNT]; /* How many ops each of journal_rules decided. */
    bool tail_cut;             /* There was a trace of a torn append, and it was dropped. */
    /* JOURNAL_RECOVERY_DAMAGED: the first damaged op, and where it lies. */
    const struct journal_rule *damage;
    uint64_t damage_op;
    uint64_t damage_offset_bytes; /* In prepares.wal; UINT64_MAX where it can't be known. */
    uint64_t damage_size_bytes;   /* 0 where it can't be known. */
};

/*
 * Reads both logs, decides each op after the checkpoint as a lone node, erases a torn append,
 * rewrites the headers log where it differs. Waits. Unless JOURNAL_RECOVERED, the journal stays
 * failed; when damaged or short, nothing was written. commit_max: what the superblock knows to be
 * committed.
 */
enum journal_recovery journal_recover(
    struct journal *journal,
    u128 cluster,
    const struct prepare_header *checkpoint,
    uint64_t commit_max,
    struct journal_report *report);

enum journal_read {
    JOURNAL_READ_OK,
    JOURNAL_READ_DAMAGED, /* The disk gives something else than at the recovery. */
    JOURNAL_READ_IO_ERROR,
};

/*
 * Reads the prepare of an op after the checkpoint into message (PREPARE_SIZE_MAX bytes, sector
 * aligned), verified. Waits. For replay.
 */
enum journal_read journal_read_prepare(struct journal *journal, uint64_t op, void *message);

/* ---- Normal operation ------------------------------------------------------------------------ */

/* The header of an op in (checkpoint, head], or the checkpoint's own. */
const struct prepare_header *journal_header(const struct journal *journal, uint64_t op);

/* True while no append can begin, for one runs, or too few headers are durable (J2). */
bool journal_busy(const struct journal *journal);

/* True while headers of complete appends are not durable. */
bool journal_naming(const struct journal *journal);

/* A write has failed: no append completes any more. */
bool journal_failed(const struct journal *journal);

/*
 * True if a prepare of size_on_disk bytes may follow the head without overwriting anything newer
 * than the checkpoint (J3). Bytes skipped at the end of the ring count.
 */
bool journal_has_room(const struct journal *journal, uint64_t size_on_disk);

/*
 * Bytes of the prepares log used since the durable checkpoint. A checkpoint is due at half of the
 * ring.
 */
uint64_t journal_used_bytes(const struct journal *journal);

/*
 * Appends the prepare that follows head. Precondition: not busy, not failed, has room. The callback
 * comes once what journal_sync says is durable, or with STORAGE_IO_ERROR, after which the journal
 * is failed. With JOURNAL_SYNC_FIRST a header's write may fail later: then it is failed too.
 */
void journal_append(struct journal *journal, struct journal_append *append);

/* The checkpoint at this header is durable: what lies up to it may be overwritten. */
void journal_checkpoint_durable(struct journal *journal, const struct prepare_header *checkpoint);

#endif
