/* SPDX-License-Identifier: PostgreSQL */
/* Who the nodes are may change while they are connected: guests join, lists are changed. */
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/units.h"
#include "unit/network_fixture.h"
#include "unit/unit.h"

static uint64_t wanted;

static bool
a_has_all(void)
{
    return nodes[0].received[1] == wanted;
}

static bool
b_has_all(void)
{
    return nodes[1].received[0] == wanted;
}

static void
talk(void)
{
    wanted = nodes[1].received[0] + 1;
    expect(node_send(0, 1, nodes[1].op_last[0] + 1, 400));
    expect(nodes_until(b_has_all));
    wanted = nodes[0].received[1] + 1;
    expect(node_send(1, 0, nodes[0].op_last[1] + 1, 400));
    expect(nodes_until(a_has_all));
}

static void
on_both(void (*body)(void))
{
    nodes_begin(3, NETWORK_UNIX);
    body();
    nodes_end();
    nodes_begin(3, NETWORK_TLS);
    body();
    nodes_end();
}

/* The connection to a peer that is up. */
static const struct network_connection *
connection_to(uint32_t index, uint32_t peer)
{
    const uint32_t number = nodes[index].os.peers[peer].connection;
    assert(number < NETWORK_CONNECTIONS_MAX);
    return &nodes[index].os.connections[number];
}

/* ---- Guests ---------------------------------------------------------------------------------- */

/* Who was never a member doesn't know the cluster, is let in, and is told what it needs. */
static void
guest(void)
{
    struct prng prng;
    prng_init(&prng, 1);
    nodes[1].cluster = 0;
    expect(nodes_until(nodes_all_up));
    wanted = 2;
    expect(node_send_command(0, 1, MESSAGE_CHECKPOINT, &prng));
    expect(node_send(0, 1, 1, 400));
    expect(nodes_until(b_has_all));
    expect_equal(nodes[1].downs[0], 0);
    /* Then it comes as a member, at each of them. */
    const struct message_bye bye = {.reason = MESSAGE_BYE_SHUTDOWN};
    nodes[1].cluster = CLUSTER;
    network_close(&nodes[1].os.network, 0, &bye, 0);
    network_close(&nodes[1].os.network, 2, &bye, 0);
    expect(!nodes_all_up());
    expect(nodes_until(nodes_all_up));
    expect_equal(connection_to(0, 1)->heard.header.cluster, CLUSTER);
    talk();
}

UNIT_TEST(a_guest_is_let_in_and_becomes_a_member) { on_both(guest); }

static void
two_guests(void)
{
    nodes[1].cluster = 0;
    nodes[2].cluster = 0;
    nodes_settle(UINT64_C(3) * NS_PER_S);
    expect(nodes_all_up());
    expect_equal(nodes[1].downs[2] + nodes[2].downs[1], 0);
    wanted = 1;
    expect(node_send(0, 1, 1, 400));
    expect(nodes_until(b_has_all));
}

UNIT_TEST(two_guests_do_not_mind_each_other) { on_both(two_guests); }

static bool
b_has_said_hello(void)
{
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        const struct network_connection *connection = &nodes[1].os.connections[i];
        const bool said =
            connection->own_written > 0 && connection->own_written == connection->own_size;
        if (connection->state == CONNECTION_GREETING && said) return true;
    }
    return false;
}

/* The guest becomes a member between its hello and the other's. */
static void
in_between(void)
{
    nodes[1].cluster = 0;
    while (!b_has_said_hello()) {
        (void) nodes_poll();
        fixture_advance_ns(NS_PER_MS);
    }
    nodes[1].cluster = CLUSTER;
    expect(nodes_until(nodes_all_up));
    nodes_settle(NS_PER_S);
    expect(nodes_all_up());
    expect_equal(connection_to(1, 0)->own.header.cluster, CLUSTER);
    expect_equal(connection_to(1, 2)->own.header.cluster, CLUSTER);
    talk();
}

UNIT_TEST(nobody_is_up_as_who_it_was_before) { on_both(in_between); }

/* ---- Another list of nodes ------------------------------------------------------------------- */

static void
strike(struct network_nodes *list, uint32_t index)
{
    list->count -= 1;
    for (uint32_t i = index; i < list->count; i++) list->nodes[i] = list->nodes[i + 1];
}

static void
set_path(struct network_address *address, const char *name)
{
    *address = (struct network_address){.transport = NETWORK_UNIX};
    (void) snprintf(address->place, sizeof(address->place), "%s/%s", fixture_folder, name);
}

static void
append(struct network_nodes *list, const char *name)
{
    struct network_node *node = &list->nodes[list->count];
    assert(list->count < NETWORK_PEERS_MAX);
    memset(node, 0, sizeof(*node));
    (void) snprintf(node->name, sizeof(node->name), "%s", name);
    set_path(&node->address, name);
    list->count += 1;
}

static bool
c_is_refused(void)
{
    return nodes[2].bye_reason[0] == MESSAGE_BYE_NAME;
}

