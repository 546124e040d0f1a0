/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads: what may be asked, and how an answer is made, step by step, between ops.
 *
 * An answer has as many rows as match, up to three bounds: the filter's limit, the operation's
 * maximum, and the room in the reply. A client that wants the rest asks again, from the last row's
 * timestamp on.
 *
 *      collect takes timestamps from the plan's scans (query.c), or ids from the input, as many as
 *                there is room for rows
 *      rows asks for each row (read_row.c), again and again until it is there; of the rows that
 *                aren't in memory, as many at a time as can be read
 *      settle    removes rows that the filter doesn't want; if that makes room, more are collected
 *      as of     for accounts: brings all rows back to the read's instant (as_of.c)
 *
 * Ops are committed meanwhile. The read's instant is the state when it began, or an older one; so
 * the pages of a scan can all show the state of the time when the first of them began. Transfers
 * and events never change, and their timestamps tell which of them existed at the instant. The same
 * is true of accounts, but they do change, so their rows are computed back.
 *
 * What can go wrong: the input is malformed (ledger_read_check, before the read starts), or a block
 * that is needed is damaged (FOREST_LOST). Then there is no answer at all, not a part of one.
 */
#include <stddef.h>
#include <string.h>

#include "ledger/ledger_internal.h"
#include "base/bytes.h"

static uint32_t
rows_max(uint8_t operation)
{
    return operation_gives_events(operation) ? CHANGE_EVENTS_MAX : RESULTS_MAX;
}

/* ---- Is it valid? ---------------------------------------------------------------------------- */

/*
 * Checks the three fields that all filters have. Nothing is stored above TIMESTAMP_MAX; 0 is no
 * bound.
 */
static const char *
window_check(uint64_t timestamp_min, uint64_t timestamp_max, uint32_t limit)
{
    if (timestamp_min > TIMESTAMP_MAX) return "timestamp_min is out of range";
    if (timestamp_max > TIMESTAMP_MAX) return "timestamp_max is out of range";
    if (timestamp_max != 0 && timestamp_min > timestamp_max) {
        return "timestamp_min must not be greater than timestamp_max";
    }
    if (limit == 0) return "limit must not be zero";
    return NULL;
}

