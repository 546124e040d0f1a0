/* SPDX-License-Identifier: PostgreSQL */
/*
 * What a member that has gone wrong sends, with its sums right: on three members (trio_fixture.h).
 * (V10) of vsr/replica.h; and requests that no member makes, which the primary must not take.
 */
#include "unit/trio_fixture.h"
#include "unit/unit.h"

/* ---- (V10) ----------------------------------------------------------------------------------- */

/* As if node 1 had another checkpoint than the primary: each hears of the other's. */
static void
other_checkpoint(uint32_t from, uint32_t to, struct message_header *header)
{
    if (from == 1 && header->command == MESSAGE_PREPARE_OK && header->checkpoint_op > 0) {
        header->as.prepare_ok.checkpoint_id ^= 1;
        message_seal(header, header->version);
    }
    if (to == 1 && header->command == MESSAGE_START_VIEW && header->checkpoint_op > 0) {
        struct message_start_view_body *body = message_body(header);
        body->checkpoint_id ^= 1;
        message_seal(header, header->version);
    }
}

UNIT_TEST(v10_member_whose_checkpoint_is_not_the_primarys_stops)
{
    uint64_t op = 0;
    trio_begin(NETWORK_SIM_STREAMS, 70);
    trio_create_many(TRIO_PRIMARY, 10, 1);
    trio.tamper = other_checkpoint;
    trio.nodes[1].may_fail = true;
    /* Before the first checkpoint there is nothing to compare. */
    expect_equal(trio_replica(1)->journal->checkpoint.op, 0);
    expect(!engine_failed(trio.nodes[1].engine));
    trio_create_many(TRIO_PRIMARY, 40, 1);
    struct trio_asked *own = trio_create(1, 1);
    trio_steps(500);
    expect(engine_failed(trio.nodes[1].engine));
    expect(engine_failed_on_divergence(trio.nodes[1].engine, &op));
    expect(op > 0);
    expect_equal(own->answers, 1);
    expect_equal(own->request.status, ENGINE_FAILED);
    for (uint32_t i = 0; i < TRIO_NODES; i += 2) {
        expect(!engine_failed(trio.nodes[i].engine));
        expect(!engine_failed_on_divergence(trio.nodes[i].engine, &op));
    }
    trio_create_many(2, 5, 1); /* The others go on. */
    trio.tamper = NULL;
    trio_stop(1);
    trio_start(1);
    trio_expect_rest(55);
    expect(!engine_failed(trio.nodes[1].engine));
    trio_end();
}

/* ---- Requests -------------------------------------------------------------------------------- */

#define FORGED_MAX 6000

/* The request that node 2 sent last. */
static struct {
    struct message_header header;
    uint8_t body[PREPARE_SIZE_MAX];
} captured __attribute__((aligned(SECTOR_SIZE)));

static void
capture(uint32_t from, uint32_t to, struct message_header *header)
{
    (void) to;
    if (from == 2 && header->command == MESSAGE_REQUEST) memcpy(&captured, header, header->size);
}

/* Some bytes differ, most of them in the tables, which are at the end. */
static void
forge(struct message_header *header)
{
    uint8_t *body = message_body(header);
    const uint64_t size = header->size - MESSAGE_HEADER_SIZE;
    const uint64_t changes = prng_below(&trio.prng, 4);
    header->as.numbers.number += prng_below(&trio.prng, 3);
    struct multi_batch_origin *origin =
        (void *) (body + size - PREPARE_TRAILER_SIZE - PREPARE_ORIGIN_SIZE);
    if (prng_chance(&trio.prng, 3, 4)) {
        origin->number = header->as.numbers.number + header->as.numbers.count - 1;
    }
    for (uint64_t i = 0; i < changes; i++) {
        const bool table = prng_chance(&trio.prng, 3, 4);
        const uint64_t reach = table ? 96 : size - PREPARE_HEADER_SIZE;
        uint8_t *byte = body + size - 1 - prng_below(&trio.prng, reach);
        *byte = (uint8_t) prng_below(&trio.prng, prng_chance(&trio.prng, 1, 2) ? 4 : 256);
    }
    message_seal(header, MESSAGE_VERSION_MAX);
}

/* Does the primary take it into its queue, or into a prepare later? As a network would give it. */
static void
receive(struct replica *primary)
{
    struct message *message = message_pool_get(&primary->pool, MESSAGE_LARGE);
    assert(message != NULL);
    memcpy(message->header, &captured, captured.header.size);
    forge(message->header);
    if (!message_header_valid(message->header) || !message_body_valid(message->header)) {
        message_release(&primary->pool, message);
        return;
    }
    message_pad(message->header);
    replica_on_request(primary, trio_slot(2), message);
}

