/* SPDX-License-Identifier: PostgreSQL */
/*
 * Every status, and which of two comes first.
 *
 * The rules name the statuses of an event in an order of precedence. For each pair of neighbours
 * there is an event that breaks both rules: the earlier status wins. With `fix` added, the event
 * breaks only the later rule. So the pairs show each status, and that each event does break both
 * rules. Where none can, the pair says why, and pairs with the next neighbours take its place.
 */
#include "base/units.h"
#include "ledger/types.h"
#include "unit/accounting_table.h"
#include "unit/unit.h"

struct pair {
    const char *earlier;
    const char *later;
    const char *impossible; /* Why no event can break both. Nothing else then. */
    const char *setup;      /* NULL: the usual one. */
    const char *event;      /* Rows; the last one, without its status, is the event. */
    const char *fix;        /* Words to add to it. */
    const char *instead;    /* Or rows that take its place. */
};

#define SCRIPT_SIZE_MAX 8192

static void
pair_check(const struct pair *pair, const char *setup_usual)
{
    char script[SCRIPT_SIZE_MAX];
    const char *setup = pair->setup ? pair->setup : setup_usual;
    expect((pair->impossible != NULL) == (pair->event == NULL));
    if (pair->impossible) return;
    expect((pair->fix != NULL) != (pair->instead != NULL));
    snprintf(script, sizeof(script), "%s\ncommit\n%s -> %s\n", setup, pair->event, pair->earlier);
    check(script);
    snprintf(
        script,
        sizeof(script),
        "%s\ncommit\n%s %s -> %s\n",
        setup,
        pair->instead ? pair->instead : pair->event,
        pair->instead ? "" : pair->fix,
        pair->later);
    check(script);
}

static bool
pairs_show(const struct pair *pairs, size_t count, const char *status)
{
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].impossible) continue;
        if (strcmp(pairs[i].earlier, status) == 0) return true;
        if (strcmp(pairs[i].later, status) == 0) return true;
    }
    return false;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

#define ACCOUNT_1 "account 1 user_data_128=10 user_data_64=11 user_data_32=12 ledger=13 code=14"
#define ACCOUNT_SETUP                                                                              \
    ACCOUNT_1 " -> created\n"                                                                      \
              "account 2 -> created\n"                                                             \
              "tick 1s\n"

