/* SPDX-License-Identifier: PostgreSQL */
/*
 * Accounts, transfers, filters and their results, to the byte: these are the records that clients
 * pack, that prepares carry, and that grooves keep. All integers are little-endian; there is no
 * hidden padding.
 *
 * The layouts, flags and codes are those of TigerBeetle's public data model (see README.md), so
 * that what its users know, and their tools, apply here too.
 */
#ifndef LEDGER_LEDGER_TYPES_H
#define LEDGER_LEDGER_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/u128.h"
#include "config.h"

/* ---- Accounts -------------------------------------------------------------------------------- */

enum account_flags {
    ACCOUNT_LINKED = 1 << 0,
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS = 1 << 1,
    ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS = 1 << 2,
    ACCOUNT_HISTORY = 1 << 3,
    ACCOUNT_IMPORTED = 1 << 4,
    ACCOUNT_CLOSED = 1 << 5,
};
#define ACCOUNT_FLAGS_KNOWN 0x3f
#define ACCOUNT_FLAG_LIST(X)                                                                       \
    X(linked, ACCOUNT_LINKED)                                                                      \
    X(debits_must_not_exceed_credits, ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS)                      \
    X(credits_must_not_exceed_debits, ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS)                      \
    X(history, ACCOUNT_HISTORY)                                                                    \
    X(imported, ACCOUNT_IMPORTED)                                                                  \
    X(closed, ACCOUNT_CLOSED)

struct account {
    u128 id;
    u128 debits_pending;
    u128 debits_posted;
    u128 credits_pending;
    u128 credits_posted;
    u128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t reserved;
    uint32_t ledger;
    uint16_t code;
    uint16_t flags;
    uint64_t timestamp;
};
static_assert(sizeof(struct account) == EVENT_SIZE, "record layout");
static_assert(offsetof(struct account, timestamp) == 120, "record layout");

/* ---- Transfers ------------------------------------------------------------------------------- */

enum transfer_flags {
    TRANSFER_LINKED = 1 << 0,
    TRANSFER_PENDING = 1 << 1,
    TRANSFER_POST_PENDING = 1 << 2,
    TRANSFER_VOID_PENDING = 1 << 3,
    TRANSFER_BALANCING_DEBIT = 1 << 4,
    TRANSFER_BALANCING_CREDIT = 1 << 5,
    TRANSFER_CLOSING_DEBIT = 1 << 6,
    TRANSFER_CLOSING_CREDIT = 1 << 7,
    TRANSFER_IMPORTED = 1 << 8,
};
#define TRANSFER_FLAGS_KNOWN 0x1ff
#define TRANSFER_FLAG_LIST(X)                                                                      \
    X(linked, TRANSFER_LINKED)                                                                     \
    X(pending, TRANSFER_PENDING)                                                                   \
    X(post_pending_transfer, TRANSFER_POST_PENDING)                                                \
    X(void_pending_transfer, TRANSFER_VOID_PENDING)                                                \
    X(balancing_debit, TRANSFER_BALANCING_DEBIT)                                                   \
    X(balancing_credit, TRANSFER_BALANCING_CREDIT)                                                 \
    X(closing_debit, TRANSFER_CLOSING_DEBIT)                                                       \
    X(closing_credit, TRANSFER_CLOSING_CREDIT)                                                     \
    X(imported, TRANSFER_IMPORTED)

struct transfer {
    u128 id;
    u128 debit_account_id;
    u128 credit_account_id;
    u128 amount;
    u128 pending_id;
    u128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t timeout; /* Seconds. */
    uint32_t ledger;
    uint16_t code;
    uint16_t flags;
    uint64_t timestamp;
};
static_assert(sizeof(struct transfer) == EVENT_SIZE, "record layout");
static_assert(offsetof(struct transfer, timestamp) == 120, "record layout");

/* ---- Internal records ------------------------------------------------------------------------ */

enum pending_status {
    PENDING_NONE = 0,
    PENDING_PENDING = 1,
    PENDING_POSTED = 2,
    PENDING_VOIDED = 3,
    PENDING_EXPIRED = 4,
};

/*
 * The state of a pending transfer, found by that transfer's timestamp. The transfer itself never
 * changes.
 */
