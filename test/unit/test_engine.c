/* SPDX-License-Identifier: PostgreSQL */
/* What of the engine's opening and stopping needs no model: on the simulated disk. */
#include "unit.h"

#include <stddef.h>

#include "base/checksum.h"
#include "base/prng.h"
#include "base/units.h"
#include "engine/engine.h"
#include "store/superblock.h"

#include "../sim/storage_sim.h"

#define REQUESTS      24
#define EXTRA_BYTES   (UINT64_C(8) * MIB)
#define PREPARES_SIZE (4 * PREPARES_SIZE_MIN)

static const struct engine_identity identity = {
    .cluster = 1, .incarnation = 2, .system_identifier = 3, .replica_count = 1};

static struct storage_sim disk;
static struct prng prng;
static struct engine *engine;
static void *memory;
static uint64_t time_ns;

static uint64_t
clock_now(struct clock *clock)
{
    (void) clock;
    time_ns += 1000;
    return time_ns;
}

static const struct clock_ops clock_ops = {.realtime_ns = clock_now, .monotonic_ns = clock_now};
static struct clock test_clock = {.ops = &clock_ops};

/* A formatted disk. */
static void
begin(uint64_t seed)
{
    static uint8_t scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));
    const struct storage_sim_options options = {
        .file_size_bytes =
            {
                [STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE,
                [STORAGE_PREPARES] = PREPARES_SIZE,
                [STORAGE_HEADERS] = headers_log_count(PREPARES_SIZE) * PREPARE_HEADER_SIZE,
            },
    };
    prng_init(&prng, seed);
    storage_sim_init(&disk, &options, &prng);
    memset(scratch, 0, sizeof(scratch));
    expect_equal(
        engine_format(&disk.storage, PREPARES_SIZE, &identity, NULL, scratch), ENGINE_OPENED);
}

static enum engine_open_result
open_with(
    const struct engine_identity *expected,
    uint64_t op_min,
    uint64_t view_min,
    struct engine_open_report *report)
{
    static uint64_t opens = 0;
    opens += 1;
    struct engine_options options = {
        .prepares_size_bytes = PREPARES_SIZE,
        .requests_max = REQUESTS,
        .op_min = op_min,
        .view_min = view_min,
        .session = opens,
    };
    options.memory_bytes = align_up(engine_memory_bytes_min(&options), MIB) + EXTRA_BYTES;
    free(memory);
    memory = aligned_alloc(ARENA_ALIGNMENT, options.memory_bytes);
    assert(memory != NULL);
    memset(memory, 0, options.memory_bytes);
    engine = engine_create(memory, &options, &disk.storage, &test_clock);
    return engine_open(engine, expected, report);
}

static enum engine_open_result
open_as(const struct engine_identity *expected, struct engine_open_report *report)
{
    return open_with(expected, 0, 0, report);
}

static void
end(void)
{
    storage_sim_free(&disk);
    free(memory);
    memory = NULL;
}

static void
rot_a_copy(void)
{
    storage_sim_rot(&disk, STORAGE_SUPERBLOCK, SUPERBLOCK_COPY_STRIDE, SECTOR_SIZE);
}

/* A start with another's directory leaves it as it is, although there is something to repair. */
UNIT_TEST(another_identity_writes_nothing)
{
    for (uint32_t which = 0; which < 3; which++) {
        struct engine_open_report report;
        struct engine_identity other = identity;
        if (which == 0) other.cluster += 1;
        if (which == 1) other.incarnation += 1;
        if (which == 2) other.system_identifier += 1;
        begin(1);
        rot_a_copy();
        const uint64_t writes = disk.counters.writes;
        expect_equal(open_as(&other, &report), ENGINE_OPEN_OTHER_IDENTITY);
        expect_equal(disk.counters.writes, writes);
        expect_equal(report.superblock_copies_repaired, 0);
        expect(report.identity.cluster == identity.cluster);

        expect_equal(open_as(&identity, &report), ENGINE_OPENED);
        expect_equal(report.superblock_copies_repaired, 1);
        expect(disk.counters.writes > writes);
        end();
    }
}

