/* SPDX-License-Identifier: PostgreSQL */
/*
 * Do the books add up? Balances are recomputed from transfers, and compared with what every event
 * says of its two accounts, and with the accounts.
 *
 * Memory is bounded: accounts are taken in windows, by timestamp, and for each window all events
 * are walked from the first on. The record of an account is read at the start of its window, and
 * the newest event at that moment is noted. What is recomputed up to that event must be what the
 * record said. So nothing has to stand still, and no walk has to catch up with what is committed
 * meanwhile (Y1).
 *
 *      type of event     debit account              credit account         closed
 *      single-phase      posted + a                 posted + a
 *      pending           pending + a                pending + a            set by closing_*
 *      posted            pending − p, posted + a    likewise
 *      voided, expired   pending − p                likewise               unset by closing_*
 *
 * This is the table of movement.c, but the code is separate, so that it checks the other.
 */
#include <string.h>

#include "base/checksum.h"
#include "ledger/ledger_internal.h"
#include "ledger/verify.h"

void
books_start(struct verify_books *books, struct forest *forest)
{
    struct forest_stats stats;
    assert(books->timestamps != NULL);
    forest_stats_get(forest, &stats);
    assert(books->accounts != NULL);
    assert(books->ledgers != NULL);
    books->forest = forest;
    books->stage = BOOKS_WINDOW;
    books->account_newest = forest_newest(forest, GROOVE_ACCOUNT);
    books->account_count = stats.records[GROOVE_ACCOUNT];
    books->event_newest = forest_newest(forest, GROOVE_ACCOUNT_EVENT);
    books->transfer_count = stats.records[GROOVE_TRANSFER];
    books->window_max = 0;
    books->accounts_seen = 0;
    books->transfers_told = 0;
    memset(books->ledgers, 0, VERIFY_LEDGERS_MAX * sizeof(struct verify_ledger));
}

static u128
balances_checksum(const struct balances *balances)
{
    return checksum(balances, sizeof(*balances));
}

/* ---- The window ------------------------------------------------------------------------------ */

static void
window_start(struct verify_books *books)
{
    const struct scan_window window = {
        .timestamp_min = books->window_max + 1,
        .timestamp_max = books->account_newest,
        .direction = SCAN_ASCENDING,
    };
    assert(books->window_max <= books->account_newest);
    assert(books->stage == BOOKS_WINDOW);
    books->window_min = window.timestamp_min;
    books->count = 0;
    books->compared = 0;
    books->timestamp = 0;
    scan_groove(&books->scan, books->forest, GROOVE_ACCOUNT, &window);
    books->stage = BOOKS_ACCOUNTS;
}

/* All accounts of the window have been read. Goes on to the events. */
static void
window_filled(struct verify_books *books, bool last)
{
    assert(books->count <= VERIFY_ACCOUNTS_MAX);
    const struct scan_window window = {
        .timestamp_min = 1,
        .timestamp_max = forest_newest(books->forest, GROOVE_ACCOUNT_EVENT),
        .direction = SCAN_ASCENDING,
    };
    assert(last || books->count == VERIFY_ACCOUNTS_MAX);
    assert(books->stage == BOOKS_ACCOUNTS);
    books->window_max = last ? books->account_newest : books->timestamps[books->count - 1];
    assert(books->window_max >= books->window_min);
    assert(books->window_max <= books->account_newest);
    books->event_max = window.timestamp_max;
    books->timestamp = 0;
    books->stage = BOOKS_EVENTS;
    if (window.timestamp_max == 0) {
        books->stage = BOOKS_COMPARE;
        return;
    }
    scan_groove(&books->scan, books->forest, GROOVE_ACCOUNT_EVENT, &window);
}

