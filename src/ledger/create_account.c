/* SPDX-License-Identifier: PostgreSQL */
/*
 * create_accounts: one event. The checks are in the order of precedence of the account codes, which
 * clients see. The batch loop has already checked chains, imported batches and the event's
 * timestamp.
 */
#include <stddef.h>

#include "ledger/ledger_internal.h"

#define STATUS(name) ACCOUNT_STATUS_##name

static uint32_t
check_id(const struct account *event)
{
    if (event->reserved != 0) return STATUS(reserved_field);
    if (event->flags & ~ACCOUNT_FLAGS_KNOWN) return STATUS(reserved_flag);
    if (event->id == 0) return STATUS(id_must_not_be_zero);
    if (event->id == U128_MAX) return STATUS(id_must_not_be_int_max);
    return STATUS_UNDECIDED;
}

static uint32_t
account_exists(const struct account *event, const struct account *stored)
{
    assert(event->id == stored->id);
    assert(stored->timestamp != 0);
    if (event->flags != stored->flags) return STATUS(exists_with_different_flags);
    if (event->user_data_128 != stored->user_data_128) {
        return STATUS(exists_with_different_user_data_128);
    }
    if (event->user_data_64 != stored->user_data_64) {
        return STATUS(exists_with_different_user_data_64);
    }
    if (event->user_data_32 != stored->user_data_32) {
        return STATUS(exists_with_different_user_data_32);
    }
    if (event->ledger != stored->ledger) return STATUS(exists_with_different_ledger);
    if (event->code != stored->code) return STATUS(exists_with_different_code);
    return STATUS(exists);
}

static uint32_t
check_fields(const struct account *event)
{
    const uint16_t limits =
        ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS;
    assert(event->id != 0 && event->id != U128_MAX);
    assert(!(event->flags & ~ACCOUNT_FLAGS_KNOWN));
    if ((event->flags & limits) == limits) return STATUS(flags_are_mutually_exclusive);
    if (event->debits_pending != 0) return STATUS(debits_pending_must_be_zero);
    if (event->debits_posted != 0) return STATUS(debits_posted_must_be_zero);
    if (event->credits_pending != 0) return STATUS(credits_pending_must_be_zero);
    if (event->credits_posted != 0) return STATUS(credits_posted_must_be_zero);
    if (event->ledger == 0) return STATUS(ledger_must_not_be_zero);
    if (event->code == 0) return STATUS(code_must_not_be_zero);
    return STATUS_UNDECIDED;
}

/*
 * An imported timestamp must be newer than that of any account, and nothing else may have it (L7).
 * Each transfer has an event of the same timestamp, so one look into the events answers for
 * transfers and expiries at once.
 */
static uint32_t
check_imported_timestamp(const struct forest *forest, const struct account *event)
{
    assert(event->flags & ACCOUNT_IMPORTED);
    assert(event->timestamp > 0 && event->timestamp <= TIMESTAMP_MAX);
    if (event->timestamp <= forest_newest(forest, GROOVE_ACCOUNT) ||
        forest_get(forest, GROOVE_ACCOUNT_EVENT, event->timestamp) != NULL) {
        return STATUS(imported_event_timestamp_must_not_regress);
    }
    return STATUS_UNDECIDED;
}

struct create_result
account_create(struct ledger *ledger, const struct account *event, uint64_t event_timestamp)
{
    struct forest *forest = ledger->machine.forest;
    struct create_result result = {.timestamp = event_timestamp};
    assert(event_timestamp > 0 && event_timestamp <= TIMESTAMP_MAX);

    result.status = check_id(event);
    if (result.status != STATUS_UNDECIDED) return result;
    const struct account *stored = account_find(forest, &event->id);
    if (stored != NULL) {
        result.status = account_exists(event, stored);
        if (result.status == STATUS(exists)) result.timestamp = stored->timestamp;
        return result;
    }
    result.status = check_fields(event);
    if (result.status != STATUS_UNDECIDED) return result;
    const bool imported = event->flags & ACCOUNT_IMPORTED;
    if (imported) result.status = check_imported_timestamp(forest, event);
    if (result.status != STATUS_UNDECIDED) return result;

    struct account account = *event;
    if (imported) {
        assert(account.timestamp < event_timestamp);
    } else {
        assert(account.timestamp == 0);
        account.timestamp = event_timestamp;
    }
    forest_insert(forest, GROOVE_ACCOUNT, &account);
    result.status = STATUS_CREATED;
    result.timestamp = account.timestamp;
    assert(result.timestamp <= event_timestamp);
    return result;
}
