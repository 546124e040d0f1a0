/* SPDX-License-Identifier: PostgreSQL */
/*
 * Sockets that never block: listening, dialling, and a stream of bytes over each connection, plain
 * over a Unix socket, TLS over TCP. There is no third way.
 *
 * Who is at the other end of a Unix socket is asked of the kernel (SO_PEERCRED), by both ends: only
 * processes of the same user talk to each other. Over TCP, that the other end has the secret is
 * known once `network_stream_known` says so; no byte that it sends is given to the caller before.
 */
#ifndef LEDGER_OS_NETWORK_SOCKETS_H
#define LEDGER_OS_NETWORK_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "os/network_address.h"
#include "os/network_tls.h"

/* Addresses of a host that are tried in turn. */
#define NETWORK_TARGETS_MAX 4

/* What a stream reads ahead at most. */
#define NETWORK_CHUNK_SIZE (size_t) 65536

struct network_target {
    struct sockaddr_storage address;
    socklen_t size;
};

/*
 * Looks a host up, which may block for as long as the system's resolver does. Returns how many
 * targets there are; 0 with a text that says why there is none.
 */
uint32_t network_resolve(
    const struct network_address *address,
    struct network_target targets[NETWORK_TARGETS_MAX],
    char *text,
    size_t text_size);

/* The listening socket, or −1 with a text. A Unix socket that nobody listens to is replaced. */
int network_listen(
    const struct network_address *address,
    const struct network_target *target,
    char *text,
    size_t text_size);

struct network_stream {
    int fd;
    bool connecting; /* Dialled, and not there yet. */
    bool secure;     /* TLS, over TCP. */
    struct network_tls tls;
};

/* All of these return false if the stream can't be had; then nothing stays open. */
bool network_stream_dial(
    struct network_stream *stream,
    const struct network_target *target,
    struct network_tls_context *tls,
    uint32_t timeout_ms);

/* Of a socket that was accepted, which is the stream's from then on. */
bool network_stream_accept(
    struct network_stream *stream,
    int fd,
    struct network_tls_context *tls,
    uint32_t timeout_ms);

void network_stream_close(struct network_stream *stream);

/* The socket has become writable: is the other end there, and is it who it must be? */
bool network_stream_connected(struct network_stream *stream);

/* The other end has proved that it may talk to us. */
bool network_stream_known(const struct network_stream *stream);

/*
 * Reads into the two pieces, the first one first; the second is at least NETWORK_CHUNK_SIZE bytes
 * large, or else only the first may be given. > 0: so many bytes; 0: nothing there; < 0: the end.
 */
ssize_t network_stream_read(struct network_stream *stream, const struct iovec *pieces, int count);

/* > 0: so many bytes were taken, perhaps not yet by the kernel; 0: none now; < 0: the end. */
ssize_t network_stream_write(struct network_stream *stream, const struct iovec *pieces, int count);

/* Gives what was taken to the kernel. Returns false at the end of the stream. */
bool network_stream_flush(struct network_stream *stream);

/* Something that was taken isn't with the kernel yet. */
bool network_stream_unsent(struct network_stream *stream);

#endif
