/* SPDX-License-Identifier: PostgreSQL */
/*
 * Recovery of a node with peers. They have what it has lost, so damage doesn't stop it. But what it
 * then says of its log must be true: that an op was never there, or that it is this one.
 *
 * The log is a chain of checksums, and the walk goes on as long as the chain does. The checksum of
 * an op is known by its entry in headers.wal, by its prepare, by the superblock's suffix; or, where
 * all these are lost, because the next op's header names it as parent. An op whose prepare isn't
 * whole is marked as faulty (journal_faulty). Where nothing names an op, the chain ends, and what
 * lies behind is unknown, up to op_max: a hole.
 *
 * (J8) What is damaged in headers.wal never becomes blank, or an older lap's entry, by a later
 * write of its sector: a later recovery would take that for a place where nothing was. In the image
 * it is a tombstone, until its op is appended, or the log is known to end before it. That is so if
 * this recovery has found a certain end: no hole, and not uncertain. Appends are serial, so where
 * the tail wasn't, nothing behind it was.
 *
 * Only headers are written, of ops whose prepares are whole; and blanks behind a certain end (J8).
 */
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "store/journal_internal.h"
#include "store/journal_recovery.h"

/* ---- What the chain says of an op ------------------------------------------------------------ */

/* The suffix's header of the op, or NULL. */
static const struct prepare_header *
listed(const struct recovery *recovery, uint64_t op)
{
    const struct journal_evidence *evidence = recovery->evidence;
    if (evidence->suffix_count == 0 || op < evidence->suffix[0].op) return NULL;
    const uint64_t index = op - evidence->suffix[0].op;
    return index < evidence->suffix_count ? &evidence->suffix[index] : NULL;
}

/* The entry of the op, if it is intact and counts; else NULL. */
static struct prepare_header *
entry_of(const struct recovery *recovery, uint64_t op)
{
    struct journal *journal = recovery->journal;
    assert(op > journal->checkpoint.op);
    if (op - journal->checkpoint.op > journal->headers_count) return NULL;
    struct prepare_header *header = &journal->headers[journal_entry(journal, op)];
    if (!prepare_header_valid(header, journal->cluster)) return NULL;
    return header->op == op && recovery_counts(recovery, header) ? header : NULL;
}

/* Can it lie where it says, behind what is known of the log before it? */
static bool
entry_fits(const struct recovery *recovery, const struct prepare_header *header)
{
    const struct journal *journal = recovery->journal;
    return header->position >= journal_end(&recovery->previous) &&
           journal_end(header) <= journal_limit(journal);
}

/* The header of the op after this one, if it is known and was durable here once; else NULL. */
static const struct prepare_header *
next_header(const struct recovery *recovery, uint64_t op)
{
    const struct prepare_header *header = entry_of(recovery, op + 1);
    if (header == NULL && op < recovery->op_max) header = listed(recovery, op + 1);
    return header != NULL && entry_fits(recovery, header) ? header : NULL;
}

/*
 * The checksum that the op must have, by the suffix or by what comes after it; 0: nothing says. The
 * suffix, and ops beyond it, are of the chain for certain; what they name is too, and so on
 * backwards.
 */
static u128
named_by_later(const struct recovery *recovery, uint64_t op)
{
    const struct prepare_header *header = listed(recovery, op);
    if (header != NULL) return header->checksum;
    const struct journal_evidence *evidence = recovery->evidence;
    if (op == evidence->commit_max && evidence->commit_max_checksum != 0) {
        return evidence->commit_max_checksum;
    }
    header = next_header(recovery, op);
    return header != NULL ? header->parent : 0;
}

/* This is it, whatever a later entry names, which was cut then: what is committed never is. */
static bool
committed(const struct recovery *recovery, const struct prepare_header *header)
{
    const struct journal_evidence *evidence = recovery->evidence;
    return header->op == evidence->commit_max && header->checksum == evidence->commit_max_checksum;
}

/*
 * Entries that count, but are not those that later ops name: they were cut, and the write of what
 * came in their place was lost. From the newest op backwards, so that what names is of the chain.
 */
static void
bury_strangers(struct recovery *recovery)
{
    const uint64_t op_checkpoint = recovery->journal->checkpoint.op;
    u128 named = 0;
    for (uint64_t op = op_checkpoint + recovery->journal->headers_count; op > op_checkpoint; op--) {
        const struct prepare_header *header = listed(recovery, op);
        if (header == NULL) header = entry_of(recovery, op);
        if (header == NULL) {
            named = 0;
            continue;
        }
        if (named != 0 && header->checksum != named && !committed(recovery, header)) {
            struct prepare_header *entry = entry_of(recovery, op);
            if (entry != NULL) journal_bury(entry);
            named = 0;
            continue;
        }
        named = header->parent;
    }
}

/* ---- The walk -------------------------------------------------------------------------------- */