/* The same with a log that is not as large as the superblock says. */
UNIT_TEST(another_size_writes_nothing)
{
    struct engine_open_report report;
    begin(1);
    rot_a_copy();
    const uint64_t writes = disk.counters.writes;
    disk.storage.file_size_bytes[STORAGE_HEADERS] -= SECTOR_SIZE;
    expect_equal(open_as(&identity, &report), ENGINE_OPEN_SIZE_MISMATCH);
    expect_equal(disk.counters.writes, writes);
    disk.storage.file_size_bytes[STORAGE_HEADERS] += SECTOR_SIZE;
    end();
}

/* ---- Requests -------------------------------------------------------------------------------- */

struct call {
    struct engine_request request;
    bool lent;
    uint32_t failed;
    uint8_t input[EVENTS_PER_BATCH_MAX * EVENT_SIZE] __attribute__((aligned(16)));
    uint8_t reply[EVENTS_PER_BATCH_MAX * RESULT_SIZE] __attribute__((aligned(16)));
};

static struct call calls[REQUESTS];
static uint64_t next_id;
static uint32_t other_outcomes;

static void
call_on_done(struct engine_request *request)
{
    struct call *call = container_of(request, struct call, request);
    assert(call->lent);
    call->lent = false;
    if (request->status == ENGINE_FAILED) {
        call->failed += 1;
    } else if (request->status != ENGINE_OK) {
        other_outcomes += 1;
    }
}

static void
call_submit(struct call *call)
{
    const uint32_t count = (uint32_t) prng_range(&prng, 1, 4);
    for (uint32_t i = 0; i < count; i++) {
        const struct account account = {.id = next_id + i, .ledger = 1, .code = 1};
        memcpy(call->input + i * EVENT_SIZE, &account, EVENT_SIZE);
    }
    next_id += count;
    call->request = (struct engine_request){
        .operation = LEDGER_CREATE_ACCOUNTS,
        .input = call->input,
        .input_size = count * EVENT_SIZE,
        .reply = call->reply,
        .reply_size_max = sizeof(call->reply),
        .callback = call_on_done,
    };
    call->lent = true;
    engine_submit(engine, &call->request);
}

static uint32_t
calls_lent(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) count += calls[i].lent;
    return count;
}

/*
 * The grid file cannot grow, by an error of the disk: the engine stops, and whoever waits hears of
 * it, also who is in a prepare that is being made. Nobody hears that the disk is full.
 */
UNIT_TEST(error_of_growth_stops_the_engine)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct engine_open_report report;
        begin(seed);
        time_ns = UINT64_C(1750000000) * NS_PER_S;
        memset(calls, 0, sizeof(calls));
        next_id = 1;
        other_outcomes = 0;
        expect_equal(open_as(&identity, &report), ENGINE_OPENED);
        const uint64_t growths = prng_range(&prng, 0, 3);
        while (!engine_failed(engine)) {
            if (disk.counters.grows >= growths) disk.options.grow_error_per_million = 1000000;
            for (uint32_t i = 0; i < REQUESTS; i++) {
                if (!calls[i].lent && prng_chance(&prng, 1, 2)) call_submit(&calls[i]);
            }
            storage_sim_tick(&disk);
            (void) engine_poll(engine);
        }
        for (uint32_t polls = 0; polls < 10; polls++) (void) engine_poll(engine);
        expect(disk.counters.grow_errors >= 1); /* Those ahead of need stop nobody. */
        expect_equal(calls_lent(), 0);
        expect_equal(other_outcomes, 0);
        while (disk.storage.in_flight_count > 0) (void) storage_wait(&disk.storage);

        /* A new life. */
        disk.options.grow_error_per_million = 0;
        storage_sim_restart(&disk);
        expect_equal(open_as(&identity, &report), ENGINE_OPENED);
        end();
    }
}

