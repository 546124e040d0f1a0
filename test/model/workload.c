/* SPDX-License-Identifier: PostgreSQL */
#include "model/workload.h"

#include <string.h>

#include "base/units.h"

#define USER_DATA_MAX 3
#define CODE_MAX      3

static uint64_t
below(struct workload *workload, uint64_t bound)
{
    return prng_below(workload->prng, bound);
}

static bool
percent(struct workload *workload, uint32_t chance)
{
    return prng_chance(workload->prng, chance, 100);
}

/* ---- Options --------------------------------------------------------------------------------- */

static uint32_t
percent_random(struct prng *prng, uint32_t max)
{
    return prng_chance(prng, 1, 3) ? 0 : (uint32_t) prng_range(prng, 1, max);
}

struct workload_options
workload_options_random(struct prng *prng)
{
    struct workload_options options = {
        .account_count = (uint32_t) prng_range(prng, 2, 24),
        .events_max = (uint32_t) prng_range(prng, 1, 12),
        .id_style = (enum workload_id_style) prng_below(prng, 3),
        .timeout_max = (uint32_t) prng_range(prng, 1, 5),
        .account_batches = (uint32_t) prng_range(prng, 5, 25),
        .import_batches = percent_random(prng, 60),
        .linked = percent_random(prng, 40),
        .limited = percent_random(prng, 80),
        .retries = percent_random(prng, 30),
        .wrong = percent_random(prng, 25),
        .huge = percent_random(prng, 20),
        .wrong_reads = percent_random(prng, 20),
    };
    for (uint32_t i = 0; i < WORKLOAD_KIND_COUNT; i++) {
        options.kind_weights[i] = percent_random(prng, 100);
    }
    options.kind_weights[WORKLOAD_SINGLE_PHASE] += 1;
    options.kind_weights[WORKLOAD_CLOSING] /= 8;
    if (prng_chance(prng, 1, 8)) options.events_max = EVENTS_PER_BATCH_MAX;
    return options;
}

void
workload_init(struct workload *workload, struct prng *prng, const struct workload_options *options)
{
    assert(options->account_count > 0);
    assert(options->events_max > 0 && options->events_max <= EVENTS_PER_BATCH_MAX);
    *workload = (struct workload){.prng = prng, .options = *options, .salt = prng_next(prng)};
}

/* ---- Parts of events ------------------------------------------------------------------------- */

/* The id number n = 1, 2 … Never 0 and never the largest. */
static u128
id_number(const struct workload *workload, uint64_t n)
{
    assert(n > 0 && n < UINT64_MAX);
    switch (workload->options.id_style) {
    case WORKLOAD_ID_LOW: return n;
    case WORKLOAD_ID_HIGH: return u128_make(n, 0);
    case WORKLOAD_ID_SCATTERED:
        return u128_make(n * UINT64_C(0x9e3779b97f4a7c15), n * UINT64_C(0xbf58476d1ce4e5b9));
    }
    unreachable();
}

static u128
account_id(struct workload *workload)
{
    return id_number(workload, 1 + below(workload, workload->options.account_count));
}

/* An account that is there, if any is. */
static u128
account_id_stored(struct workload *workload, const struct model *model)
{
    const uint32_t count = model->account_ids.count;
    if (count == 0 || below(workload, 50) == 0) return account_id(workload);
    return model->accounts[below(workload, count)].id;
}

/* A recent one more often than an old one. */
static const struct transfer *
transfer_stored(struct workload *workload, const struct model *model)
{
    const uint32_t count = model->transfer_ids.count;
    if (count == 0) return NULL;
    const uint32_t recent = count < 20 || below(workload, 2) == 0 ? count : 20;
    return &model->transfers[count - 1 - below(workload, recent)];
}

static const struct transfer *
transfer_unresolved(struct workload *workload, const struct model *model)
{
    const uint32_t count = model->transfer_ids.count;
    if (count == 0) return NULL;
    const uint32_t start = (uint32_t) below(workload, count);
    for (uint32_t i = 0; i < count && i < 64; i++) {
        const uint32_t index = (start + i) % count;
        if (model->statuses[index] == PENDING_PENDING) return &model->transfers[index];
    }
    return NULL;
}

