/* SPDX-License-Identifier: PostgreSQL */
/* Why nodes don't meet, in words: see network_os.h. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "os/network_os.h"

#define WHO_SIZE (NETWORK_NAME_SIZE + 8)

/*
 * A node that ends, or that was just let in and comes again, leaves whoever dials it at that
 * moment. From so many in a row on it is something else.
 */
#define GONE_EARLY_MIN 3

void
network_os_refused(struct network_os *os, const char *who, const char *why)
{
    os->refused_count += 1;
    (void) snprintf(os->refused_text, sizeof(os->refused_text), "%s: %s", who, why);
    memcpy(os->trouble_text, os->refused_text, sizeof(os->trouble_text));
}

void
network_os_refused_connection(
    struct network_os *os, const struct network_connection *connection, const char *why)
{
    char who[WHO_SIZE];
    const uint32_t peer =
        connection->peer < NETWORK_PEERS_MAX ? connection->peer : connection->dialled_peer;
    if (peer == NETWORK_PEERS_MAX) {
        network_os_refused(os, connection->from, why);
        return;
    }
    (void) snprintf(who, sizeof(who), "node \"%s\"", os->peers[peer].name);
    network_os_refused(os, who, why);
}

void
network_os_refused_for(
    struct network_os *os, const char *name, const char *begin, uint8_t reason)
{
    char who[WHO_SIZE];
    char why[NETWORK_REASON_SIZE];
    (void) snprintf(who, sizeof(who), "node \"%s\"", name);
    (void) snprintf(
        why, sizeof(why), "%s%s; %s", begin, message_bye_text(reason), message_bye_hint(reason));
    network_os_refused(os, who, why);
}

void
network_os_gone_early(struct network_os *os, const struct network_connection *connection)
{
    const uint32_t peer = connection->dialled_peer;
    if (peer < NETWORK_PEERS_MAX) {
        os->peers[peer].gone_early += 1;
        if (os->peers[peer].gone_early < GONE_EARLY_MIN) return;
    }
    network_os_refused_connection(os, connection, "it went away before it had said hello");
}

void
network_os_name_origin(
    struct network_connection *connection, const struct sockaddr_storage *address)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const void *binary = NULL;
    if (address->ss_family == AF_INET) {
        binary = &((const struct sockaddr_in *) (const void *) address)->sin_addr;
    } else if (address->ss_family == AF_INET6) {
        binary = &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr;
    }
    if (binary == NULL) {
        (void) snprintf(connection->from, sizeof(connection->from), "a process of this machine");
        return;
    }
    (void) inet_ntop(address->ss_family, binary, host, sizeof(host));
    (void) snprintf(connection->from, sizeof(connection->from), "a process at %s", host);
}

bool
network_os_notice(struct network_os *os, char *text, size_t text_size)
{
    const uint64_t now = clock_monotonic_ns(os->clock);
    if (os->refused_count == 0) return false;
    if (os->noticed && now - os->noticed_ns < NETWORK_NOTICE_NS) return false;
    const int size = snprintf(text, text_size, "no connection with %s", os->refused_text);
    if (os->refused_count > 1 && size > 0 && (size_t) size < text_size) {
        (void) snprintf(
            text + size,
            text_size - (size_t) size,
            " (the newest of %llu connections that have failed or were refused)",
            (unsigned long long) os->refused_count);
    }
    os->refused_count = 0;
    os->noticed = true;
    os->noticed_ns = now;
    return true;
}

bool
network_os_trouble(const struct network_os *os, char *text, size_t text_size)
{
    for (uint32_t i = 0; i < os->network.peer_count; i++) {
        if (os->network.peers[i].up) return false;
    }
    if (os->trouble_text[0] == 0) return false;
    (void) snprintf(text, text_size, "%s", os->trouble_text);
    return true;
}