static const struct pair account_pairs[] = {
    /* clang-format off */
    {"linked_event_chain_open", "linked_event_failed",
     .event = "account 10 linked code=0 -> code_must_not_be_zero\n" "account 11 linked",
     .fix = "-linked"},
    {"linked_event_failed", "imported_event_expected",
     .event = "account 10 linked imported timestamp=@a2+1 code=0 -> code_must_not_be_zero\n"
              "account 11",
     .instead = "account 10 imported timestamp=@a2+1 -> created\n" "account 11"},
    {"imported_event_expected", "imported_event_not_expected",
     .impossible = "the event is imported, or it is not"},
    {"linked_event_failed", "imported_event_not_expected",
     .event = "account 10 linked code=0 -> code_must_not_be_zero\n" "account 11 imported",
     .instead = "account 10 -> created\n" "account 11 imported"},
    {"imported_event_not_expected", "timestamp_must_be_zero",
     .impossible = "the first is for imported events, the second for others"},
    {"imported_event_expected", "timestamp_must_be_zero",
     .event = "account 10 imported timestamp=@a2+1 -> created\n" "account 11 timestamp=7",
     .instead = "account 11 timestamp=7"},
    {"timestamp_must_be_zero", "imported_event_timestamp_out_of_range",
     .impossible = "the first is for events that are not imported, the second for others"},
    {"imported_event_not_expected", "imported_event_timestamp_out_of_range",
     .event = "account 10 -> created\n" "account 11 imported timestamp=0",
     .instead = "account 11 imported timestamp=0"},
    {"imported_event_timestamp_out_of_range", "imported_event_timestamp_must_not_advance",
     .event = "account 10 imported timestamp=max63+1", .fix = "timestamp=max63"},
    {"timestamp_must_be_zero", "reserved_field",
     .event = "account 10 timestamp=1 reserved=1", .fix = "timestamp=0"},
    {"imported_event_timestamp_out_of_range", "reserved_field",
     .event = "account 10 imported timestamp=0 reserved=1", .fix = "timestamp=slot-1"},
    {"imported_event_timestamp_must_not_advance", "reserved_field",
     .event = "account 10 imported timestamp=slot reserved=1", .fix = "timestamp=slot-1"},
    {"reserved_field", "reserved_flag",
     .event = "account 10 reserved=1 flags=0x40", .fix = "reserved=0"},
    {"reserved_flag", "id_must_not_be_zero",
     .event = "account 0 flags=0x8000", .fix = "flags=0"},
    {"id_must_not_be_zero", "id_must_not_be_int_max",
     .impossible = "an id is one number"},
    {"reserved_flag", "id_must_not_be_int_max",
     .event = "account max flags=0x40", .fix = "flags=0"},
    {"id_must_not_be_int_max", "exists_with_different_flags",
     .impossible = "no account is ever stored under that id"},
    {"id_must_not_be_zero", "flags_are_mutually_exclusive",
     .event = "account 0 flags=6", .fix = "id=10"},
    {"id_must_not_be_int_max", "flags_are_mutually_exclusive",
     .event = "account max flags=6", .fix = "id=10"},
    {"exists_with_different_flags", "exists_with_different_user_data_128",
     .event = ACCOUNT_1 " history user_data_128=9", .fix = "-history"},
    {"exists_with_different_user_data_128", "exists_with_different_user_data_64",
     .event = ACCOUNT_1 " user_data_128=0 user_data_64=9", .fix = "user_data_128=10"},
    {"exists_with_different_user_data_64", "exists_with_different_user_data_32",
     .event = ACCOUNT_1 " user_data_64=0 user_data_32=9", .fix = "user_data_64=11"},
    {"exists_with_different_user_data_32", "exists_with_different_ledger",
     .event = ACCOUNT_1 " user_data_32=0 ledger=0", .fix = "user_data_32=12"},
    {"exists_with_different_ledger", "exists_with_different_code",
     .event = ACCOUNT_1 " ledger=9 code=0", .fix = "ledger=13"},
    {"exists_with_different_code", "exists",
     .impossible = "exists means that nothing differs"},
    {"exists", "flags_are_mutually_exclusive",
     .impossible = "flags equal those that are stored, and those are never so"},
    {"exists_with_different_flags", "flags_are_mutually_exclusive",
     .event = ACCOUNT_1 " flags=6", .fix = "id=10"},
    {"exists", "debits_pending_must_be_zero",
     .event = ACCOUNT_1 " debits_pending=1", .fix = "id=10"},
    {"exists", "imported_event_timestamp_must_not_regress",
     .setup = ACCOUNT_SETUP "account 3 imported timestamp=@a2+5 -> created",
     .event = "account 3 imported timestamp=1", .fix = "id=10"},
    {"flags_are_mutually_exclusive", "debits_pending_must_be_zero",
     .event = "account 10 flags=6 debits_pending=1", .fix = "flags=0"},
    {"debits_pending_must_be_zero", "debits_posted_must_be_zero",
     .event = "account 10 debits_pending=1 debits_posted=1", .fix = "debits_pending=0"},
    {"debits_posted_must_be_zero", "credits_pending_must_be_zero",
     .event = "account 10 debits_posted=1 credits_pending=1", .fix = "debits_posted=0"},
    {"credits_pending_must_be_zero", "credits_posted_must_be_zero",
     .event = "account 10 credits_pending=1 credits_posted=1", .fix = "credits_pending=0"},
    {"credits_posted_must_be_zero", "ledger_must_not_be_zero",
     .event = "account 10 credits_posted=1 ledger=0", .fix = "credits_posted=0"},
    {"ledger_must_not_be_zero", "code_must_not_be_zero",
     .event = "account 10 ledger=0 code=0", .fix = "ledger=1"},
    {"code_must_not_be_zero", "imported_event_timestamp_must_not_regress",
     .event = "account 10 code=0 imported timestamp=@a2", .fix = "code=1"},
    /* clang-format on */
};

UNIT_TEST(account_statuses_have_their_precedence)
{
    for (size_t i = 0; i < ARRAY_COUNT(account_pairs); i++) {
        pair_check(&account_pairs[i], ACCOUNT_SETUP);
    }
}

UNIT_TEST(each_account_status_is_shown)
{
#define X(name, code) expect(pairs_show(account_pairs, ARRAY_COUNT(account_pairs), #name));
    CREATE_ACCOUNT_STATUS_LIST(X)
#undef X
}

/* ---- Transfers ------------------------------------------------------------------------------- */

#define FIELDS     " amount=15 user_data_128=10 user_data_64=11 user_data_32=12 code=14"
#define FIELDS_OWN " user_data_128=20 user_data_64=21 user_data_32=22"
#define PLAIN      "transfer 100 1>2" FIELDS
#define PENDING    "transfer 101 1>2 pending timeout=3600" FIELDS
#define POST       "transfer 103 post_pending_transfer pending_id=102 amount=13" FIELDS_OWN
#define VOID       "transfer 105 void_pending_transfer pending_id=104 amount=15" FIELDS_OWN

/*
 * Accounts 1, 2: plain; 3: another ledger; 5, 6: created closed; 7, 8: limited; 15, 16: closed by a
 * transfer; 30, 31: newer than every transfer, a second apart; 40, 41: have balances. Transfers 100
 * … 105: as above; 106: expired; 107, 109: resolved in time, and overdue since; 111: burnt; 112:
 * pending; 118: imported; 119: before its account was closed; 120, 122: pending, accounts closed
 * since.
 */
