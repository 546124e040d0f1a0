/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a transfer is answered whose id is already stored. A retry must get `exists`, whatever was
 * clamped, inherited or left open when the transfer was created. Anything else is another transfer
 * under the same id.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

#define STATUS(name) TRANSFER_STATUS_##name

/*
 * A balancing transfer is stored with the clamped amount; the event's amount was the upper limit.
 */
static bool
amount_matches(const struct transfer *wanted, const struct transfer *stored)
{
    assert(wanted->flags == stored->flags);
    if (wanted->flags & (TRANSFER_BALANCING_DEBIT | TRANSFER_BALANCING_CREDIT)) {
        return wanted->amount >= stored->amount;
    }
    return wanted->amount == stored->amount;
}

/* Rows 14–22 of the table. `wanted` is the event, after inheritance if it posts or voids. */
static uint32_t
compare(const struct transfer *wanted, const struct transfer *stored)
{
    assert(wanted->id == stored->id);
    assert(wanted->pending_id == stored->pending_id);
    if (wanted->debit_account_id != stored->debit_account_id) {
        return STATUS(exists_with_different_debit_account_id);
    }
    if (wanted->credit_account_id != stored->credit_account_id) {
        return STATUS(exists_with_different_credit_account_id);
    }
    if (!amount_matches(wanted, stored)) return STATUS(exists_with_different_amount);
    if (wanted->user_data_128 != stored->user_data_128) {
        return STATUS(exists_with_different_user_data_128);
    }
    if (wanted->user_data_64 != stored->user_data_64) {
        return STATUS(exists_with_different_user_data_64);
    }
    if (wanted->user_data_32 != stored->user_data_32) {
        return STATUS(exists_with_different_user_data_32);
    }
    if (wanted->ledger != stored->ledger) return STATUS(exists_with_different_ledger);
    if (wanted->code != stored->code) return STATUS(exists_with_different_code);
    return STATUS(exists);
}

uint32_t
transfer_exists(
    const struct forest *forest, const struct transfer *event, const struct transfer *stored)
{
    assert(event->id == stored->id);
    assert(stored->timestamp != 0);
    /* Flags come first: they decide by which rule the rest is compared. */
    if (event->flags != stored->flags) return STATUS(exists_with_different_flags);
    if (event->pending_id != stored->pending_id) return STATUS(exists_with_different_pending_id);
    if (event->timeout != stored->timeout) return STATUS(exists_with_different_timeout);
    if (!(event->flags & (TRANSFER_POST_PENDING | TRANSFER_VOID_PENDING))) {
        return compare(event, stored);
    }
    const struct transfer *pending = transfer_find(forest, &stored->pending_id);
    assert(pending != NULL);
    assert(pending->timestamp < stored->timestamp);
    const struct transfer wanted = transfer_inherit(event, pending);
    return compare(&wanted, stored);
}
