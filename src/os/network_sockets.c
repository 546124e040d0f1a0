/* SPDX-License-Identifier: PostgreSQL */
/* See network_sockets.h. */
#define _GNU_SOURCE 1 /* struct ucred. */
#include "os/network_sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"

/* The kernel's own limit may be lower. */
#define BUFFER_SIZE (4 << 20)

/* Connections that wait to be accepted. */
#define BACKLOG 16

/* ---- Addresses ------------------------------------------------------------------------------- */

static uint32_t
resolve_unix(const struct network_address *address, struct network_target *target)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const size_t size = strlen(address->place);
    assert(size < sizeof(name.sun_path));
    memcpy(name.sun_path, address->place, size);
    memset(target, 0, sizeof(*target));
    memcpy(&target->address, &name, sizeof(name));
    target->size = sizeof(name);
    return 1;
}

uint32_t
network_resolve(
    const struct network_address *address,
    struct network_target targets[NETWORK_TARGETS_MAX],
    char *text,
    size_t text_size)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *list = NULL;
    char port[8];
    uint32_t count = 0;
    if (address->transport == NETWORK_UNIX) return resolve_unix(address, &targets[0]);
    (void) snprintf(port, sizeof(port), "%u", address->port);
    const int error = getaddrinfo(address->place, port, &hints, &list);
    if (error != 0) {
        (void) snprintf(text, text_size, "host \"%s\": %s", address->place, gai_strerror(error));
        return 0;
    }
    for (struct addrinfo *one = list; one != NULL && count < NETWORK_TARGETS_MAX;
         one = one->ai_next) {
        if (one->ai_addrlen > sizeof(targets[count].address)) continue;
        memset(&targets[count], 0, sizeof(targets[count]));
        memcpy(&targets[count].address, one->ai_addr, one->ai_addrlen);
        targets[count].size = one->ai_addrlen;
        count += 1;
    }
    freeaddrinfo(list);
    if (count == 0) (void) snprintf(text, text_size, "host \"%s\" has no address", address->place);
    return count;
}

/* ---- Listening ------------------------------------------------------------------------------- */

/* A path that a process left behind: there is a socket, and nobody answers. */
static bool
is_left_behind(const struct network_target *target)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const int result = connect(fd, (const struct sockaddr *) &target->address, target->size);
    const bool refused = result != 0 && errno == ECONNREFUSED;
    (void) close(fd);
    return refused;
}

static bool
bind_socket(int fd, const struct network_address *address, const struct network_target *target)
{
    const int on = 1;
    const struct sockaddr *name = (const struct sockaddr *) &target->address;
    if (address->transport == NETWORK_TLS) {
        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        return bind(fd, name, target->size) == 0;
    }
    if (bind(fd, name, target->size) != 0) {
        struct stat status;
        if (errno != EADDRINUSE) return false;
        if (lstat(address->place, &status) != 0 || !S_ISSOCK(status.st_mode) ||
            !is_left_behind(target)) {
            errno = EADDRINUSE;
            return false;
        }
        if (unlink(address->place) != 0 || bind(fd, name, target->size) != 0) return false;
    }
    /* Before listen, so that nobody could have connected. */
    return chmod(address->place, S_IRUSR | S_IWUSR) == 0;
}

int
network_listen(
    const struct network_address *address,
    const struct network_target *target,
    char *text,
    size_t text_size)
{
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    const int fd = socket(target->address.ss_family, type, 0);
    if (fd >= 0 && bind_socket(fd, address, target) && listen(fd, BACKLOG) == 0) return fd;
    char where[NETWORK_ADDRESS_SIZE];
    const char *why = errno == EADDRINUSE      ? "it is in use"
                      : errno == ENOENT        ? "there is no such folder"
                      : errno == EADDRNOTAVAIL ? "it is no address of this machine"
                                               : strerror(errno);
    network_address_text(address, where);
    (void) snprintf(text, text_size, "could not listen at \"%s\": %s", where, why);
    if (fd >= 0) (void) close(fd);
    return -1;
}

/* ---- Streams --------------------------------------------------------------------------------- */

static bool
same_user(int fd)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return false;
    return credentials.uid == geteuid();
}

