/* SPDX-License-Identifier: PostgreSQL */
/* The model's reads: look at every record, in order, and take those that the filter means. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "model/model.h"

static bool
window_valid(uint64_t timestamp_min, uint64_t timestamp_max)
{
    if (timestamp_min > TIMESTAMP_MAX || timestamp_max > TIMESTAMP_MAX) return false;
    return timestamp_max == 0 || timestamp_min <= timestamp_max;
}

static bool
window_has(uint64_t timestamp_min, uint64_t timestamp_max, uint64_t timestamp)
{
    return timestamp >= timestamp_min && (timestamp_max == 0 || timestamp <= timestamp_max);
}

static bool
account_filter_valid(const struct account_filter *filter)
{
    const uint32_t sides = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS;
    const uint32_t known = sides | ACCOUNT_FILTER_REVERSED | ACCOUNT_FILTER_EXPIRIES;
    const bool filters_transfers = filter->user_data_128 || filter->user_data_64 ||
                                   filter->user_data_32 || filter->code;
    if (filter->flags & ACCOUNT_FILTER_EXPIRIES && filters_transfers) return false;
    return filter->account_id != 0 && filter->account_id != U128_MAX && filter->limit != 0 &&
           (filter->flags & sides) != 0 && (filter->flags & ~known) == 0 &&
           bytes_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

static bool
query_filter_valid(const struct query_filter *filter)
{
    const uint32_t known = QUERY_FILTER_REVERSED;
    return filter->limit != 0 && (filter->flags & ~known) == 0 &&
           bytes_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

static bool
hold_filter_valid(const struct hold_filter *filter)
{
    const uint32_t known = HOLD_FILTER_REVERSED | HOLD_FILTER_BY_EXPIRY;
    const bool by_expiry = (filter->flags & HOLD_FILTER_BY_EXPIRY) != 0;
    if (by_expiry && filter->flags & HOLD_FILTER_REVERSED) return false;
    if (filter->after_timestamp != 0 && !by_expiry) return false;
    return filter->limit != 0 && (filter->flags & ~known) == 0 && (filter->states & ~0x1e) == 0 &&
           filter->debit_account_id != U128_MAX && filter->credit_account_id != U128_MAX &&
           filter->after_timestamp <= TIMESTAMP_MAX &&
           bytes_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->expires_min, filter->expires_max) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

static bool
change_events_filter_valid(const struct change_events_filter *filter)
{
    if (filter->flags > CHANGE_EVENTS_FILTER_REVERSED) return false;
    return filter->limit != 0 && bytes_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

bool
model_read_valid(uint8_t operation, const void *input, uint32_t size)
{
    switch (operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
        return size % sizeof(u128) == 0 && size / sizeof(u128) <= RESULTS_MAX;
    case LEDGER_LOOKUP_CHANGE_EVENTS:
        return size % sizeof(u128) == 0 && size / sizeof(u128) <= CHANGE_EVENTS_MAX / 2;
    case LEDGER_QUERY_HOLDS:
        return size == sizeof(struct hold_filter) && hold_filter_valid(input);
    case LEDGER_GET_ACCOUNT_TRANSFERS:
        return size == sizeof(struct account_filter) && account_filter_valid(input) &&
               !(((const struct account_filter *) input)->flags & ACCOUNT_FILTER_EXPIRIES);
    case LEDGER_GET_ACCOUNT_BALANCES:
        return size == sizeof(struct account_filter) && account_filter_valid(input);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS:
        return size == sizeof(struct query_filter) && query_filter_valid(input);
    case LEDGER_GET_CHANGE_EVENTS:
        return size == sizeof(struct change_events_filter) && change_events_filter_valid(input);
    default: return false;
    }
}

/* ---- Answers --------------------------------------------------------------------------------- */

struct answer {
    uint8_t *bytes;
    uint32_t size;
    uint32_t size_max;
    uint32_t rows;
    uint32_t rows_max;
};

