/* SPDX-License-Identifier: PostgreSQL */
/*
 * Accounts as they were at the instant of the read. Each row was copied from the account as it was
 * when its turn came. That may be later than the instant, even hours later if a page continues a
 * scan that its client left open.
 *
 * An event keeps the balances and flags of both its accounts as they were after it. So what an
 * account had at the instant is what its first event after the instant found: what that event says,
 * less what its transfer did. If there is no such event, the account hasn't changed since, and its
 * row is right as it is. If the account changed after it was copied, there is such an event, so
 * that case is covered.
 *
 *      list    the rows whose accounts may have changed since the instant. If nothing was committed
 *              meanwhile, there are none; if all accounts are in memory, they are exactly those
 *              that did change.
 *      walk    goes through the events since the instant in their order, until each listed account
 *              was met, or until the events are over that existed when the last row was listed.
 *      seek after a long walk: finds the first event of each account that is still listed, by the
 *              indexes of transfers and expiries. A walk costs a fraction of a microsecond for each
 *              event, a search some ten microseconds for each row, or more if the disk is asked. So
 *              no page costs more than twice what searches alone would.
 *      undo    takes back the first event in which an account was met.
 *
 * For example, an account has debits_posted 500 at the instant. While other rows are read, it pays
 * 30, and then 20 more. Its row says 500, 530 or 550, depending on when it was copied. The walk
 * meets the first payment, whose event says 530, and its transfer says 30: the row becomes 500.
 *
 * Everything is bounded: by the rows of one page, one event at a time, and the events that existed.
 * Nothing is tried again, and no op waits. What can go wrong: an event and its transfer contradict
 * each other, or a block is damaged; then the read is lost.
 */
#include <stddef.h>
#include <string.h>

#include "ledger/ledger_internal.h"

#define ROW_NONE UINT16_MAX
static_assert(RESULTS_MAX < ROW_NONE, "a row's number fits");

/* ---- Rows by account ------------------------------------------------------------------------- */

/*
 * The multiplier is 2^64 divided by the golden ratio: it spreads timestamps that follow each other.
 */
static uint32_t
bucket_of(const struct ledger_read *read, uint64_t account_timestamp)
{
    const uint64_t hash = account_timestamp * UINT64_C(0x9e3779b97f4a7c15);
    assert(read->rows_done > 0);
    return (uint32_t) ((hash >> 32) * read->rows_done >> 32);
}

static void
rows_list(struct ledger_read *read, uint32_t row)
{
    struct ledger_row *rows = read->question.rows;
    assert(row < read->rows_done);
    const uint32_t bucket = bucket_of(read, rows[row].account_timestamp);
    assert(bucket < read->rows_done);
    rows[row].next = rows[bucket].first;
    rows[bucket].first = (uint16_t) row;
    rows[row].listed = true;
    read->as_of.listed += 1;
}

/*
 * The first listed row of the account, searching its bucket from `row` on; ROW_NONE if there is
 * none.
 */
static uint32_t
rows_find(const struct ledger_read *read, uint32_t row, uint64_t account_timestamp)
{
    const struct ledger_row *rows = read->question.rows;
    while (row != ROW_NONE) {
        assert(row < read->rows_done);
        if (rows[row].listed && rows[row].account_timestamp == account_timestamp) break;
        row = rows[row].next;
    }
    return row;
}

/* The row is now as it was at the instant, so it isn't listed any more. */
static void
row_done(struct ledger_read *read, uint32_t row)
{
    assert(read->question.rows[row].listed);
    assert(read->as_of.listed > 0);
    read->question.rows[row].listed = false;
    read->as_of.listed -= 1;
}

static uint32_t
rows_first(const struct ledger_read *read, uint64_t account_timestamp)
{
    const uint32_t bucket = bucket_of(read, account_timestamp);
    assert(bucket < read->rows_done);
    return rows_find(read, read->question.rows[bucket].first, account_timestamp);
}

void
as_of_start(struct ledger_read *read)
{
    struct ledger_as_of *as_of = &read->as_of;
    const uint64_t newest = forest_newest(read->forest, GROOVE_ACCOUNT_EVENT);
    assert(read->pass_count == 0);
    assert(read->instant.event_newest <= newest);
    as_of->rows_looked_at = 0;
    as_of->listed = 0;
    as_of->timestamp = read->instant.event_newest;
    as_of->event_max = newest;
    as_of->walk_left = 0;
    as_of->row = 0;
    as_of->row_started = false;
    as_of->named = false;
    as_of->event_there = false;
    if (read->instant.event_newest == newest) {
        as_of->rows_looked_at = read->rows_done;
        return;
    }
    for (uint32_t i = 0; i < read->rows_done; i++) {
        read->question.rows[i].first = ROW_NONE;
        read->question.rows[i].listed = false;
    }
}

