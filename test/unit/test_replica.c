/* SPDX-License-Identifier: PostgreSQL */
/*
 * The replica, through the engine's façade: invariants (R1) … (R8) of vsr/replica.h, and group
 * commit. What is durable, and when, is what the disk says.
 */
#include "unit/unit.h"

#include <string.h>

#include "base/checksum.h"
#include "engine/internal.h"
#include "unit/engine_fixture.h"
#include "vsr/multi_batch.h"

static struct node node;

/* So large that what holds prepares back is the pipeline, not the ring. */
#define RING_LARGE (UINT64_C(64) * SECTOR_SIZE)

/* More than the least memory can list the tables of. */
#define ACCOUNTS_MANY 250000

static void
begin(uint64_t ring_size, uint64_t memory_extra, uint64_t seed)
{
    node_init(&node, ring_size, memory_extra, seed);
    const enum engine_open_result result = node_open(&node);
    assert(result == ENGINE_OPENED);
}

/* Accounts 1 and 2. */
static void
create_two_accounts(void)
{
    assert(node.id == 0);
    (void) node_create_accounts(&node, 2);
    node_settle(&node);
}

/* ---- (R1) ------------------------------------------------------------------------------------ */

/*
 * A checkpoint takes longer than several appends, and nothing is executed meanwhile: prepares pile
 * up to the limit, and no further.
 */
UNIT_TEST(r1_pipeline_is_bounded)
{
    begin(RING_LARGE, 8 * MIB, 1);
    node_latency(&node, 3, 3);
    uint64_t lag_max = 0;
    for (uint32_t steps = 0; node.answered < 100; steps++) {
        assert(steps < NODE_STEPS_MAX);
        while (node_lent(&node) < 2 * PIPELINE_PREPARES_MAX) {
            (void) node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
        }
        node_step(&node);
        const struct engine_state state = node_state(&node);
        expect(state.commit <= node.op_durable);
        expect(node.op_durable <= state.op);
        expect(state.op - node.op_durable <= 1);
        expect(state.op - state.commit <= PIPELINE_PREPARES_MAX);
        lag_max = max_u64(lag_max, state.op - state.commit);
    }
    expect_equal(lag_max, PIPELINE_PREPARES_MAX);
    expect(node.checkpoint_count >= 4);
    node_free(&node);
}

/* ---- (R2) ------------------------------------------------------------------------------------ */

/* Requests in the order in which they were lent: so are their answers, op after op. */
UNIT_TEST(r2_ops_commit_in_order_and_once)
{
    begin(RING_LARGE, 4 * MIB, 2);
    node_latency(&node, 0, 6);
    uint32_t events = 0;
    while (node.request_count < 150) {
        const uint32_t count = (uint32_t) prng_range(&node.prng, 1, 12);
        (void) node_create_accounts(&node, count);
        events += count;
        if (prng_chance(&node.prng, 1, 2)) node_step(&node);
    }
    node_settle(&node);
    uint64_t op_before = 0;
    for (uint32_t i = 0; i < node.request_count; i++) {
        const struct node_request *request = &node.requests[i];
        expect_equal(request->answers, 1);
        expect_equal(request->rank, i);
        const uint64_t op = node_op(request);
        expect(op >= op_before);
        expect(op <= request->op_durable);
        expect_equal(request->commit, op);
        for (uint32_t event = 0; event < request->event_count; event++) {
            expect_equal(node_result(request, event).status, STATUS_CREATED);
        }
        op_before = op;
    }
    expect_equal(op_before, node_state(&node).commit);
    expect_equal(node_state(&node).accounts, events);
    node_free(&node);
}