static bool
answer_full(const struct answer *answer, uint32_t row_size)
{
    return answer->rows == answer->rows_max || answer->size + row_size > answer->size_max;
}

static void
answer_add(struct answer *answer, const void *row, uint32_t row_size)
{
    assert(!answer_full(answer, row_size));
    memcpy(answer->bytes + answer->size, row, row_size);
    answer->size += row_size;
    answer->rows += 1;
}

/* Transfers with what became of those that are holds. */
static struct transfer_row
row_of(const struct model *model, uint32_t index)
{
    const struct transfer *transfer = &model->transfers[index];
    struct transfer_row row = {.transfer = *transfer, .state = model->statuses[index]};
    if (row.state == PENDING_NONE) return row;
    row.expires_at = transfer->timeout ? transfer->timestamp + transfer->timeout * NS_PER_S : 0;
    /* A model of the past shares what became of holds later. */
    const uint64_t newest = model->events[model->event_count - 1].timestamp;
    if (row.state != PENDING_PENDING && model->resolved_at[index] > newest) {
        row.state = PENDING_PENDING;
    }
    if (row.state == PENDING_PENDING) return row;
    row.resolved_at = model->resolved_at[index];
    row.resolved_by = model->resolved_by[index];
    return row;
}

static void
answer_add_transfer(
    const struct model *model, const struct transfer *transfer, struct answer *answer)
{
    const struct transfer_row row = row_of(model, (uint32_t) (transfer - model->transfers));
    answer_add(answer, &row, sizeof(row));
}

/* The transfer that posted or voided the hold, or NULL. */
static const struct transfer *
resolution_of(const struct model *model, u128 hold_id)
{
    if (hold_id == 0) return NULL;
    for (uint32_t i = 0; i < model->transfer_ids.count; i++) {
        if (model->transfers[i].pending_id == hold_id) return &model->transfers[i];
    }
    return NULL;
}

static void
lookup(
    const struct model *model,
    uint8_t operation,
    const uint8_t *input,
    uint32_t size,
    struct answer *answer)
{
    for (uint32_t offset = 0; offset < size; offset += sizeof(u128)) {
        const bool accounts = operation == LEDGER_LOOKUP_ACCOUNTS;
        if (answer_full(answer, accounts ? EVENT_SIZE : sizeof(struct transfer_row))) return;
        u128 id;
        memcpy(&id, input + offset, sizeof(id));
        if (accounts) {
            const struct account *account = model_account(model, id);
            if (account != NULL) answer_add(answer, account, sizeof(*account));
            continue;
        }
        const struct transfer *transfer = model_transfer(model, id);
        if (operation == LEDGER_LOOKUP_RESOLUTIONS) {
            transfer = resolution_of(model, id);
        }
        if (transfer != NULL) answer_add_transfer(model, transfer, answer);
    }
}

/* All events of the transfers. */
static void
lookup_events(
    const struct model *model, const uint8_t *input, uint32_t size, struct answer *answer)
{
    for (uint32_t offset = 0; offset < size; offset += sizeof(u128)) {
        u128 id;
        memcpy(&id, input + offset, sizeof(id));
        for (uint32_t i = 0; i < model->event_count; i++) {
            if (model->events[i].transfer_id != id) continue;
            if (answer_full(answer, sizeof(struct change_event))) return;
            answer_add(answer, &model->events[i], sizeof(struct change_event));
        }
    }
}

static bool
account_filter_matches(const struct account_filter *filter, const struct transfer *transfer)
{
    const bool debits = (filter->flags & ACCOUNT_FILTER_DEBITS) != 0;
    const bool credits = (filter->flags & ACCOUNT_FILTER_CREDITS) != 0;
    if (!(debits && transfer->debit_account_id == filter->account_id) &&
        !(credits && transfer->credit_account_id == filter->account_id)) {
        return false;
    }
    if (filter->user_data_128 && transfer->user_data_128 != filter->user_data_128) return false;
    if (filter->user_data_64 && transfer->user_data_64 != filter->user_data_64) return false;
    if (filter->user_data_32 && transfer->user_data_32 != filter->user_data_32) return false;
    if (filter->code && transfer->code != filter->code) return false;
    return window_has(filter->timestamp_min, filter->timestamp_max, transfer->timestamp);
}