static enum forest_found
list_rows(struct ledger_read *read, uint32_t *rows_left)
{
    struct ledger_as_of *as_of = &read->as_of;
    assert(as_of->rows_looked_at <= read->rows_done);
    while (as_of->rows_looked_at < read->rows_done) {
        const uint32_t row = as_of->rows_looked_at;
        const uint64_t account_timestamp = read->question.rows[row].account_timestamp;
        read->yielded = *rows_left == 0;
        if (read->yielded) return FOREST_WAIT;
        *rows_left -= 1;
        if (forest_may_have_changed(
                read->forest, GROOVE_ACCOUNT, account_timestamp, read->instant.op)) {
            rows_list(read, row);
            as_of->walk_left += AS_OF_WALK_PER_ROW;
        }
        as_of->rows_looked_at += 1;
        as_of->event_max = forest_newest(read->forest, GROOVE_ACCOUNT_EVENT);
    }
    return FOREST_FOUND;
}

/* ---- Undoing an event ------------------------------------------------------------------------ */

/*
 * Reads the event's transfer, and the hold if that transfer resolved one. They stay in `as_of`: if
 * one of them has to be awaited, the other needn't be read again.
 */
static enum forest_found
read_transfers(struct ledger_read *read)
{
    struct ledger_as_of *as_of = &read->as_of;
    assert(as_of->event_there);
    if (!as_of->transfer_there) {
        const enum forest_found found = read_referred(
            read->forest, GROOVE_TRANSFER, as_of->event.transfer_timestamp, &as_of->transfer);
        if (found != FOREST_FOUND) return found;
        as_of->transfer_there = true;
    }
    const uint8_t type = as_of->event.type;
    if (type != CHANGE_TWO_PHASE_POSTED && type != CHANGE_TWO_PHASE_VOIDED) return FOREST_FOUND;
    const enum forest_found found = forest_read_by_id(
        read->forest, GROOVE_TRANSFER, &as_of->transfer.pending_id, &as_of->pending);
    if (found == FOREST_FOUND || found == FOREST_WAIT || found == FOREST_LOST) return found;
    return forest_refuse(read->forest, GROOVE_TRANSFER, as_of->transfer.timestamp);
}

/*
 * One side of an event. The balances after it become those before it. See the table in movement.c.
 */
struct undo {
    uint16_t flags;
    u128 pending;
    u128 posted;
};

/* Undoes the amounts. Returns false if the transfer can't have led to what the event says. */
static bool
undo_amounts(struct undo *side, u128 held, u128 released, u128 posted)
{
    if (side->pending < held || side->posted < posted) return false;
    side->pending -= held;
    side->posted -= posted;
    if (u128_sum_overflows(side->pending, released)) return false;
    side->pending += released;
    return true;
}

static bool
undo_event(const struct ledger_as_of *as_of, uint16_t closing, struct undo *side)
{
    const struct transfer *transfer = &as_of->transfer;
    const struct transfer *pending = &as_of->pending;
    assert(as_of->event_there && as_of->transfer_there);
    switch (as_of->event.type) {
    case CHANGE_SINGLE_PHASE: return undo_amounts(side, 0, 0, transfer->amount);
    case CHANGE_TWO_PHASE_PENDING:
        if (transfer->flags & closing) side->flags &= (uint16_t) ~ACCOUNT_CLOSED;
        return undo_amounts(side, transfer->amount, 0, 0);
    case CHANGE_TWO_PHASE_POSTED:
        return undo_amounts(side, 0, pending->amount, transfer->amount);
    case CHANGE_TWO_PHASE_VOIDED:
        if (pending->flags & closing) side->flags |= ACCOUNT_CLOSED;
        return undo_amounts(side, 0, pending->amount, 0);
    case CHANGE_TWO_PHASE_EXPIRED:
        if (transfer->flags & closing) side->flags |= ACCOUNT_CLOSED;
        return undo_amounts(side, 0, transfer->amount, 0);
    default: return false;
    }
}

/*
 * Sets the changing fields of the account on one side to their values before the event. Returns
 * false if that is impossible.
 */
