/* SPDX-License-Identifier: PostgreSQL */
/*
 * The state machine from the inside: records, indexes and invariants (L1) … (L8) of
 * ledger_internal.h, which answers alone don't show. (L9) is in test_ledger_pulse.c; the codes and
 * their precedence are tested in test_accounting_*.c.
 */
#include "unit/unit.h"

#include "base/units.h"
#include "ledger/ledger_internal.h"
#include "unit/ledger_fixture.h"

static struct ledger_fixture fixture;

UNIT_TEST(byte_table_is_as_documented)
{
#define AT(record, field, offset) expect_equal(offsetof(struct record, field), offset)
    AT(account, id, 0);
    AT(account, debits_pending, 16);
    AT(account, debits_posted, 32);
    AT(account, credits_pending, 48);
    AT(account, credits_posted, 64);
    AT(account, user_data_128, 80);
    AT(account, user_data_64, 96);
    AT(account, user_data_32, 104);
    AT(account, reserved, 108);
    AT(account, ledger, 112);
    AT(account, code, 116);
    AT(account, flags, 118);
    AT(account, timestamp, 120);
    AT(transfer, id, 0);
    AT(transfer, debit_account_id, 16);
    AT(transfer, credit_account_id, 32);
    AT(transfer, amount, 48);
    AT(transfer, pending_id, 64);
    AT(transfer, user_data_128, 80);
    AT(transfer, user_data_64, 96);
    AT(transfer, user_data_32, 104);
    AT(transfer, timeout, 108);
    AT(transfer, ledger, 112);
    AT(transfer, code, 116);
    AT(transfer, flags, 118);
    AT(transfer, timestamp, 120);
    AT(transfer_pending, timestamp, 0);
    AT(transfer_pending, expires_at, 8);
    AT(transfer_pending, resolved_at, 16);
    AT(transfer_pending, status, 24);
    AT(transfer_pending, reserved, 25);
    AT(account_event, timestamp, 0);
    AT(account_event, transfer_timestamp, 8);
    AT(account_event, debit_account_timestamp, 16);
    AT(account_event, credit_account_timestamp, 24);
    AT(account_event, debit, 32);
    AT(account_event, credit, 96);
    AT(account_event, amount_requested, 160);
    AT(account_event, debit_flags, 176);
    AT(account_event, credit_flags, 178);
    AT(account_event, type, 180);
    AT(account_event, reserved, 181);
    AT(burnt_id, id, 0);
    AT(burnt_id, timestamp, 16);
    AT(burnt_id, reserved, 24);
#undef AT
}

UNIT_TEST(trees_are_as_documented)
{
    static const struct {
        const char *name;
        uint32_t record_size;
    } grooves[] = {
        {"account", 128},
        {"transfer", 128},
        {"transfer_pending", 32},
        {"account_event", 192},
        {"burnt_id", 32},
    };
    expect_equal(ledger_schema.groove_count, ARRAY_COUNT(grooves));
    for (uint32_t i = 0; i < ARRAY_COUNT(grooves); i++) {
        expect(strcmp(ledger_schema.grooves[i].name, grooves[i].name) == 0);
        expect_equal(ledger_schema.grooves[i].record_size, grooves[i].record_size);
    }
}

/* Accounts 1 and 2, both with history; user_data_32 tells them apart. */
static void
start(void)
{
    const struct account accounts[2] = {
        {.id = 1, .ledger = 1, .code = 1, .flags = ACCOUNT_HISTORY, .user_data_32 = 11},
        {.id = 2, .ledger = 1, .code = 2, .flags = ACCOUNT_HISTORY, .user_data_32 = 22},
    };
    ledger_fixture_init(&fixture, NULL);
    (void) ledger_fixture_add(&fixture, LEDGER_CREATE_ACCOUNTS, accounts, 2);
}

static struct transfer
plain(uint64_t id, uint64_t amount)
{
    return (struct transfer){
        .id = id,
        .debit_account_id = 1,
        .credit_account_id = 2,
        .amount = amount,
        .ledger = 1,
        .code = 1,
    };
}

