/* SPDX-License-Identifier: PostgreSQL */
#include "model/model_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* ---- Lists of ids ---------------------------------------------------------------------------- */

static void *
allocate(uint64_t count, uint64_t size_bytes)
{
    void *memory = calloc(count, size_bytes);
    assert(memory != NULL);
    return memory;
}

static void
ids_init(struct model_ids *ids, uint32_t count_max)
{
    ids->count = 0;
    ids->count_max = count_max;
    ids->bucket_count = count_max / 2 + 1;
    ids->ids = allocate(count_max, sizeof(u128));
    ids->next = allocate(count_max, sizeof(uint32_t));
    ids->heads = allocate(ids->bucket_count, sizeof(uint32_t));
    for (uint32_t i = 0; i < ids->bucket_count; i++)
        ids->heads[i] = MODEL_NONE;
}

static void
ids_free(struct model_ids *ids)
{
    free(ids->ids);
    free(ids->next);
    free(ids->heads);
}

static uint32_t
ids_bucket(const struct model_ids *ids, u128 id)
{
    const uint64_t mixed = (u128_low(id) ^ u128_high(id)) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t) ((mixed >> 32) % ids->bucket_count);
}

uint32_t
model_ids_find(const struct model_ids *ids, u128 id)
{
    uint32_t index = ids->heads[ids_bucket(ids, id)];
    while (index != MODEL_NONE && ids->ids[index] != id)
        index = ids->next[index];
    return index;
}

void
model_ids_add(struct model_ids *ids, u128 id)
{
    assert(model_ids_find(ids, id) == MODEL_NONE);
    assert(ids->count < ids->count_max);
    const uint32_t bucket = ids_bucket(ids, id);
    ids->ids[ids->count] = id;
    ids->next[ids->count] = ids->heads[bucket];
    ids->heads[bucket] = ids->count;
    ids->count += 1;
}

/* The last id that was added is the first of its bucket, so that the list can be unwound. */
static void
ids_cut(struct model_ids *ids, uint32_t count)
{
    while (ids->count > count) {
        ids->count -= 1;
        const uint32_t bucket = ids_bucket(ids, ids->ids[ids->count]);
        assert(ids->heads[bucket] == ids->count);
        ids->heads[bucket] = ids->next[ids->count];
    }
}

/* ---- The whole ------------------------------------------------------------------------------- */

void
model_init(struct model *model, uint32_t accounts_max, uint32_t transfers_max)
{
    *model = (struct model){.event_count_max = 2 * transfers_max};
    ids_init(&model->account_ids, accounts_max);
    ids_init(&model->transfer_ids, transfers_max);
    ids_init(&model->burnt_ids, transfers_max);
    model->accounts = allocate(accounts_max, sizeof(struct account));
    model->closed_from_birth = allocate(accounts_max, sizeof(bool));
    model->transfers = allocate(transfers_max, sizeof(struct transfer));
    model->statuses = allocate(transfers_max, 1);
    model->resolved_at = allocate(transfers_max, sizeof(uint64_t));
    model->resolved_by = allocate(transfers_max, sizeof(u128));
    model->events = allocate(model->event_count_max, sizeof(struct change_event));
    model->scope.accounts = allocate(accounts_max, sizeof(struct account));
    model->scope.statuses = allocate(transfers_max, 1);
}

void
model_free(struct model *model)
{
    ids_free(&model->account_ids);
    ids_free(&model->transfer_ids);
    ids_free(&model->burnt_ids);
    free(model->accounts);
    free(model->closed_from_birth);
    free(model->transfers);
    free(model->statuses);
    free(model->resolved_at);
    free(model->resolved_by);
    free(model->events);
    free(model->scope.accounts);
    free(model->scope.statuses);
}

void
model_clear(struct model *model)
{
    ids_cut(&model->account_ids, 0);
    ids_cut(&model->transfer_ids, 0);
    ids_cut(&model->burnt_ids, 0);
    model->event_count = 0;
    model->timestamp = 0;
    model->pulsed_expires_at = 0;
    model->pulsed_timestamp = 0;
}

