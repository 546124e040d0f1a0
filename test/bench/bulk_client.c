/* SPDX-License-Identifier: PostgreSQL */
/*
 * Sends batches of transfers, one prepared call after another, with binary parameters and results,
 * and measures each call. For bench.py.
 *
 *   bulk_client MODE BATCH CLIENTS SECONDS ACCOUNTS [FILE]
 *
 * MODE is array or packed (the ledger's two ways in), or sql or sql_locked (the best forms over
 * plain tables, for one client and for several). Accounts are picked at random from 1 … ACCOUNTS;
 * or from FILE, whose lines are a debit account, a credit account, and an amount, in turn. Where
 * several run at the same time, BULK_FIRST_CLIENT numbers the clients of each from another number
 * on, 127 at most in all, so that their ids differ. Prints one line for each client's calls
 * together:
 *   transfers seconds mean stddev p50 p99 max        (latencies of a call in microseconds)
 */
#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define CLIENTS_MAX 64
#define CALLS_MAX   1000000
#define RECORD_SIZE 128
#define RESULT_SIZE 16
#define CREATED     UINT32_MAX

#define OID_INT8    20
#define OID_INT4    23
#define OID_NUMERIC 1700
#define OID_UUID    2950

enum mode { MODE_ARRAY, MODE_PACKED, MODE_SQL, MODE_SQL_LOCKED, MODE_COUNT };

static const char *const mode_names[] = {"array", "packed", "sql", "sql_locked"};

static const char *const statements[] = {
    [MODE_ARRAY] = "SELECT index, status, \"timestamp\" FROM ledger.create_transfers($1)",
    [MODE_PACKED] = "SELECT ledger.create_transfers_packed($1)",
    [MODE_SQL] =
        "WITH events AS MATERIALIZED ("
        "    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[])"
        "        AS event (id, debit_account_id, credit_account_id, amount)"
        "), inserted AS ("
        "    INSERT INTO plain.transfers (id, debit_account_id, credit_account_id, amount)"
        " SELECT * FROM events"
        "), sums AS ("
        "    SELECT id, sum(debit)::bigint AS debits, sum(credit)::bigint AS credits FROM ("
        "        SELECT debit_account_id AS id, amount AS debit, 0 AS credit FROM events"
        "        UNION ALL SELECT credit_account_id, 0, amount FROM events) AS side GROUP BY id"
        ") UPDATE plain.accounts AS account SET debits = account.debits + sums.debits,"
        "    credits = account.credits + sums.credits FROM sums WHERE account.id = sums.id",
    [MODE_SQL_LOCKED] = "SELECT plain.transfer_many($1, $2, $3, $4)",
};

struct event {
    uint64_t id_high;
    uint64_t id_low;
    uint64_t debit;
    uint64_t credit;
    uint64_t amount;
};

struct pair {
    uint64_t debit;
    uint64_t credit;
    uint64_t amount;
};

/* Of one client, in memory shared with the parent. */
struct outcome {
    uint64_t transfers;
    double seconds;
    uint32_t calls;
    float latency_us[CALLS_MAX];
};

struct bytes {
    char *data;
    size_t size;
    size_t size_max;
};

static enum mode mode;
static uint32_t batch;
static uint32_t clients;
static uint32_t first_client;
static double seconds_max;
static uint64_t accounts;
static struct pair *pairs;
static size_t pairs_count;

static void
die(const char *what, const char *detail)
{
    fprintf(stderr, "bulk_client: %s: %s\n", what, detail);
    exit(1);
}

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + (double) time.tv_nsec * 1e-9;
}