static struct account_balance
balance_after(const struct model *model, const struct transfer *transfer, u128 account_id)
{
    for (uint32_t i = 0; i < model->event_count; i++) {
        const struct change_event *event = &model->events[i];
        if (event->timestamp != transfer->timestamp) continue;
        const struct change_event_account *side =
            event->debit_account.id == account_id ? &event->debit_account : &event->credit_account;
        assert(side->id == account_id);
        return (struct account_balance){
            .balances = side->balances,
            .timestamp = event->timestamp,
        };
    }
    unreachable();
}

static void
get_account_transfers(
    const struct model *model,
    const struct account_filter *filter,
    bool balances,
    struct answer *answer)
{
    const struct account *account = model_account(model, filter->account_id);
    if (balances && (account == NULL || !(account->flags & ACCOUNT_HISTORY))) return;

    const uint32_t row_size =
        balances ? sizeof(struct account_balance) : sizeof(struct transfer_row);
    const uint32_t count = model->transfer_ids.count;
    for (uint32_t n = 0; n < count; n++) {
        if (answer_full(answer, row_size)) return;
        const uint32_t i = filter->flags & ACCOUNT_FILTER_REVERSED ? count - 1 - n : n;
        const struct transfer *transfer = &model->transfers[i];
        if (!account_filter_matches(filter, transfer)) continue;
        if (balances) {
            const struct account_balance row = balance_after(model, transfer, filter->account_id);
            answer_add(answer, &row, sizeof(row));
        } else {
            answer_add_transfer(model, transfer, answer);
        }
    }
}

/* After each event of the account, expiries included. */
static void
get_all_balances(
    const struct model *model, const struct account_filter *filter, struct answer *answer)
{
    for (uint32_t n = 0; n < model->event_count; n++) {
        const uint32_t i =
            filter->flags & ACCOUNT_FILTER_REVERSED ? model->event_count - 1 - n : n;
        const struct change_event *event = &model->events[i];
        const bool debits = filter->flags & ACCOUNT_FILTER_DEBITS &&
                            event->debit_account.id == filter->account_id;
        const bool credits = filter->flags & ACCOUNT_FILTER_CREDITS &&
                             event->credit_account.id == filter->account_id;
        if (!debits && !credits) continue;
        if (!window_has(filter->timestamp_min, filter->timestamp_max, event->timestamp)) continue;
        if (answer_full(answer, sizeof(struct account_balance))) return;
        const struct account_balance row = {
            .balances = debits ? event->debit_account.balances : event->credit_account.balances,
            .timestamp = event->timestamp,
        };
        answer_add(answer, &row, sizeof(row));
    }
}

static void
query_accounts(const struct model *model, const struct query_filter *filter, struct answer *answer)
{
    const uint32_t count = model->account_ids.count;
    for (uint32_t n = 0; n < count; n++) {
        if (answer_full(answer, EVENT_SIZE)) return;
        const struct account *account =
            &model->accounts[filter->flags & QUERY_FILTER_REVERSED ? count - 1 - n : n];
        if (filter->user_data_128 && account->user_data_128 != filter->user_data_128) continue;
        if (filter->user_data_64 && account->user_data_64 != filter->user_data_64) continue;
        if (filter->user_data_32 && account->user_data_32 != filter->user_data_32) continue;
        if (filter->ledger && account->ledger != filter->ledger) continue;
        if (filter->code && account->code != filter->code) continue;
        if (!window_has(filter->timestamp_min, filter->timestamp_max, account->timestamp)) continue;
        answer_add(answer, account, sizeof(*account));
    }
}

