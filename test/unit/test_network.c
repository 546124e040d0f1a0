/* SPDX-License-Identifier: PostgreSQL */
/* Nodes that talk: messages arrive whole and in order, or the connection ends and says so. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/units.h"
#include "unit/message_fixture.h"
#include "unit/network_fixture.h"
#include "unit/unit.h"

static void
on_both(uint32_t count, void (*body)(void))
{
    nodes_begin(count, NETWORK_UNIX);
    body();
    nodes_end();
    nodes_begin(count, NETWORK_TLS);
    body();
    nodes_end();
}

static void
three_meet(void)
{
    expect(nodes_until(nodes_all_up));
    nodes_settle(UINT64_C(10) * NS_PER_S);
    expect(nodes_all_up());
    uint32_t connections = 0;
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        connections += nodes[0].os.connections[i].state != CONNECTION_FREE;
    }
    expect_equal(connections, 2);
    expect(!nodes[0].os.network.peers[0].up);
}

UNIT_TEST(three_nodes_meet) { on_both(3, three_meet); }

/* Whoever dials first, and at the same time: in the end there is one connection, of both. */
UNIT_TEST(nodes_that_dial_each_other_agree)
{
    for (uint32_t round = 0; round < 12; round++) {
        nodes_begin(2, round % 4 == 3 ? NETWORK_TLS : NETWORK_UNIX);
        if (round % 2 == 1) {
            nodes[0].os.peers[1].dial_ns = 0;
            nodes[1].os.peers[0].dial_ns = 0;
        }
        expect(nodes_until(nodes_all_up));
        nodes_settle(UINT64_C(2) * NS_PER_S);
        expect(nodes_all_up());
        expect(node_send(0, 1, 1, 400) && node_send(1, 0, 1, 400));
        nodes_settle(UINT64_C(1) * NS_PER_S);
        expect(nodes[0].received[1] == 1 && nodes[1].received[0] == 1);
        expect(nodes[0].ups[1] == nodes[0].downs[1] + 1);
        expect(nodes[1].ups[0] == nodes[1].downs[0] + 1);
        nodes_end();
    }
}

static uint64_t wanted;

static bool
b_has_all(void)
{
    return nodes[1].received[0] == wanted;
}

static bool
a_has_all(void)
{
    return nodes[0].received[1] == wanted;
}

/* Each size near each border of receiving, and random ones, both ways at once. */
static void
all_sizes(void)
{
    struct prng prng;
    prng_init(&prng, 1);
    expect(nodes_until(nodes_all_up));
    const uint32_t borders[] = {PREPARE_HEADER_SIZE, BLOCK_SIZE, 65536, PREPARE_SIZE_MAX};
    wanted = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 400; i++) {
        uint64_t size = prng_range(&prng, PREPARE_HEADER_SIZE, PREPARE_SIZE_MAX);
        if (prng_chance(&prng, 1, 2)) {
            size = borders[prng_below(&prng, 4)] + prng_below(&prng, 300) - 150;
        }
        size = max_u64(PREPARE_HEADER_SIZE, min_u64(size, PREPARE_SIZE_MAX));
        if (size > PREPARE_HEADER_SIZE) size = max_u64(size, PREPARE_HEADER_SIZE + EVENT_SIZE);
        wanted += 1;
        bytes += MESSAGE_HEADER_SIZE + size;
        while (!node_send(0, 1, wanted, (uint32_t) size)) (void) nodes_poll();
        while (!node_send(1, 0, wanted, (uint32_t) size)) (void) nodes_poll();
    }
    expect(nodes_until(b_has_all) && nodes_until(a_has_all));
    expect(nodes_until(nodes_buffers_free));
    expect_equal(nodes[1].received_bytes[0], bytes);
    expect_equal(nodes[0].received_bytes[1], bytes);
    expect_equal(nodes[0].sent_whole, wanted);
    expect_equal(nodes[0].sent_lost, 0);
}

UNIT_TEST(messages_of_all_sizes_arrive_in_order) { on_both(2, all_sizes); }

static void
all_commands(void)
{
    struct prng prng;
    prng_init(&prng, 2);
    expect(nodes_until(nodes_all_up));
    wanted = 0;
    for (uint8_t command = MESSAGE_REQUEST; command < MESSAGE_COMMAND_COUNT; command++) {
        if (command == MESSAGE_PREPARE) continue;
        while (!node_send_command(0, 1, command, &prng)) (void) nodes_poll();
        wanted += 1;
    }
    expect(nodes_until(b_has_all));
}

UNIT_TEST(messages_of_all_commands_arrive) { on_both(2, all_commands); }

