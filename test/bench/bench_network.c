/* SPDX-License-Identifier: PostgreSQL */
/*
 * The network between two processes of one machine, with production limits: over Unix sockets, then
 * over TLS on the loopback.
 *
 *     make bench-network [ARGS="--seconds 5"]
 *
 * Node a asks, node b answers. Each sleeps as the worker does: in poll(2) on the network's
 * descriptor until the network's deadline, and on nothing else; so a wake-up that gets lost is a
 * wait that doesn't end, which is reported, and fails.
 *
 * Printed are round trips of messages of 128 bytes, one at a time, and how fast prepares of 1 MiB
 * arrive, each checked as any message that is received.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/units.h"
#include "os/clock_os.h"
#include "os/network_os.h"
#include "unit/message_fixture.h"

#define SMALL_BUFFERS 80
#define LARGE_BUFFERS 24
#define TIMEOUT_MS    2000
#define STUCK_NS      (UINT64_C(20) * NS_PER_S)

struct side {
    struct network_os os;
    struct clock clock;
    struct message_pool pool;
    uint32_t peer; /* The other one. */
    bool over;     /* It is done. */
    uint64_t asked;    /* The newest question's number, */
    uint64_t answered; /* and the newest answer's. */
    uint32_t ups;
    uint32_t lost; /* Messages that came back. */
    bool closing;
    struct message *prepare; /* What is sent again and again. */
};

static struct side side;
static char folder[64];
static uint64_t duration_ns = 2 * NS_PER_S;

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) fputs("bench_network: ", stderr);
    (void) vfprintf(stderr, format, arguments);
    (void) fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void
assert_failed(const char *expression, const char *file, int line)
{
    (void) fflush(stdout);
    (void) fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

/* ---- Messages -------------------------------------------------------------------------------- */

static bool
say(uint8_t command, uint64_t number)
{
    struct message *message = message_pool_get(&side.pool, MESSAGE_SMALL);
    if (message == NULL) return false;
    message->header->cluster = FIXTURE_CLUSTER;
    message->header->command = command;
    message->header->size = MESSAGE_HEADER_SIZE;
    message->header->as.read.number = number;
    message_seal(message->header, MESSAGE_VERSION_MAX);
    if (network_send(&side.os.network, side.peer, message)) return true;
    message_release(&side.pool, message);
    return false;
}

static void
on_hello(void *context, struct message_header *header)
{
    struct message_hello *hello = message_body(header);
    (void) context;
    header->cluster = FIXTURE_CLUSTER;
    header->sender = (uint8_t) (1 - side.peer);
    hello->incarnation = 1;
    hello->session = 1;
    hello->fingerprint = CONFIG_FINGERPRINT;
    hello->prepares_size_bytes = PREPARES_SIZE_MIN;
}

static void
say_goodbye(void)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_SHUTDOWN};
    network_close(&side.os.network, side.peer, &bye, 0);
}

/* What was said on an older connection may be lost with it. */
static void
on_up(void *context, uint32_t peer, const struct message_header *hello)
{
    (void) context;
    (void) peer;
    (void) hello;
    side.ups += 1;
    if (side.closing) say_goodbye();
    if (side.asked > side.answered && !say(MESSAGE_READ_INDEX, side.asked)) fail("no room");
}

static void
on_down(void *context, uint32_t peer, const struct message_header *bye)
{
    (void) context;
    (void) peer;
    if (bye == NULL) return;
    const struct message_bye *body = message_body_const(bye);
    side.over |= body->reason == MESSAGE_BYE_SHUTDOWN;
}

static void
on_received(void *context, uint32_t peer, struct message *message)
{
    const uint64_t number = message->header->as.read.number;
    (void) context;
    (void) peer;
    if (message->header->command == MESSAGE_READ_INDEX && !say(MESSAGE_READ_OK, number)) {
        fail("there is no room for the answer to a single question");
    }
    if (message->header->command == MESSAGE_READ_OK) side.answered = number;
    message_release(&side.pool, message);
}

