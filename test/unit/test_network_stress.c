/* SPDX-License-Identifier: PostgreSQL */
/*
 * Three nodes on the real clock, to which everything happens that may: closes, pauses, pools
 * without a buffer, messages that are half written, bytes of strangers, all at random.
 *
 * A node is polled when its descriptor is readable or its deadline has come, and never else: a
 * wake-up that gets lost leaves a node asleep. The fixture checks that each connection brings a
 * prefix of what was sent on it, in order. At the end nothing more is done to them, and all must
 * come together by themselves: everybody up, everything that is sent there, all buffers free. That
 * is waited for, for STUCK_NS at most; how long it takes is not measured.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/units.h"
#include "unit/network_fixture.h"
#include "unit/unit.h"

#define NODES    3
#define ACTIONS  3000
#define STUCK_NS (UINT64_C(20) * NS_PER_S)

static struct prng prng;
static uint64_t sent_count;

/* ---- Polling --------------------------------------------------------------------------------- */

/* Waits until somebody has something to do, or for so long; lets those do it. */
static void
poll_those_woken(uint64_t most_ns)
{
    struct pollfd fds[NODES];
    const uint64_t now = fixture_now_ns();
    uint64_t deadline = now + most_ns;
    for (uint32_t i = 0; i < NODES; i++) {
        fds[i] = (struct pollfd){.fd = network_os_wait_fd(&nodes[i].os), .events = POLLIN};
        deadline = min_u64(deadline, network_os_deadline_ns(&nodes[i].os));
    }
    const uint64_t wait_ns = deadline > now ? deadline - now : 0;
    const int count = poll(fds, NODES, (int) div_ceil(wait_ns, NS_PER_MS));
    expect(count >= 0 || errno == EINTR);
    for (uint32_t i = 0; i < NODES; i++) {
        const bool due = network_os_deadline_ns(&nodes[i].os) <= fixture_now_ns();
        if (due || (count > 0 && fds[i].revents != 0)) (void) network_poll(&nodes[i].os.network);
    }
}

/* ---- What happens to them -------------------------------------------------------------------- */

static void
send_one(uint32_t from, uint32_t to)
{
    struct node *node = &nodes[from];
    uint64_t size = PREPARE_HEADER_SIZE + prng_range(&prng, EVENT_SIZE, 3 * EVENT_SIZE);
    if (prng_chance(&prng, 1, 3)) size = prng_range(&prng, BLOCK_SIZE, PREPARE_SIZE_MAX);
    if (!node_send(from, to, node->op_sent[to] + 1, (uint32_t) size)) return;
    node->op_sent[to] += 1;
    sent_count += 1;
}

/* Somebody who says too little, or nothing, and goes. */
static void
stranger(uint32_t to)
{
    const int fd = raw_connect(to);
    if (fd < 0) return;
    (void) send(fd, "LEDGER", prng_below(&prng, 7), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void) close(fd);
}

static void
act(void)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_SHUTDOWN};
    const uint32_t from = (uint32_t) prng_below(&prng, NODES);
    const uint32_t to = (from + 1 + (uint32_t) prng_below(&prng, NODES - 1)) % NODES;
    struct network *network = &nodes[from].os.network;
    const uint64_t kind = prng_below(&prng, 200);
    if (kind < 130) {
        for (uint64_t i = prng_below(&prng, 12); i > 0; i--) send_one(from, to);
    } else if (kind < 160) {
        network_pause(network, to, prng_chance(&prng, 1, 2));
    } else if (kind < 185) {
        /* At most the small ones: what comes next may find its pool empty. */
        nodes[from].keeps = prng_chance(&prng, 1, 2);
        if (!nodes[from].keeps) node_release_kept(from);
    } else if (kind < 190) {
        network_close(network, to, &bye, 0);
    } else if (kind < 192) {
        node_close(from);
        network_node_open(from);
    } else {
        stranger(to);
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

static bool
all_arrived(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        for (uint32_t j = 0; j < NODES; j++) {
            const uint64_t sent = nodes[i].op_sent[j];
            if (i != j && (sent == 0 || nodes[j].op_last[i] != sent)) return false;
        }
    }
    return nodes_all_up() && nodes_buffers_free();
}

/*
 * Who is up says more, on each connection, as whoever waits for an answer must: so much that it
 * isn't taken at once.
 */
static void
say_more(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        for (uint32_t j = 0; j < NODES; j++) {
            if (i == j || nodes[i].op_sent[j] > 0) continue;
            while (node_send(i, j, nodes[i].op_sent[j] + 1, PREPARE_SIZE_MAX)) {
                nodes[i].op_sent[j] += 1;
                sent_count += 1;
            }
        }
    }
}

static void
come_together(void)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_SHUTDOWN};
    const uint64_t end_ns = fixture_now_ns() + STUCK_NS;
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i].keeps = false;
        node_release_kept(i);
        for (uint32_t j = 0; j < NODES; j++) network_pause(&nodes[i].os.network, j, false);
    }
    for (uint32_t i = 0; i < NODES; i++) {
        for (uint32_t j = 0; j < NODES; j++) {
            if (i != j && prng_chance(&prng, 1, 2)) network_close(&nodes[i].os.network, j, &bye, 0);
        }
    }
    while (!all_arrived() && fixture_now_ns() < end_ns) {
        say_more();
        poll_those_woken(end_ns - min_u64(end_ns, fixture_now_ns()));
    }
    expect(all_arrived());
}

static void
stress(enum network_transport transport, uint64_t seed)
{
    prng_init(&prng, seed);
    sent_count = 0;
    fixture_clock_real(true);
    nodes_begin(NODES, transport);
    for (uint32_t i = 0; i < NODES; i++) nodes[i].from_one = true;
    for (uint32_t i = 0; i < ACTIONS; i++) {
        act();
        poll_those_woken(prng_chance(&prng, 1, 4) ? NS_PER_MS : 0);
        if (i % (ACTIONS / 4) == ACTIONS / 4 - 1) come_together();
    }
    uint64_t returned = 0;
    for (uint32_t i = 0; i < NODES; i++) returned += nodes[i].sent_whole + nodes[i].sent_lost;
    expect(returned > 0 && returned <= sent_count);
    nodes_end();
    fixture_clock_real(false);
}

UNIT_TEST(nobody_sleeps_for_ever_over_unix_sockets) { stress(NETWORK_UNIX, 1); }
UNIT_TEST(nobody_sleeps_for_ever_over_tls) { stress(NETWORK_TLS, 2); }

UNIT_MAIN(test_network_stress)
