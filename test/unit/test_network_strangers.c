/* SPDX-License-Identifier: PostgreSQL */
/*
 * Who must not get in: wrong secrets, other users, garbage, half a message held open, ten thousand
 * connections. They are refused and bounded, no byte of a node goes to them, and nodes that are
 * connected don't notice.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/units.h"
#include "unit/message_fixture.h"
#include "unit/network_fixture.h"
#include "unit/unit.h"

#define CONNECTIONS 10000

static uint64_t wanted;

static bool
b_has_all(void)
{
    return nodes[1].received[0] == wanted;
}

/* The nodes that know each other still talk. */
static void
still_talking(void)
{
    wanted = nodes[1].received[0] + 1;
    expect(nodes_all_up());
    expect(node_send(0, 1, nodes[1].op_last[0] + 1, 400));
    expect(nodes_until(b_has_all));
    expect_equal(nodes[1].downs[0], 0);
}

static uint32_t
connection_count(uint32_t index)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NETWORK_CONNECTIONS_MAX; i++) {
        count += nodes[index].os.connections[i].state != CONNECTION_FREE;
    }
    return count;
}

static uint32_t
descriptor_count(void)
{
    uint32_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert(folder != NULL);
    while (readdir(folder) != NULL) count += 1;
    (void) closedir(folder);
    return count;
}

/* ---- Over Unix sockets: the bytes themselves ------------------------------------------------- */

static int raw;

static bool
raw_is_out(void)
{
    return raw_ended(raw);
}

static void
meet_and_connect(const char *name)
{
    expect(nodes_until(nodes_all_up));
    raw = raw_connect(0);
    assert(raw >= 0);
    if (name != NULL) raw_hello(raw, name, CLUSTER);
    (void) nodes_poll();
    (void) nodes_poll();
}

static void
raw_write(const void *bytes, size_t size)
{
    const ssize_t written = send(raw, bytes, size, MSG_NOSIGNAL);
    assert(written == (ssize_t) size);
}

UNIT_TEST(silence_ends_after_five_seconds)
{
    nodes_begin(2, NETWORK_UNIX);
    meet_and_connect(NULL);
    expect_equal(connection_count(0), 2);
    const uint64_t start = fixture_now_ns();
    nodes_settle(NETWORK_GREETING_NS - NS_PER_S);
    expect_equal(connection_count(0), 2);
    expect(nodes_until(raw_is_out));
    expect(fixture_now_ns() - start >= NETWORK_GREETING_NS);
    char text[NETWORK_NOTICE_SIZE] = "";
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(strstr(text, "it has not said hello in time") != NULL);
    still_talking();
    (void) close(raw);
    nodes_end();
}

UNIT_TEST(garbage_ends_the_connection_at_once)
{
    struct prng prng;
    prng_init(&prng, 1);
    nodes_begin(2, NETWORK_UNIX);
    for (uint32_t round = 0; round < 20; round++) {
        uint8_t bytes[2048];
        for (uint32_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t) prng_next(&prng);
        meet_and_connect(NULL);
        const uint64_t start = fixture_now_ns();
        raw_write(bytes, round % 2 == 0 ? sizeof(bytes) : MESSAGE_HEADER_SIZE);
        expect(nodes_until(raw_is_out));
        expect(fixture_now_ns() - start < NS_PER_S);
        (void) close(raw);
        expect(nodes_buffers_free());
    }
    still_talking();
    nodes_end();
}

/* A message before any hello, whatever it is, comes from nobody. */
UNIT_TEST(a_message_before_the_hello_is_garbage)
{
    static struct message_buffer buffer;
    nodes_begin(2, NETWORK_UNIX);
    meet_and_connect(NULL);
    message_fixture_prepare(&buffer.header, 1, 400);
    raw_write(&buffer.header, buffer.header.size);
    expect(nodes_until(raw_is_out));
    expect_equal(nodes[0].received[1], 0);
    (void) close(raw);
    still_talking();
    nodes_end();
}

static bool
c_is_up(void)
{
    return nodes[0].os.network.peers[2].up;
}

static bool
c_is_down(void)
{
    return !nodes[0].os.network.peers[2].up && nodes[0].downs[2] > 0;
}

/* The third node is played by the test. */
static void
play_c(void)
{
    nodes_begin(3, NETWORK_UNIX);
    node_close(2);
    meet_and_connect("c");
    expect(nodes_until(c_is_up));
}

