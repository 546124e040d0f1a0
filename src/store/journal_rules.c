/* SPDX-License-Identifier: PostgreSQL */
/*
 * The decisions of recovery, as data: every combination of header state, prepare state and place,
 * once, in the order of their values. doc/disk_format.md shows the same table with the faults
 * behind it.
 *
 * The two columns differ only at the tail, where the header is corrupt. There a torn append and a
 * complete append that lost both copies look alike. The second takes two faults. A lone node has
 * nobody to ask, and goes on; a node with peers asks.
 */
#include "base/assert.h"
#include "store/journal.h"

#define ROW(header_, prepare_, place_, lone_, cluster_, name_)                                     \
    {                                                                                              \
        .header = JOURNAL_HEADER_##header_, .prepare = JOURNAL_PREPARE_##prepare_,                 \
        .place = JOURNAL_PLACE_##place_, .lone = JOURNAL_##lone_, .cluster = JOURNAL_##cluster_,   \
        .name = (name_),                                                                           \
    }

/* clang-format off */
const struct journal_rule journal_rules[JOURNAL_RULE_COUNT] = {
    /* Both agree. Any op but the last looks so after a run without faults. */
    ROW(MATCH, MATCH, BELOW, KEEP, KEEP, "kept_below"),
    ROW(MATCH, MATCH, HEAD, KEEP, KEEP, "kept_head"),
    ROW(MATCH, MATCH, TAIL, IMPOSSIBLE, IMPOSSIBLE, "kept_tail"),

    /*
     * The header tells that another prepare was durable here: its write was lost, or overwritten by
     * one astray.
     */
    ROW(MATCH, DIFFERENT, BELOW, REPAIR, REPAIR, "replaced_below"),
    ROW(MATCH, DIFFERENT, HEAD, REPAIR, REPAIR, "replaced_head"),
    ROW(MATCH, DIFFERENT, TAIL, IMPOSSIBLE, IMPOSSIBLE, "replaced_tail"),

    /*
     * By J1 the prepare was durable before its header was written, so this is no torn append: rot.
     */
    ROW(MATCH, DAMAGED, BELOW, REPAIR, REPAIR, "rotten_below"),
    ROW(MATCH, DAMAGED, HEAD, REPAIR, REPAIR, "rotten_head"),
    ROW(MATCH, DAMAGED, TAIL, IMPOSSIBLE, IMPOSSIBLE, "rotten_tail"),

    /*
     * The same: rot of the prepare's first sector, a lost or misdirected write, a sector that
     * cannot be read.
     */
    ROW(MATCH, ABSENT, BELOW, REPAIR, REPAIR, "lost_below"),
    ROW(MATCH, ABSENT, HEAD, REPAIR, REPAIR, "lost_head"),
    ROW(MATCH, ABSENT, TAIL, IMPOSSIBLE, IMPOSSIBLE, "lost_tail"),

    /*
     * Below the head a header write was lost. At the head: that, or a crash between the two writes.
     */
    ROW(OLDER, MATCH, BELOW, FIX, FIX, "unnamed_below"),
    ROW(OLDER, MATCH, HEAD, FIX, FIX, "unnamed_head"),
    ROW(OLDER, MATCH, TAIL, IMPOSSIBLE, IMPOSSIBLE, "unnamed_tail"),

    /*
     * A whole prepare that is not the child of the one before it: one of the two is not what was
     * acknowledged.
     */
    ROW(OLDER, DIFFERENT, BELOW, REPAIR, REPAIR, "unnamed_stranger_below"),
    ROW(OLDER, DIFFERENT, HEAD, REPAIR, REPAIR, "unnamed_stranger_head"),
    ROW(OLDER, DIFFERENT, TAIL, IMPOSSIBLE, IMPOSSIBLE, "unnamed_stranger_tail"),

    /*
     * Lost header write, and rot. The head is proved then by a header or a prepare that lies in a
     * wrong place.
     */
    ROW(OLDER, DAMAGED, BELOW, REPAIR, REPAIR, "unnamed_rotten_below"),
    ROW(OLDER, DAMAGED, HEAD, REPAIR, REPAIR, "unnamed_rotten_head"),
    /* A crash tore the prepare's write: its header write never started. */
    ROW(OLDER, DAMAGED, TAIL, CUT, CUT, "torn_prepare"),

    /* The same as above, with nothing left of the prepare. */
    ROW(OLDER, ABSENT, BELOW, REPAIR, REPAIR, "unnamed_lost_below"),
    ROW(OLDER, ABSENT, HEAD, REPAIR, REPAIR, "unnamed_lost_head"),
    /* The end of the log after a clean stop; or a torn append whose first sector never came. */
    ROW(OLDER, ABSENT, TAIL, CUT, CUT, "end"),

    /*
     * A header sector rotted, or a crash tore it (up to HEADERS_PER_SECTOR ops at once): the
     * prepares are there.
     */
    ROW(CORRUPT, MATCH, BELOW, FIX, FIX, "misnamed_below"),
    ROW(CORRUPT, MATCH, HEAD, FIX, FIX, "misnamed_head"),
    ROW(CORRUPT, MATCH, TAIL, IMPOSSIBLE, IMPOSSIBLE, "misnamed_tail"),

    /* The same as unnamed_stranger_below. */
    ROW(CORRUPT, DIFFERENT, BELOW, REPAIR, REPAIR, "misnamed_stranger_below"),
    ROW(CORRUPT, DIFFERENT, HEAD, REPAIR, REPAIR, "misnamed_stranger_head"),
    ROW(CORRUPT, DIFFERENT, TAIL, IMPOSSIBLE, IMPOSSIBLE, "misnamed_stranger_tail"),

    /*
     * A crash tore the header sector of a later append, and this prepare rotted: later prepares
     * prove it.
     */
    ROW(CORRUPT, DAMAGED, BELOW, REPAIR, REPAIR, "misnamed_rotten_below"),
    ROW(CORRUPT, DAMAGED, HEAD, REPAIR, REPAIR, "misnamed_rotten_head"),
    /* A torn append whose entry shares a sector with rot. */
    ROW(CORRUPT, DAMAGED, TAIL, CUT, REPAIR, "misnamed_torn_prepare"),

    /* The same as above, with nothing left of the prepare. */
    ROW(CORRUPT, ABSENT, BELOW, REPAIR, REPAIR, "misnamed_lost_below"),
    ROW(CORRUPT, ABSENT, HEAD, REPAIR, REPAIR, "misnamed_lost_head"),
    /*
     * The end of the log, where the entry after the head shares a sector with rot or a torn header
     * write.
     */
    ROW(CORRUPT, ABSENT, TAIL, CUT, REPAIR, "misnamed_end"),
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
