/* SPDX-License-Identifier: PostgreSQL */
/* The list of nodes while nodes are connected, and where their hosts are: see network_os.h. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "os/network_os.h"

/* ---- Where a node is ------------------------------------------------------------------------- */

/* What isn't found stays where it was. */
static void
look_up(struct network_os *os, uint32_t number)
{
    struct network_os_peer *peer = &os->peers[number];
    struct network_target targets[NETWORK_TARGETS_MAX];
    char who[NETWORK_NAME_SIZE + 8];
    char why[NETWORK_REASON_SIZE];
    const uint32_t count = network_resolve(&peer->address, targets, why, sizeof(why));
    peer->looked_up_ns = clock_monotonic_ns(os->clock);
    if (count == 0) {
        (void) snprintf(who, sizeof(who), "node \"%s\"", peer->name);
        network_os_refused(os, who, why);
        return;
    }
    memcpy(peer->targets, targets, count * sizeof(targets[0]));
    peer->target_count = count;
    peer->target_next = 0;
}

static bool
is_lost(const struct network_os *os, uint32_t number)
{
    const struct network_os_peer *peer = &os->peers[number];
    const uint64_t since = max_u64(peer->lost_ns, peer->looked_up_ns);
    return number != os->self && peer->listed && peer->connection == NETWORK_CONNECTIONS_MAX &&
           network_address_by_name(&peer->address) &&
           clock_monotonic_ns(os->clock) - since >= NETWORK_LOOK_UP_NS;
}

bool
network_os_look_up(struct network_os *os)
{
    assert(!os->network.polling);
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        if (!is_lost(os, i)) continue;
        look_up(os, i);
        return true;
    }
    return false;
}

/* ---- The list -------------------------------------------------------------------------------- */

/* The jitter of the first dialling keeps nodes that are started together from dialling together. */
static void
dial_soon(struct network_os *os, uint32_t number)
{
    struct network_os_peer *peer = &os->peers[number];
    const uint64_t wait_ns = prng_below(&os->prng, NETWORK_DIAL_MIN_NS);
    peer->backoff_ns = NETWORK_DIAL_MIN_NS;
    peer->dial_ns =
        clock_monotonic_ns(os->clock) + wait_ns + network_os_courtesy_ns(os, number);
}

void
network_os_enlist(struct network_os *os, uint32_t peer, const struct network_node *node)
{
    struct network_os_peer *state = &os->peers[peer];
    assert(!state->listed && os->network.peers[peer].queued == 0);
    os->network.peers[peer] = (struct network_peer){0};
    *state = (struct network_os_peer){
        .listed = true,
        .address = node->address,
        .connection = NETWORK_CONNECTIONS_MAX,
        .lost_ns = clock_monotonic_ns(os->clock),
    };
    memcpy(state->name, node->name, sizeof(state->name));
    if (peer == os->self) return;
    look_up(os, peer);
    dial_soon(os, peer);
}

/* Does anything still belong to the number's last owner? */
static bool
is_vacant(const struct network_os *os, uint32_t number)
{
    const struct network_os_peer *peer = &os->peers[number];
    if (peer->listed || peer->down_pending || os->network.peers[number].queued > 0) return false;
    assert(peer->connection == NETWORK_CONNECTIONS_MAX);
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        const struct network_connection *connection = &os->connections[i];
        if (connection->state == CONNECTION_FREE) continue;
        if (connection->peer == number || connection->dialled_peer == number) return false;
    }
    return true;
}

/* A number that is free, and not in `taken`, a bit for each; its old one, if it had one. */
static uint32_t
free_number(const struct network_os *os, const char *name, uint32_t taken)
{
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        const bool same = strcmp(os->peers[i].name, name) == 0;
        if (same && (taken >> i & 1) == 0 && is_vacant(os, i)) return i;
    }
    for (uint32_t i = os->network.peer_count; i < os->network.peer_max; i++) {
        if ((taken >> i & 1) == 0) return i;
    }
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        if ((taken >> i & 1) == 0 && is_vacant(os, i)) return i;
    }
    return NETWORK_PEERS_MAX;
}

/* Who gets which number; changes nothing. */
static bool
number_nodes(
    const struct network_os *os,
    const struct network_nodes *nodes,
    uint32_t numbers[NETWORK_PEERS_MAX],
    char *text,
    size_t text_size)
{
    uint32_t taken = 0;
    if (nodes->count > os->network.peer_max) {
        (void) snprintf(
            text,
            text_size,
            "it has %u nodes, and memory was taken for %u: it is taken for more at the next start",
            nodes->count,
            os->network.peer_max);
        return false;
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        numbers[i] = network_os_find(os, nodes->nodes[i].name);
        if (numbers[i] < NETWORK_PEERS_MAX) taken |= 1U << numbers[i];
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (numbers[i] < NETWORK_PEERS_MAX) continue;
        numbers[i] = free_number(os, nodes->nodes[i].name, taken);
        if (numbers[i] == NETWORK_PEERS_MAX) {
            (void) snprintf(
                text,
                text_size,
                "there is no room for node \"%s\" yet: take the nodes that are to go out of the "
                "list first, then add it",
                nodes->nodes[i].name);
            return false;
        }
        taken |= 1U << numbers[i];
    }
    return true;
}

static void
strike(struct network_os *os, uint32_t number)
{
    network_os_drop(os, number, MESSAGE_BYE_NAME);
    os->peers[number].listed = false;
    os->peers[number].target_count = 0; /* Nor is it dialled. */
}

static void
move(struct network_os *os, uint32_t number, const struct network_address *address)
{
    struct network_os_peer *peer = &os->peers[number];
    peer->address = *address;
    if (number == os->self) return;
    peer->target_count = 0;
    look_up(os, number);
    if (peer->connection == NETWORK_CONNECTIONS_MAX) {
        /* What is being dialled is where it was. */
        network_os_drop(os, number, MESSAGE_BYE_NAME);
        dial_soon(os, number);
    }
}

bool
network_os_reload_nodes(
    struct network_os *os, const struct network_nodes *nodes, char *text, size_t text_size)
{
    uint32_t numbers[NETWORK_PEERS_MAX];
    uint32_t staying = 0;
    assert(!os->network.polling);
    const uint32_t self = network_nodes_find(nodes, os->peers[os->self].name);
    if (self == NETWORK_PEERS_MAX) {
        (void) snprintf(
            text, text_size, "node \"%s\" is not in the list of nodes", os->peers[os->self].name);
        return false;
    }
    if (!number_nodes(os, nodes, numbers, text, text_size)) return false;
    if (!network_os_prepare_transports(os, nodes, NULL, text, text_size)) return false;
    const struct network_address *own = &nodes->nodes[self].address;
    if (os->listen_own && !network_address_equal(own, &os->peers[os->self].address) &&
        !network_os_listen(os, own, text, text_size)) {
        return false;
    }
    /* From here on nothing fails. */
    for (uint32_t i = 0; i < nodes->count; i++) staying |= 1U << numbers[i];
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        if (os->peers[i].listed && (staying >> i & 1) == 0) strike(os, i);
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        const struct network_node *node = &nodes->nodes[i];
        const struct network_os_peer *peer = &os->peers[numbers[i]];
        os->network.peer_count =
            (uint32_t) max_u64(os->network.peer_count, (uint64_t) numbers[i] + 1);
        if (!peer->listed) {
            network_os_enlist(os, numbers[i], node);
        } else if (!network_address_equal(&peer->address, &node->address)) {
            move(os, numbers[i], &node->address);
        }
    }
    return true;
}