static bool
a_and_c_are_up(void)
{
    return nodes[0].os.network.peers[2].up && nodes[2].os.network.peers[0].up;
}

static void
removed_and_added(void)
{
    struct network_nodes list;
    char text[NETWORK_NOTICE_SIZE] = "";
    nodes_settle(UINT64_C(2) * NS_PER_S);
    expect(nodes_all_up());
    const uint32_t downs = nodes[0].downs[1];
    const uint32_t c_downs = nodes[0].downs[2];
    nodes_list(&list);
    strike(&list, 2);
    node_reload(0, &list);
    expect(!nodes[0].os.network.peers[2].up);
    expect(nodes_until(c_is_refused));
    expect_equal(nodes[0].downs[2], c_downs + 1);
    nodes_settle(UINT64_C(4) * NS_PER_S);
    expect_equal(nodes[0].downs[2], c_downs + 1);
    expect(nodes[0].os.network.peers[1].up && nodes[0].downs[1] == downs);
    expect(nodes[2].os.network.peers[1].up);
    /* Both know why, and what to do. */
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(strstr(text, "node \"c\": the name is not in the list") != NULL);
    expect(strstr(text, "set ledger.nodes") != NULL);
    expect(network_os_notice(&nodes[2].os, text, sizeof(text)));
    expect(strstr(text, "node \"a\": it refuses this node: the name is not in") != NULL);
    /* It gets its old number. */
    nodes_list(&list);
    node_reload(0, &list);
    expect_equal(nodes[0].os.network.peer_count, 3);
    expect(nodes_until(nodes_all_up));
    expect_equal(nodes[0].downs[1], downs);
    talk();
}

UNIT_TEST(a_node_is_taken_out_of_the_list_and_put_back) { on_both(removed_and_added); }

/* Also where the node listens itself. Nobody who is connected notices. */
UNIT_TEST(a_node_moves)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_SHUTDOWN};
    struct network_nodes list;
    char old[NETWORK_PLACE_SIZE];
    nodes_begin(3, NETWORK_UNIX);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    uint32_t downs = 0;
    for (uint32_t i = 0; i < 3; i++) downs += nodes[i].downs[0] + nodes[i].downs[1];
    nodes_list(&list);
    memcpy(old, list.nodes[2].address.place, sizeof(old));
    set_path(&list.nodes[2].address, "moved");
    for (uint32_t i = 0; i < 3; i++) node_reload(i, &list);
    expect(access(old, F_OK) != 0);
    expect_equal(access(list.nodes[2].address.place, F_OK), 0);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    for (uint32_t i = 0; i < 3; i++) downs -= nodes[i].downs[0] + nodes[i].downs[1];
    expect(nodes_all_up() && downs == 0);
    /* Then it is dialled where it is now. */
    network_close(&nodes[0].os.network, 2, &bye, 0);
    expect(nodes_until(a_and_c_are_up));
    nodes_settle(UINT64_C(2) * NS_PER_S);
    expect_equal(connection_to(0, 2)->dialled_peer, 2);
    expect(a_and_c_are_up());
    nodes_end();
}

/* While a node is being dialled where it was: it is dialled anew at once. */
UNIT_TEST(a_node_moves_that_is_not_there)
{
    struct network_nodes list;
    nodes_begin(3, NETWORK_UNIX);
    node_close(2);
    nodes_settle(UINT64_C(5) * NS_PER_S);
    expect(nodes[0].os.network.peers[1].up && !nodes[0].os.network.peers[2].up);
    nodes_list(&list);
    append(&list, "c2");
    list.nodes[2].address = list.nodes[3].address;
    list.count -= 1;
    node_reload(0, &list);
    const uint64_t now = fixture_now_ns();
    expect(nodes[0].os.peers[2].dial_ns <= now + 2 * NETWORK_DIAL_MIN_NS);
    const struct sockaddr_un *name =
        (const struct sockaddr_un *) (const void *) &nodes[0].os.peers[2].targets[0].address;
    expect(strcmp(name->sun_path, list.nodes[2].address.place) == 0);
    network_node_open(2);
    expect(nodes_until(a_and_c_are_up)); /* It dials, too. */
    nodes_end();
}

/* What can't be taken over leaves everything as it was. */
UNIT_TEST(a_wrong_list_changes_nothing)
{
    struct network_nodes list;
    char text[256] = "";
    nodes_begin(3, NETWORK_UNIX);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    struct network_os *os = &nodes[0].os;
    nodes_list(&list);
    strike(&list, 0);
    expect(!network_os_reload_nodes(os, &list, text, sizeof(text)));
    expect(strstr(text, "node \"a\" is not in the list") != NULL);
    nodes_list(&list);
    strike(&list, 2);
    list.nodes[1].address = (struct network_address){.transport = NETWORK_TLS, .port = 1};
    expect(!network_os_reload_nodes(os, &list, text, sizeof(text)));
    expect(strstr(text, "secret file") != NULL);
    nodes_list(&list);
    strike(&list, 2);
    set_path(&list.nodes[0].address, "none/a");
    expect(!network_os_reload_nodes(os, &list, text, sizeof(text)));
    expect(strstr(text, "there is no such folder") != NULL);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    expect(nodes_all_up());
    char path[NETWORK_PLACE_SIZE];
    (void) snprintf(path, sizeof(path), "%s/a.sock", fixture_folder);
    expect_equal(access(path, F_OK), 0);
    nodes_end();
}