static void
end_c(void)
{
    expect(nodes_until(c_is_down));
    expect(nodes_until(raw_is_out));
    (void) close(raw);
    expect(nodes_until(nodes_buffers_free));
    still_talking();
    nodes_end();
}

UNIT_TEST(half_a_message_is_held_open_for_a_while_only)
{
    static struct message_buffer buffer;
    const uint32_t sizes[] = {100, 200, 5000};
    for (uint32_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        play_c();
        message_fixture_prepare(&buffer.header, 1, 6000);
        raw_write(&buffer.header, sizes[i]);
        const uint64_t start = fixture_now_ns();
        nodes_settle(NS_PER_S);
        expect(c_is_up());
        expect(message_pool_free_count(&nodes[0].pool, MESSAGE_SMALL) + 1 >= SMALL_BUFFERS);
        expect(nodes_until(c_is_down));
        expect(fixture_now_ns() - start >= UINT64_C(2) * NS_PER_S);
        end_c();
    }
}

UNIT_TEST(a_wrong_body_ends_the_connection)
{
    static struct message_buffer buffer;
    play_c();
    message_fixture_prepare(&buffer.header, 1, 6000);
    buffer.body[5000] ^= 1;
    raw_write(&buffer.header, buffer.header.size);
    expect(nodes_until(c_is_down));
    expect_equal(nodes[0].received[2], 0);
    end_c();
}

UNIT_TEST(a_second_hello_ends_the_connection)
{
    play_c();
    raw_hello(raw, "c", CLUSTER);
    end_c();
}

UNIT_TEST(a_message_of_another_cluster_ends_the_connection)
{
    static struct message_buffer buffer;
    struct prng prng;
    prng_init(&prng, 1);
    play_c();
    message_fixture_make(&buffer.header, MESSAGE_READ_INDEX, &prng);
    buffer.header.cluster += 1;
    message_seal(&buffer.header, MESSAGE_VERSION_MAX);
    raw_write(&buffer.header, buffer.header.size);
    end_c();
}

/* Who is no member is told things, and tells nothing. */
UNIT_TEST(a_guest_that_sends_ends_the_connection)
{
    static struct message_buffer buffer;
    nodes_begin(3, NETWORK_UNIX);
    node_close(2);
    meet_and_connect(NULL);
    raw_hello(raw, "c", 0);
    expect(nodes_until(c_is_up));
    message_fixture_prepare(&buffer.header, 1, 400);
    raw_write(&buffer.header, buffer.header.size);
    expect(nodes_until(c_is_down));
    expect_equal(nodes[0].received[2], 0);
    end_c();
}

/* A message may wait for a buffer as long as it takes; only then is its rest waited for. */
UNIT_TEST(who_had_to_wait_for_a_buffer_is_not_late)
{
    static struct message_buffer buffer;
    play_c();
    nodes[0].keeps = true;
    for (uint32_t i = 1; i <= SMALL_BUFFERS; i++) {
        message_fixture_prepare(&buffer.header, i, 400);
        raw_write(&buffer.header, buffer.header.size);
    }
    message_fixture_prepare(&buffer.header, SMALL_BUFFERS + 1, 400);
    raw_write(&buffer.header, 200);
    nodes_settle(NS_PER_S);
    expect_equal(nodes[0].received[2], SMALL_BUFFERS);
    fixture_advance_ns(UINT64_C(10) * NS_PER_S); /* Nor does anything else wake the node. */
    nodes[0].keeps = false;
    node_release_kept(0);
    nodes_settle(NS_PER_S);
    expect(c_is_up());
    raw_write((const uint8_t *) &buffer.header + 200, buffer.header.size - 200);
    nodes_settle(NS_PER_S);
    expect_equal(nodes[0].received[2], SMALL_BUFFERS + 1);
    (void) shutdown(raw, SHUT_RDWR);
    end_c();
}

