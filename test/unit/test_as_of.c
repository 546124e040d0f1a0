/* SPDX-License-Identifier: PostgreSQL */
/*
 * Scans of several pages while everything changes: each page must be of the instant when the first
 * one began. A copy of the model, taken then, says what it must be.
 */
#include "unit/unit.h"

#include <stdlib.h>

#include "base/units.h"
#include "model/workload.h"
#include "unit/ledger_fixture.h"

static struct ledger_fixture fixture;

/* ---- Random work ----------------------------------------------------------------------------- */

#define BATCHES   150
#define SCANS     4
#define PAGE_ROWS 7 /* At most. */

/* A scan of some kind, from page to page. */
struct scan_run {
    bool open;
    bool reading; /* A page is under way. */
    uint8_t operation;
    uint32_t page_rows;
    union ledger_filter filter; /* Of the next page. */
    u128 ids[2 * RESULTS_MAX];
    uint32_t id_count;
    uint32_t id_next;
    uint32_t pages;
    struct ledger_instant instant;
    struct model_past past;
    struct ledger_read read;
    uint64_t timestamps[RESULTS_MAX];
    struct ledger_row rows[RESULTS_MAX];
    uint8_t reply[FIXTURE_REPLY_SIZE_MAX];
};

static struct scan_run scans[SCANS];

/* What the runs have met: a test that doesn't meet it tests nothing. */
static struct {
    uint64_t pages;
    uint64_t rows;
    uint64_t changed;  /* Rows of accounts that are others now. */
    uint64_t closed;   /* Of these, those that have been closed or reopened. */
    uint64_t twice;    /* Accounts that one page has twice. */
    uint64_t newer;    /* Pages after which accounts have come that the scan must not see. */
    uint64_t reopened; /* Pages that were asked for after a restart. */
    uint64_t expired;
} seen;

static struct query_filter *
scan_query(struct scan_run *scan)
{
    return &scan->filter.query;
}

static void
scan_begin_lookup(struct scan_run *scan, struct prng *prng)
{
    const struct model_ids *ids = scan->operation == LEDGER_LOOKUP_ACCOUNTS
                                      ? &fixture.model.account_ids
                                      : &fixture.model.transfer_ids;
    scan->id_next = 0;
    scan->id_count = 2 * RESULTS_MAX;
    for (uint32_t i = 0; i < scan->id_count; i++) {
        /* Some are not there yet, and come while the scan is open. */
        scan->ids[i] = ids->count > 0 ? ids->ids[prng_below(prng, ids->count)] : 1;
        if (prng_chance(prng, 1, 8)) scan->ids[i] += prng_below(prng, 3);
    }
}

static void
scan_begin(struct scan_run *scan, struct prng *prng)
{
    static const uint8_t operations[] = {
        LEDGER_QUERY_ACCOUNTS,
        LEDGER_QUERY_ACCOUNTS,
        LEDGER_LOOKUP_ACCOUNTS,
        LEDGER_QUERY_TRANSFERS,
        LEDGER_LOOKUP_TRANSFERS,
        LEDGER_GET_CHANGE_EVENTS,
    };
    scan->operation = operations[prng_below(prng, ARRAY_COUNT(operations))];
    scan->open = true;
    scan->pages = 0;
    scan->page_rows = (uint32_t) prng_range(prng, 1, PAGE_ROWS);
    scan->instant = (struct ledger_instant){0};
    memset(&scan->filter, 0, sizeof(scan->filter));
    switch (scan->operation) {
    case LEDGER_LOOKUP_ACCOUNTS:
    case LEDGER_LOOKUP_TRANSFERS: scan_begin_lookup(scan, prng); break;
    case LEDGER_GET_CHANGE_EVENTS: scan->filter.change_events.limit = scan->page_rows; break;
    default:
        scan_query(scan)->limit = scan->page_rows;
        scan_query(scan)->flags = prng_chance(prng, 1, 2) ? QUERY_FILTER_REVERSED : 0;
        if (prng_chance(prng, 1, 3)) scan_query(scan)->ledger = 1;
    }
}