/* Replay executes each op of the log after the checkpoint, none twice and none left out. */
UNIT_TEST(r2_replay_commits_each_op_once)
{
    begin(RING_LARGE, 4 * MIB, 3);
    node_latency(&node, 0, 6);
    uint64_t events = 0; /* Of ops that were committed once. */
    uint64_t op_counted = 0;
    for (uint32_t life = 0; life < 12; life++) {
        const uint64_t steps = prng_below(&node.prng, 60);
        for (uint64_t i = 0; i < steps; i++) {
            (void) node_create_accounts(&node, (uint32_t) prng_range(&node.prng, 1, 30));
            node_step(&node);
        }
        const uint64_t op_durable = node.op_durable;
        node_reopen(&node);
        const struct engine_state state = node_state(&node);
        expect_equal(state.commit, node.report.op);
        expect_equal(state.op, node.report.op);
        expect(node.report.op >= op_durable);
        while (op_counted < state.commit) {
            op_counted += 1;
            events += node.log[op_counted].event_count;
        }
        expect_equal(state.accounts, events);
    }
    node_free(&node);
}

/* ---- (R3) ------------------------------------------------------------------------------------ */

/* The first op waits until the grid's file has grown. Those after it find room. */
static void
make_room(void)
{
    (void) node_create_accounts(&node, 1);
    node_settle(&node);
}

UNIT_TEST(r3_answer_waits_for_both_writes_and_the_execution)
{
    begin(RING_LARGE, MIB, 4);
    make_room();
    node_latency(&node, 10, 10);
    const uint64_t started = node.sim.tick;
    const struct node_request *request = node_create_accounts(&node, 3);
    while (node.op_durable == 1) {
        expect_equal(request->answers, 0);
        expect_equal(node_state(&node).accounts, 1);
        node_step(&node);
    }
    expect_equal(node.sim.tick - started, 21); /* Of two writes, one after the other. */
    while (request->answers == 0) {
        expect_equal(node_state(&node).commit, 1);
        node_step(&node);
    }
    expect_equal(request->request.status, ENGINE_OK);
    expect_equal(request->op_durable, 2);
    expect_equal(request->status, STATUS_CREATED);
    expect_equal(node_state(&node).accounts, 4);
    node_free(&node);
}

/* The power is cut at every moment there is: what was answered is there when it comes back. */
UNIT_TEST(r3_answered_requests_survive_a_crash)
{
    uint32_t answered_total = 0;
    for (uint64_t fuse = 1; fuse <= 80; fuse++) {
        begin(PREPARES_SIZE_MIN, MIB, 100 + fuse);
        node_latency(&node, 0, 4);
        storage_sim_crash_after(&node.sim, fuse);
        while (!node.sim.crashed) {
            if (node_lent(&node) < 3) (void) node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
            node_step(&node);
        }
        uint64_t answered = 0;
        for (uint32_t i = 0; i < node.request_count; i++) {
            const struct node_request *request = &node.requests[i];
            answered += request->answers == 1 && request->request.status == ENGINE_OK;
        }
        answered_total += (uint32_t) answered;
        node_reopen(&node);
        struct account account;
        for (uint64_t id = 1; id <= answered * EVENTS_PER_BATCH_MAX; id++) {
            expect(node_account(&node, id, &account));
        }
        node_free(&node);
    }
    expect(answered_total > 200);
}

/* Memory is full: the reason is told, and there is nothing of the request in log or state. */
UNIT_TEST(r3_refused_request_takes_no_effect)
{
    begin(RING_LARGE, 0, 5);
    const struct node_request *request;
    struct engine_state before;
    do {
        before = node_state(&node);
        node.request_count = 0; /* Nothing is lent: the places of the answered ones are free. */
        node.answered = 0;
        request = node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
        node_settle(&node);
        expect_equal(request->answers, 1);
    } while (request->request.status == ENGINE_OK);
    expect_equal(request->request.status, ENGINE_MEMORY_FULL);
    expect(before.accounts > 0);
    expect(before.tables > 100 && before.tables_max - before.tables < 10 * TABLES_PER_NODE);
    expect_equal(node_state(&node).op, before.op);
    expect_equal(node_state(&node).accounts, before.accounts);
    struct account account;
    expect(!node_account(&node, node.id, &account));
    node_free(&node);
}

