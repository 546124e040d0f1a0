/* SPDX-License-Identifier: PostgreSQL */
/* The list of nodes as people write it, and what is wrong with it. */
#include <string.h>

#include "base/prng.h"
#include "base/units.h"
#include "os/network_address.h"
#include "unit/unit.h"

static struct network_nodes nodes;
static struct network_address_error error;

UNIT_TEST(all_kinds_of_addresses)
{
    expect(network_nodes_parse(
        &nodes,
        " a=10.0.0.1:5440,b = [fd00::2]:1 ,\n c-3=db3.Example.org:65535, d_=/run/x y/d.sock , ",
        &error) == false);
    expect_equal(error.position, 84); /* A comma is followed by a node. */
    expect(network_nodes_parse(
        &nodes,
        " a=10.0.0.1:5440,b = [fd00::2]:1 ,\n c-3=db3.Example.org:65535, d_=/run/x y/d.sock  ",
        &error));
    expect_equal(nodes.count, 4);
    expect(strcmp(nodes.nodes[0].name, "a") == 0);
    expect(strcmp(nodes.nodes[0].address.place, "10.0.0.1") == 0);
    expect_equal(nodes.nodes[0].address.port, 5440);
    expect_equal(nodes.nodes[0].address.transport, NETWORK_TLS);
    expect(strcmp(nodes.nodes[1].address.place, "fd00::2") == 0);
    expect_equal(nodes.nodes[1].address.port, 1);
    expect(strcmp(nodes.nodes[2].name, "c-3") == 0);
    expect(strcmp(nodes.nodes[2].address.place, "db3.Example.org") == 0);
    expect_equal(nodes.nodes[2].address.port, 65535);
    expect(strcmp(nodes.nodes[3].address.place, "/run/x y/d.sock") == 0);
    expect_equal(nodes.nodes[3].address.transport, NETWORK_UNIX);
    expect_equal(network_nodes_find(&nodes, "d_"), 3);
    expect_equal(network_nodes_find(&nodes, "e"), NETWORK_PEERS_MAX);
    expect(network_nodes_parse(&nodes, " \t", &error));
    expect_equal(nodes.count, 0);
}

UNIT_TEST(names)
{
    expect(network_name_valid("a"));
    expect(network_name_valid("node_1-abcdefghijklmnopqrstuvwx"));
    expect(!network_name_valid("node_1-abcdefghijklmnopqrstuvwxy"));
    static const char *const wrongs[] = {"", "A", "a b", "a ", "a=", "\xc3\xa4"};
    for (uint32_t i = 0; i < ARRAY_COUNT(wrongs); i++) expect(!network_name_valid(wrongs[i]));
}

UNIT_TEST(an_address_is_written_as_it_was_read)
{
    static const char *const texts[] = {"10.0.0.1:5440", "[fd00::2]:1", "db.x:65535", "/run/a b"};
    for (uint32_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct network_address address;
        char text[NETWORK_ADDRESS_SIZE];
        expect(network_address_parse(&address, texts[i], &error));
        network_address_text(&address, text);
        expect(strcmp(text, texts[i]) == 0);
    }
}

struct wrong {
    const char *text;
    uint32_t position;
    const char *reason;
};

UNIT_TEST(errors_say_where_and_why)
{
    static const struct wrong wrongs[] = {
        {"a", 1, "expected '='"},
        {"a=", 2, "expected a host"},
        {"A=h:1", 0, "expected a node's name"},
        {"=h:1", 0, "expected a node's name"},
        {"a=h", 3, "expected a colon"},
        {"a=h:", 4, "expected a port"},
        {"a=h:x", 4, "expected a port"},
        {"a=h:0", 4, "1 to 65535"},
        {"a=h:65536", 4, "1 to 65535"},
        {"a=h:99999999999999999999", 4, "1 to 65535"},
        {"a=h:1 b=h:2", 6, "expected a comma"},
        {"a=h:1,", 6, "expected a node's name"},
        {"a=h:1,,b=h:2", 6, "expected a node's name"},
        {"a=h:1,a=h:2", 6, "in the list already"},
        {"a=h:1,b=h:1", 8, "another node has this address"},
        {"a=[fd00::2:1", 12, "closing bracket"},
        {"a=[fd00:::2]:1", 3, "no IPv6 address"},
        {"a=[]:1", 3, "no IPv6 address"},
        {"a=fd00::2:1", 7, "expected a port"},
        {"a=/", 2, "folder"},
        {"a=/x\ny", 4, "control characters"},
        {"abcdefghijklmnopqrstuvwxyz012345=h:1", 0, "at most 31"},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(wrongs); i++) {
        expect(!network_nodes_parse(&nodes, wrongs[i].text, &error));
        if (error.position != wrongs[i].position || !strstr(error.reason, wrongs[i].reason)) {
            printf("%s: %u %s\n", wrongs[i].text, error.position, error.reason);
            expect(false);
        }
    }
}

UNIT_TEST(limits_of_lengths_and_of_the_list)
{
    char text[1024];
    char path[NETWORK_PATH_MAX + 2];
    memset(path, 'p', sizeof(path));
    path[0] = '/';
    path[NETWORK_PATH_MAX] = 0;
    struct network_address address;
    expect(network_address_parse(&address, path, &error));
    path[NETWORK_PATH_MAX] = 'p';
    path[NETWORK_PATH_MAX + 1] = 0;
    expect(!network_address_parse(&address, path, &error));
    expect(!network_address_parse(&address, "h:1 x", &error));
    expect_equal(error.position, 4);
    memset(text, 'h', 300);
    memcpy(text + 300, ":1", 3);
    expect(!network_address_parse(&address, text, &error));
    uint32_t at = 0;
    for (int i = 0; i < NETWORK_PEERS_MAX + 1; i++) {
        expect(i < NETWORK_PEERS_MAX ? true : network_nodes_parse(&nodes, text, &error));
        const char *comma = i > 0 ? "," : "";
        at += (uint32_t) snprintf(text + at, sizeof(text) - at, "%sn%d=h:%d", comma, i, i + 1);
    }
    expect(!network_nodes_parse(&nodes, text, &error));
    expect(strstr(error.reason, "at most 12") != NULL);
}

/* Whatever the text is, the parser ends, within it; what it accepts is well-formed. */
UNIT_TEST(any_text)
{
    static const char alphabet[] = "ab1=,:/[]. -_\t%Z\x80";
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t round = 0; round < 20000; round++) {
        const uint64_t size = prng_below(&prng, 40);
        char *text = malloc(size + 1);
        for (uint64_t i = 0; i < size; i++) {
            text[i] = alphabet[prng_below(&prng, sizeof(alphabet) - 1)];
        }
        text[size] = 0;
        error = (struct network_address_error){.position = UINT32_MAX};
        if (network_nodes_parse(&nodes, text, &error)) {
            for (uint32_t i = 0; i < nodes.count; i++) {
                expect(nodes.nodes[i].name[0] != 0 && nodes.nodes[i].address.place[0] != 0);
                expect_equal(network_nodes_find(&nodes, nodes.nodes[i].name), i);
            }
        } else {
            expect(error.position <= size && error.reason != NULL);
        }
        free(text);
    }
}

UNIT_MAIN(test_network_address)
