/* SPDX-License-Identifier: PostgreSQL */
/*
 * TLS 1.3 with a pre-shared secret, over bytes in memory: the caller moves them to and from a
 * socket.
 *
 * Both ends prove that they have a secret of the same id, and agree on fresh keys for each
 * connection, so that a secret which leaks later opens nothing old. No certificate is asked for or
 * accepted. TLS_AES_128_GCM_SHA256 only. No tickets, no early data, no renegotiation.
 *
 * What waits in memory is bounded: the caller feeds only while nothing is left to read, at most
 * NETWORK_TLS_FEED_MAX bytes, and writes only while nothing is left to send.
 */
#ifndef LEDGER_OS_NETWORK_TLS_H
#define LEDGER_OS_NETWORK_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/network_secrets.h"

/* Four records' content: what one call encrypts. */
#define NETWORK_TLS_WRITE_MAX (size_t) 65536
#define NETWORK_TLS_FEED_MAX (size_t) 65536

struct ssl_ctx_st;
struct ssl_st;

struct network_tls_context {
    struct ssl_ctx_st *context;
    uint8_t scratch[NETWORK_TLS_FEED_MAX]; /* For what was received, on its way to feed. */
    /* Looked at by each handshake, so that new content holds from the next connection on. */
    const struct network_secrets *secrets;
};

struct network_tls {
    struct ssl_st *ssl;
    uint8_t *scratch; /* The context's. */
    bool established; /* The other end has proved that it has a secret. */
    bool failed;      /* It hasn't, or we haven't to it: the handshake came to its end without. */
};

/* Returns false if memory is missing, or the library can't do this. */
bool network_tls_open(struct network_tls_context *context, const struct network_secrets *secrets);
void network_tls_close(struct network_tls_context *context);

/* A connection; `dialled` by this end. Returns false if memory is missing. */
bool network_tls_begin(
    struct network_tls *tls, struct network_tls_context *context, bool dialled);
void network_tls_end(struct network_tls *tls);

/* Bytes from the socket. Returns false if memory is missing. */
bool network_tls_feed(struct network_tls *tls, const void *bytes, size_t size);

/* Goes on with the handshake, then decrypts. > 0: bytes; 0: it needs to be fed; < 0: it is over. */
ssize_t network_tls_read(struct network_tls *tls, void *into, size_t size);

/* Encrypts up to NETWORK_TLS_WRITE_MAX bytes. > 0: how many; 0: not yet; < 0: it is over. */
ssize_t network_tls_write(struct network_tls *tls, const void *bytes, size_t size);

/* What is to be sent: where it lies, and how much. */
size_t network_tls_unsent(struct network_tls *tls, const void **bytes);

/* So much of it was sent. */
void network_tls_sent(struct network_tls *tls, size_t size);

#endif
