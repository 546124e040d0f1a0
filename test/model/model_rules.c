/* SPDX-License-Identifier: PostgreSQL */
/*
 * One event at a time: what the rules say to it, in the order in which they say it, and what it
 * does.
 */
#include "model/model_internal.h"

#include "base/units.h"

static struct account *
account_find(struct model *model, u128 id)
{
    const uint32_t index = model_ids_find(&model->account_ids, id);
    return index == MODEL_NONE ? NULL : &model->accounts[index];
}

static bool
account_has_timestamp(const struct model *model, uint64_t timestamp)
{
    for (uint32_t i = 0; i < model->account_ids.count; i++) {
        if (model->accounts[i].timestamp == timestamp) return true;
    }
    return false;
}

static bool
event_has_timestamp(const struct model *model, uint64_t timestamp)
{
    for (uint32_t i = 0; i < model->event_count; i++) {
        if (model->events[i].timestamp == timestamp) return true;
    }
    return false;
}

static uint64_t
account_newest(const struct model *model)
{
    const uint32_t count = model->account_ids.count;
    return count == 0 ? 0 : model->accounts[count - 1].timestamp;
}

static uint64_t
event_newest(const struct model *model)
{
    return model->event_count == 0 ? 0 : model->events[model->event_count - 1].timestamp;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

static uint32_t
account_exists(const struct account *event, const struct account *stored)
{
    if (event->flags != stored->flags) return ACCOUNT_STATUS_exists_with_different_flags;
    if (event->user_data_128 != stored->user_data_128) {
        return ACCOUNT_STATUS_exists_with_different_user_data_128;
    }
    if (event->user_data_64 != stored->user_data_64) {
        return ACCOUNT_STATUS_exists_with_different_user_data_64;
    }
    if (event->user_data_32 != stored->user_data_32) {
        return ACCOUNT_STATUS_exists_with_different_user_data_32;
    }
    if (event->ledger != stored->ledger) return ACCOUNT_STATUS_exists_with_different_ledger;
    if (event->code != stored->code) return ACCOUNT_STATUS_exists_with_different_code;
    return ACCOUNT_STATUS_exists;
}

static uint32_t
account_judge(const struct model *model, const struct account *event)
{
    const uint16_t limits =
        ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS;

    if (event->reserved != 0) return ACCOUNT_STATUS_reserved_field;
    if (event->flags & ~ACCOUNT_FLAGS_KNOWN) return ACCOUNT_STATUS_reserved_flag;
    if (event->id == 0) return ACCOUNT_STATUS_id_must_not_be_zero;
    if (event->id == U128_MAX) return ACCOUNT_STATUS_id_must_not_be_int_max;

    const struct account *stored = model_account(model, event->id);
    if (stored != NULL) return account_exists(event, stored);

    if ((event->flags & limits) == limits) return ACCOUNT_STATUS_flags_are_mutually_exclusive;
    if (event->debits_pending != 0) return ACCOUNT_STATUS_debits_pending_must_be_zero;
    if (event->debits_posted != 0) return ACCOUNT_STATUS_debits_posted_must_be_zero;
    if (event->credits_pending != 0) return ACCOUNT_STATUS_credits_pending_must_be_zero;
    if (event->credits_posted != 0) return ACCOUNT_STATUS_credits_posted_must_be_zero;
    if (event->ledger == 0) return ACCOUNT_STATUS_ledger_must_not_be_zero;
    if (event->code == 0) return ACCOUNT_STATUS_code_must_not_be_zero;
    if (event->flags & ACCOUNT_IMPORTED) {
        if (event->timestamp <= account_newest(model) ||
            event_has_timestamp(model, event->timestamp)) {
            return ACCOUNT_STATUS_imported_event_timestamp_must_not_regress;
        }
    }
    return STATUS_CREATED;
}

uint32_t
model_create_account(struct model *model, const struct account *event, uint64_t slot)
{
    const uint32_t status = account_judge(model, event);
    if (status != STATUS_CREATED) return status;

    const uint32_t index = model->account_ids.count;
    struct account *account = &model->accounts[index];
    model_ids_add(&model->account_ids, event->id);
    *account = *event;
    model->closed_from_birth[index] = (event->flags & ACCOUNT_CLOSED) != 0;
    if (!(event->flags & ACCOUNT_IMPORTED)) account->timestamp = slot;
    return STATUS_CREATED;
}

/* ---- Transfers: does it exist? --------------------------------------------------------------- */

/* A field of a post or void: given, or taken over from the pending transfer by giving 0. */
static bool
inherited_equal(u128 given, u128 stored, u128 pending)
{
    return given == 0 ? stored == pending : given == stored;
}

static bool
optional_equal(u128 given, u128 stored)
{
    return given == 0 || given == stored;
}

/* A post or void that exists. */
static uint32_t
resolution_exists(
    const struct transfer *event, const struct transfer *stored, const struct transfer *pending)
{
    const u128 amount_inherited = event->flags & TRANSFER_POST_PENDING ? U128_MAX : 0;
    const u128 amount = event->amount == amount_inherited ? pending->amount : event->amount;

    if (!optional_equal(event->debit_account_id, stored->debit_account_id)) {
        return TRANSFER_STATUS_exists_with_different_debit_account_id;
    }
    if (!optional_equal(event->credit_account_id, stored->credit_account_id)) {
        return TRANSFER_STATUS_exists_with_different_credit_account_id;
    }
    if (amount != stored->amount) return TRANSFER_STATUS_exists_with_different_amount;
    if (!inherited_equal(event->user_data_128, stored->user_data_128, pending->user_data_128)) {
        return TRANSFER_STATUS_exists_with_different_user_data_128;
    }
    if (!inherited_equal(event->user_data_64, stored->user_data_64, pending->user_data_64)) {
        return TRANSFER_STATUS_exists_with_different_user_data_64;
    }
    if (!inherited_equal(event->user_data_32, stored->user_data_32, pending->user_data_32)) {
        return TRANSFER_STATUS_exists_with_different_user_data_32;
    }
    if (!optional_equal(event->ledger, stored->ledger)) {
        return TRANSFER_STATUS_exists_with_different_ledger;
    }
    if (!optional_equal(event->code, stored->code)) {
        return TRANSFER_STATUS_exists_with_different_code;
    }
    return TRANSFER_STATUS_exists;
}

/* A single-phase or pending transfer that exists. */
static uint32_t
plain_exists(const struct transfer *event, const struct transfer *stored)
{
    const bool balancing =
        (event->flags & (TRANSFER_BALANCING_DEBIT | TRANSFER_BALANCING_CREDIT)) != 0;

    if (event->debit_account_id != stored->debit_account_id) {
        return TRANSFER_STATUS_exists_with_different_debit_account_id;
    }
    if (event->credit_account_id != stored->credit_account_id) {
        return TRANSFER_STATUS_exists_with_different_credit_account_id;
    }
    if (balancing ? event->amount < stored->amount : event->amount != stored->amount) {
        return TRANSFER_STATUS_exists_with_different_amount;
    }
    if (event->user_data_128 != stored->user_data_128) {
        return TRANSFER_STATUS_exists_with_different_user_data_128;
    }
    if (event->user_data_64 != stored->user_data_64) {
        return TRANSFER_STATUS_exists_with_different_user_data_64;
    }
    if (event->user_data_32 != stored->user_data_32) {
        return TRANSFER_STATUS_exists_with_different_user_data_32;
    }
    if (event->ledger != stored->ledger) return TRANSFER_STATUS_exists_with_different_ledger;
    if (event->code != stored->code) return TRANSFER_STATUS_exists_with_different_code;
    return TRANSFER_STATUS_exists;
}

static uint32_t
transfer_exists(
    const struct model *model, const struct transfer *event, const struct transfer *stored)
{
    if (event->flags != stored->flags) return TRANSFER_STATUS_exists_with_different_flags;
    if (event->pending_id != stored->pending_id) {
        return TRANSFER_STATUS_exists_with_different_pending_id;
    }
    if (event->timeout != stored->timeout) return TRANSFER_STATUS_exists_with_different_timeout;
    if (event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) {
        return resolution_exists(event, stored, model_transfer(model, stored->pending_id));
    }
    return plain_exists(event, stored);
}

/* ---- Transfers: effects ---------------------------------------------------------------------- */

static struct change_event_account
event_side(const struct account *account)
{
    return (struct change_event_account){
        .id = account->id,
        .balances =
            {
                .debits_pending = account->debits_pending,
                .debits_posted = account->debits_posted,
                .credits_pending = account->credits_pending,
                .credits_posted = account->credits_posted,
            },
        .user_data_128 = account->user_data_128,
        .user_data_64 = account->user_data_64,
        .user_data_32 = account->user_data_32,
        .code = account->code,
        .flags = account->flags,
    };
}

void
model_event_add(
    struct model *model,
    const struct transfer *transfer,
    enum change_event_type type,
    uint64_t timestamp)
{
    const struct account *debit = account_find(model, transfer->debit_account_id);
    const struct account *credit = account_find(model, transfer->credit_account_id);
    assert(model->event_count < model->event_count_max);
    assert(timestamp > event_newest(model));
    model->events[model->event_count++] = (struct change_event){
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
        .type = (uint8_t) type,
        .debit_account = event_side(debit),
        .credit_account = event_side(credit),
        .timestamp = timestamp,
        .transfer_timestamp = transfer->timestamp,
        .debit_account_timestamp = debit->timestamp,
        .credit_account_timestamp = credit->timestamp,
    };
}

static void
transfer_add(
    struct model *model,
    const struct transfer *transfer,
    enum pending_status status,
    enum change_event_type type)
{
    const uint32_t index = model->transfer_ids.count;
    model_ids_add(&model->transfer_ids, transfer->id);
    model->transfers[index] = *transfer;
    model->statuses[index] = (uint8_t) status;
    model_event_add(model, transfer, type, transfer->timestamp);
}

static void
closed_set(struct account *account, bool closed)
{
    if (closed) {
        account->flags |= ACCOUNT_CLOSED;
    } else {
        account->flags &= (uint16_t) ~ACCOUNT_CLOSED;
    }
}

void
model_pending_release(struct model *model, const struct transfer *pending)
{
    struct account *debit = account_find(model, pending->debit_account_id);
    struct account *credit = account_find(model, pending->credit_account_id);
    debit->debits_pending -= pending->amount;
    credit->credits_pending -= pending->amount;
    if (pending->flags & TRANSFER_CLOSING_DEBIT) closed_set(debit, false);
    if (pending->flags & TRANSFER_CLOSING_CREDIT) closed_set(credit, false);
}

/* ---- Transfers: post and void ---------------------------------------------------------------- */

static u128
resolution_amount(const struct transfer *event, const struct transfer *pending)
{
    if (event->flags & TRANSFER_VOID_PENDING && event->amount == 0) return pending->amount;
    if (event->flags & TRANSFER_POST_PENDING && event->amount == U128_MAX) return pending->amount;
    return event->amount;
}

static bool
regresses(const struct model *model, const struct transfer *event)
{
    return event->flags & TRANSFER_IMPORTED && (event->timestamp <= event_newest(model) ||
                                                account_has_timestamp(model, event->timestamp));
}

static uint32_t
resolution_judge_pending(
    const struct transfer *event,
    const struct transfer *pending,
    enum pending_status status,
    uint64_t slot)
{
    if (!(pending->flags & TRANSFER_PENDING)) return TRANSFER_STATUS_pending_transfer_not_pending;
    if (!optional_equal(event->debit_account_id, pending->debit_account_id)) {
        return TRANSFER_STATUS_pending_transfer_has_different_debit_account_id;
    }
    if (!optional_equal(event->credit_account_id, pending->credit_account_id)) {
        return TRANSFER_STATUS_pending_transfer_has_different_credit_account_id;
    }
    if (!optional_equal(event->ledger, pending->ledger)) {
        return TRANSFER_STATUS_pending_transfer_has_different_ledger;
    }
    if (!optional_equal(event->code, pending->code)) {
        return TRANSFER_STATUS_pending_transfer_has_different_code;
    }

    const u128 amount = resolution_amount(event, pending);
    if (amount > pending->amount) return TRANSFER_STATUS_exceeds_pending_transfer_amount;
    if (event->flags & TRANSFER_VOID_PENDING && amount < pending->amount) {
        return TRANSFER_STATUS_pending_transfer_has_different_amount;
    }

    if (status == PENDING_POSTED) return TRANSFER_STATUS_pending_transfer_already_posted;
    if (status == PENDING_VOIDED) return TRANSFER_STATUS_pending_transfer_already_voided;
    if (status == PENDING_EXPIRED) return TRANSFER_STATUS_pending_transfer_expired;
    assert(status == PENDING_PENDING);
    if (pending->timeout > 0 && pending->timestamp + pending->timeout * NS_PER_S <= slot) {
        return TRANSFER_STATUS_pending_transfer_expired;
    }
    return STATUS_CREATED;
}

static uint32_t
resolution_judge(struct model *model, const struct transfer *event, uint64_t slot)
{
    const uint16_t post_void = TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING;
    const uint16_t others = TRANSFER_PENDING | TRANSFER_BALANCING_DEBIT |
                            TRANSFER_BALANCING_CREDIT | TRANSFER_CLOSING_DEBIT |
                            TRANSFER_CLOSING_CREDIT;

    if ((event->flags & post_void) == post_void || event->flags & others) {
        return TRANSFER_STATUS_flags_are_mutually_exclusive;
    }
    if (event->pending_id == 0) return TRANSFER_STATUS_pending_id_must_not_be_zero;
    if (event->pending_id == U128_MAX) return TRANSFER_STATUS_pending_id_must_not_be_int_max;
    if (event->pending_id == event->id) return TRANSFER_STATUS_pending_id_must_be_different;
    if (event->timeout != 0) return TRANSFER_STATUS_timeout_reserved_for_pending_transfer;

    const uint32_t index = model_ids_find(&model->transfer_ids, event->pending_id);
    if (index == MODEL_NONE) return TRANSFER_STATUS_pending_transfer_not_found;
    const struct transfer *pending = &model->transfers[index];
    const uint32_t status = resolution_judge_pending(
        event, pending, (enum pending_status) model->statuses[index], slot);
    if (status != STATUS_CREATED) return status;

    if (regresses(model, event)) return TRANSFER_STATUS_imported_event_timestamp_must_not_regress;
    if (event->flags & TRANSFER_POST_PENDING) {
        if (account_find(model, pending->debit_account_id)->flags & ACCOUNT_CLOSED) {
            return TRANSFER_STATUS_debit_account_already_closed;
        }
        if (account_find(model, pending->credit_account_id)->flags & ACCOUNT_CLOSED) {
            return TRANSFER_STATUS_credit_account_already_closed;
        }
    }
    return STATUS_CREATED;
}

static uint32_t
create_resolution(struct model *model, const struct transfer *event, uint64_t slot)
{
    const uint32_t status = resolution_judge(model, event, slot);
    if (status != STATUS_CREATED) return status;

    const bool post = (event->flags & TRANSFER_POST_PENDING) != 0;
    const uint32_t index = model_ids_find(&model->transfer_ids, event->pending_id);
    const struct transfer *pending = &model->transfers[index];
    const struct transfer transfer = {
        .id = event->id,
        .debit_account_id = pending->debit_account_id,
        .credit_account_id = pending->credit_account_id,
        .amount = resolution_amount(event, pending),
        .pending_id = event->pending_id,
        .user_data_128 = event->user_data_128 ? event->user_data_128 : pending->user_data_128,
        .user_data_64 = event->user_data_64 ? event->user_data_64 : pending->user_data_64,
        .user_data_32 = event->user_data_32 ? event->user_data_32 : pending->user_data_32,
        .timeout = 0,
        .ledger = pending->ledger,
        .code = pending->code,
        .flags = event->flags,
        .timestamp = event->flags & TRANSFER_IMPORTED ? event->timestamp : slot,
    };
    model->statuses[index] = post ? PENDING_POSTED : PENDING_VOIDED;
    model->resolved_at[index] = transfer.timestamp;
    model->resolved_by[index] = transfer.id;
    if (post) {
        account_find(model, transfer.debit_account_id)->debits_posted += transfer.amount;
        account_find(model, transfer.credit_account_id)->credits_posted += transfer.amount;
        account_find(model, transfer.debit_account_id)->debits_pending -= pending->amount;
        account_find(model, transfer.credit_account_id)->credits_pending -= pending->amount;
    } else {
        model_pending_release(model, pending);
    }
    transfer_add(
        model, &transfer, PENDING_NONE, post ? CHANGE_TWO_PHASE_POSTED : CHANGE_TWO_PHASE_VOIDED);
    return STATUS_CREATED;
}

/* ---- Transfers: single-phase and pending ----------------------------------------------------- */

static uint32_t
plain_judge_fields(const struct transfer *event)
{
    if (event->debit_account_id == 0) return TRANSFER_STATUS_debit_account_id_must_not_be_zero;
    if (event->debit_account_id == U128_MAX) {
        return TRANSFER_STATUS_debit_account_id_must_not_be_int_max;
    }
    if (event->credit_account_id == 0) return TRANSFER_STATUS_credit_account_id_must_not_be_zero;
    if (event->credit_account_id == U128_MAX) {
        return TRANSFER_STATUS_credit_account_id_must_not_be_int_max;
    }
    if (event->debit_account_id == event->credit_account_id) {
        return TRANSFER_STATUS_accounts_must_be_different;
    }
    if (event->pending_id != 0) return TRANSFER_STATUS_pending_id_must_be_zero;
    if (!(event->flags & TRANSFER_PENDING)) {
        if (event->timeout != 0) return TRANSFER_STATUS_timeout_reserved_for_pending_transfer;
        if (event->flags & (TRANSFER_CLOSING_DEBIT | TRANSFER_CLOSING_CREDIT)) {
            return TRANSFER_STATUS_closing_transfer_must_be_pending;
        }
    }
    if (event->ledger == 0) return TRANSFER_STATUS_ledger_must_not_be_zero;
    if (event->code == 0) return TRANSFER_STATUS_code_must_not_be_zero;
    return STATUS_CREATED;
}

static uint32_t
plain_judge_accounts(
    const struct model *model,
    const struct transfer *event,
    const struct account *debit,
    const struct account *credit)
{
    if (debit == NULL) return TRANSFER_STATUS_debit_account_not_found;
    if (credit == NULL) return TRANSFER_STATUS_credit_account_not_found;
    if (debit->ledger != credit->ledger) return TRANSFER_STATUS_accounts_must_have_the_same_ledger;
    if (event->ledger != debit->ledger) {
        return TRANSFER_STATUS_transfer_must_have_the_same_ledger_as_accounts;
    }
    if (event->flags & TRANSFER_IMPORTED) {
        if (regresses(model, event)) {
            return TRANSFER_STATUS_imported_event_timestamp_must_not_regress;
        }
        if (event->timestamp <= debit->timestamp) {
            return TRANSFER_STATUS_imported_event_timestamp_must_postdate_debit_account;
        }
        if (event->timestamp <= credit->timestamp) {
            return TRANSFER_STATUS_imported_event_timestamp_must_postdate_credit_account;
        }
        if (event->timeout != 0) return TRANSFER_STATUS_imported_event_timeout_must_be_zero;
    }
    if (debit->flags & ACCOUNT_CLOSED) return TRANSFER_STATUS_debit_account_already_closed;
    if (credit->flags & ACCOUNT_CLOSED) return TRANSFER_STATUS_credit_account_already_closed;
    return STATUS_CREATED;
}

/* The amount, clamped to what balancing leaves. */
static u128
plain_amount(
    const struct transfer *event, const struct account *debit, const struct account *credit)
{
    u128 amount = event->amount;
    if (event->flags & TRANSFER_BALANCING_DEBIT) {
        const u128 debits = debit->debits_posted + debit->debits_pending;
        const u128 room = debit->credits_posted > debits ? debit->credits_posted - debits : 0;
        if (amount > room) amount = room;
    }
    if (event->flags & TRANSFER_BALANCING_CREDIT) {
        const u128 credits = credit->credits_posted + credit->credits_pending;
        const u128 room = credit->debits_posted > credits ? credit->debits_posted - credits : 0;
        if (amount > room) amount = room;
    }
    return amount;
}

static bool
overflows(u128 a, u128 b)
{
    return a + b < a;
}

static uint32_t
plain_judge_amount(
    const struct transfer *event,
    const struct account *debit,
    const struct account *credit,
    u128 amount,
    uint64_t slot)
{
    const u128 debits = debit->debits_pending + debit->debits_posted;
    const u128 credits = credit->credits_pending + credit->credits_posted;
    if (event->flags & TRANSFER_PENDING) {
        if (overflows(debit->debits_pending, amount)) {
            return TRANSFER_STATUS_overflows_debits_pending;
        }
        if (overflows(credit->credits_pending, amount)) {
            return TRANSFER_STATUS_overflows_credits_pending;
        }
    }
    if (overflows(debit->debits_posted, amount)) return TRANSFER_STATUS_overflows_debits_posted;
    if (overflows(credit->credits_posted, amount)) return TRANSFER_STATUS_overflows_credits_posted;
    if (overflows(debits, amount)) return TRANSFER_STATUS_overflows_debits;
    if (overflows(credits, amount)) return TRANSFER_STATUS_overflows_credits;
    if ((u128) slot + (u128) event->timeout * NS_PER_S > TIMESTAMP_MAX) {
        return TRANSFER_STATUS_overflows_timeout;
    }
    if (debit->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS &&
        debits + amount > debit->credits_posted) {
        return TRANSFER_STATUS_exceeds_credits;
    }
    if (credit->flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS &&
        credits + amount > credit->debits_posted) {
        return TRANSFER_STATUS_exceeds_debits;
    }
    return STATUS_CREATED;
}

static uint32_t
create_plain(struct model *model, const struct transfer *event, uint64_t slot)
{
    uint32_t status = plain_judge_fields(event);
    if (status != STATUS_CREATED) return status;
    struct account *debit = account_find(model, event->debit_account_id);
    struct account *credit = account_find(model, event->credit_account_id);
    status = plain_judge_accounts(model, event, debit, credit);
    if (status != STATUS_CREATED) return status;
    const u128 amount = plain_amount(event, debit, credit);
    status = plain_judge_amount(event, debit, credit, amount, slot);
    if (status != STATUS_CREATED) return status;

    struct transfer transfer = *event;
    transfer.amount = amount;
    if (!(event->flags & TRANSFER_IMPORTED)) transfer.timestamp = slot;
    if (event->flags & TRANSFER_PENDING) {
        debit->debits_pending += amount;
        credit->credits_pending += amount;
        if (event->flags & TRANSFER_CLOSING_DEBIT) closed_set(debit, true);
        if (event->flags & TRANSFER_CLOSING_CREDIT) closed_set(credit, true);
        transfer_add(model, &transfer, PENDING_PENDING, CHANGE_TWO_PHASE_PENDING);
    } else {
        debit->debits_posted += amount;
        credit->credits_posted += amount;
        transfer_add(model, &transfer, PENDING_NONE, CHANGE_SINGLE_PHASE);
    }
    return STATUS_CREATED;
}

uint32_t
model_create_transfer(struct model *model, const struct transfer *event, uint64_t slot)
{
    if (event->flags & ~TRANSFER_FLAGS_KNOWN) return TRANSFER_STATUS_reserved_flag;
    if (event->id == 0) return TRANSFER_STATUS_id_must_not_be_zero;
    if (event->id == U128_MAX) return TRANSFER_STATUS_id_must_not_be_int_max;

    const struct transfer *stored = model_transfer(model, event->id);
    if (stored != NULL) return transfer_exists(model, event, stored);
    if (model_ids_find(&model->burnt_ids, event->id) != MODEL_NONE) {
        return TRANSFER_STATUS_id_already_failed;
    }
    if (event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING)) {
        return create_resolution(model, event, slot);
    }
    return create_plain(model, event, slot);
}

bool
model_transient(uint32_t status)
{
    return status == TRANSFER_STATUS_debit_account_not_found ||
           status == TRANSFER_STATUS_credit_account_not_found ||
           status == TRANSFER_STATUS_pending_transfer_not_found ||
           status == TRANSFER_STATUS_exceeds_credits || status == TRANSFER_STATUS_exceeds_debits ||
           status == TRANSFER_STATUS_debit_account_already_closed ||
           status == TRANSFER_STATUS_credit_account_already_closed;
}