static u128
amount(struct workload *workload)
{
    if (percent(workload, workload->options.huge)) {
        switch (below(workload, 4)) {
        case 0: return U128_MAX;
        case 1: return U128_MAX - below(workload, 1000);
        case 2: return U128_MAX / 2 + below(workload, 10);
        default: return u128_make(1, below(workload, 2));
        }
    }
    switch (below(workload, 10)) {
    case 0: return 0;
    case 1:
    case 2:
    case 3: return 1 + below(workload, 1000);
    default: return 1 + below(workload, 20);
    }
}

/* Mostly what fits a field of `size` bytes ill. */
static u128
odd_value(struct workload *workload, u128 value, uint32_t size)
{
    const u128 max = U128_MAX >> (128 - 8 * size);
    switch (below(workload, 6)) {
    case 0: return 0;
    case 1: return max;
    case 2: return value < max ? value + 1 : 0;
    case 3: return value > 0 ? value - 1 : max;
    case 4: return 1 + below(workload, 4);
    default: return max - below(workload, 4);
    }
}

static void
odd_field(struct workload *workload, void *record, size_t offset, uint32_t size)
{
    u128 value = 0;
    memcpy(&value, (uint8_t *) record + offset, size);
    value = odd_value(workload, value, size);
    memcpy((uint8_t *) record + offset, &value, size);
}

#define ODD_FIELD(workload, record, member)                                                        \
    odd_field(                                                                                     \
        workload,                                                                                  \
        record,                                                                                    \
        (size_t) ((uint8_t *) &(record)->member - (uint8_t *) (record)),                           \
        (uint32_t) sizeof((record)->member))

/* ---- Accounts -------------------------------------------------------------------------------- */

/*
 * What an account has is a function of its id in this run, so that it exists when it is asked for
 * again.
 */
static struct account
account_regular(struct workload *workload, uint64_t n, bool imported)
{
    struct prng fixed;
    prng_init(&fixed, workload->salt + n);
    struct account account = {
        .id = id_number(workload, n),
        .user_data_128 = prng_below(&fixed, USER_DATA_MAX + 1),
        .user_data_64 = prng_below(&fixed, USER_DATA_MAX + 1),
        .user_data_32 = (uint32_t) prng_below(&fixed, USER_DATA_MAX + 1),
        .ledger = n % 4 == 0 && workload->options.account_count >= 8 ? 2 : 1,
        .code = (uint16_t) prng_range(&fixed, 1, CODE_MAX),
        .flags = prng_chance(&fixed, 1, 2) ? ACCOUNT_HISTORY : 0,
    };
    if (prng_chance(&fixed, workload->options.limited, 100)) {
        account.flags |= prng_chance(&fixed, 1, 2) ? ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
                                                   : ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS;
    }
    if (prng_chance(&fixed, 1, 40)) account.flags |= ACCOUNT_CLOSED;
    if (imported) account.flags |= ACCOUNT_IMPORTED;
    return account;
}

static void
account_spoil(struct workload *workload, struct account *account)
{
    switch (below(workload, 14)) {
    case 0: ODD_FIELD(workload, account, id); break;
    case 1: ODD_FIELD(workload, account, debits_pending); break;
    case 2: ODD_FIELD(workload, account, debits_posted); break;
    case 3: ODD_FIELD(workload, account, credits_pending); break;
    case 4: ODD_FIELD(workload, account, credits_posted); break;
    case 5: ODD_FIELD(workload, account, user_data_128); break;
    case 6: ODD_FIELD(workload, account, user_data_64); break;
    case 7: ODD_FIELD(workload, account, user_data_32); break;
    case 8: ODD_FIELD(workload, account, reserved); break;
    case 9: ODD_FIELD(workload, account, ledger); break;
    case 10: ODD_FIELD(workload, account, code); break;
    case 11: account->flags ^= (uint16_t) (1u << below(workload, 16)); break;
    case 12: ODD_FIELD(workload, account, timestamp); break;
    case 13:
        account->flags |=
            ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS;
        break;
    default: unreachable();
    }
}