/* A name that isn't in the list, our own, and one that is connected already. */
UNIT_TEST(names_that_cannot_be_are_refused)
{
    static const char *const names[] = {"d", "a", "b"};
    nodes_begin(2, NETWORK_UNIX);
    for (uint32_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct network_greeting said[2];
        meet_and_connect(names[i]);
        expect(nodes_until(nodes_all_up));
        ssize_t size = recv(raw, said, sizeof(said), 0);
        expect_equal(size, sizeof(said));
        expect(message_header_valid(&said[1].header) && message_body_valid(&said[1].header));
        const struct message_bye *bye = message_body_const(&said[1].header);
        expect_equal(said[1].header.command, MESSAGE_BYE);
        const uint8_t reasons[] = {MESSAGE_BYE_NAME, MESSAGE_BYE_SELF, MESSAGE_BYE_CONNECTED};
        expect_equal(bye->reason, reasons[i]);
        expect(nodes_until(raw_is_out));
        (void) close(raw);
    }
    still_talking();
    nodes_end();
}

/* As many as descriptors allow are open at a time; the node takes eight of them. */
static void
flood(void)
{
    int fds[400];
    uint32_t open_count = 0, connected = 0;
    expect(nodes_until(nodes_all_up));
    const uint32_t descriptors = descriptor_count();
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        if (open_count == ARRAY_COUNT(fds)) {
            open_count -= 1;
            (void) close(fds[open_count]);
        }
        const int fd = raw_connect(0);
        if (fd >= 0) {
            fds[open_count] = fd;
            open_count += 1;
            connected += 1;
        }
        if (i % 8 == 0) (void) nodes_poll();
        expect(connection_count(0) <= NETWORK_STRANGERS_MAX + 2 * NETWORK_PEERS_MAX);
        expect(descriptor_count() <= descriptors + open_count + 2 * NETWORK_STRANGERS_MAX);
    }
    expect(connected > NETWORK_STRANGERS_MAX);
    expect(nodes_buffers_free());
    still_talking();
    while (open_count > 0) {
        open_count -= 1;
        (void) close(fds[open_count]);
    }
    nodes_settle(UINT64_C(1) * NS_PER_S);
    expect_equal(connection_count(0), 1);
    still_talking();
}

UNIT_TEST(ten_thousand_connections_take_eight)
{
    nodes_begin(2, NETWORK_UNIX);
    flood();
    char text[256] = "";
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(strstr(text, "went away before it had said hello") != NULL);
    raw = raw_connect(0);
    (void) close(raw);
    nodes_settle(UINT64_C(1) * NS_PER_S);
    expect(!network_os_notice(&nodes[0].os, text, sizeof(text))); /* Once a minute. */
    fixture_advance_ns(NETWORK_NOTICE_NS);
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    nodes_end();
}

/* No descriptor is left: nobody is taken in, nothing spins, and then it goes on. */
UNIT_TEST(a_process_without_descriptors_goes_on)
{
    struct rlimit limit;
    nodes_begin(3, NETWORK_UNIX);
    node_close(2);
    meet_and_connect(NULL);
    (void) close(raw);
    nodes_settle(NS_PER_S);
    raw = raw_connect(0);
    expect_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit low = {.rlim_cur = 3, .rlim_max = limit.rlim_max};
    expect_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    (void) nodes_poll();
    (void) nodes_poll();
    expect_equal(connection_count(0), 1);
    expect(network_os_deadline_ns(&nodes[0].os) > fixture_now_ns());
    expect_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    raw_hello(raw, "c", CLUSTER);
    expect(nodes_until(c_is_up));
    (void) close(raw);
    still_talking();
    nodes_end();
}