/* There are twelve numbers. One that is free again is given to who is new. */
UNIT_TEST(numbers_are_used_again)
{
    struct network_nodes list;
    char text[256] = "";
    nodes_begin(3, NETWORK_UNIX);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    nodes_list(&list);
    strike(&list, 2);
    for (char c = 'd'; list.count < NETWORK_PEERS_MAX; c++) append(&list, (char[]){c, 0});
    /* That is nine more, and one of them instead of c, who hasn't let go. */
    network_pause(&nodes[2].os.network, 0, true);
    for (uint32_t i = 1; i <= NETWORK_QUEUE_MAX; i++) (void) node_send(0, 2, i, PREPARE_SIZE_MAX);
    expect(nodes[0].os.network.peers[2].queued > 0);
    expect(!network_os_reload_nodes(&nodes[0].os, &list, text, sizeof(text)));
    expect(strstr(text, "there is no room for node \"m\" yet") != NULL);
    expect(nodes_all_up());
    list.count -= 1;
    node_reload(0, &list);
    expect_equal(nodes[0].os.network.peer_count, NETWORK_PEERS_MAX);
    /* Out of the list, it still has what was sent to it. */
    append(&list, "m");
    expect(!network_os_reload_nodes(&nodes[0].os, &list, text, sizeof(text)));
    list.count -= 1;
    nodes_settle(UINT64_C(4) * NS_PER_S);
    expect(nodes[0].os.network.peers[1].up && !nodes[0].os.network.peers[2].up);
    expect_equal(network_os_find(&nodes[0].os, "c"), NETWORK_PEERS_MAX);
    append(&list, "m");
    node_reload(0, &list);
    expect_equal(network_os_find(&nodes[0].os, "m"), 2);
    expect_equal(network_os_find(&nodes[0].os, "b"), 1);
    network_pause(&nodes[2].os.network, 0, false);
    talk();
    nodes_end();
}

/* For more nodes than the list may have, nobody has taken memory. Who goes makes room. */
UNIT_TEST(a_list_has_a_bound)
{
    struct network_nodes list;
    char text[256] = "";
    nodes_begin(3, NETWORK_UNIX);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    nodes[0].os.network.peer_max = 3;
    nodes_list(&list);
    append(&list, "d");
    expect(!network_os_reload_nodes(&nodes[0].os, &list, text, sizeof(text)));
    expect(strstr(text, "it has 4 nodes, and memory was taken for 3") != NULL);
    expect(nodes_all_up());
    strike(&list, 2);
    expect(!network_os_reload_nodes(&nodes[0].os, &list, text, sizeof(text)));
    expect(strstr(text, "there is no room for node \"d\" yet") != NULL);
    list.count -= 1;
    node_reload(0, &list);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    append(&list, "d");
    node_reload(0, &list);
    expect_equal(network_os_find(&nodes[0].os, "d"), 2);
    expect_equal(nodes[0].os.network.peer_count, 3);
    talk();
    nodes_end();
}

static bool
a_and_b_are_up(void)
{
    return nodes[0].os.network.peers[1].up && nodes[1].os.network.peers[0].up;
}

/* A host's name may mean another machine by now; a number doesn't. */
UNIT_TEST(hosts_are_looked_up_again)
{
    struct network_nodes list;
    nodes_begin(3, NETWORK_TLS);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    struct network_os *os = &nodes[0].os;
    nodes_list(&list);
    (void) snprintf(
        list.nodes[1].address.place, sizeof(list.nodes[1].address.place), "localhost");
    node_reload(0, &list);
    expect(!network_os_look_up(os));
    node_close(1);
    node_close(2);
    nodes_settle(NETWORK_LOOK_UP_NS - UINT64_C(3) * NS_PER_S);
    expect(!network_os_look_up(os));
    nodes_settle(UINT64_C(4) * NS_PER_S);
    os->peers[1].target_count = 0; /* It isn't known where it is. */
    expect(network_os_look_up(os));
    expect(os->peers[1].target_count > 0);
    expect(!network_os_look_up(os)); /* Again after as long. */
    fixture_advance_ns(NETWORK_LOOK_UP_NS);
    expect(network_os_look_up(os));
    expect(!network_os_look_up(os));
    network_node_open(1);
    expect(nodes_until(a_and_b_are_up));
    fixture_advance_ns(NETWORK_LOOK_UP_NS);
    expect(!network_os_look_up(os));
    nodes_end();
}

UNIT_MAIN(test_network_nodes)