/* One message, lent to both peers: it is theirs until both are done with it. */
static void
one_to_both(void)
{
    expect(nodes_until(nodes_all_up));
    struct node *node = &nodes[0];
    struct message *message = message_pool_get(&node->pool, MESSAGE_LARGE);
    message_fixture_prepare(message->header, 1, PREPARE_SIZE_MAX);
    (void) message_reference(message);
    expect(network_send(&node->os.network, 1, message));
    expect(network_send(&node->os.network, 2, message));
    wanted = 1;
    expect(nodes_until(b_has_all));
    expect(nodes_until(nodes_buffers_free));
    expect_equal(nodes[2].received[0], 1);
    expect_equal(node->sent_whole, 2);
}

UNIT_TEST(one_message_goes_to_several_peers) { on_both(3, one_to_both); }

static void
queue_fills(void)
{
    expect(nodes_until(nodes_all_up));
    network_pause(&nodes[1].os.network, 0, true);
    /* What the kernel takes comes back and is sent; the rest stays in the queue. */
    wanted = 0;
    for (uint32_t idle = 0; idle < 50;) {
        const bool sent = node_send(0, 1, wanted + 1, PREPARE_SIZE_MAX);
        if (sent) {
            wanted += 1;
            idle = 0;
        } else {
            idle += nodes_poll() == 0;
        }
    }
    const struct network_peer *peer = &nodes[0].os.network.peers[1];
    expect(peer->queued_large <= NETWORK_QUEUE_LARGE_MAX && peer->queued <= NETWORK_QUEUE_MAX);
    expect(peer->queued > 0);
    expect_equal(nodes[1].received[0], 0);
    expect(nodes_all_up());
    network_pause(&nodes[1].os.network, 0, false);
    expect(nodes_until(b_has_all));
    expect_equal(nodes[1].downs[0], 0);
}

UNIT_TEST(a_full_queue_says_so_and_loses_nothing) { on_both(2, queue_fills); }

static bool
a_has_the_answers(void)
{
    return nodes[0].received[1] == wanted;
}

/* There is room for the answer to each message of many that one poll receives. */
static void
all_are_answered(void)
{
    nodes_settle(UINT64_C(2) * NS_PER_S);
    nodes[1].answers = true;
    for (wanted = 0; wanted < 3 * NETWORK_QUEUE_MAX; wanted++) {
        expect(node_send(0, 1, wanted + 1, 400));
        (void) network_poll(&nodes[0].os.network);
    }
    expect(nodes_until(a_has_the_answers));
    expect_equal(nodes[1].refused_count, 0);
}

UNIT_TEST(each_of_many_messages_can_be_answered) { on_both(2, all_are_answered); }

static bool
b_keeps_many(void)
{
    return nodes[1].kept_count == SMALL_BUFFERS;
}

/* Nobody waits for a buffer but the connection itself; a heartbeat's worth of time goes by. */
static void
pool_empties(void)
{
    expect(nodes_until(nodes_all_up));
    nodes[1].keeps = true;
    wanted = 0;
    while (!b_keeps_many()) {
        if (node_send(0, 1, wanted + 1, 400)) wanted += 1;
        (void) nodes_poll();
    }
    for (uint32_t i = 0; i < 20; i++) wanted += node_send(0, 1, wanted + 1, 400);
    nodes_settle(UINT64_C(10) * NS_PER_S);
    expect(nodes_all_up());
    expect_equal(nodes[1].received[0], SMALL_BUFFERS);
    expect(network_os_deadline_ns(&nodes[1].os) > fixture_now_ns());
    nodes[1].keeps = false;
    node_release_kept(1);
    /* Whoever gave it back, and when: the host that asks is told not to sleep. */
    expect(network_os_deadline_ns(&nodes[1].os) <= fixture_now_ns());
    expect(nodes_until(b_has_all));
    expect_equal(nodes[1].downs[0], 0);
}

UNIT_TEST(an_empty_pool_holds_the_sender_up) { on_both(2, pool_empties); }

static bool
a_has_nobody(void)
{
    return !nodes[0].os.network.peers[1].up && nodes[0].downs[1] > 0;
}

/* The peer goes while messages are on their way, some of them in half. */
static void
peer_dies(void)
{
    for (uint32_t round = 1; round <= 5; round++) {
        expect(nodes_until(nodes_all_up));
        network_pause(&nodes[1].os.network, 0, true);
        uint64_t op = 1;
        for (uint32_t idle = 0; idle < 20;) {
            if (node_send(0, 1, op, PREPARE_SIZE_MAX)) {
                op += 1;
            } else {
                idle += nodes_poll() == 0;
            }
        }
        const uint64_t lost = nodes[0].sent_lost;
        const uint32_t queued = nodes[0].os.network.peers[1].queued;
        expect(queued > 0);
        node_close(1);
        expect(nodes_until(a_has_nobody));
        expect_equal(nodes[0].sent_lost - lost, queued);
        expect_equal(nodes[0].os.network.peers[1].queued, 0);
        expect(!node_send(0, 1, op, 400));
        expect_equal(nodes[0].downs[1], round);
        expect(nodes_buffers_free());
        network_node_open(1);
    }
    expect(nodes_until(nodes_all_up));
    wanted = nodes[1].received[0] + 1;
    expect(node_send(0, 1, 1, 5000));
    expect(nodes_until(b_has_all));
}