/* Needs root, to be somebody else; without it this part is skipped, and says so. */
UNIT_TEST(another_user_is_refused)
{
    if (geteuid() != 0) {
        printf("another_user_is_refused: skipped, needs root\n");
        return;
    }
    nodes_begin(2, NETWORK_UNIX);
    expect(nodes_until(nodes_all_up));
    char path[128];
    (void) snprintf(path, sizeof(path), "%s/a.sock", fixture_folder);
    struct stat status;
    expect_equal(stat(path, &status), 0);
    expect_equal(status.st_mode & 07777, 0600);
    /* Even where the file's permissions would let them in. */
    expect_equal(chmod(path, 0666), 0);
    expect_equal(chmod(fixture_folder, 0755), 0);
    int pipe_fds[2];
    expect_equal(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0) {
        char byte = 'x';
        if (setuid(65534) != 0) _exit(2);
        const int fd = raw_connect(0);
        if (fd < 0) _exit(3);
        const ssize_t told = write(pipe_fds[1], &byte, 1);
        (void) fcntl(fd, F_SETFL, 0);
        /* No byte comes, and the end does. */
        _exit(told == 1 && read(fd, &byte, 1) == 0 ? 0 : 4);
    }
    char byte;
    expect_equal(read(pipe_fds[0], &byte, 1), 1);
    int ended = 0;
    while (waitpid(child, &ended, WNOHANG) == 0) (void) nodes_poll();
    expect(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    char text[256] = "";
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(strstr(text, "another user") != NULL);
    still_talking();
    (void) close(pipe_fds[0]);
    (void) close(pipe_fds[1]);
    nodes_end();
}

/* ---- Over TLS -------------------------------------------------------------------------------- */

UNIT_TEST(a_wrong_secret_gets_nothing)
{
    char text[256] = "";
    nodes_begin(3, NETWORK_TLS);
    node_close(2);
    node_secrets(2, "y");
    network_node_open(2);
    wanted = 0;
    nodes_settle(UINT64_C(6) * NS_PER_S);
    expect(nodes[0].os.network.peers[1].up && nodes[1].os.network.peers[0].up);
    for (uint32_t i = 0; i < 2; i++) {
        expect_equal(nodes[i].ups[2], 0);
        expect_equal(nodes[2].ups[i], 0);
    }
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(strstr(text, "the TLS handshake has failed") != NULL);
    expect(strstr(text, "ledger.secret_file") != NULL);
    /* Who it is, where it was dialled; else where it comes from. */
    expect(strstr(text, "node \"c\"") != NULL || strstr(text, "127.0.0.1") != NULL);
    wanted = nodes[1].received[0] + 1;
    expect(node_send(0, 1, 1, 400));
    expect(nodes_until(b_has_all));
    nodes_end();
}

/* Somebody listens there who says nothing, and leaves each time. */
static uint32_t
leave_until(int listener, uint32_t count)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < 100000 && left < count; i++) {
        const int fd = accept(listener, NULL, NULL);
        if (fd >= 0) {
            (void) close(fd);
            left += 1;
        }
        for (uint32_t polls = 0; polls < 20; polls++) (void) nodes_poll();
        fixture_advance_ns(NS_PER_MS);
    }
    nodes_settle(10 * NS_PER_MS);
    return left;
}

/* Who goes away in the middle of a handshake has no wrong secret: it may just be ending. */
UNIT_TEST(who_leaves_while_it_is_dialled_is_not_told_at_once)
{
    struct network_nodes list;
    struct network_target targets[NETWORK_TARGETS_MAX];
    char text[256] = "";
    nodes_begin(2, NETWORK_TLS);
    nodes_list(&list);
    node_close(1);
    const struct network_address *address = &list.nodes[1].address;
    expect(network_resolve(address, targets, text, sizeof(text)) > 0);
    const int listener = network_listen(address, &targets[0], text, sizeof(text));
    expect(listener >= 0);
    expect_equal(leave_until(listener, 2), 2);
    expect(!network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(!network_os_trouble(&nodes[0].os, text, sizeof(text)));
    expect_equal(leave_until(listener, 1), 1);
    expect(network_os_notice(&nodes[0].os, text, sizeof(text)));
    expect(strstr(text, "node \"b\": it went away before it had said hello") != NULL);
    expect(network_os_trouble(&nodes[0].os, text, sizeof(text)));
    (void) close(listener);
    network_node_open(1);
    expect(nodes_until(nodes_all_up));
    expect(!network_os_trouble(&nodes[0].os, text, sizeof(text)));
    nodes_end();
}

/* The same id, another secret. */
UNIT_TEST(a_right_id_is_no_secret)
{
    nodes_begin(2, NETWORK_TLS);
    node_close(1);
    const int fd = open(nodes[1].secret_file, O_WRONLY | O_TRUNC);
    dprintf(fd, "key-x:%064d\n", 1);
    (void) close(fd);
    network_node_open(1);
    nodes_settle(UINT64_C(4) * NS_PER_S);
    expect_equal(nodes[0].ups[1] + nodes[1].ups[0], 0);
    nodes_end();
}

/* Plain bytes, and what a browser or an older release of the library would say. */
UNIT_TEST(a_stranger_over_tcp_gets_nothing)
{
    nodes_begin(2, NETWORK_TLS);
    meet_and_connect("b");
    expect(nodes_until(raw_is_out));
    (void) close(raw);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        (void) SSL_CTX_set_max_proto_version(context, version);
        meet_and_connect(NULL);
        SSL *ssl = SSL_new(context);
        (void) SSL_set_fd(ssl, raw);
        (void) fcntl(raw, F_SETFL, O_NONBLOCK);
        int result = 0, reason = SSL_ERROR_WANT_READ;
        for (int i = 0; i < 20 && reason == SSL_ERROR_WANT_READ; i++) {
            result = SSL_connect(ssl);
            reason = SSL_get_error(ssl, result);
            (void) nodes_poll();
        }
        expect(result != 1 && reason == SSL_ERROR_SSL);
        SSL_free(ssl);
        SSL_CTX_free(context);
        (void) close(raw);
    }
    nodes_settle(NS_PER_S);
    expect_equal(connection_count(0), 1);
    still_talking();
    nodes_end();
}

