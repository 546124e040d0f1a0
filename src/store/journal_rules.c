/* SPDX-License-Identifier: PostgreSQL */
/*
 * The decisions of recovery, as data: every combination of header state, prepare state and place,
 * once, in the order of their values. doc/disk_format.md shows the same table with the faults
 * behind it.
 *
 * At the tail, a damaged entry is never the work of a crash (headers_log_entry): the write that
 * makes it damages no neighbour's. So a complete append whose two copies are both damaged can't be
 * told from an entry that has rotted before anything was written there.
 */
#include "base/assert.h"
#include "store/journal.h"

#define ROW(header_, prepare_, place_, decision_, name_)                                           \
    {                                                                                              \
        .header = JOURNAL_HEADER_##header_, .prepare = JOURNAL_PREPARE_##prepare_,                 \
        .place = JOURNAL_PLACE_##place_, .decision = JOURNAL_##decision_, .name = (name_),         \
    }

/* clang-format off */
const struct journal_rule journal_rules[JOURNAL_RULE_COUNT] = {
    /* Both logs agree. After a run without faults, every op but the last looks like this. */
    ROW(MATCH, MATCH, BELOW, KEEP, "kept_below"),
    ROW(MATCH, MATCH, HEAD, KEEP, "kept_head"),
    ROW(MATCH, MATCH, TAIL, IMPOSSIBLE, "kept_tail"),

    /*
     * The header says that another prepare was durable here. The write of that prepare was lost, or
     * a write that went astray has overwritten it.
     */
    ROW(MATCH, DIFFERENT, BELOW, REPAIR, "replaced_below"),
    ROW(MATCH, DIFFERENT, HEAD, REPAIR, "replaced_head"),
    ROW(MATCH, DIFFERENT, TAIL, IMPOSSIBLE, "replaced_tail"),

    /*
     * By J1 the prepare was durable before its header was written. So this isn't a torn append but
     * rot.
     */
    ROW(MATCH, DAMAGED, BELOW, REPAIR, "rotten_below"),
    ROW(MATCH, DAMAGED, HEAD, REPAIR, "rotten_head"),
    ROW(MATCH, DAMAGED, TAIL, IMPOSSIBLE, "rotten_tail"),

    /*
     * The same reasoning. The prepare's first sector has rotted or can't be read, or its write was
     * lost or went astray.
     */
    ROW(MATCH, ABSENT, BELOW, REPAIR, "lost_below"),
    ROW(MATCH, ABSENT, HEAD, REPAIR, "lost_head"),
    ROW(MATCH, ABSENT, TAIL, IMPOSSIBLE, "lost_tail"),

    /*
     * Below the head, the write of a header was lost. At the head it may also be a crash between
     * the append's two writes.
     */
    ROW(OLDER, MATCH, BELOW, FIX, "unnamed_below"),
    ROW(OLDER, MATCH, HEAD, FIX, "unnamed_head"),
    ROW(OLDER, MATCH, TAIL, IMPOSSIBLE, "unnamed_tail"),

    /*
     * A whole prepare that isn't the child of the one before. So one of the two isn't the prepare
     * that was acknowledged.
     */
    ROW(OLDER, DIFFERENT, BELOW, REPAIR, "unnamed_stranger_below"),
    ROW(OLDER, DIFFERENT, HEAD, REPAIR, "unnamed_stranger_head"),
    ROW(OLDER, DIFFERENT, TAIL, IMPOSSIBLE, "unnamed_stranger_tail"),

    /*
     * The write of the header was lost, and the prepare has rotted. It can be the head only if a
     * header or a prepare that lies in a wrong place proves the op.
     */
    ROW(OLDER, DAMAGED, BELOW, REPAIR, "unnamed_rotten_below"),
    ROW(OLDER, DAMAGED, HEAD, REPAIR, "unnamed_rotten_head"),
    /* A crash tore the prepare's write, so that its header's write never started. */
    ROW(OLDER, DAMAGED, TAIL, CUT, "torn_prepare"),

    /* The same cases, but nothing is left of the prepare. */
    ROW(OLDER, ABSENT, BELOW, REPAIR, "unnamed_lost_below"),
    ROW(OLDER, ABSENT, HEAD, REPAIR, "unnamed_lost_head"),
    /*
     * The end of the log after a clean stop, or a torn append whose first sector was never written.
     */
    ROW(OLDER, ABSENT, TAIL, CUT, "end"),

    /*
     * A sector of headers has rotted, or a crash tore it (up to HEADERS_PER_SECTOR ops at once,
     * every fourth). The prepares are there.
     */
    ROW(CORRUPT, MATCH, BELOW, FIX, "misnamed_below"),
    ROW(CORRUPT, MATCH, HEAD, FIX, "misnamed_head"),
    ROW(CORRUPT, MATCH, TAIL, IMPOSSIBLE, "misnamed_tail"),

    /* The same as unnamed_stranger_below. */
    ROW(CORRUPT, DIFFERENT, BELOW, REPAIR, "misnamed_stranger_below"),
    ROW(CORRUPT, DIFFERENT, HEAD, REPAIR, "misnamed_stranger_head"),
    ROW(CORRUPT, DIFFERENT, TAIL, IMPOSSIBLE, "misnamed_stranger_tail"),

    /*
     * A crash tore the sector of headers when a later op was appended, and this prepare has rotted.
     * Later prepares prove that it existed.
     */
    ROW(CORRUPT, DAMAGED, BELOW, REPAIR, "misnamed_rotten_below"),
    ROW(CORRUPT, DAMAGED, HEAD, REPAIR, "misnamed_rotten_head"),
    /* A torn append, or one that was complete. Its entry lies in a sector that has rotted. */
    ROW(CORRUPT, DAMAGED, TAIL, UNCERTAIN, "misnamed_torn_prepare"),

    /* The same cases, but nothing is left of the prepare. */
    ROW(CORRUPT, ABSENT, BELOW, REPAIR, "misnamed_lost_below"),
    ROW(CORRUPT, ABSENT, HEAD, REPAIR, "misnamed_lost_head"),
    /* The end of the log, or not. The entry after the head lies in a sector that has rotted. */
    ROW(CORRUPT, ABSENT, TAIL, UNCERTAIN, "misnamed_end"),
};
/* clang-format on */

const struct journal_rule *
journal_rule_for(
    enum journal_header_state header, enum journal_prepare_state prepare, enum journal_place place)
{
    assert((uint32_t) header < JOURNAL_HEADER_STATE_COUNT);
    assert((uint32_t) prepare < JOURNAL_PREPARE_STATE_COUNT);
    assert((uint32_t) place < JOURNAL_PLACE_COUNT);
    const uint32_t row = ((uint32_t) header * JOURNAL_PREPARE_STATE_COUNT + (uint32_t) prepare) *
                             JOURNAL_PLACE_COUNT +
                         (uint32_t) place;
    const struct journal_rule *rule = &journal_rules[row];
    assert(rule->header == header && rule->prepare == prepare && rule->place == place);
    return rule;
}
