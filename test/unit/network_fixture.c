/* SPDX-License-Identifier: PostgreSQL */
/* See network_fixture.h. */
#include "unit/network_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "unit/message_fixture.h"
#include "unit/unit.h"

/* When nothing happens for a moment, the clock goes on by so much. */
#define STEP_NS    (UINT64_C(20) * NS_PER_MS)
#define STEPS_MAX  1500
#define TIMEOUT_MS 2000

struct node nodes[NODES_MAX];
char fixture_folder[64];

static struct network_nodes list;
static uint64_t clock_ns;
static bool clock_real;
static uint64_t seed;

uint64_t
fixture_now_ns(void)
{
    struct timespec now;
    if (!clock_real) return clock_ns;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * NS_PER_S + (uint64_t) now.tv_nsec;
}

void
fixture_clock_real(bool real)
{
    clock_real = real;
}

static uint64_t
fixture_clock_ns(struct clock *unused)
{
    (void) unused;
    return fixture_now_ns();
}

static const struct clock_ops fixture_clock_ops = {
    .realtime_ns = fixture_clock_ns,
    .monotonic_ns = fixture_clock_ns,
};
static struct clock fixture_clock = {.ops = &fixture_clock_ops};


void
fixture_advance_ns(uint64_t by_ns)
{
    clock_ns += by_ns;
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

static void
on_make_hello(void *context, struct message_header *hello)
{
    const struct node *node = context;
    struct message_hello *body = message_body(hello);
    hello->cluster = node->cluster;
    hello->sender = MESSAGE_SENDER_GUEST;
    body->incarnation = 1;
    body->session = 1;
    body->fingerprint = node->fingerprint;
    body->prepares_size_bytes = node->ring;
}

static void
on_up(void *context, uint32_t peer, const struct message_header *hello)
{
    struct node *node = context;
    const struct message_hello *body = message_body_const(hello);
    expect(!node->sending);
    expect(strcmp(body->name, node->os.peers[peer].name) == 0);
    node->ups[peer] += 1;
    node->op_last[peer] = 0;
    node->op_sent[peer] = 0;
}

static void
on_down(void *context, uint32_t peer, const struct message_header *bye)
{
    struct node *node = context;
    expect(!node->sending);
    node->downs[peer] += 1;
    node->bye_reason[peer] = 0;
    if (bye == NULL) return;
    const struct message_bye *body = message_body_const(bye);
    node->bye_reason[peer] = body->reason;
    node->bye_flags[peer] = bye->flags;
}

static void
on_received(void *context, uint32_t peer, struct message *message)
{
    struct node *node = context;
    expect(!node->sending);
    expect(message_header_valid(message->header) && message_body_valid(message->header));
    expect_equal(message->references, 1);
    if (message->header->command == MESSAGE_PREPARE) {
        if (node->op_last[peer] != 0 || node->from_one) {
            expect_equal(message->header->op, node->op_last[peer] + 1);
        }
        node->op_last[peer] = message->header->op;
    }
    node->received[peer] += 1;
    node->received_bytes[peer] += message->header->size;
    if (node->answers) {
        const bool sent = node_send((uint32_t) (node - nodes), peer, node->answer_count + 1, 400);
        node->answer_count += sent;
        node->refused_count += !sent;
    }
    if (node->keeps) {
        assert(node->kept_count < KEPT_MAX);
        node->kept[node->kept_count] = message;
        node->kept_count += 1;
    } else {
        message_release(&node->pool, message);
    }
}

static void
on_sent(void *context, uint32_t peer, struct message *message, bool whole)
{
    struct node *node = context;
    expect(!node->sending);
    assert(peer < NETWORK_PEERS_MAX);
    node->sent_whole += whole;
    node->sent_lost += !whole;
    message_release(&node->pool, message);
}

static const struct network_callbacks callbacks = {
    .hello = on_make_hello,
    .up = on_up,
    .down = on_down,
    .received = on_received,
    .sent = on_sent,
};

/* ---- Nodes ----------------------------------------------------------------------------------- */

/* A port that nobody had a moment ago. */
static uint16_t
free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert(fd >= 0);
    int result = bind(fd, (struct sockaddr *) &name, size);
    assert(result == 0);
    result = getsockname(fd, (struct sockaddr *) &name, &size);
    assert(result == 0);
    (void) close(fd);
    return ntohs(name.sin_port);
}