/* Splitmix64. */
static uint64_t
random_next(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Encoding ------------------------------------------------------------------------------------- */

static void
put(struct bytes *bytes, const void *data, size_t size)
{
    if (bytes->size + size > bytes->size_max) die("a batch", "too large");
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void
put16(struct bytes *bytes, uint16_t value)
{
    const uint16_t big = htons(value);
    put(bytes, &big, sizeof(big));
}

static void
put32(struct bytes *bytes, uint32_t value)
{
    const uint32_t big = htonl(value);
    put(bytes, &big, sizeof(big));
}

static void
put64(struct bytes *bytes, uint64_t value)
{
    const uint64_t big = htobe64(value);
    put(bytes, &big, sizeof(big));
}

static void
put_uuid(struct bytes *bytes, uint64_t high, uint64_t low)
{
    put32(bytes, 16);
    put64(bytes, high);
    put64(bytes, low);
}

static void
put_numeric(struct bytes *bytes, uint64_t value)
{
    uint16_t digits[5];
    uint16_t count = 0;
    for (; value > 0; value /= 10000)
        digits[count++] = (uint16_t) (value % 10000);
    put32(bytes, 8u + 2u * count);
    put16(bytes, count);
    put16(bytes, count > 0 ? (uint16_t) (count - 1) : 0);
    put16(bytes, 0);
    put16(bytes, 0);
    while (count > 0)
        put16(bytes, digits[--count]);
}

static void
put_array_header(struct bytes *bytes, uint32_t element_type)
{
    bytes->size = 0;
    put32(bytes, 1); /* Dimensions. */
    put32(bytes, 0); /* No NULL. */
    put32(bytes, element_type);
    put32(bytes, batch);
    put32(bytes, 1); /* Lower bound. */
}

static void
put_null(struct bytes *bytes, uint32_t type)
{
    put32(bytes, type);
    put32(bytes, UINT32_MAX);
}

static void
put_composite(struct bytes *bytes, const struct event *event, uint32_t flags_type)
{
    const size_t start = bytes->size;
    put32(bytes, 0); /* The size, which is known at the end. */
    put32(bytes, 13);
    put32(bytes, OID_UUID);
    put_uuid(bytes, event->id_high, event->id_low);
    put32(bytes, OID_UUID);
    put_uuid(bytes, 0, event->debit);
    put32(bytes, OID_UUID);
    put_uuid(bytes, 0, event->credit);
    put32(bytes, OID_NUMERIC);
    put_numeric(bytes, event->amount);
    put_null(bytes, OID_UUID); /* pending_id */
    put_null(bytes, OID_UUID); /* user_data_128 */
    put_null(bytes, OID_INT8); /* user_data_64 */
    put_null(bytes, OID_INT8); /* user_data_32 */
    put_null(bytes, OID_INT8); /* timeout */
    put32(bytes, OID_INT8);
    put32(bytes, 8);
    put64(bytes, 1); /* ledger */
    put32(bytes, OID_INT4);
    put32(bytes, 4);
    put32(bytes, 1); /* code */
    put_null(bytes, flags_type);
    put_null(bytes, OID_INT8); /* timestamp */
    const uint32_t size = htonl((uint32_t) (bytes->size - start - 4));
    memcpy(bytes->data + start, &size, sizeof(size));
}

static void
put_record(struct bytes *bytes, const struct event *event)
{
    const uint64_t words[16] = {
        [0] = htole64(event->id_low),
        [1] = htole64(event->id_high),
        [2] = htole64(event->debit),
        [4] = htole64(event->credit),
        [6] = htole64(event->amount),
        [14] = htole64(UINT64_C(1) | UINT64_C(1) << 32), /* ledger, code; no flags */
    };
    static_assert(sizeof(words) == RECORD_SIZE, "accounting: one record layout");
    put(bytes, words, sizeof(words));
}

static void
encode_columns(struct bytes columns[4], const struct event *events)
{
    for (int i = 0; i < 3; i++)
        put_array_header(&columns[i], OID_UUID);
    put_array_header(&columns[3], OID_INT8);
    for (uint32_t i = 0; i < batch; i++) {
        put_uuid(&columns[0], events[i].id_high, events[i].id_low);
        put_uuid(&columns[1], 0, events[i].debit);
        put_uuid(&columns[2], 0, events[i].credit);
        put32(&columns[3], 8);
        put64(&columns[3], events[i].amount);
    }
}

/* Returns how many parameters there are. */
static int
encode(struct bytes parameters[4], const struct event *events, const uint32_t types[2])
{
    switch (mode) {
    case MODE_ARRAY:
        put_array_header(&parameters[0], types[0]);
        for (uint32_t i = 0; i < batch; i++)
            put_composite(&parameters[0], &events[i], types[1]);
        return 1;
    case MODE_PACKED:
        parameters[0].size = 0;
        for (uint32_t i = 0; i < batch; i++)
            put_record(&parameters[0], &events[i]);
        return 1;
    case MODE_SQL:
    case MODE_SQL_LOCKED: encode_columns(parameters, events); return 4;
    case MODE_COUNT: break;
    }
    abort();
}

/* Calls ---------------------------------------------------------------------------------------- */

static void
check_result(PGconn *connection, const PGresult *result)
{
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        die("call", PQerrorMessage(connection));
    }
    if (mode == MODE_ARRAY) {
        if (PQntuples(result) != (int) batch) die("call", "wrong number of results");
        for (uint32_t i = 0; i < batch; i++) {
            const char *status_name = PQgetvalue(result, (int) i, 1);
            if (strcmp(status_name, "created") != 0) die("transfer", status_name);
        }
    }
    if (mode == MODE_PACKED) {
        if (PQgetlength(result, 0, 0) != (int) (batch * RESULT_SIZE)) {
            die("call", "wrong number of results");
        }
        for (uint32_t i = 0; i < batch; i++) {
            uint32_t created;
            memcpy(&created, PQgetvalue(result, 0, 0) + i * RESULT_SIZE + 8, sizeof(created));
            if (created != CREATED) die("transfer", "not created");
        }
    }
}

static uint32_t
type_oid(PGconn *connection, const char *name)
{
    char query[128];
    snprintf(query, sizeof(query), "SELECT '%s'::regtype::oid", name);
    PGresult *result = PQexec(connection, query);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) die(name, PQerrorMessage(connection));
    const uint32_t oid = (uint32_t) strtoul(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return oid;
}

/* Ids grow with time, as the ids of applications that care do. */
static void
make_events(struct event *events, uint32_t client, uint64_t *state, uint64_t *sequence)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    const uint64_t ms = (uint64_t) time.tv_sec * 1000 + (uint64_t) time.tv_nsec / 1000000;
    for (uint32_t i = 0; i < batch; i++) {
        struct event *event = &events[i];
        *sequence += 1;
        event->id_high = ms << 16 | 0x7000;
        event->id_low = UINT64_C(1) << 63 | (uint64_t) client << 56 | *sequence;
        if (pairs_count > 0) {
            const struct pair *pair = &pairs[*sequence % pairs_count];
            event->debit = pair->debit;
            event->credit = pair->credit;
            event->amount = pair->amount;
            continue;
        }
        event->debit = 1 + random_next(state) % accounts;
        event->credit = 1 + random_next(state) % (accounts - 1);
        if (event->credit >= event->debit) event->credit += 1;
        event->amount = 1 + random_next(state) % 10000;
    }
}