static void
scope_open(struct model *model)
{
    struct model_scope *scope = &model->scope;
    scope->account_count = model->account_ids.count;
    scope->transfer_count = model->transfer_ids.count;
    scope->event_count = model->event_count;
    memcpy(scope->accounts, model->accounts, scope->account_count * sizeof(struct account));
    memcpy(scope->statuses, model->statuses, scope->transfer_count);
}

static void
scope_discard(struct model *model)
{
    const struct model_scope *scope = &model->scope;
    ids_cut(&model->account_ids, scope->account_count);
    ids_cut(&model->transfer_ids, scope->transfer_count);
    model->event_count = scope->event_count;
    memcpy(model->accounts, scope->accounts, scope->account_count * sizeof(struct account));
    memcpy(model->statuses, scope->statuses, scope->transfer_count);
}

/* MODEL_NONE is beyond every count; and a past model's count is below what its ids have now. */
const struct account *
model_account(const struct model *model, u128 id)
{
    const uint32_t index = model_ids_find(&model->account_ids, id);
    return index < model->account_ids.count ? &model->accounts[index] : NULL;
}

const struct transfer *
model_transfer(const struct model *model, u128 id)
{
    const uint32_t index = model_ids_find(&model->transfer_ids, id);
    return index < model->transfer_ids.count ? &model->transfers[index] : NULL;
}

uint64_t
model_expires_at(const struct model *model, uint32_t transfer_index)
{
    const struct transfer *transfer = &model->transfers[transfer_index];
    if (model->statuses[transfer_index] != PENDING_PENDING) return 0;
    if (transfer->timeout == 0) return 0;
    return transfer->timestamp + transfer->timeout * NS_PER_S;
}

/* ---- Batches --------------------------------------------------------------------------------- */

/* The statuses that both kinds share, by name: their numbers differ. */
struct common_statuses {
    uint32_t chain_open;
    uint32_t chain_failed;
    uint32_t imported_expected;
    uint32_t imported_not_expected;
    uint32_t timestamp_must_be_zero;
    uint32_t imported_out_of_range;
    uint32_t imported_must_not_advance;
    uint32_t exists;
    uint16_t flag_linked;
    uint16_t flag_imported;
};

static const struct common_statuses account_statuses = {
    .chain_open = ACCOUNT_STATUS_linked_event_chain_open,
    .chain_failed = ACCOUNT_STATUS_linked_event_failed,
    .imported_expected = ACCOUNT_STATUS_imported_event_expected,
    .imported_not_expected = ACCOUNT_STATUS_imported_event_not_expected,
    .timestamp_must_be_zero = ACCOUNT_STATUS_timestamp_must_be_zero,
    .imported_out_of_range = ACCOUNT_STATUS_imported_event_timestamp_out_of_range,
    .imported_must_not_advance = ACCOUNT_STATUS_imported_event_timestamp_must_not_advance,
    .exists = ACCOUNT_STATUS_exists,
    .flag_linked = ACCOUNT_LINKED,
    .flag_imported = ACCOUNT_IMPORTED,
};

static const struct common_statuses transfer_statuses = {
    .chain_open = TRANSFER_STATUS_linked_event_chain_open,
    .chain_failed = TRANSFER_STATUS_linked_event_failed,
    .imported_expected = TRANSFER_STATUS_imported_event_expected,
    .imported_not_expected = TRANSFER_STATUS_imported_event_not_expected,
    .timestamp_must_be_zero = TRANSFER_STATUS_timestamp_must_be_zero,
    .imported_out_of_range = TRANSFER_STATUS_imported_event_timestamp_out_of_range,
    .imported_must_not_advance = TRANSFER_STATUS_imported_event_timestamp_must_not_advance,
    .exists = TRANSFER_STATUS_exists,
    .flag_linked = TRANSFER_LINKED,
    .flag_imported = TRANSFER_IMPORTED,
};

