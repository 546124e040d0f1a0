/* SPDX-License-Identifier: PostgreSQL */
#include "pg/worker/identity.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port.h"

#include "base/checksum.h"
#include "os/file_replacer.h"
#include "pg/settings.h"

#define IDENTITY_TEMPORARY_FILE IDENTITY_FILE ".tmp"

/* 32 hex digits and a terminating zero. */
#define HEX_SIZE 33

static void
hex_text(u128 value, char text[HEX_SIZE])
{
    snprintf(
        text,
        HEX_SIZE,
        "%016llx%016llx",
        (unsigned long long) u128_high(value),
        (unsigned long long) u128_low(value));
}

void
identity_uuid_text(u128 value, char text[IDENTITY_UUID_TEXT_SIZE])
{
    char hex[HEX_SIZE];
    hex_text(value, hex);
    snprintf(
        text,
        IDENTITY_UUID_TEXT_SIZE,
        "%.8s-%.4s-%.4s-%.4s-%.12s",
        hex,
        hex + 8,
        hex + 12,
        hex + 16,
        hex + 20);
}

static int
node_text(const struct identity *identity, char *text, int size_max)
{
    if (identity->node[0] == '\0') return 0;
    const int size = snprintf(text, (size_t) size_max, "node: %s\n", identity->node);
    assert(size > 0 && size < size_max);
    return size;
}

/*
 * There is only one function that knows the format: reading formats what it understood, and
 * compares.
 */
int
identity_text(const struct identity *identity, char text[IDENTITY_TEXT_MAX])
{
    const struct engine_identity *owner = &identity->owner;
    char cluster[HEX_SIZE];
    char incarnation[HEX_SIZE];
    char sum[HEX_SIZE];
    hex_text(owner->cluster, cluster);
    hex_text(owner->incarnation, incarnation);
    const int size = snprintf(
        text,
        IDENTITY_TEXT_MAX,
        "version: %d\ncluster: %s\nincarnation: %s\nsystem_identifier: " UINT64_FORMAT
        "\nreplica: %u\nreplica_count: %u\nview: " UINT64_FORMAT "\nop: " UINT64_FORMAT
        "\ntimestamp: " UINT64_FORMAT "\n",
        IDENTITY_VERSION,
        cluster,
        incarnation,
        (uint64) owner->system_identifier,
        owner->replica,
        owner->replica_count,
        identity->view,
        identity->op,
        identity->timestamp);
    assert(size > 0 && size < IDENTITY_TEXT_MAX);
    const int all_size = size + node_text(identity, text + size, IDENTITY_TEXT_MAX - size);
    hex_text(checksum(text, (uint64_t) all_size), sum);
    const int sum_size =
        snprintf(text + all_size, (size_t) (IDENTITY_TEXT_MAX - all_size), "checksum: %s\n", sum);
    assert(sum_size > 0 && all_size + sum_size < IDENTITY_TEXT_MAX);
    return all_size + sum_size;
}

static enum identity_result
identity_parse(const char *text, struct identity *identity)
{
    int version = 0;
    unsigned long long cluster[2];
    unsigned long long incarnation[2];
    unsigned long long system_identifier = 0;
    unsigned int replica = 0;
    unsigned int replica_count = 0;
    unsigned long long view = 0;
    unsigned long long op = 0;
    unsigned long long timestamp = 0;
    if (sscanf(text, "version: %d", &version) != 1) return IDENTITY_DAMAGED;
    if (version != IDENTITY_VERSION) return IDENTITY_OTHER_VERSION;
    const int fields = sscanf(
        text,
        "version: %*d cluster: %16llx%16llx incarnation: %16llx%16llx system_identifier: %llu replica: %u replica_count: %u view: %llu op: %llu timestamp: %llu",
        &cluster[0],
        &cluster[1],
        &incarnation[0],
        &incarnation[1],
        &system_identifier,
        &replica,
        &replica_count,
        &view,
        &op,
        &timestamp);
    if (fields != 10) return IDENTITY_DAMAGED;
    if (replica > UINT8_MAX || replica_count > UINT8_MAX) return IDENTITY_DAMAGED;
    *identity = (struct identity){
        .owner =
            {
                .cluster = u128_make(cluster[0], cluster[1]),
                .incarnation = u128_make(incarnation[0], incarnation[1]),
                .system_identifier = system_identifier,
                .replica = (uint8_t) replica,
                .replica_count = (uint8_t) replica_count,
            },
        .view = view,
        .op = op,
        .timestamp = timestamp,
    };
    const char *node = strstr(text, "\nnode: ");
    if (node != NULL) (void) sscanf(node, "\nnode: %31[a-z0-9_-]", identity->node);
    char expected[IDENTITY_TEXT_MAX];
    (void) identity_text(identity, expected);
    return strcmp(text, expected) == 0 ? IDENTITY_PRESENT : IDENTITY_DAMAGED;
}

enum identity_result
identity_read(struct identity *identity)
{
    char text[IDENTITY_TEXT_MAX + 1];
    const int fd = open(IDENTITY_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? IDENTITY_ABSENT : IDENTITY_IO_ERROR;
    const ssize_t size = read(fd, text, IDENTITY_TEXT_MAX);
    const int read_errno = errno;
    (void) close(fd);
    errno = read_errno;
    if (size < 0) return IDENTITY_IO_ERROR;
    text[size] = '\0';
    return identity_parse(text, identity);
}

bool
identity_write(const struct identity *identity)
{
    char text[IDENTITY_TEXT_MAX];
    const size_t size = (size_t) identity_text(identity, text);
    errno = file_replace(
        IDENTITY_FILE, IDENTITY_TEMPORARY_FILE, (mode_t) pg_file_create_mode, text, size);
    return errno == 0;
}

static bool
random_u128(u128 *value)
{
    return pg_strong_random(value, sizeof(*value)) && *value != 0;
}

bool
identity_make(struct identity *identity)
{
    *identity = (struct identity){
        .owner =
            {
                .system_identifier = GetSystemIdentifier(),
                .replica = 0,
                .replica_count = 1,
            },
    };
    return random_u128(&identity->owner.cluster) && random_u128(&identity->owner.incarnation);
}

bool
identity_make_incarnation(const struct engine_identity *before, struct engine_identity *identity)
{
    *identity = *before;
    identity->system_identifier = GetSystemIdentifier();
    if (!random_u128(&identity->incarnation)) return false;
    return identity->incarnation != before->incarnation;
}

bool
identity_owner_equal(const struct engine_identity *a, const struct engine_identity *b)
{
    return a->cluster == b->cluster && a->incarnation == b->incarnation &&
           a->system_identifier == b->system_identifier && a->replica == b->replica;
}

bool
identity_is_of_another_node(const struct identity *identity)
{
    return settings_has_node() && identity->node[0] != '\0' &&
           strcmp(identity->node, settings_node_name) != 0;
}

enum identity_action
identity_decide(
    const struct identity *identity, bool directory_present, bool new_directory_present)
{
    if (identity == NULL) return directory_present ? IDENTITY_REFUSE_FOREIGN : IDENTITY_NONE;
    if (directory_present) return IDENTITY_OPEN;
    /* The directory of a ledger that was opened once had its name: what is in `.new` is another. */
    const bool never_opened = identity->view == 0;
    return never_opened && new_directory_present ? IDENTITY_FINISH_RENAME : IDENTITY_REFUSE_MISSING;
}
