/* SPDX-License-Identifier: PostgreSQL */
/*
 * The shared secrets of a cluster: a file with a line for each,
 *
 *     key-id:64 hexadecimal digits
 *
 * and with empty lines and comments that begin with '#'. The first secret is used to dial; all are
 * accepted. So a secret is replaced without a moment in which nodes refuse each other: add the new
 * one behind the old one on all nodes, then put it first on all, then remove the old one.
 *
 * Nobody but the server's user may read the file: it must be a regular file of that user (or of
 * root) with no permission for group and others.
 */
#ifndef LEDGER_OS_NETWORK_SECRETS_H
#define LEDGER_OS_NETWORK_SECRETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETWORK_SECRETS_MAX 8
#define NETWORK_SECRET_ID_SIZE 33
#define NETWORK_SECRET_SIZE 32
#define NETWORK_SECRETS_FILE_MAX 4096

struct network_secret {
    char id[NETWORK_SECRET_ID_SIZE]; /* 1 … 32 of [A-Za-z0-9._-], then zeros. */
    uint8_t key[NETWORK_SECRET_SIZE];
};

struct network_secrets {
    uint32_t count;
    struct network_secret secrets[NETWORK_SECRETS_MAX];
};

/* On false, `secrets` is as before, and the text says why; it never has a part of a secret. */
bool network_secrets_load(
    struct network_secrets *secrets, const char *path, char *text, size_t text_size);

/* The same of the file's content. */
bool network_secrets_parse(
    struct network_secrets *secrets, const char *content, char *text, size_t text_size);

/* Their ids, the first one first: of the secrets themselves it tells nothing. */
void network_secrets_text(const struct network_secrets *secrets, char *text, size_t text_size);

const struct network_secret *network_secrets_find(
    const struct network_secrets *secrets, const void *id, size_t id_size);

#endif
