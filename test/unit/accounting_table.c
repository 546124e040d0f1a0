/* SPDX-License-Identifier: PostgreSQL */
#include "unit/accounting_table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "unit/ledger_fixture.h"

#define ROW_SIZE_MAX 512
#define TOKENS_MAX   64

/* ---- Records by name ------------------------------------------------------------------------- */

struct field {
    const char *name;
    uint32_t offset;
    uint32_t size;
};

struct flag {
    const char *name;
    uint32_t bit;
};

struct record {
    const struct field *fields;
    uint32_t field_count;
    const struct flag *flags;
    uint32_t flag_count;
    uint32_t flags_offset;
    uint32_t flags_size;
};

#define FIELD(type, member)                                                                        \
    {                                                                                              \
#member, offsetof(struct type, member), sizeof(((struct type *) 0)->member)                \
    }
#define RESERVED(type)                                                                             \
    {                                                                                              \
        "reserved", offsetof(struct type, reserved), 1                                             \
    }
#define RECORD(type, fields_of, flags_of)                                                          \
    {                                                                                              \
        fields_of, ARRAY_COUNT(fields_of), flags_of, ARRAY_COUNT(flags_of),                        \
            offsetof(struct type, flags), sizeof(((struct type *) 0)->flags)                       \
    }

static const struct field account_fields[] = {
    FIELD(account, id),
    FIELD(account, debits_pending),
    FIELD(account, debits_posted),
    FIELD(account, credits_pending),
    FIELD(account, credits_posted),
    FIELD(account, user_data_128),
    FIELD(account, user_data_64),
    FIELD(account, user_data_32),
    FIELD(account, reserved),
    FIELD(account, ledger),
    FIELD(account, code),
    FIELD(account, flags),
    FIELD(account, timestamp),
};
static const struct flag account_flags[] = {
#define X(name, bit) {#name, bit},
    ACCOUNT_FLAG_LIST(X)
#undef X
};
static const struct record account_record = RECORD(account, account_fields, account_flags);

static const struct field transfer_fields[] = {
    FIELD(transfer, id),
    FIELD(transfer, debit_account_id),
    FIELD(transfer, credit_account_id),
    FIELD(transfer, amount),
    FIELD(transfer, pending_id),
    FIELD(transfer, user_data_128),
    FIELD(transfer, user_data_64),
    FIELD(transfer, user_data_32),
    FIELD(transfer, timeout),
    FIELD(transfer, ledger),
    FIELD(transfer, code),
    FIELD(transfer, flags),
    FIELD(transfer, timestamp),
};
static const struct flag transfer_flags[] = {
#define X(name, bit) {#name, bit},
    TRANSFER_FLAG_LIST(X)
#undef X
};
static const struct record transfer_record = RECORD(transfer, transfer_fields, transfer_flags);

static const struct field account_filter_fields[] = {
    FIELD(account_filter, account_id),
    FIELD(account_filter, user_data_128),
    FIELD(account_filter, user_data_64),
    FIELD(account_filter, user_data_32),
    FIELD(account_filter, code),
    RESERVED(account_filter),
    FIELD(account_filter, timestamp_min),
    FIELD(account_filter, timestamp_max),
    FIELD(account_filter, limit),
    FIELD(account_filter, flags),
};
static const struct flag account_filter_flags[] = {
    {"debits", ACCOUNT_FILTER_DEBITS},
    {"credits", ACCOUNT_FILTER_CREDITS},
    {"reversed", ACCOUNT_FILTER_REVERSED},
};
static const struct record account_filter_record =
    RECORD(account_filter, account_filter_fields, account_filter_flags);

static const struct field query_filter_fields[] = {
    FIELD(query_filter, user_data_128),
    FIELD(query_filter, user_data_64),
    FIELD(query_filter, user_data_32),
    FIELD(query_filter, ledger),
    FIELD(query_filter, code),
    RESERVED(query_filter),
    FIELD(query_filter, timestamp_min),
    FIELD(query_filter, timestamp_max),
    FIELD(query_filter, limit),
    FIELD(query_filter, flags),
};
static const struct flag query_filter_flags[] = {{"reversed", QUERY_FILTER_REVERSED}};
static const struct record query_filter_record =
    RECORD(query_filter, query_filter_fields, query_filter_flags);

