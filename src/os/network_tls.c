/* SPDX-License-Identifier: PostgreSQL */
/* See network_tls.h. */
#include "os/network_tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/assert.h"

#define CIPHER "TLS_AES_128_GCM_SHA256"

/* Its number in the protocol (RFC 8446, B.4). */
static const unsigned char cipher_id[] = {0x13, 0x01};

/* The library takes no session of another use than the context's. */
static const unsigned char use_id[] = "ledger";

/* A session that was never held before: what OpenSSL makes an external secret of. */
static SSL_SESSION *
session_of(SSL *ssl, const struct network_secret *secret)
{
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, cipher_id);
    SSL_SESSION *session = SSL_SESSION_new();
    if (cipher == NULL || session == NULL ||
        SSL_SESSION_set1_master_key(session, secret->key, sizeof(secret->key)) != 1 ||
        SSL_SESSION_set_cipher(session, cipher) != 1 ||
        SSL_SESSION_set1_id_context(session, use_id, sizeof(use_id)) != 1 ||
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
        SSL_SESSION_free(session);
        return NULL;
    }
    return session;
}

static const struct network_secrets *
secrets_of(const SSL *ssl)
{
    const struct network_tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    return context->secrets;
}

/* The dialling end: the first secret is used. */
static int
use_secret(
    SSL *ssl,
    const EVP_MD *digest,
    const unsigned char **id,
    size_t *id_size,
    SSL_SESSION **session)
{
    const struct network_secrets *secrets = secrets_of(ssl);
    (void) digest;
    *session = NULL;
    *id = NULL;
    *id_size = 0;
    if (secrets->count == 0) return 0;
    const struct network_secret *secret = &secrets->secrets[0];
    *session = session_of(ssl, secret);
    if (*session == NULL) return 0;
    *id = (const unsigned char *) secret->id;
    *id_size = strlen(secret->id);
    return 1;
}

/* The end that was dialled: each secret is accepted. An unknown id ends the handshake. */
static int
find_secret(SSL *ssl, const unsigned char *id, size_t id_size, SSL_SESSION **session)
{
    const struct network_secret *secret = network_secrets_find(secrets_of(ssl), id, id_size);
    *session = NULL;
    if (secret == NULL) return 0;
    *session = session_of(ssl, secret);
    return *session != NULL;
}

bool
network_tls_open(struct network_tls_context *context, const struct network_secrets *secrets)
{
    assert(secrets != NULL);
    context->context = NULL;
    context->secrets = secrets;
    SSL_CTX *made = SSL_CTX_new(TLS_method());
    if (made == NULL) return false;
    context->context = made;
    SSL_CTX_set_app_data(made, context);
    (void) SSL_CTX_set_options(made, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    (void) SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    (void) SSL_CTX_set_mode(
        made,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
            SSL_MODE_RELEASE_BUFFERS);
    /* There is nothing to verify a certificate by: who shows one instead of a secret fails. */
    SSL_CTX_set_verify(made, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_psk_use_session_callback(made, use_secret);
    SSL_CTX_set_psk_find_session_callback(made, find_secret);
    if (SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(made, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(made, CIPHER) != 1 || SSL_CTX_set_num_tickets(made, 0) != 1 ||
        SSL_CTX_set_max_early_data(made, 0) != 1 ||
        SSL_CTX_set_session_id_context(made, use_id, sizeof(use_id)) != 1) {
        network_tls_close(context);
        return false;
    }
    return true;
}

void
network_tls_close(struct network_tls_context *context)
{
    SSL_CTX_free(context->context);
    context->context = NULL;
}

bool
network_tls_begin(struct network_tls *tls, struct network_tls_context *context, bool dialled)
{
    *tls = (struct network_tls){.ssl = SSL_new(context->context), .scratch = context->scratch};
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    if (tls->ssl == NULL || in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        network_tls_end(tls);
        return false;
    }
    /* An empty memory isn't the end of the stream. */
    (void) BIO_set_mem_eof_return(in, -1);
    (void) BIO_set_mem_eof_return(out, -1);
    SSL_set_bio(tls->ssl, in, out);
    if (dialled) {
        SSL_set_connect_state(tls->ssl);
    } else {
        SSL_set_accept_state(tls->ssl);
    }
    return true;
}

void
network_tls_end(struct network_tls *tls)
{
    SSL_free(tls->ssl);
    *tls = (struct network_tls){0};
}

bool
network_tls_feed(struct network_tls *tls, const void *bytes, size_t size)
{
    assert(size > 0 && size <= NETWORK_TLS_FEED_MAX);
    return BIO_write(SSL_get_rbio(tls->ssl), bytes, (int) size) == (int) size;
}

/* 0: it goes on when more has come; −1: it is over. */
static int
outcome(const struct network_tls *tls, int result)
{
    const int reason = SSL_get_error(tls->ssl, result);
    /* The library's list of errors is the thread's: others must not find this one in it. */
    ERR_clear_error();
    return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* 1: it is done. What the peer has proved is looked at once more, whatever the callbacks did. */
static int
shake_hands(struct network_tls *tls)
{
    if (tls->established) return 1;
    ERR_clear_error();
    const int result = SSL_do_handshake(tls->ssl);
    const bool proved = result == 1 && SSL_session_reused(tls->ssl) == 1 &&
                        SSL_version(tls->ssl) == TLS1_3_VERSION;
    const int shaken = result != 1 ? outcome(tls, result) : proved ? 1 : -1;
    tls->established = shaken == 1;
    tls->failed = shaken < 0;
    return shaken;
}

ssize_t
network_tls_read(struct network_tls *tls, void *into, size_t size)
{
    size_t count = 0;
    assert(size > 0);
    const int shaken = shake_hands(tls);
    if (shaken != 1) return shaken;
    ERR_clear_error();
    const int result = SSL_read_ex(tls->ssl, into, size, &count);
    return result == 1 ? (ssize_t) count : outcome(tls, result);
}

ssize_t
network_tls_write(struct network_tls *tls, const void *bytes, size_t size)
{
    size_t count = 0;
    assert(size > 0);
    const int shaken = shake_hands(tls);
    if (shaken != 1) return shaken;
    if (size > NETWORK_TLS_WRITE_MAX) size = NETWORK_TLS_WRITE_MAX;
    /* With partial writes, a call ends after one record. */
    size_t done = 0;
    while (done < size) {
        ERR_clear_error();
        const char *rest = (const char *) bytes + done;
        const int result = SSL_write_ex(tls->ssl, rest, size - done, &count);
        if (result != 1) return done > 0 ? (ssize_t) done : outcome(tls, result);
        done += count;
    }
    return (ssize_t) done;
}

size_t
network_tls_unsent(struct network_tls *tls, const void **bytes)
{
    char *start = NULL;
    const long size = BIO_get_mem_data(SSL_get_wbio(tls->ssl), &start);
    *bytes = start;
    return size > 0 ? (size_t) size : 0;
}

void
network_tls_sent(struct network_tls *tls, size_t size)
{
    BIO *out = SSL_get_wbio(tls->ssl);
    char away[4096];
    assert(size <= BIO_ctrl_pending(out));
    if (size == BIO_ctrl_pending(out)) {
        (void) BIO_reset(out);
        return;
    }
    while (size > 0) {
        const int part = size < sizeof(away) ? (int) size : (int) sizeof(away);
        const int count = BIO_read(out, away, part);
        assert(count == part);
        size -= (size_t) count;
    }
}