void
node_secrets(uint32_t index, const char *letters)
{
    (void) unlink(nodes[index].secret_file);
    const int fd = open(nodes[index].secret_file, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert(fd >= 0);
    for (const char *letter = letters; *letter != 0; letter++) {
        dprintf(fd, "key-%c:", *letter);
        for (int i = 0; i < 32; i++) dprintf(fd, "%02x", (unsigned char) (*letter * 7 + i));
        dprintf(fd, "\n");
    }
    (void) close(fd);
}

void
network_node_open(uint32_t index)
{
    struct node *node = &nodes[index];
    const struct network_os_options options = {
        .clock = &fixture_clock,
        .pool = &node->pool,
        .callbacks = &callbacks,
        .context = node,
        .name = node->name,
        .nodes = &list,
        .peer_max = NETWORK_PEERS_MAX,
        .secret_file = list.nodes[0].address.transport == NETWORK_TLS ? node->secret_file : NULL,
        .seed = ++seed,
        .timeout_ms = TIMEOUT_MS,
    };
    char text[256] = "";
    assert(!node->open);
    node->open = network_os_open(&node->os, &options, text, sizeof(text));
    if (!node->open) printf("%s: %s\n", unit_current, text);
    assert(node->open);
}

void
nodes_list(struct network_nodes *nodes_of)
{
    *nodes_of = list;
}

void
node_reload(uint32_t index, const struct network_nodes *other)
{
    char text[256] = "";
    const bool done = network_os_reload_nodes(&nodes[index].os, other, text, sizeof(text));
    if (!done) printf("%s: %s\n", unit_current, text);
    expect(done);
}

void
node_close(uint32_t index)
{
    assert(nodes[index].open);
    node_release_kept(index);
    network_os_close(&nodes[index].os);
    nodes[index].open = false;
}

static void
pool_open(struct node *node)
{
    struct arena arena;
    arena_init_measuring(&arena);
    message_pool_init(&node->pool, &arena, SMALL_BUFFERS, LARGE_BUFFERS);
    const uint64_t size = align_up(arena.used_bytes, ARENA_ALIGNMENT);
    node->memory = aligned_alloc(ARENA_ALIGNMENT, size);
    assert(node->memory != NULL);
    memset(node->memory, 0, size);
    arena_init(&arena, node->memory, size);
    message_pool_init(&node->pool, &arena, SMALL_BUFFERS, LARGE_BUFFERS);
}

void
nodes_begin(uint32_t count, enum network_transport transport)
{
    char text[512] = "";
    int at = 0;
    assert(count <= NODES_MAX);
    (void) snprintf(fixture_folder, sizeof(fixture_folder), "/tmp/ledger_network.XXXXXX");
    const char *made = mkdtemp(fixture_folder);
    assert(made != NULL);
    memset(nodes, 0, sizeof(nodes));
    clock_ns = NS_PER_S;
    for (uint32_t i = 0; i < count; i++) {
        struct node *node = &nodes[i];
        node->name[0] = (char) ('a' + i);
        node->cluster = CLUSTER;
        node->fingerprint = 5;
        node->ring = PREPARES_SIZE_MIN;
        (void) snprintf(
            node->secret_file, sizeof(node->secret_file), "%s/%s.secret", made, node->name);
        node_secrets(i, "x");
        pool_open(node);
        const char *comma = i > 0 ? "," : "";
        if (transport == NETWORK_UNIX) {
            at += snprintf(
                text + at, sizeof(text) - (size_t) at, "%s%s=%s/%s.sock", comma, node->name, made,
                node->name);
        } else {
            at += snprintf(
                text + at, sizeof(text) - (size_t) at, "%s%s=127.0.0.1:%u", comma, node->name,
                free_port());
        }
    }
    struct network_address_error error;
    const bool parsed = network_nodes_parse(&list, text, &error);
    assert(parsed);
    for (uint32_t i = 0; i < count; i++) network_node_open(i);
}

void
nodes_end(void)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        struct node *node = &nodes[i];
        if (node->memory == NULL) continue;
        if (node->open) node_close(i);
        message_pool_invariants(&node->pool);
        expect_equal(message_pool_free_count(&node->pool, MESSAGE_SMALL), SMALL_BUFFERS);
        expect_equal(message_pool_free_count(&node->pool, MESSAGE_LARGE), LARGE_BUFFERS);
        (void) unlink(node->secret_file);
        free(node->memory);
        node->memory = NULL;
    }
    expect(rmdir(fixture_folder) == 0); /* Sockets are removed when they are closed. */
}

bool
nodes_buffers_free(void)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        const struct message_pool *pool = &nodes[i].pool;
        if (nodes[i].memory == NULL) continue;
        if (message_pool_free_count(pool, MESSAGE_SMALL) < SMALL_BUFFERS) return false;
        if (message_pool_free_count(pool, MESSAGE_LARGE) < LARGE_BUFFERS) return false;
    }
    return true;
}