struct transfer_pending {
    uint64_t timestamp;
    uint64_t expires_at;  /* Indexed; 0 means never. It stays after the transfer is resolved. */
    uint64_t resolved_at; /* The timestamp of its post, void or expiry; 0 while it is unresolved. */
    uint8_t status;       /* enum pending_status */
    uint8_t reserved[7];
};
static_assert(sizeof(struct transfer_pending) == 32, "record layout");

struct balances {
    u128 debits_pending;
    u128 debits_posted;
    u128 credits_pending;
    u128 credits_posted;
};

/*
 * There is one for each transfer and for each expiry. It has both accounts as they were afterwards.
 */
struct account_event {
    uint64_t timestamp;
    /* The same timestamp, or for an expiry that of the pending transfer. */
    uint64_t transfer_timestamp;
    uint64_t debit_account_timestamp;
    uint64_t credit_account_timestamp;
    struct balances debit;
    struct balances credit;
    u128 amount_requested; /* The amount before balancing; 0 for an expiry. */
    uint16_t debit_flags;
    uint16_t credit_flags;
    uint8_t type; /* enum change_event_type */
    uint8_t reserved[11];
};
static_assert(sizeof(struct account_event) == 192, "record layout");

/*
 * An id that failed for a reason that depends on state. It must never succeed (id_already_failed).
 */
struct burnt_id {
    u128 id;
    uint64_t timestamp; /* The timestamp of the event that failed. */
    uint64_t reserved;
};
static_assert(sizeof(struct burnt_id) == 32, "record layout");

/* ---- Filters and their rows ------------------------------------------------------------------ */

enum account_filter_flags {
    ACCOUNT_FILTER_DEBITS = 1 << 0,
    ACCOUNT_FILTER_CREDITS = 1 << 1,
    ACCOUNT_FILTER_REVERSED = 1 << 2,
    /*
     * Not in the public model, and for balances only: expiries have rows too, and accounts have
     * rows with or without ACCOUNT_HISTORY. It can't be combined with filters of transfers
     * (user_data, code).
     */
    ACCOUNT_FILTER_EXPIRIES = 1 << 3,
};

struct account_filter {
    u128 account_id;
    u128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint16_t code;
    uint8_t reserved[58];
    uint64_t timestamp_min;
    uint64_t timestamp_max;
    uint32_t limit;
    uint32_t flags;
};
static_assert(sizeof(struct account_filter) == 128, "record layout");

enum query_filter_flags {
    QUERY_FILTER_REVERSED = 1 << 0,
};

struct query_filter {
    u128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint32_t ledger;
    uint16_t code;
    uint8_t reserved[6];
    uint64_t timestamp_min;
    uint64_t timestamp_max;
    uint32_t limit;
    uint32_t flags;
};
static_assert(sizeof(struct query_filter) == 64, "record layout");

enum hold_filter_flags {
    HOLD_FILTER_REVERSED = 1 << 0,
    /* In the order of (expires_at, timestamp). Holds that never expire are left out. */
    HOLD_FILTER_BY_EXPIRY = 1 << 1,
};

/*
 * Holds (pending transfers), chosen by what became of them among others. A field of 0 filters
 * nothing.
 *
 * In the order of expiry, the next page begins after the last row: its expires_at is the page's
 * expires_min, its timestamp the page's after_timestamp.
 */
struct hold_filter {
    u128 debit_account_id;
    u128 credit_account_id;
    u128 user_data_128;
    uint64_t user_data_64;
    uint64_t timestamp_min;
    uint64_t timestamp_max;
    uint64_t expires_min;
    uint64_t expires_max;
    /*
     * In the order of expiry: of the holds that expire at expires_min, only newer ones than this.
     */
    uint64_t after_timestamp;
    uint32_t user_data_32;
    uint32_t ledger;
    uint32_t limit;
    uint16_t flags;
    uint16_t code;
    uint8_t states; /* 1 << enum pending_status, combined by "or". 0 means all states. */
    uint8_t reserved[15];
};
static_assert(sizeof(struct hold_filter) == 128, "record layout");

enum change_events_filter_flags {
    CHANGE_EVENTS_FILTER_REVERSED = 1 << 0,
};