/* ---- Transfers ------------------------------------------------------------------------------- */

static enum workload_kind
kind_next(struct workload *workload)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WORKLOAD_KIND_COUNT; i++)
        sum += workload->options.kind_weights[i];
    uint64_t at = below(workload, sum);
    for (uint32_t i = 0; i < WORKLOAD_KIND_COUNT; i++) {
        if (at < workload->options.kind_weights[i]) return (enum workload_kind) i;
        at -= workload->options.kind_weights[i];
    }
    unreachable();
}

static uint32_t
timeout(struct workload *workload)
{
    switch (below(workload, 8)) {
    case 0:
    case 1: return 0;
    case 2: return UINT32_MAX - (uint32_t) below(workload, 2);
    default: return (uint32_t) prng_range(workload->prng, 1, workload->options.timeout_max);
    }
}

/* Both accounts of one ledger, mostly. */
static void
transfer_accounts(struct workload *workload, const struct model *model, struct transfer *transfer)
{
    for (uint32_t i = 0; i < 8; i++) {
        transfer->debit_account_id = account_id_stored(workload, model);
        transfer->credit_account_id = account_id_stored(workload, model);
        const struct account *debit = model_account(model, transfer->debit_account_id);
        const struct account *credit = model_account(model, transfer->credit_account_id);
        transfer->ledger = debit ? debit->ledger : 1;
        if (debit == NULL || credit == NULL || debit == credit) continue;
        if (debit->ledger == credit->ledger) return;
    }
}

static void
transfer_user_data(struct workload *workload, struct transfer *transfer)
{
    transfer->user_data_128 = below(workload, USER_DATA_MAX + 1);
    transfer->user_data_64 = below(workload, USER_DATA_MAX + 1);
    transfer->user_data_32 = (uint32_t) below(workload, USER_DATA_MAX + 1);
}

/*
 * What to post or void: a transfer of this batch, an unresolved one, or any. NULL: there is none.
 */
static const struct transfer *
transfer_to_resolve(
    struct workload *workload,
    const struct model *model,
    const struct transfer *before,
    uint32_t before_count)
{
    const uint64_t choice = below(workload, 20);
    if (choice == 0) return transfer_stored(workload, model);
    if (choice < 6 && before_count > 0) {
        const struct transfer *transfer = &before[below(workload, before_count)];
        if (transfer->flags & TRANSFER_PENDING) return transfer;
    }
    return transfer_unresolved(workload, model);
}

static void
transfer_resolving(
    struct workload *workload, const struct transfer *pending, struct transfer *transfer)
{
    const bool post = (transfer->flags & TRANSFER_POST_PENDING) != 0;
    transfer->amount = post ? U128_MAX : 0;
    if (below(workload, 4) == 0) transfer_user_data(workload, transfer);
    if (pending == NULL) {
        transfer->pending_id = id_number(workload, 1 + below(workload, 1000));
        return;
    }
    transfer->pending_id = pending->id;
    if (below(workload, 3) == 0) transfer->debit_account_id = pending->debit_account_id;
    if (below(workload, 3) == 0) transfer->credit_account_id = pending->credit_account_id;
    if (below(workload, 3) == 0) transfer->ledger = pending->ledger;
    if (below(workload, 3) == 0) transfer->code = pending->code;
    switch (below(workload, 6)) {
    case 0: transfer->amount = pending->amount; break;
    case 1: transfer->amount = odd_value(workload, pending->amount, sizeof(u128)); break;
    case 2:
        if (post && pending->amount > 0) {
            transfer->amount = below(workload, min_u64(u128_low(pending->amount), 1000) + 1);
        }
        break;
    default: break;
    }
}