struct walk {
    struct probe last; /* The newest op of the chain; op 0: there is none yet. */
    bool unknown;      /* Its header isn't known, only its checksum. */
};

/* The op before is known by its checksum only: then this one has its header. */
static struct probe
probe_behind_unknown(struct recovery *recovery, uint64_t op)
{
    const struct prepare_header *header = next_header(recovery, op - 1);
    assert(header != NULL && header->op == op);
    struct probe probe = {.op = op, .known = true, .header = *header};
    struct prepare_header found;
    probe.header_state =
        entry_of(recovery, op) != NULL ? JOURNAL_HEADER_MATCH : JOURNAL_HEADER_CORRUPT;
    probe.prepare_state = recovery_prepare_at(recovery, op, header->position, &found);
    if (probe.prepare_state == JOURNAL_PREPARE_MATCH && found.checksum != header->checksum) {
        probe.prepare_state = JOURNAL_PREPARE_DIFFERENT;
    }
    return probe;
}

static struct probe
probe_next(struct recovery *recovery, const struct walk *walk, uint64_t op)
{
    if (walk->unknown) return probe_behind_unknown(recovery, op);
    recovery->named = named_by_later(recovery, op);
    struct probe probe = recovery_probe(recovery, op);
    if (probe.header_state == JOURNAL_HEADER_MATCH) return probe;
    if (probe.prepare_state == JOURNAL_PREPARE_MATCH) return probe;
    const struct prepare_header *header = listed(recovery, op);
    if (header == NULL || !journal_follows(recovery->journal, &recovery->previous, header)) {
        return probe;
    }
    if (!entry_fits(recovery, header)) return probe;
    probe.known = true;
    probe.header = *header;
    return probe;
}

/* Is the header that was found the one of this op on the chain? */
static bool
header_is_of_chain(
    const struct recovery *recovery, const struct walk *walk, const struct probe *probe)
{
    if (!probe->known) return false;
    if (probe->header_state == JOURNAL_HEADER_MATCH) return true;
    if (probe->prepare_state == JOURNAL_PREPARE_MATCH) return true;
    /* Only what was durable once: it may as well be an append that a crash has torn. */
    if (probe->op > recovery->op_max) return false;
    if (walk->unknown) return true;
    return journal_follows(recovery->journal, &recovery->previous, &probe->header);
}

static void
mark_faulty(struct recovery *recovery, const struct probe *probe)
{
    struct journal *journal = recovery->journal;
    const uint64_t entry = journal_entry(journal, probe->op);
    assert(!journal_faulty(journal, probe->op));
    journal->faulty[entry / 64] |= UINT64_C(1) << entry % 64;
    recovery->report->entries_faulty += 1;
    if (probe->known) {
        journal->headers[entry] = probe->header;
    } else {
        journal_bury(&journal->headers[entry]);
    }
}

static const struct journal_rule *
use_rule(struct recovery *recovery, const struct probe *probe)
{
    enum journal_place place = JOURNAL_PLACE_TAIL;
    if (probe->op == recovery->op_max) place = JOURNAL_PLACE_HEAD;
    if (probe->op < recovery->op_max) place = JOURNAL_PLACE_BELOW;
    const struct journal_rule *rule =
        journal_rule_for(probe->header_state, probe->prepare_state, place);
    recovery->report->rule_uses[rule - journal_rules] += 1;
    return rule;
}

/* An op of the chain. */
static void
decide(struct recovery *recovery, const struct probe *probe)
{
    struct journal *journal = recovery->journal;
    const struct journal_rule *rule = use_rule(recovery, probe);
    switch (rule->decision) {
    case JOURNAL_KEEP: recovery->report->entries_kept += 1; break;
    case JOURNAL_FIX:
        journal->headers[journal_entry(journal, probe->op)] = probe->header;
        recovery->report->headers_fixed += 1;
        break;
    case JOURNAL_REPAIR:
        recovery_report_damage(recovery, probe, rule);
        mark_faulty(recovery, probe);
        break;
    case JOURNAL_CUT:
    case JOURNAL_UNCERTAIN:
    case JOURNAL_IMPOSSIBLE: unreachable();
    }
}

/* What lies between the newest known header and this one is of ops whose length isn't known. */
static void
scan_between(struct recovery *recovery, const struct prepare_header *header)
{
    const struct journal *journal = recovery->journal;
    const uint64_t from = journal_place(journal, journal_end(&recovery->previous));
    const uint64_t end = journal_place(journal, header->position);
    if (journal_end(&recovery->previous) == header->position) return;
    if (from < end) {
        recovery_scan_astray(recovery, from, end);
        return;
    }
    recovery_scan_astray(recovery, from, journal->prepares_size_bytes);
    recovery_scan_astray(recovery, 0, end);
}

