/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a transfer costs in the forest, with production limits and the schema of the ledger: one id
 * inserted, two accounts found and updated, transfer and event inserted, four indexes appended to.
 * For profiling. Writes go nowhere.
 *
 *     bench_forest [transfers [accounts [indexes with new values, 0 … 3]]]
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/prng.h"
#include "base/units.h"
#include "ledger/ledger.h"
#include "lsm/forest.h"
#include "lsm/scan.h"

#define BATCH             EVENTS_PER_BATCH_MAX
#define PREFETCH_DISTANCE 12

_Noreturn void
assert_failed(const char *expression, const char *file, int line)
{
    (void) fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

/* ---- A disk that takes everything and keeps nothing ---------------------------------------- */

struct null_storage {
    struct storage storage;
    struct storage_request *requests[GRID_WRITES_MAX];
};

static void
null_submit(struct storage *storage, struct storage_request *request)
{
    struct null_storage *null = (struct null_storage *) storage;
    request->in_flight = true;
    null->requests[storage->in_flight_count] = request;
    storage->in_flight_count += 1;
}

static uint32_t
null_poll(struct storage *storage, bool wait)
{
    struct null_storage *null = (struct null_storage *) storage;
    uint32_t count = 0;
    (void) wait;
    while (storage->in_flight_count > 0) {
        storage->in_flight_count -= 1;
        struct storage_request *request = null->requests[storage->in_flight_count];
        request->in_flight = false;
        request->result = STORAGE_OK;
        request->callback(request);
        count += 1;
    }
    return count;
}

static enum storage_result
null_grow(struct storage *storage, enum storage_file file, uint64_t size_bytes)
{
    storage->file_size_bytes[file] = size_bytes;
    return STORAGE_OK;
}

static const struct storage_ops null_ops = {
    .submit = null_submit,
    .poll = null_poll,
    .grow = null_grow,
};

/* ---- The work ------------------------------------------------------------------------------ */

static struct null_storage storage = {.storage = {.ops = &null_ops}};
static struct grid grid;
static struct forest *forest;
static struct prng prng;
static uint64_t timestamp;
static uint64_t account_count;
static int fields_new;
static struct transfer batch[BATCH];

static uint64_t
now_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

static int
compare_u64(const void *a, const void *b)
{
    const uint64_t value_a = *(const uint64_t *) a;
    const uint64_t value_b = *(const uint64_t *) b;
    return (value_a > value_b) - (value_a < value_b);
}

static void
make_account(uint64_t number)
{
    timestamp += 1;
    const struct account account = {.id = number, .ledger = 1, .code = 1, .timestamp = timestamp};
    const enum forest_room room = forest_reserve(forest, 1);
    assert(room == FOREST_ROOM);
    forest_insert(forest, TREE_ACCOUNT, &account);
}

static void
fill_batch(void)
{
    for (uint32_t i = 0; i < BATCH; i++) {
        timestamp += 1;
        const uint64_t debit = prng_below(&prng, account_count);
        const uint64_t credit = (debit + 1 + prng_below(&prng, account_count - 1)) % account_count;
        batch[i] = (struct transfer){
            .id = u128_make(timestamp, prng_next(&prng)),
            .debit_account_id = 1 + debit,
            .credit_account_id = 1 + credit,
            .amount = 1 + prng_below(&prng, 1000),
            .user_data_128 = fields_new > 0 ? timestamp : 0,
            .user_data_64 = fields_new > 1 ? timestamp : 0,
            .user_data_32 = fields_new > 2 ? (uint32_t) timestamp : 0,
            .ledger = 1,
            .code = (uint16_t) (1 + i % 10),
            .timestamp = timestamp,
        };
    }
}

static struct account
move(const u128 *id, u128 debit, u128 credit)
{
    const void *old = NULL;
    const enum forest_found found = forest_get_by_id(forest, TREE_ACCOUNT, id, &old);
    assert(found == FOREST_FOUND);
    struct account account;
    memcpy(&account, old, sizeof(account));
    account.debits_posted += debit;
    account.credits_posted += credit;
    forest_update(forest, TREE_ACCOUNT, old, &account);
    return account;
}

static void
run_transfer(const struct transfer *transfer)
{
    const void *record;
    const enum forest_found found = forest_get_by_id(forest, TREE_TRANSFER, &transfer->id, &record);
    assert(found == FOREST_ABSENT);
    const struct account debit = move(&transfer->debit_account_id, transfer->amount, 0);
    const struct account credit = move(&transfer->credit_account_id, 0, transfer->amount);
    const struct account_event event = {
        .timestamp = transfer->timestamp,
        .transfer_timestamp = transfer->timestamp,
        .debit_account_timestamp = debit.timestamp,
        .credit_account_timestamp = credit.timestamp,
        .debit.debits_posted = debit.debits_posted,
        .credit.credits_posted = credit.credits_posted,
    };
    forest_insert(forest, TREE_TRANSFER, transfer);
    forest_insert(forest, TREE_ACCOUNT_EVENT, &event);
}

/* Ids first; records when those are at hand. */
static void
prefetch(uint32_t i)
{
    if (i + PREFETCH_DISTANCE < BATCH) {
        const struct transfer *transfer = &batch[i + PREFETCH_DISTANCE];
        forest_prefetch_id(forest, TREE_TRANSFER, &transfer->id);
        forest_prefetch_id(forest, TREE_ACCOUNT, &transfer->debit_account_id);
        forest_prefetch_id(forest, TREE_ACCOUNT, &transfer->credit_account_id);
    }
    if (i + PREFETCH_DISTANCE / 2 < BATCH) {
        const struct transfer *transfer = &batch[i + PREFETCH_DISTANCE / 2];
        forest_prefetch_record(forest, TREE_ACCOUNT, &transfer->debit_account_id);
        forest_prefetch_record(forest, TREE_ACCOUNT, &transfer->credit_account_id);
    }
}

static void
run_batch(void)
{
    const enum forest_room room = forest_reserve(forest, BATCH);
    assert(room == FOREST_ROOM);
    for (uint32_t i = 0; i < BATCH; i++) {
        prefetch(i);
        run_transfer(&batch[i]);
    }
}

static void
on_checkpoint(void *context, enum grid_result result)
{
    assert(result == GRID_OK);
    *(bool *) context = true;
}

static void
measure_checkpoint(void)
{
    bool done = false;
    const uint64_t start = now_ns();
    forest_checkpoint(forest, 1, on_checkpoint, &done);
    while (!done) {
        (void) storage_wait(&storage.storage);
    }
    forest_checkpoint_durable(forest);
    const double seconds = (double) (now_ns() - start) / (double) NS_PER_S;
    struct forest_stats stats;
    forest_stats_get(forest, &stats);
    printf(
        "checkpoint without a disk: %.1f ms for %" PRIu64 " pages\n",
        seconds * 1000,
        stats.pages_written);
}

static void
measure_reads(void)
{
    const struct scan_window window = {1, TIMESTAMP_MAX, SCAN_DESCENDING};
    const uint32_t query_count = 1000;
    uint64_t rows = 0;
    uint64_t sum = 0;
    const uint64_t start = now_ns();
    for (uint32_t i = 0; i < query_count; i++) {
        struct scan debits;
        struct scan credits;
        struct scan both;
        struct scan *inputs[2] = {&debits, &credits};
        const u128 id = 1 + prng_below(&prng, account_count);
        scan_index(&debits, forest, INDEX_TRANSFER_DEBIT_ACCOUNT, id, &window);
        scan_index(&credits, forest, INDEX_TRANSFER_CREDIT_ACCOUNT, id, &window);
        scan_union(&both, inputs, 2);
        uint64_t found;
        for (uint32_t row = 0; row < 100 && scan_next(&both, &found); row++) {
            const struct transfer *transfer = forest_get(forest, TREE_TRANSFER, found);
            sum += u128_low(transfer->amount);
            rows += 1;
        }
    }
    const uint64_t elapsed = now_ns() - start;
    printf(
        "queries of 100 transfers of an account: %.1f us each, %" PRIu64 " ns a row (%" PRIu64
        ")\n",
        (double) elapsed / 1000 / query_count,
        elapsed / max_u64(rows, 1),
        sum);
}

static void
make_forest(uint64_t memory_bytes)
{
    const uint64_t size = memory_bytes + 256 * MIB;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(memory != MAP_FAILED);
    (void) madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 0, size);
    struct arena arena;
    arena_init(&arena, memory, size);
    grid_init(&grid, &arena, &storage.storage, 3 * memory_bytes / BLOCK_SIZE);
    grid_open(&grid, 1);
    const struct forest_options options = {.schema = &ledger_schema, .memory_bytes = memory_bytes};
    forest = forest_init(&arena, &grid, &options);
    const struct block_reference none = {0};
    struct forest_open_report report;
    const enum forest_open_result result = forest_open(forest, &none, &report);
    assert(result == FOREST_OPENED);
}