static struct transfer
transfer_fresh(
    struct workload *workload,
    const struct model *model,
    const struct transfer *before,
    uint32_t before_count)
{
    struct transfer transfer = {.id = id_number(workload, ++workload->transfers_asked)};
    enum workload_kind kind = kind_next(workload);
    if (kind == WORKLOAD_POST || kind == WORKLOAD_VOID) {
        const struct transfer *pending = transfer_to_resolve(workload, model, before, before_count);
        if (pending != NULL || below(workload, 8) == 0) {
            transfer.flags = kind == WORKLOAD_POST ? TRANSFER_POST_PENDING : TRANSFER_VOID_PENDING;
            transfer_resolving(workload, pending, &transfer);
            return transfer;
        }
        kind = WORKLOAD_PENDING;
    }
    transfer_accounts(workload, model, &transfer);
    transfer_user_data(workload, &transfer);
    transfer.amount = amount(workload);
    transfer.code = (uint16_t) (1 + below(workload, CODE_MAX));
    const bool pending = kind == WORKLOAD_PENDING || kind == WORKLOAD_CLOSING ||
                         (kind == WORKLOAD_BALANCING && below(workload, 3) == 0);
    if (pending) {
        transfer.flags |= TRANSFER_PENDING;
        transfer.timeout = timeout(workload);
    }
    if (kind == WORKLOAD_BALANCING || below(workload, 30) == 0) {
        transfer.flags |= (uint16_t) ((1 + below(workload, 3)) * TRANSFER_BALANCING_DEBIT);
        if (below(workload, 3) == 0) transfer.amount = U128_MAX;
    }
    if (kind == WORKLOAD_CLOSING) {
        transfer.flags |= (uint16_t) ((1 + below(workload, 3)) * TRANSFER_CLOSING_DEBIT);
        if (below(workload, 2) == 0) transfer.amount = 0;
        /* So that it opens again. */
        if (below(workload, 8) > 0) transfer.timeout = 1;
    }
    return transfer;
}

/* One that was there before, as its owner might send it again. */
static struct transfer
transfer_again(struct workload *workload, const struct transfer *stored)
{
    struct transfer transfer = *stored;
    if (!(transfer.flags & TRANSFER_IMPORTED)) transfer.timestamp = 0;
    if (transfer.flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) {
        if (below(workload, 2) == 0) transfer.debit_account_id = 0;
        if (below(workload, 2) == 0) transfer.credit_account_id = 0;
        if (below(workload, 2) == 0) transfer.ledger = 0;
        if (below(workload, 2) == 0) transfer.code = 0;
        if (below(workload, 3) == 0) transfer.user_data_128 = 0;
        if (below(workload, 3) == 0) transfer.user_data_64 = 0;
        if (below(workload, 3) == 0) transfer.user_data_32 = 0;
    }
    if (below(workload, 3) == 0) {
        transfer.amount = transfer.flags & TRANSFER_VOID_PENDING ? 0 : U128_MAX;
    }
    return transfer;
}

static void
transfer_spoil(struct workload *workload, const struct model *model, struct transfer *transfer)
{
    switch (below(workload, 15)) {
    case 0: ODD_FIELD(workload, transfer, id); break;
    case 1: ODD_FIELD(workload, transfer, debit_account_id); break;
    case 2: ODD_FIELD(workload, transfer, credit_account_id); break;
    case 3: ODD_FIELD(workload, transfer, amount); break;
    case 4: ODD_FIELD(workload, transfer, pending_id); break;
    case 5: ODD_FIELD(workload, transfer, user_data_128); break;
    case 6: ODD_FIELD(workload, transfer, user_data_64); break;
    case 7: ODD_FIELD(workload, transfer, user_data_32); break;
    case 8: ODD_FIELD(workload, transfer, timeout); break;
    case 9: ODD_FIELD(workload, transfer, ledger); break;
    case 10: ODD_FIELD(workload, transfer, code); break;
    case 11: transfer->flags ^= (uint16_t) (1u << below(workload, 16)); break;
    case 12: ODD_FIELD(workload, transfer, timestamp); break;
    case 13: transfer->credit_account_id = account_id_stored(workload, model); break;
    case 14: transfer->pending_id = transfer->id; break;
    default: unreachable();
    }
}