struct batch {
    const struct common_statuses *statuses;
    const struct account *accounts; /* One of these two is NULL. */
    const struct transfer *transfers;
    uint32_t count;
    uint64_t timestamp_final;
    struct create_result *results;

    uint32_t chain_start; /* MODEL_NONE: no chain is open. */
    bool chain_broken;
};

static uint64_t
batch_slot(const struct batch *batch, uint32_t i)
{
    return batch->timestamp_final - batch->count + i + 1;
}

static uint16_t
batch_flags(const struct batch *batch, uint32_t i)
{
    return batch->accounts ? batch->accounts[i].flags : batch->transfers[i].flags;
}

static uint64_t
batch_timestamp(const struct batch *batch, uint32_t i)
{
    return batch->accounts ? batch->accounts[i].timestamp : batch->transfers[i].timestamp;
}

static uint32_t
batch_event(struct model *model, struct batch *batch, uint32_t i)
{
    const struct common_statuses *statuses = batch->statuses;
    const bool linked = (batch_flags(batch, i) & statuses->flag_linked) != 0;
    const bool imported = (batch_flags(batch, i) & statuses->flag_imported) != 0;
    const bool batch_imported = (batch_flags(batch, 0) & statuses->flag_imported) != 0;
    const uint64_t timestamp = batch_timestamp(batch, i);
    const uint64_t slot = batch_slot(batch, i);

    if (linked && i == batch->count - 1) return statuses->chain_open;
    if (batch->chain_broken) return statuses->chain_failed;
    if (imported && !batch_imported) return statuses->imported_not_expected;
    if (!imported && batch_imported) return statuses->imported_expected;
    if (imported) {
        if (timestamp == 0 || timestamp > TIMESTAMP_MAX) return statuses->imported_out_of_range;
        if (timestamp >= slot) return statuses->imported_must_not_advance;
    } else {
        if (timestamp != 0) return statuses->timestamp_must_be_zero;
    }
    if (batch->accounts) return model_create_account(model, &batch->accounts[i], slot);
    return model_create_transfer(model, &batch->transfers[i], slot);
}

static uint64_t
batch_result_timestamp(
    const struct model *model, const struct batch *batch, uint32_t i, uint32_t status)
{
    if (status != STATUS_CREATED && status != batch->statuses->exists) return batch_slot(batch, i);
    return batch->accounts ? model_account(model, batch->accounts[i].id)->timestamp
                           : model_transfer(model, batch->transfers[i].id)->timestamp;
}

static void
chain_break(struct model *model, struct batch *batch, uint32_t i)
{
    scope_discard(model);
    batch->chain_broken = true;
    for (uint32_t before = batch->chain_start; before < i; before++) {
        batch->results[before].status = batch->statuses->chain_failed;
        batch->results[before].timestamp = batch_slot(batch, before);
    }
}

void
model_execute(
    struct model *model,
    uint8_t operation,
    const void *events,
    uint32_t count,
    uint64_t timestamp_final,
    struct create_result *results)
{
    assert(operation == LEDGER_CREATE_ACCOUNTS || operation == LEDGER_CREATE_TRANSFERS);
    assert(timestamp_final >= model->timestamp + count);
    const bool accounts = operation == LEDGER_CREATE_ACCOUNTS;
    struct batch batch = {
        .statuses = accounts ? &account_statuses : &transfer_statuses,
        .accounts = accounts ? events : NULL,
        .transfers = accounts ? NULL : events,
        .count = count,
        .timestamp_final = timestamp_final,
        .results = results,
        .chain_start = MODEL_NONE,
    };
    for (uint32_t i = 0; i < count; i++) {
        const bool linked = (batch_flags(&batch, i) & batch.statuses->flag_linked) != 0;
        if (linked && batch.chain_start == MODEL_NONE) {
            batch.chain_start = i;
            scope_open(model);
        }
        const uint32_t status = batch_event(model, &batch, i);
        results[i] = (struct create_result){
            .timestamp = batch_result_timestamp(model, &batch, i, status),
            .status = status,
        };
        const bool chained = batch.chain_start != MODEL_NONE;
        if (chained && !batch.chain_broken && status != STATUS_CREATED)
            chain_break(model, &batch, i);
        if (!accounts && model_transient(status))
            model_ids_add(&model->burnt_ids, batch.transfers[i].id);
        if (chained && (!linked || i == count - 1)) {
            batch.chain_start = MODEL_NONE;
            batch.chain_broken = false;
        }
    }
    if (count > 0) model->timestamp = timestamp_final;
}

