/* SPDX-License-Identifier: PostgreSQL */
/* See verify.h. */
#include "ledger/verify.h"

#include <string.h>

#include "base/units.h"
#include "forest/watch.h"

/* What it costs to look at a block or a prepare, counted in rows. */
#define ROWS_PER_BLOCK 32

void
ledger_verify_init(struct verify *verify, struct arena *arena, struct journal *journal)
{
    struct verify_books *books = &verify->books;
    assert(journal != NULL);
    *verify = (struct verify){.stage = VERIFY_IDLE};
    journal_check_init(&verify->journal, journal);
    verify->findings =
        arena_take(arena, VERIFY_FINDINGS_MAX, sizeof(struct verify_finding), sizeof(u128));
    verify->audit = arena_take(arena, 1, sizeof(struct audit), sizeof(u128));
    books->timestamps =
        arena_take(arena, VERIFY_ACCOUNTS_MAX, sizeof(uint64_t), sizeof(uint64_t));
    books->accounts =
        arena_take(arena, VERIFY_ACCOUNTS_MAX, sizeof(struct verify_account), sizeof(u128));
    books->ledgers =
        arena_take(arena, VERIFY_LEDGERS_MAX, sizeof(struct verify_ledger), sizeof(u128));
}

void
ledger_verify_start(struct verify *verify, struct forest *forest)
{
    assert(forest != NULL);
    assert(verify->findings != NULL);
    assert(verify->stage == VERIFY_IDLE);
    verify->stage = VERIFY_START;
    verify->yielded = false;
    verify->forest = forest;
    verify->finding_count = 0;
}

void
ledger_verify_cancel(struct verify *verify)
{
    assert(verify->stage != VERIFY_IDLE);
    verify->stage = VERIFY_IDLE;
}

/* ---- Findings -------------------------------------------------------------------------------- */

void
verify_note(struct verify *verify, const struct verify_finding *finding)
{
    assert(finding->kind != 0);
    if (verify->finding_count < VERIFY_FINDINGS_MAX) {
        verify->findings[verify->finding_count] = *finding;
    }
    verify->finding_count += 1;
}

bool
verify_noted(const struct verify *verify, enum verify_kind kind, uint64_t number)
{
    assert(kind != 0);
    const uint64_t count = min_u64(verify->finding_count, VERIFY_FINDINGS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        const struct verify_finding *finding = &verify->findings[i];
        if (finding->kind == kind && finding->number == number) return true;
    }
    return false;
}

static void
set_tree_name(struct verify_finding *finding, const char *name)
{
    assert(finding->kind != 0);
    if (name == NULL) return;
    for (uint32_t i = 0; i + 1 < sizeof(finding->tree_name) && name[i] != '\0'; i++) {
        finding->tree_name[i] = name[i];
    }
    assert(finding->tree_name[sizeof(finding->tree_name) - 1] == '\0');
}

uint32_t
ledger_verify_reply(const struct verify *verify, void *reply, uint32_t reply_size_max)
{
    assert(verify->stage == VERIFY_IDLE);
    assert(reply != NULL || reply_size_max == 0);
    const uint64_t room = reply_size_max / sizeof(struct verify_finding);
    const uint64_t listed = min_u64(verify->finding_count, VERIFY_FINDINGS_MAX);
    uint64_t count = min_u64(listed, room);
    if (count < verify->finding_count && count == room && count > 0) count -= 1;
    memcpy(reply, verify->findings, count * sizeof(struct verify_finding));
    if (count < verify->finding_count && count < room) {
        const struct verify_finding more = {
            .kind = VERIFY_MORE,
            .number = verify->finding_count - count,
        };
        memcpy((char *) reply + count * sizeof(more), &more, sizeof(more));
        count += 1;
    }
    assert(count <= room);
    return (uint32_t) (count * sizeof(struct verify_finding));
}

/* ---- Stages ---------------------------------------------------------------------------------- */

