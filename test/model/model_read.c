/* SPDX-License-Identifier: PostgreSQL */
/* The model's reads: look at every record, in order, and take those that the filter means. */
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

static bool
all_zero(const void *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        if (((const uint8_t *) bytes)[i] != 0) return false;
    }
    return true;
}

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
    const uint32_t known = sides | ACCOUNT_FILTER_REVERSED;
    return filter->account_id != 0 && filter->account_id != U128_MAX && filter->limit != 0 &&
           (filter->flags & sides) != 0 && (filter->flags & ~known) == 0 &&
           all_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

static bool
query_filter_valid(const struct query_filter *filter)
{
    const uint32_t known = QUERY_FILTER_REVERSED;
    return filter->limit != 0 && (filter->flags & ~known) == 0 &&
           all_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

static bool
change_events_filter_valid(const struct change_events_filter *filter)
{
    return filter->limit != 0 && all_zero(filter->reserved, sizeof(filter->reserved)) &&
           window_valid(filter->timestamp_min, filter->timestamp_max);
}

bool
model_read_valid(uint8_t operation, const void *input, uint32_t size)
{
    switch (operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
        return size % sizeof(u128) == 0 && size / sizeof(u128) <= RESULTS_MAX;
    case LEDGER_GET_ACCOUNT_TRANSFERS:
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

static void
lookup(
    const struct model *model,
    uint8_t operation,
    const uint8_t *input,
    uint32_t size,
    struct answer *answer)
{
    for (uint32_t offset = 0; offset < size; offset += sizeof(u128)) {
        if (answer_full(answer, EVENT_SIZE)) return;
        u128 id;
        memcpy(&id, input + offset, sizeof(id));
        const void *row = operation == LEDGER_LOOKUP_ACCOUNTS
                              ? (const void *) model_account(model, id)
                              : (const void *) model_transfer(model, id);
        if (row != NULL) answer_add(answer, row, EVENT_SIZE);
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

    const uint32_t count = model->transfer_ids.count;
    for (uint32_t n = 0; n < count; n++) {
        if (answer_full(answer, EVENT_SIZE)) return;
        const uint32_t i = filter->flags & ACCOUNT_FILTER_REVERSED ? count - 1 - n : n;
        const struct transfer *transfer = &model->transfers[i];
        if (!account_filter_matches(filter, transfer)) continue;
        if (balances) {
            const struct account_balance row = balance_after(model, transfer, filter->account_id);
            answer_add(answer, &row, sizeof(row));
        } else {
            answer_add(answer, transfer, sizeof(*transfer));
        }
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
        if (answer_full(answer, EVENT_SIZE)) return;
        const struct transfer *transfer =
            &model->transfers[filter->flags & QUERY_FILTER_REVERSED ? count - 1 - n : n];
        if (filter->user_data_128 && transfer->user_data_128 != filter->user_data_128) continue;
        if (filter->user_data_64 && transfer->user_data_64 != filter->user_data_64) continue;
        if (filter->user_data_32 && transfer->user_data_32 != filter->user_data_32) continue;
        if (filter->ledger && transfer->ledger != filter->ledger) continue;
        if (filter->code && transfer->code != filter->code) continue;
        if (!window_has(filter->timestamp_min, filter->timestamp_max, transfer->timestamp))
            continue;
        answer_add(answer, transfer, sizeof(*transfer));
    }
}

static void
get_change_events(
    const struct model *model, const struct change_events_filter *filter, struct answer *answer)
{
    for (uint32_t i = 0; i < model->event_count; i++) {
        const struct change_event *event = &model->events[i];
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
    case LEDGER_LOOKUP_TRANSFERS: lookup(model, operation, input, size, &answer); break;
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        answer.rows_max = min_u32(RESULTS_MAX, ((const struct account_filter *) input)->limit);
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
model_past_init(struct model_past *past, uint32_t accounts_max)
{
    past->accounts = calloc(accounts_max, sizeof(struct account));
    assert(past->accounts != NULL);
    past->accounts_max = accounts_max;
}

void
model_past_free(struct model_past *past)
{
    free(past->accounts);
    past->accounts = NULL;
}

void
model_past_take(struct model_past *past, const struct model *model)
{
    const uint32_t count = model->account_ids.count;
    assert(count <= past->accounts_max);
    memcpy(past->accounts, model->accounts, count * sizeof(struct account));
    past->model = *model;
    past->model.accounts = past->accounts;
}