static const struct field change_events_filter_fields[] = {
    FIELD(change_events_filter, timestamp_min),
    FIELD(change_events_filter, timestamp_max),
    FIELD(change_events_filter, limit),
    RESERVED(change_events_filter),
};
static const struct record change_events_filter_record = {
    .fields = change_events_filter_fields,
    .field_count = ARRAY_COUNT(change_events_filter_fields),
};

/* The last of each list ends it: its name is NULL. */
struct status {
    const char *name;
    uint32_t code;
};
static const struct status account_statuses[] = {
    {"created", STATUS_CREATED},
#define X(name, code) {#name, code},
    CREATE_ACCOUNT_STATUS_LIST(X)
#undef X
        {NULL, 0},
};
static const struct status transfer_statuses[] = {
    {"created", STATUS_CREATED},
#define X(name, code) {#name, code},
    CREATE_TRANSFER_STATUS_LIST(X)
#undef X
        {NULL, 0},
};

static const char *const change_names[] = {
    [CHANGE_SINGLE_PHASE] = "single",
    [CHANGE_TWO_PHASE_PENDING] = "pending",
    [CHANGE_TWO_PHASE_POSTED] = "posted",
    [CHANGE_TWO_PHASE_VOIDED] = "voided",
    [CHANGE_TWO_PHASE_EXPIRED] = "expired",
};

/* ---- The table ------------------------------------------------------------------------------- */

struct table {
    struct ledger_fixture fixture;
    int failures;

    /* The present row: words before and after "->". */
    const char *row;
    char text[ROW_SIZE_MAX];
    char *words[TOKENS_MAX];
    uint32_t word_count;
    char *expected[TOKENS_MAX];
    uint32_t expected_count;
    bool has_arrow;