static bool
fault_in_file(void *context, enum storage_file file, uint64_t offset_bytes, uint64_t size_bytes)
{
    (void) offset_bytes;
    (void) size_bytes;
    return file == *(const enum storage_file *) context;
}

/*
 * Whichever file it is that fails: what is in flight, what waits and what comes later is answered
 * that the outcome is unknown, each once.
 */
UNIT_TEST(r3_write_error_fails_every_request)
{
    for (enum storage_file file = 0; file < STORAGE_FILE_COUNT; file++) {
        begin(PREPARES_SIZE_MIN, MIB, 6);
        node_latency(&node, 2, 2);
        node.sim.options.fault_allowed = fault_in_file;
        node.sim.options.fault_context = &file;
        node.sim.options.write_error_per_million = 1000000;
        for (uint32_t steps = 0; !engine_failed(node.engine); steps++) {
            assert(steps < NODE_STEPS_MAX);
            while (node_lent(&node) < 6) (void) node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
            node_step(&node);
        }
        expect_equal(node_lent(&node), 0);
        (void) node_create_accounts(&node, 1);
        (void) node_submit(&node, LEDGER_LOOKUP_ACCOUNTS, &(u128){1}, sizeof(u128));
        node_step(&node);
        uint32_t failed = 0;
        for (uint32_t i = 0; i < node.request_count; i++) {
            const struct node_request *request = &node.requests[i];
            expect_equal(request->answers, 1);
            if (request->request.status == ENGINE_FAILED) {
                failed += 1;
                continue;
            }
            expect_equal(request->request.status, ENGINE_OK);
            expect(node_op(request) <= request->op_durable);
        }
        expect(failed >= 6 + 2);
        const bool first_fails = file == STORAGE_PREPARES || file == STORAGE_HEADERS;
        expect_equal(failed == node.request_count, first_fails);
        node_free(&node);
    }
}

/* ---- (R4) ------------------------------------------------------------------------------------ */

/* Real time where it is ahead of the log, else the next free timestamps. */
static void
expect_next_timestamp(uint64_t op)
{
    const struct prepare_header *parent = &node.log[op - 1];
    const struct prepare_header *header = &node.log[op];
    const uint64_t start = max_u64(parent->timestamp + 1, node.clock.realtime_ns);
    expect_equal(header->op, op);
    expect(header->timestamp - header->event_count >= parent->timestamp);
    expect_equal(header->timestamp, start + header->event_count);
}

UNIT_TEST(r4_timestamps_ascend_while_the_clock_jumps)
{
    begin(RING_LARGE, MIB, 7);
    make_room();
    uint64_t op = 1;
    for (uint32_t i = 0; i < 60; i++) {
        switch (i % 4) {
        case 0: node.clock.realtime_ns += prng_below(&node.prng, 100); break;
        case 1: node.clock.realtime_ns -= 3600 * NS_PER_S; break;
        case 2: break;
        default: node.clock.realtime_ns = NODE_START_NS + i * NS_PER_S; break;
        }
        if (i % 10 == 9) node_reopen(&node);
        (void) node_create_accounts(&node, (uint32_t) prng_range(&node.prng, 1, 30));
        const uint64_t now = node.clock.realtime_ns;
        node_settle(&node);
        op += 1;
        node.clock.realtime_ns = now;
        expect_next_timestamp(op);
    }
    node_free(&node);
}

/* A pulse takes its timestamps from the same line. */
UNIT_TEST(r4_pulses_ascend_too)
{
    begin(RING_LARGE, MIB, 8);
    create_two_accounts();
    for (uint32_t i = 0; i < 5; i++) {
        (void) node_create_transfers(&node, 1, 1);
        node_settle(&node);
        const uint64_t op = node_state(&node).op;
        node.clock.realtime_ns = node.log[op].timestamp + 2 * NS_PER_S;
        engine_tick(node.engine);
        const uint64_t now = node.clock.realtime_ns;
        while (node_state(&node).op == op) (void) engine_poll(node.engine);
        node_settle(&node);
        node.clock.realtime_ns = now;
        expect_equal(node.log[op + 1].operation, PREPARE_PULSE);
        expect_equal(node.log[op + 1].event_count, PULSE_EXPIRIES_MAX);
        expect_next_timestamp(op + 1);
        node.clock.realtime_ns -= 60 * NS_PER_S;
        (void) node_create_accounts(&node, 1);
        node_settle(&node);
        expect_equal(node.log[op + 2].timestamp, node.log[op + 1].timestamp + 2);
    }
    node_free(&node);
}