/* ---- Batches --------------------------------------------------------------------------------- */

/* Just after what is there, mostly; so that there is room for more. */
static uint64_t
import_timestamp(
    struct workload *workload,
    const struct model *model,
    bool accounts,
    uint64_t timestamp_next,
    uint64_t *newest)
{
    const uint32_t count = model->account_ids.count;
    const uint64_t account_newest = count ? model->accounts[count - 1].timestamp : 0;
    const uint64_t event_newest =
        model->event_count ? model->events[model->event_count - 1].timestamp : 0;
    if (*newest == 0) *newest = accounts ? account_newest : event_newest;
    switch (below(workload, 20)) {
    case 0: return *newest;
    case 1: return timestamp_next + below(workload, 3);
    case 2: return accounts ? event_newest : account_newest;
    case 3: return account_newest + below(workload, 3);
    case 4: return timestamp_next - min_u64(timestamp_next, below(workload, 20));
    default: *newest += 1 + below(workload, 5); return *newest;
    }
}

static void
make_accounts(
    struct workload *workload,
    const struct model *model,
    uint64_t timestamp_next,
    struct account *events,
    uint32_t count)
{
    const bool imported = percent(workload, workload->options.import_batches);
    uint64_t newest = 0;
    for (uint32_t i = 0; i < count; i++) {
        const bool wrong = percent(workload, workload->options.wrong);
        uint64_t n = 1 + below(workload, workload->options.account_count);
        if (wrong && below(workload, 2) == 0) n += UINT32_MAX; /* One that does not exist yet. */
        struct account event = account_regular(workload, n, imported);
        if (percent(workload, workload->options.linked)) event.flags |= ACCOUNT_LINKED;
        if (i == count - 1 && below(workload, 8) > 0) event.flags &= (uint16_t) ~ACCOUNT_LINKED;
        const struct account *stored = model_account(model, event.id);
        if (stored != NULL && below(workload, 2) == 0) event.flags = stored->flags;
        if (event.flags & ACCOUNT_IMPORTED) {
            event.timestamp = import_timestamp(workload, model, true, timestamp_next, &newest);
        }
        while (percent(workload, workload->options.wrong))
            account_spoil(workload, &event);
        events[i] = event;
    }
}

static struct transfer
transfer_next(
    struct workload *workload,
    const struct model *model,
    const struct transfer *before,
    uint32_t before_count)
{
    const struct transfer *stored = transfer_stored(workload, model);
    if (stored == NULL || !percent(workload, workload->options.retries)) {
        return transfer_fresh(workload, model, before, before_count);
    }
    const uint64_t choice = below(workload, 4);
    if (choice > 1) return transfer_again(workload, stored);
    struct transfer transfer = transfer_fresh(workload, model, before, before_count);
    const struct model_ids *burnt = &model->burnt_ids;
    if (choice == 0 && burnt->count > 0) transfer.id = burnt->ids[below(workload, burnt->count)];
    if (choice == 1) transfer.id = stored->id;
    return transfer;
}

static void
make_transfers(
    struct workload *workload,
    const struct model *model,
    uint64_t timestamp_next,
    struct transfer *events,
    uint32_t count)
{
    const bool imported = percent(workload, workload->options.import_batches);
    uint64_t newest = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct transfer event = transfer_next(workload, model, events, i);
        const bool again = model_transfer(model, event.id) != NULL;
        if (!again && percent(workload, workload->options.linked)) event.flags |= TRANSFER_LINKED;
        if (i == count - 1 && below(workload, 8) > 0) event.flags &= (uint16_t) ~TRANSFER_LINKED;
        if (imported && !again) {
            event.flags |= TRANSFER_IMPORTED;
            event.timestamp = import_timestamp(workload, model, false, timestamp_next, &newest);
            if (below(workload, 8) > 0) event.timeout = 0;
        }
        while (percent(workload, workload->options.wrong))
            transfer_spoil(workload, model, &event);
        events[i] = event;
    }
}