static void
on_sent(void *context, uint32_t peer, struct message *message, bool whole)
{
    (void) context;
    (void) peer;
    side.lost += !whole;
    message_release(&side.pool, message);
}

static const struct network_callbacks callbacks = {
    .hello = on_hello,
    .up = on_up,
    .down = on_down,
    .received = on_received,
    .sent = on_sent,
};

/* ---- Waiting --------------------------------------------------------------------------------- */

/* As the worker: whole milliseconds, never too short. */
static void
poll_once(void)
{
    if (network_poll(&side.os.network) > 0) return;
    const uint64_t deadline = network_os_deadline_ns(&side.os);
    const uint64_t now = clock_monotonic_ns(&side.clock);
    if (deadline <= now) return;
    const uint64_t wait_ns = min_u64(deadline - now, STUCK_NS);
    struct pollfd fd = {.fd = network_os_wait_fd(&side.os), .events = POLLIN};
    const int count = poll(&fd, 1, (int) div_ceil(wait_ns, NS_PER_MS));
    if (count < 0 && errno != EINTR) fail("poll: %s", strerror(errno));
    if (count == 0 && wait_ns == STUCK_NS) {
        fail("node %s has slept for %u s with nothing to wait for: %u times up, asked %llu, "
             "answered %llu, %u lost",
             side.os.peers[side.os.self].name, (uint32_t) (STUCK_NS / NS_PER_S), side.ups,
             (unsigned long long) side.asked, (unsigned long long) side.answered, side.lost);
    }
}

/* Behind all that was sent before it. */
static void
ask(void)
{
    side.asked += 1;
    (void) say(MESSAGE_READ_INDEX, side.asked); /* If it isn't up, on_up does. */
    while (side.answered < side.asked) poll_once();
}

/* ---- What is measured ------------------------------------------------------------------------ */

static double
cpu_seconds(void)
{
    struct rusage usage;
    (void) getrusage(RUSAGE_SELF, &usage);
    return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
measure_round_trips(const char *transport)
{
    const uint64_t start = clock_monotonic_ns(&side.clock);
    const double cpu = cpu_seconds();
    uint64_t count = 0;
    uint64_t now = start;
    while (now - start < duration_ns) {
        ask();
        count += 1;
        now = clock_monotonic_ns(&side.clock);
    }
    const double seconds = (double) (now - start) / 1e9;
    printf("%s: %.0f round trips/s, %.1f us each, the asker's CPU %.0f %%\n", transport,
           (double) count / seconds, seconds * 1e6 / (double) count,
           100 * (cpu_seconds() - cpu) / seconds);
}

static void
measure_stream(const char *transport)
{
    const uint64_t start = clock_monotonic_ns(&side.clock);
    const double cpu = cpu_seconds();
    const uint32_t ups = side.ups;
    uint64_t bytes = 0;
    while (clock_monotonic_ns(&side.clock) - start < duration_ns) {
        while (network_send(&side.os.network, side.peer, message_reference(side.prepare))) {
            bytes += side.prepare->header->size;
        }
        message_release(&side.pool, side.prepare);
        poll_once();
    }
    while (side.os.network.peers[side.peer].queued > 0) poll_once();
    ask();
    const double seconds = (double) (clock_monotonic_ns(&side.clock) - start) / 1e9;
    if (side.ups != ups) fail("the connection has ended meanwhile");
    printf("%s: %.2f GB/s in messages of 1 MiB, the sender's CPU %.0f %%\n", transport,
           (double) bytes / seconds / 1e9, 100 * (cpu_seconds() - cpu) / seconds);
}

/* ---- Two nodes ------------------------------------------------------------------------------- */

static void
open_pool(void)
{
    struct arena arena;
    arena_init_measuring(&arena);
    message_pool_init(&side.pool, &arena, SMALL_BUFFERS, LARGE_BUFFERS);
    const uint64_t size = align_up(arena.used_bytes, ARENA_ALIGNMENT);
    void *memory = aligned_alloc(ARENA_ALIGNMENT, size);
    if (memory == NULL) fail("out of memory");
    memset(memory, 0, size);
    arena_init(&arena, memory, size);
    message_pool_init(&side.pool, &arena, SMALL_BUFFERS, LARGE_BUFFERS);
}

static void
open_side(const char *list, const char *name, bool tls)
{
    struct network_nodes nodes;
    struct network_address_error error;
    char secret_file[128];
    char text[256] = "";
    (void) snprintf(secret_file, sizeof(secret_file), "%s/secret", folder);
    if (!network_nodes_parse(&nodes, list, &error)) fail("%s", error.reason);
    side = (struct side){.peer = name[0] == 'a' ? 1 : 0};
    clock_os_init(&side.clock);
    open_pool();
    const struct network_os_options options = {
        .clock = &side.clock,
        .pool = &side.pool,
        .callbacks = &callbacks,
        .name = name,
        .nodes = &nodes,
        .peer_max = NETWORK_PEERS_MAX,
        .secret_file = tls ? secret_file : NULL,
        .seed = (uint64_t) getpid(),
        .timeout_ms = TIMEOUT_MS,
    };
    if (!network_os_open(&side.os, &options, text, sizeof(text))) fail("%s", text);
}

static uint16_t
free_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *) &name, size) != 0 ||
        getsockname(fd, (struct sockaddr *) &name, &size) != 0) {
        fail("no port: %s", strerror(errno));
    }
    (void) close(fd);
    return ntohs(name.sin_port);
}

