/* SPDX-License-Identifier: PostgreSQL */
/*
 * One case: accounts, transfers, queries, a restart; then transfers until the log is as full as it
 * gets, and another restart. What is read back is checked each time.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "bench/engine_host.h"
#include "bench/engine_load.h"
#include "bench/engine_report.h"

/* The largest row that is asked for here. */
#define ROW_SIZE_MAX sizeof(struct transfer_row)
/* To and fro, the journal may be filled so often until it is full when asked. */
#define FILL_LAPS_MAX 2

struct case_client {
    struct engine_request request;
    struct transfer *input;
    struct create_result *reply;
    uint64_t submitted_ns;
    uint32_t index;
};

struct bench_case {
    const struct bench_options *options;
    struct bench_result *result;
    struct bench_host host;
    struct bench_load load;
    uint64_t accounts_created;

    struct case_client *clients;
    uint32_t *ready; /* Clients that have no request under way: a stack. */
    uint32_t ready_count;

    uint64_t answered; /* Transfers of this phase. */
    uint64_t own_ns;   /* Spent making batches and looking at results. */
    uint64_t *latencies_ns;
    uint64_t latencies_count;
    uint64_t latencies_max;

    /* The second that runs. */
    uint64_t phase_ns;
    uint64_t second_ns;
    uint64_t second_answered;
    uint64_t second_latency_max_ns;

    /* For everything but transfers: one request at a time, and its answer. */
    struct engine_request request;
    bool request_answered;
    uint8_t *input; /* A batch. */
    uint8_t *reply;
    uint8_t *reply_other;
};

/* Large. */
static struct bench_case bench_case;

static void *
take(uint64_t count, uint64_t size)
{
    void *memory = calloc(max_u64(count, 1), size);
    if (memory == NULL) bench_fail("out of memory");
    return memory;
}

static void
check(struct bench_case *run, bool passed, const char *what)
{
    if (passed) {
        run->result->checks_passed += 1;
        return;
    }
    run->result->checks_failed += 1;
    (void) fprintf(stderr, "bench_engine: FAILED: %s\n", what);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static void
check_status(const struct bench_case *run, const struct engine_request *request)
{
    static const char *const names[] = {
        [ENGINE_OK] = "",
        [ENGINE_INVALID] = "the request is not well-formed (ENGINE_INVALID)",
        [ENGINE_MEMORY_FULL] = "its memory is full (ENGINE_MEMORY_FULL): raise --memory",
        [ENGINE_DISK_FULL] = "the disk is full (ENGINE_DISK_FULL)",
        [ENGINE_FAILED] = "it has stopped working (ENGINE_FAILED)",
    };
    if (request->status == ENGINE_OK) return;
    bench_fail(
        "the engine refused operation %u: %s%s%s; after %" PRIu64 " accounts, %" PRIu64
        " transfers",
        request->operation,
        names[request->status],
        request->detail != NULL ? ": " : "",
        request->detail != NULL ? request->detail : "",
        run->accounts_created,
        run->answered);
}

_Noreturn static void
fail_by_status(const struct create_result *results, uint32_t count, bool accounts)
{
    uint32_t counts[ENGINE_STATUS_CODES_MAX] = {0};
    char text[BENCH_TEXT_SIZE] = "";
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (results[i].status < ENGINE_STATUS_CODES_MAX) counts[results[i].status] += 1;
    }
    for (uint32_t status = 0; status < ENGINE_STATUS_CODES_MAX; status++) {
        if (counts[status] == 0 || size >= sizeof(text)) continue;
        const char *name =
            accounts ? create_account_status_name(status) : create_transfer_status_name(status);
        const int added = snprintf(
            text + size,
            sizeof(text) - size,
            " %" PRIu32 " %s",
            counts[status],
            name != NULL ? name : "?");
        if (added > 0) size += (size_t) added;
    }
    bench_fail("of a batch of %" PRIu32 ", not all were created:%s", count, text);
}