#define TRANSFER_SETUP                                                                             \
    "account 1 -> created\n"                                                                       \
    "account 2 -> created\n"                                                                       \
    "account 3 ledger=2 -> created\n"                                                              \
    "account 5 closed -> created\n"                                                                \
    "account 6 closed -> created\n"                                                                \
    "account 7 debits_must_not_exceed_credits -> created\n"                                        \
    "account 8 credits_must_not_exceed_debits -> created\n"                                        \
    "account 15 -> created\n"                                                                      \
    "account 16 -> created\n"                                                                      \
    "account 40 -> created\n"                                                                      \
    "account 41 -> created\n"                                                                      \
    "tick 1s\n"                                                                                    \
    "transfer 118 1>2 imported timestamp=slot-9 -> created\n"                                      \
    "commit\n" PLAIN " -> created\n" PENDING " -> created\n"                                       \
    "transfer 102 1>2 pending" FIELDS " -> created\n" POST " -> created\n"                         \
    "transfer 104 1>2 pending" FIELDS " -> created\n" VOID " -> created\n"                         \
    "transfer 106 1>2 pending amount=15 timeout=1 -> created\n"                                    \
    "transfer 107 1>2 pending amount=15 timeout=1 -> created\n"                                    \
    "transfer 108 post_pending_transfer pending_id=107 amount=max -> created\n"                    \
    "transfer 109 1>2 pending amount=15 timeout=1 -> created\n"                                    \
    "transfer 110 void_pending_transfer pending_id=109 -> created\n"                               \
    "transfer 111 1>99 -> credit_account_not_found\n"                                              \
    "transfer 112 1>2 pending amount=15 -> created\n"                                              \
    "transfer 119 15>16 amount=1 -> created\n"                                                     \
    "transfer 120 15>16 pending -> created\n"                                                      \
    "transfer 122 1>16 pending -> created\n"                                                       \
    "transfer 123 15>16 pending closing_debit closing_credit -> created\n"                         \
    "transfer 130 40>1 pending amount=100 -> created\n"                                            \
    "transfer 131 40>1 amount=200 -> created\n"                                                    \
    "transfer 132 1>41 pending amount=110 -> created\n"                                            \
    "transfer 133 1>41 amount=210 -> created\n"                                                    \
    "tick 2s\n"                                                                                    \
    "tick 1s\n"                                                                                    \
    "account 30 -> created\n"                                                                      \
    "tick 1s\n"                                                                                    \
    "account 31 -> created\n"                                                                      \
    "tick 1s\n"

static const struct pair prefix_pairs[] = {
    /* clang-format off */
    {"linked_event_chain_open", "linked_event_failed",
     .event = "transfer 200 1>2 linked code=0 -> code_must_not_be_zero\n" "transfer 201 1>2 linked",
     .fix = "-linked"},
    {"linked_event_failed", "imported_event_expected",
     .event = "transfer 200 1>2 linked imported timestamp=slot-9 code=0 -> "
              "code_must_not_be_zero\n" "transfer 201 1>2",
     .instead = "transfer 200 1>2 imported timestamp=slot-9 -> created\n" "transfer 201 1>2"},
    {"imported_event_expected", "imported_event_not_expected",
     .impossible = "the event is imported, or it is not"},
    {"linked_event_failed", "imported_event_not_expected",
     .event = "transfer 200 1>2 linked code=0 -> code_must_not_be_zero\n"
              "transfer 201 1>2 imported",
     .instead = "transfer 200 1>2 -> created\n" "transfer 201 1>2 imported"},
    {"imported_event_not_expected", "timestamp_must_be_zero",
     .impossible = "the first is for imported events, the second for others"},
    {"imported_event_expected", "timestamp_must_be_zero",
     .event = "transfer 200 1>2 imported timestamp=slot-9 -> created\n"
              "transfer 201 1>2 timestamp=7",
     .instead = "transfer 201 1>2 timestamp=7"},
    {"timestamp_must_be_zero", "imported_event_timestamp_out_of_range",
     .impossible = "the first is for events that are not imported, the second for others"},
    {"imported_event_not_expected", "imported_event_timestamp_out_of_range",
     .event = "transfer 200 1>2 -> created\n" "transfer 201 1>2 imported timestamp=0",
     .instead = "transfer 201 1>2 imported timestamp=0"},
    {"imported_event_timestamp_out_of_range", "imported_event_timestamp_must_not_advance",
     .event = "transfer 200 1>2 imported timestamp=max63+1", .fix = "timestamp=max63"},
    {"timestamp_must_be_zero", "reserved_flag",
     .event = "transfer 200 1>2 timestamp=1 flags=0x200", .fix = "timestamp=0"},
    {"imported_event_timestamp_out_of_range", "reserved_flag",
     .event = "transfer 200 1>2 timestamp=0 flags=0x300", .fix = "timestamp=slot-1"},
    {"imported_event_timestamp_must_not_advance", "reserved_flag",
     .event = "transfer 200 1>2 timestamp=slot flags=0x8100", .fix = "timestamp=slot-1"},
    {"reserved_flag", "id_must_not_be_zero",
     .event = "transfer 0 1>2 flags=0x200", .fix = "flags=0"},
    {"id_must_not_be_zero", "id_must_not_be_int_max",
     .impossible = "an id is one number"},
    {"reserved_flag", "id_must_not_be_int_max",
     .event = "transfer max 1>2 flags=0x200", .fix = "flags=0"},
    {"id_must_not_be_int_max", "exists_with_different_flags",
     .impossible = "no transfer is ever stored under that id"},
    {"id_must_not_be_zero", "debit_account_id_must_not_be_zero",
     .event = "transfer 0 0>2", .fix = "id=200"},
    {"id_must_not_be_int_max", "debit_account_id_must_not_be_zero",
     .event = "transfer max 0>2", .fix = "id=200"},
    {"id_must_not_be_zero", "flags_are_mutually_exclusive",
     .event = "transfer 0 post_pending_transfer void_pending_transfer", .fix = "id=200"},
    {"id_must_not_be_int_max", "flags_are_mutually_exclusive",
     .event = "transfer max post_pending_transfer void_pending_transfer", .fix = "id=200"},
    /* clang-format on */
};

