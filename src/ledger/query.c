/* SPDX-License-Identifier: PostgreSQL */
/*
 * Queries: a filter becomes a plan of scans, and their timestamps become rows.
 *
 *      get_account_transfers, _balances   (debit side ∪ credit side) ∩ each field that is set;
 *                                         with expiries: ∪ those of either side
 *      query_accounts, query_transfers    each field that is set, intersected; none: all records
 *      query_holds                        the same over holds; or by expiry, without a plan
 *      get_change_events                  all events
 *
 * Every scan in the plan has the same window of timestamps and the same direction. Indexes of
 * 16-byte fields may give records with other values, so each record is compared with the filter.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

/* ---- Plans ----------------------------------------------------------------------------------- */

/*
 * Begins a plan for the window. A bound of 0 is open. Returns false if nothing between the bounds
 * existed at the instant.
 */
static bool
plan_start(
    struct ledger_read *read,
    uint64_t timestamp_min,
    uint64_t timestamp_max,
    enum scan_direction direction)
{
    assert(timestamp_min <= TIMESTAMP_MAX && timestamp_max <= TIMESTAMP_MAX);
    struct ledger_plan *plan = &read->plan;
    const uint64_t max = timestamp_max == 0 ? TIMESTAMP_MAX : timestamp_max;
    plan->forest = read->forest;
    plan->window = (struct scan_window){
        .timestamp_min = max_u64(timestamp_min, 1),
        .timestamp_max = min_u64(max, read->timestamp_max),
        .direction = direction,
    };
    plan->leaf_count = 0;
    plan->input_count = 0;
    plan->root = NULL;
    assert(plan->window.timestamp_max <= TIMESTAMP_MAX);
    return plan->window.timestamp_min <= plan->window.timestamp_max;
}

static struct scan *
plan_leaf(struct ledger_plan *plan, enum ledger_index index, u128 value)
{
    assert(plan->leaf_count < SCAN_INPUTS_MAX);
    assert(value != 0);
    assert(plan->window.timestamp_min <= plan->window.timestamp_max);
    struct scan *leaf = &plan->leaves[plan->leaf_count];
    plan->leaf_count += 1;
    scan_index(leaf, plan->forest, (uint32_t) index, value, &plan->window);
    return leaf;
}

static void
plan_require(struct ledger_plan *plan, struct scan *scan)
{
    assert(plan->input_count < SCAN_INPUTS_MAX);
    assert(!scan->standing);
    plan->inputs[plan->input_count] = scan;
    plan->input_count += 1;
}

/* Adds a scan for a field of the filter. A field of 0 filters nothing. */
static void
plan_filter(struct ledger_plan *plan, enum ledger_index index, u128 value)
{
    if (value != 0) plan_require(plan, plan_leaf(plan, index, value));
}

static void
plan_end(struct ledger_plan *plan, enum ledger_groove groove)
{
    assert(plan->root == NULL);
    assert(plan->input_count <= SCAN_INPUTS_MAX);
    assert(plan->leaf_count <= SCAN_INPUTS_MAX);
    if (plan->input_count == 0) {
        plan->root = &plan->all;
        scan_groove(plan->root, plan->forest, (uint32_t) groove, &plan->window);
    } else if (plan->input_count == 1) {
        plan->root = plan->inputs[0];
    } else {
        plan->root = &plan->all;
        scan_intersection(plan->root, plan->inputs, plan->input_count);
    }
}

/*
 * Events of transfers have the transfers' timestamps, so the same plan finds both. Expiries have
 * their own.
 */