static struct transfer
pending(uint64_t id, uint64_t amount, uint32_t timeout)
{
    struct transfer transfer = plain(id, amount);
    transfer.flags = TRANSFER_PENDING;
    transfer.timeout = timeout;
    return transfer;
}

static struct transfer
resolution(uint64_t id, uint64_t pending_id, uint16_t flag)
{
    return (struct transfer){
        .id = id,
        .pending_id = pending_id,
        .flags = flag,
        .amount = flag == TRANSFER_POST_PENDING ? U128_MAX : 0,
    };
}

static struct transfer
imported(struct transfer transfer, uint64_t timestamp)
{
    transfer.flags |= TRANSFER_IMPORTED;
    transfer.timestamp = timestamp;
    return transfer;
}

static struct create_result
create(struct transfer transfer)
{
    struct create_result result;
    ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, &transfer, 1, &result);
    return result;
}

/* Newest versions; NULL: absent. Good until the next call for the same kind of record. */
static const void *
read_at(enum ledger_groove groove, uint64_t timestamp)
{
    static char records[FOREST_GROOVES_MAX][256] __attribute__((aligned(16)));
    enum forest_found found;
    while ((found = forest_read(fixture.forest, groove, timestamp, records[groove])) ==
           FOREST_WAIT) {
        ledger_fixture_progress(&fixture);
    }
    return found == FOREST_FOUND ? records[groove] : NULL;
}

static const void *
read_by_id(enum ledger_groove groove, u128 id)
{
    static char records[FOREST_GROOVES_MAX][256] __attribute__((aligned(16)));
    enum forest_found found;
    while ((found = forest_read_by_id(fixture.forest, groove, &id, records[groove])) ==
           FOREST_WAIT) {
        ledger_fixture_progress(&fixture);
    }
    return found == FOREST_FOUND ? records[groove] : NULL;
}

static const struct account *
read_account(uint64_t id)
{
    return read_by_id(GROOVE_ACCOUNT, id);
}

static const struct transfer_pending *
state_of(uint64_t id)
{
    const struct transfer *transfer = read_by_id(GROOVE_TRANSFER, id);
    assert(transfer != NULL);
    return read_at(GROOVE_TRANSFER_PENDING, transfer->timestamp);
}

/* When the first hold expires that is not resolved; UINT64_MAX: none does. */
static uint64_t
expires_first(void)
{
    struct forest_range position = {0};
    for (;;) {
        const enum forest_found found =
            forest_range_next(fixture.forest, INDEX_PENDING_EXPIRES_AT, &position);
        if (found == FOREST_WAIT) {
            ledger_fixture_progress(&fixture);
            continue;
        }
        if (found == FOREST_ABSENT) return UINT64_MAX;
        const struct transfer_pending *state = read_at(GROOVE_TRANSFER_PENDING, position.timestamp);
        assert(state->expires_at == position.value);
        if (state->status == PENDING_PENDING) return position.value;
    }
}

/* ---- Names and the schema -------------------------------------------------------------------- */

UNIT_TEST(statuses_have_names)
{
    expect(strcmp(create_account_status_name(STATUS_CREATED), "created") == 0);
    expect(strcmp(create_transfer_status_name(STATUS_CREATED), "created") == 0);
    expect(strcmp(create_account_status_name(21), "exists") == 0);
    expect(strcmp(create_transfer_status_name(46), "exists") == 0);
    expect(strcmp(create_transfer_status_name(68), "id_already_failed") == 0);
    for (uint32_t code = 0; code < 100; code++) {
        expect_equal(create_account_status_name(code) != NULL, code >= 1 && code <= 26);
        expect_equal(
            create_transfer_status_name(code) != NULL,
            code >= 1 && code <= 68 && code != 18); /* 18 is retired. */
    }
}

UNIT_TEST(seven_statuses_are_transient)
{
    uint32_t count = 0;
    for (uint32_t code = 0; code < 100; code++) {
        if (!transfer_status_is_transient(code)) continue;
        count += 1;
        expect(
            code == 21 || code == 22 || code == 25 || code == 54 || code == 55 || code == 65 ||
            code == 66);
    }
    expect_equal(count, 7);
    expect(!transfer_status_is_transient(STATUS_CREATED));
}