static const struct pair exists_pairs[] = {
    /* clang-format off */
    {"exists_with_different_flags", "exists_with_different_pending_id",
     .event = PLAIN " pending pending_id=9", .fix = "-pending"},
    {"exists_with_different_pending_id", "exists_with_different_timeout",
     .event = PLAIN " pending_id=9 timeout=9", .fix = "pending_id=0"},
    {"exists_with_different_timeout", "exists_with_different_debit_account_id",
     .event = PLAIN " timeout=9 debit_account_id=9", .fix = "timeout=0"},
    {"exists_with_different_debit_account_id", "exists_with_different_credit_account_id",
     .event = PLAIN " debit_account_id=9 credit_account_id=9", .fix = "debit_account_id=1"},
    {"exists_with_different_credit_account_id", "exists_with_different_amount",
     .event = PLAIN " credit_account_id=9 amount=9", .fix = "credit_account_id=2"},
    {"exists_with_different_amount", "exists_with_different_user_data_128",
     .event = PLAIN " amount=9 user_data_128=9", .fix = "amount=15"},
    {"exists_with_different_user_data_128", "exists_with_different_user_data_64",
     .event = PLAIN " user_data_128=9 user_data_64=9", .fix = "user_data_128=10"},
    {"exists_with_different_user_data_64", "exists_with_different_user_data_32",
     .event = PLAIN " user_data_64=9 user_data_32=9", .fix = "user_data_64=11"},
    {"exists_with_different_user_data_32", "exists_with_different_ledger",
     .event = PLAIN " user_data_32=9 ledger=9", .fix = "user_data_32=12"},
    {"exists_with_different_ledger", "exists_with_different_code",
     .event = PLAIN " ledger=9 code=9", .fix = "ledger=1"},
    {"exists_with_different_code", "exists",
     .impossible = "exists means that nothing differs"},
    {"exists_with_different_code", "exists",
     .event = PLAIN " code=9", .fix = "code=14"},
    {"exists_with_different_flags", "exists_with_different_pending_id",
     .event = PENDING " balancing_debit pending_id=9", .fix = "-balancing_debit"},
    {"exists_with_different_pending_id", "exists_with_different_timeout",
     .event = PENDING " pending_id=9 timeout=9", .fix = "pending_id=0"},
    {"exists_with_different_timeout", "exists_with_different_debit_account_id",
     .event = PENDING " timeout=9 debit_account_id=9", .fix = "timeout=3600"},
    {"exists_with_different_debit_account_id", "exists_with_different_credit_account_id",
     .event = PENDING " debit_account_id=9 credit_account_id=9", .fix = "debit_account_id=1"},
    {"exists_with_different_credit_account_id", "exists_with_different_amount",
     .event = PENDING " credit_account_id=9 amount=9", .fix = "credit_account_id=2"},
    {"exists_with_different_amount", "exists_with_different_user_data_128",
     .event = PENDING " amount=9 user_data_128=9", .fix = "amount=15"},
    {"exists_with_different_user_data_128", "exists_with_different_user_data_64",
     .event = PENDING " user_data_128=9 user_data_64=9", .fix = "user_data_128=10"},
    {"exists_with_different_user_data_64", "exists_with_different_user_data_32",
     .event = PENDING " user_data_64=9 user_data_32=9", .fix = "user_data_64=11"},
    {"exists_with_different_user_data_32", "exists_with_different_ledger",
     .event = PENDING " user_data_32=9 ledger=9", .fix = "user_data_32=12"},
    {"exists_with_different_ledger", "exists_with_different_code",
     .event = PENDING " ledger=9 code=9", .fix = "ledger=1"},
    {"exists_with_different_code", "exists",
     .impossible = "exists means that nothing differs"},
    {"exists_with_different_code", "exists",
     .event = PENDING " code=9", .fix = "code=14"},
    {"exists_with_different_flags", "exists_with_different_pending_id",
     .event = POST " pending pending_id=9", .fix = "-pending"},
    {"exists_with_different_pending_id", "exists_with_different_timeout",
     .event = POST " pending_id=9 timeout=9", .fix = "pending_id=102"},
    {"exists_with_different_timeout", "exists_with_different_debit_account_id",
     .event = POST " timeout=9 debit_account_id=9", .fix = "timeout=0"},
    {"exists_with_different_debit_account_id", "exists_with_different_credit_account_id",
     .event = POST " debit_account_id=9 credit_account_id=9", .fix = "debit_account_id=1"},
    {"exists_with_different_credit_account_id", "exists_with_different_amount",
     .event = POST " credit_account_id=9 amount=9", .fix = "credit_account_id=2"},
    {"exists_with_different_amount", "exists_with_different_user_data_128",
     .event = POST " amount=9 user_data_128=9", .fix = "amount=13"},
    {"exists_with_different_user_data_128", "exists_with_different_user_data_64",
     .event = POST " user_data_128=9 user_data_64=9", .fix = "user_data_128=20"},
    {"exists_with_different_user_data_64", "exists_with_different_user_data_32",
     .event = POST " user_data_64=9 user_data_32=9", .fix = "user_data_64=21"},
    {"exists_with_different_user_data_32", "exists_with_different_ledger",
     .event = POST " user_data_32=9 ledger=9", .fix = "user_data_32=22"},
    {"exists_with_different_ledger", "exists_with_different_code",
     .event = POST " ledger=9 code=9", .fix = "ledger=1"},
    {"exists_with_different_code", "exists",
     .impossible = "exists means that nothing differs"},
    {"exists_with_different_code", "exists",
     .event = POST " code=9", .fix = "code=14"},
    {"exists_with_different_flags", "exists_with_different_pending_id",
     .event = VOID " closing_debit pending_id=9", .fix = "-closing_debit"},
    {"exists_with_different_pending_id", "exists_with_different_timeout",
     .event = VOID " pending_id=9 timeout=9", .fix = "pending_id=104"},
    {"exists_with_different_timeout", "exists_with_different_debit_account_id",
     .event = VOID " timeout=9 debit_account_id=9", .fix = "timeout=0"},
    {"exists_with_different_debit_account_id", "exists_with_different_credit_account_id",
     .event = VOID " debit_account_id=9 credit_account_id=9", .fix = "debit_account_id=1"},
    {"exists_with_different_credit_account_id", "exists_with_different_amount",
     .event = VOID " credit_account_id=9 amount=9", .fix = "credit_account_id=2"},
    {"exists_with_different_amount", "exists_with_different_user_data_128",
     .event = VOID " amount=9 user_data_128=9", .fix = "amount=15"},
    {"exists_with_different_user_data_128", "exists_with_different_user_data_64",
     .event = VOID " user_data_128=9 user_data_64=9", .fix = "user_data_128=20"},
    {"exists_with_different_user_data_64", "exists_with_different_user_data_32",
     .event = VOID " user_data_64=9 user_data_32=9", .fix = "user_data_64=21"},
    {"exists_with_different_user_data_32", "exists_with_different_ledger",
     .event = VOID " user_data_32=9 ledger=9", .fix = "user_data_32=22"},
    {"exists_with_different_ledger", "exists_with_different_code",
     .event = VOID " ledger=9 code=9", .fix = "ledger=1"},
    {"exists_with_different_code", "exists",
     .impossible = "exists means that nothing differs"},
    {"exists_with_different_code", "exists",
     .event = VOID " code=9", .fix = "code=14"},
    {"exists", "id_already_failed",
     .impossible = "an id is stored, or burnt, or neither"},
    {"exists_with_different_flags", "flags_are_mutually_exclusive",
     .event = POST " void_pending_transfer", .fix = "id=200"},
    {"exists_with_different_timeout", "timeout_reserved_for_pending_transfer",
     .event = POST " timeout=9", .fix = "id=200"},
    {"exists_with_different_debit_account_id", "debit_account_id_must_not_be_zero",
     .event = PLAIN " debit_account_id=0", .fix = "id=200"},
    {"exists", "pending_transfer_already_posted",
     .event = POST, .fix = "id=200"},
    {"exists", "pending_transfer_already_voided",
     .event = VOID, .fix = "id=200"},
    {"exists", "debit_account_already_closed",
     .event = "transfer 119 15>16 amount=1", .fix = "id=200"},
    {"exists", "imported_event_timestamp_must_not_regress",
     .event = "transfer 118 1>2 imported timestamp=1", .fix = "id=200"},
    {"id_already_failed", "flags_are_mutually_exclusive",
     .event = "transfer 111 post_pending_transfer void_pending_transfer", .fix = "id=200"},
    {"id_already_failed", "debit_account_id_must_not_be_zero",
     .event = "transfer 111 0>2", .fix = "id=200"},
    /* clang-format on */
};

