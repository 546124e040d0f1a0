/* SPDX-License-Identifier: PostgreSQL */
/*
 * Accounts, transfers, filters and their results, to the byte: these are the records that clients
 * pack, that prepares carry, and that grooves keep. All integers are little-endian; nothing is
 * padded silently.
 *
 * The layouts, flags and codes are those of TigerBeetle's public data model (see README.md), so
 * that its clients' mental model and tools carry over.
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

/* The state of a pending transfer, named by its timestamp. The transfer itself never changes. */
struct transfer_pending {
    uint64_t timestamp;
    uint64_t expires_at;  /* Indexed. 0: never. Stays when it is resolved. */
    uint64_t resolved_at; /* The timestamp of its post, void or expiry; 0: unresolved. */
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

/* One for each transfer and each expiry: both accounts as they were after it. */
struct account_event {
    uint64_t timestamp;
    uint64_t transfer_timestamp; /* The same, or that of the pending transfer that expired. */
    uint64_t debit_account_timestamp;
    uint64_t credit_account_timestamp;
    struct balances debit;
    struct balances credit;
    u128 amount_requested; /* Before balancing; 0 for an expiry. */
    uint16_t debit_flags;
    uint16_t credit_flags;
    uint8_t type; /* enum change_event_type */
    uint8_t reserved[11];
};
static_assert(sizeof(struct account_event) == 192, "record layout");

/*
 * An id that failed for a reason that depends on state, and may never succeed (id_already_failed).
 */
struct burnt_id {
    u128 id;
    uint64_t timestamp; /* Slot of the event that failed. */
    uint64_t reserved;
};
static_assert(sizeof(struct burnt_id) == 32, "record layout");

/* ---- Filters and their rows ------------------------------------------------------------------ */

enum account_filter_flags {
    ACCOUNT_FILTER_DEBITS = 1 << 0,
    ACCOUNT_FILTER_CREDITS = 1 << 1,
    ACCOUNT_FILTER_REVERSED = 1 << 2,
    /*
     * Not of the public model. Of balances only: expiries have rows too, and accounts have them
     * with or without ACCOUNT_HISTORY. Filters of transfers (user_data, code) don't go with it.
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
    /* In the order of (expires_at, timestamp); those that never expire are left out. */
    HOLD_FILTER_BY_EXPIRY = 1 << 1,
};

/*
 * Holds (pending transfers) by what became of them. A field that is 0 filters nothing.
 *
 * Pages by expiry go on from the last row: expires_min and after_timestamp are its expires_at and
 * timestamp.
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
    uint64_t after_timestamp; /* By expiry: of those that expire at expires_min, newer ones only. */
    uint32_t user_data_32;
    uint32_t ledger;
    uint32_t limit;
    uint16_t flags;
    uint16_t code;
    uint8_t states; /* 1 << enum pending_status, or-ed. None: all states. */
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
 * A transfer as reads give it: with what became of it, if it is a hold. All of this is 0 in
 * transfers that are none.
 */
struct transfer_row {
    struct transfer transfer;
    u128 resolved_by;     /* The id of its post or void. 0: it is open or expired. */
    uint64_t resolved_at; /* 0: it is open. */
    uint64_t expires_at;  /* 0: never. Stays when it is resolved. */
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

/* name, code */
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
 * One for each event, in order. `timestamp`: of the created or existing record; else the event's
 * timestamp.
 */
struct create_result {
    uint64_t timestamp;
    uint32_t status; /* STATUS_CREATED or a code of the lists above. */
    uint32_t reserved;
};
static_assert(sizeof(struct create_result) == 16, "record layout");

/* The status' name ("created", "exists" …), or NULL for a number that is none. */
const char *create_account_status_name(uint32_t status);
const char *create_transfer_status_name(uint32_t status);

/* ---- Operations ------------------------------------------------------------------------------ */

/* Numbers are those of the public protocol. Creates go through the log; the others only read. */
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
    /* Not of that protocol: */
    LEDGER_VERIFY = 200,      /* Rows of struct verify_finding. */
    LEDGER_QUERY_HOLDS = 201, /* A struct hold_filter; rows of struct transfer_row. */
    /* Ids of holds; rows of struct transfer_row: the transfers that posted or voided them. */
    LEDGER_LOOKUP_RESOLUTIONS = 202,
    /* Ids of transfers; rows of struct change_event: each one's event, and its expiry's if any. */
    LEDGER_LOOKUP_CHANGE_EVENTS = 203,
};

/*
 * A state of the ledger that reads can be of: what was committed after some op. A read that is
 * given none is of the present state, and says which one that is; whoever gives that to the next
 * page of a scan gets it from the same state. Not on disk: the host passes it on as it came.
 */
struct ledger_instant {
    uint64_t known; /* 0: none is given. */
    uint64_t op;
    /*
     * Timestamps of the newest account and of the newest event that there were. Those that come
     * later are newer, imported ones too, so that these two tell what there was.
     */
    uint64_t account_newest;
    uint64_t event_newest;
};

/* Does it go through the log: are there events to create? */
static inline bool
ledger_operation_creates(uint8_t operation)
{
    return operation == LEDGER_CREATE_ACCOUNTS || operation == LEDGER_CREATE_TRANSFERS;
}

/* ---- Verification ---------------------------------------------------------------------------- */

enum verify_kind {
    VERIFY_BLOCK = 1,  /* Of the grid. number: its address. */
    VERIFY_TABLE,      /* number: address of the index block. */
    VERIFY_FREE_SET,   /* Blocks that something refers to (expected), and that are taken (found). */
    VERIFY_JOURNAL,    /* number: op of the prepare. */
    VERIFY_HEADER,     /* The prepare's entry in the headers log. number: its op. */
    /* Of a groove: records; entries of its ids, of its list; and of an index. Expected, found. */
    VERIFY_RECORDS,
    VERIFY_IDS,
    VERIFY_LIST,
    VERIFY_INDEX,
    VERIFY_EVENT,      /* number: its timestamp; id: the account. */
    VERIFY_TRANSFER,   /* number: its timestamp. */
    VERIFY_ACCOUNT,    /* number: its timestamp; id. */
    VERIFY_LEDGER,     /* number: the ledger. Debits (expected) and credits (found). */
    VERIFY_UNFINISHED, /* Something can't be compared to the end for want of the block `number`. */
    VERIFY_MORE,       /* So many more findings: number. */
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
    VERIFY_MISSING,  /* What it refers to is not there. */
    VERIFY_MISFILED, /* Transfer, accounts and event don't name each other. */
    VERIFY_TYPE,
    VERIFY_STATUS,   /* The status of the pending transfer. */
    VERIFY_FLAGS,    /* The account's flags, as numbers: `closed` follows from transfers. */
    VERIFY_COUNT,    /* There are more or fewer than there should be. */
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

#endif