static bool
account_before(const struct ledger_as_of *as_of, bool debit, struct account *account)
{
    const struct balances *after = debit ? &as_of->event.debit : &as_of->event.credit;
    const uint16_t closing = debit ? TRANSFER_CLOSING_DEBIT : TRANSFER_CLOSING_CREDIT;
    struct undo side = {
        .flags = debit ? as_of->event.debit_flags : as_of->event.credit_flags,
        .pending = debit ? after->debits_pending : after->credits_pending,
        .posted = debit ? after->debits_posted : after->credits_posted,
    };
    assert(as_of->event_there);
    assert(as_of->transfer_there);
    if (!undo_event(as_of, closing, &side)) return false;
    account->flags = side.flags;
    account->debits_pending = debit ? side.pending : after->debits_pending;
    account->debits_posted = debit ? side.posted : after->debits_posted;
    account->credits_pending = debit ? after->credits_pending : side.pending;
    account->credits_posted = debit ? after->credits_posted : side.posted;
    return true;
}

/*
 * Sets all rows of the side's account to what it was, and takes them off the list. There are
 * several rows if the same account was asked for more than once.
 */
static bool
undo_rows(struct ledger_read *read, bool debit)
{
    const struct ledger_as_of *as_of = &read->as_of;
    const uint64_t account_timestamp = debit ? as_of->event.debit_account_timestamp
                                             : as_of->event.credit_account_timestamp;
    const struct ledger_row *rows = read->question.rows;
    assert(as_of->event.timestamp > read->instant.event_newest);
    assert(read->gathered);
    uint32_t row = rows_first(read, account_timestamp);
    while (row != ROW_NONE) {
        struct account account;
        char *bytes = (char *) read->question.reply + (size_t) row * sizeof(account);
        memcpy(&account, bytes, sizeof(account));
        if (!account_before(as_of, debit, &account)) return false;
        memcpy(bytes, &account, sizeof(account));
        row_done(read, row);
        row = rows_find(read, rows[row].next, account_timestamp);
    }
    return true;
}

/* ---- The walk -------------------------------------------------------------------------------- */

/*
 * Goes on to the next event that is the first of a listed account. FOREST_ABSENT: there are no
 * more. FOREST_FOUND without having met one: the walk has been long enough, and seeking begins.
 */
static enum forest_found
walk(struct ledger_read *read, uint32_t *rows_left)
{
    struct ledger_as_of *as_of = &read->as_of;
    const struct account_event *event = &as_of->event;
    assert(as_of->timestamp <= as_of->event_max);
    while (!as_of->event_there && as_of->walk_left > 0) {
        if (as_of->timestamp == as_of->event_max) return FOREST_ABSENT;
        read->yielded = *rows_left == 0;
        if (read->yielded) return FOREST_WAIT;
        *rows_left -= 1;
        const enum forest_found found = forest_read_next(
            read->forest, GROOVE_ACCOUNT_EVENT, &as_of->timestamp, &as_of->event);
        assert(found != FOREST_ABSENT && found != FOREST_BURNT);
        if (found != FOREST_FOUND) return found;
        as_of->walk_left -= 1;
        as_of->event_there = rows_first(read, event->debit_account_timestamp) != ROW_NONE ||
                             rows_first(read, event->credit_account_timestamp) != ROW_NONE;
        as_of->transfer_there = false;
    }
    return FOREST_FOUND;
}

/* ---- Seeking --------------------------------------------------------------------------------- */

/* What a search costs, counted in rows that are looked at. */
#define SEEK_ROWS 32

/*
 * Makes a scan of the events of the row's account since the instant, from the indexes of transfers
 * and of expiries.
 */
static enum forest_found
seek_start(struct ledger_read *read)
{
    struct ledger_as_of *as_of = &read->as_of;
    struct ledger_plan *plan = &read->plan;
    struct account account;
    assert(as_of->listed > 0 && !as_of->row_started);
    assert(as_of->event_max > read->instant.event_newest);
    while (!read->question.rows[as_of->row].listed) as_of->row += 1;
    assert(as_of->row < read->rows_done);
    const uint64_t timestamp = read->question.rows[as_of->row].account_timestamp;
    const enum forest_found found =
        read_referred(read->forest, GROOVE_ACCOUNT, timestamp, &account);
    if (found != FOREST_FOUND) return found;
    const struct scan_window window = {
        .timestamp_min = read->instant.event_newest + 1,
        .timestamp_max = as_of->event_max,
        .direction = SCAN_ASCENDING,
    };
    const struct {
        enum ledger_index index;
        u128 value;
    } sides[] = {
        {INDEX_TRANSFER_DEBIT_ACCOUNT, account.id},
        {INDEX_TRANSFER_CREDIT_ACCOUNT, account.id},
        {INDEX_EXPIRY_DEBIT_ACCOUNT, timestamp},
        {INDEX_EXPIRY_CREDIT_ACCOUNT, timestamp},
    };
    struct scan *leaves[ARRAY_COUNT(sides)];
    static_assert(ARRAY_COUNT(leaves) <= SCAN_INPUTS_MAX, "the plan has room");
    for (uint32_t i = 0; i < ARRAY_COUNT(sides); i++) {
        leaves[i] = &plan->leaves[i];
        scan_index(leaves[i], read->forest, (uint32_t) sides[i].index, sides[i].value, &window);
    }
    scan_union(&plan->sides, leaves, ARRAY_COUNT(leaves));
    as_of->row_started = true;
    as_of->named = false;
    return FOREST_FOUND;
}