static bool
scan_looks_up(const struct scan_run *scan)
{
    return scan->operation == LEDGER_LOOKUP_ACCOUNTS || scan->operation == LEDGER_LOOKUP_TRANSFERS;
}

static const void *
scan_input(const struct scan_run *scan, uint32_t *size)
{
    const uint32_t ids = scan->id_count - scan->id_next;
    *size = ledger_input_size(scan->operation);
    if (!scan_looks_up(scan)) return &scan->filter;
    *size *= (uint32_t) min_u64(ids, scan->page_rows);
    return &scan->ids[scan->id_next];
}

/* Asks for the next page; the first one's instant is now. */
static void
scan_ask(struct scan_run *scan)
{
    struct ledger_question question = {
        .operation = scan->operation,
        .reply = scan->reply,
        .reply_size_max = sizeof(scan->reply),
        .instant = scan->instant,
        .timestamps = scan->timestamps,
        .rows = scan->rows,
    };
    question.input = scan_input(scan, &question.input_size);
    ledger_read_start(&scan->read, fixture.forest, &question, fixture.op);
    if (scan->pages == 0) model_past_take(&scan->past, &fixture.model);
    scan->instant = scan->read.instant;
    scan->reading = true;
}

/* What the page's rows have been through since. */
static void
note_rows(const struct scan_run *scan, uint32_t count)
{
    const struct account *rows = (const void *) scan->reply;
    seen.pages += 1;
    seen.rows += count;
    if (ledger_row_size(scan->operation) != sizeof(struct account)) return;
    if (scan->operation != LEDGER_QUERY_ACCOUNTS && scan->operation != LEDGER_LOOKUP_ACCOUNTS) {
        return;
    }
    seen.newer += scan->past.model.account_ids.count < fixture.model.account_ids.count;
    for (uint32_t i = 0; i < count; i++) {
        const struct account *now = model_account(&fixture.model, rows[i].id);
        seen.changed += memcmp(now, &rows[i], sizeof(*now)) != 0;
        seen.closed += now->flags != rows[i].flags;
        for (uint32_t j = 0; j < i; j++) seen.twice += rows[i].id == rows[j].id;
    }
}

/* Where the next page begins; false if there is none. */
static bool
scan_advance(struct scan_run *scan, uint32_t count)
{
    uint64_t last = 0;
    if (scan_looks_up(scan)) {
        scan->id_next += (uint32_t) min_u64(scan->page_rows, scan->id_count - scan->id_next);
        return scan->id_next < scan->id_count;
    }
    if (count < scan->page_rows) return false;
    if (scan->operation == LEDGER_GET_CHANGE_EVENTS) {
        const struct change_event *events = (const void *) scan->reply;
        scan->filter.change_events.timestamp_min = events[count - 1].timestamp + 1;
        return true;
    }
    /* Accounts and transfers have it at the same place; a row of a transfer is longer. */
    const uint8_t *row = scan->reply + (size_t) (count - 1) * ledger_row_size(scan->operation);
    memcpy(&last, row + offsetof(struct account, timestamp), sizeof(last));
    if (!(scan_query(scan)->flags & QUERY_FILTER_REVERSED)) {
        scan_query(scan)->timestamp_min = last + 1;
        return true;
    }
    scan_query(scan)->timestamp_max = last - 1;
    return last > 1;
}

static void
scan_answered(struct scan_run *scan)
{
    static uint8_t expected[FIXTURE_REPLY_SIZE_MAX];
    uint32_t input_size;
    const void *input = scan_input(scan, &input_size);
    const uint32_t size = model_read(
        &scan->past.model, scan->operation, input, input_size, expected, sizeof(expected));
    expect_equal(scan->read.reply_size, size);
    expect(memcmp(scan->reply, expected, size) == 0);
    const uint32_t count = size / ledger_row_size(scan->operation);
    note_rows(scan, count);
    scan->reading = false;
    scan->pages += 1;
    scan->open = scan_advance(scan, count);
}