/* ---- (R5) ------------------------------------------------------------------------------------ */

#define R5_OPS 150

/* The requests of R5: no two fit into one prepare, so the log is the same however they come. */
static uint32_t
r5_event_count(uint64_t op)
{
    const uint32_t half = EVENTS_PER_BATCH_MAX / 2 + 1;
    return half + (uint32_t) (op * 7 % (EVENTS_PER_BATCH_MAX - half + 1));
}

/* Makes the log under a latency, with a crash every so many answers if that is not 0. */
static void
r5_run(uint32_t latency_min, uint32_t latency_max, uint32_t crash_every)
{
    begin(PREPARES_SIZE_MIN, 2 * MIB, 9 + latency_max);
    node_latency(&node, latency_min, latency_max);
    uint64_t op_lent = 0;
    for (uint32_t steps = 0; node_state(&node).commit < R5_OPS; steps++) {
        assert(steps < NODE_STEPS_MAX);
        while (op_lent < R5_OPS && node_lent(&node) < 6) {
            op_lent += 1;
            (void) node_create_accounts(&node, r5_event_count(op_lent));
        }
        node_step(&node);
        if (crash_every == 0 || node.answered < crash_every) continue;
        node_reopen(&node);
        op_lent = node.report.op;
    }
    node_settle(&node);
}

/* What the rule gives for the log that the witness has. Returns how many there are. */
static uint32_t
r5_expected(uint64_t *checkpoints)
{
    struct prepare_header root;
    prepare_root(&root, node_identity.cluster, 1);
    uint64_t position = root.position;
    uint32_t count = 0;
    for (uint64_t op = 1; op <= R5_OPS; op++) {
        const struct prepare_header *header = &node.log[op];
        const uint64_t end = header->position + prepare_size_on_disk(header);
        expect_equal(header->event_count, r5_event_count(op));
        if (end - position <= PREPARES_SIZE_MIN / 2) continue;
        position = header->position;
        checkpoints[count] = op;
        count += 1;
    }
    return count;
}

UNIT_TEST(r5_checkpoints_follow_from_the_log_alone)
{
    static const uint32_t runs[][3] = {{0, 0, 0}, {5, 5, 0}, {0, 40, 0}, {0, 3, 11}, {2, 9, 4}};
    uint64_t first[NODE_CHECKPOINTS_MAX];
    for (uint32_t run = 0; run < ARRAY_COUNT(runs); run++) {
        uint64_t expected[R5_OPS];
        r5_run(runs[run][0], runs[run][1], runs[run][2]);
        const uint32_t count = r5_expected(expected);
        expect(count > 3);
        expect_equal(node.checkpoint_count, count);
        expect(memcmp(node.checkpoints, expected, count * sizeof(expected[0])) == 0);
        if (run == 0) memcpy(first, node.checkpoints, sizeof(first));
        expect(memcmp(node.checkpoints, first, sizeof(first)) == 0);
        node_free(&node);
    }
}

/* ---- (R6) ------------------------------------------------------------------------------------ */

UNIT_TEST(r6_view_is_durable_before_its_first_prepare)
{
    begin(PREPARES_SIZE_MIN, MIB, 10);
    for (uint32_t start = 1; start <= 20; start++) {
        const uint32_t view = start * MEMBERS_MAX; /* Others belong to other slots. */
        expect_equal(node_state(&node).view, view);
        expect(node_copies_with_view(&node, view) >= 3);
        node_latency(&node, 1, 1 + start);
        (void) node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
        node_settle(&node);
        expect_equal(node.log[node_state(&node).op].view, view);
        node_reopen(&node);
    }
    expect_equal(node.prepares_without_view, 0);
    node_free(&node);
}