struct change_events_filter {
    uint64_t timestamp_min;
    uint64_t timestamp_max;
    uint32_t limit;
    uint32_t flags; /* Reserved in the public model. */
    uint8_t reserved[40];
};
static_assert(sizeof(struct change_events_filter) == 64, "record layout");

/*
 * A transfer as reads return it, with what became of it if it is a hold. For other transfers these
 * fields are 0.
 */
struct transfer_row {
    struct transfer transfer;
    u128 resolved_by;     /* The id of its post or void; 0 while it is open, or if it expired. */
    uint64_t resolved_at; /* 0 while it is open. */
    uint64_t expires_at;  /* 0 means never. It stays after the transfer is resolved. */
    uint8_t state;        /* enum pending_status */
    uint8_t reserved[15];
};
static_assert(sizeof(struct transfer_row) == 176, "record layout");

struct account_balance {
    struct balances balances;
    uint64_t timestamp;
    uint8_t reserved[56];
};
static_assert(sizeof(struct account_balance) == 128, "record layout");

enum change_event_type {
    CHANGE_SINGLE_PHASE = 0,
    CHANGE_TWO_PHASE_PENDING = 1,
    CHANGE_TWO_PHASE_POSTED = 2,
    CHANGE_TWO_PHASE_VOIDED = 3,
    CHANGE_TWO_PHASE_EXPIRED = 4,
};

struct change_event_account {
    u128 id;
    struct balances balances;
    u128 user_data_128;
    uint64_t user_data_64;
    uint32_t user_data_32;
    uint16_t code;
    uint16_t flags;
};
static_assert(sizeof(struct change_event_account) == 112, "record layout");

struct change_event {
    u128 transfer_id;
    u128 transfer_amount;
    u128 transfer_pending_id;
    u128 transfer_user_data_128;
    uint64_t transfer_user_data_64;
    uint32_t transfer_user_data_32;
    uint32_t transfer_timeout;
    uint16_t transfer_code;
    uint16_t transfer_flags;
    uint32_t ledger;
    uint8_t type;
    uint8_t reserved[39];
    struct change_event_account debit_account;
    struct change_event_account credit_account;
    uint64_t timestamp;
    uint64_t transfer_timestamp;
    uint64_t debit_account_timestamp;
    uint64_t credit_account_timestamp;
};
static_assert(sizeof(struct change_event) == 384, "record layout");

/* ---- Results --------------------------------------------------------------------------------- */

#define STATUS_CREATED 0xffffffffu

/* Name and code. */
#define CREATE_ACCOUNT_STATUS_LIST(X)                                                              \
    X(linked_event_failed, 1)                                                                      \
    X(linked_event_chain_open, 2)                                                                  \
    X(timestamp_must_be_zero, 3)                                                                   \
    X(reserved_field, 4)                                                                           \
    X(reserved_flag, 5)                                                                            \
    X(id_must_not_be_zero, 6)                                                                      \
    X(id_must_not_be_int_max, 7)                                                                   \
    X(flags_are_mutually_exclusive, 8)                                                             \
    X(debits_pending_must_be_zero, 9)                                                              \
    X(debits_posted_must_be_zero, 10)                                                              \
    X(credits_pending_must_be_zero, 11)                                                            \
    X(credits_posted_must_be_zero, 12)                                                             \
    X(ledger_must_not_be_zero, 13)                                                                 \
    X(code_must_not_be_zero, 14)                                                                   \
    X(exists_with_different_flags, 15)                                                             \
    X(exists_with_different_user_data_128, 16)                                                     \
    X(exists_with_different_user_data_64, 17)                                                      \
    X(exists_with_different_user_data_32, 18)                                                      \
    X(exists_with_different_ledger, 19)                                                            \
    X(exists_with_different_code, 20)                                                              \
    X(exists, 21)                                                                                  \
    X(imported_event_expected, 22)                                                                 \
    X(imported_event_not_expected, 23)                                                             \
    X(imported_event_timestamp_out_of_range, 24)                                                   \
    X(imported_event_timestamp_must_not_advance, 25)                                               \
    X(imported_event_timestamp_must_not_regress, 26)