/* Goes on to the next timestamp of the scan, unless there is a current one. */
static enum forest_found
scan_step(struct verify_books *books)
{
    assert(books->stage == BOOKS_ACCOUNTS || books->stage == BOOKS_EVENTS);
    if (books->timestamp != 0) return FOREST_FOUND;
    switch (scan_next(&books->scan, &books->timestamp)) {
    case SCAN_FOUND:
        assert(books->timestamp != 0);
        books->event_there = false;
        books->transfer_there = false;
        books->pending_there = false;
        return FOREST_FOUND;
    case SCAN_END: books->timestamp = 0; return FOREST_ABSENT;
    case SCAN_WAIT: books->timestamp = 0; return FOREST_WAIT;
    case SCAN_LOST: books->timestamp = 0; return FOREST_LOST;
    }
    unreachable();
}

static enum forest_found
step_account(struct verify *verify)
{
    struct verify_books *books = &verify->books;
    struct account account;
    assert(books->stage == BOOKS_ACCOUNTS);
    const enum forest_found next = scan_step(books);
    if (next == FOREST_ABSENT) {
        window_filled(books, true);
        return FOREST_FOUND;
    }
    if (next != FOREST_FOUND) return next;
    const enum forest_found found =
        forest_read(books->forest, GROOVE_ACCOUNT, books->timestamp, &account);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    if (found != FOREST_FOUND) {
        const struct verify_finding finding = {
            .kind = VERIFY_ACCOUNT,
            .what = VERIFY_MISSING,
            .number = books->timestamp,
        };
        verify_note(verify, &finding);
        books->timestamp = 0;
        return FOREST_FOUND;
    }
    assert(books->count < VERIFY_ACCOUNTS_MAX);
    const struct balances balances = account_balances(&account);
    books->timestamps[books->count] = books->timestamp;
    books->accounts[books->count] = (struct verify_account){
        .id = account.id,
        .checksum = balances_checksum(&balances),
        .event_max = forest_newest(books->forest, GROOVE_ACCOUNT_EVENT),
        .ledger = account.ledger,
        .flags = account.flags,
    };
    books->count += 1;
    books->accounts_seen += 1;
    books->timestamp = 0;
    if (books->count == VERIFY_ACCOUNTS_MAX) window_filled(books, false);
    return FOREST_FOUND;
}