static const struct pair resolution_pairs[] = {
    /* clang-format off */
    {"flags_are_mutually_exclusive", "pending_id_must_not_be_zero",
     .event = "transfer 200 post_pending_transfer void_pending_transfer",
     .fix = "-void_pending_transfer"},
    {"pending_id_must_not_be_zero", "pending_id_must_not_be_int_max",
     .impossible = "an id is one number"},
    {"flags_are_mutually_exclusive", "pending_id_must_not_be_int_max",
     .event = "transfer 200 post_pending_transfer void_pending_transfer pending_id=max",
     .fix = "-void_pending_transfer"},
    {"pending_id_must_not_be_int_max", "pending_id_must_be_different",
     .impossible = "the own id is never that"},
    {"flags_are_mutually_exclusive", "pending_id_must_be_different",
     .event = "transfer 200 post_pending_transfer pending pending_id=200", .fix = "-pending"},
    {"pending_id_must_not_be_zero", "timeout_reserved_for_pending_transfer",
     .event = "transfer 200 post_pending_transfer timeout=1", .fix = "pending_id=112"},
    {"pending_id_must_not_be_int_max", "timeout_reserved_for_pending_transfer",
     .event = "transfer 200 void_pending_transfer pending_id=max timeout=1",
     .fix = "pending_id=112"},
    {"pending_id_must_be_different", "timeout_reserved_for_pending_transfer",
     .event = "transfer 200 post_pending_transfer pending_id=200 timeout=1",
     .fix = "pending_id=112"},
    {"timeout_reserved_for_pending_transfer", "pending_transfer_not_found",
     .event = "transfer 200 post_pending_transfer pending_id=999 timeout=1", .fix = "timeout=0"},
    {"pending_transfer_not_found", "pending_transfer_not_pending",
     .impossible = "what is not found has no flags"},
    {"pending_transfer_not_found", "imported_event_timestamp_must_not_regress",
     .event = "transfer 200 post_pending_transfer pending_id=999 imported timestamp=1",
     .fix = "pending_id=112"},
    {"timeout_reserved_for_pending_transfer", "pending_transfer_not_pending",
     .event = "transfer 200 post_pending_transfer pending_id=100 timeout=1", .fix = "timeout=0"},
    {"pending_transfer_not_pending", "pending_transfer_has_different_debit_account_id",
     .event = "transfer 200 post_pending_transfer pending_id=100 debit_account_id=9",
     .fix = "pending_id=112"},
    {"pending_transfer_has_different_debit_account_id",
     "pending_transfer_has_different_credit_account_id",
     .event = "transfer 200 post_pending_transfer pending_id=112 debit_account_id=9 "
              "credit_account_id=9",
     .fix = "debit_account_id=1"},
    {"pending_transfer_has_different_credit_account_id", "pending_transfer_has_different_ledger",
     .event = "transfer 200 post_pending_transfer pending_id=112 credit_account_id=9 ledger=9",
     .fix = "credit_account_id=2"},
    {"pending_transfer_has_different_ledger", "pending_transfer_has_different_code",
     .event = "transfer 200 post_pending_transfer pending_id=112 ledger=9 code=9",
     .fix = "ledger=1"},
    {"pending_transfer_has_different_code", "exceeds_pending_transfer_amount",
     .event = "transfer 200 post_pending_transfer pending_id=112 code=9 amount=16",
     .fix = "code=1"},
    {"exceeds_pending_transfer_amount", "pending_transfer_has_different_amount",
     .impossible = "one is for more, the other for less"},
    {"pending_transfer_has_different_code", "pending_transfer_has_different_amount",
     .event = "transfer 200 void_pending_transfer pending_id=112 code=9 amount=14",
     .fix = "code=0"},
    {"exceeds_pending_transfer_amount", "pending_transfer_already_posted",
     .event = "transfer 200 post_pending_transfer pending_id=102 amount=16", .fix = "amount=15"},
    {"exceeds_pending_transfer_amount", "pending_transfer_already_voided",
     .event = "transfer 200 void_pending_transfer pending_id=104 amount=16", .fix = "amount=15"},
    {"pending_transfer_has_different_amount", "pending_transfer_already_posted",
     .event = "transfer 200 void_pending_transfer pending_id=102 amount=14", .fix = "amount=0"},
    {"pending_transfer_already_posted", "pending_transfer_already_voided",
     .impossible = "a pending transfer is resolved once"},
    {"pending_transfer_has_different_amount", "pending_transfer_already_voided",
     .event = "transfer 200 void_pending_transfer pending_id=104 amount=14", .fix = "amount=15"},
    {"pending_transfer_already_posted", "pending_transfer_expired",
     .event = "transfer 200 post_pending_transfer pending_id=107", .fix = "pending_id=106"},
    {"pending_transfer_already_voided", "pending_transfer_expired",
     .event = "transfer 200 void_pending_transfer pending_id=109", .fix = "pending_id=106"},
    {"pending_transfer_has_different_amount", "pending_transfer_expired",
     .event = "transfer 200 void_pending_transfer pending_id=106 amount=14", .fix = "amount=15"},
    {"pending_transfer_already_posted", "imported_event_timestamp_must_not_regress",
     .event = "transfer 200 post_pending_transfer pending_id=102 imported timestamp=1",
     .fix = "pending_id=112"},
    {"pending_transfer_already_voided", "imported_event_timestamp_must_not_regress",
     .event = "transfer 200 post_pending_transfer pending_id=104 imported timestamp=1",
     .fix = "pending_id=112"},
    {"pending_transfer_expired", "imported_event_timestamp_must_not_regress",
     .event = "transfer 200 post_pending_transfer pending_id=106 imported timestamp=1",
     .fix = "pending_id=112"},
    {"imported_event_timestamp_must_not_regress", "debit_account_already_closed",
     .event = "transfer 200 post_pending_transfer pending_id=120 imported timestamp=1",
     .fix = "timestamp=slot-1"},
    {"debit_account_already_closed", "credit_account_already_closed",
     .event = "transfer 200 post_pending_transfer pending_id=120", .fix = "pending_id=122"},
    /* clang-format on */
};