/* True if the op is of the chain. Then the walk is behind it. */
static bool
walk_step(struct recovery *recovery, struct walk *walk, struct probe *probe)
{
    const uint64_t op = probe->op;
    const bool known = header_is_of_chain(recovery, walk, probe);
    if (!known && (op > recovery->op_max || next_header(recovery, op) == NULL)) return false;
    if (walk->last.op != 0) decide(recovery, &walk->last);
    if (known && walk->unknown) scan_between(recovery, &probe->header);
    if (known && probe->prepare_state == JOURNAL_PREPARE_DAMAGED) {
        recovery_scan_inside(recovery, probe);
    }
    probe->known = known;
    walk->last = *probe;
    walk->unknown = !known;
    if (known) recovery->previous = probe->header;
    return true;
}

/* ---- The end --------------------------------------------------------------------------------- */

/* The op after op_max, behind a hole: was it ever there? */
static bool
tail_entry_damaged(const struct recovery *recovery, uint64_t op)
{
    const struct journal *journal = recovery->journal;
    if (op - journal->checkpoint.op > journal->headers_count) return false;
    const struct prepare_header *header = &journal->headers[journal_entry(journal, op)];
    if (prepare_header_blank(header)) return false;
    if (!prepare_header_valid(header, journal->cluster)) return true;
    if (!recovery_counts(recovery, header)) return false;
    assert(header->op != op); /* It would have proved the op. */
    return journal_entry(journal, header->op) != journal_entry(journal, op);
}

static void
decide_end(struct recovery *recovery, const struct probe *probe)
{
    struct journal_report *report = recovery->report;
    const struct journal_rule *rule = use_rule(recovery, probe);
    const bool hole = probe->op <= recovery->op_max;
    switch (rule->decision) {
    case JOURNAL_CUT:
        assert(!hole && probe->op > recovery->evidence->op_acked_min); /* (J7) */
        report->tail_cut = probe->prepare_state == JOURNAL_PREPARE_DAMAGED;
        return;
    case JOURNAL_UNCERTAIN:
        assert(!hole);
        report->uncertain = true;
        recovery_report_damage(recovery, probe, rule);
        return;
    case JOURNAL_REPAIR:
        assert(hole);
        report->uncertain = tail_entry_damaged(recovery, recovery->op_max + 1);
        recovery_report_damage(recovery, probe, rule);
        return;
    case JOURNAL_KEEP:
    case JOURNAL_FIX:
    case JOURNAL_IMPOSSIBLE: unreachable();
    }
}

/* (J8) Entries behind the chain, in the image. */
static void
keep_or_bury(struct recovery *recovery, uint64_t op)
{
    struct journal *journal = recovery->journal;
    const struct journal_report *report = recovery->report;
    const bool certain = recovery->op_max == recovery->previous.op && !report->uncertain;
    const uint64_t entry = journal_entry(journal, op);
    struct prepare_header *header = &journal->headers[entry];
    if (prepare_header_blank(header)) return;
    if (prepare_header_valid(header, journal->cluster)) {
        const bool counts = recovery_counts(recovery, header);
        const bool here = header->op != 0 && journal_entry(journal, header->op) == entry;
        if (counts && here) return;
        if (!counts) {
            /* It was dropped, and must not be named again (J1). */
            if (header->op > recovery->previous.op || !here) memset(header, 0, sizeof(*header));
            return;
        }
    }
    if (certain) memset(header, 0, sizeof(*header));
    if (!certain) journal_bury(header);
}

/* The walk, and the scan of what lies behind its end. Returns what is at the end. */
static struct probe
walk_and_scan(struct recovery *recovery, struct walk *walk)
{
    for (;;) {
        struct probe probe = probe_next(recovery, walk, recovery->previous.op + 1);
        while (walk_step(recovery, walk, &probe)) {
            probe = probe_next(recovery, walk, walk->last.op + 1);
        }
        /* What names an op by its checksum only is the next op of the chain. */
        assert(!walk->unknown);
        assert(probe.op == recovery->previous.op + 1);
        const uint64_t op_max = recovery->op_max;
        if (probe.prepare_state == JOURNAL_PREPARE_DAMAGED) recovery_scan_inside(recovery, &probe);
        recovery_scan_prepares(recovery, recovery_scan_start(recovery, &probe));
        /* If there are later ops, then what seemed torn was whole once, and of the chain. */
        if (recovery->op_max == op_max) return probe;
    }
}

void
recovery_walk_with_peers(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    const uint64_t op_end = journal->checkpoint.op + journal->headers_count;
    struct walk walk = {0};
    bury_strangers(recovery);
    const struct probe probe = walk_and_scan(recovery, &walk);
    if (walk.last.op != 0) decide(recovery, &walk.last);
    decide_end(recovery, &probe);
    for (uint64_t op = probe.op; op <= op_end; op++) keep_or_bury(recovery, op);
}