static void
check_results(const struct engine_request *request)
{
    const uint32_t count = request->input_size / EVENT_SIZE;
    const struct create_result *results = request->reply;
    uint32_t created = 0;
    if (request->reply_size != count * sizeof(struct create_result)) {
        bench_fail("a batch's reply has %" PRIu32 " bytes", request->reply_size);
    }
    for (uint32_t i = 0; i < count; i++) {
        created += results[i].status == STATUS_CREATED;
    }
    if (created == count) return;
    fail_by_status(results, count, request->operation == LEDGER_CREATE_ACCOUNTS);
}

/* ---- One request at a time ------------------------------------------------------------------- */

static void
on_answer(struct engine_request *request)
{
    struct bench_case *run = container_of(request, struct bench_case, request);
    run->request_answered = true;
}

/* Returns how long it took. The answer is in `reply`. */
static uint64_t
ask(struct bench_case *run, uint8_t operation, uint32_t input_size, void *reply)
{
    run->request_answered = false;
    run->request = (struct engine_request){
        .operation = operation,
        .input = run->input,
        .input_size = input_size,
        .reply = reply,
        .reply_size_max = RESULTS_MAX * ROW_SIZE_MAX,
        .callback = on_answer,
    };
    const uint64_t start_ns = bench_now_ns();
    bool submitted = true;
    engine_submit(run->host.engine, &run->request);
    while (!run->request_answered) {
        bench_host_pass(&run->host, submitted);
        submitted = false;
    }
    const uint64_t took_ns = bench_now_ns() - start_ns;
    check_status(run, &run->request);
    return took_ns;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

static void
create_accounts(struct bench_case *run)
{
    const uint64_t total = run->options->accounts;
    uint64_t engine_ns = 0;
    for (uint64_t first = 0; first < total; first += EVENTS_PER_BATCH_MAX) {
        const uint32_t count = (uint32_t) min_u64(total - first, EVENTS_PER_BATCH_MAX);
        bench_load_accounts(&run->load, (struct account *) run->input, first, count);
        engine_ns += ask(run, LEDGER_CREATE_ACCOUNTS, count * EVENT_SIZE, run->reply);
        check_results(&run->request);
        run->accounts_created += count;
    }
    run->result->accounts_per_s = (double) total * NS_PER_S / (double) max_u64(engine_ns, 1);
    if (run->options->csv) return;
    printf("accounts: %" PRIu64 ", %.0f/s\n", total, run->result->accounts_per_s);
}

/* ---- Transfers ------------------------------------------------------------------------------- */

static void
on_transfers(struct engine_request *request)
{
    struct case_client *client = container_of(request, struct case_client, request);
    struct bench_case *run = &bench_case;
    const uint64_t now_ns = bench_now_ns();
    const uint64_t took_ns = now_ns - client->submitted_ns;
    check_status(run, request);
    check_results(request);
    run->answered += request->input_size / EVENT_SIZE;
    run->second_latency_max_ns = max_u64(run->second_latency_max_ns, took_ns);
    if (run->latencies_count < run->latencies_max) {
        run->latencies_ns[run->latencies_count] = took_ns;
        run->latencies_count += 1;
    }
    run->ready[run->ready_count] = client->index;
    run->ready_count += 1;
    run->own_ns += bench_now_ns() - now_ns;
}

static void
submit_transfers(struct bench_case *run, uint32_t count)
{
    run->ready_count -= 1;
    struct case_client *client = &run->clients[run->ready[run->ready_count]];
    const uint64_t start_ns = bench_now_ns();
    bench_load_transfers(&run->load, client->input, count);
    client->request = (struct engine_request){
        .operation = LEDGER_CREATE_TRANSFERS,
        .input = client->input,
        .input_size = count * EVENT_SIZE,
        .reply = client->reply,
        .reply_size_max = count * (uint32_t) sizeof(struct create_result),
        .callback = on_transfers,
    };
    client->submitted_ns = bench_now_ns();
    run->own_ns += client->submitted_ns - start_ns;
    engine_submit(run->host.engine, &client->request);
}

/* A line for the second that has ended, if one has. */
static void
report_second(struct bench_case *run)
{
    struct engine_state state;
    const uint64_t now_ns = run->host.now_ns;
    if (now_ns - run->second_ns < NS_PER_S) return;
    const double seconds = (double) (now_ns - run->second_ns) / NS_PER_S;
    const double per_s = (double) (run->answered - run->second_answered) / seconds;
    if (run->result->worst_per_s == 0 || per_s < run->result->worst_per_s) {
        run->result->worst_per_s = per_s;
    }
    if (!run->options->quiet && !run->options->csv) {
        engine_state_get(run->host.engine, &state);
        printf(
            "%6.1f s %12" PRIu64 " transfers %9.0f/s  max %7.1f ms  RSS %5" PRIu64
            " MB  grid %6" PRIu64 " MB\n",
            (double) (now_ns - run->phase_ns) / NS_PER_S,
            run->answered,
            per_s,
            (double) run->second_latency_max_ns / NS_PER_MS,
            bench_rss_bytes() / MIB,
            state.grid_used_bytes / MIB);
        (void) fflush(stdout);
    }
    run->second_ns = now_ns;
    run->second_answered = run->answered;
    run->second_latency_max_ns = 0;
}

static void
start_phase(struct bench_case *run)
{
    run->answered = 0;
    run->own_ns = 0;
    run->latencies_count = 0;
    run->second_answered = 0;
    run->second_latency_max_ns = 0;
    run->host.asleep_ns = 0;
    run->phase_ns = bench_now_ns();
    run->second_ns = run->phase_ns;
}

static void
run_transfers(struct bench_case *run)
{
    const uint64_t total = run->options->transfers;
    uint64_t submitted_count = 0;
    start_phase(run);
    while (run->answered < total) {
        bool submitted = false;
        while (run->ready_count > 0 && submitted_count < total) {
            const uint32_t count =
                (uint32_t) min_u64(total - submitted_count, run->options->batch);
            submit_transfers(run, count);
            submitted_count += count;
            submitted = true;
        }
        bench_host_pass(&run->host, submitted);
        report_second(run);
    }
}

/* Of the phase alone: without what was counted before it. */
static void
stats_of_phase(const struct bench_case *run, const struct engine_stats *before)
{
    struct engine_stats *stats = &run->result->stats;
    engine_stats_get(run->host.engine, stats);
    stats->requests -= before->requests;
    stats->prepares -= before->prepares;
    stats->checkpoints -= before->checkpoints;
    stats->blocks_written -= before->blocks_written;
    stats->journal.prepares_bytes_written -= before->journal.prepares_bytes_written;
    stats->journal.headers_bytes_written -= before->journal.headers_bytes_written;
}

static void
measure_transfers(struct bench_case *run)
{
    struct bench_result *result = run->result;
    struct bench_usage before;
    struct bench_usage after;
    struct engine_stats stats;
    struct engine_state state;
    engine_stats_get(run->host.engine, &stats);
    bench_usage_get(&before);
    run_transfers(run);
    bench_usage_get(&after);
    engine_state_get(run->host.engine, &state);
    stats_of_phase(run, &stats);

    const double count = (double) run->options->transfers;
    const double took_ns = (double) (after.now_ns - before.now_ns);
    result->transfers_per_s = count * NS_PER_S / took_ns;
    if (result->worst_per_s == 0) result->worst_per_s = result->transfers_per_s;
    result->batch = bench_latency_of(run->latencies_ns, run->latencies_count);
    result->own_share = (double) run->own_ns / took_ns;
    result->asleep_share = (double) run->host.asleep_ns / took_ns;
    result->delayed_share = (double) (after.delayed_ns - before.delayed_ns) / took_ns;
    result->cpu_user_ns = (double) (after.user_ns - before.user_ns) / count;
    result->cpu_system_ns = (double) (after.system_ns - before.system_ns) / count;
    result->grid_bytes = (double) state.grid_used_bytes / count;
    result->written_bytes = (double) (after.written_bytes - before.written_bytes) / count;
    result->write_amplification = result->written_bytes / EVENT_SIZE;
    result->grid_used_bytes = state.grid_used_bytes;
    result->memory_used_bytes = state.memory_used_bytes;
    result->rss_peak_bytes = after.rss_peak_bytes;
    for (int file = 0; file < STORAGE_FILE_COUNT; file++) {
        result->file_bytes[file] = run->host.storage.storage->file_size_bytes[file];
    }
    if (!run->options->csv) bench_print_transfers(result);
}

/* ---- Queries --------------------------------------------------------------------------------- */

static uint32_t
rows_of(const struct bench_case *run)
{
    return run->request.reply_size / ledger_row_size(run->request.operation);
}

/* In the order of time, each a transfer of the account. */
static bool
statement_right(const struct bench_case *run, u128 account_id)
{
    const struct transfer_row *rows = (const struct transfer_row *) run->reply;
    uint64_t timestamp = 0;
    for (uint32_t i = 0; i < rows_of(run); i++) {
        const struct transfer *row = &rows[i].transfer;
        if (row->timestamp <= timestamp) return false;
        if ((row->debit_account_id == account_id) == (row->credit_account_id == account_id)) {
            return false;
        }
        timestamp = row->timestamp;
    }
    return true;
}

/* The balances, in reply_other, are those after the transfers, in reply. */
static bool
balances_right(const struct bench_case *run, u128 account_id, uint32_t transfer_rows)
{
    const struct transfer_row *rows = (const struct transfer_row *) run->reply;
    const struct account_balance *balances = (const struct account_balance *) run->reply_other;
    u128 debits = 0;
    u128 credits = 0;
    if (rows_of(run) != (run->options->history ? transfer_rows : 0)) return false;
    for (uint32_t i = 0; i < rows_of(run); i++) {
        const struct transfer *row = &rows[i].transfer;
        const bool is_debit = row->debit_account_id == account_id;
        debits += is_debit ? row->amount : 0;
        credits += is_debit ? 0 : row->amount;
        if (balances[i].timestamp != row->timestamp ||
            balances[i].balances.debits_posted != debits ||
            balances[i].balances.credits_posted != credits) {
            return false;
        }
    }
    return true;
}

static void
measure_query(uint64_t *durations_ns, uint32_t count, uint64_t rows, struct bench_query *query)
{
    uint64_t sum_ns = 0;
    for (uint32_t i = 0; i < count; i++)
        sum_ns += durations_ns[i];
    query->rows_per_s = (double) rows * NS_PER_S / (double) max_u64(sum_ns, 1);
    query->latency = bench_latency_of(durations_ns, count);
}

static void
measure_queries(struct bench_case *run)
{
    const uint32_t count = run->options->queries;
    uint64_t *transfers_ns = take(count, sizeof(uint64_t));
    uint64_t *balances_ns = take(count, sizeof(uint64_t));
    uint64_t rows = 0;
    uint64_t balances_rows = 0;
    bool right = true;
    for (uint32_t i = 0; i < count; i++) {
        const u128 id = bench_load_account_id(
            &run->load, prng_below(&run->load.sample_prng, run->options->accounts));
        const struct account_filter filter = {
            .account_id = id,
            .limit = RESULTS_MAX,
            .flags = ACCOUNT_FILTER_DEBITS | ACCOUNT_FILTER_CREDITS,
        };
        memcpy(run->input, &filter, sizeof(filter));
        transfers_ns[i] =
            ask(run, LEDGER_GET_ACCOUNT_TRANSFERS, sizeof(filter), run->reply);
        const uint32_t transfer_rows = rows_of(run);
        right = right && statement_right(run, id);
        rows += transfer_rows;
        balances_ns[i] =
            ask(run, LEDGER_GET_ACCOUNT_BALANCES, sizeof(filter), run->reply_other);
        right = right && balances_right(run, id, transfer_rows);
        balances_rows += rows_of(run);
    }
    check(run, right, "queries of accounts return their transfers, and balances that add up");
    measure_query(transfers_ns, count, rows, &run->result->transfers_query);
    measure_query(balances_ns, count, balances_rows, &run->result->balances_query);
    free(transfers_ns);
    free(balances_ns);
    if (run->options->csv) return;
    bench_print_query("get_account_transfers", &run->result->transfers_query);
    bench_print_query("get_account_balances", &run->result->balances_query);
}

/* ---- Looking up ------------------------------------------------------------------------------ */

/* Returns how long the lookup took. All are there, as they were sent. */
static uint64_t
look_up_sample(struct bench_case *run)
{
    const uint32_t count = run->load.sample_count;
    u128 *ids = (u128 *) run->input;
    const struct transfer_row *rows = (const struct transfer_row *) run->reply;
    for (uint32_t i = 0; i < count; i++)
        ids[i] = run->load.sample[i].id;
    const uint64_t took_ns =
        ask(run, LEDGER_LOOKUP_TRANSFERS, count * (uint32_t) sizeof(u128), run->reply);
    bool right = rows_of(run) == count;
    for (uint32_t i = 0; right && i < count; i++) {
        struct transfer sent = run->load.sample[i];
        sent.timestamp = rows[i].transfer.timestamp;
        right = sent.timestamp != 0 && memcmp(&sent, &rows[i].transfer, sizeof(sent)) == 0;
    }
    check(run, right, "transfers that are looked up are as they were sent");
    return took_ns;
}

static void
measure_lookup(struct bench_case *run)
{
    struct bench_load *load = &run->load;
    /* In no order. */
    for (uint32_t i = load->sample_count; i > 1; i--) {
        const uint64_t other = prng_below(&load->sample_prng, i);
        const struct transfer moved = load->sample[i - 1];
        load->sample[i - 1] = load->sample[other];
        load->sample[other] = moved;
    }
    run->result->lookup_cold_ms = (double) look_up_sample(run) / NS_PER_MS;
    run->result->lookup_warm_ms = (double) look_up_sample(run) / NS_PER_MS;
    if (run->options->csv) return;
    printf(
        "lookup of %" PRIu32 " transfers: %.2f ms, again %.2f ms\n",
        load->sample_count,
        run->result->lookup_cold_ms,
        run->result->lookup_warm_ms);
}

/* Counts, and the balances of all accounts. */
static void
check_books(struct bench_case *run)
{
    struct engine_state state;
    const uint64_t total = run->options->accounts;
    u128 debits = 0;
    u128 credits = 0;
    u128 pending = 0;
    uint64_t found = 0;
    engine_state_get(run->host.engine, &state);
    check(run, state.accounts == total, "as many accounts as were created");
    check(run, state.transfers == run->load.transfers, "as many transfers as were created");
    for (uint64_t first = 0; first < total; first += RESULTS_MAX) {
        const uint32_t count = (uint32_t) min_u64(total - first, RESULTS_MAX);
        u128 *ids = (u128 *) run->input;
        for (uint32_t i = 0; i < count; i++)
            ids[i] = bench_load_account_id(&run->load, first + i);
        (void) ask(
            run, LEDGER_LOOKUP_ACCOUNTS, count * (uint32_t) sizeof(u128), run->reply);
        const struct account *rows = (const struct account *) run->reply;
        for (uint32_t i = 0; i < rows_of(run); i++) {
            debits += rows[i].debits_posted;
            credits += rows[i].credits_posted;
            pending += rows[i].debits_pending + rows[i].credits_pending;
        }
        found += rows_of(run);
    }
    check(run, found == total, "all accounts are found");
    check(run, debits == run->load.amounts, "debits are the sum of the amounts sent");
    check(run, credits == run->load.amounts, "credits are the sum of the amounts sent");
    check(run, pending == 0, "nothing is pending");
}

/* ---- Restarts -------------------------------------------------------------------------------- */

static void
measure_restart(struct bench_case *run, const char *name, struct bench_restart *restart)
{
    struct engine_state state;
    engine_state_get(run->host.engine, &state);
    restart->wal_used_bytes = state.wal_used_bytes;
    const uint64_t commit = state.commit;
    bench_host_close(&run->host);
    restart->seconds = (double) bench_host_open(&run->host, run->options) / NS_PER_S;
    restart->ops_replayed = run->host.report.ops_replayed;
    check(run, run->host.report.op >= commit, "the restart reaches the last answered op");
    if (!run->options->csv) {
        printf(
            "%s: %.2f s, %" PRIu64 " ops replayed, %" PRIu64 " MB of the log\n",
            name,
            restart->seconds,
            restart->ops_replayed,
            restart->wal_used_bytes / MIB);
    }
    check_books(run);
    (void) look_up_sample(run);
}

/* What a batch takes in the log if it is a prepare by itself. */
static uint64_t
batch_log_bytes(uint32_t batch)
{
    const uint64_t size =
        PREPARE_HEADER_SIZE + (uint64_t) batch * EVENT_SIZE + PREPARE_TABLES_SIZE_MAX;
    return min_u64(align_up(size, SECTOR_SIZE), PREPARE_SIZE_MAX);
}

/* More transfers, until the log is just below the next checkpoint. */
static void
fill_log(struct bench_case *run)
{
    const uint32_t batch = run->options->batch;
    const uint64_t bytes = batch_log_bytes(batch);
    const uint64_t batches_max = FILL_LAPS_MAX * run->options->wal_mb * MIB / bytes;
    const uint32_t clients = run->options->clients;
    uint64_t batches = 0;
    start_phase(run);
    for (;;) {
        struct engine_state state;
        engine_state_get(run->host.engine, &state);
        const uint64_t half = state.wal_size_bytes / 2;
        const uint64_t under_way = clients - run->ready_count;
        const bool full = state.wal_used_bytes + (under_way + 1) * bytes > half;
        if (under_way == 0 && full && state.wal_used_bytes <= half) break;
        if (under_way == 0 && batches >= batches_max) break;
        const bool waits = engine_busy(run->host.engine) && state.wal_used_bytes > half;
        const bool submits = run->ready_count > 0 && batches < batches_max && !waits &&
                             (!full || (under_way == 0 && state.wal_used_bytes > half));
        if (submits) {
            submit_transfers(run, batch);
            batches += 1;
        }
        bench_host_pass(&run->host, submits);
    }
}

/* ---- All of it ------------------------------------------------------------------------------- */

static void
make_clients(struct bench_case *run)
{
    const uint32_t count = run->options->clients;
    const uint32_t batch = run->options->batch;
    run->clients = take(count, sizeof(struct case_client));
    run->ready = take(count, sizeof(uint32_t));
    for (uint32_t i = 0; i < count; i++) {
        run->clients[i].index = i;
        run->clients[i].input = take(batch, sizeof(struct transfer));
        run->clients[i].reply = take(batch, sizeof(struct create_result));
        run->ready[i] = i;
    }
    run->ready_count = count;
    run->latencies_max = div_ceil(run->options->transfers, batch);
    run->latencies_ns = take(run->latencies_max, sizeof(uint64_t));
    run->input = take(RESULTS_MAX, ROW_SIZE_MAX);
    run->reply = take(RESULTS_MAX, ROW_SIZE_MAX);
    run->reply_other = take(RESULTS_MAX, ROW_SIZE_MAX);
}

void
bench_case_run(const struct bench_options *options, struct bench_result *result)
{
    struct bench_case *run = &bench_case;
    struct bench_usage usage;
    run->options = options;
    run->result = result;
    bench_load_init(&run->load, options);
    make_clients(run);
    bench_host_format(options);
    (void) bench_host_open(&run->host, options);
    result->io_method = storage_os_method_name(run->host.storage.method);
    if (!options->csv) bench_print_case(options);

    create_accounts(run);
    measure_transfers(run);
    measure_queries(run);
    measure_lookup(run);
    check_books(run);
    measure_restart(run, "restart", &result->restart);
    fill_log(run);
    measure_restart(run, "restart with a full log", &result->restart_full);

    bench_host_close(&run->host);
    bench_usage_get(&usage);
    result->rss_peak_total_bytes = usage.rss_peak_bytes;
}