int
main(int argc, char **argv)
{
    const uint64_t transfers = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    account_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000;
    fields_new = argc > 3 ? atoi(argv[3]) : 0;
    prng_init(&prng, 1);
    make_forest(GIB + transfers * 700 + account_count * 400);
    for (uint64_t i = 1; i <= account_count; i++) {
        make_account(i);
    }

    struct forest_stats before;
    forest_stats_get(forest, &before);
    const uint64_t batches = transfers / BATCH;
    uint64_t *costs = calloc(max_u64(batches, 1), sizeof(uint64_t));
    assert(costs != NULL);
    for (uint64_t i = 0; i < batches; i++) {
        fill_batch();
        const uint64_t start = now_ns();
        run_batch();
        costs[i] = (now_ns() - start) / BATCH;
    }
    qsort(costs, batches, sizeof(uint64_t), compare_u64);
    struct forest_stats after;
    forest_stats_get(forest, &after);
    const uint64_t count = batches * BATCH;
    printf(
        "%" PRIu64 " transfers, %" PRIu64 " accounts, %d new values: %" PRIu64
        " ns a transfer in the median batch (best %" PRIu64 ", worst %" PRIu64 "), %" PRIu64
        " bytes\n",
        count,
        account_count,
        fields_new,
        costs[batches / 2],
        costs[0],
        costs[batches - 1],
        (after.memory_bytes_used - before.memory_bytes_used) / count);
    free(costs);
    measure_checkpoint();
    measure_reads();
    return 0;
}