#define CREATE_TRANSFER_STATUS_LIST(X)                                                             \
    X(linked_event_failed, 1)                                                                      \
    X(linked_event_chain_open, 2)                                                                  \
    X(timestamp_must_be_zero, 3)                                                                   \
    X(reserved_flag, 4)                                                                            \
    X(id_must_not_be_zero, 5)                                                                      \
    X(id_must_not_be_int_max, 6)                                                                   \
    X(flags_are_mutually_exclusive, 7)                                                             \
    X(debit_account_id_must_not_be_zero, 8)                                                        \
    X(debit_account_id_must_not_be_int_max, 9)                                                     \
    X(credit_account_id_must_not_be_zero, 10)                                                      \
    X(credit_account_id_must_not_be_int_max, 11)                                                   \
    X(accounts_must_be_different, 12)                                                              \
    X(pending_id_must_be_zero, 13)                                                                 \
    X(pending_id_must_not_be_zero, 14)                                                             \
    X(pending_id_must_not_be_int_max, 15)                                                          \
    X(pending_id_must_be_different, 16)                                                            \
    X(timeout_reserved_for_pending_transfer, 17)                                                   \
    X(ledger_must_not_be_zero, 19)                                                                 \
    X(code_must_not_be_zero, 20)                                                                   \
    X(debit_account_not_found, 21)                                                                 \
    X(credit_account_not_found, 22)                                                                \
    X(accounts_must_have_the_same_ledger, 23)                                                      \
    X(transfer_must_have_the_same_ledger_as_accounts, 24)                                          \
    X(pending_transfer_not_found, 25)                                                              \
    X(pending_transfer_not_pending, 26)                                                            \
    X(pending_transfer_has_different_debit_account_id, 27)                                         \
    X(pending_transfer_has_different_credit_account_id, 28)                                        \
    X(pending_transfer_has_different_ledger, 29)                                                   \
    X(pending_transfer_has_different_code, 30)                                                     \
    X(exceeds_pending_transfer_amount, 31)                                                         \
    X(pending_transfer_has_different_amount, 32)                                                   \
    X(pending_transfer_already_posted, 33)                                                         \
    X(pending_transfer_already_voided, 34)                                                         \
    X(pending_transfer_expired, 35)                                                                \
    X(exists_with_different_flags, 36)                                                             \
    X(exists_with_different_debit_account_id, 37)                                                  \
    X(exists_with_different_credit_account_id, 38)                                                 \
    X(exists_with_different_amount, 39)                                                            \
    X(exists_with_different_pending_id, 40)                                                        \
    X(exists_with_different_user_data_128, 41)                                                     \
    X(exists_with_different_user_data_64, 42)                                                      \
    X(exists_with_different_user_data_32, 43)                                                      \
    X(exists_with_different_timeout, 44)                                                           \
    X(exists_with_different_code, 45)                                                              \
    X(exists, 46)                                                                                  \
    X(overflows_debits_pending, 47)                                                                \
    X(overflows_credits_pending, 48)                                                               \
    X(overflows_debits_posted, 49)                                                                 \
    X(overflows_credits_posted, 50)                                                                \
    X(overflows_debits, 51)                                                                        \
    X(overflows_credits, 52)                                                                       \
    X(overflows_timeout, 53)                                                                       \
    X(exceeds_credits, 54)                                                                         \
    X(exceeds_debits, 55)                                                                          \
    X(imported_event_expected, 56)                                                                 \
    X(imported_event_not_expected, 57)                                                             \
    X(imported_event_timestamp_out_of_range, 58)                                                   \
    X(imported_event_timestamp_must_not_advance, 59)                                               \
    X(imported_event_timestamp_must_not_regress, 60)                                               \
    X(imported_event_timestamp_must_postdate_debit_account, 61)                                    \
    X(imported_event_timestamp_must_postdate_credit_account, 62)                                   \
    X(imported_event_timeout_must_be_zero, 63)                                                     \
    X(closing_transfer_must_be_pending, 64)                                                        \
    X(debit_account_already_closed, 65)                                                            \
    X(credit_account_already_closed, 66)                                                           \
    X(exists_with_different_ledger, 67)                                                            \
    X(id_already_failed, 68)

