/* SPDX-License-Identifier: PostgreSQL */
#include "pg/identity.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"

#include "base/checksum.h"

#define IDENTITY_VERSION        1
#define IDENTITY_TEXT_MAX       512
#define IDENTITY_TEMPORARY_FILE IDENTITY_FILE ".tmp"

void
identity_u128_text(u128 value, char text[IDENTITY_U128_TEXT_SIZE])
{
    snprintf(
        text,
        IDENTITY_U128_TEXT_SIZE,
        "%016llx%016llx",
        (unsigned long long) u128_high(value),
        (unsigned long long) u128_low(value));
}

/*
 * The one text that stands for the identity. Reading compares with it, so there is one place that
 * knows the format.
 */
static int
identity_text(const struct engine_identity *identity, char text[IDENTITY_TEXT_MAX])
{
    char cluster[IDENTITY_U128_TEXT_SIZE];
    char incarnation[IDENTITY_U128_TEXT_SIZE];
    char sum[IDENTITY_U128_TEXT_SIZE];
    identity_u128_text(identity->cluster, cluster);
    identity_u128_text(identity->incarnation, incarnation);
    const int size = snprintf(
        text,
        IDENTITY_TEXT_MAX,
        "version: %d\ncluster: %s\nincarnation: %s\nsystem_identifier: " UINT64_FORMAT
        "\nreplica: %u\nreplica_count: %u\n",
        IDENTITY_VERSION,
        cluster,
        incarnation,
        (uint64) identity->system_identifier,
        identity->replica,
        identity->replica_count);
    assert(size > 0 && size < IDENTITY_TEXT_MAX);
    identity_u128_text(checksum(text, (uint64_t) size), sum);
    const int sum_size =
        snprintf(text + size, (size_t) (IDENTITY_TEXT_MAX - size), "checksum: %s\n", sum);
    assert(sum_size > 0 && size + sum_size < IDENTITY_TEXT_MAX);
    return size + sum_size;
}

static bool
identity_parse(const char *text, struct engine_identity *identity)
{
    int version = 0;
    unsigned long long cluster[2];
    unsigned long long incarnation[2];
    unsigned long long system_identifier = 0;
    unsigned int replica = 0;
    unsigned int replica_count = 0;
    const int fields = sscanf(
        text,
        "version: %d cluster: %16llx%16llx incarnation: %16llx%16llx system_identifier: %llu "
        "replica: %u "
        "replica_count: %u",
        &version,
        &cluster[0],
        &cluster[1],
        &incarnation[0],
        &incarnation[1],
        &system_identifier,
        &replica,
        &replica_count);
    if (fields != 8 || replica > UINT8_MAX || replica_count > UINT8_MAX) return false;
    *identity = (struct engine_identity){
        .cluster = u128_make(cluster[0], cluster[1]),
        .incarnation = u128_make(incarnation[0], incarnation[1]),
        .system_identifier = system_identifier,
        .replica = (uint8_t) replica,
        .replica_count = (uint8_t) replica_count,
    };
    char expected[IDENTITY_TEXT_MAX];
    (void) identity_text(identity, expected);
    return strcmp(text, expected) == 0;
}

enum identity_result
identity_read(struct engine_identity *identity)
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
    return identity_parse(text, identity) ? IDENTITY_PRESENT : IDENTITY_DAMAGED;
}

bool
identity_write(const struct engine_identity *identity)
{
    char text[IDENTITY_TEXT_MAX];
    const int size = identity_text(identity, text);
    const int fd = open(
        IDENTITY_TEMPORARY_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
    if (fd < 0) return false;
    errno = 0;
    const bool written = write(fd, text, (size_t) size) == size;
    if (!written && errno == 0) errno = ENOSPC;
    const int write_errno = errno;
    (void) close(fd);
    errno = write_errno;
    /* durable_rename makes the contents durable before the name. */
    return written && durable_rename(IDENTITY_TEMPORARY_FILE, IDENTITY_FILE, LOG) == 0;
}

bool
identity_make(struct engine_identity *identity)
{
    *identity = (struct engine_identity){
        .system_identifier = GetSystemIdentifier(),
        .replica = 0,
        .replica_count = 1,
    };
    u128 random[2];
    if (!pg_strong_random(random, sizeof(random))) return false;
    identity->cluster = random[0];
    identity->incarnation = random[1];
    return identity->cluster != 0 && identity->incarnation != 0;
}

enum identity_action
identity_decide(bool identity_present, bool directory_present, bool new_directory_present)
{
    if (identity_present) {
        if (directory_present) return IDENTITY_OPEN;
        return new_directory_present ? IDENTITY_FINISH_RENAME : IDENTITY_REFUSE_MISSING;
    }
    /* A leftover `.new` alone was never worked on: it is made anew. */
    return directory_present ? IDENTITY_REFUSE_FOREIGN : IDENTITY_CREATE;
}