static void
make_list(char *list, size_t size, bool tls)
{
    char path[128];
    if (!tls) {
        (void) snprintf(list, size, "a=%s/a.sock, b=%s/b.sock", folder, folder);
        return;
    }
    (void) snprintf(list, size, "a=127.0.0.1:%u, b=127.0.0.1:%u", free_port(), free_port());
    (void) snprintf(path, sizeof(path), "%s/secret", folder);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || dprintf(fd, "key:%064d\n", 7) < 0) fail("%s: %s", path, strerror(errno));
    (void) close(fd);
}

static void
answer(const char *list, bool tls)
{
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_side(list, "b", tls);
    while (!side.over) poll_once();
    network_os_close(&side.os);
}

static void
run(const char *transport, bool tls)
{
    char list[512];
    int status = 0;
    make_list(list, sizeof(list), tls);
    (void) fflush(stdout);
    const pid_t child = fork();
    if (child < 0) fail("fork: %s", strerror(errno));
    if (child == 0) {
        answer(list, tls);
        _exit(0);
    }
    open_side(list, "a", tls);
    const uint64_t start = clock_monotonic_ns(&side.clock);
    ask();
    printf("%s: the first answer after %.1f ms\n", transport,
           (double) (clock_monotonic_ns(&side.clock) - start) / 1e6);
    side.prepare = message_pool_get(&side.pool, MESSAGE_LARGE);
    message_fixture_prepare(side.prepare->header, 1, PREPARE_SIZE_MAX);
    if (duration_ns > 0) {
        measure_round_trips(transport);
        measure_stream(transport);
    }
    side.closing = true;
    say_goodbye();
    while (waitpid(child, &status, WNOHANG) == 0) poll_once();
    if (status != 0) fail("node b has failed");
    network_os_close(&side.os);
}

int
main(int argc, char **argv)
{
    char path[128];
    if (argc == 3 && strcmp(argv[1], "--seconds") == 0) {
        duration_ns = (uint64_t) strtoull(argv[2], NULL, 10) * NS_PER_S;
    } else if (argc != 1) {
        fail("usage: bench_network [--seconds n]");
    }
    (void) snprintf(folder, sizeof(folder), "/tmp/ledger_bench_network.XXXXXX");
    if (mkdtemp(folder) == NULL) fail("%s: %s", folder, strerror(errno));
    run("Unix socket", false);
    run("TLS", true);
    (void) snprintf(path, sizeof(path), "%s/secret", folder);
    (void) unlink(path);
    (void) rmdir(folder);
    return 0;
}
