/* SPDX-License-Identifier: PostgreSQL */
/*
 * How far pulses have come among the holds: found again after a restart, and the same whatever was
 * asked in between. What pulses release is in test_ledger_core.c and test_accounting_transfers.c.
 */
#include "unit/unit.h"

#include "base/units.h"
#include "unit/ledger_fixture.h"

static void
start(struct ledger_fixture *fixture)
{
    const struct ledger_fixture_options options = {
        .accounts_max = 8,
        .transfers_max = 4096,
        .memory_bytes = 2 * MIB,
    };
    const struct account accounts[2] = {
        {.id = 1, .ledger = 1, .code = 1},
        {.id = 2, .ledger = 1, .code = 1},
    };
    ledger_fixture_init(fixture, &options);
    (void) ledger_fixture_add(fixture, LEDGER_CREATE_ACCOUNTS, accounts, 2);
}

static void
create(struct ledger_fixture *fixture, const struct transfer *transfers, uint32_t count)
{
    if (count == 0) return;
    (void) ledger_fixture_add(fixture, LEDGER_CREATE_TRANSFERS, transfers, count);
}

static struct transfer
hold(uint64_t id, uint32_t timeout)
{
    return (struct transfer){
        .id = id,
        .debit_account_id = 1,
        .credit_account_id = 2,
        .amount = 1,
        .timeout = timeout,
        .ledger = 1,
        .code = 1,
        .flags = TRANSFER_PENDING,
    };
}

static struct transfer
voided(uint64_t id, uint64_t pending_id)
{
    return (struct transfer){.id = id, .pending_id = pending_id, .flags = TRANSFER_VOID_PENDING};
}

/* So many holds that were resolved before their time of a second, which is over. */
static void
resolved_holds(struct ledger_fixture *fixture, uint64_t first_id, uint32_t count)
{
    struct transfer transfers[EVENTS_PER_BATCH_MAX];
    for (uint32_t done = 0; done < count;) {
        const uint32_t batch = (uint32_t) min_u64(count - done, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < batch; i++) transfers[i] = hold(first_id + done + i, 1);
        create(fixture, transfers, batch);
        for (uint32_t i = 0; i < batch; i++) {
            const uint64_t id = first_id + done + i;
            transfers[i] = voided(first_id + count + done + i, id);
        }
        create(fixture, transfers, batch);
        done += batch;
    }
    ledger_fixture_advance(fixture, 2 * NS_PER_S);
}

/* The holds that are looked at until it is known that nothing is due: at most so many. */
static uint32_t
looks(struct ledger_fixture *fixture)
{
    struct state_machine *machine = &fixture->ledger.machine;
    uint32_t count = PULSE_LOOKS_PER_POLL;
    for (;;) {
        const enum forest_found found = machine->ops->pulse_due(machine, fixture->timestamp);
        if (found != FOREST_WAIT) {
            expect_equal(found, FOREST_ABSENT);
            return count;
        }
        count += machine->yielded ? PULSE_LOOKS_PER_POLL : 0;
        if (!machine->yielded) ledger_fixture_progress(fixture);
    }
}

/* ---- Restarts -------------------------------------------------------------------------------- */