/* The same while the log is replayed, which must have back what the grid file has lost. */
UNIT_TEST(error_of_growth_refuses_the_open)
{
    struct engine_open_report report;
    begin(1);
    time_ns = UINT64_C(1750000000) * NS_PER_S;
    memset(calls, 0, sizeof(calls));
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    call_submit(&calls[0]);
    while (calls[0].lent || disk.storage.in_flight_count > 0) {
        storage_sim_tick(&disk);
        (void) engine_poll(engine);
    }
    expect_equal(calls[0].failed, 0);
    storage_sim_restart(&disk);
    disk.storage.file_size_bytes[STORAGE_GRID] = 0;
    disk.files[STORAGE_GRID].size_bytes = 0;
    disk.options.grow_error_per_million = 1000000;
    expect_equal(open_as(&identity, &report), ENGINE_OPEN_IO_ERROR);
    disk.options.grow_error_per_million = 0;
    storage_sim_restart(&disk);
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    expect_equal(report.ops_replayed, 1);
    end();
}

/* ---- Another owner --------------------------------------------------------------------------- */

static uint8_t owner_scratch[ENGINE_FORMAT_SCRATCH] __attribute__((aligned(ARENA_ALIGNMENT)));

static struct engine_inspection
inspect(void)
{
    struct engine_inspection inspection;
    expect_equal(engine_inspect(&disk.storage, owner_scratch, &inspection), ENGINE_OPENED);
    return inspection;
}

/* Makes an op, and waits for it. */
static void
make_op(void)
{
    memset(calls, 0, sizeof(calls));
    call_submit(&calls[0]);
    while (calls[0].lent || disk.storage.in_flight_count > 0) {
        storage_sim_tick(&disk);
        (void) engine_poll(engine);
    }
    expect_equal(calls[0].failed, 0);
}

UNIT_TEST(inspecting_writes_nothing)
{
    begin(1);
    rot_a_copy();
    const uint64_t writes = disk.counters.writes;
    const struct engine_inspection inspection = inspect();
    expect(memcmp(&inspection.identity, &identity, sizeof(identity)) == 0);
    expect_equal(inspection.view, 0);
    expect_equal(disk.counters.writes, writes);
    memset(storage_sim_bytes(&disk, STORAGE_SUPERBLOCK), 0, SUPERBLOCK_FILE_SIZE);
    struct engine_inspection absent;
    expect_equal(engine_inspect(&disk.storage, owner_scratch, &absent), ENGINE_OPEN_ABSENT);
    storage_sim_bytes(&disk, STORAGE_SUPERBLOCK)[0] = 1;
    expect_equal(engine_inspect(&disk.storage, owner_scratch, &absent), ENGINE_OPEN_SUPERBLOCK);
    expect(strcmp(absent.superblock_name, "quorum lost") == 0);
    end();
}

static struct superblock_state *
copy_on_disk(uint64_t copy)
{
    uint8_t *bytes = storage_sim_bytes(&disk, STORAGE_SUPERBLOCK);
    return (void *) (bytes + copy * SUPERBLOCK_COPY_STRIDE);
}

static void
reseal_copy(struct superblock_state *state)
{
    const size_t start = offsetof(struct superblock_state, version);
    state->checksum = checksum((const uint8_t *) state + start, sizeof(*state) - start);
}

static enum engine_open_result
inspect_changed(bool version)
{
    struct engine_inspection inspection;
    for (uint64_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state *state = copy_on_disk(copy);
        state->version = DISK_FORMAT_VERSION + (version ? 1 : 0);
        state->config_fingerprint = CONFIG_FINGERPRINT ^ (version ? 0 : 1);
        reseal_copy(state);
    }
    return engine_inspect(&disk.storage, owner_scratch, &inspection);
}

UNIT_TEST(what_another_build_made_is_told_from_damage)
{
    begin(1);
    expect_equal(inspect_changed(true), ENGINE_OPEN_OTHER_VERSION);
    expect_equal(inspect_changed(false), ENGINE_OPEN_OTHER_CONFIG);
    end();
}