static void
run_client(uint32_t client, struct outcome *outcome, int ready, int go)
{
    PGconn *connection = PQconnectdb("");
    if (PQstatus(connection) != CONNECTION_OK) die("connect", PQerrorMessage(connection));
    uint32_t types[2] = {0};
    if (mode == MODE_ARRAY) {
        types[0] = type_oid(connection, "ledger.transfer_input");
        types[1] = type_oid(connection, "ledger.transfer_flag[]");
    }
    PGresult *prepared = PQprepare(connection, "batch", statements[mode], 0, NULL);
    if (PQresultStatus(prepared) != PGRES_COMMAND_OK) die("prepare", PQerrorMessage(connection));
    PQclear(prepared);

    struct event *events = calloc(batch, sizeof(*events));
    struct bytes parameters[4];
    for (int i = 0; i < 4; i++) {
        parameters[i] = (struct bytes){.size_max = 64 + (size_t) batch * 256};
        parameters[i].data = malloc(parameters[i].size_max);
        if (events == NULL || parameters[i].data == NULL) die("memory", "none");
    }
    uint64_t state = (uint64_t) client + 1;
    uint64_t sequence = 0;
    char byte = 0;
    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1) die("start", "broken pipe");

    const double start = now();
    double end = start;
    while (end - start < seconds_max && outcome->calls < CALLS_MAX) {
        make_events(events, client, &state, &sequence);
        const int count = encode(parameters, events, types);
        const char *values[4];
        int sizes[4];
        const int formats[4] = {1, 1, 1, 1};
        for (int i = 0; i < count; i++) {
            values[i] = parameters[i].data;
            sizes[i] = (int) parameters[i].size;
        }
        const double called = now();
        PGresult *result = PQexecPrepared(connection, "batch", count, values, sizes, formats, 1);
        end = now();
        check_result(connection, result);
        PQclear(result);
        outcome->latency_us[outcome->calls++] = (float) ((end - called) * 1e6);
        outcome->transfers += batch;
    }
    outcome->seconds = end - start;
    PQfinish(connection);
}

/* Report --------------------------------------------------------------------------------------- */

