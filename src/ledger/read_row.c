/* SPDX-License-Identifier: PostgreSQL */
/*
 * One row of a reply in work: what is read for it, and in which order.
 *
 *      lookups               the record by id
 *      accounts, transfers   the record, compared with the filter
 *      holds                 the state, compared with the filter; then the transfer
 *      resolutions           the hold by id; its state; the transfer that resolved it
 *      balances              the event of the transfer's timestamp; before it the transfer, if the
 *                            filter compares more of it than an account
 *      change events         the event; then, all at once, its transfer and both accounts
 *
 * For a transfer that is a hold, its state is read too, and for the id of what posted or voided it,
 * that transfer. A hold that was resolved after the read's instant is shown as open, so that all
 * rows are of that instant.
 *
 * What a row still needs is in its words (READ_… of ledger_internal.h). No decision depends on what
 * is already in the reply, because the reply may lie where others can write.
 */
#include <stddef.h>
#include <string.h>

#include "ledger/ledger_internal.h"

static uint64_t *
row_words(const struct ledger_read *read, uint32_t index)
{
    assert(index < read->pass_count);
    return read->question.timestamps +
           (size_t) index * read_words_per_row(read->question.operation);
}

static char *
row_bytes(const struct ledger_read *read, uint32_t index)
{
    assert(read->rows_done + index < read->rows_max);
    return (char *) read->question.reply + (size_t) (read->rows_done + index) * read->row_size;
}

/* Completes the row with `row`; NULL means that it doesn't belong in the reply. */
static enum forest_found
row_end(struct ledger_read *read, uint32_t index, const void *row)
{
    uint64_t *words = row_words(read, index);
    assert(read_words_per_row(read->question.operation) == 1);
    words[0] = row == NULL ? READ_DROPPED : READ_THERE;
    if (row != NULL) memcpy(row_bytes(read, index), row, read->row_size);
    return FOREST_FOUND;
}