static bool
plan_account_transfers(struct ledger_read *read)
{
    struct ledger_plan *plan = &read->plan;
    const struct account_filter *filter = &read->filter.account;
    const bool reversed = filter->flags & ACCOUNT_FILTER_REVERSED;
    const enum scan_direction direction = reversed ? SCAN_DESCENDING : SCAN_ASCENDING;
    const bool expiries = filter->flags & ACCOUNT_FILTER_EXPIRIES;
    const u128 account = read->account_timestamp;
    struct scan *sides[4];
    uint32_t side_count = 0;
    assert(account_filter_check(filter) == NULL);
    assert(read->account_known);

    if (!plan_start(read, filter->timestamp_min, filter->timestamp_max, direction)) return false;
    if (filter->flags & ACCOUNT_FILTER_DEBITS) {
        sides[side_count++] = plan_leaf(plan, INDEX_TRANSFER_DEBIT_ACCOUNT, filter->account_id);
        if (expiries) sides[side_count++] = plan_leaf(plan, INDEX_EXPIRY_DEBIT_ACCOUNT, account);
    }
    if (filter->flags & ACCOUNT_FILTER_CREDITS) {
        sides[side_count++] = plan_leaf(plan, INDEX_TRANSFER_CREDIT_ACCOUNT, filter->account_id);
        if (expiries) sides[side_count++] = plan_leaf(plan, INDEX_EXPIRY_CREDIT_ACCOUNT, account);
    }
    assert(side_count > 0);
    if (side_count == 1) {
        plan_require(plan, sides[0]);
    } else {
        scan_union(&plan->sides, sides, side_count);
        plan_require(plan, &plan->sides);
    }
    plan_filter(plan, INDEX_TRANSFER_USER_DATA_128, filter->user_data_128);
    plan_filter(plan, INDEX_TRANSFER_USER_DATA_64, filter->user_data_64);
    plan_filter(plan, INDEX_TRANSFER_USER_DATA_32, filter->user_data_32);
    plan_filter(plan, INDEX_TRANSFER_CODE, filter->code);
    plan_end(plan, GROOVE_TRANSFER);
    return true;
}

static bool
plan_query(struct ledger_read *read)
{
    struct ledger_plan *plan = &read->plan;
    const struct query_filter *filter = &read->filter.query;
    const bool accounts = read->question.operation == LEDGER_QUERY_ACCOUNTS;
    const bool reversed = filter->flags & QUERY_FILTER_REVERSED;
    const enum scan_direction direction = reversed ? SCAN_DESCENDING : SCAN_ASCENDING;
    assert(query_filter_check(filter) == NULL);
    assert(accounts || read->question.operation == LEDGER_QUERY_TRANSFERS);

    if (!plan_start(read, filter->timestamp_min, filter->timestamp_max, direction)) return false;
    if (accounts) {
        plan_filter(plan, INDEX_ACCOUNT_USER_DATA_128, filter->user_data_128);
        plan_filter(plan, INDEX_ACCOUNT_USER_DATA_64, filter->user_data_64);
        plan_filter(plan, INDEX_ACCOUNT_USER_DATA_32, filter->user_data_32);
        plan_filter(plan, INDEX_ACCOUNT_LEDGER, filter->ledger);
        plan_filter(plan, INDEX_ACCOUNT_CODE, filter->code);
    } else {
        plan_filter(plan, INDEX_TRANSFER_USER_DATA_128, filter->user_data_128);
        plan_filter(plan, INDEX_TRANSFER_USER_DATA_64, filter->user_data_64);
        plan_filter(plan, INDEX_TRANSFER_USER_DATA_32, filter->user_data_32);
        plan_filter(plan, INDEX_TRANSFER_LEDGER, filter->ledger);
        plan_filter(plan, INDEX_TRANSFER_CODE, filter->code);
    }
    plan_end(plan, accounts ? GROOVE_ACCOUNT : GROOVE_TRANSFER);
    return true;
}

bool
query_by_expiry(const struct ledger_read *read)
{
    return read->question.operation == LEDGER_QUERY_HOLDS &&
           read->filter.hold.flags & HOLD_FILTER_BY_EXPIRY;
}

/*
 * Where a list of holds by expiry begins. All holds up to the place that the newest pulse came to
 * are resolved (L9), so a list of open holds begins behind it. At an instant of the past some of
 * them were still open; but such a read is a later page, and begins where the first page ended,
 * which is behind the pulse of its time.
 */