enum create_account_status {
#define X(name, code) ACCOUNT_STATUS_##name = (code),
    CREATE_ACCOUNT_STATUS_LIST(X)
#undef X
};

enum create_transfer_status {
#define X(name, code) TRANSFER_STATUS_##name = (code),
    CREATE_TRANSFER_STATUS_LIST(X)
#undef X
};

/*
 * One for each event, in order. `timestamp` is that of the record that was created or already
 * existed; otherwise the event's own.
 */
struct create_result {
    uint64_t timestamp;
    uint32_t status; /* STATUS_CREATED or a code of the lists above. */
    uint32_t reserved;
};
static_assert(sizeof(struct create_result) == 16, "record layout");

/* The status' name ("created", "exists" …), or NULL if no status has this number. */
const char *create_account_status_name(uint32_t status);
const char *create_transfer_status_name(uint32_t status);

/* ---- Operations ------------------------------------------------------------------------------ */

/*
 * The numbers are those of the public protocol. Creates go through the log; all others only read.
 */
enum ledger_operation {
    LEDGER_GET_CHANGE_EVENTS = 137,
    LEDGER_LOOKUP_ACCOUNTS = 140,
    LEDGER_LOOKUP_TRANSFERS = 141,
    LEDGER_GET_ACCOUNT_TRANSFERS = 142,
    LEDGER_GET_ACCOUNT_BALANCES = 143,
    LEDGER_QUERY_ACCOUNTS = 144,
    LEDGER_QUERY_TRANSFERS = 145,
    LEDGER_CREATE_ACCOUNTS = 146,
    LEDGER_CREATE_TRANSFERS = 147,
    /* Not in that protocol: */
    LEDGER_VERIFY = 200,      /* Gives rows of struct verify_finding. */
    LEDGER_QUERY_HOLDS = 201, /* Takes a struct hold_filter, gives rows of struct transfer_row. */
    /*
     * Takes ids of holds, gives rows of struct transfer_row: the transfers that posted or voided
     * them.
     */
    LEDGER_LOOKUP_RESOLUTIONS = 202,
    /*
     * Takes ids of transfers, gives rows of struct change_event: each transfer's event, and that of
     * its expiry if there is one.
     */
    LEDGER_LOOKUP_CHANGE_EVENTS = 203,
};

/*
 * An instant: a state of the ledger that a read can show, namely what was committed after some op.
 * A read that is given none shows the present state, and says which one that is. If that is given
 * to the read of the next page, both pages are of the same state. It is never on disk: the host
 * passes it on as it came.
 */
struct ledger_instant {
    uint64_t known; /* 0 means that none is given. */
    uint64_t op;
    /*
     * Timestamps of the newest account and of the newest event at that time. All that come later
     * are newer, even imported ones, so these two tell what existed.
     */
    uint64_t account_newest;
    uint64_t event_newest;
};

/* Does the operation create something, so that it goes through the log? */
static inline bool
ledger_operation_creates(uint8_t operation)
{
    return operation == LEDGER_CREATE_ACCOUNTS || operation == LEDGER_CREATE_TRANSFERS;
}

/* ---- Verification ---------------------------------------------------------------------------- */

enum verify_kind {
    VERIFY_BLOCK = 1,  /* A block of the grid. number: its address. */
    VERIFY_TABLE,      /* number: address of the index block. */
    /* expected: blocks that something refers to; found: blocks that are taken. */
    VERIFY_FREE_SET,
    VERIFY_JOURNAL,    /* number: op of the prepare. */
    VERIFY_HEADER,     /* The entry of a prepare in headers.wal. number: its op. */
    /*
     * Of a groove: its records, the entries of its ids, those of its list; and those of an index.
     * expected and found are numbers of them.
     */
    VERIFY_RECORDS,
    VERIFY_IDS,
    VERIFY_LIST,
    VERIFY_INDEX,
    VERIFY_EVENT,      /* number: its timestamp; id: the account. */
    VERIFY_TRANSFER,   /* number: its timestamp. */
    VERIFY_ACCOUNT,    /* number: its timestamp; id. */
    VERIFY_LEDGER,     /* number: the ledger. expected: its debits; found: its credits. */
    /* Something can't be compared to the end, because the block `number` is missing. */
    VERIFY_UNFINISHED,
    VERIFY_MORE,       /* number: how many more findings there are. */
};