static void
rows_spend(uint32_t *rows_left, uint32_t count)
{
    assert(count > 0);
    *rows_left -= (uint32_t) min_u64(*rows_left, count);
}

/* Before it starts, reads of a cancelled verification into the same memory must end. */
static enum forest_found
step_start(struct verify *verify)
{
    assert(verify->finding_count == 0);
    struct tour *tour = forest_tour(verify->forest);
    assert(verify->stage == VERIFY_START);
    if (tour->reading && tour_step(tour) == TOUR_WAIT) return FOREST_WAIT;
    if (verify->journal.reading && journal_check_step(&verify->journal) == JOURNAL_CHECK_WAIT) {
        return FOREST_WAIT;
    }
    tour_open(tour);
    return FOREST_FOUND;
}

static enum forest_found
step_blocks(struct verify *verify, uint32_t *rows_left)
{
    static const enum verify_what whats[] = {
        [TOUR_UNREADABLE] = VERIFY_UNREADABLE,
        [TOUR_CORRUPT] = VERIFY_CORRUPT,
        [TOUR_WRONG] = VERIFY_WRONG,
    };
    assert(verify->stage == VERIFY_BLOCKS);
    struct tour *tour = forest_tour(verify->forest);
    while (*rows_left > 0) {
        switch (tour_step(tour)) {
        case TOUR_WAIT: return FOREST_WAIT;
        case TOUR_END: return FOREST_FOUND;
        case TOUR_STARTED: break;
        case TOUR_CHECKED: rows_spend(rows_left, ROWS_PER_BLOCK); break;
        case TOUR_DAMAGED: {
            assert(tour->damage.kind < ARRAY_COUNT(whats));
            assert(tour->damage.address != 0);
            struct verify_finding finding = {
                .kind = VERIFY_BLOCK,
                .what = (uint16_t) whats[tour->damage.kind],
                .number = tour->damage.address,
            };
            set_tree_name(&finding, tour->damage.tree_name);
            verify_note(verify, &finding);
            rows_spend(rows_left, ROWS_PER_BLOCK);
            break;
        }
        }
    }
    return FOREST_WAIT;
}

static void
step_lists(struct verify *verify)
{
    struct forest_check check;
    assert(verify->stage == VERIFY_LISTS);
    forest_check(verify->forest, &check);
    if (check.table_address != 0) {
        struct verify_finding finding = {.kind = VERIFY_TABLE, .number = check.table_address};
        set_tree_name(&finding, check.tree_name);
        verify_note(verify, &finding);
    }
    if (check.blocks_taken == check.blocks_listed) return;
    const struct verify_finding finding = {
        .kind = VERIFY_FREE_SET,
        .what = VERIFY_COUNT,
        .expected = check.blocks_listed,
        .found = check.blocks_taken,
    };
    verify_note(verify, &finding);
}

static enum forest_found
step_prepares(struct verify *verify, uint32_t *rows_left)
{
    assert(verify->stage == VERIFY_PREPARES);
    while (*rows_left > 0) {
        switch (journal_check_step(&verify->journal)) {
        case JOURNAL_CHECK_WAIT: return FOREST_WAIT;
        case JOURNAL_CHECK_END: return FOREST_FOUND;
        case JOURNAL_CHECK_STARTED: break;
        case JOURNAL_CHECK_WHOLE: rows_spend(rows_left, ROWS_PER_BLOCK); break;
        case JOURNAL_CHECK_DAMAGED:
        case JOURNAL_CHECK_HEADER_DAMAGED: {
            const bool unreadable = verify->journal.read.result != STORAGE_OK;
            const struct verify_finding finding = {
                .kind = verify->journal.headers ? VERIFY_HEADER : VERIFY_JOURNAL,
                .what = unreadable ? VERIFY_UNREADABLE : VERIFY_CORRUPT,
                .number = verify->journal.header.op,
            };
            verify_note(verify, &finding);
            rows_spend(rows_left, ROWS_PER_BLOCK);
            break;
        }
        }
    }
    return FOREST_WAIT;
}