UNIT_TEST(schema_names_every_tree_and_index)
{
    expect_equal(ledger_schema.groove_count, GROOVE_BURNT_ID + 1);
    expect_equal(ledger_schema.index_count, INDEX_EXPIRY_CREDIT_ACCOUNT + 1);
    for (uint32_t i = 0; i < ledger_schema.groove_count; i++) {
        const struct groove_schema *groove = &ledger_schema.grooves[i];
        expect(groove->name != NULL);
        expect_equal(groove->record_size % 16, 0);
        expect(groove->timestamp_offset + 8 <= groove->record_size);
        expect_equal(groove->burnt_groove, i == GROOVE_TRANSFER ? GROOVE_BURNT_ID : FOREST_NONE);
        expect_equal(groove->inserts_per_event_max, 1);
    }
    for (uint32_t i = 0; i < ledger_schema.index_count; i++) {
        const struct index_schema *index = &ledger_schema.indexes[i];
        expect(index->name != NULL);
        expect_equal(index->kind == INDEX_ORDERED, i == INDEX_PENDING_EXPIRES_AT);
        expect_equal(index->field_offset % index->field_size % 16, 0);
        expect(!index->zero_indexed);
    }
}

static bool
takes(uint8_t operation, uint32_t event_count, uint32_t record_count)
{
    struct state_machine *machine = &fixture.ledger.machine;
    return machine->ops->batch_valid(machine, operation, event_count, record_count);
}

