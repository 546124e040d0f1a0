/* SPDX-License-Identifier: PostgreSQL */
/*
 * Some nodes in one process, over Unix sockets or over TLS on the loopback, with one clock that
 * only the test moves. Each node checks what it receives: whole, right, in order.
 */
#ifndef LEDGER_TEST_UNIT_NETWORK_FIXTURE_H
#define LEDGER_TEST_UNIT_NETWORK_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "os/network_os.h"

#define CLUSTER       77
#define NODES_MAX     3
#define KEPT_MAX      64
#define SMALL_BUFFERS 48
#define LARGE_BUFFERS 20

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
    uint32_t ups[NODES_MAX];
    uint32_t downs[NODES_MAX];
    uint8_t bye_reason[NODES_MAX]; /* The newest; 0: none was said. */
    uint8_t bye_flags[NODES_MAX];
    uint64_t received[NODES_MAX];
    uint64_t received_bytes[NODES_MAX];
    uint64_t op_last[NODES_MAX]; /* Of prepares: they must ascend by one while connected. */
    uint64_t sent_whole;
    uint64_t sent_lost;

    /* With `keeps`, received messages stay here until node_release_kept. */
    bool keeps;
    struct message *kept[KEPT_MAX];
    uint32_t kept_count;
    bool sending; /* No callback may run. */
};

extern struct node nodes[NODES_MAX];
extern char fixture_folder[64];

/* `count` nodes a, b, c that know each other, not connected yet. */
void nodes_begin(uint32_t count, enum network_transport transport);
void nodes_end(void);

void network_node_open(uint32_t index);
void node_close(uint32_t index);

/* The clock. */
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
void raw_hello(int fd, const char *name);

/* Is the other end gone? Reads what it said. */
bool raw_ended(int fd);

#endif