/*
 * A damaged block that ends a comparison is a finding already. This notes in addition what couldn't
 * be compared to the end because of it.
 */
static void
note_unfinished(struct verify *verify)
{
    struct forest_damage damage;
    assert(verify->forest != NULL);
    forest_damage(verify->forest, &damage);
    struct verify_finding finding = {
        .kind = VERIFY_UNFINISHED,
        .what = damage.io_error ? VERIFY_UNREADABLE : VERIFY_CORRUPT,
        .number = damage.block_address,
    };
    set_tree_name(&finding, damage.tree_name);
    verify_note(verify, &finding);
}

static void
note_wrong_tree(struct verify *verify, const struct audit_finding *wrong)
{
    static const enum verify_kind kinds[] = {
        [AUDIT_RECORDS] = VERIFY_RECORDS,
        [AUDIT_IDS] = VERIFY_IDS,
        [AUDIT_LIST] = VERIFY_LIST,
        [AUDIT_INDEX] = VERIFY_INDEX,
    };
    struct verify_finding finding = {
        .kind = (uint16_t) kinds[wrong->kind],
        .what = wrong->expected == wrong->found ? VERIFY_WRONG : VERIFY_COUNT,
        .expected = wrong->expected,
        .found = wrong->found,
    };
    assert(wrong->tree_name != NULL);
    set_tree_name(&finding, wrong->tree_name);
    verify_note(verify, &finding);
}

enum forest_found
verify_indexes_step(struct verify *verify, uint32_t *rows_left)
{
    assert(verify->audit->forest == verify->forest);
    for (;;) {
        switch (audit_step(verify->audit, rows_left)) {
        case AUDIT_WAIT:
        case AUDIT_YIELD: return FOREST_WAIT;
        case AUDIT_WRONG: note_wrong_tree(verify, &verify->audit->finding); break;
        case AUDIT_LOST: note_unfinished(verify); return FOREST_FOUND;
        case AUDIT_END: return FOREST_FOUND;
        }
    }
}

static enum forest_found
step_books(struct verify *verify, uint32_t *rows_left)
{
    assert(verify->stage == VERIFY_BOOKS);
    const enum forest_found found = books_step(verify, rows_left);
    if (found != FOREST_LOST) return found;
    note_unfinished(verify);
    return FOREST_FOUND;
}

static enum forest_found
step_stage(struct verify *verify, uint32_t *rows_left)
{
    switch (verify->stage) {
    case VERIFY_IDLE: break;
    case VERIFY_START: return step_start(verify);
    case VERIFY_BLOCKS: return step_blocks(verify, rows_left);
    case VERIFY_LISTS: step_lists(verify); return FOREST_FOUND;
    case VERIFY_PREPARES: return step_prepares(verify, rows_left);
    case VERIFY_INDEXES: return verify_indexes_step(verify, rows_left);
    case VERIFY_BOOKS: return step_books(verify, rows_left);
    }
    unreachable();
}

enum forest_found
ledger_verify_step(struct verify *verify, uint32_t *rows_left)
{
    assert(verify->stage != VERIFY_IDLE);
    assert(verify->stage <= VERIFY_BOOKS);
    while (*rows_left > 0) {
        const enum forest_found found = step_stage(verify, rows_left);
        if (found == FOREST_WAIT) {
            verify->yielded = *rows_left == 0;
            return FOREST_WAIT;
        }
        assert(found == FOREST_FOUND);
        if (verify->stage == VERIFY_BOOKS) {
            verify->stage = VERIFY_IDLE;
            return FOREST_FOUND;
        }
        verify->stage += 1;
        if (verify->stage == VERIFY_PREPARES) journal_check_start(&verify->journal);
        if (verify->stage == VERIFY_INDEXES) audit_start(verify->audit, verify->forest);
        if (verify->stage == VERIFY_BOOKS) books_start(&verify->books, verify->forest);
    }
    verify->yielded = true;
    return FOREST_WAIT;
}