static const struct pair plain_pairs[] = {
    /* clang-format off */
    {"debit_account_id_must_not_be_zero", "debit_account_id_must_not_be_int_max",
     .impossible = "an id is one number"},
    {"debit_account_id_must_not_be_zero", "credit_account_id_must_not_be_zero",
     .event = "transfer 200 0>0", .fix = "debit_account_id=1"},
    {"debit_account_id_must_not_be_int_max", "credit_account_id_must_not_be_zero",
     .event = "transfer 200 max>0", .fix = "debit_account_id=1"},
    {"credit_account_id_must_not_be_zero", "credit_account_id_must_not_be_int_max",
     .impossible = "an id is one number"},
    {"debit_account_id_must_not_be_int_max", "credit_account_id_must_not_be_int_max",
     .event = "transfer 200 max>max", .fix = "debit_account_id=1"},
    {"credit_account_id_must_not_be_int_max", "accounts_must_be_different",
     .impossible = "the debit account would be that too, and comes first"},
    {"debit_account_id_must_not_be_zero", "accounts_must_be_different",
     .event = "transfer 200 0>0", .fix = "debit_account_id=1 credit_account_id=1"},
    {"credit_account_id_must_not_be_zero", "pending_id_must_be_zero",
     .event = "transfer 200 1>0 pending_id=112", .fix = "credit_account_id=2"},
    {"credit_account_id_must_not_be_int_max", "pending_id_must_be_zero",
     .event = "transfer 200 1>max pending_id=112", .fix = "credit_account_id=2"},
    {"accounts_must_be_different", "pending_id_must_be_zero",
     .event = "transfer 200 1>1 pending_id=112", .fix = "credit_account_id=2"},
    {"pending_id_must_be_zero", "timeout_reserved_for_pending_transfer",
     .event = "transfer 200 1>2 pending_id=112 timeout=1", .fix = "pending_id=0"},
    {"timeout_reserved_for_pending_transfer", "closing_transfer_must_be_pending",
     .event = "transfer 200 1>2 timeout=1 closing_debit", .fix = "timeout=0"},
    {"closing_transfer_must_be_pending", "ledger_must_not_be_zero",
     .event = "transfer 200 1>2 closing_credit ledger=0", .fix = "-closing_credit"},
    {"ledger_must_not_be_zero", "code_must_not_be_zero",
     .event = "transfer 200 1>2 ledger=0 code=0", .fix = "ledger=1"},
    {"code_must_not_be_zero", "debit_account_not_found",
     .event = "transfer 200 98>2 code=0", .fix = "code=1"},
    {"debit_account_not_found", "credit_account_not_found",
     .event = "transfer 200 98>99", .fix = "debit_account_id=1"},
    {"credit_account_not_found", "accounts_must_have_the_same_ledger",
     .impossible = "what is not found has no ledger"},
    {"debit_account_not_found", "transfer_must_have_the_same_ledger_as_accounts",
     .event = "transfer 200 98>2 ledger=9", .fix = "debit_account_id=1"},
    {"credit_account_not_found", "transfer_must_have_the_same_ledger_as_accounts",
     .event = "transfer 200 1>98 ledger=9", .fix = "credit_account_id=2"},
    {"accounts_must_have_the_same_ledger", "transfer_must_have_the_same_ledger_as_accounts",
     .event = "transfer 200 1>3 ledger=9", .fix = "credit_account_id=2"},
    {"transfer_must_have_the_same_ledger_as_accounts", "imported_event_timestamp_must_not_regress",
     .event = "transfer 200 1>2 ledger=9 imported timestamp=1", .fix = "ledger=1"},
    {"imported_event_timestamp_must_not_regress",
     "imported_event_timestamp_must_postdate_debit_account",
     .event = "transfer 200 30>1 imported timestamp=1", .fix = "timestamp=@a30-1"},
    {"imported_event_timestamp_must_postdate_debit_account",
     "imported_event_timestamp_must_postdate_credit_account",
     .event = "transfer 200 30>31 imported timestamp=@a30-1", .fix = "timestamp=@a30+1"},
    {"imported_event_timestamp_must_postdate_credit_account", "imported_event_timeout_must_be_zero",
     .event = "transfer 200 1>31 imported pending timeout=1 timestamp=@a31-1",
     .fix = "timestamp=slot-1"},
    {"imported_event_timeout_must_be_zero", "debit_account_already_closed",
     .event = "transfer 200 5>1 imported pending timeout=1 timestamp=slot-1", .fix = "timeout=0"},
    {"debit_account_already_closed", "credit_account_already_closed",
     .event = "transfer 200 5>6", .fix = "debit_account_id=1"},
    {"credit_account_already_closed", "overflows_debits_pending",
     .event = "transfer 200 40>5 pending amount=max-99", .fix = "credit_account_id=41"},
    {"overflows_debits_pending", "overflows_credits_pending",
     .event = "transfer 200 40>41 pending amount=max-99", .fix = "amount=max-109"},
    {"overflows_credits_pending", "overflows_debits_posted",
     .event = "transfer 200 40>41 pending amount=max-109", .fix = "amount=max-199"},
    {"overflows_debits_posted", "overflows_credits_posted",
     .event = "transfer 200 40>41 pending amount=max-199", .fix = "amount=max-209"},
    {"overflows_credits_posted", "overflows_debits",
     .event = "transfer 200 40>41 pending amount=max-209", .fix = "amount=max-299"},
    {"overflows_debits", "overflows_credits",
     .event = "transfer 200 40>41 pending amount=max-299", .fix = "amount=max-319"},
    {"overflows_credits", "overflows_timeout",
     .setup = TRANSFER_SETUP "tick 5000000000s",
     .event = "transfer 200 40>41 pending amount=max-319 timeout=max", .fix = "amount=1"},
    {"overflows_timeout", "exceeds_credits",
     .setup = TRANSFER_SETUP "tick 5000000000s",
     .event = "transfer 200 7>2 pending amount=1 timeout=max", .fix = "timeout=0"},
    {"exceeds_credits", "exceeds_debits",
     .event = "transfer 200 7>8 amount=1", .fix = "debit_account_id=1"},
    /* clang-format on */
};