/* ---- Expiry ---------------------------------------------------------------------------------- */

/*
 * The pending transfer that expires first, of those due; MODEL_NONE: none. Of two at a time, the
 * older one.
 */
static uint32_t
expiry_first(const struct model *model, uint64_t timestamp)
{
    uint32_t first = MODEL_NONE;
    for (uint32_t i = 0; i < model->transfer_ids.count; i++) {
        const uint64_t expires_at = model_expires_at(model, i);
        if (expires_at == 0 || expires_at > timestamp) continue;
        if (first == MODEL_NONE || expires_at < model_expires_at(model, first)) first = i;
    }
    return first;
}

/* Those that were resolved, too. 0: it does not. */
static uint64_t
hold_expires_at(const struct transfer *transfer)
{
    if (!(transfer->flags & TRANSFER_PENDING) || transfer->timeout == 0) return 0;
    return transfer->timestamp + transfer->timeout * NS_PER_S;
}

/* In the order of expiry; of two at a time, the older one first. */
static bool
pulsed(const struct model *model, const struct transfer *hold)
{
    const uint64_t expires_at = hold_expires_at(hold);
    if (expires_at != model->pulsed_expires_at) return expires_at < model->pulsed_expires_at;
    return hold->timestamp <= model->pulsed_timestamp;
}

/* The pulse has come past all holds up to this one. */
static void
pulsed_set(struct model *model, const struct transfer *hold)
{
    if (pulsed(model, hold)) return;
    model->pulsed_expires_at = hold_expires_at(hold);
    model->pulsed_timestamp = hold->timestamp;
}

bool
model_pulse_due(const struct model *model, uint64_t timestamp)
{
    uint32_t passed = 0;
    if (expiry_first(model, timestamp) != MODEL_NONE) return true;
    for (uint32_t i = 0; i < model->transfer_ids.count; i++) {
        const struct transfer *transfer = &model->transfers[i];
        const uint64_t expires_at = hold_expires_at(transfer);
        if (expires_at == 0 || expires_at > timestamp) continue;
        if (!pulsed(model, transfer)) passed += 1;
    }
    return passed >= PULSE_PASSED_MAX;
}

void
model_pulse(struct model *model, uint64_t timestamp_final)
{
    assert(timestamp_final >= model->timestamp + PULSE_EXPIRIES_MAX);
    uint32_t due[PULSE_EXPIRIES_MAX];
    uint32_t count = 0;
    while (count < PULSE_EXPIRIES_MAX) {
        const uint32_t first = expiry_first(model, timestamp_final);
        if (first == MODEL_NONE) break;
        model->statuses[first] = PENDING_EXPIRED;
        model->resolved_by[first] = 0;
        due[count++] = first;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct transfer *pending = &model->transfers[due[i]];
        const uint64_t timestamp = timestamp_final - count + i + 1;
        model->resolved_at[due[i]] = timestamp;
        model_pending_release(model, pending);
        model_event_add(model, pending, CHANGE_TWO_PHASE_EXPIRED, timestamp);
        pulsed_set(model, pending);
    }
    for (uint32_t i = 0; count < PULSE_EXPIRIES_MAX && i < model->transfer_ids.count; i++) {
        const uint64_t expires_at = hold_expires_at(&model->transfers[i]);
        if (expires_at == 0 || expires_at > timestamp_final) continue;
        pulsed_set(model, &model->transfers[i]);
    }
    model->timestamp = timestamp_final;
}