/* A piece of work for one of the scans. */
static void
scan_step(struct scan_run *scan, struct prng *prng)
{
    uint32_t rows_left = (uint32_t) prng_range(prng, 1, READ_ROWS_PER_POLL);
    if (!scan->open) scan_begin(scan, prng);
    if (!scan->reading) scan_ask(scan);
    const enum forest_found found = ledger_read_step(&scan->read, &rows_left);
    expect(found == FOREST_FOUND || found == FOREST_WAIT);
    if (found == FOREST_FOUND) scan_answered(scan);
    /* What it waits for may have come while others were served. */
    const bool awaited = fixture.storage.storage.in_flight_count > 0;
    if (found == FOREST_WAIT && !scan->read.yielded && awaited) ledger_fixture_progress(&fixture);
}

static void
change_something(struct workload *workload, struct prng *prng)
{
    static uint8_t events[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    struct create_result results[EVENTS_PER_BATCH_MAX];
    uint8_t operation = 0;
    uint32_t count = 0;
    ledger_fixture_advance(
        &fixture, prng_chance(prng, 1, 6) ? prng_range(prng, 1, 3 * NS_PER_S) : 100);
    if (prng_chance(prng, 3, 4)) seen.expired += ledger_fixture_pulse(&fixture);
    workload_next_batch(
        workload, &fixture.model, fixture.timestamp + 1, &operation, events, &count);
    ledger_fixture_create(&fixture, operation, events, count, results);
}

/* Pages that are under way are given up; scans go on after a restart. */
static void
restart(void)
{
    for (uint32_t i = 0; i < SCANS; i++) {
        if (scans[i].reading && scans[i].pages == 0) scans[i].open = false;
        seen.reopened += scans[i].open && scans[i].pages > 0;
        scans[i].reading = false;
    }
    ledger_fixture_reopen(&fixture);
}

static void
run_seed(uint64_t seed)
{
    struct prng prng;
    struct workload workload;
    prng_init(&prng, seed);
    const struct ledger_fixture_options options = {
        .accounts_max = EVENTS_PER_BATCH_MAX * BATCHES,
        .transfers_max = EVENTS_PER_BATCH_MAX * BATCHES,
        .memory_bytes = seed % 3 == 0 ? 300 * KIB : BATCHES * EVENTS_PER_BATCH_MAX * KIB,
    };
    struct workload_options mixture = workload_options_random(&prng);
    if (seed % 2 == 0) mixture.account_count = 60;
    workload_init(&workload, &prng, &mixture);
    ledger_fixture_init(&fixture, &options);
    for (uint32_t i = 0; i < SCANS; i++) {
        scans[i].open = false;
        scans[i].reading = false;
        model_past_init(&scans[i].past, options.accounts_max, options.transfers_max);
    }
    for (uint32_t batch = 0; batch < BATCHES && fixture.mismatches == 0; batch++) {
        change_something(&workload, &prng);
        const uint64_t steps = prng_below(&prng, 12);
        for (uint64_t i = 0; i < steps; i++) scan_step(&scans[prng_below(&prng, SCANS)], &prng);
        if (prng_chance(&prng, 1, 40)) restart();
    }
    expect_equal(fixture.mismatches, 0);
    for (uint32_t i = 0; i < SCANS; i++) model_past_free(&scans[i].past);
    ledger_fixture_free(&fixture);
}

UNIT_TEST(all_pages_of_a_scan_are_of_the_instant_of_its_first)
{
    for (uint64_t seed = 1; seed <= 40 && unit_expectations_failed == 0; seed++) {
        run_seed(seed);
        if (unit_expectations_failed > 0) printf("seed %d\n", (int) seed);
    }
    expect(seen.pages > 5000);
    expect(seen.changed > 2000);
    expect(seen.closed > 20);
    expect(seen.twice > 1000);
    expect(seen.newer > 1000);
    expect(seen.reopened > 100);
    expect(seen.expired > 100);
    printf(
        "pages %d, rows %d, changed %d, closed %d, twice %d, newer %d, reopened %d, expired %d\n",
        (int) seen.pages,
        (int) seen.rows,
        (int) seen.changed,
        (int) seen.closed,
        (int) seen.twice,
        (int) seen.newer,
        (int) seen.reopened,
        (int) seen.expired);
}

UNIT_MAIN(test_as_of)