/*
 * Did the scan find an event of this account? The index of account ids gives transfers of another
 * account too, if both ids have the same hash.
 */
static bool
seek_found(const struct ledger_read *read, bool debit)
{
    const struct account_event *event = &read->as_of.event;
    const uint64_t timestamp = read->question.rows[read->as_of.row].account_timestamp;
    assert(read->as_of.row < read->rows_done);
    assert(read->as_of.row_started);
    return timestamp == (debit ? event->debit_account_timestamp : event->credit_account_timestamp);
}

/* Goes on to the first event of the next listed row. FOREST_ABSENT: no row is listed any more. */
static enum forest_found
seek(struct ledger_read *read, uint32_t *rows_left)
{
    struct ledger_as_of *as_of = &read->as_of;
    assert(as_of->rows_looked_at == read->rows_done);
    while (!as_of->event_there) {
        enum forest_found found = FOREST_FOUND;
        if (as_of->listed == 0) return FOREST_ABSENT;
        read->yielded = *rows_left == 0;
        if (read->yielded) return FOREST_WAIT;
        *rows_left -= (uint32_t) min_u64(*rows_left, SEEK_ROWS);
        if (!as_of->row_started) found = seek_start(read);
        if (found != FOREST_FOUND) return found;
        if (!as_of->named) {
            switch (scan_next(&read->plan.sides, &as_of->timestamp)) {
            case SCAN_FOUND: as_of->named = true; break;
            case SCAN_END:
                row_done(read, as_of->row);
                as_of->row_started = false;
                continue;
            case SCAN_WAIT: return FOREST_WAIT;
            case SCAN_LOST: return FOREST_LOST;
            }
        }
        found = read_referred(read->forest, GROOVE_ACCOUNT_EVENT, as_of->timestamp, &as_of->event);
        if (found != FOREST_FOUND) return found;
        as_of->named = false;
        as_of->event_there = seek_found(read, true) || seek_found(read, false);
        as_of->transfer_there = false;
    }
    return FOREST_FOUND;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/*
 * Undoes the event. If a walk met it, it is the first event since the instant for each listed
 * account in it. If a search found it, that is certain only of the account that was sought.
 */
static bool
undo(struct ledger_read *read, bool sought)
{
    bool sides[2] = {true, true};
    assert(read->as_of.event_there && read->as_of.transfer_there);
    if (sought) {
        sides[0] = seek_found(read, true);
        sides[1] = seek_found(read, false);
        read->as_of.row_started = false;
    }
    if (sides[0] && !undo_rows(read, true)) return false;
    return !sides[1] || undo_rows(read, false);
}

enum forest_found
as_of_step(struct ledger_read *read, uint32_t *rows_left)
{
    struct ledger_as_of *as_of = &read->as_of;
    assert(read->gathered);
    assert(read->rows_done <= read->rows_max);
    enum forest_found found = list_rows(read, rows_left);
    if (found != FOREST_FOUND) return found;
    while (as_of->listed > 0) {
        const bool seeks = as_of->row_started || (as_of->walk_left == 0 && !as_of->event_there);
        found = seeks ? seek(read, rows_left) : walk(read, rows_left);
        if (found == FOREST_ABSENT) break;
        if (found == FOREST_FOUND && !as_of->event_there) continue;
        if (found == FOREST_FOUND) found = read_transfers(read);
        if (found != FOREST_FOUND) return found;
        if (!undo(read, seeks)) {
            return forest_refuse(read->forest, GROOVE_ACCOUNT_EVENT, as_of->event.timestamp);
        }
        as_of->event_there = false;
    }
    return FOREST_FOUND;
}