void
workload_next_batch(
    struct workload *workload,
    const struct model *model,
    uint64_t timestamp_next,
    uint8_t *operation,
    void *events,
    uint32_t *count)
{
    const bool accounts =
        model->account_ids.count < 2 || percent(workload, workload->options.account_batches);
    *operation = accounts ? LEDGER_CREATE_ACCOUNTS : LEDGER_CREATE_TRANSFERS;
    *count = (uint32_t) prng_range(workload->prng, 1, workload->options.events_max);
    if (accounts) {
        make_accounts(workload, model, timestamp_next, events, *count);
    } else {
        make_transfers(workload, model, timestamp_next, events, *count);
    }
}

/* ---- Reads ----------------------------------------------------------------------------------- */

static uint32_t
make_lookup(struct workload *workload, const struct model *model, uint8_t operation, u128 *ids)
{
    const bool accounts = operation == LEDGER_LOOKUP_ACCOUNTS;
    const bool events = operation == LEDGER_LOOKUP_CHANGE_EVENTS;
    const uint32_t count_max = events ? CHANGE_EVENTS_MAX / 2 : RESULTS_MAX;
    const uint32_t count = (uint32_t) below(workload, count_max + 1);
    for (uint32_t i = 0; i < count; i++) {
        const struct transfer *stored = transfer_stored(workload, model);
        const u128 asked = id_number(workload, 1 + below(workload, workload->transfers_asked + 2));
        u128 id = accounts ? account_id(workload) : stored ? stored->id : asked;
        if (below(workload, 4) == 0) id = asked;
        if (below(workload, 20) == 0) id = odd_value(workload, id, sizeof(u128));
        ids[i] = id;
    }
    return count * (uint32_t) sizeof(u128);
}

/* Near something that is there. */
static uint64_t
window_edge(struct workload *workload, const struct model *model)
{
    uint64_t timestamp = 1 + below(workload, 2);
    if (model->event_count > 0 && below(workload, 8) > 0) {
        timestamp = model->events[below(workload, model->event_count)].timestamp;
    } else if (model->account_ids.count > 0 && below(workload, 8) > 0) {
        timestamp = model->accounts[below(workload, model->account_ids.count)].timestamp;
    } else if (below(workload, 2) == 0) {
        timestamp = TIMESTAMP_MAX - 1;
    }
    return timestamp - 1 + below(workload, 3);
}

static void
make_window(
    struct workload *workload,
    const struct model *model,
    uint64_t *timestamp_min,
    uint64_t *timestamp_max)
{
    *timestamp_min = below(workload, 2) == 0 ? 0 : window_edge(workload, model);
    *timestamp_max = below(workload, 2) == 0 ? 0 : window_edge(workload, model);
    if (*timestamp_max != 0 && *timestamp_min > *timestamp_max && below(workload, 8) > 0) {
        const uint64_t earlier = *timestamp_max;
        *timestamp_max = *timestamp_min;
        *timestamp_min = earlier;
    }
}

static uint32_t
limit(struct workload *workload)
{
    switch (below(workload, 3)) {
    case 0: return 1 + (uint32_t) below(workload, 3);
    case 1: return 1 + (uint32_t) below(workload, RESULTS_MAX + 2);
    default: return UINT32_MAX;
    }
}

/* 0, mostly: no filter. */
static uint32_t
maybe_filter(struct workload *workload, uint32_t max)
{
    return below(workload, 3) == 0 ? 1 + (uint32_t) below(workload, max) : 0;
}