static void
query_transfers(const struct model *model, const struct query_filter *filter, struct answer *answer)
{
    const uint32_t count = model->transfer_ids.count;
    for (uint32_t n = 0; n < count; n++) {
        if (answer_full(answer, sizeof(struct transfer_row))) return;
        const struct transfer *transfer =
            &model->transfers[filter->flags & QUERY_FILTER_REVERSED ? count - 1 - n : n];
        if (filter->user_data_128 && transfer->user_data_128 != filter->user_data_128) continue;
        if (filter->user_data_64 && transfer->user_data_64 != filter->user_data_64) continue;
        if (filter->user_data_32 && transfer->user_data_32 != filter->user_data_32) continue;
        if (filter->ledger && transfer->ledger != filter->ledger) continue;
        if (filter->code && transfer->code != filter->code) continue;
        if (!window_has(filter->timestamp_min, filter->timestamp_max, transfer->timestamp))
            continue;
        answer_add_transfer(model, transfer, answer);
    }
}

static bool
hold_filter_matches(const struct hold_filter *filter, const struct transfer_row *row)
{
    const struct transfer *hold = &row->transfer;
    if (!(hold->flags & TRANSFER_PENDING)) return false;
    if (filter->debit_account_id && hold->debit_account_id != filter->debit_account_id)
        return false;
    if (filter->credit_account_id && hold->credit_account_id != filter->credit_account_id)
        return false;
    if (filter->user_data_128 && hold->user_data_128 != filter->user_data_128) return false;
    if (filter->user_data_64 && hold->user_data_64 != filter->user_data_64) return false;
    if (filter->user_data_32 && hold->user_data_32 != filter->user_data_32) return false;
    if (filter->ledger && hold->ledger != filter->ledger) return false;
    if (filter->code && hold->code != filter->code) return false;
    if (filter->states && !(filter->states >> row->state & 1)) return false;
    const bool expiry_asked = filter->expires_min != 0 || filter->expires_max != 0 ||
                              filter->flags & HOLD_FILTER_BY_EXPIRY;
    if (expiry_asked && row->expires_at == 0) return false;
    if (expiry_asked && !window_has(filter->expires_min, filter->expires_max, row->expires_at))
        return false;
    if (filter->after_timestamp && row->expires_at == filter->expires_min &&
        hold->timestamp <= filter->after_timestamp)
        return false;
    return window_has(filter->timestamp_min, filter->timestamp_max, hold->timestamp);
}

/* The hold that comes next after `after` (the first, if NULL), in the order of expiry. */
static const struct transfer *
next_by_expiry(
    const struct model *model, const struct hold_filter *filter, const struct transfer_row *after)
{
    const struct transfer *best = NULL;
    uint64_t best_expires_at = 0;
    for (uint32_t i = 0; i < model->transfer_ids.count; i++) {
        if (!(model->transfers[i].flags & TRANSFER_PENDING)) continue;
        const struct transfer_row row = row_of(model, i);
        const uint64_t timestamp = row.transfer.timestamp;
        if (!hold_filter_matches(filter, &row)) continue;
        if (after != NULL && (row.expires_at < after->expires_at ||
                              (row.expires_at == after->expires_at &&
                               timestamp <= after->transfer.timestamp)))
            continue;
        if (best != NULL && row.expires_at >= best_expires_at) continue;
        best = &model->transfers[i];
        best_expires_at = row.expires_at;
    }
    return best;
}

static void
query_holds(const struct model *model, const struct hold_filter *filter, struct answer *answer)
{
    const uint32_t count = model->transfer_ids.count;
    struct transfer_row row = {0};
    const struct transfer *hold = NULL;
    if (filter->flags & HOLD_FILTER_BY_EXPIRY) {
        while (!answer_full(answer, sizeof(row))) {
            hold = next_by_expiry(model, filter, hold == NULL ? NULL : &row);
            if (hold == NULL) return;
            row = row_of(model, (uint32_t) (hold - model->transfers));
            answer_add(answer, &row, sizeof(row));
        }
        return;
    }
    for (uint32_t n = 0; n < count && !answer_full(answer, sizeof(row)); n++) {
        const uint32_t i = filter->flags & HOLD_FILTER_REVERSED ? count - 1 - n : n;
        if (!(model->transfers[i].flags & TRANSFER_PENDING)) continue;
        row = row_of(model, i);
        if (hold_filter_matches(filter, &row)) answer_add(answer, &row, sizeof(row));
    }
}

