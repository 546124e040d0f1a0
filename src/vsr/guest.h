/* SPDX-License-Identifier: PostgreSQL */
/*
 * A node that has no ledger yet, and waits to be let into a cluster.
 *
 * It connects to the nodes of its list, says who it is, and is told nothing, until a member has it
 * added (replica_members.c). Then each member that it reaches tells it the ledger's id and the
 * number of its slot. With that it can make its directory, and come again as a member. If what it
 * was told gets lost, the next connection tells it again, as long as it is the same incarnation.
 */
#ifndef LEDGER_VSR_GUEST_H
#define LEDGER_VSR_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "io/network.h"
#include "vsr/message_pool.h"

/* What a guest is told. */
struct guest_welcome {
    u128 cluster;
    u128 first_incarnation; /* Of the only member that the ledger began with, in slot 0. */
    uint8_t slot;
};

struct guest {
    struct network *network;
    struct message_pool pool;
    u128 incarnation;
    uint64_t session;
    uint64_t prepares_size_bytes;
    bool welcomed;
    struct guest_welcome welcome;
    /* Names of those connected nodes that have a ledger; empty for others. */
    char members[NETWORK_PEERS_MAX][MESSAGE_NAME_SIZE];
};

struct guest_options {
    struct network *network; /* Its callbacks and pool are the guest's from now on. */
    u128 incarnation;        /* A random number other than 0: the node's, if it is let in. */
    uint64_t session;        /* A random number other than 0. */
    uint64_t prepares_size_bytes; /* Of the log that it will make: the others' must be as large. */
};

void guest_init(struct guest *guest, struct arena *arena, const struct guest_options *options);

/* Lets the network work. Returns true once it was let in: `welcome` says as what. */
bool guest_poll(struct guest *guest);

/* The name of a connected node that has a ledger already, or NULL. Valid until the next poll. */
const char *guest_member(const struct guest *guest);

#endif