static void
make_account_filter(
    struct workload *workload, const struct model *model, struct account_filter *filter)
{
    *filter = (struct account_filter){
        .account_id = account_id_stored(workload, model),
        .user_data_128 = maybe_filter(workload, USER_DATA_MAX),
        .user_data_64 = maybe_filter(workload, USER_DATA_MAX),
        .user_data_32 = maybe_filter(workload, USER_DATA_MAX),
        .code = (uint16_t) maybe_filter(workload, CODE_MAX),
        .limit = limit(workload),
        .flags = (uint32_t) (1 + below(workload, 3)) |
                 (below(workload, 2) == 0 ? ACCOUNT_FILTER_REVERSED : 0),
    };
    make_window(workload, model, &filter->timestamp_min, &filter->timestamp_max);
    if (!percent(workload, workload->options.wrong_reads)) return;
    switch (below(workload, 6)) {
    case 0: ODD_FIELD(workload, filter, account_id); break;
    case 1: ODD_FIELD(workload, filter, timestamp_min); break;
    case 2: ODD_FIELD(workload, filter, timestamp_max); break;
    case 3: ODD_FIELD(workload, filter, limit); break;
    case 4: filter->flags ^= (uint32_t) 1 << below(workload, 32); break;
    case 5: filter->reserved[below(workload, sizeof(filter->reserved))] ^= 1; break;
    default: unreachable();
    }
}

/* Balances of any account, with expiries; sometimes with a filter that does not go with them. */
static void
make_expiries_filter(struct workload *workload, struct account_filter *filter)
{
    filter->flags |= ACCOUNT_FILTER_EXPIRIES;
    if (percent(workload, workload->options.wrong_reads)) return;
    filter->user_data_128 = 0;
    filter->user_data_64 = 0;
    filter->user_data_32 = 0;
    filter->code = 0;
}

static void
make_query_filter(struct workload *workload, const struct model *model, struct query_filter *filter)
{
    *filter = (struct query_filter){
        .user_data_128 = maybe_filter(workload, USER_DATA_MAX),
        .user_data_64 = maybe_filter(workload, USER_DATA_MAX),
        .user_data_32 = maybe_filter(workload, USER_DATA_MAX),
        .ledger = maybe_filter(workload, 2),
        .code = (uint16_t) maybe_filter(workload, CODE_MAX),
        .limit = limit(workload),
        .flags = below(workload, 2) == 0 ? QUERY_FILTER_REVERSED : 0,
    };
    make_window(workload, model, &filter->timestamp_min, &filter->timestamp_max);
    if (!percent(workload, workload->options.wrong_reads)) return;
    switch (below(workload, 5)) {
    case 0: ODD_FIELD(workload, filter, timestamp_min); break;
    case 1: ODD_FIELD(workload, filter, timestamp_max); break;
    case 2: ODD_FIELD(workload, filter, limit); break;
    case 3: filter->flags ^= (uint32_t) 1 << below(workload, 32); break;
    case 4: filter->reserved[below(workload, sizeof(filter->reserved))] ^= 1; break;
    default: unreachable();
    }
}

/* Near the expiry of something that is there. */
static uint64_t
expiry_edge(struct workload *workload, const struct model *model)
{
    const uint32_t count = model->transfer_ids.count;
    if (count == 0 || below(workload, 8) == 0) return window_edge(workload, model);
    uint32_t i = (uint32_t) below(workload, count);
    while (i > 0 && model->transfers[i].timeout == 0) i -= 1;
    return model->transfers[i].timestamp + model->transfers[i].timeout * NS_PER_S - 1 +
           below(workload, 3);
}

