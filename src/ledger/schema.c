/* SPDX-License-Identifier: PostgreSQL */
/* What the forest must know of the records: sizes, names, and which fields are indexed. */
#include <stddef.h>

#include "ledger/ledger_internal.h"

static const struct groove_schema grooves[] = {
    [GROOVE_ACCOUNT] =
        {
            .name = "account",
            .record_size = sizeof(struct account),
            .timestamp_offset = offsetof(struct account, timestamp),
            .id_offset = offsetof(struct account, id),
            /* No error of an account depends on state, so no account id can burn. */
            .burnt_groove = FOREST_NONE,
            .inserts_per_event_max = 1,
            .updates_per_event_max = 2,
        },
    [GROOVE_TRANSFER] =
        {
            .name = "transfer",
            .record_size = sizeof(struct transfer),
            .timestamp_offset = offsetof(struct transfer, timestamp),
            .id_offset = offsetof(struct transfer, id),
            .burnt_groove = GROOVE_BURNT_ID,
            .inserts_per_event_max = 1,
            .updates_per_event_max = 0,
        },
    [GROOVE_TRANSFER_PENDING] =
        {
            .name = "transfer_pending",
            .record_size = sizeof(struct transfer_pending),
            .timestamp_offset = offsetof(struct transfer_pending, timestamp),
            .id_offset = FOREST_NONE,
            .burnt_groove = FOREST_NONE,
            .inserts_per_event_max = 1,
            .updates_per_event_max = 1,
        },
    [GROOVE_ACCOUNT_EVENT] =
        {
            .name = "account_event",
            .record_size = sizeof(struct account_event),
            .timestamp_offset = offsetof(struct account_event, timestamp),
            .id_offset = FOREST_NONE,
            .burnt_groove = FOREST_NONE,
            .inserts_per_event_max = 1,
            .updates_per_event_max = 0,
        },
    [GROOVE_BURNT_ID] =
        {
            .name = "burnt_id",
            .record_size = sizeof(struct burnt_id),
            .timestamp_offset = offsetof(struct burnt_id, timestamp),
            .id_offset = offsetof(struct burnt_id, id),
            .burnt_groove = FOREST_NONE,
            .inserts_per_event_max = 1,
            .updates_per_event_max = 0,
        },
};

/* An index of one field, for equality. The value 0 means that the client left the field unset. */
#define INDEX(groove_number, record, field)                                                        \
    {                                                                                              \
        .name = #record "." #field, .groove = (groove_number), .kind = INDEX_EQUAL,                \
        .field_offset = offsetof(struct record, field),                                            \
        .field_size = sizeof(((struct record *) 0)->field), .zero_indexed = false,                 \
    }

/* The same for transfers that are holds; and below, for events that are expiries. */
#define INDEX_OF_HOLDS(field)                                                                      \
    {                                                                                              \
        .name = "hold." #field, .groove = GROOVE_TRANSFER, .kind = INDEX_EQUAL,                    \
        .field_offset = offsetof(struct transfer, field),                                          \
        .field_size = sizeof(((struct transfer *) 0)->field), .zero_indexed = false,               \
        .when_offset = offsetof(struct transfer, flags), .when_mask = TRANSFER_PENDING,            \
        .when_value = TRANSFER_PENDING,                                                            \
    }
#define INDEX_OF_EXPIRIES(field)                                                                   \
    {                                                                                              \
        .name = "expiry." #field, .groove = GROOVE_ACCOUNT_EVENT, .kind = INDEX_EQUAL,             \
        .field_offset = offsetof(struct account_event, field),                                     \
        .field_size = sizeof(((struct account_event *) 0)->field), .zero_indexed = false,          \
        .when_offset = offsetof(struct account_event, type), .when_mask = UINT8_MAX,               \
        .when_value = CHANGE_TWO_PHASE_EXPIRED,                                                    \
    }

static const struct index_schema indexes[] = {
    [INDEX_ACCOUNT_USER_DATA_128] = INDEX(GROOVE_ACCOUNT, account, user_data_128),
    [INDEX_ACCOUNT_USER_DATA_64] = INDEX(GROOVE_ACCOUNT, account, user_data_64),
    [INDEX_ACCOUNT_USER_DATA_32] = INDEX(GROOVE_ACCOUNT, account, user_data_32),
    [INDEX_ACCOUNT_LEDGER] = INDEX(GROOVE_ACCOUNT, account, ledger),
    [INDEX_ACCOUNT_CODE] = INDEX(GROOVE_ACCOUNT, account, code),
    [INDEX_TRANSFER_DEBIT_ACCOUNT] = INDEX(GROOVE_TRANSFER, transfer, debit_account_id),
    [INDEX_TRANSFER_CREDIT_ACCOUNT] = INDEX(GROOVE_TRANSFER, transfer, credit_account_id),
    [INDEX_TRANSFER_USER_DATA_128] = INDEX(GROOVE_TRANSFER, transfer, user_data_128),
    [INDEX_TRANSFER_USER_DATA_64] = INDEX(GROOVE_TRANSFER, transfer, user_data_64),
    [INDEX_TRANSFER_USER_DATA_32] = INDEX(GROOVE_TRANSFER, transfer, user_data_32),
    [INDEX_TRANSFER_LEDGER] = INDEX(GROOVE_TRANSFER, transfer, ledger),
    [INDEX_TRANSFER_CODE] = INDEX(GROOVE_TRANSFER, transfer, code),
    [INDEX_PENDING_EXPIRES_AT] =
        {
            .name = "transfer_pending.expires_at",
            .groove = GROOVE_TRANSFER_PENDING,
            .kind = INDEX_ORDERED,
            .field_offset = offsetof(struct transfer_pending, expires_at),
            .field_size = sizeof(uint64_t),
            .zero_indexed = false,
        },
    /*
     * The state of a hold changes, but entries of an index are never removed. So these indexes keep
     * holds that are resolved. A list of open holds passes over them, and reads the 32 bytes of
     * each one's state, which takes some microseconds if it is in memory. So listing the open holds
     * of an account takes time for all holds that it ever had (but not for all its transfers). A
     * window of timestamps bounds that.
     */
    [INDEX_HOLD_DEBIT_ACCOUNT] = INDEX_OF_HOLDS(debit_account_id),
    [INDEX_HOLD_CREDIT_ACCOUNT] = INDEX_OF_HOLDS(credit_account_id),
    [INDEX_HOLD_LEDGER] = INDEX_OF_HOLDS(ledger),
    [INDEX_EXPIRY_DEBIT_ACCOUNT] = INDEX_OF_EXPIRIES(debit_account_timestamp),
    [INDEX_EXPIRY_CREDIT_ACCOUNT] = INDEX_OF_EXPIRIES(credit_account_timestamp),
};

static_assert(ARRAY_COUNT(grooves) <= FOREST_GROOVES_MAX, "the forest has room");
static_assert(ARRAY_COUNT(indexes) <= FOREST_INDEXES_MAX, "the forest has room");

const struct forest_schema ledger_schema = {
    .grooves = grooves,
    .groove_count = ARRAY_COUNT(grooves),
    .indexes = indexes,
    .index_count = ARRAY_COUNT(indexes),
};