static struct verify_account *
window_find(struct verify_books *books, uint64_t timestamp)
{
    uint32_t low = 0;
    uint32_t high = books->count;
    assert(books->count <= VERIFY_ACCOUNTS_MAX);
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (books->timestamps[middle] < timestamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    assert(low <= books->count);
    if (low == books->count || books->timestamps[low] != timestamp) return NULL;
    return &books->accounts[low];
}

static bool
in_window(const struct verify_books *books, uint64_t timestamp)
{
    assert(books->window_min > 0);
    return timestamp >= books->window_min && timestamp <= books->window_max;
}

/* ---- An event -------------------------------------------------------------------------------- */

/*
 * Reads the transfers that the event refers to. If one doesn't exist, that is a finding (ABSENT).
 */
static enum forest_found
event_read_transfers(struct verify_books *books)
{
    enum forest_found found = FOREST_FOUND;
    assert(books->event_there);
    assert(books->transfer_there || !books->pending_there);
    if (!books->transfer_there) {
        const uint64_t timestamp = books->event.transfer_timestamp;
        found = forest_read(books->forest, GROOVE_TRANSFER, timestamp, &books->transfer);
        if (found != FOREST_FOUND) return found;
        books->transfer_there = true;
    }
    const uint16_t resolves = TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING;
    if (books->pending_there || !(books->transfer.flags & resolves)) return FOREST_FOUND;
    found = forest_read_by_id(
        books->forest, GROOVE_TRANSFER, &books->transfer.pending_id, &books->pending);
    if (found == FOREST_BURNT) return FOREST_ABSENT;
    if (found == FOREST_FOUND) books->pending_there = true;
    return found;
}

static bool
event_expires(const struct verify_books *books)
{
    assert(books->event_there);
    return books->event.type == CHANGE_TWO_PHASE_EXPIRED;
}

/* The type that the event should have, as its transfer says. */
static uint8_t
event_type_expected(const struct verify_books *books)
{
    const uint16_t flags = books->transfer.flags;
    assert(books->event_there && books->transfer_there);
    if (books->event.transfer_timestamp != books->event.timestamp) return CHANGE_TWO_PHASE_EXPIRED;
    if (flags & TRANSFER_POST_PENDING) return CHANGE_TWO_PHASE_POSTED;
    if (flags & TRANSFER_VOID_PENDING) return CHANGE_TWO_PHASE_VOIDED;
    return flags & TRANSFER_PENDING ? CHANGE_TWO_PHASE_PENDING : CHANGE_SINGLE_PHASE;
}

/* What the event adds to each side. Negative amounts are represented by wrapping around. */
static void
event_amounts(const struct verify_books *books, u128 *pending, u128 *posted)
{
    assert(books->transfer_there);
    assert(books->event_there);
    *pending = 0;
    *posted = 0;
    switch ((enum change_event_type) books->event.type) {
    case CHANGE_SINGLE_PHASE: *posted = books->transfer.amount; return;
    case CHANGE_TWO_PHASE_PENDING: *pending = books->transfer.amount; return;
    case CHANGE_TWO_PHASE_POSTED:
        *pending = -books->pending.amount;
        *posted = books->transfer.amount;
        return;
    case CHANGE_TWO_PHASE_VOIDED: *pending = -books->pending.amount; return;
    case CHANGE_TWO_PHASE_EXPIRED: *pending = -books->transfer.amount; return;
    }
    unreachable();
}

/* Is the account of this side closed after the event? `closed`: it was before. */
static bool
event_closes(const struct verify_books *books, bool debit, bool closed)
{
    const uint16_t flag = debit ? TRANSFER_CLOSING_DEBIT : TRANSFER_CLOSING_CREDIT;
    assert(books->event_there && books->transfer_there);
    switch ((enum change_event_type) books->event.type) {
    case CHANGE_SINGLE_PHASE:
    case CHANGE_TWO_PHASE_POSTED: return closed;
    case CHANGE_TWO_PHASE_PENDING: return closed || books->transfer.flags & flag;
    case CHANGE_TWO_PHASE_VOIDED: return closed && !(books->pending.flags & flag);
    case CHANGE_TWO_PHASE_EXPIRED: return closed && !(books->transfer.flags & flag);
    }
    unreachable();
}

static uint16_t
flags_expected(const struct verify_account *account)
{
    const uint16_t others = (uint16_t) (account->flags & ~ACCOUNT_CLOSED);
    assert(account->moved || !account->closed);
    return account->closed ? others | ACCOUNT_CLOSED : others;
}

/* The first balance that differs, or VERIFY_NOTHING. */
static enum verify_what
balances_compare(
    const struct balances *expected, const struct balances *found, struct verify_finding *finding)
{
    assert(finding->kind != 0);
    const struct {
        enum verify_what what;
        u128 expected;
        u128 found;
    } pairs[] = {
        {VERIFY_DEBITS_PENDING, expected->debits_pending, found->debits_pending},
        {VERIFY_DEBITS_POSTED, expected->debits_posted, found->debits_posted},
        {VERIFY_CREDITS_PENDING, expected->credits_pending, found->credits_pending},
        {VERIFY_CREDITS_POSTED, expected->credits_posted, found->credits_posted},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        if (pairs[i].expected == pairs[i].found) continue;
        finding->expected = pairs[i].expected;
        finding->found = pairs[i].found;
        return pairs[i].what;
    }
    return VERIFY_NOTHING;
}

static void
event_note(
    struct verify *verify,
    enum verify_kind kind,
    enum verify_what what,
    struct verify_account *side)
{
    assert(what != VERIFY_NOTHING);
    assert(verify->books.event_there);
    const struct account_event *event = &verify->books.event;
    const struct verify_finding finding = {
        .kind = (uint16_t) kind,
        .what = (uint16_t) what,
        .id = side == NULL ? 0 : side->id,
        .number = kind == VERIFY_TRANSFER ? event->transfer_timestamp : event->timestamp,
    };
    if (side != NULL) side->told = true;
    if (!verify_noted(verify, kind, finding.number)) verify_note(verify, &finding);
}

/* Checks one of the event's two sides, whose account is in the window. */
static void
event_side(struct verify *verify, struct verify_account *account, bool debit)
{
    struct verify_books *books = &verify->books;
    const struct account_event *event = &books->event;
    const struct transfer *transfer = &books->transfer;
    struct balances *balances = &account->balances;
    struct verify_finding finding = {
        .kind = VERIFY_EVENT,
        .number = event->timestamp,
        .id = account->id,
    };
    u128 pending;
    u128 posted;
    assert(books->event_there && books->transfer_there);
    assert(account >= books->accounts && account < books->accounts + books->count);
    if (event->timestamp > account->event_max) return;
    event_amounts(books, &pending, &posted);
    *(debit ? &balances->debits_pending : &balances->credits_pending) += pending;
    *(debit ? &balances->debits_posted : &balances->credits_posted) += posted;
    account->closed = event_closes(books, debit, account->closed);
    account->moved = true;
    struct verify_ledger *ledger = &books->ledgers[account->ledger % VERIFY_LEDGERS_MAX];
    if (event->timestamp <= books->event_newest) {
        ledger->ledger = account->ledger;
        *(debit ? &ledger->debits_pending : &ledger->credits_pending) += pending;
        *(debit ? &ledger->debits_posted : &ledger->credits_posted) += posted;
    }
    if (account->told) return;
    const u128 id = debit ? transfer->debit_account_id : transfer->credit_account_id;
    if (id != account->id || transfer->ledger != account->ledger) {
        event_note(verify, VERIFY_TRANSFER, VERIFY_MISFILED, account);
        return;
    }
    finding.what = (uint16_t) balances_compare(
        balances, debit ? &event->debit : &event->credit, &finding);
    const uint16_t flags = debit ? event->debit_flags : event->credit_flags;
    if (finding.what == VERIFY_NOTHING && flags != flags_expected(account)) {
        finding.what = VERIFY_FLAGS;
        finding.expected = flags_expected(account);
        finding.found = flags;
    }
    if (finding.what == VERIFY_NOTHING) return; /* (Y2) */
    account->told = true;
    if (!verify_noted(verify, VERIFY_EVENT, event->timestamp)) verify_note(verify, &finding);
}

/*
 * The account of this timestamp, if it is in the window, or NULL. If it should be but doesn't
 * exist, that is a finding.
 */
static struct verify_account *
event_account(struct verify *verify, uint64_t timestamp)
{
    struct verify_books *books = &verify->books;
    assert(books->event_there);
    if (!in_window(books, timestamp)) return NULL;
    struct verify_account *account = window_find(books, timestamp);
    if (account == NULL) event_note(verify, VERIFY_EVENT, VERIFY_MISSING, NULL);
    return account;
}

/* Checks the state of the hold, which says what became of it. Once resolved, it never changes. */
static enum forest_found
event_check_status(struct verify *verify, struct verify_account *side)
{
    static const uint8_t statuses[] = {
        [CHANGE_TWO_PHASE_POSTED] = PENDING_POSTED,
        [CHANGE_TWO_PHASE_VOIDED] = PENDING_VOIDED,
        [CHANGE_TWO_PHASE_EXPIRED] = PENDING_EXPIRED,
    };
    const struct verify_books *books = &verify->books;
    const uint8_t type = books->event.type;
    struct transfer_pending state;
    assert(type < ARRAY_COUNT(statuses));
    assert(books->event_there && books->transfer_there);
    if (type == CHANGE_SINGLE_PHASE) return FOREST_FOUND;
    const bool resolved = type != CHANGE_TWO_PHASE_PENDING;
    const struct transfer *hold =
        resolved && !event_expires(books) ? &books->pending : &books->transfer;
    const enum forest_found found =
        forest_read(books->forest, GROOVE_TRANSFER_PENDING, hold->timestamp, &state);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    /* transfer_expires_at isn't used, since this transfer may be damaged in any way. */
    const uint64_t expires_at = hold->timeout == 0 ? 0 : hold->timestamp + hold->timeout * NS_PER_S;
    /*
     * If this event resolved the hold, the state must say so. If it is the hold's own event, the
     * event that the state names as its resolution must exist.
     */
    bool right = found == FOREST_FOUND && state.expires_at == expires_at;
    if (right && resolved) {
        right = state.status == statuses[type] && state.resolved_at == books->event.timestamp;
    } else if (right && state.status == PENDING_PENDING) {
        right = state.resolved_at == 0;
    } else if (right) {
        struct account_event event;
        right = state.status <= PENDING_EXPIRED && state.resolved_at > hold->timestamp &&
                state.resolved_at <= TIMESTAMP_MAX;
        const enum forest_found there =
            right ? forest_read(books->forest, GROOVE_ACCOUNT_EVENT, state.resolved_at, &event)
                  : FOREST_ABSENT;
        if (there == FOREST_WAIT || there == FOREST_LOST) return there;
        right = there == FOREST_FOUND && event.type < ARRAY_COUNT(statuses) &&
                statuses[event.type] == state.status;
    }
    if (!right) {
        const bool told = side->told;
        event_note(verify, VERIFY_TRANSFER, VERIFY_STATUS, side);
        /* This finding says nothing about balances, so those are still compared. */
        side->told = told;
    }
    return FOREST_FOUND;
}

static enum forest_found
event_apply(struct verify *verify)
{
    struct verify_books *books = &verify->books;
    assert(books->event_there);
    assert(books->stage == BOOKS_EVENTS);
    struct verify_account *debit = event_account(verify, books->event.debit_account_timestamp);
    struct verify_account *credit = event_account(verify, books->event.credit_account_timestamp);
    struct verify_account *any = debit != NULL ? debit : credit;
    if (any == NULL) return FOREST_FOUND;
    const enum forest_found found = event_read_transfers(books);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    if (found != FOREST_FOUND) {
        if (debit != NULL) event_note(verify, VERIFY_TRANSFER, VERIFY_MISSING, debit);
        if (credit != NULL) event_note(verify, VERIFY_TRANSFER, VERIFY_MISSING, credit);
        return FOREST_FOUND;
    }
    if (books->event.type != event_type_expected(books)) {
        if (debit != NULL) event_note(verify, VERIFY_EVENT, VERIFY_TYPE, debit);
        if (credit != NULL) event_note(verify, VERIFY_EVENT, VERIFY_TYPE, credit);
        return FOREST_FOUND;
    }
    const enum forest_found state = event_check_status(verify, any);
    if (state != FOREST_FOUND) return state;
    if (debit != NULL) event_side(verify, debit, true);
    if (credit != NULL) event_side(verify, credit, false);
    return FOREST_FOUND;
}

static enum forest_found
step_event(struct verify *verify)
{
    struct verify_books *books = &verify->books;
    assert(books->stage == BOOKS_EVENTS);
    const enum forest_found next = scan_step(books);
    if (next == FOREST_ABSENT) {
        books->stage = BOOKS_COMPARE;
        return FOREST_FOUND;
    }
    if (next != FOREST_FOUND) return next;
    assert(books->timestamp <= books->event_max);
    if (!books->event_there) {
        const enum forest_found found =
            forest_read(books->forest, GROOVE_ACCOUNT_EVENT, books->timestamp, &books->event);
        if (found == FOREST_WAIT || found == FOREST_LOST) return found;
        assert(found == FOREST_FOUND);
        books->event_there = true;
    }
    const enum forest_found applied = event_apply(verify);
    if (applied != FOREST_FOUND) return applied;
    const bool first_window = books->window_min == 1;
    if (first_window && books->timestamp <= books->event_newest) {
        books->transfers_told += !event_expires(books);
    }
    books->timestamp = 0;
    return FOREST_FOUND;
}

/* ---- The end --------------------------------------------------------------------------------- */

/*
 * Compares the record with what was recomputed. If nothing has happened to the account since its
 * record was read, the record must still be the same.
 */
static enum forest_found
compare_account(struct verify *verify, uint32_t index)
{
    struct verify_books *books = &verify->books;
    assert(index < books->count);
    const struct verify_account *own = &books->accounts[index];
    struct account account = {0};
    assert(verify->books.stage == BOOKS_COMPARE);
    struct verify_finding finding = {
        .kind = VERIFY_ACCOUNT,
        .what = VERIFY_WRONG,
        .id = own->id,
        .number = books->timestamps[index],
    };
    if (own->told) return FOREST_FOUND;
    if (balances_checksum(&own->balances) == own->checksum) {
        if (!own->moved || own->flags == flags_expected(own)) return FOREST_FOUND;
        finding.what = VERIFY_FLAGS; /* (Y2) */
        finding.expected = flags_expected(own);
        finding.found = own->flags;
        verify_note(verify, &finding);
        return FOREST_FOUND;
    }
    const enum forest_found found =
        forest_read(books->forest, GROOVE_ACCOUNT, books->timestamps[index], &account);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    const struct balances balances = account_balances(&account);
    if (found == FOREST_FOUND && balances_checksum(&balances) == own->checksum) {
        finding.what = (uint16_t) balances_compare(&own->balances, &balances, &finding);
    }
    verify_note(verify, &finding);
    return FOREST_FOUND;
}

/* In each ledger, debits must equal credits; and nothing may be left over. */
static void
compare_sums(struct verify *verify)
{
    const struct verify_books *books = &verify->books;
    assert(books->stage == BOOKS_DONE);
    for (uint32_t i = 0; i < VERIFY_LEDGERS_MAX; i++) {
        const struct verify_ledger *ledger = &books->ledgers[i];
        const bool pending = ledger->debits_pending != ledger->credits_pending;
        if (!pending && ledger->debits_posted == ledger->credits_posted) continue;
        const struct verify_finding finding = {
            .kind = VERIFY_LEDGER,
            .what = pending ? VERIFY_DEBITS_PENDING : VERIFY_DEBITS_POSTED,
            .number = ledger->ledger,
            .expected = pending ? ledger->debits_pending : ledger->debits_posted,
            .found = pending ? ledger->credits_pending : ledger->credits_posted,
        };
        verify_note(verify, &finding);
    }
    if (books->accounts_seen != books->account_count) {
        const struct verify_finding finding = {
            .kind = VERIFY_ACCOUNT,
            .what = VERIFY_COUNT,
            .expected = books->account_count,
            .found = books->accounts_seen,
        };
        verify_note(verify, &finding);
    }
    if (books->transfers_told != books->transfer_count) {
        const struct verify_finding finding = {
            .kind = VERIFY_TRANSFER,
            .what = VERIFY_COUNT,
            .expected = books->transfers_told,
            .found = books->transfer_count,
        };
        verify_note(verify, &finding);
    }
}

static enum forest_found
step_compare(struct verify *verify)
{
    struct verify_books *books = &verify->books;
    assert(books->stage == BOOKS_COMPARE);
    assert(books->compared <= books->count);
    if (books->compared < books->count) {
        const enum forest_found found = compare_account(verify, books->compared);
        if (found == FOREST_FOUND) books->compared += 1;
        return found;
    }
    books->stage = books->window_max < books->account_newest ? BOOKS_WINDOW : BOOKS_DONE;
    if (books->stage == BOOKS_DONE) compare_sums(verify);
    return FOREST_FOUND;
}

enum forest_found
books_step(struct verify *verify, uint32_t *rows_left)
{
    struct verify_books *books = &verify->books;
    while (*rows_left > 0) {
        enum forest_found found = FOREST_FOUND;
        switch (books->stage) {
        case BOOKS_WINDOW:
            if (books->account_newest == 0) return FOREST_FOUND; /* There are no accounts at all. */
            window_start(books);
            break;
        case BOOKS_ACCOUNTS: found = step_account(verify); break;
        case BOOKS_EVENTS: found = step_event(verify); break;
        case BOOKS_COMPARE: found = step_compare(verify); break;
        case BOOKS_DONE: return FOREST_FOUND;
        }
        if (found != FOREST_FOUND) return found;
        *rows_left -= 1;
    }
    return FOREST_WAIT;
}