/* Whatever it takes executes on all, and they agree. */
UNIT_TEST(requests_that_no_member_makes_are_not_taken)
{
    trio_begin(NETWORK_SIM_STREAMS, 71);
    trio.tamper = capture;
    struct transfer transfers[3] = {
        {.id = 1, .debit_account_id = 1, .credit_account_id = 2, .amount = 1, .ledger = 1},
        {.id = 2, .debit_account_id = 1, .credit_account_id = 2, .ledger = 1, .code = 1},
        {.id = 3, .debit_account_id = 2, .credit_account_id = 1, .amount = 7, .code = 1},
    };
    expect(trio_answered_within(trio_create(2, 2), TRIO_PATIENCE_MS));
    const struct trio_asked *last =
        trio_ask(2, LEDGER_CREATE_TRANSFERS, transfers, sizeof(transfers));
    (void) trio_create(2, 1);
    expect(trio_answered_within(last, TRIO_PATIENCE_MS));
    expect_equal(captured.header.command, MESSAGE_REQUEST);
    trio_stop(2);
    struct replica *primary = trio_replica(TRIO_PRIMARY);
    const uint64_t op = primary->op;
    for (uint32_t i = 0; i < FORGED_MAX && primary->op < TRIO_OPS_MAX - 50; i++) {
        const struct session *accepted = &primary->accepted.slots[trio_slot(2)];
        captured.header.as.numbers.number = accepted->number + 1;
        receive(primary);
        if (i % 4 == 0) trio_step();
    }
    expect(primary->op > op + 20); /* Some are as good as any other. */
    trio_steps(200);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    expect_equal(trio_commit(1), trio_commit(TRIO_PRIMARY));
    expect(trio_replica(1)->commit_header.checksum == primary->commit_header.checksum);
    trio_end();
}

/* The primary gives back something else than was asked for. */
static void
other_batch(uint32_t from, uint32_t to, struct message_header *header)
{
    if (from != TRIO_PRIMARY || to != 1 || header->command != MESSAGE_PREPARE) return;
    struct prepare_header *prepare = prepare_header_of(message_body(header));
    struct multi_batch_entry *entry =
        (void *) ((uint8_t *) prepare + prepare->size - PREPARE_TRAILER_SIZE -
                  PREPARE_ORIGIN_SIZE - PREPARE_BATCH_SIZE);
    entry->operation = LEDGER_CREATE_TRANSFERS;
    prepare_seal(prepare);
    message_seal(header, header->version);
}

UNIT_TEST(r8_batch_that_was_not_asked_for_stops_the_member)
{
    trio_begin(NETWORK_SIM_STREAMS, 72);
    expect(trio_answered_within(trio_create(1, 1), TRIO_PATIENCE_MS));
    trio.tamper = other_batch;
    trio.nodes[1].may_fail = true;
    const struct trio_asked *request = trio_create(1, 1);
    trio_steps(500);
    expect(engine_failed(trio.nodes[1].engine));
    expect_equal(request->answers, 1);
    expect_equal(request->request.status, ENGINE_FAILED);
    expect(trio_answered_within(trio_create(2, 1), TRIO_PATIENCE_MS));
    trio_end();
}

UNIT_MAIN(test_replica_forged)

/* ---- Wishes ---------------------------------------------------------------------------------- */

static uint32_t changes_answered;

static void
on_changed(struct engine_change *change)
{
    (void) change;
    changes_answered += 1;
}

/* The primary isn't asked: what it is taken to say comes at once. */
static enum engine_change_result
change_answered_by(enum engine_change_kind kind, uint32_t outcome)
{
    struct replica *replica = &trio.nodes[1].engine->replica;
    struct engine_change change = {.kind = (uint8_t) kind, .name = "x", .callback = on_changed};
    changes_answered = 0;
    engine_change_members(trio.nodes[1].engine, &change);
    const struct message_header header = {
        .command = MESSAGE_WISH_ANSWER,
        .view = replica->view,
        .round = replica->membership->sent_number,
        .as.wish_answer.outcome = (uint8_t) outcome,
    };
    replica_on_wish_answer(replica, trio_slot(TRIO_PRIMARY), &header);
    assert(changes_answered == 1);
    return change.result;
}

/* Whoever asks has words for each answer that a question can have, and for no other. */
UNIT_TEST(answers_to_another_question_say_nothing)
{
    trio_begin(NETWORK_SIM_STREAMS, 74);
    trio_create_many(TRIO_PRIMARY, 1, 1);
    trio_expect_rest(1);
    for (uint32_t outcome = 0; outcome <= UINT8_MAX; outcome++) {
        const enum engine_change_result removed =
            change_answered_by(ENGINE_CHANGE_REMOVE, outcome);
        const enum engine_change_result added = change_answered_by(ENGINE_CHANGE_ADD, outcome);
        expect(removed != ENGINE_CHANGE_EXISTS && removed != ENGINE_CHANGE_FULL);
        expect(removed != ENGINE_CHANGE_LOG && added != ENGINE_CHANGE_SELF);
        if (outcome <= REPLICA_WISH_FAILED) continue;
        expect_equal(removed, ENGINE_CHANGE_FAILED);
        expect_equal(added, ENGINE_CHANGE_FAILED);
    }
    expect_equal(change_answered_by(ENGINE_CHANGE_ADD, REPLICA_WISH_EXISTS), ENGINE_CHANGE_EXISTS);
    expect_equal(change_answered_by(ENGINE_CHANGE_REMOVE, REPLICA_WISH_SELF), ENGINE_CHANGE_SELF);
    trio_end();
}