/* Holds that are all resolved in time make no pulse release anything: one is made to say so. */
UNIT_TEST(l9_a_restart_looks_at_few_resolved_holds)
{
    static struct ledger_fixture fixture;
    enum { COUNT = 8 * PULSE_PASSED_MAX };
    start(&fixture);
    resolved_holds(&fixture, 1, COUNT);
    expect(ledger_fixture_pulse(&fixture));
    expect(!ledger_fixture_pulse(&fixture));
    resolved_holds(&fixture, 10000, PULSE_PASSED_MAX - 1);
    expect(!ledger_fixture_pulse(&fixture));
    ledger_fixture_reopen(&fixture);
    expect(looks(&fixture) < PULSE_PASSED_MAX + PULSE_LOOKS_PER_POLL);

    /* One more is enough for another; then there is nothing left to look at. */
    resolved_holds(&fixture, 20000, 1);
    expect(ledger_fixture_pulse(&fixture));
    ledger_fixture_reopen(&fixture);
    expect_equal(looks(&fixture), PULSE_LOOKS_PER_POLL);

    /* What expires later is found. */
    const struct transfer late = hold(30000, 1);
    create(&fixture, &late, 1);
    ledger_fixture_reopen(&fixture);
    expect(!ledger_fixture_pulse(&fixture));
    ledger_fixture_advance(&fixture, 2 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    expect(!ledger_fixture_pulse(&fixture));
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* A full pulse leaves the rest to the next, also when there is a restart between them. */
UNIT_TEST(l9_a_restart_goes_on_behind_a_full_pulse)
{
    static struct ledger_fixture fixture;
    struct transfer transfers[EVENTS_PER_BATCH_MAX];
    start(&fixture);
    resolved_holds(&fixture, 1, 3);
    for (uint32_t i = 0; i < EVENTS_PER_BATCH_MAX; i++) transfers[i] = hold(100 + i, 1);
    create(&fixture, transfers, EVENTS_PER_BATCH_MAX);
    for (uint32_t i = 0; i < 5; i++) transfers[i] = hold(200 + i, 1);
    create(&fixture, transfers, 5);
    ledger_fixture_advance(&fixture, 2 * NS_PER_S);
    expect(ledger_fixture_pulse(&fixture));
    ledger_fixture_reopen(&fixture);
    expect(ledger_fixture_pulse(&fixture));
    ledger_fixture_reopen(&fixture);
    expect(!ledger_fixture_pulse(&fixture));
    expect_equal(looks(&fixture), PULSE_LOOKS_PER_POLL);
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* Somebody asked about a time to which the clock did not come: that is not where the pulse is. */
UNIT_TEST(l9_looking_ahead_passes_by_nothing)
{
    static struct ledger_fixture fixture;
    start(&fixture);
    const struct transfer transfers[2] = {hold(1, 20), voided(2, 1)};
    create(&fixture, transfers, 2);
    resolved_holds(&fixture, 100, PULSE_PASSED_MAX - 1);
    expect(ledger_fixture_pulse_due(&fixture, fixture.timestamp + 30 * NS_PER_S));
    expect(!ledger_fixture_pulse(&fixture));
    const struct transfer more[2] = {hold(3, 1), voided(4, 3)};
    create(&fixture, more, 2);
    ledger_fixture_advance(&fixture, 2 * NS_PER_S);
    expect(ledger_fixture_pulse_due(&fixture, fixture.timestamp + 30 * NS_PER_S));
    expect(ledger_fixture_pulse(&fixture));
    expect(!ledger_fixture_pulse_due(&fixture, fixture.timestamp + 30 * NS_PER_S));
    expect_equal(ledger_fixture_finish(&fixture), 0);
}

/* ---- Twins ----------------------------------------------------------------------------------- */

/*
 * The same ops: the first decides, and asks often what is due, also at times that are far ahead;
 * the second never asks; the third starts anew at each checkpoint.
 */
#define TWINS 3
static struct ledger_fixture twins[TWINS];

static void
twins_create(const struct transfer *transfers, uint32_t count)
{
    for (uint32_t i = 0; i < TWINS; i++) create(&twins[i], transfers, count);
}

/* Some holds, and of those before some are resolved while there is time. */
static void
twins_work(struct prng *prng, uint64_t number)
{
    struct transfer transfers[EVENTS_PER_BATCH_MAX];
    const uint64_t first = 1000 * (number + 1);
    const uint32_t count = (uint32_t) prng_range(prng, 1, EVENTS_PER_BATCH_MAX);
    const uint32_t chance = (uint32_t) prng_range(prng, 0, 20);
    uint32_t voids = 0;
    for (uint32_t i = 0; i < count; i++) {
        transfers[i] = hold(first + i, (uint32_t) prng_range(prng, 1, 9));
    }
    twins_create(transfers, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!prng_chance(prng, chance, 20)) continue;
        transfers[voids] = voided(first + 500 + i, first + i);
        voids += 1;
    }
    twins_create(transfers, voids);
}

/* How far a file has grown ahead is no function of the log; what is in it is. */
static void
twins_compare(void)
{
    for (uint32_t i = 1; i < TWINS; i++) {
        const uint64_t size = min_u64(
            twins[0].storage.files[STORAGE_GRID].size_bytes,
            twins[i].storage.files[STORAGE_GRID].size_bytes);
        const uint8_t *bytes = storage_sim_bytes(&twins[0].storage, STORAGE_GRID);
        struct ledger_fixture *twin = &twins[i];
        const struct forest_memo a = forest_memo(twins[0].forest);
        const struct forest_memo b = forest_memo(twin->forest);
        expect(memcmp(&a, &b, sizeof(a)) == 0);
        expect(memcmp(bytes, storage_sim_bytes(&twin->storage, STORAGE_GRID), size) == 0);
    }
}

UNIT_TEST(l9_the_memo_follows_from_the_log)
{
    uint32_t pulses = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        for (uint32_t i = 0; i < TWINS; i++) start(&twins[i]);
        for (uint64_t step = 0; step < 40; step++) {
            const uint64_t ahead = prng_below(&prng, 15) * NS_PER_S;
            const uint64_t elapsed = prng_below(&prng, 4) * NS_PER_S;
            twins_work(&prng, step);
            (void) ledger_fixture_pulse_due(&twins[0], twins[0].timestamp + ahead);
            for (uint32_t i = 0; i < TWINS; i++) ledger_fixture_advance(&twins[i], elapsed);
            while (prng_chance(&prng, 3, 4) && ledger_fixture_pulse(&twins[0])) {
                for (uint32_t i = 1; i < TWINS; i++) ledger_fixture_pulse_replay(&twins[i]);
                pulses += 1;
            }
            if (!prng_chance(&prng, 1, 5)) continue;
            ledger_fixture_checkpoint(&twins[0]);
            ledger_fixture_checkpoint(&twins[1]);
            ledger_fixture_reopen(&twins[2]);
            twins_compare();
        }
        for (uint32_t i = 0; i < TWINS; i++) expect_equal(ledger_fixture_finish(&twins[i]), 0);
    }
    expect(pulses > 100);
}

UNIT_MAIN(test_ledger_pulse)