/* A start that was cut short may have taken a view; the next one never takes a used one. */
UNIT_TEST(r6_no_view_is_used_twice)
{
    begin(PREPARES_SIZE_MIN, MIB, 11);
    uint32_t view_before = 0;
    for (uint32_t fuse = 1; fuse <= 60; fuse++) {
        (void) node_create_accounts(&node, 1);
        node_settle(&node);
        const uint32_t view = node.log[node_state(&node).op].view;
        expect(view > view_before);
        expect_equal(view, node_state(&node).view);
        view_before = view;
        node_crash(&node);
        storage_sim_crash_after(&node.sim, fuse);
        (void) node_open(&node);
        node_reopen(&node);
    }
    expect_equal(node.prepares_without_view, 0);
    node_free(&node);
}

/* ---- (R8) ------------------------------------------------------------------------------------ */

/* The prepare of an op as it is on the disk. */
static struct prepare_header *
prepare_on_disk(uint64_t op)
{
    const uint64_t place = node.log[op].position % node.options.prepares_size_bytes;
    return (void *) (storage_sim_bytes(&node.sim, STORAGE_PREPARES) + place);
}

/* Its origins are one, of this node. */
static struct multi_batch_origin *
origin_on_disk(uint64_t op)
{
    struct prepare_header *header = prepare_on_disk(op);
    const struct multi_batch_sums sums = {header->event_count, header->record_count};
    struct multi_batch_reader reader;
    expect_equal(header->op, op);
    expect(multi_batch_open(
        &reader, header + 1, header->size - PREPARE_HEADER_SIZE, header->timestamp, sums));
    expect_equal(reader.origin_count, 1);
    uint8_t *trailer = (uint8_t *) header + header->size - PREPARE_TRAILER_SIZE;
    return (void *) (trailer - PREPARE_ORIGIN_SIZE);
}

static void
expect_session(struct session found, uint64_t session, uint64_t number)
{
    expect_equal(found.session, session);
    expect_equal(found.number, number);
}

/*
 * Each life is a session, and its requests have the numbers 1, 2, 3 … in the log. What the log says
 * is what the replica knows of them after a restart, from the checkpoint or from what follows it.
 */
UNIT_TEST(r8_requests_are_numbered_and_sessions_follow_from_the_log)
{
    begin(PREPARES_SIZE_MIN, 2 * MIB, 15);
    node_latency(&node, 0, 5);
    uint64_t op = 0;
    uint32_t from_checkpoint = 0;
    uint32_t grouped = 0;
    for (uint32_t life = 1; life <= 25; life++) {
        const uint64_t session = node.engine->replica.session;
        uint64_t number = 0;
        while (node.request_count < life) {
            (void) node_create_accounts(&node, (uint32_t) prng_range(&node.prng, 1, 12));
            if (prng_chance(&node.prng, 1, 2)) node_step(&node);
        }
        node_settle(&node);
        /* Each fifth life ends with a checkpoint. */
        while (life % 5 == 0 && node_state(&node).checkpoint_op != node_state(&node).op) {
            (void) node_create_accounts(&node, 1);
            node_settle(&node);
        }
        while (op < node_state(&node).op) {
            op += 1;
            const struct multi_batch_origin *origin = origin_on_disk(op);
            expect_equal(origin->slot, 0);
            expect_equal(origin->session, session);
            expect_equal(origin->number, number + origin->batch_count);
            number = origin->number;
            grouped += origin->batch_count > 1;
        }
        expect_equal(number, node.request_count);
        expect_session(node.engine->replica.sessions.slots[0], session, number);
        expect_session(node.engine->replica.accepted.slots[0], session, number);
        from_checkpoint += node_state(&node).checkpoint_op == op;
        node_reopen(&node);
        expect(node.engine->replica.session > session);
        expect_session(node.engine->replica.sessions.slots[0], session, number);
        expect_session(
            node.engine->replica.accepted.slots[0], node.engine->replica.session, 0);
    }
    expect(from_checkpoint >= 5 && grouped > 10);
    node_free(&node);
}