const char *
account_filter_check(const struct account_filter *filter)
{
    const uint32_t sides = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS;
    if (filter->account_id == 0) return "account_id must not be zero";
    if (filter->account_id == U128_MAX) return "account_id must not be the largest integer";
    if (!(filter->flags & sides)) return "debits or credits, or both, must be asked for";
    if (filter->flags & ~(sides | ACCOUNT_FILTER_REVERSED | ACCOUNT_FILTER_EXPIRIES)) {
        return "unknown flags must be zero";
    }
    if (filter->flags & ACCOUNT_FILTER_EXPIRIES &&
        (filter->user_data_128 != 0 || filter->user_data_64 != 0 || filter->user_data_32 != 0 ||
         filter->code != 0)) {
        return "balances with expiries can't be filtered by fields of transfers";
    }
    if (!bytes_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

const char *
query_filter_check(const struct query_filter *filter)
{
    if (filter->flags & ~(uint32_t) QUERY_FILTER_REVERSED) return "unknown flags must be zero";
    if (!bytes_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

const char *
hold_filter_check(const struct hold_filter *filter)
{
    const uint16_t flags = HOLD_FILTER_REVERSED | HOLD_FILTER_BY_EXPIRY;
    const uint8_t states = 1 << PENDING_PENDING | 1 << PENDING_POSTED | 1 << PENDING_VOIDED |
                           1 << PENDING_EXPIRED;
    if (filter->flags & ~flags) return "unknown flags must be zero";
    if (filter->flags == flags) return "holds by expiry can't be reversed";
    if (filter->states & ~states) return "unknown states must be zero";
    if (filter->debit_account_id == U128_MAX || filter->credit_account_id == U128_MAX) {
        return "account ids must not be the largest integer";
    }
    if (filter->expires_min > TIMESTAMP_MAX) return "expires_min is out of range";
    if (filter->expires_max > TIMESTAMP_MAX) return "expires_max is out of range";
    if (filter->expires_max != 0 && filter->expires_min > filter->expires_max) {
        return "expires_min must not be greater than expires_max";
    }
    if (filter->after_timestamp > TIMESTAMP_MAX) return "after_timestamp is out of range";
    if (filter->after_timestamp != 0 && !(filter->flags & HOLD_FILTER_BY_EXPIRY)) {
        return "after_timestamp goes with holds by expiry";
    }
    if (!bytes_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

const char *
change_events_filter_check(const struct change_events_filter *filter)
{
    if (filter->flags & ~(uint32_t) CHANGE_EVENTS_FILTER_REVERSED) {
        return "unknown flags must be zero";
    }
    if (!bytes_zero(filter->reserved, sizeof(filter->reserved))) return "reserved must be zero";
    return window_check(filter->timestamp_min, filter->timestamp_max, filter->limit);
}

/* Any 16 bytes can be looked up as an id. Ids that can't exist are simply not found. */
static const char *
ids_check(uint8_t operation, uint32_t input_size)
{
    const uint32_t ids_max = rows_max(operation) / read_rows_per_id(operation);
    assert(operation_looks_up(operation));
    assert(ids_max > 0);
    if (input_size % sizeof(u128) != 0) return "the input is not whole ids";
    if (input_size / sizeof(u128) > ids_max) return "there are too many ids for one lookup";
    return NULL;
}

const char *
ledger_read_check(uint8_t operation, const void *input, uint32_t input_size)
{
    assert(input != NULL || input_size == 0);
    union ledger_filter filter; /* A copy that is aligned. */
    switch ((enum ledger_operation) operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS: return ids_check(operation, input_size);
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        if (input_size != sizeof(filter.account)) break;
        memcpy(&filter.account, input, sizeof(filter.account));
        if (operation == LEDGER_GET_ACCOUNT_TRANSFERS &&
            filter.account.flags & ACCOUNT_FILTER_EXPIRIES) {
            return "expiries are no transfers";
        }
        return account_filter_check(&filter.account);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS:
        if (input_size != sizeof(filter.query)) break;
        memcpy(&filter.query, input, sizeof(filter.query));
        return query_filter_check(&filter.query);
    case LEDGER_QUERY_HOLDS:
        if (input_size != sizeof(filter.hold)) break;
        memcpy(&filter.hold, input, sizeof(filter.hold));
        return hold_filter_check(&filter.hold);
    case LEDGER_GET_CHANGE_EVENTS:
        if (input_size != sizeof(filter.change_events)) break;
        memcpy(&filter.change_events, input, sizeof(filter.change_events));
        return change_events_filter_check(&filter.change_events);
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY:
    default: return "the operation is not a read";
    }
    return "the input is not one filter";
}

/* ---- Starting -------------------------------------------------------------------------------- */

static bool
operation_gives_accounts(uint8_t operation)
{
    return operation == LEDGER_LOOKUP_ACCOUNTS || operation == LEDGER_QUERY_ACCOUNTS;
}

/* The groove whose timestamps are collected. */
static uint32_t
groove_of(uint8_t operation)
{
    switch ((enum ledger_operation) operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_QUERY_ACCOUNTS: return GROOVE_ACCOUNT;
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_QUERY_HOLDS:
    case LEDGER_QUERY_TRANSFERS: return GROOVE_TRANSFER;
    case LEDGER_GET_ACCOUNT_BALANCES: /* From the events, since expiries have rows too. */
    case LEDGER_LOOKUP_CHANGE_EVENTS:
    case LEDGER_GET_CHANGE_EVENTS: return GROOVE_ACCOUNT_EVENT;
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

const char *
ledger_instant_check(
    const struct forest *forest, const struct ledger_instant *instant, uint64_t op)
{
    const bool past = instant->op <= op &&
                      instant->account_newest <= forest_newest(forest, GROOVE_ACCOUNT) &&
                      instant->event_newest <= forest_newest(forest, GROOVE_ACCOUNT_EVENT);
    if (instant->known == 0 || past) return NULL;
    return "the scan was begun in a state that this ledger has not come to";
}

static struct ledger_instant
instant_now(const struct forest *forest, uint64_t op)
{
    return (struct ledger_instant){
        .known = 1,
        .op = op,
        .account_newest = forest_newest(forest, GROOVE_ACCOUNT),
        .event_newest = forest_newest(forest, GROOVE_ACCOUNT_EVENT),
    };
}

/*
 * The newest timestamp that existed at the instant. No transfer is newer than the newest event,
 * since each transfer has an event of the same timestamp.
 */
static uint64_t
timestamp_max(const struct ledger_read *read)
{
    const uint32_t groove = groove_of(read->question.operation);
    assert(read->instant.known != 0);
    assert(read->instant.event_newest <= TIMESTAMP_MAX);
    const uint64_t newest = groove == GROOVE_ACCOUNT ? read->instant.account_newest
                                                 : read->instant.event_newest;
    return min_u64(newest, forest_newest(read->forest, groove));
}

void
ledger_read_start(
    struct ledger_read *read,
    struct forest *forest,
    const struct ledger_question *question,
    uint64_t op)
{
    const uint8_t operation = question->operation;
    assert(ledger_read_check(operation, question->input, question->input_size) == NULL);
    assert(ledger_instant_check(forest, &question->instant, op) == NULL);
    assert(question->timestamps != NULL && question->rows != NULL);
    read->question = *question;
    read->forest = forest;
    read->instant = question->instant.known != 0 ? question->instant : instant_now(forest, op);
    read->timestamp_max = timestamp_max(read);
    read->reply_size = 0;
    read->row_size = ledger_row_size(operation);
    if (!operation_looks_up(operation)) {
        assert(question->input_size <= sizeof(read->filter));
        memcpy(&read->filter, question->input, question->input_size);
    }
    const uint64_t room = question->reply_size_max / read->row_size;
    const uint64_t rows = min_u64(room, rows_max(operation));
    read->rows_max = (uint32_t) min_u64(rows, query_limit(read));
    assert(read->rows_max * read_words_per_row(operation) <= RESULTS_MAX);
    assert((uint64_t) read->rows_max * read->row_size <= question->reply_size_max);
    read->yielded = false;
    read->account_known = operation != LEDGER_GET_ACCOUNT_BALANCES;
    read->id_next = 0;
    read->rows_done = 0;
    read->pass_count = 0;
    read->pass_front = 0;
    read->pass_next = 0;
    read->pass_waiting = 0;
    read->pass_mark = 0;
    read->gathered = false;
    read->source_ended = false;
    if (!operation_looks_up(operation) && read->account_known) {
        read->source_ended = !query_plan(read);
    }
}

/* ---- Going on -------------------------------------------------------------------------------- */

/*
 * LEDGER_GET_ACCOUNT_BALANCES: finds the account. If it doesn't exist there are no rows; nor, in
 * the public model, if it has no history.
 */
static enum forest_found
read_account(struct ledger_read *read)
{
    struct account account;
    const u128 id = read->filter.account.account_id;
    assert(read->question.operation == LEDGER_GET_ACCOUNT_BALANCES);
    assert(read->pass_count == 0 && read->rows_done == 0);
    assert(!read->account_known);
    const enum forest_found found = forest_read_by_id(read->forest, GROOVE_ACCOUNT, &id, &account);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    assert(found != FOREST_BURNT);
    read->account_known = true;
    const bool there = found == FOREST_FOUND && account.timestamp <= read->instant.account_newest;
    const bool any = read->filter.account.flags & ACCOUNT_FILTER_EXPIRIES;
    if (!there || !(any || account.flags & ACCOUNT_HISTORY)) {
        read->source_ended = true;
        return FOREST_FOUND;
    }
    read->account_timestamp = account.timestamp;
    read->source_ended = !query_plan(read);
    return FOREST_FOUND;
}

static void
collect_ids(struct ledger_read *read)
{
    const uint32_t per_id = read_rows_per_id(read->question.operation);
    const uint32_t words_per_row = read_words_per_row(read->question.operation);
    const uint32_t row_count = read->question.input_size / (uint32_t) sizeof(u128) * per_id;
    assert(row_count <= RESULTS_MAX);
    assert(read->id_next <= row_count);
    assert(operation_looks_up(read->question.operation));
    if (read->pass_count == 0) read->pass_id = read->id_next;
    while (read->id_next < row_count && read->rows_done + read->pass_count < read->rows_max) {
        read->question.timestamps[(size_t) read->pass_count * words_per_row] = READ_BY_ID;
        read->pass_count += 1;
        read->id_next += 1;
    }
    read->source_ended = read->id_next == row_count;
    assert(read->id_next == read->pass_id + read->pass_count);
}

/* The next timestamp of the plan. */
static enum scan_result
collect_next(struct ledger_read *read, uint64_t *timestamp)
{
    struct forest_range next = read->expiry;
    assert(!operation_looks_up(read->question.operation));
    assert(!read->source_ended);
    if (!query_by_expiry(read)) return scan_next(read->plan.root, timestamp);
    const uint64_t expires_max = read->filter.hold.expires_max;
    switch (forest_range_next(read->forest, INDEX_PENDING_EXPIRES_AT, &next)) {
    case FOREST_FOUND: break;
    case FOREST_ABSENT: return SCAN_END;
    case FOREST_WAIT: return SCAN_WAIT;
    case FOREST_LOST: return SCAN_LOST;
    case FOREST_BURNT: unreachable();
    }
    if (expires_max != 0 && next.value > expires_max) return SCAN_END;
    read->expiry = next;
    *timestamp = next.timestamp;
    return SCAN_FOUND;
}

/* Collects timestamps. FOREST_FOUND: there are no more, or there is no room for more rows. */
static enum forest_found
collect_timestamps(struct ledger_read *read, uint32_t *rows_left)
{
    const uint32_t words_per_row = read_words_per_row(read->question.operation);
    const bool first =
        read->question.operation == LEDGER_GET_CHANGE_EVENTS ||
        (read->question.operation == LEDGER_GET_ACCOUNT_BALANCES && query_compares_transfer(read));
    assert(!operation_looks_up(read->question.operation));
    assert(read->source_ended || read->plan.root != NULL || query_by_expiry(read));
    while (!read->source_ended && read->rows_done + read->pass_count < read->rows_max) {
        uint64_t timestamp;
        read->yielded = *rows_left == 0;
        if (read->yielded) return FOREST_WAIT;
        *rows_left -= 1;
        switch (collect_next(read, &timestamp)) {
        case SCAN_FOUND: break;
        case SCAN_END: read->source_ended = true; continue;
        case SCAN_WAIT: return FOREST_WAIT;
        case SCAN_LOST: return FOREST_LOST;
        }
        if (timestamp < read->plan.window.timestamp_min ||
            timestamp > read->plan.window.timestamp_max) {
            assert(query_by_expiry(read)); /* Scans keep to the window. */
            continue;
        }
        uint64_t *words = read->question.timestamps + (size_t) read->pass_count * words_per_row;
        assert(read->pass_count < RESULTS_MAX / words_per_row);
        words[0] = first ? timestamp | READ_FIRST : timestamp;
        read->pass_count += 1;
    }
    return FOREST_FOUND;
}

/* Ends a pass over the rows. FOREST_FOUND: all rows are there. */
static enum forest_found
pass_end(struct ledger_read *read)
{
    assert(read->pass_front <= read->pass_next);
    if (read->pass_waiting == 0) return FOREST_FOUND;
    assert(read->pass_front < read->pass_next);
    read->pass_mark = forest_reads_mark(read->forest, read->pass_waiting);
    read->pass_next = read->pass_front;
    read->pass_waiting = 0;
    return FOREST_WAIT;
}

/*
 * Asks for every row that isn't there yet, as long as more can be read; the rows behind have their
 * turn when others have arrived. FOREST_FOUND: all are there.
 */
static enum forest_found
read_rows(struct ledger_read *read, uint32_t *rows_left)
{
    assert(read->pass_next <= read->pass_count);
    assert(read->rows_done + read->pass_count <= read->rows_max);
    while (read->pass_next < read->pass_count) {
        read->yielded |= *rows_left == 0;
        if (*rows_left == 0) return FOREST_WAIT;
        *rows_left -= 1;
        const enum forest_found found = read_row(read, read->pass_next);
        if (found == FOREST_LOST) return FOREST_LOST;
        read->pass_next += 1;
        if (found == FOREST_WAIT) {
            read->pass_waiting += 1;
            if (forest_reads_full(read->forest)) break;
        } else if (read->pass_waiting == 0) {
            read->pass_front = read->pass_next;
        }
    }
    return pass_end(read);
}

/* All rows in work have arrived. Moves them together, over the rows that were dropped. */
static void
read_settle(struct ledger_read *read)
{
    const uint32_t words_per_row = read_words_per_row(read->question.operation);
    char *reply = read->question.reply;
    uint32_t kept = read->rows_done;
    assert(read->pass_waiting == 0);
    assert(read->pass_front == read->pass_count);
    assert(read->rows_done + read->pass_count <= read->rows_max);
    for (uint32_t i = 0; i < read->pass_count; i++) {
        const uint64_t word = read->question.timestamps[(size_t) i * words_per_row];
        assert(word == READ_THERE || word == READ_DROPPED);
        if (word == READ_DROPPED) continue;
        const uint32_t row = read->rows_done + i;
        if (row != kept) {
            read->question.rows[kept] = read->question.rows[row];
            memcpy(
                reply + (size_t) kept * read->row_size,
                reply + (size_t) row * read->row_size,
                read->row_size);
        }
        kept += 1;
    }
    read->rows_done = kept;
    read->pass_count = 0;
    read->pass_front = 0;
    read->pass_next = 0;
    assert(read->rows_done <= read->rows_max);
}

/* Collects and reads rows. FOREST_FOUND: all rows are there. */
static enum forest_found
gather(struct ledger_read *read, uint32_t *rows_left)
{
    assert(!read->gathered);
    assert(read->account_known);
    for (;;) {
        enum forest_found collected = FOREST_FOUND;
        if (operation_looks_up(read->question.operation)) {
            collect_ids(read);
        } else {
            collected = collect_timestamps(read, rows_left);
        }
        if (collected == FOREST_LOST) return FOREST_LOST;
        const enum forest_found found = read_rows(read, rows_left);
        if (found == FOREST_LOST) return FOREST_LOST;
        if (collected == FOREST_WAIT || found == FOREST_WAIT) return FOREST_WAIT;
        read_settle(read);
        if (read->source_ended || read->rows_done == read->rows_max) return FOREST_FOUND;
    }
}

enum forest_found
ledger_read_step(struct ledger_read *read, uint32_t *rows_left)
{
    assert(*rows_left <= READ_ROWS_PER_POLL);
    assert(read->rows_done <= read->rows_max);
    assert(read->pass_next <= read->pass_count);
    read->yielded = false;
    if (!forest_reads_reached(read->forest, read->pass_mark)) return FOREST_WAIT;
    if (!read->account_known) {
        const enum forest_found found = read_account(read);
        if (found != FOREST_FOUND) return found;
    }
    if (!read->gathered) {
        const enum forest_found found = gather(read, rows_left);
        if (found != FOREST_FOUND) return found;
        read->gathered = true;
        read->reply_size = read->rows_done * read->row_size;
        assert(read->reply_size <= read->question.reply_size_max);
        if (operation_gives_accounts(read->question.operation)) as_of_start(read);
    }
    if (!operation_gives_accounts(read->question.operation)) return FOREST_FOUND;
    return as_of_step(read, rows_left);
}