/* While the other end says nothing, there is nothing to do: the host sleeps. */
UNIT_TEST(a_silent_handshake_wakes_nobody)
{
    nodes_begin(2, NETWORK_TLS);
    nodes_settle(UINT64_C(2) * NS_PER_S);
    meet_and_connect(NULL);
    nodes_settle(UINT64_C(100) * NS_PER_MS);
    expect_equal(connection_count(0), 2);
    struct pollfd fd = {.fd = network_os_wait_fd(&nodes[0].os), .events = POLLIN};
    expect_equal(poll(&fd, 1, 0), 0);
    expect(network_os_deadline_ns(&nodes[0].os) > fixture_now_ns() + NS_PER_S);
    still_talking();
    (void) close(raw);
    nodes_end();
}

UNIT_TEST(a_flood_over_tcp_takes_eight)
{
    nodes_begin(2, NETWORK_TLS);
    expect(nodes_until(nodes_all_up));
    int fds[NETWORK_STRANGERS_MAX + 8];
    for (uint32_t i = 0; i < ARRAY_COUNT(fds); i++) fds[i] = raw_connect(0);
    for (uint32_t i = 0; i < 20; i++) (void) nodes_poll();
    expect_equal(connection_count(0), NETWORK_STRANGERS_MAX + 1);
    for (uint32_t i = 0; i < ARRAY_COUNT(fds); i++) (void) close(fds[i]);
    still_talking();
    nodes_end();
}

static void
meet_anew(bool shall)
{
    const struct message_bye bye = {.reason = MESSAGE_BYE_SHUTDOWN};
    network_close(&nodes[0].os.network, 1, &bye, 0);
    nodes_settle(UINT64_C(3) * NS_PER_S);
    expect(nodes_all_up() == shall);
}

static void
reload(uint32_t index, const char *letters)
{
    char text[256];
    node_secrets(index, letters);
    const char *path = nodes[index].secret_file;
    expect(network_os_reload_secrets(&nodes[index].os, path, text, sizeof(text)));
}

/* Add on all, move to the front on all, remove: at each step, in each order, nodes meet. */
UNIT_TEST(secrets_are_replaced_without_a_gap)
{
    static const char *const steps[] = {"x", "xy", "yx", "y"};
    nodes_begin(2, NETWORK_TLS);
    expect(nodes_until(nodes_all_up));
    for (uint32_t i = 1; i < ARRAY_COUNT(steps); i++) {
        reload(i % 2, steps[i]);
        expect(nodes_all_up()); /* Connections stay. */
        meet_anew(true);
        reload(1 - i % 2, steps[i]);
        meet_anew(true);
    }
    reload(1, "x");
    expect(nodes_all_up());
    meet_anew(false);
    char text[256];
    node_secrets(0, "");
    expect(!network_os_reload_secrets(&nodes[0].os, nodes[0].secret_file, text, sizeof(text)));
    expect(strstr(text, "there is no secret in it") != NULL);
    reload(1, "y");
    expect(nodes_until(nodes_all_up)); /* The old content of node a holds. */
    /* Nor is it given up while it is needed. Another file is as good as another content. */
    expect(!network_os_reload_secrets(&nodes[0].os, NULL, text, sizeof(text)));
    expect(strstr(text, "a TCP address needs a secret file") != NULL);
    meet_anew(true);
    expect(network_os_reload_secrets(&nodes[0].os, nodes[1].secret_file, text, sizeof(text)));
    meet_anew(true);
    nodes_end();
}