static void
make_hold_filter(struct workload *workload, const struct model *model, struct hold_filter *filter)
{
    *filter = (struct hold_filter){
        .debit_account_id = below(workload, 3) == 0 ? account_id_stored(workload, model) : 0,
        .credit_account_id = below(workload, 4) == 0 ? account_id_stored(workload, model) : 0,
        .user_data_128 = below(workload, 3) == 0 ? maybe_filter(workload, USER_DATA_MAX) : 0,
        .user_data_64 = below(workload, 3) == 0 ? maybe_filter(workload, USER_DATA_MAX) : 0,
        .user_data_32 = below(workload, 3) == 0 ? maybe_filter(workload, USER_DATA_MAX) : 0,
        .ledger = maybe_filter(workload, 2),
        .code = below(workload, 3) == 0 ? (uint16_t) maybe_filter(workload, CODE_MAX) : 0,
        .limit = limit(workload),
        .flags = (uint16_t) below(workload, 3),
        .states = (uint8_t) (below(workload, 2) == 0 ? 2 : 2 * below(workload, 16)),
    };
    if (below(workload, 2) == 0) {
        make_window(workload, model, &filter->timestamp_min, &filter->timestamp_max);
    }
    if (below(workload, 3) == 0) filter->expires_min = expiry_edge(workload, model);
    if (below(workload, 3) == 0) filter->expires_max = expiry_edge(workload, model);
    if (filter->flags & HOLD_FILTER_BY_EXPIRY && below(workload, 2) == 0) {
        filter->after_timestamp = window_edge(workload, model);
    }
    if (!percent(workload, workload->options.wrong_reads)) return;
    switch (below(workload, 7)) {
    case 0: ODD_FIELD(workload, filter, timestamp_min); break;
    case 1: ODD_FIELD(workload, filter, expires_max); break;
    case 2: ODD_FIELD(workload, filter, after_timestamp); break;
    case 3: ODD_FIELD(workload, filter, limit); break;
    case 4: filter->flags ^= (uint16_t) (1 << below(workload, 16)); break;
    case 5: filter->states ^= (uint8_t) (1 << below(workload, 8)); break;
    case 6: filter->reserved[below(workload, sizeof(filter->reserved))] ^= 1; break;
    default: unreachable();
    }
}

static void
make_change_events_filter(
    struct workload *workload, const struct model *model, struct change_events_filter *filter)
{
    *filter = (struct change_events_filter){
        .limit = limit(workload),
        .flags = below(workload, 3) == 0 ? CHANGE_EVENTS_FILTER_REVERSED : 0,
    };
    make_window(workload, model, &filter->timestamp_min, &filter->timestamp_max);
    if (!percent(workload, workload->options.wrong_reads)) return;
    switch (below(workload, 4)) {
    case 0: ODD_FIELD(workload, filter, timestamp_min); break;
    case 1: ODD_FIELD(workload, filter, timestamp_max); break;
    case 2: ODD_FIELD(workload, filter, limit); break;
    case 3: filter->reserved[below(workload, sizeof(filter->reserved))] ^= 1; break;
    default: unreachable();
    }
}

uint32_t
workload_next_read(
    struct workload *workload, const struct model *model, uint8_t *operation, void *input)
{
    static const uint8_t operations[] = {
        LEDGER_LOOKUP_ACCOUNTS,
        LEDGER_LOOKUP_TRANSFERS,
        LEDGER_GET_ACCOUNT_TRANSFERS,
        LEDGER_GET_ACCOUNT_BALANCES,
        LEDGER_QUERY_ACCOUNTS,
        LEDGER_QUERY_TRANSFERS,
        LEDGER_GET_CHANGE_EVENTS,
        LEDGER_QUERY_HOLDS,
        LEDGER_LOOKUP_RESOLUTIONS,
        LEDGER_LOOKUP_CHANGE_EVENTS,
    };
    *operation = operations[below(workload, ARRAY_COUNT(operations))];
    switch (*operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS:
    case LEDGER_LOOKUP_RESOLUTIONS:
    case LEDGER_LOOKUP_CHANGE_EVENTS:
        return make_lookup(workload, model, *operation, input);
    case LEDGER_QUERY_HOLDS:
        make_hold_filter(workload, model, input);
        return sizeof(struct hold_filter);
    case LEDGER_GET_ACCOUNT_TRANSFERS:
    case LEDGER_GET_ACCOUNT_BALANCES:
        make_account_filter(workload, model, input);
        if (*operation == LEDGER_GET_ACCOUNT_BALANCES && below(workload, 2) == 0) {
            make_expiries_filter(workload, input);
        }
        return sizeof(struct account_filter);
    case LEDGER_QUERY_ACCOUNTS:
    case LEDGER_QUERY_TRANSFERS:
        make_query_filter(workload, model, input);
        return sizeof(struct query_filter);
    default:
        make_change_events_filter(workload, model, input);
        return sizeof(struct change_events_filter);
    }
}