/* (V9) Sessions ascend, also where a host draws the same number twice. */
UNIT_TEST(v9_each_life_has_a_higher_session_than_those_before)
{
    begin(RING_LARGE, MIB, 16);
    for (uint64_t op = 1; op <= 6; op++) {
        const uint64_t session = node.engine->replica.session;
        (void) node_create_accounts(&node, 1);
        node_settle(&node);
        expect_equal(origin_on_disk(op)->number, 1);
        expect_equal(origin_on_disk(op)->session, session);
        node.options.session -= 1;
        node_reopen(&node);
        expect(node.engine->replica.session > session);
    }
    node_free(&node);
}

/* Refused requests have no numbers, so that those of a prepare remain consecutive. */
UNIT_TEST(r8_refused_requests_leave_no_gap)
{
    begin(RING_LARGE, 0, 17);
    const struct node_request *request;
    do {
        node.request_count = 0; /* Nothing is lent. */
        node.answered = 0;
        request = node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
        for (uint32_t i = 0; i < 3; i++) (void) node_create_accounts(&node, 1);
        node_settle(&node);
    } while (request->request.status == ENGINE_OK);
    const uint64_t op = node_state(&node).op;
    expect_equal(origin_on_disk(op)->number, node.engine->replica.accepted.slots[0].number);
    node_free(&node);
}

/* Seals a prepare that was changed on the disk, and its copy in the headers log. */
static void
reseal_on_disk(uint64_t op)
{
    const struct prepare_header before = node.log[op];
    struct prepare_header *header = prepare_on_disk(op);
    uint8_t *headers = storage_sim_bytes(&node.sim, STORAGE_HEADERS);
    const uint64_t count = headers_log_count(node.options.prepares_size_bytes);
    uint32_t found = 0;
    prepare_seal(header);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *entry = headers + i * PREPARE_HEADER_SIZE;
        if (memcmp(entry, &before, sizeof(before)) != 0) continue;
        memcpy(entry, header, sizeof(*header));
        found += 1;
    }
    assert(found == 1);
    node.log[op] = *header;
}

/* An intact log that no replica can have made is refused, and stays as it is. */
UNIT_TEST(r8_a_log_in_which_numbers_go_back_is_refused)
{
    for (uint32_t number = 1; number <= 3; number++) {
        begin(RING_LARGE, MIB, 18);
        for (uint32_t i = 0; i < 3; i++) {
            (void) node_create_accounts(&node, 1);
            node_settle(&node);
        }
        node_crash(&node);
        origin_on_disk(3)->number = number;
        reseal_on_disk(3);
        const enum engine_open_result result = node_open(&node);
        expect_equal(result, number < 3 ? ENGINE_OPEN_INVALID_PREPARE : ENGINE_OPENED);
        expect_equal(node.report.op, 3);
        node_free(&node);
    }
}

UNIT_TEST(a_log_in_which_members_change_unbidden_is_refused)
{
    begin(RING_LARGE, MIB, 19);
    for (uint32_t i = 0; i < 3; i++) {
        (void) node_create_accounts(&node, 1);
        node_settle(&node);
    }
    expect_equal(node.log[3].voters, 1);
    expect_equal(node.log[3].members_op, 0);
    node_crash(&node);
    prepare_on_disk(3)->voters = 3;
    reseal_on_disk(3);
    expect_equal(node_open(&node), ENGINE_OPEN_INVALID_PREPARE);
    node_free(&node);
}

/* ---- The log's end in the superblock (S7) ---------------------------------------------------- */