/* ---- The secret file ------------------------------------------------------------------------- */

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

UNIT_TEST(the_secret_file)
{
    struct network_secrets secrets = {0};
    char text[256];
    expect(network_secrets_parse(
        &secrets, "# old and new\n\nnew.1:" KEY_A "\r\nold:" KEY_A "  \n", text, sizeof(text)));
    expect_equal(secrets.count, 2);
    expect_equal(secrets.secrets[0].key[31], 0xff);
    expect(network_secrets_find(&secrets, "old", 3) == &secrets.secrets[1]);
    expect(network_secrets_find(&secrets, "ol", 2) == NULL);
    network_secrets_text(&secrets, text, sizeof(text));
    expect(strcmp(text, "\"new.1\", \"old\"") == 0);
    network_secrets_text(&secrets, text, 4); /* It ends where there is no room. */
    expect_equal(text[3], 0);
    static const char *const wrongs[] = {
        "a:" KEY_A "0\n", "a:" KEY_A "\nb " KEY_A, ":" KEY_A, "a", "a:", "a:xy",
        "a:" KEY_A "\na:" KEY_A, "abcdefghijklmnopqrstuvwxyz0123456:" KEY_A,
        "a:0011223344556677889zaabbccddeeff00112233445566778899AABBCCDDEEFF"};
    for (uint32_t i = 0; i < ARRAY_COUNT(wrongs); i++) {
        expect(!network_secrets_parse(&secrets, wrongs[i], text, sizeof(text)));
        expect(strncmp(text, "line ", 5) == 0);
        expect(strstr(text, "0011") == NULL);
        expect_equal(secrets.count, 2); /* As before. */
    }
    char path[] = "/tmp/ledger_secret.XXXXXX";
    const int fd = mkstemp(path);
    dprintf(fd, "a:" KEY_A "\n");
    expect(network_secrets_load(&secrets, path, text, sizeof(text)));
    expect_equal(secrets.count, 1);
    const mode_t modes[] = {0640, 0604, 0602, 0610};
    for (uint32_t i = 0; i < ARRAY_COUNT(modes); i++) {
        expect_equal(fchmod(fd, modes[i]), 0);
        expect(!network_secrets_load(&secrets, path, text, sizeof(text)));
        expect(strstr(text, "chmod 0600") != NULL);
    }
    expect_equal(fchmod(fd, 0600), 0);
    for (int i = 0; i < NETWORK_SECRETS_FILE_MAX; i++) dprintf(fd, "#");
    expect(!network_secrets_load(&secrets, path, text, sizeof(text)));
    (void) close(fd);
    (void) unlink(path);
    expect(!network_secrets_load(&secrets, path, text, sizeof(text)));
    expect(!network_secrets_load(&secrets, "/", text, sizeof(text)));
}

/* ---- The socket's path ----------------------------------------------------------------------- */

UNIT_TEST(a_path_that_was_left_behind_is_taken_and_one_in_use_is_not)
{
    nodes_begin(2, NETWORK_UNIX);
    struct network_address address = {.transport = NETWORK_UNIX};
    (void) snprintf(address.place, sizeof(address.place), "%s/a.sock", fixture_folder);
    struct network_target targets[NETWORK_TARGETS_MAX];
    char text[256] = "";
    expect_equal(network_resolve(&address, targets, text, sizeof(text)), 1);
    expect_equal(network_listen(&address, &targets[0], text, sizeof(text)), -1);
    expect(strstr(text, "it is in use") != NULL);
    (void) snprintf(address.place, sizeof(address.place), "%s/left.sock", fixture_folder);
    (void) network_resolve(&address, targets, text, sizeof(text));
    const int left = network_listen(&address, &targets[0], text, sizeof(text));
    expect(left >= 0);
    (void) close(left);
    const int again = network_listen(&address, &targets[0], text, sizeof(text));
    expect(again >= 0);
    (void) close(again);
    /* A file that is no socket is nobody's to remove. */
    (void) unlink(address.place);
    const int file = open(address.place, O_WRONLY | O_CREAT, 0600);
    expect_equal(network_listen(&address, &targets[0], text, sizeof(text)), -1);
    (void) close(file);
    expect_equal(access(address.place, F_OK), 0);
    (void) unlink(address.place);
    nodes_end();
}

UNIT_MAIN(test_network_strangers)