static void
get_change_events(
    const struct model *model, const struct change_events_filter *filter, struct answer *answer)
{
    for (uint32_t i = 0; i < model->event_count; i++) {
        const bool reversed = filter->flags & CHANGE_EVENTS_FILTER_REVERSED;
        const struct change_event *event =
            &model->events[reversed ? model->event_count - 1 - i : i];
        if (answer_full(answer, sizeof(*event))) return;
        if (!window_has(filter->timestamp_min, filter->timestamp_max, event->timestamp)) continue;
        answer_add(answer, event, sizeof(*event));
    }
}

static uint32_t
min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t
model_read(
    const struct model *model,
    uint8_t operation,
    const void *input,
    uint32_t size,
    void *reply,
    uint32_t reply_size_max)
{
    struct answer answer = {.bytes = reply, .size_max = reply_size_max, .rows_max = RESULTS_MAX};
    if (!model_read_valid(operation, input, size)) return 0;
    switch (operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_TRANSFERS: lookup(model, operation, input, size, &answer); break;
    case LEDGER_LOOKUP_CHANGE_EVENTS:
        answer.rows_max = CHANGE_EVENTS_MAX;
        lookup_events(model, input, size, &answer);
        break;
    case LEDGER_QUERY_HOLDS:
        answer.rows_max = min_u32(RESULTS_MAX, ((const struct hold_filter *) input)->limit);
        query_holds(model, input, &answer);
        break;
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        answer.rows_max = min_u32(RESULTS_MAX, ((const struct account_filter *) input)->limit);
        if (((const struct account_filter *) input)->flags & ACCOUNT_FILTER_EXPIRIES) {
            get_all_balances(model, input, &answer);
            break;
        }
        get_account_transfers(model, input, operation == LEDGER_GET_ACCOUNT_BALANCES, &answer);
        break;
    case LEDGER_QUERY_ACCOUNTS:
        answer.rows_max = min_u32(RESULTS_MAX, ((const struct query_filter *) input)->limit);
        query_accounts(model, input, &answer);
        break;
    case LEDGER_QUERY_TRANSFERS:
        answer.rows_max = min_u32(RESULTS_MAX, ((const struct query_filter *) input)->limit);
        query_transfers(model, input, &answer);
        break;
    case LEDGER_GET_CHANGE_EVENTS:
        answer.rows_max =
            min_u32(CHANGE_EVENTS_MAX, ((const struct change_events_filter *) input)->limit);
        get_change_events(model, input, &answer);
        break;
    default: unreachable();
    }
    return answer.size;
}

/* ---- What it was earlier --------------------------------------------------------------------- */

void
model_past_init(struct model_past *past, uint32_t accounts_max, uint32_t transfers_max)
{
    past->accounts = calloc(accounts_max, sizeof(struct account));
    past->statuses = calloc(transfers_max, sizeof(past->statuses[0]));
    assert(past->accounts != NULL && past->statuses != NULL);
    past->accounts_max = accounts_max;
    past->transfers_max = transfers_max;
}

void
model_past_free(struct model_past *past)
{
    free(past->accounts);
    free(past->statuses);
    past->accounts = NULL;
    past->statuses = NULL;
}

void
model_past_take(struct model_past *past, const struct model *model)
{
    const uint32_t accounts = model->account_ids.count;
    const uint32_t transfers = model->transfer_ids.count;
    assert(accounts <= past->accounts_max);
    assert(transfers <= past->transfers_max);
    memcpy(past->accounts, model->accounts, accounts * sizeof(struct account));
    memcpy(past->statuses, model->statuses, transfers * sizeof(past->statuses[0]));
    past->model = *model;
    past->model.accounts = past->accounts;
    past->model.statuses = past->statuses;
}
