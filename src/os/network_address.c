/* SPDX-License-Identifier: PostgreSQL */
/* See network_address.h. */
#include "os/network_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

struct cursor {
    const char *text;
    uint32_t at;
    struct network_address_error *error;
};

static bool
fail(struct cursor *cursor, uint32_t position, const char *reason)
{
    *cursor->error = (struct network_address_error){.position = position, .reason = reason};
    return false;
}

static char
peek(const struct cursor *cursor)
{
    return cursor->text[cursor->at];
}

static void
skip_spaces(struct cursor *cursor)
{
    while (peek(cursor) == ' ' || peek(cursor) == '\t' || peek(cursor) == '\n') cursor->at += 1;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_name(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-';
}

static bool
is_host(char c)
{
    return is_name(c) || (c >= 'A' && c <= 'Z') || c == '.';
}

static bool
is_address_6(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
}

/* Takes bytes of one kind, at most size − 1 of them, and ends them with zeros. */
static bool
take(struct cursor *cursor, bool (*is)(char c), char *into, uint32_t size)
{
    uint32_t count = 0;
    memset(into, 0, size);
    while (is(peek(cursor))) {
        if (count == size - 1) return false;
        into[count] = peek(cursor);
        count += 1;
        cursor->at += 1;
    }
    return true;
}

static bool
parse_port(struct cursor *cursor, struct network_address *address)
{
    if (peek(cursor) != ':') {
        return fail(cursor, cursor->at, "expected a colon and a port after the host");
    }
    cursor->at += 1;
    const uint32_t start = cursor->at;
    uint32_t port = 0;
    while (is_digit(peek(cursor)) && port <= UINT16_MAX) {
        port = port * 10 + (uint32_t) (peek(cursor) - '0');
        cursor->at += 1;
    }
    if (cursor->at == start) return fail(cursor, start, "expected a port, a number");
    if (port == 0 || port > UINT16_MAX) {
        return fail(cursor, start, "a port is a number from 1 to 65535");
    }
    address->port = (uint16_t) port;
    return true;
}

static bool
parse_path(struct cursor *cursor, struct network_address *address)
{
    const uint32_t start = cursor->at;
    uint32_t end = start;
    while (cursor->text[end] != 0 && cursor->text[end] != ',') {
        if ((unsigned char) cursor->text[end] < ' ') {
            return fail(cursor, end, "a path has no control characters");
        }
        end += 1;
    }
    cursor->at = end;
    while (cursor->text[end - 1] == ' ') end -= 1;
    if (end - start > NETWORK_PATH_MAX) {
        return fail(cursor, start, "the path of a Unix socket has at most 107 bytes");
    }
    if (cursor->text[end - 1] == '/') return fail(cursor, end - 1, "the path is that of a folder");
    address->transport = NETWORK_UNIX;
    memcpy(address->place, cursor->text + start, end - start);
    return true;
}

static bool
parse_address_6(struct cursor *cursor, struct network_address *address)
{
    const uint32_t start = cursor->at;
    struct in6_addr binary;
    cursor->at += 1;
    if (!take(cursor, is_address_6, address->place, sizeof(address->place)) ||
        peek(cursor) != ']') {
        return fail(cursor, cursor->at, "expected an IPv6 address and a closing bracket");
    }
    if (inet_pton(AF_INET6, address->place, &binary) != 1) {
        return fail(cursor, start + 1, "this is no IPv6 address");
    }
    cursor->at += 1;
    return parse_port(cursor, address);
}

static bool
parse_address(struct cursor *cursor, struct network_address *address)
{
    memset(address, 0, sizeof(*address));
    if (peek(cursor) == '/') return parse_path(cursor, address);
    address->transport = NETWORK_TLS;
    if (peek(cursor) == '[') return parse_address_6(cursor, address);
    const uint32_t start = cursor->at;
    if (!take(cursor, is_host, address->place, sizeof(address->place))) {
        return fail(cursor, start, "the name of a host has at most 255 bytes");
    }
    if (address->place[0] == 0) {
        return fail(cursor, start, "expected a host, an IPv6 address in brackets, or a path");
    }
    return parse_port(cursor, address);
}

bool
network_name_valid(const char *name)
{
    size_t size = 0;
    while (size < NETWORK_NAME_SIZE && is_name(name[size])) size += 1;
    return size > 0 && size < NETWORK_NAME_SIZE && name[size] == 0;
}

void
network_address_text(const struct network_address *address, char text[NETWORK_ADDRESS_SIZE])
{
    const bool is_v6 = strchr(address->place, ':') != NULL;
    if (address->transport == NETWORK_UNIX) {
        (void) snprintf(text, NETWORK_ADDRESS_SIZE, "%s", address->place);
    } else {
        (void) snprintf(
            text,
            NETWORK_ADDRESS_SIZE,
            is_v6 ? "[%s]:%u" : "%s:%u",
            address->place,
            address->port);
    }
}

bool
network_address_equal(const struct network_address *a, const struct network_address *b)
{
    return a->transport == b->transport && a->port == b->port && strcmp(a->place, b->place) == 0;
}

static bool
parse_node(struct cursor *cursor, struct network_nodes *nodes)
{
    const uint32_t start = cursor->at;
    static_assert(NETWORK_PEERS_MAX == 12, "the text says so");
    if (nodes->count == NETWORK_PEERS_MAX) return fail(cursor, start, "there are at most 12 nodes");
    struct network_node *node = &nodes->nodes[nodes->count];
    if (!take(cursor, is_name, node->name, sizeof(node->name))) {
        return fail(cursor, start, "a node's name has at most 31 characters");
    }
    if (node->name[0] == 0) {
        return fail(cursor, start, "expected a node's name, of a-z, 0-9, '_' and '-'");
    }
    if (network_nodes_find(nodes, node->name) < NETWORK_PEERS_MAX) {
        return fail(cursor, start, "this name is in the list already");
    }
    skip_spaces(cursor);
    if (peek(cursor) != '=') {
        return fail(cursor, cursor->at, "expected '=' and an address after the node's name");
    }
    cursor->at += 1;
    skip_spaces(cursor);
    const uint32_t address_start = cursor->at;
    if (!parse_address(cursor, &node->address)) return false;
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (network_address_equal(&nodes->nodes[i].address, &node->address)) {
            return fail(cursor, address_start, "another node has this address");
        }
    }
    nodes->count += 1;
    return true;
}

