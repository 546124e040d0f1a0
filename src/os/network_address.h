/* SPDX-License-Identifier: PostgreSQL */
/*
 * The list of nodes as people write it:
 *
 *     a=10.0.0.1:5440, b=[fd00::2]:5440, c=db3.example.org:5440, d=<absolute path of a Unix socket>
 *
 * Names are 1 … 31 of [a-z0-9_-]. An address that begins with '/' is a Unix socket's path, which
 * ends at a comma or at the end; any other is a host and a port, over TLS. Nothing is looked up
 * here. An error says at which byte of the text, counted from 0, and why.
 */
#ifndef LEDGER_OS_NETWORK_ADDRESS_H
#define LEDGER_OS_NETWORK_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/network.h"

#define NETWORK_NAME_SIZE 32
#define NETWORK_PLACE_SIZE 256
#define NETWORK_ADDRESS_SIZE (NETWORK_PLACE_SIZE + 8) /* With brackets and port. */
#define NETWORK_PATH_MAX 107 /* What the system's structure takes. */

enum network_transport { NETWORK_UNIX, NETWORK_TLS };

struct network_address {
    enum network_transport transport;
    uint16_t port;                  /* 0 for a Unix socket. */
    char place[NETWORK_PLACE_SIZE]; /* A path; or a host, an IPv6 address without brackets. */
};

struct network_node {
    char name[NETWORK_NAME_SIZE]; /* Zero from its end on. */
    struct network_address address;
};

struct network_nodes {
    uint32_t count;
    struct network_node nodes[NETWORK_PEERS_MAX];
};

struct network_address_error {
    uint32_t position;
    const char *reason;
};

/* Text of nothing but spaces is a list without nodes. On false, `nodes` is undefined. */
bool network_nodes_parse(
    struct network_nodes *nodes, const char *text, struct network_address_error *error);

/* One address alone, without a name. */
bool network_address_parse(
    struct network_address *address, const char *text, struct network_address_error *error);

/* Can a node have this name? */
bool network_name_valid(const char *name);

/* As it is written in the list. */
void network_address_text(const struct network_address *address, char text[NETWORK_ADDRESS_SIZE]);

bool network_address_equal(const struct network_address *a, const struct network_address *b);

/* Is it a host's name, which has to be looked up? */
bool network_address_by_name(const struct network_address *address);

/* The node's place in the list, or NETWORK_PEERS_MAX. */
uint32_t network_nodes_find(const struct network_nodes *nodes, const char *name);

#endif
