/* SPDX-License-Identifier: PostgreSQL */
/*
 * Queries: a filter becomes a plan of scans, whose timestamps become rows.
 *
 *     get_account_transfers, _balances   (debit side ∪ credit side) ∩ each field that is set
 *     query_accounts, query_transfers    each field that is set, intersected; none: the whole tree
 *     get_change_events                  the whole tree of events
 *
 * The window of timestamps and the direction are those of every scan in the plan.
 */
#include <stddef.h>
#include <string.h>

#include "ledger/ledger_internal.h"
#include "lsm/scan.h"

/* Scans point at each other: a plan stays where it is made. */
struct plan {
    const struct forest *forest;
    struct scan_window window;
    struct scan leaves[SCAN_INPUTS_MAX];
    uint32_t leaf_count;
    struct scan sides; /* Debits or credits of an account. */
    struct scan *inputs[SCAN_INPUTS_MAX];
    uint32_t input_count;
    struct scan all;
    struct scan *root; /* What to read. */
    uint32_t limit;
};

/* Bounds of 0 are open. */
static void
plan_start(
    struct plan *plan,
    const struct forest *forest,
    uint64_t timestamp_min,
    uint64_t timestamp_max,
    enum scan_direction direction)
{
    plan->forest = forest;
    plan->window = (struct scan_window){
        .timestamp_min = max_u64(timestamp_min, 1),
        .timestamp_max = timestamp_max == 0 ? TIMESTAMP_MAX : timestamp_max,
        .direction = direction,
    };
    plan->leaf_count = 0;
    plan->input_count = 0;
    plan->root = NULL;
    assert(plan->window.timestamp_min <= plan->window.timestamp_max);
    assert(plan->window.timestamp_max <= TIMESTAMP_MAX);
}

static struct scan *
plan_leaf(struct plan *plan, enum ledger_index index, u128 value)
{
    assert(plan->leaf_count < SCAN_INPUTS_MAX);
    assert(value != 0);
    struct scan *leaf = &plan->leaves[plan->leaf_count];
    plan->leaf_count += 1;
    scan_index(leaf, plan->forest, (uint32_t) index, value, &plan->window);
    return leaf;
}

static void
plan_require(struct plan *plan, struct scan *scan)
{
    assert(plan->input_count < SCAN_INPUTS_MAX);
    plan->inputs[plan->input_count] = scan;
    plan->input_count += 1;
}

/* A field of the filter: 0 filters nothing. */
static void
plan_filter(struct plan *plan, enum ledger_index index, u128 value)
{
    if (value != 0) plan_require(plan, plan_leaf(plan, index, value));
}

static void
plan_end(struct plan *plan, enum ledger_tree tree)
{
    assert(plan->root == NULL);
    if (plan->input_count == 0) {
        plan->root = &plan->all;
        scan_tree(plan->root, plan->forest, (uint32_t) tree, &plan->window);
    } else if (plan->input_count == 1) {
        plan->root = plan->inputs[0];
    } else {
        plan->root = &plan->all;
        scan_intersection(plan->root, plan->inputs, plan->input_count);
    }
}

/* The next record of the tree, or NULL at the end or when the reply is full. */
static const void *
plan_next(struct plan *plan, enum ledger_tree tree, const struct rows *rows)
{
    uint64_t timestamp;
    if (rows->count == plan->limit || rows_full(rows)) return NULL;
    if (!scan_next(plan->root, &timestamp)) return NULL;
    assert(timestamp >= plan->window.timestamp_min);
    assert(timestamp <= plan->window.timestamp_max);
    const void *record = forest_get(plan->forest, (uint32_t) tree, timestamp);
    assert(record != NULL);
    return record;
}

/* ---- Of one account -------------------------------------------------------------------------- */

static void
plan_account_transfers(
    struct plan *plan, const struct forest *forest, const struct account_filter *filter)
{
    assert(account_filter_check(filter) == NULL);
    const bool reversed = filter->flags & ACCOUNT_FILTER_REVERSED;
    struct scan *sides[2];
    uint32_t side_count = 0;

    plan_start(
        plan,
        forest,
        filter->timestamp_min,
        filter->timestamp_max,
        reversed ? SCAN_DESCENDING : SCAN_ASCENDING);
    plan->limit = filter->limit;
    if (filter->flags & ACCOUNT_FILTER_DEBITS) {
        sides[side_count] = plan_leaf(plan, INDEX_TRANSFER_DEBIT_ACCOUNT, filter->account_id);
        side_count += 1;
    }
    if (filter->flags & ACCOUNT_FILTER_CREDITS) {
        sides[side_count] = plan_leaf(plan, INDEX_TRANSFER_CREDIT_ACCOUNT, filter->account_id);
        side_count += 1;
    }
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
    plan_end(plan, TREE_TRANSFER);
}

void
query_account_transfers(
    const struct forest *forest, const struct account_filter *filter, struct rows *rows)
{
    struct plan plan;
    const struct transfer *transfer;
    plan_account_transfers(&plan, forest, filter);
    while ((transfer = plan_next(&plan, TREE_TRANSFER, rows)) != NULL) {
        assert(
            transfer->debit_account_id == filter->account_id ||
            transfer->credit_account_id == filter->account_id);
        rows_add(rows, transfer);
    }
}

/*
 * Events of transfers have the transfers' timestamps: the same plan finds both, one to one.
 * Expiries have their own.
 */