UNIT_TEST(a_peer_that_dies_gives_everything_back) { on_both(2, peer_dies); }

static bool
b_is_refused(void)
{
    return nodes[1].bye_reason[0] != 0;
}

/* The reason comes to the other end, behind a message that was begun. */
static void
close_with_bye(void)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_INCARNATION, .known.fence = 9};
    nodes_settle(UINT64_C(2) * NS_PER_S);
    expect(nodes_all_up());
    const uint32_t downs = nodes[0].downs[1];
    wanted = 0;
    for (uint32_t i = 0; i < 10; i++) wanted += node_send(0, 1, wanted + 1, PREPARE_SIZE_MAX);
    network_close(&nodes[0].os.network, 1, &bye, MESSAGE_FOREVER);
    expect(!node_send(0, 1, 20, 400));
    expect_equal(nodes[0].downs[1], downs); /* Told by the next poll, which is due. */
    expect(network_os_deadline_ns(&nodes[0].os) <= fixture_now_ns());
    expect(nodes_until(b_is_refused));
    expect_equal(nodes[1].bye_reason[0], MESSAGE_BYE_INCARNATION);
    expect_equal(nodes[1].bye_flags[0], MESSAGE_FOREVER);
    expect_equal(nodes[0].sent_whole + nodes[0].sent_lost, wanted);
    expect(nodes[1].received[0] <= nodes[0].sent_whole);
    expect_equal(nodes[0].downs[1], downs + 1);
    /* Whether to talk again is for the replica to say: the network dials. */
    expect(nodes_until(nodes_all_up));
}

UNIT_TEST(a_bye_says_why) { on_both(2, close_with_bye); }

/*
 * It has said why, and is gone, before its peer finds that it can't be written to; and before the
 * bye are more messages than one poll receives. (TCP may throw away what was received when the
 * other end is gone; then the reason is told when it is dialled again.)
 */
UNIT_TEST(a_bye_is_read_although_writing_fails)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_REMOVED};
    nodes_begin(2, NETWORK_UNIX);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    expect(nodes_all_up());
    for (uint32_t i = 1; i <= 100; i++) {
        expect(node_send(1, 0, i, 400));
        (void) network_poll(&nodes[1].os.network);
    }
    const uint64_t before_ns = network_os_deadline_ns(&nodes[1].os);
    network_close(&nodes[1].os.network, 0, &bye, MESSAGE_FOREVER);
    expect(before_ns > fixture_now_ns());
    expect(network_os_deadline_ns(&nodes[1].os) <= fixture_now_ns());
    (void) network_poll(&nodes[1].os.network);
    for (uint32_t i = 1; i <= 5; i++) expect(node_send(0, 1, i, 5000));
    while (nodes[0].downs[1] == 0) (void) network_poll(&nodes[0].os.network);
    expect_equal(nodes[0].received[1], 100);
    expect_equal(nodes[0].bye_reason[1], MESSAGE_BYE_REMOVED);
    expect_equal(nodes[0].bye_flags[1], MESSAGE_FOREVER);
    expect(nodes_until(nodes_buffers_free));
    nodes_end();
}

/* ---- Who is refused -------------------------------------------------------------------------- */

/* Both ends see it, and both say so; neither is ever up. */
static void
refused_for(uint8_t reason)
{
    nodes_settle(UINT64_C(3) * NS_PER_S);
    for (uint32_t i = 0; i < 2; i++) {
        char text[256] = "";
        expect(network_os_notice(&nodes[i].os, text, sizeof(text)));
        expect(strstr(text, message_bye_text(reason)) != NULL);
        expect(strstr(text, message_bye_hint(reason)) != NULL);
        expect(strstr(text, nodes[1 - i].name) != NULL);
        expect_equal(nodes[i].ups[1 - i], 0);
    }
}

static void
other_cluster(void)
{
    nodes[1].cluster = CLUSTER + 1;
    refused_for(MESSAGE_BYE_CLUSTER);
}

static void
other_build(void)
{
    nodes[1].fingerprint += 1;
    refused_for(MESSAGE_BYE_FINGERPRINT);
}

static void
other_ring(void)
{
    nodes[1].ring *= 2;
    refused_for(MESSAGE_BYE_RING);
}

UNIT_TEST(another_cluster_is_refused) { on_both(2, other_cluster); }
UNIT_TEST(another_build_is_refused) { on_both(2, other_build); }
UNIT_TEST(another_size_of_the_log_is_refused) { on_both(2, other_ring); }

UNIT_MAIN(test_network)