UNIT_TEST(batches_have_one_to_the_maximum_of_events)
{
    start();
    for (uint32_t operation = 0; operation <= UINT8_MAX; operation++) {
        const bool creates =
            operation == LEDGER_CREATE_ACCOUNTS || operation == LEDGER_CREATE_TRANSFERS;
        const uint8_t op = (uint8_t) operation;
        const uint32_t max = EVENTS_PER_BATCH_MAX;
        expect(!takes(op, 0, 0));
        expect_equal(takes(op, 1, 1), creates);
        expect_equal(takes(op, max, max), creates);
        expect(!takes(op, max + 1, max + 1));
        expect(!takes(op, 2, 1) && !takes(op, 1, 2));
    }
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Records --------------------------------------------------------------------------------- */

UNIT_TEST(resolutions_inherit_field_by_field)
{
    const struct transfer held = {
        .id = 5,
        .debit_account_id = 1,
        .credit_account_id = 2,
        .amount = 15,
        .user_data_128 = 128,
        .user_data_64 = 64,
        .user_data_32 = 32,
        .timeout = 9,
        .ledger = 3,
        .code = 4,
        .flags = TRANSFER_PENDING,
    };
    /* Each bit leaves one field open. */
    for (uint32_t open = 0; open < 256; open++) {
        for (int posts = 0; posts < 2; posts++) {
            const u128 all = posts ? U128_MAX : 0;
            const struct transfer event = {
                .id = 6,
                .pending_id = 5,
                .flags = posts ? TRANSFER_POST_PENDING : TRANSFER_VOID_PENDING,
                .debit_account_id = open & 1 ? 0 : 71,
                .credit_account_id = open & 2 ? 0 : 72,
                .amount = open & 4 ? all : 73,
                .user_data_128 = open & 8 ? 0 : 74,
                .user_data_64 = open & 16 ? 0 : 75,
                .user_data_32 = open & 32 ? 0 : 76,
                .ledger = open & 64 ? 0 : 77,
                .code = open & 128 ? 0 : 78,
            };
            const struct transfer whole = transfer_inherit(&event, &held);
            expect_equal(whole.debit_account_id, open & 1 ? 1 : 71);
            expect_equal(whole.credit_account_id, open & 2 ? 2 : 72);
            expect_equal(whole.amount, open & 4 ? 15 : 73);
            expect_equal(whole.user_data_128, open & 8 ? 128 : 74);
            expect_equal(whole.user_data_64, open & 16 ? 64 : 75);
            expect_equal(whole.user_data_32, open & 32 ? 32 : 76);
            expect_equal(whole.ledger, open & 64 ? 3 : 77);
            expect_equal(whole.code, open & 128 ? 4 : 78);
            expect_equal(whole.id, 6);
            expect_equal(whole.flags, event.flags);
            expect_equal(whole.timeout, 0);
        }
    }
}

/* The other side's "all": a post of 0 posts nothing, a void of U128_MAX is too much. */
UNIT_TEST(all_of_a_post_is_not_all_of_a_void)
{
    const struct transfer held = {.id = 5, .amount = 15, .flags = TRANSFER_PENDING};
    struct transfer event = {.pending_id = 5, .flags = TRANSFER_POST_PENDING, .amount = 0};
    expect(transfer_inherit(&event, &held).amount == 0);
    event = (struct transfer){.pending_id = 5, .flags = TRANSFER_VOID_PENDING, .amount = U128_MAX};
    expect(transfer_inherit(&event, &held).amount == U128_MAX);
}

UNIT_TEST(events_tell_both_accounts_after_each_transfer)
{
    start();
    struct transfer balancing = plain(1, 100);
    balancing.flags = TRANSFER_BALANCING_DEBIT; /* Account 1 has no credits: clamped to nothing. */
    const struct create_result result = create(balancing);
    expect_equal(result.status, STATUS_CREATED);
    const struct account_event *event =
        read_at(GROOVE_ACCOUNT_EVENT, result.timestamp);
    expect(event != NULL);
    expect_equal(event->type, CHANGE_SINGLE_PHASE);
    expect_equal(event->amount_requested, 100);
    expect_equal(event->transfer_timestamp, result.timestamp);
    expect_equal(event->debit_account_timestamp, result.timestamp - 2);
    expect_equal(event->credit_account_timestamp, result.timestamp - 1);
    expect_equal(event->debit.debits_posted, 0);

    const struct create_result second = create(plain(2, 7));
    event = read_at(GROOVE_ACCOUNT_EVENT, second.timestamp);
    expect_equal(event->debit.debits_posted, 7);
    expect_equal(event->credit.credits_posted, 7);
    expect_equal(event->credit.debits_posted, 0);
    expect_equal(event->debit_flags, ACCOUNT_HISTORY);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Pending states (L6) --------------------------------------------------------------------- */

UNIT_TEST(expiry_index_has_those_with_a_timeout)
{
    start();
    expect_equal(expires_first(), UINT64_MAX);
    create(pending(1, 5, 0));
    expect_equal(state_of(1)->expires_at, 0);
    expect_equal(expires_first(), UINT64_MAX);
    create(pending(2, 5, 30));
    const struct create_result third = create(pending(3, 5, 10));
    create(pending(4, 5, 20));
    const uint64_t expires_third = third.timestamp + 10 * NS_PER_S;
    expect_equal(state_of(3)->expires_at, expires_third);
    expect_equal(expires_first(), expires_third);

    expect_equal(create(resolution(11, 3, TRANSFER_VOID_PENDING)).status, STATUS_CREATED);
    expect_equal(state_of(3)->status, PENDING_VOIDED);
    expect_equal(expires_first(), state_of(4)->expires_at);
    expect_equal(create(resolution(12, 4, TRANSFER_POST_PENDING)).status, STATUS_CREATED);
    expect_equal(state_of(4)->status, PENDING_POSTED);
    expect_equal(expires_first(), state_of(2)->expires_at);
    ledger_fixture_advance(&fixture, 31 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    expect_equal(state_of(2)->status, PENDING_EXPIRED);
    expect(state_of(2)->expires_at != 0); /* It stays. */
    expect_equal(expires_first(), UINT64_MAX);
    expect(!ledger_fixture_pulse(&fixture));
    expect_equal(state_of(1)->status, PENDING_PENDING);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* The index keeps what is resolved; whoever looks for what is due passes by it, however much. */
UNIT_TEST(l6_pulses_skip_what_is_resolved)
{
    enum { COUNT = 3 * PULSE_LOOKS_PER_POLL };
    for (uint32_t reopened = 0; reopened < 2; reopened++) {
        start();
        for (uint32_t i = 0; i < COUNT; i++) create(pending(100 + i, 1, 10 + i));
        for (uint32_t i = 0; i < COUNT; i++) {
            const uint16_t flag = i % 2 == 0 ? TRANSFER_VOID_PENDING : TRANSFER_POST_PENDING;
            if (i < COUNT - 3 || i == COUNT - 2) create(resolution(200 + i, 100 + i, flag));
        }
        if (reopened == 1) ledger_fixture_reopen(&fixture);
        ledger_fixture_advance(&fixture, (10 + COUNT - 4) * NS_PER_S);
        expect(!ledger_fixture_pulse(&fixture)); /* All that is due is resolved. */
        ledger_fixture_advance(&fixture, 10 * NS_PER_S);
        expect(ledger_fixture_pulse(&fixture));
        expect_equal(state_of(100 + COUNT - 4)->status, PENDING_VOIDED);
        expect_equal(state_of(100 + COUNT - 3)->status, PENDING_EXPIRED);
        expect_equal(state_of(100 + COUNT - 2)->status, PENDING_VOIDED);
        expect_equal(state_of(100 + COUNT - 1)->status, PENDING_EXPIRED);
        expect(!ledger_fixture_pulse(&fixture));
        expect_equal(ledger_fixture_finish(&fixture), 0);
    }
}

/* Somebody asked what is due at a time to which the clock did not come: nothing is forgotten. */
UNIT_TEST(l6_looking_ahead_passes_by_nothing_that_is_yet_to_come)
{
    start();
    create(pending(1, 1, 10));
    create(resolution(2, 1, TRANSFER_VOID_PENDING));
    expect(!ledger_fixture_pulse_due(&fixture, fixture.timestamp + 20 * NS_PER_S));
    create(pending(3, 1, 5));
    expect(!ledger_fixture_pulse_due(&fixture, fixture.timestamp + 4 * NS_PER_S));
    expect(ledger_fixture_pulse_due(&fixture, fixture.timestamp + 6 * NS_PER_S));
    ledger_fixture_advance(&fixture, 6 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    expect_equal(state_of(3)->status, PENDING_EXPIRED);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* To the nanosecond, and before any pulse. */
UNIT_TEST(pending_transfers_expire_when_they_are_due)
{
    start();
    create(pending(1, 5, 1));
    create(pending(2, 5, 1));
    const uint64_t due = state_of(2)->expires_at;
    ledger_fixture_advance(&fixture, due - 2 - fixture.timestamp);
    struct transfer transfers[2] = {
        resolution(11, 2, TRANSFER_POST_PENDING), /* Its slot is due - 1. */
        resolution(12, 1, TRANSFER_VOID_PENDING),
    };
    struct create_result results[2];
    ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, transfers, 2, results);
    expect_equal(results[0].status, STATUS_CREATED);
    expect_equal(results[1].status, TRANSFER_STATUS_pending_transfer_expired);
    expect_equal(state_of(1)->status, PENDING_PENDING);
    expect_equal(ledger_fixture_finish(&fixture), 0);

    start();
    create(pending(1, 5, 1));
    ledger_fixture_advance(&fixture, state_of(1)->expires_at - 1 - fixture.timestamp);
    expect_equal(
        create(resolution(11, 1, TRANSFER_VOID_PENDING)).status,
        TRANSFER_STATUS_pending_transfer_expired);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/*
 * Due in the order of expiry, not of creation; the last one expires at the pulse's own timestamp.
 */
UNIT_TEST(pulses_expire_in_order_and_leave_the_rest)
{
    enum { COUNT = PULSE_EXPIRIES_MAX + 3 };
    start();
    struct create_result results[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        results[i] = create(pending(100 + i, 1, 100 - i));
    ledger_fixture_advance(&fixture, 200 * NS_PER_S);

    expect(ledger_fixture_pulse(&fixture));
    const uint64_t final = fixture.timestamp;
    expect_equal(forest_newest(fixture.forest, GROOVE_ACCOUNT_EVENT), final);
    for (uint32_t i = 0; i < PULSE_EXPIRIES_MAX; i++) {
        const struct account_event *event =
            read_at(GROOVE_ACCOUNT_EVENT, final - PULSE_EXPIRIES_MAX + i + 1);
        expect_equal(event->type, CHANGE_TWO_PHASE_EXPIRED);
        expect_equal(event->transfer_timestamp, results[COUNT - 1 - i].timestamp);
        expect_equal(event->debit.debits_pending, COUNT - 1 - i);
        expect_equal(event->amount_requested, 0);
    }
    expect(ledger_fixture_pulse(&fixture));
    expect_equal(forest_newest(fixture.forest, GROOVE_ACCOUNT_EVENT), fixture.timestamp);
    expect(read_at(GROOVE_ACCOUNT_EVENT, fixture.timestamp - 3) == NULL);
    expect(!ledger_fixture_pulse(&fixture));
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_TEST(closing_transfers_reopen_when_they_expire) /* (L5) */
{
    start();
    struct transfer closing = pending(1, 0, 1);
    closing.flags |= TRANSFER_CLOSING_DEBIT;
    expect_equal(create(closing).status, STATUS_CREATED);
    expect(read_account(1)->flags & ACCOUNT_CLOSED);
    ledger_fixture_advance(&fixture, 2 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    expect_equal(read_account(1)->flags, ACCOUNT_HISTORY);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Balances -------------------------------------------------------------------------------- */

/* Of both accounts, each of debits and credits. */
static void
posted_balances(u128 *posted)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct account *account = read_account(i + 1);
        posted[2 * i] = account->debits_posted;
        posted[2 * i + 1] = account->credits_posted;
    }
}

/* Each way of giving back what was held, and each size of it. */
UNIT_TEST(l3_posted_balances_never_shrink)
{
    start();
    prng_init(&fixture.prng, 3);
    u128 before[4], after[4];
    uint64_t id = 100;
    for (uint32_t i = 0; i < 400; i++) {
        posted_balances(before);
        const uint64_t held = id;
        id += 1;
        struct transfer event = plain(id, prng_below(&fixture.prng, 20));
        switch (prng_below(&fixture.prng, 6)) {
        case 0: break;
        case 1: event.flags = TRANSFER_BALANCING_DEBIT | TRANSFER_BALANCING_CREDIT; break;
        case 2: event = resolution(id, held, TRANSFER_VOID_PENDING); break;
        case 3: event = resolution(id, held, TRANSFER_POST_PENDING); break;
        default: event = pending(id, 20, (uint32_t) prng_below(&fixture.prng, 3)); break;
        }
        if (prng_chance(&fixture.prng, 1, 2) && (event.flags & TRANSFER_POST_PENDING)) {
            event.amount = prng_below(&fixture.prng, 20);
        }
        if (prng_chance(&fixture.prng, 1, 2)) {
            event.debit_account_id = event.debit_account_id == 0 ? 0 : 2;
            event.credit_account_id = event.credit_account_id == 0 ? 0 : 1;
        }
        create(event);
        ledger_fixture_advance(&fixture, prng_below(&fixture.prng, NS_PER_S));
        (void) ledger_fixture_pulse(&fixture);
        posted_balances(after);
        for (uint32_t side = 0; side < 4; side++) {
            expect(after[side] >= before[side]);
        }
    }
    expect(after[0] > 0 && after[1] > 0);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Chains ---------------------------------------------------------------------------------- */

UNIT_TEST(broken_chains_leave_nothing_but_the_burnt_id)
{
    start();
    create(pending(1, 5, 60));
    const struct account before = *read_account(1);
    const uint64_t newest = forest_newest(fixture.forest, GROOVE_ACCOUNT_EVENT);
    const uint64_t due = expires_first();

    struct transfer chain[4] = {
        plain(10, 3),
        resolution(11, 1, TRANSFER_POST_PENDING),
        pending(12, 1, 1),
        plain(13, 1),
    };
    chain[3].credit_account_id = 99; /* Not found. */
    for (int i = 0; i < 3; i++)
        chain[i].flags |= TRANSFER_LINKED;
    struct create_result results[4];
    ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, chain, 4, results);
    const uint64_t slot = fixture.timestamp;
    for (uint32_t i = 0; i < 3; i++) {
        expect_equal(results[i].status, TRANSFER_STATUS_linked_event_failed);
        expect_equal(results[i].timestamp, slot - 3 + i);
    }
    expect_equal(results[3].status, TRANSFER_STATUS_credit_account_not_found);
    expect(memcmp(&before, read_account(1), sizeof(before)) == 0);
    expect_equal(forest_newest(fixture.forest, GROOVE_ACCOUNT_EVENT), newest);
    expect_equal(forest_newest(fixture.forest, GROOVE_TRANSFER), newest);
    expect_equal(state_of(1)->status, PENDING_PENDING);
    expect_equal(expires_first(), due);
    const struct burnt_id *burnt = read_at(GROOVE_BURNT_ID, slot);
    expect(burnt != NULL && burnt->id == 13);
    expect_equal(forest_newest(fixture.forest, GROOVE_BURNT_ID), slot);
    expect_equal(create(plain(13, 1)).status, TRANSFER_STATUS_id_already_failed);
    expect_equal(create(plain(10, 1)).status, STATUS_CREATED);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_TEST(broken_chains_of_imports_free_their_timestamps)
{
    start();
    const uint64_t past = fixture.timestamp;
    ledger_fixture_advance(&fixture, 1000);
    struct transfer chain[2] = {
        imported(plain(1, 1), past + 10),
        imported(plain(2, 1), past + 10),
    };
    struct create_result results[2];
    chain[0].flags |= TRANSFER_LINKED;
    ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, chain, 2, results);
    expect_equal(results[0].status, TRANSFER_STATUS_linked_event_failed);
    expect_equal(results[0].timestamp, fixture.timestamp - 1); /* The slot: nothing is stored. */
    expect_equal(results[1].status, TRANSFER_STATUS_imported_event_timestamp_must_not_regress);
    const struct create_result again = create(imported(plain(1, 1), past + 10));
    expect_equal(again.status, STATUS_CREATED);
    expect_equal(again.timestamp, past + 10);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Imported timestamps --------------------------------------------------------------------- */

UNIT_TEST(imports_must_be_older_than_their_own_slot)
{
    start();
    const uint64_t slot = fixture.timestamp + 1; /* Of the first of two. */
    struct create_result results[2];
    struct transfer transfers[2] = {
        imported(plain(1, 1), slot), /* Older than the batch's end, but not than itself. */
        imported(plain(2, 1), slot),
    };
    ledger_fixture_create(&fixture, LEDGER_CREATE_TRANSFERS, transfers, 2, results);
    expect_equal(results[0].status, TRANSFER_STATUS_imported_event_timestamp_must_not_advance);
    expect_equal(results[1].status, STATUS_CREATED);
    expect_equal(results[1].timestamp, slot);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

UNIT_TEST(imports_must_be_newer_than_expiries) /* (L7), (L8) */
{
    start();
    const uint64_t created = create(pending(1, 5, 1)).timestamp;
    ledger_fixture_advance(&fixture, 2 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    const uint64_t expired = fixture.timestamp;
    ledger_fixture_advance(&fixture, NS_PER_S);
    expect_equal(
        create(imported(plain(2, 1), created + 1)).status,
        TRANSFER_STATUS_imported_event_timestamp_must_not_regress);
    expect_equal(
        create(imported(plain(2, 1), expired)).status,
        TRANSFER_STATUS_imported_event_timestamp_must_not_regress);
    struct account account = {
        .id = 3,
        .ledger = 1,
        .code = 1,
        .flags = ACCOUNT_IMPORTED,
        .timestamp = expired,
    };
    struct create_result result;
    ledger_fixture_create(&fixture, LEDGER_CREATE_ACCOUNTS, &account, 1, &result);
    expect_equal(result.status, ACCOUNT_STATUS_imported_event_timestamp_must_not_regress);
    account.timestamp = expired + 1;
    ledger_fixture_create(&fixture, LEDGER_CREATE_ACCOUNTS, &account, 1, &result);
    expect_equal(result.status, STATUS_CREATED);
    expect_equal(
        create(imported(plain(2, 1), expired + 1)).status,
        TRANSFER_STATUS_imported_event_timestamp_must_not_regress);
    expect_equal(create(imported(plain(2, 1), expired + 2)).status, STATUS_CREATED);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Reads ----------------------------------------------------------------------------------- */

UNIT_TEST(change_events_show_flags_as_of_the_event)
{
    start();
    struct transfer closing = pending(1, 4, 0);
    closing.flags |= TRANSFER_CLOSING_CREDIT;
    create(closing);
    create(resolution(2, 1, TRANSFER_VOID_PENDING));
    static struct change_event rows[FIXTURE_REPLY_SIZE_MAX / sizeof(struct change_event)];
    const struct change_events_filter filter = {.limit = UINT32_MAX};
    const uint32_t size =
        ledger_fixture_read(&fixture, LEDGER_GET_CHANGE_EVENTS, &filter, sizeof(filter), rows);
    expect_equal(size, 2 * sizeof(rows[0]));
    expect_equal(rows[0].type, CHANGE_TWO_PHASE_PENDING);
    expect_equal(rows[0].credit_account.flags, ACCOUNT_HISTORY | ACCOUNT_CLOSED);
    expect_equal(rows[0].credit_account.user_data_32, 22);
    expect_equal(rows[0].credit_account.code, 2);
    expect_equal(rows[0].debit_account.balances.debits_pending, 4);
    expect_equal(rows[1].type, CHANGE_TWO_PHASE_VOIDED);
    expect_equal(rows[1].credit_account.flags, ACCOUNT_HISTORY);
    expect_equal(rows[1].transfer_pending_id, 1);
    expect_equal(rows[1].transfer_amount, 4);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* Each reserved byte of a filter that is valid otherwise. */
UNIT_TEST(reserved_bytes_of_filters_are_checked)
{
    const struct account_filter account = {.account_id = 1, .limit = 1, .flags = 1};
    const struct query_filter query = {.limit = 1};
    const struct change_events_filter events = {.limit = 1};
    for (uint32_t i = 0; i < sizeof(account.reserved); i++) {
        struct account_filter bad = account;
        bad.reserved[i] = 1;
        expect(account_filter_check(&bad) != NULL);
    }
    for (uint32_t i = 0; i < sizeof(query.reserved); i++) {
        struct query_filter bad = query;
        bad.reserved[i] = 1;
        expect(query_filter_check(&bad) != NULL);
    }
    for (uint32_t i = 0; i < sizeof(events.reserved); i++) {
        struct change_events_filter bad = events;
        bad.reserved[i] = 1;
        expect(change_events_filter_check(&bad) != NULL);
    }
    expect(account_filter_check(&account) == NULL);
    expect(query_filter_check(&query) == NULL);
    expect(change_events_filter_check(&events) == NULL);
}

UNIT_TEST(reads_must_have_the_right_size)
{
    static const uint8_t reads[] = {137, 140, 141, 142, 143, 144, 145, 201, 202, 203};
    static const char zeros[RESULTS_MAX * 16 + 16];
    for (uint32_t i = 0; i < ARRAY_COUNT(reads); i++) {
        const bool lookup = operation_looks_up(reads[i]);
        const uint32_t ids_max =
            reads[i] == LEDGER_LOOKUP_CHANGE_EVENTS ? CHANGE_EVENTS_MAX / 2 : RESULTS_MAX;
        const uint32_t size = ledger_input_size(reads[i]);
        expect(ledger_read_check(reads[i], zeros, size - 1) != NULL);
        expect(ledger_read_check(reads[i], zeros, size + 1) != NULL);
        expect_equal(ledger_read_check(reads[i], zeros, 0) == NULL, lookup);
        expect_equal(ledger_read_check(reads[i], zeros, ids_max * 16) == NULL, lookup);
        expect(ledger_read_check(reads[i], zeros, ids_max * 16 + 16) != NULL);
        expect(ledger_row_size(reads[i]) >= 128);
    }
    expect(ledger_read_check(LEDGER_CREATE_ACCOUNTS, zeros, 128) != NULL);
    expect(ledger_read_check(0, zeros, 0) != NULL);
    expect(ledger_read_check(255, zeros, 0) != NULL);
}

UNIT_MAIN(test_ledger_core)