UNIT_TEST(transfer_statuses_before_the_kinds_part_have_their_precedence)
{
    for (size_t i = 0; i < ARRAY_COUNT(prefix_pairs); i++) {
        pair_check(&prefix_pairs[i], TRANSFER_SETUP);
    }
}

UNIT_TEST(transfer_statuses_of_existing_ids_have_their_precedence)
{
    for (size_t i = 0; i < ARRAY_COUNT(exists_pairs); i++) {
        pair_check(&exists_pairs[i], TRANSFER_SETUP);
    }
}

UNIT_TEST(transfer_statuses_of_posts_and_voids_have_their_precedence)
{
    for (size_t i = 0; i < ARRAY_COUNT(resolution_pairs); i++) {
        pair_check(&resolution_pairs[i], TRANSFER_SETUP);
    }
}

UNIT_TEST(transfer_statuses_of_single_phase_and_pending_have_their_precedence)
{
    for (size_t i = 0; i < ARRAY_COUNT(plain_pairs); i++) {
        pair_check(&plain_pairs[i], TRANSFER_SETUP);
    }
}

UNIT_TEST(each_transfer_status_is_shown)
{
#define X(name, code)                                                                              \
    expect(                                                                                        \
        pairs_show(prefix_pairs, ARRAY_COUNT(prefix_pairs), #name) ||                              \
        pairs_show(exists_pairs, ARRAY_COUNT(exists_pairs), #name) ||                              \
        pairs_show(resolution_pairs, ARRAY_COUNT(resolution_pairs), #name) ||                      \
        pairs_show(plain_pairs, ARRAY_COUNT(plain_pairs), #name));
    CREATE_TRANSFER_STATUS_LIST(X)
#undef X
}

UNIT_TEST(post_and_void_go_with_no_other_kind)
{
    static const char *const resolutions[] = {"post_pending_transfer", "void_pending_transfer"};
    static const char *const others[] = {
        "pending",
        "post_pending_transfer void_pending_transfer",
        "closing_debit",
        "closing_credit",
        "balancing_debit",
        "balancing_credit",
    };
    for (size_t i = 0; i < ARRAY_COUNT(resolutions); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(others); j++) {
            char script[SCRIPT_SIZE_MAX];
            snprintf(
                script,
                sizeof(script),
                TRANSFER_SETUP "transfer 200 %s %s pending_id=112"
                               " -> flags_are_mutually_exclusive\n",
                resolutions[i],
                others[j]);
            check(script);
        }
    }
}

UNIT_MAIN(test_accounting_codes)