bool
network_nodes_parse(
    struct network_nodes *nodes, const char *text, struct network_address_error *error)
{
    struct cursor cursor = {.text = text, .error = error};
    assert(text != NULL);
    memset(nodes, 0, sizeof(*nodes));
    skip_spaces(&cursor);
    if (peek(&cursor) == 0) return true;
    for (;;) {
        if (!parse_node(&cursor, nodes)) return false;
        skip_spaces(&cursor);
        if (peek(&cursor) == 0) return true;
        if (peek(&cursor) != ',') {
            return fail(&cursor, cursor.at, "expected a comma, or the end of the list");
        }
        cursor.at += 1;
        skip_spaces(&cursor);
    }
}

bool
network_address_parse(
    struct network_address *address, const char *text, struct network_address_error *error)
{
    struct cursor cursor = {.text = text, .error = error};
    assert(text != NULL);
    skip_spaces(&cursor);
    if (!parse_address(&cursor, address)) return false;
    skip_spaces(&cursor);
    if (peek(&cursor) != 0) return fail(&cursor, cursor.at, "expected the end of the address");
    return true;
}

bool
network_address_by_name(const struct network_address *address)
{
    struct in6_addr binary; /* Room for either kind. */
    return address->transport == NETWORK_TLS &&
           inet_pton(AF_INET, address->place, &binary) != 1 &&
           inet_pton(AF_INET6, address->place, &binary) != 1;
}

uint32_t
network_nodes_find(const struct network_nodes *nodes, const char *name)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (strcmp(nodes->nodes[i].name, name) == 0) return i;
    }
    return NETWORK_PEERS_MAX;
}