uint32_t
nodes_poll(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (nodes[i].open) count += network_poll(&nodes[i].os.network);
    }
    return count;
}

/* Waits for the kernel, not for time: what is on its way in this machine comes within moments. */
static bool
wait_ready(int timeout_ms)
{
    struct pollfd fds[NODES_MAX];
    nfds_t count = 0;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (!nodes[i].open) continue;
        if (network_os_deadline_ns(&nodes[i].os) <= clock_ns) return true;
        fds[count] = (struct pollfd){.fd = network_os_wait_fd(&nodes[i].os), .events = POLLIN};
        count += 1;
    }
    return poll(fds, count, timeout_ms) > 0;
}

bool
nodes_until(bool (*condition)(void))
{
    for (uint32_t idle = 0; idle < STEPS_MAX;) {
        const uint32_t count = nodes_poll();
        if (condition()) return true;
        if (count > 0 || wait_ready(1)) continue;
        idle += 1;
        clock_ns += STEP_NS;
    }
    return false;
}

void
nodes_settle(uint64_t for_ns)
{
    const uint64_t end_ns = clock_ns + for_ns;
    while (clock_ns < end_ns) {
        if (nodes_poll() > 0 || wait_ready(1)) continue;
        clock_ns += STEP_NS;
    }
}

bool
nodes_all_up(void)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        for (uint32_t j = 0; j < NODES_MAX; j++) {
            if (i == j || !nodes[i].open || !nodes[j].open) continue;
            if (!nodes[i].os.network.peers[j].up) return false;
        }
    }
    return true;
}

/* ---- Messages -------------------------------------------------------------------------------- */

static bool
lend(struct node *node, uint32_t to, struct message *message)
{
    node->sending = true;
    const bool sent = network_send(&node->os.network, to, message);
    node->sending = false;
    if (!sent) message_release(&node->pool, message);
    return sent;
}

bool
node_send(uint32_t from, uint32_t to, uint64_t op, uint32_t body_size)
{
    struct node *node = &nodes[from];
    const enum message_class class = message_class_for(MESSAGE_HEADER_SIZE + body_size);
    struct message *message = message_pool_get(&node->pool, class);
    if (message == NULL) return false;
    message_fixture_prepare(message->header, op, body_size);
    return lend(node, to, message);
}

bool
node_send_command(uint32_t from, uint32_t to, uint8_t command, struct prng *prng)
{
    struct node *node = &nodes[from];
    const bool large = command == MESSAGE_REQUEST || command == MESSAGE_PREPARE;
    struct message *message =
        message_pool_get(&node->pool, large ? MESSAGE_LARGE : MESSAGE_SMALL);
    if (message == NULL) return false;
    message_fixture_make(message->header, command, prng);
    return lend(node, to, message);
}

void
node_release_kept(uint32_t index)
{
    struct node *node = &nodes[index];
    while (node->kept_count > 0) {
        node->kept_count -= 1;
        message_release(&node->pool, node->kept[node->kept_count]);
    }
}

/* ---- A client of the test's own -------------------------------------------------------------- */

int
raw_connect(uint32_t index)
{
    struct network_target targets[NETWORK_TARGETS_MAX];
    char text[128];
    const uint32_t count =
        network_resolve(&list.nodes[index].address, targets, text, sizeof(text));
    assert(count > 0);
    const int fd = socket(targets[0].address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (list.nodes[index].address.transport == NETWORK_UNIX) {
        (void) fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    if (connect(fd, (struct sockaddr *) &targets[0].address, targets[0].size) == 0) return fd;
    (void) close(fd);
    return -1;
}

void
raw_hello(int fd, const char *name, u128 cluster)
{
    struct network_greeting hello = {0};
    struct message_hello *body = message_body(&hello.header);
    hello.header.command = MESSAGE_HELLO;
    hello.header.size = sizeof(hello);
    hello.header.sender = MESSAGE_SENDER_GUEST;
    hello.header.cluster = cluster;
    *body = (struct message_hello){
        .incarnation = 1,
        .session = 1,
        .fingerprint = 5,
        .prepares_size_bytes = PREPARES_SIZE_MIN,
        .version_min = 1,
        .version_max = 1,
    };
    memcpy(body->name, name, strlen(name));
    message_seal(&hello.header, MESSAGE_VERSION_MAX);
    const ssize_t written = send(fd, &hello, sizeof(hello), MSG_NOSIGNAL);
    assert(written == sizeof(hello));
}

bool
raw_ended(int fd)
{
    char bytes[4096];
    ssize_t size = 0;
    do {
        size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    } while (size > 0);
    return size == 0 || (errno != EAGAIN && errno != EINTR);
}