/* Everything that was acknowledged by then, and nothing else: `op` is the newest. */
static void
expect_log_end(uint64_t op_min, uint64_t op_max)
{
    struct superblock_state state;
    memcpy(&state, storage_sim_bytes(&node.sim, STORAGE_SUPERBLOCK), sizeof(state));
    const uint64_t head = superblock_suffix_head(&state);
    expect(head >= op_min && head <= op_max);
    expect_equal(state.op_acked_min, head);
    expect_equal(state.log_view, state.view);
    for (uint32_t i = 0; i < state.suffix_count; i++) {
        const struct prepare_header *header = &state.suffix[i];
        if (header->op == 0) continue; /* Never written as a prepare. */
        expect(memcmp(header, &node.log[header->op], sizeof(*header)) == 0);
    }
    const uint64_t known = head - state.checkpoint.header.op + 1;
    if (known >= SUPERBLOCK_SUFFIX_MAX) expect_equal(state.suffix_count, SUPERBLOCK_SUFFIX_MAX);
    expect(state.suffix_count >= min_u64(known, SUPERBLOCK_SUFFIX_MAX));
}

UNIT_TEST(s7_the_superblock_says_how_the_log_ends)
{
    begin(PREPARES_SIZE_MIN, MIB, 13);
    expect_log_end(0, 0);
    uint32_t checkpoints = 0;
    for (uint32_t start = 1; start <= 25; start++) {
        for (uint32_t i = 0; i < start; i++) {
            const uint64_t op_before = node_state(&node).op;
            (void) node_create_accounts(&node, 1);
            node_settle(&node);
            if (node.checkpoint_count == checkpoints) continue;
            checkpoints = node.checkpoint_count;
            expect_log_end(op_before, node_state(&node).op);
        }
        const uint64_t op = node_state(&node).op;
        if (start % 2 == 0) node_crash(&node);
        node_reopen(&node);
        expect_log_end(op, op);
    }
    expect(checkpoints > 3);
    node_free(&node);
}

/* ---- Group commit ---------------------------------------------------------------------------- */

/* Sends the first of `counts` ahead, and the others while it is on its way to the disk. */
static void
send_behind(const uint32_t *counts, uint32_t count)
{
    begin(RING_LARGE, MIB, 12);
    node_latency(&node, 4, 4);
    for (uint32_t i = 0; i < count; i++) {
        (void) node_create_accounts(&node, counts[i]);
        if (i == 0) node_step(&node);
    }
    node_settle(&node);
}

UNIT_TEST(group_commit_takes_all_that_wait)
{
    const uint32_t counts[] = {1, 3, 1, 2, 5, 1};
    send_behind(counts, ARRAY_COUNT(counts));
    expect_equal(node_state(&node).op, 2);
    expect_equal(node.log[1].event_count, 1);
    expect_equal(node.log[2].event_count, 12);
    for (uint32_t i = 0; i < ARRAY_COUNT(counts); i++) {
        expect_equal(node_op(&node.requests[i]), i == 0 ? 1 : 2);
    }
    node_free(&node);
}

UNIT_TEST(group_commit_takes_no_more_than_the_table_has_room_for)
{
    uint32_t counts[1 + BATCHES_PER_PREPARE_MAX + 2];
    for (uint32_t i = 0; i < ARRAY_COUNT(counts); i++) {
        counts[i] = 1;
    }
    send_behind(counts, ARRAY_COUNT(counts));
    expect_equal(node_state(&node).op, 3);
    expect_equal(node.log[2].event_count, BATCHES_PER_PREPARE_MAX);
    expect_equal(node.log[3].event_count, 2);
    node_free(&node);
}

/* Nobody is overtaken by a smaller one that would fit. */
UNIT_TEST(request_too_large_for_the_rest_goes_into_the_next)
{
    const uint32_t max = EVENTS_PER_BATCH_MAX;
    const uint32_t counts[] = {1, max - 10, 5, 6, 1, max, 1};
    const uint64_t ops[] = {1, 2, 2, 3, 3, 4, 5};
    send_behind(counts, ARRAY_COUNT(counts));
    for (uint32_t i = 0; i < ARRAY_COUNT(counts); i++) {
        expect_equal(node_op(&node.requests[i]), ops[i]);
    }
    node_free(&node);
}