static u128
row_id(const struct ledger_read *read, uint32_t index)
{
    u128 id;
    const size_t number = (read->pass_id + index) / read_rows_per_id(read->question.operation);
    assert((number + 1) * sizeof(id) <= read->question.input_size);
    memcpy(&id, (const char *) read->question.input + number * sizeof(id), sizeof(id));
    return id;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

/* Completes the row with the account as it is now, and notes it where as_of.c finds it again. */
static enum forest_found
row_end_account(struct ledger_read *read, uint32_t index, const struct account *account)
{
    if (account != NULL) {
        struct ledger_row *row = &read->question.rows[read->rows_done + index];
        assert(read->rows_done + index < read->rows_max);
        row->account_timestamp = account->timestamp;
    }
    return row_end(read, index, account);
}

static enum forest_found
row_account(struct ledger_read *read, uint32_t index)
{
    const uint64_t timestamp = row_words(read, index)[0];
    struct account account;
    if (timestamp == READ_BY_ID) {
        const u128 id = row_id(read, index);
        const enum forest_found found =
            forest_read_by_id(read->forest, GROOVE_ACCOUNT, &id, &account);
        if (found == FOREST_WAIT || found == FOREST_LOST) return found;
        assert(found != FOREST_BURNT);
        const bool there = found == FOREST_FOUND && account.timestamp <= read->timestamp_max;
        return row_end_account(read, index, there ? &account : NULL);
    }
    const enum forest_found found =
        read_referred(read->forest, GROOVE_ACCOUNT, timestamp, &account);
    if (found != FOREST_FOUND) return found;
    return row_end_account(read, index, query_wants_account(read, &account) ? &account : NULL);
}

/* ---- Transfers ------------------------------------------------------------------------------- */

/* Finds the transfer by the id of the row. FOREST_ABSENT: it didn't exist at the instant. */
static enum forest_found
read_transfer_by_id(struct ledger_read *read, uint32_t index, struct transfer *transfer)
{
    const u128 id = row_id(read, index);
    assert(operation_looks_up(read->question.operation));
    const enum forest_found found =
        forest_read_by_id(read->forest, GROOVE_TRANSFER, &id, transfer);
    if (found == FOREST_WAIT || found == FOREST_LOST) return found;
    const bool there = found == FOREST_FOUND && transfer->timestamp <= read->instant.event_newest;
    return there ? FOREST_FOUND : FOREST_ABSENT;
}

/* Reads the state of a hold as it was at the instant. */
static enum forest_found
read_state(const struct ledger_read *read, uint64_t hold, struct transfer_pending *state)
{
    assert(hold > 0 && hold <= read->instant.event_newest);
    const enum forest_found found =
        read_referred(read->forest, GROOVE_TRANSFER_PENDING, hold, state);
    if (found != FOREST_FOUND) return found;
    if (state->resolved_at > read->instant.event_newest) {
        state->status = PENDING_PENDING;
        state->resolved_at = 0;
    }
    const bool open = state->status == PENDING_PENDING;
    const bool known = state->status >= PENDING_PENDING && state->status <= PENDING_EXPIRED;
    if (!known || open != (state->resolved_at == 0)) {
        return forest_refuse(read->forest, GROOVE_TRANSFER_PENDING, hold);
    }
    return FOREST_FOUND;
}

/*
 * Completes the row of a transfer that is wanted. If it is a hold, first reads what became of it.
 */
static enum forest_found
row_end_transfer(struct ledger_read *read, uint32_t index, const struct transfer *transfer)
{
    struct transfer_row row = {.transfer = *transfer};
    struct transfer_pending state;
    assert(transfer->timestamp <= read->instant.event_newest);
    if (!(transfer->flags & TRANSFER_PENDING)) return row_end(read, index, &row);
    const enum forest_found found = read_state(read, transfer->timestamp, &state);
    if (found != FOREST_FOUND) return found;
    row.state = state.status;
    row.expires_at = state.expires_at;
    row.resolved_at = state.resolved_at;
    if (state.status == PENDING_POSTED || state.status == PENDING_VOIDED) {
        struct transfer resolution;
        const enum forest_found resolved =
            read_referred(read->forest, GROOVE_TRANSFER, state.resolved_at, &resolution);
        if (resolved != FOREST_FOUND) return resolved;
        row.resolved_by = resolution.id;
    }
    return row_end(read, index, &row);
}

static enum forest_found
row_transfer(struct ledger_read *read, uint32_t index)
{
    const uint64_t timestamp = row_words(read, index)[0];
    struct transfer transfer;
    enum forest_found found;
    if (timestamp == READ_BY_ID) {
        found = read_transfer_by_id(read, index, &transfer);
        if (found == FOREST_ABSENT) return row_end(read, index, NULL);
        return found == FOREST_FOUND ? row_end_transfer(read, index, &transfer) : found;
    }
    found = read_referred(read->forest, GROOVE_TRANSFER, timestamp, &transfer);
    if (found != FOREST_FOUND) return found;
    if (!query_wants_transfer(read, &transfer)) return row_end(read, index, NULL);
    return row_end_transfer(read, index, &transfer);
}

/*
 * Reads the state first: most holds are resolved, and a list of open holds passes over these
 * without reading their transfers.
 */
static enum forest_found
row_hold(struct ledger_read *read, uint32_t index)
{
    const uint64_t timestamp = row_words(read, index)[0];
    struct transfer_pending state;
    assert(timestamp <= read->timestamp_max);
    assert(read->question.operation == LEDGER_QUERY_HOLDS);
    const enum forest_found found = read_state(read, timestamp, &state);
    if (found != FOREST_FOUND) return found;
    const bool wanted = query_wants_state(read, &state, (enum pending_status) state.status);
    return wanted ? row_transfer(read, index) : row_end(read, index, NULL);
}

/* Finds the transfer that posted or voided the hold of the row's id, if there is one. */
static enum forest_found
row_resolution(struct ledger_read *read, uint32_t index)
{
    struct transfer hold;
    struct transfer_pending state;
    struct transfer transfer;
    assert(read->question.operation == LEDGER_LOOKUP_RESOLUTIONS);
    enum forest_found found = read_transfer_by_id(read, index, &hold);
    if (found == FOREST_ABSENT) return row_end(read, index, NULL);
    if (found != FOREST_FOUND) return found;
    if (!(hold.flags & TRANSFER_PENDING)) return row_end(read, index, NULL);
    found = read_state(read, hold.timestamp, &state);
    if (found != FOREST_FOUND) return found;
    if (state.status != PENDING_POSTED && state.status != PENDING_VOIDED) {
        return row_end(read, index, NULL);
    }
    found = read_referred(read->forest, GROOVE_TRANSFER, state.resolved_at, &transfer);
    if (found != FOREST_FOUND) return found;
    if (transfer.pending_id != hold.id) {
        return forest_refuse(read->forest, GROOVE_TRANSFER, state.resolved_at);
    }
    return row_end_transfer(read, index, &transfer);
}

/* ---- Balances -------------------------------------------------------------------------------- */

/*
 * The event names other accounts than the one asked for. Either the transfer does so too, because
 * the two account ids have the same hash; then the row is dropped. Or the event isn't that of the
 * transfer, which is damage.
 */
static enum forest_found
row_other_account(struct ledger_read *read, uint32_t index)
{
    const uint64_t timestamp = *row_words(read, index);
    struct transfer transfer;
    const enum forest_found found =
        read_referred(read->forest, GROOVE_TRANSFER, timestamp, &transfer);
    if (found != FOREST_FOUND) return found;
    if (!query_wants_transfer(read, &transfer)) return row_end(read, index, NULL);
    return forest_refuse(read->forest, GROOVE_ACCOUNT_EVENT, timestamp);
}

static enum forest_found
row_balance(struct ledger_read *read, uint32_t index)
{
    const uint32_t sides = read->filter.account.flags;
    const bool expiries = sides & ACCOUNT_FILTER_EXPIRIES;
    uint64_t *word = row_words(read, index);
    assert(*word != READ_BY_ID);
    assert(!(*word & READ_FIRST) || !expiries);
    if (*word & READ_FIRST) {
        struct transfer transfer;
        const enum forest_found found =
            read_referred(read->forest, GROOVE_TRANSFER, *word & ~READ_FIRST, &transfer);
        if (found != FOREST_FOUND) return found;
        if (!query_wants_transfer(read, &transfer)) return row_end(read, index, NULL);
        *word &= ~READ_FIRST;
    }
    struct account_event event;
    const enum forest_found found =
        read_referred(read->forest, GROOVE_ACCOUNT_EVENT, *word, &event);
    if (found != FOREST_FOUND) return found;
    assert(event.timestamp == *word);
    const bool debits = sides & ACCOUNT_FILTER_DEBITS &&
                        event.debit_account_timestamp == read->account_timestamp;
    const bool credits = sides & ACCOUNT_FILTER_CREDITS &&
                         event.credit_account_timestamp == read->account_timestamp;
    if (debits == credits) return row_other_account(read, index);
    const struct account_balance row = {
        .balances = debits ? event.debit : event.credit,
        .timestamp = event.timestamp,
    };
    return row_end(read, index, &row);
}

/* ---- Change events --------------------------------------------------------------------------- */

/* Fills in what the event tells, and notes what is still to be read. */
static enum forest_found
event_start(struct ledger_read *read, uint64_t *words, struct change_event *row)
{
    struct account_event event;
    const enum forest_found found =
        read_referred(read->forest, GROOVE_ACCOUNT_EVENT, words[0] & ~READ_FIRST, &event);
    if (found != FOREST_FOUND) return found;
    if (event.transfer_timestamp == 0 ||
        event.debit_account_timestamp == event.credit_account_timestamp) {
        return forest_refuse(read->forest, GROOVE_ACCOUNT_EVENT, event.timestamp);
    }
    *row = (struct change_event){
        .type = event.type,
        .debit_account = {.balances = event.debit, .flags = event.debit_flags},
        .credit_account = {.balances = event.credit, .flags = event.credit_flags},
        .timestamp = event.timestamp,
        .transfer_timestamp = event.transfer_timestamp,
        .debit_account_timestamp = event.debit_account_timestamp,
        .credit_account_timestamp = event.credit_account_timestamp,
    };
    words[0] = event.transfer_timestamp;
    words[1] = event.debit_account_timestamp;
    words[2] = event.credit_account_timestamp;
    return FOREST_FOUND;
}

static enum forest_found
event_transfer(struct ledger_read *read, uint64_t *word, struct change_event *row)
{
    struct transfer transfer;
    if (*word == READ_THERE) return FOREST_FOUND;
    const enum forest_found found = read_referred(read->forest, GROOVE_TRANSFER, *word, &transfer);
    if (found != FOREST_FOUND) return found;
    assert(transfer.timestamp == *word);
    row->transfer_id = transfer.id;
    row->transfer_amount = transfer.amount;
    row->transfer_pending_id = transfer.pending_id;
    row->transfer_user_data_128 = transfer.user_data_128;
    row->transfer_user_data_64 = transfer.user_data_64;
    row->transfer_user_data_32 = transfer.user_data_32;
    row->transfer_timeout = transfer.timeout;
    row->transfer_code = transfer.code;
    row->transfer_flags = transfer.flags;
    row->ledger = transfer.ledger;
    *word = READ_THERE;
    return FOREST_FOUND;
}

/* Fills in the fields of an account that never change. Balances and flags come from the event. */
static enum forest_found
event_account(struct ledger_read *read, uint64_t *word, struct change_event_account *row)
{
    struct account account;
    if (*word == READ_THERE) return FOREST_FOUND;
    const enum forest_found found = read_referred(read->forest, GROOVE_ACCOUNT, *word, &account);
    if (found != FOREST_FOUND) return found;
    assert(account.timestamp == *word);
    row->id = account.id;
    row->user_data_128 = account.user_data_128;
    row->user_data_64 = account.user_data_64;
    row->user_data_32 = account.user_data_32;
    row->code = account.code;
    *word = READ_THERE;
    return FOREST_FOUND;
}

/*
 * Finds the event for the row's id. Of the two rows of an id, the first is the transfer's own
 * event, the second that of its expiry. FOREST_ABSENT: there is none.
 */
static enum forest_found
event_by_id(struct ledger_read *read, uint32_t index, uint64_t *word)
{
    const uint32_t per_id = read_rows_per_id(read->question.operation);
    const bool expiry = (read->pass_id + index) % per_id != 0;
    struct transfer transfer;
    struct transfer_pending state;
    assert(per_id == 2);
    enum forest_found found = read_transfer_by_id(read, index, &transfer);
    if (found != FOREST_FOUND) return found;
    if (!expiry) {
        *word = transfer.timestamp | READ_FIRST;
        return FOREST_FOUND;
    }
    if (!(transfer.flags & TRANSFER_PENDING)) return FOREST_ABSENT;
    found = read_state(read, transfer.timestamp, &state);
    if (found != FOREST_FOUND) return found;
    if (state.status != PENDING_EXPIRED) return FOREST_ABSENT;
    *word = state.resolved_at | READ_FIRST;
    return FOREST_FOUND;
}

static enum forest_found
row_change_event(struct ledger_read *read, uint32_t index)
{
    uint64_t *words = row_words(read, index);
    struct change_event row;
    if (words[0] == READ_BY_ID) {
        const enum forest_found found = event_by_id(read, index, &words[0]);
        if (found == FOREST_WAIT || found == FOREST_LOST) return found;
        if (found == FOREST_ABSENT) {
            words[0] = READ_DROPPED;
            return FOREST_FOUND;
        }
    }
    if (words[0] & READ_FIRST) {
        const enum forest_found found = event_start(read, words, &row);
        if (found != FOREST_FOUND) return found;
    } else {
        memcpy(&row, row_bytes(read, index), sizeof(row));
    }
    const enum forest_found transfer = event_transfer(read, &words[0], &row);
    const enum forest_found debit = event_account(read, &words[1], &row.debit_account);
    const enum forest_found credit = event_account(read, &words[2], &row.credit_account);
    memcpy(row_bytes(read, index), &row, sizeof(row));
    if (transfer == FOREST_LOST || debit == FOREST_LOST || credit == FOREST_LOST) {
        return FOREST_LOST;
    }
    const bool there =
        transfer == FOREST_FOUND && debit == FOREST_FOUND && credit == FOREST_FOUND;
    return there ? FOREST_FOUND : FOREST_WAIT;
}

enum forest_found
read_row(struct ledger_read *read, uint32_t index)
{
    const uint64_t *words = row_words(read, index);
    assert(read->account_known);
    if (words[0] == READ_DROPPED) return FOREST_FOUND;
    const bool one_word = read_words_per_row(read->question.operation) == 1;
    if (one_word && words[0] == READ_THERE) return FOREST_FOUND;
    switch ((enum ledger_operation) read->question.operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_QUERY_ACCOUNTS: return row_account(read, index);
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_QUERY_TRANSFERS: return row_transfer(read, index);
    case LEDGER_QUERY_HOLDS: return row_hold(read, index);
    case LEDGER_LOOKUP_RESOLUTIONS: return row_resolution(read, index);
    case LEDGER_GET_ACCOUNT_BALANCES: return row_balance(read, index);
    case LEDGER_LOOKUP_CHANGE_EVENTS:
    case LEDGER_GET_CHANGE_EVENTS: return row_change_event(read, index);
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}
