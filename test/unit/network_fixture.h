/* SPDX-License-Identifier: PostgreSQL */
/*
 * Some nodes in one process, over Unix sockets or over TLS on the loopback, with one clock that
 * only the test moves, unless it asks for the real one. Each node checks what it receives: whole,
 * right, in order.
 */
#ifndef LEDGER_TEST_UNIT_NETWORK_FIXTURE_H
#define LEDGER_TEST_UNIT_NETWORK_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "os/network_os.h"

#define CLUSTER       77
#define NODES_MAX     3
#define SMALL_BUFFERS 48
#define LARGE_BUFFERS 20
#define KEPT_MAX      (SMALL_BUFFERS + LARGE_BUFFERS)

struct node {
    struct network_os os;
    struct message_pool pool;
    uint8_t *memory;
    bool open;
    char name[NETWORK_NAME_SIZE];
    char secret_file[128];

    /* What its hello says. */
    u128 cluster;
    uint64_t fingerprint;
    uint64_t ring;

    /* What it was told, by peer. */
    uint32_t ups[NETWORK_PEERS_MAX];
    uint32_t downs[NETWORK_PEERS_MAX];
    uint8_t bye_reason[NETWORK_PEERS_MAX]; /* The newest; 0: none was said. */
    uint8_t bye_flags[NETWORK_PEERS_MAX];
    uint64_t received[NETWORK_PEERS_MAX];
    uint64_t received_bytes[NETWORK_PEERS_MAX];
    uint64_t op_last[NETWORK_PEERS_MAX]; /* Of prepares: they must ascend by one while connected, */
    bool from_one;                       /* and begin with 1. */
    uint64_t op_sent[NETWORK_PEERS_MAX]; /* The test's; 0 when a connection begins. */
    uint64_t sent_whole;
    uint64_t sent_lost;

    /* With `keeps`, received messages stay here until node_release_kept. */
    bool keeps;
    struct message *kept[KEPT_MAX];
    uint32_t kept_count;
    bool sending; /* No callback may run. */

    /* With `answers`, each message that is received is answered by another one at once. */
    bool answers;
    uint64_t answer_count;
    uint64_t refused_count; /* Answers that there was no room for. */
};

extern struct node nodes[NODES_MAX];
extern char fixture_folder[64];

/* `count` nodes a, b, c that know each other, not connected yet. */
void nodes_begin(uint32_t count, enum network_transport transport);
void nodes_end(void);

void network_node_open(uint32_t index);
void node_close(uint32_t index);

/* The list that they were opened with, and another one at one of them, where it must do. */
void nodes_list(struct network_nodes *nodes);
void node_reload(uint32_t index, const struct network_nodes *nodes);

/* The clock. */
void fixture_clock_real(bool real);
uint64_t fixture_now_ns(void);
void fixture_advance_ns(uint64_t by_ns);

/* Polls each open node once; returns how many callbacks ran. */
uint32_t nodes_poll(void);

/* Polls until the condition holds; time goes on when nothing happens. False: it doesn't come. */
bool nodes_until(bool (*condition)(void));

/* Polls until nothing has happened for a while of the clock. */
void nodes_settle(uint64_t for_ns);

bool nodes_all_up(void);

/* Sends a prepare of so many bytes of body; false if it can't be sent. */
bool node_send(uint32_t from, uint32_t to, uint64_t op, uint32_t body_size);
bool node_send_command(uint32_t from, uint32_t to, uint8_t command, struct prng *prng);
void node_release_kept(uint32_t index);

/* All buffers of all nodes are free. */
bool nodes_buffers_free(void);

/* Writes the node's secret file; a line for each letter, whose secret is made of it. */
void node_secrets(uint32_t index, const char *letters);

/* A client of the test's own: a blocking socket, and a hello in the name of a node. */
int raw_connect(uint32_t index);
void raw_hello(int fd, const char *name, u128 cluster);

/* Is the other end gone? Reads what it said. */
bool raw_ended(int fd);

#endif