static void
start_by_expiry(struct ledger_read *read)
{
    assert(query_by_expiry(read));
    assert(!(read->filter.hold.flags & HOLD_FILTER_REVERSED));
    const struct hold_filter *filter = &read->filter.hold;
    const struct forest_range pulsed = ledger_pulsed(read->forest);
    const bool now =
        read->instant.event_newest == forest_newest(read->forest, GROOVE_ACCOUNT_EVENT);
    struct forest_range *at = &read->expiry;
    *at = (struct forest_range){.value = filter->expires_min, .timestamp = filter->after_timestamp};
    const bool before = at->value < pulsed.value ||
                        (at->value == pulsed.value && at->timestamp < pulsed.timestamp);
    if (filter->states == 1 << PENDING_PENDING && now && before) *at = pulsed;
}

/*
 * All holds of an account are of one ledger, so then the ledger is compared rather than scanned.
 * With neither account nor ledger, all holds are looked at.
 */
static bool
plan_holds(struct ledger_read *read)
{
    struct ledger_plan *plan = &read->plan;
    const struct hold_filter *filter = &read->filter.hold;
    const bool reversed = filter->flags & HOLD_FILTER_REVERSED;
    const enum scan_direction direction = reversed ? SCAN_DESCENDING : SCAN_ASCENDING;
    assert(read->question.operation == LEDGER_QUERY_HOLDS);
    assert(hold_filter_check(filter) == NULL);

    if (!plan_start(read, filter->timestamp_min, filter->timestamp_max, direction)) return false;
    if (query_by_expiry(read)) {
        start_by_expiry(read);
        return true;
    }
    plan_filter(plan, INDEX_HOLD_DEBIT_ACCOUNT, filter->debit_account_id);
    plan_filter(plan, INDEX_HOLD_CREDIT_ACCOUNT, filter->credit_account_id);
    if (plan->input_count == 0) plan_filter(plan, INDEX_HOLD_LEDGER, filter->ledger);
    if (plan->input_count == 0) {
        struct scan *holds = &plan->leaves[plan->leaf_count];
        plan->leaf_count += 1;
        scan_groove(holds, plan->forest, GROOVE_TRANSFER_PENDING, &plan->window);
        plan_require(plan, holds);
    }
    plan_filter(plan, INDEX_TRANSFER_USER_DATA_128, filter->user_data_128);
    plan_filter(plan, INDEX_TRANSFER_USER_DATA_64, filter->user_data_64);
    plan_filter(plan, INDEX_TRANSFER_USER_DATA_32, filter->user_data_32);
    plan_filter(plan, INDEX_TRANSFER_CODE, filter->code);
    plan_end(plan, GROOVE_TRANSFER);
    return true;
}

static bool
plan_change_events(struct ledger_read *read)
{
    const struct change_events_filter *filter = &read->filter.change_events;
    const bool reversed = filter->flags & CHANGE_EVENTS_FILTER_REVERSED;
    const enum scan_direction direction = reversed ? SCAN_DESCENDING : SCAN_ASCENDING;
    assert(read->question.operation == LEDGER_GET_CHANGE_EVENTS);
    assert(change_events_filter_check(filter) == NULL);
    if (!plan_start(read, filter->timestamp_min, filter->timestamp_max, direction)) return false;
    plan_end(&read->plan, GROOVE_ACCOUNT_EVENT);
    return true;
}