static void
tune(int fd, bool tcp, uint32_t timeout_ms)
{
    const int on = 1;
    const int size = BUFFER_SIZE;
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (!tcp) return;
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

void
network_stream_close(struct network_stream *stream)
{
    if (stream->secure) network_tls_end(&stream->tls);
    if (stream->fd >= 0) (void) close(stream->fd);
    *stream = (struct network_stream){.fd = -1};
}

bool
network_stream_dial(
    struct network_stream *stream,
    const struct network_target *target,
    struct network_tls_context *tls,
    uint32_t timeout_ms)
{
    const bool tcp = target->address.ss_family != AF_UNIX;
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    *stream = (struct network_stream){.fd = socket(target->address.ss_family, type, 0)};
    if (stream->fd < 0) return false;
    tune(stream->fd, tcp, timeout_ms);
    const struct sockaddr *name = (const struct sockaddr *) &target->address;
    const int result = connect(stream->fd, name, target->size);
    const bool started = result == 0 || (tcp && errno == EINPROGRESS);
    stream->connecting = result != 0;
    stream->secure = tcp && started && network_tls_begin(&stream->tls, tls, true);
    if (!started || (tcp && !stream->secure)) {
        network_stream_close(stream);
        return false;
    }
    if (!tcp && !same_user(stream->fd)) {
        network_stream_close(stream);
        return false;
    }
    return true;
}

bool
network_stream_accept(
    struct network_stream *stream,
    int fd,
    struct network_tls_context *tls,
    uint32_t timeout_ms)
{
    struct sockaddr_storage own = {0};
    socklen_t size = sizeof(own);
    assert(fd >= 0);
    *stream = (struct network_stream){.fd = fd};
    bool good = getsockname(fd, (struct sockaddr *) &own, &size) == 0;
    const bool tcp = own.ss_family != AF_UNIX;
    if (good) tune(fd, tcp, timeout_ms);
    if (good && tcp) {
        stream->secure = network_tls_begin(&stream->tls, tls, false);
        good = stream->secure;
    } else if (good) {
        good = same_user(fd);
    }
    if (!good) network_stream_close(stream);
    return good;
}

bool
network_stream_connected(struct network_stream *stream)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (!stream->connecting) return true;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        return false;
    }
    stream->connecting = false;
    return true;
}

bool
network_stream_known(const struct network_stream *stream)
{
    return !stream->connecting && (!stream->secure || stream->tls.established);
}

static bool
is_temporary(int error)
{
    return error == EAGAIN || error == EINTR || error == ENOBUFS || error == ENOMEM;
}

static ssize_t
read_socket(const struct network_stream *stream, const struct iovec *pieces, int count)
{
    const struct msghdr message = {
        .msg_iov = (struct iovec *) pieces,
        .msg_iovlen = (size_t) count,
    };
    const ssize_t result = recvmsg(stream->fd, (struct msghdr *) &message, 0);
    if (result > 0) return result;
    return result < 0 && is_temporary(errno) ? 0 : -1;
}

static ssize_t
write_socket(const struct network_stream *stream, const struct iovec *pieces, int count)
{
    const struct msghdr message = {
        .msg_iov = (struct iovec *) pieces,
        .msg_iovlen = (size_t) count,
    };
    const ssize_t result = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    if (result >= 0) return result;
    return is_temporary(errno) ? 0 : -1;
}

ssize_t
network_stream_read(struct network_stream *stream, const struct iovec *pieces, int count)
{
    assert(count > 0 && pieces[0].iov_len > 0);
    if (!stream->secure) return read_socket(stream, pieces, count);
    ssize_t size = network_tls_read(&stream->tls, pieces[0].iov_base, pieces[0].iov_len);
    if (size == 0) {
        uint8_t *scratch = stream->tls.scratch;
        const struct iovec piece = {.iov_base = scratch, .iov_len = NETWORK_TLS_FEED_MAX};
        const ssize_t fed = read_socket(stream, &piece, 1);
        if (fed > 0 && !network_tls_feed(&stream->tls, scratch, (size_t) fed)) return -1;
        if (fed <= 0) return fed;
        size = network_tls_read(&stream->tls, pieces[0].iov_base, pieces[0].iov_len);
    }
    /*
     * Also at its end: what it has to say of it is of use to the other end. If that can't be sent,
     * the stream is over, but what came before is still the caller's.
     */
    const bool flushed = network_stream_flush(stream);
    if (size <= 0) return flushed ? size : -1;
    /* A call of the library gives one record at most. */
    while ((size_t) size < pieces[0].iov_len) {
        uint8_t *rest = (uint8_t *) pieces[0].iov_base + size;
        const ssize_t more =
            network_tls_read(&stream->tls, rest, pieces[0].iov_len - (size_t) size);
        if (more <= 0) break; /* An end is seen again by the next call. */
        size += more;
    }
    return size;
}

bool
network_stream_unsent(struct network_stream *stream)
{
    const void *bytes = NULL;
    return stream->secure && network_tls_unsent(&stream->tls, &bytes) > 0;
}

bool
network_stream_flush(struct network_stream *stream)
{
    const void *bytes = NULL;
    size_t size = 0;
    if (!stream->secure || stream->connecting) return true;
    while ((size = network_tls_unsent(&stream->tls, &bytes)) > 0) {
        const struct iovec piece = {.iov_base = (void *) bytes, .iov_len = size};
        const ssize_t sent = write_socket(stream, &piece, 1);
        if (sent < 0) return false;
        if (sent == 0) break;
        network_tls_sent(&stream->tls, (size_t) sent);
    }
    return true;
}

ssize_t
network_stream_write(struct network_stream *stream, const struct iovec *pieces, int count)
{
    assert(count > 0 && pieces[0].iov_len > 0);
    if (stream->connecting) return 0;
    if (!stream->secure) return write_socket(stream, pieces, count);
    if (!network_stream_flush(stream)) return -1;
    if (network_stream_unsent(stream)) return 0;
    ssize_t size = 0;
    for (int i = 0; i < count && (size_t) size < NETWORK_TLS_WRITE_MAX; i++) {
        const ssize_t part =
            network_tls_write(&stream->tls, pieces[i].iov_base, pieces[i].iov_len);
        if (part < 0) return -1;
        size += part;
        if ((size_t) part < pieces[i].iov_len) break;
    }
    return network_stream_flush(stream) ? size : -1;
}