    /* The batch that is being gathered. operation 0: none. */
    uint8_t operation;
    uint32_t event_count;
    uint8_t events[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    uint32_t event_statuses[EVENTS_PER_BATCH_MAX];
    char event_rows[EVENTS_PER_BATCH_MAX][ROW_SIZE_MAX];
};

static void fail(struct table *table, const char *row, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void
fail(struct table *table, const char *row, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("    %.*s\n        ", (int) strcspn(row, "\n"), row);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    table->failures += 1;
}

/* A script that cannot be read is a bug of the test. */
static _Noreturn void
script_error(const struct table *table, const char *problem, const char *word)
{
    printf("in row: %.*s\n", (int) strcspn(table->row, "\n"), table->row);
    printf("%s: %s\n", problem, word);
    fflush(stdout);
    abort();
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static u128
parse_digits(const struct table *table, const char *text, char **end)
{
    u128 value = 0;
    if (text[0] == '0' && text[1] == 'x') return strtoull(text, end, 16);
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++)
        value = value * 10 + (unsigned) (*c - '0');
    if (c == text) script_error(table, "no number", text);
    *end = (char *) (uintptr_t) c;
    return value;
}

static bool
starts_with(const char *text, const char *prefix, char **end)
{
    const size_t length = strlen(prefix);
    if (strncmp(text, prefix, length) != 0) return false;
    *end = (char *) (uintptr_t) (text + length);
    return true;
}

static uint64_t
parse_reference(struct table *table, const char *text, char **end)
{
    const u128 id = parse_digits(table, text + 2, end);
    if (text[1] == 'a') {
        const struct account *account = model_account(&table->fixture.model, id);
        if (account == NULL) script_error(table, "no such account", text);
        return account->timestamp;
    }
    if (text[1] != 't') script_error(table, "neither @a nor @t", text);
    const struct transfer *transfer = model_transfer(&table->fixture.model, id);
    if (transfer == NULL) script_error(table, "no such transfer", text);
    return transfer->timestamp;
}

static u128
parse_number(struct table *table, const char *text, uint32_t size)
{
    char *end = NULL;
    u128 value;
    if (starts_with(text, "max63", &end)) {
        value = TIMESTAMP_MAX;
    } else if (starts_with(text, "max", &end)) {
        value = U128_MAX >> (128 - 8 * size);
    } else if (starts_with(text, "slot", &end)) {
        value = table->fixture.timestamp + table->event_count + 1;
    } else if (text[0] == '@') {
        value = parse_reference(table, text, &end);
    } else {
        value = parse_digits(table, text, &end);
    }
    if (*end == '+') value += parse_digits(table, end + 1, &end);
    if (*end == '-') value -= parse_digits(table, end + 1, &end);
    if (*end != '\0') script_error(table, "not a number", text);
    if (value > U128_MAX >> (128 - 8 * size)) script_error(table, "number too large", text);
    return value;
}

static u128
parse_id(struct table *table, const char *text)
{
    return parse_number(table, text, sizeof(u128));
}

static uint64_t
parse_duration(struct table *table, const char *text)
{
    char *end = NULL;
    const uint64_t count = (uint64_t) parse_digits(table, text, &end);
    if (strcmp(end, "s") == 0) return count * NS_PER_S;
    if (strcmp(end, "ms") == 0) return count * NS_PER_MS;
    if (strcmp(end, "ns") == 0) return count;
    script_error(table, "not a duration", text);
}

/* ---- Words ----------------------------------------------------------------------------------- */

/* Sets FIELD=NUMBER, FLAG, or -FLAG in the record. */
static void
parse_word(struct table *table, const struct record *record, const char *word, uint8_t *bytes)
{
    const char *equals = strchr(word, '=');
    const bool off = word[0] == '-';
    for (uint32_t i = 0; equals == NULL && i < record->flag_count; i++) {
        if (strcmp(record->flags[i].name, word + off) != 0) continue;
        uint32_t flags = 0;
        memcpy(&flags, bytes + record->flags_offset, record->flags_size);
        if (off) {
            flags &= ~record->flags[i].bit;
        } else {
            flags |= record->flags[i].bit;
        }
        memcpy(bytes + record->flags_offset, &flags, record->flags_size);
        return;
    }
    if (equals == NULL) script_error(table, "unknown flag", word);
    const size_t length = (size_t) (equals - word);
    for (uint32_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        if (strlen(field->name) != length || strncmp(field->name, word, length) != 0) continue;
        const u128 value = parse_number(table, equals + 1, field->size);
        memcpy(bytes + field->offset, &value, field->size);
        return;
    }
    script_error(table, "unknown field", word);
}

static uint32_t
parse_status(const struct table *table, const struct status *statuses, const char *name)
{
    for (uint32_t i = 0; statuses[i].name != NULL; i++) {
        if (strcmp(statuses[i].name, name) == 0) return statuses[i].code;
    }
    script_error(table, "unknown status", name);
}

static const char *
status_name(const struct status *statuses, uint32_t code)
{
    for (uint32_t i = 0; statuses[i].name != NULL; i++) {
        if (statuses[i].code == code) return statuses[i].name;
    }
    return "(no status)";
}

/* ---- Rows: events ---------------------------------------------------------------------------- */

static void
flush(struct table *table)
{
    if (table->operation == 0) return;
    const struct status *statuses =
        table->operation == LEDGER_CREATE_ACCOUNTS ? account_statuses : transfer_statuses;
    struct create_result results[EVENTS_PER_BATCH_MAX];
    const uint32_t count = table->event_count;
    ledger_fixture_create(&table->fixture, table->operation, table->events, count, results);
    for (uint32_t i = 0; i < count; i++) {
        if (results[i].status == table->event_statuses[i]) continue;
        fail(
            table,
            table->event_rows[i],
            "is %s (%" PRIu32 ")",
            status_name(statuses, results[i].status),
            results[i].status);
    }
    table->operation = 0;
    table->event_count = 0;
}

static uint8_t *
event_begin(struct table *table, uint8_t operation, const struct status *statuses)
{
    if (table->operation != 0 && table->operation != operation) flush(table);
    table->operation = operation;
    if (table->event_count == EVENTS_PER_BATCH_MAX) script_error(table, "batch is full", "");
    if (table->word_count < 2) script_error(table, "no id", "");
    if (table->expected_count != 1) script_error(table, "one status is needed", "");
    const uint32_t i = table->event_count;
    table->event_statuses[i] = parse_status(table, statuses, table->expected[0]);
    snprintf(
        table->event_rows[i], ROW_SIZE_MAX, "%.*s", (int) strcspn(table->row, "\n"), table->row);
    uint8_t *event = table->events + i * EVENT_SIZE;
    memset(event, 0, EVENT_SIZE);
    return event;
}

static void
row_account(struct table *table)
{
    uint8_t *event = event_begin(table, LEDGER_CREATE_ACCOUNTS, account_statuses);
    struct account account = {.id = parse_id(table, table->words[1]), .ledger = 1, .code = 1};
    for (uint32_t i = 2; i < table->word_count; i++) {
        parse_word(table, &account_record, table->words[i], (uint8_t *) &account);
    }
    memcpy(event, &account, sizeof(account));
    table->event_count += 1;
}

static bool
transfer_resolves(const struct table *table)
{
    bool resolves = false;
    for (uint32_t i = 2; i < table->word_count; i++) {
        resolves |= strcmp(table->words[i], "post_pending_transfer") == 0;
        resolves |= strcmp(table->words[i], "void_pending_transfer") == 0;
    }
    return resolves;
}

static void
row_transfer(struct table *table)
{
    uint8_t *event = event_begin(table, LEDGER_CREATE_TRANSFERS, transfer_statuses);
    struct transfer transfer = {.id = parse_id(table, table->words[1])};
    if (!transfer_resolves(table)) {
        transfer.ledger = 1;
        transfer.code = 1;
    }
    for (uint32_t i = 2; i < table->word_count; i++) {
        char *arrow = strchr(table->words[i], '>');
        if (arrow == NULL) {
            parse_word(table, &transfer_record, table->words[i], (uint8_t *) &transfer);
        } else {
            *arrow = '\0';
            transfer.debit_account_id = parse_id(table, table->words[i]);
            transfer.credit_account_id = parse_id(table, arrow + 1);
        }
    }
    memcpy(event, &transfer, sizeof(transfer));
    table->event_count += 1;
}

/* ---- Rows: time ------------------------------------------------------------------------------ */

static void
row_commit(struct table *table)
{
    assert(table->operation == 0);
}

static void
row_wait(struct table *table)
{
    ledger_fixture_advance(&table->fixture, parse_duration(table, table->words[1]));
}

static void
row_tick(struct table *table)
{
    row_wait(table);
    while (ledger_fixture_pulse(&table->fixture))
        continue;
}

static void
row_reopen(struct table *table)
{
    ledger_fixture_reopen(&table->fixture);
}

/* ---- Rows: state ----------------------------------------------------------------------------- */

static const char *
number_text(u128 value)
{
    static char buffers[8][48];
    static uint32_t next;
    char *buffer = buffers[next++ % ARRAY_COUNT(buffers)];
    char *c = buffer + sizeof(buffers[0]) - 1;
    *c = '\0';
    do {
        *--c = (char) ('0' + (int) (value % 10));
        value /= 10;
    } while (value != 0);
    return c;
}

static void
row_balance(struct table *table)
{
    struct account account;
    struct balances want = {0};
    bool closed = false;
    for (uint32_t i = 2; i < table->word_count; i++) {
        const char *word = table->words[i];
        char *number = NULL;
        if (strcmp(word, "closed") == 0) {
            closed = true;
        } else if (starts_with(word, "dp=", &number)) {
            want.debits_pending = parse_id(table, number);
        } else if (starts_with(word, "dpo=", &number)) {
            want.debits_posted = parse_id(table, number);
        } else if (starts_with(word, "cp=", &number)) {
            want.credits_pending = parse_id(table, number);
        } else if (starts_with(word, "cpo=", &number)) {
            want.credits_posted = parse_id(table, number);
        } else {
            script_error(table, "not a balance", word);
        }
    }
    if (!ledger_fixture_account(&table->fixture, parse_id(table, table->words[1]), &account)) {
        fail(table, table->row, "no such account");
        return;
    }
    const bool is_closed = (account.flags & ACCOUNT_CLOSED) != 0;
    if (account.debits_pending == want.debits_pending &&
        account.debits_posted == want.debits_posted &&
        account.credits_pending == want.credits_pending &&
        account.credits_posted == want.credits_posted && is_closed == closed) {
        return;
    }
    fail(
        table,
        table->row,
        "is dp=%s dpo=%s cp=%s cpo=%s%s",
        number_text(account.debits_pending),
        number_text(account.debits_posted),
        number_text(account.credits_pending),
        number_text(account.credits_posted),
        is_closed ? " closed" : "");
}

static void
row_stored(struct table *table)
{
    struct transfer stored;
    if (!ledger_fixture_transfer(&table->fixture, parse_id(table, table->words[1]), &stored)) {
        fail(table, table->row, "no such transfer");
        return;
    }
    for (uint32_t i = 2; i < table->word_count; i++) {
        struct transfer want = stored;
        parse_word(table, &transfer_record, table->words[i], (uint8_t *) &want);
        if (memcmp(&want, &stored, sizeof(want)) == 0) continue;
        fail(table, table->row, "has not %s", table->words[i]);
    }
}

static void
row_missing(struct table *table)
{
    for (uint32_t i = 2; i < table->word_count; i++) {
        struct account account;
        struct transfer transfer;
        const u128 id = parse_id(table, table->words[i]);
        const bool found = strcmp(table->words[1], "account") == 0
                               ? ledger_fixture_account(&table->fixture, id, &account)
                               : ledger_fixture_transfer(&table->fixture, id, &transfer);
        if (found) fail(table, table->row, "%s is there", table->words[i]);
    }
}

/* ---- Rows: queries --------------------------------------------------------------------------- */

/* The transfer of this timestamp. */
static u128
transfer_at(const struct table *table, uint64_t timestamp)
{
    const struct model *model = &table->fixture.model;
    for (uint32_t i = 0; i < model->transfer_ids.count; i++) {
        if (model->transfers[i].timestamp == timestamp) return model->transfers[i].id;
    }
    return 0;
}

/* A found row as it is written after "->"; ROW_SIZE_MAX bytes. */
static void
row_text(const struct table *table, uint8_t operation, const uint8_t *bytes, char *text)
{
    struct account_balance balance;
    struct change_event event;
    u128 id;
    switch (operation) {
    case LEDGER_GET_ACCOUNT_BALANCES:
        memcpy(&balance, bytes, sizeof(balance));
        snprintf(
            text,
            ROW_SIZE_MAX,
            "%s:%s/%s/%s/%s",
            number_text(transfer_at(table, balance.timestamp)),
            number_text(balance.balances.debits_pending),
            number_text(balance.balances.debits_posted),
            number_text(balance.balances.credits_pending),
            number_text(balance.balances.credits_posted));
        break;
    case LEDGER_GET_CHANGE_EVENTS:
        memcpy(&event, bytes, sizeof(event));
        assert(event.type < ARRAY_COUNT(change_names));
        snprintf(
            text, ROW_SIZE_MAX, "%s:%s", number_text(event.transfer_id), change_names[event.type]);
        break;
    default:
        memcpy(&id, bytes, sizeof(id));
        snprintf(text, ROW_SIZE_MAX, "%s", number_text(id));
        break;
    }
}

static void
query(struct table *table, uint8_t operation, const void *filter, uint32_t filter_size)
{
    static uint8_t reply[FIXTURE_REPLY_SIZE_MAX];
    const bool valid = ledger_fixture_read_valid(&table->fixture, operation, filter, filter_size);
    const bool want_valid =
        table->expected_count != 1 || strcmp(table->expected[0], "invalid") != 0;
    if (!table->has_arrow) script_error(table, "no ->", "");
    if (valid != want_valid) fail(table, table->row, "is %s", valid ? "valid" : "invalid");
    if (!valid || !want_valid) return;

    const uint32_t row_size = ledger_row_size(operation);
    const uint32_t size =
        ledger_fixture_read(&table->fixture, operation, filter, filter_size, reply);
    const uint32_t count = size / row_size;
    char found[ROW_SIZE_MAX * 8] = "";
    size_t found_size = 0;
    bool same = count == table->expected_count;
    for (uint32_t i = 0; i < count; i++) {
        char text[ROW_SIZE_MAX];
        row_text(table, operation, reply + i * row_size, text);
        if (i < table->expected_count) same &= strcmp(text, table->expected[i]) == 0;
        found_size +=
            (size_t) snprintf(found + found_size, sizeof(found) - found_size, "%s ", text);
        assert(found_size < sizeof(found));
    }
    if (!same) fail(table, table->row, "finds %s", count ? found : "nothing");
}

static void
query_with(
    struct table *table,
    uint8_t operation,
    const struct record *record,
    void *filter,
    uint32_t filter_size)
{
    for (uint32_t i = 1; i < table->word_count; i++) {
        parse_word(table, record, table->words[i], filter);
    }
    query(table, operation, filter, filter_size);
}

static void
row_get_account_transfers(struct table *table)
{
    struct account_filter filter = {.limit = RESULTS_MAX};
    query_with(
        table, LEDGER_GET_ACCOUNT_TRANSFERS, &account_filter_record, &filter, sizeof(filter));
}

static void
row_get_account_balances(struct table *table)
{
    struct account_filter filter = {.limit = RESULTS_MAX};
    query_with(table, LEDGER_GET_ACCOUNT_BALANCES, &account_filter_record, &filter, sizeof(filter));
}

static void
row_query_accounts(struct table *table)
{
    struct query_filter filter = {.limit = RESULTS_MAX};
    query_with(table, LEDGER_QUERY_ACCOUNTS, &query_filter_record, &filter, sizeof(filter));
}

static void
row_query_transfers(struct table *table)
{
    struct query_filter filter = {.limit = RESULTS_MAX};
    query_with(table, LEDGER_QUERY_TRANSFERS, &query_filter_record, &filter, sizeof(filter));
}

static void
row_get_change_events(struct table *table)
{
    struct change_events_filter filter = {.limit = RESULTS_MAX};
    query_with(
        table, LEDGER_GET_CHANGE_EVENTS, &change_events_filter_record, &filter, sizeof(filter));
}

/* ---- Scripts --------------------------------------------------------------------------------- */

struct row_kind {
    const char *name;
    bool gathers; /* The row is part of a batch; all others end it. */
    void (*run)(struct table *table);
};

static const struct row_kind row_kinds[] = {
    {"account", true, row_account},
    {"transfer", true, row_transfer},
    {"commit", false, row_commit},
    {"tick", false, row_tick},
    {"wait", false, row_wait},
    {"reopen", false, row_reopen},
    {"balance", false, row_balance},
    {"stored", false, row_stored},
    {"missing", false, row_missing},
    {"get_account_transfers", false, row_get_account_transfers},
    {"get_account_balances", false, row_get_account_balances},
    {"query_accounts", false, row_query_accounts},
    {"query_transfers", false, row_query_transfers},
    {"get_change_events", false, row_get_change_events},
};

static void
row_split(struct table *table)
{
    const size_t length = strcspn(table->row, "\n");
    if (length >= ROW_SIZE_MAX) script_error(table, "row is too long", "");
    memcpy(table->text, table->row, length);
    table->text[length] = '\0';
    table->word_count = 0;
    table->expected_count = 0;
    table->has_arrow = false;
    for (char *word = strtok(table->text, " "); word != NULL; word = strtok(NULL, " ")) {
        if (strcmp(word, "->") == 0) {
            table->has_arrow = true;
        } else if (table->has_arrow) {
            if (table->expected_count == TOKENS_MAX) script_error(table, "too many words", word);
            table->expected[table->expected_count++] = word;
        } else {
            if (table->word_count == TOKENS_MAX) script_error(table, "too many words", word);
            table->words[table->word_count++] = word;
        }
    }
}

static void
row_run(struct table *table)
{
    row_split(table);
    if (table->word_count == 0) return;
    for (uint32_t i = 0; i < ARRAY_COUNT(row_kinds); i++) {
        if (strcmp(row_kinds[i].name, table->words[0]) != 0) continue;
        if (!row_kinds[i].gathers) flush(table);
        row_kinds[i].run(table);
        return;
    }
    script_error(table, "unknown row", table->words[0]);
}

int
accounting_table_run(const char *script)
{
    static struct table table;
    memset(&table, 0, sizeof(table));
    ledger_fixture_init(&table.fixture, NULL);
    for (const char *row = script; *row != '\0';) {
        table.row = row;
        row_run(&table);
        row += strcspn(row, "\n");
        row += *row == '\n';
    }
    flush(&table);
    ledger_fixture_compare(&table.fixture);
    const int failures = table.failures + (int) table.fixture.mismatches;
    ledger_fixture_free(&table.fixture);
    return failures;
}