enum verify_what {
    VERIFY_NOTHING,
    VERIFY_UNREADABLE,
    VERIFY_CORRUPT,
    VERIFY_WRONG,
    VERIFY_DEBITS_PENDING,
    VERIFY_DEBITS_POSTED,
    VERIFY_CREDITS_PENDING,
    VERIFY_CREDITS_POSTED,
    VERIFY_MISSING,  /* What it refers to doesn't exist. */
    VERIFY_MISFILED, /* Transfer, accounts and event don't refer to each other. */
    VERIFY_TYPE,
    VERIFY_STATUS,   /* The status of the pending transfer is wrong. */
    /* The account's flags, as numbers. Whether `closed` is set follows from transfers. */
    VERIFY_FLAGS,
    VERIFY_COUNT,    /* There are more or fewer of them than there should be. */
};

struct verify_finding {
    u128 id;
    u128 expected;
    u128 found;
    uint64_t number;
    uint16_t kind; /* enum verify_kind */
    uint16_t what; /* enum verify_what */
    uint32_t reserved;
    char tree_name[32];
};
static_assert(sizeof(struct verify_finding) == 96, "record layout");

/* ---- Sizes ----------------------------------------------------------------------------------- */

/* Bytes of one row of the operation's reply. */
static inline uint32_t
ledger_row_size(uint8_t operation)
{
    switch ((enum ledger_operation) operation) {
    case LEDGER_GET_CHANGE_EVENTS: return sizeof(struct change_event);
    case LEDGER_LOOKUP_ACCOUNTS: return sizeof(struct account);
    case LEDGER_LOOKUP_TRANSFERS: return sizeof(struct transfer_row);
    case LEDGER_GET_ACCOUNT_TRANSFERS: return sizeof(struct transfer_row);
    case LEDGER_GET_ACCOUNT_BALANCES: return sizeof(struct account_balance);
    case LEDGER_QUERY_ACCOUNTS: return sizeof(struct account);
    case LEDGER_QUERY_TRANSFERS: return sizeof(struct transfer_row);
    case LEDGER_QUERY_HOLDS: return sizeof(struct transfer_row);
    case LEDGER_LOOKUP_RESOLUTIONS: return sizeof(struct transfer_row);
    case LEDGER_LOOKUP_CHANGE_EVENTS: return sizeof(struct change_event);
    case LEDGER_CREATE_ACCOUNTS: return sizeof(struct create_result);
    case LEDGER_CREATE_TRANSFERS: return sizeof(struct create_result);
    case LEDGER_VERIFY: return sizeof(struct verify_finding);
    }
    unreachable();
}

/* Bytes of one element of the operation's input: an event, an id, or a filter. */
static inline uint32_t
ledger_input_size(uint8_t operation)
{
    switch ((enum ledger_operation) operation) {
    case LEDGER_GET_CHANGE_EVENTS: return sizeof(struct change_events_filter);
    case LEDGER_LOOKUP_ACCOUNTS: return sizeof(u128);
    case LEDGER_LOOKUP_TRANSFERS: return sizeof(u128);
    case LEDGER_LOOKUP_RESOLUTIONS: return sizeof(u128);
    case LEDGER_LOOKUP_CHANGE_EVENTS: return sizeof(u128);
    case LEDGER_QUERY_HOLDS: return sizeof(struct hold_filter);
    case LEDGER_GET_ACCOUNT_TRANSFERS: return sizeof(struct account_filter);
    case LEDGER_GET_ACCOUNT_BALANCES: return sizeof(struct account_filter);
    case LEDGER_QUERY_ACCOUNTS: return sizeof(struct query_filter);
    case LEDGER_QUERY_TRANSFERS: return sizeof(struct query_filter);
    case LEDGER_CREATE_ACCOUNTS: return sizeof(struct account);
    case LEDGER_CREATE_TRANSFERS: return sizeof(struct transfer);
    case LEDGER_VERIFY: return 0;
    }
    unreachable();
}

#endif