/* ---- Execution in pieces --------------------------------------------------------------------- */

/*
 * While a large op is executed, piece by piece, the next prepare goes to the disk; but a read waits
 * for the end of the op, and answers wait for its commit.
 */
UNIT_TEST(large_op_is_executed_in_pieces_that_nobody_sees)
{
    const uint32_t count = EVENTS_PER_BATCH_MAX;
    const u128 last = count;
    begin(RING_LARGE, MIB, 14);
    const struct node_request *create = node_create_accounts(&node, count);
    while (node_state(&node).accounts == 0) {
        node_step(&node);
    }
    expect_equal(node_state(&node).accounts, EXECUTE_EVENTS_MAX);
    expect_equal(node_state(&node).commit, 0);
    const struct node_request *next = node_create_accounts(&node, 1);
    const struct node_request *read =
        node_submit(&node, LEDGER_LOOKUP_ACCOUNTS, &last, sizeof(last));
    (void) engine_poll(node.engine);
    expect_equal(node_state(&node).op, 2); /* On its way to the disk. */
    while (node_state(&node).commit == 0) {
        expect_equal(create->answers + read->answers, 0);
        expect(node_state(&node).accounts <= count);
        node_step(&node);
    }
    expect_equal(create->answers, 1);
    node_settle(&node);
    expect_equal(read->answers, 1);
    expect_equal(read->request.reply_size, sizeof(struct account));
    expect_equal(next->answers, 1);
    node_free(&node);
}

/* ---- Pulses ---------------------------------------------------------------------------------- */

/*
 * Requests always wait, so that each append follows the last one within the same poll; and no
 * checkpoint is due, which would be a rest. A tick never finds the journal idle.
 */
UNIT_TEST(pulse_is_made_under_continuous_load)
{
    enum { TICKS_MAX = 50 };
    struct account account;
    begin(4 * RING_LARGE, MIB, 13);
    create_two_accounts();
    (void) node_create_transfers(&node, 3, 1);
    node_settle(&node);
    expect(node_account(&node, 1, &account));
    expect_equal(account.debits_pending, 3);

    node_latency(&node, 2, 2);
    node.clock.realtime_ns += 2 * NS_PER_S;
    for (uint32_t step = 0; step < TICKS_MAX * ENGINE_TICK_MS; step++) {
        while (node_lent(&node) < 3) (void) node_create_accounts(&node, 1);
        node_step(&node);
        if (step % ENGINE_TICK_MS == 0) engine_tick(node.engine);
    }
    expect_equal(node.checkpoint_count, 0);
    expect(node_account(&node, 1, &account));
    expect_equal(account.debits_pending, 0);
    node_free(&node);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/*
 * The log ends at the checkpoint. What the data takes in memory is the list of its tables alone: it
 * is too long for the least memory, and the engine says how much to try.
 */
UNIT_TEST(open_with_too_little_memory_says_how_much_will_do)
{
    begin(RING_LARGE, 32 * MIB, 14);
    create_two_accounts();
    struct engine_state state;
    do {
        node.request_count = 0; /* Nothing is lent. */
        node.answered = 0;
        (void) node_create_accounts(&node, EVENTS_PER_BATCH_MAX);
        node_settle(&node);
        state = node_state(&node);
    } while (state.accounts < ACCOUNTS_MANY || state.commit != state.checkpoint_op);
    node_crash(&node);

    node.options.memory_bytes = engine_memory_bytes_min(&node.options);
    expect(state.grid_used_bytes > 3 * node.options.memory_bytes);
    expect_equal(node_open(&node), ENGINE_OPEN_MEMORY_TOO_SMALL);
    expect(node.report.memory_bytes_needed > node.options.memory_bytes);
    node.options.memory_bytes = max_u64(node.options.memory_bytes, node.report.memory_bytes_needed);
    expect_equal(node_open(&node), ENGINE_OPENED);
    if (node.engine != NULL) expect_equal(node_state(&node).accounts, state.accounts);
    node_free(&node);
}

UNIT_MAIN(test_replica)