static int
compare_floats(const void *a, const void *b)
{
    const float x = *(const float *) a;
    const float y = *(const float *) b;
    return (x > y) - (x < y);
}

static void
report(const struct outcome *outcomes)
{
    uint64_t transfers = 0;
    size_t count = 0;
    double seconds = 0;
    for (uint32_t i = 0; i < clients; i++) {
        transfers += outcomes[i].transfers;
        count += outcomes[i].calls;
        if (outcomes[i].seconds > seconds) seconds = outcomes[i].seconds;
    }
    float *latencies = malloc(count * sizeof(*latencies));
    if (latencies == NULL || count == 0) die("report", "no calls");
    size_t at = 0;
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < clients; i++) {
        for (uint32_t j = 0; j < outcomes[i].calls; j++) {
            const double latency = outcomes[i].latency_us[j];
            latencies[at++] = (float) latency;
            sum += latency;
            squares += latency * latency;
        }
    }
    qsort(latencies, count, sizeof(*latencies), compare_floats);
    const double mean = sum / (double) count;
    const double variance = squares / (double) count - mean * mean;
    printf(
        "%llu %.4f %.1f %.1f %.1f %.1f %.1f\n",
        (unsigned long long) transfers,
        seconds,
        mean,
        variance > 0 ? sqrt(variance) : 0,
        (double) latencies[count / 2],
        (double) latencies[count * 99 / 100],
        (double) latencies[count - 1]);
    free(latencies);
}

static void
read_pairs(const char *path)
{
    FILE *file = fopen(path, "r");
    unsigned long long debit;
    unsigned long long credit;
    unsigned long long amount;
    if (file == NULL) die(path, "cannot be opened");
    while (fscanf(file, "%llu %llu %llu", &debit, &credit, &amount) == 3) {
        pairs = realloc(pairs, (pairs_count + 1) * sizeof(*pairs));
        if (pairs == NULL) die("memory", "none");
        pairs[pairs_count++] = (struct pair){debit, credit, amount};
    }
    fclose(file);
    if (pairs_count == 0) die(path, "has no transfers");
}

static void
read_arguments(int argc, char **argv)
{
    if (argc != 6 && argc != 7) {
        die("usage", "bulk_client MODE BATCH CLIENTS SECONDS ACCOUNTS [FILE]");
    }
    while (mode < MODE_COUNT && strcmp(argv[1], mode_names[mode]) != 0)
        mode += 1;
    batch = (uint32_t) strtoul(argv[2], NULL, 10);
    clients = (uint32_t) strtoul(argv[3], NULL, 10);
    seconds_max = strtod(argv[4], NULL);
    accounts = strtoull(argv[5], NULL, 10);
    if (mode == MODE_COUNT) die("unknown mode", argv[1]);
    if (batch == 0 || clients == 0 || clients > CLIENTS_MAX || accounts < 2) {
        die("usage", "out of range");
    }
    const char *first = getenv("BULK_FIRST_CLIENT");
    if (first != NULL) first_client = (uint32_t) strtoul(first, NULL, 10);
    if (first_client > CLIENTS_MAX) die("BULK_FIRST_CLIENT", "out of range");
    if (argc == 7) read_pairs(argv[6]);
}

int
main(int argc, char **argv)
{
    read_arguments(argc, argv);
    struct outcome *outcomes = mmap(
        NULL,
        clients * sizeof(*outcomes),
        PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS,
        -1,
        0);
    int ready[2];
    int go[2];
    if (outcomes == MAP_FAILED || pipe(ready) != 0 || pipe(go) != 0) die("start", "no resources");
    for (uint32_t i = 0; i < clients; i++) {
        const pid_t child = fork();
        if (child < 0) die("start", "no process");
        if (child == 0) {
            run_client(first_client + i, &outcomes[i], ready[1], go[0]);
            return 0;
        }
    }
    char bytes[CLIENTS_MAX] = {0};
    close(ready[1]);
    for (uint32_t i = 0; i < clients; i++) {
        if (read(ready[0], bytes, 1) != 1) die("start", "a client failed");
    }
    if (write(go[1], bytes, clients) != (ssize_t) clients) die("start", "broken pipe");
    bool failed = false;
    for (uint32_t i = 0; i < clients; i++) {
        int status;
        if (wait(&status) < 0 || status != 0) failed = true;
    }
    if (failed) return 1;
    report(outcomes);
    return 0;
}