bool
query_plan(struct ledger_read *read)
{
    assert(read->timestamp_max <= TIMESTAMP_MAX);
    switch ((enum ledger_operation) read->question.operation) {
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES: return plan_account_transfers(read);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS: return plan_query(read);
    case LEDGER_QUERY_HOLDS: return plan_holds(read);
    case LEDGER_GET_CHANGE_EVENTS: return plan_change_events(read);
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS:
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

uint32_t
query_limit(const struct ledger_read *read)
{
    switch ((enum ledger_operation) read->question.operation) {
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES: return read->filter.account.limit;
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS: return read->filter.query.limit;
    case LEDGER_QUERY_HOLDS: return read->filter.hold.limit;
    case LEDGER_GET_CHANGE_EVENTS: return read->filter.change_events.limit;
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS: return RESULTS_MAX;
    case LEDGER_CREATE_ACCOUNTS:
    case LEDGER_CREATE_TRANSFERS:
    case LEDGER_VERIFY: break;
    }
    unreachable();
}

/* ---- Filters --------------------------------------------------------------------------------- */

/* Does this field of the filter want the value? A field of 0 wants every value. */
static bool
wants(u128 wanted, u128 value)
{
    return wanted == 0 || wanted == value;
}

bool
query_wants_account(const struct ledger_read *read, const struct account *account)
{
    const struct query_filter *filter = &read->filter.query;
    assert(read->question.operation == LEDGER_QUERY_ACCOUNTS);
    assert(account->timestamp <= read->timestamp_max);
    return wants(filter->user_data_128, account->user_data_128) &&
           wants(filter->user_data_64, account->user_data_64) &&
           wants(filter->user_data_32, account->user_data_32) &&
           wants(filter->ledger, account->ledger) && wants(filter->code, account->code);
}

bool
query_compares_transfer(const struct ledger_read *read)
{
    const struct account_filter *filter = &read->filter.account;
    assert(read->question.operation == LEDGER_GET_ACCOUNT_BALANCES);
    return filter->user_data_128 != 0 || filter->user_data_64 != 0 || filter->user_data_32 != 0 ||
           filter->code != 0;
}

static bool
account_filter_wants(const struct account_filter *filter, const struct transfer *transfer)
{
    assert(filter->account_id != 0);
    const bool debit =
        filter->flags & ACCOUNT_FILTER_DEBITS && transfer->debit_account_id == filter->account_id;
    const bool credit =
        filter->flags & ACCOUNT_FILTER_CREDITS && transfer->credit_account_id == filter->account_id;
    return (debit || credit) && wants(filter->user_data_128, transfer->user_data_128) &&
           wants(filter->user_data_64, transfer->user_data_64) &&
           wants(filter->user_data_32, transfer->user_data_32) &&
           wants(filter->code, transfer->code);
}

bool
query_wants_state(
    const struct ledger_read *read, const struct transfer_pending *state, enum pending_status now)
{
    const struct hold_filter *filter = &read->filter.hold;
    assert(read->question.operation == LEDGER_QUERY_HOLDS);
    assert(now >= PENDING_PENDING && now <= PENDING_EXPIRED);
    if (filter->states != 0 && !(filter->states & 1 << now)) return false;
    if (filter->expires_min != 0 && state->expires_at < filter->expires_min) return false;
    if (filter->expires_max == 0) return true;
    return state->expires_at != 0 && state->expires_at <= filter->expires_max;
}

static bool
hold_filter_wants(const struct hold_filter *filter, const struct transfer *transfer)
{
    assert(filter->limit != 0);
    assert(transfer->timestamp > 0);
    return wants(filter->debit_account_id, transfer->debit_account_id) &&
           wants(filter->credit_account_id, transfer->credit_account_id) &&
           wants(filter->user_data_128, transfer->user_data_128) &&
           wants(filter->user_data_64, transfer->user_data_64) &&
           wants(filter->user_data_32, transfer->user_data_32) &&
           wants(filter->ledger, transfer->ledger) && wants(filter->code, transfer->code);
}

bool
query_wants_transfer(const struct ledger_read *read, const struct transfer *transfer)
{
    const struct query_filter *filter = &read->filter.query;
    assert(transfer->timestamp <= read->timestamp_max);
    assert(read->question.operation != LEDGER_QUERY_ACCOUNTS);
    if (read->question.operation == LEDGER_QUERY_HOLDS) {
        return hold_filter_wants(&read->filter.hold, transfer);
    }
    if (read->question.operation != LEDGER_QUERY_TRANSFERS) {
        return account_filter_wants(&read->filter.account, transfer);
    }
    return wants(filter->user_data_128, transfer->user_data_128) &&
           wants(filter->user_data_64, transfer->user_data_64) &&
           wants(filter->user_data_32, transfer->user_data_32) &&
           wants(filter->ledger, transfer->ledger) && wants(filter->code, transfer->code);
}