/* It has promises to keep towards others: without them it isn't opened, nor another's. */
UNIT_TEST(a_member_of_a_cluster_needs_the_others)
{
    struct engine_inspection inspection;
    struct engine_open_report report;
    struct engine_identity owner = identity;
    owner.incarnation += 1;
    begin(1);
    for (uint64_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state *state = copy_on_disk(copy);
        state->flags = SUPERBLOCK_NOT_ALONE;
        state->name[0] = 'a';
        state->members.slots[0].name[0] = 'a';
        state->checkpoint.members_checksum = members_checksum(&state->members);
        reseal_copy(state);
    }
    const uint64_t writes = disk.counters.writes;
    expect_equal(engine_inspect(&disk.storage, owner_scratch, &inspection), ENGINE_OPENED);
    expect(inspection.is_cluster);
    expect_equal(open_as(&identity, &report), ENGINE_OPEN_CLUSTER);
    expect_equal(engine_adopt(&disk.storage, owner_scratch, &owner), ENGINE_OPEN_CLUSTER);
    expect_equal(disk.counters.writes, writes);
    end();
}

/* The new owner finds everything, and the old one can't open it any more. */
UNIT_TEST(adopted_with_all_that_is_there)
{
    struct engine_open_report report;
    struct engine_identity owner = identity;
    owner.incarnation = 20;
    owner.system_identifier = 30;
    begin(1);
    time_ns = UINT64_C(1750000000) * NS_PER_S;
    next_id = 1;
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    make_op();
    make_op();
    storage_sim_restart(&disk);
    rot_a_copy();
    expect_equal(engine_adopt(&disk.storage, owner_scratch, &owner), ENGINE_OPENED);
    expect_equal(open_as(&identity, &report), ENGINE_OPEN_OTHER_IDENTITY);
    expect(report.identity.incarnation == owner.incarnation);
    expect_equal(open_as(&owner, &report), ENGINE_OPENED);
    expect_equal(report.op, 2);
    expect_equal(inspect().view, 2 * MEMBERS_MAX);
    end();
}

/* A log that ends before what is known of it is refused, and left as it was. */
UNIT_TEST(an_older_log_is_refused)
{
    struct engine_open_report report;
    begin(1);
    time_ns = UINT64_C(1750000000) * NS_PER_S;
    next_id = 1;
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    make_op();
    make_op();
    storage_sim_restart(&disk);
    const uint64_t writes = disk.counters.writes;
    expect_equal(open_with(&identity, 3, 0, &report), ENGINE_OPEN_BEHIND);
    expect_equal(report.op, 2);
    expect_equal(open_with(&identity, 2, MEMBERS_MAX + 1, &report), ENGINE_OPEN_BEHIND);
    expect_equal(report.op, 2);
    expect_equal(disk.counters.writes, writes);
    expect_equal(open_with(&identity, 2, MEMBERS_MAX, &report), ENGINE_OPENED);
    expect_equal(report.ops_replayed, 2);
    end();
}

/* The other way round: the superblock knows nothing of the views in which the log was made. */
UNIT_TEST(an_older_superblock_is_refused)
{
    static uint8_t older[SUPERBLOCK_FILE_SIZE];
    static uint8_t newer[SUPERBLOCK_FILE_SIZE];
    uint8_t *bytes;
    struct engine_open_report report;
    begin(1);
    time_ns = UINT64_C(1750000000) * NS_PER_S;
    next_id = 1;
    bytes = storage_sim_bytes(&disk, STORAGE_SUPERBLOCK);
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    make_op();
    make_op();
    storage_sim_restart(&disk);
    memcpy(older, bytes, sizeof(older));
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    make_op();
    storage_sim_restart(&disk);
    memcpy(newer, bytes, sizeof(newer));
    memcpy(bytes, older, sizeof(older));
    const uint64_t writes = disk.counters.writes;
    expect(open_as(&identity, &report) != ENGINE_OPENED);
    expect_equal(disk.counters.writes, writes);
    memcpy(bytes, newer, sizeof(newer));
    expect_equal(open_as(&identity, &report), ENGINE_OPENED);
    expect_equal(report.op, 3);
    end();
}

UNIT_MAIN(test_engine)