void
query_account_balances(
    const struct forest *forest, const struct account_filter *filter, struct rows *rows)
{
    struct plan plan;
    const struct account_event *event;
    const struct account *account = account_find(forest, &filter->account_id);
    if (account == NULL || !(account->flags & ACCOUNT_HISTORY)) return;

    plan_account_transfers(&plan, forest, filter);
    while ((event = plan_next(&plan, TREE_ACCOUNT_EVENT, rows)) != NULL) {
        const bool debits = event->debit_account_timestamp == account->timestamp;
        assert(debits || event->credit_account_timestamp == account->timestamp);
        assert(event->type != CHANGE_TWO_PHASE_EXPIRED);
        const struct account_balance row = {
            .balances = debits ? event->debit : event->credit,
            .timestamp = event->timestamp,
        };
        rows_add(rows, &row);
    }
}

/* ---- Of all accounts and transfers ----------------------------------------------------------- */

static void
plan_query(struct plan *plan, const struct forest *forest, const struct query_filter *filter)
{
    assert(query_filter_check(filter) == NULL);
    const bool reversed = filter->flags & QUERY_FILTER_REVERSED;
    plan_start(
        plan,
        forest,
        filter->timestamp_min,
        filter->timestamp_max,
        reversed ? SCAN_DESCENDING : SCAN_ASCENDING);
    plan->limit = filter->limit;
}

void
query_accounts(const struct forest *forest, const struct query_filter *filter, struct rows *rows)
{
    struct plan plan;
    const struct account *account;
    plan_query(&plan, forest, filter);
    plan_filter(&plan, INDEX_ACCOUNT_USER_DATA_128, filter->user_data_128);
    plan_filter(&plan, INDEX_ACCOUNT_USER_DATA_64, filter->user_data_64);
    plan_filter(&plan, INDEX_ACCOUNT_USER_DATA_32, filter->user_data_32);
    plan_filter(&plan, INDEX_ACCOUNT_LEDGER, filter->ledger);
    plan_filter(&plan, INDEX_ACCOUNT_CODE, filter->code);
    plan_end(&plan, TREE_ACCOUNT);
    while ((account = plan_next(&plan, TREE_ACCOUNT, rows)) != NULL) {
        rows_add(rows, account);
    }
}

void
query_transfers(const struct forest *forest, const struct query_filter *filter, struct rows *rows)
{
    struct plan plan;
    const struct transfer *transfer;
    plan_query(&plan, forest, filter);
    plan_filter(&plan, INDEX_TRANSFER_USER_DATA_128, filter->user_data_128);
    plan_filter(&plan, INDEX_TRANSFER_USER_DATA_64, filter->user_data_64);
    plan_filter(&plan, INDEX_TRANSFER_USER_DATA_32, filter->user_data_32);
    plan_filter(&plan, INDEX_TRANSFER_LEDGER, filter->ledger);
    plan_filter(&plan, INDEX_TRANSFER_CODE, filter->code);
    plan_end(&plan, TREE_TRANSFER);
    while ((transfer = plan_next(&plan, TREE_TRANSFER, rows)) != NULL) {
        rows_add(rows, transfer);
    }
}

/* ---- Change events --------------------------------------------------------------------------- */

/*
 * Of the account now: what never changes. Of the event: balances and flags as they were after it.
 */
static struct change_event_account
change_event_account(const struct account *account, const struct balances *balances, uint16_t flags)
{
    assert(account != NULL);
    return (struct change_event_account){
        .id = account->id,
        .balances = *balances,
        .user_data_128 = account->user_data_128,
        .user_data_64 = account->user_data_64,
        .user_data_32 = account->user_data_32,
        .code = account->code,
        .flags = flags,
    };
}

static struct change_event
change_event(const struct forest *forest, const struct account_event *event)
{
    const struct transfer *transfer = forest_get(forest, TREE_TRANSFER, event->transfer_timestamp);
    const struct account *debit = forest_get(forest, TREE_ACCOUNT, event->debit_account_timestamp);
    const struct account *credit =
        forest_get(forest, TREE_ACCOUNT, event->credit_account_timestamp);
    assert(transfer != NULL && debit != NULL && credit != NULL);
    assert(transfer->debit_account_id == debit->id);
    assert(transfer->credit_account_id == credit->id);
    return (struct change_event){
        .transfer_id = transfer->id,
        .transfer_amount = transfer->amount,
        .transfer_pending_id = transfer->pending_id,
        .transfer_user_data_128 = transfer->user_data_128,
        .transfer_user_data_64 = transfer->user_data_64,
        .transfer_user_data_32 = transfer->user_data_32,
        .transfer_timeout = transfer->timeout,
        .transfer_code = transfer->code,
        .transfer_flags = transfer->flags,
        .ledger = transfer->ledger,
        .type = event->type,
        .debit_account = change_event_account(debit, &event->debit, event->debit_flags),
        .credit_account = change_event_account(credit, &event->credit, event->credit_flags),
        .timestamp = event->timestamp,
        .transfer_timestamp = transfer->timestamp,
        .debit_account_timestamp = debit->timestamp,
        .credit_account_timestamp = credit->timestamp,
    };
}

void
query_change_events(
    const struct forest *forest, const struct change_events_filter *filter, struct rows *rows)
{
    struct plan plan;
    const struct account_event *event;
    assert(change_events_filter_check(filter) == NULL);
    plan_start(&plan, forest, filter->timestamp_min, filter->timestamp_max, SCAN_ASCENDING);
    plan.limit = filter->limit;
    plan_end(&plan, TREE_ACCOUNT_EVENT);
    while ((event = plan_next(&plan, TREE_ACCOUNT_EVENT, rows)) != NULL) {
        const struct change_event row = change_event(forest, event);
        rows_add(rows, &row);
    }
}
